"""What may be thrown away at a start: a view, what is usual, the map, the CSV. A bug in one is told, and the daemon starts, serves
and stops as ever; once the bug is gone, all of it is made anew.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from core.engine import Actor, Nothing
from core.metrics import VIEW
from core.provenance.detector import Detector
from core.wire.calls import Bye
from irerd import atlas, views
from irerd import daemon as daemons
from irerd.anomalies import PATH, Remembered
from irerd.atlas import Atlas
from irerd.ledger import SimulationLedger
from irerd.views import DIRECTORY, Views
from tests.irerd.served import Served, serving

ANN = Actor("uid:1", "operator", 1)
FILE = f"{DIRECTORY}/{VIEW.name}.view"


def broken(*given: Any, **more: Any) -> Any:
    raise RuntimeError("a bug")


async def broken_task(*given: Any) -> None:
    raise RuntimeError("a bug")


def broken_dump(figures: Any) -> Any:
    raise RuntimeError("a bug")


broken_dump.__annotations__["return"] = VIEW.dumped


class Heard:
    """The bugs that the daemon has told of, and whoever waits for one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.places: list[str] = []
        self.one = trio.Event()
        tell = daemons.Daemon._internal_error

        def told(daemon: daemons.Daemon, place: str, error: BaseException) -> str:
            self.places.append(place)
            self.one.set()
            return tell(daemon, place, error)

        monkeypatch.setattr(daemons.Daemon, "_internal_error", told)


async def refused(served: Served) -> Bye:
    """A caller whom the kernel does not know: that is on record before they are told."""
    line = served.line()
    await served.daemon.serve(line, None)
    return line.farewell()


def health(served: Served) -> dict[str, str]:
    wrong = [(check.name, check.health) for check in served.daemon.checks() if check.health != "ok"]
    assert len(dict(wrong)) == len(wrong), "each is told once"
    return dict(wrong)


async def a_life(place: Path, refusals: int) -> None:
    async with serving(place) as served:
        for _ in range(refusals):
            assert (await refused(served)).why == "denied"


def snapshots(place: Path) -> set[str]:
    return {path.name for path in (place / "log.d/gate_log/snap").iterdir()}


async def a_start_with_a_bug(place: Path, heard: Heard, **given: Any) -> dict[str, str]:
    """A life in which a bug is met; what is wrong in it. It serves and stops as ever."""
    before = snapshots(place)
    async with serving(place, **given) as served:
        with trio.fail_after(300):
            await heard.one.wait()
        assert (await refused(served)).why == "denied"
        wrong = health(served)
    assert snapshots(place) > before or len(before) == 3, "a stop keeps a snapshot of each log"
    return wrong


