"""What the resource engine knows, and how each event changes it. The log is the truth; this is what it adds up to.

Every `apply` costs O(log n) however many tasks wait. None may refuse, look at a clock or at the settings.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from itertools import islice

from core.agenda import Agenda, Steady
from core.clock import Clock
from core.engine import Context, Event, Stamp
from core.resource.events import (
    DependentsReleased,
    PoolName,
    PoolScaled,
    Priority,
    QueueAged,
    Resumed,
    TaskCancelled,
    TaskDone,
    TaskExpired,
    TaskFailed,
    TaskParked,
    TaskRequeued,
    TaskStarted,
    TaskSubmitted,
)
from core.resource.queue import Queue, Task, TaskState

POOLS: tuple[PoolName, ...] = ("compute", "storage", "network", "database")
PRIORITIES: tuple[Priority, ...] = ("critical", "high", "normal", "low")

START_UNITS = 4
"""Units of a pool in a new log: small enough for the smallest machine; autoscaling does the rest."""

WAITING_MAX = 200_000
FINISHED_KEPT = 10_000
RELEASED_AT_ONCE = 32
"""Dependents that the end of a task frees in the same step. More are freed in rounds, so that no single step takes long."""

FINISHED: tuple[TaskState, ...] = ("done", "cancelled", "expired", "parked")
STATES: tuple[TaskState, ...] = ("waiting", "blocked", "retrying", "running", *FINISHED)


class Pool:
    """One resource: how many units there are, who holds them, who waits."""

    __slots__ = ("busy", "counts", "idle", "load", "name", "parked_at", "queue", "scaled_at", "size", "used")

    def __init__(self, name: PoolName) -> None:
        self.name: PoolName = name
        self.size = START_UNITS
        self.used = 0
        self.queue = Queue()
        self.load = -1
        """Units held and asked for, as far as they matter: at most one more than there are."""
        self.busy = Steady()
        self.idle = Steady()
        self.scaled_at: int | None = None
        self.parked_at: int | None = None
        self.counts = dict.fromkeys(STATES, 0)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pool) and all(getattr(self, name) == getattr(other, name) for name in Pool.__slots__)

    __hash__ = None  # type: ignore[assignment]

    @property
    def free(self) -> int:
        return self.size - self.used

    def note(self, now: int) -> None:
        """Remembers the load. Units asked for count too: between two tasks a busy pool is not idle."""
        load, size = self.used + self.queue.units, self.size
        if load > size:
            load = size + 1
        if load != self.load:
            self.load = load
            share = load / size
            self.busy.note(share, now)
            self.idle.note(-load / size, now)  # of no load 0.0, and not -0.0

    def watch_anew(self, now: int) -> None:
        self.load, self.busy, self.idle = -1, Steady(), Steady()
        self.note(now)


class Pools:
    """The state of the resource engine."""

    __slots__ = (
        "arrivals",
        "clock",
        "deadlines",
        "dependents",
        "effects",
        "ends",
        "finished",
        "forgotten",
        "pools",
        "retries",
        "tasks",
        "unsettled",
        "waiting",
    )

    def __init__(self) -> None:
        self.clock = Clock()
        self.pools: dict[str, Pool] = {name: Pool(name) for name in POOLS}
        self.tasks: dict[str, Task] = {}
        self.arrivals: list[Task] = []
        """In order of submission, for pages; forgotten tasks stay until there are as many of them as of others."""
        self.finished: deque[str] = deque()
        self.forgotten = 0
        self.waiting = 0
        """Tasks that are neither running nor finished."""
        self.ends: Agenda[str] = Agenda()
        self.deadlines: Agenda[str] = Agenda()
        self.retries: Agenda[str] = Agenda()
        self.effects: dict[str, Task] = {}
        """Running jobs by the id of their effect."""
        self.dependents: dict[str, OrderedDict[str, None]] = {}
        self.unsettled: OrderedDict[str, None] = OrderedDict()
        """Finished tasks whose dependents are still to be released or given up."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pools) and all(getattr(self, name) == getattr(other, name) for name in _COMPARED)

    __hash__ = None  # type: ignore[assignment]

    def now(self, ctx: Context) -> int:
        return self.clock.now(ctx)

    def newest_first(self, before: int | None = None) -> Iterator[Task]:
        """Known tasks from the newest on, or from the one before an order number on; O(log n) to begin."""
        place = len(self.arrivals)
        if before is not None:
            low = 0
            while low < place:
                middle = (low + place) // 2
                low, place = (middle + 1, place) if self.arrivals[middle].order < before else (low, middle)
        for index in range(place - 1, -1, -1):
            task = self.arrivals[index]
            if self.tasks.get(task.task_id) is task:
                yield task


