"""`irerd`: the process around the daemon. Command line, configuration, signals, the socket, and what systemd is told."""

import argparse
import errno
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Collection
from functools import partial
from pathlib import Path

import trio

from core.access import Rules
from core.engines import ENGINES
from core.settings import Settings
from core.world import UnknownEvent
from irerd import __version__, listen
from irerd.config import DEFAULT_PATH, Changes, ConfigError, Loaded, diff, effective, load, reloaded, resolve_members
from irerd.daemon import Daemon
from irerd.host import RealHost, cache_directory
from irerd.journal import configure, innermost, journal, where
from irerd.listen import Listener, SocketTaken
from irerd.loop import Sweeper
from irerd.notify import Notifier, from_environment, listen_fds, watch_over, watchdog_interval
from irerd.pulse import Pulse
from irerd.writer import WriteFailed
from state.fs import Files, RealFiles
from state.ledger import BadLedger, Locked, NewerFormat
from state.log import Full, SyncFailed

EXIT_CONFIG = 78
EXIT_TAKEN = 75
EXIT_SYNC = 74
EXIT_DATA = 65
EXIT_CANNOT_CREATE = 73
STATUS_S = 1.0
LONG_STOP_S, LONGEST_STOP_S = 15.0, 300.0
"""From where on, and how long, a stop asks for more time: its snapshots may be large, and the disk slow."""


class Stop(Exception):
    """irerd cannot go on; the text says what happened, why, and what to do."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


# --- where things are -----------------------------------------------------------------------------------------------------


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="irerd",
        description="Own the state of irer's engines and answer local programs over a Unix socket.",
        epilog="Runs in the foreground. Talk to it with irerctl.",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help=f"configuration file (default: {DEFAULT_PATH} if it exists)")
    parser.add_argument("--state-dir", type=Path, metavar="DIR", help="the logs (default: $STATE_DIRECTORY or ~/.local/state/irer)")
    parser.add_argument(
        "--socket",
        type=Path,
        metavar="PATH",
        help="where callers connect (default: irerd.sock in $RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR/irer, or with the logs)",
    )
    parser.add_argument(
        "--check-config", action="store_true", help="print the values in force and their origins, then exit 0 or 78"
    )
    parser.add_argument("--version", action="version", version=f"irerd {__version__}")
    return parser.parse_args(argv)


def state_dir(given: Path | None) -> Path:
    if given is not None:
        return given.absolute()
    if listed := os.environ.get("STATE_DIRECTORY"):
        return Path(listed.split(":")[0])
    return Path.home() / ".local/state/irer"


def socket_path(given: Path | None, state: Path) -> Path:
    if given is not None:
        return given.absolute()
    if runtime := os.environ.get("RUNTIME_DIRECTORY"):
        return Path(runtime.split(":")[0]) / "irerd.sock"
    if user := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(user) / "irer/irerd.sock"
    return state / "irerd.sock"


def _aside() -> Files | None:
    """Where something is kept that must not be put back with the state directory; nowhere, where no such place can be written."""
    place = cache_directory() / "witnesses"
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        return RealFiles(place)
    except OSError:
        return None


def child_environment() -> dict[str, str]:
    """What a child process may know: nothing of systemd's and no secrets."""
    kept = ("PATH", "LANG", "LC_ALL", "TZ", "HOME", "VIRTUAL_ENV")
    found = {name: os.environ[name] for name in kept if name in os.environ}
    return {**found, "PYTHONPATH": str(Path(__file__).parents[1])}  # a child runs the code of this very daemon


