"""Drawings of the data engine: what a pipe gets is complete, and what is not there is said in words."""

import pytest

from irerctl.screens import data

EVENT = "ab" * 32


def test_clusters_the_field_waves_and_overlaps_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"cluster": "c-1\x1b[2J", "size": 3, "near": 0.9, "examples": [{"event": EVENT, "text": "a pump"}]}]
    data.draw_clusters({"clusters": rows, "vectors": 4, "loose": 1, "code": "ok"})
    data.draw_field(
        {"clusters": [{"cluster": "c-1", "size": 3, "values": [1.0, 0.25]}], "days": [0, 7], "total": [1, 0.25], "links": 0}
    )
    mode = {"amplitude": 500.0, "wavenumber": 1.05, "frequency": 1.05, "phase": 0.0, "chance": 1e-9, "speed": 1.0}
    data.draw_waves({"modes": [mode], "tested": 144, "explained": 0.98})
    data.draw_overlap({"events": [EVENT, EVENT], "clusters": 2, "real": [[1, 0.5], [0.5, 1]], "imaginary": [[0, 0.5], [-0.5, 0]]})
    said = capsys.readouterr().out
    assert "\x1b" not in said and EVENT in said
    for word in ("a pump", "0.250", "1.000", "500", "0.50+0.50i", "0.50-0.50i"):
        assert word in said


def test_nothing_is_said_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    for draw in (data.draw_clusters, data.draw_field, data.draw_waves, data.draw_overlap):
        draw({})
    said = capsys.readouterr().out
    assert said.count("no clusters yet") == 3 and "no waves" in said
    data.draw_clusters({"code": "not-installed"})
    assert "irer[science]" in capsys.readouterr().out
