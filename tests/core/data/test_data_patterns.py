"""Patterns: how strong, when each turns, and that only evidence and time decide it."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.patterns import (
    EVIDENCE_MAX,
    GONE_AT,
    HALF_LIFE_US,
    Book,
    Evidence,
    Pattern,
    beta_mean,
    crossing,
    later_us,
    strength,
    strength_by_day,
    weight,
)

DAY_US = 86_400_000_000
evidence = st.dictionaries(
    st.integers(0, 99).map(str), st.builds(Evidence, st.floats(0.01, 1), st.integers(0, 90 * DAY_US)), min_size=1, max_size=20
)
CITED = {str(number): number % 7 for number in range(100)}
RATED = {str(number): [0.25, 1.0][: number % 3] for number in range(100)}


def weigh(event: str) -> float:
    return weight(CITED[event], RATED[event])


def plainly(found: dict[str, Evidence], now_us: int) -> float:
    """The formula as it is written down."""
    total = 0.0
    for event, each in found.items():
        mean = (1 + sum(RATED[event])) / (2 + len(RATED[event]))
        age_d = (now_us - each.time_us) / DAY_US
        total += each.relevance * (1 + math.log(1 + CITED[event])) * 2 * mean * 2 ** (-age_d / 7)
    return total


@given(evidence, st.integers(0, 60 * DAY_US))
def test_strength_is_the_formula_and_fades_to_nothing(found: dict[str, Evidence], later: int) -> None:
    now = max(each.time_us for each in found.values()) + later
    pattern = Pattern("p", "content", 0, found, crossing_us=crossing(found, weigh))
    assert strength(pattern, now) == pytest.approx(plainly(found, now), rel=1e-6)
    assert strength(pattern, now + 7 * DAY_US) == pytest.approx(strength(pattern, now) / 2)
    assert strength(pattern, now + 7 * DAY_US * 80) < 1e-18


@given(evidence, st.randoms(use_true_random=False))
def test_the_order_of_evidence_does_not_matter(found: dict[str, Evidence], chance: random.Random) -> None:
    shuffled = list(found.items())
    chance.shuffle(shuffled)
    assert crossing(dict(shuffled), weigh) == crossing(found, weigh)


@pytest.mark.parametrize(("ratings", "mean"), [([], 0.5), ([1.0], 2 / 3), ([0.0], 1 / 3), ([1.0] * 98, 0.99)])
def test_ratings_count_as_a_beta_mean(ratings: list[float], mean: float) -> None:
    assert beta_mean(ratings) == pytest.approx(mean)
    assert beta_mean([0.1, 0.2, 0.3]) == beta_mean([0.3, 0.2, 0.1]), "in whatever order they came"
    assert weight(0, ratings) == pytest.approx(2 * mean), "what nobody rated and nobody cites weighs 1"


@given(st.floats(0.01, 1e5))
def test_a_strength_of_one_reaches_any_threshold_when_it_is_said_to(threshold: float) -> None:
    pattern = Pattern("p", "content", 0, crossing_us=1_000 * HALF_LIFE_US)
    assert strength(pattern, 1_000 * HALF_LIFE_US + later_us(threshold)) == pytest.approx(threshold, rel=1e-6)


def turned(book: Book, now: int, threshold: float = 2.0, hold_us: int = 7 * DAY_US) -> list[tuple[str, str]]:
    changes = book.due(threshold, hold_us, now, 64)
    for name, state in changes:
        if state == "gone":
            book.drop(name)
        else:
            book.turn(name, state, now)
    return [(name, state) for name, state in changes]


def life(events: int) -> list[tuple[float, str]]:
    """When a pattern of so many equal events turns, in days, if it is looked at when it says it should be."""
    book = Book()
    for number in range(events):
        book.add("p", "content", str(7 * number), 1.0, 0, lambda event: 1.0)
    now, seen = 0, []
    while (due := book.next_us(2.0, 7 * DAY_US, now)) is not None:
        now = max(now, due)
        changes = turned(book, now)
        assert changes, "what is due leads to something"
        seen += [(round(now / DAY_US, 3), state) for _, state in changes]
    return seen


def test_a_weak_pattern_never_rises_and_is_let_go_of() -> None:
    assert life(1) == [(70.0, "gone")], "1 halves ten times until it is 1/1024"


def test_a_pattern_that_fades_too_early_falls_back() -> None:
    assert life(3) == [(0.0, "rising"), (round(7 * math.log2(1.5), 3), "forming"), (round(7 * math.log2(3 / GONE_AT), 3), "gone")]


def test_a_pattern_that_stays_strong_crystallises_and_melts_at_three_fifths() -> None:
    melts = round(7 * math.log2(8 / (2 * 0.6)), 3)
    assert life(8)[:3] == [(0.0, "rising"), (7.0, "crystallised"), (melts, "forming")]


def test_a_pattern_that_was_strong_while_nobody_looked_crystallises_all_the_same() -> None:
    book = Book()
    for number in range(5):
        book.add("p", "content", str(number), 1.0, 0, lambda event: 1.0)
    assert turned(book, 0) == [("p", "rising")]
    assert turned(book, 8 * DAY_US) == [("p", "crystallised")], "5 is above 2 for 9.2 days"
    assert turned(book, 30 * DAY_US) == [("p", "forming")]


def test_a_pattern_that_fell_while_nobody_looked_does_not_crystallise() -> None:
    book = Book()
    for number in range(3):
        book.add("p", "content", str(number), 1.0, 0, lambda event: 1.0)
    assert turned(book, 0) == [("p", "rising")]
    assert turned(book, 8 * DAY_US) == [("p", "forming")], "3 is above 2 for 4.1 days"


def test_only_the_newest_evidence_counts() -> None:
    book = Book()
    for number in range(EVIDENCE_MAX + 3):
        book.add("p", "content", str(number), 0.5, number, lambda event: 1.0)
    assert list(book.patterns["p"].evidence) == [str(number) for number in range(3, EVIDENCE_MAX + 3)]
    assert set(book.of_event) == set(book.patterns["p"].evidence)
    for event in list(book.of_event):
        book.forget(event, lambda event: 1.0)
    assert book == Book() and book.of_event == {} and book.next_us(2.0, 1, 0) is None


def test_the_past_of_a_pattern_ends_where_it_is_and_follows_the_formula() -> None:
    chance, day = random.Random(3), 86_400_000_000
    now = 100 * day
    pattern = Pattern("p", "content", 0)
    for place in range(40):
        pattern.add(f"e{place}", chance.random(), chance.randrange(0, now))
    pattern.crossing_us = crossing(pattern.evidence, lambda event: 1.5)
    told = strength_by_day(pattern, 14, lambda event: 1.5, now)
    assert len(told) == 15 and told[-1] == pytest.approx(strength(pattern, now), rel=1e-3)
    for ago in (3, 14):
        then = now - ago * day
        was = sum(
            1.5 * each.relevance * 2 ** ((each.time_us - then) / HALF_LIFE_US)
            for each in pattern.evidence.values()
            if each.time_us <= then
        )
        assert told[14 - ago] == pytest.approx(was, rel=1e-3)


@given(st.lists(st.tuples(st.sampled_from("pq"), st.integers(0, 99), st.floats(0.01, 1), st.integers(0, 9)), max_size=30))
def test_it_makes_no_difference_when_somebody_looks(told: list[tuple[str, int, float, int]]) -> None:
    """Of two books one is looked at all the time, and of the other only the end is seen."""
    watched, alone = Book(), Book()
    for name, event, relevance, day in told:
        for book in (watched, alone):
            if day == 9 and name in book.of_event.get(str(event), {}):
                book.forget(str(event), weigh)
            else:
                book.add(name, "content", str(event), relevance, day * DAY_US, weigh)
                book.weigh_anew(str(event), weigh)
        assert all(one.crossing_us == crossing(one.evidence, weigh) for one in watched.patterns.values())
    assert alone.next_us(2.0, DAY_US, 5 * DAY_US) == watched.next_us(2.0, DAY_US, 5 * DAY_US)
    assert alone.due(2.0, DAY_US, 5 * DAY_US, 99) == watched.due(2.0, DAY_US, 5 * DAY_US, 99)
    assert alone == watched
