"""A far end that lies, breaks off, redirects, refuses or never ends: each has its code, and none harms or leaks anything.

The answers here are made up, because no sound server gives them; what a real one does is in tests/e2e/test_sync.py.
"""

import gc
import json
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import nullcontext
from typing import Any

import pytest
import trio
import trio.testing

from core.cache.model import Cache
from core.engine import Refused
from irerd.couch import database as database_module
from irerd.couch.beside import beside
from irerd.couch.database import LINE_BYTES_MAX, Checkpoint, Database
from irerd.couch.failures import Failed, TooLarge
from irerd.couch.http import ANSWER_BYTES_MAX, Answer, Http
from irerd.couch.live import Live
from irerd.couch.replicate import Replication


class Told:
    """A far end that says what the test says, and how often it was asked."""

    def __init__(self, *answers: Answer | Failed | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, dict[str, str] | None, bytes | None]] = []

    async def send(self, method: str, path: str, query: dict[str, str] | None = None, body: bytes | None = None) -> Answer:
        self.asked.append((method, path, query, body))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def pieces(self, path: str, query: dict[str, str]) -> AsyncGenerator[bytes | Answer, None]:
        self.asked.append(("FEED", path, query, None))
        for answer in self.answers:
            if isinstance(answer, Exception):
                raise answer
            yield answer.body if answer.status == 200 else answer


def said(body: Any, status: int = 200, retry_s: float | None = None) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, raw, retry_s)


