"""`irerctl hunt`: begin a search, watch it, stop it, and see what it found.

A hunt is the daemon's: who stops looking does not stop it. A metric without a number is shown as its code, never as a number. Must
never say that a hunt found something: a threshold that was reached in a search is reached, and not certified.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from math import log10
from typing import Any

import click

from irerctl import fields, generic, render
from irerctl.figures import bar, moment, number
from irerctl.session import Group, Session, session

HELP = "Search for parameters of the field, and see what was found."
WATCHED = "hunt"
STOPPED = 130
ACTIVE = frozenset({"running", "stopping"})
PLOT_COLUMNS, PLOT_ROWS = 46, 8
PLOTTED_MIN = 1e-9
COLUMNS = ["generation", "index", "status", "log_prime_sse", "sdg_h_norm_l2", "fitness", "rank", "n_peaks", "job_uuid"]
FRONT_SHOWN = 5
WORDS = {"completed": "ok", "failed": "failed", "stopped": "warn", "stopping": "warn", "running": "ok", "idle": "ok"}


def _alone() -> None:
    if click.get_current_context().invoked_subcommand is None:
        overview(session())


hunt = Group(
    "hunt", help=HELP, short_help=HELP, invoke_without_command=True, callback=_alone, epilog="Alone it tells how far it is."
)


def overview(now: Session) -> None:
    now.show(now.call("hunt.status").result, draw_status)


# --- beginning --------------------------------------------------------------------------------------------------------------


@hunt.command_of(
    "start",
    "Begin a search, which runs by itself.",
    click.Option(["--generations"], type=click.INT, metavar="N", help="How many generations (10, unless configured)."),
    click.Option(["--population"], type=click.INT, metavar="N", help="Candidates in each (10, unless configured)."),
    click.Option(["--seed"], type=click.INT, metavar="N", help="Of all chance in it; without one, one is drawn."),
    click.Option(
        ["--space"], metavar="FILE", help='What to search: a JSON file as {"eps": {"low": 0.5, "high": 1.5}}; - reads it.'
    ),
    click.Option(["--objectives"], metavar="NAME[,NAME]", help="Some of log_prime_sse, sdg_h_norm_l2 and gap; or fitness."),
    click.Option(
        ["--settings"], type=fields.JsonText(), metavar="JSON", help="How each candidate is run, as one object, or @FILE."
    ),
    click.Option(["--follow"], is_flag=True, help="Watch it to its end."),
    click.Option(["--dry-run"], is_flag=True, help="Print the event it would write; write nothing."),
    click.Option(["--idem"], metavar="KEY", help="Idempotency key: the same key does it only once."),
)
def start(**given: Any) -> int | None:
    now = session()
    params = asked(given)
    if given["dry_run"]:
        now.show(now.call("hunt.start", params, dry=True).result, _draw_dry)
        return None
    reply = now.call("hunt.start", params, **({"idem": given["idem"]} if given["idem"] else {}))
    if not given["follow"]:
        begun = reply.result if now.output == "table" else {"result": reply.result, "receipt": reply.receipt}
        now.show(begun, draw_started)
        return None
    if now.output == "table":
        draw_started(reply.result)
    last = follow(now, str(reply.result["hunt_id"]))
    if last is None:
        return STOPPED
    if now.output != "table":
        now.show({"result": reply.result, "receipt": reply.receipt, "hunt": last})
    return None if last["state"] == "completed" else 1


def asked(given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of `hunt.start`: what was not given is not sent."""
    names = {"generations": "num_generations", "population": "population_size", "seed": "seed", "settings": "settings"}
    found = {name: given[option] for option, name in names.items() if given.get(option) is not None}
    if given.get("space"):
        found["space"] = fields.JsonText().convert(given["space"] if given["space"] == "-" else f"@{given['space']}", None, None)
    if given.get("objectives"):
        found["objectives"] = [name.strip() for name in given["objectives"].split(",")]
    return found


def _draw_dry(found: Mapping[str, Any]) -> None:
    for event in found.get("events") or ():
        render.say(f"would write {render.clean(str(event['type']))}")
        render.json_value(event["data"])


for _name in ("status", "stop", "resume", "list", "best", "ledger", "certify", "paradox"):
    hunt.add_command(generic.command(generic.catalogue().rows[f"hunt.{_name}"], _name))


# --- taking along -----------------------------------------------------------------------------------------------------------


