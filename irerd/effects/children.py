"""Named jobs, each in a child process that deadline and cancel kill. What a child says is untrusted until it is checked."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import trio

from core.canonical import CanonicalError, encode
from core.engine import Job, JobEnded
from core.settings import Jobs
from irerd.host import Host

RESULT_BYTES_MAX = 16_384


class Outcome(msgspec.Struct, forbid_unknown_fields=True):
    """The one line of JSON that a child prints last."""

    ok: bool
    code: str
    result: dict[str, Any] = {}


class Children:
    def __init__(self, host: Host, settings: Callable[[], Jobs], state_dir: Path, durable: Callable[[], dict[str, int]]) -> None:
        self._host = host
        self._settings = settings
        self._state_dir = state_dir
        self._durable = durable
        self._turns = trio.CapacityLimiter(1)

    async def run(self, job: Job) -> JobEnded:
        """One job, once fewer than the configured number run."""
        self.resize()
        async with self._turns:
            return await self._run(job)

    def resize(self) -> None:
        """A reload may have changed how many children may run at once."""
        self._turns.total_tokens = self._settings().parallel

    async def _run(self, job: Job) -> JobEnded:
        settings = self._settings()
        request = {
            "name": job.name,
            "params": job.params,
            "memory_bytes": settings.memory_bytes,
            "roots": settings.roots,
            "state_dir": str(self._state_dir),
            "durable": self._durable(),
        }
        timeout_s = min(job.timeout_s or settings.timeout_s, settings.timeout_s)
        try:
            with trio.move_on_after(timeout_s) as limit:
                end = await self._host.run_child("irerd.jobs", json.dumps(request).encode())
        except OSError:
            return JobEnded(job.id, False, "no-process")
        if limit.cancelled_caught:
            return JobEnded(job.id, False, "timeout")
        if end.overflowed:
            return JobEnded(job.id, False, "bad-output")
        if end.code != 0:
            return JobEnded(job.id, False, "crashed")
        return self._checked(job, end.output)

    def _checked(self, job: Job, output: bytes) -> JobEnded:
        try:
            outcome = msgspec.json.decode(output.rstrip(b"\n").rpartition(b"\n")[2], type=Outcome)
            ended = JobEnded(job.id, outcome.ok, outcome.code, "", outcome.result)
            msgspec.convert(msgspec.to_builtins(ended), JobEnded, strict=True)
            if len(encode(outcome.result)) > RESULT_BYTES_MAX:
                return JobEnded(job.id, False, "bad-output")
        except (msgspec.DecodeError, msgspec.ValidationError, CanonicalError):
            return JobEnded(job.id, False, "bad-output")
        return ended
