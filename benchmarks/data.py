"""The data engine: exact and approximate search beside usearch (exact and HNSW) and sqlite-vec, events a second through the socket,
and what a million events with 100,000 vectors take, in a process and as a whole daemon.

`python -m benchmarks.data [--only search|emit|million|daemon] [--peers PYTHON] [--write]`.

Sides take turns on one core with one thread, on the same vectors and queries: a mixture of subjects, so that an approximate index
has something to be good at. Recall is the share of the true ten nearest that a side finds, beside its time; `measured` is
what our index says of itself. `--peers` is a Python that has the peers, where it is not that of benchmarks/requirements.lock.
"""

import argparse
import base64
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.cache_memory import resident
from benchmarks.measure import cpu_seconds, percentile
from benchmarks.report import put_into

RESULTS = Path(__file__).parent / "results" / "data.json"
README = Path(__file__).parent / "README.md"
DIMENSION, K, SUBJECTS, QUERIES, ROUNDS = 256, 10, 2_000, 20, 5
PEERS = ("usearch-exact", "usearch-hnsw", "sqlite-vec")
SIZES = (50_000, 200_000)
WANTED = 0.99
"""What an approximate search is asked to find."""
BOUNDS_MS = {50_000: 8.0, 200_000: 30.0}
EVENTS, VECTORS, KEPT = 1_000_000, 100_000, 100_000
SEARCHES = 450
"""A worker is replaced after 200 jobs: some of these wait for a new one to start."""
START_S_MAX, SEARCH_MS_MAX = 3.0, 30.0
STATE = Path(os.environ.get("IRER_BENCH_DIR") or tempfile.gettempdir())
Row = dict[str, Any]


# --- search ---------------------------------------------------------------------------------------------------------------


