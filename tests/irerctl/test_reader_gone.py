"""`irerctl … | head -1`: whoever reads may go whenever they like. What was done and the exit status are as if all had been read,
nobody hears of it, and what would print for ever ends.

The read end of a real pipe is closed before anything is written, or after the first line, while more waits than a pipe holds.
"""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from core.engine import Refused
from tests.irerctl.conftest import Serve
from tests.irerctl.peer import Stream, Written
from tests.irerctl.samples import STATUS, TASK
from tests.irerctl.test_commands import EVENT
from tests.irerctl.test_generic import ISSUED

TIMES = 2
PIPE_BYTES = 4_096
MANY = [{**EVENT, "seq": seq, "data": {"task_id": f"t-{seq}", "pad": "x" * 400}} for seq in range(200)]
TASKS = [{**TASK, "task_id": f"t-{number}"} for number in range(300)]
ANSWERS: dict[str, Any] = {
    "system.status": STATUS,
    "resource.scale": Written({"pool": "compute", "from_units": 8, "to_units": 9}),
    "resource.tasks": {"tasks": TASKS},
    "resource.cancel_task": Refused("not-found", "no task t-9"),
    "system.watch": Stream(MANY),
    "eil.stream": Stream(MANY),
    "provenance.export_audit": Stream([{"text": "a line of a document\n" * 20}] * 40, {"next": None}),
    "gate.check": {"allowed": False, "reason": "no-such-token"},
    "gate.issue_token": Written(ISSUED),
    "audit.hashchain": Stream([{"log": "gate_log", "ok": False, "first_bad": {"seq": 7, "why": "hash"}}]),
    "audit.verify": Stream([{"result": "failed", "logs": [], "not_verified": []}]),
}
COMMANDS = {
    "help": "--help",
    "version": "--version",
    "completion": "completion bash",
    "schema": "api cddl",
    "one value": "call system.status",
    "table": "engine tasks",
    "json": "-o json engine tasks",
    "jsonl": "-o jsonl engine tasks",
    "stream": "watch",
    "stream as jsonl": "-o jsonl watch",
    "stream of a call": "call system.watch --stream",
    "stream of a row": "eil stream",
    "document": "provenance export",
    "write": "engine scale compute 9",
    "write as json": "-o json engine scale compute 9",
    "refusal": "engine cancel t-9",
    "no": "audit hashchain",
    "wrong usage": "engine scale",
}
LONG = ["schema", "table", "jsonl", "stream", "stream as jsonl", "stream of a call", "stream of a row", "document"]
WRITES = [name for name in COMMANDS if name.startswith("write")]


def started(
    socket_path: Path, arguments: str, out: int | FileIO, error: int | FileIO = subprocess.PIPE, **more: str
) -> subprocess.Popen[str]:
    environment = {**os.environ, "IRER_SOCKET": str(socket_path), **more}
    command = [sys.executable, "-m", "irerctl.main", *arguments.split()]
    return subprocess.Popen(command, stdout=out, stderr=error, stdin=subprocess.DEVNULL, text=True, env=environment)


READ: dict[str, tuple[int, str, str]] = {}


def read_to_the_end(socket_path: Path, arguments: str) -> tuple[int, str, str]:
    """Once for all these tests: every peer of theirs answers the same."""
    if arguments not in READ:
        child = started(socket_path, arguments, subprocess.PIPE)
        said, complaint = child.communicate(timeout=60)
        READ[arguments] = child.returncode, said, complaint
    return READ[arguments]


@contextmanager
def pipe() -> Iterator[tuple[FileIO, FileIO]]:
    """As small as a pipe can be: whoever writes more waits for the reader. Its ends may be closed before."""
    ours, theirs = os.pipe()
    with FileIO(ours, "r") as reading, FileIO(theirs, "w") as writing:
        fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        yield reading, writing


def ended(children: list[subprocess.Popen[str]]) -> set[tuple[int, str]]:
    try:
        said = [child.communicate(timeout=60)[1] or "" for child in children]
        return {(child.returncode, words) for child, words in zip(children, said, strict=True)}
    finally:
        for child in children:
            child.kill()


def never_read(socket_path: Path, arguments: str, **more: str) -> set[tuple[int, str]]:
    """How a run ends whose reader is gone before it begins, so that nothing of it is chance: status and stderr."""
    with pipe() as (ours, theirs):
        ours.close()
        return ended([started(socket_path, arguments, theirs, **more)])


