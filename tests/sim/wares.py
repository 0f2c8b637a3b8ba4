"""What callers ask of the engines beyond the pools, drawn by chance; what each record says was asked; and what the answer must be.

All callers speak of the same few keys, entities, platforms, engines and tokens, so that they meet.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from core.canonical import encode
from tests.sim import knowledge
from tests.sim.knowledge import Known
from tests.sim.promises import digest

if TYPE_CHECKING:
    from tests.sim.oracle import Rec

POOLS = ("compute", "storage", "network", "database")
DOMAINS = ("wealth", "info", "myth")
KEYS = tuple(f"key-{number}" for number in range(5))
ENTITIES = tuple(f"e{number}" for number in range(5))
ROUTES = ("wealth/primary", "wealth/failover", "info/primary", "myth/offline")
PLATFORMS = {"gmail": {"send_email": ["mail.send"], "read_email": []}, "calendar": {"create_event": ["calendar"]}}
WRONG_TOKEN = "eyJhbGciOiJIUzI1NiIsInR5cCI6ImlyZXItZ2F0ZStqd3QifQ.e30.AAAA"
WRONG_KEY = "irk_not-the-key-of-any-engine"
LARGE_BYTES = 17_000

Request = tuple[str, dict[str, Any]]


@dataclass
class Shelf:
    """What callers came to know, all of them together."""

    tokens: list[tuple[str, str, bool, str, str]] = field(default_factory=list)
    """Domain, subject, whether for the offline route, the token, its id."""
    engines: list[tuple[str, str]] = field(default_factory=list)
    """Engines with the newest key that was shown."""
    revs: dict[str, str] = field(default_factory=dict)
    """Of a cache key, a revision that it had."""
    shown: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Every secret that was ever shown, and the record that goes with it."""
    revoked: dict[str, float] = field(default_factory=dict)
    """Engines whose end was acknowledged, and when."""
    known: Known = field(default_factory=Known)


def entity(random: Random, shelf: Shelf) -> Request:
    name = random.choice(ENTITIES)
    verb = random.choice(("spawn", "spawn", "awaken", "awaken", "awaken", "report", "report", "hibernate", "heal", "deactivate"))
    if verb == "spawn":
        needs = {"pool": random.choice(POOLS), "units": random.choice((1, 1, 2))} if random.random() < 0.6 else None
        params: dict[str, Any] = {"entity_id": name, "type": random.choice(("worker", "sensor"))}
        return "entity.spawn", params | ({"needs": needs} if needs else {})
    if verb == "report":
        return "entity.report", {"entity_id": name, "health": random.choice((97.5, 80.0, 12.0))}
    if verb == "deactivate" and random.random() < 0.7:
        verb = "awaken"
    return f"entity.{verb}", {"entity_id": name}


def order(random: Random, shelf: Shelf) -> Request:
    items = [{"sku": random.choice(("widget", "gadget")), "quantity": random.randint(1, 3), "unit_price": 1999}]
    params: dict[str, Any] = {"customer": random.choice(("ann@example.org", "bob@example.org")), "items": items}
    params["currency"] = random.choice(("EUR", "USD"))
    if random.random() < 0.5:
        params["order_id"] = f"o{random.randint(0, 40)}"
    if random.random() < 0.5:
        params["entity_id"] = random.choice(ENTITIES)
    return "circuit.order", params


def cache(random: Random, shelf: Shelf) -> Request:
    key = random.choice(KEYS)
    verb = random.choices(("set", "get", "delete", "set_online", "status"), (45, 30, 12, 4, 4))[0]
    if verb in ("get", "delete"):
        return f"cache.{verb}", {"key": key} | _if_rev(random, shelf, key, verb == "delete")
    if verb == "set_online":
        return "cache.set_online", {"online": random.random() < 0.5}
    if verb == "status":
        return random.choice((("cache.status", {}), ("cache.queue", {}), ("cache.list", {"prefix": "key"})))
    luck = random.random()
    value: Any = {"text": f"v{random.randint(0, 999)}", "n": random.randint(0, 5)}
    if luck < 0.04:
        value = str(random.randint(0, 9)) * LARGE_BYTES
    elif luck < 0.2:
        value = ["x" * random.randint(0, 300), None, 1.5]
    params = {"key": key, "value": value} | _if_rev(random, shelf, key, True)
    return "cache.set", params | ({"ttl_s": random.choice((0.05, 1.0, 60.0))} if random.random() < 0.15 else {})


