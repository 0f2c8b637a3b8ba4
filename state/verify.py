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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from core.notes import BadNote, Checkpoint, Note
from state.checkpoint import checkpoint_of
from state.cosigned import cosigned_of, within
from state.fs import Files, RealFiles
from state.judge import Judge, batch_ends, believed, head_of
from state.ledger import BadLedger, NewerFormat, read_ledger
from state.log import Head, head_path
from state.retention import Prune, explains, pruned_edge, recorded
from state.seal import BadLine
from state.segment import FORK, Column, Corrupt, Fork, Layout, Segment, active_path, closed_path, fork_of, origin_after, survey
from state.tree import Edge
from state.walks import Task, Walked, walk_all

LOOKS_MAX = 5
"""A live log may be rotated or pruned under the walk: then it is looked at anew."""
OK, BROKEN, USAGE = 0, 1, 2
_LOG = re.compile(r"[a-z][a-z0-9_]{0,63}")
_SEGMENT = re.compile(r"([a-z][a-z0-9_]{0,63})(?:\.[0-9]{16})?\.jsonl")

Row = dict[str, Any]
Marks = Callable[[str], Sequence[int]]


def verify_logs(
    state_dir: Path,
    logs: Sequence[str] | None = None,
    until: Mapping[str, int] | None = None,
    *,
    deep: bool = True,
    workers: int | None = None,
) -> Iterator[Row]:
    """Rows of progress, and for each log a last one with `done`. `until` names the last durable record of a log.

    A log that neither ledger.json nor the disk knows gets no row. With more than one worker (as many as there are cores, unless
    told) this process forks: let it have no other threads at work.
    """
    files = RealFiles(state_dir)
    try:
        yield from verify_files(files, logs, until, deep=deep, workers=cores() if workers is None else workers)
    finally:
        files.shut()


def cores() -> int:
    return len(os.sched_getaffinity(0))


def verify_files(
    files: Files,
    logs: Sequence[str] | None = None,
    until: Mapping[str, int] | None = None,
    *,
    deep: bool = True,
    workers: int = 1,
    marks: Marks | None = None,
    checkpoints: Mapping[str, Note | str | None] | None = None,
) -> Iterator[Row]:
    """`checkpoints` are those of logs in `until`, of which there may be newer ones by now. Of all others they are read.

    `marks` gives records that something else has seen durable: the row says how the log stands there, and they must be there."""
    ledger = read_ledger(files)
    origins = ledger.logs if ledger is not None else {}
    known = sorted(origins.keys() | on_disk(files))
    for name in known if logs is None else [name for name in logs if name in known]:
        unheard = ledger is not None and name not in origins
        asked = _Asked(files, name, origins.get(name), (until or {}).get(name), deep, marks, unheard, checkpoints)
        yield from _verify_log(asked, workers)


def logs_in(files: Files) -> list[str]:
    """The logs that ledger.json names, or of which there is any file."""
    ledger = read_ledger(files)
    return sorted((ledger.logs.keys() if ledger is not None else set()) | on_disk(files))


def on_disk(files: Files) -> set[str]:
    """The logs that left something: a segment, closed or active, or a head."""
    found = {match[1] for name in files.list(".") if (match := _SEGMENT.fullmatch(name))}
    if files.stat_path("log.d") is not None:
        names = [name for name in files.list("log.d") if _LOG.fullmatch(name)]
        found |= {name for name in names if files.stat_path(head_path(name)) is not None}
    return found


class _Asked(NamedTuple):
    """One log, and what is asked of it."""

    files: Files
    name: str
    origin: str | None
    until: int | None
    deep: bool
    marks: Marks | None
    unheard: bool
    """Whether there is a ledger.json, and it does not name this log."""
    checkpoints: Mapping[str, Note | str | None] | None = None

    def checkpoint(self) -> Note | str | None:
        """The one to compare with; beside a live daemon none that may be newer than what is walked."""
        if self.until is None:
            return checkpoint_of(self.files, self.name)
        return self.checkpoints.get(self.name) if self.checkpoints is not None else None


