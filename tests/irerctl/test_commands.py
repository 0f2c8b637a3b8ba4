"""call, watch, reload, version, help and the commands made from rows: what they send, and what they print."""

import json
import signal
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from core.catalogue import Catalogue
from core.engine import Command, Refused, write
from core.engines import ENGINES
from core.fields import Name, privacy
from irerctl import about, fields, generic, rows
from irerctl.call import SECRETS
from irerctl.commands import COMMANDS
from irerctl.fields import field_types, is_secret
from tests.irerctl.conftest import Run, Serve
from tests.irerctl.peer import RECEIPT, Stream, Written
from tests.irerctl.samples import TASK

EVENT = {"type": "task.submitted", "log": "engine_state", "seq": 1, "time": "2026-01-02T03:04:05.000006Z", "actor": "uid:1000"}
SCALED = {"pool": "compute", "from_units": 4, "to_units": 8, "reason": "request"}


# The table of rows


def test_the_static_table_is_what_the_rows_say() -> None:
    assert generic.table() == rows.ROWS
    assert Path(rows.__file__).read_text() == generic.written()


def test_every_row_with_a_command_has_one_and_its_arguments_are_fields(run: Run) -> None:
    for row in Catalogue(ENGINES).rows.values():
        if not row.cli:
            continue
        spelled = generic.spelling(row.cli)
        words = [spelled.group, *spelled.command.split()]
        names = {field.encode_name for field in msgspec.structs.fields(row.params)}
        assert {name for name, _ in spelled.arguments} <= names, row.name
        ran = run(*words, "--help")
        assert ran.exit_code == 0, (row.name, ran.stderr)
        if spelled.group not in COMMANDS or not COMMANDS[spelled.group].place:
            text = ran.stdout.replace("-", "_")
            assert all(f"__{name}" in text for name in names - {name for name, _ in spelled.arguments}), row.name


def test_arguments_and_options_become_typed_parameters(run: Run, serve: Serve) -> None:
    peer = serve({"resource.submit_task": Written(TASK)})
    job = '{"name": "verify_log", "params": {"log": "engine_state"}}'
    options = ["--units", "4", "--duration-s", "2.5", "--depends-on", "a", "--depends-on", "b", "--job", job]
    ran = run("engine", "submit", "t-1", "--priority", "high", "--resource-type", "compute", *options)
    assert ran.exit_code == 0
    assert peer.calls[0].p == {
        "task_id": "t-1",
        "priority": "high",
        "resource_type": "compute",
        "units": 4,
        "duration_s": 2.5,
        "depends_on": ["a", "b"],
        "job": json.loads(job),
    }
    assert ran.stdout == "t-1 submitted: 4 units of compute, priority high\n"


def test_what_is_not_given_is_not_sent(run: Run, serve: Serve) -> None:
    peer = serve({"resource.tasks": {"tasks": []}})
    assert run("engine", "tasks").stdout == "no tasks\n"
    assert peer.calls[0].p == {}


def test_every_call_carries_a_key_of_its_own_or_the_one_given(run: Run, serve: Serve) -> None:
    peer = serve({"resource.scale": Written(SCALED)})
    run("engine", "scale", "compute", "8")
    run("engine", "scale", "compute", "8")
    run("engine", "scale", "compute", "8", "--idem", "my-own-key")
    first, second, third = [call.idem for call in peer.calls]
    assert first and second and first != second
    assert third == "my-own-key"


def test_a_write_shows_its_receipt_only_when_asked(run: Run, serve: Serve) -> None:
    serve({"resource.scale": Written(SCALED)})
    both = {"result": SCALED, "receipt": RECEIPT}
    assert run("engine", "scale", "compute", "8").stdout == "compute: 4 → 8 units\n"
    assert json.loads(run("-o", "json", "engine", "scale", "compute", "8").stdout) == both
    told = run("engine", "scale", "compute", "8", "--receipt").stdout
    assert RECEIPT["event_hash"] in told and "engine_state" in told


def test_dry_run_says_so_to_the_daemon_and_shows_the_events(run: Run, serve: Serve) -> None:
    peer = serve({"resource.scale": Written(SCALED)})
    ran = run("engine", "scale", "compute", "8", "--dry-run")
    assert peer.calls[0].dry is True
    assert ran.stdout == "would write thing.happened  pool=compute  from_units=4  to_units=8  reason=request\n"


class Guarded(Command):
    """A command with a secret.

    name: whose
    token: what opens it
    wanted: whether
    """

    name: Name
    token: Name | None = None
    wanted: bool = False


