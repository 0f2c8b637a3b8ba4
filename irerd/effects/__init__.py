"""Doing what the engines want: timers and jobs, compared with what runs already. Nothing here is logged.

`wanted` is asked again after every group, so a restart asks for the same work, and work that is no longer wanted stops. A
job starts only once the event that caused it is on disk.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import cache
from typing import Any

import msgspec
import trio

from core.engine import IRER, Ask, Asked, Command, Engine, Errand, Job, JobEnded, Refused, Timer
from irerd.dispatch import Answer, Dispatch
from irerd.effects.children import Children
from irerd.host import Host

FIRED_AT_ONCE_MAX = 64
"""Timers served before the loop looks after its callers again."""
STUCK_RETRY_US = 1_000_000
"""When a due timer changed nothing, it is asked again this much later, or as soon as its log grows."""
SLEEP_S_MAX = 60.0
"""Trio's clock stops while the machine sleeps, timers do not: look again at least this often."""
REPORT_RETRY_S = 0.2
ASK_RETRY_S, ASK_RETRY_S_MAX = 1.0, 60.0
"""How long one engine waits before it asks another again: twice as long each time where that one's log takes no writes at all, for
that lasts until somebody repairs it.
"""
NO_ANSWER = frozenset({"resource-exhausted", "unavailable", "durability-unknown", "data-loss"})
"""Codes that do not say what became of a request: it may be done already, so it is asked again, and answered from the log."""
FULL_RETRY_S = 1.0


Progress = Callable[[dict[str, Any]], None]
"""Told how far an errand is; each replaces what was told before."""
Errands = Mapping[str, Callable[[Errand, Progress], Awaitable[JobEnded]]]


