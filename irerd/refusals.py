"""Every refusal of access is in `gate_log` before its reply; under a flood they are counted into one record a second.

Throttle and audit are one rule: after ten refusals of one caller within a second the rest wait for the end of that second and
for the one record that counts them, so nobody fills the disk by asking. Where the queue of `gate_log` has no room for a record,
its caller waits for the next second too. A refusal that cannot be stored at all, as on a full disk, is still a refusal.
"""

from collections import Counter
from collections.abc import Awaitable, Callable

import trio

from core.engine import Refused
from core.gate.refusals import Refuse, RefuseMany
from core.gate.slowing import FAILURES_MAX, Failures, Slow
from irerd.dispatch import Answer, Dispatch, Reply

SINGLE_MAX = 10
WINDOW_S = 1.0
LATER = Refused(
    "resource-exhausted",
    "very many keys and tokens came within this second that do not hold, so this one is told nothing. Try again in a second",
    reason="credentials",
    retry_ms=1_000,
)


TURNED_AWAY = Refused(
    "resource-exhausted",
    "very many connections are being turned away, so this one is told nothing. Try again in a second",
    reason="connections",
    retry_ms=1_000,
)
TURNED_AWAY_HELD_MAX = 64
"""Connections that are to be turned away and wait for the record of it. Each holds a descriptor: of more each is only counted."""
CONNECT = "connect"
"""What they asked for."""
FINISH_TRIES_MAX, FINISH_PAUSE_S = 100, 0.1
"""How often a stop gives records again for which the queue has no room, and how long it waits for a group to make some."""


def most_held(calls_max: int) -> int:
    """How many answers to wrong credentials of one uid may wait at once, so that its connection has room for right ones."""
    return calls_max - max(calls_max // 8, 1)


class _Window:
    """The refusals of one caller within one second."""

    def __init__(self) -> None:
        self.count = 0
        self.many = 0
        """Those without a record of their own."""
        self.first = ""
        self.last = ""
        self.failures = 0
        """So many credentials that did not hold that their caller is to be slowed from the end of this second on."""
        self.waiting: list[Callable[[], None]] = []


class Refusals:
    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch
        self._windows: dict[str, _Window] = {}
        self._failures = Failures()
        self.now_us: Callable[[], int] = lambda: 0
        """The clock of the boot."""
        self.is_slowed: Callable[[str], bool] = lambda caller: False
        """Whether this caller showed very many credentials that did not hold."""
        self.held_max: Callable[[], int] = lambda: most_held(64)
        self._held: Counter[str | int] = Counter()
        """Answers to credentials that did not hold which wait, of each uid."""
        self._opened = trio.Event()
        self._turned_away = 0
        self.total = 0
        self.turns = 0

    @property
    def waiting(self) -> bool:
        """Whether a window is open, which the task has to close."""
        return bool(self._windows)

    def refuse(self, caller: str, method: str, refused: Refused, reply: Reply) -> None:
        """Record that this caller was refused, then tell them."""

        def tell() -> None:
            reply(Answer(error=refused))

        if not self._is_counted(caller, method, tell, SINGLE_MAX):
            self._record(Refuse(caller, method, refused.code, refused.reason or "role"), tell)

    def count_instead(self, caller: str, method: str, reply: Reply, answer: Answer, uid: int | None = None) -> bool:
        """The same of a credential that did not hold. Very many of them slow whoever shows them, and nobody else: an answer that
        waits takes up a place on its connection, so of more than may wait each is counted and told to come later. Over one
        connection many may call, in the names of tokens and engines, so what waits is counted together for all of a uid.
        """
        slowed = self.is_slowed(caller)
        if not slowed and (failures := self._failures.note(caller, self.now_us())) >= FAILURES_MAX:
            self._failures.forget(caller)
            self._window(caller).failures = failures
        single_max, window = 0 if slowed else SINGLE_MAX, self._window(caller)
        place = caller if uid is None else uid

        def tell() -> None:
            self._held[place] -= 1
            reply(answer)

        if window.count >= single_max and self._held[place] >= self.held_max():
            window.count += 1
            self.count(caller, method)
            reply(Answer(error=LATER))
            return True
        if not self._is_counted(caller, method, tell, single_max):
            return False
        self._held[place] += 1
        return True

    async def turn_away(self, caller: str, refused: Refused) -> Refused:
        """Record that somebody gets no connection; answers what to tell them once that may be told."""
        if self._turned_away >= TURNED_AWAY_HELD_MAX:
            self.count(caller, CONNECT)
            return TURNED_AWAY
        told = trio.Event()
        self._turned_away += 1
        try:
            self.refuse(caller, CONNECT, refused, lambda answer: told.set())
            await told.wait()
        finally:
            self._turned_away -= 1
        return refused

    def _is_counted(self, caller: str, method: str, tell: Callable[[], None], single_max: int) -> bool:
        """Whether this refusal is one too many for a record of its own; then `tell` is called once it has been counted."""
        self.total += 1
        window = self._window(caller)
        window.count += 1
        if window.count <= single_max:
            return False
        self._add(window, method)
        window.waiting.append(tell)
        return True

    def count(self, caller: str, method: str) -> None:
        """One that nobody waits for: its caller has so many under way already that this one was told to come later."""
        self.total += 1
        self._add(self._window(caller), method)

    def _window(self, caller: str) -> _Window:
        if not self._windows:
            self._opened.set()
        return self._windows.setdefault(caller, _Window())

    def _add(self, window: _Window, method: str) -> None:
        window.many += 1
        window.first = window.first or method
        window.last = method

    def _record(self, command: Refuse | RefuseMany, tell: Callable[[], None]) -> None:
        def answered(answer: Answer) -> None:
            error = answer.error
            if error is None or error.code != "resource-exhausted":
                tell()
            elif error.reason == "log-queue":
                self._keep(command).waiting.append(tell)
            else:
                self._keep(command)
                tell()

        self._dispatch.give(command, answered)

    def _keep(self, command: Refuse | RefuseMany) -> _Window:
        """The log has no room for it: it is counted, and given again with the next window. On a full disk, whose end nobody knows,
        it is told without its record; where only the queue is full it is not.
        """
        if isinstance(command, Refuse):
            command = RefuseMany(command.caller, 1, command.method, command.method)
        window = self._window(command.caller)
        window.many += command.count
        window.first = window.first or command.first
        window.last = command.last
        return window

    async def run(self) -> None:
        """Close the windows a second after the first of them was opened."""
        while True:
            await self._opened.wait()
            await trio.sleep(WINDOW_S)
            self.close_windows()
            self.turns += 1

    def close_windows(self) -> None:
        windows, self._windows = self._windows, {}
        self._opened = trio.Event()
        for caller, window in windows.items():
            if window.failures:
                self._dispatch.give(Slow(caller, window.failures))
            if window.many:
                self._record(RefuseMany(caller, window.many, window.first, window.last), _all(window.waiting))

    async def finish(self, advanced: Callable[[], Awaitable[None]]) -> None:
        """The last records, before nothing more is written. `advanced` returns after the next group."""
        for _ in range(FINISH_TRIES_MAX):
            self.close_windows()
            if not any(window.waiting for window in self._windows.values()):
                return
            with trio.move_on_after(FINISH_PAUSE_S):
                await advanced()


def _all(calls: list[Callable[[], None]]) -> Callable[[], None]:
    def run() -> None:
        for call in calls:
            call()

    return run
