"""Engine control: keys, standing, permissions, platforms, flags and keys of the configuration, each rule broken on purpose."""

from typing import Any

import pytest

from core.control import ENGINE
from core.control import policy as policy_module
from core.control.hub import KeyChanged
from core.control.model import ENGINES_MAX, FLAGS_MAX, KEY_PREFIX, RULES_MAX, Control, Flag, Key
from core.engine import Actor, Decision, Refused
from core.secrets import text
from core.setting_rules import overlaid
from core.settings import LIVE, Pool, Pools, Settings
from core.wire.calls import done
from core.wire.frames import FRAME_MAX
from tests.core.engine_loop import ANN, EngineLoop

ROOT = Actor("uid:0", "admin", 0)
MAILER = Actor("engine:mailer", "engine", 1003)


@pytest.fixture
def loop() -> EngineLoop:
    return EngineLoop(ENGINE)


def register(loop: EngineLoop, engine_id: str = "mailer", **capabilities: list[str]) -> str:
    decision = loop.decide("engines.register", {"engine_id": engine_id, "capabilities": capabilities}, ROOT)
    return str(decision.answer.engine_key)


def prove(loop: EngineLoop, key: str, engine_id: str = "mailer") -> int | None:
    """Which of its keys this proves to be, if any."""
    [event] = loop.ask("engines.validate", {"engine_id": engine_id, "engine_key": key})
    return getattr(event, "key", None)


def cause(loop: EngineLoop, key: str, engine_id: str = "mailer") -> str:
    """What is on record of a proof that failed; the answer must not say it."""
    row = loop.world.rows["engines.validate"]
    decision = loop.decide("engines.validate", {"engine_id": engine_id, "engine_key": key})
    assert decision.turned_down and decision.answer is None and row.reply is not None
    assert row.reply(decision.events) == row.result(False), "every failure has one answer"
    return str(decision.events[0].cause)  # type: ignore[attr-defined]


def check(
    loop: EngineLoop, engine_id: str = "mailer", platform: str = "gmail", action: str = "send_email", actor: Actor = ANN
) -> Any:
    events = loop.ask("actions.check", {"engine_id": engine_id, "platform": platform, "action_type": action}, actor)
    reply = loop.world.rows["actions.check"].reply
    assert reply is not None and len(events) == 1
    return reply(events)


def refused(loop: EngineLoop, verb: str, params: dict[str, Any]) -> Refused:
    before = len(loop.records)
    with pytest.raises(Refused) as error:
        loop.ask(verb, params, ROOT)
    assert len(loop.records) == before
    return error.value


def stands(loop: EngineLoop, key: int, engine_id: str = "mailer") -> bool:
    state: Control = loop.state
    return state.stands(engine_id, key, loop.wall_us, loop.mono_us, loop.boot_id)


# --- keys -------------------------------------------------------------------------------------------------------------------


def test_a_key_is_256_drawn_bits_and_only_its_mac_is_kept(loop: EngineLoop) -> None:
    key = register(loop)
    assert key == KEY_PREFIX + text((1).to_bytes(32, "big")) and len(key) == len(KEY_PREFIX) + 43
    assert not any(key.encode() in payload or key[len(KEY_PREFIX) :].encode() in payload for _, payload, _ in loop.records)
    assert key not in repr(loop.states) and loop.state.engines["mailer"].mac == loop.secrets.engine_key_mac("mailer", key)


def test_a_key_put_where_a_name_belongs_is_not_written_down(loop: EngineLoop) -> None:
    key = register(loop)
    assert cause(loop, "mailer", key) == "unknown"
    assert not check(loop, key, key, key).allowed
    assert refused(loop, "engines.register", {"engine_id": key, "capabilities": {}}).code == "invalid-argument"
    assert not any(key.encode() in payload for _, payload, _ in loop.records)


