"""A real mount point is known for one, and a real restore fills it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from state.alone import Refusal
from state.fs import RealFiles
from state.mounted import is_listed, is_mount
from state.restore import _arguments, _give, _run
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


def test_no_name_of_a_mount_point_ends_a_line_of_the_list_or_hides_another() -> None:
    """Anybody may mount under such a name, by fuse."""
    odd = [f"/mnt/eve/{sign}x" for sign in "\x0b\x0c\x1c\x85\u2028"]
    listed = "".join(f"{number} 1 0:{number} / {path} rw - fuse f rw\n" for number, path in enumerate([*odd, "/mnt/a\\040b"]))
    assert all(is_listed(Path(path), listed) for path in (*odd, "/mnt/a b"))
    assert not is_listed(Path("/mnt"), listed) and not is_listed(Path("/mnt/eve"), listed)


def test_who_becomes_the_owner_cannot_have_root_give_away_what_lies_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory that was looked at and is a link by the time it is gone into."""
    (place := tmp_path / "place").mkdir()
    (place / "log.d").mkdir()
    (place / "log.d/head").write_text("")
    (elsewhere := tmp_path / "elsewhere").mkdir()
    (elsewhere / "passwd").write_text("")
    look, given, swapped = os.stat, [], []

    def exchanged(path: object, *rest: object, **more: object) -> os.stat_result:
        found = look(path, *rest, **more)  # type: ignore[arg-type, call-overload]
        if str(path).endswith("log.d") and not swapped:
            swapped.append(path)
            (place / "log.d").rename(tmp_path / "taken away")
            (place / "log.d").symlink_to(elsewhere)
        return found

    def chown(path: str, uid: int, gid: int, *, dir_fd: int, follow_symlinks: bool) -> None:
        given.append(look(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks).st_ino)

    files = RealFiles(tmp_path)
    monkeypatch.setattr(os, "stat", exchanged)
    monkeypatch.setattr(os, "chown", chown)
    with suppress(OSError):
        _give(files, "place", (12_345, 12_346))
    monkeypatch.undo()
    files.shut()
    assert place.stat().st_ino in given and (place / "log.d").is_symlink()
    assert (elsewhere / "passwd").stat().st_ino not in given