def vectors(many: int, seed: int) -> Any:
    import numpy as np

    chance = np.random.default_rng(seed)
    subjects = np.random.default_rng(1).normal(size=(SUBJECTS, DIMENSION)).astype(np.float32)
    rows = subjects[chance.integers(0, SUBJECTS, many)] + chance.normal(size=(many, DIMENSION)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def segments(rows: Any, place: Path) -> list[dict[str, Any]]:
    """The files that the daemon keeps."""
    from irerd.vectors import SEGMENT_ROWS

    found = []
    for number, first in enumerate(range(0, len(rows), SEGMENT_ROWS)):
        some = rows[first : first + SEGMENT_ROWS]
        name = place / f"{number:08d}"
        name.with_suffix(".f32").write_bytes(some.astype("<f4").tobytes())
        keys = b"".join((first + at).to_bytes(8, "big") + (first + at).to_bytes(32, "big") for at in range(len(some)))
        name.with_suffix(".ids").write_bytes(keys)
        found.append({"place": str(name), "rows": len(some), "dead": []})
    return found


class Ours:
    """A worker's job, in this process."""

    def __init__(self, stored: list[dict[str, Any]], place: Path) -> None:
        self._segments, self._index = stored, place / "bench.index"

    def build(self) -> Row:
        """With its measure of recall. What it says of itself stands beside what is found here."""
        from core.data.index import head_of
        from irerd.work.index import index

        spec = json.dumps({"model": "bench", "dimension": DIMENSION, "segments": self._segments}).encode()
        began = time.process_time()
        raw = index(spec, lambda done, total: None)
        spent = time.process_time() - began
        self._index.write_bytes(raw)
        return {"build_s": spent, "extra_mb": round(len(raw) / 1e6, 1), "lists": head_of(raw)[0].lists}

    def ask(self, queries: Any, wanted: float | None = None) -> Row:
        """By the index where a recall is wanted."""
        from irerd.work.search import nearest

        lists = {"place": str(self._index), "model": "bench", "recall": wanted} if wanted is not None else None
        found, times, said = [], [], Row()
        for query in queries:
            text = base64.urlsafe_b64encode(query.astype("<f4").tobytes()).rstrip(b"=").decode()
            asked = {"dimension": DIMENSION, "queries": [text], "k": K, "segments": self._segments, "index": lists}
            began = time.process_time()
            said = json.loads(nearest(json.dumps(asked).encode(), lambda done, total: None))
            times.append(time.process_time() - began)
            found.append([row[1] for row in said["found"][0]])
        measured = {"measured": round(said["recall"], 4)} if "recall" in said else {}
        return {"found": found, "times": times, **measured}


class Peer:
    """The process of the peers."""

    def __init__(self, python: Path, core: int) -> None:
        here = Path(__file__).parent / "vectors_peer.py"
        self._process = subprocess.Popen(
            [str(python), str(here), str(core)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def say(self, **asked: Any) -> Row:
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        said: Row = json.loads(self._process.stdout.readline() or '{"failed": "it ended"}')
        return said

    def end(self) -> None:
        self._process.terminate()
        self._process.wait()


def search(python: Path, core: int) -> list[Row]:
    rows: list[Row] = []
    for size in SIZES:
        with tempfile.TemporaryDirectory(dir=STATE) as place:
            rows += _shown(_searched(Path(place), size, python, core))
    return rows


def _searched(place: Path, size: int, python: Path, core: int) -> list[Row]:
    import numpy as np

    stored, queries = vectors(size, 7), vectors(QUERIES, 8)
    truth = [set(np.argsort(-(stored.astype(np.float64) @ query), kind="stable")[:K].tolist()) for query in queries]
    np.save(place / "rows.npy", stored)
    ours, peer = Ours(segments(stored, place), place), Peer(python, core)
    built: dict[str, Row] = {"irer, exact": {"build_s": 0.0}, "irer, approximate": ours.build()}
    try:
        loaded = peer.say(do="load", place=str(place / "rows.npy"), k=K)
        built |= {name: peer.say(do="build", name=name) if "failed" not in loaded else loaded for name in PEERS}
        sides: dict[str, Callable[[], Row]] = {
            "irer, exact": lambda: ours.ask(queries),
            "irer, approximate": lambda: ours.ask(queries, WANTED),
        }
        for name in (each for each in PEERS if "failed" not in built[each]):
            sides[name] = lambda name=name: peer.say(do="ask", name=name, queries=queries.tolist())  # type: ignore[misc]
        times: dict[str, list[float]] = {name: [] for name in sides}
        recall: dict[str, float] = {}
        measured: dict[str, Row] = {}
        for _ in range(ROUNDS):
            for name, ask in sides.items():
                said = ask()
                times[name] += said["times"]
                measured[name] = {"measured": said["measured"]} if "measured" in said else {}
                recall[name] = sum(len(true & set(found)) for true, found in zip(truth, said["found"], strict=True)) / (K * QUERIES)
    finally:
        peer.end()
    return [_row(name, size, built[name] | measured.get(name, {}), times.get(name), recall.get(name)) for name in built]


def _row(name: str, size: int, built: Row, times: list[float] | None, recall: float | None) -> Row:
    row: Row = {"part": "search", "vectors": size, "side": name}
    if times is None or recall is None:
        return row | {"failed": built["failed"]}
    figures = {"median_ms": statistics.median(times) * 1e3, "p99_ms": percentile(times, 0.99) * 1e3, "build_s": built["build_s"]}
    row |= {"recall": recall} | {key: round(value, 3) for key, value in figures.items()}
    return row | {key: built[key] for key in ("measured", "lists", "extra_mb") if key in built}


# --- through the socket ---------------------------------------------------------------------------------------------------


def emit(seconds: float = 5.0) -> list[Row]:
    """Durable before each reply. `callers` at once, each waiting for its reply before it tells more."""
    rows: list[Row] = []
    for kind in ("content_stored", "content_created"):
        for callers in (1, 8, 32):
            place = peers.Place(STATE)
            try:
                with peers.irerd(place) as server:
                    rows += _shown([_told(server, kind, callers, seconds)])
            finally:
                place.remove()
    return rows


def _told(server: peers.Server, kind: str, callers: int, seconds: float) -> Row:
    from irerctl.client import Client

    counts, late = [0] * callers, threading.Event()
    latencies: list[list[float]] = [[] for _ in range(callers)]
    refused = [0] * callers
    with Client(server.socket) as client:
        first = client.call("data.emit", _event("content_created", "the first of all")).result["event"]

    def caller(own: int) -> None:
        with Client(server.socket) as client:
            while not late.is_set():
                began = time.perf_counter()
                try:
                    client.call("data.emit", _event(kind, f"caller {own} tells its {counts[own]}th of many things", first))
                except Exception:
                    refused[own] += 1
                    continue
                latencies[own].append(time.perf_counter() - began)
                counts[own] += 1

    threads = [threading.Thread(target=caller, args=(own,)) for own in range(callers)]
    began, before = time.perf_counter(), cpu_seconds(server.pid)
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    late.set()
    for thread in threads:
        thread.join()
    spent = time.perf_counter() - began
    every = [each for own in latencies for each in own]
    row: Row = {
        "part": "emit",
        "what": kind,
        "callers": callers,
        "a_second": round(sum(counts) / spent, 1),
        "daemon_us": round((cpu_seconds(server.pid) - before) / sum(counts) * 1e6),
        "refused": sum(refused),
    }
    return row | {"p50_ms": round(statistics.median(every) * 1e3, 2), "p99_ms": round(percentile(every, 0.99) * 1e3, 2)}


def _event(kind: str, text: str, event: str = "") -> Row:
    if kind == "content_created":
        return {"family": "local", "type": kind, "data": {"text": text}}
    return {"family": "vector", "type": kind, "data": {"event": event, "place": text}}


# --- a million events -----------------------------------------------------------------------------------------------------


def million() -> list[Row]:
    """All that the daemon holds, with the default bound on events that can be found, and with room for a million."""
    return _shown(_searched_often()) + [row for kept in (KEPT, EVENTS) for row in _shown([_in_a_process(kept)])]


def _in_a_process(kept: int) -> Row:
    said = subprocess.check_output([sys.executable, "-m", "benchmarks.data", "--held", str(kept)], text=True)
    row: Row = json.loads(said)
    return row


def held(kept: int) -> Row:
    """A state as the log leads to it: the oldest events go once there are more than `kept`; the last 100,000 have vectors."""
    from itertools import islice

    from core.data import ENGINE, model, told
    from core.data.events import FORGOTTEN_MAX, VectorForgotten
    from core.engine import Stamp
    from core.engines import ENGINES
    from core.world import World

    world = World([engine for engine in ENGINES if engine.name in (ENGINE.name, "cache")])
    data = world.states["data"]
    assert isinstance(data, model.Data)
    before, seq = resident(), 0
    packed = "A" * (DIMENSION * 4 * 4 // 3 + 1)

    def stamp() -> Stamp:
        return Stamp(model.LOG, seq, seq, seq, "00000001", "uid:1")

    for number in range(EVENTS):
        seq += 1
        event = told.ContentCreated("content_created", f"event {number} is about the pump of hall {number % 977}")
        model.apply_told(data, event, stamp())
        effect = stamp().cause()
        if number < EVENTS - VECTORS:
            data.waiting.pop(effect)  # as where no vector could be made
        else:
            seq += 1
            model.apply_embedding(
                data, told.EmbeddingGenerated(told.id_of(event), "hashed-256", DIMENSION, packed, None, effect), stamp()
            )
        if len(data.nodes) >= kept + FORGOTTEN_MAX:
            seq += 1
            oldest = list(islice(data.nodes, FORGOTTEN_MAX))
            records = sorted(record for each in oldest for record in data.vectors.get(each, {}).values())
            model.apply_forgotten(data, VectorForgotten(oldest, records, "limit"), stamp())
    after = resident()
    body = world.dump(model.LOG)
    began, wall = time.process_time(), time.perf_counter()
    world.load(model.LOG, body)
    load_s, load_wall_s = time.process_time() - began, time.perf_counter() - wall
    return {
        "part": "million",
        "events_told": EVENTS,
        "events_kept": len(data.nodes),
        "vectors": data.stored,
        "held_mb": round((after - before) / 1e6, 1),
        "bytes_an_event": round((after - before) / len(data.nodes)),
        "snapshot_mb": round(len(body) / 1e6, 1),
        "load_cpu_s": round(load_s, 2),
        "load_s": round(load_wall_s, 2),
        "peak_mb": round(resident(peak=True) / 1e6, 1),
    }


def _searched_often() -> list[Row]:
    """100,000 vectors: what 400 searches take, and the memory of who compares, which maps the files and holds none of them."""
    with tempfile.TemporaryDirectory(dir=STATE) as place:
        stored = segments(vectors(VECTORS, 7), Path(place))
        disk = sum(path.stat().st_size for path in Path(place).iterdir())
        ours, queries = Ours(stored, Path(place)), vectors(400, 9)
        ours.ask(queries[:5])
        times = ours.ask(queries)["times"]
    row = {
        "part": "vectors",
        "vectors": VECTORS,
        "disk_mb": round(disk / 1e6, 1),
        "p50_ms": round(statistics.median(times) * 1e3, 2),
    }
    return [row | {"p99_ms": round(percentile(times, 0.99) * 1e3, 2)}]


# --- a million events in a whole daemon -------------------------------------------------------------------------------------


def daemon() -> list[Row]:
    """A log of a million events, written as the daemon writes one; then irerd on it: from the log alone, and from its snapshot."""
    rows = []
    for kept in (KEPT, EVENTS):
        place = peers.Place(STATE)
        try:
            rows += _shown([_started(place, kept)])
        finally:
            place.remove()
    return rows


def _started(place: peers.Place, kept: int) -> Row:
    directory, path = place.fresh("million")
    config = directory / "irerd.toml"
    config.write_text(f"config_version = 1\n[data]\nevents_max = {kept}\n")
    state = directory / "state"
    command = [sys.executable, "-m", "irerd.main", "--state-dir", str(state), "--socket", path, "--config", str(config)]

    def run() -> "contextlib.AbstractContextManager[peers.Server]":
        return peers.running("irerd", command, path, directory, start_s=600.0)

    with run():
        pass  # makes the state directory
    began = time.process_time()
    records = written(state, kept)
    row: Row = {"part": "daemon", "events_told": EVENTS, "events_kept": kept, "records": records}
    row["write_cpu_s"] = round(time.process_time() - began, 1)
    with run() as server:
        row["replay_cpu_s"] = round(cpu_seconds(server.pid), 1)
        _wait_for_clusters(server)
    snapshots = sorted((state / "log.d/event_log/snap").glob("*.snap"))
    row["snapshot_mb"] = round(snapshots[-1].stat().st_size / 1e6, 1)
    with run() as server:
        row |= {"start_s": round(server.ready_ms / 1e3, 2), "start_cpu_s": round(cpu_seconds(server.pid), 2)}
        return row | _answers(server) | {"resident_mb": round(server.resident_mb()), "peak_mb": round(_peak_mb(server))}


def _peak_mb(server: peers.Server) -> float:
    [line] = [line for line in Path(f"/proc/{server.pid}/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1_024 / 1e6


def _wait_for_clusters(server: peers.Server) -> None:
    """The first look at clusters keeps a worker busy; searches are measured without it. The vectors' files are made meanwhile."""
    from irerctl.client import Client, Error

    with Client(server.socket, timeout=300.0) as client:
        while True:
            try:
                client.call("data.search", {"query": "the pump of a hall", "k": 1}, deadline_ms=60_000)
                break
            except Error:  # on a busy machine it takes longer than a call may; it goes on from where it was
                continue
        while "compared_at" not in client.call("data.clusters", {"limit": 1}).result:
            time.sleep(0.5)


def _answers(server: peers.Server) -> Row:
    """Searches through the socket, one after the other; what the daemon and its workers spend on each."""
    from irerctl.client import Client

    times: list[float] = []
    with Client(server.socket, timeout=60.0) as client:
        for number in range(5):
            client.call("data.search", {"query": f"warming up {number}", "k": K})
        before = _spent(server)
        for number in range(SEARCHES):
            began = time.perf_counter()
            client.call("data.search", {"query": f"event {number} is about the pump of hall {number}", "k": K})
            times.append(time.perf_counter() - began)
        after = _spent(server)
    each = {pid: (late - before.get(pid, 0.0)) / len(times) * 1e3 for pid, late in after.items()}
    return {
        "p50_ms": round(statistics.median(times) * 1e3, 1),
        "p99_ms": round(percentile(times, 0.99) * 1e3, 1),
        "max_ms": round(max(times) * 1e3, 1),
        "daemon_cpu_ms": round(each.pop(server.pid), 1),
        "worker_cpu_ms": round(sum(each.values()), 1),
    }


def _spent(server: peers.Server) -> dict[int, float]:
    """Of the daemon and each of its workers, the processor time so far."""
    found = {server.pid: cpu_seconds(server.pid)}
    for child in _children(server.pid):
        with contextlib.suppress(FileNotFoundError):  # it was replaced just now
            found[int(child)] = cpu_seconds(int(child))
    return found


def _children(pid: int) -> list[str]:
    """Whichever of its threads began them."""
    return [child for each in Path(f"/proc/{pid}/task").iterdir() for child in (each / "children").read_text().split()]


class Written:
    """A log that grows as the daemon's does, a batch of commands at a time, each with a moment of its own."""

    def __init__(self, state: Path) -> None:
        from core.data.model import LOG
        from irerd.host import boot_id
        from state.fs import RealFiles
        from state.ledger import open_ledger
        from state.recover import recover

        files = RealFiles(state)
        self._ledger = open_ledger(files, lambda: "0" * 32)
        self._boot = boot_id()
        self._mono_us = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000
        self._ahead_us = time.time_ns() // 1_000 - self._mono_us
        self.log = recover(files, LOG, self._ledger.origin(LOG), self._stamp, lambda batch: None).log

    def _stamp(self) -> tuple[int, int, str]:
        return self._mono_us + self._ahead_us, self._mono_us, self._boot

    def tell(self, actor: str, commands: Sequence[Sequence[Any]]) -> None:
        from core.canonical import event_payload
        from state.seal import Pending

        pending = []
        for events in commands:
            self._mono_us += 1
            time_us, mono_us, boot = self._stamp()
            pending += [Pending(event.event_type, event_payload(event), actor, boot, mono_us, time_us) for event in events]
        self.log.write(self.log.seal(pending).data)
        if self.log.rotation_due(self._mono_us + self._ahead_us):
            self.log.sync()
            self.log.rotate(self._stamp)

    def close(self) -> int:
        self.log.sync()
        self.log.close()
        self._ledger.close()
        return self.log.next_seq


def written(state: Path, kept: int) -> int:
    """A million events, the last 100,000 with a vector; beyond `kept` the oldest are let go of. Answers how many records."""
    from core.data import told
    from core.data.events import FORGOTTEN_MAX, VectorForgotten

    log, ids = Written(state), list[str]()
    first = "0" * 64
    for number in range(0, EVENTS - VECTORS, 60):
        rest = range(number, min(number + 60, EVENTS - VECTORS))
        events = [told.ContentStored("content_stored", first, f"shelf {each} of hall {each % 977}") for each in rest]
        log.tell("uid:1", [[event] for event in events])
        ids += [told.id_of(event) for event in events]
        first = ids[0]
        while len(ids) > kept:
            log.tell("irer", [[VectorForgotten(ids[:FORGOTTEN_MAX], [], "limit")]])
            del ids[:FORGOTTEN_MAX]
    stored = vectors(VECTORS, 7)
    for number in range(0, VECTORS, 20):
        ids += _embedded(log, stored[number : number + 20], number)
        while len(ids) > kept:
            log.tell("irer", [[VectorForgotten(ids[:FORGOTTEN_MAX], [], "limit")]])
            del ids[:FORGOTTEN_MAX]
    return log.close()


def _embedded(log: Written, rows: Any, number: int) -> list[str]:
    """Texts, and then what the daemon derives of them together."""
    from hashlib import sha256

    from core.data import told
    from core.data.embedding import MODEL, text_of
    from core.data.events import PriorsFound, VectorStored

    seq = log.log.next_seq
    texts = [f"event {number + place} is about the pump of hall {(number + place) % 977}" for place in range(len(rows))]
    events = [told.ContentCreated("content_created", text) for text in texts]
    log.tell("uid:1", [[event] for event in events])
    derived: list[Any] = []
    for place, event in enumerate(events):
        id, raw, effect = told.id_of(event), rows[place].astype("<f4").tobytes(), f"event_log:{seq + place}:0"
        derived.append(told.EmbeddingGenerated(id, MODEL, DIMENSION, text_of(raw), None, effect))
        derived.append(VectorStored(id, MODEL, DIMENSION, sha256(raw).hexdigest()))
        derived.append(PriorsFound(id, 0, 0.0, [], effect))
    log.tell("irer", [derived])
    return [told.id_of(event) for event in events]


# --- telling --------------------------------------------------------------------------------------------------------------


def _shown(rows: list[Row]) -> list[Row]:
    for row in rows:
        print(json.dumps(row), flush=True)
    return rows


def missed(rows: Sequence[Row]) -> list[str]:
    """Aims that are not reached."""
    found = []
    for row in rows:
        if row["part"] == "search" and row["side"] == "irer, exact":
            if row["recall"] < 1:
                found.append(f"recall {row['recall']} at {row['vectors']:,} vectors")
            if row["median_ms"] > BOUNDS_MS[row["vectors"]]:
                found.append(f"{row['median_ms']} ms at {row['vectors']:,} vectors")
        if row["part"] == "search" and row["side"] == "irer, approximate" and row["recall"] < row["measured"] - 0.02:
            found.append(f"recall {row['recall']} at {row['vectors']:,} vectors, and measured as {row['measured']}")
        if row["part"] == "million" and row["events_kept"] < EVENTS // 2 and row["load_cpu_s"] > START_S_MAX:
            found.append(f"{row['load_cpu_s']} s to load a snapshot")
        if row["part"] == "daemon" and row["start_cpu_s"] > START_S_MAX:
            found.append(f"{row['start_cpu_s']} s of a core to start from a snapshot of {row['events_kept']:,} events")
        if row["part"] == "daemon" and row["daemon_cpu_ms"] + row["worker_cpu_ms"] > SEARCH_MS_MAX:
            found.append(f"{row['daemon_cpu_ms'] + row['worker_cpu_ms']:.1f} ms of a core for a search")
        if row["part"] == "vectors" and row["p99_ms"] > SEARCH_MS_MAX:
            found.append(f"p99 of a search {row['p99_ms']} ms")
    return found


def table(rows: Sequence[Row]) -> str:
    parts: Mapping[str, str] = {
        "search": "Search",
        "emit": "Events through the socket",
        "million": "A million events",
        "daemon": "A million events in a whole daemon",
        "vectors": "Files",
    }
    lines: list[str] = []
    for part, title in parts.items():
        own = [{key: value for key, value in row.items() if key != "part"} for row in rows if row["part"] == part]
        if own:
            columns = list(dict.fromkeys(key for row in own for key in row))
            lines += [f"**{title}**", "", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
            lines += ["| " + " | ".join(str(row.get(key, "")) for key in columns) + " |" for row in own] + [""]
    return "\n".join(lines).rstrip()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data", description=__doc__)
    parser.add_argument(
        "--only", choices=("search", "emit", "million", "daemon"), nargs="*", help="some parts; with --write the others stay"
    )
    parser.add_argument("--peers", type=Path, help="a Python that has usearch and sqlite-vec")
    parser.add_argument("--held", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help="keep the figures in benchmarks/results and in benchmarks/README.md")
    asked = parser.parse_args(argv)
    if asked.held:
        print(json.dumps(held(asked.held)))
        return 0
    core = max(os.sched_getaffinity(0))
    wanted = asked.only or ("search", "emit", "million", "daemon")
    rows: list[Row] = []
    if "emit" in wanted:
        rows += emit()
    if "daemon" in wanted:
        rows += daemon()
    os.sched_setaffinity(0, {core})
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    if "search" in wanted:
        rows += search(asked.peers or peers.install(), core)
    if "million" in wanted:
        rows += million()
    load = os.getloadavg()[0]
    print(f"load {load:.1f}")
    for aim in missed(rows):
        print(f"not reached: {aim}")
    if asked.write:
        parts = {row["part"] for row in rows}
        old = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
        rows = [row for row in old if row["part"] not in parts] + rows
        RESULTS.write_text(json.dumps({"load": round(load, 1), "python": sys.version.split()[0], "rows": rows}, indent=1) + "\n")
        put_into(README, f"Load while it ran: {load:.1f} on {os.cpu_count()} cores.\n\n{table(rows)}", "data")
    return int(bool(missed(rows)))


if __name__ == "__main__":
    sys.exit(main())
