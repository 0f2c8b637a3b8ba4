"""What the resource engine may be asked: by callers, and by itself once something is due.

A command judges and changes nothing. Those the engine gives itself may come twice or too early, and then lead to nothing. None
leads to more than `EVENTS_MAX` events: what is left is wanted again at once.
"""

from difflib import get_close_matches
from itertools import islice
from typing import Annotated

from msgspec import Meta

from core import jobs
from core.agenda import Agenda
from core.canonical import CanonicalError, encode
from core.engine import NOTHING, Command, Context, Decision, Event, JobEnded, Nothing, Refused
from core.fields import Name, Seconds
from core.resource.events import (
    Dependencies,
    DependentsReleased,
    JobRequest,
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
    Units,
)
from core.resource.pools import FINISHED, POOLS, PRIORITIES, WAITING_MAX, Pool, Pools
from core.resource.queue import LineKey, Task
from core.resource.scaling import planned
from core.settings import Retry as Backoff

EVENTS_MAX = 256
RESULT_BYTES_MAX = 4_096
"""What a job may find: a digest and some counts. It stays in memory as long as its task does; more belongs in a file."""
NEAREST_AMONG = 256
"""Tasks, the newest first, among which a mistyped name is looked for."""
BUSY_RETRY_MS = 1_000


class SubmitTask(Command):
    """Asks for units of a pool, for a time or for a named job.

    task_id: its name; without one irer makes one up
    priority: critical, high, normal or low; whatever waits long enough rises
    resource_type: the pool it takes units from
    units: how many units it takes
    duration_s: how long it holds them; without this and without a job it ends as soon as it starts
    deadline_s: given up when it is not done this long after submission
    depends_on: tasks that must be done before it starts; they must exist
    job: a named job to run while it holds the units; its end is the task's end
    """

    task_id: Name | None = None
    priority: Priority = "normal"
    resource_type: PoolName = "compute"
    units: Units = 1
    duration_s: Seconds | None = None
    deadline_s: Seconds | None = None
    depends_on: Dependencies | None = None
    job: JobRequest | None = None


class CancelTask(Command):
    """Stops a task, or takes it out of the queue.

    task_id: which
    """

    task_id: Name


class Scale(Command):
    """Changes the size of a pool by hand. Autoscaling goes on from there after its cooldown.

    pool: which
    size: units it is to have, within its floor and ceiling; below what is in use nothing stops, but nothing starts either
    """

    pool: PoolName
    size: Annotated[int, Meta(ge=0, le=1_000_000)]


class Dispatch(Command):
    """Start what fits.

    pool: where
    """

    pool: PoolName


class Age(Command):
    """Lift what has waited long enough.

    pool: where
    """

    pool: PoolName


class Autoscale(Command):
    """Change the size as planned.

    pool: which
    """

    pool: PoolName


class EndTasks(Nothing):
    """End the tasks whose time is over."""


class ExpireTasks(Nothing):
    """Give up the tasks whose deadline has passed."""


class RetryTasks(Nothing):
    """Queue the failed tasks whose wait is over."""


class SettleDependents(Nothing):
    """Tell the tasks that waited for a finished one."""


class Resume(Nothing):
    """The daemon is back."""


def decide_submit(pools: Pools, command: SubmitTask, ctx: Context) -> Decision:
    ceiling = ctx.settings.pools.bounds(command.resource_type).ceiling
    if command.units > ceiling:
        raise _outside(command.resource_type, command.units, 1, ceiling)
    if pools.waiting >= WAITING_MAX:
        raise Refused(
            "resource-exhausted",
            f"{WAITING_MAX:,} tasks wait already. Try again later, cancel some, or raise the ceilings of the pools",
            reason="queue-full",
            retry_ms=BUSY_RETRY_MS,
        )
    task_id = command.task_id or ctx.new_id()
    known = pools.tasks.get(task_id)
    if known is not None:
        raise Refused("already-exists", f"task {task_id} exists already ({known.state}). Choose another task_id, or leave it out")
    if command.job is not None:
        _check_job(command, command.job, ctx)
    if command.depends_on:
        _check_dependencies(pools, command.depends_on)
    return Decision(
        TaskSubmitted(
            task_id,
            command.priority,
            command.resource_type,
            command.units,
            command.duration_s,
            command.deadline_s,
            command.depends_on or None,
            command.job,
        )
    )