def one_line_read(socket_path: Path, arguments: str) -> set[tuple[int, str]]:
    """The same of several runs whose reader goes after the first line, as `head -1` does."""
    children = []
    for _ in range(TIMES):
        with pipe() as (ours, theirs):
            children.append(started(socket_path, arguments, theirs))
            theirs.close()
            while b"\n" not in ours.read(1):
                pass
    return ended(children)


@pytest.mark.parametrize("name", COMMANDS)
def test_status_and_stderr_are_as_if_all_had_been_read(serve: Serve, socket_path: Path, name: str) -> None:
    serve(ANSWERS)
    status, said, complaint = read_to_the_end(socket_path, COMMANDS[name])
    assert "Traceback" not in complaint and status in (0, 1, 2, 66)
    assert bool(said) == (status < 2), "there is something to read"
    assert never_read(socket_path, COMMANDS[name]) == {(status, complaint)}


@pytest.mark.parametrize("name", LONG)
def test_so_they_are_where_only_the_first_line_was_read(serve: Serve, socket_path: Path, name: str) -> None:
    serve(ANSWERS)
    status, said, complaint = read_to_the_end(socket_path, COMMANDS[name])
    first, _, rest = said.partition("\n")
    assert first and len(rest) > PIPE_BYTES, "more waits than a pipe holds"
    assert one_line_read(socket_path, COMMANDS[name]) == {(status, complaint)} == {(0, "")}


@pytest.mark.parametrize("output", ["table", "json", "jsonl"])
@pytest.mark.parametrize("stream", ["watch", "eil stream"])
def test_what_would_print_for_ever_ends(serve: Serve, socket_path: Path, stream: str, output: str) -> None:
    endless = Stream(MANY, endless=True)
    serve({"system.watch": endless, "eil.stream": endless})
    assert never_read(socket_path, f"-o {output} {stream}") == {(0, "")}
    if output != "json":  # which is one line
        assert one_line_read(socket_path, f"-o {output} {stream}") == {(0, "")}


@pytest.mark.parametrize("name", WRITES)
def test_a_write_is_done_once_and_does_not_look_as_if_it_had_failed(serve: Serve, socket_path: Path, name: str) -> None:
    peer = serve(ANSWERS)
    assert never_read(socket_path, COMMANDS[name]) == {(0, "")}
    assert [call.m for call in peer.calls] == ["resource.scale"]


@pytest.mark.parametrize("output", ["table", "json"])
def test_a_secret_that_nobody_read_is_said_to_be_lost(serve: Serve, socket_path: Path, output: str, place: Path) -> None:
    serve(ANSWERS)
    [(status, complaint)] = never_read(socket_path, f"-o {output} gate issue wealth user_001")
    assert status == 0 and complaint.endswith("irerctl: nobody read it, and it is not shown again. End it, and make another\n")
    [(status, complaint)] = never_read(socket_path, f"-o {output} gate issue wealth user_001 --out {place}/token")
    assert status == 0 and "nobody read" not in complaint


def test_nobody_may_read_stderr_either(serve: Serve, socket_path: Path) -> None:
    serve(ANSWERS)
    for name in ("stream", "refusal", "no", "write"):
        status = read_to_the_end(socket_path, COMMANDS[name])[0]
        with pipe() as (ours, theirs):
            ours.close()
            assert ended([started(socket_path, COMMANDS[name], theirs, theirs)]) == {(status, "")}, name


def test_what_buffers_there_are_makes_no_difference(serve: Serve, socket_path: Path) -> None:
    serve(ANSWERS)
    status, _, complaint = read_to_the_end(socket_path, COMMANDS["no"])
    assert never_read(socket_path, COMMANDS["no"], PYTHONUNBUFFERED="1") == {(status, complaint)}


def test_in_a_shell_it_is_no_failure_under_pipefail(serve: Serve, socket_path: Path) -> None:
    serve(ANSWERS)
    line = f"set -o pipefail; {sys.executable} -m irerctl.main watch | head -1"
    environment = {**os.environ, "IRER_SOCKET": str(socket_path)}
    for _ in range(TIMES):
        ran = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=environment, check=False, timeout=60)
        assert (ran.returncode, ran.stderr, ran.stdout.count("\n")) == (0, "", 1)
