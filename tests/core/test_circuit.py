"""Orders: each is fulfilled by one task, counted once, in whole minor units; revenue and projections follow from the log alone."""

import copy
import random
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.circuit import ENGINE
from core.circuit.book import DAY_US, Day, day_of, task_of
from core.circuit.reads import daily, trend
from core.engine import Ask, Asked, Refused
from core.entity import ENGINE as ENTITY
from core.fields import INT_MAX
from core.forecast import total_of_next
from core.resource import ENGINE as RESOURCE
from tests.core.engine_loop import EngineLoop


class Shop:
    """The circuit beside a real resource engine and real entities that do what they are asked."""

    def __init__(self) -> None:
        self.pools = EngineLoop(RESOURCE)
        self.fleet = EngineLoop(ENTITY)
        self.fleet.elsewhere.setdefault("cache", SimpleNamespace(online=True))
        self.fleet.elsewhere["resource"] = self.pools.state
        self.loop = EngineLoop(ENGINE, answer=self._answer)
        self.loop.elsewhere |= {"resource": self.pools.state, "entity": self.fleet.state}
        self.asked: list[Ask] = []

    def _answer(self, ask: Ask) -> Asked:
        self.asked.append(ask)
        where = self.fleet if ask.method.startswith("entity.") else self.pools
        try:
            where.ask(ask.method, ask.params)
        except Refused as refused:
            return Asked(ask.id, False, refused.code)
        where.settle()
        return Asked(ask.id, True, "ok")

    def order(self, order_id: str = "o-1", price: int = 250, quantity: int = 2, **more: Any) -> None:
        item = {"sku": "widget", "quantity": quantity, "unit_price": price}
        self.loop.ask("order", {"order_id": order_id, "customer": "ann", "items": [item], "currency": "EUR", **more})
        self.loop.settle()

    def run(self, seconds: float) -> None:
        self.pools.run(seconds)
        self.fleet.run(seconds)
        self.loop.run(seconds)

    def states(self) -> dict[str, str]:
        return {row.order_id: row.state for row in self.loop.look("orders").orders}


def test_an_order_is_fulfilled_by_one_task_of_pool_database() -> None:
    shop = Shop()
    shop.order()
    assert shop.states() == {"o-1": "open"}
    assert [ask.method for ask in shop.asked] == ["resource.submit_task"]
    [task] = shop.pools.state.tasks.values()
    assert (task.pool, task.units, task.task_id) == ("database", 1, task_of(shop.loop.state.orders["o-1"].effect))
    shop.run(1.1)
    assert shop.states() == {"o-1": "fulfilled"} and not shop.loop.asks()


def test_an_order_whose_fulfilment_is_lost_has_failed_and_is_no_revenue() -> None:
    shop = Shop()
    shop.order("kept", 100, 1)
    shop.order("lost", 900, 1)
    [lost] = [task for task in shop.pools.state.tasks if task == task_of(shop.loop.state.orders["lost"].effect)]
    shop.pools.ask("cancel_task", {"task_id": lost})
    shop.run(2)
    assert shop.states() == {"lost": "failed", "kept": "fulfilled"}
    status = shop.loop.look("status")
    assert (status.placed, status.open, status.failed) == (2, 0, 1)
    assert [(each.orders, each.revenue, each.today) for each in status.revenue] == [(1, 100, 100)]


def test_what_a_currency_brings_in_all_never_outgrows_what_an_answer_can_say() -> None:
    shop = Shop()
    shop.order("o-1", 10**12, 9_000)
    with pytest.raises(Refused, match="in EUR add up") as refused:
        shop.order("o-2", 10**12, 9_000)
    assert refused.value.code == "out-of-range"
    shop.order("o-3", 10**12, 7)
    shop.order("o-4", 10**12, 9_000, currency="USD")
    status = shop.loop.look("status")
    assert [(each.currency, each.revenue) for each in status.revenue] == [("EUR", 9_007 * 10**12), ("USD", 9 * 10**15)]
    loaded = ENGINE.load(ENGINE.dump(shop.loop.state))  # type: ignore[misc]
    assert loaded == shop.loop.state and loaded.booked == {"EUR": 9_007 * 10**12, "USD": 9 * 10**15}
    for task in list(shop.pools.state.tasks):
        shop.pools.ask("cancel_task", {"task_id": task})
    shop.run(1)
    shop.order("o-5", 10**12, 9_000)
    assert shop.states()["o-5"] == "open", "what failed is taken out again"


