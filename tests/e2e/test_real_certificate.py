"""A certificate on a real daemon with real workers, of what a real hunt found: killed in the middle it comes to the same."""

import json
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.hunt import certificate
from core.hunt.certificate import Figures
from irerctl.client import Error
from tests.campaigns import campaign
from tests.e2e.harness import Irerd

for name in ("jax", "h5py", "numba"):
    pytest.importorskip(name)

HUNT: dict[str, Any] = {
    "num_generations": 1,
    "population_size": 2,
    "seed": 3,
    "settings": {"grid": {"n": 96, "l": 100, "d": 1}, "steps": 200, "dt": 0.05},
}
"""One whose best candidate has peaks for eight targets to be sought in, on 192 points; in one dimension, so that it is quick."""
ALONE = "[component]\ntriggered = []\nwinners = []\n[compute]\nworkers = 1\n"
END_S = 300.0
KINDS = ["fresh"] * 5 + ["half_step"] * 3 + ["finer"] * 3


def end_of(daemon: Irerd, job: str) -> Mapping[str, Any]:
    with daemon.client(END_S) as client, client.stream("system.op_watch", {"job": job}) as items:
        for _ in items:
            pass
        return dict(items.result)


def said(daemon: Irerd) -> Any:
    """What the log says that it came to, and the file."""
    lines = [json.loads(line) for line in (daemon.state / "hunt_log.jsonl").read_bytes().splitlines()]
    (event,) = [each["payload"] for each in lines if each["event_type"] == "hunt.certified"]
    return event, (daemon.state / f"certificates/certificate_{event['job_uuid']}.json").read_bytes()


def begun(place: Path) -> tuple[Path, str, str]:
    """A state in which a certificate has just begun; its job, and whose it is."""
    daemon = Irerd(place, ALONE).start()
    try:
        with daemon.client(END_S) as client:
            hunt_id = client.call("hunt.start", HUNT).result["hunt_id"]
            with pytest.raises(Error, match="irerctl hunt"):
                client.call("hunt.certify")
            assert end_of(daemon, hunt_id)["ok"]
            best = client.call("hunt.best").result["job_uuid"]
            job = str(client.call("hunt.certify", {"job_uuid": best}).result["job"])
            with pytest.raises(Error, match="op_cancel"):
                client.call("hunt.certify")
        daemon.kill9()
    finally:
        daemon.close()
    return daemon.state, job, best


@pytest.mark.campaign
def test_a_certificate_of_a_real_candidate_comes_to_the_same_however_often_irerd_is_killed(tmp_path: Path) -> None:
    state, job, best = begun(_made(tmp_path, "first"))
    whole = _copied(tmp_path, "whole", state).start()
    try:
        ended = end_of(whole, job)
        assert ended["ok"] and ended["result"]["job_uuid"] == best
        with whole.client() as client:
            told = client.call("hunt.best").result["certificate"]
            assert client.call("hunt.status").result["success"]["scientific"]["certificate"] == told["verdict"]
    finally:
        whole.close()
    event, page = said(whole)
    figures = msgspec.convert(event["figures"], list[Figures])
    assert [each.kind for each in figures] == KINDS and len({each.seed for each in figures}) == 5
    assert msgspec.to_builtins(certificate.judge(figures)) == event["judgement"] and event["judgement"]["verdict"] != "certified"
    assert json.loads(page)["figures"] == msgspec.to_builtins(figures) and 0 < event["p_family"] <= 1
    assert all(each.p_phase is not None for each in figures if each.kind == "fresh" and each.score is not None)

    def one(index: int) -> None:
        other = _copied(tmp_path, f"killed-{index}", state).start()
        try:
            _wait_progress(other, job, random.Random(index).randrange(1, 1_500))
            other.kill9()
            assert not (other.state / "certificates").exists(), "it was killed in the middle"
            other.start()
            assert end_of(other, job)["ok"]
            assert said(other) == (event, page)
        finally:
            other.close()
            shutil.rmtree(other.place)

    campaign("C5-certificate", one)


def _made(place: Path, name: str) -> Path:
    made = place / name
    made.mkdir()
    return made


def _copied(place: Path, name: str, state: Path) -> Irerd:
    daemon = Irerd(_made(place, name), ALONE)
    shutil.copytree(state, daemon.state)
    return daemon


def _wait_progress(daemon: Irerd, job: str, parts: int) -> None:
    """Until so much of it is done, of about 1,800."""
    with daemon.client(END_S) as client, client.stream("system.op_watch", {"job": job}) as items:
        for item in items:
            if ((item.get("progress") or item).get("done") or 0) >= parts:
                return
    raise AssertionError("it ended before it was to be killed")
