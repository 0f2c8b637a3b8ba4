"""One command's conversation with the daemon: where it is, how long to wait, and how its answers are printed.

Must never import the client before a command really calls: `--help` and completion do not.
"""

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from irerctl import VERSION, render

if TYPE_CHECKING:
    from irerctl.client import Client, Reply, Stream, Unreachable
    from irerctl.far import Far
    from irerctl.heeding import HeedingClient

TIMEOUT_S = 30.0
TIMEOUT_S_MAX = 3600.0
OF_A_BROKEN_LOG = "irerctl: this is of a log that does not verify, as its sound beginning has it. See: irerctl status"
START_IT = "Try: irerd &   or: systemctl start irerd"


class Failure(Exception):
    """A command could not do what was asked, for a reason found on this side of the socket."""

    def __init__(self, code: str, detail: str, help: str = "", **more: Any) -> None:
        super().__init__(detail)
        self.body = {"code": code, "detail": detail, "help": help, **more}


@dataclass
class Session:
    """The global options, and the calls made under them."""

    output: render.Output = "table"
    socket: str | None = None
    timeout_s: float = TIMEOUT_S
    far: "Far | None" = None
    """The machine the daemon is on, where that is another one. Then `socket` is a path there."""
    broken: bool = False
    """Something that was answered is of a log that does not verify."""

    @property
    def path(self) -> str:
        """The socket to use: the option, else IRER_SOCKET, else the first usual place that exists. Refuses from afar."""
        from irerctl.client import find_socket

        self.stay_here()
        return self.socket or find_socket()

    @property
    def where(self) -> str:
        """Where the daemon is, for people."""
        return str(self.far) if self.far is not None else self.path

    def stay_here(self) -> None:
        """For what needs this very machine: -H would be silently of no effect."""
        if self.far is not None:
            ctx = click.get_current_context()
            text = f"{ctx.command_path} works on the machine it runs on, and {self.far} is another."
            raise Failure("failed-precondition", text, f"Try: {self.far.by_hand} {ctx.command_path}", reason="far")

    def connect(self) -> "Client":
        """A client that is connected. An absent daemon is told at once; one that restarts later is waited for."""
        from irerctl.heeding import HeedingClient

        client = self._client(HeedingClient)
        client.on_broken = self._mark_broken
        return client

    def _client(self, made: "type[HeedingClient]") -> "HeedingClient":
        if self.far is not None:
            from irerctl.far import Tunnel

            return made(str(self.far), self.timeout_s, f"irerctl/{VERSION}", connect=Tunnel(self.far, self.socket).dial)
        path = self.path
        ready = [knock(path)]
        return made(path, self.timeout_s, f"irerctl/{VERSION}", connect=lambda: ready.pop() if ready else dial(path))

    def _mark_broken(self) -> None:
        """The numbers look as they always do, and are of before the damage: said beside them, or within the one value asked for."""
        if not self.broken and self.output != "json":
            render.note(OF_A_BROKEN_LOG)
        self.broken = True

    def call(self, method: str, params: Mapping[str, Any] | None = None, **more: Any) -> "Reply":
        with render.Waiting(f"waiting for {method}"), self.connect() as client:
            return client.call(method, dict(params or {}), **more)

    @contextlib.contextmanager
    def stream(self, method: str, params: Mapping[str, Any] | None = None) -> Iterator["Stream"]:
        """The items of a streaming method. Ctrl-C cancels the call and waits for its last word."""
        with self.connect() as client, client.stream(method, dict(params or {})) as items:
            try:
                yield items
            except KeyboardInterrupt:
                items.cancel()
                raise

    def show(self, result: Any, drawn: Callable[[Any], None] = render.result) -> None:
        """A result: as data when that was asked for, else drawn."""
        match self.output:
            case "json":
                broken = {"integrity": "failed"} if self.broken and isinstance(result, dict) else {}
                render.json_value({**result, **broken} if broken else result)
            case "jsonl":
                for item in render.items_of(result):
                    render.say(render.dumps(item))
            case _:
                drawn(result)


def knock(path: str) -> socket.socket:
    """The first connection, or the reason why there is none."""
    from irerctl import client

    try:
        return dial(path)
    except OSError as lost:
        raise client.unreachable(path, lost) from lost


def dial(path: str) -> socket.socket:
    """A connection. Raises OSError, which the client takes for a daemon that restarts."""
    made = socket.socket(socket.AF_UNIX)
    try:
        made.connect(path)
    except OSError:
        made.close()
        raise
    return made


def session(ctx: click.Context | None = None) -> Session:
    """The session of the command that runs."""
    ctx = ctx or click.get_current_context()
    return ctx.ensure_object(Session)


# The options every command takes, before or after its name


