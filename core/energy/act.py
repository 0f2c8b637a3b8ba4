"""Which action costs least: candidates, what each is predicted to lead to, its three cost terms, and the bounds it may not break.

Every term is in joules over the horizon and counts something no other does: `energy_j` what is drawn, against `hold`; `entropy_j`
the price of uncertainty, work that is expected to go unserved; `irreversibility_j` what it takes to switch and, as often as it is
likely, to switch back. Bounds stand outside the weights: a candidate that breaks one at its pessimistic end is out, however cheap.
What nobody measured is assumed in the open: the figure says `surrogate`, and only the order of the candidates means anything.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

Goal = Literal["minimize_energy", "maximize_throughput", "maximize_stability"]
Provenance = Literal["measured", "modelled", "surrogate"]
Standing = Literal["ok", "broken", "unknown"]

GOALS: Mapping[Goal, tuple[float, float, float]] = {
    "minimize_energy": (1.0, 1.0, 1.0),
    "maximize_throughput": (1.0, 8.0, 1.0),
    "maximize_stability": (1.0, 2.0, 4.0),
}
"""Weights of energy, entropy and irreversibility."""
CONSTRAINTS = (
    "max_latency_ms",
    "min_throughput",
    "power_cap_w",
    "temperature_c_max",
    "min_replicas",
    "max_replicas",
    "cooldown_s",
)
CANDIDATES_MAX = 64
UTILISATION_MAX = 0.85
"""What is held to meet bounds on latency and throughput where nothing about them was measured."""
LOAD_SPREAD = 0.02
"""Standard deviation of the load as a share of it, where none is given."""
PESSIMISTIC = 1.959963984540054
IDLE_W, MAX_W = 100.0, 250.0
"""Of one server, assumed where no power is known."""
START_S, STOP_S = 90.0, 15.0
"""How long a server draws its idle power without serving, when it is started, and when it is stopped."""
MIGRATE_S = 30.0
FAR = 40.0
"""Spreads beyond which a bell curve has nothing, in any figure that a computer keeps."""
TRIFLE_J = 1e-6
"""Less work unserved is none: its digits would only be those of a tail that nobody knows."""
EXACT_MAX = 1_000
"""Servers up to which a queue is worked out exactly."""


class Plant(NamedTuple):
    """What the caller says of the present, and what irer knows besides."""

    servers: int
    utilisation: float
    load_spread: float | None = None
    """Standard deviation of the load, in servers fully at work."""
    idle_w: float | None = None
    max_w: float | None = None
    power_w: float | None = None
    service_time_ms: float | None = None
    throughput: float | None = None
    latency_ms: float | None = None
    temperature_c: float | None = None
    ambient_c: float | None = None
    deferrable: float | None = None
    """Share of the load that may wait until after the horizon."""
    elsewhere: int | None = None
    """Servers that run elsewhere and have room."""
    since_change_s: float | None = None

    @property
    def load(self) -> float:
        return self.servers * self.utilisation

    @property
    def spread(self) -> float:
        return self.load_spread if self.load_spread is not None else LOAD_SPREAD * self.load


class Present(NamedTuple):
    """What all candidates share, worked out once."""

    load: float
    spread: float
    idle_w: float
    max_w: float


class Habits(NamedTuple):
    """What became of actions of one kind: how often one was undone within the horizon, of how many."""

    undone: int = 0
    of: int = 0

    @property
    def chance(self) -> float:
        """Posterior mean with a uniform prior."""
        return (self.undone + 1) / (self.of + 2)


NO_HABIT = Habits()


class Candidate(NamedTuple):
    type: str
    servers: int
    load: float
    """Mean load that these servers have to bear."""
    cap_w: float | None = None


class Terms(NamedTuple):
    energy_j: float
    entropy_j: float
    irreversibility_j: float


class Bound(NamedTuple):
    name: str
    limit: float
    standing: Standing
    value: float | None
    """At the pessimistic end."""
    provenance: Provenance


class Judged(NamedTuple):
    """One candidate with all that speaks for and against it."""

    candidate: Candidate
    terms: Terms
    cost_j: float
    bounds: tuple[Bound, ...]
    power_w: float
    entropy_change: float
    """Of the utilisation, in nats."""
    provenance: Provenance
    allowed: bool
    """Whether it keeps every bound."""


def candidates(plant: Plant, constraints: Mapping[str, float]) -> list[Candidate]:
    """`hold`, and what the present state names enough for."""
    now, load = plant.servers, plant.load
    found = [Candidate("hold", now, load)]
    enough = max(math.ceil((load + PESSIMISTIC * plant.spread) / UTILISATION_MAX), 1)
    for servers in sorted({now - 2, now - 1, now + 1, now + 2, enough}):
        if servers >= 1 and servers != now:
            found.append(Candidate("scale_up" if servers > now else "scale_down", servers, load))
    if (cap := constraints.get("power_cap_w")) is not None:
        found.append(Candidate("cap_power", now, load, cap))
    if plant.deferrable:
        found.append(Candidate("defer", now, load * (1 - plant.deferrable)))
    if plant.elsewhere:
        found.append(Candidate("migrate", max(now - plant.elsewhere, 1), load))
    return found


def judge(
    plant: Plant,
    goal: Goal,
    constraints: Mapping[str, float],
    options: Sequence[Candidate],
    *,
    horizon_s: float,
    unserved_j: float,
    habits: Mapping[str, Habits],
    weights: tuple[float, float, float] | None = None,
) -> list[Judged]:
    """Every candidate, the allowed ones first and of these the cheapest; equals in the order in which they came.

    `unserved_j` is what a second of a server's work is worth that is not done. `habits` count by type of action.
    """
    energy, entropy, irreversibility = weights or GOALS[goal]
    idle_w, max_w = _limits(plant)
    now = Present(plant.load, plant.spread, idle_w, max_w)
    hold_w = _drawn(idle_w, max_w, plant.servers, now.load, None)
    bounded = [(name, constraints[name]) for name in CONSTRAINTS if name in constraints]
    source = provenance(plant)
    judged = []
    for option in options:
        drawn = _drawn(idle_w, max_w, option.servers, option.load, option.cap_w)
        most = capacity(plant, option)
        habit = habits.get(option.type, NO_HABIT)
        terms = _terms(plant, now, option, most, (drawn - hold_w) * horizon_s, horizon_s, unserved_j, habit)
        cost = 0.0 + energy * terms.energy_j + entropy * terms.entropy_j + irreversibility * terms.irreversibility_j
        bounds = tuple([_bound(plant, now, option, most, name, limit) for name, limit in bounded])
        change = math.log(plant.servers / option.servers) if now.spread else 0.0
        allowed = all([bound.standing == "ok" for bound in bounds])
        judged.append(Judged(option, terms, cost, bounds, drawn, change, source, allowed))
    return sorted(judged, key=_in_order)


def _in_order(each: Judged) -> tuple[bool, float]:
    return not each.allowed, each.cost_j


def provenance(plant: Plant) -> Provenance:
    return "modelled" if plant.idle_w is not None and plant.max_w is not None else "surrogate"


def power(plant: Plant, option: Candidate) -> float:
    """Of all servers, in W: a straight line between idle and full load."""
    return _drawn(*_limits(plant), option.servers, option.load, option.cap_w)


def _drawn(idle: float, most: float, servers: int, load: float, cap_w: float | None) -> float:
    drawn = servers * idle + (most - idle) * (servers if servers < load else load)
    return drawn if cap_w is None else min(drawn, cap_w)


def _limits(plant: Plant) -> tuple[float, float]:
    if plant.idle_w is not None and plant.max_w is not None:
        return plant.idle_w, plant.max_w
    return IDLE_W, MAX_W


def capacity(plant: Plant, option: Candidate) -> float:
    """How much load can be served, in servers fully at work."""
    if option.cap_w is None:
        return float(option.servers)
    idle, most = _limits(plant)
    return min(max((option.cap_w - option.servers * idle) / (most - idle), 0.0), float(option.servers)) if most > idle else 0.0


def _terms(
    plant: Plant, now: Present, option: Candidate, most: float, energy_j: float, horizon_s: float, unserved_j: float, habit: Habits
) -> Terms:
    late = now.load - option.load if option.type == "defer" else 0.0
    unserved = expected_above(option.load, now.spread, most) + late
    lacking = unserved * horizon_s * unserved_j
    switched = 0.0
    if option.type != "hold":
        there = _switching(option.type, now.idle_w, plant.servers, option.servers)
        switched = there + habit.chance * _switching(option.type, now.idle_w, option.servers, plant.servers)
    return Terms(energy_j, lacking if lacking >= TRIFLE_J else 0.0, switched)


def _switching(kind: str, idle: float, before: int, after: int) -> float:
    if kind == "migrate":
        return MIGRATE_S * abs(after - before) * idle * 2
    return idle * (max(after - before, 0) * START_S + max(before - after, 0) * STOP_S)


_ROOT_OF_TURN, _ROOT_OF_TWO = math.sqrt(2 * math.pi), math.sqrt(2)


def expected_above(mean: float, spread: float, limit: float) -> float:
    """E[(X − limit)+] of a normal X."""
    if spread <= 0:
        return max(mean - limit, 0.0)
    if abs(mean - limit) > FAR * spread:
        return max(mean - limit, 0.0)
    d = (mean - limit) / spread
    return spread * (math.exp(-d * d / 2) / _ROOT_OF_TURN + d * 0.5 * math.erfc(-d / _ROOT_OF_TWO))


# --- bounds -----------------------------------------------------------------------------------------------------------------


def _bound(plant: Plant, now: Present, option: Candidate, most: float, name: str, limit: float) -> Bound:
    value, source = _BOUNDS[name](plant, now, option, most)
    if value is None:
        return Bound(name, limit, "unknown", None, source)
    if source == "surrogate" and name in ("max_latency_ms", "min_throughput"):
        return Bound(name, limit, "ok" if value <= UTILISATION_MAX else "broken", value, source)
    holds = value >= limit if name in ("min_throughput", "min_replicas", "cooldown_s") else value <= limit
    return Bound(name, limit, "ok" if holds else "broken", value, source)


def _pessimistic(now: Present, option: Candidate) -> float:
    return option.load + PESSIMISTIC * now.spread


def _utilisation(now: Present, option: Candidate, most: float) -> float:
    return (option.load + PESSIMISTIC * now.spread) / most if most else math.inf


def _latency(plant: Plant, now: Present, option: Candidate, most: float) -> tuple[float | None, Provenance]:
    """Mean time in a queue of many servers (M/M/c), from the measured time of service."""
    if plant.service_time_ms is None:
        return _utilisation(now, option, most), "surrogate"
    return plant.service_time_ms * (1 + waiting(option.servers, _pessimistic(now, option), most)), "modelled"


def waiting(servers: int, load: float, most: float) -> float:
    """Mean wait in a queue of so many servers under a load in Erlang, in times of service: Erlang's C formula, whose sum grows with
    the servers; beyond EXACT_MAX Sakasegawa's approximation (1977)."""
    if load >= most:
        return math.inf
    if servers > EXACT_MAX:
        share = load / servers
        return share ** (math.sqrt(2 * (servers + 1)) - 1) / (most - load) if share < 1 else math.inf
    blocked = 1.0
    for busy in range(1, servers + 1):
        blocked = load * blocked / (busy + load * blocked)
    waits = blocked / (1 - load / servers * (1 - blocked))
    return waits / (most - load)


