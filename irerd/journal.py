"""What irerd says on stderr: sentences to a person on a terminal, JSON lines to everything else.

Faults go out as type and place, never with an exception's text: a text may carry what a caller sent. Written by hand because
it is small: docs/decisions/0005.
"""

import json
import os
import sys
import time
import traceback
from typing import Literal, TextIO

Level = Literal["debug", "info", "warning", "error"]
SEVERITY: dict[Level, int] = {"debug": 7, "info": 6, "warning": 4, "error": 3}
"""As syslog counts: the lower, the worse."""
MARKS: dict[Level, str] = {"debug": "", "info": "", "warning": "! ", "error": "!! "}


class Journal:
    """Lines to one stream. Nothing a line says may stop the daemon, so a stream that is gone is no fault."""

    def __init__(self, stream: TextIO, level: Level, person: bool, prefixed: bool) -> None:
        self._stream = stream
        self._worst = SEVERITY[level]
        self._person = person
        self._prefixed = prefixed

    def debug(self, text: str, **fields: object) -> None:
        self._say("debug", text, fields)

    def info(self, text: str, **fields: object) -> None:
        self._say("info", text, fields)

    def warning(self, text: str, **fields: object) -> None:
        self._say("warning", text, fields)

    def error(self, text: str, **fields: object) -> None:
        self._say("error", text, fields)

    def _say(self, level: Level, text: str, fields: dict[str, object]) -> None:
        if SEVERITY[level] > self._worst:
            return
        line = _sentence(level, text, fields) if self._person else _json_line(level, text, fields)
        prefix = f"<{SEVERITY[level]}>" if self._prefixed else ""
        try:
            print(prefix + line, file=self._stream, flush=True)
        except OSError:
            pass


def _sentence(level: Level, text: str, fields: dict[str, object]) -> str:
    """`04:12:09 resource  a sentence`: time, engine, one sentence."""
    engine = str(fields.pop("engine", "irerd"))
    rest = " ".join(f"{key}={value}" for key, value in fields.items())
    return f"{time.strftime('%H:%M:%S')} {engine:<9} {MARKS[level]}{text}{'  ' + rest if rest else ''}"


def _json_line(level: Level, text: str, fields: dict[str, object]) -> str:
    now_us = time.time_ns() // 1_000
    seconds, rest_us = divmod(now_us, 1_000_000)
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest_us:06d}Z"
    return json.dumps({"time": at, "level": level, "text": text, **fields}, ensure_ascii=False, default=str)


_journal = Journal(sys.stderr, "info", person=False, prefixed=False)


def configure(level: str, stream: TextIO = sys.stderr) -> None:
    """Sentences on a terminal; under systemd each line names its severity, so that the journal can sort by it."""
    global _journal
    known: Level = next(name for name in SEVERITY if name == level)
    _journal = Journal(stream, known, person=stream.isatty(), prefixed="JOURNAL_STREAM" in os.environ)


def journal() -> Journal:
    return _journal


def innermost(error: BaseException) -> BaseException:
    """The first fault inside a group of them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def where(error: BaseException) -> str:
    """The innermost places of a fault, as `file:line function`, without a word of its text."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return " < ".join(f"{os.path.basename(frame.filename)}:{frame.lineno} {frame.name}" for frame in reversed(frames))
