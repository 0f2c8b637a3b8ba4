"""Entities: the table of their life as the only truth, supervision that needs nobody, correction that is bounded, units that an
awake entity holds and a sleeping one does not."""

import copy
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.engine import Ask, Asked, Refused
from core.entity import ENGINE
from core.entity.commands import moved_claims
from core.entity.events import Turned
from core.entity.fleet import BUCKETS, task_of
from core.entity.lifecycle import STATES, TABLE, Cause, State, mermaid
from core.resource import ENGINE as RESOURCE
from core.settings import Entities, Pool, Pools, Settings
from tests.core.engine_loop import EngineLoop

QUICK = Settings(entities=Entities(heartbeat_s=30.0, attempts=3, base_s=2.0, cap_s=8.0))


class World:
    """The entity engine beside a real resource engine that does what it is asked, and an uplink."""

    def __init__(self, ceiling: int = 8, config: Settings = QUICK) -> None:
        config = msgspec.structs.replace(config, pools=Pools(compute=Pool(1, ceiling)))
        self.pools = EngineLoop(RESOURCE, config)
        self.loop = EngineLoop(ENGINE, config, answer=self._answer)
        self.loop.elsewhere["resource"] = self.pools.state
        self.loop.elsewhere.setdefault("cache", SimpleNamespace(online=True))
        self.asked: list[Ask] = []

    def _answer(self, ask: Ask) -> Asked:
        self.asked.append(ask)
        try:
            self.pools.ask(ask.method, ask.params)
        except Refused as refused:
            return Asked(ask.id, False, refused.code)
        self.pools.settle()
        return Asked(ask.id, True, "ok")

    def uplink(self, there: bool) -> None:
        changed = copy.copy(self.loop.elsewhere["cache"])
        changed.online = there
        self.loop.elsewhere["cache"] = changed
        self.loop.settle()

    def do(self, verb: str, entity_id: str = "a", **more: Any) -> None:
        self.loop.ask(verb, {"entity_id": entity_id, **more})
        self.loop.settle()

    def run(self, seconds: float) -> None:
        self.pools.run(seconds)
        self.loop.run(seconds)

    def state(self, entity_id: str = "a") -> State:
        return self.loop.state.shown(self.loop.state.entities[entity_id])

    def turns(self) -> list[Cause]:
        return [event.cause for event in self.loop.events if isinstance(event, Turned)]


def test_a_spawned_entity_hibernates_is_active_once_awakened_and_sleeps_again() -> None:
    world = World()
    world.do("spawn", type="worker")
    assert world.state() == "hibernating"
    world.do("awaken")
    assert world.state() == "active" and world.turns() == ["awaken", "ready"]
    world.do("hibernate")
    assert world.state() == "hibernating"


def into(world: World, state: State) -> None:
    """Bring entity `a` into a state by what callers and the world can do."""
    world.do("spawn", type="worker", needs={"pool": "compute", "units": 2})
    if state == "awakening":
        world.pools.ask("submit_task", {"task_id": "greedy", "units": 4, "duration_s": 10_000.0, "priority": "critical"})
        world.pools.settle()
    if state == "hibernating":
        return
    world.do("awaken")
    if state == "error_correction":
        world.do("report", health=1)
    if state == "offline_adapting":
        world.uplink(False)
    if state == "deactivated":
        world.do("deactivate")
    assert world.state() == state


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("verb", ["awaken", "hibernate", "deactivate"])
def test_what_a_caller_may_ask_of_an_entity_is_exactly_what_the_table_says(state: State, verb: Cause) -> None:
    world = World(ceiling=4)
    into(world, state)
    before = len(world.loop.records)
    following = TABLE.get((state, verb))
    if following is None:
        with pytest.raises(Refused, match=f"a is {state}, so it cannot {verb}") as refused:
            world.do(verb)
        assert refused.value.code == "failed-precondition" and len(world.loop.records) == before
    else:
        world.loop.ask(verb, {"entity_id": "a"})
        event = world.loop.events[before]
        assert isinstance(event, Turned) and event.cause == verb and event.to_state == following


