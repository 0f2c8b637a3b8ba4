"""`irerctl trajectory` as a person has it: trees, steps, heat, files in parts, and words that promise no more than is proved."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.engine import Refused
from core.trajectory import packs
from core.trajectory.events import StoredPack
from core.trajectory.reads import Closure, Comparison, Explanation, OccupancyAnswer, ProgramPage, ProgramStatus, SearchAnswer
from irerctl import programs
from irerctl.screens import trajectory
from irerctl.session import Session
from tests.irerctl.conftest import Run, Serve
from tests.irerctl.peer import Written

RULE1: dict[str, Any] = {"rule_id": "rule1", "premises": ["A"], "conclusion": "B", "cost": 1.0, "group": "default"}
SPINE: dict[str, Any] = {
    "facts": ["A"],
    "goals": ["D"],
    "rules": [RULE1, {"rule_id": "rule2", "premises": ["A", "B"], "conclusion": "D", "cost": 0.25, "group": "north"}],
}
FOUND: dict[str, Any] = {
    "spine": SPINE,
    "cost": 1.25,
    "bound": 1.25,
    "score": 1.0,
    "fairness": 0.735,
    "proof": "optimal",
    "goals": ["D"],
}
NONE: dict[str, Any] = {
    "spine": None,
    "cost": None,
    "bound": None,
    "score": None,
    "fairness": None,
    "proof": "optimal",
    "goals": ["D"],
}
STATUS: dict[str, Any] = {
    "facts": 2,
    "denied": 1,
    "rules": 30,
    "literals": 90,
    "goals": 1,
    "version": 7,
    "folds": 3,
    "last_fold": {"hash": "ab" * 32, "cost": 1.25, "rules": 2, "folded_at": "2026-01-31T12:00:00Z", "times": 1},
    "loading": {"owner": "uid:1001", "next_part": 2, "facts": 1, "rules": 4000},
}
PROGRAM: dict[str, Any] = {"entries": [{"fact": {"symbol": "A"}}, {"fact": {"symbol": "C", "value": False}}, {"rule": RULE1}]}
EXPLAINED: dict[str, Any] = {
    "symbol": "E",
    "holds": True,
    "cost": 3.5,
    "steps": [
        {"symbol": "E", "depth": 3, "rule_id": "de", "premises": ["D", "B"], "cost": 0.0},
        {"symbol": "D", "depth": 2, "rule_id": "bcd", "premises": ["B", "C"], "cost": 0.5},
        {"symbol": "B", "depth": 1, "rule_id": "ab", "premises": ["A"], "cost": 1.0},
        {"symbol": "C", "depth": 1, "rule_id": "ac", "premises": ["A"], "cost": 2.0},
        {"symbol": "A", "depth": 0},
    ],
}
LACKING: dict[str, Any] = {
    "symbol": "E",
    "holds": False,
    "near": [{"rule_id": "xe", "missing": ["X"]}, {"rule_id": "ye", "missing": [], "blocked": True}],
}
USED: dict[str, Any] = {
    "folds": 4,
    "rules": [{"rule_id": "rule1", "count": 4}, {"rule_id": "rule2", "count": 1}],
    "symbols": [{"symbol": "B", "count": 4}],
    "grid": [{"depth": 1, "group": "default", "count": 4}, {"depth": 3, "group": "north", "count": 1}],
}
CLOSED: dict[str, Any] = {
    "atoms": [
        {"symbol": "A", "depth": 0, "cost": 0.0},
        {"symbol": "B", "depth": 1, "cost": 1.0, "rule_id": "rule1", "premises": ["A"]},
    ],
    "count": 2,
    "blocked": {"rule3": "C"},
    "blocked_count": 1,
}
DIFFERENT: dict[str, Any] = {
    "same": False,
    "hash_a": "a" * 64,
    "hash_b": "b" * 64,
    "cost_a": 1.0,
    "cost_b": 0.25,
    "only_a": ["rule1"],
    "only_b": ["rule2"],
    "changed": ["rule3"],
}


def test_the_answers_are_of_their_types() -> None:
    for kind, said in (
        (SearchAnswer, FOUND),
        (SearchAnswer, NONE),
        (ProgramStatus, STATUS),
        (ProgramPage, PROGRAM),
        (Explanation, EXPLAINED),
        (Explanation, LACKING),
        (OccupancyAnswer, USED),
        (Closure, CLOSED),
        (Comparison, DIFFERENT),
    ):
        msgspec.convert(said, kind)


def test_alone_it_tells_what_the_program_is(run: Run, serve: Serve) -> None:
    serve({"trajectory.status": STATUS, "trajectory.program": PROGRAM})
    said = run("trajectory").stdout
    assert "2 facts, 1 denied, 30 rules, 1 goal; 3 spines folded" in said and "fact  A" in said and "not   C" in said
    assert "rule  rule1: A → B  cost 1" in said and "… and 30 more" in said
    assert "uid:1001 loads another program: 1 fact and 4,000 rules so far; it counts once it is whole" in said
    assert trajectory.status_line(STATUS)[1] == "2 facts  30 rules  1 denied  3 spines folded  another one is being loaded"


def test_before_anything_was_told_it_says_how_to_begin(run: Run, serve: Serve) -> None:
    empty = {"facts": 0, "denied": 0, "rules": 0, "literals": 0, "goals": 0, "version": 0, "folds": 0}
    serve({"trajectory.status": empty, "trajectory.program": {"entries": []}, "trajectory.occupancy": {**USED, "folds": 0}})
    assert "irerctl trajectory rule rule1 B --from A" in run("trajectory").stdout
    assert "no spines were folded yet" in run("trajectory", "occupancy").stdout
    assert trajectory.status_line(empty) == ("trajectory", "no program yet")
    assert trajectory.status_line({**empty, "denied": 1})[1] == "0 facts  0 rules  1 denied"


def test_the_tree_draws_each_part_once_and_names_it_after_that() -> None:
    assert trajectory.tree(EXPLAINED) == [
        "E  by de, cost 0",
        "├─ D  by bcd, cost 0.5",
        "│  ├─ B  by ab, cost 1",
        "│  │  └─ A  fact",
        "│  └─ C  by ac, cost 2",
        "│     └─ A  fact",
        "└─ B  as above",
    ]


def test_a_tree_that_is_cut_short_says_so() -> None:
    chain = [
        {"symbol": f"a{place}", "depth": place, "rule_id": f"r{place}", "premises": [f"a{place - 1}"], "cost": 1.0}
        for place in range(2_000, 1_000, -1)
    ]
    lines = trajectory.tree({"symbol": "a2000", "steps": chain})
    assert len(lines) == trajectory.TREE_LINES_MAX + 1 and lines[-1] == "…"
    assert trajectory.tree({"symbol": "x", "steps": [{**chain[0], "symbol": "x", "premises": ["far"]}]})[-1] == "└─ far  …"


def test_why_an_atom_does_not_hold_is_told_and_is_a_no(run: Run, serve: Serve) -> None:
    serve({"trajectory.explain": LACKING})
    ran = run("trajectory", "explain", "E")
    assert ran.exit_code == 1 and "no: E does not hold" in ran.stdout
    assert "xe lacks X" in ran.stdout and "ye is left out: its conclusion is denied" in ran.stdout


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "cost 1.25: optimal, nothing is cheaper"),
        ({"bound": 1.0, "proof": "bound"}, "cost 1.25: within 25 % of the optimum, which is at least 1"),
        ({"bound": 0.0, "proof": "heuristic"}, "cost 1.25: heuristic, nothing is proved about it"),
    ],
)
def test_how_good_a_spine_is_is_said_in_words(run: Run, serve: Serve, changed: dict[str, Any], said: str) -> None:
    serve({"trajectory.search": {**FOUND, **changed}})
    lines = run("trajectory", "search").stdout.splitlines()
    assert lines[:4] == ["to reach D", "from     A", "step 1  rule1: A → B  cost 1", "step 2  rule2: A, B → D  cost 0.25  north"]
    assert said in lines and "fairness 0.735 between groups, score 1" in lines
    assert changed == {} or not any("optimal" in line for line in lines)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"unreachable": ["D", "E"]}, "no way: no rules lead to D, E"),
        ({}, "no way: nothing within the budgets reaches D"),
        ({"proof": "heuristic"}, "nothing found in time that reaches D; there may be a way"),
    ],
)
def test_no_spine_is_told_with_its_reason_and_is_a_no(run: Run, serve: Serve, changed: dict[str, Any], said: str) -> None:
    serve({"trajectory.search": {**NONE, **changed}})
    ran = run("trajectory", "search")
    assert ran.exit_code == 1 and said in ran.stdout


def test_search_sends_what_was_given_and_nothing_else(run: Run, serve: Serve) -> None:
    peer = serve({"trajectory.search": FOUND})
    words = "--initial A --goal D --goal E --forbid r1 --budget north=2.5 --width 8 --mode exact --deadline 0.5 --denied C".split()
    run("trajectory", "search", *words, "--weights", '{"fairness": 1}')
    run("trajectory", "search")
    assert [call.p for call in peer.calls] == [
        {
            "initial": ["A"],
            "denied": ["C"],
            "goals": ["D", "E"],
            "forbidden": ["r1"],
            "mode": "exact",
            "beam_width": 8,
            "budgets": {"north": 2.5},
            "weights": {"fairness": 1},
            "deadline_ms": 500,
        },
        {},
    ]


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "0", "0.001", "601", "1e300"])
def test_a_deadline_that_cannot_be_is_refused_in_seconds(run: Run, serve: Serve, seconds: str) -> None:
    peer = serve({"trajectory.search": FOUND})
    ran = run("trajectory", "search", "--deadline", seconds)
    assert ran.exit_code == 2 and "between 0.01 and 600 seconds" in ran.output and not peer.calls


def test_rules_and_costs_are_told_by_words(run: Run, serve: Serve) -> None:
    peer = serve(
        {
            "trajectory.add_rule": Written({"rule_id": "rule2"}),
            "trajectory.set_costs": Written({"rules": 2}),
            "trajectory.add_fact": {},
        }
    )
    said = run("trajectory", "rule", "rule2", "D", "--from", "A", "--from", "B", "--cost", "0.25", "--group", "north").stdout
    assert said == "rule2: A, B → D  cost 0.25  north\n"
    assert run("trajectory", "costs", "rule1=2.5", "r/2=0").stdout == "2 costs set\n"
    assert run("trajectory", "fact", "A").stdout == "it is there already\n"
    assert [call.p for call in peer.calls] == [
        {"rule_id": "rule2", "conclusion": "D", "premises": ["A", "B"], "cost": 0.25, "group": "north"},
        {"costs": {"rule1": 2.5, "r/2": 0.0}},
        {"symbol": "A"},
    ]
    for wrong in ("rule1", "=1", "rule1=dear"):
        assert "RULE_ID=COST" in run("trajectory", "costs", wrong).output
    assert "rule1 is given twice" in run("trajectory", "costs", "rule1=1", "rule1=2").output


def test_a_closure_is_a_table_and_names_what_was_left_out(run: Run, serve: Serve) -> None:
    serve({"trajectory.forward_chain": CLOSED})
    ran = run("trajectory", "closure")
    assert ran.stdout.splitlines()[1].split() == ["A", "0", "0", "fact", "-"]
    assert ran.stdout.splitlines()[2].split() == ["B", "1", "1", "rule1", "A"]
    assert "rule3 is left out: it concludes C, which is denied" in ran.output


def test_a_spine_is_taken_from_an_answer_or_alone(run: Run, serve: Serve, tmp_path: Path) -> None:
    peer = serve({"trajectory.fold": Written({"hash": "f" * 64, "cost": 1.25}), "trajectory.compare": DIFFERENT})
    whole, alone, neither = tmp_path / "found.json", tmp_path / "spine.json", tmp_path / "neither.json"
    whole.write_text(json.dumps(FOUND))
    alone.write_text(json.dumps(SPINE))
    neither.write_text(json.dumps({"spine": None}))
    assert run("trajectory", "fold", str(whole)).stdout == run("trajectory", "fold", str(alone)).stdout == f"{'f' * 64}\n"
    ran = run("trajectory", "compare", str(whole), str(alone))
    assert ran.exit_code == 1 and "only a: rule1" in ran.stdout and "not the same: rule3" in ran.stdout
    assert [call.p for call in peer.calls] == [{"spine": SPINE}, {"spine": SPINE}, {"a": SPINE, "b": SPINE}]
    for file, said in ((neither, "holds no spine"), (tmp_path / "nowhere.json", "cannot read")):
        assert said in run("trajectory", "fold", str(file)).output


def test_the_heat_is_darker_where_more_rules_lie() -> None:
    lines = trajectory.heat_map(USED["grid"])
    assert lines == ["default │██    │", "north   │    ░░│", "         depth 1 to 3; darkest is 4 rules"]
    assert [trajectory.shade(count, 100) for count in (0, 1, 26, 51, 100)] == [" ", "░", "▒", "▓", "█"]
    assert trajectory.heat_map([]) == []


# --- loading ----------------------------------------------------------------------------------------------------------------


def loaded(params: dict[str, Any]) -> Written:
    problem = params["problem"]
    return Written(
        {
            "part": params["part"],
            "whole": not params["more"],
            "facts": sum(len(pack.facts) for pack in packs_of(problem)),
            "rules": sum(len(pack.rule_ids) for pack in packs_of(problem)),
        }
    )


def packs_of(problem: dict[str, Any]) -> list[packs.Opened]:
    return [packs.opened(StoredPack(**pack)) for pack in problem.get("packs", [])]


def rules_in(sent: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rules of all parts, by the numbers of their atoms."""
    atoms: list[str] = []
    found = []
    for told in (pack for each in sent for pack in packs_of(each["problem"])):
        atoms += told.atoms
        left = iter(told.premises)
        for rule_id, count, head, cost, group in zip(
            told.rule_ids, told.counts, told.conclusions, told.costs_micro, told.group_of, strict=True
        ):
            body = [atoms[next(left)] for _ in range(count)]
            rule = {"rule_id": rule_id, "premises": body, "conclusion": atoms[head], "cost": cost / 1e6}
            found.append({**rule, "group": told.groups[group]})
    return found


