"""Rules of points: each is judged by itself, energy is their integral, and all that a command led to is one whole."""

import math
import random
from array import array

import pytest

from core.energy import units
from core.energy.columns import VALUE_MAX
from core.energy.facts import RegimeShifted, Sensed, SourceLost
from core.engine import Actor, Refused
from core.wire.codec import Typed
from core.world import World
from tests.core.energy.eil_loop import AROUND_K, BEGIN_US, EilLoop, machine, rows_of, settings, time_of

BOB = Actor("uid:1002", "operator", 1002)
ROOT = Actor("uid:0", "admin", 0)


@pytest.mark.parametrize(
    ("metric", "unit"),
    [
        ("power_draw", "W"),
        ("temperature", "°C"),
        ("cpu_usage", "ratio"),
        ("network_throughput", "B/s"),
        ("rack_kw", "kW"),
        ("gpu_w", "W"),
        ("hot_c", "°C"),
        ("hot_k", "K"),
        ("hot_f", "°F"),
        ("fan_pct", "%"),
        ("hit_ratio", "ratio"),
        ("net_bytes_s", "B/s"),
        ("queue_length", "1"),
        ("said", "kW"),
    ],
)
def test_a_unit_comes_from_the_configuration_then_from_the_name(metric: str, unit: str) -> None:
    assert units.unit_of(metric, {"said": "kW"}) == unit


def test_energy_is_the_integral_of_power_and_gaps_are_left_out() -> None:
    loop = EilLoop()
    for place in range(20):
        loop.sense(10 * place, power_draw=100.0 + 10 * (place % 2))
    state = loop.sense(500, power_draw=100.0).energy_state
    assert state.total_energy == pytest.approx(105 * 190)
    assert state.uncovered_s == pytest.approx(310)
    assert (state.total_energy_unit, state.total_energy_provenance) == ("J", "measured")
    kilowatts = EilLoop()
    for place in range(20):
        last = kilowatts.sense(10 * place, rack_kw=0.1 + 0.01 * (place % 2))
    assert last.energy_state.total_energy == pytest.approx(105 * 190)


@pytest.mark.parametrize("step_us", [1, 3, 7])
def test_steps_of_microseconds_lose_no_energy(step_us: int) -> None:
    loop = EilLoop()
    times = [BEGIN_US + step_us * place for place in range(600)]
    answer = loop.get("sense_batch", {"source": "m", "metrics": ["power_draw"], "times": times, "values": [[1e6]] * len(times)})
    assert answer.energy_state.total_energy == pytest.approx(step_us * (len(times) - 1), rel=1e-9)


@pytest.mark.parametrize("value", [1e18, 9.1e18, -1e25, 1.7e308])
def test_one_great_number_is_refused_by_itself(value: float) -> None:
    answer = EilLoop().sense(0.0, power_draw=100.0, great=value)
    assert answer.accepted == 1 and [(each.metric, each.reason) for each in answer.refused] == [("great", "unusable")]
    with pytest.raises(Refused) as refused:
        EilLoop().sense(0.0, great=value)
    assert refused.value.data["refused"][0]["reason"] == "unusable"
    assert refused.value.detail.endswith(f"below {VALUE_MAX:.0e}".replace("+", "")), "the bound that it was held against"


def test_a_batch_comes_to_what_its_points_would_have_come_to_one_by_one() -> None:
    one, many = EilLoop(), EilLoop()
    points = list(machine(120))
    for place, telemetry in enumerate(points):
        last = one.sense(10 * place, **telemetry)
    metrics = list(points[0])
    answer = many.get(
        "sense_batch",
        {
            "source": "m",
            "metrics": metrics,
            "times": [BEGIN_US + 10_000_000 * place for place in range(len(points))],
            "values": [[each[metric] for metric in metrics] for each in points],
        },
    )
    assert answer.energy_state.total_energy == pytest.approx(last.energy_state.total_energy, rel=1e-12)
    assert answer.regime_prediction == last.regime_prediction and answer.accepted == 360
    assert answer.prediction_id is None and last.prediction_id is not None
    same = [key for key in rows_of(one) if isinstance(key, tuple)]
    assert len(same) == 3 and all(rows_of(one)[key] == rows_of(many)[key] for key in same)


