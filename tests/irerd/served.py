"""A whole daemon within a test, on a real directory, and a caller's end of a connection to it."""

import json
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from core.access import Rules
from core.engines import ENGINES
from core.settings import Limits, Settings
from core.wire.calls import Bye, ClientConnection
from irerd.daemon import Daemon
from irerd.host import RealHost


class Configuration:
    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings(limits=Limits(connections_per_uid=1))
        self.rules = Rules()

    async def reload(self) -> Any:
        raise AssertionError


class Line:
    """A caller's end: takes what is sent, and looks at the log in that very moment."""

    def __init__(self, look: Callable[[], list[dict[str, Any]]]) -> None:
        self._look = look
        self.sent = b""
        self.on_record: list[dict[str, Any]] = []
        self.closed = False

    async def receive(self) -> bytes:
        await trio.sleep(math.inf)
        return b""

    def send_nowait(self, data: bytes) -> int:
        self.on_record = self._look()
        self.sent += data
        return len(data)

    async def wait_writable(self) -> None: ...

    def close(self) -> None:
        self.closed = True

    def farewell(self) -> Bye:
        [message] = ClientConnection().receive(self.sent)
        assert isinstance(message, Bye) and self.closed
        return message


class Served:
    def __init__(self, place: Path, configuration: Configuration | None = None, **given: Any) -> None:
        """`given`: another host, or what else a daemon is made with."""
        self._place = place
        host = given.pop("host", None) or RealHost(place, {})
        self.daemon = Daemon(host, configuration or Configuration(), place, ENGINES, **given)

    def refusals(self) -> list[dict[str, Any]]:
        lines = (self._place / "gate_log.jsonl").read_bytes().split(b"\n")[:-1]
        records = [json.loads(line) for line in lines]
        return [record["payload"] for record in records if record["event_type"].startswith("gate.refused")]

    def line(self) -> Line:
        return Line(self.refusals)


@asynccontextmanager
async def serving(place: Path, configuration: Configuration | None = None, **given: Any) -> AsyncIterator[Served]:
    served = Served(place, configuration, **given)
    async with trio.open_nursery() as nursery:
        ready = trio.Event()
        nursery.start_soon(served.daemon.run, ready.set)
        await ready.wait()
        yield served
        await served.daemon.stop()
