"""Rules of the manners with systemd: real datagrams, real descriptors, real inherited sockets."""

import json
import os
import select
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from irerd.notify import SEND_TIMEOUT_S, Notifier, from_environment, listen_fds, watch_over, watchdog_interval


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    """A supervisor's end, bound; its `address` is as NOTIFY_SOCKET would name it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        if request.param == "path":
            address = str(tmp_path / "notify")
            end.bind(address)
        else:
            end.bind("")  # the kernel picks a free abstract name
            address = "@" + end.getsockname()[1:].decode()
        end.settimeout(5)
        yield end, address


def received(end: socket.socket) -> list[bytes]:
    end.setblocking(False)
    datagrams = []
    while select.select([end], [], [], 0)[0]:
        datagrams.append(end.recv(65536))
    return datagrams


def test_each_message_is_exactly_one_documented_datagram(manager):
    end, address = manager
    notifier = Notifier(address)
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert all(
        [
            notifier.ready("12 pools"),
            notifier.ready(),
            notifier.status("DEGRADED: witness silent 40 s; 12 pools"),
            notifier.watchdog(),
            notifier.reloading(123456),
            notifier.reloading(),
            notifier.extend(30_000_000),
            notifier.stopping("draining"),
        ]
    )
    *rest, live, extend, stopping = received(end)
    assert rest == [
        b"READY=1\nSTATUS=12 pools",
        b"READY=1",
        b"STATUS=DEGRADED: witness silent 40 s; 12 pools",
        b"WATCHDOG=1",
        b"RELOADING=1\nMONOTONIC_USEC=123456",
    ]
    said = int(live.removeprefix(b"RELOADING=1\nMONOTONIC_USEC="))
    assert before <= said <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert (extend, stopping) == (b"EXTEND_TIMEOUT_USEC=30000000", b"STOPPING=1\nSTATUS=draining")


def test_a_line_break_in_a_status_cannot_begin_another_field(manager):
    end, address = manager
    assert Notifier(address).status("a\nMAINPID=1\r\0b")
    assert received(end) == [b"STATUS=a MAINPID=1  b"]


@pytest.mark.parametrize(
    "address", [None, "", "@", "relative", "vsock:2:1234", "/" + "x" * 200, "/no/such/socket", "@nobody-is-here"]
)
def test_nobody_to_tell_is_no_failure(address):
    notifier = Notifier(address)
    assert not notifier.ready()
    assert not notifier.watchdog()


def test_a_supervisor_that_does_not_read_cannot_hold_the_daemon(manager):
    end, address = manager
    notifier = Notifier(address)
    sent = 0
    while notifier.status("x" * 1000):
        sent += 1
    assert 0 < sent < 10_000
    began = time.monotonic()
    assert not (notifier.status("x" * 1000) or notifier.watchdog() or notifier.extend(1))
    assert time.monotonic() - began < SEND_TIMEOUT_S, "what the next one repeats anyway waits for nobody"
    end.recv(2000)
    assert notifier.watchdog(), "room again, so heard again"


async def test_a_sign_of_life_is_given_each_interval_and_only_while_there_is_one(manager, nursery, autojump_clock):
    end, address = manager
    alive = True
    nursery.start_soon(watch_over, Notifier(address), 10.0, lambda: alive)
    await trio.sleep(25)
    assert received(end) == [b"WATCHDOG=1"] * 3, "at once, after 10 s, after 20 s"
    alive = False
    await trio.sleep(20)
    assert received(end) == []
    alive = True
    await trio.sleep(1.5)
    assert received(end) == [b"WATCHDOG=1"], "at once, and not only when the next interval is over"
    await trio.sleep(7)
    assert received(end) == []


async def test_nobody_is_owed_a_sign_of_life_without_a_watchdog(manager, autojump_clock):
    end, address = manager
    await watch_over(Notifier(address), None, lambda: True)
    assert received(end) == []


def test_reading_the_environment_empties_it():
    environ = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid()), "KEPT": "1"}
    environ |= {"LISTEN_FDS": "1", "LISTEN_PID": "1", "LISTEN_FDNAMES": "api", "LISTEN_PIDFDID": "7"}
    assert from_environment(environ).connected
    assert watchdog_interval(environ) == 10.0
    assert listen_fds(["api"], environ=environ) == {}
    assert environ == {"KEPT": "1"}


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "-5"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "²"},
    ],
)
def test_no_sign_of_life_is_owed_to_a_watchdog_that_is_not_ours(environ):
    assert watchdog_interval(environ) is None


def test_a_watchdog_without_a_pid_is_ours():
    assert watchdog_interval({"WATCHDOG_USEC": "3000000"}) == 1.0


# --- inherited sockets, in a process of their own: descriptor 3 belongs to the test runner in this one

CHILD = """
import json, os, socket, sys
from irerd.notify import listen_fds
if sys.argv[1] == "self":
    os.environ["LISTEN_PID"] = str(os.getpid())
