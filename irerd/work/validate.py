"""Both metrics of a stored run worked out a second time, in plain NumPy and double precision, from the fields in its file alone.

Shares no arithmetic with the programs that ran it: derivatives by one whole transform, no kept modes, no JAX, no Numba; the score
is attained where the run says and beaten nowhere on a dense scan. So a mistake in either shows, and so does a changed file.
"""

import json
import math
from typing import Any, Final

import msgspec
import numpy as np

from irerd.work import store
from irerd.worker import JobFailed, Tell

APART_MAX: Final = {"complex128": 1e-6, "complex64": 1e-4}
ROUNDINGS: Final = 16
"""A residual is a small difference of large terms: so many roundings of those it may be off by."""
SCAN: Final = 4_000
SEARCHED_TO: Final = 1e-5
"""The run's own search looks no closer than this for a better scale."""

NO_PEAK_COST, EXTRA_PEAK_COST, RESOLVED_SHELLS = 1.0, 0.2, 3.0
PEAKS_MAX, PROMINENCE_MIN, FLOOR, ROUNDING = 32, 0.5, 1e-12, 16
CORE = 1e-3
SOURCE_MIN = 1e-12


class Spec(msgspec.Struct, forbid_unknown_fields=True):
    """`claimed` is what is known of the run from elsewhere, the log say; without it, what its file says."""

    artefact: str
    claimed: dict[str, float | str | None] = {}
    sha256: str | None = None


def validate(spec: bytes, tell: Tell) -> bytes:
    try:
        asked = msgspec.json.decode(spec, type=Spec)
    except msgspec.MsgspecError:
        raise JobFailed("bad-spec") from None
    found = store.get(asked.artefact)
    attributes, settings, arrays = found.artefact
    claimed = {**attributes, **asked.claimed}
    try:
        apart = APART_MAX[str(settings["dtype"])]
        score = _score_row(arrays["snaps"], settings, claimed, apart)
        norm = _norm_row(arrays["A"], arrays["rho_s"], settings, claimed, apart)
    except (KeyError, TypeError, ValueError, IndexError):
        raise JobFailed("bad-artefact") from None
    same = asked.sha256 is None or asked.sha256 == found.sha256
    said = {
        "job_uuid": attributes.get("job_uuid"),
        "artefact_sha256": found.sha256,
        "hash_agrees": same,
        "tolerance": apart,
        "metrics": {"log_prime_sse": score, "sdg_h_norm_l2": norm},
        "agrees": bool(same and score["agrees"] and norm["agrees"]),
    }
    return json.dumps(said, allow_nan=False, sort_keys=True).encode()


def _row(said: Any, said_code: Any, found: float | None, code: str | None, allowed: float) -> dict[str, Any]:
    """One metric: what was said of it, and what is found now."""
    if said is None or found is None:
        agrees = said is None and found is None and said_code == code
    else:
        agrees = abs(float(said) - found) <= allowed
    return {"said": said, "said_code": said_code, "found": found, "found_code": code, "agrees": agrees}


def _said(claimed: dict[str, Any], name: str, code: str) -> tuple[Any, Any]:
    number, word = claimed.get(name), claimed.get(code)
    return number, None if number is not None else word


# --- the residual of space ------------------------------------------------------------------------------------------------


def _norm_row(field: Any, rho_s: Any, settings: dict[str, Any], claimed: dict[str, Any], apart: float) -> dict[str, Any]:
    said, code = _said(claimed, "sdg_h_norm_l2", "h_code")
    if claimed.get("status") != "ok":
        return _row(said, code, None, "diverged", apart)
    if settings["geometry"] == "off":
        return _row(said, code, None, "no_source", apart)
    eps = float(np.finfo(rho_s.dtype).eps)
    left, source, terms = _residual(field.astype(np.complex128), rho_s.astype(np.float64), settings)
    if source < SOURCE_MIN * settings["m2"] * settings["rho_vac"]:
        enforced = settings["geometry"] == "elliptic" and left <= ROUNDINGS * eps * terms
        return _row(said, code, None, "constraint_enforced" if enforced else "no_source", apart)
    found = left / source
    allowed = apart * max(1.0, found) + ROUNDINGS * eps * terms / source
    if settings["geometry"] == "elliptic" and found <= allowed:
        return _row(said, code, None, "constraint_enforced", apart)
    return _row(said, code, found, None, allowed)


