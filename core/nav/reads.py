"""What the mesh tells: every way, its health, and which one is taken now. Looks only."""

from collections.abc import Iterator

from core.engine import Check, Context, Nothing, Result
from core.engine import Health as Health_
from core.fields import INT_MAX, Count, Time
from core.gate.events import DOMAINS, Domain
from core.nav.events import Cooldown, Health, RouteName, Times
from core.nav.routes import IN_ORDER, Route, Routes, route_name
from core.times import time_text


class RouteRow(Result):
    """One way into a domain.

    route: its name
    health: up, down, or half-open: one probe at a time
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


class DomainRow(Result):
    """One domain.

    domain: which
    now: the way that the next one with a good token is given; absent when only the offline route is left
    turned_away: how many got no way
    routes: its ways, in the order in which they are tried
    """

    domain: Domain
    turned_away: Count
    routes: list[RouteRow]
    now: RouteName | None = None


class RouteTable(Result):
    """The ways into every domain.

    domains: one row each
    """

    domains: list[DomainRow]


def routes(routes: Routes, params: Nothing, ctx: Context) -> RouteTable:
    return RouteTable([_domain(routes, domain, ctx) for domain in DOMAINS])


def checks(routes: Routes, ctx: Context) -> Iterator[Check]:
    for domain in DOMAINS:
        yield Check(f"nav {domain}", *_health(routes, domain))


def _health(routes: Routes, domain: Domain) -> tuple[Health_, str]:
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


def _domain(routes: Routes, domain: Domain, ctx: Context) -> DomainRow:
    now = routes.choose(domain, ctx, offline=False)
    rows = [_row(routes, routes.routes[route_name(domain, kind)], ctx) for kind in (*IN_ORDER, "offline")]
    return DomainRow(domain, min(routes.turned_away[domain], INT_MAX), rows, now.name if now else None)


def _row(routes: Routes, route: Route, ctx: Context) -> RouteRow:
    now_us = routes.now_us(ctx)
    left_us = max(0, route.retry_us - now_us)
    return RouteRow(
        route=route.name,
        health=route.health,
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
