"""What detectors and checks are worth, measured on streams in which everything is known: null streams and a simulated machine.

Seeded: the same seed leads to the same figures on one machine. A bar that is missed is told as missed, never left out.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from core.energy import columns, generators, layout, node, proof

Tell = Callable[[int, int], None]
STREAMS = 20
"""Of each null generator."""
BLOCK = 32
SETTLED = 500
"""Ticks after which intervals are judged."""
NULL_MAX = 2.0
"""False alarms per 100,000 ticks."""
COVERAGE = (0.93, 0.97)

RESISTANCE, CAPACITY, SECONDS, SURROUNDINGS = 0.105, 600.0, 10.0, 298.15
IDLE_W, MAX_W = 90.0, 310.0
NOISE_K = 1.0
"""The thermometer tells whole kelvin."""
SWITCHES = 0.08
"""How likely a job begins or ends in a step."""
LEARNT_MIN, LEARNT_MAX, WINDOW = 640, 2_000, 32
MACHINES, CLEAN_WINDOWS = 150, 4
ALARMS = 0.01
SLEW_K = 12.0
"""Per step."""


class Null(NamedTuple):
    generator: str
    ticks: int
    alarms: int
    per_100_000: float
    coverage: float
    ok: bool


def nulls(chance: np.random.Generator, ticks: int, tell: Tell) -> list[Null]:
    """Streams in which nothing ever changes, all generators side by side."""
    names = list(generators.NULLS)
    each = max(1, ticks // STREAMS)
    values = np.hstack([generators.NULLS[name](chance, each, STREAMS) for name in names])
    store = layout.Store()
    rows = np.array([store.add() for _ in range(values.shape[1])])
    alarms = np.zeros(values.shape[1], np.int64)
    inside, judged = np.zeros(values.shape[1]), 0
    for at in range(0, each, BLOCK):
        some = values[at : at + BLOCK]
        times = np.repeat(np.arange(at, at + len(some), dtype=np.float64) * SECONDS, values.shape[1])
        advanced = columns.advance(store, np.tile(rows, len(some)), times, some.ravel())
        columns.adopt(store, advanced)
        for shift in advanced.findings.shifts:
            alarms[shift.row] += 1
        if at >= SETTLED:
            found = advanced.findings
            inside += (np.abs(some.ravel() - found.expected) <= found.half).reshape(some.shape).sum(axis=0)
            judged += len(some)
        tell(at, each)
    return [
        _null(name, each * STREAMS, alarms[place : place + STREAMS], inside[place : place + STREAMS], judged * STREAMS)
        for name, place in zip(names, range(0, len(rows), STREAMS), strict=True)
    ]


def _null(name: str, ticks: int, alarms: Any, inside: Any, judged: int) -> Null:
    count = int(alarms.sum())
    rate = 1e5 * count / ticks
    covered = float(inside.sum()) / judged if judged else math.nan
    steady = name == "constant"
    return Null(name, ticks, count, rate, covered, rate <= NULL_MAX and (steady or COVERAGE[0] <= covered <= COVERAGE[1]))


# --- faults -----------------------------------------------------------------------------------------------------------------


class Reading(NamedTuple):
    use: float
    power_w: float
    kelvin: float


class Fault(NamedTuple):
    """What the sensors say instead, and what share of windows has to be seen; None where no check can see it."""

    name: str
    caught_by: str
    bar: float | None
    spoil: Callable[[list[Reading], int], Reading]
    """From all readings up to now, and how many steps the fault lasts already."""


class Detected(NamedTuple):
    fault: str
    caught_by: str
    bar: float | None
    found: float
    ok: bool


def machine(chance: np.random.Generator) -> Iterator[Reading]:
    """A node that works off jobs: idle or busy, and from one to the other at once. Power and temperature are measured apart."""
    fade = math.exp(-SECONDS / (RESISTANCE * CAPACITY))
    busy, level, theta = False, 0.1, 0.0
    while True:
        if chance.random() < SWITCHES:
            busy = not busy
            level = float(chance.uniform(0.7, 0.95) if busy else chance.uniform(0.05, 0.2))
        use = min(max(level + float(chance.normal()) * 0.03, 0.0), 1.0)
        power = IDLE_W + (MAX_W - IDLE_W) * use
        shown = Reading(
            min(max(use + float(chance.normal()) * 0.01, 0.0), 1.0),
            round(power + float(chance.normal()) * 1.0, 1),
            SURROUNDINGS + round((theta + 0.3 * float(chance.normal())) / NOISE_K) * NOISE_K,
        )
        yield shown
        theta = fade * theta + RESISTANCE * (1 - fade) * power


def _power(change: Callable[[float], float]) -> Callable[[list[Reading], int], Reading]:
    return lambda read, lasts: read[-1]._replace(power_w=change(read[-1].power_w))


def _kelvin(change: Callable[[float], float]) -> Callable[[list[Reading], int], Reading]:
    return lambda read, lasts: read[-1]._replace(kelvin=change(read[-1].kelvin))


def _late(steps: int) -> Callable[[list[Reading], int], Reading]:
    return lambda read, lasts: read[-1]._replace(power_w=read[-1 - steps].power_w)


def _stuck(name: str) -> Callable[[list[Reading], int], Reading]:
    return lambda read, lasts: read[-1]._replace(**{name: getattr(read[-1 - lasts], name)})


def faults(other: list[Reading]) -> list[Fault]:
    zero = 273.15
    return [
        Fault("W as kW", "feasibility, energy", 0.99, _power(lambda watts: watts / 1000)),
        Fault("sign flipped", "feasibility, energy", 0.99, _power(lambda watts: -watts)),
        Fault("°C as K", "energy", 0.99, _kelvin(lambda kelvin: kelvin - zero)),
        Fault("°F as °C", "energy", 0.99, _kelvin(lambda kelvin: (kelvin - zero) * 1.8 + 32 + zero)),
        Fault("power × 1.2", "energy (mean)", 0.95, _power(lambda watts: watts * 1.2)),
        Fault("power × 1.05", "energy (mean)", 0.80, _power(lambda watts: watts * 1.05)),
        Fault("temperature + 2 K", "energy (mean)", 0.90, _kelvin(lambda kelvin: kelvin + 2)),
        Fault("power stuck", "power against utilisation, energy", 0.95, _stuck("power_w")),
        Fault("temperature stuck", "energy, slew", 0.80, _stuck("kelvin")),
        Fault("another node's thermometer", "energy", 0.95, lambda read, lasts: read[-1]._replace(kelvin=other[lasts - 1].kelvin)),
        Fault("replayed trace", "energy", 0.95, lambda read, lasts: read[-1]._replace(kelvin=read[-1 - 4 * WINDOW].kelvin)),
        Fault("power's clock off by 1 step", "energy, power against utilisation", 0.50, _late(1)),
        Fault("power's clock off by 12 steps", "energy, power against utilisation", 0.80, _late(12)),
    ]


SCALE, ALONE = "scale wrong since before the fit", "one sensor only"
"""No check of one machine's own sensors can see these, and that is said: of the first no more windows are called faulty than of a
sound machine, give or take; of the second every check is vacuous.
"""
UNSEEN_MAX = 0.05
UNSEEN_MACHINES = 40


class Shown(NamedTuple):
    """The worst of a window: step and mean in spreads, and whether something was not possible at all."""

    step: float
    mean: float
    impossible: bool


def window(known: node.Node, time: float, readings: list[Reading], before: Reading) -> Shown:
    step, mean, impossible = 0.0, 0.0, False
    for reading in readings:
        time += SECONDS
        found = node.constants(known)
        known, judged = node.step(known, time, reading.power_w, reading.kelvin, SURROUNDINGS)
        if not judged.vacuous:
            step = max(step, abs(judged.residual_j) / judged.sigma_j)
            if not math.isnan(judged.mean_j):
                mean = max(mean, abs(judged.mean_j) / judged.mean_sigma_j)
        impossible |= _impossible(reading, before, found, judged)
        before = reading
    return Shown(step, mean, impossible)


def _impossible(reading: Reading, before: Reading, found: tuple[float, float] | None, judged: node.Step) -> bool:
    warming = reading.kelvin - before.kelvin
    stored, given_off = None, None
    if found is not None and not judged.vacuous and not math.isnan(found[1]):
        stored = found[1] * warming - proof.K * judged.sigma_j
        given_off = (before.kelvin - SURROUNDINGS) / found[0]
    warmed, use = (None if math.isnan(each) else each for each in (warming, reading.use))
    step = proof.Feasible(reading.power_w, IDLE_W, MAX_W, warmed, SLEW_K, stored, given_off, SECONDS, use, power_derived=False)
    return proof.feasibility(step).outcome == "fail"


def detected(chance: np.random.Generator, tell: Tell) -> tuple[list[Detected], float]:
    """Each fault on machines that were sound until then, and the share of sound windows that are called faulty."""
    clean: list[Shown] = []
    spoilt: dict[str, list[Shown]] = {}
    table: list[Fault] = []
    for place in range(MACHINES):
        source = machine(chance)
        table = faults([next(source) for _ in range(WINDOW * 2)][WINDOW:])
        if place < UNSEEN_MACHINES:
            for name, told in (SCALE, _scaled(machine(chance))), (ALONE, _alone(machine(chance))):
                spoilt.setdefault(name, []).append(_blindly(told))
        source = machine(chance)
        read, known, time = _learnt(source)
        if not node.identified(known):  # every check of it is vacuous
            continue
        after = [next(source) for _ in range(WINDOW * CLEAN_WINDOWS)]
        moment, sound = time, known
        for at in range(0, CLEAN_WINDOWS * WINDOW, WINDOW):
            some = after[at : at + WINDOW]
            clean.append(window(sound, moment, some, after[at - 1] if at else read[-1]))
            for reading in some:
                moment += SECONDS
                sound, _ = node.step(sound, moment, reading.power_w, reading.kelvin, SURROUNDINGS)
        for fault in table:
            spoilt.setdefault(fault.name, []).append(_spoilt(fault, known, time, read, after))
        tell(place, MACHINES)
    bounds = _bound(each.step for each in clean), _bound(each.mean for each in clean)
    caught = {name: sum(_caught(each, bounds) for each in shown) / len(shown) for name, shown in spoilt.items()}
    rows = [Detected(f.name, f.caught_by, f.bar, caught[f.name], f.bar is None or caught[f.name] >= f.bar) for f in table]
    rows += [
        Detected(name, "nothing", None, caught[name], caught[name] <= most) for name, most in ((SCALE, UNSEEN_MAX), (ALONE, 0.0))
    ]
    return rows, sum(_caught(each, bounds) for each in clean) / len(clean)


def _learnt(source: Iterator[Reading]) -> tuple[list[Reading], node.Node, float]:
    """What was read until its heat is understood, or as long as that may take; what is known then, and when that is."""
    read: list[Reading] = []
    known, time = node.Node(), 0.0
    while len(read) < LEARNT_MIN or (len(read) < LEARNT_MAX and not node.identified(known)):
        read.append(next(source))
        time += SECONDS
        known, _ = node.step(known, time, read[-1].power_w, read[-1].kelvin, SURROUNDINGS)
    return read, known, time


def _scaled(source: Iterator[Reading]) -> Iterator[Reading]:
    return (reading._replace(power_w=reading.power_w * 1.05) for reading in source)


def _alone(source: Iterator[Reading]) -> Iterator[Reading]:
    """Its power and nothing else."""
    return (reading._replace(kelvin=math.nan, use=math.nan) for reading in source)


def _blindly(told: Iterator[Reading]) -> Shown:
    """A window of a machine that was never told of otherwise."""
    read, known, time = _learnt(told)
    return window(known, time, [next(told) for _ in range(WINDOW)], read[-1])


def _spoilt(fault: Fault, known: node.Node, time: float, read: list[Reading], after: list[Reading]) -> Shown:
    whole = list(read)
    told = []
    for lasts, reading in enumerate(after[:WINDOW], 1):
        whole.append(reading)
        told.append(fault.spoil(whole, lasts))
    return window(known, time, told, read[-1])


def _bound(values: Iterator[float]) -> float:
    """What half of the allowed share of sound windows is beyond."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, math.ceil(len(ranked) * (1 - ALARMS / 2)) - 1)]


def _caught(shown: Shown, bounds: tuple[float, float]) -> bool:
    return shown.step > bounds[0] or shown.mean > bounds[1] or shown.impossible


def as_document(null: list[Null], table: list[Detected], alarms: float) -> Mapping[str, Any]:
    return {
        "nulls": [each._asdict() for each in null],
        "faults": [each._asdict() for each in table],
        "fault_false_alarms": alarms,
    }
