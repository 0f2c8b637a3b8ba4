"""Another model: it is tried before anything rests on it, every text gets a vector of it in the open, vectors of two models are
never mixed, and nothing that follows from a text is told twice."""

import random
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.canonical import event_payload
from core.data import ENGINE, clusters, commands, events, reads, told
from core.data.embedding import MODEL, OWN, TABLE_MODEL, text_of, unit
from core.data.model import dump, load
from core.engine import Errand, JobEnded, Nothing, Refused, Stamp
from core.settings import Data, Settings
from tests.core.engine_loop import ANN, EngineLoop

TEXTS = [f"text number {number} about the pump" for number in range(5)]


def loop_of(model: str = MODEL, **more: Any) -> EngineLoop:
    return EngineLoop(ENGINE, Settings(data=Data(**msgspec.convert({"model": model, **more}, dict[str, Any]))))


def configure(loop: EngineLoop, model: str) -> None:
    old = loop.settings.data
    loop.settings = msgspec.structs.replace(loop.settings, data=msgspec.structs.replace(old, model=model))


def emit(loop: EngineLoop, text: str) -> str:
    [event] = loop.ask("emit", {"family": "local", "type": "content_created", "data": {"text": text}}, ANN)
    return told.id_of(event)


def wanted(loop: EngineLoop) -> list[Errand]:
    effects = ENGINE.wanted(loop.state, loop.context())
    return [each for each in effects if isinstance(each, Errand) and each.name == commands.DERIVE]


def vector(model: str, event: str) -> str:
    """One that tells the models apart."""
    chance = random.Random(f"{model} {event}")
    return text_of(unit([chance.gauss(0, 1) for _ in range(OWN[model])]))


def ended(loop: EngineLoop, errand: Errand) -> JobEnded:
    ids = [sha256(loop.records[seq][1]).hexdigest() for seq in errand.params["records"]]
    older = [event for event in loop.state.nodes if event not in ids][:2] if errand.params["near"] else []
    made = [
        {"event": id, "vector": vector(errand.params["model"], id), "priors": [{"event": each, "relevance": 0.5} for each in older]}
        for id in ids
    ]
    return JobEnded(errand.id, True, "ok", "", {"made": made} if ids else {})


def derive(loop: EngineLoop) -> None:
    while errands := wanted(loop):
        loop.ask("job_ended", ended(loop, errands[0]))


def models(loop: EngineLoop) -> dict[str, set[str]]:
    return {event: set(each) for event, each in loop.state.vectors.items()}


def test_every_text_gets_a_vector_of_the_new_model_which_replaces_the_old_one() -> None:
    loop = loop_of()
    ids = [emit(loop, text) for text in TEXTS]
    derive(loop)
    records = {event: each[MODEL] for event, each in loop.state.vectors.items()}
    patterns, since = msgspec.to_builtins(list(loop.state.book.patterns.values())), len(loop.events)
    configure(loop, TABLE_MODEL)
    derive(loop)
    assert models(loop) == {id: {TABLE_MODEL} for id in ids} and loop.state.model == TABLE_MODEL
    made = [event for event in loop.events[since:] if isinstance(event, told.EmbeddingGenerated)]
    assert {event.event: event.replaces for event in made} == records, "so the view lets go of the old ones"
    assert {event.event_type for event in loop.events[since:]} == {
        "embedding.model_chosen",
        "embedding.embedding_generated",
        "embedding.vector_stored",
    }, "priors and patterns were told with the first vector"
    assert msgspec.to_builtins(list(loop.state.book.patterns.values())) == patterns
    assert loop.state.stored == len(ids) and +loop.state.kept == {TABLE_MODEL: len(ids)} and not loop.state.anew
    assert loop.replayed() == loop.state and load(dump(loop.state)) == loop.state
    assert not wanted(loop)


