"""What the replicator stands on: documents both ways without loss, and replicas that agree once they have told each other all."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.cache import ENGINE
from core.cache.commands import GENERATION_TAKEN_MAX, Merge
from core.cache.events import ValueDeleted, ValueExpired, ValueSet
from core.cache.form import EXPIRES, VALUE, members, value_of
from core.cache.sync import Leaf, batches, changes_since, incoming, leaf_bodies, outgoing, outgoing_raw, revs_diff, waiting
from core.canonical import encode, event_payload
from core.engine import IRER, Place, Refused
from core.revisions import known, parse_rev
from core.times import time_text
from tests.core.engine_loop import START_US, EngineLoop

NAMES = st.sampled_from(["a", VALUE, EXPIRES, "irer:other"])
MEMBERS = NAMES | st.just("_id")
TIMES = st.sampled_from(["soon", time_text(START_US), time_text(1), "2026-01-01T00:00:00Z", 5])
LEAVES = st.none() | st.integers(-3, 3) | st.sampled_from(["x"]) | TIMES
ANY = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(MEMBERS, inner, max_size=3), max_leaves=6)


@settings(max_examples=400, deadline=None)
@given(value=ANY, expires_us=st.sampled_from([0, 1, START_US]))
def test_a_value_becomes_a_document_and_again_that_value(value: Any, expires_us: int) -> None:
    body = members(value, expires_us)
    assert isinstance(body, dict) and value_of(body) == (value, expires_us)
    if isinstance(value, dict) and not expires_us and not {VALUE, EXPIRES, "_id"} & value.keys():
        assert body == value, "an object is the document itself"


@settings(max_examples=400, deadline=None)
@given(body=st.dictionaries(NAMES, ANY, max_size=3))
def test_whoever_wrote_a_document_it_goes_back_as_it_came(body: dict[str, Any]) -> None:
    assert members(*value_of(body)) == body


@settings(max_examples=200, deadline=None)
@given(value=ANY, expires_us=st.sampled_from([0, START_US]), rev=st.sampled_from(['1-"', "2-" + 32 * "a"]))
def test_a_document_is_sent_as_it_stands_where_that_is_the_same(value: Any, expires_us: int, rev: str) -> None:
    leaf = Leaf('a"\n', rev, int(rev[0]), (rev[2:], "before")[: int(rev[0])], Place("a", 1), 9, expires_us)
    sent = json.loads(outgoing_raw(leaf, encode(value)))
    assert sent == json.loads(json.dumps(outgoing(leaf, value)))


@pytest.mark.parametrize("value", [{}, {"n": 1e300}, {"n": 2.0**60}, {"t": '"_x'}, {"a": {"_b": 1}}, {"é": "\n"}, "_", None])
def test_odd_values_are_sent_whole(value: Any) -> None:
    leaf = Leaf("a", "1-a", 1, ("a",), Place("a", 1), 9, 0)
    assert json.loads(outgoing_raw(leaf, encode(value))) == json.loads(json.dumps(outgoing(leaf, value)))
    assert json.loads(outgoing_raw(leaf._replace(place=None), None)) == json.loads(
        json.dumps(outgoing(leaf._replace(place=None), None))
    )


# --- documents ------------------------------------------------------------------------------------------------------------


def test_a_document_is_what_couchdb_would_call_it() -> None:
    loop = EngineLoop(ENGINE)
    [first] = loop.ask("set", {"key": "a", "value": {"n": 1}})
    [second] = loop.ask("set", {"key": "a", "value": [1], "ttl_s": 60.0})
    [leaf] = leaf_bodies(loop.state, "a")
    assert outgoing(leaf, [1]) == {
        "_id": "a",
        "_rev": second.rev,
        "_revisions": {"start": 2, "ids": [second.rev[2:], first.rev[2:]]},
        "irer:value": [1],
        "irer:expires_at": "2026-01-01T00:01:00.000000Z",
    }
    [gone] = loop.ask("delete", {"key": "a"})
    [leaf] = leaf_bodies(loop.state, "a")
    assert outgoing(leaf, None) == {
        "_id": "a",
        "_rev": gone.rev,
        "_deleted": True,
        "_revisions": {"start": 3, "ids": [gone.rev[2:], second.rev[2:], first.rev[2:]]},
    }


@pytest.mark.parametrize(
    ("document", "code", "said"),
    [
        ({"_attachments": {"photo": {"stub": True}}}, "unimplemented", "attachments"),
        ({"_id": "_design/views"}, "invalid-argument", "_design/views"),
        ({"_id": 7}, "invalid-argument", "without _id"),
        ({"_id": "é" * 257}, "invalid-argument", "bytes"),
        ({"_rev": "1"}, "invalid-argument", "no revision"),
        ({"_rev": None}, "invalid-argument", "no revision"),
        ({"_revisions": {"start": 2, "ids": ["x"]}}, "invalid-argument", "do not agree"),
        ({"_revisions": {"start": 1, "ids": []}}, "invalid-argument", "merged"),
        ({"_revisions": [1]}, "invalid-argument", "merged"),
        ({"_rev": f"{10**15 - 1}-x", "_revisions": None}, "invalid-argument", "merged"),
        ({"n": 2**60}, "invalid-argument", "beyond"),
        ({"n": "x" * 1_100_000}, "invalid-argument", "1,048,576"),
    ],
)
def test_a_document_that_cannot_be_held_is_refused_clearly(document: dict[str, Any], code: str, said: str) -> None:
    good = {"_id": "a", "_rev": "1-x", "_revisions": {"start": 1, "ids": ["x"]}, "n": 1}
    assert incoming(good).large is None
    with pytest.raises(Refused) as refused:
        incoming(good | document)
    assert refused.value.code == code and said in refused.value.detail


def test_the_highest_revision_that_is_taken_in_can_still_be_edited_here() -> None:
    loop = EngineLoop(ENGINE)
    loop.ask("merge", {"documents": [plain({"_id": "a", "_rev": f"{GENERATION_TAKEN_MAX}-x", "n": 1})]}, IRER)
    loop.ask("set", {"key": "a", "value": 2})
    loop.ask("delete", {"key": "a"})
    [change] = changes_since(loop.state, -1, 10)
    assert change.revs[0].startswith(f"{GENERATION_TAKEN_MAX + 2}-") and not revs_diff(loop.state, {"a": change.revs})


def test_a_large_document_is_handed_on_to_be_stored_first() -> None:
    arrived = incoming({"_id": "a", "_rev": "1-x", "text": "t" * 20_000})
    assert arrived.large == encode({"text": "t" * 20_000})
    assert arrived.size < 2_000, "a blob is no part of the record"


def test_a_batch_is_what_one_command_can_hold() -> None:
    revisions = {"start": 900, "ids": [f"{number:032x}" for number in range(900)]}
    document = {"_rev": f"900-{0:032x}", "_revisions": revisions, "text": "t" * 16_000}
    arrived = [incoming({"_id": f"k{number}", **document}) for number in range(60)]
    arrived += [incoming({"_id": f"s{number}", "_rev": "1-x", "n": number}) for number in range(500)]
    loop = EngineLoop(ENGINE)
    parts = list(batches(arrived))
    assert [each.incoming.key for part in parts for each in part] == [each.incoming.key for each in arrived]
    for part in parts:
        events = loop.ask("merge", Merge([each.incoming for each in part]), IRER)
        assert sum(len(event_payload(event)) + 600 for event in events) < 1_000_000 and len(events) <= 256
    assert len(parts) < 8


def test_what_changed_is_told_once_by_its_last_change_and_in_order() -> None:
    loop = EngineLoop(ENGINE)
    for key in ("a", "b", "c", "a"):
        loop.ask("set", {"key": key, "value": key})
    loop.ask("merge", {"documents": [{"key": "d", "generation": 1, "ids": ["x"], "value": 1}]}, IRER)
    changes = changes_since(loop.state, -1, 10)
    assert [(change.key, change.seq) for change in changes] == [("b", 1), ("c", 2), ("a", 3), ("d", 4)]
    assert changes_since(loop.state, 1, 1) == changes[1:2] and changes_since(loop.state, 4, 10) == []
    assert [change.key for change in waiting(loop.state, -1, 10)] == ["b", "c", "a"], "what came from there does not wait"
    a = changes[2].revs
    assert revs_diff(loop.state, {"a": a, "d": ["1-x", "2-y"], "new": ["1-z"]}) == {
        "d": (["2-y"], ["1-x"]),
        "new": (["1-z"], []),
    }
    with pytest.raises(Refused, match="is no revision"):
        revs_diff(loop.state, {"a": ["x"]})
    assert [change.fresh for change in changes] == [True, True, True, False], "no far end has heard of the first three"
    loop.ask("pushed", {"remote": "r", "documents": [{"key": "b", "revs": changes[0].revs}, {"key": "c", "revs": ["9-x"]}]}, IRER)
    assert [change.fresh for change in changes_since(loop.state, -1, 3)] == [False, False, True], "confirmed, or changed meanwhile"
    loop.ask("set", {"key": "c", "value": 3})
    changes = changes_since(loop.state, -1, 10)
    assert [(change.key, change.fresh) for change in changes] == [("b", False), ("a", True), ("d", False), ("c", False)]


# --- two replicas -------------------------------------------------------------------------------------------------------------


def tell(teller: EngineLoop, listener: EngineLoop, batch: int) -> None:
    """All that one has changed, as the protocol tells it: changes, what is missing, documents as JSON, one merge a batch."""
    seq = -1
    while changes := changes_since(teller.state, seq, batch):
        seq = changes[-1].seq
        absent = revs_diff(listener.state, {change.key: change.revs for change in changes})
        documents = []
        for key, diff in absent.items():
            for leaf in leaf_bodies(teller.state, key, diff.missing):
                value = None
                if leaf.place is not None:
                    value = teller.look("get", {"key": key, "rev": leaf.rev}).value if live(teller, key) else stored(teller, leaf)
                documents.append(json.loads(json.dumps(outgoing(leaf, value))))
        if documents:
            listener.ask("merge", {"documents": [plain(document) for document in documents]}, IRER)
        sent = [{"key": change.key, "revs": change.revs} for change in changes]
        teller.ask("pushed", {"remote": "other", "documents": sent}, IRER)


def live(loop: EngineLoop, key: str) -> bool:
    return loop.state.docs[key].live and not 0 < loop.state.docs[key].expires_us <= loop.wall_us


def stored(loop: EngineLoop, leaf: Any) -> Any:
    _, payload, _ = loop.records[leaf.place.seq]
    return json.loads(payload).get("value")


def plain(document: dict[str, Any]) -> dict[str, Any]:
    made = incoming(document).incoming
    return {name: getattr(made, name) for name in made.__struct_fields__}


def truth(loop: EngineLoop) -> dict[str, Any]:
    """What must be the same everywhere."""
    found: dict[str, Any] = {}
    for key, doc in sorted(loop.state.docs.items()):
        bodies = {rev: (body.size, body.expires_us) for rev, body in doc.bodies.items()}
        found[key] = [(leaf.rev, leaf.deleted) for leaf in doc.tree], bodies
    return found


KEYS = st.sampled_from("abc")
MOVES = st.lists(
    st.one_of(
        st.tuples(
            st.just("set"),
            st.booleans(),
            st.sampled_from("abc"),
            st.sampled_from([1, "x", {"n": 5.0}]),
            st.sampled_from([None, 3.0]),
        ),
        st.tuples(st.just("delete"), st.booleans(), KEYS),
        st.tuples(st.just("resolve"), st.booleans(), KEYS, st.integers(0, 2)),
        st.tuples(st.just("tell"), st.booleans(), st.integers(1, 3)),
        st.tuples(st.just("run"), st.sampled_from([1.0, 4.0])),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(moves=MOVES)
def test_replicas_agree_once_they_have_told_each_other_all(moves: list[tuple[Any, ...]]) -> None:
    one, two = EngineLoop(ENGINE), EngineLoop(ENGINE)
    for move in moves:
        if move[0] == "run":
            one.run(move[1])
            two.run(move[1])
            continue
        here, there = (one, two) if move[1] else (two, one)
        try:
            match move:
                case ("set", _, key, value, ttl_s):
                    here.ask("set", {"key": key, "value": value} | ({"ttl_s": ttl_s} if ttl_s else {}))
                case ("delete", _, key):
                    here.ask("delete", {"key": key})
                case ("resolve", _, key, place):
                    revs = list(here.state.docs[key].bodies) if key in here.state.docs else ["1-a"]
                    here.ask("resolve", {"key": key, "rev": revs[place % len(revs)] if revs else "1-a"})
                case ("tell", _, batch):
                    tell(here, there, batch)
        except Refused as refused:
            assert refused.code in ("not-found", "aborted")
    for _ in range(2):
        tell(one, two, 2)
        tell(two, one, 2)
    one.run(10.0)
    two.run(10.0)
    tell(one, two, 2)
    tell(two, one, 2)
    assert truth(one) == truth(two)
    for loop in (one, two):
        assert loop.look("queue").count == 0 and loop.replayed() == loop.state
    events = [*one.events, *two.events]
    forgotten = {event.key for event in events if isinstance(event, ValueExpired) and not event.rev}
    for event in events:
        if isinstance(event, ValueSet | ValueDeleted) and event.key not in forgotten:
            assert known(one.state.docs[event.key].tree, parse_rev(event.rev)), "an edit was lost"
