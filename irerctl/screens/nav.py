"""How the navigation engine looks: every way, whether it carries, and which one is taken now.

`overview` is `irerctl nav`: the ways, and the latest times that one gave way to another.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from irerctl import render
from irerctl.figures import coloured, moment, number
from irerctl.session import Session

WATCHED = "nav"
COLOURS = {"up": "green", "half-open": "yellow", "down": "red"}
WHY_NOT = {
    "token-refused": "the token was refused",
    "offline": "only the offline way is left, and it needs an offline token",
    "no-route": "the offline way is down or not in use",
}


def overview(now: Session) -> None:
    with render.Waiting("waiting for the ways"), now.connect() as client:
        routes = client.call("nav.routes").result["routes"]
        status = client.call("nav.status").result
    now.show({"routes": routes, "status": status}, _draw_overview)


def _draw_overview(found: Mapping[str, Any]) -> None:
    draw_fail_overs(found["routes"])
    draw_routes(found)
    render.say()
    status = found["status"]
    turned = status.get("turned_away", 0)
    away = render.paint(f"{render.count(turned)} turned away", fg="yellow") if turned else "nobody turned away"
    render.say(f"{render.plural(status.get('taken', 0), 'way')} given, {away}")
    render.tell("Try: irerctl nav go DOMAIN --subject WHO --token @FILE   or: irerctl nav --help")


def draw_fail_overs(routes: Sequence[Mapping[str, Any]]) -> None:
    """Domains whose first way is not the one that is taken now: what a person must know first."""
    told = False
    for domain, ways in by_domain(routes).items():
        now = next((way for way in ways if way.get("is_next")), None)
        if now is ways[0]:
            continue
        told = True
        name, first = render.clean(domain), ways[0]
        if now is None:
            text = f"{name}: no way carries but {name}/offline, which needs an offline token"
        else:
            again = f"; again at {moment(first['retry_at'])}" if first.get("retry_at") else ""
            text = f"{name}: {render.clean(str(now['route']))} stands in for {render.clean(str(first['route']))}{again}"
        for line in render.wrapped(text, f"{render.paint('!', fg='red' if now is None else 'yellow', bold=True)} "):
            render.say(line)
    if told:
        render.say()


def by_domain(routes: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for way in routes:
        found.setdefault(str(way["route"]).partition("/")[0], []).append(way)
    return found


def status_line(status: Mapping[str, Any]) -> tuple[str, str]:
    """`9  9 up`, then what is worse and what was done."""
    health = status.get("health", "ok")
    parts = [f"{status.get('routes', 0)}  {render.count(status.get('up', 0))} up"]
    parts += [
        render.paint(f"{status[name]} {name.replace('_', '-')}", fg="red" if health == "failed" else "yellow")
        for name in ("half_open", "down")
        if status.get(name)
    ]
    parts += [f"{render.count(status[name])} {name.replace('_', ' ')}" for name in ("taken", "turned_away") if status.get(name)]
    return "routes", "  ".join(parts)


def draw_routes(found: Mapping[str, Any]) -> None:
    routes = found["routes"]
    if not routes:
        render.say("no routes")
        return
    rows = [
        [
            render.clean(str(way["route"])),
            coloured(str(way["health"]), COLOURS) if way.get("enabled", True) else "not in use",
            "taken now" if way.get("is_next") else "-",
            _streak(way),
            number(way.get("taken", 0)),
            number(way.get("carried", 0)),
            number(way.get("failed", 0)),
            moment(way.get("retry_at")),
        ]
        for way in routes
    ]
    columns = ["route", "health", "now", "in a row", "taken", "good", "bad", "again"]
    render.table(columns, rows, right=["taken", "good", "bad"])


def _streak(way: Mapping[str, Any]) -> str:
    if way["health"] == "half-open":
        probing = ", 1 out" if way.get("probing") else ""
        return f"{way.get('successes', 0)}/{way.get('successes_min', '?')} good{probing}"
    return f"{way['failures']}/{way.get('failures_max', '?')} bad" if way.get("failures") else "-"


def draw_way(found: Mapping[str, Any]) -> None:
    if found["ok"]:
        render.say(f"{render.verdict('ok', 'go')}: {render.clean(str(found['route']))}")
        render.note(f"Then tell how it went: irerctl nav report {render.clean(str(found['route']))} --ok   or: --no-ok")
        return
    error = str(found.get("error"))
    render.say(f"{render.verdict('failed', 'no')}: {WHY_NOT.get(error, render.clean(error))}")
    if found.get("hint"):
        render.note(render.clean(str(found["hint"])))


def draw_reported(found: Mapping[str, Any]) -> None:
    render.say(f"{render.clean(str(found['route']))}: noted that it {'carried' if found['ok'] else 'did not carry'}")


def draw_set(found: Mapping[str, Any]) -> None:
    if not found:
        render.say("nothing changed: it is used so")
        return
    used = "in use" if found["enabled"] else "not in use"
    down = f"down after {render.plural(found['failures_max'], 'failure')}"
    again = f"tried again {render.duration(found['cooldown_s'])} later"
    up = f"up after {render.plural(found['successes_min'], 'good probe')}"
    render.say(f"{render.clean(str(found['route']))}: {used}, {down} in a row, {again}, {up}")


DRAW = {"nav.routes": draw_routes, "nav.navigate": draw_way, "nav.report_route": draw_reported, "nav.set_route": draw_set}