def _verify_log(asked: _Asked, workers: int) -> Iterator[Row]:
    files, name = asked.files, asked.name
    row: Row = {}
    for looks in range(1, LOOKS_MAX + 1):
        row = {"log": name, "records": 0, "done": False, "ok": True, "code": "walking"}
        if asked.until is not None:
            row["total"] = asked.until + 1
        layout: Layout | None = None
        try:
            # The head goes first: it is older than the bytes that are then looked at, never newer.
            head = head_of(files, name)
            checkpoint = asked.checkpoint()
            cosigned = within(cosigned_of(files, name), asked.until)
            marks = tuple(asked.marks(name)) if asked.marks is not None else ()
            layout = survey(files, name, asked.origin)
            yield from _Check(asked, layout, head, checkpoint, cosigned, marks, row).run(workers)
            row["code"] = "chain-ok"
            break
        except NewerFormat as newer:
            row |= {"ok": False, "code": "newer-format", "first_bad": {"seq": 0, "offset": 0, "why": str(newer)}}
            break
        except (Corrupt, FileNotFoundError) as damage:
            if looks < LOOKS_MAX and _moved(asked, layout):
                continue
            row |= {"ok": False, "code": "chain-broken", "first_bad": _first_bad(name, layout, damage)}
            row["column"] = damage.column if isinstance(damage, Corrupt) else "chain"
            break
    yield row | {"done": True}


def _moved(asked: _Asked, layout: Layout | None) -> bool:
    """Whether the files are others now than those that were walked."""
    if layout is None:
        return True
    now = survey(asked.files, asked.name, asked.origin)
    return [(one.path, one.first_seq) for one in now.segments] != [(one.path, one.first_seq) for one in layout.segments]


def _first_bad(name: str, layout: Layout | None, damage: Corrupt | FileNotFoundError) -> Row:
    if isinstance(damage, FileNotFoundError):
        return {"seq": layout.first_seq if layout else 0, "offset": 0, "why": f"{damage.filename} is missing"}
    bad: Row = {"seq": damage.seq, "offset": damage.offset, "why": damage.why}
    return bad if damage.file == active_path(name) else bad | {"file": damage.file}


