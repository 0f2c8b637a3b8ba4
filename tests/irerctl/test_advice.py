"""What the engines of fields, hunts and components tell people to type is there: every command, and every method called."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click

from irerctl import generic
from irerctl.main import cli

ROOT = Path(__file__).parents[2]
PLACES = ("core/sim", "core/hunt", "core/component", "irerd/effects", "irerd/work", "irerctl/screens")
FILES = ("irerd/simulation.py", "irerd/hunts.py", "irerd/ledger.py", "irerd/workers.py")
PAGES = ("simulation", "hunt", "components", "workers")
TYPED = re.compile(r"\birerctl ([a-z][a-z-]*)(?: ([a-z][a-z_.-]*))?")
PROSE = {"and", "knows"}
"""What follows the name of the program where a text is about it."""


def texts() -> Iterator[tuple[str, str]]:
    files = [path for place in PLACES for path in sorted((ROOT / place).rglob("*.py"))] + [ROOT / name for name in FILES]
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield str(path.relative_to(ROOT)), node.value
    yield from ((f"docs/{name}.md", (ROOT / "docs" / f"{name}.md").read_text()) for name in PAGES)


def known(ctx: click.Context, name: str, inner: str) -> bool:
    found = cli.get_command(ctx, name)
    if name == "call":
        return inner in generic.catalogue().rows
    return found is not None and (not inner or not isinstance(found, click.Group) or inner in found.commands)


def test_every_command_and_method_that_is_advised_is_there() -> None:
    ctx, told, wrong = click.Context(cli), 0, []
    for place, text in texts():
        for name, inner in TYPED.findall(text):
            if name not in PROSE:
                told += 1
                if not known(ctx, name, inner):
                    wrong.append(f"{place}: irerctl {name} {inner}")
    assert told > 60 and wrong == []


LINE = re.compile(r"\birerctl ((?:(?!  )[^`|;\n#<>…])+)")
"""A command as it stands on a page: up to what is another command's, a comment's or the text's."""
VALUED = {"-o", "--output", "-H", "--host", "--socket", "--timeout"}


def options_of(ctx: click.Context, text: str) -> tuple[list[str], set[str]]:
    """The long options that are typed there, and those that the command has."""
    command: click.Command = cli
    words = iter(text.replace("[", " ").replace("]", " ").split())
    typed = []
    for word in words:
        if word in VALUED:
            next(words, None)
        elif word.startswith("--"):
            typed.append(word.partition("=")[0].rstrip(".,:)'\""))
        elif isinstance(command, click.Group) and (inner := command.get_command(ctx, word)) is not None:
            command = inner
    own = command.own if isinstance(command, generic.Rows) else None  # as of `irerctl order --items …`
    takes = [each for each in (cli, command, own) if each is not None]
    known = {name for each in takes for param in each.params for name in (*param.opts, *param.secondary_opts)}
    return typed, known | {"--help", "--version"}


def test_every_option_that_a_page_shows_is_one() -> None:
    ctx, shown, wrong = click.Context(cli), 0, []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for text in LINE.findall(path.read_text()):
            typed, known = options_of(ctx, text)
            shown += len(typed)
            wrong += [f"{path.name}: irerctl {text.strip()}: {name}" for name in typed if name not in known]
    assert wrong == [] and shown > 100
