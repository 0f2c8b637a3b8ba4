"""The rehearsal behind `cache.drill`: the real engine loses nothing, and whoever loses something is found out."""

import copy
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

import irerd.drill as drills
from core.cache import ENGINE
from core.cache.commands import Set, decide_set
from core.cache.drill import AskDrill
from core.cache.events import ValueSet, apply_set
from core.cache.sync import Leaf
from core.engine import Context, Decision, Engine, Event, Job, JobEnded, Refused
from core.settings import Jobs
from irerd import jobs
from irerd.drill import drill
from irerd.drill.rehearsal import Rehearsal
from irerd.drill.side import Side
from irerd.drill.tie import Tie
from irerd.effects.children import Children
from irerd.host import OUTPUT_BYTES_MAX, ChildEnd

OPERATIONS = 300


def rehearse(place: Path, **parts: Any) -> dict[str, Any]:
    return Rehearsal(place, 24, OPERATIONS, 8, **parts).run()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_real_engine_survives_a_day_without_a_network_with_kills_cuts_and_conflicts(tmp_path: Path, seed: int) -> None:
    said: list[dict[str, Any]] = []
    found = Rehearsal(tmp_path, 24, OPERATIONS, seed, tell=said.append).run()
    assert (found["attempted"], found["survived"], found["lost"]) == (OPERATIONS, OPERATIONS, [])
    assert found["equal"] and found["chains"] == "ok"
    assert found["kills"] >= 2 and found["cuts"] >= 1 and found["conflicts"] >= 1, "else it was no rehearsal"
    assert {row["phase"] for row in said} >= {"sync", "compare", "verify"}


def test_the_same_seed_is_the_same_drill(tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("one", "two")]
    for place in places:
        place.mkdir()
        assert rehearse(place)["survived"] == OPERATIONS
    logs = [sorted(path.read_bytes() for path in place.glob("*/cache_log*.jsonl")) for place in places]
    assert logs[0] == logs[1] and sum(map(len, logs[0])) > 50_000


# --- whoever loses something --------------------------------------------------------------------------------------------------


def changed(kind: type[Event], apply: Callable[..., None]) -> Engine:
    """The cache engine with another idea of one event."""
    engine = copy.copy(ENGINE)
    rows = [replace(row, apply={kind: apply}) if kind in row.apply and len(row.apply) == 1 else row for row in ENGINE.rows]
    engine.rows = rows
    engine.applies = {**ENGINE.applies, kind: apply}
    return engine


def drops_unsynced(cache: Any, event: ValueSet, stamp: Any) -> None:
    """Forgets, now and then, a write that nobody has yet."""
    apply_set(cache, event, stamp)
    if stamp.seq % 40 == 0:
        cache.forget(event.key)


def answering(verb: str, run: Callable[..., Any]) -> Engine:
    """The cache engine with another answer to one method."""
    engine = copy.copy(ENGINE)
    engine.rows = [replace(row, run=run) if row.name == f"cache.{verb}" else row for row in ENGINE.rows]
    return engine


def refuses_some(cache: Any, command: Set, ctx: Context) -> Decision:
    if command.key.endswith("3") and not cache.online:
        raise Refused("resource-exhausted", "there is room, but not for you")
    return decide_set(cache, command, ctx)


def overlooks_if_rev(cache: Any, command: Set, ctx: Context) -> Decision:
    return decide_set(cache, Set(command.key, command.value, command.ttl_s), ctx)


class LosesLeaf(Tie):
    """Says that a document arrived which did not."""

    def documents(self, source: Side, leaves: Sequence[Leaf]) -> list[Mapping[str, Any]]:
        found = super().documents(source, leaves)
        return found[1:] if source is self.near and self.risk.__name__ != "_never" else found


class MixesUp(Tie):
    """Delivers another value under the same revision."""

    def documents(self, source: Side, leaves: Sequence[Leaf]) -> list[Mapping[str, Any]]:
        found = super().documents(source, leaves)
        return [{**found[0], "n": -1}, *found[1:]] if found and source is self.near else found


class Unwrites(Side):
    """Writes all, and then loses the last batch of it before the machine comes back."""

    def kill(self) -> None:
        with open(self.place / "cache_log.jsonl", "r+b") as file:
            lines = file.read().splitlines(keepends=True)
            lost = next((at for at in range(len(lines) - 1, 0, -1) if b",0," in lines[at].partition(b'"commit":[')[2][:12]), 0)
            file.truncate(sum(map(len, lines[:lost])) if lost > 1 else None)
        self._log._written = (self.place / "cache_log.jsonl").stat().st_size
        self._waiting = []
        super().kill()


class LosesFile(Side):
    """The same with all of it, which a start must notice."""

    def kill(self) -> None:
        os.truncate(self.place / "cache_log.jsonl", 0)
        self._waiting = []
        super().kill()


