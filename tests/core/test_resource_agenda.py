"""Agenda, draft and steady value against twins that sort and scan."""

from hypothesis import given
from hypothesis import strategies as st

from core.agenda import STALE_MAX, Agenda, Draft, Steady

KEYS = st.sampled_from("abcdefgh")
MOVES = st.lists(st.tuples(KEYS, st.none() | st.integers(-3, 6)), max_size=60)


class Twin:
    """An agenda as a list that is sorted whenever somebody looks."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, int, str]] = []
        self.count = 0

    def move(self, key: str, rank: int | None) -> None:
        self.entries = [entry for entry in self.entries if entry[2] != key]
        if rank is not None:
            self.count += 1
            self.entries.append((rank, self.count, key))

    def keys(self) -> list[str]:
        return [key for _, _, key in sorted(self.entries)]


def move(agenda: Agenda[str], key: str, rank: int | None) -> None:
    if rank is None:
        agenda.drop(key)
    else:
        agenda.put(key, rank)


@given(MOVES)
def test_an_agenda_is_always_in_order(moves: list[tuple[str, int | None]]) -> None:
    agenda, twin = Agenda[str](), Twin()
    for key, rank in moves:
        move(agenda, key, rank)
        twin.move(key, rank)
        first = agenda.first()
        assert ([first[2]] if first else []) == twin.keys()[:1]
    assert [key for _, _, key in agenda.walk()] == twin.keys()
    assert agenda.due(2, 3) == [key for rank, _, key in sorted(twin.entries) if rank <= 2][:3]
    assert len(agenda) == len(twin.entries)


@given(MOVES, MOVES)
def test_a_draft_behaves_as_its_agenda_would_and_leaves_it_alone(
    before: list[tuple[str, int | None]], after: list[tuple[str, int | None]]
) -> None:
    agenda, twin = Agenda[str](), Agenda[str]()
    for key, rank in before:
        move(agenda, key, rank)
        move(twin, key, rank)
    draft = Draft(agenda)
    for key, rank in after:
        move(draft, key, rank)
        move(twin, key, rank)
        assert draft.first() == twin.first()
        assert (draft.rank(key), key in draft) == (twin.rank(key), key in twin)
    untouched = Agenda[str]()
    for key, rank in before:
        move(untouched, key, rank)
    assert agenda == untouched
    assert agenda.heap == untouched.heap


def test_moving_one_key_for_ever_does_not_pile_up() -> None:
    agenda = Agenda[str]()
    agenda.put("first", 0)
    for rank in range(10_000):
        agenda.put("restless", 20_000 - rank)
    assert len(agenda.heap) <= 2 * len(agenda) + STALE_MAX + 1


def test_the_first_few_of_many_are_found_without_sorting_all() -> None:
    looked_at = 0

    class Counting(int):
        def __lt__(self, other: int) -> bool:
            nonlocal looked_at
            looked_at += 1
            return int(self) < int(other)

    agenda = Agenda[int]()
    for rank in range(100_000):
        agenda.put(rank, Counting(rank * 7919 % 100_003))
    looked_at = 0
    assert len(agenda.due(100_003, 10)) == 10
    assert looked_at < 200


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 3)), min_size=1, max_size=40), st.floats(-1, 9))
def test_since_when_a_value_stayed_above(changes: list[tuple[int, int]], threshold: float) -> None:
    """The twin keeps the whole history and walks it backwards."""
    steady, history, now = Steady(), [], 0
    for value, later in changes:
        now += later
        steady.note(value, now)
        history.append((value, now))
    since = None
    for value, at in reversed(history):
        if value <= threshold:
            break
        since = at
    assert steady.since_above(threshold) == since
    assert len(steady.steps) <= len({value for value, _ in history})


@given(MOVES, MOVES)
def test_an_agenda_made_of_its_entries_goes_on_as_the_first_one(
    before: list[tuple[str, int | None]], after: list[tuple[str, int | None]]
) -> None:
    first: Agenda[str] = Agenda()
    for key, rank in before:
        move(first, key, rank)
    entries = first.in_order_put()
    assert [number for _, number, _ in entries] == sorted(number for _, number, _ in entries)
    second = Agenda.of(entries, first.count)
    assert second == first and second.in_order_put() == entries
    for key, rank in [*after, ("last", 0)]:
        assert list(second.walk()) == list(first.walk()) and second.first() == first.first()
        move(first, key, rank)
        move(second, key, rank)
    assert second == first and second.in_order_put() == first.in_order_put()
