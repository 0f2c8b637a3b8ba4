"""How the component engine looks: the analyses there are, when they run, and what one of them takes and gives.

`overview` is `irerctl component`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from irerctl import render
from irerctl.figures import number
from irerctl.session import Session

WATCHED = "component"
BLOCKS = " ▁▂▃▄▅▆▇█"
STATES = {
    "ready": "ready",
    "new": "to be accepted",
    "changed": "changed, to be accepted",
    "missing": "not there",
    "invalid": "invalid",
}
HELD = {"files": "files", "calls": "processes", "network": "the network"}
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
            STATES.get(each.get("state", "ready"), "-"),
            render.clean(str(each.get("reason") or each["description"])),
        ]
        for each in listing["components"]
    ]
    render.table(["component", "version", "runs", "state", "what it does"], rows)
    for each in listing["components"]:
        if each.get("state") in ("new", "changed"):
            name, digest = render.clean(str(each["name"])), render.clean(str(each["digest"]))
            render.note(f"To let it run as it is now: irerctl component accept '{name}' --digest {digest}")
    if held := listing.get("sandbox"):
        render.pairs({f"kept from {what}": render.clean(str(held[name])) for name, what in HELD.items()})
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


# --- what a run of one found ------------------------------------------------------------------------------------------------

CURVES = {"betti_0": "parts", "betti_1": "loops", "betti_2": "cavities"}
BAR_CELLS, CURVE_CELLS, CURVE_LINES = 48, 64, 4


def draw_ended(last: Mapping[str, Any]) -> None:
    """What a component found, each by its name; where that is how a field hangs together, also drawn."""
    found = last["result"]
    name, outputs = render.clean(str(found.get("component", ""))), dict(found.get("outputs") or {})
    ended = render.verdict("ok", "done") if last.get("ok") else render.verdict("failed", render.clean(str(last.get("code"))))
    render.say(f"{name} of {render.clean(str(found.get('job_uuid', '')))}: {ended}")
    if last.get("detail"):
        render.say(render.clean(str(last["detail"])))
    curves = {name: outputs.pop(name, None) for name in CURVES}
    bars = outputs.pop("bars", None)
    render.pairs({render.clean(name): render.clean(render.word(value)) for name, value in outputs.items()})
    for curve, title in CURVES.items():
        _draw_curve(title, curves[curve])
    _draw_bars(bars, outputs.get("low"), outputs.get("high"))


def _draw_curve(title: str, said: Any) -> None:
    """How many there are at each level, the lowest on the left; nothing where it does not say that."""
    words = said.split() if isinstance(said, str) else []
    if not words or not all(word.isascii() and word.isdigit() and len(word) < 10 for word in words):
        return
    counts = [int(word) for word in words[:CURVE_CELLS]]
    most = max(*counts, 1)
    blocks = BLOCKS if render.terminal() else " #"
    render.say()
    render.say(f"{title} at each level: {render.count(max(counts))} at most")
    for line in reversed(range(CURVE_LINES)):
        filled = (min(max(count / most * CURVE_LINES - line, 0.0), 1.0) for count in counts)
        render.say("".join(blocks[math.ceil(share * (len(blocks) - 1))] for share in filled).rstrip())
    render.say("-" * len(counts))


def _draw_bars(said: Any, low: Any, high: Any) -> None:
    """A line for each, from the level at which it appears to the one at which it is gone."""
    rows = [bar for text in (said.split("; ") if isinstance(said, str) else []) if (bar := _bar(text)) is not None]
    if not rows or not all(isinstance(end, int | float) and math.isfinite(end) for end in (low, high)) or not high > low:
        return
    names = list(CURVES.values())
    last_level = low if rows[0][1] > (low + high) / 2 else high  # the first is the part that all others join
    render.say()
    render.say(f"the longest, from {low:.4g} to {high:.4g}")
    for degree, birth, death in rows:
        first, last = sorted((birth, last_level if death is None else death))
        start, end = (min(max(round((level - low) / (high - low) * BAR_CELLS), 0), BAR_CELLS) for level in (first, last))
        drawn = " " * start + ("━" if render.terminal() else "=") * max(end - start, 1) + ("" if death is not None else " ever")
        render.say(f"{names[degree].ljust(9)} {drawn}")


def _bar(text: str) -> tuple[int, float, float | None] | None:
    try:
        degree, birth, death = text.split()
        found = int(degree), float(birth), None if death == "-" else float(death)
    except ValueError:
        return None
    sound = 0 <= found[0] < len(CURVES) and all(math.isfinite(level) for level in found[1:] if level is not None)
    return found if sound else None


DRAW_JOB = {"component.run": draw_ended}


def draw_accepted(found: Mapping[str, Any]) -> None:
    name = render.clean(str(found["name"]))
    render.say(f"{name} {render.clean(str(found['version']))} may run, just as it is now")
    render.tell(f"Try: irerctl component show '{name}'")


DRAW = {
    "component.accept": draw_accepted,
    "component.list": draw_listing,
    "component.describe": draw_described,
    "component.run": draw_begun,
}
