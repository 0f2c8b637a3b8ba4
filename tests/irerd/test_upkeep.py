"""Upkeep beside work: what a snapshot holds is what was durable, writes that come meanwhile wait their turn, and what the disk
refuses only delays."""

from typing import Any

import pytest

from core.engine import Command, Context, Decision, Engine, Event, Stamp, write
from core.fields import Count
from core.keys import Keys
from core.settings import Log as LogSettings
from core.world import World
from irerd.upkeep import Upkeep
from state import snapshot
from state.log import Full
from state.recover import records_between, recover
from state.replay import load as load_snapshot
from state.room import Room
from state.rotation import Limits
from state.seal import Pending
from tests.sim.disk import SimFiles
from tests.state.bodies_read import BodiesRead

SETTINGS = LogSettings(snapshot_records=10)
SEGMENTS = Limits(bytes=1 << 20, records=25, age_us=1 << 60)


class Clock:
    def __init__(self, files: SimFiles) -> None:
        self.files = files

    def now_us(self) -> int:
        return 1_767_225_600_000_000


def stamp() -> tuple[int, int, str]:
    return 1_767_225_600_000_000, 1, "b0071d00"


class Add(Command):
    """Add.

    amount: how much
    """

    amount: Count


class Added(Event, type="sum.added"):
    """Added.

    amount: how much
    """

    amount: Count


class Sum:
    def __init__(self, total: int = 0) -> None:
        self.total = total


def dump(state: Sum) -> Add:
    return Add(state.total)


def load(dumped: Add) -> Sum:
    return Sum(dumped.amount)


def apply_added(state: Sum, event: Added, stamp: Stamp) -> None:
    state.total += event.amount


def decide_add(state: Sum, command: Add, ctx: Context) -> Decision:
    return Decision(Added(command.amount))


def summing(dump: Any = dump) -> Engine:
    rows = [write("add", Add, decide_add, apply={Added: apply_added}, help="h", example={"amount": 1})]
    return Engine("sum", log="sum_log", state=Sum, rows=rows, dump=dump, load=load)


class Bench:
    def __init__(self, settings: LogSettings = SETTINGS, engine: Engine | None = None) -> None:
        self.files = BodiesRead()
        self.world = World([engine or summing()])
        self.keys = Keys()
        self.settings = settings
        self.upkeep = self.upkeep_anew()
        self.log = recover(self.files, "sum_log", "irer.invalid/0/sum_log", stamp, lambda batch: None, limits=SEGMENTS).log

    def upkeep_anew(self) -> Upkeep:
        """As another process makes it."""
        return Upkeep(Clock(self.files), self.world, self.keys, lambda: self.settings, stamp)  # type: ignore[arg-type]

    def add(self, count: int) -> None:
        for _ in range(count):
            sealed = self.log.seal([Pending("sum.added", b'{"amount":1}', "uid:1", "b0071d00", 1, stamp()[0])])
            self.log.commit(sealed.data)
            self.world.apply(Added(1), Stamp("sum_log", sealed.receipts[0].seq, 1, 1, "b0071d00", "uid:1"))
            if self.upkeep.due(self.log):
                self.upkeep.serve(self.log)

    def snapshots(self) -> list[int]:
        return [header.seq for header in snapshot.listed(self.files, "sum_log").headers]


def test_a_snapshot_is_taken_every_so_many_records_and_three_are_kept() -> None:
    bench = Bench()
    bench.add(44)
    assert len(bench.snapshots()) == 3
    newest, older, oldest = bench.snapshots()
    assert newest - older in (10, 11) and older - oldest in (10, 11), "a new segment's own record counts too"


def test_segments_are_begun_when_they_are_due_and_let_go_only_below_the_oldest_snapshot() -> None:
    bench = Bench(LogSettings(snapshot_records=10, retain_bytes=1))
    bench.add(120)
    oldest = bench.snapshots()[-1]
    assert bench.log.segment > 75, "four segments of 25 records or more were begun"
    assert 0 < bench.log.first_seq <= oldest + 1, "what the oldest snapshot needs is there"


def test_nothing_is_let_go_unless_the_configuration_says_so() -> None:
    bench = Bench()
    bench.add(120)
    assert bench.log.first_seq == 0


def test_a_full_disk_costs_a_snapshot_and_not_the_daemon_and_is_tried_again_later() -> None:
    bench = Bench()
    bench.add(5)
    bench.files.capacity = sum(len(data) for data in bench.files.tree().values()) + (1 << 20)
    bench.add(8)
    assert bench.snapshots() == [] and "no room" in bench.upkeep.troubles["sum_log"]
    bench.files.capacity = None
    bench.add(20)
    assert bench.snapshots() and "sum_log" not in bench.upkeep.troubles


def test_a_bug_in_an_engines_dump_is_trouble_and_nothing_more() -> None:
    def broken(state: Sum) -> Add:
        raise KeyError("a bug")

    bench = Bench(engine=summing(broken))
    bench.add(12)
    assert bench.snapshots() == [] and "a start will read the whole log" in bench.upkeep.troubles["sum_log"]


def test_a_snapshot_that_would_say_the_same_is_not_taken_twice() -> None:
    bench = Bench()
    bench.add(3)
    bench.upkeep.take_snapshot(bench.log)
    before = bench.files.tree()
    bench.upkeep.take_snapshot(bench.log)
    assert bench.files.tree() == before


