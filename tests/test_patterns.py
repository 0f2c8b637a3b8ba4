"""Patterns mean the same on every Python that irer runs on.

Up to Python 3.11.4, Debian 12's among them, a group that is repeated possessively, `(?:ab?c)*+`, keeps what a last turn that failed
had passed: on "aca" it matches "aca" and not "ac" (CPython issue 106052). `(?>(?:ab?c)*)` says the same and is right everywhere. A
possessive single character is right everywhere too.
"""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from re import _constants as signs  # type: ignore[attr-defined]
from re import _parser as reader  # type: ignore[attr-defined]
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("core", "state", "irerd", "irerctl")
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
    if "re.compile(" in path.read_text()
)


def repeats_a_group(pattern: str | bytes, flags: int = 0) -> bool:
    return any(_groups(reader.parse(pattern, flags & ~re.DEBUG)))


def _groups(parsed: Any) -> Iterator[bool]:
    for sign, value in parsed:
        if sign is signs.POSSESSIVE_REPEAT:
            body = value[2]
            yield len(body) != 1 or body[0][0] not in (signs.LITERAL, signs.NOT_LITERAL, signs.IN, signs.ANY)
        for inner in _within(value):
            yield from _groups(inner)


def _within(value: Any) -> Iterator[Any]:
    if isinstance(value, reader.SubPattern):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _within(each)


@pytest.mark.parametrize("name", MODULES)
def test_no_group_is_repeated_possessively(name):
    held = vars(importlib.import_module(name)).values()
    patterns = [each for each in held if isinstance(each, re.Pattern)]
    assert [each.pattern for each in patterns if repeats_a_group(each.pattern, each.flags)] == []


@pytest.mark.parametrize("pattern", ["(?:ab?c)*+", "x(?:a|bc)++", "(?=(?:a.){1,3}+)", "(a(?:[ab]c)?+)*"])
def test_a_possessive_group_is_noticed(pattern):
    assert repeats_a_group(pattern)


@pytest.mark.parametrize("pattern", ["a*+", "[ab]{2,4}+c", ".++", "(?>(?:ab?c)*)", "(?:ab?c)*"])
def test_what_is_right_everywhere_passes(pattern):
    assert not repeats_a_group(pattern)
