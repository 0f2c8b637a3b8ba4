"""The far end as methods: each asks one thing of CouchDB's protocol, checks the answer's form, and tries again what may pass.

Knows nothing of our cache. What a database says about itself (sequences) is opaque: kept and given back as it came.
"""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

import msgspec
import trio

from irerd.couch.failures import Failed, TooLarge
from irerd.couch.http import Answer, Exchange

RETRY_BASE_S = 0.1
RETRY_CAP_S = 20.0
DECODE_HERE_BYTES = 20_000
SEQ_CHARS_MAX = 4_000
HISTORY_MAX = 50
LINE_BYTES_MAX = 1_048_576
"""Of one change in a feed: tens of thousands of conflicts of one document."""
RATHER_LATER = frozenset({408, 425, 429, 500, 502, 503, 504})

T = TypeVar("T")
Seq = int | str
Offload = Callable[..., Awaitable[Any]]


class _Info(msgspec.Struct):
    update_seq: Seq


class _Rev(msgspec.Struct):
    rev: str


class Changed(msgspec.Struct):
    id: str
    changes: list[_Rev]

    @property
    def revs(self) -> list[str]:
        return [change.rev for change in self.changes]


class Page(msgspec.Struct):
    """Some changes, the oldest first, and where the next ones begin."""

    results: list[Changed]
    last_seq: Seq
    more: bool = False
    """Whether others come after these, as far as can be told."""


class _Listed(msgspec.Struct):
    results: list[Changed]
    last_seq: Seq
    pending: Any = None
    """How many come after these. Not every server says so."""


class Fed(Changed):
    """A change as it came, and where the ones after it begin."""

    seq: Seq


class _Line(msgspec.Struct):
    """A line of a feed: a change, the feed's last word, or that it cannot go on."""

    seq: Seq | None = None
    id: str | None = None
    changes: list[_Rev] = []
    last_seq: Seq | None = None
    error: str | None = None


class _Local(msgspec.Struct):
    rev: str = msgspec.field(default="", name="_rev")
    source_last_seq: Seq | None = None
    history: list[dict[str, Any]] = []


class _Absent(msgspec.Struct):
    missing: list[str]


class Verdict(msgspec.Struct):
    """What became of one document; nothing is said of most that were taken."""

    id: str | None = None
    rev: str | None = None
    error: str | None = None


class _Got(msgspec.Struct):
    id: str
    docs: list[dict[str, Any]]


class _BulkGot(msgspec.Struct):
    results: list[_Got]


class Found(NamedTuple):
    """What the far end gave of the revisions that were asked for."""

    documents: list[dict[str, Any]]
    gone: list[str]
    """Documents of which a revision is not there any more."""
    size: int
    """Of the answer, in bytes."""


class Checkpoint:
    """A `_local` document of the far end: how far a replication has come, and how far it had come before."""

    def __init__(self, name: str, local: _Local) -> None:
        self.name = name
        self.rev = local.rev
        self.history = local.history[:HISTORY_MAX]
        steps = [step.get("recorded_seq") for step in local.history]
        self.positions: list[Any] = [local.source_last_seq, *steps]

    def forget(self) -> None:
        """It is of other times: its positions mean nothing any more."""
        self.history, self.positions = [], []

    def knows(self, position: Seq) -> bool:
        return any(type(each) is type(position) and each == position for each in self.positions)


