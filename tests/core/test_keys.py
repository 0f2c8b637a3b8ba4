"""The memory of idempotency keys: its bounds, and that what it forgot is never claimed to be unknown since ever."""

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import keys
from core.keys import AGE_US_MAX, Keys, Remembered
from core.world import BadDump


def entry(seq: int, time_us: int, log: str = "log") -> Remembered:
    return Remembered("d", log, seq, seq, time_us)


@contextmanager
def bounds(per_caller: int, in_all: int) -> Iterator[None]:
    saved = keys.PER_CALLER_MAX, keys.IN_ALL_MAX
    keys.PER_CALLER_MAX, keys.IN_ALL_MAX = per_caller, in_all
    try:
        yield
    finally:
        keys.PER_CALLER_MAX, keys.IN_ALL_MAX = saved


def test_a_caller_keeps_its_newest_ten_thousand_and_says_since_when_it_would_know() -> None:
    memory = Keys()
    for number in range(keys.PER_CALLER_MAX + 5):
        memory.remember("a", f"key-{number}", entry(number, number))
    assert len(memory) == keys.PER_CALLER_MAX
    assert memory.find("a", "key-4", 10_000) is None
    assert memory.find("a", "key-5", 10_000) == entry(5, 5)
    assert memory.complete_since_us == 5


def test_what_a_busy_caller_pushes_out_is_let_go_beside_the_older_key_of_a_quiet_one() -> None:
    memory = Keys()
    with bounds(10, 100):
        for number in range(1_000):
            memory.remember("busy" if number else "quiet", f"key-{number}", entry(number, number))
        assert len(memory._logs["log"].order) == len(memory) == 11
    assert memory.find("quiet", "key-0", 1_000) == entry(0, 0) and memory.first_seq("log") == 0


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
    with bounds(per_caller, in_all):
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


CALLS = st.lists(
    st.tuples(st.sampled_from("xy"), st.sampled_from("abc"), st.sampled_from("pqrstu"), st.integers(0, AGE_US_MAX // 2)),
    max_size=50,
)


@given(CALLS, CALLS, st.integers(1, 6), st.integers(1, 10))
def test_a_memory_goes_on_from_its_dump_as_if_nothing_had_been(
    before: list[tuple[str, str, str, int]], after: list[tuple[str, str, str, int]], per_caller: int, in_all: int
) -> None:
    live, loaded = Keys(), Keys()
    now = 0
    with bounds(per_caller, in_all):
        for seq, (log, caller, key, step) in enumerate(before + after):
            if seq == len(before):
                for name in "xy":
                    loaded.load(name, live.dump(name))
            now += step
            live.remember(caller, key, entry(seq, now, log))
            if seq >= len(before):
                loaded.remember(caller, key, entry(seq, now, log))
                assert (len(loaded), loaded.complete_since_us) == (len(live), live.complete_since_us)
                assert all(loaded.find(each, name, now) == live.find(each, name, now) for each in "abc" for name in "pqrstu")
        if after:
            assert all(loaded.dump(name) == live.dump(name) for name in "xy")


@given(CALLS, st.integers(1, 6), st.integers(1, 10))
def test_what_is_remembered_of_a_log_does_not_depend_on_the_others(
    calls: list[tuple[str, str, str, int]], per_caller: int, in_all: int
) -> None:
    """Live, records of all logs come mixed; in replay one log comes after the other."""
    live, replayed, times = Keys(), Keys(), []
    for _, _, _, step in calls:
        times.append(step + (times[-1] if times else 0))
    order = sorted(range(len(calls)), key=lambda seq: calls[seq][0], reverse=True)
    with bounds(per_caller, in_all):
        for memory, seqs in ((live, list(range(len(calls)))), (replayed, order)):
            for seq in seqs:
                log, caller, key, _ = calls[seq]
                memory.remember(caller, key, entry(seq, times[seq], log))
    assert all(live.dump(log) == replayed.dump(log) for log in "xy")
    assert live.complete_since_us == replayed.complete_since_us


def test_of_two_uses_of_a_key_in_two_logs_the_newest_counts() -> None:
    memory = Keys()
    memory.remember("a", "key", entry(1, 2_000, "y"))
    memory.remember("a", "key", entry(9, 1_000, "x"))
    assert memory.find("a", "key", 2_000) == entry(1, 2_000, "y")
    assert memory.find("a", "key", 2_000 + AGE_US_MAX) is None


def test_loading_replaces_one_log_and_leaves_the_others() -> None:
    memory = Keys()
    memory.remember("a", "old", entry(1, 1, "x"))
    memory.remember("a", "other", entry(1, 1, "y"))
    memory.load("x", Keys().dump("x"))
    assert memory.find("a", "old", 1) is None and memory.find("a", "other", 1) is not None and len(memory) == 1
    memory.forget("y")
    assert len(memory) == 0


@pytest.mark.parametrize(
    "spoil", [lambda raw: raw[:-1], lambda raw: raw + b"\xc0", lambda raw: b"", lambda raw: msgspec.msgpack.encode([])]
)
def test_what_is_no_dump_is_refused_and_changes_nothing(spoil) -> None:  # type: ignore[no-untyped-def]
    memory = Keys()
    memory.remember("a", "key", entry(1, 1))
    raw = memory.dump("log")
    with pytest.raises(BadDump):
        memory.load("log", spoil(raw))
    assert memory.dump("log") == raw


def test_a_key_that_is_used_anew_is_the_newest_of_its_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "PER_CALLER_MAX", 2)
    memory = Keys()
    for seq, key in enumerate(["first", "second", "first", "third"]):
        memory.remember("a", key, entry(seq, seq))
    assert memory.find("a", "second", 3) is None
    assert memory.find("a", "first", 3) == entry(2, 2) and memory.find("a", "third", 3) == entry(3, 3)


def test_the_order_in_which_logs_are_read_decides_nothing() -> None:
    one, other = Keys(), Keys()
    for memory, logs in ((one, "xy"), (other, "yx")):
        for log in logs:
            memory.remember("a", "key", entry(1, 5, log))
    assert one.find("a", "key", 5) == other.find("a", "key", 5)
