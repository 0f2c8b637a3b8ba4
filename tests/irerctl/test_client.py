"""The blocking client: nothing is lost or done twice over restarts, and every wait has an end."""

import contextlib
import io
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.wire import calls
from core.wire.errors import make
from irerctl import client as module
from irerctl.client import Client, Error, Reply, Unreachable
from tests.irerctl.small_server import LIMITS, SmallServer, welcome

Serve = Callable[..., SmallServer]


@pytest.fixture
def small(place: Path) -> Iterator[Serve]:
    """Starts a small server; ends it."""
    with contextlib.ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(SmallServer(place / "irerd.sock", *args, **kwargs))


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow each other at once; how long they wait is a test of its own."""
    monkeypatch.setattr(module, "_DELAY_MIN_S", 0.0)
    monkeypatch.setattr(module, "_DELAY_MAX_S", 0.001)


def example(doc: str | None) -> str:
    """The indented lines of a module's docstring."""
    lines = [line for line in (doc or "").splitlines()[1:] if line.startswith("    ") or not line]
    return textwrap.dedent("\n".join(lines))


def test_the_example_runs(small: Serve, hasty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRER_SOCKET", str(small().path))
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(example(module.__doc__), {})  # noqa: S102 - the example is ours
    assert said.getvalue().splitlines() == ["8 1"] + ["pool.scaled"] * 6


def test_it_imports_nothing_of_irer_and_nothing_heavy() -> None:
    source = Path(module.__file__)
    script = f"import sys, runpy; runpy.run_path({str(source)!r}); print(*(sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"core", "state", "irerd", "irerctl", "trio", "msgspec", "numpy", "rich", "click", "asyncio"}


def test_an_answer_has_its_receipt_and_a_refusal_its_code(small: Serve) -> None:
    with Client(small().path) as irer:
        reply = irer.call("resource.scale", {"pool": "compute", "size": 8})
        assert reply == Reply(
            {"pool": "compute", "to_units": 8}, {"log": "engine_state", "seq": 1, "event_hash": "0" * 64}, False, "c1"
        )
        with pytest.raises(Error) as refused:
            irer.call("resource.scale", {"pool": "compute", "size": 99})
        assert (refused.value.code, refused.value.help, refused.value.effect) == ("out-of-range", "ask for less", "none")
        with pytest.raises(Error) as unknown:
            irer.call("system.pong")
        assert unknown.value.data == {"nearest": ["system.ping"]}


def test_every_call_has_a_key_a_deadline_and_one_connection(small: Serve) -> None:
    server = small()
    with Client(server.path, timeout=7.0) as irer:
        for _ in range(3):
            irer.call("system.ping")
        irer.call("resource.scale", {"size": 1}, dry=True, as_="mailer", deadline_ms=100)
        irer.call("resource.scale", {"size": 1}, idem="my-own-key")
        irer.call("system.ping", idem=None)
    keys = [call.idem for call in server.seen]
    assert len({*keys[:3]}) == 3 and None not in keys[:3]
    assert keys[3:] == [None, "my-own-key", None]
    assert (server.seen[3].dry, server.seen[3].as_) == (True, "mailer")
    assert all(call.dl is not None for call in server.seen)
    assert 0 < (server.seen[3].dl or 0) <= 100 < (server.seen[0].dl or 0) <= 7000
    assert server.greeted == 1


def test_a_key_used_again_is_answered_from_the_log(small: Serve) -> None:
    server = small()
    with Client(server.path) as irer:
        first = irer.call("resource.scale", {"size": 3}, idem="the-same-key")
        again = irer.call("resource.scale", {"size": 3}, idem="the-same-key")
    assert (again.result, again.receipt, again.replayed) == (first.result, first.receipt, True)
    assert len(server.written) == 1


FAULTS = {120: "lose", 250: "bye", 333: "refuse", 334: "refuse", 500: "close", 700: "lose", 701: "lose", 800: "bye"}


def test_a_thousand_calls_over_restarts_none_lost_or_doubled(small: Serve, hasty: None) -> None:
    server = small(FAULTS)
    with Client(server.path) as irer:
        replies = [irer.call("resource.scale", {"size": 1, "number": number}) for number in range(1000)]
    assert [params["number"] for params in server.written] == list(range(1000))
    assert [reply.receipt["seq"] for reply in replies if reply.receipt] == list(range(1, 1001))
    assert server.late == []
    assert server.greeted == 1 + sum(fault != "refuse" for fault in FAULTS.values())


def test_a_thousand_pipelined_calls_over_restarts_none_lost_or_doubled(small: Serve, hasty: None) -> None:
    server = small(FAULTS)
    with Client(server.path) as irer:
        outcomes = irer.pipeline([("resource.scale", {"size": 1, "number": number}) for number in range(1000)])
    assert sorted(params["number"] for params in server.written) == list(range(1000))
    sequence = {params["number"]: seq for seq, params in enumerate(server.written, 1)}
    assert [outcome.receipt["seq"] for outcome in outcomes if isinstance(outcome, Reply) and outcome.receipt] == [
        sequence[number] for number in range(1000)
    ]


def test_a_bye_that_came_between_two_calls_is_seen_before_the_second(small: Serve) -> None:
    server = small()
    with Client(server.path) as irer:
        irer.call("system.ping")
        server.say_bye("shutdown")
        irer.call("system.ping")
    assert server.late == []
    assert (server.greeted, len(server.seen)) == (2, 2)


def test_a_missing_socket_is_waited_for(small: Serve, hasty: None) -> None:
    server = small({2: "vanish"})
    attempts = []

    def connect() -> socket.socket:
        attempts.append(server.path.exists())
        if len(attempts) == 4:
            server.appear()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(str(server.path))
        return sock

    with Client(server.path, connect=connect) as irer:
        replies = [irer.call("resource.scale", {"size": 1, "number": number}) for number in range(3)]
    assert attempts == [True, False, False, False]
    assert [params["number"] for params in server.written] == [0, 1, 2]
    assert [reply.replayed for reply in replies] == [False, True, False]


def test_an_absent_daemon_is_named_and_not_waited_for_for_ever(place: Path) -> None:
    clock = Clock()
    with Client(place / "irerd.sock", timeout=None) as irer, clock.patched():
        with pytest.raises(Unreachable) as failure:
            irer.call("system.ping")
    assert 10 <= clock.now < 12
    assert min(clock.naps) > 0.049 and max(clock.naps) < 1.001
    assert (failure.value.path, failure.value.why, failure.value.effect) == (str(place / "irerd.sock"), "no such file", "none")
    with pytest.raises(Unreachable):
        Client(place / "irerd.sock", retry_s=0).call("system.ping")


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0
        self.naps: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds

    def monotonic(self) -> float:
        return self.now

    @contextlib.contextmanager
    def patched(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "time", self)
            yield


def test_a_refused_connection_is_told_from_a_missing_socket(place: Path) -> None:
    path = place / "irerd.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stale:
        stale.bind(str(path))
    with pytest.raises(Unreachable) as failure:
        Client(path, retry_s=0).call("system.ping")
    assert failure.value.why == "connection refused"
    assert isinstance(failure.value.__cause__, ConnectionRefusedError)


def test_a_lost_answer_without_a_key_is_not_asked_again(small: Serve) -> None:
    server = small({1: "lose"})
    with Client(server.path) as irer, pytest.raises(Unreachable) as failure:
        irer.call("resource.scale", {"size": 1}, idem=None)
    assert failure.value.effect == "unknown"
    assert len(server.written) == 1


def test_an_answer_that_does_not_come_is_given_up_a_second_after_the_deadline(
    small: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE_S", 0.01)
    server = small()
    with Client(server.path) as irer:
        with pytest.raises(Error) as late:
            irer.call("test.deaf", deadline_ms=20)
        assert (late.value.code, late.value.effect) == ("deadline-exceeded", "unknown")
        assert f"""system.op_status '{{"idem": "{late.value.data["idem"]}"}}'""" in (late.value.help or "")
        assert late.value.data == {"idem": server.seen[0].idem}
        assert irer.call("system.ping", {"x": 1}).result == {"x": 1}
    assert server.greeted == 1


@pytest.mark.parametrize("why", sorted(module.FATAL_BYES))
def test_a_daemon_that_does_not_want_us_is_not_asked_again(place: Path, why: calls.Why) -> None:
    with scripted(place, calls.bye(why, e=make("permission-denied", "uid 1 has no role here"))) as path, Client(path) as irer:
        with pytest.raises(Error) as refused:
            irer.call("system.ping")
    assert (refused.value.code, refused.value.detail) == ("permission-denied", "uid 1 has no role here")
    assert not isinstance(refused.value, Unreachable)


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        welcome(LIMITS) + calls.done(9, {}),
        welcome(LIMITS) + calls.item(1, 4, {}),
        b"\xd8\x18\x5a\xff\xff\xff\xff",
    ],
)
def test_what_is_no_irerd_is_said_so_at_once(place: Path, said: bytes) -> None:
    with scripted(place, said) as path, Client(path) as irer, pytest.raises(Unreachable, match="not irerd"):
        irer.call("system.ping")