class Scribbles(Side):
    """Changes one byte of what is on disk, at the very end."""

    def close(self) -> None:
        super().close()
        with open(self.place / "cache_log.jsonl", "r+b") as file:
            content = file.read()
            at = content.index(b'"value":', len(content) // 3) + 9
            file.seek(at)
            file.write(b"7" if content[at : at + 1] != b"7" else b"8")


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"engine": changed(ValueSet, drops_unsynced)}, {"wrong-answer", "missing-here", "refused", "forgotten"}),
        ({"engine": answering("set", refuses_some)}, {"refused"}),
        ({"engine": answering("set", overlooks_if_rev)}, {"wrong-answer"}),
        ({"tie": LosesLeaf}, {"missing-there"}),
        ({"tie": MixesUp}, {"differs"}),
        ({"near": Unwrites}, {"forgotten"}),
    ],
    ids=["drops-unsynced", "refuses", "overlooks-if-rev", "loses-leaf", "mixes-up", "unwrites"],
)
def test_whoever_loses_something_is_found_out(tmp_path: Path, parts: dict[str, Any], why: set[str]) -> None:
    found = rehearse(tmp_path, **parts)
    assert found["attempted"] == OPERATIONS and 0 < found["survived"] < OPERATIONS
    assert {each["why"] for each in found["lost"]} & why and len(found["lost"]) == min(8, OPERATIONS - found["survived"])


@pytest.mark.parametrize("near", [Scribbles, LosesFile])
def test_a_log_that_was_damaged_is_a_broken_chain(tmp_path: Path, near: type[Side]) -> None:
    found = rehearse(tmp_path, near=near)
    assert found["chains"] == "broken"
    assert (found["survived"] == OPERATIONS) is (near is Scribbles), "what cannot be read back did not survive"
    assert found["equal"] is (near is Scribbles)


# --- the child ----------------------------------------------------------------------------------------------------------------


def test_its_directory_is_fresh_and_gone_afterwards_however_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drills.tempfile, "tempdir", str(tmp_path))
    (tmp_path / "another").mkdir()
    said: list[dict[str, Any]] = []
    found = drill({"params": {"hours": 1, "operations": 30, "seed": 1}}, said.append)
    assert found["survived"] == 30 and said
    assert [path.name for path in tmp_path.iterdir()] == ["another"]

    def fails(place: Path, *args: Any, **named: Any) -> None:
        (place / "file").touch()
        assert len(list(tmp_path.iterdir())) == 2
        raise OSError

    monkeypatch.setattr(drills, "Rehearsal", fails)
    with pytest.raises(OSError):
        drill({"params": {"hours": 1, "operations": 30, "seed": 1}}, said.append)
    assert [path.name for path in tmp_path.iterdir()] == ["another"]


def test_a_drill_that_is_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    request = {"name": "drill", "params": {"hours": 1, "operations": 50_000, "seed": 1}, "memory_bytes": 2**31}
    asked = json.dumps(request).encode()
    gone, held = os.pipe()  # held by the drill and by whoever tidies up after it, so its end comes once both are gone
    with subprocess.Popen(
        [sys.executable, "-m", "irerd.jobs"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        pass_fds=[held],
        start_new_session=True,
    ) as child:
        os.close(held)
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(len(asked).to_bytes(4, "big") + asked)
        child.stdin.flush()
        assert json.loads(child.stdout.readline())["progress"]["phase"] == "offline"
        assert len(list(tmp_path.glob("irer-drill-*/near/cache_log.jsonl"))) == 1
        os.killpg(child.pid, signal.SIGKILL)
        assert child.stdout.read(1 << 20) is not None, "nobody else holds the pipe to the daemon"
        assert os.read(gone, 1) == b""
    os.close(gone)
    assert list(tmp_path.iterdir()) == []


class Printing:
    """A host whose child prints these pieces."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = pieces

    async def run_child(self, module: str, request: bytes, on_output: Any = None) -> ChildEnd:
        for piece in self.pieces:
            await on_output(piece)
        return ChildEnd(0, b"", False)


def ran(pieces: Sequence[bytes]) -> tuple[JobEnded, list[dict[str, Any]]]:
    told: list[dict[str, Any]] = []

    async def run() -> JobEnded:
        children = Children(Printing(pieces), Jobs, Path("/"), dict)  # type: ignore[arg-type]
        return await children.run(Job("cache_log:1:0", "drill", {}), told.append)

    return trio.run(run), told


def test_progress_of_a_child_is_told_as_it_comes_and_nothing_else_is_believed() -> None:
    end = b'{"ok": true, "code": "ok", "result": {"survived": 1}}\n'
    row = b'{"progress": {"phase": "sync", "waiting": 3}}\n'
    odd = [
        b'{"progress": {"phase": ["a"]}}\n',
        b'{"progress": {"phase": "%s"}}\n' % (b"x" * 65),
        b'{"progress": {%s}}\n' % b",".join(b'"m%d": 1' % number for number in range(9)),
        b"\xff\xfe\n",
        b'{"progress": 3, "more": 1}\n',
    ]
    ended, told = ran([row[:20], row[20:] + row, *odd, end[:5], end[5:]])
    assert ended == JobEnded("cache_log:1:0", True, "ok", "", {"survived": 1})
    assert told == [{"phase": "sync", "waiting": 3}] * 2
    assert ran([row])[0].code == "bad-output"
    assert ran([])[0].code == "bad-output"
    assert ran([b"x" * OUTPUT_BYTES_MAX, b"\n", end])[0].code == "bad-output"


def test_what_the_engine_asks_for_is_what_the_child_knows() -> None:
    assert set(AskDrill.__struct_fields__) | {"seed"} == {"hours", "operations", "seed"} and "drill" in jobs.JOBS
