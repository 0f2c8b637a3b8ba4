"""Rules of choosing an action: terms that count different things, weights that only weigh, bounds that no price buys."""

import math
import random

import numpy as np
import pytest

from core.energy.act import (
    GOALS,
    TRIFLE_J,
    Candidate,
    Habits,
    Judged,
    Plant,
    candidates,
    expected_above,
    judge,
    waiting,
)

SEED = Plant(servers=12, utilisation=0.68)
SEED_CONSTRAINTS = {"max_latency_ms": 100.0, "min_throughput": 1000.0}


def judged(
    plant: Plant, constraints: dict[str, float], weights: tuple[float, float, float] | None = None, **more: object
) -> list[Judged]:
    told = {"horizon_s": 300.0, "unserved_j": 2_000.0, "habits": {}, **more}
    return judge(plant, "minimize_energy", constraints, candidates(plant, constraints), weights=weights, **told)  # type: ignore[arg-type]


def drawn(draw: random.Random) -> Plant:
    servers = draw.randrange(1, 40)
    utilisation = draw.uniform(0.05, 1.0)
    return Plant(
        servers,
        utilisation,
        load_spread=draw.uniform(0.0, 0.3) * servers,
        idle_w=draw.uniform(40, 150),
        max_w=draw.uniform(200, 500),
        deferrable=draw.choice([None, 0.2]),
        elsewhere=draw.choice([None, 2]),
    )


def test_the_sources_example_scales_down_to_ten() -> None:
    best, *others = judged(SEED, SEED_CONSTRAINTS)
    assert (best.candidate.type, best.candidate.servers, best.allowed) == ("scale_down", 10, True)
    assert best.terms.energy_j < 0 and best.provenance == "surrogate"
    assert [bound.provenance for bound in best.bounds] == ["surrogate", "surrogate"]
    assert sum(each.candidate.type == "hold" for each in others) == 1
    # One server fewer still would break the bounds at the pessimistic load: it is not even chosen when it is named.
    nine = judge(
        SEED, "minimize_energy", SEED_CONSTRAINTS, [Candidate("scale_down", 9, SEED.load)], horizon_s=300, unserved_j=1, habits={}
    )
    assert not nine[0].allowed


def test_weights_only_weigh() -> None:
    draw = random.Random(5)
    for _ in range(200):
        plant = drawn(draw)
        weights = (draw.uniform(0.1, 3), draw.uniform(0.1, 9), draw.uniform(0.1, 5))
        plain = judged(plant, {}, weights)
        assert [each.candidate for each in judged(plant, {}, tuple(7 * weight for weight in weights))] == [  # type: ignore[arg-type]
            each.candidate for each in plain
        ]
        for place in range(3):
            without = tuple(0.0 if place == other else weight for other, weight in enumerate(weights))
            for one in judged(plant, {}, without):  # type: ignore[arg-type]
                same = next(each for each in plain if each.candidate == one.candidate)
                assert one.cost_j == pytest.approx(same.cost_j - weights[place] * same.terms[place], abs=1e-6)
                assert one.terms == same.terms


def test_what_was_often_undone_never_ranks_better_for_it() -> None:
    draw = random.Random(6)
    worse = 0
    for _ in range(200):
        plant = drawn(draw)
        ranks = []
        for undone in (0, 50, 100):
            order = [each.candidate for each in judged(plant, {}, habits={"scale_down": Habits(undone, 100)})]
            ranks.append(min((place for place, each in enumerate(order) if each.type == "scale_down"), default=0))
        assert ranks == sorted(ranks)
        worse += ranks[0] < ranks[-1]
    assert worse > 5


def test_the_terms_are_separate_and_each_matters() -> None:
    draw = random.Random(7)
    rows, changed = [], [0, 0, 0]
    for _ in range(1_000):
        plant = drawn(draw)
        found = judged(plant, {})
        rows += [each.terms for each in found if each.candidate.type != "hold"]
        for place in range(3):
            without = tuple(0.0 if place == other else 1.0 for other in range(3))
            changed[place] += judged(plant, {}, without)[0].candidate != found[0].candidate  # type: ignore[arg-type]
    assert np.linalg.cond(np.corrcoef(np.array(rows).T)) < 30
    assert min(changed) >= 10, changed


def test_the_price_of_uncertainty_knows_nothing_of_heat() -> None:
    """Lost heat is energy again, and would be counted twice: servers that draw three times as much leave the same work undone."""
    draw = random.Random(9)
    for _ in range(100):
        plant = drawn(draw)
        thirsty = plant._replace(idle_w=3 * (plant.idle_w or 0), max_w=3 * (plant.max_w or 0))
        plain = {each.candidate: each.terms for each in judged(plant, {})}
        for each in judged(thirsty, {}):
            assert each.terms.entropy_j == plain[each.candidate].entropy_j
            assert each.terms.energy_j == pytest.approx(3 * plain[each.candidate].energy_j)


