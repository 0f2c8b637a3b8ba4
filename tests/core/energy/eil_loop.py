"""The engine `eil` on a log in memory, with answers as callers see them, and a machine to send telemetry of."""

import math
import random
from collections.abc import Iterator
from typing import Any

import msgspec

from core.energy.engine import ENGINE
from core.engine import Actor, Event, Refused
from core.settings import Eil, EilBudget, EilMarket, EilSource, Settings
from core.times import time_text
from tests.core.engine_loop import ANN, EngineLoop

ROWS = {row.name.partition(".")[2]: row for row in ENGINE.rows}
BEGIN_US = 1_767_225_600_000_000
RESISTANCE, CAPACITY, AROUND_K = 0.105, 600.0, 298.15
ODD = (1.0, 1.5, 90.0, -400.0, 1e18)
KINDS = (
    ["power_draw", "temperature", "cpu_usage", "network_throughput"],
    ["x", "y"],
    ["power_draw", "ambient", "temperature"],
)


def settings(
    *, market: dict[str, Any] | None = None, budget: dict[str, Any] | None = None, sources: dict[str, Any] | None = None, **eil: Any
) -> Settings:
    known = {name: EilSource(**said) for name, said in (sources or {}).items()}
    return Settings(eil=Eil(market=EilMarket(**(market or {})), budget=EilBudget(**(budget or {})), sources=known, **eil))


class EilLoop(EngineLoop):
    """`get` asks; `at` is the source's own time, in seconds after its beginning."""

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__(ENGINE, settings)

    def get(self, verb: str, params: dict[str, Any], actor: Actor = ANN) -> Any:
        decision = self.decide(verb, params, actor)
        reply = ROWS[verb].reply
        return reply(decision.events) if reply is not None else decision.events[0]

    def sense(self, at: float, source: str = "m", actor: Actor = ANN, **telemetry: float) -> Any:
        told = {"source": source, "timestamp": time_of(at), "telemetry": telemetry}
        return self.get("sense", told, actor)

    def kinds(self) -> list[str]:
        return [kind for kind, _, _ in self.records]

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def time_of(at: float) -> str:
    return time_text(BEGIN_US + round(at * 1e6))


def machine(steps: int, seed: int = 1, seconds: float = 10.0) -> Iterator[dict[str, float]]:
    """Power and temperature of a node whose load comes and goes, measured apart from each other."""
    draw = random.Random(seed)
    fade = math.exp(-seconds / (RESISTANCE * CAPACITY))
    theta, level = RESISTANCE * 200, 200.0
    for _ in range(steps):
        level = max(200 + 0.9 * (level - 200) + draw.gauss(0, 20), 50.0)
        yield {
            "power_draw": round(level + draw.gauss(0, 1), 1),
            "temperature_k": round(AROUND_K + theta + draw.gauss(0, 0.3), 1),
            "ambient_k": AROUND_K,
        }
        theta = fade * theta + RESISTANCE * (1 - fade) * level


def rows_of(loop: EngineLoop | Any) -> dict[Any, bytes]:
    """The columns of every stream and what is known of every source, however rows are numbered."""
    energy = getattr(loop, "state", loop)
    view = energy.view
    view.dump()
    found: dict[Any, bytes] = {name: msgspec.msgpack.encode((view.follow_of(name), view.said_of(name))) for name in view._follows}
    for source, rows in view._rows.items():
        for stream, row in rows.items():
            block = view._store.view(row)
            found[source, stream] = block.eights.tobytes() + block.fours.tobytes() + block.banks.tobytes()
    return found


def asked(loop: EilLoop, verb: str, params: Any, actor: Actor = ANN) -> Any:
    loop.mono_us += 1_000
    try:
        return loop.get(verb, params, actor)
    except Refused as refused:
        return refused.code, refused.reason, str(refused), refused.data


def steady(draw: random.Random, sources: int, rounds: int) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Sources of three kinds that mostly just go on, each at its own pace, after a past long enough for shifts to be seen. What is
    odd comes by chance: a metric that is away, a gap, a step, a number that cannot be, a time that was told, a second sense.
    """
    kinds = [KINDS[0 if place < sources // 2 else 1 + (place % 7 == 0)] for place in range(sources)]
    at, levels = [1_400.0] * sources, [draw.uniform(1, 100) for _ in range(sources)]

    def number(place: int, metric: str) -> float:
        if metric == "cpu_usage":
            return draw.choice([0.1, 0.2, 0.30000000000000004])
        return round(levels[place] * (1 + 0.02 * draw.gauss(0, 1)), 2)

    past = [BEGIN_US + 10_000_000 * tick for tick in range(140)]
    for place, metrics in enumerate(kinds):
        lines = [[number(place, metric) for metric in metrics] for _ in past]
        yield [("sense_batch", {"source": f"s{place}", "metrics": metrics, "times": past, "values": lines})]
    for turn in range(rounds):
        some = []
        for place in draw.sample(range(sources), sources - draw.choice([0, 0, 3])):
            for _ in range(1 + (draw.random() < 0.02)):
                at[place] += draw.choice([10.0] * 40 + [9.5, 12.0, 45.0, 0.0])
                levels[place] *= 1.5 if turn == rounds // 2 and place % 5 == 0 else 1
                telemetry = {metric: number(place, metric) for metric in kinds[place]}
                if draw.random() < 0.02:
                    telemetry[draw.choice(kinds[place])] = draw.choice(ODD)
                if draw.random() < 0.02:
                    del telemetry[draw.choice(kinds[place])]
                some.append(("sense", {"source": f"s{place}", "timestamp": time_of(at[place]), "telemetry": telemetry}))
        yield some
