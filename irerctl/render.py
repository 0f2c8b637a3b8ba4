"""What reaches the screen: one JSON value, JSON lines, or text that fits the terminal.

Results go to stdout, everything said *about* them to stderr. Must never pass a control character of somebody else's text on
to a terminal, and must never import what `--help` does not need.
"""

import base64
import contextlib
import io
import json
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, Literal

import click

Output = Literal["table", "json", "jsonl"]
WORRY = {"ok": "green", "warn": "yellow", "degraded": "yellow", "fail": "red", "failed": "red"}
"""The colour of a verdict."""

_DIRECTION = [0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)]
"""Characters that make a terminal show what follows in another order, or on another line: a name could look like any other."""
_CONTROL = (
    {code: f"\\x{code:02x}" for code in [*range(0x20), *range(0x7F, 0xA0)]}
    | {code: f"\\u{code:04x}" for code in _DIRECTION}
    | {0x09: " ", 0x0A: " "}
)

PAD_MAX = 64
"""No column is padded beyond this where nobody looks: a longer cell stands whole and pushes its own line only."""

GAP = 2
"""Spaces between columns."""
CELL_MIN = 6
"""No cell is cut below this, even on a terminal too narrow for the table."""

# Where it goes


def open_output() -> bool:
    """Whether there is a standard output. The descriptor of one that the caller closed is taken, lest a socket get it."""
    if sys.stdout is not None:
        return True
    with contextlib.suppress(OSError):
        os.open(os.devnull, os.O_WRONLY)
    return False


class _Written(io.FileIO):
    """The descriptor of standard output or standard error. Once its reader is gone, what is written to it goes nowhere: what a
    command did, and its exit status, do not hang on whether somebody read to the end.
    """

    unread = False

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except (BrokenPipeError, ConnectionResetError):
            self.unread = True
            _send_nowhere(self.fileno())
            return super().write(data)


def take_output() -> None:
    """From here on nobody hears of a reader who is gone; see `unread`. For the program itself, not for whoever imports it."""
    for name, stream in (("stdout", sys.stdout), ("stderr", sys.stderr)):
        if isinstance(stream, io.TextIOWrapper):
            buffer = io.BufferedWriter(_Written(stream.fileno(), "w", closefd=False))
            made = io.TextIOWrapper(buffer, stream.encoding, stream.errors, line_buffering=stream.line_buffering)
            setattr(sys, name, made)


def unread() -> bool:
    """Whether the reader of standard output went away before all was written."""
    return getattr(getattr(getattr(sys.stdout, "buffer", None), "raw", None), "unread", False)


def end_if_unread() -> None:
    """For a command that has more to print than it has yet: once nobody reads that, it is done."""
    if unread():
        raise click.exceptions.Exit(0)


def lost_output(failure: BaseException) -> str | None:
    """Why what was printed could not be written, if that is what failed. Then nothing more goes there."""
    last = failure.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None or not isinstance(failure, OSError):
        return None
    module = last.tb_frame.f_globals.get("__name__", "").partition(".")[0]
    if module not in ("click", "rich") and last.tb_frame.f_code is not _Written.write.__code__:
        return None
    _forsake(sys.stdout)
    return (failure.strerror or type(failure).__name__).lower()


def _forsake(stream: IO[Any]) -> None:
    """What is left in the stream goes nowhere: the interpreter would try to write it at its end, and complain."""
    with contextlib.suppress(OSError):
        _send_nowhere(stream.fileno())


def _send_nowhere(fd: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, fd)
    os.close(nowhere)


# Terminals


def terminal(stream: IO[Any] | None = None) -> bool:
    """Whether a person looks at this stream."""
    stream = stream or sys.stdout
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def coloured(stream: IO[Any] | None = None) -> bool:
    return terminal(stream) and not os.environ.get("NO_COLOR")


def width() -> int | None:
    """Columns to fit into; None when nobody looks and nothing should be cut."""
    return shutil.get_terminal_size((80, 24)).columns if terminal() else None


def paint(text: str, **style: Any) -> str:
    return click.style(text, **style) if coloured() else text


def verdict(word: str, shown: str | None = None) -> str:
    """A word such as `ok` or `failed` in its colour; `shown` where it is padded or worded otherwise."""
    return paint(shown or word, fg=WORRY.get(word, "white"), bold=word not in ("ok",))


def say(text: str = "") -> None:
    """One line of a result."""
    click.echo(text, color=coloured())


def tell(text: str) -> None:
    """A sentence of a result, over as many lines as the terminal makes of it. Not for painted text."""
    for line in wrapped(text):
        say(line)


def note(text: str) -> None:
    """One line about a result, on stderr."""
    click.echo(text, err=True, color=coloured(sys.stderr))


# Words for values


def clean(text: str) -> str:
    """Text from elsewhere, on one line and without anything a terminal would obey."""
    return text.translate(_CONTROL)


