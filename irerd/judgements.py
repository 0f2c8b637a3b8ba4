"""What is told about judgements on record: why one came out as it did, and which of them a change of the rules would turn.

Reads the log backwards from what is on disk, a chunk at a time and off the loop, and judges off it; writes nothing.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from core.control.checks import ActionChecked, Decided
from core.control.diff import JUDGEMENTS_DEFAULT, Changes, Diff, Tally, held, proposed
from core.control.explain import Explain, Explanation, asked, explain, explain_recorded, teller
from core.control.model import Control
from core.engine import Actor, Refused
from core.times import time_text, time_us
from irerd.session import Stream
from state.seal import Record

if TYPE_CHECKING:
    from irerd.daemon import Daemon

GATE_LOG = "gate_log"
CHUNK_RECORDS = 256
RECORDS_MAX = 100_000
"""Records of `gate_log` that one answer looks through."""
CLOCK_STEP_US_MAX = 86_400_000_000
"""Wall time may step back: a record older by more than this than what is asked for ends a search."""

Taken = Callable[[Record], bool]
"""Looks at a record; True ends the search."""


class JudgementPorts:
    def __init__(self, daemon: "Daemon", readers: trio.CapacityLimiter) -> None:
        self._daemon = daemon
        self._readers = readers

    @property
    def _control(self) -> Control:
        state = self._daemon.world.states["control"]
        assert isinstance(state, Control)
        return state

    async def explain(self, params: Explain, actor: Actor, stream: Stream) -> Explanation:
        action = asked(params)
        if action is not None:
            found = explain(self._control, teller(actor), action, params.scopes)
        else:
            assert params.request_id is not None
            event, row = await self._recorded(params.request_id)
            found = explain_recorded(self._control, teller(actor), event, row)
        await self._daemon.dispatch.settled()
        return found

    async def diff(self, params: Diff, actor: Actor, stream: Stream) -> Changes:
        proposed(self._control, params)  # what cannot be proposed is refused before the log is read
        since_us = _since_us(params)
        tally = Tally(params.limit or JUDGEMENTS_DEFAULT)
        more = False

        def take(record: Record) -> bool:
            nonlocal more
            if record.time_us < since_us - CLOCK_STEP_US_MAX:
                return True
            if record.event_type == ActionChecked.event_type and record.time_us >= since_us:
                if tally.is_full:
                    more = True
                    return True
                tally.add(self._event(record), record.time_us)
            return False

        complete = await self._backwards(take)
        now = held(self._control, params, tally)
        async with self._readers:
            found = await self._daemon.host.offload(tally.changes, now, proposed(now, params), complete and not more)
        await self._daemon.dispatch.settled()
        return found

    async def _recorded(self, request_id: str) -> tuple[ActionChecked, Decided]:
        told: list[tuple[ActionChecked, Decided]] = []
        written = f'"{request_id}"'.encode()

        def take(record: Record) -> bool:
            if record.event_type == ActionChecked.event_type and written in record.payload:
                event = self._event(record)
                if event.request_id == request_id:
                    told.append((event, decided(event, record)))
            return bool(told)

        whole = await self._backwards(take)
        if told:
            return told[0]
        where = "is on record any more or ever was" if whole else f"is among the latest {RECORDS_MAX:,} records of {GATE_LOG}"
        raise Refused("not-found", f"no judgement {request_id} {where}. Those there are: irerctl control log")

    def _event(self, record: Record) -> ActionChecked:
        event = self._daemon.world.event(record.event_type, record.payload)
        assert isinstance(event, ActionChecked)
        return event

    async def _backwards(self, take: Taken) -> bool:
        """Shows `take` each record from the newest on disk. Answers whether all were looked at, or no older one mattered."""
        daemon = self._daemon
        if GATE_LOG in daemon.damage:
            raise Refused("data-loss", f"{GATE_LOG} did not verify. See: irerctl audit hashchain", reason="read-only")
        last, oldest = daemon.durable_seq(GATE_LOG), daemon.log(GATE_LOG).first_seq
        least = max(oldest, last - RECORDS_MAX + 1)
        while last >= least:
            first = max(least, last - CHUNK_RECORDS + 1)
            async with self._readers:
                if await daemon.host.offload(self._chunk, first, last, take):
                    return True
            last = first - 1
        return least == oldest

    def _chunk(self, first: int, last: int, take: Taken) -> bool:
        """Runs away from the loop."""
        return any(take(record) for record in reversed(self._daemon.dispatch.stored(GATE_LOG, first, last)))


def _since_us(params: Diff) -> int:
    if params.since is None:
        return 0
    try:
        return time_us(params.since)
    except ValueError:
        text = f"since: {params.since} is no time that exists. Write it like 2026-01-31T12:00:00Z"
        raise Refused("invalid-argument", text, fields=[("since", "no time that exists")]) from None


def decided(event: ActionChecked, record: Record) -> Decided:
    return Decided(
        request_id=event.request_id,
        engine_id=event.engine_id,
        platform=event.platform,
        action_type=event.action_type,
        status=event.status,
        timestamp=time_text(record.time_us),
        reason=event.reason,
        rule=event.rule,
        actor=record.actor,
        seq=record.seq,
    )
