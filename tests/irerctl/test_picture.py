"""Pictures of a run: a PNG that any reader takes, colours where somebody looks, letters where nobody does, and `irerctl sim`.

The answers are those that a daemon gives, by their types.
"""

import base64
import json
import re
import signal
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.engine import Refused
from core.sim import reads
from irerctl import picture, render
from irerctl.png import Canvas
from tests.irerctl import samples
from tests.irerctl.conftest import Run, Serve
from tests.irerctl.peer import Stream, Written

JOB = "6f1b7d9e-3a52-4a63-9f0d-0d5a3c1e9b42"
ANSI = re.compile(r"\x1b\[[0-9;]*m")
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
HARM = "\x1b]0;pwned\x07"


def panel(name: str, width: int, height: int) -> dict[str, Any]:
    pixels = bytes((x * 255 // max(width - 1, 1)) for _ in range(height) for x in range(width))
    return {"name": name, "low": 0.5, "high": 1.25, "width": width, "height": height, "pixels": pixels}


def looked(width: int = 16, height: int = 16, **changed: Any) -> dict[str, Any]:
    found = {
        "job_uuid": JOB,
        "artefact_sha256": "ab" * 32,
        "n": 64,
        "l": 40.0,
        "d": 2,
        "steps": 600,
        "dt": 0.05,
        "seed": 7,
        "status": "ok",
        "log_prime_sse": 0.0625,
        "sse_code": None,
        "sdg_h_norm_l2": None,
        "h_code": "no_source",
        "panels": [panel(name, width, height) for name in ("rho", "phase", "rho_s")],
        "spectrum": {
            "k": [0.5, 1.0, 1.5, 2.0],
            "y": [1.0, 4.0, 3.0, -2.0],
            "baseline": [1.0, 2.0, 2.5, -2.0],
            "peaks": [{"k": 1.0, "prominence": 2.0, "prime": 2}],
            "targets": [{"prime": 2, "k": 0.693}, {"prime": 3, "k": 1.0986}],
            "scaling_factor": 1.0,
        },
    }
    return found | changed


OUTCOME: dict[str, Any] = {
    "job_uuid": JOB,
    "status": "ok",
    "flags": ["unsettled"],
    "log_prime_sse": 0.0625,
    "sse_code": None,
    "sdg_h_norm_l2": 0.25,
    "h_code": None,
    "sdg_h_norm_l2_max": 0.5,
    "scaling_factor": 1.5,
    "n_peaks": 5,
    "n_targets": 5,
    "resolved": False,
    "artefact_sha256": "ab" * 32,
}
ENDED = {
    "job": JOB,
    "method": "sim.run",
    "state": "done",
    "seq": 4,
    "started_at": samples.AT,
    "ended_at": samples.AT,
    "ok": True,
    "code": "ok",
    "result": OUTCOME,
}
PROFILE: dict[str, Any] = {
    "job_uuid": JOB,
    "artefact_sha256": "ab" * 32,
    "n_targets": 8,
    "draws": 999,
    "log_prime_sse": 0.0625,
    "sse_code": None,
    "scaling_factor": 1.5,
    "resolved": True,
    "n_peaks": 9,
    "n_matched": 7,
    "p_phase": 0.004,
    "p_target": 0.25,
    "gap_phase": 0.5,
    "gap_target": 0.125,
    "integers": {"beaten_by": ["squares"], "rank": 12, "sequences": 199, "passed": False},
    "ramp_gain": 0.75,
    "survives": False,
}
AGREES = {"said": 0.0625, "said_code": None, "found": 0.0625, "found_code": None, "agrees": True}
VALIDATION: dict[str, Any] = {
    "job_uuid": JOB,
    "ok": True,
    "code": "ok",
    "tolerance": 1e-4,
    "hash_agrees": True,
    "artefact_sha256": "ab" * 32,
    "metrics": {"log_prime_sse": AGREES, "sdg_h_norm_l2": {**AGREES, "said": None, "said_code": "no_source", "found": None}},
}
ROW = {
    "job_uuid": JOB,
    "state": "done",
    "started_at": samples.AT,
    "points": 64,
    "dimensions": 2,
    "steps": 600,
    "seed": 7,
    "code": "ok",
    "log_prime_sse": 0.0625,
}


@pytest.mark.parametrize(
    ("kind", "sample"),
    [
        (reads.Picture, looked()),
        (reads.Profile, PROFILE),
        (reads.Validation, VALIDATION),
        (reads.RunPage, {"runs": [ROW]}),
    ],
    ids=["show", "profile", "validate", "list"],
)
def test_the_samples_are_what_a_daemon_answers(kind: type[Any], sample: dict[str, Any]) -> None:
    assert set(sample) <= {field.encode_name for field in msgspec.structs.fields(kind)}
    msgspec.convert(sample, kind)


@pytest.fixture
def on_screen(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def open_window(columns: int, coloured: bool = True) -> None:
        monkeypatch.setattr(render, "terminal", lambda stream=None: True)
        monkeypatch.setattr(render, "coloured", lambda stream=None: coloured)
        monkeypatch.setenv("COLUMNS", str(columns))

    return open_window


# --- the file ---------------------------------------------------------------------------------------------------------------


def decoded(file: bytes) -> tuple[int, int, list[bytes]]:
    """Width, height and rows of a PNG, every sum checked."""
    assert file[:8] == b"\x89PNG\r\n\x1a\n"
    at, parts = 8, []
    while at < len(file):
        (size,) = struct.unpack(">I", file[at : at + 4])
        kind, data = file[at + 4 : at + 8], file[at + 8 : at + 8 + size]
        (checked,) = struct.unpack(">I", file[at + 8 + size : at + 12 + size])
        assert checked == zlib.crc32(kind + data), kind
        parts.append((kind, data))
        at += 12 + size
    assert [kind for kind, _ in parts] == [b"IHDR", b"IDAT", b"IEND"]
    width, height, depth, colours, *rest = struct.unpack(">IIBBBBB", parts[0][1])
    assert (depth, colours, rest) == (8, 2, [0, 0, 0])
    plain = zlib.decompress(parts[1][1])
    assert len(plain) == height * (1 + 3 * width)
    rows = [plain[row * (1 + 3 * width) :][: 1 + 3 * width] for row in range(height)]
    assert {row[0] for row in rows} == {0}
    return width, height, [row[1:] for row in rows]


def test_a_canvas_becomes_a_png_with_every_point_where_it_was_put() -> None:
    canvas = Canvas(5, 3, (1, 2, 3))
    canvas.fill(1, 1, 2, 1, (9, 8, 7))
    canvas.fill(-3, 2, 100, 50, (0, 0, 255))
    canvas.fill(7, 0, 2, 2, (255, 0, 0))
    width, height, rows = decoded(canvas.png())
    assert (width, height) == (5, 3)
    assert rows == [bytes([1, 2, 3] * 5), bytes([1, 2, 3, 9, 8, 7, 9, 8, 7, 1, 2, 3, 1, 2, 3]), bytes([0, 0, 255] * 5)]


def test_letters_are_dark_on_the_canvas_and_an_unknown_one_is_blank() -> None:
    canvas = Canvas(12, 5, (255, 255, 255))
    canvas.text(0, 0, "i~1", (0, 0, 0), 1)
    rows = decoded(canvas.png())[2]
    dark = ["".join("#" if row[3 * x] == 0 else "." for x in range(12)) for row in rows]
    assert dark == ["###......#..", ".#......##..", ".#.......#..", ".#.......#..", "###.....###."]


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (16_385, 1)])
def test_a_canvas_of_no_size_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="cannot be made"):
        Canvas(*size, (0, 0, 0))


