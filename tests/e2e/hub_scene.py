"""A daemon on which something of everything has happened, so that every view of the page has something to show.

Stored names look like markup wherever a name may: a view that made code of one would be seen.
"""

import math
import random
from typing import Any

from irerctl.client import Client

INJECTED = "<img src=x onerror=alert(1)>"
TURNED = "\u202e"
"""Whatever follows would be read from right to left."""
VIEWS = ("status", "hunt", "engines", "energy", "data", "audit")
BEGIN_US = 1_767_225_600_000_000
STEP_US = 10_000_000
SOURCES = ("ups-1", "rack-02", "rack-03")
POINTS = 240
CONFIG = """
pools.scale_hold_s = 3600.0
compute.workers = 1
[eil.sources.ups-1]
place = "hall-2"
feeds = ["rack-02", "rack-03"]
[eil.sources.rack-03]
cools = ["rack-02"]
"""


def fill(client: Client) -> None:
    resources(client)
    gates(client)
    fleet(client)
    cached(client)
    controlled(client)
    sensed(client)
    traded(client)
    thought(client)


def resources(client: Client) -> None:
    for number, pool in enumerate(("compute", "compute", "network", "storage", "compute")):
        task = {"task_id": f"task-{number}", "resource_type": pool, "units": 2 + number % 3, "duration_s": 3600}
        client.call("resource.submit_task", task)


def gates(client: Client) -> None:
    for domain, subject in (("wealth", "ann"), ("info", "ben"), ("wealth", "cy")):
        token = client.call("gate.issue_token", {"domain": domain, "subject": subject, "scopes": ["read"]}).result["token"]
        client.call("nav.navigate", {"domain": domain, "token": token, "subject": subject})
    for number in range(12):
        client.call("gate.check", {"token": f"bad.token.{number}", "domain": "myth"})
    for _ in range(3):
        client.call("nav.report_route", {"route": "wealth/primary", "ok": False})


def fleet(client: Client) -> None:
    kinds = ("worker", "sensor", "gateway", "agent")
    for number in range(6):
        labels = {"site": INJECTED if number == 0 else f"hall {TURNED}{number}"}
        client.call("entity.spawn", {"entity_id": f"w-{number}", "type": kinds[number % 4], "labels": labels})
    for number in range(4):
        client.call("entity.awaken", {"entity_id": f"w-{number}"})
        client.call("entity.report", {"entity_id": f"w-{number}", "health": 97 - 12 * number, "note": INJECTED})
    client.call("entity.deactivate", {"entity_id": "w-5"})


def cached(client: Client) -> None:
    for number in range(5):
        client.call("cache.set", {"key": f"site/{number}", "value": {"name": INJECTED, "number": number}})


def controlled(client: Client) -> None:
    client.call("platforms.define", {"platform": "gmail", "actions": {"send_email": ["mail.send"], "read": []}})
    client.call("platforms.define", {"platform": "calendar", "actions": {"book": ["calendar.write"]}})
    client.call("platforms.set_status", {"platform": "calendar", "status": "maintenance"})
    for name in ("scheduler", "writer"):
        client.call("engines.register", {"engine_id": name, "capabilities": {"gmail": ["send_email"]}})
    client.call("engines.set_permissions", {"engine_id": "writer", "deny": {"gmail": ["send_email"]}})
    for name in ("scheduler", "writer"):
        client.call("actions.check", {"engine_id": name, "platform": "gmail", "action_type": "send_email"})


def sensed(client: Client) -> None:
    """Three sources: one at rest that feeds the others, one whose power steps up, one that drifts."""
    draw = random.Random(7)
    for place, source in enumerate(SOURCES):
        for first in range(0, POINTS, 120):
            steps = range(first, first + 120)
            rows = [[power(place, step) + draw.gauss(0, 6), 50 + draw.gauss(0, 0.5)] for step in steps]
            times = [text_of(BEGIN_US + STEP_US * step) for step in steps]
            metrics = ["power_draw", "temperature"]
            client.call("eil.sense_batch", {"source": source, "metrics": metrics, "times": times, "values": rows})
        client.call("eil.predict", {"source": source, "horizon_s": 60})


def power(place: int, step: int) -> float:
    if place == 1:
        return 420.0 if step > 150 else 300.0
    if place == 0:
        return 850.0
    return 300.0 + 0.5 * step + 20 * math.sin(step / 9)


def text_of(time_us: int) -> str:
    seconds = (time_us - BEGIN_US) // 1_000_000
    return f"2026-01-01T{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}Z"


def traded(client: Client) -> None:
    quote: dict[str, Any] = client.call("eil.market_quote", {"asset": "CEU", "side": "buy", "quantity": 25}).result
    client.call("eil.market_trade", {"quote_id": quote["quote_id"]})
    state = {"active_servers": 8, "avg_utilization": 0.35}
    client.call("eil.act", {"goal": "minimize_energy", "current_state": state, "constraints": {"min_replicas": 3}})


def thought(client: Client) -> None:
    tree = f"tree {INJECTED}"
    rules = [
        {"rule_id": "dig", "premises": ["spade"], "conclusion": "hole", "cost": 2.0, "group": "hands"},
        {"rule_id": "plant", "premises": ["hole", "seed"], "conclusion": "sprout", "cost": 1.0, "group": "hands"},
        {"rule_id": "wait", "premises": ["sprout"], "conclusion": tree, "cost": 9.0, "group": "time"},
    ]
    problem = {"facts": ["spade", "seed"], "rules": rules, "goals": [tree]}
    client.call("trajectory.load", {"problem": problem})
    found = client.call("trajectory.search", {"mode": "exact"}).result
    client.call("trajectory.fold", {"spine": found["spine"]})
    told = {"family": "local", "type": "content_created"}
    events = [
        client.call("data.emit", {**told, "data": {"text": f"the {word} of rack one"}}).result["event"]
        for word in ("heat", "power", "load", INJECTED)
    ]
    for event in events[1:]:
        client.call("data.cite", {"from": event, "to": events[0]})
    client.call("data.feedback", {"event": events[0], "rating": 1.0})
