"""What the log says of sources: points as they came, totals, changes of regime, sensors that were lost. Facts, never arithmetic.

Whatever is found in points stands in the record of those points, so that the figures of last year stay what they were when a better
detector comes. `apply` takes over what a record says.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from core.energy.proving import Claim
from core.energy.units import Unit
from core.engine import Event
from core.fields import Code, Count, Frozen, Name, privacy, words

METRICS_MAX = 256
"""Of one source."""
POINTS_MAX = 1_024
"""Of one record."""
PAUSES = 8
"""A source that is silent for so many of its usual pauses is lost,"""
SILENT_US_MIN = 60_000_000
SILENT_US_MAX = 86_400_000_000
"""but never sooner or later than this."""

RegimeName = Literal["learning", "stable", "drifting", "transition", "unstable"]
Provenance = Literal["measured", "modelled", "surrogate"]
Why = Literal["older", "conflicting", "unusable", "unit-mismatch"]
Packed = Annotated[
    str,
    Meta(max_length=12_288, pattern=r"^[A-Za-z0-9_-]*\Z"),
    privacy("public"),
    words("numbers of eight bytes each in base64url, without padding"),
]
Place = Annotated[int, Meta(ge=0, lt=METRICS_MAX)]
ContextText = Annotated[str, Meta(max_length=200), privacy("open")]
Text = Annotated[dict[Name, ContextText | Annotated[float, Meta(ge=-9e18, le=9e18)] | bool | None], Meta(max_length=16)]


class Known(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the configuration says of a source.

    idle_w: its power when it idles; 0 where it is not known
    max_w: its power under full load; 0 where it is not known
    power_w: its power at 0, 10 … 100 % of use, or nothing
    surroundings_k: temperature around it, in K; 0 where it is not known
    warming_k_s: how fast its temperature can change; 0 where it is not known
    """

    idle_w: float = 0.0
    max_w: float = 0.0
    power_w: Annotated[list[float], Meta(max_length=11)] = []
    surroundings_k: float = 0.0
    warming_k_s: float = 0.0

    @property
    def powered(self) -> bool:
        """Whether power follows from utilisation."""
        return bool(self.power_w) or self.max_w > 0


