"""What a run may be asked for: the parameters of the model with their bounds, the grid, and how much memory that takes.

Everything is checked here, in pure Python, before a worker starts; the kernels hold the same bounds, and a test that they agree.
Nothing here computes a field.
"""

import math
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple, NoReturn
from uuid import UUID

import msgspec

from core.engine import Refused
from core.sim.chunk import Grid, Initial, Pump, Settings

MODEL, FMIA = "sncgl_sdg", "fmia"
MODELS = (MODEL, FMIA)
DIMENSIONS_MAX = 3

POINTS_MIN, POINTS_MAX = 8, 4_096
STEPS_MAX = 10_000_000
SNAPSHOTS_MAX = 64
LENGTH_MAX, DT_MAX = 1e6, 10.0
AMPLITUDE_MAX = 1e3
TARGETS, TARGETS_MIN = 5, 5
STEPS = 2_000
MEMORY_BYTES = 2 << 30
"""What the fields of one call may take where nothing else is configured: half of what a worker may have."""
DIVISORS = {"half": 4, "two_thirds": 3, "sixth": 6, "none": 2}
"""Modes with |n| < N / divisor are kept."""
ITEM_BYTES = {"complex64": 8, "complex128": 16}
COPIES_TENTHS = 25
"""Programs keep what goes in beside what comes out: 2.5 times the fields were measured, at 512 by 512 points."""
LIBRARIES_BYTES = 768 << 20
WORK_FIELDS = 12


class Parameter(NamedTuple):
    """One number of the model. `above`: it must be more than `low`, not only as much."""

    name: str
    default: float
    low: float
    high: float
    meaning: str
    above: bool = False
    scale: Literal["linear", "log"] = "linear"

    @property
    def bound(self) -> str:
        return f"{'above ' if self.above else ''}{self.low:g} to {self.high:g}"

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high and not (self.above and value == self.low)


PARAMETERS = {
    one.name: one
    for one in (
        Parameter("eps", 1.0, 0.0, 1e3, "gain, and the size of the diffusion"),
        Parameter("lam", 1.0, 0.0, 1e3, "strength of the local loss"),
        Parameter("b3", 1.0, -1e3, 1e3, "real part of the local loss"),
        Parameter("c3", -0.8, -1e3, 1e3, "imaginary part of the local loss"),
        Parameter("g_nl", 0.3, -1e3, 1e3, "strength of the non-local loss"),
        Parameter("sigma", 2.0, 0.0, 1e6, "reach of the non-local loss", scale="log"),
        Parameter("a", 0.0, 0.0, 0.99, "depth of the kernel's ring; 0 is the Gaussian"),
        Parameter("r", 0.5, 0.01, 0.99, "width of the kernel's ring"),
        Parameter("lam5", 0.0, 0.0, 1e3, "quintic loss, which bounds what the cubic one does not"),
        Parameter("kappa", 0.5, 0.0, 1e3, "weight of the current in the source of space"),
        Parameter("eta", 0.5, 0.0, 1e3, "weight of the gradient in the source of space"),
        Parameter("alpha", 0.5, -10.0, 10.0, "how much the density of space changes lengths"),
        Parameter("rho_vac", 1.0, 0.0, 1e3, "density of empty space", above=True, scale="log"),
        Parameter("D_g", 1.0, 0.0, 1e3, "diffusion of the density of space"),
        Parameter("m2", 1.0, 0.0, 1e3, "how fast the density of space returns, the mass squared", above=True, scale="log"),
        Parameter("tau", 1.0, 0.0, 1e6, "how slowly the density of space follows", above=True, scale="log"),
    )
}
DEFAULTS = {name: one.default for name, one in PARAMETERS.items()}
WAVE_PARAMETERS = {
    one.name: one
    for one in (
        Parameter("eps", 1.0, 0.0, 1e3, "how fast a small field grows, squared"),
        Parameter("lam", 1.0, 0.0, 1e3, "strength of the local hardening"),
        Parameter("g_nl", 0.3, -1e3, 1e3, "strength of the non-local hardening"),
        Parameter("sigma", 2.0, 0.0, 1e6, "reach of the non-local hardening", scale="log"),
        Parameter("a", 0.0, 0.0, 0.99, "depth of the kernel's ring; 0 is the Gaussian"),
        Parameter("r", 0.5, 0.01, 0.99, "width of the kernel's ring"),
        Parameter("D", 1.0, 0.0, 1e3, "stiffness: speed of short waves, squared"),
        Parameter("eta", 0.4, 0.0, 1e3, "damping"),
    )
}
"""Of the control model, which has no geometry and no source."""
PARAMETERS_OF = {MODEL: PARAMETERS, FMIA: WAVE_PARAMETERS}


