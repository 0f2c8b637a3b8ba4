"""Who is one caller to the hub, and whose turn it is: so that one who asks for much takes nothing from those who ask for little.

Strangers are counted by address, for nothing else is known of them; who was let in, by name. Keeps nothing of what was asked.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv6Address, ip_address, ip_network

import trio

IPV6_PREFIX = 64
"""Whoever has one address of such a network has all of them."""


def one_of(address: str) -> str:
    """The caller that an address stands for."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(found, IPv6Address) or found.is_loopback:
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ip_network((found, IPV6_PREFIX), strict=False))


class _Line:
    """Who holds places, and who waits for one: whoever holds the fewest comes next, and among those who waits longest."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[trio.Event]] = OrderedDict()

    async def _wait_turn(self, who: str, give: Callable[[str], None]) -> None:
        """Until `_call` of them, who holds the place by then."""
        turn = trio.Event()
        self._waiting.setdefault(who, deque()).append(turn)
        try:
            await turn.wait()
        except trio.Cancelled:
            if turn.is_set():  # the place came with the end of the patience
                give(who)
            else:
                self._forget(who, turn)
            raise

    def _following(self) -> str:
        return min(self._waiting, key=lambda each: self._held[each])

    def _call(self, who: str) -> None:
        turn = self._waiting[who][0]
        self._forget(who, turn)
        turn.set()

    def _let_go(self, who: str) -> None:
        self._held[who] -= 1
        if not self._held[who]:
            del self._held[who]

    def _forget(self, who: str, turn: trio.Event) -> None:
        self._waiting[who].remove(turn)
        if not self._waiting[who]:
            del self._waiting[who]


class Turns(_Line):
    """So many may be at it at once. A place that gets free goes to who has the fewest, and among those to who waits longest."""

    def __init__(self, places: int) -> None:
        super().__init__()
        self._free = places

    @asynccontextmanager
    async def one(self, peer: str) -> AsyncIterator[None]:
        if self._free:
            self._free -= 1
            self._held[peer] += 1
        else:
            await self._wait_turn(peer, self._give)
        try:
            yield
        finally:
            self._give(peer)

    def _give(self, peer: str) -> None:
        self._let_go(peer)
        if not self._waiting:
            self._free += 1
            return
        following = self._following()
        self._held[following] += 1
        self._call(following)


class Shares(_Line):
    """Places of which everybody may hold as many as are free besides: who asks for much gets half of them, the next such half of
    the rest, and whoever comes after them finds one at once.
    """

    def __init__(self, places: int) -> None:
        super().__init__()
        self.places = places
        self._taken = 0

    def may_take(self, who: str) -> bool:
        return self._held[who] < self.places - self._taken

    def take_nowait(self, who: str) -> bool:
        """A place, if there is one for them at once. It is given back with `give`."""
        if who in self._waiting or not self.may_take(who):
            return False
        self._hold(who)
        return True

    async def take(self, who: str) -> None:
        """A place, as soon as it is theirs."""
        if not self.take_nowait(who):
            await self._wait_turn(who, self.give)

    def give(self, who: str) -> None:
        self._taken -= 1
        self._let_go(who)
        while self._waiting:
            following = self._following()
            if not self.may_take(following):
                return
            self._hold(following)
            self._call(following)

    def _hold(self, who: str) -> None:
        self._taken += 1
        self._held[who] += 1
