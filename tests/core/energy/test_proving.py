"""Rules of claims: on record before their outcome, met by our own points, settled once; what nobody can foresee earns nothing."""

import random
from bisect import bisect_right
from collections import Counter
from itertools import pairwise
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import inspect

from core import shape
from core.energy import proving
from core.energy.proving import OPEN_MAX, Checked, Claim, ClaimsMet, Met, Own, OwnDump, Proved
from core.engine import Actor, Refused
from tests.core.energy.eil_loop import EilLoop, machine, settings, time_of

HORIZON_S = 300.0


def watched(steps: int = 400, **more: Any) -> EilLoop:
    loop = EilLoop(settings(**more))
    for place, telemetry in enumerate(machine(steps)):
        loop.sense(10 * place, **telemetry)
    return loop


@pytest.fixture(scope="module")
def lived() -> EilLoop:
    return watched()


def copy_of(loop: EilLoop) -> EilLoop:
    twin = EilLoop(loop.settings)
    twin.records, twin.ids = list(loop.records), loop.ids
    twin.restart()
    return twin


def claims_of(loop: EilLoop, *, met: bool) -> list[Any]:
    own = loop.state.claims.open["m"]
    return [held for held in map(own.held, own.ids) if (held.met is not None) == met]


def told(met: Any, *, energy: float = 1.0, entropy: float = 1.0) -> dict[str, float]:
    return {"energy": met.energy * energy, "entropy": met.entropy * entropy}


def test_a_claim_is_met_once_by_the_totals_of_its_own_moment(lived: EilLoop) -> None:
    totals = {event.newest_us: event.totals for event in lived.events if hasattr(event, "totals")}
    claims = {event.claim.prediction_id: event.claim for event in lived.events if getattr(event, "claim", None)}
    met = [each for event in lived.of(ClaimsMet) for each in event.met]
    assert len(met) == len({each.prediction_id for each in met}) > 300
    for each in met:
        assert each.energy == pytest.approx(totals[claims[each.prediction_id].due_us].energy_j, rel=1e-9)
    order = [(kind, event) for kind, event in zip(lived.kinds(), lived.events, strict=True)]
    said = {event.claim.prediction_id: place for place, (_, event) in enumerate(order) if getattr(event, "claim", None)}
    assert all(said[each.prediction_id] < place for place, (_, event) in enumerate(order) for each in getattr(event, "met", ()))


def test_a_proof_is_valid_where_physics_and_our_points_say_so_and_is_settled_once(lived: EilLoop) -> None:
    loop = copy_of(lived)
    words = []
    for held in claims_of(loop, met=True):
        answer = loop.get("proof", {"prediction_id": held.claim.prediction_id, "actual_state": told(held.met)})
        words.append(answer.verdict)
        assert answer.valid == (answer.verdict == "valid")
        with pytest.raises(Refused) as refused:
            loop.get("proof", {"prediction_id": held.claim.prediction_id, "actual_state": told(held.met)})
        assert (refused.value.code, refused.value.reason) == ("failed-precondition", "settled")
    assert words.count("valid") > len(words) / 2
    assert loop.state.claims.reputations["uid:1001"][1] == len([word for word in words if word in ("valid", "invalid")])
    assert loop.replayed() == loop.state


@pytest.mark.parametrize(("energy", "entropy"), [(0.99, 1.0), (1.0, 1.5), (1e12, 1.0), (-1.0, 1.0)])
def test_an_account_that_our_points_contradict_is_invalid(lived: EilLoop, energy: float, entropy: float) -> None:
    loop = copy_of(lived)
    held = claims_of(loop, met=True)[-1]
    actual = told(held.met, energy=energy, entropy=entropy)
    answer = loop.get("proof", {"prediction_id": held.claim.prediction_id, "actual_state": actual})
    assert (answer.verdict, answer.reason, answer.pft_minted) == ("invalid", "evidence-mismatch", 0)


