"""A daemon on another machine: `-H ssh://[user@]host[:port]` has ssh run `irerctl bridge` there, and talks through it.

ssh decides whom to trust and asks for passwords; nothing of that is done again here. Must never let a part of the address be
taken for an option of ssh or for words of a shell.
"""

import atexit
import re
import shlex
import signal
import socket
import subprocess
import tempfile
import threading
from typing import IO, NamedTuple

from irerctl.client import Unreachable

FORM = "ssh://[user@]host[:port]"
ENDED_S = 2.0
"""How long ssh may take to end once its connection has ended."""
LEAVE_S = 1.0
"""How long ssh may take to say goodbye when irerctl ends."""
WORDS_BYTES_MAX = 4096
NO_DAEMON = 69
"""What the bridge ends with where nobody listens."""
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?\]")


class BadAddress(ValueError):
    """Not an address of that form. Says what is wrong, in words that follow the address."""


class Far(NamedTuple):
    """Where the daemon is, as ssh names it."""

    user: str
    host: str
    port: int | None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ssh://{self.user and self.user + '@'}{host}{'' if self.port is None else f':{self.port}'}"

    @property
    def destination(self) -> str:
        return f"{self.user}@{self.host}" if self.user else self.host

    @property
    def by_hand(self) -> str:
        """How a person would type it."""
        return f"ssh {'' if self.port is None else f'-p {self.port} '}{self.destination}"


def address(text: str) -> Far:
    """What `-H` was given. Raises BadAddress."""
    scheme, slashes, rest = text.partition("://")
    if scheme != "ssh" or not slashes:
        raise BadAddress(f"is not of the form {FORM}")
    user, at, place = rest.rpartition("@")
    found = re.fullmatch(rf"({_HOST.pattern})(?::([0-9]{{1,5}}))?/?", place)
    if (at and not _USER.fullmatch(user)) or found is None:
        raise BadAddress(f"is not of the form {FORM}: names are letters, digits, dots and dashes, and begin with no dash")
    port = int(found[2]) if found[2] else None
    if port is not None and not 1 <= port <= 65_535:
        raise BadAddress(f"has port {port}, which is outside 1..65535")
    return Far(user, found[1].strip("[]"), port)


def argv(far: Far, path: str | None) -> list[str]:
    """The ssh that carries the conversation. `path` is a socket there; without one the bridge looks where irerctl looks there."""
    there = ["irerctl", *(["--socket", path] if path else []), "bridge"]
    port = ["-p", str(far.port)] if far.port is not None else []
    # No terminal, no agent, no windows, no forwarded ports: only bytes to and fro. Behind -- nothing is an option.
    return ["ssh", "-T", "-a", "-x", "-o", "ClearAllForwardings=yes", *port, "--", far.destination, shlex.join(there)]


class Lost(ConnectionError):
    """Why there is no conversation with a daemon far away, and what to do about it."""

    def __init__(self, code: str, detail: str, help: str) -> None:
        super().__init__(detail)
        self.code, self.detail, self.help = code, detail, help


class Tunnel:
    """Connections to one far daemon, each an ssh of its own."""

    def __init__(self, far: Far, path: str | None) -> None:
        self._far = far
        self._argv = argv(far, path)
        self._child: subprocess.Popen[bytes] | None = None
        self._words: IO[bytes] | None = None
        self._answered = False
        """Whether a daemon was there once: then an absent one restarts, and is waited for."""
        atexit.register(self._leave)

    def dial(self) -> socket.socket:
        """A connection. Raises OSError for a daemon that restarts, and Unreachable where trying again would not help."""
        self._judge_the_last()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._start(theirs)
            except OSError as problem:
                ours.close()
                why = "it is not installed here" if isinstance(problem, FileNotFoundError) else str(problem.strerror).lower()
                failed = self._unreachable("unavailable", f"ssh cannot be run ({why}).", "Try: apt install openssh-client")
                raise failed from failed.__cause__
        return ours

    def _start(self, theirs: socket.socket) -> None:
        """Ctrl-C is for irerctl, which cancels its call first and then ends the connection; ssh must live as long."""
        if self._words is not None:
            self._words.close()
        self._words = tempfile.TemporaryFile()
        main = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
        try:
            self._child = subprocess.Popen(self._argv, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=self._words)
        finally:
            if main:
                signal.signal(signal.SIGINT, before)

    def _judge_the_last(self) -> None:
        """Why the connection before this one ended, where there was one."""
        if self._child is None:
            return
        try:
            status = self._child.wait(ENDED_S)
        except subprocess.TimeoutExpired:
            self._child.terminate()
            status = self._child.wait()
        self._child = None
        said = self._last_words()
        if status == 0:
            self._answered = True
            return
        if status == NO_DAEMON and self._answered:
            raise ConnectionRefusedError(said)
        raise self._explain(status, said)

    def _explain(self, status: int, said: str) -> Unreachable:
        far, brackets = self._far, f" ({said})" if said else ""
        try_it = f"Try: {far.by_hand} irerctl version"
        match status:
            case 69 | 77:  # the bridge ran, and its own words say it all
                code = "unavailable" if status == NO_DAEMON else "permission-denied"
                return self._unreachable(code, f"on {far.host}: {said or 'no daemon'}", "")
            case 255:
                return self._unreachable("unavailable", f"ssh did not reach {far.destination}{brackets}.", try_it)
            case 127 | 126:
                text = f"on {far.host} ssh finds no irerctl{brackets}. It must be on the PATH there."
                return self._unreachable("unavailable", text, try_it)
            case 2:
                text = f"the irerctl on {far.host} knows no bridge{brackets}; it is older than this one."
                return self._unreachable("unavailable", text, try_it)
        return self._unreachable("unavailable", f"the bridge on {far.host} ended with status {status}{brackets}.", try_it)

    def _unreachable(self, code: str, detail: str, help: str) -> Unreachable:
        found = Unreachable(str(self._far), detail, passing=False)
        found.__cause__ = Lost(code, detail, help)
        return found

    def _last_words(self) -> str:
        """The last line that ssh or the bridge said."""
        if self._words is None:
            return ""
        end = self._words.seek(0, 2)
        self._words.seek(max(0, end - WORDS_BYTES_MAX))
        lines = [line.strip() for line in self._words.read().decode(errors="replace").splitlines() if line.strip()]
        return lines[-1].removeprefix("irerctl: ") if lines else ""

    def _leave(self) -> None:
        """What was said is on its way; an ssh that does not end by itself is ended."""
        if self._child is not None:
            try:
                self._child.wait(LEAVE_S)
            except subprocess.TimeoutExpired:
                self._child.terminate()
