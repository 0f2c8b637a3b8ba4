"""What energy intelligence tells when it is asked: how sources stand, what things cost, how well it does. Looks only."""

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, get_args

import msgspec
from msgspec import Meta

from core.energy import market, pricing, proving
from core.energy.books import Signed
from core.energy.budget import CORE_W
from core.energy.facts import Predicted, Provenance, RegimeName, Sensed, Source, Totals
from core.energy.sensing import falls, unknown
from core.energy.state import Energy
from core.engine import Check, Command, Context, Event, Nothing, Result, Stamp
from core.fields import INT_MAX, Count, Cursor, Limit, Name
from core.micro import MICRO
from core.times import time_text

if TYPE_CHECKING:
    from core.energy.following import Follow

LIMIT_DEFAULT = 1_000
MFLOP_PER_POINT = 0.002
"""What one point costs the built-in predictor."""
SHIFTS_SHOWN = 8


class EnergyState(Result):
    """What a source has come to.

    total_energy: energy since its first point
    total_energy_unit: J; or 1 for a surrogate, which only orders
    total_energy_provenance: measured, modelled or surrogate
    entropy: entropy made so far where it can be measured, else the entropy of what the sensors say
    entropy_unit: J/K or nats
    entropy_kind: physical or statistical
    entropy_provenance: measured, modelled or surrogate
    regime: learning, stable, drifting, transition or unstable
    total_energy_sigma: spread of what a model of the power added
    uncovered_s: how long no power was known, in gaps
    """

    total_energy: float
    total_energy_unit: Literal["J", "1"]
    total_energy_provenance: Provenance
    entropy: float
    entropy_unit: Literal["J/K", "nats"]
    entropy_kind: Literal["physical", "statistical"]
    entropy_provenance: Provenance
    regime: RegimeName
    total_energy_sigma: float | None = None
    uncovered_s: float = 0.0


class RegimePrediction(Result):
    """Which regime is likely next.

    current: now
    next_likely: at the next tick
    confidence: posterior mean of its share
    """

    current: RegimeName
    next_likely: RegimeName
    confidence: float


class Refusals(Result):
    """Points that were refused.

    metric: of which stream
    reason: older, conflicting, unusable or unit-mismatch
    count: how many
    """

    metric: str
    reason: str
    count: Count


class SenseAnswer(Result):
    """What came of points.

    status: accepted
    energy_state: what the source has come to
    regime_prediction: which regime is likely next
    prediction_id: the claim about its totals, to be proved when it is due; none where none was asked for
    due: when that is
    accepted: points that were taken up
    repeated: points that were known already
    refused: points that were refused
    back: metrics that had fallen silent and speak again
    """

    status: Literal["accepted"]
    energy_state: EnergyState
    regime_prediction: RegimePrediction
    prediction_id: str | None
    due: str | None
    accepted: Count
    repeated: Count = 0
    refused: list[Refusals] = []
    back: list[str] = []


class Interval(Result):
    """What a total is expected to be.

    value: the most likely
    low: lower end of the 95 % interval
    high: upper end of the 95 % interval
    """

    value: float
    low: float
    high: float


class PredictAnswer(Result):
    """A claim about a source.

    prediction_id: to prove it by
    due: when it is about
    energy: total energy then
    energy_unit: J, or 1 for a surrogate
    entropy: total entropy then
    entropy_unit: J/K or nats
    regime_prediction: which regime is likely next
    """

    prediction_id: str
    due: str
    energy: Interval
    energy_unit: Literal["J", "1"]
    entropy: Interval
    entropy_unit: Literal["J/K", "nats"]
    regime_prediction: RegimePrediction


def energy_state(totals: Totals, regime: RegimeName) -> EnergyState:
    provenance: Provenance = "surrogate" if not totals.powered else "modelled" if totals.modelled else "measured"
    return EnergyState(
        totals.energy_j if totals.powered else totals.surrogate,
        "J" if totals.powered else "1",
        provenance,
        totals.entropy_j_k if totals.physical else totals.nats,
        "J/K" if totals.physical else "nats",
        "physical" if totals.physical else "statistical",
        "modelled",
        regime,
        totals.sigma_j if totals.modelled else None,
        totals.uncovered_s,
    )


def sensed(happened: Sequence[Event]) -> SenseAnswer:
    """What came of the points of one command."""
    records = [event for event in happened if isinstance(event, Sensed)]
    first, last = records[0], records[-1]
    prediction_id = last.claim.prediction_id if last.claim is not None else last.again
    return SenseAnswer(
        "accepted",
        _worth(energy_state(last.totals, last.regime), last.falls),
        RegimePrediction(last.regime, last.next_likely, last.confidence),
        prediction_id,
        time_text(last.due_us) if last.due_us is not None and prediction_id is not None else None,
        first.accepted if first is last else sum(each.accepted for each in records),
        first.repeated,
        [Refusals(each.metric, each.reason, each.count) for each in first.refused] if first.refused else [],
        list(first.back),
    )


