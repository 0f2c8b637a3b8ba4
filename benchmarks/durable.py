"""Measures the log beside SQLite and redis, the verifier beside SHA-256, and how long a start takes: STATE.md section 16.

`python -m benchmarks.durable [--write]`. Peers alternate within each round, on one disk. What only computes is measured in
processor time, which a busy machine disturbs less than the clock on the wall; what waits for a disk or a process, by that clock.
"""

import argparse
import json
import os
import socket
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import peers, report
from benchmarks.peers import HERE, Place, Unavailable
from benchmarks.rpc import commit_id, machine
from core.canonical import encode
from core.engines import ENGINES
from core.keys import Keys
from core.world import World
from state.fs import RealFiles
from state.ledger import open_ledger, read_ledger
from state.log import Log, create
from state.recover import recover
from state.replay import replay
from state.rotation import LIMITS
from state.seal import RECORDS_MAX, Pending
from state.verify import verify_logs

RESULTS = HERE / "results" / "durable.json"
ROUNDS = 5
ONES = 200
"""Appends of one record in a round."""
GROUPS = 40
ONE_RECORD_BYTES = 512
CHAIN_RECORDS = 100_000
REPLAYED = 100_000
STARTED = 1_000_000
TAIL_BYTES = 16 << 20
BLOCK_BYTES = 1 << 20
LOG = "engine_state"
ORIGIN = f"irer.invalid/00000000000000b1/{LOG}"
BOOT, ACTOR = "0123abcd", "uid:1000"
START_LIMIT_S = 120.0

Series = dict[str, list[float]]


class Aim(NamedTuple):
    name: str
    aim: str
    figure: str
    """Of `figures`, what it is judged by."""
    unit: str
    least: float | None = None
    most: float | None = None


AIMS = (
    Aim("one durable append, against one SQLite insert", "≥ 1.5 ×", "one against sqlite", "×", least=1.5),
    Aim("a group of 256, against one SQLite transaction of 256", "≥ 1 ×", "group against sqlite", "×", least=1.0),
    Aim("`audit hashchain`, against SHA-256 over the same bytes, one core", "≥ 15 %", "chain share", "%", least=15),
    Aim("two segments on two cores, against one core", "≥ 1.7 ×", "two cores", "×", least=1.7),
    Aim("replay of simple events, chain checked, one core", "≥ 200,000 /s", "replay", "/s", least=200_000),
    Aim("start of a million-record log from a snapshot", "< 2 s", "start", "s", most=2),
    Aim("recovery of a 16 MiB tail", "< 5 s", "tail", "s", most=5),
)
ROWS = (
    ("one", "irer, one record in a batch", "µs"),
    ("sqlite one", "SQLite, one insert (WAL, synchronous=FULL)", "µs"),
    ("redis one", "redis, one SET (appendfsync always)", "µs"),
    ("group", "irer, a group of 256", "µs a record"),
    ("sqlite group", "SQLite, a transaction of 256", "µs a record"),
    ("redis group", "redis, 256 SETs in flight", "µs a record"),
    ("chain", "`audit hashchain`, 512-byte batches, one core", "MB/s"),
    ("sha256", "SHA-256 over the same files", "MB/s"),
    ("replay", "replay, groups of 256", "/s"),
    ("replay ones", "replay, batches of one record", "/s"),
)


def stamp() -> tuple[int, int, str]:
    return time.time_ns() // 1_000, time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000, BOOT


class Records:
    """Records of a simple event, one moment apart: two pools grow and shrink by turns."""

    def __init__(self) -> None:
        self._payloads = [
            encode({"from_units": size, "pool": "compute", "reason": "request", "to_units": 9 - size}) for size in (4, 5)
        ]
        self._time_us, self._mono_us, _ = stamp()
        self._place = 0

    def take(self, count: int) -> list[Pending]:
        first, self._place = self._place, self._place + count
        return [
            Pending("pool.scaled", self._payloads[place & 1], ACTOR, BOOT, self._mono_us + place, self._time_us + place)
            for place in range(first, self._place)
        ]