def test_what_was_not_issued_cannot_be_proved(lived: EilLoop) -> None:
    loop = copy_of(lived)
    held = claims_of(loop, met=True)[-1]
    proof = {"prediction_id": held.claim.prediction_id, "actual_state": told(held.met)}
    other = {"energy": held.claim.energy[0] * 1.001, "entropy": held.claim.entropy[0]}
    with pytest.raises(Refused) as refused:
        loop.get("proof", proof, Actor("uid:1002", "operator", 1002))
    assert (refused.value.code, refused.value.reason) == ("permission-denied", "owner"), "a stranger cannot spoil it"
    with pytest.raises(Refused) as refused:
        loop.get("proof", {**proof, "prediction_id": "pred_abc123"})
    assert refused.value.code == "not-found"
    assert loop.get("proof", {**proof, "predicted_state": other}).reason == "not-what-was-issued"


def test_before_it_is_due_a_claim_stays_open_and_without_points_nothing_is_minted() -> None:
    loop = EilLoop()
    loop.wall_us = 1_767_225_600_000_000
    first = loop.sense(0, power_draw=100.0)
    proof = {"prediction_id": first.prediction_id, "actual_state": {"energy": 30_000, "entropy": 0}}
    assert loop.get("proof", proof).verdict == "not-due"
    answer = loop.get("proof", {**proof, "timestamp": time_of(HORIZON_S)})
    assert (answer.verdict, answer.pft_minted) == ("unverified", 0)
    assert first.prediction_id in loop.state.claims.source_of
    assert not loop.state.market.books.accounts


def test_one_sensor_is_vacuous_and_never_valid() -> None:
    loop = EilLoop()
    for place, telemetry in enumerate(machine(200)):
        loop.sense(10 * place, power_draw=telemetry["power_draw"])
    met = claims_of(loop, met=True)
    answers = [loop.get("proof", {"prediction_id": held.claim.prediction_id, "actual_state": told(held.met)}) for held in met]
    assert {answer.verdict for answer in answers} == {"vacuous"} and {answer.valid for answer in answers} == {False}
    assert {answer.checks["energy"].reason for answer in answers} == {"one-sensor"}
    assert loop.state.claims.reputations == {} and loop.state.claims.minted_micro == 0


def test_claims_that_are_held_stay_spread_and_bounded() -> None:
    loop = EilLoop()
    for place in range(700):
        loop.sense(place, power_draw=100.0 + place % 3)
    waiting = [held.claim.due_us for held in claims_of(loop, met=False)]
    gaps = [after - before for before, after in pairwise(waiting)]
    assert len(waiting) + len(claims_of(loop, met=True)) <= OPEN_MAX
    assert len(waiting) >= OPEN_MAX // 2 - 1 and max(gaps) <= 60_000_000, "of 300 s no minute is without a claim"
    assert claims_of(loop, met=True), "what was met can still be proved"
    assert set(loop.state.claims.source_of) == {each.prediction_id for each in loop.state.view.said_of("m")} | {
        held.claim.prediction_id for held in claims_of(loop, met=True)
    }


def test_a_second_claim_about_the_same_moment_is_the_first() -> None:
    loop = EilLoop()
    first = loop.sense(0, power_draw=100.0)
    asked = loop.get("predict", {"source": "m"})
    assert asked.prediction_id == first.prediction_id and len(loop.state.claims.source_of) == 1
    other = loop.get("predict", {"source": "m", "horizon_s": 10})
    assert other.prediction_id != first.prediction_id
    in_order = [other.prediction_id, first.prediction_id]
    assert loop.state.claims.open["m"].ids == in_order, "in the order in which they are due"


def test_a_claim_in_a_gap_is_never_met() -> None:
    loop = EilLoop()
    for place in range(20):
        loop.sense(10 * place, power_draw=100.0)
    last = loop.sense(200, power_draw=100.0)
    loop.sense(1_000, power_draw=100.0)
    loop.sense(1_010, power_draw=100.0)
    assert last.prediction_id in [held.claim.prediction_id for held in claims_of(loop, met=False)]