@hunt.command_of(
    "export",
    "Write the golden parameters with their certificate: the provenance of the best, as JSON.",
    click.Argument(["hunt_id"], required=False),
    click.Option(["--out"], metavar="FILE", help="A file to make; it must not be there yet. Without one it is printed."),
)
def export(hunt_id: str | None, out: str | None) -> int | None:
    now = session()
    found = now.call("hunt.best", {"hunt_id": hunt_id} if hunt_id else {}).result
    if out is None:
        now.show(found, render.json_value)
        return None
    try:
        with open(out, "x", encoding="utf-8") as file:
            file.write(json.dumps(found, indent=1, sort_keys=True) + "\n")
    except OSError as error:
        text = f"{out} was not written ({error.strerror}). Name a file that is not there, in a directory that is"
        raise click.ClickException(text) from None
    verdict = (found.get("certificate") or {}).get("verdict", "not certified")
    render.say(f"{out}: {render.clean(str(found['job_uuid']))}, {render.clean(str(verdict))}")
    if "certificate" not in found or found["certificate"] is None:
        render.tell("Try: irerctl hunt certify")
    return None


# --- watching ---------------------------------------------------------------------------------------------------------------


@hunt.command_of(
    "watch",
    "Follow a hunt to its end: generation, best so far, front, time left.",
    click.Option(["--since"], metavar="CURSOR", help="Go on after this place, as -o jsonl shows it; then it goes on for ever."),
    epilog="Ctrl-C ends the looking, not the hunt. With -o jsonl each event is one object on a line, with its cursor.",
)
def watch(since: str | None) -> int | None:
    now = session()
    if now.output == "table" and since is None:
        return STOPPED if follow(now, None) is None else None
    with now.stream("hunt.watch", {"since": since} if since else {}) as items:
        with render.ItemWriter(now.output) as writer:
            if since is None and now.call("hunt.status").result["state"] not in ACTIVE:
                return None
            for item in items:
                writer.write({**item, "cursor": items.cursor})
                if since is None and item["type"] in ENDS and now.call("hunt.status").result["state"] not in ACTIVE:
                    return None
    return None


ENDS = frozenset({"hunt.completed", "hunt.failed", "hunt.stopped"})
OFTEN = frozenset({"hunt.asked", "hunt.scored"})
LOOK_S = 0.2


def follow(now: Session, hunt_id: str | None) -> Mapping[str, Any] | None:
    """A hunt's last status; None for who stopped looking, while the hunt goes on."""
    picture = _Picture()
    status: Mapping[str, Any] = {}
    try:
        for status in _statuses(now, hunt_id):
            if now.output == "table" and status["state"] != "idle":
                picture.show(status)
    except KeyboardInterrupt:
        render.note("The hunt goes on. Follow it: irerctl hunt watch   End it: irerctl hunt stop")
        return None
    if now.output == "table":
        _draw_end(status)
    return status


def _statuses(now: Session, hunt_id: str | None) -> Iterator[Mapping[str, Any]]:
    """How far it is, once now and again whenever that may have changed, until it ends."""
    params = {"hunt_id": hunt_id} if hunt_id else {}
    with now.stream("hunt.watch") as items, now.connect() as client:
        status = client.call("hunt.status", params).result
        yield status
        looked_s = time.monotonic()
        if status["state"] not in ACTIVE:
            return
        for item in items:
            if item["type"] in OFTEN and time.monotonic() - looked_s < LOOK_S:
                continue  # others come at once, and the last of a generation closes it
            looked_s = time.monotonic()
            status = client.call("hunt.status", params).result
            yield status
            if status["state"] not in ACTIVE:
                return


class _Picture:
    """On a terminal one picture that is drawn over itself; for a pipe a line for each generation."""

    def __init__(self) -> None:
        self._lines = 0
        self._generation = -1

    def show(self, status: Mapping[str, Any]) -> None:
        if not render.terminal():
            if status.get("generation") != self._generation:
                self._generation = status.get("generation", 0)
                render.say(progress_line(status))
                render.end_if_unread()
            return
        lines = picture(status)
        over = f"\x1b[{self._lines}F\x1b[J" if self._lines else ""
        columns = render.width()
        click.echo(over + "\n".join(render.cut(line, columns) for line in lines), color=True)
        self._lines = len(lines)


def picture(status: Mapping[str, Any]) -> list[str]:
    """Everything there is to see of a hunt that runs."""
    done, total = status.get("jobs_done", 0), status.get("jobs_total", 0)
    share = done / total if total else 0.0
    left = status.get("eta_s")
    lines = [
        f"hunt {render.clean(str(status.get('hunt_id', '-')))}  {_state(status)}",
        f"generation {number(status.get('generation', 0))} of {number(status.get('generations', 0))}  "
        f"{bar(share)} {number(done)} of {number(total)} runs{f'  {render.duration(left)} left' if left is not None else ''}",
        f"best  {_run(status.get('best'))}",
        f"last  {_run(status.get('last'))}",
        *plot(status),
    ]
    return lines