def test_points_are_refused_one_by_one_and_counted() -> None:
    loop = EilLoop()
    loop.sense(0, power_draw=100.0, cpu_usage=0.5, x=1.0)
    mixed = loop.get(
        "sense_batch",
        {
            "source": "m",
            "metrics": ["power_draw", "cpu_usage", "x", "new"],
            "times": Typed("int64", array("q", [BEGIN_US - 5, BEGIN_US, BEGIN_US + 10_000_000]).tobytes(), (3,)),
            "values": Typed("float64", array("d", [1, 2, 3, 4, 100, 0.6, 1, 5, 110, 75, math.nan, math.inf]).tobytes(), (3, 4)),
        },
    )
    assert {(each.metric, each.reason, each.count) for each in mixed.refused} == {
        ("cpu_usage", "conflicting", 1),
        ("cpu_usage", "unit-mismatch", 2),
        ("new", "unusable", 1),
        ("power_draw", "older", 1),
        ("x", "older", 1),
        ("x", "unusable", 1),
    }
    assert (mixed.accepted, mixed.repeated) == (3, 2), "two of the new metric, one of the power"
    assert mixed.energy_state.total_energy == pytest.approx(1050)
    source = loop.state.sources["m"]
    assert source.streams == [("power_draw", "W"), ("cpu_usage", "ratio"), ("x", "1"), ("new", "1")]
    assert (source.refused, source.repeated) == (7, 2)


def test_what_is_known_already_has_no_effect_and_gets_the_same_prediction() -> None:
    loop = EilLoop()
    loop.sense(0, power_draw=100.0)
    first = loop.sense(10, power_draw=120.0)
    rows, claims = rows_of(loop), len(loop.state.claims.source_of)
    again = loop.sense(10, power_draw=120.0)
    assert (again.accepted, again.repeated) == (0, 1)
    assert (again.prediction_id, again.due) == (first.prediction_id, first.due)
    assert again.energy_state == first.energy_state
    assert rows_of(loop) == rows and len(loop.state.claims.source_of) == claims


@pytest.mark.parametrize(
    ("telemetry", "reason"),
    [({"cpu_usage": 75.0}, "unit-mismatch"), ({"temperature": -300.0}, "unit-mismatch"), ({"hot_f": -460.0}, "unit-mismatch")],
)
def test_where_nothing_can_be_taken_up_the_command_is_refused_and_leaves_nothing(telemetry: dict[str, float], reason: str) -> None:
    loop = EilLoop()
    with pytest.raises(Refused) as refused:
        loop.sense(0, **telemetry)
    assert (refused.value.code, refused.value.reason) == ("invalid-argument", reason)
    assert not loop.records and not loop.state.sources


@pytest.mark.parametrize(
    "given",
    [
        {"times": [1, 2], "values": [[1]]},
        {"times": ["yesterday"], "values": [[1]]},
        {"times": [True], "values": [[1]]},
        {"times": [], "values": []},
        {"times": [1], "values": [["1"]]},
        {"times": [1], "values": [[1, 2]]},
        {"times": [-1], "values": [[1]]},
        {"times": "now", "values": [[1]]},
        {"times": [1], "values": Typed("int64", b"\0" * 8, (1,))},
        {"times": Typed("float64", b"\0" * 8, (1,)), "values": [[1]]},
        {"times": list(range(2_049)), "values": [[1]] * 2_049},
    ],
)
def test_a_batch_that_is_not_one_is_refused_by_name(given: dict[str, object]) -> None:
    loop = EilLoop()
    with pytest.raises(Refused) as refused:
        loop.get("sense_batch", {"source": "m", "metrics": ["x"], **given})
    assert refused.value.code == "invalid-argument" and not loop.records


def test_a_batch_of_many_points_is_several_records_and_one_whole() -> None:
    loop = EilLoop()
    times = [BEGIN_US + 1_000_000 * place for place in range(2_000)]
    loop.get("sense_batch", {"source": "m", "metrics": ["power_draw"], "times": times, "values": [[100.0]] * 2_000})
    assert [each.accepted for each in loop.of(Sensed)] == [1_024, 976]
    assert loop.state.sources["m"].totals.energy_j == pytest.approx(199_900)
    assert rows_of(loop.replayed())["m", 0] == rows_of(loop)["m", 0]


def test_a_source_belongs_to_who_sent_its_first_point() -> None:
    loop = EilLoop()
    loop.sense(0, power_draw=1.0)
    for verb, params in (
        ("sense", {"source": "m", "telemetry": {"x": 1.0}}),
        ("predict", {"source": "m"}),
    ):
        with pytest.raises(Refused) as refused:
            loop.get(verb, params, BOB)
        assert (refused.value.code, refused.value.reason) == ("permission-denied", "owner")
    loop.sense(10, actor=ROOT, power_draw=2.0)
    assert loop.state.sources["m"].owner == "uid:1001" and len(loop.records) == 2


