"""The views, kept up: fed after each group with what has just become durable, saved now and then, made anew from the logs.

Nothing here can hold up or end the daemon. A view that fails is told in `health`, and its answers say that they are missing. While
one is made anew, in the background, the newest commands are kept for it, so that it catches up however much is written meanwhile.
"""

import zlib
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property, partial
from hashlib import sha256
from typing import Literal, NamedTuple

import msgspec
import trio

from core.canonical import CanonicalError, decode, encode
from core.engine import Check
from core.views import Follower, Now, Totals, View
from core.world import BadDump
from irerd.host import Host
from irerd.journal import journal
from irerd.writer import Writer
from state.fs import make_directory, read_all, small_write
from state.log import Log
from state.recover import Corrupt, Pruned, records_between
from state.seal import BadLine, Pending, sealed_line, unsealed

DIRECTORY = "views"
TICK_S = 10.0
"""How often the daemon's totals are sampled: the finest step of a history."""
SAVE_S = 60.0
CHUNK_RECORDS = 256
TAIL_COMMANDS = 4_096
"""Durable commands of a log that are kept for views that are being made anew."""
GAPS_MAX = 64
BODY_BYTES_MAX = 64 << 20
ROOM_BYTES_MIN = 67_108_864
"""Bytes that stay free after a view is saved: it may never be what fills the disk."""

Standing = Literal["rebuilding", "live", "failed"]


class Missing(NamedTuple):
    """Records that a view knows nothing of."""

    log: str
    first_seq: int
    last_seq: int


_Command = tuple[int, Sequence[Pending]]
"""The records of one command, and the place of the first of them."""


class _Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far a saved view is in one log, and in which history of it."""

    seq: int
    """The next record it waits for."""
    tip: str
    """`event_hash` of the one before that."""


class _Saved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a file says of itself, sealed as a record is."""

    bytes: int
    gaps: list[Missing]
    ledger: str
    places: dict[str, _Place]
    sha256: str
    shape: str
    view: str


