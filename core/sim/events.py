"""What happened to single runs of the field. Every number a run was begun with stands in its record: defaults may change later."""

from typing import Annotated

from msgspec import Meta

from core.engine import Event
from core.fields import Code, Name, privacy
from core.sim.chunk import Chunk, LaneOutcome

Detail = Annotated[str, Meta(max_length=500), privacy("open")]


class RunStarted(Event, type="sim.started"):
    """A run of the field began.

    job_uuid: its id, which every file of it carries
    chunk: all that it is computed from
    """

    job_uuid: Name
    chunk: Chunk


class RunFinished(Event, type="sim.finished"):
    """A run of the field came to its end; a field that diverged has an outcome too.

    job_uuid: which
    outcome: what it came to
    """

    job_uuid: Name
    outcome: LaneOutcome


class RunFailed(Event, type="sim.failed"):
    """A run of the field ended without an outcome.

    job_uuid: which
    code: cancelled, or what went wrong
    detail: one line about it, and what to do
    """

    job_uuid: Name
    code: Code
    detail: Detail = ""