def test_streams_have_a_bound_and_the_idlest_source_makes_room() -> None:
    loop = EilLoop(settings(streams_max=3))
    loop.sense(0, "old", a=1.0, b=1.0)
    loop.sense(0, "new", a=1.0)
    with pytest.raises(Refused) as refused:
        loop.sense(10, "more", a=1.0)
    assert (refused.value.code, refused.value.reason) == ("resource-exhausted", "streams")
    loop.run(3_601)
    loop.sense(20, "new", a=2.0)
    loop.sense(10, "more", a=1.0)
    assert list(loop.state.sources) == ["new", "more"] and loop.state.streams == 2
    assert not [source for source in loop.state.claims.source_of.values() if source == "old"]
    assert loop.replayed() == loop.state


def test_a_sensor_that_falls_silent_is_told_once_and_what_rests_on_it_is_worth_less() -> None:
    loop = EilLoop()
    for place in range(10):
        loop.sense(10 * place, power_draw=100.0, x=float(place))
    for place in range(10, 30):
        loop.sense(10 * place, x=float(place))
    [lost] = loop.of(SourceLost)
    assert lost.metrics == ["power_draw"] and lost.silent_s > 80
    row = loop.look("regime_status", {"source": "m"}).sources[0]
    assert row.lost == ["power_draw"] and row.energy_state.total_energy_provenance == "surrogate"
    assert loop.look("health").status == "degraded"
    loop.sense(300, power_draw=100.0, x=1.0)
    assert loop.look("regime_status", {"source": "m"}).sources[0].energy_state.total_energy_provenance == "measured"


def test_power_that_follows_from_utilisation_is_modelled_and_says_how_sure_it_is() -> None:
    loop = EilLoop(settings(sources={"m": {"idle_w": 100.0, "max_w": 300.0}}))
    for place in range(11):
        answer = loop.sense(10 * place, cpu_usage=0.5)
    state = answer.energy_state
    assert (state.total_energy, state.total_energy_unit) == (pytest.approx(200 * 100), "J")
    assert state.total_energy_provenance == "modelled" and state.total_energy_sigma == pytest.approx(0.08 * 200 * 100)
    told = loop.of(Sensed)
    assert told[0].known is not None and told[1].known is None, "the configuration stands in the log once"


def test_without_power_energy_only_orders() -> None:
    loop = EilLoop()
    for place, telemetry in enumerate(machine(50)):
        answer = loop.sense(10 * place, x=telemetry["power_draw"])
    state = answer.energy_state
    assert (state.total_energy_unit, state.total_energy_provenance) == ("1", "surrogate") and state.total_energy > 0
    assert (state.entropy_unit, state.entropy_kind) == ("nats", "statistical")


def test_a_shift_changes_the_regime_of_the_source_and_is_on_record() -> None:
    loop = EilLoop()
    draw = random.Random(4)
    times = [BEGIN_US + 10_000_000 * place for place in range(1_000)]
    values = [[draw.gauss(200, 20)] for _ in times]
    loop.get("sense_batch", {"source": "m", "metrics": ["power_draw"], "times": times, "values": values})
    for place in range(1_000, 1_040):
        loop.sense(10 * place, power_draw=draw.gauss(800, 20))
    [shift] = loop.of(RegimeShifted)
    [stream] = shift.streams
    assert shift.to_regime == "transition" and stream.metric == "power_draw"
    assert abs(stream.located_us - (BEGIN_US + 10_000_000_000)) <= 30_000_000
    assert stream.mean_after > stream.mean_before + 100
    assert loop.state.sources["m"].shifts == 1
    seen = loop.look("regime_status", {"source": "m"}).sources[0]
    assert seen.latest[0].metric == "power_draw" and seen.shifts == 1


def test_entropy_is_physical_once_the_machine_is_known() -> None:
    loop = EilLoop()
    for place, telemetry in enumerate(machine(400)):
        answer = loop.sense(10 * place, **telemetry)
    state = answer.energy_state
    assert (state.entropy_kind, state.entropy_unit) == ("physical", "J/K") and state.entropy > 0
    assert state.total_energy / state.entropy == pytest.approx(AROUND_K, rel=0.5), "what is dissipated, by the temperature around"
    row = loop.look("regime_status", {"source": "m"}).sources[0]
    assert row.energy_fidelity is not None and row.energy_fidelity > 0.8 and row.entropy_coherence == 1.0


def test_a_replay_leads_to_the_same_columns_and_a_snapshot_keeps_them() -> None:
    loop = EilLoop()
    for place, telemetry in enumerate(machine(150)):
        loop.sense(10 * place, **telemetry)
        loop.sense(10 * place, "n", x=telemetry["power_draw"] % 7)
    loop.get("predict", {"source": "m", "horizon_s": 77})
    assert rows_of(loop.replayed()) == rows_of(loop)
    kept = World(loop.engines)
    kept.load(loop.log, loop.world.dump(loop.log))
    kept.take_up(loop.log, loop.world.kept(loop.log))
    assert rows_of(kept.states["eil"]) == rows_of(loop)
    taken, was = loop.world.pictures(loop.log), loop.world.kept(loop.log)
    loop.sense(1_500, power_draw=200.0)
    loop.sense(1_500, "another", x=1.0)
    assert {name: made() for name, made in taken.items()} == was != loop.world.kept(loop.log), "what was taken moves no more"


