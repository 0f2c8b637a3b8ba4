"""The circuit engine: orders and what they bring.

An order asks for its fulfilment in pool `database`, may keep an entity awake, and is revenue. Money is whole minor units.
"""

from collections.abc import Iterator
from itertools import islice

import msgspec

from core.circuit import book, commands, events, reads
from core.circuit.book import Book, Day, EntityAsk, Order, task_of
from core.engine import Ask, Asked, Context, Effect, Engine, Nothing, Timer, internal, read, write

AT_ONCE = 0
"""A due time that is always past."""
ASKS_MAX = 64


def wanted(state: Book, ctx: Context) -> Iterator[Effect]:
    for effect in islice(state.unqueued, ASKS_MAX):
        yield Ask(
            effect,
            "resource.submit_task",
            {
                "task_id": task_of(effect),
                "resource_type": "database",
                "units": 1,
                "duration_s": ctx.settings.circuit.fulfilment_s,
            },
        )
    for effect, ask in islice(state.entity_asks.items(), ASKS_MAX):
        yield Ask(effect, f"entity.{ask.verb}", {"entity_id": ask.entity_id})
    if commands.ended(state, ctx.peek("resource")):
        yield Timer("follow", AT_ONCE, commands.Follow())


class BookDump(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    orders: list[Order]
    open: list[str]
    closed: list[str]
    unqueued: list[tuple[str, str]]
    days: list[tuple[str, list[tuple[int, Day]]]]
    serving: dict[str, int]
    awakened: dict[str, bool]
    entity_asks: list[tuple[str, EntityAsk]]
    placed: int
    failed: int


def dump(state: Book) -> BookDump:
    return BookDump(
        list(state.orders.values()),
        list(state.open),
        list(state.closed),
        list(state.unqueued.items()),
        [(currency, list(days.items())) for currency, days in state.days.items()],
        state.serving,
        state.awakened,
        list(state.entity_asks.items()),
        state.placed,
        state.failed,
    )


def load(dumped: BookDump) -> Book:
    state = Book()
    state.orders = {order.order_id: order for order in dumped.orders}
    state.open.update(dict.fromkeys(dumped.open))
    state.closed.update(dict.fromkeys(dumped.closed))
    state.unqueued.update(dumped.unqueued)
    state.days = {currency: dict(days) for currency, days in dumped.days}
    state.booked.update({currency: sum(day.revenue for day in days.values()) for currency, days in state.days.items()})
    state.serving, state.awakened = dumped.serving, dumped.awakened
    state.entity_asks.update(dumped.entity_asks)
    state.placed, state.failed = dumped.placed, dumped.failed
    return state


ENGINE = Engine(
    "circuit",
    log="orders",
    state=Book,
    wanted=wanted,
    follows=("resource",),
    checks=reads.checks,
    dump=dump,
    load=load,
    rows=[
        write(
            "order",
            commands.Place,
            commands.decide_place,
            apply={events.Ordered: book.apply_ordered},
            help="Place an order; money is whole minor units (cents)",
            example={
                "customer": "ann@example.org",
                "items": [{"sku": "widget", "quantity": 2, "unit_price": 1999}],
                "currency": "EUR",
            },
            cli="order",
        ),
        read(
            "orders", reads.ListOrders, reads.orders, help="Orders, the newest first", example={"state": "open"}, cli="order list"
        ),
        read("status", Nothing, reads.status, help="Orders, revenue and refusals at gate wealth, in one object", example={}),
        read(
            "wealth",
            reads.Wealth,
            reads.wealth,
            help="Revenue so far and projections of it, with intervals",
            example={"horizon_days": 30},
            cli="wealth",
        ),
        internal("follow", commands.Follow, commands.decide_follow, apply={events.Closed: book.apply_closed}),
        internal(
            "asked",
            Asked,
            commands.decide_asked,
            apply={events.Queued: book.apply_queued, events.Served: book.apply_served},
        ),
    ],
)
