"""Who is next: the queue of a pool against a twin that works everything out anew, and what follows for callers."""

import copy
import random
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.resource.pools import PRIORITIES
from core.resource.queue import AGE_US, LEVELS, Queue, Task

S = 1_000_000


def task(name: str, caller: str, priority: int, units: int, ready_at: int) -> Task:
    return Task(name, 0, caller, priority, "compute", units, 0, ready_at=ready_at)


@dataclass
class Turn:
    had: int
    came: int


@dataclass
class Twin:
    """The rule, said with lists: who has had least on the highest level comes first, with the oldest of their first tasks."""

    waiting: list[Task] = field(default_factory=list)
    levels: dict[tuple[str, int], int] = field(default_factory=dict)
    turns: list[dict[str, Turn]] = field(default_factory=lambda: [{} for _ in range(LEVELS)])
    unpaid: list[dict[str, int]] = field(default_factory=lambda: [{} for _ in range(LEVELS)])
    clocks: list[int] = field(default_factory=lambda: [0] * LEVELS)
    came: int = 0

    def line(self, caller: str, priority: int) -> list[Task]:
        return [each for each in self.waiting if (each.caller, each.priority) == (caller, priority)]

    def add(self, each: Task) -> None:
        self.waiting.append(each)
        self.levels.setdefault((each.caller, each.priority), each.priority)
        self.look()

    def head(self) -> Task | None:
        for level, turns in enumerate(self.turns):
            if turns:
                caller = min(turns, key=lambda name: (turns[name].had, turns[name].came))
                fronts = [self.line(*key)[0] for key, at in self.levels.items() if at == level and key[0] == caller]
                return min(fronts, key=lambda each: (each.ready_at, each.priority))
        return None

    def remove(self, each: Task, now: int, served: bool) -> None:
        key = each.caller, each.priority
        level = self.levels[key]
        was_first = self.line(*key)[0] is each
        self.waiting = [other for other in self.waiting if other is not each]
        if served:
            turn = self.turns[level][each.caller]
            self.clocks[level] = max(self.clocks[level], turn.had)
            self.came += 1
            self.turns[level][each.caller] = Turn(turn.had + each.units, self.came)
            self.unpaid[level] = {name: had for name, had in self.unpaid[level].items() if had > self.clocks[level]}
        if not self.line(*key):
            del self.levels[key]
        elif was_first:
            self.levels[key] = self.aged(key, now)
        self.look()

    def aged(self, key: tuple[str, int], now: int) -> int:
        return max(0, key[1] - (now - self.line(*key)[0].ready_at) // AGE_US)

    def pass_time(self, now: int) -> None:
        for key, level in sorted(self.levels.items(), key=self.rises_at):
            self.levels[key] = min(level, self.aged(key, now))
            self.look()

    def rises_at(self, item: tuple[tuple[str, int], int]) -> int:
        """Who reaches a level first stands on it first."""
        key, level = item
        return int(self.line(*key)[0].ready_at) + AGE_US * (key[1] - level + 1)

    def look(self) -> None:
        """Callers leave levels where they have nothing, then join those where they have."""
        present = [{caller for (caller, _), at in self.levels.items() if at == level} for level in range(LEVELS)]
        for level, turns in enumerate(self.turns):
            for caller in [name for name in turns if name not in present[level]]:
                turn = turns.pop(caller)
                if not turns:
                    self.unpaid[level] = {}
                elif turn.had > self.clocks[level]:
                    self.unpaid[level][caller] = turn.had
        for level, turns in enumerate(self.turns):
            for caller in sorted(present[level] - set(turns)):
                least = min((turn.had for turn in turns.values()), default=0)
                self.came += 1
                turns[caller] = Turn(max(self.clocks[level], least, self.unpaid[level].pop(caller, 0)), self.came)


MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from("ABC"), st.integers(0, 3), st.integers(1, 9)),
        st.tuples(st.just("start")),
        st.tuples(st.just("start")),
        st.tuples(st.just("remove"), st.integers(0, 99)),
        st.tuples(st.just("pass"), st.sampled_from([1, 10 * S, 29 * S, 31 * S, 70 * S])),
    ),
    max_size=40,
)


def play(moves: list[tuple], check) -> None:  # type: ignore[no-untyped-def, type-arg]
    queue, twin, now = Queue(), Twin(), 0
    for place, (move, *details) in enumerate(moves):
        if move == "add":
            caller, priority, units = details
            each = task(f"t{place}", caller, priority, units, now)
            queue.add(each)
            twin.add(each)
        elif move == "start" and (head := queue.head()) is not None:
            queue.remove(head, now, served=True)
            twin.remove(head, now, True)
        elif move == "remove" and twin.waiting:
            each = twin.waiting[details[0] % len(twin.waiting)]
            queue.remove(each, now, served=False)
            twin.remove(each, now, False)
        elif move == "pass":
            now += details[0]
            for key in queue.aging.due(now, 99):
                queue.raise_line(key, queue.lines[key].level_at(now))
            twin.pass_time(now)
        check(queue, twin, now)


@given(MOVES)
def test_the_queue_chooses_as_its_slow_twin_does(moves: list[tuple]) -> None:  # type: ignore[type-arg]
    def check(queue: Queue, twin: Twin, now: int) -> None:
        assert queue.head() is twin.head()
        assert (queue.tasks, queue.units) == (len(twin.waiting), sum(each.units for each in twin.waiting))
        for level, turns in zip(queue.levels, twin.turns, strict=True):
            assert {name: entry[0] for name, entry in level.turns.entries.items()} == {
                name: turn.had for name, turn in turns.items()
            }

    play(moves, check)


