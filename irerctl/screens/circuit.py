"""How the circuit engine looks: orders, what they brought, and what they may bring.

`overview` is `irerctl order`. Money is whole minor units until it is drawn, and is never added up across currencies.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from irerctl import render
from irerctl.figures import bar, coloured, moment, money, number, sparkline
from irerctl.session import Session

WATCHED = "circuit"
SHOWN = 8
COLOURS = {"open": "yellow", "fulfilled": "green", "failed": "red"}
RANGE_CELLS = 30


def overview(now: Session) -> None:
    with render.Waiting("waiting for the orders"), now.connect() as client:
        status = client.call("circuit.status").result
        page = client.call("circuit.orders", {"limit": SHOWN}).result
    now.show({"status": status, "orders": page["orders"]}, _draw_overview)


def _draw_overview(found: Mapping[str, Any]) -> None:
    draw_status(found["status"])
    if found["orders"]:
        render.say()
        draw_orders(found)
        if found["status"].get("placed", 0) > len(found["orders"]):
            render.tell("… and more: irerctl order list")
    render.tell("Try: irerctl order --customer WHO --currency EUR --items JSON   or: irerctl wealth")


def draw_status(status: Mapping[str, Any]) -> None:
    parts = [f"{number(status.get('placed', 0))} placed", f"{number(status.get('open', 0))} open"]
    if status.get("failed"):
        parts.append(render.paint(f"{number(status['failed'])} failed", fg="red"))
    if status.get("refused_at_gate"):
        parts.append(render.paint(f"{number(status['refused_at_gate'])} refused at gate wealth", fg="yellow"))
    render.say("orders  " + "  ".join(parts))
    draw_revenue(status.get("revenue") or ())


def draw_revenue(revenue: Sequence[Mapping[str, Any]]) -> None:
    if not revenue:
        render.say("no revenue yet")
        return
    rows = [
        [
            render.clean(each["currency"]),
            number(each["orders"]),
            *(money(each[name], each["currency"]) for name in ("today", "last_7_days", "revenue")),
        ]
        for each in revenue
    ]
    render.table(
        ["currency", "orders", "today", "7 days before", "in all"], rows, right=["orders", "today", "7 days before", "in all"]
    )


def status_line(status: Mapping[str, Any]) -> tuple[str, str]:
    """`12 placed  1 open  today 39.98 EUR`."""
    parts = [f"{render.count(status.get('placed', 0))} placed"]
    if status.get("open"):
        parts.append(f"{render.count(status['open'])} open")
    if status.get("failed"):
        parts.append(render.paint(f"{render.count(status['failed'])} failed", fg="yellow"))
    today = [money(each["today"], each["currency"]) for each in status.get("revenue") or () if each.get("today")]
    if today:
        parts.append("today " + ", ".join(today))
    return "orders", "  ".join(parts)


def draw_orders(page: Mapping[str, Any]) -> None:
    orders = page["orders"]
    if orders:
        rows = [
            [
                render.clean(each["order_id"]),
                coloured(each["state"], COLOURS),
                money(each["total"], each["currency"]),
                number(sum(item["quantity"] for item in each["items"])),
                moment(each["placed_at"]),
                render.clean(str(each["customer"])),
                render.clean(str(each.get("reason") or each.get("entity_id") or "")) or "-",
            ]
            for each in orders
        ]
        render.table(["order", "state", "total", "items", "placed", "customer", "why or by whom"], rows, right=["total", "items"])
    else:
        render.say("no orders")
    if page.get("next"):
        render.note(f"More: add --after {render.clean(str(page['next']))}")


def draw_ordered(found: Mapping[str, Any]) -> None:
    if not found:
        render.say("nothing changed")
        return
    render.say(f"{render.clean(str(found['order_id']))} placed: {money(found['total'], found['currency'])}")
    render.note("What became of it: irerctl order list")


def draw_wealth(report: Mapping[str, Any]) -> None:
    if not report["projections"] and not report["revenue"]:
        render.say("no revenue yet. Try: irerctl order --help")
        return
    draw_revenue(report["revenue"])
    for each in report["projections"]:
        render.say()
        _draw_projection(each, report["horizon_days"])
    render.say()
    for line in render.wrapped(f"From: {render.clean(str(report.get('model', '')))}"):
        render.say(line)


def _draw_projection(each: Mapping[str, Any], days: int) -> None:
    currency = str(each["currency"])
    low, high = each.get("low"), each.get("high")
    about = f"  about {money(each['expected'], currency)}" if each["days"] else ""
    render.say(render.paint(f"{render.clean(currency)}, the next {render.plural(days, 'day')}", bold=True) + about)
    lines = {}
    if not each["days"]:
        render.tell("There is no whole day of history yet, and from nothing nothing follows. Ask again tomorrow")
        return
    if low is not None and high is not None:
        lines["between"] = f"{money(low, currency)} and {money(high, currency)}, 95 times of 100"
        if render.terminal():
            lines["of that"] = interval(low, each["expected"], high)
    else:
        lines["between"] = f"nobody can say yet ({render.clean(str(each.get('reason') or 'no-evidence'))}): too few days"
    slope = each.get("trend_per_day", 0)
    lines["history"] = f"{render.plural(each['days'], 'whole day')}, {money(each['mean_per_day'], currency)} a day on average"
    lines["trend"] = f"{'+' if slope > 0 else ''}{money(round(slope), currency)} from one day to the next"
    if render.terminal() and (drawn := sparkline(each.get("lately") or (), RANGE_CELLS)):
        lines["lately"] = drawn
    if each.get("settled"):
        lines["came true"] = f"{each['covered']:.0%} of {render.plural(each['settled'], 'earlier projection')}"
    if weights := each.get("weights"):
        lines["voices"] = "  ".join(f"{render.clean(name)} {share:.0%}" for name, share in weights.items())
        if render.terminal():
            lead = max(weights, key=weights.__getitem__)
            lines["loudest"] = f"{bar(weights[lead], 'green', 10)} {render.clean(lead)}"
    render.pairs(lines)


def interval(low: int, expected: int, high: int) -> str:
    """Where what is expected lies between nothing, the low end and the high end."""
    top = max(high, expected, 1)
    first, middle, last = (min(round(value / top * (RANGE_CELLS - 1)), RANGE_CELLS - 1) for value in (low, expected, high))
    cells = ["·"] * RANGE_CELLS
    cells[first : last + 1] = ["─"] * (last + 1 - first)
    cells[first], cells[last], cells[middle] = "├", "┤", "●"
    return "".join(cells)


DRAW = {
    "circuit.status": draw_status,
    "circuit.orders": draw_orders,
    "circuit.order": draw_ordered,
    "circuit.wealth": draw_wealth,
}