def progress_line(status: Mapping[str, Any]) -> str:
    """`generation 3 of 10  30 of 100 runs  best 0.0123, h norm 0.2  front 4  hypervolume 2.1  40 s left`."""
    parts = [
        f"generation {status.get('generation', 0)} of {status.get('generations', 0)}",
        f"{status.get('jobs_done', 0)} of {status.get('jobs_total', 0)} runs",
        f"best {_run(status.get('best'))}",
        f"front {len(status.get('front') or ())}",
    ]
    volumes = [each for each in status.get("hypervolume") or () if each is not None]
    if volumes:
        parts.append(f"hypervolume {_figure(volumes[-1])}")
    if status.get("eta_s") is not None:
        parts.append(f"{render.duration(status['eta_s'])} left")
    return "  ".join(parts)


def plot(status: Mapping[str, Any]) -> list[str]:
    """The Pareto front, both axes logarithmic; nothing where there are not two objectives, or no point."""
    names = list(status.get("objectives") or ())
    points = [each["values"] for each in status.get("front") or () if len(each["values"]) == 2]
    if len(names) != 2 or not points:
        return []
    across, up = ([log10(max(float(point[axis]), PLOTTED_MIN)) for point in points] for axis in (0, 1))
    cells = [[" "] * PLOT_COLUMNS for _ in range(PLOT_ROWS)]
    for x, y in zip(_scaled(across, PLOT_COLUMNS), _scaled(up, PLOT_ROWS), strict=True):
        cells[PLOT_ROWS - 1 - y][x] = "●"
    top, bottom = _figure(10 ** max(up)), _figure(10 ** min(up))
    wide = max(len(top), len(bottom))
    labels = [top, *[""] * (PLOT_ROWS - 2), bottom]
    low, high = _figure(10 ** min(across)), _figure(10 ** max(across))
    return [
        f"front of {render.plural(len(points), 'candidate')}: {render.clean(str(names[1]))} over {render.clean(str(names[0]))}",
        *(f"{label.rjust(wide)} │{''.join(row)}".rstrip() for label, row in zip(labels, cells, strict=True)),
        f"{' ' * wide} └{'─' * PLOT_COLUMNS}",
        f"{' ' * wide}  {low}{high.rjust(max(PLOT_COLUMNS - len(low), len(high) + 1))}",
    ]


