"""The energy map as tables of SQLite: how the file is written, and how a question to it is answered in a process of its own.

The file holds nothing that the logs do not say, is written whole and put in place at once, and is only ever read after that. A
question is one SELECT: it changes nothing, opens nothing else, and ends by itself.
"""

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.energy.atlas import LIMIT_DEFAULT, MapRow, Piece
from core.fields import INT_MAX
from core.paging import Room

if TYPE_CHECKING:
    import apsw

VERSION = "1"
NAME = "views/atlas.sqlite"
TEMPORARY = f"{NAME}.part"
QUERY_S = 5.0
TEXT_BYTES_MAX = 100_000
COLUMNS_MAX = 64
STEPS = 10_000
"""Of SQLite's machine, between two looks at the clock."""

_SCHEMA = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE node(id TEXT PRIMARY KEY, kind TEXT, name TEXT, value REAL, unit TEXT, provenance TEXT, sigma REAL, regime TEXT,
  seen TEXT) WITHOUT ROWID;
CREATE TABLE edge(source TEXT, target TEXT, relation TEXT, weight REAL, unit TEXT, provenance TEXT, count INTEGER, seen TEXT,
  record TEXT, PRIMARY KEY(source, relation, target)) WITHOUT ROWID;
CREATE TABLE junction(source TEXT PRIMARY KEY, drawn_j REAL, given_j REAL, difference_j REAL, sigma_j REAL) WITHOUT ROWID;
"""
_LAST = "CREATE INDEX edge_target ON edge(target, relation, source)"


class Tables:
    """A file that is being written. Nobody else looks at it; what became of an earlier one is of no interest."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: apsw.Connection | None = None

    def begin(self) -> None:
        import apsw

        self._path.unlink(missing_ok=True)
        with _as_os_error():
            self._db = apsw.Connection(str(self._path))
            # A file that is thrown away where its writing ends early needs no journal, and nobody waits for it to be on the medium.
            self._db.execute("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("BEGIN")
            self._db.execute(_SCHEMA)

    def add(self, piece: Piece) -> None:
        with _as_os_error():
            self._many("INSERT OR REPLACE INTO node VALUES(?,?,?,?,?,?,?,?,?)", (_node(each) for each in piece.nodes))
            self._many("INSERT OR REPLACE INTO edge VALUES(?,?,?,?,?,?,?,?,?)", (_edge(each) for each in piece.edges))
            self._many("INSERT OR REPLACE INTO junction VALUES(?,?,?,?,?)", (_junction(each) for each in piece.junctions))
            ends = {end: None for edge in piece.edges for end in (edge.start, edge.end)}
            self._many("INSERT OR IGNORE INTO node(id, kind, name) VALUES(?,?,?)", ((id, *_named(id)) for id in ends))

    def end(self, said: Mapping[str, str]) -> None:
        with _as_os_error():
            self._many("INSERT INTO meta VALUES(?,?)", said.items())
            assert self._db is not None
            self._db.execute(_LAST)
            self._db.execute("COMMIT")
        self.close()

    def close(self) -> None:
        if self._db is not None:
            self._db.close(True)
            self._db = None

    def _many(self, sql: str, rows: Iterable[Any]) -> None:
        assert self._db is not None
        self._db.executemany(sql, rows)


def _node(each: Any) -> tuple[Any, ...]:
    return each.id, each.kind, each.name, each.value, each.unit, each.provenance, each.sigma, each.regime, each.seen


def _edge(each: Any) -> tuple[Any, ...]:
    ends = each.start, each.end, each.relation
    return *ends, each.weight, each.unit, each.provenance, each.count, each.seen, each.record


def _junction(each: Any) -> tuple[Any, ...]:
    return each.source, each.drawn_j, each.given_j, each.difference_j, each.sigma_j


def _named(id: str) -> tuple[str, str]:
    kind, _, name = id.partition(":")
    return kind, name


@contextmanager
def _as_os_error() -> Iterator[None]:
    """A full disk is a full disk, whoever found it."""
    import apsw

    try:
        yield
    except apsw.Error as error:
        raise OSError(f"{type(error).__name__}: {error}") from None


# --- a question -------------------------------------------------------------------------------------------------------------


def query(request: Mapping[str, Any]) -> dict[str, Any]:
    """What the tables answer to one SELECT: the work behind `eil.query`, in a process of its own."""
    import apsw

    params, shut = request["params"], False
    try:
        db = apsw.Connection(str(Path(request["state_dir"]) / NAME), flags=apsw.SQLITE_OPEN_READONLY)
        [(record,)] = db.execute("SELECT value FROM meta WHERE name = 'record'")
        _shut_in(db)
        shut = True
        return {"record": int(record), **_answer(db, params["sql"], params["limit"] or LIMIT_DEFAULT)}
    except UnicodeError:
        return {"refused": "a text in it is no text"}
    except (apsw.NotADBError, apsw.CorruptError, apsw.CantOpenError, ValueError):
        return {"damaged": True}
    except apsw.InterruptError:
        return {"refused": f"it took longer than {QUERY_S:g} seconds", "late": True}
    except apsw.AuthError:
        return {"refused": "only a SELECT over the tables node, edge, junction and meta is answered"}
    except apsw.ExecTraceAbort:
        return {"refused": "one statement at a time is answered"}
    except apsw.Error as error:
        return {"refused": str(error)[:300]} if shut else {"damaged": True}


def _shut_in(db: "apsw.Connection") -> None:
    """Nothing but looking at these tables, and not for long."""
    import apsw

    looks = {apsw.SQLITE_SELECT, apsw.SQLITE_READ, apsw.SQLITE_FUNCTION, apsw.SQLITE_RECURSIVE}
    db.execute("PRAGMA temp_store=MEMORY")
    db.limit(apsw.SQLITE_LIMIT_LENGTH, TEXT_BYTES_MAX)
    db.limit(apsw.SQLITE_LIMIT_COLUMN, COLUMNS_MAX)
    db.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)
    until_s = time.monotonic() + QUERY_S
    db.set_progress_handler(lambda: time.monotonic() > until_s, STEPS)
    db.authorizer = lambda does, *_: apsw.SQLITE_OK if does in looks else apsw.SQLITE_DENY


def _answer(db: "apsw.Connection", sql: str, limit: int) -> dict[str, Any]:
    columns: list[str] = []
    statements = 0

    def trace(cursor: "apsw.Cursor", *_: Any) -> bool:
        nonlocal statements
        statements += 1
        columns[:] = [each[0] for each in cursor.get_description()]
        return statements == 1

    db.exec_trace = trace
    rows: list[list[str | float | int | None]] = []
    room, more = Room(), False
    for found in db.execute(sql):
        values = [_value(each) for each in found]
        if len(rows) == limit or not room.take(MapRow(values)):
            more = True
            break
        rows.append(values)
    return {"columns": columns, "rows": rows, "more": more}


def _value(each: Any) -> str | float | int | None:
    """As JSON has it."""
    if isinstance(each, bytes):
        return each.hex()
    if isinstance(each, int) and abs(each) > INT_MAX:
        return float(each)
    return each if not isinstance(each, float) or math.isfinite(each) else None
