"""Views beside a log: only what is durable is seen, a kill loses nothing, a bad file costs time and nothing else."""

import json
import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from core.engine import Stamp
from core.views import Follower, Now, View
from irerd import views
from irerd.views import Views
from state.log import Log
from state.recover import recover
from state.rotation import Limits
from state.seal import Pending
from tests.sim.disk import SimFiles

LEDGER = "0b54a9a2-6d2c-4c3e-9d51-0d8a3f6f2f10"
LOGS = ("left_log", "right_log")
PATH = "views/sum.view"


class Sums(msgspec.Struct):
    total: int
    order: int
    calls: int
    sampled: int


def add(sums: Sums, payload: bytes, stamp: Stamp) -> None:
    amount = json.loads(payload)["amount"]
    if amount == 666:
        raise RuntimeError("a bug in a fold")
    sums.total += amount
    sums.order = (sums.order + hash((stamp.log, stamp.seq, amount))) % (1 << 61)


def turn(sums: Sums, payload: bytes, stamp: Stamp) -> None:
    sums.order = (sums.order + sums.sampled) % (1 << 61)


def sample(sums: Sums, totals: Any, now: Now) -> None:
    sums.sampled = totals["calls"]


def dump(sums: Sums) -> Sums:
    return msgspec.structs.replace(sums)


def load(dumped: Sums) -> Sums:
    return dumped


def sum_view(version: int = 1) -> View:
    folds = {"sum.added": add, "sum.turned": turn}
    return View("sum", version, lambda: Sums(0, 0, 0, 0), folds, dump, load, None, sample, frozenset({"sum.turned"}))


class Host:
    """A disk, clocks that stand, and work that is done at once, after what the test wants to come in between."""

    boot_id = "b0071d00"

    def __init__(self, files: SimFiles) -> None:
        self.files = files
        self.between: Callable[[], None] = lambda: None

    def now_us(self) -> int:
        return 1_767_225_600_000_000

    def mono_us(self) -> int:
        return 5

    async def offload(self, function: Callable[..., Any], *args: object) -> Any:
        self.between()
        return function(*args)


class Rig:
    """Two logs, the views beside them, and a slow sum of all that was written."""

    def __init__(self, files: SimFiles | None = None, version: int = 1, ledger: str = LEDGER, skip: tuple[str, ...] = ()) -> None:
        self.files = files or SimFiles()
        self.host = Host(self.files)
        self.logs: dict[str, Log] = {}
        self.next_seq: dict[str, int] = {}
        for name in LOGS:
            limits = Limits(bytes=1 << 20, records=20, age_us=1 << 60)
            self.logs[name] = recover(self.files, name, f"irer.invalid/0/{name}", self.stamp, lambda batch: None, limits=limits).log
            self.next_seq[name] = self.logs[name].next_seq
        self.calls = 0
        self.faults: list[str] = []
        self.moment = 0
        self.views = self.views_anew({name: log for name, log in self.logs.items() if name not in skip}, version)
        self.views.ledger = ledger

    def views_anew(self, sound: dict[str, Log], version: int = 1) -> Views:
        """Views that know nothing, beside logs that are open."""
        found = Views(
            self.host,  # type: ignore[arg-type]
            [sum_view(version)],
            sound,
            lambda: {"calls": self.calls},
            lambda place, error: self.faults.append(f"{place}: {error}"),
        )
        found.ledger = LEDGER
        return found

    def stamp(self) -> tuple[int, int, str]:
        return self.host.now_us(), self.host.mono_us(), self.host.boot_id

    @property
    def kept(self) -> views._Kept:
        return self.views._kept["sum"]

    @property
    def sums(self) -> Sums:
        found = self.kept.follower.state
        assert isinstance(found, Sums)
        return found

    def decide(self, log: str, *amounts: int, kind: str = "sum.added") -> list[Pending]:
        """One command, queued and not durable."""
        self.moment += 1
        time_us, _, boot_id = self.stamp()
        records = [Pending(kind, b'{"amount":%d}' % amount, "uid:1", boot_id, self.moment, time_us) for amount in amounts]
        self.views.taken(log, self.next_seq[log], [records])
        self.next_seq[log] += len(records)
        return records

    def sync(self, log: str, records: list[Pending]) -> None:
        batch = self.logs[log].seal(records)
        self.logs[log].commit(batch.data)
        self.views.after_group({log: batch.receipts[-1][0]})

    def write(self, log: str, *amounts: int, kind: str = "sum.added") -> None:
        self.sync(log, self.decide(log, *amounts, kind=kind))

    def some(self, count: int, seed: int = 0) -> None:
        chance = random.Random(seed)
        for _ in range(count):
            self.write(chance.choice(LOGS), *[chance.randrange(100) for _ in range(chance.choice((1, 1, 3)))])

    async def up(self) -> None:
        await self.views._bring_up(self.kept)

    def after_kill(self, **more: Any) -> "Rig":
        """The same disk, everything else new."""
        for log in self.logs.values():
            log.close()
        return Rig(self.files, **more)

    async def anew(self) -> bytes:
        """What a view that begins with nothing makes of the logs."""
        if self.files.stat_path(PATH) is not None:
            self.files.unlink(PATH)
        rig = self.after_kill()
        await rig.up()
        return rig.dumped()

    def dumped(self) -> bytes:
        return Follower.encode(self.kept.follower.dump())


