"""The cache beside a dictionary and a clock: what it answers, what waits, what is refused, and that nothing is ever lost."""

import copy
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.cache import ENGINE
from core.cache.commands import Set
from core.cache.events import RevisionMerged, ValueExpired, ValueSet, set_payload
from core.cache.form import VALUE_BYTES_MAX, accepted, stored
from core.cache.model import COST_BYTES, Cache
from core.canonical import CanonicalError, encode, event_payload
from core.engine import IRER, Large, Refused
from core.revisions import next_rev
from core.settings import CacheSettings, Settings
from tests.core.engine_loop import START_US, EngineLoop

KEYS = ["a", "b", "bb", "user/ann", "é"]
VALUES: list[Any] = [None, 0, "text", [1, 2.5], {"a": {"b": None}}, 5.0, {"irer:value": 5}, 1e300]


class Oracle:
    """What a cache is: a dictionary whose entries end."""

    def __init__(self) -> None:
        self.there: dict[str, tuple[Any, float]] = {}
        self.waiting: list[str] = []

    def set(self, key: str, value: Any, ends: float) -> None:
        self.there[key] = value, ends
        self.changed(key)

    def changed(self, key: str) -> None:
        if key in self.waiting:
            self.waiting.remove(key)
        self.waiting.append(key)

    def get(self, key: str, now: float) -> tuple[Any, float] | None:
        found = self.there.get(key)
        return found if found is not None and found[1] > now else None

    def end(self, now: float) -> None:
        for key in [key for key, (_, ends) in self.there.items() if ends <= now]:
            del self.there[key]
            self.waiting.remove(key)  # no far end ever heard of it


SETS = st.tuples(st.just("set"), st.sampled_from(KEYS), st.sampled_from(VALUES), st.sampled_from([None, 1.0, 2.5]))
DELETES = st.tuples(st.just("delete"), st.sampled_from(KEYS))
PASSING = st.tuples(st.just("run"), st.sampled_from([0.5, 1.0, 3.0]))
RESTART = st.tuples(st.just("restart"), st.booleans())


@settings(max_examples=120, deadline=None)
@given(moves=st.lists(st.one_of(SETS, SETS, DELETES, PASSING, RESTART), max_size=30))
def test_it_answers_as_a_dictionary_with_a_clock_would(moves: list[tuple[Any, ...]]) -> None:
    loop, oracle = EngineLoop(ENGINE), Oracle()
    for move in moves:
        now = (loop.wall_us - START_US) / 1e6
        match move:
            case ("set", key, value, ttl_s):
                loop.ask("set", {"key": key, "value": value} | ({"ttl_s": ttl_s} if ttl_s else {}))
                oracle.set(key, value, now + ttl_s if ttl_s else float("inf"))
            case ("delete", key):
                if oracle.get(key, now) is None:
                    assert refusal(loop, "delete", {"key": key}).code == "not-found"
                else:
                    loop.ask("delete", {"key": key})
                    del oracle.there[key]
                    oracle.changed(key)
            case ("run", seconds):
                loop.run(seconds)
                oracle.end(now + seconds)
            case ("restart", reboot):
                loop.restart(reboot=reboot)
        now = (loop.wall_us - START_US) / 1e6
        compare(loop, oracle, now)
    assert loop.replayed() == loop.state
    sums(loop.state)


def compare(loop: EngineLoop, oracle: Oracle, now: float) -> None:
    for key in KEYS:
        expected = oracle.get(key, now)
        if expected is None:
            assert refusal(loop, "get", {"key": key}).code == "not-found"
        else:
            assert encode(loop.look("get", {"key": key}).value) == encode(expected[0])
    there = sorted(key for key in KEYS if oracle.get(key, now) is not None)
    assert [each.key for each in loop.look("list").keys] == there
    assert [each.key for each in loop.look("list", {"prefix": "b"}).keys] == [key for key in there if key.startswith("b")]
    waiting = loop.look("queue")
    assert [each.key for each in waiting.keys] == oracle.waiting and waiting.count == len(oracle.waiting)


