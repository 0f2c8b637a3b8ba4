"""The newest checkpoint of a log on disk: one small file, a signed note that says how many records were durable and their root.

It is written only after what it names is durable, and it is a promise: a log that later ends before it, or has another root at its
size, was cut back or written anew, and no start takes it. What it says is compared with the log at every start; who signed it is
for `audit verify` to say.
"""

import errno

from core.notes import BadNote, Checkpoint, Note, read_note, signed
from state.fs import NO_SPACE, Files, read_all, small_write
from state.log import Log, durable, head_directory


def checkpoint_path(name: str) -> str:
    return f"{head_directory(name)}/checkpoint"


def checkpoint_of(files: Files, name: str) -> Note | str | None:
    """The checkpoint, or why it cannot be believed, or None where there is none. Its signature has not been looked at."""
    try:
        raw = read_all(files, checkpoint_path(name))
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return "the checkpoint cannot be read"
    if raw is None:
        return None
    try:
        note = read_note(raw.decode())
    except UnicodeDecodeError:
        return "the checkpoint is damaged: it is no text"
    except BadNote as bad:
        return f"the checkpoint is damaged: {bad.why}"
    return note if note.checkpoint.size else "the checkpoint is damaged: it names no record"


def write_checkpoint(log: Log, secret: bytes) -> Note | None:
    """Sign what is durable now, and keep that. None where the disk has no room: the older one stays, and stays true."""
    edge = log.durable_edge  # read once: the tree and its size belong together
    note = signed(Checkpoint(log.origin, edge.size, edge.root()), secret)
    with durable(log.name):
        try:
            small_write(log._files, checkpoint_path(log.name), note.text.encode())
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            return None
    return note
