"""False alarms of the anomaly detector on streams in which nothing ever changes: where its thresholds come from.

`python -m benchmarks.anomaly_thresholds [SECONDS]` prints, for each kind of stream, how many seconds (or events) pass between two
false alarms at several thresholds. A threshold in core/provenance is the least whole number with at least 100,000 ticks (rate),
1,000,000 seconds (burst) or 100,000 events (drift) for every stream that is not marked as a trap.
"""

import math
import random
import sys
from collections.abc import Callable, Iterator

from core.provenance import drift, streams

Draw = Callable[[random.Random], int]


def poisson(mean: float) -> Draw:
    limit = math.exp(-mean)

    def draw(chance: random.Random) -> int:
        if mean > 50:
            return max(0, round(chance.gauss(mean, math.sqrt(mean))))
        count, product = 0, chance.random()
        while product > limit:
            count += 1
            product *= chance.random()
        return count

    return draw


def clumps(mean: float, size: int) -> Draw:
    """As many come together, or none."""
    one = poisson(mean / size)
    return lambda chance: size * one(chance)


def steady(count: int) -> Draw:
    return lambda chance: count


STREAMS: dict[str, Draw] = {
    "poisson 0.01/s": poisson(0.01),
    "poisson 0.1/s": poisson(0.1),
    "poisson 0.3/s": poisson(0.3),
    "poisson 5/s": poisson(5),
    "poisson 200/s": poisson(200),
    "clumps of 8, 1/s": clumps(1, 8),
    "clumps of 30, 3/s": clumps(3, 30),
    "steady 4/s": steady(4),
}


def seconds(draw: Draw, seed: int, length: int) -> Iterator[tuple[int, int]]:
    chance = random.Random(seed)
    for second in range(length):
        count = draw(chance)
        if count:
            yield second, count


def burst_and_rate(draw: Draw, seed: int, length: int) -> tuple[int, int]:
    """False alarms of both kinds; after each the stream is let alone for the cooldown."""
    stream = streams.Stream(0)
    quiet = {"burst": streams.LEARN_S + 120, "rate": 0}
    alarms = {"burst": 0, "rate": 0}
    for second, count in seconds(draw, seed, length):
        found = stream.note(second, count, streams.RATE_NEW)
        if found is not None and second >= quiet[found.kind]:
            alarms[found.kind] += 1
            quiet[found.kind] = second + 300
    return alarms["burst"], alarms["rate"]


def mix(weights: list[float], seed: int, length: int) -> int:
    chance = random.Random(seed)
    mixed = drift.Mix()
    names = [f"type-{number}" for number in range(len(weights))]
    alarms = quiet = 0
    for place, name in enumerate(chance.choices(names, weights, k=length)):
        if mixed.note(name) is not None and place >= quiet:
            alarms += 1
            quiet = place + 1_024
    return alarms


MIXES = {
    "one type": [1.0],
    "two types": [0.5, 0.5],
    "ten equal": [1.0] * 10,
    "thirty by rank": [1 / (1 + rank) for rank in range(30)],
    "a hundred by rank": [1 / (1 + rank) ** 1.5 for rank in range(100)],
}


def main() -> None:
    length = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    for factor in (1.0,):
        streams.RATE_THRESHOLD, streams.BURST_THRESHOLD, drift.THRESHOLD = 14 * factor, 7 * factor, 5 * factor
        for name, draw in STREAMS.items():
            bursts, rates = burst_and_rate(draw, 1, length)
            ticks = length // streams.TICK_S
            print(f"{name:20} rate > {14 * factor:4.1f}: {rates} in {ticks:,} ticks")
            print(f"{name:20} burst > {7 * factor:4.1f}: {bursts} in {length:,} s")
        for name, weights in MIXES.items():
            print(f"{name:20} drift > {5 * factor:4.1f}: {mix(weights, 3, length)} in {length:,} events")


if __name__ == "__main__":
    main()
