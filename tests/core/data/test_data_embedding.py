"""Texts as vectors: the same bytes on every machine, near where words are shared, refused with a reason where there is nothing."""

import math
from hashlib import sha256
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.embedding import (
    DIMENSION,
    TEXT_CHARS_MAX,
    NoEmbedding,
    embed,
    nearest,
    numbers,
    raw_of,
    relevance,
    text_of,
    unit,
)

PINNED = {
    "heat pumps move heat": "f2a341690e7a984a",
    "Wärme \u2014 \u6696\u623f \U0001f525 42": "66263786c79c377c",
    "x" * TEXT_CHARS_MAX: "9d34b7ab4b7400c3",
}
"""The first digits of the SHA-256 of each vector: they may never change under this model's name."""

TOPICS = {
    "heat": [
        "the heat pump of the north hall draws too much power at night",
        "too much power is drawn by the heat pumps in the north hall",
        "at night the heat pumps of the hall draw more power",
    ],
    "money": [
        "the invoice of the customer was paid in March",
        "in March the customer paid an invoice twice",
        "no invoice of that customer was ever paid late",
    ],
    "boats": [
        "a sailing boat lies at the eastern pier of the harbour",
        "the harbour master moved the boats to the eastern pier",
        "sailing boats leave the harbour before the storm",
    ],
}


def near(one: str, other: str) -> float:
    return relevance(numbers(embed(one)), numbers(embed(other)))


@pytest.mark.parametrize(("text", "digest"), PINNED.items(), ids=["ascii", "scripts", "longest"])
def test_a_text_has_the_same_bytes_everywhere_and_for_ever(text: str, digest: str) -> None:
    assert sha256(embed(text)).hexdigest()[:16] == digest


def test_related_texts_are_nearer_than_unrelated_ones() -> None:
    related = [near(*pair) for texts in TOPICS.values() for pair in combinations(texts, 2)]
    unrelated = [near(a, b) for one, other in combinations(TOPICS.values(), 2) for a in one for b in other]
    assert min(related) > max(unrelated)
    assert min(related) > 0.3 > max(unrelated), "the configured relevance tells them apart"


@given(st.text(max_size=200))
def test_a_vector_has_length_one_or_there_is_none(text: str) -> None:
    try:
        raw = embed(text)
    except NoEmbedding as refused:
        assert str(refused)
        return
    values = numbers(raw)
    assert len(values) == DIMENSION and abs(math.fsum(x * x for x in values) - 1) < 1e-6
    assert raw_of(text_of(raw), DIMENSION) == raw
    assert embed(text) == raw


def test_letters_of_another_case_and_other_signs_change_nothing() -> None:
    assert embed("Heat-Pumps, MOVE heat!") == embed("heat pumps move heat")
    assert embed("heat pumps move heat") != embed("heat pump moves heat")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("?! --- ...", "no word"),
        ("half a \ud800 character", "lone surrogate"),
        ("x" * (TEXT_CHARS_MAX + 1), "16,385 characters"),
    ],
)
def test_what_has_no_vector_is_refused_with_a_reason(text: str, why: str) -> None:
    with pytest.raises(NoEmbedding, match=why):
        embed(text)


@pytest.mark.parametrize("bad", [[math.nan, 1.0], [math.inf, 0.0], [0.0, 0.0], [-0.0]])
def test_what_points_nowhere_is_no_vector(bad: list[float]) -> None:
    with pytest.raises(NoEmbedding):
        unit(bad)


@pytest.mark.parametrize("values", [[1e300, 1e300], [1e-300, 0.0], [3.0, 4.0]])
def test_a_vector_of_any_size_comes_to_length_one(values: list[float]) -> None:
    assert math.isclose(math.hypot(*numbers(unit(values))), 1.0, abs_tol=1e-6)


@pytest.mark.parametrize("text", ["", "AAAA", "!!!!", "AACAPwAAgD8", text_of(unit([1.0, 2.0])) + "A", "AADAfwAAAAA"])
def test_what_is_no_stored_vector_is_noticed(text: str) -> None:
    with pytest.raises(NoEmbedding):
        raw_of(text, 2)


@given(st.lists(st.lists(st.floats(-1, 1), min_size=4, max_size=4), max_size=30), st.integers(1, 12))
def test_the_nearest_are_those_of_a_full_sort(vectors: list[list[float]], k: int) -> None:
    rows = [(seq, "e", numbers(unit(vector))) for seq, vector in enumerate(vectors) if any(abs(x) > 1e-9 for x in vector)]
    query = numbers(unit([1.0, 0.5, -0.25, 0.125]))
    whole = sorted(((-math.fsum(a * b for a, b in zip(query, row, strict=True)), seq) for seq, _, row in rows))
    assert [each.seq for each in nearest(query, rows, k)] == [seq for _, seq in whole[:k]]
