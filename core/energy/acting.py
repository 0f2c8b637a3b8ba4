"""`eil.act` as callers meet it: what may be asked, what was chosen and why, as one record.

The record keeps every candidate with its terms and bounds, so that a choice can be understood long after. irer advises; nothing is
scaled from here.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from core.energy import act, proof
from core.energy.act import Candidate, Goal, Judged, Plant, Provenance
from core.engine import Command, Context, Decision, Event, Refused, Result, Stamp
from core.fields import Code, Count, Frozen, Name

KEPT = 10_000
HABITS_KEPT = 200
"""Actions of one kind that count towards how often such a one is undone; older ones fade by halving."""

Positive = Annotated[float, Meta(gt=0, le=1e12)]
NotBelow = Annotated[float, Meta(ge=0, le=1e12)]
Kind = Literal["hold", "scale_up", "scale_down", "cap_power", "defer", "migrate"]
OPPOSITE: dict[str, str] = {"scale_up": "scale_down", "scale_down": "scale_up"}


class CurrentState(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What runs now. What is not said is assumed in the open, or unknown.

    active_servers: servers that serve
    avg_utilization: share of their capacity that is used, on average
    load_spread: standard deviation of the load, in servers fully at work
    idle_w: power of one idle server, in W
    max_w: power of one server fully at work, in W
    power_w: power of all of them now, in W
    service_time_ms: mean time one request takes to serve, without waiting
    throughput: requests a second now
    latency_ms: mean latency now
    temperature_c: of the servers, in °C
    ambient_c: of their surroundings, in °C
    deferrable: share of the load that may wait until after the horizon
    elsewhere: servers elsewhere that have room
    since_change_s: seconds since something was changed last; without it, since the last action chosen for this caller
    """

    active_servers: Annotated[int, Meta(ge=1, le=1_000_000)]
    avg_utilization: Annotated[float, Meta(ge=0, le=1)]
    load_spread: NotBelow | None = None
    idle_w: Positive | None = None
    max_w: Positive | None = None
    power_w: Positive | None = None
    service_time_ms: Positive | None = None
    throughput: Positive | None = None
    latency_ms: NotBelow | None = None
    temperature_c: Annotated[float, Meta(ge=-273.15, le=10_000)] | None = None
    ambient_c: Annotated[float, Meta(ge=-273.15, le=10_000)] | None = None
    deferrable: Annotated[float, Meta(gt=0, le=1)] | None = None
    elsewhere: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    since_change_s: NotBelow | None = None


