"""Vectors beside the log: an answer is that of comparing each, whoever compares; deletes give bytes back; and whatever becomes of
the files, the log says it all again."""

import errno
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from core.canonical import event_payload
from core.data.embedding import MODEL as MODEL_OF_TEXTS
from core.data.embedding import OWN, TABLE_MODEL, embed, nearest, numbers, text_of, unit
from core.data.events import VectorForgotten
from core.data.model import LOG, Data, Node
from core.data.telemetry import embed_series
from core.data.told import ContentCreated, EmbeddingGenerated, TelemetryReceived, id_of
from core.engine import Errand, Event, JobEnded
from irerd import vectors as keeping
from irerd.vectors import FOLDER, MANIFEST, Vectors
from irerd.worker import JobFailed
from irerd.workers import WorkFailed
from state.fs import RealFiles

MODEL, SIZE = "mine", 8


class Records:
    """A log as the view reads it, a machine with one worker, and the truth: which vectors there are."""

    def __init__(self, root: Path) -> None:
        self.root, self.files = root, RealFiles(root)
        self.chance = random.Random(5)
        self.events: list[Event] = []
        self.live: dict[int, bytes] = {}
        self.first_seq = 0
        self.ledger = SimpleNamespace(id="ledger-1")
        self.history = "a"
        self.worked: list[str] = []
        self.fault = ""
        self.data = Data()
        self.world = SimpleNamespace(states={"data": self.data})
        self.undecided = 0
        self.read_from: list[int] = []

    # --- what the view sees ---------------------------------------------------------------------------------------------

    def view(self) -> Vectors:
        """A new one, as a start makes it."""
        return Vectors(cast(Any, self), cast(Any, self), self.root, cast(Any, {LOG: self}), lambda log: len(self.events) - 1)

    @property
    def next_seq(self) -> dict[str, int]:
        return {LOG: len(self.events) + self.undecided}

    def stored(self, log: str, first: int, last: int) -> list[Any]:
        self.read_from.append(first)
        assert self.first_seq <= first <= last < len(self.events)
        return [
            SimpleNamespace(
                seq=seq, event_type=event.event_type, payload=event_payload(event), event_hash=f"{self.history}{seq}", time_us=0
            )
            for seq, event in enumerate(self.events[first : last + 1], first)
        ]

    async def offload(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    async def work(self, name: str, spec: bytes, *, timeout_s: float) -> bytes:
        from irerd.work.search import nearest as job

        self.worked.append(name)
        if self.fault:
            raise WorkFailed(self.fault)
        try:
            return job(spec, lambda done, total: None)
        except JobFailed as failed:
            raise WorkFailed(failed.code) from None

    # --- what happens ---------------------------------------------------------------------------------------------------

    def add(self, many: int = 1, like: bytes | None = None, replaces: int | None = None) -> None:
        for _ in range(many):
            raw = like or unit([self.chance.gauss(0, 1) for _ in range(SIZE)])
            seq = len(self.events)
            self.events.append(EmbeddingGenerated(f"{seq:064x}", MODEL, SIZE, text_of(raw), replaces))
            self.live[seq] = raw
            self.live.pop(-1 if replaces is None else replaces, None)

    def drop(self, *seqs: int) -> None:
        self.events.append(VectorForgotten([f"{seq:064x}" for seq in seqs], list(seqs), "asked"))
        for seq in seqs:
            del self.live[seq]

    # --- what must be ---------------------------------------------------------------------------------------------------

    def agrees(self, view: Vectors, k: int = 7) -> None:
        query = unit([self.chance.gauss(0, 1) for _ in range(SIZE)])
        rows = [(seq, f"{seq:064x}", numbers(raw)) for seq, raw in self.live.items()]
        found, compared = trio.run(view.nearest, MODEL, query, k)
        assert found == nearest(numbers(query), rows, k) and compared == len(rows)

    def sizes(self) -> int:
        return sum(path.stat().st_size for path in (self.root / FOLDER).iterdir())


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Records:
    monkeypatch.setattr(keeping, "SEGMENT_ROWS", 50)
    return Records(tmp_path)


@pytest.fixture(params=["thread", "worker"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who compares."""
    if request.param == "worker":
        pytest.importorskip("numpy")
        monkeypatch.setattr(keeping, "SMALL_ROWS", 0)
    return str(request.param)


def test_a_search_is_a_comparison_with_each_before_and_after_deletes(records: Records, way: str) -> None:
    view = records.view()
    for _ in range(6):
        records.add(40)
        records.agrees(view)
    records.agrees(view, 1_000)
    dropped = records.chance.sample(sorted(records.live), 120)
    for place in range(0, 120, 30):
        records.drop(*dropped[place : place + 30])
        records.agrees(view)
    for seq in list(records.live)[:5]:
        records.add(replaces=seq)
    records.agrees(view)
    records.drop(*records.live)
    records.agrees(view)
    assert bool(records.worked) == (way == "worker")


def test_of_equals_the_oldest_come_first(records: Records, way: str) -> None:
    same = unit([1.0] * SIZE)
    records.add(70, like=same)
    records.add(10)
    found, _ = trio.run(records.view().nearest, MODEL, same, 60)
    assert [each.seq for each in found] == list(range(60)) and {each.relevance for each in found} == {found[0].relevance}


def test_very_many_equals_are_no_trouble_for_a_worker(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numpy")
    from irerd.work import search

    monkeypatch.setattr(keeping, "SMALL_ROWS", 0)
    monkeypatch.setattr(search, "COMPARED_AGAIN_MAX", 20)
    same, nearer = unit([1.0] * SIZE), unit([1.0] * (SIZE - 1) + [1.5])
    records.add(70, like=same)
    records.add(3, like=nearer)
    found, _ = trio.run(records.view().nearest, MODEL, nearer, 5)
    assert [each.seq for each in found] == [70, 71, 72, 0, 1]


def test_deletes_give_bytes_back(records: Records) -> None:
    view = records.view()
    records.add(200)
    records.agrees(view)
    full = records.sizes()
    records.drop(*range(100))
    records.agrees(view)
    assert records.sizes() == full // 2
    records.drop(*range(100, 110))
    records.agrees(view)
    assert records.sizes() == full // 2, "a few dead rows are passed over"
    records.drop(*range(110, 115))
    records.agrees(view)
    assert records.sizes() < full // 2, "a quarter of a segment is written anew"


def test_a_start_goes_on_from_what_was_saved(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "SAVE_RECORDS", 60)
    view = records.view()
    records.add(100)
    records.agrees(view)
    records.add(30)
    records.agrees(view)
    again = records.view()
    again._open()
    assert again.position == 100, "what came after is read from the log"
    records.agrees(again)
    records.drop(*range(70))
    records.agrees(again)
    records.agrees(records.view())


def _gone(records: Records) -> None:
    (records.root / MANIFEST).unlink()


def _garbled(records: Records) -> None:
    (records.root / MANIFEST).write_text("{}")


def _cut(records: Records) -> None:
    os.truncate(records.root / FOLDER / "00000001.f32", 100)


def _lost(records: Records) -> None:
    (records.root / FOLDER / "00000002.ids").unlink()


def _another_version(records: Records) -> None:
    path = records.root / MANIFEST
    said = json.loads(path.read_text())
    path.write_text(json.dumps({**said, "version": 0, "tables": {}}))


def _another_history(records: Records) -> None:
    """The log was restored from a backup, and went on otherwise."""
    records.history = "b"
    records.live = {}
    records.events = records.events[:80]
    records.live = {seq: keeping.raw_of(cast(Any, event).vector, SIZE) for seq, event in enumerate(records.events)}


def _another_past(records: Records) -> None:
    """The same, and it is as long as before."""
    many, records.history, records.live = len(records.events), "b", {}
    records.events = []
    records.add(many)


@pytest.mark.parametrize("harm", [_gone, _garbled, _cut, _lost, _another_version, _another_history, _another_past])
def test_whatever_became_of_the_files_they_are_made_anew(
    records: Records, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Records], None]
) -> None:
    monkeypatch.setattr(keeping, "SAVE_RECORDS", 10)
    records.add(120)
    records.agrees(records.view())
    harm(records)
    records.agrees(records.view())
    records.add(10)
    records.agrees(records.view())


@pytest.mark.parametrize("undecided", [0, 1])
def test_made_anew_it_reads_no_more_of_the_log_than_what_can_be_found(records: Records, undecided: int) -> None:
    view = records.view()
    records.add(200)
    records.agrees(view)
    records.drop(*range(150))
    records.add(3, replaces=170)
    records.data.nodes["event"] = Node(150, 0, "uid:1001", "local.content_created")
    records.agrees(view)
    assert 150 not in records.read_from, "what is behind it it reads on, for older rows have to go"
    (records.root / MANIFEST).unlink(missing_ok=True)
    records.read_from.clear()
    records.undecided = undecided
    records.agrees(records.view())
    assert records.read_from[0] == (0 if undecided else 150)


def test_rows_of_a_run_that_ended_early_are_not_found_twice(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "SAVE_RECORDS", 40)
    records.add(40)
    records.agrees(records.view())
    view = records.view()
    records.add(5)
    records.agrees(view)  # written, and not yet said to be
    view = records.view()
    records.agrees(view, 100)
    records.add(5)
    records.agrees(view, 100)


def test_a_worker_that_is_not_there_costs_time_and_nothing_else(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "SMALL_ROWS", 0)
    records.add(60)
    records.fault = "not-installed"
    records.agrees(records.view())
    records.fault = "crashed"
    with pytest.raises(WorkFailed):
        records.agrees(records.view())


def test_a_full_disk_is_said_and_changes_nothing(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    view = records.view()
    records.add(20)
    records.agrees(view)
    records.add(20)
    monkeypatch.setattr(records.files, "free", lambda: 1_000)
    with pytest.raises(OSError):
        records.agrees(view)
    monkeypatch.undo()
    write, left = records.files.write, [100]

    def short(fd: int, data: bytes | memoryview) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = write(fd, data[: left[0]])
        left[0] -= taken
        return taken

    monkeypatch.setattr(records.files, "write", short)
    with pytest.raises(OSError):
        records.agrees(view)
    monkeypatch.undo()
    records.agrees(view, 100)


@pytest.mark.parametrize("harm", [_cut, _lost])
def test_files_that_go_under_a_running_daemon_are_made_anew(records: Records, way: str, harm: Callable[[Records], None]) -> None:
    view = records.view()
    records.add(120)
    records.agrees(view)
    harm(records)
    records.agrees(view)


def test_a_disk_that_fails_between_two_segments_doubles_nothing(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    view = records.view()
    records.add(20)
    records.agrees(view)
    records.add(60)
    write, calls = records.files.write, [0]

    def third_fails(fd: int, data: bytes | memoryview) -> int:
        calls[0] += 1
        if calls[0] == 3:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return write(fd, data)

    monkeypatch.setattr(records.files, "write", third_fails)
    with pytest.raises(OSError):
        records.agrees(view)
    records.agrees(view, 100)


def test_a_text_that_is_not_on_disk_yet_waits_for_the_next_errand(records: Records) -> None:
    records.events += [ContentCreated("content_created", text) for text in ("a heat pump", "a sailing boat")]
    errand = Errand(f"{LOG}:0:0", "data.derive", {"records": [0, 1, 2]})  # the last one is decided, and in no log yet
    ended = trio.run(records.view().derive, errand, lambda said: None)
    assert ended.ok and [each["event"] for each in ended.result["made"]] == [id_of(event) for event in records.events]


def test_texts_get_vectors_and_what_is_near_them(records: Records) -> None:
    texts = ["the heat pump of the north hall", "the heat pumps of the north hall", "a sailing boat"]
    records.events += [ContentCreated("content_created", text) for text in texts]
    errand = Errand(f"{LOG}:0:0", "data.derive", {"records": [0, 1, 2]})
    ended = trio.run(records.view().derive, errand, lambda said: None)
    made = ended.result["made"]
    assert [each["vector"] for each in made] == [text_of(embed(text)) for text in texts]
    ids = [id_of(event) for event in records.events]
    assert [each["event"] for each in made] == ids
    assert made[0]["priors"] == [] and made[1]["priors"][0]["event"] == ids[0]
    assert {prior["event"] for prior in made[2]["priors"]} == set(ids[:2])


class Tables:
    """A worker that makes vectors of texts, or cannot."""

    def __init__(self, records: Records) -> None:
        self.faults: list[str] = []
        self.asked: list[list[str]] = []
        self.wrong = False
        records.work = self.work  # type: ignore[method-assign,assignment]

    async def work(self, name: str, spec: bytes, *, timeout_s: float) -> bytes:
        assert name == "embed"
        asked = json.loads(spec)
        self.asked.append(asked["texts"])
        if self.faults:
            raise WorkFailed(self.faults.pop(0))
        size = 8 if self.wrong else OWN[asked["model"]]
        return json.dumps({"vectors": [text_of(unit([1.0] * size)) if "pump" in text else "" for text in asked["texts"]]}).encode()


async def test_a_model_that_is_not_there_is_waited_for_and_then_goes_on(
    records: Records, autojump_clock: trio.testing.MockClock
) -> None:
    tables = Tables(records)
    tables.faults = ["not-installed", "other-files", "busy", "poison"]
    ended = await records.view().derive(Errand("choose", "data.derive", {"model": TABLE_MODEL, "records": []}), print)
    assert ended == JobEnded("choose", True, "ok") and len(tables.asked) == 5


def test_texts_get_vectors_of_the_model_that_was_chosen(records: Records) -> None:
    tables, texts = Tables(records), ["a heat pump", "a sailing boat"]
    records.events += [ContentCreated("content_created", text) for text in texts]
    ids = [id_of(event) for event in records.events]
    asked = {"model": TABLE_MODEL, "records": [0, 1], "near": False}
    ended = trio.run(records.view().derive, Errand("some", "data.derive", asked), print)
    assert ended.result["made"] == [{"event": ids[0], "vector": text_of(unit([1.0] * 256))}, {"event": ids[1], "code": "no-words"}]
    assert tables.asked == [texts]
    tables.wrong = True
    ended = trio.run(records.view().derive, Errand("some", "data.derive", asked), print)
    assert (ended.ok, ended.code) == (False, "bad-output"), "a vector of another dimension is none"


def test_what_a_worker_keeps_mapped_is_what_stands_there_now(tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    from irerd.work import search

    def stand(name: str, value: float, rows: int) -> search.Segment:
        for suffix, data in ((".f32", np.full((rows, SIZE), value, "<f4").tobytes()), (".ids", bytes(40 * rows))):
            path = tmp_path / f"{name}{suffix}"
            path.unlink(missing_ok=True)
            path.write_bytes(data)
        return search.Segment(str(tmp_path / name), rows)

    first, other = stand("1", 1.0, 3), stand("2", 2.0, 3)
    assert search.mapped(first, SIZE)[0].base is search.mapped(first, SIZE)[0].base, "mapped once"
    with (tmp_path / "1.f32").open("ab") as vectors, (tmp_path / "1.ids").open("ab") as keys:
        vectors.write(np.full((2, SIZE), 5.0, "<f4").tobytes())
        keys.write(bytes(80))
    assert search.mapped(search.Segment(first.place, 5), SIZE)[0][:, 0].tolist() == [1, 1, 1, 5, 5], "it grew"
    assert search.mapped(first, SIZE)[0].shape == (3, SIZE), "and only what was asked for is compared"
    assert search.mapped(stand("1", 7.0, 4), SIZE)[0].tolist() == [[7.0] * SIZE] * 4, "a name came to stand for other files"
    (tmp_path / "1.ids").unlink()
    search.let_go_of_gone_files()
    assert search.mapped(other, SIZE)[0].shape == (3, SIZE)
    assert first.place not in search._MAPPED, "of files that are gone nothing is held"
    os.truncate(tmp_path / "2.f32", 8)
    with pytest.raises(JobFailed):
        search.mapped(other, SIZE)


def test_telemetry_and_texts_of_one_batch_are_near_their_own_kind_alone(records: Records) -> None:
    waves, level = [float(place % 7) for place in range(40)], [4.0] * 40
    records.events += [
        ContentCreated("content_created", "the power of the pump"),
        TelemetryReceived("telemetry_received", "power", ["pump"], waves),
        ContentCreated("content_created", "the power of the pump and more"),
        TelemetryReceived("telemetry_received", "power", ["boiler"], level),
    ]
    ids = [id_of(event) for event in records.events]
    same = text_of(embed_series("power", ["pump"], waves))
    records.events.append(EmbeddingGenerated("f" * 64, MODEL_OF_TEXTS, 256, same))  # it says the same, of another model
    asked = {"model": MODEL_OF_TEXTS, "records": [0, 1, 2, 3]}
    ended = trio.run(records.view().derive, Errand("some", "data.derive", asked), print)
    made = {each["event"]: each for each in ended.result["made"]}
    assert made[ids[1]]["vector"] == same
    priors = [{prior["event"] for prior in made[id]["priors"]} for id in ids]
    assert priors == [{"f" * 64}, set(), {ids[0], "f" * 64}, {ids[1]}]
    assert records.view().said([1]) == [("1970-01-01T00:00:00.000000Z", "power pump")]


def test_many_questions_at_once_are_a_workers_however_few_vectors_there_are(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numpy")
    monkeypatch.setattr(keeping, "SMALL_ROWS", 100)
    records.add(40)
    view, query = records.view(), unit([1.0] * SIZE)
    for many, worked in ((2, 0), (3, 1)):
        trio.run(view.look, MODEL, [query] * many, 5)
        assert len(records.worked) == worked


def test_a_worker_derives_what_the_daemon_would(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors, and what is near each among those stored and those of the batch before it, whoever hashes and compares."""
    pytest.importorskip("numpy")
    words = ["heat", "pump", "hall", "boat", "pier", "invoice", "paid", "night"]
    for place in range(40):
        raw = embed(" ".join(records.chance.choices(words, k=4)))
        records.events.append(EmbeddingGenerated(f"{place:064x}", MODEL_OF_TEXTS, 256, text_of(raw)))
    texts = [" ".join(records.chance.choices(words, k=3)) + f" {place}" for place in range(20)]
    texts[3], texts[7] = "?!", texts[6] + " "  # one has no words, and one says the same as another
    measured = [
        TelemetryReceived("telemetry_received", "power", ["pump"], [float(at % (3 + turn)) for at in range(30)]) for turn in (0, 1)
    ]
    first = len(records.events)
    for text in texts:
        records.events += [ContentCreated("content_created", text), VectorForgotten([], [], "asked")]
    records.events += [VectorForgotten([], [], "asked")] * 30 + measured
    seqs = [first + 2 * place for place in range(20)] + [len(records.events) - 2, len(records.events) - 1]
    asked = Errand("some", "data.derive", {"model": MODEL_OF_TEXTS, "records": seqs})
    monkeypatch.setattr(keeping, "SMALL_ROWS", 10**6)
    alone = trio.run(records.view().derive, asked, print)
    assert len(records.read_from) == 3, "what stands close together is read together: the log once, the texts in two parts"
    assert not records.worked and [each["event"] for each in alone.result["made"]] == [id_of(records.events[seq]) for seq in seqs]
    assert alone.result["made"][3]["code"] == "no-words" and len(alone.result["made"][19]["priors"]) == 8
    monkeypatch.setattr(keeping, "SMALL_ROWS", 0)
    assert trio.run(records.view().derive, asked, print) == alone and records.worked == ["nearest"]
    records.fault = "poison"
    assert trio.run(records.view().derive, asked, print) == alone, "slowly, where no worker can"
