"""The simulated disk forgets what it may, all that it may, and nothing else."""

import errno
import os
from random import Random

import pytest

from tests.sim.disk import Killed, NthFails, SimFiles

DRAWS = 400


def written(files: SimFiles, path: str, data: bytes) -> int:
    fd = files.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    files.write(fd, data)
    return fd


def synced(path: str, data: bytes) -> tuple[SimFiles, int]:
    files = SimFiles()
    fd = written(files, path, data)
    files.fdatasync(fd)
    files.fsync_dir(".")
    return files, fd


def draws(files: SimFiles, path: str) -> list[bytes]:
    return [files.crash(Random(seed)).content(path) for seed in range(DRAWS)]


def names(files: SimFiles) -> set[tuple[str, ...]]:
    return {tuple(files.crash(Random(seed)).list(".")) for seed in range(DRAWS)}


def test_what_was_synced_always_survives():
    files, _ = synced("a", b"x" * 1300)
    assert set(draws(files, "a")) == {b"x" * 1300}


def test_of_unsynced_sectors_every_subset_and_every_fate_occurs():
    files, fd = synced("a", b"o" * 1024)
    files.write(fd, b"n" * 1024)
    left = draws(files, "a")
    assert all(one[:1024] == b"o" * 1024 for one in left), "a synced sector without a write changed"
    assert {len(one) for one in left} >= {1024, 2048}
    whole = [one for one in left if len(one) == 2048]
    kinds = {(kind(one[1024:1536]), kind(one[1536:])) for one in whole}
    assert {first for first, _ in kinds} == {second for _, second in kinds} == {"new", "zero", "garbage"}
    assert ("new", "zero") in kinds and ("zero", "new") in kinds, "sectors do not survive apart"
    assert any(1024 < len(one) < 2048 for one in left), "the size is always one that the file has had"


def kind(sector: bytes) -> str:
    return "new" if set(sector) == {ord("n")} else "zero" if not any(sector) else "garbage"


def test_a_sector_shared_with_an_unsynced_write_may_be_destroyed():
    files, fd = synced("a", b"o" * 700)
    files.write(fd, b"n" * 100)
    left = draws(files, "a")
    assert all(one[:512] == b"o" * 512 for one in left)
    assert any(one[512:700] == bytes(188) for one in left)
    assert any(one[512:700] not in (bytes(188), b"o" * 188) for one in left)
    assert b"o" * 700 in left and b"o" * 700 + b"n" * 100 in left


def test_a_sector_written_twice_may_keep_either():
    files, fd = synced("a", b"")
    files.write(fd, b"1" * 10)
    files.write(fd, b"2" * 10)
    left = draws(files, "a")
    assert b"1" * 10 + b"2" * 10 in left and any(one == b"1" * 10 + bytes(10) for one in left)


def test_an_unsynced_truncation_may_not_have_happened():
    files, fd = synced("a", b"x" * 1024)
    files.truncate(fd, 512)
    assert {len(one) for one in draws(files, "a")} >= {512, 1024}
    files.fsync(fd)
    assert set(draws(files, "a")) == {b"x" * 512}


def test_syncing_a_file_does_not_sync_its_name_nor_the_other_way_round():
    files = SimFiles()
    fd = written(files, "a", b"x")
    files.fdatasync(fd)
    assert names(files) == {(), ("a",)}
    files = SimFiles()
    written(files, "a", b"x")
    files.fsync_dir(".")
    assert names(files) == {("a",)}
    assert b"" in draws(files, "a") and b"x" in draws(files, "a")


def test_of_unsynced_names_every_subset_survives():
    files, _ = synced("a", b"1")
    files.link("a", "b")
    files.rename("a", "c")
    assert names(files) == {("a",), ("a", "b"), ("c",), ("b", "c")}
    files.fsync_dir(".")
    assert names(files) == {("b", "c")}
    files.unlink("b")
    assert names(files) == {("b", "c"), ("c",)}
    left = files.crash(Random(1))
    assert left.content("c") == b"1"


