"""Commands made from rows: each row's example can be typed, lists go on by themselves, secrets keep off the command line."""

import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from core.engine import Refused, Row
from core.entity.reads import EntityPage
from irerctl import fields, generic, paging
from irerctl.main import cli
from irerctl.shown_once import secrets_of
from tests.irerctl.conftest import Run, Serve
from tests.irerctl.peer import RECEIPT, Stream, Written
from tests.irerctl.samples import AT

ROWS = {
    row.name: row
    for row in generic.catalogue().rows.values()
    if row.cli and generic.spelling(row.cli).group not in generic.HAND_MADE
}


def typed(row: Row, example: Mapping[str, Any], place: Path) -> list[str]:
    """The example of a row as somebody would type it."""
    spelled = generic.spelling(row.cli)
    shapes = {name: fields.shape_of(kind) for name, kind in fields.field_types(row.params).items()}

    def text(name: str, value: Any) -> str:
        if isinstance(shapes[name].type, fields.SecretText):
            (place / name).write_text(f"{value}\n")
            return f"@{place / name}"
        if isinstance(shapes[name].type, fields.JsonText):
            return json.dumps(value)
        return str(value).lower() if isinstance(value, bool) else str(value)

    arguments: list[str] = []
    for name in (name for name, _ in spelled.arguments if name in example):
        many = shapes[name].many and not isinstance(shapes[name].type, fields.JsonText)
        arguments += [text(name, each) for each in (example[name] if many else [example[name]])]
    options: list[str] = []
    for name, value in example.items():
        flag = "--" + name.replace("_", "-")
        if name in {named for named, _ in spelled.arguments}:
            continue
        if shapes[name].type is click.BOOL:
            options.append(flag if value else f"--no-{flag[2:]}")
        elif shapes[name].many and not isinstance(shapes[name].type, fields.JsonText):
            options += [part for each in value for part in (flag, text(name, each))]
        else:
            options += [flag, text(name, value)]
    return [spelled.group, *spelled.command.split(), *options, "--", *arguments] if arguments else [
        spelled.group, *spelled.command.split(), *options
    ]  # fmt: skip


ALONE_AN_OVERVIEW = {name for name, row in ROWS.items() if " " not in row.cli and not row.example}
"""What a group's own row answers is part of its overview, which asks for more."""


@pytest.mark.parametrize("method", sorted(set(ROWS) - ALONE_AN_OVERVIEW))
def test_each_example_can_be_typed_and_is_sent_as_it_stands(run: Run, serve: Serve, place: Path, method: str) -> None:
    row = ROWS[method]
    answer: Any = Stream([]) if row.streams else Refused("failed-precondition", "asked for, and that is enough")
    peer = serve({method: answer})
    ran = run(*typed(row, row.example, place))
    assert [call.m for call in peer.calls] == [method], ran.output
    assert peer.calls[0].p == dict(row.example)


@pytest.mark.parametrize("called", generic.FIXED)
def test_a_fixed_command_sends_what_its_name_says(run: Run, serve: Serve, called: str) -> None:
    fixed = generic.FIXED[called]
    peer = serve({fixed.method: Refused("failed-precondition", "asked for, and that is enough")})
    assert run(*called.split()).exit_code == 65
    assert (peer.calls[0].m, peer.calls[0].p) == (fixed.method, dict(fixed.params))


def test_offline_on_means_that_the_far_end_is_not_talked_to() -> None:
    assert generic.FIXED["offline on"].params == {"online": False} and generic.FIXED["offline off"].params == {"online": True}


ROOT = Path(__file__).parents[2]
ADVICE = re.compile(r"(?::|\bor) +irerctl ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?")


def test_every_command_that_a_text_of_ours_tells_people_to_type_is_there() -> None:
    ctx, told, wrong = click.Context(cli), 0, []
    for path in (path for top in ("core", "irerd", "irerctl", "state") for path in (ROOT / top).rglob("*.py")):
        said = "\n".join(line for line in path.read_text().splitlines() if not line.lstrip().startswith('"""'))
        for name, inner in ADVICE.findall(said):
            found = cli.get_command(ctx, name)
            told += 1
            if found is None or (inner and isinstance(found, click.Group) and inner not in found.commands):
                wrong.append(f"{path.relative_to(ROOT)}: irerctl {name} {inner}")
    assert told > 50 and wrong == []


