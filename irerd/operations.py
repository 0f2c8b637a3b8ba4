"""Jobs that callers began, whichever engine they belong to: found by id, followed, ended. What a job is, its engine says.

How far a job is stands in no log: only the latest is known, as long as it runs.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import msgspec
import trio

from core.engine import Actor, CancelJob, Engine, JobStatus, Refused
from irerd.dispatch import Answer, Dispatch


class Operations:
    def __init__(self, dispatch: Dispatch, progress: Mapping[str, Mapping[str, Any]]) -> None:
        """`progress` tells, by the id of an effect, how far that is."""
        self._dispatch = dispatch
        self._progress = progress
        self._changed = trio.Event()

    def stir(self) -> None:
        """Something may have changed."""
        self._changed.set()
        self._changed = trio.Event()

    async def wait_changed(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self._changed.wait()

    def _all(self) -> Iterator[tuple[Engine, JobStatus]]:
        world = self._dispatch.world
        for engine in world.engines.values():
            if engine.jobs is not None:
                for job in engine.jobs(world.states[engine.name]):
                    yield engine, job

    def named(self, id: str) -> JobStatus | None:
        return next((self._seen(engine, job) for engine, job in self._all() if job.job == id), None)

    def begun_by(self, log: str, first_seq: int, last_seq: int) -> JobStatus | None:
        """The job that these records of one command began."""
        return next(
            (self._seen(engine, job) for engine, job in self._all() if engine.log == log and first_seq <= job.seq <= last_seq), None
        )

    def _seen(self, engine: Engine, job: JobStatus) -> JobStatus:
        progress = self._progress.get(f"{engine.log}:{job.seq}:0") if job.state == "running" else None
        return msgspec.structs.replace(job, progress=dict(progress)) if progress else job

    def unknown(self, id: str) -> Refused:
        text = f"no job {id} is known: it was never begun, or it ended long ago. Its end is in the log: irerctl watch --help"
        return Refused("not-found", text, reason="job")

    async def cancel(self, id: str, actor: Actor) -> JobStatus:
        """End it on behalf of this caller; answer once that is durable. One that has ended stays as it is."""
        engine = next((engine for engine, job in self._all() if job.job == id), None)
        if engine is None:
            raise self.unknown(id)
        row = self._dispatch.world.rows.get(f"{engine.name}.cancel_job")
        if row is None:
            raise Refused("failed-precondition", f"job {id} cannot be ended from here", reason="job")
        answers: list[Answer] = []
        answered = trio.Event()
        self._dispatch.write(row, CancelJob(id), actor, partial(_tell, answers, answered))
        await answered.wait()
        if answers[0].error is not None:
            raise answers[0].error
        await self._dispatch.settled()
        job = self.named(id)
        if job is None:
            raise self.unknown(id)
        return job


def _tell(answers: list[Answer], answered: trio.Event, answer: Answer) -> None:
    answers.append(answer)
    answered.set()
