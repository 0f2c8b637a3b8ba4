"""The program as a whole: its help, its errors and its exit statuses."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from core.engine import Refused
from core.wire.errors import CODES
from irerctl import VERSION, commands, render
from irerctl.main import entries
from irerd import __version__
from tests.irerctl.conftest import Run, Serve
from tests.irerctl.samples import STATUS

NO_DAEMON = "It stopped or was never started. Try: irerd &   or: systemctl start irerd"
HEAVY = ("msgspec", "cbor2", "rich", "trio", "core", "irerctl.client", "irerctl.generic")


def test_client_and_daemon_say_the_same_version() -> None:
    assert VERSION == __version__


def test_help_imports_nothing_heavy() -> None:
    code = "import sys\ntry:\n import irerctl.main as m; m.main()\nfinally: print(*sorted(sys.modules), file=sys.stderr)"
    ran = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert "engine" in ran.stdout
    assert [name for name in HEAVY if name in ran.stderr.split()] == []


def test_help_names_every_command_once_under_the_five_sections(run: Run) -> None:
    text = run("--help").stdout
    sections = [
        line.rstrip(":") for line in text.splitlines() if line.endswith(":") and not line.startswith((" ", "Options", "Usage"))
    ]
    assert sections == [name for name in commands.SECTIONS if any(entry.section == name for entry in entries().values())]
    for name, entry in entries().items():
        lines = [line for line in text.splitlines() if line.split()[:1] == [name]]
        assert len(lines) == 1 and lines[0].endswith(entry.help)


@pytest.mark.parametrize("name", entries())
def test_every_command_explains_itself_and_has_its_module(run: Run, name: str) -> None:
    ran = run(name, "--help")
    assert ran.exit_code == 0
    assert ran.stdout.startswith(f"Usage: irerctl {name}")


def test_alone_it_is_status(run: Run, serve: Serve) -> None:
    serve({"system.status": STATUS})
    assert run().stdout == run("status").stdout != ""


def test_no_daemon_frozen_text(run: Run, socket_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(socket_path))
    ran = run("status")
    assert ran.stderr == f"irerctl: no daemon at {socket_path} (connection refused). {NO_DAEMON}\n"
    assert ran.exit_code == CODES["unavailable"].exit == 69
    assert ran.stdout == ""


def test_missing_socket_names_it_and_the_command_that_starts_it(run: Run, socket_path: Path) -> None:
    for command in (
        ["status"],
        ["call", "system.ping"],
        ["call", "system.watch", "--stream"],
        ["watch"],
        ["engine", "scale", "compute", "9"],
    ):
        ran = run(*command)
        assert ran.stderr.startswith(f"irerctl: no daemon at {socket_path} (") and ran.stderr.endswith(f"{NO_DAEMON}\n"), command
        assert ran.exit_code == 69


def test_a_group_alone_shows_its_commands_and_choices_stand_in_one_line(run: Run) -> None:
    alone, asked = run("audit"), run("audit", "--help")
    assert (alone.exit_code, alone.stdout, alone.stderr.rstrip()) == (2, "", asked.stdout.rstrip())
    assert json.loads(run("-o", "json", "audit").stderr)["detail"] == "a command is missing."
    assert "Choose from: minimize_energy, maximize_throughput, maximize_stability." in run("act").stderr


def test_a_daemon_that_hangs_up_is_not_called_absent() -> None:
    from irerctl.client import Unreachable
    from irerctl.session import unreachable

    lost = Unreachable("/run/irer/irerd.sock", "the connection ended", "unknown")
    lost.__cause__ = ConnectionError()
    told = unreachable(lost)
    assert told["code"] == "unavailable" and told["effect"] == "unknown"
    assert told["detail"] == "what listens at /run/irer/irerd.sock did not answer (the connection ended)."
    assert "doctor" in told["help"]


def test_socket_of_a_group_names_the_group_to_join(run: Run, socket_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import grp
    import pwd

    from irerctl import session

    person = pwd.struct_passwd(("ann", "x", 1001, 1001, "", "/", ""))
    monkeypatch.setattr(os, "getuid", lambda: 1001)
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: person)
    monkeypatch.setattr(grp, "getgrgid", lambda gid: grp.struct_group(("irer", "x", gid, [])))
    told = session.not_admitted(str(socket_path))
    assert told["code"] == "permission-denied"
    assert told["detail"] == f"uid 1001 (ann) may not open {socket_path} (permission denied)."
    assert told["help"] == "Its group is irer. Try: sudo usermod -aG irer ann   and log in again"
    monkeypatch.setattr(grp, "getgrgid", lambda gid: grp.struct_group(("irer", "x", gid, ["ann"])))
    assert "newgrp irer" in session.not_admitted(str(socket_path))["help"]


@pytest.mark.parametrize("code", sorted(CODES))
def test_each_code_has_its_exit_status_and_its_sentence(run: Run, serve: Serve, code: str) -> None:
    serve({"system.status": Refused(code, "it did not work", help="Try something else")})
    plain = run("status", "--timeout", "0.2") if code == "unavailable" else run("status")
    assert plain.exit_code == CODES[code].exit
    assert plain.stderr.startswith("irerctl: it did not work. Try something else")


def test_frozen_texts_of_the_server_are_printed_as_they_are(run: Run, serve: Serve) -> None:
    unknown = "unknown method resource.sclae. Did you mean resource.scale? All: irerctl api ls"
    denied = (
        'uid 1001 (ann) has no role here. resource.scale needs resource:write. An admin adds access.operator = ["uid:1001"] to '
        "/etc/irer/irerd.toml and runs: irerctl reload"
    )
    serve({"resource.sclae": Refused("not-found", unknown), "resource.scale": Refused("permission-denied", denied)})
    assert run("call", "resource.sclae").stderr == f"irerctl: {unknown}\n"
    assert run("engine", "scale", "compute", "8").stderr == f"irerctl: {denied}\n"


def test_out_of_range_frozen_text(run: Run, serve: Serve) -> None:
    advice = "Ask for less, or raise pools.compute.ceiling in the configuration"
    frozen = f"irerctl: compute: 99 is outside 1..64. {advice}\n"
    for refused in (
        Refused("out-of-range", "compute: 99 is outside 1..64", help=advice),
        Refused("out-of-range", f"compute: 99 is outside 1..64. {advice}"),
    ):
        peer = serve({"resource.scale": refused})
        ran = run("engine", "scale", "compute", "99")
        peer.close()
        assert ran.stderr == frozen
        assert ran.exit_code == 65


def test_errors_are_one_json_object_on_stderr(run: Run, serve: Serve) -> None:
    serve({"system.status": Refused("invalid-argument", "no", fields=[("size", "Expected int")], reason="bounds")})
    for args in (("-o", "json", "status"), ("status", "-o", "json"), ("--output=jsonl", "status")):
        ran = run(*args)
        assert ran.stdout == ""
        body = json.loads(ran.stderr)
        assert body["code"] == "invalid-argument" and body["detail"] == "no" and body["reason"] == "bounds"
        assert body["fields"] == [{"path": "size", "problem": "Expected int"}]
        assert body["title"] == CODES["invalid-argument"].title
        assert ran.exit_code == 64


def test_refused_fields_are_listed_for_a_person(run: Run, serve: Serve) -> None:
    serve({"system.status": Refused("invalid-argument", "the parameters are wrong", fields=[("size", "Expected int")])})
    assert run("status").stderr == "irerctl: the parameters are wrong\n  size: Expected int\n"


def test_a_field_named_in_the_sentence_is_not_named_again(run: Run, serve: Serve) -> None:
    serve({"system.status": Refused("invalid-argument", "size: Expected int", fields=[("size", "Expected int")])})
    assert run("status").stderr == "irerctl: size: Expected int\n"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("stauts",), "no command 'stauts'. Did you mean status?"),
        (("call",), "Missing argument"),
        (("engine", "scale", "compute"), "Missing argument 'SIZE'"),
        (("engine", "scale", "compute", "many"), "'many' is not a valid integer"),
        (("call", "system.ping", "{"), "the parameters are not JSON"),
        (("call", "system.ping", "[1]"), "the parameters are a JSON object"),
        (("call", "system.ping", '{"a": 1, "b": [{"size": 1, "size": 2}]}'), 'the parameters give "size" twice'),
        (("call", "system.ping", "[" * 100_000), "the parameters are nested too deeply"),
        (("--timeout", "0", "status"), "0 is outside what a timeout can be: above 0"),
        (("-o", "xml", "status"), "'xml' is not one of"),
        (("market", "quote", "CEU", "buy", "-1"), "stands behind -- at the end"),
    ],
)
def test_usage_errors_exit_2_and_say_what_to_type(run: Run, args: tuple[str, ...], says: str) -> None:
    ran = run(*args)
    assert ran.exit_code == 2
    assert says in ran.stderr and "--help" in ran.stderr and ran.stderr.startswith("irerctl: ")
    assert len(ran.stderr.splitlines()) == 1


def test_usage_errors_are_json_where_json_was_asked_for(run: Run) -> None:
    ran = run("-o", "json", "engine", "scale")
    assert ran.exit_code == 2
    assert json.loads(ran.stderr)["reason"] == "usage"


def test_text_of_others_cannot_drive_the_terminal(run: Run, serve: Serve) -> None:
    serve({"system.status": Refused("not-found", "a\x1b[2Jb\nc\x9bd", help="\x07")})
    assert run("status").stderr == "irerctl: a\\x1b[2Jb c\\x9bd. \\x07\n"


FULL = "irerctl: standard output cannot be written (no space left on device). "
CLOSED = "irerctl: standard output cannot be written (it is closed). Nothing was done. Try: irerctl COMMAND >/dev/null\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", ["--help", "status", "-o json status", "call system.status"])
def test_output_that_cannot_be_written_is_one_line_and_an_exit_status(
    serve: Serve, socket_path: Path, arguments: str, unbuffered: str
) -> None:
    peer = serve({"system.status": STATUS})
    environment = {**os.environ, "IRER_SOCKET": str(socket_path), "PYTHONUNBUFFERED": unbuffered}

    def shell(where: str) -> "subprocess.CompletedProcess[str]":
        line = f"exec {sys.executable} -m irerctl.main {arguments} {where}"
        return subprocess.run(["sh", "-c", line], stderr=subprocess.PIPE, text=True, env=environment, check=False)

    full = shell(">/dev/full")
    asked = len(peer.calls)
    closed = shell(">&-")
    assert (full.returncode, closed.returncode) == (74, 74)
    assert len(peer.calls) == asked, "what nobody can read is not asked for"
    if "json" in arguments:
        assert [json.loads(ran.stderr)["reason"] for ran in (full, closed)] == ["output", "output"]
    else:
        assert full.stderr.startswith(FULL) and full.stderr.count("\n") == 1 and closed.stderr == CLOSED
    assert shell(">/dev/full 2>&1").returncode == 74


def test_a_fault_of_ours_is_not_taken_for_lost_output() -> None:
    try:
        os.stat("/nowhere/at/all")
    except OSError as failure:
        assert render.lost_output(failure) is None


def test_a_path_too_long_for_a_socket_is_told_as_that(run: Run, place: Path) -> None:
    path = f"{place}/{'x' * 120}"
    for command in (("status",), ("doctor",)):
        told = run("--socket", path, *command)
        assert "a socket's path has at most 107 bytes" in told.output and "--socket PATH" in told.output
        assert "None" not in told.output and "af_unix" not in told.output.lower()


def test_a_closed_pipe_is_no_crash(serve: Serve, socket_path: Path) -> None:
    serve({"system.status": STATUS})
    ours, theirs = os.pipe()
    os.close(ours)
    environment = {**os.environ, "IRER_SOCKET": str(socket_path)}
    command = [sys.executable, "-m", "irerctl.main", "status"]
    ran = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, text=True, env=environment, check=False)
    os.close(theirs)
    assert "Traceback" not in ran.stderr
