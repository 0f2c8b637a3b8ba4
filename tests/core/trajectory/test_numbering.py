"""Numbers of texts in passes over arrays are those that one text after the other gets; likewise costs."""

from array import array

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.trajectory import numbering
from core.trajectory.commands import whole_micro
from core.trajectory.numbering import micro_of_many, numbered, numbered_one_by_one

TEXTS = st.lists(
    st.text("ab\x00é🏠 ", max_size=20) | st.sampled_from(["", "a" * 8, "a" * 9, "a" * 16, "a\nb", "a" * 120]), max_size=40
)


@given(TEXTS)
@example(["a", "a\x00", "a\x00\x00", "a"])
@example(["", "", "a"])
@example(["12345678", "123456789", "12345678", "12345678\x00"])
@example(["same eight" + end for end in "abcabc"])
def test_both_ways_lead_to_the_same_numbers(texts: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numbering, "ARRAYS_FROM", 1)
        given_up = list(texts)
        assert numbered(given_up) == numbered_one_by_one(texts) and not given_up, "the list was emptied on the way"


def test_what_only_looks_the_same_to_a_hash_is_not_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every hash alike all texts look the same."""
    texts = ["ab", "cd", "ab", "ef"]
    monkeypatch.setattr(numbering, "ARRAYS_FROM", 1)
    monkeypatch.setattr(numbering, "_MIX", 0)
    assert numbered(list(texts)) == numbered_one_by_one(texts)
    assert list(numbered(list(texts))[1]) == [0, 1, 0, 2]


def test_of_ordinary_texts_none_is_looked_at_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else nobody would see that the quick way is never taken."""
    monkeypatch.setattr(numbering, "ARRAYS_FROM", 1)
    monkeypatch.setattr(numbering, "numbered_one_by_one", lambda texts: pytest.fail("one by one"))
    texts = [f"{'é' * (place % 7)}{place * 7919 % 300}" for place in range(1_000)]
    listed = list(dict.fromkeys(texts))
    assert numbered(list(texts)) == (listed, array("i", map(listed.index, texts)))


@given(st.lists(st.one_of(st.floats(0, 1e9), st.integers(0, 10**15).map(lambda amount: amount / 1e6)), min_size=1, max_size=9))
@example([1e-7])
@example([0.1, 1e9, 999999999.999999])
def test_costs_of_many_are_those_of_each(costs: list[float]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numbering, "ARRAYS_FROM", 1)
        found = micro_of_many(costs)
    each = [whole_micro(cost) for cost in costs]
    assert found is None or list(found) == each
    if None in each:
        assert found is None, "one that is too fine is never rounded"
