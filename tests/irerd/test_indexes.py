"""An approximate index beside the vectors: what is found by it is as near as said, nothing fresh is missed, nothing that was let go
of is found, and whatever becomes of its file costs a search no more than being exact."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

pytest.importorskip("numpy")

from core.data import index as heads
from core.data.embedding import nearest, numbers, unit
from core.data.reads import AskIndex, SearchData
from core.engine import Actor, Refused
from irerd import vectors as keeping
from irerd.indexes import RETRY_S, check_choice
from irerd.vectors import FOLDER, DataPorts, Vectors, Wanted
from irerd.worker import JobFailed
from irerd.workers import Progress, WorkFailed
from tests.irerd.test_vectors import MODEL, SIZE, Records

SUBJECTS, ROWS = 12, 420


class Machine(Records):
    """With a worker that makes indexes too, and a clock."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.now_us = 0
        self.told: list[Progress] = []
        self.spoil: Callable[[bytes], bytes] = lambda raw: raw
        self.meanwhile: Callable[[], Any] = lambda: None
        self.endless = False
        self.middles = [[self.chance.gauss(0, 1) for _ in range(SIZE)] for _ in range(SUBJECTS)]

    def mono_us(self) -> int:
        return self.now_us

    async def work(self, name: str, spec: bytes, **how: Any) -> bytes:
        if name != "index":
            return await super().work(name, spec, timeout_s=how["timeout_s"])
        from irerd.work.index import index

        assert how["patient"], "somebody may wait for every other job"
        self.worked.append(name)
        if self.endless:
            how["on_progress"](Progress(1, 9))
            await trio.sleep_forever()
        if self.fault:
            raise WorkFailed(self.fault)
        self.meanwhile()
        try:
            return self.spoil(index(spec, lambda done, total: self.told.append(Progress(done, total))))
        except JobFailed as failed:
            raise WorkFailed(failed.code) from None

    def about(self, subject: int) -> bytes:
        return unit([each + self.chance.gauss(0, 0.3) for each in self.middles[subject % SUBJECTS]])

    def fill(self, many: int = ROWS) -> None:
        for place in range(many):
            self.add(like=self.about(place))

    # --- what must be ---------------------------------------------------------------------------------------------------

    def truth(self, query: bytes, k: int) -> Any:
        return nearest(numbers(query), [(seq, f"{seq:064x}", numbers(raw)) for seq, raw in self.live.items()], k)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(keeping, "SEGMENT_ROWS", 150)
    monkeypatch.setattr(keeping, "SMALL_ROWS", 0)
    monkeypatch.setattr(heads, "ROWS_MIN", 40)
    return Machine(tmp_path)


def look(view: Vectors, query: bytes, k: int = 10, wanted: Wanted | None = None) -> keeping.Looked:
    return trio.run(view.look, MODEL, [query], k, wanted or Wanted())


def make(view: Vectors) -> None:
    """Whatever is wanted is made."""

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(view.indexes.run)
            view.indexes.make(MODEL)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    trio.run(run)


def file(machine: Machine, view: Vectors) -> Path:
    return machine.root / FOLDER / view.indexes.name(MODEL)


@contextmanager
def made(machine: Machine) -> Iterator[Vectors]:
    machine.fill()
    view = machine.view()
    make(view)
    yield view


def test_what_is_found_is_as_near_as_said_and_as_much_as_was_measured(machine: Machine) -> None:
    with made(machine) as view:
        hits, told = 0, []
        for subject in range(60):
            query = machine.about(subject)
            looked = look(view, query, wanted=Wanted(probes=4))
            true = machine.truth(query, 10)
            nears = {each.seq: each.relevance for each in machine.truth(query, len(machine.live))}
            assert looked.how["method"] == "approximate" and looked.compared < len(machine.live) // 2
            assert [each.relevance for each in looked.found[0]] == [nears[each.seq] for each in looked.found[0]], "as near as said"
            hits += len({each.seq for each in true} & {each.seq for each in looked.found[0]})
            told.append(looked.how["recall"])
        assert hits / 600 >= sum(told) / 60 - 0.05 and sum(told) / 60 > 0.7


