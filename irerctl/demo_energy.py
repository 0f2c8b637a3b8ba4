"""What `make demo` shows of energy intelligence: a server whose heat is understood, a change that is noticed, claims that hold.

The server is simulated here, to the laws that irer does not know and has to find out. Every sentence is printed after what it says
was seen.
"""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from irerctl.client import Client, Error
from irerctl.demo_tour import Say, expect

STEP_S, HORIZON_S = 10, 300
KELVIN_PER_WATT, JOULES_PER_KELVIN, AMBIENT_C = 0.105, 600.0, 20.0
CALM, FAILED = 420, 90
"""Steps before and after its fan fails."""
START = datetime(2026, 1, 1, tzinfo=UTC)


class Server:
    """Heat comes with power and leaves with the difference to the room; work comes in jobs."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self._celsius = AMBIENT_C + KELVIN_PER_WATT * 200
        self._use = 0.4
        self.kelvin_per_watt = KELVIN_PER_WATT

    def telemetry(self) -> dict[str, float]:
        if self._draw.random() < 0.08:
            self._use = self._draw.uniform(0.2, 0.6)
        watts = 100 + 200 * self._use
        warming = watts - (self._celsius - AMBIENT_C) / self.kelvin_per_watt
        said = {
            "power_draw": round(watts + self._draw.gauss(0, 1), 2),
            "temperature": round(self._celsius + self._draw.gauss(0, 0.05), 3),
            "ambient_c": round(AMBIENT_C + self._draw.gauss(0, 0.05), 3),
        }
        self._celsius += warming * STEP_S / JOULES_PER_KELVIN
        return said


class Energy:
    def __init__(self, socket: Path, say: Say) -> None:
        self.socket = socket
        self.say = say

    def take(self) -> None:
        with Client(str(self.socket), client="demo-energy") as client:
            self.watched(client)
            self.decided(client)
            self.traded(client)

    def watched(self, client: Client) -> None:
        server, answers, verdicts = Server(5), list[dict[str, Any]](), dict[str, int]()
        for step in range(CALM + FAILED):
            if step == CALM:
                server.kelvin_per_watt *= 2.5
            moment = (START + timedelta(seconds=STEP_S * step)).isoformat().replace("+00:00", "Z")
            params = {"source": "server-1", "timestamp": moment, "telemetry": server.telemetry()}
            answers.append(client.call("eil.sense", params).result)
            if CALM - 90 <= step < CALM and (verdict := self.proved(client, answers[step - HORIZON_S // STEP_S], answers[step])):
                verdicts[verdict] = verdicts.get(verdict, 0) + 1
        energy = answers[-1]["energy_state"]
        expect("the server's heat is understood", energy["entropy_kind"] == "physical", energy)
        self.say(
            f"A server reported power and heat: {energy['total_energy'] / 1e6:.2f} MJ so far; how it warms and cools "
            "was found out, so its entropy is in J/K."
        )
        expect("claims were proved", verdicts.get("valid", 0) >= 1, verdicts)
        told = ", ".join(f"{count} {word}" for word, count in sorted(verdicts.items()))
        self.say(f"Claims of five minutes ahead were put to the proof when they were due: {told}.")
        [seen] = client.call("eil.regime_status", {"source": "server-1"}).result["sources"]
        shift = next(each for each in reversed(seen["latest"]) if each["metric"] == "temperature")
        place = (datetime.fromisoformat(shift["began"]) - START).total_seconds() / STEP_S
        noticed = (datetime.fromisoformat(shift["at"]) - START).total_seconds() / STEP_S
        expect("the change is noticed", noticed >= CALM, shift)
        self.say(
            f"Then its fan failed: noticed {noticed - CALM:.0f} steps later, and located {abs(place - CALM):.0f} steps "
            "from where it was."
        )

    def proved(self, client: Client, claimed: dict[str, Any], now: dict[str, Any]) -> str:
        """A claim is due now: the totals are what `eil.sense` has just answered. Not every claim is kept, and then it says so."""
        energy = now["energy_state"]
        actual = {"energy": energy["total_energy"], "entropy": energy["entropy"]}
        try:
            verdict = client.call("eil.proof", {"prediction_id": claimed["prediction_id"], "actual_state": actual}).result[
                "verdict"
            ]
        except Error as refused:
            expect("a claim that made room is not found", refused.code == "not-found", refused.code)
            return ""
        return str(verdict)

    def decided(self, client: Client) -> None:
        asked = {
            "goal": "minimize_energy",
            "constraints": {"max_latency_ms": 100, "min_throughput": 1000},
            "current_state": {"active_servers": 12, "avg_utilization": 0.68},
        }
        action = client.call("eil.act", asked).result["action"]
        expect("fewer servers do", (action["type"], action["target_servers"]) == ("scale_down", 10), action)
        self.say("Twelve servers at 68 %: the cheapest action within all bounds is scale_down to 10.")

    def traded(self, client: Client) -> None:
        quote = client.call("eil.market_quote", {"asset": "CEU", "side": "buy", "quantity": 100}).result
        client.call("eil.market_trade", {"quote_id": quote["quote_id"]})
        try:
            client.call("eil.market_trade", {"quote_id": quote["quote_id"]})
            expect("a quote trades once", False, quote)
        except Error as refused:
            expect("a quote trades once", refused.code in ("not-found", "failed-precondition"), refused.code)
        rows = client.call("eil.balances").result["accounts"]
        sums: dict[str, int] = {}
        for row in rows:
            sums[row["asset"]] = sums.get(row["asset"], 0) + row["amount_micro"]
        expect("the books balance", set(sums.values()) == {0}, sums)
        self.say(f"100 CEU were bought for {quote['price']:.2f} {quote['currency']}; over all accounts every asset sums to nought.")
