"""Rules of the prices: they rise with demand and with the energy price, no order gains by being cut up, no round trip gains."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.energy.pricing import (
    PPM,
    REPUTATION_PPM_MAX,
    Measured,
    Terms,
    ceu,
    demand,
    munt,
    pft,
    reputation_ppm,
    total_micro,
)
from core.micro import MICRO, micro

TERMS = Terms(ceu_base=0.05, pft_base=2.0, munt_base=10.0, energy_price=0.30, energy_reference=0.25)
quantities = st.integers(1, 20_000 * MICRO)
prices = st.integers(0, 10**10)
discounts = st.integers(0, REPUTATION_PPM_MAX)


@given(st.lists(quantities, min_size=1, max_size=6), prices, discounts)
def test_cutting_an_order_up_never_beats_it(parts: list[int], price: int, discount: int) -> None:
    whole = sum(parts)
    assert sum(total_micro("buy", part, price, discount) for part in parts) >= total_micro("buy", whole, price, discount)
    assert sum(total_micro("sell", part, price, discount) for part in parts) <= total_micro("sell", whole, price, discount)


@given(quantities, prices, discounts, st.integers(1, 10))
def test_buying_and_selling_again_never_gains(quantity: int, price: int, discount: int, pieces: int) -> None:
    each, rest = divmod(quantity, pieces)
    brought = sum(total_micro("sell", part, price, discount) for part in [each] * (pieces - 1) + [each + rest])
    assert brought <= total_micro("buy", quantity, price, discount)


@given(quantities, prices, discounts)
def test_an_order_costs_its_tiers_less_the_discount_and_less_than_a_micro_unit_more(q: int, price: int, discount: int) -> None:
    units = Fraction(q, MICRO)
    paid = min(units, 1_000) + Fraction(95, 100) * min(max(units - 1_000, 0), 9_000) + Fraction(90, 100) * max(units - 10_000, 0)
    exact = price * paid * (1 - Fraction(discount, PPM))
    assert 0 <= total_micro("buy", q, price, discount) - exact < 1
    assert 0 <= Fraction(8, 10) * price * units - total_micro("sell", q, price, discount) < 1  # nothing is off for who sells


def test_prices_rise_with_demand_and_with_the_price_of_energy() -> None:
    asked = [ceu(TERMS, Measured(requested_j=r, supplied_j=100.0)).micro for r in (0, 60, 100, 130, 250, 300, 1e9)]
    assert asked == sorted(asked) and asked[1] < asked[2] < asked[3] < asked[4]
    assert asked[0] == round(asked[2] / 2) and asked[-1] == 3 * asked[2] == asked[-2]  # clipped at half and three times
    dearer = TERMS._replace(energy_price=0.45)
    assert ceu(dearer, Measured()).micro == pytest.approx(1.5 * ceu(TERMS, Measured()).micro)
    assert ceu(TERMS, Measured()).micro == 60_000  # 0.05 × 0.30 ÷ 0.25, with no demand either way
    assert demand(0.0, 0.0) == 0.0


def test_the_other_list_prices_are_what_they_are_said_to_be() -> None:
    assert pft(TERMS, Measured(confidence=0.9, savings=1.25)).micro == 2_250_000
    assert pft(TERMS, Measured()).micro == 0  # nothing is settled yet
    best = Measured(mflop_per_run=1023.0, relative_interval_score=0.7, licences=0)
    assert munt(TERMS, best).micro == pytest.approx(10e6 * 1.5 * 0.3 * 2)
    assert munt(TERMS, best._replace(relative_interval_score=1.3)).micro == 0
    assert munt(TERMS, best._replace(licences=3)).micro < munt(TERMS, best).micro


def test_reputation_is_the_lower_end_of_wilsons_interval() -> None:
    assert reputation_ppm(0, 0) == reputation_ppm(0, 50) == 0
    # 10 of 10: the lower end is n / (n + z²) = 0.7224672
    assert reputation_ppm(10, 10) == 72_246
    assert reputation_ppm(9, 10) < reputation_ppm(90, 100) < reputation_ppm(900, 1_000) < 90_000
    assert reputation_ppm(10**6, 10**6) <= REPUTATION_PPM_MAX


def test_an_amount_has_at_most_six_places() -> None:
    assert micro(0.1) == 100_000 and micro(12.000001) == 12_000_001 and micro(3) == 3_000_000
    assert micro(0.0000001) is None and micro(float("nan")) is None and micro(float("inf")) is None
