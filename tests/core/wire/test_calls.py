"""The rules of the conversation: hello first, ids that rise, one terminal frame, and exactly one way to lose the connection."""

import math
import re
from typing import Any

import cbor2
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.wire import calls
from core.wire.calls import (
    EARLY_CALLS_MAX,
    FRAME_MAX_READER,
    HELLO_MAX,
    HTTP_REPLY,
    STRANGER_REPLY,
    BadCall,
    Bye,
    Call,
    Cancel,
    ClientConnection,
    Done,
    Err,
    Hello,
    Item,
    Mark,
    ProtocolError,
    ServerConnection,
    Violation,
    Welcome,
)
from core.wire.codec import VALUES_MAX, CodecError, Typed, ValuesError, decode, encode
from core.wire.errors import CODES, make
from core.wire.frames import FRAME_MAX, HEADER_LEN, frame
from tests.core.wire.test_frames import cut

HELLO = encode({"t": "hello", "proto": [1], "client": "test/1"})
PING = {"t": "call", "id": 1, "m": "system.ping"}
WELCOME = calls.welcome(
    server="irerd/0",
    instance="00000000-0000-0000-0000-000000000000",
    boot=1,
    limits={"frame": FRAME_MAX, "calls": 64},
    schema="0" * 64,
    peer={"uid": 1, "gid": 1, "role": "viewer"},
    state="ready",
)


def greeted(frame_max: int = FRAME_MAX) -> ServerConnection:
    """A server that has welcomed its peer."""
    server = ServerConnection()
    assert server.receive(HELLO) == [Hello([1], "test/1")]
    server.frame_max = frame_max
    return server


def raw(message: Any) -> bytes:
    """A frame that nobody checked."""
    return frame(cbor2.dumps(message))


def last_words(received: list[Any]) -> dict[str, Any]:
    """The bye of a connection that is over."""
    [violation] = received
    assert isinstance(violation, Violation)
    message = decode(violation.reply[HEADER_LEN:])
    assert message["t"] == "bye"
    assert message["why"] == violation.why
    assert message["e"]["code"] in CODES
    return message


# --- the server's end --------------------------------------------------------------------------------------------------


def test_a_call_says_all_it_may_say() -> None:
    message = {
        "t": "call",
        "id": 9,
        "m": "resource.scale",
        "p": {"pool": "compute"},
        "dl": 5000,
        "idem": "cli-8d2f6c01",
        "dry": True,
        "as": "mailer",
    }
    assert greeted().receive(encode(message)) == [
        Call(9, "resource.scale", {"pool": "compute"}, 5000, "cli-8d2f6c01", True, "mailer")
    ]


@pytest.mark.parametrize(
    ("first", "reply"),
    [
        (verb, HTTP_REPLY)
        for verb in (b"GET / HTTP/1.1\r\n", b"POST /rpc/system.ping HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n", b"DELETE /")
    ]
    + [
        (stranger, STRANGER_REPLY)
        for stranger in (
            b"\x16\x03\x01\x02\x00\x01\x00",
            b"SSH-2.0-x\r\n",
            b"\x00",
            b"\xd8\x18\x5b\x00",
            b"GETTING",
            b"\xd8\xff",
            b"{}\n",
        )
    ],
    ids=repr,
)
def test_strangers_are_told_or_left_however_their_bytes_are_cut(first: bytes, reply: bytes) -> None:
    whole = ServerConnection().receive(first)
    one_by_one = ServerConnection()
    single = [message for byte in first for message in one_by_one.receive(bytes([byte]))]
    for received in (whole, single):
        [violation] = received
        assert isinstance(violation, Violation)
        assert violation.reply == reply