def test_a_large_file_goes_in_parts_that_fit_and_are_one_load(run: Run, serve: Serve, tmp_path: Path) -> None:
    rules = [{"rule_id": f"r{n}", "premises": ["A", f"b{n}"], "conclusion": f"c{n}"} for n in range(9_000)]
    wide = [{"rule_id": f"w{n}", "premises": [f"{'x' * 100}{k}" for k in range(60)], "conclusion": "c"} for n in range(100)]
    file = tmp_path / "program.json"
    file.write_text(json.dumps({"facts": ["A"], "rules": rules + wide, "goals": ["c1"]}))
    peer = serve({"trajectory.load": loaded})
    assert "1 fact and 9,100 rules are the program now" in run("trajectory", "load", str(file)).stdout
    sent = [call.p for call in peer.calls]
    assert [each["part"] for each in sent] == list(range(len(sent))) and len(sent) > 1
    assert [each["more"] for each in sent] == [True] * (len(sent) - 1) + [False]
    assert len({each["load"] for each in sent}) == 1 and len(sent[0]["load"]) >= 8
    assert rules_in(sent) == [{**rule, "cost": 1.0, "group": "default"} for rule in rules + wide]
    assert max(len(json.dumps(each)) for each in sent) < 500_000
    run("trajectory", "load", str(file))
    assert peer.calls[-1].p["load"] != sent[0]["load"], "two loads are told apart"


