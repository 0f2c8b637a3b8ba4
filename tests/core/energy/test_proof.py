"""Rules of the proof: a check that cannot fail passes nothing, our own points decide, and luck earns nothing."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.energy.proof import (
    PSEUDO_MISSES,
    Balance,
    Band,
    Check,
    Feasible,
    Own,
    Production,
    Record,
    State,
    energy,
    entropy,
    feasibility,
    gain,
    interval_score,
    judge,
    minted_micro,
    percent_off,
)

PASS, VACUOUS = Check("pass", "x"), Check("vacuous", "x")
BAND = Band(100.0, 90.0, 110.0, 85.0, 115.0)
OWN = Own(101.0, 99.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("balance", "outcome"),
    [
        (None, "vacuous"),
        (Balance(3.9, 1.0, 0.0, 1.0), "pass"),
        (Balance(-4.1, 1.0, 0.0, 1.0), "fail"),
        (Balance(0.0, 1.0, 4.1, 1.0), "fail"),  # each step within its spread, all of them on one side
        (Balance(float("nan"), 1.0, 0.0, 1.0), "fail"),
        (Balance(0.0, 0.0, 0.0, 1.0), "vacuous"),
    ],
)
def test_energy_is_judged_by_the_step_and_by_the_mean(balance: Balance | None, outcome: str) -> None:
    assert energy(balance).outcome == outcome


@pytest.mark.parametrize(
    ("production", "outcome"),
    [
        (None, "vacuous"),
        (Production(0.5, 0.1, 1.0, 0.5), "pass"),
        (Production(-0.29, 0.1, 1.0, 0.5), "pass"),
        (Production(-0.31, 0.1, 1.0, 0.5), "fail"),
        (Production(0.5, 0.1, 0.4, 0.5), "fail"),  # claims to know better than the sensor can
    ],
)
def test_entropy_is_never_unmade(production: Production | None, outcome: str) -> None:
    assert entropy(production).outcome == outcome


@pytest.mark.parametrize(
    ("step", "outcome", "reason"),
    [
        (Feasible(), "vacuous", "no-limits"),
        (Feasible(power_w=300.0), "vacuous", "no-limits"),
        (Feasible(power_w=79.0, idle_w=100.0), "fail", "power-low"),
        (Feasible(power_w=331.0, idle_w=100.0, max_w=300.0), "fail", "power-high"),
        (Feasible(power_w=200.0, idle_w=100.0, max_w=300.0), "pass", "power-low"),
        (Feasible(warming_k=-6.0, warming_max_k=5.0), "fail", "slew"),
        (Feasible(stored_j=2_100.0, max_w=300.0, given_off_w=100.0, seconds=10.0), "fail", "stored"),
        (Feasible(power_w=280.0, idle_w=100.0, max_w=300.0, utilisation=0.05), "fail", "utilisation"),
        (Feasible(power_w=280.0, idle_w=100.0, max_w=300.0, utilisation=0.05, power_derived=True), "pass", "power-low"),
    ],
)
def test_what_cannot_be_is_told(step: Feasible, outcome: str, reason: str) -> None:
    found = feasibility(step)
    assert (found.outcome, found.reason) == (outcome, reason)


@pytest.mark.parametrize(
    ("told", "own", "checks", "word", "reason"),
    [
        (State(101, 99), OWN, [PASS, VACUOUS, VACUOUS], "valid", "within"),
        (State(101, 99), OWN, [VACUOUS, PASS, PASS], "valid", "within"),
        (State(101, 99), OWN, [VACUOUS, VACUOUS, PASS], "vacuous", "no-physics"),
        (State(101, 99), OWN, [PASS, PASS, Check("fail", "slew")], "invalid", "slew"),
        (State(104.1, 99), OWN, [PASS, PASS, PASS], "invalid", "evidence-mismatch"),
        (State(101, 99), None, [PASS, PASS, PASS], "unverified", "no-points"),
        (State(120, 99), OWN._replace(energy=120.0), [PASS, PASS, PASS], "invalid", "outside-interval"),
        (State(101, 80), OWN._replace(entropy=80.0), [PASS, PASS, PASS], "invalid", "outside-interval"),
    ],
)
def test_the_verdict(told: State, own: Own | None, checks: list[Check], word: str, reason: str) -> None:
    verdict = judge((BAND, BAND), told, own, checks)
    assert (verdict.word, verdict.reason) == (word, reason)


@given(st.lists(st.sampled_from(["pass", "fail", "vacuous"]), min_size=3, max_size=3), st.booleans())
def test_nothing_is_valid_without_physics_or_without_points(outcomes: list[str], points: bool) -> None:
    checks = [Check(outcome, "x") for outcome in outcomes]  # type: ignore[arg-type]
    verdict = judge((BAND, BAND), State(101, 99), OWN if points else None, checks)
    assert (verdict.word == "valid") == (points and "fail" not in outcomes and "pass" in outcomes[:2])


def test_errors_are_in_percent_of_what_was() -> None:
    """The figures of the source's example."""
    assert round(percent_off(3200.0, 3198.7, 0.0), 2) == 0.04
    assert round(percent_off(148.5, 148.9, 0.0), 2) == 0.27
    assert percent_off(2.0, 0.0, 4.0) == 50.0 and percent_off(0.0, 0.0, 0.0) == 0.0


def test_the_interval_score_pays_for_honesty() -> None:
    """Of many bands around one normal quantity, the one that holds 95 of 100 times scores best."""
    draw = random.Random(3)
    outcomes = [draw.gauss(0, 1) for _ in range(40_000)]
    scores = {half: sum(interval_score(-half, half, each) for each in outcomes) for half in (1.0, 1.5, 1.8, 1.96, 2.2, 2.6, 4.0)}
    assert min(scores, key=scores.__getitem__) in (1.8, 1.96, 2.2)
    assert scores[1.0] > scores[1.96] < scores[4.0]


STREAMS = 40


def test_luck_earns_next_to_nothing_and_skill_does() -> None:
    draw = random.Random(4)
    lucky, skilled, paid_for_luck = [], [], []
    for _ in range(STREAMS):
        luck, skill, careless = Record(), Record(), 0.0
        earned = [0.0, 0.0]
        for _ in range(4_000):
            noise = draw.gauss(0, 0.2)
            earned[0] += luck.settle(noise, True)
            earned[1] += skill.settle(0.2 + noise, True)
            careless += max(0.0, noise)
        lucky.append(earned[0] / 4)
        skilled.append(earned[1] / 4)
        paid_for_luck.append(careless / 4)
    assert sum(lucky) / STREAMS <= 1.0  # for 1,000 claims
    assert sum(skilled) / STREAMS > 150
    assert min(paid_for_luck) > 60  # what paying each gain as it comes would have cost


def test_a_constant_stream_mints_nothing() -> None:
    """Nothing is better than the naive claim that all stays as it is."""
    record = Record()
    assert sum(record.settle(gain(1.0, 1.0, 1.0), True) for _ in range(8_640)) == 0


def test_a_mint_grows_with_confidence_and_measured_savings_only() -> None:
    record = Record()
    for _ in range(190):
        record.settle(0.0, True)
    assert record.confidence == 190 / (190 + PSEUDO_MISSES)
    for _ in range(500):
        record.settle(0.0, False)
    assert record.confidence == 0
    assert minted_micro(1_000_000, 0.5, 0.9, None) == 450_000 < minted_micro(1_000_000, 0.5, 0.9, 0.2) == 540_000
    assert minted_micro(1_000_000, 0.5, 0.9, 7.0) == 675_000 and minted_micro(1_000_000, 0.5, 0.9, -1.0) == 450_000