def predicted(happened: Sequence[Event]) -> PredictAnswer:
    event = happened[0]
    assert isinstance(event, Predicted)
    claim = event.claim
    return PredictAnswer(
        claim.prediction_id,
        time_text(claim.due_us),
        Interval(*claim.energy[:3]),
        claim.energy_unit,
        Interval(*claim.entropy[:3]),
        "J/K" if claim.entropy_kind == "physical" else "nats",
        RegimePrediction(event.regime, event.next_likely, event.confidence),
    )


# --- regimes ----------------------------------------------------------------------------------------------------------------


class AskRegimes(Command):
    """Which sources to tell of.

    source: only this one, with its streams
    limit: how many at most, 1,000 unless told
    after: go on after this source
    """

    source: Name | None = None
    limit: Limit | None = None
    after: Cursor | None = None


class ShiftRow(Result):
    """A stream that is no longer what it was.

    metric: which
    at: when that was seen
    began: when it began
    scale: ticks that it was seen over
    statistic: how plainly
    mean_before: its mean before
    mean_after: its mean since
    """

    metric: str
    at: str
    began: str
    scale: Count
    statistic: float
    mean_before: float
    mean_after: float


class StreamDiagnostics(Result):
    """What a stream shows besides its regime. Stand-ins that put things in order and decide nothing.

    entropy_gradient: Ψ, how its entropy changes across scales
    permutation_entropy: of the orders of three values in a row, in nats; at most ln 6
    irreversibility: how far its steps there differ from its steps back, in nats a step
    transition_candidate: it fluctuates more and forgets more slowly than it used to; a jump gives no such warning
    excess_free_energy: above that of rest, over 64 ticks, in nats at T = 1; none before there is a rest to compare with
    capacity_ratio: heat capacity over 64 ticks as a share of the slow one; none before 1,024 points, and so the rest
    curvature: Φ, less the heat capacity by the temperature, which is 1
    lag_one: correlation of neighbours over 64 ticks
    """

    entropy_gradient: float
    permutation_entropy: float
    irreversibility: float
    transition_candidate: bool
    excess_free_energy: float | None = None
    capacity_ratio: float | None = None
    curvature: float | None = None
    lag_one: float | None = None


class StreamRow(Result):
    """One metric of a source.

    metric: its name
    unit: what its numbers are in
    alert: how near it is to count as shifted; 1 is the bound
    lost: whether it has fallen silent
    diagnostics: what it shows besides
    """

    metric: str
    unit: str
    alert: float = 0.0
    lost: bool = False
    diagnostics: StreamDiagnostics | None = None


class SourceRow(Result):
    """How a source stands.

    source: its name
    owner: who sent its first point
    newest: time of its newest point
    points: points that were taken up
    metrics: how many it has
    energy_state: what it has come to
    regime_prediction: which regime is likely next
    shifts: how often it changed regime
    shifted_at: when it last did
    lost: metrics that have fallen silent
    streams: its metrics, where one source was asked for
    latest: the latest shifts of single metrics, where one source was asked for
    energy_fidelity: 1 less the share of its energy that the model of its heat misses; none where there is no such model
    entropy_coherence: share of steps whose entropy did not fall
    coverage: share of its predictions of energy that lay in their 95 % interval
    """

    source: str
    owner: str
    newest: str
    points: Count
    metrics: Count
    energy_state: EnergyState
    regime_prediction: RegimePrediction
    shifts: Count = 0
    shifted_at: str | None = None
    lost: list[str] = []
    streams: list[StreamRow] = []
    latest: list[ShiftRow] = []
    energy_fidelity: float | None = None
    entropy_coherence: float | None = None
    coverage: float | None = None


class Regimes(Result):
    """How sources stand, by name.

    sources: each
    count: how many there are in all
    next: pass it as after for more
    """

    sources: list[SourceRow]
    count: Count
    next: str | None = None


def regime_status(energy: Energy, query: AskRegimes, ctx: Context) -> Regimes:
    if query.source is not None:
        if query.source not in energy.sources:
            raise unknown(energy, query.source)
        return Regimes([_whole(energy, query.source)], len(energy.sources))
    limit = query.limit or LIMIT_DEFAULT
    names = sorted(name for name in energy.sources if query.after is None or name > query.after)
    rows = [_row(name, energy.sources[name]) for name in names[:limit]]
    return Regimes(rows, len(energy.sources), rows[-1].source if len(names) > limit else None)


