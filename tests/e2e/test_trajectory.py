"""The trajectory optimiser on a real daemon: the source's example by command and library, kill -9, searches in a real worker."""

import json
import os
import random
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from core.spine import Rule, Spine, check
from core.trajectory.closure import additive, closure
from core.wire.calls import Err
from irerctl.client import Client
from irerctl.programs import parts, program_of
from irerctl.trajectory import Fact, TrajectoryOptimizer
from tests.e2e.harness import Irerd
from tests.e2e.raw import Raw

pytestmark = pytest.mark.slow

GOLDEN = "6f0327c68095150b09c5bc6da5e0e5938399325355779045d5a58ba37ef844c0"
WAIT_S = 20.0

compiled_here = pytest.mark.skipif(find_spec("numba") is None, reason="no numba here")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Irerd]:
    irerd = Irerd(tmp_path_factory.mktemp("trajectory"), "[compute]\nworkers = 1\n")
    irerd.start()
    try:
        yield irerd
    finally:
        irerd.close()


def irerctl(irerd: Irerd, *words: str, typed: str | None = None) -> str:
    environment = {**os.environ, "IRER_SOCKET": str(irerd.socket)}
    command = [sys.executable, "-m", "irerctl.main", *words]
    ran = subprocess.run(command, env=environment, text=True, capture_output=True, timeout=60, input=typed)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def layered(layers: int, wide: int, seed: int = 3) -> dict[str, Any]:
    """Two ways to each atom, from two of the layer before, which have two ways each: hard enough for a search."""
    chance = random.Random(seed)
    rules = [
        {
            "rule_id": f"r{layer}.{atom}.{way}",
            "premises": [f"a{layer - 1}.{each}" for each in chance.sample(range(wide), 2)],
            "conclusion": f"a{layer}.{atom}",
            "cost": chance.randint(1, 9) / 4,
            "group": chance.choice(["north", "south"]),
        }
        for layer in range(1, layers)
        for atom in range(wide)
        for way in range(2)
    ]
    return {"facts": [f"a0.{each}" for each in range(wide)], "rules": rules, "goals": [f"a{layers - 1}.0", f"a{layers - 1}.1"]}


def load(client: Client, problem: dict[str, Any]) -> None:
    pieces = list(parts(program_of(problem)))
    for place, piece in enumerate(pieces):
        client.call("trajectory.load", {"problem": piece, "part": place, "more": place < len(pieces) - 1, "load": "test"})


def rules_of(problem: dict[str, Any]) -> list[Rule]:
    return [
        Rule(each["rule_id"], tuple(each["premises"]), each["conclusion"], round(each["cost"] * 1e6), each["group"])
        for each in problem["rules"]
    ]


def test_the_source_example_by_library_and_by_command_has_the_golden_name(daemon: Irerd, tmp_path: Path) -> None:
    with TrajectoryOptimizer(socket=daemon.socket) as optimizer:
        optimizer.add_fact("A", True)
        optimizer.add_rule("rule1", ["A"], "B", cost=1.0)
        best_path = optimizer.beam_search_optimal_spine({Fact("A", True)})
        assert [rule.rule_id for rule in best_path.rules] == ["rule1"] and best_path.goals == ("B",)
        assert (best_path.cost, best_path.bound, best_path.proof) == (1.0, 1.0, "optimal")
        assert optimizer.fold_to_hash(best_path) == GOLDEN
        assert optimizer.forward_chain({Fact("A"), Fact("B", False)}) == {"A"}, "what is denied is not derived"
    irerctl(daemon, "trajectory", "fact", "A")
    irerctl(daemon, "trajectory", "rule", "rule1", "B", "--from", "A", "--cost", "1.0")
    found = irerctl(daemon, "-o", "json", "trajectory", "search", "--initial", "A")
    assert irerctl(daemon, "trajectory", "fold", "-", typed=found).strip() == GOLDEN
    assert "B  by rule1, cost 1" in irerctl(daemon, "trajectory", "explain", "B")
    assert "cost 1: optimal" in irerctl(daemon, "trajectory", "search")
    assert json.loads(irerctl(daemon, "-o", "json", "trajectory", "occupancy"))["folds"] == 2


