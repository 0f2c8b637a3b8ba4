"""What the logs must hold, worked out from the bytes alone by a reader of its own: it shares no code with `state/`.

It follows every write and sync of the running process, reads the files again after each start, and holds the promises N1 to N4
and N6 against what callers were told.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from core.engine import Stamp
from core.engines import ENGINES
from core.world import World

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


class Expected:
    """One log: what is on disk for sure, and what was appended behind it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.records: list[Rec] = []
        self.chain = Chain()
        self.durable = bytearray()
        self.appended = bytearray()
        """Written and not known to be synced."""
        self.based = False
        """Whether this process's recovery has been held against the two."""
        self.tallies: list[tuple[int, ...]] = [(0,) * len(KINDS)]
        """How many of each kind there are below each seq."""

    @property
    def end(self) -> int:
        return len(self.records)

    def add(self, record: Rec) -> None:
        self.records.append(record)
        last = self.tallies[-1]
        if record.event_type in KINDS:
            place = KINDS.index(record.event_type)
            last = (*last[:place], last[place] + 1, *last[place + 1 :])
        self.tallies.append(last)


class Oracle:
    def __init__(self, blame: Callable[[str], None], submitted: Callable[[str, Rec], None]) -> None:
        self._blame = blame
        self._submitted = submitted
        """Says whether somebody asked for a record that is now durable."""
        self.logs = {name: Expected(name) for name in ("engine_state", "gate_log")}
        self.world = World(ENGINES)
        """All that is durable, applied."""
        self.watching = False
        self.refused: Counter[str] = Counter()
        """Refusals on record, by caller."""
        self.keys: dict[tuple[str, str], tuple[str, int]] = {}

    def expected(self, path: str) -> Expected | None:
        return self.logs.get(path[:-6]) if path.endswith(".jsonl") else None

    # --- while a process runs -----------------------------------------------------------------------------------------

    def before_write(self, path: str, content: Callable[[str], bytes]) -> None:
        log = self.expected(path)
        if log is not None and not self.watching and not log.based:
            self._rebase(log, content(path))

    def wrote(self, path: str, data: bytes) -> None:
        log = self.expected(path)
        if log is not None:
            log.appended += data

    def synced(self, path: str) -> None:
        log = self.expected(path)
        if self.watching and log is not None:
            self._confirm(log, bytes(log.appended))
            log.appended.clear()

    def _confirm(self, log: Expected, data: bytes) -> None:
        """These bytes are durable from now on."""
        try:
            for batch in log.chain.read(data):
                for record in batch:
                    log.add(record)
                    self._judge(log, record)
        except Broken as broken:
            self._blame(f"{log.name}: irerd appended what is no log: {broken}")
        log.durable += data

    def _judge(self, log: Expected, record: Rec) -> None:
        stamp = Stamp(log.name, record.seq, record.time_us, record.mono_us, record.boot_id, record.actor)
        self.world.replay(record.event_type, record.raw, stamp)
        if record.event_type == "gate.refused":
            self.refused[record.payload["caller"]] += 1
        elif record.event_type == "gate.refused_many":
            self.refused[record.payload["caller"]] += record.payload["count"]
        if record.idem is not None:
            key = record.idem[1]
            before = self.keys.setdefault((record.actor, key), (log.name, record.seq))
            if before != (log.name, record.seq):
                self._blame(f"N3: {record.actor} used key {key} once; {log.name} has it at {before[1]} and {record.seq}")
        self._submitted(log.name, record)

    # --- from one process to the next -----------------------------------------------------------------------------------

    def process_ended(self) -> None:
        self.watching = False
        for log in self.logs.values():
            log.based = False

    def recovered(self, content: Callable[[str], bytes], medium: Callable[[str], bytes]) -> None:
        """A process has read the logs back and is about to serve."""
        for log in self.logs.values():
            path = f"{log.name}.jsonl"
            found = content(path)
            if not log.based:
                self._rebase(log, found)
            if found[len(log.durable) :] != log.appended:
                self._blame(f"N2: {log.name} holds what nobody wrote")
            if found != medium(path):
                self._blame(f"{log.name}: irerd serves what is not on the medium yet")
            self._confirm(log, bytes(log.appended))
            log.appended.clear()
        self.watching = True

    def _rebase(self, log: Expected, found: bytes) -> None:
        """What recovery kept, before it or anyone writes more: all that was durable, and the beginning of what was appended."""
        log.based = True
        if not found.startswith(log.durable):
            self._blame(f"N1: {log.name} had {log.end} durable records, which are not what it begins with now")
            return
        rest = found[len(log.durable) :]
        if not log.appended.startswith(rest) and not (not log.durable and _is_genesis(rest)):
            self._blame(f"N2: {log.name} has {len(rest)} bytes behind record {log.end - 1} that were never appended there")
        log.appended[:] = rest

    # --- questions --------------------------------------------------------------------------------------------------------

    def record(self, log: str, seq: int) -> Rec | None:
        records = self.logs[log].records
        return records[seq] if 0 <= seq < len(records) else None

    def same_as(self, states: Mapping[str, Any]) -> list[str]:
        """Engines whose live state is not what their durable records add up to (N6)."""
        return [name for name, state in self.world.states.items() if states[name] != state]


def _is_genesis(data: bytes) -> bool:
    return data.count(b"\n") == 1 and b'"commit":[0,0,1],"event_type":"log.genesis"' in data
