"""The order book: what the circuit engine knows, and how each event changes it."""

from collections import Counter, OrderedDict
from typing import Literal

import msgspec

from core.circuit.events import Closed, Item, Ordered, Queued, Served
from core.engine import Stamp

CLOSED_KEPT = 10_000
DAY_US = 86_400_000_000
OrderState = Literal["open", "fulfilled", "failed"]


class Order(msgspec.Struct, forbid_unknown_fields=True):
    """One order. `effect` is the id of the effect that asks for its fulfilment, and of the task that does it."""

    order_id: str
    customer: str
    items: list[Item]
    currency: str
    total: int
    order: int
    placed_us: int
    effect: str
    entity_id: str | None = None
    state: OrderState = "open"
    queued: bool = False
    closed_us: int | None = None
    reason: str = ""


class EntityAsk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A command for an entity that serves orders."""

    verb: Literal["awaken", "hibernate"]
    entity_id: str


class Day(msgspec.Struct, forbid_unknown_fields=True):
    """What was booked on one day in one currency."""

    orders: int = 0
    revenue: int = 0


class Book:
    """The state of the circuit engine."""

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}
        self.open: OrderedDict[str, None] = OrderedDict()
        """Orders that are not closed, the oldest first."""
        self.unqueued: OrderedDict[str, str] = OrderedDict()
        """Effects that ask for a fulfilment, with their order."""
        self.closed: OrderedDict[str, None] = OrderedDict()
        self.days: dict[str, dict[int, Day]] = {}
        """By currency, then by day since 1970 (UTC). Failed orders are taken out again."""
        self.booked: Counter[str] = Counter()
        """What the days of each currency add up to."""
        self.serving: dict[str, int] = {}
        """Open orders of each bound entity."""
        self.awakened: dict[str, bool] = {}
        """Bound entities that this engine woke, and so sends to sleep again."""
        self.entity_asks: OrderedDict[str, EntityAsk] = OrderedDict()
        self.placed = 0
        self.failed = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Book) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


def task_of(effect: str) -> str:
    """The name of the task that fulfils the order whose effect this is."""
    return f"order:{effect}"


def day_of(time_us: int) -> int:
    return time_us // DAY_US


def apply_ordered(book: Book, event: Ordered, stamp: Stamp) -> None:
    effect = stamp.cause()
    order = Order(
        event.order_id,
        event.customer,
        list(event.items),
        event.currency,
        event.total,
        stamp.seq,
        stamp.time_us,
        effect,
        event.entity_id,
    )
    book.orders[order.order_id] = order
    book.open[order.order_id] = None
    book.unqueued[effect] = order.order_id
    book.placed += 1
    day = book.days.setdefault(order.currency, {}).setdefault(day_of(stamp.time_us), Day())
    day.orders += 1
    day.revenue += order.total
    book.booked[order.currency] += order.total
    if order.entity_id is not None:
        serving = book.serving.get(order.entity_id, 0)
        book.serving[order.entity_id] = serving + 1
        if serving == 0:
            book.entity_asks[stamp.cause(1)] = EntityAsk("awaken", order.entity_id)


def apply_queued(book: Book, event: Queued, stamp: Stamp) -> None:
    order = book.orders[event.order_id]
    book.unqueued.pop(order.effect, None)
    order.queued = event.ok
    if not event.ok:
        _close(book, order, "failed", event.code, stamp)


def apply_closed(book: Book, event: Closed, stamp: Stamp) -> None:
    order = book.orders[event.order_id]
    book.unqueued.pop(order.effect, None)
    _close(book, order, event.outcome, event.reason, stamp)


def apply_served(book: Book, event: Served, stamp: Stamp) -> None:
    ask = book.entity_asks.pop(event.effect, None)
    if ask is None:
        return
    if ask.verb == "awaken" and event.ok:
        if ask.entity_id in book.serving:
            book.awakened[ask.entity_id] = True
        else:  # its last order was closed before it was awake
            book.entity_asks[stamp.cause()] = EntityAsk("hibernate", ask.entity_id)


def _close(book: Book, order: Order, state: Literal["fulfilled", "failed"], reason: str, stamp: Stamp) -> None:
    order.state, order.reason, order.closed_us = state, reason, stamp.time_us
    del book.open[order.order_id]
    if state == "failed":
        book.failed += 1
        day = book.days[order.currency][day_of(order.placed_us)]
        day.orders -= 1
        day.revenue -= order.total
        book.booked[order.currency] -= order.total
    if order.entity_id is not None:
        _served_one(book, order.entity_id, stamp)
    book.closed[order.order_id] = None
    while len(book.closed) > CLOSED_KEPT:
        oldest, _ = book.closed.popitem(last=False)
        del book.orders[oldest]


def _served_one(book: Book, entity_id: str, stamp: Stamp) -> None:
    book.serving[entity_id] -= 1
    if not book.serving[entity_id]:
        del book.serving[entity_id]
        if book.awakened.pop(entity_id, False):
            book.entity_asks[stamp.cause(1)] = EntityAsk("hibernate", entity_id)
