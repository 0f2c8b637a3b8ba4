"""`irerctl audit witness`: carry a checkpoint to a witness that irerd cannot reach, and its cosignature back.

Nothing is decided here: the daemon says what to ask, the witness judges, and the daemon checks what came back before it keeps it.
With `--state-dir` a program on the files does the daemon's part; it needs the witness's key, for the names stand in irerd.toml.
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
    click.Option(
        ["--state-dir"],
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Read the files in this directory; no daemon is needed. To keep an answer, irerd must be stopped.",
    ),
    click.Option(["--vkey"], metavar="VKEY", help="With --state-dir: the witness's key, instead of NAME."),
    epilog="NAME is the witness's in irerd.toml. First: irerctl audit witness LOG NAME > request. There: irer-witness cosign "
    "< request > answer. Then: irerctl audit witness LOG NAME --request request --take answer. Without a daemon: --state-dir DIR "
    "--vkey VKEY instead of NAME.",
)
def witness(
    log: str,
    name: str | None,
    old: int | None,
    take: Path | None,
    request: Path | None,
    state_dir: Path | None,
    vkey: str | None,
) -> None:
    if (take is None) != (request is None):
        raise Failure("invalid-argument", "--take and --request go together", "Give the request that was carried, and the answer")
    came: dict[str, str] = {}
    if take is not None and request is not None:
        came = {"checkpoint": _text(request).partition("\n\n")[2], "cosignature": _text(take)}
    if state_dir is not None:
        _without_daemon(state_dir, log, name, old, vkey, came)
        return
    if vkey is not None:
        raise Failure("invalid-argument", "irerd knows its witnesses from irerd.toml", "Give --vkey together with --state-dir")
    now = session()
    params: dict[str, Any] = {"log": log} | ({"witness": name} if name else {}) | ({"old": old} if old is not None else {})
    found = now.call("audit.witness", params | came).result
    if take is None and now.output == "table":
        render.say(found["request"].rstrip("\n"))
    else:
        now.show(found, _draw)


def _without_daemon(state_dir: Path, log: str, name: str | None, old: int | None, vkey: str | None, came: dict[str, str]) -> None:
    from irerctl.backup import run_alone

    if name is not None:
        raise Failure("invalid-argument", f"{name} is a name in irerd.toml, which is not read", "Give --vkey VKEY instead of it")
    if came and vkey is None:
        raise Failure("invalid-argument", "nobody knows whose answer this is", "Give --vkey VKEY, as irer-witness key prints it")
    given = {"old": None if old is None else str(old), "vkey": vkey, **came}
    run_alone("state.carry", str(state_dir), log, *(f"--{key}={value}" for key, value in given.items() if value is not None))


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
