"""The space of a hunt: the unit cube and back, and what can never be searched."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.engine import Refused
from core.hunt.space import COMPLAINTS_MAX, DEFAULT, Parameter, Range, Space, space

BOUNDS = {
    **{each.name: (-10.0, 10.0) if each.low < 0 else (0.0, 10.0) for each in DEFAULT.parameters},
    "lam5": (0.0, 10.0),
}
UNIT = st.floats(0, 1)
INF = math.inf


def test_the_default_space_is_the_documented_one():
    assert {each.name: (each.low, each.high) for each in DEFAULT.parameters} == {
        "eps": (0.3, 1.5), "lam": (0.5, 2), "b3": (0.5, 1.5), "c3": (-1.5, 1.5), "g_nl": (-0.3, 3), "sigma": (0.5, 8),
        "a": (0, 0.9), "r": (0.3, 0.8), "kappa": (0.1, 1), "eta": (0.1, 1), "alpha": (-1, 1), "rho_vac": (0.5, 2),
        "D_g": (0.5, 2), "m2": (0.3, 2),
    }  # fmt: skip
    assert {each.name for each in DEFAULT.parameters if each.scale == "log"} == {
        each.name for each in DEFAULT.parameters if each.low > 0 and each.high >= 4 * each.low
    }


def test_the_default_space_could_be_asked_for():
    assert space(DEFAULT.ranges(), BOUNDS) == DEFAULT


@given(st.lists(UNIT, min_size=len(DEFAULT), max_size=len(DEFAULT)))
def test_a_point_lies_within_the_bounds_and_leads_back(unit):
    point = DEFAULT.point(unit)
    assert all(each.low <= point[each.name] <= each.high for each in DEFAULT.parameters)
    assert DEFAULT.unit(point) == pytest.approx(unit, abs=1e-14)


@given(
    st.sampled_from(["linear", "log"]),
    st.floats(1e-300, 1e300),
    st.floats(1e-300, 1e300),
    st.one_of(UNIT, st.sampled_from([0.0, 1.0, math.nextafter(1.0, 0), 5e-324])),
)
def test_no_rounding_leads_out(scale, one, other, unit):
    low, high = sorted((one, other))
    if low < high:
        (parameter,) = space({"eps": Range(low, high, scale)}, {"eps": (0.0, 1e308)}).parameters
        assert low <= parameter.value(unit) <= high
        assert 0 <= parameter.unit(parameter.value(unit)) <= 1
        assert (parameter.value(0.0), parameter.value(1.0)) == (low, high)


def test_neighbouring_floats_are_a_range_too():
    for scale, high in (("log", math.nextafter(1e100, INF)), ("linear", 5e-324)):
        low = math.nextafter(high, 0)
        (parameter,) = (
            space({"eps": Range(low, high, scale)}, {"eps": (0.0, INF)}).parameters if low else (Parameter("eps", low, high),)
        )
        assert [parameter.value(unit) for unit in (0.0, 1.0)] == [low, high]
        assert 0 <= parameter.unit(low) <= parameter.unit(high) <= 1


def test_what_lies_outside_comes_to_the_edge():
    assert DEFAULT.unit({**DEFAULT.point([0.5] * len(DEFAULT)), "eps": -1.0, "a": 7.0})[:7:6] == (0.0, 1.0)


def test_the_middle_is_the_mean_or_on_the_log_scale_the_geometric_mean():
    made = space({"a": Range(0.2, 0.8), "sigma": Range(0.5, 8.0, "log")}, BOUNDS)
    assert made.point([0.5, 0.5]) == pytest.approx({"sigma": 2.0, "a": 0.5})


def test_widest_bounds_do_not_overflow():
    (parameter,) = space({"c3": Range(-1.7e308, 1.7e308)}, {"c3": (-math.inf, math.inf)}).parameters
    assert [parameter.value(unit) for unit in (0, 0.5, 1)] == [-1.7e308, 0, 1.7e308]
    assert parameter.unit(0.0) == 0.5


def test_the_order_of_the_coordinates_is_the_models():
    one = space({"sigma": Range(1, 2), "eps": Range(0.5, 1), "lam5": Range(0, 1)}, BOUNDS)
    other = space({"lam5": Range(0, 1), "eps": Range(0.5, 1), "sigma": Range(1, 2)}, BOUNDS)
    assert one == other
    assert [each.name for each in one.parameters] == ["eps", "sigma", "lam5"]


def refusal(wanted: dict[str, Range]) -> Refused:
    with pytest.raises(Refused) as refused:
        space(wanted, BOUNDS)
    assert (refused.value.code, refused.value.reason) == ("invalid-argument", "space")
    return refused.value


def test_tau_is_refused_by_name_with_its_reason():
    found = refusal({"tau": Range(0.001, 1.0), "eps": Range(0.5, 1)})
    assert [at for at, _ in found.fields] == ["space.tau"]
    assert "shrinks with tau" in found.detail and "setting" in found.detail and "Set it for the whole hunt" in found.detail


def test_tau_is_refused_also_where_the_model_has_it():
    with pytest.raises(Refused, match="shrinks with tau"):
        space({"tau": Range(0.001, 1.0)}, {**BOUNDS, "tau": (0.0, 10.0)})


@pytest.mark.parametrize("name", ["L", "N", "dt", "steps", "seed"])
def test_a_setting_of_the_runs_is_not_searched(name):
    assert f"{name} is a setting" in refusal({name: Range(1, 2)}).detail


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"sigmma": Range(1, 2)}, ("no such parameter", "Did you mean sigma?")),
        ({"qqqq": Range(1, 2)}, ("no such parameter", "It has eps, lam")),
        ({"eps": Range(math.nan, 1)}, ("no end", "two finite numbers")),
        ({"eps": Range(0.1, math.inf)}, ("no end", "two finite numbers")),
        ({"eps": Range(1.5, 0.3)}, ("not below", "Write low 0.3, high 1.5")),
        ({"eps": Range(1.0, 1.0)}, ("nothing lies between", "leave it out of the space")),
        ({"a": Range(0.0, 0.5, "log")}, ("no logarithm", "scale linear")),
        ({"c3": Range(-1.0, 0.5, "log")}, ("no logarithm", "scale linear")),
        ({"eps": Range(0.5, 10.1)}, ("leaves what the model takes", "within 0.0 … 10.0")),
        ({"eps": Range(-0.1, 1.0)}, ("leaves what the model takes", "within 0.0 … 10.0")),
        ({}, ("names no parameter", "Leave it out for the default")),
    ],
)
def test_what_cannot_be_searched_is_refused_with_what_to_do(wanted, said):
    found = refusal(wanted)
    assert all(words in found.detail for words in said), found.detail


def test_all_faults_are_told_at_once_but_no_more_than_a_person_reads():
    found = refusal({"eps": Range(1.5, 0.3), "lam": Range(0.5, 1), "tau": Range(0, 1)})
    assert [at for at, _ in found.fields] == ["space.eps", "space.tau"]
    assert len(refusal({f"x{number}": Range(0, 1) for number in range(1_000)}).fields) == COMPLAINTS_MAX


def test_a_point_of_another_length_is_our_own_mistake():
    with pytest.raises(ValueError):
        Space(DEFAULT.parameters[:3]).point([0.5, 0.5])
