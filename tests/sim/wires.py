"""Connections in memory: two byte pipes of bounded size whose ends read and write in pieces of random length.

The daemon's end is its `Transport`; what a caller does with the other end is its own affair, down to closing in mid-frame.
"""

import errno
from random import Random

import trio

from tests.sim.trace import Trace


class Pipe:
    """Bytes one way."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.data = bytearray()
        self.ended = False
        """The writer has said that nothing more comes."""
        self.broken = False
        """The reader is gone."""
        self.readable = trio.lowlevel.ParkingLot()
        self.writable = trio.lowlevel.ParkingLot()

    @property
    def room(self) -> int:
        return self.capacity - len(self.data)

    def put(self, data: bytes) -> None:
        self.data += data
        self.readable.unpark_all()

    def take(self, size: int) -> bytes:
        taken = bytes(self.data[:size])
        del self.data[:size]
        self.writable.unpark_all()
        return taken

    def end(self) -> None:
        self.ended = True
        self.readable.unpark_all()

    def break_off(self) -> None:
        self.broken = True
        self.data.clear()
        self.writable.unpark_all()
        self.readable.unpark_all()

    def piece(self, random: Random) -> int:
        """How much a read gets: mostly all there is."""
        held = len(self.data)
        return held if held < 2 or random.random() < 0.7 else random.randint(1, held)


class DaemonEnd:
    """What the daemon holds of a connection."""

    def __init__(self, name: str, incoming: Pipe, outgoing: Pipe, random: Random, trace: Trace) -> None:
        self.name = name
        self._in = incoming
        self._out = outgoing
        self._random = random
        self._trace = trace
        self._closed = False
        self._dead = False

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        while not (self._in.data or self._in.ended or self._closed):
            await self._in.readable.park()
        if self._closed:
            raise trio.ClosedResourceError
        data = self._in.take(self._in.piece(self._random))
        self._trace.note(f"{self.name} daemon reads", data)
        return data

    def send_nowait(self, data: bytes) -> int:
        if self._dead:
            return len(data)
        if self._closed:
            raise OSError(errno.EBADF, "closed")
        if self._out.broken:
            raise BrokenPipeError
        taken = min(len(data), self._out.room)
        if taken > 1 and self._random.random() < 0.1:
            taken = self._random.randint(1, taken)
        if taken:
            self._trace.note(f"{self.name} daemon sends", data[:taken])
            self._out.put(data[:taken])
        return taken

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()
        while not (self._out.room or self._out.broken or self._closed or self._dead):
            await self._out.writable.park()
        if self._closed:
            raise trio.ClosedResourceError

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if not self._dead:
            self._out.end()
        self._in.break_off()

    def cut(self, keep: int) -> None:
        """The process is gone: what the kernel had taken may still arrive in part, then nothing."""
        self._dead = True
        if not self._out.ended:
            del self._out.data[keep:]
        self._out.end()
        self._in.break_off()

    @property
    def on_the_way(self) -> int:
        return len(self._out.data)


class CallerEnd:
    """What a caller holds of a connection."""

    def __init__(self, incoming: Pipe, outgoing: Pipe, random: Random) -> None:
        self._in = incoming
        self._out = outgoing
        self._random = random
        self._closed = False
        self._sending = trio.Lock()

    async def send(self, data: bytes) -> bool:
        """All of it, in pieces, as room allows; False once nobody reads it. What several tasks send stands one behind the other."""
        async with self._sending:
            return await self._send(data)

    async def _send(self, data: bytes) -> bool:
        left = data
        while left:
            if self._closed or self._out.broken or self._out.ended:
                return False
            size = min(len(left), self._out.room)
            if not size:
                await self._out.writable.park()
                continue
            if size > 1 and self._random.random() < 0.15:
                size = self._random.randint(1, size)
            self._out.put(left[:size])
            left = left[size:]
            if left:
                await trio.lowlevel.checkpoint()
        return True

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        while not (self._in.data or self._in.ended or self._closed):
            await self._in.readable.park()
        if self._closed:
            return b""
        return self._in.take(self._in.piece(self._random))

    def half_close(self) -> None:
        self._out.end()

    def close(self) -> None:
        self._closed = True
        self._out.end()
        self._in.break_off()


def connect(name: str, random: Random, trace: Trace) -> tuple[DaemonEnd, CallerEnd]:
    """A connection whose two directions hold little or much, by chance."""
    asking = Pipe(random.choice((512, 4096, 65_536, 262_144)))
    answering = Pipe(random.choice((256, 4096, 65_536, 262_144)))
    return DaemonEnd(name, asking, answering, random, trace), CallerEnd(answering, asking, random)