@pytest.mark.parametrize(("width", "height"), [(16, 16), (128, 128), (100, 8), (7, 1)])
def test_a_run_is_drawn_with_the_lowest_left_and_the_highest_right(width: int, height: int) -> None:
    across, _, rows = decoded(picture.png(looked(width, height)))
    assert across == picture.MARGIN + 3 * (picture.SIDE + picture.MARGIN)
    middle = picture.MARGIN + picture.TITLE + picture.SIDE // 2
    for place, name in enumerate(("rho", "phase", "rho_s")):
        left = picture.MARGIN + place * (picture.SIDE + picture.MARGIN)
        assert tuple(rows[middle][3 * left : 3 * left + 3]) == picture.colour(name, 0)
        right = left + picture.SIDE - 1
        assert tuple(rows[middle][3 * right : 3 * right + 3]) == picture.colour(name, 255)


def test_the_phase_ends_in_the_colour_it_began_with_and_the_others_do_not() -> None:
    assert picture.colour("phase", 0) == picture.colour("phase", 255)
    assert picture.colour("rho", 0) != picture.colour("rho", 255) and picture.colour("rho_s", 0) != picture.colour("rho_s", 255)


# --- what is drawn ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spoiled", [{"width": 17}, {"pixels": b""}, {"pixels": "no base64!"}, {"name": HARM}, {"height": 10**9}])
def test_a_panel_that_does_not_fit_together_is_left_out(spoiled: dict[str, Any]) -> None:
    found = looked()
    found["panels"][1].update(spoiled)
    assert [each.name for each in picture.panels_of(found)] == ["rho", "rho_s"]
    decoded(picture.png(found))


