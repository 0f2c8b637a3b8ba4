"""Who of those that wait may begin: so that nobody is held up by runs that only take long.

A few run at once. One that takes long keeps its place and stops counting: whoever has nothing going on then begins beside it, as
far as there is memory, up to a bound. Those who wait are taken in turn by name, so many runs of one do not stand in front of the
others. Must never end a run: how long one may take is said by its manifest.
"""

from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class _Run:
    def __init__(self, name: str, memory_bytes: int) -> None:
        self.name = name
        self.memory_bytes = memory_bytes
        self.admitted = False
        self.since = 0.0


class Turns:
    """`at_once` run at one time; beside those that took `long_s` others begin, up to `most` in all."""

    def __init__(self, at_once: int, most: int, long_s: float) -> None:
        self._at_once, self._most, self._long_s = at_once, most, long_s
        self._running: list[_Run] = []
        self._waiting: OrderedDict[str, deque[_Run]] = OrderedDict()
        """By name, whose turn is next first."""
        self._began = trio.Event()
        """Somebody began: those who still wait look anew until when."""

    @asynccontextmanager
    async def turn(self, name: str, memory_bytes: int, room_bytes: int) -> AsyncIterator[None]:
        """Waits for one. `room_bytes` is what all together may take, beyond the first few."""
        run = _Run(name, memory_bytes)
        self._waiting.setdefault(name, deque()).append(run)
        try:
            self._admit(room_bytes)
            while not run.admitted:
                with trio.move_on_at(self._next_long()):
                    await self._began.wait()
                self._admit(room_bytes)
            yield
        finally:
            self._gone(run)
            self._admit(room_bytes)

    def _gone(self, run: _Run) -> None:
        if run in self._running:
            self._running.remove(run)
            return
        self._waiting[run.name].remove(run)
        if not self._waiting[run.name]:
            del self._waiting[run.name]

    def _admit(self, room_bytes: int) -> None:
        while (run := self._first(room_bytes)) is not None:
            queue = self._waiting[run.name]
            queue.popleft()
            self._waiting.move_to_end(run.name)
            if not queue:
                del self._waiting[run.name]
            run.since = trio.current_time()
            self._running.append(run)
            run.admitted = True
            self._began.set()
            self._began = trio.Event()

    def _first(self, room_bytes: int) -> _Run | None:
        """Of those that wait, who may begin now."""
        if len(self._running) < self._at_once:
            return next((queue[0] for queue in self._waiting.values()), None)
        now = trio.current_time()
        short = sum(now < run.since + self._long_s for run in self._running)
        if short >= self._at_once or len(self._running) >= self._most:
            return None
        going = {run.name for run in self._running}
        left = room_bytes - sum(run.memory_bytes for run in self._running)
        return next((each[0] for name, each in self._waiting.items() if name not in going and each[0].memory_bytes <= left), None)

    def _next_long(self) -> float:
        """When the next of those that run will have taken long."""
        now = trio.current_time()
        return min((end for run in self._running if (end := run.since + self._long_s) > now), default=float("inf"))