def test_http_is_told_where_http_is_spoken() -> None:
    [violation] = ServerConnection().receive(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert isinstance(violation, Violation)
    head, _, text = violation.reply.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert f"Content-Length: {len(text)}".encode() in head
    assert text.endswith(b"type: irerctl hub\n") and b" no HTTP" not in text


def test_a_verb_that_turns_into_a_frame_is_still_a_stranger() -> None:
    server = ServerConnection()
    assert server.receive(b"G") == []
    [violation] = server.receive(HELLO)
    assert isinstance(violation, Violation)
    assert violation.reply == STRANGER_REPLY


def test_hello_comes_first_and_once() -> None:
    for first in (PING, {"t": "cancel", "id": 1}, {"t": "bye", "why": "done"}):
        assert last_words(ServerConnection().receive(encode(first)))["why"] == "protocol"
    assert last_words(greeted().receive(HELLO))["why"] == "protocol"


def test_hello_is_at_most_four_kib() -> None:
    empty = len(encode({"t": "hello", "proto": [1], "client": "x", "pad": "x" * 300})) - HEADER_LEN - 300
    fits = encode({"t": "hello", "proto": [1], "client": "x", "pad": "x" * (HELLO_MAX - empty)})
    assert len(fits) - HEADER_LEN == HELLO_MAX
    assert last_words(ServerConnection().receive(fits))["why"] == "protocol"  # read, and refused for its unknown key
    assert last_words(ServerConnection().receive(frame(bytes(HELLO_MAX + 1))[:HEADER_LEN]))["why"] == "limit"


def test_without_a_common_version_there_is_no_conversation() -> None:
    words = last_words(ServerConnection().receive(encode({"t": "hello", "proto": [2, 3], "client": "x"})))
    assert (words["why"], words["e"]["code"]) == ("version", "unimplemented")
    assert ServerConnection().receive(encode({"t": "hello", "proto": [7, 1], "client": "x"})) == [Hello([7, 1], "x")]


def early(count: int) -> bytes:
    return b"".join(encode({**PING, "id": id}) for id in range(1, count + 1))


def test_eight_calls_may_come_with_the_hello_and_no_more() -> None:
    received = ServerConnection().receive(HELLO + early(EARLY_CALLS_MAX))
    assert [type(message) for message in received] == [Hello] + [Call] * EARLY_CALLS_MAX
    *_, violation = ServerConnection().receive(HELLO + early(EARLY_CALLS_MAX + 1))
    assert last_words([violation])["why"] == "limit"
    assert len(greeted().receive(early(EARLY_CALLS_MAX + 1))) == EARLY_CALLS_MAX + 1


def test_sixty_four_kib_may_come_with_the_hello_and_no_more() -> None:
    half = [encode({"t": "call", "id": id, "m": "m", "p": {"x": "x" * 33_000}}) for id in (1, 2)]
    assert isinstance(ServerConnection().receive(HELLO + half[0])[-1], Call)
    assert last_words(ServerConnection().receive(HELLO + half[0] + half[1])[-1:])["why"] == "limit"
    assert isinstance(greeted().receive(half[0] + half[1])[-1], Call)


def test_the_frame_limit_is_that_of_the_role() -> None:
    large = encode({**PING, "p": {"x": "x" * FRAME_MAX_READER}})
    assert isinstance(greeted(FRAME_MAX).receive(large)[0], Call)
    assert last_words(greeted(FRAME_MAX_READER).receive(large[:HEADER_LEN]))["why"] == "limit"


@given(ids=st.lists(st.integers(1, 6), min_size=1, max_size=6))
def test_ids_rise_or_the_connection_ends(ids: list[int]) -> None:
    server = greeted()
    received = server.receive(b"".join(encode({**PING, "id": id}) for id in ids))
    rising = next((place for place in range(1, len(ids)) if ids[place] <= ids[place - 1]), len(ids))
    assert [message.id for message in received if isinstance(message, Call)] == ids[:rising]
    assert isinstance(received[-1], Violation) == (rising < len(ids))


def test_a_refused_call_uses_up_its_id_too() -> None:
    server = greeted()
    assert isinstance(server.receive(encode({**PING, "id": 5, "dl": -1}))[0], BadCall)
    assert last_words(server.receive(encode({**PING, "id": 5})))["why"] == "protocol"


BAD_CALLS: dict[str, tuple[dict[str, Any], str]] = {
    "a negative deadline": ({"dl": -1}, "dl"),
    "no time at all": ({"dl": 0}, "dl"),
    "a deadline over an hour": ({"dl": 3_600_001}, "dl"),
    "a deadline in words": ({"dl": "5s"}, "dl"),
    "a short key": ({"idem": "1234567"}, "idem"),
    "a long key": ({"idem": "x" * 65}, "idem"),
    "a key with a space": ({"idem": "1234 5678"}, "idem"),
    "a key that ends a line": ({"idem": "12345678\n"}, "idem"),
    "an unknown key": ({"drv": True}, ""),
    "dry as a number": ({"dry": 1}, "dry"),
    "params as a list": ({"p": [1]}, "p"),
    "a method that is no text": ({"m": 3}, "m"),
    "no method": ({"m": ""}, "m"),
    "an engine without a name": ({"as": ""}, "as"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_a_bad_call_costs_only_itself(name: str) -> None:
    change, path = BAD_CALLS[name]
    server = greeted()
    [bad, good] = server.receive(encode({**PING, **change}) + encode({**PING, "id": 2}))
    assert isinstance(bad, BadCall)
    assert bad.id == 1
    assert bad.error["code"] == "invalid-argument"
    assert [row["path"] for row in bad.error["fields"]] == [path]
    assert isinstance(good, Call)
    [err] = connected(1).receive(calls.err(bad.id, bad.error))
    assert isinstance(err, Err)


def test_too_many_values_cost_only_the_call() -> None:
    server = greeted()
    [bad, good] = server.receive(raw({**PING, "p": {"x": [0] * 100_000}}) + encode({**PING, "id": 2}))
    assert isinstance(bad, BadCall)
    assert bad.error["code"] == "resource-exhausted"
    assert isinstance(good, Call)
    assert last_words(server.receive(raw({"t": "cancel", "id": [0] * 100_001})))["why"] == "limit"


COSTS_THE_CONNECTION = {
    "no t": {"id": 1},
    "an unknown t": {**PING, "t": "shout"},
    "a t that is a list": {**PING, "t": ["call"]},
    "a message of servers": {"t": "done", "id": 1, "r": {}},
    "no id": {"t": "call", "m": "system.ping"},
    "an id of 0": {**PING, "id": 0},
    "an id beyond 32 bits": {**PING, "id": 2**32},
    "an id that is true": {**PING, "id": True},
    "an id in words": {**PING, "id": "1"},
    "NaN": {**PING, "p": {"x": float("nan")}},
    "a large number": {**PING, "p": {"x": 2**53}},
    "a tag": {**PING, "p": {"x": cbor2.CBORTag(1, 0)}},
    "a cancel without id": {"t": "cancel"},
    "a cancel that says more": {"t": "cancel", "id": 1, "hard": True},
    "a bye that says more": {"t": "bye", "why": "done", "until": 1},
    "a list": [1],
}


@pytest.mark.parametrize("name", COSTS_THE_CONNECTION)
def test_a_bad_frame_costs_the_connection(name: str) -> None:
    server = greeted()
    words = last_words(server.receive(raw(COSTS_THE_CONNECTION[name])))
    assert (words["why"], words["e"]["code"]) == ("protocol", "invalid-argument")
    assert server.receive(encode(PING)) == []


def test_what_was_whole_before_the_violation_is_still_handled() -> None:
    received = greeted().receive(encode(PING) + b"garbage" + encode({**PING, "id": 2}))
    assert [type(message) for message in received] == [Call, Violation]


def test_after_bye_a_client_may_cancel_but_not_call() -> None:
    server = greeted()
    said = encode(PING) + calls.bye("done") + encode({"t": "cancel", "id": 1})
    call, bye, cancel = server.receive(said)
    assert isinstance(call, Call)
    assert isinstance(bye, Bye)
    assert cancel == Cancel(1)
    assert last_words(server.receive(encode({**PING, "id": 2})))["why"] == "protocol"


CONVERSATION = [
    HELLO,
    encode({**PING, "p": {"x": [1, {"y": "z"}]}, "dl": 500}),
    encode({**PING, "id": 2, "idem": "cli-8d2f6c01"}),
    encode({"t": "cancel", "id": 1, "why": "changed my mind"}),
    encode({**PING, "id": 7, "dl": -1}),
    calls.bye("done"),
]


def heard(server: ServerConnection, chunks: list[bytes]) -> list[Any]:
    found = []
    for chunk in chunks:
        for message in server.receive(chunk):
            if isinstance(message, Hello):
                server.frame_max = FRAME_MAX
            found.append(message)
    return found


@given(places=st.lists(st.integers(0, 400), max_size=20))
def test_how_the_bytes_are_cut_changes_nothing(places: list[int]) -> None:
    stream = b"".join(CONVERSATION)
    whole = heard(ServerConnection(), [stream])
    assert [type(message) for message in whole[:5]] == [Hello, Call, Call, Cancel, BadCall]
    assert heard(ServerConnection(), cut(stream, places)) == whole
    assert heard(ServerConnection(), [bytes([byte]) for byte in stream]) == whole


@settings(max_examples=400)
@given(data=st.data())
def test_no_mutation_of_a_conversation_ever_raises_and_nothing_follows_a_violation(data: st.DataObject) -> None:
    stream = bytearray(b"".join(CONVERSATION))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(stream) - 1))
        match data.draw(st.sampled_from(["change", "remove", "insert", "end"])):
            case "change":
                stream[place] = data.draw(st.integers(0, 255))
            case "remove":
                del stream[place]
            case "insert":
                stream[place:place] = data.draw(st.binary(min_size=1, max_size=5))
            case _:
                del stream[place:]
        if not stream:
            return
    server = ServerConnection()
    found = heard(server, cut(bytes(stream), data.draw(st.lists(st.integers(0, 400), max_size=6))))
    violations = [place for place, message in enumerate(found) if isinstance(message, Violation)]
    assert violations in ([], [len(found) - 1])
    if violations:
        assert server.receive(b"".join(CONVERSATION)) == []
    called = [message.id for message in found if isinstance(message, Call | BadCall)]
    assert called == sorted(set(called))


@given(junk=st.binary(max_size=200))
def test_no_bytes_after_the_hello_ever_raise(junk: bytes) -> None:
    greeted().receive(junk)
    greeted().receive(frame(junk))


# --- the client's end --------------------------------------------------------------------------------------------------


def connected(count: int) -> ClientConnection:
    """A welcomed client with calls 1 to `count` open."""
    client = ClientConnection()
    assert isinstance(client.receive(WELCOME)[0], Welcome)
    for _ in range(count):
        client.call("system.ping")
    return client


def test_the_two_ends_understand_each_other() -> None:
    client, server = ClientConnection(), ServerConnection()
    first, ping = client.call("system.ping")
    hello, call = server.receive(client.hello("test/1") + ping)
    assert (hello, call) == (Hello([1], "test/1"), Call(first, "system.ping"))
    server.frame_max = FRAME_MAX
    second, watch = client.call("system.watch", {"engine": "resource"}, idem="12345678", dl=10, as_="mailer", dry=True)
    assert server.receive(watch + client.cancel(second)) == [
        Call(second, "system.watch", {"engine": "resource"}, 10, "12345678", True, "mailer"),
        Cancel(second),
    ]
    receipt = {"log": "engine_state", "seq": 4, "event_hash": "9c" * 32}
    said = [
        WELCOME,
        calls.item(second, 0, {"x": 1}, "w1.4"),
        calls.done(first, {"pong": True}, receipt, "w1.4", replayed=True),
        calls.mark(second, "w1.5"),
        calls.item(second, 1, {"x": 2}),
        calls.err(second, make("cancelled")),
        calls.bye("shutdown", 10_000),
    ]
    welcome, *rest = client.receive(b"".join(said))
    assert isinstance(welcome, Welcome)
    assert rest == [
        Item(second, 0, {"x": 1}, "w1.4"),
        Done(first, {"pong": True}, receipt, "w1.4", True),
        Mark(second, "w1.5"),
        Item(second, 1, {"x": 2}),
        Err(second, {"code": "cancelled", "title": "cancelled by the caller"}),
        Bye("shutdown", 10_000),
    ]
    assert client.open_ids == []


ANY_LEAF = st.none() | st.booleans() | st.integers(-(2**54), 2**54) | st.floats() | st.text(max_size=300) | st.binary(max_size=300)
ANY_VALUE = st.recursive(
    ANY_LEAF | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=30), inner, max_size=3),
)
NUMBERS = st.sampled_from([0, 23, 24, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**53 - 1]) | st.integers(0, 2**53 - 1)


