"""While gate_log takes no writes nobody gets in by a token, and both the one who is refused and the one who looks are told so."""

from pathlib import Path

import pytest
import trio

from core.engine import Actor, Refused
from core.gate.commands import CheckToken
from irerd.dispatch import GATE_SHUT
from state.room import ROOM, no_room
from tests.irerd.served import Served, serving

ANN = Actor("uid:1", "operator", 1)


def refused(served: Served) -> Refused:
    dispatch = served.daemon.dispatch
    with pytest.raises(Refused) as error:
        dispatch.write(dispatch.world.rows["gate.check"], CheckToken("no token", "wealth"), ANN, lambda answer: None)
    return error.value


def said_of_tokens(served: Served) -> list[str]:
    return [check.reason for check in served.daemon.checks() if check.name == "tokens" and check.health == "failed"]


async def test_on_a_full_disk_and_after_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path) as served:
        writer = served.daemon.dispatch.writer
        assert writer is not None and said_of_tokens(served) == []
        with monkeypatch.context() as patch:
            patch.setattr(writer._queues["gate_log"], "full", no_room(ROOM, 0))
            assert GATE_SHUT in refused(served).detail and refused(served).reason == "disk-full"
            [text] = said_of_tokens(served)
            assert GATE_SHUT in text and "can read" in text
        with monkeypatch.context() as patch:
            patch.setattr(writer._queues["engine_state"], "full", no_room(ROOM, 0))
            assert said_of_tokens(served) == [], "only of that log"
        served.daemon.dispatch.read_only["gate_log"] = "3 faults within an hour"
        assert GATE_SHUT in refused(served).detail and "irerctl doctor" in refused(served).detail
        assert len(said_of_tokens(served)) == 1
        await trio.lowlevel.checkpoint()