def test_a_constant_stream_mints_nothing_in_a_month() -> None:
    loop = EilLoop(settings(horizon_s=3_599.7))
    for place in range(30 * 24 * 2):
        loop.sense(1_799.9 * place, power_draw=417.3, temperature_k=320.15, ambient_k=298.15)
    claims = [event.claim for event in loop.events if getattr(event, "claim", None)]
    assert all(each.energy[1] < each.energy[0] < each.energy[2] for each in claims), "the last bit of a sum is no outcome"
    ledger = loop.state.claims.ledgers["m"]
    assert ledger.settled > 1_000 and ledger.most == 0 and loop.state.claims.minted_micro == 0


def test_the_sun_mints_for_who_foresees_it_and_choosing_among_proofs_does_not_pay() -> None:
    """A mark that was reached is paid once, and every claim that was met counts, whether or not it is proved."""
    loop = watched(900, market={"mint": 20.0, "mint_daily": 1_000.0})
    ledger = loop.state.claims.ledgers["m"]
    assert ledger.settled == sum(len(event.met) for event in loop.of(ClaimsMet))
    rises = [each.rise for event in loop.of(ClaimsMet) for each in event.met]
    assert sum(rises) == pytest.approx(ledger.most)
    for held in claims_of(loop, met=True):
        loop.get("proof", {"prediction_id": held.claim.prediction_id, "actual_state": told(held.met)})
    paid = sum(event.minted_micro for event in loop.of(Proved))
    most = 20e6 * sum(held.rise for event in loop.of(ClaimsMet) for held in event.met)
    assert paid <= most


@pytest.mark.parametrize(("daily", "minted"), [(1_000.0, 7_200_000), (0.5, 500_000)])
def test_what_is_minted_is_booked_half_to_the_owner_and_has_a_daily_cap(daily: float, minted: int) -> None:
    loop = watched(300, market={"mint_daily": daily})
    answers = []
    for held in claims_of(loop, met=True)[-20:]:
        met = msgspec.structs.replace(held.met, rise=0.4 / 20, confidence=0.9, measured=True)
        loop.state.claims.open["m"].meet(met)
        answers.append(loop.get("proof", {"prediction_id": held.claim.prediction_id, "actual_state": told(held.met)}))
    valid = sum(answer.valid for answer in answers)
    expected = min(valid * minted // 20, minted) if daily > 1 else minted
    assert valid >= 10 and round(sum(answer.pft_minted for answer in answers) * 1e6) == expected
    books = loop.state.market.books
    assert books.balance("uid:1001", "PFT") == expected // 2
    assert books.balance("uid:1001", "PFT") + books.balance("treasury", "PFT") == expected == books.issued("PFT")
    assert loop.look("market_pricing").pft > 0


def a_claim(draw: random.Random, number: int, due_us: int) -> Claim:
    figures = [draw.choice([draw.gauss(0, 1e6), 0.0, 5.0, 1e-7]) for _ in range(16)]
    references = list(zip(figures[10::2], figures[11::2], strict=True))[: draw.choice([0, 3])]
    unit, kind = draw.choice(["J", "1"]), draw.choice(["physical", "statistical"])
    issued_us, measured = draw.randrange(10**15), draw.random() < 0.5
    return Claim(f"pred_{number}", due_us, tuple(figures[:5]), tuple(figures[5:10]), references, issued_us, unit, kind, measured)  # type: ignore[arg-type]


def a_met(draw: random.Random, prediction_id: str) -> Met:
    checks = tuple(Checked(*draw.choice([("pass", "ok", 0.5, 3.0), ("vacuous", "one-sensor")])) for _ in range(3))
    figures = [draw.choice([draw.gauss(0, 1e6), 0.0, 1.0]) for _ in range(8)]
    scores, saved = [draw.random() for _ in range(draw.choice([0, 4]))], draw.choice([None, 0.25])
    return Met(prediction_id, *figures[:4], checks, draw.random() < 0.5, scores, *figures[4:], draw.random() < 0.5, saved)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(6))
