"""The provenance engine: what is reported and tapped, what came from what, and what is not as it used to be.

The parts: `model` what is known, `commands` what may be told, `reads` what it tells, `streams` and `drift` the arithmetic of what
is unusual, `detector` the same over all logs, `links` what a record of any log says about where things come from.
"""

from core.engine import Engine, Nothing, internal, read, task, write
from core.provenance import commands, model, reads
from core.provenance.commands import DATA_BYTES_MAX, DATA_DEPTH_MAX
from core.provenance.events import AnomalyFound, EdgeAdded, EngineReported, Tapped
from core.provenance.model import REPORTS_KEPT, SENDERS_MAX, Provenance, dump, load

__all__ = ["DATA_BYTES_MAX", "DATA_DEPTH_MAX", "ENGINE", "REPORTS_KEPT", "SENDERS_MAX"]

ENGINE = Engine(
    "provenance",
    log="provenance_log",
    state=Provenance,
    checks=reads.checks,
    dump=dump,
    load=load,
    rows=[
        write(
            "tap_event",
            commands.TapEvent,
            commands.decide_tap,
            apply={Tapped: model.apply_tap},
            reply=commands.tap_stored,
            help="Put on record that something happened",
            example={"event_type": "user_action", "data": {"data": "sensitive@email.com"}, "run_id": "run_001"},
            cli="provenance tap EVENT_TYPE DATA RUN_ID",
        ),
        write(
            "add_edge",
            commands.AddEdge,
            commands.decide_edge,
            apply={EdgeAdded: model.apply_edge},
            help="Put on record that one thing came from another",
            example={"source": "fact_A", "target": "fact_B", "rule": "rule1", "run_id": "run_001"},
            cli="provenance edge SOURCE TARGET RULE RUN_ID",
        ),
        read(
            "taps",
            reads.ListTaps,
            reads.taps,
            help="The newest taps, without what they say",
            example={"run_id": "run_001"},
            cli="provenance taps",
        ),
        task(
            "graph",
            reads.AskGraph,
            help="What came from what, over all logs",
            example={"run_id": "run_001"},
            result=reads.Graph,
            cli="provenance graph",
        ),
        read(
            "anomalies",
            reads.ListAnomalies,
            reads.anomalies,
            help="What was not as it used to be, with the records behind it",
            example={"kind": "burst"},
            cli="provenance anomalies",
        ),
        task(
            "export_audit",
            reads.ExportAudit,
            help="The same graph as a W3C PROV document, or the records",
            example={"format": "prov-json", "run_id": "run_001"},
            item=reads.Piece,
            result=reads.Exported,
            deadline_ms=None,
            cli="provenance export",
        ),
        task(
            "redact",
            reads.Redact,
            help="What of some data would be stored",
            example={"data": {"note": "write to ann@example.org"}},
            result=reads.Redacted,
            cli="provenance redact DATA",
        ),
        read("status", Nothing, reads.status, help="Taps, edges and anomalies in one object", example={}, cli="provenance"),
        write(
            "log.engine_event",
            commands.EngineEvent,
            commands.decide_report,
            apply={EngineReported: model.apply_report},
            reply=commands.stored,
            help="Report an event of an engine's own work",
            example={"event_type": "email.sent", "data": {"to": 1, "took_ms": 180}},
        ),
        internal("found", commands.Found, commands.decide_found, apply={AnomalyFound: model.apply_anomaly}),
    ],
)