def state_of(source: Source) -> EnergyState:
    """What a source has come to, worth what its sensors that still speak make it."""
    return _fallen(energy_state(source.totals, source.regime), source)  # type: ignore[arg-type]


def _row(name: str, source: Source) -> SourceRow:
    return SourceRow(
        name,
        source.owner,
        time_text(source.newest_us),
        source.points,
        len(source.streams),
        state_of(source),
        RegimePrediction(source.regime, source.next_likely, source.confidence),  # type: ignore[arg-type]
        source.shifts,
        time_text(source.shifted_us) if source.shifts else None,
        list(source.lost),
    )


def _fallen(shown: EnergyState, source: Source) -> EnergyState:
    """What rests on a sensor that fell silent is worth less."""
    return _worth(shown, falls(source.streams, source.known, source.lost))


def _worth(shown: EnergyState, falls: Provenance | None) -> EnergyState:
    weaker = falls is not None and shown.total_energy_provenance != "surrogate"
    return msgspec.structs.replace(shown, total_energy_provenance=falls) if weaker else shown


def _whole(energy: Energy, name: str) -> SourceRow:
    from core.energy import node

    source = energy.sources[name]
    row = _row(name, source)
    if not energy.view.knows(name):
        return row
    follow: Follow = energy.view.follow_of(name)
    alerts = [*follow.alerts, *[0.0] * (len(source.streams) - len(follow.alerts))]
    horizon = follow.horizons[0 if source.totals.powered else 1]
    return msgspec.structs.replace(
        row,
        streams=[
            StreamRow(metric, unit, alert, metric in source.lost, _diagnosed(energy, name, place))
            for place, ((metric, unit), alert) in enumerate(zip(source.streams, alerts, strict=False))
        ],
        latest=[
            ShiftRow(
                source.streams[each.stream][0],
                time_text(round(each.time * 1e6)),
                time_text(max(round(each.located * 1e6), 0)),
                each.scale,
                each.statistic,
                each.mean_before,
                each.mean_after,
            )
            for each in follow.shifts[-SHIFTS_SHOWN:]
        ],
        energy_fidelity=node.fidelity(follow.node),
        entropy_coherence=node.coherence(follow.node),
        coverage=horizon.covered / horizon.settled if horizon.settled else None,
    )


def _diagnosed(energy: Energy, name: str, place: int) -> StreamDiagnostics | None:
    from core.energy import diagnostics

    row = energy.view.row(name, place)
    if row is None:
        return None
    found = diagnostics.of_row(row)
    return StreamDiagnostics(
        found.gradient,
        found.permutation_nats,
        found.irreversibility_nats,
        found.candidate,
        found.excess_nats,
        found.capacity_ratio,
        found.curvature,
        found.lag_one,
    )


# --- prices -----------------------------------------------------------------------------------------------------------------


def measured(energy: Energy) -> pricing.Measured:
    """What was measured, as the prices take it."""
    lately = energy.claims.lately
    count = len(lately)
    return pricing.Measured(
        energy.meters.requested_j,
        energy.meters.supplied_j,
        sum(confidence for confidence, _ in lately) / count if count else 0.0,
        sum(savings for _, savings in lately) / count if count else 1.0,
        MFLOP_PER_POINT,
        energy.claims.relative_score,
        energy.market.books.issued("MUNT") // MICRO,
    )


def terms(ctx: Context) -> pricing.Terms:
    said = ctx.settings.eil.market
    return pricing.Terms(said.ceu_base, said.pft_base, said.munt_base, said.energy_price, said.energy_reference)


def market_pricing(energy: Energy, query: Nothing, ctx: Context) -> market.Pricing:
    prices = market.list_prices(terms(ctx), measured(energy))
    return market.pricing_answer(prices, ctx.settings.eil.market.currency)


class AskBalances(Command):
    """Whose accounts to list.

    owner: only this one's
    limit: how many owners at most, 1,000 unless told
    after: go on after this owner
    """

    owner: Name | None = None
    limit: Limit | None = None
    after: Cursor | None = None


class Balances(Result):
    """Accounts, by owner and asset. What irer issued stands with the owner `issuance`, below nought.

    accounts: each
    next: pass it as after for more
    """

    accounts: list[market.Balance]
    next: str | None = None


