"""What callers may tell the data engine: the types of the five families, each with its own fields.

An event's id is the SHA-256 of its payload as it is stored, so the same thing told twice is one event, and anybody who has the
log can work the id out again. Text is class `open`: secrets and personal data are taken out before there is an event.
"""

from hashlib import sha256
from typing import Annotated, Literal

from msgspec import Meta, field

from core.canonical import event_payload
from core.data.embedding import DIMENSION_MAX, TEXT_CHARS_MAX
from core.engine import Event
from core.fields import Count, Hash, Name, privacy, words

Family = Literal["local", "chain", "vector", "model", "embedding"]
Text = Annotated[str, Meta(min_length=1, max_length=TEXT_CHARS_MAX), privacy("open")]
Title = Annotated[str, Meta(max_length=200), privacy("open")]
Person = Annotated[str, Meta(min_length=1, max_length=200), privacy("pseudonym")]
Ratio = Annotated[float, Meta(ge=0, le=1)]
Cosine = Annotated[float, Meta(ge=-1.001, le=1.001)]
Dimension = Annotated[int, Meta(ge=1, le=DIMENSION_MAX)]
Packed = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z0-9_-]{1,21848}\Z"),
    privacy("public"),
    words("float32 numbers as base64url"),
]
Tags = Annotated[list[Annotated[str, Meta(min_length=1, max_length=64), privacy("open")]], Meta(max_length=16)]
Series = Annotated[list[Annotated[float, Meta(ge=-1e15, le=1e15)]], Meta(min_length=1, max_length=1_024)]
Events = Annotated[list[Hash], Meta(min_length=1, max_length=64)]


def id_of(event: Event) -> str:
    return sha256(event_payload(event)).hexdigest()


# --- local: what happened here ----------------------------------------------------------------------------------------------


class ContentCreated(Event, type="local.content_created"):
    """Somebody made something worth finding again. It gets an embedding.

    type: content_created
    text: what it says
    title: what it is called
    """

    type: Literal["content_created"]
    text: Text
    title: Title = ""


class KnowledgeEmerged(Event, type="local.knowledge_emerged"):
    """Several events together came to mean something.

    type: knowledge_emerged
    text: what
    events: those it came from
    """

    type: Literal["knowledge_emerged"]
    text: Text
    events: Events


class Evolved(Event, type="local.evolved"):
    """An event was taken further.

    type: evolved
    event: which
    text: how
    """

    type: Literal["evolved"]
    event: Hash
    text: Text


# --- chain: who answers for it ----------------------------------------------------------------------------------------------


class OwnershipVerified(Event, type="chain.ownership_verified"):
    """Whose an event is was checked elsewhere.

    type: ownership_verified
    event: which
    owner: whose it is, as a pseudonym
    by: who checked
    """

    type: Literal["ownership_verified"]
    event: Hash
    owner: Person
    by: Name


class StateAuthorized(Event, type="chain.state_authorized"):
    """Somebody with a say agreed to a state of things.

    type: state_authorized
    state: which
    by: who agreed
    """

    type: Literal["state_authorized"]
    state: Title
    by: Name


class SystemEvolved(Event, type="chain.system_evolved"):
    """The system that events come from is another one now.

    type: system_evolved
    text: what changed
    """

    type: Literal["system_evolved"]
    text: Text


# --- vector: where things are, and what they lean on ------------------------------------------------------------------------


class ContentStored(Event, type="vector.content_stored"):
    """The whole of an event's content is kept somewhere.

    type: content_stored
    event: whose
    place: where
    """

    type: Literal["content_stored"]
    event: Hash
    place: Title


class CitationTracked(Event, type="vector.citation_tracked"):
    """An event leans on an older one.

    from_: the one that cites
    to: the one that is cited
    relevance: how near the two are
    """

    from_: Hash = field(name="from")
    to: Hash
    relevance: Ratio


class KnowledgeCoupled(Event, type="vector.knowledge_coupled"):
    """Two events belong together, somebody found.

    type: knowledge_coupled
    event: one
    other: the other
    coupling: how closely, 0 to 1
    """

    type: Literal["knowledge_coupled"]
    event: Hash
    other: Hash
    coupling: Ratio


# --- model: what a caller's model did and found -----------------------------------------------------------------------------


class GenerationStarted(Event, type="model.generation_started"):
    """A model was asked.

    type: generation_started
    prompt: what
    model: which model
    """

    type: Literal["generation_started"]
    prompt: Text
    model: Name | None = None


class ResponseGenerated(Event, type="model.response_generated"):
    """A model answered. The answer gets an embedding.

    type: response_generated
    text: the answer
    event: what it answers
    model: which model
    """

    type: Literal["response_generated"]
    text: Text
    event: Hash | None = None
    model: Name | None = None


class ConfidenceCalculated(Event, type="model.confidence_calculated"):
    """How sure a model is of an event.

    type: confidence_calculated
    event: of which
    score: how sure, 0 to 1
    """

    type: Literal["confidence_calculated"]
    event: Hash
    score: Ratio


