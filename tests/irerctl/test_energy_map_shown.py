"""`irerctl energy` and `irerctl eil map`: the energy map in a terminal, as a picture, and as documents."""

import json
from pathlib import Path
from typing import Any

import msgspec
import networkx as nx
import pytest

from core.energy.atlas import EnergyMap, Junction, MapEdge, MapNode
from irerctl import energy_picture
from tests.irerctl.conftest import Run, Serve
from tests.irerctl.test_picture import ANSI, CONTROL, HARM, decoded

WARM = energy_picture.REGIMES["transition"]


def the_map(name: str = "rack-a", **changed: Any) -> dict[str, Any]:
    source, fed = f"source:{name}", "source:rack-b"
    found = EnergyMap(
        [
            MapNode("place:hall", "place", "hall"),
            MapNode(source, "source", name, 2.5e6, "J", "measured", None, "transition", "2026-01-01T00:00:00Z"),
            MapNode(fed, "source", "rack-b", 17.5, "1", "surrogate", None, "stable", "2026-01-01T00:00:00Z"),
            MapNode("account:uid:1", "account", "uid:1"),
        ],
        [
            MapEdge("place:hall", source, "contains", 1.0, "1", "measured"),
            MapEdge(source, fed, "feeds", 17.5, "J", "measured", 3),
            MapEdge(fed, "account:uid:1", "settled", 4.0, "1", "measured", 4),
        ],
        [Junction(name, 2.5e6, 2.0e6, 5.0e5, 100.0)],
        2,
    )
    return {**msgspec.to_builtins(found), **changed}


def colours(found: dict[str, Any]) -> set[tuple[int, ...]]:
    width, _, rows = decoded(energy_picture.png(found))
    return {tuple(row[3 * x : 3 * x + 3]) for row in rows for x in range(width)}


def test_the_terminal_shows_what_hangs_on_what(run: Run, serve: Serve) -> None:
    serve({"eil.energy_map": the_map()})
    said = run("eil", "map").stdout
    assert "source rack-a  2.5 MJ (measured), transition" in said and "   feeds source rack-b" in said
    assert "17.5 (orders) (surrogate)" in said and "   settled account uid:1 × 4" in said
    assert "2,500,000.0 J drawn, 2,000,000.0 J arrive, 500,000.0 ± 100.0 J do not" in said


def test_an_empty_map_says_what_to_type(run: Run, serve: Serve) -> None:
    serve({"eil.energy_map": the_map(nodes=[], edges=[], junctions=[], total=0)})
    assert run("eil", "map").stdout.startswith("nothing on the map yet")


@pytest.mark.parametrize("hostile", [HARM, "a\nb", "x" * 400])
def test_names_that_harm_are_shown_as_text(run: Run, serve: Serve, hostile: str) -> None:
    serve({"eil.energy_map": the_map(hostile)})
    said = run("eil", "map")
    assert said.exit_code == 0 and not CONTROL.search(ANSI.sub("", said.stdout))
    decoded(energy_picture.png(the_map(hostile)))


def test_the_picture_has_a_box_in_the_colour_of_each_regime_and_a_line_where_something_flows() -> None:
    assert {WARM, energy_picture.REGIMES["stable"], energy_picture.FLOWS["feeds"]} <= colours(the_map())
    assert energy_picture.FLOWS["feeds"] not in colours(the_map(edges=[]))


def test_a_thousand_sources_are_drawn_as_far_as_there_is_room() -> None:
    nodes = [{"id": f"source:{place}", "kind": "source", "name": str(place), "value": 1.0, "unit": "J"} for place in range(1_000)]
    _, height, _ = decoded(energy_picture.png(the_map(nodes=nodes, edges=[], total=1_000)))
    assert height < 100 + energy_picture.ROWS_MAX * (energy_picture.BOX_HEIGHT + energy_picture.GAP) + 100


def test_files_are_written_whole_or_the_reason_is_told(
    run: Run, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(params: Any) -> dict[str, Any]:
        form, first = (params or {}).get("format", "json"), "after" not in (params or {})
        page = the_map("rack-a" if first else "rack-z", **({"next": "rack-a"} if first else {}))
        return page if form == "json" else {**page, "nodes": [], "edges": [], "document": f"a {form} document\n"}

    serve({"eil.energy_map": answer})
    files = {form: tmp_path / form for form in ("png", "graphml", "cypher")}
    said = run("energy", *(word for form, path in files.items() for word in (f"--{form}", str(path))))
    assert said.exit_code == 0, said.output
    decoded(files["png"].read_bytes())
    assert files["cypher"].read_text() == "a cypher document\n" * 2
    read = nx.read_graphml(files["graphml"])
    assert {"source:rack-a", "source:rack-z"} < set(read) and read.number_of_edges() == 6, "one document of all pages"
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} >= set(files) and not list(tmp_path.glob("*.part"))
    monkeypatch.chdir(tmp_path)
    assert run("energy", "--cypher", "-").stdout == "a cypher document\n" * 2 and not (tmp_path / "-").exists()
    nowhere = run("energy", "--png", str(tmp_path / "no/such/a.png"))
    assert nowhere.exit_code != 0 and "Give a file in a directory that is yours: --png FILE" in nowhere.output


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (["b=1", "c=2", "b=3"], "b is given twice"),
        (["b="], "nothing is no number"),
        (["b=nan"], "Leave b out"),
        (["b=1", "--context", "k=x", "--context", "k=y"], "k is given twice"),
    ],
)
def test_what_would_be_lost_or_is_no_number_is_told_before_anything_is_sent(
    run: Run, serve: Serve, given: list[str], why: str
) -> None:
    sent: list[Any] = []
    serve({"eil.sense": sent.append})
    said = run("sense", "a", *given)
    assert said.exit_code == 2 and why in said.stderr and not sent


def test_an_answer_of_the_tables_is_a_table_in_which_nothing_harms(run: Run, serve: Serve) -> None:
    rows = [{"values": ["rack-a", 2.5e6, None]}, {"values": [HARM, 7, "J"]}]
    serve({"eil.query": {"columns": ["name", HARM, "unit"], "rows": rows, "record": 7, "more": True}})
    said = run("eil", "query", "SELECT name, value, unit FROM node")
    assert "rack-a" in said.stdout and "2500000" in said.stdout and not CONTROL.search(ANSI.sub("", said.stdout))
    assert "add --limit" in said.output


def test_an_answer_without_rows_is_said(run: Run, serve: Serve) -> None:
    serve({"eil.query": {"columns": ["name"], "rows": [], "record": 7}})
    assert run("eil", "query", "SELECT name FROM node WHERE 0").stdout == "no rows\n"


def test_alone_it_says_how_energy_intelligence_is(run: Run, serve: Serve) -> None:
    health = {"sources": 1, "streams": 2, "regimes": {"stable": 1}, "points": 3, "refused": 0, "predictions_open": 1}
    serve({"eil.health": {**health, "proofs": {}, "pft_minted": 0.0, "actions": 0, "trades": 0}})
    assert "1 source with 2 metrics: 1 stable" in run("energy").stdout
    assert json.loads(run("--output", "json", "energy").stdout)["streams"] == 2


def test_large_energies_are_short() -> None:
    shown = [energy_picture.energy({"value": value, "unit": "J"}) for value in (0.0, 12.0, 1_234.0, 5e9, 7.25e12)]
    assert shown == ["0 J", "12 J", "1.23 kJ", "5 GJ", "7.25 TJ"]
