"""Signed notes and the checkpoints in them, as C2SP describes both: text in, judged values out, and back.

A checkpoint says of a log how many records it had and what root the tree over them had; a signature says who says so. Keys are
32 bytes that the caller brings. The library that signs is loaded when it is first needed: a daemon that signs nothing has none of
it.

A witness signs the same checkpoint and when it saw it (a C2SP cosignature): its line stands below, and its key is of another kind.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

NOTE_CHARS_MAX = 16_384
SIGNATURES_MAX = 64
KEY_BYTES = 32
ED25519 = b"\x01"
COSIGNER = b"\x04"
"""The kind of a key that signs a checkpoint together with a time."""
TIME_BYTES = 8
SIZE_MAX = 2**53 - 1

_NAME = re.compile(r"[!-*,-~]{1,255}")
"""Neither spaces nor a plus, which stand between the parts of a verifier key."""
_SIZE = re.compile(r"0|[1-9][0-9]{0,15}")


class BadNote(ValueError):
    """This text is no signed note, no checkpoint or no key; `why` is one short sentence."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Key(NamedTuple):
    """What a signature is checked with. The name is the origin of a log, or a witness: one public key has another id under each."""

    name: str
    public: bytes
    kind: bytes = ED25519

    @property
    def id(self) -> bytes:
        return sha256(self.name.encode() + b"\n" + self.kind + self.public).digest()[:4]

    def text(self) -> str:
        """The verifier key (vkey), as other programs take it."""
        return f"{self.name}+{self.id.hex()}+{b64encode(self.kind + self.public).decode()}"


class Checkpoint(NamedTuple):
    """How a log stood: its origin, how many records it had, and the root of the tree over them."""

    origin: str
    size: int
    root: bytes

    def body(self) -> str:
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"


class Signature(NamedTuple):
    name: str
    id: bytes
    data: bytes

    def line(self) -> str:
        return f"\N{EM DASH} {self.name} {b64encode(self.id + self.data).decode()}\n"


class Note(NamedTuple):
    """A signed checkpoint, taken apart. Nothing of it has been believed."""

    checkpoint: Checkpoint
    signatures: tuple[Signature, ...]
    text: str


def read_note(text: str) -> Note:
    """Raises BadNote. A checkpoint with extension lines is not one of irer's."""
    if len(text) > NOTE_CHARS_MAX:
        raise BadNote(f"a note of more than {NOTE_CHARS_MAX:,} characters")
    body, blank, rest = text.rpartition("\n\n")
    if not blank or not rest.endswith("\n"):
        raise BadNote("not a signed note: there is no empty line with signatures after it")
    lines = rest[:-1].split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise BadNote(f"more than {SIGNATURES_MAX} signatures")
    return Note(read_checkpoint(body + "\n"), tuple(map(_signature, lines)), text)


def read_checkpoint(body: str) -> Checkpoint:
    """Raises BadNote."""
    lines = body.split("\n")
    if len(lines) != 4 or lines[3]:
        raise BadNote("not a checkpoint: it has other lines than origin, size and root")
    origin, size, root = lines[:3]
    if _NAME.fullmatch(origin) is None:
        raise BadNote("the origin is no name of a log")
    if _SIZE.fullmatch(size) is None or int(size) > SIZE_MAX:
        raise BadNote("the size is no number of records")
    return Checkpoint(origin, int(size), hash_from(root))


def hash_from(text: str) -> bytes:
    """32 bytes in the one way to write them; raises BadNote."""
    found = _decoded(text)
    if len(found) != 32:
        raise BadNote("a hash has not 32 bytes")
    return found


def note_of(checkpoint: Checkpoint, signatures: Sequence[Signature]) -> Note:
    lines = "".join(one.line() for one in signatures)
    return Note(checkpoint, tuple(signatures), f"{checkpoint.body()}\n{lines}")


def signatures_in(text: str) -> tuple[Signature, ...]:
    """Signature lines and nothing else; raises BadNote."""
    if not text.endswith("\n") or text.count("\n") > SIGNATURES_MAX or len(text) > NOTE_CHARS_MAX:
        raise BadNote("not the lines of signatures")
    return tuple(map(_signature, text[:-1].split("\n")))