def _residual(field: Any, rho_s: Any, s: dict[str, Any]) -> tuple[float, float, float]:
    """Norms of D_g Lap rho_s − m2 (rho_s − rho_vac) + T00, of T00, and of the largest term."""
    axes = _wave_numbers(field.shape, s["l"])
    modes = np.fft.fftn(field)
    gradients = [np.fft.ifftn(1j * k * modes) for k in axes]
    current = sum(np.imag(np.conj(field) * gradient) ** 2 for gradient in gradients)
    squares = sum(np.abs(gradient) ** 2 for gradient in gradients)
    loss = s["lam"] * s["b3"] + s["g_nl"]
    reference = s["eps"] / loss if loss > 0 and s["eps"] > 0 else 1.0
    below = np.abs(field) ** 2 + CORE * reference
    source = s["eta"] * squares + (s["kappa"] - s["eta"]) * current / below
    kept = _kept(field.shape, s["dealias"])
    source = np.real(np.fft.ifftn(np.fft.fftn(source) * kept))
    # Beyond the kept modes rho_s is rounding, which Lap would blow up; more than that shows in the term without Lap.
    bend = np.real(np.fft.ifftn(-sum(k * k for k in axes) * kept * np.fft.fftn(rho_s)))
    raw = s["eta"] * squares + (s["kappa"] - s["eta"]) * current / below
    terms = max(_norm(s["D_g"] * bend), s["m2"] * (_norm(rho_s) + s["rho_vac"]))
    return _norm(s["D_g"] * bend - s["m2"] * (rho_s - s["rho_vac"]) + source), _norm(raw), terms


def _wave_numbers(shape: tuple[int, ...], length: float) -> list[Any]:
    k = 2 * np.pi * np.fft.fftfreq(shape[0], 1 / shape[0]) / length
    return list(np.meshgrid(*[k] * len(shape), indexing="ij"))


def _kept(shape: tuple[int, ...], dealias: str) -> Any:
    """Modes that the run has: space is fed with no others."""
    number = np.abs(np.fft.fftfreq(shape[0], 1 / shape[0]))
    inside = number < shape[0] / {"half": 4, "two_thirds": 3, "none": 2, "sixth": 6}[dealias]
    found: Any = 1.0
    for mesh in np.meshgrid(*[inside] * len(shape), indexing="ij"):
        found = found * mesh
    return found


def _norm(values: Any) -> float:
    return float(np.sqrt(np.mean(np.abs(values) ** 2)))


# --- the score ------------------------------------------------------------------------------------------------------------


def _score_row(snaps: Any, settings: dict[str, Any], claimed: dict[str, Any], apart: float) -> dict[str, Any]:
    said, code = _said(claimed, "log_prime_sse", "sse_code")
    if claimed.get("status") != "ok":
        return _row(said, code, None, "diverged", apart)
    x, peaks = _peaks(snaps)
    targets = np.log(_primes(int(claimed["n_targets"])))
    low, high = targets[-1] / x[-2], targets[0] / x[1]
    if not len(peaks):
        return _row(said, code, None, "no_peaks", apart)
    if low > high:
        return _row(said, code, None, "missing", apart)
    best = min(_descended(peaks, targets, s, low, high) for s in _scales(peaks, targets, low, high))
    factor = claimed.get("scaling_factor")
    if said is None or not isinstance(factor, int | float):
        return _row(said, code, best, None, apart)
    # What the run says must be what its scale costs; and no other scale may cost less by more than its search can miss.
    there = _descended(peaks, targets, min(max(factor * 2 * math.pi / settings["l"], low), high), low, high)
    found = there if there <= best + SEARCHED_TO + apart else best
    return _row(said, code, found, None, apart)


