"""What the data engine knows: events that can be cited, rated and found; who cites whom; patterns; where value went.

All of it follows from the records, and no text is in it. Applying never refuses, and never does arithmetic on what was decided;
only when a pattern will turn next is worked out here, and that is kept nowhere.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from sys import intern
from typing import Any

import msgspec

from core.clock import Clock, ClockDump, dump_clock, load_clock
from core.data import events as derived
from core.data import told
from core.data.embedding import MODEL, SERIES_MODEL
from core.data.network import Network, network_of
from core.data.patterns import Book, Pattern, weight
from core.engine import Event, Stamp
from core.fields import Count, Frozen

MODELS_MAX = 8
RECENT_MAX = 16
"""Syncs that ended and can still be asked about."""
LOG = "event_log"
MODEL_PATTERN = "model:"
TEXTS = frozenset(kind.event_type for kind in told.EMBEDDED)


class Node(msgspec.Struct, metaclass=Frozen, frozen=True, array_like=True, gc=False):
    """An event that stands for itself. There may be a million of them: the collector passes them over, and names are shared."""

    seq: int
    time_us: int
    actor: str
    type: str


class Waiting(msgspec.Struct, metaclass=Frozen, frozen=True, array_like=True):
    """A text that has no embedding yet."""

    event: str
    seq: int


class Cluster(msgspec.Struct, metaclass=Frozen, frozen=True, array_like=True):
    """Texts that are near one another. Its centroid stands in a record."""

    record: int
    formed_us: int
    size: int
    near: float
    examples: tuple[str, ...]


class Compared(msgspec.Struct, metaclass=Frozen, frozen=True, array_like=True):
    """When clusters were looked for last, and what came of it."""

    record: int
    time_us: int
    model: str
    code: str
    vectors: int
    loose: int
    more: bool
    told: int
    """Vectors that were ever told until then, without those that came too late to be compared."""


class Sync(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """Patterns on their way to the far end. `code` is empty while they are."""

    job: str
    seq: int
    started_us: int
    patterns: tuple[derived.Shown, ...]
    anchored: tuple[str, ...] = ()
    cache_job: str = ""
    ended_us: int = 0
    code: str = ""
    detail: str = ""
    result: dict[str, Any] = {}

    def effect(self, place: int) -> str:
        return f"{LOG}:{self.seq}:{place}"


@dataclass
class Data:
    clock: Clock = field(default_factory=Clock)
    nodes: dict[str, Node] = field(default_factory=dict)
    """The oldest first."""
    counts: Counter[str] = field(default_factory=Counter)
    """Records of each type."""
    repeated: int = 0
    """Events that were told again."""
    model: str = MODEL
    """What irer makes vectors of texts with now."""
    chosen: int = 0
    """The record that chose it."""
    anew: dict[str, int] = field(default_factory=dict)
    """Events whose text gets a vector of that model yet, with their records, the oldest first."""
    models: dict[str, int] = field(default_factory=dict)
    """The dimension of each model's vectors."""
    vectors: dict[str, dict[str, int]] = field(default_factory=dict)
    """Of an event, for each model, the record of its vector."""
    stored: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    """Vectors of each model."""
    clusters: dict[str, Cluster] = field(default_factory=dict)
    """The oldest first."""
    compared: Compared | None = None
    waiting: dict[str, Waiting] = field(default_factory=dict)
    """By effect, the oldest first."""
    priors: dict[str, dict[str, float]] = field(default_factory=dict)
    votes: dict[str, dict[str, float]] = field(default_factory=dict)
    """Of an event, what each caller thinks of it."""
    network: Network = field(default_factory=Network)
    told_network: tuple[int, int] = (0, 0)
    """Nodes and edges as they were last told."""
    leans: dict[str, dict[str, None]] = field(default_factory=dict)
    """Of a contributor, those whose events he ever cited."""
    unpaid: dict[str, int] = field(default_factory=dict)
    """Events that cited lately, with the time of their last citation, the oldest first."""
    paid: dict[str, None] = field(default_factory=dict)
    """Events whose value was distributed."""
    value: dict[str, int] = field(default_factory=dict)
    earned: dict[str, int] = field(default_factory=dict)
    """The same by contributor."""
    distributed: int = 0
    book: Book = field(default_factory=Book)
    sync: Sync | None = None
    syncs: deque[Sync] = field(default_factory=lambda: deque(maxlen=RECENT_MAX))
    """Those that ended, the newest first."""

    def oldest(self) -> int | None:
        """The oldest record that something may still be read from."""
        node = self.oldest_node()
        records = [cluster.record for cluster in self.clusters.values()]
        return min(records if node is None else [node, *records], default=None)

    def oldest_node(self) -> int | None:
        return next((node.seq for node in self.nodes.values()), None)

    def model_of(self, type: str) -> str | None:
        """What irer makes a vector of such an event with."""
        if type == told.TELEMETRY:
            return SERIES_MODEL
        return self.model if type in TEXTS else None

    def weigh(self, event: str) -> float:
        votes, cited = self.votes.get(event), self.network.cited(event)
        return weight(cited, votes.values() if votes else ()) if votes or cited else 1.0  # as most: nobody rated or cited it


