"""How the cache engine looks: what it holds, whether the far end may be talked to, and what waits for it.

`overview` is `irerctl cache` and `irerctl offline`. A value is printed as JSON, so that it can be given back as it came.
"""

from collections.abc import Mapping
from typing import Any

from irerctl import render
from irerctl.figures import bar, moment, number
from irerctl.session import Session

WATCHED = "cache"
SHOWN = 8
FULL_FROM = 0.9


def overview(now: Session) -> None:
    """Where it stands, and the oldest of what waits: three reads on one connection."""
    with render.Waiting("waiting for the cache"), now.connect() as client:
        status = client.call("cache.status").result
        queue = client.call("cache.queue", {"limit": SHOWN}).result
        conflicts = client.call("cache.conflicts", {"limit": SHOWN}).result
    now.show({"status": status, "queue": queue, "conflicts": conflicts}, _draw_overview)


def _draw_overview(found: Mapping[str, Any]) -> None:
    draw_status(found["status"])
    if found["conflicts"].get("count"):
        render.say()
        draw_conflicts({**found["conflicts"], "next": None})
    if found["queue"].get("count"):
        render.say()
        _draw_waiting(found["queue"])
        if found["queue"].get("next") is not None:
            render.tell("… and more: irerctl offline queue")
    render.tell(hint(found["status"]))


def hint(status: Mapping[str, Any]) -> str:
    if status.get("conflicts"):
        return "Try: irerctl offline resolve KEY REV   or: irerctl help conflict"
    if not status.get("online", True):
        return "Try: irerctl offline off"
    return "Try: irerctl offline sync" if status.get("queue") else "Try: irerctl cache set KEY JSON   or: irerctl cache ls"


def draw_status(status: Mapping[str, Any]) -> None:
    room, used = status.get("bytes_max") or 0, status.get("bytes", 0)
    share = used / room if room else 0.0
    drawn = f"{bar(share, 'red' if share >= FULL_FROM else 'green')}  " if render.terminal() else ""
    hits, misses = status.get("hits", 0), status.get("misses", 0)
    lines = {
        "far end": _online(status),
        "keys": number(status.get("keys", 0)),
        "room": f"{drawn}{render.size(used)} of {render.size(room)}",
        "in memory": render.size(status.get("hot_bytes", 0)),
        "gets": f"{number(hits + misses)}, {number(hits)} found ({number(status.get('from_memory', 0))} in memory)",
        "waiting": f"{number(status.get('queue', 0))} to be synced",
        "conflicts": number(status.get("conflicts", 0)),
        "last sync": moment(status.get("last_sync")),
    }
    if status.get("drill"):
        lines["last drill"] = _drilled(status["drill"])
    render.pairs(lines)


def _drilled(drill: Mapping[str, Any]) -> str:
    """`100 % of 10,000 operations in 24 hours survived, 2026-01-31 12:00`."""
    share = drill.get("latency_tolerance", 0)
    whole = share == 100 and drill.get("chains") == "ok"
    over = render.plural(drill.get("hours", 0), "hour")
    said = f"{share:g} % of {number(drill.get('operations', 0))} operations in {over} survived"
    return f"{render.verdict('ok' if whole else 'failed', said)}, {moment(drill.get('ended_at'))}"


def draw_drill(last: Mapping[str, Any]) -> None:
    """What an offline drill came to, in words."""
    found = last["result"]
    attempted, survived, hours = found["attempted"], found["survived"], render.plural(found["hours"], "hour")
    verdict = render.verdict("ok" if last.get("ok") else "failed", f"{found['latency_tolerance']:g} %")
    render.say(
        f"latency tolerance {verdict}: {number(survived)} of {number(attempted)} operations survived {hours} without a network"
    )
    kills, cuts = render.plural(found["kills"], "kill"), render.plural(found["cuts"], "cut")
    render.say(
        f"{kills} of the daemon, {cuts} of the connection, {render.plural(found['conflicts'], 'document')} edited on both sides"
    )
    equal = "both sides are equal" if found["equal"] else render.verdict("failed", "the sides are not equal")
    chains = "every chain verifies" if found["chains"] == "ok" else render.verdict("failed", "a chain is broken")
    render.say(f"At the end {equal}, and {chains}.")
    if found.get("lost"):
        rows = [
            [render.clean(each["key"]), render.clean(each.get("rev") or "-"), render.clean(each["why"])] for each in found["lost"]
        ]
        render.table(["lost", "revision", "why"], rows)
        render.note("This is a fault of irer. Report it, with the record of the drill: irerctl watch --help")