def test_pixels_are_taken_as_bytes_and_as_the_text_that_json_has_for_them() -> None:
    found, as_text = looked(), looked()
    for each in as_text["panels"]:
        each["pixels"] = base64.b64encode(each["pixels"]).decode()
    assert picture.panels_of(as_text) == picture.panels_of(found)


def test_a_spectrum_stands_against_ln_p_with_its_primes_below_the_peaks() -> None:
    lines = picture.chart(picture.chart_of(looked()["spectrum"]), 60)
    end = 1.25 * 1.0986
    peak, primes, names = lines[1], lines[-2], lines[-1]
    assert "ln p" in lines[0]
    assert peak.index("v") == int(1.0 / end * 59)
    assert [found.start() for found in re.finditer(r"\^", primes)] == [int(x / end * 59) for x in (0.693, 1.0986)]
    assert names.split() == ["2", "3"] and names.index("2") == primes.index("^")


def test_without_a_score_it_stands_against_the_wave_number() -> None:
    spectrum = looked()["spectrum"] | {"scaling_factor": None, "targets": [], "peaks": []}
    lines = picture.chart(picture.chart_of(spectrum), 60)
    assert "against k" in lines[0] and lines[-1].startswith("0") and lines[-1].endswith("2")


@pytest.mark.parametrize(
    "spectrum", [{}, {"k": [0.0], "y": [1e308], "baseline": [0.0]}, {"k": [1.0], "y": [float("nan")], "baseline": [1.0]}]
)
def test_a_spectrum_of_nothing_is_still_drawn(spectrum: dict[str, Any]) -> None:
    found = picture.chart_of({"k": [], "y": [], "baseline": [], **spectrum})
    assert len(picture.chart(found, 40)) >= picture.CHART_LINES
    decoded(picture.png(looked(spectrum={"k": [], "y": [], "baseline": [], **spectrum})))


@pytest.mark.parametrize("columns", [20, 44, 80, 200])
@pytest.mark.parametrize(("width", "height"), [(128, 128), (128, 8), (8, 8)])
def test_a_terminal_is_never_wider_than_it_is(
    run: Run, serve: Serve, on_screen: Callable[[int], None], columns: int, width: int, height: int
) -> None:
    serve({"sim.show": looked(width, height)})
    on_screen(columns)
    lines = [ANSI.sub("", line) for line in run("sim", "show", JOB).stdout.splitlines()]
    assert max(map(len, lines)) <= columns and sum("▀" in line for line in lines) >= 3


