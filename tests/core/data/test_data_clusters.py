"""Clusters as the data engine judges them: what a worker found becomes facts only where it makes sense, ids last, and the log alone
leads there."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data import ENGINE, clusters, events
from core.data.embedding import MODEL, text_of, unit
from core.data.model import dump, load
from core.engine import Errand, JobEnded
from core.settings import Data
from tests.core.data.test_data_events import content, loop_of
from tests.core.engine_loop import EngineLoop


def full(many: int = 8) -> EngineLoop:
    loop = loop_of()
    for place in range(many):
        content(loop, f"text number {place} of many")
    return loop


def asked(loop: EngineLoop) -> Errand | None:
    found = [each for each in ENGINE.wanted(loop.state, loop.context()) if isinstance(each, Errand)]  # type: ignore[misc]
    [errand] = [each for each in found if each.name == clusters.GROUP] or [None]
    return errand


def centroid(seed: int) -> str:
    chance = random.Random(seed)
    return text_of(unit([chance.gauss(0, 1) for _ in range(256)]))


def row(seed: int, cluster: str | None = None, **more: Any) -> dict[str, Any]:
    return {"cluster": cluster, "centroid": centroid(seed), "size": 4, "near": 0.7, "moved": False, "examples": [], **more}


def answer(loop: EngineLoop, *rows: dict[str, Any], **more: Any) -> list[Any]:
    errand = asked(loop)
    assert errand is not None
    found = {"model": MODEL, "dimension": 256, "vectors": loop.state.kept[MODEL], "loose": 0, "clusters": list(rows), **more}
    return list(loop.ask("job_ended", JobEnded(errand.id, True, "ok", "", found)))


def test_they_are_looked_for_from_eight_vectors_on_and_again_after_a_quarter_more() -> None:
    loop = full(7)
    assert asked(loop) is None
    content(loop, "the eighth text")
    first = asked(loop)
    assert first is not None
    answer(loop)
    assert asked(loop) is None
    for place in range(8):
        assert asked(loop) is None, "not for each text"
        content(loop, f"one more {place}")
    second = asked(loop)
    assert second is not None and second.id != first.id
    answer(loop)
    for event in list(loop.state.nodes)[:8]:
        assert asked(loop) is None
        loop.ask("forget", {"event": event})
    assert asked(loop) is not None, "nor do they stay when many go"


def test_vectors_that_came_too_late_count_for_the_next_look() -> None:
    loop = full(16)
    answer(loop, vectors=8)
    assert asked(loop) is not None


def test_an_id_lasts_while_a_cluster_grows_moves_and_turns() -> None:
    loop = full()
    formed = answer(loop, row(1), row(2))
    names = [event.cluster for event in formed if isinstance(event, events.ClusterFormed)]
    assert len(set(names)) == 2 and [each.size for each in loop.state.clusters.values()] == [4, 4]
    for place in range(8):
        content(loop, f"one more {place}")
    later = answer(loop, row(3, names[0], size=9, moved=True), row(4, names[1], size=5))
    assert [type(event).__name__ for event in later] == ["ClusterFormed", "ClustersUpdated"], "only what moved is told anew"
    assert {name: each.size for name, each in loop.state.clusters.items()} == {names[0]: 9, names[1]: 5}
    for place in range(8):
        content(loop, f"yet more {place}")
    answer(loop, row(4, names[1], size=12))
    assert list(loop.state.clusters) == [names[1]], "what is not named is gone"


@pytest.mark.parametrize(
    ("rows", "more"),
    [
        ([row(1, "c-never-seen")], {}),
        ([row(1), row(1)], {}),
        ([row(1, centroid="AAAA")], {}),
        ([row(1, centroid=text_of(b"\x00\x00\xc0\x7f" * 256))], {}),
        ([row(1)], {"dimension": 128}),
        ([row(1, size=-1)], {}),
        ([row(1, more=1)], {}),
        ([row(1, near=7.0)], {}),
    ],
    ids=["unknown id", "twice", "no vector", "NaN", "another dimension", "no size", "one field more", "no cosine"],
)
def test_what_makes_no_sense_changes_no_cluster(rows: list[dict[str, Any]], more: dict[str, Any]) -> None:
    loop = full()
    answer(loop, row(7))
    before = dict(loop.state.clusters)
    for place in range(8):
        content(loop, f"one more {place}")
    [told] = answer(loop, *rows, **more)
    assert told.code == "bad-output" and loop.state.clusters == before
    assert asked(loop) is None, "it is not asked for again at once"


def test_a_failure_is_told_once_and_an_answer_to_an_older_question_is_nothing() -> None:
    loop = full()
    errand = asked(loop)
    assert errand is not None
    loop.ask("job_ended", JobEnded(errand.id, False, "not-installed"))
    assert loop.state.compared.code == "not-installed" and asked(loop) is None
    before = len(loop.records)
    loop.ask("job_ended", JobEnded(errand.id, True, "ok", "", {"made": []}))
    assert len(loop.records) == before


def test_very_many_form_in_several_commands_the_largest_first() -> None:
    loop = full()
    rows = [row(seed, size=seed) for seed in range(1, 101)]
    told = answer(loop, *rows)
    assert len(told) == clusters.FORMED_MAX + 1 and told[-1].more and min(each.size for each in told[-1].sizes) == 37
    assert asked(loop) is not None
    known = {each.cluster: each.size for each in told[-1].sizes}
    rest = [row(seed, size=seed) for seed in range(1, 37)]
    told = answer(loop, *[row(size, name, size=size) for name, size in known.items()], *rest)
    assert len(loop.state.clusters) == 100 and not told[-1].more and asked(loop) is None


def test_a_centroid_keeps_its_record_and_no_more_of_the_log_than_that() -> None:
    loop = full()
    answer(loop, row(1))
    [cluster] = loop.state.clusters.values()
    [name] = loop.state.clusters
    for place in range(8):
        content(loop, f"one more {place}")
    for event in list(loop.state.nodes)[:8]:
        loop.ask("forget", {"event": event})
    assert loop.state.oldest() == cluster.record < loop.state.oldest_node(), "it is read from there"
    answer(loop, row(1, name))
    assert loop.state.clusters[name].record > cluster.record and loop.state.oldest() == loop.state.oldest_node()


def test_the_fullest_record_is_small_enough() -> None:
    """1,024 clusters of a million vectors."""
    from core.canonical import event_payload
    from state.seal import RECORD_BYTES_MAX

    sizes = [events.ClusterSize(f"c-{place:010x}", 999_999, 0.9999) for place in range(events.CLUSTERS_MAX)]
    said = events.ClustersUpdated(MODEL, "ok", 1_000_000, 1_000_000, sizes, True, "event_log:9999999999:clusters")
    assert len(event_payload(said)) < RECORD_BYTES_MAX - 2_048


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32))
def test_whatever_is_found_the_log_alone_leads_there(seed: int) -> None:
    chance = random.Random(seed)
    loop = loop_of(Data(events_max=24))
    for step in range(40):
        content(loop, f"text {chance.randrange(30)} of {step}")
        if asked(loop) is not None:
            old = [
                row(chance.randrange(99), name, moved=chance.random() < 0.5)
                for name in loop.state.clusters
                if chance.random() < 0.7
            ]
            answer(loop, *old, *[row(chance.randrange(100, 999_999)) for _ in range(chance.randrange(3))])
        loop.run(0.5)
    assert loop.state.kept[MODEL] == sum(MODEL in each for each in loop.state.vectors.values()) <= 24
    assert loop.replayed() == loop.state
    assert load(dump(loop.state)) == loop.state


def test_what_is_let_go_of_leaves_nothing_behind() -> None:
    """Memory follows what is kept, however much was ever told."""
    chance, loop = random.Random(11), loop_of(Data(events_max=16, settle_s=0.5))
    for step in range(120):
        content(loop, f"text {step % 7} of {step} about the pump")
        newer, older = (
            sorted(chance.sample(list(loop.state.nodes), 2), key=lambda event: -loop.state.nodes[event].seq) if step else ("", "")
        )
        if newer:
            loop.ask("cite", {"from": newer, "to": older})
            loop.ask("feedback", {"event": older, "rating": chance.random()})
        loop.run(1.0)
    state = loop.state
    assert len(state.nodes) == 16
    network = state.network
    for known in (state.vectors, state.priors, state.votes, state.unpaid, state.paid, state.value, network.cites, network.cited_by):
        assert known.keys() <= state.nodes.keys()
    assert state.book.of_event.keys() <= state.nodes.keys() and state.stored == 16 and not state.waiting
    assert loop.replayed() == state
