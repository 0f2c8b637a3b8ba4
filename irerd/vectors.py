"""Vectors beside the log: segments of float32 rows that can be mapped and compared one by one, and what the data engine's methods
read.

A view: what stands here follows from the records of `event_log`, is brought up to date when somebody asks, and is made anew
where it is missing, of another version, or of another history. It is never what was acknowledged. Rows that were let go of are
marked, and a segment with a quarter of such rows is written anew without them. A search compares every vector of one model, so
its answer is exact.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import trio
from msgspec import Meta

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
    text_of,
)
from core.data.model import LOG, Data
from core.data.network import topology
from core.data.reads import (
    LIMIT_DEFAULT,
    AskEvents,
    DataPage,
    EventPage,
    Hit,
    Nearest,
    PlaceRow,
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


class _Compared(msgspec.Struct, forbid_unknown_fields=True):
    """What a worker found."""

    found: list[list[tuple[float, Annotated[int, Meta(ge=0, le=2**53)], Hash]]]


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
        self._forget()

    def _forget(self) -> None:
        self.tables: dict[str, Table] = {}
        self.position = 0
        self._tip = ""
        self._named = 0

    # --- finding ----------------------------------------------------------------------------------------------------------

    async def nearest(self, model: str, query: bytes, k: int) -> tuple[list[Found], int]:
        """The k nearest vectors of a model that are durable now, and how many were compared."""
        found, compared = await self.nearest_each(model, [query], k)
        return found[0], compared

    async def nearest_each(self, model: str, queries: Sequence[bytes], k: int) -> tuple[list[list[Found]], int]:
        """The same for several at once."""
        for _ in range(TRIES):
            try:
                async with self._turn:
                    await self._catch_up()
                    table = self.tables.get(model)
                    if table is None or not table.live:
                        return [[] for _ in queries], 0
                    if table.live * len(queries) <= SMALL_ROWS:
                        return await self._host.offload(self._compare, table, queries, k), table.live
                    compared, spec = table.live, self._spec(table, queries, k)
                found = await self._searched(spec, len(queries))
                async with self._turn:
                    if found is None:
                        return await self._host.offload(self._compare, table, queries, k), table.live
                return found, compared
            except _Lost:
                async with self._turn:
                    await self._host.offload(self._check)
        raise OSError("the vectors beside the log come and go")

    def _spec(self, table: Table, queries: Sequence[bytes], k: int) -> bytes:
        asked = {"dimension": table.dimension, "queries": [text_of(query) for query in queries], "k": k}
        return json.dumps({**asked, "segments": self._segments(table)}).encode()

    def _segments(self, table: Table) -> list[dict[str, Any]]:
        return [
            {"place": str(self._state_dir / FOLDER / segment.name), "rows": segment.rows, "dead": segment.dead}
            for segment in table.segments
        ]

    async def _searched(self, spec: bytes, many: int) -> list[list[Found]] | None:
        """By a worker; None where there is none. Raises _Lost where a segment went meanwhile, as one written anew."""
        try:
            said = await self._host.work("nearest", spec, timeout_s=SEARCH_S_MAX)
            found = [[Found(*row) for row in rows] for rows in msgspec.json.decode(said, type=_Compared).found]
        except WorkFailed as failed:
            if failed.code == "gone":
                raise _Lost from None
            if failed.code in ("not-installed", "busy"):
                return None
            raise
        except msgspec.MsgspecError:
            raise WorkFailed("bad-output") from None
        if len(found) != many:
            raise WorkFailed("bad-output")
        return found

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

    def _take(self, record: Record, fresh: dict[str, list[tuple[bytes, bytes]]], gone: list[int]) -> None:
        if record.event_type == told.EmbeddingGenerated.event_type:
            said = msgspec.json.decode(record.payload, type=_Vector)
            try:
                raw = raw_of(said.vector, said.dimension)
            except NoEmbedding:
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
        self._opened, self._saved = True, 0
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
        read = await self._host.offload(lambda: [(seq, *self._text(seq)) for seq in records])
        measured = await self._host.offload(lambda: [(seq, event, said.vector()) for seq, event, said in read if said.metric])
        read = [each for each in read if not each[2].metric]
        vectors = await self.embedded(model, [said.text for _, _, said in read]) if read else []
        texts = [(seq, event, raw) for (seq, event, _), raw in zip(read, vectors, strict=True)]
        made: list[dict[str, Any]] = []
        for own, some in ((model, texts), (SERIES_MODEL, measured)):
            if not priors:
                made += [{"event": event, **_told_vector(raw)} for _, event, raw in some]
            elif some:
                stored = await self._near(own, [raw for _, _, raw in some if raw])
                made += await self._host.offload(self._with_priors, some, stored)
        return made

    def _with_priors(self, texts: Sequence[tuple[int, str, bytes]], found_each: Sequence[list[Found]]) -> list[dict[str, Any]]:
        """Each with what is near it among those that are stored, and those of the same batch that come before it."""
        stored, made = iter(found_each), list[dict[str, Any]]()
        extra: list[tuple[int, str, Sequence[float]]] = []
        for seq, event, raw in texts:
            if not raw:
                made.append({"event": event, **_told_vector(raw)})
                continue
            query = numbers(raw)
            found = next(stored) + nearest(query, extra, PRIORS_MAX)
            near = sorted((each for each in found if each.event != event), key=rank)[:PRIORS_MAX]
            extra.append((seq, event, query))
            nearest_ones = [{"event": each.event, "relevance": max(-1.0, min(1.0, each.relevance))} for each in near]
            made.append({"event": event, "vector": text_of(raw), "priors": nearest_ones})
        return made

    async def _near(self, model: str, queries: Sequence[bytes]) -> list[list[Found]]:
        """What is near each; where no worker can say it, slowly."""
        try:
            return (await self.nearest_each(model, queries, PRIORS_MAX + 1))[0]
        except WorkFailed:
            async with self._turn:
                return await self._host.offload(self._compare, self.tables[model], queries, PRIORS_MAX + 1)

    def _text(self, seq: int) -> tuple[str, _Text]:
        [record] = self._dispatch.stored(LOG, seq, seq)
        return sha256(record.payload).hexdigest(), msgspec.json.decode(record.payload, type=_Text)

    def said(self, seqs: Sequence[int]) -> list[tuple[str, str]]:
        """When each was told, and how its text begins. Runs away from the loop."""
        found: list[tuple[str, str]] = []
        for seq in seqs:
            [record] = self._dispatch.stored(LOG, seq, seq)
            what = msgspec.json.decode(record.payload, type=_Text)
            text = what.text if not what.metric else " ".join((what.metric, *what.tags))
            found.append((time_text(record.time_us), text if len(text) <= TEXT_SHOWN else f"{text[: TEXT_SHOWN - 1]}…"))
        return found


def _hashed(text: str) -> bytes:
    try:
        return embed(text)
    except NoEmbedding:
        return b""


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
        model, query = await self._query(params)
        daemon = self._daemon
        await daemon.dispatch.settled()
        began_us = daemon.host.mono_us()
        try:
            found, compared = await daemon.vectors.nearest(model, query, params.k)
        except WorkFailed as failed:
            text = "the worker that compares vectors ended early. Ask again; if it stays so, see: irerctl doctor"
            raise Refused("unavailable", text, reason=failed.code) from None
        except OSError:
            text = "the vectors beside the log cannot be read or written just now. Free some space, then ask again: irerctl doctor"
            raise Refused("unavailable", text, reason="disk") from None
        took_ms = (daemon.host.mono_us() - began_us) / 1_000
        hits = [each for each in found if each.event in self._data.nodes]
        nodes = [self._data.nodes[each.event] for each in hits]
        said = await daemon.host.offload(daemon.vectors.said, [node.seq for node in nodes])
        rows = [
            Hit(each.event, max(-1.0, min(1.0, each.relevance)), node.type, at, node.actor, text)
            for each, node, (at, text) in zip(hits, nodes, said, strict=True)
        ]
        return Nearest(rows, model, len(query) // 4, compared, VECTORS_MAX, took_ms)

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
