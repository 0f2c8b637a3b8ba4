"""All that energy intelligence knows: sources, claims, actions and the market as facts of the log, and beside them the view."""

from collections import OrderedDict

import msgspec

from core.energy import acting, market, proving
from core.energy.budget import Meters
from core.energy.facts import Known, Predicted, RegimeShifted, Sensed, Source, SourceLost, Totals
from core.energy.market import MarketDump
from core.energy.proving import ClaimsDump
from core.energy.view import Promise, View
from core.engine import Stamp
from core.fields import Frozen


class Energy:
    """The facts, which two states are compared by, and the view."""

    def __init__(self) -> None:
        self.sources: OrderedDict[str, Source] = OrderedDict()
        """The one whose points came last stands last."""
        self.streams = 0
        self.actions = acting.Actions()
        self.claims = proving.Claims()
        self.market = market.Market()
        self.view = View()
        self.meters = Meters()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Energy):
            return False
        mine = (self.sources, self.streams, self.actions, self.claims, self.market)
        return mine == (other.sources, other.streams, other.actions, other.claims, other.market)

    __hash__ = None  # type: ignore[assignment]


class ActionsDump(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    recent: list[tuple[str, str]]
    last: list[tuple[str, acting.Last]]
    habits: dict[str, acting.Habit]
    chosen: int


class EnergyDump(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    sources: list[tuple[str, Source]]
    actions: ActionsDump
    claims: ClaimsDump
    market: MarketDump


def dump(energy: Energy) -> EnergyDump:
    actions = energy.actions
    return EnergyDump(
        list(energy.sources.items()),
        ActionsDump(list(actions.recent.items()), list(actions.last.items()), actions.habits, actions.chosen),
        proving.dump(energy.claims),
        market.dump(energy.market),
    )


def load(dumped: EnergyDump) -> Energy:
    energy = Energy()
    energy.sources.update(dumped.sources)
    energy.streams = sum(len(source.streams) for source in energy.sources.values())
    energy.actions.recent.update(dumped.actions.recent)
    energy.actions.last.update(dumped.actions.last)
    energy.actions.habits, energy.actions.chosen = dumped.actions.habits, dumped.actions.chosen
    energy.claims = proving.load(dumped.claims)
    energy.market = market.load(dumped.market)
    return energy


def keep(energy: Energy) -> bytes:
    """The view, for a start from a snapshot."""
    return energy.view.dump()


def take_up(energy: Energy, raw: bytes) -> None:
    energy.view.load(raw)


# --- what happened ----------------------------------------------------------------------------------------------------------


def apply_sensed(energy: Energy, event: Sensed, stamp: Stamp) -> None:
    if event.evicted is not None:
        _give_up(energy, event.evicted)
    source = energy.sources.setdefault(event.source, Source(event.owner, [], known=Known(), lost=[]))
    source.streams = [*source.streams, *((begun.metric, begun.unit) for begun in event.begun)]
    energy.streams += len(event.begun)
    source.newest_us, source.seen_us = event.newest_us, stamp.time_us
    source.points += event.accepted
    source.repeated += event.repeated
    source.refused += sum(each.count for each in event.refused)
    source.totals = event.totals
    source.known = event.known if event.known is not None else source.known
    source.regime, source.next_likely, source.confidence = event.regime, event.next_likely, event.confidence
    back = {source.streams[place][0] for place in event.points.streams if place < len(source.streams)}
    source.lost = [metric for metric in source.lost if metric not in back]
    energy.sources.move_to_end(event.source)
    promise, gone = None, []
    if event.claim is not None:
        promise = _promise(event.claim, event.totals)
        gone = proving.apply_claim(energy.claims, event.source, source.owner, event.claim)
    energy.view.take(event.source, event.points, source.streams, source.known, promise, gone)


def _promise(claim: proving.Claim, totals: Totals) -> Promise:
    return Promise(claim.prediction_id, (claim.due_us - claim.issued_us) / 1e6, totals)


def _give_up(energy: Energy, name: str) -> None:
    source = energy.sources.pop(name, None)
    if source is not None:
        energy.streams -= len(source.streams)
        proving.forget_source(energy.claims, name)
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


def apply_lost(energy: Energy, event: SourceLost, stamp: Stamp) -> None:
    source = energy.sources[event.source]
    source.lost = [*source.lost, *(metric for metric in event.metrics if metric not in source.lost)]


def apply_met(energy: Energy, event: proving.ClaimsMet, stamp: Stamp) -> None:
    proving.apply_met(energy.claims, event, stamp)
    outcomes = [(met.prediction_id, met.energy, met.entropy) for met in event.met]
    energy.view.settle(event.source, outcomes, energy.claims.open.get(event.source, ()))