# --- the parameters ---------------------------------------------------------------------------------------------------------


def checked(params: Mapping[str, Any], where: str = "params", model: str = MODEL) -> dict[str, float]:
    """Every parameter, those not given by their defaults; or a refusal that names the bound."""
    known = PARAMETERS_OF[model]
    whole = {name: one.default for name, one in known.items()}
    for name, value in params.items():
        if name not in known:
            text = f"{name} is no parameter of {model}. {_instead(name, known)}"
            _refuse(f"{where}.{name}", text, nearest=name, known=known)
        whole[name] = number(f"{where}.{name}", value, known[name])
    return dict(sorted(whole.items()))


def number(path: str, value: Any, one: Parameter) -> float:
    if not _finite(value):
        _refuse(path, f"{one.name} must be a finite number, {one.bound} ({one.meaning})")
    if not one.holds(value):
        hint = ". For a density without delay set settings.geometry to elliptic" if one.name == "tau" and value == 0 else ""
        _refuse(path, f"{one.name} {value:g} is outside its bounds, {one.bound} ({one.meaning}){hint}")
    return float(value) + 0.0  # no negative zero: it comes back from the log as 0


def reference_density(params: Mapping[str, float]) -> float:
    """Of the uniform state, if there is one, else 1."""
    s = {**DEFAULTS, **params}
    loss = s["lam"] * s["b3"] + s["g_nl"]
    return s["eps"] / loss if loss > 0 and s["eps"] > 0 else 1.0


def suggested_dt(params: Mapping[str, float], model: str = MODEL) -> float:
    """A step that resolves the rates of the model, 0.05 at most."""
    if model == FMIA:
        return _wave_dt({**{name: one.default for name, one in WAVE_PARAMETERS.items()}, **params})
    s = {**DEFAULTS, **params}
    rate = s["eps"] + reference_density(s) * (s["lam"] * math.hypot(s["b3"], s["c3"]) + abs(s["g_nl"]))
    return min(0.05, 0.1 / rate) if rate > 0 else 0.05


def _wave_dt(s: Mapping[str, float]) -> float:
    loss = s["lam"] + s["g_nl"]
    density = s["eps"] / loss if loss > 0 and s["eps"] > 0 else 1.0
    rate = math.sqrt(s["eps"] + density * (3 * s["lam"] + 3 * abs(s["g_nl"])))
    return min(0.05, 0.1 / rate) if rate > 0 else 0.05


def kernel_least(a: float, r: float) -> float:
    """The least value of the kernel's transform: 0, approached, for the Gaussian; negative for a ring."""
    if a == 0:
        return 0.0
    s = -2 * (math.log(a) + 2 * math.log(r)) / (1 - r**2)
    return (math.exp(-s / 2) - a * math.exp(-(r**2) * s / 2)) / (1 - a)


def well_posed(params: Mapping[str, float]) -> bool:
    """Whether the losses stay losses at every wavelength, or the quintic one bounds what they do not."""
    said = params.get
    g_nl, loss = said("g_nl", DEFAULTS["g_nl"]), said("lam", DEFAULTS["lam"]) * said("b3", DEFAULTS["b3"])
    least = kernel_least(said("a", DEFAULTS["a"]), said("r", DEFAULTS["r"])) if g_nl > 0 else 1.0
    return loss + g_nl * least >= 0 or said("lam5", DEFAULTS["lam5"]) > 0


# --- the grid and the rest --------------------------------------------------------------------------------------------------


def check_model(model: str) -> None:
    if model not in MODELS:
        _refuse("model", f"no model is named {model}. {_instead(model, MODELS)}", nearest=model, known=MODELS)


