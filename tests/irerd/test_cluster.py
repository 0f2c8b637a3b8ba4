"""Jobs on a cluster: the answers of the pool here, byte for byte, also when a worker is killed in the middle; and what no cluster
may cost: a job, the daemon, or a file outside its place. The cluster is real: a scheduler and two worker processes on this machine.
"""

import json
import os
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
import trio

from core.settings import Compute
from irerd import cluster as cluster_module
from irerd.cluster import DRILLS, GOES, Call, Cluster, _believed, _files_of, _Given, open_cluster
from irerd.config import ConfigError, load
from irerd.workers import Progress, WorkFailed, open_workers
from tests.irerd.test_runs import chunk, lane

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)}
TIMEOUT_S = 60.0
LONG = (600_000).to_bytes(4, "big")
ENDLESS = 2**31


@pytest.fixture(scope="module")
def dask(tmp_path_factory):
    distributed = pytest.importorskip("distributed", reason="the cluster's tests need the extra dask: pip install 'irer[dask]'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CACHE_DIRECTORY", str(tmp_path_factory.mktemp("compiled")))  # the pool here shares it
        started = distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        )
        yield started
        started.close()


class Pools:
    """A cluster that also takes drills, and the pool it falls back on."""

    def __init__(self, address: str, **settings) -> None:
        self._settings = Compute(backend="dask", scheduler=address, **settings)

    async def __aenter__(self) -> Cluster:
        self._name = f"cluster{os.getpid()}"
        cache = Path(os.environ["CACHE_DIRECTORY"]) if "CACHE_DIRECTORY" in os.environ else None
        self._local = open_workers(self._name, ENVIRONMENT, cache=cache, cores=[min(os.sched_getaffinity(0))])
        self._there = open_cluster(await self._local.__aenter__(), self._settings, self._name)
        found = await self._there.__aenter__()
        found.goes = GOES | DRILLS | {"validate"}
        self._cluster = found
        return found

    async def __aexit__(self, *failure) -> None:
        self.done_here = self._cluster._local.figures().started
        await self._there.__aexit__(*failure)
        await self._local.__aexit__(*failure)


@pytest.mark.slow
async def test_a_cluster_answers_what_the_pool_here_answers_also_when_a_worker_is_killed(dask):
    specs = [LONG[:2] + bytes([64, number, 7]) for number in range(7)] + [LONG + b"x"]
    async with Pools(dask.scheduler_address) as there:
        killed: list[int] = []
        pids: list[int] = []
        heard: list[Progress] = []
        answers: dict[bytes, bytes] = {}

        def told(progress: Progress) -> None:
            heard.append(progress)
            if not killed:
                killed.append(pids[-1])
                os.kill(pids[-1], signal.SIGKILL)

        async def one(spec: bytes) -> None:
            long = spec.startswith(LONG)
            answers[spec] = await there.run(
                "digest", spec, timeout_s=TIMEOUT_S, on_attempt=pids.append if long else None, on_progress=told if long else None
            )

        with trio.fail_after(TIMEOUT_S):
            async with trio.open_nursery() as nursery:
                for spec in reversed(specs):
                    nursery.start_soon(one, spec)
            assert killed and len(pids) == 2 and pids[0] != pids[1], "it was begun once more, by another process"
            assert heard and there.figures().started == len(specs) and not there.figures().pids, "nothing was done here"
            for spec in specs:
                assert await there._local.run("digest", spec, timeout_s=TIMEOUT_S) == answers[spec]


@pytest.mark.slow
async def test_the_fields_of_a_run_have_the_same_bytes_wherever_they_are_computed(dask, tmp_path):
    """The file comes back whole, and so does what is found in a file that goes there."""
    asked = chunk(lane(1), lane(2), steps=33)
    asked["grid"]["d"], asked["settings"]["geometry"] = 1, "off"  # soonest compiled
    answers, files = [], []
    async with Pools(dask.scheduler_address) as there:
        for place, pool in (("there", there), ("here", there._local)):
            (tmp_path / place).mkdir()
            paths = [str(tmp_path / place / f"{number}.h5.tmp") for number in (1, 2)]
            spec = json.dumps({"chunk": asked, "files": paths}).encode()
            heard: list[Progress] = []
            with trio.fail_after(TIMEOUT_S):
                answers.append(await pool.run("chunk", spec, timeout_s=TIMEOUT_S, on_progress=heard.append))
                files.append([Path(path).read_bytes() for path in paths])  # noqa: ASYNC240 - nothing else runs here
                looked = json.dumps({"artefact": paths[0]}).encode()
                answers.append(await pool.run("validate", looked, timeout_s=TIMEOUT_S))
            assert heard and heard[-1].total == 66
            if pool is there:
                assert there.figures().pids == (), "nothing was done here"
    assert answers[:2] == answers[2:] and files[0] == files[1]
    assert [sha256(content).hexdigest() for content in files[0]] == [
        one["artefact_sha256"] for one in json.loads(answers[0])["lanes"]
    ]