@given(
    NUMBERS,
    ANY_VALUE,
    st.none() | st.tuples(st.text(max_size=300), NUMBERS, st.text(max_size=80)),
    st.none() | st.text(max_size=70_000),
    st.booleans(),
)
def test_an_answer_made_of_its_parts_is_the_one_made_of_the_whole(
    id: int, r: Any, rc: tuple[str, int, str] | None, cur: str | None, replayed: bool
) -> None:
    whole: dict[str, Any] = {"t": "done", "id": id, "r": r}
    if rc is not None:
        whole["rc"] = dict(zip(("log", "seq", "event_hash"), rc, strict=True))
    whole |= {"cur": cur} if cur is not None else {}
    whole |= {"replayed": True} if replayed else {}
    try:
        wanted = encode(whole)
    except CodecError as error:
        with pytest.raises(CodecError, match=re.escape(str(error))):
            calls.done(id, r, rc, cur, replayed)
    else:
        assert calls.done(id, r, rc, cur, replayed) == wanted
        if not replayed and rc is None and cur is not None:
            assert calls.done_again(id, calls.result(r), calls.cursor(cur)) == wanted


def deep(levels: int, value: Any = 1) -> Any:
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


class Plain(msgspec.Struct):
    x: int = 1


EDGES: list[Any] = [
    *(-1, 0, 23, 24, 2**53 - 1, 2**53, 2**64, 2**70, True, False, None, 0.5, -0.0, 1e300, math.nan, math.inf, -math.inf),
    *("", "x" * 23, "x" * 24, "é" * 127 + "x", "é" * 128, "x" * 70_000, "\ud800", b"", b"x" * 300, Typed.of([1.0])),
    *([0] * length for length in (0, 23, 24, 25, 300)),
    *(("a",) * length for length in (0, 23, 24)),
    *({f"k{number}": number for number in range(length)} for length in (0, 23, 24, 300)),
    *(deep(levels) for levels in (1, 2, 3, 4, 5, 6, 7, 8, 30, 31, 32, 33)),
    *(
        {"a": math.nan},
        ["\ud800"],
        {"\ud800": 1},
        {1: 2},
        {b"a": 1},
        {"a": {2: 1}},
        Plain(),
        {"a": [Plain()]},
        {"a": object()},
        {1, 2},
    ),
    *({"x" * 300: 1}, {"a": "x" * 1_200_000}),
]