def test_claims_that_are_kept_as_bytes_are_what_a_plain_list_of_them_is(seed: int) -> None:
    draw, own, counts = random.Random(seed), Own(), Counter[str]()
    plain: list[tuple[Claim, Met | None, bool]] = []
    for number in range(1_500):
        places = [draw.randrange(len(plain))] if plain else []
        match draw.choice(["add"] * 8 + ["meet"] * 5 + ["drop", "rate", "late", "wait"]):
            case "meet" if waiting := [place for place, (_, met, _) in enumerate(plain) if met is None]:
                place = draw.choice([waiting[0]] * 3 + [draw.choice(waiting)])
                met = a_met(draw, plain[place][0].prediction_id)
                own.meet(met)
                own.meet(a_met(draw, "pred_gone"))
                plain[place] = plain[place][0], met, plain[place][2]
            case "drop" if places:
                own.drop(plain.pop(places[0])[0].prediction_id)
            case "rate" if places:
                own.rated.add(plain[places[0]][0].prediction_id)
                plain[places[0]] = *plain[places[0]][:2], True
            case "late" if plain and draw.random() < 0.2:
                until = plain[min(places[0] % 4, len(plain) - 1)][0].due_us
                gone = [claim.prediction_id for claim, _, _ in plain if claim.due_us <= until]
                assert own.drop_due_by(until) == gone and own.drop_due_by(until) == []
                plain = plain[len(gone) :]
            case "wait":
                after, until = sorted(draw.choices([claim.due_us for claim, _, _ in plain] or [0], k=2))
                there = [claim for claim, met, _ in plain if met is None and after < claim.due_us <= until]
                assert own.passed(after, until) == there
                assert own.due_at(until) == next((each for each, _, _ in reversed(plain) if each.due_us == until), None)
                assert own.due_at(until + 1) == next((each for each, _, _ in reversed(plain) if each.due_us == until + 1), None)
            case _:
                last_us = plain[-1][0].due_us if plain else 10**15
                claim = a_claim(draw, number, last_us + draw.choice([10, 10, 1, 0, -1, -15]))
                own.add(claim)
                plain.insert(bisect_right([each.due_us for each, _, _ in plain], claim.due_us), (claim, None, False))
                assert own.last_due_us() == plain[-1][0].due_us
        if len(plain) > OPEN_MAX:
            newest = claim.prediction_id
            met_ones = [each.prediction_id for each, met, _ in plain if met is not None]
            row = [each for each, met, _ in plain if met is None]
            apart = [(after.due_us - before.due_us, each) for before, each, after in zip(row, row[1:], row[2:], strict=False)]
            closest = [each.prediction_id for _, each in sorted(apart, key=lambda pair: pair[0]) if each.prediction_id != newest]
            expected = met_ones[0] if len(met_ones) > OPEN_MAX // 2 else closest[0]
            assert own.make_room(newest) == expected
            counts["met" if expected in met_ones else "waited"] += 1
            plain = [each for each in plain if each[0].prediction_id != expected]
        assert own.ids == [claim.prediction_id for claim, _, _ in plain] and len(own) == len(plain)
        assert own.rated == {claim.prediction_id for claim, _, rated in plain if rated}
    assert [own.held(name) for name in own.ids] == plain and plain
    assert counts["met"] > 20 or counts["waited"] > 20, counts
    dumped = msgspec.msgpack.encode(own.dump())
    again = Own.load(msgspec.msgpack.decode(dumped, type=OwnDump, strict=True))
    assert again == own and [again.held(name) for name in again.ids] == plain
    again.meet(a_met(draw, again.ids[0]))
    assert again != own
    torn = msgspec.structs.replace(own.dump(), met=own.dump().met[:-1])
    with pytest.raises(ValueError, match="all that goes with them"):
        Own.load(torn)


def test_what_is_kept_as_bytes_is_of_the_shape_of_what_it_holds() -> None:
    """Else a snapshot of another version would be read as something it is not."""
    for kind, fields in ((Claim, proving.ClaimFields), (Met, proving.MetFields)):
        said = [inspect.type_info(each.type) for each in msgspec.structs.fields(kind)[1:]]
        assert [shape._shape(each) for each in said] == [shape._shape(each) for each in inspect.type_info(fields).item_types]  # type: ignore[attr-defined]
    one, other = (Annotated[bytes, msgspec.Meta(extra={shape.HOLDS: held})] for held in (tuple[int, str], tuple[int, int]))
    assert len({shape.digest(one), shape.digest(other), shape.digest(bytes)}) == 3
