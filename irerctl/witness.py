"""`irerctl audit witness`: carry a checkpoint to a witness that irerd cannot reach, and its cosignature back.

Nothing is decided here: the daemon says what to ask, the witness judges, and the daemon checks what came back before it keeps it.
"""

from pathlib import Path
from typing import Any

import click

from irerctl import render
from irerctl.session import Failure, command, session

FILE_BYTES_MAX = 65_536
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@command(
    "witness",
    "Carry a checkpoint to a witness by hand, and its cosignature back.",
    click.Argument(["log"], metavar="LOG"),
    click.Argument(["name"], metavar="[NAME]", required=False),
    click.Option(["--old"], type=click.IntRange(min=0), help="How many records the witness says that it cosigned last."),
    click.Option(["--take"], metavar="FILE", type=FILE, help="What irer-witness cosign printed; --request goes with it."),
    click.Option(["--request"], metavar="FILE", type=FILE, help="The request that was carried."),
    epilog="NAME is the witness's in irerd.toml. First: irerctl audit witness LOG NAME > request. There: irer-witness cosign "
    "< request > answer. Then: irerctl audit witness LOG NAME --request request --take answer.",
)
def witness(log: str, name: str | None, old: int | None, take: Path | None, request: Path | None) -> None:
    now = session()
    if (take is None) != (request is None):
        raise Failure("invalid-argument", "--take and --request go together", "Give the request that was carried, and the answer")
    params: dict[str, Any] = {"log": log} | ({"witness": name} if name else {}) | ({"old": old} if old is not None else {})
    if take is not None and request is not None:
        _, _, note = _text(request).partition("\n\n")
        params |= {"checkpoint": note, "cosignature": _text(take)}
    found = now.call("audit.witness", params).result
    if take is None and now.output == "table":
        render.say(found["request"].rstrip("\n"))
    else:
        now.show(found, _draw)


def _draw(found: Any) -> None:
    log, size = render.clean(found["log"]), render.count(found["size"])
    if found["kept"]:
        render.say(f"{log}: cosigned up to {size} records")
    else:
        render.say(f"{log}: more than these {size} records are cosigned already; nothing changed")


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(FILE_BYTES_MAX).decode()
    except (OSError, UnicodeDecodeError):
        raise Failure("invalid-argument", f"{file} is no text that can be read", "Give another file") from None
