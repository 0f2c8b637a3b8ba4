"""What the mesh may be asked: a way into a domain, how it went on one, how ways are to be used. Changes nothing by itself.

The token comes before everything: whatever the health of the ways, none is given, named or hinted at without one.
"""

from collections.abc import Sequence

from core.engine import NOTHING, Command, Context, Decision, Event, Refused, Result
from core.fields import Count, Name, Secret
from core.gate.events import Domain, Kind
from core.gate.judge import judge, recorded
from core.gate.state import Gates
from core.nav.events import Cooldown, Navigated, NavigationError, RouteChanged, RouteName, RouteReported, RouteSet, Times
from core.nav.routes import Route, Routes

HINTS: dict[NavigationError, str] = {
    "token-refused": "",
    "offline": "Neither the primary nor the failover route carries. The offline route needs an offline token: "
    "ask for one (irerctl gate issue DOMAIN SUBJECT --offline), then navigate with it and --offline",
    "no-route": "The offline route is down or not enabled. See: irerctl nav",
}


class Navigate(Command):
    """Asks for a way into a domain.

    domain: where to: wealth, info or myth
    token: a token for this domain and subject
    subject: for whom; the token must be theirs
    offline: take the offline route; the token must be of the offline kind
    """

    domain: Domain
    token: Secret
    subject: Name
    offline: bool = False


class Navigation(Result):
    """The way to take, or why there is none.

    ok: whether there is a way
    route: which
    error: token-refused; offline, when only the offline route is left; no-route
    hint: what to do about it
    """

    ok: bool
    route: RouteName | None = None
    error: NavigationError | None = None
    hint: str = ""


class ReportRoute(Command):
    """Tells how it went on a route.

    route: which, as `nav.navigate` named it
    ok: whether it carried
    """

    route: RouteName
    ok: bool


class SetRoute(Command):
    """Changes how a route is used. What is left out stays as it is.

    route: which
    enabled: whether it is used at all
    failures_max: failures in a row that take it down
    successes_min: probes in a row that must carry before it is up again
    cooldown_s: how long it stays down before it is tried again, and how long a probe may take
    if_rev: only if these settings still have this revision
    """

    route: RouteName
    enabled: bool | None = None
    failures_max: Times | None = None
    successes_min: Times | None = None
    cooldown_s: Cooldown | None = None
    if_rev: Count | None = None


class HalfOpen(Command):
    """Let a route that was down be tried again.

    route: which
    """

    route: RouteName


def decide_navigate(routes: Routes, command: Navigate, ctx: Context) -> Decision:
    gates: Gates = ctx.peek("gate")
    domain, subject, offline = command.domain, command.subject, command.offline
    kind: Kind = "offline" if offline else "gate"
    judged = judge(gates, ctx, command.token, kind, domain, subject=subject)
    if judged.cause is not None:
        refused = Navigated(domain, subject, False, error="token-refused", offline=offline)
        return Decision(refused, *recorded(gates, ctx, judged, kind, domain), turned_down=True)
    route = routes.choose(domain, ctx, offline=offline)
    if route is None:
        none = Navigated(domain, subject, False, error="no-route" if offline else "offline", offline=offline)
        return Decision(none, *recorded(gates, ctx, judged, kind, domain))
    given = Navigated(domain, subject, True, route.name, offline=offline, probe=route.health == "half-open")
    return Decision(given, *recorded(gates, ctx, judged, kind, domain, passed=True))


def answer_navigate(events: Sequence[Event]) -> Navigation:
    went = events[0]
    assert isinstance(went, Navigated)
    return Navigation(went.ok, went.route, went.error, HINTS[went.error] if went.error else "")


def decide_report(routes: Routes, command: ReportRoute, ctx: Context) -> Decision:
    route = routes.routes[command.route]
    return Decision(RouteReported(command.route, command.ok), *_change(route, command.ok))


def _change(route: Route, ok: bool) -> list[Event]:
    """What this outcome makes of the route's health. On a way that is down it is news of before."""
    if route.health == "up" and not ok and route.failures + 1 >= route.failures_max:
        return [RouteChanged(route.name, "up", "down", "failures")]
    if route.health == "half-open" and route.probe_until_us is not None:
        if not ok:
            return [RouteChanged(route.name, "half-open", "down", "probe-failed")]
        if route.successes + 1 >= route.successes_min:
            return [RouteChanged(route.name, "half-open", "up", "probes-passed")]
    return []


def decide_half_open(routes: Routes, command: HalfOpen, ctx: Context) -> Decision:
    route = routes.routes[command.route]
    if route.health != "down" or route.retry_us > routes.now_us(ctx):
        return NOTHING
    return Decision(RouteChanged(route.name, "down", "half-open", "cooldown"))


def decide_set(routes: Routes, command: SetRoute, ctx: Context) -> Decision:
    route = routes.routes[command.route]
    if command.if_rev is not None and command.if_rev != route.rev:
        raise Refused(
            "aborted",
            f"{route.name} has revision {route.rev}, not {command.if_rev}. Read it again, then retry: irerctl nav",
            reason="rev",
        )
    event = RouteSet(
        route=route.name,
        enabled=route.enabled if command.enabled is None else command.enabled,
        failures_max=route.failures_max if command.failures_max is None else command.failures_max,
        successes_min=route.successes_min if command.successes_min is None else command.successes_min,
        cooldown_s=route.cooldown_s if command.cooldown_s is None else command.cooldown_s,
        rev=route.rev + 1,
    )
    now = (route.enabled, route.failures_max, route.successes_min, route.cooldown_s)
    if now == (event.enabled, event.failures_max, event.successes_min, event.cooldown_s):
        return NOTHING
    return Decision(event)
