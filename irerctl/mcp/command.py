"""`irerctl mcp`: what an AI agent's program starts, with its words on standard input and ours on standard output."""

import logging
import signal
import sys
from typing import TYPE_CHECKING

import click

from irerctl.session import Failure, command, session

if TYPE_CHECKING:
    from irerctl.mcp.run import Engine

INSTRUCTIONS = (
    "irer is a daemon that keeps a hash-chained log of everything its engines do. Every tool is one of its methods: "
    "resource_scale is resource.scale. Begin with system_status. A write is durable once it is answered, and carries a key, so "
    "an answer that was lost is never done twice. What refuses says why and what to do instead. Lists take limit and after; "
    "jobs answer with an id that system_op_watch follows."
)


def speaker_of(engine: str | None, key: str | None) -> "Engine | None":
    """The engine that an agent speaks as; None for the user it runs as."""
    if engine is None and key is None:
        return None
    if engine is None or key is None:
        raise Failure("invalid-argument", "an engine has an id and a key.", "Give both: --engine ID --engine-key @FILE")
    if not key.startswith("@") or key == "@-":
        text = "a key never stands on a command line, and standard input is the agent's."
        raise Failure("invalid-argument", text, "Write it to a file that only you can read: --engine-key @FILE")
    from irerctl.fields import from_file
    from irerctl.mcp.run import Engine

    if not (found := from_file(key).strip()):
        raise Failure("invalid-argument", f"there is nothing in {key[1:]}.", "Write the key to it, as engines.register showed it")
    return Engine(engine, found)


@command(
    "mcp",
    "Let an AI agent use irerd, over standard input and output.",
    click.Option(["--write"], is_flag=True, help="Show tools that change something, too."),
    click.Option(["--admin"], is_flag=True, help="Show every tool, those of an administrator too."),
    click.Option(["--engine"], metavar="ID", help="Call as this engine, whose key --engine-key gives."),
    click.Option(["--engine-key"], metavar="@FILE", help="The file that holds the engine's key."),
    click.Option(["--only"], metavar="NAME", multiple=True, help="Show these methods or namespaces only; may be repeated."),
    epilog="For the configuration of an agent: command irerctl, arguments mcp. It may do what its user may, and sees reads only "
    "unless told otherwise. See docs/mcp.md.",
)
def mcp(write: bool, admin: bool, only: tuple[str, ...], engine: str | None, engine_key: str | None) -> None:
    now = session()
    path = now.path
    speaker = speaker_of(engine, engine_key)
    if sys.stdin is None or sys.stdin.isatty():
        text = "mcp speaks the Model Context Protocol with another program, and standard input is a terminal."
        raise Failure("failed-precondition", text, "Name it in an agent's configuration: command irerctl, arguments mcp")
    import trio

    from irerctl.generic import catalogue
    from irerctl.mcp.run import main
    from irerctl.mcp.tools import KINDS, Unknown, tools

    kinds = KINDS if admin else KINDS[:2] if write else KINDS[:1]
    try:
        found = tools(catalogue().document(), kinds, only)
    except Unknown as word:
        text = f"{str(word)!r} names no method and no group of methods."
        raise Failure("not-found", text, "All: irerctl api ls") from None
    if not found:
        text = f"of {', '.join(only)} nothing is shown without --write or --admin."
        raise Failure("failed-precondition", text, "Try: irerctl mcp --write")
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    trio.run(main, path, now.timeout_s, found, INSTRUCTIONS, speaker)
