"""One drill from its first to its last moment, and the verdict: of each operation whether it was answered rightly and survived."""

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from core.cache import ENGINE
from core.cache.commands import Delete, Set, SetOnline
from core.cache.drill import LOST_MAX
from core.cache.form import canonical
from core.engine import Engine, Place, Refused
from irerd.drill.caller import Accepted, Caller, Operation, key_names, planned, revs_of
from irerd.drill.side import Clock, Side
from irerd.drill.tie import Cut, Tie
from state.recover import Corrupt
from state.verify import verify_logs

START_US = 1_767_225_600_000_000
HOUR_US = 3_600_000_000
GROUP_MAX = 48
"""Commands that one sync of the log may cover."""
KILLS_MAX = 8
KILL_EVERY = 100
"""Operations for one kill of the near side while it is offline, up to so many kills."""
FAR_SHARE = 4
"""The far end is edited once for so many operations."""
CUT_EVERY = 10
"""A connection is cut at one in so many of the moments at which it may be."""
KILL_SHARE = 0.1
"""Of the cuts, those that are a kill of the near side."""
TRIES_MAX = 200
ROUNDS_MAX = 20
TOLD_EVERY = 500

Tell = Callable[[dict[str, Any]], None]


def _quiet(said: dict[str, Any]) -> None:
    return None


