"""Anomalies over all logs: per event type, per actor and per run how often things happen, and the mix of what happens.

It follows durable records, knows nothing but what they say, and keeps nothing of what was told it. What it finds it answers; who
feeds it puts that before the engine as a command, which records it once in a while and not each time.

Its time is the daemon's own: while that is down none passes, so a restart is no silence. `kept` and `again` carry it over one.
"""

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Any

import msgspec

from core import shape
from core.engine import Stamp
from core.provenance.commands import Found
from core.provenance.drift import RECENT, Drift, KeptMix, Mix
from core.provenance.events import CAUSES_MAX, AnomalyFound, AnomalyKind, Subject
from core.provenance.streams import RATE_NEW, TICK_S, KeptStream, Stream, Unusual
from core.views import Decided

STREAMS_MAX = 1_024
"""Types, actors and runs that are watched; the one that was silent longest goes first."""
CAUSES_KEPT = 4
QUIET_S = 300
"""What was found is not found again within this time."""
REFUSALS_NEW = 0.1
"""Refusals a second that are still usual of a caller nobody knows."""
OWN = AnomalyFound.event_type

Key = tuple[AnomalyKind, Subject, str]


class _Run(msgspec.Struct):
    run_id: str = ""


class _Tap(msgspec.Struct):
    tapped: str = ""
    run_id: str = ""


class _Report(msgspec.Struct):
    reported: str = ""


class _Caller(msgspec.Struct):
    caller: str = ""
    count: int = 1


class _Gate(msgspec.Struct):
    allowed: bool = True


class _Action(msgspec.Struct):
    status: str = ""


class _Seen(msgspec.Struct):
    """What one record says of itself, as far as it is watched."""

    kind: str
    run: str = ""
    refused: str = ""
    """Who was refused something."""
    refusals: int = 1


def _seen(event_type: str, payload: bytes, actor: str) -> _Seen:
    decoder = _DECODERS.get(event_type)
    if decoder is None:
        return _Seen(event_type)
    found: Any = decoder.decode(payload)
    match found:
        case _Tap():
            return _Seen(f"tapped {found.tapped}", found.run_id)
        case _Report():
            return _Seen(f"reported {found.reported}")
        case _Run():
            return _Seen(event_type, found.run_id)
        case _Caller():
            return _Seen(event_type, "", found.caller or actor, found.count)
        case _Gate():
            return _Seen(event_type, "", "" if found.allowed else actor)
        case _:
            return _Seen(event_type, "", actor if getattr(found, "status", "") == "denied" else "")


_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    "provenance.tapped": msgspec.json.Decoder(_Tap),
    "provenance.edge": msgspec.json.Decoder(_Run),
    "engine.reported": msgspec.json.Decoder(_Report),
    "engine.proof_refused": msgspec.json.Decoder(_Caller),
    "gate.refused": msgspec.json.Decoder(_Caller),
    "gate.refused_many": msgspec.json.Decoder(_Caller),
    "gate.checked": msgspec.json.Decoder(_Gate),
    "action.checked": msgspec.json.Decoder(_Action),
}


JUDGED = "action.checked"
_DENIED = b'"status":"denied"'
"""How a judgement says so: within a text of canonical JSON no quote stands without a backslash."""


def _says_more(record: Decided) -> bool:
    """Whether more is to be seen of this record than its type and its actor."""
    if record.event_type == JUDGED:
        return _DENIED in record.payload
    return record.event_type in _DECODERS or record.event_type == OWN or record.event_type.startswith("log.")


class _Watched:
    """One stream, with the newest records in it."""

    __slots__ = ("causes", "quiet", "stream")

    def __init__(self, second: int) -> None:
        self.stream = Stream(second)
        self.quiet = dict.fromkeys(("burst", "rate"), 0)
        """Until when nothing is told of it, by kind."""
        self.causes: deque[tuple[str, int]] = deque(maxlen=CAUSES_KEPT)


