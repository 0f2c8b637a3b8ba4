"""The memory of idempotency keys: a repeated request is answered from the log, never done twice.

Rebuilt by replay from the `idem` members of the records. Bounds: so many keys a caller, so many in all, none older than a
day. Whether a forgotten key was ever used is no longer known, so `complete_since` says from when the memory is whole.
"""

from collections import OrderedDict, deque
from typing import NamedTuple

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


class Keys:
    def __init__(self) -> None:
        self._callers: dict[str, OrderedDict[str, Remembered]] = {}
        self._order: deque[tuple[str, str, int]] = deque()
        self._size = 0
        self.complete_since_us = 0

    def __len__(self) -> int:
        return self._size

    def find(self, caller: str, key: str, now_us: int) -> Remembered | None:
        held = self._callers.get(caller)
        found = held.get(key) if held is not None else None
        return found if found is not None and found.time_us > now_us - AGE_US_MAX else None

    def remember(self, caller: str, key: str, entry: Remembered) -> None:
        held = self._callers.setdefault(caller, OrderedDict())
        if key in held:
            self._size -= 1
            held.move_to_end(key)
        held[key] = entry
        self._order.append((caller, key, entry.first_seq))
        self._size += 1
        if len(held) > PER_CALLER_MAX:
            _, dropped = held.popitem(last=False)
            self._forgot(dropped)
        while self._order and (self._size > IN_ALL_MAX or self._aged(entry.time_us)):
            self._drop_oldest()

    def _aged(self, now_us: int) -> bool:
        caller, key, first_seq = self._order[0]
        held = self._callers.get(caller)
        entry = held.get(key) if held is not None else None
        return entry is None or entry.first_seq != first_seq or entry.time_us <= now_us - AGE_US_MAX

    def _drop_oldest(self) -> None:
        caller, key, first_seq = self._order.popleft()
        held = self._callers.get(caller)
        if held and key in held and held[key].first_seq == first_seq:
            self._forgot(held.pop(key))
            if not held:
                del self._callers[caller]

    def _forgot(self, entry: Remembered) -> None:
        self._size -= 1
        self.complete_since_us = max(self.complete_since_us, entry.time_us + 1)
