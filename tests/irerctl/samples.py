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
