"""Measures irerd beside FastAPI, grpc.aio and redis in one interleaved run, and writes what it found.

One server process and one client process at a time work, all over Unix sockets. Every round runs every case once, so that a
machine that becomes slower becomes so for all. It judges nothing by itself: the targets stand in `report.py`.
"""

import argparse
import contextlib
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import peers, report
from benchmarks.measure import percentile
from benchmarks.peers import HERE, ROOT, Place, Server, Unavailable

RESULTS = HERE / "results" / "rpc.json"
IDLE_AT_LEAST_S = 60.0
HELP_RUNS = 10
SYNCS = 200
CLIENT_LIMIT_S = 60.0
Figures = dict[str, float]


@dataclass(frozen=True)
class Case:
    """One thing measured once a round."""

    name: str
    title: str
    server: str
    client: tuple[str, ...]
    fresh: bool = False
    """On a server and a state directory of its own each round."""
    background: bool = False
    """While another connection sends 1,000 requests a second."""


WINDOW = ("--window", "64")
EIGHT = ("--connections", "8", *WINDOW)
CASES = (
    Case("irerd-ping", "irerd `system.ping`", "irerd", ("ping-pong", "irer-ping")),
    Case("irerd-ping-busy", "the same, 1,000 requests/s beside it", "irerd", ("ping-pong", "irer-ping"), background=True),
    Case("fastapi-get", "FastAPI GET", "fastapi", ("ping-pong", "http-get")),
    Case("fastapi-post", "FastAPI POST, typed parameters", "fastapi", ("ping-pong", "http-post")),
    Case("grpc-aio", "grpc.aio unary", "grpc", ("grpc", "aio")),
    Case("grpc-blocking", "grpc.aio unary, asked by grpc's blocking client", "grpc", ("grpc", "blocking")),
    Case("redis-set", "redis SET", "redis", ("ping-pong", "redis-set")),
    Case("irerd-window", "irerd `system.ping`, window 64", "irerd", ("windows", "irer-ping", *WINDOW)),
    Case("grpc-64", "grpc.aio unary, 64 concurrent", "grpc", ("grpc", "aio", *WINDOW)),
    Case("redis-window", "redis SET, window 64", "redis", ("windows", "redis-set", *WINDOW)),
    Case("irerd-submit-one", "irerd `resource.submit_task`, one in flight", "irerd", ("ping-pong", "irer-submit"), fresh=True),
    Case("irerd-submit", "irerd `resource.submit_task`, 8 × 64", "irerd", ("windows", "irer-submit", *EIGHT), fresh=True),
    Case(
        "irerd-submit-keyed",
        "the same, each with an idempotency key",
        "irerd",
        ("windows", "irer-submit-keyed", *EIGHT),
        fresh=True,
    ),
    Case("redis-durable-one", "redis SET synced, one in flight", "redis-durable", ("ping-pong", "redis-set")),
    Case("redis-durable", "redis SET synced, 8 × 64", "redis-durable", ("windows", "redis-set", *EIGHT)),
)


@dataclass
class Found:
    """Everything a run found, as it is written."""

    rounds: dict[str, list[Figures]] = field(default_factory=dict)
    memory_mb: dict[str, Figures] = field(default_factory=dict)
    ready_ms: list[float] = field(default_factory=list)
    help_ms: list[float] = field(default_factory=list)
    profiles: dict[str, Any] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


