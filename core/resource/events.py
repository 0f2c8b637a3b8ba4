"""What can happen to a task or a pool, as it stands in `engine_state.jsonl` for ever.

A field is never given another meaning: that would be a new event type. Facts only; nothing here can be worked out later.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from core.engine import Event
from core.fields import Code, Count, Label, Name, Object, Seconds, privacy

PoolName = Literal["compute", "storage", "network", "database"]
Priority = Literal["critical", "high", "normal", "low"]
Units = Annotated[int, Meta(ge=1, le=1_000_000)]
Caller = Annotated[str, Meta(min_length=1, max_length=64), privacy("public")]
CancelReason = Literal["request", "dependency-failed"]
ScaleReason = Literal["request", "utilisation", "pressure", "configuration"]

DEPENDS_MAX = 64
"""Tasks one task may wait for. A join of more is a tree of joins."""

REASONS_MAX = 101
"""As many attempts as the configuration allows, and one word about the end."""

Dependencies = Annotated[list[Name], Meta(max_length=DEPENDS_MAX)]


class JobRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A named job of the registry; never a shell command.

    name: which job
    params: its parameters, as the registry describes them
    """

    name: Code
    params: Object = {}


class TaskSubmitted(Event, type="task.submitted"):
    """A task was accepted.

    task_id: its name
    priority: its level before it has waited
    resource_type: the pool it takes units from
    units: how many it takes
    duration_s: how long it holds them
    deadline_s: how long after this it is given up
    depends_on: tasks that must be done first
    job: what it runs
    """

    task_id: Name
    priority: Priority
    resource_type: PoolName
    units: Units
    duration_s: Seconds | None = None
    deadline_s: Seconds | None = None
    depends_on: Dependencies | None = None
    job: JobRequest | None = None


class TaskStarted(Event, type="task.started"):
    """A task took its units.

    task_id: which
    pool: where
    units: how many
    """

    task_id: Name
    pool: PoolName
    units: Units


class TaskDone(Event, type="task.done"):
    """A task ended as it should; its units are free.

    task_id: which
    result: what its job found
    """

    task_id: Name
    result: Object | None = None


class TaskFailed(Event, type="task.failed"):
    """An attempt failed; another one follows.

    task_id: which
    attempt: the attempt that failed, from 1
    code: how it failed
    retry_in_ms: the wait before the next attempt, as drawn
    detail: one line about it
    """

    task_id: Name
    attempt: Count
    code: Code
    retry_in_ms: Count
    detail: Label = ""


class TaskRequeued(Event, type="task.requeued"):
    """The wait after a failure is over; the task waits for units again.

    task_id: which
    """

    task_id: Name


class TaskParked(Event, type="task.parked"):
    """A task is given up.

    task_id: which
    reasons: the code of each failed attempt in order, or `over-ceiling` when the pool can no longer be made large enough
    detail: one line about the last one
    """

    task_id: Name
    reasons: Annotated[list[Code], Meta(max_length=REASONS_MAX)]
    detail: Label = ""


class TaskCancelled(Event, type="task.cancelled"):
    """A task will not run, or was stopped.

    task_id: which
    reason: who wanted it
    dependency: the task it waited for in vain
    """

    task_id: Name
    reason: CancelReason
    dependency: Name | None = None


class TaskExpired(Event, type="task.expired"):
    """A task's deadline passed before it was done.

    task_id: which
    """

    task_id: Name


class DependentsReleased(Event, type="task.released"):
    """More of the tasks that waited for a done one need not wait for it any longer; the first few go with `task.done`.

    task_id: the task that is done
    count: how many of those still waiting for it, oldest first
    """

    task_id: Name
    count: Count


class QueueAged(Event, type="pool.aged"):
    """A caller's oldest task of one priority has waited long enough to stand on a higher level.

    pool: where it waits
    caller: whose tasks
    priority: the priority they were submitted with
    level: the level they stand on now
    """

    pool: PoolName
    caller: Caller
    priority: Priority
    level: Priority


class PoolScaled(Event, type="pool.scaled"):
    """A pool changed its size.

    pool: which
    from_units: size before
    to_units: size after
    reason: why
    """

    pool: PoolName
    from_units: Count
    to_units: Count
    reason: ScaleReason


class Resumed(Event, type="pool.resumed"):
    """The engine runs on another boot of the machine; its envelope ties the new boot's clock to the times known so far."""
