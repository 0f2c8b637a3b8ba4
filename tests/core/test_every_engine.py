"""What holds for every engine at once: deciding changes nothing, the log is the whole truth, and no event is half understood.

Engines are taken from their list, so a new one is tested here from its first day. Parameters are made from the types of its rows;
names come from a small set, so that commands meet each other's work.
"""

import copy
import re
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from core.canonical import decode, event_payload
from core.data import TEXTS
from core.data.embedding import embed, text_of
from core.data.told import ContentCreated, id_of
from core.engine import Actor, Engine, Event, Refused, Row, Stamp
from core.engines import ENGINES
from core.world import UnknownEvent, World
from tests.core.engine_loop import ANN, EngineLoop

WITH_STATE = [engine for engine in ENGINES if engine.log is not None and engine.state is not None]
EVENTS = [(engine, kind) for engine in WITH_STATE for kind in engine.applies]
CALLERS = [Actor("uid:1001", "operator", 1001), Actor("uid:1002", "admin", 1002), Actor("engine:mailer", "engine")]

WORDS = [
    "a",
    "b",
    "t-1",
    "wealth",
    "engine_state",
    "hash_tree",
    "uid:1000",
    "0" * 64,
    "0" * 16,
    "2026-01-01T00:00:00Z",
    "key-00000001",
    "EUR",
]
"""Texts for every pattern of `core/fields.py`: few, so that names coincide."""


CHANGED_BY_THE_LOG: list[Any] = [5.0, -0.0, 0.5, {"b": 1.0, "a": [2.0]}]
"""Values that come back from the log equal, but not as the same bytes: 5 for 5.0, members in order."""


def values(info: inspect.Type) -> st.SearchStrategy[Any]:
    """Plain values, as they come off the wire, of a type."""
    match info:
        case inspect.Metadata():
            return values(info.type)
        case inspect.NoneType():
            return st.none()
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType():
            low, high = _bounds(info, 1)
            return st.integers(low, high) | st.integers(low, min(high, low + 9))
        case inspect.FloatType():
            low, high = _bounds(info, 1e-3)
            # A record has no -0.0: it is equal to the 0.0 that a replay finds, and only the bytes of a dump would tell them apart.
            return (st.floats(low, high, allow_nan=False) | st.sampled_from([low, min(high, low + 2.5)])).map((0.0).__add__)
        case inspect.LiteralType():
            return st.sampled_from(list(info.values))
        case inspect.StrType():
            return st.sampled_from(_texts(info))
        case inspect.ListType() | inspect.VarTupleType():
            return st.lists(values(info.item_type), min_size=info.min_length or 0, max_size=min(info.max_length or 4, 4))
        case inspect.TupleType():
            return st.tuples(*[values(member) for member in info.item_types]).map(list)
        case inspect.DictType():
            return st.dictionaries(values(info.key_type), values(info.value_type), min_size=info.min_length or 0, max_size=3)
        case inspect.UnionType():
            return st.one_of(*[values(member) for member in info.types])
        case inspect.AnyType():
            return st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(WORDS) | st.sampled_from(CHANGED_BY_THE_LOG)
        case inspect.StructType():
            return _objects(info)
    raise AssertionError(f"no values for {info}: say here how to make them")


def _bounds(info: Any, step: Any) -> tuple[Any, Any]:
    low = info.ge if info.ge is not None else (info.gt + step if info.gt is not None else -1000)
    high = info.le if info.le is not None else (info.lt - step if info.lt is not None else 2**53 - 1)
    return low, high


def _texts(info: inspect.StrType) -> list[str]:
    shortest, longest = info.min_length or 0, info.max_length or 4_096
    fitting = [word for word in WORDS if shortest <= len(word) <= longest and re.search(info.pattern or "", word)]
    assert fitting, f"no word matches {info}: add one to WORDS"
    return fitting


def _objects(info: inspect.StructType) -> st.SearchStrategy[dict[str, Any]]:
    fields = {field.encode_name: values(field.type) for field in info.fields}
    needed = {field.encode_name for field in info.fields if field.required}
    return st.fixed_dictionaries(
        {name: made for name, made in fields.items() if name in needed},
        optional={name: made for name, made in fields.items() if name not in needed},
    )


