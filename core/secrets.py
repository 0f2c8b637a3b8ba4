"""The secrets of this state directory, as far as an engine may use them: to compare and to sign, never to store.

A key that is shown once (an engine's key) is kept as a keyed MAC only. Token keys are worked out from one secret by kind and
generation, so that rotating one is a fact in the log and no key ever has to be written there. Nothing here is ever an event.
"""

import base64
import hmac
from collections.abc import Callable
from hashlib import sha256

import msgspec

from core.fields import Frozen

SECRET_BYTES = 32


class Secrets(msgspec.Struct, metaclass=Frozen, frozen=True):
    """`draw` gives 32 fresh random bytes: what it gave goes out to one caller, once."""

    pepper: bytes
    token: bytes
    draw: Callable[[], bytes]

    def __repr__(self) -> str:
        return "Secrets([secret])"

    def engine_key_mac(self, engine_id: str, key: str) -> str:
        """What is kept of an engine's key."""
        return hmac.new(self.pepper, engine_id.encode() + b"\0" + key.encode(), sha256).hexdigest()

    def token_key(self, kind: str, generation: int) -> bytes:
        """The key that signs tokens of one kind. Another generation is another key."""
        return hmac.new(self.token, f"irer/token/1\0{kind}\0{generation}".encode(), sha256).digest()


def text(secret: bytes) -> str:
    """A drawn secret as it is shown: base64url without padding."""
    return base64.urlsafe_b64encode(secret).rstrip(b"=").decode()


def same(one: str, other: str) -> bool:
    """Compare without telling by the time it takes where they differ."""
    return hmac.compare_digest(one.encode(), other.encode())
