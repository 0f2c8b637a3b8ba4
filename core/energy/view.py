"""The columns beside the facts: rows of streams and what is known of sources, which follow the points and may be thrown away.

`decide` works out what new points lead to and leaves it here, noted by the very points object that stands in the event; `apply` of
that event takes it over. Where there is no such note, as in a replay, the points wait, with all that is to be done after them,
and are followed some records at a time, those of all sources together. What a log holds never depends on it: what was found
stands in the records. NumPy comes with the first point that is followed.

Commands that came together may be announced: the points of all are then advanced in one round, with the first of them. That is a
hint and no more. A command whose points are others than was said, or whose source has moved meanwhile, is worked out by itself.

What is known of a source besides its rows is a `Follow`; of one in which nothing happens it is a row of `quiet.Sources`, which runs
ahead of its `Follow` until somebody asks for that.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import islice
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from core.energy import packed
from core.energy.facts import Known, Points, Source, Totals
from core.energy.plans import Plan, plan_of

if TYPE_CHECKING:
    from core.energy.following import Follow, Followed, Said
    from core.energy.layout import Block, Store
    from core.energy.node import Node
    from core.energy.quiet import Group, Member, Sources
    from core.energy.rounds import Ask, Power, Round

FORMAT = "energy-view-2"
EXPECTED_MAX = 1_024
ROUND_POINTS_MAX = 32_768
"""Commands, and their points, that are advanced together: so long everybody else waits."""
WAITING_POINTS_MAX, WAITING_LEAST = 8_192, 16
"""Points that wait in a replay until all are followed, and as how many a record counts at least."""
WAITING_MAX = 64
"""What waits of one source until all are followed: it is followed one after the other."""
_CHARS = 32 / 3
"""Of a number, as it is packed."""
QUIET_MIN = 4
"""Fewer sources than these are followed one by one: a call on columns costs as much as some arithmetic without."""
NOTHING_KNOWN = Known()
Metrics = Sequence[tuple[str, str]]
Lines = Sequence[Sequence[float]]


class Note(msgspec.Struct):
    """What a command would lead to."""

    points: Sequence[Points]
    source: str
    followed: Any
    """Followed."""
    said: Any
    """Said, or None."""
    new_rows: Mapping[int, int]


class Expected(msgspec.Struct, frozen=True, gc=False):
    """Points that are about to come, of streams that are followed."""

    command: Any
    """The very one that will be decided, or its like."""
    source: str
    metrics: Metrics
    """The very list that the source has: another list is another source."""
    plan: Plan
    times_us: Sequence[int]
    times: Sequence[float]
    values: Lines
    whole: bool
    """A number stands in every place, and can be used."""
    facts: Source | None = None
    """Its source, if the points are all that it has of one moment, and a claim goes with them."""

    def says(self, ask: "Ask") -> bool:
        """Whether these are the points that came."""
        return self.source == ask.source and self.times == ask.times and self.values == ask.values


class Promise(msgspec.Struct, frozen=True, gc=False):
    """A claim that goes with what the source has come to."""

    prediction_id: str
    horizon_s: float
    totals: Totals


class _Foreseen(msgspec.Struct, frozen=True, gc=False):
    """What the next points of a source would lead to if they are these."""

    round: Any
    """Round."""
    place: int
    ask: Any
    """Ask."""
    said: Expected


class _Noted(msgspec.Struct, frozen=True, gc=False):
    """A command that stands in a group."""

    points: Points
    group: Any
    """Group."""
    at: int
    prediction_id: str


class _Waiting(msgspec.Struct, frozen=True, gc=False):
    """Points that the log has, and what went with them."""

    points: Points
    metrics: tuple[tuple[str, str], ...]
    known: Known
    was: Totals
    """What the source had come to before."""
    promise: Promise | None
    gone: Sequence[str]


_Queue = deque[_Waiting | Callable[[], None]]
"""Of a source, points and what is to be done after them."""


def _first_of(own: _Queue) -> _Waiting | None:
    """The points whose turn it is, when all before them is done."""
    while own:
        each = own.popleft()
        if isinstance(each, _Waiting):
            return each
        each()
    return None


class _Due(msgspec.Struct, frozen=True, gc=False):
    """The same when its turn has come."""

    source: str
    waiting: _Waiting
    ask: Any
    """Ask."""
    plan: Plan
    times_us: Sequence[int]


class _Row(msgspec.Struct, array_like=True):
    source: str
    rows: dict[int, int]
    follow: bytes
    said: dict[str, Any]
    """`Said`, or bytes."""


class _Dump(msgspec.Struct, array_like=True):
    format: str
    store: bytes
    free: list[int]
    sources: list[_Row]


@cache
def _following() -> ModuleType:
    """With NumPy, which an idle daemon has no use for."""
    from core.energy import following

    return following


@cache
def _rounds() -> ModuleType:
    from core.energy import rounds

    return rounds


@cache
def _quiet() -> ModuleType:
    from core.energy import quiet

    return quiet


def _read(prediction_id: str, said: "Said | bytes") -> "Said":
    if isinstance(said, bytes):
        found: Said = _quiet().said_of(prediction_id, said)
        return found
    return said


def _said_of(kept: Any) -> "Said | bytes":
    """What `_Row` has of it, back from a file."""
    if not isinstance(kept, bytes):
        said: Said = msgspec.convert(kept, _following().Said)
        return said
    if len(kept) != _quiet().SAID_BYTES:
        raise ValueError("no figures of a claim")
    return kept


class _Picture(NamedTuple):
    """What is known of one source, at some moment."""

    source: str
    rows: dict[int, int]
    follow: "Follow"
    said: "dict[str, Said | bytes]"
    ahead: tuple[Sequence[float], Sequence[float]] | None


def _packed(store: Any, free: list[int], rows: "Sources | None", pictures: Sequence[_Picture]) -> bytes:
    pack = msgspec.msgpack.Encoder().encode
    sources = []
    for each in pictures:
        follow = each.follow
        if rows is not None and each.ahead is not None:
            follow = rows.follow(each.source, follow, *each.ahead)
        sources.append(_Row(each.source, each.rows, pack(follow), each.said))
    return pack(_Dump(FORMAT, pack(store), free, sources))


class View:
    def __init__(self) -> None:
        self._store: Store | None = None
        self._rows: dict[str, dict[int, int]] = {}
        self._free: list[int] = []
        self._follows: dict[str, Follow] = {}
        """Without what was said of them, which stands in `_said`."""
        self._said: dict[str, dict[str, Said | bytes]] = {}
        """Claims of each source by their names, in the order in which they were made; some as `quiet.said_of` reads them."""
        self.plans: dict[str, tuple[Metrics, Sequence[str], Plan]] = {}
        """Of a source, how its points came last: its metrics then, those that came, and what they are."""
        self._sources: Sources | None = None
        self._ahead: dict[str, tuple[Sequence[float], Sequence[float]]] = {}
        """Sources whose row runs ahead of their `Follow`, with the alerts and the entropy of their streams."""
        self._waiting: dict[str, _Queue] = {}
        self._waiting_points = 0.0
        self._note: Note | None = None
        self._noted: _Noted | None = None
        self._expected: deque[Expected] = deque()
        self._announced: dict[int, Expected] = {}
        """By the identity of the command, which `Expected` keeps."""
        self._rounds: list[Round] = []
        """Those that were taken over, in part or whole, and do not stand in the store yet."""
        self._groups: list[Group] = []
        """The same of those that stand in columns."""
        self._foreseen: dict[str, _Foreseen] = {}
        self._ready: dict[int, tuple[Group, int]] = {}
        """By the identity of the command, where it stands in a group."""

    def __deepcopy__(self, memory: dict[int, Any]) -> "View":
        """A copy of a state is made to compare facts; the view is no part of that."""
        return self

    # --- looking ----------------------------------------------------------------------------------------------------

    def follow_of(self, source: str) -> "Follow":
        self._catch_up(source)
        ahead = self._ahead.pop(source, None)
        if ahead is not None:
            self._opened()
            self._follows[source] = self._rows_of_sources().follow(source, self._follows[source], *ahead)
        return self._follows.get(source) or _following().Follow()

    def said_of(self, source: str) -> "Sequence[Said]":
        """The claims that were made of it and are open."""
        self._catch_up(source)
        return [_read(prediction_id, each) for prediction_id, each in self._said.get(source, {}).items()]

    def knows(self, source: str) -> bool:
        return source in self._follows or source in self._waiting

    def row(self, source: str, stream: int) -> "Block | None":
        """One stream as it stands."""
        self._catch_up(source)
        row = self._rows.get(source, {}).get(stream)
        return None if row is None or self._store is None else self._opened().view(row)

    def noise_before(self, source: str, stream: int) -> tuple[float, float] | None:
        """Of a power as it stands, while points that were just followed are not taken over."""
        row = self._rows.get(source, {}).get(stream)
        note = self._note
        if row is None or self._store is None:
            return None
        before: tuple[float, float]
        if note is not None and note.source == source and note.followed is not None and note.followed.ask.power == row:
            before = note.followed.round.noise_before(row)
        else:
            before = _rounds().noise(self._opened(), row)
        return before

    def _power(self, row: int) -> "Power":
        power: Power = _rounds().power_of(self._opened().view(row), 0)
        return power

    # --- working out ------------------------------------------------------------------------------------------------

    def expect(self, coming: Iterable[Expected]) -> None:
        """Commands that will come next, in this order, each if nothing stands against it."""
        self._expected = deque(islice(coming, EXPECTED_MAX))
        self._announced = {id(each.command): each for each in self._expected}
        self._foreseen.clear()
        self._ready.clear()

    def announced(self, command: Any, metrics: Metrics) -> Expected | None:
        """What was said of this very command, if its source still has these streams."""
        said = self._announced.get(id(command))
        return said if said is not None and said.command is command and said.metrics is metrics else None

    def ready(self, command: Any, eil: Any) -> "tuple[Group, int] | None":
        """Where it stands what this very command leads to, if that is no more than what a moment adds. It is `used`, or nothing has
        happened.
        """
        said = self._announced.get(id(command))
        if said is None or said.command is not command or said.facts is None:
            return None
        foreseen = self._foreseen.get(said.source)
        if foreseen is None:
            if len(self._expected) < QUIET_MIN or not self._begun(said):
                return None
            foreseen = self._foreseen[said.source]
        done: Round = foreseen.round
        if not done.grouped:
            self._group(done, eil)
        found = self._ready.get(id(command))
        return found if found is not None and foreseen.said is said and found[0].round is done and found[0].eil is eil else None

    def used(self, source: str, points: Points, group: "Group", at: int, prediction_id: str) -> None:
        """The event that will say what stands there, and the claim that goes with it."""
        self.drop_note()
        del self._foreseen[source]
        self._noted = _Noted(points, group, at, prediction_id)

    def _begun(self, said: Expected) -> bool:
        """Whether there is a round of these points now, with all that is expected of other sources."""
        self.drop_note()
        rows = self._rows.get(said.source, {})
        if said.source in self._waiting or not rows.keys() >= said.plan.all_streams:
            return False
        ask = self._ask(said.source, rows, said.plan, said.times, said.values, said.whole)
        beside = self._beside(ask)
        done = _rounds().Round(self._opened(), [ask, *(other for other, _ in beside)])
        self._foreseen[said.source] = _Foreseen(done, 0, ask, said)
        self._foresee(done, beside)
        return True

    def _foresee(self, done: "Round", beside: "list[tuple[Ask, Expected]]") -> None:
        for place, (ask, said) in enumerate(beside, 1):
            self._foreseen[ask.source] = _Foreseen(done, place, ask, said)

    def _group(self, done: "Round", eil: Any) -> None:
        """Those of a round in which nothing happens, as far as that can be said before they are looked at."""
        done.grouped = True
        alike: dict[Plan, list[Member]] = {}
        member = _quiet().Member
        for source, foreseen in self._foreseen.items():
            said, facts = foreseen.said, foreseen.said.facts
            if foreseen.round is not done or facts is None or facts.lost or facts.known != NOTHING_KNOWN or source in eil.sources:
                continue
            place = self._entered(source, said.plan, facts.totals)
            if place is not None:
                alike.setdefault(said.plan, []).append(member(foreseen.place, said, place, facts.totals))
        for plan, members in alike.items():
            if len(members) >= QUIET_MIN:
                group: Group = _quiet().Group(self._rows_of_sources(), done, plan, members, round(eil.horizon_s * 1e6), eil)
                self._ready.update((id(each.expected.command), (group, at)) for at, each in enumerate(members) if group.quiet[at])

    def _entered(self, source: str, plan: Plan, totals: Totals) -> int | None:
        """The row of a source; None where it is in something."""
        if totals.physical or totals.powered != (plan.power >= 0):
            return None
        sources = self._rows_of_sources()
        place = sources.places.get(source)
        if place is None and source in self._follows:
            place = sources.enter(source, self._follows[source], len(plan.metrics), totals.powered)
        return place

    def follow(
        self, source: str, plan: Plan, known: Known, times: Sequence[float], values: Lines, *, all_there: bool, told: bool = True
    ) -> "Followed":
        """What these points would lead to; `note` it, or nothing has happened."""
        self.drop_note()
        before = self.follow_of(source)
        rows = self._rows.get(source, {})
        new = self._place(source, plan.streams) if not rows.keys() >= plan.all_streams else {}
        ask = self._ask(source, {**rows, **new} if new else rows, plan, times, values, all_there)
        done, place = self._advanced(ask)
        followed: Followed = _following().follow(done, place, ask, plan, known, before, told=told)
        self._note = Note((), source, followed, None, new)
        return followed

    def _ask(
        self, source: str, rows: Mapping[int, int], plan: Plan, times: Sequence[float], values: Lines, all_there: bool
    ) -> "Ask":
        own = [rows[stream] for stream in plan.streams]
        ask: Ask = _rounds().Ask(source, own, times, values, own[plan.power] if plan.power >= 0 else -1, all_there)
        return ask

    def _advanced(self, ask: "Ask") -> "tuple[Round, int]":
        """The round in which this was worked out; else one of its own, with all that is expected of other sources."""
        foreseen = self._foreseen.pop(ask.source, None)
        if foreseen is not None and foreseen.ask == ask:
            return foreseen.round, foreseen.place
        beside = self._beside(ask) if self._expected else []
        done = _rounds().Round(self._opened(), [ask, *(other for other, _ in beside)] if beside else [ask])
        self._foresee(done, beside)
        return done, 0

    def _beside(self, ask: "Ask") -> "list[tuple[Ask, Expected]]":
        """What is expected next of every other source, where this was expected too. Of one that waits for its turn, the later
        points stay expected.
        """
        chosen: dict[str, tuple[Ask, Expected]] = {}
        later: deque[Expected] = deque()
        mine = next((each for each in self._expected if each.says(ask)), None)
        if mine is None:
            return []  # whoever sent this announced nothing, and does not work for who did
        here, room = False, ROUND_POINTS_MAX - len(ask.times) * len(ask.rows)
        for each in self._expected:
            rows, size = self._rows.get(each.source, {}), len(each.times) * len(each.plan.streams)
            if each.source == ask.source and not here:
                here = each is mine  # it has come; what was said of this source before has not, and will not
                continue
            if each.source == ask.source or each.source in chosen or each.source in self._foreseen or size > room:
                later.append(each)
            elif each.source not in self._waiting and rows.keys() >= each.plan.all_streams:
                chosen[each.source] = self._ask(each.source, rows, each.plan, each.times, each.values, each.whole), each
                room -= size
        self._expected = later
        return list(chosen.values())

    def promise(self, source: str, metrics: Metrics, promise: Promise) -> "Said":
        """The claim about a source, with the points that were just followed and are not taken over yet."""
        note = self._note if self._note is not None and self._note.source == source else None
        followed = note.followed if note is not None else None
        rows: Mapping[int, int] = self._rows.get(source, {})
        if note is not None and note.new_rows:
            rows = {**rows, **note.new_rows}
        return self._promise(followed.after if followed is not None else self.follow_of(source), rows, metrics, promise, followed)

    def _promise(
        self, follow: "Follow", rows: Mapping[int, int], metrics: Metrics, promise: Promise, followed: "Followed | None" = None
    ) -> "Said":
        place = _following().power_stream(follow, metrics)
        power, unit = None, "W"
        if place in rows:
            power = followed.round.after(rows[place]) if followed is not None else None
            power, unit = power or self._power(rows[place]), metrics[place][1]
        said: Said = _following().said(follow, power, unit, promise.prediction_id, promise.horizon_s, promise.totals)
        return said

    def note(self, points: Sequence[Points], said: "Said | None") -> None:
        """The event that will say so, and the claim that goes with it."""
        assert self._note is not None
        self._note.points, self._note.said = points, said

    def alarms(self) -> tuple[int, int]:
        """Points of all streams by ticks of their source, and shifts that were seen in them."""
        self._catch_up()
        if self._ahead:
            self._opened()
        ticks = 0
        for source, follow in self._follows.items():
            own = self._rows_of_sources().ticks(source) if source in self._ahead else follow.ticks
            ticks += own * max(len(follow.alerts), 1)
        return ticks, sum(each.alarms for each in self._follows.values())

    def nodes(self) -> "Iterator[Node]":
        """What is known of machines as heat, of every source whose points were followed since the start."""
        return (follow.node for follow in self._follows.values())

    # --- taking over ------------------------------------------------------------------------------------------------

    def take(
        self,
        source: str,
        points: Points,
        metrics: Metrics,
        known: Known,
        was: Totals,
        promise: Promise | None,
        gone: Sequence[str],
    ) -> None:
        """The log has these points now, and the claim that was made with them, for which others have gone. `was`: what the source
        had come to before.
        """
        note, noted = self._note, self._noted
        if noted is not None and noted.points is points:
            self._noted = None
            self._follow_in_columns(source, noted)
            self._let_go(source, gone)
            return
        first = note is not None and len(note.points) > 0 and points is note.points[0]
        if note is not None and (first or any(points is each for each in note.points)):
            if first:
                self._adopt(note)
            self._let_go(source, gone)
            if points is note.points[-1]:
                self._note = None
            return
        self.drop_note()
        if (own := self._waiting.get(source)) is None:
            own = self._waiting[source] = deque()
        own.append(_Waiting(points, tuple(metrics), known, was, promise, gone))
        self._waiting_points += max(len(points.values) / _CHARS, WAITING_LEAST)
        if self._waiting_points >= WAITING_POINTS_MAX or len(own) >= WAITING_MAX:
            self._catch_up()

    def take_promise(self, source: str, metrics: Metrics, promise: Promise, gone: Sequence[str]) -> None:
        """The log has a claim that was made without points."""
        self.drop_note()
        self._in_turn(source, partial(self._promised, source, metrics, promise, gone))

    def settle(self, source: str, outcomes: Iterable[tuple[str, float, float]]) -> None:
        """Claims were met: prediction, energy and entropy."""
        self._in_turn(source, partial(self._settle, source, outcomes))

    def let_go(self, source: str, prediction_id: str) -> None:
        """This claim is not open any more."""
        self._in_turn(source, partial(self._let_go, source, (prediction_id,)))

    def _in_turn(self, source: str, work: Callable[[], None]) -> None:
        """Now, or after the points that wait."""
        if (waiting := self._waiting.get(source)) is not None:
            waiting.append(work)
        else:
            work()

    def _promised(self, source: str, metrics: Metrics, promise: Promise, gone: Sequence[str]) -> None:
        follow = self.follow_of(source)
        self._keep(source, self._promise(follow, self._rows.get(source, {}), metrics, promise))
        self._follows[source] = follow
        self._let_go(source, gone)

    def _settle(self, source: str, outcomes: Iterable[tuple[str, float, float]]) -> None:
        own = self._said.get(source, {})
        met = [(each[0], own.pop(each[0]), *each[1:]) for each in outcomes if each[0] in own]
        if source not in self._ahead or not self._rows_of_sources().meet(source, met):
            follow = self.follow_of(source)
            for prediction_id, said, energy, entropy in met:
                follow = _following().settled(follow, _read(prediction_id, said), energy, entropy)
            self._follow(source, follow)

    def forget(self, source: str) -> None:
        """This source is followed no more."""
        self.drop_note()
        if self._store is not None:
            self._opened()
        self._waiting.pop(source, None)
        self._foreseen.pop(source, None)
        self._ahead.pop(source, None)
        self._follow(source, None)
        self._said.pop(source, None)
        self.plans.pop(source, None)
        for row in self._rows.pop(source, {}).values():
            self._opened().clear(row)
            self._free.append(row)

    def _adopt(self, note: Note) -> None:
        followed = note.followed
        assert followed is not None
        if note.new_rows:
            self._rows.setdefault(note.source, {}).update(note.new_rows)
        followed.round.take_over(followed.ask.rows)
        if followed.round not in self._rounds:
            self._rounds.append(followed.round)
        self._follow(note.source, followed.after)
        if note.said is not None:
            self._keep(note.source, note.said)

    def _follow_in_columns(self, source: str, noted: _Noted) -> None:
        group, at = noted.group, noted.at
        if not group.taken:
            self._groups.append(group)
            if group.round not in self._rounds:
                self._rounds.append(group.round)
        group.taken.append(at)
        self._ahead[source] = group.alerts[at], group.nats[at]
        self._said.setdefault(source, {})[noted.prediction_id] = group.said(at)

    def _follow(self, source: str, after: "Follow | None") -> None:
        """What is known of a source from now on, and not by its row."""
        if self._sources is not None:
            self._sources.leave(source)
        if after is None:
            self._follows.pop(source, None)
        else:
            self._follows[source] = after

    def _keep(self, source: str, said: "Said") -> None:
        self._said.setdefault(source, {})[said.prediction_id] = said

    def _let_go(self, source: str, gone: Iterable[str]) -> None:
        """Claims that are not open any more."""
        own = self._said.get(source, {})
        for prediction_id in gone:
            own.pop(prediction_id, None)

    def drop_note(self) -> None:
        """What was only tried leaves nothing behind."""
        self._noted = None
        if self._note is not None:
            self._free += self._note.new_rows.values()
            self._note = None

    # --- catching up ------------------------------------------------------------------------------------------------

    def _catch_up(self, source: str = "") -> None:
        """Follow all that waits, if anything of this source does. What comes first of each is followed together, and so on."""
        if not self._waiting or (source and source not in self._waiting):
            return
        waiting, self._waiting, self._waiting_points = self._waiting, {}, 0.0
        while waiting:
            first = [(name, each) for name, own in waiting.items() if (each := _first_of(own)) is not None]
            self._follow_together([due for each in first if (due := self._due(*each)) is not None])
            waiting = {name: waiting[name] for name, _ in first}

    def _due(self, source: str, waiting: _Waiting) -> _Due | None:
        points, size = waiting.points, len(waiting.points.streams)
        times_us, numbers = packed.times(points.times), packed.values(points.values).tolist()
        if not size or len(numbers) != len(times_us) * size:
            return None
        self._foreseen.pop(source, None)
        rows = self._rows.setdefault(source, {})
        plan = plan_of(waiting.metrics, tuple(points.streams))
        if not rows.keys() >= plan.all_streams:
            rows.update(self._place(source, points.streams))
        lines = [numbers[at : at + size] for at in range(0, len(numbers), size)]
        ask = self._ask(source, rows, plan, [moment / 1e6 for moment in times_us], lines, not math.isnan(sum(numbers)))
        return _Due(source, waiting, ask, plan, times_us)

    def _follow_together(self, dues: Sequence[_Due]) -> None:
        """Points that wait, each of another source."""
        if not dues:
            return
        done: Round = _rounds().Round(self._opened(), [each.ask for each in dues])
        grouped = self._found_quiet(done, dues)
        for place, due in enumerate(dues):
            if place not in grouped:
                self._follow_by_itself(done, place, due)
        self._rounds.append(done)
        for place, (group, at) in grouped.items():
            source, waiting = dues[place].source, dues[place].waiting
            assert waiting.promise is not None
            self._follow_in_columns(source, _Noted(waiting.points, group, at, waiting.promise.prediction_id))
            self._let_go(source, waiting.gone)

    def _follow_by_itself(self, done: "Round", place: int, due: _Due) -> None:
        source, waiting = due.source, due.waiting
        before = self.follow_of(source)
        followed = _following().follow(done, place, due.ask, due.plan, waiting.known, before, told=False)
        done.take_over(due.ask.rows)
        self._follow(source, followed.after)
        if waiting.promise is not None:
            said = self._promise(followed.after, self._rows[source], waiting.metrics, waiting.promise, followed)
            self._keep(source, said)
        self._let_go(source, waiting.gone)

    def _found_quiet(self, done: "Round", dues: Sequence[_Due]) -> "dict[int, tuple[Group, int]]":
        """Which of these stand in groups, and where: a moment of all streams of a source that just went on, and a claim with it."""
        alike: dict[tuple[Plan, float], list[Member]] = {}
        member = _quiet().Member
        for place, due in enumerate(dues):
            source, plan, ask, waiting = due.source, due.plan, due.ask, due.waiting
            alone = len(ask.times) == 1 and ask.whole and plan.complete
            if not alone or waiting.promise is None or waiting.known != NOTHING_KNOWN:
                continue
            row = self._entered(source, plan, waiting.was)
            if row is not None:
                said = Expected(None, source, waiting.metrics, plan, due.times_us, ask.times, ask.values, True)
                alike.setdefault((plan, waiting.promise.horizon_s), []).append(member(place, said, row, waiting.was))
        found: dict[int, tuple[Group, int]] = {}
        for (plan, horizon_s), members in alike.items():
            if len(members) >= QUIET_MIN:
                group: Group = _quiet().Group(self._rows_of_sources(), done, plan, members, round(horizon_s * 1e6), None)
                for at, each in enumerate(members):
                    promise = dues[each.number].waiting.promise
                    if promise is not None and group.quiet[at] and group.totals_after(at) == promise.totals:
                        found[each.number] = group, at
        return found

    def _opened(self) -> "Store":
        """The store, with all in it that was taken over."""
        if self._store is None:
            from core.energy.layout import Store

            self._store = Store()
        for group in self._groups:
            group.settle()
        for done in self._rounds:
            done.settle()
        if self._sources is not None:
            self._sources.settle()
        self._groups.clear()
        self._rounds.clear()
        return self._store

    def _rows_of_sources(self) -> "Sources":
        if self._sources is None:
            self._sources = _quiet().Sources()
        return self._sources

    def _place(self, source: str, streams: Sequence[int]) -> dict[int, int]:
        """Rows for those streams that have none yet."""
        known = self._rows.get(source, {})
        missing = [stream for stream in streams if stream not in known]
        return {stream: self._free.pop() if self._free else self._opened().add() for stream in missing}

    # --- keeping ----------------------------------------------------------------------------------------------------

    def dump(self) -> bytes:
        """Everything, for a file beside a snapshot; nothing where nothing was ever followed."""
        return self.picture()()

    def picture(self) -> Callable[[], bytes]:
        """The same as things stand now, made into bytes by whoever has the time for it."""
        self.drop_note()
        self._catch_up()
        if self._store is None:
            return bytes
        store = self._opened().dump()
        rows = self._sources.copy() if self._sources is not None else None
        pictures = [
            _Picture(source, dict(self._rows.get(source, {})), follow, dict(self._said.get(source, {})), self._ahead.get(source))
            for source, follow in self._follows.items()
        ]
        return partial(_packed, store, list(self._free), rows, pictures)

    def load(self, raw: bytes) -> None:
        """What was dumped. Another version's, or what is no dump at all, is left: rows then begin anew."""
        from core.energy.following import Follow
        from core.energy.layout import Store

        try:
            kept = msgspec.msgpack.decode(raw, type=_Dump)
            if kept.format != FORMAT:
                return
            store = Store.load(msgspec.msgpack.decode(kept.store))
            follows = {each.source: msgspec.msgpack.decode(each.follow, type=Follow) for each in kept.sources}
            said = {each.source: {name: _said_of(one) for name, one in each.said.items()} for each in kept.sources}
        except (msgspec.MsgspecError, ValueError, TypeError, KeyError):
            return
        if store is not None:
            self.expect(())
            self._groups.clear()
            self._rounds.clear()
            self._store, self._free, self._sources = store, kept.free, None
            self._ahead.clear()
            self._follows, self._said = follows, said
            self._rows = {each.source: each.rows for each in kept.sources}


class Blind(View):
    """Follows nothing."""

    def take(self, *points: Any) -> None:
        """As if they had not come."""

    def take_promise(self, *promise: Any) -> None:
        """Nor this."""

    def settle(self, *outcomes: Any) -> None:
        """Nothing was promised."""

    def let_go(self, *claim: Any) -> None:
        """Nothing was kept."""

    def load(self, raw: bytes) -> None:
        """Nor is anything taken up."""
