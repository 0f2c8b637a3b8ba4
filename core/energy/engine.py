"""Energy intelligence: telemetry in, regimes and predictions out, actions, proofs, and a market whose books balance.

The parts: `sensing` points and what they lead to, with `facts` the records and `view` the columns beside them; `silence` sources
that stop; `proving` claims and their proofs; `acting` the choice of an action, and `feedback` what became of it; `market` prices,
quotes and trades; `standing` what is told. This file is the table.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from core.energy import acting, atlas, budget, facts, feedback, market, proving, sensing, silence, standing
from core.energy.state import (
    Energy,
    apply_lost,
    apply_met,
    apply_predicted,
    apply_sensed,
    apply_shifted,
    blind,
    dump,
    keep,
    load,
    take_up,
)
from core.engine import Context, Decision, Engine, Event, Nothing, Stamp, internal, read, task, write
from core.micro import MICRO
from core.system import Seen

LOG = "energy_log"
SOURCE = "datacenter-01"


def decide_act(energy: Energy, command: acting.AskAction, ctx: Context) -> Decision:
    energy.meters.admit("act", ctx)
    eil = ctx.settings.eil
    return acting.decide_act(
        energy.actions,
        command,
        ctx,
        horizon_s=eil.horizon_s,
        unserved_j=eil.unserved_j,
        confidence=partial(standing.confidence, energy),
    )


def apply_chosen(energy: Energy, event: acting.Chosen, stamp: Stamp) -> None:
    acting.apply_chosen(energy.actions, event, stamp)


def chosen(happened: Sequence[Event]) -> acting.ActionAnswer:
    event = happened[0]
    assert isinstance(event, acting.Chosen)
    return acting.answer(event)


def decide_proof(energy: Energy, command: proving.Prove, ctx: Context) -> Decision:
    energy.meters.admit("proof", ctx)
    return proving.decide_prove(energy.claims, energy.market.books, command, ctx, **standing.proof_terms(ctx))


def proved(happened: Sequence[Event]) -> proving.ProofAnswer:
    event = happened[0]
    assert isinstance(event, proving.Proved)
    return proving.answer(event)


def decide_feedback(energy: Energy, command: feedback.Feedback, ctx: Context) -> Decision:
    energy.meters.admit("feedback", ctx)
    return feedback.decide_feedback(energy.actions, energy.claims, command, ctx)


def apply_feedback(energy: Energy, event: feedback.FeedbackGiven, stamp: Stamp) -> None:
    feedback.apply_feedback(energy.actions, energy.claims, event, stamp)


def told(happened: Sequence[Event]) -> feedback.FeedbackAnswer:
    event = happened[0]
    assert isinstance(event, feedback.FeedbackGiven)
    return feedback.answer(event)


def decide_quote(energy: Energy, command: market.AskQuote, ctx: Context) -> Decision:
    energy.meters.admit("market_quote", ctx)
    prices = market.list_prices(standing.terms(ctx), standing.measured(energy))
    discount = standing.reputation_ppm(energy, ctx.actor.name)
    return market.quoted(energy.market, command, prices[command.asset], discount, ctx.settings.eil.market.currency, ctx)


def apply_quoted(energy: Energy, event: market.Quoted, stamp: Stamp) -> None:
    market.apply_quoted(energy.market, event, stamp)


def quote(happened: Sequence[Event]) -> market.QuoteAnswer:
    event = happened[0]
    assert isinstance(event, market.Quoted)
    return market.answer_quote(event)


def decide_trade(energy: Energy, command: market.TradeQuote, ctx: Context) -> Decision:
    energy.meters.admit("market_trade", ctx)
    opening = round(ctx.settings.eil.market.opening_balance * MICRO)
    return market.decide_trade(energy.market, command, opening, ctx)


def apply_traded(energy: Energy, event: market.Traded, stamp: Stamp) -> None:
    market.apply_traded(energy.market, event, stamp)


SENSED: Mapping[type[Event], Callable[[Energy, Any, Stamp], None]] = {
    facts.Sensed: apply_sensed,
    facts.SourceLost: apply_lost,
    facts.RegimeShifted: apply_shifted,
    proving.ClaimsMet: apply_met,
}

ENGINE = Engine(
    "eil",
    log=LOG,
    state=Energy,
    checks=standing.checks,
    dump=dump,
    load=load,
    keep=keep,
    take_up=take_up,
    blind=blind,
    wanted=silence.wanted,
    rows=[
        write(
            "sense",
            sensing.Sense,
            sensing.decide_sense,
            apply=SENSED,
            reply=standing.sensed,
            help="Take up what the sensors of a source say, and say what it will come to",
            example={
                "source": SOURCE,
                "timestamp": "2025-01-20T12:00:00Z",
                "telemetry": {"cpu_usage": 0.75, "power_draw": 850.5, "temperature": 72.3, "network_throughput": 1250000},
                "context": {"workload_type": "ml_training", "priority": "high"},
            },
            cli="sense SOURCE",
        ),
        write(
            "sense_batch",
            sensing.SenseBatch,
            sensing.decide_batch,
            apply=SENSED,
            reply=standing.sensed,
            help="Take up many moments of a source at once",
            example={
                "source": "rack-07",
                "metrics": ["power_draw", "temperature"],
                "times": ["2026-01-01T00:00:00Z", "2026-01-01T00:00:10Z"],
                "values": [[850.5, 72.3], [852.0, 72.4]],
            },
        ),
        write(
            "act",
            acting.AskAction,
            decide_act,
            apply={acting.Chosen: apply_chosen},
            reply=chosen,
            help="Choose the action that costs least within the bounds, and say why",
            example={
                "goal": "minimize_energy",
                "constraints": {"max_latency_ms": 100, "min_throughput": 1000},
                "current_state": {"active_servers": 12, "avg_utilization": 0.68},
            },
            cli="act GOAL",
        ),
        write(
            "proof",
            proving.Prove,
            decide_proof,
            apply={proving.Proved: standing.applied_proof},
            reply=proved,
            help="Put a prediction to the proof, once it is due",
            example={
                "prediction_id": "pred_abc123",
                "predicted_state": {"energy": 3200.0, "entropy": 148.5},
                "actual_state": {"energy": 3198.7, "entropy": 148.9},
                "timestamp": "2025-01-20T12:05:00Z",
            },
            cli="proof PREDICTION_ID",
        ),
        write(
            "predict",
            sensing.Predict,
            sensing.decide_predict,
            apply={facts.Predicted: apply_predicted},
            reply=standing.predicted,
            help="Say what a source will come to",
            example={"source": SOURCE, "horizon_s": 600},
            cli="eil predict SOURCE",
        ),
        write(
            "feedback",
            feedback.Feedback,
            decide_feedback,
            apply={feedback.FeedbackGiven: apply_feedback},
            reply=told,
            help="Tell what became of an action or a prediction; it moves what your goals weigh",
            example={"action_id": "act_7d3f1b", "outcome": "good"},
            cli="eil feedback",
        ),
        read(
            "market_pricing",
            Nothing,
            standing.market_pricing,
            help="List prices of CEU, PFT and MUNT, and what they were multiplied from",
            example={},
            cli="market",
        ),
        write(
            "market_quote",
            market.AskQuote,
            decide_quote,
            apply={market.Quoted: apply_quoted},
            reply=quote,
            help="Ask what an order costs; the answer holds for half a minute",
            example={"asset": "CEU", "side": "buy", "quantity": 100},
            cli="market quote ASSET SIDE QUANTITY",
        ),
        write(
            "market_trade",
            market.TradeQuote,
            decide_trade,
            apply={market.Traded: apply_traded},
            help="Book a quote that still holds, once",
            example={"quote_id": "quote_7d3f1b"},
            cli="market trade QUOTE_ID",
        ),
        read(
            "balances",
            standing.AskBalances,
            standing.balances,
            help="Every account of the market",
            example={},
            cli="market balances",
        ),
        read(
            "regime_status",
            standing.AskRegimes,
            standing.regime_status,
            help="Which regime sources show, and what they have come to",
            example={},
            cli="regime [SOURCE]",
        ),
        read(
            "energy_map",
            atlas.AskMap,
            atlas.energy_map,
            help="Sources, what feeds and cools what, regimes, actions and accounts, as a graph",
            example={"limit": 50},
            cli="eil map",
        ),
        task(
            "query",
            atlas.AskQuery,
            help="Ask the tables of the energy map one SELECT",
            example={"sql": "SELECT name, value, unit FROM node WHERE kind = 'source' ORDER BY value DESC LIMIT 5"},
            result=atlas.MapRows,
            cli="eil query SQL",
        ),
        read("health", Nothing, standing.health, help="How energy intelligence is, and what it costs", example={}, cli="energy"),
        task(
            "stream",
            standing.WatchEnergy,
            help="Follow what energy intelligence records, as it becomes durable",
            example={},
            item=Seen,
            deadline_ms=None,
            cli="eil stream",
        ),
        task(
            "selftest",
            standing.AskSelfTest,
            help="Measure detectors, checks, minting and books on streams in which everything is known",
            example={"seed": 1},
            item=standing.SelfTestProgress,
            result=standing.SelfTest,
            deadline_ms=600_000,
            cli="eil selftest",
        ),
        internal("find_silent", silence.FindSilent, silence.decide_silent, apply={facts.SourceLost: apply_lost}),
        internal("resume", silence.Resume, silence.decide_resume, apply={silence.Woke: silence.apply_woke}),
        read("status", Nothing, standing.status, help="Energy intelligence in one object", example={}),
    ],
)

__all__ = ["ENGINE", "LOG", "SOURCE", "budget"]