@pytest.mark.slow
async def test_a_job_that_kills_its_worker_each_time_is_given_up_after_three(dask):
    pools = Pools(dask.scheduler_address)
    async with pools as there:
        begun: list[int] = []
        with trio.fail_after(TIMEOUT_S), pytest.raises(WorkFailed) as failed:
            await there.run("crash", b"", timeout_s=TIMEOUT_S, on_attempt=begun.append)
        assert (failed.value.code, failed.value.detail) == ("poison", "died") and 1 <= len(begun) <= 3
        assert await there.run("echo", b"after that", timeout_s=TIMEOUT_S) == b"after that"
    assert pools.done_here == 0


@pytest.mark.slow
async def test_a_job_that_is_given_up_or_out_of_time_leaves_its_worker_free(dask):
    """Cancelled at its next word of progress; one that says none ends with its process."""
    pools = Pools(dask.scheduler_address)
    async with pools as there:
        with trio.fail_after(TIMEOUT_S):
            with pytest.raises(WorkFailed) as failed:
                await there.run("digest", ENDLESS.to_bytes(4, "big"), timeout_s=0.5)
            assert failed.value.code == "timeout"
            begun = trio.Event()
            async with trio.open_nursery() as nursery:

                async def long() -> None:
                    await there.run("chatter", b"%d" % ENDLESS, timeout_s=TIMEOUT_S, on_attempt=lambda pid: begun.set())

                nursery.start_soon(long)
                await begun.wait()
                nursery.cancel_scope.cancel()
            assert [await there.run("echo", bytes([n]), timeout_s=TIMEOUT_S) for n in range(4)] == [bytes([n]) for n in range(4)]
            assert there.figures().running == there.figures().waiting == 0 and not there._heard
    assert pools.done_here == 0


async def test_without_a_scheduler_jobs_are_done_here(monkeypatch):
    pytest.importorskip("distributed", reason="the cluster's tests need the extra dask: pip install 'irer[dask]'")
    monkeypatch.setattr(cluster_module, "CONNECT_S", 0.3)
    async with Pools("tcp://127.0.0.1:9") as there:
        with trio.fail_after(TIMEOUT_S):
            assert await there.run("echo", b"x", timeout_s=TIMEOUT_S) == b"x"
            assert there.figures().pids and there.figures().running == 0


# --- files, and what comes back


def call(**changed) -> Call:
    return Call("chunk", b"{}", {}, [], 1.0, 100, None, False)._replace(**changed)


def test_what_came_back_is_stored_where_it_was_meant_to_and_nowhere_else(tmp_path):
    path, beside = tmp_path / "run.h5.tmp", tmp_path / "beside"
    assert _believed(("done", b"{}", [b"fields", None]), call(outputs=[str(path), str(beside)])) == b"{}"
    assert path.read_bytes() == b"fields" and path.stat().st_mode & 0o777 == 0o600 and not beside.exists()
    beside.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(WorkFailed, match="no-file"):
        _believed(("done", b"{}", [b"fields"]), call(outputs=[str(beside)]))
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("said", "raised"),
    [
        (("failed", "memory"), _Given),
        (("failed", "broken", "ValueError chunk.py:3"), WorkFailed),
        (("failed", "Not a code"), _Given),
        (("failed", "broken", "\x1b[2J"), _Given),
        (("done", "text", []), _Given),
        (("done", b"", [b"one too many"]), _Given),
        (("done", b"", ["text"]), _Given),
        (("done", bytes(101), []), WorkFailed),
        (None, _Given),
        ((), _Given),
    ],
)
def test_what_no_worker_would_say_is_not_believed(said, raised, tmp_path):
    outputs = [str(tmp_path / "out")] if isinstance(said, tuple) and said[-1:] == (["text"],) else []
    with pytest.raises(raised):
        _believed(said, call(outputs=outputs))
    assert not list(tmp_path.iterdir())


def test_the_files_that_a_job_reads_go_along_by_their_names(tmp_path):
    (tmp_path / "run.h5").write_bytes(b"fields")
    spec = {"artefact": f"{tmp_path}/run.h5", "source": f"{tmp_path}/none.h5", "files": ["/a", "/b"]}
    assert _files_of("chunk", json.dumps(spec).encode()) == ({f"{tmp_path}/run.h5": b"fields"}, ["/a", "/b"])
    assert _files_of("simulate", b"\0\0") == ({}, [])


# --- configuration


def test_a_cluster_needs_an_address_and_what_is_installed(tmp_path, monkeypatch):
    def complaint(text: str) -> str:
        (tmp_path / "irerd.toml").write_text(f"[compute]\n{text}\n")
        with pytest.raises(ConfigError) as refused:
            load(tmp_path / "irerd.toml")
        return str(refused.value)

    assert "needs the address of its scheduler" in complaint('backend = "dask"')
    assert "tcp://HOST:PORT" in complaint('backend = "dask"\nscheduler = "http://x"')
    assert complaint('backend = "dask"\nscheduler = "tls://host:8786"').count("needs it") == 3
    assert "absolute path" in complaint('tls_ca_file = "ca.pem"')
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'irer[dask,science]'" in complaint('backend = "dask"\nscheduler = "tcp://host:8786"')


def test_an_idle_daemon_knows_nothing_of_dask():
    program = "import irerd.cluster, irerd.host, irerd.main, sys\nprint({'dask', 'distributed', 'tornado'} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout == "set()\n"