def test_every_namespace_that_people_ask_for_has_its_commands() -> None:
    """INTERFACE.md's table of commands, as far as it is there."""
    promised = {
        "engine": "submit cancel tasks scale health",
        "gate": "issue revoke check policy",
        "nav": "go",
        "entity": "spawn awaken hibernate deactivate report heal",
        "offline": "on off sync conflicts",
        "cache": "get set delete ls",
        "metrics": "history --prom",
        "control": "engines register permissions platforms flags config log",
    }
    table = generic.table()
    assert {name: set(words.split()) - set(table[name]) for name, words in promised.items()} == {name: set() for name in promised}
    assert "" in table["order"] and table["wealth"].keys() == {""}


# --- a group with a row of its own ---------------------------------------------------------------------------------------------


ORDERED = {"order_id": "o-1", "total": 3998, "currency": "EUR"}
ITEM = {"sku": "w", "quantity": 2, "unit_price": 1999}


def test_what_is_no_command_of_a_group_is_meant_for_its_own_row(run: Run, serve: Serve) -> None:
    page = {"orders": []}
    peer = serve({"circuit.order": Written(ORDERED), "circuit.orders": page, "circuit.status": {"placed": 0, "open": 0}})
    options = ["--customer", "ann", "--currency", "EUR", "--items", json.dumps([ITEM]), "--items", json.dumps(ITEM)]
    for before, after in (([], []), (["-o", "json"], []), ([], ["-o", "json"])):
        assert run("order", *before, *options, *after).exit_code == 0
        assert peer.calls[-1].p == {"customer": "ann", "items": [ITEM, ITEM], "currency": "EUR"}
    assert run("order", "list").stdout == "no orders\n"
    for alone in (["order"], ["order", "-o", "json"], ["-ojson", "order"], ["order", "--output=json"]):
        assert run(*alone).exit_code == 0 and peer.calls[-1].m == "circuit.orders"
    said = run("order", "--help").stdout
    assert "--customer" in said and "list" in said and "--watch" in said


def test_a_row_and_its_group_share_a_name(run: Run, serve: Serve) -> None:
    peer = serve({"engines.get": Refused("not-found", "no"), "engines.set_permissions": Written({}), "config.get": {"values": {}}})
    run("control", "permissions", "mailer")
    assert (peer.calls[-1].m, peer.calls[-1].p) == ("engines.get", {"engine_id": "mailer"})
    run("control", "permissions", "set", "mailer", "--deny", '{"gmail": ["send"]}')
    assert (peer.calls[-1].m, peer.calls[-1].p) == ("engines.set_permissions", {"engine_id": "mailer", "deny": {"gmail": ["send"]}})
    run("control", "config")
    run("control", "config", "retry.attempts")
    assert [call.p for call in peer.calls[-2:]] == [{}, {"key": "retry.attempts"}]
    missing = run("control", "permissions")
    assert missing.exit_code == 2 and "Missing argument 'ENGINE_ID'" in missing.stderr
    assert missing.stderr.endswith(" Try: irerctl control permissions --help\n"), "what can be typed"
    many = run("control", "platforms", "status", "gmail", "maintenance")
    assert many.exit_code == 2 and many.stderr.endswith(" Try: irerctl control platforms --help\n")


def test_a_command_that_a_group_does_not_have_names_the_nearest(run: Run) -> None:
    ran = run("gate", "isue")
    assert ran.exit_code == 2
    assert ran.stderr == "irerctl: no command 'isue' in irerctl gate. Did you mean issue? Try: irerctl gate --help\n"


# --- lists ---------------------------------------------------------------------------------------------------------------------


def entity(number: int) -> dict[str, Any]:
    return {"entity_id": f"e-{number}", "type": "worker", "state": "active", "since": AT, "cause": "ready", "spawned_at": AT}


def in_pages(count: int, size: int) -> Any:
    """A list of so many entities, in pages of so many, every third of them empty."""

    def answer(params: dict[str, Any]) -> dict[str, Any]:
        at, turn = map(int, str(params.get("after", "0.0")).split("."))
        take = 0 if turn % 3 == 2 else min(size, params.get("limit", size), count - at)
        page: dict[str, Any] = {"entities": [entity(number) for number in range(at, at + take)]}
        return page if at + take == count else {**page, "next": f"{at + take}.{turn + 1}"}

    return answer