strangers = []
taken = listen_fds(["api", "metrics"], strangers.append)
print(json.dumps({
    "taken": {name: [s.fileno(), s.getsockname(), s.get_inheritable(), s.getblocking()] for name, s in taken.items()},
    "strangers": strangers,
    "open": [fd for fd in range(3, 12) if os.path.exists(f"/proc/self/fd/{fd}") and fd in range(3, 3 + int(sys.argv[2]))],
    "environ": [key for key in os.environ if key.startswith("LISTEN_")],
}))
"""

ROOT = Path(__file__).parents[2]


def inherit(descriptors: list[int], names: str | None, pid: str = "self", count: str | None = None) -> dict:
    """What a child says that was started with these as 3, 4, 5 ..., as a service manager starts one."""
    copies = [os.dup(fd) for fd in descriptors]
    place = {os.set_inheritable(fd, True) or fd: 3 + at for at, fd in enumerate(copies)}
    moves = "".join(f"os.dup2({700 + at}, {3 + at}); os.close({700 + at});" for at in range(len(copies)))
    first = "".join(f"os.dup2({fd}, {700 + target - 3});" for fd, target in place.items())
    launch = f"import os,sys;{first}{moves}os.execv(sys.executable, [sys.executable, '-c', *sys.argv[1:]])"
    environ = os.environ | {"LISTEN_FDS": count or str(len(copies)), "LISTEN_PID": pid, "PYTHONPATH": str(ROOT)}
    if names is not None:
        environ["LISTEN_FDNAMES"] = names
    try:
        ended = subprocess.run(
            [sys.executable, "-c", launch, CHILD, pid, str(len(copies))],
            env=environ,
            pass_fds=copies,
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
    finally:
        for fd in copies:
            os.close(fd)
    return json.loads(ended.stdout)


@pytest.fixture
def listening(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "api"))
        listener.listen()
        yield listener


def test_the_named_listener_is_taken_and_every_stranger_closed(listening, tmp_path):
    second = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    second.bind(str(tmp_path / "second"))
    second.listen()
    deaf = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    deaf.bind(str(tmp_path / "deaf"))
    network = socket.create_server(("127.0.0.1", 0))
    with second, deaf, network, open(os.devnull) as plain:
        said = inherit(
            [second.fileno(), plain.fileno(), network.fileno(), deaf.fileno(), listening.fileno(), second.fileno()],
            "other:metrics:metrics:metrics:api:api",
        )
    assert said["taken"] == {"api": [7, str(tmp_path / "api"), False, False]}
    assert said["open"] == [7]
    assert [line.partition(": ")[2] for line in said["strangers"]] == [
        "not a name that is listened on, or given twice",
        "not a socket",
        "not a listening Unix stream socket",
        "not a listening Unix stream socket",
        "not a name that is listened on, or given twice",
    ]
    assert said["environ"] == []


def test_descriptors_for_another_process_are_left_alone(listening):
    said = inherit([listening.fileno()], "api", pid="1")
    assert said == {"taken": {}, "strangers": [], "open": [3], "environ": []}


def test_a_socket_without_a_name_is_a_stranger(listening):
    said = inherit([listening.fileno()], None)
    assert (said["taken"], said["open"], len(said["strangers"])) == ({}, [], 1)


def test_more_promised_than_given_is_survived(listening):
    said = inherit([listening.fileno()], "api", count="2")
    assert list(said["taken"]) == ["api"]
    assert len(said["strangers"]) == 1


@pytest.mark.parametrize("count", ["-1", "many", "1e3", "²"])
def test_a_count_that_is_no_count_takes_nothing(listening, count):
    said = inherit([listening.fileno()], "api", count=count)
    assert (said["taken"], said["strangers"]) == ({}, [])