def test_a_pipe_gets_letters_and_no_colour(run: Run, serve: Serve) -> None:
    serve({"sim.show": looked()})
    said = run("sim", "show", JOB).stdout
    assert not CONTROL.search(said) and "▀" not in said and "\x1b" not in said
    row = "".join(picture.RAMP[(x * 255 // 15) * 10 // 256] for x in range(16))
    assert (row + "  ") * 2 + row in said and {" ", "@"} <= set(row)
    assert "64 x 64 points, box 40, 600 steps of 0.05, seed 7" in said and "score 0.0625" in said
    assert "no_source: nothing acts on the density of space" in said


@pytest.mark.parametrize("columns", [100, 72, 60])
def test_on_the_smallest_grid_no_number_of_a_legend_is_cut_short(run: Run, serve: Serve, on_screen: Any, columns: int) -> None:
    on_screen(columns, coloured=False)
    tiny = looked(8, 8, panels=[panel(name, 8, 8) | {"low": 1.378e-09, "high": 2.873e-03} for name in ("rho", "phase", "rho_s")])
    serve({"sim.show": tiny})
    said = run("sim", "show", JOB).stdout
    assert said.count("1.378e-09 to 0.002873") == 3 and max(map(len, said.splitlines())) <= columns


def test_without_colours_a_terminal_gets_letters_too(run: Run, serve: Serve, on_screen: Callable[..., None]) -> None:
    serve({"sim.show": looked()})
    on_screen(80, coloured=False)
    said = run("sim", "show", JOB).stdout
    assert "▀" not in said and "\x1b" not in said and "@" in said


# --- irerctl sim ------------------------------------------------------------------------------------------------------------


def following(job: dict[str, Any]) -> dict[str, Any]:
    going = {**ENDED, "state": "running", "result": None, "progress": {"done": 64, "total": 600, "unit": "steps"}}
    return {
        "sim.run": Written({"job_uuid": JOB}),
        "system.op_watch": Stream([going], result=job),
        "sim.show": looked(),
    }


def test_a_run_is_asked_for_with_what_was_given_and_told_when_it_ends(run: Run, serve: Serve) -> None:
    peer = serve(following(ENDED))
    options = ["--eps", "0.9", "--D_g", "2", "--params", '{"eps": 5, "alpha": 0.25}', "-n", "32", "-l", "20", "--steps", "600"]
    ran = run("sim", "run", *options, "--seed", "7", "--kernel", "ring", "--initial", "spiral", "--dtype", "complex128")
    assert ran.exit_code == 0, ran.output
    assert peer.calls[0].p == {
        "params": {"eps": 0.9, "alpha": 0.25, "D_g": 2.0},
        "grid": {"n": 32, "l": 20.0},
        "steps": 600,
        "seed": 7,
        "settings": {"kernel": "ring", "initial": {"kind": "spiral"}, "dtype": "complex128"},
    }
    assert peer.calls[1].p == {"job": JOB}
    for said in (
        "score     0.0625",
        "h norm    0.25, at most 0.5",
        "unsettled: it still changes",
        f"data/run_{JOB}.h5",
        f"run {JOB}: done",
    ):
        assert said in ran.stdout
    assert f"irerctl sim show {JOB}" in ran.stderr


def test_what_is_not_given_is_not_sent(run: Run, serve: Serve) -> None:
    peer = serve(following(ENDED))
    run("sim", "run")
    assert peer.calls[0].p == {}


def test_a_field_that_diverged_is_told_with_its_step_and_exit_status_1(run: Run, serve: Serve) -> None:
    none = {"log_prime_sse": None, "sse_code": "diverged", "sdg_h_norm_l2": None, "h_code": "diverged", "sdg_h_norm_l2_max": None}
    job = {
        **ENDED,
        "ok": False,
        "code": "diverged",
        "result": OUTCOME | none | {"status": "diverged"},
        "detail": "at step 17 it grew",
    }
    serve(following(job))
    ran = run("sim", "run")
    assert ran.exit_code == 1
    assert f"run {JOB}: diverged" in ran.stdout and "at step 17 it grew" in ran.stdout
    assert "score     diverged: the field did not stay finite" in ran.stdout


def test_a_run_that_failed_says_why(run: Run, serve: Serve) -> None:
    serve(following({**ENDED, "ok": False, "code": "no-space", "result": {}, "detail": "the disk has no room"}))
    ran = run("sim", "run")
    assert ran.exit_code == 1 and "no-space" in ran.stdout and "the disk has no room" in ran.stdout


def test_as_data_it_is_one_value(run: Run, serve: Serve) -> None:
    serve(following(ENDED))
    assert json.loads(run("-o", "json", "sim", "run").stdout) == {"job_uuid": JOB, "job": ENDED}
    assert json.loads(run("-o", "json", "sim", "run", "--no-wait").stdout) == {"job_uuid": JOB}
    shown = json.loads(run("-o", "json", "sim", "show", JOB).stdout)
    assert [each["name"] for each in shown["panels"]] == ["rho", "phase", "rho_s"]


def test_who_does_not_wait_gets_the_id_alone(run: Run, serve: Serve) -> None:
    peer = serve(following(ENDED))
    assert run("sim", "run", "--no-wait").stdout == f"{JOB}\n"
    assert [call.m for call in peer.calls] == ["sim.run"]


def test_tried_dry_nothing_is_followed(run: Run, serve: Serve) -> None:
    peer = serve({"sim.run": Written({"job_uuid": JOB})})
    assert "would write thing.happened" in run("sim", "run", "--dry-run").stdout
    assert [(call.m, call.dry) for call in peer.calls] == [("sim.run", True)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--eps", "nan"], "--eps"),
        (["--png", "a.png", "--no-wait"], "--no-wait"),
        (["--params", "[1]"], "by their names"),
        (["--initial", "fog"], "JSON"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anybody_is_asked(run: Run, serve: Serve, words: list[str], said: str) -> None:
    peer = serve(following(ENDED))
    ran = run("sim", "run", *words)
    assert ran.exit_code == 2 and said in ran.stderr and peer.calls == []


def test_who_stops_looking_leaves_it_running_and_is_told_how_to_go_on(
    serve: Serve, process: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    going = {**ENDED, "state": "running", "result": None}
    peer = serve({"sim.run": Written({"job_uuid": JOB}), "system.op_watch": Stream([going], endless=True)})
    child = process("sim", "run")
    while not any(call.m == "system.op_watch" for call in peer.calls):
        peer.asked.wait(10)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=20)
    assert child.returncode == 130 and out == ""
    assert f"run {JOB} goes on" in err and "system.op_watch" in err and "system.op_cancel" in err
    assert [call.m for call in peer.calls] == ["sim.run", "system.op_watch"]


def test_who_loses_the_daemon_is_told_that_the_run_goes_on_and_why_nothing_more_is_said(run: Run, serve: Serve) -> None:
    serve({"sim.run": Written({"job_uuid": JOB}), "system.op_watch": Refused("unavailable", "irerd is stopping")})
    ran = run("sim", "run")
    assert ran.exit_code == 69 and f"run {JOB} goes on" in ran.stderr and "irerd is stopping" in ran.stderr


def test_a_picture_is_written_whole_by_show_and_by_run(run: Run, serve: Serve, place: Path) -> None:
    serve(following(ENDED))
    first, second = place / "show.png", place / "run.png"
    assert run("sim", "show", JOB, "--png", str(first)).exit_code == 0
    assert run("sim", "run", "--png", str(second)).exit_code == 0
    assert decoded(first.read_bytes()) == decoded(second.read_bytes())
    assert sorted(each.name for each in place.iterdir() if each.suffix != ".sock") == ["run.png", "show.png"]


def test_a_picture_that_cannot_be_written_is_told(run: Run, serve: Serve, place: Path) -> None:
    serve(following(ENDED))
    ran = run("sim", "show", JOB, "--png", str(place / "nowhere" / "a.png"))
    assert ran.exit_code != 0 and "cannot be written" in ran.stderr and "--png FILE" in ran.stderr


def test_a_profile_says_what_the_score_is_worth(run: Run, serve: Serve) -> None:
    serve({"sim.profile": PROFILE})
    ran = run("sim", "profile", JOB)
    assert ran.exit_code == 0
    for said in (
        "0.0625, 7 of 8 targets matched",
        "0.004 of 999 fields",
        "0.25 of random targets",
        "squares",
        "chance explains it",
    ):
        assert said in ran.stdout
    serve_none = {
        "log_prime_sse": None,
        "sse_code": "no_peaks",
        "p_phase": None,
        "p_target": None,
        "integers": None,
        "ramp_gain": None,
    }
    assert "no_peaks: the spectrum has no peaks" in _drawn_profile(serve_none)


def _drawn_profile(changed: dict[str, Any]) -> str:
    from click.testing import CliRunner

    from irerctl.screens import sim

    with CliRunner().isolation() as (out, *_):
        sim.draw_profile(PROFILE | changed)
        return out.getvalue().decode()


@pytest.mark.parametrize("ok", [True, False])
def test_a_validation_that_fails_is_exit_status_1(run: Run, serve: Serve, ok: bool) -> None:
    metrics = {**VALIDATION["metrics"], "log_prime_sse": {**AGREES, "found": AGREES["said"] if ok else 0.5, "agrees": ok}}
    serve({"sim.validate": {**VALIDATION, "ok": ok, "code": "ok" if ok else "artefact-mismatch", "metrics": metrics}})
    ran = run("sim", "validate", JOB)
    assert ran.exit_code == (0 if ok else 1)
    assert ("artefact-mismatch" in ran.stdout) != ok and ("differs" in ran.stdout) != ok


def test_alone_it_lists_the_runs(run: Run, serve: Serve) -> None:
    serve({"sim.list": {"runs": [ROW, {**ROW, "state": "running", "code": None}]}})
    said = run("sim").stdout
    assert JOB in said and "64x64" in said and "0.0625" in said and "running" in said
    assert said == run("sim", "list").stdout


def test_without_runs_it_says_how_to_begin_one(run: Run, serve: Serve) -> None:
    serve({"sim.list": {"runs": []}})
    assert "irerctl sim run" in run("sim").stdout


def test_names_that_come_from_elsewhere_cannot_drive_the_terminal(run: Run, serve: Serve) -> None:
    harmed = {**ENDED, "ok": False, "code": HARM, "detail": HARM, "result": OUTCOME | {"flags": [HARM], "job_uuid": HARM}}
    serve({**following(harmed), "sim.list": {"runs": [{**ROW, "code": HARM, "job_uuid": HARM}]}})
    for words in (("sim", "run"), ("sim", "list")):
        said = run(*words).stdout
        assert "pwned" in said and not CONTROL.search(said)