class PriorRelevanceAnalyzed(Event, type="model.prior_relevance_analyzed"):
    """How much a model thinks an older event matters to a newer one.

    type: prior_relevance_analyzed
    event: the newer one
    prior: the older one
    score: how much, 0 to 1
    """

    type: Literal["prior_relevance_analyzed"]
    event: Hash
    prior: Hash
    score: Ratio


class CitationQualityMeasured(Event, type="model.citation_quality_measured"):
    """How good a model thinks a citation is.

    type: citation_quality_measured
    event: the one that cites
    cited: the one that is cited
    score: how good, 0 to 1
    """

    type: Literal["citation_quality_measured"]
    event: Hash
    cited: Hash
    score: Ratio


class ModelPattern(Event, type="model.pattern_recognized"):
    """A model sees an event as part of a pattern of its own; such patterns are kept apart, as model:NAME.

    type: pattern_recognized
    pattern: NAME
    event: which event
    relevance: how much it belongs there, 0 to 1
    """

    type: Literal["pattern_recognized"]
    pattern: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,47}\Z"), privacy("public"), words("a name: a-z, 0-9, _ and -")]
    event: Hash
    relevance: Ratio


class FeedbackReceived(Event, type="model.feedback_received"):
    """Somebody rated an event. Each caller has one voice on each event: the last one counts.

    event: which
    rating: 0 is worthless, 1 is as good as it gets
    """

    event: Hash
    rating: Ratio


class PatternStrengthened(Event, type="model.pattern_strengthened"):
    """A model weighs an event of a pattern of its own anew.

    type: pattern_strengthened
    pattern: NAME, as in pattern_recognized
    event: which event
    weight: how much it belongs there, 0 to 1
    """

    type: Literal["pattern_strengthened"]
    pattern: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,47}\Z"), privacy("public"), words("a name: a-z, 0-9, _ and -")]
    event: Hash
    weight: Ratio


class ContextUpdated(Event, type="model.context_updated"):
    """A model goes on from something else than before.

    type: context_updated
    text: from what
    model: which model
    """

    type: Literal["context_updated"]
    text: Text
    model: Name | None = None


# --- embedding: texts as vectors --------------------------------------------------------------------------------------------


class ContentReceived(Event, type="embedding.content_received"):
    """A text came in to be found again. It gets an embedding.

    type: content_received
    text: what it says
    """

    type: Literal["content_received"]
    text: Text


class TelemetryReceived(Event, type="embedding.telemetry_received"):
    """A series of measured numbers came in, to be found again by what it is called and by its shape. It gets an embedding.

    type: telemetry_received
    metric: what was measured
    tags: words that say more of it, such as host=north-3
    values: the numbers, evenly spaced in time, the oldest first
    """

    type: Literal["telemetry_received"]
    metric: Name
    tags: Tags
    values: Series


class EmbeddingGenerated(Event, type="embedding.embedding_generated"):
    """An event has a vector, of length 1.

    event: which
    model: what made the vector; vectors of two models are never compared
    dimension: how many numbers
    vector: the numbers, as little-endian float32 in base64url
    replaces: the record of the vector that it stands for now
    effect: of irer's own, what asked for it
    """

    event: Hash
    model: Name
    dimension: Dimension
    vector: Packed
    replaces: Count | None = None
    effect: Name | None = None


class SearchStarted(Event, type="embedding.similarity_search_started"):
    """A caller looks for something, and wants that on record; data.search by itself leaves none.

    type: similarity_search_started
    query: for what
    """

    type: Literal["similarity_search_started"]
    query: Text


class ResultsReturned(Event, type="embedding.results_returned"):
    """A caller was given these, and wants that on record.

    type: results_returned
    events: which
    """

    type: Literal["results_returned"]
    events: Events


TOLD: dict[str, type[Event]] = {
    kind.event_type: kind
    for kind in (
        ContentCreated,
        KnowledgeEmerged,
        Evolved,
        OwnershipVerified,
        StateAuthorized,
        SystemEvolved,
        ContentStored,
        KnowledgeCoupled,
        GenerationStarted,
        ResponseGenerated,
        ConfidenceCalculated,
        PriorRelevanceAnalyzed,
        CitationQualityMeasured,
        ModelPattern,
        PatternStrengthened,
        ContextUpdated,
        ContentReceived,
        TelemetryReceived,
        SearchStarted,
        ResultsReturned,
    )
}
"""Events that stand for themselves: each can be cited, rated and found."""
EMBEDDED: frozenset[type[Event]] = frozenset({ContentCreated, ResponseGenerated, ContentReceived})
"""Those whose text gets an embedding."""
TELEMETRY = TelemetryReceived.event_type
REFERENCES = ("event", "other", "prior", "cited")
"""Fields that name an event which must be known."""
