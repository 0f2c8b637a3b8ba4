"""What the circuit engine tells: orders, the circuit in one object, and what revenue has come and may come. Looks only."""

from typing import Annotated, Any

from msgspec import Meta

from core.circuit.book import Book, Day, Order, OrderState, day_of
from core.circuit.events import Currency, Items
from core.engine import Check, Command, Context, Nothing, Refused, Result
from core.fields import INT_MAX, Code, Count, Cursor, Limit, Name, Time
from core.forecast import total_of_next
from core.paging import Room, order_after
from core.times import time_text

LIMIT_DEFAULT = 1_000
HISTORY_DAYS = 400
"""Days of revenue that a projection looks at: a year and a season."""
LATELY_DAYS = 30
LOOKED_AT_MAX = 20_000
Signed = Annotated[int, Meta(ge=-(2**53 - 1), le=2**53 - 1)]
Share = Annotated[float, Meta(ge=0, le=1)]


class OrderRow(Result):
    """One order.

    order_id: its name
    state: open, fulfilled or failed
    customer: who ordered, as a pseudonym
    items: what was ordered
    currency: of all its prices
    total: in minor units
    placed_at: when
    closed_at: when it was fulfilled or failed
    reason: why it failed
    entity_id: the entity that serves it
    """

    order_id: Name
    state: OrderState
    customer: str
    items: Items
    currency: Currency
    total: Count
    placed_at: Time
    closed_at: Time | None = None
    reason: str = ""
    entity_id: Name | None = None


class ListOrders(Command):
    """Which orders, the newest first.

    state: only those in this state
    limit: how many at most, 1,000 unless told
    after: `next` of the page before
    """

    state: OrderState | None = None
    limit: Limit | None = None
    after: Cursor | None = None


class OrderPage(Result):
    """Orders, the newest first.

    orders: the page; it may hold fewer than asked for, even none, while there is a next one
    next: give it as `after` for the page that follows; absent on the last
    """

    orders: list[OrderRow]
    next: Cursor | None = None


class Revenue(Result):
    """What was booked in one currency. A failed order is no revenue.

    currency: which
    orders: how many, in all
    revenue: what they add up to, in minor units
    today: of that, since midnight UTC
    last_7_days: of that, in the seven days before today
    """

    currency: Currency
    orders: Count
    revenue: Count
    today: Count
    last_7_days: Count


class CircuitStatus(Result):
    """The circuit in one object: orders, what they brought, and what the gate `wealth` turned away.

    placed: orders ever placed
    open: orders being fulfilled
    failed: orders that failed
    revenue: by currency
    refused_at_gate: credentials that the gate of domain `wealth` refused
    """

    placed: Count
    open: Count
    failed: Count
    revenue: list[Revenue]
    refused_at_gate: Count


class Wealth(Command):
    """How far to look ahead.

    horizon_days: days to project, 30 unless told
    currency: only this one
    """

    horizon_days: Annotated[int, Meta(ge=1, le=90)] | None = None
    currency: Currency | None = None


class Projection(Result):
    """What one currency may bring.

    currency: which
    days: whole days of history looked at, today not among them
    mean_per_day: their mean revenue, in minor units
    trend_per_day: how much a day brings more than the day before, by the median of slopes
    expected: revenue of the horizon in all, in minor units
    low: 95 of 100 outcomes lie above; absent while too little is known
    high: 95 of 100 outcomes lie below it or between; absent while too little is known
    reason: why there is no interval
    settled: earlier projections of the same length whose outcome is known
    covered: the share of those whose outcome lay in the interval given then
    weights: how much each expert has to say
    lately: revenue of each of the last 30 whole days, the oldest first; fewer where the history is shorter
    """

    currency: Currency
    days: Count
    mean_per_day: Count
    trend_per_day: Annotated[float, Meta()]
    expected: Count
    low: Count | None = None
    high: Count | None = None
    reason: Code | None = None
    settled: Count = 0
    covered: Share | None = None
    weights: dict[str, Share] = {}
    lately: list[Count] = []


class WealthReport(Result, omit_defaults=False):
    """Revenue so far and projections of it, with intervals.

    horizon_days: days looked ahead
    revenue: what was booked, by currency
    projections: what may come, by currency
    model: what the projections rest on
    """

    horizon_days: Count
    revenue: list[Revenue]
    projections: list[Projection]
    model: str = "naive, smoothing, autoregression, mean and last week, weighted by their errors; conformal interval at 95 %"


