"""A proposal held against the record: what it says would change is what the judge would say after the change was made."""

import copy
import random
from collections import Counter
from typing import Any

import msgspec
import pytest

from core.control import diff
from core.control.checks import ActionChecked
from core.control.diff import Diff, Tally, proposed
from core.control.model import Control
from core.control.policy import judge
from core.engine import IRER, Refused
from tests.core.engine_loop import ANN
from tests.core.test_control_policy import ACTIONS, PLATFORMS, permissions, requests, story, told

Steps = list[tuple[str, dict[str, Any]]]


def proposal(seed: random.Random, state: Control) -> tuple[dict[str, Any], Steps]:
    """A change as it is proposed, and as it is made."""
    asked: dict[str, Any] = {"permissions": {}, "platforms": {}, "flags": {}}
    steps: Steps = []
    for engine_id in [each for each in state.engines if state.engines[each].standing != "revoked"][:2]:
        both = {"allow": permissions(seed, 0.5), "deny": permissions(seed, 0.3)}
        given = {name: both[name] for name in both if seed.random() < 0.7}
        asked["permissions"][engine_id] = given
        steps.append(("engines.set_permissions", {"engine_id": engine_id, **given}))
    platform = seed.choice(PLATFORMS)
    would_be: dict[str, Any] = {"actions": {action: [] for action in ACTIONS if seed.random() < 0.7}}
    steps.append(("platforms.define", {"platform": platform, "actions": would_be["actions"]}))
    if seed.random() < 0.4:
        would_be["status"] = seed.choice(["available", "maintenance"])
        steps.append(("platforms.set_status", {"platform": platform, "status": would_be["status"]}))
    asked["platforms"][platform] = would_be
    flag = f"{seed.choice(PLATFORMS)}.x"
    asked["flags"][flag] = seed.random() < 0.5
    steps.append(("config.set_flag", {"flag": flag, "enabled": asked["flags"][flag]}))
    return asked, steps


def test_what_a_proposal_would_change_is_what_changes_once_it_is_made() -> None:
    seed, seen = random.Random(21), Counter[str]()
    for _ in range(120):
        then, now = story(seed), story(seed)
        before, state = told(then), told([*then, *[step for step in now if step[0].startswith(("platforms", "config"))]])
        asked, steps = proposal(seed, state)
        params = msgspec.convert(asked, Diff, strict=True)
        kept = copy.deepcopy(state)
        would_be = proposed(state, params)
        after = copy.deepcopy(state)
        after = told_on(after, steps)
        tally, wanted = Tally(10_000), Counter[str]()
        for number, (actor, *action) in enumerate(requests(seed, 60)):
            ruling = judge(before, actor, *action)
            event = ActionChecked(f"r-{number}", *action, "allowed" if ruling.allowed else "denied", ruling.reason, ruling.rule)
            tally.add(event, 1_000_000 - number)
            if ruling.reason == "identity":
                wanted["left_out"] += 1
                continue
            made, today = judge(after, IRER, *action).allowed, judge(state, IRER, *action).allowed
            if made != ruling.allowed:
                wanted["already" if today == made else "would_allow" if made else "would_deny"] += 1
        found = tally.changes(state, would_be, True)
        for name in ("would_allow", "would_deny", "already", "left_out"):
            assert getattr(found, name) == wanted[name], name
        assert sum(row.count for row in found.changes) == wanted["would_allow"] + wanted["would_deny"] + wanted["already"]
        assert state == kept, "looking changed nothing"
        seen += wanted
    assert min(seen[name] for name in ("would_allow", "would_deny", "already", "left_out")) > 50, seen


def told_on(state: Control, steps: Steps) -> Control:
    """The same commands, put before a state that is there already."""
    from core.control import ENGINE
    from tests.core.engine_loop import EngineLoop

    loop = EngineLoop(ENGINE)
    loop.world.states["control"] = state
    for verb, params in steps:
        loop.ask(verb, params)
    found: Control = loop.state
    return found


RULES: Steps = [
    ("engines.register", {"engine_id": "mailer", "capabilities": {"gmail": ["send"]}}),
    ("platforms.define", {"platform": "gmail", "actions": {"send": [], "read": []}}),
]


def judged(number: int, action: str, status: Any) -> ActionChecked:
    return ActionChecked(f"r-{number}", "mailer", "gmail", action, status, "any", "any")


def test_the_answer_says_how_many_were_looked_at_since_when_and_gives_examples() -> None:
    state = told(RULES)
    tally = Tally(4)
    for number, (action, status) in enumerate([("send", "allowed"), ("read", "denied"), ("send", "allowed"), ("read", "error")]):
        assert not tally.is_full
        tally.add(judged(number, action, status), (9 - number) * 1_000_000)
    assert tally.is_full
    params = msgspec.convert({"permissions": {"mailer": {"allow": {"gmail": ["read"]}}}}, Diff)
    found = tally.changes(state, proposed(state, params), False)
    assert (found.looked_at, found.complete, found.would_allow, found.would_deny, found.already) == (4, False, 2, 2, 0)
    assert found.oldest_at == "1970-01-01T00:00:06.000000Z" and found.newest_at == "1970-01-01T00:00:09.000000Z"
    assert [(row.action_type, row.was, row.count, row.request_id, row.rule) for row in found.changes] == [
        ("send", "allowed", 2, "r-0", "default"),
        ("read", "denied", 1, "r-1", "engine:mailer.allow.gmail.read"),
        ("read", "error", 1, "r-3", "engine:mailer.allow.gmail.read"),
    ]


def test_no_more_kinds_are_shown_than_a_screen_bears_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diff, "CHANGES_SHOWN_MAX", 2)
    state, tally = told(RULES), Tally(99)
    for number in range(5):
        tally.add(judged(number, f"a{number}", "allowed"), number)
    found = tally.changes(state, state, True)
    assert len(found.changes) == 2 and found.changes_left_out == 3 and found.already == 5
    assert Tally(1).changes(state, state, True).oldest_at is None


@pytest.mark.parametrize(
    ("params", "code", "said"),
    [
        ({}, "invalid-argument", "nothing is proposed"),
        ({"permissions": {}}, "invalid-argument", "nothing is proposed"),
        ({"permissions": {"mailr": {"allow": {}}}}, "not-found", "Did you mean mailer"),
        ({"platforms": {"gmial": {"status": "disabled"}}}, "not-found", "Did you mean gmail"),
    ],
)
def test_what_cannot_be_proposed_is_refused(params: dict[str, Any], code: str, said: str) -> None:
    with pytest.raises(Refused, match=said) as refused:
        proposed(told(RULES), msgspec.convert(params, Diff))
    assert refused.value.code == code


def test_a_platform_that_is_not_there_yet_may_be_proposed_with_its_actions() -> None:
    state = told(RULES)
    params = {"platforms": {"slack": {"actions": {"post": ["chat"]}}}, "permissions": {"mailer": {"allow": {"slack": ["post"]}}}}
    would_be = proposed(state, msgspec.convert(params, Diff))
    assert judge(would_be, ANN, "mailer", "slack", "post").allowed and "slack" not in state.platforms
