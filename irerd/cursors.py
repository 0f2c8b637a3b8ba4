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
