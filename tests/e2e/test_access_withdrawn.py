"""What is under way when a role is taken away, and what nobody is told without a record."""

import os
from pathlib import Path
from typing import Any

import pytest

from core.wire.calls import Done, Err, Item, Mark
from tests.e2e.harness import Irerd
from tests.e2e.raw import Raw

LEAVING, STAYING, ENGINE_UID = 23_021, 23_022, 23_023
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can call as somebody else")


def viewers(*uids: int) -> str:
    return f'access.viewer = {[f"uid:{uid}" for uid in uids]}\naccess.engine = ["uid:{ENGINE_UID}"]\n'


@pytest.fixture
def irerd(tmp_path: Path) -> Any:
    daemon = Irerd(tmp_path, viewers(LEAVING, STAYING)).start()
    os.chmod(daemon.socket.parent, 0o755)
    os.chmod(daemon.socket, 0o666)
    yield daemon
    daemon.close()


def call_as(daemon: Irerd, uid: int) -> Raw:
    os.setegid(uid)
    os.seteuid(uid)
    try:
        return Raw(daemon.socket)
    finally:
        os.seteuid(0)
        os.setegid(0)


def ok(raw: Raw, method: str, params: dict[str, Any] | None = None, **more: Any) -> Any:
    end = raw.ask(method, params, **more)
    assert isinstance(end, Done), end
    return end.r


def following(daemon: Irerd, uid: int) -> tuple[Raw, int]:
    raw = call_as(daemon, uid)
    id = raw.call("system.watch", {"engine": "gate"})
    assert isinstance(raw.next(), Mark)
    return raw, id


@as_root
def test_a_reload_ends_the_streams_of_who_has_no_role_any_more_and_of_nobody_else(irerd: Irerd) -> None:
    """A stream has no end of its own: else it would go on telling everything until its reader hangs up."""
    (leaving, id), (staying, other) = following(irerd, LEAVING), following(irerd, STAYING)
    admin = Raw(irerd.socket)
    irerd.config.write_text(viewers(STAYING))
    ok(admin, "system.reload")
    end = leaving.next()
    assert isinstance(end, Err) and (end.id, end.e["code"], end.e["reason"]) == (id, "permission-denied", "no-role")
    seen = staying.next()
    assert isinstance(seen, Item) and seen.id == other
    told = seen.r["data"]
    assert (seen.r["type"], told["caller"], told["method"]) == ("gate.refused", f"uid:{LEAVING}", "system.watch")
    irerd.config.write_text(viewers(STAYING, LEAVING))
    ok(admin, "system.reload")
    assert isinstance(leaving.ask("system.status"), Done), "the connection itself goes on"


@as_root
def test_a_judgement_is_never_told_without_its_record(irerd: Irerd) -> None:
    """Tried dry, an engine would learn what it may do and nobody would know that it had asked."""
    admin, engine = Raw(irerd.socket), call_as(irerd, ENGINE_UID)
    ok(admin, "platforms.define", {"platform": "gmail", "actions": {"send_email": []}})
    key = ok(admin, "engines.register", {"engine_id": "curious", "capabilities": {"gmail": ["send_email"]}})["engine_key"]
    assert ok(engine, "engines.validate", {"engine_id": "curious", "engine_key": key})["valid"]
    about = {"engine_id": "curious", "platform": "gmail", "action_type": "send_email"}
    for raw, more in [(engine, {"as_": "curious"}), (admin, {})]:
        end = raw.ask("actions.check", about, dry=True, **more)
        assert isinstance(end, Err) and end.e["code"] == "invalid-argument"
        assert "permitted" not in str(end.e)
    assert ok(engine, "actions.check", about, as_="curious")["allowed"]
