"""A sync that was begun ahead: it is waited for, tells what it met, and stands for nothing that was written after it."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from state import begun, fs
from state.begun import Begun, begin
from state.fs import RealFiles, write_all


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The syncs that were made in the usual way."""
    made: list[str] = []
    for name in ("fdatasync", "fsync"):
        usual = getattr(os, name)
        monkeypatch.setattr(fs.os, name, lambda fd, name=name, usual=usual: (made.append(name), usual(fd))[1])
    return made


@pytest.fixture
def files(tmp_path: Path) -> Iterator[RealFiles]:
    files = RealFiles(tmp_path)
    yield files
    files.shut()


def opened(files: RealFiles, name: str = "log") -> int:
    fd = files.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    write_all(files, fd, b"x" * 70_000)
    return fd


@pytest.fixture
def offered(tmp_path: Path) -> None:
    with open(tmp_path / "asked", "wb") as file:
        one = begin(file.fileno())
    if one is None:
        pytest.skip("this system takes no orders to sync: only the usual way was tested")
    one.end()


class Failed(Begun):
    """One that met a fault on its way."""

    def __init__(self) -> None:
        self.behind = False

    def end(self) -> None:
        raise OSError(errno.EIO, "failed on its way")


def test_a_sync_that_was_begun_is_the_sync(offered: None, files: RealFiles, synced: list[str]) -> None:
    fd = opened(files)
    for _ in range(3):
        files.begin_sync(fd)
        files.begin_sync(fd)
        files.fdatasync(fd)
    assert synced == [], "it was made twice"
    files.fdatasync(fd)
    assert synced == ["fdatasync"], "one that was not begun is made"
    files.begin_sync(fd)
    files.fsync(fd)
    assert synced == ["fdatasync", "fsync"], "a sync of the data is no sync of all"
    files.close(fd)


def test_it_stands_for_nothing_that_was_written_after_it(files: RealFiles, synced: list[str]) -> None:
    fd = opened(files)
    files.begin_sync(fd)
    files.write(fd, b"later")
    files.begin_sync(fd)
    files.fdatasync(fd)
    assert synced == ["fdatasync"]
    files.close(fd)


@pytest.mark.parametrize("sync", ["fdatasync", "fsync"])
def test_what_it_met_is_told_by_the_next_sync_which_is_not_made_in_its_stead(
    sync: str, files: RealFiles, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fd = opened(files)
    monkeypatch.setattr(fs, "begin", lambda fd: Failed())
    for behind in (False, True):
        files.begin_sync(fd)
        if behind:
            files.write(fd, b"later")
        with pytest.raises(OSError) as told:
            getattr(files, sync)(fd)
        assert told.value.errno == errno.EIO and synced == []
    files.begin_sync(fd)
    files.close(fd)
    again = opened(files, "other")
    assert again == fd
    files.fdatasync(again)
    assert synced == ["fdatasync"], "a descriptor that was closed leaves nothing to the next one of its number"
    files.close(again)


def test_the_kernel_s_answer_is_told_as_fdatasync_tells_it(offered: None, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    try:
        assert begin(writer) is None, "a pipe cannot be synced: nothing was begun"
    finally:
        os.close(reader)
        os.close(writer)
    one = Begun()
    one._event.result = -errno.EIO
    monkeypatch.setattr(begun, "_idle", [])
    monkeypatch.setattr(begun, "_call", lambda *given: 1)
    with pytest.raises(OSError) as told:
        one.end()
    assert told.value.errno == errno.EIO and begun._idle == [one], "it can be used again"


def test_a_signal_on_the_way_is_no_answer(offered: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(tmp_path / "log", "wb") as file:
        file.write(bytes(70_000))
        file.flush()
        one = begin(file.fileno())
        assert one is not None
        order, disturbed = begun._call, [2]

        def call(*given: object) -> int:
            if disturbed[0]:
                disturbed[0] -= 1
                begun.ctypes.set_errno(errno.EINTR)
                return -1
            return int(order(*given))

        monkeypatch.setattr(begun, "_call", call)
        one.end()
        assert disturbed == [0] and one._event.result == 0


def test_where_no_orders_are_taken_a_file_is_synced_in_the_usual_way(
    files: RealFiles, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fd = opened(files)
    monkeypatch.setattr(begun, "_idle", [])
    for number in ("_SETUP", "_SUBMIT"):
        with monkeypatch.context() as without:
            without.setattr(begun, number, -1)
            assert begin(fd) is None
            files.begin_sync(fd)
            files.fdatasync(fd)
    assert synced == ["fdatasync"] * 2 and len(begun._idle) == 1, "what was not taken is asked with again"
    files.close(fd)


async def test_a_bell_rings_once_the_sync_has_ended_each_time_anew(offered: None, files: RealFiles, synced: list[str]) -> None:
    """Until then nobody who waits for it is told, not even by what is left of the one before."""
    fd = opened(files)
    assert files.bell(fd) is None, "nothing was begun"
    for _ in range(3):
        files.begin_sync(fd)
        bell = files.bell(fd)
        assert bell is not None
        await trio.lowlevel.wait_readable(bell)
        files.fdatasync(fd)
        assert files.bell(fd) is None and not begun._idle[-1]._begin(-1), "a file that there is not"
        with pytest.raises(BlockingIOError):
            os.eventfd_read(bell)
    files.begin_sync(fd)
    files.write(fd, b"later")
    assert files.bell(fd) is None, "it does not stand for what came later"
    assert synced == []
    files.close(fd)