def typed(kind: type[Any]) -> st.SearchStrategy[Any]:
    return values(inspect.type_info(kind)).map(lambda plain: msgspec.convert(plain, kind, strict=True))


def tells_of_a_return(engine: Engine, row: Row) -> bool:
    """The command by which irer tells an engine that the daemon is back: the loop gives it where it belongs."""
    return row.kind == "internal" and row.name == f"{engine.name}.resume"


def moves(engine: Engine) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    """What may happen to an engine: any of its commands and reads from any caller, time, a kill, a reboot."""
    rows = [row for row in engine.rows if row.run is not None and not tells_of_a_return(engine, row)]
    asks = [st.tuples(st.just(row), typed(row.params), st.sampled_from(CALLERS)) for row in rows]
    examples = st.sampled_from(
        [(row, msgspec.convert(dict(row.example), row.params), CALLERS[0]) for row in rows if row.kind != "internal"]
    )
    passing = st.tuples(st.just("run"), st.sampled_from([0.0, 0.5, 40.0]))
    restart = st.tuples(st.just("restart"), st.booleans())
    return st.lists(st.one_of(*asks, examples, passing, restart), max_size=25)


def play(loop: EngineLoop, move: tuple[Any, ...]) -> None:
    match move:
        case ("run", seconds):
            loop.run(seconds)
        case ("restart", reboot):
            loop.restart(1.0, reboot=reboot)
        case (row, command, actor):
            _ask(loop, row, command, actor)


def _ask(loop: EngineLoop, row: Row, command: Any, actor: Actor) -> None:
    before = copy.deepcopy(loop.states)
    try:
        if row.kind == "read":
            result = loop.answered(loop.world.read(row, command, loop.context(actor)))
            assert row.result is None or msgspec.convert(msgspec.to_builtins(result), row.result) == result
        else:
            loop.world.decide(row, command, loop.context(actor))
    except Refused as refused:
        assert refused.detail and not refused.detail.endswith(" ")
        return
    finally:
        assert loop.states == before, f"{row.name} changed the state while it looked or judged"
    if row.kind != "read":
        loop.ask(row.name, command, actor)


@pytest.mark.parametrize("engine", WITH_STATE, ids=lambda engine: str(engine.name))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_deciding_changes_nothing_and_replay_equals_the_live_state(engine: Engine, data: st.DataObject) -> None:
    loop = EngineLoop(engine)
    for move in data.draw(moves(engine), label="moves"):
        play(loop, move)
    assert loop.replayed_states() == loop.states
    survivors = data.draw(st.integers(0, len(loop.records)), label="records that survive a crash")
    loop.restart(keep=survivors)
    assert loop.replayed_states() == loop.states


@pytest.mark.parametrize("engine", WITH_STATE, ids=lambda engine: str(engine.name))
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_two_new_states_are_equal_and_a_changed_one_is_not(engine: Engine, data: st.DataObject) -> None:
    """Without this, comparing states would prove nothing."""
    assert engine.state is not None and engine.state() == engine.state()
    loop = EngineLoop(engine)
    row = next(row for row in engine.rows if row.kind in ("write", "internal") and not tells_of_a_return(engine, row))
    command = msgspec.convert(dict(row.example), row.params) if row.example else data.draw(typed(row.params))
    before = copy.deepcopy(loop.state)
    assert loop.ask(row.name, command), f"the first row of {engine.name} should do something to a new state"
    assert loop.state != before


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "kind"), EVENTS, ids=lambda each: getattr(each, "event_type", None) or each.name)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_event_comes_back_from_the_log_as_it_went_in(engine: Engine, kind: type[Event], data: st.DataObject) -> None:
    event = data.draw(typed(kind))
    payload = event_payload(event)
    assert World([engine]).event(kind.event_type, payload) == event
    assert event_payload(msgspec.json.decode(payload, type=kind)) == payload, "one event has one form"
    assert isinstance(decode(payload), dict)


