"""`irerctl mcp` over a daemon's end whose every answer is known: pipes in and out, cancelled calls, odd answers, no daemon."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.engine import Refused
from irerctl.mcp.run import RESULT_BYTES_MAX
from tests.irerctl.conftest import Run, Serve
from tests.irerctl.peer import Stream, Written

PATIENCE_S = 20
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "pen", "version": "7"}}


class Agent:
    """One process of ours, and what it says."""

    def __init__(self, path: Path, *options: str) -> None:
        command = [sys.executable, "-m", "irerctl.main", "--socket", str(path), "mcp", *options]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._ids = iter(range(1, 1_000))
        self.heard: list[Any] = []
        self.result("initialize", HELLO)

    def send(self, method: str, params: Any = None, **more: Any) -> None:
        assert self.process.stdin is not None
        message = {"jsonrpc": "2.0", "method": method, "params": params or {}, **more}
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def next(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def result(self, method: str, params: Any = None) -> Any:
        id = next(self._ids)
        self.send(method, params, id=id)
        while (found := self.next()).get("id") != id:
            self.heard.append(found)
        return found["result"]

    def call(self, name: str, arguments: Any = None, **meta: Any) -> Any:
        return self.result("tools/call", {"name": name, "arguments": arguments or {}, "_meta": meta})

    def close(self) -> tuple[int, bytes]:
        """Its end, as clients bring it about: their half of the pipes is closed."""
        self.process.stdin.close()  # type: ignore[union-attr]
        self.process.stdin = None
        _, said = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, said


@pytest.fixture
def agent(socket_path: Path) -> Iterator[Callable[..., Agent]]:
    started: list[Agent] = []

    def start(*options: str) -> Agent:
        started.append(Agent(socket_path, *options))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.communicate()


@pytest.mark.slow
def test_calls_errors_streams_and_the_end(agent, serve: Serve):
    large = {"text": "x" * RESULT_BYTES_MAX}
    items = [{"log": "a", "records": count, "done": False} for count in range(150)]
    peer = serve(
        {
            "system.ping": {},
            "resource.scale": Written({"pool": "compute", "from_units": 4, "to_units": 8, "reason": "request"}),
            "cache.get": Refused("out-of-range", "99 is outside 1..64", help="Ask for less"),
            "cache.list": large,
            "audit.verify": Stream(items[:3], {"ok": True}),
            "system.watch": Stream(items),
            "hunt.watch": Stream(items[:1], endless=True),
        }
    )
    us = agent("--write")
    scaled = us.call("resource_scale", {"pool": "compute", "size": 8}, **{"irer/idem": "my-key-01", "irer/timeout_ms": 1_500})
    assert scaled["structuredContent"]["to_units"] == 8 and scaled["_meta"]["irer/receipt"]["seq"] == 7
    [asked] = peer.calls
    assert (asked.m, asked.p, asked.idem) == ("resource.scale", {"pool": "compute", "size": 8}, "my-key-01")
    assert 1_000 < asked.dl <= 1_500 and asked.dry is False
    dry = us.call("resource_scale", {"pool": "compute", "size": 8}, **{"irer/dry": True})
    assert dry["structuredContent"]["events"] and peer.calls[-1].dry is True

    refused = us.call("cache_get", {"key": "a"})
    assert refused["isError"] and refused["content"][0]["text"] == "out-of-range: 99 is outside 1..64 Ask for less"
    assert refused["_meta"]["irer/error"]["code"] == "out-of-range"
    too_much = us.call("cache_list")
    assert too_much["isError"] and "at most 262,144" in too_much["content"][0]["text"]
    assert us.call("cache_get", {}, **{"irer/timeout_ms": 0})["_meta"]["irer/error"]["code"] == "invalid-argument"

    whole = us.call("audit_verify", {}, progressToken="here")["structuredContent"]
    assert (len(whole["items"]), whole["more"], whole["result"]) == (3, False, {"ok": True})
    assert [each["params"]["progressToken"] for each in us.heard] == ["here"]
    part = us.call("system_watch", {"since": "w1.0", "max_items": 7})["structuredContent"]
    assert (len(part["items"]), part["more"], part["cursor"]) == (7, True, "w1.6")
    assert peer.calls[-1].p == {"since": "w1.0"}, "how long to wait is ours, not irerd's"
    short = us.call("hunt_watch", {"wait_s": 0.05})["structuredContent"]
    assert (len(short["items"]), short["more"]) == (1, True)
    for wrong in ({"max_items": 0}, {"max_items": 1_001}, {"wait_s": "1"}, {"wait_s": 301}, {"max_items": True}):
        assert us.call("hunt_watch", wrong)["_meta"]["irer/error"]["code"] == "invalid-argument"

    us.send("tools/call", {"name": "hunt_watch", "arguments": {"wait_s": 300}}, id="long")
    us.send("notifications/cancelled", {"requestId": "long"})
    assert us.call("system_ping")["structuredContent"] == {}, "nothing was said to the cancelled one"
    us.send("tools/call", {"name": "hunt_watch", "arguments": {"wait_s": 300}}, id="unended")
    status, said = us.close()
    assert (status, said) == (0, b""), "a call that has no end does not keep the process"


@pytest.mark.slow
def test_a_cancelled_call_is_cancelled_in_the_daemon(agent, serve: Serve):
    peer = serve({"system.ping": {}, "data.search": Stream([], endless=True)})
    us = agent()
    us.send("tools/call", {"name": "data_search", "arguments": {"query": "x"}}, id="long")
    assert peer.asked.wait(PATIENCE_S)
    us.send("notifications/cancelled", {"requestId": "long"})
    assert peer.quiet.wait(PATIENCE_S) and us.call("system_ping")["isError"] is False


@pytest.mark.slow
def test_without_a_daemon_it_lists_its_tools_says_what_to_start_and_goes_on_once_there_is_one(agent, serve: Serve, socket_path):
    us = agent("--only", "system")
    assert {tool["name"].partition("_")[0] for tool in us.result("tools/list")["tools"]} == {"system"}
    refused = us.call("system_ping")
    text = refused["content"][0]["text"]
    assert refused["isError"] and f"no daemon at {socket_path}" in text and "Try: irerd &" in text
    serve({"system.ping": {}})
    assert us.call("system_ping")["isError"] is False


@pytest.mark.slow
def test_requests_that_were_sent_before_the_end_of_input_are_answered(serve: Serve, socket_path, tmp_path):
    serve({"system.ping": {}})
    ping = {"name": "system_ping", "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}
    ping["_meta"]["io.modelcontextprotocol/clientCapabilities"] = {}  # type: ignore[index]
    requests = tmp_path / "requests"  # a plain file, which no event loop can wait for
    lines = [json.dumps({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": ping}) for id in range(5)]
    requests.write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "irerctl.main", "--socket", str(socket_path), "mcp"]
    with requests.open() as file:
        done = subprocess.run(command, stdin=file, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(each["id"] for each in found) == [0, 1, 2, 3, 4]
    assert all(each["result"]["resultType"] == "complete" and not each["result"]["isError"] for each in found)


@pytest.mark.slow
def test_when_nobody_reads_its_answers_it_ends(agent, serve: Serve):
    serve({"system.ping": {}})
    us = agent()
    us.process.stdout.close()
    us.send("ping", id="unheard")
    assert us.process.wait(PATIENCE_S) == 0


def test_a_terminal_an_unknown_name_and_an_empty_list_are_told_in_three_parts(run: Run, on_terminal):
    assert "irerctl: mcp speaks the Model Context Protocol with another program" in on_terminal("mcp")
    unknown = run("mcp", "--only", "cash", input="")
    assert unknown.exit_code == 66 and "'cash' names no method" in unknown.stderr and "irerctl api ls" in unknown.stderr
    nothing = run("mcp", "--only", "gate.issue_token", input="")
    assert nothing.exit_code == 65 and "irerctl mcp --write" in nothing.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--engine", "mailer"), "Give both"),
        (("--engine-key", "@key"), "Give both"),
        (("--engine", "mailer", "--engine-key", "irk_s3cret"), "never stands on a command line"),
        (("--engine", "mailer", "--engine-key", "-"), "standard input is the agent's"),
        (("--engine", "mailer", "--engine-key", "@-"), "standard input is the agent's"),
        (("--engine", "mailer", "--engine-key", "@nowhere"), "cannot read nowhere"),
    ],
)
def test_a_key_comes_from_a_file_and_never_from_where_others_read_or_the_agent_speaks(run: Run, options: Any, said: str):
    ran = run("mcp", *options)
    assert ran.exit_code and said in ran.stderr and "s3cret" not in ran.stderr
