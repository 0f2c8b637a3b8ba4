"""The energy map: sources, where they stand, what feeds and cools what, regimes and how they follow one another, actions, accounts.

Drawn from the facts each time it is asked for, so it says nothing that a log does not say, and there is nothing to keep up or to
mend. It shows and never decides: neither the sums at junctions nor the residual of Helmholtz's equation gates anything.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Literal, NamedTuple
from xml.sax.saxutils import escape, quoteattr

import msgspec
from msgspec import Meta

from core.energy import standing
from core.energy.facts import Provenance, RegimeName
from core.energy.state import Energy
from core.engine import Command, Context, Result
from core.fields import INT_MAX, Count, Cursor
from core.settings import EilSource
from core.times import time_text

LIMIT_DEFAULT = 200
LIMIT_MAX = 1_000
ACTIONS_SHOWN = 64
"""The latest."""
SQL_CHARS_MAX = 4_000
PAGE_SIZE_MAX = 950_000
"""Bytes: a page ends before it is too large for a frame, however many sources were asked for."""
LINE_SIZE, NAME_SIZE = 700, 6
"""Of a node or an edge in GraphML, the longest form, with the node that it leads to; and of each letter of their names, which
stand there more than once.
"""
Kind = Literal["source", "place", "regime", "action", "account"]
Relation = Literal["feeds", "cools", "contains", "transitions", "caused", "settled"]
Format = Literal["json", "graphml", "cypher"]


class AskMap(Command):
    """How much of the map to tell, and in what form.

    format: json; or a document: graphml, for programs that draw graphs, or cypher, statements for a graph database
    limit: how many sources at most, 200 unless told
    after: go on after this source
    """

    format: Format = "json"
    limit: Annotated[int, Meta(ge=1, le=LIMIT_MAX)] | None = None
    after: Cursor | None = None


class AskQuery(Command):
    """What to ask of the tables of the map.

    sql: one SELECT over the tables node, edge, junction and meta
    limit: how many rows at most, 200 unless told
    """

    sql: Annotated[str, Meta(min_length=1, max_length=SQL_CHARS_MAX)]
    limit: Annotated[int, Meta(ge=1, le=LIMIT_MAX)] | None = None


class MapRow(Result):
    """One row of an answer.

    values: one of each column: texts, numbers, or nothing
    """

    values: list[str | float | Annotated[int, Meta(ge=-INT_MAX, le=INT_MAX)] | None]


class MapRows(Result):
    """What the tables of the map answer.

    columns: their names
    rows: the rows
    record: the tables say all that energy_log says up to this record
    more: whether there were more rows than were asked for, or than one answer holds
    """

    columns: list[str]
    rows: list[MapRow]
    record: Count
    more: bool = False


class MapNode(Result):
    """Something on the map.

    id: its kind and name
    kind: source, place, regime, action or account
    name: as it is called elsewhere
    value: of a source the energy since its first point
    unit: of that; 1 for a surrogate, which only orders
    provenance: measured, modelled or surrogate
    sigma: standard error of what models added to it
    regime: which the source shows
    seen: when its newest point was
    """

    id: str
    kind: Kind
    name: str
    value: float | None = None
    unit: str | None = None
    provenance: Provenance | None = None
    sigma: float | None = None
    regime: RegimeName | None = None
    seen: str | None = None


class MapEdge(Result):
    """What one thing on the map has to do with another.

    start: id of the one
    end: id of the other
    relation: feeds, cools, contains, transitions, caused or settled
    weight: how much: energy, or a number of times
    unit: of that
    provenance: measured, modelled or surrogate
    count: how often
    seen: when that was last
    record: the last record that says so: log and place
    """

    start: str
    end: str
    relation: Relation
    weight: float
    unit: str
    provenance: Provenance
    count: Count = 1
    seen: str | None = None
    record: str | None = None


class Junction(Result):
    """A source that feeds others: what is drawn and what arrives.

    source: which
    drawn_j: its own energy, in J
    given_j: energy of all that it feeds
    difference_j: what is drawn and arrives nowhere
    sigma_j: standard error of that, of what models added; 0 where sensors say it all
    """

    source: str
    drawn_j: float
    given_j: float
    difference_j: float
    sigma_j: float


class EnergyMap(Result):
    """The energy map, or a page of it.

    nodes: what is on it
    edges: how that hangs together
    junctions: sums where one source feeds others
    total: sources in all
    helmholtz_residual: how far the energies are from a standing wave of what feeds and cools; a diagnostic, none without such edges
    next: give it as after, for the rest
    document: the same in the form that was asked for, in place of nodes and edges
    """

    nodes: list[MapNode]
    edges: list[MapEdge]
    junctions: list[Junction]
    total: Count
    helmholtz_residual: float | None = None
    next: str | None = None
    document: str | None = None


def energy_map(energy: Energy, query: AskMap, ctx: Context) -> EnergyMap:
    limit = query.limit or LIMIT_DEFAULT
    names = sorted(name for name in energy.sources if query.after is None or name > query.after)
    known, left = ctx.settings.eil.sources, PAGE_SIZE_MAX
    shown: list[str] = []
    edges: list[MapEdge] = []
    junctions: list[Junction] = []
    for name in names[:limit]:
        part = piece(energy, [name], known)
        left -= _size(part)
        if shown and left < 0:
            break
        shown.append(name)
        edges += part.edges
        junctions += part.junctions
    if query.after is None:
        edges += _actions(energy)
    ids = {f"source:{name}": None for name in shown} | {end: None for edge in edges for end in (edge.start, edge.end)}
    nodes = [_node(energy, id) for id in ids]
    found = EnergyMap(
        nodes,
        edges,
        junctions,
        len(energy.sources),
        helmholtz_residual({node.id: node.value or 0.0 for node in nodes if node.kind == "source"}, edges),
        shown[-1] if len(names) > len(shown) else None,
    )
    if query.format == "json":
        return found
    text = graphml(nodes, edges) if query.format == "graphml" else cypher(nodes, edges)
    return msgspec.structs.replace(found, nodes=[], edges=[], document=text)


def _size(part: "Piece") -> int:
    """Bytes of it at most, in whatever form, with the ends of its edges."""
    names = sum(len(each.name) for each in part.nodes) + sum(len(each.start) + len(each.end) for each in part.edges)
    return LINE_SIZE * (len(part.nodes) + len(part.edges) + len(part.junctions)) + NAME_SIZE * names


class Piece(NamedTuple):
    """Of some sources all that the map says, but for the ends of edges that are nothing else's."""

    nodes: list[MapNode]
    edges: list[MapEdge]
    junctions: list[Junction]