@pytest.mark.parametrize(("engine", "kind"), EVENTS, ids=lambda each: getattr(each, "event_type", None) or each.name)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_an_event_with_a_field_of_another_version_is_refused(engine: Engine, kind: type[Event], data: st.DataObject) -> None:
    payload = {**msgspec.to_builtins(data.draw(typed(kind))), "field_of_another_version": 1}
    world = World([engine])
    stamp = Stamp(engine.log or "", 7, 1, 1, "00000001", "uid:1")
    with pytest.raises(UnknownEvent, match=f"{engine.log} record 7.*Nothing was changed"):
        world.replay(kind.event_type, msgspec.json.encode(payload), stamp)
    with pytest.raises(UnknownEvent, match=f"{engine.log} record 7 is a '{kind.event_type}_2'.*Nothing was changed"):
        world.replay(f"{kind.event_type}_2", b"{}", stamp)
    assert engine.state is not None and world.states[engine.name] == engine.state()


def from_its_dump(loop: EngineLoop) -> EngineLoop:
    """Another loop at the same moment, whose engine knows only what a dump told it."""
    twin = EngineLoop(loop.engine, loop.settings, outcome=loop.outcome)
    twin.world = World(loop.engines)
    twin.world.load(loop.log, loop.world.dump(loop.log))
    twin.world.take_up(loop.log, loop.world.kept(loop.log))
    twin.random.setstate(loop.random.getstate())
    twin.records, twin.jobs = list(loop.records), dict(loop.jobs)
    twin.boots, twin.mono_us, twin.wall_us, twin.ids = loop.boots, loop.mono_us, loop.wall_us, loop.ids
    twin.drawn = loop.drawn
    return twin


@pytest.mark.slow
@pytest.mark.parametrize("engine", WITH_STATE, ids=lambda engine: str(engine.name))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_dump_holds_all_there_is_to_know_at_any_point(engine: Engine, data: st.DataObject) -> None:
    """The loaded state equals the live one, decides the same from then on, and is dumped as the same bytes."""
    loop = EngineLoop(engine)
    played = data.draw(moves(engine), label="moves")
    point = data.draw(st.integers(0, len(played)), label="moves before the dump")
    for move in played[:point]:
        play(loop, move)
    before = copy.deepcopy(loop.states)
    twin = from_its_dump(loop)
    assert loop.states == before, "dumping changed the state"
    assert twin.states == loop.states and twin.world.dump(loop.log) == loop.world.dump(loop.log)
    for move in played[point:]:
        play(loop, move)
        play(twin, move)
        assert twin.records == loop.records and twin.wanted() == loop.wanted()
    replayed = World(loop.engines)
    replayed.reset(loop.log)
    replayed.replay_all(loop.records)
    assert twin.states == loop.states
    assert loop.world.dump(loop.log) == twin.world.dump(loop.log) == replayed.dump(loop.log)


@pytest.mark.parametrize("log", sorted({str(engine.log) for engine in WITH_STATE}))
def test_every_log_can_have_snapshots(log: str) -> None:
    assert re.fullmatch("[0-9a-f]{64}", World(ENGINES).schema(log))


RUN_OUTCOME: dict[str, Any] = {
    "job_uuid": "id-1",
    "status": "ok",
    "flags": ["unsettled"],
    "log_prime_sse": 0.25,
    "sse_code": None,
    "sdg_h_norm_l2": 0.125,
    "h_code": None,
    "sdg_h_norm_l2_max": 0.5,
    "scaling_factor": 1.5,
    "n_peaks": 4,
    "n_targets": 5,
    "resolved": False,
    "artefact_sha256": "0" * 64,
}

EVENT_IDS = [id_of(ContentCreated("content_created", text)) for text in TEXTS]
PACK = {
    "atoms": "p\nq",
    "facts": "AAAAAA==",
    "rule_ids": "r9",
    "counts": "AQ==",
    "premises": "AAAAAA==",
    "conclusions": "AQAAAA==",
    "costs_micro": "BQAAAAAAAAA=",
    "groups": ["north"],
    "group_of": "AA==",
}
"""The rule r9, from p to q, and the fact p."""


