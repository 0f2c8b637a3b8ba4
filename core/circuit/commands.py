"""What the circuit engine may be asked. A command judges and changes nothing."""

from itertools import islice
from typing import Annotated, Any

from msgspec import Meta

from core.circuit.book import Book, Order, task_of
from core.circuit.events import Closed, Currency, Items, Ordered, Queued, Served
from core.engine import Asked, Command, Context, Decision, Event, Nothing, Refused
from core.fields import INT_MAX, Name

OPEN_MAX = 100_000
AT_ONCE_MAX = 64
LOOKS_MAX = 256
"""Open orders looked at for one answer to what is wanted."""


class Place(Command):
    """Orders something.

    customer: who orders; stored as a pseudonym only
    items: what, how many, and at which price in minor units
    currency: of all the prices
    order_id: its name, which stands in the log as it is; one is made up without it
    entity_id: an entity that serves it: it is awakened, and sleeps again once its last order is closed
    """

    customer: Annotated[str, Meta(min_length=1, max_length=200)]
    items: Items
    currency: Currency
    order_id: Name | None = None
    entity_id: Name | None = None


class Follow(Nothing):
    """Look at the fulfilments: those that ended close their orders."""


def decide_place(book: Book, command: Place, ctx: Context) -> Decision:
    order_id = command.order_id or f"o-{ctx.new_id()}"
    if order_id in book.orders:
        raise Refused("already-exists", f"there is an order {order_id} already. Choose another order_id, or leave it out")
    if len(book.open) >= OPEN_MAX:
        raise Refused("resource-exhausted", f"{OPEN_MAX:,} orders are open. Wait until some are fulfilled", reason="orders")
    total = sum(item.quantity * item.unit_price for item in command.items)
    if total > INT_MAX:
        raise Refused("out-of-range", f"the order adds up to {total:,} minor units; at most {INT_MAX:,} can be booked")
    if book.booked[command.currency] + total > INT_MAX:
        left = max(0, INT_MAX - book.booked[command.currency])
        text = f"all orders in {command.currency} add up to at most {INT_MAX:,} minor units, and {left:,} of them are left"
        raise Refused("out-of-range", f"{text}. Order for less, or in another currency", reason="booked")
    if command.entity_id is not None:
        fleet = ctx.peek("entity")
        entity = fleet.entities.get(command.entity_id)
        if entity is None:
            raise Refused("not-found", f"no entity {command.entity_id}. All: irerctl entity list")
        if entity.state == "deactivated":
            raise Refused(
                "failed-precondition", f"{command.entity_id} is deactivated for good. Bind another entity", reason="state"
            )
    return Decision(Ordered(order_id, command.customer, command.items, command.currency, total, command.entity_id))


def decide_follow(book: Book, command: Follow, ctx: Context) -> Decision:
    return Decision(*islice(ended(book, ctx.peek("resource")), AT_ONCE_MAX))


def ended(book: Book, pools: Any) -> list[Event]:
    """Orders whose fulfilment came to an end, among the oldest that are open."""
    found: list[Event] = []
    for order_id in islice(book.open, LOOKS_MAX):
        order = book.orders[order_id]
        if order.queued and (closed := _closed(order, pools)) is not None:
            found.append(closed)
    return found


def _closed(order: Order, pools: Any) -> Closed | None:
    task = pools.tasks.get(task_of(order.effect))
    if task is None:
        return Closed(order.order_id, "failed", "task-forgotten")
    if task.state == "done":
        return Closed(order.order_id, "fulfilled")
    if task.state in ("cancelled", "expired", "parked"):
        return Closed(order.order_id, "failed", f"task-{task.state}")
    return None


def decide_asked(book: Book, command: Asked, ctx: Context) -> Decision:
    if command.effect in book.entity_asks:
        return Decision(Served(command.effect, command.ok, command.code))
    order_id = book.unqueued.get(command.effect)
    return Decision() if order_id is None else Decision(Queued(order_id, command.ok, command.code))
