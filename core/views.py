"""Views: what follows the durable events and may be thrown away at any time. Never in the way of `decide` or `apply`.

A view is fed each record once, in the order of its log; in which order logs come to it may not matter to what it says, so that one
made anew from the logs, one log after the other, equals the one that was there all the time. What it cannot know from the logs are
totals that the daemon counts in memory: those are sampled, kept in its file, and begin anew when that is lost.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import msgspec

from core import shape
from core.engine import Stamp
from core.world import BadDump

LAYER = "log."
"""Records of the log layer itself reach no view; they only move its place on."""

Totals = Mapping[str, int]


class Decided(Protocol):
    """A record that was just decided, beside its place."""

    @property
    def event_type(self) -> str: ...
    @property
    def payload(self) -> bytes: ...
    @property
    def actor(self) -> str: ...
    @property
    def boot_id(self) -> str: ...
    @property
    def mono_us(self) -> int: ...
    @property
    def time_us(self) -> int: ...


Written = tuple[str, bytes, Stamp]
"""A record: event type, payload, envelope."""


class Now(NamedTuple):
    """What the clocks say when somebody looks."""

    boot_id: str
    mono_us: int
    time_us: int


@dataclass(frozen=True)
class View:
    """What one view is. `dump` gives the state as a struct, whose type its annotation names; `load` makes the state from one."""

    name: str
    version: int
    """Rises when the same records lead to something else than before: the view is then made anew."""
    state: Callable[[], Any]
    folds: Mapping[str, Callable[[Any, bytes, Stamp], None]]
    """By event type. A fold reads the stored payload itself, and of it only what it needs."""
    dump: Callable[[Any], Any]
    load: Callable[[Any], Any]
    command: Callable[[Any, Stamp], None] | None = None
    """Called once for each command in a log, before its events."""
    sample: Callable[[Any, Totals, Now], None] | None = None
    """Takes over what the daemon has counted so far."""
    sample_before: frozenset[str] = field(default_factory=frozenset)
    """Event types before which the totals are sampled: what was counted until then belongs to the time before."""

    @property
    def dumped(self) -> Any:
        return self.dump.__annotations__["return"]

    @property
    def shape(self) -> str:
        """Stands for what its file holds: only a file of the same one may be loaded."""
        return shape.digest(self.name, self.version, self.dumped, _Dump)


class _Dump(msgspec.Struct, forbid_unknown_fields=True):
    positions: dict[str, int]
    moments: dict[str, tuple[str, int]]
    state: msgspec.Raw


_packer = msgspec.msgpack.Encoder(order="deterministic")
_unpacker = msgspec.msgpack.Decoder(_Dump, strict=True)


class Follower:
    """One view with its state and its place in each log: the next record it waits for."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.forget()

    def forget(self) -> None:
        """Know nothing, and wait for the first record of every log."""
        self.state = self.view.state()
        self.positions: dict[str, int] = {}
        self._moments: dict[str, tuple[str, int]] = {}
        """Of each log, when the last command was decided: each has a moment of its own, and that tells one from the next."""

    def position(self, log: str) -> int:
        return self.positions.get(log, 0)

    def reached(self, log: str, seq: int) -> None:
        """All before this record is known, or will never be."""
        self.positions[log] = max(seq, self.position(log))

    def feed(self, log: str, records: Iterable[Written]) -> None:
        """Take up records of one log. What is known already is passed over."""
        view, state = self.view, self.state
        position = self.position(log)
        for event_type, payload, stamp in records:
            if stamp.seq < position:
                continue
            position = self.positions[log] = stamp.seq + 1
            if event_type.startswith(LAYER):
                continue
            if view.command is not None:
                moment = (stamp.boot_id, stamp.mono_us)
                if self._moments.get(log) != moment:
                    self._moments[log] = moment
                    view.command(state, stamp)
            fold = view.folds.get(event_type)
            if fold is not None:
                fold(state, payload, stamp)

    def take(self, log: str, first_seq: int, records: Sequence[Decided], divides: Callable[[], None]) -> None:
        """One whole command that has just become durable: the same as `feed`, and quick, for it runs beside the log writer.

        `divides` is called before an event that wants the totals sampled.
        """
        self.take_all(log, [(first_seq, records)], divides)

    def take_all(self, log: str, commands: Iterable[tuple[int, Sequence[Decided]]], divides: Callable[[], None]) -> None:
        """The same of several commands, each with its first record."""
        view, state, positions, moments = self.view, self.state, self.positions, self._moments
        command, folds = view.command, view.folds
        for first_seq, records in commands:
            if first_seq < positions.get(log, 0):
                self.feed(
                    log, [(each.event_type, each.payload, _stamp(log, seq, each)) for seq, each in enumerate(records, first_seq)]
                )
                continue
            positions[log] = first_seq + len(records)
            first = records[0]
            stamp = Stamp(log, first_seq, first.time_us, first.mono_us, first.boot_id, first.actor)
            if command is not None and not first.event_type.startswith(LAYER):
                moment = (first.boot_id, first.mono_us)
                if moments.get(log) != moment:
                    moments[log] = moment
                    command(state, stamp)
            if len(records) == 1 and first.event_type not in folds:
                continue
            for seq, each in enumerate(records, first_seq):
                event_type = each.event_type
                fold = folds.get(event_type)
                if fold is not None:
                    if event_type in view.sample_before:
                        divides()
                    fold(state, each.payload, stamp if seq == first_seq else _stamp(log, seq, each))

    def dump(self) -> Any:
        """All of it, as something that may be encoded later, away from the loop: nothing in it changes any more."""
        state = self.view.dump(self.state)
        return dict(self.positions), dict(self._moments), state

    @staticmethod
    def encode(dumped: Any) -> bytes:
        positions, moments, state = dumped
        return _packer.encode(_Dump(positions, moments, msgspec.Raw(_packer.encode(state))))

    def load(self, raw: bytes) -> None:
        """Become what was dumped. Raises BadDump, and then knows nothing."""
        self.forget()
        try:
            dumped = _unpacker.decode(raw)
            self.state = self.view.load(msgspec.msgpack.decode(dumped.state, type=self.view.dumped, strict=True))
        except (msgspec.MsgspecError, LookupError, TypeError, ValueError) as error:
            self.forget()
            raise BadDump(f"{type(error).__name__}: {error}") from None
        self.positions, self._moments = dumped.positions, dumped.moments


def _stamp(log: str, seq: int, record: Decided) -> Stamp:
    return Stamp(log, seq, record.time_us, record.mono_us, record.boot_id, record.actor)
