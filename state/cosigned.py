"""What witnesses cosigned of a log, on disk: of each witness the newest checkpoint, as a note that the log and the witness signed.

A promise like the checkpoint, and a harder one: somebody else keeps it too. So a log that is not what a note here says is not taken
at a start. Whose signatures they are is for `audit verify` to say, which knows the keys.
"""

import errno
import re
from collections.abc import Sequence

from core.notes import BadNote, Key, Note, read_note
from state.fs import NO_SPACE, Files, read_all, small_write
from state.log import durable, head_directory

_NAME = re.compile(r"cosigned\.[0-9a-f]{8}")


def cosigned_path(name: str, key: Key) -> str:
    """One file a witness, by the id of its key."""
    return f"{head_directory(name)}/cosigned.{key.id.hex()}"


def cosigned_paths(files: Files, name: str) -> list[str]:
    where = head_directory(name)
    if files.stat_path("log.d") is None or files.stat_path(where) is None:
        return []
    return [f"{where}/{each}" for each in sorted(files.list(where)) if _NAME.fullmatch(each)]


def cosigned_of(files: Files, name: str) -> list[Note] | str:
    """All that is kept of a log, or why some of it cannot be believed."""
    found = []
    for path in cosigned_paths(files, name):
        try:
            raw = read_all(files, path)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return "what a witness cosigned cannot be read"
        if raw is None:
            continue
        try:
            found.append(read_note(raw.decode()))
        except (UnicodeDecodeError, BadNote):
            return "what a witness cosigned is damaged"
    return [note for note in found if note.checkpoint.size]


def write_cosigned(files: Files, name: str, key: Key, note: Note) -> bool:
    """Keep it. False where the disk has no room: the older one stays, and stays true."""
    with durable(name):
        try:
            small_write(files, cosigned_path(name, key), note.text.encode())
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            return False
    return True


def within(notes: Sequence[Note] | str, until: int | None) -> list[Note] | str:
    """Beside a daemon a newer one may have come meanwhile: those that end with a record up to `until`."""
    if isinstance(notes, str):
        return notes
    return [note for note in notes if until is None or note.checkpoint.size <= until + 1]
