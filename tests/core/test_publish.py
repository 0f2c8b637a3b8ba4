"""The published documents are true: independent tools read them, and they judge messages as the daemon does."""

import hashlib
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import cbor2
import msgspec
import pycddl
import pytest
from openapi_spec_validator import validate

from core import publish
from core.catalogue import Catalogue
from core.engines import ENGINES
from core.wire import calls
from core.wire.errors import CODES
from irerctl.publish import main
from tests.core.sample_engine import EXAMPLE, Order, shop

GOLDEN = Path(__file__).parents[1] / "golden" / "frames.jsonl"
GLOSSARY = Path(__file__).parents[2] / "docs" / "glossary.md"
MAGIC = b"\xd8\x18\x5a"


def frame(message: Any) -> bytes:
    body = cbor2.dumps(message)
    return MAGIC + len(body).to_bytes(4, "big") + body


@cache
def schema(start: str, which: str = "real") -> pycddl.Schema:
    """The grammar with another first rule. Each message is held to its own rule: the tool judges a choice between maps loosely."""
    return pycddl.Schema(f"start = {start}\n{grammar(which)}")


@cache
def grammar(which: str) -> str:
    return publish.cddl(Catalogue(ENGINES) if which == "real" else shop())


def is_valid(start: str, data: bytes, which: str = "real") -> bool:
    try:
        schema(start, which).validate_cbor(data)
    except pycddl.ValidationError:
        return False
    return True


def is_frame_of(rule: str, message: Any) -> bool:
    return is_valid(f"#6.24(bstr .cbor {rule})", frame(message))


# The envelope, as CDDL

HASH = "5e" * 32
ERROR = {
    "code": "not-found",
    "title": "no such thing",
    "detail": "unknown method",
    "reason": "typo",
    "fields": [{"path": "p.a", "problem": "too large"}],
    "data": {"nearest": ["system.ping"]},
    "retry_ms": 50,
    "effect": "none",
    "instance": "0f6c",
    "help": "irerctl api ls",
}
MESSAGES: dict[str, dict[str, Any]] = {
    "hello": {"t": "hello", "proto": [1], "client": "irerctl/0.1.0"},
    "call": {
        "t": "call",
        "id": 1,
        "m": "shop.order",
        "p": {"a": {"b": [1, {"c": None}]}},
        "dl": 5000,
        "idem": "cli-8d2f6c01",
        "dry": False,
        "as": "mailer",
    },
    "cancel": {"t": "cancel", "id": 2, "why": "enough"},
    "client-bye": {"t": "bye", "why": "done", "after_ms": 0, "e": ERROR},
    "welcome": {
        "t": "welcome",
        "proto": 1,
        "server": "irerd/0.1.0",
        "instance": "0f6c",
        "boot": 12,
        "limits": {"frame": 1114112},
        "schema": HASH,
        "peer": {"uid": 1000, "gid": 1000, "role": "operator"},
        "state": "ready",
    },
    "item": {"t": "item", "id": 2, "n": 0, "r": {"type": "hunt.started"}, "cur": "w1.41"},
    "mark": {"t": "mark", "id": 2, "cur": "w1.48"},
    "done": {
        "t": "done",
        "id": 1,
        "r": {"hunt_id": "h-7f3a"},
        "rc": {"log": "hunt_log", "seq": 40, "event_hash": HASH},
        "cur": "w1.41",
        "replayed": True,
    },
    "err": {"t": "err", "id": 2, "e": ERROR},
    "server-bye": {"t": "bye", "why": "shutdown", "after_ms": 500, "e": ERROR},
}
FROM_CLIENT = ("hello", "call", "cancel", "client-bye")
OPTIONAL = {
    "call": {"p", "dl", "idem", "dry", "as"},
    "cancel": {"why"},
    "client-bye": {"after_ms", "e"},
    "item": {"cur"},
    "done": {"rc", "cur", "replayed"},
    "server-bye": {"after_ms", "e"},
}
ANYTHING = {("item", "r"), ("done", "r")}
EVERY_FIELD = [(rule, name) for rule, message in MESSAGES.items() for name in message]


