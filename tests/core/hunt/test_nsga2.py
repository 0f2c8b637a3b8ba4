"""NSGA-II: who survives, who mates, and what children are like. The functions searched here use nothing but + - * /."""

import hashlib
import math
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.hunt import nsga2
from core.hunt.draws import Draws, draws
from core.hunt.nsga2 import DIVERGED, NO_PEAKS, REAL_SCORE, Individual, Ranked, first, offspring, select

INF, NAN = math.inf, math.nan


def bowls(unit: tuple[float, ...]) -> Individual:
    """Two bowls; some of the cube has no score."""
    if sum(unit) > 0.8 * len(unit):
        return Individual(unit, (INF, INF), DIVERGED)
    if unit[0] < 0.05:
        return Individual(unit, (INF, unit[1]), NO_PEAKS)
    near, far = sum((x - 0.2) * (x - 0.2) for x in unit), sum((x - 0.7) * (x - 0.7) for x in unit)
    return Individual(unit, (near, far))


def generation(population: list[Individual], seed: int, number: int, size: int, dim: int) -> list[Individual]:
    """What a hunt does: it keeps nothing but the population."""
    if not population:
        return [bowls(unit) for unit in first(dim, size, draws(seed, 0))]
    children = offspring(select(population, size), size, draws(seed, number))
    everybody = population + [bowls(child.unit) for child in children]
    return [everybody[each.index] for each in select(everybody, size)]


def hunted(seed: int, generations: int, size: int = 10, dim: int = 4) -> list[Individual]:
    population: list[Individual] = []
    for number in range(generations):
        population = generation(population, seed, number, size, dim)
    return population


def alone(unit: tuple[float, ...], rank: int = 0, crowding: float = 0.0) -> Ranked:
    return Ranked(0, rank, crowding, unit)


# --- survival


def test_more_feasible_first_then_the_front_then_the_less_crowded_then_the_index():
    given = [
        Individual((0.0,), (0.0, 0.0), DIVERGED),
        Individual((0.1,), (0.0, 0.0), NO_PEAKS),
        Individual((0.2,), (5.0, 5.0)),
        Individual((0.3,), (1.0, 4.0)),
        Individual((0.4,), (2.0, 3.0)),
        Individual((0.5,), (3.5, 1.5)),
        Individual((0.6,), (4.0, 1.0)),
        Individual((0.7,), (NAN, 0.0)),
    ]
    found = select(given, 8)
    assert [each.index for each in found] == [3, 6, 4, 5, 2, 7, 1, 0]
    assert [each.rank for each in found] == [0, 0, 0, 0, 1, 2, 3, 4]
    assert [each.unit for each in found] == [given[each.index].unit for each in found]
    assert [each.index for each in select(given, 3)] == [3, 6, 4]


def test_equal_scores_survive_by_index_and_distinct_ones_before_copies():
    given = [Individual((number / 10,), objectives) for number, objectives in enumerate([(1.0, 2.0)] * 3 + [(2.0, 1.0)] * 2)]
    assert [each.index for each in select(given, 3)] == [0, 3, 1]
    assert [each.index for each in select(given, 2)] == [0, 3]


def test_fewer_than_asked_for_all_survive():
    assert [each.index for each in select([bowls((0.5, 0.5))], 10)] == [0]
    assert select([], 10) == []


SCORES = st.tuples(st.integers(0, 6) | st.sampled_from([INF, NAN]), st.integers(0, 6), st.integers(0, 6))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(SCORES, st.integers(0, 2)), min_size=1, max_size=30), st.integers(6, 12))
def test_the_best_is_never_lost(scores, size):
    given = [Individual((0.5,), tuple(map(float, objectives)), feasibility) for objectives, feasibility in scores]
    kept = [given[each.index] for each in select(given, size)]
    assert len(kept) == min(size, len(given)) == len({each.index for each in select(given, size)})
    scored = [each for each in given if each.feasibility == REAL_SCORE and not any(map(math.isnan, each.objectives))]
    for objective in range(3):
        finite = [each.objectives[objective] for each in scored if math.isfinite(each.objectives[objective])]
        if finite:
            assert min(finite) in [each.objectives[objective] for each in kept]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 20), st.integers(1, 3))
