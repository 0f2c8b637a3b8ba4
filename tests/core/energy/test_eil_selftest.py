"""Rules of the self-test: it keeps its bars on what is sound, sees what is not, and says what nothing can see."""

import math

import numpy as np
import pytest

from core.energy import selftest
from core.energy.selftest import ALONE, SCALE, detected, nulls


def chance(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def nobody(done: int, total: int) -> None:
    pass


def test_null_streams_keep_quiet_and_their_intervals_hold() -> None:
    found = nulls(chance(5), 30_000, nobody)
    assert {each.generator for each in found} >= {"gaussian", "ar1", "t3", "uniform", "poisson", "rounded", "constant", "diurnal"}
    assert sum(each.alarms for each in found) <= 4
    assert all(math.isfinite(each.coverage) and each.coverage > 0.92 for each in found)


def test_the_fault_table_holds_and_says_what_nothing_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "MACHINES", 45)
    monkeypatch.setattr(selftest, "UNSEEN_MACHINES", 20)
    table, alarms = detected(chance(1), nobody)
    assert [each.fault for each in table if not each.ok] == []
    assert alarms <= 0.02
    blind = {each.fault: each for each in table if each.bar is None}
    assert blind.keys() == {SCALE, ALONE} and blind[ALONE].found == 0


def test_a_machine_without_a_fault_is_not_called_faulty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table would prove nothing if whatever it is shown were seen as a fault."""
    monkeypatch.setattr(selftest, "MACHINES", 40)
    monkeypatch.setattr(selftest, "UNSEEN_MACHINES", 1)
    sound = selftest.Fault("none", "nothing", 0.5, lambda read, lasts: read[-1])
    monkeypatch.setattr(selftest, "faults", lambda other: [sound])
    table, _ = detected(chance(2), nobody)
    assert table[0].found <= 0.1 and not table[0].ok


def test_the_same_seed_leads_to_the_same_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "MACHINES", 3)
    assert detected(chance(4), nobody) == detected(chance(4), nobody)
