"""The life of an entity as one table: in which state, what happens, which state follows. The documentation draws it from here.

Whether the uplink is there is a fact about all entities at once, so `offline_adapting` is not stored: it is how an active entity
is while the uplink is gone.
"""

from typing import Literal

State = Literal["hibernating", "awakening", "active", "error_correction", "offline_adapting", "deactivated"]
Kept = Literal["hibernating", "awakening", "active", "error_correction", "deactivated"]
"""The states that are stored."""
Cause = Literal[
    "awaken",
    "ready",
    "units_lost",
    "unhealthy",
    "silent",
    "healthy",
    "gave_up",
    "hibernate",
    "deactivate",
    "uplink_lost",
    "uplink_back",
]
EntityType = Literal["worker", "sensor", "gateway", "agent"]

STATES: tuple[State, ...] = ("hibernating", "awakening", "active", "error_correction", "offline_adapting", "deactivated")
TABLE: dict[tuple[State, Cause], State] = {
    ("hibernating", "awaken"): "awakening",
    ("awakening", "ready"): "active",
    ("active", "unhealthy"): "error_correction",
    ("active", "silent"): "error_correction",
    ("active", "units_lost"): "awakening",
    ("active", "uplink_lost"): "offline_adapting",
    ("offline_adapting", "uplink_back"): "active",
    ("offline_adapting", "unhealthy"): "error_correction",
    ("offline_adapting", "silent"): "error_correction",
    ("offline_adapting", "units_lost"): "awakening",
    ("error_correction", "healthy"): "active",
    ("error_correction", "units_lost"): "awakening",
    ("error_correction", "gave_up"): "hibernating",
    ("awakening", "hibernate"): "hibernating",
    ("active", "hibernate"): "hibernating",
    ("offline_adapting", "hibernate"): "hibernating",
    ("error_correction", "hibernate"): "hibernating",
    ("hibernating", "deactivate"): "deactivated",
    ("awakening", "deactivate"): "deactivated",
    ("active", "deactivate"): "deactivated",
    ("offline_adapting", "deactivate"): "deactivated",
    ("error_correction", "deactivate"): "deactivated",
}
"""Nothing else can happen to an entity. An active entity whose uplink is gone is `offline_adapting`, and the other way round."""


def mermaid() -> str:
    """The table as a state diagram, for the documentation."""
    lines = ["stateDiagram-v2", "    [*] --> hibernating: spawn"]
    lines += [f"    {state} --> {following}: {cause}" for (state, cause), following in TABLE.items()]
    return "\n".join([*lines, "    deactivated --> [*]"])