def append(log: Log, records: Sequence[Pending]) -> None:
    """What the writer does for a group, and for the room of the next one."""
    log.commit(log.seal(records).data)
    if log.reserved_bytes - log.room.own_bytes < log.room.ahead_bytes * 5 // 8:
        log.reserve()


# --- beside SQLite and redis ----------------------------------------------------------------------------------------------------


def per_record(work: Callable[[Sequence[Any]], None], groups: Sequence[Sequence[Any]]) -> float:
    """Microseconds of wall time to store records that are there already, the same for all peers."""
    began = time.perf_counter()
    for group in groups:
        work(group)
    return (time.perf_counter() - began) / sum(map(len, groups)) * 1e6


class Sqlite:
    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute("CREATE TABLE log (seq INTEGER PRIMARY KEY, line BLOB NOT NULL)")

    def one(self, rows: Sequence[tuple[bytes]]) -> None:
        self._database.execute("INSERT INTO log (line) VALUES (?)", rows[0])

    def group(self, rows: Sequence[tuple[bytes]]) -> None:
        self._database.execute("BEGIN")
        self._database.executemany("INSERT INTO log (line) VALUES (?)", rows)
        self._database.execute("COMMIT")

    def close(self) -> None:
        self._database.close()


class Redis:
    """`count` SETs of the same bytes in flight on one connection."""

    def __init__(self, path: str, payload: bytes) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(path)
        self._request = b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$%d\r\n%b\r\n" % (len(payload), payload)

    def send(self, rows: Sequence[object]) -> None:
        self._connection.sendall(self._request * len(rows))
        left = len(rows) * len(b"+OK\r\n")
        while left:
            data = self._connection.recv(65_536)
            if not data or not data.startswith(b"+OK\r\n"[-left % 5 :][:1]):
                raise Unavailable(f"redis: {data[:80]!r}")
            left -= len(data)

    def close(self) -> None:
        self._connection.close()


def appends(place: Place, rounds: int, found: Series, missing: list[str]) -> None:
    directory, _ = place.fresh("append")
    payload = encode({"from_units": 4, "pool": "compute", "reason": "request", "to_units": 5})
    line = payload + b" " * (ONE_RECORD_BYTES - len(payload))
    files, records = RealFiles(directory), Records()
    log = create(files, LOG, ORIGIN, stamp, LIMITS._replace(bytes=1 << 40, records=1 << 40))
    log.reserve()
    ones, groups = [[(line,)]] * ONES, [[(line,)] * RECORDS_MAX] * GROUPS
    with closing(log), closing(Sqlite(directory / "peer.sqlite")) as sqlite, _redis(place, line, missing) as redis:
        for _ in range(rounds):
            found["one"].append(per_record(partial(append, log), [records.take(1) for _ in range(ONES)]))
            found["sqlite one"].append(per_record(sqlite.one, ones))
            if redis is not None:
                found["redis one"].append(per_record(redis.send, ones))
            found["group"].append(per_record(partial(append, log), [records.take(RECORDS_MAX) for _ in range(GROUPS)]))
            found["sqlite group"].append(per_record(sqlite.group, groups))
            if redis is not None:
                found["redis group"].append(per_record(redis.send, groups))
    files.shut()


@contextmanager
def _redis(place: Place, line: bytes, missing: list[str]) -> Iterator[Redis | None]:
    try:
        program = peers.redis_program()
    except Unavailable as absent:
        missing.append(f"redis: {absent}")
        yield None
        return
    with peers.redis(place, program, durable=True) as server, closing(Redis(server.socket, line)) as connection:
        yield connection


# --- what only computes -----------------------------------------------------------------------------------------------------------


def build(files: RealFiles, count: int, batch: int, segments: int = 1, origin: str = ORIGIN) -> Log:
    """A log of about so many records in each of so many closed segments, and an active one that holds nothing yet."""
    records = Records()
    log = create(files, LOG, origin, stamp, LIMITS)
    for _ in range(segments):
        fill(log, records, count, batch)
        log.rotate(stamp)
    return log


