"""Clusters: texts that are near one another, under ids that last; and what the pattern field says of them.

Which clusters there are is worked out elsewhere and judged here. A cluster's id is made once, from where it was first found, and
stands in the log with its centroid; so deleting a view changes no id.
"""

from collections.abc import Iterator
from hashlib import sha256
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from core.data import events as derived
from core.data.embedding import NoEmbedding, raw_of
from core.data.events import CLUSTERS_MAX, EXAMPLES_MAX
from core.data.model import LOG, Data
from core.data.patterns import HALF_LIFE_US
from core.data.told import Cosine, EmbeddingGenerated
from core.engine import NOTHING, Command, Context, Decision, Errand, Event, JobEnded, Result
from core.fields import Code, Count, Hash, Name, Time

GROUP = "data.group"
GROUPED_FROM = 8
"""So many vectors there must be before clusters are looked for."""
GROWTH = 4
"""Clusters are looked for anew once one vector in so many came or went."""
FORMED_MAX = 64
"""Clusters that form or move in one command."""
EVIDENCE_USED_MAX = 20_000
NEAR_DIGITS = 4


def errands(data: Data) -> Iterator[Errand]:
    model = data.model
    many, last = data.kept[model], data.compared
    if last is None or last.model != model:
        due = many >= GROUPED_FROM
    else:
        turned = max(data.counts[EmbeddingGenerated.event_type] - last.told, last.vectors - many)
        due = last.more or turned >= max(GROUPED_FROM, last.vectors / GROWTH)
    if due:
        yield Errand(effect(data), GROUP, {"model": model})


def effect(data: Data) -> str:
    """Of the look at clusters that is due now: each look ends with a record, or another model does, and the next has another id."""
    return f"{LOG}:{max(data.chosen, data.compared.record if data.compared is not None else 0)}:clusters"


class _Found(msgspec.Struct, forbid_unknown_fields=True):
    """A cluster as the work found it: `cluster` is the one of before, or nothing for a new one."""

    cluster: Name | None
    centroid: str
    size: Count
    near: Cosine
    moved: bool
    examples: Annotated[list[Hash], Meta(max_length=EXAMPLES_MAX)]


class _Outcome(msgspec.Struct, forbid_unknown_fields=True):
    model: Name
    dimension: Annotated[int, Meta(ge=1)]
    vectors: Count
    loose: Count
    clusters: Annotated[list[_Found], Meta(max_length=CLUSTERS_MAX)]


def is_of_clusters(command: JobEnded) -> bool:
    return command.effect.endswith(":clusters")


def decide_grouped(data: Data, command: JobEnded) -> Decision:
    """New clusters and those that moved are told, the largest first where they are too many for one command."""
    if command.effect != effect(data):
        return NOTHING  # an answer to what was asked before
    model = data.model
    try:
        outcome = msgspec.convert(command.result, _Outcome, strict=True) if command.ok else None
        code = "ok" if outcome is not None and _agrees(data, outcome) else "bad-output" if command.ok else command.code
    except (msgspec.ValidationError, NoEmbedding):
        outcome, code = None, "bad-output"
    if outcome is None or code != "ok":
        return Decision(derived.ClustersUpdated(model, code, data.kept[model], 0, [], effect=command.effect))
    happened: list[Event] = []
    sizes: list[derived.ClusterSize] = []
    left_out = False
    oldest = data.oldest_node() or 0  # a centroid that is told anew lets go of the old part of the log
    for found in sorted(outcome.clusters, key=lambda each: -each.size):
        name = found.cluster or _name(found.centroid)
        if found.cluster is None or found.moved or data.clusters[name].record < oldest:
            if len(happened) == FORMED_MAX:
                left_out = left_out or found.cluster is None
                if found.cluster is None:
                    continue
            else:
                examples = [event for event in found.examples if event in data.nodes]
                told = derived.ClusterFormed(name, outcome.model, outcome.dimension, found.centroid, examples, command.effect)
                happened.append(told)
        sizes.append(derived.ClusterSize(name, found.size, round(found.near, NEAR_DIGITS)))
    more = left_out and len(sizes) > len(data.clusters)
    happened.append(derived.ClustersUpdated(model, "ok", outcome.vectors, outcome.loose, sizes, more, command.effect))
    return Decision(*happened)


def _agrees(data: Data, outcome: _Outcome) -> bool:
    """Whether it names clusters that there are, each once, with centroids that are vectors. Raises NoEmbedding."""
    named = [each.cluster for each in outcome.clusters if each.cluster is not None]
    for each in outcome.clusters:
        raw_of(each.centroid, outcome.dimension)
    fresh = {_name(each.centroid) for each in outcome.clusters if each.cluster is None}
    known = data.clusters.keys()
    return (
        outcome.model == data.model
        and len(set(named)) == len(named)
        and known >= set(named)
        and not fresh & known
        and len(fresh) + len(named) == len(outcome.clusters)
    )


def _name(centroid: str) -> str:
    """Of a cluster that is found here for the first time."""
    return f"c-{sha256(centroid.encode()).hexdigest()[:10]}"


# --- reading ----------------------------------------------------------------------------------------------------------------


class ExampleText(Result):
    """An event that is near the middle of a cluster.

    event: its id
    text: how its text begins
    """

    event: Hash
    text: str


class ClusterRow(Result):
    """A cluster.

    cluster: its id; it keeps it as it grows and moves
    size: events in it when clusters were looked for last
    near: how near they are to its middle: the mean cosine
    formed_at: when it was first found
    examples: the events nearest to its middle when it last formed or moved
    """

    cluster: Name
    size: Count
    near: Cosine
    formed_at: Time
    examples: list[ExampleText] = []


