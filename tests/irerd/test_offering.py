"""What a push asks the far end about, and in which order its steps are confirmed."""

from types import SimpleNamespace
from typing import Any

import pytest
import trio

from core.cache import ENGINE
from core.cache.commands import Pushed, SetCheckpoint
from core.cache.sync import Leaf, changes_since
from irerd.couch import replicate
from irerd.couch.database import Changed, Checkpoint, Page, _Rev
from irerd.couch.failures import Failed
from irerd.couch.replicate import Replication
from tests.core.engine_loop import EngineLoop


class There:
    def __init__(self, loop: EngineLoop) -> None:
        self.loop = loop
        self.asked: list[set[str]] = []
        self.sent: list[set[str]] = []
        self.fail_at = 0
        self.listed = 0
        self.rows = 1

    async def revs_diff(self, asked: dict[str, list[str]]) -> dict[str, list[str]]:
        self.asked.append(set(asked))
        return {}

    async def changes(self, since: int, limit: int) -> Page:
        self.listed += 1
        [change] = changes_since(self.loop.state, -1, 1)
        return Page([Changed(change.key, [_Rev(rev) for rev in change.revs])] * min(self.rows, limit), since + 1, True)

    async def bulk_docs(self, keys: Any) -> list[Any]:
        await trio.sleep(1)
        if len(self.sent) + 1 == self.fail_at:
            raise OSError
        self.sent.append(keys)
        return []

    async def record(self, checkpoint: Checkpoint, session: str, position: int, counts: Any) -> Checkpoint:
        return SimpleNamespace(knows=lambda place: place == position)  # type: ignore[return-value]


class Here:
    def __init__(self, loop: EngineLoop) -> None:
        self.loop = loop
        self.given: list[Any] = []

    @property
    def cache(self) -> Any:
        return self.loop.state

    @property
    def end(self) -> int:
        return len(self.loop.records)

    async def settled(self) -> None: ...

    async def documents(self, leaves: list[Leaf]) -> set[str]:
        return {leaf.key for leaf in leaves}

    async def give(self, command: Any) -> None:
        await trio.sleep(2)
        self.given.append(command)
        if isinstance(command, Pushed):
            self.loop.ask("pushed", command)


def replication(loop: EngineLoop, step: int) -> tuple[Any, Here, There]:
    here, there = Here(loop), There(loop)
    made: Any = Replication(here, there, "far", "ledger", step, lambda: "id")  # type: ignore[arg-type]
    made._push = made._pull = SimpleNamespace(knows=lambda place: False)
    return made, here, there


async def test_only_what_a_far_end_may_have_is_asked_about(autojump_clock: Any) -> None:
    loop = EngineLoop(ENGINE)
    for key in "abcdef":
        loop.ask("set", {"key": key, "value": key})
    made, _, there = replication(loop, 2)
    await made.push_all()
    assert there.asked == [] and there.sent == [{"a", "b"}, {"c", "d"}, {"e", "f"}]
    assert not len(loop.state.queue)
    loop.ask("set", {"key": "a", "value": 2})
    loop.ask("set", {"key": "new", "value": 2})
    await made.push_all()
    assert there.asked == [{"a"}] and there.sent[3:] == [{"new"}], "this far end says that it has a"


async def test_a_step_is_confirmed_while_the_next_is_sent_and_none_before_it_is_there(autojump_clock: Any) -> None:
    loop = EngineLoop(ENGINE)
    for key in "abcdef":
        loop.ask("set", {"key": key, "value": key})
    made, here, there = replication(loop, 2)
    there.fail_at = 3
    began = trio.current_time()
    with pytest.raises(OSError):
        await made.push_all()
    assert trio.current_time() - began == 1 + 2 + 2, "the first alone; then each beside the one before"
    assert [[sent.key for sent in each.documents] for each in here.given if isinstance(each, Pushed)] == [["a", "b"], ["c", "d"]]
    assert made.pushed_seq == 3 and [key for _, key in loop.state.queue.after(-1)] == ["e", "f"]
    assert not any(isinstance(each, SetCheckpoint) for each in here.given), "too few steps to be remembered"


@pytest.mark.parametrize(("rows", "lists"), [(1, 101), (10_000, 201)])
async def test_a_list_of_changes_that_never_ends_ends_the_sync(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch, rows: int, lists: int
) -> None:
    """A far end that makes up a new sequence for each question."""
    monkeypatch.setattr(replicate, "VAIN_ROWS_MAX", 200 * 8)
    loop = EngineLoop(ENGINE)
    loop.ask("set", {"key": "a", "value": 1})
    made, _, there = replication(loop, 2)
    there.rows = rows
    with made.seldom(), pytest.raises(Failed, match="does not end") as failed:
        await made._pull_all()
    assert (failed.value.code, failed.value.transient, there.listed) == ("bad-answer", False, lists)
