"""What a message on a bus says, as calls of irerd, each with a key by which it is done once however often it comes.

The key is the message's identity, in this order: what its sender calls it; its content, where that tells the time it is about; its
place with the broker. A message that has none of these cannot be told from its own repetition, and is refused. Must never put
anything into a call that would differ when the same message comes again.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from core.times import time_text
from irerctl.bus.broker import Message
from irerctl.bus.topics import fill

PAYLOAD_BYTES_MAX = 1_000_000
WHOLE_MAX = 2**53 - 1
POINTS_MAX = 2_048
"""What one call of irerd takes up."""
_SINGLE = frozenset({"id", "source", "timestamp", "telemetry", "context"})
_BATCH = frozenset({"id", "source", "metrics", "times", "values", "predict"})
_REQUEST = frozenset({"id", "goal", "current_state", "constraints", "candidates"})


class Bad(Exception):
    """A message that nothing can be done with, now or later."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


class Ask(NamedTuple):
    """One call."""

    method: str
    params: dict[str, Any]
    idem: str
    engine: str | None = None


class Samples(NamedTuple):
    """Of which source these are, and how to bring them in, in order."""

    source: str
    asks: list[Ask]


def samples(message: Message, source: str, names: Mapping[str, str], engine: str | None, arrival: str | None) -> Samples:
    """`source` is a template over `names`, the message's key and its document; `arrival` an identity of last resort. Raises Bad."""
    document = _document(message, names)
    given = document.pop("source", None)
    known = dict(names) | ({"key": message.key} if message.key else {})
    if "{document}" in source:
        if not isinstance(given, str):
            raise Bad("no-source", "the document must say its source")
        known["document"] = given
    if "{key}" in source and not message.key:
        raise Bad("no-source", "the message must have a key, which is its source")
    named = fill(source, known)
    if given not in (None, named):
        raise Bad("wrong-source", f"it says that it is of {given}, and what comes here is of {named}")
    own = document.pop("id", None)
    own = message.id if own is None else own
    if own is not None and not isinstance(own, str | int):
        raise Bad("form", "id is a text or a whole number")
    idem = _identity(message, named, own, "times" in document or "timestamp" in document, arrival)
    if "telemetry" in document:
        if message.time_us is not None:
            document.setdefault("timestamp", time_text(message.time_us))
        return Samples(named, [Ask("eil.sense", {"source": named, **document}, idem, engine)])
    parts = list(_parts(document))
    more = len(parts) > 1
    asks = [
        Ask("eil.sense_batch", {"source": named, **part}, f"{idem}:{place}" if more else idem, engine)
        for place, part in enumerate(parts)
    ]
    return Samples(named, asks)


def request(message: Message, engine: str | None) -> tuple[str, Ask]:
    """A request for an action: its correlation, and the call. Raises Bad."""
    document = _decoded(message)
    if not isinstance(document, dict) or not set(document) <= _REQUEST | {"correlation_id"}:
        raise Bad("form", f"a request is an object of {', '.join(sorted(_REQUEST))}")
    own = document.pop("id", None) or message.id
    correlation = document.pop("correlation_id", None) or message.correlation or own
    if not isinstance(correlation, str) or not isinstance(own, str | None):
        raise Bad("no-identity", "a request needs an id or a correlation_id, a text that no other request has")
    idem = _digest("request", message.topic, own or "", correlation)
    return correlation, Ask("eil.act", document, idem, engine)


def _document(message: Message, names: Mapping[str, str]) -> dict[str, Any]:
    found = _decoded(message)
    if isinstance(found, int | float) and not isinstance(found, bool):
        if "metric" not in names:
            raise Bad("form", "a bare number needs a topic whose levels name the metric")
        return {"telemetry": {names["metric"]: _figure(found)}}
    if isinstance(found, dict):
        for form, needed in ((_SINGLE, {"telemetry"}), (_BATCH, {"metrics", "times", "values"})):
            if needed <= set(found):
                if more := set(found) - form:
                    raise Bad("form", f"it holds what has no meaning here: {', '.join(sorted(more))[:200]}")
                # A time that is null tells no time: two such messages that say the same are two samples.
                return {name: _figures(value) for name, value in found.items() if name != "timestamp" or value is not None}
    raise Bad("form", "neither one sample (telemetry) nor several (metrics, times, values)")


def _figures(value: Any) -> Any:
    """Whole numbers beyond 2^53, as a counter of bytes has them, as the figures they are: irerd takes no such number for whole."""
    if isinstance(value, dict):
        return {name: _figure(each) for name, each in value.items()}
    if isinstance(value, list):
        return [[_figure(each) for each in line] if isinstance(line, list) else _figure(line) for line in value]
    return value


def _figure(value: Any) -> Any:
    if type(value) is not int or -WHOLE_MAX <= value <= WHOLE_MAX:
        return value
    try:
        return float(value)
    except OverflowError:
        return value


def _decoded(message: Message) -> Any:
    if len(message.payload) > PAYLOAD_BYTES_MAX:
        raise Bad("too-large", f"{len(message.payload):,} bytes; at most {PAYLOAD_BYTES_MAX:,} are read")
    try:
        return msgspec.json.decode(message.payload)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as problem:
        raise Bad("not-json", f"it is no JSON: {problem}"[:300]) from None


def _parts(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """As many lines at once as irerd takes. What is no list is left for irerd to refuse."""
    metrics, times, values = document["metrics"], document["times"], document["values"]
    shaped = all(isinstance(each, list) and each for each in (metrics, times, values)) and len(times) == len(values)
    lines = max(1, POINTS_MAX // len(metrics)) if shaped else 0
    if not shaped or len(times) <= lines:
        yield document
        return
    for at in range(0, len(times), lines):
        last = at + lines >= len(times)
        rest = {"predict": document["predict"]} if last and "predict" in document else {}
        yield {"metrics": metrics, "times": times[at : at + lines], "values": values[at : at + lines], **rest}


def _identity(message: Message, source: str, own: str | int | None, timed: bool, arrival: str | None) -> str:
    if own is not None:
        return _digest("id", source, str(own))
    if timed:
        return _digest("content", source, message.payload)
    if message.place is not None:  # with its content: a topic that was deleted and made again counts from the beginning
        return _digest("place", source, message.place, str(message.time_us), message.payload)
    if arrival is not None:
        return _digest("arrival", source, arrival)
    raise Bad("no-identity", "without an id or a timestamp it cannot be told from its own repetition")


def _digest(*parts: str | bytes) -> str:
    made = hashlib.blake2b(digest_size=20, person=b"irer bus")
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        made.update(len(raw).to_bytes(8, "big") + raw)
    return f"bus:{made.hexdigest()}"