@contextlib.contextmanager
def scripted(place: Path, said: bytes) -> Iterator[Path]:
    """Says the same to the first caller, whatever they say, and hangs up."""
    path = place / "scripted.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            sock, _ = listener.accept()
            listener.close()
            with sock:
                sock.recv(65_536)
                sock.sendall(said)

        thread = threading.Thread(target=serve)
        thread.start()
        yield path
        thread.join()


def test_a_stream_goes_on_after_a_restart_where_it_was(small: Serve, hasty: None) -> None:
    server = small()
    with Client(server.path) as irer, irer.stream("system.watch", {"engine": "resource"}) as events:
        seen = [(event["size"], events.cursor) for event in events]
    assert seen == [(size, f"c{size}") for size in range(1, 7)]
    assert [call.p.get("since") for call in server.seen] == [None, "c2", "c4", "c6"]
    assert all(call.p["engine"] == "resource" and call.idem is None and call.dl is None for call in server.seen)
    assert events.result == {"seen": 6}


def test_a_stream_without_cursors_is_not_joined_in_the_middle(place: Path) -> None:
    broken = welcome(LIMITS) + calls.item(1, 0, {"records": 1})
    with scripted(place, broken) as path, Client(path).stream("audit.hashchain") as items:
        assert next(items) == {"records": 1}
        with pytest.raises(Unreachable):
            next(items)
        assert list(items) == []