class Run:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.place = Place(options.state_dir)
        self.python = peers.install()
        self.found = Found()
        self.redis: str | None = None
        self.servers: dict[str, Server] = {}

    def measure(self) -> None:
        with contextlib.ExitStack() as stack:
            wanted = [case for case in CASES if re.search(self.options.only, case.name)]
            idle_since = time.perf_counter()
            idle = stack.enter_context(peers.irerd(self.place)) if self.options.idle else None
            self._start(stack, {case.server for case in wanted if not case.fresh})
            wanted = [case for case in wanted if case.fresh or case.server in self.servers]
            for number in range(self.options.rounds):
                began = time.perf_counter()
                turn = number * 3 % max(1, len(wanted))
                for case in wanted[turn:] + wanted[:turn]:
                    self.found.rounds.setdefault(case.name, []).append(self._measure(case))
                print(f"== round {number + 1} of {self.options.rounds}: {time.perf_counter() - began:.0f} s", flush=True)
            self.found.help_ms = [_help_ms() for _ in range(HELP_RUNS)]
            if self.options.profile:
                self._profile("irerd-window")
                self._profile("irerd-submit")
            for name, server in self.servers.items():
                self.found.memory_mb[name]["loaded"] = server.resident_mb()
            if idle is not None:
                time.sleep(max(0.0, IDLE_AT_LEAST_S - (time.perf_counter() - idle_since)))
                self.found.memory_mb["irerd"]["idle_60s"] = idle.resident_mb()

    def _start(self, stack: contextlib.ExitStack, names: set[str]) -> None:
        if names & {"redis", "redis-durable"}:
            try:
                self.redis = peers.redis_program()
            except Unavailable as missing:
                print(f"\n!! NOT MEASURED: redis. {missing}\n", file=sys.stderr)
                self.found.missing.append(f"redis: {missing}")
                names -= {"redis", "redis-durable"}
        for name in sorted(names):
            server = stack.enter_context(self._server(name))
            self.servers[name] = server
        time.sleep(0.5)
        for name, server in self.servers.items():
            self.found.memory_mb[name] = {"idle": server.resident_mb()}
        self.found.memory_mb.setdefault("irerd", {})

    def _server(self, name: str) -> "contextlib.AbstractContextManager[Server]":
        if name == "irerd":
            return peers.irerd(self.place)
        if name == "fastapi":
            return peers.fastapi(self.place, self.python)
        if name == "grpc":
            return peers.grpc(self.place, self.python)
        assert self.redis is not None
        return peers.redis(self.place, self.redis, durable=name == "redis-durable")

    def _measure(self, case: Case) -> Figures:
        if case.fresh:
            with peers.irerd(self.place) as server:
                self.found.ready_ms.append(server.ready_ms)
                figures = self._client(case, server)
                figures["resident_mb"] = server.resident_mb()
                return figures
        server = self.servers[case.server]
        if not case.background:
            return self._client(case, server)
        with self._background(server):
            return self._client(case, server)

    @contextlib.contextmanager
    def _background(self, server: Server) -> Iterator[None]:
        seconds = self.options.seconds + self.options.warmup + 1
        command = [sys.executable, str(HERE / "client.py"), "background", "irer-ping", "--socket", server.socket]
        with subprocess.Popen([*command, "--seconds", str(seconds)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            yield
            reached = json.loads(process.stdout.readline())["rate"]
            if reached < 900:
                print(f"!! the background load reached only {reached:.0f} requests/s", file=sys.stderr)

    def _client(self, case: Case, server: Server, *more: str) -> Figures:
        if case.client[0] == "grpc":
            command = [str(self.python), str(HERE / "grpc_peer.py"), *case.client[1:]]
        else:
            command = [sys.executable, str(HERE / "client.py"), *case.client]
        command += ["--socket", server.socket, "--server", str(server.pid)]
        command += ["--seconds", str(self.options.seconds), "--warmup", str(self.options.warmup), *more]
        done = subprocess.run(command, capture_output=True, text=True, timeout=CLIENT_LIMIT_S)
        if done.returncode:
            raise Unavailable(f"{case.name}: {done.stderr.strip()[-1000:]}\nlast words of {server.name}: {server.last_words()}")
        figures: Figures = json.loads(done.stdout)
        print(f"   {case.name:20} {figures['rate']:>12,.0f}/s", flush=True)
        return figures

    def _profile(self, name: str) -> None:
        """The same load once more on an irerd under the sampler. Its rate counts nowhere."""
        case = next(case for case in CASES if case.name == name)
        out = self.place.state / f"{name}.json"
        with peers.irerd(self.place, profile=out) as server:
            figures = self._client(case, server, "--profile")
        if out.exists():
            self.found.profiles[name] = {"rate": figures["rate"], **json.loads(out.read_text())}


def _help_ms() -> float:
    program = Path(sys.executable).parent / "irerctl"
    command = [str(program)] if program.exists() else [sys.executable, "-m", "irerctl.main"]
    began = time.perf_counter()
    subprocess.run([*command, "--help"], stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - began) * 1000


def _sync_us(directory: Path) -> list[float]:
    """What one small synced append costs on the disk below: the floor of every durable answer."""
    path = directory / "sync"
    found = []
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, SYNCS * 4096)
        os.lseek(descriptor, 0, os.SEEK_SET)
        for _ in range(SYNCS):
            began = time.perf_counter()
            os.write(descriptor, bytes(4096))
            os.fdatasync(descriptor)
            found.append((time.perf_counter() - began) * 1e6)
    finally:
        os.close(descriptor)
        path.unlink()
    return found


def machine(directory: Path) -> dict[str, Any]:
    cpu = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    said = subprocess.run(["df", "--output=fstype", str(directory)], capture_output=True, text=True).stdout.split()
    syncs = _sync_us(directory)
    return {
        "cpu": cpu[1] if cpu else "unknown",
        "cores": len(os.sched_getaffinity(0)),
        "python": f"Python {platform.python_version()} built {platform.python_build()[1]}",
        "memory_gb": round(int(memory[1]) / 1e6, 1) if memory else None,
        "file_system": said[-1] if said else "unknown",
        "sync_p50_us": round(percentile(syncs, 0.5), 1),
        "sync_p99_us": round(percentile(syncs, 0.99), 1),
        "load_before": round(os.getloadavg()[0], 2),
    }


def commit_id() -> str:
    def git(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)

    said = git("rev-parse", "--short=12", "HEAD")
    if said.returncode:
        return "uncommitted"
    ours = ["core", "state", "irerd", "irerctl"]
    return said.stdout.strip() + ("+changes" if git("status", "--porcelain", "--", *ours).stdout.strip() else "")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/run rpc", description="Measure irerd beside FastAPI, grpc.aio and redis.")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each case is measured in each round (default: 2)")
    parser.add_argument("--warmup", type=float, default=0.25, help="how long each case runs before that (default: 0.25)")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--only", default="", metavar="REGEX", help="only the cases whose name matches; no table is written then")
    parser.add_argument("--no-profile", dest="profile", action="store_false", help="leave out the two profiled runs")
    parser.add_argument("--no-idle", dest="idle", action="store_false", help="leave out memory after 60 idle seconds")
    parser.add_argument("--state-dir", type=Path, default=HERE / ".work", help="where the servers keep their state: a real disk")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where else the result goes")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.relative_to(ROOT)} and the table in README.md")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = _arguments(argv)
    began = datetime.now(UTC)
    run = Run(options)
    try:
        about = machine(run.place.state)
        run.measure()
    except Unavailable as failed:
        print(f"benchmarks: {failed}", file=sys.stderr)
        return 1
    finally:
        run.place.remove()
    result: dict[str, Any] = {
        "measured": began.isoformat(timespec="seconds"),
        "command": " ".join(["benchmarks/run rpc", *(argv or sys.argv[1:])]),
        "commit": commit_id(),
        "seconds": options.seconds,
        "rounds_count": options.rounds,
        "machine": about,
        "versions": peers.versions(run.python, run.redis),
        "titles": {case.name: case.title for case in CASES},
        **asdict(run.found),
    }
    result["targets"] = [asdict(target) for target in report.judge(result)]
    text = report.markdown(result)
    print("\n" + text)
    for written in [options.json] * bool(options.json) + [RESULTS] * bool(options.write and not options.only):
        written.parent.mkdir(parents=True, exist_ok=True)
        written.write_text(json.dumps(result, indent=1) + "\n")
        print(f"written: {written}")
    if options.write and not options.only:
        report.put_into(HERE / "README.md", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