@pytest.mark.parametrize("r", EDGES, ids=[f"{place}-{type(r).__name__}" for place, r in enumerate(EDGES)])
def test_an_answer_at_the_edge_of_what_is_written_in_one_pass_is_the_same_too(r: Any) -> None:
    for value in (r, {"a": r}, [r]):
        whole = {"t": "done", "id": 7, "r": value, "rc": {"log": "x", "seq": 1, "event_hash": "ff"}, "cur": "c"}
        try:
            wanted = encode(whole)
        except CodecError as error:
            with pytest.raises(CodecError, match=re.escape(str(error))):
                calls.done(7, value, ("x", 1, "ff"), "c")
            with pytest.raises(CodecError):
                calls.item(7, 0, value, "c")
        else:
            assert calls.done(7, value, ("x", 1, "ff"), "c") == wanted
            for place, cur in ((0, None), (70_000, "c" * 300)):
                item = {"t": "item", "id": 7, "n": place, "r": value} | ({"cur": cur} if cur is not None else {})
                assert calls.item(7, place, value, cur) == encode(item)


@pytest.mark.parametrize("count", range(VALUES_MAX - 12, VALUES_MAX + 2))
def test_an_answer_holds_as_many_values_as_any_message(count: int) -> None:
    whole = {"t": "done", "id": 1, "r": [0] * count, "rc": {"log": "x", "seq": 1, "event_hash": ""}, "cur": "c"}
    if len(whole) + 3 + count > VALUES_MAX:
        with pytest.raises(ValuesError):
            calls.done(1, whole["r"], ("x", 1, ""), "c")
    else:
        assert calls.done(1, whole["r"], ("x", 1, ""), "c") == encode(whole)


