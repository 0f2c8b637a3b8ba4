"""No person is shown a pattern: every text that has one says in words what it must be, and refusals use those words."""

import re
from typing import Annotated, Any, Literal, get_args

import msgspec
import pytest
from msgspec import Meta

from core import fields
from core.engines import ENGINES
from core.fields import Cursor, Frozen, Name, patterns, words
from core.jobs import JOBS
from core.settings import Settings
from core.wire import calls
from core.wire.errors import problem

EVERYTHING = [
    *dict.fromkeys(row.params for engine in ENGINES for row in engine.rows),
    *(kind.params for kind in JOBS.values()),
    *get_args(calls.Hello | calls.Call | calls.Cancel),
    Settings,
]
"""All that a person or a program may get wrong."""


@pytest.mark.parametrize("kind", EVERYTHING, ids=lambda kind: kind.__name__)
def test_every_pattern_has_its_words(kind: Any) -> None:
    silent = [pattern for pattern, said in patterns(kind).items() if not said]
    assert silent == [], f"{kind.__name__}: add words(...) to the type: they complete 'must be ...'"


def test_the_words_are_words() -> None:
    said = {text for kind in EVERYTHING for text in patterns(kind).values() if text}
    assert len(said) > 5
    for text in said:
        assert not re.search(r"\\Z|\^|\$|\[|\]|\{\d", text), text
        assert re.match(r"(an?|the|one|uid:) ?|\S+ or \S+\Z", text), f"must be {text}"


class Asked(msgspec.Struct, metaclass=Frozen, forbid_unknown_fields=True):
    """Names wherever a value may hold one."""

    name: Name | None = None
    names: list[Name] = []
    pairs: tuple[Name, int] = ("a", 1)
    by_name: dict[Name, Name] = {}
    inner: "Asked | None" = None
    plain: Annotated[str, Meta(max_length=3)] = ""
    silent: Annotated[str, Meta(pattern=r"^(a|b)'\Z")] = "a'"


A_NAME = "must be a name: letters, digits and . _ : @ / -, a letter or digit first, at most 64 characters"


@pytest.mark.parametrize(
    ("given", "path", "text"),
    [
        ({"name": "-x"}, "name", A_NAME),
        ({"names": ["a", "b c"]}, "names[1]", A_NAME),
        ({"pairs": ["\n", 1]}, "pairs[0]", A_NAME),
        ({"by_name": {"-": "a"}}, "by_name", A_NAME),
        ({"by_name": {"a": "-"}}, "by_name[...]", A_NAME),
        ({"inner": {"inner": {"name": "é"}}}, "inner.inner.name", A_NAME),
        ({"silent": "c"}, "silent", "must be a text of another form"),
        ({"name": 3}, "name", "must be a text or null, not a whole number"),
        ({"name": "x" * 65}, "name", "must have at most 64 characters"),
        ({"plain": "long"}, "plain", "must have at most 3 characters"),
    ],
)
def test_a_text_that_breaks_its_pattern_is_refused_in_the_words_of_its_type(given: Any, path: str, text: str) -> None:
    with pytest.raises(msgspec.ValidationError) as wrong:
        msgspec.convert(given, Asked, strict=True)
    assert problem(wrong.value, Asked) == (path, text)


def test_words_and_privacy_stand_side_by_side() -> None:
    kind = Annotated[str, Meta(pattern="^a"), fields.privacy("public"), words("an a")]
    assert dict(patterns(kind)) == {"^a": "an a"}
    assert dict(patterns(Cursor)) == {}


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    a: Annotated[int, Meta(ge=1)]
    side: Literal["buy", "sell"] = "buy"


class Said(msgspec.Struct, forbid_unknown_fields=True):
    """A value of each kind that a validator has words of its own for."""

    whole: Annotated[int, Meta(ge=1, le=5)] = 1
    number: Annotated[float, Meta(gt=0, lt=9.5)] = 1
    text: Annotated[str, Meta(min_length=1, max_length=4)] = "ab"
    items: Annotated[list[int], Meta(min_length=1, max_length=2)] | None = None
    members: Annotated[dict[str, Inner], Meta(max_length=1)] = {}
    choice: Literal["a", "b", "c"] | None = None
    pair: tuple[int, Literal[1, 2]] = (1, 2)
    inner: list[Inner] = []
    truth: bool = False
    raw: Annotated[bytes, Meta(max_length=2)] = b""
    step: Annotated[float, Meta(multiple_of=0.5)] = 1


@pytest.mark.parametrize(
    ("given", "path", "text"),
    [
        ({"whole": 0}, "whole", "must be 1 or more"),
        ({"whole": 6}, "whole", "must be 5 or less"),
        ({"whole": 1.5}, "whole", "must be a whole number, not a decimal number"),
        ({"number": 0}, "number", "must be more than 0"),
        ({"number": 9.5}, "number", "must be less than 9.5"),
        ({"text": ""}, "text", "must have at least 1 character"),
        ({"items": [1, 2, 3]}, "items", "must have at most 2 items"),
        ({"items": ["x"]}, "items[0]", "must be a whole number, not a text"),
        ({"members": {"a": {"a": 1}, "b": {"a": 1}}}, "members", "must have at most 1 member"),
        ({"members": {"a.b": {"a": 1, "side": "up"}}}, "members[...].side", "must be buy or sell"),
        ({"choice": "d"}, "choice", "must be a, b or c"),
        ({"pair": [1, 3]}, "pair[1]", "must be 1 or 2"),
        ({"pair": [1]}, "pair", "must have exactly 2 items"),
        ({"inner": [{"a": 1}, {"a": 1, "side": 3}]}, "inner[1].side", "must be a text, not a whole number"),
        ({"inner": [{}]}, "inner[0]", "a is missing"),
        ({"inner": [{"a": 1, "z": 1}]}, "inner[0]", "unknown field z"),
        ({"truth": 1}, "truth", "must be true or false, not a whole number"),
        ({"raw": b"abc"}, "raw", "must have at most 2 bytes"),
        ({"step": 0.7}, "step", "must be a multiple of 0.5"),
        ([], "", "must be an object, not a list"),
    ],
)
def test_a_refusal_is_in_words_a_person_would_use(given: Any, path: str, text: str) -> None:
    with pytest.raises(msgspec.ValidationError) as wrong:
        msgspec.convert(given, Said, strict=True)
    assert problem(wrong.value, Said) == (path, text)


@pytest.mark.parametrize("kind", EVERYTHING, ids=lambda kind: kind.__name__)
def test_no_parameter_of_any_method_is_refused_in_the_words_of_the_validator(kind: Any) -> None:
    wrong = [None, True, -(2**60), 2**60, 0.5, "", "\x00" * 5_000, b"", [], [[]], {}, {"\x00": {}}]
    for field in msgspec.structs.fields(kind):
        for value in wrong:
            try:
                msgspec.convert({field.encode_name: value}, kind, strict=True)
            except msgspec.ValidationError as error:
                _, text = problem(error, kind)
                assert re.match(r"must (be|have) |unknown field |\S+ is missing\Z", text) and "`" not in text, text
