"""Where each key of a TOML file stands, so that a complaint about it can name the line.

`tomllib` reads the values but forgets the lines. This walks the same text a second time and only remembers places; it must
be given text that `tomllib` has accepted, and never decides what is valid.
"""

import re
import tomllib
from bisect import bisect_right
from collections.abc import Callable, Iterator

Path = tuple[str | int, ...]
"""Keys from the top, with an index for each element of an array: `("access", "operator", 1)`."""

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_HEADER = re.compile(r"\[(\[?)((?:\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'|[^\]\"'\n])+)\]\]?")
_KEY = re.compile(r"((?:\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'|[^=\"'\n])+)=[ \t]*")
_ATOM = re.compile(
    r"\"\"\"(?:[^\\]|\\.)*?\"\"\"\"{0,2}"  # a text of several lines may end in up to two quotes of its own
    r"|'''.*?''''{0,2}"
    r"|\"(?:[^\"\\\n]|\\.)*\""
    r"|'[^'\n]*'"
    r"|[^,\[\]{}#\n]+",
    re.DOTALL,
)


def places(text: str) -> dict[Path, int]:
    """The line, counted from 1, on which each key, table and array element first appears."""
    return _Walk(text).whole()


class _Walk:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: dict[Path, int] = {}
        self.last_of: dict[Path, int] = {}
        """Index of the newest table of each array of tables."""
        self.starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def whole(self) -> dict[Path, int]:
        table: Path = ()
        self.blank()
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self.header()
            else:
                self.pair(table)
            self.blank()
        return self.found

    def blank(self) -> None:
        match = _BLANK.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def header(self) -> Path:
        line = self.line()
        match = self.take(_HEADER)
        keys = list(_keys(match[2]))
        path: Path = ()
        for place, key in enumerate(keys):
            path = (*path, key)
            self.found.setdefault(path, line)
            if match[1] and place == len(keys) - 1:
                self.last_of[path] = self.last_of.get(path, -1) + 1
            if path in self.last_of:
                path = (*path, self.last_of[path])
                self.found.setdefault(path, line)
        return path

    def pair(self, table: Path) -> None:
        line = self.line()
        path = table
        for key in _keys(self.take(_KEY)[1]):
            path = (*path, key)
            self.found.setdefault(path, line)
        self.value(path)

    def value(self, path: Path) -> None:
        opening = self.text[self.at]
        if opening == "{":
            self.listed("}", lambda index: self.pair(path))
        elif opening == "[":
            self.listed("]", lambda index: self.element((*path, index)))
        else:
            self.take(_ATOM)

    def element(self, path: Path) -> None:
        self.found.setdefault(path, self.line())
        self.value(path)

    def listed(self, closing: str, each: Callable[[int], None]) -> None:
        self.at += 1
        index = 0
        self.blank()
        while self.text[self.at] != closing:
            each(index)
            index += 1
            self.blank()
            if self.text[self.at] == ",":
                self.at += 1
                self.blank()
        self.at += 1

    def line(self) -> int:
        return bisect_right(self.starts, self.at)

    def take(self, pattern: re.Pattern[str]) -> re.Match[str]:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise ValueError(f"line {self.line()} is not TOML")
        self.at = match.end()
        return match


def _keys(raw: str) -> Iterator[str]:
    """The keys of a dotted key, unquoted by the reader that unquotes them everywhere else."""
    table = tomllib.loads(f"{raw.strip()} = 0")
    while isinstance(table, dict):
        ((key, table),) = table.items()
        yield key
