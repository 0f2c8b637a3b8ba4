"""The errand of a chunk: what it leaves on the disk, whatever happens to its worker, to irerd or to the file in between.

The workers here are real and compute; JAX is never loaded into this process. What only concerns files runs on a simulated disk.
"""

import json
import os
import signal
import sys
import uuid
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from random import Random

import h5py
import numpy as np
import pytest
import trio

from core.engine import Errand, JobEnded
from core.settings import Compute
from core.sim.chunk import Chunk, outcomes
from irerd import worker, workers
from irerd.effects.runs import Paths, Runs
from irerd.host import RealHost
from irerd.workers import WorkFailed, open_workers
from tests.sim.disk import CHANGES, SimFiles
from tests.test_systemd import allowed_calls, calls_of, tool

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)}
TIMEOUT_S = 100.0
TWO = [min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))]
PARAMS = {
    **{"eps": 1.0, "lam": 1.0, "b3": 1.0, "c3": -0.8, "g_nl": 0.3, "sigma": 2.0, "a": 0.0, "r": 0.5, "lam5": 0.0},
    **{"kappa": 0.5, "eta": 0.5, "alpha": 0.5, "rho_vac": 1.0, "D_g": 1.0, "m2": 1.0, "tau": 1.0},
}
RUNAWAY = {**PARAMS, "lam": 0.0, "g_nl": 0.0, "eps": 80.0, "kappa": 0.0, "eta": 0.0}
"""Gain, and nothing that ends it; space feels none of it."""
STEPS = 96


def job(number: int) -> str:
    return str(uuid.UUID(int=number, version=5))


def lane(number: int, params=PARAMS) -> dict:
    return {"job_uuid": job(number), "seed": number, "params": params}


def chunk(*lanes: dict, steps: int = STEPS, dt: float | None = 0.02) -> dict:
    """All of one signature, so that one program serves this module."""
    settings = {"kernel": "gaussian", "geometry": "coevolve", "dealias": "half", "dtype": "complex64"}
    whole = {"initial": None, "pump": None, "snapshots": 4}
    return {
        **{"model": "sncgl_sdg", "grid": {"n": 16, "l": 20.0, "d": 2}, "steps": steps, "dt": dt},
        **{"settings": {**settings, **whole}, "targets": 5, "lanes": list(lanes)},
    }


def errand(asked: dict) -> Errand:
    return Errand("hunt_log:7:0", "sim.chunk", asked)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    return tmp_path_factory.mktemp("compiled")


class Computing(RealHost):
    """This machine, with what is compiled in a place of the test's own."""

    def __init__(self, place: Path) -> None:
        place.mkdir()
        super().__init__(place, ENVIRONMENT)

    @property
    def pid(self) -> int:
        figures = self.work_figures()
        assert figures is not None
        return figures.pids[0]


@asynccontextmanager
async def computing(place: Path, compiled: Path, monkeypatch, workers: int = 1):
    monkeypatch.setenv("CACHE_DIRECTORY", str(compiled))
    host = Computing(place)
    settings = Compute(workers=workers)
    async with host.computing(f"runs{os.getpid()}", settings):
        with trio.fail_after(TIMEOUT_S):
            yield host, Runs(host, place, lambda: settings)


def files_of(place: Path) -> dict[str, bytes]:
    """What depends on neither clock nor place."""
    return {str(path.relative_to(place)): path.read_bytes() for name in ("configs", "data") for path in (place / name).iterdir()}


