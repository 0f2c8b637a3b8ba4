"""`irerctl audit`: is the record whole? Asks the daemon, or with `--state-dir` reads the files, for which no daemon is needed."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from irerctl import render
from irerctl.live import names
from irerctl.proofs import check, checkpoint, prove
from irerctl.session import Failure, Group, session
from irerctl.witness import witness

HELP = "Check that no record was changed, lost or added."
audit = Group("audit", help=HELP, short_help=HELP)


@audit.command_of(
    "hashchain",
    "Walk every chain, record by record.",
    click.Option(
        ["--state-dir"],
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Read the files in this directory; no daemon is needed.",
    ),
    click.Option(["--log"], metavar="LOG", help="Only this log.", shell_complete=names("log")),
    epilog="Exit status 1 when a chain is broken; the first record that does not hold is named, with the reason.",
)
def hashchain(state_dir: Path | None, log: str | None) -> None:
    now = session()
    if state_dir is not None:
        rows = chains(verified_offline(state_dir, log))
    else:
        with now.stream("audit.hashchain", {"log": log} if log else {}) as items:
            rows = chains(items)
    whole = all(row["ok"] and row.get("done", True) for row in rows)
    match now.output:
        case "json":
            render.json_value({"ok": whole, "logs": rows})
        case "jsonl":
            for row in rows:
                render.say(render.dumps(row))
        case _:
            _draw(rows)
    if not whole:
        click.get_current_context().exit(1)


@audit.command_of(
    "verify",
    "Check all that the logs show, and say what they do not.",
    click.Option(["--replay"], is_flag=True, help="Also fold every log from its beginning and compare the snapshots."),
    click.Option(
        ["--state-dir"],
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Read the files in this directory; no daemon is needed.",
    ),
    click.Option(["--log"], metavar="LOG", help="Only this log.", shell_complete=names("log")),
    click.Option(
        ["--vkey"], metavar="VKEY", help="With --state-dir: the key that checkpoints are signed with, not the one that lies there."
    ),
    click.Option(
        ["--witness"], metavar="VKEY", multiple=True, help="With --state-dir: a witness that is trusted; may be repeated."
    ),
    click.Option(["--quorum"], type=click.IntRange(min=0), default=0, help="With --state-dir: how many of them must agree; all."),
    epilog="Exit status 1 when the result is failed. Limited: nothing failed, and what is listed could not be vouched for.",
)
def verify(replay: bool, state_dir: Path | None, log: str | None, vkey: str | None, witness: tuple[str, ...], quorum: int) -> None:
    now = session()
    if state_dir is None and vkey is not None:
        raise Failure("invalid-argument", "irerd has its own key", "Give --vkey together with --state-dir")
    if state_dir is None and witness:
        raise Failure("invalid-argument", "irerd knows its witnesses from irerd.toml", "Give --witness together with --state-dir")
    if state_dir is not None:
        trusted = [part for each in witness for part in ("--witness", each)] + (["--vkey", vkey] if vkey is not None else [])
        verdict = last_word(reported_offline(state_dir, log, replay, [*trusted, "--quorum", str(quorum)]))
    else:
        params = ({"log": log} if log else {}) | ({"replay": True} if replay else {})
        with now.stream("audit.verify", params) as items:
            last_word(items)
            verdict = items.result
    if not isinstance(verdict, dict) or "result" not in verdict:
        raise Failure("internal", "the verification ended without a result", "Try again")
    match now.output:
        case "json":
            render.json_value(verdict)
        case "jsonl":
            for row in verdict["logs"]:
                render.say(render.dumps(row))
            render.say(render.dumps({key: verdict[key] for key in ("not_verified", "result")}))
        case _:
            _draw_verdict(verdict)
    if verdict["result"] == "failed":
        click.get_current_context().exit(1)


def last_word(items: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The verdict, if it comes as an item, while a person sees how far it is."""
    watched = render.terminal(sys.stderr)
    last: Mapping[str, Any] | None = None
    for last in items:
        if watched and "log" in last:
            total = f" of {render.count(last['total'])}" if last.get("total") else ""
            doing = "replayed" if last.get("stage") == "replaying" else "records"
            render.transient(f"{last['log']}  {render.count(last.get('records', 0))}{total} {doing}")
    if watched:
        render.transient("")
    return dict(last) if last is not None else None


