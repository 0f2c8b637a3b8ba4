"""All that energy intelligence knows: sources, claims, actions and the market as facts of the log, and beside them the view."""

from collections import OrderedDict
from collections.abc import Callable

import msgspec

from core.agenda import Agenda, AgendaDump, dump_agenda, load_agenda
from core.clock import Clock, ClockDump, dump_clock, load_clock
from core.energy import acting, market, proving
from core.energy.act import Goal
from core.energy.budget import Meters
from core.energy.facts import PAUSES, SILENT_US_MAX, Known, Move, Predicted, RegimeShifted, Sensed, Source, SourceLost, Totals
from core.energy.market import MarketDump
from core.energy.proving import ClaimsDump
from core.energy.view import Blind, Promise, View
from core.engine import Stamp
from core.fields import Frozen

ALL_SILENT = "all-silent"
HEARD_MIN = 8
"""A source that never came so often has no rhythm."""
PRESENT_US = 3_600_000_000
"""A newest point farther than this from the clock on the wall tells of the past, or by a clock that nobody set."""


class Energy:
    """The facts, which two states are compared by, and the view."""

    def __init__(self) -> None:
        self.sources: OrderedDict[str, Source] = OrderedDict()
        """The one whose points came last stands last."""
        self.streams = 0
        self.actions = acting.Actions()
        self.claims = proving.Claims()
        self.market = market.Market()
        self.clock = Clock()
        self.watched: Agenda[str] = Agenda()
        """Sources by when they count as silent, if nothing more of them comes."""
        self.view = View()
        self.meters = Meters()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Energy):
            return False
        return all(getattr(self, name) == getattr(other, name) for name in FACTS)

    __hash__ = None  # type: ignore[assignment]


FACTS = ("sources", "streams", "actions", "claims", "market", "clock", "watched")


