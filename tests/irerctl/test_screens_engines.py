"""The screens of the engines: gates, ways, engine control, entities, cache, orders, metrics.

In a pipe, as data, on a terminal however narrow, with nothing to show, and with names that somebody chose in order to harm.
"""

import copy
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from core.cache import reads as cache_reads
from core.circuit import reads as circuit_reads
from core.component import reads as component_reads
from core.control import summary
from core.control.checks import DecidedPage
from core.control.diff import Changes
from core.control.explain import Explanation
from core.control.hub import GlobalConfig, KeysInForce
from core.control.platforms import PlatformPage
from core.control.registry import EnginePage, EngineView
from core.entity import reads as entity_reads
from core.gate import reads as gate_reads
from core.metrics import reads as metrics_reads
from core.nav import reads as nav_reads
from core.provenance import reads as provenance_reads
from irerctl import figures, generic, render
from irerctl.screens import circuit, metrics, system
from tests.irerctl import samples
from tests.irerctl.conftest import Run, Serve
from tests.irerctl.peer import Stream, Written

ANSI = re.compile(r"\x1b\[[0-9;]*m")
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
HARM = "\x1b]0;pwned\x07\r\x9b2J\n"
NAMES_CHOSEN_BY_OTHERS = (
    "labels",
    "allow",
    "deny",
    "actions",
    "flags",
    "values",
    "set",
    "revs",
    "units",
    "weights",
    "api_versions",
)

ANSWERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "gate.breaches": (gate_reads.Breaches, samples.BREACHES),
    "gate.policy": (gate_reads.PolicyTable, samples.POLICIES),
    "gate.list": (gate_reads.TokenPage, samples.TOKENS),
    "nav.routes": (nav_reads.RouteTable, samples.ROUTES),
    "nav.status": (nav_reads.NavStatus, samples.NAV_STATUS),
    "control.status": (summary.ControlStatus, samples.CONTROL_STATUS),
    "engines.list": (EnginePage, samples.ENGINES_PAGE),
    "engines.get": (EngineView, samples.ENGINE_VIEW),
    "platforms.list": (PlatformPage, samples.PLATFORMS),
    "config.global": (GlobalConfig, samples.GLOBAL),
    "config.get": (KeysInForce, samples.CONFIG),
    "log.query": (DecidedPage, samples.JUDGED),
    "actions.explain": (Explanation, samples.EXPLAINED),
    "actions.diff": (Changes, samples.CHANGES),
    "entity.status": (entity_reads.FleetStatus, samples.FLEET),
    "entity.list": (entity_reads.EntityPage, samples.ENTITIES),
    "entity.get": (entity_reads.EntityRow, samples.ENTITIES["entities"][0]),
    "cache.status": (cache_reads.CacheStatus, samples.CACHE_STATUS),
    "cache.list": (cache_reads.Keys, samples.KEYS),
    "cache.queue": (cache_reads.Queue, samples.QUEUE),
    "cache.conflicts": (cache_reads.Conflicts, samples.CONFLICTS),
    "circuit.status": (circuit_reads.CircuitStatus, samples.CIRCUIT_STATUS),
    "circuit.orders": (circuit_reads.OrderPage, samples.ORDERS),
    "circuit.wealth": (circuit_reads.WealthReport, samples.WEALTH),
    "provenance.status": (provenance_reads.Status, samples.PROVENANCE_STATUS),
    "provenance.anomalies": (provenance_reads.AnomalyPage, samples.UNUSUAL),
    "provenance.taps": (provenance_reads.TapPage, {"taps": [samples.TAP]}),
    "provenance.graph": (provenance_reads.Graph, samples.GRAPH),
    "component.list": (component_reads.Listing, samples.COMPONENTS),
    "component.describe": (component_reads.Described, samples.COMPONENT),
    "metrics.gauges": (metrics_reads.Gauges, samples.GAUGES),
    "metrics.meters": (metrics_reads.Meters, samples.METERS),
    "metrics.history": (metrics_reads.History, samples.HISTORY),
}
SAMPLES = {method: sample for method, (_, sample) in ANSWERS.items()}
SCREENS: dict[str, tuple[str, ...]] = {
    "gate": ("wealth", "1 expired", "80bbb560", "uid:1001", "uid:1007 showed 60 keys", "gate free uid:1007"),
    "gate tokens": ("80bbb560", "offline"),
    "gate policy": ("wealth", "once", "10 min"),
    "nav": ("wealth/failover stands in for wealth/primary", "myth: no way carries", "not in use", "1/2 good, 1 out"),
    "control": ("mailer", "suspended", "gmail", "maintenance", "off by flag: gmail", "3 times a key was shown"),
    "control engines": ("mailer", "suspended"),
    "control permissions mailer": ("gmail: read, send_email", "number 2", "old key"),
    "control platforms": ("send_email (mail.send), read", "available"),
    "control flags": ("gmail", "off", "wire 1"),
    "control config": ("retry.attempts", "by uid:0", "the file"),
    "control explain mailer gmail send_email": ("├─ denies", "irerctl control unsuspend mailer", "└─ lacks", "now it would be"),
    "control permissions diff --flags {}": ("9 judgements looked at", "there are older ones", "deny 7", "without it too"),
    "control log": ("gmail.send_email", "denied", "platform:gmail.status.maintenance"),
    "entity": ("error_correction", "units held: 2 of compute", "the uplink is gone", "silent: too hot, attempt 2", "2 compute"),
    "entity list": ("robot-7", "waits for 2 units of compute"),
    "entity get robot-7": ("room=3", "entity:entities:3:0"),
    "cache": ("offline: nothing is sent", "1.5 KiB of 4.0 GiB", "2 to be synced", "greeting", "deleted"),
    "offline": ("offline: nothing is sent", "beside it"),
    "cache ls gree": ("greeting", samples.REV),
    "offline queue": ("greeting", "deleted"),
    "offline conflicts": ("greeting", "1-0000"),
    "order": ("3 placed", "1 failed", "2 refused at gate wealth", "39.98 EUR", "task-parked"),
    "order list": ("o-1", "fulfilled", "39.98 EUR"),
    "wealth": ("about 600.00 EUR", "400.00 EUR and 900.00 EUR", "95% of 20", "mean 75%"),
    "provenance": ("burst: 40 in 1 s", "1 tap", "40 of user_action", "run_001"),
    "provenance taps": ("user_action", "run_001"),
    "provenance anomalies": ("burst", "2.5"),
    "provenance graph": ("provenance.tapped (provenance_log:4)", "member-of", "derived-from", "r1", "2 nodes, 2 edges"),
    "component": ("bssn-check", "1.0.0", "after each job of a hunt", "1 run going on"),
    "component ls": ("bssn-check", "after each job of a hunt"),
    "component show null-profile": ("for the best run of a generation", "job_uuid", "draws", "19 to any", "gap_phase"),
    "metrics": ("100.0 %", "no-evidence", "7 of 10, modelled", "rising", "records 1 to 9 of gate_log"),
    "metrics meters": ("2.5", "no-evidence"),
    "metrics history threshold_lock": ("2026-01-02T03:04:05.000006Z", "numerator"),
}
screens = pytest.mark.parametrize("words", SCREENS)


