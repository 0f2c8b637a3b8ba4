"""The offline-first engines beside their peers: `python -m benchmarks.offline [--only SUBJECT] [--write]`.

cache: durable sets and gets through the socket, pipelined by one client, and gets within the process, beside diskcache within
its own process, each write synced (synchronous=FULL); gets within a process by processor time on both sides. sync: 10,000
documents to a PouchDB server and back, beside PouchDB's own replicator, each from a store on disk. entities: a fleet of 100,000,
what its memory, its steps and its looks cost. Sides take turns in one run; figures are medians of rounds, and the machine's load
stands beside them.
"""

import argparse
import gc
import json
import os
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.report import put_into

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "offline.json"
POUCHDB = HERE.parent / "tests/pouchdb"
VALUE = {"name": "a value of an ordinary size", "tags": ["one", "two"], "n": 12_345}
KEYS = 5_000
CONNECTIONS = 4
WINDOW = 64
"""Calls of one connection that are under way at once: as many as may be."""
AIMS = {
    "sets by socket, to diskcache": (3.0, ">="),
    "gets by socket, to diskcache": (0.5, ">="),
    "gets in process, to diskcache": (5.0, ">="),
    "push of 10,000, to PouchDB's": (1.0, "<="),
    "pull of 10,000, to PouchDB's": (1.0, "<="),
}
Row = dict[str, Any]


# --- irerd --------------------------------------------------------------------------------------------------------------------


@contextmanager
def irerd(config: str = "") -> Iterator[Any]:
    from tests.e2e.harness import Irerd

    with tempfile.TemporaryDirectory(prefix="irer-bench-", dir=os.environ.get("IRER_BENCH_DIR")) as place:
        daemon = Irerd(Path(place), config)
        daemon.start()
        try:
            yield daemon
        finally:
            daemon.close()


def piped(socket_path: Path, method: str, calls: Sequence[dict[str, Any]]) -> float:
    """Calls a second of one client that always has many under way, on a few connections. Every answer is looked at."""
    from benchmarks.client import _frame

    selector = selectors.DefaultSelector()
    lines = []
    for place in range(CONNECTIONS):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(socket_path))
        frames = [_frame({"t": "call", "id": id, "m": method, "p": each}) for id, each in enumerate(calls[place::CONNECTIONS], 1)]
        lines.append(_Line(connection, frames))
        selector.register(connection, selectors.EVENT_READ, lines[-1])
    began = time.perf_counter()
    for line in lines:
        line.send()
    left = len(calls)
    while left:
        for key, _ in selector.select():
            left -= key.data.receive()
    took = time.perf_counter() - began
    for line in lines:
        line.connection.close()
    return len(calls) / took


class _Line:
    """One connection with at most WINDOW calls under way."""

    def __init__(self, connection: socket.socket, frames: list[bytes]) -> None:
        from benchmarks.client import Irer

        self.connection = connection
        self._frames = frames
        self._language = Irer("system.ping", {}, False, 0)
        self._language.greet(connection)
        self._sent = self._answered = 0

    def send(self) -> None:
        until = min(self._answered + WINDOW, len(self._frames))
        if until - self._sent >= WINDOW // 4 or until == len(self._frames):
            self.connection.sendall(b"".join(self._frames[self._sent : until]))
            self._sent = until

    def receive(self) -> int:
        count = self._language.replies(self.connection.recv(262_144))
        self._answered += count
        self.send()
        return count


# --- the cache ----------------------------------------------------------------------------------------------------------------


