"""Puts the hub together and runs it until a signal ends it."""

import errno
import logging
import os
import signal
import ssl
from collections.abc import Iterable
from ipaddress import ip_address

import trio

from irerctl.hub.access import LOOPBACK_NAMES, Access, is_loopback
from irerctl.hub.command import Address
from irerctl.hub.files import Files
from irerctl.hub.gateway import Gateway
from irerctl.hub.link import Daemon
from irerctl.hub.server import BACKLOG, Limits, Server, serve
from irerctl.session import Failure

LOG = logging.getLogger("irerctl.hub")


async def main(path: str, address: Address, tls: ssl.SSLContext | None, allowed: frozenset[str], limits: Limits) -> Failure | None:
    """Serves until SIGTERM or SIGINT, and finishes what is under way. What kept it from starting is returned, to be told as one
    sentence.
    """
    try:
        listeners = await trio.open_tcp_listeners(address.port, host=address.host, backlog=BACKLOG)
    except OSError as error:
        return _cannot_listen(address, error)
    daemon = Daemon(path)
    inside = is_loopback(address.host)
    server = Server(Gateway(daemon, Access(daemon, names(address, allowed), tokens=not inside), Files(), limits), limits, tls)
    told = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_hear, told, nursery.cancel_scope)
        nursery.start_soon(_serve, server, listeners, told, nursery.cancel_scope)
        await nursery.start(daemon.run)
        _announce(daemon, listeners, tls, inside)
    return None


async def _serve(server: Server, listeners: list[trio.SocketListener], told: trio.Event, scope: trio.CancelScope) -> None:
    await serve(server, listeners, told)
    scope.cancel()


def names(address: Address, allowed: Iterable[str]) -> frozenset[str]:
    """What this hub may be called."""
    found = {name.lower().strip("[]") for name in allowed}
    if is_loopback(address.host):
        found |= LOOPBACK_NAMES
    if not is_everywhere(address.host):
        found.add(address.host.lower())
    return frozenset(found)


def is_everywhere(host: str) -> bool:
    """Whether this is no address but all of them, which nobody calls by that name."""
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


async def _hear(told: trio.Event, scope: trio.CancelScope) -> None:
    """The first signal asks for an orderly end, the second does not wait for it."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            if told.is_set():
                scope.cancel()
                return
            told.set()


def _announce(daemon: Daemon, listeners: list[trio.SocketListener], tls: ssl.SSLContext | None, inside: bool) -> None:
    port = listeners[0].socket.getsockname()[1]
    host = listeners[0].socket.getsockname()[0]
    url = f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}/"
    LOG.info("irerctl hub ready · %s · pid %d · socket %s", url, os.getpid(), daemon.path)
    if not daemon.present:
        LOG.info("no answer from irerd yet (%s); asking again until there is", daemon.why_away)
    elif inside and daemon.role == "admin":
        LOG.info("this hub is admin there, so everybody on this machine who reaches %s may do everything. See docs/hub.md", url)


def _cannot_listen(address: Address, error: OSError) -> Failure:
    cause = error.__cause__ or error
    number = getattr(cause, "errno", None) or error.errno
    why = os.strerror(number).lower() if number else str(error)
    if number == errno.EADDRINUSE:
        return Failure("unavailable", f"{address} is taken ({why}).", "Listen elsewhere: irerctl hub --listen 127.0.0.1:8081")
    return Failure("unavailable", f"nothing can listen on {address} ({why}).", "Give another: irerctl hub --listen 127.0.0.1:8080")
