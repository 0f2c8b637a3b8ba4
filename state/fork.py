"""Where the record of a log goes on under another name: after a repair, a restore, a rollback.

Two histories that share a beginning must never share a name, or a receipt of the one would seem to be of the other. So the first
thing that is appended to a log that lost its end is `log.fork`: from which origin to which, and up to where both are the same.
"""

from collections.abc import Callable
from hashlib import sha256

import msgspec

from core.canonical import encode
from state.log import Stamper, head_directory
from state.seal import Pending
from state.segment import FORK, Fork
from state.tree import Edge


def new_identity(new_id: Callable[[], str]) -> str:
    """16 hex digits that no ledger had before."""
    return sha256(f"irer/fork/id\0{new_id()}".encode()).hexdigest()[:16]


def new_origin(old: str, identity: str) -> str:
    """The same base and log, another ledger."""
    base, _, log = old.rsplit("/", 2)
    return f"{base}/{identity}/{log}"


def fork_record(old_origin: str, edge: Edge, origin: str, actor: str, stamp: Stamper) -> Pending:
    """A batch of its own. `edge` is of the tree over all records that were kept: no checkpoint vouches for more."""
    time_us, mono_us, boot_id = stamp()
    fork = Fork(new_origin=origin, old_origin=old_origin, sealed_root=edge.root().hex(), sealed_size=edge.size)
    return Pending(FORK, encode(msgspec.structs.asdict(fork)), actor, boot_id, mono_us, time_us)


def repair_path(name: str) -> str:
    """Exists while a repair of this log has begun to change its files and has not finished: `state.repair` finishes it."""
    return f"{head_directory(name)}/repair"
