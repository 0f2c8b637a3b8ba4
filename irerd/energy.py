"""The methods of energy intelligence that need more than the engine knows: its events as they become durable."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from core import system
from core.energy.standing import WatchEnergy
from core.engine import Actor
from irerd.session import Stream

if TYPE_CHECKING:
    from irerd.daemon import Daemon

Watch = Callable[[system.Watch, Actor, Stream], Awaitable[None]]


class EnergyPorts:
    def __init__(self, daemon: "Daemon", watch: Watch) -> None:
        self._daemon = daemon
        self._watch = watch

    async def stream(self, params: WatchEnergy, actor: Actor, stream: Stream) -> None:
        await self._watch(system.Watch(engine="eil", since=params.since), actor, stream)
