"""How the resource engine looks: pools as bars, tasks as a table, health as sentences.

`overview` is `irerctl engine`, `status_line` its line in `irerctl status`, `DRAW` the results of its methods.
"""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from irerctl import render
from irerctl.session import Session

WATCHED = "resource"
BAR_CELLS = 20
TASKS_SHOWN = 8
BUSY_FROM = 0.8
"""Utilisation that is drawn as a warning: pools grow beyond it."""
HEALTHS = ("failed", "degraded", "ok")
STATE_COLOURS = {"running": "green", "retrying": "yellow", "blocked": "yellow", "parked": "red", "expired": "red"}


def overview(now: Session) -> None:
    """Pools, the newest tasks, what is wrong: three reads on one connection."""
    with render.Waiting("waiting for the pools"), now.connect() as client:
        pools = client.call("resource.pools").result
        tasks = client.call("resource.tasks", {"limit": TASKS_SHOWN}).result
        health = client.call("resource.health").result
    now.show({"pools": pools["pools"], "tasks": tasks["tasks"], "health": health}, _draw_overview)


def _draw_overview(found: Mapping[str, Any]) -> None:
    troubled = [pool for pool in found["health"]["pools"] if pool["health"] != "ok"]
    if troubled:
        _draw_health(troubled)
        render.say()
    draw_pools({"pools": found["pools"]})
    render.say()
    if found["tasks"]:
        _draw_tasks(found["tasks"])
        render.say()
    else:
        render.say("no tasks yet")
    render.tell("Try: irerctl engine tasks   or: irerctl engine submit --help")


def status_line(status: Mapping[str, Any]) -> tuple[str, str]:
    """`4  12/32 units  3 waiting`: what is zero and says nothing is left out."""
    parts = [f"{status.get('pools', 0)}  {render.count(status.get('used', 0))}/{render.count(status.get('units', 0))} units"]
    parts.append(f"{render.count(status.get('waiting', 0))} waiting")
    parts += [f"{render.count(status[name])} {name}" for name in ("running", "blocked", "retrying") if status.get(name)]
    if status.get("parked"):
        parts.append(render.paint(f"{render.count(status['parked'])} parked", fg="yellow"))
    return "pools", "  ".join(parts)


# Pools


def draw_pools(result: Mapping[str, Any]) -> None:
    pools = result["pools"]
    if not render.terminal():
        columns = ["pool", "used", "units", "running", "waiting", "blocked", "retrying", "floor", "ceiling"]
        rows = [[render.word(pool.get("name" if name == "pool" else name, 0)) for name in columns] for pool in pools]
        render.table(columns, rows, right=columns[1:])
        return
    rows = []
    for pool in pools:
        behind = [f"{render.count(pool[name])} {name}" for name in ("waiting", "blocked", "retrying") if pool.get(name)]
        used = f"{pool['used']}/{pool['units']}"
        bounds = f"{pool.get('floor', '?')}..{pool.get('ceiling', '?')}"
        rows.append([render.clean(pool["name"]), bar(pool), used, bounds, "  ".join(behind) or "-"])
    render.table(["pool", "in use", "units", "bounds", "behind it"], rows, right=["units"])


def bar(pool: Mapping[str, Any]) -> str:
    """How full a pool is: green, yellow where it is about to grow, red where tasks wait and it cannot."""
    share = pool["used"] / pool["units"] if pool["units"] else 0.0
    cells = min(round(share * BAR_CELLS), BAR_CELLS)
    stuck = pool.get("waiting") and pool["units"] >= pool.get("ceiling", 0)
    colour = "red" if stuck else "yellow" if share >= BUSY_FROM else "green"
    return render.paint("█" * cells, fg=colour) + render.paint("░" * (BAR_CELLS - cells), dim=True)


# Tasks


def draw_tasks(result: Mapping[str, Any]) -> None:
    tasks = result["tasks"]
    if tasks:
        _draw_tasks(tasks)
    else:
        render.say("no tasks")
    if result.get("next"):
        render.note(f"More: add --after {render.clean(str(result['next']))}")


