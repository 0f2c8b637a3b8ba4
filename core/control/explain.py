"""`actions.explain`: how a judgement comes about, rule by rule, now or as it stands on record. Looks only, and leaves no record.

The verdict is the judge's own; the steps beside it say what each rule found, also those after the one that decided, so that whoever
wants the action allowed sees everything that stands in the way at once. It is worth nothing as a permission: that is
`actions.check`, which is on record.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

from core.control.checks import ActionChecked, Decided
from core.control.model import Control, Scopes
from core.control.policy import ASK_FOR_ANY, judge
from core.engine import IRER, Actor, Command, Refused, Result
from core.fields import Code, Label, Name

Outcome = Literal["passes", "allows", "denies", "lacks", "not-asked"]
_ANSWERS: dict[bool, Outcome] = {True: "passes", False: "denies"}
_DECIDED_BY = {
    "identity": "identity",
    "engine-unknown": "engine",
    "engine-suspended": "standing",
    "engine-revoked": "standing",
    "platform-unknown": "platform",
    "platform-maintenance": "status",
    "platform-disabled": "status",
    "action-unknown": "action",
    "denied": "deny",
    "not-permitted": "capability",
    "permitted": "capability",
}
"""Which question gave which reason. `flag-off` has two: its rule says which."""


class Explain(Command):
    """An action, or a judgement on record.

    engine_id: the engine
    platform: where
    action_type: what
    scopes: those that the engine holds there, to see which are missing; they have no say in whether it may
    request_id: of a judgement on record, instead of the three
    """

    engine_id: Name | None = None
    platform: Name | None = None
    action_type: Name | None = None
    scopes: Scopes | None = None
    request_id: Name | None = None


class Step(Result, omit_defaults=False):
    """What one rule found.

    question: what was asked
    rule: the rule
    outcome: passes, allows or denies; lacks, of scopes; not-asked, where it was decided by then or there is nothing to ask
    detail: in words
    change: what would have to be done for it not to deny; empty where nothing has to
    """

    question: Code
    rule: Label
    outcome: Outcome
    detail: str
    change: str = ""


class Now(Result, omit_defaults=False):
    """How a question of then would come out now.

    allowed: whether the engine may
    reason: stable word for why
    rule: the rule that decides
    steps: what each rule finds
    """

    allowed: bool
    reason: Code
    rule: Label
    steps: list[Step]


class Explanation(Result, omit_defaults=False):
    """Why it may, or may not.

    allowed: whether the engine may; of a judgement on record, whether it might then
    reason: stable word for why
    rule: the rule that decided
    required_scopes: what the platform asks for; empty when not allowed
    steps: what each rule found, in the order in which they are asked; the first that denies decides
    missing_scopes: what the platform asks for beyond the scopes that were given; absent when none were given
    recorded: the judgement on record that is explained
    now: how it would come out now, of a judgement on record; what would change it stands there
    """

    allowed: bool
    reason: Code
    rule: Label
    required_scopes: list[str]
    steps: list[Step]
    missing_scopes: list[str] | None = None
    recorded: Decided | None = None
    now: Now | None = None


def asked(params: Explain) -> tuple[str, str, str] | None:
    """The action that is asked about, or None where it is a judgement on record. Raises Refused where it is neither."""
    action = (params.engine_id, params.platform, params.action_type)
    given = [each for each in action if each is not None]
    if params.request_id is not None and not given and params.scopes is None:
        return None
    if params.request_id is None and len(given) == len(action):
        return given[0], given[1], given[2]
    text = "name an engine, a platform and an action, or a request_id alone. Those on record: irerctl control log"
    raise Refused("invalid-argument", text, fields=[("request_id", "either this, or engine_id, platform and action_type")])


def teller(actor: Actor) -> Actor:
    """For whom it is judged: for whoever asks. A viewer, who may not ask `actions.check`, is told what an operator would be."""
    return Actor(actor.name, "operator", actor.uid) if actor.role == "viewer" else actor


def explain(control: Control, actor: Actor, action: tuple[str, str, str], scopes: Sequence[str] | None = None) -> Explanation:
    ruling = judge(control, actor, *action)
    found = [*_steps(control, actor, *action), *_scopes(control, action, scopes)]
    known = control.platforms.get(action[1])
    needed = known.actions.get(action[2], ()) if known is not None else ()
    missing = None if scopes is None else [scope for scope in needed if scope not in scopes]
    return Explanation(ruling.allowed, ruling.reason, ruling.rule, list(ruling.scopes), found, missing)


def explain_recorded(control: Control, actor: Actor, event: ActionChecked, row: Decided) -> Explanation:
    """As it was decided then, and beside it how the same question would come out now."""
    asker = actor if event.reason == "identity" else IRER
    now = explain(control, asker, (event.engine_id, event.platform, event.action_type))
    return Explanation(
        allowed=event.status == "allowed",
        reason=event.reason,
        rule=event.rule,
        required_scopes=event.scopes.split(),
        steps=_steps_then(event),
        recorded=row,
        now=Now(now.allowed, now.reason, now.rule, now.steps),
    )


def _steps(control: Control, actor: Actor, engine_id: str, platform: str, action: str) -> Iterator[Step]:
    yield _identity(actor, engine_id)
    yield from _engine(control, engine_id)
    yield from _platform(control, platform, action)
    yield from _flags(control, platform, action)
    yield from _permissions(control, engine_id, platform, action)


def _step(question: str, rule: str, passes: bool, good: str, bad: str, change: str) -> Step:
    return Step(question, rule, _ANSWERS[passes], good if passes else bad, "" if passes else change)


def _identity(actor: Actor, engine_id: str) -> Step:
    may_ask = actor.role in ASK_FOR_ANY or actor.name in (f"engine:{engine_id}", IRER.name)
    good = f"{actor.name} may ask about {engine_id}"
    bad = f"{actor.name} is neither operator nor admin, and asks about an engine it did not prove to be"
    change = f"{engine_id} asks for itself: engines.validate, then `as` on the call"
    return _step("identity", "identity", may_ask, good, bad, change)


def _engine(control: Control, engine_id: str) -> Iterator[Step]:
    engine = control.engines.get(engine_id)
    register = f"irerctl control register {engine_id}"
    known = f"{engine_id} is registered", f"no engine {engine_id} is registered"
    yield _step("engine", "engine.unknown", engine is not None, *known, register)
    if engine is None:
        yield Step("standing", f"engine:{engine_id}.standing", "not-asked", "there is no such engine")
        return
    change = f"irerctl control unsuspend {engine_id}" if engine.standing == "suspended" else "nothing: a revocation is for ever"
    rule = f"engine:{engine_id}." + ("standing" if engine.standing == "active" else engine.standing)
    said = f"{engine_id} is {engine.standing}"
    yield _step("standing", rule, engine.standing == "active", said, said, change)


def _platform(control: Control, platform: str, action: str) -> Iterator[Step]:
    known = control.platforms.get(platform)
    define = f"irerctl control platforms define {platform}"
    defined = f"{platform} is defined", f"no platform {platform} is defined"
    yield _step("platform", "platform.unknown", known is not None, *defined, define)
    if known is None:
        yield Step("status", f"platform:{platform}.status", "not-asked", "there is no such platform")
        yield Step("action", f"platform:{platform}.actions", "not-asked", "there is no such platform")
        return
    said, change = f"{platform} is {known.status}", f"irerctl control platforms set {platform} available"
    yield _step("status", f"platform:{platform}.status.{known.status}", known.status == "available", said, said, change)
    has = f"{platform} has an action {action}", f"{platform} has no action {action}"
    yield _step("action", f"platform:{platform}.actions", action in known.actions, *has, f"{define} with it among --actions")


def _flags(control: Control, platform: str, action: str) -> Iterator[Step]:
    for question, name in (("flag-of-platform", platform), ("flag-of-action", f"{platform}.{action}")):
        flag = control.flags.get(name)
        on = "was never set, so it is on" if flag is None else "is on"
        said = f"flag {name} {on}", f"flag {name} is off"
        yield _step(question, f"flag:{name}", flag is None or flag.enabled, *said, f"irerctl control flags set {name} true")


def _permissions(control: Control, engine_id: str, platform: str, action: str) -> Iterator[Step]:
    engine = control.engines.get(engine_id)
    rule = f"engine:{engine_id}.allow.{platform}.{action}"
    if engine is None:
        yield Step("deny", f"engine:{engine_id}.deny.{platform}.{action}", "not-asked", "there is no such engine")
        yield Step("capability", rule, "not-asked", "there is no such engine")
        return
    what, change = f"{platform}.{action}", f"irerctl control permissions set {engine_id}"
    denied = action in engine.deny.get(platform, ())
    told = f"nothing denies {what} to {engine_id}", f"{what} is denied to {engine_id}, and that wins over any allowance"
    yield _step("deny", f"engine:{engine_id}.deny.{platform}.{action}", not denied, *told, f"{change} with --deny without it")
    if action in engine.allow.get(platform, ()):
        yield Step("capability", rule, "allows", f"{engine_id} may do {what}")
    else:
        text = f"{what} is not among what {engine_id} may do, and what is not allowed by name is denied"
        yield Step("capability", "default", "denies", text, f"{change} with --allow that holds it")


def _scopes(control: Control, action: tuple[str, str, str], held: Sequence[str] | None) -> Iterator[Step]:
    known = control.platforms.get(action[1])
    needed = known.actions.get(action[2]) if known is not None else None
    rule = f"platform:{action[1]}.actions"
    if needed is None:
        yield Step("scopes", rule, "not-asked", "there is no such action")
    elif held is None:
        yield Step("scopes", rule, "not-asked", f"the platform asks for {_named(needed)}; none were given to compare")
    elif missing := [scope for scope in needed if scope not in held]:
        yield Step("scopes", rule, "lacks", f"missing: {_named(missing)}", "have the platform grant them to the engine")
    else:
        yield Step("scopes", rule, "passes", f"the platform asks for {_named(needed)}, and they are there")


def _named(scopes: Sequence[str]) -> str:
    return ", ".join(scopes) or "no scopes"


# --- as it was then ---------------------------------------------------------------------------------------------------------


def _steps_then(event: ActionChecked) -> list[Step]:
    """The first rule that has something to say decides: so all before it had nothing against it, and none after it was asked."""
    engine, what = f"engine:{event.engine_id}", f"{event.platform}.{event.action_type}"
    rules = {
        "identity": "identity",
        "engine": "engine.unknown",
        "standing": f"{engine}.standing",
        "platform": "platform.unknown",
        "status": f"platform:{event.platform}.status",
        "action": f"platform:{event.platform}.actions",
        "flag-of-platform": f"flag:{event.platform}",
        "flag-of-action": f"flag:{what}",
        "deny": f"{engine}.deny.{what}",
        "capability": f"{engine}.allow.{what}",
    }
    decided_by = _DECIDED_BY.get(event.reason, "flag-of-action" if event.rule == f"flag:{what}" else "flag-of-platform")
    if event.status == "error":
        return [Step("error", event.rule, "denies", "judging failed, and what cannot be judged is denied")]
    found, outcome = list[Step](), _ANSWERS[True]
    for question, rule in rules.items():
        if question == decided_by:
            outcome = "allows" if event.status == "allowed" else "denies"
            found.append(Step(question, event.rule, outcome, f"this decided: {event.reason}"))
            outcome = "not-asked"
        else:
            found.append(Step(question, rule, outcome, "it had been decided" if outcome == "not-asked" else "nothing against it"))
    return found