def test_a_secret_never_stands_on_the_command_line(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import typing

    secret = typing.Annotated[str, privacy("secret")]
    shape = fields.shape_of(msgspec.inspect.type_info(secret))
    with pytest.raises(click.BadParameter, match="never stands on the command line"):
        shape.type.convert("hunter2", None, None)
    (place / "token").write_text("hunter2\n")
    assert shape.type.convert(f"@{place}/token", None, None) == "hunter2"


def test_a_row_nobody_drew_becomes_a_command_with_its_fields() -> None:
    row = write("guard", Guarded, None, help="Guard it", example={}, cli="gate guard NAME")
    made = generic.command(row, "guard")
    options = {name for param in made.params for name in [*param.opts, *param.secondary_opts]}
    assert {"--token", "--wanted", "--no-wanted", "--receipt", "--dry-run", "--idem", "-o", "--socket"} <= options
    argument = next(param for param in made.params if isinstance(param, click.Argument))
    assert argument.required


# call


def test_call_prints_the_result_as_one_json_value_whatever_the_format(run: Run, serve: Serve) -> None:
    peer = serve({"resource.scale": Written(SCALED), "system.ping": {}})
    for options in ([], ["-o", "json"], ["-o", "table"]):
        assert json.loads(run(*options, "call", "resource.scale", '{"pool": "compute", "size": 8}').stdout) == SCALED
    assert peer.calls[0].p == {"pool": "compute", "size": 8}
    assert run("call", "system.ping").stdout == "{}\n"
    told = run("call", "resource.scale", "-", "--receipt", input='{"pool": "compute", "size": 8}')
    assert json.loads(told.stdout) == {"result": SCALED, "receipt": RECEIPT}


def test_call_takes_a_secret_from_elsewhere_and_says_so_where_it_did_not(run: Run, serve: Serve, tmp_path: Path) -> None:
    peer = serve({"gate.check": {"allowed": True}})
    place = tmp_path / "a.token"
    place.write_text("s3cret\n")
    whole = tmp_path / "params.json"
    whole.write_text('{"token": "@not-a-file", "domain": "wealth"}')
    asked = [
        run("call", "gate.check", f'{{"token": "@{place}", "domain": "wealth"}}'),
        run("call", "gate.check", '{"token": "-", "domain": "wealth"}', input="s3cret\n"),
        run("call", "gate.check", f"@{whole}"),
    ]
    assert [ran.exit_code for ran in asked] == [0, 0, 0] and {ran.stderr for ran in asked} == {""}
    assert [call.p["token"] for call in peer.calls] == ["s3cret", "s3cret", "@not-a-file"]
    told = run("call", "gate.check", '{"token": "s3cret", "domain": "wealth"}')
    assert told.exit_code == 0 and "other users can read it" in told.stderr and "s3cret" not in told.stderr
    quiet = run("-o", "json", "call", "gate.check", '{"token": "s3cret", "domain": "wealth"}')
    assert quiet.stderr == "" and peer.calls[-1].p["token"] == "s3cret"
    missing = run("call", "gate.check", '{"token": "@nowhere"}')
    assert (missing.exit_code, len(peer.calls)) == (66, 5) and "cannot read nowhere" in missing.stderr


def test_every_parameter_that_is_a_secret_is_known_to_call_and_no_other_has_its_name() -> None:
    named = {(name, is_secret(kind)) for row in generic.catalogue().rows.values() for name, kind in field_types(row.params).items()}
    assert {name for name, secret in named if secret} == set(SECRETS)
    assert not {(name, False) for name in SECRETS} & named


def test_call_stream_prints_each_item_on_a_line(run: Run, serve: Serve) -> None:
    serve({"audit.hashchain": Stream([{"log": "a"}, {"log": "b"}], result={"ok": True})})
    ran = run("call", "audit.hashchain", "--stream")
    assert [json.loads(line) for line in ran.stdout.splitlines()] == [{"log": "a"}, {"log": "b"}]
    assert json.loads(run("-o", "json", "call", "audit.hashchain", "--stream").stdout) == [{"log": "a"}, {"log": "b"}]


def test_call_of_a_stream_without_saying_so_names_the_option(run: Run, serve: Serve) -> None:
    serve({"audit.hashchain": Stream([{"log": "a"}], result={"ok": True})})
    ran = run("call", "audit.hashchain")
    assert ran.exit_code == 65
    assert ran.stderr == "irerctl: audit.hashchain streams: it has many answers. Try: irerctl call audit.hashchain --stream\n"


def test_call_stream_of_a_method_with_one_answer_prints_that(run: Run, serve: Serve) -> None:
    serve({"system.ping": {"pong": 1}})
    assert run("call", "system.ping", "--stream").stdout == '{"pong":1}\n'


def test_bytes_become_base64(run: Run, serve: Serve) -> None:
    serve({"cache.get": {"value": b"\x00\xff"}})
    assert json.loads(run("call", "cache.get").stdout) == {"value": "AP8="}


def test_jsonl_is_one_object_for_each_thing_of_a_list(run: Run, serve: Serve) -> None:
    serve({"resource.tasks": {"tasks": [TASK, {**TASK, "task_id": "t-2"}]}})
    lines = run("-o", "jsonl", "engine", "tasks").stdout.splitlines()
    assert [json.loads(line)["task_id"] for line in lines] == ["t-1", "t-2"]


# watch


def test_watch_passes_its_filters_on_and_prints_a_line_for_each_event(run: Run, serve: Serve) -> None:
    peer = serve({"system.watch": Stream([{**EVENT, "data": {"task_id": "t-1", "units": 4}}])})
    ran = run("watch", "--engine", "resource", "--type", "task.submitted", "--since", "w1.0")
    assert peer.calls[0].p == {"engine": "resource", "type": "task.submitted", "since": "w1.0"}
    assert ran.stdout == "2026-01-02T03:04:05.000006Z  task.submitted      uid:1000   task_id=t-1  units=4\n"


def test_watch_as_data_carries_the_cursor_to_go_on_from(run: Run, serve: Serve) -> None:
    events = [{**EVENT, "data": {}}, {**EVENT, "seq": 2, "data": {}}]
    serve({"system.watch": Stream(events)})
    expected = [{**event, "cursor": f"w1.{n}"} for n, event in enumerate(events)]
    assert [json.loads(line) for line in run("watch", "-o", "jsonl").stdout.splitlines()] == expected
    assert json.loads(run("watch", "-o", "json").stdout) == expected


@pytest.mark.parametrize("output", ["table", "jsonl", "json"])
def test_ctrl_c_cancels_the_stream_and_exits_130(serve: Serve, process: Any, output: str) -> None:
    peer = serve({"system.watch": Stream([{**EVENT, "data": {}}], endless=True)})
    child = process("watch", "-o", output)
    first = child.stdout.read(1)
    assert first
    assert peer.asked.wait(20)
    child.send_signal(signal.SIGINT)
    rest, complaints = child.communicate(timeout=20)
    assert child.returncode == 130
    assert peer.quiet.wait(20) and peer.cancelled == [peer.calls[0].id]
    assert complaints.strip() == ""
    if output == "json":
        json.loads(first + rest)


def test_watch_goes_on_from_its_cursor_when_the_daemon_restarts(serve: Serve, process: Any) -> None:
    first = serve({"system.watch": Stream([{**EVENT, "data": {}}], endless=True)})
    child = process("watch", "-o", "jsonl")
    assert json.loads(child.stdout.readline())["cursor"] == "w1.0"
    first.close()
    second = serve({"system.watch": Stream([{**EVENT, "seq": 2, "data": {}}])})
    out, complaints = child.communicate(timeout=20)
    assert second.calls[0].p == {"since": "w1.0"}
    assert json.loads(out)["seq"] == 2
    assert (child.returncode, complaints) == (0, "")


def test_ctrl_c_cancels_a_call_that_is_not_answered_yet(serve: Serve, process: Any) -> None:
    peer = serve({"system.status": Stream([], endless=True)})
    child = process("status")
    assert peer.asked.wait(20)
    child.send_signal(signal.SIGINT)
    out, complaints = child.communicate(timeout=20)
    assert (child.returncode, out, complaints.strip()) == (130, "", "")
    assert peer.quiet.wait(20) and peer.cancelled == [peer.calls[0].id]


# reload, version, help


def test_reload_says_what_took_effect_and_what_waits(run: Run, serve: Serve) -> None:
    serve({"system.reload": {"applied": ["pools.compute.ceiling"], "unchanged": 30, "needs_restart": ["limits.calls"]}})
    lines = run("reload").stdout.splitlines()
    assert lines == ["applied        pools.compute.ceiling", "needs restart  limits.calls", "Try: systemctl restart irerd"]


def test_reload_tells_which_keys_are_not_what_the_file_says(run: Run, serve: Serve) -> None:
    set_over = ["eil.horizon_s", "pools.compute.floor"]
    left_out = {"pools.compute.floor": "must not be above the ceiling"}
    serve({"system.reload": {"applied": [], "unchanged": 30, "needs_restart": [], "set_over": set_over, "left_out": left_out}})
    assert run("reload").stdout.splitlines() == [
        "set before     eil.horizon_s, with config.set; it wins over the file",
        "not in force   pools.compute.floor, set with config.set: must not be above the ceiling",
        "nothing changed; 30 keys as before",
    ]


def test_reload_of_the_same_file_says_so(run: Run, serve: Serve) -> None:
    serve({"system.reload": {"applied": [], "unchanged": 30, "needs_restart": []}})
    assert run("reload").stdout == "nothing changed; 30 keys as before\n"


def test_version_compares_the_methods_of_both(run: Run, serve: Serve) -> None:
    ours = Catalogue(ENGINES).schema_hash()
    peer = serve({"system.info": {"version": "0.1.0", "schema": ours, "instance": "0" * 32}})
    same = run("version")
    assert "differ" not in same.stdout and "irerd    0.1.0" in same.stdout
    peer.close()
    serve({"system.info": {"version": "0.2.0", "schema": "f" * 64, "instance": "0" * 32}})
    assert "Their methods differ" in run("version").stdout
    assert json.loads(run("-o", "json", "version").stdout)["same_methods"] is False


def test_version_works_with_no_daemon(run: Run) -> None:
    ran = run("version")
    assert ran.exit_code == 0
    assert ran.stdout.splitlines()[0].startswith("irerctl  0.1.0") and "does not answer" in ran.stdout


def test_unimplemented_points_at_the_versions(run: Run, serve: Serve) -> None:
    serve({"system.status": Refused("unimplemented", "not in this version")})
    assert "irerctl version" in run("status").stderr


GLOSSARY = "# Words\n\nintro\n\n## spine\nA list of rules.\n\nSecond paragraph.\n\n## gate token\nOpens a gate.\n"


def test_the_glossary_is_read_by_its_headings() -> None:
    assert about.parse_glossary(GLOSSARY) == {"spine": "A list of rules.\n\nSecond paragraph.", "gate token": "Opens a gate."}


def test_help_explains_a_word_a_command_or_names_the_nearest(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(about, "read_glossary", lambda: about.parse_glossary(GLOSSARY))
    assert run("help", "spine").stdout == "spine\nA list of rules.\nSecond paragraph.\n"
    assert run("help", "Gate-Token").stdout.startswith("gate token\n")
    assert run("help", "engine", "scale").stdout.startswith("Usage: irerctl engine scale")
    assert "spine, gate token" in run("help").stdout
    missing = run("help", "spin")
    assert missing.exit_code == 66
    assert missing.stderr == "irerctl: no word or command 'spin'. Did you mean spine? All words: irerctl help\n"


def test_the_shipped_glossary_explains_the_house_words() -> None:
    words = {about._key(word) for word in about.read_glossary()}
    assert {"gate", "spine", "fold", "pft", "witness"} <= words


# api


def test_api_ls_names_every_method_with_no_daemon(run: Run) -> None:
    listed = json.loads(run("-o", "json", "api", "ls").stdout)
    assert {row["method"]: row["needs"] for row in listed} == {row.name: row.needs for row in Catalogue(ENGINES).rows.values()}


def test_api_events_names_every_type_that_watch_takes(run: Run) -> None:
    listed = json.loads(run("-o", "json", "api", "events").stdout)
    assert {row["event"]: row["log"] for row in listed} == {
        event.event_type: engine.log or "" for engine in ENGINES for event in engine.applies
    }
    assert all(row["help"] for row in listed)


@pytest.mark.parametrize("method", sorted(Catalogue(ENGINES).rows))
def test_api_show_gives_an_example_that_can_be_typed(run: Run, serve: Serve, method: str) -> None:
    ran = run("api", "show", method)
    assert ran.exit_code == 0
    row = Catalogue(ENGINES).find(method)
    line = next(line.strip() for line in ran.stdout.splitlines() if "irerctl call" in line)
    import shlex

    words = shlex.split(line)
    peer = serve({method: Stream([]) if row.streams else {}})
    assert run(*words[1:]).exit_code == 0
    assert peer.calls[0].m == method and peer.calls[0].p == dict(row.example)


def test_api_show_of_an_unknown_method_names_the_nearest(run: Run) -> None:
    ran = run("api", "show", "resource.sclae")
    assert ran.exit_code == 66
    assert ran.stderr == "irerctl: unknown method resource.sclae. Did you mean resource.scale? All: irerctl api ls\n"


def test_api_prints_the_published_documents(run: Run) -> None:
    assert json.loads(run("api", "openapi").stdout)["openapi"].startswith("3.1")
    assert "system.ping" in run("api", "cddl").stdout
