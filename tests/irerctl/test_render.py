"""Words for values, tables that fit, and what a person sees while something takes its time."""

import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.wire.errors import CODES
from irerctl import render
from irerctl.main import entries

MANUAL = (Path(__file__).parents[2] / "docs" / "irerctl.md").read_text()


@given(st.text())
def test_no_text_moves_the_cursor_or_breaks_the_line(text: str) -> None:
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", render.clean(text))


DIRECTIONS = "\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def test_no_text_turns_round_what_follows_and_json_keeps_its_meaning() -> None:
    """A name with such a character in it would be read as another one, on a terminal that heeds them."""
    name = f"pay{DIRECTIONS}moc.live"
    shown = [render.clean(name), render.word(name), render.word({"a": [name]}), render.fields({name: name}), render.dumps(name)]
    assert not any(sign in text for text in shown for sign in DIRECTIONS)
    assert render.clean("a\u202eb") == "a\\u202eb" and render.clean("שלום 中文 é 🎉") == "שלום 中文 é 🎉"
    assert json.loads(render.dumps({name: name})) == {name: name}


def test_one_long_cell_makes_no_other_line_wide(capsys: pytest.CaptureFixture[str]) -> None:
    render.table(["key", "rev"], [["short", "1"], ["k" * 512, "2"]], ["rev"])
    head, short, long = capsys.readouterr().out.splitlines()
    assert max(len(head), len(short)) <= render.PAD_MAX + render.GAP + len("rev")
    assert long == "k" * 512 + "    2" and short.split() == ["short", "1"]


@given(st.lists(st.integers(0, 200), min_size=1, max_size=8), st.integers(80, 200))
def test_columns_fit_the_terminal_and_short_ones_stay_whole(widths: list[int], columns: int) -> None:
    found = render.fitted(widths, columns)
    assert sum(found) + render.GAP * (len(found) - 1) <= columns
    assert all(fitted <= natural for fitted, natural in zip(found, widths, strict=True))
    share = (columns - render.GAP * (len(widths) - 1)) // len(widths)
    assert all(fitted == natural for fitted, natural in zip(found, widths, strict=True) if natural <= share)


def test_what_is_cut_loses_its_colours_and_what_fits_keeps_them() -> None:
    painted = "ab \x1b[33mcd\x1b[0m"
    assert render.cut(painted, 5) == painted
    assert render.cut(painted, 4) == "ab …" and render.cut("abcdef", 4) == "abc…" and render.cut(painted, None) == painted


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"),
        (0.44, "0.4 s"),
        (9.96, "10 s"),
        (59, "59 s"),
        (60, "1 min"),
        (190, "3 min 10 s"),
        (11_520, "3 h 12 min"),
        (187_200, "2 d 4 h"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert render.duration(seconds) == shown


@pytest.mark.parametrize(
    ("octets", "shown"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (10 << 20, "10 MiB"), (5 << 40, "5.0 TiB")]
)
def test_sizes(octets: int, shown: str) -> None:
    assert render.size(octets) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (True, "yes"),
        (2.5, "2.5"),
        (7, "7"),
        ("a\x1bb", "a\\x1bb"),
        ([1, "a"], "1, a"),
        ([], "-"),
        ({"a": [1]}, '{"a":[1]}'),
    ],
)
def test_values_become_words(value: Any, shown: str) -> None:
    assert render.word(value) == shown


@pytest.mark.parametrize(
    ("result", "items"),
    [
        ([1, 2], [1, 2]),
        ({"pools": [{}], "next": None}, [{}]),
        ({"a": [1], "b": [2]}, [{"a": [1], "b": [2]}]),
        (3, [3]),
        ({"a": []}, []),
    ],
)
def test_the_rows_of_a_result(result: Any, items: list[Any]) -> None:
    assert render.items_of(result) == items


def test_a_result_nobody_drew_is_pairs_then_tables(capsys: pytest.CaptureFixture[str]) -> None:
    render.result({"state": "on", "limits": {"calls": 64}, "rows": [{"name": "a", "count": 1}, {"name": "b"}], "next": "17"})
    told = capsys.readouterr()
    assert told.out == "state         on\nlimits.calls  64\n\nrows\nname  count\na         1\nb         -\n"
    assert told.err == "More: add --after 17\n"


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_json_array_is_one_value_however_many_items_came(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    with render.ItemWriter("json") as writer:
        for item in range(count):
            writer.write({"n": item})
    assert json.loads(capsys.readouterr().out) == [{"n": item} for item in range(count)]


def test_what_takes_its_time_is_shown_and_wiped_again(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    seen = threading.Event()

    def transient(text: str) -> None:
        shown.append(text)
        seen.set()

    monkeypatch.setattr(render, "terminal", lambda stream=None: True)
    monkeypatch.setattr(render, "transient", transient)
    with render.Waiting("waiting for it", after_s=0.0):
        assert seen.wait(20)
    assert shown[0].startswith("waiting for it") and shown[-1] == ""


def test_nothing_is_shown_for_what_is_quick_or_piped(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(render, "transient", shown.append)
    with render.Waiting("waiting for it", after_s=0.0):
        pass
    monkeypatch.setattr(render, "terminal", lambda stream=None: True)
    with render.Waiting("waiting for it", after_s=3_600.0):
        pass
    assert shown == []


def test_the_manual_lists_every_exit_status() -> None:
    rows = [line for line in MANUAL.splitlines() if re.match(r"\| \d", line)]
    for code, entry in CODES.items():
        assert any(f"`{code}`" in row and str(entry.exit) in row.split("|")[1] for row in rows), code


def test_the_manual_names_no_command_that_is_not_there() -> None:
    named = set(re.findall(r"^(?:.*\| )?irerctl ([a-z]+)", MANUAL, re.MULTILINE))
    assert named and named <= set(entries())