@pytest.mark.parametrize("rule", MESSAGES)
def test_every_message_fits_its_rule_with_and_without_what_is_optional(rule):
    bare = {name: value for name, value in MESSAGES[rule].items() if name not in OPTIONAL.get(rule, ())}
    assert is_frame_of(rule, MESSAGES[rule])
    assert is_frame_of(rule, bare)
    assert is_valid("frame", frame(MESSAGES[rule]))


@pytest.mark.parametrize(("rule", "name"), EVERY_FIELD)
def test_a_missing_field_is_refused_unless_it_is_optional(rule, name):
    rest = {key: value for key, value in MESSAGES[rule].items() if key != name}
    assert is_frame_of(rule, rest) == (name in OPTIONAL.get(rule, ()))


@pytest.mark.parametrize(("rule", "name"), EVERY_FIELD)
def test_a_field_of_another_type_is_refused(rule, name):
    wrong = 0.5 if (rule, name) not in ANYTHING else None
    assert is_frame_of(rule, {**MESSAGES[rule], name: wrong}) == ((rule, name) in ANYTHING)


@pytest.mark.parametrize("rule", MESSAGES)
def test_an_unknown_field_is_refused_from_a_client_and_allowed_from_a_server(rule):
    assert is_frame_of(rule, {**MESSAGES[rule], "later": 1}) == (rule not in FROM_CLIENT)


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("hello", {"proto": []}),
        ("hello", {"proto": [0]}),
        ("call", {"id": 0}),
        ("call", {"id": calls.ID_MAX + 1}),
        ("call", {"dl": 0}),
        ("call", {"dl": calls.DEADLINE_MS_MAX + 1}),
        ("call", {"m": "ping"}),
        ("call", {"m": "System.Ping"}),
        ("call", {"idem": "short"}),
        ("call", {"idem": "x" * 65}),
        ("call", {"idem": "white space"}),
        ("call", {"p": {1: 2}}),
        ("client-bye", {"why": "bored"}),
        ("welcome", {"schema": "5e"}),
        ("welcome", {"state": "asleep"}),
        ("welcome", {"peer": {"uid": 1000, "gid": 1000}}),
        ("welcome", {"limits": {"frame": "large"}}),
        ("item", {"n": -1}),
        ("done", {"rc": {"log": "hunt_log", "seq": 40}}),
        ("done", {"rc": {"log": "hunt_log", "seq": -1, "event_hash": HASH}}),
        ("err", {"e": {"title": "no code"}}),
        ("err", {"e": {**ERROR, "code": "sorry"}}),
        ("err", {"e": {**ERROR, "effect": "some"}}),
        ("err", {"e": {**ERROR, "fields": [{"path": "p"}]}}),
    ],
)
def test_a_value_out_of_its_bounds_is_refused(rule, change):
    assert not is_frame_of(rule, {**MESSAGES[rule], **change})


def test_the_edges_of_the_ranges_are_inside():
    assert is_frame_of("call", {**MESSAGES["call"], "id": calls.ID_MAX, "dl": calls.DEADLINE_MS_MAX, "idem": "x" * 64})


def test_a_body_outside_tag_24_is_no_frame():
    assert not is_valid("frame", cbor2.dumps(MESSAGES["call"]))


def test_what_our_own_encoders_write_fits():
    client = calls.ClientConnection()
    assert is_valid("#6.24(bstr .cbor hello)", client.hello("test"))
    _, call = client.call("shop.order", {"order_id": "o-1"}, dl=5, idem="abcdefgh", dry=True, as_="mailer")
    assert is_valid("#6.24(bstr .cbor call)", call)
    assert is_valid("#6.24(bstr .cbor done)", calls.done(1, {"a": [1.5]}, {"log": "x", "seq": 1, "event_hash": HASH}, "c"))
    assert is_valid("#6.24(bstr .cbor err)", calls.err(1, ERROR))
    assert is_valid("#6.24(bstr .cbor server-bye)", calls.bye("slow", 10, ERROR))


# The golden frames, as CDDL


def golden() -> list[Any]:
    """Each frame with its rule's name and the message in it, decoded by a library that is not ours."""
    found = []
    for line in GOLDEN.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        raw = bytes.fromhex(entry["hex"])
        message = cbor2.loads(cbor2.loads(raw).value)
        rule = f"{entry['from']}-bye" if message["t"] == "bye" else message["t"]
        found.append(pytest.param(rule, raw, message, id=entry["name"]))
    return found


