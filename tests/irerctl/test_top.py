"""`irerctl top`: what its screen says, that it fits, and that the terminal is as before whatever ends it."""

import itertools
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from irerctl.top import Look, Rates, curved, frame, rates
from tests.irerctl.conftest import Run, Serve
from tests.irerctl.samples import STATUS

LOAD: dict[str, Any] = {
    "calls": 1000,
    "refusals": 0,
    "groups": 100,
    "queued": {},
    "loop_lag_p99_ms": 0.4,
    "outbox_bytes": 0,
    "jobs": 0,
    "workers_running": 0,
    "workers_waiting": 0,
    "workers_started": 0,
    "workers_lost": 0,
}
HEALTH: dict[str, Any] = {"health": "ok", "checks": [], "loop_lag_ms": 1.5, "resident_bytes": 50 << 20, "load": LOAD}
SIZE = (80, 24)


def look(at_s: float = 0.0, more: int = 0, **changed: Any) -> Look:
    logs = [{**log, "records": log["records"] + more * (log["log"] == "gate_log")} for log in STATUS["logs"]]
    load = {**LOAD, "calls": 1000 + 10 * more, "groups": 100 + more, **changed.pop("load", {})}
    return Look(at_s, {**STATUS, "logs": logs, **changed}, {**HEALTH, "load": load})


def test_rates_are_what_happened_between_two_looks_a_second() -> None:
    found = rates(look(10.0), look(12.0, more=50))
    assert found == Rates(250.0, 25.0, {"engine_state": 0.0, "gate_log": 25.0})


def test_of_another_daemon_no_rate_is_made_up() -> None:
    assert rates(look(10.0), look(12.0, more=50, instance="1" * 32)) == Rates(0.0, 0.0, {})
    assert rates(look(10.0, more=50), look(12.0)).calls == 0, "and none is below nothing"


def test_the_screen_has_load_queues_engines_and_the_logs_that_grow() -> None:
    seen = look(2.0, more=50, load={"queued": {"gate_log": 12}, "workers_started": 2, "workers_running": 1, "workers_lost": 1})
    lines = [click.unstyle(line) for line in frame(seen, [rates(look(), seen)], "/s", SIZE)]
    text = "\n".join(lines)
    assert lines[0].startswith("ok  irerd 0.1.0  ready")
    assert "250/s calls  25/s groups synced  50 MiB" in text and "p99 0.4 ms  worst 1.5 ms" in text
    assert "queues      gate_log 12" in lines
    assert "workers     1 compute  0 wait  2 started  1 lost  0 jobs" in lines
    assert "pools       4  12/32 units  3 waiting  3 running" in lines
    assert "logs        gate_log 251 +25/s   1 log at rest  14,251 records in all" in lines
    assert lines[-1] == "q ends it"


@pytest.mark.parametrize("problems", [0, 1, 40])
@pytest.mark.parametrize("engines", [1, 14, 60])
@pytest.mark.parametrize("size", [SIZE, (40, 10), (300, 200)])
def test_it_fits_and_what_is_wrong_comes_first(size: tuple[int, int], engines: int, problems: int) -> None:
    wrong = [f"log {place}: does not verify" for place in range(problems)]
    many = {f"engine{place}": {"number": place} for place in range(engines)}
    logs = [{"log": f"log_number_{place}", "records": place, "integrity": "ok"} for place in range(30)]
    seen = Look(1.0, {**STATUS, "problems": wrong, "engines": many, "logs": logs, "health": "failed" if wrong else "ok"}, HEALTH)
    lines = [click.unstyle(line) for line in frame(seen, [Rates(1.0, 1.0, {log["log"]: 2.0 for log in logs})], "/s", size)]
    assert len(lines) <= size[1]
    if problems:
        assert "! log 0: does not verify" in lines[1]
    if size != (40, 10):
        assert lines[-1] == "q ends it" and any(line.startswith("queues") for line in lines)
        assert any(line.startswith("logs ") for line in lines) and any(line.startswith("engine0") for line in lines)
    if engines == 60 and size == SIZE:
        assert "            and more engines. All: irerctl status" in lines


