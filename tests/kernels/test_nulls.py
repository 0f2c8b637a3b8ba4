"""What a score is worth: draws that anybody can draw again, p-values that are counted, and what passes and what must not."""

import ast
import copy
import pickle
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest

from kernels import nulls, spectrum
from kernels.nulls import PValue
from kernels.score import Code, align, log_primes, scale_range
from tests.campaigns import campaign, per_commit
from tests.kernels import naive_profile as naive

ROOT = Path(__file__).parents[2]
JOB = UUID("6f1c2a3e-0d43-4d0a-9a39-6f2a9c1f7d11")
T5, T8 = log_primes(5), log_primes(8)
RAW_DRAWS = 99
"""Ranks among as few are as uniform as p-values, and ten times as cheap."""


def distances(points: int) -> np.ndarray:
    n = np.fft.fftfreq(points, 1 / points)
    return np.hypot(n[:, None], n)


def null_field(index: int, points: int = 64) -> np.ndarray:
    """One snapshot of a Gaussian field A with a rough spectrum, dealiased: some peaks in rho, and nothing behind them."""
    draw = np.random.default_rng([5, points, index])
    n = np.fft.fftfreq(points, 1 / points)
    kept = (np.abs(n[:, None]) < points // 4) & (np.abs(n) < points // 4)
    rough = np.exp(2 * draw.standard_normal(points))[np.rint(distances(points)).astype(int)]
    size = np.exp(-((10 * distances(points) / points) ** 2) / 2) * rough * kept
    noise = draw.standard_normal((points, points)) + 1j * draw.standard_normal((points, points))
    return points**2 * np.fft.ifft2(size * noise)[None]


def planted_places(curve: np.ndarray, points: int, jitter: float, draw: np.random.Generator) -> np.ndarray:
    far = 0.92 * spectrum.shells(points, 2).x[-2]
    return np.sort(far * curve / curve[-1] * (1 + jitter * draw.standard_normal(curve.size)))


def planted_field(index: int, points: int, jitter: float) -> tuple[np.ndarray, np.ndarray]:
    """rho = 1 + rings of waves at s·ln p over a background, and phases that have no order: A alone does not show the rings."""
    draw = np.random.default_rng([7, points, index])
    places = planted_places(T8, points, jitter, draw)
    r = distances(points)
    power = np.exp(-8 * r / points) * (1 + 20 * sum(np.exp(-(((r - place) / 0.7) ** 2) / 2) for place in places))
    power[(r == 0) | (r > points // 2 - 1)] = 0
    waves = np.fft.ifft2(np.sqrt(power) * np.fft.fft2(draw.standard_normal(r.shape))).real
    rho = 1 + 0.5 * waves / np.abs(waves).max()
    return (np.sqrt(rho) * np.exp(2j * np.pi * draw.random(r.shape)))[None], places


# --- Draws


def test_a_draw_is_the_same_whoever_draws_it_and_with_whatever_others():
    field = null_field(0, 32)
    together = nulls.phase_draws(field, JOB, T5, 12)
    alone = nulls.phase_draws(field, JOB, T5, 1, first=7)
    assert np.array_equal(together.score[7:8], alone.score, equal_nan=True)
    whole = np.concatenate(list(nulls.surrogate_power(field, JOB, 0, 12)))
    assert np.array_equal(whole[7:8], np.concatenate(list(nulls.surrogate_power(field, JOB, 7, 1))))
    assert len({row.tobytes() for row in whole}) == 12


def test_no_two_jobs_nulls_or_indices_share_bits():
    keys = [(job, null, index) for job in (JOB, UUID(int=1)) for null in ("phase", "random targets") for index in (0, 1, 2**40)]
    drawn = [nulls.uniform(*key, 64) for key in keys]
    assert len(np.unique(np.concatenate(drawn))) == 64 * len(keys)
    assert all(0 <= values.min() and values.max() < 1 for values in drawn)


def test_the_bits_are_frozen():
    """A later release of anything that drew others would change every p-value on record."""
    assert nulls.stream(JOB, "phase", 3).random_raw(2).tolist() == [5834559986825601443, 8846096114678983381]


@pytest.mark.parametrize("dtype", [np.complex128, np.complex64])
def test_a_surrogate_is_that_of_the_twin(dtype):
    draw = np.random.default_rng(3)
    field = (draw.standard_normal((2, 8, 8)) + 1j * draw.standard_normal((2, 8, 8))).astype(dtype)
    (power,) = np.concatenate(list(nulls.surrogate_power(field, JOB, 4, 1)))
    # One set of phases for both snapshots.
    rho = np.array([naive.surrogate(snapshot, nulls.uniform(JOB, "phase", 4, 64)) for snapshot in field])
    assert power == pytest.approx(naive.shell_power(rho), rel=1e-11 if dtype == np.complex128 else 1e-4)


def test_a_draw_goes_through_the_whole_pipeline_with_a_scale_of_its_own():
    field = null_field(2, 32)
    found = nulls.phase_draws(field, JOB, T5, 6)
    x, modes = naive.shells(32, 2)
    for index in range(6):
        rho = naive.surrogate(field[0], nulls.uniform(JOB, "phase", index, 32 * 32))
        peaks = naive.peaks(naive.flatten(naive.shell_power(rho[None])), x, modes)
        assert (found.status[index] == spectrum.OK) == bool(peaks)
        if peaks:
            scanned = naive.scan(np.array(peaks), T5, *scale_range(np.array(x), T5))
            assert found.score[index] == pytest.approx(scanned, abs=1e-3)
    assert np.count_nonzero(found.status == spectrum.OK) >= 3


def test_scrambling_keeps_the_spectrum_of_the_field_and_not_that_of_its_density():
    field = null_field(1, 32)
    observed = spectrum.spectrum(field).power
    scrambled = np.concatenate(list(nulls.surrogate_power(field, JOB, 0, 4)))
    assert (np.abs(np.log(scrambled / observed)).max(axis=1) > 0.2).all()
    # Broken: the same done to rho. Every draw has the observed spectrum, whatever the field is.
    rho = np.fft.rfft2(np.abs(field[0]) ** 2)
    turned = np.fft.irfft2(rho * np.exp(2j * np.pi * np.angle(np.fft.rfft2(np.random.default_rng(1).standard_normal((32, 32))))))
    assert spectrum.shell_power((turned - turned.mean())[None], 2)[:8] == pytest.approx(observed[:8], rel=1e-9)


def test_a_draw_without_peaks_is_never_as_good_and_a_tie_is():
    status = np.array([spectrum.OK, spectrum.NO_PEAKS, spectrum.OK, spectrum.OK], dtype=np.int8)
    draws = nulls.Draws(status, np.array([0.5, np.nan, 0.4, 0.6]), np.full(4, -1))
    assert [nulls.as_good(observed, draws) for observed in (0.3, 0.4, 0.5 - 5e-6, 5.0)] == [0, 1, 2, 3]


# --- H9: p-values


@pytest.mark.parametrize("draws", [0, 99, 998])
def test_a_p_value_over_too_few_draws_cannot_be_made(draws):
    with pytest.raises(ValueError, match="999"):
        PValue(0, draws)


@pytest.mark.parametrize(("as_good", "draws", "refused"), [(-1, 999, ValueError), (1000, 999, ValueError), (0.5, 999, TypeError)])
def test_a_p_value_that_was_not_counted_cannot_be_made(as_good, draws, refused):
    with pytest.raises(refused):
        PValue(as_good, draws)
    with pytest.raises(TypeError):
        PValue(0.001)


def test_a_p_value_is_never_zero_and_counts_the_observed_case():
    assert float(PValue(0, 999)) == 0.001
    assert float(PValue(999, 999)) == 1.0
    assert PValue(9, 999).at_most(0.01) and not PValue(10, 999).at_most(0.01)
    # Broken: b/m is 0 where nothing was as good.
    assert 0 / 999 < float(PValue(0, 999))


def test_a_p_value_does_not_change_and_has_no_cheaper_kin():
    p = PValue(3, 999)
    for name in ("as_good", "draws", "value"):
        with pytest.raises(AttributeError):
            setattr(p, name, 0)
    with pytest.raises(AttributeError):
        del p.draws
    with pytest.raises(TypeError):
        type("Cheap", (PValue,), {})
    assert copy.deepcopy(p) == p == pickle.loads(pickle.dumps(p))  # noqa: S301


def test_a_profile_with_fewer_draws_is_refused():
    field, _ = planted_field(0, 64, 0.0)
    with pytest.raises(ValueError, match="999"):
        nulls.profile(field, JOB, 40.0, count=5, draws=RAW_DRAWS)
    with pytest.raises(ValueError, match="999"):  # also where nothing would be drawn
        nulls.profile(np.ones((1, 16, 16), dtype=complex), JOB, 40.0, draws=RAW_DRAWS)


def test_fresh_runs_have_fresh_draws():
    field = null_field(3, 32)
    first, second = (nulls.phase_draws(field, UUID(int=number), T5, 20) for number in (1, 2))
    assert not np.array_equal(first.score, second.score, equal_nan=True)


def test_what_has_no_score_has_no_p_value():
    flat = np.ones((2, 32, 32), dtype=complex)
    seen = nulls.profile(flat, JOB, 40.0)
    assert [seen.aligned.score, seen.p_phase, seen.p_target, seen.ramp_gain] == [Code.NO_PEAKS] * 4
    assert not seen.survives()
    broken = flat.copy()
    broken[0, 0, 0] = np.inf
    assert nulls.profile(broken, JOB, 40.0).p_phase is Code.DIVERGED


# --- H10: random targets


def test_random_targets_rise_between_the_same_ends():
    sequences = nulls.random_targets(JOB, T8)
    assert sequences.shape == (199, 8)
    assert (np.diff(sequences) > 0).all()
    assert np.array_equal(sequences[:, [0, -1]], np.tile(T8[[0, -1]], (199, 1)))
    inner = (sequences[:, 1:-1] - T8[0]) / (T8[-1] - T8[0])
    assert inner.mean() == pytest.approx(0.5, abs=0.03)
    assert inner.var() == pytest.approx(1 / 12, abs=0.01)


def test_there_is_no_null_that_permutes_targets():
    """H10. Sorted peaks fit sorted targets better than permuted ones whatever they are: every noise would be a discovery."""
    tree = ast.walk(ast.parse((ROOT / "kernels/nulls.py").read_text()))
    names = {getattr(node, "attr", "") or getattr(node, "id", "") or getattr(node, "name", "") or "" for node in tree}
    assert "random_targets" in names
    assert not {name for name in names if "permut" in name.lower() or "shuffle" in name.lower()}
    draw = np.random.default_rng(10)
    x = spectrum.shells(164, 2).x
    significant = 0
    for _ in range(20):
        peaks = np.sort(draw.uniform(x[1], x[-2], 8))
        scaled = peaks * (peaks @ T8) / (peaks @ peaks)
        observed = ((scaled - T8) ** 2).sum()
        permuted = [((scaled - draw.permutation(T8)) ** 2).sum() for _ in range(99)]
        significant += (1 + np.count_nonzero(np.array(permuted) <= observed + 1e-12)) / 100 <= 0.05
    assert significant == 20  # on noise, and so that null is not here


def test_a_raw_rank_among_random_targets_is_no_p_value():
    """Noise of twelve peaks ranks within the best twentieth far too often; so the rank is compared with those of surrogates."""
    x = spectrum.shells(164, 2).x
    draw = np.random.default_rng(6)
    sequences = nulls.random_targets(JOB, T8)
    best = 0
    for _ in range(100):
        peaks = np.sort(draw.uniform(x[1], x[-2], 12))
        rank = nulls.rank_among(peaks, align(peaks, T8, *scale_range(x, T8)).score, sequences, x)
        best += (1 + rank) / 200 <= 0.05
    assert best > 7


def test_a_rank_counts_the_sequences_that_fit_as_well():
    x = spectrum.shells(64, 2).x
    sequences = nulls.random_targets(JOB, T5, 25)
    draw = np.random.default_rng(8)
    for _ in range(8):
        peaks = np.sort(draw.uniform(3, 28, 6))
        mine = align(peaks, T5, *scale_range(x, T5)).score
        others = np.array([align(peaks, sequence, *scale_range(x, sequence)).score for sequence in sequences])
        assert (np.abs(others - mine) > 4e-5).all()
        assert nulls.rank_among(peaks, mine, sequences, x) == np.count_nonzero(others < mine)
    assert nulls.rank_among(np.empty(0), Code.NO_PEAKS, sequences, x) == 25


# --- Integers and ramps


def test_named_sequences_begin_as_they_should():
    found = {name: np.rint(np.exp(values)).astype(int).tolist() for name, values in nulls.named_sequences(6).items()}
    assert found == {
        "composites": [4, 6, 8, 9, 10, 12],
        "squares": [4, 9, 16, 25, 36, 49],
        "odd numbers": [3, 5, 7, 9, 11, 13],
        "integers": [2, 3, 4, 5, 6, 7],
        "Fibonacci": [2, 3, 5, 8, 13, 21],
    }


def test_prime_like_sequences_are_as_dense_as_the_primes():
    found = np.rint(np.exp(nulls.prime_like(JOB, 8))).astype(int)
    assert (found[:, 0] == 2).all() and (np.diff(found) > 0).all()
    assert np.mean(found == 3) * 8 == pytest.approx(1 / np.log(3), abs=0.06)
    assert np.mean((found == 10).any(axis=1)[found[:, -1] >= 10]) == pytest.approx(1 / np.log(10), abs=0.1)


def test_peaks_at_other_integers_are_explained_by_them():
    x = spectrum.shells(192, 2).x
    for name, values in nulls.named_sequences(8).items():
        peaks = 0.9 * x[-2] * values / values[-1]
        found = align(peaks, T8, *scale_range(x, T8))
        assert name in nulls.integer_sequences(peaks, found.score, x, 8, JOB).beaten_by


def test_the_best_ramp_is_the_best():
    draw = np.random.default_rng(12)
    eight = np.arange(1, 9)
    for curve in (T8, T5, eight**0.64, np.log(eight + 4), np.log(eight - 0.7), draw.uniform(1, 3, 8)):
        i, values = np.arange(1.0, curve.size + 1), curve * (1 + 0.01 * draw.standard_normal(curve.size))
        found, scanned = nulls._best_ramp(i, values), naive.ramp_rest(list(i), list(values))
        assert scanned * (1 - 1e-2) - 1e-12 <= found <= scanned + 1e-12


RAMPS = {
    "i^.64": lambda i: i**0.64,
    "ln(i+1)": lambda i: np.log(i + 1),
    "sqrt i": np.sqrt,
    "i^.798": lambda i: i**0.798,
}


def verdicts(curve: np.ndarray, runs: int) -> tuple[list[float], int]:
    """Ramp gains of jittered peaks, and how often no sequence explains them."""
    count, x = curve.size, spectrum.shells(192, 2).x
    targets, draw = log_primes(count), np.random.default_rng([8, count])
    gains, passed = [], 0
    for run in range(runs):
        peaks = planted_places(curve, 192, 0.01, draw)
        found = align(peaks, targets, *scale_range(x, targets))
        gain = nulls.ramp_gain(peaks, found, targets)
        assert not isinstance(gain, Code)
        gains.append(gain)
        if gain >= nulls.RAMP_GAIN_MIN:
            integers = nulls.integer_sequences(peaks, found.score, x, count, UUID(int=run))
            passed += nulls.no_sequence_explains(found, integers, gain)
    return gains, passed


@pytest.mark.parametrize("count", [5, 8])
@pytest.mark.parametrize("ramp", RAMPS)
def test_a_smooth_ramp_is_never_certified(ramp, count):
    """H8."""
    gains, passed = verdicts(RAMPS[ramp](np.arange(1.0, count + 1)), 500)
    assert np.mean(np.array(gains) < nulls.RAMP_GAIN_MIN) >= 0.998
    assert passed == 0


def test_by_the_score_alone_a_ramp_would_be_prime():
    """Why the rule above is needed: at five targets i^.798 scores below the source's .01."""
    peaks = 28.5 * (np.arange(1, 6) / 5) ** 0.798
    found = align(peaks, T5, T5[-1] / 30, T5[0] / 2)
    assert found.score < nulls.SCORE_MAX
    assert nulls.ramp_gain(peaks, found, T5) < 0


def test_planted_primes_pass_at_eight_targets_and_not_at_five():
    """H7, the part that asks nothing of a field. Five targets never certify, and a ramp beats them one time in seven."""
    gains, passed = verdicts(T8, 200)
    assert passed >= 0.95 * 200
    gains, passed = verdicts(T5, 200)
    assert 0.75 <= np.mean(np.array(gains) >= nulls.RAMP_GAIN_MIN) <= 0.92
    assert passed == 0


def test_two_perfect_fits_gain_nothing():
    x = spectrum.shells(64, 2).x
    peaks = np.array([10.0])
    assert nulls.ramp_gain(peaks, align(peaks, T5, *scale_range(x, T5)), T5) == pytest.approx(0, abs=1e-9)


# --- H5, H7: whole fields


def raw_ranks(field: np.ndarray, job: UUID) -> tuple[int, int, nulls.Profile | None]:
    """How many of 99 draws score as well, and how many rank as well among random targets."""
    seen = spectrum.spectrum(field)
    peaks, x = seen.peaks.x, seen.x
    found = align(peaks, T8, *scale_range(x, T8))
    if isinstance(found.score, Code):
        return RAW_DRAWS, RAW_DRAWS, None
    sequences = nulls.random_targets(job, T8)
    draws = nulls.phase_draws(field, job, T8, RAW_DRAWS, sequences=sequences)
    rank = nulls.rank_among(peaks, found.score, sequences, x)
    integers = nulls.integer_sequences(peaks, found.score, x, 8, job)
    beyond = nulls.Profile(seen, found, Code.MISSING, Code.MISSING, integers, nulls.ramp_gain(peaks, found, T8))
    return nulls.as_good(found.score, draws), int(np.count_nonzero(draws.rank <= rank)), beyond


def low(as_good: int) -> bool:
    return (1 + as_good) / (1 + RAW_DRAWS) <= 0.05


@pytest.mark.slow
def test_noise_is_significant_as_often_as_it_should_be():
    """H5 for a tenth of the fields; of 100 at five in a hundred, 1 to 11 is all but certain. Seeds were fixed before."""
    ranks = [raw_ranks(null_field(index), UUID(int=index)) for index in range(per_commit("H5"))]
    assert 1 <= sum(low(phase) for phase, _, _ in ranks) <= 11
    assert 1 <= sum(low(target) for _, target, _ in ranks) <= 11


FAMILY = 50


def family_low(hunt: int) -> tuple[bool, bool]:
    """Of a hunt over null fields, with 99 draws: whether its best is among the best twentieth; and whether any p of its own is."""
    least, best, own = np.full(RAW_DRAWS, np.inf), np.inf, RAW_DRAWS
    for place in range(FAMILY):
        index = 100_000 + hunt * FAMILY + place
        field = null_field(index, 32)
        seen = spectrum.spectrum(field)
        score = align(seen.peaks.x, T5, *scale_range(seen.x, T5)).score
        draws = nulls.phase_draws(field, UUID(int=index), T5, RAW_DRAWS)
        least = nulls.family_least(least, draws)
        if not isinstance(score, Code):
            best, own = min(best, score), min(own, nulls.as_good(score, draws))
    return low(nulls.family_as_good(best, least)), low(own)


@pytest.mark.slow
def test_the_best_of_many_is_compared_with_the_best_of_as_many():
    """H6 for a few hunts: each alone would find something in most of them. Seeds were fixed before."""
    found = [family_low(hunt) for hunt in range(per_commit("H6"))]
    assert sum(family for family, _ in found) <= 3, "4 of 10 at five in a hundred: one time in a thousand"
    assert sum(own for _, own in found) >= 5, "the broken variant: the best p, uncorrected"


@pytest.mark.campaign
def test_hunts_over_noise_find_something_no_oftener_than_they_may():
    def one(index: int) -> dict[str, bool]:
        return {"family_at_most_05": family_low(index)[0]}

    row = campaign("H6", one)
    assert row["family_at_most_05"] <= 0.08 * row["count"] or row["count"] < 100


def test_a_draw_without_peaks_is_as_good_as_nothing():
    draws = nulls.Draws(np.array([0, 1, 0], np.int8), np.array([0.5, np.nan, 0.1]), np.full(3, -1))
    least = nulls.family_least(np.array([np.inf, np.inf, 0.05]), draws)
    assert least.tolist() == [0.5, np.inf, 0.05]
    assert [nulls.family_as_good(score, least) for score in (0.01, 0.1, 0.5, 9.0)] == [0, 1, 2, 2]


def test_draws_without_a_scale_of_their_own_make_noise_significant():
    """The broken variant of H5: surrogates scored at the scale that suits what was observed."""
    draw, hits = np.random.default_rng(9), 0
    for _ in range(60):
        sets = np.sort(draw.uniform(3, 28, (60, 6)), axis=1)
        x = spectrum.shells(64, 2).x
        found = align(sets[0], T5, *scale_range(x, T5))
        as_good = sum(align(peaks, T5, found.s, found.s).score <= found.score for peaks in sets[1:])
        hits += (1 + as_good) / 60 <= 0.05
    assert hits >= 12


@pytest.mark.slow
def test_planted_primes_are_found_in_fields_and_pass():
    """H7 on a few fields, at half the jitter: at 256 points one per cent of it too often makes one ring of those for 17 and 19."""
    found = passed = 0
    for index in range(8):
        field, places = planted_field(index, 256, 0.005)
        phase, target, beyond = raw_ranks(field, UUID(int=index))
        assert beyond is not None
        found += sum(np.abs(beyond.spectrum.peaks.x - place).min() < 0.5 for place in places)
        passed += low(target) and phase == 0 and beyond.outside_of_fields()
    assert found >= 0.95 * 64
    assert passed >= 7


@pytest.mark.campaign
def test_noise_is_significant_one_time_in_twenty():
    """H5. 1,000 fields of an exact null lie outside of these shares one time in two hundred."""

    def one(index: int) -> dict[str, bool]:
        phase, target, _ = raw_ranks(null_field(index), UUID(int=index))
        return {"phase_at_most_05": low(phase), "target_at_most_05": low(target)}

    row = campaign("H5", one)
    if row["count"] >= 1_000:
        assert 0.031 <= row["phase_at_most_05"] / row["count"] <= 0.071
        assert 0.031 <= row["target_at_most_05"] / row["count"] <= 0.071


@pytest.mark.campaign
def test_planted_primes_pass_nineteen_times_in_twenty():
    """H7 with one per cent of jitter, on a grid as fine as a certificate may ask for."""

    def one(index: int) -> dict[str, bool]:
        phase, target, beyond = raw_ranks(planted_field(index, 512, 0.01)[0], UUID(int=index))
        return {"passed": beyond is not None and phase == 0 and low(target) and beyond.outside_of_fields()}

    row = campaign("H7", one)
    assert row["passed"] >= 0.95 * row["count"] or row["count"] < 40


def test_a_gap_is_from_the_median_and_there_is_none_where_most_draws_have_no_score():
    nan = np.nan
    assert nulls.gap(np.array([1.0, 5.0, 2.0]), 0.5) == 1.5
    assert nulls.gap(np.array([1.0, nan, 2.0, 4.0, nan]), 3.0) == -1.0
    assert nulls.gap(np.array([1.0, nan, 2.0, nan]), 3.0) is None, "half are not most"
    assert nulls.gap(np.array([nan, nan]), 3.0) is None and nulls.gap(np.array([]), 3.0) is None


def test_for_a_search_a_draw_without_peaks_meets_no_target():
    """A gap over all draws: where chance has no peaks at all, peaks at the right places are worth the most."""
    nan = np.nan
    assert nulls.gap_of_all(np.array([1.0, 5.0, 2.0]), 0.5, 5) == nulls.gap(np.array([1.0, 5.0, 2.0]), 0.5) == 1.5
    assert nulls.gap_of_all(np.array([1.0, nan, nan]), 0.5, 5) == 4.5 and nulls.gap(np.array([1.0, nan, nan]), 0.5) is None
    assert align(np.array([40.0]), T5, 0.1, 0.1).score == 5.0, "as much as peaks that meet none"