def test_a_snapshot_written_beside_further_commands_is_the_state_at_the_record_it_was_taken_at() -> None:
    bench = Bench()
    bench.upkeep.beside = True
    bench.add(9)
    taken = bench.log.durable.seq - 1
    assert bench.upkeep.to_keep("sum_log") and bench.snapshots() == [], "nothing is written while commands wait"
    bench.add(12)
    assert not bench.upkeep.due(bench.log), "one at a time"
    bench.upkeep.keep("sum_log")
    assert bench.snapshots() == [taken] and not bench.upkeep.to_keep("sum_log")
    header, body = snapshot.read(bench.files, "sum_log", taken)
    start = Bench()
    assert load_snapshot(start.world, start.keys, header, body).size == taken + 1
    assert start.world.states["sum"].total == 9 and bench.world.states["sum"].total == 21
    assert bench.upkeep.due(bench.log), "the next counts from the one that was taken"


def test_what_a_snapshot_that_was_written_beside_needs_no_more_is_let_go_in_its_turn() -> None:
    bench = Bench(LogSettings(snapshot_records=10, retain_bytes=1))
    bench.upkeep.beside = True
    asked = 0
    for _ in range(20):
        bench.add(6)
        if bench.upkeep.to_keep("sum_log"):
            bench.upkeep.keep("sum_log")
            if bench.upkeep.due(bench.log):
                asked += 1
                bench.upkeep.serve(bench.log)
    assert asked >= 3, "a new segment or a new snapshot is not due then"
    assert 50 < bench.log.first_seq <= bench.snapshots()[-1] + 1
    assert not bench.upkeep.due(bench.log), "and it is not asked for again before there is another"


def test_a_picture_that_may_not_be_written_is_taken_anew() -> None:
    bench = Bench()
    bench.upkeep.beside = True
    bench.add(10)
    bench.upkeep.leave("sum_log")
    assert not bench.upkeep.to_keep("sum_log") and bench.upkeep.due(bench.log)


def test_a_bug_in_making_a_view_into_bytes_is_trouble_and_nothing_more() -> None:
    def fails() -> bytes:
        raise KeyError("a bug")

    bench = Bench()
    bench.upkeep.beside = True
    bench.world.pictures = lambda log: {"sum": fails}  # type: ignore[method-assign]
    bench.add(9)
    bench.upkeep.keep("sum_log")
    assert bench.snapshots() == [] and "a start will read the whole log" in bench.upkeep.troubles["sum_log"]
    assert not bench.upkeep.to_keep("sum_log") and not bench.upkeep.due(bench.log), "it is tried again as often as one is due"


def full(bench: Bench) -> None:
    """The disk has no room beside what is claimed already."""
    bench.log.room = Room(own_bytes=16_384, ahead_bytes=8_192, back_bytes=65_536)
    bench.log.reserve()
    bench.files.capacity = bench.files._used()
    sealed = bench.log.seal([Pending("sum.added", b'{"amount":1}', "uid:1", "b0071d00", 1, stamp()[0])])
    bench.log.commit(sealed.data)
    with pytest.raises(Full):
        bench.log.reserve()


def test_a_full_log_says_so_once_and_then_wants_nothing() -> None:
    bench = Bench()
    bench.add(5)
    full(bench)
    assert bench.upkeep.due(bench.log)
    bench.upkeep.serve(bench.log)
    assert [record.event_type for record in records_between(bench.log, 7, 99)] == ["log.full"]
    with pytest.raises(Full):
        bench.log.reserve()
    assert not bench.upkeep.due(bench.log)


def test_a_full_log_lets_go_of_old_segments_though_it_does_not_grow() -> None:
    """Once the configuration says so: whoever runs out of room may change it while irerd runs."""
    bench = Bench()
    bench.add(120)
    full(bench)
    bench.upkeep.serve(bench.log)
    assert bench.log.first_seq == 0 and not bench.upkeep.due(bench.log)
    bench.settings = LogSettings(snapshot_records=10, retain_bytes=1)
    assert bench.upkeep.due(bench.log)
    bench.upkeep.serve(bench.log)
    assert 0 < bench.log.first_seq <= bench.snapshots()[-1] + 1
    bench.upkeep.serve(bench.log)
    assert not bench.upkeep.due(bench.log), "what a snapshot still needs is not asked for at every look"


def test_what_may_go_stays_where_not_even_its_record_has_room() -> None:
    bench = Bench(LogSettings(snapshot_records=10, retain_bytes=0))
    bench.add(120)
    full(bench)
    bench.upkeep.serve(bench.log)
    bench.log._reserved_end = bench.log.end + 600
    bench.settings = LogSettings(snapshot_records=10, retain_bytes=1)
    before = bench.files.tree()
    bench.upkeep.serve(bench.log)
    assert bench.files.tree() == before and "no room is left" in bench.upkeep.troubles["sum_log"]


def test_no_body_of_a_snapshot_is_read_that_this_process_wrote() -> None:
    """The three that are kept may be large: a new one does not need them read back."""
    bench = Bench()
    bench.add(120)
    bench.upkeep.take_snapshot(bench.log)
    assert len(bench.snapshots()) == 3, "several were let go"
    assert bench.files.bodies == []
    before = bench.snapshots()
    bench.upkeep = bench.upkeep_anew()
    bench.upkeep.begin("sum_log", before[0])
    bench.add(60)
    assert bench.files.bodies == before[:2], "those from before it, once each, while they are there"


def test_segments_go_only_once_the_snapshot_that_stands_for_them_was_read_whole() -> None:
    bench = Bench(LogSettings(snapshot_records=10, retain_bytes=1))
    bench.add(120)
    assert bench.log.first_seq > 50 and bench.files.bodies, "though this process wrote it"
