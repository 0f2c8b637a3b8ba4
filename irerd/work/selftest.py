"""The self-test of energy intelligence: null streams, a machine with faults, and the engine itself on a log that nobody keeps.

Everything is made here from one seed; no stream, account or record of the daemon is touched.
"""

import math
import random
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from core.canonical import event_payload
from core.energy import selftest
from core.energy.engine import ENGINE
from core.energy.selftest import Tell
from core.engine import Actor, Context, Decision, Refused, Stamp
from core.secrets import Secrets
from core.settings import Settings
from core.world import World

TICKS, TICKS_FULL = 100_000, 1_000_000
SHARES = (60, 20, 20)
"""Of the progress: null streams, faults, the engine."""
CLAIMS, CLAIMS_FULL = 400, 1_500
TRADES, TRADES_FULL = 500, 5_000
BEGIN_US = 1_767_225_600_000_000
STEP_US = 60_000_000
MINT_MAX = 1.0
"""PFT of rise per 1,000 settled claims about streams that nobody can foresee."""
DECIDE_MS_MAX, PROOF_MS_MAX = 250.0, 50.0
"""The bars of the source document."""


class Bench:
    """The engine on a log in memory, as one caller meets it."""

    def __init__(self, seed: int) -> None:
        self.world = World([ENGINE])
        self.chance = random.Random(seed)
        self.rows = {row.name: row for row in ENGINE.rows}
        self.settings = Settings()
        self.now_us, self.seq, self.ids = BEGIN_US, 0, 0

    @property
    def energy(self) -> Any:
        return self.world.states["eil"]

    def ask(self, method: str, caller: str = "uid:1", **given: Any) -> Any:
        """The answer, once its events are applied. Raises Refused."""
        row = self.rows[f"eil.{method}"]
        decision = self.world.decide(row, msgspec.convert(given, row.params), self._context(caller))
        self._apply(decision, caller)
        return row.reply(decision.events) if row.reply is not None else decision.events[0]

    def status(self, source: str) -> Any:
        row = self.rows["eil.regime_status"]
        return self.world.read(row, msgspec.convert({"source": source}, row.params), self._context("uid:1")).sources[0]

    def timed(self, method: str, **given: Any) -> tuple[Any, float]:
        """The answer, and the ms it took to decide and apply."""
        began = time.perf_counter()
        answer = self.ask(method, **given)
        return answer, (time.perf_counter() - began) * 1e3

    def _context(self, caller: str) -> Context:
        return Context(
            self.now_us,
            self.now_us,
            "selftest",
            Actor(caller, "operator"),
            self.settings,
            self._new_id,
            self.chance,
            lambda name: self.world.states[name],
            Secrets(b"0" * 32, b"0" * 32, lambda: b"0" * 32),
        )

    def _new_id(self) -> str:
        self.ids += 1
        return f"{self.ids}"

    def _apply(self, decision: Decision, caller: str) -> None:
        for event in decision.events:
            event_payload(event)
            self.world.apply(event, Stamp("energy_log", self.seq, self.now_us, self.now_us, "selftest", caller))
            self.seq += 1


def run(spec: bytes, tell: Tell) -> bytes:
    import numpy as np

    asked = msgspec.json.decode(spec)
    seed, full = int(asked.get("seed", 1)), bool(asked.get("full"))
    chance = np.random.Generator(np.random.Philox(seed))
    null = selftest.nulls(chance, TICKS_FULL if full else TICKS, _part(tell, 0))
    table, alarms = selftest.detected(chance, _part(tell, 1))
    engine = _engine(seed, CLAIMS_FULL if full else CLAIMS, TRADES_FULL if full else TRADES, _part(tell, 2))
    found = {**selftest.as_document(null, table, alarms), **engine}
    found["ok"] = all(each.ok for each in null) and all(each.ok for each in table) and all(engine["bars"].values())
    return msgspec.json.encode(found)