def in_process(count: int) -> float:
    """Gets for each second of processor within the daemon's own process: judged, looked up, counted and decoded by what serves a
    caller, without a socket.
    """
    from benchmarks.cache_memory import edits
    from core.access import Rules, recognise
    from core.cache import ENGINE
    from core.cache.events import apply_set
    from core.cache.form import canonical
    from core.cache.reads import Get
    from core.catalogue import Catalogue
    from core.engine import Stamp
    from core.keys import Keys
    from core.settings import Settings
    from core.world import World
    from irerd.dispatch import Dispatch, Permits
    from irerd.host import RealHost
    from irerd.main import settle_memory

    world, rules = World([ENGINE]), Rules()
    dispatch = Dispatch(RealHost(Path(), {}), world, Catalogue([ENGINE]), Keys(), Settings(), rules)
    names = []
    for seq, event in edits(KEYS):
        apply_set(world.states["cache"], event, Stamp("cache_log", seq, 1, 1, "00000001", "uid:1"))
        dispatch.values.put("cache", event.key, seq, canonical(event.value))
        names.append(event.key)
    log: Any = _AllDurable({"cache_log": KEYS + 1})
    dispatch.writer, dispatch.next_seq = log, {"cache_log": KEYS + 1}
    permits = Permits(dispatch, recognise(rules, 0, 0, [], 0))
    assert permits.judge(world.rows["cache.get"]).allowed
    settle_memory()
    began = time.process_time()
    for number in range(count):
        params = Get(names[number % KEYS])
        row = permits.row("cache.get")
        assert row is not None and row.quick is not None
        kept = dispatch.quick(row, params)
        assert kept is not None and row.quick.answer(params, kept).value["n"] == VALUE["n"]
    took = time.process_time() - began
    gc.unfreeze()
    return count / took


class _AllDurable:
    """In place of a writer with nothing to do."""

    def __init__(self, ends: dict[str, int]) -> None:
        self.durable_ends = ends


def diskcache(python: Path, place: Path, count: int) -> dict[str, Any]:
    shutil.rmtree(place, ignore_errors=True)
    command = [str(python), str(HERE / "diskcache_peer.py"), str(place), str(count), str(KEYS), json.dumps(VALUE)]
    found: dict[str, Any] = json.loads(subprocess.check_output(command))
    return found


def cache(python: Path, rounds: int) -> list[Row]:
    ours: dict[str, list[float]] = {"sets": [], "gets": [], "process": []}
    theirs: dict[str, list[float]] = {"sets": [], "gets": [], "gets_cpu": []}
    with irerd() as daemon:
        for turn in range(rounds):
            sets = [{"key": f"key-{n % KEYS:06d}", "value": VALUE | {"turn": turn}} for n in range(4 * KEYS)]
            ours["sets"].append(piped(daemon.socket, "cache.set", sets))
            ours["gets"].append(piped(daemon.socket, "cache.get", [{"key": f"key-{n % KEYS:06d}"} for n in range(8 * KEYS)]))
            ours["process"].append(in_process(60 * KEYS))
            peer = diskcache(python, daemon.place / "diskcache", 2 * KEYS)
            for name, rates in theirs.items():
                rates.append(peer[name])
    return [
        _ratio("sets by socket, to diskcache", ours["sets"], theirs["sets"]),
        _ratio("gets by socket, to diskcache", ours["gets"], theirs["gets"]),
        _ratio("gets in process, to diskcache", ours["process"], theirs["gets_cpu"]),
    ]


# --- sync -----------------------------------------------------------------------------------------------------------------------


def sync(rounds: int, count: int = 10_000) -> list[Row]:
    from tests.e2e.far_end import FarEnd

    ours: dict[str, list[float]] = {"push": [], "pull": []}
    theirs: dict[str, list[float]] = {"push": [], "pull": []}
    for turn in range(rounds):
        with tempfile.TemporaryDirectory(prefix="irer-bench-", dir=os.environ.get("IRER_BENCH_DIR")) as place:
            server = FarEnd()
            try:
                for name in ("ours", "theirs"):
                    server.database(f"{name}{turn}")
                url = f"http://127.0.0.1:{server.port}/theirs{turn}"
                command = ["node", "--no-deprecation", str(_beside_packages(Path(place))), url, str(count), place]
                peer = json.loads(subprocess.check_output(command))
                theirs["push"].append(peer["push_s"])
                theirs["pull"].append(peer["pull_s"])
                config = f'[cache.remote]\nurl = "http://127.0.0.1:{server.port}"\ndatabase = "ours{turn}"\n'
                with irerd(config) as daemon:
                    documents = [{"key": f"key-{n:06d}", "value": {"n": n, "text": "x" * 100}} for n in range(count)]
                    piped(daemon.socket, "cache.set", documents)
                    ours["push"].append(_synced(daemon, "pushed", count))
                with irerd(config) as daemon:
                    ours["pull"].append(_synced(daemon, "pulled", count))
            finally:
                server.stop()
    return [_ratio(f"{way} of 10,000, to PouchDB's", ours[way], theirs[way], "s") for way in ("push", "pull")]


