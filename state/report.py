"""What `audit verify` says: of each log what holds, of each snapshot whether it is of that log, and what nobody could vouch for.

A snapshot that a start would refuse is told, and is no failure: an older one is used. One that a start would believe, and that is
not what the log adds up to, is. Nothing here says more than was looked at: for clocks, and for what was never reported, nobody can
vouch, so no result is better than limited. Witnesses count as far as their keys were given. It reads and never writes.
"""

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from core.engines import ENGINES
from core.keys import Keys
from core.notes import COSIGNER, BadNote, Key, Note, key_from, public_key, read_note
from core.proofs import check_signature
from core.world import BadDump, UnknownEvent, World
from state import replay as meaning
from state.accused import accused_by
from state.checkpoint import checkpoint_path
from state.cosigned import cosigned_paths
from state.fs import Files, RealFiles, read_all, read_at
from state.ledger import KEY_BYTES, SIGNING
from state.named import names_values, read_back
from state.quorum import Vouched, vouched
from state.scan import Scan
from state.seal import Record
from state.segment import Corrupt, Layout, survey
from state.snapshot import BadSnapshot, Header, Listing, listed, path_of, read
from state.verify import LOOKS_MAX, Row, cores, verify_files

NOT_COSIGNED = "not cosigned, for there is no witness: a rewrite by this uid would not show"
BEHIND = "after what a quorum of witnesses cosigned: a rewrite by this uid would not show"
COLUMNS = ("chain", "form", "tree")


class Asked(NamedTuple):
    """Which logs (None: all), up to which record of each, and whether their records are folded too."""

    logs: Sequence[str] | None = None
    until: Mapping[str, int] = {}
    replay: bool = False
    checkpoints: Mapping[str, str] | None = None
    """The newest of the logs in `until` when that was taken. Of all others those on disk are read."""
    vkey: str | None = None
    """Of any of the logs; None: the key that lies in the state directory."""
    witnesses: Sequence[str] = ()
    """The verifier keys of those that are trusted, from somewhere else than the files."""
    quorum: int = 0
    """How many of them must have cosigned a record; 0: all."""
    refused: Mapping[str, str] = {}
    """Logs that a witness refuses for a rollback, and what it says."""


def report_on(state_dir: Path, asked: Asked, workers: int | None = None) -> Iterator[Row]:
    """`reports` on the files of a directory."""
    files = RealFiles(state_dir)
    try:
        yield from reports(files, asked, cores() if workers is None else workers)
    finally:
        files.shut()


def reports(files: Files, asked: Asked, workers: int = 1) -> Iterator[Row]:
    """Rows of progress; for each log a row with `done`; and at last one with `result` for all of them."""
    listings: dict[str, Listing] = {}

    def marks(name: str) -> list[int]:
        listings[name] = listed(files, name)
        return [header.seq for header in listings[name].headers]

    done: list[Row] = []
    unverified: list[Row] = []
    notes = None if asked.checkpoints is None else {name: _note(text) for name, text in asked.checkpoints.items()}
    public = _public_key(files, asked.vkey)
    witnesses = [key_from(vkey, COSIGNER) for vkey in asked.witnesses]
    for walked in verify_files(files, asked.logs, asked.until, workers=workers, marks=marks, checkpoints=notes):
        if not walked["done"]:
            yield {key: walked[key] for key in ("log", "records", "total", "done") if key in walked} | {"stage": "reading"}
            continue
        one = _OneLog(files, walked, listings[walked["log"]], asked, public, witnesses)
        yield from one.check()
        done.append(one.row)
        unverified += one.unverified
        yield one.row
    result = "failed" if not all(row["ok"] for row in done) else "limited"
    yield {"logs": done, "not_verified": [*unverified, *_of_all(files, asked)], "result": result}


def _note(text: str) -> Note | str:
    try:
        return read_note(text)
    except BadNote as bad:
        return f"the checkpoint is damaged: {bad.why}"


def _public_key(files: Files, vkey: str | None) -> bytes | None:
    """What all checkpoints of this directory are to be signed with. None: nobody knows."""
    if vkey is not None:
        return key_from(vkey).public
    try:
        secret = read_all(files, SIGNING)
    except PermissionError:
        return None
    try:
        return public_key(secret) if secret is not None and len(secret) == KEY_BYTES else None
    except ImportError:
        return None


