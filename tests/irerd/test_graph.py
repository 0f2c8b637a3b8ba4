"""The graph beside the logs: what it links, that it is the same however it was made, and that its exports say just that."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from msgspec import inspect
from prov.model import ProvDocument

from core.canonical import encode
from core.engines import ENGINES
from core.provenance.links import RELATIONS, RULES_TOLD_MAX, THINGS
from core.provenance.reads import Edge, Node
from irerd import graph
from irerd.graph import INDEX, Behind, Index, document
from state.fs import RealFiles
from state.ledger import open_ledger
from state.log import Log
from state.recover import recover
from state.rotation import Limits
from state.seal import Pending
from tests.core.test_every_engine import WORDS
from tests.irerd.prov_json import SCHEMA
from tests.state.logs import BOOT_ID, Ids, stamp

SMALL = Limits(bytes=4_096, records=12, age_us=24 * 3_600_000_000)


class Ledger:
    """Real logs in a real directory, written as a daemon would."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.files = RealFiles(place)
        self.ledger = open_ledger(self.files, Ids())
        self.logs: dict[str, Log] = {}
        self.moment = 1_000_000

    def log(self, name: str) -> Log:
        if name not in self.logs:
            self.logs[name] = recover(self.files, name, self.ledger.origin(name), stamp, lambda batch: None, limits=SMALL).log
        return self.logs[name]

    def write(self, name: str, *events: tuple[str, dict[str, Any]], actor: str = "uid:7", idem: str | None = None) -> int:
        """One command, durable. Answers its first record."""
        log = self.log(name)
        self.moment += 1
        key = ("0" * 32, idem) if idem is not None else None
        records = [
            Pending(kind, encode(data), actor, BOOT_ID, self.moment, stamp()[0] + self.moment, None) for kind, data in events
        ]
        records[0] = records[0]._replace(idem=key)
        first = log.next_seq
        log.commit(log.seal(records).data)
        return first

    @property
    def durable(self) -> dict[str, int]:
        return {name: log.next_seq - 1 for name, log in self.logs.items()}

    def index(self) -> Index:
        return Index(self.place, self.durable)

    def close(self) -> None:
        for log in self.logs.values():
            log.close()
        self.ledger.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path)
    yield made
    made.close()


def whole(index: Index, run_id: str | None = None, limit: int = 1_000) -> tuple[dict[str, Node], set[tuple[str, str, str]]]:
    """All pages together."""
    nodes: dict[str, Node] = {}
    edges: list[Edge] = []
    after: int | None = 0
    while after is not None:
        page, more, _, after = index.page(run_id, limit, after, None)
        nodes |= {node.id: node for node in page}
        edges += more
    said = {(edge.source, edge.relation, edge.target) for edge in edges}
    assert len(said) == len(edges), "an edge is told once"
    assert {end for edge in edges for end in (edge.source, edge.target)} <= nodes.keys()
    assert index.counts(run_id) == (len(nodes), len(edges))
    return nodes, said


def history(ledger: Ledger) -> dict[str, str]:
    """An order, what came of it, and a run; the records by what they are."""
    order = ledger.write("orders", ("order.placed", {"order_id": "o-1", "customer": "pn_1", "entity_id": "e-1"}))
    task = f"order:orders:{order}:0"
    submitted = ledger.write(
        "engine_state",
        ("task.submitted", {"task_id": task, "depends_on": ["t-0"]}),
        ("task.started", {"task_id": task}),
        actor="irer",
        idem=f"orders:{order}:0",
    )
    tap = ledger.write("provenance_log", ("provenance.tapped", {"tapped": "user_action", "data": {"a": 1}, "run_id": "run_001"}))
    edge = ledger.write(
        "provenance_log",
        (
            "provenance.edge",
            {"source": "fact_A", "target": f"orders:{order}", "rule": "rule1", "run_id": "run_001", "cost": 2.5},
        ),
    )
    ledger.write("provenance_log", ("provenance.anomaly", {"kind": "burst"}))
    return {
        "order": f"orders:{order}",
        "submitted": f"engine_state:{submitted}",
        "started": f"engine_state:{submitted + 1}",
        "task": f"task:{task}",
        "tap": f"provenance_log:{tap}",
        "edge": f"provenance_log:{edge}",
    }


