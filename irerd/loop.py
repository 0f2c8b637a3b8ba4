"""Whether the event loop is on time, which task was to blame when it was not, and what it does when it has nothing to do."""

import gc
from collections import deque
from collections.abc import Callable

import trio
from trio.abc import Instrument
from trio.lowlevel import Task

from irerd.host import Host
from irerd.journal import journal

SAMPLE_S = 0.1
IDLE_SAMPLE_S = 1.0
"""While nobody is connected: a loop with nothing to do is woken for its own sake as seldom as that."""
KEPT_S = 10.0
YOUNG = 300
"""New objects that are looked through at a time: a tenth of a millisecond."""
GROWN = 3_000
"""So many are looked through though there is something to do: it comes to that in any case, and then with more of them."""


class Lag:
    """How late the loop wakes: the longest of the last ten seconds."""

    def __init__(self, busy: Callable[[], bool] = lambda: True) -> None:
        self._busy = busy
        self._stirred = trio.Event()
        self._samples: deque[tuple[float, float]] = deque()
        """When, and how late."""
        self.turns = 0

    async def run(self) -> None:
        while True:
            self.turns += 1
            if self._busy():
                due = trio.current_time() + SAMPLE_S
                await trio.sleep_until(due)
            else:
                due = trio.current_time() + IDLE_SAMPLE_S
                self._stirred = trio.Event()
                with trio.move_on_at(due):
                    await self._stirred.wait()
                    continue
            now = trio.current_time()
            self._samples.append((now, max(0.0, now - due)))
            while self._samples[0][0] <= now - KEPT_S:
                self._samples.popleft()

    def stir(self) -> None:
        """Somebody came: the idle second ends here."""
        self._stirred.set()

    def p99_ms(self) -> float:
        """How late the loop woke, but for the one worst waking in a hundred."""
        late = sorted(late for _, late in self._samples)
        return round(late[-1 - len(late) // 100] * 1000, 3) if late else 0.0

    def worst_ms(self) -> float:
        return round(max((late for _, late in self._samples), default=0.0) * 1000, 3)


class SlowSteps(Instrument):
    """Names tasks that hold the loop too long. Costs nothing while it is off."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._limit_ms = 0.0
        self._began_us = 0

    def watch(self, limit_ms: float) -> None:
        """Report steps longer than this from now on; 0 is off."""
        if limit_ms > 0 and self._limit_ms == 0:
            self._began_us = self._host.mono_us()  # the step that is on its way was not seen to begin
            trio.lowlevel.add_instrument(self)
        elif limit_ms == 0 and self._limit_ms > 0:
            trio.lowlevel.remove_instrument(self)
        self._limit_ms = limit_ms

    def before_task_step(self, task: Task) -> None:
        self._began_us = self._host.mono_us()

    def after_task_step(self, task: Task) -> None:
        took_ms = (self._host.mono_us() - self._began_us) / 1000
        if took_ms > self._limit_ms:
            journal().warning("a task held the event loop", task=task.name, ms=round(took_ms, 1))


class Sweeper(Instrument):
    """Looks through new objects for garbage when the loop has nothing to do, a few at a time: left to itself the collector does so
    in the middle of a call, and with ten times as many. A loop that never rests does so between two turns, with some more.
    """

    def __init__(self, resting: Callable[[], bool]) -> None:
        """`resting` says whether what is new is there to stay: commands on their way to the disk are not."""
        self._resting = resting

    def before_io_wait(self, timeout: float) -> None:
        young, middle, old = gc.get_count()
        if young >= (YOUNG if timeout > 0 else GROWN) and self._resting():
            _, middle_max, old_max = gc.get_threshold()  # which the collector itself would look at only after ten times as many
            gc.collect(2 if old > old_max else 1 if middle > middle_max else 0)
