"""Energy intelligence by its socket: `python -m benchmarks.energy [--write]`, two minutes.

An irerd of its own with every setting at its default; 2,500 sources of four metrics are made live first, which is 10,000 streams.
Then: durable senses with many in flight, each of another source and moment; senses and actions in turn at a fixed pace, which waits
for nobody; proofs of claims that are due, one in flight; batches. At last senses of sources that have been watched for longer than
a claim looks ahead, so that each of them meets one: two records instead of one. What is pure arithmetic is measured in this
process, in processor time of one core. Latencies are wall time by the socket, to the answer that says it is on disk.
"""

import argparse
import gc
import json
import math
import random
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from select import select
from socket import AF_UNIX, socket
from typing import Any

import cbor2
import numpy as np

from benchmarks import energy_core, report
from benchmarks.measure import cpu_seconds, percentile
from benchmarks.peers import Place, Server, irerd
from benchmarks.rpc import commit_id, machine
from core.energy.layout import BYTES_PER_ROW

HERE = Path(__file__).parent
RESULTS = HERE / "results/energy.json"
SOURCES = 2_500
METRICS = ("power_draw", "temperature", "cpu_usage", "network_throughput")
WARM_TICKS = 40
STEP_S = 10.0
WINDOW = 60
LINKS = 8
PACE = 1_000.0
PROOFS = 1_000
AGED, AGED_SENSES, AGED_ROUNDS = 512, 70, 3
"""Sources that are watched for long, how many senses of each that takes, and how often they are measured then. A source has
one connection: its moments come in order."""
BATCHES = 40
BATCH_TICKS = 512
STATE = {"active_servers": 12, "avg_utilization": 0.68}


class Link:
    """One connection: calls out, answers in, each known by its number."""

    def __init__(self, path: str) -> None:
        self.socket = socket(AF_UNIX)
        self.socket.connect(path)
        self._rest = b""
        self._next = 1
        self.socket.sendall(_frame({"t": "hello", "proto": [1], "client": "irer-bench/1"}))
        while not self.receive():
            pass

    def fileno(self) -> int:
        return self.socket.fileno()

    def frame(self, method: str, params: dict[str, Any]) -> bytes:
        self._next += 1
        return _frame({"t": "call", "id": self._next, "m": method, "p": params})

    def receive(self) -> list[dict[str, Any]]:
        data = self._rest + self.socket.recv(1 << 20)
        found, place = [], 0
        while place + 7 <= len(data):
            end = place + 7 + int.from_bytes(data[place + 3 : place + 7], "big")
            if end > len(data):
                break
            found.append(cbor2.loads(data[place + 7 : end]))
            if found[-1]["t"] == "err":
                raise RuntimeError(str(found[-1]))
            place = end
        self._rest = data[place:]
        return found

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self.socket.sendall(self.frame(method, params))
        while not (found := self.receive()):
            pass
        result: dict[str, Any] = found[0]["r"] if "r" in found[0] else found[0]
        return result


def windows(links: Sequence[Link], calls: Sequence[tuple[str, dict[str, Any]]], window: int = WINDOW) -> float:
    """Seconds until all are answered, with at most so many in flight on each connection."""
    waiting = {link: [link.frame(*call) for call in calls[place :: len(links)]] for place, link in enumerate(links)}
    sent, done = dict.fromkeys(links, 0), dict.fromkeys(links, 0)
    began = time.perf_counter()
    while open_links := [link for link in links if done[link] < len(waiting[link])]:
        for link in open_links:
            if sent[link] - done[link] <= window // 2:
                some = waiting[link][sent[link] : done[link] + window]
                link.socket.sendall(b"".join(some))
                sent[link] += len(some)
        for link in select(open_links, [], [])[0]:
            done[link] += len(link.receive())
    return time.perf_counter() - began


def _frame(message: dict[str, Any]) -> bytes:
    body = cbor2.dumps(message)
    return b"\xd8\x18\x5a" + len(body).to_bytes(4, "big") + body


def source(place: int) -> str:
    return f"rack-{place:04d}"


