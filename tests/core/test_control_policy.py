"""The judge of actions against a slow, obvious oracle, and the laws it must keep whatever the rules are."""

import random
from typing import Any

import pytest

from core.control import ENGINE
from core.control.model import Control
from core.control.policy import Ruling, judge
from core.engine import IRER, Actor
from tests.core.engine_loop import ANN, EngineLoop

POLICIES, REQUESTS = 500, 200
IDS, PLATFORMS, ACTIONS = ["a", "b", "c"], ["p", "q", "r"], ["x", "y", "z"]
ACTORS = [
    ANN,
    Actor("uid:1", "engine", 1),
    Actor("engine:a", "engine", 1),
    Actor("engine:b", "operator", 1),
    Actor("uid:2", "admin", 2),
]


def oracle(story: list[tuple[str, dict[str, Any]]], actor: Actor, engine: str, platform: str, action: str) -> tuple[bool, str]:
    """Written from the rules alone, over the list of what was done: may it, and the stable word for why."""
    allow, deny, standing, actions, status, off = [dict[str, Any]() for _ in range(6)]
    for verb, given in story:
        who = given.get("engine_id", "")
        if verb == "engines.register":
            allow[who], deny[who], standing[who] = given["capabilities"], {}, "active"
        elif verb == "engines.set_permissions":
            allow[who], deny[who] = given["allow"], given["deny"]
        elif verb in ("engines.suspend", "engines.unsuspend", "engines.revoke"):
            standing[who] = {"suspend": "suspended", "unsuspend": "active", "revoke": "revoked"}[verb[8:]]
        elif verb == "platforms.define":
            actions[given["platform"]] = given["actions"]
        elif verb == "platforms.set_status":
            status[given["platform"]] = given["status"]
        else:
            off[given["flag"]] = not given["enabled"]
    rules = [
        (actor.role not in ("operator", "admin") and actor.name != "engine:" + engine, "identity"),
        (engine not in standing, "engine-unknown"),
        (standing.get(engine) != "active", f"engine-{standing.get(engine)}"),
        (platform not in actions, "platform-unknown"),
        (status.get(platform, "available") != "available", f"platform-{status.get(platform)}"),
        (action not in actions.get(platform, {}), "action-unknown"),
        (off.get(platform) or off.get(f"{platform}.{action}"), "flag-off"),
        (action in deny.get(engine, {}).get(platform, []), "denied"),
        (action not in allow.get(engine, {}).get(platform, []), "not-permitted"),
    ]
    return next(((False, why) for applies, why in rules if applies), (True, "permitted"))


def permissions(random: random.Random, often: float) -> dict[str, list[str]]:
    return {platform: [action for action in ACTIONS if random.random() < often] for platform in PLATFORMS if random.random() < 0.9}


def story(random: random.Random) -> list[tuple[str, dict[str, Any]]]:
    """What leads to a policy: some of each, so that many requests come far before a rule decides."""
    told: list[tuple[str, dict[str, Any]]] = []
    for engine in random.sample(IDS, 2):
        told.append(("engines.register", {"engine_id": engine, "capabilities": permissions(random, 0.7)}))
        if random.random() < 0.7:
            both = {"allow": permissions(random, 0.8), "deny": permissions(random, 0.3)}
            told.append(("engines.set_permissions", {"engine_id": engine, **both}))
        for verb, often in (("suspend", 0.3), ("unsuspend", 0.6), ("revoke", 0.1)):
            if random.random() < often:
                told.append((f"engines.{verb}", {"engine_id": engine}))
    for platform in random.sample(PLATFORMS, 2):
        actions = {action: [f"{platform}.{action}"] for action in ACTIONS if random.random() < 0.8}
        told.append(("platforms.define", {"platform": platform, "actions": actions}))
        if random.random() < 0.3:
            status = random.choice(["available", "maintenance", "disabled"])
            told.append(("platforms.set_status", {"platform": platform, "status": status}))
    for _ in range(random.randrange(3)):
        flag = random.choice(PLATFORMS) + random.choice(["", ".x", ".y", ".z"])
        told.append(("config.set_flag", {"flag": flag, "enabled": random.random() < 0.4}))
    return told


