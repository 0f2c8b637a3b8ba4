"""One engine, a clock that only this loop moves, and a log in memory: the daemon's effect runner in a page.

After each command the engine is asked what it wants; due timers are put before it, jobs end when the test says so. A due timer
must lead to something: a timer that is due again and again for nothing would keep a real daemon busy for ever.
"""

import random
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from core.canonical import event_payload
from core.engine import (
    IRER,
    Actor,
    Ask,
    Asked,
    Command,
    Context,
    Decision,
    Engine,
    Event,
    Fetch,
    Job,
    JobEnded,
    Row,
    Stamp,
    Timer,
)
from core.engines import ENGINES
from core.secrets import Secrets
from core.settings import Settings
from core.world import World

ANN = Actor("uid:1001", "operator", 1001)
START_US = 1_767_225_600_000_000
ROUNDS_MAX = 5_000
"""Rounds at one instant before the loop gives up: an engine that is never done has a fault."""

Outcome = Callable[[Job], "tuple[float, JobEnded] | None"]
"""How long a job takes, in seconds, and how it ends; None: it never does."""


def succeeds(job: Job) -> tuple[float, JobEnded]:
    return 1.0, JobEnded(job.id, True, "ok", "", {})


def agrees(ask: Ask) -> Asked:
    return Asked(ask.id, True, "ok", "", {})


