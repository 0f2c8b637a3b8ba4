"""The drawn screens: what a person sees first, and that it fits."""

import copy
import json
import re
from typing import Any

import msgspec
import pytest

from core.resource.reads import PoolsHealth, PoolsStatus, PoolTable, TaskPage
from core.system import Status
from irerctl.screens import resource, system
from irerctl.session import OF_A_BROKEN_LOG
from tests.irerctl.conftest import Run, Serve
from tests.irerctl.samples import HEALTH, POOLS, RESOURCE_STATUS, STATUS, TASK

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.mark.parametrize(
    ("kind", "sample"),
    [
        (Status, STATUS),
        (PoolsStatus, RESOURCE_STATUS),
        (PoolTable, {"pools": POOLS}),
        (TaskPage, {"tasks": [TASK]}),
        (PoolsHealth, HEALTH),
    ],
)
def test_the_samples_are_what_a_daemon_answers(kind: Any, sample: Any) -> None:
    names = {field.encode_name for field in msgspec.structs.fields(kind)}
    assert set(sample) <= names
    msgspec.convert(sample, kind)


def shown(text: str) -> list[str]:
    return ANSI.sub("", text.replace("\r", "")).splitlines()


def status_with(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(STATUS), **changes}


def test_status_has_a_line_for_each_engine_the_chains_and_one_hint(run: Run, serve: Serve) -> None:
    serve({"system.status": STATUS})
    lines = run("status").stdout.splitlines()
    assert lines[0].startswith("ok  irerd 0.1.0  ready  up 3 h 12 min  pid 4242  2 connections")
    assert "pools       4  12/32 units  3 waiting  3 running" in lines
    assert "chains      2 logs  14,201 records  verified to 14,201" in lines
    assert lines[-1].startswith("Try: ") and sum(line.startswith("Try: ") for line in lines) == 1


def test_status_puts_the_worst_first_and_never_exceeds_twenty_lines(run: Run, serve: Serve) -> None:
    problems = [f"disk: problem {n}" for n in range(40)]
    engines = {"resource": RESOURCE_STATUS} | {f"engine{n}": {"things": n} for n in range(6)}
    serve({"system.status": status_with(health="failed", problems=problems, engines=engines)})
    lines = run("status").stdout.splitlines()
    assert len(lines) <= 20
    assert lines[0].startswith("FAILED") and "problem 0" in lines[1]
    hidden = next(line for line in lines if "more" in line)
    assert sum("problem" in line for line in lines) + int(re.findall(r"\d+", hidden)[0]) == 40
    assert any(line.startswith("chains") for line in lines) and any(line.startswith("engine5") for line in lines)
    assert lines[-1] == "Try: irerctl doctor"


def test_status_names_the_log_that_failed(run: Run, serve: Serve) -> None:
    logs = copy.deepcopy(STATUS["logs"])
    logs[1]["integrity"] = "failed"
    serve({"system.status": status_with(logs=logs)})
    lines = run("status").stdout.splitlines()
    assert "chains      2 logs  14,201 records  verified to 14,000  1 failed: gate_log" in lines
    assert lines[-1] == "Try: irerctl audit hashchain"


def test_status_survives_an_engine_and_fields_it_has_never_heard_of(run: Run, serve: Serve) -> None:
    engines = {"market": {"trades": 12, "mood": "calm", "open": True, "depth": [1, 2]}, "odd": 7}
    serve({"system.status": {"version": "9", "engines": engines}})
    lines = run("status").stdout.splitlines()
    assert "market      12 trades  mood calm  yes open  2 depth" in lines
    assert "odd         7" in lines


def test_status_survives_a_known_engine_of_another_version(run: Run, serve: Serve) -> None:
    serve({"system.status": status_with(engines={"gate": {"refused": 2, "callers": [{"who": "uid:1"}]}, "resource": ["odd"]})})
    lines = run("status").stdout.splitlines()
    assert "gate        2 refused  1 callers" in lines and "resource    odd" in lines


def test_status_as_json_is_the_answer_itself(run: Run, serve: Serve) -> None:
    serve({"system.status": STATUS})
    assert json.loads(run("-o", "json", "status").stdout) == STATUS


@pytest.mark.parametrize("engine", ["resource"])
def test_a_line_of_an_empty_engine_is_still_a_line(engine: str) -> None:
    assert system.engine_line(engine, {}).strip() != ""