def test_more_is_looked_into_where_more_is_wanted(machine: Machine) -> None:
    with made(machine) as view:
        query = machine.about(3)
        few, more = (look(view, query, wanted=Wanted(recall=recall)) for recall in (0.5, 0.9))
        assert few.how["probes"] < more.how["probes"] and few.how["recall"] >= 0.5 and more.how["recall"] >= 0.9
        assert len(look(view, query, 60, Wanted(probes=1)).found[0]) == 60, "so few lists do not hold as many as are wanted"
        page = trio.run(view.indexed, MODEL)
        rows = {(row.noise, row.probes): row for row in page.recall}
        assert rows[0.0, few.how["probes"]].at_10 == few.how["recall"] and page.sampled == few.how["sampled"] == 256
        assert all(rows[noise, page.lists].at_100 == 1 for noise in heads.NOISES)


def test_nothing_fresh_is_missed_and_nothing_that_was_let_go_of_is_found(machine: Machine) -> None:
    with made(machine) as view:
        query = machine.about(5)
        before = look(view, query, wanted=Wanted(probes=8))
        opposite = unit([-each for each in numbers(query)])
        for like in (query, opposite):
            machine.add(like=like)
            newest = max(machine.live)
            looked = look(view, like, wanted=Wanted(probes=8))
            assert looked.how.get("method") == "approximate" or looked.how["because"] == "unlike"
            assert looked.found[0][0].seq == newest, "in whatever list it would be"
        assert look(view, query, wanted=Wanted(probes=8)).compared == before.compared + 2
        gone = [each.seq for each in before.found[0][:4]]
        machine.drop(*gone)
        looked = look(view, query, wanted=Wanted(probes=8))
        assert not {each.seq for each in looked.found[0]} & set(gone) and looked.compared == before.compared + 2 - 4
        assert {each.seq for each in before.found[0][4:]} <= {each.seq for each in looked.found[0]}


def test_a_segment_written_anew_is_compared_whole_and_half_of_all_gone_gives_the_bytes_back(machine: Machine) -> None:
    with made(machine) as view:
        query = machine.about(1)
        machine.drop(*[seq for seq in list(machine.live)[:150] if seq % 3 == 0])
        looked = look(view, query, wanted=Wanted(probes=1))
        assert looked.how["method"] == "approximate" and looked.compared >= 100
        left = {each.seq for each in looked.found[0]}
        true = [each.seq for each in machine.truth(query, len(machine.live)) if each.seq < 150]
        assert true[0] in left or looked.found[0][-1].relevance >= machine.truth(query, 10)[-1].relevance
        assert file(machine, view).exists()
        machine.drop(*[seq for seq in list(machine.live)[:200] if seq % 2])
        assert look(view, query).how["because"] == "building" and not file(machine, view).exists()
        make(view)
        assert look(view, query, wanted=Wanted(probes=1)).how["method"] == "approximate"
        size = file(machine, view).stat().st_size
        machine.drop(*list(machine.live)[50:])
        look(view, query)
        make(view)
        assert file(machine, view).stat().st_size < size


def _gone(path: Path) -> None:
    path.unlink()


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def _head_alone(path: Path) -> None:
    os.truncate(path, 200)


def _flipped(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-5] ^= 8
    path.write_bytes(raw)


def _other_vectors(path: Path) -> None:
    """The same rows in another order of records: a history that this is not."""
    head, body = heads.opened(path.read_bytes())
    head.segments[1].keys = "b" * 64
    path.write_bytes(heads.sealed(head, body))


def _other_lists(path: Path) -> None:
    """Its digest is right, and its rows are none."""
    head, body = heads.opened(path.read_bytes())
    path.write_bytes(heads.sealed(head, body[:-4] + b"\xff\xff\xff\xff"))


def _another_version(path: Path) -> None:
    head, body = heads.opened(path.read_bytes())
    head.version += 1
    path.write_bytes(heads.sealed(head, body))


