"""The seam: the real disk and the simulated one behave alike, and small files are replaced whole or not at all."""

import errno
import os
import resource
import stat
from pathlib import Path
from random import Random

import pytest

from state.fs import Files, NoSpace, RealFiles, make_directory, read_all, small_write, write_all
from tests.sim.disk import CHANGES, Killed, NthFails, SimFiles


@pytest.fixture(params=["real", "simulated"])
def files(request, tmp_path):
    if request.param == "simulated":
        yield SimFiles()
        return
    real = RealFiles(tmp_path)
    yield real
    real.shut()


def fails(code: int, call, *arguments: object) -> None:
    with pytest.raises(OSError) as failure:
        call(*arguments)
    assert failure.value.errno == code


def put(files: Files, path: str, data: bytes) -> None:
    fd = files.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    write_all(files, fd, data)
    files.close(fd)


def test_both_disks_open_write_and_read_alike(files):
    put(files, "a", b"one")
    fd = files.open("a", os.O_RDWR | os.O_APPEND)
    assert files.write(fd, b"two") == 3
    assert files.stat(fd).size == 6
    assert files.pread(fd, 100, 2) == b"etwo"
    assert files.pread(fd, 2, 6) == b""
    files.truncate(fd, 4)
    files.fdatasync(fd)
    files.drop_cache(fd)
    assert files.pread(fd, 10, 0) == b"onet"
    files.close(fd)
    fails(errno.EBADF, files.stat, fd)
    fd = files.open("a", os.O_WRONLY | os.O_TRUNC)
    files.write(fd, b"x")
    files.write(fd, b"y")
    files.fsync(fd)
    assert files.stat(fd).size == 2
    files.close(fd)
    assert read_all(files, "a") == b"xy"
    fd = files.open("a", os.O_RDONLY)
    fails(errno.EBADF, files.write, fd, b"no")
    files.close(fd)


def test_both_disks_keep_names_alike(files):
    fails(errno.ENOENT, files.open, "a", os.O_RDONLY)
    assert read_all(files, "a") is None
    assert files.stat_path("a") is None and files.stat_path("d/a") is None
    put(files, "a", b"1")
    fails(errno.EEXIST, files.open, "a", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    files.mkdir("d")
    fails(errno.EEXIST, files.mkdir, "d")
    assert stat.S_ISDIR(files.stat_path("d").mode)
    files.link("a", "d/b")
    assert files.stat_path("a").inode == files.stat_path("d/b").inode
    fails(errno.EEXIST, files.link, "a", "d/b")
    put(files, "c", b"2")
    files.rename("c", "a")
    assert read_all(files, "a") == b"2" and read_all(files, "d/b") == b"1"
    assert files.list(".") == ["a", "d"] and files.list("d") == ["b"]
    files.unlink("a")
    fails(errno.ENOENT, files.unlink, "a")
    fails(errno.ENOENT, files.rename, "a", "b")
    fails(errno.ENOENT, files.list, "absent")
    files.fsync_dir(".")
    files.fsync_dir("d")
    files.chmod("d/b", 0o400)
    assert stat.S_IMODE(files.stat_path("d/b").mode) == 0o400


def test_both_disks_lock_alike(files):
    first = files.open("LOCK", os.O_RDWR | os.O_CREAT)
    second = files.open("LOCK", os.O_RDWR)
    assert files.lock(first) and files.lock(first)
    assert not files.lock(second)
    files.close(first)
    assert files.lock(second)
    files.close(second)


def test_room_is_claimed_without_a_change_of_size(files):
    put(files, "a", b"one")
    fd = files.open("a", os.O_RDWR | os.O_APPEND)
    files.reserve(fd, 3, 1 << 20)
    assert files.stat(fd).size == 3
    assert files.free() > 0
    files.close(fd)


def test_a_real_reservation_takes_blocks_and_says_when_there_are_none(tmp_path):
    files = RealFiles(tmp_path)
    put(files, "a", b"one")
    fd = files.open("a", os.O_RDWR | os.O_APPEND)
    if not files.reserve(fd, 3, 1 << 20):
        pytest.skip("this file system cannot claim room")
    assert os.stat(tmp_path / "a").st_blocks * 512 >= 1 << 20
    with pytest.raises(NoSpace):
        files.reserve(fd, 0, 1 << 62)
    with pytest.raises(OSError) as bad:
        files.reserve(fd, 0, 0)
    assert bad.value.errno == errno.EINVAL and not isinstance(bad.value, NoSpace)
    files.close(fd)
    files.shut()


def test_a_link_in_the_state_directory_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"secret")
    (tmp_path / "link").symlink_to("elsewhere")
    files = RealFiles(tmp_path)
    fails(errno.ELOOP, files.open, "link", os.O_RDONLY)
    files.shut()


def test_the_directory_is_held_and_not_looked_up_again(tmp_path: Path):
    (tmp_path / "before").mkdir()
    files = RealFiles(tmp_path / "before")
    (tmp_path / "before").rename(tmp_path / "after")
    put(files, "a", b"1")
    assert (tmp_path / "after" / "a").read_bytes() == b"1"
    files.shut()


def test_nothing_is_left_open(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    files = RealFiles(tmp_path)
    make_directory(files, "d")
    small_write(files, "d/a", b"1")
    assert read_all(files, "d/a") == b"1"
    files.list("d")
    files.shut()
    assert len(os.listdir("/proc/self/fd")) == before
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > before


def test_a_small_file_is_private_and_whole(files):
    small_write(files, "a", b"first")
    small_write(files, "a", b"second, longer")
    assert read_all(files, "a") == b"second, longer"
    assert stat.S_IMODE(files.stat_path("a").mode) == 0o600
    assert files.list(".") == ["a"]


@pytest.mark.parametrize("after", [False, True])
def test_a_small_file_is_the_old_or_the_new_after_any_power_cut(after):
    seen = set()
    for nth in range(1, 10):
        disk = SimFiles()
        small_write(disk, "a", b"old" * 300)
        done = False
        try:
            small_write(NthFails(disk, nth, Killed(), CHANGES, after=after), "a", b"new" * 400)
            done = True
        except Killed:
            pass
        for seed in range(30):
            left = disk.crash(Random(seed)).content("a")
            assert left == b"new" * 400 if done else left in (b"old" * 300, b"new" * 400)
            seen.add(left[:3])
    assert seen == {b"old", b"new"}


def test_a_write_that_takes_nothing_is_an_error_and_no_endless_loop():
    class Stuck:
        def write(self, fd, data):
            return 0

    with pytest.raises(OSError, match="took nothing"):
        write_all(Stuck(), 3, b"data")


def test_a_directory_made_by_a_run_that_was_killed_becomes_durable():
    disk = SimFiles()
    disk.mkdir("d")
    killed = disk.kill()
    make_directory(killed, "d")
    assert all(killed.crash(Random(seed)).list(".") == ["d"] for seed in range(10))