def test_a_book_that_was_written_before_that_bound_can_still_be_read() -> None:
    shop = Shop()
    today = day_of(shop.loop.context().now_us)
    shop.loop.state.days["EUR"] = {today - back: Day(1, 9 * 10**15) for back in range(1, 4)}
    shop.loop.state.booked["EUR"] = 27 * 10**15
    found = shop.loop.look("wealth", {"horizon_days": 30})
    [revenue], [projection] = found.revenue, found.projections
    assert revenue.revenue == revenue.last_7_days == INT_MAX
    assert 0 <= projection.mean_per_day <= INT_MAX and projection.expected <= INT_MAX


def test_a_bound_entity_is_awake_exactly_as_long_as_one_of_its_orders_is_open() -> None:
    shop = Shop()
    shop.fleet.ask("spawn", {"entity_id": "packer", "type": "worker"})
    shop.order("o-1", entity_id="packer")
    shop.run(0.5)
    shop.order("o-2", entity_id="packer")
    assert shop.fleet.state.entities["packer"].state == "active"
    shop.run(0.6)
    assert shop.states()["o-1"] == "fulfilled" and shop.fleet.state.entities["packer"].state == "active"
    shop.run(1)
    assert shop.fleet.state.entities["packer"].state == "hibernating"


def test_an_entity_that_was_awake_before_stays_awake() -> None:
    shop = Shop()
    shop.fleet.ask("spawn", {"entity_id": "packer", "type": "worker"})
    shop.fleet.ask("awaken", {"entity_id": "packer"})
    shop.order(entity_id="packer")
    shop.run(2)
    assert shop.states() == {"o-1": "fulfilled"} and shop.fleet.state.entities["packer"].state == "active"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"order_id": "o-1"}, "already-exists"),
        ({"entity_id": "nobody"}, "not-found"),
        ({"quantity": 1_000_000, "price": 1_000_000_000_000}, "out-of-range"),
    ],
)
def test_what_cannot_be_booked_is_refused_and_changes_nothing(change: dict[str, Any], code: str) -> None:
    shop = Shop()
    shop.order()
    before = len(shop.loop.records)
    with pytest.raises(Refused) as refused:
        shop.order(**{"order_id": "o-2", **change})
    assert refused.value.code == code and len(shop.loop.records) == before


def test_deactivated_entities_take_no_orders() -> None:
    shop = Shop()
    shop.fleet.ask("spawn", {"entity_id": "old", "type": "worker"})
    shop.fleet.ask("deactivate", {"entity_id": "old"})
    with pytest.raises(Refused, match="deactivated for good"):
        shop.order(entity_id="old")


@settings(max_examples=60, deadline=None)
@given(
    amounts=st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from(["EUR", "USD"]), st.integers(0, 10**6), st.integers(1, 9), st.booleans()),
        max_size=25,
    )
)
def test_revenue_is_the_exact_sum_of_what_was_not_lost_by_day_and_currency(amounts: list[Any]) -> None:
    shop = Shop()
    expected: Counter[tuple[str, int]] = Counter()
    for number, (days, currency, price, quantity, lost) in enumerate(amounts):
        shop.run(days * 86_400)
        shop.order(f"o-{number}", price, quantity, currency=currency)
        day = day_of(shop.loop.wall_us)
        if lost:
            shop.pools.ask("cancel_task", {"task_id": task_of(shop.loop.state.orders[f"o-{number}"].effect)})
            shop.run(0)
        else:
            expected[currency, day] += price * quantity
    shop.run(2)
    booked = {(currency, day): each.revenue for currency, days in shop.loop.state.days.items() for day, each in days.items()}
    assert {key: value for key, value in booked.items() if value} == {key: value for key, value in expected.items() if value}
    assert shop.loop.replayed() == shop.loop.state
    for each in shop.loop.look("status").revenue:
        assert each.revenue == sum(value for (currency, _), value in expected.items() if currency == each.currency)


