"""Cursors: where a reader of events stands in every log, as one opaque text that survives restarts."""

from collections.abc import Mapping

import msgspec

from core.engine import Refused

VERSION = "w1"


class Position(msgspec.Struct, frozen=True, gc=False):
    """Of each log, which record comes next: what `ends` says, but of one log this. `ends` is shared by many and never changed."""

    ends: Mapping[str, int]
    log: str = ""
    """None of them, where it is empty."""
    seq: int = 0


class Cursors:
    """Cursors of one ledger."""

    def __init__(self, ledger_id: str) -> None:
        self._head = f"{VERSION}.{ledger_id}."
        self._ends: Mapping[str, int] = {}
        self._around: dict[str, tuple[str, str]] = {}
        """Of each log, the text of these ends before and after its number: answers of one moment differ in nothing else."""

    def text(self, position: Mapping[str, int] | Position) -> str:
        """`position` says of each log which record comes next."""
        if isinstance(position, Position):
            if position.ends is self._ends and (around := self._around.get(position.log)) is not None:
                return f"{around[0]}{position.seq}{around[1]}"
            return self._of(position)
        return self._head + "-".join([f"{log}~{seq}" for log, seq in position.items()])

    def _of(self, position: Position) -> str:
        log = position.log
        if not log:
            return self.text(position.ends)
        if position.ends is not self._ends:
            self._ends, self._around = position.ends, {}
        before, _, after = self.text({**position.ends, log: -1}).partition("~-1")
        self._around[log] = f"{before}~", after
        return f"{before}~{position.seq}{after}"


def parse_cursor(text: str, ledger_id: str) -> dict[str, int]:
    """Where it stands in each log; in none, where none was sound."""
    version, _, rest = text.partition(".")
    ledger, whole, places = rest.partition(".")
    position: dict[str, int] = {}
    for place in places.split("-") if places else []:
        log, _, seq = place.partition("~")
        whole = whole if log and seq.isascii() and seq.isdigit() and len(seq) <= 16 else ""
        position[log] = int(seq) if whole else 0
    if version != VERSION or not whole:
        raise Refused("invalid-argument", "this is no cursor. Give one that irer gave you", fields=[("since", "not a cursor")])
    if ledger != ledger_id:
        raise Refused("out-of-range", "the cursor belongs to another state directory. List again, then watch")
    return position