def refusal(loop: EngineLoop, verb: str, params: Mapping[str, Any]) -> Refused:
    """What a call is refused with. Nothing changes."""
    before, records = copy.deepcopy(loop.state), len(loop.records)
    with pytest.raises(Refused) as refused:
        loop.look(verb, params) if verb == "get" else loop.ask(verb, params)
    assert loop.state == before and len(loop.records) == records
    return refused.value


def sums(cache: Cache) -> None:
    """What is counted on the way is what there is in the end."""
    fresh = copy.deepcopy(cache)
    for name in ("live", "bytes", "conflicted_count", "named"):
        assert getattr(cache, name) == getattr(fresh, name), name
    assert list(cache.names.after("", included=True)) == sorted(key for key, doc in cache.docs.items() if doc.live)
    assert list(cache.conflicted.after("", included=True)) == sorted(key for key, doc in cache.docs.items() if doc.conflicts)
    assert list(cache.changes.after(-1)) == sorted((doc.changed, key) for key, doc in cache.docs.items())
    assert list(cache.queue.after(-1)) == sorted((doc.changed, key) for key, doc in cache.docs.items() if doc.queued)
    assert (len(cache.changes), len(cache.queue)) == (len(fresh.changes), len(fresh.queue))
    ending = sorted((doc.expires_us, key) for key, doc in cache.docs.items() if doc.expires_us)
    assert cache.ends.due(2**53, 1_000) == [key for _, key in ending]
    assert cache.ends.first() == (ending[0][0] if ending else None)


# --- reasons ----------------------------------------------------------------------------------------------------------------


def test_a_get_that_finds_nothing_says_why() -> None:
    loop = EngineLoop(ENGINE)
    assert refusal(loop, "get", {"key": "a"}).reason == "never-set"
    loop.ask("set", {"key": "a", "value": 1})
    loop.ask("delete", {"key": "a"})
    assert refusal(loop, "get", {"key": "a"}).reason == "deleted"
    loop.ask("set", {"key": "a", "value": 1, "ttl_s": 1.0})
    loop._pass(999_999)
    assert loop.look("get", {"key": "a"}).expires_at == "2026-01-01T00:00:01.000000Z"
    loop._pass(1)
    ended = refusal(loop, "get", {"key": "a"})
    assert ended.reason == "expired" and "2026-01-01T00:00:01" in ended.detail
    assert loop.look("list").keys == []


def test_a_write_with_another_revision_is_aborted_and_says_which_it_is_at() -> None:
    loop = EngineLoop(ENGINE)
    [first] = loop.ask("set", {"key": "a", "value": 1})
    [second] = loop.ask("set", {"key": "a", "value": 2, "if_rev": first.rev})
    for verb, more in (("set", {"value": 3}), ("delete", {})):
        refused = refusal(loop, verb, {"key": "a", "if_rev": first.rev} | more)
        assert (refused.code, refused.data) == ("aborted", {"rev": second.rev})
    assert refusal(loop, "set", {"key": "new", "value": 3, "if_rev": first.rev}).code == "aborted"
    loop.ask("delete", {"key": "a", "if_rev": second.rev})


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"bytes", "bytes is no JSON value"),
        ([float("nan")], "NaN"),
        (2**53, "beyond 2^53"),
        ({"a": [{"b": 2**60}]}, "value.a[0].b"),
        ({"_id": 1}, "_id"),
        ({"_": 1}, "begins with _"),
        ("x" * 1_048_575, "1,048,577 bytes"),
        ("\ud800", "lone surrogate"),
        ({"a\x00": 1}, "a key must be"),
    ],
)
def test_a_value_that_is_no_json_is_refused_by_its_place(value: Any, said: str) -> None:
    refused = refusal(EngineLoop(ENGINE), "set", {"key": "a", "value": value})
    assert refused.code == "invalid-argument" and said in refused.detail, refused.detail
    assert refused.fields and refused.fields[0][0].startswith("value")


def test_a_value_may_be_nested_as_deep_as_a_record_allows() -> None:
    def nested(levels: int) -> Any:
        return [nested(levels - 1)] if levels else 1

    loop = EngineLoop(ENGINE)
    loop.ask("set", {"key": "a", "value": nested(31)})
    assert loop.replayed() == loop.state and loop.look("get", {"key": "a"}).value == nested(31)
    assert refusal(loop, "set", {"key": "a", "value": nested(32)}).code == "invalid-argument"


