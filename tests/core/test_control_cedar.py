"""The judge of actions against Cedar, a policy language of others: the same rules written in it, and the same answers.

Cedar skips a rule that errs, so a forbid that asks for what is not there would allow: the rules below first ask whether it is.
Why something is denied has no words there; that is compared with the oracle of `test_control_policy`.
"""

import json
import random
from collections import Counter
from typing import Any

import pytest

from core.control.model import Control
from core.control.policy import judge
from tests.campaigns import campaign, per_commit
from tests.core.test_control_policy import requests, story, told

REQUESTS = 100
"""Of each policy."""

FOR_ALL = """
forbid(principal, action, resource) unless { context.asks_for_any || context.asker == principal };
forbid(principal, action, resource) unless { principal has standing && principal.standing == "active" };
forbid(principal, action, resource) unless { resource has status && resource.status == "available" };
forbid(principal, action, resource) unless { resource has actions && resource.actions.contains(context.wanted) };
"""


def policies(state: Control) -> str:
    """The rules of a state as Cedar has them."""
    written = [FOR_ALL]
    for name, engine in state.engines.items():
        for effect, held in (("permit", engine.allow), ("forbid", engine.deny)):
            for platform, actions in held.items():
                for action in actions:
                    written.append(f"{effect}({who(name)}, {what(action)}, {where(platform)});")
    for flag in (name for name, flag in state.flags.items() if not flag.enabled):
        platform, _, action = flag.partition(".")
        written.append(f"forbid(principal, {what(action) if action else 'action'}, {where(platform)});")
    return "\n".join(written)


def who(name: str) -> str:
    return f'principal == Engine::"{name}"'


def what(name: str) -> str:
    return f'action == Action::"{name}"'


def where(name: str) -> str:
    return f'resource == Platform::"{name}"'


def entities(state: Control) -> list[dict[str, Any]]:
    engines = [("Engine", name, {"standing": engine.standing}) for name, engine in state.engines.items()]
    platforms = [
        ("Platform", name, {"status": found.status, "actions": sorted(found.actions)}) for name, found in state.platforms.items()
    ]
    return [{"uid": {"type": kind, "id": name}, "attrs": attrs, "parents": []} for kind, name, attrs in engines + platforms]


def request(actor: Any, engine: str, platform: str, action: str) -> dict[str, Any]:
    asker = actor.name.removeprefix("engine:") if actor.name.startswith("engine:") else "none of them"
    return {
        "principal": f'Engine::"{engine}"',
        "action": f'Action::"{action}"',
        "resource": f'Platform::"{platform}"',
        "context": {
            "asks_for_any": actor.role in ("operator", "admin"),
            "asker": {"__entity": {"type": "Engine", "id": asker}},
            "wanted": action,
        },
    }


def agrees(index: int) -> dict[str, bool]:
    """One random policy, and a hundred requests of it."""
    cedarpy = pytest.importorskip("cedarpy")
    seed = random.Random(20_260_000 + index)
    state = told(story(seed))
    asked = requests(seed, REQUESTS)
    found = cedarpy.is_authorized_batch(
        [request(*each) for each in asked],
        cedarpy.PolicySet.from_str(policies(state)),
        cedarpy.Entities.from_json_str(json.dumps(entities(state))),
    )
    seen = {"an allowed one": False, "a denied one": False}
    for each, theirs in zip(asked, found, strict=True):
        ours = judge(state, *each).allowed
        assert ours is theirs.allowed, (policies(state), entities(state), each, theirs.diagnostics.errors)
        assert not theirs.diagnostics.errors, "a rule that errs is skipped: it would prove nothing"
        seen["an allowed one" if ours else "a denied one"] = True
    return seen


def test_thousands_of_judgements_are_cedars() -> None:
    seen: Counter[str] = Counter()
    for index in range(per_commit("T15-cedar")):
        seen.update({name: int(hit) for name, hit in agrees(index).items()})
    assert min(seen.values()) > per_commit("T15-cedar") / 4, "both answers come often enough to compare"


@pytest.mark.campaign
def test_a_hundred_thousand_judgements_are_cedars() -> None:
    campaign("T15-cedar", agrees)
