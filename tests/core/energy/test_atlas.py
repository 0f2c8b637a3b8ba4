"""The energy map says what the log says, in every form, and page by page."""

import io
import random
from typing import Any, get_args

import cbor2
import msgspec
import networkx as nx
import pytest

from core.energy import atlas
from core.energy.atlas import MapEdge, MapNode
from core.energy.engine import ENGINE, LOG
from core.energy.facts import Move, RegimeName, Source
from core.paging import PAGE_BYTES_MAX
from core.world import World
from tests.core.energy.eil_loop import BEGIN_US, EilLoop, settings

HALL: dict[str, dict[str, Any]] = {
    "pdu": {"place": "hall-1", "feeds": ["rack-a", "rack-b"]},
    "crac": {"cools": ["rack-a"]},
    "rack-b": {"idle_w": 100.0, "max_w": 300.0},
}


@pytest.fixture(scope="module")
def hall() -> EilLoop:
    """A rack whose power is measured and whose load trebles, one whose power is modelled, and what feeds and cools them."""
    loop = EilLoop(settings(sources=HALL))
    chance = random.Random(1)
    for step in range(260):
        load = (150 if step < 160 else 450) + chance.gauss(0, 2)
        loop.sense(10.0 * step, "rack-a", power_draw=load)
        loop.sense(10.0 * step, "rack-b", cpu_usage=0.5)
        loop.sense(10.0 * step, "pdu", power_draw=load + 200 + 30)
        loop.sense(10.0 * step, "crac", temperature=21.0)
    loop.ask("act", {"goal": "minimize_energy", "current_state": {"active_servers": 4, "avg_utilization": 0.5}})
    return loop


def edges_of(found: Any, relation: str) -> dict[tuple[str, str], MapEdge]:
    return {(edge.start, edge.end): edge for edge in found.edges if edge.relation == relation}


def known(thing: MapNode | MapEdge, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(thing, name)) is not None}


def test_the_map_shows_what_feeds_cools_and_stands_where(hall: EilLoop) -> None:
    found = hall.look("energy_map")
    assert set(edges_of(found, "feeds")) == {("source:pdu", "source:rack-a"), ("source:pdu", "source:rack-b")}
    assert set(edges_of(found, "cools")) == {("source:crac", "source:rack-a")}
    assert set(edges_of(found, "contains")) == {("place:hall-1", "source:pdu")}
    nodes = {node.id: node for node in found.nodes}
    assert nodes["source:rack-a"].provenance == "measured" and nodes["source:rack-b"].provenance == "modelled"
    assert nodes["source:crac"].unit == "1" and nodes["source:crac"].provenance == "surrogate"
    assert edges_of(found, "feeds")["source:pdu", "source:rack-b"].weight == nodes["source:rack-b"].value
    assert {edge.end for edge in found.edges} | {edge.start for edge in found.edges} <= nodes.keys()
    assert [edge.start for edge in found.edges if edge.relation == "caused"] == ["account:uid:1001"]


def test_each_transition_names_the_record_that_says_so(hall: EilLoop) -> None:
    found = edges_of(hall.look("energy_map"), "transitions")
    assert any(start.startswith("regime:rack-a/") for start, _ in found)
    for (start, end), edge in found.items():
        log, _, seq = str(edge.record).partition(":")
        kind, payload, _ = hall.records[int(seq)]
        event = hall.world.event(kind, payload)
        assert (log, start, end) == (
            "energy_log",
            f"regime:{event.source}/{event.from_regime}",
            f"regime:{event.source}/{event.to_regime}",
        )
    shifts = sum(source.shifts for source in hall.state.sources.values())
    assert shifts == sum(edge.count for edge in found.values()) > 0


def test_a_source_that_changed_its_regime_is_kept_in_a_snapshot(hall: EilLoop) -> None:
    assert any(source.moves for source in hall.state.sources.values())
    kept = World([ENGINE])
    kept.load(LOG, hall.world.dump(LOG))
    assert kept.states["eil"] == hall.state


def test_a_junction_tells_what_arrives_nowhere_and_how_sure_that_is(hall: EilLoop) -> None:
    (junction,) = hall.look("energy_map").junctions
    totals = {name: source.totals for name, source in hall.state.sources.items()}
    assert junction.difference_j == pytest.approx(totals["pdu"].energy_j - totals["rack-a"].energy_j - totals["rack-b"].energy_j)
    assert junction.difference_j == pytest.approx(30 * 2_590, rel=0.01)
    assert junction.sigma_j == totals["rack-b"].sigma_j > 0


def test_what_only_orders_is_summed_up_nowhere() -> None:
    loop = EilLoop(settings(sources={"pdu": {"feeds": ["rack-a"]}}))
    loop.sense(0.0, "pdu", power_draw=100.0)
    loop.sense(0.0, "rack-a", temperature=20.0)
    found = loop.look("energy_map")
    assert not found.junctions and edges_of(found, "feeds")["source:pdu", "source:rack-a"].unit == "1"


