"""The judge of actions: may this engine do this on that platform? Default deny, explicit deny wins, an error denies.

A judgement is a handful of hash lookups, whatever the number of rules; there are no wildcards and no patterns. It looks and
changes nothing. Must stay small enough to be read whole.
"""

from typing import NamedTuple

from core.control.model import Control
from core.engine import IRER, Actor

ASK_FOR_ANY = frozenset({"operator", "admin"})
"""Roles that may ask about any engine, as irer itself may. Everybody else asks about the engine they proved to be."""

_NOTHING: frozenset[str] = frozenset()


class Ruling(NamedTuple):
    allowed: bool
    reason: str
    """Stable word for why."""
    rule: str
    """The rule that decided."""
    scopes: tuple[str, ...] = ()


ERROR = Ruling(False, "error", "error")


def judge(control: Control, actor: Actor, engine_id: str, platform: str, action: str) -> Ruling:
    """The first rule that has something to say decides."""
    if actor.role not in ASK_FOR_ANY and actor.name not in (f"engine:{engine_id}", IRER.name):
        return Ruling(False, "identity", "identity")
    engine = control.engines.get(engine_id)
    if engine is None:
        return Ruling(False, "engine-unknown", "engine.unknown")
    if engine.standing != "active":
        return Ruling(False, f"engine-{engine.standing}", f"engine:{engine_id}.{engine.standing}")
    known = control.platforms.get(platform)
    if known is None:
        return Ruling(False, "platform-unknown", "platform.unknown")
    if known.status != "available":
        return Ruling(False, f"platform-{known.status}", f"platform:{platform}.status.{known.status}")
    scopes = known.actions.get(action)
    if scopes is None:
        return Ruling(False, "action-unknown", f"platform:{platform}.actions")
    for name in (platform, f"{platform}.{action}"):
        flag = control.flags.get(name)
        if flag is not None and not flag.enabled:
            return Ruling(False, "flag-off", f"flag:{name}")
    if action in engine.deny.get(platform, _NOTHING):
        return Ruling(False, "denied", f"engine:{engine_id}.deny.{platform}.{action}")
    if action not in engine.allow.get(platform, _NOTHING):
        return Ruling(False, "not-permitted", "default")
    return Ruling(True, "permitted", f"engine:{engine_id}.allow.{platform}.{action}", scopes)
