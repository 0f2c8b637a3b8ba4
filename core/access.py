"""The judge: may this caller use this method? Default deny, explicit deny wins, an error while judging denies.

Identity is what the kernel says (uid and groups), never what a client claims. There are no wildcards and no patterns: a
decision is a few hash lookups, whatever the number of rules. Must stay small enough to be read whole.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from core.engine import Row

LADDER = ("viewer", "operator", "admin")
"""Built-in roles, each holding all that the ones before it hold."""

ENGINE_METHODS = frozenset(
    {
        "system.ping",
        "system.info",
        "engines.validate",
        "actions.check",
        "platforms.list",
        "config.global",
        "log.engine_event",
    }
)
"""All that the role `engine` may call, exactly."""

NOBODY_UID = 65534
"""A user of a foreign user namespace: the kernel could not say who it is."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Who has which role, as numbers: names were resolved when the configuration was loaded."""

    roles_of_uid: Mapping[int, frozenset[str]] = field(default_factory=dict)
    roles_of_gid: Mapping[int, frozenset[str]] = field(default_factory=dict)
    methods_of_role: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Custom roles: the exact methods each allows."""
    denied_to_uid: Mapping[int, frozenset[str]] = field(default_factory=dict)
    denied_to_gid: Mapping[int, frozenset[str]] = field(default_factory=dict)


class Peer(NamedTuple):
    """Who is at the other end, as the kernel reports it, and the roles the rules give."""

    uid: int
    gid: int
    gids: frozenset[int]
    roles: frozenset[str]
    denied: frozenset[str]

    @property
    def role(self) -> str:
        """The highest role, for the welcome."""
        for role in reversed(LADDER):
            if role in self.roles:
                return role
        return min(self.roles, default="none")

    @property
    def may_write(self) -> bool:
        """Whether large frames are worth accepting from this caller."""
        return bool(self.roles - {"viewer", "engine"})


class Verdict(NamedTuple):
    allowed: bool
    reason: str
    """Stable word for the rule that decided."""


_BY_ROLE = Verdict(True, "role")


@lru_cache(maxsize=256)
def holders(needs: str) -> frozenset[str]:
    """The built-in roles that hold a permission; none for one that nobody knows."""
    rank = {"read": 0, "write": 1, "admin": 2}.get(needs.rpartition(":")[2])
    return frozenset() if rank is None else frozenset(LADDER[rank:])


def recognise(rules: Rules, uid: int, gid: int, gids: Iterable[int], own_uid: int) -> Peer:
    """Roles by uid, primary group and supplementary groups. Root and the daemon's own uid are admin; even they may be denied."""
    groups = frozenset(gids) | {gid}
    roles = set(rules.roles_of_uid.get(uid, ()))
    denied = set(rules.denied_to_uid.get(uid, ()))
    for group in groups:
        roles |= rules.roles_of_gid.get(group, frozenset())
        denied |= rules.denied_to_gid.get(group, frozenset())
    if uid in (0, own_uid):
        roles.add("admin")
    return Peer(uid, gid, groups, frozenset(roles), frozenset(denied))


def judge(rules: Rules, peer: Peer, row: Row) -> Verdict:
    """The one place where a call is allowed or refused."""
    if row.name in peer.denied:
        return Verdict(False, "denied")
    if row.kind == "internal" or not row.needs:
        return Verdict(False, "not-callable")
    sufficient = holders(row.needs)
    if not sufficient:
        return Verdict(False, "unknown-permission")
    if not sufficient.isdisjoint(peer.roles):
        return _BY_ROLE
    if "engine" in peer.roles and row.name in ENGINE_METHODS:
        return Verdict(True, "engine")
    for role in peer.roles:
        if row.name in rules.methods_of_role.get(role, ()):
            return Verdict(True, "custom-role")
    return Verdict(False, "no-role" if not peer.roles else "role")