class Rehearsal:
    def __init__(
        self,
        place: Path,
        hours: int,
        operations: int,
        seed: int,
        *,
        engine: Engine = ENGINE,
        near: type[Side] = Side,
        tie: type[Tie] = Tie,
        tell: Tell = _quiet,
    ) -> None:
        self._chance = Random(seed)
        self._clock = Clock(START_US)
        self._end_us = START_US + hours * HOUR_US
        self._operations = operations
        self._tell = tell
        self._near = near(place / "near", engine, self._clock, self._chance)
        self._far = Side(place / "far", ENGINE, self._clock, self._chance)
        self._tie = tie(self._near, self._far)
        self._caller = Caller(self._near, self._clock, operations)
        self._cuts = 0
        self._moments = 0
        self._first_cut = self._chance.randint(1, 4)

    def run(self) -> dict[str, Any]:
        conflicts, equal = 0, False
        try:
            self._meet()
            self._part()
            self._join()
            conflicts = self._near.cache.conflicted_count
            equal = self._judge()
        except (Corrupt, Refused, LookupError):  # a log that cannot be read back, or an engine that contradicts itself
            self._give_up()
        finally:
            self._near.close()
            self._far.close()
        lost = [number for number, fate in enumerate(self._caller.fates) if fate]
        return {
            "attempted": self._operations,
            "survived": self._operations - len(lost),
            "conflicts": conflicts,
            "kills": self._near.kills,
            "cuts": self._cuts,
            "equal": equal,
            "chains": "ok" if self._verified() else "broken",
            "lost": [self._told(number) for number in lost[:LOST_MAX]],
        }

    # --- before, while, after -----------------------------------------------------------------------------------------

    def _meet(self) -> None:
        """What both sides have when the network goes."""
        self._keys = key_names(self._operations)
        for key in self._keys[::2]:
            self._caller.ask(-1, Operation(self._clock.now_us, "set", key, {"before": key}))
        self._caller.commit()
        self._tie.run()
        self._near.give("set_online", SetOnline(False))

    def _part(self) -> None:
        """Hours in which each side knows nothing of the other."""
        start_us = self._clock.now_us
        mine = planned(self._chance, self._keys, self._operations, start_us, self._end_us)
        theirs = planned(self._chance, self._keys, self._operations // FAR_SHARE, start_us, self._end_us)
        kills = set(self._chance.sample(range(self._operations), min(KILLS_MAX, 1 + self._operations // KILL_EVERY)))
        at = 0
        while at < len(mine):
            group = mine[at : at + self._chance.randint(1, GROUP_MAX)]
            while theirs and theirs[0].at_us <= group[0].at_us:
                self._edit_there(theirs.pop(0))
            self._far.commit()
            for number, operation in enumerate(group, at):
                self._caller.ask(number, operation)
            if struck := kills.intersection(range(at, at + len(group))):
                kills -= struck
                self._caller.kill()
                continue  # nobody was told that these were done, so they are asked again
            self._caller.commit()
            if at // TOLD_EVERY != (at + len(group)) // TOLD_EVERY:
                self._tell({"phase": "offline", "operations": at + len(group), "of": self._operations})
            at += len(group)
        for operation in theirs:
            self._edit_there(operation)
        self._far.commit()
        self._clock.reach(self._end_us)

    def _edit_there(self, operation: Operation) -> None:
        self._clock.reach(operation.at_us)
        self._far.expire()
        try:
            if operation.kind == "set":
                self._far.ask("set", Set(operation.key, operation.value, operation.ttl_s))
            elif operation.kind == "delete":
                self._far.ask("delete", Delete(operation.key))
        except Refused:
            return  # there is nothing to delete

    def _join(self) -> None:
        """The network is back, badly at first."""
        self._near.give("set_online", SetOnline(True))
        self._tie.risk = self._risk
        for _ in range(TRIES_MAX):
            self._tell({"phase": "sync", "waiting": len(self._near.cache.queue), "cuts": self._cuts})
            self._pass_time()
            try:
                self._tie.run()
                break
            except Cut:
                self._cuts += 1
                self._clock.now_us += self._chance.randrange(1_000_000, 60_000_000)
                if self._chance.random() < KILL_SHARE:
                    self._near.kill()
        self._tie.risk = lambda: None
        for _ in range(ROUNDS_MAX):
            moved = self._tie.moved
            self._pass_time()
            self._tie.run()
            if self._tie.moved == moved and not self._pass_time():
                return

    def _risk(self) -> None:
        """The first time soon, so that even a small drill is cut."""
        self._moments += 1
        if self._moments == self._first_cut or self._chance.randrange(CUT_EVERY) == 0:
            raise Cut

    def _pass_time(self) -> bool:
        """Whether anything came to its end."""
        here, there = self._near.expire(), self._far.expire()
        self._caller.passed(here)
        self._caller.commit()
        self._far.commit()
        return bool(here or there)

    # --- the verdict --------------------------------------------------------------------------------------------------

    def _judge(self) -> bool:
        """Give each write that is not as it should be its fate; answer whether both sides are equal."""
        self._tell({"phase": "compare", "of": self._operations})
        self._near.kill()  # what is compared is what the disk says
        near, far = dict(_leaves(self._near)), dict(_leaves(self._far))
        differing = {key for key in near.keys() | far.keys() if near.get(key) != far.get(key)}
        here: dict[str, set[str]] = {}
        there: dict[str, set[str]] = {}
        for each in self._caller.accepted:
            if each.key not in here:
                here[each.key], there[each.key] = revs_of(self._near, each.key), revs_of(self._far, each.key)
            if not self._caller.fates[each.number] and each.life not in self._caller.ended:
                self._caller.fates[each.number] = _fate(each, here[each.key], there[each.key], near, differing)
        return not differing

    def _give_up(self) -> None:
        """Nothing that was not counted as lost by now can be shown to be there."""
        self._caller.fates = [fate or "forgotten" for fate in self._caller.fates]

    def _told(self, number: int) -> dict[str, Any]:
        caller = self._caller
        key = next((each.key for each in caller.accepted if each.number == number), f"operation-{number}")
        return {"key": key, "rev": caller.revs[number], "why": caller.fates[number]}

    def _verified(self) -> bool:
        self._tell({"phase": "verify", "of": self._operations})
        ends = [row for side in (self._near, self._far) for row in verify_logs(side.place, workers=1) if row["done"]]
        return len(ends) == 2 and all(row["ok"] for row in ends)


Leaves = list[tuple[str, int, bytes | None]]


def _leaves(side: Side) -> Iterator[tuple[str, Leaves]]:
    """Every document with its leaves, the winner first: what they say, and when they end.

    Read from the documents themselves, not with what the sync reads them with: a fault there must not hide itself.
    """
    for key, doc in side.cache.docs.items():
        leaves: Leaves = []
        for leaf in doc.tree:
            body = doc.bodies.get(leaf.text)
            leaves.append((leaf.text, 0, None) if body is None else (leaf.text, body.expires_us, _said(side, key, body.at)))
        yield key, leaves


def _said(side: Side, key: str, at: int) -> bytes:
    try:
        return side.value(Place(key, at))
    except LookupError:
        return b""


def _fate(each: Accepted, here: set[str], there: set[str], near: dict[str, Leaves], differing: set[str]) -> str:
    if each.rev not in here:
        return "missing-here"
    if each.rev not in there:
        return "missing-there"
    if each.key in differing:
        return "differs"
    said = next((leaf[2] for leaf in near[each.key] if leaf[0] == each.rev), None)
    return "" if said is None or said == canonical(each.value) else "wrong-value"
