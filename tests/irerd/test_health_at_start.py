"""Health is asked for while the daemon starts: of states that are being made nothing is asked."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.engine import Check
from core.engines import ENGINES
from irerd.daemon import Daemon
from tests.irerd.served import serving


async def test_no_engine_is_asked_before_its_state_is_what_its_log_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path):
        pass
    asked: list[str] = []
    recovered: list[str] = []
    recover = Daemon._recover_log
    checked = [engine for engine in ENGINES if engine.checks is not None]
    for engine in checked:

        def spy(state: Any, ctx: Any, name: str = engine.name) -> Iterator[Check]:
            asked.append(name)
            return iter(())

        monkeypatch.setattr(engine, "checks", spy)

    def looked_at_meanwhile(self: Daemon, log: str) -> None:
        self.checks()
        recover(self, log)
        self.checks()
        recovered.append(log)
        assert asked == []

    monkeypatch.setattr(Daemon, "_recover_log", looked_at_meanwhile)
    async with serving(tmp_path) as served:
        assert set(recovered) == set(served.daemon.world.logs)
        served.daemon.checks()
        assert asked == [engine.name for engine in checked] and asked