def test_links_to_one_file_stay_one_file():
    files, _ = synced("a", b"1")
    files.link("a", "b")
    files.fsync_dir(".")
    left = files.crash(Random(0))
    assert left.stat_path("a").inode == left.stat_path("b").inode
    fd = left.open("a", os.O_WRONLY | os.O_APPEND)
    left.write(fd, b"2")
    assert left.content("b") == b"12"


def test_a_rename_is_whole_or_absent():
    files, _ = synced("new", b"n" * 600)
    fd = written(files, "a", b"o" * 600)
    files.fsync(fd)
    files.fsync_dir(".")
    files.rename("new", "a")
    seen = {(tuple(left.list(".")), left.content("a")) for left in (files.crash(Random(seed)) for seed in range(50))}
    assert seen == {(("a", "new"), b"o" * 600), (("a",), b"n" * 600)}


def test_a_crash_draws_a_disk_and_leaves_this_one_as_it_is():
    files, fd = synced("a", b"x")
    files.write(fd, b"y")
    assert files.crash(Random(7)).tree() == files.crash(Random(7)).tree()
    assert files.content("a") == b"xy" and files.durable("a") == b"x"
    left = files.crash(Random(7))
    assert left.crash(Random(8)).tree() == left.tree(), "after a power cut all that is there is durable"


def test_a_kill_keeps_the_cache_and_frees_files_and_locks():
    files, fd = synced("a", b"x")
    files.write(fd, b"y")
    assert files.lock(fd)
    left = files.kill()
    assert left.content("a") == b"xy" and left.durable("a") == b"x"
    with pytest.raises(OSError):
        left.stat(fd)
    assert left.lock(left.open("a", os.O_RDWR))


def test_after_a_failed_sync_the_cache_lies_until_it_is_dropped():
    files, fd = synced("a", b"o" * 512)
    failing = NthFails(files, 1, OSError(errno.EIO, "EIO"), ["fdatasync"])
    failing.write(fd, b"n" * 512)
    with pytest.raises(OSError):
        failing.fdatasync(fd)
    failing.fdatasync(fd)  # the kernel has nothing left to write, so it succeeds
    assert files.content("a") == b"o" * 512 + b"n" * 512
    assert b"n" not in files.durable("a")
    files.drop_cache(fd)
    assert files.content("a") == b"o" * 512 + bytes(512)


def test_dropping_the_cache_keeps_what_is_not_yet_written_back():
    files, fd = synced("a", b"o" * 512)
    files.write(fd, b"n" * 512)
    files.drop_cache(fd)
    assert files.content("a") == b"o" * 512 + b"n" * 512


def test_a_full_disk_refuses_writes_but_for_claimed_room():
    files, fd = synced("a", b"x" * 100)
    files.capacity = 1000
    assert files.reserve(fd, 100, 400)
    other = written(files, "b", b"y" * 500)
    assert files.free() == 0
    files.write(fd, b"x" * 400)
    for full in (fd, other):
        with pytest.raises(OSError) as refused:
            files.write(full, b"z")
        assert refused.value.errno == errno.ENOSPC


def test_the_nth_call_fails_and_no_other():
    files = SimFiles()
    failing = NthFails(files, 2, OSError(errno.EIO, "EIO"), ["mkdir"])
    failing.mkdir("a")
    with pytest.raises(OSError):
        failing.mkdir("b")
    failing.mkdir("c")
    assert files.list(".") == ["a", "c"] and failing.count == 3
    failing = NthFails(files, 1, Killed(), ["mkdir"], after=True)
    with pytest.raises(Killed):
        failing.mkdir("d")
    assert files.list(".") == ["a", "c", "d"]
    failing = NthFails(files, 1, OSError(errno.EIO, "EIO"), ["mkdir"], always=True)
    for _ in range(2):
        with pytest.raises(OSError):
            failing.mkdir("e")
    fd = written(files, "f", b"")
    short = NthFails(files, 1, "short", ["write"])
    assert (short.write(fd, b"12345678"), short.write(fd, b"5678")) == (4, 4)
    assert files.content("f") == b"12345678"