def decide_cancel(pools: Pools, command: CancelTask, ctx: Context) -> Decision:
    task = pools.tasks.get(command.task_id)
    if task is None:
        raise unknown_task(pools, command.task_id)
    if task.state in FINISHED:
        raise Refused(
            "failed-precondition", f"task {task.task_id} is {task.state} already; there is nothing to cancel", reason=task.state
        )
    return Decision(TaskCancelled(task.task_id, "request"))


def decide_scale(pools: Pools, command: Scale, ctx: Context) -> Decision:
    pool = pools.pools[command.pool]
    bounds = ctx.settings.pools.bounds(pool.name)
    if not bounds.floor <= command.size <= bounds.ceiling:
        raise _outside(pool.name, command.size, bounds.floor, bounds.ceiling)
    if command.size == pool.size:
        return NOTHING
    return Decision(PoolScaled(command.pool, pool.size, command.size, "request"))


def decide_dispatch(pools: Pools, command: Dispatch, ctx: Context) -> Decision:
    """Starts the chosen tasks in order until one does not fit. What takes no time ends in the same breath."""
    pool, now = pools.pools[command.pool], pools.now(ctx)
    ceiling = ctx.settings.pools.bounds(pool.name).ceiling
    draft, free = pool.queue.draft(), pool.free
    events: list[Event] = []
    while len(events) < EVENTS_MAX - 1 and (task := draft.head()) is not None:
        refused = _not_startable(task, ceiling, now)
        if refused is None and task.units > free:
            break
        draft.remove(task, now, served=refused is None)
        if refused is not None:
            events.append(refused)
            continue
        events.append(TaskStarted(task.task_id, command.pool, task.units))
        if task.job is None and not task.duration_us:
            events.append(TaskDone(task.task_id))
        else:
            free -= task.units
    return Decision(*events)


def can_dispatch(pool: Pool, ceiling: int) -> bool:
    """Whether dispatching would do something now."""
    head = pool.queue.head()
    return head is not None and (head.units <= pool.free or head.units > ceiling)


def decide_age(pools: Pools, command: Age, ctx: Context) -> Decision:
    queue, now = pools.pools[command.pool].queue, pools.now(ctx)

    def aged(key: LineKey) -> QueueAged:
        caller, priority = key
        return QueueAged(command.pool, caller, PRIORITIES[priority], PRIORITIES[queue.lines[key].level_at(now)])

    return Decision(*map(aged, queue.aging.due(now, EVENTS_MAX)))


def decide_autoscale(pools: Pools, command: Autoscale, ctx: Context) -> Decision:
    pool, now = pools.pools[command.pool], pools.now(ctx)
    plan = planned(pool, ctx.settings.pools)
    if plan is None or plan.at > now or (plan.reason != "configuration" and _is_behind(pools.ends, now)):
        return NOTHING
    return Decision(PoolScaled(command.pool, pool.size, plan.size, plan.reason))


def decide_end(pools: Pools, command: EndTasks, ctx: Context) -> Decision:
    return Decision(*map(TaskDone, pools.ends.due(pools.now(ctx), EVENTS_MAX)))


def decide_expire(pools: Pools, command: ExpireTasks, ctx: Context) -> Decision:
    return Decision(*map(TaskExpired, pools.deadlines.due(pools.now(ctx), EVENTS_MAX)))


def decide_retry(pools: Pools, command: RetryTasks, ctx: Context) -> Decision:
    return Decision(*map(TaskRequeued, pools.retries.due(pools.now(ctx), EVENTS_MAX)))


def decide_settle(pools: Pools, command: SettleDependents, ctx: Context) -> Decision:
    """Dependents of a done task are released, those of any other are cancelled; a round touches at most so many tasks."""
    events: list[Event] = []
    gone: set[str] = set()
    room = EVENTS_MAX
    for finished in pools.unsettled:
        if not room:
            break
        if pools.tasks[finished].state == "done":
            count = min(room, len(pools.dependents[finished]))
            events.append(DependentsReleased(finished, count))
            room -= count
            continue
        for task_id in islice(pools.dependents[finished], room + len(gone)):
            if room and task_id not in gone:
                gone.add(task_id)
                room -= 1
                events.append(TaskCancelled(task_id, "dependency-failed", finished))
    return Decision(*events)


