"""The work of a certificate: what is measured of planted fields, what a hunt's best is worth among its candidates, and the errand.

Fields are planted; JAX is never asked for one.
"""

import json
import math
import statistics
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import msgspec
import pytest

np = pytest.importorskip("numpy")

from core.engine import Errand, JobEnded  # noqa: E402
from core.hunt import certificate, start  # noqa: E402
from core.hunt.certificate import Figures  # noqa: E402
from core.settings import Compute  # noqa: E402
from core.sim.chunk import Chunk, Grid, Lane, Settings  # noqa: E402
from core.sim.model import checked  # noqa: E402
from irerd.effects.certificates import Certificates  # noqa: E402
from irerd.effects.runs import Paths  # noqa: E402
from irerd.work import certify, chunk, components  # noqa: E402
from irerd.worker import JobFailed  # noqa: E402
from irerd.workers import Progress, WorkFailed  # noqa: E402
from kernels import nulls  # noqa: E402
from kernels.artefact import Artefact, write  # noqa: E402
from kernels.score import log_primes  # noqa: E402

JOB = "123e4567-e89b-42d3-a456-426614174000"
CHUNK = Chunk(
    "sncgl_sdg", Grid(32, 20.0, 2), 10, 0.05, Settings(dtype="complex128", snapshots=1), 8, [Lane(JOB, 7, checked({}, "x"))]
)


