"""What the hunt engine knows, and how each event changes it. Nothing here computes: what had to be worked out stands in the event.

Of hunts that ended long ago only what a resume and a status need is kept; their rows are in the log and in the CSV ledger.
"""

from collections.abc import Iterator, Sequence

import msgspec

from core.engine import Stamp
from core.hunt.events import (
    CertificateBegun,
    CertificateFailed,
    Certified,
    Child,
    ChunkFailed,
    FrontPoint,
    GenerationClosed,
    HuntAsked,
    HuntCompleted,
    HuntFailed,
    HuntResumed,
    HuntScored,
    HuntStarted,
    HuntStopped,
    HuntStopping,
    Placed,
    RunScored,
)
from core.sim.chunk import Chunk, Lane

LOG = "hunt_log"
HUNTS_KEPT = 256
ROWS_KEPT = 20_000
"""Runs of all hunts together; those of the oldest hunts go first. One hunt may have so many."""
CERTIFICATES_MAX = 64
"""Of one hunt; and so many that ended can be asked about as jobs."""
PACE_KEPT = 32
"""Moments at which outcomes came in: the time left is guessed from them."""

ACTIVE = frozenset({"running", "stopping"})


class Candidate(msgspec.Struct, forbid_unknown_fields=True):
    """One row: what was asked, and what it came to."""

    child: Child
    generation: int
    seq: int
    """The record that asked for it."""
    asked_us: int
    outcome: HuntScored | None = None
    ended_us: int = 0
    rank: int | None = None
    crowding: float | None = None

    @property
    def run(self) -> str:
        """The run that stands for it: its only one, or of several the one that scores the median."""
        return self.child.job_uuid if self.outcome is None or self.outcome.run is None else self.outcome.run

    def finished(self) -> list[str]:
        """Its runs that came to a good end and left a file."""
        said = self.outcome
        runs: Sequence[HuntScored | RunScored] = [] if said is None else said.runs or [said]
        return [run.job_uuid for run in runs if run.status == "ok" and run.artefact_sha256 is not None]


class Part(msgspec.Struct, forbid_unknown_fields=True):
    """One call of the open generation."""

    number: int
    seq: int
    """The record that makes it wanted: the one that asked for it, or the one that says that it failed."""
    indices: list[int]
    failures: int = 0
    done: bool = False


class Hunt(msgspec.Struct, forbid_unknown_fields=True):
    """One hunt."""

    began: HuntStarted
    seq: int
    started_us: int
    generations: int
    state: str = "running"
    closed: int = 0
    """Generations that are closed; also the number of the open one, or the next."""
    parts: list[Part] = []
    """Of the open generation; none where it is still to be asked for."""
    finishing: list[int] = []
    """While it stops: the calls that are still finished."""
    rows: dict[str, Candidate] = {}
    """By generation and index, as the names of the jobs are made."""
    survivors: list[Placed] = []
    front: list[FrontPoint] = []
    volumes: list[float | None] = []
    """The hypervolume of each closed generation."""
    best: str = ""
    """The row that is best so far."""
    last: str = ""
    """The row whose outcome came last."""
    done: int = 0
    counts: dict[str, int] = {}
    """Of the outcomes, how many have a score, or which code; and how many were run."""
    pace: list[tuple[int, int]] = []
    """Wall time, and how many outcomes there were by then."""
    ended_us: int = 0
    code: str = ""
    detail: str = ""
    completed: HuntCompleted | None = None
    certificates: list[Certified] = []
    """The newest of each candidate, in the order of their coming."""
    thin: bool = False
    """Its rows were let go, but for those a resume needs."""

    @property
    def hunt_id(self) -> str:
        return self.began.hunt_id

    @property
    def active(self) -> bool:
        return self.state in ACTIVE

    @property
    def jobs_total(self) -> int:
        return self.generations * self.began.population_size

    def row(self, generation: int, index: int) -> Candidate:
        return self.rows[place(generation, index)]

    def open_rows(self) -> list[Candidate]:
        """Of the open generation, in the order of their places."""
        return [self.row(self.closed, index) for part in self.parts for index in part.indices]

    def in_flight(self) -> list[Part]:
        """The calls that are wanted now."""
        if self.state == "stopping":
            return [part for part in self.parts if not part.done and part.number in self.finishing]
        waiting = [part for part in self.parts if not part.done]
        return waiting[: self.began.settings.parallel] if self.state == "running" else []

    def to_close(self) -> bool:
        return bool(self.parts) and all(part.done for part in self.parts)

    def due(self) -> bool:
        """Whether irer has to decide how it goes on: nothing is being computed."""
        return self.active and not self.in_flight()


class Certifying(msgspec.Struct, forbid_unknown_fields=True):
    """A certificate that is worked on, or was."""

    asked: CertificateBegun
    seq: int
    started_us: int
    ended_us: int = 0
    code: str = ""
    """Empty while it goes on."""
    detail: str = ""


