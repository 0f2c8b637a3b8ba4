"""A backup is the state at one instant, whatever goes on meanwhile; a restored one is that state, under a name of its own.

The daemon that is copied here is the real one on a simulated disk: it writes, rotates, prunes and takes snapshots between any two
pieces that the backup reads. What is no whole backup changes nothing, and a crash at any step of a restore loses no state.
"""

import json
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing

from core.access import Rules
from core.engine import Actor, Command, Context, Decision, Engine, Event, Refused, Stamp, write
from core.engines import ENGINES
from core.fields import Count
from core.settings import Log as LogSettings
from core.settings import Settings
from core.system import Backup as BackupCommand
from core.system import BackupPiece, Manifest
from irerctl.backup import Archive
from irerctl.session import Failure
from irerd.daemon import Daemon
from irerd.ports import Ports
from irerd.writer import WriteFailed
from state.alone import Refusal
from state.backup import End, end_of, known, log_of
from state.ledger import BadLedger, Locked, hold, open_ledger, read_ledger
from state.log import Log, SyncFailed
from state.prefix import longest
from state.restore import Place, Row, Source, Wanted, restore
from state.rotation import Limits
from state.snapshot import listed
from state.verify import verify_files
from tests.sim.disk import CHANGES, Killed, NthFails, SimFiles
from tests.state.directory import Inside, discard, tree
from tests.state.logs import Ids, stamp

ADMIN = Actor("uid:1000", "admin", 1000)
SMALL = Limits(bytes=1 << 20, records=12, age_us=1 << 60)
DIR = "irer"
NO_KEYS = Wanted()


# --- a daemon that never rests --------------------------------------------------------------------------------------------------


class Add(Command):
    """Add.

    amount: how much
    """

    amount: Count


class Added(Event, type="left.added"):
    """Added.

    amount: how much
    seen: what the other engine had when this was decided
    """

    amount: Count
    seen: Count


class Gained(Event, type="right.gained"):
    """Gained.

    amount: how much
    seen: what the other engine had when this was decided
    """

    amount: Count
    seen: Count


class Sum:
    def __init__(self, total: int = 0) -> None:
        self.total = total


def _apply(state: Sum, event: Added | Gained, stamp: Stamp) -> None:
    state.total += event.amount


def _dump(state: Sum) -> Add:
    return Add(state.total)


def _load(dumped: Add) -> Sum:
    return Sum(dumped.amount)


def _engine(name: str, other: str, event: type[Any]) -> Engine:
    def decide(state: Sum, command: Add, ctx: Context) -> Decision:
        return Decision(event(command.amount, ctx.peek(other).total))

    rows = [write("add", Add, decide, apply={event: _apply}, help="h", example={"amount": 1})]
    return Engine(name, log=f"{name}_log", state=Sum, rows=rows, dump=_dump, load=_load)


PAIR = [_engine("left", "right", Added), _engine("right", "left", Gained)]
"""Each notes in its own log what the other has: so N4 can be seen in the bytes."""


class Host:
    """A machine whose every call away from the loop takes a little while."""

    def __init__(self, files: SimFiles, seed: int) -> None:
        self.files: Any = files
        self.boot_id = "b0071d00"
        self.random = Random(seed)
        self._luck = Random(seed + 1)
        self._ids = Ids(seed * 1000)
        self._us = 0

    def now_us(self) -> int:
        return 1_767_225_600_000_000 + self.mono_us()

    def mono_us(self) -> int:
        self._us += 1
        return self._us

    def new_id(self) -> str:
        return self._ids()

    def draw(self) -> bytes:
        return self._luck.randbytes(32)

    async def offload(self, function: Callable[..., Any], *args: object) -> Any:
        with trio.CancelScope(shield=True):
            await trio.sleep(self._luck.random() / 1000)
            result = function(*args)
            await trio.sleep(self._luck.random() / 1000)
            return result

    async def commit(self, log: Any, data: bytes, *, alone: bool) -> None:
        await self.offload(log.commit, data)

    async def run_child(self, module: str, request: bytes, on_output: object = None) -> Any:
        raise OSError

    @asynccontextmanager
    async def computing(self, ledger: str, settings: Any) -> AsyncIterator[None]:
        yield

    def work_figures(self) -> None:
        return None

    def resident_bytes(self) -> int:
        return 0

    def user_name(self, uid: int) -> str | None:
        return None


