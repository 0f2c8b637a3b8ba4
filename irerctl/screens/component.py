"""How the component engine looks: the analyses there are, when they run, and what one of them takes and gives.

`overview` is `irerctl component`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from irerctl import render
from irerctl.figures import number
from irerctl.session import Session

WATCHED = "component"
WHEN = {"job": "after each job of a hunt", "winner": "for the best run of a generation", "manual": "when asked"}


def overview(now: Session) -> None:
    with render.Waiting("waiting for the components"), now.connect() as client:
        listing = client.call("component.list").result
    now.show(listing, _draw_overview)


def _draw_overview(listing: Mapping[str, Any]) -> None:
    draw_listing(listing)
    render.tell("Try: irerctl component show bssn-check   or: irerctl help component")


def draw_listing(listing: Mapping[str, Any]) -> None:
    rows = [
        [
            render.clean(str(each["name"])),
            render.clean(str(each["version"])),
            WHEN.get(each["trigger"], render.clean(str(each["trigger"]))),
            render.clean(str(each["description"])),
        ]
        for each in listing["components"]
    ]
    render.table(["component", "version", "runs", "what it does"], rows)
    if listing.get("running"):
        render.say(f"{render.plural(listing['running'], 'run')} going on or waiting for a worker")


def draw_described(found: Mapping[str, Any]) -> None:
    manifest = found["manifest"]
    name = render.clean(str(manifest["name"]))
    render.say(render.paint(f"{name} {render.clean(str(manifest['version']))}", bold=True))
    for line in render.wrapped(render.clean(str(manifest.get("description", "")))):
        render.say(line)
    render.pairs(
        {"runs": WHEN.get(found["trigger"], render.clean(str(found["trigger"]))), "manifest": render.clean(str(found["digest"]))}
    )
    _draw_ports("takes", manifest.get("inputs") or ())
    _draw_variables(manifest.get("tunable_variables") or ())
    _draw_ports("finds", manifest.get("outputs") or ())
    given = json.dumps({port["name"]: str(port["name"]).upper() for port in manifest.get("inputs") or ()})
    render.tell(f"Try: irerctl component run {name} --inputs '{render.clean(given)}'")


def _draw_ports(title: str, ports: Sequence[Mapping[str, Any]]) -> None:
    if ports:
        render.say()
        rows = [[render.clean(str(each.get(name, ""))) for name in ("name", "type", "description")] for each in ports]
        render.table([title, "type", "meaning"], rows)


def _draw_variables(variables: Sequence[Mapping[str, Any]]) -> None:
    if not variables:
        return
    render.say()
    rows = [
        [
            render.clean(str(each["name"])),
            render.clean(str(each["type"])),
            render.clean(render.word(each["default"])),
            f"{_bound(each.get('min'))} to {_bound(each.get('max'))}" if each["type"] in ("int", "float") else "-",
            render.clean(str(each.get("label", ""))),
        ]
        for each in variables
    ]
    render.table(["may be tuned", "type", "unless given", "from", "meaning"], rows)


def _bound(value: Any) -> str:
    return "any" if value is None else number(value)


def draw_begun(found: Mapping[str, Any]) -> None:
    if not found:
        render.say("nothing began")
        return
    job = render.clean(str(found["job"]))
    render.say(f"{render.clean(str(found['component']))} {render.clean(str(found['version']))} began as job {job}")
    render.note(f"What it finds: irerctl call system.op_watch '{json.dumps({'job': job})}'")


DRAW = {
    "component.list": draw_listing,
    "component.describe": draw_described,
    "component.run": draw_begun,
}
