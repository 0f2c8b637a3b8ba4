"""What irerd says on stderr: sentences to a person on a terminal, JSON lines to everything else.

Faults go out as type and place, never with an exception's text: a text may carry what a caller sent.
"""

import logging
import os
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def _sentence(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    """`04:12:09 resource  a sentence`: time, engine, one sentence."""
    at = event.pop("timestamp")[11:19]
    engine = event.pop("engine", "irerd")
    level = event.pop("level")
    text = event.pop("event")
    rest = " ".join(f"{key}={value}" for key, value in event.items())
    mark = {"warning": "! ", "error": "!! "}.get(level, "")
    return f"{at} {engine:<9} {mark}{text}{'  ' + rest if rest else ''}"


def configure(level: str, stream: TextIO = sys.stderr) -> None:
    person = stream.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=not person),
            _sentence if person else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )


def journal() -> Any:
    return structlog.get_logger()


def innermost(error: BaseException) -> BaseException:
    """The first fault inside a group of them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def where(error: BaseException) -> str:
    """The innermost places of a fault, as `file:line function`, without a word of its text."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return " < ".join(f"{os.path.basename(frame.filename)}:{frame.lineno} {frame.name}" for frame in reversed(frames))