def test_without_ties_the_order_of_the_input_does_not_matter(seed, size, objectives):
    chance = random.Random(seed)
    given = [Individual((chance.random(),), tuple(chance.random() for _ in range(objectives))) for _ in range(25)]
    mixed = chance.sample(given, len(given))
    assert {given[each.index] for each in select(given, size)} == {mixed[each.index] for each in select(mixed, size)}


# --- mating


def test_a_better_one_wins_every_duel_but_those_it_is_not_in():
    """Ten duellists, each in two duels: the best wins both of its own, the worst none, and every front is told apart."""
    population = [
        alone((number / 10,), rank, crowding)
        for number, (rank, crowding) in enumerate([(1, 5.0), (0, 1.0), (0, INF), (1, 5.0), (2, INF)])
    ]
    order = [2, 1, 0, 3, 4]
    standing = nsga2._standing(population)
    assert sorted(range(5), key=lambda place: standing[place]) == order
    for seed in range(50):
        stream, again = draws(seed, 0), draws(seed, 0)
        winners = nsga2._tournament(standing, 5, stream).tolist()
        duels = [place for _ in range(2) for place in again.order(5).tolist()]
        assert winners == [min(duels[at : at + 2], key=order.index) for at in range(0, 10, 2)]


def test_parents_are_named_and_where_nothing_was_crossed_or_mutated_the_child_is_like_one_of_them():
    population = [alone(tuple(draws(1, number).uniform(30).tolist())) for number in range(10)]
    shared = 0
    for child in offspring(population, 200, draws(3, 1)):
        parents = [population[child.parent_a].unit, population[child.parent_b].unit]
        shared += sum(value in {parent[place] for parent in parents} for place, value in enumerate(child.unit))
    assert 0.6 < shared / (200 * 30) < 0.8  # 1 - .9 × .3 of spreading, less 1/30 of mutation


COORDINATE = st.sampled_from([0.0, 1.0, 5e-324, 0.5, math.nextafter(1, 0)]) | st.floats(0, 1)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(COORDINATE, COORDINATE, COORDINATE), min_size=1, max_size=6),
    st.integers(0, 2**64 - 1),
    st.integers(0, 41),
)
def test_children_never_leave_the_cube(units, seed, size):
    population = [alone(unit, rank=number) for number, unit in enumerate(units)]
    children = offspring(population, size, draws(seed, 1))
    assert len(children) == size
    assert all(0.0 <= value <= 1.0 for child in children for value in child.unit)
    assert all(0 <= parent < len(units) for child in children for parent in (child.parent_a, child.parent_b))


class Extreme(Draws):
    """Everything that may happen happens, and the distances are as great as chance can make them."""

    def __init__(self) -> None:
        self.calls = 0

    def uniform(self, *shape):
        import numpy as np

        self.calls += 1
        return np.full(shape, 1 - 2.0**-53 if self.calls == 3 else 0.0)


def test_the_greatest_distance_ends_at_the_bound_whatever_is_rounded():
    parents = draws(1, 1).uniform(5_000, 2, 6)
    children = nsga2._crossed(parents, Extreme())
    assert 0.0 <= children.min() < 1e-12 and 1 - 1e-12 < children.max() <= 1.0


def test_no_child_is_a_copy_while_there_is_anything_new():
    population = [alone((0.5, 0.5, 0.5)), alone((0.25, 0.5, 0.5))]
    units = [child.unit for child in offspring(population, 60, draws(1, 1))]
    assert len({*units, (0.5, 0.5, 0.5), (0.25, 0.5, 0.5)}) == 62


def test_the_first_generation_leaves_no_part_of_a_range_out():
    for size in (1, 2, 10, 37):
        units = first(5, size, draws(9, 0))
        assert all(sorted(int(unit[k] * size) for unit in units) == list(range(size)) for k in range(5))
        assert all(0 <= value <= 1 for unit in units for value in unit)


# --- the distributions, near a bound and away from it


def cumulated(values: list[float], exact) -> float:
    """Kolmogorov's distance between what was drawn and the exact distribution."""
    values = sorted(values)
    count = len(values)
    return max(max(abs(exact(x) - i / count), abs(exact(x) - (i + 1) / count)) for i, x in enumerate(values))


