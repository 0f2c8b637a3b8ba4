"""Cursors: where a reader of events stands in every log, as one opaque text that survives restarts."""

from collections.abc import Mapping

from core.engine import Refused

VERSION = "w1"


class Cursors:
    """Cursors of one ledger."""

    def __init__(self, ledger_id: str) -> None:
        self._head = f"{VERSION}.{ledger_id}."

    def text(self, position: Mapping[str, int]) -> str:
        """`position` says of each log which record comes next."""
        return self._head + "-".join([f"{log}~{seq}" for log, seq in position.items()])


def parse_cursor(text: str, ledger_id: str) -> dict[str, int]:
    version, _, rest = text.partition(".")
    ledger, _, places = rest.partition(".")
    position: dict[str, int] = {}
    for place in places.split("-"):
        log, _, seq = place.partition("~")
        if version != VERSION or not log or not seq.isascii() or not seq.isdigit() or len(seq) > 16:
            raise Refused("invalid-argument", "this is no cursor. Give one that irer gave you", fields=[("since", "not a cursor")])
        position[log] = int(seq)
    if ledger != ledger_id:
        raise Refused("out-of-range", "the cursor belongs to another state directory. List again, then watch")
    return position
