"""Gauges and meters, moved by real events of real engines and compared with a slow count over every record.

The oracle keeps everything and works out each number anew; the view keeps counts in rings. They must agree whatever happens.
"""

import json
import random
from collections.abc import Iterable, Iterator
from statistics import median
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import cache, nav
from core.engine import Refused, Stamp
from core.metrics import HITS, MISSES, REFUSED, VIEW, Figures, reads
from core.metrics.queue import FOLLOWED_MAX
from core.metrics.series import DAY_US, HOUR_US, LENGTHS, MINUTE_US, STEPS_US, Clock, Ring, Series
from core.metrics.trend import direction, slope, wilson
from core.views import Follower, Now, Written
from tests.core.engine_loop import START_US, EngineLoop

DOMAINS = ("wealth", "info", "myth")
SUBJECT = "user_001"


class Watched(EngineLoop):
    """An engine loop beside which the view is fed each command, each at a moment of its own."""

    def __init__(self, engine: Any, seed: int = 0) -> None:
        super().__init__(engine, seed=seed)
        self.chance = random.Random(seed)
        self.follower = Follower(VIEW)
        self.totals = {HITS: 0, MISSES: 0, REFUSED: 0}

    @property
    def figures(self) -> Figures:
        found = self.follower.state
        assert isinstance(found, Figures)
        return found

    @property
    def now(self) -> Now:
        return Now(self.boot_id, self.mono_us, self.wall_us)

    def do(self, verb: str, **params: Any) -> Any:
        self._pass(1)
        before = len(self.records)
        try:
            return self.decide(verb, params).answer
        except Refused as refused:
            return refused
        finally:
            self.feed(self.records[before:])

    def settle(self) -> None:
        before = len(self.records)
        super().settle()
        self.feed(self.records[before:])

    def feed(self, records: Iterable[Written]) -> None:
        for record in records:
            if record[0] in VIEW.sample_before:
                self.sample()
            self.follower.feed(self.log, [record])

    def sample(self) -> None:
        assert VIEW.sample is not None
        VIEW.sample(self.figures, self.totals, self.now)

    def gauge(self, name: str) -> reads.Gauge:
        self.sample()
        [found] = [gauge for gauge in reads.gauges(self.figures, self.now) if gauge.name == name]
        return found

    def meter(self, name: str) -> reads.Meter:
        [found] = [meter for meter in reads.meters(self.figures, self.now) if meter.name == name]
        return found

    def history(self, name: Any, since: str | None = None) -> list[reads.Point]:
        return reads.history(self.figures, reads.AskHistory(name, since), self.now).points

    def told(self, *kinds: str) -> Iterator[tuple[dict[str, Any], Stamp]]:
        return ((json.loads(payload), stamp) for kind, payload, stamp in self.records if kind in kinds)

    def forge(self, kind: str, payload: dict[str, Any]) -> None:
        """A record that a faulty engine would have written."""
        self._pass(1)
        stamp = Stamp(self.log, len(self.records), self.wall_us, self.mono_us, self.boot_id, "uid:1")
        self.records.append((kind, json.dumps(payload).encode(), stamp))
        self.feed(self.records[-1:])


# --- rings, clocks, series ----------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 5)), max_size=40), st.integers(0, 60), st.integers(1, 12))
def test_a_ring_knows_the_last_steps_and_nothing_older(added: list[tuple[int, int]], last: int, steps: int) -> None:
    ring, newest = Ring(8), max([place for place, _ in added], default=0)
    for place, count in added:
        ring.add(place, count)
    seen = {place: sum(count for at, count in added if at == place) for place in range(last - steps + 1, last + 1)}
    late = _late(added)
    expected = [seen[place] - late.get(place, 0) if newest - 8 < place <= newest else 0 for place in sorted(seen)]
    assert ring.row(last, steps) == expected and ring.sum(last - steps + 1, last) == sum(expected)
    assert Ring.load(ring.dump(), 8).row(last, steps) == expected


