"""What a judgement costs: `python -m benchmarks.access` measures ours beside pycasbin and cedarpy, with 10 and with 100,000 rules.

Every side holds the same rules, parsed beforehand, and answers the same questions; one that answers otherwise ends the run. Ours
gives the reason and the rule that decided too. Then the same question over the socket, recorded durably before it is answered, and
how long 100,000 rules take to come into force again. The peers run in an environment of their own.
"""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "access.json"
README = ROOT / "benchmarks" / "README.md"
BEGIN, END = "<!-- access: written by python -m benchmarks.access --write -->", "<!-- end of access -->"
SIZES = (10, 100_000)
OURS_US_MAX = {10: 3.0, 100_000: 6.0}
CASBIN_TIMES = 10.0
RELOAD_S_MAX = 1.0
SOCKET_RATE_MIN = 20_000
ROUNDS = 5
ROUND_S = 0.4
ASKED = 200
ACTIONS_EACH = 100
PEERS = ("casbin", "casbin-fast", "cedar")
TITLES = {"casbin": "pycasbin Enforcer", "casbin-fast": "pycasbin FastEnforcer", "cedar": "cedarpy, parsed policies"}
Question = tuple[str, str, str]


class Rule(NamedTuple):
    """One thing that an engine may or may not do."""

    engine: str
    platform: str
    action: str
    allows: bool


def rules(count: int) -> list[Rule]:
    """Each engine has a hundred actions on ten platforms; every tenth rule denies."""
    found = []
    for number in range(count):
        engine, place = divmod(number, ACTIONS_EACH)
        found.append(Rule(f"engine-{engine}", f"platform-{place % 10}", f"action-{place // 10}", number % 10 != 9))
    return found


