"""Tools made from the catalogue: which an agent is shown, and that each is what it says."""

import json

import jsonschema
import pytest

from core.catalogue import Catalogue
from core.engines import ENGINES
from irerctl.mcp.tools import GATHER, KINDS, LEFT_OUT, Unknown, tools

DOCUMENT = Catalogue(ENGINES).document()
METHODS = {method["name"]: method for method in DOCUMENT["methods"]}
SHOWN_ONCE = {name for name, method in METHODS.items() if method["shown_once"]}


def methods(*kinds: str, only: tuple[str, ...] = ()) -> set[str]:
    return {tool.method for tool in tools(DOCUMENT, kinds, only).values()}


def test_unless_told_an_agent_sees_nothing_that_changes_anything():
    shown = tools(DOCUMENT)
    assert len(shown) > 60
    for tool in shown.values():
        assert METHODS[tool.method]["kind"] != "write" and METHODS[tool.method]["needs"].endswith(":read"), tool.method
        assert tool.listed["annotations"]["readOnlyHint"] is True


def test_each_kind_adds_its_own_and_nothing_shows_a_secret_unless_it_is_named():
    reads, writes, everything = (methods(*KINDS[:count]) for count in (1, 2, 3))
    assert reads < writes < everything == METHODS.keys() - SHOWN_ONCE - LEFT_OUT
    assert {"resource.scale", "hunt.start", "engines.validate"} <= writes - reads
    assert {METHODS[name]["needs"].partition(":")[2] for name in everything - writes} == {"admin"}
    assert SHOWN_ONCE and methods(*KINDS, only=("gate",)) & SHOWN_ONCE == set()
    assert methods(*KINDS, only=("gate.issue_token",)) == {"gate.issue_token"}
    assert methods("read", only=("gate.issue_token",)) == set(), "named, but a write"


def test_only_what_is_named_is_shown_and_an_unknown_name_is_refused():
    assert methods("read", only=("cache", "system.status")) == {
        name for name in methods("read") if name.startswith("cache.") or name == "system.status"
    }
    for wrong in ("cash", "cache.gt", ""):
        with pytest.raises(Unknown):
            tools(DOCUMENT, KINDS, (wrong,))


def test_each_tool_has_a_name_of_its_own_that_every_client_takes_and_schemas_that_hold_for_its_example():
    shown = tools(DOCUMENT, KINDS, ())
    assert len(shown) == len({tool.method for tool in shown.values()})
    for name, tool in shown.items():
        listed, method = tool.listed, METHODS[tool.method]
        assert listed["name"] == name and len(name) <= 64 and name.replace("_", "a").isalnum() and name.isascii()
        for schema in (listed["inputSchema"], listed["outputSchema"]):
            assert schema["type"] == "object"
            jsonschema.Draft202012Validator.check_schema(schema)
            pointed = json.dumps(schema).count('"#/$defs/')
            assert not pointed or schema["$defs"], name
        jsonschema.validate(method["example"], listed["inputSchema"], jsonschema.Draft202012Validator)
        assert tool.streams is method["streams"] and method["help"] in listed["description"]
        assert (listed["inputSchema"]["properties"].keys() >= GATHER.keys()) is tool.streams
        assert not method["params"].get("properties", {}).keys() & GATHER.keys(), f"{name} has a parameter of that name"


def test_an_answer_that_did_nothing_is_within_what_a_write_says_and_not_within_what_a_read_says():
    shown = tools(DOCUMENT, KINDS, ())
    jsonschema.validate({}, shown["resource_scale"].listed["outputSchema"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({}, shown["resource_pools"].listed["outputSchema"])
    gathered = {"items": [], "more": True, "result": None, "cursor": None}
    jsonschema.validate(gathered, shown["system_watch"].listed["outputSchema"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**gathered, "items": [1]}, shown["system_watch"].listed["outputSchema"])