def check_grid(grid: Grid) -> None:
    if not _whole(grid.d, 1, DIMENSIONS_MAX):
        _refuse("grid.d", f"d {grid.d} is outside its bounds: a grid has 1, 2 or 3 dimensions")
    if not _whole(grid.n, POINTS_MIN, POINTS_MAX):
        _refuse("grid.n", f"n {grid.n} is outside its bounds, {POINTS_MIN} to {POINTS_MAX} points a side")
    if grid.n % 2 or not _smooth(grid.n):
        near = _next_smooth(grid.n)
        _refuse("grid.n", f"n {grid.n} must be even and have no prime factor above 5. Near it is {near}")
    if not _finite(grid.l) or not 0 < grid.l <= LENGTH_MAX:
        _refuse("grid.l", f"l {grid.l:g} is outside its bounds: a side is above 0 and at most {LENGTH_MAX:g} long")


def check_steps(steps: int, dt: float | None) -> None:
    if not _whole(steps, 1, STEPS_MAX):
        _refuse("steps", f"steps {steps} is outside its bounds, 1 to {STEPS_MAX:,}")
    if dt is not None and (not _finite(dt) or not 0 < dt <= DT_MAX):
        _refuse("dt", f"dt {dt:g} is outside its bounds: above 0, and {DT_MAX:g} at most")


def check_settings(settings: Settings, grid: Grid) -> None:
    if not _whole(settings.snapshots, 1, SNAPSHOTS_MAX):
        text = f"snapshots {settings.snapshots} is outside its bounds, 1 to {SNAPSHOTS_MAX}"
        _refuse("settings.snapshots", text)
    if settings.initial is not None:
        _check_initial(settings.initial, settings, grid)
    if settings.pump is not None:
        _check_pump(settings.pump, settings, grid)


def settings_of(model: str, settings: Settings) -> Settings:
    """As the model takes them: the control model has no geometry, no source, and no spirals, for its field is real."""
    if model != FMIA:
        return settings
    if settings.geometry == "elliptic":
        _refuse("settings.geometry", "the model fmia has no geometry: leave settings.geometry out, or set it to off")
    if settings.pump is not None:
        _refuse("settings.pump", f"the model fmia has no source: leave settings.pump out, or take the model {MODEL}")
    if settings.initial is not None and settings.initial.kind == "spiral":
        _refuse("settings.initial.kind", "the field of the model fmia is real and has no spirals: take noise or a plane_wave")
    return msgspec.structs.replace(settings, geometry="off")


def check_kernel(kernel: str, params: Mapping[str, float]) -> None:
    if kernel == "gaussian" and params.get("a", 0.0) != 0:
        _refuse("params.a", "a is the depth of a ring and the kernel is gaussian: set settings.kernel to ring, or leave a out")
    if kernel == "ring" and params.get("a", 0.0) == 0:
        _refuse("params.a", "the kernel ring needs its depth a, above 0 to 0.99, such as 0.5; with a = 0 it is the Gaussian")


def _check_initial(initial: Initial, settings: Settings, grid: Grid) -> None:
    path = "settings.initial"
    if initial.amplitude is not None and not (_finite(initial.amplitude) and 0 < initial.amplitude <= AMPLITUDE_MAX):
        _refuse(f"{path}.amplitude", f"amplitude is outside its bounds: above 0, and {AMPLITUDE_MAX:g} at most")
    if initial.kind == "spiral" and grid.d != 2:
        _refuse(f"{path}.kind", "a spiral needs 2 dimensions: set grid.d to 2, or take noise")
    _check_source(initial, path)
    if initial.modes is not None and initial.kind != "plane_wave":
        _refuse(f"{path}.modes", f"modes are those of a plane_wave; {initial.kind} has none: leave them out")
    _check_modes(f"{path}.modes", initial.modes, settings, grid)


