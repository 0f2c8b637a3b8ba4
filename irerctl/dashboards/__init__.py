"""Grafana dashboards, written from data: what a board shows stands in a table here, and how Grafana wants it is said once.

`python -m irerctl.dashboards` writes each board of `boards.BOARDS` to docs/monitoring. A panel asks Prometheus in its own
language, without the instance: that is put into every metric's selector, so that one board shows any one daemon of many. Must
never name a data source or a host: whoever loads a board chooses.
"""

import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

WIDTH = 24
"""Grafana's grid."""
METRIC = re.compile(r"\b((?:irer|eil)_[a-z_]+)(\{)?")
_SOURCE = {"type": "prometheus", "uid": "${source}"}
_COLOURS = {"good": "green", "warn": "orange", "bad": "red", "plain": "blue"}


class Line(NamedTuple):
    """One question to Prometheus; `legend` may name labels as Grafana does, {{method}}."""

    expr: str
    legend: str = ""


class Panel(NamedTuple):
    title: str
    help: str
    """What it means and what to do, in words for who is on call."""
    lines: tuple[Line, ...]
    kind: Literal["timeseries", "stat", "bargauge", "state-timeline"] = "timeseries"
    unit: str = "short"
    """Grafana's word: percent, bytes, s, ops, short."""
    steps: tuple[tuple[float | None, str], ...] = ((None, "plain"),)
    """Colours from a value on: good, warn, bad, plain. The first has no value."""
    words: tuple[tuple[float, str, str], ...] = ()
    """Values that have a name: value, word, colour."""
    width: int = 8
    height: int = 7
    lowest: float | None = 0


class Row(NamedTuple):
    title: str
    panels: tuple[Panel, ...]


class Board(NamedTuple):
    """`uid` is for ever: people link to it."""

    uid: str
    title: str
    help: str
    rows: tuple[Row, ...]


def metrics(board: Board) -> set[str]:
    """The names of all metrics that a board asks for."""
    return {name for row in board.rows for panel in row.panels for line in panel.lines for name, _ in METRIC.findall(line.expr)}


def here(expr: str) -> str:
    """The question, put to one instance."""
    return METRIC.sub(lambda found: f'{found[1]}{{instance=~"$instance"{"," if found[2] else "}"}', expr)


def written(board: Board) -> dict[str, Any]:
    """The board as Grafana imports it."""
    return {
        "uid": board.uid,
        "title": board.title,
        "description": board.help,
        "tags": ["irer"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": _choices()},
        "panels": list(_panels(board)),
    }


def _choices() -> list[dict[str, Any]]:
    asked = "label_values(irer_uptime_seconds, instance)"
    return [
        {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
        {
            "name": "instance",
            "label": "irerd",
            "type": "query",
            "datasource": _SOURCE,
            "definition": asked,
            "query": {"query": asked, "refId": "instances"},
            "refresh": 2,
            "includeAll": True,
            "multi": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        },
    ]


def _panels(board: Board) -> Iterator[dict[str, Any]]:
    id = y = 0
    for row in board.rows:
        id += 1
        yield {
            "id": id,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
            "panels": [],
        }
        y, x, height = y + 1, 0, 0
        for panel in row.panels:
            if x + panel.width > WIDTH:
                y, x, height = y + height, 0, 0
            id += 1
            yield _panel(panel, id, {"x": x, "y": y, "w": panel.width, "h": panel.height})
            x, height = x + panel.width, max(height, panel.height)
        y += height


def _panel(panel: Panel, id: int, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": id,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.help,
        "datasource": _SOURCE,
        "gridPos": place,
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": _SOURCE,
                "expr": here(line.expr),
                "legendFormat": line.legend or "__auto",
                "instant": panel.kind in ("stat", "bargauge"),
                "range": panel.kind not in ("stat", "bargauge"),
            }
            for number, line in enumerate(panel.lines)
        ],
        "fieldConfig": {"defaults": _look(panel), "overrides": []},
        "options": _OPTIONS[panel.kind],
    }


def _look(panel: Panel) -> dict[str, Any]:
    look: dict[str, Any] = {
        "unit": panel.unit,
        "color": {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"},
        "thresholds": {"mode": "absolute", "steps": [{"value": value, "color": _COLOURS[how]} for value, how in panel.steps]},
        "mappings": [
            {"type": "value", "options": {f"{value:g}": {"text": word, "color": _COLOURS[how]}}} for value, word, how in panel.words
        ],
        "noValue": "no evidence",
    }
    if panel.lowest is not None:
        look["min"] = panel.lowest
    if panel.kind == "timeseries":
        look["custom"] = {"lineWidth": 1, "fillOpacity": 8, "showPoints": "never", "spanNulls": False}
    return look


_REDUCED = {"reduceOptions": {"calcs": ["lastNotNull"], "values": False}}
_OPTIONS: dict[str, dict[str, Any]] = {
    "timeseries": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}},
    "stat": {**_REDUCED, "colorMode": "value", "graphMode": "area", "textMode": "auto"},
    "bargauge": {**_REDUCED, "displayMode": "basic", "orientation": "horizontal"},
    "state-timeline": {"mergeValues": True, "showValue": "auto"},
}
