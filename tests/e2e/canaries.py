"""Secrets and persons that never existed, and the disguises that docs/redaction.md says are seen through."""

import base64
import json
import string
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple
from urllib.parse import quote

WINDOW = 8
DRAWN = string.ascii_letters + string.digits


class Canary(NamedTuple):
    kind: str
    disguise: str
    secret: str
    hidden: str
    """What of the value is the secret, as it was written down."""
    value: Any

    @property
    def windows(self) -> set[bytes]:
        """No eight characters in a row of either spelling may be found anywhere."""
        return {
            text[place : place + WINDOW].encode("utf-8")
            for text in (self.secret, self.hidden)
            for place in range(len(text) - WINDOW + 1)
        }


def drawn(random: Random, count: int, of: str = DRAWN) -> str:
    return "".join(random.choice(of) for _ in range(count))


def card(random: Random) -> str:
    digits = [4, *(random.randrange(10) for _ in range(14))]
    doubled = sum(sum(divmod(2 * digit, 10)) if place % 2 == 0 else digit for place, digit in enumerate(digits))
    text = "".join(map(str, [*digits, -doubled % 10]))
    return " ".join(text[place : place + 4] for place in range(0, 16, 4))


# Put together here, so that no scanner takes this file for a leak.
KINDS: dict[str, Callable[[Random], str]] = {
    "engine key": lambda random: "irk_" + drawn(random, 43),
    "cloud key": lambda random: "AK" + "IA" + drawn(random, 16, string.ascii_uppercase + "234567"),
    "github token": lambda random: "gh" + "p_" + drawn(random, 36),
    "payment key": lambda random: "sk" + "_live_" + drawn(random, 24),
    "e-mail": lambda random: f"{drawn(random, 9).lower()}.{drawn(random, 6).lower()}@{drawn(random, 10).lower()}.example",
    "card": card,
    "password": lambda random: drawn(random, 16),
}
PERSONAL = ("e-mail", "card")


def sentence(random: Random, hidden: str) -> str:
    return f"{random.choice(('failed with', 'see', 'it said', 'retry of'))} {hidden} {random.choice(('again', 'at noon', 'twice'))}"


def escaped(form: str) -> Callable[[str], str]:
    return lambda secret: "".join(form % ord(each) for each in secret)


SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda secret: secret,
    "percent": escaped("%%%02X"),
    "percent of percent": lambda secret: quote(escaped("%%%02X")(secret)),
    "unicode escapes": escaped("\\u%04x"),
    "hex escapes": escaped("\\x%02x"),
    "entities": escaped("&#%d;"),
    "wide letters": lambda secret: "".join(chr(ord(each) + 0xFEE0) if "!" <= each <= "~" else each for each in secret),
    "characters of no width": lambda secret: "\u200b".join(secret),
}
Written = tuple[str, Any]
SHAPES: dict[str, Callable[[Random, str], Written]] = {
    "a name that says so": lambda random, secret: (secret, {random.choice(("password", "dbPassword", "API_KEY")): secret}),
    "name and value": lambda random, secret: (secret, {"name": "DB_PASSWORD", "value": secret}),
    "an option and its value": lambda random, secret: (secret, ["--password", secret]),
    "a setting in a text": lambda random, secret: (secret, f"started with password={secret} and went on"),
    "a login in a URL": lambda random, secret: (secret, f"could not open postgres://app:{secret}@db.example/x"),
    "a header": lambda random, secret: (secret, f"Authorization: Bearer {secret}"),
    "a login in Base64": lambda random, secret: _basic(secret),
    "an exception": lambda random, secret: (secret, f"Traceback: ValueError: bad password '{secret}'"),
    "a command that failed": lambda random, secret: (secret, f"Command '['psql', '--password', '{secret}']' returned non-zero"),
    "name and value in a text": lambda random, secret: (secret, f'sent {{"name": "DB_PASSWORD", "value": "{secret}"}} to it'),
    "JSON in JSON": lambda random, secret: (secret, {"body": json.dumps({"inner": json.dumps({"password": secret})})}),
}
WITHOUT_A_NAME: dict[str, Callable[[Random, str], Written]] = {
    "a key": lambda random, secret: (secret, {secret: 1}),
    "cut up": lambda random, secret: (secret, _cut(random, secret)),
    "JSON in JSON in JSON": lambda random, secret: (secret, json.dumps({"a": json.dumps({"b": json.dumps([secret])})})),
}


def _basic(secret: str) -> Written:
    login = base64.b64encode(f"app:{secret}".encode()).decode()
    return login, f"Authorization: Basic {login}"


def _cut(random: Random, secret: str) -> list[str]:
    at = random.randrange(4, len(secret) - 4)
    return [secret[:at], secret[at:]]


def canary(seed: object) -> Canary:
    """A secret of some kind in a disguise that this kind is promised to be found in."""
    random = Random(f"canary {seed}")
    kind = random.choice(list(KINDS))
    secret = KINDS[kind](random)
    if kind == "password":  # without a name beside it, it is a word
        disguise = random.choice(list(SHAPES))
        hidden, value = SHAPES[disguise](random, secret)
    elif kind not in PERSONAL and random.random() < 0.3:
        disguise = random.choice(list(WITHOUT_A_NAME))
        hidden, value = WITHOUT_A_NAME[disguise](random, secret)
    else:
        disguise = random.choice(list(SPELLINGS))
        hidden = SPELLINGS[disguise](secret)
        value = sentence(random, hidden)
    return Canary(kind, disguise, secret, hidden, value)


def leaks(data: bytes, windows: set[bytes]) -> set[bytes]:
    """Which of them stand somewhere in it, also where a record doubles backslashes."""
    found: set[bytes] = set()
    for text in (data, data.replace(b"\\\\", b"\\")):
        for size in {len(window) for window in windows}:
            here = {text[place : place + size] for place in range(len(text) - size + 1)}
            found |= here & windows
    return found
