"""What a worker says of clusters and their field: the same of mapped files as of rows that came along, dead rows left out; and the
worked examples of docs/data.md."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.data.embedding import embed, numbers, text_of
from irerd.work import clusters as work
from irerd.worker import JobFailed
from kernels import pattern_field
from kernels.clusters import unit_rows

SUBJECTS = (
    "heat pump of the {} hall draws power",
    "sailing boat at the {} pier of the harbour",
    "invoice of the {} customer paid late",
)
TEXTS = [subject.format(word) for word in ("north", "south", "east") for subject in SUBJECTS]
NAMES = [f"{place:064x}" for place in range(len(TEXTS))]
ROWS = [(10 + place, NAMES[place], text_of(embed(text))) for place, text in enumerate(TEXTS)]


def ask(job: Callable[..., bytes], **asked: Any) -> Any:
    return json.loads(job(json.dumps(asked).encode(), lambda done, total: None))


def along(rows: list[tuple[int, str, str]]) -> dict[str, Any]:
    return {"dimension": 256, "rows": rows}


def mapped(place: Path, rows: list[tuple[int, str, str]], dead: list[int]) -> dict[str, Any]:
    """Two segments; in the first some rows are dead."""
    found = []
    for number, some in enumerate((rows[:7], rows[7:])):
        name = place / f"s{number}"
        name.with_suffix(".f32").write_bytes(b"".join(embed(TEXTS[seq - 10]) for seq, _, _ in some))
        name.with_suffix(".ids").write_bytes(b"".join(seq.to_bytes(8, "big") + bytes.fromhex(event) for seq, event, _ in some))
        found.append({"place": str(name), "rows": len(some), "dead": [] if number else dead})
    return {"dimension": 256, "segments": found}


def grouped(stored: dict[str, Any], centroids: list[str] | None = None) -> Any:
    return ask(work.group, stored=stored, centroids=centroids or [], near=0.3)


def test_nine_texts_of_three_subjects_are_three_clusters() -> None:
    found = grouped(along(ROWS))
    assert (found["vectors"], found["loose"], len(found["clusters"])) == (9, 0, 3)
    for cluster in found["clusters"]:
        assert cluster["size"] == 3 and cluster["before"] == -1 and not cluster["moved"]
        assert len({NAMES.index(event) % 3 for event in cluster["examples"]}) == 1


def test_files_say_what_rows_say_and_dead_rows_nothing(tmp_path: Path) -> None:
    dead = [1, 4]
    live = [row for place, row in enumerate(ROWS) if place not in dead]
    found, same = grouped(mapped(tmp_path, ROWS, dead)), grouped(along(live))
    assert found == same and found["vectors"] == 7
    centroids = [cluster["centroid"] for cluster in found["clusters"]]
    again = grouped(along(live), centroids)
    assert sorted(cluster["before"] for cluster in again["clusters"]) == list(range(len(centroids)))
    asked = {"centroids": centroids, "what": "overlap", "settings": {"wavenumber": 0, "frequency": 0}}
    entries = [(seq, 0.0, 0) for seq, _, _ in ROWS]
    lapped = ask(work.field, stored=mapped(tmp_path, ROWS, dead), entries=[*entries, (9_999, 0.0, 0)], **asked)
    assert lapped["records"] == [seq for seq, _, _ in live]


def test_a_sample_is_evenly_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    table = work._Table(work.Stored(256, rows=ROWS))
    assert len(table.sample(4)) == 3 and len(table.sample(9)) == 9
    assert (table.sample(4)[1] == np.array(numbers(embed(TEXTS[3])))).all()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"stored": along([(1, NAMES[0], text_of(b"\x00\x00\xc0\x7f" * 256))])}, "bad-spec"),
        ({"stored": {"dimension": 128, "rows": ROWS}}, "bad-spec"),
        ({"centroids": ["AAAA"]}, "bad-spec"),
        ({"near": 0}, "bad-spec"),
        ({"stored": {"dimension": 256, "segments": [{"place": "/nowhere/at/all", "rows": 3}]}}, "gone"),
    ],
    ids=["NaN", "another dimension", "no vector", "no nearness", "no file"],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], code: str) -> None:
    with pytest.raises(JobFailed) as failed:
        ask(work.group, **{"stored": along(ROWS), "centroids": [], "near": 0.3, **change})
    assert failed.value.code == code


# --- the worked examples of docs/data.md ----------------------------------------------------------------------------------


def test_the_example_of_the_field() -> None:
    link = np.array([[0.0, 1.0], [1.0, 0.0]])
    end = pattern_field.spread(np.array([1.0, 0.0]), link, 0.1, 0, 0, np.zeros(2), 0.001, 1000)[-1]
    assert [round(value, 2) for value in end] == [0.91, 0.09]
    assert end[0] - end[1] == pytest.approx(math.exp(-0.2), rel=1e-3)


def test_the_example_of_waves() -> None:
    """Value that moves on by one of six clusters an hour, for two days, and nothing else."""
    turn = 2 * math.pi / 6
    centroids = unit_rows(np.stack([[math.cos(at / 3), math.sin(at / 3), *[0.0] * 254] for at in range(6)]))
    stored = along([(at, NAMES[at], text_of(row.astype("<f4").tobytes())) for at, row in enumerate(centroids)])
    entries = [(at, 500 * (1 + math.cos(turn * (at - hour))), hour) for hour in range(48) for at in range(6)]
    asked = {"stored": stored, "centroids": [vector for _, _, vector in stored["rows"]], "entries": entries, "what": "waves"}
    found = ask(work.field, settings={"bins": 48, "ahead": 6}, **asked)
    [wave] = found["modes"]
    assert (wave["amplitude"], wave["wavenumber"], wave["frequency"]) == pytest.approx((500, turn, turn), rel=0.02)
    assert wave["chance"] < 0.01 and found["counted"] == pytest.approx(144_000) and found["explained"] > 0.97
    line = found["line"]
    for hour in range(6):
        column = [row[hour] for row in found["ahead"]]
        assert line[column.index(max(column))] == hour, "and so it goes on"


def test_the_example_of_overlap() -> None:
    found = pattern_field.overlap(np.array([[0.5, 0.5], [1.0, 0.0]]), np.zeros((2, 2)))
    assert found[0, 1].real == pytest.approx(0.71, abs=0.005) and found[0, 0] == pytest.approx(1)
