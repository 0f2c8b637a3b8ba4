"""The energy map as a picture: what stands where, what feeds and cools what, and how each source is.

Columns from left to right: places, sources that feed or cool others, the rest, accounts. A line is as thick as what flows is large
beside the largest; a box has the colour of its regime.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from irerctl.figures import number
from irerctl.png import LETTER_HEIGHT, RGB, Canvas, text_width

PAPER, INK, FAINT = (250, 250, 248), (32, 36, 44), (188, 192, 200)
REGIMES: Mapping[str, RGB] = {
    "stable": (88, 164, 108),
    "learning": (92, 156, 196),
    "drifting": (216, 172, 64),
    "transition": (224, 136, 56),
    "unstable": (200, 72, 64),
}
FLOWS: Mapping[str, RGB] = {"feeds": (196, 112, 40), "cools": (64, 124, 196), "contains": FAINT, "settled": FAINT}
BOX_WIDTH, BOX_HEIGHT, GAP, ACROSS, MARGIN, TITLE = 220, 44, 16, 150, 32, 40
THICK_MAX = 7
ROWS_MAX = 64
"""Of one column: a picture of a thousand boxes shows nothing. What is left out is said."""


def columns_of(found: Mapping[str, Any]) -> list[list[Mapping[str, Any]]]:
    """What is drawn, from left to right; columns of nothing are left out."""
    givers = {edge["start"] for edge in found["edges"] if edge["relation"] in ("feeds", "cools")}
    columns: list[list[Mapping[str, Any]]] = [[], [], [], []]
    for node in sorted(found["nodes"], key=lambda each: each["id"]):
        if node["kind"] == "source":
            columns[1 if node["id"] in givers else 2].append(node)
        elif node["kind"] in ("place", "account"):
            columns[0 if node["kind"] == "place" else 3].append(node)
    return [column for column in columns if column]


def png(found: Mapping[str, Any]) -> bytes:
    columns = columns_of(found)
    rows = max((min(len(column), ROWS_MAX) for column in columns), default=1)
    width = 2 * MARGIN + max(len(columns), 1) * BOX_WIDTH + max(len(columns) - 1, 0) * ACROSS
    canvas = Canvas(width, 2 * MARGIN + TITLE + rows * (BOX_HEIGHT + GAP), PAPER)
    left_out = sum(max(len(column) - ROWS_MAX, 0) for column in columns)
    title = f"energy map, {number(found['total'])} sources" + (f", {number(left_out)} left out" if left_out else "")
    canvas.text(MARGIN, MARGIN, title, INK, 3)
    places: dict[str, tuple[int, int]] = {}
    for column, nodes in enumerate(columns):
        for row, node in enumerate(nodes[:ROWS_MAX]):
            places[node["id"]] = MARGIN + column * (BOX_WIDTH + ACROSS), MARGIN + TITLE + row * (BOX_HEIGHT + GAP)
    _flows(canvas, found["edges"], places)
    for nodes in columns:
        for node in nodes[:ROWS_MAX]:
            _box(canvas, node, *places[node["id"]])
    return canvas.png()


def _flows(canvas: Canvas, edges: Sequence[Mapping[str, Any]], places: Mapping[str, tuple[int, int]]) -> None:
    drawn = [edge for edge in edges if edge["relation"] in FLOWS and {edge["start"], edge["end"]} <= places.keys()]
    largest = max((edge["weight"] for edge in drawn if edge["unit"] == "J"), default=0.0)
    for edge in drawn:
        (x0, y0), (x1, y1) = places[edge["start"]], places[edge["end"]]
        share = edge["weight"] / largest if edge["unit"] == "J" and largest > 0 else 0.0
        thick = max(1, round(THICK_MAX * math.sqrt(max(share, 0.0))))
        half = BOX_HEIGHT // 2
        begin, end = (x0 + BOX_WIDTH, x1) if x0 < x1 else (x0, x1 + BOX_WIDTH) if x0 > x1 else (x0 + BOX_WIDTH, x1 + BOX_WIDTH)
        canvas.line(begin, y0 + half, end, y1 + half, FLOWS[edge["relation"]], thick)


def _box(canvas: Canvas, node: Mapping[str, Any], x: int, y: int) -> None:
    canvas.fill(x, y, BOX_WIDTH, BOX_HEIGHT, REGIMES.get(node.get("regime") or "", FAINT))
    canvas.fill(x + 4, y + 2, BOX_WIDTH - 6, BOX_HEIGHT - 4, PAPER)
    canvas.text(x + 12, y + 8, _fitting(str(node["name"])), INK)
    if node.get("value") is not None:
        canvas.text(x + 12, y + 14 + 2 * LETTER_HEIGHT, _fitting(energy(node)), INK)


def energy(node: Mapping[str, Any]) -> str:
    """`12.3 kJ`, or a figure that only orders."""
    value = float(node["value"])
    if node["unit"] != "J":
        return f"{value:.4g} (orders)"
    for size, unit in ((1e12, "TJ"), (1e9, "GJ"), (1e6, "MJ"), (1e3, "kJ")):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} J"


def _fitting(text: str) -> str:
    while text_width(text) > BOX_WIDTH - 20:
        text = text[:-1]
    return text
