"""What the data engine may be asked: by callers, and by itself once something is due. Judges and changes nothing.

What a caller tells and what irer derives from it are kept apart: a caller who emits a derived type is refused, whoever it is.
"""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from hashlib import sha256
from itertools import islice
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from core.canonical import CanonicalError, encode
from core.data import clusters, told
from core.data import events as derived
from core.data.embedding import OWN, NoEmbedding, check_text, raw_of, text_of, unit
from core.data.model import LOG, MODELS_MAX, Data
from core.data.network import CITES_MAX
from core.data.patterns import PATTERNS_MAX, strength
from core.data.value import split
from core.engine import NOTHING, Command, Context, Decision, Errand, Event, JobEnded, Nothing, Refused, Result
from core.fields import Code, Hash, Name
from core.fields import Object as Plain
from core.wire.errors import problem

DERIVE = "data.derive"
DATA_BYTES_MAX = 40_000
"""Of what an event says: with it a record is full enough."""
WAITING_MAX = 10_000
"""Texts that may wait for their embedding."""
BATCH = 64
"""Texts that get theirs together, where so many wait: each batch costs a worker's answer and a sync of the disk."""
VECTORS_MAX = 1_000_000
VOTERS_MAX = 1_000
PRIORS_MAX = 8
RELEVANCE_DIGITS = 6
ANEW_BATCH = 96
"""Texts that get another vector together: nothing else follows from it, so they may be more."""
AT_ONCE_MAX = 64
PAID_AT_ONCE_MAX = 8
SLACK = 256
"""One event in so many goes early, with the one that must."""


class Emit(Command):
    """Tells that something happened.

    family: local, chain, vector, model or embedding
    type: what happened, such as content_created; irer derives some types itself, and takes those from nobody
    data: what is to be known about it; each type has its own fields
    """

    family: told.Family
    type: Code
    data: Plain


class Cite(Command):
    """Says that an event leans on an older one.

    from_: the one that cites
    to: the one that is cited; it must be older, so that no citations lead in a circle
    """

    from_: Hash = msgspec.field(name="from")
    to: Hash


class Rate(Command):
    """Rates an event. Each caller has one voice on each: the last one counts.

    event: which
    rating: 0 is worthless, 1 is as good as it gets
    """

    event: Hash
    rating: told.Ratio


class Forget(Command):
    """Lets go of an event: it cannot be found, cited or rated any more. Its record stays in the log.

    event: which
    """

    event: Hash


class Evolve(Nothing):
    """Patterns whose time has come turn."""


class Settle(Nothing):
    """What was cited gets its value, and the network its measures."""


class Retire(Nothing):
    """The oldest events are let go of, where there are more than configured: some more than these, so that not every event that is
    told lets go of one."""


class Emitted(Result):
    """An event that is on record.

    event: its id, the SHA-256 of its payload as it is stored
    family: its family
    type: its type
    """

    event: Hash
    family: told.Family
    type: Code


def emitted(happened: Sequence[Event]) -> Emitted:
    family, _, kind = happened[0].event_type.partition(".")
    return Emitted(told.id_of(happened[0]), msgspec.convert(family, told.Family), kind)


# --- what callers tell ------------------------------------------------------------------------------------------------------


def decide_emit(data: Data, command: Emit, ctx: Context) -> Decision:
    name = f"{command.family}.{command.type}"
    fields = _checked_size(command.data)
    if name in _OWN and fields.get("type") == command.type:
        fields = {field: value for field, value in fields.items() if field != "type"}  # as it may stand with any other type
    if name == told.CitationTracked.event_type:
        return decide_cite(data, _as(Cite, fields, name), ctx)
    if name == told.FeedbackReceived.event_type:
        return decide_feedback(data, _as(Rate, fields, name), ctx)
    if name == told.EmbeddingGenerated.event_type:
        return decide_vector(data, _as(Given, fields, name), ctx)
    if name in derived.DERIVED:
        text = f"{name} is derived by irer from what was told, and taken from nobody. Emit what it follows from instead"
        raise Refused("invalid-argument", text, reason="derived", fields=[("type", "derived by irer")])
    kind = told.TOLD.get(name)
    if kind is None:
        raise _unknown_type(command)
    event = _as(kind, {**fields, "type": command.type} if "type" not in fields else fields, name)
    _check_references(data, event)
    if kind in told.EMBEDDED:
        _check_content(event)
    if data.model_of(name) is not None:
        _check_waiting(data)
    if isinstance(event, told.PatternStrengthened) and f"model:{event.pattern}" not in data.book.patterns:
        text = f"no pattern {event.pattern} was recognised by a model. Emit model pattern_recognized first"
        raise Refused("not-found", text, fields=[("data.pattern", "unknown")])
    if isinstance(event, told.ModelPattern) and f"model:{event.pattern}" not in data.book.patterns:
        _check_patterns(data)
    return Decision(event)