def test_a_list_goes_on_until_its_end(run: Run, serve: Serve) -> None:
    msgspec.convert(in_pages(5, 2)({}), EntityPage)
    peer = serve({"entity.list": in_pages(25, 4)})
    everything = [entity(number) for number in range(25)]
    assert json.loads(run("-o", "json", "entity", "list", "--state", "active").stdout) == {"entities": everything}
    assert len(peer.calls) > 6 and all(call.p["state"] == "active" for call in peer.calls)
    assert [json.loads(line) for line in run("-o", "jsonl", "entity", "list").stdout.splitlines()] == everything
    assert len(run("entity", "list").stdout.splitlines()) == 26


@pytest.mark.parametrize(("limit", "shown"), [(1, 1), (7, 7), (25, 25), (99, 25)])
def test_a_limit_is_of_rows_not_of_pages_and_says_how_to_go_on(run: Run, serve: Serve, limit: int, shown: int) -> None:
    peer = serve({"entity.list": in_pages(25, 4)})
    found = json.loads(run("-o", "json", "entity", "list", "--limit", str(limit)).stdout)
    assert len(found["entities"]) == shown and ("next" in found) == (limit < 25)
    assert peer.calls[0].p == {"limit": limit}
    told = run("entity", "list", "--limit", str(limit)).stderr
    assert ("More: add --after" in told) == (limit < 25)
    if limit < 25:
        rest = json.loads(run("-o", "json", "entity", "list", "--after", found["next"]).stdout)
        assert [row["entity_id"] for row in found["entities"] + rest["entities"]] == [f"e-{number}" for number in range(25)]


def test_a_list_that_does_not_go_on_is_not_asked_for_ever(run: Run, serve: Serve) -> None:
    peer = serve({"entity.list": {"entities": [], "next": "7"}})
    run("entity", "list")
    assert len(peer.calls) == 2


def test_a_terminal_gets_a_thousand_rows_unless_more_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = [{"rows": list(range(400)), "next": str(number)} for number in range(9)]
    found = paging.whole(pages, generic.ROWS_ON_TERMINAL_MAX)
    assert len(found["rows"]) == 1_200 and found["next"] == "2"
    assert len(paging.whole(pages)["rows"]) == 3_600


def test_every_method_that_pages_is_followed() -> None:
    lists = {row.name for row in generic.catalogue().rows.values() if paging.is_list(row)}
    assert {"resource.tasks", "gate.list", "engines.list", "platforms.list", "log.query", "cache.list", "entity.list"} <= lists


# --- JSON, files, secrets ------------------------------------------------------------------------------------------------------


def test_a_value_is_written_out_or_comes_from_a_file_or_a_pipe(run: Run, serve: Serve, place: Path) -> None:
    peer = serve({"cache.set": Written({"key": "k", "rev": "1-a"})})
    (place / "value.json").write_text('{"a": [1, null]}')
    for value, input, meant in (
        ('"hello"', None, "hello"),
        ("null", None, None),
        ("5.5", None, 5.5),
        (f"@{place}/value.json", None, {"a": [1, None]}),
        ("-", "[1, 2]\n", [1, 2]),
        ("@-", "true", True),
    ):
        ran = run("cache", "set", "k", value, input=input)
        assert ran.exit_code == 0, ran.output
        assert peer.calls[-1].p == {"key": "k", "value": meant}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("hello", "A text stands in double quotes: '\"hello\"'"),
        ('{"a": 1, "a": 2}', 'give "a" twice; which one is meant?'),
        ('{"a": {"b": 1, "b": 1}}', 'give "b" twice'),
        ("NaN", "have NaN, which JSON does not know"),
        ('{"a": -Infinity}', "have -Infinity"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": 1', "not JSON"),
    ],
)
def test_what_is_no_json_value_or_could_mean_two_things_is_not_sent(run: Run, serve: Serve, value: str, says: str) -> None:
    peer = serve({"cache.set": Written({"key": "k", "rev": "1-a"})})
    ran = run("cache", "set", "k", value)
    assert ran.exit_code == 2 and says in ran.stderr and peer.calls == []
    assert run("call", "cache.set", f'{{"key": "k", "value": {value}}}').exit_code == 2


