"""What the resource engine tells: pages of tasks, the pools, one line for a screen, and what is wrong. Looks only."""

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from core.engine import Check, Command, Context, Health, Nothing, Refused, Result
from core.fields import Code, Count, Cursor, Label, Limit, Name, Object, Time
from core.paging import Room
from core.resource.events import JobRequest, PoolName, Priority
from core.resource.pools import PRIORITIES, WAITING_MAX, Pool, Pools
from core.resource.queue import Task, TaskState
from core.times import time_text

LIMIT_DEFAULT = 1_000
LOOKED_AT_MAX = 20_000
"""Tasks one page may pass over while it looks for a rare state: the loop must not be held for long."""
PARKED_ALARM_US = 3_600_000_000
"""A task parked within the last hour is news; an older one is history, and `tasks` still shows it."""
NEARLY_FULL = 0.8


class ListTasks(Command):
    """Which tasks to list, the newest first.

    state: only those in this state
    pool: only those of this pool
    limit: how many at most, 1,000 unless told
    after: `next` of the page before
    """

    state: TaskState | None = None
    pool: PoolName | None = None
    limit: Limit | None = None
    after: Cursor | None = None


class TaskRow(Result):
    """One task.

    task_id: its name
    state: waiting for units, blocked by other tasks, retrying after a failure, running, or how it ended
    priority: as submitted
    resource_type: its pool
    units: units it takes
    caller: who submitted it
    submitted_at: when it was accepted
    started_at: when its latest attempt started
    finished_at: when it ended
    duration_s: how long it holds its units
    deadline_at: when it is given up
    retry_at: when the next attempt is queued
    attempt: attempts so far
    depends_on: tasks that must be done first
    job: what it runs
    result: what its job found
    reasons: why it failed or was cancelled, an entry for each attempt
    detail: one line about the last failure
    dependency: the task it waited for in vain
    """

    task_id: Name
    state: TaskState
    priority: Priority
    resource_type: PoolName
    units: Count
    caller: str
    submitted_at: Time
    started_at: Time | None = None
    finished_at: Time | None = None
    duration_s: Annotated[float, Meta(ge=0)] | None = None
    deadline_at: Time | None = None
    retry_at: Time | None = None
    attempt: Count = 0
    depends_on: list[Name] = []
    job: JobRequest | None = None
    result: Object | None = None
    reasons: list[Code] = []
    detail: Label = ""
    dependency: Name | None = None


class TaskPage(Result):
    """Tasks, the newest first.

    tasks: the page; it may hold fewer than asked for, even none, while there is a next one
    next: give it as `after` for the page that follows; absent on the last
    """

    tasks: list[TaskRow]
    next: Cursor | None = None


class PoolRow(Result):
    """One pool.

    name: which
    units: its size
    used: units held by running tasks
    utilisation: used out of units
    running: tasks that hold units
    waiting: tasks that wait for units
    waiting_units: units those ask for
    blocked: tasks that wait for other tasks
    retrying: tasks that wait after a failure
    floor: fewest units it may have
    ceiling: most units it may have
    """

    name: PoolName
    units: Count
    used: Count
    utilisation: Annotated[float, Meta(ge=0)]
    running: Count
    waiting: Count
    waiting_units: Count
    blocked: Count
    retrying: Count
    floor: Count
    ceiling: Count


class PoolTable(Result):
    """Every pool.

    pools: one row each
    """

    pools: list[PoolRow]


class PoolsStatus(Result):
    """The engine in one line; finished tasks as far as they are still in memory.

    pools: how many there are
    units: their size together
    used: units held
    waiting: tasks that wait for units
    running: tasks that hold units
    blocked: tasks that wait for other tasks
    retrying: tasks that wait after a failure
    done: tasks that ended as they should
    parked: tasks given up after their last attempt
    expired: tasks given up at their deadline
    cancelled: tasks stopped
    health: the worst of the pools
    """

    pools: Count
    units: Count
    used: Count
    waiting: Count
    running: Count
    blocked: Count
    retrying: Count
    done: Count
    parked: Count
    expired: Count
    cancelled: Count
    health: Health


class Trouble(Result):
    """Something wrong with a pool.

    code: stable word for it
    text: what is wrong, in a sentence
    remedy: what to do about it
    """

    code: Code
    text: str
    remedy: str


class PoolHealth(Result):
    """The health of one pool.

    name: which
    health: ok, degraded or failed
    reasons: what is wrong
    """

    name: PoolName
    health: Health
    reasons: list[Trouble] = []


class PoolsHealth(Result):
    """The health of the pools.

    health: the worst of them
    pools: each of them
    """

    health: Health
    pools: list[PoolHealth]


def tasks(pools: Pools, params: ListTasks, ctx: Context) -> TaskPage:
    limit = params.limit or LIMIT_DEFAULT
    found: list[TaskRow] = []
    room = Room()
    looked_at = 0
    last = 0
    for task in _candidates(pools, params):
        if len(found) == limit or looked_at == LOOKED_AT_MAX:
            return TaskPage(found, str(last))
        if (params.state is None or task.state == params.state) and (params.pool is None or task.pool == params.pool):
            row = _row(pools, task, ctx)
            if not room.take(row):
                return TaskPage(found, str(last))
            found.append(row)
        looked_at += 1
        last = task.order
    return TaskPage(found)


def pool_table(pools: Pools, params: Nothing, ctx: Context) -> PoolTable:
    return PoolTable([_pool_row(pool, ctx) for pool in pools.pools.values()])