# --- what callers told ------------------------------------------------------------------------------------------------------


def _count(data: Data, event: Event, stamp: Stamp) -> int:
    data.counts[event.event_type] += 1
    return data.clock.at(stamp)


def apply_told(data: Data, event: Any, stamp: Stamp) -> None:
    """Something that stands for itself. The same payload again is the same event; a text that got no vector is tried again."""
    now = _count(data, event, stamp)
    id, model = told.id_of(event), data.model_of(event.event_type)
    if id in data.nodes:
        data.repeated += 1
        missing = model is not None and model not in data.vectors.get(id, ()) and id not in data.anew
        if missing and all(each.event != id for each in data.waiting.values()):
            data.waiting[stamp.cause()] = Waiting(id, data.nodes[id].seq)
        return
    data.nodes[id] = Node(stamp.seq, now, intern(stamp.actor), event.event_type)
    if model is not None:
        data.waiting[stamp.cause()] = Waiting(id, stamp.seq)
    if isinstance(event, told.ModelPattern):
        data.book.add(MODEL_PATTERN + event.pattern, "model", event.event, event.relevance, now, data.weigh)
    elif isinstance(event, told.PatternStrengthened):
        data.book.add(MODEL_PATTERN + event.pattern, "model", event.event, event.weight, now, data.weigh)


def apply_citation(data: Data, event: told.CitationTracked, stamp: Stamp) -> None:
    now = _count(data, event, stamp)
    data.network.add(event.from_, event.to, event.relevance)
    data.book.weigh_anew(event.to, data.weigh)
    data.leans.setdefault(data.nodes[event.from_].actor, {})[data.nodes[event.to].actor] = None
    if event.from_ not in data.paid:
        data.unpaid.pop(event.from_, None)
        data.unpaid[event.from_] = now


def apply_feedback(data: Data, event: told.FeedbackReceived, stamp: Stamp) -> None:
    _count(data, event, stamp)
    data.votes.setdefault(event.event, {})[stamp.actor] = event.rating
    data.book.weigh_anew(event.event, data.weigh)


# --- vectors ----------------------------------------------------------------------------------------------------------------


def apply_embedding(data: Data, event: told.EmbeddingGenerated, stamp: Stamp) -> None:
    _count(data, event, stamp)
    data.models[event.model] = event.dimension
    vectors = data.vectors.setdefault(event.event, {})
    if event.model not in vectors:
        data.stored += 1
        data.kept[event.model] += 1
    vectors[event.model] = stamp.seq
    if event.effect is not None:
        data.waiting.pop(event.effect, None)
        data.anew.pop(event.event, None)
    replaced = [model for model, record in vectors.items() if record == event.replaces]
    for model in replaced:  # a vector that another model made
        del vectors[model]
        data.stored -= 1
        data.kept[model] -= 1