_COMPARED = tuple(name for name in Pools.__slots__ if name not in ("arrivals", "forgotten"))
"""Those two are `tasks` once more, in order and more or less tidy."""


def apply_submitted(pools: Pools, event: TaskSubmitted, stamp: Stamp) -> None:
    now = pools.clock.at(stamp)
    task = Task(
        event.task_id,
        stamp.seq,
        stamp.actor,
        PRIORITIES.index(event.priority),
        event.resource_type,
        event.units,
        stamp.time_us,
        depends_on=tuple(event.depends_on or ()),
        job=event.job,
    )
    if event.duration_s is not None:
        task.duration_us = round(event.duration_s * 1e6)
    pools.tasks[task.task_id] = task
    pools.arrivals.append(task)
    pools.waiting += 1
    pool = pools.pools[task.pool]
    if event.deadline_s is not None:
        task.deadline_at = now + round(event.deadline_s * 1e6)
        pools.deadlines.put(task.task_id, task.deadline_at)
    for dependency in task.depends_on:
        _wait_for(pools, task, dependency)
    if task.missing:
        task.state = "blocked"
        pool.counts["blocked"] += 1
    else:
        pool.counts["waiting"] += 1
        _enqueue(pool, task, now)


def apply_started(pools: Pools, event: TaskStarted, stamp: Stamp) -> None:
    now = pools.clock.at(stamp)
    task, pool = pools.tasks[event.task_id], pools.pools[event.pool]
    pool.queue.remove(task, now, served=True)
    pools.waiting -= 1
    pool.used += task.units
    _turn(pool, task, "running")
    task.attempt += 1
    task.started_at, task.started_us = now, stamp.time_us
    if task.job is not None:
        task.effect = stamp.cause()
        pools.effects[task.effect] = task
    elif task.deadline_at is None or now + task.duration_us <= task.deadline_at:
        pools.deadlines.drop(task.task_id)
        pools.ends.put(task.task_id, now + task.duration_us)
    pool.note(now)


def apply_done(pools: Pools, event: TaskDone, stamp: Stamp) -> None:
    task = pools.tasks[event.task_id]
    task.result = event.result
    _finish(pools, task, "done", stamp)
    _release(pools, task.task_id, RELEASED_AT_ONCE, pools.clock.last)
    _settle(pools, task.task_id)


def apply_failed(pools: Pools, event: TaskFailed, stamp: Stamp) -> None:
    now = pools.clock.at(stamp)
    task = pools.tasks[event.task_id]
    pool = pools.pools[task.pool]
    _free(pools, pool, task)
    pools.waiting += 1
    _turn(pool, task, "retrying")
    task.reasons += (event.code,)
    task.detail = event.detail
    task.retry_at = now + event.retry_in_ms * 1000
    pools.retries.put(task.task_id, task.retry_at)
    pool.note(now)


def apply_requeued(pools: Pools, event: TaskRequeued, stamp: Stamp) -> None:
    now = pools.clock.at(stamp)
    task = pools.tasks[event.task_id]
    pool = pools.pools[task.pool]
    pools.retries.drop(task.task_id)
    _turn(pool, task, "waiting")
    _enqueue(pool, task, now)


def apply_parked(pools: Pools, event: TaskParked, stamp: Stamp) -> None:
    task = pools.tasks[event.task_id]
    task.reasons, task.detail = tuple(event.reasons), event.detail
    _finish(pools, task, "parked", stamp)
    pools.pools[task.pool].parked_at = pools.clock.last
    _settle(pools, task.task_id)


def apply_cancelled(pools: Pools, event: TaskCancelled, stamp: Stamp) -> None:
    task = pools.tasks[event.task_id]
    task.reasons += (event.reason,)
    task.dependency = event.dependency or ""
    _finish(pools, task, "cancelled", stamp)
    _settle(pools, task.task_id)


def apply_expired(pools: Pools, event: TaskExpired, stamp: Stamp) -> None:
    _finish(pools, pools.tasks[event.task_id], "expired", stamp)
    _settle(pools, event.task_id)


def apply_released(pools: Pools, event: DependentsReleased, stamp: Stamp) -> None:
    _release(pools, event.task_id, event.count, pools.clock.at(stamp))