def _peaks(snaps: Any) -> tuple[Any, Any]:
    """Positions of the shells and of the peaks."""
    dimensions, points = snaps.ndim - 1, snaps.shape[-1]
    number = np.fft.fftfreq(points, 1 / points)
    length = np.sqrt(sum(mesh**2 for mesh in np.meshgrid(*[number] * dimensions, indexing="ij")))
    shells = [np.rint(length) == shell for shell in range(1, points // 2)]
    # The density in the precision of the fields, as the run saw it; all else in double.
    means = np.array([np.mean(np.abs(one.astype(np.complex128)) ** 2) for one in snaps])
    density = np.square(snaps.real) + np.square(snaps.imag)
    density = density - means.astype(density.dtype).reshape(-1, *(1,) * dimensions)
    power = np.mean([np.abs(np.fft.fftn(one.astype(np.float64))) ** 2 for one in density], axis=0)
    x = np.array([length[shell].mean() for shell in shells])
    p = np.array([power[shell].mean() for shell in shells])
    rounding = points**dimensions * (ROUNDING * np.finfo(snaps.dtype).eps * np.max(np.abs(means))) ** 2
    if not p.max() > rounding:
        return x, np.empty(0)
    y = np.log(p + FLOOR * p.max() + rounding)
    least = np.maximum(PROMINENCE_MIN, 3 / np.sqrt([shell.sum() / 2 for shell in shells]))
    return x, _summits(x, y - _medians(y), least)


def _medians(y: Any) -> Any:
    half = max(4, int(np.rint(len(y) / 6)))
    reach = [min(half, place, len(y) - 1 - place) for place in range(len(y))]
    return np.array([np.median(y[place - r : place + r + 1]) for place, r in enumerate(reach)])


def _summits(x: Any, z: Any, least: Any) -> Any:
    found: list[tuple[float, float]] = []
    place = 1
    while place < len(z) - 1:
        end = place
        while end < len(z) - 1 and z[end + 1] == z[place]:
            end += 1
        if end < len(z) - 1 and z[place - 1] < z[place] > z[end + 1]:
            top = (place + end) // 2
            lower_left = next((at for at in range(top, -1, -1) if z[at] > z[top]), -1)
            lower_right = next((at for at in range(top, len(z)) if z[at] > z[top]), len(z))
            height = z[top] - max(z[lower_left + 1 : top + 1].min(), z[top:lower_right].min())
            if height >= least[top]:
                bend = z[top - 1] - 2 * z[top] + z[top + 1]
                vertex = 0.5 * (z[top - 1] - z[top + 1]) / bend if bend < 0 else 0.0
                found.append((height, x[top] + vertex * (x[top + 1] - x[top - 1]) / 2))
        place = end + 1
    strongest = sorted(found, key=lambda one: -one[0])[:PEAKS_MAX]
    return np.array(sorted(position for _, position in strongest))


def _primes(count: int) -> list[int]:
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % prime for prime in found):
            found.append(candidate)
        candidate += 1
    return found


def _scales(peaks: Any, targets: Any, low: float, high: float) -> list[float]:
    """Where the scan costs less than beside it: the search goes down from there."""
    scan = np.linspace(low, high, SCAN)
    costs = np.array([_cost(peaks, targets, s)[0] for s in scan])
    around = np.concatenate([[np.inf], costs, [np.inf]])
    return [float(s) for s in scan[(costs <= around[:-2]) & (costs <= around[2:])]]


def _descended(peaks: Any, targets: Any, s: float, low: float, high: float) -> float:
    """Alignment and least squares in turn until neither gains."""
    cost, pairs = _cost(peaks, targets, s)
    while pairs:
        x, t = peaks[[j for _, j in pairs]], targets[[i for i, _ in pairs]]
        s = float(min(max(x @ t / (x @ x), low), high))
        lower, pairs_then = _cost(peaks, targets, s)
        if not lower < cost - 1e-13:
            return float(min(cost, lower))
        cost, pairs = lower, pairs_then
    return float(cost)


def _cost(peaks: Any, targets: Any, s: float) -> tuple[float, list[tuple[int, int]]]:
    """The least cost of an alignment in order at this scale, and its pairs (target, peak)."""
    gap = float(np.min(np.diff(targets)))
    scaled = s * peaks
    inside = (scaled > targets[0] - gap / 2 + 1e-12) & (scaled < targets[-1] + gap / 2 - 1e-12)
    extra = np.where(inside, EXTRA_PEAK_COST, 0.0)
    table = np.zeros((len(targets) + 1, len(peaks) + 1))
    table[0, 1:] = np.cumsum(extra)
    for i, target in enumerate(targets):
        table[i + 1, 0] = table[i, 0] + NO_PEAK_COST
        errors = (scaled - target) ** 2
        for j in range(len(peaks)):
            table[i + 1, j + 1] = min(table[i, j] + errors[j], table[i, j + 1] + NO_PEAK_COST, table[i + 1, j] + extra[j])
    pairs = []
    i, j = len(targets), len(peaks)
    while i and j:
        if table[i, j] == table[i - 1, j - 1] + (scaled[j - 1] - targets[i - 1]) ** 2:
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif table[i, j] == table[i - 1, j] + NO_PEAK_COST:
            i -= 1
        else:
            j -= 1
    return float(table[-1, -1]), pairs[::-1]
