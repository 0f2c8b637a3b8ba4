"""The detector of anomalies beside the writer: it sees what has become durable, and what it finds becomes a command.

It is never in the way of a write: should it fail, it stops, `health` says so, and nothing else is touched. It begins anew with the
daemon, and then takes a while to learn what is usual.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from core.engine import Check, Stamp
from core.provenance.commands import Found
from core.provenance.detector import Detector
from irerd.host import Host
from irerd.views import FollowedWriter, Views
from irerd.writer import Release
from state.log import Log
from state.seal import Pending


class Anomalies:
    def __init__(
        self, give: Callable[[Found], None], next_seq: Mapping[str, int], on_error: Callable[[str, Exception], object]
    ) -> None:
        """`give` puts what was found before the engine; `next_seq` says what each log will be given next."""
        self._give = give
        self._next_seq = next_seq
        self._on_error = on_error
        self._detector: Detector | None = Detector()
        self._waiting: dict[str, deque[tuple[int, Sequence[Pending]]]] = {}
        """Of each log, commands that are decided and not durable yet, each with its first record."""

    def decided(self, log: str, records: Sequence[Pending]) -> None:
        """A command was queued for this log."""
        if self._detector is not None:
            self._waiting.setdefault(log, deque()).append((self._next_seq[log] - len(records), records))

    def after_group(self, durable: Mapping[str, int]) -> None:
        """These logs are durable up to these records."""
        if self._detector is None:
            return
        found: list[Found] = []
        note = self._detector.note
        try:
            for log, last in durable.items():
                waiting = self._waiting.get(log)
                while waiting and waiting[0][0] + len(waiting[0][1]) - 1 <= last:
                    first, records = waiting.popleft()
                    for seq, (event_type, payload, actor, boot_id, mono_us, time_us, _) in enumerate(records, first):
                        if unusual := note(event_type, payload, Stamp(log, seq, time_us, mono_us, boot_id, actor)):
                            found += unusual
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

    def submit(self, log: str, records: Sequence[Pending], size: int, needs: Mapping[str, int], release: Release) -> None:
        self._anomalies.decided(log, records)
        super().submit(log, records, size, needs, release)
