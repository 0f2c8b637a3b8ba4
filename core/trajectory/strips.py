"""Grounded planning problems as programs of rules, by the usual relaxation: nothing that was reached is ever lost again.

An action becomes a rule from what it needs to what it adds, at its cost. One that adds several atoms becomes a rule to an atom of
its own, which costs what the action costs, and from there rules that cost nothing, so that it is paid once however many of them are
wanted. What it deletes is left out, and so is any condition that something does not hold. The least cost of a spine is therefore
never above that of a plan (Bonet and Geffner, 2001), and the order of a spine need not be one in which a plan could be carried out.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from core.trajectory.commands import Cost
from core.trajectory.events import Symbol

_LOOSE = re.compile(r"[\s(),]+")
_LEFT_OUT = re.compile(r"[^A-Za-z0-9._:@/-]")
NAME_MAX = 64
DONE = "done "
"""In front of the name of an action: the atom that says that it was taken."""


class Not(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"atom": "not"}):
    """A condition that something does not hold: the relaxation leaves it out."""

    atom: Symbol


class Action(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"delete": "del"}):
    """An action with all its arguments filled in."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    add: list[Symbol]
    pre: list[Symbol | Not] = []
    delete: list[Symbol] = []
    cost: Cost = 1.0
    group: str | None = None


class BadProblem(ValueError):
    """It is no such problem. Says which action, and why."""


def problem_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """A problem {"init": [...], "goal": [...], "actions": [{"name", "pre", "add", "del", "cost"}]} as facts, rules and goals."""
    strange = sorted(set(document) - {"init", "goal", "actions"})
    if strange:
        raise BadProblem(f"it has {', '.join(strange)}; such a problem has init, goal and actions")
    rules: list[dict[str, Any]] = []
    named: dict[str, int] = {}
    for place, given in enumerate(_list(document, "actions")):
        try:
            action = msgspec.convert(given, Action, strict=True)
        except msgspec.ValidationError as error:
            name = given.get("name", "") if isinstance(given, Mapping) else ""
            raise BadProblem(f"action {place + 1}{f', {name},' if name else ''} cannot be taken: {error}") from None
        name = name_of(action.name)
        if not name or name in named:
            other = f"is named like action {named[name] + 1}" if name else "has a name without letters and digits"
            raise BadProblem(f"action {place + 1}, {action.name}, {other}")
        named[name] = place
        rules += _rules(action, name)
    return {"facts": _list(document, "init"), "rules": rules, "goals": _list(document, "goal")}


def name_of(action: str) -> str:
    """`(move ball-1 room a)` as the name of a rule: `move:ball-1:room:a`."""
    spaced = _LOOSE.sub(" ", action).strip().replace(" ", ":")
    return _LEFT_OUT.sub("-", spaced).lstrip("._:@/-")[: NAME_MAX - 5]


def _list(document: Mapping[str, Any], name: str) -> Sequence[Any]:
    found = document.get(name, [])
    if not isinstance(found, list):
        raise BadProblem(f"{name} is no list")
    return found


def _rules(action: Action, name: str) -> list[dict[str, Any]]:
    premises = [needed for needed in action.pre if isinstance(needed, str)]
    whose = {"group": action.group} if action.group is not None else {}
    effects = list(dict.fromkeys(action.add))
    if len(effects) == 1:
        return [{"rule_id": name, "premises": premises, "conclusion": effects[0], "cost": action.cost, **whose}]
    if not effects:
        return []
    done = DONE + name
    paid = {"rule_id": name, "premises": premises, "conclusion": done, "cost": action.cost, **whose}
    free = [
        {"rule_id": f"{name}/{place + 1}", "premises": [done], "conclusion": effect, "cost": 0, **whose}
        for place, effect in enumerate(effects)
    ]
    return [paid, *free]