def decide_job_ended(pools: Pools, command: JobEnded, ctx: Context) -> Decision:
    task = pools.effects.get(command.effect)
    if task is None:
        return NOTHING
    if command.ok and _fits(command.result):
        return Decision(TaskDone(task.task_id, command.result or None))
    code = "bad-output" if command.ok else command.code
    detail = _printable(command.detail)
    backoff = ctx.settings.retry
    if task.attempt >= backoff.attempts:
        return Decision(TaskParked(task.task_id, [*task.reasons, code], detail))
    wait_ms = round(ctx.random.random() * longest_wait_s(backoff, task.attempt) * 1000)
    return Decision(TaskFailed(task.task_id, task.attempt, code, wait_ms, detail))


def decide_resume(pools: Pools, command: Resume, ctx: Context) -> Decision:
    events: list[Event] = [] if ctx.boot_id == pools.clock.boot else [Resumed()]
    for name in POOLS:
        pool = pools.pools[name]
        plan = planned(pool, ctx.settings.pools)
        if plan is not None and plan.reason == "configuration":
            events.append(PoolScaled(name, pool.size, plan.size, plan.reason))
    return Decision(*events)


def longest_wait_s(backoff: Backoff, attempt: int) -> float:
    """The bound that full jitter draws below: it doubles with each attempt."""
    return min(backoff.cap_s, backoff.base_s * 2.0 ** min(attempt - 1, 64))


def unknown_task(pools: Pools, task_id: str) -> Refused:
    newest = [task.task_id for task in islice(pools.newest_first(), NEAREST_AMONG)]
    close = get_close_matches(task_id, newest, n=3)
    meant = f"Did you mean {close[0]}? " if close else ""
    return Refused("not-found", f"no task is named {task_id}. {meant}All: irerctl engine tasks", data={"nearest": close})


def _outside(pool: str, asked: int, low: int, high: int) -> Refused:
    remedy = f"Ask for less, or raise pools.{pool}.ceiling" if asked > high else f"Ask for more, or lower pools.{pool}.floor"
    return Refused("out-of-range", f"{pool}: {asked} is outside {low}..{high}. {remedy} in the configuration")


def _check_job(command: SubmitTask, job: JobRequest, ctx: Context) -> None:
    if command.duration_s is not None:
        raise Refused(
            "invalid-argument",
            "a task has a duration_s or a job, not both: a job ends when its work does. Leave duration_s out; deadline_s bounds it",
            fields=[("duration_s", "not together with job")],
        )
    jobs.validate(job.name, job.params, ctx.settings)


def _check_dependencies(pools: Pools, names: list[str]) -> None:
    for place, name in enumerate(names):
        found = pools.tasks.get(name)
        if found is None:
            refused = unknown_task(pools, name)
            refused.fields = ((f"depends_on[{place}]", "no such task"),)
            raise refused
        if found.state in FINISHED and found.state != "done":
            raise Refused(
                "failed-precondition",
                f"task {name} is {found.state}, so what depends on it would never start. Submit it anew under another name",
                reason="dependency-failed",
                fields=[(f"depends_on[{place}]", found.state)],
            )


def _not_startable(task: Task, ceiling: int, now: int) -> Event | None:
    """Why the chosen task will never start. The ceiling may have been lowered since it was accepted."""
    if task.deadline_at is not None and task.deadline_at <= now:
        return TaskExpired(task.task_id)
    if task.units > ceiling:
        return TaskParked(task.task_id, [*task.reasons, "over-ceiling"])
    return None


def _is_behind(ends: Agenda[str], now: int) -> bool:
    """Whether tasks are over that still count: after a pause their end comes first, else the load would look higher than it is."""
    first = ends.first()
    return first is not None and first[0] <= now


def _fits(result: dict[str, object]) -> bool:
    try:
        return len(encode(result)) <= RESULT_BYTES_MAX
    except CanonicalError:
        return False


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text[:200])
