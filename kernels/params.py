"""What a run of the field needs to be told, checked before any worker starts. No JAX here: asking is cheap.

`Signature` is what a compiled program is made for; `Coefficients` are the numbers it is given. Two runs that differ only in
numbers share one program. Nothing here reads a clock, a file or chance.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np

Number = Any
"""A float or a complex number, or an array of them with a lane for each run."""

OK, DIVERGED, GEOMETRY, PADDING = range(4)
STATUS = ("ok", "diverged", "geometry", "padding")

ILL_POSED, UNRESOLVED, UNSETTLED, NO_SOURCE = 1, 2, 4, 8
FLAGS = {ILL_POSED: "ill_posed", UNRESOLVED: "unresolved", UNSETTLED: "unsettled", NO_SOURCE: "no_source"}

BLOCK_STEPS = 32
"""The linear part is chosen anew this often, and no oftener: each choice costs the coefficients once."""

DIMENSIONS = (1, 2, 3)
DEALIAS = {"half": 4, "two_thirds": 3, "none": 2, "sixth": 6}
"""Modes with |n| < N / divisor are kept, strictly, on every axis."""
GEOMETRIES = ("coevolve", "elliptic", "off")
MODELS = ("sncgl", "fmia")
SCHEMES = ("yoshida", "strang")
"""Of the control model: order 4, or order 2 at a third of the work."""
PRECISIONS: dict[str, tuple[np.dtype[Any], np.dtype[Any]]] = {
    "f32": (np.dtype(np.complex64), np.dtype(np.float32)),
    "f64": (np.dtype(np.complex128), np.dtype(np.float64)),
}

POINTS_MIN, POINTS_MAX = 8, 4096
STEPS_MAX, WIDTH_MAX, SNAPSHOTS_MAX = 10_000_000, 1024, 64
DENSITY_LOW = 1e-6
"""A density below this share of rho_vac is no geometry any more."""

DEFAULTS: dict[str, float] = {
    "L": 40.0,
    "dt": 0.05,
    "eps": 1.0,
    "lam": 1.0,
    "b3": 1.0,
    "c3": -0.8,
    "g_nl": 0.3,
    "sigma": 2.0,
    "ring_a": 0.0,
    "ring_r": 0.5,
    "lam5": 0.0,
    "kappa": 0.5,
    "eta": 0.5,
    "alpha": 0.5,
    "rho_vac": 1.0,
    "D_g": 1.0,
    "m2": 1.0,
    "tau": 1.0,
}

WAVE_DEFAULTS: dict[str, float] = {
    "L": 40.0,
    "dt": 0.05,
    "eps": 1.0,
    "lam": 1.0,
    "g_nl": 0.3,
    "sigma": 2.0,
    "ring_a": 0.0,
    "ring_r": 0.5,
    "D": 1.0,
    "eta": 0.4,
}
"""Of the model fmia."""

ABOVE, FROM = "above", "from"
BOUNDS: dict[str, tuple[str, float, float]] = {
    "L": (ABOVE, 0.0, 1e6),
    "dt": (ABOVE, 0.0, 10.0),
    "eps": (FROM, 0.0, 1e3),
    "lam": (FROM, 0.0, 1e3),
    "b3": (FROM, -1e3, 1e3),
    "c3": (FROM, -1e3, 1e3),
    "g_nl": (FROM, -1e3, 1e3),
    "sigma": (FROM, 0.0, 1e6),
    "ring_a": (FROM, 0.0, 0.99),
    "ring_r": (FROM, 0.01, 0.99),
    "lam5": (FROM, 0.0, 1e3),
    "kappa": (FROM, 0.0, 1e3),
    "eta": (FROM, 0.0, 1e3),
    "alpha": (FROM, -10.0, 10.0),
    "rho_vac": (ABOVE, 0.0, 1e3),
    "D_g": (FROM, 0.0, 1e3),
    "m2": (ABOVE, 0.0, 1e3),
    "tau": (ABOVE, 0.0, 1e6),
}
WAVE_BOUNDS: dict[str, tuple[str, float, float]] = {
    **{name: BOUNDS[name] for name in WAVE_DEFAULTS if name in BOUNDS},
    "D": (FROM, 0.0, 1e3),
}


@dataclass(frozen=True, slots=True)
class Signature:
    """All that a program is compiled for. `nonlocal_term=False` is the plain equation, for runs in which every g_nl is 0."""

    dimensions: int = 2
    points: int = 64
    precision: str = "f32"
    dealias: str = "half"
    geometry: str = "coevolve"
    width: int = 2
    snapshots: int = 8
    nonlocal_term: bool = True
    model: str = "sncgl"
    scheme: str = "yoshida"

    @property
    def kept(self) -> int:
        """How many modes n = 0, 1, … each axis keeps; with the negative ones 2·kept − 1."""
        return -(-self.points // DEALIAS[self.dealias])


class Coefficients(NamedTuple):
    """The numbers of one run, or of many with a leading lane axis.

    dA/dt = gain A + diffusion Lap_g A − cubic rho A − reach A (K*rho) − quintic rho² A + J
    """

    gain: Number
    diffusion: Number
    cubic: Number
    reach: Number
    quintic: Number
    sigma: Number
    ring_a: Number
    ring_r: Number
    kappa: Number
    eta: Number
    alpha: Number
    core: Number
    rho_vac: Number
    spread: Number
    m2: Number
    tau: Number
    length: Number
    dt: Number


class Waves(NamedTuple):
    """The numbers of one run of fmia, or of many with a leading lane axis.

    d rho/dt = pi,    d pi/dt = stiffness Lap rho − damping pi + gain rho − cubic rho³ − reach rho (K*rho²)
    """

    gain: Number
    stiffness: Number
    damping: Number
    cubic: Number
    reach: Number
    sigma: Number
    ring_a: Number
    ring_r: Number
    length: Number
    dt: Number


def waves(settings: Mapping[str, float]) -> Waves:
    """The settings of fmia, with defaults for those not given, as the kernels take them."""
    s = {**WAVE_DEFAULTS, **settings}
    names = ("eps", "D", "eta", "lam", "g_nl", "sigma", "ring_a", "ring_r", "L", "dt")
    return Waves(*(s[name] for name in names))


def numbers(model: str, settings: Mapping[str, float]) -> Coefficients | Waves:
    return waves(settings) if model == "fmia" else coefficients(settings)


def coefficients(settings: Mapping[str, float]) -> Coefficients:
    """The model's settings, with defaults for those not given, as the kernels take them."""
    s = {**DEFAULTS, **settings}
    return Coefficients(
        gain=s["eps"],
        diffusion=s["eps"] * (0.5 + 0.8j),
        cubic=s["lam"] * complex(s["b3"], s["c3"]),
        reach=s["g_nl"],
        quintic=s["lam5"],
        sigma=s["sigma"],
        ring_a=s["ring_a"],
        ring_r=s["ring_r"],
        kappa=s["kappa"],
        eta=s["eta"],
        alpha=s["alpha"],
        core=1e-3 * reference_density(s),
        rho_vac=s["rho_vac"],
        spread=s["D_g"],
        m2=s["m2"],
        tau=s["tau"],
        length=s["L"],
        dt=s["dt"],
    )