@pytest.mark.parametrize(("code", "reason"), [("unavailable", None), ("resource-exhausted", "log-queue")])
def test_parts_that_came_out_of_turn_are_sent_again_in_turn(
    run: Run, serve: Serve, tmp_path: Path, code: str, reason: str | None
) -> None:
    """The first is put off once, so that the next ones come too early; in the end each is there once and in order."""
    rules = [{"rule_id": f"w{n}", "premises": [f"{n}{'x' * 100}{k}" for k in range(60)], "conclusion": "c"} for n in range(200)]
    file = tmp_path / "program.json"
    file.write_text(json.dumps({"facts": ["A"], "rules": rules}))
    taken: list[int] = []
    put_off = [0]

    def busy(params: dict[str, Any]) -> Written:
        if params["part"] in put_off:
            put_off.remove(params["part"])
            raise Refused(code, "not just now", reason=reason, retry_ms=1)
        if params["part"] != len(taken):
            raise Refused("failed-precondition", "not next", reason="part", data={"next_part": len(taken)})
        taken.append(params["part"])
        return loaded(params)

    serve({"trajectory.load": busy})
    assert "1 fact and 200 rules are the program now" in run("trajectory", "load", str(file)).stdout
    assert taken == list(range(len(taken))) and len(taken) > trajectory.PARTS_AT_ONCE
    taken.append(99)
    ran = run("trajectory", "load", str(file))
    assert ran.exit_code and "not next" in ran.output, "what somebody else began is not gone on with"


