"""Rules of claims that are met side by side: the rows of their sources learn what each source would have learned alone."""

import random
from array import array
from collections import Counter
from typing import Any

import msgspec
import pytest

from core.energy import bank, claims, quiet, sensing
from core.energy.following import Follow, Pace
from tests.core.energy.eil_loop import EilLoop, rows_of, settings, time_of


def horizon_of(draw: random.Random) -> claims.Horizon:
    """Some that know nothing, some about to be sure of their intervals, and some that are."""
    settled = draw.choice([0, 1, 30, 31, 32, 33, 5_000])
    if not settled:
        return claims.Horizon()
    one, two, three, four, five, six, seven, eight, nine, ten, eleven, last = (draw.expovariate(1) for _ in range(12))
    losses, halves, scores = (one, two, three, four), (six, draw.choice([seven, 0.0]), eight), (nine, ten, eleven)
    return claims.Horizon(settled, settled // 2, losses, five, halves, draw.choice([last, 0.0]), scores)


def claim_of(draw: random.Random) -> claims.Claim:
    rates = claims.Rates(*draw.choice([[0.0] * 4, [draw.gauss(5, 1) for _ in range(4)]]))
    return claims.claim(horizon_of(draw), draw.uniform(0, 1e6), rates, draw.choice([0.5, 45.0, 60.0]), 2.0, 1e-6)


def kept(energy: claims.Claim, nats: claims.Claim, unit: float) -> bytes:
    """As `quiet.said_of` reads them."""
    figures = [
        figure
        for each in (energy, nats)
        for figure in (each.total, each.horizon_s, each.expected, each.half, each.half_rare, *each.rates, *each.halves)
    ]
    return array("d", [*figures, unit]).tobytes()


@pytest.mark.parametrize("count", [1, quiet.FEW_MET - 1, quiet.FEW_MET, 40])
def test_rows_learn_together_what_each_would_have_learned_alone(count: int) -> None:
    """To the last bit: how many were met together is nobody's business. Of some several were, one after the other."""
    draw = random.Random(count)
    for powered in (True, False):
        sources, alone, place = quiet.Sources(), {}, 0 if powered else 1
        for name in map(str, range(count)):
            paces = (Pace(1.0), Pace(), Pace(1.0))
            horizons = tuple(horizon_of(draw) for _ in range(4))
            alone[name] = Follow(bank.Source(ticks=9), horizons=horizons, paces=paces, alerts=(0.0,), nats=(0.0,))
            assert sources.enter(name, alone[name], 1, powered) is not None
        befores = dict(alone)
        for _ in range(5):
            for name in draw.sample(list(alone), draw.randint(1, count)):
                met: list[tuple[str, bytes, float, float]] = []
                horizons = list(alone[name].horizons)
                for _ in range(draw.choice([1, 1, 1, 3])):
                    energy, nats = claim_of(draw), claim_of(draw)
                    outcomes = [each.expected + draw.choice([0.0, 1.0, 30.0]) * draw.gauss(0, each.half) for each in (energy, nats)]
                    if draw.random() < 0.2:  # just within
                        energy = msgspec.structs.replace(energy, half=abs(outcomes[0] - energy.expected))
                    met.append(("p", kept(energy, nats, powered), *outcomes))
                    for at, each, outcome in zip((place, 3), (energy, nats), outcomes, strict=True):
                        horizons[at] = claims.settle(horizons[at], each, outcome)[0]
                assert sources.meet(name, met)
                alone[name] = msgspec.structs.replace(alone[name], horizons=tuple(horizons))
            sources.settle()
            for name, follow in alone.items():
                assert repr(sources.follow(name, befores[name], (0.0,), (0.0,)).horizons) == repr(follow.horizons)


def test_a_claim_of_another_kind_than_its_row_is_not_learned_there() -> None:
    """A claim about a surrogate teaches nothing about joules; and one that was not kept in figures is no row's either."""
    draw, sources = random.Random(1), quiet.Sources()
    follow = Follow(bank.Source(ticks=9), paces=(Pace(1.0), Pace(), Pace(1.0)), alerts=(0.0,), nats=(0.0,))
    sources.enter("a", follow, 1, powered=True)
    good, other = (kept(claim_of(draw), claim_of(draw), unit) for unit in (1.0, 0.0))
    for said in (other, quiet.said_of("p", good)):
        assert not sources.meet("a", [("p", good, 1.0, 1.0), ("q", said, 1.0, 1.0)])
    sources.settle()
    assert sources.follow("a", follow, (0.0,), (0.0,)).horizons == follow.horizons, "nor the one beside it"
    assert sources.meet("a", [("p", good, 1.0, 1.0)])
    sources.settle()
    assert sources.follow("a", follow, (0.0,), (0.0,)).horizons != follow.horizons


@pytest.mark.parametrize("seed", range(2))
def test_whatever_a_claim_was_about_its_source_learns_it_wherever_it_stands(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources of which the power is known only later, claims that were asked for, gaps, and somebody who looks in between."""
    alone, together = EilLoop(settings(horizon_s=60.0)), EilLoop(settings(horizon_s=60.0))
    draw, meet, counts = random.Random(seed), quiet.Sources.meet, Counter[bool]()

    def seen(self: quiet.Sources, source: str, met: Any) -> bool:
        found = meet(self, source, met)
        counts[found] += bool(met)
        return found

    at = [0.0] * 9
    for turn in range(60):
        coming = []
        for place in range(len(at)):
            at[place] += draw.choice([10.0] * 30 + [15.0, 45.0, 400.0])
            telemetry = {"x": round(draw.gauss(5, 1), 2)} | ({"power_draw": round(draw.gauss(300, 9), 1)} if turn > 30 else {})
            coming.append({"source": f"s{place}", "timestamp": time_of(at[place]), "telemetry": telemetry})
        told = [alone.get("sense", each) for each in coming]
        commands = [msgspec.convert(each, sensing.Sense, strict=True) for each in coming]
        sensing.foresee(together.state, commands)
        looks = draw.random() < 0.2
        with monkeypatch.context() as patched:
            patched.setattr(quiet.Sources, "meet", seen)
            for command, answer in zip(commands, told, strict=True):
                assert together.get("sense", command) == answer
                if looks:
                    together.state.view.follow_of(f"s{draw.randrange(len(at))}")
        if draw.random() < 0.3:
            asked = {"source": f"s{draw.randrange(len(at))}", "horizon_s": draw.choice([1.0, 7.5, 33.0])}
            assert together.get("predict", asked) == alone.get("predict", asked)
    assert [(kind, payload) for kind, payload, _ in together.records] == [(kind, payload) for kind, payload, _ in alone.records]
    assert rows_of(together) == rows_of(alone) and rows_of(together.replayed()) == rows_of(together)
    assert counts[True] > 150 and counts[False] > 5, counts
