"""How answers leave one connection: a large one whole, one that is too large as a refusal, and never none."""

import gc
import weakref
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from core.access import Peer, Rules
from core.engine import Nothing, Refused, Row
from core.settings import Settings
from core.wire.calls import Call, Cancel
from core.wire.codec import VALUES_MAX, decode
from core.wire.frames import FRAME_MAX, Frames
from irerd.dispatch import Answer, Dispatch
from irerd.session import COMPANY_S, TOGETHER_BYTES, Outbox, Session

PEER = Peer(0, 0, frozenset(), frozenset({"admin"}), frozenset())
ROW = Row("a.look", "read", Nothing, None, "", {})


class Pipe:
    """A peer that takes so many bytes at a time."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.taken = b""

    async def receive(self) -> bytes:
        return b""

    def send_nowait(self, data: bytes) -> int:
        self.taken += data[: self.room]
        return min(self.room, len(data))

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        pass


async def test_what_does_not_leave_at_once_leaves_as_soon_as_there_is_room(nursery: trio.Nursery) -> None:
    """Nothing else may be said on this connection ever after, and the rest must go out all the same."""
    pipe = Pipe(room=1_000)
    outbox = Outbox(pipe)
    nursery.start_soon(outbox.run)
    outbox.put(b"x" * 2_500)
    outbox.flush_nowait()
    await trio.testing.wait_all_tasks_blocked()
    assert pipe.taken == b"x" * 2_500


def answered(result: Any) -> dict[str, Any]:
    """What the peer is told whose answer this is."""
    dispatch = SimpleNamespace(
        on_internal_error=lambda where, error: "found-by-this",
        calls={},
        damaged=set(),
        writer=None,
        world=SimpleNamespace(engine_of={ROW.name: SimpleNamespace(log=None)}),
    )
    pipe = Pipe(room=2 * FRAME_MAX)
    session = Session(pipe, PEER, SimpleNamespace(dispatch=dispatch, turns={}))  # type: ignore[arg-type]
    session._answer(1, ROW, Answer(result))
    session.outbox.flush_nowait()
    [body] = Frames(FRAME_MAX).feed(pipe.taken)
    return decode(body)


@pytest.mark.parametrize("result", [{"a": [0] * (VALUES_MAX + 1)}, {"a": "x" * (FRAME_MAX + 1)}, {"a": ["é" * 60_000] * 10}])
async def test_an_answer_that_fits_no_frame_is_a_refusal_and_not_a_bug(result: Any) -> None:
    end = answered(result)
    assert (end["t"], end["e"]["code"], end["e"]["reason"]) == ("err", "resource-exhausted", "answer-too-large")
    assert "Ask for less" in end["e"]["detail"]


async def test_an_answer_that_just_fits_is_told_and_one_that_makes_no_sense_is_a_bug_that_harms_nobody_else() -> None:
    fitting = {"a": "x" * (FRAME_MAX - 100)}
    assert answered(fitting) == {"t": "done", "id": 1, "r": fitting}
    end = answered({"a": float("nan")})
    assert (end["t"], end["e"]["code"], end["e"]["data"]) == ("err", "internal", {"instance": "found-by-this"})


async def test_the_connections_of_one_uid_take_turns_and_others_come_between(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three connections have much to ask, two of them of one uid: after each turn of that uid the other has one."""
    monkeypatch.setattr("irerd.session.TURN_S", -1.0)  # every message is a turn of its own
    service: Any = SimpleNamespace(turns={}, dispatch=SimpleNamespace(announce=lambda calls: None))
    handled: list[str] = []

    def connected(name: str, uid: int) -> Session:
        session = Session(Pipe(room=10), PEER._replace(uid=uid), service)
        monkeypatch.setattr(session, "_handle", lambda message, nursery: handled.append(name))
        monkeypatch.setattr(session._connection, "receive", lambda data: [1, 2, 3, 4])
        return session

    async def received(session: Session) -> None:
        await session._take_turn()
        try:
            await session._handle_all(b"", nursery)
        finally:
            session._give_turn()

    async with trio.open_nursery() as three:
        for session in (connected("a1", 7), connected("a2", 7), connected("b", 8)):
            three.start_soon(received, session)
    first = handled[: max(place for place, name in enumerate(handled) if name == "b") + 1]
    assert sorted(handled) == ["a1"] * 4 + ["a2"] * 4 + ["b"] * 4
    assert len({name for name in first if name != "b"}) == 1, "two connections of one uid were handled side by side"
    runs = [len(list(run)) for _, run in groupby(first)]
    assert max(runs) <= 2, f"trio shuffles who is ready; more than two turns in a row means that somebody waited: {first}"


