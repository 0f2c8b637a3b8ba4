"""The columns beside the facts: rows of streams and what is known of sources, which follow the points and may be thrown away.

`decide` works out what new points lead to and leaves it here, noted by the very points object that stands in the event; `apply` of
that event takes it over. Where there is no such note, as in a replay, the points wait and are followed some records at a time. What
a log holds never depends on it: what was found stands in the records. NumPy comes with the first point that is followed.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from core.energy import packed
from core.energy.facts import Known, Points, Totals

if TYPE_CHECKING:
    from core.energy.following import Follow, Followed, Said
    from core.energy.layout import Block, Store

FORMAT = "energy-view-1"
WAITING_MAX = 64
"""Records of one source that are followed together in a replay."""
Metrics = Sequence[tuple[str, str]]


class Note(NamedTuple):
    """What a command would lead to."""

    points: tuple[Points, ...]
    source: str
    followed: "Followed | None"
    said: "Said | None"
    new_rows: Mapping[int, int]


class Promise(NamedTuple):
    """A claim that goes with what the source has come to."""

    prediction_id: str
    horizon_s: float
    totals: Totals


class _Waiting(NamedTuple):
    points: Points
    metrics: tuple[tuple[str, str], ...]
    known: Known
    promise: Promise | None
    gone: Sequence[str]


class _Row(msgspec.Struct, array_like=True):
    source: str
    rows: dict[int, int]
    follow: bytes


class _Dump(msgspec.Struct, array_like=True):
    format: str
    store: bytes
    free: list[int]
    sources: list[_Row]


def without(follow: "Follow", gone: Sequence[str]) -> "Follow":
    """A source whose claims these are no more."""
    return follow._replace(said=tuple(each for each in follow.said if each.prediction_id not in gone)) if gone else follow


class View:
    def __init__(self) -> None:
        self._store: Store | None = None
        self._rows: dict[str, dict[int, int]] = {}
        self._free: list[int] = []
        self._follows: dict[str, Follow] = {}
        self._waiting: OrderedDict[str, list[_Waiting]] = OrderedDict()
        self._note: Note | None = None

    def __deepcopy__(self, memory: dict[int, Any]) -> "View":
        """A copy of a state is made to compare facts; the view is no part of that."""
        return self

    # --- looking ----------------------------------------------------------------------------------------------------

    def follow_of(self, source: str) -> "Follow":
        self._catch_up(source)
        from core.energy.following import Follow

        return self._follows.get(source) or Follow()

    def knows(self, source: str) -> bool:
        return source in self._follows or source in self._waiting

    def row(self, source: str, stream: int) -> "Block | None":
        """One stream as it stands."""
        self._catch_up(source)
        row = self._rows.get(source, {}).get(stream)
        return None if row is None or self._store is None else self._store.view(row)

    def follow(
        self, source: str, metrics: Metrics, streams: Sequence[int], known: Known, times: Sequence[float], values: Any
    ) -> "Followed":
        """What these points would lead to; `note` it, or nothing has happened."""
        from core.energy import following

        self.drop_note()
        before = self.follow_of(source)
        new = self._place(source, streams)
        rows = self._rows.get(source, {})
        followed = following.follow(
            self._opened(),
            [rows[stream] if stream in rows else new[stream] for stream in streams],
            metrics,
            streams,
            known,
            before,
            times,
            values,
        )
        self._note = Note((), source, followed, None, new)
        return followed

    def promise(self, source: str, metrics: Metrics, promise: Promise) -> "Said":
        """The claim about a source, with the points that were just followed and are not taken over yet."""
        note = self._note if self._note is not None and self._note.source == source else None
        followed = note.followed if note is not None else None
        rows = {**self._rows.get(source, {}), **(note.new_rows if note is not None else {})}
        return self._promise(followed.after if followed is not None else self.follow_of(source), rows, metrics, promise, followed)

    def _promise(
        self, follow: "Follow", rows: Mapping[int, int], metrics: Metrics, promise: Promise, followed: "Followed | None" = None
    ) -> "Said":
        from core.energy import following

        place = following.power_stream(follow, metrics)
        power = following.as_it_will_be(self._opened(), followed, rows[place]) if place in rows else None
        return following.said(follow, power, metrics[place][1] if place in rows else "W", *promise)

    def note(self, points: Sequence[Points], said: "Said | None") -> None:
        """The event that will say so, and the claim that goes with it."""
        assert self._note is not None
        self._note = self._note._replace(points=tuple(points), said=said)

    def alarms(self) -> tuple[int, int]:
        """Points of all streams by ticks of their source, and shifts that were seen in them."""
        for source in list(self._waiting):
            self._catch_up(source)
        follows = self._follows.values()
        return sum(each.ticks * max(len(each.alerts), 1) for each in follows), sum(each.alarms for each in follows)

    # --- taking over ------------------------------------------------------------------------------------------------

    def take(
        self, source: str, points: Points, metrics: Metrics, known: Known, promise: Promise | None, gone: Sequence[str]
    ) -> None:
        """The log has these points now, and the claim that was made with them, for which others have gone."""
        note = self._note
        if note is not None and any(points is each for each in note.points):
            if points is note.points[0]:
                self._adopt(note)
            if gone:
                self._follows[source] = without(self._follows[source], gone)
            if points is note.points[-1]:
                self._note = None
            return
        self.drop_note()
        waiting = self._waiting.setdefault(source, [])
        waiting.append(_Waiting(points, tuple(metrics), known, promise, gone))
        if len(waiting) >= WAITING_MAX:
            self._catch_up(source)

    def take_promise(self, source: str, metrics: Metrics, promise: Promise, gone: Sequence[str]) -> None:
        """The log has a claim that was made without points."""
        self.drop_note()
        follow = self.follow_of(source)
        said = self._promise(follow, self._rows.get(source, {}), metrics, promise)
        self._follows[source] = without(follow._replace(said=(*follow.said, said)), gone)

    def settle(self, source: str, outcomes: Iterable[tuple[str, float, float]], open_ids: Iterable[str]) -> None:
        """Claims were met: prediction, energy and entropy. Those that are not open any more are forgotten."""
        from core.energy import following

        follow = self.follow_of(source)
        for prediction_id, energy, entropy in outcomes:
            follow = following.settled(follow, prediction_id, energy, entropy)
        kept = frozenset(open_ids)
        self._follows[source] = follow._replace(said=tuple(each for each in follow.said if each.prediction_id in kept))

    def forget(self, source: str) -> None:
        """This source is followed no more."""
        self.drop_note()
        self._waiting.pop(source, None)
        self._follows.pop(source, None)
        for row in self._rows.pop(source, {}).values():
            self._opened().clear(row)
            self._free.append(row)

    def _adopt(self, note: Note) -> None:
        from core.energy import columns

        assert note.followed is not None
        self._rows.setdefault(note.source, {}).update(note.new_rows)
        columns.adopt(self._opened(), note.followed.advanced)
        after = note.followed.after
        self._follows[note.source] = after if note.said is None else after._replace(said=(*after.said, note.said))

    def drop_note(self) -> None:
        """What was only tried leaves nothing behind."""
        if self._note is not None:
            self._free += self._note.new_rows.values()
            self._note = None

    def _catch_up(self, source: str) -> None:
        waiting = self._waiting.pop(source, None)
        for each in waiting or ():
            self._follow_waiting(source, each)

    def _follow_waiting(self, source: str, waiting: _Waiting) -> None:
        import numpy as np

        from core.energy import columns, following

        points = waiting.points
        times = [moment / 1e6 for moment in packed.times(points.times)]
        values = np.array(packed.values(points.values), np.float64)
        if not len(points.streams) or len(values) != len(times) * len(points.streams):
            return
        rows = self._rows.setdefault(source, {})
        rows.update(self._place(source, points.streams))
        followed = following.follow(
            self._opened(),
            [rows[stream] for stream in points.streams],
            waiting.metrics,
            points.streams,
            waiting.known,
            self._follows.get(source) or following.Follow(),
            times,
            values.reshape(len(times), len(points.streams)),
        )
        columns.adopt(self._opened(), followed.advanced)
        after = followed.after
        if waiting.promise is not None:
            said = self._promise(after, rows, waiting.metrics, waiting.promise)
            after = after._replace(said=(*after.said, said))
        self._follows[source] = without(after, waiting.gone)

    def _opened(self) -> "Store":
        if self._store is None:
            from core.energy.layout import Store

            self._store = Store()
        return self._store

    def _place(self, source: str, streams: Sequence[int]) -> dict[int, int]:
        """Rows for those streams that have none yet."""
        known = self._rows.get(source, {})
        missing = [stream for stream in streams if stream not in known]
        return {stream: self._free.pop() if self._free else self._opened().add() for stream in missing}

    # --- keeping ----------------------------------------------------------------------------------------------------

    def dump(self) -> bytes:
        """Everything, for a file beside a snapshot; nothing where nothing was ever followed."""
        self.drop_note()
        for source in list(self._waiting):
            self._catch_up(source)
        if self._store is None:
            return b""
        pack = msgspec.msgpack.encode
        sources = [_Row(source, self._rows.get(source, {}), pack(follow)) for source, follow in self._follows.items()]
        return pack(_Dump(FORMAT, pack(self._store.dump()), self._free, sources))

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
        except (msgspec.MsgspecError, ValueError, TypeError, KeyError):
            return
        if store is not None:
            self._store, self._free, self._follows = store, kept.free, follows
            self._rows = {each.source: each.rows for each in kept.sources}