@pytest.mark.slow
async def test_a_chunk_leaves_for_each_run_a_config_its_fields_and_a_page_that_vouches_for_them(tmp_path, compiled, monkeypatch):
    told: list[dict] = []
    asked = chunk(lane(1), lane(2, RUNAWAY), lane(3))
    async with computing(tmp_path / "one", compiled, monkeypatch) as (host, runs):
        assert host.work_figures().started == 0  # nothing starts before a job needs it
        ended = await runs.run(errand(asked), told.append)
        assert (ended.ok, ended.code, ended.effect) == (True, "ok", "hunt_log:7:0")
        place = tmp_path / "one"
        found = outcomes(ended.result, msgspec_chunk(asked))
        assert found is not None
        assert [one.status for one in found] == ["ok", "diverged", "ok"]
        assert found[1].fail_step is not None and found[1].log_prime_sse is None and found[1].sse_code == "diverged"
        assert found[0].sdg_h_norm_l2 is not None and found[0].sdg_h_norm_l2 > 0
        assert told[0] == {"done": 0, "total": 3 * STEPS, "unit": "steps"}
        assert [row["done"] for row in told] == sorted(row["done"] for row in told)
        for one in found:
            paths = Paths.of(one.job_uuid)
            assert sha256((place / paths.data).read_bytes()).hexdigest() == one.artefact_sha256
            page = json.loads((place / paths.provenance).read_text())
            assert page["artefact_sha256"] == one.artefact_sha256 and page["metrics"]["sdg_h_norm_l2"] == one.sdg_h_norm_l2
            assert page["status"] == one.status and page["wall_s"] > 0 and page["versions"].keys() >= {"irer", "jax", "numpy"}
            config = json.loads((place / paths.config).read_text())
            assert set(config) == {"job_uuid", "global_seed", "simulation", "sncgl_params"}
            assert (place / paths.data).stat().st_mode & 0o777 == 0o600
        with h5py.File(place / Paths.of(job(1)).data) as store:
            assert store["A"].shape == (16, 16) and store["A"].dtype == np.complex64
            assert store["snaps"].shape == (4, 16, 16) and np.array_equal(store["snaps"][-1], store["A"][()])
            assert store.attrs["job_uuid"] == job(1) and store["settings"].attrs["alpha"] == 0.5
            assert store.attrs["sdg_h_norm_l2"] == found[0].sdg_h_norm_l2
            assert np.allclose(store["omega_inverse_square"][()], store["rho_s"][()] ** 0.5, atol=1e-4)
        assert not [path for path in place.rglob("*.tmp")]

        # What is there already is not computed again, and nothing of it changes.
        before = {path: path.stat().st_mtime_ns for path in place.rglob("*.*")}
        started = host.work_figures()
        assert await runs.run(errand(asked), told.append) == ended
        assert {path: path.stat().st_mtime_ns for path in place.rglob("*.*")} == before
        assert host.work_figures() == started

    # A worker that is killed in the middle costs an attempt, and a run has the same bytes whoever stands beside it.
    killed: list[int] = []
    async with computing(tmp_path / "two", compiled, monkeypatch) as (host, runs):

        def kill(row: dict) -> None:
            if not killed:
                killed.append(host.pid)
                os.kill(host.pid, signal.SIGKILL)

        again = await runs.run(errand(chunk(lane(3), lane(1))), kill)
        assert killed and host.work_figures().lost == 1
    assert again.result["lanes"] == [ended.result["lanes"][2], ended.result["lanes"][0]]
    alone = files_of(tmp_path / "two")
    assert alone.items() <= files_of(tmp_path / "one").items() and len(alone) == 4


