"""`irerctl backup` and `irerctl restore`: the whole state in one file, and back.

A backup is a plain tar file. It gets its name only when every byte of it agrees with what the daemon says it sent; whatever goes
wrong before leaves no file. Restoring is the work of `python -m state.restore`, on a daemon that is stopped.
"""

import errno
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import click

from core.canonical import encode
from irerctl import render
from irerctl.session import Failure, command, session

FILES = "files.sha256"
MANIFEST = "manifest.json"
BLOCK_BYTES = 512
MODE = 0o600
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})


@command(
    "backup",
    "Copy the whole state of the daemon into one file.",
    click.Argument(["file"], metavar="FILE", type=click.Path(dir_okay=False, path_type=Path)),
    click.Option(["--with-keys"], is_flag=True, help="Also the keys: whoever has the file then has all secrets of this daemon."),
    click.Option(["--force"], is_flag=True, help="Replace FILE if it exists."),
    epilog="The daemon goes on meanwhile. Without the keys the file is of use only together with a copy of keys/. "
    "Look inside with tar -tvf FILE; bring it back with irerctl restore FILE --state-dir DIR.",
)
def backup(file: Path, with_keys: bool, force: bool) -> None:
    now = session()
    if file.exists() and not force:
        raise Failure("already-exists", f"{file} exists.", f"Give another name, or: irerctl backup {file} --force")
    with (
        _unfinished(file) as (temporary, target),
        now.stream("system.backup", {"keys": True} if with_keys else {}) as items,
    ):
        archive = Archive(target)
        watched = render.terminal(sys.stderr)
        for item in items:
            archive.take(item["name"], item["offset"], item["data"])
            if watched:
                render.transient(f"{_size(archive.bytes)} of {_size(item['total'])}  {item['name']}")
        if watched:
            render.transient("")
        manifest = items.result
        archive.finish(manifest)
        target.flush()
        os.fsync(target.fileno())
        if force:
            os.replace(temporary, file)
        else:
            _take_name(temporary, file)
        _sync_directory(file.parent)
    now.show({"file": str(file), **manifest}, lambda _: _draw(file, manifest))


class Archive:
    """The tar file as it grows: pieces in order, checked in the end against what should have come."""

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target
        self._name = ""
        self._start = 0
        self._size = 0
        self._digest = sha256()
        self._seen: set[str] = set()
        self._list = bytearray()
        self.bytes = 0
        """Of all files so far."""

    def take(self, name: str, offset: int, data: bytes) -> None:
        if name != self._name:
            self._end_file()
            if name in self._seen:
                raise _wrong(f"{name} came twice")
            self._name, self._start, self._size, self._digest = name, self._target.tell(), 0, sha256()
            self._target.write(bytes(BLOCK_BYTES))  # its header follows when its size is known
        if offset != self._size:
            raise _wrong(f"{name} goes on at byte {offset}, not at {self._size}")
        self._target.write(data)
        self._digest.update(data)
        self._size += len(data)
        self.bytes += len(data)

    def finish(self, manifest: Mapping[str, Any]) -> None:
        """Raises Failure unless the files are those that the manifest says were sent, each in its place, and nothing else."""
        self._end_file()
        came = (len(self._seen), self.bytes, sha256(self._list).hexdigest())
        if came != (manifest["files"], manifest["bytes"], manifest["sha256"]):
            raise _wrong(f"{came[0]:,} files of {came[1]:,} bytes came, and they are not what was sent")
        text = encode(dict(manifest))
        text = text[:-1] + b',"event_hash":"' + sha256(text).hexdigest().encode() + b'"}\n'  # sealed as a record is
        for name, whole in ((FILES, bytes(self._list)), (MANIFEST, text)):
            self.take(name, 0, whole)
            self._end_file()
        self._target.write(bytes(2 * BLOCK_BYTES))

    def _end_file(self) -> None:
        if not self._name:
            return
        self._target.write(bytes(-self._size % BLOCK_BYTES))
        end = self._target.tell()
        header = tarfile.TarInfo(self._name)
        header.size, header.mode = self._size, MODE
        self._target.seek(self._start)
        self._target.write(header.tobuf(tarfile.USTAR_FORMAT))
        self._target.seek(end)
        self._seen.add(self._name)
        self._list += f"{self._digest.hexdigest()}  {self._name}\n".encode()
        self._name = ""


def _wrong(why: str) -> Failure:
    return Failure("data-loss", f"the backup is not whole: {why}. Nothing was kept.", "Try again")


@contextmanager
def _unfinished(file: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """A file beside the one that is wanted, gone again unless it got that name."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        made = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, MODE)
    except OSError as problem:
        raise Failure(
            "failed-precondition", f"cannot write in {file.parent}: {problem.strerror}.", "Give another FILE"
        ) from problem
    try:
        with os.fdopen(made, "r+b") as target:
            yield temporary, target
    except OSError as problem:
        if problem.errno not in _DISK:
            raise
        raise Failure("resource-exhausted", f"{file}: {problem.strerror}.", "Free some space, or give another FILE") from problem
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def _take_name(temporary: Path, file: Path) -> None:
    """The name, unless somebody took it meanwhile."""
    try:
        os.link(temporary, file)
    except FileExistsError:
        raise Failure("already-exists", f"{file} came into being meanwhile.", "Give another name") from None


def _sync_directory(place: Path) -> None:
    held = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(held)
    finally:
        os.close(held)


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _draw(file: Path, manifest: Mapping[str, Any]) -> None:
    rows = [[name, render.count(log["records"])] for name, log in sorted(manifest["logs"].items())]
    render.table(["log", "records"], rows, right=["records"])
    render.say()
    keys = (
        "with its keys: keep it as private as the state itself"
        if manifest["with_keys"]
        else "without its keys: keep a copy of keys/"
    )
    render.say(f"{file}  {render.count(manifest['files'])} files, {_size(manifest['bytes'])}  {keys}")


@command(
    "restore",
    "Make a state directory from a backup; irerd must be stopped.",
    click.Argument(["file"], metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path)),
    click.Option(
        ["--state-dir"],
        required=True,
        type=click.Path(file_okay=False, path_type=Path),
        help="The directory to make. One that is there is moved aside, never deleted; a mount point must be empty.",
    ),
    click.Option(
        ["--keys"], type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR", help="Take the keys from here."
    ),
    click.Option(["--new-keys"], is_flag=True, help="Make new keys: the old ones are lost for good."),
    epilog="Everything is checked before the directory gets its name; a bad backup changes nothing. "
    "What was acknowledged after the backup is not in it, and the record says where the restored history begins.",
)
def restore(file: Path, state_dir: Path, keys: Path | None, new_keys: bool) -> None:
    more = [*(["--keys", str(keys)] if keys else []), *(["--new-keys"] if new_keys else [])]
    run_alone("state.restore", str(state_dir), str(file), *more)


def run_alone(module: str, *arguments: str) -> None:
    """One of the programs that need the files and no daemon; what it says goes where this program's output goes."""
    now = session()
    asked = [sys.executable, "-m", module, *arguments, "--actor", f"uid:{os.getuid()}"]
    more = [] if now.output == "table" else ["--jsonl"]
    done = subprocess.run([*asked, *more], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise Failure("failed-precondition", lines[-1] if lines else f"{module} ended with status {done.returncode}")
    render.say(done.stdout.rstrip("\n"))
