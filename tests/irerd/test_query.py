"""`log.query` against a slow, obvious twin: whatever the pages, bounds and filters, nothing is missed, doubled or out of order."""

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import trio

from core.canonical import event_payload
from core.control.checks import ActionChecked, DecidedPage, Query
from core.control.registry import ProofRefused
from core.engine import IRER, Refused
from core.engines import ENGINES
from core.times import time_text
from core.world import World
from irerd import ports
from irerd.ports import Ports
from state.seal import Record

DAY_US = 86_400_000_000
START_US = 1_767_225_600_000_000
WORLD = World(ENGINES)


class History:
    """A `gate_log` in memory, of judgements among other records, beside a port that asks nothing else of its daemon."""

    def __init__(self, seed: int, count: int, first_seq: int = 0, steps_us: tuple[int, ...] = (0, 1_000_000)) -> None:
        self.random, self.time_us, self.looked = random.Random(seed), START_US, 0
        self.records: list[Any] = [self._record(seq, steps_us) for seq in range(first_seq, first_seq + count)]
        self.first_seq = first_seq
        self.port = Ports.__new__(Ports)
        self.port.readers = trio.CapacityLimiter(1)
        self.port._daemon = SimpleNamespace(  # type: ignore[assignment]
            damage={},
            durable_seq=lambda log: first_seq + count - 1,
            log=lambda log: SimpleNamespace(first_seq=first_seq),
            host=SimpleNamespace(offload=self._offload),
            dispatch=SimpleNamespace(world=WORLD, stored=self._stored),
        )

    def _record(self, seq: int, steps_us: tuple[int, ...]) -> Any:
        self.time_us += self.random.choice(steps_us)
        engine_id, status = self.random.choice("ab"), self.random.choice(["allowed", "denied"])
        event: Any = ActionChecked(f"r-{seq}", engine_id, self.random.choice("pq"), "x", status, "denied", "default")
        if self.random.random() < 0.4:
            event = ProofRefused(engine_id, "unknown")
        fields = {"seq": seq, "event_type": event.event_type, "payload": event_payload(event), "time_us": self.time_us}
        return SimpleNamespace(**fields, actor="uid:1", event=event)

    async def _offload(self, work: Callable[..., Any], *args: Any) -> Any:
        return work(*args)

    def _stored(self, log: str, first: int, last: int) -> list[Record]:
        assert log == "gate_log" and self.first_seq <= first <= last
        self.looked += last - first + 1
        return self.records[first - self.first_seq : last - self.first_seq + 1]

    async def all(self, **asked: Any) -> list[int]:
        """Page after page to the last: the places of what was found."""
        found: list[int] = []
        after: str | None = None
        for _ in range(len(self.records) + 2):
            self.looked = 0
            params = msgspec.convert({**asked, **({"after": after} if after else {})}, Query)
            page: DecidedPage = await self.port.query(params, IRER, None)  # type: ignore[arg-type]
            assert len(page.records) <= asked["limit"] and self.looked < ports.QUERY_RECORDS_MAX + ports.CHUNK_RECORDS
            found += [record.seq for record in page.records]
            after = page.next
            if after is None:
                return found
        raise AssertionError("the pages have no end")

    def naive(self, since_us: int = 0, **asked: Any) -> list[int]:
        fits = [
            record.seq
            for record in self.records
            if isinstance(record.event, ActionChecked)
            and record.time_us >= since_us
            and all(getattr(record.event, name) == value for name, value in asked.items())
        ]
        return fits[::-1]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "CHUNK_RECORDS", 7)
    monkeypatch.setattr(ports, "QUERY_RECORDS_MAX", 20)


FILTERS = [{}, {"engine_id": "a"}, {"platform": "q", "status": "denied"}, {"engine_id": "nobody"}]


@pytest.mark.parametrize("asked", FILTERS, ids=str)
async def test_pages_together_hold_all_that_fits_newest_first(asked: dict[str, Any]) -> None:
    for seed, count in enumerate([0, 1, 6, 7, 8, 20, 21, 60, 61]):
        for first_seq in (0, 5):
            for limit in (1, 3, 7, 1000):
                history = History(seed, count, first_seq)
                assert await history.all(limit=limit, **asked) == history.naive(**asked)


@pytest.mark.parametrize("steps_us", [(0, 1_000_000), (-DAY_US // 40, 0, 1_000_000), (DAY_US, 0)], ids=str)
async def test_since_finds_all_that_is_not_older_though_the_clock_stepped_back(steps_us: tuple[int, ...]) -> None:
    for seed in range(5):
        history = History(seed, 60, 0, steps_us)
        for place in (0, 20, 59):
            since_us = history.records[place].time_us
            assert await history.all(limit=5, since=time_text(since_us)) == history.naive(since_us)


async def test_since_ends_the_search_where_everything_is_older_by_far() -> None:
    history = History(1, 60, 0, (DAY_US,))
    page = await history.port.query(Query(since=time_text(history.time_us)), IRER, None)  # type: ignore[arg-type]
    assert page.next is None and history.looked == 7


async def test_a_log_that_did_not_verify_answers_nothing() -> None:
    history = History(1, 3)
    history.port._daemon.damage["gate_log"] = None  # type: ignore[index,assignment]
    with pytest.raises(Refused) as error:
        await history.port.query(Query(), IRER, None)  # type: ignore[arg-type]
    assert error.value.code == "data-loss"