def test_kill_9_in_the_middle_of_a_load_leaves_the_program_as_it_was(irerd: Irerd) -> None:
    problem = layered(5, 4)
    half = {"facts": problem["facts"], "rules": problem["rules"][:10]}
    irerd.start()
    with irerd.client() as client:
        load(client, {"facts": ["A"], "rules": [{"rule_id": "r", "premises": ["A"], "conclusion": "B"}]})
        hash_before = client.call("trajectory.fold", {"spine": client.call("trajectory.search").result["spine"]}).result["hash"]
        client.call("trajectory.load", {"problem": half, "more": True, "load": "cut off"})
    irerd.kill9()
    irerd.start()
    with irerd.client() as client:
        status = client.call("trajectory.status").result
        assert (status["rules"], status["loading"]["rules"], status["last_fold"]["hash"]) == (1, 10, hash_before)
        assert client.call("trajectory.search").result["spine"]["rules"][0]["rule_id"] == "r"
        client.call("trajectory.load", {"problem": {"rules": problem["rules"][10:]}, "part": 1, "load": "cut off"})
        assert client.call("trajectory.status").result["rules"] == len(problem["rules"]), "who was cut off may go on"
    irerd.kill9()
    irerd.start()
    with irerd.client() as client:
        assert client.call("trajectory.status").result["rules"] == len(problem["rules"])
        listed = client.call("trajectory.program", {"limit": 10_000}).result["entries"]
        assert [each["rule"]["rule_id"] for each in listed if "rule" in each] == [each["rule_id"] for each in problem["rules"]]


@compiled_here
def test_a_worker_answers_what_plain_python_does(daemon: Irerd) -> None:
    problem = layered(31, 300)
    rules, initial = rules_of(problem), problem["facts"]
    derived, costs = closure(rules, initial, 7), additive(rules, initial)
    with daemon.client(timeout=120.0) as client:
        load(client, problem)
        assert client.call("trajectory.status").result["literals"] > 50_000
        page = client.call("trajectory.forward_chain", {"max_depth": 7, "limit": 5_000}).result
        assert page["count"] == len(derived)
        told = [(each["symbol"], each["depth"], each.get("rule_id"), each["cost"]) for each in page["atoms"]]
        expected = [
            (symbol, how.depth, rules[how.rule].rule_id if how.rule is not None else None, costs[symbol] / 1e6)
            for symbol, how in derived.items()
        ]
        assert told == expected


@compiled_here
def test_a_search_in_a_worker_is_walked_through_and_says_what_it_proved(daemon: Irerd) -> None:
    problem = layered(9, 8)
    program = {rule.rule_id: rule for rule in rules_of(problem)}
    costs = []
    with daemon.client(timeout=120.0) as client:
        load(client, problem)
        for asked in ({"beam_width": 1}, {"beam_width": 32}, {"mode": "exact", "deadline_ms": 300}):
            found = client.call("trajectory.search", asked).result
            spine = found["spine"]
            laid = Spine(tuple(spine["facts"]), tuple(spine["goals"]), tuple(program[each["rule_id"]] for each in spine["rules"]))
            check(laid, program, problem["facts"], problem["goals"], round(found["cost"] * 1e6))
            assert 0 < found["bound"] <= found["cost"] and (found["proof"] == "optimal") == (found["bound"] == found["cost"])
            costs.append(found["cost"])
        assert costs[1] <= costs[0], "a wider beam is never dearer"
        dear = [each["rule_id"] for each in spine["rules"]][-1]
        without = client.call("trajectory.search", {"forbidden": [dear]}).result
        assert without["spine"] is None or dear not in [each["rule_id"] for each in without["spine"]["rules"]]
        front = client.call("trajectory.search", {"mode": "pareto", "deadline_ms": 300}).result
        assert front["front_count"] >= 1 and front["front"][0]["cost"] == min(point["cost"] for point in front["front"])
        assert front["spine"] is not None and front["bound"] <= front["front"][0]["cost"]


def workers_of(irerd: Irerd) -> list[int]:
    assert irerd.process is not None
    tasks = Path(f"/proc/{irerd.process.pid}/task").iterdir()
    return [int(each) for task in tasks for each in (task / "children").read_text().split()]


def wait_until_it_runs(client: Client) -> None:
    """The daemon answers meanwhile, and says when the worker has its job."""
    until = time.monotonic() + WAIT_S
    while not any(check.get("reason", "").startswith("1 jobs run") for check in client.call("system.health").result["checks"]):
        assert time.monotonic() < until, "the search does not begin"


@compiled_here
@pytest.mark.parametrize("how", ["cancelled", "hung up"])
def test_a_search_that_nobody_waits_for_ends_with_its_worker(daemon: Irerd, how: str) -> None:
    with daemon.client(timeout=120.0) as client:
        load(client, layered(14, 12))
        client.call("trajectory.search", {"deadline_ms": 20})  # the worker is there now, and has compiled
        (worker,) = workers_of(daemon)
        gone = os.pidfd_open(worker)
        raw = Raw(daemon.socket)
        id = raw.call("trajectory.search", {"mode": "exact", "deadline_ms": 600_000})
        wait_until_it_runs(client)
        if how == "cancelled":
            raw.send(raw.connection.cancel(id))
            ended = raw.end_of(id)
            assert isinstance(ended, Err) and ended.e["code"] == "cancelled"
        else:
            raw.close()
        assert select.select([gone], [], [], WAIT_S)[0], "its worker is killed"
        os.close(gone)
        assert client.call("trajectory.search", {"deadline_ms": 50}).result["spine"]["rules"]
