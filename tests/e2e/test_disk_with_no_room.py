"""A real file system with no room left: a small one in memory, where this machine lets us mount one."""

import ctypes
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from irerctl.client import Error
from tests.e2e.harness import Irerd

MIB = 1 << 20
GOES_ON_S = 15.0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", bytes(place), b"tmpfs", 0, b"size=160m") != 0:
        pytest.skip(f"no file system can be mounted here ({os.strerror(ctypes.get_errno())}): a really full disk was NOT tested")
    try:
        yield place
    finally:
        libc.umount2(bytes(place), 2)


def test_a_really_full_disk_refuses_writes_and_goes_on_by_itself(tmp_path: Path, small_disk: Path) -> None:
    irerd = Irerd(tmp_path)
    irerd.state = small_disk / "state"
    stat = os.statvfs(small_disk)
    with open(small_disk / "ballast", "wb") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, stat.f_bavail * stat.f_frsize - 3 * MIB)
    try:
        irerd.start()
        with irerd.client() as client:
            with pytest.raises(Error) as refused:
                client.call("resource.scale", {"pool": "compute", "size": 7})
            assert (refused.value.code, refused.value.reason) == ("resource-exhausted", "disk-full")
            assert client.call("resource.pools").result
            health = client.call("system.health").result
            assert health["health"] == "failed" and any("the disk is full" in check["reason"] for check in health["checks"])
        irerd.stop()
        with open(small_disk / "more ballast", "wb") as ballast:
            stat = os.statvfs(small_disk)
            with suppress(OSError):  # to the last byte, and what is claimed already stays claimed
                os.posix_fallocate(ballast.fileno(), 0, stat.f_bavail * stat.f_frsize)
        irerd.start()
        with irerd.client() as client:
            assert client.call("resource.pools").result, "a start on it serves reads"
            assert any(check["name"] == "tokens" for check in client.call("system.health").result["checks"])
            os.unlink(small_disk / "more ballast")
            os.unlink(small_disk / "ballast")
            deadline = time.monotonic() + GOES_ON_S
            while True:
                try:
                    client.call("resource.scale", {"pool": "compute", "size": 7})
                    break
                except Error as error:
                    assert error.reason == "disk-full" and time.monotonic() < deadline, error
            assert client.call("system.health").result["health"] == "ok"
        irerd.stop()
        logs = [path.read_bytes() for path in irerd.state.glob("*.jsonl")]
        assert sum(data.count(b'"event_type":"log.full"') for data in logs) >= 1
        assert all(data.count(b'"event_type":"log.full"') <= 1 for data in logs)
    finally:
        irerd.close()