def _scaled(values: Sequence[float], cells: int) -> list[int]:
    low, span = min(values), max(values) - min(values)
    return [round((value - low) / span * (cells - 1)) if span else cells // 2 for value in values]


# --- drawing ----------------------------------------------------------------------------------------------------------------


def draw_status(status: Mapping[str, Any]) -> None:
    if status.get("state") == "idle":
        _draw_end(status)
        return
    for line in picture(status) if render.terminal() else [_plain_head(status), progress_line(status)]:
        render.say(render.cut(line, render.width()))
    _draw_end(status)


def _plain_head(status: Mapping[str, Any]) -> str:
    return f"hunt {render.clean(str(status.get('hunt_id', '-')))}  {_state(status)}"


def _draw_end(status: Mapping[str, Any]) -> None:
    """What it came to, where it came to an end."""
    if status.get("state") == "idle":
        render.say("no hunt yet")
    if status.get("error"):
        render.say(f"{render.verdict('failed')}: {render.clean(str(status['error']))}")
    if status.get("success"):
        for line in [*outcome(status["success"]), *front_lines(status)]:
            render.say(line)
    for each in status.get("certificates") or ():
        for line in certified(each):
            render.say(line)
    match status.get("state"):
        case "idle":
            render.tell("Try: irerctl hunt start --generations 10 --population 10 --follow")
        case "stopped":
            render.tell("Try: irerctl hunt resume")
        case "completed":
            render.tell("Try: irerctl hunt best   or: irerctl hunt ledger --sort log_prime_sse --limit 10")
        case "running":
            render.tell("Try: irerctl hunt watch")


def outcome(success: Mapping[str, Any]) -> list[str]:
    """The source's two criteria. The scientific one is a report and no verdict: a certificate is another matter."""
    did, found = success["engineering"], success["scientific"]
    kinds = ", ".join(f"{did[name]} {word}" for name, word in _KINDS.items() if did.get(name))
    whole = render.verdict("ok" if did["ok"] else "failed", "engineering success" if did["ok"] else "engineering failure")
    files = f"{did['provenance']} of {did['jobs']} provenance files are complete"
    reached = "both thresholds reached" if found["reached"] else "thresholds not reached"
    sse = f"log_prime_sse {_figure(found.get('log_prime_sse'))} (below {found['log_prime_sse_below']:g} wanted)"
    norm = f"sdg_h_norm_l2 {_figure(found.get('sdg_h_norm_l2'))} (below {found['sdg_h_norm_l2_below']:g} wanted)"
    chance = found.get("p_family")
    beside = f", p_family {_figure(chance)}" if chance is not None else ""
    return [
        f"{whole}: {did['outcomes']} of {did['jobs']} runs have an outcome ({kinds}), {files}",
        f"{reached}, {render.clean(str(found['certificate']))}{beside}: the best has {sse}, {norm}",
        *([render.clean(str(found["why"]))] if found.get("why") else []),
    ]


def front_lines(status: Mapping[str, Any]) -> list[str]:
    """The best front that was reached, where the thresholds were not."""
    names, front = status.get("objectives") or (), status.get("front") or ()
    if status["success"]["scientific"]["reached"] or not front:
        return []
    shown = [f"  {render.clean(str(each['job_uuid']))}  {_objectives(names, each['values'])}" for each in front[:FRONT_SHOWN]]
    if len(front) > len(shown):
        shown.append(f"  and {number(len(front) - len(shown))} more: irerctl -o json hunt status")
    return ["the best front that was reached:", *shown]


def _objectives(names: Sequence[Any], values: Sequence[float]) -> str:
    """What is to be large has its sign changed there."""
    meant = [-value if name in ("gap", "fitness") else value for name, value in zip(names, values, strict=False)]
    return "  ".join(f"{render.clean(str(name))} {_figure(value)}" for name, value in zip(names, meant, strict=False))


def certified(found: Mapping[str, Any]) -> list[str]:
    """A verdict and its reasons."""
    word = str(found["verdict"])
    chance = f", p_holm {_figure(found['p_holm'])}, p_family {_figure(found.get('p_family'))}"
    shown = render.verdict("ok" if word == "certified" else "warn", render.clean(word))
    head = f"{shown}: {render.clean(str(found['job_uuid']))}{chance}"
    return [head, *(f"  {render.clean(str(reason))}" for reason in found["reasons"])]


FIGURES = {"kind": "run", "status": "status", "score": "score", "matched": "matched", "h_max": "h norm", "p_phase": "p_phase"}
FIGURES |= {"p_target": "p_target", "ramp_gain": "ramp_gain"}


def draw_certificate(last: Mapping[str, Any]) -> None:
    """The verdict, its reasons, and every run that it rests on."""
    found = last["result"]
    for line in certified(found):
        render.say(line)
    figures = found.get("figures") or ()
    if figures:
        right = [name for name in FIGURES.values() if name not in ("run", "status")]
        render.table(list(FIGURES.values()), [[_shown(run, member) for member in FIGURES] for run in figures], right)
    render.tell("Try: irerctl hunt status   or, with its certificate: irerctl hunt export --out FILE")


def _shown(run: Mapping[str, Any], member: str) -> str:
    value = run.get(member)
    if member == "status":
        return render.clean(" ".join([str(value), *map(str, run.get("flags") or ())]))
    if member == "score" and value is None:
        return render.clean(str(run.get("code") or "-"))
    return render.clean(value) if isinstance(value, str) else _figure(value)


def draw_certifying(found: Mapping[str, Any]) -> None:
    job = render.clean(str(found["job"]))
    grid = found["grid"]
    where = f"on {number(grid['n'])} points a side" if grid["n"] else "though no grid is fine enough to compute it on"
    render.say(f"candidate {render.clean(str(found['job_uuid']))} is being certified as job {job}, {where}")
    render.note(f"Follow it: irerctl call system.op_watch '{json.dumps({'job': job})}'   What it came to: irerctl hunt status")


def draw_paradox(found: Mapping[str, Any]) -> None:
    rows = []
    for each in found["pairs"]:
        for which in ("overall", "within"):
            told = each[which]
            between = f"{_figure(told['low'])} to {_figure(told['high'])}" if told["low"] is not None else "-"
            where = "all rows" if which == "overall" else "within generations"
            rows.append(
                [
                    render.clean(str(each["instability"])),
                    where,
                    number(told["n"]),
                    _figure(told["rho"]),
                    between,
                    _figure(told["p"]),
                ]
            )
    render.table(["instability", "over", "rows", "correlation", "95 of 100", "p"], rows)
    render.say(f"{_figure(found['claimed'])} is what the source claims of its old solver; above 0: good scores go with instability")


_KINDS = {"scored": "scored", "no_peaks": "without peaks", "diverged": "diverged", "missing": "missing"}


def status_line(status: Mapping[str, Any]) -> tuple[str, str]:
    """`running  generation 3 of 10  31 of 100 runs  best 0.0123`."""
    if status.get("state") == "idle":
        return "hunt", "none yet"
    parts = [
        _state(status),
        f"generation {render.count(status.get('generation', 0))} of {render.count(status.get('generations', 0))}",
        f"{render.count(status.get('jobs_done', 0))} of {render.count(status.get('jobs_total', 0))} runs",
    ]
    if status.get("best"):
        parts.append(f"best {_run(status['best'])}")
    return "hunt", "  ".join(parts)


def draw_started(found: Mapping[str, Any]) -> None:
    render.say(f"hunt {render.clean(str(found['hunt_id']))} began")
    render.tell("Try: irerctl hunt watch")


def draw_stopped(found: Mapping[str, Any]) -> None:
    if not found:
        render.say("nothing changed: it does not run")
    elif found["state"] == "stopping":
        render.say("stopping: what is being computed is finished first. At once: irerctl hunt stop, once more")
    else:
        render.say("stopped. It can go on: irerctl hunt resume")


def draw_resumed(found: Mapping[str, Any]) -> None:
    render.say(f"hunt {render.clean(str(found['hunt_id']))} goes on, to {number(found['num_generations'])} generations")
    render.tell("Try: irerctl hunt watch")


def draw_list(page: Mapping[str, Any]) -> None:
    if not page["hunts"]:
        render.say("no hunts")
        return
    rows = [
        [
            render.clean(each["hunt_id"]),
            render.clean(each["state"]),
            moment(each["started_at"]),
            f"{each['generation']} of {each['generations']}",
            f"{each['jobs_done']} of {each['jobs_total']}",
            _run(each.get("best")),
        ]
        for each in page["hunts"]
    ]
    render.table(["hunt", "state", "began", "generations", "runs", "best"], rows)
    _more(page)


def draw_ledger(page: Mapping[str, Any]) -> None:
    if not page["rows"]:
        render.say("no rows yet")
        return
    context = click.get_current_context(silent=True)
    columns = _columns(context.params.get(fields.identifier("sort")) if context else None)
    rows = [[_cell(each, name) for name in columns] for each in page["rows"]]
    render.table(columns, rows, right=[name for name in columns if name not in ("status", "job_uuid")])
    _more(page)


def _columns(sorted_by: str | None) -> list[str]:
    """What the rows are sorted by stands in the table, whatever it is."""
    return COLUMNS if sorted_by is None or sorted_by in COLUMNS else [*COLUMNS[:-1], sorted_by, COLUMNS[-1]]


def _cell(row: Mapping[str, Any], name: str) -> str:
    value, code = row.get(name), {"log_prime_sse": "sse_code", "sdg_h_norm_l2": "h_code"}.get(name)
    if value is None and code:
        return render.clean(str(row.get(code) or "-"))
    return _figure(value) if isinstance(value, float) else render.word(value) if value is not None else "-"


def _more(page: Mapping[str, Any]) -> None:
    if page.get("next") is not None:
        render.note(f"More: add --after {render.clean(str(page['next']))}")


def _state(status: Mapping[str, Any]) -> str:
    word = str(status.get("state"))
    return render.verdict(WORDS.get(word, "warn"), render.clean(word))


def _run(run: Mapping[str, Any] | None) -> str:
    """`0.0123, h norm 0.2`, or the code where there is no score."""
    if not run:
        return "-"
    sse = run.get("log_prime_sse")
    shown = _figure(sse) if sse is not None else render.clean(str(run.get("sse_code") or "-"))
    norm = run.get("sdg_h_norm_l2")
    return f"{shown}, h norm {_figure(norm)}" if norm is not None else shown


def _figure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) and not isinstance(value, bool) else "-"


DRAW = {
    "hunt.status": draw_status,
    "hunt.start": draw_started,
    "hunt.stop": draw_stopped,
    "hunt.resume": draw_resumed,
    "hunt.list": draw_list,
    "hunt.best": render.json_value,
    "hunt.ledger": draw_ledger,
    "hunt.certify": draw_certifying,
    "hunt.paradox": draw_paradox,
}
DRAW_JOB = {"hunt.certify": draw_certificate}
"""Jobs whose end is told in words."""
