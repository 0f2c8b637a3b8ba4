"""How unusual a point is, and the scorers that judge it against labels."""

import numpy as np
import pytest

from benchmarks import detect, score
from core.energy import unusual
from core.energy.columns import adopt, advance
from core.energy.layout import Store


def levels(values: np.ndarray) -> np.ndarray:
    """Of each stream, smoothed, tick by tick."""
    store = Store()
    rows = np.array([store.add() for _ in range(values.shape[1])])
    level, found = np.zeros(len(rows)), np.zeros_like(values)
    for tick, line in enumerate(values):
        level = unusual.stream_level(level, unusual.tails(store.take(rows), np.full(len(rows), float(tick)), line).stream)
        found[tick] = level
        adopt(store, advance(store, rows, np.full(len(rows), float(tick)), line))
    return found


def test_noise_is_hardly_ever_unusual_and_what_lasts_a_little_is() -> None:
    values = np.random.default_rng(1).normal(size=(800, 24)) + 5
    values[700:706] += 12
    found = levels(values)
    assert (found[:700] > unusual.STREAM_THRESHOLD).mean() < 1e-3
    assert (found[700:706].max(axis=0) > unusual.STREAM_THRESHOLD).all()
    assert (found[:64] == 0).all()


def test_nothing_is_unusual_about_a_constant_until_it_moves() -> None:
    values = np.full((200, 1), 3.0)
    values[150] = 4.0
    found = levels(values)
    assert found[:150].max() == 0 and found[150, 0] > 1


def test_the_tail_is_that_of_students_distribution() -> None:
    """1 − F(t) of four degrees of freedom, from tables: 2.776 leaves 5 %, 4.604 leaves 1 %, 8.610 leaves 0.1 %."""
    found = unusual._tail(np.array([2.776, 4.604, -8.610, 0.0]), np.ones(4))
    assert found == pytest.approx([1.30103, 2.0, 3.0, 0.0], abs=1e-3)
    assert np.isfinite(unusual._tail(np.array([1e30, 1.0]), np.array([1e-30, 0.0]))).all()


@pytest.mark.parametrize("streams", [1, 4])
def test_one_threshold_holds_for_every_file(streams: int) -> None:
    """A threshold of each file's own would find as much in a file where nothing is unusual as in one where much is."""
    scores = np.abs(np.random.default_rng(5).normal(size=(3_000, streams)))
    scores[2_000:2_040] *= 3
    quiet, loud = (detect.told(scores * times) for times in (0.1, 2.0))
    assert sum(quiet) == 0 and sum(loud) > 0


WINDOWS = [[(1_000, 1_100), (3_000, 3_100)], [(2_000, 2_200)]]
TICKS = [5_000, 5_000]


def test_silence_is_worth_nothing_and_the_first_tick_of_every_window_a_hundred() -> None:
    assert score.nab(WINDOWS, [[], []], TICKS) == 0
    assert score.nab(WINDOWS, [[1_000, 3_000], [2_000]], TICKS) == pytest.approx(100)


def test_a_missed_window_a_late_find_and_a_false_alarm_all_cost() -> None:
    whole = score.nab(WINDOWS, [[1_000, 3_000], [2_000]], TICKS)
    missed = score.nab(WINDOWS, [[1_000, 3_000], []], TICKS)
    late = score.nab(WINDOWS, [[1_000, 3_000], [2_190]], TICKS)
    noisy = score.nab(WINDOWS, [[1_000, 3_000, 4_500], [2_000]], TICKS)
    assert missed == pytest.approx(whole - 100 / 3)
    assert missed < late < noisy < whole
    assert score.nab(WINDOWS, [[1_000, 1_050, 3_000], [2_000, 2_001]], TICKS) == pytest.approx(whole)
    assert score.nab(WINDOWS, [[10, 1_000, 3_000], [2_000]], TICKS) == pytest.approx(whole)


def test_change_points_are_matched_once_and_covered_by_length() -> None:
    people = [[50], [52], []]
    assert score.f1(people, [51]) == pytest.approx(2 * 1 * 1 / 2)
    assert score.f1([[50]], []) == pytest.approx(2 * 1 * 0.5 / 1.5)
    assert score.matched([50, 53], [51]) == 1
    assert score.covering([[50]], [50], 100) == 1
    assert score.covering([[50]], [], 100) == pytest.approx(0.5)
    assert score.covering([[50]], [25, 50, 75], 100) == pytest.approx(0.5)


def test_rows_and_intervals_are_scored_as_the_books_say() -> None:
    truth = np.array([True, True, False, False])
    assert score.rows_told(truth, np.ones(4, bool)) == pytest.approx((0.5, 2 / 3))
    assert score.rows_told(truth, truth) == (0, 1)
    assert score.interval_score(np.array([1.0, 3.0]), np.array([2.0, 2.0])).tolist() == [4.0, 44.0]
