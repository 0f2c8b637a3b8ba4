"""`irerctl completion SHELL`: what a shell is told once, and the answers it gets whenever Tab is pressed.

An answer is names or nothing: whatever goes wrong, a person who presses Tab must never see an error.
"""

import contextlib
import os
import sys
from collections.abc import Mapping
from typing import NoReturn

import click

from irerctl.session import command

VARIABLE = "_IRERCTL_COMPLETE"
"""Set by the shell while it asks."""
WHERE = {
    "bash": "Put it in ~/.bashrc:  source <(irerctl completion bash)",
    "zsh": "Put it in ~/.zshrc, after compinit:  source <(irerctl completion zsh)",
    "fish": "Once:  irerctl completion fish > ~/.config/fish/completions/irerctl.fish",
}


@command(
    "completion",
    "Let the Tab key complete commands and names.",
    click.Argument(["shell"], type=click.Choice(sorted(WHERE)), metavar="bash|zsh|fish"),
    epilog="\b\n" + "\n".join(WHERE.values()),
)
def completion(shell: str) -> None:
    from click.shell_completion import get_completion_class

    root = click.get_current_context().find_root().command
    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(root, {}, "irerctl", VARIABLE).source())


def answer(program: click.Command, rows: Mapping[str, Mapping[str, str]], asked: str) -> NoReturn:
    """What goes on from the words so far. The names of a group's commands need no catalogue, and come at once."""
    from click.shell_completion import CompletionItem, get_completion_class

    shell = asked.partition("_")[0]
    with contextlib.suppress(Exception), open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        made = get_completion_class(shell)
        if made is not None:
            talk = made(program, {}, "irerctl", VARIABLE)
            words, begun = talk.get_completion_args()
            known = rows.get(words[0], {}) if len(words) == 1 and not begun.startswith("-") else {}
            first = {name.partition(" ")[0]: help for name, help in known.items() if name and not name.startswith("-")}
            if first:
                found = [CompletionItem(name, help=first[name]) for name in first if name.startswith(begun)]
            else:
                found = talk.get_completions(words, begun)
            print(*(talk.format_completion(item) for item in found), sep="\n")
    sys.exit(0)