@pytest.mark.slow
async def test_a_run_goes_on_where_another_one_ended(tmp_path, compiled, monkeypatch):
    """In two halves it comes to the same as in one, and its page says which file it began with."""

    def later(number: int, source: int, **more) -> dict:
        asked = chunk(lane(number), steps=STEPS // 3)
        asked["settings"]["initial"] = {"kind": "from_artefact", "job_uuid": job(source)}
        return {**asked, **more}

    place = tmp_path / "state"
    async with computing(place, compiled, monkeypatch) as (_, runs):

        async def come_to(asked: dict) -> JobEnded:
            return await runs.run(errand(asked), lambda row: None)

        whole = await come_to(chunk(lane(1)))
        half = await come_to(chunk(lane(1) | {"job_uuid": job(2)}, steps=STEPS // 3 * 2))
        ended = await come_to(later(3, 2))
        assert whole.ok and half.ok and ended.ok
        with h5py.File(place / Paths.of(job(1)).data) as one, h5py.File(place / Paths.of(job(3)).data) as other:
            assert np.allclose(one["A"][()], other["A"][()], rtol=0, atol=2e-5)
            assert np.allclose(one["rho_s"][()], other["rho_s"][()], rtol=0, atol=2e-5)
            source = half.result["lanes"][0]["artefact_sha256"]
            assert json.loads(other["settings"].attrs["initial"])["artefact_sha256"] == source
        page = json.loads((place / Paths.of(job(3)).provenance).read_text())
        assert page["source"] == {"job_uuid": job(2), "artefact_sha256": source}
        assert page["simulation"]["initial"] == {"kind": "from_artefact", "job_uuid": job(2)}

        ended = await come_to(later(4, 9))
        assert ended.code == "no-source", ended
        assert (await come_to(later(4, 2, grid={"n": 16, "l": 10.0, "d": 2}))).code == "other-source"
        changed = later(4, 2)
        changed["settings"]["initial"]["artefact_sha256"] = "ab" * 32
        assert (await come_to(changed)).code == "bad-source"
        outside = later(4, 2)
        outside["settings"]["initial"]["job_uuid"] = "a/b"
        assert (await come_to(outside)).code == "bad-spec"
        assert not (place / Paths.of(job(4)).data).exists()


def msgspec_chunk(asked: dict) -> Chunk:
    import msgspec

    return msgspec.convert(asked, Chunk, strict=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("jobs", "drawn"), [(20, 5), pytest.param(200, 50, marks=pytest.mark.campaign)], ids=["a tenth", "campaign"]
)
async def test_jobs_whose_workers_are_killed_once_each_all_arrive_equal(jobs, drawn, tmp_path, compiled):
    """G of the numerics: of 200 jobs, 50 drawn at random lose their worker once."""
    unlucky = set(Random(drawn).sample(range(jobs), drawn))
    results: dict[bool, dict[int, tuple[bytes, bytes]]] = {True: {}, False: {}}
    killed: set[int] = set()

    async def one(pool, number: int, disturbed: bool) -> None:
        path = tmp_path / f"{number}-{disturbed}"
        pids: list[int] = []

        def told(progress) -> None:
            if disturbed and number in unlucky and number not in killed:
                killed.add(number)
                os.kill(pids[-1], signal.SIGKILL)

        spec = json.dumps({"chunk": chunk(lane(number), steps=33), "files": [str(path)]}).encode()
        answer = await pool.run("chunk", spec, timeout_s=TIMEOUT_S, on_attempt=pids.append, on_progress=told)
        results[disturbed][number] = (answer, path.read_bytes())

    async with open_workers(f"kill{os.getpid()}", ENVIRONMENT, cache=compiled, cores=TWO) as pool:
        for disturbed in (True, False):
            async with trio.open_nursery() as nursery:
                for number in range(jobs):
                    nursery.start_soon(one, pool, number, disturbed)
            # A kill may come when the answer is on its way already: then nothing was lost.
            assert killed == unlucky and 1 <= pool.figures().lost <= drawn
    assert len(results[True]) == jobs and results[True] == results[False]


async def test_a_worker_that_tells_nothing_is_replaced_until_the_job_is_given_up(tmp_path):
    host = Computing(tmp_path / "state")
    async with host.computing(f"runs{os.getpid()}", Compute(workers=1, silent_s=0.1)):
        with trio.fail_after(TIMEOUT_S), pytest.raises(WorkFailed) as failed:
            await host.work("hang", b"", timeout_s=TIMEOUT_S)
        assert (failed.value.code, failed.value.detail, host.work_figures().lost) == ("poison", "hung", 3)
    with pytest.raises(WorkFailed, match="closed"):
        await host.work("echo", b"", timeout_s=TIMEOUT_S)


async def test_one_that_tells_how_far_it_is_may_take_as_long_as_it_needs(autojump_clock):
    class Slow:
        said = 0

        async def receive(self):
            await trio.sleep(9.0)
            self.said += 1
            return (workers._Told(1, self.said, 50), b"") if self.said < 50 else (workers._Done(1), b"outcome")

    pool = workers.Workers("x", {}, None, [0], workers.Limits(), (), Path("/nowhere"))
    order = workers.Order("slow", b"", 10.0, 100, None, None)
    assert await pool._answer(Slow(), order, []) == b"outcome"  # type: ignore[arg-type]
    with pytest.raises(trio.TooSlowError):
        await pool._answer(Slow(), order._replace(attempt_s=8.0), [])  # type: ignore[arg-type]


@pytest.mark.campaign
async def test_nothing_that_a_worker_does_is_forbidden_by_the_unit(tmp_path, compiled):
    trace = tmp_path / "trace"
    traced = (tool("strace"), "-f", "-qq", "-o", str(trace), sys.executable, "-P", "-m", "irerd.worker")
    async with open_workers(f"trace{os.getpid()}", ENVIRONMENT, cache=compiled, cores=TWO[:1], command=traced) as pool:
        spec = {"chunk": chunk(lane(1)), "files": [str(tmp_path / "run.h5")]}
        await pool.run("chunk", json.dumps(spec).encode(), timeout_s=TIMEOUT_S)
        for name in ("validate", "profile", "picture"):
            await pool.run(name, json.dumps({"artefact": str(tmp_path / "run.h5")}).encode(), timeout_s=TIMEOUT_S)
    made = await trio.to_thread.run_sync(lambda: calls_of(trace.read_text()))
    assert {"sched_setaffinity", "fsync", "prlimit64", "mbind"} <= made, "the trace shows what was done"
    assert made - allowed_calls((ROOT / "systemd/irerd.service").read_text()) == set()


# --- the files, on a disk that ends anywhere ------------------------------------------------------------------------------


class Ends(Exception):
    """Here the process ends."""


class Disk:
    """The files seam; the process ends before its nth change."""

    def __init__(self, files: SimFiles, ends_at: int = -1) -> None:
        self._files = files
        self._left = ends_at

    def __getattr__(self, name: str):
        call = getattr(self._files, name)

        def changing(*arguments):
            if name in CHANGES and not (name == "open" and not arguments[1] & (os.O_CREAT | os.O_TRUNC)):
                self._left -= 1
                if self._left == -1:
                    raise Ends
            return call(*arguments)

        return changing


class Desk:
    """A host whose worker has its answer ready, and writes as a worker does: to the names it is given, whole, and synced."""

    def __init__(self, disk, spoil=lambda answer: answer) -> None:
        self.files = disk
        self.asked: list[dict] = []
        self.patient: list[bool] = []
        self._spoil = spoil
        self._now = 0

    def mono_us(self) -> int:
        self._now += 1_000_000
        return self._now

    async def offload(self, function, *arguments):
        return function(*arguments)

    async def work(self, name, spec, *, timeout_s, on_progress=None, patient=False) -> bytes:
        asked = json.loads(spec)
        self.asked.append(asked)
        self.patient.append(patient)
        said = []
        for one, path in zip(asked["chunk"]["lanes"], asked["files"], strict=True):
            content = fields(one["seed"])
            fd = self.files.open(path.removeprefix("/state/"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            self.files.write(fd, content)
            self.files.fsync(fd)
            self.files.close(fd)
            said.append(outcome(one["job_uuid"], sha256(content).hexdigest()))
        answer = {"lanes": said, "bytes": [1] * len(said), "versions": {"jax": "1"}}
        return json.dumps(self._spoil(answer)).encode()


def fields(seed: int) -> bytes:
    return b"fields of %d" % seed * 1000


def outcome(job_uuid: str, digest: str | None) -> dict:
    numbers = {"log_prime_sse": 0.25, "sse_code": None, "sdg_h_norm_l2": 0.5, "h_code": None, "sdg_h_norm_l2_max": 0.75}
    peaks = {"scaling_factor": 2.0, "n_peaks": 5, "n_targets": 5, "resolved": True}
    return {"job_uuid": job_uuid, "status": "ok", "flags": [], **numbers, **peaks, "artefact_sha256": digest, "fail_step": None}


ASKED = chunk(lane(1), lane(2))


def runs_on(disk, **more) -> tuple[Desk, Runs]:
    desk = Desk(disk, **more)
    return desk, Runs(desk, Path("/state"), Compute)  # type: ignore[arg-type]


async def finished(files: SimFiles, **more) -> JobEnded:
    _, runs = runs_on(Disk(files), **more)
    return await runs.run(errand(ASKED), lambda row: None)


def complete_or_absent(files: SimFiles) -> None:
    tree = files.tree()
    for number in (1, 2):
        paths = Paths.of(job(number))
        if paths.data in tree:
            assert tree[paths.data] == fields(number)
        if paths.provenance in tree:
            page = json.loads(tree[paths.provenance])
            assert page["artefact_sha256"] == sha256(tree[paths.data]).hexdigest()
        if paths.config in tree:
            assert json.loads(tree[paths.config])["job_uuid"] == job(number)


async def test_after_an_end_at_any_change_files_are_complete_or_absent_and_the_same_chunk_mends_all():
    sound = SimFiles()
    wanted = await finished(sound)
    assert wanted.ok
    random = Random(4)
    ends = 0
    while True:
        files = SimFiles()
        _, runs = runs_on(Disk(files, ends))
        try:
            await runs.run(errand(ASKED), lambda row: None)
            break
        except Ends:
            ends += 1
        for left in (files.kill(), files.crash(random), files.crash(random)):
            complete_or_absent(left)
            assert await finished(left) == wanted
            assert left.tree() == sound.tree()  # also: nothing half-written stays
    assert ends > 30


async def test_a_run_that_is_complete_keeps_its_page_and_others_are_computed_with_it():
    files = SimFiles()
    await finished(files)
    before = files.tree()
    files.unlink(Paths.of(job(2)).provenance)
    desk, runs = runs_on(Disk(files))
    desk.mono_us = iter([0, 9_000_000]).__next__  # type: ignore[method-assign]
    assert (await runs.run(errand(ASKED), lambda row: None)).ok
    assert len(desk.asked[0]["chunk"]["lanes"]) == 2  # a chunk runs as a whole
    after = files.tree()
    changed = {path for path in before if after[path] != before[path]}
    assert changed == {Paths.of(job(2)).provenance}
    assert json.loads(after[Paths.of(job(2)).provenance])["wall_s"] == 9.0


@pytest.mark.parametrize("hunts", [False, True])
async def test_a_chunk_of_a_hunt_lets_others_go_before_it_and_a_run_that_somebody_asked_for_does_not(hunts):
    of = {"hunt_id": "h", "generation": 0, "index": 0} if hunts else {}
    desk, runs = runs_on(Disk(SimFiles()))
    assert (await runs.run(errand(chunk(lane(1) | of)), lambda row: None)).ok and desk.patient == [hunts]


@pytest.mark.parametrize("path", [Paths.of(job(1)).data, Paths.of(job(1)).provenance])
async def test_what_was_changed_since_is_not_taken_for_complete(path):
    files = SimFiles()
    wanted = await finished(files)
    tree = files.tree()
    files.plant(path, tree[path].replace(b"1", b"2"))
    desk, runs = runs_on(Disk(files))
    assert await runs.run(errand(ASKED), lambda row: None) == wanted
    assert len(desk.asked) == 1
    assert files.tree() == tree


async def test_another_run_of_the_same_id_is_not_answered_from_the_old_one():
    files = SimFiles()
    await finished(files)
    desk, runs = runs_on(Disk(files))
    await runs.run(errand(chunk(lane(1), {**lane(2), "seed": 7})), lambda row: None)
    assert len(desk.asked) == 1
    assert files.tree()[Paths.of(job(2)).data] == fields(7)


async def test_what_an_earlier_life_left_half_written_goes_once_and_what_is_being_written_stays():
    files = SimFiles()
    left = [f"data/run_{job(8)}.h5.tmp", f"configs/config_{job(8)}.json.tmp", f"provenance/provenance_{job(8)}.json.tmp"]
    for path in left:
        files.plant(path, b"half")
    _, runs = runs_on(Disk(files))
    await runs.run(errand(ASKED), lambda row: None)
    assert not set(left) & set(files.tree())
    for path in left:
        files.plant(path, b"of a chunk that is computed now")
    await runs.run(errand(chunk(lane(3))), lambda row: None)
    assert set(left) <= set(files.tree())


def other_hash(answer: dict) -> dict:
    answer["lanes"][1]["artefact_sha256"] = "0" * 64
    return answer


def other_lane(answer: dict) -> dict:
    answer["lanes"][1]["job_uuid"] = job(9)
    return answer


def no_number(answer: dict) -> dict:
    answer["lanes"][0]["log_prime_sse"] = -1.0
    return answer


@pytest.mark.parametrize("spoil", [other_hash, other_lane, no_number, lambda answer: {**answer, "more": 1}, lambda answer: 7])
async def test_a_worker_that_lies_leaves_nothing_under_a_name(spoil):
    files = SimFiles()
    ended = await finished(files, spoil=spoil)
    assert (ended.ok, ended.code, ended.result) == (False, "bad-output", {})
    tree = files.tree()
    assert Paths.of(job(2)).data not in tree and Paths.of(job(2)).provenance not in tree
    assert not [path for path in tree if path.endswith(".tmp")]
    complete_or_absent(files)


async def test_a_run_that_left_no_fields_has_a_page_and_no_file_of_an_earlier_one():
    files = SimFiles()
    await finished(files)

    def none_of_two(answer: dict) -> dict:
        diverged = {"status": "diverged", "log_prime_sse": None, "sse_code": "diverged", "sdg_h_norm_l2": None}
        more = {"h_code": "diverged", "sdg_h_norm_l2_max": None, "fail_step": 3, "artefact_sha256": None}
        answer["lanes"][1] |= {**diverged, **more}
        return answer

    files.unlink(Paths.of(job(2)).provenance)
    ended = await finished(files, spoil=none_of_two)
    assert ended.ok and ended.result["lanes"][1]["status"] == "diverged"
    tree = files.tree()
    assert Paths.of(job(2)).data not in tree
    assert json.loads(tree[Paths.of(job(2)).provenance])["artefact_sha256"] is None
    assert await finished(files, spoil=lambda answer: pytest.fail("it is complete")) == ended


CODES = {
    ("poison", "died"): ("poison", "three workers"),
    ("poison", "memory"): ("memory", "compute.memory_bytes"),
    ("timeout", ""): ("timeout", "compute.timeout_s"),
    ("busy", ""): ("busy", "irerctl call system.health"),
    ("no-process", ""): ("no-process", "ulimit"),
    ("no-memory", ""): ("no-memory", "/dev/shm"),
    ("no-file", ""): ("no-file", "df"),
    ("out-of-range", ""): ("out-of-range", "irerctl"),
    ("not-installed", "jax"): ("not-installed", "jax is not installed"),
    ("broken", "KeyError chunk.py:9"): ("broken", "chunk.py:9"),
}


@pytest.mark.parametrize("failure", CODES)
async def test_each_way_to_fail_is_told_with_what_to_do_and_leaves_nothing_half_written(failure):
    files = SimFiles()
    desk, runs = runs_on(Disk(files))

    async def fails(name, spec, **more):
        fd = files.open("data/run_" + job(1) + ".h5.tmp", os.O_WRONLY | os.O_CREAT)
        files.close(fd)
        raise WorkFailed(*failure)

    desk.work = fails  # type: ignore[method-assign]
    ended = await runs.run(errand(ASKED), lambda row: None)
    code, says = CODES[failure]
    assert (ended.ok, ended.code) == (False, code)
    assert says in ended.detail and len(ended.detail) <= 500 and ended.detail.count(". ") >= 1
    assert sorted(path.partition("/")[0] for path in files.tree()) == ["configs", "configs"]


async def test_a_pool_that_closes_is_no_outcome(autojump_clock):
    desk, runs = runs_on(Disk(SimFiles()))

    async def closed(name, spec, **more):
        raise WorkFailed("closed")

    desk.work = closed  # type: ignore[method-assign]
    with trio.move_on_after(3600) as limit:
        await runs.run(errand(ASKED), lambda row: None)
    assert limit.cancelled_caught


async def test_cancelling_removes_what_was_half_written(autojump_clock):
    files = SimFiles()
    desk, runs = runs_on(Disk(files))

    async def slow(name, spec, **more):
        files.close(files.open("data/run_" + job(1) + ".h5.tmp", os.O_WRONLY | os.O_CREAT))
        await trio.sleep_forever()

    desk.work = slow  # type: ignore[method-assign]
    with trio.move_on_after(1):
        await runs.run(errand(ASKED), lambda row: None)
    assert not [path for path in files.tree() if path.startswith("data/")]


@pytest.mark.parametrize("room", [0, 67_108_864])
async def test_without_room_for_the_fields_nothing_is_computed(room):
    files = SimFiles()
    desk, runs = runs_on(Disk(files))
    files.free = lambda: room  # type: ignore[method-assign]
    ended = await runs.run(errand(ASKED), lambda row: None)
    assert (ended.code, desk.asked) == ("no-space", [])


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {**ASKED, "model": "other"},
        chunk({**lane(1), "job_uuid": "../../etc"}),
        chunk({**lane(1), "job_uuid": "latest"}),
        chunk({**lane(1), "job_uuid": "ABCDEF00-0000-5000-8000-000000000001"}),
        chunk(lane(1), lane(1)),
    ],
    ids=["nothing", "a model", "a path", "a name", "another spelling", "twice the same"],
)
async def test_what_is_no_chunk_touches_nothing(asked):
    files = SimFiles()
    _, runs = runs_on(Disk(files))
    ended = await runs.run(errand(asked), lambda row: None)
    assert (ended.ok, ended.code) == (False, "bad-spec")
    assert files.tree() == {}


# --- a worker by itself ---------------------------------------------------------------------------------------------------


def test_a_library_that_is_not_installed_is_named(monkeypatch):
    def needs(spec, tell):
        import no_such_library_anywhere  # noqa: F401 # type: ignore[import-not-found]

    monkeypatch.setitem(worker.JOBS, "needs", needs)
    assert worker.attempt("needs", b"", lambda done, total: None) == ("not-installed", "no_such_library_anywhere")


def test_a_cache_that_cannot_be_made_is_done_without(tmp_path, monkeypatch):
    for variable in ("JAX_COMPILATION_CACHE_DIR", "NUMBA_CACHE_DIR"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "file").write_bytes(b"")
    assert not worker.Compiled(tmp_path / "file").open()
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ
