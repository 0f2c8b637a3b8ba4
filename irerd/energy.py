"""The methods of energy intelligence that need more than the engine knows: its events as they become durable, and its self-test.

The test runs in a worker, and what the worker says is checked like input from a stranger. Who hangs up ends it.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from core import system
from core.energy import standing
from core.engine import Actor, Refused
from irerd.session import Stream
from irerd.workers import Progress, WorkFailed

if TYPE_CHECKING:
    from irerd.daemon import Daemon

Watch = Callable[[system.Watch, Actor, Stream], Awaitable[None]]
WORK_S_MAX = 600.0
TICKS_MIN = 10_000
"""Fewer ticks of the daemon's own streams say nothing of their alarms."""

_REFUSALS = {
    "not-installed": "a numeric library is not installed where irerd runs. Install irer with its science extra, then ask again",
    "timeout": "it took longer than 10 minutes. Leave out full, or try again when the machine is less busy",
    "busy": "too many jobs wait for a worker. Wait until some are done, then ask again",
}


class EnergyPorts:
    def __init__(self, daemon: "Daemon", watch: Watch) -> None:
        self._daemon = daemon
        self._watch = watch

    async def stream(self, params: standing.WatchEnergy, actor: Actor, stream: Stream) -> None:
        await self._watch(system.Watch(engine="eil", since=params.since), actor, stream)

    async def selftest(self, params: standing.AskSelfTest, actor: Actor, stream: Stream) -> standing.SelfTest:
        spec = msgspec.json.encode({"full": params.full, "seed": params.seed})

        def tell(progress: Progress) -> None:
            stream.item(standing.SelfTestProgress(progress.done, progress.total))

        try:
            said = await self._daemon.host.work("selftest", spec, timeout_s=WORK_S_MAX, on_progress=tell)
        except WorkFailed as failed:
            text = _REFUSALS.get(failed.code, "the worker ended early. Ask again; if it stays so, see: irerctl doctor")
            raise Refused("unavailable", f"the self-test did not end: {text}", reason=failed.code) from None
        try:
            found = msgspec.json.decode(said, type=standing.SelfTest)
        except msgspec.MsgspecError:
            raise Refused("internal", "what the worker said cannot be true. Try again; then: irerctl doctor") from None
        return msgspec.structs.replace(found, alarms_here=self._alarms_here())

    def _alarms_here(self) -> float | None:
        energy: Any = self._daemon.world.states["eil"]
        ticks, alarms = energy.view.alarms()
        return 1e5 * alarms / ticks if ticks >= TICKS_MIN else None
