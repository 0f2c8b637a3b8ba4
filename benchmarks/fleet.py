"""A fleet in one process: what spawning, waking, reporting, supervision, looks and snapshots take, for `benchmarks.offline`.

What a step costs must not grow with the fleet; rows for a small and a large one stand beside each other.
"""

import random
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.cache_memory import resident
from core.engine import IRER, Command, Context, Stamp
from core.entity import ENGINE
from core.entity.commands import FindSilent
from core.resource import ENGINE as RESOURCE
from core.secrets import Secrets
from core.settings import Settings
from core.world import World

PAGE = 1_000
HELD_SHARE = 2
"""Every second entity holds a unit of a pool."""


class _Cache:
    online = True


class Small:
    """World, clock and log length, and nothing written."""

    def __init__(self) -> None:
        self.world = World([ENGINE, RESOURCE])
        self.now_us = 1_000_000_000_000_000
        self.seq = 0
        self._secrets = Secrets(b"0" * 32, b"1" * 32, lambda: b"2" * 32)
        self._random = random.Random(0)

    @property
    def ctx(self) -> Context:
        look: Callable[[str], Any] = lambda name: self.world.states.get(name, _Cache)  # noqa: E731
        return Context(self.now_us, self.now_us, "00000001", IRER, Settings(), lambda: "", self._random, look, self._secrets)

    def do(self, command: Command, verb: str) -> None:
        row = self.world.rows.get(f"entity.{verb}") or self.world.internal[type(command)]
        for event in self.world.decide(row, command, self.ctx).events:
            self.seq += 1
            self.world.apply(event, Stamp("entities", self.seq, self.now_us, self.now_us, "00000001", "uid:1"))


def measured(count: int) -> dict[str, Any]:
    rows = {row.name: row for row in ENGINE.rows}
    spawn, one, report = (_of(rows, f"entity.{verb}") for verb in ("spawn", "awaken", "report"))
    it = Small()
    before = resident()
    began = time.perf_counter()
    for number in range(count):
        it.now_us += 10
        it.do(spawn(entity_id=f"worker-{number:06d}", type="worker", labels={"rack": f"r{number % 40}"}), "spawn")
        it.do(one(entity_id=f"worker-{number:06d}"), "awaken")
    spawned_s = time.perf_counter() - began
    memory = resident() - before
    fleet = it.world.states["entity"]

    def timed(what: Callable[[], Any], times: int = 200) -> float:
        took = []
        for _ in range(times):
            it.now_us += 1_000
            begin = time.perf_counter_ns()
            what()
            took.append(time.perf_counter_ns() - begin)
        return round(statistics.median(took) / 1_000, 1)

    draw = random.Random(1)
    figures = {
        "fleet": count,
        "bytes_each": round(memory / count),
        "spawn_and_awaken_us": round(1e6 * spawned_s / count, 1),
        "report_us": timed(lambda: it.do(report(entity_id=f"worker-{draw.randrange(count):06d}", health=99.0), "report")),
        "wanted_us": timed(lambda: list(ENGINE.wanted(fleet, it.ctx))),
        "status_us": timed(lambda: it.world.read(rows["entity.status"], rows["entity.status"].params(), it.ctx)),
        "checks_us": timed(lambda: list(ENGINE.checks(fleet, it.ctx))),
        "last_page_us": timed(lambda: _page(it, rows, fleet.listed[-PAGE - 1].order if count > PAGE else None), 20),
    }
    it.now_us += 40_000_000
    figures["silent_64_us"] = timed(lambda: it.do(FindSilent(), "find_silent"), min(20, count // 64))
    began = time.perf_counter()
    dumped = it.world.dump("entities")
    figures["dump_ms"] = round(1e3 * (time.perf_counter() - began), 1)
    began = time.perf_counter()
    it.world.load("entities", dumped)
    figures["load_ms"] = round(1e3 * (time.perf_counter() - began), 1)
    figures["dump_mb"] = round(len(dumped) / 1e6, 1)
    return figures


def _of(rows: dict[str, Any], name: str) -> Any:
    return rows[name].params


def _page(it: Small, rows: dict[str, Any], after: int | None) -> None:
    row = rows["entity.list"]
    page = it.world.read(row, row.params(limit=PAGE, after=None if after is None else str(after)), it.ctx)
    assert len(page.entities) == PAGE