@pytest.mark.parametrize(("rows", "fit"), [(11, True), (12, False)])
def test_an_answer_of_short_lists_within_short_lists_holds_no_more_values_either(rows: int, fit: bool) -> None:
    r: Any = 0
    for length in (20, 20, 20, rows):
        r = [r] * length
    if fit:
        assert calls.done(1, r) == encode({"t": "done", "id": 1, "r": r})
    else:
        with pytest.raises(ValuesError):
            calls.done(1, r)


def test_a_newer_server_may_say_more() -> None:
    [done] = connected(1).receive(encode({"t": "done", "id": 1, "r": {}, "took_us": 12, "rc": {"log": "x", "shard": 3}}))
    assert done == Done(1, {}, {"log": "x", "shard": 3})


@pytest.mark.parametrize(
    "said",
    [
        calls.done(2, {}),
        calls.done(1, {}) + calls.done(1, {}),
        calls.err(1, make("cancelled")) + calls.item(1, 0, {}),
        calls.item(1, 1, {}),
        calls.item(1, 0, {}) + calls.item(1, 0, {}),
        calls.done(1, {}) + calls.mark(1, "w1.4"),
        WELCOME,
        encode({"t": "call", "id": 1, "m": "x"}),
        encode({"t": "done", "id": 1}),
        encode({"t": []}),
        b"HTTP/1.1 400 Bad Request\r\n",
        frame(b"\xff"),
        frame(bytes(FRAME_MAX + 1))[:HEADER_LEN],
    ],
)
def test_a_server_that_breaks_the_rules_is_noticed(said: bytes) -> None:
    with pytest.raises(ProtocolError):
        connected(1).receive(said)