def test_a_stream_and_calls_do_not_disturb_each_other(small: Serve) -> None:
    with Client(small().path) as irer, irer.stream("audit.hashchain") as items:
        assert [(item["records"], irer.call("system.ping", item).result) for item in items] == [
            (n, {"records": n}) for n in range(3)
        ]
        assert items.result == {"ok": True}


def test_a_streaming_method_that_is_called_is_told_so(small: Serve) -> None:
    with Client(small().path) as irer:
        with pytest.raises(Error, match="streams"):
            irer.call("audit.hashchain")
        assert irer.call("system.ping").result == {}


def test_large_answers_to_a_window_of_calls_do_not_lock_both_ends_up(small: Serve) -> None:
    with Client(small().path) as irer:
        outcomes = irer.pipeline([("test.large", {"pad": "x" * 60_000}) for _ in range(80)])
    assert [len(outcome.result["x"]) for outcome in outcomes if isinstance(outcome, Reply)] == [100_000] * 80


def test_a_bad_call_in_a_pipeline_stands_in_its_place(small: Serve) -> None:
    with Client(small(limits={"frame": 70_000}).path) as irer:
        outcomes = irer.pipeline(
            [
                ("system.ping", {"n": 1}),
                ("system.pong", {}),
                ("system.ping", {"x": float("nan")}),
                ("system.ping", {"x": "x" * 80_000}),
                ("system.ping", {"n": 2}),
            ]
        )
    assert [outcome.code if isinstance(outcome, Error) else outcome.result for outcome in outcomes] == [
        {"n": 1},
        "not-found",
        "invalid-argument",
        "invalid-argument",
        {"n": 2},
    ]


def test_ctrl_c_cancels_the_call_and_waits_for_its_last_word(small: Serve) -> None:
    server = small()
    with Client(server.path) as irer, interrupted(lambda: bool(server.seen)), pytest.raises(KeyboardInterrupt):
        irer.call("test.hang")
    assert server.cancelled == ["test.hang"]


def test_ctrl_c_cancels_a_stream(small: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = small()
    keys, wait = iter(["ctrl-c"]), module._Connection.next

    def wait_or_interrupt(connection: module._Connection, until: float | None) -> dict[str, Any] | None:
        if next(keys, None):
            raise KeyboardInterrupt
        return wait(connection, until)

    monkeypatch.setattr(module._Connection, "next", wait_or_interrupt)
    with Client(server.path) as irer, irer.stream("test.hang") as items:
        with pytest.raises(KeyboardInterrupt):
            next(items)
        assert list(items) == []
    assert server.cancelled == ["test.hang"]


@contextlib.contextmanager
def interrupted(ready: Callable[[], Any]) -> Iterator[None]:
    """Presses Ctrl-C once `ready`."""
    main = threading.main_thread().ident
    assert main is not None
    over = threading.Event()

    def press() -> None:
        while not ready() and not over.wait(0.001):
            pass
        if not over.is_set():
            signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_the_welcome_can_be_asked_for(small: Serve) -> None:
    with Client(small().path) as irer:
        assert irer.welcome["peer"]["role"] == "admin"
        assert irer.welcome["server"] == "irerd/0.0.test"


def test_where_the_socket_is_looked_for(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRER_SOCKET", "/somewhere/else.sock")
    assert module.find_socket() == "/somewhere/else.sock"
    monkeypatch.delenv("IRER_SOCKET")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place / "run"))
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.setattr("os.path.exists", lambda path: path == str(place / ".local/state/irer/irerd.sock"))
    assert module.find_socket() == str(place / ".local/state/irer/irerd.sock")
    monkeypatch.setattr("os.path.exists", lambda path: False)
    assert module.find_socket() == str(place / "run/irer/irerd.sock")
