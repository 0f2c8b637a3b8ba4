"""`irerctl top`: the daemon as it works, twice a second on a terminal, once for a pipe.

It only asks what `status` and `health` ask. Whatever ends it, the terminal must be as it was.
"""

import contextlib
import os
import shutil
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from irerctl import render
from irerctl.screens.system import LABEL_WIDTH, engine_line, headline, problem_lines
from irerctl.session import Session, body_of, command, session

if TYPE_CHECKING:
    from irerctl.client import Client

EVERY_S = 0.5
KEPT = 40
"""Rates that are remembered: the width of the curve."""
PROBLEMS_MAX = 6
LOG_LINES_MAX = 4
CELLS = " ▁▂▃▄▅▆▇█"


class Look(NamedTuple):
    """What was seen at one moment."""

    at_s: float
    status: Mapping[str, Any]
    health: Mapping[str, Any]

    @property
    def load(self) -> Mapping[str, Any]:
        """Empty where the daemon is older than this program."""
        return self.health.get("load") or {}

    @property
    def records(self) -> dict[str, int]:
        return {log["log"]: log.get("records") or 0 for log in self.status.get("logs") or ()}


class Rates(NamedTuple):
    """What happened between two looks, a second."""

    calls: float
    groups: float
    records: Mapping[str, float]


NOTHING = Rates(0.0, 0.0, {})


def rates(before: Look, after: Look) -> Rates:
    """Of another daemon, or of the same moment, nothing can be said."""
    took_s = after.at_s - before.at_s
    if took_s <= 0 or before.status.get("instance") != after.status.get("instance"):
        return NOTHING
    old, new = before.records, after.records
    return Rates(
        max(0, after.load.get("calls", 0) - before.load.get("calls", 0)) / took_s,
        max(0, after.load.get("groups", 0) - before.load.get("groups", 0)) / took_s,
        {log: max(0, new[log] - old.get(log, new[log])) / took_s for log in new},
    )


@command(
    "top",
    "The daemon as it works: load, queues, engines, logs.",
    click.Option(["--every"], type=click.FloatRange(0.1, 60), default=EVERY_S, show_default=True, metavar="S", help="Seconds."),
    epilog="q ends it. For a pipe it is one look; with -o jsonl one object each time, until it is ended.",
)
def top(every: float) -> None:
    now = session()
    with now.connect() as client:
        first = look(client)
        if now.output == "jsonl":
            _follow(client, every)
        elif now.output == "table" and render.terminal():
            _live(now, client, first, every)
        else:
            time.sleep(every)
            second = look(client)
            then = rates(first, second)
            now.show(_as_data(second, then), lambda _: _print(frame(second, [then], now.where, None)))


def look(client: "Client") -> Look:
    status, health = client.call("system.status").result, client.call("system.health").result
    return Look(time.monotonic(), status, health)


def _as_data(seen: Look, then: Rates) -> dict[str, Any]:
    return {"status": seen.status, "health": seen.health, "rates": then._asdict()}


def _follow(client: "Client", every: float) -> None:
    """An object each time, with what has happened since the one before."""
    before = look(client)
    with render.ItemWriter("jsonl") as writer:
        while True:
            time.sleep(every)
            after = look(client)
            writer.write(_as_data(after, rates(before, after)))
            sys.stdout.flush()
            before = after


def _print(lines: Sequence[str]) -> None:
    for line in lines:
        render.say(line)


# On a terminal


def _live(now: Session, client: "Client", before: Look, every: float) -> None:
    past: deque[Rates] = deque(maxlen=KEPT)
    client.retry_s = 0  # a daemon that is away is told on the screen, and looked for again each time
    lost = ""
    with _screen() as keys:
        while True:
            size = shutil.get_terminal_size((80, 24))
            lines = frame(before, past, now.where, (size.columns, size.lines), lost)
            _draw(lines, size.columns)
            if keys.wait(every) in ("q", "Q"):
                return
            try:
                after = look(client)
            except Exception as failure:
                body = body_of(failure)
                if body is None:
                    raise
                lost = render.sentence(body)
                continue
            past.append(rates(before, after))
            before, lost = after, ""


class _Keys:
    """What is typed while the screen is shown. Where input is no terminal nothing ever is."""

    def __init__(self, watched: bool) -> None:
        self._watched = watched

    def wait(self, seconds: float) -> str:
        import select

        if not self._watched:
            time.sleep(seconds)
            return ""
        if not select.select([0], [], [], seconds)[0]:
            return ""
        typed = os.read(0, 64).decode(errors="replace")
        if not typed:
            self._watched = False
        return "q" if "q" in typed.lower() else typed


@contextlib.contextmanager
def _screen() -> Iterator[_Keys]:
    """The terminal's other screen, and its keys one by one; all as before afterwards."""
    import termios

    watched = sys.stdin is not None and sys.stdin.isatty()
    before = termios.tcgetattr(0) if watched else None
    ended = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if before is not None:
            quiet = termios.tcgetattr(0)
            quiet[3] &= ~(termios.ICANON | termios.ECHO)
            quiet[6][termios.VSUSP] = b"\0"  # Ctrl-Z would leave the shell on this screen
            termios.tcsetattr(0, termios.TCSADRAIN, quiet)
        click.echo("\x1b[?1049h\x1b[?25l", nl=False, color=True)
        yield _Keys(watched)
    finally:
        with contextlib.suppress(OSError):
            click.echo("\x1b[?25h\x1b[?1049l", nl=False, color=True)
        if before is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, before)
        signal.signal(signal.SIGTERM, ended)


