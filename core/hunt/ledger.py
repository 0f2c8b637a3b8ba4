"""The rows of all hunts as CSV, as other programs read them: a pure function of the log, in its order, with no clock in it.

A row is written when its generation is closed, for only then it has a rank; what has an outcome when a hunt is stopped or fails is
written then, and not again. What `null-profile` finds out about a run comes into its row whenever it is known, as long as the row
is one of the last: so a row may change, but for its gaps and its fitness it never does. This is the one place where a code becomes
a number that stands for it (999, 1002, 998).
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from core.component.builtin import NULL_PROFILE
from core.component.events import ComponentFinished
from core.hunt.events import (
    Child,
    GenerationClosed,
    HuntAsked,
    HuntFailed,
    HuntScored,
    HuntStarted,
    HuntStopped,
    Placed,
)
from core.hunt.generations import fitness
from core.sim.model import PARAMETERS

NAME = "simulation_ledger.csv"
SENTINELS = {"no_peaks": 999, "diverged": 1002, "missing": 998}
NO_NUMBER = SENTINELS["missing"]
COLUMNS = (
    "hunt_id",
    "job_uuid",
    "generation",
    "index",
    "parent_a",
    "parent_b",
    "seed",
    "status",
    "log_prime_sse",
    "sse_code",
    "sdg_h_norm_l2",
    "sdg_h_norm_l2_max",
    "gap_phase",
    "gap_target",
    "fitness",
    "rank",
    "crowding",
    "scaling_factor",
    "n_peaks",
    "n_targets",
    "resolved",
    "artefact_sha256",
    *PARAMETERS,
    "gap",
    "seeds",
    "run_uuid",
)
HEADER = (",".join(COLUMNS) + "\n").encode()
WINDOW = 4_096
"""Rows that may still change: the last ones. Also so many gaps are remembered of runs that have no row yet."""


def recolumned(text: bytes) -> bytes | None:
    """A file of other columns, as an earlier version wrote it, with those of today: what it did not know stays empty. None where
    there is nothing to do. A line that was torn has no right number of cells, and goes."""
    head, _, body = text.partition(b"\n")
    names = head.decode("utf-8", "replace").split(",")
    if head + b"\n" == HEADER or names[:2] != list(COLUMNS[:2]):
        return None
    rows = [dict(zip(names, cells, strict=True)) for line in _whole(body) if len(cells := line.split(",")) == len(names)]
    return HEADER + "".join(",".join(row.get(column, "") for column in COLUMNS) + "\n" for row in rows).encode()


def _whole(body: bytes) -> list[str]:
    return body[: body.rfind(b"\n") + 1].decode("utf-8", "replace").splitlines()


class Line(NamedTuple):
    """A row: new, or in place of the one that its job had."""

    job_uuid: str
    text: bytes


class _Gaps(NamedTuple):
    phase: float | None = None
    target: float | None = None


class _Written(NamedTuple):
    job_uuid: str
    text: bytes
    """Without the gaps of `null-profile`."""
    log_prime_sse: float | None


class _Open:
    """A hunt, and of its candidates those that are not written yet."""

    def __init__(self, began: HuntStarted) -> None:
        self.began = began
        self.asked: dict[tuple[int, int], Child] = {}
        self.scored: dict[tuple[int, int], HuntScored] = {}


class Projection:
    """Takes the records in order and answers the lines that each leads to."""

    def __init__(self) -> None:
        self._hunts: dict[str, _Open] = {}
        self._written: OrderedDict[str, _Written] = OrderedDict()
        """By the run that stands for each, of those whose gaps are not known of the hunt itself."""
        self._early: OrderedDict[str, _Gaps] = OrderedDict()
        """Of runs that have no row yet."""

    def fold(self, event_type: str, payload: bytes) -> list[Line]:
        reader = _READERS.get(event_type)
        if reader is None:
            return []
        decoder, take = reader
        return list(take(self, decoder.decode(payload)))

    def _started(self, event: HuntStarted) -> Iterator[Line]:
        self._hunts[event.hunt_id] = _Open(event)
        return iter(())

    def _asked(self, event: HuntAsked) -> Iterator[Line]:
        if (hunt := self._hunts.get(event.hunt_id)) is not None:
            hunt.asked.update({(event.generation, child.index): child for child in event.children})
        return iter(())

    def _scored(self, event: HuntScored) -> Iterator[Line]:
        if (hunt := self._hunts.get(event.hunt_id)) is not None:
            hunt.scored[event.generation, event.index] = event
        return iter(())

    def _closed(self, event: GenerationClosed) -> Iterator[Line]:
        placed = {(each.generation, each.index): each for each in (*event.survivors, *event.others)}
        return self._rows(event.hunt_id, placed)

    def _ended(self, event: HuntStopped | HuntFailed) -> Iterator[Line]:
        return self._rows(event.hunt_id, {})

    def _looked_at(self, event: ComponentFinished) -> Iterator[Line]:
        if event.component != NULL_PROFILE or not event.ok:
            return
        found = _Gaps(*(value if isinstance(value := event.outputs.get(name), float) else None for name in GAPS))
        row = self._written.get(event.job_uuid)
        if row is None:
            self._early.pop(event.job_uuid, None)
            self._early[event.job_uuid] = found
            _bound(self._early)
            return
        yield Line(row.job_uuid, _text(row, found))

    def _rows(self, hunt_id: str, placed: Mapping[tuple[int, int], Placed]) -> Iterator[Line]:
        """The rows with an outcome, in the order in which they were asked for. A hunt whose beginning was let go has none."""
        hunt = self._hunts.get(hunt_id)
        if hunt is None:
            return
        for key in sorted(hunt.scored):
            child, said = hunt.asked.pop(key), hunt.scored.pop(key)
            run = said.run or child.job_uuid
            row = _Written(child.job_uuid, _line(hunt.began, child, said, placed.get(key)), said.log_prime_sse)
            early = self._early.pop(run, _Gaps())
            if said.gap is not None:
                yield Line(child.job_uuid, row.text)  # what it was selected by stays what it was then
                continue
            self._written[run] = row
            _bound(self._written)
            yield Line(child.job_uuid, _text(row, early))


GAPS = ("gap_phase", "gap_target")
_PHASE, _TARGET, _FITNESS = map(COLUMNS.index, (*GAPS, "fitness"))


def _bound(remembered: OrderedDict[str, Any]) -> None:
    while len(remembered) > WINDOW:
        remembered.popitem(last=False)


def _text(row: _Written, gaps: _Gaps) -> bytes:
    if gaps == _Gaps():
        return row.text
    cells = row.text.decode().split(",")
    cells[_PHASE], cells[_TARGET] = _cell(gaps.phase), _cell(gaps.target)
    cells[_FITNESS] = _cell(fitness(row.log_prime_sse, gaps.phase, gaps.target))
    return ",".join(cells).encode()


def _line(began: HuntStarted, child: Child, said: HuntScored, placed: Placed | None) -> bytes:
    parents = [*child.parents, None, None]
    crowding = None if placed is None else float("inf") if placed.crowding is None else placed.crowding
    values: dict[str, Any] = {
        "hunt_id": began.hunt_id,
        "job_uuid": child.job_uuid,
        "generation": said.generation,
        "index": said.index,
        "parent_a": parents[0],
        "parent_b": parents[1],
        "seed": child.seed,
        "status": said.status,
        "log_prime_sse": _number(said.log_prime_sse, said.sse_code),
        "sse_code": said.sse_code,
        "sdg_h_norm_l2": _number(said.sdg_h_norm_l2, said.h_code),
        "sdg_h_norm_l2_max": _number(said.sdg_h_norm_l2_max, said.h_code),
        "gap_phase": said.gap_phase,
        "gap_target": said.gap_target,
        "fitness": fitness(said.log_prime_sse, said.gap_phase, said.gap_target),
        "rank": None if placed is None else placed.rank,
        "crowding": crowding,
        "scaling_factor": said.scaling_factor,
        "n_peaks": said.n_peaks,
        "n_targets": said.n_targets,
        "resolved": said.resolved,
        "artefact_sha256": said.artefact_sha256,
        "gap": said.gap,
        "seeds": began.settings.seeds,
        "run_uuid": said.run or child.job_uuid,
        **began.settings.params,
        **child.params,
    }
    return (",".join(_cell(values.get(column)) for column in COLUMNS) + "\n").encode()


def _number(value: float | None, code: str | None) -> float:
    """Never empty: a reader that takes nothing for 0 would take it for the perfect score."""
    return value if value is not None else SENTINELS.get(code or "", NO_NUMBER)


def _cell(value: Any) -> str:
    """No text that stands in a row has a comma or a quote: ids, codes and hashes."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


_Take = Callable[[Projection, Any], Iterable[Line]]
_READERS: dict[str, tuple[msgspec.json.Decoder[Any], _Take]] = {
    kind.event_type: (msgspec.json.Decoder(kind), take)
    for kind, take in (
        (HuntStarted, Projection._started),
        (HuntAsked, Projection._asked),
        (HuntScored, Projection._scored),
        (GenerationClosed, Projection._closed),
        (HuntStopped, Projection._ended),
        (HuntFailed, Projection._ended),
        (ComponentFinished, Projection._looked_at),
    )
}
