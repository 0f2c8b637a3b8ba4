"""Energy intelligence on one board: what sources show, whether physics holds, decisions, and what proofs earned.

The map itself is drawn by `irerctl energy --png`: Prometheus keeps figures by name and no graph.
"""

from irerctl.dashboards import Board, Line, Panel, Row

_SOURCES = Row(
    "What sources show",
    (
        Panel(
            "Sources, by regime",
            "Type: irerctl regime",
            (Line("sum by (regime) (eil_sources)", "{{regime}}"),),
            "bargauge",
            width=8,
        ),
        Panel(
            "Regimes in time",
            "How many sources show each. Type: irerctl regime SOURCE",
            (Line("sum by (regime) (eil_sources)", "{{regime}}"),),
            width=8,
        ),
        Panel(
            "Changes of regime, in an hour",
            "Of all sources. Type: irerctl eil stream",
            (Line("clamp_min(delta(eil_regime_transitions[1h]), 0)", "changes"),),
            width=8,
        ),
    ),
)
_PHYSICS = Row(
    "Whether physics holds",
    (
        Panel(
            "Heat that is not accounted for",
            "Share of what was drawn. No line until a machine's heat is understood: docs/energy.md.",
            (Line("eil_energy_conservation_error", "{{instance}}"),),
            unit="percentunit",
            width=12,
        ),
        Panel(
            "Steps in which no entropy was unmade",
            "Below 1 a sensor or a clock is wrong, or the model of a machine. Type: irerctl regime SOURCE",
            (Line("eil_entropy_coherence_ratio", "{{instance}}"),),
            unit="percentunit",
            width=12,
        ),
    ),
)
_DECISIONS = Row(
    "Decisions and proofs",
    (
        Panel(
            "Decision to disk",
            "Of the last thousand decisions: half took less, and 99 of 100.",
            (Line("eil_decision_latency_seconds", "{{percentile}} %"),),
            unit="s",
        ),
        Panel(
            "Requests a second",
            "Of all methods of energy intelligence, answered or refused.",
            (Line("eil_api_request_rate", "{{instance}}"),),
            unit="ops",
        ),
        Panel(
            "Proofs that held",
            "Of those that could be judged: vacuous ones count for nothing. Type: irerctl energy",
            (Line("eil_proof_validation_rate", "{{instance}}"),),
            unit="percentunit",
        ),
        Panel(
            "PFT minted, a day",
            "For predictions that were better than every plain forecaster. Type: irerctl market",
            (Line("increase(eil_pft_minted_total[1d])", "PFT"),),
        ),
        Panel(
            "Open predictions and trades",
            "What may still be proved, and quotes that were booked.",
            (
                Line('irer_engine{engine="eil",figure="predictions_open"}', "predictions open"),
                Line('irer_engine{engine="eil",figure="trades"}', "trades"),
            ),
        ),
        Panel(
            "Health of energy intelligence",
            "Records of its log, and whether the log takes more.",
            (
                Line('rate(irer_log_records{log="energy_log"}[5m])', "records a second"),
                Line('irer_log_full{log="energy_log"}', "full"),
            ),
        ),
    ),
)

BOARD = Board(
    "irer-energy",
    "irer: energy",
    "What sources show, whether physics holds, decisions and proofs. Made by python -m irerctl.dashboards.",
    (_SOURCES, _PHYSICS, _DECISIONS),
)
