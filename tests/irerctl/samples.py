"""Answers as a daemon gives them, for the tests of the screens."""

from typing import Any

POOLS = [
    {
        "name": name,
        "units": 8,
        "used": used,
        "utilisation": used / 8,
        "running": used // 4,
        "waiting": waiting,
        "waiting_units": waiting * 4,
        "blocked": 0,
        "retrying": 0,
        "floor": 1,
        "ceiling": ceiling,
    }
    for name, used, waiting, ceiling in (("compute", 8, 3, 8), ("storage", 4, 0, 64), ("network", 0, 0, 64), ("database", 0, 0, 64))
]

TASK = {
    "task_id": "t-1",
    "state": "running",
    "priority": "high",
    "resource_type": "compute",
    "units": 4,
    "caller": "uid:1000",
    "submitted_at": "2026-01-02T03:04:05.000006Z",
    "attempt": 1,
    "depends_on": [],
    "reasons": [],
    "detail": "",
}

RESOURCE_STATUS = {
    "pools": 4,
    "units": 32,
    "used": 12,
    "waiting": 3,
    "running": 3,
    "blocked": 0,
    "retrying": 0,
    "done": 40,
    "parked": 0,
    "expired": 0,
    "cancelled": 0,
    "health": "ok",
}

HEALTH: dict[str, Any] = {"health": "ok", "pools": [{"name": pool["name"], "health": "ok"} for pool in POOLS]}

REFUSALS = {"refused": 3, "callers": [{"caller": "uid:1001", "refused": 2}, {"caller": "uid:7", "refused": 1}]}

STATUS: dict[str, Any] = {
    "state": "ready",
    "version": "0.1.0",
    "pid": 4242,
    "uptime_s": 11_520,
    "instance": "0" * 32,
    "health": "ok",
    "problems": [],
    "engines": {"resource": RESOURCE_STATUS},
    "logs": [
        {"log": "engine_state", "records": 14_000, "durable_seq": 13_999, "integrity": "ok"},
        {"log": "gate_log", "records": 201, "durable_seq": 200, "integrity": "ok"},
    ],
    "connections": 2,
}

AT = "2026-01-02T03:04:05.000006Z"

BREACHES: dict[str, Any] = {
    **REFUSALS,
    "domains": [
        {
            "domain": "wealth",
            "allowed": 1200,
            "refused": 3,
            "causes": [{"cause": "expired", "refused": 2}, {"cause": "used", "refused": 1}],
        },
        {"domain": "info", "allowed": 0, "refused": 0, "causes": []},
        {"domain": "myth", "allowed": 0, "refused": 0, "causes": []},
    ],
    "anomalies": [{"kind": "breach", "domain": "wealth", "who": "uid:1001", "count": 5, "at": AT}],
    "slowed": [{"caller": "uid:1007", "failures": 60, "since": AT, "left_s": 42.5, "step": 1}],
}
POLICIES = {
    "policies": [
        {"domain": "wealth", "ttl_s_max": 600, "single_use": True, "rate_max": 600, "rev": 1},
        {"domain": "info", "ttl_s_max": 3600, "single_use": False, "rate_max": 600, "rev": 0},
        {"domain": "myth", "ttl_s_max": 3600, "single_use": False, "rate_max": 600, "rev": 0},
    ]
}
TOKENS = {
    "tokens": [
        {
            "jti": f"80bbb560-fb0b-4c57-9daa-b285eb26{number:04}",
            "kind": kind,
            "domain": "wealth",
            "subject": "user_001",
            "scopes": ["read"],
            "expires_at": AT,
            "used": number,
        }
        for number, kind in enumerate(("gate", "offline"))
    ]
}


def _route(route: str, **more: Any) -> dict[str, Any]:
    return {
        "route": route,
        "health": "up",
        "is_next": False,
        "enabled": True,
        "failures": 0,
        "successes": 0,
        "failures_max": 3,
        "successes_min": 2,
        "cooldown_s": 30,
        "taken": 0,
        "carried": 0,
        "failed": 0,
        "rev": 0,
        **more,
    }


