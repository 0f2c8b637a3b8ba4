"""Telemetry as vectors: the same bytes everywhere, near where its name or its shape is alike; level and scale are no shape; and no
series can be told that has no vector."""

import math
import random
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data import ENGINE, commands, told
from core.data.embedding import MODEL, SERIES_MODEL, TABLE_MODEL, NoEmbedding, numbers, relevance, text_of
from core.data.telemetry import SHAPE, embed_series, shape
from core.engine import Errand, JobEnded, Refused
from core.settings import Data, Settings
from tests.core.engine_loop import ANN, EngineLoop

CHANCE = random.Random(4)
SHAPES: dict[str, Callable[[int], float]] = {
    "rising": lambda place: place + 0.0,
    "falling": lambda place: 50.0 - place,
    "waving": lambda place: math.sin(place / 4),
    "spiky": lambda place: 9.0 if place % 25 == 7 else 0.1,
    "noisy": lambda place: CHANCE.gauss(0, 1),
    "level": lambda place: 4.0,
}


def series(kind: str, many: int = 100) -> list[float]:
    return [SHAPES[kind](place) for place in range(many)]


def near(one: bytes, other: bytes) -> float:
    return relevance(numbers(one), numbers(other))


def test_a_series_has_the_same_vector_on_every_machine() -> None:
    made = embed_series("power.draw", ["host=north-3", "unit=W"], [float(place % 7) for place in range(60)])
    assert sha256(made).hexdigest()[:16] == "18db328036530103"
    assert made == embed_series("power.draw", ["unit=W", "host=north-3", "unit=W"], [place % 7 for place in range(60)])


def test_what_is_called_alike_or_has_a_like_shape_is_near() -> None:
    asked = embed_series("power.draw", ["host=north-3"], series("waving"))
    both = near(asked, embed_series("power.draw", ["host=north-4"], [3 * value + 100 for value in series("waving")]))
    name = near(asked, embed_series("power.draw", ["host=north-4"], series("rising")))
    form = near(asked, embed_series("humidity", ["room=7"], series("waving")))
    neither = near(asked, embed_series("humidity", ["room=7"], series("spiky")))
    assert both > 0.85 > name > neither + 0.2 and both > form > neither + 0.2


@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_level_and_scale_are_no_shape_and_other_shapes_are_farther(kind: str) -> None:
    own = series(kind)
    moved = embed_series("m", [], [0.25 * value - 3 for value in own])
    assert near(embed_series("m", [], own), moved) > 0.98
    others = [near(moved, embed_series("m", [], series(other))) for other in SHAPES if other != kind]
    assert max(others) < 0.93


@given(st.lists(st.floats(-1e15, 1e15), min_size=1, max_size=40))
def test_every_series_that_may_be_told_has_a_vector(values: list[float]) -> None:
    made = numbers(embed_series("m", [], values))
    assert math.isclose(relevance(made, made), 1, abs_tol=1e-6)
    found = shape(values)
    assert len(found) == SHAPE and all(-1 - 1e-9 <= each <= 1 + 1e-9 for each in found)


@pytest.mark.parametrize("values", [[], [math.nan], [1.0, math.inf]])
def test_what_is_no_number_has_none(values: list[float]) -> None:
    with pytest.raises(NoEmbedding):
        embed_series("m", [], values)


# --- in the engine ----------------------------------------------------------------------------------------------------


def emit(loop: EngineLoop, **data: Any) -> str:
    [event] = loop.ask("emit", {"family": "embedding", "type": "telemetry_received", "data": data}, ANN)
    return told.id_of(event)


def wanted(loop: EngineLoop) -> list[Errand]:
    effects = ENGINE.wanted(loop.state, loop.context())
    return [each for each in effects if isinstance(each, Errand) and each.name == commands.DERIVE]


def test_telemetry_keeps_its_model_whatever_makes_vectors_of_texts() -> None:
    loop = EngineLoop(ENGINE, Settings(data=Data(model="wordllama-256")))
    id = emit(loop, metric="power.draw", tags=["host=a"], values=series("waving"))
    first, trial = wanted(loop)
    vector = text_of(embed_series("power.draw", ["host=a"], series("waving")))
    made = {"made": [{"event": id, "vector": vector, "priors": []}]}
    happened = loop.ask("job_ended", JobEnded(first.id, True, "ok", "", made))
    assert [(event.model, event.dimension) for event in happened[:2]] == [(SERIES_MODEL, 256)] * 2
    loop.ask("job_ended", JobEnded(trial.id, True, "ok"))
    assert loop.state.model == TABLE_MODEL and not loop.state.anew and not wanted(loop), "another model of texts is none of its"
    emit(loop, metric="power.draw", tags=["host=a"], values=series("waving"))
    assert loop.state.repeated == 1 and not loop.state.waiting and loop.state.kept[MODEL] == 0
    assert loop.replayed() == loop.state


@pytest.mark.parametrize(
    "data",
    [
        {"metric": "m", "tags": [], "values": []},
        {"metric": "m", "tags": [], "values": [0.0] * 1_025},
        {"metric": "m", "tags": [], "values": [1e300]},
        {"metric": "m", "tags": [], "values": ["1"]},
        {"metric": "m", "tags": ["a"] * 17, "values": [1.0]},
        {"metric": "m", "tags": ["a" * 65], "values": [1.0]},
        {"metric": "no name", "tags": [], "values": [1.0]},
        {"metric": "m", "values": [1.0]},
    ],
)
def test_what_is_no_telemetry_is_refused(data: dict[str, Any]) -> None:
    loop = EngineLoop(ENGINE, Settings())
    with pytest.raises(Refused) as refused:
        emit(loop, **data)
    assert refused.value.code == "invalid-argument" and not loop.records
