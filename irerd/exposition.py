"""The daemon's own metrics in Prometheus' text format, collected when somebody asks. Imported only then.

Every label is a word of the catalogue: a method, an error code, a log, an engine, a field of its status, a gauge. So there are
never more lines than the catalogue has words for, whatever callers send.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from core.engine import IRER
from core.metrics import VIEW, reads

if TYPE_CHECKING:
    from irerd.daemon import Daemon
    from irerd.energy import EnergyPorts

DECISION_SHARES = (0.5, 0.99)
HEALTHS = ("ok", "degraded", "failed")


class _Collector(Collector):
    def __init__(self, daemon: "Daemon", energy: "EnergyPorts") -> None:
        self._daemon = daemon
        self._intelligence = energy

    def collect(self) -> Iterator[Metric]:
        yield from self._process()
        yield from self._logs()
        yield from self._health()
        yield from self._engines()
        yield from self._gauges()
        yield from self._energy()

    def _process(self) -> Iterator[Metric]:
        daemon = self._daemon
        requests = CounterMetricFamily("irer_rpc_requests", "Calls answered, by method and outcome.", labels=["method", "code"])
        for (method, code), count in sorted(daemon.dispatch.calls.items()):
            requests.add_metric([method, code], count)
        yield requests
        lag_s = daemon.lag.worst_ms() / 1000
        yield GaugeMetricFamily("irer_loop_lag_seconds", "Worst lateness of the event loop in ten seconds.", lag_s)
        yield GaugeMetricFamily("irer_uptime_seconds", "Seconds since the daemon started.", daemon.uptime_s)
        yield GaugeMetricFamily("irer_connections", "Open connections.", daemon.connections)
        yield GaugeMetricFamily("irer_outbox_bytes", "Bytes that wait for slow readers.", daemon.outbox_bytes())
        yield GaugeMetricFamily("irer_resident_bytes", "Memory of the daemon process.", daemon.host.resident_bytes())
        yield CounterMetricFamily("irer_refusals", "Refusals of access.", daemon.refusals.total)
        yield GaugeMetricFamily("irer_jobs_running", "Child processes at work.", daemon.effects.jobs_running)

    def _logs(self) -> Iterator[Metric]:
        daemon = self._daemon
        writer = daemon.dispatch.writer
        records = GaugeMetricFamily("irer_log_records", "Records of each log.", labels=["log"])
        sound = GaugeMetricFamily("irer_log_sound", "1 where the log verified when the daemon started.", labels=["log"])
        full = GaugeMetricFamily("irer_log_full", "1 where the log takes nothing more for want of room.", labels=["log"])
        for log in daemon.world.logs:
            records.add_metric([log], daemon.dispatch.next_seq.get(log, 0))
            sound.add_metric([log], daemon.integrity(log) == "ok")
            is_open = writer is not None and log not in daemon.damage
            full.add_metric([log], writer is not None and is_open and writer.full(log) is not None)
        yield from (records, sound, full)
        cosigned = GaugeMetricFamily("irer_witness_records", "Records a witness has cosigned.", labels=["witness", "log"])
        for witness, log, size in daemon.witnesses.sizes():
            cosigned.add_metric([witness, log], size)
        answering = GaugeMetricFamily("irer_witness_well", "1 where nothing is wrong with a witness.", labels=["witness"])
        for check in daemon.witnesses.checks():
            answering.add_metric([check.name.partition(".")[2]], check.health == "ok")
        yield from (cosigned, answering)
        if writer is not None:
            yield CounterMetricFamily("irer_log_groups", "Groups written and synced.", writer.groups)
            slowest_s = writer.sync_us_max / 1e6
            yield GaugeMetricFamily("irer_log_sync_seconds", "Slowest group since start, write and sync.", slowest_s)

    def _health(self) -> Iterator[Metric]:
        found = [check.health for check in self._daemon.checks()]
        health = GaugeMetricFamily("irer_health_checks", "Subsystems, by how they are.", labels=["health"])
        for name in HEALTHS:
            health.add_metric([name], found.count(name))  # type: ignore[arg-type]
        yield health

    def _engines(self) -> Iterator[Metric]:
        """Every number at the top of an engine's status."""
        family = GaugeMetricFamily("irer_engine", "A number of an engine's status.", labels=["engine", "figure"])
        for engine, status in sorted(self._daemon.engine_statuses(IRER).items()):
            for figure, value in sorted(_numbers(status)):
                family.add_metric([engine, figure], value)
        yield family

    def _gauges(self) -> Iterator[Metric]:
        """Of a gauge without evidence there is no line: absence is what Prometheus calls that."""
        views = self._daemon.views
        follower = views.look(VIEW.name)
        yield GaugeMetricFamily("irer_views_rebuilding", "Views that are being made anew from the logs.", views.rebuilding)
        figures = follower.state if follower is not None else None
        value = GaugeMetricFamily("irer_measure", "A gauge, in per cent.", labels=["name"])
        target = GaugeMetricFamily("irer_target", "What the gauge should reach.", labels=["name"])
        for gauge in reads.gauges(figures, views.now()):
            target.add_metric([gauge.name], gauge.target)
            if gauge.value is not None:
                value.add_metric([gauge.name], gauge.value)
        meter = GaugeMetricFamily("irer_meter", "A meter.", labels=["name"])
        trend = GaugeMetricFamily("irer_meter_trend", "1 where the meter rises, -1 where it falls, else 0.", labels=["name"])
        for each in reads.meters(figures, views.now()):
            trend.add_metric([each.name], each.trend.sign)
            if each.value is not None:
                meter.add_metric([each.name], each.value)
        yield from (value, target, meter, trend)

    def _energy(self) -> Iterator[Metric]:
        """Energy intelligence, under the names that its first design gave. What nothing says yet has no line."""
        ports = self._intelligence
        found = ports.measures()
        sources = GaugeMetricFamily("eil_sources", "Sources, by the regime they show.", labels=["regime"])
        for regime, count in found.regimes.items():
            sources.add_metric([regime], count)
        yield sources
        yield GaugeMetricFamily("eil_regime_transitions", "Changes of regime that sources have been through.", found.transitions)
        yield CounterMetricFamily("eil_pft_minted", "PFT that were minted for proofs.", found.minted)
        latency = GaugeMetricFamily(
            "eil_decision_latency_seconds", "How long the last thousand decisions took to be on disk.", labels=["percentile"]
        )
        for share in DECISION_SHARES:
            if (took_s := ports.decision_s(share)) is not None:
                latency.add_metric([f"{100 * share:g}"], took_s)
        yield latency
        for name, text, value in (
            ("eil_energy_conservation_error", "Share of the heat drawn that models do not account for.", found.conservation_error),
            ("eil_entropy_coherence_ratio", "Share of judged steps in which no entropy was unmade.", found.coherence),
            ("eil_proof_validation_rate", "Share of the proofs that could be judged which held.", found.valid),
            ("eil_api_request_rate", "Requests a second, since the look before.", ports.request_rate()),
        ):
            if value is not None:
                yield GaugeMetricFamily(name, text, value)


def _numbers(status: Any) -> Iterator[tuple[str, float]]:
    for name in status.__struct_fields__ if isinstance(status, msgspec.Struct) else ():
        value = getattr(status, name)
        if isinstance(value, int | float):
            yield name, float(value)


def exposition(daemon: "Daemon", energy: "EnergyPorts") -> str:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(daemon, energy))
    return generate_latest(registry).decode()
