"""The three things every method owes, generated from the catalogue and asked of a real daemon: its example works, a field it
does not have is refused by name, and (in test_strangers) a caller without a role is refused and recorded."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from core import data
from core.engine import Row
from core.engines import ENGINES
from core.fields import takes_secret
from core.sim import SOME_RUN
from core.wire.calls import Done, Err, Item, Mark
from core.world import World
from tests.e2e.harness import Irerd
from tests.e2e.raw import Raw

ROWS = [row for row in World(ENGINES).rows.values() if row.kind != "internal"]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Irerd]:
    nobody_there = '[cache.remote]\nurl = "http://127.0.0.1:1"\nattempts = 100\n'
    examples = Path(__file__).parents[2] / "docs/examples"
    still = "[entities]\nheartbeat_s = 86400\nbase_s = 300\n[pools]\nscale_hold_s = 86400\n"
    nothing_by_itself = f'{still}[component]\ntriggered = []\nwinners = []\ndirectory = "{examples}"\n'
    irerd = Irerd(tmp_path_factory.mktemp("methods"), nobody_there + nothing_by_itself).start()
    with irerd.client() as client:
        client.call("resource.submit_task", {"task_id": "t-1", "resource_type": "storage", "duration_s": 3600}, idem="cli-8d2f6c01")
        for key, value in (("greeting", "good day"), ("old-greeting", "ave"), ("agenda", {"text": "tea at four"})):
            client.call("cache.set", {"key": key, "value": value})
        for engine_id in ("action", "retired"):
            client.call("engines.register", {"engine_id": engine_id, "capabilities": {}})
        client.call("platforms.define", {"platform": "calendar", "actions": {"create_event": []}})
        for entity_id, kind in (("sensor_007", "sensor"), ("gateway_2", "gateway")):
            client.call("entity.spawn", {"entity_id": entity_id, "type": kind})
            client.call("entity.awaken", {"entity_id": entity_id})
        client.call("entity.report", {"entity_id": "gateway_2", "health": 5})
        client.call("eil.sense", {"source": "datacenter-01", "timestamp": "2025-01-20T11:00:00Z", "telemetry": {"power_draw": 800}})
        for text in reversed(data.TEXTS):
            client.call("data.emit", {"family": "local", "type": "content_created", "data": {"text": text}})
    leave_fields(irerd)
    hunted(irerd)
    try:
        yield irerd
    finally:
        irerd.close()


def leave_fields(irerd: Irerd) -> None:
    """The file of a run long ago, so that there is something to look into without computing a field."""
    numpy, artefact = pytest.importorskip("numpy"), pytest.importorskip("kernels.artefact")
    attributes = {"job_uuid": SOME_RUN["job_uuid"], "status": "diverged", "seed": 1, "n_targets": 5}
    codes = {"sse_code": "diverged", "h_code": "diverged"}
    settings = {"n": 8, "l": 10.0, "d": 1, "steps": 1, "dt": 0.1, "dtype": "complex64", "geometry": "off"}
    field = numpy.ones(8, numpy.complex64)
    arrays = {"A": field, "rho_s": field.real, "snaps": field[None], "diag": numpy.zeros((1, 6))}
    place = irerd.state / f"data/run_{SOME_RUN['job_uuid']}.h5"
    place.parent.mkdir(exist_ok=True)
    with place.open("w+b") as file:
        artefact.write(file, artefact.Artefact(attributes | codes, settings, arrays))


def hunted(irerd: Irerd) -> None:
    """A hunt that found something, however little: the best of it is asked for."""
    small = {"grid": {"n": 32, "d": 1}, "steps": 64}
    with irerd.client(timeout=120.0) as client:
        begun = client.call("hunt.start", {"num_generations": 1, "population_size": 2, "seed": 7, "settings": small}).result
        with client.stream("system.op_watch", {"job": begun["hunt_id"]}) as items:
            for _ in items:
                pass
        assert client.call("hunt.best").result["job_uuid"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_example_of_every_method_works(daemon: Irerd, row: Row) -> None:
    raw = Raw(daemon.socket)
    params = dict(row.example)
    if row.name == "resource.submit_task":
        params["task_id"] = "t-2"  # t-1 is there for the others
    if row.name == "gate.revoke_token":
        issued = raw.ask("gate.issue_token", {"domain": "info", "subject": "user_001"})
        assert isinstance(issued, Done)
        params["jti"] = issued.r["jti"]  # no example can know one
    if row.name == "eil.proof":
        sensed = raw.ask("eil.sense", {"source": "rack-01", "telemetry": {"power_draw": 800}})
        assert isinstance(sensed, Done)
        params |= {"prediction_id": sensed.r["prediction_id"]}  # the same
    if row.name == "eil.feedback":
        chosen = raw.ask("eil.act", {"goal": "minimize_energy", "current_state": {"active_servers": 12, "avg_utilization": 0.68}})
        assert isinstance(chosen, Done)
        params["action_id"] = chosen.r["action_id"]  # the same
    if row.name == "eil.market_trade":
        quoted = raw.ask("eil.market_quote", {"asset": "CEU", "side": "buy", "quantity": 1})
        assert isinstance(quoted, Done)
        params["quote_id"] = quoted.r["quote_id"]  # the same
    if row.name == "system.revoke_http_token":
        issued = raw.ask("system.issue_http_token", {"subject": "user_001", "role": "viewer"})
        assert isinstance(issued, Done)
        params["jti"] = issued.r["jti"]  # the same
    if row.name in ("system.op_watch", "system.op_cancel"):
        params["job"] = ended_sync(raw)  # the same
    if row.name == "component.accept":
        listed = raw.ask("component.list")
        assert isinstance(listed, Done)
        (params["digest"],) = [each["digest"] for each in listed.r["components"] if each["name"] == params["name"]]  # the same
    if row.name == "hunt.certify":
        listed = raw.ask("hunt.list")
        assert isinstance(listed, Done)
        (active,) = [each["hunt_id"] for each in listed.r["hunts"] if each["state"] in ("running", "stopping")] or [None]
        assert active is None or isinstance(raw.ask("system.op_cancel", {"job": active}), Done)
        hunt_id = listed.r["hunts"][-1]["hunt_id"]
        page = raw.ask("hunt.ledger", {"hunt_id": hunt_id, "sort": "log_prime_sse"})
        assert isinstance(page, Done)
        params["job_uuid"] = page.r["rows"][0]["job_uuid"]  # of the others nothing was computed
    if row.name in ("hunt.best", "hunt.paradox"):
        listed = raw.ask("hunt.list")
        assert isinstance(listed, Done)
        params["hunt_id"] = listed.r["hunts"][-1]["hunt_id"]  # of the others nothing was computed
    id = raw.call(row.name, params)
    first = raw.next()
    if row.deadline_ms is None and isinstance(first, Mark):
        return  # an endless stream has begun
    while isinstance(first, Item | Mark):
        first = raw.next()
    assert isinstance(first, Done) and first.id == id, first
    assert (first.rc is not None) == (row.kind == "write" and bool(first.r)), "a write says where it stands"
    if row.name in ("cache.sync", "data.sync", "sim.run", "hunt.start", "hunt.resume"):
        job = next(first.r[name] for name in ("job", "job_uuid", "hunt_id") if name in first.r)
        assert isinstance(raw.ask("system.op_cancel", {"job": job}), Done)


def ended_sync(raw: Raw) -> str:
    begun = raw.ask("cache.sync")
    assert isinstance(begun, Done)
    assert isinstance(raw.ask("system.op_cancel", {"job": begun.r["job"]}), Done)
    return str(begun.r["job"])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_field_that_a_method_does_not_have_is_refused_by_name(daemon: Irerd, row: Row) -> None:
    raw = Raw(daemon.socket)
    error = raw.ask(row.name, {**row.example, "surprise": 1})
    assert isinstance(error, Err) and error.e["code"] == "invalid-argument"
    assert [field["path"] for field in error.e["fields"]] == ["surprise"]
    assert f"irerctl api show {row.name}" in error.e["detail"]


@pytest.mark.parametrize("row", [row for row in ROWS if row.kind == "write"], ids=lambda row: row.name)
def test_trying_a_write_dry_shows_its_events_and_changes_nothing(daemon: Irerd, row: Row) -> None:
    raw = Raw(daemon.socket)
    params = {**row.example, "task_id": "t-1"} if row.name == "resource.cancel_task" else dict(row.example)
    params = {**params, "task_id": "t-dry"} if row.name == "resource.submit_task" else params
    before = raw.ask("system.status")
    tried = raw.ask(row.name, params, dry=True)
    after = raw.ask("system.status")
    assert isinstance(before, Done) and isinstance(after, Done)
    assert isinstance(tried, Done | Err)
    if takes_secret(row.params):
        assert isinstance(tried, Err), "what judges a secret is never tried without a record"
    if isinstance(tried, Done):
        assert tried.rc is None and all(set(event) == {"type", "data"} for event in tried.r["events"])
    if on_record(before) == on_record(after):
        for status in (before, after):
            status.r["engines"]["entity"].pop("silent_for_s", None)  # a matter of the second
        assert before.r["engines"] == after.r["engines"]
        return
    for log, count in on_record(after).items():  # engines work by themselves, meanwhile too
        came = (daemon.state / f"{log}.jsonl").read_bytes().splitlines()[on_record(before)[log] : count]
        assert {json.loads(line)["actor"] for line in came} <= {"irer"}, f"{log} has a record of the caller"


def on_record(status: Done) -> dict[str, int]:
    """How many records each log has; how many of them are durable is a matter of the moment."""
    return {each["log"]: each["records"] for each in status.r["logs"]}
