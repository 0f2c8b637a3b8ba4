"""The navigation engine: ways into the domains wealth, info and myth, each primary, failover and offline.

Which way is given follows from outcomes that were reported, in a fixed order. None opens without a token that the gate lets pass,
and being offline opens nothing: the offline way asks for a token of its own kind.
"""

from collections.abc import Iterator

from core.engine import Context, Effect, Engine, Nothing, Timer, internal, read, write
from core.gate import EXAMPLE_TOKEN
from core.nav import commands, events, reads, routes

AT_ONCE = 0


def wanted(state: routes.Routes, ctx: Context) -> Iterator[Effect]:
    """Routes that are down are tried again when their cooldown is over, after another boot at once."""
    for route in state.routes.values():
        if route.health == "down":
            due_us = route.retry_us if ctx.boot_id == state.boot else AT_ONCE
            yield Timer(f"half-open:{route.name}", due_us, commands.HalfOpen(route.name))


ENGINE = Engine(
    "nav",
    log="gate_log",
    state=routes.Routes,
    wanted=wanted,
    checks=reads.checks,
    dump=routes.dump,
    load=routes.load,
    rows=[
        write(
            "navigate",
            commands.Navigate,
            commands.decide_navigate,
            apply={events.Navigated: routes.apply_navigated},
            reply=commands.answer_navigate,
            help="Go through a domain's gate with a token, by the first route that works",
            example={"domain": "wealth", "token": EXAMPLE_TOKEN, "subject": "user_001"},
            cli="nav go DOMAIN",
        ),
        read("routes", Nothing, reads.routes, help="Domains, their routes, and which one is taken now", example={}, cli="nav"),
        read("status", Nothing, reads.status, help="The ways and who took them, in one line", example={}),
        write(
            "report_route",
            commands.ReportRoute,
            commands.decide_report,
            apply={events.RouteReported: routes.apply_reported, events.RouteChanged: routes.apply_changed},
            help="Tell how it went on a route; enough failures in a row take it down",
            example={"route": "wealth/primary", "ok": True},
            cli="nav report ROUTE",
        ),
        write(
            "set_route",
            commands.SetRoute,
            commands.decide_set,
            apply={events.RouteSet: routes.apply_set},
            help="Change how a route is used: whether at all, and its thresholds",
            example={"route": "wealth/primary", "cooldown_s": 60},
            cli="nav set ROUTE",
        ),
        internal("half_open", commands.HalfOpen, commands.decide_half_open, apply={events.RouteChanged: routes.apply_changed}),
    ],
)
