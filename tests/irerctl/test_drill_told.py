"""The end of an offline drill in words: what survived, and what did not, by name."""

import json
from typing import Any

import pytest

from tests.irerctl import samples
from tests.irerctl.conftest import Run, Serve
from tests.irerctl.peer import Stream, Written

BEGUN = {"job": "j-1", "hours": 24, "operations": 10_000, "seed": 1}
FOUND: dict[str, Any] = {
    "attempted": 10_000,
    "survived": 10_000,
    "hours": 24,
    "operations": 10_000,
    "conflicts": 381,
    "kills": 14,
    "cuts": 51,
    "equal": True,
    "chains": "ok",
    "lost": [],
    "latency_tolerance": 100.0,
}


def ended(code: str, **found: Any) -> dict[str, Any]:
    job = {"job": "j-1", "method": "cache.drill", "state": "done", "seq": 4, "started_at": samples.AT, "ended_at": samples.AT}
    return {**job, "ok": code == "ok", "code": code, "result": FOUND | found}


@pytest.mark.parametrize(
    ("job", "status", "words"),
    [
        (
            ended("ok"),
            0,
            ["100 %: 10000 of 10000 operations survived 24 hours", "both sides are equal, and every chain verifies"],
        ),
        (
            ended("lost", survived=9_999, latency_tolerance=99.99, equal=False, lost=[{"key": "drill-7", "why": "missing-there"}]),
            1,
            ["99.99 %: 9999 of 10000", "the sides are not equal", "drill-7", "missing-there"],
        ),
        (ended("chain-broken", chains="broken"), 1, ["a chain is broken"]),
    ],
    ids=["ok", "lost", "chain-broken"],
)
def test_a_drill_is_told_in_words_and_its_loss_is_exit_status_1(
    run: Run, serve: Serve, job: dict[str, Any], status: int, words: list[str]
) -> None:
    running = {**job, "state": "running", "result": {}, "progress": {"phase": "sync"}}
    peer = serve({"cache.drill": Written(BEGUN), "system.op_watch": Stream([running], result=job)})
    ran = run("offline", "drill", "--hours", "24", "--operations", "10000")
    assert ran.exit_code == status, ran.output
    for said in words:
        assert said in ran.stdout
    assert [call.p for call in peer.calls] == [{"hours": 24, "operations": 10_000}, {"job": "j-1"}]
    assert json.loads(run("-o", "json", "offline", "drill", "--wait").stdout)["job"]["result"] == job["result"]


def test_a_drill_without_an_outcome_says_why(run: Run, serve: Serve) -> None:
    job = {**ended("timeout"), "result": {}, "detail": "it took longer than a job may"}
    serve({"cache.drill": Written(BEGUN), "system.op_watch": Stream([], result=job)})
    ran = run("offline", "drill")
    assert ran.exit_code == 1 and "cache.drill: timeout" in ran.stdout and "longer than a job may" in ran.stdout
