"""When a pool changes its size by itself, and to what: pure arithmetic on a pool and the settings.

Up when the load has stayed above one threshold for the hold time, down when it has stayed below the other and nothing waits,
never twice within the cooldown, never past floor or ceiling. Load counts the units that ready tasks ask for as well as those held:
the head of a queue that does not fit is load above everything there is.
"""

from math import ceil
from typing import NamedTuple

from core import settings
from core.resource.events import ScaleReason
from core.resource.pools import Pool


class Change(NamedTuple):
    """What is planned, and when, unless the load changes first."""

    at: int
    size: int
    reason: ScaleReason


def planned(pool: Pool, configured: settings.Pools) -> Change | None:
    bounds = configured.bounds(pool.name)
    floor, ceiling = bounds.floor, max(bounds.floor, bounds.ceiling)
    if not floor <= pool.size <= ceiling:
        return Change(0, min(max(pool.size, floor), ceiling), "configuration")
    return _growth(pool, configured, ceiling) or _shrinkage(pool, configured, floor)


def _growth(pool: Pool, configured: settings.Pools, ceiling: int) -> Change | None:
    """Doubles, for a load that outgrew the pool once rarely stops there; at least so far that the one chosen can start."""
    since = pool.busy.since_above(configured.scale_up_above)
    if since is None or pool.size >= ceiling:
        return None
    head = pool.queue.head()
    size = max(2 * pool.size, 0 if head is None else pool.used + head.units)
    return Change(_earliest(pool, configured, since), min(ceiling, size), "utilisation" if head is None else "pressure")


def _shrinkage(pool: Pool, configured: settings.Pools, floor: int) -> Change | None:
    """Halves, but not below what is held, nor to where the same load would make it grow again."""
    since = pool.idle.since_above(-configured.scale_down_below)
    if since is None or pool.queue.tasks:
        return None
    size = max(floor, pool.used, pool.size // 2, _comfortable(pool, configured.scale_up_above))
    return Change(_earliest(pool, configured, since), size, "utilisation") if size < pool.size else None


def _comfortable(pool: Pool, threshold: float) -> int:
    """The least size at which what is held does not ask for growth, or the present one if that is no help."""
    if pool.used / pool.size > threshold:
        return pool.size
    size = ceil(pool.used / threshold) if pool.used else 0
    return size + 1 if size and pool.used / size > threshold else size


def _earliest(pool: Pool, configured: settings.Pools, since: int) -> int:
    """Hold and cooldown run side by side."""
    held = since + round(configured.scale_hold_s * 1e6)
    return held if pool.scaled_at is None else max(held, pool.scaled_at + round(configured.scale_cooldown_s * 1e6))