ROUTES = {
    "routes": [
        _route("wealth/primary", health="down", taken=5, carried=2, failed=3, retry_at=AT),
        _route("wealth/failover", is_next=True, taken=1, failures=1),
        _route("wealth/offline"),
        _route("info/primary", is_next=True),
        _route("info/failover", enabled=False),
        _route("info/offline"),
        _route("myth/primary", health="half-open", successes=1, probing=True),
        _route("myth/failover", health="down"),
        _route("myth/offline"),
    ]
}
NAV_STATUS = {"routes": 9, "up": 6, "half_open": 1, "down": 2, "taken": 6, "turned_away": 2, "health": "failed"}

CONTROL_STATUS = {
    "engines": 2,
    "suspended": 1,
    "revoked": 0,
    "platforms": 1,
    "not_available": 1,
    "flags_off": 1,
    "keys_set": 1,
    "allowed": 14,
    "denied": 2,
    "errors": 0,
    "proofs_refused": 3,
}
ENGINES_PAGE = {
    "engines": [
        {"engine_id": "mailer", "standing": "active", "rev": 1, "allowed": 1, "denied": 0, "proved_at": AT},
        {"engine_id": "retired", "standing": "suspended", "rev": 2, "allowed": 0, "denied": 4},
    ]
}
ENGINE_VIEW = {
    "engine_id": "mailer",
    "standing": "active",
    "rev": 1,
    "allow": {"gmail": ["read", "send_email"]},
    "deny": {},
    "key": 2,
    "registered_at": AT,
    "registered_by": "uid:1000",
    "old_key_until": AT,
}
PLATFORMS = {
    "platforms": [
        {"platform": "gmail", "status": "maintenance", "actions": {"send_email": ["mail.send"], "read": []}},
        {"platform": "slack", "status": "available", "actions": {}},
    ]
}
GLOBAL = {"flags": {"gmail": False, "slack": True}, "api_versions": {"wire": "1"}, "revs": {"gmail": 3, "slack": 1}}
CONFIG = {
    "values": {"retry.attempts": 7, "jobs.roots": {}},
    "set": {"retry.attempts": {"value": 7, "rev": 1, "by": "uid:0", "at": AT}},
    "revs": {"retry.attempts": 1},
}
JUDGED = {
    "records": [
        {
            "request_id": "e5c49d3b-d8dd-4cef-b1ac-fb1fae0294bb",
            "engine_id": "mailer",
            "platform": "gmail",
            "action_type": "send_email",
            "status": status,
            "timestamp": AT,
            "reason": "platform-maintenance",
            "rule": "platform:gmail.status.maintenance",
            "actor": "uid:0",
            "seq": 6,
        }
        for status in ("allowed", "denied", "error")
    ]
}

_STEPS = [
    {"question": "identity", "rule": "identity", "outcome": "passes", "detail": "uid:0 may ask about mailer", "change": ""},
    {
        "question": "standing",
        "rule": "engine:mailer.suspended",
        "outcome": "denies",
        "detail": "mailer is suspended",
        "change": "irerctl control unsuspend mailer",
    },
    {
        "question": "scopes",
        "rule": "platform:gmail.actions",
        "outcome": "lacks",
        "detail": "missing: mail.send",
        "change": "grant it",
    },
]
EXPLAINED: dict[str, Any] = {
    "allowed": True,
    "reason": "permitted",
    "rule": "engine:mailer.allow.gmail.send_email",
    "required_scopes": ["mail.send"],
    "steps": _STEPS,
    "missing_scopes": ["mail.send"],
    "recorded": JUDGED["records"][1],
    "now": {"allowed": False, "reason": "engine-suspended", "rule": "engine:mailer.suspended", "steps": _STEPS},
}
CHANGES: dict[str, Any] = {
    "looked_at": 9,
    "complete": False,
    "would_allow": 0,
    "would_deny": 7,
    "already": 1,
    "left_out": 1,
    "changes": [
        {
            "engine_id": "mailer",
            "platform": "gmail",
            "action_type": "send_email",
            "was": "allowed",
            "allowed": False,
            "reason": "not-permitted",
            "rule": "default",
            "already": already,
            "count": 1 if already else 7,
            "last_at": AT,
            "request_id": "r-1",
        }
        for already in (False, True)
    ],
    "changes_left_out": 3,
    "oldest_at": AT,
    "newest_at": AT,
}

