"""The provenance graph as an index beside the logs, and what is read from it: the work of a child process, never of the daemon.

`views/graph.sqlite` holds nothing that the logs do not say. It is brought up to date when somebody asks, so that no write ever
waits for it; it may be deleted, and is made anew when its version, the ledger or the history of a log is another than it was.
"""

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from core.paging import Room
from core.provenance.links import RELATIONS, End, Link, Thing, told
from core.provenance.reads import Edge, Node
from core.times import time_text
from state.fs import Files, RealFiles, make_directory, read_at
from state.ledger import read_ledger
from state.scan import line_blocks, offset_near
from state.seal import BadLine, Record, parse, parse_many
from state.segment import survey

if TYPE_CHECKING:
    import apsw
    from prov.model import ProvDocument

VERSION = "2"
INDEX = "views/graph.sqlite"
BLOCK_BYTES = 262_144
COMMIT_RECORDS = 20_000
CATCH_UP_S = 20.0
"""What is not indexed by then is told as being on its way; the next call goes on."""
BUSY_MS = 25_000
LOGS_MAX = 64
PIECE_CHARS = 30_000

_SCHEMA = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE log(number INTEGER PRIMARY KEY, name TEXT UNIQUE, next_seq INTEGER, tip TEXT, moment TEXT, first INTEGER);
CREATE TABLE type(number INTEGER PRIMARY KEY, name TEXT UNIQUE);
CREATE TABLE thing(number INTEGER PRIMARY KEY, kind TEXT, name TEXT, UNIQUE(kind, name));
CREATE TABLE record(id INTEGER PRIMARY KEY, type INTEGER, time_us INTEGER, run INTEGER);
CREATE INDEX record_run ON record(run, id) WHERE run IS NOT NULL;
CREATE TABLE edge(record INTEGER, source INTEGER, target INTEGER, relation INTEGER, rule TEXT, cost REAL,
  PRIMARY KEY(record, source, target, relation)) WITHOUT ROWID;