class _Check:
    """One log, as its files lay when it was looked at. Fills `row` in; raises Corrupt."""

    def __init__(
        self,
        asked: _Asked,
        layout: Layout,
        head: Head | str | None,
        checkpoint: Note | str | None,
        cosigned: list[Note] | str,
        marks: tuple[int, ...],
        row: Row,
    ) -> None:
        self._checkpoint = checkpoint
        self._sealed: Checkpoint | None = checkpoint.checkpoint if isinstance(checkpoint, Note) else None
        self._cosigned = cosigned
        self._witnessed: list[Note] = [] if isinstance(cosigned, str) else cosigned
        points = [note.checkpoint.size - 1 for note in self._witnessed] + ([self._sealed.size - 1] if self._sealed else [])
        self._files = asked.files
        self._name = asked.name
        self._until = until = asked.until
        self._deep = asked.deep
        self._unheard = asked.unheard
        self._layout = layout
        self._head = believed(head, layout)
        self._marks = (*marks, *points)
        self._stated = asked.marks is not None
        self._seen_seq = max(marks, default=-1) if until is None else -1
        self._row = row
        self._batch: int | None = None
        self._origin: str | None = None
        self._walked: list[tuple[Segment, Walked]] = []
        self._forks: list[tuple[int, Fork]] = []
        """Where each stands, and what it says."""
        self._sound_bytes: int | None = None
        """Of the active segment; None where a torn tail cannot be."""
        segments = [*layout.segments, layout.broken.segment] if layout.broken is not None else layout.segments
        self._segments = [one for one in segments if one is not None and (until is None or one.first_seq <= until)]

    def run(self, workers: int) -> Iterator[Row]:
        self._row["segments"] = len(self._segments)
        if self._layout.before is not None:
            self._prunes()
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
        return Task(segment.path, segment.opening.start, segment.size, self._deep, records, self._marks)

    def _active(self, segment: Segment) -> bool:
        return segment.path == active_path(self._name)

    # --- each file ----------------------------------------------------------------------------------------------------

    def _take(self, segment: Segment, found: Walked) -> None:
        if self._deep and self._batch not in (None, segment.opening.start.batch):
            raise self._corrupt(segment, 0, segment.first_seq, "does not go on where the segment before it ends")
        self._batch = found.batch
        self._row["records"] += found.records
        if self._deep:
            self._follow_origin(segment, found)
            self._walked.append((segment, found._replace(told=())))
        if self._active(segment):
            self._take_active(segment, found)
        else:
            self._take_closed(segment, found)

    def _follow_origin(self, segment: Segment, found: Walked) -> None:
        """The origin in a header is the one in force, and each fork leads on from the one before it."""
        if self._origin not in (None, segment.opening.origin):
            raise self._corrupt(segment, 0, segment.first_seq, "has another origin, and no log.fork leads to it")
        self._origin = segment.opening.origin
        for record in found.told:
            try:
                after = origin_after(self._name, self._origin, record)
            except BadLine as bad:
                raise self._corrupt(segment, record.offset, record.seq, bad.why) from None
            if record.event_type == FORK:
                self._forks.append((record.seq, fork_of(self._name, record)))
                fork = {"seq": record.seq, "old_origin": self._origin, "new_origin": after}
                self._row.setdefault("forks", []).append(fork)
            self._origin = after

    def _take_closed(self, segment: Segment, found: Walked) -> None:
        bad, closed = found.bad, segment.closed
        if bad is not None:
            raise self._corrupt(segment, bad.offset, bad.seq, f"{bad.why}, in a closed segment", bad.column)
        if closed is None:
            return
        end = segment.first_seq + found.records
        if (end - 1, found.offset, found.tip) != (closed.last_seq, closed.bytes, closed.event_hash):
            raise self._corrupt(segment, found.offset, end, f"ends with record {end - 1}; it was closed with {closed.last_seq}")
        if found.sha256 != closed.sha256:
            raise self._corrupt(segment, found.offset, end, "is not the file that was closed: its SHA-256 is another")
        if isinstance(self._head, Head) and not self._head_holds(self._head, segment):
            raise self._corrupt(segment, 0, self._head.seq, f"batch {self._head.batch} is not the one the head names")

    def _take_active(self, segment: Segment, found: Walked) -> None:
        head = self._head
        if self._until is not None and segment.first_seq + found.records > self._until:
            if isinstance(head, Head) and head.seq <= self._until and not self._head_holds(head, segment):
                raise self._corrupt(segment, 0, head.seq, f"batch {head.batch} is not the one the head names")
            return
        surely_whole = self._deep or self._layout.before is None  # the fast walk does not see a batch that is not whole
        if found.bad is None and isinstance(head, Head) and self._head_holds(head, segment) and surely_whole:
            return
        judge = Judge(self._files, self._layout, self._head, first=len(self._layout.segments) - 1, seen_seq=self._seen_seq)
        for _ in judge.batches():
            continue
        judge.judge()
        if found.bad is not None and (judge.bad is None or judge.bad.offset != found.bad.offset) and self._deep:
            raise self._corrupt(segment, found.bad.offset, found.bad.seq, found.bad.why, found.bad.column)
        self._row["records"] += judge.end.seq - segment.first_seq - found.records
        if judge.bad is not None and self._until is None:
            self._sound_bytes = judge.end.offset
            self._row["torn_bytes"] = judge.size - judge.end.offset

    def _head_holds(self, head: Head, segment: Segment) -> bool:
        """Whether the batch that the head names ends in this segment, where and as it says; true of a head of another one."""
        return head.segment != segment.first_seq or batch_ends(self._files, segment.path, segment.size, head)

    # --- all of them --------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        reached = self._layout.first_seq + self._row["records"]
        if self._until is None or reached <= self._until:
            if self._layout.broken is not None:
                broken = self._layout.broken
                raise Corrupt(self._name, 0, broken.seq if broken.seq is not None else reached, broken.why, broken.path)
            if self._until is not None:
                raise Corrupt(self._name, 0, reached, f"record {self._until} was durable and is gone")
        if reached <= self._seen_seq:
            raise Corrupt(self._name, 0, reached, f"record {self._seen_seq} was durable, as a snapshot shows, and is gone")
        if isinstance(self._checkpoint, str):
            raise Corrupt(self._name, 0, reached, self._checkpoint)
        if self._sealed is not None and self._sealed.size > reached:
            raise Corrupt(self._name, 0, reached, f"record {self._sealed.size - 1} was durable, as a checkpoint shows, and is gone")
        if isinstance(self._cosigned, str):
            raise Corrupt(self._name, 0, reached, self._cosigned)
        for note in self._witnessed:
            if note.checkpoint.size > reached:
                why = f"record {note.checkpoint.size - 1} was durable, as a witness shows, and is gone"
                raise Corrupt(self._name, 0, reached, why)
        if self._unheard and (reached > 1 or self._sound_bytes is not None):
            raise Corrupt(self._name, 0, 0, "holds records, but ledger.json has never heard of it")
        if self._deep and self._until is None and None is not self._layout.origin != self._origin:
            why = f"ends with origin {self._origin}, and ledger.json names {self._layout.origin}"
            raise Corrupt(self._name, 0, reached, why)
        edge = self._pruned()
        if self._deep:
            self._grow(edge)

    def _prunes(self) -> list[Prune]:
        """What was recorded of what is gone; raises Corrupt where that does not explain it."""
        before = self._layout.before
        assert before is not None
        prunes = recorded(self._files, self._layout, None, self._sound_bytes)
        if not any(explains(prune, before) for prune in prunes):
            missing = closed_path(self._name, before.first_seq)
            raise Corrupt(self._name, 0, before.first_seq, f"{missing} is missing", missing)
        return prunes

    def _pruned(self) -> Edge | None:
        """The tree over what is gone; None where its hashes were not kept."""
        if (before := self._layout.before) is None:
            return Edge()
        self._row["pruned"] = {"first_seq": 0, "last_seq": before.last_seq, "checked": "hashes only"}
        return pruned_edge(self._prunes(), before.last_seq + 1)

    def _grow(self, edge: Edge | None) -> None:
        """The tree over all records, compared wherever it is stated."""
        marks: dict[int, tuple[str, str | None]] = {}
        if (before := self._layout.before) is not None and before.last_seq in self._marks:
            marks[before.last_seq] = before.event_hash, edge.root().hex() if edge is not None else None
        for segment, found in self._walked:
            opening = segment.opening
            if edge is not None and opening.previous is not None:
                if (edge.size, edge.root().hex()) != (opening.start.seq, opening.root):
                    raise self._corrupt(segment, 0, segment.first_seq, "the records before it have another tree", "tree")
            self._compare_forks(segment, found, edge)
            for seq, mark in found.marks.items():
                root = edge.graft(mark.roots, seq + 1).root().hex() if edge is not None else None
                marks[seq] = mark.event_hash, root
            if edge is not None:
                edge = edge.graft(found.roots, segment.first_seq + found.records)
        if self._sealed is not None and self._compare(self._sealed, marks, "signed"):
            self._row["sealed"] = self._sealed.size
            if self._stated and isinstance(self._checkpoint, Note):
                self._row["note"] = self._checkpoint.text  # beside a daemon there may be a newer one by now
        held = [note.text for note in self._witnessed if self._compare(note.checkpoint, marks, "cosigned")]
        if self._stated and held:
            self._row["cosigned"] = held
        if self._stated:
            self._row["marks"] = marks
            self._row["head_seq"] = self._head.seq if isinstance(self._head, Head) else None
        if edge is not None:
            self._row["tree"] = {"root": edge.root().hex(), "size": edge.size}

    def _compare_forks(self, segment: Segment, found: Walked, edge: Edge | None) -> None:
        """What a fork in this segment says was shared is what stands before it. `edge` is of the tree before the segment."""
        for seq, fork in self._forks:
            if edge is None or not segment.first_seq <= seq < segment.first_seq + found.records:
                continue
            size = fork.sealed_size
            known = Edge() if not size else edge.graft(found.shared[seq], size) if seq in found.shared else None
            if size > seq or (known is not None and known.root().hex() != fork.sealed_root):
                raise self._corrupt(segment, 0, seq, "a log.fork says that other records were shared than stand before it", "tree")

    def _compare(self, sealed: Checkpoint, marks: Mapping[int, tuple[str, str | None]], by: str) -> bool:
        """The log is what was signed, and goes on from there; False where that is pruned. Who signed it is asked elsewhere."""
        before = self._layout.before
        if self._until is None and sealed.origin != self._origin:
            why = f"ends with origin {self._origin}, and its checkpoint is of {sealed.origin}"
            raise Corrupt(self._name, 0, sealed.size, why)
        if sealed.size - 1 not in marks:
            if before is None or sealed.size - 1 > before.last_seq:
                why = f"no batch ends with record {sealed.size - 1}, where a checkpoint does"
                raise Corrupt(self._name, 0, sealed.size - 1, why, column="tree")
            return False
        root = marks[sealed.size - 1][1]
        if root not in (None, sealed.root.hex()):
            why = f"its first {sealed.size:,} records are not those that were {by}"
            raise Corrupt(self._name, 0, sealed.size - 1, why, column="tree")
        return root is not None

    def _corrupt(self, segment: Segment, offset: int, seq: int, why: str, column: Column = "chain") -> Corrupt:
        return Corrupt(self._name, offset, seq, why, segment.path, column)


