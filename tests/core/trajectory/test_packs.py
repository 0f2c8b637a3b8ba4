"""Facts and rules in packs: what they say is what a list of rules says, over parts, restarts and snapshots; a wrong one is refused
at its first wrong rule, and changes nothing."""

import base64
from array import array
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import trajectory
from core.engine import Refused
from core.fields import Name
from core.spine import Rule
from core.trajectory import commands, packs
from core.trajectory.events import StoredPack, Symbol
from core.trajectory.packs import Opened
from core.trajectory.table import Table, loaded
from tests.core.engine_loop import EngineLoop

MADE = Opened(
    ["A", "B", "é", "N"],
    array("i", [0, -4]),
    ["r1", "r2", "r3"],
    bytes([2, 0, 2]),
    array("i", [0, 1, 0, 2]),
    array("i", [2, 1, 1]),
    array("q", [1_000_000, 1, 2_500_000]),
    ["north", "default"],
    bytes([0, 1, 0]),
)
RULES = [
    Rule("r1", ("A", "B"), "é", 1_000_000, "north"),
    Rule("r2", (), "B", 1, "default"),
    Rule("r3", ("A", "é"), "B", 2_500_000, "north"),
]


def sent(*made: Opened) -> list[dict[str, Any]]:
    return [msgspec.to_builtins(packs.closed(each)) for each in made]


def refused(made: EngineLoop, problem: dict[str, Any], **more: Any) -> Refused:
    before = made.world.dump("trajectory_log")
    with pytest.raises(Refused) as said:
        made.ask("load", {"problem": problem, **more})
    assert made.world.dump("trajectory_log") == before, "nothing was changed"
    return said.value


def test_packs_are_the_rules_that_their_numbers_say_over_parts_a_restart_and_a_snapshot() -> None:
    made = EngineLoop(trajectory.ENGINE)
    made.ask("load", {"problem": {"packs": sent(MADE)}, "more": True})
    made.restart()
    made.world.load("trajectory_log", made.world.dump("trajectory_log"))
    later = MADE._replace(
        atoms=["C"], facts=array("i", [4]), rule_ids=["r4"], counts=b"\1", premises=array("i", [2]), conclusions=array("i", [4])
    )
    later = later._replace(costs_micro=array("q", [7]), groups=["south"], group_of=b"\0")
    events = made.ask("load", {"problem": {"packs": sent(later), "goals": ["C"]}, "part": 1})
    assert commands.loaded(events) == commands.LoadAnswer(1, True, 1, 1)
    parts = made.state.parts
    assert list(parts.rules.values()) == [*RULES, Rule("r4", ("é",), "C", 7, "south")] and parts.literals == 9
    assert parts.facts == {"A": True, "N": False, "C": True} and parts.goals == ["C"]
    assert made.replayed() == made.state
    made.ask("add_rule", {"rule_id": "r5", "premises": ["é", "new"], "conclusion": "A"})
    made.ask("set_costs", {"costs": {"r2": 3}})
    assert parts.rules["r5"].premises == ("é", "new") and parts.rules["r2"].cost_micro == 3_000_000
    assert made.replayed() == made.state


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "a cost too few": ({"costs_micro": array("q", [1, 2])}, "packs[0].costs_micro has 2 entries, and there are 3 rules"),
    "a group too many": ({"group_of": bytes(4)}, "packs[0].group_of has 4 entries"),
    "premises of nobody": ({"counts": bytes([2, 0, 1])}, "packs[0].counts add up to 3, and there are 4 premises"),
    "very many premises": ({"counts": bytes([65, 0, 0]), "premises": array("i", [0] * 65)}, "packs[0].counts hold 65"),
    "an atom of no name": ({"premises": array("i", [0, 1, 0, 4])}, "packs[0].premises hold 4, and may hold 0 to 3"),
    "an atom below all": ({"conclusions": array("i", [0, 1, -1])}, "packs[0].conclusions hold -1"),
    "a fact of no name": ({"facts": array("i", [-5])}, "packs[0].facts hold -5, and may hold -4 to 3"),
    "a group of no name": ({"group_of": bytes([0, 2, 0])}, "packs[0].group_of hold 2, and may hold 0 to 1"),
    "a cost below nothing": ({"costs_micro": array("q", [1, -1, 2])}, "packs[0].costs_micro hold -1"),
    "a cost beyond all": ({"costs_micro": array("q", [1, 10**15 + 1, 2])}, "packs[0].costs_micro hold 1,000,000,000,000,001"),
    "a premise twice": ({"premises": array("i", [0, 1, 2, 2])}, "rule 3, 'r3', names a premise twice"),
    "a name that is none": ({"rule_ids": ["r1", "r 2", "r3"]}, "rule 2, 'r 2', is named by no name"),
    "a rule twice": ({"rule_ids": ["r1", "r2", "r1"]}, "rule 3, r1, has the name of a rule before it"),
    "an atom that is none": ({"atoms": ["A", " B", "é", "N"]}, "packs[0].atoms hold ' B'"),
    "an atom twice": ({"atoms": ["A", "B", "é", "A"]}, "packs[0].atoms name an atom that was named before"),
    "a fact both ways": ({"facts": array("i", [0, -1])}, "A is told to hold and not to hold"),
}


