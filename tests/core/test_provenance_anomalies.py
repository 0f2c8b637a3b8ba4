"""Anomalies: nothing is found where nothing changes, whatever the counts look like; what is planted is found, with its records."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.anomaly_thresholds import MIXES, STREAMS, burst_and_rate, mix
from core.engine import Stamp
from core.provenance import drift, streams
from core.provenance.commands import Found
from core.provenance.detector import CAUSES_KEPT, QUIET_S, STREAMS_MAX, Detector, Kept
from core.provenance.streams import Stream, Unusual

NULL_S = 25_000


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_in_which_nothing_changes_raises_no_alarm(name: str) -> None:
    """25,000 seconds of each kind: at the stated rate, one alarm in 1,000,000 s, all seven together would raise 0.2."""
    assert burst_and_rate(STREAMS[name], 11, NULL_S) == (0, 0)


@pytest.mark.parametrize("name", MIXES)
def test_a_mix_that_stays_the_same_raises_no_alarm(name: str) -> None:
    assert mix(MIXES[name], 12, 30_000) == 0


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.05, 0.5, 3.0, 40.0]), st.integers(1, 5))
def test_any_seed_and_rate_of_independent_counts_is_quiet(seed: int, rate: float, size: int) -> None:
    from benchmarks.anomaly_thresholds import clumps

    assert burst_and_rate(clumps(rate, size), seed, 4_000) == (0, 0)


# --- what is planted --------------------------------------------------------------------------------------------------------


def played(counts: Iterator[tuple[int, int]] | list[tuple[int, int]], stream: Stream | None = None) -> list[tuple[int, Unusual]]:
    stream = stream or Stream(0)
    found = [(second, stream.note(second, count, streams.RATE_NEW)) for second, count in counts]
    return [(second, each) for second, each in found if each is not None]


def steady(rate: float, length: int, seed: int = 5, start: int = 0) -> list[tuple[int, int]]:
    from benchmarks.anomaly_thresholds import poisson

    chance, draw = random.Random(seed), poisson(rate)
    return [(second, count) for second in range(start, start + length) if (count := draw(chance))]


@pytest.mark.parametrize(("window", "count"), [(1, 40), (10, 75), (60, 240)])
def test_a_burst_is_found_on_its_scale_at_once(window: int, count: int) -> None:
    """Two a second are usual; the same burst spread over ten times as long is not one."""
    stream = Stream(0)
    assert played(steady(2.0, 900), stream) == []
    per_second = -(-count // window)
    found = played([(900 + place, per_second + 2) for place in range(window)], stream)
    bursts = [each for _, each in found if each.kind == "burst"]
    assert bursts and bursts[0].scale_s <= window and bursts[0].expected == pytest.approx(2.0 * bursts[0].scale_s, rel=0.3)
    again = Stream(0)
    played(steady(2.0, 900), again)
    assert not [each for _, each in played(steady(2.0 + count / window / 20, 60, start=900), again) if each.kind == "burst"]


def test_what_is_new_is_a_burst_only_if_it_is_very_quick() -> None:
    assert played([(second, 90) for second in range(120)]) == []
    [(second, burst), *_] = played([(0, 40), (0, 200), (0, 400)])
    assert (second, burst.kind, burst.scale_s) == (0, "burst", 1) and burst.seen >= 200


def test_a_rate_that_changes_for_good_is_found_and_then_is_the_usual_one() -> None:
    before, after = steady(3.0, 9_000), steady(4.5, 9_000, seed=6, start=9_000)
    found = [(second, each) for second, each in played(before + after) if each.kind == "rate"]
    assert 9_000 < found[0][0] < 12_000 and len(found) <= 2, "told, learnt, and not told for ever"
    fewer = [(second, each) for second, each in played(before + steady(1.8, 4_000, seed=7, start=9_000)) if each.kind == "rate"]
    assert 9_000 < fewer[0][0] < 11_000 and fewer[0][1].seen < fewer[0][1].expected


@pytest.mark.parametrize("silence_s", [61, 3_000, 10**6, 10**9])
def test_a_silence_however_long_costs_little_and_is_no_burst_when_it_ends(silence_s: int) -> None:
    stream = Stream(0)
    played(steady(2.0, 1_200), stream)
    assert played([(1_200 + silence_s, 2)], stream) == []


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 90), st.integers(1, 50)), max_size=60))
def test_the_windows_count_what_naive_windows_count(steps: list[tuple[int, int]]) -> None:
    stream, second, told = Stream(0), 0, list[tuple[int, int]]()
    for wait, count in steps:
        second += wait
        told.append((second, count))
        stream.note(second, count, streams.RATE_NEW)
        naive = [sum(each for at, each in told if at > second - window) for window in streams.WINDOWS_S]
        assert list(stream.counts()) == naive


def drifts(mixed: drift.Mix, names: list[str]) -> list[drift.Drift]:
    return [found for name in names if (found := mixed.note(name)) is not None]


def test_a_planted_drift_is_found_and_named() -> None:
    chance, mixed = random.Random(3), drift.Mix()
    names, weights = ["submitted", "started", "done", "failed"], [40, 30, 28, 2]
    assert drifts(mixed, chance.choices(names, weights, k=4_000)) == []
    found = drifts(mixed, chance.choices(names, [30, 25, 20, 25], k=512))
    assert found[0].name == "failed" and found[0].seen > 5 * found[0].expected
    assert drifts(mixed, chance.choices(names, [30, 25, 20, 25], k=4_000)) == [], "usual by now"


def test_a_drift_over_two_thousand_events_is_found_too() -> None:
    chance, mixed = random.Random(1), drift.Mix()
    assert drifts(mixed, chance.choices("abcd", [40, 30, 28, 2], k=6_000)) == []
    ramp = [chance.choices("abcd", [40 - part / 200, 30 - part / 400, 28 - part / 250, 2 + part / 87])[0] for part in range(2_000)]
    assert drifts(mixed, ramp)[0].name == "d"


@pytest.mark.parametrize("stay", [0.9, 0.99])
def test_events_that_come_in_runs_are_learnt_to_do_so(stay: float) -> None:
    chance, mixed, names = random.Random(1), drift.Mix(), ["a"]
    for _ in range(40_000):
        names.append(names[-1] if chance.random() < stay else chance.choice("abcde"))
    drifts(mixed, names[:8_000])
    assert drifts(mixed, names[8_000:]) == []


def test_a_type_never_seen_before_is_a_drift_once_there_is_much_of_it() -> None:
    mixed = drift.Mix()
    for number in range(3_000):
        assert mixed.note(f"type-{number % 5}") is None
    found = drifts(mixed, ["new" if number % 2 else f"type-{number % 5}" for number in range(256)])
    assert found[0].name == "new"


def test_a_mix_of_endless_names_takes_bounded_memory() -> None:
    mixed = drift.Mix()
    for number in range(20_000):
        mixed.note(f"type-{number}")
    assert len(mixed.slow) + len(mixed.now) <= drift.TYPES_MAX + drift.RECENT and len(mixed.recent) == drift.RECENT


# --- over all logs ----------------------------------------------------------------------------------------------------------


class Play:
    """A detector fed as a daemon would."""

    def __init__(self) -> None:
        self.detector = Detector()
        self.seq = 0
        self.boot = "00000001"
        self.second = 1_000.0

    def note(
        self, event_type: str, data: dict[str, Any] | None = None, actor: str = "uid:7", log: str = "engine_state"
    ) -> list[Found]:
        self.seq += 1
        stamp = Stamp(log, self.seq, 0, int(self.second * 1e6), self.boot, actor)
        return self.detector.note(event_type, json.dumps(data or {}).encode(), stamp)

    def many(self, count: int, note: Callable[[], list[Found]]) -> list[Found]:
        return [found for _ in range(count) for found in note()]


def test_a_burst_is_found_of_its_type_its_actor_and_its_run_each_once() -> None:
    play = Play()
    tap = {"tapped": "user_action", "run_id": "run_001", "data": {}}
    found = play.many(1_500, lambda: play.note("provenance.tapped", tap, log="provenance_log"))
    assert {(each.kind, each.of, each.name) for each in found} == {
        ("burst", "type", "tapped user_action"),
        ("burst", "actor", "uid:7"),
        ("burst", "run", "run_001"),
    }
    assert len(found) == 3
    first = found[0]
    assert first.causes == [f"provenance_log:{first.count - place}" for place in reversed(range(CAUSES_KEPT))]
    assert first.unit == "s" and first.scale == 1 and first.statistic > first.threshold and str(first.count) in first.evidence
    play.second += QUIET_S + 1
    assert {each.of for each in play.many(8_000, lambda: play.note("provenance.tapped", tap))} == {"type", "actor", "run"}


@pytest.mark.parametrize(
    ("event_type", "data", "who"),
    [
        ("gate.refused", {"caller": "uid:9"}, "uid:9"),
        ("gate.checked", {"allowed": False}, "uid:7"),
        ("action.checked", {"status": "denied"}, "uid:7"),
        ("engine.proof_refused", {"engine_id": "x"}, "uid:7"),
    ],
)
def test_refusals_of_one_caller_are_a_breach(event_type: str, data: dict[str, Any], who: str) -> None:
    play = Play()
    [found] = play.many(40, lambda: play.note(event_type, data))
    assert (found.kind, found.of, found.name) == ("breach", "actor", who)
    assert not play.many(
        40, lambda: play.note(event_type, {"allowed": True, "status": "allowed", "caller": "uid:8"})
    ) or event_type in (
        "gate.refused",
        "engine.proof_refused",
    )


def test_counted_refusals_count_as_many_and_allowed_ones_not_at_all() -> None:
    play = Play()
    assert [each.kind for each in play.note("gate.refused_many", {"caller": "uid:9", "count": 300})] == ["breach"]
    assert play.many(60, lambda: play.note("gate.checked", {"allowed": True})) == []


def test_what_the_detector_recorded_is_not_looked_at_again() -> None:
    play = Play()
    assert play.many(2_000, lambda: play.note("provenance.anomaly")) == [] and not play.detector.watched


def test_a_reboot_does_not_make_time_step_back() -> None:
    play = Play()
    for second in range(300):
        play.second = 5_000 + second
        play.many(2, lambda: play.note("task.done"))
    before = play.detector.second
    play.boot, play.second = "00000002", 3.0
    assert play.many(5, lambda: play.note("task.done")) == []
    assert len(play.many(400, lambda: play.note("task.done"))) == 2, "what was usual before is still known: its type and its actor"
    assert play.detector.second == before


def test_memory_is_bounded_however_many_actors_there_are() -> None:
    play = Play()
    for number in range(STREAMS_MAX + 50):
        play.note("task.done", actor=f"uid:{number}")
    assert len(play.detector.watched) == STREAMS_MAX and ("burst", "actor", "uid:0") not in play.detector.watched
    assert ("burst", "type", "task.done") in play.detector.watched


class Written(NamedTuple):
    """A record as the writer has it."""

    event_type: str
    payload: bytes
    actor: str
    boot_id: str
    mono_us: int
    time_us: int


def everything(detector: Detector) -> Any:
    watched = [
        (key, one.causes, one.quiet, [getattr(one.stream, name) for name in Stream.__slots__ if name != "ticks"])
        for key, one in detector.watched.items()
    ]
    return watched, vars(detector.mix), detector.second


ALLOWED, DENIED = b'{"status":"allowed"}', b'{"status":"denied"}'
RUNS = st.lists(
    st.tuples(
        st.sampled_from(["task.done", "action.checked", "action.checked", "gate.refused", "provenance.anomaly", "log.pruned"]),
        st.sampled_from(["uid:7", "uid:8"]),
        st.sampled_from([ALLOWED, DENIED, b'{"rule":"\\"status\\":\\"denied\\""}']),
        st.sampled_from([0, 0, 400_000, 1_000_000, 130_000_000]),
        st.integers(1, 300),
    ),
    max_size=12,
)


ONE_DENIED = [("action.checked", "uid:7", ALLOWED, 0, 300), ("action.checked", "uid:7", DENIED, 0, 1)] * 20


@given(RUNS, st.integers(1, 300), st.booleans())
@example([*ONE_DENIED, ("action.checked", "uid:7", ALLOWED, 0, 300)], 200, False)
def test_what_is_counted_together_is_counted_as_one_by_one(runs: list[Any], at_once: int, reboot: bool) -> None:
    records: list[Written] = []
    mono_us = 5_000_000
    for event_type, actor, payload, later_us, count in runs:
        mono_us += later_us
        records += [Written(event_type, payload, actor, "00000001", mono_us, 0)] * count
    if reboot:
        records = [
            each._replace(boot_id="00000002", mono_us=7) if place > len(records) // 2 else each
            for place, each in enumerate(records)
        ]
    one, other = Detector(), Detector()
    found: list[Found] = []
    for seq, (event_type, payload, actor, boot_id, at_us, time_us) in enumerate(records):
        found += one.note(event_type, payload, Stamp("gate_log", seq, time_us, at_us, boot_id, actor))
    together: list[Found] = []
    for first in range(0, len(records), at_once):
        together += other.note_all("gate_log", first, records[first : first + at_once])
    assert together == found and everything(other) == everything(one)


def test_what_is_alike_is_looked_at_now_and_then_and_not_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    one_by_one: list[int] = []
    note = Detector.note
    monkeypatch.setattr(
        Detector, "note", lambda self, kind, raw, stamp: one_by_one.append(stamp.seq) or note(self, kind, raw, stamp)
    )
    detector = Detector()
    detector.note_all(
        "gate_log", 0, [Written("action.checked", b'{"status":"allowed"}', "uid:7", "00000001", 5_000_000, 0)] * 3_200
    )
    assert len(one_by_one) < 130


# --- over a restart -----------------------------------------------------------------------------------------------------------


def life(play: Play, seconds: range) -> Iterator[Found]:
    """Tasks and judgements as usual, now and then a flood of refusals, from 900 on another mix and three times as many."""
    for second in seconds:
        play.second += 1
        chance = random.Random(second)
        for _ in range(1 + chance.randrange(3) + 6 * (second > 900)):
            yield from play.note(
                chance.choice(["task.done", "task.started", "gate.checked"]), {"allowed": True}, f"uid:{second % 3}"
            )
        if second > 900:
            yield from play.note("token.issued")
        if second % 350 == 340:
            for _ in range(60):
                yield from play.note("gate.refused", {"caller": "uid:9"}, log="gate_log")
        if second % 11 == 0:
            yield from play.note("provenance.tapped", {"tapped": "t", "run_id": "r-1"})


@pytest.fixture(scope="module")
def never_stopped() -> tuple[Play, list[Found]]:
    play = Play()
    return play, list(life(play, range(1_500)))


@pytest.mark.parametrize(("cut", "reboot"), [(3, False), (130, True), (341, False), (905, False), (1_100, True)])
def test_what_was_learnt_is_kept_over_a_restart_and_the_time_without_a_daemon_is_no_silence(
    never_stopped: tuple[Play, list[Found]], cut: int, reboot: bool
) -> None:
    """The one that goes on finds what the one that was never stopped finds, with the same records and figures, to the last bit."""
    (whole, found), parted = never_stopped, Play()
    before = list(life(parted, range(cut)))
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(parted.detector.kept()), type=Kept)
    parted.detector = Detector.again(kept)
    parted.second += 7_200.0
    if reboot:
        parted.boot, parted.second = "00000002", 3.0
    assert before + list(life(parted, range(cut, 1_500))) == found
    assert {each.kind for each in found} == {"breach", "burst", "rate", "drift"}
    assert parted.detector.kept() == whole.detector.kept()