# --- the program ----------------------------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    options = _arguments(argv)
    if not options.dir.is_dir():
        print(f"{options.dir} is no directory", file=sys.stderr)
        return USAGE
    try:
        if (unknown := _unknown(options.dir, options.log or ())) is not None:
            if options.jsonl or options.report:
                print(json.dumps(unknown, ensure_ascii=False))
            print(f"{options.dir} has no log {unknown['log']}. There are: {', '.join(unknown['known'])}", file=sys.stderr)
            return USAGE
        return _report(options) if options.report or options.replay else _rows(options)
    except (BadLedger, NewerFormat, PermissionError, BadNote) as error:
        print(f"{options.dir}: {error}", file=sys.stderr)
        return USAGE if isinstance(error, PermissionError | BadNote) else BROKEN


def _unknown(directory: Path, asked: Sequence[str]) -> Row | None:
    """The first of these logs that nobody knows, beside those that there are."""
    files = RealFiles(directory)
    try:
        known = logs_in(files)
    finally:
        files.shut()
    missing = [name for name in asked if name not in known]
    return {"code": "no-such-log", "log": missing[0], "known": known} if missing and known else None


def _rows(options: argparse.Namespace) -> int:
    """A line for each log, for a person or with `--jsonl`."""
    broken = seen = False
    for row in verify_logs(options.dir, options.log, dict(options.until), deep=not options.hashchain, workers=options.workers):
        if options.jsonl:
            print(json.dumps(row, ensure_ascii=False), flush=True)
        if row["done"]:
            seen = True
            broken = broken or not row["ok"]
            if not options.jsonl:
                print(_line(row))
    if not seen:
        print(f"{options.dir} has no logs", file=sys.stderr)
        return USAGE
    return BROKEN if broken else OK