class FileConfiguration:
    """Settings from the file, and from it again on a reload."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.file = (path or DEFAULT_PATH).absolute()
        self._methods = {row.name for engine in ENGINES for row in engine.rows if row.kind != "internal"}
        self._loaded = self._load()
        self.settings: Settings = self._loaded.settings
        self.rules: Rules = Rules()
        self.warnings: list[str] = []
        self._resolve()

    @property
    def loaded(self) -> Loaded:
        return self._loaded

    def _load(self) -> Loaded:
        path = self._path
        if path is None and DEFAULT_PATH.exists():
            path = DEFAULT_PATH
        return load(path, methods=self._methods)

    def _resolve(self) -> None:
        resolved = resolve_members(self.settings.access)
        self.rules, self.warnings = resolved.rules, resolved.warnings

    async def reload(self) -> Changes:
        """A bad file raises and changes nothing. Names resolve in a thread: a directory service may be slow."""
        loaded = await trio.to_thread.run_sync(self._load)
        changes = diff(self.settings, loaded.settings)
        self.settings = reloaded(self.settings, loaded.settings)
        configure(self.settings.logging.level)
        await trio.to_thread.run_sync(self._resolve)
        for warning in self.warnings:
            journal().warning(warning)
        return changes


# --- the process ------------------------------------------------------------------------------------------------------------


class Process:
    """One run of irerd, from configuration to exit."""

    def __init__(self, options: argparse.Namespace, configuration: FileConfiguration, notifier: Notifier) -> None:
        self.state_dir = state_dir(options.state_dir)
        self.socket_path = socket_path(options.socket, self.state_dir)
        self.configuration = configuration
        self.notifier = notifier
        self.watchdog_s = watchdog_interval()
        self.fresh = not (self.state_dir / "ledger.json").exists()
        self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.host = RealHost(self.state_dir, child_environment())
        self.daemon = Daemon(self.host, configuration, self.state_dir, ENGINES, aside=_aside(), tables=True)
        self.daemon.dispatch.config_file = configuration.file
        self.daemon.announce_reload = self._announce_reload
        self.daemon.on_settings = lambda settings: configure(settings.logging.level)
        self.pulse = Pulse(self.daemon)
        self._reload_when_ready = False
        """SIGHUP came while the logs were read."""
        self.began_us = self.host.mono_us()

    async def run(self) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # `irerd.begin` held back what came before
            async with trio.open_nursery() as nursery:
                listener = self._listen()
                try:
                    callers = trio.CancelScope()
                    nursery.start_soon(self._accept, listener, callers)
                    nursery.start_soon(self._signals, signals, nursery)
                    nursery.start_soon(self._tell_systemd)
                    nursery.start_soon(watch_over, self.notifier, self.watchdog_s, self.pulse.beats)
                    await self.daemon.run(partial(self._ready, nursery))
                    callers.cancel()
                    nursery.cancel_scope.cancel()
                finally:
                    listener.close()

    def _listen(self) -> Listener:
        inherited = listen_fds(["api"], lambda stranger: journal().warning("a descriptor was closed", what=stranger))
        if "api" in inherited:
            return listen.adopt(inherited["api"])
        try:
            return listen.bind(self.socket_path)
        except SocketTaken as taken:
            raise Stop(EXIT_TAKEN, str(taken)) from None
        except OSError as error:
            text = f"cannot listen at {self.socket_path} ({error.strerror or str(error)}). Give another --socket"
            raise Stop(EXIT_CANNOT_CREATE, text) from None

    async def _accept(self, listener: Listener, callers: trio.CancelScope) -> None:
        with callers:
            async with trio.open_nursery() as sessions:
                while True:
                    transport, credentials = await listener.accept()
                    sessions.start_soon(self.daemon.serve, transport, credentials)

    async def _signals(self, signals: AsyncIterator[int], nursery: trio.Nursery) -> None:
        async for number in signals:
            if number == signal.SIGHUP and self.daemon.state == "recovering":
                self._reload_when_ready = True  # before that there are no engines to tell, and systemd awaits another word
            elif number == signal.SIGHUP:
                await self._reload()
            elif self.daemon.state == "recovering":
                raise Stop(0, "")
            else:
                journal().info("stopping", signal=signal.Signals(number).name)
                await trio.to_thread.run_sync(self.notifier.stopping)
                nursery.start_soon(self.daemon.stop)

    async def _reload(self) -> None:
        try:
            await self.daemon.reload()
        except ConfigError as error:
            journal().error("the configuration was not reloaded; the old one stays", problems=error.problems)

    def _announce_reload(self, begins: bool) -> None:
        """Between RELOADING and READY the service manager knows that the configuration is in flux."""
        if begins:
            self.notifier.reloading()
        elif self.daemon.state == "ready":
            self.notifier.ready()

    def _ready(self, nursery: trio.Nursery) -> None:
        settle_memory()
        trio.lowlevel.add_instrument(Sweeper(lambda: self.daemon.resting))
        self.notifier.ready(self._status())
        seconds = (self.host.mono_us() - self.began_us) / 1e6
        records = sum(self.daemon.dispatch.next_seq.values())
        state = "new" if self.fresh else f"{records:,} records"
        if sys.stderr.isatty():
            print(
                f"irerd {__version__} ready in {seconds:.1f} s · state {_short(self.state_dir)} ({state}) · "
                f"socket {_short(self.socket_path)} · try: irerctl status",
                file=sys.stderr,
            )
        else:
            took = {"seconds": round(seconds, 3), "replayed": self.daemon.recovered}
            journal().info("ready", version=__version__, state_dir=str(self.state_dir), records=records, **took)
        for warning in self.configuration.warnings:
            journal().warning(warning)
        for log, damage in self.daemon.damage.items():
            journal().error(f"{log} does not verify; it serves reads only", seq=damage.seq, why=damage.why)
        for log, text in self.daemon.torn.items():
            journal().warning(text, engine=log)
        if self._reload_when_ready:
            nursery.start_soon(self._reload)

    async def _tell_systemd(self) -> None:
        """Status at most once a second, where anybody reads it."""
        said, stopping_s = "", 0.0
        while self.notifier.connected:
            await trio.sleep(STATUS_S)
            stopping_s += STATUS_S if self.daemon.state == "draining" else 0.0
            if self.daemon.state == "recovering" or LONG_STOP_S <= stopping_s < LONGEST_STOP_S:
                self.notifier.extend(10_000_000)
            text = self._status()
            if text != said:
                self.notifier.status(text)
                said = text

    def _status(self) -> str:
        troubles = [f"{check.name} {check.reason}" for check in self.daemon.checks() if check.health != "ok"]
        records = sum(self.daemon.dispatch.next_seq.values())
        calm = f"{self.daemon.state}; {records:,} records, {self.daemon.connections} connections"
        return f"DEGRADED: {'; '.join(troubles)}; {calm}" if troubles else calm


def settle_memory() -> None:
    """What recovery built lives as long as the process: the collector need not walk it again and again (a fifth of a write). What
    outlived one look is looked at once more, with what outlived the next few, as nobody is served meanwhile; and then seldom.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 8, 6_000)