@given(MOVES)
def test_looking_ahead_finds_what_starting_one_by_one_would(moves: list[tuple]) -> None:  # type: ignore[type-arg]
    last: list[tuple[Queue, int]] = []
    play(moves, lambda queue, twin, now: last.append((queue, now)))
    if not last:
        return
    queue, now = last[-1]
    before, draft, real = copy.deepcopy(queue), queue.draft(), copy.deepcopy(queue)
    while (ahead := draft.head()) is not None:
        draft.remove(ahead, now, served=True)
        head = real.head()
        assert head is not None and head.task_id == ahead.task_id
        real.remove(head, now, served=True)
    assert real.head() is None
    assert queue == before


def serve(queue: Queue, now: int = 0) -> Task:
    head = queue.head()
    assert head is not None
    queue.remove(head, now, served=True)
    return head


def test_higher_priorities_come_first_and_equal_ones_in_order() -> None:
    queue = Queue()
    for place, priority in enumerate([3, 1, 2, 0, 1, 3]):
        queue.add(task(f"t{place}", "A", priority, 1, place))
    assert [serve(queue).task_id for _ in range(6)] == ["t3", "t1", "t4", "t2", "t0", "t5"]


def test_a_flood_from_one_caller_does_not_delay_another() -> None:
    queue = Queue()
    for place in range(1_000):
        queue.add(task(f"flood{place}", "A", 2, 1, 0))
    for _ in range(300):
        serve(queue)
    for place in range(3):
        queue.add(task(f"few{place}", "B", 2, 1, 0))
    assert [serve(queue).caller for _ in range(7)] == ["A", "B", "A", "B", "A", "B", "A"]


def test_turns_are_weighed_by_units() -> None:
    queue = Queue()
    for place in range(100):
        queue.add(task(f"large{place}", "A", 2, 8, 0))
        queue.add(task(f"small{place}", "B", 2, 1, 0))
    had: Counter[str] = Counter()
    for _ in range(90):
        each = serve(queue)
        had[each.caller] += each.units
    assert abs(had["A"] - had["B"]) <= 8


def test_going_idle_and_coming_back_does_not_wipe_out_what_one_has_had() -> None:
    """A caller that has one large task at a time, always submitted after the last one started, gets no more than its half."""
    queue = Queue()
    for place in range(200):
        queue.add(task(f"small{place}", "B", 2, 1, 0))
    had: Counter[str] = Counter()
    for place in range(160):
        if not any(caller == "A" for caller, _ in queue.lines):
            queue.add(task(f"large{place}", "A", 2, 16, 0))
        each = serve(queue)
        had[each.caller] += each.units
    assert had["A"] <= had["B"] + 2 * 16


def test_who_was_chosen_stays_chosen_whoever_joins_on_its_level() -> None:
    queue = Queue()
    queue.add(task("large", "A", 0, 64, 0))
    for place in range(100):
        queue.add(task(f"late{place}", f"N{place}", 0, 1, 0))
        head = queue.head()
        assert head is not None and head.task_id == "large"


@pytest.mark.parametrize("priority", range(LEVELS))
def test_a_line_rises_a_level_for_each_age_its_first_task_has_waited(priority: int) -> None:
    queue = Queue()
    queue.add(task("t", "A", priority, 1, 0))
    line = queue.lines["A", priority]
    for level in range(priority - 1, -1, -1):
        due = (priority - level) * AGE_US
        assert queue.aging.first() == (due, queue.aging.count, line.key)
        assert line.level_at(due - 1) == level + 1
        queue.raise_line(line.key, line.level_at(due))
        assert line.level == level
    assert queue.aging.first() is None


def test_a_younger_task_does_not_inherit_the_age_of_the_one_before_it() -> None:
    queue = Queue()
    queue.add(task("old", "A", 3, 1, 0))
    queue.add(task("young", "A", 3, 1, 2 * AGE_US))
    queue.raise_line(("A", 3), 1)
    queue.remove(queue.lines["A", 3].tasks["old"], 2 * AGE_US, served=True)
    assert queue.lines["A", 3].level == 3


@pytest.mark.parametrize("seed", range(4))
def test_nothing_starves_while_others_keep_coming_with_higher_priority(seed: int) -> None:
    """Four adversaries keep the level `critical` full; every task of the victim is served within a bound that they cannot move."""
    chance = random.Random(seed)
    queue, now, victims = Queue(), 0, 5
    for place in range(victims):
        queue.add(task(f"victim{place}", "V", 3, 1, 0))
    waited: list[int] = []
    for step in range(1_000):
        for name in "WXYZ":
            if queue.tasks < 60:
                queue.add(task(f"{name}{step}", name, 0, chance.choice([1, 4]), now))
        now += S
        for key in queue.aging.due(now, 99):
            queue.raise_line(key, queue.lines[key].level_at(now))
        each = serve(queue, now)
        if each.caller == "V":
            waited.append(now)
            assert each.task_id == f"victim{len(waited) - 1}"
    assert len(waited) == victims
    assert waited[0] <= 3 * AGE_US + 5 * S, "one turn of each of the five callers after it has risen to the top"
    assert all(later - earlier <= 5 * S for earlier, later in pairwise(waited))


def test_what_a_queue_remembers_of_callers_is_gone_with_them() -> None:
    queue = Queue()
    for place in range(500):
        queue.add(task(f"t{place}", f"N{place}", place % LEVELS, 3, 0))
    while queue.head() is not None:
        serve(queue)
    assert not queue.lines and not len(queue.aging)
    assert all(not len(level.turns) and not len(level.unpaid) for level in queue.levels)
    assert PRIORITIES == ("critical", "high", "normal", "low")
