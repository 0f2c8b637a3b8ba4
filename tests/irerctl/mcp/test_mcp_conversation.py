"""The Model Context Protocol as the server speaks it: what each message is answered with, whatever comes in, in whatever pieces."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irerctl.mcp.conversation import (
    BUSY,
    IN_FLIGHT_MAX,
    INVALID_PARAMS,
    INVALID_REQUEST,
    LINE_BYTES_MAX,
    META,
    METHOD_NOT_FOUND,
    PAGE,
    PARSE_ERROR,
    UNSUPPORTED_VERSION,
    Begin,
    Conversation,
    Send,
    Stop,
)

LISTED = [{"name": f"tool_{number}", "inputSchema": {"type": "object"}} for number in range(PAGE + 3)]
BY_REQUEST = {f"{META}protocolVersion": "2026-07-28", f"{META}clientCapabilities": {}}


def new(*, greeted: bool = True) -> Conversation:
    made = Conversation(LISTED, "0.1.0", "how to")
    if greeted:
        ask(made, "initialize", {"protocolVersion": "2025-11-25", "clientInfo": {"name": "pen\n", "version": "2"}}, id=0)
    return made


def line(method: str, params: Any = None, **more: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params or {}, **more}).encode() + b"\n"


def said(send: Any) -> Any:
    assert isinstance(send, Send) and send.data.count(b"\n") == 1 and send.data.endswith(b"\n"), send
    return json.loads(send.data)


def ask(conversation: Conversation, method: str, params: Any = None, id: Any = 1) -> Any:
    [send] = conversation.receive(line(method, params, id=id))
    found = said(send)
    assert found["jsonrpc"] == "2.0" and found["id"] == id
    return found


def begin(conversation: Conversation, id: Any = 1, **params: Any) -> Begin:
    [found] = conversation.receive(line("tools/call", {"name": "tool_0", **params}, id=id))
    assert isinstance(found, Begin)
    return found


@pytest.mark.parametrize(
    ("wanted", "answered"),
    [
        ("2024-11-05", "2024-11-05"),
        ("2025-06-18", "2025-06-18"),
        ("2025-03-26", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("9", "2025-11-25"),
    ],
)
def test_a_handshake_settles_on_a_revision_that_has_one(wanted, answered):
    result = ask(new(greeted=False), "initialize", {"protocolVersion": wanted, "capabilities": {}})["result"]
    assert result["protocolVersion"] == answered
    assert result["capabilities"] == {"tools": {"listChanged": False}} and result["instructions"] == "how to"
    assert result["serverInfo"] == {"name": "irer", "title": "irer", "version": "0.1.0"} and "resultType" not in result


def test_without_a_handshake_only_ping_and_requests_that_name_their_revision_are_answered():
    conversation = new(greeted=False)
    assert ask(conversation, "ping")["result"] == {}
    assert ask(conversation, "tools/list")["error"]["code"] == INVALID_REQUEST
    found = ask(conversation, "server/discover", {"_meta": BY_REQUEST})["result"]
    assert found["supportedVersions"] == ["2026-07-28"] and found["resultType"] == "complete" and found["ttlMs"] >= 0
    assert found["_meta"][f"{META}serverInfo"]["name"] == "irer"
    assert len(ask(conversation, "tools/list", {"_meta": BY_REQUEST})["result"]["tools"]) == PAGE
    assert ask(conversation, "ping", {"_meta": BY_REQUEST})["error"]["code"] == METHOD_NOT_FOUND, "that revision has none"


@pytest.mark.parametrize(
    ("meta", "code"),
    [
        ({f"{META}protocolVersion": "2025-11-25", f"{META}clientCapabilities": {}}, UNSUPPORTED_VERSION),
        ({f"{META}protocolVersion": 7, f"{META}clientCapabilities": {}}, UNSUPPORTED_VERSION),
        ({f"{META}protocolVersion": "2026-07-28"}, INVALID_PARAMS),
    ],
)
def test_a_request_that_names_its_revision_wrongly_is_told_which_there_are(meta, code):
    error = ask(new(), "tools/list", {"_meta": meta})["error"]
    assert error["code"] == code
    if code == UNSUPPORTED_VERSION:
        assert "2026-07-28" in error["data"]["supported"] and error["data"]["requested"] == meta[f"{META}protocolVersion"]


def test_pages_of_the_list_make_the_whole_list_once():
    conversation, names, cursor = new(), [], {}
    while True:
        page = ask(conversation, "tools/list", cursor)["result"]
        names += [tool["name"] for tool in page["tools"]]
        if "nextCursor" not in page:
            break
        cursor = {"cursor": page["nextCursor"]}
    assert names == [tool["name"] for tool in LISTED]
    for wrong in ("nothing", 7, ["tool_1"], {}):
        with_it = [*conversation.receive(line("tools/list", {"cursor": wrong}, id=1))]
        assert said(with_it[0])["error"]["code"] == INVALID_PARAMS


def test_a_call_is_answered_once_and_after_a_cancellation_never():
    conversation = new()
    asked = begin(conversation, 7, arguments={"a": 1})
    assert (asked.tool, asked.arguments, asked.peer) == ("tool_0", {"a": 1}, "pen?/2")
    result = said(conversation.done(7, b'{"b":[1,2]}', {"irer/receipt": {"seq": 3}}))["result"]
    assert result["structuredContent"] == {"b": [1, 2]} == json.loads(result["content"][0]["text"])
    assert result["isError"] is False and result["_meta"] == {"irer/receipt": {"seq": 3}}
    assert conversation.done(7, b"{}") is None and conversation.failed(7, "x") is None
    begin(conversation, 7)
    cancel = line("notifications/cancelled", {"requestId": 7})
    assert [*conversation.receive(cancel)] == [Stop(7)]
    assert conversation.done(7, b"{}") is None and conversation.in_flight == 0
    assert [*conversation.receive(cancel)] == []
    for strange in (line("notifications/cancelled", {"requestId": [7]}), line("notifications/cancelled"), line("notifications/x")):
        assert [*conversation.receive(strange)] == []


def test_a_failed_tool_is_an_answer_that_an_agent_reads():
    conversation = new()
    begin(conversation)
    result = said(conversation.failed(1, "out-of-range: 99", {"irer/error": {"code": "out-of-range"}}))["result"]
    assert result["isError"] is True and result["content"] == [{"type": "text", "text": "out-of-range: 99"}]
    assert "structuredContent" not in result


def test_progress_is_told_to_who_asked_and_only_forward():
    conversation = new()
    begin(conversation, 1)
    begin(conversation, 2, _meta={"progressToken": "here"})
    assert conversation.progress(1, 1, None, "") is None
    told = said(conversation.progress(2, 1, 9, "log"))
    assert told["method"] == "notifications/progress" and "id" not in told
    assert told["params"] == {"progressToken": "here", "progress": 1, "total": 9, "message": "log"}
    assert conversation.progress(2, 1, 9, "log") is None
    conversation.done(2, b"{}")
    assert conversation.progress(2, 5, 9, "log") is None


def test_so_many_calls_at_once_and_no_id_twice_among_them():
    conversation = new()
    for id in range(IN_FLIGHT_MAX):
        begin(conversation, id)
    assert ask(conversation, "tools/call", {"name": "tool_0"}, id="more")["error"]["code"] == BUSY
    assert ask(conversation, "ping", id=3)["error"]["code"] == INVALID_REQUEST, "3 is still being answered"
    conversation.done(3, b"{}")
    begin(conversation, "more")


@pytest.mark.parametrize(
    ("raw", "code", "id"),
    [
        (b"nonsense", PARSE_ERROR, None),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"x"}', PARSE_ERROR, None),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":\xff}}', PARSE_ERROR, None),
        (b"[" * 5_000, PARSE_ERROR, None),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', INVALID_REQUEST, None),
        (b"7", INVALID_REQUEST, None),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', INVALID_REQUEST, 1),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', INVALID_REQUEST, 1),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', INVALID_REQUEST, None),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', INVALID_REQUEST, None),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', INVALID_REQUEST, None),
        (b'{"jsonrpc":"2.0","id":"%b","method":"ping"}' % (b"i" * 129), INVALID_REQUEST, None),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}', INVALID_PARAMS, 1),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":1}}', INVALID_PARAMS, 1),
        (b'{"jsonrpc":"2.0","id":1,"method":"prompts/list"}', METHOD_NOT_FOUND, 1),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"no"}}', INVALID_PARAMS, 1),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":["tool_0"]}}', INVALID_PARAMS, 1),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"tool_0","arguments":[]}}', INVALID_PARAMS, 1),
        (
            b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"tool_0","_meta":{"progressToken":[]}}}',
            INVALID_PARAMS,
            1,
        ),
        (b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}', INVALID_PARAMS, 1),
        (b" " * (LINE_BYTES_MAX + 1), INVALID_REQUEST, None),
    ],
)
def test_what_is_no_good_request_is_refused_by_its_own_code_and_the_next_is_answered(raw, code, id):
    conversation = new()
    refused, answered = (said(send) for send in conversation.receive(raw + b"\n" + line("ping", id="next")))
    assert (refused["error"]["code"], refused["id"], answered["id"], conversation.in_flight) == (code, id, "next", 0)


def test_a_line_without_an_end_is_refused_once_and_costs_no_more_than_the_bound():
    conversation = new()
    sends = [each for _ in range(40) for each in conversation.receive(b"x" * 65_536)]
    assert len(sends) == 1 and conversation.skipped == 1
    assert len(conversation._buffer) <= LINE_BYTES_MAX
    assert [said(each)["id"] for each in conversation.receive(b"rest\n" + line("ping", id=5))] == [5]


def test_an_answer_to_nothing_is_not_answered():
    assert [*new().receive(b'\n \n{"jsonrpc":"2.0","id":1,"result":{}}\n{"jsonrpc":"2.0","id":1,"error":{}}\n')] == []


@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(0, 400), max_size=6))
def test_any_bytes_in_any_pieces_are_answered_alike_and_the_next_request_still_is(data, cuts):
    whole = data + b"\n" + line("tools/call", {"name": "tool_1"}, id="last")
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    at_once, in_pieces = new(), new()
    expected = [*at_once.receive(whole)]
    found = [each for start, end in pairwise(places) for each in in_pieces.receive(whole[start:end])]
    assert found == expected and isinstance(found[-1], Begin)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["tool_0", "2026-07-28", "2.0", ""]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["_meta", "name"]), inner, max_size=2),
    max_leaves=3,
)
METAS = st.dictionaries(st.sampled_from([*BY_REQUEST, f"{META}clientInfo", "progressToken"]), VALUES | st.just({}), max_size=4)
PARAMS = st.fixed_dictionaries(
    {},
    optional={
        "_meta": METAS | st.just(BY_REQUEST) | VALUES,
        "name": st.just("tool_0") | VALUES,
        "arguments": VALUES,
        "cursor": VALUES,
        "requestId": VALUES,
        "clientInfo": st.just({"name": [], "version": {}}) | VALUES,
        "protocolVersion": VALUES,
    },
)
METHODS = ["initialize", "ping", "tools/list", "tools/call", "server/discover", "notifications/cancelled", "x"]


@given(
    message=st.fixed_dictionaries(
        {"method": st.sampled_from(METHODS) | VALUES},
        optional={"jsonrpc": st.just("2.0") | VALUES, "id": VALUES, "params": PARAMS | VALUES},
    ),
    greeted=st.booleans(),
)
def test_any_message_is_answered_once_if_it_is_a_request_and_never_if_it_is_none(message, greeted):
    conversation = new(greeted=greeted)
    found = [*conversation.receive(json.dumps(message).encode() + b"\n")]
    assert len(found) == ("id" in message)
    assert conversation.in_flight == sum(isinstance(each, Begin) for each in found)
    for each in found:
        if isinstance(each, Send):
            assert len({"result", "error"} & said(each).keys()) == 1
