"""Programs in files: what is looked through at once is what is found one by one, and whatever is odd about a file is seen."""

import gc
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.trajectory import ENGINE, packs
from core.trajectory.events import StoredPack
from irerctl import programs
from irerctl.programs import Program, at_once, one_by_one, parts
from irerctl.session import Failure
from tests.core.engine_loop import EngineLoop

ATOMS = st.text('ab "\\é🏠{}[],:\u2028\x00', min_size=0, max_size=4)
COSTS = st.one_of(st.integers(-1, 3), st.sampled_from([0.5, 1e-6, 1e-7, 1e9, 1e10, 2.0]), st.none())
RULES = st.fixed_dictionaries(
    {
        "rule_id": st.sampled_from(["r1", "r2", "r3", "r 4", ""]) | st.integers(0, 99).map("s{}".format),
        "premises": st.lists(ATOMS, max_size=4),
        "conclusion": ATOMS,
    },
    optional={"cost": COSTS, "group": st.sampled_from(["north", "default", "no group", ""])},
)
FACTS = st.one_of(ATOMS, st.fixed_dictionaries({"symbol": ATOMS}, optional={"value": st.booleans()}))
DOCUMENTS = st.fixed_dictionaries(
    {}, optional={"facts": st.lists(FACTS, max_size=4), "rules": st.lists(RULES, max_size=5), "goals": st.lists(ATOMS, max_size=3)}
)
WELL = {"rule_id": "r", "premises": ["A", "B", "A"], "conclusion": "é", "cost": 2, "group": "north"}


def told(program: Program) -> tuple[Any, ...]:
    return tuple(list(column) for column in program)


@given(DOCUMENTS, st.booleans())
def test_what_is_found_at_once_is_what_is_found_one_by_one(document: dict[str, Any], ascii_alone: bool) -> None:
    """Else a program would mean one thing in a small file and another in a large one."""
    found = at_once(json.dumps(document, ensure_ascii=ascii_alone))
    try:
        slowly = one_by_one("FILE", document)
    except Failure:
        assert found is None, "nothing that is wrong is ever found well at once"
        return
    assert found is None or told(found) == told(slowly)
    if '"' not in "".join(_texts(document)) and "\\" not in "".join(_texts(document)):
        assert found is not None, "what is well is found so without going through it one by one"


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for each in value.values() for text in _texts(each)]
    return (
        [text for each in value for text in _texts(each)] if isinstance(value, list) else [value] if isinstance(value, str) else []
    )


RULE = json.dumps(WELL)


@pytest.mark.parametrize(
    "text",
    [
        '{"rules": [' + RULE.replace('"cost": 2', '"cost": 2, "cost": 3') + "]}",
        '{"rules": [' + RULE.replace('"conclusion"', '"conclusion": "B", "conclusion"') + "]}",
        '{"rules": [], "rules": [' + RULE + "]}",
        '{"facts": [{"symbol": "A", "value": true, "value": false}]}',
        '{"facts": [{"symbol": "A", "\\u0073ymbol": "B"}]}',
        '{"goals": ["A"], "goals": []}',
        '{"rules": [' + RULE.replace('"cost": 2', '"cost": NaN') + "]}",
        '{"rules": [' + RULE + "]} and more",
        '{"facts": ["\\ud800"]}',
        "[" * 5_000,
        '"A"',
    ],
)
def test_a_text_with_two_meanings_or_none_is_not_found_well(text: str) -> None:
    """Two values under one key: a decoder takes the last, and nobody would know."""
    assert at_once(text) is None
    with pytest.raises(Failure):
        programs.read("FILE", text)


def test_parts_hold_all_of_a_program_and_each_is_small() -> None:
    rules = [{**WELL, "rule_id": f"r{place}", "premises": [f"{place}{'x' * 110}", "A"] * (place % 30)} for place in range(3_000)]
    document = {"facts": [f"{place}{'f' * 100}" for place in range(5_000)], "rules": rules, "goals": [f"g{n}" for n in range(101)]}
    whole = one_by_one("FILE", document)
    sent = list(parts(whole))
    assert max(len(json.dumps(part)) for part in sent) < 500_000 and len(sent) > 3
    told = [packs.opened(StoredPack(**pack)) for part in sent for pack in part.get("packs", [])]
    assert max(len(json.dumps(pack)) for part in sent for pack in part.get("packs", [])) < 50_000, "each fits a record"
    atoms: list[str] = []
    premises: list[str] = []
    for pack in told:
        atoms += pack.atoms
        assert max([*pack.premises, *pack.conclusions, *pack.facts], default=-1) < len(atoms), "no number before its atom"
        premises += [atoms[number] for number in pack.premises]
    assert premises == [premise for rule in rules for premise in dict.fromkeys(rule["premises"])]
    assert [atoms[number] for pack in told for number in pack.facts] == document["facts"]
    assert sent[-1] == {"goals": document["goals"]}, "very many goals go alone"
    assert list(parts(programs.program_of({}))) == [{}], "an empty program is a program too"


def test_however_long_its_names_are_each_part_is_taken() -> None:
    atoms = [f"p{place:06}{'x' * 110}" for place in range(1_600)]
    rules = [
        {
            "rule_id": f"r{at:063}",
            "premises": [atoms[(at + each) % 1_600] for each in range(5)],
            "conclusion": "c",
            "group": f"g{at:063}",
        }
        for at in range(4_000)
    ]
    whole = at_once(json.dumps({"facts": atoms, "rules": rules}))
    assert whole is not None
    made, pieces = EngineLoop(ENGINE), list(parts(whole))
    for place, piece in enumerate(pieces):
        made.ask("load", {"problem": piece, "part": place, "more": place < len(pieces) - 1})
    assert len(made.state.parts.rules) == 4_000 and len(made.state.parts.facts) == 1_600


def test_the_collector_goes_on_as_before_also_after_a_failure() -> None:
    assert gc.isenabled()
    with pytest.raises(Failure), programs.without_collections():
        assert not gc.isenabled()
        programs.read("FILE", "[]")
    assert gc.isenabled()