def is_name(text: str) -> bool:
    """Whether a key may have this name."""
    return _NAME.fullmatch(text) is not None


def key_from(text: str, kind: bytes = ED25519) -> Key:
    """A verifier key from its text; raises BadNote."""
    parts = text.strip().split("+", 2)
    if len(parts) != 3 or _NAME.fullmatch(parts[0]) is None:
        raise BadNote("not a verifier key: it has the form NAME+ID+KEY, as irerctl audit checkpoint prints it")
    found = _decoded(parts[2])
    if found[:1] in (ED25519, COSIGNER) and found[:1] != kind:
        raise BadNote("the key of a witness, not of a log" if kind == ED25519 else "the key of a log, not of a witness")
    if found[:1] != kind or len(found) != 1 + KEY_BYTES:
        raise BadNote("not a verifier key for Ed25519")
    key = Key(parts[0], found[1:], kind)
    if key.id.hex() != parts[1]:
        raise BadNote("the verifier key has another id than it says: it was not copied whole")
    return key


def _signature(line: str) -> Signature:
    dash, _, rest = line.partition(" ")
    name, _, data = rest.partition(" ")
    if dash != "\N{EM DASH}" or _NAME.fullmatch(name) is None:
        raise BadNote("a line that is no signature stands among the signatures")
    found = _decoded(data)
    if len(found) < 5:
        raise BadNote("a signature is too short")
    return Signature(name, found[:4], found[4:])


def _decoded(text: str) -> bytes:
    """One value has one text, so what decodes must encode to the same again."""
    try:
        found = b64decode(text, validate=True)
    except ValueError:
        raise BadNote("not base64") from None
    if b64encode(found).decode() != text:
        raise BadNote("not the one base64 text of its value")
    return found


# --- signatures ---------------------------------------------------------------------------------------------------------------


def public_key(secret: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def signed(checkpoint: Checkpoint, secret: bytes) -> Note:
    """The note that whoever has this key signs: the same bytes each time."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    signer = Ed25519PrivateKey.from_private_bytes(secret)
    key = Key(checkpoint.origin, signer.public_key().public_bytes_raw())
    return note_of(checkpoint, [Signature(key.name, key.id, signer.sign(checkpoint.body().encode()))])


def signed_by(note: Note, key: Key) -> bool:
    """Whether this key signed it. A signature that says so and does not hold counts against all others."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    mine = [one for one in note.signatures if (one.name, one.id) == (key.name, key.id)]
    body = note.checkpoint.body().encode()
    try:
        verifier = Ed25519PublicKey.from_public_bytes(key.public)
        for one in mine:
            verifier.verify(one.data, body)
    except (InvalidSignature, ValueError):
        return False
    return bool(mine)


def _with_time(checkpoint: Checkpoint, time_s: int) -> bytes:
    return f"cosignature/v1\ntime {time_s}\n{checkpoint.body()}".encode()


def cosignature(checkpoint: Checkpoint, name: str, secret: bytes, time_s: int) -> Signature:
    """What a witness of this name says: that at this time it had seen nothing that this does not continue."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    signer = Ed25519PrivateKey.from_private_bytes(secret)
    key = Key(name, signer.public_key().public_bytes_raw(), COSIGNER)
    return Signature(name, key.id, time_s.to_bytes(TIME_BYTES, "big") + signer.sign(_with_time(checkpoint, time_s)))


def cosigned_by(checkpoint: Checkpoint, signatures: Sequence[Signature], key: Key) -> Signature | None:
    """The newest true cosignature of this witness. One that says it is its and does not hold counts against all others."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    newest: Signature | None = None
    try:
        verifier = Ed25519PublicKey.from_public_bytes(key.public)
        for one in signatures:
            if (one.name, one.id) == (key.name, key.id):
                verifier.verify(one.data[TIME_BYTES:], _with_time(checkpoint, time_of(one)))
                newest = one if newest is None or time_of(one) > time_of(newest) else newest
    except (InvalidSignature, ValueError):
        return None
    return newest


def time_of(cosignature: Signature) -> int:
    """When a witness says that it signed, in seconds since 1970. Nothing here has been believed."""
    return int.from_bytes(cosignature.data[:TIME_BYTES], "big")