def _report(options: argparse.Namespace) -> int:
    """Everything that can be said of these logs, as JSON lines; the last is the verdict."""
    from state.report import Asked, report_on

    asked = Asked(
        options.log,
        dict(options.until),
        options.replay,
        vkey=options.vkey,
        witnesses=options.witness,
        quorum=options.quorum,
    )
    last: Row = {}
    for last in report_on(options.dir, asked, options.workers):
        print(json.dumps(last, ensure_ascii=False), flush=True)
    if not last["logs"]:
        print(f"{options.dir} has no logs", file=sys.stderr)
        return USAGE
    return BROKEN if last["result"] == "failed" else OK


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m state.verify",
        description="Check every record of the logs in a state directory. Exit 0: all hold. 1: one does not. 2: could not look.",
    )
    parser.add_argument("dir", type=Path, metavar="DIR", help="the state directory")
    parser.add_argument(
        "--hashchain", action="store_true", help="only hashes and parents, not form and tree: several times as fast"
    )
    parser.add_argument(
        "--report", action="store_true", help="snapshots too, and what was not verified: JSON lines, the verdict last"
    )
    parser.add_argument("--replay", action="store_true", help="the same, and fold every log to compare its snapshots")
    parser.add_argument("--jsonl", action="store_true", help="one JSON object a line, with progress")
    parser.add_argument("--log", action="append", metavar="NAME", help="only this log; may be repeated")
    parser.add_argument(
        "--until", action="append", default=[], type=_until, metavar="LOG=SEQ", help="the last durable record of a log: stop there"
    )
    parser.add_argument("--vkey", metavar="VKEY", help="the key that checkpoints are signed with; without it the one in keys/")
    parser.add_argument("--witness", action="append", default=[], metavar="VKEY", help="a witness that is trusted; may be repeated")
    parser.add_argument("--quorum", type=int, default=0, metavar="N", help="how many of them must have cosigned a record; all")
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