def test_a_file_that_is_not_there_is_named(run: Run, place: Path) -> None:
    ran = run("cache", "set", "k", f"@{place}/missing")
    assert ran.exit_code == 66 and f"cannot read {place}/missing: No such file or directory" in ran.stderr
    (place / "raw").write_bytes(b"\xff\xfe")
    assert "not UTF-8" in run("cache", "set", "k", f"@{place}/raw").stderr


def test_no_secret_can_be_typed_on_a_command_line(run: Run, serve: Serve, place: Path) -> None:
    taking = [
        (row, name)
        for row in ROWS.values()
        for name, kind in fields.field_types(row.params).items()
        if isinstance(fields.shape_of(kind).type, fields.SecretText)
    ]
    assert {row.name for row, _ in taking} >= {"gate.check", "nav.navigate", "engines.validate"}
    for row, name in taking:
        peer = serve({row.name: Written({})})
        words = typed(row, row.example, place)
        words[words.index(f"@{place / name}")] = "hunter2"
        ran = run(*words)
        peer.close()
        assert ran.exit_code == 2 and "never stands on the command line" in ran.stderr and peer.calls == []
        assert "hunter2" not in ran.output


def test_an_empty_secret_is_told_before_anything_is_asked(run: Run, serve: Serve) -> None:
    peer = serve({"gate.check": Written({"allowed": True, "reason": "ok"})})
    ran = run("gate", "check", "wealth", "--token", "-", input="\n")
    assert ran.exit_code == 2 and "nothing in it" in ran.stderr and peer.calls == []


ISSUED = {"token": "the.secret.itself", "jti": "j-1", "expires_at": AT}


def test_a_secret_is_printed_once_alone_so_that_it_can_be_piped(run: Run, serve: Serve) -> None:
    serve({"gate.issue_token": Written(ISSUED)})
    ran = run("gate", "issue", "wealth", "user_001")
    assert ran.stdout == "the.secret.itself\n"
    assert "j-1" in ran.stderr and AT in ran.stderr and "secret" not in ran.stderr
    assert json.loads(run("-o", "json", "gate", "issue", "wealth", "u").stdout) == {"result": ISSUED, "receipt": RECEIPT}


@pytest.mark.parametrize("output", ["table", "json"])
def test_out_writes_a_secret_for_nobody_else_and_prints_it_nowhere(run: Run, serve: Serve, place: Path, output: str) -> None:
    serve({"gate.issue_token": Written(ISSUED)})
    out = place / "token"
    out.write_text("of before")
    os.chmod(out, 0o644)
    ran = run("-o", output, "gate", "issue", "wealth", "user_001", "--out", str(out))
    assert ran.exit_code == 0 and "secret" not in ran.output and "j-1" in ran.output
    assert out.read_text() == "the.secret.itself\n" and stat.S_IMODE(out.stat().st_mode) == 0o600
    assert [path.name for path in place.iterdir() if path.name != "irerd.sock"] == ["token"]


def test_a_secret_is_not_made_where_it_cannot_be_written_and_a_refusal_leaves_no_file(run: Run, serve: Serve, place: Path) -> None:
    peer = serve({"gate.issue_token": Refused("out-of-range", "no")})
    ran = run("gate", "issue", "wealth", "u", "--out", str(place / "nowhere" / "token"))
    assert ran.exit_code == 65 and "Nothing was done" in ran.stderr and peer.calls == []
    assert run("gate", "issue", "wealth", "u", "--out", str(place / "token")).exit_code == 65
    assert [path.name for path in place.iterdir()] == ["irerd.sock"]


def test_a_dry_run_makes_no_file(run: Run, serve: Serve, place: Path) -> None:
    serve({"gate.issue_token": Written(ISSUED)})
    assert run("gate", "issue", "wealth", "u", "--dry-run", "--out", str(place / "token")).exit_code == 0
    assert not (place / "token").exists()


def test_every_method_that_shows_a_secret_once_can_write_it_to_a_file() -> None:
    once = [row for row in generic.catalogue().rows.values() if row.shown_once]
    assert once and all(len(secrets_of(row)) == 1 for row in once)


@pytest.mark.parametrize(
    ("command", "offered"),
    [("engine scale", True), ("gate issue", True), ("gate check", False), ("nav go", False), ("control check", False)],
)
def test_a_dry_run_is_offered_where_irerd_would_serve_it(run: Run, command: str, offered: bool) -> None:
    shown = run(*command.split(), "--help")
    assert shown.exit_code == 0 and ("--dry-run" in shown.stdout) == offered