class Constraints(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Bounds that no saving buys.

    max_latency_ms: of the mean latency
    min_throughput: requests a second
    power_cap_w: of all servers together, in W
    temperature_c_max: in °C
    min_replicas: servers
    max_replicas: servers
    cooldown_s: quiet time after a change
    """

    max_latency_ms: Positive | None = None
    min_throughput: NotBelow | None = None
    power_cap_w: Positive | None = None
    temperature_c_max: Annotated[float, Meta(ge=-273.15, le=10_000)] | None = None
    min_replicas: NotBelow | None = None
    max_replicas: NotBelow | None = None
    cooldown_s: NotBelow | None = None


class Option(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A candidate of the caller's.

    type: hold, scale_up, scale_down, cap_power, defer or migrate
    target_servers: how many serve afterwards; as many as now without it
    power_cap_w: of all servers together, for cap_power
    load_share: share of the present load that is left to serve, for defer
    """

    type: Kind
    target_servers: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    power_cap_w: Positive | None = None
    load_share: Annotated[float, Meta(ge=0, le=1)] | None = None


class AskAction(Command):
    """Asks for the action that costs least.

    goal: minimize_energy, maximize_throughput or maximize_stability
    current_state: what runs now
    constraints: bounds that no saving buys
    candidates: what to choose among, besides hold; irer makes its own without them
    """

    goal: Goal
    current_state: CurrentState
    constraints: Constraints = Constraints()
    candidates: Annotated[list[Option], Meta(min_length=1, max_length=act.CANDIDATES_MAX - 1)] | None = None


class BoundRow(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One bound, as a candidate meets it.

    name: which
    limit: what was asked for
    outcome: ok, broken or unknown
    value: what is predicted at the pessimistic end; a utilisation where nothing better is known, absent where it has no end
    provenance: measured, modelled or surrogate
    """

    name: Literal[
        "max_latency_ms", "min_throughput", "power_cap_w", "temperature_c_max", "min_replicas", "max_replicas", "cooldown_s"
    ]
    limit: float
    outcome: act.Standing
    value: float | None = None
    provenance: Provenance = "modelled"


class Row(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One candidate with all that speaks for and against it.

    type: of action
    target_servers: how many would serve
    energy_j: predicted energy less that of hold, over the horizon
    entropy_j: price of work that is expected to go unserved, over the horizon
    irreversibility_j: energy to switch, and as often as likely to switch back
    cost_j: the weighted sum
    power_w: predicted power of all servers
    entropy_change: of the utilisation, in nats
    allowed: whether it keeps every bound
    bounds: each bound as this candidate meets it
    power_cap_w: the cap, where it is one
    """

    type: Kind
    target_servers: Count
    energy_j: float
    entropy_j: float
    irreversibility_j: float
    cost_j: float
    power_w: float
    entropy_change: float
    allowed: bool
    bounds: Annotated[list[BoundRow], Meta(max_length=8)] = []
    power_cap_w: float | None = None


class Feasibility(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Whether a state is possible at all.

    outcome: pass, fail or vacuous
    reason: what decided
    value: what was found
    limit: what it was held against
    """

    outcome: proof.Outcome
    reason: Code
    value: float | None = None
    limit: float | None = None


class Chosen(Event, type="energy.action_chosen"):
    """An action was chosen for a caller, with all that it was chosen from.

    action_id: its name
    owner: who asked
    goal: what for
    current_state: as the caller told it
    constraints: as the caller told them
    horizon_s: seconds that the terms are about
    weights: of energy, entropy and irreversibility
    feasible: whether any candidate keeps every bound
    candidates: all of them, the chosen one first
    provenance: the weakest of what went into the figures
    feasibility: whether what was measured and what is predicted is possible at all
    reward_micro: what a proof of it might earn, in micro-units of PFT; nothing is minted for it
    undoes: the action before, where this one takes it back within the horizon
    speaks: share of each term in what spoke for it, against the mean of the others; below nought what spoke against it
    """

    action_id: Name
    owner: Name
    goal: Goal
    current_state: CurrentState
    constraints: Constraints
    horizon_s: float
    weights: tuple[float, float, float]
    feasible: bool
    candidates: Annotated[list[Row], Meta(max_length=act.CANDIDATES_MAX)]
    provenance: Provenance
    feasibility: Feasibility
    reward_micro: Count
    undoes: Name | None = None
    speaks: tuple[float, float, float] = (0.0, 0.0, 0.0)


class Action(Result):
    """What to do.

    type: of action
    target_servers: how many are to serve
    expected_energy_savings: in J over the horizon
    expected_energy_savings_unit: J
    expected_energy_savings_provenance: modelled or surrogate
    expected_entropy_change: of the utilisation
    expected_entropy_change_unit: nats
    power_cap_w: the cap, where it is one
    """

    type: Kind
    target_servers: Count | None
    expected_energy_savings: float
    expected_energy_savings_unit: str
    expected_energy_savings_provenance: Provenance
    expected_entropy_change: float
    expected_entropy_change_unit: str
    power_cap_w: float | None = None


class TriCheck(Result):
    """The tri-check in short: true, false, or null where a check could not have failed.

    energy_conservation: energy is accounted for
    entropy_valid: no entropy is unmade
    feasibility_check: the state is possible
    """

    energy_conservation: bool | None
    entropy_valid: bool | None
    feasibility_check: bool | None


class CostTerms(Result):
    """What the chosen action costs, in J over the horizon.

    energy_j: energy less that of hold
    entropy_j: work expected to go unserved
    irreversibility_j: switching, and switching back as often as likely
    total_j: the weighted sum
    weights: of the three
    """

    energy_j: float
    entropy_j: float
    irreversibility_j: float
    total_j: float
    weights: tuple[float, float, float]


class CheckRow(Result):
    """One check.

    outcome: pass, fail or vacuous
    reason: what decided
    value: what was found
    limit: what it was held against
    """

    outcome: proof.Outcome
    reason: str
    value: float | None = None
    limit: float | None = None


class ActionAnswer(Result):
    """The chosen action, and why.

    action_id: name it in feedback
    action: what to do
    feasible: whether it keeps every bound; if not, it is hold, for want of anything better
    cost_terms: what it costs
    proof: the tri-check of the predicted state, in short
    checks: the same with reasons
    alternatives: the other candidates with terms and bounds
    bounds: each bound as the chosen one meets it
    pft_reward: what a proof of it might earn; nothing is minted for it
    horizon_s: seconds that the figures are about
    """

    action_id: str
    action: Action
    feasible: bool
    cost_terms: CostTerms
    proof: TriCheck
    checks: dict[str, CheckRow]
    alternatives: list[Row]
    bounds: list[BoundRow]
    pft_reward: float
    horizon_s: float


class Last(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """The last action other than hold that was chosen for a caller."""

    action_id: str
    type: str
    time_us: int


class Habit(msgspec.Struct, forbid_unknown_fields=True):
    undone: int = 0
    of: int = 0


class Choice(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An action as feedback needs it."""

    owner: str
    goal: Goal
    speaks: tuple[float, float, float]
    rated: bool = False


class Actions:
    """What was chosen lately, how often such a thing was taken back, and what feedback has made of the weights."""

    def __init__(self) -> None:
        self.recent: OrderedDict[str, Choice] = OrderedDict()
        """Actions that feedback may name."""
        self.weights: OrderedDict[str, dict[Goal, tuple[float, float, float]]] = OrderedDict()
        """By owner and goal, where feedback has moved them; whose feedback came last stands last."""
        self.last: OrderedDict[str, Last] = OrderedDict()
        """By caller."""
        self.habits: dict[str, Habit] = {}
        self.chosen = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Actions) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


def weights_of(actions: Actions, owner: str, goal: Goal) -> tuple[float, float, float]:
    """Of energy, entropy and irreversibility: what feedback has made of the goal's, for who asks."""
    return actions.weights.get(owner, {}).get(goal, act.GOALS[goal])


def decide_act(
    actions: Actions, command: AskAction, ctx: Context, *, horizon_s: float, unserved_j: float, confidence: Callable[[], float]
) -> Decision:
    """What is chosen for this caller. `confidence` says what the reward is estimated with."""
    plant = _plant(actions, command.current_state, ctx)
    bounds = msgspec.to_builtins(command.constraints)
    options = act.candidates(plant, bounds) if command.candidates is None else _named(command.candidates, plant)
    habits = {kind: act.Habits(habit.undone, habit.of) for kind, habit in actions.habits.items()}
    weights = weights_of(actions, ctx.actor.name, command.goal)
    judged = act.judge(
        plant, command.goal, bounds, options, horizon_s=horizon_s, unserved_j=unserved_j, habits=habits, weights=weights
    )
    feasible = judged[0].allowed
    if not feasible:  # nothing is allowed, so nothing is done
        judged.sort(key=lambda each: each.candidate.type != "hold")
    best = judged[0]
    possible = _possible(plant, best)
    reward = 0
    if best.provenance != "surrogate":
        hold_w = act.power(plant, Candidate("hold", plant.servers, plant.load))
        saved = max((hold_w - best.power_w) / hold_w, 0.0) if hold_w > 0 else 0.0
        reward = proof.minted_micro(1_000_000, 1.0, confidence(), saved)
    event = Chosen(
        f"act_{ctx.new_id()}",
        ctx.actor.name,
        command.goal,
        command.current_state,
        command.constraints,
        horizon_s,
        weights,
        feasible,
        [_row(each) for each in judged],
        best.provenance,
        Feasibility(*possible),
        reward,
        _undoes(actions, best.candidate.type, horizon_s, ctx),
        _speaks(judged, weights),
    )
    return Decision(event)


def _speaks(judged: list[Judged], weights: tuple[float, float, float]) -> tuple[float, float, float]:
    best, *others = [each.terms for each in judged]
    if not others:
        return (0.0, 0.0, 0.0)
    columns = zip(*others, strict=True)
    gaps = [weight * (sum(column) / len(others) - own) for weight, own, column in zip(weights, best, columns, strict=True)]
    whole = sum(map(abs, gaps))
    return tuple(round(gap / whole, 6) + 0.0 if whole else 0.0 for gap in gaps)  # type: ignore[return-value]


def _plant(actions: Actions, told: CurrentState, ctx: Context) -> Plant:
    if told.idle_w is not None and told.max_w is not None and told.idle_w > told.max_w:
        text = "idle_w is more than max_w: an idle server draws no more than one at work. Check the two figures"
        raise Refused("invalid-argument", text, fields=[("/current_state/idle_w", "at most max_w")])
    since = told.since_change_s
    last = actions.last.get(ctx.actor.name)
    if since is None and last is not None:
        since = max(ctx.now_us - last.time_us, 0) / 1e6
    return Plant(
        told.active_servers,
        told.avg_utilization,
        told.load_spread,
        told.idle_w,
        told.max_w,
        told.power_w,
        told.service_time_ms,
        told.throughput,
        told.latency_ms,
        told.temperature_c,
        told.ambient_c,
        told.deferrable,
        told.elsewhere,
        since,
    )


def _named(options: list[Option], plant: Plant) -> list[Candidate]:
    """`hold`, and the caller's candidates. One that lacks what makes it one is refused."""
    found = [Candidate("hold", plant.servers, plant.load)]
    for place, option in enumerate(options):
        servers = option.target_servers if option.target_servers is not None else plant.servers
        missing = {
            "scale_up": servers <= plant.servers and "target_servers above active_servers",
            "scale_down": servers >= plant.servers and "target_servers below active_servers",
            "cap_power": option.power_cap_w is None and "power_cap_w",
            "defer": option.load_share is None and "load_share",
        }.get(option.type)
        if missing:
            text = f"candidate {place + 1}, {option.type}, needs {missing}"
            raise Refused("invalid-argument", text, fields=[(f"/candidates/{place}", f"needs {missing}")])
        if option.type != "hold":
            share = option.load_share if option.load_share is not None else 1.0
            found.append(Candidate(option.type, servers, plant.load * share, option.power_cap_w))
    return found


def _possible(plant: Plant, best: Judged) -> proof.Check:
    """Of what can fail: power as it was measured against the limits and the utilisation, and a cap against the limits. What the
    model itself worked out of the limits agrees with them by construction, and is no check."""
    if plant.idle_w is None or plant.max_w is None:
        return proof.Check("vacuous", "no-limits")
    found = []
    if plant.power_w is not None:
        idle, most = plant.idle_w * plant.servers, plant.max_w * plant.servers
        found.append(proof.feasibility(proof.Feasible(plant.power_w, idle, most, utilisation=plant.utilisation)))
    if best.candidate.cap_w is not None:
        servers = best.candidate.servers
        found.append(
            proof.feasibility(proof.Feasible(best.power_w, plant.idle_w * servers, plant.max_w * servers, power_derived=True))
        )
    if not found:
        return proof.Check("vacuous", "not-measured")
    return next((check for check in found if check.outcome == "fail"), found[0])


def _undoes(actions: Actions, kind: str, horizon_s: float, ctx: Context) -> str | None:
    last = actions.last.get(ctx.actor.name)
    if last is None or OPPOSITE.get(kind) != last.type or ctx.now_us - last.time_us > horizon_s * 1e6:
        return None
    return last.action_id


_FAR = 1e300
"""A figure beyond has no end."""


def _row(each: Judged) -> Row:
    candidate, terms, cost_j, bounds, power_w, entropy_change, _, allowed = each
    rows = [
        BoundRow(name, limit, standing, value if value is not None and abs(value) < _FAR else None, source)  # type: ignore[arg-type]
        for name, limit, standing, value, source in bounds
    ]
    kind, servers, _, cap_w = candidate
    return Row(kind, servers, *terms, cost_j, power_w, entropy_change, allowed, rows, cap_w)  # type: ignore[arg-type]


def apply_chosen(actions: Actions, event: Chosen, stamp: Stamp) -> None:
    kind = event.candidates[0].type
    actions.chosen += 1
    actions.recent[event.action_id] = Choice(event.owner, event.goal, event.speaks)
    while len(actions.recent) > KEPT:
        actions.recent.popitem(last=False)
    if kind == "hold":
        return
    habit = actions.habits.setdefault(kind, Habit())
    if habit.of >= HABITS_KEPT:
        habit.undone, habit.of = habit.undone // 2, habit.of // 2
    habit.of += 1
    if event.undoes is not None:
        before = actions.habits[OPPOSITE[kind]]
        before.undone = min(before.undone + 1, before.of)
    actions.last[event.owner] = Last(event.action_id, kind, stamp.time_us)
    actions.last.move_to_end(event.owner)
    while len(actions.last) > KEPT:
        actions.last.popitem(last=False)


def answer(event: Chosen) -> ActionAnswer:
    best = event.candidates[0]
    vacuous = CheckRow("vacuous", "not-measured")
    words: dict[str, bool | None] = {"pass": True, "fail": False, "vacuous": None}
    scaled = best.type in ("scale_up", "scale_down", "migrate")
    return ActionAnswer(
        event.action_id,
        Action(
            best.type,
            best.target_servers if scaled else None,
            -best.energy_j,
            "J",
            event.provenance,
            best.entropy_change,
            "nats",
            best.power_cap_w,
        ),
        event.feasible,
        CostTerms(best.energy_j, best.entropy_j, best.irreversibility_j, best.cost_j, event.weights),
        TriCheck(None, None, words[event.feasibility.outcome]),
        {"energy": vacuous, "entropy": vacuous, "feasibility": CheckRow(*msgspec.structs.astuple(event.feasibility))},
        list(event.candidates[1:]),
        list(best.bounds),
        event.reward_micro / 1e6,
        event.horizon_s,
    )