USERS_MANIFEST = (
    '{"name": "my look", "version": "1.0.0", "script_to_run": "look.py", "inputs": [{"name": "job_uuid", "type": "string:uuid"}], '
    '"outputs": [{"name": "radius", "type": "float"}], '
    '"tunable_variables": [{"name": "first", "label": "First", "type": "float", "default": 1.0, "max": 9}]}'
)
HISTORIES: dict[str, list[tuple[str, dict[str, Any]] | float]] = {
    "resource": [
        ("submit_task", {"task_id": "a", "units": 3, "duration_s": 2.0, "priority": "low"}),
        ("submit_task", {"task_id": "b", "units": 2, "duration_s": 9.0, "deadline_s": 60.0}),
        ("submit_task", {"task_id": "c", "job": {"name": "verify_log", "params": {"log": "engine_state"}}, "depends_on": ["a"]}),
        ("submit_task", {"task_id": "d", "units": 60, "duration_s": 1.5, "priority": "low", "depends_on": []}),
        0.0,
        ("scale", {"pool": "storage", "size": 9}),
        ("submit_task", {"task_id": "e", "resource_type": "storage", "units": 8, "duration_s": 1000.0}),
        40.0,
        ("cancel_task", {"task_id": "e"}),
        ("submit_task", {"task_id": "f", "units": 50, "duration_s": 5.0, "depends_on": ["d"]}),
        ("submit_task", {"task_id": "g", "units": 60, "duration_s": 5.0, "priority": "normal"}),
        0.5,
    ],
    "gate": [
        ("refuse", {"caller": "uid:3", "method": "resource.scale", "code": "permission-denied", "reason": "no-role"}),
        ("refuse_many", {"caller": "uid:2", "count": 7, "first": "resource.scale", "last": "resource.cancel_task"}),
        ("refuse", {"caller": "uid:1", "method": "resource.scale", "code": "permission-denied", "reason": "no-role"}),
        ("issue_token", {"domain": "wealth", "subject": "user_001", "scopes": ["read", "act"]}),
        ("issue_token", {"domain": "info", "subject": "user_002", "ttl_s": 20, "offline": True}),
        ("set_policy", {"domain": "wealth", "single_use": True, "rate_max": 9}),
        *[("check", {"domain": "myth", "token": "e30.e30.AAAA"})] * 6,
        30.0,
        ("check", {"domain": "info", "token": "no token"}),
        ("issue_token", {"domain": "myth", "subject": "user_003"}),
        ("revoke_token", {"jti": "id-1"}),
        ("rotate_key", {"kind": "offline", "grace_s": 60}),
        ("slow", {"caller": "uid:3", "failures": 60}),
        ("slow", {"caller": "uid:4", "failures": 61}),
        ("free", {"caller": "uid:3"}),
        61.0,
        ("slow", {"caller": "uid:4", "failures": 60}),
    ],
    "nav": [
        ("navigate", {"domain": "wealth", "token": "e30.e30.AAAA", "subject": "user_001"}),
        *[("report_route", {"route": "wealth/primary", "ok": ok}) for ok in (True, False, False, False, True)],
        ("set_route", {"route": "info/offline", "enabled": False}),
        ("report_route", {"route": "info/failover", "ok": False}),
        40.0,
    ],
    "control": [
        ("engines.register", {"engine_id": "mailer", "capabilities": {"gmail": ["send_email", "read"], "slack": ["post"]}}),
        ("engines.register", {"engine_id": "planner", "capabilities": {"calendar": ["create_event"]}}),
        ("engines.register", {"engine_id": "old", "capabilities": {}}),
        ("platforms.define", {"platform": "gmail", "actions": {"send_email": ["mail.send"], "read": []}}),
        ("platforms.define", {"platform": "calendar", "actions": {"create_event": ["calendar.events", "calendar.read"]}}),
        ("engines.set_permissions", {"engine_id": "mailer", "deny": {"gmail": ["read"]}, "if_rev": 1}),
        ("engines.rotate_key", {"engine_id": "mailer", "grace_s": 60.0}),
        ("engines.validate", {"engine_id": "mailer", "engine_key": "irk_wrong"}),
        ("engines.suspend", {"engine_id": "planner"}),
        ("engines.revoke", {"engine_id": "old"}),
        ("platforms.set_status", {"platform": "calendar", "status": "maintenance"}),
        ("config.set_flag", {"flag": "gmail.read", "enabled": False}),
        ("config.set", {"key": "retry.base_s", "value": 2.5}),
        ("config.set", {"key": "retry.attempts", "value": 7}),
        ("config.set", {"key": "retry.attempts", "value": None}),
        ("actions.check", {"engine_id": "mailer", "platform": "gmail", "action_type": "send_email"}),
        ("actions.check", {"engine_id": "nobody", "platform": "gmail", "action_type": "send_email"}),
        ("system.issue_http_token", {"subject": "ann", "role": "viewer", "ttl_s": 60}),
        ("system.issue_http_token", {"subject": "bob", "role": "operator"}),
        ("system.check_http_token", {"token": "e30.e30.AAAA"}),
        ("system.revoke_http_token", {"jti": "id-3"}),
        ("system.rotate_http_key", {}),
        ("system.issue_http_token", {"subject": "bob", "role": "operator"}),
    ],
    "provenance": [
        ("log.engine_event", {"event_type": "email.sent", "data": {"to": 1, "took_ms": 1.5}}),
        ("log.engine_event", {"event_type": "email.sent", "data": {}, "request_id": "r-1"}),
        5.0,
        ("log.engine_event", {"event_type": "email.bounced", "data": {"parts": [1, {"a": None}]}}),
        ("tap_event", {"event_type": "user_action", "data": {"page": 3}, "run_id": "run_001"}),
        ("add_edge", {"source": "fact_A", "target": "fact_B", "rule": "rule1", "run_id": "run_001", "cost": 0.5}),
        *[
            (
                "found",
                {
                    "kind": kind,
                    "of": "type",
                    "name": "task.done",
                    "scale": 10,
                    "unit": "s",
                    "count": 200,
                    "expected": 3.5,
                    "statistic": 12.0,
                    "threshold": 7.0,
                    "evidence": "type task.done: 200 in 10 s, usually at most 3.5",
                    "causes": ["engine_state:7"],
                },
            )
            for kind in ("burst", "rate", "burst")
        ],
    ],
    "cache": [
        ("set", {"key": "a", "value": {"b": 1.0, "a": [2.5, None]}}),
        ("set", {"key": "a", "value": "text", "ttl_s": 3600.0}),
        ("set", {"key": "b", "value": None, "ttl_s": 0.25}),
        ("set", {"key": "c", "value": 1e300}),
        ("delete", {"key": "c"}),
        ("set", {"key": "d", "value": [1]}),
        0.5,
        (
            "merge",
            {
                "documents": [
                    {"key": "a", "generation": 2, "ids": ["f" * 32, "0" * 32], "value": 7, "expires_us": 1_767_225_700_000_000},
                    {"key": "e", "generation": 3, "ids": ["x"], "deleted": True},
                    {"key": "f", "generation": 1, "ids": ["b" * 32], "value": {"n": 1}, "expires_us": 1_767_225_602_000_000},
                ]
            },
        ),
        ("pushed", {"remote": "far", "documents": [{"key": "a", "revs": ["1-a"]}, {"key": "e", "revs": ["3-x"]}]}),
        ("checkpoint", {"remote": "far", "cursor": "7-abc", "last_key": "e", "pushed_seq": 4}),
        5.0,
        ("set_online", {"online": False}),
        ("resolve", {"key": "a", "rev": "2-ffffffffffffffffffffffffffffffff"}),
        ("drill", {"hours": 2, "operations": 50}),
        ("cancel_job", {"job": "id-1"}),
        ("drill", {}),
    ],
    "entity": [
        ("spawn", {"entity_id": "a", "type": "worker", "labels": {"site": "north"}}),
        ("spawn", {"entity_id": "b", "type": "sensor", "needs": {"pool": "storage", "units": 3}}),
        ("spawn", {"entity_id": "c", "type": "agent"}),
        ("spawn", {"entity_id": "d", "type": "gateway"}),
        *[("awaken", {"entity_id": name}) for name in "acd"],
        ("report", {"entity_id": "a", "health": 12.5, "note": "hot"}),
        1.0,
        ("report", {"entity_id": "c", "health": 99}),
        ("deactivate", {"entity_id": "d"}),
        2.0,
        ("heal", {"entity_id": "a"}),
        29.5,
    ],
    "circuit": [
        (
            "order",
            {"order_id": "o-1", "customer": "ann", "items": [{"sku": "x", "quantity": 2, "unit_price": 199}], "currency": "EUR"},
        ),
        (
            "order",
            {"order_id": "o-2", "customer": "bob", "items": [{"sku": "y", "quantity": 1, "unit_price": 5}], "currency": "USD"},
        ),
        0.0,
        (
            "order",
            {"order_id": "o-3", "customer": "ann", "items": [{"sku": "x", "quantity": 1, "unit_price": 1}], "currency": "EUR"},
        ),
    ],
    "hunt": [
        ("start", {"num_generations": 2, "population_size": 3, "seed": 7, "settings": {"lanes": 2, "params": {"tau": 0.5}}}),
        0.0,
        ("job_ended", {"effect": "hunt_log:1:0", "ok": False, "code": "timeout", "detail": "it took too long"}),
        ("job_ended", {"effect": "hunt_log:3:0", "ok": False, "code": "crashed"}),
        ("stop", {}),
        ("stop", {}),
        ("resume", {"add_generations": 1}),
        1.0,
        ("cancel_job", {"job": "id-1"}),
        ("start", {"seed": 1, "space": {"eps": {"low": 0.5, "high": 2, "scale": "log"}}, "objectives": ["fitness"]}),
        0.0,
    ],
    "sim": [
        ("run", {"params": {"eps": 0.9, "c3": -0.6}, "grid": {"n": 32}, "steps": 200, "seed": 7}),
        (
            "run",
            {
                "params": {"a": 0.5, "g_nl": 2},
                "settings": {"kernel": "ring", "pump": {"shape": "plane", "amplitude": 1, "k": [1, 0]}},
            },
        ),
        ("run", {"grid": {"n": 8, "l": 10.0, "d": 1}, "dt": 0.01, "settings": {"initial": {"kind": "uniform"}, "snapshots": 1}}),
        5.0,
        ("job_ended", {"effect": "hunt_log:0:0", "ok": True, "code": "ok", "result": {"lanes": [RUN_OUTCOME]}}),
        ("job_ended", {"effect": "hunt_log:1:0", "ok": False, "code": "poison", "detail": "three workers were lost"}),
        ("cancel_job", {"job": "id-3"}),
        ("run", {"seed": 1}),
    ],
    "component": [
        ("run", {"name": "bssn-check", "inputs": {"job_uuid": "123e4567-e89b-42d3-a456-426614174000"}}),
        (
            "run",
            {"name": "null-profile", "inputs": {"job_uuid": "123e4567-e89b-42d3-a456-426614174001"}, "variables": {"draws": 999}},
        ),
        ("run", {"name": "bssn-check", "inputs": {"job_uuid": "123e4567-e89b-42d3-a456-426614174002"}}),
        5.0,
        (
            "job_ended",
            {
                "effect": "hunt_log:0:0",
                "ok": True,
                "code": "ok",
                "result": {
                    "outputs": {
                        "code": "ok",
                        "h_classical": 1.0,
                        "newton": 0.0,
                        "curvature": 0.25,
                        "expansion": 1e-7,
                        "matter": None,
                    },
                    "artefact_sha256": "0" * 64,
                },
            },
        ),
        ("job_ended", {"effect": "hunt_log:1:0", "ok": False, "code": "no-artefact"}),
        ("cancel_job", {"job": "id-3"}),
        ("run", {"name": "null-profile", "inputs": {"job_uuid": "123e4567-e89b-42d3-a456-426614174000"}}),
        ("adopt", {"name": "my look", "manifest": USERS_MANIFEST, "script_sha256": "a" * 64, "folder": "look"}),
        ("run", {"name": "my look", "inputs": {"job_uuid": "123e4567-e89b-42d3-a456-426614174000"}}),
    ],
    "trajectory": [
        ("add_fact", {"symbol": "A"}),
        ("add_fact", {"symbol": "never again", "value": False}),
        ("add_rule", {"rule_id": "rule1", "premises": ["A"], "conclusion": "B", "cost": 1.0}),
        ("add_rule", {"rule_id": "r/2", "premises": ["B", "A", "B"], "conclusion": "é", "cost": 0.000001, "group": "north"}),
        ("set_costs", {"costs": {"rule1": 2.5}}),
        5.0,
        (
            "fold",
            {
                "spine": {
                    "facts": ["A"],
                    "goals": ["C"],
                    "rules": [
                        {"rule_id": "b", "premises": ["A"], "conclusion": "B", "cost": 1},
                        {"rule_id": "c", "premises": ["B", "A"], "conclusion": "C", "cost": 0.5, "group": "north"},
                    ],
                }
            },
        ),
        ("load", {"problem": {"packs": [PACK], "goals": ["q"]}}),
        ("load", {"problem": {"facts": ["z", "a"], "rules": [{"rule_id": "1", "premises": [], "conclusion": "b"}]}, "more": True}),
        ("load", {"problem": {"rules": [{"rule_id": "0", "premises": ["b"], "conclusion": "g"}], "goals": ["g"]}, "part": 1}),
        ("load", {"problem": {"facts": ["y", {"symbol": "x", "value": False}], "goals": ["y"]}, "more": True, "load": "second"}),
    ],
    "eil": [
        ("sense", {"source": "a", "telemetry": {"power_draw": 850.5, "cpu_usage": 0.75}, "context": {"priority": "high", "n": 1}}),
        10.0,
        ("sense", {"source": "a", "telemetry": {"power_draw": 950.5, "cpu_usage": 75}}),
        ("sense_batch", {"source": "b", "metrics": ["x"], "times": [1, 2, 3], "values": [[1], [None], [1.5]], "predict": True}),
        ("predict", {"source": "a", "horizon_s": 10}),
        (
            "act",
            {
                "goal": "minimize_energy",
                "current_state": {"active_servers": 12, "avg_utilization": 0.68, "idle_w": 9, "max_w": 9.5},
            },
        ),
        10.0,
        ("act", {"goal": "maximize_stability", "current_state": {"active_servers": 3, "avg_utilization": 0.99}}),
        ("feedback", {"action_id": "act_id-5", "rating": 0.25}),
        ("sense", {"source": "a", "telemetry": {"power_draw": 900}}),
        ("proof", {"prediction_id": "pred_id-2", "actual_state": {"energy": 1, "entropy": 2}}),
        ("proof", {"prediction_id": "pred_id-4", "actual_state": {"energy": 18260, "entropy": 0}}),
        ("market_quote", {"asset": "CEU", "side": "buy", "quantity": 1500}),
        ("market_quote", {"asset": "CEU", "side": "sell", "quantity": 10}),
        ("market_trade", {"quote_id": "quote_id-8"}),
        30.0,
        ("market_quote", {"asset": "CEU", "side": "buy", "quantity": 0.000001}),
    ],
    "data": [
        *[("emit", {"family": "local", "type": "content_created", "data": {"text": text}}) for text in TEXTS],
        ("emit", {"family": "local", "type": "content_created", "data": {"text": TEXTS[0]}}),
        (
            "job_ended",
            {
                "effect": "event_log:0:0",
                "ok": True,
                "code": "ok",
                "result": {
                    "made": [
                        {"event": EVENT_IDS[0], "vector": text_of(embed(TEXTS[0]))},
                        {
                            "event": EVENT_IDS[1],
                            "vector": text_of(embed(TEXTS[1])),
                            "priors": [{"event": EVENT_IDS[0], "relevance": 0.75}],
                        },
                    ]
                },
            },
        ),
        ("job_ended", {"effect": "event_log:2:0", "ok": False, "code": "internal"}),
        ("cite", {"from": EVENT_IDS[2], "to": EVENT_IDS[1]}),
        ("cite", {"from": EVENT_IDS[2], "to": EVENT_IDS[0]}),
        ("feedback", {"event": EVENT_IDS[0], "rating": 0.875}),
        (
            "emit",
            {"family": "model", "type": "pattern_recognized", "data": {"pattern": "x", "event": EVENT_IDS[0], "relevance": 1}},
        ),
        (
            "emit",
            {
                "family": "embedding",
                "type": "embedding_generated",
                "data": {"event": EVENT_IDS[1], "model": "mine", "dimension": 2, "vector": [3, 4]},
            },
        ),
        5.0,
        ("cite", {"from": EVENT_IDS[1], "to": EVENT_IDS[0]}),
        ("forget", {"event": EVENT_IDS[2]}),
        0.5,
    ],
}
"""A fixed history of each engine: commands, and seconds that pass."""

