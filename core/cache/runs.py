"""Which sync and which drill run, and how the last ones came out: what the cache remembers of them, bounded."""

from typing import Any

import msgspec

from core.fields import Frozen

RECENT_MAX = 32
"""Syncs that ended and can still be asked about."""
DRILLS_MAX = 8
"""The same of drills."""


class Run(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """One sync. `code` is empty while it runs."""

    job: str
    seq: int
    """The record that began it."""
    remote: str
    started_us: int
    ended_us: int = 0
    code: str = ""
    detail: str = ""
    result: dict[str, Any] = {}


class Runs(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """All of them. The one that runs goes on after a restart from where its checkpoint stands."""

    running: Run | None = None
    recent: tuple[Run, ...] = ()
    """Those that ended, the newest first."""
    failures: int = 0
    """In a row, up to the newest."""
    not_before_us: int = 0
    """By the wall clock: after a failure irer does not try again by itself until then."""

    def began(self, run: Run) -> "Runs":
        return msgspec.structs.replace(self, running=run)

    def ended(self, run: Run, failures: int, not_before_us: int) -> "Runs":
        return Runs(None, (run, *self.recent)[:RECENT_MAX], failures, not_before_us)


class Drill(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """One offline drill. `code` is empty while it runs; `result` stays so where it had no outcome."""

    job: str
    seq: int
    """The record that began it."""
    hours: int
    operations: int
    seed: int
    started_us: int
    ended_us: int = 0
    code: str = ""
    detail: str = ""
    result: dict[str, Any] = {}


class Drills(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """All of them."""

    running: Drill | None = None
    recent: tuple[Drill, ...] = ()
    """Those that ended, the newest first."""

    def began(self, drill: Drill) -> "Drills":
        return msgspec.structs.replace(self, running=drill)

    def ended(self, drill: Drill) -> "Drills":
        return Drills(None, (drill, *self.recent)[:DRILLS_MAX])
