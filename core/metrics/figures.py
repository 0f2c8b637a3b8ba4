"""All that gauges and meters are made of, counted from durable events as they come, and the view that counts it.

It remembers counts, never events, so its size does not grow with the logs. Reads of the cache and refused commands are in no log:
the daemon's own totals of them are sampled.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from core.engine import Stamp
from core.fields import Frozen
from core.metrics.judge import Checked, Issued, Judge, JudgeDump, Policy, Revoked, Rotated
from core.metrics.queue import Drilled, Expired, Merged, OnlineSet, Pushed, Queue, QueueDump, Resolved, Written
from core.metrics.series import Clock, ClockDump, Series, SeriesDump
from core.views import Now, Totals, View

GATE_LOG, CACHE_LOG = "gate_log", "cache_log"
CRITICAL = ("cache.set", "cache.delete", "cache.resolve")
"""The commands that must work with no network."""
NOT_THE_CALLERS = (
    "data-loss",
    "deadline-exceeded",
    "durability-unknown",
    "failed-precondition",
    "internal",
    "resource-exhausted",
    "unavailable",
)
"""Refusals that say something of the daemon; all others, such as a bad parameter, are the caller's."""
SHOW_TOKENS = frozenset({"gate.check", "nav.navigate"})
"""Methods whose refusals, when they are counted and not recorded one by one, are those of tokens."""
HITS, MISSES, REFUSED = "hits", "misses", "refused"
"""Totals: gets of the cache that found a value, those that found none, critical commands that were refused."""


class Navigated(msgspec.Struct):
    domain: str
    subject: str
    ok: bool
    route: str | None = None


class RefusedMany(msgspec.Struct):
    count: int
    first: str
    last: str


