"""`irerctl sim`: one run of the field from its parameters to its picture.

A run is a job of the daemon's: who stops looking does not stop it. Values are judged by the daemon, not here. Must never overwrite
a file before the picture that goes there is whole.
"""

import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import click

from core.sim import model
from core.sim.chunk import Dealias, DType, Geometry, InitialKind, Kernel
from irerctl import fields, live, picture, render
from irerctl.figures import moment, number
from irerctl.paging import pages, whole
from irerctl.session import TIMEOUT_S, Failure, Group, Session, session

HELP = "Compute a field, and see what it looks like."
LOOK_S = 600.0
"""How long an answer is waited for that a worker reads out of a run's file, unless --timeout says otherwise."""
STOPPED = 130

FLAGS = {
    "ill_posed": "the losses turn into gain at some wavelengths; lam5 above 0 would bound the field",
    "unresolved": "the shortest waves hold energy that the grid cannot follow; take more points or a smaller box",
    "unsettled": "it still changes at the end; take more steps",
    "no_source": "nothing acts on the density of space, so there is no h norm",
}
CODES = {
    "no_peaks": "the spectrum has no peaks",
    "diverged": "the field did not stay finite",
    "missing": "the grid has no room for the targets; take more points",
    "no_source": "nothing acts on the density of space",
    "constraint_enforced": "the constraint was enforced, so its error says nothing",
}
FILES = ("data/run_{}.h5", "provenance/provenance_{}.json", "configs/config_{}.json")


class Start(click.ParamType[Any]):
    """The kind of a field at the start, or all about it as JSON."""

    name = "start"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in get_args(InitialKind):
            return {"kind": value}
        return fields.JsonText().convert(value, param, ctx)


def _alone() -> None:
    if click.get_current_context().invoked_subcommand is None:
        _list(session(), None)


sim = Group("sim", help=HELP, short_help=HELP, invoke_without_command=True, callback=_alone, epilog="Alone it lists the runs.")


# --- running ----------------------------------------------------------------------------------------------------------------


def _bounds(one: model.Parameter) -> str:
    return f"{one.meaning[:1].upper()}{one.meaning[1:]} ({one.default:g}; {one.bound})."


def _choice(kind: Any) -> click.Choice[str]:
    return click.Choice([str(each) for each in get_args(kind)])


def _told(name: str) -> str:
    """What a parameter is in each of the models that have it."""
    said = {known: _bounds(of[name]) for known, of in model.PARAMETERS_OF.items() if name in of}
    first, *others = said.items()
    return first[1] if first[0] == model.MODEL and not others else " ".join(f"{known}: {text}" for known, text in said.items())


NAMES = tuple(dict.fromkeys(name for of in model.PARAMETERS_OF.values() for name in of))
"""Of the parameters of all models."""


