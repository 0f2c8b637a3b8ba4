"""How gauges and meters look: a bar against its target, a line of the last hour, and what each was worked out from.

`overview` is `irerctl metrics`. What has no value has no bar: nothing is drawn that nobody measured.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from irerctl import render
from irerctl.figures import bar, moment, number, sparkline
from irerctl.session import Session

SPARK_CELLS = 12
BAR_CELLS = 10
GAUGE_COLUMNS = ["gauge", "value", "target", "from", "over"]
TRENDS = {1: "rising", 0: "steady", -1: "falling"}


def overview(now: Session) -> None:
    """Gauges, meters, and on a terminal the last hour of each."""
    drawn = now.output == "table" and render.terminal()
    with render.Waiting("waiting for the metrics"), now.connect() as client:
        gauges = client.call("metrics.gauges").result
        meters = client.call("metrics.meters").result
        names = [each["name"] for each in [*gauges["gauges"], *meters["meters"]]]
        history = {name: client.call("metrics.history", {"name": name}).result["points"] for name in names} if drawn else {}
    found = {"gauges": gauges["gauges"], "meters": meters["meters"], "gaps": gauges.get("gaps") or []}
    now.show(found, lambda each: _draw_overview(each, history))


def _draw_overview(found: Mapping[str, Any], history: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    draw_gauges(found, history)
    render.say()
    draw_meters(found, history)
    draw_gaps(found)
    render.tell("Try: irerctl metrics history NAME   or: irerctl help gauge")


def draw_gauges(found: Mapping[str, Any], history: Mapping[str, Sequence[Mapping[str, Any]]] | None = None) -> None:
    rows = []
    for each in found["gauges"]:
        name, target = render.clean(each["name"]), f"{each['target']:g}"
        if render.terminal():
            value = each["value"]
            drawn = "" if value is None else bar(value / 100, "green" if each.get("met") else "red", BAR_CELLS)
            rows.append([name, percent(each), drawn, target, _of(each), _spark(each["name"], history)])
        else:
            rows.append([name, percent(each), target, _of(each), render.clean(str(each["window"]))])
    columns = ["gauge", "value", "", "target", "from", "last hour"] if render.terminal() else GAUGE_COLUMNS
    render.table(columns, rows, right=["value", "target"])


def draw_meters(found: Mapping[str, Any], history: Mapping[str, Sequence[Mapping[str, Any]]] | None = None) -> None:
    rows = []
    for each in found["meters"]:
        value = render.clean(str(each.get("reason") or "-")) if each["value"] is None else f"{each['value']:.1f}"
        row = [render.clean(each["name"]), value, render.clean(str(each["unit"])), _trend(each["trend"])]
        if render.terminal():
            row.append(_spark(each["name"], history))
        rows.append(row)
    columns = ["meter", "value", "unit", "trend"]
    render.table([*columns, "last hour"] if render.terminal() else columns, rows, right=["value"])


def _trend(trend: Mapping[str, Any]) -> str:
    return "-" if trend.get("slope") is None else TRENDS.get(trend["sign"], "-")


def percent(gauge: Mapping[str, Any]) -> str:
    if gauge["value"] is None:
        return render.clean(str(gauge.get("reason") or "no-evidence"))
    return f"{gauge['value']:.1f} %"


def _of(gauge: Mapping[str, Any]) -> str:
    told = f"{number(gauge['numerator'])} of {number(gauge['denominator'])}"
    return f"{told}, modelled" if gauge.get("provenance") == "modelled" else told


def _spark(name: str, history: Mapping[str, Sequence[Mapping[str, Any]]] | None) -> str:
    return sparkline(coarse([point["value"] for point in (history or {}).get(name, ())], SPARK_CELLS), SPARK_CELLS)


def coarse(values: Sequence[float | None], cells: int) -> list[float | None]:
    """As many values as there are cells: each the mean of what is known in its share of them."""
    if len(values) <= cells:
        return list(values)
    found: list[float | None] = []
    for place in range(cells):
        share = [value for value in values[place * len(values) // cells : (place + 1) * len(values) // cells] if value is not None]
        found.append(sum(share) / len(share) if share else None)
    return found


def draw_gaps(found: Mapping[str, Any]) -> None:
    for gap in found.get("gaps") or ():
        records = f"{number(gap['first_seq'])} to {number(gap['last_seq'])}"
        render.say(
            f"{render.paint('!', fg='yellow')} records {records} of {render.clean(str(gap['log']))} are not in these numbers"
        )


def draw_history(found: Mapping[str, Any]) -> None:
    points = found["points"]
    known = [point["value"] for point in points if point["value"] is not None]
    if not known:
        render.say(f"{render.clean(found['name'])}: nothing happened in that time")
    elif render.terminal():
        render.say(f"{render.paint(render.clean(found['name']), bold=True)}  {render.clean(found['unit'])}")
        cells = min(len(points), max((render.width() or 80) - 2, 10))
        render.say(sparkline(coarse([point["value"] for point in points], cells), cells))
        render.say(f"{moment(points[0]['at'])} to {moment(points[-1]['at'])}")
        render.say(f"lowest {min(known):g}, highest {max(known):g}, now {known[-1]:g}")
    else:
        rows = [[render.clean(p["at"]), render.word(p["value"]), number(p["numerator"]), number(p["denominator"])] for p in points]
        render.table(["at", "value", "numerator", "denominator"], rows, right=["value", "numerator", "denominator"])
    draw_gaps(found)


def draw_prometheus(found: Mapping[str, Any]) -> None:
    """As Prometheus reads it, to the letter."""
    for line in str(found["text"]).splitlines():
        render.say(render.clean(line))


DRAW = {
    "metrics.gauges": draw_gauges,
    "metrics.meters": draw_meters,
    "metrics.history": draw_history,
    "metrics.prometheus": draw_prometheus,
}