def apply_stored(data: Data, event: derived.VectorStored, stamp: Stamp) -> None:
    _count(data, event, stamp)


def apply_not_embedded(data: Data, event: derived.NotEmbedded, stamp: Stamp) -> None:
    _count(data, event, stamp)
    data.waiting.pop(event.effect or "", None)
    data.anew.pop(event.event, None)


def apply_model(data: Data, event: derived.ModelChosen, stamp: Stamp) -> None:
    """Texts that have no vector of this model get one, the oldest first; those that wait for their first one wait on."""
    _count(data, event, stamp)
    data.model, data.chosen = event.model, stamp.seq
    data.waiting = {stamp.cause(place): each for place, each in enumerate(data.waiting.values(), 1)}
    waiting = {each.event for each in data.waiting.values()}
    data.anew = {
        id: node.seq
        for id, node in data.nodes.items()
        if node.type in TEXTS and id not in waiting and event.model not in data.vectors.get(id, ())
    }
    data.clusters = {}


def apply_priors(data: Data, event: derived.PriorsFound, stamp: Stamp) -> None:
    _count(data, event, stamp)
    if event.priors:
        data.priors[event.event] = {prior.event: prior.relevance for prior in event.priors}


def apply_forgotten(data: Data, event: derived.VectorForgotten, stamp: Stamp) -> None:
    _count(data, event, stamp)
    gone = set(event.events)
    data.waiting = {effect: each for effect, each in data.waiting.items() if each.event not in gone}
    for id in event.events:
        data.nodes.pop(id, None)
        gone_models = data.vectors.pop(id, {})
        data.stored -= len(gone_models)
        data.kept.subtract(gone_models.keys())
        for known in (data.anew, data.priors, data.votes, data.unpaid, data.paid, data.value):
            known.pop(id, None)
        for cited in data.network.remove(id):
            data.book.weigh_anew(cited, data.weigh)
        data.book.forget(id, data.weigh)
    data.unpaid = {citing: at for citing, at in data.unpaid.items() if citing in data.network.cites}


# --- clusters ---------------------------------------------------------------------------------------------------------------


def apply_cluster(data: Data, event: derived.ClusterFormed, stamp: Stamp) -> None:
    _count(data, event, stamp)
    old = data.clusters.get(event.cluster)
    formed_us, size, near = (old.formed_us, old.size, old.near) if old is not None else (stamp.time_us, 0, 1.0)
    data.clusters[event.cluster] = Cluster(stamp.seq, formed_us, size, near, tuple(event.examples))


def apply_clusters(data: Data, event: derived.ClustersUpdated, stamp: Stamp) -> None:
    _count(data, event, stamp)
    missed = max(0, data.kept[event.model] - event.vectors)
    told_vectors = data.counts[told.EmbeddingGenerated.event_type] - missed
    data.compared = Compared(
        stamp.seq, stamp.time_us, event.model, event.code, event.vectors, event.loose, event.more, told_vectors
    )
    if event.code == "ok":
        sizes = {each.cluster: each for each in event.sizes}
        data.clusters = {
            name: msgspec.structs.replace(cluster, size=sizes[name].size, near=sizes[name].near)
            for name, cluster in data.clusters.items()
            if name in sizes
        }


# --- patterns and value -----------------------------------------------------------------------------------------------------


def apply_detected(data: Data, event: derived.PatternDetected, stamp: Stamp) -> None:
    now = _count(data, event, stamp)
    data.book.add(event.pattern, "content", event.prior, 1.0, now, data.weigh)
    data.book.add(event.pattern, "content", event.event, event.relevance, now, data.weigh)


