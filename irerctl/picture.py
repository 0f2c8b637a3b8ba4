"""What a run looks like: its fields as coloured points in a terminal or a PNG, and its spectrum beside the logarithms of primes.

Takes an answer of `sim.show` as it came over the wire, and draws nothing of it that does not fit together: a panel whose points are
not as many as it says is left out. Must never print a character that came from elsewhere.
"""

import base64
import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from irerctl import render
from irerctl.png import LETTER_HEIGHT, RGB, Canvas, text_width

RAMP = " .:-=+*#%@"
BLOCKS = " ▁▂▃▄▅▆▇█"
GAP = 2
COLUMNS_UNSEEN = 72
"""Columns of a drawing that nobody looks at, in a pipe."""
PANEL_MIN, PANEL_MAX = 8, 48
CHART_MAX, CHART_LINES = 96, 8
STRIP_ROWS = 6
"""Rows of half blocks that a panel has at least: a field on a line has fewer of its own."""
SIDE_MAX = 4_096
DEPTH_MAX = 60.0
"""Logarithms of powers further than this below the strongest are rounding, and would flatten all that is to be seen."""

TITLES = {"rho": "|A|^2", "rho_mean": "mean |A|^2", "phase": "phase of A", "rho_s": "rho_s", "field": "field", "pi": "pi"}
_COLOURS: dict[str, tuple[RGB, ...]] = {
    "rho": ((13, 8, 45), (52, 46, 138), (24, 118, 152), (64, 184, 118), (250, 232, 96)),
    "rho_mean": ((13, 8, 45), (52, 46, 138), (24, 118, 152), (64, 184, 118), (250, 232, 96)),
    "field": ((44, 90, 168), (142, 176, 216), (246, 246, 240), (228, 154, 118), (168, 44, 48)),
    "pi": ((44, 90, 168), (142, 176, 216), (246, 246, 240), (228, 154, 118), (168, 44, 48)),
    "phase": ((226, 64, 72), (236, 190, 66), (70, 178, 100), (58, 128, 214), (164, 76, 200), (226, 64, 72)),
    "rho_s": ((18, 12, 20), (112, 30, 52), (206, 86, 48), (248, 184, 88), (255, 250, 224)),
}
"""Colours from the lowest value to the highest; the phase ends where it begins."""