def _set(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        if value is not None:
            setattr(session(ctx), name, value)

    return callback


def _set_timeout(ctx: click.Context, param: click.Parameter, value: float | None) -> None:
    if value is not None:
        if not 0 < value <= TIMEOUT_S_MAX:
            raise click.BadParameter(
                f"{value:g} is outside what a timeout can be: above 0, at most {TIMEOUT_S_MAX:g} seconds.", ctx, param
            )
        session(ctx).timeout_s = value


def _set_far(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        from irerctl.far import BadAddress, address

        try:
            session(ctx).far = address(value)
        except BadAddress as problem:
            raise click.BadParameter(f"{render.clean(value)} {problem}.", ctx, param) from None


def common_options(hidden: bool) -> list[click.Option]:
    return [
        click.Option(
            ["-H", "--host"],
            metavar="ssh://HOST",
            expose_value=False,
            hidden=hidden,
            callback=_set_far,
            help="Daemon of another machine, over ssh://[user@]host[:port].",
        ),
        click.Option(
            ["--socket"],
            metavar="PATH",
            expose_value=False,
            hidden=hidden,
            callback=_set("socket"),
            help="Socket of the daemon (or IRER_SOCKET).",
        ),
        click.Option(
            ["-o", "--output"],
            type=click.Choice(["table", "json", "jsonl"]),
            metavar="FORMAT",
            expose_value=False,
            hidden=hidden,
            callback=_set("output"),
            help="table, json (one value) or jsonl (one object a line).",
        ),
        click.Option(
            ["--timeout"],
            type=click.FLOAT,
            metavar="S",
            expose_value=False,
            hidden=hidden,
            callback=_set_timeout,
            help="Seconds to wait for an answer (30).",
        ),
    ]


class Command(click.Command):
    """A command that also takes the global options after its name, where people type them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        taken = {name for param in self.params for name in param.opts}
        self.params += [option for option in common_options(hidden=True) if not taken & set(option.opts)]

    def invoke(self, ctx: click.Context) -> Any:
        if ctx.params.get("state_dir") is not None:
            session(ctx).stay_here()
        return super().invoke(ctx)


Function = Callable[..., Any]


def command(name: str, help: str, *params: click.Parameter, **more: Any) -> Callable[[Function], Command]:
    """Makes a command of a function: its parameters are data, like every table here."""

    def made(function: Function) -> Command:
        return Command(name, params=list(params), callback=function, help=help, short_help=help, **more)

    return made


class Group(Command, click.Group):
    """A group of such commands."""

    def command_of(self, name: str, help: str, *params: click.Parameter, **more: Any) -> Callable[[Function], Command]:
        """`command`, in this group."""

        def made(function: Function) -> Command:
            found = command(name, help, *params, **more)(function)
            self.add_command(found)
            return found

        return made


# What went wrong, as one body


def body_of(failure: BaseException) -> dict[str, Any] | None:
    """The error body of anything a command may raise that is not a bug; None for a bug."""
    from core.wire import errors
    from irerctl.client import Error, Unreachable

    judge = sys.modules.get("core.engine")
    match failure:
        case Failure():
            body = dict(failure.body)
        case _ if judge is not None and isinstance(failure, judge.Refused):
            body = errors.body(failure)
        case Unreachable():
            body = unreachable(failure)
        case Error():
            names = ("code", "title", "detail", "reason", "fields", "data", "retry_ms", "effect", "instance", "help")
            body = {name: getattr(failure, name) for name in names}
        case _:
            return None
    known = errors.CODES.get(body["code"])
    body = {name: value for name, value in body.items() if value not in (None, (), [], {}, "", "none")}
    first = {"code": body["code"], "title": known.title if known else body["code"]}
    return {**first, **{name: body[name] for name in ("title", "detail", "help") if name in body}, **body}


def unreachable(failure: "Unreachable") -> dict[str, Any]:
    """No conversation: is nobody there, may we not knock, or did somebody hang up?"""
    from irerctl import client

    cause = failure.__cause__
    if failure.path.startswith("ssh://"):
        return _unreachable_afar(failure)
    if isinstance(cause, PermissionError):
        return not_admitted(failure.path)
    body = {"code": failure.code, "effect": failure.effect, "data": {"socket": failure.path}}
    if isinstance(cause, ConnectionRefusedError | FileNotFoundError):
        detail = f"no daemon at {failure.path} ({failure.why}). It stopped or was never started."
        return {**body, "detail": detail, "help": START_IT}
    if len(os.fsencode(failure.path)) > client.PATH_BYTES_MAX:
        help = "Give a shorter one: irerctl --socket PATH, or IRER_SOCKET"
        return {**body, "detail": f"nothing can listen at {failure.path} ({failure.why}).", "help": help}
    detail = f"what listens at {failure.path} did not answer ({failure.why})."
    return {**body, "detail": detail, "help": "Try: irerctl doctor   or: journalctl -u irerd"}


def _unreachable_afar(failure: "Unreachable") -> dict[str, Any]:
    from irerctl.far import Lost, address

    cause, place = failure.__cause__, failure.path
    body = {"code": failure.code, "effect": failure.effect, "data": {"host": place}}
    if isinstance(cause, Lost):
        return {**body, "code": cause.code, "detail": cause.detail, "help": cause.help}
    detail = f"the conversation with {place} broke off ({failure.why})."
    return {**body, "detail": detail, "help": f"Try: {address(place).by_hand} irerctl doctor"}


def not_admitted(path: str) -> dict[str, Any]:
    """The socket is not ours to open: name the group that may, and how to join it."""
    import pwd

    uid = os.getuid()
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = ""
    group, members = _group_of(path)
    if group is None or group == "root" or not user:
        advice = f"Try: sudo irerctl {' '.join(sys.argv[1:])}".rstrip()
    elif user in members:
        advice = f"You are in group {group}, but this session began before that. Try: newgrp {group}   or log in again"
    else:
        advice = f"Its group is {group}. Try: sudo usermod -aG {group} {user}   and log in again"
    return {
        "code": "permission-denied",
        "detail": f"uid {uid}{f' ({user})' if user else ''} may not open {path} (permission denied).",
        "help": advice,
        "data": {"socket": path, "group": group},
    }


def _group_of(path: str) -> tuple[str | None, list[str]]:
    """The group that opens the door: the socket's, or that of the nearest directory that can be looked at."""
    import grp

    for place in (Path(path), *Path(path).parents):
        try:
            found = grp.getgrgid(place.stat().st_gid)
        except (PermissionError, FileNotFoundError):
            continue
        except KeyError:
            return None, []
        return found.gr_name, list(found.gr_mem)
    return None, []
