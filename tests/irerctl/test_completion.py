"""Completion: through a real bash, with names of a daemon, and silent whatever goes wrong."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core.wire import calls
from irerctl.live import SOURCES
from tests.irerctl.conftest import Run, Serve
from tests.irerctl.peer import LIMITS, Peer

Tab = Callable[..., list[str]]
PROGRAM = "import os, sys\ntry:\n import irerctl.main as m; m.main()\nfinally: print(*sorted(sys.modules), file=sys.stderr)"
TASKS = {"tasks": [{"task_id": name} for name in ("t-1", "t-2", "u-1", "t$(touch x)", "t;x", "t *", "-t", "t\nt-3", "")]}


@pytest.fixture
def tab(socket_path: Path) -> Tab:
    """What the shell is answered when Tab is pressed after these words."""

    def press(*words: str, loaded: list[str] | None = None, limit_s: str = "30") -> list[str]:
        asked = {"COMP_WORDS": " ".join(["irerctl", *words]), "COMP_CWORD": str(len(words)), "_IRERCTL_COMPLETE": "bash_complete"}
        environment = {**os.environ, **asked, "IRER_SOCKET": str(socket_path), "IRER_TAB_S": limit_s}
        command = [sys.executable, *(["-m", "irerctl.main"] if loaded is None else ["-c", PROGRAM])]
        ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=30)
        assert ran.returncode == 0
        if loaded is None:
            assert ran.stderr == ""
        else:
            loaded += ran.stderr.split()
        return [line.partition(",")[2] for line in ran.stdout.splitlines() if line]

    return press


def in_shell(place: Path, socket_path: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """What a shell does that finds irerctl on its path, in an empty home."""
    program = place / "irerctl"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m irerctl.main "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{place}:{os.environ['PATH']}", "IRER_SOCKET": str(socket_path), "HOME": str(place)}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[2]), "TERM": "xterm", "IRER_TAB_S": "30"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=place, timeout=60, stdin=subprocess.DEVNULL)


@pytest.mark.skipif(shutil.which("bash") is None, reason="NOT TESTED: no bash here")
def test_a_real_bash_completes_commands_and_names_of_the_daemon(serve: Serve, socket_path: Path, tmp_path: Path) -> None:
    serve({"resource.tasks": TASKS})
    script = """source <(irerctl completion bash)
press() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _irerctl_completion irerctl; echo "${COMPREPLY[*]}"; }
press irerctl hunt-not
press irerctl engine ca
press irerctl engine cancel t
"""
    ran = in_shell(tmp_path, socket_path, "bash", "--norc", "-c", script)
    assert (ran.stdout.splitlines(), ran.stderr) == (["", "cancel", "t-1 t-2"], "")
    assert not (tmp_path / "x").exists()


@pytest.mark.skipif(shutil.which("fish") is None, reason="NOT TESTED: no fish here")
def test_a_real_fish_completes_commands_and_names_of_the_daemon(serve: Serve, socket_path: Path, tmp_path: Path) -> None:
    serve({"resource.tasks": TASKS})
    script = """irerctl completion fish | source
complete -C "irerctl hunt-not"; echo -
complete -C "irerctl engine canc" | string split -f1 \\t; echo -
complete -C "irerctl engine cancel t"
"""
    ran = in_shell(tmp_path, socket_path, "fish", "--no-config", "-c", script)
    assert (ran.stdout.splitlines(), ran.stderr) == (["-", "cancel", "-", "t-1", "t-2"], "")
    assert not (tmp_path / "x").exists()


@pytest.mark.skipif(shutil.which("zsh") is None, reason="NOT TESTED: no zsh here")
def test_a_real_zsh_completes_commands_and_names_of_the_daemon(serve: Serve, socket_path: Path, tmp_path: Path) -> None:
    """It completes only in its line editor: one runs in a terminal of its own, and ^G tells what stands in the line."""
    serve({"resource.tasks": TASKS})
    script = """zmodload zsh/zpty; export FIFO=$PWD/line; mkfifo $FIFO; exec 3<>$FIFO