"""
"""The id of a record is its seq times LOGS_MAX plus the number of its log; the one of a thing is below zero."""


class Behind(Exception):
    """The index is still being made; the next call goes on where this one ended."""

    def __init__(self, records: int) -> None:
        super().__init__(f"{records} records to go")
        self.records = records


class _Log(NamedTuple):
    number: int
    next_seq: int
    tip: str
    moment: str
    first: int


class Index:
    def __init__(self, state_dir: Path, durable: Mapping[str, int], now_s: Callable[[], float] = time.monotonic) -> None:
        """`durable` gives the last durable record of each sound log."""
        self._files: Files = RealFiles(state_dir)
        self._durable = durable
        self._now_s = now_s
        self._db = self._opened(state_dir)
        self._things: dict[Thing, int] = {}
        self._types: dict[str, int] = {}

    def _opened(self, state_dir: Path) -> "apsw.Connection":
        import apsw

        make_directory(self._files, "views")
        path = state_dir / INDEX
        for _ in range(2):
            db = apsw.Connection(str(path))
            try:
                db.set_busy_timeout(BUSY_MS)
                db.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-16384")
                with db:
                    self._made(db)
                return db
            except (apsw.NotADBError, apsw.CorruptError):
                db.close()
                for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
                    name.unlink(missing_ok=True)
        raise OSError("the index cannot be made")

    def _made(self, db: "apsw.Connection") -> None:
        """With its tables, and of this ledger."""
        ledger = read_ledger(self._files)
        mark = f"{VERSION} {ledger.id if ledger is not None else ''}"
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "meta" in tables and list(db.execute("SELECT value FROM meta WHERE name = 'of'")) == [(mark,)]:
            return
        self._clear(db, tables, mark)

    def _clear(self, db: "apsw.Connection", tables: Iterable[str], mark: str) -> None:
        for name in tables:
            db.execute(f'DROP TABLE "{name}"')
        db.execute(_SCHEMA)
        db.execute("INSERT INTO meta VALUES('of', ?)", (mark,))

    def close(self) -> None:
        self._db.close()

    # --- catching up --------------------------------------------------------------------------------------------------

    def catch_up(self) -> None:
        """Take in what has become durable since. Raises Behind when that takes too long."""
        until_s = self._now_s() + CATCH_UP_S
        with self._db:
            self._check_history()
        while True:
            with self._db:  # two at once take turns, and each goes on where the other ended
                left = sum(self._some(log, last) for log, last in sorted(self._durable.items()))
            if not left:
                return
            if self._now_s() >= until_s:
                raise Behind(left)

    def _check_history(self) -> None:
        """A log that was restored or repaired has another past: then all is made anew."""
        for name, known in self._logs().items():
            last = self._durable.get(name)
            if last is None or not known.tip:
                continue
            tip = next((record.event_hash for record in _records(self._files, name, known.next_seq - 1, known.next_seq - 1)), None)
            if last + 1 < known.next_seq or tip not in (None, known.tip):
                [(mark,)] = self._db.execute("SELECT value FROM meta WHERE name = 'of'")
                self._clear(self._db, ("meta", "log", "type", "thing", "record", "edge"), str(mark))
                return

    def _logs(self) -> dict[str, _Log]:
        return {
            str(name): _Log(*rest) for name, *rest in self._db.execute("SELECT name, number, next_seq, tip, moment, first FROM log")
        }

    def _some(self, name: str, last: int) -> int:
        """Index a part of one log; answer how many of its records are left."""
        self._things.clear()  # of numbers that were given in a transaction that failed, and of too many
        self._types.clear()
        logs = self._logs()
        for each in sorted(self._durable):
            if each not in logs:
                self._db.execute("INSERT INTO log VALUES(?, ?, 0, '', '', 0)", (len(logs) + 1, each))
                logs[each] = _Log(len(logs) + 1, 0, "", "", 0)
        numbers = {each: log.number for each, log in logs.items()}
        known, names = logs[name], frozenset(numbers)
        begin = max(known.next_seq, survey(self._files, name).first_seq)  # older ones may have been let go
        moment, first, seq, tip = known.moment, known.first, begin, known.tip
        rows: list[tuple[int, int, int, int | None]] = []
        edges: list[tuple[int, int, int, int, str | None, float | None]] = []
        for record in _records(self._files, name, begin, min(last, begin + COMMIT_RECORDS - 1)):
            seq, tip = record.seq + 1, record.event_hash
            if (now := f"{record.boot_id} {record.mono_us}") != moment:
                moment, first = now, record.seq
            idem = record.idem[1] if record.idem is not None else None
            of_command = first if first != record.seq else None
            found = told(record.event_type, record.payload, record.stamp(name), idem, names, of_command)
            if found is None:
                continue
            id = record.seq * LOGS_MAX + known.number
            run = self._thing(Thing("run", found.run)) if found.run is not None else None
            rows.append((id, self._type(record.event_type), record.time_us, run))
            edges += [self._edge(id, link, numbers) for link in found.links]
        self._db.executemany("INSERT OR IGNORE INTO record VALUES(?, ?, ?, ?)", rows)
        self._db.executemany("INSERT OR IGNORE INTO edge VALUES(?, ?, ?, ?, ?, ?)", edges)
        if seq == begin <= last:
            seq = last + 1  # what cannot be read is not in the graph
            tip = ""
        self._db.execute(
            "UPDATE log SET next_seq = ?, tip = ?, moment = ?, first = ? WHERE name = ?", (seq, tip, moment, first, name)
        )
        return max(0, last + 1 - seq)

    def _edge(self, record: int, link: Link, numbers: Mapping[str, int]) -> tuple[int, int, int, int, str | None, float | None]:
        source, target = self._id(link.source, numbers), self._id(link.target, numbers)
        return record, source, target, RELATIONS.index(link.relation), link.rule, link.cost

    def _id(self, end: End, numbers: Mapping[str, int]) -> int:
        return -self._thing(end) if isinstance(end, Thing) else end.seq * LOGS_MAX + numbers[end.log]

    def _thing(self, thing: Thing) -> int:
        number = self._things.get(thing)
        if number is None:
            found = list(self._db.execute("SELECT number FROM thing WHERE kind = ? AND name = ?", thing))
            if found:
                number = int(found[0][0])
            else:
                self._db.execute("INSERT INTO thing(kind, name) VALUES(?, ?)", thing)
                number = self._db.last_insert_rowid()
            self._things[thing] = number
        return number

    def _type(self, name: str) -> int:
        number = self._types.get(name)
        if number is None:
            self._db.execute("INSERT OR IGNORE INTO type(name) VALUES(?)", (name,))
            [(number,)] = self._db.execute("SELECT number FROM type WHERE name = ?", (name,))
            self._types[name] = number
        return number

    # --- reading ------------------------------------------------------------------------------------------------------

    def counts(self, run_id: str | None) -> tuple[int, int]:
        """Nodes and edges, of a run or of all."""
        if run_id is None:
            [(records,)] = self._db.execute("SELECT count(*) FROM record")
            [(things,)] = self._db.execute("SELECT count(*) FROM thing")
            [(edges,)] = self._db.execute("SELECT count(*) FROM edge")
            return records + things, edges
        run = self._run(run_id)
        of_run = "SELECT id FROM record WHERE run = :run"
        [(nodes,)] = self._db.execute(
            f"SELECT count(*) FROM ({of_run} UNION SELECT source FROM edge WHERE record IN ({of_run})"
            f" UNION SELECT target FROM edge WHERE record IN ({of_run}))",
            {"run": run},
        )
        [(edges,)] = self._db.execute(f"SELECT count(*) FROM edge WHERE record IN ({of_run})", {"run": run})
        return nodes, edges

    def _run(self, run_id: str) -> int:
        found = list(self._db.execute("SELECT number FROM thing WHERE kind = 'run' AND name = ?", (run_id,)))
        return int(found[0][0]) if found else 0

    def page(self, run_id: str | None, limit: int, after: int, room: Room | None) -> tuple[list[Node], list[Edge], int, int | None]:
        """Nodes and edges of some records, how many those are, and where the next page begins."""
        nodes: dict[int, Node] = {}
        edges: list[Edge] = []
        names = {log.number: name for name, log in self._logs().items()}
        taken, last = 0, after
        for id in self._ids(run_id, after, limit + 1):
            found = list(self._db.execute("SELECT source, target, relation, rule, cost FROM edge WHERE record = ?", (id,)))
            ends = dict.fromkeys([id, *[end for row in found for end in row[:2]]])
            fresh = {end: self._node(end, names) for end in ends if end not in nodes}
            rows = [
                Edge(_name(source, names, nodes, fresh), _name(target, names, nodes, fresh), RELATIONS[relation], rule, cost)
                for source, target, relation, rule, cost in found
            ]
            if taken == limit or (room is not None and not all([room.take(row) for row in [*fresh.values(), *rows]]) and taken):
                return list(nodes.values()), edges, taken, last
            nodes |= fresh
            edges += rows
            taken, last = taken + 1, id
        return list(nodes.values()), edges, taken, None

    def _ids(self, run_id: str | None, after: int, limit: int) -> list[int]:
        if run_id is None:
            rows = self._db.execute("SELECT id FROM record WHERE id > ? ORDER BY id LIMIT ?", (after, limit))
        else:
            run = self._run(run_id)
            rows = self._db.execute("SELECT id FROM record WHERE run = ? AND id > ? ORDER BY id LIMIT ?", (run, after, limit))
        return [int(id) for (id,) in rows]

    def _node(self, id: int, names: Mapping[int, str]) -> Node:
        if id < 0:
            [(kind, name)] = self._db.execute("SELECT kind, name FROM thing WHERE number = ?", (-id,))
            return Node(f"{kind}:{name}", kind, name)
        found = list(self._db.execute("SELECT name, time_us FROM record JOIN type ON type = number WHERE id = ?", (id,)))
        label, time_us = found[0] if found else ("", None)
        place = f"{names[id % LOGS_MAX]}:{id // LOGS_MAX}"
        return Node(place, "record", label, None if time_us is None else time_text(time_us))


def _name(id: int, names: Mapping[int, str], *nodes: Mapping[int, Node]) -> str:
    return next(known[id].id for known in nodes if id in known)


def _records(files: Files, name: str, first: int, last: int) -> Iterator[Record]:
    """Durable records of a log that goes on being written, each with its hash checked. Ends early at one that is not sound."""
    while first <= last:
        segments = survey(files, name).segments
        holding = [segment for segment in segments if segment.first_seq <= first]
        segment = holding[-1] if holding else (segments[0] if segments else None)
        if segment is None:
            return
        before, first = first, max(first, segment.first_seq)
        try:
            fd = files.open(segment.path, os.O_RDONLY)
        except FileNotFoundError:
            continue  # it was closed or pruned meanwhile
        try:
            size = files.stat(fd).size

            def read(offset: int, length: int, fd: int = fd) -> bytes:
                return read_at(files, fd, offset, length)

            for record in _in_file(read, offset_near(read, size, first), size):
                if record.seq > last:
                    return
                if record.seq >= first:
                    yield record
                    first = record.seq + 1
        finally:
            files.close(fd)
        if first == before:
            return


def _in_file(read: Callable[[int, int], bytes], offset: int, size: int) -> Iterator[Record]:
    for block in line_blocks(read, offset, size, BLOCK_BYTES):
        records = parse_many(block, offset)
        if records is None:
            try:
                for line in block:
                    yield parse(line, offset)
            except BadLine:
                return  # the end of what is durable, or damage, which audit.verify tells
        else:
            yield from records


# --- the jobs -------------------------------------------------------------------------------------------------------------


def graph(request: Mapping[str, Any]) -> dict[str, Any]:
    """A page of the graph: the work behind `provenance.graph`."""
    params = request["params"]
    index = Index(Path(request["state_dir"]), request["durable"])
    try:
        index.catch_up()
        nodes, edges, _, after = index.page(params["run_id"], params["limit"], params["after"], Room())
        node_count, edge_count = index.counts(params["run_id"])
    except Behind as behind:
        return {"behind": behind.records}
    finally:
        index.close()
    return {
        "nodes": [_plain(node) for node in nodes],
        "edges": [_plain(edge) for edge in edges],
        "node_count": node_count,
        "edge_count": edge_count,
        "after": after,
    }


def _plain(row: Node | Edge) -> dict[str, Any]:
    return {name: value for name in row.__struct_fields__ if (value := getattr(row, name)) is not None}


def export(request: Mapping[str, Any], show: Callable[[str], None]) -> dict[str, Any]:
    """A page of the graph as a PROV document, in pieces: the work behind `provenance.export_audit`."""
    params = request["params"]
    index = Index(Path(request["state_dir"]), request["durable"])
    try:
        index.catch_up()
        nodes, edges, records, after = index.page(params["run_id"], params["limit"], params["after"], None)
    except Behind as behind:
        return {"behind": behind.records}
    finally:
        index.close()
    made = document(nodes, edges, str(params["ledger"]))
    text = made.get_provn() if params["format"] == "prov-n" else made.serialize(format="json", sort_keys=True)
    assert isinstance(text, str)
    for place in range(0, len(text), PIECE_CHARS):
        show(text[place : place + PIECE_CHARS])
    raw = text.encode()
    return {"records": records, "bytes": len(raw), "sha256": sha256(raw).hexdigest(), "after": after}


AGENTS = frozenset({"actor", "subject", "customer"})
_UNSAFE = re.compile(r"[^A-Za-z0-9-]")


def document(nodes: Iterable[Node], edges: Iterable[Edge], ledger: str) -> "ProvDocument":
    """W3C PROV: records are activities, who acted are agents, all else are entities. An id says its kind, and no two are alike.

    A statement stands once, however many records make it: said twice it would be two under one blank id, which the schema of
    PROV-JSON has no room for.
    """
    from prov.model import ProvDocument

    made = ProvDocument()
    made.add_namespace("irer", "urn:irer:vocabulary:")
    spaces: dict[str, Any] = {}
    kinds: dict[str, str] = {}

    def place(id: str, kind: str) -> Any:
        if kind not in spaces:
            spaces[kind] = made.add_namespace(kind, f"urn:irer:{ledger}:{kind}:")
        name = id if kind == "record" else id.removeprefix(f"{kind}:")
        return spaces[kind][_UNSAFE.sub(lambda found: "".join(f"_{byte:02x}" for byte in found[0].encode()), name)]

    for node in nodes:
        kinds[node.id] = node.kind
        attributes = {"prov:label": node.id if node.kind == "record" else node.label}
        if node.kind == "record":
            if node.label:
                attributes["irer:event_type"] = node.label
            made.activity(place(node.id, "record"), node.time, node.time, attributes)
        elif node.kind in AGENTS:
            made.agent(place(node.id, node.kind), attributes)
        else:
            made.entity(place(node.id, node.kind), attributes)
    said: set[tuple[Any, ...]] = set()
    for edge in edges:
        more = {f"irer:{name}": value for name, value in (("rule", edge.rule), ("cost", edge.cost)) if value is not None}
        source, target = place(edge.source, kinds[edge.source]), place(edge.target, kinds[edge.target])
        statement = _statement(edge.relation, kinds[edge.source], kinds[edge.target])
        if (key := (statement, edge.source, edge.target, *more.items())) not in said:
            said.add(key)
            getattr(made, statement)(source, target, other_attributes=more)
    return made


def _statement(relation: str, source_kind: str, target_kind: str) -> str:
    """What PROV calls this relation between two such ends."""
    match relation:
        case "done-by":
            return "wasAssociatedWith"
        case "used":
            return "wasAssociatedWith" if target_kind in AGENTS else "used"
        case "generated-by":
            return "wasGeneratedBy"
        case "caused-by":
            return "wasInformedBy"
        case "derived-from" if "record" not in (source_kind, target_kind) and not {source_kind, target_kind} & AGENTS:
            return "wasDerivedFrom"
        case _:
            return "wasInfluencedBy"