def apply_matched(data: Data, event: derived.PatternMatched, stamp: Stamp) -> None:
    now = _count(data, event, stamp)
    data.book.add(event.pattern, "content", event.event, event.relevance, now, data.weigh)


def apply_team(data: Data, event: derived.TeamRecognized, stamp: Stamp) -> None:
    now = _count(data, event, stamp)
    team = data.book.add(event.pattern, "team", event.event, 1.0, now, data.weigh)
    team.contributors = list(event.contributors)


def apply_evolved(data: Data, event: derived.ValueEvolved, stamp: Stamp) -> None:
    now = _count(data, event, stamp)
    if event.state == "gone":
        data.book.drop(event.pattern)
    else:
        data.book.turn(event.pattern, event.state, now)


def apply_crystallized(data: Data, event: derived.ValueCrystallized, stamp: Stamp) -> None:
    _count(data, event, stamp)


def apply_distributed(data: Data, event: derived.ValueDistributed, stamp: Stamp) -> None:
    _count(data, event, stamp)
    data.unpaid.pop(event.event, None)
    data.paid[event.event] = None
    data.distributed += event.units
    for share in event.shares:
        data.value[share.event] = data.value.get(share.event, 0) + share.units
        actor = data.nodes[share.event].actor
        data.earned[actor] = data.earned.get(actor, 0) + share.units


def apply_grown(data: Data, event: derived.NetworkGrown, stamp: Stamp) -> None:
    _count(data, event, stamp)


def apply_topology(data: Data, event: derived.TopologyUpdated, stamp: Stamp) -> None:
    _count(data, event, stamp)
    data.told_network = (event.nodes, event.edges)


# --- sharing ----------------------------------------------------------------------------------------------------------------


def apply_sync_started(data: Data, event: derived.SharingStarted, stamp: Stamp) -> None:
    _count(data, event, stamp)
    data.sync = Sync(event.job, stamp.seq, stamp.time_us, tuple(event.patterns))


def apply_anchored(data: Data, event: derived.PatternAnchored, stamp: Stamp) -> None:
    _count(data, event, stamp)
    if data.sync is not None:
        data.sync = msgspec.structs.replace(data.sync, anchored=(*data.sync.anchored, event.pattern))
    pattern = data.book.patterns.get(event.pattern)
    if pattern is not None:
        pattern.key, pattern.rev, pattern.shared = event.key, event.rev, True


def apply_sync_follows(data: Data, event: derived.SharingFollows, stamp: Stamp) -> None:
    _count(data, event, stamp)
    assert data.sync is not None
    data.sync = msgspec.structs.replace(data.sync, cache_job=event.cache_job)


def apply_sync_ended(data: Data, event: derived.SharingEnded, stamp: Stamp) -> None:
    _count(data, event, stamp)
    assert data.sync is not None
    result = {"shared": event.shared, "pushed": event.pushed, "pulled": event.pulled}
    ended = msgspec.structs.replace(
        data.sync, ended_us=stamp.time_us, code=event.code, detail=event.detail, result=result, patterns=()
    )
    data.syncs.appendleft(ended)
    data.sync = None


# --- snapshots --------------------------------------------------------------------------------------------------------------