PINNED = {
    "resource": ("0f26a05018c5a9ad", "9c3897b2f5f3a08f"),
    "gate": ("862a25fea069e2e5", "dd17ce211b184f7b"),
    "nav": ("862a25fea069e2e5", "34f962f8a3d79a7c"),
    "control": ("862a25fea069e2e5", "e443e94c3521bdd1"),
    "provenance": ("cec15ac447c3758a", "6c379a5605c36bd6"),
    "cache": ("fc1e7b7e85c5fd1d", "10f37f32352b89c0"),
    "entity": ("2e720e8e7af43733", "759193c9c728a644"),
    "circuit": ("22db961ebdd91220", "0bb36fc4090ec5f8"),
    "sim": ("3a6173a791fed988", "cdbc76693f1a6c81"),
    "hunt": ("3a6173a791fed988", "be663f46fe5b097a"),
    "component": ("3a6173a791fed988", "20a9b0d3fa0e06e1"),
    "trajectory": ("bbd29f3075893d34", "249b855338666633"),
    "eil": ("87eb04caf1cb4c32", "a56b9034678091dc"),
    "data": ("a2830d04bb5f8240", "433dc0886e986e23"),
}
"""The schema, and the digest of the dump that the history leads to, each by its first 16 digits."""


@pytest.mark.parametrize("engine", WITH_STATE, ids=lambda engine: str(engine.name))
def test_values_do_not_change_under_an_old_schema(engine: Engine) -> None:
    """A snapshot made by yesterday's code must be what today's code would make of the same log, or be refused."""
    loop = EngineLoop(engine)
    for step in HISTORIES[engine.name]:
        if isinstance(step, float):
            loop.run(step)
        else:
            loop.ask(*step, ANN)
    found = World(loop.engines).schema(loop.log)[:16], sha256(loop.world.dump(loop.log)).hexdigest()[:16]
    schema, digest = PINNED[engine.name]
    assert found[0] != schema or found[1] == digest, f"raise dump_version of {engine.name}, then pin the new digests here"
    assert found == (schema, digest), "pin the new digests here"


@pytest.mark.parametrize("engine", WITH_STATE, ids=lambda engine: str(engine.name))
def test_only_texts_are_keys_in_what_is_dumped(engine: Engine) -> None:
    """A snapshot with another key cannot be written, and that would show only once there is such a key."""
    assert [
        str(key) for key in _keys(inspect.type_info(engine.dumped)) if not isinstance(key, inspect.StrType | inspect.LiteralType)
    ] == []


def _keys(info: Any, above: tuple[Any, ...] = ()) -> list[Any]:
    """The types of all keys, anywhere in a type."""
    match info:
        case inspect.Metadata():
            return _keys(info.type, above)
        case inspect.StructType() if info.cls not in above:
            return [key for field in info.fields for key in _keys(field.type, (*above, info.cls))]
        case inspect.UnionType():
            return [key for member in info.types for key in _keys(member, above)]
        case inspect.ListType() | inspect.VarTupleType() | inspect.SetType() | inspect.FrozenSetType():
            return _keys(info.item_type, above)
        case inspect.TupleType():
            return [key for member in info.item_types for key in _keys(member, above)]
        case inspect.DictType():
            key = info.key_type
            return [key.type if isinstance(key, inspect.Metadata) else key, *_keys(info.value_type, above)]
    return []