@pytest.mark.parametrize("key", ["", "_design/x", "_", "a\nb", "\nab", "a\x00", "x" * 513, "\x7f"])
def test_a_key_that_couchdb_would_not_take_is_refused(key: str) -> None:
    loop = EngineLoop(ENGINE)
    with pytest.raises((msgspec.ValidationError, Refused)):
        loop.ask("set", {"key": key, "value": 1})
    assert loop.records == []


def test_the_length_of_a_key_counts_in_bytes() -> None:
    loop = EngineLoop(ENGINE)
    loop.ask("set", {"key": "é" * 256, "value": 1})
    assert refusal(loop, "set", {"key": "é" * 257, "value": 1}).fields[0][0] == "key"


# --- room -------------------------------------------------------------------------------------------------------------------


def test_what_would_pass_bytes_max_is_refused_and_nothing_is_dropped() -> None:
    loop = EngineLoop(ENGINE, Settings(cache=CacheSettings(bytes_max=65_536)))
    for number in range(4):
        loop.ask("set", {"key": f"k{number}", "value": "x" * 15_000})
    refused = refusal(loop, "set", {"key": "k5", "value": "x" * 15_000})
    assert (refused.code, refused.reason) == ("resource-exhausted", "cache-full") and "cache.bytes_max" in refused.detail
    assert [each.key for each in loop.look("list").keys] == ["k0", "k1", "k2", "k3"]
    loop.ask("set", {"key": "k1", "value": "smaller"})
    loop.ask("delete", {"key": "k2"})
    loop.ask("set", {"key": "k5", "value": "x" * 15_000})
    assert loop.look("status").bytes == sum(each.bytes for each in loop.look("list").keys) + 5 * COST_BYTES
    assert loop.look("queue").count == 5
    [check] = ENGINE.checks(loop.state, loop.context()) if ENGINE.checks else []
    assert check.health == "ok"


def test_health_says_when_it_is_nearly_full() -> None:
    loop = EngineLoop(ENGINE, Settings(cache=CacheSettings(bytes_max=65_536)))
    for number in range(4):
        loop.ask("set", {"key": f"k{number}", "value": "x" * 15_000})
    assert ENGINE.checks is not None
    [check] = ENGINE.checks(loop.state, loop.context())
    assert check.health == "degraded" and "cache.bytes_max" in check.reason


# --- time -------------------------------------------------------------------------------------------------------------------


def test_the_end_of_a_value_is_by_the_wall_clock_and_outlives_a_reboot() -> None:
    loop = EngineLoop(ENGINE)
    loop.ask("set", {"key": "a", "value": 1, "ttl_s": 60.0})
    loop.restart(30.0, reboot=True)
    assert loop.look("get", {"key": "a"}).value == 1
    loop.restart(0.0, wall_jump_s=31.0)
    assert refusal(loop, "get", {"key": "a"}).reason == "expired"
    loop.run(0.0)
    assert [type(event) for event in loop.events][-1] is ValueExpired and loop.state.docs == {}


def test_what_the_far_end_knows_is_deleted_when_it_ends_and_by_every_replica_alike() -> None:
    """Two replicas that notice by themselves make one revision, so there is nothing to disagree about."""
    ends_us = START_US + 10_000_000
    document = {"key": "a", "generation": 1, "ids": ["f" * 32], "value": 1, "expires_us": ends_us}
    one, two = EngineLoop(ENGINE), EngineLoop(ENGINE)
    for loop in (one, two):
        loop.ask("merge", {"documents": [document]}, IRER)
        assert loop.look("queue").count == 0
        loop.run(20.0)
    [ended] = [event for event in one.events if isinstance(event, ValueExpired)]
    assert ended == two.events[-1] and ended.rev == next_rev("1-" + "f" * 32, deleted=True)
    assert one.look("queue").keys[0].deleted
    assert refusal(one, "get", {"key": "a"}).reason == "deleted"


