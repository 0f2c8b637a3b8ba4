"""No person is shown a pattern: every text that has one says in words what it must be, and refusals use those words."""

import re
from typing import Annotated, Any, get_args

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
        assert re.match(r"(an?|the|one|uid:) ?", text), f"must be {text}"


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
        ({"name": 3}, "name", "Expected str | null, got int"),
        ({"name": "x" * 65}, "name", "Expected str of length <= 64"),
        ({"plain": "long"}, "plain", "Expected str of length <= 3"),
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
