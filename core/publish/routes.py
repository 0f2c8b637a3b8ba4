"""The paths of the HTTP gateway beside `/rpc/METHOD`: which method stands behind each, as one table.

The gateway serves by it and the OpenAPI document is written from it. A path may stand here before its method exists: the
gateway then answers `unimplemented`, and serves it once the catalogue has it.
"""

from typing import Literal, NamedTuple

API_VERSION = "0.1"
"""What `X-Irer-Api-Version` says on every reply: the version of the methods."""


class Route(NamedTuple):
    """One path. `form` says how the answer is put."""

    verb: Literal["GET", "POST"]
    path: str
    method: str
    form: Literal["result", "stream", "text", "start-hunt", "get-status"] = "result"
    engine: bool = False
    """Whether X-Engine-ID and X-Engine-Key are required."""


ROUTES = (
    Route("POST", "/v1/sense", "eil.sense"),
    Route("POST", "/v1/act", "eil.act"),
    Route("POST", "/v1/proof", "eil.proof"),
    Route("GET", "/v1/market/pricing", "eil.market_pricing"),
    Route("GET", "/v1/regime/status", "eil.regime_status"),
    Route("GET", "/v1/energy/map", "eil.energy_map"),
    Route("GET", "/v1/health", "eil.health"),
    Route("GET", "/v1/stream", "eil.stream", "stream"),
    Route("POST", "/engines/register", "engines.register"),
    Route("POST", "/engines/validate", "engines.validate", engine=True),
    Route("POST", "/actions/check", "actions.check", engine=True),
    Route("POST", "/log/engine_event", "log.engine_event", engine=True),
    Route("GET", "/platforms/list", "platforms.list", engine=True),
    Route("GET", "/config/global", "config.global", engine=True),
    Route("POST", "/api/start-hunt", "hunt.start", "start-hunt"),
    Route("GET", "/api/get-status", "hunt.status", "get-status"),
    Route("GET", "/events", "system.watch", "stream"),
    Route("GET", "/metrics", "metrics.prometheus", "text"),
)

JOBS = frozenset(
    {"hunt.start", "hunt.resume", "hunt.certify", "sim.run", "component.run", "cache.sync", "cache.drill", "data.sync"}
)
"""Methods that begin a job: their answer is 202, and `system.op_watch` follows what they began."""

KNOWN = (
    JOBS
    | {route.method for route in ROUTES}
    | {"eil.feedback", "eil.predict", "hunt.stop", "hunt.best", "hunt.list", "hunt.ledger"}
)
"""Methods of some version of irer: one that the daemon lacks is `unimplemented` there, and not a wrong name."""