class Hunts:
    """The state of the hunt engine: hunts by id, the oldest first."""

    def __init__(self) -> None:
        self.hunts: dict[str, Hunt] = {}
        self.certifying: dict[str, Certifying] = {}
        """By job, the oldest first; those that ended last are among them."""

    def __eq__(self, other: object) -> bool:
        mine = (list(self.hunts.items()), list(self.certifying.items()))
        return isinstance(other, Hunts) and mine == (list(other.hunts.items()), list(other.certifying.items()))

    __hash__ = None  # type: ignore[assignment]

    def active(self) -> list[Hunt]:
        return [hunt for hunt in self.hunts.values() if hunt.active]

    def candidate(self, job_uuid: str) -> tuple[Hunt | None, Candidate | None]:
        """The one that has this id, or a run with it."""
        for hunt in reversed(self.hunts.values()):
            for row in hunt.rows.values():
                if row.child.job_uuid == job_uuid or any(run.job_uuid == job_uuid for run in row.child.again):
                    return hunt, row
        return None, None

    def newest(self) -> Hunt | None:
        return next(reversed(self.hunts.values()), None)

    def wanting(self, effect: str) -> tuple[Hunt, Part] | None:
        """The call that this effect is."""
        for hunt in self.active():
            for part in hunt.parts:
                if not part.done and effect_of(part) == effect:
                    return hunt, part
        return None


class Dump(msgspec.Struct, forbid_unknown_fields=True):
    hunts: list[Hunt]
    certifying: list[Certifying]


def dump(hunts: Hunts) -> Dump:
    return Dump(list(hunts.hunts.values()), list(hunts.certifying.values()))


def load(dumped: Dump) -> Hunts:
    hunts = Hunts()
    hunts.hunts = {hunt.hunt_id: hunt for hunt in dumped.hunts}
    hunts.certifying = {each.asked.job: each for each in dumped.certifying}
    return hunts


def place(generation: int, index: int) -> str:
    """The one name of a candidate within its hunt; its job is named after it."""
    return f"{generation}/{index}"


def effect_of(part: Part) -> str:
    return f"{LOG}:{part.seq}:0"


def chunk_of(hunt: Hunt, part: Part) -> Chunk:
    """What one call computes: the runs of a candidate beside each other."""
    run = hunt.began.settings
    lanes = [lane for index in part.indices for lane in _lanes(hunt, hunt.row(hunt.closed, index).child)]
    return Chunk("sncgl_sdg", run.grid, run.steps, run.dt, run.settings, run.targets, lanes, run.gap_draws)


def _lanes(hunt: Hunt, child: Child) -> Iterator[Lane]:
    params, several = {**hunt.began.settings.params, **child.params}, bool(child.again)
    for turn, (job_uuid, seed) in enumerate([(child.job_uuid, child.seed), *((run.job_uuid, run.seed) for run in child.again)]):
        yield Lane(job_uuid, seed, params, hunt.hunt_id, hunt.closed, child.index, turn if several else None)


# --- what happened ----------------------------------------------------------------------------------------------------------


def apply_started(hunts: Hunts, event: HuntStarted, stamp: Stamp) -> None:
    pace = [(stamp.time_us, 0)]
    hunts.hunts[event.hunt_id] = Hunt(event, stamp.seq, stamp.time_us, event.num_generations, pace=pace)
    _forget(hunts)


def apply_asked(hunts: Hunts, event: HuntAsked, stamp: Stamp) -> None:
    hunt = hunts.hunts[event.hunt_id]
    hunt.parts.append(Part(event.chunk, stamp.seq, [child.index for child in event.children]))
    for child in event.children:
        hunt.rows[place(event.generation, child.index)] = Candidate(child, event.generation, stamp.seq, stamp.time_us)


def apply_scored(hunts: Hunts, event: HuntScored, stamp: Stamp) -> None:
    hunt = hunts.hunts[event.hunt_id]
    name = place(event.generation, event.index)
    row = hunt.rows[name]
    row.outcome, row.ended_us = event, stamp.time_us
    hunt.last = name
    if event.best:
        hunt.best = name
    hunt.done += 1
    for found in (event.sse_code or "scored", "not_run" if event.status == "missing" else "run"):
        hunt.counts[found] = hunt.counts.get(found, 0) + 1
    for part in hunt.parts:
        if event.index in part.indices:
            part.done = all(hunt.row(event.generation, index).outcome is not None for index in part.indices)
    _keep_pace(hunt, stamp)


def apply_chunk_failed(hunts: Hunts, event: ChunkFailed, stamp: Stamp) -> None:
    for part in hunts.hunts[event.hunt_id].parts:
        if part.number == event.chunk:
            part.seq, part.failures = stamp.seq, part.failures + 1