class Effects:
    def __init__(self, host: Host, dispatch: Dispatch, children: Children, errands: Errands | None = None) -> None:
        self._host = host
        self._dispatch = dispatch
        self._children = children
        self._errands = errands or {}
        self.progress: dict[str, dict[str, Any]] = {}
        """Of errands that run, by effect."""
        self.on_progress: Callable[[], None] = lambda: None
        self._engines = [engine for engine in dispatch.world.engines.values() if engine.wanted is not None and engine.log]
        self._timers: dict[str, dict[str, Timer]] = {}
        self._jobs: dict[str, dict[str, Job | Ask | Errand]] = {}
        """What runs for a while and whose end comes back as a command."""
        logs = {engine.name: engine.log for engine in dispatch.world.engines.values()}
        self._follows = {engine.name: {engine.log, *(logs[name] for name in engine.follows)} for engine in self._engines}
        self._asked = cache(self._follow)
        """Engines to be asked after a group of these logs."""
        self._fired: dict[tuple[str, str], tuple[int, int, int]] = {}
        """(engine, timer) -> the due time it was fired for, how long the log was then, and when that was."""
        self._running: dict[str, trio.CancelScope] = {}
        self._changed = trio.Event()
        self.timers_fired = 0
        self.turns = 0

    @property
    def jobs_running(self) -> int:
        return len(self._running)

    def stir(self) -> None:
        """Have the task look again, though nothing is known to have changed."""
        self._changed.set()

    def refresh(self, logs: Iterable[str]) -> None:
        """Ask the engines of these logs again what they want. Most groups change nothing of that, and then the task sleeps on."""
        if any([self._ask(engine) or self._waits(engine) for engine in self._asked(frozenset(logs))]):
            self._changed.set()

    def _follow(self, logs: frozenset[str]) -> list[Engine]:
        return [engine for engine in self._engines if not self._follows[engine.name].isdisjoint(logs)]

    def _waits(self, engine: Engine) -> bool:
        """Whether something that it wants was waiting for its log: a timer that changed nothing, or what is not begun yet."""
        stuck = self._fired and any((engine.name, id) in self._fired for id in self._timers[engine.name])
        return bool(stuck) or any(id not in self._running for id in self._jobs[engine.name])

    def _ask(self, engine: Engine) -> bool:
        """Whether it wants something else than before."""
        before = self._timers.get(engine.name), self._jobs.get(engine.name)
        self._look(engine)
        return before != (self._timers[engine.name], self._jobs[engine.name])

    def _look(self, engine: Engine) -> None:
        assert engine.wanted is not None
        if engine.log in self._dispatch.read_only:
            self._timers[engine.name], self._jobs[engine.name] = {}, {}
            return
        timers: dict[str, Timer] = {}
        jobs: dict[str, Job | Ask | Errand] = {}
        try:
            for effect in engine.wanted(self._dispatch.world.states[engine.name], self._dispatch.context(IRER, deciding=True)):
                if isinstance(effect, Timer):
                    timers[effect.id] = effect
                else:
                    jobs[effect.id] = effect
        except Refused:
            pass  # it looks at a log that did not verify: what it wants because of that is left until it does
        except Exception as error:  # what was wanted before stays wanted, and the next event asks again
            self._dispatch.on_internal_error(f"wanted {engine.name}", error)
            timers, jobs = self._timers.get(engine.name, {}), self._jobs.get(engine.name, {})
        self._timers[engine.name] = timers
        self._jobs[engine.name] = jobs

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                self.turns += 1
                self._changed = trio.Event()
                self._fit_jobs(nursery)
                wait_s = self._fire_due()
                if wait_s == 0:
                    await trio.lowlevel.checkpoint()
                    continue
                with trio.move_on_after(min(wait_s, SLEEP_S_MAX)):
                    await self._changed.wait()

    # --- timers -----------------------------------------------------------------------------------------------------

    def _fire_due(self) -> float:
        """Serve the timers that are due; answer how many seconds until the next."""
        fired = 0
        earliest: int | None = None
        for engine in self._engines:
            if self._no_room(engine):
                continue  # they are served once there is room again, which asks the engine anew
            for timer in list(self._timers.get(engine.name, {}).values()):
                due_us = self._due(engine, timer)
                if due_us > self._host.mono_us():
                    earliest = due_us if earliest is None else min(earliest, due_us)
                    continue
                if fired == FIRED_AT_ONCE_MAX:
                    return 0
                fired += 1
                self._fire(engine, timer)
        if fired:
            return 0
        return SLEEP_S_MAX if earliest is None else max((earliest - self._host.mono_us()) / 1e6, 0.0005)

    def _due(self, engine: Engine, timer: Timer) -> int:
        """When to serve it: later than it says if it was served for that very time and nothing came of it."""
        assert engine.log is not None
        served = self._fired.get((engine.name, timer.id))
        if served is None or served[0] != timer.due_us or served[1] != self._dispatch.next_seq.get(engine.log, 0):
            return timer.due_us
        return max(timer.due_us, served[2] + STUCK_RETRY_US)

    def _no_room(self, engine: Engine) -> bool:
        writer, log = self._dispatch.writer, engine.log
        return log is not None and writer is not None and log not in self._dispatch.read_only and writer.full(log) is not None

    def _fire(self, engine: Engine, timer: Timer) -> None:
        assert engine.log is not None
        self.timers_fired += 1
        before = self._dispatch.next_seq.get(engine.log, 0)
        self._dispatch.give(timer.command)
        after = self._dispatch.next_seq.get(engine.log, 0)
        if after != before:
            self._fired.pop((engine.name, timer.id), None)
            self._ask(engine)
        else:
            self._fired[engine.name, timer.id] = (timer.due_us, after, self._host.mono_us())

    # --- jobs -------------------------------------------------------------------------------------------------------

    def _fit_jobs(self, nursery: trio.Nursery) -> None:
        """Start what is wanted and does not run, stop what runs and is no longer wanted."""
        wanted = {job.id: (engine, job) for engine in self._engines for job in self._jobs.get(engine.name, {}).values()}
        for id, scope in self._running.items():
            if id not in wanted:
                scope.cancel()
        for id, (engine, job) in wanted.items():
            if id not in self._running and self._durable(id):
                self._running[id] = trio.CancelScope()
                nursery.start_soon(self._run_job, engine, job)

    def _durable(self, effect: str) -> bool:
        """An effect's id names its cause, `log:seq:place`."""
        log, seq, _ = effect.rsplit(":", 2)
        return self._dispatch.writer is not None and self._dispatch.writer.durable_seq(log) >= int(seq)

    async def _run_job(self, engine: Engine, job: Job | Ask | Errand) -> None:
        try:
            with self._running[job.id]:
                if isinstance(job, Ask):
                    await self._report(engine, "asked", await self._answer(job))
                elif isinstance(job, Errand):
                    await self._report(engine, "job_ended", await self._do(job))
                else:
                    await self._report(engine, "job_ended", await self._children.run(job, self._teller(job)))
        finally:
            del self._running[job.id]
            self.progress.pop(job.id, None)
            self._changed.set()

    def _teller(self, effect: Errand | Job) -> Progress:
        def tell(progress: dict[str, Any]) -> None:
            self.progress[effect.id] = progress
            self.on_progress()

        return tell

    async def _do(self, errand: Errand) -> JobEnded:
        try:
            return await self._errands[errand.name](errand, self._teller(errand))
        except Exception as error:
            instance = self._dispatch.on_internal_error(f"errand {errand.name}", error)
            return JobEnded(errand.id, False, "internal", f"a bug in irer; the journal has it under {instance}")

    async def _answer(self, ask: Ask) -> Asked:
        """What another engine says to this. One that has no room just now is asked again."""
        pause_s = ASK_RETRY_S / 2
        while True:
            answers: list[Answer] = []
            answered = trio.Event()

            def reply(answer: Answer, answers: list[Answer] = answers, answered: trio.Event = answered) -> None:
                answers.append(answer)
                answered.set()

            self._dispatch.ask(ask.method, ask.params, ask.id, reply)
            await answered.wait()
            error = answers[0].error
            if error is None:
                return Asked(ask.id, True, "ok", "", msgspec.to_builtins(answers[0].result))
            if error.code not in NO_ANSWER:
                return Asked(ask.id, False, error.code, error.detail)
            pause_s = min(2 * pause_s, ASK_RETRY_S_MAX) if error.code == "data-loss" else ASK_RETRY_S
            await trio.sleep(pause_s)

    async def _report(self, engine: Engine, verb: str, ended: Command) -> None:
        """Give the outcome to the engine until it takes it: a full queue only delays it, and so does the upkeep of its log.

        Once it is taken the effect is no longer wanted, which ends this wait; were it left sooner, a held one would be done again.
        """
        row = self._dispatch.world.rows[f"{engine.name}.{verb}"]
        while True:
            outcome: list[Answer] = []
            answered = trio.Event()

            def told(answer: Answer, outcome: list[Answer] = outcome, answered: trio.Event = answered) -> None:
                outcome.append(answer)
                answered.set()

            self._dispatch.give_to(row, ended, told)
            self._ask(engine)
            self._changed.set()
            await answered.wait()
            if outcome[0].error is None or outcome[0].error.code != "resource-exhausted":
                return
            await trio.sleep(FULL_RETRY_S if self._no_room(engine) else REPORT_RETRY_S)