def questions(count: int) -> list[Question]:
    """Three of four about something that a rule names, one about something that none does."""
    seed, held = random.Random(count), rules(count)
    named = [seed.choice(held)[:3] for _ in range(ASKED * 3 // 4)]
    unnamed = [(rule.engine, rule.platform, "action-none") for rule in seed.choices(held, k=ASKED - len(named))]
    asked = named + unnamed
    seed.shuffle(asked)
    return asked


def wanted(count: int) -> list[bool]:
    """What every side must answer."""
    held = {rule[:3]: rule.allows for rule in rules(count)}
    return [held.get(question, False) for question in questions(count)]


def median_us(judge: Callable[[Question], object], asked: Sequence[Question], seconds: float) -> float:
    """Of single calls, after each question was asked once where that does not take long."""
    clock = time.perf_counter_ns
    took: list[int] = []
    until = clock() + int(seconds * 1e9)
    while not took or clock() < until:
        for question in asked:
            began = clock()
            judge(question)
            took.append(clock() - began)
            if took[-1] > 50_000_000 and clock() > until:
                break
    return statistics.median(took) / 1000


# --- ours -------------------------------------------------------------------------------------------------------------------


def registered(count: int) -> "list[tuple[str, bytes, Any]]":
    """Records of a log that leads to these rules, as the daemon writes them."""
    from core.canonical import event_payload
    from core.control.platforms import PlatformDefined
    from core.control.registry import EngineRegistered, PermissionsSet
    from core.engine import Event, Stamp

    allow: dict[str, dict[str, list[str]]] = {}
    deny: dict[str, dict[str, list[str]]] = {}
    actions: dict[str, dict[str, list[str]]] = {}
    for rule in rules(count):
        side = allow if rule.allows else deny
        side.setdefault(rule.engine, {}).setdefault(rule.platform, []).append(rule.action)
        actions.setdefault(rule.platform, {"action-none": []}).setdefault(rule.action, [])
    events: list[Event] = [PlatformDefined(name, actions[name]) for name in actions]
    for engine in allow:
        events.append(EngineRegistered(engine, {}, "0" * 64))
        events.append(PermissionsSet(engine, allow[engine], deny.get(engine, {}), 2))
    return [
        (event.event_type, event_payload(event), Stamp("gate_log", seq, seq, seq, "0" * 8, "uid:0"))
        for seq, event in enumerate(events)
    ]


def world_of(records: "list[tuple[str, bytes, Any]]") -> Any:
    from core.engines import ENGINES
    from core.world import World

    world = World([engine for engine in ENGINES if engine.log == "gate_log"])
    world.replay_all(records)
    return world


def ours(count: int) -> Callable[[Question], bool]:
    from core.control.policy import judge
    from core.engine import Actor

    state, actor = world_of(registered(count)).states["control"], Actor("uid:1001", "operator", 1001)
    return lambda question: judge(state, actor, *question).allowed


def reloads(count: int) -> dict[str, float]:
    """Seconds until so many rules are in force: from a snapshot, from the log, and one engine's anew through the front door."""
    records = registered(count)
    began = time.perf_counter()
    world = world_of(records)
    replayed_s = time.perf_counter() - began
    raw = world.dump("gate_log")
    other = world_of([])
    began = time.perf_counter()
    other.load("gate_log", raw)
    loaded_s = time.perf_counter() - began
    assert other.states["control"] == world.states["control"] and world.states["control"].rules == count
    return {"from_snapshot_s": round(loaded_s, 3), "from_log_s": round(replayed_s, 3)}


# --- the peers --------------------------------------------------------------------------------------------------------------

CASBIN_MODEL = """
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act, eft
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = r.sub == p.sub && r.obj == p.obj && r.act == p.act
"""


def casbin(count: int, fast: bool) -> Callable[[Question], bool]:
    """As an adapter loads them: one by one through the front door, each is looked for among all before it."""
    import casbin as library  # type: ignore[import-not-found,unused-ignore]
    from casbin.model import FastModel  # type: ignore[import-not-found,unused-ignore]
    from casbin.persist import load_policy_line  # type: ignore[import-not-found,unused-ignore]

    order = [0, 1, 2]
    model = FastModel(order) if fast else library.Model()
    model.load_model_from_text(CASBIN_MODEL)
    for rule in rules(count):
        load_policy_line(f"p, {rule.engine}, {rule.platform}, {rule.action}, {'allow' if rule.allows else 'deny'}", model)
    enforcer = library.FastEnforcer(model, None, cache_key_order=order) if fast else library.Enforcer(model)
    return lambda question: bool(enforcer.enforce(*question))


def cedar(count: int) -> Callable[[Question], bool]:
    import cedarpy  # type: ignore[import-not-found,unused-ignore]

    text = "\n".join(
        f"{'permit' if rule.allows else 'forbid'}(principal == Engine::{json.dumps(rule.engine)}, "
        f"action == Action::{json.dumps(rule.action)}, resource == Platform::{json.dumps(rule.platform)});"
        for rule in rules(count)
    )
    policies, entities = cedarpy.PolicySet.from_str(text), cedarpy.Entities.from_json_str("[]")

    def judge(question: Question) -> bool:
        engine, where, action = question
        request = {
            "principal": f'Engine::"{engine}"',
            "action": f'Action::"{action}"',
            "resource": f'Platform::"{where}"',
            "context": {},
        }
        return bool(cedarpy.is_authorized(request, policies, entities).allowed)

    return judge


def peer(name: str, count: int) -> int:
    """One side in a process of its own: says when it is ready, then measures once for each line it is sent."""
    began = time.perf_counter()
    judge = cedar(count) if name == "cedar" else casbin(count, name == "casbin-fast")
    ready_s, asked, right = time.perf_counter() - began, questions(count), wanted(count)
    few = slice(None) if count <= 10 or name == "casbin-fast" else slice(3)
    if [judge(question) for question in asked[few]] != right[few]:
        print(json.dumps({"wrong": name}), flush=True)
        return 1
    print(json.dumps({"ready_s": round(ready_s, 3)}), flush=True)
    for line in sys.stdin:
        print(json.dumps(median_us(judge, asked, float(line))), flush=True)
    return 0


class Missing(Exception):
    """A peer cannot be measured here."""


class Peer:
    def __init__(self, python: Path, name: str, count: int) -> None:
        command = [str(python), "-m", "benchmarks.access", "--peer", name, "--rules", str(count)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        told = self._line()
        if told is None:
            raise Missing(f"{name} did not start with {count:,} rules")
        if "wrong" in told:
            raise SystemExit(f"benchmarks.access: {name} answers otherwise")
        self.ready_s: float = told["ready_s"]

    def _line(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line else None

    def measure(self, seconds: float) -> float:
        assert self._process.stdin is not None
        print(seconds, file=self._process.stdin, flush=True)
        return float(self._line())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


# --- the run ----------------------------------------------------------------------------------------------------------------


def compared(count: int, python: Path | None) -> dict[str, Any]:
    """Every side once a round, in turn, so that a machine that becomes slower becomes so for all."""
    judge, asked = ours(count), questions(count)
    if [judge(question) for question in asked] != wanted(count):
        raise SystemExit("benchmarks.access: ours answers otherwise")
    others = dict(_peers(python, count)) if python is not None else {}
    found: dict[str, list[float]] = {name: [] for name in ("ours", *others)}
    for _ in range(ROUNDS):
        found["ours"].append(median_us(judge, asked, ROUND_S))
        for name, other in others.items():
            found[name].append(other.measure(ROUND_S))
    for other in others.values():
        other.close()
    row: dict[str, Any] = {name: _figures(times) for name, times in found.items()}
    for name, other in others.items():
        ratios = [theirs / mine for theirs, mine in zip(found[name], found["ours"], strict=True)]
        row[name] |= {"times": round(statistics.median(ratios), 1), "ready_s": other.ready_s}
    return row


def _peers(python: Path, count: int) -> Iterator[tuple[str, Peer]]:
    for name in PEERS:
        try:
            yield name, Peer(python, name, count)
        except Missing as missing:
            print(f"NOT MEASURED: {missing}", file=sys.stderr)


def _figures(times: list[float]) -> dict[str, float]:
    return {"p50_us": round(statistics.median(times), 3), "lowest": round(min(times), 3), "highest": round(max(times), 3)}


def socket_rates(state: Path, rounds: int, seconds: float) -> list[dict[str, float]]:
    """`actions.check` on eight connections with 64 calls in flight each, answered once its record is synced."""
    from benchmarks import peers
    from irerctl.client import Client

    place = peers.Place(state)
    found = []
    try:
        for _ in range(rounds):
            with peers.irerd(place) as server:
                with Client(server.socket) as client:
                    client.call("platforms.define", {"platform": "gmail", "actions": {"send_email": ["mail.send"]}})
                    client.call("engines.register", {"engine_id": "action", "capabilities": {"gmail": ["send_email"]}})
                command = [sys.executable, str(ROOT / "benchmarks/client.py"), "windows", "irer-check", "--socket", server.socket]
                command += ["--connections", "8", "--window", "64", "--seconds", str(seconds), "--server", str(server.pid)]
                done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
                found.append(json.loads(done.stdout))
    finally:
        place.remove()
    return found


def judged(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """What was aimed at, what was reached, and whether that is enough."""
    rows = []
    for count in SIZES:
        row = result["judgements"][str(count)]
        ours_us = row["ours"]["p50_us"]
        aim = f"≤ {OURS_US_MAX[count]:g} µs"
        rows.append((f"a judgement with its reason, {count:,} rules", aim, f"{ours_us:g} µs", ours_us <= OURS_US_MAX[count]))
        for name in [each for each in PEERS if each in row]:
            least = CASBIN_TIMES if name.startswith("casbin") else 1.0
            times = row[name]["times"]
            rows.append((f"against {TITLES[name]}, {count:,} rules", f"≥ {least:g} ×", f"{times:g} ×", times >= least))
    for name, text in (("from_snapshot_s", "a snapshot"), ("from_log_s", "the log")):
        seconds = result["reload"][name]
        rows.append(
            (f"{SIZES[-1]:,} rules in force again from {text}", f"< {RELOAD_S_MAX:g} s", f"{seconds:g} s", seconds < RELOAD_S_MAX)
        )
    if result.get("socket"):
        rate = result["socket"]["rate"]
        title = f"`actions.check` over the socket, durable, 8 × 64, on {result['socket']['server_cpu']:.0%} of a core"
        rows.append((title, f"≥ {SOCKET_RATE_MIN:,} /s", f"{rate:,.0f} /s", rate >= SOCKET_RATE_MIN))
    return rows


def page(result: dict[str, Any]) -> str:
    lines = [f"Load {result['load']:g} before; medians of {ROUNDS} alternating rounds; {result['versions']}.", ""]
    lines += ["| target | aim | reached | |", "|---|---|---|---|"]
    lines += [f"| {name} | {aim} | {got} | {'won' if won else '**LOST**'} |" for name, aim, got, won in judged(result)]
    lines += ["", "| side | rules | p50 µs | lowest … highest | rules ready after |", "|---|--:|--:|--:|--:|"]
    for count in SIZES:
        for name, row in result["judgements"][str(count)].items():
            title, ready = TITLES.get(name, "irer"), f"{row['ready_s']:g} s" if "ready_s" in row else ""
            lines.append(f"| {title} | {count:,} | {row['p50_us']:,g} | {row['lowest']:,g} … {row['highest']:,g} | {ready} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-peers", action="store_true", help="our side alone")
    parser.add_argument("--no-socket", action="store_true", help="leave out the daemon")
    parser.add_argument("--python", type=Path, help="an environment that has the peers; made from requirements.lock if not given")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long the socket is measured in each of three rounds")
    parser.add_argument("--state-dir", type=Path, default=ROOT / "benchmarks/.work", help="where the daemon keeps its state")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name} and the table in benchmarks/README.md")
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--rules", type=int, default=10, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.peer:
        return peer(options.peer, options.rules)
    return _measure(options)


def _measure(options: argparse.Namespace) -> int:
    python = None if options.no_peers else options.python or _peers_python()
    result: dict[str, Any] = {"load": round(os.getloadavg()[0], 2), "versions": _versions(python)}
    result["judgements"] = {str(count): compared(count, python) for count in SIZES}
    result["reload"] = reloads(SIZES[-1])
    if not options.no_socket:
        rounds = socket_rates(options.state_dir, 3, options.seconds)
        rates = [each["rate"] for each in rounds]
        core = statistics.median(each["server_cpu"] for each in rounds)
        result["socket"] = {"rate": statistics.median(rates), "lowest": min(rates), "highest": max(rates), "server_cpu": core}
        result["socket"]["rounds"] = rounds
    for name, aim, got, won in judged(result):
        print(f"{name:62} {aim:>12} {got:>14} {'' if won else 'LOST'}")
    if options.write:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
        head, _, rest = README.read_text().partition(BEGIN)
        README.write_text(f"{head}{BEGIN}\n\n{page(result)}\n\n{END}{rest.partition(END)[2]}")
    return int(not all(won for *_, won in judged(result)))


def _versions(python: Path | None) -> str:
    mine = f"python {platform.python_version()}"
    if python is None:
        return mine
    ask = "from importlib.metadata import version as v; print('pycasbin', v('pycasbin') + ', cedarpy', v('cedarpy'))"
    return f"{mine}, {subprocess.check_output([str(python), '-c', ask], text=True).strip()}"


def _peers_python() -> Path | None:
    from benchmarks.peers import install

    try:
        return install()
    except (OSError, subprocess.CalledProcessError) as missing:
        print(f"NOT MEASURED: pycasbin and cedarpy. The peers' environment could not be made ({missing})", file=sys.stderr)
        return None


if __name__ == "__main__":
    sys.exit(main())