Numbers = TypeVar("Numbers", Coefficients, Waves)


def stack(runs: Sequence[Numbers], width: int) -> Numbers:
    """Lanes side by side; what is missing to the width repeats the first run."""
    rows = [*runs, *[runs[0]] * (width - len(runs))]
    columns = zip(*rows, strict=True)
    return type(runs[0])(*(np.asarray(column, np.result_type(np.float64, *column)) for column in columns))


def reference_density(settings: Mapping[str, float]) -> float:
    """rho of the uniform state if there is one, else 1."""
    s = {**DEFAULTS, **settings}
    loss = s["lam"] * s["b3"] + s["g_nl"]
    return s["eps"] / loss if loss > 0 and s["eps"] > 0 else 1.0


def suggested_dt(settings: Mapping[str, float], model: str = "sncgl") -> float:
    if model == "fmia":
        return _wave_dt({**WAVE_DEFAULTS, **settings})
    s = {**DEFAULTS, **settings}
    rate = s["eps"] + reference_density(s) * (s["lam"] * abs(complex(s["b3"], s["c3"])) + abs(s["g_nl"]))
    return min(0.05, 0.1 / rate) if rate > 0 else 0.05


def _wave_dt(s: Mapping[str, float]) -> float:
    """About sixty steps in a swing about the density where gain and hardening balance: the linear part is exact anyway."""
    loss = s["lam"] + s["g_nl"]
    density = s["eps"] / loss if loss > 0 and s["eps"] > 0 else 1.0
    rate = math.sqrt(s["eps"] + density * (3 * s["lam"] + 3 * abs(s["g_nl"])))
    return min(0.05, 0.1 / rate) if rate > 0 else 0.05


def kernel_least(ring_a: float, ring_r: float) -> float:
    """The least value of K̂ over all k: 0, approached, for the Gaussian; negative for a ring."""
    if ring_a == 0:
        return 0.0
    s = -2 * (math.log(ring_a) + 2 * math.log(ring_r)) / (1 - ring_r**2)
    return (math.exp(-s / 2) - ring_a * math.exp(-(ring_r**2) * s / 2)) / (1 - ring_a)