def _short(path: Path) -> str:
    home = str(Path.home())
    return str(path).replace(home, "~", 1) if str(path).startswith(home + "/") else str(path)


SWITCH_S = 0.001
"""How long a thread that reads logs may keep the interpreter from the event loop: 5 ms, as Python has it, would show in replies."""


def _serve(options: argparse.Namespace, configuration: FileConfiguration, notifier: Notifier) -> int:
    try:
        process = Process(options, configuration, notifier)
    except OSError as error:
        _complain(f"{state_dir(options.state_dir)}: {error.strerror or type(error).__name__}. Give another --state-dir")
        return EXIT_CANNOT_CREATE
    sys.setswitchinterval(SWITCH_S)
    try:
        trio.run(process.run)
    except BaseExceptionGroup as group:
        return _explain(innermost(group), process)
    except Exception as error:
        return _explain(error, process)
    return 0


def _explain(error: BaseException, process: Process) -> int:
    """An end that is not ours to hide: one sentence, and the exit status that says which."""
    place = process.state_dir
    match error:
        case Stop():
            code, text = error.code, error.text
        case WriteFailed() | SyncFailed():
            code, text = EXIT_SYNC, f"a write to the log failed ({error}). Nothing after it was acknowledged. {_remedy(error)}"
        case Full():
            code, text = EXIT_CANNOT_CREATE, f"{place}: the disk is full. Free some space and start irerd again"
        case Locked():
            holder = f" (process {error.pid})" if error.pid else ""
            code, text = EXIT_TAKEN, f"another irerd runs on {place}{holder}. Stop it first, or give another --state-dir"
        case NewerFormat() | UnknownEvent() | BadLedger():
            code, text = EXIT_DATA, f"{place}: {error}"
        case OSError():
            code, text = EXIT_CANNOT_CREATE, f"{place}: {error.strerror or type(error).__name__}. Is it writable?"
        case _:
            journal().error("a bug in irer ended it", type=type(error).__name__, at=where(error))
            raise error
    if text:
        _complain(text)
    return code


def _remedy(error: BaseException) -> str:
    """What helps depends on what the system said, below all that it was called since."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__
    if cause is not None and cause.errno == errno.EROFS:
        return "Look why the file system is read-only (dmesg), mount it writable, then start irerd again"
    return "Look at the disk (dmesg, df), then start irerd again"


def _complain(text: str) -> None:
    print(f"irerd: {text}", file=sys.stderr)


def main(argv: Collection[str] | None = None) -> None:
    options = arguments(list(argv) if argv is not None else None)
    try:
        configuration = FileConfiguration(options.config)
    except ConfigError as error:
        for problem in error.problems:
            _complain(problem)
        sys.exit(EXIT_CONFIG)
    if options.check_config:
        for warning in configuration.warnings:
            _complain(warning)
        print(effective(configuration.loaded), end="")
        sys.exit(0)
    configure(configuration.settings.logging.level)
    notifier = from_environment()
    code = _serve(options, configuration, notifier)
    sys.exit(code)


if __name__ == "__main__":
    main()