def test_the_golden_frames_hold_every_kind_of_message():
    assert {case.values[0] for case in golden()} == set(MESSAGES)


@pytest.mark.parametrize(("rule", "raw", "message"), golden())
def test_a_golden_frame_fits_its_rule(rule, raw, message):
    assert is_valid(f"#6.24(bstr .cbor {rule})", raw)
    assert is_valid("frame", raw)


@pytest.mark.parametrize(("rule", "raw", "message"), golden())
def test_a_changed_golden_frame_is_refused(rule, raw, message):
    for name in message.keys() - OPTIONAL.get(rule, set()):
        assert not is_frame_of(rule, {key: value for key, value in message.items() if key != name}), f"without {name}"
    for name in message:
        if (rule, name) not in ANYTHING:
            assert not is_frame_of(rule, {**message, name: 0.5}), f"{name} of another type"
    assert is_frame_of(rule, {**message, "later": 1}) == (rule not in FROM_CLIENT)


@pytest.mark.parametrize(("rule", "raw", "message"), [case for case in golden() if case.values[0] == "call"])
def test_a_golden_call_carries_params_of_its_method(rule, raw, message):
    Catalogue(ENGINES).find(message["m"])
    assert is_valid(f"{message['m']}.params", cbor2.dumps(message.get("p", {})))


# Methods, as CDDL


@pytest.mark.slow
@pytest.mark.parametrize("name", Catalogue(ENGINES).rows)
def test_every_methods_example_fits_its_params_rule(name):
    assert is_valid(f"{name}.params", cbor2.dumps(dict(Catalogue(ENGINES).find(name).example)))


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"order_id": ""},
        {"order_id": "a" * 64},
        {"order_id": "a" * 65},
        {"order_id": "A"},
        {"order_id": 7},
        {"parts": []},
        {"parts": [{"sku": "a"}] * 10},
        {"parts": [{"sku": "a"}] * 11},
        {"parts": [{"sku": "a", "share": 0}]},
        {"parts": [{"sku": "a", "share": 1.5}]},
        {"parts": [{"sku": "a", "share": 2}]},
        {"parts": [{"sku": "a", "share": "all"}]},
        {"parts": [{"share": 1.0}]},
        {"kind": "none"},
        {"wait_s": None},
        {"wait_s": 0},
        {"wait_s": 0.0},
        {"wait_s": 1},
        {"wait_s": 0.25},
        {"wait_s": 31_536_000},
        {"wait_s": 31_536_000.5},
        {"offset": -(2**53) + 1},
        {"offset": -(2**53)},
        {"offset": 2**53 - 1},
        {"offset": 2**53},
        {"note": "ä" * 40},
        {"labels": {"a": "b"}},
        {"labels": {"a": 1}},
        {"labels": {"abcde"[place]: "" for place in range(4)}},
        {"labels": {"abcde"[place]: "" for place in range(5)}},
        {"blob": b"0123456789abcdef"},
        {"blob": b"0123456789abcdef0"},
        {"blob": "text"},
        {"unknown": 1},
    ],
)
def test_the_grammar_takes_what_the_daemon_takes(change):
    given = {**EXAMPLE, **change}
    try:
        msgspec.convert(given, Order, strict=True, builtin_types=(bytes,))
        taken = True
    except msgspec.ValidationError:
        taken = False
    assert is_valid("shop.order.params", cbor2.dumps(given), "sample") == taken


def test_a_nested_type_is_closed_where_it_is_asked_with_and_open_where_it_is_answered():
    unknown = cbor2.dumps({"sku": "a", "share": 1.0, "more": 1})
    assert not is_valid("Part.request", unknown, "sample")
    assert is_valid("Part", unknown, "sample")