async def a_view_is_up(place: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a start without the bug brings the view up to all that is on record."""
    up = trio.Event()
    go_live = Views._go_live

    def told(views: Views, kept: Any) -> None:
        go_live(views, kept)
        up.set()

    monkeypatch.setattr(Views, "_go_live", told)
    async with serving(place) as served:
        with trio.fail_after(300):
            await up.wait()
        follower = served.daemon.views.look(VIEW.name)
        assert health(served) == {}
        return follower is not None and follower.position("gate_log") == served.daemon.durable_seq("gate_log") + 1 > 3


BUGS = {
    "fold": {"folds": dict.fromkeys(VIEW.folds, broken)},
    "command": {"command": broken},
    "state": {"state": broken},
    "dump": {"dump": broken_dump},
}


@pytest.mark.parametrize("where", BUGS)
async def test_a_view_that_fails_on_what_waits_at_a_start_is_told_and_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    await a_life(tmp_path, 3)
    (tmp_path / FILE).unlink()
    heard = Heard(monkeypatch)
    with monkeypatch.context() as bug:
        bug.setattr(daemons, "VIEW", replace(VIEW, **BUGS[where]))
        if where == "dump":  # asked for when it is saved: at once
            bug.setattr(views, "SAVE_S", 0.0)
            bug.setattr(views, "TICK_S", 0.0)
        assert await a_start_with_a_bug(tmp_path, heard) == {"views": "degraded"}
    assert heard.places == [f"view {VIEW.name}"], "and is left alone from then on"
    assert await a_view_is_up(tmp_path, monkeypatch)


async def test_answers_say_that_a_view_which_failed_at_a_start_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await a_life(tmp_path, 1)
    (tmp_path / FILE).unlink()
    heard = Heard(monkeypatch)
    monkeypatch.setattr(daemons, "VIEW", replace(VIEW, command=broken))
    async with serving(tmp_path) as served:
        with trio.fail_after(300):
            await heard.one.wait()
        answers = served.daemon.dispatch.ports
        told = answers["metrics.gauges"](Nothing(), ANN)
        assert {(gauge.value, gauge.reason) for gauge in told.gauges} == {(None, "failed")}
        assert served.daemon.views.standing(VIEW.name) == "failed"


@pytest.mark.parametrize("bug", [RuntimeError, ZeroDivisionError, AttributeError])
async def test_a_view_whose_file_cannot_be_taken_up_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bug: type[Exception]
) -> None:
    await a_life(tmp_path, 3)

    def load(dumped: Any) -> Any:
        raise bug

    monkeypatch.setattr(daemons, "VIEW", replace(VIEW, load=load))
    assert await a_view_is_up(tmp_path, monkeypatch)


ASIDE = {
    "detector kept": ("anomalies", "detector", Detector, "kept", broken),
    "detector": ("anomalies", "detector", Detector, "note_all", broken),
    "remembered": ("detector", "detector", Remembered, "run", broken_task),
    "rows": ("ledger", "ledger", SimulationLedger, "run", broken_task),
    "rows, in a piece": ("ledger", "ledger", SimulationLedger, "_some", broken),
    "atlas": ("atlas", "atlas", Atlas, "run", broken_task),
    "atlas, looked at": ("atlas", "atlas", Atlas, "_spoilt", broken),
    "views": ("views", "views", Views, "run", broken_task),
}


@pytest.mark.parametrize("case", ASIDE)
async def test_whatever_may_be_thrown_away_never_keeps_the_daemon_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    place, check, owner, name, bug = ASIDE[case]
    await a_life(tmp_path, 3)
    assert (tmp_path / PATH).exists()
    heard = Heard(monkeypatch)
    with monkeypatch.context() as broken_here:
        broken_here.setattr(owner, name, bug)
        broken_here.setattr(atlas, "REST_S", 0.0)
        assert await a_start_with_a_bug(tmp_path, heard, tables=True) == {check: "degraded"}
    assert set(heard.places) == {place}
    assert await a_view_is_up(tmp_path, monkeypatch)


@pytest.mark.parametrize("bug", [RuntimeError, KeyError, AttributeError])
async def test_what_was_usual_and_cannot_be_taken_up_is_learnt_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bug: type[Exception]
) -> None:
    await a_life(tmp_path, 3)

    def again(kept: Any) -> Any:
        raise bug

    monkeypatch.setattr(Detector, "again", again)
    async with serving(tmp_path) as served:
        assert (await refused(served)).why == "denied"
        assert health(served) == {} and served.daemon.anomalies._detector is not None


@pytest.mark.parametrize(
    ("check", "owner", "name"),
    [
        ("views", Views, "save"),
        ("detector", Remembered, "save"),
        ("ledger", SimulationLedger, "catch_up"),
        ("atlas", Atlas, "end"),
    ],
)
async def test_what_fails_at_a_stop_keeps_no_log_from_its_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: str, owner: Any, name: str
) -> None:
    heard = Heard(monkeypatch)
    async with serving(tmp_path) as served:
        assert (await refused(served)).why == "denied"
        monkeypatch.setattr(owner, name, broken_task)
    assert check in heard.places and len(snapshots(tmp_path)) == 1
