"""Projections against days that were held out: the intervals hold what they promise, and nothing plainer is nearer."""

from benchmarks.revenue import COVERED_MAX, COVERED_MIN, HISTORIES, Score, generated, made, overall
from core.forecast import NAMES, SEASON, Autoregression, total_of_next


def test_intervals_hold_as_many_outcomes_as_they_promise_and_errors_are_below_those_of_last_week():
    scores = generated(horizon=7, series=6)
    coverage, to_last_week = overall(scores)
    assert COVERED_MIN <= coverage <= COVERED_MAX
    assert to_last_week < 0.95
    assert all(score.projections == 6 * len(HISTORIES) for score in scores.values())


def test_a_week_that_repeats_is_known_as_one_and_projected_to_the_day():
    week = [3.0, 5.0, 2.0, 8.0, 13.0, 21.0, 1.0]
    found = total_of_next(week * 20, 3)
    assert abs(found.expected - sum(week[:3])) < 0.01 and set(found.weights) == set(NAMES)
    assert abs(total_of_next([*(week * 20), *week[:2]], 3).expected - sum(week[2:5])) < 0.01


def test_what_comes_after_changes_nothing_of_what_was_said_before():
    values = made("walk", 0, 120, 30)
    known = total_of_next(values[:90], 7)
    values[90:] = [0.0] * 60
    assert total_of_next(values[:90], 7) == known


def test_with_too_little_past_there_is_no_interval():
    for days in range(12):
        assert total_of_next([5.0] * days, 7).low is None
    assert total_of_next([5.0] * 40, 7).low is not None


def test_what_grows_is_told_by_how_the_sums_came_out_and_not_by_the_next_day_alone():
    """Day by day the mean or the same day of last week may be nearest; over a month of growth neither is."""
    score = Score()
    for number in range(8):
        values = made("rising", number, 120, 30)
        score.add(values[:120], sum(values[120:]), 30)
    assert score.to_week < 1


def test_an_autoregression_learns_what_repeats_with_the_week():
    values = [float(day) for day in range(SEASON)]
    auto = Autoregression()
    for _ in range(200):
        following = 1 - 0.9 * values[-SEASON]
        auto.see(following)
        auto.learn(values[-SEASON:], following)
        values.append(following)
    assert abs(auto.forecast(values[-SEASON:]) - (1 - 0.9 * values[-SEASON])) < 1e-3
