"""A machine as one heat capacity behind one thermal resistance: what its power says its temperature should do.

C dT/dt = P − (T − T₀)/R, over a step θ' = aθ + bP with θ = T − T₀. a and b are fitted online with lagged power as instrument: plain
regression takes the noise of the thermometer for cooling. The model counts only where it predicts steps it was not fitted to, and
where power itself has a part in that: a mean that things return to explains half of the differences of white noise. Where the model
does not count every check of it is vacuous. It never learns from a step that it does not believe as it learns from one it does.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

FORGET = 0.9995
"""Of the fit, per step: it looks back 2,000 steps."""
INSTRUMENT = 0.3
"""How fast lagged power forgets."""
STEPS_MIN = 64
FITTED_MIN = 16
"""Steps before the model is asked anything."""
EXPLAINED_MIN = 0.3
"""Of the variance of the differences, on steps the model was not fitted to."""
POWER_PART_MIN = 0.05
"""Of the same variance, that knowing the power explains over knowing its mean."""
POWER_SURE = 4.0
"""Standard errors by which the power must help."""
STATIC = math.exp(-5)
"""Below this a is 0: a step is longer than five time constants."""
UNEVEN = 0.1
"""Share by which a step may differ from the usual one and still be learnt from."""
MEMORY = 1_024
JUDGED = 32
"""Steps whose mean residual is judged."""
MEANS_MIN = 128
"""Such means after which their own spread is known; before, that of independent steps is taken."""
BELIEVED = 4.0
"""Spreads beyond which a step is hardly learnt from."""
DOUBT = 1 / 64
NEW_MACHINE = 512
"""Steps in a row that are not believed, after which it is the model that is wrong."""
WILD = 4.0
"""Variances of the differences beyond which a miss counts no more: the first fits miss by anything."""
LET_GO = 0.2
"""Once believed, a model is believed while it explains this much: it does not come and go with every reading."""
KELVIN = 273.15


class Node(NamedTuple):
    """What is known of one machine. Never changed: `step` answers the next one."""

    time: float = math.nan
    theta: float = math.nan
    power: float = math.nan
    seconds: float = 0.0
    """The usual step."""
    lagged: float = math.nan
    """Power before the last reading, smoothed: the instrument."""
    fit: tuple[float, ...] = (0.0,) * 6
    """Sums of instrument × θ, instrument × P, P × θ, P × P, instrument × θ', P × θ'."""
    steps: int = 0
    mean_power: float = 0.0
    error: float = 0.0
    """Running mean square of what the model missed, before it was fitted to it, K²."""
    differences: float = 0.0
    mean_theta: float = 0.0
    variance: float = 0.0
    help: float = 0.0
    """By how much knowing the power made the squared error smaller, running mean, and its mean square."""
    help_square: float = 0.0
    sure: bool = False
    """It was identified at the last step."""
    doubted: int = 0
    """Steps in a row that were not believed."""
    judged: int = 0
    residual_square: float = 0.0
    """σ_r², J²."""
    latest: tuple[float, ...] = ()
    mean_square: float = 0.0
    """Of the mean of the last residuals, while nothing was wrong."""
    means: int = 0
    missed_j: float = 0.0
    taken_in_j: float = 0.0
    entropy_j_k: float = 0.0
    coherent: int = 0
    entropies: int = 0


Changes = dict[str, Any]
"""Fields of a node that are others after a step: it is made anew once, for it has many."""


class Step(NamedTuple):
    """One step judged. Where `vacuous` says why, the residual says nothing."""

    vacuous: str
    seconds: float = 0.0
    a: float = math.nan
    b: float = math.nan
    residual_j: float = math.nan
    sigma_j: float = math.nan
    mean_j: float = math.nan
    """Of the last residuals; nan until there are enough."""
    mean_sigma_j: float = math.nan
    entropy_j_k: float = math.nan
    entropy_sigma: float = math.nan


def solved(node: Node) -> tuple[float, float] | None:
    """a and b of the fit; None where power and temperature do not tell them."""
    zt, zp, pt, pp, zy, py = node.fit
    determinant = zt * pp - zp * pt
    if pp <= 0 or abs(determinant) <= 1e-9 * abs(zt * pp):
        return None
    a = (zy * pp - zp * py) / determinant
    if -1 < a < STATIC:
        return 0.0, py / pp
    return a, (zt * py - pt * zy) / determinant


def identified(node: Node) -> bool:
    """May the model be believed: it cools, power heats, and it predicts what it was not fitted to."""
    found = solved(node)
    return found is not None and _believable(node, *found)


def _believable(node: Node, a: float, b: float) -> bool:
    if node.steps < STEPS_MIN:
        return False
    whole = node.variance if a == 0 else node.differences
    sure = node.help > POWER_SURE * math.sqrt(max(node.help_square - node.help * node.help, 0) / min(node.steps, MEMORY))
    part = node.help >= POWER_PART_MIN * whole
    return (
        0 <= a < 1
        and b > 0
        and whole > 0
        and node.error <= (1 - (LET_GO if node.sure else EXPLAINED_MIN)) * whole
        and sure
        and part
    )


def constants(node: Node) -> tuple[float, float] | None:
    """R in K/W and C in J/K; C is nan where a step is longer than five time constants."""
    found = solved(node)
    if found is None or not identified(node):
        return None
    a, b = found
    resistance = b / (1 - a)
    return resistance, (-node.seconds / (resistance * math.log(a)) if a > 0 else math.nan)


def step(node: Node, time: float, power_w: float, kelvin: float, ambient_k: float) -> tuple[Node, Step]:
    """One more pair of readings, taken at the same time by two sensors."""
    theta = kelvin - ambient_k
    seconds = time - node.time
    if not seconds > 0:
        fresh = node._replace(time=time, theta=theta, power=power_w, lagged=power_w if math.isnan(node.lagged) else node.lagged)
        return (fresh if math.isnan(node.time) else node), Step("no-step")
    usual = node.seconds or seconds
    even = abs(seconds - usual) <= UNEVEN * usual
    changes: Changes = {
        "time": time,
        "theta": theta,
        "power": power_w,
        "seconds": usual + min(max(seconds - usual, -usual / 2), usual / 2) / min(node.steps + 1, 16),
        "lagged": node.lagged + INSTRUMENT * (node.power - node.lagged),
    }
    if not even:
        return node._replace(**changes), Step("uneven-step", seconds)
    found = solved(node)
    judged = Step("not-identified", seconds)
    if found is not None and node.steps >= FITTED_MIN:
        judged = _judged(node, changes, found, theta, seconds, ambient_k)
    doubted = node.doubted + 1 if not judged.vacuous and _doubtful(judged) else 0
    changes["doubted"], changes["sure"] = doubted, judged.vacuous in ("", "spread-not-known")
    _fit(node, changes, theta, _weight(doubted))
    return node._replace(**changes), judged


def _weight(doubted: int) -> float:
    return DOUBT if 0 < doubted <= NEW_MACHINE else 1.0


def _fit(node: Node, changes: Changes, theta: float, weight: float) -> None:
    old, power, lagged = node.theta, node.power, node.lagged
    keep = 1 - (1 - FORGET) * weight
    rate = 1 / min(node.steps + 1, MEMORY)
    change = theta - old
    zt, zp, pt, pp, zy, py = node.fit
    changes["fit"] = (
        keep * zt + weight * (lagged * old),
        keep * zp + weight * (lagged * power),
        keep * pt + weight * (power * old),
        keep * pp + weight * (power * power),
        keep * zy + weight * (lagged * theta),
        keep * py + weight * (power * theta),
    )
    changes["steps"] = node.steps + 1
    changes["mean_power"] = node.mean_power + rate * (power - node.mean_power)
    changes["differences"] = node.differences + rate * (change * change - node.differences)
    changes["mean_theta"] = node.mean_theta + rate * (theta - node.mean_theta)
    changes["variance"] = node.variance + rate * ((theta - node.mean_theta) ** 2 - node.variance)


def _judged(node: Node, changes: Changes, found: tuple[float, float], theta: float, seconds: float, ambient_k: float) -> Step:
    a, b = found
    error = theta - a * node.theta - b * node.power
    blind = theta - a * node.theta - b * node.mean_power
    helped = blind * blind - error * error
    rate = 1 / min(node.steps + 1 - FITTED_MIN, MEMORY)
    if not _believable(node, a, b):
        _score(node, changes, error, helped, rate)
        return Step("not-identified", seconds, a, b)
    residual = error * seconds / b
    latest = (*node.latest, residual)[-JUDGED:]
    mean = sum(latest) / JUDGED if len(latest) == JUDGED else math.nan
    sigma = math.sqrt(node.residual_square)
    mean_sigma = math.sqrt(node.mean_square if node.means >= MEANS_MIN else max(node.mean_square, node.residual_square / JUDGED))
    entropy, spread = _entropy(node, a, b, seconds, ambient_k)
    told = node.judged >= JUDGED
    verdict = Step("" if told else "spread-not-known", seconds, a, b, residual, sigma, mean, mean_sigma, entropy, spread)
    weight = _weight(node.doubted + 1) if told and _doubtful(verdict) else 1.0
    spread_rate = weight / min(node.judged + 1, MEMORY)
    _score(node, changes, error, helped, weight * rate)
    changes["judged"] = node.judged + 1
    changes["residual_square"] = node.residual_square + spread_rate * (residual * residual - node.residual_square)
    changes["latest"] = latest
    changes["missed_j"] = node.missed_j + abs(residual)
    changes["taken_in_j"] = node.taken_in_j + node.power * seconds
    changes["entropy_j_k"] = node.entropy_j_k + entropy
    changes["coherent"] = node.coherent + (entropy >= -3 * spread)
    changes["entropies"] = node.entropies + 1
    if len(latest) == JUDGED:
        mean_rate = weight / min(node.means + 1, MEMORY)
        changes["mean_square"] = node.mean_square + mean_rate * (mean * mean - node.mean_square)
        changes["means"] = node.means + 1
    return verdict


def _score(node: Node, changes: Changes, error: float, helped: float, rate: float) -> None:
    most = WILD * node.differences
    helped = min(max(helped, -most), most)
    changes["error"] = node.error + rate * (min(error * error, most) - node.error)
    changes["help"] = node.help + rate * (helped - node.help)
    changes["help_square"] = node.help_square + rate * (helped * helped - node.help_square)


def _doubtful(judged: Step) -> bool:
    if abs(judged.residual_j) > BELIEVED * judged.sigma_j:
        return True
    return abs(judged.mean_j) > BELIEVED * judged.mean_sigma_j


def _entropy(node: Node, a: float, b: float, seconds: float, ambient_k: float) -> tuple[float, float]:
    """Σ of the step, J/K, and what the noise of the thermometer makes of it."""
    kelvin = node.theta + ambient_k
    resistance = b / (1 - a)
    force = 1 / ambient_k - 1 / kelvin
    found = node.power * seconds / kelvin + node.theta / resistance * seconds * force
    slope = seconds * (-node.power / kelvin**2 + (force + node.theta / kelvin**2) / resistance)
    noise = math.sqrt(node.error / (1 + a * a))
    return found, abs(slope) * noise


def fidelity(node: Node) -> float | None:
    """1 − Σ|r_E| ÷ ΣPΔt over the steps that were judged; None where none was."""
    return 1 - node.missed_j / node.taken_in_j if node.taken_in_j > 0 else None


def coherence(node: Node) -> float | None:
    """The share of judged steps with Σ ≥ −3σ_Σ; None where none was."""
    return node.coherent / node.entropies if node.entropies else None


TABLE_SIGMA = 0.03
LINEAR_SIGMA = 0.08
"""Standard errors of modelled power, as a share of it."""
TABLE_POINTS = 11


class Power(NamedTuple):
    watts: float
    sigma: float


def power_from_table(utilisation: float, watts: Sequence[float]) -> Power:
    """Piecewise linear between the figures at 0, 10, … 100 % of use."""
    place = min(max(utilisation, 0.0), 1.0) * (TABLE_POINTS - 1)
    low = min(int(place), TABLE_POINTS - 2)
    found = watts[low] + (place - low) * (watts[low + 1] - watts[low])
    return Power(found, TABLE_SIGMA * found)


def power_from_ends(utilisation: float, idle_w: float, max_w: float) -> Power:
    found = idle_w + (max_w - idle_w) * min(max(utilisation, 0.0), 1.0)
    return Power(found, LINEAR_SIGMA * found)


def surrogate_energy(residual: float, slow_spread: float) -> float:
    """½ζ², of unit 1: it orders, and is never priced. 0 where nothing ever varied."""
    if not slow_spread > 0:
        return 0.0
    zeta = residual / slow_spread
    return 0.5 * (zeta * zeta)


def surrogate_energies(residuals: Any, slow_spreads: Any) -> Any:
    """The same of columns."""
    known = slow_spreads > 0
    zeta = residuals / (slow_spreads + ~known)
    return 0.5 * (zeta * zeta) * known


def shared(idle_w: float, weights: Sequence[float]) -> tuple[float, ...]:
    """Idle power among tenants; the parts sum to the whole."""
    whole = math.fsum(weights)
    parts = [idle_w * weight / whole if whole > 0 else idle_w / len(weights) for weight in weights]
    if parts:
        parts[-1] = idle_w - math.fsum(parts[:-1])
    return tuple(parts)