def piece(energy: Energy, names: Iterable[str], known: Mapping[str, EilSource]) -> Piece:
    """For who takes up the whole map a little at a time. Sources that were given up meanwhile are left out."""
    here = [name for name in names if name in energy.sources]
    junctions = [each for name in here if (each := _junction(energy, name, known)) is not None]
    return Piece([_node(energy, f"source:{name}") for name in here], list(_edges(energy, here, known)), junctions)


def of_actions(energy: Energy) -> Piece:
    return Piece([], list(_actions(energy)), [])


def _node(energy: Energy, id: str) -> MapNode:
    kind, _, name = id.partition(":")
    source = energy.sources.get(name) if kind == "source" else None
    if source is None:
        return MapNode(id, kind, name)  # type: ignore[arg-type]
    state = standing.state_of(source)
    return MapNode(
        id,
        "source",
        name,
        state.total_energy,
        state.total_energy_unit,
        state.total_energy_provenance,
        state.total_energy_sigma,
        state.regime,
        time_text(source.newest_us),
    )


def _edges(energy: Energy, names: Iterable[str], known: Mapping[str, EilSource]) -> Iterator[MapEdge]:
    for name in names:
        source, id = energy.sources[name], f"source:{name}"
        said = known.get(name) or EilSource()
        if said.place:
            yield MapEdge(f"place:{said.place}", id, "contains", 1.0, "1", "measured")
        for other in said.feeds:
            yield _flow(energy, id, other, "feeds", other)
        for other in said.cools:
            yield _flow(energy, id, other, "cools", other)
        for which, move in source.moves.items():
            (was, now), record = which.split(" "), f"energy_log:{move.seq}"
            start, end, seen = f"regime:{name}/{was}", f"regime:{name}/{now}", time_text(move.seen_us)
            yield MapEdge(start, end, "transitions", float(move.count), "1", "measured", move.count, seen, record)
        ledger = energy.claims.ledgers.get(name)
        if ledger is not None and ledger.settled:
            yield MapEdge(id, f"account:{ledger.owner}", "settled", float(ledger.settled), "1", "measured", ledger.settled)


def _flow(energy: Energy, id: str, other: str, relation: Relation, weighed: str) -> MapEdge:
    """As much as the other source has come to: what it was given, or what of it had to be taken away."""
    source = energy.sources.get(weighed)
    if source is None:
        return MapEdge(id, f"source:{other}", relation, 0.0, "1", "surrogate", 0)
    state = standing.state_of(source)
    weight, unit, worth = state.total_energy, state.total_energy_unit, state.total_energy_provenance
    return MapEdge(id, f"source:{other}", relation, weight, unit, worth, source.points, time_text(source.newest_us))


def _actions(energy: Energy) -> Iterator[MapEdge]:
    recent = list(energy.actions.recent.items())[-ACTIONS_SHOWN:]
    for name, choice in recent:
        yield MapEdge(f"account:{choice.owner}", f"action:{name}", "caused", 1.0, "1", "measured")


