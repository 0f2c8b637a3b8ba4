"""What a witness of logs is asked, and how it judges: a checkpoint is cosigned only if it continues the one that was cosigned last.

The request and the answers are those of C2SP tlog-witness. Pure: whoever keeps what was cosigned last brings it, and must keep what
the verdict says before anybody hears of it.
"""

import re
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from core.notes import BadNote, Key, Note, hash_from, read_note, signed_by
from core.proofs import consistent

PATH = "/add-checkpoint"
SIZE_TYPE = "text/x.tlog.size"
"""The type of an answer that tells how many records were cosigned last."""
REQUEST_BYTES_MAX = 32_768
HASHES_MAX = 63

COSIGNED, BAD, FORBIDDEN, UNKNOWN, CONFLICT, UNPROVEN = 200, 400, 403, 404, 409, 422

_OLD = re.compile(r"old (0|[1-9][0-9]{0,15})")


class BadRequest(ValueError):
    """This text asks nothing of a witness; `why` is one short sentence."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Request(NamedTuple):
    """Cosign this checkpoint, which continues the one of `old` records, as the hashes prove."""

    old: int
    path: tuple[bytes, ...]
    note: Note

    def text(self) -> str:
        hashes = "".join(f"{b64encode(node).decode()}\n" for node in self.path)
        return f"old {self.old}\n{hashes}\n{self.note.text}"


def read_request(text: str) -> Request:
    """Raises BadRequest. Nothing of it has been believed."""
    above, blank, note = text.partition("\n\n")
    first, *hashes = above.split("\n")
    old = _OLD.fullmatch(first)
    if old is None or not blank:
        raise BadRequest("not a request: it does not begin with old and a size, then hashes, an empty line and a checkpoint")
    if len(hashes) > HASHES_MAX:
        raise BadRequest(f"more than {HASHES_MAX} hashes")
    try:
        return Request(int(old[1]), tuple(map(hash_from, hashes)), read_note(note))
    except BadNote as bad:
        raise BadRequest(bad.why) from None


class Seen(NamedTuple):
    """What was cosigned last: how many records, and the root of the tree over them. Of a log that never was: none."""

    size: int = 0
    root: bytes = sha256().digest()


class Verdict(NamedTuple):
    """A status of HTTP, and why in one sentence. Only after COSIGNED may anything be signed."""

    status: int
    why: str = ""


def judge(request: Request, keys: Sequence[Key], seen: Seen) -> Verdict:
    """`keys` are those that the witness's operator trusts for this origin; none: the origin is not known here."""
    at = request.note.checkpoint
    if not keys:
        return Verdict(UNKNOWN, f"no log {at.origin} is known here")
    if not any(signed_by(request.note, key) for key in keys if key.name == at.origin):
        return Verdict(FORBIDDEN, f"no key that is trusted for {at.origin} signed this checkpoint")
    if request.old > at.size:
        return Verdict(BAD, f"old is {request.old}, and the checkpoint is of {at.size} records")
    if request.old != seen.size:
        return Verdict(CONFLICT, f"{seen.size} records were cosigned last, not {request.old}")
    if at.size == seen.size and at.root != seen.root:
        return Verdict(CONFLICT, f"another root was cosigned at {seen.size} records")
    if not consistent(seen.size, seen.root, at.size, at.root, request.path):
        return Verdict(UNPROVEN, f"the hashes do not prove that this continues the {seen.size} records that were cosigned last")
    return Verdict(COSIGNED)
