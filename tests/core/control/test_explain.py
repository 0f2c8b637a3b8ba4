"""An explanation says what the judge says, names every obstacle, and doing what it says takes the obstacle away."""

import copy
import random
from typing import Any

import pytest

from core.control import ENGINE
from core.control.checks import ActionChecked, Decided
from core.control.explain import Explain, Step, asked, explain, explain_recorded, teller
from core.control.policy import judge
from core.engine import IRER, Actor, Refused
from tests.core.engine_loop import ANN, EngineLoop
from tests.core.test_control_policy import requests, story, told

POLICIES, REQUESTS = 60, 60
VIEWER = Actor("uid:3", "viewer", 3)
WHEN = "2026-01-01T00:00:00.000000Z"


def first_that_decides(steps: list[Step]) -> Step:
    return next(step for step in steps if step.outcome in ("denies", "allows"))


def test_an_explanation_is_what_actions_check_answers_and_its_deciding_step_is_the_rule_that_decided() -> None:
    seed, reasons = random.Random(11), set()
    for _ in range(POLICIES):
        state = told(story(seed))
        before = copy.deepcopy(state)
        for actor, *action in requests(seed, REQUESTS):
            ruling, found = judge(state, actor, *action), explain(state, actor, (action[0], action[1], action[2]), ["p.x"])
            assert (found.allowed, found.reason, found.rule) == ruling[:3] and found.required_scopes == list(ruling.scopes)
            decides = first_that_decides(found.steps)
            assert decides.rule == ruling.rule and (decides.outcome == "allows") is ruling.allowed
            assert [step.question for step in found.steps] == QUESTIONS
            assert all(bool(step.change) == (step.outcome in ("denies", "lacks")) and step.detail for step in found.steps)
            reasons.add(ruling.reason)
        assert state == before
    assert len(reasons) == 12, "every rule decided at least once"


QUESTIONS = [
    "identity", "engine", "standing", "platform", "status", "action", "flag-of-platform", "flag-of-action", "deny", "capability",
    "scopes",
]  # fmt: skip


def test_a_judgement_on_record_is_explained_by_what_it_says_itself_whatever_the_rules_became() -> None:
    seed, empty = random.Random(12), told([])
    for _ in range(POLICIES // 2):
        state = told(story(seed))
        for actor, *action in requests(seed, REQUESTS):
            ruling = judge(state, actor, *action)
            status: Any = "allowed" if ruling.allowed else "denied"
            event = ActionChecked("r-1", *action, status, ruling.reason, ruling.rule, " ".join(ruling.scopes))
            row = Decided("r-1", *action, status, WHEN, ruling.reason, ruling.rule, actor.name, 7)
            found = explain_recorded(empty, ANN, event, row)
            assert (found.allowed, found.reason, found.rule, found.recorded) == (*ruling[:3], row)
            live = explain(state, actor, (action[0], action[1], action[2]))
            decides = first_that_decides(live.steps)
            place = live.steps.index(decides)
            assert [step.question for step in found.steps] == QUESTIONS[:-1] and found.steps[place].rule == ruling.rule
            outcomes = [step.outcome for step in found.steps]
            assert outcomes == ["passes"] * place + [decides.outcome] + ["not-asked"] * (len(outcomes) - place - 1)
            assert found.now is not None and (found.now.allowed, found.now.reason) == (False, "engine-unknown")


def test_what_could_not_be_judged_says_so() -> None:
    event = ActionChecked("r-1", "a", "p", "x", "error", "error", "error")
    row = Decided("r-1", "a", "p", "x", "error", WHEN, "error", "error", "uid:1", 7)
    found = explain_recorded(told([]), ANN, event, row)
    assert not found.allowed and [step.outcome for step in found.steps] == ["denies"]


def test_every_obstacle_is_named_at_once_and_what_is_told_to_change_it_changes_it() -> None:
    loop = EngineLoop(ENGINE)
    action = ("mailer", "gmail", "send_email")

    def obstacles() -> list[str]:
        return [step.question for step in explain(loop.state, ANN, action).steps if step.outcome == "denies"]

    assert obstacles() == ["engine", "platform"]
    loop.ask("engines.register", {"engine_id": "mailer", "capabilities": {}})
    loop.ask("platforms.define", {"platform": "gmail", "actions": {"send_email": ["mail.send", "mail.read"]}})
    loop.ask("engines.set_permissions", {"engine_id": "mailer", "deny": {"gmail": ["send_email"]}})
    loop.ask("engines.suspend", {"engine_id": "mailer"})
    loop.ask("platforms.set_status", {"platform": "gmail", "status": "disabled"})
    loop.ask("config.set_flag", {"flag": "gmail", "enabled": False})
    loop.ask("config.set_flag", {"flag": "gmail.send_email", "enabled": False})
    left = ["standing", "status", "flag-of-platform", "flag-of-action", "deny", "capability"]
    for verb, params in [
        ("engines.unsuspend", {"engine_id": "mailer"}),
        ("platforms.set_status", {"platform": "gmail", "status": "available"}),
        ("config.set_flag", {"flag": "gmail", "enabled": True}),
        ("config.set_flag", {"flag": "gmail.send_email", "enabled": True}),
        ("engines.set_permissions", {"engine_id": "mailer", "deny": {}}),
        ("engines.set_permissions", {"engine_id": "mailer", "allow": {"gmail": ["send_email"]}}),
    ]:
        assert obstacles() == left
        loop.ask(verb, params)
        left = left[1:]
    assert obstacles() == []
    held = explain(loop.state, ANN, action, ["mail.read", "else"])
    assert held.allowed and held.missing_scopes == ["mail.send"] and held.steps[-1].outcome == "lacks"
    assert explain(loop.state, ANN, action, ["mail.read", "mail.send"]).missing_scopes == []
    assert explain(loop.state, ANN, action).missing_scopes is None


def test_a_viewer_is_told_what_an_operator_is_and_nobody_else_more_than_the_judge_tells_them() -> None:
    state = told(
        [
            ("engines.register", {"engine_id": "a", "capabilities": {"p": ["x"]}}),
            ("platforms.define", {"platform": "p", "actions": {"x": []}}),
        ]
    )
    assert explain(state, teller(VIEWER), ("a", "p", "x")).allowed
    for actor in (Actor("uid:1", "engine", 1), Actor("engine:b", "sensor", 1)):
        assert teller(actor) == actor and explain(state, teller(actor), ("a", "p", "x")).reason == "identity"
    assert teller(IRER) is IRER


@pytest.mark.parametrize(
    "params",
    [{}, {"request_id": "r", "scopes": ["x"]},
     {"engine_id": "a"}, {"engine_id": "a", "platform": "p"}, {"request_id": "r", "engine_id": "a"},
     {"request_id": "r", "engine_id": "a", "platform": "p", "action_type": "x"}],
)  # fmt: skip
def test_neither_an_action_nor_a_judgement_is_refused(params: dict[str, str]) -> None:
    with pytest.raises(Refused, match="or a request_id alone") as refused:
        asked(Explain(**params))
    assert refused.value.code == "invalid-argument"