def test_an_order_is_linked_to_all_that_came_of_it(ledger: Ledger) -> None:
    at = history(ledger)
    index = ledger.index()
    index.catch_up()
    nodes, edges = whole(index)
    assert {
        ("order:o-1", "generated-by", at["order"]),
        (at["order"], "used", "customer:pn_1"),
        (at["order"], "used", "entity:e-1"),
        (at["order"], "done-by", "actor:uid:7"),
        (at["task"], "generated-by", at["submitted"]),
        (at["submitted"], "used", "task:t-0"),
        (at["submitted"], "caused-by", at["order"]),
        (at["submitted"], "done-by", "actor:irer"),
        (at["started"], "used", at["task"]),
        (at["started"], "caused-by", at["submitted"]),
        (at["started"], "done-by", "actor:irer"),
        (at["tap"], "member-of", "run:run_001"),
        (at["tap"], "done-by", "actor:uid:7"),
        (at["order"], "derived-from", "thing:fact_A"),
        (at["edge"], "member-of", "run:run_001"),
        (at["edge"], "done-by", "actor:uid:7"),
    } == edges
    assert nodes[at["submitted"]].label == "task.submitted" and nodes["actor:irer"].kind == "actor"
    index.close()


def test_hunts_decisions_trajectories_and_proofs_are_linked_to_what_they_came_from(ledger: Ledger) -> None:
    """A decision that takes another one back did not make that one; points that led to no prediction are no node."""
    hunt = ledger.write("hunt_log", ("hunt.started", {"hunt_id": "h-1"}), ("hunt.scored", {"hunt_id": "h-1", "job_uuid": "j-1"}))
    rule = ledger.write("trajectory_log", ("trajectory.rule_added", {"rule_id": "r-1"}))
    folded = ledger.write("trajectory_log", ("trajectory.folded", {"hash": "ab", "rule_ids": [f"r-{n}" for n in range(1, 200)]}))
    sensed = ledger.write("energy_log", ("energy.sensed", {"source": "s", "claim": {"prediction_id": "p-1"}}))
    ledger.write("energy_log", ("energy.sensed", {"source": "s", "again": "p-1"}))
    met = ledger.write("energy_log", ("energy.claims_met", {"source": "s", "met": [{"prediction_id": "p-1"}]}))
    chosen = ledger.write("energy_log", ("energy.action_chosen", {"action_id": "a-2", "undoes": "a-1"}))
    index = ledger.index()
    index.catch_up()
    edges = {edge for edge in whole(index)[1] if edge[1] != "done-by"}
    index.close()
    rules = {edge for edge in edges if edge[0] == f"trajectory_log:{folded}"}
    assert edges - rules == {
        ("hunt:h-1", "generated-by", f"hunt_log:{hunt}"),
        (f"hunt_log:{hunt + 1}", "used", "hunt:h-1"),
        (f"hunt_log:{hunt + 1}", "caused-by", f"hunt_log:{hunt}"),
        ("job:j-1", "generated-by", f"hunt_log:{hunt + 1}"),
        ("rule:r-1", "generated-by", f"trajectory_log:{rule}"),
        ("trajectory:ab", "generated-by", f"trajectory_log:{folded}"),
        ("prediction:p-1", "generated-by", f"energy_log:{sensed}"),
        (f"energy_log:{sensed}", "used", "source:s"),
        (f"energy_log:{met}", "used", "prediction:p-1"),
        (f"energy_log:{met}", "used", "source:s"),
        ("decision:a-2", "generated-by", f"energy_log:{chosen}"),
        (f"energy_log:{chosen}", "used", "decision:a-1"),
    }
    assert len(rules) == RULES_TOLD_MAX and (f"trajectory_log:{folded}", "used", "rule:r-1") in rules


def test_a_run_is_shown_alone_and_its_edges_carry_rule_and_cost(ledger: Ledger) -> None:
    at = history(ledger)
    index = ledger.index()
    index.catch_up()
    nodes, edges = whole(index, "run_001")
    assert set(nodes) == {at["tap"], at["edge"], at["order"], "run:run_001", "actor:uid:7", "thing:fact_A"} and len(edges) == 5
    assert whole(index, "no such run") == ({}, set())
    [told] = [edge for edge in index.page("run_001", 9, 0, None)[1] if edge.relation == "derived-from"]
    assert (told.rule, told.cost) == ("rule1", 2.5)
    index.close()


