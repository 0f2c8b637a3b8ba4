"""Whoever shows very many credentials that do not hold is slowed; nobody is ever refused or kept waiting for what another did.

The callers here go through the very code that decides, in the daemon, what is told singly and what waits. A legitimate caller's
answers are compared with those of a world in which the attacker never was.
"""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import control, gate
from core.engine import Actor, Refused
from core.gate import slowing, state
from core.gate.slowing import FAILURES_MAX, FORGET_US, SLOW_S, STEPS_MAX, CallerSlowed, Failures, Slow
from irerd.dispatch import Answer
from irerd.refusals import SINGLE_MAX, Refusals
from tests.core.engine_loop import ANN, EngineLoop

ADMIN = Actor("uid:0", "admin", 0)
EVE = Actor("uid:666", "operator", 666)


class Guarded(EngineLoop):
    """Engine control and the gates on one log, behind the counting of refusals as the daemon has it."""

    def __init__(self) -> None:
        super().__init__(control.ENGINE)
        self.refusals = Refusals(self)  # type: ignore[arg-type]
        self.refusals.now_us = lambda: self.mono_us
        self.refusals.is_slowed = lambda caller: self.gates.is_slowed(caller, self.mono_us, self.boot_id)

    @property
    def gates(self) -> state.Gates:
        found = self.states["gate"]
        assert isinstance(found, state.Gates)
        return found

    def give(self, command: Any, reply: Callable[[Answer], None] | None = None) -> None:
        """What the daemon itself commands."""
        self.ask(self.world.internal[type(command)].name, command)
        if reply is not None:
            reply(Answer({}))

    def call(self, method: str, params: dict[str, Any], actor: Actor) -> tuple[dict[str, Any], bool]:
        """What a caller is told in the end, and whether at once."""
        row = self.world.rows[method]
        decision = self.world.decide(row, msgspec.convert(params, row.params), self.context(actor))
        told: list[Answer] = []
        late = decision.turned_down and self.refusals.count_instead(actor.name, method, told.append, Answer({}))
        if told and told[0].error is not None:
            return {"later": told[0].error.reason}, True
        if not late:
            self.ask(method, params, actor)
        reply = row.reply
        answer = decision.answer if decision.answer is not None else reply(decision.events) if reply else decision.events[0]
        return msgspec.to_builtins(answer), not late

    def second(self) -> None:
        self.run(1.0)
        self.refusals.close_windows()

    def fail(self, actor: Actor, count: int = FAILURES_MAX) -> None:
        for _ in range(count):
            self.call("engines.validate", {"engine_id": "mailer", "engine_key": "irk_guess"}, actor)
        self.second()


@pytest.fixture
def loop() -> Guarded:
    return Guarded()


def test_who_guesses_keys_is_slowed_and_the_engine_whose_name_was_guessed_is_not(loop: Guarded) -> None:
    key = loop.decide("engines.register", {"engine_id": "mailer", "capabilities": {}}, ADMIN).answer.engine_key
    loop.fail(EVE, FAILURES_MAX - 1)
    assert loop.gates.slowed == {}
    loop.fail(EVE, 2)
    assert list(loop.gates.slowed) == [EVE.name]
    assert loop.call("engines.validate", {"engine_id": "mailer", "engine_key": "irk_guess"}, EVE) == ({"valid": False}, False)
    right = {"engine_id": "mailer", "engine_key": key}
    assert loop.call("engines.validate", right, ANN)[0]["valid"] and loop.call("engines.validate", right, ANN)[1]
    assert loop.call("engines.validate", right, EVE) == ({"valid": True, "key": 1}, True), "what holds is let in, whoever shows it"
    assert loop.call("engines.validate", {**right, "engine_key": "irk_typo"}, ANN) == ({"valid": False}, True)


def test_all_three_kinds_of_credentials_count_and_a_refused_permission_does_not(loop: Guarded) -> None:
    for place in range(FAILURES_MAX):
        method, params = [
            ("engines.validate", {"engine_id": "mailer", "engine_key": "irk_guess"}),
            ("gate.check", {"token": "a.b.c", "domain": "wealth"}),
            ("system.check_http_token", {"token": "a.b.c"}),
        ][place % 3]
        loop.call(method, params, EVE)
        loop.refusals.refuse("uid:5", "resource.scale", Refused("permission-denied", "no"), lambda answer: None)
    loop.second()
    assert list(loop.gates.slowed) == [EVE.name]


def test_it_lasts_longer_each_time_has_a_most_and_is_forgotten_after_an_hour_in_peace(loop: Guarded) -> None:
    lasted = []
    for _ in range(STEPS_MAX + 1):
        loop.fail(EVE)
        event = [each for each in loop.events if isinstance(each, CallerSlowed)][-1]
        lasted.append(event.seconds)
        loop.run(event.seconds - 0.001)
        assert loop.refusals.is_slowed(EVE.name)
        loop.run(0.002)
        assert not loop.refusals.is_slowed(EVE.name)
    assert lasted == [SLOW_S * 2 ** min(step, STEPS_MAX - 1) for step in range(STEPS_MAX + 1)]
    loop.run(FORGET_US / 1e6)
    loop.fail(EVE)
    assert loop.gates.slowed[EVE.name].step == 1


