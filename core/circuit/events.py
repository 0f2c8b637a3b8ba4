"""What can happen to an order, as the log keeps it. Money is integer minor units; a customer is stored as a pseudonym."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from core.engine import Event
from core.fields import Code, Count, Frozen, Name, privacy, words

Currency = Annotated[
    str,
    Meta(pattern=r"^[A-Z]{3}\Z"),
    words('a currency: three capital letters of ISO 4217, such as "EUR"'),
    privacy("public"),
]
Customer = Annotated[str, Meta(min_length=1, max_length=200), privacy("pseudonym")]
Sku = Annotated[str, Meta(max_length=200), privacy("open")]
Quantity = Annotated[int, Meta(ge=1, le=1_000_000)]
Minor = Annotated[int, Meta(ge=0, le=1_000_000_000_000)]
"""An amount of money in the smallest unit of its currency, such as cents."""
EndOfOrder = Literal["fulfilled", "failed"]


class Item(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """One line of an order.

    sku: what is bought
    quantity: how many
    unit_price: price of one, in minor units (cents)
    """

    sku: Sku
    quantity: Quantity
    unit_price: Minor


Items = Annotated[list[Item], Meta(min_length=1, max_length=100)]


class Ordered(Event, type="order.placed"):
    """An order was placed. Its fulfilment is a task of pool `database`.

    order_id: its name
    customer: who ordered, as a pseudonym
    items: what was ordered
    currency: of all its prices
    total: sum over the items, in minor units
    entity_id: the entity that serves it, awake as long as it is open
    """

    order_id: Name
    customer: Customer
    items: Items
    currency: Currency
    total: Count
    entity_id: Name | None = None


class Queued(Event, type="order.queued"):
    """The resource engine answered: the fulfilment stands in its queue, or was refused, and then the order has failed.

    order_id: which
    ok: whether it stands in the queue
    code: ok, or why not
    """

    order_id: Name
    ok: bool
    code: Code


class Closed(Event, type="order.closed"):
    """An order came to its end.

    order_id: which
    outcome: fulfilled, or failed: then it is no revenue
    reason: why it failed
    """

    order_id: Name
    outcome: EndOfOrder
    reason: Code = "done"


class Served(Event, type="order.entity_asked"):
    """The entity engine answered: the entity bound to an order was awakened, or sent to sleep.

    effect: id of the effect that asked
    ok: whether it did as it was asked
    code: ok, or why not
    """

    effect: Name
    ok: bool
    code: Code
