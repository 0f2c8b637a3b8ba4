"""What the logs must hold, worked out from the bytes alone by a reader of its own: it shares no code with `state/`.

It follows every write and sync of the running process, reads the files again after each start, and holds the promises N1 to N4
and N6 against what callers were told. Of each log it keeps every byte that ever was in it, as one row, wherever the daemon has
cut it into segments and whatever of it was pruned since.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import msgspec

from core.engine import Stamp
from core.engines import ENGINES
from core.keys import Keys, Remembered
from core.notes import Note
from core.world import World
from state.checkpoint import checkpoint_of
from state.replay import replay_equals
from state.scan import Scan
from state.snapshot import listed
from state.snapshot import read as read_snapshot
from state.tree import Edge, leaf_hash
from tests.sim.disk import SimFiles
from tests.sim.promises import Promises

ZERO_HASH = "0" * 64
TAIL = len(',"event_hash":"') + 64 + len('"}\n')
ALIGN = 512
KINDS = ("task.submitted", "task.done", "task.cancelled", "task.expired", "task.parked")


class Rec(NamedTuple):
    """One record, read from its line."""

    seq: int
    event_hash: str
    event_type: str
    actor: str
    payload: dict[str, Any]
    raw: bytes
    """The bytes of the payload."""
    idem: tuple[str, str] | None
    time_us: int
    mono_us: int
    boot_id: str
    batch: int


class Broken(Exception):
    """Bytes that are no log."""


class Chain:
    """Where a reading of one log stands."""

    def __init__(self) -> None:
        self.seq = 0
        self.tip = ZERO_HASH
        self.batch = 0
        self.offset = 0
        self._count = 0

    def read(self, data: bytes) -> Iterator[list[Rec]]:
        """Whole batches, moving on behind each. Raises Broken; what was yielded before it stands."""
        batch: list[Rec] = []
        seq, tip, offset = self.seq, self.tip, self.offset
        if data and not data.endswith(b"\n"):
            raise Broken("the last line does not end")
        for line in _split(data):
            try:
                found = json.loads(line)
            except ValueError:
                raise Broken(f"record {seq}: not JSON") from None
            digest = sha256(line[:-TAIL] + b"}").hexdigest()
            offset += len(line)
            number, index, count = found["commit"]
            if (found["event_hash"], found["seq"], found["parent_hash"]) != (digest, seq, tip):
                raise Broken(f"record {seq}: hash, seq or parent_hash is wrong")
            if number != self.batch or index != len(batch) or (batch and count != self._count):
                raise Broken(f"record {seq}: commit is {found['commit']}")
            self._count = count
            start = line.index(b',"payload":') + 11
            stop = line.rindex(b',"seq":', start)
            idem = found.get("idem")
            time_us = int(line[line.rindex(b'"timestamp":') + 12 : -TAIL].replace(b".", b""))
            batch.append(
                Rec(
                    seq,
                    digest,
                    found["event_type"],
                    found["actor"],
                    found["payload"],
                    line[start:stop],
                    (idem["digest"], idem["key"]) if idem else None,
                    time_us,
                    found["mono_us"],
                    found["boot_id"],
                    number,
                )
            )
            seq, tip = seq + 1, digest
            if index + 1 == count:
                if offset % ALIGN:
                    raise Broken(f"record {seq - 1}: the batch does not end on a sector")
                self.seq, self.tip, self.offset, self.batch = seq, tip, offset, number + 1
                yield batch
                batch = []
        if batch:
            raise Broken(f"record {seq}: the batch does not end")


def _split(data: bytes) -> list[bytes]:
    return [line + b"\n" for line in data.split(b"\n")[:-1]]


class Tree:
    """The RFC 6962 tree over the lines so far: the roots of its complete subtrees, largest first."""

    def __init__(self) -> None:
        self._subtrees: list[tuple[int, bytes]] = []

    def add(self, line: bytes) -> None:
        size, root = 1, sha256(b"\0" + line.removesuffix(b"\n")).digest()
        while self._subtrees and self._subtrees[-1][0] == size:
            size, root = 2 * size, sha256(b"\1" + self._subtrees.pop()[1] + root).digest()
        self._subtrees.append((size, root))

    def root(self) -> str:
        *left, (_, root) = self._subtrees
        for _, each in reversed(left):
            root = sha256(b"\1" + each + root).digest()
        return root.hex()


class Expected:
    """One log: what is on disk for sure, and what was appended behind it, all segments in one row."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.active = f"{name}.jsonl"
        self.next = f"{name}.next"
        self.records: list[Rec] = []
        self.chain = Chain()
        self.tree = Tree()
        """Over all that is durable."""
        self.durable = bytearray()
        self.appended = bytearray()
        """Written and not known to be synced."""
        self.coming = bytearray()
        """A segment that has no name of its own yet."""
        self.named = False
        """Whether a segment got its name and the directory was not synced since."""
        self.starts: dict[int, int] = {}
        """Where each segment begins: its first seq, and the place in the row."""
        self.pruned: set[tuple[int, int]] = set()
        """First and last seq of each segment that a durable record let go."""
        self.first_seq = 0
        """The first record that is still on disk."""
        self.based = False
        """Whether this process's recovery has been held against the two."""
        self.tallies: list[tuple[int, ...]] = [(0,) * len(KINDS)]
        """How many of each kind there are below each seq."""
        self._closed = re.compile(rf"{name}\.([0-9]{{16}})\.jsonl")
        self._snapshot = re.compile(rf"log\.d/{name}/snap/([0-9]{{16}})\.snap")

    @property
    def end(self) -> int:
        return len(self.records)

    @property
    def segment(self) -> int:
        """The first seq of the active one."""
        return max(self.starts, default=0)

    def closed(self, path: str) -> int | None:
        """The first seq of a closed segment, by its path."""
        match = self._closed.fullmatch(path)
        return int(match[1]) if match else None

    def snapshot(self, path: str) -> int | None:
        match = self._snapshot.fullmatch(path)
        return int(match[1]) if match else None

    def ends(self) -> dict[int, int]:
        """Of each segment but the active one its last seq, by its first."""
        firsts = sorted(self.starts)
        return {first: after - 1 for first, after in pairwise(firsts)}

    def was_pruned(self, seq: int) -> bool:
        """Whether this record may be gone."""
        return any(first <= seq <= last for first, last in self.pruned)

    def add(self, record: Rec) -> None:
        self.records.append(record)
        last = self.tallies[-1]
        if record.event_type in KINDS:
            place = KINDS.index(record.event_type)
            last = (*last[:place], last[place] + 1, *last[place + 1 :])
        self.tallies.append(last)
        if record.event_type == "log.prune":
            self.pruned.add((record.payload["first_seq"], record.payload["last_seq"]))


