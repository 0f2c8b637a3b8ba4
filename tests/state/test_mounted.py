"""A real mount point is known for one, and a real restore fills it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from state.alone import Refusal
from state.mounted import is_mount
from state.restore import _arguments, _run
from tests.state.test_backup import good

__all__ = ["good"]


def mounted(*command: str) -> None:
    done = subprocess.run(["mount", *command], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """With a name that needs care in the kernel's list."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    place = tmp_path / "a b\\c"
    place.mkdir()
    yield place
    subprocess.run(["umount", place], capture_output=True, check=False)


@pytest.mark.parametrize("bound", [False, True], ids=["its own", "the same file system once more"])
def test_a_mount_point_is_known_and_restored_into(good: bytes, tmp_path: Path, place: Path, bound: bool) -> None:
    assert not is_mount(place)
    (source := tmp_path / "source").mkdir()
    mounted(*(("--bind", str(source)) if bound else ("-t", "tmpfs", "none")), str(place))
    assert is_mount(place) and not is_mount(place.parent)
    (backup := tmp_path / "backup.tar").write_bytes(good)
    os.chown(place, 12_345, 12_346)
    row = _run(_arguments([str(place), str(backup)]))
    assert row["aside"] is None and (place / "ledger.json").exists()
    owners = {(found.st_uid, found.st_gid) for each in place.rglob("*") for found in [each.lstat()]}
    assert owners == {(12_345, 12_346)}, "the daemon can open all of it"
    with pytest.raises(Refusal, match="mount point and not empty"):
        _run(_arguments([str(place), str(backup)]))