def _if_rev(random: Random, shelf: Shelf, key: str, may: bool) -> dict[str, str]:
    return {"if_rev": shelf.revs[key]} if may and key in shelf.revs and random.random() < 0.2 else {}


def token(random: Random, shelf: Shelf) -> Request:
    luck = random.random()
    if luck < 0.3 or not shelf.tokens:
        ttl_s = random.choice((1, 60, 300, 3600))
        asked = {"domain": random.choice(DOMAINS), "subject": random.choice(("ann", "bob")), "ttl_s": ttl_s}
        return "gate.issue_token", asked | ({"offline": True} if random.random() < 0.2 else {})
    domain, subject, offline, text, jti = random.choice(shelf.tokens[-3:])
    if random.random() < 0.1:
        text = random.choice((WRONG_TOKEN, text[:-3] + "AAA", text.swapcase()))
    if random.random() < 0.1:
        domain = random.choice(DOMAINS)
    if luck < 0.45:
        return "gate.check", {"token": text, "domain": domain} | ({"offline": True} if offline else {})
    if luck < 0.85:
        return "nav.navigate", {"token": text, "domain": domain, "subject": subject} | ({"offline": True} if offline else {})
    if luck < 0.95:
        return "nav.report_route", {"route": random.choice(ROUTES), "ok": random.random() < 0.5}
    return "gate.revoke_token", {"jti": jti}


def control(random: Random, shelf: Shelf) -> Request:
    """What everybody may try and mostly admins may do."""
    engine, key = random.choice(shelf.engines[-4:]) if shelf.engines else (f"engine{random.randint(0, 3)}", WRONG_KEY)
    platform = random.choice(list(PLATFORMS))
    action = random.choice(list(PLATFORMS[platform]))
    requests: tuple[tuple[Request, int], ...] = (
        (("engines.validate", {"engine_id": engine, "engine_key": key if random.random() < 0.85 else WRONG_KEY}), 14),
        (("actions.check", {"engine_id": engine, "platform": platform, "action_type": action}), 14),
        (("engines.register", {"engine_id": f"engine{random.randint(0, 30)}", "capabilities": _all_actions()}), 10),
        (("engines.rotate_key", {"engine_id": engine, "grace_s": random.choice((0.0, 2.0))}), 3),
        (("engines.suspend", {"engine_id": engine}), 6),
        (("engines.unsuspend", {"engine_id": engine}), 5),
        (("engines.revoke", {"engine_id": engine}), 4),
        (("engines.set_permissions", {"engine_id": engine, "deny": {platform: [action]} if random.random() < 0.3 else {}}), 2),
        (("platforms.define", {"platform": platform, "actions": PLATFORMS[platform]}), 6),
        (("platforms.set_status", {"platform": platform, "status": random.choice(("available", "available", "disabled"))}), 4),
        (("config.set_flag", {"flag": f"{platform}.{action}", "enabled": random.random() < 0.7}), 3),
        (("config.set", _setting(random)), 3),
        (("gate.set_policy", {"domain": random.choice(DOMAINS), "single_use": random.random() < 0.7}), 8),
        (("gate.rotate_key", {"kind": random.choice(("gate", "offline")), "grace_s": random.choice((0, 2))}), 2),
    )
    return random.choices([request for request, _ in requests], [weight for _, weight in requests])[0]


def first_steps(random: Random) -> list[Request]:
    """What an admin sets up."""
    policies = [("gate.set_policy", {"domain": domain, "single_use": True}) for domain in random.sample(DOMAINS, 2)]
    platforms = [("platforms.define", {"platform": name, "actions": actions}) for name, actions in PLATFORMS.items()]
    return [*policies, *platforms, ("engines.register", {"engine_id": "engine0", "capabilities": _all_actions()})]


def _all_actions() -> dict[str, list[str]]:
    return {platform: sorted(actions) for platform, actions in PLATFORMS.items()}


def _setting(random: Random) -> dict[str, Any]:
    key, values = random.choice(
        (("retry.attempts", (1, 3, None)), ("circuit.fulfilment_s", (0.01, 0.3, None)), ("cache.memory_bytes", (0, 4_000, None)))
    )
    return {"key": key, "value": random.choice(values)}