def told(steps: list[tuple[str, dict[str, Any]]]) -> Control:
    """The state that these steps lead to, through commands and events as in life."""
    loop = EngineLoop(ENGINE)
    for verb, params in steps:
        loop.ask(verb, params)
    state: Control = loop.state
    return state


def requests(seed: random.Random, count: int) -> list[tuple[Actor, str, str, str]]:
    ids, platforms, actions = [*IDS, "nobody"], [*PLATFORMS, "none"], [*ACTIONS, "nothing"]
    actors = [ANN, ANN, ANN, *ACTORS]
    return [(seed.choice(actors), seed.choice(ids), seed.choice(platforms), seed.choice(actions)) for _ in range(count)]


def test_100_000_judgements_agree_with_the_oracle() -> None:
    seed, reasons = random.Random(20260101), set()
    for _ in range(POLICIES):
        steps = story(seed)
        state = told(steps)
        for request in requests(seed, REQUESTS):
            ruling = judge(state, *request)
            assert (ruling.allowed, ruling.reason) == oracle(steps, *request), (steps, request)
            reasons.add(ruling.reason)
    assert len(reasons) == 12, "every rule decided at least once"


@pytest.fixture(scope="module")
def cases() -> list[tuple[list[tuple[str, dict[str, Any]]], Control]]:
    seed = random.Random(7)
    found = [story(seed) for _ in range(60)]
    return [(steps, told(steps)) for steps in found]


EVERY = [(engine, platform, action) for engine in [*IDS, "n"] for platform in [*PLATFORMS, "n"] for action in [*ACTIONS, "n"]]


def permitted(state: Control) -> set[tuple[str, str, str]]:
    return {each for each in EVERY if judge(state, ANN, *each).allowed}


def test_an_empty_policy_denies_everything() -> None:
    assert permitted(Control()) == set()


def test_whatever_is_permitted_was_allowed_by_name_with_the_scopes_of_its_platform(cases: Any) -> None:
    seen = 0
    for _, state in cases:
        for engine, platform, action in permitted(state):
            seen += 1
            assert action in state.engines[engine].allow[platform]
            found: Ruling = judge(state, ANN, engine, platform, action)
            assert found.scopes == state.platforms[platform].actions[action] == (f"{platform}.{action}",)
    assert seen > 100


def test_an_explicit_deny_wins_over_any_allowance_and_touches_nothing_else(cases: Any) -> None:
    for steps, state in cases:
        for each in list(permitted(state))[:3]:
            engine, platform, action = each
            view = state.engines[engine]
            deny = {key: sorted(view.deny.get(key, set()) | ({action} if key == platform else set())) for key in PLATFORMS}
            everything = {key: ACTIONS for key in PLATFORMS}
            denied = told([*steps, ("engines.set_permissions", {"engine_id": engine, "allow": everything, "deny": deny})])
            assert judge(denied, ANN, *each).rule == f"engine:{engine}.deny.{platform}.{action}"
            assert permitted(denied) >= permitted(state) - {each}


def test_allowing_more_never_takes_anything_away_and_denying_more_never_gives(cases: Any) -> None:
    for steps, state in cases:
        for engine in (each for each in state.engines if state.engines[each].standing != "revoked"):
            everything, view = {key: ACTIONS for key in PLATFORMS}, state.engines[engine]
            deny = {key: sorted(actions) for key, actions in view.deny.items()}
            allow = {key: sorted(actions) for key, actions in view.allow.items()}
            more = told([*steps, ("engines.set_permissions", {"engine_id": engine, "allow": everything, "deny": deny})])
            less = told([*steps, ("engines.set_permissions", {"engine_id": engine, "allow": allow, "deny": everything})])
            assert permitted(less) <= permitted(state) <= permitted(more)
            assert not any(each[0] == engine for each in permitted(less))