def _junction(energy: Energy, name: str, known: Mapping[str, EilSource]) -> Junction | None:
    """None unless energy is in J at every end."""
    fed = [energy.sources.get(other) for other in (known[name].feeds if name in known else ())]
    ends = [energy.sources[name], *(source for source in fed if source is not None)]
    if len(ends) != len(fed) + 1 or not fed or not all(source.totals.powered for source in ends):
        return None
    drawn, given = ends[0].totals.energy_j, math.fsum(source.totals.energy_j for source in ends[1:])
    return Junction(name, drawn, given, drawn - given, math.hypot(*(source.totals.sigma_j for source in ends)))


def helmholtz_residual(values: Mapping[str, float], edges: Sequence[MapEdge]) -> float | None:
    """min over λ of ‖Lψ − λψ‖ ÷ ‖ψ‖, with L the Laplacian of what feeds and cools and ψ the energies as shares of the greatest."""
    near: dict[str, set[str]] = {id: set() for id in values}
    for edge in edges:
        if edge.relation in ("feeds", "cools") and edge.start != edge.end and {edge.start, edge.end} <= values.keys():
            near[edge.start].add(edge.end)
            near[edge.end].add(edge.start)
    largest = max((abs(value) for value in values.values()), default=0.0)
    if not any(near.values()) or not largest:
        return None
    wave = {id: value / largest for id, value in values.items()}
    bent = {id: len(near[id]) * wave[id] - math.fsum(wave[other] for other in near[id]) for id in wave}
    square = math.fsum(value * value for value in wave.values())
    rate = math.fsum(bent[id] * wave[id] for id in wave) / square
    return math.sqrt(math.fsum((bent[id] - rate * wave[id]) ** 2 for id in wave) / square)


# --- documents --------------------------------------------------------------------------------------------------------------

_NODE_FIELDS = ("kind", "name", "value", "unit", "provenance", "sigma", "regime", "seen")
_EDGE_FIELDS = ("relation", "weight", "unit", "provenance", "count", "seen", "record")
_TYPES = {"value": "double", "sigma": "double", "weight": "double", "count": "long"}


def graphml(nodes: Iterable[MapNode], edges: Iterable[MapEdge]) -> str:
    """The map for programs that draw graphs (http://graphml.graphdrawing.org): what is not known is left out."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">']
    for of, fields in (("node", _NODE_FIELDS), ("edge", _EDGE_FIELDS)):
        for name in fields:
            attributes = f'attr.name="{name}" attr.type="{_TYPES.get(name, "string")}"'
            lines.append(f'  <key id="{of}_{name}" for="{of}" {attributes}/>')
    lines.append('  <graph id="energy" edgedefault="directed">')
    for node in nodes:
        lines += [f"    <node id={quoteattr(node.id)}>", *_data("node", node, _NODE_FIELDS), "    </node>"]
    for place, edge in enumerate(edges):
        ends = f'id="e{place}" source={quoteattr(edge.start)} target={quoteattr(edge.end)}'
        lines += [f"    <edge {ends}>", *_data("edge", edge, _EDGE_FIELDS), "    </edge>"]
    return "\n".join([*lines, "  </graph>", "</graphml>", ""])


def _data(of: str, thing: MapNode | MapEdge, fields: Iterable[str]) -> Iterator[str]:
    for name in fields:
        if (value := getattr(thing, name)) is not None:
            yield f'      <data key="{of}_{name}">{escape(str(value))}</data>'


def cypher(nodes: Iterable[MapNode], edges: Iterable[MapEdge]) -> str:
    """Statements for a graph database. Everything is merged by its id, so running them twice changes nothing."""
    lines = []
    for node in nodes:
        label = node.kind.capitalize()
        lines.append(f"MERGE (n:{label} {{id: {_text(node.id)}}}) SET n += {_properties(node, _NODE_FIELDS)};")
    for edge in edges:
        ends = f"MATCH (a {{id: {_text(edge.start)}}}), (b {{id: {_text(edge.end)}}})"
        lines.append(f"{ends} MERGE (a)-[r:{edge.relation.upper()}]->(b) SET r += {_properties(edge, _EDGE_FIELDS)};")
    return "\n".join([*lines, ""])


def _properties(thing: MapNode | MapEdge, fields: Iterable[str]) -> str:
    given = ((name, getattr(thing, name)) for name in fields)
    return "{" + ", ".join(f"{name}: {_literal(value)}" for name, value in given if value is not None) + "}"


def _literal(value: str | float | int) -> str:
    return _text(value) if isinstance(value, str) else repr(value)


def _text(value: str) -> str:
    plain = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{plain}'"
