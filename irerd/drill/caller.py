"""Who asks the cache for things while it is offline, and knows by itself what must be answered and what must still be there.

It keeps its own, much simpler idea of every key and learns nothing from the engine but the revisions that it was told.
"""

from collections.abc import Iterable, Sequence
from random import Random
from typing import Any, Literal, NamedTuple

from core.cache.commands import Delete, Set
from core.cache.events import ValueDeleted, ValueExpired, ValueSet
from core.cache.reads import Get
from core.engine import Event, Refused
from irerd.drill.side import Clock, Side

WRONG_REV = "1-00000000000000000000000000000000"
KEY_OPERATIONS = 12
"""Operations for each key, on average."""

Kind = Literal["set", "delete", "get"]
KINDS: tuple[Kind, ...] = ("set", "delete", "get")


class Operation(NamedTuple):
    at_us: int
    kind: Kind
    key: str
    value: Any = None
    ttl_s: float | None = None
    if_rev: bool | None = None
    """With the right revision, or with a wrong one; None: with none."""


class Known(NamedTuple):
    """A key, as its caller knows it."""

    rev: str
    value: Any
    live: bool
    expires_us: int
    life: int
    """Counts up where a key begins anew, after its time was over and nothing was left of it."""


class Accepted(NamedTuple):
    """A write that was acknowledged."""

    number: int
    key: str
    life: int
    rev: str
    value: Any
    live: bool


class Caller:
    def __init__(self, side: Side, clock: Clock, operations: int) -> None:
        self.side = side
        self.accepted: list[Accepted] = []
        self.fates: list[str] = ["not-asked"] * operations
        """Of each operation: empty where it went well, else why it did not."""
        self.revs: list[str] = [""] * operations
        self.ended: set[int] = set()
        """Lives that ended as their last write wanted."""
        self._clock = clock
        self._known: dict[str, Known] = {}
        self._lives = 0
        self._group: list[Accepted] = []
        self._undo: list[tuple[str, Known | None]] = []
        self._ended_of_group: list[int] = []

    # --- asking -------------------------------------------------------------------------------------------------------

    def ask(self, number: int, operation: Operation) -> None:
        """One operation. Those with a number below zero are only preparation."""
        self._clock.reach(operation.at_us)
        self.passed(self.side.expire())
        known = self._known.get(operation.key)
        there = known is not None and known.live and not 0 < known.expires_us <= self._clock.now_us
        expected = self._expected(operation, known, there)
        try:
            answered = self._put(number, operation, known)
        except Refused as refused:
            answered = refused.code
        except Exception:
            answered = "failed"
        if number >= 0:
            wrong = "refused" if expected == "ok" and operation.kind != "get" else "wrong-answer"
            self.fates[number] = "" if answered == expected else wrong

    def _expected(self, operation: Operation, known: Known | None, there: bool) -> str:
        if operation.kind != "set" and not there:
            return "not-found"
        if operation.kind == "get":
            return "ok"
        right = operation.if_rev is None or (operation.if_rev and known is not None)
        return "ok" if right else "aborted"

    def _put(self, number: int, operation: Operation, known: Known | None) -> str:
        key = operation.key
        if operation.kind == "get":
            value = self.side.look("get", Get(key)).value
            return "ok" if known is not None and value == known.value else "another-value"
        right = known.rev if known is not None and operation.if_rev else WRONG_REV
        if_rev = None if operation.if_rev is None else right
        if operation.kind == "set":
            [event] = self.side.ask("set", Set(key, operation.value, operation.ttl_s, if_rev))
            assert isinstance(event, ValueSet)
            self._learn(key, event.rev, operation.value, True, event.expires_us)
        else:
            [event] = self.side.ask("delete", Delete(key, if_rev))
            assert isinstance(event, ValueDeleted)
            self._learn(key, event.rev, None, False, 0)
        now = self._known[key]
        if number >= 0:
            self._group.append(Accepted(number, key, now.life, now.rev, now.value, now.live))
            self.revs[number] = now.rev
        return "ok"

    def _learn(self, key: str, rev: str, value: Any, live: bool, expires_us: int) -> None:
        before = self._known.get(key)
        self._undo.append((key, before))
        if before is None:
            self._lives += 1
        self._known[key] = Known(rev, value, live, expires_us, self._lives if before is None else before.life)

    def passed(self, events: Iterable[Event]) -> None:
        """What time did. A value that ends is forgotten altogether only if its own time was over."""
        for event in events:
            assert isinstance(event, ValueExpired)
            known = self._known.get(event.key)
            if known is None or known.rev != event.parent or not 0 < known.expires_us <= self._clock.now_us:
                continue  # what is missing because of it is found missing
            self._undo.append((event.key, known))
            if event.rev:
                self._known[event.key] = known._replace(rev=event.rev, value=None, live=False, expires_us=0)
            else:
                del self._known[event.key]
                self._ended_of_group.append(known.life)

    # --- acknowledged, or not -----------------------------------------------------------------------------------------

    def commit(self) -> None:
        self.side.commit()
        self.accepted += self._group
        self.ended.update(self._ended_of_group)
        self._clear()

    def kill(self) -> None:
        """What was not acknowledged is as if it had not been asked; all else must be there again."""
        self.side.kill()
        for key, before in reversed(self._undo):
            if before is None:
                self._known.pop(key, None)
            else:
                self._known[key] = before
        self._clear()
        self._compare()

    def _clear(self) -> None:
        self._group, self._undo, self._ended_of_group = [], [], []

    def _compare(self) -> None:
        cache = self.side.cache
        differing = {
            key
            for key, known in self._known.items()
            if (doc := cache.docs.get(key)) is None or doc.rev != known.rev or doc.live != known.live
        }
        if not differing:
            return
        for each in self.accepted:
            known = self._known.get(each.key)
            if (
                each.key in differing
                and known is not None
                and each.life == known.life
                and each.rev not in revs_of(self.side, each.key)
            ):
                self.fates[each.number] = "forgotten"
        for key in differing:  # so that one loss is not counted with everything that follows it
            self._relearn(key)

    def _relearn(self, key: str) -> None:
        doc = self.side.cache.docs.get(key)
        if doc is None:
            del self._known[key]
            return
        value = self.side.look("get", Get(key)).value if doc.live and not 0 < doc.expires_us <= self._clock.now_us else None
        self._known[key] = Known(doc.rev, value, doc.live, doc.expires_us, self._known[key].life)


