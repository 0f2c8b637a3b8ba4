"""What irerd recorded goes out: the log is the queue, and a saved cursor says how far the broker has it.

The cursor is saved after the broker's word, never before, so a bridge that dies sends a few events again, each with the id it had.
"""

import base64
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trio

from irerctl.aio import Client, Error, Stream
from irerctl.bus.broker import Broker, NotTaken, Outgoing, TooLarge
from irerctl.bus.counts import Counts, write_whole
from irerctl.bus.desk import pause_s
from irerctl.bus.settings import Out
from irerctl.bus.topics import fill
from irerctl.session import Failure

LOG = logging.getLogger("irerctl.bus")
BATCH_MAX = 64
DEAD_BYTES = 1_024
"""So much of an event that is too large goes with its reason, which is to be small enough; the log has it whole."""
QUIET_S = 1.0
"""How often the cursor is saved where nothing goes out."""
FIRST_S = 0.02
ENGINES = {"energy": "eil"}
"""To follow one engine spares the daemon the reading of all other logs."""
KEYS = ("source", "owner")

Item = tuple[Mapping[str, Any], str]


class Follower:
    """Events of one type, from the log to one topic."""

    def __init__(self, rule: Out, bridge: str, folder: Path, broker: Broker, counts: Counts, dead_topic: str) -> None:
        self._rule = rule
        self._dead_topic = dead_topic
        self._bridge = bridge
        self._file = folder / f"{rule.type}.cursor"
        self._broker = broker
        self._counts = counts
        self._saved = self._file.read_text().strip() if self._file.exists() else ""
        self._failures = 0
        self._told: trio.TaskStatus[None] | None = None

    async def run(self, client: Client, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled. Started once there is a cursor to come back to."""
        self._told = task_status
        self._tell()
        while True:
            params: dict[str, Any] = {"type": self._rule.type}
            if engine := ENGINES.get(self._rule.type.partition(".")[0]):
                params["engine"] = engine
            if self._saved:
                params["since"] = self._saved
            stream = client.stream("system.watch", params)
            try:
                async with stream:
                    await self._carry(stream)
            except Error as error:
                await self._after(error)

    def _tell(self) -> None:
        """That there is a cursor, once."""
        if self._saved and self._told is not None:
            self._told.started()
            self._told = None

    async def _after(self, error: Error) -> None:
        self._counts.daemon = f"{error.code}: {error.detail or error.title}"
        if error.code in ("compacted", "out-of-range"):
            # What lies between is gone from the log: to stop for ever would lose what comes as well.
            self._counts.gaps += 1
            self._saved = ""
            return
        if error.code == "not-found":
            text = f"[[out]]: {self._rule.type} is no event of this irerd: {error.detail or error.title}."
            raise Failure("invalid-argument", text, "All types: docs/reference/events.md")
        if error.code == "invalid-argument":
            text = f"{self._file} is no cursor of this irerd: {error.detail or error.title}."
            raise Failure("invalid-argument", text, "Remove that file: what comes from then on goes out")
        self._failures += 1
        await trio.sleep(pause_s(self._failures, error.retry_ms))

    async def _carry(self, stream: Stream) -> None:
        send, receive = trio.open_memory_channel[Item](BATCH_MAX)
        failures: list[Error] = []
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                try:
                    async for item in stream:
                        assert stream.cursor is not None
                        await send.send((item, stream.cursor))
                except Error as error:
                    failures.append(error)
                send.close()

            nursery.start_soon(read)
            while True:
                items: list[Item] = []
                with trio.move_on_after(QUIET_S if self._saved else FIRST_S):
                    try:
                        items.append(await receive.receive())
                    except trio.EndOfChannel:
                        break
                if not items:
                    if receive.statistics().current_buffer_used:
                        continue
                    await self._save(stream.cursor)  # nothing is on its way: all before this cursor was of no concern
                    if self._saved:
                        self._counts.daemon = "up"
                    continue
                while len(items) < BATCH_MAX:
                    try:
                        items.append(receive.receive_nowait())
                    except (trio.WouldBlock, trio.EndOfChannel):
                        break
                published = await self._publish([self._event(item) for item, _ in items])
                await self._save(items[-1][1])
                self._counts.published += published
                self._failures = 0
        if failures:
            raise failures[0]

    async def _publish(self, events: list[Outgoing]) -> int:
        """Answers how many the broker has now: all but those that are too large for it."""
        failures = 0
        while events:
            try:
                await self._broker.publish(events)
            except TooLarge as refused:
                await self._put_aside(refused.which, str(refused))
                events = [each for each in events if each is not refused.which]
            except NotTaken as refused:
                failures += 1
                self._counts.not_taken += 1
                self._counts.broker = f"it takes no {self._rule.type} at {events[0].topic}: {refused}"
                await trio.sleep(pause_s(failures + 20, None))
            else:
                break
        return len(events)

    async def _put_aside(self, event: Outgoing, why: str) -> None:
        """Sent again it would be refused again, and nothing behind it would ever go out."""
        self._counts.dead += 1
        self._counts.not_taken += 1
        LOG.warning("put aside: %s is too large for %s (%d bytes): %s", event.id, event.topic, len(event.payload), why)
        body = {
            "reason": "too-large",
            "detail": why,
            "topic": event.topic,
            **{name: value for name, value in (("id", event.id), ("key", event.key)) if value},
            "payload": base64.b64encode(event.payload[:DEAD_BYTES]).decode(),
            "bytes": len(event.payload),
        }
        letter = Outgoing(self._dead_topic, json.dumps(body, separators=(",", ":")).encode(), event.key, event.id)
        try:
            await self._broker.publish([letter])
        except NotTaken as refused:
            self._counts.not_taken += 1
            LOG.warning("the broker does not take what goes to %s: %s", self._dead_topic, refused)

    async def _save(self, cursor: str | None) -> None:
        if cursor is not None and cursor != self._saved:
            await trio.to_thread.run_sync(lambda: write_whole(self._file, cursor + "\n", durable=True))
            self._saved = cursor
            self._tell()

    def _event(self, item: Mapping[str, Any]) -> Outgoing:
        data: Mapping[str, Any] = item["data"]
        names = {name: value for name, value in data.items() if isinstance(value, str)}
        key = next((names[each] for each in KEYS if each in names), None)
        id = f"{item['log']}:{item['seq']}"
        event = {
            "specversion": "1.0",
            "id": id,
            "source": f"irer/{self._bridge}",
            "type": f"irer.{item['type']}",
            "time": item["time"],
            "datacontenttype": "application/json",
            **({"subject": key} if key else {}),
            "data": data,
        }
        return Outgoing(fill(self._rule.topic, names), json.dumps(event, separators=(",", ":")).encode(), key, id)
