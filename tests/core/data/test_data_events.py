"""The data engine: what callers may tell, what irer makes of it, and that the log alone leads to the same."""

import json
import math
import random
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.cache.model import Cache
from core.cache.runs import Run
from core.canonical import event_payload
from core.data import ENGINE, commands, events, told
from core.data.embedding import TEXT_CHARS_MAX, embed, nearest, numbers, text_of
from core.data.patterns import EVIDENCE_MAX
from core.engine import Actor, Ask, Asked, Errand, JobEnded, Refused
from core.redact import Redactor, redact_event
from core.settings import CacheRemote, CacheSettings, Data, Settings
from tests.core.engine_loop import ANN, EngineLoop

BOB = Actor("engine:bob", "engine")
HEAT = "the heat pump of the north hall draws too much power at night"
HEATS = [HEAT, "too much power is drawn by the heat pumps in the north hall", "at night the heat pumps of the hall draw more power"]
BOAT = "a sailing boat lies at the eastern pier"
QUICK = Data(threshold=1.0, hold_s=60.0, settle_s=1.0)


def loop_of(data: Data = QUICK, share: bool = False, **more: Any) -> EngineLoop:
    remote = CacheRemote(url="http://far.example") if share else CacheRemote()
    return EngineLoop(ENGINE, Settings(data=data, cache=CacheSettings(remote=remote)), **more)


def emit(loop: EngineLoop, name: str, actor: Actor = ANN, **data: Any) -> str:
    family, _, kind = name.partition(".")
    [event] = loop.ask("emit", {"family": family, "type": kind, "data": data}, actor)
    return told.id_of(event)


def content(loop: EngineLoop, text: str, actor: Actor = ANN) -> str:
    made = emit(loop, "local.content_created", actor, text=text)
    derive(loop)
    return made


def derive(loop: EngineLoop) -> None:
    """What irerd does when texts wait: their vectors, and what is near each among all that were stored before."""
    while errands := [each for each in ENGINE.wanted(loop.state, loop.context()) if _of_texts(each)]:
        [errand] = errands
        rows = []
        for event in loop.events:
            if isinstance(event, told.EmbeddingGenerated) and event.model == "hashed-256":
                node = loop.state.nodes.get(event.event)
                if node is not None:
                    rows.append((node.seq, event.event, numbers(_raw(event.vector))))
        made = []
        for seq in errand.params["records"]:
            _, payload, _ = loop.records[seq]
            id, raw = sha256(payload).hexdigest(), embed(json.loads(payload)["text"])
            near = nearest(numbers(raw), rows, 8)
            rows.append((seq, id, numbers(raw)))
            priors = [{"event": each.event, "relevance": min(1.0, each.relevance)} for each in near]
            made.append({"event": id, "vector": text_of(raw), "priors": priors})
        loop.ask("job_ended", JobEnded(errand.id, True, "ok", "", {"made": made}))


def _of_texts(effect: Any) -> bool:
    return isinstance(effect, Errand) and effect.name == commands.DERIVE


def _raw(text: str) -> bytes:
    import base64

    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def refusal(loop: EngineLoop, verb: str, params: dict[str, Any], actor: Actor = ANN) -> Refused:
    before = len(loop.records)
    with pytest.raises(Refused) as refused:
        loop.ask(verb, params, actor)
    assert len(loop.records) == before
    return refused.value


def forged(loop: EngineLoop, name: str, **data: Any) -> Refused:
    family, _, kind = name.partition(".")
    return refusal(loop, "emit", {"family": family, "type": kind, "data": data})


def kinds(loop: EngineLoop, since: int = 0) -> list[str]:
    return [event.event_type for event in loop.events[since:]]


# --- what callers tell ------------------------------------------------------------------------------------------------


def test_an_event_is_called_by_what_it_says() -> None:
    loop = loop_of()
    made = emit(loop, "local.content_created", text=HEAT)
    assert made == sha256(b'{"text":"' + HEAT.encode() + b'","type":"content_created"}').hexdigest()
    assert made == sha256(loop.records[0][1]).hexdigest(), "anybody who has the log can work it out"
    assert emit(loop, "local.content_created", BOB, text=HEAT) == made
    assert len(loop.state.nodes) == 1 and loop.state.repeated == 1 and loop.state.nodes[made].actor == ANN.name
    assert emit(loop, "embedding.content_received", text=HEAT) != made, "another type is another event"