def test_only_irers_own_commands_are_caused_by_the_key_they_were_asked_with(ledger: Ledger) -> None:
    """A caller may choose a key that looks like an effect's id."""
    order = ledger.write("orders", ("order.placed", {"order_id": "o-1"}))
    ledger.write("engine_state", ("task.submitted", {"task_id": "t"}), actor="uid:7", idem=f"orders:{order}:0")
    ledger.write("engine_state", ("task.submitted", {"task_id": "u"}), actor="irer", idem="nowhere:1:0")
    index = ledger.index()
    index.catch_up()
    assert not [edge for edge in whole(index)[1] if edge[1] == "caused-by"]
    index.close()


def test_the_graph_is_the_same_made_at_once_or_bit_by_bit_over_many_segments(
    ledger: Ledger, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(graph, "COMMIT_RECORDS", 3)
    for number in range(40):
        ledger.write("engine_state", ("task.submitted", {"task_id": f"t-{number}"}), ("task.started", {"task_id": f"t-{number}"}))
        if number % 9 == 0:
            ledger.log("engine_state").rotate(stamp)
            index = ledger.index()
            index.catch_up()
            index.close()
        if number % 7 == 0:
            history(ledger)
    index = ledger.index()
    index.catch_up()
    index.catch_up()
    bit_by_bit = whole(index, limit=7)
    index.close()
    (tmp_path / INDEX).unlink()
    at_once = ledger.index()
    at_once.catch_up()
    assert whole(at_once) == bit_by_bit and len(bit_by_bit[0]) > 120
    at_once.close()


def test_pages_fit_a_frame_and_miss_nothing(ledger: Ledger, monkeypatch: Any) -> None:
    for _ in range(5):
        history(ledger)
    index = ledger.index()
    index.catch_up()
    monkeypatch.setattr("core.paging.PAGE_VALUES_MAX", 40)
    from core.paging import Room

    seen: set[str] = set()
    after: int | None = 0
    pages = 0
    while after is not None:
        _, edges, taken, after = index.page(None, 1_000, after, Room())
        assert taken
        pages += 1
        seen |= {f"{edge.source} {edge.relation} {edge.target}" for edge in edges}
    assert pages > 3 and len(seen) == index.counts(None)[1]
    index.close()


def test_a_damaged_index_is_made_anew(ledger: Ledger, tmp_path: Path) -> None:
    at = history(ledger)
    index = ledger.index()
    index.catch_up()
    index.close()
    (tmp_path / INDEX).write_bytes(b"no database" * 1_000)
    index = ledger.index()
    index.catch_up()
    assert at["order"] in whole(index)[0]
    index.close()


@pytest.mark.parametrize(
    "other",
    [
        "UPDATE log SET tip = 'another' WHERE name = 'orders'",
        "UPDATE log SET next_seq = 900 WHERE name = 'orders'",
        f"UPDATE meta SET value = '{graph.VERSION} another ledger'",
        f"UPDATE meta SET value = replace(value, '{graph.VERSION} ', '0 ')",
    ],
)
def test_an_index_of_another_history_is_made_anew(ledger: Ledger, tmp_path: Path, other: str) -> None:
    """A restored or repaired log has other records under the same numbers; another version says other things of the same ones."""
    history(ledger)
    index = ledger.index()
    index.catch_up()
    before = whole(index)
    index.close()
    database = apsw.Connection(str(tmp_path / INDEX))
    database.execute(f"INSERT INTO thing(kind, name) VALUES('order', 'never placed'); {other}")
    database.close()
    index = ledger.index()
    index.catch_up()
    assert whole(index) == before
    index.close()


def test_records_that_were_let_go_are_passed_over(ledger: Ledger, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(graph, "COMMIT_RECORDS", 2)
    for number in range(12):
        ledger.write("orders", ("order.placed", {"order_id": f"o-{number}"}))
        if number in (5, 8):
            ledger.log("orders").rotate(stamp)
    oldest = min(tmp_path.glob("orders.0*.jsonl"))
    oldest.unlink()
    index = ledger.index()
    index.catch_up()
    assert {node for node in whole(index)[0] if node.startswith("order:")} == {f"order:o-{number}" for number in range(6, 12)}
    index.close()


def test_what_takes_too_long_is_said_and_goes_on_next_time(ledger: Ledger, monkeypatch: Any) -> None:
    monkeypatch.setattr(graph, "COMMIT_RECORDS", 2)
    for number in range(9):
        ledger.write("orders", ("order.placed", {"order_id": f"o-{number}"}))
    clock = iter([0.0, *[100.0] * 100])
    index = Index(ledger.place, ledger.durable, lambda: next(clock))
    left = []
    for _ in range(9):
        clock = iter([0.0, *[100.0] * 100])
        try:
            index.catch_up()
            break
        except Behind as behind:
            left.append(behind.records)
    assert left == [8, 6, 4, 2] and len(whole(index)[0]) == 9 * 2 + 1
    index.close()


# --- exports ----------------------------------------------------------------------------------------------------------------

KINDS = ["record", "actor", "thing", "run", "document", "trajectory", "source", *THINGS.values()]
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=12)
COSTS = st.sampled_from([None, 0.0, 2.5, 1e-9]) | st.floats(0, 1e15)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[Node], list[Edge]]:
    nodes: dict[str, Node] = {}
    for kind in draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=8)):
        name = draw(TEXTS)
        id = f"orders:{len(nodes)}" if kind == "record" else f"{kind}:{name}"
        there = kind == "record" and draw(st.booleans())  # a record that was let go, or never was, has neither type nor time
        time = "2026-01-31T12:00:00.000001Z" if there else None
        nodes[id] = Node(id, kind, name if kind != "record" else "order.placed" if there else "", time)
    ends = st.sampled_from(list(nodes.values()))
    edges = []
    for _ in range(draw(st.integers(0, 8))):
        source, target, relation = draw(ends), draw(ends), draw(st.sampled_from(RELATIONS))
        if fits(relation, source.kind, target.kind):
            rule = draw(st.none() | TEXTS) if relation == "derived-from" else None
            edge = Edge(source.id, target.id, relation, rule, draw(COSTS) if rule else None)
            edges += [edge] * draw(st.sampled_from([1, 1, 2]))  # two records may say the same
    return list(nodes.values()), edges


