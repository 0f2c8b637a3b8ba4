"""What one engine asks of another is asked until it is answered: soon where there is no room just now, ever more seldom where that
one's log takes no writes until somebody repairs it."""

from types import SimpleNamespace
from typing import Any

import pytest
import trio

from core.engine import Ask, Refused
from irerd.dispatch import Answer
from irerd.effects import ASK_RETRY_S, ASK_RETRY_S_MAX, Effects


class Other:
    """The dispatch, in front of an engine that has so many refusals left."""

    def __init__(self, *codes: str) -> None:
        self.codes = list(codes)
        self.asked_at: list[float] = []
        self.world = SimpleNamespace(engines={})

    def ask(self, method: str, params: Any, idem: str, reply: Any) -> None:
        self.asked_at.append(trio.current_time())
        reply(Answer(error=Refused(self.codes.pop(0), "no")) if self.codes else Answer({}))

    def pauses(self) -> list[float]:
        return [later - sooner for sooner, later in zip(self.asked_at, self.asked_at[1:], strict=False)]


@pytest.mark.parametrize(
    ("codes", "pauses"),
    [
        (["data-loss"] * 10, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]),
        (["resource-exhausted"] * 10, [1] * 10),
        (["data-loss", "data-loss", "data-loss", "unavailable", "data-loss"], [1, 2, 4, 1, 2]),
    ],
    ids=["read only", "no room", "in between"],
)
async def test_pauses(autojump_clock: trio.testing.MockClock, codes: list[str], pauses: list[float]) -> None:
    other: Any = Other(*codes)
    effects = Effects(SimpleNamespace(), other, SimpleNamespace())  # type: ignore[arg-type]
    asked = await effects._answer(Ask("engine_state:7:0", "resource.submit_task", {}))
    assert asked.ok and (ASK_RETRY_S, ASK_RETRY_S_MAX) == (1.0, 60.0)
    assert other.pauses() == pytest.approx(pauses)
