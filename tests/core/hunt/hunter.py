"""The hunt engine in its loop, with a worker that is a formula: what the calls come to depends on their parameters alone."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from core.engine import IRER, Errand, JobEnded, Refused
from core.hunt.engine import ENGINE
from core.hunt.state import Hunt, Hunts
from core.settings import Settings
from core.sim.chunk import Chunk, Lane
from tests.core.engine_loop import EngineLoop

SMALL = {"num_generations": 3, "population_size": 5, "seed": 11, "settings": {"lanes": 2, "grid": {"n": 16}, "steps": 16}}

Formula = Callable[[Lane, Chunk], dict[str, Any]]


def plain_formula(lane: Lane, chunk: Chunk) -> dict[str, Any]:
    """Every fifth has no peaks and every seventh diverges, by its seed; the others are the better the nearer eps and alpha are."""
    at = lane.params
    said: dict[str, Any] = {
        "job_uuid": lane.job_uuid,
        "status": "ok",
        "flags": [],
        "log_prime_sse": abs(at["eps"] - 0.7) + abs(at["lam"] - 1.0),
        "sse_code": None,
        "sdg_h_norm_l2": abs(at["alpha"]) + at["kappa"] / 10,
        "h_code": None,
        "sdg_h_norm_l2_max": 2.0,
        "scaling_factor": 1.5,
        "n_peaks": 6,
        "n_targets": chunk.targets,
        "resolved": True,
        "artefact_sha256": lane.job_uuid.replace("-", "") * 2,
    }
    if lane.seed % 7 == 0:
        codes = {"log_prime_sse": None, "sse_code": "diverged", "sdg_h_norm_l2": None, "h_code": "diverged"}
        return {**said, **codes, "status": "diverged", "fail_step": 3, "scaling_factor": None, "resolved": False}
    if lane.seed % 5 == 0:
        return {**said, "log_prime_sse": None, "sse_code": "no_peaks", "n_peaks": 0, "scaling_factor": None}
    return {**said, "gap": 0.0} if chunk.gap_draws else said


def none_diverges(lane: Lane, chunk: Chunk) -> dict[str, Any]:
    return plain_formula(msgspec.structs.replace(lane, seed=1), chunk)


class Hunter(EngineLoop):
    """What the daemon does for hunts."""

    def __init__(self, settings: Settings | None = None, formula: Formula = plain_formula, seed: int = 0) -> None:
        super().__init__(ENGINE, settings, seed=seed)
        self.formula = formula

    @property
    def hunts(self) -> Hunts:
        assert isinstance(self.state, Hunts)
        return self.state

    @property
    def hunt(self) -> Hunt:
        found = self.hunts.newest()
        assert found is not None
        return found

    def start(self, asked: Mapping[str, Any] = SMALL, **more: Any) -> str:
        self.ask("start", {**asked, **more})
        self.settle()
        return self.hunt.hunt_id

    def errands(self) -> list[Errand]:
        assert ENGINE.wanted is not None
        return [each for each in ENGINE.wanted(self.state, self.context(IRER)) if isinstance(each, Errand)]

    def computed(self, errand: Errand) -> JobEnded:
        chunk = msgspec.convert(errand.params, Chunk)
        return JobEnded(errand.id, True, "ok", "", {"lanes": [self.formula(lane, chunk) for lane in chunk.lanes]})

    def told(self, ended: JobEnded) -> bool:
        """Whether the engine took it; what comes before its turn is told again by irer."""
        try:
            self.ask("job_ended", ended, IRER)
        except Refused as refused:
            assert (refused.code, refused.reason) == ("resource-exhausted", "turn")
            return False
        self.settle()
        return True

    def round(self, place: int = 0) -> bool:
        """One of the calls that run ends; False where none does."""
        errands = self.errands()
        if not errands:
            return False
        self._pass(1_000_000)
        self.told(self.computed(errands[place % len(errands)]))
        return True

    def to_the_end(self) -> None:
        for _ in range(10_000):
            if not self.round():
                return
        raise AssertionError("the hunt never ends")

    def said(self) -> list[tuple[str, bytes]]:
        """The log without its envelopes."""
        return [(kind, payload) for kind, payload, _ in self.records]