class LogDump(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    clock: ClockDump
    commands: SeriesDump


class FiguresDump(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    logs: dict[str, LogDump]
    judge: JudgeDump
    refused: SeriesDump
    let_through: SeriesDump
    not_judged: SeriesDump
    gates: SeriesDump
    switches: SeriesDump
    routes: dict[str, str]
    queue: QueueDump
    sampled: ClockDump
    hits: SeriesDump
    reads: SeriesDump


class Recorded:
    """One log: its time, and the commands in it."""

    __slots__ = ("clock", "commands")

    def __init__(self) -> None:
        self.clock = Clock()
        self.commands = Series()


class Figures:
    def __init__(self) -> None:
        self.logs: dict[str, Recorded] = {}
        self.judge = Judge()
        self.refused, self.let_through, self.not_judged = Series(), Series(), Series()
        """Tokens that were bad and refused; bad and let through; let through, and nobody can tell any more."""
        self.gates, self.switches = Series(), Series()
        self.routes: dict[str, str] = {}
        """The route that was given last into each domain."""
        self.queue = Queue()
        self.sampled = Clock()
        self.hits, self.reads = Series(), Series()
        self._totals: Totals = {}
        """When they were sampled last. They begin anew with the daemon, so they are in no dump."""

    def clock(self, log: str) -> Clock:
        recorded = self.logs.get(log)
        return recorded.clock if recorded is not None else Clock()

    def now_us(self, log: str, now: Now) -> int:
        return self.clock(log).now(*now)


def on_command(figures: Figures, stamp: Stamp) -> None:
    recorded = figures.logs.get(stamp.log)
    if recorded is None:
        recorded = figures.logs[stamp.log] = Recorded()
    recorded.commands.add(recorded.clock.come_to(stamp.boot_id, stamp.mono_us, stamp.time_us))
    if stamp.log == GATE_LOG:
        figures.judge.come_to(stamp)


def sample(figures: Figures, totals: Totals, now: Now) -> None:
    """Take up what was counted since the last time."""
    more = {name: max(0, count - figures._totals.get(name, 0)) for name, count in totals.items()}
    figures._totals = dict(totals)
    time_us = figures.sampled.come_to(*now)
    if reads := more.get(HITS, 0) + more.get(MISSES, 0):
        figures.hits.add(time_us, more.get(HITS, 0))
        figures.reads.add(time_us, reads)
    if refused := more.get(REFUSED, 0):
        figures.queue.count_refused(refused, figures.now_us(CACHE_LOG, now))


# --- events of gate_log -----------------------------------------------------------------------------------------------------


def _checked(figures: Figures, event: Checked, stamp: Stamp) -> None:
    time_us = figures.clock(GATE_LOG).last_us
    figures.gates.add(time_us)
    if not event.allowed:
        figures.refused.add(time_us)
        return
    opinion = figures.judge.allowed(event, stamp)
    if opinion != "right":
        (figures.let_through if opinion == "wrong" else figures.not_judged).add(time_us)


def _refused(figures: Figures, event: Any, stamp: Stamp) -> None:
    figures.gates.add(figures.clock(GATE_LOG).last_us)


def _refused_many(figures: Figures, event: RefusedMany, stamp: Stamp) -> None:
    """A flood stands in one record; each refusal of it was a command."""
    recorded = figures.logs[GATE_LOG]
    time_us = recorded.clock.last_us
    figures.gates.add(time_us, event.count)
    recorded.commands.add(time_us, event.count - 1)
    if SHOW_TOKENS.issuperset((event.first, event.last)):
        figures.refused.add(time_us, event.count)


def _navigated(figures: Figures, event: Navigated, stamp: Stamp) -> None:
    figures.judge.navigated(event.subject, stamp)
    if event.route is not None:
        if figures.routes.get(event.domain, event.route) != event.route:
            figures.switches.add(figures.clock(GATE_LOG).last_us)
        figures.routes[event.domain] = event.route


def _fold(kind: type[Any], function: Callable[[Figures, Any, Stamp], None]) -> Callable[[Any, bytes, Stamp], None]:
    decoder = msgspec.json.Decoder(kind)

    def fold(figures: Figures, payload: bytes, stamp: Stamp) -> None:
        function(figures, decoder.decode(payload), stamp)

    return fold


def _of_cache(kind: type[Any], method: Callable[[Queue, Any, Clock], None]) -> Callable[[Any, bytes, Stamp], None]:
    return _fold(kind, lambda figures, event, stamp: method(figures.queue, event, figures.logs[CACHE_LOG].clock))


FOLDS = {
    "token.issued": _fold(Issued, lambda figures, event, stamp: figures.judge.issued(event, stamp)),
    "token.revoked": _fold(Revoked, lambda figures, event, stamp: figures.judge.revoked(event, stamp)),
    "gate.key_rotated": _fold(Rotated, lambda figures, event, stamp: figures.judge.rotated(event, stamp)),
    "gate.policy_set": _fold(Policy, lambda figures, event, stamp: figures.judge.policy(event, stamp)),
    "gate.checked": _fold(Checked, _checked),
    "gate.refused": lambda figures, payload, stamp: _refused(figures, None, stamp),
    "gate.refused_many": _fold(RefusedMany, _refused_many),
    "nav.navigated": _fold(Navigated, _navigated),
    "cache.set": _of_cache(Written, Queue.wrote),
    "cache.deleted": _of_cache(Written, Queue.wrote),
    "cache.resolved": _of_cache(Resolved, Queue.resolved),
    "cache.expired": _of_cache(Expired, Queue.expired),
    "cache.merged": _of_cache(Merged, Queue.merged),
    "cache.pushed": _of_cache(Pushed, Queue.pushed),
    "cache.online_set": _of_cache(OnlineSet, lambda queue, event, clock: queue.set_online(event, clock.last_us)),
    "cache.drilled": _of_cache(Drilled, lambda queue, event, clock: queue.drilled(event)),
}


# --- the view -----------------------------------------------------------------------------------------------------------------


def dump(figures: Figures) -> FiguresDump:
    return FiguresDump(
        {log: LogDump(each.clock.dump(), each.commands.dump()) for log, each in sorted(figures.logs.items())},
        figures.judge.dump(),
        figures.refused.dump(),
        figures.let_through.dump(),
        figures.not_judged.dump(),
        figures.gates.dump(),
        figures.switches.dump(),
        dict(sorted(figures.routes.items())),
        figures.queue.dump(),
        figures.sampled.dump(),
        figures.hits.dump(),
        figures.reads.dump(),
    )


def load(dumped: FiguresDump) -> Figures:
    figures = Figures()
    for log, each in dumped.logs.items():
        recorded = figures.logs[log] = Recorded()
        recorded.clock, recorded.commands = Clock.load(each.clock), Series.load(each.commands)
    figures.judge, figures.queue, figures.routes = Judge.load(dumped.judge), Queue.load(dumped.queue), dumped.routes
    figures.refused, figures.let_through = Series.load(dumped.refused), Series.load(dumped.let_through)
    figures.not_judged, figures.gates = Series.load(dumped.not_judged), Series.load(dumped.gates)
    figures.switches, figures.sampled = Series.load(dumped.switches), Clock.load(dumped.sampled)
    figures.hits, figures.reads = Series.load(dumped.hits), Series.load(dumped.reads)
    return figures


VIEW = View(
    "metrics",
    version=1,
    state=Figures,
    folds=FOLDS,
    dump=dump,
    load=load,
    command=on_command,
    sample=sample,
    sample_before=frozenset({"cache.online_set"}),
)