def test_what_is_stored_and_called_by_its_hash_is_redacted() -> None:
    [event] = loop_of().ask("emit", {"family": "local", "type": "content_created", "data": {"text": "mail ann@example.org now"}})
    stored = redact_event(Redactor(b"k" * 32), event)
    assert b"ann@example.org" not in event_payload(stored) and b"pn_" in event_payload(stored)
    assert commands.emitted([stored]).event == sha256(event_payload(stored)).hexdigest()
    owner = redact_event(Redactor(b"k" * 32), told.OwnershipVerified("ownership_verified", "0" * 64, "Ann Example", "notary"))
    assert owner.owner.startswith("pn_")


@pytest.mark.parametrize("name", sorted(events.DERIVED))
def test_what_irer_derives_is_taken_from_nobody(name: str) -> None:
    refused = forged(loop_of(), name, event="0" * 64)
    assert (refused.code, refused.reason) == ("invalid-argument", "derived") and "derived by irer" in refused.detail


def test_the_tables_name_every_type_once() -> None:
    names = {kind.event_type for kind in ENGINE.applies}
    own = {kind.event_type for kind in (told.CitationTracked, told.FeedbackReceived, told.EmbeddingGenerated)}
    sharing = {name for name in names if name.startswith("data.")}
    assert names - sharing == told.TOLD.keys() | own | events.DERIVED
    assert not told.TOLD.keys() & events.DERIVED and not own & events.DERIVED
    for name, kind in told.TOLD.items():
        assert msgspec.structs.fields(kind)[0].type.__args__ == (name.partition(".")[2],), "an event says its own type"  # type: ignore[union-attr]


def test_a_vector_of_a_caller_does_not_pass_for_irers_own() -> None:
    loop = loop_of()
    event = content(loop, HEAT)
    given = {"event": event, "model": "hashed-256", "dimension": 256, "vector": [1.0] * 256}
    assert forged(loop, "embedding.embedding_generated", **given).reason == "derived"


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("local.content_created", {"text": ""}, None),
        ("local.content_created", {"text": "!?"}, "text"),
        ("local.content_created", {"text": "x" * (TEXT_CHARS_MAX + 1)}, None),
        ("local.content_created", {"text": "\u6696" * TEXT_CHARS_MAX}, "too-large"),
        ("local.content_created", {"text": "half \udc00"}, None),
        ("local.content_created", {"text": "fine", "surprise": 1}, None),
        ("local.content_created", {"text": "fine", "type": "content_received"}, None),
        ("local.content_created", {}, None),
        ("local.contents_created", {}, None),
        ("chain.state_authorized", {"state": "\udfff", "by": "a"}, None),
        ("model.confidence_calculated", {"event": "0" * 64, "score": math.nan}, None),
        ("model.confidence_calculated", {"event": "0" * 64, "score": 2}, None),
        ("model.confidence_calculated", {"event": "0" * 64, "score": 1}, "event"),
        ("local.knowledge_emerged", {"text": "x", "events": ["0" * 64]}, "event"),
        ("model.pattern_strengthened", {"pattern": "none", "event": "0" * 64, "weight": 1}, "event"),
    ],
)
def test_hostile_events_are_refused_in_words(name: str, data: dict[str, Any], reason: str | None) -> None:
    refused = forged(loop_of(), name, **data)
    assert refused.code in ("invalid-argument", "not-found") and refused.reason == reason
    assert refused.detail and "^" not in refused.detail


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"vector": [math.nan, 1.0, 0.0]}, None),
        ({"vector": [math.inf, 1.0, 0.0]}, None),
        ({"vector": [0.0, 0.0, 0.0]}, "vector"),
        ({"vector": [1.0, 2.0]}, "dimension"),
        ({"dimension": 4, "vector": [1.0] * 4}, "dimension"),
        ({"event": "0" * 64}, "event"),
        ({"vector": []}, None),
    ],
)
def test_vectors_that_cannot_be_are_refused(change: dict[str, Any], reason: str | None) -> None:
    loop = loop_of()
    given = {"event": content(loop, HEAT), "model": "mine", "dimension": 3, "vector": [3.0, 0.0, 4.0]}
    loop.ask("emit", {"family": "embedding", "type": "embedding_generated", "data": given})
    assert forged(loop, "embedding.embedding_generated", **{**given, **change}).reason == reason