def _draw(lines: Sequence[str], columns: int) -> None:
    """The whole screen in one write, over the last one: nothing flickers."""
    body = "\x1b[K\r\n".join(render.cut(line, columns) for line in lines)
    click.echo(f"\x1b[H{body}\x1b[K\x1b[J", nl=False, color=True)


# The screen


def frame(seen: Look, past: Sequence[Rates], where: str, size: tuple[int, int] | None, lost: str = "") -> list[str]:
    """The lines of one screen, worst news first. Without a size nothing is left out and nothing is for keys."""
    columns, rows = size or (None, None)
    status, latest = seen.status, past[-1] if past and not lost else NOTHING
    if lost:
        status = {**status, "health": "failed", "state": "away, was"}
    bad = [lost] if lost else [str(problem) for problem in status.get("problems") or ()]
    lines = [headline(status, where), *problem_lines(bad, PROBLEMS_MAX if size else len(bad) * 10, columns), ""]
    lines += [*load_lines(seen, latest, past), ""]
    engines = [engine_line(name, value) for name, value in (status.get("engines") or {}).items()]
    logs = log_lines(seen, latest, columns)
    ending = [] if size is None else ["", render.paint("q ends it", dim=True)]
    if rows is not None:
        room = rows - len(lines) - len(ending)
        logs = _shortened(logs, min(LOG_LINES_MAX, max(room // 4, 1)), "logs")
        engines = _shortened(engines, max(room - len(logs) - 1, 1), "engines")
    return [*lines, *engines, "", *logs, *ending][:rows]


def _shortened(lines: list[str], room: int, what: str) -> list[str]:
    if len(lines) <= room:
        return lines
    return [*lines[: room - 1], f"{'':{LABEL_WIDTH}}  and more {what}. All: irerctl status"]


def load_lines(seen: Look, latest: Rates, past: Sequence[Rates]) -> list[str]:
    """How much, how late, what waits, who computes."""
    load, health = seen.load, seen.health
    curve = curved([each.calls for each in past]) if len(past) > 1 else ""
    late = f"{load['loop_lag_p99_ms']:.1f} ms" if "loop_lag_p99_ms" in load else "-"
    worst = f"{health.get('loop_lag_ms', 0):.1f} ms"
    queued = "  ".join(f"{render.clean(log)} {render.count(count)}" for log, count in (load.get("queued") or {}).items())
    waiting = [f"{render.size(load['outbox_bytes'])} for slow readers"] if load.get("outbox_bytes") else []
    workers = (
        f"{load.get('workers_running', 0)} compute  {load.get('workers_waiting', 0)} wait  {load.get('workers_started', 0)} started"
        if load.get("workers_started")
        else "none started"
    )
    lost = f"  {render.paint(str(load['workers_lost']) + ' lost', fg='yellow')}" if load.get("workers_lost") else ""
    memory = render.size(health.get("resident_bytes", 0))
    happens = f"{per_second(latest.calls)} calls  {per_second(latest.groups)} groups synced"
    return [
        f"{'load':{LABEL_WIDTH}}  {happens}  {memory}  {curve}".rstrip(),
        f"{'loop late':{LABEL_WIDTH}}  p99 {late}  worst {worst}  in ten seconds",
        f"{'queues':{LABEL_WIDTH}}  {'  '.join([queued or 'nothing waits', *waiting])}",
        f"{'workers':{LABEL_WIDTH}}  {workers}{lost}  {load.get('jobs', 0)} jobs",
    ]


def log_lines(seen: Look, latest: Rates, columns: int | None) -> list[str]:
    """Logs that grow first, as many on a line as fit; of the others only how many there are."""
    records = seen.records
    growing = sorted((log for log in records if latest.records.get(log)), key=lambda log: -latest.records[log])
    cells = [f"{render.clean(log)} {render.count(records[log])} +{per_second(latest.records[log])}" for log in growing]
    quiet, total = len(records) - len(growing), sum(records.values())
    cells.append(
        f"{render.plural(quiet, 'log')} at rest  {render.plural(total, 'record')} in all" if quiet else f"{total:,} in all"
    )
    lines = [""]
    for cell in cells:
        if lines[-1] and columns is not None and len(lines[-1]) + len(cell) + LABEL_WIDTH + 5 > columns:
            lines.append("")
        lines[-1] += f"{'   ' if lines[-1] else ''}{cell}"
    return [f"{'' if place else 'logs':{LABEL_WIDTH}}  {line}" for place, line in enumerate(lines)]


def per_second(rate: float) -> str:
    return f"{rate:,.0f}/s" if rate >= 10 or rate == 0 else f"{rate:.1f}/s"


def curved(values: Sequence[float]) -> str:
    """A row of bars, the highest value full."""
    most = max(values, default=0.0)
    return "".join(CELLS[min(len(CELLS) - 1, round(value / most * (len(CELLS) - 1))) if most else 0] for value in values)
