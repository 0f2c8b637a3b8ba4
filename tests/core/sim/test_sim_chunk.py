"""What the work says of a chunk is believed only as far as it can be true: the same runs, finite numbers, a number or a code."""

import copy
import json
import math
from typing import Any

import msgspec
import pytest

from core.sim import model
from core.sim.chunk import Chunk, Grid, Lane, LaneOutcome, Settings, outcomes, plain

GOOD: dict[str, Any] = {
    "job_uuid": "run-1",
    "status": "ok",
    "flags": ["unsettled"],
    "log_prime_sse": 0.25,
    "sse_code": None,
    "sdg_h_norm_l2": 0.01,
    "h_code": None,
    "sdg_h_norm_l2_max": 0.02,
    "scaling_factor": 1.5,
    "n_peaks": 5,
    "n_targets": 5,
    "resolved": True,
    "artefact_sha256": "ab" * 32,
}
BAD_END = {
    **GOOD,
    "job_uuid": "run-2",
    "status": "diverged",
    "fail_step": 3,
    "log_prime_sse": None,
    "sse_code": "diverged",
    "sdg_h_norm_l2": None,
    "h_code": "diverged",
    "sdg_h_norm_l2_max": None,
    "scaling_factor": None,
    "artefact_sha256": None,
}
CHUNK = Chunk(
    "sncgl_sdg", Grid(), 10, None, Settings(), 5, [Lane(name, 1, dict(model.DEFAULTS), "h-1", 0, 1) for name in ("run-1", "run-2")]
)


def said(**changed: Any) -> dict[str, Any]:
    return {"lanes": [{**copy.deepcopy(GOOD), **changed}, BAD_END]}


def test_a_true_outcome_is_believed_in_the_order_of_the_lanes() -> None:
    assert outcomes(said(), CHUNK) == [msgspec.convert(GOOD, LaneOutcome), msgspec.convert(BAD_END, LaneOutcome)]


def test_no_score_has_a_code_and_no_geometry_has_one_too() -> None:
    without = said(log_prime_sse=None, sse_code="no_peaks", scaling_factor=None, sdg_h_norm_l2=None, h_code="no_source")
    assert outcomes(without, CHUNK) is not None


def test_where_the_constraint_is_enforced_its_error_is_no_number() -> None:
    enforced = msgspec.structs.replace(CHUNK, settings=Settings(geometry="elliptic"))
    code = said(sdg_h_norm_l2=None, h_code="constraint_enforced")
    assert outcomes(code, enforced) is not None and outcomes(code, CHUNK) is None
    assert outcomes(said(), enforced) is None, "a residual of rounding alone would pass for success"


LIES: dict[str, dict[str, Any]] = {
    "neither a number nor a code": said(log_prime_sse=None, scaling_factor=None),
    "a number and a code": said(sse_code="no_peaks"),
    "neither for space": said(sdg_h_norm_l2=None),
    "both for space": said(h_code="no_source"),
    "not a number": said(log_prime_sse=math.nan),
    "without end": said(sdg_h_norm_l2=math.inf),
    "largest without end": said(sdg_h_norm_l2_max=math.inf),
    "a negative sum of squares": said(log_prime_sse=-1e-9),
    "a negative norm": said(sdg_h_norm_l2=-1.0),
    "a score without its scale": said(scaling_factor=None),
    "a scale of nothing": said(scaling_factor=0.0),
    "well and diverged": said(log_prime_sse=None, sse_code="diverged", scaling_factor=None),
    "well with a step of failure": said(fail_step=3),
    "diverged without a step": {"lanes": [GOOD, {**BAD_END, "fail_step": None}]},
    "diverged after the end": {"lanes": [GOOD, {**BAD_END, "fail_step": 11}]},
    "diverged with a score": {"lanes": [GOOD, {**BAD_END, "log_prime_sse": 0.1, "sse_code": None, "scaling_factor": 1.0}]},
    "an unknown status": said(status="padding"),
    "an unknown flag": said(flags=["lucky"]),
    "a flag twice": said(flags=["unsettled", "unsettled"]),
    "other targets": said(n_targets=8),
    "a hash of another form": said(artefact_sha256="AB" * 32),
    "a field more": said(luck=1),
    "a text for a number": said(log_prime_sse="0.25"),
    "a truth for a number": said(log_prime_sse=True),
    "a negative count": said(n_peaks=-1),
    "another run": said(job_uuid="run-7"),
    "a lane less": {"lanes": [GOOD]},
    "a lane more": {"lanes": [GOOD, BAD_END, GOOD]},
    "lanes in another order": {"lanes": [BAD_END, GOOD]},
    "nothing": {},
    "more than lanes": {"lanes": [GOOD, BAD_END], "more": 1},
    "no list": {"lanes": "run-1"},
}


@pytest.mark.parametrize("lie", LIES)
def test_what_cannot_be_true_is_not_believed(lie: str) -> None:
    assert outcomes(LIES[lie], CHUNK) is None


def test_the_work_is_told_the_same_whatever_order_the_parameters_are_in() -> None:
    turned = msgspec.structs.replace(
        CHUNK, lanes=[msgspec.structs.replace(lane, params=dict(reversed(lane.params.items()))) for lane in CHUNK.lanes]
    )
    assert turned == CHUNK
    assert json.dumps(plain(turned)) == json.dumps(plain(CHUNK))
    assert msgspec.convert(json.loads(json.dumps(plain(CHUNK))), Chunk, strict=True) == CHUNK