class _Kept:
    """One view, and how it stands."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.standing: Standing = "rebuilding"
        self.gaps: list[Missing] = []
        self.tips: dict[str, _Place] = {}
        self.saved: dict[str, int] | None = None
        """Its places when it was saved last."""

    @cached_property
    def follower(self) -> Follower:
        """Made when the view is brought up: should even that fail, the view has failed and nothing else."""
        return Follower(self.view)

    def miss(self, log: str, below: int) -> None:
        """Go on with this record, without those before it."""
        position = self.follower.position(log)
        if position < below:
            self.gaps = [*self.gaps, Missing(log, position, below - 1)][-GAPS_MAX:]
            self.follower.reached(log, below)


class Views:
    def __init__(
        self,
        host: Host,
        views: Sequence[View],
        logs: Mapping[str, Log],
        totals: Callable[[], Totals],
        on_error: Callable[[str, BaseException], object],
    ) -> None:
        """`logs` are the sound ones, as soon as they are open."""
        self._host = host
        self._kept = {view.name: _Kept(view) for view in views}
        self._logs = logs
        self._totals = totals
        self._on_error = on_error
        self.ledger = ""
        """Id of the state directory: what was saved in another one is of no use."""
        self._waiting: dict[str, deque[tuple[int, list[_Command]]]] = {}
        """Of each log, what is on its way to the disk and not durable yet: groups of commands, each with its last record."""
        self._tails: dict[str, deque[_Command]] = {}
        self._brought_up = False
        """Whether no view is being made any more, so that nothing is kept for one."""
        self.trouble = ""

    # --- what others see ----------------------------------------------------------------------------------------------

    def standing(self, name: str) -> Standing:
        return self._kept[name].standing

    def look(self, name: str) -> Follower | None:
        """A view up to all that is durable, its totals as of now. None while it is being made, or has failed."""
        kept = self._kept[name]
        if kept.standing == "live":
            self._sample(kept)
        return kept.follower if kept.standing == "live" else None

    def gaps(self, name: str) -> list[Missing]:
        return self._kept[name].gaps

    @property
    def rebuilding(self) -> int:
        return sum(kept.standing == "rebuilding" for kept in self._kept.values())

    def check(self) -> Check:
        failed = [name for name, kept in self._kept.items() if kept.standing == "failed"]
        if failed:
            return Check("views", "degraded", f"{', '.join(failed)} cannot be kept up. Nothing else is touched; restart irerd")
        if self.trouble:
            return Check("views", "degraded", self.trouble)
        return Check("views", "ok", "being made anew from the logs" if self.rebuilding else "")

    def now(self) -> Now:
        return Now(self._host.boot_id, self._host.mono_us(), self._host.now_us())

    # --- beside the writer --------------------------------------------------------------------------------------------

    def taken(self, log: str, first_seq: int, commands: Sequence[Sequence[Pending]]) -> None:
        """These commands are written to this log now, from this record on."""
        group: list[_Command] = []
        for records in commands:
            group.append((first_seq, records))
            first_seq += len(records)
        self._waiting.setdefault(log, deque()).append((first_seq - 1, group))

    def after_group(self, durable: Mapping[str, int]) -> None:
        """These logs are durable up to these records: feed what was waiting for that."""
        for log, seq in durable.items():
            commands: list[_Command] = []
            waiting = self._waiting.get(log)
            while waiting and waiting[0][0] <= seq:
                commands += waiting.popleft()[1]
            if not self._brought_up:
                self._tails.setdefault(log, deque(maxlen=TAIL_COMMANDS)).extend(commands)
            for kept in self._kept.values():
                if kept.standing == "live":
                    self._feed(kept, log, commands)
                    self._note(kept, log)

    def _note(self, kept: _Kept, log: str) -> None:
        """What is durable was fed: go on behind it, the log layer's own records included, and remember what stands before."""
        durable = self._logs[log].durable
        if not self._waiting.get(log):
            kept.follower.reached(log, durable.seq)
        if durable.seq == kept.follower.position(log):
            kept.tips[log] = _Place(durable.seq, durable.tip)

    def _feed(self, kept: _Kept, log: str, commands: Collection[_Command]) -> None:
        try:
            kept.follower.take_all(log, commands, partial(self._sample, kept))
        except Exception as error:
            self._fail(kept, error)

    def _sample(self, kept: _Kept) -> None:
        if kept.view.sample is not None:
            try:
                kept.view.sample(kept.follower.state, self._totals(), self.now())
            except Exception as error:
                self._fail(kept, error)

    def _fail(self, kept: _Kept, error: BaseException) -> None:
        kept.standing = "failed"
        self._on_error(f"view {kept.view.name}", error)

    # --- the task -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Bring every view up, then sample and save, until cancelled."""
        for kept in self._kept.values():
            try:
                await self._bring_up(kept)
            except Exception as error:
                self._fail(kept, error)
        self._brought_up = True
        self._tails.clear()
        due_us = self._host.mono_us() + round(SAVE_S * 1e6)
        while True:
            await trio.sleep(TICK_S)
            for name in self._kept:
                self.look(name)
            if self._host.mono_us() >= due_us:
                await self.save()
                due_us = self._host.mono_us() + round(SAVE_S * 1e6)

    async def _bring_up(self, kept: _Kept) -> None:
        """From its file if that is sound and of this history, then along the logs until nothing is missing."""
        await self._host.offload(self._load, kept)
        while behind := [log for log in self._logs if not self._joined(kept, log)]:
            for log in behind:
                await self._host.offload(self._follow, kept, log)
        self._go_live(kept)

    def _joined(self, kept: _Kept, log: str) -> bool:
        """Whether the rest of this log is in memory."""
        position, tail = kept.follower.position(log), self._tails.get(log)
        return position >= self._logs[log].durable.seq or bool(tail and tail[0][0] <= position)

    def _go_live(self, kept: _Kept) -> None:
        kept.standing = "live"
        for log, tail in self._tails.items():
            position = kept.follower.position(log)
            self._feed(kept, log, [command for command in tail if command[0] + len(command[1]) > position])
        for log in self._logs:
            self._note(kept, log)

    def _follow(self, kept: _Kept, log: str) -> None:
        """One piece of a log. Away from the loop: nobody else looks at a view that is being made."""
        source = self._logs[log]
        kept.miss(log, source.first_seq)
        position = kept.follower.position(log)
        try:
            records = list(records_between(source, position, position + CHUNK_RECORDS - 1))
        except Pruned:
            return  # the next round begins where the log does now
        except (OSError, Corrupt) as error:
            journal().warning("a view goes on without records that cannot be read", engine=log, type=type(error).__name__)
            kept.miss(log, source.durable.seq)
            return
        kept.follower.feed(log, [(record.event_type, record.payload, record.stamp(log)) for record in records])
        if records:
            kept.tips[log] = _Place(records[-1].seq + 1, records[-1].event_hash)

    # --- files ----------------------------------------------------------------------------------------------------------

    def _load(self, kept: _Kept) -> None:
        """Whatever is wrong with a file, the logs say it all again."""
        try:
            raw = read_all(self._host.files, _path(kept.view))
            if raw is not None:
                self._take(kept, raw)
        except Exception as error:
            kept.follower.forget()
            kept.tips, kept.gaps = {}, []
            why = str(error)[:200] if isinstance(error, OSError | ValueError) else type(error).__name__
            journal().info("a view is made anew from the logs", view=kept.view.name, why=why)

    def _take(self, kept: _Kept, raw: bytes) -> None:
        """Raises ValueError where this file is not whole, of another version, or of another history."""
        start = raw.find(b"\n") + 1
        try:
            saved = msgspec.convert(decode(unsealed(raw[:start])), _Saved, strict=True)
        except (BadLine, CanonicalError, msgspec.ValidationError):
            raise ValueError("its header is damaged") from None
        body = raw[start:]
        if (saved.view, saved.shape) != (kept.view.name, kept.view.shape):
            raise ValueError("another version made it")
        if len(body) != saved.bytes or sha256(body).hexdigest() != saved.sha256:
            raise ValueError("its body is damaged")
        if saved.ledger != self.ledger or not all(self._is_ours(log, place) for log, place in saved.places.items()):
            raise ValueError("it tells of another history")
        try:
            unpacker = zlib.decompressobj()
            kept.follower.load(unpacker.decompress(body, BODY_BYTES_MAX))
        except (zlib.error, BadDump):
            raise ValueError("its body cannot be read") from None
        kept.tips, kept.gaps = dict(saved.places), list(saved.gaps)
        kept.saved = dict(kept.follower.positions)

    def _is_ours(self, log: str, place: _Place) -> bool:
        source = self._logs.get(log)
        if source is None:
            return True  # it did not verify: nothing is asked of it, nor told
        if place.seq <= source.first_seq:
            return True  # its records were let go, so nothing speaks against it
        try:
            [record] = records_between(source, place.seq - 1, place.seq - 1)
        except (OSError, Corrupt, Pruned, ValueError):  # the last: there is no such record
            return False
        return record.event_hash == place.tip

    async def save(self) -> None:
        """Keep every view that has changed, and was not being made or broken. What the disk refuses is tried again later."""
        for kept in self._kept.values():
            if kept.standing != "live" or (positions := dict(kept.follower.positions)) == kept.saved:
                continue
            if any(kept.tips.get(log, _NOWHERE).seq != seq for log, seq in positions.items() if seq and log in self._logs):
                continue  # what is durable is just being fed: a later time will do
            try:
                dumped, places = kept.follower.dump(), dict(kept.tips)
                await self._host.offload(self._write, kept, dumped, places)
            except OSError as error:
                self.trouble = f"{kept.view.name} could not be saved ({type(error).__name__}); a start will read the logs"
                journal().warning("a view could not be saved", view=kept.view.name, type=type(error).__name__)
            except Exception as error:
                self._fail(kept, error)
            else:
                self.trouble = ""
                kept.saved = positions

    def _write(self, kept: _Kept, dumped: object, places: dict[str, _Place]) -> None:
        files = self._host.files
        body = zlib.compress(Follower.encode(dumped), 1)
        saved = _Saved(len(body), kept.gaps, self.ledger, places, sha256(body).hexdigest(), kept.view.shape, kept.view.name)
        if files.free() < len(body) + ROOM_BYTES_MIN:
            raise OSError("the disk has no room for a view")
        make_directory(files, DIRECTORY)
        small_write(files, _path(kept.view), sealed_line(encode(msgspec.to_builtins(saved))) + body)


_NOWHERE = _Place(-1, "")


def _path(view: View) -> str:
    return f"{DIRECTORY}/{view.name}.view"


class FollowedWriter(Writer):
    """A writer beside which the views see every command as it is written."""

    def __init__(self, host: Host, logs: Mapping[str, Log], after_group: Callable[[set[str]], None], views: Views) -> None:
        super().__init__(host, logs, after_group)
        self._views = views

    def taken(self, log: str, first_seq: int, commands: Sequence[Sequence[Pending]]) -> None:
        self._views.taken(log, first_seq, commands)
