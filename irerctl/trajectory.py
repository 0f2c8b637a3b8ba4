"""The trajectory optimiser for programs: tell facts and rules, search, fold. Blocks; stands on `irerctl/client.py` alone.

    from irerctl.trajectory import Fact, TrajectoryOptimizer

    optimizer = TrajectoryOptimizer()                          # the socket: IRER_SOCKET, or the first usual place that exists
    optimizer.add_fact("A", True)
    optimizer.add_rule("rule1", ["A"], "B", cost=1.0)
    best_path = optimizer.beam_search_optimal_spine({Fact("A", True)})
    spine_hash = optimizer.fold_to_hash(best_path)

The program is the daemon's: another optimizer on the same daemon sees the same facts and rules, after a restart too. Telling the
same thing again changes nothing. Errors are those of the client: `error.code` is stable, its texts are for people.
"""

import os
from collections.abc import Collection, Iterable, Mapping
from types import TracebackType
from typing import Any, NamedTuple

from irerctl.client import Client

LATE_MS = 30_000
"""How much longer than its deadline an answer of a search is waited for: a worker may have to start."""


class Fact(NamedTuple):
    """An atom that holds; or with False one that is denied, which nothing starts from and no rule may conclude."""

    symbol: str
    value: bool = True


class Rule(NamedTuple):
    rule_id: str
    premises: tuple[str, ...]
    conclusion: str
    cost: float
    group: str


class Path(NamedTuple):
    """A spine: the rules that derive the goals, in an order in which they can be applied, and how good it is for sure."""

    facts: tuple[str, ...]
    goals: tuple[str, ...]
    rules: tuple[Rule, ...]
    cost: float
    bound: float
    """No spine costs less than this."""
    proof: str
    """optimal, bound or heuristic."""

    def spine(self) -> dict[str, Any]:
        """As the methods take it."""
        rules = [{**rule._asdict(), "premises": list(rule.premises)} for rule in self.rules]
        return {"facts": list(self.facts), "goals": list(self.goals), "rules": rules}


class Trade(NamedTuple):
    """A spine of a front: none costs less and is fairer."""

    cost: float
    fairness: float
    """1: all groups bear alike, or see as much of their goals reached."""
    score: float
    goals: int
    """How many it reaches."""
    rules: tuple[str, ...]
    """By their names, in an order in which they can be applied."""
    hash: str


class NoSpine(Exception):
    """There is none, or none was found. `unreachable` are the goals that no rules lead to."""

    def __init__(self, unreachable: tuple[str, ...]) -> None:
        why = f"no rules lead to {', '.join(unreachable)}" if unreachable else "none was found within the budgets and the deadline"
        super().__init__(why)
        self.unreachable = unreachable


class TrajectoryOptimizer:
    """Facts and rules of a daemon. Not for several threads."""

    def __init__(self, socket: str | os.PathLike[str] | None = None, *, timeout: float | None = 60.0) -> None:
        self._client = Client(socket, timeout, "irerctl.trajectory")

    def __enter__(self) -> "TrajectoryOptimizer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def add_fact(self, symbol: str, value: bool = True) -> None:
        self._client.call("trajectory.add_fact", {"symbol": symbol, "value": value})

    def add_rule(self, rule_id: str, premises: Iterable[str], conclusion: str, cost: float = 1.0, group: str = "default") -> None:
        rule = {"rule_id": rule_id, "premises": list(premises), "conclusion": conclusion, "cost": cost, "group": group}
        self._client.call("trajectory.add_rule", rule)

    def set_costs(self, costs: Mapping[str, float]) -> None:
        self._client.call("trajectory.set_costs", {"costs": dict(costs)})

    def forward_chain(self, initial_facts: Collection[Fact] | None = None) -> set[str]:
        """All that holds."""
        found: set[str] = set()
        params = _from(initial_facts)
        while True:
            page = self._client.call("trajectory.forward_chain", params).result
            found.update(atom["symbol"] for atom in page["atoms"])
            if page.get("next") is None:
                return found
            params = {**params, "after": page["next"]}

    def explain(self, symbol: str) -> dict[str, Any]:
        """Why it holds, or what it lacks, as `trajectory.explain` answers it."""
        found: dict[str, Any] = self._client.call("trajectory.explain", {"symbol": symbol}).result
        return found

    def beam_search_optimal_spine(
        self, initial_facts: Collection[Fact] | None = None, *, goals: Iterable[str] | None = None, **asked: Any
    ) -> Path:
        """The cheapest spine that was found from these facts; from those of the program where none are given. Raises NoSpine.

        `asked` is whatever else `trajectory.search` takes: mode, beam_width, weights, forbidden, budgets, deadline_ms.
        """
        params = {**_from(initial_facts), **asked} | ({"goals": list(goals)} if goals is not None else {})
        found = self._client.call("trajectory.search", params, deadline_ms=self._deadline_ms(asked)).result
        if found["spine"] is None:
            raise NoSpine(tuple(found.get("unreachable", ())))
        spine = found["spine"]
        rules = tuple(
            Rule(rule["rule_id"], tuple(rule["premises"]), rule["conclusion"], rule["cost"], rule["group"])
            for rule in spine["rules"]
        )
        return Path(tuple(spine["facts"]), tuple(spine["goals"]), rules, found["cost"], found["bound"], found["proof"])

    def pareto_front(
        self, initial_facts: Collection[Fact] | None = None, *, goals: Iterable[str] | None = None, **asked: Any
    ) -> list[Trade]:
        """What there is between cheap and fair, the cheapest first; none where there is no spine. `asked` as above."""
        params = {**_from(initial_facts), **asked, "mode": "pareto"} | ({"goals": list(goals)} if goals is not None else {})
        found = self._client.call("trajectory.search", params, deadline_ms=self._deadline_ms(asked)).result
        return [
            Trade(point["cost"], point["fairness"], point["score"], point["goals"], tuple(point["rules"]), point["hash"])
            for point in found.get("front", ())
        ]

    def _deadline_ms(self, asked: Mapping[str, Any]) -> int | None:
        """How long a search is waited for: always longer than it was given."""
        if self._client.timeout is None or "deadline_ms" not in asked:
            return None
        return max(round(self._client.timeout * 1000), int(asked["deadline_ms"]) + LATE_MS)

    def fold_to_hash(self, path: Path) -> str:
        """Its name, 64 hexadecimal digits: the same however the spine is written down. The daemon remembers that it was folded."""
        return str(self._client.call("trajectory.fold", {"spine": path.spine()}).result["hash"])


def _from(facts: Collection[Fact] | None) -> dict[str, Any]:
    if facts is None:
        return {}
    return {
        "initial": sorted(fact.symbol for fact in facts if fact.value),
        "denied": sorted(fact.symbol for fact in facts if not fact.value),
    }
