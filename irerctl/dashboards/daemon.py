"""The whole daemon on one board: what is wrong first, then how much it does, its logs, its engines, and the hub before it."""

from irerctl.dashboards import Board, Line, Panel, Row

_YES = ((1.0, "yes", "good"), (0.0, "no", "bad"))


def _engine(engine: str, *figures: str) -> tuple[Line, ...]:
    return tuple(Line(f'irer_engine{{engine="{engine}",figure="{figure}"}}', figure.replace("_", " ")) for figure in figures)


def _lamp(title: str, description: str, expression: str, legend: str, from_one: tuple[int, str] = (1, "bad")) -> Panel:
    """A count of what should not be: good while there is none."""
    return Panel(title, description, (Line(expression, legend),), "stat", steps=((None, "good"), from_one), width=4, height=4)


_WRONG = Row(
    "Is anything wrong?",
    (
        _lamp("Failed", "Subsystems that have failed. Type: irerctl status", 'sum(irer_health_checks{health="failed"})', "failed"),
        _lamp(
            "Degraded",
            "Subsystems that work, but not as they should. Type: irerctl status",
            'sum(irer_health_checks{health="degraded"})',
            "degraded",
            (1, "warn"),
        ),
        _lamp(
            "Logs that did not verify",
            "Their engines serve reads only. Type: irerctl audit verify",
            "count(irer_log_sound == 0) or vector(0)",
            "not sound",
        ),
        _lamp(
            "Logs without room",
            "Their engines refuse writes until the disk has room.",
            "count(irer_log_full == 1) or vector(0)",
            "full",
        ),
        _lamp(
            "Bugs met, last hour",
            "Calls that were answered `internal`. Nothing was written by them. Type: journalctl -u irerd",
            'sum(increase(irer_rpc_requests_total{code="internal"}[1h])) or vector(0)',
            "internal",
        ),
        Panel(
            "Up for",
            "Since irerd started.",
            (Line("irer_uptime_seconds", "{{instance}}"),),
            "stat",
            unit="s",
            steps=((None, "warn"), (300, "good")),
            width=4,
            height=4,
        ),
        Panel(
            "Gauges against their targets",
            "Each in per cent; a gauge without evidence has no line. docs/metrics.md says what each rests on.",
            (Line("irer_measure", "{{name}}"), Line("irer_target", "target of {{name}}")),
            unit="percent",
            width=12,
        ),
        Panel(
            "Meters",
            "Speed of navigation and share of gates used.",
            (Line("irer_meter", "{{name}}"),),
            width=12,
        ),
    ),
)
_WORK = Row(
    "What it does",
    (
        Panel(
            "Calls a second, by method",
            "The ten busiest methods.",
            (Line("topk(10, sum by (method) (rate(irer_rpc_requests_total[5m])))", "{{method}}"),),
            unit="ops",
            width=12,
        ),
        Panel(
            "Calls that were not answered with a result, by code",
            "Callers' mistakes and refusals are among them; `internal`, `data-loss` and `durability-unknown` are irer's own.",
            (Line('sum by (code) (rate(irer_rpc_requests_total{code!="ok"}[5m]))', "{{code}}"),),
            unit="ops",
            width=12,
        ),
        Panel(
            "Refusals of access",
            "Callers who may not, or show what is not good. Type: irerctl gate",
            (Line("rate(irer_refusals_total[5m])", "refusals"),),
            unit="ops",
        ),
        Panel(
            "Lateness of the event loop",
            "The worst in ten seconds. Over a second the machine is overloaded.",
            (Line("irer_loop_lag_seconds", "{{instance}}"),),
            unit="s",
        ),
        Panel("Memory", "Of the daemon itself; workers are processes of their own.", (Line("irer_resident_bytes"),), unit="bytes"),
        Panel(
            "Connections and jobs",
            "Who is connected, and child processes at work.",
            (Line("irer_connections", "connections"), Line("irer_jobs_running", "jobs")),
        ),
        Panel(
            "Bytes that wait for slow readers",
            "Somebody follows a stream and does not keep up; it delays nobody else.",
            (Line("irer_outbox_bytes", "{{instance}}"),),
            unit="bytes",
        ),
        Panel(
            "Views being made anew",
            "Gauges and histories have no value until that is done.",
            (Line("irer_views_rebuilding", "views"),),
        ),
    ),
)
_LOGS = Row(
    "Logs",
    (
        Panel(
            "Records a second",
            "What each log takes.",
            (Line("rate(irer_log_records[5m])", "{{log}}"),),
            unit="ops",
            width=12,
        ),
        Panel(
            "Groups synced a second",
            "Writes share a sync: fewer groups than writes is as it should be.",
            (Line("rate(irer_log_groups_total[5m])", "groups"),),
            unit="ops",
            width=6,
        ),
        Panel(
            "Slowest sync",
            "Since the start. Every writer waits for it.",
            (Line("irer_log_sync_seconds", "{{instance}}"),),
            unit="s",
            width=6,
        ),
        Panel(
            "Sound",
            "Whether each log verified when the daemon started.",
            (Line("irer_log_sound", "{{log}}"),),
            "state-timeline",
            words=_YES,
            width=12,
        ),
        Panel(
            "Witnesses: records cosigned",
            "How far somebody else vouches for the logs; no line without a witness. Beside it whether all is well with it.",
            (Line("irer_witness_records", "{{witness}} {{log}}"), Line("irer_witness_well", "{{witness}} is well")),
            width=12,
        ),
    ),
)
_ENGINES = Row(
    "Engines",
    (
        Panel("Pools: units", "Used of all.", _engine("resource", "used", "units")),
        Panel(
            "Tasks", "Parked ones have failed too often: irerctl engine tasks", _engine("resource", "waiting", "running", "parked")
        ),
        Panel("Gates and ways in", "", _engine("gate", "refused") + _engine("nav", "turned_away", "down", "half_open")),
        Panel("Cache: queue and conflicts", "Type: irerctl offline", _engine("cache", "queue", "conflicts", "online")),
        Panel("Cache: bytes", "On disk, and in memory.", _engine("cache", "bytes", "hot_bytes"), unit="bytes"),
        Panel("Entities", "", _engine("entity", "entities")),
        Panel("Orders", "Type: irerctl order", _engine("circuit", "open", "placed", "failed", "refused_at_gate")),
        Panel("Engine control", "Decisions about what programs may do.", _engine("control", "allowed", "denied", "errors")),
        Panel(
            "Provenance", "Anomalies want a look: irerctl provenance anomalies", _engine("provenance", "taps", "edges", "anomalies")
        ),
        Panel("Energy: sources and predictions", "", _engine("eil", "sources", "streams", "predictions_open")),
        Panel("Hunt: jobs", "Type: irerctl hunt watch", _engine("hunt", "jobs_done", "jobs_total", "generation")),
        Panel("Trajectory: program", "", _engine("trajectory", "facts", "rules", "goals", "folds")),
        Panel("Data: events", "", _engine("data", "events", "vectors", "patterns", "waiting")),
    ),
)
_HUB = Row(
    "The hub before it (where Prometheus scrapes /metrics of irerctl hub)",
    (
        Panel(
            "Answers a second, by status",
            "5xx: irerd is away or a bug; 429: somebody asks too much.",
            (Line("sum by (status) (rate(irer_hub_answers_total[5m]))", "{{status}}"),),
            unit="ops",
        ),
        Panel(
            "Connections and streams",
            "Both have a limit: docs/hub.md.",
            (Line("irer_hub_connections", "connections"), Line("irer_hub_streams", "streams")),
        ),
        Panel("Memory of the hub", "", (Line("irer_hub_resident_bytes", "{{instance}}"),), unit="bytes"),
    ),
)

BOARD = Board(
    "irer-daemon",
    "irer: the daemon",
    "What is wrong first, then how much it does, its logs, its engines and the hub. Made by python -m irerctl.dashboards.",
    (_WRONG, _WORK, _LOGS, _ENGINES, _HUB),
)