def test_a_vector_replaces_the_one_before_it() -> None:
    loop = loop_of()
    given = {"event": content(loop, HEAT), "model": "mine", "dimension": 2, "vector": [3.0, 4.0]}
    for place in range(2):
        first, stored = loop.ask("emit", {"family": "embedding", "type": "embedding_generated", "data": given})
        assert isinstance(first, told.EmbeddingGenerated) and isinstance(stored, events.VectorStored)
        assert first.replaces == (None, len(loop.records) - 4)[place]
    assert loop.state.stored == 2 and stored.hash == sha256(_raw(first.vector)).hexdigest()


# --- what follows ---------------------------------------------------------------------------------------------------------


def test_a_text_gets_its_vector_its_priors_and_a_pattern() -> None:
    loop = loop_of()
    first, second = content(loop, HEATS[0]), content(loop, HEATS[1])
    content(loop, BOAT)
    assert kinds(loop)[4:8] == [
        "local.content_created",
        "embedding.embedding_generated",
        "embedding.vector_stored",
        "embedding.priors_found",
    ]
    assert loop.state.priors == {second: {first: pytest.approx(0.762701)}}
    [pattern] = loop.state.book.patterns.values()
    assert list(pattern.evidence) == [first, second] and pattern.pattern == f"p-{first[:16]}"
    assert not loop.state.waiting


def test_texts_that_wait_together_find_one_another() -> None:
    loop = loop_of()
    ids = [emit(loop, "local.content_created", text=text) for text in HEATS]
    derive(loop)
    [pattern] = loop.state.book.patterns.values()
    assert set(pattern.evidence) == set(ids)
    assert loop.replayed() == loop.state


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"made": [{"event": "0" * 64, "vector": "AAAA"}]},
        {"made": [{"event": "THE", "vector": "AAAA"}]},
        {"made": [{"event": "THE", "vector": "A" * 1366}]},
        {"made": 1},
    ],
)
def test_what_the_work_says_is_checked(result: dict[str, Any]) -> None:
    loop = loop_of()
    event = emit(loop, "local.content_created", text=HEAT)
    for made in result.get("made", []) if isinstance(result.get("made"), list) else []:
        made["event"] = made["event"].replace("THE", event)
    loop.ask("job_ended", JobEnded("event_log:0:0", True, "ok", "", result))
    assert kinds(loop)[1:] == ["embedding.not_embedded"] and not loop.state.waiting and not loop.state.stored


def test_a_text_that_got_no_vector_gets_one_when_it_is_told_again() -> None:
    loop = loop_of()
    event = emit(loop, "local.content_created", text=HEAT)
    loop.ask("job_ended", JobEnded("event_log:0:0", False, "internal"))
    assert event not in loop.state.vectors and not loop.state.waiting
    assert content(loop, HEAT) == event
    assert loop.state.vectors[event] and loop.state.repeated == 1
    content(loop, HEAT)
    assert kinds(loop).count("embedding.embedding_generated") == 1 and loop.replayed() == loop.state


def test_a_prior_must_be_known_and_older() -> None:
    loop = loop_of()
    first, second = emit(loop, "local.content_created", text=HEATS[0]), emit(loop, "local.content_created", text=HEATS[1])
    priors = [{"event": event, "relevance": 0.9} for event in (second, first, "0" * 64)]
    made = [
        {"event": event, "vector": text_of(embed(text)), "priors": priors}
        for event, text in zip((first, second), HEATS, strict=False)
    ]
    loop.ask("job_ended", JobEnded("event_log:0:0", True, "ok", "", {"made": made}))
    assert loop.state.priors == {second: {first: 0.9}}


