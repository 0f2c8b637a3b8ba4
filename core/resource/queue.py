"""Who is next in one pool: four levels, callers taking turns on each, and no one waiting for ever.

* The ready tasks of one caller and one priority form a line, first come first served.
* A line stands on its priority's level, and one level higher for every `AGE_US` its first task has waited.
* Callers on a level take turns by units served (start-time fair queueing, Goyal, Vin and Cheng 1996). Who joins is treated as if
  it had had as much as the one whose turn it is: no debt to collect, and no way past the one already chosen.
* The one chosen starts when its units are free, and nothing else of this pool before it: small tasks cannot starve a large one.

It must never look at a clock: `now` is a parameter, and levels change only by the calls below.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from core.agenda import Agenda, Draft
from core.resource.events import JobRequest, PoolName

LEVELS = 4

AGE_US = 30_000_000
"""Waiting that lifts a line one level: longer than autoscaling needs to answer a burst (hold 5 s, cooldown 10 s, twice), so that
the order asked for is only bent when more units did not help; short enough that the lowest reach the top in a minute and a half."""

LineKey = tuple[str, int]
TaskState = Literal["waiting", "blocked", "retrying", "running", "done", "cancelled", "expired", "parked"]


class Task(msgspec.Struct, gc=False, array_like=True, forbid_unknown_fields=True):
    """One task, in memory and in a snapshot. Times ending in `_at` are on the engine's clock, in `_us` on the wall's."""

    task_id: str
    order: int
    caller: str
    priority: int
    pool: PoolName
    units: int
    submitted_us: int
    duration_us: int = 0
    deadline_at: int | None = None
    depends_on: tuple[str, ...] = ()
    job: JobRequest | None = None
    state: TaskState = "waiting"
    ready_at: int = 0
    missing: int = 0
    attempt: int = 0
    effect: str = ""
    started_at: int = 0
    started_us: int = 0
    finished_us: int = 0
    retry_at: int = 0
    reasons: tuple[str, ...] = ()
    detail: str = ""
    dependency: str = ""
    result: dict[str, Any] | None = None


class Line:
    """Ready tasks of one caller and one priority, the oldest first."""

    __slots__ = ("caller", "level", "priority", "tasks")

    def __init__(self, caller: str, priority: int) -> None:
        self.caller = caller
        self.priority = priority
        self.level = priority
        self.tasks: OrderedDict[str, Task] = OrderedDict()
        """Not a dict: looking at the first key of one costs O(n) once many keys before it are gone."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Line) and (self.level, self.tasks) == (other.level, other.tasks)

    __hash__ = None  # type: ignore[assignment]

    @property
    def key(self) -> LineKey:
        return self.caller, self.priority

    def first(self) -> Task | None:
        return next(iter(self.tasks.values()), None)

    def remove(self, task: Task) -> None:
        del self.tasks[task.task_id]

    def level_at(self, now: int) -> int:
        """Where the line belongs, by how long its first task has waited."""
        first = self.first()
        waited = 0 if first is None else now - first.ready_at
        return max(0, self.priority - max(0, waited) // AGE_US)


class DraftLine(Line):
    """A line to try things on; only its first task can be removed."""

    __slots__ = ("chosen", "rest")

    def __init__(self, base: Line) -> None:
        super().__init__(base.caller, base.priority)
        self.level = base.level
        self.rest: Iterator[Task] = iter(base.tasks.values())
        self.chosen = next(self.rest, None)

    def first(self) -> Task | None:
        return self.chosen

    def remove(self, task: Task) -> None:
        assert task is self.chosen
        self.chosen = next(self.rest, None)


class Level:
    """Callers taking turns: the one that has had the fewest units comes first."""

    __slots__ = ("clock", "turns", "unpaid")

    def __init__(self) -> None:
        self.turns: Agenda[str] = Agenda()
        """Callers with a line here, by the units they have had."""
        self.unpaid: Agenda[str] = Agenda()
        """Callers without one that have had more than their turn: coming back does not wipe that out."""
        self.clock = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Level) and (self.clock, self.turns, self.unpaid) == (other.clock, other.turns, other.unpaid)

    __hash__ = None  # type: ignore[assignment]

    def join(self, caller: str) -> None:
        if caller in self.turns:
            return
        first = self.turns.first()
        entry = max(self.clock, self.unpaid.rank(caller) or 0, 0 if first is None else first[0])
        self.unpaid.drop(caller)
        self.turns.put(caller, entry)

    def serve(self, caller: str, units: int) -> None:
        had = self.turns.rank(caller)
        if had is None:
            return
        self.clock = max(self.clock, had)
        self.turns.put(caller, had + units)
        while (first := self.unpaid.first()) is not None and first[0] <= self.clock:
            self.unpaid.drop(first[2])

    def leave(self, caller: str) -> None:
        had = self.turns.rank(caller)
        if had is None:
            return
        self.turns.drop(caller)
        if self.turns.first() is None:
            self._begin_anew()
        elif had > self.clock:
            self.unpaid.put(caller, had)

    def _begin_anew(self) -> None:
        """Nobody waits here, so nobody was kept waiting: what each has had no longer counts."""
        self.unpaid = Agenda()