BAD: dict[str, tuple[Any, str]] = {
    "a cost below nothing": ({"rules": [RULE1, {**RULE1, "rule_id": "r2", "cost": -1}]}, "rule 2, r2, cannot be taken: cost"),
    "a name twice": ({"rules": [RULE1, RULE1]}, "rule 2, rule1, has the name of rule 1"),
    "a conclusion of nothing": ({"rules": [{**RULE1, "conclusion": ""}]}, "rule 1, rule1, cannot be taken: conclusion"),
    "no conclusion": ({"rules": [{"rule_id": "r", "premises": []}]}, "rule 1, r, cannot be taken"),
    "a field that is none": ({"rules": [{**RULE1, "weight": 1}]}, "rule 1, rule1, cannot be taken"),
    "no rule": ({"rules": ["r"]}, "rule 1 cannot be taken"),
    "a fact that is none": ({"facts": ["A", ""]}, "fact 2 cannot be taken"),
    "a goal that is none": ({"goals": [7]}, "goal 1 cannot be taken"),
    "no list": ({"rules": {}}, "rules is no list"),
    "a cost too fine": ({"rules": [RULE1, {**RULE1, "rule_id": "r2", "cost": 1e-7}]}, "rule 2, r2, has the cost 1e-07"),
    "a fact both ways": ({"facts": ["A", {"symbol": "A", "value": False}]}, "fact 2, A, is told to hold and not to hold"),
    "too many goals": ({"goals": ["A"] * 1_001}, "it has 1,001 goals, and a program has at most 1,000"),
    "another member": ({"actions": []}, "it has actions"),
    "no object": ([], "holds no object"),
}