def noise(seed: int, points: int = 32) -> Any:
    draw = np.random.default_rng(seed)
    n = np.fft.fftfreq(points, 1 / points)
    far = np.hypot(n[:, None], n)
    size = np.exp(-far / 4) * np.exp(2 * draw.standard_normal(points))[np.rint(far).astype(int)] * (far < points // 4)
    return points**2 * np.fft.ifft2(size * np.exp(2j * np.pi * draw.random((points, points))))[None]


def told(done: int, total: int) -> None:
    assert 0 <= done <= total


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What a run would have come to."""
    result = SimpleNamespace(snaps=noise(3)[None], status=np.array([0]), flags=np.array([0]), h_max=np.array([0.25]))
    monkeypatch.setattr(chunk, "_computed", lambda *arguments: result)
    return result


def certified(kind: str = "fresh", **changed: Any) -> Figures:
    spec = {"kind": kind, "chunk": msgspec.to_builtins(CHUNK), "job_uuid": JOB, "draws": 999, "memory_bytes": 1 << 31, **changed}
    said = json.loads(certify.certify(json.dumps(spec).encode(), told))
    (found,) = msgspec.convert(said["figures"], list[Figures])
    return found


def test_a_fresh_seed_is_measured_with_eight_targets_and_held_against_every_null(planted):
    found = certified()
    _, aligned = nulls.measure(planted.snaps[0], 20.0, 8)
    assert (found.seed, found.score, found.resolved, found.h_max) == (7, aligned.score, aligned.resolved, 0.25)
    assert found.matched == np.count_nonzero(aligned.matched >= 0) and found.p_phase is not None and found.p_phase >= 0.001
    assert found.p_target is not None and found.ramp_gain is not None and certified() == found, "its draws are keyed"
    assert certified("finer").p_phase is None, "a refinement only has to come to the same"


def test_a_run_that_went_wrong_has_no_score(planted):
    planted.status = np.array([1])
    found = certified()
    assert (found.status, found.score, found.code) == ("diverged", None, "diverged")
    planted.status, planted.snaps = np.array([0]), np.ones((1, 1, 32, 32), complex)
    assert (certified().score, certified().code) == (None, "no_peaks")


@pytest.mark.parametrize("changed", [{"draws": 99}, {"draws": 100_000}])
def test_draws_have_bounds_in_the_worker_too(planted, changed):
    with pytest.raises(JobFailed, match="out-of-range"):
        certified(**changed)


def stored(place: Path, seed: int) -> str:
    job = str(UUID(int=seed))
    with place.open("w+b") as file:
        arrays = {"A": noise(seed)[0], "rho_s": np.ones((32, 32)), "snaps": noise(seed), "diag": np.zeros((1, 6))}
        write(file, Artefact({"job_uuid": job, "status": "ok"}, {"n": 32, "l": 20.0, "d": 2}, arrays))
    return str(place)


def test_the_best_of_a_hunt_is_compared_with_the_best_of_as_many(tmp_path):
    paths = [stored(tmp_path / f"{seed}.h5", seed) for seed in range(1, 4)]

    def p(best: float, among: list[str]) -> float:
        spec = {"artefacts": [[path] for path in among], "seeds": 1, "targets": 5, "draws": 999, "best": best}
        return float(json.loads(certify.family(json.dumps(spec).encode(), told))["p_family"])

    alone, together = p(4.1, paths[:1]), p(4.1, paths)
    assert 0.001 < alone < together, "more candidates, more luck"
    assert p(-1.0, paths) == 0.001, "it is never 0"
    with pytest.raises(JobFailed, match="no-artefact"):
        p(1.0, [str(tmp_path / "gone.h5")])


def test_the_best_of_medians_is_compared_with_the_best_of_as_many_medians(tmp_path):
    """By hand, draw for draw; a run that left nothing, or diverged, scores nothing and counts."""
    paths = [stored(tmp_path / f"{seed}.h5", seed) for seed in range(1, 4)]
    groups, draws, best = [paths[:2], paths[2:]], 999, 4.1
    scores = {}
    for seed, path in enumerate(paths, 1):
        found = nulls.phase_draws(noise(seed), UUID(int=seed), log_primes(5), draws).score
        scores[path] = [math.inf if math.isnan(score) else float(score) for score in found]
    wanted = 0
    for at in range(draws):
        medians = [statistics.median([*(scores[path][at] for path in group), *[math.inf] * (3 - len(group))]) for group in groups]
        wanted += min(medians) <= best + 1e-9
    spec = {"artefacts": groups, "seeds": 3, "targets": 5, "draws": draws, "best": best}
    told_p = json.loads(certify.family(json.dumps(spec).encode(), told))["p_family"]
    assert 5 < wanted < 990 and told_p == (1 + wanted) / (1 + draws)
    with pytest.raises(JobFailed, match="out-of-range"):
        certify.family(json.dumps({**spec, "seeds": 1}).encode(), told)


def test_the_gaps_that_a_hunt_selects_by_are_those_that_null_profile_finds(tmp_path):
    path, job, snaps = stored(tmp_path / "run.h5", 3), str(UUID(int=3)), noise(3)
    variables = {"draws": start.GAP_DRAWS, "targets": 5}
    spec = {"artefact": path, "job_uuid": job, "variables": variables}
    wanted = json.loads(components.null_profile(json.dumps(spec).encode(), told))["outputs"]
    work = msgspec.structs.replace(CHUNK, targets=5, gap_draws=start.GAP_DRAWS, lanes=[Lane(job, 7, checked({}, "x"))])
    measured = chunk._measured(snaps, work)
    assert measured is not None
    found = chunk._gaps(work, work.lanes[0], snaps, measured, wanted["log_prime_sse"], told)
    assert {name: found[name] for name in ("gap_phase", "gap_target")} == {
        name: wanted[name] for name in ("gap_phase", "gap_target")
    }
    assert found["gap_target"] is not None and found["gap"] is not None and found["gap"] <= found["gap_target"] + 1e-12


# --- the errand -----------------------------------------------------------------------------------------------------------


class Desk:
    """A host whose workers answer as a test says, on a directory of its own."""

    def __init__(self, place: Path, lost: str = "", why: str = "poison") -> None:
        from state.fs import RealFiles

        self.files = RealFiles(place)
        self.asked: list[str] = []
        self.specs: list[bytes] = []
        self._lost, self._why = lost, why

    async def offload(self, function: Any, *arguments: Any) -> Any:
        return function(*arguments)

    async def work(self, name: str, spec: bytes, *, timeout_s: float, on_progress: Any, patient: bool) -> bytes:
        asked = json.loads(spec)
        self.asked.append(name)
        self.specs.append(spec)
        on_progress(Progress(1, 2))
        if name == self._lost:
            raise WorkFailed(self._why, "died")
        if name == "family":
            return b'{"p_family": 0.25}'
        run = {"flags": [], "resolved": False, "score": None, "code": "no_peaks", "matched": 0, "h_max": 0.5}
        runs = [{"kind": asked["kind"], "seed": lane["seed"], "status": "ok", **run} for lane in asked["chunk"]["lanes"]]
        return json.dumps({"figures": runs}).encode()


FAMILY = {"family": [[JOB]], "seeds": 1, "family_targets": 5, "found": {"objectives": ["gap"], "seeds": 1, "gap_phase": 0.5}}


async def carried(desk: Desk, place: Path, progress: list[Any] | None = None, job: str = JOB) -> JobEnded:
    calls = [{"kind": kind, "chunk": msgspec.to_builtins(CHUNK)} for kind in ("fresh", "half_step", "finer")]
    work = {"job": job, "job_uuid": JOB, "hunt_id": "h", "calls": calls, "draws": 999, "others": [], "best": 0.1}
    heard = progress if progress is not None else []
    errand = Errand("hunt_log:1:0", "hunt.certify", {**work, **FAMILY})
    return await Certificates(desk, place, Compute).run(errand, heard.append)  # type: ignore[arg-type]


async def test_the_errand_puts_the_figures_together_and_leaves_what_the_engine_will_say(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / Paths.of(JOB).data).write_bytes(b"")
    desk, heard = Desk(tmp_path), []
    ended = await carried(desk, tmp_path, heard)
    assert ended.ok and ended.result["p_family"] == 0.25 and ended.result["looked_at"] == 1
    assert [run["kind"] for run in ended.result["figures"]] == ["fresh", "half_step", "finer"]
    page = json.loads((tmp_path / f"certificates/certificate_{JOB}.json").read_text())
    judged = certificate.judge(msgspec.convert(ended.result["figures"], list[Figures]))
    assert page["verdict"] == judged.verdict == "inconclusive" and page["reasons"] == judged.reasons
    assert page["found"] == FAMILY["found"], "what the hunt found stands beside the verdict"
    assert page["figures"] == ended.result["figures"] and heard[-1]["done"] <= heard[-1]["total"]


async def test_without_all_files_nobody_can_tell_what_the_best_of_them_is_worth(tmp_path):
    desk = Desk(tmp_path)
    ended = await carried(desk, tmp_path)
    assert ended.ok and (ended.result["p_family"], ended.result["looked_at"]) == (None, 0) and "family" not in desk.asked


async def test_whoever_asks_again_gets_the_very_same_draws(tmp_path):
    """Neither the seeds nor the nulls depend on the asking: else one could ask until chance is kind."""
    asked = []
    for job in (JOB, str(UUID(int=9))):
        desk = Desk(tmp_path)
        await carried(desk, tmp_path, job=job)
        asked.append(sorted(desk.specs))
    assert asked[0] == asked[1] and len(asked[0]) == 3


@pytest.mark.parametrize("why", ["bad-artefact", "no-artefact"])
async def test_a_damaged_file_of_another_candidate_costs_the_certificate_nothing(tmp_path, why):
    (tmp_path / "data").mkdir()
    (tmp_path / Paths.of(JOB).data).write_bytes(b"")
    ended = await carried(Desk(tmp_path, "family", why), tmp_path)
    assert ended.ok and (ended.result["p_family"], ended.result["looked_at"]) == (None, 0)


async def test_a_lost_worker_ends_it_with_a_reason_and_leaves_no_file(tmp_path):
    ended = await carried(Desk(tmp_path, "certify"), tmp_path)
    assert (ended.ok, ended.code) == (False, "poison") and "three workers" in ended.detail
    assert not (tmp_path / "certificates").exists()
