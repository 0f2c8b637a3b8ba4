"""What the rest of a bridge needs of a broker, whichever it is."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import trio


class Message(NamedTuple):
    """What a broker brought, until it is settled."""

    topic: str
    payload: bytes
    id: str | None = None
    """What its sender calls it."""
    key: str | None = None
    place: str | None = None
    """Where it stands with the broker for good, where the broker knows such a thing."""
    time_us: int | None = None
    """When it was made, as the broker keeps it."""
    reply_to: str | None = None
    correlation: str | None = None
    handle: Any = None
    """The broker's own, by which it is settled."""


class Outgoing(NamedTuple):
    """What is to be published."""

    topic: str
    payload: bytes
    key: str | None = None
    id: str | None = None
    correlation: str | None = None


class NotTaken(Exception):
    """The broker will never take this: too large, or not allowed there."""


class TooLarge(NotTaken):
    """It is one of those that were to be published, and the others go."""

    def __init__(self, why: str, which: Outgoing) -> None:
        super().__init__(why)
        self.which = which


class Broker(Protocol):
    """A connection that is made again whenever it is lost."""

    @property
    def state(self) -> str:
        """`up`, or why not."""

    async def run(self, take: Callable[[Message], None], *, task_status: trio.TaskStatus[None] = ...) -> None:
        """Hands over what comes, and keeps the connection, until cancelled."""

    def settle(self, message: Message) -> None:
        """irer is done with it: the broker may forget it."""

    async def publish(self, many: Sequence[Outgoing]) -> None:
        """Returns once the broker has all of them, however long that takes. Raises NotTaken."""

    def stop_taking(self) -> None:
        """Nothing more is handed over; what is, may still be settled."""