def status(pools: Pools, params: Nothing, ctx: Context) -> PoolsStatus:
    def count(state: TaskState) -> int:
        return sum(pool.counts[state] for pool in pools.pools.values())

    return PoolsStatus(
        pools=len(pools.pools),
        units=sum(pool.size for pool in pools.pools.values()),
        used=sum(pool.used for pool in pools.pools.values()),
        waiting=count("waiting"),
        running=count("running"),
        blocked=count("blocked"),
        retrying=count("retrying"),
        done=count("done"),
        parked=count("parked"),
        expired=count("expired"),
        cancelled=count("cancelled"),
        health=health(pools, params, ctx).health,
    )


def health(pools: Pools, params: Nothing, ctx: Context) -> PoolsHealth:
    found = [_pool_health(pools, pool, ctx) for pool in pools.pools.values()]
    return PoolsHealth(max((each.health for each in found), key=("ok", "degraded", "failed").index), found)


def checks(pools: Pools, ctx: Context) -> Iterator[Check]:
    """What the daemon's health says of the pools."""
    for pool in health(pools, Nothing(), ctx).pools:
        yield Check(f"pool {pool.name}", pool.health, " ".join(f"{trouble.text}: {trouble.remedy}" for trouble in pool.reasons))


def _candidates(pools: Pools, params: ListTasks) -> Iterator[Task]:
    before = None
    if params.after is not None:
        if not (params.after.isascii() and params.after.isdigit()):
            raise Refused(
                "invalid-argument",
                "`after` is the `next` of an earlier page. Leave it out to begin with the newest",
                fields=[("after", "not a cursor of this list")],
            )
        before = int(params.after)
    return pools.newest_first(before)


def _row(pools: Pools, task: Task, ctx: Context) -> TaskRow:
    now = pools.now(ctx)

    def wall(when: int) -> str:
        """A time of the engine's clock, as the wall clock will show it if nobody moves that."""
        return time_text(max(0, ctx.now_us + when - now))

    return TaskRow(
        task_id=task.task_id,
        state=task.state,
        priority=PRIORITIES[task.priority],
        resource_type=task.pool,
        units=task.units,
        caller=task.caller,
        submitted_at=time_text(task.submitted_us),
        started_at=time_text(task.started_us) if task.attempt else None,
        finished_at=time_text(task.finished_us) if task.finished_us else None,
        duration_s=task.duration_us / 1e6 if task.duration_us else None,
        deadline_at=None if task.deadline_at is None else wall(task.deadline_at),
        retry_at=wall(task.retry_at) if task.state == "retrying" else None,
        attempt=task.attempt,
        depends_on=list(task.depends_on),
        job=task.job,
        result=task.result,
        reasons=list(task.reasons),
        detail=task.detail,
        dependency=task.dependency or None,
    )


def _pool_row(pool: Pool, ctx: Context) -> PoolRow:
    bounds = ctx.settings.pools.bounds(pool.name)
    return PoolRow(
        name=pool.name,
        units=pool.size,
        used=pool.used,
        utilisation=round(pool.used / pool.size, 4),
        running=pool.counts["running"],
        waiting=pool.counts["waiting"],
        waiting_units=pool.queue.units,
        blocked=pool.counts["blocked"],
        retrying=pool.counts["retrying"],
        floor=bounds.floor,
        ceiling=bounds.ceiling,
    )


def _pool_health(pools: Pools, pool: Pool, ctx: Context) -> PoolHealth:
    found = list(_troubles(pools, pool, ctx))
    worst: Health = "failed" if any(trouble.code == "queue-full" for trouble in found) else "degraded" if found else "ok"
    return PoolHealth(pool.name, worst, found)


def _troubles(pools: Pools, pool: Pool, ctx: Context) -> Iterator[Trouble]:
    now, ceiling = pools.now(ctx), ctx.settings.pools.bounds(pool.name).ceiling
    raise_ceiling = f"raise pools.{pool.name}.ceiling in the configuration"
    if pools.waiting >= WAITING_MAX:
        text = f"{pools.waiting:,} tasks wait, the most there may be; no more are taken"
        yield Trouble("queue-full", text, f"cancel some, or {raise_ceiling}")
    elif pools.waiting >= NEARLY_FULL * WAITING_MAX:
        yield Trouble(
            "queue-nearly-full", f"{pools.waiting:,} of at most {WAITING_MAX:,} tasks wait", f"submit less, or {raise_ceiling}"
        )
    held_us = round(ctx.settings.pools.scale_hold_s * 1e6)
    since = pool.busy.since_above(1.0)
    if since is not None and now - since >= held_us and pool.size >= ceiling:
        waiting = pool.queue.tasks
        yield Trouble(
            "at-ceiling", f"{waiting:,} waiting, and the pool has all {pool.size} units it may have", f"wait, or {raise_ceiling}"
        )
    if pool.parked_at is not None and now - pool.parked_at < PARKED_ALARM_US and pool.counts["parked"]:
        text = f"{pool.counts['parked']:,} parked after their last attempt"
        yield Trouble("parked", text, "see why: irerctl engine tasks --state parked")
    if pool.used > pool.size:
        text = f"{pool.used} units in use, {pool.size} left after scaling down; nothing starts until enough of them are free"
        yield Trouble("over-committed", text, f"wait, or: irerctl engine scale {pool.name} {min(pool.used, ceiling)}")