class Database:
    def __init__(
        self, exchange: Exchange, name: str, attempts: int, chance: Callable[[], float], offload: Offload, heartbeat_s: float = 20.0
    ) -> None:
        self._exchange = exchange
        self._path = f"/{quote(name, safe='')}"
        self._name = name
        self._attempts = attempts
        self._chance = chance
        self._offload = offload
        self._heartbeat_ms = max(1, round(heartbeat_s * 1_000))
        self._bulk_get = True

    # --- what is asked ----------------------------------------------------------------------------------------------

    async def update_seq(self) -> Seq:
        async def ask() -> Seq:
            answer = await self._exchange.send("GET", self._path)
            if answer.status == 404:
                text = f"the far end has no database {self._name}. Make it there, or name another in cache.remote.database"
                raise Failed("no-database", text)
            info: _Info = await self._checked(answer, _Info)
            return info.update_seq

        return await self._persist(ask)

    async def checkpoint(self, name: str) -> Checkpoint:
        async def ask() -> Checkpoint:
            answer = await self._exchange.send("GET", f"{self._path}/_local/{quote(name, safe='')}")
            return Checkpoint(name, _Local() if answer.status == 404 else await self._checked(answer, _Local))

        return await self._persist(ask)

    async def record(self, checkpoint: Checkpoint, session: str, position: Seq, counts: Mapping[str, Any]) -> Checkpoint:
        """Put a new position before the others; answer the document as it is then."""
        said = {"session_id": session, "recorded_seq": position, "end_last_seq": position, **counts}

        async def ask() -> Checkpoint | None:
            history = [said, *checkpoint.history][:HISTORY_MAX]
            body: dict[str, Any] = {
                "_id": f"_local/{checkpoint.name}",
                "session_id": session,
                "source_last_seq": position,
                "replication_id_version": 4,
                "history": history,
            }
            if checkpoint.rev:
                body["_rev"] = checkpoint.rev
            answer = await self._exchange.send(
                "PUT", f"{self._path}/_local/{quote(checkpoint.name, safe='')}", body=msgspec.json.encode(body)
            )
            if answer.status == 409:
                return None
            return Checkpoint(checkpoint.name, _Local((await self._checked(answer, Verdict)).rev or "", position, history))

        for _ in range(self._attempts):
            written = await self._persist(ask)
            if written is not None:
                return written
            found = await self.checkpoint(checkpoint.name)  # our own request came through, or another irer has the same id
            if found.history and found.history[0].get("session_id") == session:
                return found
            if (last := next(iter(checkpoint.positions), None)) is not None and not found.knows(last):
                text = "the far end forgot how far it had come while it was asked: it was restored or made anew. Begin another sync"
                raise Failed("busy", text, transient=True)
            checkpoint = found
        raise Failed("busy", "somebody else keeps writing the far end's checkpoint. Is this state directory in use twice?")

    async def revs_diff(self, asked: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        """Of these revisions those that the far end does not have."""
        body = msgspec.json.encode(asked)

        async def ask() -> dict[str, list[str]]:
            answer = await self._exchange.send("POST", f"{self._path}/_revs_diff", body=body)
            absent = await self._checked(answer, dict[str, _Absent])
            if not absent.keys() <= asked.keys():
                raise _bad("named documents that nobody asked about")
            return {key: each.missing for key, each in absent.items()}

        return await self._persist(ask)

    async def bulk_docs(self, body: bytes) -> list[Verdict] | int:
        """The verdicts; or the status where the far end will not have these documents together."""

        async def ask() -> list[Verdict] | int:
            answer = await self._exchange.send("POST", f"{self._path}/_bulk_docs", body=body)
            if answer.status in (400, 413):
                return answer.status
            verdicts: list[Verdict] = await self._checked(answer, list[Verdict])
            return verdicts

        return await self._persist(ask)

    async def changes(self, since: Seq, limit: int) -> Page:
        """The leaves of the documents that changed after this: at most `limit`, and as many as one answer can hold."""
        while True:
            query = {"style": "all_docs", "since": str(since), "limit": str(limit)}
            try:
                listed = await self._persist(partial(self._listed, query))
            except TooLarge:
                if limit == 1:
                    raise Failed("bad-answer", "the far end's list of changes is larger than any may be") from None
                limit //= 2
                continue
            few = len(listed.results) < limit and (not isinstance(listed.pending, int) or listed.pending < 1)
            page = Page(listed.results, listed.last_seq, bool(listed.results) and not few)
            if len(page.results) > limit:
                raise _bad("sent more changes than asked for")
            if len(str(page.last_seq)) > SEQ_CHARS_MAX or (page.results and page.last_seq == since):
                raise _bad("sent a sequence that cannot be used")
            return page

    async def _listed(self, query: dict[str, str]) -> _Listed:
        listed: _Listed = await self._checked(await self._exchange.send("GET", f"{self._path}/_changes", query), _Listed)
        return listed

    async def feed(self, since: Seq) -> AsyncGenerator[Fed, None]:
        """The changes after this as they come, until the far end ends it. Raises Failed at whatever else ends it."""
        query = {"feed": "continuous", "style": "all_docs", "since": str(since), "heartbeat": str(self._heartbeat_ms)}
        rest = bytearray()
        async with aclosing(self._exchange.pieces(f"{self._path}/_changes", query)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Answer):
                    raise _status(piece)
                rest += piece
                *lines, last = rest.split(b"\n")
                rest = bytearray(last)
                for line in lines:
                    if (row := _fed(line)) is not None:
                        yield row
                if len(rest) > LINE_BYTES_MAX:
                    raise _bad("sent a change that is larger than any may be")

    async def bulk_get(self, asked: Sequence[tuple[str, str]]) -> Found:
        """These revisions of these documents. Raises TooLarge."""
        if self._bulk_get:
            body = msgspec.json.encode({"docs": [{"id": id, "rev": rev} for id, rev in asked]})

            async def ask() -> Found | None:
                query = {"revs": "true", "latest": "true"}
                answer = await self._exchange.send("POST", f"{self._path}/_bulk_get", query, body)
                if answer.status in (400, 404, 405, 501):
                    return None
                found = await self._checked(answer, _BulkGot)
                return _sorted(asked, [(each.id, each.docs) for each in found.results], len(answer.body))

            got = await self._persist(ask)
            if got is not None:
                return got
            self._bulk_get = False  # an old server: each document by itself
        documents: list[dict[str, Any]] = []
        gone: list[str] = []
        size = 0
        for id in dict.fromkeys(id for id, _ in asked):
            alone = await self._persist(partial(self._open_revs, [pair for pair in asked if pair[0] == id]))
            documents += alone.documents
            gone += alone.gone
            size += alone.size
        return Found(documents, gone, size)

    async def _open_revs(self, asked: Sequence[tuple[str, str]]) -> Found:
        id = asked[0][0]
        query = {"open_revs": msgspec.json.encode([rev for _, rev in asked]).decode(), "revs": "true", "latest": "true"}
        answer = await self._exchange.send("GET", f"{self._path}/{quote(id, safe='')}", query)
        return _sorted(asked, [(id, await self._checked(answer, list[dict[str, Any]]))], len(answer.body))

    # --- how ----------------------------------------------------------------------------------------------------------

    async def _persist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until it works, or something is wrong that does not pass: exponential waits with full jitter, between them."""
        attempt = 0
        while True:
            try:
                return await ask()
            except Failed as failed:
                attempt += 1
                if not failed.transient or attempt >= self._attempts:
                    raise
                wait_s = self._chance() * min(RETRY_CAP_S, RETRY_BASE_S * 2.0**attempt)
                await trio.sleep(max(wait_s, min(failed.retry_s or 0.0, RETRY_CAP_S)))

    async def _checked(self, answer: Answer, kind: Any) -> Any:
        """The answer's content in this form. Raises Failed for whatever else it is."""
        if not 200 <= answer.status < 300:
            raise _status(answer)
        if len(answer.body) > DECODE_HERE_BYTES:
            return await self._offload(_decoded, answer.body, kind)
        return _decoded(answer.body, kind)


def _status(answer: Answer) -> Failed:
    status = answer.status
    if status in RATHER_LATER:
        text = f"the far end answered {status}: it is overloaded, or something is wrong there"
        return Failed("busy", text, transient=True, retry_s=answer.retry_s)
    if status in (401, 403):
        text = (
            f"the far end answered {status}: it does not know this user, or the user may not do this. Look at "
            "cache.remote.username and the file in cache.remote.password_file, and at the database's members there"
        )
        return Failed("unauthorized", text)
    if 300 <= status < 400:
        return Failed("redirected", "the far end leads elsewhere, and that is not followed. Put its real URL into cache.remote.url")
    if status == 404:
        return Failed("no-database", "the database is gone at the far end. Make it anew, or name another in cache.remote.database")
    return Failed("refused", f"the far end answered {status}. Is it a server of CouchDB's protocol? See its own log")


def _bad(what: str) -> Failed:
    text = f"the far end {what}, so its answers cannot be relied on. Is it a server of CouchDB's protocol?"
    return Failed("bad-answer", text, transient=True)


def _decoded(raw: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError:
        raise _bad("sent something of another form") from None
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        pass
    try:  # what JavaScript writes and is not quite JSON, half of a surrogate pair say, must not stop the documents beside it
        return msgspec.convert(json.loads(raw, parse_int=_number), kind)
    except (ValueError, RecursionError):
        raise _bad("sent something that is no JSON") from None


def _fed(line: bytes | bytearray) -> Fed | None:
    """A change; nothing where the line is a heartbeat or the feed's last word."""
    if not line.strip():
        return None
    said: _Line = _decoded(bytes(line), _Line)
    if said.error is not None:
        raise Failed("busy", "the far end ended its feed of changes with an error. See its own log", transient=True)
    if said.last_seq is not None:
        return None
    if said.seq is None or said.id is None or len(str(said.seq)) > SEQ_CHARS_MAX:
        raise _bad("sent a change without saying of what")
    return Fed(said.id, said.changes, said.seq)


def _number(text: str) -> int | float:
    return int(text) if len(text) < 20 else float(text)


def _sorted(asked: Sequence[tuple[str, str]], found: Sequence[tuple[str, list[dict[str, Any]]]], size: int) -> Found:
    ids = dict.fromkeys(id for id, _ in asked)
    answered = set()
    documents: list[dict[str, Any]] = []
    gone: list[str] = []
    for id, answers in found:
        for answer in answers:
            document = answer.get("ok")
            if id not in ids or (isinstance(document, dict) and document.get("_id") != id):
                raise _bad("sent documents that nobody asked for")
            answered.add(id)
            if isinstance(document, dict):
                documents.append(document)
            elif _is_gone(answer):
                gone.append(id)
            else:
                text = "the far end could not give a document that it says it has. See its own log"
                raise Failed("busy", text, transient=True)
    if answered != ids.keys():
        raise _bad("left documents out of its answer")
    return Found(documents, gone, size)


def _is_gone(answer: dict[str, Any]) -> bool:
    if "missing" in answer:
        return True
    error = answer.get("error")
    said = error.get("error") if isinstance(error, dict) else error
    return said in ("not_found", "missing", "deleted")