def pair(random: Random) -> list[Request]:
    """Of the second of these it is told what the first one made or took away."""
    name = f"p{random.getrandbits(32):08x}"
    key = {"key": random.choice(KEYS)}
    spawn: Request = ("entity.spawn", {"entity_id": name, "type": "sensor"})
    placed = {"customer": "ann@example.org", "items": [{"sku": "widget", "quantity": 1, "unit_price": 5}], "currency": "EUR"}
    order: Request = ("circuit.order", placed | {"order_id": name})
    return random.choice(([spawn, spawn], [order, order], [("cache.delete", key), ("cache.get", key)]))


def report(random: Random, shelf: Shelf) -> Request:
    kind = random.choice(("email.sent", "email.read"))
    if random.random() < 0.5:
        return "log.engine_event", {"event_type": kind, "data": {"took_ms": random.randint(0, 500)}}
    return "provenance.tap_event", {"event_type": kind, "data": {"n": random.randint(0, 5)}}


def look(random: Random, shelf: Shelf) -> Request:
    return random.choice(
        (
            ("entity.get", {"entity_id": random.choice(ENTITIES)}),
            ("entity.list", {"state": "active"}),
            ("entity.status", {}),
            ("circuit.orders", {"limit": 3}),
            ("circuit.status", {}),
            ("circuit.wealth", {}),
            ("gate.list", {}),
            ("nav.routes", {}),
            ("nav.status", {}),
            ("engines.list", {}),
            ("platforms.list", {}),
            ("config.global", {}),
            ("config.get", {}),
            ("log.query", {"limit": 5}),
            ("actions.explain", {"engine_id": "engine0", "platform": "gmail", "action_type": "send_email"}),
            ("actions.diff", {"flags": {"gmail": False}, "limit": 50}),
        )
    )


def as_engine(random: Random, shelf: Shelf, engine: str) -> Request:
    """What an engine asks for itself."""
    platform = random.choice(list(PLATFORMS))
    return random.choice(
        (
            ("actions.check", {"engine_id": engine, "platform": platform, "action_type": next(iter(PLATFORMS[platform]))}),
            ("log.engine_event", {"event_type": "email.sent", "data": {"n": 1}}),
            ("config.global", {}),
        )
    )


# --- what a record says was asked -------------------------------------------------------------------------------------------

FIELDS: dict[str, tuple[str, Mapping[str, str]]] = {
    "entity.spawned": ("entity.spawn", {"entity_id": "entity_id", "type": "type", "needs": "needs"}),
    "entity.reported": ("entity.report", {"entity_id": "entity_id", "health": "health"}),
    "entity.correcting": ("entity.heal", {"entity_id": "entity_id"}),
    "order.placed": ("circuit.order", {"items": "items", "currency": "currency", "entity_id": "entity_id"}),
    "cache.deleted": ("cache.delete", {"key": "key"}),
    "cache.online_set": ("cache.set_online", {"online": "online"}),
    "token.revoked": ("gate.revoke_token", {"jti": "jti"}),
    "gate.policy_set": ("gate.set_policy", {"domain": "domain"}),
    "gate.key_rotated": ("gate.rotate_key", {"kind": "kind", "grace_s": "grace_s"}),
    "nav.navigated": ("nav.navigate", {"domain": "domain", "subject": "subject", "offline": "offline"}),
    "nav.route_reported": ("nav.report_route", {"route": "route", "ok": "ok"}),
    "engine.registered": ("engines.register", {"engine_id": "engine_id"}),
    "engine.validated": ("engines.validate", {"engine_id": "engine_id"}),
    "engine.proof_refused": ("engines.validate", {"engine_id": "engine_id"}),
    "engine.key_rotated": ("engines.rotate_key", {"engine_id": "engine_id"}),
    "engine.suspended": ("engines.suspend", {"engine_id": "engine_id"}),
    "engine.unsuspended": ("engines.unsuspend", {"engine_id": "engine_id"}),
    "engine.revoked": ("engines.revoke", {"engine_id": "engine_id"}),
    "engine.permissions_set": ("engines.set_permissions", {"engine_id": "engine_id"}),
    "action.checked": (
        "actions.check",
        {"engine_id": "engine_id", "platform": "platform", "action_type": "action_type"},
    ),
    "platform.defined": ("platforms.define", {"platform": "platform"}),
    "platform.status_set": ("platforms.set_status", {"platform": "platform", "status": "status"}),
    "config.flag_set": ("config.set_flag", {"flag": "flag", "enabled": "enabled"}),
    "config.key_set": ("config.set", {"key": "key", "value": "value"}),
    "config.key_unset": ("config.set", {"key": "key", "value": "value"}),
    "engine.reported": ("log.engine_event", {"event_type": "reported", "data": "data"}),
    "provenance.tapped": ("provenance.tap_event", {"event_type": "tapped", "data": "data"}),
    **knowledge.FIELDS,
}
"""Of each event the method that leads to it, and which of its parameters stand where in the record."""
_PARAMS = {method: tuple(fields) for method, fields in FIELDS.values()}


