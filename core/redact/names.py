"""Which names announce a secret: names of fields, settings, headers, flags and variables, in any spelling.

A *strong* name makes a secret of whatever it names. A *weak* one (`token`, `key`, `session`) is also used for harmless things, so
what it names must look like a secret too. A name about a secret (`password_length`, `token_count`, `key_id`) announces none.
"""

import re
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

NAME_CHARS_MAX = 256

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_STRONG = {
    "password": "password",
    "passwd": "password",
    "passwort": "password",
    "passphrase": "password",
    "passcode": "password",
    "passwords": "password",
    "pwd": "password",
    "pword": "password",
    "contraseña": "password",
    "secret": "secret",
    "secrets": "secret",
    "credential": "secret",
    "credentials": "secret",
    "creds": "secret",
    "authorization": "authorization",
    "cookie": "cookie",
    "cookies": "cookie",
    "apikey": "api-key",
    "mnemonic": "secret",
    "cvv": "secret",
    "cvc": "secret",
    "cvv2": "secret",
    "otp": "secret",
    "totp": "secret",
}
_STRONG_PAIRS = {
    **{
        (first, "key"): "api-key"
        for first in ("api", "access", "private", "secret", "engine", "encryption", "signing", "master", "account", "auth",
                      "service", "shared", "storage", "app", "application", "consumer", "ssh", "host")
    },
    **{
        (first, "token"): "token"
        for first in ("auth", "access", "refresh", "bearer", "api", "session", "id", "gate", "oauth", "csrf", "xsrf",
                      "security", "push", "bot", "personal", "deploy", "registry", "auth2", "admin", "vault", "github", "gitlab",
                      "slack", "npm")
    },
    ("connection", "string"): "secret",
    ("session", "key"): "secret",
    ("session", "cookie"): "cookie",
    ("seed", "phrase"): "secret",
    ("recovery", "code"): "secret",
    ("pass", "word"): "password",
    ("pass", "phrase"): "password",
    ("pin", "code"): "secret",
    ("security", "code"): "secret",
}  # fmt: skip
_GLUED = re.compile(
    r"(password|passwd|passphrase)|(secret)|(credential)|(apikey|accesskey|privatekey|secretkey|signingkey|enginekey)"
    r"|(accesstoken|authtoken|refreshtoken|bearertoken|sessiontoken|apitoken|gatetoken)|(connectionstring)"
)
_GLUED_KINDS = ("password", "secret", "secret", "api-key", "token", "secret")
_WEAK = frozenset(
    "token tokens key keys auth session sid sessionid nonce salt signature sig pin jwt pass bearer license private".split()
)
_PUBLIC = frozenset(
    "public idempotency cache primary partition routing sort foreign idem natural composite lookup index unique fingerprint".split()
)
_ABOUT = frozenset(
    """id ids count counts len length size sizes max min age at s ms us ns seconds minutes hours days expires expiry expired
    expiration ttl type types name names policy rotated
    status state valid required enabled disabled version uri path paths file files
    field fields used total rate limit limits budget left kind label labels prefix changed created updated missing present reset
    attempts failures format strength per number index generation generations source scheme method bits bytes manager store
    provider rotation retries""".split()
)
_ABOUT_WEAK = frozenset("hash digest sha256 sha1 md5 checksum fingerprint space order range value".split())


class Announced(NamedTuple):
    kind: str
    strong: bool


@lru_cache(maxsize=8192)
def announced(name: str) -> Announced | None:
    """What a name says about its value. Judged by its last words: a name grows from the left."""
    if len(name) > NAME_CHARS_MAX or name.isdigit():
        return None
    words = [word.lower() for word in _WORD.findall(_last_part(name))]
    if "contraseña" in name.lower():
        return Announced("password", True)
    if not words or words[-1] in _ABOUT or (words[0] in ("is", "has", "no", "needs", "max", "min", "num") and len(words) > 1):
        return None
    if not _PUBLIC.isdisjoint(words) and "secret" not in words:
        return None
    strong = _strong(words)
    if strong is not None:
        return Announced(strong, True)
    if words[-1] in _ABOUT_WEAK:
        return None
    if not _WEAK.isdisjoint(words):
        return Announced("token" if "token" in words or "tokens" in words else "secret", False)
    return None


def _last_part(name: str) -> str:
    """`db.password` is a password, `password.policy` is not, `password.value` is one again."""
    parts = [part for part in name.split(".") if part]
    while len(parts) > 1 and parts[-1].lower() in _OF_THE_SAME:
        parts.pop()
    return parts[-1] if parts else ""


_OF_THE_SAME = frozenset("value text data current old new raw plain default string secretstring 0 1".split())


def _strong(words: list[str]) -> str | None:
    for word in words:
        if word in _STRONG:
            return _STRONG[word]
    for pair in pairwise(words):
        if pair in _STRONG_PAIRS:
            return _STRONG_PAIRS[pair]
    match = _GLUED.search("".join(words)) if max(map(len, words)) >= 6 else None
    if match is not None and match.lastindex is not None:
        return _GLUED_KINDS[match.lastindex - 1]
    return None


@lru_cache(maxsize=8192)
def plain_words(name: str) -> str:
    """`homePhone_nr` as `home phone nr`: a name as the context of its value."""
    if len(name) > NAME_CHARS_MAX:
        return ""
    return " ".join(word.lower() for word in _WORD.findall(name))