RUN = [
    click.Option(["--params"], type=fields.JsonText(), metavar="JSON", help="Parameters of the model as one object, or @FILE."),
    *[click.Option([f"--{name}", f"model_{name}"], type=click.FLOAT, metavar="X", help=_told(name)) for name in NAMES],
    click.Option(["-n", "--points"], type=click.INT, metavar="N", help="Points a side (64): even, with factors 2, 3 and 5."),
    click.Option(["-l", "--length"], type=click.FLOAT, metavar="X", help="Length of a side (40)."),
    click.Option(["-d", "--dimensions"], type=click.INT, metavar="N", help="Dimensions (2): 1, 2 or 3."),
    click.Option(["--steps"], type=click.INT, metavar="N", help=f"How many steps ({model.STEPS:,})."),
    click.Option(["--dt"], type=click.FLOAT, metavar="X", help="Time of one step; without it one that fits the parameters."),
    click.Option(["--seed"], type=click.INT, metavar="N", help="Seed of the field at the start (0)."),
    click.Option(["--model"], metavar="NAME", help=f"The model ({model.MODEL}), or {model.FMIA}, the control."),
    click.Option(["--kernel"], type=_choice(Kernel), help="Kernel of the non-local loss (gaussian)."),
    click.Option(
        ["--geometry"],
        type=_choice(Geometry),
        help="Space co-evolves with the field (coevolve), follows it without delay, or is off.",
    ),
    click.Option(["--dealias"], type=_choice(Dealias), help="Which modes are kept (half)."),
    click.Option(["--dtype"], type=_choice(DType), help="Precision (complex64)."),
    click.Option(["--snapshots"], type=click.INT, metavar="N", help="Snapshots in the last quarter (8)."),
    click.Option(["--initial"], type=Start(), metavar="KIND", help="noise, plane_wave, uniform, spiral; or all about it as JSON."),
    click.Option(["--from", "source"], metavar="JOB_UUID", help="Begin where that run ended, on this grid or a finer one."),
    click.Option(["--pump"], type=fields.JsonText(), metavar="JSON", help='A source, such as {"shape": "gaussian", …}.'),
    click.Option(["--wait/--no-wait"], default=True, help="Follow it to its end; without that only its id is printed."),
    click.Option(["--png"], type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write a picture of its end."),
    click.Option(["--dry-run"], is_flag=True, help="Print the event it would write; write nothing."),
    click.Option(["--idem"], metavar="KEY", help="Idempotency key: the same key does it only once."),
]
SETTINGS = ("kernel", "geometry", "dealias", "dtype", "snapshots", "initial", "pump")
GRID = {"points": "n", "length": "l", "dimensions": "d"}


def asked(given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of `sim.run`: what was not given is not sent."""
    params = given.get("params") or {}
    if not isinstance(params, Mapping):
        raise click.BadParameter("it holds parameters by their names, as in '{\"eps\": 0.9}'", param_hint="'--params'")
    own = {name: value for name in NAMES if (value := given.get(f"model_{name}")) is not None}
    for name, value in own.items():
        if not math.isfinite(value):
            bound = next(of[name].bound for of in model.PARAMETERS_OF.values() if name in of)
            raise click.BadParameter(f"it must be a finite number, {bound}", param_hint=f"'--{name}'")
    settings = {name: value for name in SETTINGS if (value := given.get(name)) is not None}
    if given.get("source") is not None:
        if "initial" in settings:
            raise click.UsageError("--from says how the field begins, and so does --initial: give one of them")
        settings["initial"] = {"kind": "from_artefact", "job_uuid": given["source"]}
    grid = {short: value for name, short in GRID.items() if (value := given.get(name)) is not None}
    found = {name: given[name] for name in ("model", "steps", "dt", "seed") if given.get(name) is not None}
    return {**found, **{k: v for k, v in (("params", {**params, **own}), ("grid", grid), ("settings", settings)) if v}}


@sim.command_of("run", "Begin one run of the field, and follow it to its end.", *RUN)
def run(**given: Any) -> int | None:
    now, png = session(), given["png"]
    if png is not None and (given["dry_run"] or not given["wait"]):
        raise click.UsageError("--png draws what the run comes to: it goes with neither --no-wait nor --dry-run")
    if given["dry_run"]:
        now.show(now.call("sim.run", asked(given), dry=True).result, _draw_dry)
        return None
    begun = now.call("sim.run", asked(given), **({"idem": given["idem"]} if given["idem"] else {})).result
    job_uuid = str(begun["job_uuid"])
    if not given["wait"]:
        now.show(begun, lambda found: render.say(render.clean(str(found["job_uuid"]))))
        return None
    last = follow(now, job_uuid)
    if last is None:
        return STOPPED
    now.show({"job_uuid": job_uuid, "job": last}, lambda _: draw_ended(last))
    if png is not None and (last.get("result") or {}).get("artefact_sha256"):
        _save(now, _looked(now, "sim.show", {"job_uuid": job_uuid}), png)
    return None if last.get("ok") else 1


def _draw_dry(found: Mapping[str, Any]) -> None:
    for event in found.get("events") or ():
        render.say(f"would write {render.clean(str(event['type']))}")
        render.json_value(event["data"])


def follow(now: Session, job_uuid: str) -> Mapping[str, Any] | None:
    """What a run came to, its progress on the way; None for who stopped looking, while the run goes on."""
    last: Mapping[str, Any] = {}
    watched = render.terminal(sys.stderr)
    try:
        with now.stream("system.op_watch", {"job": job_uuid}) as items:
            for last in items:
                if watched:
                    render.transient(_progress(last.get("progress")))
            if isinstance(items.result, Mapping):
                last = items.result
    except KeyboardInterrupt:
        _goes_on(job_uuid, watched)
        return None
    except Exception:  # the daemon went away, or does not say: the run is in its log all the same
        _goes_on(job_uuid, watched)
        raise
    if watched:
        render.transient("")
    return last


def _goes_on(job_uuid: str, watched: bool) -> None:
    if watched:
        render.transient("")
    spelled = f'\'{{"job": "{job_uuid}"}}\''
    render.note(f"run {job_uuid} goes on. Follow it: irerctl call system.op_watch {spelled}")
    render.note(f"End it: irerctl call system.op_cancel {spelled}   Its outcome: irerctl sim list")


def _progress(progress: Any) -> str:
    if not isinstance(progress, Mapping) or not progress.get("total"):
        return "sim.run: waiting for a worker"
    done, total = int(progress["done"]), int(progress["total"])
    return f"sim.run: {render.count(done)} of {render.count(total)} {render.clean(str(progress.get('unit', 'steps')))}"


def draw_ended(last: Mapping[str, Any]) -> None:
    """What a run came to, in words."""
    job_uuid = render.clean(str(last.get("job", "")))
    ended = render.verdict("ok", "done") if last.get("ok") else render.verdict("failed", render.clean(str(last.get("code"))))
    render.say(f"run {job_uuid}: {ended}")
    outcome = last.get("result")
    if outcome:
        render.pairs(_outcome(outcome))
        for flag in outcome.get("flags") or ():
            render.tell(f"{render.clean(str(flag))}: {FLAGS.get(str(flag), 'see: irerctl api show sim.run')}")
    if last.get("detail"):
        render.tell(render.clean(str(last["detail"])))
    if outcome and outcome.get("artefact_sha256"):
        render.note(f"Look at it: irerctl sim show {job_uuid}   What its score is worth: irerctl sim profile {job_uuid}")


def _outcome(outcome: Mapping[str, Any]) -> dict[str, str]:
    job_uuid = render.clean(str(outcome.get("job_uuid", "")))
    most = outcome.get("sdg_h_norm_l2_max")
    norm = _metric(outcome.get("sdg_h_norm_l2"), outcome.get("h_code"))
    lines = {
        "score": _metric(outcome.get("log_prime_sse"), outcome.get("sse_code")),
        "h norm": norm if most is None else f"{norm}, at most {_figure(most)} in the last quarter",
        "peaks": f"{number(outcome.get('n_peaks', 0))}, for {number(outcome.get('n_targets', 0))} targets",
        "scale": _figure(outcome.get("scaling_factor")),
        "resolved": _resolved(outcome),
        "flags": ", ".join(render.clean(str(flag)) for flag in outcome.get("flags") or ()) or "none",
    }
    if outcome.get("artefact_sha256"):
        lines["files"] = FILES[0].format(job_uuid)
        lines[""] = f"{FILES[1].format(job_uuid)}  {FILES[2].format(job_uuid)}"
    return lines


def _resolved(outcome: Mapping[str, Any]) -> str:
    if outcome.get("log_prime_sse") is None:
        return "-"
    return "yes" if outcome.get("resolved") else "no: the grid cannot tell the targets apart"


def _metric(value: Any, code: Any) -> str:
    if value is not None:
        return _figure(value)
    word = render.clean(str(code))
    return f"{word}: {CODES[word]}" if word in CODES else word


def _figure(value: Any) -> str:
    return f"{float(value):.6g}" if value is not None else "-"


# --- looking ----------------------------------------------------------------------------------------------------------------

JOB = click.Argument(["job_uuid"], metavar="JOB_UUID", shell_complete=live.names("job_uuid"))


def _looked(now: Session, method: str, params: Mapping[str, Any]) -> Any:
    wait_s = LOOK_S if now.timeout_s == TIMEOUT_S else now.timeout_s
    return now.call(method, params, deadline_ms=round(wait_s * 1000)).result


@sim.command_of(
    "show",
    "Draw a run's fields and its spectrum.",
    JOB,
    click.Option(["--png"], type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write a picture to this file."),
    click.Option(["--points"], type=click.INT, metavar="N", help="Points a side of each field at most (128)."),
)
def show(job_uuid: str, png: Path | None, points: int | None) -> None:
    now = session()
    found = _looked(now, "sim.show", {"job_uuid": job_uuid, **({"points": points} if points is not None else {})})
    if png is None:
        now.show(found, draw_picture)
        return
    _save(now, found, png)
    if now.output != "table":
        now.show(found)


def _save(now: Session, found: Mapping[str, Any], path: Path) -> None:
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(picture.png(found))
        part.replace(path)
    except OSError as problem:
        detail = f"the picture cannot be written to {path}: {problem.strerror}."
        raise Failure("failed-precondition", detail, "Give a file in a directory that is yours: --png FILE") from problem
    render.note(f"wrote {render.clean(str(path))}")


def draw_picture(found: Mapping[str, Any]) -> None:
    side = " x ".join([str(found.get("n"))] * int(found.get("d", 0)))
    score = _metric(found.get("log_prime_sse"), found.get("sse_code"))
    norm = _metric(found.get("sdg_h_norm_l2"), found.get("h_code"))
    box = f"{side} points, box {_figure(found.get('l'))}, {number(found.get('steps'))} steps of {_figure(found.get('dt'))}"
    render.tell(f"{box}, seed {render.word(found.get('seed'))}; {render.clean(str(found.get('status')))}")
    render.tell(f"score {score}; h norm {norm}")
    picture.draw(found)


def _drawn(method: str, help: str, drawn: Callable[[Any], None], verdict: str | None) -> None:
    def look(job_uuid: str) -> int | None:
        now = session()
        with render.Waiting(f"waiting for {method}"):
            found = _looked(now, method, {"job_uuid": job_uuid})
        now.show(found, drawn)
        return 1 if verdict is not None and found.get(verdict) is False else None

    sim.command_of(method.partition(".")[2], help, JOB)(look)


def draw_profile(found: Mapping[str, Any]) -> None:
    score = _metric(found.get("log_prime_sse"), found.get("sse_code"))
    held = render.verdict("ok", "it holds against chance") if found.get("survives") else "chance explains it"
    if found.get("log_prime_sse") is None:
        render.pairs({"score": score})
        return
    integers = found.get("integers") or {}
    beaten = ", ".join(render.clean(str(each)) for each in integers.get("beaten_by") or ()) or "none"
    shown = {
        "score": f"{score}, {number(found.get('n_matched', 0))} of {number(found.get('n_targets', 0))} targets matched",
        "resolved": _resolved(found),
        "p_phase": f"{_figure(found.get('p_phase'))} of {number(found.get('draws', 0))} fields with scrambled phases",
        "p_target": f"{_figure(found.get('p_target'))} of random targets",
        "integers": f"{beaten} fit as well; rank {number(integers.get('rank', 0))} of {number(integers.get('sequences', 0))}",
        "ramp gain": f"{_figure(found.get('ramp_gain'))} (ln 4 is needed)",
        "verdict": held,
    }
    render.pairs(shown)


def draw_validation(found: Mapping[str, Any]) -> None:
    rows = [
        [name, _metric(each.get("said"), each.get("said_code")), _metric(each.get("found"), each.get("found_code")), _agrees(each)]
        for name, each in (found.get("metrics") or {}).items()
    ]
    render.table(["metric", "the run said", "its file says", ""], rows)
    render.say(f"the file {'is the one that was written' if found.get('hash_agrees') else 'was changed'}")
    render.say(render.verdict("ok", "ok") if found.get("ok") else render.verdict("failed", render.clean(str(found.get("code")))))


def _agrees(each: Mapping[str, Any]) -> str:
    return render.verdict("ok", "agrees") if each.get("agrees") else render.verdict("failed", "differs")


_drawn("sim.profile", "What a run's score is worth against chance.", draw_profile, None)
_drawn("sim.validate", "Work out a run's metrics again from its file.", draw_validation, "ok")


@sim.command_of(
    "list",
    "Runs, the newest first.",
    click.Option(["--limit"], type=click.INT, metavar="N", help="How many at most."),
    click.Option(["--after"], metavar="TEXT", help="Go on behind an earlier answer."),
)
def list_(limit: int | None, after: str | None) -> None:
    _list(session(), limit, after)


def _list(now: Session, limit: int | None, after: str | None = None) -> None:
    params = {name: value for name, value in (("limit", limit), ("after", after)) if value is not None}
    with now.connect() as client, render.Waiting("waiting for the runs"):
        found = whole(pages(lambda more: client.call("sim.list", more).result, params), None)
    now.show(found, draw_runs)


def draw_runs(page: Mapping[str, Any]) -> None:
    if not page["runs"]:
        render.say("no runs")
        render.tell("Try: irerctl sim run --steps 500 --seed 1")
        return
    rows = [
        [
            render.clean(str(each["job_uuid"])),
            _state(each),
            _figure(each.get("log_prime_sse")),
            _figure(each.get("sdg_h_norm_l2")),
            "x".join([str(each["points"])] * int(each["dimensions"])),
            number(each["steps"]),
            moment(each["started_at"]),
        ]
        for each in page["runs"]
    ]
    render.table(["run", "state", "score", "h norm", "grid", "steps", "started"], rows, right=["score", "h norm", "steps"])


def _state(each: Mapping[str, Any]) -> str:
    if each["state"] == "running":
        return "running"
    code = render.clean(str(each.get("code")))
    return render.verdict("ok", code) if code == "ok" else render.paint(code, fg="yellow" if code == "cancelled" else "red")


DRAW = {
    "sim.list": draw_runs,
    "sim.show": draw_picture,
    "sim.profile": draw_profile,
    "sim.validate": draw_validation,
}
DRAW_JOB = {"sim.run": draw_ended}