def fits(relation: str, source: str, target: str) -> bool:
    """Which ends an edge of a kind has, as records give them."""
    return {
        "used": source == "record" != target,
        "generated-by": source not in ("record", *graph.AGENTS) and target == "record",
        "caused-by": source == target == "record",
        "done-by": source == "record" and target == "actor",
        "derived-from": True,
        "member-of": source == "record" and target == "run",
    }[relation]


def survives(nodes: list[Node], edges: list[Edge]) -> None:
    """As PROV-JSON it is valid and says all that the graph says, and is the same after JSON -> PROV-N -> JSON."""
    exported = document(nodes, edges, "0" * 16)
    text = exported.serialize(format="json")
    assert text is not None
    parsed = json.loads(text)
    Draft202012Validator(SCHEMA).validate(parsed)
    elements = [element for kind in ("entity", "activity", "agent") for element in parsed.get(kind, {}).values()]
    assert len(elements) == len(nodes), "no two nodes are one"
    assert sorted(element["prov:label"] for element in elements) == sorted(
        node.id if node.kind == "record" else node.label for node in nodes
    )
    relations = [kind for kind in parsed if kind not in ("prefix", "entity", "activity", "agent")]
    assert sum(len(parsed[kind]) for kind in relations) == len(statements(nodes, edges)), "what two records say alike is said once"
    from_json = ProvDocument.deserialize(content=text, format="json")
    notation = from_json.get_provn()
    from_notation = ProvDocument.deserialize(source=io.StringIO(notation), format="provn")
    assert from_notation == from_json == exported
    again = from_notation.serialize(format="json")
    assert again is not None and unnumbered(json.loads(again)) == unnumbered(parsed)


def statements(nodes: list[Node], edges: list[Edge]) -> set[tuple[Any, ...]]:
    kind = {node.id: node.kind for node in nodes}
    own = graph._statement
    return {
        (own(edge.relation, kind[edge.source], kind[edge.target]), edge.source, edge.target, edge.rule, edge.cost) for edge in edges
    }