FLEET: dict[str, Any] = {
    "entities": 3,
    "states": {"hibernating": 1, "awakening": 1, "active": 0, "error_correction": 1, "offline_adapting": 0, "deactivated": 2},
    "online": False,
    "units": {"compute": 2},
    "silent_for_s": 12,
}
ENTITIES = {
    "entities": [
        {
            "entity_id": "robot-7",
            "type": "worker",
            "state": "error_correction",
            "since": AT,
            "cause": "silent",
            "spawned_at": AT,
            "health": 20.5,
            "note": "too hot",
            "heard_at": AT,
            "attempts": 2,
            "labels": {"room": "3"},
            "needs": {"pool": "compute", "units": 2},
            "claim": "entity:entities:3:0",
        },
        {
            "entity_id": "robot-8",
            "type": "worker",
            "state": "awakening",
            "since": AT,
            "cause": "awaken",
            "spawned_at": AT,
            "waits_for": "2 units of compute",
        },
    ]
}

CACHE_STATUS = {
    "online": False,
    "keys": 3,
    "bytes": 1500,
    "bytes_max": 4_294_967_296,
    "queue": 2,
    "conflicts": 1,
    "hot_bytes": 632,
    "hits": 5,
    "misses": 1,
    "from_memory": 4,
    "from_disk": 1,
    "last_sync": AT,
}
REV = "1-d1114693258410532c1ee914f216a802"
KEYS = {
    "keys": [{"key": "greeting", "rev": REV, "bytes": 16, "expires_at": AT, "conflicts": 1}, {"key": "n", "rev": REV, "bytes": 5}]
}
QUEUE = {
    "count": 2,
    "online": False,
    "keys": [
        {"key": "greeting", "rev": REV, "seq": 4, "deleted": False, "bytes": 16},
        {"key": "gone", "rev": REV, "seq": 5, "deleted": True, "bytes": 0},
    ],
}
CONFLICTS = {"count": 1, "keys": [{"key": "greeting", "rev": REV, "others": [f"1-{'0' * 32}"]}]}

REVENUE = [{"currency": "EUR", "orders": 2, "revenue": 7_996, "today": 3_998, "last_7_days": 3_998}]
CIRCUIT_STATUS = {"placed": 3, "open": 1, "failed": 1, "revenue": REVENUE, "refused_at_gate": 2}
ORDERS = {
    "orders": [
        {
            "order_id": "o-1",
            "state": state,
            "customer": "pn_439d66bc01f9c630069f6ce73645872e",
            "items": [{"sku": "widget", "quantity": 2, "unit_price": 1_999}],
            "currency": "EUR",
            "total": 3_998,
            "placed_at": AT,
            "reason": reason,
        }
        for state, reason in (("open", ""), ("fulfilled", ""), ("failed", "task-parked"))
    ]
}
WEALTH: dict[str, Any] = {
    "horizon_days": 30,
    "revenue": REVENUE,
    "projections": [
        {
            "currency": "EUR",
            "days": 40,
            "mean_per_day": 2_000,
            "trend_per_day": 12.4,
            "expected": 60_000,
            "low": 40_000,
            "high": 90_000,
            "settled": 20,
            "covered": 0.95,
            "weights": {"mean": 0.75, "naive": 0.25},
            "lately": [1_000, 0, 2_000, 8_000],
        }
    ],
    "model": "naive, smoothing, autoregression and mean",
}

