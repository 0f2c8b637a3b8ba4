"""What the data engine tells: patterns, where value went; and the types of what is found elsewhere, in the log or among vectors."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from core.data import index
from core.data.embedding import DIMENSION_MAX
from core.data.events import Standing
from core.data.model import Data
from core.data.patterns import OFF_AT, later_us, strength, strength_by_day
from core.data.told import Cosine, Dimension, Family, Series, Tags, Text
from core.engine import Command, Context, Nothing, Refused, Result
from core.fields import Code, Count, Cursor, Frozen, Hash, Limit, Name, Object, Time
from core.paging import Room
from core.times import time_text

LIMIT_DEFAULT = 1_000
K_DEFAULT, K_MAX = 10, 1_000

Number = Annotated[float, Meta(ge=-1e15, le=1e15)]
"""What is no number is refused by name where the vector is used."""


class Measured(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """Telemetry to look for.

    metric: what was measured
    values: the numbers, evenly spaced in time, the oldest first
    tags: words that say more of it
    """

    metric: Name
    values: Series
    tags: Tags = []


class SearchData(Command):
    """What to look for: a text, telemetry, or a vector of a model.

    query: a text; it is compared by the vectors that irer makes itself
    series: telemetry instead: what is called alike, or has a like shape
    vector: a vector instead
    model: whose vector it is; needed with a vector
    k: how many to find, 10 unless told
    method: `exact` compares every stored vector of the model; `approximate` looks into the nearest lists of an index
    probes: into how many lists an approximate search looks; left out, as many as `recall` needs
    recall: which share of the nearest an approximate search is to find, as it was measured; .95 unless told
    """

    query: Text | None = None
    series: Measured | None = None
    vector: Annotated[list[Number], Meta(min_length=1, max_length=DIMENSION_MAX)] | None = None
    model: Name | None = None
    k: Annotated[int, Meta(ge=1, le=K_MAX)] = K_DEFAULT
    method: Literal["exact", "approximate"] = "exact"
    probes: Annotated[int, Meta(ge=1, le=65_536)] | None = None
    recall: Annotated[float, Meta(ge=0.1, le=1)] | None = None


class Hit(Result):
    """An event that is near.

    event: its id
    relevance: how near: 1 is the same direction, 0 has nothing in common
    type: its family and type
    at: when it was told
    contributor: who told it
    text: how its text begins
    """

    event: Hash
    relevance: Cosine
    type: str
    at: Time
    contributor: Name
    text: str = ""


class Nearest(Result):
    """The nearest events, the nearest first.

    hits: the events
    model: whose vectors were compared
    dimension: how many numbers each has
    compared: how many vectors were compared
    limit: how many could be
    took_ms: what it cost
    method: exact where every stored vector of the model was compared; approximate where some may have been missed
    recall: which share of the nearest such a search finds: as measured with what is about as like the stored vectors; 1 where each
        was compared
    because: why each was compared, where approximate was asked for: fewer than an index is made of (small), it is being made
        (building), more neighbours than it is measured for (many), it is quicker (quicker), what is asked for is less like the
        stored vectors than anything it was measured with (unlike), it was damaged and is made anew (damaged), or it cannot be
        made (none)
    probes: lists that were looked into
    lists: how many there are
    sampled: stored vectors that recall was measured with
    """

    hits: list[Hit]
    model: Name
    dimension: Dimension
    compared: Count
    limit: Count
    took_ms: float
    method: Literal["exact", "approximate"]
    recall: float
    because: index.Because | None = None
    probes: Count | None = None
    lists: Count | None = None
    sampled: Count | None = None


class AskIndex(Command):
    """Which index, and what to do about it.

    model: of whose vectors; irer's own of texts unless told
    make: make it now, though nobody searches by it: in the background
    stop: stop making it
    """

    model: Name | None = None
    make: bool = False
    stop: bool = False


class RecallRow(Result):
    """What is found by looking into so many lists, as measured.

    noise: with so many parts of noise to one part of a stored vector, as what is asked for is more or less like those
    probes: how many lists
    at_10: which share of the 10 nearest
    at_100: which share of the 100 nearest
    """

    noise: float
    probes: Count
    at_10: float
    at_100: float


class IndexPage(Result):
    """An approximate index. It is a projection: it may be thrown away, and is made anew when somebody searches by it.

    model: of whose vectors
    state: none, making or ready; one that is made anew is ready meanwhile
    vectors: stored now
    covered: of them, those that were there when it was made; every other one is compared in each search
    lists: how many it has
    sampled: stored vectors that its recall was measured with, at each level of noise
    recall: what is found by looking into so many lists
    bytes: its file
    done: of the making that goes on, steps that are done
    total: steps it takes
    failed: why the last making ended without an index
    """

    model: Name
    state: Literal["none", "making", "ready"]
    vectors: Count
    covered: Count
    lists: Count
    sampled: Count
    recall: list[RecallRow]
    bytes: Count
    done: Count | None = None
    total: Count | None = None
    failed: Code | None = None


class AskEvents(Command):
    """Which events, the newest first.

    family: only of this family
    type: only of this type
    since: only those that were recorded then or later
    limit: how many at most, 1,000 unless told
    after: `next` of the page before
    """

    family: Family | None = None
    type: Code | None = None
    since: Time | None = None
    limit: Limit | None = None
    after: Cursor | None = None


class SeenEvent(Result):
    """An event as it is recorded.

    event: its id; of one that irer derived, too
    family: its family
    type: its type
    seq: its record
    at: when it was recorded
    contributor: who told it; irer for what is derived
    data: what it says
    """

    event: Hash
    family: Family
    type: Code
    seq: Count
    at: Time
    contributor: Name
    data: Object


class EventPage(Result):
    """Events, the newest first.

    events: the page
    cursor: where system.watch goes on behind the newest of them: no event is missed, and none told twice
    next: give it as `after` for the page that follows; absent on the last
    """

    events: list[SeenEvent]
    cursor: Cursor
    next: Cursor | None = None


class DataPage(Command):
    """A part of a list.

    limit: how many at most, 1,000 unless told
    after: `next` of the page before
    """

    limit: Limit | None = None
    after: Cursor | None = None


class AskPatterns(DataPage):
    """A part of the patterns, and how far back to look.

    past: how many days back to tell each pattern's strength, 0 unless told
    """

    past: Annotated[int, Meta(ge=0, le=90)] = 0


class PatternRow(Result):
    """A pattern.

    pattern: its name
    kind: content, of texts that are near; team, of contributors who cite one another; model, of a caller's model
    state: forming, rising or crystallised
    strength: how strong it is now; it halves every 7 days
    events: how many are evidence of it
    since: since when it is in this state
    falls_at: when it will fall below what its state needs, if nothing more happens
    contributors: of a team
    key: its document in the cache, once it was shared
    past: how strong it was, a day apart and now last, by the evidence that counts now
    """

    pattern: Name
    kind: Literal["content", "team", "model"]
    state: Standing
    strength: float
    events: Count
    since: Time
    falls_at: Time | None = None
    contributors: list[Name] = []
    key: str | None = None
    past: list[float] = []


class PatternPage(Result):
    """Patterns, the strongest first.

    patterns: the page
    threshold: the strength at which one rises
    hold_s: how long it must keep it to crystallise
    next: give it as `after` for the page that follows; absent on the last
    """

    patterns: list[PatternRow]
    threshold: float
    hold_s: float
    next: Cursor | None = None


def patterns(data: Data, params: AskPatterns, ctx: Context) -> PatternPage:
    settings, now = ctx.settings.data, data.clock.now(ctx)
    wall_us = ctx.now_us - now
    ranked = sorted(data.book.patterns.values(), key=lambda one: (-(one.crossing_us or 0), one.pattern))
    rows: list[PatternRow] = []
    room = Room()
    start = place_after("data.patterns", params.after)
    for one in ranked[start : start + (params.limit or LIMIT_DEFAULT)]:
        needs = settings.threshold * (OFF_AT if one.state == "crystallised" else 1.0)
        falls_us = one.crossing_us + later_us(needs) if one.crossing_us is not None else None
        row = PatternRow(
            one.pattern,
            one.kind,
            one.state,
            strength(one, now),
            len(one.evidence),
            time_text(one.since_us + wall_us),
            time_text(falls_us + wall_us) if falls_us is not None and one.state != "forming" else None,
            one.contributors,
            one.key or None,
            strength_by_day(one, params.past, data.weigh, now) if params.past else [],
        )
        if not room.take(row):
            break
        rows.append(row)
    done = start + len(rows)
    return PatternPage(rows, settings.threshold, settings.hold_s, str(done) if done < len(ranked) else None)


def place_after(method: str, after: str | None) -> int:
    """Where a page begins in a list that is ordered anew each time."""
    if after is None:
        return 0
    if not (after.isascii() and after.isdecimal() and len(after) <= 16):
        text = "not a `next` of this listing. Leave it out to begin"
        raise Refused("invalid-argument", f"{method}: after: {text}", fields=[("after", text)])
    return int(after)


class ValueRow(Result):
    """What an event was given by those that cite it.

    event: its id
    units: how many
    contributor: who told it
    """

    event: Hash
    units: Count
    contributor: Name


class Earned(Result):
    """What a contributor's events were given.

    contributor: who
    units: how many, those of events that were let go of too
    """

    contributor: Name
    units: Count


class ValuePage(Result):
    """Where value went.

    distributed: units in all; the contributors' add up to it
    events: the page, the most valued first
    contributors: what each has
    waiting: events whose value is about to be distributed
    next: give it as `after` for the page that follows; absent on the last
    """

    distributed: Count
    events: list[ValueRow]
    contributors: list[Earned]
    waiting: Count
    next: Cursor | None = None


def value(data: Data, params: DataPage, ctx: Context) -> ValuePage:
    ranked = sorted(data.value.items(), key=lambda pair: (-pair[1], data.nodes[pair[0]].seq))
    start, room = place_after("data.value", params.after), Room()
    rows: list[ValueRow] = []
    for event, units in ranked[start : start + (params.limit or LIMIT_DEFAULT)]:
        row = ValueRow(event, units, data.nodes[event].actor)
        if not room.take(row):
            break
        rows.append(row)
    earned = sorted((Earned(who, units) for who, units in data.earned.items()), key=lambda row: (-row.units, row.contributor))
    done = start + len(rows)
    return ValuePage(data.distributed, rows, earned[:LIMIT_DEFAULT], len(data.unpaid), str(done) if done < len(ranked) else None)


class PlaceRow(Result):
    """Where an event stands among those that cite or are cited.

    event: its id
    rank: its PageRank; all add up to 1
    cited: by how many
    cites: how many
    core: the largest k such that it is in a part where each has k neighbours
    component: which part of the network it is in; 1 is the largest
    """

    event: Hash
    rank: float
    cited: Count
    cites: Count
    core: Count
    component: Count


class TopologyPage(Result):
    """The network of citations.

    nodes: events that cite or are cited
    edges: citations
    components: parts it falls into
    cycle_rank: edges less nodes, plus components: how many citations are there beside a tree
    places: the page, the highest rank first
    next: give it as `after` for the page that follows; absent on the last
    """

    nodes: Count
    edges: Count
    components: Count
    cycle_rank: Count
    places: list[PlaceRow]
    next: Cursor | None = None


class DataStatus(Result):
    """The data engine in one object.

    events: that can be cited, rated and found
    repeated: that were told again
    vectors: stored
    waiting: texts that have no embedding yet, or get one of another model
    model: what irer makes vectors with; another one that is configured is chosen once it is found to work
    models: whose vectors are stored
    citations: how many
    patterns: how many
    crystallised: of them
    distributed: units of value
    syncing: whether patterns are being shared
    """

    events: Count
    repeated: Count
    vectors: Count
    waiting: Count
    model: Name
    models: list[Name]
    citations: Count
    patterns: Count
    crystallised: Count
    distributed: Count
    syncing: bool


def status(data: Data, params: Nothing, ctx: Context) -> DataStatus:
    return DataStatus(
        len(data.nodes),
        data.repeated,
        data.stored,
        len(data.waiting) + len(data.anew),
        data.model,
        sorted(model for model, many in data.kept.items() if many),
        data.network.edges,
        len(data.book.patterns),
        sum(one.state == "crystallised" for one in data.book.patterns.values()),
        data.distributed,
        data.sync is not None,
    )
