"""What replicates the two sides of a drill: the functions that a real sync stands on, over a connection that is cut now and then.

Every document crosses as JSON. A step is remembered only once what it did is on disk on both sides, so a cut costs a repetition.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from core.cache.commands import Merge, Pushed, Sent, SetCheckpoint
from core.cache.form import loaded
from core.cache.sync import Change, Leaf, batches, changes_since, incoming, leaf_bodies, outgoing, revs_diff
from irerd.drill.side import Side

REMOTE = "drill://far"
STEP = 16
"""Documents of one step: few, so that there are many moments for a cut."""
ALONE = -1
"""Before the first record."""


class Cut(Exception):
    """The connection is gone; nobody knows what of the last step arrived."""


def _never() -> None:
    return None


class Tie:
    def __init__(self, near: Side, far: Side) -> None:
        self.near = near
        self.far = far
        self.risk: Callable[[], None] = _never
        """Called wherever a connection may be cut: raises Cut."""
        self.moved = 0
        """Revisions that one side took in."""

    def run(self) -> None:
        """Both ways, from where the near side remembers that they stand. Raises Cut."""
        self._push()
        self._pull()

    def _place(self) -> tuple[int, int]:
        """The last record that the other side has, of the near log and of the far one."""
        known = self.near.cache.checkpoints.get(REMOTE)
        return (known.pushed_seq, int(known.cursor)) if known is not None else (ALONE, ALONE)

    def _remember(self, pushed_seq: int, cursor: int) -> None:
        self.near.give("checkpoint", SetCheckpoint(REMOTE, str(cursor), "", max(0, pushed_seq)))

    # --- out ----------------------------------------------------------------------------------------------------------

    def _push(self) -> None:
        end = self.near.end
        while True:
            pushed_seq, cursor = self._place()
            changes = [change for change in changes_since(self.near.cache, pushed_seq, STEP) if change.seq < end]
            if not changes:
                return
            self._carry(changes, self.near, self.far)
            sent = [Sent(change.key, change.revs[:1_000]) for change in changes]
            self.near.give("pushed", Pushed(REMOTE, sent))
            self.risk()
            self._remember(changes[-1].seq, cursor)

    # --- in -----------------------------------------------------------------------------------------------------------

    def _pull(self) -> None:
        while True:
            pushed_seq, cursor = self._place()
            changes = changes_since(self.far.cache, cursor, STEP)
            if not changes:
                return
            self._carry(changes, self.far, self.near)
            self._remember(pushed_seq, changes[-1].seq)

    # --- both ---------------------------------------------------------------------------------------------------------

    def _carry(self, changes: Sequence[Change], source: Side, target: Side) -> None:
        self.risk()
        absent = revs_diff(target.cache, {change.key: change.revs for change in changes})
        leaves = [leaf for key, found in absent.items() for leaf in leaf_bodies(source.cache, key, found.missing)]
        documents = self.documents(source, leaves)
        for batch in batches([incoming(document) for document in documents]):
            self.risk()
            target.give("merge", Merge([each.incoming for each in batch]))
            self.moved += len(batch)
            self.risk()

    def documents(self, source: Side, leaves: Sequence[Leaf]) -> list[Mapping[str, Any]]:
        """As they arrive."""
        sent = [outgoing(leaf, None if leaf.place is None else loaded(source.value(leaf.place))) for leaf in leaves]
        arrived: list[Mapping[str, Any]] = msgspec.json.decode(msgspec.json.encode(sent))
        return arrived