def _late(added: list[tuple[int, int]]) -> dict[int, int]:
    """What came when its step was forgotten already."""
    newest, late = 0, {}
    for place, count in added:
        newest = max(newest, place)
        if place <= newest - 8:
            late[place] = late.get(place, 0) + count
    return late


@given(
    st.lists(st.tuples(st.integers(0, 40 * HOUR_US), st.integers(1, 9)), max_size=60), st.integers(0, 2), st.integers(0, HOUR_US)
)
def test_every_step_of_a_series_holds_what_came_in_it(passed: list[tuple[int, int]], tier: int, later_us: int) -> None:
    series, time_us = Series(), START_US
    added: list[tuple[int, int]] = []
    for more_us, count in passed:
        time_us += more_us
        series.add(time_us, count)
        added.append((time_us, count))
    now_us = time_us + later_us
    step_us, last = STEPS_US[tier], now_us // STEPS_US[tier]
    steps = LENGTHS[tier]
    expected = [0] * steps
    for at, count in added:
        if last - steps < at // step_us <= last:
            expected[at // step_us - last - 1] += count
    assert series.row(now_us, tier, steps) == expected
    assert Series.load(series.dump()).row(now_us, tier, steps) == expected
    assert series.last(now_us, tier, 30) == sum(expected[-30:])


def test_memory_is_fixed_however_much_is_counted() -> None:
    figures = Follower(VIEW)
    empty = len(Follower.encode(figures.dump()))
    series = Series()
    before = len(series.dump().rings[0].counts)
    for place in range(20_000):
        series.add(START_US + place * 11_000_000)
    assert len(series.dump().rings[0].counts) == before == LENGTHS[0] * 8 and empty < 1 << 20


def test_time_goes_on_with_the_clock_of_the_boot_whatever_the_wall_says() -> None:
    clock = Clock()
    assert clock.come_to("a", 5_000_000, START_US) == START_US
    assert clock.come_to("a", 7_000_000, START_US + DAY_US * 400) == START_US + 2_000_000, "a jump of the wall is none"
    assert clock.come_to("a", 8_000_000, 0) == START_US + 3_000_000
    assert clock.now("a", 9_000_000, 77) == START_US + 4_000_000


def test_over_a_reboot_it_goes_on_by_the_wall_and_never_back() -> None:
    clock = Clock()
    clock.come_to("a", 500_000_000, START_US)
    assert clock.now("b", 1_000_000, START_US + HOUR_US) == START_US + HOUR_US
    assert clock.come_to("b", 1_000_000, START_US + HOUR_US) == START_US + HOUR_US
    assert clock.come_to("b", 2_000_000, START_US) == START_US + HOUR_US + 1_000_000
    assert clock.come_to("c", 1, START_US - DAY_US) == START_US + HOUR_US + 1_000_000, "the wall has stepped back"
    assert Clock.load(clock.dump()).now("c", 4, 0) == clock.now("c", 4, 0) == START_US + HOUR_US + 1_000_003


# --- trend and interval -------------------------------------------------------------------------------------------------------


def test_the_slope_is_the_middle_one_and_one_wild_point_does_not_move_it() -> None:
    line = [(place, 3.0 + 0.5 * place) for place in range(12)]
    assert slope(line) == 0.5 and direction(line) == 1
    wild = [*line[:5], (5, 1e9), *line[6:]]
    assert slope(wild) == pytest.approx(0.5) and direction(wild) == 1
    assert (slope([(0, 1.0)]), direction(line[:7])) == (None, 0)


@given(st.lists(st.integers(-3, 3), min_size=8, max_size=32))
def test_slope_and_direction_as_their_definitions_say(values: list[int]) -> None:
    points = [(place, float(value)) for place, value in enumerate(values)]
    slopes = [(v - u) / (t - s) for s, u in points for t, v in points if t > s]
    assert slope(points) == median(slopes)
    pairs = sum((v > u) - (v < u) for s, u in points for t, v in points if t > s)
    n, ties = len(values), [values.count(value) for value in set(values)]
    variance = (n * (n - 1) * (2 * n + 5) - sum(t * (t - 1) * (2 * t + 5) for t in ties)) / 18
    z = (abs(pairs) - 1) / variance**0.5 if variance else 0
    assert direction(points) == (0 if z <= 1.959963984540054 else 1 if pairs > 0 else -1)
    assert direction([(place, -value) for place, value in points]) == -direction(points)


def test_the_interval_of_wilson_at_known_values() -> None:
    low, high = wilson(10, 10)
    assert (round(low, 2), high) == (72.25, pytest.approx(100.0))
    low, high = wilson(81, 263)  # Newcombe 1998, table I
    assert (round(low / 100, 4), round(high / 100, 4)) == (0.2553, 0.3662)


# --- threshold_lock -----------------------------------------------------------------------------------------------------------


class Gate(Watched):
    def __init__(self, seed: int = 0) -> None:
        super().__init__(nav.ENGINE, seed)
        self.tokens: list[tuple[str, str, str, bool]] = []
        """Token, id, domain, kind."""

    def step(self) -> None:
        """Something that happens at gates, by chance; most of it with tokens that were good once."""
        pick, domain, offline = self.chance.random(), self.chance.choice(DOMAINS), self.chance.random() < 0.2
        if pick < 0.25 or not self.tokens:
            asked = {"domain": domain, "subject": SUBJECT, "ttl_s": self.chance.choice((5, 60, 3_600)), "offline": offline}
            scopes = self.chance.choice((None, ["read"]))
            made = self.do("gate.issue_token", **asked, **({"scopes": scopes} if scopes else {}))
            if not isinstance(made, Refused):
                self.tokens.append((made.token, made.jti, domain, offline))
            return
        token, jti, own, kind = self.chance.choice(self.tokens)
        domain = own if self.chance.random() < 0.8 else domain
        token = token if self.chance.random() < 0.9 else token[:-4] + "AAAA"
        if pick < 0.55:
            scope = {"scope": "read"} if self.chance.random() < 0.2 else {}
            self.do("gate.check", token=token, domain=domain, offline=kind, **scope)
        elif pick < 0.85:
            self.do("navigate", token=token, domain=domain, subject=self.chance.choice((SUBJECT,) * 5 + ("mallory",)), offline=kind)
        elif pick < 0.88:
            self.do("gate.revoke_token", jti=jti)
        elif pick < 0.90:
            self.do("gate.rotate_key", kind=self.chance.choice(("gate", "offline")), grace_s=self.chance.choice((0, 30)))
        elif pick < 0.92:
            self.do("gate.set_policy", domain=domain, single_use=self.chance.random() < 0.5)
        elif pick < 0.96:
            self.do("report_route", route=f"{domain}/primary", ok=self.chance.random() < 0.3)
        elif pick < 0.97:
            self.restart(self.chance.choice((1, 600)), reboot=self.chance.random() < 0.5, wall_jump_s=self.chance.choice((0, -50)))
        else:
            self._pass(self.chance.choice((1, 4_000_000, 40_000_000, 300_000_000)))

    def restart(self, *args: Any, **more: Any) -> None:
        before = len(self.records)
        super().restart(*args, **more)
        self.feed(self.records[before:])


@pytest.mark.parametrize("seed", range(12))
def test_the_second_judge_agrees_with_the_first_on_every_token_that_opened_a_gate(seed: int) -> None:
    gate = Gate(seed)
    for _ in range(250):
        gate.step()
    gauge, allowed = gate.gauge("threshold_lock"), [event for event, _ in gate.told("gate.checked") if event["allowed"]]
    assert len(allowed) > 20 and gauge.parts["let_through"] == 0 == gauge.parts["not_judged"]
    within = gate.figures.now_us("gate_log", gate.now) // MINUTE_US - 1440
    times = _times(gate.records)
    refused = sum(not event["allowed"] and times[stamp.seq] // MINUTE_US > within for event, stamp in gate.told("gate.checked"))
    assert (gauge.numerator, gauge.denominator) == (refused, refused)


def _times(records: list[Written]) -> list[int]:
    """The time of each record, worked out slowly: seconds of a boot by its clock, between boots by the wall but never back."""
    times: list[int] = []
    for place, (_, _, stamp) in enumerate(records):
        if not place:
            times.append(stamp.time_us)
            continue
        before = records[place - 1][2]
        same = before.boot_id == stamp.boot_id
        times.append(times[-1] + (stamp.mono_us - before.mono_us if same else max(0, stamp.time_us - before.time_us)))
    return times


def test_without_a_bad_token_there_is_no_value_and_with_one_it_says_how_little_that_proves() -> None:
    gate = Gate()
    made = gate.do("gate.issue_token", domain="wealth", subject=SUBJECT)
    gate.do("gate.check", token=made.token, domain="wealth")
    gauge = gate.gauge("threshold_lock")
    assert (gauge.value, gauge.reason, gauge.met, gauge.denominator) == (None, "no-evidence", None, 0)
    gate.do("gate.check", token="nonsense", domain="wealth")
    gauge = gate.gauge("threshold_lock")
    assert (gauge.value, gauge.reason, gauge.met, gauge.numerator) == (100.0, None, True, 1)
    assert gauge.low is not None and gauge.low < 21
    gate._pass(DAY_US + MINUTE_US)
    assert gate.gauge("threshold_lock").value is None, "a day later it is no evidence any more"


WRONG: list[dict[str, Any]] = [
    {"jti": "never-issued"},
    {"jti": None},
    {"jti": "t-revoked"},
    {"jti": "t-expired"},
    {"jti": "t-good", "domain": "info"},
    {"jti": "t-good", "kind": "offline"},
    {"jti": "t-good", "subject": "mallory"},
    {"jti": "t-good", "scope": "write"},
    {"jti": "t-used"},
    {"jti": "t-spent"},
    {"jti": "t-old-key"},
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_gate_that_lets_a_bad_token_through_lowers_the_gauge(wrong: dict[str, Any]) -> None:
    gate = Gate()
    token = {"kind": "gate", "domain": "wealth", "subject": SUBJECT, "ttl_s": 600, "generation": 1, "scopes": ["read"]}
    check = {"kind": "gate", "domain": "wealth", "subject": SUBJECT, "allowed": True}
    gate.forge("token.issued", {**token, "jti": "t-old-key", "kind": "gate"})
    gate.forge("gate.key_rotated", {"kind": "gate", "generation": 2})
    for jti in ("t-good", "t-revoked", "t-used", "t-spent"):
        gate.forge("token.issued", {**token, "jti": jti, "generation": 2})
    gate.forge("token.issued", {**token, "jti": "t-expired", "generation": 2, "ttl_s": 1})
    gate.forge("token.revoked", {"jti": "t-revoked"})
    gate.forge("gate.checked", {**check, "jti": "t-used", "passed": True})
    gate.forge("gate.checked", {**check, "jti": "t-spent", "spent": True, "passed": True})
    if wrong["jti"] == "t-used":
        gate.forge("gate.policy_set", {"domain": "wealth", "single_use": True})
    gate._pass(1_000_000)
    gate.forge("gate.checked", {**check, "jti": "t-good", "scope": "read"})
    gate.do("gate.check", token="nonsense", domain="wealth")
    before = gate.gauge("threshold_lock")
    assert (before.value, before.parts["let_through"]) == (100.0, 0)
    gate.forge("gate.checked", {**check, **{name: value for name, value in wrong.items() if value is not None}})
    after = gate.gauge("threshold_lock")
    assert (after.value, after.met, after.parts["let_through"]) == (50.0, False, 1)


def test_a_token_of_an_earlier_boot_opens_nothing() -> None:
    gate = Gate()
    made = gate.do("gate.issue_token", domain="wealth", subject=SUBJECT, ttl_s=3_600)
    check = {"kind": "gate", "domain": "wealth", "subject": SUBJECT, "allowed": True, "jti": made.jti}
    gate.forge("gate.checked", check)
    gate.restart(1, reboot=True)
    assert gate.gauge("threshold_lock").parts["let_through"] == 0
    gate.forge("gate.checked", check)
    assert gate.gauge("threshold_lock").parts["let_through"] == 1


def test_a_way_given_with_the_token_of_somebody_else_was_let_through() -> None:
    gate = Gate()
    gate.forge("token.issued", {"jti": "t", "kind": "gate", "domain": "info", "subject": SUBJECT, "ttl_s": 60, "generation": 1})
    for asker, wrong in ((SUBJECT, 0), ("mallory", 1)):
        gate.forge("nav.navigated", {"domain": "info", "subject": asker, "ok": True, "route": "info/primary"})
        gate.forge("gate.checked", {"domain": "info", "kind": "gate", "allowed": True, "jti": "t", "subject": SUBJECT})
        assert gate.gauge("threshold_lock").parts["let_through"] == wrong


def test_a_token_from_before_the_records_that_are_left_is_not_judged() -> None:
    gate = Gate()
    made = gate.do("gate.issue_token", domain="wealth", subject=SUBJECT)
    gate.do("gate.check", token=made.token, domain="wealth")
    gate.records = gate.records[-1:]
    late = Follower(VIEW)
    late.feed("gate_log", [(kind, payload, Stamp("gate_log", 70, *_rest(stamp))) for kind, payload, stamp in gate.records])
    [gauge] = [each for each in reads.gauges(late.state, gate.now) if each.name == "threshold_lock"]
    assert (gauge.value, gauge.parts) == (None, {"refused": 0, "let_through": 0, "not_judged": 1})


def _rest(stamp: Stamp) -> tuple[int, int, str, str]:
    return stamp.time_us, stamp.mono_us, stamp.boot_id, stamp.actor


def test_a_flood_that_was_counted_counts_and_one_of_strangers_is_no_token() -> None:
    gate = Gate()
    gate.forge("gate.refused_many", {"caller": "uid:1", "count": 40, "first": "gate.check", "last": "nav.navigate"})
    gate.forge("gate.refused_many", {"caller": "uid:2", "count": 7, "first": "cache.get", "last": "gate.check"})
    assert gate.gauge("threshold_lock").numerator == 40
    density = gate.meter("gate_density")
    assert (density.value, density.numerator, density.denominator) == (100.0, 47, 47)


# --- the meters ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_the_meters_and_their_histories_count_what_the_records_say(seed: int) -> None:
    gate = Gate(100 + seed)
    for _ in range(300):
        gate.step()
    times, now_us = _times(gate.records), gate.figures.now_us("gate_log", gate.now)
    switched, gates, commands = _switches(gate), _of(gate, times, {"gate.checked"}), _commands(gate, times)
    for tier, since in enumerate((None, -20 * HOUR_US, -29 * DAY_US)):
        text = None if since is None else reads.time_text(gate.wall_us + since)
        steps = LENGTHS[0] if since is None else -since // STEPS_US[tier] + 1
        last = now_us // STEPS_US[tier]
        velocity, density = gate.history("nav_velocity", text), gate.history("gate_density", text)
        assert len(velocity) == len(density) == steps
        for points, line in ((velocity, switched), (density, gates)):
            assert [point.numerator for point in points] == _steps(line, last, tier, steps)
        assert [point.denominator for point in density] == _steps(commands, last, tier, steps)
    recent = [sum(at // STEPS_US[0] > now_us // STEPS_US[0] - 6 for at in line) for line in (switched, gates, commands)]
    assert gate.meter("nav_velocity").value == recent[0]
    value = 100 * recent[1] / recent[2] if recent[2] else None
    assert gate.meter("gate_density").value == value


def _switches(gate: Gate) -> list[int]:
    times, last, found = _times(gate.records), dict[str, str](), []
    for event, stamp in gate.told("nav.navigated"):
        if route := event.get("route"):
            if last.get(event["domain"], route) != route:
                found.append(times[stamp.seq])
            last[event["domain"]] = route
    return found


def _of(gate: Gate, times: list[int], kinds: set[str]) -> list[int]:
    return [times[stamp.seq] for kind, _, stamp in gate.records if kind in kinds]


def _commands(gate: Gate, times: list[int]) -> list[int]:
    moments = {(stamp.boot_id, stamp.mono_us): times[stamp.seq] for _, _, stamp in gate.records}
    return list(moments.values())


def _steps(line: list[int], last: int, tier: int, steps: int) -> list[int]:
    found = [0] * steps
    for at in line:
        if last - steps < at // STEPS_US[tier] <= last:
            found[at // STEPS_US[tier] - last - 1] += 1
    return found


def test_more_and_more_switches_are_a_rising_trend_and_none_is_no_evidence() -> None:
    gate = Gate()
    assert (gate.meter("nav_velocity").value, gate.meter("nav_velocity").reason) == (None, "no-evidence")
    routes = ("wealth/primary", "wealth/failover")
    place = 0
    for minute in range(34):
        for _ in range(minute):
            place += 1
            gate.forge("nav.navigated", {"domain": "wealth", "subject": SUBJECT, "ok": True, "route": routes[place % 2]})
        gate._pass(MINUTE_US - minute)
    meter = gate.meter("nav_velocity")
    assert (meter.trend.sign, meter.trend.intervals) == (1, 32) and meter.trend.slope == pytest.approx(1.0)
    gate._pass(20 * MINUTE_US)
    assert gate.meter("nav_velocity").value == 0.0 and gate.meter("nav_velocity").trend.sign == -1


# --- latency_tolerance and resource_flow ----------------------------------------------------------------------------------------


class Store(Watched):
    def __init__(self, seed: int = 0) -> None:
        super().__init__(cache.ENGINE, seed)

    def rev(self, key: str) -> str:
        return str(self.state.docs[key].rev)

    def push(self, *keys: str) -> None:
        self._pass(1)
        documents = [{"key": key, "revs": [leaf.text for leaf in self.state.docs[key].tree]} for key in keys]
        self.do("pushed", remote="far", documents=documents)


def test_without_offline_time_there_is_no_value() -> None:
    store = Store()
    store.do("set", key="a", value=1)
    gauge = store.gauge("latency_tolerance")
    assert (gauge.value, gauge.reason, gauge.denominator) == (None, "no-evidence", 0)


def test_what_is_taken_offline_is_tolerated_and_what_the_daemon_refuses_is_not() -> None:
    store = Store()
    store.totals[REFUSED] = 5  # refused while online: none of it counts
    store.do("set_online", online=False)
    for key in "abc":
        store.do("set", key=key, value=1)
    store.do("delete", key="a")
    assert (store.gauge("latency_tolerance").value, store.gauge("latency_tolerance").denominator) == (100.0, 4)
    store.totals[REFUSED] += 1
    gauge = store.gauge("latency_tolerance")
    assert (gauge.value, gauge.numerator, gauge.denominator, gauge.met) == (80.0, 4, 5, False)
    store.totals[REFUSED] += 2
    store.do("set_online", online=True)
    store.totals[REFUSED] += 100
    assert store.gauge("latency_tolerance").denominator == 7, "those from before the network came back count, later ones do not"
    store.push("a", "b", "c")
    assert store.gauge("latency_tolerance").numerator == 4, "reconciled is as good as queued"


def test_a_write_that_goes_missing_counts_against_it() -> None:
    store = Store()
    store.do("set_online", online=False)
    store.do("set", key="a", value=1)
    store.do("set", key="a", value=2)
    store.do("set", key="b", value=2)
    assert store.gauge("latency_tolerance").value == 100.0
    store.forge("cache.set", {"key": "a", "rev": "1-ffff", "size": 1})
    gauge = store.gauge("latency_tolerance")
    assert (gauge.value, gauge.parts) == (50.0, {"accepted": 4, "lost": 2, "refused": 0})
    store.forge("cache.expired", {"key": "b", "parent": "9-ffff"})
    assert store.gauge("latency_tolerance").parts["lost"] == 3


def test_what_the_far_end_did_meanwhile_is_no_loss() -> None:
    store = Store()
    store.do("set_online", online=False)
    store.do("set", key="a", value=1)
    ours = store.rev("a")
    store.do("merge", documents=[{"key": "a", "generation": 5, "ids": ["f" * 32], "value": 9}])
    store.do("set", key="a", value=2)
    assert store.gauge("latency_tolerance").parts["lost"] == 0 and ours != store.rev("a")
    others = [rev for rev in store.state.docs["a"].bodies if rev != store.rev("a")]
    store.do("resolve", key="a", rev=others[0])
    store.do("set", key="a", value=3)
    gauge = store.gauge("latency_tolerance")
    assert (gauge.value, gauge.parts["accepted"], gauge.parts["lost"]) == (100.0, 4, 0)


def test_the_window_is_a_day_of_offline_time_not_of_the_wall() -> None:
    store = Store()
    store.do("set_online", online=False)
    store.do("set", key="a", value=1)
    store.do("set_online", online=True)
    store._pass(90 * DAY_US)
    assert store.gauge("latency_tolerance").denominator == 1, "online time does not age it"
    store.do("set_online", online=False)
    store._pass(23 * HOUR_US)
    assert store.gauge("latency_tolerance").denominator == 1
    store._pass(2 * HOUR_US)
    assert store.gauge("latency_tolerance").value is None


def test_a_drill_stands_in_where_nothing_happened_and_is_called_modelled() -> None:
    store = Store()
    store.forge("cache.drilled", {"attempted": 10_000, "survived": 9_990, "hours": 24})
    gauge = store.gauge("latency_tolerance")
    assert (gauge.value, gauge.provenance, gauge.window) == (99.9, "modelled", "the last offline drill")
    store.do("set_online", online=False)
    store.do("set", key="a", value=1)
    gauge = store.gauge("latency_tolerance")
    assert (gauge.value, gauge.provenance) == (100.0, "measured")


def test_a_revision_of_the_far_end_that_follows_ours_confirms_it() -> None:
    store = Store()
    store.do("set", key="a", value=1)
    generation, _, ours = store.rev("a").partition("-")
    store.do("merge", documents=[{"key": "a", "generation": int(generation) + 1, "ids": ["f" * 32, ours], "value": 9}])
    assert store.gauge("resource_flow").parts["confirmed"] == 1
    store.do("set", key="b", value=1)
    store.do("merge", documents=[{"key": "b", "generation": 5, "ids": ["f" * 32], "value": 9}])
    assert store.gauge("resource_flow").parts["confirmed"] == 1, "one beside it does not"


@pytest.mark.parametrize("seed", range(8))
def test_the_flow_is_what_a_slow_count_of_reads_and_of_the_queue_says(seed: int) -> None:
    store = Store(seed)
    chance = store.chance
    waiting: dict[str, int] = {}
    line: list[tuple[int, str, int]] = []
    for _ in range(250):
        pick, key = chance.random(), chance.choice("abcdef")
        if pick < 0.35:
            store.do("set", key=key, value=chance.randrange(9))
            waiting[key] = waiting.get(key, 0) + 1
            line.append((store.mono_us, "queued", 1))
        elif pick < 0.45:
            if not isinstance(store.do("delete", key=key), Refused):
                waiting[key] = waiting.get(key, 0) + 1
                line.append((store.mono_us, "queued", 1))
        elif pick < 0.6:
            known = [each for each in "abcdef" if each in store.state.docs and store.state.docs[each].queued]
            if known:
                store.push(*known)
                line.append((store.mono_us, "confirmed", sum(waiting.pop(each) for each in known)))
        elif pick < 0.9:
            hit = chance.random() < 0.7
            store.totals[HITS if hit else MISSES] += 1
            store.sample()
            line += [(store.mono_us, "reads", 1)] + [(store.mono_us, "hits", 1)] * hit
        else:
            store._pass(chance.choice((1, 9_000_000, 400_000_000)))
    gauge = store.gauge("resource_flow")
    # Both times begin with the wall and go on with the clock of this one boot, so a step is a step of the wall.
    first = store.wall_us // STEPS_US[0] - 359
    start_us = store.wall_us - store.mono_us
    sums = {name: sum(count for at, kind, count in line if kind == name and (start_us + at) // STEPS_US[0] >= first) for name in
            ("hits", "reads", "queued", "confirmed")}  # fmt: skip
    assert gauge.parts == sums
    below, above = sums["reads"] + sums["queued"], sums["hits"] + sums["confirmed"]
    assert gauge.value == (min(100.0, 100 * above / below) if below else None)


def test_more_keys_than_are_followed_take_no_more_memory() -> None:
    store = Store()
    for place in range(FOLLOWED_MAX + 50):
        store.forge("cache.set", {"key": f"k{place}", "rev": "1-a", "size": 1})
    assert len(store.figures.queue._waiting) == FOLLOWED_MAX
    store.forge("cache.pushed", {"remote": "far", "keys": ["k0", f"k{FOLLOWED_MAX}"]})
    assert store.gauge("resource_flow").parts["confirmed"] == 2


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_every_gauge_is_between_0_and_100_or_null_and_never_above_its_evidence(seed: int) -> None:
    store = Store(seed)
    for _ in range(40):
        pick = store.chance.random()
        if pick < 0.2:
            store.do("set_online", online=store.chance.random() < 0.5)
        elif pick < 0.6:
            store.do("set", key=store.chance.choice("ab"), value=1)
        elif pick < 0.8:
            store.totals[store.chance.choice((HITS, MISSES, REFUSED))] += store.chance.randrange(3)
        else:
            store.forge("cache.pushed", {"remote": "far", "keys": ["a", "b", "zzz"]})
    store.sample()
    for gauge in reads.gauges(store.figures, store.now):
        assert (gauge.value is None) == (gauge.denominator == 0) == (gauge.reason is not None)
        if gauge.value is not None:
            assert 0 <= gauge.value <= 100 and gauge.value == 100 * gauge.numerator / gauge.denominator
            assert gauge.met == (gauge.value >= gauge.target)


def test_history_reaches_as_far_as_asked_with_the_finest_steps_that_do() -> None:
    store = Store()
    ask = {None: (10, 360), -HOUR_US + 1: (10, 360), -HOUR_US: (60, 61), -2 * DAY_US: (900, 193), -90 * DAY_US: (900, 2880)}
    for back_us, expected in ask.items():
        since = None if back_us is None else reads.time_text(store.wall_us + back_us)
        found = reads.history(store.figures, reads.AskHistory("resource_flow", since), store.now)
        assert (found.step_s, len(found.points)) == expected
    assert len(store.history("resource_flow", "2222-01-01T00:00:00Z")) == 1, "from tomorrow on there is only now"
    with pytest.raises(Refused, match="no time that exists"):
        store.history("resource_flow", "2026-02-31T00:00:00Z")
