"""A text as a recogniser should see it: escapes undone, look-alike characters folded, marks of earlier redaction closed up.

Each view remembers where its characters stand in the text it came from, so what is found in a view is cut out of the text
itself. A view is only looked at, never stored.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

SECRET_MARK = "\ue000"
"""One character that stands for `[redacted:KIND]`."""
PSEUDONYM_MARK = "\ue001"
"""One character that stands for `pn_` and its 32 digits."""
MARKS = SECRET_MARK + PSEUDONYM_MARK
LEVELS_MAX = 3
"""How often an escape may be escaped again, as `%2540` is, and still be seen through."""

_STORED = re.compile(r"\[redacted:[a-z][a-z0-9-]{0,31}\]|pn_[0-9a-f]{32}")
_ESCAPE_ASCII = re.compile(
    r"""\\(?:u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|["'\\/nrt])|%[0-9a-fA-F]{2}"""
    r"|&(?:\#[0-9]{1,7}|\#[xX][0-9a-fA-F]{1,6}|quot|amp|apos|lt|gt|commat|colon|equals);"
)
_ESCAPE = re.compile(_ESCAPE_ASCII.pattern + r"|[^\x00-\x7f]")
_NAMED = {
    "\\n": "\n",
    "\\r": "\n",
    "\\t": "\t",
    "&quot;": '"',
    "&amp;": "&",
    "&apos;": "'",
    "&lt;": "<",
    "&gt;": ">",
    "&commat;": "@",
    "&colon;": ":",
    "&equals;": "=",
}


class View(NamedTuple):
    text: str
    places: list[int] | None
    """Where in the original each character begins, and at the end where the last one ends. None: everything is in its place."""

    def place(self, start: int, end: int) -> tuple[int, int]:
        return (start, end) if self.places is None else (self.places[start], self.places[end])


def is_plain(text: str) -> bool:
    """Whether a text is its only view, as most are."""
    return text.isascii() and not ("[redacted:" in text or "pn_" in text or "\\" in text or "%" in text or "&" in text)


def views(text: str) -> list[View]:
    """The text with its marks closed up, then with its escapes undone, where that makes a difference."""
    closed = _closed(text)
    found = [closed]
    view = closed
    for _ in range(LEVELS_MAX):
        if view.text.isascii() and not ("\\" in view.text or "%" in view.text or "&" in view.text):
            break
        opened = _opened(view)
        if opened.text == view.text:
            break
        found.append(opened)
        view = opened
    return found


def is_listed(text: str) -> bool:
    """Whether texts of a list that is written out stand side by side in it."""
    return ("[" in text or "(" in text) and _MAY_JOIN.search(text) is not None and _JOINT.search(text) is not None


def joined(view: View) -> View:
    """A list that is written out, with its texts put together."""
    return _replaced(view, _JOINT, lambda _: "")


_JOINT = re.compile(r"""["'][ \t\r\n]{0,8},[ \t\r\n]{0,8}["'](?![^"'\n]{0,128}["'][ \t]{0,4}:)""")
"""Between two texts of a list; the name of a field follows none."""
_MAY_JOIN = re.compile(r""",(?<=["' \t\r\n],)[ \t\r\n]{0,8}["'](?![^"'\n]{0,128}["'][ \t]{0,4}:)""")
"""The same from its comma on, which is sooner found than a quote."""


def unmarked(text: str) -> str:
    """Without the marks of an earlier redaction: what is left to judge a name by."""
    return _STORED.sub("", text) if "redacted:" in text or "pn_" in text else text


def is_mark(text: str) -> bool:
    return _STORED.fullmatch(text) is not None


def _closed(text: str) -> View:
    if "[redacted:" not in text and "pn_" not in text:
        return View(text, None)
    return _replaced(View(text, None), _STORED, lambda raw: SECRET_MARK if raw[0] == "[" else PSEUDONYM_MARK)


def _opened(view: View) -> View:
    return _replaced(view, _ESCAPE_ASCII if view.text.isascii() else _ESCAPE, _meaning)


def _replaced(view: View, pattern: re.Pattern[str], meaning: Callable[[str], str]) -> View:
    parts: list[str] = []
    places: list[int] = []
    last = 0
    old = view.places
    for match in pattern.finditer(view.text):
        start, end = match.span()
        made = meaning(match.group())
        parts.append(view.text[last:start])
        places.extend(range(last, start) if old is None else old[last:start])
        if made:
            parts.append(made)
            places.append(start if old is None else old[start])
        last = end
    if last == 0:
        return view
    parts.append(view.text[last:])
    places.extend(range(last, len(view.text) + 1) if old is None else old[last:])
    return View("".join(parts), places)


@lru_cache(maxsize=4096)
def _meaning(raw: str) -> str:
    """The one character that an escape or a character outside ASCII stands for; nothing for what is not seen at all."""
    if raw in _NAMED:
        return _NAMED[raw]
    if raw[0] == "\\":
        return _character(int(raw[2:], 16)) if raw[1] in "ux" and len(raw) > 2 else raw[1]
    if raw[0] == "%":
        return _character(int(raw[1:], 16))
    if raw[0] == "&":
        return _character(int(raw[3:-1], 16) if raw[2] in "xX" else int(raw[2:-1]))
    return _folded(raw)


def _character(code: int) -> str:
    return chr(code) if code <= 0x10FFFF and chr(code) not in MARKS else "\ufffd"


def _folded(character: str) -> str:
    if character in MARKS:
        return character
    category = unicodedata.category(character)
    if category in ("Cf", "Mn", "Me"):
        return ""  # zero-width characters and accents laid over a letter
    if category == "Pd" or character == "\u2212":
        return "-"
    plain = unicodedata.normalize("NFKC", character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    return plain if len(plain) == 1 else character
