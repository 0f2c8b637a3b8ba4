"""The pools as they stand in a snapshot: what cannot be worked out from the rest, in an order that only the log decides.

Counts, sums, heaps and the index of arrivals are made anew by `load`. A dump shares its tasks with the pools it was made from, so
it is encoded before anything else happens.
"""

from collections import Counter, OrderedDict, deque
from operator import attrgetter
from types import NoneType
from typing import Any

import msgspec

from core.agenda import Agenda, AgendaDump, Steady, dump_agenda, load_agenda
from core.canonical import decode, encode
from core.clock import ClockDump, dump_clock, load_clock
from core.fields import Frozen
from core.resource.pools import POOLS, Pool, Pools
from core.resource.queue import LEVELS, Level, Line, Queue, Task

Steps = list[tuple[float, int]]
Place = tuple[int, int]
"""A rank, and the number that keeps equal ranks in order."""


class Dump(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    pass


class LevelDump(Dump):
    clock: int
    turns: AgendaDump
    unpaid: AgendaDump


class LineDump(Dump):
    caller: str
    priority: int
    level: int
    rises: Place | None
    """When it is to stand one level higher."""
    tasks: list[str]


class QueueDump(Dump):
    lines: list[LineDump]
    levels: list[LevelDump]
    aging_count: int


class PoolDump(Dump):
    size: int
    load: int
    busy: Steps
    idle: Steps
    scaled_at: int | None
    parked_at: int | None
    queue: QueueDump


class PoolsDump(Dump):
    clock: ClockDump
    pools: dict[str, PoolDump]
    tasks: list[Task]
    """In order of submission."""
    jobs: list[str]
    """Tasks whose job runs, in the order in which they started."""
    finished: list[str]
    ends: AgendaDump
    deadlines: AgendaDump
    retries: AgendaDump
    dependents: list[tuple[str, list[str]]]
    unsettled: list[str]


def dump(pools: Pools) -> PoolsDump:
    return PoolsDump(
        clock=dump_clock(pools.clock),
        pools={name: _dump_pool(pool) for name, pool in pools.pools.items()},
        tasks=[_as_replayed(task) if task.job or task.result else task for task in pools.tasks.values()],
        jobs=[task.task_id for task in pools.effects.values()],
        finished=list(pools.finished),
        ends=dump_agenda(pools.ends),
        deadlines=dump_agenda(pools.deadlines),
        retries=dump_agenda(pools.retries),
        dependents=[(name, list(waiting)) for name, waiting in sorted(pools.dependents.items())],
        unsettled=list(pools.unsettled),
    )


def load(dumped: PoolsDump) -> Pools:
    """Raises LookupError or ValueError where the parts do not fit each other."""
    if dumped.pools.keys() != set(POOLS):
        raise ValueError("other pools")
    pools = Pools()
    pools.clock = load_clock(dumped.clock)
    pools.tasks = {task.task_id: task for task in dumped.tasks}
    pools.arrivals = dumped.tasks
    for name, pool in pools.pools.items():
        _load_pool(pool, dumped.pools[name], pools.tasks)
    _count(pools)
    pools.effects = {task.effect: task for task in map(pools.tasks.__getitem__, dumped.jobs)}
    pools.finished = deque(dumped.finished)
    pools.ends = load_agenda(dumped.ends)
    pools.deadlines = load_agenda(dumped.deadlines)
    pools.retries = load_agenda(dumped.retries)
    pools.dependents = {name: OrderedDict.fromkeys(waiting) for name, waiting in dumped.dependents}
    pools.unsettled = OrderedDict.fromkeys(dumped.unsettled)
    return pools


def _count(pools: Pools) -> None:
    """What the tasks add up to."""
    for (name, state), count in Counter(map(attrgetter("pool", "state"), pools.arrivals)).items():
        pools.pools[name].counts[state] = count
    for task in pools.arrivals:
        if task.state == "running":
            pools.pools[task.pool].used += task.units
    pools.waiting = sum(pool.counts[state] for pool in pools.pools.values() for state in ("waiting", "blocked", "retrying"))


def _dump_pool(pool: Pool) -> PoolDump:
    queue = pool.queue
    return PoolDump(
        size=pool.size,
        load=pool.load,
        busy=pool.busy.steps,
        idle=pool.idle.steps,
        scaled_at=pool.scaled_at,
        parked_at=pool.parked_at,
        queue=QueueDump(
            lines=[_dump_line(queue, line) for _, line in sorted(queue.lines.items())],
            levels=[LevelDump(level.clock, dump_agenda(level.turns), dump_agenda(level.unpaid)) for level in queue.levels],
            aging_count=queue.aging.count,
        ),
    )


def _dump_line(queue: Queue, line: Line) -> LineDump:
    entry = queue.aging.entries.get(line.key)
    return LineDump(line.caller, line.priority, line.level, entry and entry[:2], list(line.tasks))


def _load_pool(pool: Pool, dumped: PoolDump, tasks: dict[str, Task]) -> None:
    pool.size, pool.load = dumped.size, dumped.load
    pool.busy, pool.idle = _load_steady(dumped.busy), _load_steady(dumped.idle)
    pool.scaled_at, pool.parked_at = dumped.scaled_at, dumped.parked_at
    queue = pool.queue
    for number, level in zip(range(LEVELS), dumped.queue.levels, strict=True):
        queue.levels[number] = _load_level(level)
    for each in dumped.queue.lines:
        line = Line(each.caller, each.priority)
        line.level = each.level
        line.tasks = OrderedDict((task.task_id, task) for task in map(tasks.__getitem__, each.tasks))
        queue.lines[line.key] = line
        queue.tasks += len(line.tasks)
        queue.units += sum(task.units for task in line.tasks.values())
    rising = [(*each.rises, (each.caller, each.priority)) for each in dumped.queue.lines if each.rises is not None]
    queue.aging = Agenda.of(rising, dumped.queue.aging_count)


def _load_level(dumped: LevelDump) -> Level:
    level = Level()
    level.clock, level.turns, level.unpaid = dumped.clock, load_agenda(dumped.turns), load_agenda(dumped.unpaid)
    return level


def _load_steady(steps: Steps) -> Steady:
    steady = Steady()
    steady.steps = steps
    return steady


_ALIKE = (str, int, bool, NoneType)
"""Values that come back from the log as the very same."""


def _as_replayed(task: Task) -> Task:
    """The task as the log gives it back: there 5.0 is 5, and members have one order."""
    job, result = task.job, task.result
    if job is not None and not _is_alike(job.params):
        job = msgspec.structs.replace(job, params=decode(encode(job.params)))
    if result is not None and not _is_alike(result):
        result = decode(encode(result))
    return task if job is task.job and result is task.result else msgspec.structs.replace(task, job=job, result=result)


def _is_alike(members: dict[str, Any]) -> bool:
    return all(type(value) in _ALIKE for value in members.values())