class Configuration:
    def __init__(self) -> None:
        self.settings = Settings(log=LogSettings(snapshot_records=20, retain_bytes=1))
        self.rules = Rules()

    async def reload(self) -> Any:
        raise AssertionError


class Pieces:
    """The caller's end: takes each piece, and lets much happen before it asks for the next."""

    def __init__(self, busy: Callable[[], None], on_piece: Callable[[BackupPiece], None] = lambda piece: None) -> None:
        self.items: list[BackupPiece] = []
        self._busy = busy
        self._on_piece = on_piece

    async def wait_room(self) -> None:
        for _ in range(3):
            self._busy()
            await trio.sleep(0.003)

    def item(self, piece: BackupPiece, cursor: str | None = None) -> None:
        self.items.append(piece)
        self._on_piece(piece)


class Running:
    """The daemon, and what it was asked so far."""

    def __init__(self, seed: int = 1) -> None:
        self.disk = SimFiles()
        self.daemon = Daemon(Host(self.disk, seed), Configuration(), Path("/s"), [*ENGINES, *PAIR], SMALL)
        self._luck = Random(seed)
        self.writes = 0

    def busy(self) -> None:
        for _ in range(self._luck.randrange(6)):
            row = self.daemon.world.rows[f"{self._luck.choice(('left', 'right'))}.add"]
            try:
                self.daemon.dispatch.write(row, Add(1), ADMIN, lambda answer: None)
            except Refused as refused:
                assert refused.code == "resource-exhausted"
            self.writes += 1

    async def backup(self, *, keys: bool = False, on_piece: Callable[[BackupPiece], None] = lambda piece: None) -> bytes:
        pieces = Pieces(self.busy, on_piece)
        manifest = await Ports(self.daemon).backup(BackupCommand(keys), ADMIN, pieces)  # type: ignore[arg-type]
        return archive(pieces.items, manifest)

    def run(self, work: Callable[["Running"], Any]) -> Any:
        found: list[Any] = []

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                ready = trio.Event()
                nursery.start_soon(self.daemon.run, ready.set)
                await ready.wait()
                found.append(await work(self))
                await self.daemon.stop()

        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
        return found[0]


def archive(pieces: list[BackupPiece], manifest: Manifest) -> bytes:
    import msgspec

    target = BytesIO()
    made = Archive(target)
    for piece in pieces:
        made.take(piece.name, piece.offset, piece.data)
    made.finish(msgspec.to_builtins(manifest))
    return target.getvalue()


async def some_history(running: Running) -> None:
    for _ in range(60):
        running.busy()
        await trio.sleep(0.004)


def restored(data: bytes, disk: Any, *, wanted: Wanted = NO_KEYS, ids: int = 700, mounted: bool = False) -> Row:
    def remove(path: str) -> None:
        discard(disk._files if isinstance(disk, NthFails) else disk, path)

    place = Place(disk, DIR, lambda name: Inside(disk, name), lambda files: None, remove, mounted)  # type: ignore[arg-type, return-value]
    return restore(Source(lambda offset, size: data[offset : offset + size], len(data)), place, wanted, "uid:7", stamp, Ids(ids))


