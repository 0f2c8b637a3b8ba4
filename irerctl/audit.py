"""`irerctl audit`: is the record whole? Asks the daemon, or with `--state-dir` reads the files, for which no daemon is needed."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from irerctl import render
from irerctl.session import Failure, Group, session

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
    click.Option(["--log"], metavar="LOG", help="Only this log."),
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
    asked = [sys.executable, "-m", "state.verify", str(state_dir), "--jsonl"]
    asked += ["--log", log] if log else []
    for name, seq in (until or {}).items():
        asked += ["--until", f"{name}={seq}"]
    with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stderr is not None
        seen = False
        for line in child.stdout:
            seen = True
            yield json.loads(line)
        complaint = child.stderr.read().strip()
        if child.wait() not in (0, 1) or not seen:
            raise Failure("failed-precondition", complaint.splitlines()[-1] if complaint else f"{state_dir} could not be read")


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
    record = "a record" if bad.get("seq") is None else f"record {render.count(bad['seq'])}"
    at = f" at byte {render.count(bad['offset'])}" if bad.get("offset") is not None else ""
    return f"{record}{at} does not hold: {render.word(bad.get('why') or row.get('code') or 'no reason given')}"