@pytest.mark.parametrize("harm", [_gone, _cut, _head_alone, _flipped, _other_vectors, _other_lists, _another_version])
@pytest.mark.parametrize("running", [True, False])
def test_whatever_became_of_the_file_the_answer_is_exact_and_it_is_made_anew(
    machine: Machine, harm: Callable[[Path], None], running: bool
) -> None:
    with made(machine) as view:
        query = machine.about(2)
        if not running:
            trio.run(view.catch_up)
            view._save()
            view = machine.view()
        harm(file(machine, view))
        looked = look(view, query)
        assert looked.how["because"] in ("damaged", "building")
        assert looked.found[0] == machine.truth(query, 10) and looked.compared == len(machine.live)
        make(view)
        assert look(view, query, wanted=Wanted(probes=1)).how["method"] == "approximate"


def test_a_start_goes_on_with_the_index_of_before(machine: Machine) -> None:
    with made(machine) as view:
        trio.run(view.catch_up)
        view._save()
        machine.worked.clear()
        assert look(machine.view(), machine.about(1), wanted=Wanted(probes=1)).how["method"] == "approximate"
        assert machine.worked == ["nearest"]


def test_vectors_made_anew_take_the_index_with_them(machine: Machine) -> None:
    with made(machine) as view:
        os.truncate(machine.root / FOLDER / "00000001.f32", 100)
        query = machine.about(1)
        looked = look(view, query)
        assert looked.found[0] == machine.truth(query, 10) and not file(machine, view).exists()


def test_one_of_segments_that_are_there_no_more_is_not_kept(machine: Machine) -> None:
    machine.fill()
    view = machine.view()
    machine.meanwhile = view.indexes.begin_anew
    make(view)
    assert not file(machine, view).exists()


def test_the_same_vectors_give_the_same_bytes(machine: Machine) -> None:
    with made(machine) as view:
        first = file(machine, view).read_bytes()
        make(view)
        assert file(machine, view).read_bytes() == first
        assert machine.told[0].done == 0 and machine.told[-1].done == machine.told[-1].total


def test_few_and_none_and_equal_ones(machine: Machine) -> None:
    view = machine.view()
    same = unit([1.0] * SIZE)
    make(view)
    assert look(view, same) == ([[]], 0, {"because": "small"}) and trio.run(view.indexed, MODEL).state == "none"
    machine.add(20, like=same)
    assert look(view, same).how == {"because": "small"}
    machine.add(80, like=same)
    make(view)
    assert trio.run(view.indexed, MODEL).lists == 1
    looked = look(view, same, 30)
    assert looked.how["because"] == "quicker" and looked.found[0] == machine.truth(same, 30)
    assert look(view, same, heads.K_MAX + 1).how == {"because": "many"}


def test_what_does_not_look_like_anything_stored_is_compared_with_each(machine: Machine) -> None:
    direction = [1.0] * SIZE
    for _ in range(200):
        machine.add(like=unit([each + machine.chance.gauss(0, 0.05) for each in direction]))
    view = machine.view()
    make(view)
    away = unit([-each for each in direction])
    looked = look(view, away, wanted=Wanted(probes=1))
    assert looked.how["because"] == "unlike" and looked.found[0] == machine.truth(away, 10)


@pytest.mark.parametrize(("fault", "why"), [("not-installed", "not-installed"), ("poison", "poison")])
def test_one_that_cannot_be_made_is_not_tried_at_every_search(machine: Machine, fault: str, why: str) -> None:
    machine.fill()
    view = machine.view()
    machine.fault = fault
    make(view)
    machine.worked.clear()
    machine.fault = ""
    query = machine.about(1)
    looked = look(view, query)
    assert looked.how == {"because": "none"} and looked.found[0] == machine.truth(query, 10)
    page = trio.run(view.indexed, MODEL)
    assert (page.state, page.failed) == ("none", why) and not view.indexes._wanted
    machine.now_us += round(RETRY_S * 1e6)
    look(view, query)
    assert list(view.indexes._wanted) == [MODEL], "later it is"


