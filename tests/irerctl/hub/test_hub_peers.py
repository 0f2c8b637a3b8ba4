"""Who is one caller, and whose turn it is: whoever asks for much takes nothing from whoever asks for little."""

import select
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from core.catalogue import Catalogue
from core.engines import ENGINES
from irerctl.hub.access import JUDGED_MAX, PROVED_MAX, TRIES_MAX
from irerctl.hub.link import IN_FLIGHT_MAX
from irerctl.hub.peers import Shares, Turns, one_of
from tests.e2e.web import Gateway, request
from tests.irerctl.conftest import Serve
from tests.irerctl.peer import Stream


@pytest.mark.parametrize(
    ("address", "caller"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2::7", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::7", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::1"),
        ("", ""),
    ],
)
def test_a_caller_is_an_address_or_a_network_that_one_caller_has(address: str, caller: str) -> None:
    assert one_of(address) == caller


class Place:
    """Somebody who takes a turn and keeps it until told."""

    def __init__(self, turns: Turns, peer: str) -> None:
        self.peer = peer
        self.scope = trio.CancelScope()
        self.done = trio.Event()
        self.holds = False
        self._turns = turns

    async def run(self) -> None:
        with self.scope:
            async with self._turns.one(self.peer):
                self.holds = True
                await self.done.wait()
        self.holds = False


async def test_the_next_place_goes_to_who_has_the_fewest(nursery: trio.Nursery) -> None:
    """Three who ask without an end, and a fourth who comes last of all: theirs is the next."""
    turns = Turns(6)
    greedy = [Place(turns, f"greedy-{number % 3}") for number in range(72)]
    modest = Place(turns, "modest")
    for each in (*greedy, modest):
        nursery.start_soon(each.run)
        await trio.testing.wait_all_tasks_blocked()
    assert [each.holds for each in greedy].count(True) == 6 and not modest.holds
    greedy[0].done.set()
    await trio.testing.wait_all_tasks_blocked()
    assert modest.holds
    assert Counter(each.peer for each in greedy if each.holds) == {"greedy-0": 1, "greedy-1": 2, "greedy-2": 2}
    nursery.cancel_scope.cancel()


@given(st.data())
def test_no_place_is_lost_or_made_however_callers_come_and_go(data: st.DataObject) -> None:
    """Whatever is given up, and whenever: never more than there are places, none idle while somebody waits."""
    places = data.draw(st.integers(1, 3))

    async def lived() -> None:
        turns, callers = Turns(places), []
        async with trio.open_nursery() as nursery:
            for _ in range(data.draw(st.integers(1, 25))):
                act = data.draw(st.sampled_from(["come", "come", "end", "give up", "end and give up"]))
                if act == "come":
                    callers.append(Place(turns, data.draw(st.sampled_from("abc"))))
                    nursery.start_soon(callers[-1].run)
                elif callers:
                    gone = callers.pop(data.draw(st.integers(0, len(callers) - 1)))
                    gone.done.set()
                    if "give up" in act:
                        gone.scope.cancel()
                    if act == "end and give up" and callers:  # in the very moment in which the place of another came free
                        callers.pop(0).scope.cancel()
                await trio.testing.wait_all_tasks_blocked()
                callers = [each for each in callers if not (each.done.is_set() and not each.holds)]
                assert sum(each.holds for each in callers) == min(places, len(callers))
            for each in callers:
                each.done.set()
        assert (turns._free, turns._waiting, +turns._held) == (places, {}, Counter())

    trio.run(lived)


@given(st.data())
def test_who_holds_many_shares_leaves_some_to_whoever_comes(data: st.DataObject) -> None:
    """Whoever comes and goes: nobody waits who holds no more than are free besides, and no share is lost or made."""
    places = data.draw(st.integers(1, 12))

    async def lived() -> None:
        shares, held, scopes = Shares(places), Counter[str](), deque[tuple[str, trio.Event, trio.CancelScope]]()

        async def hold(who: str, done: trio.Event, scope: trio.CancelScope) -> None:
            with scope:
                await shares.take(who)
                held[who] += 1
                try:
                    await done.wait()
                finally:
                    held[who] -= 1
                    shares.give(who)

        async with trio.open_nursery() as nursery:
            for _ in range(data.draw(st.integers(1, 30))):
                act = data.draw(st.sampled_from(["come", "come", "end", "give up", "end and give up"]))
                if act == "come":
                    scopes.append((data.draw(st.sampled_from("aaab")), trio.Event(), trio.CancelScope()))
                    nursery.start_soon(hold, *scopes[-1])
                elif scopes:
                    _, done, scope = scopes.popleft()
                    done.set()
                    if act != "end":
                        scope.cancel()
                    if act == "end and give up" and scopes:  # in the very moment in which a place came free
                        scopes.popleft()[2].cancel()
                await trio.testing.wait_all_tasks_blocked()
                free = places - held.total()
                assert 0 <= free and (shares._taken, shares._held) == (held.total(), dict(+held))
                assert all(held[who] >= free for who in shares._waiting)
            for _, done, _ in scopes:
                done.set()
        assert (shares._taken, shares._held, shares._waiting) == (0, {}, {})

    trio.run(lived)