def fill(log: Log, records: Records, count: int, batch: int) -> None:
    """Synced at the end alone: how fast it is written is measured elsewhere."""
    for first in range(0, count, RECORDS_MAX):
        taken = records.take(min(RECORDS_MAX, count - first))
        log.write(b"".join(log.seal(taken[place : place + batch]).data for place in range(0, len(taken), batch)))
    log.sync()


def chain(place: Place, rounds: int, found: Series) -> None:
    directory, _ = place.fresh("chain")
    files = RealFiles(directory)
    build(files, CHAIN_RECORDS, 1, segments=2).close()
    files.shut()
    paths = sorted(directory.glob("*.jsonl"))
    size = sum(path.stat().st_size for path in paths)
    for _ in range(rounds):
        found["sha256"].append(size / 1e6 / _processor_s(lambda: _hash(paths)))
        found["chain"].append(size / 1e6 / _processor_s(lambda: _verify(directory, 1)))
        alone, together = _wall_s(lambda: _verify(directory, 1)), _wall_s(lambda: _verify(directory, 2))
        found["two cores"].append(alone / together)


def _hash(paths: Sequence[Path]) -> None:
    for path in paths:
        digest = sha256()
        with path.open("rb", buffering=0) as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)


def _verify(directory: Path, workers: int) -> None:
    *_, row = verify_logs(directory, [LOG], deep=False, workers=workers)
    if not row["ok"] or row["records"] < CHAIN_RECORDS:
        raise Unavailable(f"the log that was made does not verify: {row}")


def recovered(directory: Path) -> int:
    """A start as the daemon makes it: read, check, replay. Answers how many records there were."""
    files = RealFiles(directory)
    world, keys = World(ENGINES), Keys()
    ledger = read_ledger(files)
    origin = ledger.logs[LOG] if ledger is not None else ORIGIN
    count = 0

    def take(batch: Sequence[Any]) -> None:
        nonlocal count
        count += len(batch)
        replay(world, keys, LOG, batch)

    recovery = recover(files, LOG, origin, stamp, take)
    recovery.log.close()
    files.shut()
    return count


def replays(place: Place, rounds: int, found: Series) -> None:
    for name, batch in (("replay", RECORDS_MAX), ("replay ones", 1)):
        directory, _ = place.fresh(name.replace(" ", "-"))
        files = RealFiles(directory)
        log = create(files, LOG, ORIGIN, stamp, LIMITS)
        fill(log, Records(), REPLAYED, batch)
        log.write_head()
        log.close()
        files.shut()
        for _ in range(rounds):
            found[name].append(REPLAYED / _processor_s(lambda directory=directory: recovered(directory)))  # type: ignore[misc]


# --- starts -----------------------------------------------------------------------------------------------------------------------