class EngineLoop:
    def __init__(
        self,
        engine: Engine,
        settings: Settings | None = None,
        *,
        seed: int = 0,
        outcome: Outcome = succeeds,
        answer: Callable[[Ask], Asked] = agrees,
    ) -> None:
        self.engine = engine
        self.settings = settings or Settings()
        self.outcome = outcome
        self.answer = answer
        """What other engines say when this one asks them for something."""
        self.random = random.Random(seed)
        self.records: list[tuple[str, bytes, Stamp]] = []
        self.log = engine.log or ""
        self.boots = 1
        self.mono_us = 5_000_000
        self.wall_us = START_US
        self.jobs: dict[str, tuple[int, JobEnded]] = {}
        self.ids = 0
        self.drawn = 0
        self.elsewhere = {each.name: each.state() for each in ENGINES if each.state is not None and each.log != engine.log}
        """States of engines with other logs, as this one sees them: new, unless a test puts others there."""
        shares = [each for each in ENGINES if each.log == engine.log and each.log is not None]
        self.engines = shares if engine in shares else [engine]
        self.secrets = Secrets(b"p" * 32, b"t" * 32, self._draw)
        self.world = World(self.engines)
        self._resume()

    # --- what a caller sees ------------------------------------------------------------------------------------------

    @property
    def state(self) -> Any:
        return self.world.states[self.engine.name]

    @property
    def states(self) -> dict[str, Any]:
        """Of all engines that share this one's log."""
        return self.world.states

    @property
    def boot_id(self) -> str:
        return f"{self.boots:08x}"

    @property
    def events(self) -> list[Event]:
        return [self.world.event(kind, payload) for kind, payload, _ in self.records]

    def context(self, actor: Actor = ANN) -> Context:
        return Context(
            self.wall_us,
            self.mono_us,
            self.boot_id,
            actor,
            self.settings,
            self._new_id,
            self.random,
            self._peek,
            self.secrets,
        )

    def ask(self, verb: str, params: Mapping[str, Any] | Command | None = None, actor: Actor = ANN) -> list[Event]:
        """Put a command before the engine; its events are in the log when this returns. Raises Refused."""
        return list(self.decide(verb, params, actor).events)

    def decide(self, verb: str, params: Mapping[str, Any] | Command | None = None, actor: Actor = ANN) -> Decision:
        """The same, and what else was decided: an answer that is shown once."""
        row = self._row(verb)
        command = params if isinstance(params, Command) else msgspec.convert(dict(params or {}), row.params, strict=True)
        decision = self.world.decide(row, command, self.context(actor))
        for event in decision.events:
            stamp = Stamp(self.log, len(self.records), self.wall_us, self.mono_us, self.boot_id, actor.name)
            self.records.append((event.event_type, event_payload(event), stamp))
            self.world.apply(event, stamp)
        return decision

    def _row(self, verb: str) -> Row:
        """By its full name, or within this engine's own table."""
        return self.world.rows[verb if "." in verb else f"{self.engine.name}.{verb}"]

    def look(self, verb: str, params: Mapping[str, Any] | None = None, actor: Actor = ANN) -> Any:
        row = self._row(verb)
        asked = msgspec.convert(dict(params or {}), row.params, strict=True)
        return self.answered(self.world.read(row, asked, self.context(actor)))

    def answered(self, result: Any) -> Any:
        """The answer of a read, once the values it asks for were found in the log."""
        if not isinstance(result, Fetch):
            return result
        assert self.engine.stored is not None
        payloads = {stamp.seq: payload for _, payload, stamp in self.records}
        found = [self.engine.stored(payloads[place.seq])[1] for place in result.places]
        assert None not in found
        return result.then([raw for raw in found if raw is not None])

    # --- what the daemon does ----------------------------------------------------------------------------------------

    def _peek(self, name: str) -> Any:
        return self.world.states[name] if name in self.world.states else self.elsewhere[name]

    def wanted(self) -> tuple[list[Timer], list[Job]]:
        effects = list(self.engine.wanted(self.state, self.context(IRER))) if self.engine.wanted else []
        assert len({effect.id for effect in effects}) == len(effects), "two effects have one id"
        return [each for each in effects if isinstance(each, Timer)], [each for each in effects if isinstance(each, Job)]

    def asks(self) -> list[Ask]:
        """What it wants of other engines."""
        effects = self.engine.wanted(self.state, self.context(IRER)) if self.engine.wanted else []
        return [each for each in effects if isinstance(each, Ask)]

    def settle(self) -> None:
        """Do all that is due at this instant."""
        for _ in range(ROUNDS_MAX):
            due = [timer for timer in self._fit_jobs() if timer.due_us <= self.mono_us]
            ended = [outcome for at, outcome in self.jobs.values() if at <= self.mono_us]
            asks = self.asks()
            if not due and not ended and not asks:
                return
            before = len(self.records)
            for ask in asks:
                self.ask("asked", self.answer(ask), IRER)
            for outcome in ended:
                del self.jobs[outcome.effect]
                self.ask("job_ended", outcome, IRER)
            for timer in due:
                self.ask(self.world.internal[type(timer.command)].name, timer.command, IRER)
            assert ended or len(self.records) > before, f"due again and again for nothing: {due}"
        raise AssertionError("the engine is never done")

    def run(self, seconds: float) -> None:
        """Let time pass, from one thing that is due to the next."""
        until = self.mono_us + round(seconds * 1e6)
        self.settle()
        while (next_us := self._next_us()) is not None and next_us <= until:
            self._pass(max(0, next_us - self.mono_us))
            self.settle()
        self._pass(until - self.mono_us)
        self.settle()

    def replayed(self) -> Any:
        """The state that the log alone leads to."""
        return self.replayed_states()[self.engine.name]

    def replayed_states(self) -> dict[str, Any]:
        world = World(self.engines)
        world.reset(self.log)
        world.replay_all(self.records)
        return world.states

    def restart(self, down_s: float = 0.0, *, reboot: bool = False, keep: int | None = None, wall_jump_s: float = 0.0) -> None:
        """The process ends and comes back, having lost all but its log, of which the first `keep` records survived."""
        self.records = self.records[:keep]
        self._pass(round(down_s * 1e6))
        self.wall_us += round(wall_jump_s * 1e6)
        if reboot:
            self.boots += 1
            self.mono_us = 3_000_000
        self.jobs = {}
        self.world = World(self.engines)
        self.world.reset(self.log)
        self.world.replay_all(self.records)
        self._resume()

    def _resume(self) -> None:
        row = self.world.rows.get(f"{self.engine.name}.resume")
        if row is not None and row.kind == "internal":
            self.ask("resume", row.params(), IRER)

    def _fit_jobs(self) -> list[Timer]:
        """Jobs run while they are wanted. Answers the timers."""
        timers, jobs = self.wanted()
        ids = {job.id for job in jobs}
        self.jobs = {id: job for id, job in self.jobs.items() if id in ids}
        for job in jobs:
            if job.id not in self.jobs and (ending := self.outcome(job)) is not None:
                self.jobs[job.id] = self.mono_us + round(ending[0] * 1e6), ending[1]
        return timers

    def _next_us(self) -> int | None:
        return min([timer.due_us for timer in self.wanted()[0]] + [at for at, _ in self.jobs.values()], default=None)

    def _pass(self, us: int) -> None:
        self.mono_us += us
        self.wall_us += us

    def _draw(self) -> bytes:
        self.drawn += 1
        return self.drawn.to_bytes(32, "big")

    def _new_id(self) -> str:
        self.ids += 1
        return f"id-{self.ids}"
