"""Two things at once, each to its end: neither is broken off because the other one failed."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

One = TypeVar("One")
Other = TypeVar("Other")


async def beside(one: Callable[[], Awaitable[One]], other: Callable[[], Awaitable[Other]]) -> tuple[One, Other]:
    """What both gave. Raises what the first of them met, or else the second, as it was raised."""
    ones: list[One] = []
    others: list[Other] = []
    faults: list[Exception] = []

    async def work() -> None:
        try:
            ones.append(await one())
        except Exception as fault:
            faults.insert(0, fault)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
        try:
            others.append(await other())
        except Exception as fault:
            faults.append(fault)
    if faults:
        raise faults[0]
    return ones[0], others[0]