class Nodes(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """Events as columns: what a million of them say is read back in a moment. Actors and types are places in `names`."""

    ids: bytes
    seqs: list[int]
    times_us: list[int]
    names: list[str]
    actors: list[Count]
    types: list[Count]


def _columns(nodes: dict[str, Node]) -> Nodes:
    names = {name: 0 for node in nodes.values() for name in (node.actor, node.type)}
    for place, name in enumerate(names):
        names[name] = place
    return Nodes(
        bytes.fromhex("".join(nodes)),
        [node.seq for node in nodes.values()],
        [node.time_us for node in nodes.values()],
        list(names),
        [names[node.actor] for node in nodes.values()],
        [names[node.type] for node in nodes.values()],
    )


def _nodes(columns: Nodes) -> dict[str, Node]:
    """Raises ValueError or LookupError for what no dump says."""
    text, names = columns.ids.hex(), [intern(name) for name in columns.names]
    ids = (text[at : at + 64] for at in range(0, len(text), 64))
    actors, types = map(names.__getitem__, columns.actors), map(names.__getitem__, columns.types)
    rows = zip(ids, columns.seqs, columns.times_us, actors, types, strict=True)
    return {id: Node(seq, time_us, actor, kind) for id, seq, time_us, actor, kind in rows}


class DataDump(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    clock: ClockDump
    nodes: Nodes
    counts: dict[str, int]
    repeated: int
    model: str
    chosen: int
    anew: list[str]
    models: dict[str, int]
    vectors: dict[str, dict[str, int]]
    stored: int
    kept: dict[str, int]
    clusters: list[tuple[str, Cluster]]
    compared: Compared | None
    waiting: list[tuple[str, Waiting]]
    priors: dict[str, dict[str, float]]
    votes: dict[str, dict[str, float]]
    cites: list[tuple[str, list[tuple[str, float]]]]
    told_network: tuple[int, int]
    leans: list[tuple[str, list[str]]]
    unpaid: list[tuple[str, int]]
    paid: list[str]
    value: dict[str, int]
    earned: dict[str, int]
    distributed: int
    patterns: list[Pattern]
    evidence: list[list[str]]
    """The order of each pattern's evidence: it says what goes first."""
    sync: Sync | None
    syncs: list[Sync]


def dump(data: Data) -> DataDump:
    patterns = [msgspec.structs.replace(pattern, crossing_us=None) for pattern in data.book.patterns.values()]
    return DataDump(
        dump_clock(data.clock),
        _columns(data.nodes),
        dict(data.counts),
        data.repeated,
        data.model,
        data.chosen,
        list(data.anew),
        data.models,
        data.vectors,
        data.stored,
        dict(data.kept),
        list(data.clusters.items()),
        data.compared,
        list(data.waiting.items()),
        data.priors,
        data.votes,
        [(citing, list(cited.items())) for citing, cited in data.network.cites.items()],
        data.told_network,
        [(one, list(others)) for one, others in data.leans.items()],
        list(data.unpaid.items()),
        list(data.paid),
        data.value,
        data.earned,
        data.distributed,
        patterns,
        [list(pattern.evidence) for pattern in patterns],
        data.sync,
        list(data.syncs),
    )


def load(dumped: DataDump) -> Data:
    nodes = _nodes(dumped.nodes)
    data = Data(
        load_clock(dumped.clock),
        nodes,
        Counter(dumped.counts),
        dumped.repeated,
        dumped.model,
        dumped.chosen,
        {id: nodes[id].seq for id in dumped.anew},
        dumped.models,
        dumped.vectors,
        dumped.stored,
        Counter(dumped.kept),
        dict(dumped.clusters),
        dumped.compared,
        dict(dumped.waiting),
        dumped.priors,
        dumped.votes,
        network_of((citing, dict(cited)) for citing, cited in dumped.cites),
        dumped.told_network,
        {one: dict.fromkeys(others) for one, others in dumped.leans},
        dict(dumped.unpaid),
        dict.fromkeys(dumped.paid),
        dumped.value,
        dumped.earned,
        dumped.distributed,
        _book(zip(dumped.patterns, dumped.evidence, strict=True)),
        dumped.sync,
        deque(dumped.syncs, maxlen=RECENT_MAX),
    )
    for pattern in data.book.patterns.values():
        data.book.weighed(pattern, data.weigh)
    return data


def _book(rows: Iterable[tuple[Pattern, list[str]]]) -> Book:
    book = Book()
    for pattern, order in rows:
        pattern.evidence = {event: pattern.evidence[event] for event in order}
        book.patterns[pattern.pattern] = pattern
        for event in order:
            book.of_event.setdefault(event, {})[pattern.pattern] = None
    return book
