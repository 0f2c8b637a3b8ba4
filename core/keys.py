"""The memory of idempotency keys: a repeated request is answered from the log, never done twice.

What each log's records say of keys is remembered apart, so that it is the same after a replay, in whatever order logs are read.
Bounds, in each log: so many keys a caller, so many in all, none older than a day. Whether a forgotten key was ever used is no
longer known, so `complete_since_us` says from when the memory is whole.
"""

from collections import OrderedDict
from typing import NamedTuple

import msgspec

from core import shape
from core.world import BadDump

PER_CALLER_MAX = 10_000
IN_ALL_MAX = 200_000
AGE_US_MAX = 24 * 3600 * 1_000_000


class Remembered(NamedTuple):
    """One keyed command: which request it was and where its records stand."""

    digest: str
    log: str
    first_seq: int
    last_seq: int
    time_us: int


class KeyDump(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    caller: str
    key: str
    digest: str
    first_seq: int
    last_seq: int
    time_us: int


class KeysDump(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    complete_since_us: int
    keys: list[KeyDump]
    """The one remembered first comes first."""


SCHEMA = shape.digest(1, KeysDump)
"""Stands for the shape of `Keys.dump`; the number rises when the same records lead to other keys than before."""

_packer = msgspec.msgpack.Encoder()
_unpacker = msgspec.msgpack.Decoder(KeysDump, strict=True)


class _Memory:
    """The keys in one log."""

    def __init__(self) -> None:
        self.callers: dict[str, OrderedDict[str, Remembered]] = {}
        self.order: OrderedDict[tuple[str, str], Remembered] = OrderedDict()
        """All of them, as they came. What one caller's newer keys push out leaves from the midst of it."""
        self.complete_since_us = 0

    def find(self, caller: str, key: str) -> Remembered | None:
        held = self.callers.get(caller)
        return held.get(key) if held is not None else None

    def put(self, caller: str, key: str, entry: Remembered) -> OrderedDict[str, Remembered]:
        held = self.callers.get(caller)
        if held is None:
            held = self.callers[caller] = OrderedDict()
        place = caller, key
        if key in held:
            held.move_to_end(key)
            self.order.move_to_end(place)
        held[key] = self.order[place] = entry
        return held

    def remember(self, caller: str, key: str, entry: Remembered) -> None:
        held = self.put(caller, key, entry)
        if len(held) > PER_CALLER_MAX:
            pushed_out, _ = held.popitem(last=False)
            self._forgot(self.order.pop((caller, pushed_out)))
        while len(self.order) > IN_ALL_MAX or next(iter(self.order.values())).time_us <= entry.time_us - AGE_US_MAX:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        (caller, key), entry = self.order.popitem(last=False)
        held = self.callers[caller]
        del held[key]
        if not held:
            del self.callers[caller]
        self._forgot(entry)

    def _forgot(self, entry: Remembered) -> None:
        self.complete_since_us = max(self.complete_since_us, entry.time_us + 1)

    def first_seq(self) -> int | None:
        """The oldest record that an answer may still be read from."""
        return next((entry.first_seq for entry in self.order.values()), None)

    def dump(self) -> KeysDump:
        return KeysDump(
            self.complete_since_us,
            [
                KeyDump(caller, key, entry.digest, entry.first_seq, entry.last_seq, entry.time_us)
                for (caller, key), entry in self.order.items()
            ],
        )


def _age(entry: Remembered) -> tuple[int, str]:
    """The log decides between equals, so that the order in which logs were read does not."""
    return entry.time_us, entry.log


class Keys:
    def __init__(self) -> None:
        self._logs: dict[str, _Memory] = {}

    def __len__(self) -> int:
        return sum(len(memory.order) for memory in self._logs.values())

    @property
    def complete_since_us(self) -> int:
        return max((memory.complete_since_us for memory in self._logs.values()), default=0)

    def find(self, caller: str, key: str, now_us: int) -> Remembered | None:
        """A key is used in one log, unless it was forgotten in between: then the newest use counts."""
        found = [entry for memory in self._logs.values() if (entry := memory.find(caller, key)) is not None]
        newest = max(found, key=_age, default=None)
        return newest if newest is not None and newest.time_us > now_us - AGE_US_MAX else None

    def remember(self, caller: str, key: str, entry: Remembered) -> None:
        """Entries of one log come in the order of its records."""
        self._logs.setdefault(entry.log, _Memory()).remember(caller, key, entry)

    def first_seq(self, log: str) -> int | None:
        """The oldest record of this log that a remembered key points to; None where none does."""
        memory = self._logs.get(log)
        return memory.first_seq() if memory is not None else None

    def forget(self, log: str) -> None:
        """Before this log is replayed."""
        self._logs.pop(log, None)

    def dump(self, log: str) -> bytes:
        """What is remembered of one log. The same records lead to the same bytes."""
        return _packer.encode(self._logs.get(log, _Memory()).dump())

    def load(self, log: str, raw: bytes) -> None:
        """Replace what is remembered of one log. Raises BadDump, and then nothing has changed."""
        try:
            dumped = _unpacker.decode(raw)
        except msgspec.MsgspecError as error:
            raise BadDump(f"keys: {error}") from None
        memory = _Memory()
        for each in dumped.keys:
            memory.put(each.caller, each.key, Remembered(each.digest, log, each.first_seq, each.last_seq, each.time_us))
        memory.complete_since_us = dumped.complete_since_us
        self._logs[log] = memory
