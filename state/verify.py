"""Reads logs as a stranger would and says, log by log, whether every record is what was sealed and stands where it must.

The fast walk asks of each record its hash and its parent, of each closed file its length and SHA-256, and compares the head. The
deep one also asks of each record its form (its payload encodes again to the same bytes), `seq`, `commit` and alignment, and of
each segment the root of the tree over all records before it. Segments are walked side by side. It takes no lock, changes nothing,
and needs no daemon; beside a live one it is given the durable end to stop at. Run as `python -m state.verify DIR`.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from state.fs import Files, RealFiles, read_at
from state.judge import Judge, head_of
from state.ledger import BadLedger, NewerFormat, read_ledger
from state.log import Head
from state.retention import explains, pruned_edge, recorded
from state.seal import LINE_BYTES_MAX, BadLine, parse
from state.segment import Closed, Corrupt, Layout, Segment, active_path, closed_path, survey
from state.tree import Edge
from state.walks import Task, Walked, walk_all

LOOKS_MAX = 5
"""A live log may be rotated or pruned under the walk: then it is looked at anew."""
OK, BROKEN, USAGE = 0, 1, 2
_ACTIVE = re.compile(r"([a-z][a-z0-9_]{0,63})\.jsonl")

Row = dict[str, Any]


def verify_logs(
    state_dir: Path,
    logs: Sequence[str] | None = None,
    until: Mapping[str, int] | None = None,
    *,
    deep: bool = True,
    workers: int | None = None,
) -> Iterator[Row]:
    """Rows of progress, and for each log a last one with `done`. `until` names the last durable record of a log.

    With more than one worker (as many as there are cores, unless told) this process forks: let it have no other threads at work.
    """
    files = RealFiles(state_dir)
    try:
        count = len(os.sched_getaffinity(0)) if workers is None else workers
        yield from verify_files(files, logs, until, deep=deep, workers=count)
    finally:
        files.shut()


def verify_files(
    files: Files,
    logs: Sequence[str] | None = None,
    until: Mapping[str, int] | None = None,
    *,
    deep: bool = True,
    workers: int = 1,
) -> Iterator[Row]:
    ledger = read_ledger(files)
    origins = ledger.logs if ledger is not None else {}
    for name in logs if logs is not None else sorted(origins.keys() | _found(files)):
        yield from _verify_log(files, name, origins.get(name), (until or {}).get(name), deep, workers)


def _found(files: Files) -> set[str]:
    return {match[1] for name in files.list(".") if (match := _ACTIVE.fullmatch(name))}


def _verify_log(files: Files, name: str, origin: str | None, until: int | None, deep: bool, workers: int) -> Iterator[Row]:
    row: Row = {}
    for looks in range(1, LOOKS_MAX + 1):
        row = {"log": name, "records": 0, "done": False, "ok": True, "code": "walking"}
        if until is not None:
            row["total"] = until + 1
        try:
            # The head goes first: it is older than the bytes that are then looked at, never newer.
            head = head_of(files, name)
            layout = survey(files, name, origin)
        except NewerFormat as newer:
            row |= {"ok": False, "code": "newer-format", "first_bad": {"seq": 0, "offset": 0, "why": str(newer)}}
            break
        try:
            yield from _Check(files, layout, head, until, deep, row).run(workers)
            row["code"] = "chain-ok"
            break
        except (Corrupt, FileNotFoundError) as damage:
            if looks < LOOKS_MAX and _moved(files, layout, origin):
                continue
            row |= {"ok": False, "code": "chain-broken", "first_bad": _first_bad(layout, damage)}
            break
    yield row | {"done": True}


def _moved(files: Files, layout: Layout, origin: str | None) -> bool:
    """Whether the files are others now than those that were walked."""
    now = survey(files, layout.name, origin)
    return [(one.path, one.first_seq) for one in now.segments] != [(one.path, one.first_seq) for one in layout.segments]


def _first_bad(layout: Layout, damage: Corrupt | FileNotFoundError) -> Row:
    if isinstance(damage, FileNotFoundError):
        return {"seq": layout.first_seq, "offset": 0, "why": f"{damage.filename} is missing"}
    bad: Row = {"seq": damage.seq, "offset": damage.offset, "why": damage.why}
    return bad if damage.file == active_path(layout.name) else bad | {"file": damage.file}


class _Check:
    """One log, as its files lay when it was looked at. Fills `row` in; raises Corrupt."""

    def __init__(self, files: Files, layout: Layout, head: Head | str | None, until: int | None, deep: bool, row: Row) -> None:
        self._files = files
        self._layout = layout
        self._name = layout.name
        self._head = head
        self._until = until
        self._deep = deep
        self._row = row
        self._edge: Edge | None = Edge()
        self._batch: int | None = None
        segments = [*layout.segments, layout.broken.segment] if layout.broken is not None else layout.segments
        self._segments = [one for one in segments if one is not None and (until is None or one.first_seq <= until)]

    def run(self, workers: int) -> Iterator[Row]:
        if (before := self._layout.before) is not None:
            self._edge = self._pruned(before)
        with closing(walk_all(self._files, [self._task(segment) for segment in self._segments], workers)) as walks:
            left = list(reversed(self._segments))
            for found in walks:
                if isinstance(found, Walked):
                    self._take(left.pop(), found)
                    if left:
                        yield dict(self._row)
                else:
                    yield self._row | {"records": self._row["records"] + found}
        self._end()

    def _task(self, segment: Segment) -> Task:
        records = None if self._until is None or not self._active(segment) else self._until + 1 - segment.first_seq
        return Task(segment.path, segment.opening.start, segment.size, self._deep, records)

    def _active(self, segment: Segment) -> bool:
        return segment.path == active_path(self._name)

    # --- before the first file, in each, and at the end ---------------------------------------------------------------

    def _pruned(self, before: Closed) -> Edge | None:
        """The tree over what is gone; None where its hashes were not kept."""
        prunes = recorded(self._files, self._layout, None)
        if not any(explains(prune, before) for prune in prunes):
            missing = closed_path(self._name, before.first_seq)
            raise Corrupt(self._name, 0, before.first_seq, f"{missing} is missing", missing)
        self._row["pruned"] = {"first_seq": 0, "last_seq": before.last_seq, "checked": "hashes only"}
        return pruned_edge(prunes, before.last_seq + 1)

    def _take(self, segment: Segment, found: Walked) -> None:
        opening = segment.opening
        if self._deep and self._batch not in (None, opening.start.batch):
            raise self._corrupt(segment, 0, segment.first_seq, "does not go on where the segment before it ends")
        self._batch = found.batch
        self._row["records"] += found.records
        if self._deep and self._edge is not None:
            if opening.previous is not None and (self._edge.size, self._edge.root().hex()) != (opening.start.seq, opening.root):
                raise self._corrupt(segment, 0, segment.first_seq, "the records before it have another tree")
            self._edge = self._edge.graft(found.roots, segment.first_seq + found.records)
        if self._active(segment):
            self._take_active(segment, found)
        else:
            self._take_closed(segment, found)

    def _take_closed(self, segment: Segment, found: Walked) -> None:
        bad, closed = found.bad, segment.closed
        if bad is not None:
            raise self._corrupt(segment, bad.offset, bad.seq, f"{bad.why}, in a closed segment")
        if closed is None:
            return
        end = segment.first_seq + found.records
        if (end - 1, found.offset, found.tip) != (closed.last_seq, closed.bytes, closed.event_hash):
            raise self._corrupt(segment, found.offset, end, f"ends with record {end - 1}; it was closed with {closed.last_seq}")
        if found.sha256 != closed.sha256:
            raise self._corrupt(segment, found.offset, end, "is not the file that was closed: its SHA-256 is another")
        if isinstance(self._head, Head) and self._head.segment == segment.first_seq and not self._head_holds(segment, found):
            raise self._corrupt(segment, 0, self._head.seq, f"batch {self._head.batch} is not the one the head names")

    def _take_active(self, segment: Segment, found: Walked) -> None:
        head = self._head
        if self._until is not None and segment.first_seq + found.records > self._until:
            if isinstance(head, Head) and head.seq <= self._until and not self._head_holds(segment, found):
                raise self._corrupt(segment, 0, head.seq, f"batch {head.batch} is not the one the head names")
            return
        if found.bad is None and isinstance(head, Head) and self._head_holds(segment, found):
            return
        judge = Judge(self._files, self._layout, self._head, first=len(self._layout.segments) - 1)
        for _ in judge.batches():
            continue
        judge.judge()
        if found.bad is not None and (judge.bad is None or judge.bad.offset != found.bad.offset) and self._deep:
            raise self._corrupt(segment, found.bad.offset, found.bad.seq, found.bad.why)
        self._row["records"] += judge.end.seq - segment.first_seq - found.records
        if judge.bad is not None and self._until is None:
            self._row["torn_bytes"] = judge.size - judge.end.offset

    def _head_holds(self, segment: Segment, found: Walked) -> bool:
        """Whether the batch that the head names ends in this segment, where and as it says; true of a head of an older one."""
        head = self._head
        assert isinstance(head, Head)
        if head.segment != segment.first_seq:
            return head.segment in [one.first_seq for one in self._layout.segments] or head.segment < self._layout.first_seq
        start = max(0, head.offset - LINE_BYTES_MAX)
        if head.offset > found.offset:
            return False
        fd = self._files.open(segment.path, os.O_RDONLY)
        try:
            data = read_at(self._files, fd, start, head.offset - start)
        finally:
            self._files.close(fd)
        try:
            record = parse(data[data.rfind(b"\n", 0, -1) + 1 :])
        except BadLine:
            return False
        batch, index, count = record.commit
        return (record.seq, record.event_hash, batch, index + 1) == (head.seq, head.tip, head.batch, count)

    def _end(self) -> None:
        reached = self._layout.first_seq + self._row["records"]
        if self._until is None or reached <= self._until:
            if self._layout.broken is not None:
                broken = self._layout.broken
                raise Corrupt(self._name, 0, broken.seq if broken.seq is not None else reached, broken.why, broken.path)
            if self._until is not None:
                raise Corrupt(self._name, 0, reached, f"record {self._until} was durable and is gone")
        self._row["segments"] = len(self._segments)
        if self._deep and self._edge is not None:
            self._row["tree"] = {"root": self._edge.root().hex(), "size": self._edge.size}

    def _corrupt(self, segment: Segment, offset: int, seq: int, why: str) -> Corrupt:
        return Corrupt(self._name, offset, seq, why, segment.path)


# --- the program ----------------------------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    options = _arguments(argv)
    if not options.dir.is_dir():
        print(f"{options.dir} is no directory", file=sys.stderr)
        return USAGE
    broken = seen = False
    try:
        for row in verify_logs(options.dir, options.log, dict(options.until), deep=not options.hashchain, workers=options.workers):
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
    parser.add_argument(
        "--hashchain", action="store_true", help="only hashes and parents, not form and tree: several times as fast"
    )
    parser.add_argument("--jsonl", action="store_true", help="one JSON object a line, with progress")
    parser.add_argument("--log", action="append", metavar="NAME", help="only this log; may be repeated")
    parser.add_argument(
        "--until", action="append", default=[], type=_until, metavar="LOG=SEQ", help="the last durable record of a log: stop there"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes that walk side by side; as many as there are cores")
    return parser.parse_args(argv)


def _until(text: str) -> tuple[str, int]:
    name, _, seq = text.partition("=")
    if not name or not seq.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not LOG=SEQ")
    return name, int(seq)


def _line(row: Row) -> str:
    records = f"{row['log']}  {row['records']:,} records"
    if row["ok"]:
        pruned = f", 0 to {row['pruned']['last_seq']:,} were pruned: hashes only" if "pruned" in row else ""
        torn = f", then {row['torn_bytes']:,} bytes that the next start will cut" if "torn_bytes" in row else ""
        return f"{records}  ok{pruned}{torn}"
    bad = row["first_bad"]
    place = f"byte {bad['offset']:,}" + (f" of {bad['file']}" if "file" in bad else "")
    return f"{records}  BROKEN at record {bad['seq']}, {place}: {bad['why']}"


if __name__ == "__main__":
    sys.exit(main())