def _part(tell: Tell, place: int) -> Tell:
    start = sum(SHARES[:place])

    def told(done: int, total: int) -> None:
        tell(start + done * SHARES[place] // max(total, 1), sum(SHARES))

    return told


def _engine(seed: int, claims: int, trades: int, tell: Tell) -> dict[str, Any]:
    luck = Bench(seed)
    settled = _no_skill(luck, claims, tell)
    rise = sum(ledger.most for ledger in luck.energy.claims.ledgers.values())
    machine = Bench(seed + 1)
    node = _machine(machine, max(claims, 1_000))
    _trade(machine, trades)
    sums = machine.energy.market.books.sums()
    acts = _percentile([_act(machine)[1] for _ in range(200)], 0.99)
    minted = 1_000 * rise / settled if settled else 0.0
    bars = {
        "mint": minted <= MINT_MAX,
        "sums": not any(sums.values()),
        "decision": acts < DECIDE_MS_MAX,
        "proof": node["proof_ms"] < PROOF_MS_MAX,
        "planted": node["planted"] == 1.0,
    }
    return {
        "mint_per_1000": minted,
        "settled": settled,
        "sums": sums,
        "trades": machine.energy.market.trades,
        "decision_ms": acts,
        "bars": bars,
        **node,
    }


def _no_skill(bench: Bench, claims: int, tell: Tell) -> int:
    """Streams that nobody can foresee: a constant, white noise, a walk at random."""
    walk, chance = 500.0, bench.chance
    for place in range(claims):
        bench.now_us += STEP_US
        walk = max(walk + chance.gauss(0, 5), 0.0)
        for source, watts in (("constant", 400.0), ("noise", 500 + chance.gauss(0, 20)), ("walk", walk)):
            bench.ask("sense", source=source, telemetry={"power_draw": watts})
        tell(place, claims)
    return sum(ledger.settled for ledger in bench.energy.claims.ledgers.values())


def _machine(bench: Bench, steps: int) -> dict[str, Any]:
    """A machine whose heat is accounted for: the proofs of it, and proofs that are planted to be wrong."""
    proofs, sensed, right, planted, valid = [], [], 0, 0, 0
    waiting: list[tuple[int, str]] = []
    for power, kelvin in _readings(bench.chance, steps):
        bench.now_us += 10_000_000
        telemetry = {"power_draw": power, "temperature_k": kelvin, "ambient_k": selftest.SURROUNDINGS}
        answer, ms = bench.timed("sense", source="machine", telemetry=telemetry)
        sensed.append(ms)
        waiting.append((bench.now_us + round(bench.settings.eil.horizon_s * 1e6), answer.prediction_id))
        while waiting and waiting[0][0] <= bench.now_us:
            _, prediction_id = waiting.pop(0)
            state = answer.energy_state
            wrong = bench.chance.random() < 0.2
            told = {"energy": state.total_energy * (0.8 if wrong else 1.0), "entropy": state.entropy}
            try:
                verdict, ms = bench.timed("proof", prediction_id=prediction_id, actual_state=told)
            except Refused:  # it made room for newer ones
                continue
            proofs.append(ms)
            valid += verdict.valid
            if wrong:
                planted += 1
                right += not verdict.valid
    whole = bench.status("machine")
    return {
        "energy_conservation_error": abs(1 - whole.energy_fidelity) if whole.energy_fidelity is not None else None,
        "entropy_coherence": whole.entropy_coherence,
        "interval_share": whole.coverage,
        "proof_ms": _percentile(proofs, 0.99),
        "sense_ms": _percentile(sensed, 0.99),
        "sense_per_s": 1e3 * len(sensed) / math.fsum(sensed),
        "proofs": len(proofs),
        "proofs_valid": valid,
        "planted": right / planted if planted else math.nan,
    }


def _readings(chance: random.Random, steps: int) -> Iterator[tuple[float, float]]:
    fade = math.exp(-selftest.SECONDS / (selftest.RESISTANCE * selftest.CAPACITY))
    theta, level = 0.0, 200.0
    for _ in range(steps):
        level = max(200 + 0.9 * (level - 200) + chance.gauss(0, 15), 60.0)
        power = level + chance.gauss(0, 1)
        yield round(power, 1), round(selftest.SURROUNDINGS + theta + chance.gauss(0, 0.2), 1)
        theta = fade * theta + selftest.RESISTANCE * (1 - fade) * level


def _trade(bench: Bench, count: int) -> None:
    """Orders of every kind by several callers, many of them refused; every other one is really booked."""
    chance = bench.chance
    for _ in range(count):
        caller = f"uid:{chance.randrange(1, 6)}"
        bench.now_us += 1_000_000
        try:
            quoted = bench.ask(
                "market_quote",
                caller,
                asset=chance.choice(("CEU", "PFT", "MUNT")),
                side=chance.choice(("buy", "sell")),
                quantity=float(chance.choice((1, 0.000001, 2.5, 900, 20_000))),
            )
            bench.ask("market_trade", caller, quote_id=quoted.quote_id)
        except Refused:
            continue


def _act(bench: Bench) -> tuple[Any, float]:
    bench.now_us += 1_000_000
    state = {"active_servers": bench.chance.randrange(2, 40), "avg_utilization": bench.chance.uniform(0.1, 0.9)}
    return bench.timed("act", goal="minimize_energy", current_state=state, constraints={"max_latency_ms": 100.0})


def _percentile(values: list[float], share: float) -> float:
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * share))] if ranked else math.nan
