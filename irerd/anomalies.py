"""The detector of anomalies beside the writer: it sees what has become durable, and what it finds becomes a command.

It is never in the way of a write: should it fail, it stops, `health` says so, and nothing else is touched. It begins anew with the
daemon, and then takes a while to learn what is usual.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from core.engine import Check
from core.provenance.commands import Found
from core.provenance.detector import Detector
from irerd.host import Host
from irerd.views import FollowedWriter, Views
from state.log import Log
from state.seal import Pending


class Anomalies:
    def __init__(self, give: Callable[[Found], None], on_error: Callable[[str, Exception], object]) -> None:
        """`give` puts what was found before the engine."""
        self._give = give
        self._on_error = on_error
        self._detector: Detector | None = Detector()
        self._waiting: dict[str, deque[tuple[int, list[Pending]]]] = {}
        """Of each log, what is on its way to the disk and not durable yet: the records of each group, and the first one's place."""

    def taken(self, log: str, first_seq: int, commands: Sequence[Sequence[Pending]]) -> None:
        """These commands are written to this log now, from this record on."""
        if self._detector is not None:
            records = [record for command in commands for record in command]
            self._waiting.setdefault(log, deque()).append((first_seq, records))

    def after_group(self, durable: Mapping[str, int]) -> None:
        """These logs are durable up to these records."""
        if self._detector is None:
            return
        found: list[Found] = []
        try:
            for log, last in durable.items():
                waiting = self._waiting.get(log)
                while waiting and waiting[0][0] + len(waiting[0][1]) - 1 <= last:
                    found += self._detector.note_all(log, *waiting.popleft())
        except Exception as error:
            self._detector = None
            self._waiting.clear()
            self._on_error("anomalies", error)
        for each in found:
            self._give(each)

    def check(self) -> Check:
        if self._detector is None:
            return Check("detector", "degraded", "anomalies are no longer looked for. Nothing else is touched; restart irerd")
        return Check("detector", "ok")


class WatchedWriter(FollowedWriter):
    """A writer beside which the detector sees every command too."""

    def __init__(
        self, host: Host, logs: Mapping[str, Log], after_group: Callable[[set[str]], None], views: Views, anomalies: Anomalies
    ) -> None:
        super().__init__(host, logs, after_group, views)
        self._anomalies = anomalies

    def taken(self, log: str, first_seq: int, commands: Sequence[Sequence[Pending]]) -> None:
        super().taken(log, first_seq, commands)
        self._anomalies.taken(log, first_seq, commands)