def reported_offline(state_dir: Path, log: str | None, replay: bool, more: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    asked = [str(state_dir), "--report", *(["--replay"] if replay else []), *(["--log", log] if log else [])]
    return _verifier(state_dir, [*asked, *more])


def chains(items: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The last word about each log, while a person sees how far it is."""
    found: dict[str, dict[str, Any]] = {}
    watched = render.terminal(sys.stderr)
    for item in items:
        if "log" not in item:
            continue
        found[item["log"]] = dict(item)
        if watched:
            total = f" of {render.count(item['total'])}" if item.get("total") else ""
            render.transient(f"{item['log']}  {render.count(item.get('records', 0))}{total} records")
    if watched:
        render.transient("")
    return list(found.values())


def verified_offline(state_dir: Path, log: str | None = None, until: Mapping[str, int] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of the verifier, which runs as a program of its own: this one never opens the state."""
    asked = [str(state_dir), "--jsonl"]
    asked += ["--log", log] if log else []
    for name, seq in (until or {}).items():
        asked += ["--until", f"{name}={seq}"]
    return _verifier(state_dir, asked)


def _verifier(state_dir: Path, asked: list[str]) -> Iterator[dict[str, Any]]:
    with subprocess.Popen(
        [sys.executable, "-m", "state.verify", *asked], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None and child.stderr is not None
        seen = False
        try:
            for line in child.stdout:
                seen = True
                row = json.loads(line)
                if row.get("code") == "no-such-log":
                    known = row["known"]
                    text = f"no log {row['log']} in {state_dir}"
                    raise Failure("not-found", text, f"There are: {', '.join(known)}", nearest=known)
                yield row
            complaint = child.stderr.read().strip()
            status = child.wait()
        finally:
            child.kill()  # whoever stops listening, by Ctrl-C or else, stops the work too
        if status not in (0, 1) or not seen:
            raise Failure("failed-precondition", complaint.splitlines()[-1] if complaint else f"{state_dir} could not be read")


COLUMNS = ("log", "records", "segments", "chain", "form", "tree", "sealed", "cosigned", "snapshots")


def _draw_verdict(verdict: Mapping[str, Any]) -> None:
    """The table, then always what nobody could vouch for, and one word for all of it."""
    rows = sorted(verdict["logs"], key=lambda row: (row.get("ok", False), row["log"]))
    if rows:
        heads = [*COLUMNS, "blobs"] if any(row.get("blobs") for row in rows) else COLUMNS
        render.table(heads, [_verdict_cells(row)[: len(heads)] for row in rows], right=["records", "segments"])
    for row in rows:
        if not row.get("ok", False):
            file = (row.get("first_bad") or {}).get("file")
            where = f" in {render.clean(file)}" if file else ""
            render.say(f"{render.paint('FAILED', fg='red', bold=True)}  {render.clean(row['log'])}{where}: {first_bad(row)}")
    render.say("NOT VERIFIED")
    told = list(_unvouched(verdict["not_verified"]))
    wide = max((len(log) for log, _ in told), default=0)
    for log, why in told:
        render.say(f"  {log.ljust(wide)}  {why}")
    render.say(f"result: {render.clean(verdict['result'])}")


def _verdict_cells(row: Mapping[str, Any]) -> list[str]:
    words = [_thousands(render.clean(str(row.get(name) or "-"))) for name in ("chain", "form", "tree", "sealed", "cosigned")]
    shown = [render.paint(word, fg="red", bold=True) if word == "failed" else word for word in words]
    counts = [render.count(row.get(name) or 0) for name in ("records", "segments")]
    return [render.clean(row["log"]), *counts, *shown, _snapshots(row.get("snapshots")), _blobs(row)]


def _blobs(row: Mapping[str, Any]) -> str:
    """Large values that were read back."""
    if "blobs" not in row:
        return ""
    return "failed" if row.get("code") == "blob-false" else f"{render.count(row['blobs'])} ok" if row["blobs"] else "none"


def _thousands(word: str) -> str:
    before, at, size = word.rpartition(" ")
    return f"{before}{at}{render.count(int(size))}" if size.isdecimal() else word


def _snapshots(snapshots: list[Mapping[str, Any]] | None) -> str:
    if snapshots is None:
        return "unknown"
    results = [snapshot["result"] for snapshot in snapshots]
    return ", ".join(f"{results.count(word)} {render.clean(word)}" for word in dict.fromkeys(results)) or "none"


def _unvouched(items: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """A line each; what concerns all logs together is one line."""
    of_all: list[str] = []
    for item in items:
        why = render.clean(item["why"])
        if item["log"] == "all":
            of_all.append(why)
            continue
        first, last = item.get("from"), item.get("to")
        span = f" ({first}..{last})" if last is not None else "" if first is None else f" (from {first})"
        yield render.clean(item["log"]), f"{why}{span}"
    yield "all", "; ".join(of_all)


def _draw(rows: list[dict[str, Any]]) -> None:
    broken = [row for row in rows if not row["ok"]]
    lines = []
    for row in sorted(rows, key=lambda row: (row["ok"], row["log"])):
        state = "whole" if row["ok"] else render.paint("BROKEN", fg="red", bold=True)
        lines.append([render.clean(row["log"]), render.count(row.get("records", 0)), state])
    if lines:
        render.table(["log", "records", "chain"], lines, right=["records"])
        render.say()
    for row in broken:
        render.say(f"{render.clean(row['log'])}: {first_bad(row)}")
    for row in rows:
        if row["ok"] and row.get("torn_bytes"):
            render.say(
                f"{render.clean(row['log'])}: {render.count(row['torn_bytes'])} torn bytes follow; the next start cuts them off"
            )
    records = render.plural(sum(row.get("records", 0) for row in rows), "record")
    verdict = f"{len(broken)} of {render.plural(len(rows), 'chain')} broken" if broken else "every chain is whole"
    render.say(f"{render.plural(len(rows), 'log')}  {records}  {verdict}")


def first_bad(row: Mapping[str, Any]) -> str:
    """Where a chain breaks, and why."""
    bad = row.get("first_bad") or {}
    if bad.get("seq") is None and not bad.get("offset"):
        return str(render.word(bad.get("why") or row.get("code") or "no reason given"))
    record = "a record" if bad.get("seq") is None else f"record {render.count(bad['seq'])}"
    at = f" at byte {render.count(bad['offset'])}" if bad.get("offset") is not None else ""
    return f"{record}{at} does not hold: {render.word(bad.get('why') or row.get('code') or 'no reason given')}"


@audit.command_of(
    "repair",
    "Keep the sound beginning of a damaged log; irerd must be stopped.",
    click.Argument(["log"], metavar="LOG", shell_complete=names("log")),
    click.Option(
        ["--state-dir"],
        required=True,
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="The state directory, as irerd's.",
    ),
    click.Option(["--dry-run"], is_flag=True, help="Tell what would be kept and lost; change nothing."),
    click.Option(["--fork"], is_flag=True, help="A sound log too goes on under a new name: a witness knows another history."),
    epilog="Nothing is deleted: damaged files go to quarantine/ in the state directory. A sound log is not touched, unless told.",
)
def repair(log: str, state_dir: Path, dry_run: bool, fork: bool) -> None:
    from irerctl.backup import run_alone

    run_alone("state.repair", str(state_dir), log, *(["--dry-run"] if dry_run else []), *(["--fork"] if fork else []))


for _one in (checkpoint, prove, check, witness):
    audit.add_command(_one)