def signature(method: str, params: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """What of a request its record shows too; None for a method that is not of here."""
    if method == "cache.set":
        return (params["key"], digest(params["value"]), params.get("ttl_s") is not None)
    if method == "gate.issue_token":
        return (params["domain"], params["subject"], bool(params.get("offline")))
    if method == "gate.check":
        return (params["domain"], bool(params.get("offline")))
    if method.startswith("entity.") and method not in _PARAMS:
        return (params["entity_id"],)
    if method not in _PARAMS:
        return knowledge.signature(method, params)
    return tuple(_plain(params.get(name)) for name in _PARAMS[method])


def asked_by(record: "Rec") -> tuple[str, tuple[Any, ...]] | None:
    """The method that leads to this record, the first of its command, and the signature of the request."""
    kind, payload = record.event_type, record.payload
    if kind == "cache.set":
        value = payload.get("blob") or digest(payload.get("value"))
        return "cache.set", (payload["key"], value, bool(payload.get("expires_us")))
    if kind == "token.issued":
        return "gate.issue_token", (payload["domain"], payload["subject"], payload["kind"] == "offline")
    if kind == "gate.checked":
        return "gate.check", (payload["domain"], payload["kind"] == "offline")
    if kind == "entity.turned":
        return f"entity.{payload['cause']}", (payload["entity_id"],)
    if kind not in FIELDS:
        return knowledge.asked_by(record)
    method, fields = FIELDS[kind]
    return method, tuple(_plain(payload.get(name)) for name in fields.values())


def _plain(value: Any) -> bytes:
    return encode(value or None)


# --- what the answer must be --------------------------------------------------------------------------------------------------

_ANSWERS: dict[str, Callable[[Sequence["Rec"]], dict[str, Any]]] = {
    "gate.issue_token": lambda records: {"jti": records[0].payload["jti"]},
    "gate.check": lambda records: {"allowed": records[0].payload["allowed"]},
    "nav.navigate": lambda records: {name: records[0].payload.get(name) for name in ("ok", "route", "error")},
    "engines.register": lambda records: {"engine_id": records[0].payload["engine_id"], "key": 1},
    "engines.rotate_key": lambda records: {name: records[0].payload[name] for name in ("engine_id", "key")},
    "engines.validate": lambda records: {"valid": records[0].event_type == "engine.validated"},
    "actions.check": lambda records: {
        "allowed": records[0].payload["status"] == "allowed",
        "request_id": records[0].payload["request_id"],
    },
    "config.set": lambda records: {name: records[0].payload[name] for name in ("key", "rev")},
    "cache.set": lambda records: {name: records[0].payload[name] for name in ("key", "rev")},
    "cache.delete": lambda records: {name: records[0].payload[name] for name in ("key", "rev")},
    "log.engine_event": lambda records: {"request_id": records[0].payload["request_id"]},
    "provenance.tap_event": lambda records: {},
    **dict.fromkeys(
        ("entity.awaken", "entity.hibernate", "entity.deactivate"),
        lambda records: {
            "entity_id": records[-1].payload["entity_id"],
            "state": records[-1].payload["to_state"],
            "cause": records[-1].payload["cause"],
        },
    ),
    **knowledge.ANSWERS,
}
"""What of an answer its records say, where it is not simply the first of them."""


def agrees(method: str, records: Sequence["Rec"], answer: Mapping[str, Any]) -> bool:
    """Whether this is what the records of the command say."""
    expected = _ANSWERS.get(method)
    if expected is None:
        return dict(answer) == records[0].payload
    return all(answer.get(name) == value for name, value in expected(records).items())
