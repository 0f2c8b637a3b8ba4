"""The trajectory engine as histories: what is told and loaded, what is refused and leaves no trace, what is kept of spines."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import trajectory
from core.canonical import event_payload
from core.engine import Actor, Refused, Stamp
from core.micro import micro
from core.trajectory import commands, program
from core.trajectory.events import Cell, Fact, Folded, Loaded, StoredRule
from core.world import EVENTS_MAX
from tests.core.engine_loop import EngineLoop

BOB = Actor("uid:1002", "operator", 1002)
GOLDEN = "6f0327c68095150b09c5bc6da5e0e5938399325355779045d5a58ba37ef844c0"
RULE1: dict[str, Any] = {"rule_id": "rule1", "premises": ["A"], "conclusion": "B", "cost": 1.0}
STAMP = Stamp("trajectory_log", 0, 0, 0, "00000000", "uid:1001")
SPINE: dict[str, Any] = {"facts": ["A"], "goals": ["B"], "rules": [RULE1]}


def loop(*steps: tuple[str, dict[str, Any]]) -> EngineLoop:
    made = EngineLoop(trajectory.ENGINE)
    for verb, params in steps:
        made.ask(verb, params)
    return made


def the_source() -> EngineLoop:
    return loop(("add_fact", {"symbol": "A", "value": True}), ("add_rule", RULE1))


def refused(of: EngineLoop, verb: str, params: dict[str, Any], actor: Actor | None = None) -> Refused:
    """What was said; and that nothing was written."""
    before = len(of.records)
    with pytest.raises(Refused) as caught:
        of.ask(verb, params, *([actor] if actor else []))
    assert len(of.records) == before and of.replayed() == of.state
    return caught.value


def answer(of: EngineLoop, verb: str, params: dict[str, Any]) -> Any:
    row = of.world.rows[f"trajectory.{verb}"]
    assert row.reply is not None
    return row.reply(of.decide(verb, params).events)


def rules(*names: str, **more: Any) -> list[dict[str, Any]]:
    return [{"rule_id": name, "premises": ["A"], "conclusion": f"made by {name}", **more} for name in names]


def test_the_source_example_is_kept_and_its_spine_has_the_golden_name() -> None:
    made = the_source()
    assert list(made.state.parts.facts) == ["A"] and made.state.parts.rules["rule1"].cost_micro == 1_000_000
    assert answer(made, "fold", {"spine": SPINE}) == commands.FoldAnswer(GOLDEN, 1.0)
    made.restart()
    assert made.look("status").last_fold.hash == GOLDEN


def test_telling_the_same_again_changes_nothing_and_another_rule_of_that_name_is_refused() -> None:
    made = the_source()
    assert made.ask("add_fact", {"symbol": "A"}) == made.ask("add_rule", {**RULE1, "premises": ["A", "A"]}) == []
    assert len(made.records) == 2
    for change in ({"cost": 2.0}, {"premises": []}, {"conclusion": "C"}, {"group": "north"}):
        assert refused(made, "add_rule", {**RULE1, **change}).code == "already-exists"


MUTATIONS: dict[str, tuple[str, dict[str, Any], str, str | None]] = {
    "finer than a micro-unit": ("add_rule", {**RULE1, "rule_id": "r", "cost": 0.0000001}, "invalid-argument", "cost-precision"),
    "finer, in a load": ("load", {"problem": {"rules": [{**RULE1, "cost": 1e-7}]}}, "invalid-argument", "cost-precision"),
    "finer, set later": ("set_costs", {"costs": {"rule1": 0.1234567}}, "invalid-argument", "cost-precision"),
    "of no rule": ("set_costs", {"costs": {"rule1": 3.0, "rule9": 1.0}}, "not-found", "rule"),
    "a rule twice": ("load", {"problem": {"rules": [RULE1, RULE1]}}, "invalid-argument", "rule"),
    "a fact that holds and does not": (
        "load",
        {"problem": {"facts": ["A", {"symbol": "A", "value": False}]}},
        "invalid-argument",
        "fact",
    ),
    "a later part of nothing": ("load", {"problem": {"facts": ["A"]}, "part": 1}, "failed-precondition", "part"),
    "a spine without its fact": ("fold", {"spine": {**SPINE, "facts": []}}, "invalid-argument", "missing-premise"),
    "a spine without its rule": ("fold", {"spine": {**SPINE, "rules": []}}, "invalid-argument", "unreached-goal"),
    "a spine with a rule twice": ("fold", {"spine": {**SPINE, "rules": [RULE1, RULE1]}}, "invalid-argument", "twice"),
    "a spine with a finer cost": (
        "fold",
        {"spine": {**SPINE, "rules": [{**RULE1, "cost": 1e-9}]}},
        "invalid-argument",
        "cost-precision",
    ),
    "a spine too dear to be added up": (
        "fold",
        {"spine": {**SPINE, "rules": [{**RULE1, "rule_id": f"r{each}", "cost": 1e9} for each in range(10)]}},
        "invalid-argument",
        "cost-precision",
    ),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_each_mutation_of_the_source_example_is_a_typed_refusal_that_leaves_nothing(mutation: str) -> None:
    verb, params, code, reason = MUTATIONS[mutation]
    said = refused(the_source(), verb, params)
    assert (said.code, said.reason) == (code, reason) and said.detail


UNACCEPTABLE: list[tuple[str, dict[str, Any]]] = [
    ("add_rule", {**RULE1, "cost": -1.0}),
    ("add_rule", {**RULE1, "cost": float("nan")}),
    ("add_rule", {**RULE1, "cost": float("inf")}),
    ("add_rule", {**RULE1, "cost": "1"}),
    ("add_rule", {**RULE1, "conclusion": ""}),
    ("add_rule", {**RULE1, "premises": ["A "]}),
    ("add_rule", {**RULE1, "premises": "A"}),
    ("add_rule", {**RULE1, "premises": ["A\n"]}),
    ("add_rule", {**RULE1, "rule_id": "rule 1"}),
    ("add_fact", {"symbol": "A", "value": 1}),
    ("add_fact", {"symbol": None}),
    ("add_fact", {"symbol": "x" * 121}),
    *[("add_fact", {"symbol": text}) for text in (" A", "A\tB", "A\x00", "A\u2028B", "A\x85B", "\u00a0A", "A\U000e0041", "\ue000")],
    ("fold", {"spine": {"facts": ["A"], "goals": ["B"]}}),
    ("fold", {"spine": {**SPINE, "cost": 1.0}}),
]


@pytest.mark.parametrize(("verb", "params"), UNACCEPTABLE)
def test_what_is_no_fact_rule_or_spine_is_not_acceptable(verb: str, params: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        the_source().ask(verb, params)


def test_an_atom_is_any_text_on_one_line() -> None:
    made = loop(
        *[("add_fact", {"symbol": text}) for text in ("at a", "é", "日本 語", '"\\', "p(x, y)", "x" * 120, "🚚 → 🏠", "🏠" * 120)]
    )
    assert len(made.state.parts.facts) == 8 and made.replayed() == made.state


def test_a_load_replaces_all_and_only_once_it_is_whole() -> None:
    made = the_source()
    first = answer(made, "load", {"problem": {"facts": ["A", "X"], "rules": rules("a")}, "more": True})
    assert first == commands.LoadAnswer(0, False, 2, 1) and list(made.state.parts.rules) == ["rule1"]
    made.restart()
    assert list(made.state.parts.rules) == ["rule1"] and made.look("status").loading.next_part == 1, "cut off, and as it was"
    last = answer(made, "load", {"problem": {"rules": rules("b"), "goals": ["made by b"]}, "part": 1})
    assert last.whole and list(made.state.parts.rules) == ["a", "b"] and list(made.state.parts.facts) == ["A", "X"]
    assert made.state.parts.goals == ["made by b"] and made.state.staged is None
    assert made.replayed() == made.state


def test_parts_come_in_order_or_are_refused_with_the_one_that_comes_next() -> None:
    made = the_source()
    made.ask("load", {"problem": {"rules": rules("a")}, "more": True})
    made.ask("load", {"problem": {"rules": rules("b")}, "part": 1, "more": True})
    for part in (1, 3):
        said = refused(made, "load", {"problem": {"rules": rules("c")}, "part": part})
        assert (said.reason, said.data) == ("part", {"next_part": 2})
    made.ask("load", {"problem": {"rules": rules("z")}})
    assert list(made.state.parts.rules) == ["z"], "part 0 begins anew"
    assert refused(made, "load", {"problem": {}, "part": 2}).data == {"next_part": 0}


def test_two_who_load_at_once_are_never_mixed() -> None:
    made = the_source()
    made.ask("load", {"problem": {"rules": rules("a")}, "more": True})
    made.ask("load", {"problem": {"rules": rules("b")}, "more": True}, BOB)
    assert refused(made, "load", {"problem": {"rules": rules("a2")}, "part": 1}).reason == "part"
    made.ask("load", {"problem": {"rules": rules("b2")}, "part": 1, "more": True, "load": ""}, BOB)
    made.ask("load", {"problem": {"rules": rules("c")}, "more": True, "load": "another"}, BOB)
    assert refused(made, "load", {"problem": {"rules": rules("b3")}, "part": 1}, BOB).reason == "part", "one caller, two loads"
    made.ask("load", {"problem": {"rules": rules("c2")}, "part": 1, "load": "another"}, BOB)
    assert list(made.state.parts.rules) == ["c", "c2"]


def test_the_first_bad_rule_is_named_by_its_number_in_the_whole_file() -> None:
    made = the_source()
    made.ask("load", {"problem": {"rules": rules("a", "b", "c")}, "more": True})
    assert refused(made, "load", {"problem": {"rules": rules("d", "b")}, "part": 1}).detail.startswith("rule 5, b,")
    dear = [*rules("d"), *rules("e", cost=1e-7), *rules("f", cost=1e-8)]
    assert refused(made, "load", {"problem": {"rules": dear}, "part": 1}).detail.startswith("rule 5, e,")
    assert refused(made, "load", {"problem": {"facts": ["N", {"symbol": "N", "value": False}]}, "part": 1}).reason == "fact"


def test_a_large_part_is_written_in_records_that_a_log_takes() -> None:
    made = EngineLoop(trajectory.ENGINE)
    many = [{"rule_id": f"r{each}", "premises": ["A", "ü" * 60], "conclusion": f"c{each}"} for each in range(2_500)]
    events = [each for each in made.ask("load", {"problem": {"facts": [f"f{n}" for n in range(3_000)], "rules": many}})]
    pieces = [each for each in events if isinstance(each, Loaded)]
    assert 1 < len(pieces) == len(events) < EVENTS_MAX
    assert max(len(event_payload(each)) for each in pieces) < 45_000
    assert sum(len(event_payload(each)) for each in pieces) < 1_000_000
    assert [each.first for each in pieces].index(True) == 0 and sum(each.first for each in pieces) == 1
    assert pieces[-1].last and sum(each.last for each in pieces) == 1
    assert list(made.state.parts.rules) == [each["rule_id"] for each in many] and made.replayed() == made.state
    wide = [{**each, "premises": [f"{place}{sign * 110}" for sign in ("\\", '"')]} for place, each in enumerate(many)]
    assert refused(made, "load", {"problem": {"rules": wide}}).reason == "part-too-large"


COLUMNS: dict[str, Any] = {
    "atoms": ["A", "B", "é"],
    "rule_ids": ["r1", "r2", "r3"],
    "counts": [2, 0, 3],
    "premises": [0, 1, 0, 0, 2],
    "conclusions": [2, 1, 1],
    "costs": [1, 0.000001, 2.5],
    "groups": ["north", "default"],
    "group_of": [0, 1, 0],
}


def test_columns_are_the_rules_that_their_numbers_say_also_over_parts_and_a_restart() -> None:
    made = EngineLoop(trajectory.ENGINE)
    made.ask("load", {"problem": {"facts": ["A"], "columns": COLUMNS}, "more": True})
    made.restart()
    later = {**COLUMNS, "atoms": ["B"], "rule_ids": ["r4", "r5", "r6"], "conclusions": [3, 2, 0]}
    assert answer(made, "load", {"problem": {"columns": later}, "part": 1}) == commands.LoadAnswer(1, True, 0, 3)
    as_rules = [
        {"rule_id": "r1", "premises": ["A", "B"], "conclusion": "é", "cost": 1.0, "group": "north"},
        {"rule_id": "r2", "premises": [], "conclusion": "B", "cost": 0.000001},
        {"rule_id": "r3", "premises": ["A", "é"], "conclusion": "B", "cost": 2.5, "group": "north"},
        {"rule_id": "r4", "premises": ["A", "B"], "conclusion": "B", "cost": 1.0, "group": "north"},
        {"rule_id": "r5", "premises": [], "conclusion": "é", "cost": 0.000001},
        {"rule_id": "r6", "premises": ["A", "é"], "conclusion": "A", "cost": 2.5, "group": "north"},
    ]
    assert list(made.state.parts.rules.values()) == list(loaded_rules(as_rules)) and made.state.parts.literals == 14
    assert made.replayed() == made.state


def loaded_rules(told: list[dict[str, Any]]) -> Any:
    return loop(("load", {"problem": {"rules": told}})).state.parts.rules.values()


UNEVEN: dict[str, tuple[dict[str, Any], str]] = {
    "a cost too few": ({"costs": [1.0, 2.0]}, "columns.costs has 2 entries, and there are 3 rules"),
    "a conclusion too many": ({"conclusions": [0, 1, 2, 2]}, "columns.conclusions has 4 entries"),
    "no group": ({"group_of": []}, "columns.group_of has 0 entries"),
    "premises of nobody": ({"counts": [2, 0, 2]}, "columns.counts add up to 4, and there are 5 premises"),
    "an atom of no name": ({"conclusions": [2, 1, 3]}, "columns.conclusions name number 3, and numbers go up to 2"),
    "a premise of no name": ({"premises": [0, 1, 9, 0, 2]}, "columns.premises name number 9"),
    "a group of no name": ({"group_of": [0, 2, 0]}, "columns.group_of name number 2, and numbers go up to 1"),
    "a rule twice": ({"rule_ids": ["r1", "r2", "r1"]}, "rule 3, r1, has the name of a rule before it"),
    "a cost too fine": ({"costs": [1.0, 1e-7, 1e-8]}, "rule 2, r2, has the cost 1e-07"),
}


@pytest.mark.parametrize("wrong", UNEVEN)
def test_columns_that_do_not_fit_each_other_are_refused(wrong: str) -> None:
    change, said = UNEVEN[wrong]
    found = refused(the_source(), "load", {"problem": {"columns": {**COLUMNS, **change}}})
    assert found.code == "invalid-argument" and said in found.detail
    both = {"rules": [RULE1], "columns": COLUMNS}
    assert "Choose one of them" in refused(the_source(), "load", {"problem": both}).detail


def test_an_atom_with_two_numbers_is_one_premise_also_over_parts() -> None:
    twice = {**COLUMNS, "atoms": ["A", "B", "A"], "premises": [2, 0, 1, 2, 0]}
    made = loop(("load", {"problem": {"columns": twice}, "more": True}))
    later = {**twice, "rule_ids": ["r4", "r5", "r6"], "atoms": ["B"], "counts": [0, 0, 5], "premises": [3, 2, 1, 0, 3]}
    made.ask("load", {"problem": {"columns": later}, "part": 1})
    bodies = [rule.premises for rule in made.state.parts.rules.values()]
    assert bodies == [("A",), (), ("B", "A"), (), (), ("B", "A")] and made.state.parts.literals == 11
    assert made.replayed() == made.state


def test_atoms_that_no_rule_names_do_not_pile_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "LITERALS_MAX", 5)
    only = {**{name: [] for name in COLUMNS}, "atoms": ["A", "B"]}
    made = loop(*[("load", {"problem": {"columns": only}, "part": part, "more": True}) for part in range(2)])
    found = refused(made, "load", {"problem": {"columns": only}, "part": 2, "more": True})
    assert (found.code, found.reason) == ("resource-exhausted", "atoms")


def test_a_log_from_before_there_were_columns_still_replays() -> None:
    made = EngineLoop(trajectory.ENGINE)
    rule = StoredRule("r", ["A"], "B", 1_500_000)
    event = Loaded("uid:1001", "", 0, first=True, last=True, facts=[Fact("A")], rules=[rule])
    program.apply_loaded(made.state, event, STAMP)
    assert list(made.state.parts.rules.values()) == [program.rule_of(rule)] and made.state.parts.literals == 2


@given(st.one_of(st.floats(0, 1e9), st.integers(0, 10**15).map(lambda amount: amount / 1e6), st.integers(0, 10**9).map(float)))
def test_a_cost_is_priced_as_the_decimal_that_it_is(cost: float) -> None:
    assert commands.whole_micro(cost) == micro(cost)


def test_the_order_of_rules_outlives_a_dump() -> None:
    """It decides which derivation is the first."""
    made = loop(
        *[("add_rule", each) for each in rules("z", "a", "m")], ("add_fact", {"symbol": "z"}), ("add_fact", {"symbol": "b"})
    )
    raw = made.world.dump("trajectory_log")
    made.world.load("trajectory_log", raw)
    assert list(made.state.parts.rules) == ["z", "a", "m"] and list(made.state.parts.facts) == ["z", "b"]
    shuffled = loop(
        *[("add_rule", each) for each in rules("a", "m", "z")], ("add_fact", {"symbol": "b"}), ("add_fact", {"symbol": "z"})
    )
    assert shuffled.state != made.state


def test_new_costs_keep_what_follows_and_what_is_told_anew_does_not() -> None:
    made = the_source()
    version, costs = made.state.version, made.state.costs_version
    assert answer(made, "set_costs", {"costs": {"rule1": 2.5}}).rules == 1
    assert (made.state.version, made.state.costs_version) == (version, costs + 1)
    assert made.state.parts.rules["rule1"].cost_micro == 2_500_000
    made.ask("add_fact", {"symbol": "A", "value": False})
    assert made.state.version == version + 1
    assert made.ask("set_costs", {"costs": {}}) == []


def test_a_program_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    made = the_source()
    monkeypatch.setattr(commands, "RULES_MAX", 2)
    monkeypatch.setattr(commands, "FACTS_MAX", 1)
    assert refused(made, "add_fact", {"symbol": "B"}).code == "resource-exhausted"
    made.ask("add_fact", {"symbol": "A", "value": False})
    made.ask("add_rule", {**RULE1, "rule_id": "rule2"})
    assert refused(made, "add_rule", {**RULE1, "rule_id": "rule3"}).code == "resource-exhausted"
    assert refused(made, "load", {"problem": {"rules": rules("a", "b", "c")}}).code == "resource-exhausted"
    assert refused(made, "load", {"problem": {"facts": ["a", "b"]}}).code == "resource-exhausted"


def test_what_is_counted_of_folded_spines_is_bounded_and_the_frequent_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "COUNTED_MAX", 20)
    monkeypatch.setattr(program, "FOLDS_KEPT", 5)
    made = EngineLoop(trajectory.ENGINE)
    for each in range(60):
        often = {"rule_id": "often", "premises": [], "conclusion": "A", "cost": 0.5, "group": f"g{each}"}
        rare = {**RULE1, "rule_id": f"r{each}", "conclusion": f"b{each}"}
        made.ask("fold", {"spine": {"facts": [], "goals": [f"b{each}"], "rules": [often, rare]}})
    state = made.state
    assert max(len(state.laid), len(state.reached), len(state.grid)) <= 20 and len(state.folds) == 5 and state.folded == 60
    shown = made.look("occupancy", {"limit": 3})
    assert (shown.rules[0].rule_id, shown.rules[0].count) == ("often", 60) and len(shown.rules) == len(shown.grid) == 3
    assert (shown.symbols[0].symbol, shown.symbols[0].count) == ("A", 60) and made.replayed() == state


def test_the_record_of_a_huge_spine_is_small_and_its_name_is_of_all_of_it() -> None:
    def chain(last: float) -> dict[str, Any]:
        links = [
            {
                "rule_id": f"{'r' * 50}{each}",
                "premises": [f"{'ü' * 100}{each}"],
                "conclusion": f"{'ü' * 100}{each + 1}",
                "group": f"g{each}",
            }
            for each in range(3_000)
        ]
        return {"facts": [f"{'ü' * 100}0"], "goals": [f"{'ü' * 100}3000"], "rules": [*links[:-1], {**links[-1], "cost": last}]}

    made = EngineLoop(trajectory.ENGINE)
    (event,) = made.ask("fold", {"spine": chain(1.0)})
    assert isinstance(event, Folded) and event.rules == 3_000 and len(event_payload(event)) < 55_000
    assert event.rule_ids and event.symbols and event.grid[0] == Cell(1, "g0", 1)
    (other,) = made.ask("fold", {"spine": chain(1.000001)})
    assert isinstance(other, Folded) and other.hash != event.hash and other.cost_micro == event.cost_micro + 1


def test_folding_again_counts_again_under_one_name() -> None:
    made = the_source()
    permuted = {**SPINE, "facts": ["A", "A"], "rules": [{**RULE1, "premises": ["A", "A"], "group": "default"}]}
    assert answer(made, "fold", {"spine": SPINE}).hash == answer(made, "fold", {"spine": permuted}).hash
    assert made.look("status").last_fold.times == 2 and made.look("status").folds == 2


def test_two_spines_are_compared_and_what_is_none_is_refused() -> None:
    other = {**SPINE, "rules": [{**RULE1, "rule_id": "rule2", "cost": 0.25}]}
    seen = the_source().look("compare", {"a": SPINE, "b": other})
    assert (seen.same, seen.only_a, seen.only_b, seen.changed) == (False, ["rule1"], ["rule2"], [])
    assert (seen.hash_a, seen.cost_a, seen.cost_b) == (GOLDEN, 1.0, 0.25)
    with pytest.raises(Refused) as bad:
        the_source().look("compare", {"a": SPINE, "b": {**SPINE, "facts": []}})
    assert [field[0] for field in bad.value.fields] == ["/b"]


def test_the_program_is_listed_page_by_page() -> None:
    made = loop(
        ("add_fact", {"symbol": "A"}),
        ("add_fact", {"symbol": "B", "value": False}),
        *[("add_rule", r) for r in rules("x", "y", "z")],
    )
    seen, after = [], None
    for _ in range(4):
        page = made.look("program", {"limit": 2, "after": after} if after else {"limit": 2})
        seen += [entry.fact.symbol if entry.fact else entry.rule.rule_id for entry in page.entries]
        after = page.next
        if after is None:
            break
    assert seen == ["A", "B", "x", "y", "z"] and after is None
    with pytest.raises(Refused):
        made.look("program", {"after": "somewhere"})
