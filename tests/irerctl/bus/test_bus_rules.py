"""Rules of what a bridge reads: topics, documents and the identity of a message; which records may be committed; the file."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.fields import IdempotencyKey
from irerctl.bus.broker import Message
from irerctl.bus.documents import POINTS_MAX, Bad, request, samples
from irerctl.bus.offsets import Offsets
from irerctl.bus.settings import Kind, load, secret
from irerctl.bus.topics import BadTopic, fill, pattern
from irerctl.client import Error
from irerctl.session import Failure

ROOT = Path(__file__).parents[3]
TIMED = {"timestamp": "2026-01-31T12:00:00Z", "telemetry": {"power_draw": 300.0}}


# --- topics


@pytest.mark.parametrize(
    ("text", "topic", "found"),
    [
        ("a/{source}", "a/b", {"source": "b"}),
        ("a/{source}/{metric}", "a/b/c", {"source": "b", "metric": "c"}),
        ("a/+/{source}/#", "a/x/b/y/z", {"source": "b"}),
        ("a/#", "a", {}),
        ("a/{source}", "a/b/c", None),
        ("a/{source}", "a/", None),
        ("a/b", "a/c", None),
    ],
)
def test_a_topic_gives_names_to_its_levels(text, topic, found):
    assert pattern(text).match(topic) == found


@pytest.mark.parametrize("text", ["", "a/#/b", "a{b}/c", "a/{b}/{b}", "$share/g/a", "a/b+"])
def test_what_is_no_topic_is_refused(text):
    with pytest.raises(BadTopic):
        pattern(text)


@given(st.text(max_size=8))
def test_no_name_makes_a_topic_that_means_more_than_one(text):
    filled = fill("out/{source}", {"source": text})
    assert not set("+#\0") & set(filled) and filled != "out/"


# --- documents


def calls(document: Any, names: dict[str, str] | None = None, source: str = "{source}", arrival: str | None = None, **more: Any):
    payload = document if isinstance(document, bytes) else json.dumps(document).encode()
    names = {"source": "rack"} if names is None else names
    return samples(Message("t", payload, **more), source, names, None, arrival)


def key(document: Any, **more: Any) -> str:
    return calls(document, **more).asks[0].idem


def test_a_sample_becomes_the_call_it_says():
    found = calls(TIMED)
    (ask,) = found.asks
    assert (found.source, ask.method, ask.params) == ("rack", "eil.sense", {"source": "rack", **TIMED})
    (batch,) = calls({"metrics": ["p"], "times": [1, 2], "values": [[1], [2]], "predict": True}).asks
    assert batch.method == "eil.sense_batch" and batch.params["times"] == [1, 2] and batch.params["predict"]


def test_a_bare_number_is_of_the_metric_that_its_topic_names():
    (ask,) = calls(b"21.5", names={"source": "rack", "metric": "temp_c"}, time_us=1_000_000, place="t/0/1").asks
    assert ask.params == {"source": "rack", "telemetry": {"temp_c": 21.5}, "timestamp": "1970-01-01T00:00:01.000000Z"}


def test_the_same_message_has_the_same_key_and_another_has_another():
    assert key(TIMED) == key(TIMED, place="t/0/7"), "wherever it stands: a producer that repeats itself is heard once"
    assert key(TIMED) != key({**TIMED, "telemetry": {"power_draw": 301.0}})
    assert key(TIMED) != key(TIMED, names={"source": "other"})
    untimed = {"telemetry": {"power_draw": 300.0}}
    assert key({**untimed, "id": "m1"}) == key(untimed, id="m1") != key({**untimed, "id": "m2"})
    assert key(untimed, place="t/0/1") != key(untimed, place="t/0/2")
    assert key(untimed, place="t/0/1") == key(untimed, place="t/0/1")
    assert key(untimed, arrival="x") != key(untimed, arrival="y")


@given(st.dictionaries(st.sampled_from(["id", "timestamp", "context"]), st.text(min_size=1, max_size=5)), st.booleans())
def test_every_key_is_one_that_irerd_takes_and_no_call_holds_what_would_differ(more, placed):
    place = {"place": "t/0/1", "time_us": 5} if placed else {"id": "z"}
    first, second = (calls({"telemetry": {"p": 1}, **more}, **place) for _ in range(2))
    assert first == second
    msgspec.convert(first.asks[0].idem, IdempotencyKey)


def test_what_cannot_be_told_from_its_own_repetition_is_refused():
    with pytest.raises(Bad) as refused:
        calls({"telemetry": {"power_draw": 1}})
    assert refused.value.reason == "no-identity"


def test_a_time_that_is_null_tells_no_time_and_two_alike_are_two_samples():
    untold = {**TIMED, "timestamp": None}
    with pytest.raises(Bad) as bad:
        calls(untold, source="rack")
    assert bad.value.reason == "no-identity", "else the second of two equal readings would count as the first once more"
    first, second = (calls(untold, source="rack", place=f"t/0/{place}", time_us=place).asks[0] for place in (1, 2))
    assert first.idem != second.idem and first.params["timestamp"] == "1970-01-01T00:00:00.000001Z"


@pytest.mark.parametrize("great", [2**53, 2**64 - 1, -(10**30)])
def test_a_counter_beyond_2_to_the_53_is_the_figure_it_is(great):
    assert calls({**TIMED, "telemetry": {"bytes": great, "a": 2**53 - 1}}, source="rack").asks[0].params["telemetry"] == {
        "bytes": float(great),
        "a": 2**53 - 1,
    }
    batch = {"metrics": ["bytes"], "times": [1, 2], "values": [[great], [None]]}
    params = calls(batch, source="rack").asks[0].params
    assert params["values"] == [[float(great)], [None]] and type(params["times"][0]) is int
    [bare] = calls(great, {"source": "rack", "metric": "bytes"}, arrival="x").asks
    assert type(bare.params["telemetry"]["bytes"]) is float
    assert calls({**TIMED, "telemetry": {"a": 10**400}}, source="rack").asks[0].params["telemetry"] == {"a": 10**400}


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"{", "not-json"),
        (b"\xff", "not-json"),
        (b"[" * 100_000, "not-json"),
        (b"x" * 1_000_001, "too-large"),
        ({"telemetry": {}, "colour": "red", "id": "1"}, "form"),
        ({"metrics": []}, "form"),
        ([1], "form"),
        (True, "form"),
        (3, "form"),
        ({**TIMED, "id": {}}, "form"),
        ({**TIMED, "source": "other"}, "wrong-source"),
    ],
)
def test_a_bad_message_has_a_reason(document, reason):
    with pytest.raises(Bad) as refused:
        calls(document)
    assert refused.value.reason == reason


def test_a_source_comes_only_from_where_the_rule_says():
    assert calls({**TIMED, "source": "mine"}, names={}, source="{document}").source == "mine"
    assert calls(TIMED, names={}, source="hall-{key}", key="7").source == "hall-7"
    for source in ("{document}", "{key}"):
        with pytest.raises(Bad):
            calls(TIMED, names={}, source=source)


@given(lines=st.integers(1, 5000), metrics=st.integers(1, 7))
def test_a_batch_of_any_size_goes_in_parts_that_fit_and_none_is_lost(lines, metrics):
    document = {
        "metrics": [f"m{number}" for number in range(metrics)],
        "times": list(range(lines)),
        "values": [[number] * metrics for number in range(lines)],
        "predict": True,
    }
    asks = calls(document).asks
    assert [time for ask in asks for time in ask.params["times"]] == document["times"]
    assert [line for ask in asks for line in ask.params["values"]] == document["values"]
    assert all(len(ask.params["times"]) * metrics <= POINTS_MAX for ask in asks)
    assert len({ask.idem for ask in asks}) == len(asks)
    assert [bool(ask.params.get("predict")) for ask in asks] == [False] * (len(asks) - 1) + [True]


def test_a_request_is_the_same_only_with_the_same_correlation():
    body = {"goal": "minimize_energy", "current_state": {}}

    def asked(**more: Any) -> tuple[str, Any]:
        return request(Message("t", json.dumps({**body, **more}).encode()), None)

    assert asked(correlation_id="a") == asked(correlation_id="a") != asked(correlation_id="b")
    assert asked(id="a")[0] == "a" and asked(id="a")[1].params == body
    with pytest.raises(Bad) as refused:
        asked()
    assert refused.value.reason == "no-identity"


# --- what may be committed

STEPS = st.lists(st.tuples(st.sampled_from(["take", "settle", "late", "commit", "again"]), st.integers(0, 30)), max_size=80)


@given(STEPS)
def test_no_offset_is_committed_beyond_a_record_that_is_not_settled(steps):
    offsets, place = Offsets(), ("t", 0)
    offsets.assign([place])
    offset, open_now, old, settled = 0, [], [], 0
    for step, number in steps:
        if step == "take":
            open_now.append(offsets.take(place, offset))
            offset += 1
        elif step == "settle" and open_now:
            offsets.settle(open_now.pop(number % len(open_now)))
        elif step == "late" and old:
            offsets.settle(old.pop(number % len(old)))
        elif step == "commit":
            due = offsets.due()
            offsets.committed(due)
            settled = due.get(place, settled)
        elif step == "again":
            old += open_now
            offset, open_now = settled, []
            offsets.assign([place])
        assert offsets.due().get(place, settled) == min([taken.offset for taken in open_now], default=offset)


# --- the file

GOOD = 'name = "x"\n[mqtt]\n[[sense]]\ntopic = "a/{source}"\n'


def refusal(tmp_path: Path, text: str, kind: Kind = "mqtt") -> str:
    file = tmp_path / "bus.toml"
    file.write_text(text)
    with pytest.raises(Failure) as refused:
        load(file, kind)
    assert refused.value.body["help"], "what to do next"
    return str(refused.value.body["detail"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = ", "no TOML"),
        (GOOD.replace("[mqtt]", "[mqtt]\nport = 0"), "mqtt.port"),
        (GOOD.replace("[mqtt]", "[mqtt]\nprot = 1"), "prot"),
        (GOOD.replace("[mqtt]", "[kafka]"), "no [mqtt]"),
        (GOOD + "[kafka]\n", "both"),
        ('name = "x"\n[mqtt]\n', "no rule"),
        (GOOD.replace('"x"', '"x/y"'), "no plain word"),
        (GOOD.replace("{source}", "{other}"), "nothing named source"),
        (GOOD.replace("a/{source}", "a/#/b"), "# before its end"),
        (GOOD + 'engine = "e"\n', "engine e"),
        (GOOD.replace("[mqtt]", '[mqtt]\nusername = "u"'), "go together"),
        (GOOD.replace("[mqtt]", '[mqtt]\nhost = "far"\nusername = "u"\npassword_file = "/p"'), "in the clear"),
        (GOOD.replace("[mqtt]", '[mqtt]\nca_file = "/c"'), "tls is false"),
        (GOOD + '[[out]]\ntype = "t"\ntopic = "a/{source}"\n', "read it back"),
        (GOOD.replace("name", 'dead = "a/b"\nname'), "read it back"),
        (GOOD + '[[out]]\ntype = "t"\ntopic = "o"\n' * 2, "twice"),
        (GOOD + '[[out]]\ntype = "t"\ntopic = "o/+"\n', "no topic to publish to"),
    ],
)
def test_a_wrong_file_is_told_before_anything_is_connected(tmp_path, text, said):
    assert said in refusal(tmp_path, text)


def test_kafka_has_topics_without_levels(tmp_path):
    assert "no topic of Kafka" in refusal(tmp_path, GOOD.replace("[mqtt]", "[kafka]"), "kafka")


@pytest.mark.parametrize("kind", ["mqtt", "kafka"])
def test_the_examples_are_accepted(kind):
    found = load(ROOT / f"docs/examples/bus-{kind}.toml", kind)
    assert found.sense and found.act and {out.type for out in found.out} >= {"energy.regime_shifted", "energy.source_lost"}


def test_a_password_that_everybody_may_read_is_refused(tmp_path):
    file = tmp_path / "word"
    file.write_text("secret\n")
    file.chmod(0o640)
    assert secret(file) == "secret"
    file.chmod(0o644)
    with pytest.raises(Failure) as refused:
        secret(file)
    assert "chmod o=" in refused.value.body["help"]


# --- whose fault it is


@pytest.mark.parametrize(
    ("error", "earned"),
    [
        (Error("invalid-argument", reason="older"), True),
        (Error("permission-denied", reason="owner"), True),
        (Error("permission-denied"), False),
        (Error("resource-exhausted", reason="energy-budget", retry_ms=100), False),
        (Error("resource-exhausted", reason="streams"), True),
        (Error("failed-precondition", reason="key-reused"), True),
        (Error("failed-precondition"), False),
        (Error("unavailable"), False),
        (Error("deadline-exceeded"), False),
        (Error("durability-unknown"), False),
        (Error("data-loss"), False),
    ],
)
def test_only_what_the_message_earned_is_its_fault(error, earned):
    from irerctl.bus.desk import is_earned

    assert is_earned(error) is earned


def test_a_caller_waits_as_long_as_it_is_told():
    from irerctl.bus.desk import PAUSE_S_MAX, pause_s

    assert pause_s(1, 5_000) >= 5.0 and pause_s(1, 10_000_000) == PAUSE_S_MAX and pause_s(1, None) <= 1.0


@pytest.mark.parametrize(
    ("reply", "asked", "may"),
    [
        ("a/{who}", "a/me", True),
        ("a/{who}", "a/me/too", False),
        ("a/{who}", "a/+", False),
        ("a/{who}", "b/me", False),
        ("answers", "answers", True),
        ("answers", "irer.sense", False),
        ("a/x-{who}", "a/x-me", False),
    ],
)
def test_an_answer_goes_only_where_the_rule_could_send_it(reply, asked, may):
    from irerctl.bus.run import may_answer

    assert may_answer(reply, asked) is may