def revs_of(side: Side, key: str) -> set[str]:
    """All revisions that this side knows of a key."""
    doc = side.cache.docs.get(key)
    if doc is None:
        return set()
    return {f"{leaf.generation - place}-{id}" for leaf in doc.tree for place, id in enumerate(leaf.ids)}


# --- what is asked ------------------------------------------------------------------------------------------------------------


def key_names(operations: int) -> list[str]:
    return [f"drill-{number:05}" for number in range(max(4, operations // KEY_OPERATIONS))]


def planned(chance: Random, keys: Sequence[str], count: int, start_us: int, end_us: int) -> list[Operation]:
    """So many operations, by time; few keys are asked for often."""
    times = sorted(chance.randrange(start_us, end_us) for _ in range(count))
    return [_operation(chance, keys, at_us, (end_us - start_us) / 1e6) for at_us in times]


def _operation(chance: Random, keys: Sequence[str], at_us: int, span_s: float) -> Operation:
    key = keys[int(len(keys) * chance.random() ** 1.5)]
    kind = chance.choices(KINDS, (65, 10, 25))[0]
    if kind == "get":
        return Operation(at_us, kind, key)
    if_rev = chance.choices((None, True, False), (70, 25, 5))[0]
    if kind == "delete":
        return Operation(at_us, kind, key, if_rev=if_rev)
    ttl_s = round(span_s * chance.choice((0.0001, 0.01, 0.2, 1.5)) + 0.001, 3) if chance.random() < 0.25 else None
    return Operation(at_us, kind, key, _value(chance), ttl_s, if_rev)


def _value(chance: Random) -> Any:
    number = chance.randrange(10**9)
    return chance.choice(
        (number, f"text {number}", None, [number, chance.random()], {"n": number, "text": "x" * chance.randrange(300)})
    )
