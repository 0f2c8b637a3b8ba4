"""The mesh: ways by health, in a fixed order, never without a token. A slow twin works all health out anew."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import nav
from core.engine import IRER, Actor, Refused
from core.gate.events import DOMAINS, TokenChecked
from core.nav import reads
from core.nav.events import Navigated, RouteChanged
from core.nav.routes import ROUTES, Route, Routes
from tests.core.engine_loop import EngineLoop

ANN = Actor("uid:1001", "operator", 1001)
FAILURES, PROBES, COOLDOWN_S = Route("wealth/primary").failures_max, Route("wealth/primary").successes_min, 30


class Mesh(EngineLoop):
    def __init__(self) -> None:
        super().__init__(nav.ENGINE)
        self.tokens: dict[tuple[str, bool], str] = {}

    @property
    def mesh(self) -> Routes:
        found = self.states["nav"]
        assert isinstance(found, Routes)
        return found

    def token(self, domain: str, offline: bool = False) -> str:
        """A good one at this moment."""
        asked = {"domain": domain, "subject": "user_001", "offline": offline}
        return str(self.decide("gate.issue_token", asked).answer.token)

    def go(self, domain: str = "wealth", token: str | None = None, offline: bool = False) -> dict[str, Any]:
        given = token or self.token(domain, offline)
        asked = {"domain": domain, "token": given, "subject": "user_001", "offline": offline}
        reply = self.world.rows["nav.navigate"].reply
        assert reply is not None
        found = msgspec.to_builtins(reply(self.decide("navigate", asked).events))
        assert isinstance(found, dict)
        return found

    def report(self, route: str, *outcomes: bool) -> None:
        for ok in outcomes:
            self.ask("report_route", {"route": route, "ok": ok})

    def health(self, route: Any) -> str:
        return self.mesh.routes[route].health

    def changes(self, route: str) -> list[tuple[str, str]]:
        return [
            (event.health_to, event.reason) for event in self.events if isinstance(event, RouteChanged) and event.route == route
        ]


@pytest.fixture
def mesh() -> Mesh:
    return Mesh()


# --- the order of the ways


def test_the_primary_carries_then_the_failover_then_only_an_offline_token_helps(mesh: Mesh) -> None:
    assert mesh.go() == {"ok": True, "route": "wealth/primary"}
    mesh.report("wealth/primary", *[False] * FAILURES)
    assert mesh.go() == {"ok": True, "route": "wealth/failover"}
    mesh.report("wealth/failover", *[False] * FAILURES)
    left = mesh.go()
    assert (left["ok"], left["error"]) == (False, "offline") and "--offline" in left["hint"] and "route" not in left
    assert mesh.go(token=mesh.token("wealth", offline=True)) == {"ok": False, "error": "token-refused"}
    assert mesh.go(offline=True) == {"ok": True, "route": "wealth/offline"}
    assert mesh.go("info") == {"ok": True, "route": "info/primary"}, "another domain has ways of its own"


def test_the_offline_way_takes_no_gate_token_and_an_offline_token_no_other_way(mesh: Mesh) -> None:
    for domain in DOMAINS:
        assert mesh.go(domain, mesh.token(domain), offline=True) == {"ok": False, "error": "token-refused"}
        assert mesh.go(domain, mesh.token(domain, offline=True)) == {"ok": False, "error": "token-refused"}
        assert mesh.go(domain, offline=True)["route"] == f"{domain}/offline"
    mesh.ask("set_route", {"route": "myth/offline", "enabled": False})
    assert mesh.go("myth", offline=True)["error"] == "no-route"


def test_a_refusal_names_no_way_whatever_the_health(mesh: Mesh) -> None:
    """Who has no token learns nothing, not even that all is down."""
    answers = []
    for outcomes in ((), (False,) * FAILURES):
        mesh.report("info/primary", *outcomes)
        mesh.report("info/failover", *outcomes)
        answers += [mesh.go("info", "no token"), mesh.go("info", "no token", offline=True), mesh.go("info", mesh.token("wealth"))]
    assert answers == [{"ok": False, "error": "token-refused"}] * 6


def test_every_step_is_on_record_with_its_check(mesh: Mesh) -> None:
    mesh.go()
    mesh.go(token="no token")
    pairs = [(type(one), type(other)) for one, other in pairwise(mesh.events)]
    assert pairs.count((Navigated, TokenChecked)) == 2
    went = [event for event in mesh.events if isinstance(event, Navigated)]
    assert [(event.ok, event.route, event.error) for event in went] == [
        (True, "wealth/primary", None),
        (False, None, "token-refused"),
    ]
    status = mesh.look("status")
    assert (status.taken, status.turned_away, status.up, status.down) == (1, 1, 9, 0)


# --- health


def test_only_failures_in_a_row_take_a_way_down(mesh: Mesh) -> None:
    mesh.report("wealth/primary", *[False, False, True] * 10)
    assert mesh.health("wealth/primary") == "up" and mesh.changes("wealth/primary") == []
    mesh.report("wealth/primary", *[False] * FAILURES)
    assert mesh.changes("wealth/primary") == [("down", "failures")]


def test_after_the_cooldown_one_probe_goes_at_a_time_and_two_must_carry(mesh: Mesh) -> None:
    mesh.report("wealth/primary", *[False] * FAILURES)
    mesh.report("wealth/primary", True, True, True)
    assert mesh.health("wealth/primary") == "down", "late news of before brings nothing back"
    mesh.run(COOLDOWN_S - 0.001)
    assert mesh.health("wealth/primary") == "down"
    mesh.run(0.001)
    assert mesh.health("wealth/primary") == "half-open", "by itself, nobody called a cycle"
    mesh.report("wealth/primary", True, True)
    assert mesh.health("wealth/primary") == "half-open", "no probe was under way"
    assert [mesh.go()["route"] for _ in range(3)] == ["wealth/primary", "wealth/failover", "wealth/failover"]
    mesh.report("wealth/primary", True)
    assert mesh.health("wealth/primary") == "half-open"
    assert [mesh.go()["route"] for _ in range(2)] == ["wealth/primary", "wealth/failover"]
    mesh.report("wealth/primary", True)
    assert mesh.changes("wealth/primary") == [("down", "failures"), ("half-open", "cooldown"), ("up", "probes-passed")]
    assert [mesh.go()["route"] for _ in range(2)] == ["wealth/primary", "wealth/primary"]


def test_a_failed_probe_costs_a_whole_cooldown(mesh: Mesh) -> None:
    mesh.report("wealth/primary", *[False] * FAILURES)
    mesh.run(COOLDOWN_S)
    mesh.go()
    mesh.report("wealth/primary", False)
    mesh.run(COOLDOWN_S - 0.001)
    assert mesh.health("wealth/primary") == "down"
    mesh.run(0.001)
    assert mesh.health("wealth/primary") == "half-open"


def test_a_probe_that_nobody_reports_gives_way_to_the_next(mesh: Mesh) -> None:
    mesh.report("wealth/primary", *[False] * FAILURES)
    mesh.run(COOLDOWN_S)
    assert mesh.go()["route"] == "wealth/primary"
    mesh.run(COOLDOWN_S - 0.001)
    assert mesh.go()["route"] == "wealth/failover"
    mesh.run(0.001)
    assert mesh.go()["route"] == "wealth/primary" and mesh.go()["route"] == "wealth/failover"


def test_after_a_reboot_what_was_down_is_tried_at_once(mesh: Mesh) -> None:
    mesh.report("wealth/primary", *[False] * FAILURES)
    mesh.restart(1.0)
    mesh.settle()
    assert mesh.health("wealth/primary") == "down", "a kill is no reboot"
    mesh.restart(1.0, reboot=True)
    mesh.settle()
    assert mesh.health("wealth/primary") == "half-open" and mesh.go()["route"] == "wealth/primary"
    mesh.restart(1.0, reboot=True)
    assert mesh.go()["route"] == "wealth/primary", "the probe of another boot is waited for no longer"


def test_a_way_that_is_not_enabled_is_not_taken_and_its_settings_have_a_revision(mesh: Mesh) -> None:
    assert mesh.ask("set_route", {"route": "wealth/primary", "enabled": False, "if_rev": 0})
    assert not mesh.ask("set_route", {"route": "wealth/primary", "enabled": False})
    with pytest.raises(Refused, match="revision 1, not 0") as refused:
        mesh.ask("set_route", {"route": "wealth/primary", "enabled": True, "if_rev": 0})
    assert refused.value.code == "aborted"
    assert mesh.go()["route"] == "wealth/failover"
    mesh.ask("set_route", {"route": "wealth/failover", "failures_max": 1, "successes_min": 1, "cooldown_s": 5})
    mesh.report("wealth/failover", False)
    assert mesh.go()["error"] == "offline"
    mesh.run(5)
    assert mesh.go()["route"] == "wealth/failover"
    mesh.report("wealth/failover", True)
    assert mesh.health("wealth/failover") == "up"


def test_health_and_the_table_say_what_carries(mesh: Mesh) -> None:
    def told() -> tuple[str, str | None]:
        check = next(check for check in reads.checks(mesh.mesh, mesh.context()) if check.name == "nav wealth")
        assert (check.reason == "") == (check.health == "ok")
        rows = mesh.look("routes").routes
        assert mesh.look("status").health == check.health and len(rows) == 9
        return check.health, next((row.route for row in rows if row.is_next and row.route.startswith("wealth")), None)

    assert told() == ("ok", "wealth/primary")
    mesh.report("wealth/primary", *[False] * FAILURES)
    assert told() == ("degraded", "wealth/failover")
    row = mesh.look("routes").routes[0]
    assert (row.health, row.retry_at, row.failed, row.taken) == ("down", "2026-01-01T00:00:30.000000Z", 3, 0)
    mesh.report("wealth/failover", *[False] * FAILURES)
    assert told() == ("failed", None)
    mesh.run(COOLDOWN_S)
    assert told() == ("degraded", "wealth/primary")


def test_the_daemon_is_asked_for_nothing_while_all_is_up(mesh: Mesh) -> None:
    assert mesh.wanted() == ([], [])
    mesh.report("info/primary", *[False] * FAILURES)
    [timer], _ = mesh.wanted()
    assert (timer.id, timer.due_us) == ("half-open:info/primary", mesh.mono_us + COOLDOWN_S * 1_000_000)
    assert not mesh.ask("half_open", timer.command, IRER), "too early, it leads to nothing"


# --- the slow twin


@dataclass
class Twin:
    """One way, worked out from all that ever happened on it. It knows no timers: it looks at the clock when it is asked."""

    settings: tuple[bool, int, int, int] = (True, FAILURES, PROBES, COOLDOWN_S)
    happened: list[tuple[int, int, str, Any]] = field(default_factory=list)
    """Boot, time, what, and its outcome."""

    def at(self, boot: int, now_us: int) -> tuple[str, bool]:
        """Its health and whether the next one may take it."""
        enabled, failures_max, successes_min, cooldown_s = True, FAILURES, PROBES, COOLDOWN_S
        health, bad, good, back, probe = "up", 0, 0, (0, 0), None
        for when in [*self.happened, (boot, now_us, "asked", None)]:
            here, what = when[:2], when[2]
            if health == "down" and (here[0] > back[0] or here >= back):
                health, good, probe = "half-open", 0, None
            if what == "set":
                enabled, failures_max, successes_min, cooldown_s = when[3]
            elif what == "given" and health == "half-open":
                probe = (here[0], here[1] + cooldown_s * 1_000_000)
            elif what == "report" and health == "up":
                bad = 0 if when[3] else bad + 1
                if bad == failures_max or bad > failures_max:
                    health, back = "down", (here[0], here[1] + cooldown_s * 1_000_000)
            elif what == "report" and health == "half-open" and probe is not None:
                probe = None
                good += when[3]
                if not when[3]:
                    health, back = "down", (here[0], here[1] + cooldown_s * 1_000_000)
                elif good >= successes_min:
                    health, bad = "up", 0
        waited_for = probe is not None and probe[0] == boot and now_us < probe[1]
        return health, enabled and (health == "up" or (health == "half-open" and not waited_for))


TRIED = ("wealth/primary", "wealth/failover", "wealth/offline")
STEPS = st.one_of(
    st.tuples(st.just("report"), st.sampled_from(TRIED), st.sampled_from([False, False, True])),
    st.tuples(st.just("fail"), st.sampled_from(TRIED), st.integers(1, 4)),
    st.tuples(st.just("go"), st.booleans(), st.sampled_from(["good", "good", "good", "other kind", "no token"])),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 1.0, 29.999, 30.0, 60.0])),
    st.tuples(
        st.just("set"), st.sampled_from(TRIED), st.booleans(), st.integers(1, 3), st.integers(1, 3), st.sampled_from([1, 30, 90])
    ),
    st.tuples(st.just("restart"), st.booleans()),
)


@settings(max_examples=250, deadline=None)
@given(steps=st.lists(STEPS, max_size=40))
def test_the_way_given_is_the_twins_and_none_is_given_without_a_good_token(steps: list[tuple[Any, ...]]) -> None:
    mesh, twins = Mesh(), {name: Twin() for name in TRIED}

    def happened(name: str, what: str, outcome: Any = None) -> None:
        twins[name].happened.append((mesh.boots, mesh.mono_us, what, outcome))

    for step in steps:
        match step:
            case ("report", name, ok):
                mesh.report(name, ok)
                happened(name, "report", ok)
            case ("fail", name, times):
                mesh.report(name, *[False] * times)
                for _ in range(times):
                    happened(name, "report", False)
            case ("go", offline, shown):
                token = {
                    "good": lambda: mesh.token("wealth", offline),
                    "other kind": lambda: mesh.token("wealth", not offline),
                    "no token": lambda: "e30.e30.AAAA",
                }[shown]()
                went = mesh.go("wealth", token, offline)
                open_ways = [name for name in (TRIED[2:] if offline else TRIED[:2]) if twins[name].at(mesh.boots, mesh.mono_us)[1]]
                if shown != "good":
                    assert went == {"ok": False, "error": "token-refused"}
                elif not open_ways:
                    assert (went["ok"], went["error"]) == (False, "no-route" if offline else "offline")
                else:
                    assert went == {"ok": True, "route": open_ways[0]}
                    happened(open_ways[0], "given")
            case ("wait", seconds):
                mesh.run(seconds)
            case ("set", name, *changed):
                members = dict(zip(("enabled", "failures_max", "successes_min", "cooldown_s"), changed, strict=True))
                mesh.ask("set_route", {"route": name, **members})
                happened(name, "set", tuple(changed))
            case ("restart", reboot):
                mesh.restart(reboot=reboot)
        mesh.settle()
        for name in TRIED:
            assert mesh.health(name) == twins[name].at(mesh.boots, mesh.mono_us)[0], name
    assert mesh.replayed_states() == mesh.states


@settings(max_examples=60, deadline=None)
@given(outcomes=st.lists(st.tuples(st.sampled_from([0.0, 1.0, 10.0, 40.0]), st.booleans()), max_size=60))
def test_a_way_never_comes_back_before_its_cooldown_nor_goes_for_fewer_failures(outcomes: list[tuple[float, bool]]) -> None:
    """Whatever is reported, and however fast: the changes of health keep their distance."""
    mesh = Mesh()
    for seconds, ok in outcomes:
        mesh.run(seconds)
        mesh.go()
        mesh.report("wealth/primary", ok)
    found = [(stamp.mono_us, event) for event, (_, _, stamp) in zip(mesh.events, mesh.records, strict=True)]
    changed = [(at, event) for at, event in found if isinstance(event, RouteChanged) and event.route == "wealth/primary"]
    for (at, one), (later, other) in pairwise(changed):
        assert one.health_to == other.health_from
        if one.health_to == "down":
            assert other.health_to == "half-open" and later - at >= COOLDOWN_S * 1_000_000
    assert [event.health_to for _, event in changed[:1]] in ([], ["down"])


def test_every_way_has_a_name_that_says_where_it_leads() -> None:
    assert len(ROUTES) == 9 and {name.partition("/")[0] for name in ROUTES} == set(DOMAINS)
