"""Staying: after all that there was, what changes on either side goes to the other as it comes.

One task reads the far end's feed into a short queue, one notices what is written here, and one alone does the work, so that no two
steps of a replication are ever under way at once. A feed lasts a bounded time and may break off at any byte: whatever ended it,
both sides are asked anew how far they are, as a sync begins, so a far end that was restored or made anew meanwhile is noticed.
"""

from collections.abc import Callable
from contextlib import aclosing

import trio

from core.cache.sync import waiting
from core.engine import Refused
from irerd.couch.database import RETRY_BASE_S, RETRY_CAP_S, Database, Fed, Page, Seq
from irerd.couch.failures import Failed, TooLarge
from irerd.couch.here import Here
from irerd.couch.replicate import Replication

FEED_S = 300.0
"""The longest that one feed is read; then both sides are asked again how far they are."""
CHECKPOINT_S = 5.0
"""Places are remembered at most this often while a feed is read: what is done twice after a cut changes nothing."""
LOOK_S = 10.0
"""How often it is looked whether this is still what the settings ask for."""


class Live:
    def __init__(
        self, replication: Replication, here: Here, there: Database, attempts: int, chance: Callable[[], float], queue_len_max: int
    ) -> None:
        self._replication = replication
        self._here = here
        self._there = there
        self._attempts = attempts
        self._chance = chance
        self._queue_len_max = queue_len_max
        self._stirred = trio.Event()
        self._broken: Exception | None = None
        self.caught_up = False
        """Whether both sides were equal once."""

    async def run(self, still: Callable[[], bool]) -> None:
        """Until the settings ask for something else. Raises Failed when the far end is gone for longer than a moment."""
        broken_off = 0
        while still():
            await self._replication.run()
            self.caught_up = True
            since = trio.current_time()
            broken = await self._follow(still)
            if broken is None or trio.current_time() - since > LOOK_S:
                broken_off = 0
            if broken is not None:
                broken_off += 1
                if not isinstance(broken, Failed) or not broken.transient or broken_off > self._attempts:
                    raise broken
                await trio.sleep(self._chance() * min(RETRY_CAP_S, RETRY_BASE_S * 2.0**broken_off))

    async def _follow(self, still: Callable[[], bool]) -> Exception | None:
        """One feed, to its end; what broke it off, if anything did."""
        self._broken = None
        send, rows = trio.open_memory_channel[Fed](self._queue_len_max)
        with self._replication.seldom():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, self._replication.cursor, send)
                nursery.start_soon(self._notice)
                try:
                    await self._work(rows, still)
                except (Failed, Refused, TooLarge) as error:
                    self._broken = error
                nursery.cancel_scope.cancel()
        return self._broken

    async def _read(self, since: Seq, send: trio.MemorySendChannel[Fed]) -> None:
        """The far end's changes into the queue: when that is full the connection waits, and so does the far end."""
        async with send:
            try:
                async with aclosing(self._there.feed(since)) as feed:
                    async for row in feed:
                        await send.send(row)
                        self._stirred.set()
            except (Failed, TooLarge) as error:
                self._broken = error
        self._stirred.set()

    async def _notice(self) -> None:
        """Stir when something was written here that the far end has not confirmed."""
        while True:
            if next(iter(waiting(self._here.cache, self._replication.pushed_seq, 1)), None) is not None:
                self._stirred.set()
            await self._here.advanced()

    async def _work(self, rows: trio.MemoryReceiveChannel[Fed], still: Callable[[], bool]) -> None:
        ends = trio.current_time() + FEED_S
        remembered = trio.current_time()
        while still() and trio.current_time() < ends:
            self._replication.say("live")
            with trio.move_on_after(LOOK_S):
                await self._stirred.wait()
            self._stirred = trio.Event()
            taken, over = _taken(rows, self._queue_len_max)
            if taken:
                await self._replication.pull_some(Page(list(taken), taken[-1].seq))
                self._stirred.set()  # there may be more in the queue
            if next(iter(waiting(self._here.cache, self._replication.pushed_seq, 1)), None) is not None:
                await self._replication.push_all(again=False)
            if trio.current_time() - remembered > CHECKPOINT_S:
                await self._replication.remember()
                remembered = trio.current_time()
            if over:
                self._broken = self._broken or Failed("unreachable", "the far end keeps ending its feed of changes", transient=True)
                return
        await self._replication.remember()


def _taken(rows: trio.MemoryReceiveChannel[Fed], most: int) -> tuple[list[Fed], bool]:
    """What has come, at most so much, and whether nothing more will."""
    taken: list[Fed] = []
    while len(taken) < most:
        try:
            taken.append(rows.receive_nowait())
        except trio.WouldBlock:
            return taken, False
        except trio.EndOfChannel:
            return taken, True
    return taken, False