def test_one_key_is_good_for_one_engine(loop: EngineLoop) -> None:
    key = register(loop)
    other = register(loop, "planner")
    assert prove(loop, key) == 1 and prove(loop, other, "planner") == 1
    assert cause(loop, other) == "wrong-key" and cause(loop, key, "planner") == "wrong-key"


def test_every_failed_proof_has_one_answer_and_its_own_cause_on_record(loop: EngineLoop) -> None:
    key = register(loop)
    assert cause(loop, key, "nobody") == "unknown"
    assert cause(loop, key[:-1]) == "wrong-key" and cause(loop, key + "A") == "wrong-key"
    loop.ask("engines.suspend", {"engine_id": "mailer"})
    assert cause(loop, key) == "suspended" and cause(loop, "irk_x") == "wrong-key"
    loop.ask("engines.revoke", {"engine_id": "mailer"})
    assert cause(loop, key) == "revoked"
    assert loop.state.proofs_refused == 6


def test_an_unknown_engine_costs_the_same_comparisons(loop: EngineLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.control import registry

    register(loop)
    counted: list[tuple[int, int]] = []

    def counting(one: str, other: str) -> bool:
        counted.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr(registry, "same", counting)
    for engine_id in ("mailer", "nobody"):
        cause(loop, "irk_wrong", engine_id)
    assert counted[:2] == counted[2:] == [(64, 64), (64, 64)]


def test_a_name_is_never_given_twice_not_even_after_revocation(loop: EngineLoop) -> None:
    register(loop)
    assert refused(loop, "engines.register", {"engine_id": "mailer", "capabilities": {}}).code == "already-exists"
    loop.ask("engines.revoke", {"engine_id": "mailer"})
    assert refused(loop, "engines.register", {"engine_id": "mailer", "capabilities": {}}).code == "already-exists"


def test_a_rotated_key_ends_the_old_one_at_once_unless_it_has_a_grace(loop: EngineLoop) -> None:
    first = register(loop)
    second = loop.decide("engines.rotate_key", {"engine_id": "mailer"}).answer
    assert (second.key, second.old_key_until) == (2, None)
    assert cause(loop, first) == "wrong-key" and prove(loop, second.engine_key) == 2 and not stands(loop, 1)
    third = loop.decide("engines.rotate_key", {"engine_id": "mailer", "grace_s": 60.0}).answer
    assert prove(loop, second.engine_key) == 2 and prove(loop, third.engine_key) == 3 and third.old_key_until is not None
    assert stands(loop, 2) and stands(loop, 3) and not stands(loop, 1)
    loop.run(59.999999)
    assert prove(loop, second.engine_key) == 2 and stands(loop, 2)
    loop.run(0.000001)
    assert cause(loop, second.engine_key) == "old-key" and not stands(loop, 2) and stands(loop, 3)


def test_there_is_at_most_one_old_key(loop: EngineLoop) -> None:
    keys = [register(loop)]
    for _ in range(2):
        keys.append(loop.decide("engines.rotate_key", {"engine_id": "mailer", "grace_s": 3600.0}).answer.engine_key)
    assert cause(loop, keys[0]) == "wrong-key" and [prove(loop, key) for key in keys[1:]] == [2, 3]


@pytest.mark.parametrize(
    ("down_s", "wall_jump_s", "good"),
    [(10.0, 0.0, True), (49.0, 0.0, True), (50.0, 0.0, False), (0.0, -11.0, False), (0.0, 60.0, False), (49.0, -40.0, True)],
)
def test_after_a_reboot_grace_runs_on_the_wall_clock_and_never_before_the_rotation(
    loop: EngineLoop, down_s: float, wall_jump_s: float, good: bool
) -> None:
    first = register(loop)
    loop.ask("engines.rotate_key", {"engine_id": "mailer", "grace_s": 60.0})
    loop.run(10.0)
    loop.restart(down_s, reboot=True, wall_jump_s=wall_jump_s)
    assert stands(loop, 1) == good
    assert (prove(loop, first) == 1) == good


@pytest.mark.parametrize("wall_jump_s", [-1e6, 1e6])
def test_within_one_boot_the_wall_clock_has_no_say_in_a_grace(loop: EngineLoop, wall_jump_s: float) -> None:
    first = register(loop)
    loop.ask("engines.rotate_key", {"engine_id": "mailer", "grace_s": 60.0})
    loop.restart(59.0, wall_jump_s=wall_jump_s)
    assert prove(loop, first) == 1
    loop.run(1.0)
    assert cause(loop, first) == "old-key"


def test_a_grace_has_an_end_and_is_never_negative(loop: EngineLoop) -> None:
    import msgspec

    register(loop)
    for grace_s in (-1.0, 2_592_001.0, float("inf"), float("nan")):
        with pytest.raises(msgspec.ValidationError):
            loop.ask("engines.rotate_key", {"engine_id": "mailer", "grace_s": grace_s})


# --- standing ---------------------------------------------------------------------------------------------------------------


def test_suspension_and_its_end_and_revocation_take_effect_at_once(loop: EngineLoop) -> None:
    register(loop, gmail=["send_email"])
    loop.ask("platforms.define", {"platform": "gmail", "actions": {"send_email": ["mail.send"]}})
    assert stands(loop, 1) and check(loop).allowed
    loop.ask("engines.suspend", {"engine_id": "mailer"})
    assert not stands(loop, 1) and check(loop).reason == "engine-suspended"
    loop.ask("engines.unsuspend", {"engine_id": "mailer"})
    assert stands(loop, 1) and check(loop).allowed
    loop.ask("engines.revoke", {"engine_id": "mailer"})
    assert not stands(loop, 1) and check(loop).rule == "engine:mailer.revoked"
    for verb in ("suspend", "unsuspend", "rotate_key", "set_permissions"):
        assert refused(loop, f"engines.{verb}", {"engine_id": "mailer"}).code == "failed-precondition"


def test_doing_again_what_is_done_writes_nothing(loop: EngineLoop) -> None:
    register(loop, gmail=["send"])
    loop.ask("platforms.define", {"platform": "gmail", "actions": {"send": ["b", "a", "a"]}})
    loop.ask("config.set_flag", {"flag": "gmail", "enabled": True})
    loop.ask("config.set", {"key": "retry.attempts", "value": 9})
    for verb, params in [
        ("engines.unsuspend", {"engine_id": "mailer"}),
        ("engines.set_permissions", {"engine_id": "mailer"}),
        ("engines.set_permissions", {"engine_id": "mailer", "allow": {"gmail": ["send", "send"], "slack": []}, "deny": {}}),
        ("platforms.define", {"platform": "gmail", "actions": {"send": ["a", "b"]}}),
        ("platforms.set_status", {"platform": "gmail", "status": "available"}),
        ("config.set_flag", {"flag": "gmail", "enabled": True}),
        ("config.set", {"key": "retry.attempts", "value": 9}),
        ("config.set", {"key": "retry.base_s", "value": None}),
    ]:
        assert loop.ask(verb, params) == [], verb
    loop.ask("engines.revoke", {"engine_id": "mailer"})
    assert loop.ask("engines.revoke", {"engine_id": "mailer"}) == []


def test_whatever_changes_a_rule_is_what_permissions_rest_on(loop: EngineLoop) -> None:
    """And nothing else is: an engine's call need not wait for judgements and proofs."""
    assert loop.state.changed_seq == -1
    key = register(loop)
    for verb, params, changes in [
        ("engines.set_permissions", {"engine_id": "mailer", "allow": {"x": ["y"]}}, True),
        ("platforms.define", {"platform": "x", "actions": {"y": []}}, True),
        ("platforms.set_status", {"platform": "x", "status": "disabled"}, True),
        ("config.set_flag", {"flag": "x.y", "enabled": False}, True),
        ("engines.validate", {"engine_id": "mailer", "engine_key": key}, False),
        ("engines.validate", {"engine_id": "mailer", "engine_key": "irk_"}, False),
        ("actions.check", {"engine_id": "mailer", "platform": "x", "action_type": "y"}, False),
        ("config.set", {"key": "retry.attempts", "value": 9}, False),
        ("engines.rotate_key", {"engine_id": "mailer", "grace_s": 5.0}, True),
        ("engines.suspend", {"engine_id": "mailer"}, True),
        ("engines.unsuspend", {"engine_id": "mailer"}, True),
        ("engines.revoke", {"engine_id": "mailer"}, True),
    ]:
        before = loop.state.changed_seq
        loop.ask(verb, params, ROOT)
        assert loop.state.changed_seq == (len(loop.records) - 1 if changes else before), verb


# --- permissions ------------------------------------------------------------------------------------------------------------


def test_each_map_that_is_given_replaces_the_one_before_and_the_revision_guards_it(loop: EngineLoop) -> None:
    register(loop, gmail=["send"], slack=["post"])
    loop.ask("engines.set_permissions", {"engine_id": "mailer", "deny": {"slack": ["post"]}, "if_rev": 1})
    loop.ask("engines.set_permissions", {"engine_id": "mailer", "allow": {"gmail": ["read"]}, "if_rev": 2})
    view = loop.look("engines.get", {"engine_id": "mailer"})
    assert (view.allow, view.deny, view.rev, view.registered_by) == ({"gmail": ["read"]}, {"slack": ["post"]}, 3, "uid:0")
    error = refused(loop, "engines.set_permissions", {"engine_id": "mailer", "allow": {}, "if_rev": 2})
    assert (error.code, error.data) == ("aborted", {"rev": 3})


def test_unknown_engines_and_platforms_are_not_found_with_the_nearest_name(loop: EngineLoop) -> None:
    register(loop)
    loop.ask("platforms.define", {"platform": "gmail", "actions": {}})
    for verb in ("get", "suspend", "revoke", "rotate_key", "set_permissions"):
        with pytest.raises(Refused, match=r"no engine mailr\. Did you mean mailer\?") as error:
            (loop.look if verb == "get" else loop.ask)(f"engines.{verb}", {"engine_id": "mailr"})
        assert error.value.code == "not-found"
    assert "Did you mean gmail?" in refused(loop, "platforms.set_status", {"platform": "gmial", "status": "disabled"}).detail


def test_everything_is_bounded(loop: EngineLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.control import hub, platforms, registry

    assert (ENGINES_MAX, RULES_MAX) == (10_000, 500_000)
    register(loop, x=["a", "b"])
    monkeypatch.setattr(registry, "RULES_MAX", 3)
    assert refused(loop, "engines.register", {"engine_id": "b", "capabilities": {"x": ["a", "b"]}}).reason == "rules"
    loop.ask("engines.set_permissions", {"engine_id": "mailer", "deny": {"x": ["a"]}})
    assert refused(loop, "engines.set_permissions", {"engine_id": "mailer", "deny": {"x": ["a", "b"]}}).reason == "rules"
    loop.ask("engines.set_permissions", {"engine_id": "mailer", "allow": {}, "deny": {"x": ["a", "b", "c"]}})
    monkeypatch.setattr(registry, "ENGINES_MAX", 1)
    monkeypatch.setattr(platforms, "PLATFORMS_MAX", 0)
    monkeypatch.setattr(hub, "FLAGS_MAX", 0)
    for verb, params, reason in [
        ("engines.register", {"engine_id": "b", "capabilities": {}}, "engines"),
        ("platforms.define", {"platform": "x", "actions": {}}, "platforms"),
        ("config.set_flag", {"flag": "x", "enabled": True}, "flags"),
    ]:
        error = refused(loop, verb, params)
        assert (error.code, error.reason) == ("resource-exhausted", reason)


def test_lists_come_in_pages_by_name(loop: EngineLoop) -> None:
    for name in ("c", "a", "b"):
        register(loop, name, x=["y"])
        loop.ask("platforms.define", {"platform": name, "actions": {"y": ["z"]}})
    for verb, field, key in [("engines.list", "engines", "engine_id"), ("platforms.list", "platforms", "platform")]:
        first = loop.look(verb, {"limit": 2})
        assert [getattr(row, key) for row in getattr(first, field)] == ["a", "b"] and first.next == "b"
        rest = loop.look(verb, {"limit": 2, "after": first.next})
        assert [getattr(row, key) for row in getattr(rest, field)] == ["c"] and rest.next is None
    assert loop.look("platforms.list").platforms[0].actions == {"y": ["z"]}


def test_whatever_is_listed_fits_a_frame(loop: EngineLoop) -> None:
    """A page ends by its size too, and the flags, of which there are no pages, are few enough for their longest names."""
    actions = {f"a{number:03d}".ljust(54, "x"): ["s" * 40] for number in range(480)}
    names = [f"p{number:02d}" for number in range(40)]
    for name in names:
        loop.ask("platforms.define", {"platform": name, "actions": actions}, ROOT)
    seen, after, pages = [], None, 0
    while pages == 0 or after is not None:
        page = loop.look("platforms.list", {"after": after} if after else {})
        assert len(done(1, page)) <= FRAME_MAX
        seen += [row.platform for row in page.platforms]
        after, pages = page.next, pages + 1
    assert seen == names and pages > 1
    for number in range(FLAGS_MAX):
        flag = f"{number:04d}".ljust(64, "f") + "." + "g" * 64
        loop.state.flags[flag] = Flag(False, 2**31)
    assert len(done(1, loop.look("config.global", {}))) <= FRAME_MAX


def test_a_key_that_this_version_does_not_know_can_still_be_unset(loop: EngineLoop) -> None:
    """Else what an older version set would trouble the daemon's health for ever."""
    loop.state.keys["limits.of_old"] = Key(7, 1, 0, "uid:0")
    assert refused(loop, "config.set", {"key": "limits.of_old", "value": 8}).code == "not-found"
    [event] = loop.ask("config.set", {"key": "limits.of_old", "value": None}, ROOT)
    assert event.event_type == "config.key_unset" and loop.state.overrides() == {}
    assert refused(loop, "config.set", {"key": "limits.of_new", "value": None}).code == "not-found"


def test_the_answer_of_unsetting_a_key_names_those_that_no_longer_fit(loop: EngineLoop) -> None:
    """And the event does, so that a repeat of the call is answered the same."""
    reply = loop.world.rows["config.set"].reply
    assert reply is not None
    for key, value in (("pools.compute.ceiling", 200), ("pools.compute.floor", 150), ("retry.attempts", 9)):
        loop.ask("config.set", {"key": key, "value": value}, ROOT)
    assert reply(loop.ask("config.set", {"key": "retry.attempts", "value": None}, ROOT)) == KeyChanged("retry.attempts", 2, False)
    events = loop.ask("config.set", {"key": "pools.compute.ceiling", "value": None}, ROOT)
    assert reply(events) == KeyChanged("pools.compute.ceiling", 2, False, ["pools.compute.floor"])
    assert loop.events[-1] == events[0]
    settings, left_out = overlaid(loop.settings, loop.state.overrides())
    assert list(left_out) == ["pools.compute.floor"] and settings.pools.compute.floor != 150, "as it then is"
    events = loop.ask("config.set", {"key": "pools.compute.floor", "value": None}, ROOT)
    assert reply(events).left_out == []


# --- judgements as records --------------------------------------------------------------------------------------------------


def test_the_flow_of_the_source_as_it_is_written_there(loop: EngineLoop) -> None:
    register(loop, "action", gmail=["send_email"])
    loop.ask("platforms.define", {"platform": "gmail", "actions": {"send_email": ["mail.send"]}})
    found = check(loop, "action")
    assert (found.allowed, found.required_scopes) == (True, ["mail.send"])
    assert (found.reason, found.rule) == ("permitted", "engine:action.allow.gmail.send_email") and found.request_id
    loop.ask("platforms.set_status", {"platform": "gmail", "status": "maintenance"})
    found = check(loop, "action")
    assert (found.allowed, found.required_scopes, found.rule) == (False, [], "platform:gmail.status.maintenance")


def test_each_judgement_is_a_record_of_its_own_with_its_own_request(loop: EngineLoop) -> None:
    answers = [check(loop, "nobody") for _ in range(3)]
    assert [kind for kind, _, _ in loop.records] == ["action.checked"] * 3
    assert len({answer.request_id for answer in answers}) == 3 and loop.state.denied == 3


def test_an_error_while_judging_denies_and_is_on_record(loop: EngineLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.control import checks

    def broken(*args: Any) -> Any:
        raise KeyError("a bug")

    monkeypatch.setattr(checks, "judge", broken)
    found = check(loop)
    assert (found.allowed, found.reason, found.rule, found.required_scopes) == (False, "error", "error", [])
    assert loop.events[-1].status == "error" and loop.state.errors == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("actor", "about", "free"),
    [
        (Actor("uid:5", "operator", 5), "mailer", True),
        (Actor("uid:5", "admin", 5), "mailer", True),
        (Actor("engine:planner", "operator", 5), "mailer", True),
        (MAILER, "mailer", True),
        (Actor("engine:planner", "engine", 5), "mailer", False),
        (Actor("uid:5", "engine", 5), "mailer", False),
        (Actor("uid:5", "viewer", 5), "mailer", False),
        (Actor("uid:5", "sensor", 5), "mailer", False),
        (MAILER, "nobody", False),
        (MAILER, "Mailer", False),
    ],
)
def test_only_operators_and_admins_may_ask_about_an_engine_they_did_not_prove_to_be(
    loop: EngineLoop, actor: Actor, about: str, free: bool
) -> None:
    register(loop, gmail=["send_email"])
    loop.ask("platforms.define", {"platform": "gmail", "actions": {"send_email": []}})
    found = check(loop, about, actor=actor)
    assert found.allowed == free and (found.reason == "identity") == (not free)


def test_the_judge_is_small_enough_to_be_read_whole() -> None:
    with open(policy_module.__file__) as source:
        assert len(source.readlines()) <= 200


# --- flags and configuration ------------------------------------------------------------------------------------------------


def test_flags_count_their_revisions(loop: EngineLoop) -> None:
    loop.ask("config.set_flag", {"flag": "gmail", "enabled": False, "if_rev": 0})
    assert refused(loop, "config.set_flag", {"flag": "gmail", "enabled": True, "if_rev": 0}).data == {"rev": 1}
    loop.ask("config.set_flag", {"flag": "gmail", "enabled": True, "if_rev": 1})
    found = loop.look("config.global")
    assert (found.flags, found.revs) == ({"gmail": True}, {"gmail": 2}) and found.api_versions["wire"] == "1"


def test_a_key_is_set_and_unset_and_its_revision_never_counts_backwards(loop: EngineLoop) -> None:
    def change(value: Any, **more: Any) -> Decision:
        return loop.decide("config.set", {"key": "retry.attempts", "value": value, **more}, ROOT)

    change(7, if_rev=0)
    assert loop.state.overrides() == {"retry.attempts": 7}
    change(8, if_rev=1)
    change(None, if_rev=2)
    assert loop.state.overrides() == {} and refused(
        loop, "config.set", {"key": "retry.attempts", "value": 7, "if_rev": 0}
    ).data == {"rev": 3}
    change(9, if_rev=3)
    found = loop.look("config.get", {"key": "retry.attempts"})
    assert found.set["retry.attempts"].value == 9 and found.revs == {"retry.attempts": 4}
    assert found.set["retry.attempts"].by == "uid:0"
    assert found.values == {"retry.attempts": 5}, "in force is what the daemon has taken up"


@pytest.mark.parametrize(
    ("key", "value", "code", "said"),
    [
        ("retry.attempts", 0, "invalid-argument", "retry.attempts: expected int >= 1, got 0"),
        ("retry.attempts", "5", "invalid-argument", 'retry.attempts: expected int, got "5"'),
        ("retry.attempts", True, "invalid-argument", "retry.attempts: expected int, got true"),
        ("retry.attempts", 5.5, "invalid-argument", "retry.attempts: expected int, got 5.5"),
        ("retry.base_s", float("inf"), "invalid-argument", "retry.base_s: expected a finite number, got inf"),
        ("logging.level", "loud", "invalid-argument", 'logging.level: expected one of debug, info, warning, error, got "loud"'),
        (
            "pools.compute.floor",
            65,
            "invalid-argument",
            "pools.compute.floor is 65 and must not be above pools.compute.ceiling, 64",
        ),
        ("jobs.roots", {"everything": "/"}, "failed-precondition", "stands in the file alone"),
        ("retry.attemps", 5, "not-found", "Did you mean retry.attempts?"),
        ("retry", {}, "invalid-argument", "retry is a table; set one of its keys: retry.attempts"),
        ("config_version", 1, "not-found", "no key config_version can be set"),
        ("access.admin", ["uid:1"], "failed-precondition", "stands in the file alone"),
        ("access", {}, "failed-precondition", "stands in the file alone"),
        ("access.roles.x.allow", [], "failed-precondition", "stands in the file alone"),
    ],
)
def test_a_value_is_judged_in_the_words_of_the_file(loop: EngineLoop, key: str, value: Any, code: str, said: str) -> None:
    error = refused(loop, "config.set", {"key": key, "value": value})
    assert error.code == code and said in error.detail
    assert not loop.state.keys


def test_keys_are_judged_beside_those_already_set(loop: EngineLoop) -> None:
    loop.ask("config.set", {"key": "pools.compute.ceiling", "value": 100}, ROOT)
    loop.ask("config.set", {"key": "pools.compute.floor", "value": 90}, ROOT)
    error = refused(loop, "config.set", {"key": "pools.compute.ceiling", "value": 80})
    assert "pools.compute.floor is 90 and must not be above pools.compute.ceiling, 80" in error.detail


def test_no_key_of_access_and_every_other_live_key_can_be_set() -> None:
    from core.setting_rules import FILE_ONLY, LIVE_KEYS

    assert {key.partition(".")[0] for key in LIVE_KEYS} == LIVE - FILE_ONLY and "access" in FILE_ONLY


def test_set_keys_lie_over_the_file_and_what_does_not_fit_costs_no_other() -> None:
    from core.setting_rules import overlaid

    file = Settings(pools=Pools(compute=Pool(floor=1, ceiling=5)))
    settings, left_out = overlaid(file, {"pools.compute.floor": 8, "pools.compute.ceiling": 9, "retry.attempts": 2})
    assert (settings.pools.compute.floor, settings.pools.compute.ceiling, settings.retry.attempts, left_out) == (8, 9, 2, {})
    assert settings.pools.storage == file.pools.storage and file.retry.attempts == 5
    settings, left_out = overlaid(file, {"pools.compute.floor": 8, "retry.attempts": 2, "gone.key": 1, "retry.base_s": "x"})
    assert (settings.pools.compute.floor, settings.retry.attempts) == (1, 2)
    assert set(left_out) == {"pools.compute.floor", "gone.key", "retry.base_s"}
    assert "must not be above pools.compute.ceiling, 5" in left_out["pools.compute.floor"]