def events(files: Any, name: str) -> list[dict[str, Any]]:
    paths = [path for path in files.list(".") if path.startswith(f"{name}.") and path.endswith(".jsonl")]
    found = []
    for path in sorted(paths, key=lambda path: (path == f"{name}.jsonl", path)):
        found += [json.loads(line) for line in files._files.content(f"{DIR}/{path}").split(b"\n")[:-1]]
    return found


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_a_backup_under_load_with_rotation_and_pruning_is_one_instant_of_all_logs(seed: int) -> None:
    running = Running(seed)
    moved: dict[str, Any] = {}

    async def work(running: Running) -> bytes:
        await some_history(running)
        logs = [running.daemon.log(name) for name in ("left_log", "right_log")]
        before = [(log.segment, log.next_seq) for log in logs]
        assert all(log.first_seq > 0 for log in logs), "pruning is at work"
        first = [log.first_seq for log in logs]
        data = await running.backup(keys=True)
        assert all(log.segment > old[0] for log, old in zip(logs, before, strict=True)), "segments turned meanwhile"
        assert [log.first_seq for log in logs] == first, "and none of what was asked for went"
        moved["live"] = {name: {each["seq"]: each for each in live(running, name)} for name in ("left_log", "right_log")}
        await some_history(running)
        assert all(log.first_seq > old for log, old in zip(logs, first, strict=True)), "afterwards they go again"
        moved["next"] = {log.name: log.next_seq for log in logs}
        return data

    data = running.run(work)
    disk = SimFiles()
    row = restored(data, disk)
    inside: Any = Inside(disk, DIR)
    assert all(row["logs"][name]["records"] < moved["next"][name] for name in moved["next"])
    assert all(found["ok"] for found in verify_files(inside) if found["done"])
    notes = {name: events(inside, name) for name in ("left_log", "right_log")}
    for name, records in notes.items():
        assert records[-1].pop("event_type") == "log.fork" and len(records) > 20
        assert all(record == moved["live"][name][record["seq"]] for record in records[:-1]), "the same records (N2)"
    again = Running(seed + 50)
    again.disk = disk
    again.daemon = Daemon(
        _host_inside(inside, seed),
        Configuration(),
        Path("/s"),
        [*ENGINES, *PAIR],
        SMALL,  # type: ignore[arg-type]
    )

    async def look(running: Running) -> dict[str, int]:
        assert not running.daemon.damage
        states = running.daemon.world.states
        return {name: states[name].total for name in ("left", "right")}

    totals = again.run(look)
    for name, other in (("left", "right"), ("right", "left")):
        seen = [record["payload"]["seen"] for record in notes[f"{name}_log"] if "seen" in record["payload"]]
        assert max(seen) <= totals[other], f"a decision of {name} read what is not in the backup (N4)"
        amounts = sum(record["payload"].get("amount", 0) for record in notes[f"{name}_log"])
        assert 0 < amounts <= totals[name]


def live(running: Running, name: str) -> Iterator[dict[str, Any]]:
    for path, data in running.disk.tree().items():
        if path.startswith(f"{name}.") and path.endswith(".jsonl"):
            yield from map(json.loads, data.split(b"\n")[:-1])


def _host_inside(inside: Any, seed: int) -> Host:
    host = Host(SimFiles(), seed)
    host.files = inside
    return host


def test_a_backup_of_an_idle_daemon_and_one_cancelled_leave_nothing_held() -> None:
    running = Running()

    async def work(running: Running) -> None:
        await trio.sleep(5)
        before = len(running.disk._handles)
        pieces = Pieces(lambda: None)
        await Ports(running.daemon).backup(BackupCommand(), ADMIN, pieces)  # type: ignore[arg-type]
        assert len(running.disk._handles) == before

        for number in range(40):
            running.busy()
            await trio.sleep(0.0002)
            with trio.move_on_after(0.00005 * number) as late:
                await running.backup(keys=True)
            assert late.cancelled_caught
            await trio.sleep(1)
            assert len(running.disk._handles) == before
            assert all(log.view.active._users == 1 for log in running.daemon._logs.values())
        log = running.daemon.log("left_log")
        await some_history(running)
        assert log.first_seq > 0, "pruning goes on after a backup that was cancelled"

    running.run(work)