def test_only_older_events_can_be_cited_and_only_once() -> None:
    loop = loop_of()
    old, new = content(loop, HEAT), content(loop, BOAT)
    assert refusal(loop, "cite", {"from": old, "to": new}).reason == "not-older"
    assert refusal(loop, "cite", {"from": old, "to": old}).reason == "not-older"
    assert refusal(loop, "cite", {"from": new, "to": "0" * 64}).code == "not-found"
    assert loop.ask("cite", {"from": new, "to": old})
    assert loop.ask("cite", {"from": new, "to": old}) == []
    assert loop.ask("feedback", {"event": old, "rating": 0.5})
    assert loop.ask("feedback", {"event": old, "rating": 0.5}) == []
    assert forged(loop, "vector.citation_tracked", **{"from": old, "to": new}).reason == "not-older", "emit is no way around"


def test_a_citation_strengthens_the_pattern_of_what_is_cited() -> None:
    loop = loop_of()
    old, new = content(loop, HEATS[0]), content(loop, HEATS[1])
    [before] = loop.look("patterns").patterns
    loop.ask("cite", {"from": new, "to": old})
    [after] = loop.look("patterns").patterns
    assert before.strength == pytest.approx(1 + 0.762701) and after.strength == pytest.approx(1 + math.log(2) + 0.762701)
    loop.ask("feedback", {"event": old, "rating": 1.0})
    assert loop.look("patterns").patterns[0].strength == pytest.approx((1 + math.log(2)) * 4 / 3 + 0.762701)
    loop.ask("feedback", {"event": old, "rating": 0.0})
    assert loop.look("patterns").patterns[0].strength == pytest.approx((1 + math.log(2)) * 2 / 3 + 0.762701), "one voice each"
    boat = content(loop, BOAT)
    loop.ask("cite", {"from": boat, "to": old})
    assert boat in loop.state.book.patterns[after.pattern].evidence


def test_value_is_distributed_once_and_adds_up() -> None:
    loop = loop_of()
    ids = [content(loop, text) for text in [*HEATS, BOAT]]
    for to in ids[:3]:
        loop.ask("cite", {"from": ids[3], "to": to}, ANN)
    loop.run(0.5)
    assert not loop.state.distributed, "more citations may follow"
    loop.run(1.0)
    [paid] = [event for event in loop.events if isinstance(event, events.ValueDistributed)]
    assert sum(share.units for share in paid.shares) == paid.units == 1_000
    extra = content(loop, "one more sailing boat")
    loop.ask("cite", {"from": extra, "to": ids[3]})
    loop.run(5.0)
    answer = loop.look("value")
    assert answer.distributed == 2_000 == sum(row.units for row in answer.contributors) == sum(row.units for row in answer.events)
    assert kinds(loop).count("embedding.topology_updated") == 2
    late = content(loop, "the harbour was heated")
    loop.ask("cite", {"from": late, "to": extra})
    loop.run(5.0)
    loop.ask("cite", {"from": late, "to": ids[0]})
    loop.run(5.0)
    assert loop.look("value").distributed == 3_000, "an event gives once"


def test_contributors_who_cite_one_another_are_a_team() -> None:
    loop = loop_of()
    ann, bob = content(loop, HEATS[0]), content(loop, BOAT, BOB)
    loop.ask("cite", {"from": bob, "to": ann}, BOB)
    assert not [name for name in loop.state.book.patterns if name.startswith("t-")]
    again = content(loop, "the harbour was heated")
    loop.ask("cite", {"from": again, "to": ann})
    loop.ask("cite", {"from": content(loop, "and it was cold again"), "to": again})
    assert not [name for name in loop.state.book.patterns if name.startswith("t-")], "whoever cites himself is no team"
    loop.ask("cite", {"from": again, "to": bob})
    [team] = [each for each in loop.look("patterns").patterns if each.kind == "team"]
    assert team.contributors == ["engine:bob", "uid:1001"]


def test_a_model_has_patterns_of_its_own() -> None:
    loop = loop_of()
    event = content(loop, HEAT)
    emit(loop, "model.pattern_recognized", pattern="warmth", event=event, relevance=0.5)
    emit(loop, "model.pattern_strengthened", pattern="warmth", event=event, weight=1.0)
    [row] = loop.look("patterns").patterns
    assert (row.pattern, row.kind, row.strength) == ("model:warmth", "model", pytest.approx(1.0))