def _of_all(files: Files, asked: Asked) -> Iterator[Row]:
    if files.stat_path("blobs") is not None:
        yield {"log": "all", "why": "large values that no live record names: not read back"}
    if not asked.replay:
        yield {"log": "all", "why": "replay (not asked for)"}
    if asked.until:
        yield {"log": "all", "why": "what became durable after this began"}
    yield {"log": "all", "why": "wall-clock times"}
    yield {"log": "all", "why": "that nothing was left unreported"}


class _OneLog:
    """One log after its walk: its row, and what of it could not be vouched for."""

    def __init__(
        self, files: Files, walked: Row, listing: Listing, asked: Asked, public: bytes | None, witnesses: Sequence[Key]
    ) -> None:
        self._files = files
        self._public = public
        self._witnesses = witnesses
        self._quorum = asked.quorum
        self._vouched = Vouched(0, "none")
        self._sealed = 0
        """How many records a checkpoint vouches for."""
        self._name: str = walked["log"]
        self._walked = walked
        self._until = asked.until.get(self._name)
        self._refused = asked.refused.get(self._name) or accused_by(files, self._name, witnesses)
        self._replay = asked.replay
        self._listing = listing
        self._marks: Mapping[int, tuple[str, str | None]] = walked.get("marks", {})
        self._pruned: int = walked["pruned"]["last_seq"] + 1 if "pruned" in walked else 0
        self._world = World(ENGINES, facts_only=True)
        self._snapshots: list[Row] = []
        self._good: list[Header] = []
        """Those that a start could begin with, the oldest first."""
        self.row: Row = {}
        self.unverified: list[Row] = []

    def check(self) -> Iterator[Row]:
        walked = self._walked
        self.row = {"log": self._name, "records": walked["records"], "done": True, "ok": walked["ok"], "code": walked["code"]}
        self.row |= {"segments": walked.get("segments", 0)} | self._columns() | {"sealed": "none", "cosigned": "none"}
        self.row |= {key: walked[key] for key in ("forks", "pruned", "torn_bytes", "first_bad") if key in walked}
        if walked["ok"]:
            self._check_checkpoint()
            self._check_cosigned()
            self._check_snapshots()
            self._check_values()
            if self._replay and self.row["ok"]:
                yield from self._check_replay()
            self.row["snapshots"] = self._snapshots
        self._say()

    def _columns(self) -> Row:
        """`ok` of all records, `failed` of the first bad one, or `unknown`, where the walk did not come to its end."""
        if not self._walked["ok"]:
            return dict.fromkeys(COLUMNS, "unknown") | ({self._walked["column"]: "failed"} if "column" in self._walked else {})
        tree = self._walked.get("tree")
        return {"chain": "ok", "form": "ok", "tree": "ok" if tree else "unknown"} | (tree or {})

    # --- the checkpoint -----------------------------------------------------------------------------------------------

    def _check_checkpoint(self) -> None:
        """That the log continues it the walk has said; who signed it is left to say."""
        if "note" not in self._walked:
            return
        note = read_note(self._walked["note"])
        sealed = note.checkpoint
        word, why = check_signature(note, Key(sealed.origin, self._public) if self._public is not None else None)
        if word == "failed":
            self.row["sealed"] = "failed"
            bad = {"seq": sealed.size - 1, "offset": 0, "why": why, "file": checkpoint_path(self._name)}
            return self._fail("checkpoint-false", bad)
        self._sealed = sealed.size
        self.row["sealed"] = str(sealed.size)
        if word != "ok":
            self._not_verified(f"the signature of the checkpoint: {why}", 0, sealed.size - 1)

    def _check_cosigned(self) -> None:
        """That the log continues these the walk has said."""
        found = self._vouched = vouched(
            [read_note(text) for text in self._walked.get("cosigned", ())], self._witnesses, self._quorum
        )
        why, code = found.false, "cosignature-false"
        if self._refused is not None:
            found, why, code = found._replace(word="failed"), self._refused, "witness-refused"
        self.row["cosigned"] = found.word
        if why:
            self._fail(code, {"offset": 0, "why": why})
        if found.unchecked:
            self._not_verified(found.unchecked)

    # --- large values -------------------------------------------------------------------------------------------------

    def _check_values(self) -> None:
        if not self._known() or not names_values(self._world, self._name):
            return
        newest = self._good[-1] if self._good else None
        try:
            layout = survey(self._files, self._name)
            found = read_back(
                self._files, self._world, self._name, newest, lambda after: _batches(self._files, layout, after, self._until)
            )
        except (UnknownEvent, FileNotFoundError, Corrupt, BadSnapshot, BadDump) as error:
            return self._not_verified(f"large values, in blobs: which are live could not be told ({type(error).__name__})")
        self.row["blobs"] = found.named
        if found.bad is not None:
            path, why = found.bad
            self._fail("blob-false", {"offset": 0, "why": why, "file": path})

    # --- snapshots ----------------------------------------------------------------------------------------------------

    def _check_snapshots(self) -> None:
        for header in reversed(self._listing.headers):
            if self._until is None or header.seq <= self._until:
                self._check_snapshot(header)
        for skipped in self._listing.bad:
            seq = skipped.name.removesuffix(".snap")
            if not seq.isdecimal():
                self._snapshots.append({"result": "bad", "why": skipped.why})
            elif self._files.stat_path(path_of(self._name, int(seq))) is not None:
                self._snapshots.append({"seq": int(seq), "result": "bad", "why": skipped.why})
        if self._pruned and not self._good and self._until is None:
            why = f"the records before {self._pruned} were pruned, and no snapshot of what they made can be used"
            self._fail("no-snapshot", {"seq": 0, "offset": 0, "why": why})

    def _check_snapshot(self, header: Header) -> None:
        result, why = self._snapshot(header)
        if result == "gone":
            return
        self._snapshots.append({"seq": header.seq, "result": result} | ({"why": why} if why else {}))
        if result == "ok":
            self._good.append(header)
        if result == "false":
            self._fail("snapshot-false", self._false(header.seq, why))

    def _snapshot(self, header: Header) -> tuple[str, str]:
        if header.seq not in self._marks:
            pruned = "its record was pruned" if header.seq < self._pruned else f"no batch of the log ends with record {header.seq}"
            return "bad", pruned
        tip, root = self._marks[header.seq]
        if header.tip != tip:
            return "bad", f"record {header.seq} of the log is another one"
        if not self._known() or header.schema != meaning.schema(self._world, self._name):
            return "other-version", "another version made it"
        try:
            meaning.edge_of(meaning.unpack(read(self._files, self._name, header.seq)[1]), header)
        except BadDump as bad:
            return "bad", f"the body cannot be loaded: {bad}"
        except BadSnapshot as bad:
            gone = self._files.stat_path(path_of(self._name, header.seq)) is None  # beside a daemon older ones may go
            return "gone" if gone else "bad", bad.why
        if root not in (None, header.root):
            return "false", f"the tree over the records up to {header.seq} has another root"
        return "ok", ""

    def _known(self) -> bool:
        return self._name in self._world.logs

    def _fail(self, code: str, first_bad: Row) -> None:
        if self.row["ok"]:
            self.row |= {"ok": False, "code": code, "first_bad": first_bad}

    def _false(self, seq: int, why: str) -> Row:
        return {"seq": seq, "offset": 0, "why": f"a start would believe this snapshot: {why}", "file": path_of(self._name, seq)}

    # --- replay -------------------------------------------------------------------------------------------------------

    def _check_replay(self) -> Iterator[Row]:
        if not self._known():
            return self._not_replayed("no engine of this version keeps this log")
        for looks in range(1, LOOKS_MAX + 1):
            try:
                found = yield from self._replayed()
            except UnknownEvent as unknown:
                return self._not_replayed(str(unknown).partition(". ")[0])
            except (FileNotFoundError, Corrupt, BadSnapshot, BadDump) as moved:
                if looks == LOOKS_MAX or self._until is None:
                    return self._not_replayed(f"it could not be read to its end ({type(moved).__name__})")
                self._good = [one for one in self._good if self._files.stat_path(path_of(self._name, one.seq)) is not None]
                continue
            return self._take_replay(found)

    def _replayed(self) -> Generator[Row, None, meaning.Replayed]:
        layout = survey(self._files, self._name)
        world, keys, after = World(ENGINES, facts_only=True), Keys(), -1
        kept = list(self._good)
        if layout.first_seq:
            base, *kept = self._good
            meaning.load(world, keys, base, read(self._files, self._name, base.seq)[1])
            after = base.seq
        batches = _batches(self._files, layout, after, self._until)
        bodies = [(header, lambda seq=header.seq: read(self._files, self._name, seq)[1]) for header in kept]
        steps = meaning.replaying(world, keys, self._name, batches, bodies)
        while True:
            try:
                records = next(steps)
            except StopIteration as end:
                self._replayed_from = after + 1
                found: meaning.Replayed = end.value
                return found
            yield {"log": self._name, "records": records, "done": False, "stage": "replaying"}

    def _take_replay(self, found: meaning.Replayed) -> None:
        by_seq = {row["seq"]: row for row in self._snapshots if "seq" in row}
        for one in found.snapshots:
            if one.result == "equal":
                by_seq[one.seq]["result"] = "equal"
            elif self._files.stat_path(path_of(self._name, one.seq)) is not None:
                by_seq[one.seq] |= {"result": "false", "why": one.why}
                self._fail("replay-differs", self._false(one.seq, one.why))
        self.row["replayed"] = found.records
        if self._replayed_from:
            why = f"what the pruned records made: replay began with the snapshot at {self._replayed_from - 1}"
            self._not_verified(why, 0, self._replayed_from - 1)

    def _not_replayed(self, why: str) -> None:
        self._not_verified(f"replay: {why}")

    # --- what is left -------------------------------------------------------------------------------------------------

    def _say(self) -> None:
        walked, first = self._walked, self._pruned
        last = first + walked["records"] - 1
        if not walked["ok"]:
            self._not_verified("what follows the first bad record", walked["first_bad"]["seq"])
            if self._replay:
                self._not_replayed("the log does not hold")
        if last >= first:
            self._say_sealed(first, last)
        if self._pruned:
            self._not_verified("pruned: hashes only", 0, self._pruned - 1)
            if walked["ok"] and "tree" not in walked:
                self._not_verified("the tree: the hashes of what was pruned were not all kept", 0, self._pruned - 1)
        head_seq = walked.get("head_seq")
        if self._until is None and head_seq is not None and last > head_seq:
            self._not_verified("after the head: a cut back to it would not show", head_seq + 1, last)
        if "torn_bytes" in walked:
            self._not_verified(f"{walked['torn_bytes']:,} torn bytes, never acknowledged: the next start cuts them off", last + 1)
        for fork in walked.get("forks", ()):
            self._not_verified(f"a fork: before it the log was {fork['old_origin']}", fork["seq"], fork["seq"])
        for snapshot in self._snapshots:
            if snapshot["result"] in ("bad", "other-version"):
                which = f"snapshot {snapshot['seq']}" if "seq" in snapshot else "snapshots"
                self._not_verified(f"{which}: {snapshot['why']}; a start uses an older one, or the log")

    def _say_sealed(self, first: int, last: int) -> None:
        under = "" if self._sealed else "under no checkpoint, "
        unsealed, unseen = max(first, self._sealed), max(first, self._vouched.size)
        if self._sealed and unsealed <= last:
            why = f"{_records(last - unsealed + 1)} after the last checkpoint: to cut them off would not show"
            self._not_verified(why, unsealed, last)
        if self._vouched.word == "none" and not self._witnesses and not cosigned_paths(self._files, self._name):
            self._not_verified(f"{_records(last - first + 1)} {under}{NOT_COSIGNED}", first, last)
        elif unseen <= last:
            self._not_verified(f"{_records(last - unseen + 1)} {under}{BEHIND}", unseen, last)

    def _not_verified(self, why: str, first: int | None = None, last: int | None = None) -> None:
        places = {"from": first, "to": last}
        self.unverified.append({"log": self._name} | {key: seq for key, seq in places.items() if seq is not None} | {"why": why})


def _records(count: int) -> str:
    return f"{count:,} {'record' if count == 1 else 'records'}"


def _batches(files: Files, layout: Layout, after: int, until: int | None) -> Iterator[Sequence[Record]]:
    """The sound batches behind one record, up to the durable end. Raises Corrupt where a segment does not go on."""
    first = layout.holding(after + 1) or 0
    reached = after
    for segment in layout.segments[first:]:
        fd = files.open(segment.path, os.O_RDONLY)
        try:
            scan = Scan(lambda offset, size: read_at(files, fd, offset, size), files.stat(fd).size, segment.opening.start)  # noqa: B023
            for batch in scan.batches():
                if until is not None and batch[-1].seq > until:
                    return
                if batch[-1].seq > after:
                    yield batch
                reached = batch[-1].seq
            closed = segment.closed
            if closed is not None and reached != closed.last_seq:
                raise Corrupt(layout.name, scan.end.offset, scan.end.seq, "ends early", segment.path)
        finally:
            files.close(fd)
    if until is not None and reached < until:
        raise Corrupt(layout.name, 0, reached + 1, "was durable and is gone")