def test_what_was_sent_is_deleted_when_it_ends_even_if_it_changed_meanwhile() -> None:
    loop = EngineLoop(ENGINE)
    [first] = loop.ask("set", {"key": "a", "value": 1})
    loop.ask("set", {"key": "a", "value": 2, "ttl_s": 1.0})
    loop.ask("pushed", {"remote": "far", "documents": [{"key": "a", "revs": [first.rev]}]}, IRER)
    loop.run(2.0)
    assert loop.look("queue").keys[0].deleted, "the far end has the first revision, and must hear of the end"


def test_many_values_that_end_at_once_are_all_removed() -> None:
    loop = EngineLoop(ENGINE)
    for number in range(300):
        loop.ask("set", {"key": f"k{number:03}", "value": number, "ttl_s": 5.0})
    loop.run(5.0)
    assert loop.state.docs == {} and loop.look("status").bytes == 0 and loop.look("queue").count == 0


# --- what waits ---------------------------------------------------------------------------------------------------------------


def test_a_write_waits_until_exactly_what_is_there_was_confirmed() -> None:
    loop = EngineLoop(ENGINE)
    loop.ask("set_online", {"online": False})
    [first] = loop.ask("set", {"key": "a", "value": 1})
    [second] = loop.ask("set", {"key": "a", "value": 2})
    [other] = loop.ask("set", {"key": "b", "value": 2})
    loop.ask("pushed", {"remote": "far", "documents": [{"key": "a", "revs": [first.rev]}, {"key": "b", "revs": [other.rev]}]}, IRER)
    assert [each.key for each in loop.look("queue").keys] == ["a"]
    loop.ask("pushed", {"remote": "far", "documents": [{"key": "a", "revs": [second.rev]}]}, IRER)
    assert loop.look("queue").count == 0
    records = len(loop.records)
    loop.ask("pushed", {"remote": "far", "documents": [{"key": "a", "revs": [second.rev]}]}, IRER)
    assert len(loop.records) == records, "told twice, written once"


def test_what_comes_from_there_settles_what_it_follows_and_nothing_else() -> None:
    loop = EngineLoop(ENGINE)
    [first] = loop.ask("set", {"key": "a", "value": 1})
    loop.ask("merge", {"documents": [{"key": "a", "generation": 1, "ids": ["f" * 32], "value": 2}]}, IRER)
    assert loop.look("queue").count == 1, "of ours it knows nothing yet"
    loop.ask("resolve", {"key": "a", "rev": first.rev})
    loop.ask("set", {"key": "b", "value": 1})
    ours = loop.look("get", {"key": "b"}).rev
    newer = {"key": "b", "generation": 2, "ids": ["e" * 32, ours[2:]], "value": 2}
    loop.ask("merge", {"documents": [newer]}, IRER)
    assert [each.key for each in loop.look("queue").keys] == ["a"], "it follows ours, so it is known there"


def test_pages_of_every_list_lead_through_all_of_it() -> None:
    loop = EngineLoop(ENGINE)
    for number in range(25):
        loop.ask("set", {"key": f"k{number:02}", "value": number})
        documents = [{"key": f"c{number:02}", "generation": 1, "ids": [id * 32], "value": id} for id in ("a", "b")]
        loop.ask("merge", {"documents": documents}, IRER)
    for verb, expected, more in (
        ("list", [f"k{number:02}" for number in range(25)], {"prefix": "k"}),
        ("list", [f"{letter}{number:02}" for letter in "ck" for number in range(25)], {}),
        ("queue", [f"k{number:02}" for number in range(25)], {}),
        ("conflicts", [f"c{number:02}" for number in range(25)], {}),
    ):
        found: list[str] = []
        page = loop.look(verb, {"limit": 7} | more)
        while True:
            found += [each.key for each in page.keys]
            if page.next is None:
                break
            page = loop.look(verb, {"limit": 7, "after": page.next} | more)
        assert found == expected, verb


# --- conflicts ----------------------------------------------------------------------------------------------------------------


