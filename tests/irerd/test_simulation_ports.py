"""What looks into a run's file believes no worker: what cannot be true is an error, and every failure has a code and a remedy."""

import base64
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from core import sim
from core.engine import IRER, Refused
from core.sim.reads import OneRun, ShowRun
from irerd.session import Stream
from irerd.simulation import SimulationPorts
from irerd.workers import WorkFailed
from tests.core.engine_loop import EngineLoop

JOB = "6f1b7d9e-3a52-4a63-9f0d-0d5a3c1e9b42"
OTHER = "00000000-0000-4000-8000-000000000000"
STREAM: Any = object.__new__(Stream)


def rows(width: int, height: int) -> list[str]:
    return [base64.b64encode(bytes((10 * y + x) % 256 for x in range(width))).decode() for y in range(height)]


def fields(*texts: str) -> dict[str, Any]:
    return {name: {"low": 0.0, "high": 1.0, "rows": list(texts)} for name in ("rho", "phase", "rho_s")}


def looked(**changed: Any) -> dict[str, Any]:
    return {
        "job_uuid": JOB,
        "artefact_sha256": "ab" * 32,
        "attributes": {"status": "ok", "seed": 1, "sse_code": "no_peaks", "sdg_h_norm_l2": 0.5, "model": "sncgl_sdg"},
        "settings": {"n": 8, "l": 20.0, "d": 2, "steps": 4, "dt": 0.05, "kernel": "gaussian"},
        "fields": fields(*rows(8, 8)),
        "spectrum": {
            "dk": 0.5,
            "x": [1.0, 2.0],
            "y": [0.0, 1.0],
            "baseline": [0.0, 0.0],
            "peaks": [{"x": 2.0, "prominence": 1.0, "prime": None}],
            "targets": [],
        },
    } | changed