def _row(order: Order) -> OrderRow:
    closed = time_text(order.closed_us) if order.closed_us is not None else None
    return OrderRow(
        order.order_id,
        order.state,
        order.customer,
        order.items,
        order.currency,
        order.total,
        time_text(order.placed_us),
        closed,
        order.reason if order.state == "failed" else "",
        order.entity_id,
    )


def orders(book: Book, params: ListOrders, ctx: Context) -> OrderPage:
    before = order_after("circuit.orders", params.after)
    limit = params.limit or LIMIT_DEFAULT
    rows: list[OrderRow] = []
    room = Room()
    looked = 0
    last = before
    for order in reversed(book.orders.values()):
        if before is not None and order.order >= before:
            continue
        row = _row(order) if params.state in (None, order.state) else None
        if len(rows) == limit or looked == LOOKED_AT_MAX or (row is not None and not room.take(row)):
            return OrderPage(rows, str(last))
        looked += 1
        last = order.order
        rows += [row] if row is not None else []
    return OrderPage(rows)


def revenue(book: Book, now_us: int) -> list[Revenue]:
    today = day_of(now_us)
    found = []
    for currency, days in sorted(book.days.items()):
        week = sum(days[day].revenue for day in range(today - 7, today) if day in days)
        now = days[today].revenue if today in days else 0
        count = sum(day.orders for day in days.values())
        found.append(Revenue(currency, count, _money(book.booked[currency]), _money(now), _money(week)))
    return found


def status(book: Book, params: Nothing, ctx: Context) -> CircuitStatus:
    return CircuitStatus(book.placed, len(book.open), book.failed, revenue(book, ctx.now_us), _refused_at_gate(ctx.peek("gate")))


def _refused_at_gate(gates: Any) -> int:
    return int(gates.causes["wealth"].total())


def wealth(book: Book, params: Wealth, ctx: Context) -> WealthReport:
    horizon = params.horizon_days or 30
    chosen = [currency for currency in sorted(book.days) if params.currency in (None, currency)]
    if params.currency is not None and not chosen:
        text = f"nothing was ever booked in {params.currency}. Booked so far: {', '.join(sorted(book.days)) or 'nothing'}"
        raise Refused("not-found", text, data={"nearest": sorted(book.days)})
    booked = [each for each in revenue(book, ctx.now_us) if each.currency in chosen]
    return WealthReport(horizon, booked, [_projected(currency, book.days[currency], horizon, ctx.now_us) for currency in chosen])


def _projected(currency: str, days: dict[int, Day], horizon: int, now_us: int) -> Projection:
    """From whole days only: what is left of today would look like a fall."""
    series = daily(days, day_of(now_us))
    total = total_of_next([float(value) for value in series], horizon)
    known = total.low is not None and total.high is not None
    return Projection(
        currency,
        len(series),
        _money(sum(series) / len(series)) if series else 0,
        trend(series),
        _money(total.expected),
        _money(total.low) if total.low is not None else None,
        _money(total.high) if total.high is not None else None,
        None if known else "no-evidence",
        total.settled,
        total.covered / total.settled if total.settled else None,
        total.weights,
        [_money(value) for value in series[-LATELY_DAYS:]],
    )


def daily(days: dict[int, Day], today: int) -> list[int]:
    """Revenue of each whole day from the first order on; days without one count as none."""
    first = min((day for day in days if day < today), default=today)
    return [days[day].revenue if day in days else 0 for day in range(max(first, today - HISTORY_DAYS), today)]


def trend(series: list[int]) -> float:
    """The median of the slopes between all pairs of the last 60 days (Theil and Sen): one odd day does not move it."""
    lately = series[-60:]
    slopes = sorted((lately[j] - lately[i]) / (j - i) for i in range(len(lately)) for j in range(i + 1, len(lately)))
    if not slopes:
        return 0.0
    middle = len(slopes) // 2
    return slopes[middle] if len(slopes) % 2 else (slopes[middle - 1] + slopes[middle]) / 2


def _money(amount: float) -> int:
    """Revenue is never negative, and no more than an answer can say: a book may be older than the bound on what is booked."""
    return min(max(0, round(amount)), INT_MAX)


def checks(book: Book, ctx: Context) -> list[Check]:
    return [Check("circuit", "ok", f"{len(book.open):,} orders are open" if book.open else "")]