async def test_calls_that_came_in_one_piece_are_announced_before_the_first_of_them_is_served(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    service: Any = SimpleNamespace(turns={}, dispatch=SimpleNamespace(announce=lambda calls: seen.append(list(calls))))
    session = Session(Pipe(room=10), PEER, service)
    monkeypatch.setattr(session, "_handle", lambda message, nursery: seen.append(message))
    both = [Call(1, "eil.sense", {"a": 1}), Cancel(1), Call(2, "eil.act", {})]
    for received in (both, both[:1]):
        monkeypatch.setattr(session._connection, "receive", lambda data, received=received: received)
        await session._handle_all(b"", nursery)
    assert seen == [[("eil.sense", {"a": 1}), ("eil.act", {})], *both, both[0]], "one alone is not worth a word"


async def test_calls_of_all_connections_of_one_uid_that_came_at_once_are_announced_together(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, and before the first of them is served; those of another uid stand by themselves."""
    seen: list[Any] = []
    service: Any = SimpleNamespace(turns={}, dispatch=SimpleNamespace(announce=lambda calls: seen.append([p for _, p in calls])))

    class Once(Pipe):
        def __init__(self, data: bytes) -> None:
            super().__init__(room=10)
            self.data = data

        async def receive(self) -> bytes:
            data, self.data = self.data, b""
            return data

    async with trio.open_nursery() as several:
        for name, uid in (("a1", 7), ("a2", 7), ("a3", 7), ("b", 8)):
            session = Session(Once(name.encode() * TOGETHER_BYTES), PEER._replace(uid=uid), service)
            session._greeted = True
            calls = [Call(number, "eil.sense", {name: number}) for number in range(2)]
            monkeypatch.setattr(session._connection, "receive", lambda data, calls=calls: calls)
            monkeypatch.setattr(session, "_handle", lambda message, nursery: seen.append(message.p))
            several.start_soon(session._receive, nursery)
    told = [each for each in seen if isinstance(each, list)]
    assert sorted(len(each) for each in told) == [2, 6]
    served = [each for each in seen if isinstance(each, dict)]
    assert sorted(map(str, served)) == sorted(str(each) for some in told for each in some)
    for some in told:
        assert seen.index(some) < min(seen.index(each) for each in some)


class Company:
    """Connections of one uid beside a writer that has a group on its way to the disk."""

    def __init__(self, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[list[Any]] = []
        self.served: list[Any] = []
        self.written = trio.Event()
        self.writer = SimpleNamespace(writing=True, wait_advanced=self.written.wait)
        dispatch = SimpleNamespace(
            announce=lambda calls: self.told.append([p for _, p in calls]), foresee={"eil.sense": None}, writer=self.writer
        )
        self.service: Any = SimpleNamespace(turns={}, dispatch=dispatch)
        self._nursery, self._monkeypatch = nursery, monkeypatch

    async def send(self, method: str, name: str) -> None:
        """A new connection brings one call; return once nothing more happens."""

        class Brings(Pipe):
            data = b"x"

            async def receive(self) -> bytes:
                data, self.data = self.data, b""
                return data

        session = Session(Brings(room=10), PEER, self.service)
        session._greeted = True
        self._monkeypatch.setattr(session._connection, "receive", lambda data: [Call(1, method, {"name": name})])
        self._monkeypatch.setattr(session, "_handle", lambda message, nursery: self.served.append(message.p["name"]))
        self._nursery.start_soon(session._receive, self._nursery)
        await trio.testing.wait_all_tasks_blocked()


async def test_senses_that_come_while_a_group_is_written_are_decided_together_once_it_is(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, mock_clock: trio.testing.MockClock
) -> None:
    """They could not be written before. Whatever gains nothing from company is served at once."""
    company = Company(nursery, monkeypatch)
    for name in ("one", "two", "three"):
        await company.send("eil.sense", name)
        await company.send("eil.act", f"beside {name}")
    assert (company.served, company.told) == (["beside one", "beside two", "beside three"], [])
    company.writer.writing = False
    company.written.set()
    await trio.testing.wait_all_tasks_blocked()
    assert sorted(company.served[3:]) == ["one", "three", "two"]
    assert [sorted(each["name"] for each in some) for some in company.told] == [["one", "three", "two"]]
    await company.send("eil.sense", "four")
    assert company.served[-1] == "four", "with nothing on its way to the disk nobody waits"


async def test_a_sense_is_served_though_its_connection_ends_while_it_waits(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, mock_clock: trio.testing.MockClock
) -> None:
    """Who sends and hangs up has sent."""
    async with trio.open_nursery() as connection:
        company = Company(connection, monkeypatch)
        await company.send("eil.sense", "one")
        connection.cancel_scope.cancel()
        company.written.set()
    assert company.served == ["one"]


async def test_a_sense_waits_for_a_disk_that_hangs_no_longer_than_it_is_worth(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, mock_clock: trio.testing.MockClock
) -> None:
    company = Company(nursery, monkeypatch)
    await company.send("eil.sense", "one")
    assert company.served == []
    mock_clock.jump(COMPANY_S)
    await trio.testing.wait_all_tasks_blocked()
    assert company.served == ["one"]


@pytest.mark.parametrize(("calls_max", "held"), [(16, 14), (1, 1)])
async def test_refusals_that_wait_for_their_record_never_take_up_every_place_on_a_connection(calls_max: int, held: int) -> None:
    """Behind a hub are many callers: one who is refused again and again keeps nobody else waiting."""
    waiting: list[Any] = []
    counted: list[str] = []
    refusals = SimpleNamespace(refuse=lambda *given: waiting.append(given), count=lambda caller, method: counted.append(method))
    dispatch = SimpleNamespace(settings=SimpleNamespace(limits=SimpleNamespace(calls=calls_max)))
    service: Any = SimpleNamespace(dispatch=dispatch, turns={}, refusals=refusals, state=lambda: "ready")
    session = Session(Pipe(room=0), PEER, service)
    told: list[str] = []
    session._answer = lambda id, row, answer: (session._in_flight.pop(id, None), told.append(answer.error.code))  # type: ignore[method-assign, assignment]
    denied = Refused("permission-denied", "not yours", reason="owner")

    def refuse(id: int) -> None:
        session._in_flight[id] = None  # decided, and so in flight
        session._fail(id, None, ROW, denied)

    for id in range(1, 61):
        refuse(id)
    assert (len(waiting), told) == (held, ["resource-exhausted"] * (60 - held)) and len(counted) == 60 - held
    for *_, reply in waiting:
        reply(Answer(error=denied))
    assert told[60 - held :] == ["permission-denied"] * held and not session._in_flight
    refuse(61)
    assert len(waiting) == held + 1, "there is room again"


async def test_what_a_group_releases_for_one_connection_leaves_at_once_and_together(nursery: trio.Nursery) -> None:
    """The task that sends is left alone, but for a peer that is gone: it is the one to meet that."""

    class Sends(Pipe):
        def __init__(self) -> None:
            super().__init__(room=1_000)
            self.sends = 0

        def send_nowait(self, data: bytes) -> int:
            self.sends += 1
            return super().send_nowait(data)

    class Gone(Pipe):
        def send_nowait(self, data: bytes) -> int:
            raise BrokenPipeError

    writer = SimpleNamespace(releasing={})
    service: Any = SimpleNamespace(turns={}, dispatch=SimpleNamespace(writer=writer))
    pipe = Sends()
    session, gone = Session(pipe, PEER, service), Session(Gone(room=0), PEER, service)
    for frame in (b"a", b"b", b"c"):
        session._end(1, frame)
        gone._end(1, frame)
    assert (pipe.sends, len(writer.releasing)) == (0, 2) and not session.outbox._filled.is_set()
    for call in writer.releasing:
        call()
    assert (pipe.sends, pipe.taken) == (1, b"abc") and not session.outbox._filled.is_set() and gone.outbox._filled.is_set()
    writer.releasing = None
    session._end(2, b"d")
    assert pipe.sends == 1 and session.outbox._filled.is_set(), "what is told by itself is sent by the task"


async def test_other_rules_hold_from_the_next_call_on_whoever_was_let_in_before(nursery: trio.Nursery) -> None:
    served: list[int] = []
    refused: list[str] = []
    row = Row("a.look", "read", Nothing, None, "", {}, needs="a:read")
    dispatch = Dispatch.__new__(Dispatch)
    dispatch.rules, dispatch.user_names, dispatch.config_file = Rules(), {}, Path("irerd.toml")
    dispatch.settings, dispatch.writer = Settings(), None
    dispatch.world = SimpleNamespace(rows={"a.look": row})  # type: ignore[assignment]
    service: Any = SimpleNamespace(turns={}, dispatch=dispatch, state=lambda: "ready")
    session = Session(Pipe(room=0), PEER._replace(uid=7, roles=frozenset({"custom"})), service)
    session._serve = lambda call, *given: served.append(call.id)  # type: ignore[method-assign]
    session._fail = lambda id, as_, row, error: refused.append(error.code)  # type: ignore[method-assign]
    allowing = Rules(methods_of_role={"custom": frozenset({"a.look"})})
    for id, rules in enumerate((allowing, allowing, Rules(), allowing), 1):
        dispatch.rules = rules
        session._handle(Call(id, "a.look"), nursery)
    assert (served, refused) == ([1, 2, 4], ["permission-denied"])
    session.rejudge(PEER._replace(uid=7, roles=frozenset()))
    session._handle(Call(5, "a.look"), nursery)
    assert (served, refused) == ([1, 2, 4], ["permission-denied"] * 2), "it is judged as who it is now"


async def test_nothing_is_left_of_a_refusal_by_a_task_once_it_was_told() -> None:
    """An answer is nothing that garbage is looked for in: what it holds may not hold the task that made it."""
    dispatch = SimpleNamespace(calls={}, writer=None)
    pipe = Pipe(room=10_000)
    session = Session(pipe, PEER, SimpleNamespace(dispatch=dispatch, turns={}, state=lambda: "ready"))  # type: ignore[arg-type]
    made: list[weakref.ref[Refused]] = []

    async def work() -> Answer:
        refused = Refused("invalid-argument", "since: no such cursor")
        made.append(weakref.ref(refused))
        raise refused

    for id in (1, 2):
        await session._run_task(Call(id, ROW.name, {}), ROW, work, trio.CancelScope())
    session.outbox.flush_nowait()
    assert [decode(body)["e"]["code"] for body in Frames(FRAME_MAX).feed(pipe.taken)] == ["invalid-argument"] * 2
    gc.collect()
    assert [refused() for refused in made] == [None, None]
