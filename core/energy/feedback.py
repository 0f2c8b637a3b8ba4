"""`eil.feedback`: what became of an action or a prediction, told once by whose it is, moves what its owner's goals weigh.

A step is at most a twentieth, and no weight leaves a quarter to four times its default. Bounds, prices and thresholds are never
moved by what anybody says, and nobody moves another's weights.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta

from core.energy import act, acting, proving
from core.energy.act import Goal
from core.engine import Command, Context, Decision, Event, Refused, Result, Stamp
from core.fields import Name

STEP = 0.05
RANGE = 4.0
"""A weight stays between its default divided by this and its default times this."""
OWNERS_KEPT = 10_000

Weights = tuple[float, float, float]
Outcome = Literal["good", "bad", "more_energy", "unserved", "undone"]
Rating = Annotated[float, Meta(ge=0, le=1)]

SHORTFALLS: Mapping[str, Weights] = {
    "more_energy": (1.0, 0.0, 0.0),
    "unserved": (0.0, 1.0, 0.0),
    "undone": (0.0, 0.0, 1.0),
}
"""Which term was held too cheap."""
DOUBT: Weights = (0.0, -1.0, 0.0)
"""What a prediction that held says: uncertainty was priced too high; one that did not says the opposite."""


class Feedback(Command):
    """Tells what became of an action or a prediction; one of the two, and an outcome or a rating.

    prediction_id: as `sense` or `predict` gave it
    action_id: as `act` gave it
    outcome: good or bad; of an action also more_energy, unserved or undone: what turned out worse than was foreseen
    rating: 0 is worthless, 1 is as good as it gets
    """

    prediction_id: Name | None = None
    action_id: Name | None = None
    outcome: Outcome | None = None
    rating: Rating | None = None


class FeedbackGiven(Event, type="energy.feedback_given"):
    """Somebody told what became of an action or a prediction.

    owner: whose it is
    weights: what the goals of the owner weigh from here on, by goal: energy, entropy, irreversibility; those that moved
    prediction_id: of the prediction
    action_id: of the action
    outcome: as it was told
    rating: as it was told
    """

    owner: Name
    weights: dict[Goal, Weights]
    prediction_id: Name | None = None
    action_id: Name | None = None
    outcome: Outcome | None = None
    rating: Rating | None = None


class FeedbackAnswer(Result):
    """What feedback has moved.

    owner: whose weights they are
    weights: what the goals of the owner weigh from here on, by goal: energy, entropy, irreversibility; those that moved
    """

    owner: str
    weights: dict[Goal, Weights]


class _Rated(NamedTuple):
    """Whose it is, which goals it speaks of, and for which terms it speaks when it is good."""

    owner: str
    goals: tuple[Goal, ...]
    speaks: Weights


def decide_feedback(actions: acting.Actions, claims: proving.Claims, command: Feedback, ctx: Context) -> Decision:
    if (command.prediction_id is None) == (command.action_id is None):
        raise _one_of("prediction_id", "action_id")
    if (command.outcome is None) == (command.rating is None):
        raise _one_of("outcome", "rating")
    if command.action_id is not None:
        rated = _action(actions, command.action_id)
    else:
        assert command.prediction_id is not None
        rated = _prediction(claims, command.prediction_id, command.outcome, ctx)
    if ctx.actor.name != rated.owner and ctx.actor.role not in ("admin", "irer"):
        text = f"{command.action_id or command.prediction_id} belongs to {rated.owner}, who says what became of it, or an admin"
        raise Refused("permission-denied", text, reason="owner")
    push = _push(rated.speaks, command)
    weights: dict[Goal, Weights] = {}
    for goal in rated.goals:
        before = acting.weights_of(actions, rated.owner, goal)
        after = moved(before, act.GOALS[goal], push)
        if after != before:
            weights[goal] = after
    return Decision(
        FeedbackGiven(
            rated.owner,
            weights,
            command.prediction_id,
            command.action_id,
            command.outcome,
            command.rating,
        )
    )


def _one_of(one: str, other: str) -> Refused:
    text = f"exactly one of {one} and {other} is wanted. See: irerctl api show eil.feedback"
    return Refused("invalid-argument", text, fields=[(f"/{one}", f"this or {other}, not both")])


def _twice(name: str) -> Refused:
    text = f"what became of {name} was told already, and it counts once. Rate a newer one"
    return Refused("failed-precondition", text, reason="rated")


def _action(actions: acting.Actions, action_id: str) -> _Rated:
    choice = actions.recent.get(action_id)
    if choice is None:
        text = f"no action {action_id} is known: it was never chosen, or {acting.KEPT:,} were chosen since. Each eil.act names one"
        raise Refused("not-found", text, reason="action")
    if choice.rated:
        raise _twice(action_id)
    return _Rated(choice.owner, (choice.goal,), choice.speaks)


def _prediction(claims: proving.Claims, prediction_id: str, outcome: str | None, ctx: Context) -> _Rated:
    if outcome in SHORTFALLS:
        text = f"{outcome} is said of actions. Say good or bad of a prediction, or give a rating"
        raise Refused("invalid-argument", text, fields=[("/outcome", "good or bad, of a prediction")])
    if (settled := claims.settled.get(prediction_id)) is not None:
        owner, told = settled.owner, settled.rated
    else:
        source, held = proving.find(claims, prediction_id)
        owner, told = claims.ledgers[source].owner, held.rated
        if held.met is None and ctx.now_us < held.claim.due_us:
            text = f"{prediction_id} is not due yet, so nobody can say how good it was. Wait until it is"
            raise Refused("failed-precondition", text, reason="not-due")
    if told:
        raise _twice(prediction_id)
    return _Rated(owner, tuple(act.GOALS), DOUBT)


def _push(speaks: Weights, command: Feedback) -> Weights:
    """How far each weight goes, of a whole step: from -1 to 1."""
    if command.outcome is not None and command.outcome in SHORTFALLS:
        return SHORTFALLS[command.outcome]
    rating = command.rating if command.rating is not None else float(command.outcome == "good")
    return tuple(2 * (rating - 0.5) * each for each in speaks)  # type: ignore[return-value]


def moved(before: Weights, default: Weights, push: Weights) -> Weights:
    """Weights one step on, within their bounds."""
    steps = zip(before, default, push, strict=True)
    return tuple(min(max(was * (1 + STEP * by), usual / RANGE), usual * RANGE) for was, usual, by in steps)  # type: ignore[return-value]


def apply_feedback(actions: acting.Actions, claims: proving.Claims, event: FeedbackGiven, stamp: Stamp) -> None:
    if event.action_id is not None and (choice := actions.recent.get(event.action_id)) is not None:
        choice.rated = True
    if event.prediction_id is not None:
        proving.apply_rated(claims, event.prediction_id)
    if not event.weights:
        return
    actions.weights[event.owner] = {**actions.weights.get(event.owner, {}), **event.weights}
    actions.weights.move_to_end(event.owner)
    while len(actions.weights) > OWNERS_KEPT:
        actions.weights.popitem(last=False)


def answer(event: FeedbackGiven) -> FeedbackAnswer:
    return FeedbackAnswer(event.owner, dict(event.weights))
