"""The market as callers meet it: prices, quotes that hold for half a minute, and trades that book each quote once.

The house is the other side of every trade: it issues CEU and MUNT, and deals in PFT as far as its treasury holds them. What a price
was made of is settled when it is quoted and stands in the record; a trade books what was quoted, whatever prices have become since.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from core.energy import pricing
from core.energy.books import ISSUANCE, TREASURY, Asset, Books, Overdrawn, Posting, Signed, moved
from core.engine import Command, Context, Decision, Event, Refused, Result, Stamp
from core.fields import INT_MAX, Count, Frozen, Name
from core.micro import MICRO, micro
from core.times import time_text

HOLD_US = 30_000_000
QUOTES_OF_ONE_MAX = 64
QUOTES_MAX = 10_000
PRICES = {"CEU": pricing.ceu, "PFT": pricing.pft, "MUNT": pricing.munt}
Tradable = Literal["CEU", "PFT", "MUNT"]


class AskQuote(Command):
    """Asks what an order would cost.

    asset: CEU, PFT or MUNT
    side: buy or sell
    quantity: how many units, with at most six places
    """

    asset: Tradable
    side: pricing.Side
    quantity: Annotated[float, Meta(gt=0, le=pricing.QUANTITY_MAX)]


class TradeQuote(Command):
    """Books what was quoted.

    quote_id: of a quote of yours that still holds
    """

    quote_id: Name


class Quoted(Event, type="energy.quoted"):
    """A price was given, which holds for half a minute.

    quote_id: its name
    owner: whom it was given
    asset: CEU, PFT or MUNT
    side: buy or sell
    quantity_micro: how many micro-units
    price_micro: of all of them, in micro-units of the currency
    list_micro: list price of one unit
    discount_ppm: reputation, in millionths off
    currency: in which the price is
    until_mono_us: until when it holds, on the clock of this boot
    until_us: the same in µs since 1970, for people
    """

    quote_id: Name
    owner: Name
    asset: Asset
    side: pricing.Side
    quantity_micro: Count
    price_micro: Count
    list_micro: Count
    discount_ppm: Count
    currency: Asset
    until_mono_us: Count
    until_us: Count


class Traded(Event, type="energy.traded"):
    """A quote was booked.

    quote_id: which
    owner: of the quote
    asset: CEU, PFT or MUNT
    side: buy or sell
    quantity_micro: how many micro-units
    price_micro: of all of them
    currency: in which the price is
    postings: what was booked; they sum to nought for each asset
    """

    quote_id: Name
    owner: Name
    asset: Asset
    side: pricing.Side
    quantity_micro: Count
    price_micro: Count
    currency: Asset
    postings: Annotated[list[Posting], Meta(max_length=8)]


class Quote(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """A quote that is open."""

    quote_id: str
    owner: str
    asset: str
    side: pricing.Side
    quantity_micro: int
    price_micro: int
    currency: str
    boot_id: str
    until_mono_us: int


class QuoteAnswer(Result):
    """A quote.

    quote_id: pass it to market_trade while it holds
    price: of the whole order, in units of the currency
    expires_at: when it lapses
    currency: in which the price is
    asset: what is traded
    side: buy or sell
    quantity: how many units
    list_price: list price of one unit
    discount: share that a good reputation takes off
    price_micro: the price in micro-units, exactly
    """

    quote_id: str
    price: float
    expires_at: str
    currency: str
    asset: str
    side: str
    quantity: float
    list_price: float
    discount: float
    price_micro: Count


class PriceOf(Result):
    """The list price of one asset.

    price: of one unit, in units of the currency
    price_micro: the same in micro-units, exactly
    sell_price: what the house pays for one
    factors: what it was multiplied from
    """

    price: float
    price_micro: Count
    sell_price: float
    factors: dict[str, float]


class Pricing(Result):
    """All list prices.

    currency: in which they are
    prices: by asset
    ceu: list price of a CEU
    pft: list price of a PFT
    munt: list price of a MUNT
    """

    currency: str
    ceu: float
    pft: float
    munt: float
    prices: dict[str, PriceOf]


class Balance(Result):
    """One account.

    owner: whose it is
    asset: of what
    amount: in units
    amount_micro: the same in micro-units, exactly
    """

    owner: str
    asset: str
    amount: float
    amount_micro: Signed


class Market:
    """Books and open quotes."""

    def __init__(self) -> None:
        self.books = Books()
        self.quotes: OrderedDict[str, Quote] = OrderedDict()
        """The oldest first."""
        self.quotes_of: dict[str, int] = {}
        self.opened: set[str] = set()
        """Who has traded, and so got the opening balance."""
        self.trades = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Market) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


class MarketDump(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    accounts: dict[str, dict[str, int]]
    quotes: list[Quote]
    opened: list[str]
    trades: int


def dump(market: Market) -> MarketDump:
    accounts = {owner: dict(held) for owner, held in market.books.accounts.items()}
    return MarketDump(accounts, list(market.quotes.values()), sorted(market.opened), market.trades)


def load(dumped: MarketDump) -> Market:
    market = Market()
    market.books.accounts = dumped.accounts
    for quote in dumped.quotes:
        _open(market, quote)
    market.opened = set(dumped.opened)
    market.trades = dumped.trades
    return market


# --- quotes and trades ------------------------------------------------------------------------------------------------------


def list_prices(terms: pricing.Terms, measured: pricing.Measured) -> dict[str, pricing.Price]:
    return {asset: price(terms, measured) for asset, price in PRICES.items()}


def quoted(market: Market, command: AskQuote, price: pricing.Price, discount_ppm: int, currency: str, ctx: Context) -> Decision:
    """What this order would cost this caller, at this list price."""
    quantity_micro = micro(command.quantity)
    if quantity_micro is None:
        text = f"{command.quantity!r} has more than six decimal places. Round the quantity to millionths"
        raise Refused("invalid-argument", text, reason="precision", fields=[("/quantity", "at most six decimal places")])
    if not price.micro:
        text = f"{command.asset} has no price yet: {_why_none(command.asset)}. See: irerctl market"
        raise Refused("failed-precondition", text, reason="no-price")
    owner = ctx.actor.name
    if _held_by(market, owner, ctx) >= QUOTES_OF_ONE_MAX or _full(market, ctx):
        text = "too many quotes are open. Trade one, or wait half a minute until they lapse"
        raise Refused("resource-exhausted", text, reason="quotes", retry_ms=HOLD_US // 1_000)
    discount_ppm = discount_ppm if command.side == "buy" else 0
    total = pricing.total_micro(command.side, quantity_micro, price.micro, discount_ppm)
    if total > INT_MAX:
        raise Refused("out-of-range", "the order costs more than can be booked. Ask for less", reason="price")
    quote = Quoted(
        f"quote_{ctx.new_id()}",
        owner,
        command.asset,
        command.side,
        quantity_micro,
        total,
        price.micro,
        discount_ppm,
        currency,
        ctx.mono_us + HOLD_US,
        ctx.now_us + HOLD_US,
    )
    return Decision(quote)


def _why_none(asset: str) -> str:
    return {
        "PFT": "no proof was settled yet",
        "MUNT": "the built-in predictor is not measured to be better than a naive one",
    }.get(asset, "its base rate is 0 in the configuration")


def _full(market: Market, ctx: Context) -> bool:
    """Lapsed quotes make room for the next one."""
    return len(market.quotes) >= QUOTES_MAX and _holds(next(iter(market.quotes.values())), ctx.boot_id, ctx.mono_us)


def _held_by(market: Market, owner: str, ctx: Context) -> int:
    """Open quotes of one caller. Lapsed ones go with the next quote that is recorded, so they are not counted."""
    if not market.quotes_of.get(owner):
        return 0
    return sum(quote.owner == owner and _holds(quote, ctx.boot_id, ctx.mono_us) for quote in market.quotes.values())


def _holds(quote: Quote, boot_id: str, mono_us: int) -> bool:
    return quote.boot_id == boot_id and quote.until_mono_us > mono_us


def answer_quote(event: Quoted) -> QuoteAnswer:
    return QuoteAnswer(
        event.quote_id,
        event.price_micro / MICRO,
        time_text(event.until_us),
        event.currency,
        event.asset,
        event.side,
        event.quantity_micro / MICRO,
        event.list_micro / MICRO,
        event.discount_ppm / pricing.PPM,
        event.price_micro,
    )


def decide_trade(market: Market, command: TradeQuote, opening_micro: int, ctx: Context) -> Decision:
    quote = market.quotes.get(command.quote_id)
    if quote is None or quote.owner != ctx.actor.name:
        text = f"you have no open quote {command.quote_id}: it was traded, it lapsed, or it was never given. Ask for a new one"
        raise Refused("not-found", text, reason="quote")
    if not _holds(quote, ctx.boot_id, ctx.mono_us):
        text = f"{command.quote_id} has lapsed: a quote holds 30 s. Ask for a new one"
        raise Refused("failed-precondition", text, reason="lapsed")
    postings = _postings(quote, 0 if quote.owner in market.opened else opening_micro)
    try:
        market.books.check(postings)
    except Overdrawn as short:
        raise _cannot(short, quote) from None
    return Decision(
        Traded(
            quote.quote_id,
            quote.owner,
            quote.asset,
            quote.side,
            quote.quantity_micro,
            quote.price_micro,
            quote.currency,
            postings,
        )
    )


def _postings(quote: Quote, opening_micro: int) -> list[Posting]:
    """With its first trade, and never again, a caller also gets the opening balance that the configuration grants."""
    source = TREASURY if quote.asset == "PFT" else ISSUANCE
    postings = moved(quote.currency, opening_micro, ISSUANCE, quote.owner)
    if quote.side == "buy":
        postings += moved(quote.currency, quote.price_micro, quote.owner, TREASURY)
        return postings + moved(quote.asset, quote.quantity_micro, source, quote.owner)
    postings += moved(quote.asset, quote.quantity_micro, quote.owner, source)
    return postings + moved(quote.currency, quote.price_micro, TREASURY, quote.owner)


def _cannot(short: Overdrawn, quote: Quote) -> Refused:
    held = f"{short.balance_micro / MICRO:,.6f} {short.asset}"
    if short.owner == quote.owner:
        text = f"you hold {held}, which is not enough for this trade. Ask for a smaller quote. See: irerctl market"
        return Refused("failed-precondition", text, reason="balance")
    text = f"the house holds {held}, which is not enough for this trade. Ask for a smaller quote, or try again later"
    return Refused("failed-precondition", text, reason="stock")


def apply_quoted(market: Market, event: Quoted, stamp: Stamp) -> None:
    while market.quotes:
        oldest = next(iter(market.quotes.values()))
        if _holds(oldest, stamp.boot_id, stamp.mono_us):
            break
        _close(market, oldest.quote_id)
    quote = Quote(
        event.quote_id,
        event.owner,
        event.asset,
        event.side,
        event.quantity_micro,
        event.price_micro,
        event.currency,
        stamp.boot_id,
        event.until_mono_us,
    )
    _open(market, quote)


def apply_traded(market: Market, event: Traded, stamp: Stamp) -> None:
    market.books.book(event.postings)
    market.opened.add(event.owner)
    market.trades += 1
    _close(market, event.quote_id)


def _open(market: Market, quote: Quote) -> None:
    market.quotes[quote.quote_id] = quote
    market.quotes_of[quote.owner] = market.quotes_of.get(quote.owner, 0) + 1


def _close(market: Market, quote_id: str) -> None:
    quote = market.quotes.pop(quote_id, None)
    if quote is None:
        return
    market.quotes_of[quote.owner] -= 1
    if not market.quotes_of[quote.owner]:
        del market.quotes_of[quote.owner]


# --- looking ----------------------------------------------------------------------------------------------------------------


def pricing_answer(prices: Mapping[str, pricing.Price], currency: str) -> Pricing:
    listed = {
        asset: PriceOf(
            price.micro / MICRO,
            price.micro,
            pricing.total_micro("sell", MICRO, price.micro) / MICRO,
            dict(price.factors),
        )
        for asset, price in prices.items()
    }
    return Pricing(currency, listed["CEU"].price, listed["PFT"].price, listed["MUNT"].price, listed)