def balances(energy: Energy, query: AskBalances, ctx: Context) -> Balances:
    accounts = energy.market.books.accounts
    limit = query.limit or LIMIT_DEFAULT
    if query.owner is not None:
        names = [query.owner] if query.owner in accounts else []
    else:
        names = sorted(name for name in accounts if query.after is None or name > query.after)
    rows = [
        market.Balance(name, asset, amount / MICRO, amount)
        for name in names[:limit]
        for asset, amount in sorted(accounts[name].items())
    ]
    return Balances(rows, names[limit - 1] if len(names) > limit else None)


class WatchEnergy(Command):
    """From where to follow energy intelligence.

    since: go on after this cursor; from now on without it
    """

    since: Cursor | None = None


# --- health -----------------------------------------------------------------------------------------------------------------


class Caller(Result):
    """What a caller's energy intelligence cost.

    caller: who
    joules: all it took since the daemon started
    left_j: what it may still take at once; none where there is no budget
    refused: commands that its budget refused
    """

    caller: str
    joules: float
    left_j: float | None
    refused: Count


class EilHealth(Result):
    """How energy intelligence is.

    status: ok or degraded
    sources: sources that are followed
    streams: their metrics
    points: points that were taken up
    refused: points that were refused
    regimes: how many sources show which regime
    lost: sources of which a sensor has fallen silent within the last day and not come back
    predictions_open: claims that are open
    proofs: how many ended how
    pft_minted: PFT that proofs have minted
    actions: actions that were chosen
    trades: quotes that were booked
    sums: over all accounts, by asset, in micro-units: nought each
    core_w: power of a core, from which joules are worked out
    callers: what callers' energy intelligence cost, those that asked last
    """

    status: Literal["ok", "degraded"]
    sources: Count
    streams: Count
    points: Count
    refused: Count
    regimes: dict[str, Count]
    lost: list[str]
    predictions_open: Count
    proofs: dict[str, Count]
    pft_minted: float
    actions: Count
    trades: Count
    sums: dict[str, Signed]
    core_w: float
    callers: list[Caller]


CALLERS_SHOWN = 16
LOST_SHOWN = 16
LOST_TOLD_US = 86_400_000_000


def health(energy: Energy, query: Nothing, ctx: Context) -> EilHealth:
    regimes: dict[str, int] = {}
    for source in energy.sources.values():
        regimes[source.regime] = regimes.get(source.regime, 0) + 1
    lost = lately_lost(energy, ctx)
    sums = energy.market.books.sums()
    budget = ctx.settings.eil.budget.joules
    callers = list(energy.meters.callers.items())[-CALLERS_SHOWN:]
    return EilHealth(
        "degraded" if lost or any(sums.values()) else "ok",
        len(energy.sources),
        energy.streams,
        sum(source.points for source in energy.sources.values()),
        sum(source.refused for source in energy.sources.values()),
        regimes,
        lost[:LOST_SHOWN],
        len(energy.claims.source_of),
        dict(energy.claims.verdicts),
        energy.claims.minted_micro / MICRO,
        energy.actions.chosen,
        energy.market.trades,
        sums,
        CORE_W,
        [Caller(name, each.total_j, each.left_j if budget else None, each.refused) for name, each in reversed(callers)],
    )


class AskSelfTest(Command):
    """How to test energy intelligence.

    full: ten times as long
    seed: of all chance in it
    """

    full: bool = False
    seed: Annotated[int, Meta(ge=0, le=INT_MAX)] = 1


class SelfTestProgress(Result):
    """How far the test is.

    done: parts that are done
    total: of how many
    """

    done: Count
    total: Count


class NullRow(Result):
    """A kind of stream in which nothing ever changes.

    generator: which
    ticks: how many
    alarms: false ones
    per_100_000: of so many ticks
    coverage: share of points that lay in their 95 % interval
    ok: whether both keep their bar
    """

    generator: str
    ticks: Count
    alarms: Count
    per_100_000: float
    coverage: float
    ok: bool


class FaultRow(Result):
    """A fault of a sensor, on a machine whose heat is accounted for.

    fault: which
    caught_by: the checks that see it
    found: share of windows of 32 steps in which it was seen
    ok: whether that keeps the bar
    bar: what is wanted; none where no check can see it
    """

    fault: str
    caught_by: str
    found: float
    ok: bool
    bar: float | None = None


