"""The energy map kept as tables in `views/atlas.sqlite`, for whoever asks it in SQL.

A view that may be thrown away: it is made from the facts that the log led to, whole, each time something is new, and put in place
at once, so that a reader always sees one sound file. It waits for nobody and nobody waits for it: it takes at most a fiftieth of a
core, shows nothing that is not durable, and a file that cannot be written is told in `health` and tried again.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from core.energy import atlas
from core.energy.engine import LOG
from core.energy.state import Energy
from core.engine import Actor, Check, Refused
from core.settings import EilSource
from core.times import time_text
from irerd.journal import journal
from irerd.map_tables import NAME, TEMPORARY, VERSION, Tables
from irerd.session import Stream
from irerd.views import DIRECTORY
from state.fs import Stat, make_directory

if TYPE_CHECKING:
    from irerd.daemon import Daemon

STEP_SOURCES, CHUNK_SOURCES = 8, 128
"""Taken up in one step, so that no call waits long for it; and handed over to the file at one time."""
ASIDE_S = 0.02
"""How long a step waits at most for commands that are on their way to the disk."""
REST_S, REST_SHARE = 30.0, 50.0
"""Pause after each time: so long at least, for the file is written whole each time and flash wears; and so many times what it took,
which is the only pause before a question.
"""
QUICK_S = 0.05
"""A map that is made so quickly is made for each question."""
RETRY_S = 10.0
LOOK_S = 60.0
"""How often it is looked whether the file is still the one that was put there."""
ROOM_BYTES_MIN = 67_108_864
"""Bytes that stay free: it may never be what fills the disk."""
ANSWER_BYTES_MAX = 4 << 20
QUERIES_MAX = 2
"""Questions at one time: each is a process."""


class Atlas:
    def __init__(self, daemon: "Daemon", state_dir: Path | None, on_error: Callable[[str, BaseException], object]) -> None:
        """Without a directory that SQLite can write to there are no tables."""
        self._daemon = daemon
        self._state_dir = state_dir
        self._on_error = on_error
        self.trouble = ""
        self._failed = False
        self._told: tuple[int, dict[str, EilSource]] | None = None
        """What the file says: all of the log before this record, and of the configuration."""
        self._left: Stat | None = None
        """The file, as it was put there."""
        self._took_s = 0.0
        """Of its own, without what it stepped aside for."""
        self._aside_us = 0
        self._rested_us = 0
        self._turn = trio.Lock()
        self._news = trio.Event()
        self._queries = trio.CapacityLimiter(QUERIES_MAX)

    def checks(self) -> list[Check]:
        """Nothing where nothing is wrong."""
        if self._failed:
            return [Check("atlas", "degraded", f"{NAME} cannot be kept up. Nothing else is touched; restart irerd")]
        return [Check("atlas", "degraded", self.trouble)] if self.trouble else []

    def stir(self) -> None:
        """Something may be new."""
        self._news.set()

    async def run(self) -> None:
        """Keep the file until cancelled."""
        while self._kept():
            await self.catch_up()
            await trio.sleep(RETRY_S if self.trouble else self._rest_s())
            await self._wait_news()

    def _kept(self) -> bool:
        return self._state_dir is not None and not self._failed and self._daemon.integrity(LOG) == "ok"

    def _rest_s(self) -> float:
        return max(REST_S, REST_SHARE * self._took_s)

    async def _wait_news(self) -> None:
        while self._kept():
            self._news = trio.Event()
            if self._behind() or await self._daemon.host.offload(self._spoilt):
                return
            with trio.move_on_after(LOOK_S):
                await self._news.wait()

    def _now(self) -> tuple[int, dict[str, EilSource]]:
        return self._daemon.dispatch.next_seq[LOG], self._daemon.settings.eil.sources

    def _behind(self) -> bool:
        return self._told != self._now()

    def _spoilt(self) -> bool:
        """Whether the file is no longer the one that was put there. Runs away from the loop."""
        return self._left is not None and self._daemon.host.files.stat_path(NAME) != self._left

    # --- making it ----------------------------------------------------------------------------------------------------------

    async def catch_up(self, always: bool = False) -> None:
        """Make it anew if something is new; `always` also where there is nothing on the map yet."""
        if not self._kept():
            return
        async with self._turn:
            if not self._behind() and not await self._daemon.host.offload(self._spoilt) and not (always and self._left is None):
                return
            try:
                await self._make(always)
                self.trouble = ""
            except OSError as error:
                self.trouble = f"{NAME} could not be written ({error.strerror or error}). It is tried again"
                journal().warning("the energy map could not be written", why=str(error)[:200])
            except Exception as error:
                self._failed = True
                self._on_error("atlas", error)

    async def end(self) -> None:
        """At a clean stop: leave the file as the log stands, where that is quick. A start makes it anew in any case."""
        if self._took_s < 1.0 and self._daemon.durable_seq(LOG) + 1 == self._daemon.dispatch.next_seq[LOG]:
            await self.catch_up()

    @property
    def _energy(self) -> Energy:
        """Asked anew each time: an engine may be rebuilt."""
        energy: Energy = self._daemon.world.states["eil"]
        return energy

    async def _make(self, always: bool) -> None:
        host, now = self._daemon.host, self._now()
        if not always and self._left is None and not self._energy.sources and not self._energy.actions.recent:
            self._told = now
            return
        began_us, self._aside_us = host.mono_us(), 0
        assert self._state_dir is not None
        tables = Tables(self._state_dir / TEMPORARY)
        try:
            await host.offload(self._begin, tables)
            names = list(self._energy.sources)
            for at in range(0, len(names), CHUNK_SOURCES):
                await host.offload(self._add, tables, await self._taken(names[at : at + CHUNK_SOURCES], now[1]))
            await host.offload(tables.add, atlas.of_actions(self._energy))
            self._took_s = (host.mono_us() - began_us - self._aside_us) / 1e6
            await self._wait_durable(self._daemon.dispatch.next_seq[LOG] - 1)
            said = {"version": VERSION, "ledger": self._daemon.ledger_id, "record": str(now[0] - 1), "at": time_text(host.now_us())}
            await host.offload(self._put, tables, said)
        finally:
            tables.close()
            self._rested_us = host.mono_us() + round(REST_SHARE * self._took_s * 1e6)
        self._told = now

    async def _taken(self, names: list[str], known: Mapping[str, EilSource]) -> list[atlas.Piece]:
        pieces = []
        for at in range(0, len(names), STEP_SOURCES):
            pieces.append(atlas.piece(self._energy, names[at : at + STEP_SOURCES], known))
            await self._step_aside()
        return pieces

    async def _step_aside(self) -> None:
        """Commands that are on their way to the disk have the loop to themselves, and who writes them the interpreter."""
        writer, host = self._daemon.dispatch.writer, self._daemon.host
        assert writer is not None
        if not writer.at_work:
            await trio.lowlevel.checkpoint()
            return
        began_us = host.mono_us()
        with trio.move_on_after(ASIDE_S):
            await writer.wait_advanced()
        self._aside_us += host.mono_us() - began_us

    @staticmethod
    def _add(tables: Tables, pieces: list[atlas.Piece]) -> None:
        for each in pieces:
            tables.add(each)

    async def _wait_durable(self, seq: int) -> None:
        """Until all that is in the tables is on disk: no reader may see what a crash could take back."""
        assert self._daemon.dispatch.writer is not None
        while self._daemon.durable_seq(LOG) < seq:
            await self._daemon.dispatch.writer.wait_advanced()

    def _begin(self, tables: Tables) -> None:
        files = self._daemon.host.files
        if files.free() < ROOM_BYTES_MIN:
            raise OSError("the disk has no room for a view")
        if files.stat_path(DIRECTORY) is None:
            make_directory(files, DIRECTORY)
        tables.begin()

    def _put(self, tables: Tables, said: dict[str, str]) -> None:
        files = self._daemon.host.files
        tables.end(said)
        files.rename(TEMPORARY, NAME)
        self._left = files.stat_path(NAME)

    # --- asking it ----------------------------------------------------------------------------------------------------------

    async def query(self, params: atlas.AskQuery, actor: Actor, stream: Stream) -> atlas.MapRows:
        """What the tables say; made anew first where that is quick or due, or where they turn out to be damaged."""
        if not self._kept():
            raise Refused("unavailable", "the tables of the energy map are not kept now. See: irerctl doctor", reason="no-tables")
        async with self._queries:
            if self._left is None or self._took_s < QUICK_S or self._daemon.host.mono_us() >= self._rested_us:
                await self.catch_up(always=True)
            found = await self._asked(params)
            if "damaged" in found:
                self._told = None
                await self.catch_up(always=True)
                found = await self._asked(params)
        if "damaged" in found:
            raise Refused("unavailable", f"{NAME} cannot be read. Try again; then: irerctl doctor", reason="damaged")
        if "late" in found:
            text = f"sql: {found['refused']}. Ask for less at a time"
            raise Refused("resource-exhausted", text, reason="too-long")
        if "refused" in found:
            text = f"sql: {found['refused']}. The tables are in docs/energy.md; try: SELECT name, value, unit FROM node LIMIT 5"
            raise Refused("invalid-argument", text, fields=[("sql", str(found["refused"]))])
        rows = [atlas.MapRow(values) for values in found["rows"]]
        return atlas.MapRows(found["columns"], rows, found["record"], found["more"])

    async def _asked(self, params: atlas.AskQuery) -> Any:
        request = {
            "name": "atlas",
            "params": msgspec.to_builtins(params),
            "memory_bytes": self._daemon.settings.jobs.memory_bytes,
            "state_dir": str(self._state_dir),
        }
        output = bytearray()

        async def take(chunk: bytes) -> None:
            if len(output) < ANSWER_BYTES_MAX:
                output.extend(chunk)

        try:
            end = await self._daemon.host.run_child("irerd.jobs", json.dumps(request).encode(), take)
        except OSError:
            raise Refused("unavailable", "no process could be started to read the tables. Try again", reason="no-process") from None
        outcome = json.loads(output) if end.code == 0 else {"code": "crashed"}
        if outcome.get("code") == "memory":
            text = "sql: it took more memory than jobs.memory_bytes allows. Ask for less at a time"
            raise Refused("resource-exhausted", text, reason="memory")
        if not isinstance(outcome.get("result"), dict):
            raise Refused("unavailable", "the process that reads the tables ended early. Try again", reason="crashed")
        return outcome["result"]