def test_engine_alone_shows_pools_tasks_and_what_is_wrong(run: Run, serve: Serve) -> None:
    trouble = {"code": "at-ceiling", "text": "3 waiting, and the pool has all 8 units", "remedy": "wait, or raise the ceiling"}
    health = {
        "health": "degraded",
        "pools": [{"name": "compute", "health": "degraded", "reasons": [trouble]}, *HEALTH["pools"][1:]],
    }
    serve({"resource.pools": {"pools": POOLS}, "resource.tasks": {"tasks": [TASK]}, "resource.health": health})
    text = run("engine").stdout
    assert text.splitlines()[0] == "degraded  compute   3 waiting, and the pool has all 8 units"
    assert text.splitlines()[1].strip() == "wait, or raise the ceiling"
    assert re.search(r"^compute +8 +8 +2 +3 ", text, re.MULTILINE)
    assert re.search(r"^t-1 +running +compute +4 +high +2026-01-02T03:04:05.000006Z", text, re.MULTILINE)
    everything = json.loads(run("-o", "json", "engine").stdout)
    assert everything == {"pools": POOLS, "tasks": [TASK], "health": health}


@pytest.mark.parametrize("command", [["engine"], ["call", "resource.pools"]])
def test_what_a_broken_log_answers_is_told_to_be_of_one(run: Run, serve: Serve, command: list[str]) -> None:
    """On the screen the numbers look as they always do, and they are of the day before the damage."""
    answers = {"resource.pools": {"pools": POOLS}, "resource.tasks": {"tasks": [TASK]}, "resource.health": HEALTH}
    serve({method: {**answer, "integrity": "failed"} for method, answer in answers.items()})
    assert run(*command).stderr.splitlines() == [OF_A_BROKEN_LOG]
    data = run("-o", "json", *command)
    assert json.loads(data.stdout)["integrity"] == "failed" and data.stderr == ""
    assert OF_A_BROKEN_LOG in run("-o", "jsonl", *command).stderr


def test_drawn_screens_fit_eighty_columns_and_have_no_colour_where_none_is_wanted(on_terminal: Any, serve: Serve) -> None:
    tasks = [
        {
            **TASK,
            "task_id": "a-task-with-a-very-long-name-" + "x" * 30,
            "state": "parked",
            "reasons": ["crashed"],
            "detail": "y" * 150,
        }
    ]
    serve(
        {
            "system.status": status_with(problems=["disk: " + "z" * 30]),
            "resource.pools": {"pools": POOLS},
            "resource.tasks": {"tasks": [TASK, *tasks]},
            "resource.health": HEALTH,
        }
    )
    for args in (["status"], ["engine"], ["engine", "tasks"]):
        text = on_terminal(*args)
        assert "\x1b[" in text
        assert max(len(line) for line in shown(text)) <= 80
        plain = on_terminal(*args, NO_COLOR="1")
        assert not re.search(r"\x1b\[\d*(;\d+)*m", plain)


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ({"state": "blocked", "depends_on": ["t-0"]}, "waits for t-0"),
        ({"state": "parked", "reasons": ["failed", "timeout"], "detail": "took too long"}, "timeout: took too long"),
        ({"state": "cancelled", "dependency": "t-0"}, "waited for t-0"),
        ({"state": "running"}, "-"),
    ],
)
def test_a_task_says_why_it_is_where_it_is(task: dict[str, Any], says: str) -> None:
    assert resource.why({**TASK, **task}) == says


@pytest.mark.parametrize(
    ("used", "waiting", "ceiling", "colour"), [(2, 0, 8, "\x1b[32m"), (7, 0, 64, "\x1b[33m"), (8, 2, 8, "\x1b[31m")]
)
def test_a_bar_warns_before_a_pool_is_stuck(
    monkeypatch: pytest.MonkeyPatch, used: int, waiting: int, ceiling: int, colour: str
) -> None:
    monkeypatch.setattr("irerctl.render.coloured", lambda stream=None: True)
    drawn = resource.bar({"units": 8, "used": used, "waiting": waiting, "ceiling": ceiling})
    assert colour in drawn
    assert drawn.count("█") == round(used / 8 * resource.BAR_CELLS)
    assert len(shown(drawn)[0]) == resource.BAR_CELLS


@pytest.mark.parametrize(
    ("args", "event", "says"),
    [
        (
            ("scale", "compute", "8"),
            {"pool": "compute", "from_units": 4, "to_units": 8, "reason": "request"},
            "compute: 4 → 8 units",
        ),
        (("scale", "compute", "8"), {}, "nothing changed: it has that size"),
        (("cancel", "t-1"), {"task_id": "t-1", "reason": "request"}, "t-1 cancelled"),
    ],
)
def test_a_write_is_one_sentence(run: Run, serve: Serve, args: tuple[str, ...], event: dict[str, Any], says: str) -> None:
    serve({"resource.scale": event, "resource.cancel_task": event})
    assert run("engine", *args).stdout == says + "\n"