def unnumbered(parsed: dict[str, Any]) -> dict[str, Any]:
    """Without the numbers that blank ids have, and with no order among what has them."""
    blank = {kind: [each for id, each in rows.items() if id.startswith("_:")] for kind, rows in parsed.items()}
    named = {kind: {id: each for id, each in rows.items() if not id.startswith("_:")} for kind, rows in parsed.items()}
    return {kind: (sorted(map(repr, map(sorted_items, blank[kind]))), named[kind]) for kind in parsed}


def sorted_items(row: dict[str, Any]) -> list[tuple[str, Any]]:
    return sorted(row.items())


@settings(max_examples=80, deadline=None)
@given(graphs())
def test_an_export_is_valid_and_survives_json_to_prov_n_to_json(made: tuple[list[Node], list[Edge]]) -> None:
    survives(*made)


def filled(info: inspect.Type) -> Any:
    """One value of a type, with all in it that may be there."""
    match info:
        case inspect.Metadata():
            return filled(info.type)
        case inspect.BoolType():
            return True
        case inspect.IntType() | inspect.FloatType():
            return max(info.ge or 0, 1)
        case inspect.LiteralType():
            return info.values[0]
        case inspect.StrType():
            fits = (word for word in WORDS if (info.min_length or 0) <= len(word) and re.search(info.pattern or "", word))
            return next(fits)
        case inspect.ListType() | inspect.VarTupleType():
            return [filled(info.item_type)] * max(info.min_length or 0, 1)
        case inspect.TupleType():
            return [filled(member) for member in info.item_types]
        case inspect.DictType():
            return {filled(info.key_type): filled(info.value_type)}
        case inspect.UnionType():
            return filled(next(member for member in info.types if not isinstance(member, inspect.NoneType)))
        case inspect.StructType():
            return {field.encode_name: filled(field.type) for field in info.fields}
    return "a"


def test_every_event_there_is_gives_a_graph_that_is_exported_whole(ledger: Ledger) -> None:
    """Each event of each engine with all its fields, as itself and as an effect of an order: no other edges than `fits` knows."""
    order = ledger.write("orders", ("order.placed", {"order_id": "o-1"}))
    for engine in ENGINES:
        events = [(kind.event_type, filled(inspect.type_info(kind))) for kind in engine.applies]
        if engine.log is not None and events:
            ledger.write(engine.log, *events, *events, actor="uid:7")
            ledger.write(engine.log, *events, actor="irer", idem=f"orders:{order}:0")
    ledger.write(
        "provenance_log", ("provenance.edge", {"source": "orders:999", "target": "b", "rule": "r", "run_id": "a", "cost": 0.1})
    )
    index = ledger.index()
    index.catch_up()
    nodes, edges, _, after = index.page(None, 10_000, 0, None)
    index.close()
    kinds = {node.id: node.kind for node in nodes}
    assert after is None and len(edges) > 1_000
    assert all(fits(edge.relation, kinds[edge.source], kinds[edge.target]) for edge in edges)
    assert {edge.relation for edge in edges} == set(RELATIONS) and set(KINDS) - set(kinds.values()) == set()
    begun = {kinds[edge.source] for edge in edges if edge.relation == "generated-by"}
    assert begun == set(KINDS) - {"record", "actor", "run", "thing", "customer", "subject", "route", "source"}, (
        "these come from outside"
    )
    survives(nodes, edges)


@pytest.mark.parametrize(
    "broken",
    [
        {"used": {"_:1": {"prov:entity": "a:b"}}},
        {"entity": {"a:b": {"label": "no prefix"}}},
        {"activity": {"a:b": {"prov:startTime": "yesterday"}}},
        {"wasGeneratedBy": {"_:1": {"prov:entity": "a:b", "x:y": {"type": "xsd:string"}}}},
        {
            "wasDerivedFrom": {
                "_:1": {"prov:generatedEntity": "a:b", "prov:usedEntity": "a:c", "x:y": {"$": 2.5, "type": "xsd:double"}}
            }
        },
        {"used": {"_:1": [{"prov:activity": "a:b", "prov:entity": "a:c"}]}},
        {"made": {}},
    ],
)
def test_the_schema_refuses_what_is_no_prov_json(broken: dict[str, Any]) -> None:
    assert not Draft202012Validator(SCHEMA).is_valid(broken)