class SelfTest(Result):
    """What the test found.

    ok: whether every bar is kept
    nulls: false alarms and coverage
    faults: what the tri-check sees
    fault_false_alarms: share of sound windows that were called faulty
    mint_per_1000: what streams that nobody can foresee would mint, in PFT of base for 1,000 claims
    settled: claims behind that
    sums: over all accounts after random trades, in micro-units
    trades: how many were booked
    decision_ms: 99 of 100 actions were chosen within so long
    proof_ms: likewise proofs
    sense_ms: likewise points of a source
    sense_per_s: points of sources taken up in a second, in memory
    proofs: proofs of a machine
    proofs_valid: those that were valid
    planted: share of planted wrong accounts that were judged wrong
    bars: which further bars are kept
    energy_conservation_error: share of the machine's energy that the model of its heat misses
    entropy_coherence: share of its steps whose entropy did not fall
    interval_share: share of outcomes that lay in the 95 % interval that was issued
    alarms_here: false or true, per 100,000 ticks of this daemon's own streams; none where there are too few
    """

    ok: bool
    nulls: list[NullRow]
    faults: list[FaultRow]
    fault_false_alarms: float
    mint_per_1000: float
    settled: Count
    sums: dict[str, Signed]
    trades: Count
    decision_ms: float
    proof_ms: float
    sense_ms: float
    sense_per_s: float
    proofs: Count
    proofs_valid: Count
    planted: float
    bars: dict[str, bool]
    energy_conservation_error: float | None = None
    entropy_coherence: float | None = None
    interval_share: float | None = None
    alarms_here: float | None = None


class EilStatus(Result):
    """Energy intelligence in one object.

    sources: sources that are followed
    streams: their metrics
    predictions_open: claims that are open
    pft_minted: PFT that proofs have minted
    trades: quotes that were booked
    """

    sources: Count
    streams: Count
    predictions_open: Count
    pft_minted: float
    trades: Count


def status(energy: Energy, query: Nothing, ctx: Context) -> EilStatus:
    claims = energy.claims
    return EilStatus(len(energy.sources), energy.streams, len(claims.source_of), claims.minted_micro / MICRO, energy.market.trades)


class Measures(NamedTuple):
    """What the figures of all sources come to; None where nothing says it."""

    regimes: dict[str, int]
    transitions: int
    minted: float
    conservation_error: float | None
    """Share of the heat that was drawn which the models of machines do not account for."""
    coherence: float | None
    """Share of judged steps in which no entropy was unmade."""
    valid: float | None
    """Of the proofs that could be judged, the share that held."""


def measures(energy: Energy) -> Measures:
    regimes = dict.fromkeys(get_args(RegimeName), 0)
    transitions, missed, taken_in, coherent, judged = 0, 0.0, 0.0, 0, 0
    for source in energy.sources.values():
        regimes[source.regime] += 1
        transitions += source.shifts
    for node in energy.view.nodes():
        missed, taken_in = missed + node.missed_j, taken_in + node.taken_in_j
        coherent, judged = coherent + node.coherent, judged + node.entropies
    valid, invalid = (energy.claims.verdicts.get(word, 0) for word in ("valid", "invalid"))
    return Measures(
        regimes,
        transitions,
        energy.claims.minted_micro / MICRO,
        missed / taken_in if taken_in > 0 else None,
        coherent / judged if judged else None,
        valid / (valid + invalid) if valid + invalid else None,
    )


def lately_lost(energy: Energy, ctx: Context) -> list[str]:
    """Sources of which a sensor fell silent within a day. One that stays away is no news any more; `eil.regime_status` shows it."""
    return [name for name, source in energy.sources.items() if source.lost and ctx.now_us - source.lost_us <= LOST_TOLD_US]


def checks(energy: Energy, ctx: Context) -> Iterator[Check]:
    sums = {asset: total for asset, total in energy.market.books.sums().items() if total}
    if sums:
        yield Check(
            "energy market", "failed", f"{', '.join(sorted(sums))} do not sum to nought. See: irerctl audit verify --replay"
        )
    lost = lately_lost(energy, ctx)
    if lost:
        yield Check("energy", "degraded", f"sensors fell silent at {', '.join(lost[:3])}. See: irerctl regime")


def confidence(energy: Energy) -> float:
    """What a reward is estimated with: how often predictions were right lately."""
    lately = energy.claims.lately
    return sum(map(itemgetter(0), lately)) / len(lately) if lately else 0.5


def reputation_ppm(energy: Energy, owner: str) -> int:
    return pricing.reputation_ppm(*energy.claims.reputations.get(owner, (0, 0)))


def proof_terms(ctx: Context) -> dict[str, int]:
    said = ctx.settings.eil.market
    return {"base_micro": round(said.mint * MICRO), "daily_micro": round(said.mint_daily * MICRO)}


def applied_proof(energy: Energy, event: proving.Proved, stamp: Stamp) -> None:
    if proving.apply_proved(energy.claims, energy.market.books, event, stamp):
        energy.view.let_go(event.source, event.prediction_id)
