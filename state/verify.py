"""Reads logs as a stranger would and says, log by log, whether every record is what was sealed and stands where it must.

Each record: its hash, its form (its payload encodes again to the same bytes), `seq`, `parent_hash`, `commit`, alignment; and
the head. It takes no lock, changes nothing, and needs no daemon. Beside a live one it is given the durable end to stop at.
Run as `python -m state.verify DIR`.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.canonical import CanonicalError, decode
from state.fs import Files, RealFiles
from state.judge import Corrupt, Judge, head_of, refuse_segments
from state.ledger import BadLedger, NewerFormat, read_ledger
from state.log import active_path
from state.seal import Record

PROGRESS_BYTES = 8_388_608
OK, BROKEN, USAGE = 0, 1, 2
_ACTIVE = re.compile(r"([a-z][a-z0-9_]{0,63})\.jsonl")

Row = dict[str, Any]


def verify_logs(state_dir: Path, logs: Sequence[str] | None = None, until: Mapping[str, int] | None = None) -> Iterator[Row]:
    """Rows of progress, and for each log a last one with `done`. `until` names the last durable record of a log."""
    files = RealFiles(state_dir)
    try:
        yield from verify_files(files, logs, until)
    finally:
        files.shut()


def verify_files(files: Files, logs: Sequence[str] | None = None, until: Mapping[str, int] | None = None) -> Iterator[Row]:
    origins = _origins(files)
    for name in logs if logs is not None else sorted(origins.keys() | _found(files)):
        yield from _verify_log(files, name, origins, (until or {}).get(name))


def _origins(files: Files) -> dict[str, str]:
    ledger = read_ledger(files)
    return ledger.logs if ledger is not None else {}


def _found(files: Files) -> set[str]:
    return {match[1] for name in files.list(".") if (match := _ACTIVE.fullmatch(name))}


def _verify_log(files: Files, name: str, origins: Mapping[str, str], until: int | None) -> Iterator[Row]:
    row: Row = {"log": name, "records": 0, "done": False, "ok": True, "code": "walking"}
    if until is not None:
        row["total"] = until + 1
    try:
        yield from _walk(files, name, origins.get(name), until, row)
        row["code"] = "chain-ok"
    except Corrupt as corrupt:
        row |= {"ok": False, "code": "chain-broken", "first_bad": _first_bad(corrupt)}
    except NewerFormat as newer:
        row |= {"ok": False, "code": "newer-format", "first_bad": {"seq": row["records"], "offset": 0, "why": str(newer)}}
    yield row | {"done": True}


def _first_bad(corrupt: Corrupt) -> Row:
    return {"seq": corrupt.seq, "offset": corrupt.offset, "why": corrupt.why}


def _walk(files: Files, name: str, origin: str | None, until: int | None, row: Row) -> Iterator[Row]:
    """Counts in `row`; yields it now and then; raises Corrupt."""
    refuse_segments(files, name)
    # The head goes first: it is older than the bytes that are then looked at, never newer.
    head = head_of(files, name)
    try:
        fd = files.open(active_path(name), os.O_RDONLY)
    except FileNotFoundError:
        raise Corrupt(name, 0, 0, f"{active_path(name)} is missing") from None
    try:
        judge = Judge(files, name, fd, head, origin)
        shown = 0
        for batch in judge.batches():
            _check_form(name, batch)
            row["records"] += len(batch)
            if until is not None and batch[-1].seq >= until:
                return
            if judge.end.offset - shown >= PROGRESS_BYTES:
                shown = judge.end.offset
                yield dict(row)
        judge.judge()
        if until is not None:
            raise Corrupt(name, judge.end.offset, judge.end.seq, f"record {until} was durable and is gone")
        if judge.bad is not None:
            row["torn_bytes"] = judge.size - judge.end.offset
    finally:
        files.close(fd)


def _check_form(name: str, batch: Sequence[Record]) -> None:
    for record in batch:
        try:
            decode(record.payload)
        except CanonicalError as error:
            raise Corrupt(name, record.offset, record.seq, f"the payload is not canonical: {error}") from None


# --- the program ----------------------------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    options = _arguments(argv)
    if not options.dir.is_dir():
        print(f"{options.dir} is no directory", file=sys.stderr)
        return USAGE
    broken = seen = False
    try:
        for row in verify_logs(options.dir, options.log, dict(options.until)):
            if options.jsonl:
                print(json.dumps(row, ensure_ascii=False), flush=True)
            if row["done"]:
                seen = True
                broken = broken or not row["ok"]
                if not options.jsonl:
                    print(_line(row))
    except (BadLedger, NewerFormat, PermissionError) as error:
        print(f"{options.dir}: {error}", file=sys.stderr)
        return USAGE if isinstance(error, PermissionError) else BROKEN
    if not seen:
        print(f"{options.dir} has no logs", file=sys.stderr)
        return USAGE
    return BROKEN if broken else OK


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m state.verify",
        description="Check every record of the logs in a state directory. Exit 0: all hold. 1: one does not. 2: could not look.",
    )
    parser.add_argument("dir", type=Path, metavar="DIR", help="the state directory")
    parser.add_argument("--jsonl", action="store_true", help="one JSON object a line, with progress")
    parser.add_argument("--log", action="append", metavar="NAME", help="only this log; may be repeated")
    parser.add_argument(
        "--until", action="append", default=[], type=_until, metavar="LOG=SEQ", help="the last durable record of a log: stop there"
    )
    return parser.parse_args(argv)


def _until(text: str) -> tuple[str, int]:
    name, _, seq = text.partition("=")
    if not name or not seq.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not LOG=SEQ")
    return name, int(seq)


def _line(row: Row) -> str:
    if row["ok"]:
        torn = f", then {row['torn_bytes']:,} bytes that the next start will cut" if "torn_bytes" in row else ""
        return f"{row['log']}  {row['records']:,} records  ok{torn}"
    bad = row["first_bad"]
    return f"{row['log']}  {row['records']:,} records  BROKEN at record {bad['seq']}, byte {bad['offset']:,}: {bad['why']}"


if __name__ == "__main__":
    sys.exit(main())