def test_messages_before_the_broken_rule_are_kept() -> None:
    with pytest.raises(ProtocolError) as broken:
        connected(1).receive(calls.done(1, {}) + calls.done(1, {}))
    assert broken.value.messages == [Done(1, {})]


def test_nothing_is_answered_before_the_welcome() -> None:
    client = ClientConnection()
    client.call("system.ping")
    with pytest.raises(ProtocolError, match="welcome"):
        client.receive(calls.done(1, {}))


def test_a_client_keeps_the_limit_it_was_told_and_its_id() -> None:
    client = ClientConnection()
    large = {"x": "x" * FRAME_MAX_READER}
    with pytest.raises(CodecError):
        client.call("m", large)
    client.receive(WELCOME)
    assert client.call("m", large)[0] == 1


@given(messages=st.lists(st.sampled_from(["done", "err", "item"]), max_size=8), places=st.lists(st.integers(0, 600), max_size=8))
def test_answers_arrive_in_order_however_they_are_cut(messages: list[str], places: list[int]) -> None:
    make_one = {
        "done": lambda id: calls.done(id, {"id": id}),
        "err": lambda id: calls.err(id, make("not-found", str(id))),
        "item": lambda id: calls.item(id, 0, {"id": id}),
    }
    client = connected(len(messages))
    stream = b"".join(make_one[kind](id) for id, kind in enumerate(messages, 1))
    found = [message for chunk in cut(stream, places) for message in client.receive(chunk)]
    assert [(type(message).__name__.lower(), getattr(message, "id", 0)) for message in found] == [
        (kind, id) for id, kind in enumerate(messages, 1)
    ]


BAD = st.sampled_from(
    [2**53, -(2**60), math.nan, math.inf, cbor2.undefined, cbor2.CBORSimpleValue(99), {b"k": 1}, [2**63], {"a": [math.inf]}]
)
ANYTHING = st.recursive(st.none() | st.integers(-9, 9) | st.text(max_size=2) | BAD, lambda inner: st.lists(inner, max_size=2))


@settings(max_examples=200)
@given(
    st.dictionaries(st.sampled_from(["k", "l"]), ANYTHING, max_size=2),
    st.dictionaries(st.sampled_from(["id", "m", "dl", "idem", "dry", "as", "else"]), ANYTHING, max_size=1),
)
def test_a_call_is_looked_through_as_every_message_is(p: dict[str, Any], more: dict[str, Any]) -> None:
    """Its type vouches for all but what stands within `p`; whatever is wrong comes to what it came to if all were looked at."""
    body = cbor2.dumps({"t": "call", "id": 7, "m": "a.b", "p": p, **more})
    server = calls.ServerConnection()
    server.receive(frame(cbor2.dumps({"t": "hello", "proto": [1], "client": "x"})))
    [got] = server.receive(frame(body))
    try:
        message = decode(body)
    except CodecError as error:
        assert type(got) is calls.Violation and got.detail == str(error)
        return
    try:
        assert got == msgspec.convert(message, calls.Call, strict=True)
    except msgspec.ValidationError:
        assert type(got) in (calls.BadCall, calls.Violation)


@pytest.mark.parametrize("more", [0, 1])
def test_the_envelope_of_a_call_counts_among_its_values(more: int) -> None:
    server = calls.ServerConnection()
    server.receive(frame(cbor2.dumps({"t": "hello", "proto": [1], "client": "x"})))
    server.frame_max = FRAME_MAX
    message = {"t": "call", "id": 7, "m": "a.b", "p": {"k": [0] * (VALUES_MAX - 5 + more)}}
    [got] = server.receive(frame(cbor2.dumps(message)))
    assert type(got) is (calls.BadCall if more else calls.Call)