async def offload(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


def database(told: Told, attempts: int = 3) -> Database:
    return Database(told, "db", attempts, lambda: 0.0, offload)


async def failure(told: Told, ask: Callable[[Database], Any]) -> Failed:
    with pytest.raises(Failed) as failed:
        await ask(database(told))
    assert len(failed.value.detail) > 30
    return failed.value


@pytest.mark.parametrize(
    ("status", "code", "times"),
    [
        (401, "unauthorized", 1),
        (403, "unauthorized", 1),
        (404, "no-database", 1),
        (412, "refused", 1),
        (302, "redirected", 1),
        (307, "redirected", 1),
        (429, "busy", 3),
        (500, "busy", 3),
        (503, "busy", 3),
    ],
)
async def test_each_status_has_a_code_and_only_what_may_pass_is_asked_again(status, code, times, autojump_clock):
    told = Told(said({"error": "x", "reason": "hunter2"}, status))
    failed = await failure(told, lambda it: it.update_seq())
    assert (failed.code, len(told.asked)) == (code, times)
    assert "hunter2" not in failed.detail, "the far end's words are not passed on"


async def test_it_waits_as_long_as_it_is_asked_to_but_not_for_ever(autojump_clock):
    began = trio.current_time()
    told = Told(said({}, 429, 7.0), said({}, 503, 99_999.0), said({"update_seq": 5}))
    assert await database(told).update_seq() == 5
    assert trio.current_time() - began == 7.0 + database_module.RETRY_CAP_S


@pytest.mark.parametrize(
    "lie",
    [
        b"<html>",
        b"",
        b"[" * 100_000,
        b'{"results": 3, "last_seq": 1}',
        b'{"results": [], "last_seq": {}}',
        b'{"results": [{"id": 1, "changes": []}], "last_seq": 1}',
        b'{"results": [{"id": "a", "changes": [{"rev": 5}]}], "last_seq": 1}',
        b'{"results": [{"id": "a", "changes": []}, {"id": "b", "changes": []}, {"id": "c", "changes": []}], "last_seq": 1}',
        b'{"results": [{"id": "a", "changes": []}], "last_seq": 0}',
        b'{"results": [], "last_seq": "' + b"x" * 5_000 + b'"}',
    ],
)
async def test_a_lie_about_changes_is_a_bad_answer(lie, autojump_clock):
    assert (await failure(Told(said(lie)), lambda it: it.changes(0, 2))).code == "bad-answer"


@pytest.mark.parametrize(
    "lie",
    [
        {"results": []},
        {"results": [{"id": "a", "docs": []}]},
        {"results": [{"id": "b", "docs": [{"ok": {"_id": "b"}}]}]},
        {"results": [{"id": "a", "docs": [{"ok": {"_id": "b"}}]}]},
        {"results": [{"id": "a", "docs": ["text"]}]},
    ],
)
async def test_documents_that_are_left_out_or_exchanged_are_a_bad_answer(lie, autojump_clock):
    assert (await failure(Told(said(lie)), lambda it: it.bulk_get([("a", "1-x")]))).code == "bad-answer"


async def test_what_is_gone_there_is_said_and_what_is_only_broken_there_is_asked_again(autojump_clock):
    told = Told(said({"results": [{"id": "a", "docs": [{"missing": "1-x"}]}]}))
    assert (await database(told).bulk_get([("a", "1-x")])).gone == ["a"]
    broken = said({"results": [{"id": "a", "docs": [{"error": {"error": "internal_server_error"}}]}]})
    assert (await failure(Told(broken), lambda it: it.bulk_get([("a", "1-x")]))).code == "busy"


async def test_half_a_surrogate_pair_stops_no_other_document():
    told = Told(said(b'{"results": [{"id": "a", "docs": [{"ok": {"_id": "a", "t": "\\ud800"}}]}]}'))
    [document] = (await database(told).bulk_get([("a", "1-x")])).documents
    assert document["t"] == "\ud800"


async def test_a_server_without_bulk_get_is_asked_for_each_document():
    told = Told(said({}, 404), said([{"ok": {"_id": "a/b", "_rev": "1-x"}}]), said([{"missing": "2-y"}]))
    found = await database(told).bulk_get([("a/b", "1-x"), ("c", "2-y")])
    assert [document["_id"] for document in found.documents] == ["a/b"] and found.gone == ["c"]
    assert [path for _, path, _, _ in told.asked] == ["/db/_bulk_get", "/db/a%2Fb", "/db/c"]
    assert told.asked[1][2] == {"open_revs": '["1-x"]', "revs": "true", "latest": "true"}


async def test_a_page_too_large_is_asked_for_in_halves():
    told = Told(TooLarge(), said({"results": [], "last_seq": 9}))
    page = await database(told).changes(0, 8)
    assert page.last_seq == 9 and not page.more
    assert [query["limit"] for _, _, query, _ in told.asked if query] == ["8", "4"]
    assert (await failure(Told(TooLarge()), lambda it: it.changes(0, 8))).code == "bad-answer"


@pytest.mark.parametrize(
    ("count", "pending", "more"),
    [(4, None, True), (4, 0, True), (3, None, False), (3, 0, False), (3, 7, True), (3, "lots", False), (0, 7, False)],
)
async def test_a_page_is_the_last_one_where_it_has_fewer_than_were_asked_for_and_none_are_said_to_follow(count, pending, more):
    rows = [{"id": f"k{number}", "changes": []} for number in range(count)]
    told = Told(TooLarge(), said({"results": rows, "last_seq": 9} | ({} if pending is None else {"pending": pending})))
    assert (await database(told).changes(0, 8)).more is more  # eight were too many for one answer, so four are a whole page


class Full:
    """A side here that has no room for what comes."""

    def __init__(self) -> None:
        self.cache = Cache()
        self.merged = 0

    async def merge(self, documents: Any) -> tuple[int, list[tuple[str, str]]]:
        self.merged += 1
        await trio.lowlevel.checkpoint()
        if self.merged == 2:
            raise Refused("resource-exhausted", "no room", reason="disk-full")
        return len(documents), []


async def test_a_store_that_fails_while_more_is_fetched_ends_the_sync_and_nothing_counts_as_read(recwarn):
    """What was fetched meanwhile is let go of, and no reader of a page is left open."""
    here: Any = Full()
    rows = [{"id": f"k{number}", "changes": [{"rev": "1-a"}]} for number in range(500)]
    answers = [
        said({"results": [{"id": row["id"], "docs": [{"ok": {"_id": row["id"]}}]} for row in rows[start:end]]})
        for start, end in ((0, 100), (100, 300), (300, 500))
    ]
    told = Told(said({"results": rows, "last_seq": 9}), *answers)
    far = database(told)
    replication = Replication(here, far, "far", "ledger", 500, lambda: "id")
    with pytest.raises(Refused):
        await replication._pull_all()
    gc.collect()
    await trio.testing.wait_all_tasks_blocked()
    assert (replication.cursor, here.merged) == (0, 2) and [str(each.message) for each in recwarn] == []


async def test_of_two_things_at_once_each_comes_to_its_end():
    done: list[str] = []
    gate = trio.Event()

    async def late() -> str:
        await gate.wait()
        done.append("late")
        return "late"

    async def fails() -> str:
        gate.set()
        raise Failed("busy", "no")

    async def quick() -> str:
        gate.set()
        return "quick"

    assert await beside(late, quick) == ("late", "quick") and await beside(quick, late) == ("quick", "late")
    for one, other in ((late, fails), (fails, late)):
        gate = trio.Event()
        with pytest.raises(Failed):
            await beside(one, other)
    assert done == ["late"] * 4


async def test_documents_that_the_far_end_will_not_have_together_are_told_by_status():
    for status in (400, 413):
        assert await database(Told(said({}, status))).bulk_docs(b"{}") == status


async def test_a_checkpoint_that_came_through_unheard_is_found_and_not_written_twice(autojump_clock):
    mine = {"_rev": "0-2", "source_last_seq": 7, "history": [{"session_id": "s", "recorded_seq": 7}]}
    told = Told(Failed("unreachable", "cut", transient=True), said({}, 409), said(mine))
    at = Checkpoint("irer-push-1", database_module._Local(rev="0-1", source_last_seq=3))
    written = await database(told).record(at, "s", 7, {})
    assert written.rev == "0-2" and written.knows(7) and [method for method, *_ in told.asked] == ["PUT", "PUT", "GET"]


async def test_a_far_end_restored_while_it_was_asked_is_told_by_its_checkpoint_and_not_written_over(autojump_clock):
    """Written over, it would seem to know what it has lost, and no later sync would send that again."""
    for older in ({"_rev": "0-1", "source_last_seq": 3}, {}):
        told = Told(said({}, 409), said(older, 200 if older else 404))
        with pytest.raises(Failed) as failed:
            await database(told).record(Checkpoint("irer-push-1", database_module._Local(rev="0-5", source_last_seq=6)), "s", 7, {})
        assert failed.value.transient and [method for method, *_ in told.asked] == ["PUT", "GET"]
    told = Told(said({}, 409), said({"_rev": "0-6", "history": [{"recorded_seq": 8}, {"recorded_seq": 6}]}), said({"rev": "0-7"}))
    at = Checkpoint("irer-push-1", database_module._Local(rev="0-5", source_last_seq=6))
    assert (await database(told).record(at, "s", 7, {})).knows(7), "somebody else wrote beside us"


def test_a_position_is_known_by_value_and_kind():
    at = Checkpoint("x", database_module._Local(source_last_seq=12, history=[{"recorded_seq": "9-g1"}, {}]))
    assert at.knows(12) and at.knows("9-g1")
    assert not at.knows("12") and not at.knows(9)
    at.forget()
    assert not at.knows(12)


# --- over a real socket


class Raw:
    """A server of one byte string, or of silence."""

    def __init__(self, answer: bytes | None, nursery: trio.Nursery) -> None:
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.asked = b""
        nursery.start_soon(trio.serve_listeners, self._serve, [trio.SocketListener(trio.socket.from_stdlib_socket(self._socket))])

    async def _serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            self.asked += await stream.receive_some(65_536)
            if self._answer is None:
                await trio.sleep_forever()
            else:
                await stream.send_all(self._answer)


async def over(answer: bytes | None, timeout_s: float = 5.0) -> tuple[Answer | Failed | TooLarge, bytes]:
    async with trio.open_nursery() as nursery:
        raw = Raw(answer, nursery)
        http = Http(raw.url, "ann", b"hunter2", timeout_s)
        try:
            outcome: Answer | Failed | TooLarge = await http.send("GET", "/db")
        except (Failed, TooLarge) as failed:
            outcome = failed
        await http.aclose()
        nursery.cancel_scope.cancel()
    return outcome, raw.asked


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000,
    ],
)
async def test_an_answer_that_is_cut_or_no_http_is_a_connection_that_broke(answer):
    failed, _ = await over(answer)
    assert isinstance(failed, Failed) and failed.code == "unreachable" and failed.transient
    assert "hunter2" not in str(failed) and "aHVudGVyMg" not in str(failed)


