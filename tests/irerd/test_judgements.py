"""What is read back of judgements: the one asked for is found wherever it stands, and never more is looked at than was allowed."""

from typing import Any

import msgspec
import pytest

from core.control.diff import Diff, ProposedPermissions
from core.control.explain import Explain
from core.control.model import Control, Flag, Platform, Registered
from core.engine import IRER, Refused
from core.times import time_text
from irerd import judgements
from irerd.judgements import JudgementPorts
from tests.irerd.test_query import History

NOTHING: Any = None


def port(history: History) -> JudgementPorts:
    made = JudgementPorts(history.port._daemon, history.port.readers)
    control = Control(engines={"a": Registered("a", "", {"p": frozenset("x")}, 0, "uid:0")}, platforms={"p": Platform({"x": ()})})
    history.port._daemon.world = _World(history.port._daemon.dispatch.world, control)  # type: ignore[assignment]

    async def settled() -> None:
        history.settled = True  # type: ignore[attr-defined]

    history.port._daemon.dispatch.settled = settled  # type: ignore[method-assign]
    return made


class _World:
    def __init__(self, world: Any, control: Control) -> None:
        self.event, self.states = world.event, {"control": control}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judgements, "CHUNK_RECORDS", 7)
    monkeypatch.setattr(judgements, "RECORDS_MAX", 40)


async def test_a_judgement_is_found_by_its_request_among_the_latest_and_one_that_is_older_is_not() -> None:
    history = History(1, 60, first_seq=5)
    found = 0
    for record in history.records:
        if record.event_type != "action.checked":
            continue
        asked = Explain(request_id=record.event.request_id)
        if record.seq < 65 - 40:
            with pytest.raises(Refused, match="among the latest 40 records") as refused:
                await port(history).explain(asked, IRER, NOTHING)
            assert refused.value.code == "not-found"
            continue
        told = await port(history).explain(asked, IRER, NOTHING)
        assert told.recorded is not None and told.now is not None
        assert (told.recorded.seq, told.recorded.actor, told.rule) == (record.seq, "uid:1", record.event.rule)
        assert history.settled, "what it was drawn from is on disk before it is told"  # type: ignore[attr-defined]
        found += 1
    assert found > 10
    with pytest.raises(Refused, match="on record any more or ever was"):
        await port(History(1, 30)).explain(Explain(request_id="r-77"), IRER, NOTHING)


@pytest.mark.parametrize("limit", [1, 5, 1000])
async def test_a_proposal_is_held_against_the_newest_judgements_and_says_whether_that_was_all(limit: int) -> None:
    history = History(3, 39)
    judged = [record for record in reversed(history.records) if record.event_type == "action.checked"]
    asked = Diff(flags={"p": False}, limit=limit)
    told = await port(history).diff(asked, IRER, NOTHING)
    looked = judged[:limit]
    assert told.looked_at == len(looked) and told.complete is (len(judged) <= limit)
    assert told.oldest_at == time_text(looked[-1].time_us) and told.newest_at == time_text(looked[0].time_us)
    allowed = sum(record.event.status == "allowed" for record in looked)
    denied = [row for row in told.changes if not row.allowed]
    assert sum(row.count for row in denied) == allowed
    assert told.would_deny == sum(row.count for row in denied if not row.already)
    exactly = await port(history).diff(Diff(flags={"p": False}, limit=len(judged)), IRER, NOTHING)
    assert exactly.complete and exactly.looked_at == len(judged)


async def test_a_change_meanwhile_changes_nothing_of_the_answer_and_judging_is_done_off_the_loop() -> None:
    """Up to 100,000 kinds are judged twice each: that is no work for the loop, and the loop goes on changing the rules."""
    history = History(3, 39)
    asked = Diff(permissions={"a": ProposedPermissions(allow={})})
    told = await port(history).diff(asked, IRER, NOTHING)
    made = port(history)
    control, offload = made._control, history.port._daemon.host.offload
    judged: list[str] = []

    async def beside(work: Any, *args: Any) -> Any:
        if getattr(work, "__name__", "") == "changes":
            judged.append("away from the loop")
            control.engines["a"].standing = "suspended"
            control.platforms["p"].status = "disabled"
            control.flags["p"] = Flag(False, 1)
        return await offload(work, *args)

    history.port._daemon.host.offload = beside
    assert await made.diff(asked, IRER, NOTHING) == told and told.changes
    assert judged == ["away from the loop"]


async def test_since_leaves_out_what_is_older_and_a_time_that_does_not_exist_is_refused() -> None:
    history = History(4, 39)
    since_us = history.records[20].time_us
    told = await port(history).diff(Diff(flags={"p": False}, since=time_text(since_us)), IRER, NOTHING)
    assert told.looked_at == sum(each.event_type == "action.checked" and each.time_us >= since_us for each in history.records)
    with pytest.raises(Refused, match="no time that exists"):
        await port(history).diff(Diff(flags={"p": False}, since="2026-13-01T00:00:00Z"), IRER, NOTHING)


async def test_a_long_log_is_looked_through_no_further_than_the_bound() -> None:
    history = History(5, 60)
    told = await port(history).diff(Diff(flags={"p": False}), IRER, NOTHING)
    assert history.looked == 40 and not told.complete


async def test_a_log_that_did_not_verify_and_a_proposal_of_nothing_are_refused_before_it_is_read() -> None:
    history = History(1, 3)
    with pytest.raises(Refused, match="nothing is proposed"):
        await port(history).diff(msgspec.convert({}, Diff), IRER, NOTHING)
    assert history.looked == 0
    history.port._daemon.damage["gate_log"] = None  # type: ignore[index,assignment]
    for call in (
        port(history).diff(Diff(flags={"p": False}), IRER, NOTHING),
        port(history).explain(Explain(request_id="r"), IRER, NOTHING),
    ):
        with pytest.raises(Refused) as refused:
            await call
        assert refused.value.code == "data-loss"
