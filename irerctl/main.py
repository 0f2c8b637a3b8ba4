"""irerctl: the table of its commands, and what happens when one of them fails.

`irerctl --help` reads only this file and the generated table of rows, so that it answers at once: a command's module is
imported when the command runs. Must never import msgspec, cbor2, rich or trio at the top.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

import click

from irerctl import VERSION, render
from irerctl.commands import COMMANDS, SECTIONS, Entry
from irerctl.rows import ROWS
from irerctl.session import Group, Session, body_of, common_options, session

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

EXIT_OUTPUT = 74
"""The answer could not be written to standard output: EX_IOERR."""


def entries() -> dict[str, Entry]:
    """Every command there is: those above, and a line made from its rows for each group nobody described."""
    made = {name: Entry("Do", _described(rows)) for name, rows in ROWS.items() if name not in COMMANDS}
    return {name: entry for name, entry in COMMANDS.items() if entry.place or name in ROWS} | made


def _described(rows: dict[str, str]) -> str:
    return rows[""] if set(rows) == {""} else ", ".join(sorted(rows)[:6])


class Program(Group):
    """The top level: commands by section, modules on demand, and every failure as one sentence and an exit status."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(entries())

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        entry = entries().get(name)
        if entry is None:
            return None
        if not entry.place:
            from irerctl import generic

            return generic.group(name, entry.help)
        module, _, attribute = entry.place.partition(":")
        found = getattr(import_module(module), attribute)
        assert isinstance(found, click.Command)
        return found

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in entries() and not args[0].startswith("-"):
            raise click.UsageError(f"no command {render.clean(args[0])!r}.{_nearest(args[0])} All: irerctl --help", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        found = entries()
        wide = max(map(len, found))
        for section in SECTIONS:
            lines = [(name.ljust(wide), entry.help) for name, entry in found.items() if entry.section == section]
            if lines:
                with formatter.section(section):
                    formatter.write_dl(lines)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        """Names from the table: to look at the commands themselves would import them all."""
        from click.shell_completion import CompletionItem

        named = [CompletionItem(name, help=entry.help) for name, entry in entries().items() if name.startswith(incomplete)]
        return named + click.Command.shell_complete(self, ctx, incomplete)

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, *_: Any, **more: Any) -> NoReturn:
        args = list(sys.argv[1:] if args is None else args)
        more["standalone_mode"] = False
        if asked := os.environ.get("_IRERCTL_COMPLETE"):
            from irerctl.completion import answer

            answer(self, ROWS, asked)
        if not render.open_output():
            sys.exit(_no_output(args, "it is closed", "Nothing was done. Try: irerctl COMMAND >/dev/null"))
        try:
            status = super().main(args, prog_name or "irerctl", **more)
        except click.Abort:
            sys.exit(130)
        except click.ClickException as failure:
            sys.exit(_usage(failure, args))
        except Exception as failure:
            if (why := render.lost_output(failure)) is not None:
                sys.exit(_no_output(args, why, "What was asked for may be done all the same. Send the output elsewhere"))
            sys.exit(_failed(failure, args))
        sys.exit(status if isinstance(status, int) else 0)


def _nearest(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, entries(), n=1)
    return f" Did you mean {close[0]}?" if close else ""


def _wanted_output(args: Sequence[str]) -> render.Output:
    """How errors should look: read from the words themselves, for they may be what is wrong."""
    for place, arg in enumerate(args):
        value = args[place + 1] if arg in ("-o", "--output") and place + 1 < len(args) else arg
        if arg.startswith(("-o", "--output")) and value.endswith(("json", "jsonl")):
            return "jsonl" if value.endswith("jsonl") else "json"
    return "table"


def _usage(failure: click.ClickException, args: Sequence[str]) -> int:
    said = failure.format_message()
    if said.startswith("Usage: "):  # the whole help, for a group without a command
        if _wanted_output(args) == "table":
            click.echo(said, err=True)
            return 2
        said = "a command is missing."
    detail = render.clean(said.replace("\n\t", " "))  # choices, as click lists them
    ctx = getattr(failure, "ctx", None)
    typed = ctx.command_path.replace(" \0", "") if ctx else ""  # a group's own row has a name that nobody types (generic.OWN)
    advice = f"Try: {typed} --help" if ctx and "irerctl --help" not in detail else ""
    if isinstance(failure, click.NoSuchOption) and failure.option_name.lstrip("-")[:1].isdigit():
        advice = f"A value that begins with - stands behind -- at the end. {advice}"
    body = {"code": "invalid-argument", "title": "wrong usage", "reason": "usage", "detail": detail, "help": advice}
    render.error(body, _wanted_output(args))
    return 2


def _failed(failure: Exception, args: Sequence[str]) -> int:
    body = body_of(failure)
    if body is None:
        raise failure
    if body["code"] == "unimplemented" and "help" not in body:
        body["help"] = "This irerctl and the daemon know different methods. Try: irerctl version"
    render.error(body, _wanted_output(args))
    from core.wire.errors import CODES

    known = CODES.get(body["code"])
    return known.exit if known else 70


def _no_output(args: Sequence[str], why: str, advice: str) -> int:
    """The one failure that is neither the daemon's nor the caller's words: nobody could read the answer."""
    detail = f"standard output cannot be written ({why})."
    body = {"code": "failed-precondition", "title": "the output was lost", "reason": "output", "detail": detail, "help": advice}
    render.error(body, _wanted_output(args))
    return EXIT_OUTPUT


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"irerctl {VERSION}")
        ctx.exit()


def _alone(**_: Any) -> None:
    """`irerctl` alone is `irerctl status`."""
    ctx = click.get_current_context()
    if ctx.invoked_subcommand is None:
        status = cli.get_command(ctx, "status")
        assert status is not None
        ctx.invoke(status)


cli = Program(
    "irerctl",
    callback=_alone,
    invoke_without_command=True,
    params=[
        *common_options(hidden=False),
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_version,
            help="Print the version of irerctl and exit.",
        ),
    ],
    help="Talk to irerd. Alone it is `irerctl status`.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100, "obj": None},
    epilog="irerctl COMMAND --help says more. `-o json` gives one JSON value, for programs.",
)


def main() -> NoReturn:
    render.take_output()
    cli.main()


__all__ = ["Session", "cli", "main", "session"]

if __name__ == "__main__":
    main()
