"""The pool of workers, with real processes: what it must survive, and what it must never leave behind."""

import math
import os
import select
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from random import Random

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from irerd import worker, workers
from irerd.worker import BadSheet, Compiled, Field, pack, unpack
from irerd.workers import Limits, Segments, WorkFailed, open_workers

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)}
INSTANCE = f"test{os.getpid()}"
TIMEOUT_S = 60.0
"""Longer than any of these jobs takes on a machine that is busy with other things."""
LARGE = Random(7).randbytes(worker.INLINE_BYTES_MAX + 4_321)
TWO = [min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))]


def opened(**more):
    return open_workers(INSTANCE, ENVIRONMENT, **{"cores": TWO, **more})


def left_in_shared_memory() -> list[str]:
    return [name for name in os.listdir("/dev/shm") if name.startswith(f"irer-{INSTANCE}-")]


def gone(pid: int) -> bool:
    """No process of this number, not even one that waits to be reaped."""
    return not Path(f"/proc/{pid}").exists()


@pytest.fixture(autouse=True)
def nothing_is_left():
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert left_in_shared_memory() == []
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 3  # trio's own, of a loop that ends after this
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert [pid for pid in children if b"irerd.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()] == []


def ended(handle: int) -> None:
    """Wait for the end of a process."""
    waiting = select.poll()  # which knows no greatest number of a file, as `select` does
    waiting.register(handle, select.POLLIN)
    assert waiting.poll(TIMEOUT_S * 1_000)
    os.close(handle)


async def failure(pool, name, spec=b"", **more) -> WorkFailed:
    with trio.fail_after(TIMEOUT_S), pytest.raises(WorkFailed) as failed:
        await pool.run(name, spec, **{"timeout_s": TIMEOUT_S, **more})
    return failed.value


# --- outcomes -------------------------------------------------------------------------------------------------------------


async def test_an_outcome_is_what_the_function_returns_whatever_its_length():
    async with opened() as pool:
        assert pool.figures().started == 0  # nothing starts before a job needs it
        for spec in [b"", b"small", LARGE[: worker.INLINE_BYTES_MAX], LARGE]:
            assert await pool.run("echo", spec, timeout_s=TIMEOUT_S) == spec
            assert left_in_shared_memory() == []
        assert pool.figures().started == 1


def digests(count: int) -> list[bytes]:
    random = Random(count)
    return [random.randint(1_000, 4_000).to_bytes(4, "big") + random.randbytes(8) for _ in range(count)]


async def test_fifty_of_two_hundred_jobs_lose_their_worker_and_all_results_arrive():
    specs = digests(200)
    undisturbed = [worker.digest(spec, lambda done, total: None) for spec in specs]
    random = Random(50)
    drawn = set(random.sample(range(200), 50))
    killed: dict[int, int] = {}
    results: dict[int, bytes] = {}

    async def one(number: int, pool) -> None:
        pids: list[int] = []

        def kill_once() -> None:
            if number in drawn and number not in killed:
                killed[number] = pids[-1]
                os.kill(pids[-1], signal.SIGKILL)

        def begun(pid: int) -> None:
            pids.append(pid)
            if number % 2:
                kill_once()

        def told(progress) -> None:
            if not number % 2:
                kill_once()

        results[number] = await pool.run("digest", specs[number], timeout_s=TIMEOUT_S, on_attempt=begun, on_progress=told)

    async with opened() as pool:
        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(one, number, pool)
        assert set(killed) == drawn
        # A kill may come when the outcome is on its way already: then nothing was lost.
        assert 1 <= pool.figures().lost <= 50
        assert len(set(killed.values())) <= pool.figures().started <= 52
    assert [results[number] for number in range(200)] == undisturbed
    assert all(gone(pid) for pid in killed.values())


async def test_a_job_that_kills_its_workers_is_poison_after_three_and_troubles_nobody():
    pids: list[int] = []
    async with opened() as pool, trio.open_nursery() as nursery:
        others: list[bytes] = []

        async def another() -> None:
            others.append(await pool.run("echo", b"fine", timeout_s=TIMEOUT_S))

        for _ in range(5):
            nursery.start_soon(another)
        failed = await failure(pool, "crash", on_attempt=pids.append)
        assert (failed.code, failed.detail) == ("poison", "died")
        assert len(set(pids)) == 3 and all(gone(pid) for pid in pids)
    assert others == [b"fine"] * 5


async def test_a_worker_that_died_idle_costs_no_attempt():
    attempts: list[int] = []
    async with opened(cores=TWO[:1]) as pool:
        await pool.run("echo", b"", timeout_s=TIMEOUT_S)
        (pid,) = pool.figures().pids
        handle = os.pidfd_open(pid)
        os.kill(pid, signal.SIGKILL)
        ended(handle)
        assert await pool.run("echo", b"again", timeout_s=TIMEOUT_S, on_attempt=attempts.append) == b"again"
        assert len(attempts) == 1 and pool.figures().lost == 0


@pytest.mark.parametrize(
    ("name", "spec", "code"),
    [("no-such-job", b"", "unknown-job"), ("simulate", b"nonsense", "bad-spec"), ("allocate", b"many", "broken")],
)
async def test_a_job_that_would_fail_again_is_not_tried_again(name, spec, code):
    attempts: list[int] = []
    async with opened() as pool:
        failed = await failure(pool, name, spec, on_attempt=attempts.append)
        assert (failed.code, len(attempts)) == (code, 1)
        assert "many" not in failed.detail  # what was sent is not repeated
        assert await pool.run("echo", b"fit", timeout_s=TIMEOUT_S) == b"fit"
        assert pool.figures().started == 1


# --- ends -----------------------------------------------------------------------------------------------------------------


async def test_cancelling_ends_a_job_that_no_python_code_could_end():
    pids: list[int] = []
    async with opened(cores=TWO[:1]) as pool:
        with trio.fail_after(TIMEOUT_S):
            async with trio.open_nursery() as nursery:
                stop = nursery.cancel_scope.cancel
                nursery.start_soon(
                    partial(pool.run, "hang", LARGE, timeout_s=math.inf, on_attempt=pids.append, on_progress=lambda _: stop())
                )
        assert gone(pids[0])
        assert left_in_shared_memory() == []
        assert await pool.run("echo", b"next", timeout_s=TIMEOUT_S) == b"next"


async def test_a_deadline_ends_a_job():
    pids: list[int] = []
    async with opened() as pool:
        failed = await failure(pool, "hang", timeout_s=0.1, on_attempt=pids.append)
        assert failed.code == "timeout"
        assert all(gone(pid) for pid in pids) and pool.figures().pids == ()


async def test_a_silent_worker_is_hung_and_costs_an_attempt():
    async with opened() as pool:
        failed = await failure(pool, "hang", attempt_s=0.1)
        assert (failed.code, failed.detail, pool.figures().lost) == ("poison", "hung", 3)


async def test_too_many_who_wait_are_refused():
    async with opened(cores=TWO[:1], limits=Limits(waiting=1)) as pool, trio.open_nursery() as nursery:
        at_work = trio.Event()
        hang = partial(pool.run, "hang", b"", timeout_s=math.inf, on_progress=lambda _: at_work.set())
        nursery.start_soon(hang)
        await at_work.wait()
        nursery.start_soon(hang)
        await trio.testing.wait_all_tasks_blocked()
        assert (await failure(pool, "echo")).code == "busy"
        nursery.cancel_scope.cancel()
    assert (await failure(pool, "echo")).code == "closed"


async def test_a_patient_job_waits_until_no_other_does_and_one_that_gives_up_costs_nobody_a_turn():
    order: list[str] = []
    async with opened(cores=TWO[:1]) as pool, trio.open_nursery() as nursery:
        scopes = {name: trio.CancelScope() for name in ("first", "hunt 1", "hunt 2", "run 1", "given up", "run 2")}
        at_work = trio.Event()

        async def ask(name: str) -> None:
            with scopes[name]:
                job = "hang" if name == "first" else "echo"
                begun = partial(order.append, name)
                patient = name.startswith("hunt")
                await pool.run(
                    job,
                    b"",
                    timeout_s=math.inf,
                    on_progress=lambda _: at_work.set(),
                    on_attempt=lambda _: begun(),
                    patient=patient,
                )

        for name in scopes:
            nursery.start_soon(ask, name)
            await (at_work.wait() if name == "first" else trio.testing.wait_all_tasks_blocked())
        scopes["given up"].cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert (pool.figures().running, pool.figures().waiting, order) == (1, 4, ["first"])
        scopes["first"].cancel()
    assert order == ["first", "run 1", "run 2", "hunt 1", "hunt 2"]
    assert (pool.figures().running, pool.figures().waiting) == (0, 0)


DAEMON = """
import sys, trio
from irerd.workers import open_workers

async def main():
    async with open_workers(sys.argv[1], {"PYTHONPATH": sys.argv[2]}, cores=[0, 0, 0]) as pool, trio.open_nursery() as nursery:
        await pool.run("echo", b"", timeout_s=60)
        for _ in range(2):
            begun = trio.Event()
            async def hang():
                await pool.run("hang", bytes(2_000_000), timeout_s=60, on_progress=lambda _: begun.set())
            nursery.start_soon(hang)
            await begun.wait()
        await pool.run("echo", b"", timeout_s=60)
        print(*pool.figures().pids, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


def killed_daemon() -> list[int]:
    """Handles of the workers of a daemon that was killed."""
    arguments = [sys.executable, "-P", "-c", DAEMON, INSTANCE, str(ROOT)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, env=ENVIRONMENT, text=True) as daemon:
        assert daemon.stdout is not None
        handles = [os.pidfd_open(int(word)) for word in daemon.stdout.readline().split()]
        daemon.kill()
    return handles


async def test_kill_9_of_the_daemon_leaves_no_worker_and_its_shared_memory_goes_at_the_next_start():
    other = Segments(f"{INSTANCE}x").make(10)
    handles = killed_daemon()
    assert len(handles) == 3  # two that work, and one that waits
    for handle in handles:
        ended(handle)
    assert len(left_in_shared_memory()) == 2
    async with opened():
        assert left_in_shared_memory() == []
        assert other.path.exists()  # another ledger's is not ours
    other.close()


# --- what a worker may know and use ---------------------------------------------------------------------------------------


async def test_a_worker_sees_nothing_of_the_daemon(tmp_path):
    secret = {"NOTIFY_SOCKET": "/run/notify", "IRER_TOKEN": "secret", "CREDENTIALS_DIRECTORY": "/run/credentials"}
    log = os.open(tmp_path / "log", os.O_CREAT | os.O_WRONLY)
    os.set_inheritable(log, True)
    async with open_workers(INSTANCE, {**ENVIRONMENT, **secret}, cores=TWO[-1:]) as pool:
        seen = unpack(await pool.run("surroundings", b"", timeout_s=TIMEOUT_S)).values
    os.close(log)
    assert set(seen["environment"]) == {*ENVIRONMENT, *worker.NUMERIC_ENVIRONMENT} | ({"LC_CTYPE"} & set(seen["environment"]))
    assert [seen["descriptors"].pop(standard) for standard in "012"] == ["/dev/null"] * 3
    assert sorted(target.partition(":")[0] for target in seen["descriptors"].values()) == ["pipe", "pipe"]
    assert seen["cores"] == TWO[-1:]
    assert seen["environment"]["OMP_NUM_THREADS"] == "1"
    assert seen["leads_its_session"]
    assert seen["loaded"] == []  # who plans pays for no numerics


@pytest.mark.parametrize(("said", "code"), [("RESOURCE_EXHAUSTED: Out of memory", "memory"), ("INTERNAL: else", "broken")])
def test_want_of_memory_in_a_compiled_program_is_told_as_what_it_is(monkeypatch, said, code):
    error = type("JaxRuntimeError", (RuntimeError,), {})

    def greedy(spec, tell):
        raise error(said)

    monkeypatch.setitem(worker.JOBS, "echo", greedy)
    assert worker.attempt("echo", b"", lambda done, total: None)[0] == code


async def test_memory_beyond_the_ceiling_costs_the_job_its_attempts_and_nobody_else():
    async with opened(limits=Limits(memory_bytes=256 << 20)) as pool:
        failed = await failure(pool, "allocate", str(1 << 30).encode())
        assert (failed.code, failed.detail) == ("poison", "memory")
        assert await pool.run("allocate", str(1 << 20).encode(), timeout_s=TIMEOUT_S) == b""


@pytest.mark.parametrize(
    ("limits", "spec", "processes"),
    [(Limits(retire_bytes=60 << 20), str(64 << 20), 3), (Limits(retire_jobs=2), "1", 2), (Limits(), "1", 1)],
)
async def test_a_worker_that_grew_or_worked_long_enough_is_replaced(limits, spec, processes):
    pids: list[int] = []
    async with opened(cores=TWO[:1], limits=limits) as pool:
        for _ in range(3):
            await pool.run("allocate", spec.encode(), timeout_s=TIMEOUT_S, on_attempt=pids.append)
        assert len(set(pids)) == processes and pool.figures().lost == 0


async def test_shared_memory_that_is_not_to_be_had_is_refused_and_nothing_is_left(monkeypatch):
    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(28, "No space left on device")

    async with opened() as pool:
        monkeypatch.setattr(workers.os, "posix_fallocate", full)
        assert (await failure(pool, "echo", LARGE)).code == "no-memory"
        assert left_in_shared_memory() == []
        monkeypatch.undo()
        assert await pool.run("echo", LARGE, timeout_s=TIMEOUT_S) == LARGE


# --- progress -------------------------------------------------------------------------------------------------------------


async def test_progress_comes_at_most_ten_times_a_second():
    heard: list[float] = []
    async with opened() as pool:
        begun = trio.current_time()
        await pool.run("chatter", b"200000", timeout_s=TIMEOUT_S, on_progress=lambda _: heard.append(trio.current_time()))
        assert 1 <= len(heard) <= 1 + (trio.current_time() - begun) / worker.PROGRESS_GAP_S


async def test_the_pool_passes_on_no_more_than_that_from_a_worker_that_tells_more(autojump_clock):
    heard: list[int] = []
    patience = workers._Patience(lambda progress: heard.append(progress.done))
    for done in range(40):
        patience.hear(workers.Progress(done, 40))
        await trio.sleep(0.055)
    assert heard == list(range(0, 40, 2))


# --- liars ----------------------------------------------------------------------------------------------------------------

LIAR = """
import os, signal, struct, sys
read = sys.stdin.buffer.read
def frame():
    head, body = struct.unpack(">II", read(8))
    return read(head), read(body)
def say(head, body=b"", sizes=None):
    os.write(1, struct.pack(">II", *(sizes or (len(head), len(body)))) + head + body)
frame(); frame()
DONE = b'{"kind":"done","job":1}'
"""
LIES = {
    "noise": "os.write(1, bytes(range(256)) * 9)",
    "an endless head": "say(b'', sizes=(2**32 - 1, 0))",
    "an endless body": "say(DONE, sizes=(len(DONE), 2**32 - 1))",
    "no json": r"say(b'{\xff}')",
    "a deep nest": "say(b'[' * 4000)",
    "another job": """say(b'{"kind":"done","job":2}', b'x')""",
    "an unknown kind": """say(b'{"kind":"exec","job":1}')""",
    "an unknown field": """say(b'{"kind":"done","job":1,"path":"/etc"}')""",
    "a wrong type": """say(b'{"kind":"want","job":1,"size":"9"}')""",
    "less than nothing": """say(b'{"kind":"want","job":1,"size":-1}')""",
    "a body where none belongs": """say(b'{"kind":"failed","job":1,"code":"x","place":""}', b'x')""",
    "a code that is a text": """say(b'{"kind":"failed","job":1,"code":"See http://x","place":""}')""",
    "a place with a line break": r"""say(b'{"kind":"failed","job":1,"code":"x","place":"a\\nb"}')""",
    "room for little": """say(b'{"kind":"want","job":1,"size":5}')""",
    "more done than there is": """say(b'{"kind":"progress","job":1,"done":2,"total":1}')""",
    "a flood": """[say(b'{"kind":"progress","job":1,"done":1,"total":1}') for _ in range(5000)]""",
    "a segment cut short": """
import json
say(b'{"kind":"want","job":1,"size":2000000}')
os.truncate(json.loads(frame()[0])["segment"], 7)
say(DONE)""",
    "room twice": """[say(b'{"kind":"want","job":1,"size":2000000}') for _ in range(2)]""",
    "both ways at once": """say(b'{"kind":"want","job":1,"size":2000000}'); frame(); say(DONE, b'x')""",
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_worker_that_lies_is_ended_and_the_job_parked(lie):
    command = (sys.executable, "-I", "-S", "-c", f"{LIAR}\n{LIES[lie]}\nsignal.alarm(60); signal.pause()")
    async with opened(command=command) as pool:
        failed = await failure(pool, "echo", b"")
        assert (failed.code, failed.detail) == ("poison", "lied")


async def test_an_outcome_longer_than_the_caller_wants_is_refused():
    async with opened() as pool:
        for spec in (b"12345", LARGE):
            assert (await failure(pool, "echo", spec, outcome_bytes_max=4)).code == "bad-output"


async def test_a_worker_that_cannot_be_started_is_said_to_be_so():
    async with opened(command=("/nowhere/python",)) as pool:
        assert (await failure(pool, "echo")).code == "no-process"


# --- sheets ---------------------------------------------------------------------------------------------------------------

SHEET = pack({"a": [1, 2.5, None, "x"]}, {"A": Field("<c8", (2, 3), bytes(range(48))), "n": Field("<i4", (), b"\1\0\0\0")})


def test_a_sheet_comes_back_as_it_was():
    sheet = unpack(SHEET)
    assert sheet.values == {"a": [1, 2.5, None, "x"]}
    assert sheet.arrays == {"A": Field("<c8", (2, 3), bytes(range(48))), "n": Field("<i4", (), b"\1\0\0\0")}


@given(st.one_of(st.binary(max_size=64), st.tuples(st.integers(0, len(SHEET) - 1), st.integers(0, 255))))
def test_bytes_from_a_stranger_are_a_sheet_or_are_refused(change):
    data = change if isinstance(change, bytes) else SHEET[: change[0]] + bytes([change[1]]) + SHEET[change[0] + 1 :]
    try:
        sheet = unpack(data)
    except BadSheet:
        return
    arrays = sheet.arrays.values()
    assert sum(len(field.data) for field in arrays) <= len(data)
    assert all(len(field.data) == math.prod(field.shape) * worker.ITEM_BYTES[field.dtype] for field in arrays)


@pytest.mark.parametrize(
    "head",
    [
        b"[]",
        b'{"values":{}}',
        b'{"values":{"x":NaN},"arrays":[]}',
        b'{"values":[],"arrays":[]}',
        b'{"values":{},"arrays":[["A","O",[1]]]}',
        b'{"values":{},"arrays":[["A","|u1",[-1]]]}',
        b'{"values":{},"arrays":[["A","|u1",[true]]]}',
        b'{"values":{},"arrays":[["A","|u1",[1099511627776,1099511627776]]]}',
        b'{"values":{},"arrays":[["A","|u1",[0]],["A","|u1",[0]]]}',
        b'{"values":{},"arrays":' + b"[" * 100_000,
    ],
)
def test_no_sheet(head):
    with pytest.raises(BadSheet):
        unpack(len(head).to_bytes(4, "big") + head)


@pytest.mark.parametrize("cut", range(0, len(SHEET), 7))
def test_a_sheet_cut_short_or_with_more_behind_it_is_none(cut):
    for data in (SHEET[:cut], SHEET + SHEET[: cut + 1]):
        with pytest.raises(BadSheet):
            unpack(data)


# --- compiled programs ----------------------------------------------------------------------------------------------------


def test_an_entry_that_changed_or_was_never_finished_is_deleted_and_others_stay(tmp_path, monkeypatch):
    for variable in ("JAX_COMPILATION_CACHE_DIR", "NUMBA_CACHE_DIR"):
        monkeypatch.setenv(variable, "")
    first = Compiled(tmp_path)
    first.open()
    jax, numba = first.folders.values()
    (numba / "kernels_1").mkdir()
    entries = [jax / "whole", jax / "rotten", numba / "kernels_1" / "index.nbi"]
    for entry in entries:
        entry.write_bytes(b"program" * 99)
    first.note()
    entries[1].write_bytes(b"Program" * 99)
    (jax / "unfinished").write_bytes(b"prog")
    (jax / "being-written.tmp.1").write_bytes(b"prog")
    Compiled(tmp_path).open()
    left = sorted(path.name for path in tmp_path.rglob("*") if path.is_file() and path.parent.name != "sums")
    assert left == ["being-written.tmp.1", "index.nbi", "whole"]


def test_an_entry_written_anew_is_trusted_again(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    compiled = Compiled(tmp_path)
    compiled.open()
    entry = next(iter(compiled.folders.values())) / "index"
    for content in (b"one program", b"two programs"):
        entry.write_bytes(content)
        compiled.note()
    Compiled(tmp_path).open()
    assert entry.read_bytes() == b"two programs"


SMALL = {"dimensions": 1, "points": 16, "geometry": "off"}


@pytest.mark.slow
async def test_a_rotten_cache_is_compiled_again_and_the_result_is_the_same(tmp_path):
    lane = {"settings": {"dt": 0.01}, "start": {"kind": "noise", "seed": 3}}
    spec = pack({"signature": SMALL, "lanes": [lane], "steps": 3}, {})

    async def once() -> bytes:
        async with opened(cache=tmp_path, cores=TWO[:1]) as pool:
            return await pool.run("simulate", spec, timeout_s=TIMEOUT_S)

    def entries() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in (tmp_path / "jax").rglob("*-cache")}

    first = await once()
    arrays = unpack(first).arrays
    assert arrays["A"].shape == (2, 16) and arrays["status"].shape == (2,)
    sound = entries()
    assert sound
    rotten = {path: data[:-50] for path, data in sound.items()}
    for path, data in rotten.items():
        path.write_bytes(data)
    assert await once() == first
    assert entries().keys() == sound.keys()
    assert all(entries()[path] != data for path, data in rotten.items())


@pytest.mark.slow
async def test_every_worker_is_warm_after_a_warm_up(tmp_path):
    async with opened(cache=tmp_path) as pool:
        await pool.warm_up(timeout_s=TIMEOUT_S, spec=pack({"signature": SMALL}, {}))
        pids = set(pool.figures().pids)
        assert len(pids) == pool.figures().started == 2
        loaded = unpack(await pool.run("surroundings", b"", timeout_s=TIMEOUT_S)).values["loaded"]
        assert {"jax", "kernels", "numpy"} <= set(loaded)
        with pytest.raises(WorkFailed, match="bad-spec"):
            await pool.warm_up(timeout_s=TIMEOUT_S, spec=b"nonsense")
        assert set(pool.figures().pids) == pids  # and all are free again
        assert pool.figures().running == 0
