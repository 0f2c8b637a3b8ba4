"""`irer-witness`: the process around the book. Command line, state directory, socket, signals.

It belongs to a user of its own and shares no file with irerd: that is all its worth against whoever has irerd's.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import trio

from core.notes import BadNote
from core.times import time_text
from core.witness import COSIGNED, REQUEST_BYTES_MAX
from irerd import __version__, listen
from irerd.journal import configure, innermost, journal
from irerd.listen import Listener, SocketTaken
from irerd.notify import from_environment, listen_fds
from irerd.witness.book import TEXT, Answer, BadBook, Book, Busy
from irerd.witness.server import Door
from state.fs import RealFiles
from state.log import Full, SyncFailed

EXIT_USAGE, EXIT_DATA, EXIT_CANNOT_CREATE, EXIT_SYNC, EXIT_TAKEN = 64, 65, 73, 74, 75


class Stop(Exception):
    """It cannot go on; the text says what happened, why, and what to do."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="irer-witness",
        description="Cosign checkpoints of logs, and never one that goes backwards: C2SP tlog-witness, or by hand.",
    )
    places = "$STATE_DIRECTORY, else ~/.local/state/irer-witness"
    parser.add_argument("--state-dir", type=Path, metavar="DIR", help=f"its key and what it cosigned (default: {places})")
    parser.add_argument("--version", action="version", version=f"irer-witness {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    run = commands.add_parser("run", help="serve the socket, in the foreground")
    run.add_argument("--socket", type=Path, metavar="PATH", help="where irerd connects (default: what systemd opened)")
    run.add_argument("--anyone", action="store_true", help="let every user of this machine connect, not only user and group")
    key = commands.add_parser("key", help="print the verifier key for irerd.toml; the first time, make it")
    key.add_argument("--name", help="the name of a new key, such as witness.example.org; it never changes")
    add = commands.add_parser("add", help="trust a log")
    add.add_argument(
        "vkey", metavar="VKEY", help="as irerctl audit checkpoint LOG --vkey prints it, or a file with some, one a line"
    )
    commands.add_parser("list", help="the logs it trusts, and what it cosigned last")
    commands.add_parser("cosign", help="answer one request from standard input: irerctl audit witness LOG NAME prints one")
    return parser.parse_args(argv)


def state_dir(given: Path | None) -> Path:
    if given is not None:
        return given.absolute()
    if listed := os.environ.get("STATE_DIRECTORY"):
        return Path(listed.split(":")[0])
    return Path.home() / ".local/state/irer-witness"


def opened(directory: Path) -> Book:
    """The book of this directory, which must be this very user's: a file that root left there would stop the server."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = directory.stat().st_uid
        if owner != os.geteuid():
            raise Stop(EXIT_USAGE, f"{directory} belongs to uid {owner}. Run this as that user, such as: sudo -u '#{owner}' …")
        files = RealFiles(directory)
    except OSError as error:
        raise Stop(EXIT_CANNOT_CREATE, f"{directory}: {error.strerror}. Give another --state-dir") from None
    return Book(files, lambda: int(time.time()))


# --- by hand --------------------------------------------------------------------------------------------------------------------


def show_key(book: Book, options: argparse.Namespace) -> int:
    print(book.make_key(os.urandom(32), options.name).text())
    return 0


def add(book: Book, options: argparse.Namespace) -> int:
    given = _vkeys(options.vkey)
    book.make_key(os.urandom(32))
    for vkey in filter(None, map(str.strip, given)):
        try:
            new = book.add(vkey)
        except BadNote as bad:
            raise Stop(EXIT_USAGE, f"{vkey[:60]}: {bad.why}") from None
        print(f"{'trusted from now on' if new else 'trusted already'}: {vkey.partition('+')[0]}")
    return 0


def _vkeys(given: str) -> list[str]:
    """What was given, or what stands in the file of that name."""
    if "+" in given and not Path(given).is_file():
        return [given]
    try:
        return Path(given).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        how = "Give what this prints, or a file with it: irerctl audit checkpoint LOG --vkey"
        raise Stop(EXIT_USAGE, f"{given[:60]!r} is no verifier key, and cannot be read as a file of some ({why}). {how}") from None


def show_logs(book: Book, options: argparse.Namespace) -> int:
    for origin, known in sorted(book.logs().items()):
        seen = f"{known.size:,} records, {time_text(known.time * 1_000_000)}" if known.size else "nothing cosigned yet"
        print(f"{origin}  {seen}")
    return 0


def cosign(book: Book, options: argparse.Namespace) -> int:
    """The line to carry back on standard output; a refusal on standard error."""
    given = sys.stdin.buffer.read(REQUEST_BYTES_MAX + 1)
    if len(given) > REQUEST_BYTES_MAX:
        raise Stop(EXIT_USAGE, f"a request has at most {REQUEST_BYTES_MAX:,} bytes")
    answer = book.answer(given.decode(errors="replace"))
    if answer.status == COSIGNED:
        print(answer.body, end="")
        return 0
    said = answer.body.strip() if answer.kind == TEXT else f"{answer.body.strip()} records were cosigned last, or with another root"
    print(f"irer-witness: refused ({answer.status}): {said}", file=sys.stderr)
    return 1


# --- served ---------------------------------------------------------------------------------------------------------------------


def run(book: Book, options: argparse.Namespace) -> int:
    configure("info")
    vkey = book.make_key(os.urandom(32)).text()
    notifier = from_environment()
    listener = _listener(options)

    async def judge(text: str) -> Answer:
        """One request at a time. Only a failed sync is final: after it nobody knows what is on the disk."""
        try:
            answer = await trio.to_thread.run_sync(book.answer, text, limiter=turns)  # cancelled, it is waited for all the same
        except (BadBook, Busy, Full, OSError) as fault:
            journal().error("a request could not be judged", engine="witness", why=str(fault))
            return Answer(500, TEXT, "the witness cannot say; its operator finds why in its journal\n")
        if answer.status not in (COSIGNED, 400, 404):
            journal().warning("refused", engine="witness", status=answer.status, answer=answer.body.strip())
        return answer

    async def serve() -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(accept, Door(judge))
                notifier.ready(f"{len(book.logs())} logs")
                journal().info("ready", engine="witness", vkey=vkey)
                async for _ in signals:
                    notifier.stopping()
                    nursery.cancel_scope.cancel()

    async def accept(door: Door) -> None:
        async with trio.open_nursery() as callers:
            while True:
                transport, _ = await listener.accept()
                callers.start_soon(door.serve, transport)

    turns = trio.CapacityLimiter(1)
    try:
        trio.run(serve)
    finally:
        listener.close()
    return 0


def _listener(options: argparse.Namespace) -> Listener:
    inherited = listen_fds(["api"], lambda stranger: journal().warning("a descriptor was closed", what=stranger))
    if "api" in inherited:
        return listen.adopt(inherited["api"])
    if options.socket is None:
        raise Stop(EXIT_USAGE, "nothing to listen on. Give --socket PATH, or start it by its socket unit")
    try:
        listener = listen.bind(options.socket.absolute())
        if options.anyone:
            os.chmod(options.socket, 0o666)
        return listener
    except SocketTaken as taken:
        raise Stop(EXIT_TAKEN, str(taken)) from None
    except OSError as error:
        raise Stop(EXIT_CANNOT_CREATE, f"cannot listen at {options.socket} ({error.strerror}). Give another --socket") from None


COMMANDS: dict[str, Callable[[Book, argparse.Namespace], int]] = {
    "run": run,
    "key": show_key,
    "add": add,
    "list": show_logs,
    "cosign": cosign,
}


def main(argv: list[str] | None = None) -> None:
    options = arguments(argv)
    try:
        sys.exit(COMMANDS[options.command](opened(state_dir(options.state_dir)), options))
    except BaseExceptionGroup as group:
        code, text = _said(innermost(group))
    except Exception as error:
        code, text = _said(error)
    print(f"irer-witness: {text}", file=sys.stderr)
    sys.exit(code)


def _said(error: BaseException) -> tuple[int, str]:
    match error:
        case Stop():
            return error.code, str(error)
        case BadBook():
            return EXIT_DATA, str(error)
        case SyncFailed():
            return EXIT_SYNC, f"a write failed ({error}). Nothing was signed after it. Look at the disk, then start it again"
        case Full() | Busy():
            return EXIT_TAKEN, str(error)
        case OSError():
            return EXIT_CANNOT_CREATE, f"{error.filename or 'a file'}: {error.strerror}"
        case _:
            raise error


if __name__ == "__main__":
    main()