def tail(place: Place, rounds: int, found: Series) -> None:
    """16 MiB of one-record batches that no head names, the last of them torn."""
    for _ in range(rounds):
        directory, _ = place.fresh("tail")
        files = RealFiles(directory)
        log = create(files, LOG, ORIGIN, stamp, LIMITS)
        fill(log, Records(), TAIL_BYTES // ONE_RECORD_BYTES, 1)
        log.write(log.seal(Records().take(1)).data[:200])
        log.close()
        files.shut()
        found["tail"].append(_wall_s(lambda directory=directory: recovered(directory)))  # type: ignore[misc]


def start(place: Place, rounds: int, found: Series) -> None:
    """irerd on a million records. Its first start reads them all and leaves a snapshot; those after it are measured."""
    directory, path = place.fresh("start")
    state = directory / "state"
    state.mkdir(mode=0o700)
    files = RealFiles(state)
    ledger = open_ledger(files, lambda: "0123456789abcdef")
    segments = STARTED // LIMITS.records
    log = build(files, LIMITS.records - 1, RECORDS_MAX, segments, ledger.origin(LOG))
    ledger.add_log(LOG)
    ledger.close()
    log.close()
    files.shut()
    config = directory / "irerd.toml"
    config.write_text("config_version = 1\n")
    command = [sys.executable, "-m", "irerd.main", "--state-dir", str(state), "--socket", path, "--config", str(config)]
    with peers.running("irerd", command, path, directory, start_s=START_LIMIT_S) as server:
        found["start without a snapshot"].append(server.ready_ms / 1e3)
    for _ in range(rounds):
        with peers.running("irerd", command, path, directory) as server:
            found["start"].append(server.ready_ms / 1e3)


# --- clocks -----------------------------------------------------------------------------------------------------------------------


def _processor_s(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _wall_s(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


# --- the result -------------------------------------------------------------------------------------------------------------------


def ratios(found: Series) -> Series:
    def paired(one: str, other: str, scale: float = 1.0) -> list[float]:
        return [scale * mine / theirs for mine, theirs in zip(found[one], found[other], strict=True)]

    return {
        "one against sqlite": paired("sqlite one", "one"),
        "group against sqlite": paired("sqlite group", "group"),
        "chain share": paired("chain", "sha256", 100.0),
    }


def judged(figures: Series) -> list[dict[str, Any]]:
    rows = []
    for aim in AIMS:
        values = figures[aim.figure]
        value = statistics.median(values)
        won = (aim.least is None or value >= aim.least) and (aim.most is None or value < aim.most)
        named = {"name": aim.name, "aim": aim.aim, "unit": aim.unit, "won": won}
        rows.append(named | {"value": round(value, 3), "low": round(min(values), 3), "high": round(max(values), 3)})
    return rows


def markdown(result: dict[str, Any]) -> str:
    lines = [report.targets(result["targets"]), "", "| | median | lowest … highest | |", "|---|--:|--:|---|"]
    for name, title, unit in ROWS:
        if values := result["figures"].get(name):
            middle, low, high = (report.number(value) for value in (statistics.median(values), min(values), max(values)))
            lines.append(f"| {title} | {middle} | {low} … {high} | {unit} |")
    missing = "".join(f"\n\n**Not measured:** {line}" for line in result["missing"])
    at, on = result["measured"], result["machine"]
    return (
        f"`{result['command']}` at {at}, commit {result['commit']}: medians of {result['rounds']} rounds. "
        f"{on['cpu']}, {on['python']}, "
        f"{on['cores']} cores, load {on['load_before']:g} before; {on['file_system']}, a synced 4 KiB append takes "
        f"{on['sync_p50_us']:g} µs (p99 {on['sync_p99_us']:g}). SQLite {sqlite3.sqlite_version}.{missing}\n\n" + "\n".join(lines)
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks durable", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write results/durable.json and the table in README.md")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--state-dir", type=Path, default=HERE / ".work", help="where the files go: a real disk")
    options = parser.parse_args(argv)
    began = datetime.now(UTC)
    place, missing = Place(options.state_dir), list[str]()
    names = [name for name, _, _ in ROWS] + ["two cores", "tail", "start", "start without a snapshot"]
    found: Series = {name: [] for name in names}
    try:
        about = machine(place.state)
        appends(place, options.rounds, found, missing)
        chain(place, options.rounds, found)
        replays(place, options.rounds, found)
        tail(place, max(1, options.rounds // 2), found)
        start(place, options.rounds, found)
    except Unavailable as failed:
        print(f"benchmarks: {failed}", file=sys.stderr)
        return 1
    finally:
        place.remove()
    figures = {name: [round(value, 4) for value in values] for name, values in (found | ratios(found)).items()}
    result = {
        "measured": began.isoformat(timespec="seconds"),
        "command": " ".join(["python -m benchmarks durable", *(argv or ())]),
        "commit": commit_id(),
        "seconds": round((datetime.now(UTC) - began).total_seconds()),
        "rounds": options.rounds,
        "machine": about | {"load_after": round(os.getloadavg()[0], 2)},
        "figures": figures,
        "missing": missing,
        "targets": judged(figures),
    }
    text = markdown(result)
    print(text)
    if options.write:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
        report.put_into(HERE / "README.md", text, "durable")
        print(f"written: {RESULTS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