class ClusterPage(Result):
    """Clusters, the largest first.

    clusters: the page
    model: whose vectors were compared
    vectors: how many
    loose: of them, those that belong to no cluster
    code: ok; or why there are no new clusters
    compared_at: when they were compared; absent before the first time
    next: give it as `after` for the page that follows; absent on the last
    """

    clusters: list[ClusterRow]
    model: Name
    vectors: Count
    loose: Count
    code: Code
    compared_at: Time | None = None
    next: str | None = None


class AskField(Command):
    """How patterns would spread over clusters from here. One unit of time is a day.

    diffusion: how readily what is strong in one cluster reaches those that are like it
    growth: how fast a pattern grows by itself, up to 1
    decay: how fast it fades by itself
    given: what flows in where patterns are strong now
    days: how far to look
    steps: in how many steps; more are more exact
    """

    diffusion: Annotated[float, Meta(ge=0, le=100)] = 0.1
    growth: Annotated[float, Meta(ge=0, le=10)] = 0.1
    decay: Annotated[float, Meta(ge=0, le=10)] = 0.1
    given: Annotated[float, Meta(ge=0, le=10)] = 0.0
    days: Annotated[float, Meta(gt=0, le=1_000)] = 14.0
    steps: Annotated[int, Meta(ge=1, le=2_000)] = 140


class FieldRow(Result):
    """The field at one cluster.

    cluster: its id
    size: events in it
    values: the field at the times of the answer, from now on: 0 is nothing, 1 is as much as there can be
    """

    cluster: Name
    size: Count
    values: list[float]


class FieldPage(Result):
    """The pattern field, a row a cluster, what is alike beside one another.

    clusters: the rows
    days: the times of the values
    links: pairs of clusters over which it spreads
    total: the sum over all clusters at each time
    """

    clusters: list[FieldRow]
    days: list[float]
    links: Count
    total: list[float]


class AskWaves(Command):
    """Whether anything runs through the clusters.

    of: `value` distributed to their events, or `events` told
    bins: how many equal times to look at
    bin_s: how long each is
    ahead: for how many more bins to say what the waves lead to
    """

    of: Literal["value", "events"] = "value"
    bins: Annotated[int, Meta(ge=8, le=512)] = 64
    bin_s: Annotated[float, Meta(ge=1, le=604_800)] = 3_600.0
    ahead: Annotated[int, Meta(ge=0, le=32)] = 0


class WaveMode(Result):
    """A wave that chance does not explain.

    amplitude: how high it is, in what was counted
    wavenumber: radians from one cluster of the line to the next; negative: it runs down the line
    frequency: radians from one bin to the next
    speed: clusters in one bin; absent where all clusters move together
    phase: radians
    chance: how likely noise has a mode that stands out as much
    """

    amplitude: float
    wavenumber: float
    frequency: float
    phase: float
    chance: float
    speed: float | None = None


class WavesPage(Result):
    """Waves through the clusters. None is an answer.

    modes: the waves, the highest first; each beats chance at 1 %
    line: the clusters in the order that the waves run along
    counted: how much there was in all
    explained: the share of what is neither level nor slope that the modes account for
    since: where the first bin begins
    tested: modes that were looked at
    ahead: for each cluster of the line, what the modes and the level lead to in the bins that follow
    """

    modes: list[WaveMode]
    line: list[Name]
    counted: float
    explained: float
    since: Time
    tested: Count
    ahead: list[list[float]] = []


class AskOverlap(Command):
    """How much events have in common.

    events: which, 1 to 64
    wavenumber: of a wave whose phase they carry, as data.waves gives it
    frequency: of that wave, radians an hour
    """

    events: Annotated[list[Hash], Meta(min_length=1, max_length=64)]
    wavenumber: Annotated[float, Meta(ge=-3.2, le=3.2)] = 0.0
    frequency: Annotated[float, Meta(ge=0, le=1e4)] = 0.0


class OverlapPage(Result):
    """K(a, b) of each pair: 1 for the same, 0 for nothing in common.

    events: those that have a vector
    clusters: over how many clusters it is a sum
    real: the real parts, a row an event
    imaginary: the imaginary parts
    """

    events: list[Hash]
    clusters: Count
    real: list[list[float]]
    imaginary: list[list[float]]


def activity(data: Data, ctx: Context) -> dict[int, float]:
    """How strong patterns are at each vector: what its event lends to them. The strongest first, so many events."""
    now, model, found = data.clock.now(ctx), data.model, dict[int, float]()
    strongest = sorted(data.book.patterns.values(), key=lambda one: (-(one.crossing_us or 0), one.pattern))
    for pattern in strongest:
        for event, each in pattern.evidence.items():
            if (record := data.vectors.get(event, {}).get(model)) is not None:
                fading = 2.0 ** max(-1_000.0, (each.time_us - now) / HALF_LIFE_US)
                found[record] = found.get(record, 0.0) + each.relevance * data.weigh(event) * fading
        if len(found) >= EVIDENCE_USED_MAX:
            break
    return found


def told_lately(data: Data, since_us: int) -> list[tuple[int, int]]:
    """Of each event with a vector that was told since then, the record of that vector and the time."""
    found: list[tuple[int, int]] = []
    for event in reversed(data.nodes):
        node = data.nodes[event]
        if node.time_us < since_us or len(found) == EVIDENCE_USED_MAX:
            break
        if (record := data.vectors.get(event, {}).get(data.model)) is not None:
            found.append((record, node.time_us))
    return found
