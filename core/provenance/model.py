"""What the provenance engine knows: how much was reported and tapped, the newest of it without what it says, and anomalies.

Its memory is bounded however much is told it; all that was ever told is in the log.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from core.engine import Stamp
from core.fields import Count, Frozen
from core.provenance.events import AnomalyFound, EdgeAdded, EngineReported, Tapped

Row = TypeVar("Row")

REPORTS_KEPT = 1_000
SENDERS_MAX = 1_000
"""Senders whose rate is remembered; the one that was silent longest goes first."""
TAPS_KEPT = 4_096
ANOMALIES_KEPT = 256
RAISED_MAX = 1_024
"""Anomalies that are remembered for their cooldown."""
COOLDOWN_US = 300_000_000
"""The same anomaly is told once in this time."""
SLOT_US = 50_000
SLOTS = 21
"""So many of them cover a second wherever it begins."""


class Report(msgspec.Struct, metaclass=Frozen, frozen=True, array_like=True):
    """A report, without what it says."""

    seq: int
    time_us: int
    actor: str
    reported: str
    request_id: str


class Tap(msgspec.Struct, metaclass=Frozen, frozen=True, array_like=True):
    """A tap, without what it says."""

    seq: int
    time_us: int
    actor: str
    tapped: str
    run_id: str


class Anomaly(msgspec.Struct, metaclass=Frozen, frozen=True, array_like=True):
    """An anomaly, and when it was recorded."""

    seq: int
    time_us: int
    event: AnomalyFound


@dataclass(slots=True)
class Pace:
    """When one sender made its reports of the last second, by twentieths. It slides: no second, wherever it begins, has more
    reports than a limit that this is compared with. The limit itself is a setting, so no event and no replay may know it.
    """

    boot_id: str
    counts: dict[int, int]
    """By slot, the oldest first."""

    def wait_us(self, rate: int, boot_id: str, mono_us: int) -> int:
        """How long until one more is within so many a second; 0: it is now."""
        if boot_id != self.boot_id:
            return 0
        slot = mono_us // SLOT_US
        near = {at: count for at, count in self.counts.items() if at > slot - SLOTS}
        many = sum(near.values())
        for at, count in near.items():
            if many < rate:
                break
            many -= count
            slot = at + SLOTS
        return max(0, slot * SLOT_US - mono_us)

    def note(self, mono_us: int) -> None:
        slot = mono_us // SLOT_US
        self.counts[slot] = self.counts.get(slot, 0) + 1
        while (oldest := next(iter(self.counts))) <= slot - SLOTS:
            del self.counts[oldest]


@dataclass
class Provenance:
    newest: deque[Report] = field(default_factory=lambda: deque(maxlen=REPORTS_KEPT))
    reports: int = 0
    paces: dict[str, Pace] = field(default_factory=dict)
    """By sender, the one that was silent longest first."""
    ring: deque[Tap] = field(default_factory=lambda: deque(maxlen=TAPS_KEPT))
    taps: int = 0
    edges: int = 0
    anomalies: deque[Anomaly] = field(default_factory=lambda: deque(maxlen=ANOMALIES_KEPT))
    found: int = 0
    """Anomalies ever recorded."""
    raised: dict[str, tuple[str, int]] = field(default_factory=dict)
    """When each anomaly was last recorded, the oldest first: the boot, and the time since it."""

    def is_raised(self, name: str, boot_id: str, mono_us: int) -> bool:
        """Whether this anomaly was recorded so lately that it is no news."""
        boot, at_us = self.raised.get(name, ("", 0))
        return boot == boot_id and mono_us - at_us < COOLDOWN_US


def name_of(event: AnomalyFound) -> str:
    """What makes two anomalies the same."""
    return f"{event.kind}/{event.of}/{event.name}"


def apply_report(provenance: Provenance, event: EngineReported, stamp: Stamp) -> None:
    provenance.reports += 1
    provenance.newest.append(Report(stamp.seq, stamp.time_us, stamp.actor, event.reported, event.request_id))
    pace = provenance.paces.pop(stamp.actor, None)
    if pace is None or pace.boot_id != stamp.boot_id:
        pace = Pace(stamp.boot_id, {})
    pace.note(stamp.mono_us)
    provenance.paces[stamp.actor] = pace
    if len(provenance.paces) > SENDERS_MAX:
        del provenance.paces[next(iter(provenance.paces))]


def apply_tap(provenance: Provenance, event: Tapped, stamp: Stamp) -> None:
    provenance.taps += 1
    provenance.ring.append(Tap(stamp.seq, stamp.time_us, stamp.actor, event.tapped, event.run_id))


def apply_edge(provenance: Provenance, event: EdgeAdded, stamp: Stamp) -> None:
    provenance.edges += 1


def apply_anomaly(provenance: Provenance, event: AnomalyFound, stamp: Stamp) -> None:
    provenance.found += 1
    provenance.anomalies.append(Anomaly(stamp.seq, stamp.time_us, event))
    name = name_of(event)
    provenance.raised.pop(name, None)
    provenance.raised[name] = (stamp.boot_id, stamp.mono_us)
    if len(provenance.raised) > RAISED_MAX:
        del provenance.raised[next(iter(provenance.raised))]


class ProvenanceDump(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    newest: list[Report]
    reports: Count
    paces: list[tuple[str, str, list[tuple[int, int]]]]
    """In their order: it says who is forgotten first."""
    ring: list[Tap]
    taps: Count
    edges: Count
    anomalies: list[Anomaly]
    found: Count
    raised: list[tuple[str, str, int]]


def dump(provenance: Provenance) -> ProvenanceDump:
    return ProvenanceDump(
        list(provenance.newest),
        provenance.reports,
        [(actor, pace.boot_id, list(pace.counts.items())) for actor, pace in provenance.paces.items()],
        list(provenance.ring),
        provenance.taps,
        provenance.edges,
        list(provenance.anomalies),
        provenance.found,
        [(name, *when) for name, when in provenance.raised.items()],
    )


def load(dumped: ProvenanceDump) -> Provenance:
    return Provenance(
        _ring(dumped.newest, REPORTS_KEPT),
        dumped.reports,
        {actor: Pace(boot_id, dict(counts)) for actor, boot_id, counts in dumped.paces},
        _ring(dumped.ring, TAPS_KEPT),
        dumped.taps,
        dumped.edges,
        _ring(dumped.anomalies, ANOMALIES_KEPT),
        dumped.found,
        {name: (boot_id, at_us) for name, boot_id, at_us in dumped.raised},
    )


def _ring(rows: Iterable[Row], kept: int) -> deque[Row]:
    return deque(rows, maxlen=kept)