def test_until_it_was_tried_the_model_of_before_goes_on() -> None:
    loop = loop_of(TABLE_MODEL)
    [trial] = wanted(loop)
    assert trial.params == {"model": TABLE_MODEL, "records": [], "near": True}
    id = emit(loop, TEXTS[0])
    first, again = wanted(loop)
    assert first.params["model"] == MODEL and again == trial
    loop.ask("job_ended", ended(loop, first))
    assert models(loop) == {id: {MODEL}}
    assert loop.ask("job_ended", JobEnded(trial.id, False, "not-installed")) == [] and loop.state.model == MODEL
    configure(loop, MODEL)
    assert loop.ask("job_ended", JobEnded(trial.id, True, "ok")) == [] and loop.state.model == MODEL, "nobody wants it any more"


def test_what_a_caller_named_like_a_model_is_never_taken_for_its_vectors() -> None:
    loop = loop_of()
    theirs, other = emit(loop, TEXTS[0]), emit(loop, TEXTS[1])
    derive(loop)
    given = told.EmbeddingGenerated(theirs, TABLE_MODEL, OWN[TABLE_MODEL], vector(TABLE_MODEL, theirs))
    stamp = Stamp("event_log", len(loop.records), loop.wall_us, loop.mono_us, loop.boot_id, ANN.name)
    loop.records.append((given.event_type, event_payload(given), stamp))
    loop.world.apply(given, stamp)
    configure(loop, TABLE_MODEL)
    assert not wanted(loop) and loop.state.model == MODEL
    tried = JobEnded(f"event_log:0:model-{TABLE_MODEL}", True, "ok", "", {})
    assert loop.ask("job_ended", tried) == []
    loop.ask("forget", {"event": theirs})
    derive(loop)
    assert models(loop) == {other: {TABLE_MODEL}} and loop.state.model == TABLE_MODEL
    assert loop.replayed() == loop.state


def test_what_was_made_for_the_model_of_before_comes_too_late() -> None:
    loop = loop_of()
    id = emit(loop, TEXTS[0])
    late = ended(loop, wanted(loop)[0])
    configure(loop, TABLE_MODEL)
    loop.ask("job_ended", JobEnded(wanted(loop)[-1].id, True, "ok"))
    assert loop.ask("job_ended", late) == [] and not loop.state.vectors
    [errand] = wanted(loop)
    assert errand.params["model"] == TABLE_MODEL and errand.params["near"], "it waits for its first vector, priors and all"
    loop.ask("job_ended", ended(loop, errand))
    assert models(loop) == {id: {TABLE_MODEL}}


def test_new_texts_go_before_those_that_get_another_vector() -> None:
    loop = loop_of()
    old = emit(loop, TEXTS[0])
    derive(loop)
    configure(loop, TABLE_MODEL)
    loop.ask("job_ended", JobEnded(wanted(loop)[-1].id, True, "ok"))
    new = emit(loop, TEXTS[1])
    asked = [errand.params["records"] for errand in wanted(loop)]
    assert asked == [[loop.state.nodes[new].seq]]
    loop.ask("job_ended", ended(loop, wanted(loop)[0]))
    assert [errand.params["records"] for errand in wanted(loop)] == [[loop.state.nodes[old].seq]]
    page = reads.status(loop.state, Nothing(), loop.context())
    assert (page.model, page.waiting, page.models) == (TABLE_MODEL, 1, [MODEL, TABLE_MODEL])


def test_a_text_that_cannot_be_made_anew_holds_up_no_other() -> None:
    loop = loop_of()
    ids = [emit(loop, text) for text in TEXTS[:2]]
    derive(loop)
    configure(loop, TABLE_MODEL)
    loop.ask("job_ended", JobEnded(wanted(loop)[-1].id, True, "ok"))
    [errand] = wanted(loop)
    [failed] = loop.ask("job_ended", JobEnded(errand.id, False, "poison"))
    assert failed == events.NotEmbedded(ids[0], "poison", errand.id)
    assert loop.ask("job_ended", ended(loop, errand)) == [], "that batch has ended"
    derive(loop)
    assert models(loop) == {ids[0]: {MODEL}, ids[1]: {TABLE_MODEL}}
    emit(loop, TEXTS[0])
    derive(loop)
    assert models(loop) == {id: {TABLE_MODEL} for id in ids}, "told again, it is tried again"
    assert loop.replayed() == loop.state


