"""Named jobs, each in a child process that deadline and cancel kill. What a child says is untrusted until it is checked."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import trio
from msgspec import Meta

from core.canonical import CanonicalError, encode
from core.engine import Job, JobEnded
from core.settings import Jobs
from irerd.host import OUTPUT_BYTES_MAX, ChildEnd, Host

RESULT_BYTES_MAX = 16_384
FOLLOWED = frozenset({"drill"})
"""Jobs that print how far they are."""

Progress = Callable[[dict[str, Any]], None]
Said = dict[Annotated[str, Meta(max_length=32)], int | Annotated[str, Meta(max_length=64)]]
"""How far a job is: a few words and numbers."""


class Outcome(msgspec.Struct, forbid_unknown_fields=True):
    """The one line of JSON that a child prints last."""

    ok: bool
    code: str
    result: dict[str, Any] = {}


class _Row(msgspec.Struct, forbid_unknown_fields=True):
    """A line on the way there."""

    progress: Annotated[Said, Meta(max_length=8)]


class _TooMuch(Exception):
    """A child printed more than any may, and is ended."""


class _Heard:
    """What a child prints: the latest line of progress is told, and the last line is the outcome. Bounded."""

    def __init__(self, tell: Progress) -> None:
        self._tell = tell
        self._bytes = 0
        self.last = b""
        self._open = b""

    async def __call__(self, chunk: bytes) -> None:
        self._bytes += len(chunk)
        if self._bytes > OUTPUT_BYTES_MAX:
            raise _TooMuch
        *lines, self._open = (self._open + chunk).split(b"\n")
        for line in lines:
            self.last = line
            try:
                self._tell(msgspec.json.decode(line, type=_Row).progress)
            except msgspec.MsgspecError:
                continue  # the outcome, or nothing that can be shown


def _untold(said: dict[str, Any]) -> None:
    return None


class Children:
    def __init__(self, host: Host, settings: Callable[[], Jobs], state_dir: Path, durable: Callable[[], dict[str, int]]) -> None:
        self._host = host
        self._settings = settings
        self._state_dir = state_dir
        self._durable = durable
        self._turns = trio.CapacityLimiter(1)

    async def run(self, job: Job, tell: Progress = _untold) -> JobEnded:
        """One job, once fewer than the configured number run."""
        self.resize()
        async with self._turns:
            return await self._run(job, tell)

    def resize(self) -> None:
        """A reload may have changed how many children may run at once."""
        self._turns.total_tokens = self._settings().parallel

    async def _run(self, job: Job, tell: Progress) -> JobEnded:
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
                end = await self._child(job, json.dumps(request).encode(), tell)
        except OSError:
            return JobEnded(job.id, False, "no-process")
        if limit.cancelled_caught:
            return JobEnded(job.id, False, "timeout")
        if end.overflowed:
            return JobEnded(job.id, False, "bad-output")
        if end.code != 0:
            return JobEnded(job.id, False, "crashed")
        return self._checked(job, end.output)

    async def _child(self, job: Job, request: bytes, tell: Progress) -> ChildEnd:
        if job.name not in FOLLOWED:
            return await self._host.run_child("irerd.jobs", request)
        heard = _Heard(tell)
        try:
            end = await self._host.run_child("irerd.jobs", request, heard)
        except _TooMuch:
            return ChildEnd(0, b"", True)
        return ChildEnd(end.code, heard.last, False)

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