class ActionsDump(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    recent: list[tuple[str, acting.Choice]]
    weights: list[tuple[str, dict[Goal, tuple[float, float, float]]]]
    last: list[tuple[str, acting.Last]]
    habits: dict[str, acting.Habit]
    chosen: int


class EnergyDump(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    sources: list[tuple[str, Source]]
    actions: ActionsDump
    claims: ClaimsDump
    market: MarketDump
    clock: ClockDump
    watched: AgendaDump


def dump(energy: Energy) -> EnergyDump:
    actions = energy.actions
    return EnergyDump(
        list(energy.sources.items()),
        ActionsDump(
            [(name, msgspec.structs.replace(each)) for name, each in actions.recent.items()],
            list(actions.weights.items()),
            list(actions.last.items()),
            actions.habits,
            actions.chosen,
        ),
        proving.dump(energy.claims),
        market.dump(energy.market),
        dump_clock(energy.clock),
        dump_agenda(energy.watched),
    )


def load(dumped: EnergyDump) -> Energy:
    energy = Energy()
    energy.sources.update(dumped.sources)
    energy.streams = sum(len(source.streams) for source in energy.sources.values())
    energy.actions.recent.update(dumped.actions.recent)
    energy.actions.weights.update(dumped.actions.weights)
    energy.actions.last.update(dumped.actions.last)
    energy.actions.habits, energy.actions.chosen = dumped.actions.habits, dumped.actions.chosen
    energy.claims = proving.load(dumped.claims)
    energy.market = market.load(dumped.market)
    energy.clock = load_clock(dumped.clock)
    energy.watched = load_agenda(dumped.watched)
    return energy


def keep(energy: Energy) -> Callable[[], bytes]:
    """The view, for a start from a snapshot."""
    return energy.view.picture()


def take_up(energy: Energy, raw: bytes) -> None:
    energy.view.load(raw)


def blind(energy: Energy) -> None:
    """Follow no points: for whoever asks for facts only."""
    energy.view = Blind()


# --- what happened ----------------------------------------------------------------------------------------------------------


def apply_sensed(energy: Energy, event: Sensed, stamp: Stamp) -> None:
    if event.evicted is not None:
        _give_up(energy, event.evicted)
    source = energy.sources.get(event.source)
    if source is None:
        source = energy.sources[event.source] = Source(event.owner, [], known=Known(), lost=[])
    if event.begun:
        source.streams = [*source.streams, *((begun.metric, begun.unit) for begun in event.begun)]
        energy.streams += len(event.begun)
    source.newest_us, source.seen_us = event.newest_us, stamp.time_us
    source.points += event.accepted
    source.repeated += event.repeated
    if event.refused:
        source.refused += sum(each.count for each in event.refused)
    was, source.totals = source.totals, event.totals
    source.known = event.known if event.known is not None else source.known
    source.regime, source.next_likely, source.confidence = event.regime, event.next_likely, event.confidence
    if event.back:
        source.lost = [metric for metric in source.lost if metric not in event.back]
    energy.sources.move_to_end(event.source)
    if event.accepted:
        _heard(energy, event.source, source, stamp)
    promise, gone = None, []
    if event.claim is not None:
        promise = _promise(event.claim, event.totals)
        gone = proving.apply_claim(energy.claims, event.source, source.owner, event.claim)
    energy.view.take(event.source, event.points, source.streams, source.known, was, promise, gone)


def _heard(energy: Energy, name: str, source: Source, stamp: Stamp) -> None:
    """Points came. The longest pause fades, so that who sends in bursts is known by them; records of one command came together."""
    now_us = energy.clock.at(stamp)
    passed_us = min(now_us - source.heard_us, SILENT_US_MAX // PAUSES) if source.heard else 0
    if passed_us:
        source.pause_us = max(passed_us, source.pause_us * 9 // 10)
    source.heard, source.heard_us = source.heard + (passed_us > 0 or not source.heard), now_us
    if source.heard >= HEARD_MIN and abs(stamp.time_us - source.newest_us) <= PRESENT_US:
        energy.watched.put(name, now_us + source.silent_after_us)
    else:
        energy.watched.drop(name)


def _promise(claim: proving.Claim, totals: Totals) -> Promise:
    return Promise(claim.prediction_id, (claim.due_us - claim.issued_us) / 1e6, totals)


def _give_up(energy: Energy, name: str) -> None:
    source = energy.sources.pop(name, None)
    if source is not None:
        energy.streams -= len(source.streams)
        proving.forget_source(energy.claims, name)
        energy.watched.drop(name)
        energy.view.forget(name)


def apply_predicted(energy: Energy, event: Predicted, stamp: Stamp) -> None:
    """The same claim once more is the claim that is open."""
    if event.claim.prediction_id in energy.claims.source_of:
        return
    source = energy.sources[event.source]
    gone = proving.apply_claim(energy.claims, event.source, source.owner, event.claim)
    energy.view.take_promise(event.source, source.streams, _promise(event.claim, source.totals), gone)


def apply_shifted(energy: Energy, event: RegimeShifted, stamp: Stamp) -> None:
    source = energy.sources[event.source]
    source.shifts += 1
    source.shifted_us = event.time_us
    move = f"{event.from_regime} {event.to_regime}"
    before = source.moves.get(move)
    # A dictionary of its own: a copy of the state that is compared with it may hold the one before.
    source.moves = {**source.moves, move: Move(before.count + 1 if before is not None else 1, event.time_us, stamp.seq)}


def apply_lost(energy: Energy, event: SourceLost, stamp: Stamp) -> None:
    source = energy.sources[event.source]
    source.lost = [*source.lost, *(metric for metric in event.metrics if metric not in source.lost)]
    source.lost_us = stamp.time_us
    if event.reason == ALL_SILENT:
        energy.clock.at(stamp)
        energy.watched.drop(event.source)


def apply_met(energy: Energy, event: proving.ClaimsMet, stamp: Stamp) -> None:
    proving.apply_met(energy.claims, event, stamp)
    outcomes = [(met.prediction_id, met.energy, met.entropy) for met in event.met]
    energy.view.settle(event.source, outcomes)