def in_conflict(loop: EngineLoop) -> list[str]:
    """One key edited here and twice elsewhere; its revisions, as they win."""
    loop.ask("set", {"key": "a", "value": "ours"})
    ids = ["0" * 32, "f" * 32]
    documents = [{"key": "a", "generation": 1, "ids": [id], "value": id[0]} for id in ids]
    loop.ask("merge", {"documents": documents}, IRER)
    [conflict] = loop.look("conflicts").keys
    return [conflict.rev, *conflict.others]


def test_conflicts_stay_visible_and_every_revision_can_be_read() -> None:
    loop = EngineLoop(ENGINE)
    revs = in_conflict(loop)
    assert revs == sorted(revs, reverse=True) and revs[0] == "1-" + "f" * 32
    values = [loop.look("get", {"key": "a", "rev": rev}).value for rev in revs]
    assert sorted(values) == ["0", "f", "ours"]
    shown = loop.look("get", {"key": "a"})
    assert (shown.value, shown.conflicts) == ("f", revs[1:])
    assert refusal(loop, "get", {"key": "a", "rev": "1-" + "9" * 32}).reason == "rev"
    assert loop.look("status").conflicts == 1 and loop.look("list").keys[0].conflicts == 2


@pytest.mark.parametrize("chosen", [0, 1, 2])
def test_whichever_revision_is_chosen_stands_and_the_others_end(chosen: int) -> None:
    loop = EngineLoop(ENGINE)
    revs = in_conflict(loop)
    value = loop.look("get", {"key": "a", "rev": revs[chosen]}).value
    loop.ask("resolve", {"key": "a", "rev": revs[chosen]})
    after = loop.look("get", {"key": "a"})
    assert (after.value, after.rev, after.conflicts) == (value, revs[chosen], [])
    assert loop.look("conflicts").count == 0 and loop.look("queue").count == 1
    assert loop.ask("resolve", {"key": "a", "rev": revs[chosen]}) == []
    assert refusal(loop, "resolve", {"key": "a", "rev": revs[chosen - 1]}).code == "aborted"
    sums(loop.state)


def test_a_set_leaves_the_other_revisions_and_a_delete_shows_the_next() -> None:
    loop = EngineLoop(ENGINE)
    revs = in_conflict(loop)
    [event] = loop.ask("set", {"key": "a", "value": "new"})
    assert event.parent == revs[0] and loop.look("get", {"key": "a"}).conflicts == revs[1:]
    loop.ask("delete", {"key": "a"})
    assert loop.look("get", {"key": "a"}).rev == revs[1]
    sums(loop.state)


# --- merging ------------------------------------------------------------------------------------------------------------------


def test_what_is_known_already_is_not_written_again() -> None:
    loop = EngineLoop(ENGINE)
    document = {"key": "a", "generation": 3, "ids": ["c" * 32, "b" * 32, "a" * 32], "value": 1}
    assert len(loop.ask("merge", {"documents": [document, document]}, IRER)) == 1
    older = {"key": "a", "generation": 2, "ids": ["b" * 32, "a" * 32], "value": 1}
    assert loop.ask("merge", {"documents": [document, older]}, IRER) == []
    newer = {"key": "a", "generation": 4, "ids": ["d" * 32, "c" * 32, "b" * 32, "a" * 32], "value": 2}
    [event] = loop.ask("merge", {"documents": [newer]}, IRER)
    assert isinstance(event, RevisionMerged) and event.ids == ["d" * 32, "c" * 32], "only what is new is written"
    assert loop.state.docs["a"].branches is None and len(loop.state.docs["a"].ids) == 64


def test_a_contradiction_is_refused_whole() -> None:
    loop = EngineLoop(ENGINE)
    loop.ask("merge", {"documents": [{"key": "a", "generation": 2, "ids": ["c", "a"], "value": 1}]}, IRER)
    documents = [
        {"key": "b", "generation": 1, "ids": ["x"], "value": 1},
        {"key": "a", "generation": 3, "ids": ["d", "c", "b"], "value": 1},
    ]
    assert refusal(loop, "merge", {"documents": documents}).reason == "revisions"