class Begun(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """A stream that is followed from here on.

    metric: its name
    unit: what its numbers are in, for good
    """

    metric: Name
    unit: Unit


class Points(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True, gc=False):
    """Points that were taken up.

    streams: which streams of the source, by place in the order in which they began
    times: of each moment, in µs since 1970
    values: of each moment one for each stream; NaN where there is none
    """

    streams: Annotated[list[Place], Meta(max_length=METRICS_MAX)]
    times: Packed
    values: Packed


class Totals(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """What a source has come to.

    energy_j: energy since its first point, in J
    surrogate: the same without power, of unit 1: it only orders
    sigma_j: spread of what models added to the energy
    uncovered_s: how long no power was known, in gaps
    modelled: whether a model of the power added to the energy
    entropy_j_k: entropy made since its heat balance is known, in J/K
    nats: entropy of its streams, quantised by their sensors
    physical: whether the entropy in J/K exists
    powered: whether energy is in J
    """

    energy_j: float = 0.0
    surrogate: float = 0.0
    sigma_j: float = 0.0
    uncovered_s: float = 0.0
    modelled: bool = False
    entropy_j_k: float = 0.0
    nats: float = 0.0
    physical: bool = False
    powered: bool = False


class Refusal(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """Points that were refused.

    metric: of which stream
    reason: older, conflicting (another value at that time), unusable, or unit-mismatch
    count: how many
    """

    metric: Name
    reason: Why
    count: Count


class Sensed(Event, type="energy.sensed"):
    """Points of a source came.

    source: which
    owner: whose it is: who sent its first point
    points: those that were taken up
    accepted: how many
    totals: what the source has come to with them
    regime: what it shows
    next_likely: what it will show next
    confidence: how sure that is
    newest_us: time of its newest point, in µs since 1970
    begun: streams that began with it
    repeated: points that were known already
    refused: points that were refused, by stream and reason
    known: what the configuration says of the source, where that has changed
    claim: what the source is expected to come to
    again: in place of a claim, the open one about the same moment
    due_us: when that is
    evicted: a source that was given up to make room
    back: metrics that had fallen silent and speak again
    falls: what the total energy is worth as long as the sensor of the power is silent
    context: what the caller told of the moment
    """

    source: Name
    owner: Name
    points: Points
    accepted: Count
    totals: Totals
    regime: RegimeName
    next_likely: RegimeName
    confidence: float
    newest_us: Count
    begun: Annotated[list[Begun], Meta(max_length=METRICS_MAX)] = []
    repeated: Count = 0
    refused: Annotated[list[Refusal], Meta(max_length=4 * METRICS_MAX)] = []
    known: Known | None = None
    claim: Claim | None = None
    again: Name | None = None
    due_us: Count | None = None
    evicted: Name | None = None
    back: Annotated[list[Name], Meta(max_length=METRICS_MAX)] = []
    falls: Provenance | None = None
    context: Text = {}


class Predicted(Event, type="energy.predicted"):
    """What a source will come to was asked for.

    source: which
    claim: what it is expected to come to
    regime: what it shows
    next_likely: what it will show next
    confidence: how sure that is
    """

    source: Name
    claim: Claim
    regime: RegimeName
    next_likely: RegimeName
    confidence: float


class Moved(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """A stream that is no longer what it was.

    metric: which
    time_us: when that was seen, in µs since 1970
    located_us: when it began
    scale: ticks that it was seen over
    statistic: how plainly
    mean_before: its mean before
    spread_before: its spread before
    mean_after: its mean since
    spread_after: its spread since
    gradient: the entropy gradient across the scales
    """

    metric: Name
    time_us: Count
    located_us: Count
    scale: Count
    statistic: float
    mean_before: float
    spread_before: float
    mean_after: float
    spread_after: float
    gradient: float


class RegimeShifted(Event, type="energy.regime_shifted"):
    """A source changed its regime.

    source: which
    time_us: when that was seen, in µs since 1970
    from_regime: what it showed before
    to_regime: what it shows since
    streams: those behind it
    """

    source: Name
    time_us: Count
    from_regime: RegimeName
    to_regime: RegimeName
    streams: Annotated[list[Moved], Meta(max_length=METRICS_MAX)]


class SourceLost(Event, type="energy.source_lost"):
    """Sensors of a source say nothing any more. What rested on them is modelled or a surrogate from here on.

    source: which
    metrics: the streams that fell silent
    silent_s: how long the longest of them has been silent
    reason: silent: others of the source go on; all-silent: nothing of it comes any more
    """

    source: Name
    metrics: Annotated[list[Name], Meta(max_length=METRICS_MAX)]
    silent_s: float
    reason: Code


class Move(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """How often a source went from one regime to another."""

    count: int
    seen_us: int
    """When that was last, by the source's own time."""
    seq: int
    """Of the record that says so."""


class Source(msgspec.Struct, forbid_unknown_fields=True):
    """What the log says of a source."""

    owner: str
    streams: list[tuple[str, str]] = []
    """Metric and unit, in the order in which they came."""
    newest_us: int = 0
    seen_us: int = 0
    """When its latest points came, by the clock of the daemon."""
    points: int = 0
    refused: int = 0
    repeated: int = 0
    totals: Totals = Totals()
    known: Known = Known()
    regime: str = "learning"
    next_likely: str = "learning"
    confidence: float = 0.0
    shifts: int = 0
    shifted_us: int = 0
    moves: dict[str, Move] = {}
    """By the regime before and the one after, with a blank between: only texts may be keys in a snapshot."""
    lost: list[str] = []
    lost_us: int = 0
    """When that was seen last, by the clock on the wall."""
    heard_us: int = 0
    """When points came last, by irer's own time, which no clock on the wall moves."""
    heard: int = 0
    """How often they came."""
    pause_us: int = 0
    """The longest time between them lately."""

    @property
    def silent_after_us(self) -> int:
        """How long nothing has to come until the source counts as silent."""
        return min(max(PAUSES * self.pause_us, SILENT_US_MIN), SILENT_US_MAX)


def place_of(source: Source) -> Mapping[str, int]:
    return {metric: place for place, (metric, _) in enumerate(source.streams)}