def test_an_entity_that_says_nothing_is_put_right_in_bounded_attempts_and_then_sent_to_sleep() -> None:
    world = World()
    world.do("spawn", type="sensor")
    world.do("awaken")
    world.run(29)
    assert world.state() == "active"
    world.run(1.1)
    assert world.state() == "error_correction"
    world.run(2 + 4 + 8)
    assert world.state() == "hibernating"
    kinds = [type(event).__name__ for event in world.loop.events]
    assert kinds.count("Correcting") == 3 and world.turns() == ["awaken", "ready", "silent", "gave_up"]


def test_reports_keep_an_entity_active_and_a_healthy_one_ends_its_correction() -> None:
    world = World()
    world.do("spawn", type="sensor")
    world.do("awaken")
    for _ in range(10):
        world.run(29)
        world.do("report", health=80)
    assert world.state() == "active" and world.turns() == ["awaken", "ready"]
    world.do("report", health=10, note="hot")
    assert world.state() == "error_correction"
    world.run(1)
    world.do("report", health=50)
    assert world.state() == "active" and world.loop.state.entities["a"].attempts == 0
    world.run(29)
    assert world.state() == "active", "its time begins anew"


def test_healing_begins_the_attempts_anew() -> None:
    world = World()
    world.do("spawn", type="agent")
    world.do("awaken")
    world.do("report", health=0)
    world.run(2.1)
    assert world.loop.state.entities["a"].attempts == 2
    world.do("heal")
    assert world.loop.state.entities["a"].attempts == 1
    with pytest.raises(Refused, match=r"only an entity in error_correction can be healed\. Wake it: irerctl entity awaken b"):
        world.do("spawn", "b", type="agent")
        world.do("heal", "b")


def test_an_awake_entity_holds_its_units_and_a_sleeping_one_gives_them_back() -> None:
    world = World(ceiling=4)
    world.do("spawn", type="worker", needs={"pool": "compute", "units": 3})
    world.do("spawn", "b", type="worker", needs={"pool": "compute", "units": 2})
    world.do("awaken")
    assert world.state() == "active" and world.pools.state.pools["compute"].used == 3
    world.do("awaken", "b")
    assert world.state("b") == "awakening", "two more do not fit"
    world.do("hibernate")
    assert world.pools.state.pools["compute"].used == 2
    world.loop.settle()
    assert world.state("b") == "active"
    world.do("deactivate", "b")
    assert world.pools.state.pools["compute"].used == 0
    assert not world.loop.state.claims and not world.loop.state.releases


def test_units_that_no_pool_can_give_leave_the_entity_awakening_with_the_reason() -> None:
    world = World()
    world.do("spawn", type="worker", needs={"pool": "compute", "units": 8})
    small = msgspec.structs.replace(world.pools.settings, pools=Pools(compute=Pool(1, 4)))
    world.pools.settings = small
    world.do("awaken")
    assert world.state() == "awakening"
    row = world.loop.look("get", {"entity_id": "a"})
    assert "8 units of compute were refused" in row.waits_for and "ceiling" in row.waits_for
    assert len(world.asked) == 1, "it is not asked for again and again"
    with pytest.raises(Refused, match=r"outside 1\.\.8"):
        world.do("spawn", "b", type="worker", needs={"pool": "compute", "units": 9})


def test_an_entity_whose_units_were_taken_away_wakes_anew() -> None:
    world = World(ceiling=4)
    world.do("spawn", type="worker", needs={"pool": "compute", "units": 3})
    world.do("awaken")
    first = world.loop.state.entities["a"].claim
    world.pools.ask("cancel_task", {"task_id": task_of(first)})
    world.loop.settle()
    assert world.turns()[-2:] == ["units_lost", "ready"]
    assert world.state() == "active" and world.loop.state.entities["a"].claim != first


def test_when_the_uplink_goes_all_active_entities_adapt_in_one_event_and_come_back_in_one() -> None:
    world = World()
    for name in ("a", "b", "c"):
        world.do("spawn", name, type="gateway")
        world.do("awaken", name)
    world.do("report", "c", health=0)
    before = len(world.loop.records)
    world.uplink(False)
    assert len(world.loop.records) == before + 1
    assert [world.state(name) for name in ("a", "b", "c")] == ["offline_adapting", "offline_adapting", "error_correction"]
    world.do("report", "c", health=99)
    assert world.state("c") == "offline_adapting"
    status = world.loop.look("status")
    assert status.states["offline_adapting"] == 3 and status.states["active"] == 0 and not status.online
    world.uplink(True)
    assert world.state("a") == "active" and len(world.loop.records) == before + 4