class Machine:
    """A host whose worker says what the test wants, and whose disk has one run."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.files = SimpleNamespace(stat_path=lambda path: path if path == f"data/run_{JOB}.h5" else None)

    async def offload(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)

    async def work(self, name: str, spec: bytes, *, timeout_s: float) -> bytes:
        self.asked.append((name, json.loads(spec)))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer if isinstance(self.answer, bytes) else json.dumps(self.answer).encode()


def ports(answer: Any) -> tuple[SimulationPorts, Machine, EngineLoop]:
    loop, host = EngineLoop(sim.ENGINE), Machine(answer)
    daemon: Any = SimpleNamespace(host=host, world=loop.world, state_dir="/state")
    return SimulationPorts(daemon), host, loop


def show(answer: Any, job_uuid: str = JOB, points: int = 8) -> Any:
    made, _, _ = ports(answer)
    return trio.run(made.show, ShowRun(job_uuid, points), IRER, STREAM)


def refused(answer: Any, job_uuid: str = JOB) -> Refused:
    with pytest.raises(Refused) as caught:
        show(answer, job_uuid)
    return caught.value


def test_a_picture_is_thinned_to_what_was_asked_for_and_wave_numbers_are_in_units_of_the_box() -> None:
    seen = show(looked(), points=4)
    assert [(panel.name, panel.width, panel.height) for panel in seen.panels] == [("rho", 4, 4), ("phase", 4, 4), ("rho_s", 4, 4)]
    assert seen.panels[0].pixels == bytes(10 * y + x for y in (0, 2, 4, 6) for x in (0, 2, 4, 6))
    assert (seen.spectrum.k, seen.spectrum.peaks[0].k, seen.spectrum.scaling_factor) == ([0.5, 1.0], 1.0, None)
    assert (seen.log_prime_sse, seen.sse_code, seen.sdg_h_norm_l2, seen.h_code) == (None, "no_peaks", 0.5, None)


LIES: dict[str, Any] = {
    "no JSON": b"\xff",
    "another shape": {"job_uuid": JOB},
    "another run": looked(job_uuid=OTHER),
    "rows of different lengths": looked(fields=fields(*rows(8, 1), *rows(7, 1))),
    "empty rows": looked(fields=fields("")),
    "rows of another alphabet": looked(fields=fields("~~~~")),
    "no number": json.dumps(looked()).replace('"low": 0.0', '"low": NaN').encode(),
    "a number too large": json.dumps(looked()).replace('"low": 0.0', '"low": 1e999').encode(),
    "a spectrum that does not fit": looked(spectrum={**looked()["spectrum"], "y": [0.0]}),
    "a hash of another form": looked(artefact_sha256="XY"),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_cannot_be_a_picture_is_an_error_of_ours(lie: str) -> None:
    said = refused(LIES[lie])
    assert (said.code, said.reason) == ("internal", "bad-output")


@pytest.mark.parametrize(
    ("failed", "code", "reason"),
    [
        (WorkFailed("no-artefact"), "not-found", "no-artefact"),
        (WorkFailed("bad-artefact"), "data-loss", "bad-artefact"),
        (WorkFailed("not-installed", "h5py"), "failed-precondition", "not-installed"),
        (WorkFailed("timeout"), "deadline-exceeded", "timeout"),
        (WorkFailed("busy"), "resource-exhausted", "busy"),
        (WorkFailed("poison", "memory"), "resource-exhausted", "memory"),
        (WorkFailed("poison", "died"), "unavailable", "poison"),
        (WorkFailed("closed"), "unavailable", "closed"),
    ],
    ids=lambda each: getattr(each, "code", None) or str(each),
)
def test_each_way_to_fail_has_its_code_and_says_what_to_do(failed: WorkFailed, code: str, reason: str) -> None:
    said = refused(failed)
    assert (said.code, said.reason) == (code, reason) and JOB in said.detail and len(said.detail) > len(JOB) + 40


def test_a_run_without_a_file_starts_no_worker() -> None:
    made, host, _ = ports(looked())
    with pytest.raises(Refused) as unknown:
        trio.run(made.profile, OneRun(OTHER), IRER, STREAM)
    assert unknown.value.code == "not-found" and host.asked == []


def test_a_validation_holds_the_file_to_what_the_log_says() -> None:
    figure = {"said": 0.25, "said_code": None, "found": 0.25, "found_code": None, "agrees": True}
    answer = {"artefact_sha256": "ab" * 32, "hash_agrees": False, "tolerance": 1e-4, "agrees": False}
    made, host, loop = ports({"job_uuid": JOB, **answer, "metrics": {"log_prime_sse": figure, "sdg_h_norm_l2": figure}})
    loop.ask("run", {"grid": {"n": 8}, "steps": 1})
    (run,) = loop.state.running.values()
    outcome = {
        "job_uuid": run.job_uuid,
        "status": "ok",
        "flags": [],
        "log_prime_sse": 0.25,
        "sse_code": None,
        "sdg_h_norm_l2": None,
    }
    rest = {"h_code": "no_source", "sdg_h_norm_l2_max": None, "scaling_factor": 1.0, "n_peaks": 1, "n_targets": 5, "resolved": True}
    result = {"lanes": [{**outcome, **rest, "artefact_sha256": "cd" * 32}]}
    loop.ask("job_ended", {"effect": "hunt_log:0:0", "ok": True, "code": "ok", "result": result}, IRER)
    loop.state.ended[JOB] = loop.state.ended.pop(run.job_uuid)
    found = trio.run(made.validate, OneRun(JOB), IRER, STREAM)
    assert (found.ok, found.code, found.hash_agrees) == (False, "artefact-mismatch", False)
    claimed = {"log_prime_sse": 0.25, "sse_code": None, "sdg_h_norm_l2": None, "h_code": "no_source"}
    assert host.asked == [("validate", {"artefact": f"/state/data/run_{JOB}.h5", "claimed": claimed, "sha256": "cd" * 32})]
