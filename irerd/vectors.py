"""Vectors beside the log: segments of float32 rows that can be mapped and compared one by one, and what the data engine's methods
read.

A view: what stands here follows from the records of `event_log`, is brought up to date when somebody asks, and is made anew
where it is missing, of another version, or of another history. It is never what was acknowledged. Rows that were let go of are
marked, and a segment with a quarter of such rows is written anew without them. A search compares every vector of one model, so
its answer is exact; only one that asks for less looks into the lists of an index (`irerd.indexes`).
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import msgspec
import trio
from msgspec import Meta

from core.data import index as heads
from core.data import told
from core.data.commands import ANEW_BATCH, PRIORS_MAX, VECTORS_MAX, check_model, packed
from core.data.embedding import (
    MODEL,
    OWN,
    SERIES_MODEL,
    Found,
    NoEmbedding,
    bytes_of,
    check_text,
    embed,
    nearest,
    numbers,
    rank,
    raw_of,
    stored_raw,
    text_of,
)
from core.data.model import LOG, Data
from core.data.network import topology
from core.data.reads import (
    LIMIT_DEFAULT,
    AskEvents,
    AskIndex,
    DataPage,
    EventPage,
    Hit,
    IndexPage,
    Nearest,
    PlaceRow,
    RecallRow,
    SearchData,
    SeenEvent,
    TopologyPage,
    place_after,
)
from core.data.telemetry import embed_series
from core.engine import Actor, Errand, JobEnded, Refused
from core.fields import Hash
from core.paging import Room, order_after
from core.times import time_text, time_us
from irerd.dispatch import Dispatch
from irerd.host import Host
from irerd.indexes import Indexes, check_choice
from irerd.journal import journal
from irerd.session import Stream
from irerd.workers import WorkFailed
from state.fs import make_directory, read_all, read_at, small_write, write_all
from state.log import Log
from state.seal import Record

if TYPE_CHECKING:
    from irerd.daemon import Daemon

VERSION = 1
FOLDER = "views/vectors"
MANIFEST = "views/vectors.json"
KEY = 40
"""Bytes beside a vector: its record as 8 bytes, and the id of its event."""
SEGMENT_ROWS = 65_536
REWRITE_AT = 0.25
SMALL_ROWS = 1_000
"""So many comparisons are made in a thread of the daemon: a worker, and NumPy, would take longer to start."""
SAVE_RECORDS = 16_384
TAKEN_RECORDS = 4_096
"""Records that are taken in at once: to find where some begin costs as much as to read a hundred of them."""
CHUNK_RECORDS = 256
NEAR_RECORDS = 8
"""To find where a record begins costs as much as to read so many."""
ROOM_BYTES_MIN = 67_108_864
RETRY_S = 5.0
SEARCH_S_MAX = 60.0
EMBED_S_MAX = 60.0
MODEL_RETRY_S = 60.0
"""A model that is configured and not installed is looked for again after so long: it may be installed meanwhile."""
PROBE = "a text like any other"
ABSENT = ("not-installed", "other-files")
TRIES = 3
TEXT_SHOWN = 160
LOOKED_MAX = 100_000
"""Records that one page of events looks through; the next one goes on where it ended."""
FAMILIES = frozenset(("local", "chain", "vector", "model", "embedding"))

Tell = Callable[[dict[str, Any]], None]


class Segment(msgspec.Struct, forbid_unknown_fields=True):
    """One pair of files: vectors, and whose they are. `dead` rows are passed over."""

    name: str
    rows: int = 0
    dead: list[int] = []


class Table(msgspec.Struct, forbid_unknown_fields=True):
    """All vectors of one model, in the order of their records."""

    dimension: int
    segments: list[Segment] = []

    @property
    def live(self) -> int:
        return sum(segment.rows - len(segment.dead) for segment in self.segments)


class _Manifest(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    ledger: str
    position: int
    tip: str
    named: int
    """Segments that ever got a name."""
    tables: dict[str, Table]


_Many = Annotated[int, Meta(ge=0, le=2**40)]


class _Compared(msgspec.Struct, forbid_unknown_fields=True):
    """What a worker found, and how."""

    found: list[list[tuple[float, Annotated[int, Meta(ge=0, le=2**53)], Hash]]]
    compared: _Many
    method: Literal["exact", "approximate"] = "exact"
    because: heads.Because | None = None
    probes: _Many | None = None
    lists: _Many | None = None
    recall: heads.Share = 1.0
    sampled: _Many | None = None
    vectors: list[str] = []
    """Of texts, empty where a text has none."""
    among: list[list[tuple[float, _Many]]] = []
    """Of each query the nearest of those before it, by their places."""


class Wanted(NamedTuple):
    """An approximate search: into so many lists, or until such a share of the nearest is found."""

    probes: int | None = None
    recall: float = heads.RECALL_WANTED


class Looked(NamedTuple):
    """What was found, and how it was looked for."""

    found: list[list[Found]]
    compared: int
    how: dict[str, Any] = {}
    """What an answer says of an approximate search, or of one that was exact instead."""


class _Embedded(msgspec.Struct, forbid_unknown_fields=True):
    """What a worker made of texts: a vector each, nothing where a text has none."""

    vectors: list[str]


class _Vector(msgspec.Struct):
    event: str
    model: str
    dimension: int
    vector: str
    replaces: int | None = None


class _Forgotten(msgspec.Struct):
    records: list[int]


class _Text(msgspec.Struct):
    """What an event is found by: a text, or what was measured."""

    text: str = ""
    metric: str = ""
    tags: list[str] = []
    values: list[float] = []

    def vector(self) -> bytes:
        """Of what was measured."""
        return embed_series(self.metric, self.tags, self.values)


class _Lost(OSError):
    """A file is not what it was when it was written: the view is made anew."""


class Vectors:
    def __init__(
        self, host: Host, dispatch: Dispatch, state_dir: Path, logs: Mapping[str, Log], durable_seq: Callable[[str], int]
    ) -> None:
        self._host = host
        self._dispatch = dispatch
        self._state_dir = state_dir
        self._logs = logs
        self._durable_seq = durable_seq
        self._turn = trio.Lock()
        self._absent: set[str] = set()
        """Models whose absence was told of in the journal."""
        self._opened = False
        self._saved = 0
        self.indexes = Indexes(host, FOLDER, self._index_spec)
        self._begun = False
        self._forget()

    def _forget(self) -> None:
        self.tables: dict[str, Table] = {}
        self.position = 0
        self._tip = ""
        self._named = 0

    # --- finding ----------------------------------------------------------------------------------------------------------

    async def nearest(self, model: str, query: bytes, k: int) -> tuple[list[Found], int]:
        """The k nearest vectors of a model that are durable now, and how many were compared."""
        looked = await self.look(model, [query], k)
        return looked.found[0], looked.compared

    async def look(self, model: str, queries: Sequence[bytes], k: int, wanted: Wanted | None = None) -> Looked:
        """The same for several at once, or for one by an index."""
        for _ in range(TRIES):
            try:
                async with self._turn:
                    await self._catch_up()
                    table = self.tables.get(model)
                    if table is None or not table.live:
                        return Looked([[] for _ in queries], 0, {"because": "small"} if wanted else {})
                    lists, how = await self._lists(model, table, k, wanted) if wanted else (None, {})
                    if table.live * len(queries) <= SMALL_ROWS:
                        return Looked(await self._host.offload(self._compare, table, queries, k), table.live, how)
                    asked = {"queries": [text_of(query) for query in queries], "k": k, "index": lists}
                    spec = self._spec(table, asked)
                said = await self._searched(spec, len(queries))
                if said is None:
                    async with self._turn:
                        found = await self._host.offload(self._compare, table, queries, k)
                    return Looked(found, table.live, {"because": "none"} if wanted else {})
                if said.because == "damaged":
                    await self._drop_index(model)
                found = [[Found(*row) for row in rows] for rows in said.found]
                return Looked(found, said.compared, how or _said(said) if wanted else {})
            except _Lost:
                async with self._turn:
                    await self._host.offload(self._check)
        raise OSError("the vectors beside the log come and go")

    def _spec(self, table: Table, asked: dict[str, Any]) -> bytes:
        return json.dumps({**asked, "dimension": table.dimension, "segments": self._segments(table)}).encode()

    def _segments(self, table: Table) -> list[dict[str, Any]]:
        return [
            {"place": str(self._state_dir / FOLDER / segment.name), "rows": segment.rows, "dead": segment.dead}
            for segment in table.segments
        ]

    async def _searched(self, spec: bytes, many: int) -> _Compared | None:
        """By a worker; None where there is none. Raises _Lost where a segment went meanwhile, as one written anew."""
        try:
            said = msgspec.json.decode(await self._host.work("nearest", spec, timeout_s=SEARCH_S_MAX), type=_Compared)
        except WorkFailed as failed:
            if failed.code == "gone":
                raise _Lost from None
            if failed.code in ("not-installed", "busy"):
                return None
            raise
        except msgspec.MsgspecError:
            raise WorkFailed("bad-output") from None
        if len(said.found) != (sum(map(bool, said.vectors)) if len(said.vectors) == many else many):
            raise WorkFailed("bad-output")
        return said

    # --- by an index ------------------------------------------------------------------------------------------------------

    async def _lists(self, model: str, table: Table, k: int, wanted: Wanted) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        """What a worker is to look into, or why there is nothing. One that covers too little is made anew, and used meanwhile."""
        if table.live < heads.ROWS_MIN:
            return None, {"because": "small"}
        if k > heads.K_MAX:
            return None, {"because": "many"}
        kept = await self._host.offload(self.indexes.kept, model)
        segments = {segment.name: segment.rows for segment in table.segments}
        covered = self.indexes.covered(kept, segments) if kept is not None else 0
        if sum(segments.values()) - covered > max(heads.ROWS_MIN, covered // heads.FRESH_SHARE):
            self.indexes.want(model)
        if not covered:
            return None, {"because": "none" if self.indexes.failed(model) else "building"}
        place = str(self._state_dir / FOLDER / self.indexes.name(model))
        return {"place": place, "model": model, "probes": wanted.probes, "recall": wanted.recall}, {}

    async def _drop_index(self, model: str) -> None:
        async with self._turn:
            await self._host.offload(self.indexes.drop, model)
        self.indexes.want(model)

    async def _index_spec(self, model: str) -> tuple[bytes, int] | None:
        """What a worker is to index; None where nothing is stored."""
        async with self._turn:
            await self._catch_up()
            table = self.tables.get(model)
            if table is None or not table.live:
                return None
            spec = {"model": model, "dimension": table.dimension, "segments": self._segments(table)}
            return json.dumps(spec).encode(), self.indexes.age

    async def indexed(self, model: str) -> IndexPage:
        """What there is of an index."""
        async with self._turn:
            await self._catch_up()
            table = self.tables.get(model)
            kept = await self._host.offload(self.indexes.kept, model) if table is not None else None
        segments = {segment.name: segment.rows for segment in table.segments} if table is not None else {}
        making, head = self.indexes.making.get(model), kept.head if kept is not None else None
        return IndexPage(
            model,
            "ready" if head is not None else "making" if making is not None else "none",
            table.live if table is not None else 0,
            min(self.indexes.covered(kept, segments), table.live) if kept is not None and table is not None else 0,
            head.lists if head is not None else 0,
            head.sampled if head is not None else 0,
            [RecallRow(level.noise, *_told_step(step)) for level in head.levels for step in level.steps] if head else [],
            kept.bytes if kept is not None else 0,
            making.progress.done if making is not None else None,
            making.progress.total if making is not None else None,
            self.indexes.failed(model) or None,
        )

    # --- other work on all of them ------------------------------------------------------------------------------------------

    async def work(self, job: str, model: str, asked: dict[str, Any], timeout_s: float, patient: bool = False) -> bytes | None:
        """What a worker's job says about all vectors of a model; None where there are none. Few of them travel with the question.
        Raises WorkFailed."""
        for _ in range(TRIES):
            async with self._turn:
                await self._catch_up()
                table = self.tables.get(model)
                if table is None or not table.live:
                    return None
                stored = await self._host.offload(self._stored, table)
            try:
                spec = json.dumps({**asked, "stored": stored}).encode()
                return await self._host.work(job, spec, timeout_s=timeout_s, patient=patient)
            except WorkFailed as failed:
                if failed.code != "gone":
                    raise
                async with self._turn:
                    await self._host.offload(self._check)
        raise WorkFailed("gone")

    def _stored(self, table: Table) -> dict[str, Any]:
        if table.live <= SMALL_ROWS:
            rows = [(seq, event, text_of(bytes_of(vector))) for seq, event, vector in self._rows(table)]
            return {"dimension": table.dimension, "rows": rows}
        return {"dimension": table.dimension, "segments": self._segments(table)}

    def _compare(self, table: Table, queries: Sequence[bytes], k: int) -> list[list[Found]]:
        """Without NumPy. Runs away from the loop."""
        rows = list(self._rows(table)) if len(queries) > 1 else self._rows(table)
        return [nearest(numbers(query), rows, k) for query in queries]

    def _rows(self, table: Table) -> Iterator[tuple[int, str, Sequence[float]]]:
        size = table.dimension
        for segment in table.segments:
            keys, values = self._read(segment, ".ids", KEY), numbers(self._read(segment, ".f32", 4 * size))
            dead = set(segment.dead)
            for row in range(segment.rows):
                if row not in dead:
                    key = keys[row * KEY : (row + 1) * KEY]
                    yield int.from_bytes(key[:8], "big"), key[8:].hex(), values[row * size : (row + 1) * size]

    def _read(self, segment: Segment, suffix: str, row_bytes: int) -> bytes:
        size = segment.rows * row_bytes
        raw = read_all(self._host.files, f"{FOLDER}/{segment.name}{suffix}") or b""
        if len(raw) < size:
            raise _Lost(segment.name)
        return raw[:size]

    # --- keeping up -------------------------------------------------------------------------------------------------------

    async def catch_up(self) -> None:
        async with self._turn:
            await self._catch_up()

    async def _catch_up(self) -> None:
        oldest = self._oldest()
        while await self._host.offload(self._some, oldest):
            pass

    def _oldest(self) -> int:
        """The record of the oldest event that can be found: each vector that is kept was told after it. 0 while something is
        decided that is not on disk: a failing disk undoes it, and what it let go of can be found again."""
        data = self._dispatch.world.states["data"]
        assert isinstance(data, Data)
        return data.oldest_node() or 0 if self._dispatch.next_seq.get(LOG, 0) - 1 == self._durable_seq(LOG) else 0

    def _some(self, oldest: int) -> bool:
        """One piece of the log; answer whether there is more. Runs away from the loop."""
        if not self._opened:
            self._open()
        if not self.position:  # made anew: most of a long log was let go of
            self.position = oldest
        self.position = max(self.position, self._logs[LOG].first_seq)
        last = self._durable_seq(LOG)
        if self.position > last:
            return False
        if self._host.files.free() < ROOM_BYTES_MIN:
            raise OSError("no room")
        end = min(last, self.position + TAKEN_RECORDS - 1)
        records = self._dispatch.stored(LOG, self.position, end)
        try:
            self._take_in(records)
        except BaseException:
            self._opened = False  # half of it may be there: begin again with what was saved
            raise
        return end < last

    def _take_in(self, records: Sequence[Record]) -> None:
        fresh: dict[str, list[tuple[bytes, bytes]]] = {}
        gone: list[int] = []
        for record in records:
            self._take(record, fresh, gone)
        for model, rows in fresh.items():
            self._append(model, rows)
        rewritten = self._bury(gone)
        self.position, self._tip = records[-1].seq + 1, records[-1].event_hash
        if rewritten or self.position - self._saved >= SAVE_RECORDS:
            self._save()
        for name in rewritten:
            self._unlink(name)
        if rewritten:
            tables = {model: {segment.name: segment.rows for segment in table.segments} for model, table in self.tables.items()}
            self.indexes.tidy(tables)

    def _take(self, record: Record, fresh: dict[str, list[tuple[bytes, bytes]]], gone: list[int]) -> None:
        if record.event_type == told.EmbeddingGenerated.event_type:
            said = msgspec.json.decode(record.payload, type=_Vector)
            raw = stored_raw(said.vector)
            if len(raw) != 4 * said.dimension:
                return
            table = self.tables.setdefault(said.model, Table(said.dimension))
            if table.dimension == said.dimension:
                fresh.setdefault(said.model, []).append((record.seq.to_bytes(8, "big") + bytes.fromhex(said.event), raw))
            if said.replaces is not None:
                gone.append(said.replaces)
        elif record.event_type == "embedding.vector_forgotten":
            gone += msgspec.json.decode(record.payload, type=_Forgotten).records

    def _append(self, model: str, rows: list[tuple[bytes, bytes]]) -> None:
        table = self.tables[model]
        while rows:
            if not table.segments or table.segments[-1].rows >= SEGMENT_ROWS:
                table.segments.append(Segment(self._new_name()))
            segment = table.segments[-1]
            some, rows = rows[: SEGMENT_ROWS - segment.rows], rows[SEGMENT_ROWS - segment.rows :]
            self._write(segment, ".ids", KEY, b"".join(key for key, _ in some))
            self._write(segment, ".f32", 4 * table.dimension, b"".join(raw for _, raw in some))
            segment.rows += len(some)

    def _new_name(self) -> str:
        make_directory(self._host.files, "views")
        make_directory(self._host.files, FOLDER)
        self._named += 1
        return f"{self._named:08d}"

    def _write(self, segment: Segment, suffix: str, row_bytes: int, data: bytes) -> None:
        """Behind the rows that are known; what stands there from a run that ended early goes first."""
        files, size = self._host.files, segment.rows * row_bytes
        fd = files.open(f"{FOLDER}/{segment.name}{suffix}", os.O_RDWR | os.O_CREAT | os.O_APPEND)
        try:
            found = files.stat(fd).size
            if found < size:
                raise _Lost(segment.name)
            if found > size:
                files.truncate(fd, size)
            write_all(files, fd, data)
        finally:
            files.close(fd)

    # --- letting go ---------------------------------------------------------------------------------------------------------

    def _bury(self, gone: Sequence[int]) -> list[str]:
        """Mark these records' rows; answer the names of segments that were written anew without such rows."""
        left = list(gone)
        rewritten: list[str] = []
        for model, table in list(self.tables.items()) if left else ():
            for segment in table.segments:
                left = [seq for seq in left if not self._mark(segment, seq)]
            for place, segment in enumerate(table.segments):
                if segment.dead and len(segment.dead) >= REWRITE_AT * segment.rows:
                    rewritten.append(segment.name)
                    table.segments[place] = self._rewritten(segment, table.dimension)
            table.segments = [segment for segment in table.segments if segment.rows]
            if not table.segments:
                del self.tables[model]
        return rewritten

    def _mark(self, segment: Segment, seq: int) -> bool:
        """Whether the record's vector was in this segment. Its rows are in the order of records."""
        fd = self._host.files.open(f"{FOLDER}/{segment.name}.ids", os.O_RDONLY)
        try:
            low, high = 0, segment.rows
            while low < high:
                middle = (low + high) // 2
                at = int.from_bytes(read_at(self._host.files, fd, middle * KEY, 8), "big")
                if at == seq:
                    if middle not in segment.dead:
                        segment.dead.append(middle)
                    return True
                low, high = (middle + 1, high) if at < seq else (low, middle)
            return False
        finally:
            self._host.files.close(fd)

    def _rewritten(self, old: Segment, dimension: int) -> Segment:
        fresh, dead = Segment(self._new_name()), set(old.dead)
        for suffix, size in ((".ids", KEY), (".f32", 4 * dimension)):
            raw = self._read(old, suffix, size)
            live = b"".join(raw[row * size : (row + 1) * size] for row in range(old.rows) if row not in dead)
            self._write(fresh, suffix, size, live)
        fresh.rows = old.rows - len(dead)
        return fresh

    def _unlink(self, name: str) -> None:
        for suffix in (".ids", ".f32"):
            if self._host.files.stat_path(f"{FOLDER}/{name}{suffix}") is not None:
                self._host.files.unlink(f"{FOLDER}/{name}{suffix}")

    # --- its files ----------------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        """What is said of the rows comes after the rows."""
        files = self._host.files
        for table in self.tables.values():
            for segment in table.segments[-1:] if self._saved else table.segments:
                self._sync(segment)
        make_directory(files, "views")
        said = _Manifest(
            VERSION, self._dispatch.ledger.id if self._dispatch.ledger else "", self.position, self._tip, self._named, self.tables
        )
        small_write(files, MANIFEST, msgspec.json.encode(said))
        self._saved = self.position

    def _sync(self, segment: Segment) -> None:
        for suffix in (".ids", ".f32"):
            fd = self._host.files.open(f"{FOLDER}/{segment.name}{suffix}", os.O_RDWR)
            try:
                self._host.files.fdatasync(fd)
            finally:
                self._host.files.close(fd)

    def _open(self) -> None:
        """Go on from what was saved, if it is of this version and this history."""
        if self._begun:  # it goes on from an earlier place, and may name its segments otherwise from there
            self.indexes.begin_anew()
        self._opened, self._saved, self._begun = True, 0, True
        self._forget()
        raw = read_all(self._host.files, MANIFEST)
        try:
            found = msgspec.json.decode(raw, type=_Manifest) if raw is not None else None
        except msgspec.MsgspecError:
            found = None
        if found is None or not self._fits(found):
            self._clear()
            return
        self.tables, self.position, self._tip, self._named = found.tables, found.position, found.tip, found.named
        self._saved = self.position
        self._check()

    def _check(self) -> None:
        """Where a file is shorter than it was, all is made anew from the log."""
        for table in self.tables.values():
            for segment in table.segments:
                for suffix, row_bytes in ((".ids", KEY), (".f32", 4 * table.dimension)):
                    found = self._host.files.stat_path(f"{FOLDER}/{segment.name}{suffix}")
                    if found is None or found.size < segment.rows * row_bytes:
                        self._forget()
                        self._saved = 0
                        self._clear()
                        return

    def _fits(self, found: _Manifest) -> bool:
        ledger = self._dispatch.ledger
        if found.version != VERSION or ledger is None or found.ledger != ledger.id:
            return False
        before = found.position - 1
        if not self._logs[LOG].first_seq <= before <= self._durable_seq(LOG):
            return False
        return self._dispatch.stored(LOG, before, before)[0].event_hash == found.tip

    def _clear(self) -> None:
        files = self._host.files
        self.indexes.begin_anew()
        if files.stat_path(MANIFEST) is not None:
            files.unlink(MANIFEST)
        if files.stat_path(FOLDER) is not None:
            for name in files.list(FOLDER):
                files.unlink(f"{FOLDER}/{name}")

    # --- the errand: texts get their embeddings -----------------------------------------------------------------------------

    async def derive(self, errand: Errand, progress: Tell) -> JobEnded:
        """Vectors of texts, and what is near each of them. It writes nothing but the view, and may be begun anew at any point.

        The text that it is for is durable; another that was told a moment ago may not be, and is left to the next errand.
        """
        durable = self._durable_seq(LOG)
        records = [seq for seq in map(int, errand.params["records"]) if seq <= durable][:ANEW_BATCH]
        model, near = str(errand.params.get("model", MODEL)), bool(errand.params.get("near", True))
        while True:
            try:
                if not records:  # a model that is configured is tried, before anything rests on it
                    await self.embedded(model, [PROBE])
                    return JobEnded(errand.id, True, "ok")
                if not near:  # else what they are compared with is brought up to date first
                    await self.catch_up()
                made = await self._made(model, records, near)
                return JobEnded(errand.id, True, "ok", "", {"made": made})
            except WorkFailed as failed:
                if failed.code in ("busy", "closed", "no-process"):
                    await trio.sleep(RETRY_S)
                elif failed.code in ABSENT or not records:  # it may be installed meanwhile, and then goes on by itself
                    self._tell_absent(model, failed.code)
                    await trio.sleep(MODEL_RETRY_S)
                else:
                    return JobEnded(errand.id, False, failed.code)
            except OSError:  # the disk has no room, or fails: texts wait until it does not
                await trio.sleep(RETRY_S)

    def _tell_absent(self, model: str, code: str) -> None:
        if model not in self._absent:
            self._absent.add(model)
            text = f"{model} is configured (data.model) and cannot be used: {code}. Texts wait for it"
            journal().warning(f'{text}. Type: pip install "irer[embeddings]"', model=model, reason=code)

    async def embedded(self, model: str, texts: Sequence[str]) -> list[bytes]:
        """Vectors of texts by one of irer's own models, empty for a text that has none. Raises WorkFailed where a worker makes
        them and cannot."""
        if model == MODEL:
            return await self._host.offload(lambda: [_hashed(text) for text in texts])
        said = await self._host.work("embed", json.dumps({"model": model, "texts": list(texts)}).encode(), timeout_s=EMBED_S_MAX)
        try:
            vectors = [raw_of(text, OWN[model]) if text else b"" for text in msgspec.json.decode(said, type=_Embedded).vectors]
        except (msgspec.MsgspecError, NoEmbedding):
            raise WorkFailed("bad-output") from None
        if len(vectors) != len(texts):
            raise WorkFailed("bad-output")
        return vectors

    async def _made(self, model: str, records: Sequence[int], priors: bool) -> list[dict[str, Any]]:
        read = await self._host.offload(self._texts, records)
        measured: list[tuple[int, str, bytes]] = []
        if any(said.metric for _, _, said in read):
            measured = await self._host.offload(lambda: [(seq, event, said.vector()) for seq, event, said in read if said.metric])
        texts = [(seq, event, said.text) for seq, event, said in read if not said.metric]
        if not priors:
            vectors = await self.embedded(model, [text for _, _, text in texts]) if texts else []
            made = [{"event": event, **_told_vector(raw)} for (_, event, _), raw in zip(texts, vectors, strict=True)]
            return made + [{"event": event, **_told_vector(raw)} for _, event, raw in measured]
        return await self._near_texts(model, texts) + await self._near_ones(SERIES_MODEL, measured)

    async def _near_texts(self, model: str, texts: Sequence[tuple[int, str, str]]) -> list[dict[str, Any]]:
        """A worker that compares them hashes them too: that costs more than to send them."""
        said = await self._by_worker(model, [text for _, _, text in texts], "texts") if model == MODEL and texts else None
        if said is not None and len(said.vectors) == len(texts):
            return _joined([(seq, event, vector) for (seq, event, _), vector in zip(texts, said.vectors, strict=True)], said)
        vectors = await self.embedded(model, [text for _, _, text in texts]) if texts else []
        return await self._near_ones(model, [(seq, event, raw) for (seq, event, _), raw in zip(texts, vectors, strict=True)])

    async def _near_ones(self, model: str, some: Sequence[tuple[int, str, bytes]]) -> list[dict[str, Any]]:
        queries = [raw for _, _, raw in some if raw]
        said = await self._by_worker(model, [text_of(raw) for raw in queries], "queries") if queries else None
        if said is not None:
            return _joined([(seq, event, text_of(raw) if raw else "") for seq, event, raw in some], said)
        return await self._host.offload(self._with_priors, some, await self._near(model, queries) if queries else [])

    async def _by_worker(self, model: str, what: Sequence[str], name: str) -> _Compared | None:
        """What is near each of a batch, stored or before it in the batch; None where they are few, or no worker can say it."""
        for _ in range(TRIES):
            async with self._turn:
                await self._catch_up()
                table = self.tables.get(model)
                if table is None or table.live * len(what) <= SMALL_ROWS:
                    return None
                spec = self._spec(table, {name: what, "k": PRIORS_MAX + 1, "among": PRIORS_MAX})
            try:
                said = await self._searched(spec, len(what))
                return said if said is not None and len(said.among) == len(said.found) else None
            except WorkFailed:
                return None
            except _Lost:
                async with self._turn:
                    await self._host.offload(self._check)
        return None

    def _with_priors(self, texts: Sequence[tuple[int, str, bytes]], found_each: Sequence[list[Found]]) -> list[dict[str, Any]]:
        """Each with what is near it among those that are stored, and those of the same batch that come before it."""
        stored, made = iter(found_each), list[dict[str, Any]]()
        extra: list[tuple[int, str, Sequence[float]]] = []
        for seq, event, raw in texts:
            near: list[Found] = []
            if raw:
                query = numbers(raw)
                near = next(stored) + nearest(query, extra, PRIORS_MAX)
                extra.append((seq, event, query))
            made.append(_with_near(event, text_of(raw) if raw else "", near))
        return made

    async def _near(self, model: str, queries: Sequence[bytes]) -> list[list[Found]]:
        """What is near each; where no worker can say it, slowly."""
        try:
            return (await self.look(model, queries, PRIORS_MAX + 1)).found
        except WorkFailed:
            async with self._turn:
                return await self._host.offload(self._compare, self.tables[model], queries, PRIORS_MAX + 1)

    def _texts(self, seqs: Sequence[int]) -> list[tuple[int, str, _Text]]:
        """What these records say, in their order. Runs away from the loop."""
        found: list[tuple[int, str, _Text]] = []
        at = 0
        while at < len(seqs):  # those that stand close together are read together
            last = at
            while last + 1 < len(seqs) and 0 < seqs[last + 1] - seqs[last] <= NEAR_RECORDS:
                last += 1
            wanted = set(seqs[at : last + 1])
            for record in self._dispatch.stored(LOG, seqs[at], seqs[last]):
                if record.seq in wanted:
                    text = msgspec.json.decode(record.payload, type=_Text)
                    found.append((record.seq, sha256(record.payload).hexdigest(), text))
            at = last + 1
        return found

    def said(self, seqs: Sequence[int]) -> list[tuple[str, str]]:
        """When each was told, and how its text begins. Runs away from the loop."""
        found: list[tuple[str, str]] = []
        for seq in seqs:
            [record] = self._dispatch.stored(LOG, seq, seq)
            what = msgspec.json.decode(record.payload, type=_Text)
            text = what.text if not what.metric else " ".join((what.metric, *what.tags))
            found.append((time_text(record.time_us), text if len(text) <= TEXT_SHOWN else f"{text[: TEXT_SHOWN - 1]}…"))
        return found