def test_the_longest_path_beside_the_largest_value_fits_a_record() -> None:
    loop = EngineLoop(ENGINE)
    documents = [
        {"key": "é" * 256, "generation": 1_000, "ids": [f"{number:032x}" for number in range(1_000)], "value": "x" * 16_000},
        {"key": "b" * 512, "generation": 1_000, "ids": [f"{number:064}" for number in range(1_000)], "value": "\x01" * 2_700},
    ]
    for document in documents:
        loop.ask("merge", {"documents": [document]}, IRER)
    assert max(len(payload) for _, payload, _ in loop.records) < 59_000
    sums(loop.state)


def test_a_large_value_is_named_by_its_hash_and_the_name_lives_as_long_as_it_does() -> None:
    loop = EngineLoop(ENGINE)
    one, two = (Large(letter * 64, letter * 20_000, encode(letter * 20_000)) for letter in "ab")
    loop.ask("set", msgspec.structs.replace(command(loop, {"key": "a", "value": 0}), value=one))
    loop.ask("set", msgspec.structs.replace(command(loop, {"key": "b", "value": 0}), value=one))
    assert set(loop.state.blobs()) == {"a" * 64} and loop.state.oldest() == 0
    loop.ask("set", msgspec.structs.replace(command(loop, {"key": "a", "value": 0}), value=two))
    assert set(loop.state.blobs()) == {"a" * 64, "b" * 64} and loop.state.oldest() == 1
    loop.ask("delete", {"key": "b"})
    assert set(loop.state.blobs()) == {"b" * 64} and loop.state.oldest() == 2
    loop.ask("set", {"key": "a", "value": "small again"})
    assert not loop.state.blobs() and loop.state.oldest() == 4
    sums(loop.state)
    assert loop.replayed() == loop.state and "value" not in str(loop.records[0][1])


def command(loop: EngineLoop, params: Mapping[str, Any]) -> Any:
    return msgspec.convert(dict(params), loop.world.rows["cache.set"].params)


def test_only_irer_itself_merges_and_confirms() -> None:
    kinds = {row.name: row.kind for row in ENGINE.rows}
    for name in ("merge", "pushed", "checkpoint", "expire"):
        assert kinds[f"cache.{name}"] == "internal"


def test_a_value_that_is_too_large_even_for_a_blob_has_no_form() -> None:
    assert len(accepted("x" * (VALUE_BYTES_MAX - 2))) == VALUE_BYTES_MAX
    with pytest.raises(Refused, match="a value has at most"):
        accepted("x" * (VALUE_BYTES_MAX - 1))


@pytest.mark.parametrize("ttl_s", [None, 2.5])
@pytest.mark.parametrize("value", [*VALUES, "x" * 9_000, {"é": [5.0, -0.0, 1e-7]}, [{"a": 1.0}], '\u2028"'])
def test_what_is_made_beside_a_set_is_what_would_be_made_of_its_event(value: Any, ttl_s: float | None) -> None:
    """The record is written once: its payload and the value in memory are not made again of the event, so they must be the same."""
    loop = EngineLoop(ENGINE)
    ctx = loop.context()
    for _ in range(2):
        decision = ENGINE.rows[0].run(loop.state, Set("a key", value, ttl_s), ctx)
        [event] = decision.events
        assert (decision.made is None) == (value is None)
        if decision.made is not None:
            assert decision.made.payload == event_payload(event)
            assert (decision.made.name, decision.made.value) == stored(decision.made.payload)
        loop.ask("set", {"key": "a key", "value": value})


ODD = st.one_of(st.text(max_size=12), st.sampled_from([f"a{each}b" for each in ("", *'"\\ \x00\x1f\x7f/é\u2028\ud800')]))


@settings(max_examples=300)
@given(
    *(ODD, ODD, ODD, st.sampled_from(["", "ab" * 32])),
    st.one_of(st.sampled_from([0, 1, 2**53 - 1, 2**53]), st.integers(0, 2**63 - 1)),
    st.sampled_from([0, 7, 40_000]),
)
def test_the_payload_of_a_set_is_what_is_made_of_any_event(
    key: str, parent: str, rev: str, blob: str, expires_us: int, size: int
) -> None:
    event = ValueSet(key, rev, size, parent, {"a": 1}, blob, expires_us)
    try:
        due: bytes | None = event_payload(event)
    except CanonicalError:
        due = None
    assert set_payload(event, b'{"a":1}') == due
