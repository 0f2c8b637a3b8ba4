"""`irerctl status`: the whole daemon in at most twenty lines, worst news first.

What it does not know it still shows: an engine without a screen gets a line made from its numbers.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from irerctl import render
from irerctl.session import command, session

LINES_MAX = 20
LABEL_WIDTH = 10


@command("status", "What the daemon is doing, on one screen.", epilog="At most twenty lines. `-o json` gives everything.")
def status() -> None:
    now = session()
    found = now.call("system.status").result
    now.show(found, lambda value: draw(value, now.where))


def draw(status: Mapping[str, Any], socket: str) -> None:
    engines = [engine_line(name, value) for name, value in (status.get("engines") or {}).items()]
    ending = [*chain_lines(status.get("logs") or ()), "", hint(status)]
    problems = problem_lines(status.get("problems") or (), LINES_MAX - len(engines) - len(ending) - 2)
    lines = [headline(status, socket), *problems, "", *engines]
    for line in [*lines[: LINES_MAX - len(ending)], *ending]:
        render.say(line)


def problem_lines(problems: Sequence[object], room: int, columns: int | None = None) -> list[str]:
    """What is wrong, as far as there is room, and how much more there is."""
    lead = f"  {render.paint('!', fg='red', bold=True)} "
    lines: list[str] = []
    for place, problem in enumerate(problems):
        more = render.wrapped(render.clean(str(problem)), lead, columns)
        spare = 0 if place == len(problems) - 1 else 1
        if len(lines) + len(more) + spare > max(room, 2):
            return [*lines, f"    and {len(problems) - place} more. Try: irerctl doctor"]
        lines += more
    return lines


def headline(status: Mapping[str, Any], socket: str) -> str:
    health, state = str(status.get("health", "ok")), str(status.get("state", ""))
    parts = [f"irerd {render.word(status.get('version'))}", render.clean(state)]
    parts += [f"up {render.duration(status.get('uptime_s') or 0)}", f"pid {render.word(status.get('pid'))}"]
    callers = status.get("callers") or {}
    connections = status.get("connections", callers.get("connections") if isinstance(callers, Mapping) else None)
    if isinstance(connections, int):
        parts.append(render.plural(connections, "connection"))
    line = f"{render.verdict(health, health if health == 'ok' else health.upper())}  {'  '.join(part for part in parts if part)}"
    room = (render.width() or 10_000) - len("  ".join(parts)) - len(health) - 4
    return f"{line}  {socket}" if len(socket) <= room else line


def engine_line(name: str, value: Any) -> str:
    """One engine, worded by its screen if it has one."""
    try:
        label, text = worded(name, value)
    except (AttributeError, KeyError, TypeError):
        label, text = name, numbers(value)  # a daemon of another version: its numbers are still worth a line
    lead = render.clean(label).ljust(LABEL_WIDTH)
    return f"{lead}  {render.cut(text, None if render.width() is None else (render.width() or 80) - len(lead) - 2)}"


def worded(name: str, value: Any) -> tuple[str, str]:
    place = f"irerctl.screens.{name}"
    line = getattr(import_module(place), "status_line", None) if name.isidentifier() and find_spec(place) else None
    return line(value) if line else (name, numbers(value))


def numbers(value: Any) -> str:
    """The numbers and words of an engine nobody drew, largest things left out."""
    if not isinstance(value, Mapping):
        return render.word(value)
    shown = []
    for key, each in value.items():
        if isinstance(each, bool | int | float | str):
            text = render.count(each) if isinstance(each, int) and not isinstance(each, bool) else render.word(each)
            shown.append(f"{text} {render.clean(key).replace('_', ' ')}" if not isinstance(each, str) else f"{key} {text}")
        elif isinstance(each, list | dict) and each:
            shown.append(f"{len(each)} {render.clean(key).replace('_', ' ')}")
    return "  ".join(shown) or "nothing yet"


def chain_lines(logs: Sequence[Mapping[str, Any]]) -> list[str]:
    """How much there is on record, how far it is known to hold, and which logs do not."""
    if not logs:
        return []
    broken = [str(log.get("log")) for log in logs if log.get("integrity", "ok") != "ok"]
    records = sum(log.get("records") or 0 for log in logs)
    verified = sum((log.get("durable_seq", -1) + 1) for log in logs if log.get("integrity", "ok") == "ok")
    lead = "chains".ljust(LABEL_WIDTH)
    line = f"{lead}  {render.plural(len(logs), 'log')}  {render.plural(records, 'record')}  verified to {render.count(verified)}"
    if broken:
        names = ", ".join(render.clean(name) for name in broken)
        return [f"{line}  {render.paint(f'{len(broken)} failed: {names}', fg='red', bold=True)}"]
    return [line]


def hint(status: Mapping[str, Any]) -> str:
    """The one thing to type next."""
    if any(log.get("integrity", "ok") != "ok" for log in status.get("logs") or ()):
        return "Try: irerctl audit hashchain"
    if status.get("health", "ok") != "ok" or status.get("problems"):
        return "Try: irerctl doctor"
    busy = (status.get("engines") or {}).get("resource") or {}
    if isinstance(busy, Mapping) and busy.get("parked"):
        return "Try: irerctl engine tasks --state parked"
    return "Try: irerctl engine   or: irerctl watch"