def test_results_items_and_events_have_rules_open_to_new_fields():
    fold = {"name": "a", "inside": [{"name": "b", "later": 1}], "later": 1}
    page = {"orders": ["o-1"], "counts": {"slow": 1}, "top": fold, "later": 1}
    assert is_valid("shop.orders.result", cbor2.dumps(page), "sample")
    assert not is_valid("shop.orders.result", cbor2.dumps({**page, "counts": {"slow": -1}}), "sample")
    assert is_valid("shop.orders.result", cbor2.dumps({**page, "floors": [0, 9]}), "sample")
    assert not is_valid("shop.orders.result", cbor2.dumps({**page, "floors": [10]}), "sample")
    assert is_valid("shop.follow.item", cbor2.dumps({"order_id": "o", "data": {"x": [1]}, "later": 1}), "sample")
    assert not is_valid("shop.follow.item", cbor2.dumps({"data": {}}), "sample")
    assert is_valid("event.shop.expired", cbor2.dumps({"order_id": "o", "later": 1}), "sample")


def test_maps_have_text_keys_only_and_every_method_has_its_rules():
    catalogue = Catalogue(ENGINES)
    text = publish.cddl(catalogue)
    assert not re.search(r"\* (?!tstr)\S+ =>", text)
    for name, row in catalogue.rows.items():
        assert f"\n{name}.params = " in text
        assert (f"\n{name}.item = " in text) == row.streams
        assert (f"\n{name}.result = " in text) == (row.result is not None)


# OpenAPI


def operation(document: Any, name: str) -> Any:
    return document["paths"][f"/rpc/{name}"]["post"]


@pytest.mark.parametrize("catalogue", [Catalogue(ENGINES), shop()], ids=["real", "sample"])
def test_the_openapi_document_is_valid_and_has_every_method(catalogue):
    document = publish.openapi(catalogue)
    validate(document)
    assert document["openapi"].startswith("3.1")
    assert list(document["paths"]) == [f"/rpc/{name}" for name in catalogue.rows]


def test_an_operation_says_its_permission_kind_and_headers():
    document = publish.openapi(shop())
    order = operation(document, "shop.order")
    assert (order["x-irer-permission"], order["x-irer-kind"], order["x-irer-events"]) == ("shop:write", "write", ["shop.ordered"])
    assert {"$ref": "#/components/parameters/IdempotencyKey"} in order["parameters"]
    assert order["requestBody"]["required"] is True
    orders = operation(document, "shop.orders")
    assert {"$ref": "#/components/parameters/IdempotencyKey"} not in orders["parameters"]
    assert orders["requestBody"]["required"] is False


def test_what_is_asked_with_is_closed_and_what_is_answered_open():
    parts = publish.openapi(shop())["components"]["schemas"]
    assert parts["Part.request"]["additionalProperties"] is False
    assert "additionalProperties" not in parts["Part"]


def test_a_stream_is_server_sent_events():
    follow = operation(publish.openapi(shop()), "shop.follow")
    assert list(follow["responses"]["200"]["content"]) == ["text/event-stream"]
    assert follow["responses"]["200"]["x-irer-item"]["title"] == "Shown"


def test_every_error_code_is_a_problem_under_its_status():
    document = publish.openapi(shop())
    order = operation(document, "shop.order")
    told: set[str] = set()
    for status, answer in order["responses"].items():
        if status == "200":
            continue
        content = document["components"]["responses"][answer["$ref"].rpartition("/")[2]]["content"]
        codes = content["application/problem+json"]["schema"]["allOf"][1]["properties"]["code"]["enum"]
        assert {CODES[code].http for code in codes} == {int(status)}
        told |= set(codes)
    assert told == set(CODES)


# Pages


def test_a_namespace_has_a_page_with_every_method_on_it():
    catalogue = Catalogue(ENGINES)
    pages = publish.reference(catalogue)
    for name, row in catalogue.rows.items():
        page = pages[f"{name.partition('.')[0]}.md"]
        start = page.index(f"## {name}\n")
        section = page[start : page.find("\n## ", start + 1)]
        assert row.help in section and f"`{row.needs}`" in section and f"irerctl call {name}" in section


def test_a_page_shows_bounds_defaults_and_nested_fields():
    page = publish.reference(shop())["shop.md"]
    assert "| `parts[].share` | number from 0 to 1, default `1.0` |  | how much of the whole |" in page
    assert "| `order_id` | code | yes | its name |" in page
    assert "| `top.inside[]" not in page