def _beside_packages(place: Path) -> Path:
    """Node looks for packages beside the script."""
    script = place / "pouchdb_peer.js"
    shutil.copy(HERE / "pouchdb_peer.js", script)
    (place / "node_modules").symlink_to(POUCHDB / "node_modules")
    return script


def _synced(daemon: Any, way: str, count: int) -> float:
    with daemon.client(timeout=300) as client:
        began = time.perf_counter()
        watched = client.stream("system.op_watch", {"job": client.call("cache.sync").result["job"]})
        for _ in watched:
            pass
        took = time.perf_counter() - began
        assert watched.result["ok"] and watched.result["result"][way] == count, watched.result
        return took


# --- entities ---------------------------------------------------------------------------------------------------------------------


def entities(count: int = 100_000) -> list[Row]:
    """In one process, without a log: what the engine itself takes. Steps are medians of many, looks of a few."""
    from benchmarks.fleet import measured

    return [measured(size) for size in (count // 100, count)]


# --- the run ----------------------------------------------------------------------------------------------------------------------


def _ratio(name: str, ours: Sequence[float], theirs: Sequence[float], unit: str = "/s") -> Row:
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    aim, side = AIMS[name]
    reached = statistics.median(ratios)
    return {
        "case": name,
        "aim": f"{side} {aim:g}",
        "reached": round(reached, 3),
        "lowest": round(min(ratios), 3),
        "highest": round(max(ratios), 3),
        "won": reached >= aim if side == ">=" else reached <= aim,
        "ours": round(statistics.median(ours), 2),
        "theirs": round(statistics.median(theirs), 2),
        "unit": unit,
    }


def table(found: dict[str, Any]) -> str:
    lines = ["| | aim | reached | lowest … highest | irer | peer | |", "|---|---|--:|--:|--:|--:|---|"]
    for row in [*found.get("cache", []), *found.get("sync", [])]:
        verdict = "won" if row["won"] else "**LOST**"
        spread, unit = f"{row['lowest']:.2f} … {row['highest']:.2f}", row["unit"]
        sides = (
            f"{row['ours']:,.4g} {unit} | {row['theirs']:,.4g} {unit}"
            if unit == "s"
            else f"{row['ours']:,.0f} | {row['theirs']:,.0f}"
        )
        lines.append(f"| {row['case']} | {row['aim']} × | {row['reached']:.2f} × | {spread} | {sides} | {verdict} |")
    fleets = found.get("entities", [])
    if fleets:
        lines += ["", "| fleet | " + " | ".join(f"{row['fleet']:,}" for row in fleets) + " |", "|---|" + "--:|" * len(fleets)]
        for name in list(fleets[0])[1:]:
            shown = [f"{row[name]:,}" if row[name] else "-" for row in fleets]
            lines.append(f"| {name.replace('_', ' ')} | " + " | ".join(shown) + " |")
    return f"Load before: {found['load_before']:.1f} on {found['cores']} cores.\n\n" + "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.offline")
    parser.add_argument("--only", choices=("cache", "sync", "entities"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--python", type=Path, help="of an environment with diskcache; the peers' own if not told")
    parser.add_argument("--write", action="store_true", help="keep the figures in benchmarks/results")
    asked = parser.parse_args(argv)
    subjects: dict[str, Callable[[], list[Row]]] = {
        "cache": lambda: cache(asked.python or _peers(), asked.rounds),
        "sync": lambda: sync(asked.rounds),
        "entities": entities,
    }
    found: dict[str, Any] = {"load_before": os.getloadavg()[0], "cores": os.cpu_count()}
    for name, measure in subjects.items():
        if asked.only in (None, name):
            found[name] = measure()
            for row in found[name]:
                print(json.dumps(row), flush=True)
    if asked.write:
        kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        kept |= found
        RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
        put_into(HERE / "README.md", table(kept), "offline")
    return int(any(not row.get("won", True) for name in subjects for row in found.get(name, [])))


def _peers() -> Path:
    from benchmarks.peers import install

    return install()


if __name__ == "__main__":
    sys.exit(main())
