"""A handful of rows is worked out from plain numbers, more of them from arrays: both come to the same bits."""

import numpy as np

from core.energy import layout
from core.energy.columns import FATES, adopt, advance
from core.energy.layout import HANDFUL, Store

ROWS = 2 * HANDFUL


def store_of(size: int) -> Store:
    store = Store()
    for _ in range(size):
        store.add()
    return store


def test_many_rows_at_a_moment_and_a_handful_of_them_come_to_the_same_bits() -> None:
    """Rounded values, so that neighbours are often alike; hours pass, and some moments come twice."""
    chance = np.random.default_rng(11)
    together, apart = store_of(ROWS), store_of(ROWS)
    fates: set[str] = set()
    time = 0.0
    for tick in range(300):
        time += 0.0 if tick % 50 == 49 else float(chance.choice([600.0, 5_000.0, 30_000.0], p=[0.9, 0.08, 0.02]))
        rows, times, values = np.arange(ROWS), np.full(ROWS, time), chance.normal(size=ROWS).round()
        whole = advance(together, rows, times, values)
        adopt(together, whole)
        for low in range(0, ROWS, 4):
            here = slice(low, low + 4)
            part = advance(apart, rows[here], times[here], values[here])
            adopt(apart, part)
            for name in ("fate", "expected", "half", "residual", "alert", "gap"):
                assert getattr(part.findings, name).tobytes() == getattr(whole.findings, name)[here].tobytes(), (tick, name)
        fates |= {FATES[fate] for fate in whole.findings.fate.tolist()}
        assert together.dump() == apart.dump(), tick
    assert fates == {"accepted", "repeated", "conflicting"}
    assert together.view(0).i4[layout.COUNT, 0] == 300 - 6
