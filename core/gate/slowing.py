"""Callers who show very many credentials that do not hold are slowed, and nobody else is, whatever name they tried to be.

What is slowed is the answer to a credential that is refused anyway: it waits for the end of its second and is counted, or is told
to come later where very many wait already; none is told singly. A credential that holds is answered at once as ever, also to a
slowed caller. So no sequence of wrong keys and tokens, from whomever, keeps a right one from being let in: not the engine whose
name was guessed, not another caller, not another client of the same gateway. It ends by the clock of the boot.
"""

from typing import Annotated

from msgspec import Meta

from core.engine import NOTHING, Command, Context, Decision, Event, Stamp
from core.fields import Count, Name
from core.gate.state import Gates, Slowed

FAILURES_MAX = 60
"""Credentials of one caller that did not hold, within about a minute, from which on they are slowed."""
MINUTE_US = 60_000_000
SLOW_S = 60
"""How long at first; twice as long each time that they are slowed again within `FORGET_US`."""
STEPS_MAX = 5
FORGET_US = 3_600_000_000
SLOWED_MAX = 1_000
"""Callers slowed at once. Of more the one whose time ends first is let go: that frees somebody, and slows nobody else."""
COUNTED_MAX = 10_000

Step = Annotated[int, Meta(ge=1, le=STEPS_MAX)]


class Failures:
    """How many credentials of each caller did not hold lately: a level that each raises by one and that time lowers evenly.

    Each caller has a level of their own, never a shared one. Beyond the bound the one that failed longest ago is forgotten.
    """

    def __init__(self) -> None:
        self._levels: dict[str, tuple[float, int]] = {}

    def note(self, caller: str, mono_us: int) -> int:
        """One more of this caller. Answers how many that makes."""
        level, at_us = self._levels.pop(caller, (0.0, mono_us))
        level = max(0.0, level - (mono_us - at_us) * FAILURES_MAX / MINUTE_US) + 1
        if len(self._levels) >= COUNTED_MAX:
            del self._levels[next(iter(self._levels))]
        self._levels[caller] = level, mono_us
        return int(level)

    def forget(self, caller: str) -> None:
        self._levels.pop(caller, None)

    def __len__(self) -> int:
        return len(self._levels)


class Slow(Command):
    """Slow a caller.

    caller: who
    failures: how many credentials that did not hold they showed
    """

    caller: Name
    failures: Count


class Free(Command):
    """A caller to be slowed no more.

    caller: who, as `gate.breaches` names them
    """

    caller: Name


class CallerSlowed(Event, type="gate.caller_slowed"):
    """A caller showed so many credentials that did not hold that answers to the next ones wait.

    caller: who
    failures: how many within about a minute
    step: how often by now, within an hour of each other
    seconds: how long
    """

    caller: Name
    failures: Count
    step: Step
    seconds: Count


class CallerFreed(Event, type="gate.caller_freed"):
    """A caller is slowed no more, before their time was over.

    caller: who
    """

    caller: Name


def decide_slow(gates: Gates, command: Slow, ctx: Context) -> Decision:
    if gates.is_slowed(command.caller, ctx.mono_us, ctx.boot_id):
        return NOTHING
    before = gates.slowed.get(command.caller) if ctx.boot_id == gates.boot else None
    lately = before is not None and ctx.mono_us - before.until_us < FORGET_US
    step = min(before.step + 1, STEPS_MAX) if before is not None and lately else 1
    return Decision(CallerSlowed(command.caller, command.failures, step, SLOW_S * 2 ** (step - 1)))


def decide_free(gates: Gates, command: Free, ctx: Context) -> Decision:
    return Decision(CallerFreed(command.caller)) if gates.is_slowed(command.caller, ctx.mono_us, ctx.boot_id) else NOTHING


def apply_slowed(gates: Gates, event: CallerSlowed, stamp: Stamp) -> None:
    gates.come_to(stamp)
    slowed = gates.slowed
    slowed.pop(event.caller, None)
    for name in [name for name, each in slowed.items() if stamp.mono_us - each.until_us >= FORGET_US]:
        del slowed[name]
    if len(slowed) >= SLOWED_MAX:
        del slowed[min(slowed, key=lambda name: slowed[name].until_us)]
    until_us = stamp.mono_us + event.seconds * 1_000_000
    slowed[event.caller] = Slowed(event.failures, event.step, stamp.time_us, until_us)


def apply_freed(gates: Gates, event: CallerFreed, stamp: Stamp) -> None:
    gates.come_to(stamp)
    gates.slowed.pop(event.caller, None)
