"""What a component found, on the screen: by name, and where it is the shape of a field, as curves and bars."""

import pytest

from irerctl import generic
from irerctl.screens import component

SHAPE = {
    **{"code": "ok", "low": 0.0, "high": 1.0, "parts": 2, "betti_0": "1 2 2 1", "betti_1": "0 0 1 2", "betti_2": None},
    "bars": "0 0 -; 1 0.5 -; 0 0.25 0.5",
}


def ended(outputs: dict, **more) -> dict:
    result = {"component": "tda-profile", "version": "1.0.0", "job_uuid": "run-1", "outputs": outputs}
    return {"job": "job-1", "method": "component.run", "state": "done", "ok": True, "code": "ok", "result": result, **more}


def drawn(outputs: dict, capsys: pytest.CaptureFixture, **more) -> list[str]:
    generic._draw_job(ended(outputs, **more))
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_the_shape_of_a_field_is_drawn(capsys):
    lines = drawn(SHAPE, capsys)
    assert lines[0] == "tda-profile of run-1: done" and not any("1 2 2 1" in line for line in lines)
    at = lines.index("parts at each level: 2 at most")
    assert lines[at + 1 : at + 6] == [" ##", " ##", "####", "####", "----"]
    at = lines.index("loops at each level: 2 at most")
    assert lines[at + 1 : at + 6] == ["   #", "   #", "  ##", "  ##", "----"]
    half = component.BAR_CELLS // 2
    assert lines[-3:] == [
        f"parts     {'=' * 2 * half} ever",
        f"loops     {' ' * half}{'=' * half} ever",
        f"parts     {' ' * (half // 2)}{'=' * (half // 2)}",
    ]


def test_from_the_top_down_what_never_ends_goes_down_to_the_lowest_level(capsys):
    lines = drawn({**SHAPE, "bars": "0 1 -; 1 0.25 -; 0 0.75 0.5"}, capsys)
    quarter = component.BAR_CELLS // 4
    assert lines[-2:] == [f"loops     {'=' * quarter} ever", f"parts     {' ' * 2 * quarter}{'=' * quarter}"]


@pytest.mark.parametrize(
    ("betti", "bars"), [("1 x", "0 0"), ("-1", "9 0 -"), ("9" * 40, "0 nan 1"), (7, 7), ("\x1b[2J", "\x1b[2J 0 1"), ("", "")]
)
def test_what_fits_no_shape_is_not_drawn(betti, bars, capsys):
    lines = drawn({**SHAPE, "betti_0": betti, "betti_1": betti, "bars": bars}, capsys)
    assert len(lines) == 5 and not any("\x1b" in line for line in lines)


def test_what_another_component_found_is_told_by_name(capsys):
    lines = drawn({"code": "flat", "h_classical": None}, capsys, ok=False, code="broken", detail="it ended early")
    assert [line.split() for line in lines[1:]] == [["it", "ended", "early"], ["code", "flat"], ["h_classical", "-"]]
    assert lines[0].endswith("broken")
