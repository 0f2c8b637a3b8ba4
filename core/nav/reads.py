"""What the mesh tells: every way, its health, and which one is taken now. Looks only."""

from collections.abc import Iterator

from core.engine import Check, Context, Nothing, Result
from core.engine import Health as Worst
from core.fields import INT_MAX, Count, Time
from core.gate.events import DOMAINS, Domain
from core.nav.events import Cooldown, Health, RouteName, Times
from core.nav.routes import IN_ORDER, Route, Routes, route_name
from core.times import time_text


class RouteRow(Result):
    """One way into a domain.

    route: its name
    health: up, down, or half-open: one probe at a time
    is_next: whether the next one with a good token for this domain is given it
    enabled: whether it is used at all
    failures: failures in a row, while it is up
    successes: probes that carried, while it is half-open
    failures_max: failures in a row that take it down
    successes_min: probes in a row that must carry before it is up again
    cooldown_s: how long it stays down before it is tried again
    taken: how often it was given
    carried: outcomes reported as good
    failed: outcomes reported as bad
    rev: revision of its settings, for `if_rev`
    probing: whether a probe is under way
    retry_at: when it will be tried again
    """

    route: RouteName
    health: Health
    is_next: bool
    enabled: bool
    failures: Count
    successes: Count
    failures_max: Times
    successes_min: Times
    cooldown_s: Cooldown
    taken: Count
    carried: Count
    failed: Count
    rev: Count
    probing: bool = False
    retry_at: Time | None = None


class RouteTable(Result):
    """The ways into every domain, in the order in which they are tried.

    routes: one row each
    """

    routes: list[RouteRow]


class NavStatus(Result):
    """The mesh in one line.

    routes: how many ways there are
    up: those that carry
    half_open: those being tried again
    down: those that do not carry
    taken: ways that were given
    turned_away: how many got none
    health: the worst of the domains
    """

    routes: Count
    up: Count
    half_open: Count
    down: Count
    taken: Count
    turned_away: Count
    health: Worst


def routes(routes: Routes, params: Nothing, ctx: Context) -> RouteTable:
    return RouteTable([row for domain in DOMAINS for row in _rows(routes, domain, ctx)])


def status(routes: Routes, params: Nothing, ctx: Context) -> NavStatus:
    healths = [route.health for route in routes.routes.values()]
    return NavStatus(
        routes=len(healths),
        up=healths.count("up"),
        half_open=healths.count("half-open"),
        down=healths.count("down"),
        taken=min(sum(route.taken for route in routes.routes.values()), INT_MAX),
        turned_away=min(sum(routes.turned_away.values()), INT_MAX),
        health=max((check.health for check in checks(routes, ctx)), key=("ok", "degraded", "failed").index),
    )


def checks(routes: Routes, ctx: Context) -> Iterator[Check]:
    for domain in DOMAINS:
        yield Check(f"nav {domain}", *_health(routes, domain))


def _health(routes: Routes, domain: Domain) -> tuple[Worst, str]:
    primary, failover = (routes.routes[route_name(domain, kind)] for kind in IN_ORDER)
    carries = [route for route in (primary, failover) if route.enabled and route.health == "up"]
    if primary in carries:
        return "ok", ""
    state = primary.health if primary.enabled else "not enabled"
    if carries:
        return "degraded", f"{primary.name} is {state}; {failover.name} carries. See: irerctl nav"
    if any(route.enabled and route.health == "half-open" for route in (primary, failover)):
        return "degraded", f"{primary.name} is {state}; ways are being tried one at a time. See: irerctl nav"
    return "failed", f"{primary.name} and {failover.name} do not carry; only {domain}/offline is left. See: irerctl nav"


def _rows(routes: Routes, domain: Domain, ctx: Context) -> Iterator[RouteRow]:
    now = routes.choose(domain, ctx, offline=False)
    for kind in (*IN_ORDER, "offline"):
        route = routes.routes[route_name(domain, kind)]
        yield _row(routes, route, ctx, is_next=route is now)


def _row(routes: Routes, route: Route, ctx: Context, *, is_next: bool) -> RouteRow:
    now_us = routes.now_us(ctx)
    left_us = max(0, route.retry_us - now_us)
    return RouteRow(
        route=route.name,
        health=route.health,
        is_next=is_next,
        enabled=route.enabled,
        failures=route.failures,
        successes=route.successes,
        failures_max=route.failures_max,
        successes_min=route.successes_min,
        cooldown_s=route.cooldown_s,
        taken=min(route.taken, INT_MAX),
        carried=min(route.carried, INT_MAX),
        failed=min(route.failed, INT_MAX),
        rev=route.rev,
        probing=route.probe_until_us is not None and route.probe_until_us > now_us,
        retry_at=time_text(ctx.now_us + left_us) if route.health == "down" else None,
    )