def _throughput(plant: Plant, now: Present, option: Candidate, most: float) -> tuple[float | None, Provenance]:
    if plant.throughput is None or not now.load:
        return _utilisation(now, option, most), "surrogate"
    served = min(option.load, most)
    return plant.throughput * served / now.load, "modelled"


def _power(plant: Plant, now: Present, option: Candidate, most: float) -> tuple[float | None, Provenance]:
    if provenance(plant) == "surrogate":
        if plant.power_w is None:
            return None, "surrogate"
        held = power(plant, Candidate("hold", plant.servers, now.load))
        return plant.power_w * power(plant, option._replace(load=_pessimistic(now, option))) / held, "modelled"
    return power(plant, option._replace(load=_pessimistic(now, option))), "modelled"


def _temperature(plant: Plant, now: Present, option: Candidate, most: float) -> tuple[float | None, Provenance]:
    """In balance the rise above the surroundings goes with the power of one server."""
    if plant.temperature_c is None or plant.ambient_c is None:
        return None, "surrogate"
    held = power(plant, Candidate("hold", plant.servers, now.load)) / plant.servers
    then = power(plant, option._replace(load=_pessimistic(now, option))) / option.servers
    return plant.ambient_c + (plant.temperature_c - plant.ambient_c) * then / held, "modelled"


def _replicas(plant: Plant, now: Present, option: Candidate, most: float) -> tuple[float | None, Provenance]:
    return float(option.servers), "measured"


def _cooldown(plant: Plant, now: Present, option: Candidate, most: float) -> tuple[float | None, Provenance]:
    """Only what changes something has to wait, and where nothing was ever changed nothing waits."""
    changes = option.type != "hold"
    return (plant.since_change_s if changes and plant.since_change_s is not None else math.inf), "measured"


_BOUNDS = {
    "max_latency_ms": _latency,
    "min_throughput": _throughput,
    "power_cap_w": _power,
    "temperature_c_max": _temperature,
    "min_replicas": _replicas,
    "max_replicas": _replicas,
    "cooldown_s": _cooldown,
}