@pytest.fixture
async def rig() -> Rig:
    rig = Rig()
    await rig.up()
    return rig


async def test_a_view_sees_what_is_durable_and_nothing_before(rig: Rig) -> None:
    records = rig.decide("left_log", 5)
    assert rig.sums.total == 0
    rig.write("right_log", 7)
    assert rig.sums.total == 7
    later = rig.decide("left_log", 100)
    rig.sync("left_log", records)
    assert rig.sums.total == 12 and rig.views.look("sum") is rig.kept.follower
    rig.sync("left_log", later)
    assert rig.sums.total == 112


@pytest.mark.parametrize("saved_at", [0, 3, 30, None])
async def test_after_a_kill_it_is_what_it_was(rig: Rig, saved_at: int | None) -> None:
    for place in range(30):
        if place == saved_at:
            await rig.views.save()
        rig.some(1, place)
    if saved_at == 30:
        await rig.views.save()
    before = rig.dumped()
    reads = 0

    def count() -> None:
        nonlocal reads
        reads += 1

    again = rig.after_kill()
    again.host.between = count
    await again.up()
    assert again.dumped() == before and reads == (1 if saved_at == 30 else 3), "a whole file leaves nothing to read"
    again.some(5, 77)
    assert again.dumped() == await again.anew()


async def test_a_saved_view_goes_on_behind_records_of_the_log_layer(rig: Rig) -> None:
    rig.some(10)
    rig.logs["left_log"].rotate(rig.stamp)
    rig.next_seq["left_log"] = rig.logs["left_log"].next_seq
    rig.views.after_group({"left_log": rig.logs["left_log"].durable.seq - 1})
    rig.some(10, 1)
    await rig.views.save()
    assert rig.kept.saved == rig.kept.follower.positions == rig.next_seq
    before = rig.dumped()
    assert (await rig.anew()) == before


async def test_every_damage_of_its_file_costs_only_the_time_to_read_the_logs(rig: Rig) -> None:
    rig.some(12)
    await rig.views.save()
    before, raw = rig.dumped(), _read(rig.files)
    for place in [*range(0, len(raw), 17), len(raw) - 1]:
        for bad in (raw[:place], raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]):
            _write(rig.files, bad)
            rig = rig.after_kill()
            await rig.up()
            assert rig.dumped() == before and rig.kept.gaps == [] and rig.kept.standing == "live"


async def test_a_file_of_another_version_ledger_or_history_is_of_no_use(rig: Rig) -> None:
    rig.some(12)
    await rig.views.save()
    for more in ({"version": 2}, {"ledger": "another"}):
        other = rig.after_kill(**more)
        other.host.between = lambda: None
        await other.views._host.offload(other.views._load, other.kept)
        assert other.kept.follower.positions == {}, more
        rig = other
    elsewhere = Rig()
    await elsewhere.up()
    elsewhere.some(12, 5)
    elsewhere.some(30, 6)
    _write(elsewhere.files, _read(rig.files))
    before = elsewhere.dumped()
    again = elsewhere.after_kill()
    await again.up()
    assert again.dumped() == before, "the records before its places are others"


async def test_a_file_ahead_of_the_log_is_of_no_use(rig: Rig) -> None:
    rig.some(3)
    again = Rig()
    again.some(3)
    rig.some(9, 1)
    await rig.views.save()
    _write(again.files, _read(rig.files))
    await again.up()
    assert again.kept.follower.positions == again.next_seq and again.sums.total < rig.sums.total


async def test_a_view_catches_up_though_much_is_written_meanwhile(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "CHUNK_RECORDS", 4)
    monkeypatch.setattr(views, "TAIL_COMMANDS", 3)
    rig.some(20)
    again = rig.after_kill()
    left = 25

    def more() -> None:
        nonlocal left
        if left:
            left -= 1
            again.some(1, left)

    again.host.between = more
    open_command = again.decide("right_log", 9)
    assert again.views.rebuilding == 1 and again.views.look("sum") is None and again.views.check().health == "ok"
    left_open = True

    def last() -> None:
        nonlocal left_open
        if left_open:
            left_open = False
            again.sync("right_log", open_command)
        more()

    again.host.between = last
    await again.up()
    again.some(3, 99)
    before = again.dumped()
    assert left < 20 and before == await again.anew()


