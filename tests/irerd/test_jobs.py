"""The jobs that a child process runs: what one tree's digest is, and what a hostile tree cannot do."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from irerd import jobs
from irerd.jobs import JobFailed, hash_tree, verify_log
from tests.state.logs import GOLDEN

DEEP = 1_500
"""More than Python's stack holds, and few enough letters for a path."""


def digest_of(root: Path | str) -> dict[str, Any]:
    return hash_tree({"roots": {"documents": str(root)}, "params": {"root": "documents"}})


def entry(kind: bytes, name: bytes, inner: bytes) -> bytes:
    return kind + len(name).to_bytes(4, "big") + name + inner


def directory(*entries: bytes) -> bytes:
    return hashlib.sha256(b"irer/tree/1\0" + b"".join(entries)).digest()


def test_the_digest_of_a_tree_is_that_of_names_kinds_and_contents_in_the_order_of_bytes(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "inner").write_bytes(b"12")
    (tmp_path / "a").write_bytes(b"123")
    (tmp_path / "é").symlink_to("a")
    os.mkfifo(tmp_path / "pipe")
    expected = directory(
        entry(b"f", b"a", hashlib.sha256(b"123").digest()),
        entry(b"d", b"b", directory(entry(b"f", b"inner", hashlib.sha256(b"12").digest()))),
        entry(b"o", b"pipe", bytes(32)),
        entry(b"l", "é".encode(), hashlib.sha256(b"a").digest()),
    )
    assert digest_of(tmp_path) == {"root": "documents", "sha256": expected.hex(), "files": 2, "bytes": 5}


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """Directories in directories; taken away by hand, for what cleans up after tests goes down on the stack too."""
    places = [f"{tmp_path}{'/d' * depth}" for depth in range(1, DEEP + 1)]
    for place in places:
        os.mkdir(place)
    yield tmp_path
    for place in reversed(places):
        os.rmdir(place)


def test_a_tree_deeper_than_the_stack_has_a_digest(deep: Path) -> None:
    expected = directory()
    for _ in range(DEEP):
        expected = directory(entry(b"d", b"d", expected))
    assert digest_of(deep)["sha256"] == expected.hex()


def swapped(path: Path, put: Callable[[Path], None]) -> Callable[..., int]:
    """An `open` before which somebody puts another thing in the place of this file."""
    real = os.open

    def opening(name: Any, flags: int, *more: Any, **named: Any) -> int:
        if os.fsencode(name) == os.fsencode(path) and stat.S_ISREG(path.lstat().st_mode):
            path.unlink()
            put(path)
            assert flags & os.O_NONBLOCK, "a pipe that nobody writes to would be waited for"
        return real(name, flags, *more, **named)

    return opening


@pytest.mark.parametrize("put", [os.mkfifo, lambda path: path.symlink_to("/etc/passwd")], ids=["pipe", "link"])
def test_a_file_swapped_between_look_and_open_is_neither_waited_for_nor_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, put: Callable[[Path], None]
) -> None:
    (tmp_path / "file").write_bytes(b"1")
    monkeypatch.setattr(jobs.os, "open", swapped(tmp_path / "file", put))
    with pytest.raises(JobFailed) as failed:
        digest_of(tmp_path)
    assert failed.value.code == "changed-while-read"


@pytest.mark.parametrize(
    ("name", "code"), [("absent", "root-missing"), ("file", "root-not-a-directory"), ("x" * 5_000, "path-too-long")]
)
def test_a_root_that_is_no_directory_is_named_so(tmp_path: Path, name: str, code: str) -> None:
    (tmp_path / "file").write_bytes(b"1")
    with pytest.raises(JobFailed) as failed:
        digest_of(f"{tmp_path}/{name}")
    assert failed.value.code == code


@pytest.mark.parametrize(("log", "code"), [("nope", "no-such-log"), ("engine_state", None), ("gate_log", "chain-broken")])
def test_a_log_that_nobody_knows_is_told_apart_from_a_broken_one(tmp_path: Path, log: str, code: str | None) -> None:
    (tmp_path / "engine_state.jsonl").write_bytes(GOLDEN)
    (tmp_path / "gate_log.jsonl").write_bytes(GOLDEN)
    request = {"params": {"log": log}, "state_dir": str(tmp_path), "durable": {"engine_state": 7}}
    if code is None:
        assert verify_log(request) == {"log": log, "records": 8}
        return
    with pytest.raises(JobFailed) as failed:
        verify_log(request)
    assert failed.value.code == code