def test_no_price_buys_a_broken_bound() -> None:
    draw = random.Random(8)
    kept_out = 0
    for _ in range(300):
        plant = drawn(draw)
        least = draw.randrange(1, 40)
        order = judged(plant, {"min_replicas": float(least), "max_replicas": float(least + 3)})
        firsts = [each.allowed for each in order]
        assert firsts == sorted(firsts, reverse=True)
        assert all(least <= each.candidate.servers <= least + 3 for each in order if each.allowed)
        kept_out += not order[0].allowed or any(not each.allowed and each.cost_j < order[0].cost_j for each in order)
    assert kept_out > 50


def test_a_bound_on_what_nobody_measured_is_unknown_and_lets_nothing_through() -> None:
    for name in ("power_cap_w", "temperature_c_max"):
        found = judged(SEED, {name: 1e6})
        assert {bound.standing for each in found for bound in each.bounds} == {"unknown"}
        assert not any(each.allowed for each in found)
    warm = SEED._replace(temperature_c=60.0, ambient_c=20.0, idle_w=100.0, max_w=250.0)
    temperatures = {each.candidate.servers: each.bounds[0].value for each in judged(warm, {"temperature_c_max": 70.0})}
    assert temperatures[10] > temperatures[11] > temperatures[13] > temperatures[14]  # type: ignore[operator]


def test_only_what_changes_something_has_to_wait() -> None:
    found = judged(SEED._replace(since_change_s=30.0), {"cooldown_s": 60.0})
    assert [each.candidate.type for each in found if each.allowed] == ["hold"]
    assert judged(SEED._replace(since_change_s=61.0), {"cooldown_s": 60.0})[0].candidate.type == "scale_down"


def test_a_cap_on_power_is_met_and_costs_work() -> None:
    plant = Plant(10, 0.9, load_spread=0.2, idle_w=100, max_w=300)
    found = {each.candidate.type: each for each in judged(plant, {"power_cap_w": 2_000.0})}
    assert found["hold"].bounds[0].standing == "broken" and found["cap_power"].allowed
    assert found["cap_power"].power_w == 2_000.0
    assert found["cap_power"].terms.entropy_j == pytest.approx(300 * 2_000 * expected_above(9.0, 0.2, 5.0))


@pytest.mark.parametrize(("mean", "spread", "limit"), [(5.0, 1.0, 5.0), (3.0, 0.5, 4.0), (9.0, 2.0, 4.0), (2.0, 0.0, 1.5)])
def test_expected_work_above_a_limit_is_the_integral(mean: float, spread: float, limit: float) -> None:
    z = np.linspace(-12, 12, 200_001)
    density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    by_hand = float(np.sum(np.maximum(mean + spread * z - limit, 0) * density) * (z[1] - z[0]))
    assert expected_above(mean, spread, limit) == pytest.approx(by_hand, abs=1e-6)


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (2, 1.5), (5, 4.0), (12, 8.16)])
def test_the_wait_is_that_of_the_birth_and_death_chain(servers: int, load: float) -> None:
    """By Little's law from the stationary distribution, cut off where nothing is left."""
    weights = [1.0]
    for state in range(1, 4_000):
        weights.append(weights[-1] * load / min(state, servers))
    queue = sum((state - servers) * weight for state, weight in enumerate(weights) if state > servers) / sum(weights)
    assert waiting(servers, load, float(servers)) == pytest.approx(queue / load, rel=1e-9)
    assert waiting(servers, float(servers), float(servers)) == math.inf


def test_every_goal_has_weights_and_hold_is_always_among_the_candidates() -> None:
    for goal in GOALS:
        found = judge(SEED, goal, {}, candidates(SEED, {}), horizon_s=300, unserved_j=1, habits={})
        hold = next(each for each in found if each.candidate.type == "hold")
        assert hold.terms[0] == hold.terms[2] == 0.0


def test_a_millionth_of_a_joule_of_work_unserved_is_none() -> None:
    """Else every record held digits of a bell curve's far tail, which mean nothing and cannot be written quickly."""
    unserved = {each.candidate.servers: each.terms[1] for each in judged(SEED, SEED_CONSTRAINTS)}
    assert set(unserved.values()) == {0.0}
    full = Plant(12, 0.97, load_spread=1.0)
    missed = {each.candidate.servers: each.terms[1] for each in judged(full, {})}
    assert missed[10] > missed[11] > missed[12] > TRIFLE_J, "but what is missed counts"