def _check_source(initial: Initial, path: str) -> None:
    """The run that another one begins with."""
    if initial.kind != "from_artefact":
        if initial.job_uuid is not None or initial.artefact_sha256 is not None:
            _refuse(f"{path}.job_uuid", f"{initial.kind} begins with no other run: leave job_uuid out, or take from_artefact")
        return
    if initial.job_uuid is None or not _uuid(initial.job_uuid):
        _refuse(f"{path}.job_uuid", "from_artefact needs the job_uuid of a run that has ended. See: irerctl sim list")
    if initial.amplitude is not None:
        _refuse(f"{path}.amplitude", "from_artefact takes the field as it is: leave amplitude out")


def _check_pump(pump: Pump, settings: Settings, grid: Grid) -> None:
    path = "settings.pump"
    if not _finite(pump.amplitude) or abs(pump.amplitude) > AMPLITUDE_MAX:
        _refuse(f"{path}.amplitude", f"amplitude is outside its bounds, {-AMPLITUDE_MAX:g} to {AMPLITUDE_MAX:g}")
    if pump.shape == "gaussian":
        if pump.width is None or not _finite(pump.width) or not 0 < pump.width <= grid.l:
            _refuse(f"{path}.width", f"the width of a bump must be above 0 and at most the side of the box, {grid.l:g}")
        if pump.k is not None:
            _refuse(f"{path}.k", "k is that of a plane wave; a bump has a width: leave k out")
        return
    if pump.width is not None:
        _refuse(f"{path}.width", "a plane wave has no width: leave it out")
    if pump.k is None:
        _refuse(f"{path}.k", f"a plane wave needs k, {grid.d} mode numbers, one for each axis")
    _check_modes(f"{path}.k", pump.k, settings, grid)


def _check_modes(path: str, modes: list[int] | None, settings: Settings, grid: Grid) -> None:
    if modes is None:
        return
    top = -(-grid.n // DIVISORS[settings.dealias]) - 1
    if len(modes) != grid.d:
        _refuse(path, f"a grid of {grid.d} dimensions takes {grid.d} mode numbers, not {len(modes)}")
    if any(abs(mode) > top for mode in modes):
        _refuse(path, f"mode numbers are outside the band that is kept, {-top} to {top}: take lower ones, or a finer grid")


def memory_bytes(grid: Grid, settings: Settings, lanes: int = 1) -> int:
    """What the fields of one call take: the work fields and the snapshots, for two lanes at least, and what is copied of them."""
    points: int = grid.n**grid.d
    fields = (WORK_FIELDS + settings.snapshots) * max(2, lanes)
    return fields * points * ITEM_BYTES[settings.dtype] * COPIES_TENTHS // 10


def room_bytes(worker_bytes: int) -> int:
    """Of what a worker may take, so much is left for fields beside the libraries that compute them."""
    return max(worker_bytes - LIBRARIES_BYTES, worker_bytes // 4)


def check_memory(grid: Grid, settings: Settings, lanes: int, allowed: int) -> None:
    needed = memory_bytes(grid, settings, lanes)
    if needed > allowed:
        text = (
            f"the fields of this run would take {needed:,} bytes of memory, and {allowed:,} are allowed. "
            "Take fewer points or snapshots, or complex64; or have an admin raise compute.memory_bytes and restart irerd"
        )
        _refuse("grid.n", text, code="resource-exhausted")


# --- words ------------------------------------------------------------------------------------------------------------------


def _refuse(
    path: str, text: str, *, code: str = "invalid-argument", nearest: str | None = None, known: Iterable[str] = ()
) -> NoReturn:
    data = {"nearest": get_close_matches(nearest, list(known), n=3, cutoff=0.5)} if nearest is not None else None
    raise Refused(code, text, fields=[(path, text)], data=data)


def _instead(name: str, known: Iterable[str]) -> str:
    names = list(known)
    folded = {each.lower(): each for each in names}
    close = get_close_matches(name.lower(), list(folded), n=1, cutoff=0.5)
    return f"Did you mean {folded[close[0]]}?" if close else f"There are: {', '.join(names)}"


def _uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _smooth(value: int) -> bool:
    for prime in (2, 3, 5):
        while value % prime == 0:
            value //= prime
    return value == 1


def _next_smooth(value: int) -> int:
    """The nearest number of points above that is allowed; the largest where there is none."""
    return next((n for n in range(value + 1, POINTS_MAX + 1) if n % 2 == 0 and _smooth(n)), POINTS_MAX)
