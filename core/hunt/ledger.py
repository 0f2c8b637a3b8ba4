"""The rows of all hunts as CSV, as other programs read them: a pure function of the log, in its order, with no clock in it.

A row is written when its generation is closed, for only then it has a rank; what has an outcome when a hunt is stopped or fails is
written then, and not again. This is the one place where a code becomes a number that stands for it (999, 1002, 998).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

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
)
HEADER = (",".join(COLUMNS) + "\n").encode()


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

    def fold(self, event_type: str, payload: bytes) -> list[bytes]:
        reader = _READERS.get(event_type)
        if reader is None:
            return []
        decoder, take = reader
        return list(take(self, decoder.decode(payload)))

    def _started(self, event: HuntStarted) -> Iterator[bytes]:
        self._hunts[event.hunt_id] = _Open(event)
        return iter(())

    def _asked(self, event: HuntAsked) -> Iterator[bytes]:
        if (hunt := self._hunts.get(event.hunt_id)) is not None:
            hunt.asked.update({(event.generation, child.index): child for child in event.children})
        return iter(())

    def _scored(self, event: HuntScored) -> Iterator[bytes]:
        if (hunt := self._hunts.get(event.hunt_id)) is not None:
            hunt.scored[event.generation, event.index] = event
        return iter(())

    def _closed(self, event: GenerationClosed) -> Iterator[bytes]:
        placed = {(each.generation, each.index): each for each in (*event.survivors, *event.others)}
        return self._written(event.hunt_id, placed)

    def _ended(self, event: HuntStopped | HuntFailed) -> Iterator[bytes]:
        return self._written(event.hunt_id, {})

    def _written(self, hunt_id: str, placed: Mapping[tuple[int, int], Placed]) -> Iterator[bytes]:
        """The rows with an outcome, in the order in which they were asked for. A hunt whose beginning was let go has none."""
        hunt = self._hunts.get(hunt_id)
        if hunt is None:
            return
        for key in sorted(hunt.scored):
            yield _line(hunt.began, hunt.asked.pop(key), hunt.scored.pop(key), placed.get(key))


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
        "fitness": said.fitness,
        "rank": None if placed is None else placed.rank,
        "crowding": crowding,
        "scaling_factor": said.scaling_factor,
        "n_peaks": said.n_peaks,
        "n_targets": said.n_targets,
        "resolved": said.resolved,
        "artefact_sha256": said.artefact_sha256,
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


_Take = Callable[[Projection, Any], Iterable[bytes]]
_READERS: dict[str, tuple[msgspec.json.Decoder[Any], _Take]] = {
    kind.event_type: (msgspec.json.Decoder(kind), take)
    for kind, take in (
        (HuntStarted, Projection._started),
        (HuntAsked, Projection._asked),
        (HuntScored, Projection._scored),
        (GenerationClosed, Projection._closed),
        (HuntStopped, Projection._ended),
        (HuntFailed, Projection._ended),
    )
}