def test_a_pattern_crystallises_and_melts_as_events_of_its_own() -> None:
    loop = loop_of()
    old, new = content(loop, HEATS[0]), content(loop, HEATS[1])
    loop.ask("cite", {"from": new, "to": old})
    loop.run(61.0)
    states = [event.state for event in loop.events if isinstance(event, events.ValueEvolved)]
    assert states == ["rising", "crystallised"] and kinds(loop).count("local.value_crystallized") == 1
    loop.restart(40 * 86_400.0, reboot=True)
    loop.run(0.0)
    assert loop.look("patterns").patterns[0].state == "forming"
    loop.run(200 * 86_400.0)
    assert loop.look("patterns").patterns == [] and loop.replayed() == loop.state


def test_what_is_let_go_of_is_gone_and_its_record_is_not() -> None:
    loop = loop_of()
    ids = [content(loop, text) for text in HEATS]
    loop.ask("cite", {"from": ids[2], "to": ids[0]})
    loop.ask("cite", {"from": ids[2], "to": ids[1]})
    loop.ask("feedback", {"event": ids[0], "rating": 1})
    seq = loop.state.vectors[ids[0]]["hashed-256"]
    [gone] = loop.ask("forget", {"event": ids[0]})
    assert isinstance(gone, events.VectorForgotten) and gone.records == [seq]
    state = loop.state
    assert ids[0] not in {*state.nodes, *state.vectors, *state.votes, *state.network.cited_by, *state.book.of_event}
    assert refusal(loop, "feedback", {"event": ids[0], "rating": 1}).code == "not-found"
    loop.run(5.0)
    assert state.distributed == 1_000, "to what is left"
    loop.ask("forget", {"event": ids[1]})
    fresh = content(loop, BOAT)
    loop.ask("cite", {"from": fresh, "to": ids[2]})
    loop.ask("forget", {"event": ids[2]})
    loop.run(5.0)
    assert state.distributed == 1_000 and not state.unpaid, "there is nothing left to give to"
    assert loop.replayed() == loop.state


def test_the_oldest_are_let_go_of_where_there_are_too_many() -> None:
    loop = loop_of(Data(events_max=16))
    ids = [emit(loop, "local.content_created", text=f"text number {number}") for number in range(20)]
    loop.run(0.0)
    assert list(loop.state.nodes) == ids[4:] and len(loop.state.waiting) == 16
    assert loop.state.oldest() == 4


def test_a_pattern_never_has_more_evidence_than_it_may() -> None:
    loop = loop_of(Data(events_max=10_000))
    first = content(loop, HEAT)
    for number in range(EVIDENCE_MAX + 5):
        event = emit(loop, "chain.system_evolved", text=f"step {number}")
        loop.ask("cite", {"from": event, "to": first})
    assert len(loop.state.book.patterns[f"p-{first[:16]}"].evidence) == EVIDENCE_MAX
    assert loop.replayed() == loop.state


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_whatever_happens_the_log_alone_leads_there_and_the_network_has_no_circle(seed: int) -> None:
    chance, loop, ids = random.Random(seed), loop_of(Data(settle_s=0.5, threshold=1.5, hold_s=30, events_max=16)), []
    for _ in range(40):
        actor = chance.choice((ANN, BOB))
        match chance.randrange(7):
            case 0 | 1:
                text = " ".join(chance.sample(HEATS[0].split() + BOAT.split(), 6))
                ids.append(emit(loop, "local.content_created", actor, text=text))
            case 2:
                derive(loop)
            case 3 if ids:
                loop.ask("feedback", {"event": ids[-1], "rating": chance.random()}, actor)
            case 4:
                loop.run(chance.choice((0.1, 5.0, 3e6)))
            case 5 if chance.random() < 0.3:
                loop.restart(10.0, reboot=True)
            case _ if len(ids) > 1:
                one, other = sorted(chance.sample(range(len(ids)), 2))
                try:
                    loop.ask("cite", {"from": ids[other], "to": ids[one]}, actor)
                except Refused as refused:
                    assert refused.code in ("not-found", "failed-precondition")
        ids = [event for event in ids if event in loop.state.nodes]
        state = loop.state
        assert all(state.nodes[to].seq < state.nodes[citing].seq for citing, to in state.network.pairs())
        assert sum(state.earned.values()) == state.distributed
    assert loop.replayed() == loop.state


