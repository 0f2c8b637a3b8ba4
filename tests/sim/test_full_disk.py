"""A disk that fills up under the whole daemon, and gets room again: nothing acknowledged is lost, what is refused has no effect,
the log says so once, and everything goes on by itself. `universe.py` holds every seed to that; here it is seen to happen, and a
broken rule to be noticed.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

import pytest

from irerd.writer import LogQueue, Writer
from state.log import Log
from tests.sim.machine import Faults, Spoiled
from tests.sim.universe import Outcome, run_seed

SEEDS = range(1, 5)
MORE_SEEDS = range(1, 13)
"""For a broken rule, up to the first that notices it."""
OPERATIONS = 600
"""Of a seed, so that a life is often long enough for a disk to fill up and be given room again."""
FILLING = Spoiled(faults=lambda random: Faults(), fills=2.0)


def outcomes(seeds: range = SEEDS) -> Iterator[Outcome]:
    for seed in seeds:
        yield run_seed(seed, OPERATIONS, FILLING)


def test_it_happens_often_enough_to_mean_something() -> None:
    fulls = refused = returns = 0
    for outcome in outcomes():
        assert outcome.violation is None, f"seed {outcome.seed}: {outcome.violation}"
        fulls, refused, returns = fulls + outcome.fulls, refused + outcome.found_full, returns + outcome.returns
    assert fulls >= 5 and refused >= 10 and returns >= 1, (fulls, refused, returns)


@contextmanager
def taken_without_room() -> Iterator[None]:
    with patch.object(Writer, "full", lambda self, log: None), patch.object(LogQueue, "fits", lambda self, *_, **__: True):
        yield


def _tell_again(whole: Callable[..., None]) -> Callable[..., None]:
    def tell_full(self: Log, stamp: Any) -> None:
        whole(self, stamp)
        self._full_told = False

    return tell_full


@contextmanager
def told_at_every_look() -> Iterator[None]:
    with patch.object(Log, "_ends_full", lambda self: False), patch.object(Log, "tell_full", _tell_again(Log.tell_full)):
        yield


CONTROLS: dict[str, tuple[Callable[[], AbstractContextManager[Any]], str]] = {
    "taken without room": (taken_without_room, "ended by|call to the disk ha"),
    "not looked at again": (lambda: patch.object(Writer, "_any_full", lambda self: False), "take nothing"),
    "told at every look": (told_at_every_look, "and again at"),
}


@pytest.mark.parametrize("control", CONTROLS)
def test_a_broken_rule_is_noticed_on_a_full_disk(control: str) -> None:
    broken, expected = CONTROLS[control]
    with broken():
        violation = next((outcome.violation for outcome in outcomes(MORE_SEEDS) if outcome.violation is not None), None)
    assert violation is not None, f"{control}: {len(MORE_SEEDS)} seeds noticed nothing"
    assert any(part in violation for part in expected.split("|")), violation