def _told_step(step: heads.Step) -> tuple[int, float, float]:
    return step.probes, step.at_10, step.at_100


def _said(found: _Compared) -> dict[str, Any]:
    """What an answer says of how it was found."""
    if found.method == "exact":
        return {"because": found.because, "lists": found.lists}
    said = {"method": found.method, "recall": found.recall, "probes": found.probes}
    return {**said, "lists": found.lists, "sampled": found.sampled}


def _hashed(text: str) -> bytes:
    try:
        return embed(text)
    except NoEmbedding:
        return b""


def _with_near(event: str, vector: str, found: Sequence[Found]) -> dict[str, Any]:
    """A text with its vector, and the nearest of these."""
    if not vector:
        return {"event": event, "code": "no-words"}
    near = sorted((each for each in found if each.event != event), key=rank)[:PRIORS_MAX]
    priors = [{"event": each.event, "relevance": max(-1.0, min(1.0, each.relevance))} for each in near]
    return {"event": event, "vector": vector, "priors": priors}


def _joined(texts: Sequence[tuple[int, str, str]], said: _Compared) -> list[dict[str, Any]]:
    """Each with what a worker found near it: stored ones, and those of the same batch before it. Raises WorkFailed."""
    stored, among = iter(said.found), iter(said.among)
    before: list[tuple[int, str]] = []
    made = []
    for seq, event, vector in texts:
        near: list[Found] = []
        if vector:
            near = [Found(*row) for row in next(stored)]
            for relevance, place in next(among):
                if place >= len(before):
                    raise WorkFailed("bad-output")
                near.append(Found(relevance, *before[place]))
            before.append((seq, event))
        made.append(_with_near(event, vector, near))
    return made


