"""Restoring into a directory that is a mount point: no other can be renamed onto it, and nothing that stands there moved aside.

So it must be empty, and the new directory is made within it, checked, and then moved up part by part: the logs first, and last
`ledger.json`. Until then no daemon takes the place: it is held meanwhile, and logs without a ledger are refused.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from state.alone import Refusal
from state.fs import Files, RealFiles, read_all
from state.ledger import LEDGER, LOCK, hold

LOST_AND_FOUND = "lost+found"
"""What a file system brings."""
LEFT_ALONE = frozenset({LOCK, LOST_AND_FOUND})
"""What may stand in an empty one."""
_UNFINISHED = re.compile("restoring-[0-9a-f]{16}")
_PARTS = re.compile(r"[a-z][a-z0-9_]{0,63}(?:\.[0-9]{16})?\.jsonl|log\.d|blobs|keys|configs|data|provenance|restoring-[0-9a-f]{16}")


def is_mount(place: Path) -> bool:
    """Also where the same file system is mounted twice, which no two numbers of devices would show."""
    files = RealFiles(Path("/proc/self"))
    try:
        listed = (read_all(files, "mountinfo") or b"").decode(errors="surrogateescape")
    finally:
        files.shut()
    return is_listed(place, listed)


def is_listed(place: Path, listed: str) -> bool:
    """In the kernel's list, one line each. Names may hold other ends of lines, and anybody may mount: those end nothing here."""
    points = {line.split(" ")[4] for line in listed.split("\n") if line}
    return re.sub(r"[ \t\n\\]", lambda odd: f"\\{ord(odd[0]):03o}", str(place)) in points


@contextmanager
def emptied(files: Files, path: str, discard: Callable[[str], None]) -> Iterator[None]:
    """Hold it, without what an earlier restore left unfinished. `discard` deletes a directory in it. Raises Refusal, Locked."""
    _leftovers(files, path)  # before anything is written to what may be anybody's directory
    held = hold(files)
    try:
        for name in _leftovers(files, path):
            _delete(files, name, discard)
            files.fsync_dir(".")
        yield
    finally:
        files.close(held)


def _leftovers(files: Files, path: str) -> list[str]:
    """What a restore left that did not come to its end, in the order in which to delete it. Raises Refusal where there is more.

    Of moved parts the last, `ledger.json`, is where it was made still: if it is not, they are a whole directory's.
    """
    names = set(files.list(".")) - LEFT_ALONE
    unfinished = {name for name in names if _UNFINISHED.fullmatch(name)}
    moved = names - unfinished
    has_begun = any(files.stat_path(f"{name}/{LEDGER}") is not None for name in unfinished)
    if moved and not (has_begun and LEDGER not in names and all(_PARTS.fullmatch(name) for name in moved)):
        raise Refusal(
            f"{path} is a mount point and not empty, so what it holds cannot be moved aside. Nothing was changed. Empty it, or "
            f"give a directory within it: {path}/state"
        )
    return [*sorted(moved), *sorted(unfinished)]  # it is known by the last, also after another crash


def _delete(files: Files, name: str, discard: Callable[[str], None]) -> None:
    found = files.stat_path(name)
    if found is not None and found.mode & 0o100000:
        files.unlink(name)
    elif found is not None:
        discard(name)


def move_up(files: Files, unfinished: str, discard: Callable[[str], None]) -> None:
    """Give each part its name. Once `ledger.json` has its, all the others are durable under theirs."""
    parts = sorted(files.list(unfinished), key=lambda name: (name == LEDGER, not name.endswith(".jsonl"), name))
    assert parts[-1] == LEDGER
    for some in (parts[:-1], parts[-1:]):
        for name in some:
            files.rename(f"{unfinished}/{name}", name)
        files.fsync_dir(".")
        files.fsync_dir(unfinished)
    discard(unfinished)
    files.fsync_dir(".")