# --- sharing ----------------------------------------------------------------------------------------------------------------


class Far:
    """The cache, as this engine meets it: each key gets a revision, and a sync of its own ends when it is told to."""

    def __init__(self) -> None:
        self.set: dict[str, Any] = {}
        self.code = "ok"
        self.cache: Cache | None = None

    def __call__(self, ask: Ask) -> Asked:
        if ask.method == "cache.set":
            if self.code == "cache-full":
                return Asked(ask.id, False, "resource-exhausted", "the cache is full")
            self.set[ask.params["key"]] = ask.params["value"]
            return Asked(ask.id, True, "ok", "", {"key": ask.params["key"], "rev": "1-a"})
        assert self.cache is not None
        self.cache.runs = self.cache.runs.began(Run("c-1", 0, "far", 0))
        return Asked(ask.id, True, "ok", "", {"job": "c-1"})


def crystallised(share: bool, far: Far) -> EngineLoop:
    loop = loop_of(Data(threshold=1.0, hold_s=60.0, share=share), share=True, answer=far)
    far.cache = loop.elsewhere["cache"]
    old, new = content(loop, HEATS[0]), content(loop, HEATS[1])
    loop.ask("cite", {"from": new, "to": old})
    loop.run(61.0)
    return loop


def cache_ends(loop: EngineLoop, code: str = "ok") -> None:
    cache = loop.elsewhere["cache"]
    run = Run("c-1", 0, "far", 0, 1, code, "", {"pushed": 1, "pulled": 2})
    cache.runs = cache.runs.ended(run, code != "ok", 0)


def test_a_sync_puts_crystallised_patterns_into_the_cache_and_ends_with_it() -> None:
    far = Far()
    loop = crystallised(False, far)
    assert far.set == {}, "nothing is shared by itself unless it is configured"
    [started] = loop.ask("sync")
    assert refusal(loop, "sync", {}).code == "already-running"
    loop.settle()
    [(key, document)] = far.set.items()
    assert key.startswith("data/pattern/p-") and [each["relevance"] for each in document["events"]] == [
        1.0,
        pytest.approx(0.762701),
    ]
    assert HEAT not in json.dumps(document), "no text leaves"
    assert [job.state for job in ENGINE.jobs(loop.state)] == ["running"]  # type: ignore[misc]
    cache_ends(loop)
    loop.settle()
    [job] = ENGINE.jobs(loop.state)  # type: ignore[misc]
    assert (job.ok, job.result) == (True, {"shared": 1, "pushed": 1, "pulled": 2})
    assert loop.look("patterns").patterns[0].key == key
    assert isinstance(started, events.SharingStarted) and loop.replayed() == loop.state
    loop.ask("sync")
    assert loop.state.sync.patterns == (), "what was shared is not shared again"


def test_a_crystallised_pattern_is_shared_by_itself_where_config_says_so() -> None:
    far = Far()
    loop = crystallised(True, far)
    assert len(far.set) == 1
    cache_ends(loop, "unreachable")
    loop.settle()
    assert loop.state.syncs[0].code == "unreachable" and loop.state.sync is None
    loop.run(600.0)
    assert loop.state.sync is None, "it is in the cache, whose next sync takes it along"


def test_a_cache_that_refuses_ends_the_sync_and_it_is_tried_again_later() -> None:
    far = Far()
    far.code = "cache-full"
    loop = crystallised(True, far)
    assert loop.state.syncs[0].code == "resource-exhausted" and not far.set
    far.code = "ok"
    loop.run(100.0)
    assert not far.set
    loop.run(250.0)
    assert far.set


def test_a_sync_can_be_ended_and_needs_a_far_end() -> None:
    assert refusal(loop_of(), "sync", {}).reason == "no-remote"
    loop = loop_of(share=True)
    loop.elsewhere["cache"].online = False
    assert refusal(loop, "sync", {}).reason == "offline"
    loop.elsewhere["cache"].online = True
    [started] = loop.ask("sync")
    loop.ask("cancel_job", {"job": started.job})
    assert loop.state.sync is None and loop.ask("cancel_job", {"job": started.job}) == []
    assert refusal(loop, "cancel_job", {"job": "none"}).code == "not-found"