class Panel(NamedTuple):
    name: str
    low: float
    high: float
    width: int
    height: int
    pixels: bytes

    def level(self, x: int, y: int, width: int, height: int) -> int:
        """The value, of 255, at one of so many points across and down."""
        return self.pixels[(y * self.height // height) * self.width + x * self.width // width]


def panels_of(picture: Mapping[str, Any]) -> list[Panel]:
    found = []
    for each in picture.get("panels") or ():
        width, height = int(each["width"]), int(each["height"])
        panel = Panel(str(each["name"]), float(each["low"]), float(each["high"]), width, height, _bytes(each["pixels"]))
        sound = 0 < panel.width <= SIDE_MAX and 0 < panel.height <= SIDE_MAX
        if sound and panel.name in TITLES and len(panel.pixels) == panel.width * panel.height:
            found.append(panel)
    return found


def _bytes(pixels: Any) -> bytes:
    """As bytes, or as the text that JSON has for them."""
    if isinstance(pixels, str):
        try:
            return base64.b64decode(pixels, validate=True)
        except ValueError:
            return b""
    return bytes(pixels)


def colour(name: str, level: int) -> RGB:
    anchors = _COLOURS[name]
    place = level / 255 * (len(anchors) - 1)
    index = min(int(place), len(anchors) - 2)
    share = place - index
    first, second = anchors[index], anchors[index + 1]
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def legend(panel: Panel) -> str:
    return f"{panel.low:.4g} to {panel.high:.4g}"


# --- in a terminal ----------------------------------------------------------------------------------------------------------


def draw(picture: Mapping[str, Any]) -> None:
    """The fields side by side, below one another where there is no room, and the spectrum beneath."""
    panels = panels_of(picture)
    columns = render.width() or COLUMNS_UNSEEN
    if panels:
        wide = (columns - GAP * (len(panels) - 1)) // len(panels)
        words = max(len(text) for panel in panels for text in (TITLES[panel.name], legend(panel)))
        beside = wide >= max(PANEL_MIN * 2, words)
        cells = min(PANEL_MAX, wide if beside else columns, max(panel.width for panel in panels))
        for group in [panels] if beside else [[panel] for panel in panels]:
            _draw_row(group, max(cells, PANEL_MIN, words))  # a number that is cut short is another number
    else:
        render.say("no picture")
    spectrum = picture.get("spectrum")
    if spectrum:
        render.say()
        for line in chart(chart_of(spectrum), min(columns, CHART_MAX)):
            render.say(line)


def _draw_row(panels: Sequence[Panel], cells: int) -> None:
    gap = " " * GAP
    render.say(gap.join(render.paint(TITLES[panel.name][:cells].ljust(cells), bold=True) for panel in panels).rstrip())
    rows = max(STRIP_ROWS, min(cells, max(panel.height for panel in panels))) // 2
    for lines in zip(*(_lines(panel, cells, rows) for panel in panels), strict=True):
        render.say(gap.join(lines))
    render.say(gap.join(legend(panel)[:cells].ljust(cells) for panel in panels).rstrip())


def _lines(panel: Panel, cells: int, rows: int) -> Iterator[str]:
    """Two points a character, one above the other, in colour; else one of a ramp of letters."""
    for row in range(rows):
        if render.coloured():
            yield (
                "".join(
                    _sgr(38, colour(panel.name, panel.level(x, 2 * row, cells, 2 * rows)))
                    + _sgr(48, colour(panel.name, panel.level(x, 2 * row + 1, cells, 2 * rows)))
                    + "▀"
                    for x in range(cells)
                )
                + "\x1b[0m"
            )
        else:
            levels = (panel.level(x, row, cells, rows) for x in range(cells))
            yield "".join(RAMP[level * len(RAMP) // 256] for level in levels)


def _sgr(layer: int, of: RGB) -> str:
    if os.environ.get("COLORTERM") in ("truecolor", "24bit"):
        return f"\x1b[{layer};2;{of[0]};{of[1]};{of[2]}m"
    red, green, blue = (round(part / 255 * 5) for part in of)
    return f"\x1b[{layer};5;{16 + 36 * red + 6 * green + blue}m"


# --- the spectrum -----------------------------------------------------------------------------------------------------------


class Chart(NamedTuple):
    """A spectrum ready to be drawn: places from 0 to `end`, heights from 0 to 1."""

    axis: str
    end: float
    points: list[tuple[float, float]]
    baseline: list[tuple[float, float]]
    peaks: list[float]
    primes: list[tuple[float, str]]
    low: float
    high: float


def chart_of(spectrum: Mapping[str, Any]) -> Chart:
    """Against ln p where there is a scale, with the primes below it; else against the wave number."""
    scale = spectrum.get("scaling_factor")
    factor = float(scale) if scale else 1.0
    k = [factor * float(each) for each in spectrum["k"]]
    targets = [(factor * float(each["k"]), str(int(each["prime"]))) for each in spectrum.get("targets") or ()]
    end = max(k, default=1.0) or 1.0
    if targets:
        end = min(end, 1.25 * max(x for x, _ in targets))
    shown = [(x, float(y)) for x, y in zip(k, spectrum["y"], strict=False) if x <= end and math.isfinite(y)]
    below = [(x, float(y)) for x, y in zip(k, spectrum["baseline"], strict=False) if x <= end and math.isfinite(y)]
    high = max((y for _, y in shown), default=0.0)
    low = max(min((y for _, y in shown), default=0.0), high - DEPTH_MAX)
    span = high - low or 1.0

    def risen(line: list[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(x, min(max((y - low) / span, 0.0), 1.0)) for x, y in line]

    peaks = [factor * float(each["k"]) for each in spectrum.get("peaks") or ()]
    return Chart(
        "ln p = s k" if scale else "k",
        end,
        risen(shown),
        risen(below),
        [x for x in peaks if x <= end],
        [(x, prime) for x, prime in targets if x <= end],
        low,
        high,
    )


def chart(found: Chart, columns: int) -> list[str]:
    """The spectrum in letters: a column for each stretch of the axis, peaks above it, primes below."""
    heights = _columns(found, columns)
    blocks = BLOCKS if render.terminal() else " ########"
    lines = [f"ln power of |A|^2, {found.low:.3g} to {found.high:.3g}, against {found.axis}"[:columns]]
    lines.append(_marks([(x, "v") for x in found.peaks], found.end, columns))
    for line in reversed(range(CHART_LINES)):
        filled = (min(max(height * CHART_LINES - line, 0.0), 1.0) for height in heights)
        lines.append("".join(blocks[round(share * (len(blocks) - 1))] for share in filled).rstrip())
    lines.append("-" * columns)
    if found.primes:
        lines.append(_marks([(x, "^") for x, _ in found.primes], found.end, columns))
        lines.append(_marks(found.primes, found.end, columns))
    else:
        lines.append(f"0{f'{found.end:.3g}'.rjust(columns - 1)}")
    return lines


def _columns(found: Chart, columns: int) -> list[float]:
    """The highest of what lies in each column; where nothing does, what lies between its neighbours."""
    heights: list[float | None] = [None] * columns
    for x, y in found.points:
        at = min(int(x / found.end * (columns - 1)), columns - 1)
        heights[at] = max(y, heights[at] or 0.0)
    known = [(at, y) for at, y in enumerate(heights) if y is not None]
    filled = [0.0] * columns
    for (at, y), (after, end) in itertools.pairwise(known):
        for place in range(at, after):
            filled[place] = y + (end - y) * (place - at) / (after - at)
    if known:
        filled[known[-1][0]] = known[-1][1]
    return filled


def _marks(marks: Sequence[tuple[float, str]], end: float, columns: int) -> str:
    line = [" "] * columns
    for x, mark in marks:
        at = min(int(x / end * (columns - 1)), columns - len(mark))
        line[at : at + len(mark)] = mark
    return "".join(line).rstrip()


# --- as a file --------------------------------------------------------------------------------------------------------------

SIDE = 256
MARGIN, TITLE, BAR, CHART = 24, 26, 10, 220
INK, PAPER, FAINT, WAVE, MARK = (32, 34, 40), (250, 250, 247), (205, 205, 200), (40, 90, 190), (200, 60, 60)


def png(picture: Mapping[str, Any]) -> bytes:
    """All of it in one file: each field with its title and its scale of colours, and the spectrum below."""
    panels = panels_of(picture)
    across = max(len(panels), 1)
    width = MARGIN + across * (SIDE + MARGIN)
    below = MARGIN + TITLE + SIDE + BAR + 3 * LETTER_HEIGHT + MARGIN if panels else MARGIN
    canvas = Canvas(width, below + (CHART + TITLE + 2 * MARGIN if picture.get("spectrum") else 0), PAPER)
    for place, panel in enumerate(panels):
        _paint_panel(canvas, panel, MARGIN + place * (SIDE + MARGIN), MARGIN)
    if picture.get("spectrum"):
        _paint_chart(canvas, chart_of(picture["spectrum"]), MARGIN, below, width - 2 * MARGIN)
    return canvas.png()


def _paint_panel(canvas: Canvas, panel: Panel, left: int, top: int) -> None:
    canvas.text(left, top, TITLES[panel.name], INK, 3)
    top += TITLE
    across, down = min(panel.width, SIDE), min(panel.height, SIDE)
    for y in range(down):
        above, under = y * SIDE // down, (y + 1) * SIDE // down
        for x in range(across):
            edge, end = x * SIDE // across, (x + 1) * SIDE // across
            level = panel.level(x, y, across, down)
            canvas.fill(left + edge, top + above, end - edge, under - above, colour(panel.name, level))
    for x in range(SIDE):
        canvas.fill(left + x, top + SIDE + 4, 1, BAR - 4, colour(panel.name, x * 255 // (SIDE - 1)))
    high = f"{panel.high:.4g}"
    canvas.text(left, top + SIDE + BAR + 4, f"{panel.low:.4g}", INK)
    canvas.text(left + SIDE - text_width(high), top + SIDE + BAR + 4, high, INK)


def _paint_chart(canvas: Canvas, found: Chart, left: int, top: int, width: int) -> None:
    canvas.text(left, top, f"ln power of |A|^2, {found.low:.3g} to {found.high:.3g}, against {found.axis}", INK)
    top += TITLE
    bottom = top + CHART

    def at(x: float, y: float) -> tuple[int, int]:
        return left + round(x / found.end * width), bottom - round(y * CHART)

    for x, prime in found.primes:
        place, _ = at(x, 0)
        for dash in range(top, bottom, 8):
            canvas.fill(place, dash, 1, 4, MARK)
        canvas.text(place - text_width(prime) // 2, bottom + 6, prime, MARK)
    if not found.primes:
        high = f"{found.end:.3g}"
        canvas.text(left, bottom + 6, "0", INK)
        canvas.text(left + width - text_width(high), bottom + 6, high, INK)
    canvas.fill(left, bottom, width, 1, INK)
    canvas.fill(left, top, 1, CHART, INK)
    for line, ink, thick in ((found.baseline, FAINT, 1), (found.points, WAVE, 2)):
        places = [at(x, y) for x, y in line]
        for (x0, y0), (x1, y1) in itertools.pairwise(places):
            canvas.line(x0, y0, x1, y1, ink, thick)
    for x in found.peaks:
        place, _ = at(x, 0)
        canvas.fill(place - 2, top, 5, 5, WAVE)