zpty -b editor zsh -f -i
zpty -w editor 'autoload -Uz compinit && compinit -u -D; source <(irerctl completion zsh)'
zpty -w editor 'tell() { print -r -- "$BUFFER" > $FIFO }; zle -N tell; bindkey "^G" tell'
press() { zpty -w -n editor "$1"$'\t\a'; IFS= read -r line <&3; print -r -- "$line|"; zpty -w -n editor $'\x15' }
press 'irerctl engine canc'
press 'irerctl engine cancel u'
press 'irerctl hunt-not'
zpty -d editor
"""
    ran = in_shell(tmp_path, socket_path, "zsh", "-f", "-c", script)
    assert (ran.stdout.splitlines(), ran.stderr) == (
        ["irerctl engine cancel |", "irerctl engine cancel u-1 |", "irerctl hunt-not|"],
        "",
    )
    assert not (tmp_path / "x").exists()


def test_a_name_that_a_shell_would_obey_is_never_offered(tab: Tab, serve: Serve) -> None:
    serve({"resource.tasks": TASKS})
    assert tab("engine", "cancel", "") == ["t-1", "t-2", "u-1"]
    assert tab("engine", "submit", "new", "--depends-on", "u") == ["u-1"]


def test_names_of_commands_need_neither_daemon_nor_catalogue(tab: Tab) -> None:
    loaded: list[str] = []
    assert tab("engi", loaded=loaded) == ["engine"]
    assert tab("engine", "", loaded=loaded) == ["cancel", "health", "pools", "scale", "submit", "tasks"]
    assert {"irerctl.generic", "msgspec", "cbor2", "core"}.isdisjoint(loaded)


def test_methods_words_and_choices_are_known_without_a_daemon(tab: Tab) -> None:
    assert tab("call", "resource.sub") == ["resource.submit_task"] == tab("api", "show", "resource.sub")
    assert tab("engine", "submit", "x", "--priority", "") == ["critical", "high", "normal", "low"]
    assert "witness" in tab("help", "wit")
    assert tab("watch", "--type", "task.sub") == ["task.submitted"]


@pytest.mark.parametrize(
    "words", [("engine", "cancel", ""), ("nonsense", "and", "more"), ("-H", "ssh://-x", "engine", "cancel", "")]
)
def test_without_a_daemon_and_after_a_mistake_there_is_silence(tab: Tab, words: tuple[str, ...]) -> None:
    assert tab(*words) == []


def test_a_far_machine_is_not_asked(tab: Tab, serve: Serve) -> None:
    peer = serve({"resource.tasks": TASKS})
    assert tab("-H", "ssh://edge7", "engine", "cancel", "") == [] == peer.calls


def test_a_daemon_that_does_not_answer_is_not_waited_for(tab: Tab, socket_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(socket_path))
        deaf.listen(0)
        assert tab("engine", "cancel", "", limit_s="0.2") == []
        queue = [socket.socket(socket.AF_UNIX) for _ in range(4)]
        for waiting in queue:
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(str(socket_path))
        assert tab("engine", "cancel", "", limit_s="0.2") == [], "not even to be let in; without a limit this would never end"
        for waiting in queue:
            waiting.close()


class _Stranger(Peer):
    """A peer that knows its caller by no role."""

    def _welcome(self) -> bytes:
        who = {"uid": 1, "gid": 1, "role": None}
        return calls.welcome(
            server="irerd/0.1.0", instance="0" * 32, boot=1, limits=LIMITS, schema="0" * 64, peer=who, state="ready"
        )


def test_a_tab_of_somebody_without_a_role_is_no_refusal_to_be_recorded(tab: Tab, socket_path: Path) -> None:
    peer = _Stranger(socket_path, {"resource.tasks": TASKS})
    try:
        assert tab("engine", "cancel", "") == [] == peer.calls
    finally:
        peer.close()


def test_every_source_of_names_lists_them_and_changes_nothing() -> None:
    import msgspec

    from irerctl.generic import catalogue

    for source in SOURCES.values():
        row = catalogue().rows[source.method]
        assert row.kind != "write"
        msgspec.convert(dict(source.params), row.params, strict=True)
        field = {each.encode_name: each.type for each in msgspec.structs.fields(row.result)}[source.place]
        if source.member:
            (item,) = field.__args__
            assert source.member in {each.encode_name for each in msgspec.structs.fields(item)}, source


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_each_shell_gets_a_script_that_asks_irerctl(run: Run, shell: str) -> None:
    ran = run("completion", shell)
    assert ran.exit_code == 0 and f"_IRERCTL_COMPLETE={shell}_complete" in ran.stdout
    assert json.dumps(shell)[1:-1] in run("completion", "--help").stdout
