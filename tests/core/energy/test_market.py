"""Rules of the market: units are neither made nor lost, a quote is booked once and lapses, and nobody gains by going round."""

import random

import pytest

from core.energy.market import QUOTES_OF_ONE_MAX
from core.engine import Actor, Refused
from tests.campaigns import campaign, per_commit
from tests.core.energy.eil_loop import EilLoop, settings

ORDERS = 250
"""Of one history."""
BOB = Actor("uid:1002", "operator", 1002)
CARL = Actor("uid:1003", "operator", 1003)
ANN = Actor("uid:1001", "operator", 1001)


def bought(loop: EilLoop, quantity: float, actor: Actor = ANN, side: str = "buy", asset: str = "CEU") -> int:
    quote = loop.get("market_quote", {"asset": asset, "side": side, "quantity": quantity}, actor)
    loop.get("market_trade", {"quote_id": quote.quote_id}, actor)
    return int(quote.price_micro)


def check(loop: EilLoop) -> None:
    books = loop.state.market.books
    assert not any(books.sums().values())
    for owner, held in books.accounts.items():
        assert all(amount <= 0 if owner == "issuance" else amount > 0 for amount in held.values())


def orders(seed: int) -> dict[str, int]:
    """Orders of three callers, and crashes that cost what was not durable yet: no unit is lost, and the log says the same."""
    loop, draw, refused = EilLoop(settings(market={"ceu_base": 0.013})), random.Random(seed), 0
    quotes = [(ANN, "quote_none")]
    for _ in range(ORDERS):
        actor = draw.choice([ANN, BOB, CARL])
        try:
            if draw.random() < 0.5:
                order = {
                    "asset": draw.choice(["CEU"] * 12 + ["PFT", "MUNT"]),
                    "side": draw.choice(["buy", "buy", "sell"]),
                    "quantity": draw.choice([0.000001, 1.0, 33.333333, 250.0] * 5 + [1e9]),
                }
                quotes.append((actor, loop.get("market_quote", order, actor).quote_id))
            else:
                owner, quote_id = quotes[-1]
                if draw.random() < 0.9 and len(quotes) > 1:
                    quotes.pop()
                loop.get("market_trade", {"quote_id": quote_id}, owner if draw.random() < 0.9 else actor)
        except Refused:
            refused += 1
        if draw.random() < 0.1:
            loop.run(draw.choice([1.0, 5.0, 31.0]))
        if draw.random() < 0.02:
            loop.restart(draw.choice([0.0, 2.0]), reboot=draw.random() < 0.3, keep=max(len(loop.records) - draw.randrange(4), 0))
        check(loop)
    assert refused and loop.state.market.trades
    assert loop.replayed() == loop.state
    return {"trades": loop.state.market.trades}


def test_units_are_kept_under_any_sequence_of_orders_and_crashes() -> None:
    for index in range(0, per_commit("E6-books"), ORDERS):
        orders(index)


@pytest.mark.campaign
def test_units_are_kept_over_a_million_trades() -> None:
    campaign("E6-books", orders, at_once=ORDERS)


def test_a_quote_is_booked_once_and_only_by_its_owner() -> None:
    loop = EilLoop()
    quote = loop.get("market_quote", {"asset": "CEU", "side": "buy", "quantity": 10})
    with pytest.raises(Refused) as refused:
        loop.get("market_trade", {"quote_id": quote.quote_id}, BOB)
    assert refused.value.code == "not-found"
    loop.get("market_trade", {"quote_id": quote.quote_id})
    with pytest.raises(Refused):
        loop.get("market_trade", {"quote_id": quote.quote_id})
    assert loop.state.market.books.balance("uid:1001", "CEU") == 10_000_000


@pytest.mark.parametrize(("seconds", "reboot"), [(30.0, False), (1.0, True)])
def test_a_quote_lapses_with_time_and_with_the_machine(seconds: float, reboot: bool) -> None:
    loop = EilLoop()
    quote = loop.get("market_quote", {"asset": "CEU", "side": "buy", "quantity": 10})
    loop.restart(seconds, reboot=reboot)
    with pytest.raises(Refused) as refused:
        loop.get("market_trade", {"quote_id": quote.quote_id})
    assert (refused.value.code, refused.value.reason) == ("failed-precondition", "lapsed")
    loop.get("market_quote", {"asset": "CEU", "side": "buy", "quantity": 10})
    assert list(loop.state.market.quotes) != [quote.quote_id] and len(loop.state.market.quotes) == 1