def cut(text: str, columns: int | None) -> str:
    """Text that fits; the end goes first, and with it the colours: half of one would paint all that follows."""
    plain = click.unstyle(text)
    return text if columns is None or len(plain) <= columns else plain[: max(columns - 1, 0)] + "…"


def count(number: int) -> str:
    return f"{number:,}"


def wrapped(text: str, lead: str = "", columns: int | None = None) -> list[str]:
    """Lines that fit, the later ones below where the first begins after its `lead`; one line where nobody looks."""
    import textwrap

    columns = columns or width()
    indent = " " * len(click.unstyle(lead))
    if columns is None:
        return [lead + text]
    lines = textwrap.wrap(text, max(columns - len(indent), 20), break_on_hyphens=False) or [""]
    return [(indent if place else lead) + line for place, line in enumerate(lines)]


def plural(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """How long, with at most two units: `0.4 s`, `3 min 10 s`, `2 d 4 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    whole = int(seconds)
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    place = next(index for index, (_, size) in enumerate(units) if whole >= size)
    parts = []
    for name, size in units[place : place + 2]:
        amount, whole = divmod(whole, size)
        if amount:
            parts.append(f"{amount} {name}")
    return " ".join(parts)


def size(octets: float) -> str:
    """How many bytes, in the unit a person would pick."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if octets < 1024:
            return f"{octets:.0f} {unit}" if unit == "B" or octets >= 10 else f"{octets:.1f} {unit}"
        octets /= 1024
    return f"{octets:.1f} TiB"


def word(value: Any) -> str:
    """One value in one cell."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}" if abs(value) < 1e15 else repr(value)
        case str():
            return clean(value)
        case list() if not any(isinstance(each, dict | list) for each in value):
            return ", ".join(word(each) for each in value) or "-"
        case dict() if not value:
            return "-"
    return clean(dumps(value))


def fields(values: Mapping[str, Any]) -> str:
    """The fields of an event in one line."""
    return "  ".join(f"{clean(name)}={word(value)}" for name, value in values.items())


# JSON


def _plain(value: Any) -> Any:
    """What JSON cannot say: bytes become base64, arrays lists."""
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")


_OBEYED = re.compile(rf"[\x7f-\x9f{''.join(map(chr, _DIRECTION))}]")
"""Characters that JSON lets stand as they are and a terminal may obey; they can only be inside a string."""


def dumps(value: Any, indent: int | None = None) -> str:
    separators = (",", ":") if indent is None else None
    text = json.dumps(value, indent=indent, separators=separators, ensure_ascii=False, default=_plain)
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def json_value(value: Any) -> None:
    """Exactly one JSON value on stdout: indented for eyes, on one line for pipes."""
    say(dumps(value, indent=2 if terminal() else None))


def items_of(result: Any) -> list[Any]:
    """The rows of a result: itself if it is a list, its one list if it has exactly one, else the whole as one row."""
    if isinstance(result, list):
        return result
    if isinstance(result, Mapping):
        lists = [value for value in result.values() if isinstance(value, list)]
        if len(lists) == 1:
            return lists[0]
    return [result]


class ItemWriter:
    """Items as they come: JSON lines, or one JSON array that grows. Lines for people are the caller's to draw."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self.count = 0

    def __enter__(self) -> "ItemWriter":
        return self

    def write(self, item: Any) -> None:
        text = dumps(item)
        if self.output != "json":
            self.count += 1
            click.echo(text)
        else:
            with _whole():
                click.echo(("," if self.count else "[") + text, nl=False)
                self.count += 1
        end_if_unread()

    def __exit__(self, *failure: object) -> None:
        if self.output == "json":
            with _whole():
                click.echo("]" if self.count else "[]")


@contextlib.contextmanager
def _whole() -> Iterator[None]:
    """Ctrl-C waits until what was begun is written: half an item would leave an array that nobody can read."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


# Text


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
    """Aligned columns under their names: drawn to the terminal's width, or plain and uncut for a pipe."""
    if terminal():
        _draw_table(columns, rows, right)
        return
    widths = [min(max(len(cell) for cell in column), PAD_MAX) for column in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        cells = [
            cell.rjust(wide) if name in right else cell.ljust(wide) for name, cell, wide in zip(columns, row, widths, strict=True)
        ]
        say("  ".join(cells).rstrip())


def _draw_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    cells = [[Text.from_ansi(cell) for cell in row] for row in rows]
    natural = [
        max(len(name), *(row[place].cell_len for row in cells)) if cells else len(name) for place, name in enumerate(columns)
    ]
    drawn = Table(box=None, padding=(0, GAP, 0, 0), header_style="bold", pad_edge=False)
    for name, wide in zip(columns, fitted(natural, width()), strict=True):
        drawn.add_column(name, justify="right" if name in right else "left", overflow="ellipsis", no_wrap=True, width=wide)
    for row in cells:
        drawn.add_row(*row)
    draw(drawn)


def fitted(widths: Sequence[int], columns: int | None) -> list[int]:
    """Column widths that fit: what is widest gives way first, so that short words stay whole."""
    found = list(widths)
    excess = sum(found) + GAP * (len(found) - 1) - columns if columns is not None else 0
    for _ in range(max(excess, 0)):
        widest = max(range(len(found)), key=found.__getitem__)
        if found[widest] <= CELL_MIN:
            break
        found[widest] -= 1
    return found


def draw(*renderables: Any) -> None:
    """Something of rich's, on stdout."""
    from rich.console import Console

    console = Console(highlight=False, color_system="auto" if coloured() else None, width=width())
    for renderable in renderables:
        console.print(renderable)


def pairs(values: Mapping[str, str]) -> None:
    """Names and their values, one pair a line."""
    wide = max((len(name) for name in values), default=0)
    for name, value in values.items():
        say(f"{paint(name.ljust(wide), bold=True)}  {value}")


def result(value: Any) -> None:
    """Any result as text, for the methods nobody drew a screen for."""
    if isinstance(value, list):
        value = {"items": value}
    if not isinstance(value, Mapping):
        say(word(value))
        return
    flat = dict(_flatten(value))
    scalars = {name: word(each) for name, each in flat.items() if not _tabular(each)}
    after = scalars.pop("next", None)
    tables = {name: each for name, each in flat.items() if _tabular(each)}
    if scalars:
        pairs(scalars)
    for place, (name, rows) in enumerate(tables.items()):
        if place or scalars:
            say()
        if rows and (len(tables) > 1 or scalars):
            say(paint(name, bold=True))
        _result_table(name, rows)
    if after and after != "-":
        note(f"More: add --after {after}")
    if not value:
        say("nothing changed")


def _tabular(value: Any) -> bool:
    return isinstance(value, list) and (not value or all(isinstance(each, Mapping) for each in value))


def _flatten(value: Mapping[str, Any], lead: str = "") -> Iterator[tuple[str, Any]]:
    for name, each in value.items():
        if isinstance(each, Mapping) and each and len(lead) < 80:
            yield from _flatten(each, f"{lead}{clean(name)}.")
        else:
            yield lead + clean(name), each


def _result_table(name: str, rows: list[Mapping[str, Any]]) -> None:
    if not rows:
        say(f"no {name.replace('_', ' ')}")
        return
    columns = list(dict.fromkeys(column for row in rows for column in row))
    numeric = [column for column in columns if all(isinstance(row.get(column, 0), int | float) for row in rows)]
    table([clean(column) for column in columns], [[word(row.get(column)) for column in columns] for row in rows], numeric)


# Waiting


class Waiting:
    """Shows a person that something takes its time, once it has taken a second. Nothing where nobody looks."""

    def __init__(self, what: str, after_s: float = 1.0) -> None:
        self.what = what
        self.after_s = after_s
        self._over = threading.Event()
        self._shown = False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Waiting":
        if terminal(sys.stderr):
            self._thread = threading.Thread(target=self._show, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._over.set()
        if self._thread:
            self._thread.join()

    def _show(self) -> None:
        started = time.monotonic()
        while not self._over.wait(0.5 if self._shown else self.after_s):
            transient(f"{self.what} … {duration(int(time.monotonic() - started))}")
            self._shown = True
        if self._shown:
            transient("")


def transient(text: str) -> None:
    """One line on stderr that the next one replaces; an empty one wipes it."""
    columns = shutil.get_terminal_size((80, 24)).columns
    click.echo(f"\r\x1b[2K{cut(clean(text), columns - 1)}", err=True, nl=False, color=True)


# Errors


def error(body: Mapping[str, Any], output: Output) -> None:
    """What happened, why, what to type next: a sentence for a person, the whole body for a program."""
    try:
        _error(body, output)
    except OSError:  # nobody can be told; the exit status still says it
        _forsake(sys.stderr)


def _error(body: Mapping[str, Any], output: Output) -> None:
    if output != "table":
        click.echo(dumps(body), err=True)
        return
    said = sentence(body)
    note(f"irerctl: {said}")
    for field in body.get("fields") or ():
        path, problem = clean(str(field.get("path", ""))), clean(str(field.get("problem", "")))
        if problem not in said:
            note(f"  {path}: {problem}")


def sentence(body: Mapping[str, Any]) -> str:
    """Detail and help in one line, each ended once."""
    detail = clean(str(body.get("detail") or body.get("title") or body.get("code") or "it failed"))
    advice = clean(str(body.get("help") or ""))
    if not advice:
        return detail
    return f"{detail}{'' if detail.endswith(('.', '?', '!')) else '.'} {advice}"
