"""What irer itself derives from what callers told: nobody can emit these. Each stands in the log as a fact, and is never worked out
again in a replay.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from core.data.told import Cosine, Dimension, Packed
from core.engine import Event
from core.fields import Code, Count, Frozen, Hash, Label, Name, privacy

Detail = Annotated[str, Meta(max_length=500), privacy("open")]
Strength = Annotated[float, Meta(ge=0, le=1e12)]
Standing = Literal["forming", "rising", "crystallised", "gone"]
SHARES_MAX, FORGOTTEN_MAX, SHARED_MAX = 256, 128, 64
CLUSTERS_MAX, EXAMPLES_MAX = 1_024, 3


class Prior(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """An older event that is near.

    event: which
    relevance: how near: the cosine of the two vectors
    """

    event: Hash
    relevance: Cosine


class Share(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """What a cited event gets.

    event: which
    units: how many
    """

    event: Hash
    units: Count


class Shown(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """A pattern as it is shared.

    pattern: its name
    strength: how strong it was
    """

    pattern: Name
    strength: Strength


class VectorStored(Event, type="embedding.vector_stored"):
    """A vector can be searched from now on.

    event: whose
    model: what made it
    dimension: how many numbers
    hash: SHA-256 of its float32 numbers
    """

    event: Hash
    model: Name
    dimension: Dimension
    hash: Hash


class ModelChosen(Event, type="embedding.model_chosen"):
    """Texts get their vectors from another model from now on. Those that have one get a new one, which replaces it.

    model: what makes them
    dimension: how many numbers
    effect: what asked for it
    """

    model: Name
    dimension: Dimension
    effect: Name | None = None


class NotEmbedded(Event, type="embedding.not_embedded"):
    """An event will have no embedding.

    event: which
    code: why
    effect: what asked for it
    """

    event: Hash
    code: Code
    effect: Name | None = None


class PriorsFound(Event, type="embedding.priors_found"):
    """What came before an event and is near it.

    event: which
    count: how many there are
    relevance: of the nearest; 0 where there is none
    priors: the nearest ones
    effect: what asked for it
    """

    event: Hash
    count: Count
    relevance: Cosine
    priors: Annotated[list[Prior], Meta(max_length=32)]
    effect: Name | None = None


class PatternDetected(Event, type="embedding.pattern_detected"):
    """Two events are the beginning of a pattern.

    pattern: its name
    event: the newer one
    prior: the older one
    relevance: how near they are
    """

    pattern: Name
    event: Hash
    prior: Hash
    relevance: Cosine


class PatternMatched(Event, type="vector.pattern_matched"):
    """An event is further evidence of a pattern.

    pattern: its name
    event: the event
    relevance: how near it is
    """

    pattern: Name
    event: Hash
    relevance: Cosine


class TeamRecognized(Event, type="local.pattern_recognized"):
    """Two contributors cite one another: a pattern of people rather than of texts.

    pattern: its name
    contributors: who
    event: the citing event that closed the circle
    """

    pattern: Name
    contributors: Annotated[list[Name], Meta(min_length=2, max_length=2)]
    event: Hash


class ValueEvolved(Event, type="local.value_evolved"):
    """A pattern is worth something else than before.

    pattern: its name
    state: forming, rising, crystallised, or gone
    strength: how strong it is
    """

    pattern: Name
    state: Standing
    strength: Strength


class ValueCrystallized(Event, type="local.value_crystallized"):
    """A pattern was strong for long enough.

    pattern: its name
    strength: how strong it is
    """

    pattern: Name
    strength: Strength


class ValueDistributed(Event, type="chain.value_distributed"):
    """What an event is worth went to those it cites. The parts add up to the whole.

    event: the one that cites
    units: the whole
    shares: the parts
    """

    event: Hash
    units: Count
    shares: Annotated[list[Share], Meta(min_length=1, max_length=SHARES_MAX)]


class PatternAnchored(Event, type="chain.pattern_anchored"):
    """A pattern stands in the cache, from where it is synced.

    pattern: its name
    key: its document
    rev: the document's revision
    effect: what asked for it
    """

    pattern: Name
    key: Label
    rev: Label
    effect: Name | None = None


class NetworkGrown(Event, type="vector.network_grown"):
    """More events cite or are cited than before.

    nodes: how many do
    edges: citations
    """

    nodes: Count
    edges: Count


class TopologyUpdated(Event, type="embedding.topology_updated"):
    """The network of citations has another shape.

    nodes: events that cite or are cited
    edges: citations
    components: parts it falls into
    cycle_rank: edges less nodes, plus components
    """

    nodes: Count
    edges: Count
    components: Count
    cycle_rank: Count


class ClusterSize(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """A cluster as it was found.

    cluster: its id
    size: events in it
    near: how near they are to its centroid: the mean cosine
    """

    cluster: Name
    size: Count
    near: Cosine


class ClusterFormed(Event, type="embedding.cluster_formed"):
    """A cluster of texts that are near one another appeared, or moved to where the centroid says.

    cluster: its id; it keeps it as it grows and moves
    model: whose vectors
    dimension: how many numbers
    centroid: the middle of its events, of length 1
    examples: the events that are nearest to it
    effect: what asked for it
    """

    cluster: Name
    model: Name
    dimension: Dimension
    centroid: Packed
    examples: Annotated[list[Hash], Meta(max_length=EXAMPLES_MAX)]
    effect: Name | None = None


class ClustersUpdated(Event, type="embedding.clusters_updated"):
    """All vectors were compared with the clusters. Those that are not named are gone.

    model: whose vectors
    code: ok, or why clusters stay as they were
    vectors: how many were compared
    loose: how many belong to no cluster
    sizes: the clusters
    more: whether there are more, that come next
    effect: what asked for it
    """

    model: Name
    code: Code
    vectors: Count
    loose: Count
    sizes: Annotated[list[ClusterSize], Meta(max_length=CLUSTERS_MAX)]
    more: bool = False
    effect: Name | None = None


class VectorForgotten(Event, type="embedding.vector_forgotten"):
    """Events are let go of: they cannot be found, cited or rated any more. Their records stay in the log.

    events: which
    records: the records of their vectors
    reason: asked, or limit
    """

    events: Annotated[list[Hash], Meta(min_length=1, max_length=FORGOTTEN_MAX)]
    records: Annotated[list[Count], Meta(max_length=FORGOTTEN_MAX * 8)]
    reason: Literal["asked", "limit"]


class SharingStarted(Event, type="data.sync_started"):
    """Crystallised patterns are being shared.

    job: its id
    patterns: those that go into the cache first
    """

    job: Name
    patterns: Annotated[list[Shown], Meta(max_length=SHARED_MAX)]


class SharingFollows(Event, type="data.sync_follows"):
    """All patterns are in the cache, and the cache syncs.

    job: its id
    cache_job: the cache's sync
    effect: what asked for it
    """

    job: Name
    cache_job: Name
    effect: Name | None = None


class SharingEnded(Event, type="data.sync_ended"):
    """A sync of patterns came to its end.

    job: its id
    code: ok, cancelled, or what went wrong
    detail: one line about a failure, and what to do
    shared: patterns that went into the cache
    pushed: revisions that the far end took
    pulled: revisions that came from it
    """

    job: Name
    code: Code
    detail: Detail = ""
    shared: Count = 0
    pushed: Count = 0
    pulled: Count = 0


DERIVED = {
    "embedding.vector_stored",
    "embedding.priors_found",
    "embedding.pattern_detected",
    "embedding.cluster_formed",
    "embedding.clusters_updated",
    "embedding.topology_updated",
    "embedding.vector_forgotten",
    "embedding.not_embedded",
    "embedding.model_chosen",
    "vector.pattern_matched",
    "vector.network_grown",
    "local.pattern_recognized",
    "local.value_crystallized",
    "local.value_evolved",
    "chain.value_distributed",
    "chain.pattern_anchored",
}
"""What a caller cannot emit, whether or not this version derives it."""