async def test_silence_ends_at_its_time():
    failed, asked = await over(None, timeout_s=0.2)
    assert isinstance(failed, Failed) and failed.code == "unreachable"
    assert b"Basic YW5uOmh1bnRlcjI=" in asked, "who asks is said in the header, and only there"


async def test_an_answer_has_an_end_and_is_not_unpacked():
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b"x" * (ANSWER_BYTES_MAX + 1)
    assert isinstance((await over(endless))[0], TooLarge)
    packed = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"
    failed, _ = await over(packed)
    assert isinstance(failed, Failed) and failed.code == "bad-answer"


async def test_a_redirect_is_an_answer_and_not_followed():
    answer, asked = await over(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
    assert isinstance(answer, Answer) and answer.status == 302 and asked.count(b"GET ") == 1


async def fed(*pieces: Answer | Exception) -> list[tuple[str, list[str], int | str]]:
    return [(row.id, row.revs, row.seq) async for row in database(Told(*pieces)).feed(7)]


async def test_a_feed_is_read_whatever_its_pieces_and_a_heartbeat_is_no_change():
    lines = b'\n{"seq":"8-x","id":"a","changes":[{"rev":"1-x"}],"deleted":true}\n\n{"seq":9,"id":"\xc3\xa4","changes":[]}\n'
    last = b'{"last_seq":9,"pending":0}\n'
    for size in (1, 7, 1_000):
        pieces = [said((lines + last)[at : at + size]) for at in range(0, len(lines + last), size)]
        assert await fed(*pieces) == [("a", ["1-x"], "8-x"), ("\xe4", [], 9)]
    assert await fed(said(lines + last[:9])) == [("a", ["1-x"], "8-x"), ("\xe4", [], 9)], "half a line is no change"


@pytest.mark.parametrize(
    ("piece", "code"),
    [
        (said({}, 401), "unauthorized"),
        (said({}, 404), "no-database"),
        (said({}, 503), "busy"),
        (said(b"<html>\n"), "bad-answer"),
        (said(b'{"error":"shutdown","reason":"hunter2"}\n'), "busy"),
        (said(b'{"id":"a","changes":[]}\n'), "bad-answer"),
        (said(b'{"seq":1,"changes":[]}\n'), "bad-answer"),
        (said(b'{"seq":{},"id":"a","changes":[]}\n'), "bad-answer"),
        (said(b'{"seq":"' + b"x" * 5_000 + b'","id":"a","changes":[]}\n'), "bad-answer"),
        (said(b"x" * (database_module.LINE_BYTES_MAX + 1)), "bad-answer"),
    ],
)
async def test_a_lie_in_a_feed_has_the_code_of_any_other(piece, code):
    with pytest.raises(Failed) as failed:
        await fed(piece)
    assert failed.value.code == code and "hunter2" not in failed.value.detail


class Still:
    """A replication that has nothing to do, and a side here where nothing is written."""

    cursor, pushed_seq = 0, 0

    def __init__(self) -> None:
        self.cache = Cache()

    async def run(self) -> None:
        await trio.lowlevel.checkpoint()

    async def remember(self) -> None:
        await trio.lowlevel.checkpoint()

    async def advanced(self) -> None:
        await trio.sleep_forever()

    def seldom(self) -> Any:
        return nullcontext()

    def say(self, phase: str) -> None:
        assert phase == "live"


@pytest.mark.parametrize(
    ("answer", "raised"), [(TooLarge(), TooLarge), (said({}, 401), Failed), (said(b"x" * (LINE_BYTES_MAX + 1)), Failed)]
)
async def test_a_feed_that_answers_with_what_no_feed_may_be_ends_the_stay_with_a_reason(answer, raised, autojump_clock):
    """Its reader is a task of its own: what it hears has to come out as what it is, and not as a group of errors."""
    still: Any = Still()
    live = Live(still, still, database(Told(answer)), 1, lambda: 0.0, 10)
    with pytest.raises(raised):
        await live.run(lambda: True)
    assert live.caught_up
