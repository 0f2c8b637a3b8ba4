"""Whoever waits for a command is told as soon as it is durable: what else it leads to comes after."""

from pathlib import Path
from typing import Any

import pytest
import trio

from core.settings import Settings
from core.wire.calls import ClientConnection, Done
from irerd.listen import Credentials
from tests.irerd.served import Configuration, serving


class Caller:
    """A caller's end: it says what it has to say, and hears what is sent."""

    def __init__(self) -> None:
        self.wire = ClientConnection()
        self.say, self._said = trio.open_memory_channel[bytes](8)
        self.heard: list[Any] = []
        self.gone = False

    async def receive(self) -> bytes:
        return await self._said.receive()

    def send_nowait(self, data: bytes) -> int:
        if self.gone:
            raise BrokenPipeError
        self.heard += self.wire.receive(data)
        return len(data)

    async def wait_writable(self) -> None: ...

    def close(self) -> None: ...

    def set(self, key: str) -> None:
        self.say.send_nowait(self.wire.call("cache.set", {"key": key, "value": 1})[1])


async def test_an_answer_leaves_before_anything_else_comes_of_it_and_who_is_gone_keeps_nobody(
    tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, Configuration(Settings())) as served:
        daemon, stays, leaves = served.daemon, Caller(), Caller()
        told: list[int] = []
        fed, groups = daemon.views.after_group, trio.open_memory_channel[set[str]](8)

        def after_group(durable: dict[str, int]) -> None:
            told.append(sum(isinstance(message, Done) for message in stays.heard))
            fed(durable)
            groups[0].send_nowait(set(durable))

        monkeypatch.setattr(daemon.views, "after_group", after_group)
        for caller in (leaves, stays):
            caller.say.send_nowait(caller.wire.hello("test/1"))
            nursery.start_soon(daemon.serve, caller, Credentials(daemon.own_uid, 0, ()))
        stays.set("a")
        assert await groups[1].receive() == {"cache_log"}
        assert told == [1]
        leaves.set("b")
        leaves.gone = True
        assert await groups[1].receive() == {"cache_log"}
        stays.set("c")
        assert await groups[1].receive() == {"cache_log"}
        assert told == [1, 1, 2]
        for caller in (leaves, stays):
            caller.say.send_nowait(b"")
