"""Whether the daemon still works, as the watchdog is told: not only that the loop turns, but that what it turns for gets on.

Each critical task counts its turns. They are asked for one, and the next sign of life is given only when all have answered: so a
writer that hangs in a sync, or a task that died without ending the daemon, is noticed even while nobody asks for anything.
"""

from typing import TYPE_CHECKING

from irerd.journal import journal

if TYPE_CHECKING:
    from irerd.daemon import Daemon

LATE_MS_MAX = 1000.0
UPKEEP_S_MAX = 300.0
"""How long a log's upkeep may hold the writer: a snapshot of millions of records takes its time, and is no hang."""


class Pulse:
    def __init__(self, daemon: "Daemon") -> None:
        self._daemon = daemon
        self._counted: dict[str, int] = {}
        self._said: list[str] = []

    def beats(self) -> bool:
        """Whether a sign of life may be given. Then all are asked for the next one."""
        still = [] if self._on_time() else ["the event loop is late"]
        turns = self._turns()
        still += [f"{name} did not move" for name, count in turns.items() if self._counted.get(name) == count]
        if still != self._said:
            if still:
                journal().error("no sign of life is given to the watchdog", why="; ".join(still))
            self._said = still
        if not still:
            self._counted = turns
            self._ask()
        return not still

    def _on_time(self) -> bool:
        return self._daemon.lag.worst_ms() < LATE_MS_MAX

    def _turns(self) -> dict[str, int]:
        """The turns of all who have anything to do. While the daemon starts or stops only the loop is owed one."""
        daemon = self._daemon
        found = {"the loop's own watch": daemon.lag.turns}
        writer = daemon.dispatch.writer
        if daemon.state != "ready" or writer is None:
            return found
        if not 0 < writer.upkeep_s() < UPKEEP_S_MAX:
            found["the log writer"] = writer.turns
        found["the effects"] = daemon.effects.turns
        if daemon.refusals.waiting:
            found["the refusals"] = daemon.refusals.turns
        return found

    def _ask(self) -> None:
        self._daemon.lag.stir()
        self._daemon.effects.stir()
        if self._daemon.dispatch.writer is not None:
            self._daemon.dispatch.writer.ask_turn()