def test_the_ends_are_noted_when_no_group_and_no_upkeep_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a log ends is several words, which a thread may be changing one after another."""
    running = Running(5)
    daemon = running.daemon
    noted = busy = 0

    def watched(log: Log) -> End:
        nonlocal noted
        assert daemon.dispatch.writer is not None and daemon.dispatch.writer.resting and not working
        noted += 1
        return end_of(log)

    working: list[str] = []
    serve = daemon._upkeep.serve

    async def offload(function: Callable[..., Any], *args: Any) -> Any:
        if function != serve:
            return await Host.offload(daemon.host, function, *args)  # type: ignore[arg-type]
        working.append("upkeep")
        try:
            return await Host.offload(daemon.host, function, *args)  # type: ignore[arg-type]
        finally:
            working.pop()

    monkeypatch.setattr("irerd.daemon.end_of", watched)
    monkeypatch.setattr(daemon.host, "offload", offload)

    async def work(running: Running) -> None:
        nonlocal busy
        for number in range(60):
            running.busy()
            await trio.sleep(0.0001 * (number % 20))
            busy += bool(working) or not daemon.dispatch.writer.resting  # type: ignore[union-attr]
            for end in (await daemon.durable_ends()).values():
                end.active.release()

    running.run(work)
    assert noted >= 60 and busy > 10, "it was asked for in the middle of things"


def test_a_snapshot_is_written_once_the_commands_of_its_log_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running(8)
    daemon = running.daemon
    keep, held = daemon._upkeep.keep, []

    def watched(log: str) -> None:
        held.append(log in daemon.dispatch.held)
        keep(log)

    monkeypatch.setattr(daemon._upkeep, "keep", watched)

    async def work(running: Running) -> None:
        daemon.dispatch.write(daemon.world.rows["left.add"], Add(1), ADMIN, lambda answer: None)
        monkeypatch.setattr(daemon._upkeep, "_snapshot_due", lambda log: log.name == "left_log" and not held)
        daemon._begin_upkeep("left_log")
        await trio.sleep(1)
        assert held == [False] and listed(running.disk, "left_log").headers[0].seq == daemon.durable_seq("left_log")

    running.run(work)


def test_a_failed_sync_of_a_snapshot_ends_the_daemon_as_any_other_does(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running(9)
    daemon = running.daemon

    def fails(log: str) -> None:
        raise SyncFailed("left_log: a call failed: Input/output error")

    monkeypatch.setattr(daemon._upkeep, "keep", fails)

    async def work(running: Running) -> None:
        daemon.dispatch.write(daemon.world.rows["left.add"], Add(1), ADMIN, lambda answer: None)
        await trio.sleep(1)
        daemon._upkeep._take_picture(daemon.log("left_log"))
        daemon._beside("left_log")
        await trio.sleep_forever()

    with pytest.RaisesGroup(WriteFailed, flatten_subgroups=True):
        running.run(work)


def test_no_snapshot_is_written_while_they_are_to_stay_and_one_under_way_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running(7)
    daemon = running.daemon
    upkeep, log = daemon._upkeep, "left_log"
    keep = upkeep.keep
    told: list[str] = []

    async def offload(function: Callable[..., Any], *args: Any) -> Any:
        if function != keep:
            return await Host.offload(daemon.host, function, *args)  # type: ignore[arg-type]
        told.append("begins")
        await trio.sleep(1)
        await Host.offload(daemon.host, function, *args)  # type: ignore[arg-type]
        told.append("ends")

    monkeypatch.setattr(daemon.host, "offload", offload)

    async def work(running: Running) -> None:
        daemon.dispatch.write(daemon.world.rows["left.add"], Add(1), ADMIN, lambda answer: None)
        await trio.sleep(1)
        upkeep._take_picture(daemon.log(log))
        async with trio.open_nursery() as nursery:
            for _ in range(2):  # as where its log was served once more before its turn came
                nursery.start_soon(daemon._keep_snapshot, log)
            await trio.sleep(0.5)
            async with daemon.keep_snapshots():
                assert told == ["begins", "ends"], "it waits for the one that is being written"
                upkeep._taken_at.clear()
                upkeep._take_picture(daemon.log(log))
                assert upkeep.to_keep(log)
                await daemon._keep_snapshot(log)
                assert len(told) == 2 and not upkeep.to_keep(log), "another is done without"

    running.run(work)


def test_a_caller_who_leaves_at_the_very_end_of_a_group_leaves_no_file_open() -> None:
    running = Running(6)

    async def work(running: Running) -> None:
        daemon = running.daemon
        assert daemon.dispatch.writer is not None
        await trio.sleep(5)
        with trio.CancelScope() as scope:
            daemon.dispatch.write(daemon.world.rows["left.add"], Add(1), ADMIN, lambda answer: scope.cancel())
            while daemon.dispatch.writer.resting:
                await trio.lowlevel.checkpoint()
            await daemon.durable_ends()
        assert scope.cancelled_caught
        assert all(log.view.active._users == 1 for log in daemon._logs.values())

    running.run(work)


def test_blobs_go_along_one_that_is_swept_meanwhile_is_left_out_and_a_rotten_one_ends_it() -> None:
    running = Running(8)

    def keep(raw: bytes) -> str:
        name = sha256(raw).hexdigest()
        running.disk.plant(f"blobs/{name[:2]}/{name}", raw)
        return f"blobs/{name[:2]}/{name}"

    async def work(running: Running) -> None:
        running.disk.plant("blobs/unnamed.json", b"{}")
        stays, goes = keep(b"large" * 30_000), keep(b"other")
        swept: list[str] = []

        def sweep(piece: BackupPiece) -> None:
            if not swept:
                running.disk.unlink(goes)
                swept.append(goes)

        disk = SimFiles()
        restored(await running.backup(keys=True, on_piece=sweep), disk)
        assert [path for path in tree(disk, DIR) if path.startswith("blobs/")] == [stays]
        assert disk.content(f"{DIR}/{stays}") == b"large" * 30_000
        running.disk.plant(stays, b"LARGE" * 30_000)
        with pytest.raises(Refused, match="is not what its name says"):
            await running.backup()

    running.run(work)


def test_the_files_of_runs_go_along_and_whoever_has_the_backup_can_check_them_by_themselves() -> None:
    uuid = "0b2f6a58-9c1e-4b7d-8f3a-2d5c6e7f8a9b"
    runs = {
        f"configs/config_{uuid}.json": b"{}",
        f"data/run_{uuid}.h5": b"field" * 40_000,
        f"provenance/provenance_{uuid}.json": b"",
    }
    running = Running(8)

    async def work(running: Running) -> None:
        for name, content in (runs | {f"data/run_{uuid}.h5.tmp": b"half", "data/notes.txt": b"mine"}).items():
            running.disk.plant(name, content)
        data, disk = await running.backup(keys=True), SimFiles()
        restored(data, disk)
        kept = {
            path: content for path, content in tree(disk, DIR).items() if path.split("/")[0] in ("configs", "data", "provenance")
        }
        assert kept == runs
        with tarfile.open(fileobj=BytesIO(data)) as tar:
            files = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
        listed = dict(reversed(line.split("  ")) for line in files.pop("files.sha256").decode().splitlines())
        del files["manifest.json"]
        assert listed == {name: sha256(content).hexdigest() for name, content in files.items()}

    running.run(work)


def test_rot_in_a_closed_file_is_not_carried_into_a_backup() -> None:
    running = Running()

    async def work(running: Running) -> None:
        await some_history(running)
        log = running.daemon.log("left_log")
        path = f"left_log.{log.view.closed[-1].first_seq:016d}.jsonl"
        data = bytearray(running.disk.content(path))
        data[700] ^= 1
        running.disk.plant(path, bytes(data))
        with pytest.raises(Refused, match="is not the file that was closed") as refused:
            await running.backup()
        assert refused.value.code == "data-loss"

    running.run(work)


# --- files that are no backup -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good() -> bytes:
    async def work(running: Running) -> bytes:
        for _ in range(12):
            running.busy()
            await trio.sleep(0.004)
        return await running.backup(keys=True)

    found: bytes = Running(9).run(work)
    return found


def standing() -> SimFiles:
    disk = SimFiles()
    disk.plant(f"{DIR}/ledger.json", b"x")
    return disk


def refused(data: bytes, match: str = "no whole backup") -> None:
    disk = SimFiles()
    with pytest.raises(Refusal, match=match):
        restored(data, disk)
    assert disk.tree() == {} and disk.list(".") == []


def test_a_backup_cut_anywhere_is_refused_and_changes_nothing(good: bytes) -> None:
    random = Random(3)
    for size in [*range(0, len(good), 1_536), *(random.randrange(len(good)) for _ in range(60)), len(good) - 1]:
        refused(good[:size])


def test_no_flipped_bit_goes_unnoticed(good: bytes) -> None:
    random = Random(4)
    for place in [*range(0, 600, 7), *(random.randrange(len(good)) for _ in range(250)), len(good) - 1]:
        data = bytearray(good)
        data[place] ^= 1 << random.randrange(8)
        refused(bytes(data))


def rebuilt(data: bytes, change: Callable[[dict[str, bytes], dict[str, Any]], None]) -> bytes:
    """The same backup with other files or another manifest, made with care: every digest that can be right is right."""
    with tarfile.open(fileobj=BytesIO(data)) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    manifest = json.loads(files.pop("manifest.json"))
    del manifest["event_hash"], files["files.sha256"]
    change(files, manifest)
    listed = "".join(f"{sha256(content).hexdigest()}  {name}\n" for name, content in files.items()).encode()
    sizes = map(len, files.values())
    manifest |= {"files": len(files), "bytes": sum(sizes), "sha256": sha256(listed).hexdigest()}
    target = BytesIO()
    made = Archive(target)
    for name, content in files.items():
        made.take(name, 0, content)
    made.finish(manifest)
    return target.getvalue()


NAMES = [
    "../evil", "/etc/passwd", "keys/../../evil", "log.d/left_log/snap/../../../x", "LOCK", "quarantine/x", "views/a.sqlite",
    "blobs/aa/b", "left_log.jsonl.repair", "keys/", ".", "log.d/left_log/repair", "Left.jsonl", "keys/ledger.tmp",
    "log.d/left_log/snap/1.snap",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_only_files_of_known_names_are_ever_written(good: bytes, name: str) -> None:
    assert not known(name)

    def add(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
        files[name] = b"x"

    refused(rebuilt(good, add), "no state directory has|no plain file")


def test_a_blob_has_a_known_name_where_its_directory_agrees_with_it() -> None:
    assert known(f"blobs/ab/ab{'0' * 62}") and not known(f"blobs/aa/ab{'0' * 62}") and not known(f"blobs/ab/ab{'0' * 61}")
    assert log_of("left_log.0000000000000012.jsonl") == log_of("log.d/left_log/snap/0000000000000007.snap") == "left_log"
    assert log_of("ledger.json") is log_of("keys/pepper") is log_of(f"blobs/ab/ab{'0' * 62}") is None


def test_links_and_other_kinds_of_members_are_refused(good: bytes) -> None:
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        member = tarfile.TarInfo.frombuf(good[:512], "ascii", "strict")
        member.type = kind
        refused(member.tobuf(tarfile.USTAR_FORMAT) + good[512:])
    member.type, member.linkname = tarfile.REGTYPE, "/etc/passwd"
    refused(member.tobuf(tarfile.USTAR_FORMAT) + good[512:])


def test_a_manifest_that_says_anything_false_is_refused(good: bytes) -> None:
    def tip(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
        manifest["logs"]["left_log"]["tip"] = "0" * 64

    def records(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
        manifest["logs"]["left_log"]["records"] += 1

    def root(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
        manifest["logs"]["right_log"]["root"] = "0" * 64

    def older(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
        """A beginning of one log, with its manifest, but not with its head."""
        name = next(name for name in ("right_log.jsonl", "left_log.jsonl") if files[name].count(b"\n") > 1)
        files[name] = files[name][: files[name].rindex(b"\n", 0, -1) + 1]

    def torn(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
        files["right_log.jsonl"] += b'{"actor":"uid:1'

    def head(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
        files["log.d/right_log/head"] = files["log.d/left_log/head"]

    def swapped(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
        files["left_log.jsonl"], files["right_log.jsonl"] = files["right_log.jsonl"], files["left_log.jsonl"]

    def unnamed(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
        files["other_log.jsonl"] = files["left_log.jsonl"]

    def ledger(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
        manifest["ledger"] = "0" * 16

    def keyless(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
        manifest["with_keys"] = False

    def lacking(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
        del files[next(name for name in files if name.startswith("left_log."))]

    def wrong_key(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
        files["keys/ledger"] = bytes(32)

    for change in (tip, records, root, older, torn, head, swapped, unnamed, ledger, keyless, lacking):
        refused(rebuilt(good, change))
    refused(rebuilt(good, wrong_key), "not those of this backup")


def test_what_arrives_otherwise_than_it_was_sent_gets_no_name() -> None:
    made = Archive(BytesIO())
    made.take("ledger.json", 0, b"abc")
    with pytest.raises(Failure, match="goes on at byte 5"):
        made.take("ledger.json", 5, b"x")
    listed = b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  ledger.json\n"
    said = {"files": 1, "bytes": 3, "sha256": sha256(listed).hexdigest(), "logs": {}}
    for name, data, lie in (
        ("ledger.json", b"abd", {}),
        ("ledger.jso", b"abc", {}),
        ("ledger.json", b"abc", {"files": 2}),
        ("ledger.json", b"abc", {"bytes": 4}),
        ("ledger.json", b"abc", {"sha256": "0" * 64}),
    ):
        made = Archive(BytesIO())
        made.take(name, 0, data)
        with pytest.raises(Failure, match="not what was sent"):
            made.finish(said | lie)
    made = Archive(BytesIO())
    made.take("ledger.json", 0, b"abc")
    made.finish(said)


# --- restoring --------------------------------------------------------------------------------------------------------------


def without_keys(data: bytes) -> bytes:
    def drop(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
        for name in [name for name in files if name.startswith("keys/")]:
            del files[name]
        manifest["with_keys"] = False

    return rebuilt(data, drop)


def test_restoring_is_noticed_every_log_forks_and_the_ledger_has_another_id(good: bytes) -> None:
    disk = SimFiles()
    row = restored(good, disk)
    inside: Any = Inside(disk, DIR)
    ledger = read_ledger(inside)
    assert ledger is not None and ledger.id == row["ledger"] != row["from_ledger"]
    assert ledger.logs.keys() == row["logs"].keys()
    for name, origin in ledger.logs.items():
        last = events(inside, name)[-1]
        assert last["event_type"] == "log.fork" and last["seq"] == row["logs"][name]["records"] and last["actor"] == "uid:7"
        assert last["payload"]["new_origin"] == origin and last["payload"]["sealed_size"] == last["seq"]
        assert f"/{row['from_ledger']}/" in last["payload"]["old_origin"] and f"/{ledger.id}/" in origin
        assert longest(inside, name, origin).damage is None
    twice = restored(good, SimFiles(), ids=800)
    assert twice["ledger"] != row["ledger"], "two restores are two forks"


def test_a_directory_that_stands_there_is_moved_aside_and_lends_its_keys(good: bytes) -> None:
    disk = SimFiles()
    restored(good, disk)
    first = tree(disk, DIR)
    bare = without_keys(good)
    row = restored(bare, disk, ids=800)
    assert row["aside"] == f"{DIR}.before-restore-1" and row["keys"] == DIR
    assert tree(disk, row["aside"]) | {"LOCK": b""} == first | {"LOCK": b""}
    assert tree(disk, DIR)["keys/ledger"] == first["keys/ledger"]
    assert row["ahead"] == dict.fromkeys(row["logs"], 1), "the fork of the first restore is not in the backup"
    assert restored(bare, disk, ids=900)["aside"] == f"{DIR}.before-restore-2"


def test_keys_are_asked_for_and_never_made_unless_told(good: bytes) -> None:
    bare = without_keys(good)
    refused(bare, "without its keys.*--keys DIR.*--new-keys")
    keys = SimFiles()
    for name in ("ledger", "pepper", "token"):
        keys.plant(name, bytes(32))
    with pytest.raises(Refusal, match="not those of this backup"):
        restored(bare, SimFiles(), wanted=Wanted(keys))
    source = SimFiles()
    restored(good, source)
    right: Any = Inside(source, f"{DIR}/keys")
    disk = SimFiles()
    restored(bare, disk, wanted=Wanted(right))
    assert tree(disk, f"{DIR}/keys") == tree(source, f"{DIR}/keys")
    fresh = SimFiles()
    assert restored(bare, fresh, wanted=Wanted(new=True))["keys"] == "new"
    assert not set(tree(fresh, f"{DIR}/keys").values()) & set(tree(source, f"{DIR}/keys").values())
    inside: Any = Inside(fresh, DIR)
    open_ledger(inside, Ids()).close()


def test_a_directory_in_use_is_left_alone(good: bytes) -> None:
    disk = SimFiles()
    restored(good, disk)
    before = tree(disk, DIR)
    held = hold(Inside(disk, DIR))  # type: ignore[arg-type]
    with pytest.raises(Locked):
        restored(good, disk, ids=800)
    disk.close(held)
    assert tree(disk, DIR) | {"LOCK": b""} == before | {"LOCK": b""} and disk.list(".") == [DIR]


def test_a_crash_at_any_step_of_a_restore_loses_neither_state(good: bytes) -> None:
    bare = without_keys(good)
    nth = steps = 0
    disk = SimFiles()
    restored(good, disk)
    calls = NthFails(disk, 0, Killed(), CHANGES)
    restored(bare, calls, ids=800)
    while True:
        nth += 1
        disk = SimFiles()
        restored(good, disk)
        old = {path: data for path, data in tree(disk, DIR).items() if path != "LOCK"}
        for each in (".", DIR, f"{DIR}/keys"):
            disk.fsync_dir(each)
        failing = NthFails(disk, nth, Killed(), CHANGES, after=bool(nth % 2))
        try:
            restored(bare, failing, ids=800)
        except Killed:
            pass
        if failing.count < nth:
            break
        if 40 < nth <= calls.count - 6 and nth % 9:
            continue  # one file after another is unpacked: each like the one before
        draws = 8 if nth > calls.count - 6 else 1  # the renames: every subset of them
        for left in (*(disk.crash(Random(nth * 100 + draw)) for draw in range(draws)), disk.kill()):
            steps += 1
            now = {path: data for path, data in tree(left, DIR).items() if path != "LOCK"}
            aside = {path: data for path, data in tree(left, f"{DIR}.before-restore-1").items() if path != "LOCK"}
            assert old in (now, aside), "what stood there is whole, under the one name or the other"
            if now and now != old:
                inside: Any = Inside(left, DIR)
                assert all(row["ok"] for row in verify_files(inside) if row["done"]), "the new one is whole when it has its name"
            restored(bare, left, ids=900)
            inside = Inside(left, DIR)
            assert all(row["ok"] for row in verify_files(inside) if row["done"])
            assert not [name for name in left.list(".") if "restoring" in name], "what was unfinished is gone"
    assert steps > 100


# --- a mount point ----------------------------------------------------------------------------------------------------------------


def mount_point(*there: str) -> SimFiles:
    """An empty file system of its own, as such a one begins."""
    disk = SimFiles()
    for path in (DIR, f"{DIR}/lost+found", *there):
        disk.mkdir(path)
        disk.fsync_dir(path.rpartition("/")[0] or ".")
    return disk


def test_an_empty_mount_point_is_restored_into(good: bytes) -> None:
    disk, beside = mount_point(), SimFiles()
    row, expected = restored(good, disk, mounted=True), restored(good, beside)
    assert row == expected
    assert tree(disk, DIR) | {"LOCK": b""} == tree(beside, DIR) | {"LOCK": b""}, "the very same directory"
    assert "lost+found" in disk.list(DIR) and disk.list(".") == [DIR]


@pytest.mark.parametrize("there", ["documents", "log.d", "restoring-ffff"])
def test_a_mount_point_that_holds_something_is_left_as_it_is(good: bytes, there: str) -> None:
    disk = mount_point(f"{DIR}/{there}")
    disk.plant(f"{DIR}/{there}/file", b"somebody's")
    with pytest.raises(Refusal, match="is a mount point and not empty"):
        restored(good, disk, mounted=True)
    assert tree(disk, DIR)[f"{there}/file"] == b"somebody's"
    assert "LOCK" not in disk.list(DIR), "nothing was changed"


def test_somebodys_files_beside_an_unfinished_restore_are_left_too(good: bytes) -> None:
    disk = mount_point(f"{DIR}/restoring-0123456789abcdef")
    disk.plant(f"{DIR}/thesis.txt", b"somebody's")
    with pytest.raises(Refusal, match="not empty"):
        restored(good, disk, mounted=True)
    assert tree(disk, DIR)["thesis.txt"] == b"somebody's"


def test_a_whole_directory_that_lost_its_ledger_is_never_taken_for_an_unfinished_restore(good: bytes) -> None:
    """The directory of a restore that was killed at its very last step, and went on as a daemon's."""
    disk = mount_point()
    restored(good, disk, mounted=True)
    disk.mkdir(f"{DIR}/restoring-0123456789abcdef")
    disk.unlink(f"{DIR}/ledger.json")
    before = tree(disk, DIR)
    with pytest.raises(Refusal, match="not empty"):
        restored(good, disk, ids=900, mounted=True)
    assert tree(disk, DIR) == before and any(name.endswith(".jsonl") for name in before)


