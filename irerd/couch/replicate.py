"""The order of a replication: what we have goes there, what they have comes here, and each step is remembered on both sides.

Steps are remembered only once what they did is confirmed: theirs by their answer, ours by our disk. So it may end anywhere, and
the next one begins where both sides remember the same place. Where they do not, because the far end was restored, emptied or
exchanged, everything is compared: that costs time and loses nothing.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from core.cache.commands import Pushed, Sent, SetCheckpoint
from core.cache.job import LEFT_OUT_MAX
from core.cache.sync import Change, Leaf, changes_since, leaf_bodies, revs_diff, waiting
from core.engine import Refused
from irerd.couch.beside import beside
from irerd.couch.database import Checkpoint, Database, Found, Page, Seq
from irerd.couch.failures import Failed, TooLarge
from irerd.couch.here import Here

PUSH_BYTES = 1_048_576
"""Of values in one request; a single larger one goes by itself."""
REV_BYTES = 40
PULL_BYTES_HIGH = 2_097_152
PULL_BYTES_LOW = 262_144
"""An answer with documents larger, or smaller, than this halves, or doubles, how many are asked for next."""
REMEMBERED_STEPS = 4
"""A place is remembered after so many steps, and at the end: to remember costs as much as a step, to compare one again little."""
PAGE_STEPS = 4
"""Steps of which their changes are listed at once: a list is small beside the documents, and mostly they are known."""
VAIN_ROWS_MAX = 20_000_000
"""Changes listed in one sync of which nothing was taken in: a real list names each document once, and ends."""
SHORT_PAGES_MAX = 100
"""Lists of which nothing was taken in and that are not full, though more is said to follow."""
NAMES_MAX = 10_000
"""Documents left out of which one is not counted twice."""

Progress = Callable[[dict[str, Any]], None]


class Tally:
    """What a sync came to so far."""

    def __init__(self) -> None:
        self.pushed = 0
        self.pulled = 0
        self.skipped = 0
        self.compared = False
        self._names: dict[str, str] = {}

    def leave_out(self, name: str, why: str) -> None:
        shown = "".join(letter if letter.isprintable() else "?" for letter in name[:200])
        if shown in self._names:
            return
        self.skipped += 1
        if len(self._names) < NAMES_MAX:
            self._names[shown] = why

    def outcome(self) -> dict[str, Any]:
        named = [{"document": name, "why": why} for name, why in list(self._names.items())[:LEFT_OUT_MAX]]
        counts = {"pushed": self.pushed, "pulled": self.pulled, "skipped": self.skipped}
        return {**counts, "left_out": named, "compared": self.compared}


class _Place(NamedTuple):
    """How far both directions have come, as it stands in our log; the cursor there as JSON, as it may be a number or a text."""

    cursor: Seq
    last_key: str
    pushed_seq: int


_NOWHERE = _Place(0, "", -1)


class Replication:
    def __init__(self, here: Here, there: Database, remote: str, ledger: str, step: int, new_id: Callable[[], str]) -> None:
        self._here = here
        self._there = there
        self._remote = remote
        self._ledger = ledger
        self._step = step
        self._new_id = new_id
        self._at = _NOWHERE
        self._remembered = _NOWHERE
        self._seldom = False
        self._steps = 0
        self._last_key = ""
        self._asked_at_once = min(step, 100)
        self._phase = "begin"
        self._push: Checkpoint
        self._pull: Checkpoint
        self.tally = Tally()
        self.progress: Progress = lambda said: None

    async def run(self) -> None:
        await self._begin()
        await self.push_all()
        await self._pull_all()
        await self._catch_up()
        await self.remember()

    @property
    def cursor(self) -> Seq:
        return self._at.cursor

    @property
    def pushed_seq(self) -> int:
        return self._at.pushed_seq

    @contextmanager
    def seldom(self) -> Iterator[None]:
        """Within this, places are remembered when `remember` is called, and not at each step."""
        self._seldom = True
        try:
            yield
        finally:
            self._seldom = False

    async def pull_some(self, page: Page) -> None:
        """Changes that came by themselves."""
        async with aclosing(self._documents(page)) as documents:
            async for found in documents:
                self._last_key = await self._take_in(found) or self._last_key
        await self._reach(self._at._replace(cursor=page.last_seq, last_key=self._last_key or self._at.last_key))
        await self._catch_up()

    def say(self, phase: str) -> None:
        self._phase = phase
        tally = self.tally
        self.progress(
            {
                "phase": phase,
                "pushed": tally.pushed,
                "pulled": tally.pulled,
                "skipped": tally.skipped,
                "waiting": len(self._here.cache.queue),
            }
        )

    # --- where to begin -----------------------------------------------------------------------------------------------

    async def _begin(self) -> None:
        self.say("begin")
        self._at = self._remembered = _NOWHERE
        self._last_key = ""
        update_seq = await self._there.update_seq()
        self._push = await self._there.checkpoint(self._name("push"))
        self._pull = await self._there.checkpoint(self._name("pull"))
        known = self._here.cache.checkpoints.get(self._remote)
        if known is None:
            self.tally.compared = True
            return
        place = _Place(msgspec.json.decode(known.cursor, type=Seq), known.last_key, known.pushed_seq)
        if (
            self._push.knows(place.pushed_seq)
            and self._pull.knows(place.cursor)
            and not _before(update_seq, place.cursor)
            and await self._remembers(place.last_key)
        ):
            self._at = self._remembered = place
        else:
            self.tally.compared = True
            self._push.forget()
            self._pull.forget()

    def _name(self, direction: str) -> str:
        said = f"irer/sync/1\0{self._ledger}\0{self._remote}\0{direction}"
        return f"irer-{direction}-{sha256(said.encode()).hexdigest()[:32]}"

    async def _remembers(self, key: str) -> bool:
        """Whether the far end still has what came from it last."""
        doc = self._here.cache.docs.get(key)
        if doc is None or doc.queued:
            return True
        return not await self._there.revs_diff({key: [leaf.text for leaf in doc.tree]})

    # --- out ----------------------------------------------------------------------------------------------------------

    async def push_all(self, *, again: bool = True) -> None:
        """Everything that changed since, up to now; and before it, `again`, what was not taken the last time."""
        end = self._here.end
        self.say("push")
        await self._here.settled()
        at = -1
        while again and self._at.pushed_seq >= 0:
            those = [change for change in waiting(self._here.cache, at, self._step) if change.seq <= self._at.pushed_seq]
            if not those:
                break
            await self._push_some(those)
            at = those[-1].seq
        at = self._at.pushed_seq
        confirm: Callable[[], Awaitable[None]] | None = None
        while changes := [change for change in changes_since(self._here.cache, at, self._step) if change.seq < end]:
            at = changes[-1].seq
            offer = partial(self._offer, changes)
            if confirm is None:
                sent = await offer()
            else:  # their disk and ours work at once
                _, sent = await beside(confirm, offer)
            confirm = partial(self._confirm, sent, at)
        if confirm is not None:
            await confirm()

    async def _confirm(self, sent: list[Sent], at: int) -> None:
        await self._pushed(sent)
        await self._reach(self._at._replace(pushed_seq=at))

    async def _push_some(self, changes: Sequence[Change]) -> None:
        await self._pushed(await self._offer(changes))

    async def _pushed(self, sent: list[Sent]) -> None:
        if sent:
            await self._here.give(Pushed(self._remote, sent))

    async def _offer(self, changes: Sequence[Change]) -> list[Sent]:
        """Send what the far end does not have of these; what it has then. Of what no far end ever had it is not even asked: should
        it be there all the same, it is sent in vain and changes nothing.
        """
        asked = {change.key: change.revs for change in changes if not change.fresh}
        absent = await self._there.revs_diff(asked) if asked else {}
        absent |= {change.key: change.revs for change in changes if change.fresh}
        refused: dict[str, set[str]] = {}
        batch: list[Leaf] = []
        size = 0
        for change in changes:
            for leaf in leaf_bodies(self._here.cache, change.key, absent.get(change.key, ())):
                weight = leaf.size + REV_BYTES * len(leaf.ids)
                if batch and size + weight > PUSH_BYTES:
                    await self._send(batch, refused)
                    batch, size = [], 0
                batch.append(leaf)
                size += weight
        if batch:
            await self._send(batch, refused)
        sent = []
        for change in changes:
            revs = [rev for rev in change.revs if rev not in refused.get(change.key, ())]
            if revs:
                sent.append(Sent(change.key, revs[:1_000]))
        self.say("push")
        return sent

    async def _send(self, leaves: Sequence[Leaf], refused: dict[str, set[str]]) -> None:
        body = await self._here.documents(leaves)
        if body is None:  # the log was tidied meanwhile, so the values stand elsewhere
            wanted = [(leaf.key, leaf.rev) for leaf in leaves]
            leaves = [leaf for key, rev in wanted for leaf in leaf_bodies(self._here.cache, key, [rev])]
            await self._send(leaves, refused)
            return
        verdicts = await self._there.bulk_docs(body)
        if isinstance(verdicts, int):
            if len(leaves) == 1:
                self._refuse(leaves, "too-large" if verdicts == 413 else "refused", refused)
                return
            half = len(leaves) // 2
            await self._send(leaves[:half], refused)
            await self._send(leaves[half:], refused)
            return
        turned_down = 0
        for verdict in verdicts:
            if verdict.error:
                those = [leaf for leaf in leaves if leaf.key == verdict.id and verdict.rev in (None, leaf.rev)]
                if not those:
                    text = "the far end refused a document without saying which. See its own log"
                    raise Failed("bad-answer", text)
                self._refuse(those, _code(verdict.error), refused)
                turned_down += len(those)
        self.tally.pushed += len(leaves) - turned_down
        self.say("push")

    def _refuse(self, leaves: Iterable[Leaf], why: str, refused: dict[str, set[str]]) -> None:
        """It stays in the queue, and is offered again at the next sync."""
        for leaf in leaves:
            refused.setdefault(leaf.key, set()).add(leaf.rev)
            self.tally.leave_out(leaf.key, why)

    # --- in -----------------------------------------------------------------------------------------------------------

    async def _pull_all(self) -> None:
        """Their disk and ours work at once: while some documents are taken in, the next ones are asked for."""
        self.say("pull")
        async with aclosing(self._coming()) as coming:
            step = await anext(coming, None)
            while step is not None:
                _, step = await beside(partial(self._take, step), partial(anext, coming, None))

    async def _coming(self) -> AsyncGenerator[Found | Page, None]:
        """Documents that we do not have, and after those of a page the page itself."""
        cursor, limit = self._at.cursor, PAGE_STEPS * self._step
        vain = short = 0
        while True:
            page, pulled = await self._there.changes(cursor, limit), self.tally.pulled
            async with aclosing(self._documents(page)) as documents:
                async for found in documents:
                    yield found
            yield page
            if not page.more:
                return
            cursor = page.last_seq
            if self.tally.pulled > pulled:
                continue
            vain, short = vain + len(page.results), short + (len(page.results) < limit)
            if vain > VAIN_ROWS_MAX or short > SHORT_PAGES_MAX:
                text = "the far end's list of changes does not end, and nothing on it is new. Is it a server of CouchDB's protocol?"
                raise Failed("bad-answer", text)

    async def _take(self, step: Found | Page) -> None:
        if isinstance(step, Found):
            self._last_key = await self._take_in(step) or self._last_key
        elif step.last_seq != self._at.cursor:
            await self._reach(self._at._replace(cursor=step.last_seq, last_key=self._last_key or self._at.last_key), PAGE_STEPS)

    async def _documents(self, page: Page) -> AsyncGenerator[Found, None]:
        """What of a page we do not have, as much at once as is well."""
        wanted: list[tuple[str, str]] = []
        for row in page.results:
            if row.id.startswith("_"):
                self.tally.leave_out(row.id, "design" if row.id.startswith("_design/") else "key")
                continue
            try:
                absent = revs_diff(self._here.cache, {row.id: row.revs}).get(row.id)
            except Refused as refused:
                self.tally.leave_out(row.id, refused.reason or "document")
                continue
            if absent is not None:
                wanted += [(row.id, rev) for rev in absent.missing]
        left: Sequence[tuple[str, str]] = wanted
        while left:
            found, left = await self._ask_for(left)
            if found is not None:
                yield found

    async def _ask_for(self, wanted: Sequence[tuple[str, str]]) -> tuple[Found | None, Sequence[tuple[str, str]]]:
        """The first of these documents, and those that are left to ask for."""
        asked, rest = wanted[: self._asked_at_once], wanted[self._asked_at_once :]
        try:
            found = await self._there.bulk_get(asked)
        except TooLarge:
            if len(asked) == 1:
                self.tally.leave_out(asked[0][0], "too-large")
                return None, rest
            self._asked_at_once = len(asked) // 2
            return None, wanted
        if found.size > PULL_BYTES_HIGH:
            self._asked_at_once = max(1, self._asked_at_once // 2)
        elif found.size < PULL_BYTES_LOW:
            self._asked_at_once = min(self._step, self._asked_at_once * 2)
        return found, rest

    async def _take_in(self, found: Found) -> str:
        """The last key of it that is ours now."""
        for id in found.gone:
            self.tally.leave_out(id, "gone")
        merged, left_out = await self._here.merge(found.documents)
        self.tally.pulled += merged
        for name, why in left_out:
            self.tally.leave_out(name, why)
        self.say("pull")
        names = {name for name, _ in left_out}
        return next((str(document["_id"]) for document in reversed(found.documents) if document["_id"] not in names), "")

    # --- remembering --------------------------------------------------------------------------------------------------

    async def _catch_up(self) -> None:
        """What was pulled needs no comparing at the next sync: all changes of ours are there, up to the first that waits."""
        cache, at = self._here.cache, self._at.pushed_seq
        first = next(iter(waiting(cache, at, 1)), None)
        reached = (first.seq if first is not None else self._here.end) - 1
        if reached > at and changes_since(cache, at, 1):
            await self._here.settled()
            await self._reach(self._at._replace(pushed_seq=reached))
        elif self._here.cache.checkpoints.get(self._remote) is None:
            await self._reach(self._at._replace(pushed_seq=max(at, 0)))

    async def _reach(self, place: _Place, steps: int = 1) -> None:
        """Both directions have come so far: what it stands for is confirmed."""
        self._at = place
        self._steps += steps
        if not self._seldom and self._steps >= REMEMBERED_STEPS:
            self._steps = 0
            await self.remember()

    async def remember(self) -> None:
        """There first: what stands only there is in its history, and what stood only here would look like a restored far end."""
        place, before = self._at, self._remembered
        if place == before:
            return
        session = self._new_id()
        counts = {"docs_written": self.tally.pushed, "docs_read": self.tally.pulled, "doc_write_failures": self.tally.skipped}
        if place.pushed_seq != before.pushed_seq or not self._push.knows(max(place.pushed_seq, 0)):
            self._push = await self._there.record(self._push, session, max(place.pushed_seq, 0), counts)
        if place.cursor != before.cursor or not self._pull.knows(place.cursor):
            self._pull = await self._there.record(self._pull, session, place.cursor, counts)
        cursor = msgspec.json.encode(place.cursor).decode()
        await self._here.give(SetCheckpoint(self._remote, cursor, place.last_key, max(place.pushed_seq, 0)))
        self._remembered = place


def _before(one: Seq, other: Seq) -> bool:
    """Whether a sequence is surely earlier than another: those of one database begin with a number that only grows."""
    first, second = _count(one), _count(other)
    return first is not None and second is not None and first < second


def _count(seq: Seq) -> int | None:
    if isinstance(seq, int):
        return seq
    head = seq.partition("-")[0]
    return int(head) if head.isascii() and head.isdigit() and len(head) < 19 else None


def _code(error: str) -> str:
    """The far end's word for why, as far as it can be a code."""
    kept = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "_-.") else "-" for letter in error.lower())[:64]
    return kept if kept[:1].isalnum() else "refused"