def apply_generation(hunts: Hunts, event: GenerationClosed, stamp: Stamp) -> None:
    hunt = hunts.hunts[event.hunt_id]
    for placed in (*event.survivors, *event.others):
        if placed.generation == event.generation:
            row = hunt.row(placed.generation, placed.index)
            row.rank, row.crowding = placed.rank, placed.crowding
    hunt.survivors, hunt.front = event.survivors, event.front
    hunt.volumes.append(event.hypervolume)
    hunt.closed += 1
    hunt.parts = []


def apply_stopping(hunts: Hunts, event: HuntStopping, stamp: Stamp) -> None:
    hunt = hunts.hunts[event.hunt_id]
    hunt.finishing = [part.number for part in hunt.in_flight()]
    hunt.state = "stopping"


def apply_stopped(hunts: Hunts, event: HuntStopped, stamp: Stamp) -> None:
    _end(hunts.hunts[event.hunt_id], "stopped", event.code, "", stamp)
    _forget(hunts)


def apply_resumed(hunts: Hunts, event: HuntResumed, stamp: Stamp) -> None:
    hunt = hunts.hunts[event.hunt_id]
    hunt.state, hunt.generations, hunt.completed = "running", event.num_generations, None
    hunt.ended_us, hunt.code, hunt.detail = 0, "", ""
    hunt.pace = [(stamp.time_us, hunt.done)]


def apply_completed(hunts: Hunts, event: HuntCompleted, stamp: Stamp) -> None:
    hunt = hunts.hunts[event.hunt_id]
    hunt.completed = event
    _end(hunt, "completed", "ok", "", stamp)
    _forget(hunts)


def apply_failed(hunts: Hunts, event: HuntFailed, stamp: Stamp) -> None:
    _end(hunts.hunts[event.hunt_id], "failed", event.code, event.detail, stamp)
    _forget(hunts)


def apply_certificate_begun(hunts: Hunts, event: CertificateBegun, stamp: Stamp) -> None:
    hunts.certifying[event.job] = Certifying(event, stamp.seq, stamp.time_us)
    ended = [job for job, each in hunts.certifying.items() if each.code]
    for job in ended[: max(0, len(ended) - CERTIFICATES_MAX)]:
        del hunts.certifying[job]


def apply_certified(hunts: Hunts, event: Certified, stamp: Stamp) -> None:
    _certificate_ended(hunts, event.job, "ok", "", stamp)
    hunt = hunts.hunts.get(event.hunt_id)
    if hunt is not None:
        hunt.certificates = [each for each in hunt.certificates if each.job_uuid != event.job_uuid] + [event]


def apply_certificate_failed(hunts: Hunts, event: CertificateFailed, stamp: Stamp) -> None:
    _certificate_ended(hunts, event.job, event.code, event.detail, stamp)


def _certificate_ended(hunts: Hunts, job: str, code: str, detail: str, stamp: Stamp) -> None:
    work = hunts.certifying[job]
    work.code, work.detail, work.ended_us = code, detail, stamp.time_us


def _end(hunt: Hunt, state: str, code: str, detail: str, stamp: Stamp) -> None:
    hunt.state, hunt.code, hunt.detail, hunt.ended_us = state, code, detail, stamp.time_us
    hunt.finishing = []


def _keep_pace(hunt: Hunt, stamp: Stamp) -> None:
    """The outcomes of one call come at one moment."""
    if hunt.pace and hunt.pace[-1][0] == stamp.time_us:
        hunt.pace.pop()
    hunt.pace.append((stamp.time_us, hunt.done))
    del hunt.pace[:-PACE_KEPT]


def _forget(hunts: Hunts) -> None:
    """Keep within the bounds, at the cost of the oldest hunts that have ended."""
    ended = [hunt for hunt in hunts.hunts.values() if not hunt.active]
    for hunt in ended[: max(0, len(hunts.hunts) - HUNTS_KEPT)]:
        del hunts.hunts[hunt.hunt_id]
    kept = sum(len(hunt.rows) * hunt.began.settings.seeds for hunt in hunts.hunts.values())
    for hunt in ended[:-1]:
        if kept <= ROWS_KEPT:
            return
        if hunt.hunt_id in hunts.hunts and not hunt.thin:
            needed = set(_needed(hunt))
            kept -= (len(hunt.rows) - len(needed)) * hunt.began.settings.seeds
            hunt.rows, hunt.thin = {name: row for name, row in hunt.rows.items() if name in needed}, True


def _needed(hunt: Hunt) -> Iterator[str]:
    """What a resume, a status and the best of it still look at."""
    yield from (place(placed.generation, placed.index) for placed in hunt.survivors)
    yield from (place(row.generation, row.child.index) for row in hunt.open_rows())
    yield from (name for name in (hunt.best, hunt.last) if name)
