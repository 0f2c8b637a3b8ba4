"""What of energy intelligence needs more than the engine knows: events as they become durable, its self-test, commands that came
together.

The test runs in a worker, and what the worker says is checked like input from a stranger. Who hangs up ends it.
"""

import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from core import system
from core.energy import sensing, standing
from core.engine import Actor, Refused
from irerd.session import Stream
from irerd.workers import Progress, WorkFailed

if TYPE_CHECKING:
    from irerd.daemon import Daemon

Watch = Callable[[system.Watch, Actor, Stream], Awaitable[None]]
WORK_S_MAX = 600.0
DECISIONS_KEPT = 1_000
LOOK_US = 10_000_000
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
        self._decisions_us: deque[int] = deque(maxlen=DECISIONS_KEPT)
        self._looked: tuple[int, int] | None = None
        self._rate: float | None = None
        daemon.dispatch.timed["eil.act"] = self._decisions_us.append
        daemon.dispatch.foresee.update(dict.fromkeys(("eil.sense", "eil.sense_batch"), self._foresee))

    def _foresee(self, coming: Sequence[Any]) -> None:
        sensing.foresee(self._daemon.world.states["eil"], coming, self._daemon.host.now_us())

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

    def decision_s(self, share: float) -> float | None:
        """So long the given share of the last decisions took at most, from being taken until they were on disk."""
        took = sorted(self._decisions_us)
        return took[math.ceil(share * len(took)) - 1] / 1e6 if took else None

    def request_rate(self) -> float | None:
        """Requests a second since somebody looked last, ten seconds ago or more; None at the first look."""
        now_us = self._daemon.host.mono_us()
        count = sum(count for (method, _), count in self._daemon.dispatch.calls.items() if method.startswith("eil."))
        if self._looked is not None and now_us - self._looked[0] < LOOK_US:
            return self._rate
        if self._looked is not None:
            self._rate = (count - self._looked[1]) * 1e6 / (now_us - self._looked[0])
        self._looked = now_us, count
        return self._rate

    def measures(self) -> standing.Measures:
        return standing.measures(self._daemon.world.states["eil"])

    def _alarms_here(self) -> float | None:
        energy: Any = self._daemon.world.states["eil"]
        ticks, alarms = energy.view.alarms()
        return 1e5 * alarms / ticks if ticks >= TICKS_MIN else None
