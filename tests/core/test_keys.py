"""The memory of idempotency keys: its bounds, and that what it forgot is never claimed to be unknown since ever."""

from hypothesis import given
from hypothesis import strategies as st

from core import keys
from core.keys import AGE_US_MAX, Keys, Remembered


def entry(seq: int, time_us: int) -> Remembered:
    return Remembered("d", "log", seq, seq, time_us)


def test_a_caller_keeps_its_newest_ten_thousand_and_says_since_when_it_would_know() -> None:
    memory = Keys()
    for number in range(keys.PER_CALLER_MAX + 5):
        memory.remember("a", f"key-{number}", entry(number, number))
    assert len(memory) == keys.PER_CALLER_MAX
    assert memory.find("a", "key-4", 10_000) is None
    assert memory.find("a", "key-5", 10_000) == entry(5, 5)
    assert memory.complete_since_us == 5


def test_a_key_is_unknown_after_a_day() -> None:
    memory = Keys()
    memory.remember("a", "key", entry(1, 1_000))
    assert memory.find("a", "key", 1_000 + AGE_US_MAX - 1) is not None
    assert memory.find("a", "key", 1_000 + AGE_US_MAX) is None


def test_keys_are_scoped_to_their_caller() -> None:
    memory = Keys()
    memory.remember("a", "key", entry(1, 1))
    assert memory.find("b", "key", 1) is None


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("pqrstu"), st.integers(0, AGE_US_MAX // 2)), max_size=60),
    st.integers(1, 6),
    st.integers(1, 10),
)
def test_it_agrees_with_a_list_that_is_searched_from_the_end(
    calls: list[tuple[str, str, int]], per_caller: int, in_all: int
) -> None:
    memory = Keys()
    saved = keys.PER_CALLER_MAX, keys.IN_ALL_MAX
    keys.PER_CALLER_MAX, keys.IN_ALL_MAX = per_caller, in_all
    try:
        now = 0
        newest: dict[tuple[str, str], Remembered] = {}
        for seq, (caller, key, step) in enumerate(calls):
            now += step
            newest.pop((caller, key), None)
            newest[caller, key] = entry(seq, now)
            memory.remember(caller, key, newest[caller, key])
            assert len(memory) <= in_all
        for (caller, key), expected in newest.items():
            found = memory.find(caller, key, now)
            # A key is remembered as it was last used, or forgotten and then covered by complete_since.
            assert found == expected or (
                found is None and (expected.time_us < memory.complete_since_us or now - expected.time_us >= AGE_US_MAX)
            )
    finally:
        keys.PER_CALLER_MAX, keys.IN_ALL_MAX = saved
