"""T9: the name of a spine is another one for whatever differs, and the same in any order and in any process."""

import os
import random
import subprocess
import sys

import pytest

from core.spine import Rule, Spine, fold
from tests.campaigns import ROOT, campaign, per_commit

AT_ONCE = 1_000
BASE = Spine(
    ("a", "b"),
    ("e", "f"),
    (
        Rule("r1", ("a",), "c", 1_000_000),
        Rule("r2", ("a", "b"), "d", 250_000, "north"),
        Rule("r3", ("c", "d"), "e", 0, "south"),
        Rule("r4", ("d",), "f", 3, "north"),
    ),
)


def perturbed(index: int) -> Spine:
    """The base with one thing that no other index has: a cost by so many millionths, or a name with a number."""
    kind, number = index % 8, index // 8 + 1
    facts, goals, rules = BASE
    place = number % len(rules)
    rule = rules[place]
    changed = (
        rule._replace(cost_micro=rule.cost_micro + number),
        rule._replace(rule_id=f"{rule.rule_id}.{number}"),
        rule._replace(conclusion=f"{rule.conclusion}{number}"),
        rule._replace(premises=(*rule.premises, f"p{number}")),
        rule._replace(group=f"g{number}"),
    )
    if kind < len(changed):
        return Spine(facts, goals, (*rules[:place], changed[kind], *rules[place + 1 :]))
    return (
        Spine((*facts, f"s{number}"), goals, rules),
        Spine(facts, (*goals, f"s{number}"), rules),
        Spine(facts, goals, (*rules, Rule(f"s{number}", (), "c", 0))),
    )[kind - len(changed)]


def shuffled(spine: Spine, index: int) -> Spine:
    draw = random.Random(index)
    rules = [
        rule._replace(
            premises=tuple(draw.sample([*rule.premises, *rule.premises[:1]], len({*rule.premises}) + bool(rule.premises)))
        )
        for rule in spine.rules
    ]
    facts, goals = [*spine.facts, spine.facts[0]], [*spine.goals, spine.goals[-1]]
    for listed in (rules, facts, goals):
        draw.shuffle(listed)
    return Spine(tuple(facts), tuple(goals), tuple(rules))


def distinct(first: int, count: int, seen: set[int]) -> bool:
    for index in range(first, first + count):
        spine = perturbed(index)
        name = fold(spine)
        if index % 10 == 0 and fold(shuffled(spine, index)) != name:
            return False
        short = int(name[:32], 16)
        if short in seen:
            return False
        seen.add(short)
    return True


def test_no_two_spines_that_differ_have_one_name():
    assert distinct(0, per_commit("T9-fold"), {int(fold(BASE)[:32], 16)})


@pytest.mark.campaign
def test_no_two_of_a_million():
    seen = {int(fold(BASE)[:32], 16)}
    campaign("T9-fold", lambda first: distinct(first, AT_ONCE, seen), AT_ONCE)


def test_another_process_gives_the_same_names():
    spines = [perturbed(index) for index in range(40)]
    program = f"from core.spine import Rule, Spine, fold\nprint([fold(spine) for spine in {spines!r}])"
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == f"{[fold(spine) for spine in spines]}\n"