def ill_posed(c: Coefficients | Waves) -> bool:
    """Whether the local and non-local losses together can turn into gain without a quintic term to end it.

    For fmia the same: its energy then has no lower end.
    """
    worst = c.reach * (kernel_least(c.ring_a, c.ring_r) if c.reach > 0 else 1.0)
    return bool(c.cubic.real + worst < 0 and (isinstance(c, Waves) or c.quintic <= 0))


def field_bytes(signature: Signature) -> int:
    """Memory of one call: twelve work fields and the snapshots, for every lane."""
    complex_type, _ = PRECISIONS[signature.precision]
    fields = 12 + signature.snapshots
    return int(fields * signature.width * signature.points**signature.dimensions * complex_type.itemsize)


def check(signature: Signature, settings: Mapping[str, float], steps: int, memory_bytes: int = 2 << 30) -> list[str]:
    """Every reason why this run must not start, as a person reads it; none when it may."""
    reasons = _shape_reasons(signature)
    if not reasons and field_bytes(signature) > memory_bytes:
        reasons.append(
            f"{signature.width} lanes of {signature.points} points a side need {field_bytes(signature):,} bytes; "
            f"{memory_bytes:,} are allowed: take fewer lanes, points or snapshots"
        )
    if signature.model == "fmia" and signature.geometry != "off":
        reasons.append(f"the model fmia has no geometry: geometry {signature.geometry} is not off")
    if not signature.nonlocal_term and settings.get("g_nl", DEFAULTS["g_nl"]) != 0:
        reasons.append("a program without the non-local term runs only where g_nl is 0")
    if not _whole(steps, 1, STEPS_MAX):
        reasons.append(f"steps {steps} is not a whole number from 1 to {STEPS_MAX:,}")
    bounds = WAVE_BOUNDS if signature.model == "fmia" else BOUNDS
    return reasons + [reason for name, value in settings.items() if (reason := _bound_reason(name, value, bounds))]


def warnings(settings: Mapping[str, float], geometry: str = "coevolve") -> list[str]:
    """What will run but deserves a word."""
    s = {**DEFAULTS, **settings}
    said = []
    if ill_posed(coefficients(s)):
        said.append("the losses turn into gain at some wavelengths (ill_posed); lam5 > 0 would bound the field")
    if geometry == "coevolve" and s["tau"] < s["dt"]:
        said.append(f"tau {s['tau']:g} is below dt {s['dt']:g}: the time order falls from 4 to between 1 and 2")
    if s["dt"] > 2 * suggested_dt(s):
        said.append(f"dt {s['dt']:g} is coarse for these rates; about {suggested_dt(s):.3g} resolves them")
    return said


def _shape_reasons(signature: Signature) -> list[str]:
    reasons = []
    for name, value, allowed in (
        ("model", signature.model, MODELS),
        ("scheme", signature.scheme, SCHEMES),
        ("dimensions", signature.dimensions, DIMENSIONS),
        ("precision", signature.precision, tuple(PRECISIONS)),
        ("dealias", signature.dealias, tuple(DEALIAS)),
        ("geometry", signature.geometry, GEOMETRIES),
    ):
        if isinstance(value, bool) or value not in allowed:
            reasons.append(f"{name} {value} is not one of {', '.join(map(str, allowed))}")
    if not _whole(signature.points, POINTS_MIN, POINTS_MAX):
        reasons.append(f"points {signature.points} is not a whole number from {POINTS_MIN} to {POINTS_MAX}")
    elif signature.points % 2 or not _smooth(signature.points):
        reasons.append(f"points {signature.points} must be even and have no prime factor above 5, such as 64, 96 or 128")
    if not _whole(signature.width, 2, WIDTH_MAX):
        reasons.append(f"width {signature.width} is not a whole number from 2 to {WIDTH_MAX}; a single run is padded to 2 lanes")
    if not _whole(signature.snapshots, 1, SNAPSHOTS_MAX):
        reasons.append(f"snapshots {signature.snapshots} is not a whole number from 1 to {SNAPSHOTS_MAX}")
    return reasons


def _bound_reason(name: str, value: object, bounds: Mapping[str, tuple[str, float, float]]) -> str:
    if name not in bounds:
        return f"{name} is no parameter of this model; it has {', '.join(bounds)}"
    kind, low, high = bounds[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return f"{name} {value} is not a finite number"
    if value > high or value < low or (kind == ABOVE and value == low):
        return f"{name} {value:g} is outside {'above ' if kind == ABOVE else ''}{low:g} to {high:g}"
    return ""


def _whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _smooth(number: int) -> bool:
    for prime in (2, 3, 5):
        while number % prime == 0:
            number //= prime
    return number == 1