def test_a_write_says_that_it_may_have_had_nothing_to_do():
    pages, api = publish.reference(Catalogue(ENGINES)), publish.openapi(Catalogue(ENGINES))
    for name, row in Catalogue(ENGINES).rows.items():
        page = pages[f"{name.partition('.')[0]}.md"]
        section = page[page.index(f"## {name}\n") :].partition("\n## ")[0]
        content = operation(api, name)["responses"]["200"]["content"]
        empty = {"type": "object", "maxProperties": 0} in content.get("application/json", {}).get("schema", {}).get("anyOf", [])
        assert ("Or `{}`, without a receipt, when there was nothing to do." in section) == empty == (row.kind == "write"), name


def test_the_kinds_of_text_are_told_in_the_words_of_refusals():
    contents = publish.reference(shop())["README.md"]
    assert "| name | a name: letters, digits and . _ : @ / -, a letter or digit first, at most 64 characters |" in contents
    assert "| label | text, 0 to 200 characters |" in contents


def test_every_link_leads_somewhere():
    pages = publish.reference(Catalogue(ENGINES))
    anchors = {
        path: {re.sub(r"[^\w-]", "", line[3:].lower()) for line in text.splitlines() if line.startswith("## ")}
        for path, text in pages.items()
    }
    links = [(path, *link) for path, text in pages.items() for link in re.findall(r"\]\(([\w.]+)(?:#([\w-]+))?\)", text)]
    assert links
    for path, target, anchor in links:
        assert target in pages, (path, target)
        assert not anchor or anchor in anchors[target], (path, target, anchor)


def test_the_errors_page_has_every_code():
    page = publish.reference(shop())["errors.md"]
    for code, entry in CODES.items():
        assert f"| `{code}` | {entry.http} | {entry.exit} | {entry.title} |" in page


# Generating


def test_the_same_catalogue_gives_the_same_bytes_in_every_process():
    program = """if True:
        import hashlib
        from core import publish
        from core.catalogue import Catalogue
        from core.engines import ENGINES
        print(hashlib.sha256(repr(sorted(publish.files(Catalogue(ENGINES)).items())).encode()).hexdigest())
    """
    here = hashlib.sha256(repr(sorted(publish.files(Catalogue(ENGINES)).items())).encode()).hexdigest()
    for seed in ("1", "2"):
        ran = subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        )
        assert ran.stdout.strip() == here


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "engines.py").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_check_names_what_is_stale_changes_nothing_and_says_what_to_type(checkout, capsys):
    assert main(["--check"]) == 1
    told = capsys.readouterr().out
    assert all(path in told for path in publish.files(Catalogue(ENGINES)))
    assert "Run: make api" in told
    assert not (checkout / "docs").exists()


def test_writing_makes_everything_fresh_and_only_what_was_stale_is_written_again(checkout, capsys):
    assert main([]) == 0
    assert main(["--check"]) == 0
    (checkout / "docs/reference/errors.md").write_text("old")
    (checkout / "docs/reference/gone.md").write_text("of a namespace that is no more")
    (checkout / "docs/api/notes.md").write_text("somebody's own")
    capsys.readouterr()
    assert main(["--check"]) == 1
    assert capsys.readouterr().out.splitlines()[:-1] == [
        "docs/reference/errors.md is out of date",
        "docs/reference/gone.md is out of date",
    ]
    assert main([]) == 0
    assert capsys.readouterr().out.splitlines() == ["wrote docs/reference/errors.md", "removed docs/reference/gone.md"]
    assert (checkout / "docs/api/notes.md").read_text() == "somebody's own"
    assert main(["--check"]) == 0


def test_outside_a_checkout_nothing_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([]) == 2
    assert list(tmp_path.iterdir()) == []
    assert "no checkout" in capsys.readouterr().err


# House words


def test_the_glossary_keeps_the_form_that_irerctl_help_reads():
    """A title, then for each word, in order, `## word` and one to three lines of text."""
    head, *entries = re.split(r"^## ", GLOSSARY.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert head.startswith("# ")
    words = []
    for entry in entries:
        found = re.fullmatch(r"([a-zA-Z][a-zA-Z -]*)\n\n((?:[^\n#].*\n){1,3})\n?", entry)
        assert found, entry
        words.append(found[1])
    assert words == sorted(words, key=str.lower) and len(words) == len(set(words))
    assert {"ledger", "gate", "spine", "fold", "PFT", "CEU", "MUNT", "witness", "torn", "corrupt", "parked"} <= set(words)