def test_silence_while_the_daemon_was_away_counts_against_nobody() -> None:
    world = World()
    world.do("spawn", type="sensor")
    world.do("awaken")
    world.loop.restart(down_s=3_600, reboot=True)
    world.run(29)
    assert world.state() == "active"
    world.run(2)
    assert world.state() == "error_correction"


def test_a_claim_given_up_before_it_was_answered_is_given_back_too() -> None:
    world = World()
    world.do("spawn", type="worker", needs={"pool": "compute", "units": 1})
    world.loop.ask("awaken", {"entity_id": "a"})
    [claim] = world.loop.asks()
    world.pools.ask(claim.method, claim.params)  # it was put before the resource engine, and then the answer was lost
    world.loop.ask("hibernate", {"entity_id": "a"})
    assert [ask.method for ask in world.loop.asks()] == ["resource.cancel_task"]
    world.loop.settle()
    world.pools.settle()
    assert world.pools.state.pools["compute"].used == 0 and not world.loop.asks()


def test_a_name_is_used_once_and_an_unknown_one_is_answered_with_the_nearest() -> None:
    world = World()
    world.do("spawn", "worker_001", type="worker")
    with pytest.raises(Refused) as refused:
        world.do("spawn", "worker_001", type="worker")
    assert refused.value.code == "already-exists"
    with pytest.raises(Refused, match="Did you mean worker_001") as refused:
        world.do("awaken", "worker_01")
    assert refused.value.code == "not-found"


@pytest.mark.parametrize("verb", [None, "awaken", "deactivate"])
def test_a_name_that_is_taken_is_told_to_be_awakened_only_where_that_can_be_done(verb: str | None) -> None:
    world = World()
    world.do("spawn", type="worker")
    if verb is not None:
        world.do(verb)
    with pytest.raises(Refused) as refused:
        world.do("spawn", type="worker")
    told = "irerctl entity awaken a" in refused.value.detail
    assert told == (world.state() == "hibernating") and "Choose another name" in refused.value.detail


def test_listing_pages_through_all_of_them_once() -> None:
    world = World()
    for number in range(25):
        world.loop.ask("spawn", {"entity_id": f"e{number}", "type": "sensor" if number % 2 else "agent"})
    found, after = [], None
    while True:
        page = world.loop.look("list", {"limit": 4, "type": "agent", **({"after": after} if after else {})})
        found += [row.entity_id for row in page.entities]
        after = page.next
        if after is None:
            break
    assert found == [f"e{number}" for number in range(0, 25, 2)]


def test_the_picture_in_the_documentation_is_the_table() -> None:
    with open("docs/entities.md") as page:
        assert mermaid() in page.read(), "docs/entities.md does not show the table of core/entity/lifecycle.py: put mermaid() there"


MOVES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["awaken", "hibernate", "deactivate", "heal"]), st.sampled_from("abc")),
        st.tuples(st.just("report"), st.sampled_from("abc"), st.sampled_from([0.0, 49.9, 50.0, 100.0])),
        st.tuples(st.just("run"), st.sampled_from([0.5, 3.0, 31.0])),
        st.tuples(st.just("uplink"), st.booleans()),
        st.tuples(st.just("restart"), st.booleans()),
    ),
    max_size=40,
)