def _unknown_type(command: Emit) -> Refused:
    known = [name.partition(".")[2] for name in (*told.TOLD, *_OWN) if name.startswith(f"{command.family}.")]
    near = get_close_matches(command.type, known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    text = f"the family {command.family} has no type {command.type}.{hint} There are: {', '.join(known)}"
    return Refused("invalid-argument", text, fields=[("type", "no such type")], data={"nearest": near})


_OWN = (told.CitationTracked.event_type, told.FeedbackReceived.event_type, told.EmbeddingGenerated.event_type)


def _checked_size(data: dict[str, Any]) -> dict[str, Any]:
    try:
        size = len(encode(data))
    except CanonicalError as error:
        raise Refused("invalid-argument", f"data cannot be stored: {error}", fields=[("data", str(error))]) from None
    most = DATA_BYTES_MAX if "vector" not in data else 4 * DATA_BYTES_MAX
    if size > most:
        text = f"data has {size:,} bytes; {most:,} is the most. Tell it in parts that cite one another"
        raise Refused("invalid-argument", text, reason="too-large", fields=[("data", f"more than {most:,} bytes")])
    return data


def _as(kind: Any, fields: dict[str, Any], name: str) -> Any:
    try:
        return msgspec.convert(fields, kind, strict=True)
    except msgspec.ValidationError as error:
        path, text = problem(error, kind)
        where = f"data.{path}" if path else "data"
        taken = [field for field in kind.__struct_fields__ if field not in ("type", "replaces", "effect")]
        taken = [field.rstrip("_") for field in taken]
        raise Refused("invalid-argument", f"{name}: {where}: {text}. It takes {', '.join(taken)}", fields=[(where, text)]) from None


def _check_references(data: Data, event: Event) -> None:
    for field in told.REFERENCES:
        if (named := getattr(event, field, None)) is not None:
            known(data, named, f"data.{field}")
    for named in getattr(event, "events", ()):
        known(data, named, "data.events")


def known(data: Data, event: str, where: str) -> None:
    if event not in data.nodes:
        text = f"{where}: no event {event[:12]}… is known: it was never emitted, or was let go of. See: irerctl data events"
        raise Refused("not-found", text, reason="event", fields=[(where, "no such event")])


def _check_content(event: Any) -> None:
    try:
        check_text(event.text)
    except NoEmbedding as error:
        raise Refused("invalid-argument", f"data.text: {error}", reason="text", fields=[("data.text", str(error))]) from None


def _check_waiting(data: Data) -> None:
    if len(data.waiting) >= WAITING_MAX:
        text = f"{WAITING_MAX:,} texts wait for their embedding already. Try again shortly"
        raise Refused("resource-exhausted", text, reason="waiting", retry_ms=1_000)
    _check_room(data)


def _check_room(data: Data) -> None:
    if data.stored + len(data.waiting) >= VECTORS_MAX:
        text = f"{VECTORS_MAX:,} vectors are stored, and a search takes no more. Let some go: irerctl data forget EVENT"
        raise Refused("resource-exhausted", text, reason="vectors")


def _check_patterns(data: Data) -> None:
    if len(data.book.patterns) >= PATTERNS_MAX:
        text = f"{PATTERNS_MAX:,} patterns are known. They go by themselves as they fade; name one of those until then"
        raise Refused("resource-exhausted", text, reason="patterns")


# --- citations and ratings --------------------------------------------------------------------------------------------------


def decide_cite(data: Data, command: Cite, ctx: Context) -> Decision:
    known(data, command.from_, "from")
    known(data, command.to, "to")
    one, other = data.nodes[command.from_], data.nodes[command.to]
    if other.seq >= one.seq:
        text = "an event can cite older ones only, so that no citations lead in a circle. Name the newer one as from"
        raise Refused("failed-precondition", text, reason="not-older", fields=[("to", "not older than from")])
    cited = data.network.cites.get(command.from_, {})
    if command.to in cited:
        return NOTHING
    if len(cited) >= CITES_MAX:
        text = f"it cites {CITES_MAX} events already, and no event cites more. Let another event cite this one"
        raise Refused("resource-exhausted", text, reason="citations")
    near = data.priors.get(command.from_, {}).get(command.to, 0.0)
    relevance = min(1.0, max(near, ctx.settings.data.relevance))
    happened: list[Event] = [told.CitationTracked(command.from_, command.to, relevance)]
    happened += _evidence(data, [(command.from_, command.to, relevance)])
    happened += _team(data, command)
    return Decision(*happened)


def _evidence(data: Data, found: Sequence[tuple[str, str, float]]) -> Iterator[Event]:
    """What events that are near an older one are evidence of: the patterns of that one, or a new one of both."""
    begun: dict[str, list[str]] = {}
    belongs: set[tuple[str, str]] = set()
    for event, prior, relevance in found:
        names = [name for name in data.book.of_event.get(prior, ()) if data.book.patterns[name].kind == "content"]
        names = names or begun.get(prior, [])
        if not names:
            if len(data.book.patterns) + len(begun) >= PATTERNS_MAX:
                continue
            names = [pattern_name(prior)]
            begun[prior] = names
            yield derived.PatternDetected(names[0], event, prior, relevance)
        else:
            name = names[0]
            if name in data.book.of_event.get(event, ()) or (name, event) in belongs:
                continue
            yield derived.PatternMatched(name, event, relevance)
        belongs.add((names[0], event))
        begun.setdefault(event, names)


def pattern_name(event: str) -> str:
    """Of a pattern that began with this event."""
    return f"p-{event[:16]}"


def team_name(contributors: Sequence[str]) -> str:
    return f"t-{sha256(' '.join(contributors).encode()).hexdigest()[:16]}"


def _team(data: Data, command: Cite) -> Iterator[Event]:
    """A team is two contributors who cite one another."""
    one, other = data.nodes[command.from_].actor, data.nodes[command.to].actor
    pair = sorted((one, other))
    name = team_name(pair)
    if one == other or (name not in data.book.patterns and len(data.book.patterns) >= PATTERNS_MAX - 1):
        return
    if name in data.book.patterns or one in data.leans.get(other, ()):
        yield derived.TeamRecognized(name, pair, command.from_)


def decide_feedback(data: Data, command: Rate, ctx: Context) -> Decision:
    known(data, command.event, "event")
    votes = data.votes.get(command.event, {})
    if votes.get(ctx.actor.name) == command.rating:
        return NOTHING
    if ctx.actor.name not in votes and len(votes) >= VOTERS_MAX:
        raise Refused("resource-exhausted", f"{VOTERS_MAX:,} callers have rated it, and no more can", reason="voters")
    return Decision(told.FeedbackReceived(command.event, command.rating))


# --- vectors ----------------------------------------------------------------------------------------------------------------


class Given(Command):
    """A caller's own vector of an event.

    event: which
    model: what made it
    dimension: how many numbers
    vector: the numbers; they are stored at length 1
    """

    event: Hash
    model: Name
    dimension: told.Dimension
    vector: Annotated[list[Annotated[float, Meta(ge=-1e15, le=1e15)]], Meta(min_length=1, max_length=told.DIMENSION_MAX)]


def decide_vector(data: Data, command: Given, ctx: Context) -> Decision:
    known(data, command.event, "data.event")
    check_model(data, command.model, command.dimension)
    if command.model in OWN:
        text = f"vectors of {command.model} are irer's own, made of an event's text. Name the model that made this one"
        raise Refused("invalid-argument", text, reason="derived", fields=[("data.model", "irer's own")])
    if len(command.vector) != command.dimension:
        text = f"the vector has {len(command.vector)} numbers, not {command.dimension}. Send all of them, or say how many there are"
        raise Refused("invalid-argument", text, reason="dimension", fields=[("data.vector", "another dimension")])
    old = data.vectors.get(command.event, {}).get(command.model)
    if old is None:
        _check_room(data)
    raw = packed(command.vector, "data.vector")
    made = told.EmbeddingGenerated(command.event, command.model, command.dimension, text_of(raw), old)
    return Decision(made, derived.VectorStored(command.event, command.model, command.dimension, sha256(raw).hexdigest()))


def packed(vector: Sequence[float], where: str) -> bytes:
    try:
        return unit(vector)
    except NoEmbedding as error:
        raise Refused("invalid-argument", f"{where}: {error}", reason="vector", fields=[(where, str(error))]) from None


def check_model(data: Data, model: str, dimension: int) -> None:
    """Vectors of two models are never mixed, nor are two dimensions of one."""
    expected = OWN.get(model) or data.models.get(model)
    if expected is not None and expected != dimension:
        text = f"vectors of {model} have {expected} numbers, not {dimension}. Give another model's vectors another name"
        raise Refused("invalid-argument", text, reason="dimension", fields=[("dimension", f"not {expected}")])
    if expected is None and len(data.models.keys() | {data.model}) >= MODELS_MAX:
        text = f"vectors of {MODELS_MAX} models are kept, and of no more. Use one of: {', '.join(sorted(data.models))}"
        raise Refused("resource-exhausted", text, reason="models")


def errands(data: Data, asked: str) -> Iterator[Errand]:
    """The oldest texts get their embeddings together; those that get another one come after those that have none.

    `asked` is the model that is configured. It is tried before anything rests on it, and until it was, the one of before goes on.
    """
    if data.waiting:
        batch = list(islice(data.waiting.items(), BATCH))
        yield _errand(batch[0][0], data.model, [waiting.seq for _, waiting in batch])
    elif data.anew:
        yield _errand(_anew_effect(data), data.model, list(islice(data.anew.values(), ANEW_BATCH)), near=False)
    if _may_choose(data, asked):
        yield _errand(_choice_effect(data, asked), asked, [])
    yield from clusters.errands(data)


def _may_choose(data: Data, asked: str) -> bool:
    """Logs from before irer had a model may hold vectors that a caller named like it: these would be taken for its own."""
    callers = data.models.get(asked, OWN[asked]) != OWN[asked] or (not data.chosen and data.kept[asked] > 0)
    return asked != data.model and not callers


def _errand(effect: str, model: str, records: list[int], near: bool = True) -> Errand:
    return Errand(effect, DERIVE, {"model": model, "records": records, "near": near})


def _anew_effect(data: Data) -> str:
    return f"{LOG}:{data.chosen}:anew-{next(iter(data.anew.values()), 0)}"


def _choice_effect(data: Data, asked: str) -> str:
    return f"{LOG}:{data.chosen}:model-{asked}"


class _Made(msgspec.Struct, forbid_unknown_fields=True):
    """What the work says of one text: a vector with what is near it, or why there is none."""

    event: Hash
    vector: told.Packed = ""
    priors: list[derived.Prior] = []
    code: Code | None = None


class _Outcome(msgspec.Struct, forbid_unknown_fields=True):
    made: Annotated[list[_Made], Meta(max_length=ANEW_BATCH)]


def decide_ended(data: Data, command: JobEnded, ctx: Context) -> Decision:
    if clusters.is_of_clusters(command):
        return clusters.decide_grouped(data, command)
    asked = ctx.settings.data.model
    if command.effect == _choice_effect(data, asked):
        chosen = command.ok and _may_choose(data, asked)
        return Decision(derived.ModelChosen(asked, OWN[asked], command.effect)) if chosen else NOTHING
    if command.effect in data.waiting:
        batch = [(command.effect, data.waiting[command.effect]), *islice(data.waiting.items(), BATCH)]
        return _embedded(data, command, ctx, {each.event: (effect, each.seq) for effect, each in batch})
    if data.anew and command.effect == _anew_effect(data):
        return _embedded(data, command, ctx, {event: (command.effect, seq) for event, seq in islice(data.anew.items(), ANEW_BATCH)})
    return NOTHING  # it was let go of meanwhile, or another model was chosen


def _embedded(data: Data, command: JobEnded, ctx: Context, waiting: dict[str, tuple[str, int]]) -> Decision:
    """Vectors of those that wait for one, by their effect and record; the first of them gets one, or will have none."""
    outcome: _Outcome | None = None
    first = next(event for event, (effect, _) in waiting.items() if effect == command.effect)
    if command.ok:
        try:
            outcome = msgspec.convert(command.result, _Outcome, strict=True)
        except msgspec.ValidationError:
            outcome = None
    if outcome is None:
        code = command.code if not command.ok else "bad-output"
        return Decision(derived.NotEmbedded(first, code, command.effect))
    happened: list[Event] = []
    near: list[tuple[str, str, float]] = []
    for made in outcome.made:
        if (found := waiting.pop(made.event, None)) is not None:
            happened += _made(data, made, *found, near, ctx)
    if first in waiting:
        happened.append(derived.NotEmbedded(first, "bad-output", command.effect))
    return Decision(*happened, *_evidence(data, near))


def _made(data: Data, made: _Made, effect: str, seq: int, near: list[tuple[str, str, float]], ctx: Context) -> Iterator[Event]:
    if made.code is not None:
        yield derived.NotEmbedded(made.event, made.code, effect)
        return
    try:
        model = data.model_of(data.nodes[made.event].type) or data.model
        raw = raw_of(made.vector, OWN[model])
    except NoEmbedding:
        yield derived.NotEmbedded(made.event, "bad-output", effect)
        return
    old = next((record for model, record in data.vectors.get(made.event, {}).items() if model in OWN), None)
    yield told.EmbeddingGenerated(made.event, model, OWN[model], made.vector, old, effect)
    yield derived.VectorStored(made.event, model, OWN[model], sha256(raw).hexdigest())
    if old is not None:
        return  # what was near it, and what follows from that, was told with its first vector
    priors = [
        derived.Prior(prior.event, round(min(1.0, prior.relevance), RELEVANCE_DIGITS))
        for prior in sorted(made.priors, key=lambda prior: -prior.relevance)[:PRIORS_MAX]
        if prior.relevance >= ctx.settings.data.relevance and (node := data.nodes.get(prior.event)) is not None and node.seq < seq
    ]
    best = priors[0].relevance if priors else 0.0
    yield derived.PriorsFound(made.event, len(priors), best, priors, effect)
    if priors:
        near.append((made.event, priors[0].event, best))


# --- what is due ------------------------------------------------------------------------------------------------------------


def decide_evolve(data: Data, command: Evolve, ctx: Context) -> Decision:
    settings, now = ctx.settings.data, data.clock.now(ctx)
    happened: list[Event] = []
    for name, state in data.book.due(settings.threshold, round(settings.hold_s * 1e6), now, AT_ONCE_MAX):
        strong = round(strength(data.book.patterns[name], now), RELEVANCE_DIGITS)
        happened.append(derived.ValueEvolved(name, state, strong))
        if state == "crystallised":
            happened.append(derived.ValueCrystallized(name, strong))
    return Decision(*happened)


def decide_settle(data: Data, command: Settle, ctx: Context) -> Decision:
    until = data.clock.now(ctx) - round(ctx.settings.data.settle_s * 1e6)
    happened: list[Event] = []
    for event, at in islice(data.unpaid.items(), PAID_AT_ONCE_MAX):
        if at > until:
            break
        cited = data.network.cites.get(event, {})
        if not cited:
            continue
        weights = [relevance * data.weigh(to) for to, relevance in cited.items()]
        parts = split(ctx.settings.data.units, weights)
        shares = [derived.Share(to, units) for to, units in zip(cited, parts, strict=True)]
        happened.append(derived.ValueDistributed(event, ctx.settings.data.units, shares))
    network = data.network
    if happened and (network.nodes, network.edges) != data.told_network:
        if network.nodes > data.told_network[0]:
            happened.append(derived.NetworkGrown(network.nodes, network.edges))
        happened.append(derived.TopologyUpdated(network.nodes, network.edges, network.components, network.cycle_rank))
    return Decision(*happened)


def decide_forget(data: Data, command: Forget, ctx: Context) -> Decision:
    known(data, command.event, "event")
    return Decision(_forgotten(data, [command.event], "asked"))


def decide_retire(data: Data, command: Retire, ctx: Context) -> Decision:
    most = ctx.settings.data.events_max
    many = len(data.nodes) - most
    if many <= 0:
        return NOTHING
    many = min(many + most // SLACK, derived.FORGOTTEN_MAX)
    return Decision(_forgotten(data, list(islice(data.nodes, many)), "limit"))


def _forgotten(data: Data, events: list[str], reason: Literal["asked", "limit"]) -> derived.VectorForgotten:
    records = sorted(seq for event in events for seq in data.vectors.get(event, {}).values())
    return derived.VectorForgotten(events, records, reason)