def _draw_tasks(tasks: Sequence[Mapping[str, Any]]) -> None:
    if not render.terminal():
        columns = ["task", "state", "pool", "units", "priority", "submitted", "why"]
        rows = [[*_named(task), task["resource_type"], *_asked(task), task["submitted_at"], why(task)] for task in tasks]
        render.table(columns, rows, right=["units"])
        return
    rows = [
        [*_named(task), f"{task['units']} {render.clean(task['resource_type'])}", moment(task["submitted_at"]), why(task)]
        for task in tasks
    ]
    render.table(["task", "state", "asks for", "since", "why"], rows)


def _named(task: Mapping[str, Any]) -> list[str]:
    return [render.clean(task["task_id"]), _state(task["state"])]


def _asked(task: Mapping[str, Any]) -> list[str]:
    return [render.word(task["units"]), render.clean(task["priority"])]


def _state(state: str) -> str:
    colour = STATE_COLOURS.get(state)
    return render.paint(state, fg=colour) if colour else render.clean(state)


def why(task: Mapping[str, Any]) -> str:
    """What a person would ask next about a task in this state."""
    if task.get("dependency"):
        return f"waited for {render.clean(task['dependency'])}"
    match task["state"]:
        case "blocked":
            return f"waits for {render.word(list(task.get('depends_on') or ()))}"
        case "retrying":
            return f"again at {moment(task.get('retry_at') or '-')} after {task.get('attempt', 0)}: {_last_reason(task)}"
        case "expired":
            return "not done by its deadline"
        case "waiting":
            return "waits for units"
        case "parked" | "cancelled":
            return _last_reason(task)
    return render.clean(task.get("detail") or "") or "-"


def _last_reason(task: Mapping[str, Any]) -> str:
    reasons = task.get("reasons") or ["-"]
    detail = task.get("detail")
    return render.clean(f"{reasons[-1]}: {detail}" if detail else str(reasons[-1]))


def moment(when: str) -> str:
    """A time of today by the clock on the wall, for a person; as it came for a pipe."""
    if not render.terminal():
        return render.clean(when)
    try:
        return datetime.datetime.fromisoformat(when).astimezone().strftime("%H:%M:%S")
    except ValueError:
        return render.clean(when)


# Health and writes


def draw_health(result: Mapping[str, Any]) -> None:
    _draw_health(result["pools"])


def _draw_health(pools: Sequence[Mapping[str, Any]]) -> None:
    """Worst first: what is wrong, and below it what to do."""
    for pool in sorted(pools, key=lambda pool: HEALTHS.index(pool["health"])):
        lead = f"{render.verdict(pool['health'], pool['health'].ljust(8))}  {render.clean(pool['name']).ljust(8)}"
        reasons = pool.get("reasons") or ()
        if not reasons:
            render.say(lead.rstrip())
        for reason in reasons:
            render.say(f"{lead}  {render.clean(reason['text'])}")
            render.say(f"{' ' * 20}{render.clean(reason['remedy'])}")


def draw_status(result: Mapping[str, Any]) -> None:
    label, text = status_line(result)
    render.say(f"{label}  {text}")


def draw_scaled(event: Mapping[str, Any]) -> None:
    if not event:
        render.say("nothing changed: it has that size")
    else:
        render.say(f"{event['pool']}: {event['from_units']} → {event['to_units']} units")


def draw_submitted(event: Mapping[str, Any]) -> None:
    if not event:
        render.say("nothing changed")
    else:
        amount = render.plural(event["units"], "unit")
        render.say(
            f"{render.clean(event['task_id'])} submitted: {amount} of {event['resource_type']}, priority {event['priority']}"
        )


def draw_cancelled(event: Mapping[str, Any]) -> None:
    render.say(f"{render.clean(event['task_id'])} cancelled" if event else "nothing changed: it had ended")


DRAW = {
    "resource.pools": draw_pools,
    "resource.tasks": draw_tasks,
    "resource.health": draw_health,
    "resource.status": draw_status,
    "resource.scale": draw_scaled,
    "resource.submit_task": draw_submitted,
    "resource.cancel_task": draw_cancelled,
}
