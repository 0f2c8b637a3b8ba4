"""The daemon's own metrics in Prometheus' text format, collected when somebody asks. Imported only then."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from irerd.daemon import Daemon


class _Collector(Collector):
    def __init__(self, daemon: "Daemon") -> None:
        self._daemon = daemon

    def collect(self) -> Iterator[Metric]:
        daemon = self._daemon
        requests = CounterMetricFamily("irer_rpc_requests", "Calls answered, by method and outcome.", labels=["method", "code"])
        for (method, code), count in sorted(daemon.dispatch.calls.items()):
            requests.add_metric([method, code], count)
        yield requests
        lag_s = daemon.lag.worst_ms() / 1000
        yield GaugeMetricFamily("irer_loop_lag_seconds", "Worst lateness of the event loop in ten seconds.", lag_s)
        yield GaugeMetricFamily("irer_connections", "Open connections.", daemon.connections)
        yield GaugeMetricFamily("irer_outbox_bytes", "Bytes that wait for slow readers.", daemon.outbox_bytes())
        yield GaugeMetricFamily("irer_resident_bytes", "Memory of the daemon process.", daemon.host.resident_bytes())
        yield CounterMetricFamily("irer_refusals", "Refusals of access.", daemon.refusals.total)
        yield GaugeMetricFamily("irer_jobs_running", "Child processes at work.", daemon.effects.jobs_running)
        records = GaugeMetricFamily("irer_log_records", "Records of each log.", labels=["log"])
        for log in daemon.world.logs:
            records.add_metric([log], daemon.dispatch.next_seq.get(log, 0))
        yield records
        if daemon.dispatch.writer is not None:
            yield CounterMetricFamily("irer_log_groups", "Groups written and synced.", daemon.dispatch.writer.groups)
            yield GaugeMetricFamily(
                "irer_log_sync_seconds", "Slowest group since start, write and sync.", daemon.dispatch.writer.sync_us_max / 1e6
            )


def exposition(daemon: "Daemon") -> str:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(daemon))
    return generate_latest(registry).decode()