async def test_the_first_gets_half_and_the_last_still_gets_one(nursery: trio.Nursery) -> None:
    shares = Shares(64)
    for who in "abcdef":
        for _ in range(64):
            nursery.start_soon(shares.take, who)
        await trio.testing.wait_all_tasks_blocked()
    assert shares._held == {"a": 32, "b": 16, "c": 8, "d": 4, "e": 2, "f": 1}
    assert shares.may_take("g")
    nursery.cancel_scope.cancel()


def test_credentials_that_are_judged_leave_room_for_calls() -> None:
    assert JUDGED_MAX < IN_FLIGHT_MAX and PROVED_MAX <= IN_FLIGHT_MAX // 4 and TRIES_MAX < JUDGED_MAX


# --- connections ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def full(socket_path: Path) -> Iterator[Any]:
    """A hub with four places, all of them one caller's, who asks nothing on the first."""
    hub = Gateway(socket_path, *("--limit", "connections=4"))
    yield hub
    hub.close()


PAGE = request("GET", "/icon.svg")


def test_who_has_many_places_makes_room_for_who_has_few(full: Gateway) -> None:
    """Idle ones, half a head and half a body are given up, the oldest first; nobody takes a place from who has as few."""
    idle, slow, half, newest = (full.call("127.0.0.5") for _ in range(4))
    slow.send(b"GET /icon.svg HTTP/1.1\r\nHost: loc")
    half.send(request("POST", "/rpc/system.ping", {})[:-1])
    assert newest.send(PAGE).answer().status == 200, "all four are taken now"
    assert full.call("127.0.0.5").answer().status == 503, "not from oneself"
    others = [full.call(f"127.0.0.{number}").send(PAGE) for number in (6, 7)]
    assert [each.answer().status for each in others] == [200, 200]
    assert [idle.more(), slow.more()] == [b"", b""]
    assert newest.send(PAGE).answer().status == 200, "the newest was left alone"
    last = full.call("127.0.0.8").send(PAGE)
    assert last.answer().status == 200 and half.more() == b""
    assert full.call("127.0.0.8").answer().status == 503, "who has one already takes none from who has one"
    for each in (*others, newest, last):
        assert each.send(PAGE).answer().status == 200


def test_who_asks_nothing_is_let_go_and_nobody_else(socket_path: Path, serve: Serve) -> None:
    """Whoever said nothing yet, and whoever was answered and says nothing more; not who waits for an answer meanwhile."""
    ping = [method for method in Catalogue(ENGINES).document()["methods"] if method["name"] == "system.ping"]
    described = {"schema": "0" * 64, "methods": ping, "events": {}, "errors": {}}
    serve({"system.describe": described, "system.ping": Stream([], endless=True)})
    hub = Gateway(socket_path, "--limit", "idle_s=0.3", "--limit", "head_s=0.3")
    try:
        waiting = hub.call("127.0.0.5").send(request("POST", "/rpc/system.ping", {}))
        answered, silent = hub.call("127.0.0.5").send(PAGE), hub.call("127.0.0.5")
        assert answered.answer().status == 200
        assert [answered.more(), silent.more()] == [b"", b""]
        assert select.select([waiting.sock], [], [], 0)[0] == []
    finally:
        hub.close()


def test_what_is_being_worked_out_is_never_given_up(socket_path: Path, serve: Serve) -> None:
    ping = [method for method in Catalogue(ENGINES).document()["methods"] if method["name"] == "system.ping"]
    described = {"schema": "0" * 64, "methods": ping, "events": {}, "errors": {}}
    peer = serve({"system.describe": described, "system.ping": Stream([], endless=True)})
    hub = Gateway(socket_path, "--limit", "connections=2")
    try:
        waiting = [hub.call("127.0.0.5").send(request("POST", "/rpc/system.ping", {})) for _ in range(2)]
        while [call.m for call in peer.calls].count("system.ping") < 2:
            pass
        assert hub.call("127.0.0.6").answer().status == 503
        assert select.select([each.sock for each in waiting], [], [], 0)[0] == []
    finally:
        hub.close()


def test_calls_that_take_long_keep_nobody_else_waiting(socket_path: Path, serve: Serve) -> None:
    """More of them than the shared connection carries, all of one caller: another's is answered, a third's, and an engine's."""
    known = {method["name"]: method for method in Catalogue(ENGINES).document()["methods"]}
    described = {"schema": "0" * 64, "methods": [known["system.ping"], known["resource.pools"]], "events": {}, "errors": {}}
    answers = {"system.describe": described, "resource.pools": {"pools": []}, "engines.validate": {"valid": True}}
    peer = serve({**answers, "system.ping": Stream([], endless=True)})
    hub = Gateway(socket_path)
    try:
        long = [hub.call("127.0.0.5").send(request("POST", "/rpc/system.ping", {})) for _ in range(IN_FLIGHT_MAX * 2)]
        while [call.m for call in peer.calls].count("system.ping") < IN_FLIGHT_MAX:
            pass
        for address in ("127.0.0.6", "127.0.0.7"):
            assert hub.call(address).ask("POST", "/rpc/resource.pools", {}).status == 200
        engine = {"X_Engine_ID": "writer", "X_Engine_Key": "a-key"}
        assert hub.call("127.0.0.5").ask("POST", "/rpc/resource.pools", {}, **engine).status == 200, "an engine that is new here"
        assert select.select([each.sock for each in long], [], [], 0)[0] == []
    finally:
        hub.close()
