"""Two small engines: a shop that has one of each kind of row, for the catalogue and its documents, and a sum that can be broken on
purpose, for what carries commands out."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from core.catalogue import Catalogue
from core.engine import Command, Context, Decision, Engine, Event, Nothing, Result, Row, Stamp, internal, read, task, write
from core.fields import INT_MAX, Code, Count, Cursor, Label, Limit, Name, Object, Seconds, privacy

Token = Annotated[str, Meta(min_length=1, max_length=500), privacy("secret")]
Note = Annotated[str, Meta(max_length=40), privacy("open")]
Correction = Annotated[int, Meta(ge=-INT_MAX, le=INT_MAX)]


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One part of an order.

    sku: what
    share: how much of the whole
    """

    sku: Code
    share: Annotated[float, Meta(ge=0, le=1)] = 1.0


class Order(Command):
    """Asks for a delivery.

    order_id: its name
    parts: what it is made of
    kind: how it travels
    wait_s: how long it may take
    offset: correction of the price
    note: for people,
      on as many lines as they like
    labels: sorting words
    blob: a small picture
    token: proof of payment
    """

    order_id: Code
    parts: Annotated[list[Part], Meta(min_length=1, max_length=10)]
    kind: Literal["slow", "fast"] = "slow"
    wait_s: Seconds | None = None
    offset: Correction = 0
    note: Note = ""
    labels: Annotated[dict[Code, Label], Meta(max_length=4)] = {}
    blob: Annotated[bytes, Meta(max_length=16)] = b""
    token: Token | None = None


class Ordered(Event, type="shop.ordered"):
    """A delivery was asked for.

    order_id: its name
    parts: what it is made of
    note: for people
    """

    order_id: Code
    parts: list[Part]
    note: Note = ""


class Expired(Event, type="shop.expired"):
    """Nobody fetched it.

    order_id: its name
    """

    order_id: Code


class Expire(Command):
    """Ends an order.

    order_id: its name
    """

    order_id: Code


class Fold(Result):
    """A parcel in parcels.

    name: of this one
    inside: what it holds
    """

    name: Name
    inside: "list[Fold]" = []


class Orders(Result):
    """A page of orders.

    orders: their names
    top: the largest
    counts: by kind
    floors: where to ring
    next: where the next page begins
    """

    orders: list[Name]
    counts: dict[str, Count]
    floors: list[Annotated[int, Meta(ge=0, le=9)]] = []
    top: Fold | None = None
    next: Cursor | None = None


class Page(Command):
    """Which page.

    limit: how many
    after: where it begins
    """

    limit: Limit = 1000
    after: Cursor | None = None


class Placed(Result):
    """What became of an order.

    order_id: its name
    pin: to be shown at the door, once
    """

    order_id: Name
    pin: str


class Shown(Result):
    """One line of the stream.

    order_id: its name
    data: all about it
    """

    order_id: Name
    data: Object


def decide_order(shop: Any, command: Order, ctx: Context) -> Decision:
    return Decision(Ordered(command.order_id, command.parts, command.note))


def decide_expire(shop: Any, command: Expire, ctx: Context) -> Decision:
    return Decision(Expired(command.order_id))


def apply_any(shop: Any, event: Event, stamp: Stamp) -> None:
    pass


def placed(events: Sequence[Event]) -> Placed:
    raise AssertionError("nobody calls a row here")


def orders(shop: Any, params: Page, ctx: Context) -> Orders:
    raise AssertionError("nobody calls a row here")


EXAMPLE = {"order_id": "o-1", "parts": [{"sku": "nut", "share": 0.5}], "kind": "fast", "wait_s": 5}


def rows() -> list[Row]:
    return [
        write(
            "order",
            Order,
            decide_order,
            apply={Ordered: apply_any},
            help="Order a delivery",
            example=EXAMPLE,
            cli="shop order ORDER_ID",
        ),
        write(
            "place",
            Order,
            decide_order,
            apply={Ordered: apply_any},
            reply=placed,
            help="Order a delivery and see its pin",
            example=EXAMPLE,
            needs="shop:admin",
            shown_once=True,
        ),
        read("orders", Page, orders, help="Orders, the newest first", example={"limit": 10}),
        task("follow", Nothing, help="Follow the orders", example={}, item=Shown, deadline_ms=None),
        internal("expire", Expire, decide_expire, apply={Expired: apply_any}),
    ]


def shop(more: Sequence[Row] = (), *, without: str = "") -> Catalogue:
    kept = [row for row in rows() if row.name != without]
    return Catalogue([Engine("shop", log="shop_log", state=dict, rows=[*kept, *more])])


# --- a sum ------------------------------------------------------------------------------------------------------------------

BREAKS_DECIDE = 13
BREAKS_APPLY = 666


class Add(Command):
    """Add to the sum.

    amount: how much
    ones: so many times one comes first
    """

    amount: Count
    ones: Count = 0


class Added(Event, type="sum.added"):
    """It was added.

    amount: how much
    """

    amount: Count


class Sum:
    def __init__(self) -> None:
        self.total = 0
        self.applied = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sum) and other.total == self.total


def decide_add(state: Sum, command: Add, ctx: Context) -> Decision:
    if command.amount == BREAKS_DECIDE:
        raise ZeroDivisionError("a bug in deciding, with words of a caller in it")
    return Decision(*[Added(1)] * command.ones, Added(command.amount))


def apply_added(state: Sum, event: Added, stamp: Stamp) -> None:
    state.total += event.amount
    if event.amount == BREAKS_APPLY:
        raise KeyError("a bug in applying")
    state.applied += 1


def summing(name: str = "sum", log: str = "sum_log") -> Engine:
    rows = [
        write("add", Add, decide_add, apply={Added: apply_added}, help="h", example={"amount": 1}),
        internal("more", Add, decide_add, apply={Added: apply_added}),
    ]
    return Engine(name, log=log, state=Sum, rows=rows)