class Oracle:
    def __init__(self, blame: Callable[[str], None], submitted: Callable[[str, Rec], None]) -> None:
        self._blame = blame
        self._submitted = submitted
        """Says whether somebody asked for a record that is now durable."""
        self.world = World(ENGINES)
        """All that is durable, applied."""
        self.logs = {name: Expected(name) for name in self.world.logs}
        self.memory = Keys()
        """All keys in what is durable."""
        self.watching = False
        self.refused: Counter[str] = Counter()
        """Refusals on record, by caller."""
        self.keys: dict[tuple[str, str], tuple[str, int]] = {}
        self.promises = Promises(blame, self.record)
        self.snapshots: dict[str, bytes] = {}
        """Those that were found to be what the log adds up to, by path."""
        self.sealed: dict[str, int] = {}
        """Of each log, how many records the checkpoint vouched for that was seen last."""
        self.turns = self.prunes = self.snapshots_taken = 0
        self.fulls: Counter[str] = Counter()
        """How often each log said that it was full."""

    def _log(self, path: str) -> Expected | None:
        """The log whose records this file holds, or will."""
        return next((log for log in self.logs.values() if path in (log.active, log.next)), None)

    # --- while a process runs -----------------------------------------------------------------------------------------

    def before_change(self, call: str, path: str, disk: SimFiles) -> None:
        """The first change of a log by a new process comes after its recovery has settled what is there."""
        for log in self.logs.values():
            if self.watching or log.based:
                continue
            deletes = call == "unlink" and log.closed(path) not in (None, log.segment)
            if deletes or (call == "write" and path in (log.active, log.next)):
                self._rebase(log, self._found(log, disk))

    def wrote(self, path: str, data: bytes) -> None:
        log = self._log(path)
        if log is not None:
            part = log.appended if path == log.active else log.coming
            part += data

    def begun(self, path: str) -> None:
        """A file is made anew."""
        log = self._log(path)
        if log is not None and path == log.next:
            log.coming.clear()

    def synced(self, path: str) -> None:
        log = self._log(path)
        if log is not None and log.based and path == log.active:
            self._confirm(log)

    def directory_synced(self, path: str) -> None:
        for log in self.logs.values():
            if path == "." and log.named:
                self._confirm(log)

    def renamed(self, source: str, target: str, disk: SimFiles) -> None:
        for log in self.logs.values():
            if (source, target) == (log.next, log.active):
                self._turned(log)
            elif (seq := log.snapshot(target)) is not None:
                self._snapshot(log, seq, target, disk.content(target))

    def _turned(self, log: Expected) -> None:
        """A new segment has taken the place of the active one."""
        if log.appended:
            self._blame(f"{log.name}: a segment was closed with {len(log.appended)} bytes in it that are not durable")
        opening = json.loads(log.coming)
        if log.starts and opening["payload"]["previous"] != (expected := self._previous(log)):
            self._blame(f"{log.name}: the new segment says that before it was {opening['payload']['previous']}, not {expected}")
        if log.starts and opening["payload"]["tree"] != {"root": log.tree.root(), "size": log.end}:
            self._blame(f"{log.name}: the new segment names the tree {opening['payload']['tree']}; it is {log.tree.root()}")
        log.starts[opening["seq"]] = len(log.durable)
        log.appended += log.coming
        log.coming.clear()
        log.named = True
        self.turns += 1

    def _previous(self, log: Expected) -> dict[str, Any]:
        held = log.durable[log.starts[log.segment] :]
        return {
            "bytes": len(held),
            "event_hash": log.chain.tip,
            "first_seq": log.segment,
            "last_seq": log.end - 1,
            "name": f"{log.name}.{log.segment:016d}.jsonl",
            "sha256": sha256(held).hexdigest(),
        }

    def unlinked(self, path: str, disk: SimFiles) -> None:
        for log in self.logs.values():
            first = log.closed(path)
            if first is None or first == log.segment:  # the second name of the active one
                continue
            self.prunes += 1
            last = log.ends().get(first, -1)
            if (first, last) not in log.pruned | set(_prunes(bytes(log.appended))):
                self._blame(f"N1: {path} is deleted, and no durable record lets go of {first} to {last}")
            if first != log.first_seq:
                self._blame(f"N1: {path} is deleted before records from {log.first_seq} on, which are older")
            oldest = min((header.seq for header in listed(disk, log.name).headers), default=-1)
            if oldest < last and self.watching:  # a start may have to finish it, beside a snapshot whose deletion was undone
                self._blame(f"N6: {path} is deleted, up to record {last}; the oldest snapshot ends with {oldest}")
            log.first_seq = last + 1

    def _snapshot(self, log: Expected, seq: int, path: str, data: bytes) -> None:
        """A snapshot is durable: it must say what the durable records up to its own add up to."""
        self.snapshots_taken += 1
        if seq >= log.end:
            self._blame(f"N6: {path} was taken, and durable is what is below {log.end}")
        elif seq == log.end - 1 and (why := self._misfit(log, data)) is not None:
            self._blame(f"N6: {path} is not what its log replays to: {why}")
        else:
            self.snapshots[path] = data

    def _misfit(self, log: Expected, data: bytes) -> str | None:
        """Why a snapshot is not what all that is durable of its log adds up to."""
        line, _, body = data.partition(b"\n")
        header, held = json.loads(line), msgspec.msgpack.decode(body)
        expected = (len(body), sha256(body).hexdigest(), log.end, log.chain.tip, log.tree.root())
        if (header["bytes"], header["sha256"], header["size"], header["tip"], header["root"]) != expected:
            return f"the header is {header}"
        if held["world"] != self.world.dump(log.name):
            return "the engines"
        return "the keys" if held["keys"] != self.memory.dump(log.name) else None

    def _confirm(self, log: Expected) -> None:
        """What was appended is durable from now on."""
        data = bytes(log.appended)
        log.appended.clear()
        log.named = False
        try:
            for batch in log.chain.read(data):
                for record in batch:
                    log.add(record)
                    self._judge(log, record)
                self._remember(log, batch)
        except Broken as broken:
            self._blame(f"{log.name}: irerd appended what is no log: {broken}")
        for line in _split(data):
            log.tree.add(line)
        log.durable += data

    def _remember(self, log: Expected, batch: list[Rec]) -> None:
        for _, command in groupby(batch, lambda record: record.mono_us):
            first, *rest = command
            if first.idem is not None:
                digest, key = first.idem
                last_seq = rest[-1].seq if rest else first.seq
                self.memory.remember(first.actor, key, Remembered(digest, log.name, first.seq, last_seq, first.time_us))

    def _judge(self, log: Expected, record: Rec) -> None:
        stamp = Stamp(log.name, record.seq, record.time_us, record.mono_us, record.boot_id, record.actor)
        self.world.replay(record.event_type, record.raw, stamp)
        if record.event_type == "log.full":
            self.fulls[log.name] += 1
            if log.records[-2].event_type == "log.full":
                self._blame(f"{log.name} says at {record.seq - 1} that it is full, and again at {record.seq}")
        elif record.event_type == "gate.refused":
            self.refused[record.payload["caller"]] += 1
        elif record.event_type == "gate.refused_many":
            self.refused[record.payload["caller"]] += record.payload["count"]
        if record.idem is not None:
            key = record.idem[1]
            before = self.keys.setdefault((record.actor, key), (log.name, record.seq))
            if before != (log.name, record.seq):
                self._blame(f"N3: {record.actor} used key {key} once; {log.name} has it at {before[1]} and {record.seq}")
        self.promises.judge(log.name, record)
        self._submitted(log.name, record)

    # --- from one process to the next -----------------------------------------------------------------------------------

    def process_ended(self) -> None:
        self.watching = False
        for log in self.logs.values():
            log.based = log.named = False

    def recovered(self, disk: SimFiles) -> None:
        """A process has read the logs back and is about to serve."""
        for log in self.logs.values():
            found = self._found(log, disk)
            if not log.based:
                self._rebase(log, found)
            if found[len(log.durable) :] != log.appended:
                self._blame(f"N2: {log.name} holds what nobody wrote")
            paths = [path for path in disk.list(".") if path == log.active or log.closed(path) is not None]
            for path in paths:
                if disk.content(path) != disk.durable(path):
                    self._blame(f"{path}: irerd serves what is not on the medium yet")
            self._confirm(log)
            self._look_at_snapshots(log, disk)
            self._look_at_checkpoint(log, disk)
        self.watching = True

    def _found(self, log: Expected, disk: SimFiles) -> bytes:
        """The row of all bytes as the files have it, and what was rightly pruned before the first of them."""
        if disk.stat_path(log.active) is None:
            return b""
        parts = {first: disk.content(path) for path in disk.list(".") if (first := log.closed(path)) is not None}
        active = disk.content(log.active)
        parts[json.loads(active.partition(b"\n")[0])["seq"]] = active  # its second name, where there is one, is the same file
        row = b""
        log.first_seq = min(parts)
        if log.first_seq:
            for first, last in log.ends().items():
                if first < log.first_seq and (first, last) not in log.pruned | set(_prunes(bytes(log.appended))):
                    self._blame(f"N1: {log.name} begins with {log.first_seq}, and no record lets go of {first} to {last}")
            row = bytes(log.durable + log.appended)[: log.starts.get(log.first_seq, 0)]
        for first in sorted(parts):
            if first and log.starts.get(first) != len(row):
                self._blame(f"N2: {log.name} has a segment from {first} on at {len(row)}; they began at {log.starts}")
            row += parts[first]
        return row

    def _rebase(self, log: Expected, found: bytes) -> None:
        """What recovery kept, before it or anyone writes more: all that was durable, and the beginning of what was appended."""
        log.based = True
        if not found.startswith(log.durable):
            self._blame(f"N1: {log.name} had {log.end} durable records, which are not what it begins with now")
            return
        rest = found[len(log.durable) :]
        if not log.appended.startswith(rest):
            self._blame(f"N2: {log.name} has {len(rest)} bytes behind record {log.end - 1} that were never appended there")
        log.appended[:] = rest
        log.starts = {first: place for first, place in log.starts.items() if place < len(found)}

    def _look_at_checkpoint(self, log: Expected, disk: SimFiles) -> None:
        """N8: what was signed is what was written, is durable, and is never taken back."""
        found = checkpoint_of(disk, log.name)
        if not isinstance(found, Note):
            if found is not None or log.name in self.sealed:
                self._blame(f"N8: {log.name} had a checkpoint: {found}")
            return
        at = found.checkpoint
        lines = bytes(log.durable).split(b"\n", at.size)[: at.size]
        if at.size > log.end or Edge().extend([leaf_hash(line + b"\n") for line in lines]).root() != at.root:
            self._blame(f"N8: {log.name} with {log.end} records is not what was signed at {at.size}")
        if at.size < self.sealed.get(log.name, 0):
            self._blame(f"N8: {log.name} was signed at {self.sealed[log.name]}, and then at {at.size}")
        self.sealed[log.name] = at.size

    def _look_at_snapshots(self, log: Expected, disk: SimFiles) -> None:
        """Those on disk are the ones that were found good when they were taken."""
        folder = f"log.d/{log.name}/snap"
        names = disk.list(folder) if disk.stat_path(folder) is not None else []
        for path in (f"{folder}/{name}" for name in names):
            if log.snapshot(path) is not None and self.snapshots.get(path) != disk.content(path):
                self._blame(f"N6: {path} is not what was written, or was never durable")

    # --- at the end -------------------------------------------------------------------------------------------------------

    def replayed(self, disk: SimFiles) -> None:
        """All records there ever were, from the first, beside every snapshot that is kept."""
        world = World(ENGINES)
        for log in self.logs.values():
            batches = Scan(_reader(bytes(log.durable)), len(log.durable)).batches()
            snapshots = [read_snapshot(disk, log.name, header.seq) for header in listed(disk, log.name).headers]
            result = replay_equals(world, Keys(), log.name, batches, snapshots)
            if result.records != log.end or not result.equal:
                self._blame(f"N6: {log.name} has {log.end} records; replayed, they say {result}")

    # --- questions --------------------------------------------------------------------------------------------------------

    def record(self, log: str, seq: int) -> Rec | None:
        records = self.logs[log].records
        return records[seq] if 0 <= seq < len(records) else None

    def root(self, log: str, size: int) -> bytes | None:
        """Of the tree over so many durable records; None where there are not so many."""
        expected = self.logs[log]
        if size > expected.end:
            return None
        lines = bytes(expected.durable).split(b"\n", size)[:size]
        return Edge().extend([leaf_hash(line + b"\n") for line in lines]).root()

    def command(self, log: str, seq: int) -> list[Rec]:
        """The records of the command that ends with this one: in its batch each command has a moment of its own."""
        records = self.logs[log].records
        first = seq
        while first and (records[first - 1].mono_us, records[first - 1].batch) == (records[seq].mono_us, records[seq].batch):
            first -= 1
        return records[first : seq + 1]

    def same_as(self, states: Mapping[str, Any]) -> list[str]:
        """Engines whose live state is not what their durable records add up to (N6)."""
        return [name for name, state in self.world.states.items() if states[name] != state]

    def same_keys(self, keys: Keys) -> list[str]:
        """Logs of which other keys are remembered than their durable records hold."""
        return [log for log in self.logs if keys.dump(log) != self.memory.dump(log)]


def _reader(data: bytes) -> Callable[[int, int], bytes]:
    return lambda offset, size: data[offset : offset + size]


def _prunes(data: bytes) -> Iterator[tuple[int, int]]:
    for line in _split(data):
        if b'"event_type":"log.prune"' in line:
            payload = json.loads(line)["payload"]
            yield payload["first_seq"], payload["last_seq"]