def _told_vector(raw: bytes) -> dict[str, str]:
    return {"vector": text_of(raw)} if raw else {"code": "no-words"}


class DataPorts:
    """The methods that look into the log, at vectors, or at the whole network."""

    def __init__(self, daemon: "Daemon") -> None:
        self._daemon = daemon
        self._readers = trio.CapacityLimiter(1)

    @property
    def _data(self) -> Data:
        data = self._daemon.world.states["data"]
        assert isinstance(data, Data)
        return data

    # --- search -------------------------------------------------------------------------------------------------------------

    async def search(self, params: SearchData, actor: Actor, stream: Stream) -> Nearest:
        check_choice(params.method, params.probes, params.recall)
        model, query = await self._query(params)
        wanted = Wanted(params.probes, params.recall or heads.RECALL_WANTED) if params.method == "approximate" else None
        daemon = self._daemon
        await daemon.dispatch.settled()
        began_us = daemon.host.mono_us()
        try:
            looked = await daemon.vectors.look(model, [query], params.k, wanted)
        except WorkFailed as failed:
            text = "the worker that compares vectors ended early. Ask again; if it stays so, see: irerctl doctor"
            raise Refused("unavailable", text, reason=failed.code) from None
        except OSError:
            text = "the vectors beside the log cannot be read or written just now. Free some space, then ask again: irerctl doctor"
            raise Refused("unavailable", text, reason="disk") from None
        took_ms = (daemon.host.mono_us() - began_us) / 1_000
        hits = [each for each in looked.found[0] if each.event in self._data.nodes]
        nodes = [self._data.nodes[each.event] for each in hits]
        said = await daemon.host.offload(daemon.vectors.said, [node.seq for node in nodes])
        rows = [
            Hit(each.event, max(-1.0, min(1.0, each.relevance)), node.type, at, node.actor, text)
            for each, node, (at, text) in zip(hits, nodes, said, strict=True)
        ]
        how = {"method": "exact", "recall": 1.0, **looked.how}
        return Nearest(rows, model, len(query) // 4, looked.compared, VECTORS_MAX, took_ms, **how)

    async def index(self, params: AskIndex, actor: Actor, stream: Stream) -> IndexPage:
        model, vectors = params.model or self._data.model, self._daemon.vectors
        if model != self._data.model and model not in self._data.models:
            text = f"no vectors are stored of {model}. There are of: {', '.join(sorted(self._data.models)) or 'none yet'}"
            raise Refused("not-found", text, fields=[("model", "no stored model")])
        if params.make and params.stop:
            raise Refused("invalid-argument", "give make or stop, not both", fields=[("stop", "not beside make")])
        await self._daemon.dispatch.settled()
        try:
            if params.stop:
                vectors.indexes.stop(model)
            elif params.make:
                vectors.indexes.make(model)
            return await vectors.indexed(model)
        except OSError:
            text = "the vectors beside the log cannot be read or written just now. Free some space, then ask again: irerctl doctor"
            raise Refused("unavailable", text, reason="disk") from None

    async def _query(self, params: SearchData) -> tuple[str, bytes]:
        if sum(each is not None for each in (params.query, params.series, params.vector)) != 1:
            text = "give what to look for: a text as query, a series, or a vector with its model. See: irerctl data search --help"
            raise Refused("invalid-argument", text, fields=[("query", "one of query, series and vector")])
        own = self._data.model
        if params.series is not None:
            if params.model not in (None, SERIES_MODEL):
                text = f"irer makes vectors of telemetry with {SERIES_MODEL}. Leave model out"
                raise Refused("invalid-argument", text, reason="model", fields=[("model", f"not {SERIES_MODEL}")])
            series = params.series
            made = await self._daemon.host.offload(embed_series, series.metric, series.tags, series.values)
            return SERIES_MODEL, made
        if params.query is not None:
            if params.model not in (None, own):
                text = f"irer makes vectors of {own} now. Leave model out, or make the vector yourself and give that"
                raise Refused("invalid-argument", text, reason="model", fields=[("model", f"not {own}")])
            return own, await self._vector_of(own, params.query)
        assert params.vector is not None
        known = sorted(self._data.models)
        if params.model is None or params.model not in {*known, own}:
            text = f"name the model that made the vector; vectors are stored of: {', '.join(known) or own}"
            raise Refused("invalid-argument", text, reason="model", fields=[("model", "no stored model")])
        check_model(self._data, params.model, len(params.vector))
        return params.model, packed(params.vector, "vector")

    async def _vector_of(self, model: str, query: str) -> bytes:
        try:
            check_text(query)
            [raw] = await self._daemon.vectors.embedded(model, [query])
            if not raw:
                raise NoEmbedding(f"{model} knows no part of it")
            return raw
        except NoEmbedding as error:
            raise Refused("invalid-argument", f"query: {error}", reason="text", fields=[("query", str(error))]) from None
        except WorkFailed as failed:
            if failed.code in ABSENT:
                text = f'{model} is not installed any more, or is another one. Type: pip install "irer[embeddings]"'
                raise Refused("failed-precondition", text, reason=failed.code) from None
            text = "the worker that makes vectors of texts ended early. Ask again; if it stays so, see: irerctl doctor"
            raise Refused("unavailable", text, reason=failed.code) from None

    # --- events -------------------------------------------------------------------------------------------------------------

    async def events(self, params: AskEvents, actor: Actor, stream: Stream) -> EventPage:
        """From the newest that is on disk backwards, a chunk at a time and off the loop."""
        daemon = self._daemon
        newest = daemon.durable_seq(LOG)
        cursor = daemon.cursors.text({LOG: newest + 1})
        after = order_after("data.events", params.after)
        last = newest if after is None else min(newest, after - 1)
        since_us = _since(params.since)
        limit, oldest, looked = params.limit or LIMIT_DEFAULT, daemon.log(LOG).first_seq, 0
        rows: list[SeenEvent] = []
        room = Room()
        while last >= oldest and looked < LOOKED_MAX:
            first = max(oldest, last - CHUNK_RECORDS + 1)
            async with self._readers:
                found, passed = await daemon.host.offload(self._chunk, params, since_us, first, last)
            for row in found:
                if len(rows) == limit or not room.take(row):
                    return EventPage(rows, cursor, str(row.seq + 1))
                rows.append(row)
            looked += last - first + 1
            last = first - 1
            if passed:
                return EventPage(rows, cursor)
        return EventPage(rows, cursor, str(last + 1) if last >= oldest else None)

    def _chunk(self, params: AskEvents, since_us: int, first: int, last: int) -> tuple[list[SeenEvent], bool]:
        """The newest first, and whether what follows is too old."""
        found: list[SeenEvent] = []
        for record in reversed(self._daemon.dispatch.stored(LOG, first, last)):
            if record.time_us < since_us:
                return found, True
            family, _, kind = record.event_type.partition(".")
            if family not in FAMILIES or params.family not in (None, family) or params.type not in (None, kind):
                continue
            plain = msgspec.json.decode(record.payload)
            id = sha256(record.payload).hexdigest()
            found.append(SeenEvent(id, family, kind, record.seq, time_text(record.time_us), record.actor, plain))  # type: ignore[arg-type]
        return found, False

    # --- the network --------------------------------------------------------------------------------------------------------

    async def topology(self, params: DataPage, actor: Actor, stream: Stream) -> TopologyPage:
        await self._daemon.dispatch.settled()
        data = self._data
        cites = {citing: list(cited) for citing, cited in data.network.cites.items()}
        age = {event: data.nodes[event].seq for event in {*data.network.cites, *data.network.cited_by}}
        async with self._readers:
            found = await self._daemon.host.offload(topology, cites, age)
        start, room = place_after("data.topology", params.after), Room()
        rows: list[PlaceRow] = []
        for place in found.places[start : start + (params.limit or LIMIT_DEFAULT)]:
            row = PlaceRow(*place)
            if not room.take(row):
                break
            rows.append(row)
        done = start + len(rows)
        after = str(done) if done < len(found.places) else None
        return TopologyPage(len(found.places), found.edges, found.components, found.cycle_rank, rows, after)


def _since(text: str | None) -> int:
    try:
        return time_us(text) if text is not None else 0
    except ValueError:
        said = f"since: {text} is no time that exists. Write it like 2026-01-31T12:00:00Z"
        raise Refused("invalid-argument", said, fields=[("since", "no time that exists")]) from None
