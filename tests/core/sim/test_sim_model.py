"""What a run may be asked for: the same bounds as the kernels hold, and every refusal says the bound before anything starts."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.engine import Refused
from core.sim import model
from core.sim.chunk import Grid, Settings
from core.sim.commands import AskRun, chunk_of
from kernels import params as kernels

KERNEL_NAMES = {"a": "ring_a", "r": "ring_r"}
ROOM = 2 << 30


def chunk(**asked: Any) -> Any:
    return chunk_of(msgspec.convert(asked, AskRun, strict=True), "id-1", ROOM)


# --- as the kernels have it -------------------------------------------------------------------------------------------------


def test_every_parameter_has_the_bounds_and_the_default_of_the_kernels() -> None:
    of_kernels = {KERNEL_NAMES.get(name, name): one for name, one in model.PARAMETERS.items()}
    assert set(kernels.BOUNDS) == set(of_kernels) | {"L", "dt"}
    for name, one in of_kernels.items():
        kind = kernels.ABOVE if one.above else kernels.FROM
        assert kernels.BOUNDS[name] == (kind, one.low, one.high), name
        assert kernels.DEFAULTS[name] == one.default, name
    of_waves = {KERNEL_NAMES.get(name, name): one for name, one in model.WAVE_PARAMETERS.items()}
    assert set(kernels.WAVE_BOUNDS) == set(of_waves) | {"L", "dt"}
    for name, one in of_waves.items():
        assert kernels.WAVE_BOUNDS[name] == (kernels.FROM, one.low, one.high), name
        assert kernels.WAVE_DEFAULTS[name] == one.default, name
    assert kernels.BOUNDS["L"] == (kernels.ABOVE, 0.0, model.LENGTH_MAX)
    assert kernels.BOUNDS["dt"] == (kernels.ABOVE, 0.0, model.DT_MAX)


def test_the_grid_has_the_bounds_of_the_kernels() -> None:
    assert (model.POINTS_MIN, model.POINTS_MAX) == (kernels.POINTS_MIN, kernels.POINTS_MAX)
    assert (model.STEPS_MAX, model.SNAPSHOTS_MAX) == (kernels.STEPS_MAX, kernels.SNAPSHOTS_MAX)
    assert kernels.DEALIAS == model.DIVISORS


@given(
    points=st.sampled_from([8, 64, 96]),
    dimensions=st.sampled_from([1, 2, 3]),
    snapshots=st.integers(1, 64),
    lanes=st.integers(1, 16),
    dtype=st.sampled_from(["complex64", "complex128"]),
)
def test_memory_is_estimated_as_the_kernels_do(points: int, dimensions: int, snapshots: int, lanes: int, dtype: Any) -> None:
    precision = {"complex64": "f32", "complex128": "f64"}[dtype]
    width = max(2, lanes)
    theirs = kernels.Signature(dimensions=dimensions, points=points, precision=precision, width=width, snapshots=snapshots)
    ours = model.memory_bytes(Grid(points, 40.0, dimensions), Settings(dtype=dtype, snapshots=snapshots), lanes)
    assert ours == kernels.field_bytes(theirs) * 25 // 10


def of_parameters() -> st.SearchStrategy[dict[str, float]]:
    names = ["eps", "lam", "b3", "c3", "g_nl", "a", "r", "lam5"]
    each = {name: st.floats(max(model.PARAMETERS[name].low, -5), min(model.PARAMETERS[name].high, 5)) for name in names}
    return st.fixed_dictionaries({}, optional=each)


@given(params=of_parameters())
@example(params={"a": 5e-324})
def test_the_suggested_step_and_well_posedness_are_those_of_the_kernels(params: dict[str, float]) -> None:
    theirs = {KERNEL_NAMES.get(name, name): value for name, value in model.checked(params).items()}
    assert model.suggested_dt(params) == pytest.approx(kernels.suggested_dt(theirs), rel=1e-12)
    assert model.well_posed(params) is not kernels.ill_posed(kernels.coefficients(theirs))


@given(params=st.fixed_dictionaries({}, optional={name: st.floats(0, 20) for name in ("eps", "lam", "g_nl", "D", "eta")}))
def test_the_suggested_step_of_the_control_is_that_of_the_kernels(params: dict[str, float]) -> None:
    assert model.suggested_dt(params, "fmia") == pytest.approx(kernels.suggested_dt(params, "fmia"), rel=1e-12)


def test_the_ring_has_its_known_least_value() -> None:
    assert model.kernel_least(0.5, 0.5) == pytest.approx(-0.375, abs=1e-12)
    golden = {"eps": 1.0, "lam": 0.2, "b3": 1.0, "c3": 0.0, "g_nl": 2.0, "a": 0.5, "r": 0.5}
    assert not model.well_posed(golden) and model.well_posed({**golden, "lam5": 0.2})


# --- what is refused --------------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "unknown model": ({"model": "sncgl"}, "invalid-argument", "model", "Did you mean sncgl_sdg?"),
    "geometry of the control": (
        {"model": "fmia", "settings": {"geometry": "elliptic"}},
        "invalid-argument",
        "settings.geometry",
        "fmia has no geometry",
    ),
    "source of the control": (
        {"model": "fmia", "settings": {"pump": {"shape": "plane", "amplitude": 1, "k": [1, 0]}}},
        "invalid-argument",
        "settings.pump",
        "fmia has no source",
    ),
    "spiral of the control": (
        {"model": "fmia", "settings": {"initial": {"kind": "spiral"}}},
        "invalid-argument",
        "settings.initial.kind",
        "real and has no spirals",
    ),
    "parameter of the other model": ({"model": "fmia", "params": {"tau": 1}}, "invalid-argument", "params.tau", "of fmia. "),
    "damping backwards": ({"model": "fmia", "params": {"eta": -1}}, "invalid-argument", "params.eta", "0 to 1000 (damping)"),
    "unknown parameter": ({"params": {"gnl": 1}}, "invalid-argument", "params.gnl", "Did you mean g_nl?"),
    "parameter of no likeness": ({"params": {"xyzzy": 1}}, "invalid-argument", "params.xyzzy", "There are: eps, lam"),
    "another case": ({"params": {"d_g": 1}}, "invalid-argument", "params.d_g", "Did you mean D_g?"),
    "too large": ({"params": {"lam": 1e4}}, "invalid-argument", "params.lam", "outside its bounds, 0 to 1000"),
    "negative": ({"params": {"eta": -0.1}}, "invalid-argument", "params.eta", "outside its bounds, 0 to 1000"),
    "nothing where something must be": ({"params": {"m2": 0}}, "invalid-argument", "params.m2", "above 0 to 1000"),
    "elliptic by tau": ({"params": {"tau": 0}}, "invalid-argument", "params.tau", "set settings.geometry to elliptic"),
    "four dimensions": ({"grid": {"n": 32, "d": 4}}, "invalid-argument", "grid.d", "1, 2 or 3"),
    "no dimension": ({"grid": {"n": 32, "d": 0}}, "invalid-argument", "grid.d", "1, 2 or 3"),
    "a cube too large": ({"grid": {"n": 256, "d": 3}}, "resource-exhausted", "grid.n", "2,147,483,648 are allowed"),
    "wave of a plane in a cube": (
        {"grid": {"d": 3}, "settings": {"initial": {"kind": "plane_wave", "modes": [1, 0]}}},
        "invalid-argument",
        "settings.initial.modes",
        "takes 3 mode numbers, not 2",
    ),
    "odd": ({"grid": {"n": 65}}, "invalid-argument", "grid.n", "even and have no prime factor above 5. Near it is 72"),
    "a factor of 7": ({"grid": {"n": 14}}, "invalid-argument", "grid.n", "Near it is 16"),
    "tiny": ({"grid": {"n": 6}}, "invalid-argument", "grid.n", "8 to 4096 points"),
    "huge": ({"grid": {"n": 5000}}, "invalid-argument", "grid.n", "8 to 4096 points"),
    "no box": ({"grid": {"l": 0}}, "invalid-argument", "grid.l", "above 0 and at most 1e+06"),
    "box without end": ({"grid": {"l": 1e9}}, "invalid-argument", "grid.l", "above 0 and at most 1e+06"),
    "no steps": ({"steps": 0}, "invalid-argument", "steps", "1 to 10,000,000"),
    "too many steps": ({"steps": 10_000_001}, "invalid-argument", "steps", "1 to 10,000,000"),
    "no time": ({"dt": 0}, "invalid-argument", "dt", "above 0, and 10 at most"),
    "too much time": ({"dt": 11}, "invalid-argument", "dt", "above 0, and 10 at most"),
    "negative seed": ({"seed": -1}, "invalid-argument", "seed", "0 to 9,007"),
    "no snapshot": ({"settings": {"snapshots": 0}}, "invalid-argument", "settings.snapshots", "1 to 64"),
    "too many snapshots": ({"settings": {"snapshots": 65}}, "invalid-argument", "settings.snapshots", "1 to 64"),
    "a ring's depth for a gaussian": ({"params": {"a": 0.5}}, "invalid-argument", "params.a", "set settings.kernel to ring"),
    "a ring without depth": ({"settings": {"kernel": "ring"}}, "invalid-argument", "params.a", "above 0 to 0.99"),
    "spiral on a line": (
        {"grid": {"d": 1}, "settings": {"initial": {"kind": "spiral"}}},
        "invalid-argument",
        "settings.initial.kind",
        "2 dimensions",
    ),
    "start of no size": (
        {"settings": {"initial": {"kind": "noise", "amplitude": 0}}},
        "invalid-argument",
        "settings.initial.amplitude",
        "above 0, and 1000 at most",
    ),
    "waves of noise": (
        {"settings": {"initial": {"kind": "noise", "modes": [1, 0]}}},
        "invalid-argument",
        "settings.initial.modes",
        "plane_wave",
    ),
    "wave for another grid": (
        {"settings": {"initial": {"kind": "plane_wave", "modes": [1]}}},
        "invalid-argument",
        "settings.initial.modes",
        "takes 2 mode numbers, not 1",
    ),
    "wave outside the band": (
        {"settings": {"initial": {"kind": "plane_wave", "modes": [16, 0]}}},
        "invalid-argument",
        "settings.initial.modes",
        "-15 to 15",
    ),
    "bump without a width": (
        {"settings": {"pump": {"shape": "gaussian", "amplitude": 1}}},
        "invalid-argument",
        "settings.pump.width",
        "above 0 and at most",
    ),
    "plane pump without waves": (
        {"settings": {"pump": {"shape": "plane", "amplitude": 1}}},
        "invalid-argument",
        "settings.pump.k",
        "2 mode numbers",
    ),
    "pump too strong": (
        {"settings": {"pump": {"shape": "plane", "amplitude": 1e4, "k": [1, 0]}}},
        "invalid-argument",
        "settings.pump.amplitude",
        "-1000 to 1000",
    ),
    "too much memory": ({"grid": {"n": 4096}}, "resource-exhausted", "grid.n", "2,147,483,648 are allowed"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_computed_is_refused_with_its_bound(case: str) -> None:
    asked, code, path, words = REFUSED[case]
    with pytest.raises(Refused) as refused:
        chunk(**asked)
    assert refused.value.code == code
    assert [field for field, _ in refused.value.fields] == [path]
    assert words in refused.value.detail


def test_libraries_have_their_room_before_fields_do() -> None:
    assert model.room_bytes(4 << 30) == (4 << 30) - (768 << 20)
    assert model.room_bytes(1 << 30) == 256 << 20, "the least that a worker may have"


def test_an_unknown_parameter_names_the_nearest_for_programs_too() -> None:
    with pytest.raises(Refused) as refused:
        model.checked({"kapa": 1.0})
    assert refused.value.data is not None and refused.value.data["nearest"][0] == "kappa"


@pytest.mark.parametrize("value", [True, "1", None, [1.0], math.nan, math.inf, -math.inf])
def test_what_is_no_finite_number_is_refused_with_the_bound(value: Any) -> None:
    with pytest.raises(Refused, match="finite number, -1000 to 1000"):
        model.checked({"c3": value})


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("path", [("dt",), ("grid", "l"), ("params", "eps"), ("settings", "pump", "amplitude")])
def test_no_number_without_end_comes_in_from_a_caller(path: tuple[str, ...], value: float) -> None:
    asked: dict[str, Any] = {"settings": {"pump": {"shape": "plane", "k": [1, 0]}}} if path[-1] == "amplitude" else {}
    inner = asked
    for name in path[:-1]:
        inner = inner.setdefault(name, {})
    inner[path[-1]] = value
    with pytest.raises((Refused, msgspec.ValidationError)):
        chunk(**asked)


# --- what is taken ----------------------------------------------------------------------------------------------------------


def test_a_chunk_holds_every_number_it_is_computed_from() -> None:
    made = chunk(params={"eps": 0.9, "alpha": -0.0}, grid={"n": 32}, steps=7, seed=3)
    (lane,) = made.lanes
    assert lane.params == {**model.DEFAULTS, "eps": 0.9, "alpha": 0.0} and list(lane.params) == sorted(model.DEFAULTS)
    assert math.copysign(1, lane.params["alpha"]) == 1, "a negative zero would come back from the log as another bit"
    assert (made.grid, made.steps, made.targets, lane.seed) == (Grid(32, 40.0, 2), 7, 5, 3)
    assert made.dt == model.suggested_dt(lane.params) > 0


def test_the_control_model_has_its_own_parameters_and_no_geometry() -> None:
    made = chunk(model="fmia", params={"D": 2.0}, grid={"n": 16, "d": 3})
    (lane,) = made.lanes
    assert made.model == "fmia" and made.settings.geometry == "off" and set(lane.params) == set(model.WAVE_PARAMETERS)
    assert lane.params["D"] == 2.0 and made.dt == model.suggested_dt(lane.params, "fmia")


@pytest.mark.parametrize("geometry", ["coevolve", "elliptic", "off"])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_every_geometry_is_taken_in_every_number_of_dimensions(geometry: Any, d: int) -> None:
    made = chunk(grid={"n": 16, "d": d}, settings={"geometry": geometry})
    assert kernels.check(kernels.Signature(dimensions=d, points=16, geometry=made.settings.geometry), {}, made.steps) == []


def test_all_that_the_model_takes_at_its_bounds_the_kernels_take_too() -> None:
    for one in model.PARAMETERS.values():
        for value in (one.high, one.low if not one.above else (one.low + one.high) / 2):
            own = model.checked({one.name: value})
            named = {KERNEL_NAMES.get(name, name): number for name, number in own.items()}
            assert kernels.check(kernels.Signature(), named, 1) == [], one.name


@given(number=st.integers(model.POINTS_MIN, 600))
def test_a_grid_is_taken_exactly_when_the_kernels_take_it(number: int) -> None:
    try:
        model.check_grid(Grid(number))
        taken = True
    except Refused:
        taken = False
    assert taken == (kernels.check(kernels.Signature(points=number), {}, 1) == [])