@pytest.fixture
def on_screen(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes everything believe that a person looks, through a window so wide."""

    def open_window(columns: int) -> None:
        monkeypatch.setattr(render, "terminal", lambda stream=None: True)
        monkeypatch.setattr(render, "coloured", lambda stream=None: True)
        monkeypatch.setenv("COLUMNS", str(columns))

    return open_window


@pytest.mark.parametrize("method", ANSWERS)
def test_the_samples_are_what_a_daemon_answers(method: str) -> None:
    kind, sample = ANSWERS[method]
    names = {field.encode_name for field in msgspec.structs.fields(kind)}
    assert set(sample) <= names
    msgspec.convert(sample, kind)


@screens
def test_a_pipe_gets_all_of_it_uncut_and_uncoloured(run: Run, serve: Serve, words: str) -> None:
    serve(SAMPLES)
    ran = run(*words.split())
    assert ran.exit_code == 0, ran.stderr
    assert [said for said in SCREENS[words] if said not in ran.stdout.replace("2 expired", "1 expired")] == []
    assert not CONTROL.search(ran.stdout) and "…" not in ran.stdout


@screens
@pytest.mark.parametrize("columns", [80, 132])
def test_a_terminal_is_never_wider_than_it_is(
    run: Run, serve: Serve, on_screen: Callable[[int], None], words: str, columns: int
) -> None:
    serve(SAMPLES)
    on_screen(columns)
    lines = [ANSI.sub("", line) for line in run(*words.split()).stdout.splitlines()]
    assert lines and [line for line in lines if len(line) > columns] == []


@pytest.mark.parametrize("words", ["gate", "nav", "control", "entity", "cache", "order", "wealth", "provenance", "metrics"])
def test_a_very_narrow_terminal_still_shows_who_and_what(
    run: Run, serve: Serve, on_screen: Callable[[int], None], words: str
) -> None:
    serve(SAMPLES)
    on_screen(30)
    ran = run(words)
    assert ran.exit_code == 0 and ran.stdout.strip()


@screens
def test_as_data_it_is_one_value_with_what_the_daemon_said(run: Run, serve: Serve, words: str) -> None:
    peer = serve(SAMPLES)
    found = json.loads(run("-o", "json", *words.split()).stdout)
    asked = [call.m for call in peer.calls]
    if len(asked) == 1:
        assert found == SAMPLES[asked[0]]
    else:
        kept = json.dumps(found)
        rows = [row for method in asked for value in SAMPLES[method].values() if isinstance(value, list) for row in value]
        assert all(json.dumps(row) in kept for row in rows if isinstance(row, dict))


def spoiled(value: Any) -> Any:
    """Every text of an answer, and every name that somebody else chose, with what would drive a terminal."""
    match value:
        case dict():
            return {
                name: {key + HARM: spoiled(each) for key, each in inner.items()}
                if name in NAMES_CHOSEN_BY_OTHERS and isinstance(inner, dict)
                else spoiled(inner)
                for name, inner in value.items()
            }
        case list():
            return [spoiled(each) for each in value]
        case str():
            return value + HARM
    return value


@screens
@pytest.mark.parametrize("looked_at", [True, False])
def test_names_that_others_chose_cannot_drive_the_terminal(
    run: Run, serve: Serve, on_screen: Callable[[int], None], words: str, looked_at: bool
) -> None:
    serve({method: spoiled(copy.deepcopy(sample)) for method, sample in SAMPLES.items()})
    if looked_at:
        on_screen(400)
    ran = run(*words.split())
    assert ran.exit_code == 0, ran.output
    assert not CONTROL.search(ANSI.sub("", ran.stdout)) and "pwned" in ran.stdout


@screens
def test_as_data_the_same_names_are_whole_and_cannot_drive_it_either(run: Run, serve: Serve, words: str) -> None:
    serve({method: spoiled(copy.deepcopy(sample)) for method, sample in SAMPLES.items()})
    text = run("-o", "json", *words.split()).stdout
    assert not CONTROL.search(text) and json.dumps(HARM)[1:-1] in json.dumps(json.loads(text))


def emptied(value: Any) -> Any:
    match value:
        case dict():
            return {name: emptied(each) for name, each in value.items()}
        case list():
            return []
        case bool() | str():
            return value
        case int() | float():
            return 0
    return value


NEEDS_ROWS = {"gate policy", "control permissions mailer", "control config", "entity get robot-7"}


@pytest.mark.parametrize("words", sorted(set(SCREENS) - NEEDS_ROWS))
@pytest.mark.parametrize("looked_at", [True, False])
def test_nothing_to_show_is_said_in_words(
    run: Run, serve: Serve, on_screen: Callable[[int], None], words: str, looked_at: bool
) -> None:
    empty = {method: emptied(sample) for method, sample in SAMPLES.items()}
    empty["config.global"] = {"flags": {}, "api_versions": {}, "revs": {}}
    serve(empty)
    if looked_at:
        on_screen(80)
    ran = run(*words.split())
    assert ran.exit_code == 0, ran.output
    assert ran.stdout.strip()


# --- irerctl status ---------------------------------------------------------------------------------------------------------


ENGINES = {
    "gate": samples.BREACHES,
    "nav": samples.NAV_STATUS,
    "control": samples.CONTROL_STATUS,
    "cache": samples.CACHE_STATUS,
    "entity": samples.FLEET,
    "circuit": samples.CIRCUIT_STATUS,
    "provenance": samples.PROVENANCE_STATUS,
}


def test_status_has_one_line_for_each_engine_and_fits_on_a_screen(run: Run, serve: Serve) -> None:
    problems = [f"nav wealth: problem {number}" for number in range(9)]
    engines = {"resource": samples.RESOURCE_STATUS, **ENGINES}
    serve({"system.status": {**samples.STATUS, "engines": engines, "problems": problems, "health": "failed"}})
    lines = run("status").stdout.splitlines()
    assert len(lines) <= 20 and "problem 0" in lines[1]
    said = {line.split()[0]: line.split(None, 1)[1] for line in lines if line and not line.startswith((" ", "Try"))}
    assert said["gates"] == "1,200 let in  3 refusals, most of uid:1001  1 slowed  1 unusual"
    assert said["routes"] == "9  6 up  1 half-open  2 down  6 taken  2 turned away"
    assert said["control"] == "2 engines  1 suspended  1 platform  1 not available  14 allowed  2 denied"
    assert said["cache"] == "3 keys  1.5 KiB  2 to sync  1 conflict  offline"
    assert said["entities"] == "3  1 error_correction  1 awakening  1 hibernating  2 deactivated  offline"
    assert said["origins"] == "1 tap  2 edges  3 reports  1 unusual"
    assert said["orders"] == "3 placed  1 open  1 failed  today 39.98 EUR"


def test_on_a_narrow_terminal_every_line_of_status_is_cut_clean(run: Run, serve: Serve, on_screen: Callable[[int], None]) -> None:
    serve({"system.status": {**samples.STATUS, "engines": {"resource": samples.RESOURCE_STATUS, **ENGINES}}})
    on_screen(44)
    lines = run("status").stdout.splitlines()[1:]
    assert any(line.endswith("…") for line in lines)
    assert not CONTROL.search("".join(ANSI.sub("", line) for line in lines))
    assert [
        line
        for line in lines
        if line[:5] in ("gates", "route", "contr", "cache", "entit", "order") and len(ANSI.sub("", line)) > 44
    ] == []


@pytest.mark.parametrize("engine", ENGINES)
def test_a_line_of_an_empty_engine_is_still_a_line(engine: str) -> None:
    assert system.engine_line(engine, {}).strip() != ""


# --- pictures -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "full"), [(0.0, 0), (0.001, 1), (0.5, 10), (0.999, 19), (1.0, 20), (None, 0), (7.0, 20)])
def test_a_bar_is_full_only_of_all_and_empty_only_of_nothing(share: float | None, full: int) -> None:
    drawn = figures.bar(share)
    assert drawn.count("█") == full and len(drawn) == figures.BAR_CELLS


def test_a_sparkline_is_as_high_as_its_values_and_has_gaps_where_nothing_is_known() -> None:
    assert figures.sparkline([0, None, 7], 10) == "▁ █"
    assert figures.sparkline([1, 2, 3, 4], 2) == "▁█"
    assert figures.sparkline([5, 5], 10) == "▄▄"
    assert figures.sparkline([None, None], 10) == figures.sparkline([], 10) == ""


@pytest.mark.parametrize(
    ("minor", "currency", "said"),
    [
        (3_998, "EUR", "39.98 EUR"),
        (5, "EUR", "0.05 EUR"),
        (-5, "EUR", "-0.05 EUR"),
        (1_234_567, "JPY", "1,234,567 JPY"),
        (1, "KWD", "0.001 KWD"),
    ],
)
def test_money_is_drawn_in_the_units_of_its_currency(minor: int, currency: str, said: str) -> None:
    assert figures.money(minor, currency) == said


def test_history_is_drawn_coarser_but_never_invented() -> None:
    assert metrics.coarse([1, None, 3, 5, None, None], 3) == [1, 4, None]
    assert metrics.coarse([1, None], 3) == [1, None]


def test_what_nobody_measured_has_no_bar_and_no_trend(run: Run, serve: Serve, on_screen: Callable[[int], None]) -> None:
    meters = copy.deepcopy(samples.METERS)
    meters["meters"][1]["trend"] = {"slope": None, "sign": 0, "intervals": 0}
    serve({**SAMPLES, "metrics.meters": meters})
    on_screen(100)
    lines = {line.split()[0]: ANSI.sub("", line) for line in run("metrics").stdout.splitlines() if line.strip()}
    assert "█" in lines["latency_tolerance"] and "░" in lines["resource_flow"]
    assert not set("█░") & set(lines["threshold_lock"].partition("95")[0]) and "no-evidence" in lines["threshold_lock"]
    assert "rising" in lines["nav_velocity"] and "steady" not in lines["gate_density"]


def test_an_interval_lies_where_its_numbers_are() -> None:
    drawn = circuit.interval(0, 50, 100)
    assert (drawn.index("├"), drawn.index("┤"), len(drawn)) == (0, circuit.RANGE_CELLS - 1, circuit.RANGE_CELLS)
    assert abs(drawn.index("●") - circuit.RANGE_CELLS / 2) <= 1
    assert circuit.interval(0, 0, 0).count("●") == 1


def test_a_thing_of_the_graph_is_called_by_its_name_once(run: Run, serve: Serve) -> None:
    serve({"provenance.graph": samples.GRAPH})
    assert run("provenance", "graph").stdout.count("run_001") == 1


def test_a_run_of_which_nothing_is_known_is_answered_with_where_to_look(run: Run, serve: Serve) -> None:
    serve({"provenance.graph": {"nodes": [], "edges": [], "node_count": 0, "edge_count": 0}})
    found = run("provenance", "graph", "--run-id", "nope")
    assert found.stdout == "0 nodes, 0 edges\n" and "irerctl provenance taps" in found.stderr


@pytest.mark.parametrize(
    ("changed", "holds"),
    [
        ({}, True),
        ({"state": "hibernating", "claim": None}, False),
        ({"state": "awakening", "waits_for": "2 units of compute"}, False),
    ],
)
def test_an_entity_is_not_said_to_hold_what_it_waits_for_or_gave_back(
    run: Run, serve: Serve, changed: dict[str, Any], holds: bool
) -> None:
    serve({"entity.get": {**samples.ENTITIES["entities"][0], **changed}})
    row, _, more = run("entity", "get", "robot-7").stdout.partition("robot-7")[2].partition("\n")
    assert ("2 compute" in row) is holds and ("awake it holds 2 compute" in more) is (changed.get("claim", "") is None)


def test_the_revenue_of_the_last_days_is_drawn_on_a_terminal_only(run: Run, serve: Serve, on_screen: Callable[[int], None]) -> None:
    serve({"circuit.wealth": samples.WEALTH})
    assert "▂▁▃█" not in run("wealth").stdout
    on_screen(80)
    assert "▂▁▃█" in run("wealth").stdout


def test_a_projection_of_no_history_says_so_and_gives_no_number(run: Run, serve: Serve) -> None:
    report = copy.deepcopy(samples.WEALTH)
    report["projections"][0] |= {"days": 0, "expected": 0, "low": None, "high": None}
    serve({"circuit.wealth": report})
    text = run("wealth").stdout
    assert "no whole day of history" in text and "about" not in text


# --- answers to questions, writes ---------------------------------------------------------------------------------------------


def judged(allowed: bool) -> dict[str, Any]:
    return {
        "allowed": allowed,
        "required_scopes": ["mail.send"] if allowed else [],
        "reason": "permitted",
        "rule": "default",
        "request_id": "r-1",
    }


QUESTIONS = [
    (("gate", "check", "wealth", "--token", "-"), "gate.check", {"allowed": True, "reason": "ok"}),
    (("gate", "check", "wealth", "--token", "-"), "gate.check", {"allowed": False, "reason": "token-refused"}),
    (("nav", "go", "wealth", "--subject", "u", "--token", "-"), "nav.navigate", {"ok": True, "route": "wealth/primary"}),
    (
        ("nav", "go", "wealth", "--subject", "u", "--token", "-"),
        "nav.navigate",
        {"ok": False, "error": "offline", "hint": "Ask for one"},
    ),
    (("control", "check", "mailer", "gmail", "send_email"), "actions.check", judged(True)),
    (("control", "check", "mailer", "gmail", "send_email"), "actions.check", judged(False)),
    (("control", "explain", "mailer", "gmail", "send_email"), "actions.explain", {**samples.EXPLAINED, "recorded": None}),
    (("control", "explain", "mailer", "gmail", "send_email"), "actions.explain", {**samples.EXPLAINED["now"], "allowed": False}),
    (("control", "validate", "mailer", "--engine-key", "-"), "engines.validate", {"valid": True, "key": 1}),
    (("control", "validate", "mailer", "--engine-key", "-"), "engines.validate", {"valid": False}),
    (
        ("control", "tokens", "check", "--token", "-"),
        "system.check_http_token",
        {"valid": True, "subject": "ann", "role": "viewer", "expires_at": "2026-01-02T03:04:05.000006Z"},
    ),
    (("control", "tokens", "check", "--token", "-"), "system.check_http_token", {"valid": False}),
]


@pytest.mark.parametrize("output", ["table", "json"])
@pytest.mark.parametrize(("args", "method", "answer"), QUESTIONS)
def test_a_question_answered_with_no_is_exit_status_1(
    run: Run, serve: Serve, args: tuple[str, ...], method: str, answer: dict[str, Any], output: str
) -> None:
    serve({method: Written(answer)})
    ran = run("-o", output, *args, input="the-secret\n")
    no = answer[generic.VERDICTS[method]] is False
    assert ran.exit_code == (1 if no else 0), ran.output
    assert "the-secret" not in ran.output
    if output == "json":
        told = json.loads(ran.stdout)
        assert told.get("result", told) == answer
    else:
        assert ran.stdout.startswith(("no", "denied") if no else ("yes", "go", "allowed"))


def test_every_method_that_answers_yes_or_no_is_known_as_such() -> None:
    echoes = {"nav.report_route": "says again what was reported", "system.op_watch": "", "system.op_cancel": ""}
    asking = {
        row.name
        for row in generic.catalogue().rows.values()
        if isinstance(row.result, type)
        and issubclass(row.result, msgspec.Struct)
        and not row.streams
        and not row.name.startswith("audit.")
        for field in msgspec.structs.fields(row.result)
        if field.encode_name in ("allowed", "ok", "valid") and field.type is bool
    }
    assert asking - set(echoes) <= set(generic.VERDICTS)


@pytest.mark.parametrize(
    ("args", "method", "event", "says"),
    [
        ("gate revoke j-1", "gate.revoke_token", {"jti": "j-1"}, "j-1 opens nothing from now on"),
        (
            "gate rotate gate",
            "gate.rotate_key",
            {"kind": "gate", "generation": 2},
            "gate tokens are signed with key 2; those of the key before open nothing from now on",
        ),
        (
            "nav report wealth/primary --no-ok",
            "nav.report_route",
            {"route": "wealth/primary", "ok": False},
            "wealth/primary: noted that it did not carry",
        ),
        (
            "control platforms set gmail disabled",
            "platforms.set_status",
            {"platform": "gmail", "status": "disabled"},
            "gmail is disabled: every action on it is denied from now on",
        ),
        (
            "control flags set gmail off",
            "config.set_flag",
            {"flag": "gmail", "enabled": False, "rev": 2},
            "gmail is off, revision 2",
        ),
        (
            "control config set retry.attempts 7",
            "config.set",
            {"key": "retry.attempts", "rev": 1, "set": True},
            "retry.attempts is set, and wins over the file; revision 1",
        ),
        (
            "control config set pools.compute.ceiling null",
            "config.set",
            {"key": "pools.compute.ceiling", "rev": 2, "set": False, "left_out": ["pools.compute.floor"]},
            "pools.compute.ceiling is what the file says; revision 2. Not in force any more, see irerctl status: "
            "pools.compute.floor",
        ),
        ("control suspend mailer", "engines.suspend", {"engine_id": "mailer"}, "mailer is suspended, from its next call on"),
        ("control suspend mailer", "engines.suspend", {}, "nothing changed: it was so before"),
        (
            "entity awaken e",
            "entity.awaken",
            {"entity_id": "e", "state": "awakening", "cause": "awaken"},
            "e is awakening; it is active once it has its units",
        ),
        ("entity report e 97.5", "entity.report", {"entity_id": "e", "health": 97.5}, "e was heard: health 97.5"),
        (
            "cache set k 5 --ttl-s 9",
            "cache.set",
            {"key": "k", "rev": "1-a", "expires_at": samples.AT},
            f"k is at 1-a, until {samples.AT}",
        ),
        (
            "offline on",
            "cache.set_online",
            {"online": False},
            "offline: writes go on, and wait in the queue. Back: irerctl offline off",
        ),
        ("offline off", "cache.set_online", {}, "nothing changed: it was so before"),
        (
            "offline resolve k 1-a",
            "cache.resolve",
            {"key": "k", "rev": "1-a", "ended": ["1-b"]},
            "k stays at 1-a; 1 other revision ended",
        ),
    ],
)
def test_a_write_is_one_sentence(run: Run, serve: Serve, args: str, method: str, event: dict[str, Any], says: str) -> None:
    serve({method: Written(event)})
    ran = run(*args.split())
    assert (ran.stdout, ran.exit_code) == (says + "\n", 0)


# --- following ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["gate", "nav", "control", "entity"])
def test_watch_shows_how_it_stands_and_then_what_happens_there(run: Run, serve: Serve, engine: str) -> None:
    event = {
        "type": "gate.checked",
        "log": "gate_log",
        "seq": 1,
        "time": samples.AT,
        "actor": "uid:1000",
        "data": {"allowed": True},
    }
    peer = serve({**SAMPLES, "system.watch": Stream([event])})
    lines = run(engine, "--watch").stdout.splitlines()
    assert len(lines) > 3 and lines[-1].startswith(f"{samples.AT}  gate.checked")
    assert peer.calls[-1].p == {"engine": engine}
    asked = len(peer.calls)
    assert json.loads(run(engine, "--watch", "-o", "jsonl").stdout)["type"] == "gate.checked"
    assert len(peer.calls) == asked + 1, "as data there is only the stream"


def test_a_document_in_pieces_is_whole_in_a_pipe_and_harmless_on_a_terminal(
    run: Run, serve: Serve, on_screen: Callable[[int], None]
) -> None:
    pieces = ['{"a": "', "x\x1b[2J", 'y"}\n{"b"', ": 1}"]
    peer = serve({"provenance.export_audit": Stream([{"text": piece} for piece in pieces], result={"next": "7"})})
    ran = run("provenance", "export", "--format", "jsonl")
    assert ran.stdout == "".join(pieces) and "add --after 7" in ran.stderr
    assert peer.calls[0].p == {"format": "jsonl"}
    on_screen(80)
    assert run("provenance", "export").stdout == '{"a": "x\\x1b[2Jy"}\n{"b": 1}\n'


def test_a_job_is_followed_to_its_end_and_its_failure_is_exit_status_1(run: Run, serve: Serve) -> None:
    begun = {"job": "j-1", "remote": "http://far/db"}
    last = {"job": "j-1", "method": "cache.sync", "state": "done", "seq": 4, "started_at": samples.AT}

    def answers(ok: bool) -> Iterator[Any]:
        ended = {**last, "ok": ok, "code": "ok" if ok else "no-answer", "detail": None if ok else "nobody is there"}
        yield {"cache.sync": Written(begun), "system.op_watch": Stream([{**last, "state": "running"}], result=ended)}

    for ok in (True, False):
        peer = serve(next(answers(ok)))
        ran = run("offline", "sync")
        assert ran.exit_code == (0 if ok else 1), ran.output
        assert ran.stdout.startswith("cache.sync: done" if ok else "cache.sync: no-answer")
        assert [call.p for call in peer.calls] == [{}, {"job": "j-1"}]
        assert json.loads(run("-o", "json", "offline", "sync").stdout)["result"] == begun
        assert json.loads(run("-o", "json", "offline", "sync", "--wait").stdout)["job"]["ok"] is ok
        peer.close()
