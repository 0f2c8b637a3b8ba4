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