class Rigs:
    """What the sensors say: power and temperature apart, and a clock that stands in the past so that claims fall due."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.us = [round((time.time() - 86_400) * 1e6)] * SOURCES

    def next(self, place: int, seconds: float = STEP_S) -> int:
        self.us[place] += round(seconds * 1e6)
        return self.us[place]

    def line(self) -> list[float]:
        draw = self.draw.random
        return [round(500 + 50 * draw(), 1), round(70 + draw(), 1), round(0.5 + 0.1 * draw(), 3), round(1e6 * draw())]

    def sense(self, place: int, seconds: float = STEP_S) -> dict[str, Any]:
        moment = time.gmtime(self.next(place, seconds) / 1e6)
        text = f"{time.strftime('%Y-%m-%dT%H:%M:%S', moment)}.{self.us[place] % 1_000_000:06d}Z"
        return {"source": source(place), "timestamp": text, "telemetry": dict(zip(METRICS, self.line(), strict=True))}

    def batch(self, place: int, ticks: int) -> dict[str, Any]:
        times = [self.next(place) for _ in range(ticks)]
        return {"source": source(place), "metrics": list(METRICS), "times": times, "values": [self.line() for _ in range(ticks)]}


def live(links: Sequence[Link], rigs: Rigs) -> None:
    windows(links, [("eil.sense_batch", rigs.batch(place, WARM_TICKS)) for place in range(SOURCES)])


def senses(links: Sequence[Link], server: Server, rigs: Rigs, count: int, sources: int = SOURCES) -> dict[str, float]:
    calls = [("eil.sense", rigs.sense(place % sources)) for place in range(count)]
    before = cpu_seconds(server.pid)
    seconds = windows(links, calls)
    return {"senses_s": count / seconds, "senses_core_s": count / (cpu_seconds(server.pid) - before)}


def batches(links: Sequence[Link], server: Server, rigs: Rigs, count: int) -> dict[str, float]:
    calls = [("eil.sense_batch", rigs.batch(place, BATCH_TICKS)) for place in range(count)]
    before = cpu_seconds(server.pid)
    seconds = windows(links, calls, 8)
    points = count * BATCH_TICKS * len(METRICS)
    return {"batch_points_s": points / seconds, "batch_points_core_s": points / (cpu_seconds(server.pid) - before)}


def paced(links: Sequence[Link], rigs: Rigs, pace: float, seconds: float) -> dict[str, float]:
    """Senses and actions in turn; what is due is sent, whatever was answered."""
    count = int(pace * seconds)
    act = {"goal": "minimize_energy", "constraints": {"max_latency_ms": 100, "min_throughput": 1000}, "current_state": STATE}
    calls = [("eil.act", act) if place % 2 else ("eil.sense", rigs.sense(place // 2 % SOURCES)) for place in range(count)]
    frames = [links[place // 2 % len(links)].frame(*call) for place, call in enumerate(calls)]
    began = time.perf_counter()
    due = [began + place / pace for place in range(count)]
    waiting: dict[Link, list[float]] = {link: [] for link in links}
    late: list[float] = []
    sent = 0
    while len(late) < count:
        now = time.perf_counter()
        while sent < count and due[sent] <= now:
            link = links[sent // 2 % len(links)]
            if len(waiting[link]) >= WINDOW:
                break
            link.socket.sendall(frames[sent])
            waiting[link].append(due[sent])
            sent += 1
        for link in select(links, [], [], 0.0002)[0]:
            answers = len(link.receive())
            ended = time.perf_counter()
            # Answers come in the order of the calls: one log, one connection.
            late += [ended - each for each in waiting[link][:answers]]
            del waiting[link][:answers]
    return {"act_p50_ms": 1e3 * percentile(late, 0.5), "act_p99_ms": 1e3 * percentile(late, 0.99)}


def proofs(link: Link, rigs: Rigs, count: int) -> dict[str, float]:
    """A claim, points beyond the moment it is about, and then its proof, which is what is measured."""
    took = []
    for place in range(count):
        claim = link.ask("eil.sense", rigs.sense(place))["prediction_id"]
        link.ask("eil.sense_batch", rigs.batch(place, 40))
        asked = link.frame("eil.proof", {"prediction_id": claim, "actual_state": {"energy": 1.0, "entropy": 1.0}})
        began = time.perf_counter()
        link.socket.sendall(asked)
        while not link.receive():
            pass
        took.append(time.perf_counter() - began)
    return {"proof_p50_ms": 1e3 * percentile(took, 0.5), "proof_p99_ms": 1e3 * percentile(took, 0.99)}


def one_round(links: Sequence[Link], server: Server, rigs: Rigs, options: argparse.Namespace) -> dict[str, float]:
    return {
        **senses(links, server, rigs, options.senses),
        **paced(links, rigs, PACE, options.seconds),
        **proofs(links[0], rigs, PROOFS),
        **batches(links, server, rigs, BATCHES),
    }


def arithmetic() -> dict[str, float]:
    beside = energy_core.Feed(4_096, np.arange(energy_core.BATCH))
    alone = energy_core.Feed(10_000, np.arange(4_000, 4_004))
    return {
        "advance_points_s": 20 * energy_core.BATCH / energy_core.best(beside.many),
        "advance_sense_ms": energy_core.best(lambda: alone.many(100)) / 100 * 1e3,
        "stream_bytes": float(BYTES_PER_ROW),
    }


TARGETS: tuple[tuple[str, str, float, bool, float], ...] = (
    ("senses_s", "durable senses of 4 metrics a second, pipelined", 10_000, False, 20_000),
    ("senses_core_s", "the same, for each second of irerd's processor", 10_000, False, 20_000),
    ("batch_points_s", "durable points a second, in batches", 100_000, False, 300_000),
    ("act_p99_ms", "sense → act at 1,000 requests/s, p99, ms", 5, True, 3),
    ("proof_p99_ms", "proof, p99, ms", 1, True, 0.3),
    ("advance_points_s", "points a second and core, batches of 2,048", 1e6, False, 2.5e6),
    ("stream_bytes", "bytes a stream, columns", 1_000, True, 750),
)


def as_text(figures: dict[str, list[float]], about: dict[str, Any]) -> str:
    lines = ["| | pass | strong | median | lowest … highest | |", "|---|--:|--:|--:|--:|---|"]
    for name, what, passes, less, strong in TARGETS:
        values = figures[name]
        middle = float(np.median(values))
        within = _below if less else _above
        reached = "strong" if within(middle, strong) else "pass" if within(middle, passes) else "**LOST**"
        sign = "≤" if less else "≥"
        spread = f"{_shown(min(values))} … {_shown(max(values))}"
        lines.append(f"| {what} | {sign} {passes:,g} | {sign} {strong:,g} | {_shown(middle)} | {spread} | {reached} |")
    rest = [name for name in figures if name not in {target[0] for target in TARGETS}]
    told = ", ".join(f"{name} {_shown(float(np.median(figures[name])))}" for name in rest)
    load = f"load {about['load_before']} on {about['cores']} cores before; a synced 4 KiB append takes {about['sync_p50_us']} µs"
    return "\n".join([*lines, "", f"Also: {told}.", "", f"{about['cpu']}, {about['python']}, {load}, p99 {about['sync_p99_us']}."])


def _below(value: float, line: float) -> bool:
    return value <= line


def _above(value: float, line: float) -> bool:
    return value >= line


def _shown(value: float) -> str:
    if not math.isfinite(value):
        return "none"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def aged(links: Sequence[Link], server: Server, rigs: Rigs) -> dict[str, list[float]]:
    """Where each sense meets a claim, and as many claims are kept of each source as there may be."""
    before = server.resident_mb()
    windows(links, [("eil.sense", rigs.sense(place % AGED)) for place in range(AGED * AGED_SENSES)])
    kept = (server.resident_mb() - before) * 1e3 / AGED / len(METRICS)
    found = [senses(links, server, rigs, 10 * AGED, AGED) for _ in range(AGED_ROUNDS)]
    return {"aged_senses_s": [each["senses_s"] for each in found], "aged_kb_stream": [kept]}


def measured(options: argparse.Namespace, place: Place) -> dict[str, list[float]]:
    """All with one irerd: it takes longer to make ten thousand streams live than to measure."""
    rigs, found = Rigs(1), []
    with irerd(place) as server:
        links = [Link(server.socket) for _ in range(LINKS)]
        empty = server.resident_mb()
        live(links, rigs)
        grown = server.resident_mb() - empty
        gc.disable()  # a look of this process through its own objects, 2 ms now and then, is nothing that irerd took
        for _ in range(options.rounds):
            found.append(one_round(links, server, rigs, options))
            print(" ".join(f"{name} {_shown(value)}" for name, value in found[-1].items()), flush=True)
        figures = {name: [each[name] for each in found] for name in found[0]}
        return {**figures, "mb_10000_streams": [grown], **aged(links, server, rigs)}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/run energy", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--senses", type=int, default=5_000, help="in each round")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long senses and actions come at a fixed pace")
    parser.add_argument("--state-dir", type=Path, default=HERE / ".work", help="where irerd keeps its state: a real disk")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(argv)
    place = Place(options.state_dir)
    try:
        about = machine(place.state)
        figures = measured(options, place)
    finally:
        place.remove()
    figures |= {name: [value] for name, value in arithmetic().items()}
    text = as_text(figures, about)
    print(text)
    if options.write:
        seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        kept = {"commit": commit_id(), "machine": about, "figures": figures, "child_seconds": round(seconds, 1)}
        RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
        report.put_into(HERE / "README.md", text, "energy")
    return int("**LOST**" in text)


if __name__ == "__main__":
    sys.exit(main())