def test_a_reboot_and_an_admin_free_a_caller_and_a_restart_does_not(loop: Guarded) -> None:
    loop.fail(EVE)
    loop.restart()
    assert loop.refusals.is_slowed(EVE.name)
    assert [check.health for check in gate.reads.checks(loop.gates, loop.context()) if check.name == "gate callers"] == ["degraded"]
    [row] = loop.look("gate.breaches").slowed
    assert (row.caller, row.failures, row.step) == (EVE.name, FAILURES_MAX, 1) and 0 < row.left_s <= SLOW_S
    loop.ask("gate.free", {"caller": EVE.name}, ADMIN)
    assert not loop.refusals.is_slowed(EVE.name) and loop.look("gate.breaches").slowed == []
    assert not loop.ask("gate.free", {"caller": EVE.name}, ADMIN), "nothing to change, nothing on record"
    loop.fail(EVE)
    loop.restart(reboot=True)
    assert not loop.refusals.is_slowed(EVE.name)
    assert loop.replayed_states() == loop.states


def test_what_is_kept_has_a_bound_and_two_callers_never_share_a_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slowing, "COUNTED_MAX", 3)
    failures = Failures()
    for _ in range(500):
        for name in ("uid:1", "uid:2", "uid:3", "uid:4"):
            assert failures.note(name, 0) == 1, "each was forgotten before it came again"
    assert len(failures) == 3
    monkeypatch.setattr(slowing, "SLOWED_MAX", 3)
    loop = Guarded()
    for number in range(9):
        loop.give(Slow(f"uid:{number}", 60))
        loop.run(0.001)
    assert list(loop.gates.slowed) == ["uid:6", "uid:7", "uid:8"]


def test_a_failure_now_and_then_slows_nobody(loop: Guarded) -> None:
    for _ in range(5 * FAILURES_MAX):
        loop.call("gate.check", {"token": "a.b.c", "domain": "wealth"}, EVE)
        loop.second()
    assert loop.gates.slowed == {}


ATTACK = st.lists(
    st.one_of(
        st.tuples(st.just("guess"), st.sampled_from([EVE, Actor("uid:667", "viewer", 667), Actor("engine:other", "engine", 9)])),
        st.tuples(st.just("flood"), st.integers(1, 3 * FAILURES_MAX)),
        st.tuples(st.just("wait"), st.sampled_from([0.5, 1.0, 61.0])),
        st.tuples(st.just("mine"), st.sampled_from(["right", "wrong", "token"])),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(steps=ATTACK, shared=st.booleans())
def test_no_sequence_of_an_attacker_changes_what_a_legitimate_caller_is_told(steps: list[tuple[Any, ...]], shared: bool) -> None:
    """`shared`: the attacker comes through the same gateway as Ann, so that the kernel says they are one. Then only a wrong answer
    of hers may come late or tell her to come later, never a right one."""
    told = [_told_to_ann(steps, with_attacker, shared) for with_attacker in (False, True)]
    for alone, attacked in zip(*told, strict=True):
        changed = shared and not attacked[2]
        assert attacked[0] == alone[0] or (changed and attacked[0] == {"later": "credentials"})
        assert attacked[1] == alone[1] or changed, "what holds is answered at once"


def _told_to_ann(steps: list[tuple[Any, ...]], with_attacker: bool, shared: bool) -> list[tuple[dict[str, Any], bool, bool]]:
    loop = Guarded()
    key = loop.decide("engines.register", {"engine_id": "mailer", "capabilities": {}}, ADMIN).answer.engine_key
    token = loop.decide("gate.issue_token", {"domain": "wealth", "subject": "ann", "ttl_s": 3_600}, ADMIN).answer.token
    loop.ask("gate.set_policy", {"domain": "wealth", "rate_max": 1_000_000}, ADMIN)
    asked = {
        "right": ("engines.validate", {"engine_id": "mailer", "engine_key": key}),
        "wrong": ("engines.validate", {"engine_id": "mailer", "engine_key": "irk_typo"}),
        "token": ("gate.check", {"token": token, "domain": "wealth"}),
    }
    told = []
    for step in steps:
        match step:
            case ("guess", actor) if with_attacker:
                loop.call("engines.validate", {"engine_id": "mailer", "engine_key": "irk_guess"}, ANN if shared else actor)
            case ("flood", count) if with_attacker:
                for _ in range(count):
                    loop.call("gate.check", {"token": "a.b.c", "domain": "wealth"}, ANN if shared else EVE)
            case ("wait", seconds):
                loop.run(seconds)
                loop.refusals.close_windows()
            case ("mine", what):
                answer, at_once = loop.call(*asked[what], ANN)
                told.append((answer, at_once, what != "wrong"))
    assert SINGLE_MAX < FAILURES_MAX
    return told


# --- tokens: nobody can take all of them ------------------------------------------------------------------------------------


HOLDERS = [Actor(f"uid:{number}", "operator", number) for number in range(4)]


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from([0, 0, 0, 1, 2]), st.sampled_from([1, 300]), st.sampled_from([0.0, 0.0, 2.0])), max_size=80
    )
)
def test_however_greedy_others_are_who_holds_no_token_gets_one(steps: list[tuple[int, int, float]]) -> None:
    most, state.TOKENS_MAX = state.TOKENS_MAX, 12
    try:
        loop = Guarded()
        for holder, ttl_s, passed in steps:
            loop.run(passed)
            living = [each for each in loop.gates.tokens.values() if each.until_us > loop.mono_us]
            mine, free = sum(each.by == HOLDERS[holder].name for each in living), state.TOKENS_MAX - len(living)
            try:
                loop.ask("gate.issue_token", {"domain": "info", "subject": "x", "ttl_s": ttl_s}, HOLDERS[holder])
            except Refused as refused:
                assert refused.code == "resource-exhausted" and refused.retry_ms and mine >= free
            else:
                assert mine < free
        assert loop.ask("gate.issue_token", {"domain": "info", "subject": "x"}, HOLDERS[3])
        assert len(loop.gates.tokens) <= state.TOKENS_MAX and sum(loop.gates.held.values()) == len(loop.gates.tokens)
        assert loop.replayed_states() == loop.states
    finally:
        state.TOKENS_MAX = most