def test_clusters_of_one_model_are_none_of_another() -> None:
    loop = loop_of()
    for number in range(8):
        emit(loop, f"text {number}")
    derive(loop)

    def look() -> Errand:
        [errand] = [each for each in clusters.errands(loop.state)]
        return errand

    def found(model: str) -> dict[str, Any]:
        row = {"cluster": None, "centroid": vector(model, "c"), "size": 8, "near": 0.5, "moved": False, "examples": []}
        return {"model": model, "dimension": 256, "vectors": 8, "loose": 0, "clusters": [row]}

    before = look()
    loop.ask("job_ended", JobEnded(before.id, True, "ok", "", found(MODEL)))
    assert len(loop.state.clusters) == 1
    configure(loop, TABLE_MODEL)
    derive(loop)
    assert not loop.state.clusters, "their middles are of the model of before"
    errand = look()
    assert errand.id != before.id and errand.params == {"model": TABLE_MODEL}
    [told_so] = loop.ask("job_ended", JobEnded(errand.id, True, "ok", "", found(MODEL)))
    assert told_so.code == "bad-output" and not loop.state.clusters


@pytest.mark.parametrize("model", sorted(OWN))
def test_nobody_gives_a_vector_for_a_model_of_irers_own(model: str) -> None:
    loop = loop_of()
    given = {"event": emit(loop, TEXTS[0]), "model": model, "dimension": 256, "vector": [1.0] * 256}
    with pytest.raises(Refused) as refused:
        loop.ask("emit", {"family": "embedding", "type": "embedding_generated", "data": given}, ANN)
    assert refused.value.reason == "derived"
    with pytest.raises(Refused) as refused:
        loop.ask("emit", {"family": "embedding", "type": "model_chosen", "data": {"model": model, "dimension": 256}}, ANN)
    assert refused.value.reason == "derived"


def test_where_very_many_are_kept_they_do_not_go_one_by_one() -> None:
    loop = loop_of(events_max=1_024)
    for number in range(1_040):
        loop.ask("emit", {"family": "chain", "type": "system_evolved", "data": {"text": f"step {number}"}}, ANN)
        loop.run(0.0)
        assert len(loop.state.nodes) <= 1_024
    gone = [len(event.events) for event in loop.events if isinstance(event, events.VectorForgotten)]
    assert gone == [5, 5, 5, 5]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_however_often_models_change_no_text_has_vectors_of_two_and_the_log_leads_there(seed: int) -> None:
    chance, loop = random.Random(seed), loop_of(events_max=16)
    for _ in range(50):
        match chance.randrange(6):
            case 0 | 1:
                emit(loop, f"text {chance.randrange(30)}")
            case 2:
                configure(loop, chance.choice((MODEL, TABLE_MODEL)))
            case 3 if loop.state.nodes:
                loop.ask("forget", {"event": chance.choice(list(loop.state.nodes))})
            case _:
                if errands := wanted(loop):
                    errand = chance.choice(errands)
                    if all(seq < len(loop.records) for seq in errand.params["records"]):
                        loop.ask(
                            "job_ended", ended(loop, errand) if chance.random() < 0.8 else JobEnded(errand.id, False, "poison")
                        )
        loop.run(0.0)
        state = loop.state
        assert all(len(each) == 1 for each in state.vectors.values())
        assert state.stored == len(state.vectors) == sum(state.kept.values())
        assert {*state.anew, *(each.event for each in state.waiting.values())} <= state.nodes.keys()
    derive(loop)
    assert not loop.state.anew and not loop.state.waiting
    assert loop.replayed() == loop.state and load(dump(loop.state)) == loop.state


def test_a_type_may_be_said_twice_but_not_two_types() -> None:
    loop = loop_of()
    older, newer = emit(loop, TEXTS[0]), emit(loop, TEXTS[1])
    for kind, data in (("citation_tracked", {"from": newer, "to": older}), ("content_stored", {"event": older, "place": "shelf"})):
        asked = {"family": "vector", "type": kind, "data": {**data, "type": kind}}
        assert loop.ask("emit", asked, ANN)[0].event_type == f"vector.{kind}"
        with pytest.raises(Refused):
            loop.ask("emit", {**asked, "data": {**data, "type": "evolved"}}, ANN)
