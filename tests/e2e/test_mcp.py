"""A real irerd as an agent meets it: the Model Context Protocol's own client, both ways of speaking, through a kill -9.

Every answer is held against the schema that its tool was listed with, by that client and once more by jsonschema.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import trio

from irerctl.client import Error
from tests.e2e.harness import Irerd

mcp = pytest.importorskip("mcp", reason="NOT TESTED with the protocol's own client: the package mcp is missing")

EXAMPLES = {
    each["name"]: each for each in json.loads((Path(__file__).parents[2] / "docs/api/catalogue.json").read_text())["methods"]
}
PATIENCE_S = 30
REVISIONS = {"legacy": "2025-11-25", "auto": "2026-07-28"}


def client(daemon: Irerd, mode: str, *options: str) -> Any:
    arguments = ["-m", "irerctl.main", "--socket", str(daemon.socket), "mcp", *options]
    here = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    started = mcp.StdioServerParameters(command=sys.executable, args=arguments, env=here, cwd=Path(__file__).parents[2])
    return mcp.Client(started, mode=mode, read_timeout_seconds=PATIENCE_S)


async def listed(agent: Any) -> dict[str, Any]:
    found, cursor = {}, None
    while True:
        page = await agent.list_tools(cursor=cursor)
        assert not found.keys() & {tool.name for tool in page.tools}
        found |= {tool.name: tool for tool in page.tools}
        if (cursor := page.next_cursor) is None:
            return found


@pytest.mark.slow
@pytest.mark.parametrize("mode", REVISIONS)
async def test_reads_and_writes_of_a_real_daemon_through_its_restart(irerd: Irerd, mode: str) -> None:
    irerd.start()
    with trio.fail_after(4 * PATIENCE_S):
        async with client(irerd, mode, "--write") as agent:
            assert (agent.protocol_version, agent.server_info.name) == (REVISIONS[mode], "irer")
            tools = await listed(agent)
            assert len(tools) > 100

            async def call(name: str, arguments: Any = None, **more: Any) -> Any:
                answer = await agent.call_tool(name, arguments or {}, **more)
                assert not answer.is_error, answer
                jsonschema.validate(answer.structured_content, tools[name].output_schema, jsonschema.Draft202012Validator)
                assert json.loads(answer.content[0].text) == answer.structured_content
                return answer

            key = {"irer/idem": "agent-key-01"}
            first = await call("cache_set", {"key": "a", "value": {"n": [1, None, 2.5]}}, meta=key)
            again = await call("cache_set", {"key": "a", "value": {"n": [1, None, 2.5]}}, meta=key)
            assert again.meta["irer/replayed"] is True and again.meta["irer/receipt"] == first.meta["irer/receipt"]
            assert (await call("cache_get", {"key": "a"})).structured_content["value"] == {"n": [1, None, 2.5]}
            for name in ("system_status", "system_health", "resource_pools", "gate_policy", "audit_checkpoint", "eil_health"):
                await call(name, EXAMPLES[name.replace("_", ".", 1)]["example"])
            heard: list[float] = []

            async def hear(progress: float, total: float | None, message: str | None) -> None:
                heard.append(progress)

            verdict = await call("audit_verify", progress_callback=hear)
            assert verdict.structured_content["result"] and heard
            refused = await agent.call_tool("resource_scale", {"pool": "compute", "size": -1})
            assert refused.is_error and refused.meta["irer/error"]["fields"][0]["path"] == "size"
            since = (await call("cache_get", {"key": "a"})).meta["irer/cursor"]

            irerd.kill9()
            down = await agent.call_tool("system_ping", {})
            assert down.is_error and "no daemon at" in down.content[0].text
            irerd.start()
            await call("cache_set", {"key": "b", "value": 1})
            seen = await call("system_watch", {"since": since, "engine": "cache", "max_items": 1})
            assert [each["type"] for each in seen.structured_content["items"]] == ["cache.set"]


@pytest.mark.slow
async def test_a_call_that_its_agent_gives_up_is_given_up_and_a_reader_only_reads(irerd: Irerd) -> None:
    irerd.start()
    with trio.fail_after(2 * PATIENCE_S):
        async with client(irerd, "auto") as agent:
            tools = await listed(agent)
            assert all(tool.annotations.read_only_hint for tool in tools.values()) and "cache_set" not in tools
            with pytest.raises(mcp.MCPError, match="no tool 'cache_set'"):
                await agent.call_tool("cache_set", {"key": "a", "value": 1})

            async def give_up(began: trio.Event) -> None:
                async def hear(*_: Any) -> None:
                    began.set()

                await agent.call_tool("system_watch", {"wait_s": 300, "max_items": 1_000}, progress_callback=hear)

            began = trio.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(give_up, began)
                with irerd.client() as other:
                    count = 0
                    while not began.is_set():
                        count += 1
                        await trio.to_thread.run_sync(other.call, "cache.set", {"key": f"k{count}", "value": 1})
                nursery.cancel_scope.cancel()
            assert not (await agent.call_tool("system_ping")).is_error


@pytest.mark.slow
async def test_an_agent_that_speaks_as_an_engine_is_that_engine_until_it_is_suspended(irerd: Irerd, tmp_path: Path) -> None:
    irerd.start()
    with irerd.client() as admin:
        key = admin.call("engines.register", {"engine_id": "mailer", "capabilities": {}}).result["engine_key"]
    (tmp_path / "key").write_text(f"{key}\n")
    as_engine = ("--write", "--engine", "mailer", "--engine-key", f"@{tmp_path / 'key'}")
    order = {"asset": "CEU", "side": "buy", "quantity": 1}
    with trio.fail_after(4 * PATIENCE_S):
        async with client(irerd, "auto", *as_engine) as agent:
            said = [await agent.call_tool("eil_market_quote", order) for _ in range(2)]
            irerd.kill9()
            irerd.start()
            said.append(await agent.call_tool("eil_market_quote", order))
            assert not any(answer.is_error for answer in said), said
            with irerd.client() as user:
                for answer in said:
                    with pytest.raises(Error) as not_mine:
                        user.call("eil.market_trade", {"quote_id": answer.structured_content["quote_id"]})
                    assert not_mine.value.code == "not-found"
                traded = await agent.call_tool("eil_market_trade", {"quote_id": said[2].structured_content["quote_id"]})
                assert not traded.is_error
                user.call("engines.suspend", {"engine_id": "mailer"})
            refused = await agent.call_tool("eil_market_quote", order)
            assert refused.is_error and refused.content[0].text.startswith(
                "unauthenticated: irerd takes no such key of engine mailer"
            )
            assert key not in repr([*said, traded, refused])
    with irerd.client() as admin:
        refusals = admin.call("gate.breaches").result
    assert key not in json.dumps(refusals)