def test_a_crash_at_any_step_of_a_restore_into_a_mount_point_leaves_no_half_of_one(good: bytes) -> None:
    """No ledger, so no daemon takes it, and the same command again finishes it; or all of it."""
    disk = mount_point()
    calls = NthFails(disk, 0, Killed(), CHANGES)
    restored(good, calls, mounted=True)
    steps = 0
    for nth in range(1, calls.count + 1):
        if 12 < nth <= calls.count - 40 and nth % 53:
            continue  # one file after another is unpacked: each like the one before
        disk = mount_point()
        with pytest.raises(Killed):
            restored(good, NthFails(disk, nth, Killed(), CHANGES, after=bool(nth % 2)), mounted=True)
        for left in (disk.crash(Random(nth)), disk.kill()):
            steps += 1
            inside: Any = Inside(left, DIR)
            if "ledger.json" in left.list(DIR):
                assert all(row["ok"] for row in verify_files(inside) if row["done"]), "it has a ledger, so it is whole"
                open_ledger(inside, Ids()).close()
                continue
            if any(name.endswith(".jsonl") for name in left.list(DIR)):
                with pytest.raises(BadLedger):
                    open_ledger(inside, Ids())
            restored(good, left, ids=900, mounted=True)
            assert all(row["ok"] for row in verify_files(inside) if row["done"])
            assert not [name for name in left.list(DIR) if "restoring" in name]
    assert steps > 80