class KeptWatched(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """One stream and what it is of, as a file has it."""

    kind: AnomalyKind
    of: Subject
    name: str
    stream: KeptStream
    quiet: dict[str, int]
    causes: list[tuple[str, int]]


class Kept(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """All that the detector has learnt, as a file has it."""

    watched: list[KeptWatched]
    mix: KeptMix
    second: int
    mix_quiet: int


VERSION = 1
"""Rises when what is kept means something else than before."""
SHAPE = shape.digest(VERSION, Kept)


class Detector:
    def __init__(self) -> None:
        self.watched: dict[Key, _Watched] = {}
        """The one that was silent longest is the first."""
        self.mix = Mix()
        self.second = 0
        self._mix_quiet = 0
        self._boot = ""
        self._shift_s = 0
        """What makes the clocks of several boots one that never steps back."""

    def kept(self) -> Kept:
        """For a file, and to be written at once: it shares what goes on changing."""
        watched = [KeptWatched(*key, each.stream.kept(), each.quiet, list(each.causes)) for key, each in self.watched.items()]
        return Kept(watched, self.mix.kept(), self.second, self._mix_quiet)

    @classmethod
    def again(cls, kept: Kept) -> "Detector":
        """As it was when it was kept. The next record is of the next second, whenever it comes."""
        detector = cls()
        for each in kept.watched:
            watched = _Watched(0)
            watched.stream, watched.quiet = Stream.again(each.stream), {**watched.quiet, **each.quiet}
            watched.causes.extend(each.causes)
            detector.watched[each.kind, each.of, each.name] = watched
        detector.mix, detector.second, detector._mix_quiet = Mix.again(kept.mix), kept.second + 1, kept.mix_quiet
        return detector

    def note(self, event_type: str, payload: bytes, stamp: Stamp) -> list[Found]:
        """One more durable record, of whichever log."""
        if event_type == OWN or event_type.startswith("log."):
            return []
        second = self._second(stamp)
        cause = (stamp.log, stamp.seq)
        seen = _seen(event_type, payload, stamp.actor)
        keys: list[tuple[Key, int, float]] = [
            (("burst", "type", seen.kind), 1, RATE_NEW),
            (("burst", "actor", stamp.actor), 1, RATE_NEW),
        ]
        if seen.run:
            keys.append((("burst", "run", seen.run), 1, RATE_NEW))
        if seen.refused:
            keys.append((("breach", "actor", seen.refused), seen.refusals, REFUSALS_NEW))
        found = []
        for key, count, rate_new in keys:
            watched = self._of(key, second)
            watched.causes.append(cause)
            unusual = watched.stream.note(second, count, rate_new)
            if unusual is None or second < watched.quiet[unusual.kind] or (key[0] == "breach" and unusual.kind == "rate"):
                continue
            watched.quiet[unusual.kind] = second + QUIET_S
            found.append(_told(key, unusual, watched))
        drifted = self.mix.note(seen.kind)
        if drifted is not None and second >= self._mix_quiet:
            self._mix_quiet = second + QUIET_S
            found.append(_drifted(drifted, self.watched.get(("burst", "type", drifted.name)), cause))
        return found

    def note_all(self, log: str, first_seq: int, records: Sequence[Decided]) -> list[Found]:
        """What `note` finds of each in turn, from record `first_seq` on. Those that are alike are counted together."""
        found: list[Found] = []
        place, count = 0, len(records)
        if count == 1:
            [only] = records
            stamp = Stamp(log, first_seq, only.time_us, only.mono_us, only.boot_id, only.actor)
            return self.note(only.event_type, only.payload, stamp)
        while place < count:
            first = records[place]
            alike = 1
            if not _says_more(first):
                event_type, actor, boot_id, second = first.event_type, first.actor, first.boot_id, first.mono_us // 1_000_000
                for other in islice(records, place + 1, None):
                    if other.event_type != event_type or other.actor != actor or other.mono_us // 1_000_000 != second:
                        break
                    if other.boot_id != boot_id or (event_type == JUDGED and _DENIED in other.payload):
                        break
                    alike += 1
            end = place + alike
            while place < end:
                calm = self._calm(first, end - place) if alike > 1 else 0
                if calm > 1:
                    self._note_alike(first, calm, log, first_seq + place)
                    place += calm
                else:
                    each = records[place]
                    stamp = Stamp(log, first_seq + place, each.time_us, each.mono_us, each.boot_id, each.actor)
                    if unusual := self.note(each.event_type, each.payload, stamp):
                        found += unusual
                    place += 1
        return found

    def _calm(self, record: Decided, count: int) -> int:
        """How many records such as this one may be counted before anything is to be looked at: none, where that is now."""
        if record.boot_id != self._boot or record.mono_us // 1_000_000 + self._shift_s != self.second:
            return 0
        for of, name in (("type", record.event_type), ("actor", record.actor)):
            watched = self.watched.get(("burst", of, name))  # type: ignore[arg-type]
            if watched is None or watched.stream.second != self.second:
                return 0
            count = min(count, watched.stream.check_at - watched.stream.count - 1)
        return min(count, self.mix.calm(record.event_type))

    def _note_alike(self, record: Decided, count: int, log: str, first_seq: int) -> None:
        """So many records, of which none is to be looked at."""
        causes = [(log, seq) for seq in range(first_seq + max(0, count - CAUSES_KEPT), first_seq + count)]
        for of, name in (("type", record.event_type), ("actor", record.actor)):
            watched = self._of(("burst", of, name), self.second)  # type: ignore[arg-type]
            watched.causes.extend(causes)
            watched.stream.count += count
        self.mix.note_alike(record.event_type, count)

    def _second(self, stamp: Stamp) -> int:
        if stamp.boot_id != self._boot:
            self._boot = stamp.boot_id
            self._shift_s = self.second - stamp.mono_us // 1_000_000
        self.second = max(self.second, stamp.mono_us // 1_000_000 + self._shift_s)
        return self.second

    def _of(self, key: Key, second: int) -> _Watched:
        watched = self.watched.pop(key, None)
        if watched is None:
            watched = _Watched(second)
            if len(self.watched) >= STREAMS_MAX:
                del self.watched[next(iter(self.watched))]
        self.watched[key] = watched
        return watched


def _told(key: Key, unusual: Unusual, watched: _Watched) -> Found:
    kind, of, name = key
    who = f"{of} {name}" if kind != "breach" else f"refusals of {name}"
    if unusual.kind == "rate":
        kind = "rate"
        way = "more" if unusual.seen > unusual.expected else "fewer"
        minutes = unusual.scale_s // 60
        text = (
            f"{who}: {way} than usual for about {minutes} min; lately {unusual.seen} in {TICK_S} s, usually {unusual.expected:.1f}"
        )
    else:
        text = f"{who}: {unusual.seen} in {unusual.scale_s} s, usually at most {unusual.expected:.1f}"
    return Found(
        kind,
        of,
        name,
        unusual.scale_s,
        "s",
        unusual.seen,
        round(unusual.expected, 3),
        round(unusual.statistic, 2),
        unusual.threshold,
        text[:200],
        _causes(watched),
    )


def _drifted(drift: Drift, watched: _Watched | None, cause: tuple[str, int]) -> Found:
    text = f"{drift.name}: {drift.seen} of the newest {RECENT} events, usually {drift.expected:.1f}"
    causes = _causes(watched) if watched is not None else [f"{cause[0]}:{cause[1]}"]
    statistic = round(drift.statistic, 2)
    expected = round(drift.expected, 3)
    return Found("drift", "all", drift.name, RECENT, "events", drift.seen, expected, statistic, drift.threshold, text[:200], causes)


def _causes(watched: _Watched) -> list[str]:
    return [f"{log}:{seq}" for log, seq in watched.causes][-CAUSES_MAX:]
