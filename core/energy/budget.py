"""What a caller's energy intelligence costs in joules, and what it may: counted in memory, never recorded.

The figures are modelled: the time a method keeps a processor core busy, times the power of a core. With a budget a caller's bucket
of joules fills at a fixed rate, and an empty one refuses; without one all is granted and only shown. A restart begins anew.
"""

import math
from collections import OrderedDict

import msgspec

from core.engine import Context, Refused

CORE_W = 15.0
PRICES_J = {
    "sense": 0.015,
    "sense_batch": 0.015,
    "predict": 0.01,
    "act": 0.02,
    "proof": 0.005,
    "feedback": 0.003,
    "market_quote": 0.003,
    "market_trade": 0.003,
}
POINT_J = 0.0002
DEMAND_S = 300.0
"""What was asked and granted so long ago counts for a third."""
CALLERS_MAX = 10_000


class Spent(msgspec.Struct, frozen=True, gc=False):
    """One caller's bucket, and all it ever took."""

    left_j: float
    at_us: int
    boot_id: str
    total_j: float = 0.0
    refused: int = 0


class Meters:
    """Who spent how much, and how much was asked for in all."""

    def __init__(self) -> None:
        self.callers: OrderedDict[str, Spent] = OrderedDict()
        """Who asked last stands last."""
        self.requested_j = 0.0
        self.supplied_j = 0.0
        self.at_us = 0

    def admit(self, method: str, ctx: Context, points: int = 0) -> None:
        """Take the price of a command out of its caller's bucket. Raises Refused where it holds too little."""
        joules = PRICES_J[method] + points * POINT_J
        budget, name = ctx.settings.eil.budget, ctx.actor.name
        before = self.callers.get(name) or Spent(budget.joules, ctx.mono_us, ctx.boot_id)
        left = _filled(before, ctx) if budget.joules else 0.0
        self._fade(ctx)
        self.requested_j += joules
        price = min(joules, budget.joules)  # no bucket is so small that one command never fits
        if budget.joules and left < price:
            self.callers[name] = Spent(left, ctx.mono_us, ctx.boot_id, before.total_j, before.refused + 1)
            wait_ms = math.ceil((price - left) / budget.refill_w * 1000)
            text = f"your energy budget is spent: {joules:.3f} J are asked for, {left:.3f} J are left. Try again in {wait_ms} ms"
            raise Refused("resource-exhausted", text, reason="energy-budget", retry_ms=wait_ms)
        self.supplied_j += joules
        after = left - joules if budget.joules else left
        self.callers[name] = Spent(after, ctx.mono_us, ctx.boot_id, before.total_j + joules, before.refused)
        self.callers.move_to_end(name)
        while len(self.callers) > CALLERS_MAX:
            self.callers.popitem(last=False)

    def _fade(self, ctx: Context) -> None:
        passed_s = max(ctx.mono_us - self.at_us, 0) / 1e6
        kept = math.exp(-passed_s / DEMAND_S)
        self.requested_j *= kept
        self.supplied_j *= kept
        self.at_us = ctx.mono_us


def _filled(spent: Spent, ctx: Context) -> float:
    """What a bucket holds now. After a restart it is full."""
    budget = ctx.settings.eil.budget
    if spent.boot_id != ctx.boot_id or spent.at_us > ctx.mono_us:
        return budget.joules
    return min(budget.joules, spent.left_j + (ctx.mono_us - spent.at_us) / 1e6 * budget.refill_w)