def test_without_its_columns_a_source_learns_anew_and_keeps_its_totals() -> None:
    """So it is after an upgrade whose columns are others."""
    loop = EilLoop()
    for place, telemetry in enumerate(machine(150)):
        before = loop.sense(10 * place, **telemetry)
    assert before.energy_state.regime != "learning"
    dump = loop.world.dump(loop.log)
    loop.world.load(loop.log, dump)
    loop.world.take_up(loop.log, {"eil": b"what another version kept"})
    assert before.prediction_id in loop.state.claims.source_of
    after = loop.sense(1_500, power_draw=200.0)
    assert after.energy_state.regime == "learning"
    assert after.energy_state.total_energy >= before.energy_state.total_energy
    assert after.energy_state.entropy == before.energy_state.entropy


def test_what_was_only_tried_leaves_no_row_behind() -> None:
    loop = EilLoop()
    loop.sense(0, power_draw=1.0)
    for place in range(50):
        row = loop._row("sense")
        tried = {"source": f"s{place}", "telemetry": {"x": 1.0}, "timestamp": time_of(place)}
        loop.world.decide(row, row.params(**tried), loop.context())
    loop.sense(10, power_draw=1.0, x=2.0)
    assert loop.state.view._store.size <= 3


def test_a_budget_grants_no_more_than_it_holds_and_fills() -> None:
    loop = EilLoop(settings(budget={"joules": 0.3, "refill_w": 0.05}))
    granted = refused = 0
    for place in range(400):
        loop.run(0.1)
        try:
            loop.sense(place, power_draw=float(place))
            granted += 1
        except Refused as error:
            refused += 1
            assert (error.code, error.reason) == ("resource-exhausted", "energy-budget") and error.retry_ms
    spent = granted * (0.015 + 0.0002)
    assert spent <= 0.3 + 40 * 0.05 + 1e-9 and refused > granted
    loop.get("sense", {"source": "other", "telemetry": {"x": 1.0}}, BOB)  # nobody starves another
    [bob, ann] = loop.look("health").callers
    assert (bob.caller, ann.caller) == ("uid:1002", "uid:1001") and ann.refused == refused
    assert loop.look("market_pricing").prices["CEU"].factors["demand"] > 1.5, "who is refused asks all the same"
    unset = EilLoop()
    for place in range(100):
        unset.sense(place, power_draw=1.0)
    assert unset.look("market_pricing").prices["CEU"].factors["demand"] == 1


def test_what_was_refused_of_one_stream_changes_nothing_of_it_and_a_replay_agrees() -> None:
    loop, draw = EilLoop(), random.Random(2)
    for place in range(40):
        loop.sense(10 * place, "whole", a_ratio=draw.gauss(0, 0.1), b=draw.gauss(0, 100))
    before = loop.state.view.follow_of("whole").nats
    loop.sense(395, "whole", b=1.0)
    assert loop.sense(400, "whole", a_ratio=75.0, b=2.0).refused[0].reason == "unit-mismatch", "one number harms no other"
    loop.sense(400, "whole", a_ratio=0.5, b=2.0)
    loop.sense(400, "whole", a_ratio=0.25, b=2.0, c=1.0)
    first = EilLoop()
    for place in range(40):
        first.sense(10 * place, "whole", a_ratio=draw.gauss(0, 0.1), b=draw.gauss(0, 100))
    first.sense(400, "whole", a_ratio=75.0, b=2.0)
    assert before[0] != before[1] and loop.state.view.follow_of("whole").nats[0] != loop.state.view.follow_of("whole").nats[1]
    assert first.state.view.follow_of("whole").nats[0] != first.state.view.follow_of("whole").nats[1]
    assert rows_of(loop.replayed()) == rows_of(loop) and rows_of(first.replayed()) == rows_of(first)


def test_a_time_of_a_far_future_is_refused_and_spoils_no_stream() -> None:
    loop = EilLoop()
    loop.sense(0, x=1.0)
    for at in (366.1 * 86_400, 1e11, 2.4e11):
        with pytest.raises(Refused) as refused:
            loop.sense(at, x=2.0)
        assert (refused.value.code, refused.value.reason) == ("invalid-argument", "ahead")
    assert loop.sense(10, x=2.0).accepted == 1
