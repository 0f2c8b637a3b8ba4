"""What this program and its daemon are: `version`, `reload`, and `help` for words of the house."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from irerctl import VERSION, render
from irerctl.live import words as glossary_words
from irerctl.session import Failure, command, session

SAME_VERSION = "Try: systemctl restart irerd   or install the same version of both"
"""What to do about a client and a daemon that know different methods."""

# Versions


@command("version", "Versions of this program and of the daemon.")
def version() -> None:
    from irerctl.client import Error, Unreachable

    now = session()
    found: dict[str, Any] = {"irerctl": VERSION, "irerd": None, "python": sys.version.split()[0], "socket": now.where}
    try:
        info = now.call("system.info").result
    except (Error, Unreachable) as failure:
        found["problem"] = str(failure)
        now.show(found, _draw_version)
        return
    found |= {"irerd": info.get("version"), "instance": info.get("instance"), "same_methods": same_methods(info)}
    now.show(found, _draw_version)


def same_methods(info: Mapping[str, Any]) -> bool:
    """Whether the daemon's catalogue is the one this program was installed with."""
    from irerctl.generic import catalogue

    return bool(info.get("schema") == catalogue().schema_hash())


def _draw_version(found: Mapping[str, Any]) -> None:
    lines = {"irerctl": f"{found['irerctl']}  python {found['python']}"}
    lines["irerd"] = f"{found['irerd']}  at {found['socket']}" if found["irerd"] else f"does not answer at {found['socket']}"
    render.pairs(lines)
    if found.get("same_methods") is False:
        render.say(f"Their methods differ: one of the two was updated.\n{SAME_VERSION}")


# Reload


@command(
    "reload",
    "Make the daemon read its configuration again.",
    epilog="Needs admin. Says what took effect and what waits for a restart.",
)
def reload() -> None:
    now = session()
    now.show(now.call("system.reload").result, _draw_reload)


def _draw_reload(found: Mapping[str, Any]) -> None:
    applied, waiting = found.get("applied") or [], found.get("needs_restart") or []
    over, left_out = found.get("set_over") or [], found.get("left_out") or {}
    lines = [("applied", key, "") for key in applied]
    lines += [("needs restart", key, "yellow") for key in waiting]
    lines += [("set before", f"{key}, with config.set; it wins over the file", "") for key in over if key not in left_out]
    lines += [("not in force", f"{key}, set with config.set: {why}", "yellow") for key, why in left_out.items()]
    for word, text, colour in lines:
        render.say(f"{word:13}  {render.paint(render.clean(text), fg=colour) if colour else render.clean(text)}")
    if not applied and not waiting:
        render.say(f"nothing changed; {render.plural(found.get('unchanged') or 0, 'key')} as before")
    if waiting:
        render.say("Try: systemctl restart irerd")


# Words


@command(
    "help",
    "Explain a word or a command.",
    click.Argument(["words"], metavar="[WORD]", nargs=-1, shell_complete=glossary_words),
    epilog="Alone it lists the words it knows.",
)
def help_(words: tuple[str, ...]) -> None:
    glossary = read_glossary()
    now = session()
    if not words:
        now.show([{"word": word, "text": text} for word, text in glossary.items()], lambda _: _list_words(glossary))
        return
    wanted = " ".join(words)
    known = {_key(word): word for word in glossary}
    if _key(wanted) in known:
        word = known[_key(wanted)]
        now.show({"word": word, "text": glossary[word]}, lambda _: _draw_word(word, glossary[word]))
    elif not _show_command(words):
        raise _unknown(wanted, list(glossary))


def _key(word: str) -> str:
    return re.sub(r"[\s_-]+", " ", word.strip().lower())


def _list_words(glossary: Mapping[str, str]) -> None:
    for line in render.wrapped(", ".join(glossary), columns=reading_width()):
        render.say(line)
    render.say("Try: irerctl help WORD   or: irerctl COMMAND --help")


def _draw_word(word: str, text: str) -> None:
    render.say(render.paint(word, bold=True))
    for paragraph in text.split("\n\n"):
        lines = paragraph.splitlines()
        for line in (
            lines
            if paragraph.startswith(("    ", "- ", "* ", "|", "```"))
            else render.wrapped(" ".join(lines), columns=reading_width())
        ):
            render.say(line)


def reading_width() -> int:
    return min(render.width() or 80, 100)


def _show_command(words: tuple[str, ...]) -> bool:
    """The help of a command of that name: what people mean who type `irerctl help engine`."""
    ctx = click.get_current_context().find_root()
    for word in words:
        if not isinstance(ctx.command, click.Group):
            return False
        found = ctx.command.get_command(ctx, word)
        if found is None:
            return False
        ctx = click.Context(found, parent=ctx, info_name=word)
    render.say(ctx.get_help())
    return True


def _unknown(wanted: str, known: list[str]) -> Failure:
    from difflib import get_close_matches

    close = get_close_matches(_key(wanted), [_key(word) for word in known], n=1)
    nearest = f" Did you mean {close[0]}?" if close else ""
    return Failure("not-found", f"no word or command {wanted!r}.{nearest}", "All words: irerctl help", data={"nearest": close})


def read_glossary() -> dict[str, str]:
    """The words and what they mean, from the file that is installed beside this one."""
    return parse_glossary((Path(__file__).parent / "glossary.md").read_text("utf-8"))


def parse_glossary(text: str) -> dict[str, str]:
    """`## word` and the text below it, in the order of the file."""
    parts = re.split(r"^## +(.+?) *$", text, flags=re.MULTILINE)
    return dict(zip((word.strip() for word in parts[1::2]), (body.strip() for body in parts[2::2]), strict=True))
