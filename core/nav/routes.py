"""The ways into three domains and their health, and how each event changes it.

A way is up until so many failures in a row; then it is down for a cooldown, half-open after that, and up again once so many
probes in a row carried. Between the two thresholds nothing changes, so that a bad way does not come and go. Times are those of
one boot: after another one whatever was down may be tried at once, for the machine has come up in a new world.
"""

from dataclasses import dataclass, field
from typing import get_args

import msgspec

from core.engine import Context, Stamp
from core.fields import Frozen
from core.gate.events import DOMAINS, Domain
from core.nav.events import Health, Navigated, RouteChanged, RouteName, RouteReported, RouteSet

ROUTES: tuple[RouteName, ...] = get_args(RouteName)
IN_ORDER = ("primary", "failover")
"""The order in which ways are tried. The offline way is none of them: it is only taken by who asks for it."""


_NAMES: dict[tuple[str, str], RouteName] = {(name.partition("/")[0], name.partition("/")[2]): name for name in ROUTES}


def route_name(domain: Domain, kind: str) -> RouteName:
    return _NAMES[domain, kind]


class Route(msgspec.Struct):
    """One way. `failures` and `successes` are those in a row that count towards the next change."""

    name: RouteName
    enabled: bool = True
    failures_max: int = 3
    successes_min: int = 2
    cooldown_s: int = 30
    rev: int = 0
    health: Health = "up"
    failures: int = 0
    successes: int = 0
    retry_us: int = 0
    """When a way that is down becomes half-open."""
    probe_until_us: int | None = None
    """Until when the probe that is under way is waited for; after that another one may go."""
    taken: int = 0
    carried: int = 0
    failed: int = 0

    def is_open(self, now_us: int) -> bool:
        """Whether the next one may take this way now. A half-open way takes one at a time."""
        if not self.enabled or self.health == "down":
            return False
        return self.health == "up" or self.probe_until_us is None or self.probe_until_us <= now_us


@dataclass
class Routes:
    """All ways, and what became of those who asked."""

    boot: str = ""
    routes: dict[RouteName, Route] = field(default_factory=lambda: {name: Route(name) for name in ROUTES})
    turned_away: dict[Domain, int] = field(default_factory=lambda: dict.fromkeys(DOMAINS, 0))

    def now_us(self, ctx: Context) -> int:
        """The time to hold against those that are kept; on another boot they are all past."""
        return ctx.mono_us if ctx.boot_id == self.boot else 2**62

    def choose(self, domain: Domain, ctx: Context, *, offline: bool) -> Route | None:
        """The first way that is open, in a fixed order."""
        kinds = ("offline",) if offline else IN_ORDER
        ways = (self.routes[route_name(domain, kind)] for kind in kinds)
        return next((way for way in ways if way.is_open(self.now_us(ctx))), None)

    def come_to(self, stamp: Stamp) -> None:
        if stamp.boot_id != self.boot:
            self.boot = stamp.boot_id
            for route in self.routes.values():
                route.retry_us = 0
                if route.probe_until_us is not None:
                    route.probe_until_us = 0


def apply_navigated(routes: Routes, event: Navigated, stamp: Stamp) -> None:
    routes.come_to(stamp)
    if event.route is None:
        routes.turned_away[event.domain] += 1
        return
    route = routes.routes[event.route]
    route.taken += 1
    if event.probe:
        route.probe_until_us = stamp.mono_us + route.cooldown_s * 1_000_000


def apply_reported(routes: Routes, event: RouteReported, stamp: Stamp) -> None:
    """On a half-open way only the answer of a probe counts; what else comes in is news of before."""
    routes.come_to(stamp)
    route = routes.routes[event.route]
    route.carried += event.ok
    route.failed += not event.ok
    if route.health == "up":
        route.failures = 0 if event.ok else route.failures + 1
    elif route.health == "half-open" and route.probe_until_us is not None:
        route.probe_until_us = None
        route.successes += event.ok


def apply_changed(routes: Routes, event: RouteChanged, stamp: Stamp) -> None:
    routes.come_to(stamp)
    route = routes.routes[event.route]
    route.health = event.health_to
    route.failures = route.successes = 0
    route.probe_until_us = None
    route.retry_us = stamp.mono_us + route.cooldown_s * 1_000_000 if event.health_to == "down" else 0


def apply_set(routes: Routes, event: RouteSet, stamp: Stamp) -> None:
    routes.come_to(stamp)
    route = routes.routes[event.route]
    route.enabled = event.enabled
    route.failures_max, route.successes_min = event.failures_max, event.successes_min
    route.cooldown_s, route.rev = event.cooldown_s, event.rev


class RoutesDump(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    boot: str
    routes: list[Route]
    turned_away: dict[Domain, int]


def dump(routes: Routes) -> RoutesDump:
    return RoutesDump(routes.boot, list(routes.routes.values()), dict(routes.turned_away))


def load(dumped: RoutesDump) -> Routes:
    if [route.name for route in dumped.routes] != list(ROUTES) or dumped.turned_away.keys() != {*DOMAINS}:
        raise ValueError("other routes")
    return Routes(dumped.boot, {route.name: route for route in dumped.routes}, dumped.turned_away)
