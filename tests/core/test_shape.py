"""The shape of a type: every difference that could give stored bytes another meaning shows, and nothing else moves it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest

from core import shape
from core.fields import Count, privacy


class Inner(msgspec.Struct):
    x: int


class Turned(msgspec.Struct):
    y: int


def struct(*fields: Any, name: str = "T", **options: Any) -> type:
    return msgspec.defstruct(name, list(fields), **options)


PLAIN = struct(("a", int), ("b", str))
OTHERS = {
    "another name of a field": struct(("a", int), ("c", str)),
    "another order": struct(("b", str), ("a", int)),
    "another type": struct(("a", int), ("b", bytes)),
    "a field more": struct(("a", int), ("b", str), ("c", int)),
    "a field less": struct(("a", int)),
    "a default": struct(("a", int), ("b", str, "")),
    "another default": struct(("a", int), ("b", str, "x")),
    "a made default": struct(("a", int), ("b", list[int], msgspec.field(default_factory=list))),
    "by position": struct(("a", int), ("b", str), array_like=True),
    "unknown fields refused": struct(("a", int), ("b", str), forbid_unknown_fields=True),
    "a tag": struct(("a", int), ("b", str), tag="t"),
    "other names outside": struct(("a", int), ("b", str), rename="upper"),
    "optional": struct(("a", int), ("b", str | None)),
    "bounded": struct(("a", Count), ("b", str)),
    "a choice": struct(("a", int), ("b", Literal["x", "y"])),
    "another choice": struct(("a", int), ("b", Literal["x", "z"])),
    "nested": struct(("a", int), ("b", Inner)),
    "nested otherwise": struct(("a", int), ("b", Turned)),
    "a list": struct(("a", int), ("b", list[Inner])),
    "a list of others": struct(("a", int), ("b", list[Turned])),
    "a dict": struct(("a", int), ("b", dict[str, Inner])),
    "a pair": struct(("a", int), ("b", tuple[int, str])),
    "a pair turned": struct(("a", int), ("b", tuple[str, int])),
    "anything": struct(("a", int), ("b", Any)),
}


def test_every_difference_shows() -> None:
    digests = {shape.digest(each) for each in OTHERS.values()} | {shape.digest(PLAIN)}
    assert len(digests) == len(OTHERS) + 1


def test_the_same_shape_has_the_same_digest() -> None:
    assert shape.digest(struct(("a", int), ("b", str))) == shape.digest(PLAIN)
    documented = struct(("a", Annotated[int, privacy("public")]), ("b", str))
    assert shape.digest(documented) == shape.digest(PLAIN), "what is said about a field is not its shape"


@pytest.mark.parametrize("other", [(2, PLAIN), ("1", PLAIN), (PLAIN, 1), (1, PLAIN, PLAIN), (1,)])
def test_numbers_names_and_order_count(other: tuple[Any, ...]) -> None:
    assert shape.digest(*other) != shape.digest(1, PLAIN)


def test_it_is_the_same_in_every_process() -> None:
    program = "from core.engines import ENGINES; from core.world import World; print(World(ENGINES).schema('engine_state'))"
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1 and len(found.pop()) == 65
