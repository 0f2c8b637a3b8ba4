"""What one point costs: `python -m benchmarks.energy_core` prints points per second per core, and the time of one `sense`.

Rows beside each other, rows scattered over many chunks, one stream alone, and four metrics of one source, the best of several runs
each: what is measured is the arithmetic and not who else was busy.
"""

import sys
import time
from collections.abc import Callable

import numpy as np

from core.energy import node
from core.energy.columns import adopt, advance
from core.energy.layout import BYTES_PER_ROW, Store

BATCH = 2_048
WARM = 80
ROUNDS = 9


def best(run: Callable[[], None], rounds: int = ROUNDS) -> float:
    found = float("inf")
    for _ in range(rounds):
        begin = time.thread_time()
        run()
        found = min(found, time.thread_time() - begin)
    return found


class Feed:
    def __init__(self, streams: int, rows: np.ndarray) -> None:
        self.store = Store()
        for _ in range(streams):
            self.store.add()
        self.rows = rows
        self.values = np.random.default_rng(1).normal(size=(64, len(rows)))
        self.tick = 0
        for _ in range(WARM):
            self.once()

    def once(self) -> None:
        times = np.full(len(self.rows), float(self.tick))
        adopt(self.store, advance(self.store, self.rows, times, self.values[self.tick % 64]))
        self.tick += 1

    def many(self, count: int = 20) -> None:
        for _ in range(count):
            self.once()


def main() -> int:
    chance = np.random.default_rng(2)
    beside = Feed(4_096, np.arange(BATCH))
    print(f"advance, {BATCH} rows side by side   {20 * BATCH / best(beside.many) / 1e6:6.2f} M points/s")
    for streams in (10_000, 100_000):
        rows = np.sort(chance.choice(streams, BATCH, replace=False))
        scattered = Feed(streams, rows)
        print(f"advance, {BATCH} of {streams:7,} streams {20 * BATCH / best(scattered.many) / 1e6:6.2f} M points/s")
    sense = Feed(10_000, np.arange(4_000, 4_004))
    print(f"advance, one sense of 4 metrics     {best(lambda: sense.many(100)) / 100 * 1e3:6.3f} ms")
    alone = Store()
    row = alone.add()
    values = chance.normal(size=BATCH)
    seconds = best(lambda: _ignored(advance(alone, np.full(BATCH, row), np.arange(float(BATCH)), values)), 3)
    print(f"advance, {BATCH} points of one stream {BATCH / seconds / 1e6:7.3f} M points/s")
    print(f"node model, one step                {best(_steps) / 500 * 1e6:6.1f} µs")
    print(f"bytes a stream                      {BYTES_PER_ROW:6d}")
    return 0


def _ignored(_: object) -> None:
    """Worked out, and thrown away."""


def _steps() -> None:
    known = node.Node()
    for step in range(500):
        known, _ = node.step(known, 10.0 * step, 200.0 + step % 7, 320.0 + step % 3, 298.15)


if __name__ == "__main__":
    sys.exit(main())
