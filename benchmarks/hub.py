"""The hub by HTTP: `python -m benchmarks.hub [--write]`, two minutes.

wrk asks `POST /v1/sense` of `irerctl hub` before an irerd of its own, and in turn of FastAPI with uvicorn doing the same work in
one process; hub, irerd and wrk share the machine's cores. Then two hundred idle event streams are opened, and one reader that
takes nothing, while wrk asks on: neither may cost what it should not.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import peers, report
from benchmarks.measure import cpu_seconds
from benchmarks.peers import HERE, ROOT, Place, Server, Unavailable
from benchmarks.rpc import commit_id, machine

RESULTS = HERE / "results/hub.json"
STREAMS = 200
IDLE_S = 3.0
SITE_PACKAGES = next((ROOT / ".venv/lib").glob("python3*/site-packages"), Path(sys.prefix))
TARGETS: tuple[tuple[str, str, str, float, bool], ...] = (
    ("hub_sense_s", "`POST /v1/sense` through the hub, durable, wrk included, requests/s", "≥", 2_000, True),
    ("streams_mb", f"{STREAMS} idle event streams: memory they add to the hub, MB", "≤", 40, False),
    ("slow_share", "requests/s beside a reader that takes nothing, as a share of without", "≥", 0.9, True),
)


def wrk_program() -> str:
    """Debian's wrk, installed where that can be done."""
    if (found := shutil.which("wrk")) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        print("== installing Debian's wrk", flush=True)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for arguments in (["update"], ["install", "-y", "--no-install-recommends", "wrk"]):
            subprocess.run(["apt-get", "-qq", *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        found = shutil.which("wrk")
    if found is None:
        raise Unavailable("wrk is missing, and only root can install it: apt-get install wrk")
    return found


class Http:
    """A server on a port, and the processes whose time it costs."""

    def __init__(self, name: str, port: int, pids: tuple[int, ...]) -> None:
        self.name = name
        self.port = port
        self.pids = pids

    def resident_mb(self) -> float:
        status = Path(f"/proc/{self.pids[0]}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024 / 1e6


@contextlib.contextmanager
def hub(daemon: Server) -> Iterator[Http]:
    command = [sys.executable, "-m", "irerctl.main", "--socket", daemon.socket, "hub", "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        found = re.search(r"http://\S+:(\d+)/", process.stderr.readline())
        if found is None:
            raise Unavailable("the hub did not say where it listens")
        yield Http("hub", int(found[1]), (process.pid, daemon.pid))
    finally:
        process.terminate()
        process.communicate(timeout=20)


@contextlib.contextmanager
def fastapi(place: Place, python: Path) -> Iterator[Http]:
    """The same engine behind FastAPI, in uvicorn's fastest form."""
    directory, _ = place.fresh("fastapi-sense")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(python), "-m", "uvicorn", "fastapi_sense:app", "--app-dir", str(HERE), "--port", str(port)]
    command += ["--loop", "uvloop", "--http", "httptools", "--ws", "none", "--lifespan", "off", "--no-access-log"]
    environment = {**os.environ, "IRER_PACKAGES": str(SITE_PACKAGES), "IRER_BENCH_LOG": str(directory / "log")}
    words = directory / "words"
    with words.open("wb") as log:
        process = subprocess.Popen([*command, "--log-level", "warning"], stdout=log, stderr=log, env=environment, cwd=ROOT)
    try:
        until = time.monotonic() + 20
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > until:
                raise Unavailable(f"fastapi did not answer: {words.read_text(errors='replace')[-1000:]}")
            time.sleep(0.02)
        yield Http("fastapi", port, (process.pid,))
    finally:
        process.terminate()
        process.wait(20)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def asked(wrk: str, server: Http, options: argparse.Namespace, what: str = "sense") -> dict[str, float]:
    """One round of wrk. What is no 2xx counts as an error beside the rate."""
    before = [cpu_seconds(pid) for pid in server.pids]
    command = [wrk, "-t1", f"-c{options.connections}", f"-d{options.seconds:g}s", "--latency", "-s", str(HERE / "hub.lua")]
    done = subprocess.run([*command, f"http://127.0.0.1:{server.port}", "--", what], capture_output=True, text=True, check=True)
    spent = [cpu_seconds(pid) - was for pid, was in zip(server.pids, before, strict=True)]
    text = done.stdout
    requests, took = re.search(r"(\d+) requests in ([\d.]+)(m?s)", text), re.search(r"Requests/sec:\s+([\d.]+)", text)
    assert requests is not None and took is not None, text
    errors = sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", text)))
    errors += sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", text)))
    found = {"s": float(took[1]), "errors": float(errors), "p50_ms": _ms(text, "50%"), "p99_ms": _ms(text, "99%")}
    for name, cpu_s in zip(("server", "irerd"), spent, strict=False):
        found[f"{name}_us_a_request"] = 1e6 * cpu_s / max(1, int(requests[1]))
    return found


def _ms(text: str, share: str) -> float:
    found = re.search(rf"{share}\s+([\d.]+)(us|ms|s)", text)
    return float(found[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[found[2]] if found is not None else float("nan")


def stream(port: int, receive_bytes: int | None = None) -> socket.socket:
    """An event stream that has begun."""
    opened = socket.socket()
    if receive_bytes is not None:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    opened.connect(("127.0.0.1", port))
    opened.settimeout(20)
    engine = "" if receive_bytes is not None else "?engine=circuit"
    opened.sendall(f"GET /events{engine} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert b"200" in opened.recv(64)
    return opened


def streams(wrk: str, server: Http, options: argparse.Namespace) -> dict[str, list[float]]:
    """What idle streams add to the hub, and what a reader that takes nothing takes from others: with and without, in turn."""
    before = server.resident_mb()
    with contextlib.ExitStack() as stack:
        for _ in range(STREAMS):
            stack.enter_context(contextlib.closing(stream(server.port)))
        time.sleep(IDLE_S)
        added = server.resident_mb() - before
    shares = []
    for number in range(options.rounds):
        found = {}
        for beside in (False, True) if number % 2 else (True, False):
            with contextlib.closing(stream(server.port, receive_bytes=4_096)) if beside else contextlib.nullcontext():
                found[beside] = asked(wrk, server, options)["s"]
        shares.append(found[True] / found[False])
    return {"streams_mb": [added], "slow_share": shares}


def profile(wrk: str, place: Place, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Where the time of an irerd of its own goes while it is asked, by file."""
    out = place.state / "profile.json"
    with peers.irerd(place, profile=out) as daemon, hub(daemon) as server:
        asked(wrk, server, options)
        os.kill(daemon.pid, signal.SIGUSR1)
        asked(wrk, server, options)
        os.kill(daemon.pid, signal.SIGUSR2)
        until = time.monotonic() + 10
        while not out.exists() and time.monotonic() < until:
            time.sleep(0.05)
    found = json.loads(out.read_text()) if out.exists() else {}
    return list(found.get("by_file", []))


def measured(options: argparse.Namespace) -> tuple[dict[str, list[float]], dict[str, Any]]:
    wrk, python = wrk_program(), peers.install()
    place = Place(options.state_dir)
    found: dict[str, list[float]] = {}
    missing: list[str] = []
    try:
        about = machine(place.state) | {"commit": commit_id(), "missing": missing}
        with contextlib.ExitStack() as stack:
            servers = [stack.enter_context(hub(stack.enter_context(peers.irerd(place))))]
            try:
                servers.append(stack.enter_context(fastapi(place, python)))
            except Unavailable as why:
                missing.append(str(why))
            for server in servers:
                asked(wrk, server, options)  # each source is new once
            for number in range(options.rounds):
                for server in servers if number % 2 else servers[::-1]:
                    for what in ("sense", "ping") if server.name == "hub" else ("sense",):
                        for name, value in asked(wrk, server, options, what).items():
                            found.setdefault(f"{server.name}_{what}_{name}", []).append(value)
                print(f"== round {number + 1} of {options.rounds}", flush=True)
            found |= streams(wrk, servers[0], options)
        about["profile"] = profile(wrk, place, options)
    finally:
        place.remove()
    return found, about


def as_text(figures: dict[str, list[float]], about: dict[str, Any]) -> str:
    lines = ["| | aim | median | lowest … highest | |", "|---|--:|--:|--:|---|"]
    for name, what, sign, aim, more in TARGETS:
        values = figures[name]
        middle = statistics.median(values)
        won = "won" if (middle >= aim if more else middle <= aim) else "**LOST**"
        lines.append(f"| {what} | {sign} {aim:,g} | {_shown(middle)} | {_shown(min(values))} … {_shown(max(values))} | {won} |")
    lines += [
        "",
        "| | requests/s | p50 ms | p99 ms | errors | µs of the server a request | µs of irerd |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    titles = {
        "hub_sense": "`POST /v1/sense`: irerctl hub and irerd",
        "fastapi_sense": "the same: FastAPI + uvicorn, the engine in process",
        "hub_ping": "`POST /rpc/system.ping`: what the hub itself takes",
    }
    for name, title in titles.items():
        kinds = ("s", "p50_ms", "p99_ms", "errors", "server_us_a_request", "irerd_us_a_request")
        cells = [_shown(statistics.median(figures[f"{name}_{kind}"])) if f"{name}_{kind}" in figures else "" for kind in kinds]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    load = f"load {about['load_before']} on {about['cores']} cores before; a synced 4 KiB append takes {about['sync_p50_us']} µs"
    missing = "".join(f"\n\n**Not measured:** {line}" for line in about["missing"])
    where = ", ".join(f"`{each['where']}` {each['share']:.0%}" for each in about["profile"][:8])
    lines += ["", f"Where irerd's main thread is meanwhile (samples of wall time): {where}."] if where else []
    on = f"{about['cpu']}, {about['python']}"
    return "\n".join([*lines, "", f"{on}, {load}, p99 {about['sync_p99_us']}; commit {about['commit']}.{missing}"])


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hub", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="keep the result and its table")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each round")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--state-dir", type=Path, default=HERE / ".work", help="where the synced writes go: a real disk")
    options = parser.parse_args(argv)
    try:
        figures, about = measured(options)
    except Unavailable as why:
        print(f"NOT MEASURED: {why}", file=sys.stderr)
        return 1
    text = as_text(figures, about)
    print(text)
    if options.write:
        RESULTS.write_text(json.dumps({"figures": figures, "about": about}, indent=2) + "\n")
        report.put_into(HERE / "README.md", text, "hub")
    return int("**LOST**" in text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