def test_graphml_reads_back_equal(hall: EilLoop) -> None:
    found, text = hall.look("energy_map"), hall.look("energy_map", {"format": "graphml"}).document
    read = nx.read_graphml(io.BytesIO(text.encode()), force_multigraph=True)
    told = {
        node.id: {name: value for name in atlas._NODE_FIELDS if (value := getattr(node, name)) is not None} for node in found.nodes
    }
    assert dict(read.nodes(data=True)) == told
    edges = [{name: value for name in atlas._EDGE_FIELDS if (value := getattr(edge, name)) is not None} for edge in found.edges]
    back = sorted(read.edges(keys=True, data=True), key=lambda each: int(each[2][1:]))
    assert [(start, end) for start, end, _, _ in back] == [(edge.start, edge.end) for edge in found.edges]
    assert [{key: value for key, value in data.items() if key != "id"} for _, _, _, data in back] == edges


def test_hostile_text_stays_text() -> None:
    name = "a'b\"<&>\\\n} DETACH DELETE n //"
    node, edge = (
        MapNode(f"source:{name}", "source", name),
        MapEdge(f"source:{name}", f"source:{name}", "feeds", 1.0, "J", "measured"),
    )
    read = nx.read_graphml(io.BytesIO(atlas.graphml([node], [edge]).encode()))
    assert {data["name"] for _, data in read.nodes(data=True)} == {name}
    lines = atlas.cypher([node], [edge]).splitlines()
    assert len(lines) == 2 and all(line.endswith("};") for line in lines)
    quoted = r"'source:a\'b\"<&>\\\n} DETACH DELETE n //'".replace(r"\"", '"')
    assert lines[0].startswith(f"MERGE (n:Source {{id: {quoted}}}) SET n += ")
    assert f"MATCH (a {{id: {quoted}}}), (b {{id: {quoted}}}) MERGE (a)-[r:FEEDS]->(b) SET r += " in lines[1]


def test_statements_merge_by_id_so_that_twice_is_once(hall: EilLoop) -> None:
    found, text = hall.look("energy_map"), hall.look("energy_map", {"format": "cypher"}).document
    lines = text.splitlines()
    assert len(lines) == len(found.nodes) + len(found.edges) and "CREATE" not in text
    assert all(line.startswith("MERGE (n:") for line in lines[: len(found.nodes)])
    assert all(") MERGE (a)-[r:" in line for line in lines[len(found.nodes) :])


def test_the_pages_together_are_the_whole(hall: EilLoop) -> None:
    whole = hall.look("energy_map")
    nodes, edges, after = set(), [], None
    for _ in range(4):
        page = hall.look("energy_map", {"limit": 1, **({"after": after} if after else {})})
        nodes |= {node.id for node in page.nodes}
        edges += page.edges
        after = page.next
    assert after is None and nodes == {node.id for node in whole.nodes}
    assert {(edge.start, edge.end, edge.relation) for edge in edges} == {
        (edge.start, edge.end, edge.relation) for edge in whole.edges
    }


@pytest.mark.parametrize("form", ["json", "graphml", "cypher"])
def test_a_page_fits_into_a_frame_however_many_sources_are_asked_for(form: str) -> None:
    """Of names as long and as awkward as names can be, with every change of regime there is."""
    loop = EilLoop()
    regimes = get_args(RegimeName)
    moves = {f"{was} {now}": Move(10**15, BEGIN_US, 10**15) for was in regimes for now in regimes if was != now}
    for number in range(120):
        source = Source("uid:1", [("power_draw", "W")], moves=moves, newest_us=BEGIN_US)
        loop.state.sources[f"{number:03d}".ljust(100, "&")] = source
    seen, after, pages = 0, None, 0
    while after is not None or not pages:
        page = loop.look("energy_map", {"limit": 1_000, "format": form, **({"after": after} if after else {})})
        assert len(cbor2.dumps(msgspec.to_builtins(page))) <= PAGE_BYTES_MAX
        text = page.document or ""
        seen += sum(node.kind == "source" for node in page.nodes) + text.count("MERGE (n:Source") + text.count('<node id="source:')
        after, pages = page.next, pages + 1
    assert seen == 120 and pages > 1


def test_helmholtz_on_two_ends_by_hand_and_on_a_standing_wave() -> None:
    """L(1, 2) = (−1, 1); the best λ is 1/5; what is left is (−1.2, 0.6), of length 0.6 · ‖(1, 2)‖. A constant has λ = 0."""
    edge = MapEdge("a", "b", "feeds", 1.0, "J", "measured")
    assert atlas.helmholtz_residual({"a": 1.0, "b": 2.0}, [edge]) == pytest.approx(0.6)
    assert atlas.helmholtz_residual({"a": 7.0, "b": 7.0}, [edge]) == pytest.approx(0, abs=1e-12)
    assert atlas.helmholtz_residual({"a": 1.0, "b": 2.0}, []) is None
    assert atlas.helmholtz_residual({"a": 0.0, "b": 0.0}, [edge]) is None
