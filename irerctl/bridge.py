"""`irerctl bridge`: standard input and output joined to the daemon's socket, byte for byte, for whoever comes through ssh.

It understands nothing of what passes. Must never print anything on standard output but what the daemon sent.
"""

import contextlib
import os
import socket
import sys
import threading

import click

from irerctl.session import Failure, command, knock, session

PIECE_BYTES = 65_536
EXIT_OUTPUT = 74


@command(
    "bridge",
    "Join standard input and output to the daemon's socket.",
    epilog="For ssh, which runs it for irerctl -H ssh://HOST. Its status is 0 once the daemon has closed, 69 where there is none.",
)
def bridge() -> None:
    now = session()
    path = now.path
    if sys.stdin is None or sys.stdin.isatty():
        text = "bridge passes on the bytes of another irerctl, and standard input is none."
        raise Failure("failed-precondition", text, "From afar: irerctl -H ssh://HOST status   and here: irerctl status")
    daemon = knock(path)
    threading.Thread(target=_upward, args=(daemon,), daemon=True).start()
    if not _downward(daemon):
        click.get_current_context().exit(EXIT_OUTPUT)


def _upward(daemon: socket.socket) -> None:
    """What comes in, to the daemon; its end ends only this direction, for answers may still be on their way."""
    with contextlib.suppress(OSError):  # a daemon that is gone shows in what it sends: its end
        while piece := os.read(0, PIECE_BYTES):
            daemon.sendall(piece)
        daemon.shutdown(socket.SHUT_WR)


def _downward(daemon: socket.socket) -> bool:
    """What the daemon sends, out; False when nobody takes it any more."""
    while piece := _received(daemon):
        while piece:
            try:
                piece = piece[os.write(1, piece) :]
            except OSError:
                return False
    return True


def _received(daemon: socket.socket) -> bytes:
    """A daemon that was killed resets its connections; to us that is an end like any other."""
    try:
        return daemon.recv(PIECE_BYTES)
    except OSError:
        return b""
