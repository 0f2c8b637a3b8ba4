"""What an index says of itself: whatever is wrong with its bytes is seen, and it never claims more than was measured."""

from itertools import pairwise

import pytest

from core.data import index
from core.data.index import Covered, Head, Level, NoIndex, Step


def head(lists: int = 40) -> Head:
    levels = [
        Level(noise, least, [Step(probes, 1 - scale / probes, 1 - 2 * scale / (1 + probes)) for probes in index.steps_of(lists)])
        for noise, least, scale in ((0.0, 0.6, 0.1), (1.0, 0.4, 0.4))
    ]
    return Head(index.VERSION, "mine", 8, lists, 100, [Covered("00000001", 100, "a" * 64)], levels, 10, "0" * 64)


def test_what_was_sealed_is_opened_and_any_other_byte_is_seen() -> None:
    raw = index.sealed(head(), bytes(range(200)))
    found, body = index.opened(raw)
    assert body == bytes(range(200)) and found.covered == 100 and index.head_of(raw[:-150])[0] == found
    for place in (0, 3, 8, 12, 40, len(raw) - 200, len(raw) - 1):
        spoiled = bytearray(raw)
        spoiled[place] ^= 1
        with pytest.raises(NoIndex):
            index.opened(bytes(spoiled))
    for size in (0, 7, 11, 12, 100, len(raw) - 201, len(raw) - 1):
        with pytest.raises(NoIndex):
            index.opened(raw[:size])


def test_another_version_and_half_a_measure_are_none() -> None:
    other = head()
    other.version = 0
    with pytest.raises(NoIndex):
        index.opened(index.sealed(other, b""))
    half = head()
    half.levels[1].steps.pop()
    with pytest.raises(NoIndex):
        index.opened(index.sealed(half, b""))


@pytest.mark.parametrize("lists", [1, 2, 3, 4, 5, 7, 40, 4_000])
def test_steps_go_from_one_list_to_all(lists: int) -> None:
    steps = index.steps_of(lists)
    assert steps[0] == 1 and steps[-1] == lists and steps == sorted(set(steps))
    assert all(later <= 2 * before for before, later in pairwise(steps)) and len(steps) <= 256


def test_never_more_than_was_seen() -> None:
    level = head().levels[0]
    tried = {step.probes: step for step in level.steps}
    for probes in range(1, 41):
        before = max(each for each in tried if each <= probes)
        assert index.recall_at(level, 10, probes) == tried[before].at_10
        assert index.recall_at(level, 11, probes) == tried[before].at_100
    for k, wanted in ((10, 0.97), (100, 0.97), (10, 1.0)):
        probes = index.probes_for(level, k, wanted)
        fewer = [each for each in tried if each < probes]
        assert index.recall_at(level, k, probes) >= wanted or probes == 40
        assert all(index.recall_at(level, k, each) < wanted for each in fewer)


def test_a_question_is_held_against_what_is_as_like() -> None:
    found = [index.level_of(head(), near) for near in (0.9, 0.6, 0.5, 0.4, 0.3)]
    assert [level.noise if level else None for level in found] == [0.0, 0.0, 1.0, 1.0, None]