def test_turning_things_off_only_takes_away(cases: Any) -> None:
    for steps, state in cases:
        for name, step in [
            ("p", ("config.set_flag", {"flag": "p", "enabled": False})),
            ("p", ("platforms.set_status", {"platform": "p", "status": "maintenance"})),
            ("p", ("platforms.set_status", {"platform": "p", "status": "disabled"})),
        ]:
            if name in state.platforms:
                off = permitted(told([*steps, step]))
                assert off == {each for each in permitted(state) if each[1] != name}
        off = permitted(told([*steps, ("config.set_flag", {"flag": "q.x", "enabled": False})]))
        assert off == {each for each in permitted(state) if each[1:] != ("q", "x")}


def test_the_order_in_which_rules_came_does_not_matter(cases: Any) -> None:
    seed = random.Random(3)
    for steps, state in cases:
        engines = [step for step in steps if step[0].startswith("engines.")]
        others = [step for step in steps if not step[0].startswith("engines.")]
        of_engine = [[step for step in engines if step[1]["engine_id"] == id] for id in {step[1]["engine_id"] for step in engines}]
        seed.shuffle(of_engine)
        turned = [(verb, {**given, "capabilities": dict(reversed(given["capabilities"].items()))}) if "capabilities" in given
                  else (verb, given) for story in of_engine for verb, given in story]  # fmt: skip
        assert permitted(told(turned + others)) == permitted(told(others + turned)) == permitted(state)


def test_names_that_only_look_alike_are_different(cases: Any) -> None:
    """No case folding, no prefixes, no wildcards, no patterns: a name is its characters."""
    state = told(
        [
            ("engines.register", {"engine_id": "a", "capabilities": {"p": ["x"]}}),
            ("platforms.define", {"platform": "p", "actions": {"x": [], "xx": [], "X": []}}),
        ]
    )
    assert permitted(state) == {("a", "p", "x")}
    for each in [
        ("A", "p", "x"),
        ("a", "P", "x"),
        ("a", "p", "X"),
        ("a", "p", "xx"),
        ("a", "p", ".x"),
        ("*", "*", "*"),
        ("a", "p", "*"),
    ]:
        assert not judge(state, ANN, *each).allowed, each


def test_a_judgement_costs_the_same_lookups_whatever_the_number_of_rules() -> None:
    """Counted, not timed: reads of the tables by one judgement, with 3 rules and with 3,000."""

    class Counting(dict[str, Any]):
        reads = 0

        def get(self, key: Any, default: Any = None) -> Any:
            Counting.reads += 1
            return super().get(key, default)

        def __iter__(self) -> Any:
            raise AssertionError("a judgement walks no table")

    def reads(count: int) -> int:
        register = {"engine_id": "a", "capabilities": {"p": ["x"]}}
        state = told([("platforms.define", {"platform": "p", "actions": {"x": []}}), ("engines.register", register)])
        more = {f"e-{number}": state.engines["a"] for number in range(count)}
        state.engines = Counting(state.engines | more)
        state.platforms, state.flags = Counting(state.platforms), Counting(state.flags)
        Counting.reads = 0
        assert judge(state, ANN, "a", "p", "x").allowed
        return Counting.reads

    assert reads(3) == reads(3000) == 4


def test_only_irer_itself_asks_as_irer_and_no_role_of_that_name() -> None:
    """Whoever writes the configuration may call a role of their own `irer`: it is worth no more than any other."""
    loop = EngineLoop(ENGINE)
    loop.ask("platforms.define", {"platform": "p", "actions": {"x": []}})
    loop.ask("engines.register", {"engine_id": "a", "capabilities": {"p": ["x"]}})
    control = loop.world.states["control"]
    assert judge(control, IRER, "a", "p", "x").allowed
    assert judge(control, Actor("uid:7", "irer", 7), "a", "p", "x").reason == "identity"
