"""Sources that fall wholly silent: nothing of theirs comes that could tell of it, so a timer of irer's own does.

Time is irer's here, not the source's: what counts is when points came. A source is watched once it has come often enough to have a
rhythm, and only while it tells of the present: history that is sent today ends without being lost. Each silence is told once.
"""

from collections.abc import Iterator
from typing import Any

from core.energy.facts import Source, SourceLost
from core.energy.state import ALL_SILENT, Energy
from core.engine import NOTHING, Command, Context, Decision, Event, Stamp, Timer

FOUND_MAX = 64
"""Sources that one command tells of."""


class FindSilent(Command):
    """Looks for sources that have said nothing for too long."""


class Resume(Command):
    """irerd has started, or its log is writable again."""


class Woke(Event, type="energy.woke"):
    """irer is there again: what it could not hear while it was away is no silence, so every wait begins anew."""


def wanted(energy: Energy, ctx: Context) -> Iterator[Timer]:
    if (first := energy.watched.first()) is not None:
        yield Timer("silent", energy.clock.mono_us(first[0], ctx), FindSilent())


def decide_silent(energy: Energy, command: FindSilent, ctx: Context) -> Decision:
    now_us = energy.clock.now(ctx)
    return Decision(*(_lost(name, energy.sources[name], now_us) for name in energy.watched.due(now_us, FOUND_MAX)))


def _lost(name: str, source: Source, now_us: int) -> SourceLost:
    known = frozenset(source.lost)
    metrics = [metric for metric, _ in source.streams if metric not in known]
    return SourceLost(name, metrics, (now_us - source.heard_us) / 1e6, ALL_SILENT)


def decide_resume(energy: Energy, command: Resume, ctx: Context) -> Decision:
    return Decision(Woke()) if len(energy.watched) else NOTHING


def apply_woke(energy: Energy, event: Any, stamp: Stamp) -> None:
    now_us = energy.clock.at(stamp)
    for _, _, name in energy.watched.in_order_put():
        source = energy.sources[name]
        source.heard_us = now_us
        energy.watched.put(name, now_us + source.silent_after_us)
