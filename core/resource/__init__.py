"""The resource engine: tasks that hold units of four pools, or run a named job while they do. It runs itself.

It never waits and never starts anything: what should now be done is in `wanted`, what came of it is a command.
"""

from collections.abc import Iterator, Mapping

from core.agenda import Agenda
from core.engine import Apply, Context, Effect, Engine, Event, Job, JobEnded, Nothing, Timer, internal, read, write
from core.resource import commands, events, reads, snapshot
from core.resource.pools import APPLY, Pools
from core.resource.queue import Task
from core.resource.scaling import planned

AT_ONCE = 0
"""A due time that is always past."""


def wanted(pools: Pools, ctx: Context) -> Iterator[Effect]:
    """The next time of each kind at which something is to be done, and the jobs that run. Never more than that."""
    if pools.unsettled:
        yield Timer("settle", AT_ONCE, commands.SettleDependents())
    agendas: tuple[tuple[str, Agenda[str], Nothing], ...] = (
        ("ends", pools.ends, commands.EndTasks()),
        ("deadlines", pools.deadlines, commands.ExpireTasks()),
        ("retries", pools.retries, commands.RetryTasks()),
    )
    for id, agenda, command in agendas:
        if (first := agenda.first()) is not None:
            yield Timer(id, pools.clock.mono_us(first[0], ctx), command)
    for pool in pools.pools.values():
        name = pool.name
        if commands.can_dispatch(pool, ctx.settings.pools.bounds(name).ceiling):
            yield Timer(f"dispatch:{name}", AT_ONCE, commands.Dispatch(name))
        if (line := pool.queue.aging.first()) is not None:
            yield Timer(f"age:{name}", pools.clock.mono_us(line[0], ctx), commands.Age(name))
        if (plan := planned(pool, ctx.settings.pools)) is not None:
            yield Timer(f"scale:{name}", pools.clock.mono_us(plan.at, ctx), commands.Autoscale(name))
    for effect, task in pools.effects.items():
        assert task.job is not None
        yield Job(effect, task.job.name, task.job.params, _time_left_s(task))


def _time_left_s(task: Task) -> float | None:
    """From the start of the attempt to the task's deadline; without one the configuration's limit holds."""
    return None if task.deadline_at is None else max(0.001, (task.deadline_at - task.started_at) / 1e6)


def _applies(*kinds: type[Event]) -> Mapping[type[Event], Apply]:
    return {kind: APPLY[kind] for kind in kinds}


ENGINE = Engine(
    "resource",
    log="engine_state",
    state=Pools,
    wanted=wanted,
    checks=reads.checks,
    dump=snapshot.dump,
    load=snapshot.load,
    rows=[
        write(
            "submit_task",
            commands.SubmitTask,
            commands.decide_submit,
            apply=_applies(events.TaskSubmitted),
            help="Ask for units of a pool, for a time or for a named job",
            example={"task_id": "t-1", "priority": "high", "resource_type": "compute", "units": 4, "duration_s": 2.5},
            cli="engine submit [TASK_ID]",
        ),
        write(
            "cancel_task",
            commands.CancelTask,
            commands.decide_cancel,
            apply=_applies(events.TaskCancelled),
            help="Stop a task, or take it out of the queue",
            example={"task_id": "t-1"},
            cli="engine cancel TASK_ID",
        ),
        read(
            "tasks", reads.ListTasks, reads.tasks, help="Tasks, the newest first", example={"state": "parked"}, cli="engine tasks"
        ),
        read("pools", Nothing, reads.pool_table, help="Pools: size, used, waiting", example={}, cli="engine pools"),
        write(
            "scale",
            commands.Scale,
            commands.decide_scale,
            apply=_applies(events.PoolScaled),
            help="Change a pool's size within its floor and ceiling",
            example={"pool": "compute", "size": 8},
            cli="engine scale POOL SIZE",
        ),
        read("status", Nothing, reads.status, help="Pools and tasks in one line", example={}, cli="engine"),
        read(
            "health",
            Nothing,
            reads.health,
            help="Each pool: ok, degraded or failed, why, and what to do",
            example={},
            cli="engine health",
        ),
        internal(
            "dispatch",
            commands.Dispatch,
            commands.decide_dispatch,
            apply=_applies(events.TaskStarted, events.TaskDone, events.TaskExpired, events.TaskParked),
        ),
        internal("end_tasks", commands.EndTasks, commands.decide_end, apply=_applies(events.TaskDone)),
        internal("expire_tasks", commands.ExpireTasks, commands.decide_expire, apply=_applies(events.TaskExpired)),
        internal("retry_tasks", commands.RetryTasks, commands.decide_retry, apply=_applies(events.TaskRequeued)),
        internal(
            "settle_dependents",
            commands.SettleDependents,
            commands.decide_settle,
            apply=_applies(events.TaskCancelled, events.DependentsReleased),
        ),
        internal(
            "job_ended",
            JobEnded,
            commands.decide_job_ended,
            apply=_applies(events.TaskDone, events.TaskFailed, events.TaskParked),
        ),
        internal("age", commands.Age, commands.decide_age, apply=_applies(events.QueueAged)),
        internal("autoscale", commands.Autoscale, commands.decide_autoscale, apply=_applies(events.PoolScaled)),
        internal("resume", commands.Resume, commands.decide_resume, apply=_applies(events.Resumed, events.PoolScaled)),
    ],
)
