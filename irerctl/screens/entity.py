"""How the entity engine looks: the fleet by state, and the entities that need somebody.

`overview` is `irerctl entity`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from irerctl import render
from irerctl.figures import bar, coloured, moment, number
from irerctl.session import Session

WATCHED = "entity"
SHOWN = 10
STATES = ("error_correction", "awakening", "offline_adapting", "active", "hibernating", "deactivated")
"""Worst news first."""
COLOURS = {"error_correction": "red", "awakening": "yellow", "offline_adapting": "yellow", "active": "green"}


def overview(now: Session) -> None:
    """The fleet, and as many entities as fit on a screen, those in trouble first."""
    with render.Waiting("waiting for the fleet"), now.connect() as client:
        status = client.call("entity.status").result
        found: list[Mapping[str, Any]] = []
        for state in STATES[:-1]:
            if (status.get("states") or {}).get(state) and len(found) < SHOWN:
                page = client.call("entity.list", {"state": state, "limit": SHOWN - len(found)}).result
                found += page["entities"]
    now.show({"status": status, "entities": found}, _draw_overview)


def _draw_overview(found: Mapping[str, Any]) -> None:
    draw_status(found["status"])
    if found["entities"]:
        render.say()
        draw_entities(found)
        if found["status"].get("entities", 0) > len(found["entities"]):
            render.tell("… and more: irerctl entity list")
    render.tell("Try: irerctl entity spawn ENTITY_ID TYPE   or: irerctl help entity")


def draw_status(status: Mapping[str, Any]) -> None:
    states, total = status.get("states") or {}, sum((status.get("states") or {}).values())
    if not total:
        render.say("no entities yet")
    for state in STATES:
        if count := states.get(state):
            drawn = f"  {bar(count / total, COLOURS.get(state, 'white'))}" if render.terminal() else ""
            render.say(
                f"{coloured(state.ljust(16), {state.ljust(16): COLOURS.get(state, 'white')})}  {number(count).rjust(7)}{drawn}"
            )
    held = "  ".join(f"{number(units)} of {render.clean(pool)}" for pool, units in (status.get("units") or {}).items())
    render.say(f"units held: {held or 'none'}")
    if not status.get("online", True):
        render.say(render.paint("the uplink is gone; active entities adapt", fg="yellow"))
    if status.get("silent_for_s"):
        render.say(f"the longest silence of an awake one: {render.duration(status['silent_for_s'])}")


def status_line(status: Mapping[str, Any]) -> tuple[str, str]:
    """`5  1 error_correction  3 active  1 hibernating`."""
    states = status.get("states") or {}
    parts = [render.count(status.get("entities", 0))]
    parts += [
        coloured(f"{states[state]:,} {state}", {f"{states[state]:,} {state}": COLOURS.get(state, "")})
        for state in STATES
        if states.get(state)
    ]
    if not status.get("online", True):
        parts.append(render.paint("offline", fg="yellow"))
    return "entities", "  ".join(parts)


def draw_entities(page: Mapping[str, Any]) -> None:
    entities: Sequence[Mapping[str, Any]] = page["entities"]
    if entities:
        rows = [
            [
                render.clean(each["entity_id"]),
                render.clean(each["type"]),
                coloured(each["state"], COLOURS),
                number(each.get("health")),
                _holds(each),
                moment(each.get("heard_at")),
                why(each),
            ]
            for each in entities
        ]
        render.table(["entity", "type", "state", "health", "holds", "heard", "why"], rows, right=["health"])
    else:
        render.say("no entities")
    if page.get("next"):
        render.note(f"More: add --after {render.clean(str(page['next']))}")


def _holds(entity: Mapping[str, Any]) -> str:
    """What it needs is held once it has a claim and waits no longer."""
    return _needs(entity) if entity.get("claim") and not entity.get("waits_for") else "-"


def _needs(entity: Mapping[str, Any]) -> str:
    needs = entity.get("needs")
    return f"{number(needs['units'])} {render.clean(needs['pool'])}" if needs else "-"


def why(entity: Mapping[str, Any]) -> str:
    """What a person would ask next about an entity in this state."""
    if entity.get("waits_for"):
        return f"waits for {render.clean(str(entity['waits_for']))}"
    cause = render.clean(str(entity.get("cause", ""))).replace("_", " ")
    if entity["state"] == "error_correction":
        note = f": {render.clean(str(entity['note']))}" if entity.get("note") else ""
        return f"{cause}{note}, attempt {number(entity.get('attempts', 0))}"
    return render.clean(str(entity.get("note") or "")) or cause or "-"


def draw_moved(found: Mapping[str, Any]) -> None:
    if not found:
        render.say("nothing changed")
        return
    who, state = render.clean(str(found["entity_id"])), str(found["state"])
    waits = "; it is active once it has its units" if state == "awakening" else ""
    render.say(f"{who} is {coloured(state, COLOURS)}{waits}")


def draw_spawned(found: Mapping[str, Any]) -> None:
    if not found:
        render.say("nothing changed")
        return
    who = render.clean(str(found["entity_id"]))
    render.say(f"{who} is known, and asleep. Wake it: irerctl entity awaken {who}")


def draw_reported(found: Mapping[str, Any]) -> None:
    render.say(
        f"{render.clean(str(found['entity_id']))} was heard: health {number(found.get('health'))}" if found else "nothing changed"
    )


def draw_correcting(found: Mapping[str, Any]) -> None:
    if not found:
        render.say("nothing changed")
        return
    left = render.duration(found["retry_in_ms"] / 1000)
    render.say(
        f"{render.clean(str(found['entity_id']))}: attempt {number(found['attempt'])} began; a healthy report within {left} ends it"
    )


def draw_one(entity: Mapping[str, Any]) -> None:
    draw_entities({"entities": [entity]})
    if entity.get("labels"):
        render.say("labels: " + render.fields(entity["labels"]))
    if entity.get("claim"):
        render.say(f"its units are task {render.clean(str(entity['claim']))}: irerctl engine tasks")
    elif entity.get("needs"):
        render.say(f"awake it holds {_needs(entity)}")


DRAW = {
    "entity.status": draw_status,
    "entity.list": draw_entities,
    "entity.get": draw_one,
    "entity.spawn": draw_spawned,
    "entity.awaken": draw_moved,
    "entity.hibernate": draw_moved,
    "entity.deactivate": draw_moved,
    "entity.report": draw_reported,
    "entity.heal": draw_correcting,
}