@settings(max_examples=80, deadline=None)
@given(moves=MOVES)
def test_whatever_happens_the_units_held_are_those_of_awake_entities_and_every_turn_is_in_the_table(moves: list[Any]) -> None:
    world = World(ceiling=4)
    for name, units in (("a", 3), ("b", 2), ("c", None)):
        world.do("spawn", name, type="worker", **({"needs": {"pool": "compute", "units": units}} if units else {}))
    for verb, *rest in moves:
        match verb:
            case "run":
                world.run(rest[0])
            case "uplink":
                world.uplink(rest[0])
            case "restart":
                world.loop.restart(1.0, reboot=rest[0])
                world.loop.settle()
            case "report":
                _try(world, verb, rest[0], health=rest[1])
            case _:
                _try(world, verb, rest[0])
        world.pools.settle()
        world.loop.settle()
        world.pools.settle()
    fleet = world.loop.state
    held = sum(e.needs.units for e in fleet.entities.values() if e.needs and e.state in ("active", "error_correction"))
    assert world.pools.state.pools["compute"].used == held
    for event in world.loop.events:
        if isinstance(event, Turned):
            keys = {(event.from_state, event.cause), ("offline_adapting", event.cause)}
            assert any(TABLE.get(key) in (event.to_state, "offline_adapting") for key in keys), event
    assert world.loop.replayed() == fleet


def _try(world: World, verb: str, name: str, **more: Any) -> None:
    try:
        world.do(verb, name, **more)
    except Refused:
        pass


LARGE = 1_100
"""Awake entities that hold units, beyond what one look covers at once."""


def many(count: int) -> World:
    world = World(ceiling=2 * count)
    world.pools.ask("scale", {"pool": "compute", "size": 2 * count})
    for number in range(count):
        world.loop.ask("spawn", {"entity_id": f"e{number}", "type": "worker", "needs": {"pool": "compute", "units": 1}})
        world.loop.ask("awaken", {"entity_id": f"e{number}"})
    world.loop.settle()
    return world


def test_however_many_hold_units_already_the_next_one_gets_its_own_and_a_lost_one_is_noticed() -> None:
    world = many(LARGE)
    fleet = world.loop.state
    assert fleet.counts["active"] == LARGE and fleet.units["compute"] == LARGE == world.pools.state.pools["compute"].used
    lost = fleet.entities["e500"]
    before = len(world.turns())
    world.pools.ask("cancel_task", {"task_id": task_of(lost.claim)})
    world.loop.settle()
    world.pools.settle()
    world.loop.settle()
    assert world.turns()[before:] == ["units_lost", "ready"], "it is noticed at once, and its units are asked for anew"
    assert world.loop.replayed() == fleet


def test_a_claim_whose_end_was_missed_is_found_within_as_many_seconds_as_there_are_parts() -> None:
    world = many(LARGE)
    task_id = task_of(world.loop.state.entities["e7"].claim)
    world.pools.ask("cancel_task", {"task_id": task_id})
    world.pools.state.finished.remove(task_id)
    ctx = world.loop.context()
    seen = [
        [entity.entity_id for entity, _ in moved_claims(world.loop.state, world.pools.state, ctx.mono_us + second * 1_000_000)]
        for second in range(BUCKETS)
    ]
    assert [entity_id for each in seen for entity_id in each] == ["e7"]


def test_pages_begin_where_the_last_ended_also_after_many_were_forgotten() -> None:
    world = World()
    for number in range(300):
        world.loop.ask("spawn", {"entity_id": f"e{number}", "type": "worker"})
    fleet = world.loop.state
    for number in range(0, 300, 2):
        world.loop.ask("deactivate", {"entity_id": f"e{number}"})
        fleet.gone.pop(f"e{number}")
        del fleet.entities[f"e{number}"]  # as if enough others had gone since
    found, after = [], None
    while True:
        page = world.loop.look("list", {"limit": 7} | ({"after": after} if after else {}))
        found += [row.entity_id for row in page.entities]
        if (after := page.next) is None:
            break
    assert found == [f"e{number}" for number in range(1, 300, 2)]


def test_a_list_shows_the_needs_of_those_that_hold_or_wait_for_units_and_one_entity_shows_its_own_always() -> None:
    world = World(ceiling=2)
    for name in ("asleep", "awake", "waiting"):
        world.do("spawn", name, type="worker", needs={"pool": "compute", "units": 2})
    world.do("awaken", "awake")
    world.do("awaken", "waiting")
    shown = {row.entity_id: row.needs for row in world.loop.look("list").entities}
    assert shown["asleep"] is None and shown["awake"] == shown["waiting"] == world.loop.look("get", {"entity_id": "asleep"}).needs