class Queue:
    """The ready tasks of one pool."""

    __slots__ = ("aging", "levels", "lines", "tasks", "units")

    def __init__(self) -> None:
        self.lines: dict[LineKey, Line] = {}
        self.levels = [Level() for _ in range(LEVELS)]
        self.aging: Agenda[LineKey] = Agenda()
        """Lines by the time they rise."""
        self.tasks = 0
        self.units = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Queue) and all(getattr(self, name) == getattr(other, name) for name in Queue.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def draft(self) -> "Queue":
        """The same queue to try things on: heads can be taken from it, and this one stays as it is."""
        return DraftQueue(self)

    def add(self, task: Task) -> None:
        """`task.ready_at` is set; within a line it never decreases, so the first is the one that has waited longest."""
        self.tasks += 1
        self.units += task.units
        line = self._line((task.caller, task.priority))
        if line is not None:
            line.tasks[task.task_id] = task
            return
        line = Line(task.caller, task.priority)
        line.tasks[task.task_id] = task
        self.lines[line.key] = line
        self.levels[line.level].join(line.caller)
        self._schedule(line)

    def head(self) -> Task | None:
        """The one chosen to start next."""
        for number, level in enumerate(self.levels):
            first = level.turns.first()
            if first is not None:
                fronts = (line.first() for line in self._lines_on(number, first[2]))
                return min((task for task in fronts if task is not None), key=_longest_waiting)
        return None

    def remove(self, task: Task, now: int, *, served: bool) -> None:
        """Takes a task out: `served` when it starts, so that its caller's turn is over."""
        line = self._line((task.caller, task.priority))
        assert line is not None
        was_first = line.first() is task
        self.tasks -= 1
        self.units -= task.units
        line.remove(task)
        if served:
            self.levels[line.level].serve(line.caller, task.units)
        if line.first() is None:
            self._drop_line(line.key)
            self.aging.drop(line.key)
            self._leave(line.level, line.caller)
        elif was_first:
            self._move(line, line.level_at(now))

    def raise_line(self, key: LineKey, level: int) -> None:
        line = self._line(key)
        if line is not None:
            self._move(line, level)

    def _move(self, line: Line, level: int) -> None:
        if level != line.level:
            before, line.level = line.level, level
            self._leave(before, line.caller)
            self.levels[level].join(line.caller)
        self._schedule(line)

    def _leave(self, level: int, caller: str) -> None:
        if not any(True for _ in self._lines_on(level, caller)):
            self.levels[level].leave(caller)

    def _schedule(self, line: Line) -> None:
        first = line.first()
        if line.level == 0 or first is None:
            self.aging.drop(line.key)
        else:
            self.aging.put(line.key, first.ready_at + (line.priority - line.level + 1) * AGE_US)

    def _lines_on(self, level: int, caller: str) -> Iterator[Line]:
        for priority in range(level, LEVELS):
            line = self._line((caller, priority))
            if line is not None and line.level == level:
                yield line

    def _line(self, key: LineKey) -> Line | None:
        return self.lines.get(key)

    def _drop_line(self, key: LineKey) -> None:
        del self.lines[key]


class DraftLevel(Level):
    __slots__ = ()

    def __init__(self, base: Level) -> None:
        self.turns = Draft(base.turns)
        self.unpaid = Draft(base.unpaid)
        self.clock = base.clock


class DraftQueue(Queue):
    """Copies on first touch: trying k tasks costs O(k log n), however many wait."""

    __slots__ = ("base", "gone")

    def __init__(self, base: Queue) -> None:
        self.base = base
        self.gone: set[LineKey] = set()
        self.lines = {}
        self.levels = [DraftLevel(level) for level in base.levels]
        self.aging = Draft(base.aging)
        self.tasks = base.tasks
        self.units = base.units

    def _line(self, key: LineKey) -> Line | None:
        line = self.lines.get(key)
        if line is None and key not in self.gone:
            original = self.base.lines.get(key)
            if original is not None:
                line = self.lines[key] = DraftLine(original)
        return line

    def _drop_line(self, key: LineKey) -> None:
        self.gone.add(key)
        del self.lines[key]


def _longest_waiting(task: Task) -> tuple[int, int]:
    return task.ready_at, task.priority