@pytest.mark.parametrize("bad", BAD)
def test_the_first_wrong_rule_is_named_before_anything_is_sent(run: Run, serve: Serve, bad: str) -> None:
    document, said = BAD[bad]
    peer = serve({"trajectory.load": loaded})
    ran = run("trajectory", "load", "-", input=json.dumps(document))
    assert ran.exit_code and said in ran.output and not peer.calls
    assert "^" not in ran.output, "no pattern is shown to a person"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rule", "r", "C", "--cost", "nan"), "--cost nan is no amount. Give a number such as 2.5"),
        (("rule", "r", "C", "--cost", "-inf"), "--cost -inf is no amount"),
        (("costs", "rule1=inf"), "rule1=inf is not of the form RULE_ID=COST, such as rule1=2.5"),
        (("search", "--budget", "north=nan"), "north=nan is not of the form GROUP=COST, such as rule1=2.5"),
    ],
)
def test_what_is_no_amount_is_named_as_it_was_typed(run: Run, serve: Serve, words: tuple[str, ...], said: str) -> None:
    peer = serve({})
    ran = run("trajectory", *words)
    assert ran.exit_code == 2 and said in ran.output and not peer.calls


def test_what_follows_is_waited_for_as_long_as_a_million_rules_take(
    run: Run, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless somebody says how long."""
    waited: list[float] = []
    call = Session.call
    monkeypatch.setattr(Session, "call", lambda self, *told, **more: waited.append(self.timeout_s) or call(self, *told, **more))
    serve({"trajectory.forward_chain": CLOSED, "trajectory.explain": EXPLAINED})
    for words in (("trajectory", "closure"), ("trajectory", "explain", "E"), ("--timeout", "7", "trajectory", "closure")):
        assert run(*words).exit_code == 0
    assert waited == [trajectory.CLOSURE_S, trajectory.CLOSURE_S, 7.0] and trajectory.CLOSURE_S >= 300


def test_a_program_with_too_many_premises_is_refused_before_anything_is_sent(
    run: Run, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "LITERALS_MAX", 3)
    peer = serve({"trajectory.load": loaded})
    ran = run("trajectory", "load", "-", input=json.dumps({"rules": [RULE1, {**RULE1, "rule_id": "r2"}]}))
    assert ran.exit_code and "up to rule 2, r2, it has more than 3 premises" in ran.output and not peer.calls


def test_a_planning_problem_is_loaded_by_its_relaxation(run: Run, serve: Serve) -> None:
    peer = serve({"trajectory.load": loaded})
    problem = {
        "init": ["at a"],
        "goal": ["at b"],
        "actions": [{"name": "(move a b)", "pre": ["at a"], "add": ["at b"], "del": ["at a"]}],
    }
    assert run("trajectory", "load", "--strips", "-", input=json.dumps(problem)).exit_code == 0
    [sent] = [call.p for call in peer.calls]
    [pack] = [pack for pack in packs_of(sent["problem"]) if pack.facts]
    assert ([pack.atoms[fact] for fact in pack.facts], sent["problem"]["goals"]) == (["at a"], ["at b"])
    assert [(rule["rule_id"], rule["premises"], rule["conclusion"]) for rule in rules_in([sent])] == [
        ("move:a:b", ["at a"], "at b")
    ]
    ran = run("trajectory", "load", "--strips", "-", input=json.dumps({"init": [], "actions": [{"name": "x"}]}))
    assert "action 1, x, cannot be taken" in ran.output


def test_a_front_is_a_table_in_which_the_chosen_spine_is_marked(run: Run, serve: Serve) -> None:
    points = [
        {"cost": 1.25, "fairness": 0.735, "score": 1.0, "goals": 1, "rules": ["rule1", "rule2"], "hash": "a" * 64},
        {"cost": 2.0, "fairness": 1.0, "score": 0.625, "goals": 1, "rules": ["rule1", "rule3"], "hash": "b" * 64},
    ]
    peer = serve({"trajectory.search": {**FOUND, "front": points, "front_count": 3}})
    ran = run("trajectory", "search", "--mode", "pareto")
    lines = ran.stdout.splitlines()
    assert "cost 1.25, fairness 0.735, score 1" in lines and "front of 3 spines: whole, nothing is cheaper and fairer" in lines
    table = [line.split() for line in lines[-3:]]
    assert table[1] == ["1.25", "0.735", "1", "1", "of", "1", "this", "rule1", "rule2"]
    assert table[2] == ["2", "1", "0.625", "1", "of", "1", "rule1", "rule3"]
    assert "and 1 more, with lower scores" in ran.output
    peer.answers = {"trajectory.search": {**FOUND, "proof": "bound", "front": points, "front_count": 2}}
    assert "front of 2 spines: cut short, there may be better ones" in run("trajectory", "search").stdout


def test_goals_that_a_spine_does_without_are_named(run: Run, serve: Serve) -> None:
    peer = serve({"trajectory.search": {**FOUND, "goals": ["D", "E", "F"], "unreachable": ["F"]}})
    ran = run("trajectory", "search", "--fairness", "coverage", "--mode", "pareto")
    assert "not reached: E, F" in ran.output and ran.exit_code == 0
    assert peer.calls[0].p == {"mode": "pareto", "fairness": "coverage"}