def test_days_without_an_order_count_as_none_and_today_is_left_out() -> None:
    shop = Shop()
    shop.order("a", 100, 1)
    shop.run(3 * 86_400)
    shop.order("b", 999, 1)
    today = day_of(shop.loop.wall_us)
    assert daily(shop.loop.state.days["EUR"], today) == [100, 0, 0]
    assert daily(shop.loop.state.days["EUR"], today + 2) == [100, 0, 0, 999, 0]


def history(shop: Shop, values: list[int]) -> None:
    """Revenue of past days, one order each, placed straight into the book by its own events."""
    for number, value in enumerate(values):
        shop.order(f"h-{number}", value, 1)
        shop.run(86_400)


def test_a_projection_of_an_even_business_is_its_mean_and_too_little_history_gives_no_interval() -> None:
    shop = Shop()
    history(shop, [500] * 5)
    [short] = shop.loop.look("wealth", {"horizon_days": 10}).projections
    assert short.low is None and short.high is None and short.reason == "no-evidence"
    for number in range(30):
        shop.order(f"more-{number}", 500, 1)
        shop.run(86_400)
    [long] = shop.loop.look("wealth", {"horizon_days": 10}).projections
    assert (long.expected, long.low, long.high, long.reason) == (5000, 5000, 5000, None)
    assert long.mean_per_day == 500 and long.trend_per_day == 0
    assert short.lately == [500] * 5 and long.lately == [500] * 30


def test_a_currency_nobody_used_is_not_found() -> None:
    shop = Shop()
    shop.order()
    with pytest.raises(Refused, match="nothing was ever booked in CHF"):
        shop.loop.look("wealth", {"currency": "CHF"})


def test_the_trend_is_the_slope_of_a_line_and_one_odd_day_does_not_move_it() -> None:
    line = [100 + 7 * day for day in range(40)]
    assert trend(line) == 7
    line[20] = 1_000_000
    assert abs(trend(line) - 7) < 1
    assert trend([]) == 0 and trend([5]) == 0


def test_of_outcomes_that_were_not_seen_about_95_of_100_lie_in_the_interval() -> None:
    """A level that wanders, weekly seasons, noise: 60 series, each projected from its first 270 days onto the next 30."""
    inside = 0
    for seed in range(60):
        draw = random.Random(seed)
        level, series = 1000.0, []
        for day in range(300):
            level += draw.gauss(0, 4)
            series.append(level + 60 * (day % 7 == 5) + draw.gauss(0, 80))
        found = total_of_next(series[:270], 30)
        assert found.low is not None and found.high is not None
        inside += found.low <= sum(series[270:]) <= found.high
    assert 51 <= inside <= 60


def test_a_forecast_never_sees_what_came_after_it() -> None:
    draw = random.Random(5)
    series = [draw.uniform(0, 100) for _ in range(120)]
    known = total_of_next(series[:80], 7)
    series[80:] = [1e9] * 40
    assert total_of_next(series[:80], 7) == known


def test_the_book_in_a_snapshot_is_the_book() -> None:
    shop = Shop()
    history(shop, [300, 200])
    state = shop.loop.state
    before = copy.deepcopy(state)
    shop.loop.world.load("orders", shop.loop.world.dump("orders"))
    assert shop.loop.state == before == state and DAY_US == 86_400 * 10**6