def _online(status: Mapping[str, Any]) -> str:
    return render.verdict("ok", "online") if status.get("online", True) else render.verdict("warn", "offline: nothing is sent")


def status_line(status: Mapping[str, Any]) -> tuple[str, str]:
    """`12 keys  1.2 MiB  3 wait for sync  offline`."""
    parts = [render.plural(status.get("keys", 0), "key"), render.size(status.get("bytes", 0))]
    if status.get("queue"):
        parts.append(f"{render.count(status['queue'])} to sync")
    if status.get("conflicts"):
        parts.append(render.paint(render.plural(status["conflicts"], "conflict"), fg="yellow"))
    if not status.get("online", True):
        parts.append(render.paint("offline", fg="yellow"))
    return "cache", "  ".join(parts)


def draw_value(entry: Mapping[str, Any]) -> None:
    """The value and nothing else on stdout; what stands beside it on stderr."""
    render.json_value(entry["value"])
    others = entry.get("conflicts") or ()
    if others:
        render.note(f"It is in conflict with {render.plural(len(others), 'other revision')}. Try: irerctl offline conflicts")


def draw_keys(page: Mapping[str, Any]) -> None:
    if page["keys"]:
        rows = [
            [
                render.clean(each["key"]),
                render.clean(each["rev"]),
                number(each["bytes"]),
                moment(each.get("expires_at")),
                number(each.get("conflicts", 0)),
            ]
            for each in page["keys"]
        ]
        render.table(["key", "revision", "bytes", "ends", "conflicts"], rows, right=["bytes", "conflicts"])
    else:
        render.say("no keys")
    _more(page)


def draw_queue(page: Mapping[str, Any]) -> None:
    if page["keys"]:
        _draw_waiting(page)
    else:
        render.say("nothing waits")
    if not page.get("online", True):
        render.note("The far end is not talked to. Try: irerctl offline off")
    _more(page)


def _draw_waiting(page: Mapping[str, Any]) -> None:
    rows = [
        [render.clean(each["key"]), render.clean(each["rev"]), "deleted" if each["deleted"] else "set", number(each["bytes"])]
        for each in page["keys"]
    ]
    render.table(["waits", "revision", "change", "bytes"], rows, right=["bytes"])


def draw_conflicts(page: Mapping[str, Any]) -> None:
    if page["keys"]:
        rows = [[render.clean(each["key"]), render.clean(each["rev"]), render.word(each["others"])] for each in page["keys"]]
        render.table(["in conflict", "shown now", "beside it"], rows)
        render.note("Keep one: irerctl offline resolve KEY REV")
    else:
        render.say("no conflicts")
    _more(page)


def _more(page: Mapping[str, Any]) -> None:
    if page.get("next") is not None:
        render.note(f"More: add --after {render.clean(str(page['next']))}")


def draw_written(found: Mapping[str, Any]) -> None:
    ends = f", until {moment(found['expires_at'])}" if found.get("expires_at") else ""
    render.say(f"{render.clean(str(found['key']))} is at {render.clean(str(found['rev']))}{ends}")


def draw_online(found: Mapping[str, Any]) -> None:
    if not found:
        render.say("nothing changed: it was so before")
    elif found["online"]:
        render.say("online: the far end may be talked to. Try: irerctl offline sync")
    else:
        render.say("offline: writes go on, and wait in the queue. Back: irerctl offline off")


def draw_resolved(found: Mapping[str, Any]) -> None:
    if not found:
        render.say("nothing changed: there is no other revision")
        return
    ended = render.plural(len(found.get("ended") or ()), "other revision")
    render.say(f"{render.clean(str(found['key']))} stays at {render.clean(str(found['rev']))}; {ended} ended")


DRAW = {
    "cache.status": draw_status,
    "cache.get": draw_value,
    "cache.list": draw_keys,
    "cache.queue": draw_queue,
    "cache.conflicts": draw_conflicts,
    "cache.set": draw_written,
    "cache.delete": draw_written,
    "cache.set_online": draw_online,
    "cache.resolve": draw_resolved,
}
DRAW_JOB = {"cache.drill": draw_drill}
"""Jobs whose end is told in words."""
