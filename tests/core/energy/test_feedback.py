"""Rules of feedback: a small step for whose it is, once, within bounds; it never moves a bound, a price or a threshold."""

import random
from typing import Any

import pytest

from core.energy import act
from core.engine import Actor, Refused
from tests.core.energy.eil_loop import EilLoop

BOB = Actor("uid:1002", "operator", 1002)
ROOT = Actor("uid:0", "admin", 0)
STATE = {"active_servers": 12, "avg_utilization": 0.68, "idle_w": 100.0, "max_w": 250.0}
STEP = 0.05 + 1e-12


def choose(loop: EilLoop, actor: Any = None, goal: str = "minimize_energy", **more: Any) -> Any:
    asked = {"goal": goal, "current_state": STATE, **more}
    return loop.get("act", asked, actor) if actor is not None else loop.get("act", asked)


def rate(loop: EilLoop, answer: Any, **told: Any) -> Any:
    return loop.get("feedback", {"action_id": answer.action_id, **told})


def weights(loop: EilLoop, owner: str = "uid:1001", goal: str = "minimize_energy") -> tuple[float, ...]:
    return loop.state.actions.weights.get(owner, {}).get(goal, act.GOALS[goal])


@pytest.mark.parametrize(("outcome", "place"), [("more_energy", 0), ("unserved", 1), ("undone", 2)])
def test_what_was_held_too_cheap_weighs_a_twentieth_more_from_then_on(outcome: str, place: int) -> None:
    loop = EilLoop()
    told = rate(loop, choose(loop), outcome=outcome)
    expected = tuple(1.05 if each == place else 1.0 for each in range(3))
    assert told.weights == {"minimize_energy": pytest.approx(expected)} and told.owner == "uid:1001"
    after = choose(loop)
    assert after.cost_terms.weights == pytest.approx(expected)
    terms = (after.cost_terms.energy_j, after.cost_terms.entropy_j, after.cost_terms.irreversibility_j)
    assert after.cost_terms.total_j == pytest.approx(sum(one * other for one, other in zip(expected, terms, strict=True)))
    assert choose(loop, BOB).cost_terms.weights == (1.0, 1.0, 1.0), "nobody moves another's"
    assert choose(loop, goal="maximize_stability").cost_terms.weights == (1.0, 2.0, 4.0), "another goal stays"
    assert loop.replayed() == loop.state


def test_a_good_choice_lends_weight_to_what_spoke_for_it_and_a_bad_one_takes_it() -> None:
    for rating, sign in ((1.0, 1), (0.0, -1), (0.5, 0)):
        loop = EilLoop()
        rate(loop, choose(loop), rating=rating)
        energy, _, irreversibility = weights(loop)
        assert (energy > 1) - (energy < 1) == sign, "it was chosen to save energy"
        assert (irreversibility > 1) - (irreversibility < 1) == -sign, "switching spoke against it"


def test_no_step_is_more_than_a_twentieth_and_no_weight_leaves_its_bounds() -> None:
    loop, draw = EilLoop(), random.Random(5)
    before = weights(loop)
    for place in range(150):
        told = {"outcome": "unserved"} if place < 60 else {"rating": draw.random()} if place < 80 else {"outcome": "bad"}
        rate(loop, choose(loop), **told)
        after = weights(loop)
        for was, now, default in zip(before, after, (1.0, 1.0, 1.0), strict=True):
            assert abs(now / was - 1) <= STEP and default / 4 <= now <= default * 4
        before = after
        if place == 59:
            assert after[1] == 4.0, "it is held at the bound"


def test_feedback_never_buys_a_bound() -> None:
    loop = EilLoop()
    for _ in range(60):
        rate(loop, choose(loop), outcome="more_energy")
    answer = choose(loop, constraints={"min_replicas": 12})
    assert answer.cost_terms.weights[0] == 4.0 and answer.action.type == "hold"
    assert loop.look("market_pricing") == EilLoop().look("market_pricing")


def test_only_whose_it_is_tells_or_an_admin_and_only_once() -> None:
    loop = EilLoop()
    chosen = choose(loop)
    with pytest.raises(Refused) as refused:
        loop.get("feedback", {"action_id": chosen.action_id, "outcome": "bad"}, BOB)
    assert (refused.value.code, refused.value.reason) == ("permission-denied", "owner")
    assert loop.get("feedback", {"action_id": chosen.action_id, "outcome": "bad"}, ROOT).owner == "uid:1001"
    for actor in (ROOT, None):
        with pytest.raises(Refused) as refused:
            loop.get("feedback", {"action_id": chosen.action_id, "outcome": "bad"}, *([actor] if actor else []))
        assert (refused.value.code, refused.value.reason) == ("failed-precondition", "rated")
    assert loop.state.actions.weights.keys() == {"uid:1001"}
    before = weights(loop)[0]
    told = {"action_id": choose(loop).action_id, "outcome": "more_energy"}
    assert loop.get("feedback", told, ROOT).weights["minimize_energy"][0] == pytest.approx(1.05 * before), "they are the owner's"
    assert before != 1 and loop.replayed() == loop.state


@pytest.mark.parametrize(
    "told",
    [
        {"outcome": "good"},
        {"action_id": "a", "prediction_id": "p", "outcome": "good"},
        {"action_id": "a"},
        {"action_id": "a", "outcome": "good", "rating": 1.0},
        {"prediction_id": "p", "outcome": "unserved"},
    ],
)
def test_what_is_no_feedback_is_refused_by_name(told: dict[str, Any]) -> None:
    loop = EilLoop()
    with pytest.raises(Refused) as refused:
        loop.get("feedback", told)
    assert refused.value.code == "invalid-argument" and refused.value.fields and not loop.records


def test_a_prediction_is_rated_once_it_is_due_before_or_after_its_proof() -> None:
    loop = EilLoop()
    first = loop.sense(0, power_draw=100.0)
    last = loop.sense(10, power_draw=120.0)
    told = {"prediction_id": first.prediction_id, "outcome": "bad"}
    with pytest.raises(Refused) as refused:
        loop.get("feedback", told)
    assert (refused.value.code, refused.value.reason) == ("failed-precondition", "not-due")
    with pytest.raises(Refused) as refused:
        loop.get("feedback", {"prediction_id": "pred_x", "outcome": "bad"})
    assert refused.value.code == "not-found"
    loop.run(301)
    for place in range(2, 40):
        loop.sense(10 * place, power_draw=100.0)
    assert loop.get("feedback", told).weights["maximize_throughput"] == pytest.approx((1.0, 8.0 * 1.05, 1.0))
    for prediction_id, proved in ((first.prediction_id, True), (last.prediction_id, False)):
        if not proved:
            loop.get("proof", {"prediction_id": prediction_id, "actual_state": {"energy": 1, "entropy": 1}})
            assert prediction_id in loop.state.claims.settled
            loop.get("feedback", {"prediction_id": prediction_id, "rating": 0.75})
        else:
            loop.get("proof", {"prediction_id": prediction_id, "actual_state": {"energy": 1, "entropy": 1}})
        with pytest.raises(Refused) as refused:
            loop.get("feedback", {"prediction_id": prediction_id, "outcome": "good"})
        assert refused.value.reason == "rated", "also where it was told before the proof"
    assert weights(loop)[1] == pytest.approx(1.05 * 0.975)
    assert loop.replayed() == loop.state