@pytest.mark.parametrize("spoil", [lambda raw: b"", lambda raw: raw[:50], lambda raw: raw.replace(MODEL.encode(), b"your", 1)])
def test_what_no_worker_of_ours_says_is_not_kept(machine: Machine, spoil: Callable[[bytes], bytes]) -> None:
    machine.fill()
    view = machine.view()
    machine.spoil = spoil
    make(view)
    assert trio.run(view.indexed, MODEL).failed == "bad-output" and not file(machine, view).exists()


def test_a_full_disk_keeps_it_away_and_harms_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.fill()
    view = machine.view()
    trio.run(view.catch_up)
    monkeypatch.setattr(machine.files, "free", lambda: 1_000)
    make(view)
    assert trio.run(view.indexed, MODEL).failed == "disk" and not file(machine, view).exists()


async def test_making_is_told_of_and_can_be_stopped(machine: Machine) -> None:
    machine.fill()
    view = machine.view()
    machine.endless = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(view.indexes.run)
        assert (await view.look(MODEL, [machine.about(1)], 10, Wanted())).how == {"because": "building"}
        await trio.testing.wait_all_tasks_blocked()
        page = await view.indexed(MODEL)
        assert (page.state, page.done, page.total) == ("making", 1, 9)
        assert (await view.look(MODEL, [machine.about(1)], 10, Wanted())).how == {"because": "building"}
        assert machine.worked.count("index") == 1 and not view.indexes._wanted, "once"
        view.indexes.stop(MODEL)
        await trio.testing.wait_all_tasks_blocked()
        page = await view.indexed(MODEL)
        assert (page.state, page.done, page.failed) == ("none", None, None)
        machine.endless = False
        view.indexes.make(MODEL)
        await trio.testing.wait_all_tasks_blocked()
        assert (await view.indexed(MODEL)).state == "ready"
        nursery.cancel_scope.cancel()


def test_one_that_covers_too_little_is_made_anew_and_used_meanwhile(machine: Machine) -> None:
    with made(machine) as view:
        machine.fill(heads.ROWS_MIN + ROWS // heads.FRESH_SHARE)
        looked = look(view, machine.about(1), wanted=Wanted(probes=1))
        assert looked.how["method"] == "approximate" and list(view.indexes._wanted) == [MODEL]
        make(view)
        page = trio.run(view.indexed, MODEL)
        assert page.covered == page.vectors == len(machine.live)


def test_what_cannot_be_asked() -> None:
    for method, probes, recall, field in (
        ("exact", 3, None, "probes"),
        ("exact", None, 0.9, "recall"),
        ("approximate", 3, 0.9, "recall"),
    ):
        with pytest.raises(Refused) as caught:
            check_choice(method, probes, recall)
        assert [name for name, _ in caught.value.fields] == [field]
    check_choice("approximate", None, 0.9)
    check_choice("exact", None, None)


def test_exact_is_what_is_done_unless_told(machine: Machine) -> None:
    """Even where an index stands."""
    assert SearchData(query="a").method == "exact"
    with made(machine) as view:
        query = machine.about(4)
        looked = trio.run(view.look, MODEL, [query], 10)
        assert looked.how == {} and looked.found[0] == machine.truth(query, 10)


async def test_the_index_of_nothing_stored_is_refused() -> None:
    data = SimpleNamespace(model="hashed-256", models={"mine": 8})
    ports = DataPorts(SimpleNamespace(vectors=None))  # type: ignore[arg-type]
    ports.__class__ = type("Ports", (DataPorts,), {"_data": data})
    for asked, code in ((AskIndex("yours"), "not-found"), (AskIndex(make=True, stop=True), "invalid-argument")):
        with pytest.raises(Refused) as caught:
            await ports.index(asked, Actor("uid:1", ""), None)  # type: ignore[arg-type]
        assert caught.value.code == code


def test_a_spec_that_is_none_is_refused() -> None:
    from irerd.work.index import index

    for spec, code in ((b"{}", "bad-spec"), (json.dumps({"model": "m", "dimension": 8, "segments": []}).encode(), "nothing")):
        with pytest.raises(JobFailed) as caught:
            index(spec, lambda done, total: None)
        assert caught.value.code == code