def test_a_quote_that_holds_costs_what_it_said_whatever_prices_have_become() -> None:
    loop = EilLoop(settings(market={"ceu_base": 0.01}))
    quote = loop.get("market_quote", {"asset": "CEU", "side": "buy", "quantity": 100})
    loop.settings = settings(market={"ceu_base": 5.0, "currency": "USD"})
    traded = loop.get("market_trade", {"quote_id": quote.quote_id})
    assert (traded.price_micro, traded.currency) == (1_000_000, "EUR")


def test_the_opening_balance_comes_once() -> None:
    loop = EilLoop(settings(market={"opening_balance": 7.0, "ceu_base": 1.0}))
    assert bought(loop, 5) == 5_000_000
    with pytest.raises(Refused) as refused:
        bought(loop, 5)
    assert (refused.value.code, refused.value.reason) == ("failed-precondition", "balance")
    assert bought(loop, 2) == 2_000_000
    assert loop.state.market.books.balance("uid:1001", "EUR") == 0


def test_going_round_never_gains_and_cutting_up_never_beats_one_order() -> None:
    terms = {"opening_balance": 1e6, "ceu_base": 0.013}
    round_trip = EilLoop(settings(market=terms))
    paid = bought(round_trip, 3_333.333333)
    got = sum(bought(round_trip, part, side="sell") for part in (1_000.0, 2_333.333333))
    assert got < paid
    whole, parts = EilLoop(settings(market=terms)), EilLoop(settings(market=terms))
    assert sum(bought(parts, 3_000.0) for _ in range(4)) >= bought(whole, 12_000.0)


def test_what_has_no_price_is_not_quoted_and_what_nobody_holds_is_not_sold() -> None:
    loop = EilLoop()
    for asset in ("PFT", "MUNT"):
        with pytest.raises(Refused) as refused:
            loop.get("market_quote", {"asset": asset, "side": "buy", "quantity": 1})
        assert refused.value.reason == "no-price"
    with pytest.raises(Refused) as refused:
        bought(loop, 1, side="sell")
    assert refused.value.reason == "balance"
    with pytest.raises(Refused) as refused:
        loop.get("market_quote", {"asset": "CEU", "side": "buy", "quantity": 0.0000001})
    assert refused.value.reason == "precision"


def test_open_quotes_have_a_bound_that_lapsed_ones_do_not_count_for() -> None:
    loop = EilLoop()
    for _ in range(QUOTES_OF_ONE_MAX):
        loop.get("market_quote", {"asset": "CEU", "side": "buy", "quantity": 1})
    with pytest.raises(Refused) as refused:
        loop.get("market_quote", {"asset": "CEU", "side": "buy", "quantity": 1})
    assert (refused.value.code, refused.value.reason) == ("resource-exhausted", "quotes")
    loop.get("market_quote", {"asset": "CEU", "side": "buy", "quantity": 1}, BOB)
    loop.run(30)
    loop.get("market_quote", {"asset": "CEU", "side": "buy", "quantity": 1})
    assert len(loop.state.market.quotes) == 1


def test_prices_rise_with_the_price_of_energy() -> None:
    cheap, dear = (EilLoop(settings(market={"energy_price": price})) for price in (0.3, 0.6))
    assert dear.look("market_pricing").ceu == pytest.approx(2 * cheap.look("market_pricing").ceu)


def test_accounts_are_listed_page_by_page() -> None:
    loop = EilLoop()
    for actor in (ANN, BOB, CARL):
        bought(loop, 1, actor)
    seen, after = [], None
    while True:
        page = loop.look("balances", {"limit": 2, **({"after": after} if after else {})})
        seen += [(each.owner, each.asset) for each in page.accounts]
        if (after := page.next) is None:
            break
    owners = ["issuance", "treasury", "uid:1001", "uid:1002", "uid:1003"]
    assert sorted({owner for owner, _ in seen}) == owners and len(seen) == len(set(seen))
    assert {each.owner for each in loop.look("balances", {"owner": "uid:1002"}).accounts} == {"uid:1002"}