@pytest.mark.parametrize("arrays_from", [1, 256])
@pytest.mark.parametrize("wrong", FAULTS)
def test_a_wrong_pack_is_refused_for_what_is_wrong(wrong: str, arrays_from: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "ARRAYS_FROM", arrays_from)
    change, said = FAULTS[wrong]
    found = refused(EngineLoop(trajectory.ENGINE), {"packs": sent(MADE._replace(**change))})
    assert found.code == "invalid-argument" and said in found.detail


@pytest.mark.parametrize("field", ["facts", "counts", "premises", "conclusions", "costs_micro", "group_of"])
def test_a_column_that_is_no_base64_of_whole_numbers_is_refused(field: str) -> None:
    [good] = sent(MADE)
    cut = base64.b64encode(b"abc").decode() if field not in ("counts", "group_of") else "AA"
    for text in ("no base64!", "AAA", cut, "é"):
        found = refused(EngineLoop(trajectory.ENGINE), {"packs": [{**good, field: text}]})
        assert f"packs[0].{field} is no base64" in found.detail


def test_what_an_earlier_part_or_pack_has_is_not_told_again() -> None:
    made = EngineLoop(trajectory.ENGINE)
    made.ask("load", {"problem": {"packs": sent(MADE)}, "more": True})
    other = MADE._replace(atoms=["C"], facts=array("i"), rule_ids=["s1", "r2", "s3"])
    assert "rule 5, r2, has the name" in refused(made, {"packs": sent(other)}, part=1).detail
    same = other._replace(atoms=["é"], rule_ids=["s1", "s2", "s3"])
    assert "named before" in refused(made, {"packs": sent(same)}, part=1).detail
    fine = other._replace(rule_ids=["s1", "s2", "s3"])
    assert "rule 7, s1, has the name" in refused(made, {"packs": sent(fine, fine._replace(atoms=[]))}, part=1).detail
    denied = fine._replace(facts=array("i", [-1]))
    assert "A is told to hold and not to hold" in refused(made, {"packs": sent(denied)}, part=1).detail


def test_packs_and_rules_that_came_otherwise_are_not_mixed() -> None:
    """Whoever sends packs does not know which numbers the others' atoms have."""
    made = EngineLoop(trajectory.ENGINE)
    rule = {"rule_id": "z", "premises": ["A"], "conclusion": "Z"}
    assert "in packs, or none" in refused(made, {"packs": sent(MADE), "rules": [rule]}).detail
    made.ask("load", {"problem": {"rules": [rule]}, "more": True})
    assert "in packs, or none" in refused(made, {"packs": sent(MADE)}, part=1).detail


def test_a_pack_too_large_for_a_record_is_refused() -> None:
    large = MADE._replace(atoms=[*MADE.atoms, *(f"{place:0120}" for place in range(420))])
    assert "Make smaller packs" in refused(EngineLoop(trajectory.ENGINE), {"packs": sent(large)}).detail


@given(
    st.lists(st.text("aZ9._:@/- \n\té\x7f", max_size=4) | st.sampled_from(["a" * 64, "a" * 65, "a" * 120, "é" * 121]), max_size=5)
)
def test_names_and_atoms_are_judged_at_once_as_one_by_one(texts: list[str]) -> None:
    lines = [line for text in texts for line in text.split("\n")]
    if lines == [""]:
        return  # one empty line is no line
    told = "\n".join(lines)
    assert packs.are_names(told, lines) == packs._is(lines, list[Name])
    assert packs.are_symbols(told, lines) == packs._is(lines, list[Symbol])


def test_a_table_is_the_rules_that_it_took_also_after_a_dump() -> None:
    table = Table(RULES)
    assert list(table.values()) == RULES and list(table.from_place(1)) == RULES[1:] and table["r2"] == RULES[1]
    again = loaded(table.dump())
    assert again == table and list(again.values()) == RULES
    again.take(RULES[0]._replace(conclusion="other"))
    assert list(again.values()) == [RULES[0]._replace(conclusion="other"), *RULES[1:]] != list(table.values())
    whole = table.dump()
    for change in ({"counts": b"\1\1"}, {"premises": whole.premises[:-4]}, {"conclusions": array("i", [9, 0, 0]).tobytes()}):
        with pytest.raises(ValueError):
            loaded(msgspec.structs.replace(whole, **change))


def test_an_empty_pack_opens_to_nothing() -> None:
    assert packs.opened(StoredPack()) == packs.opened(packs.closed(packs.opened(StoredPack())))
    assert packs.opened_or_fault(StoredPack(), 0) == packs.opened(StoredPack())