def apply_aged(pools: Pools, event: QueueAged, stamp: Stamp) -> None:
    pools.clock.at(stamp)
    pools.pools[event.pool].queue.raise_line((event.caller, PRIORITIES.index(event.priority)), PRIORITIES.index(event.level))


def apply_scaled(pools: Pools, event: PoolScaled, stamp: Stamp) -> None:
    now = pools.clock.at(stamp)
    pool = pools.pools[event.pool]
    pool.size = event.to_units
    pool.scaled_at = now
    if pool.load:  # no load is the same share of any size
        pool.load = -1
        pool.note(now)


def apply_resumed(pools: Pools, event: Resumed, stamp: Stamp) -> None:
    now = pools.clock.at(stamp)
    for pool in pools.pools.values():
        pool.watch_anew(now)


APPLY: dict[type[Event], Callable[..., None]] = {
    TaskSubmitted: apply_submitted,
    TaskStarted: apply_started,
    TaskDone: apply_done,
    TaskFailed: apply_failed,
    TaskRequeued: apply_requeued,
    TaskParked: apply_parked,
    TaskCancelled: apply_cancelled,
    TaskExpired: apply_expired,
    DependentsReleased: apply_released,
    QueueAged: apply_aged,
    PoolScaled: apply_scaled,
    Resumed: apply_resumed,
}


def _turn(pool: Pool, task: Task, state: TaskState) -> None:
    pool.counts[task.state] -= 1
    pool.counts[state] += 1
    task.state = state


def _enqueue(pool: Pool, task: Task, now: int) -> None:
    task.ready_at = now
    pool.queue.add(task)
    pool.note(now)


def _free(pools: Pools, pool: Pool, task: Task) -> None:
    """What a running task holds."""
    pool.used -= task.units
    pools.ends.drop(task.task_id)
    pools.effects.pop(task.effect, None)
    task.effect = ""


def _finish(pools: Pools, task: Task, state: TaskState, stamp: Stamp) -> None:
    """Takes a task from wherever it is. It ends, so it holds nothing, waits for nothing and nothing is due for it."""
    now = pools.clock.at(stamp)
    pool = pools.pools[task.pool]
    if task.state == "running":
        _free(pools, pool, task)
    else:
        pools.waiting -= 1
        if task.state == "waiting":
            pool.queue.remove(task, now, served=False)
        elif task.state == "retrying":
            pools.retries.drop(task.task_id)
        elif task.state == "blocked":
            for dependency in task.depends_on:
                _forget_dependent(pools, dependency, task.task_id)
    pools.deadlines.drop(task.task_id)
    _turn(pool, task, state)
    task.finished_us = stamp.time_us
    pool.note(now)


def _wait_for(pools: Pools, task: Task, dependency: str) -> None:
    found = pools.tasks.get(dependency)
    if found is not None and found.state != "done":
        waiting = pools.dependents.setdefault(dependency, OrderedDict())
        if task.task_id not in waiting:
            waiting[task.task_id] = None
            task.missing += 1


def _release(pools: Pools, dependency: str, count: int, now: int) -> None:
    """Frees the oldest dependents of a done task; those that wait for nothing else become ready."""
    for task_id in list(islice(pools.dependents.get(dependency, ()), count)):
        _forget_dependent(pools, dependency, task_id)
        task = pools.tasks[task_id]
        task.missing -= 1
        if not task.missing:
            pool = pools.pools[task.pool]
            _turn(pool, task, "waiting")
            _enqueue(pool, task, now)


def _forget_dependent(pools: Pools, dependency: str, task_id: str) -> None:
    waiting = pools.dependents.get(dependency)
    if waiting is None:
        return
    waiting.pop(task_id, None)
    if not waiting:
        del pools.dependents[dependency]
        if dependency in pools.unsettled:
            del pools.unsettled[dependency]
            _retire(pools, dependency)


def _settle(pools: Pools, task_id: str) -> None:
    if task_id in pools.dependents:
        pools.unsettled[task_id] = None
    else:
        _retire(pools, task_id)


def _retire(pools: Pools, task_id: str) -> None:
    """The last of its story: it is kept among the finished ones until enough others have finished."""
    pools.finished.append(task_id)
    if len(pools.finished) <= FINISHED_KEPT:
        return
    oldest = pools.tasks.pop(pools.finished.popleft())
    pools.pools[oldest.pool].counts[oldest.state] -= 1
    pools.forgotten += 1
    if 2 * pools.forgotten > len(pools.arrivals):
        pools.arrivals = [task for task in pools.arrivals if pools.tasks.get(task.task_id) is task]
        pools.forgotten = 0