GAUGES: dict[str, Any] = {
    "gauges": [
        {
            "name": name,
            "value": value,
            "unit": "percent",
            "target": 95.0,
            "numerator": 7,
            "denominator": 10,
            "window": "24 h of offline time",
            "provenance": "modelled" if name == "latency_tolerance" else "measured",
            "computed_how": "so and so",
            "reason": None if value is not None else "no-evidence",
            "met": None if value is None else value >= 95,
        }
        for name, value in (("latency_tolerance", 100.0), ("threshold_lock", None), ("resource_flow", 25.0))
    ],
    "gaps": [{"log": "gate_log", "first_seq": 1, "last_seq": 9}],
}
METERS: dict[str, Any] = {
    "meters": [
        {
            "name": name,
            "value": value,
            "unit": "switches per minute",
            "numerator": 1,
            "denominator": 1,
            "window": "1 min",
            "provenance": "measured",
            "computed_how": "so and so",
            "trend": {"slope": 0.5, "sign": sign, "intervals": 32},
            "reason": None if value is not None else "no-evidence",
        }
        for name, value, sign in (("nav_velocity", 2.5, 1), ("gate_density", None, 0))
    ]
}
HISTORY: dict[str, Any] = {
    "name": "threshold_lock",
    "unit": "percent",
    "step_s": 10,
    "points": [
        {"at": AT, "value": None if number % 5 == 0 else float(number % 100), "numerator": number, "denominator": 100}
        for number in range(360)
    ],
}

TAP = {"seq": 4, "time": AT, "actor": "uid:0", "event_type": "user_action", "run_id": "run_001"}
PROVENANCE_STATUS = {"taps": 1, "edges": 2, "reports": 3, "anomalies": 1, "newest": [TAP], "unusual": ["burst: 40 in 1 s"]}
UNUSUAL = {
    "anomalies": [
        {
            "seq": 5,
            "time": AT,
            "kind": "burst",
            "of": "type",
            "name": "user_action",
            "scale": 1,
            "unit": "s",
            "count": 40,
            "expected": 2.5,
            "statistic": 9.0,
            "threshold": 6.0,
            "evidence": "40 of user_action within 1 s",
            "causes": ["provenance_log:4"],
        }
    ]
}
GRAPH = {
    "nodes": [
        {"id": "provenance_log:4", "kind": "record", "label": "provenance.tapped", "time": AT},
        {"id": "run:run_001", "kind": "run", "label": "run_001"},
    ],
    "edges": [
        {"source": "provenance_log:4", "target": "run:run_001", "relation": "member-of"},
        {"source": "thing:b", "target": "thing:a", "relation": "derived-from", "rule": "r1", "cost": 1.5},
    ],
    "node_count": 2,
    "edge_count": 2,
}

COMPONENTS = {
    "components": [
        {
            "name": "bssn-check",
            "version": "1.0.0",
            "description": "How far the geometry of a run is from a classical one",
            "kind": "builtin",
            "trigger": "job",
            "digest": "0" * 64,
            "state": "ready",
        }
    ],
    "running": 1,
}

COMPONENT = {
    "manifest": {
        "name": "null-profile",
        "version": "1.0.0",
        "description": "What a score is worth",
        "builtin": "null_profile",
        "inputs": [{"name": "job_uuid", "type": "string:uuid", "description": "Which run"}],
        "outputs": [{"name": "gap_phase", "type": "float", "description": "Median less the score"}],
        "tunable_variables": [
            {"name": "draws", "label": "Draws of each null", "type": "int", "default": 99, "min": 19},
            {"name": "loud", "label": "Say more", "type": "bool", "default": False},
        ],
        "trigger": "job",
    },
    "digest": "0" * 64,
    "trigger": "winner",
}
