"""Drawings of the data engine: what a pipe gets is complete, and what is not there is said in words."""

from typing import get_args

import pytest

from core.data.index import Because
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


def test_an_approximate_answer_says_that_it_is_one_and_an_exact_one_why(capsys: pytest.CaptureFixture[str]) -> None:
    found = {"hits": [], "model": "mine", "compared": 90, "limit": 1_000, "took_ms": 1.0, "method": "exact", "recall": 1.0}
    data.draw_search(found)
    assert "each of them" in capsys.readouterr().err
    data.draw_search({**found, "method": "approximate", "recall": 0.951, "probes": 2, "lists": 40, "sampled": 256})
    said = capsys.readouterr().err
    assert "2 of 40 lists" in said and "approximate, 95.1% of the nearest" in said
    for because, why in data.WHY_EXACT.items():
        data.draw_search({**found, "because": because})
        assert why in capsys.readouterr().err
    assert set(get_args(Because)) == set(data.WHY_EXACT)


def test_an_index_is_drawn_by_what_it_finds(capsys: pytest.CaptureFixture[str]) -> None:
    page = {"model": "mine\x1b[2J", "state": "ready", "vectors": 100, "covered": 90, "lists": 2, "sampled": 64, "bytes": 3_000}
    recall = [
        {"noise": noise, "probes": probes, "at_10": share, "at_100": 0.5}
        for noise, probes, share in ((0.0, 1, 0.9), (0.0, 2, 1.0), (8.0, 1, 0.25), (8.0, 2, 1.0))
    ]
    data.draw_index({**page, "recall": recall, "done": 3, "total": 9})
    said = "".join(capsys.readouterr())
    assert "\x1b" not in said
    for word in ("stored", "noise 8", "0.900", "0.250", "90 of 100 vectors", "3 of 9 steps"):
        assert word in said
    data.draw_index({"model": "mine", "state": "none", "vectors": 3, "failed": "poison"})
    said = "".join(capsys.readouterr())
    assert "no index of mine" in said and "poison" in said and "--make" in said
