"""The built-in components on files of runs: what they find, what they say where there is nothing to find, and their errand.

Fields are planted; JAX is never loaded here, nor by a component.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
import trio

from core.component import manifest as manifests
from core.component.builtin import BSSN_CHECK, BUILTIN, NULL_PROFILE, TDA_PROFILE
from core.engine import Errand
from core.settings import Compute
from irerd.effects.components import Components
from irerd.effects.runs import Paths
from irerd.host import RealHost
from irerd.work import components
from irerd.worker import JOBS, NUMERIC, JobFailed
from irerd.workers import Progress, WorkFailed
from kernels import classical, nulls, params
from kernels.artefact import Artefact, write
from kernels.score import log_primes

ROOT = Path(__file__).parents[2]
JOB = "123e4567-e89b-42d3-a456-426614174000"
POINTS, LENGTH = 32, 20.0
SETTINGS = {
    **{"n": POINTS, "l": LENGTH, "d": 2, "steps": 96, "dt": 0.02, "kernel": "gaussian", "geometry": "coevolve", "dealias": "half"},
    **{"dtype": "complex64", "snapshots": 3, "eps": 1.0, "lam": 1.0, "b3": 1.0, "c3": -0.8, "g_nl": 0.3, "sigma": 2.0, "a": 0.0},
    **{"r": 0.5, "lam5": 0.0, "kappa": 0.9, "eta": 0.4, "alpha": 0.7, "rho_vac": 1.1, "D_g": 1.2, "m2": 0.6, "tau": 1.5},
}


def fields(seed: int = 1, shells: tuple[int, ...] = (3, 6, 9, 13)) -> np.ndarray:
    """Three snapshots of a uniform field with waves of a few lengths on it."""
    generator = np.random.default_rng(seed)
    number = np.fft.fftfreq(POINTS, 1 / POINTS)
    length = np.rint(np.hypot(*np.meshgrid(number, number)))
    modes = sum((length == shell) * 0.02 for shell in shells) + 1e-4 * (length > 0)
    waves = [np.fft.ifft2(modes * np.exp(2j * np.pi * generator.random(length.shape))) for _ in range(3)]
    return (1 + POINTS * np.array(waves)).astype(np.complex64)


def stored(place: Path, snaps: np.ndarray, status: str = "ok", **settings) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    x = np.arange(POINTS) * 2 * np.pi / POINTS
    rho_s = (1.2 + 0.2 * np.cos(x)[:, None] - 0.1 * np.sin(2 * x)[None]).astype(np.float32)
    if snaps.ndim > 3:
        rho_s = np.ones(snaps.shape[1:], np.float32)
    arrays = {"A": snaps[-1], "rho_s": rho_s, "snaps": snaps, "diag": np.zeros((len(snaps), 6))}
    with place.open("w+b") as file:
        write(file, Artefact({"job_uuid": JOB, "status": status}, {**SETTINGS, **settings}, arrays))
    return place


def asked(work, path: Path, **variables) -> dict:
    """What it says, once it is what its manifest promises."""
    names = {components.bssn_check: BSSN_CHECK, components.null_profile: NULL_PROFILE, components.tda_profile: TDA_PROFILE}
    name = names[work]
    tuned = manifests.variables_of(BUILTIN[name], variables)
    spec = json.dumps({"artefact": str(path), "job_uuid": JOB, "variables": tuned}).encode()
    said = json.loads(work(spec, lambda done, total: None))
    assert set(said) == {"outputs", "artefact_sha256"}
    outputs = manifests.outputs_of(BUILTIN[name], said["outputs"])
    assert outputs is not None, said
    return outputs


def test_every_built_in_component_has_its_work():
    for manifest in BUILTIN.values():
        assert manifest.builtin in JOBS and manifest.builtin in NUMERIC


# --- bssn-check


def test_the_classical_check_is_that_of_the_fields_with_the_numbers_they_were_run_with(tmp_path):
    snaps = fields()
    path = stored(tmp_path / "run.h5", snaps)
    found = asked(components.bssn_check, path)
    with path.open("rb") as file:
        rho_s = components.store.read(file).arrays["rho_s"]
    own = {"L": LENGTH, **{name: value for name, value in SETTINGS.items() if name in params.DEFAULTS}}
    exact = classical.check(snaps[-1], rho_s, params.coefficients(own), POINTS // 4)
    assert found == {"code": "ok", **dict(zip(exact._fields[1:], exact[1:], strict=True))}
    assert 0 < found["h_classical"] <= 1
    for name, value in (("alpha", -0.7), ("kappa", 0.1), ("tau", 3.0), ("m2", 1.9), ("l", 40.0), ("rho_vac", 0.8), ("D_g", 0.1)):
        other = asked(components.bssn_check, stored(tmp_path / "other.h5", snaps, **{name: value}))
        assert other["h_classical"] != found["h_classical"], f"{name} plays no part"


@pytest.mark.parametrize(
    ("status", "settings", "code"),
    [
        ("ok", {"geometry": "off"}, "flat"),
        ("ok", {"alpha": 0.0}, "flat"),
        ("diverged", {}, "diverged"),
        ("geometry", {}, "diverged"),
    ],
)
def test_where_there_is_no_geometry_there_is_a_code_and_no_number(tmp_path, status, settings, code):
    found = asked(components.bssn_check, stored(tmp_path / "run.h5", fields(), status, **settings))
    assert found["code"] == code and {value for name, value in found.items() if name != "code"} == {None}


# --- null-profile


def test_the_profile_is_that_of_the_nulls_one_by_one(tmp_path):
    snaps, targets, job = fields(), log_primes(5), UUID(JOB)
    told: list[tuple[int, int]] = []
    path = stored(tmp_path / "run.h5", snaps)
    spec = {"artefact": str(path), "job_uuid": JOB, "variables": {"draws": 99, "targets": 5}}
    said = json.loads(components.null_profile(json.dumps(spec).encode(), lambda done, total: told.append((done, total))))
    found = said["outputs"]
    seen, aligned = nulls.measure(snaps, LENGTH, 5)
    draws = nulls.phase_draws(snaps, job, targets, 99, sequences=nulls.random_targets(job, targets))
    assert found["code"] == "ok" and found["log_prime_sse"] == aligned.score and found["n_peaks"] == seen.peaks.x.size > 1
    scored = draws.score[draws.status == 0]
    assert found["draws_scored"] == scored.size > 50
    assert found["gap_phase"] == np.median(scored) - aligned.score
    random = [
        nulls.align(seen.peaks.x, own, *nulls.scale_range(seen.x, own)).score for own in nulls.random_targets(job, targets, 99)
    ]
    assert found["gap_target"] == np.median(random) - aligned.score
    assert found["rank_phase"] == nulls.as_good(aligned.score, draws)
    rank = nulls.rank_among(seen.peaks.x, aligned.score, nulls.random_targets(job, targets), seen.x)
    assert found["rank_target"] == np.count_nonzero(draws.rank <= rank)
    integers = nulls.integer_sequences(seen.peaks.x, aligned.score, seen.x, 5, job)
    assert found["integers_beaten_by"] == ", ".join(integers.beaten_by) and found["integers_rank"] == integers.rank
    assert found["ramp_gain"] == nulls.ramp_gain(seen.peaks.x, aligned, targets)
    assert told[0] == (0, 99) and told[-1] == (99, 99)


@pytest.mark.parametrize(("draws", "there"), [(998, False), (999, True)])
def test_a_p_value_needs_999_draws_and_a_rank_does_not(tmp_path, draws, there):
    found = asked(components.null_profile, stored(tmp_path / "run.h5", fields()[:1]), draws=draws)
    for kind in ("phase", "target"):
        assert found[f"rank_{kind}"] is not None
        assert found[f"p_{kind}"] == ((1 + found[f"rank_{kind}"]) / (1 + draws) if there else None)


@pytest.mark.parametrize(
    ("snaps", "status", "code", "peaks"),
    [(np.ones((2, POINTS, POINTS), np.complex64), "ok", "no_peaks", 0), (fields(), "diverged", "diverged", 0)],
)
def test_without_a_score_nothing_is_compared(tmp_path, snaps, status, code, peaks):
    found = asked(components.null_profile, stored(tmp_path / "run.h5", snaps, status))
    assert (found["code"], found["n_peaks"], found["draws"]) == (code, peaks, 99)
    assert {value for name, value in found.items() if name not in ("code", "n_peaks", "draws")} == {None}


def test_the_median_of_few_is_no_gap(tmp_path, monkeypatch):
    """Draws without peaks have no score; where most have none, the rest are not what a scrambled field is like."""
    path = stored(tmp_path / "run.h5", fields())
    real = nulls.phase_draws

    def sparse(fields, job, targets, draws, first=0, sequences=None):
        found = real(fields, job, targets, draws, first, sequences)
        found.score[np.arange(first, first + draws) % 3 > 0] = np.nan
        return found

    monkeypatch.setattr(nulls, "phase_draws", sparse)
    found = asked(components.null_profile, path)
    assert 0 < found["draws_scored"] < 50 and found["gap_phase"] is None and found["gap_target"] is not None


# --- tda-profile


def test_the_shape_of_a_density_is_told_by_numbers_curves_and_bars(tmp_path):
    """A density with two dips and, around one of them, a ring: what there is, and where, is known."""
    x = np.linspace(-1, 1, POINTS, endpoint=False)
    radius = np.hypot(*np.meshgrid(x, x))
    rho = 2.0 - 1.5 * np.exp(-((radius - 0.5) ** 2) / 0.01) - 1.2 * np.exp(-(radius**2) / 0.01)
    path = stored(tmp_path / "run.h5", np.sqrt(rho)[None].astype(np.complex128), dtype="complex128")
    found = asked(components.tda_profile, path, threshold=0.2)
    assert (found["code"], found["parts"], found["cavities"], found["betti_2"]) == ("ok", 2, None, None)
    assert found["loops"] == 3, "the ring, and the two ways around the torus"
    assert found["low"] == pytest.approx(rho.min()) and found["high"] == pytest.approx(rho.max())
    curves = [list(map(int, found[f"betti_{degree}"].split())) for degree in (0, 1)]
    assert [len(curve) for curve in curves] == [64, 64]
    assert curves[0][-1] == 1 and curves[1][-1] == 2 and max(curves[0][16:32]) == 2, "all of a torus is one part with two loops"
    degrees = [bar.split()[0] for bar in found["bars"].split("; ")]
    assert degrees[:3] == ["0", "1", "1"] and [bar.split()[2] for bar in found["bars"].split("; ")[:3]] == ["-"] * 3
    assert found["longest_part"] > 0.5 and found["longest_loop"] > 0.5 and 0 < found["entropy"] < 3
    above = asked(components.tda_profile, path, threshold=0.2, superlevel=True)
    assert above["parts"] == 2, "from the top down: what is around the ring, and what is between it and the dip in its middle"
    assert above["bars"].split("; ")[0].split()[1] == f"{rho.max():.6g}", "levels are those of the density, whichever way one goes"
    strict = asked(components.tda_profile, path, threshold=1.0)
    assert (strict["parts"], strict["loops"]) == (1, 2), "only what never ends lasts longer than all there is"


@pytest.mark.parametrize(
    ("snaps", "status", "code"),
    [
        (np.ones((1, POINTS, POINTS), np.complex64), "ok", "flat"),
        (np.full((1, POINTS, POINTS), np.nan + 0j), "ok", "not_finite"),
        (fields(), "diverged", "diverged"),
    ],
)
def test_what_has_no_shape_is_told_by_a_code(tmp_path, snaps, status, code):
    found = asked(components.tda_profile, stored(tmp_path / "run.h5", snaps, status))
    assert found["code"] == code and found["parts"] is None and found["bars"] is None


def test_loops_of_three_dimensions_are_counted_by_levels_and_paired_only_when_asked(tmp_path):
    x = 2 * np.pi * np.arange(8) / 8
    wave = np.cos(x)[:, None, None] + np.cos(x)[None, :, None] + np.cos(x)[None, None]
    path = stored(tmp_path / "run.h5", np.sqrt(4 + wave)[None].astype(np.complex128), d=3, n=8)
    found = asked(components.tda_profile, path)
    assert (found["parts"], found["loops"], found["longest_loop"], found["cavities"]) == (1, None, None, 3)
    assert found["betti_1"].split()[-1] == "3" and found["betti_1"].split()[0] == "0"
    pytest.importorskip("gudhi", reason="loops of three dimensions are paired by gudhi, which is not installed")
    assert asked(components.tda_profile, path, pair_loops=True)["loops"] == 3


@pytest.mark.parametrize("variables", [{"threshold": 2.0}, {"threshold": "x"}, {"superlevel": 1}, {"pair_loops": None}])
def test_what_is_tuned_has_bounds_in_the_worker_too(tmp_path, variables):
    tuned = {"threshold": 0.05, "superlevel": False, "pair_loops": False, **variables}
    spec = {"artefact": str(stored(tmp_path / "run.h5", fields())), "job_uuid": JOB, "variables": tuned}
    with pytest.raises(JobFailed, match="out-of-range"):
        components.tda_profile(json.dumps(spec).encode(), lambda done, total: None)


# --- what is no run


@pytest.mark.parametrize("work", [components.bssn_check, components.null_profile, components.tda_profile])
def test_what_is_no_file_of_that_run_is_told_by_a_code(tmp_path, work):
    variables = {"draws": 19, "targets": 5, "threshold": 0.0, "superlevel": False, "pair_loops": False}
    good = stored(tmp_path / "run.h5", fields())
    (tmp_path / "empty.h5").write_bytes(b"")
    specs = {
        "no-artefact": {"artefact": str(tmp_path / "missing.h5"), "job_uuid": JOB, "variables": variables},
        "bad-artefact": {"artefact": str(tmp_path / "empty.h5"), "job_uuid": JOB, "variables": variables},
        "bad-spec": {"artefact": 7},
    }
    for code, spec in specs.items():
        with pytest.raises(JobFailed) as failed:
            work(json.dumps(spec).encode(), lambda done, total: None)
        assert failed.value.code == code
    another = {"artefact": str(good), "job_uuid": JOB.replace("1", "2"), "variables": variables}
    with pytest.raises(JobFailed, match="bad-artefact"):
        work(json.dumps(another).encode(), lambda done, total: None)


@pytest.mark.parametrize(
    "variables", [{}, {"draws": 10_000, "targets": 5}, {"draws": 99, "targets": 11}, {"draws": 99.0, "targets": 5}]
)
def test_draws_and_targets_have_bounds_in_the_worker_too(tmp_path, variables):
    spec = {"artefact": str(stored(tmp_path / "run.h5", fields())), "job_uuid": JOB, "variables": variables}
    with pytest.raises(JobFailed, match="out-of-range"):
        components.null_profile(json.dumps(spec).encode(), lambda done, total: None)


def test_a_component_does_not_load_jax():
    program = "import irerd.work.components, sys\nprint('jax' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout == "False\n"


# --- the errand


class Desk:
    """A host whose workers answer as a test says."""

    def __init__(self, files: set[str], answer: bytes | WorkFailed = b"{}") -> None:
        self.files = self
        self._there = files
        self._answer = answer
        self.asked: list[tuple[str, dict, float]] = []

    def stat_path(self, path: str) -> object:
        return path if path in self._there else None

    async def offload(self, function, *arguments):
        return function(*arguments)

    async def work(self, name, spec, *, timeout_s, on_progress=None) -> bytes:
        self.asked.append((name, json.loads(spec), timeout_s))
        on_progress(Progress(3, 99))
        if isinstance(self._answer, WorkFailed):
            raise self._answer
        return self._answer


def errand(**changed) -> Errand:
    work = {"job": "id-1", "component": NULL_PROFILE, "builtin": "null_profile", "wall_s": 600.0}
    return Errand("hunt_log:3:0", "component.run", {**work, "inputs": {"job_uuid": JOB}, "variables": {"draws": 99}, **changed})


HERE = {Paths.of(JOB).data}


async def test_the_errand_asks_a_worker_for_the_file_of_that_run():
    desk, told = Desk(HERE, b'{"outputs": {"code": "ok"}, "artefact_sha256": "x"}'), []
    ended = await Components(desk, Path("/state")).run(errand(), told.append)  # type: ignore[arg-type]
    assert (ended.effect, ended.ok, ended.result) == ("hunt_log:3:0", True, {"outputs": {"code": "ok"}, "artefact_sha256": "x"})
    spec = {"artefact": f"/state/data/run_{JOB}.h5", "job_uuid": JOB, "variables": {"draws": 99}}
    assert desk.asked == [("null_profile", spec, 600.0)]
    assert told == [{"done": 3, "total": 99, "unit": "draws"}]


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"inputs": {"job_uuid": JOB.replace("1", "2")}}, "no-artefact"),
        ({"inputs": {"job_uuid": "../../etc/passwd"}}, "no-artefact"),
        ({"inputs": {}}, "no-artefact"),
        ({"builtin": ""}, "unknown-component"),
    ],
)
async def test_without_a_file_no_worker_is_asked(changed, code):
    desk = Desk(HERE | {"data/run_../../etc/passwd.h5"})
    ended = await Components(desk, Path("/state")).run(errand(**changed), lambda row: None)  # type: ignore[arg-type]
    assert (ended.ok, ended.code, desk.asked) == (False, code, [])


@pytest.mark.parametrize("answer", [b"", b"[]", b"\xff", b"{" * 9_000, b'{"x": "' + b"x" * 70_000 + b'"}'])
async def test_an_answer_that_is_none_is_passed_on_as_nothing(answer):
    ended = await Components(Desk(HERE, answer), Path("/state")).run(errand(), lambda row: None)  # type: ignore[arg-type]
    assert (ended.ok, ended.result) == (True, {}), "the engine judges it: bad-output"


async def test_a_lost_worker_is_a_code_and_a_stop_of_irerd_is_no_outcome(autojump_clock):
    desk = Desk(HERE, WorkFailed("poison", "died"))
    ended = await Components(desk, Path("/state")).run(errand(), lambda row: None)  # type: ignore[arg-type]
    assert (ended.ok, ended.code) == (False, "poison")
    ended = await Components(Desk(HERE, WorkFailed("poison", "memory")), Path("/state")).run(errand(), lambda row: None)  # type: ignore[arg-type]
    assert (ended.ok, ended.code) == (False, "memory"), "what to do about that is another thing"
    with trio.move_on_after(1_000) as waited:
        await Components(Desk(HERE, WorkFailed("closed")), Path("/state")).run(errand(), lambda row: None)  # type: ignore[arg-type]
    assert waited.cancelled_caught


@pytest.mark.slow
async def test_a_real_worker_says_what_the_function_says(tmp_path, monkeypatch):
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path / "cache"))
    path = stored(tmp_path / "state" / Paths.of(JOB).data, fields())
    host, settings = RealHost(tmp_path / "state", {"LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)}), Compute(workers=1)
    async with host.computing(f"components{os.getpid()}", settings):
        with trio.fail_after(100):
            asks = errand(component=BSSN_CHECK, builtin=BUILTIN[BSSN_CHECK].builtin, variables={})
            ended = await Components(host, tmp_path / "state").run(asks, lambda row: None)
            assert ended.ok and ended.result["outputs"] == asked(components.bssn_check, path)
        figures = host.work_figures()
        assert figures is not None and figures.lost == 0