@pytest.mark.parametrize("start", [0.0, 0.02, 0.5, 0.9, 1.0])
def test_mutation_has_the_bounded_distribution_and_heaps_nothing_up_at_the_bounds(start):
    """Of a distance d of all the room on one side, the density falls as (1 - d)^20 and ends at the bound."""
    import numpy as np

    count = 20_000
    after = nsga2._mutated(np.full((count, 1), start), draws(2, 1))[:, 0].tolist()  # one coordinate: always hit

    def exact(x: float) -> float:
        if x < start:
            return 0.5 * ((1 - start + x) ** 21 - (1 - start) ** 21) / (1 - (1 - start) ** 21)
        return 0.5 + 0.5 * (1 - (1 - (x - start)) ** 21) / (1 - start**21) if start < 1 else 1.0

    moved = [value for value in after if value != start]
    if 0 < start < 1:
        assert cumulated(after, exact) < 1.63 / math.sqrt(count)  # 1 % level
    else:
        # There is room on one side only: every second one stays, and the others are spread.
        inner = [abs(value - start) for value in moved]
        assert len(moved) / count == pytest.approx(0.5, abs=0.02)
        assert cumulated(inner, lambda x: 1 - (1 - x) ** 21) < 1.63 / math.sqrt(len(inner))
    assert sum(value in (0.0, 1.0) for value in moved) == 0


@pytest.mark.parametrize(("low", "high"), [(0.4, 0.6), (0.01, 0.3), (0.0, 1.0), (0.9, 0.95)])
def test_crossover_has_the_bounded_distribution_and_heaps_nothing_up_at_the_bounds(low, high):
    """Of b half distances from the middle, the density is that of b^15 inside and b^-17 outside, cut at the bound."""
    import numpy as np

    count = 20_000
    half = (high - low) / 2
    for room, sign, centre in ((low, -1, low), (1 - high, 1, high)):
        spread = nsga2._spread(draws(3, 1).uniform(count), np.full(count, room), np.full(count, half))
        end = (half + room) / half
        whole = 1 - 0.5 * end**-16

        def exact(b: float, whole: float = whole) -> float:
            return (0.5 * b**16 if b <= 1 else 1 - 0.5 * b**-16) / whole

        assert cumulated(spread.tolist(), exact) < 1.63 / math.sqrt(count)
        assert float(spread.max()) <= end * (1 + 1e-15)
        if room:
            assert not (centre - sign * half + sign * half * spread == (0.0 if sign < 0 else 1.0)).any()


def test_roots_are_right_to_the_last_bits():
    import numpy as np

    x = np.concatenate([draws(1, 1).uniform(2_000), 2.0 ** -np.arange(0, 64.0)])
    x = x[x > 0]
    for root, exponent in ((nsga2._root16, 16), (nsga2._root21, 21)):
        assert np.max(np.abs(root(x) / np.array([math.pow(value, 1 / exponent) for value in x]) - 1)) < 2e-15
    assert np.allclose(nsga2._power21(x), x**21, rtol=1e-14, atol=0)


# --- a whole hunt


def test_the_same_seed_is_the_same_hunt_and_another_one_another():
    assert hunted(5, 8) == hunted(5, 8) != hunted(6, 8)


def test_one_that_went_on_later_ends_as_one_that_was_never_interrupted():
    whole = hunted(5, 12)
    for stop in (1, 4, 11):
        population = hunted(5, stop)
        for number in range(stop, 12):
            population = generation(population, 5, number, 10, 4)
        assert population == whole


def test_every_machine_hunts_alike():
    """Pinned: products, sums, quotients and square roots are rounded alike everywhere, and the bits are Philox's."""
    digest = hashlib.sha256()
    for individual in hunted(2026, 15, size=20, dim=12):
        digest.update(struct.pack("<12d", *individual.unit))
    assert digest.hexdigest() == "dc292b53e81e8cb85c452fe5502c02f3cce476efdf20cdc563b6c5f16fcc5253"


def test_no_objective_gets_worse_and_every_survivor_becomes_feasible():
    population: list[Individual] = []
    best = [INF, INF]
    for number in range(20):
        population = generation(population, 4, number, 20, 6)
        real = [each.objectives for each in population if each.feasibility == REAL_SCORE]
        now = [min(each[k] for each in real) for k in range(2)]
        assert all(a <= b for a, b in zip(now, best, strict=True))
        best = now
    assert len(real) == 20