async def test_a_command_that_becomes_durable_just_then_is_neither_lost_nor_doubled(rig: Rig) -> None:
    rig.some(6)
    again = rig.after_kill()
    open_ends: list[tuple[str, int]] = []
    rounds = 0

    def commit(log: str, amount: int) -> None:
        """On disk, and the loop has not heard of it yet."""
        batch = again.logs[log].seal(again.decide(log, amount))
        again.logs[log].commit(batch.data)
        open_ends.append((log, batch.receipts[-1][0]))

    def between() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 2:
            commit("left_log", 1_000)  # read back from the log, and fed again when the loop hears of it
        if rounds == 3:
            again.views.after_group(dict([open_ends.pop()]))
            again.write("left_log", 20_000)  # kept in memory
            commit("left_log", 300_000)  # only the next group brings it
            commit("right_log", 4_000_000)  # read back, and brought by the next group once more

    again.host.between = between
    await again.up()
    total = rig.sums.total
    assert rounds == 3 and again.sums.total == total + 4_021_000
    again.views.after_group(dict(open_ends))
    assert again.sums.total == total + 4_321_000
    assert again.dumped() == await again.anew()


async def test_records_that_were_let_go_are_told_as_missing(rig: Rig) -> None:
    rig.write("right_log", 1)
    rig.some(30)
    for log in rig.logs.values():
        log.rotate(rig.stamp)
    rig.next_seq.update({name: log.next_seq for name, log in rig.logs.items()})
    rig.some(5, 1)
    left = rig.logs["left_log"]
    pruned = left.view.closed[0]
    left.prune([pruned], rig.stamp)
    rig.next_seq["left_log"] = left.next_seq
    whole = rig.sums.total
    for _ in range(2):  # from the logs, then from its own file
        rig.views = rig.views_anew(rig.logs)
        await rig.up()
        assert rig.views.gaps("sum") == [("left_log", 0, pruned.last_seq)] and rig.kept.standing == "live"
        assert 0 < rig.sums.total < whole
        await rig.views.save()


async def test_a_fold_that_fails_ends_its_view_and_nothing_else(rig: Rig) -> None:
    rig.write("left_log", 1)
    rig.write("left_log", 666)
    rig.write("left_log", 1)
    assert rig.faults == ["view sum: a bug in a fold"] and rig.views.look("sum") is None
    check = rig.views.check()
    assert check.health == "degraded" and "sum" in check.reason and rig.views.standing("sum") == "failed"
    await rig.views.save()
    assert rig.files.stat_path(PATH) is None, "what may be wrong is not kept"


async def test_what_the_disk_refuses_is_tried_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.some(4)
    monkeypatch.setattr(rig.files, "free", lambda: 1000)
    await rig.views.save()
    assert rig.views.check().health == "degraded" and rig.files.stat_path(PATH) is None
    monkeypatch.undo()
    await rig.views.save()
    assert rig.views.check().health == "ok" and rig.files.stat_path(PATH) is not None
    again = rig.after_kill()
    await again.up()
    assert again.dumped() == rig.dumped()


async def test_nothing_new_is_not_saved_again(rig: Rig) -> None:
    rig.some(4)
    await rig.views.save()
    rig.files.unlink(PATH)
    await rig.views.save()
    assert rig.files.stat_path(PATH) is None
    rig.some(1)
    await rig.views.save()
    assert rig.files.stat_path(PATH) is not None


async def test_totals_are_sampled_before_an_event_that_divides_the_time(rig: Rig) -> None:
    rig.calls = 3
    rig.write("left_log", 0, kind="sum.turned")
    rig.calls = 9
    assert (rig.sums.order, rig.sums.sampled) == (3, 3)
    assert rig.views.look("sum") is not None and rig.sums.sampled == 9


async def test_a_log_that_did_not_verify_is_left_alone(rig: Rig) -> None:
    rig.some(20)
    await rig.views.save()
    again = rig.after_kill(skip=("left_log",))
    await again.up()
    assert again.dumped() == rig.dumped(), "what it knew of it is kept"


def _read(files: SimFiles) -> bytes:
    from state.fs import read_all

    raw = read_all(files, PATH)
    assert raw is not None
    return raw


def _write(files: SimFiles, raw: bytes) -> None:
    from state.fs import make_directory, small_write

    make_directory(files, "views")
    small_write(files, PATH, raw)
