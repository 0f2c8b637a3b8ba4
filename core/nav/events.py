"""What can happen to the ways into the domains, as it stands in `gate_log.jsonl` for ever."""

from typing import Annotated, Literal

from msgspec import Meta

from core.engine import Event
from core.fields import Count, Name
from core.gate.events import Domain

RouteName = Literal[
    "wealth/primary", "wealth/failover", "wealth/offline",
    "info/primary", "info/failover", "info/offline",
    "myth/primary", "myth/failover", "myth/offline",
]  # fmt: skip
Health = Literal["up", "down", "half-open"]
Reason = Literal["failures", "cooldown", "probe-failed", "probes-passed"]
NavigationError = Literal["token-refused", "offline", "no-route"]

Times = Annotated[int, Meta(ge=1, le=1_000)]
Cooldown = Annotated[int, Meta(ge=1, le=86_400)]


class Navigated(Event, type="nav.navigated"):
    """Somebody asked for a way into a domain.

    domain: where to
    subject: who, as they said
    ok: whether a way was given
    route: which
    error: why none was given
    offline: whether the offline route was asked for
    probe: whether this way is the one try of a route that was down
    """

    domain: Domain
    subject: Name
    ok: bool
    route: RouteName | None = None
    error: NavigationError | None = None
    offline: bool = False
    probe: bool = False


class RouteReported(Event, type="nav.route_reported"):
    """Somebody told how it went on a route.

    route: which
    ok: whether it carried
    """

    route: RouteName
    ok: bool


class RouteChanged(Event, type="nav.route_changed"):
    """A route went down, may be tried again, or is up.

    route: which
    health_from: what it was
    health_to: what it is
    reason: too many failures, the end of the cooldown, or how the probes went
    """

    route: RouteName
    health_from: Health
    health_to: Health
    reason: Reason


class RouteSet(Event, type="nav.route_set"):
    """How a route is used from now on.

    route: which
    enabled: whether it is used at all
    failures_max: failures in a row that take it down
    successes_min: probes in a row that must carry before it is up
    cooldown_s: how long it stays down before it is tried again, and how long a probe may take
    rev: revision of these settings
    """

    route: RouteName
    enabled: bool
    failures_max: Times
    successes_min: Times
    cooldown_s: Cooldown
    rev: Count