def test_a_daemon_that_is_away_is_said_on_the_screen() -> None:
    long = "no daemon at /s (no such file). It stopped or was never started. Try: irerd &   or: systemctl start irerd"
    lines = [click.unstyle(line) for line in frame(look(), [Rates(7.7, 7.7, {})], "/s", SIZE, long)]
    assert lines[0].startswith("FAILED  irerd 0.1.0  away, was")
    assert " ".join(lines[1:3]).split() == ["!", *long.split()]
    assert any("  0/s calls" in line for line in lines), "and what it did last is not what it does"


def test_a_daemon_of_an_older_version_has_a_screen_too() -> None:
    old = Look(1.0, STATUS, {name: value for name, value in HEALTH.items() if name != "load"})
    assert any("p99 -" in line for line in frame(old, [rates(old, old)], "/s", SIZE))


def test_the_curve_is_as_high_as_its_highest() -> None:
    assert curved([0, 1, 2, 4, 8]) == " ▁▂▄█"
    assert curved([0, 0]) == "  "


def answers() -> dict[str, Any]:
    """A daemon that answers ten calls between two looks."""
    calls = itertools.count(0, 10)
    return {"system.status": lambda _: look().status, "system.health": lambda _: look(more=next(calls)).health}


def test_for_a_pipe_it_is_one_look_and_then_it_is_over(run: Run, serve: Serve) -> None:
    serve(answers())
    ran = run("top", "--every", "0.1")
    assert ran.exit_code == 0 and "\x1b" not in ran.stdout and "q ends it" not in ran.stdout
    assert ran.stdout.startswith("ok  irerd 0.1.0") and " calls " in ran.stdout and " 0/s calls" not in ran.stdout
    found = json.loads(run("-o", "json", "top", "--every", "0.1").stdout)
    assert found["rates"]["calls"] > 0 and found["status"]["version"] == "0.1.0"


def test_as_lines_it_goes_on_until_it_is_ended(process: Any, serve: Serve) -> None:
    serve(answers())
    child = process("-o", "jsonl", "top", "--every", "0.1")
    assert [set(json.loads(child.stdout.readline())) for _ in range(2)] == [{"status", "health", "rates"}] * 2
    child.send_signal(signal.SIGINT)
    assert child.wait(20) == 130


# On a terminal


class Terminal:
    """A person's end of a terminal on which top runs."""

    def __init__(self, path: Path) -> None:
        self.ours, self.theirs = pty.openpty()
        self.before = termios.tcgetattr(self.theirs)
        settings = {**os.environ, "IRER_SOCKET": str(path), "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
        command = [sys.executable, "-m", "irerctl.main", "top", "--every", "0.1"]
        self.child = subprocess.Popen(command, stdin=self.theirs, stdout=self.theirs, stderr=self.theirs, env=settings)
        self.seen = ""

    def wait_for(self, text: str) -> None:
        until = time.monotonic() + 20
        while text not in self.seen:
            assert select.select([self.ours], [], [], max(0.0, until - time.monotonic()))[0], self.seen
            self.seen += os.read(self.ours, 65_536).decode(errors="replace")

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def end(self) -> int:
        status = self.child.wait(20)
        self.wait_for("\x1b[?25h\x1b[?1049l")
        assert termios.tcgetattr(self.theirs) == self.before
        return status

    def close(self) -> None:
        self.child.kill()
        self.child.wait()
        os.close(self.ours)
        os.close(self.theirs)


@pytest.fixture
def terminal(serve: Serve, socket_path: Path) -> Iterator[Terminal]:
    serve(answers())
    made = Terminal(socket_path)
    yield made
    made.close()


def test_q_ends_it_and_the_terminal_is_as_before(terminal: Terminal) -> None:
    terminal.wait_for("q ends it")
    terminal.type("xq")
    assert terminal.end() == 0
    assert terminal.seen.startswith("\x1b[?1049h\x1b[?25l")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_and_the_terminal_is_as_before(terminal: Terminal, number: int, status: int) -> None:
    terminal.wait_for("q ends it")
    terminal.child.send_signal(number)
    assert terminal.end() == status


def test_a_daemon_that_goes_is_looked_for_again(serve: Serve, socket_path: Path) -> None:
    peer = serve(answers())
    terminal = Terminal(socket_path)
    try:
        terminal.wait_for("q ends it")
        peer.close()
        terminal.wait_for("away, was")
        serve(answers())
        terminal.seen = ""
        terminal.wait_for("ok\x1b[0m  irerd")
        terminal.type("q")
        assert terminal.end() == 0
    finally:
        terminal.close()
