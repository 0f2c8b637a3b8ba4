"""The registry of named jobs: what a task may run, with which parameters. Pure; the work itself is done in a child process.

A caller names a job and never a program or a path: what is not in `JOBS` cannot be run.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from core.engine import Command, Refused
from core.fields import privacy, words
from core.settings import Settings
from core.wire.errors import problem

RootName = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z"), privacy("public"), words("a name: 1 to 64 of letters, digits, _ and -")
]
LogName = Annotated[
    str,
    Meta(pattern=r"^[a-z][a-z0-9_]{0,63}\Z"),
    privacy("public"),
    words("the name of a log, such as engine_state: a-z, 0-9 and _, a letter first"),
]


class HashTree(Command):
    """Hashes every file under a directory of the configuration.

    root: a name in `[jobs.roots]`; paths are never taken from a caller
    """

    root: RootName


class VerifyLog(Command):
    """Checks a log record by record, as `irerctl audit hashchain` does.

    log: name of the log, such as engine_state
    """

    log: LogName


@dataclass(frozen=True)
class JobKind:
    """One row of the registry."""

    name: str
    params: type[Command]
    help: str
    example: Mapping[str, Any]


JOBS: dict[str, JobKind] = {
    kind.name: kind
    for kind in (
        JobKind("hash_tree", HashTree, "Hash every file under a configured directory", {"root": "documents"}),
        JobKind("verify_log", VerifyLog, "Verify the hash chain of a log", {"log": "engine_state"}),
    )
}


def validate(name: str, params: Mapping[str, Any], settings: Settings) -> Command:
    """The parameters in their type, or a refusal that says what to ask for instead."""
    kind = JOBS.get(name)
    if kind is None:
        raise Refused("not-found", f"no job is named {name}. {_instead(name, JOBS)}", data={"nearest": nearest(name, JOBS)})
    try:
        typed = msgspec.convert(dict(params), kind.params, strict=True)
    except msgspec.ValidationError as wrong:
        path, text = problem(wrong, kind.params)
        path = f"job.params.{path}" if path else "job.params"
        raise Refused("invalid-argument", f"{name}: {path}: {text}", fields=[(path, text)]) from None
    if isinstance(typed, HashTree) and typed.root not in settings.jobs.roots:
        roots = settings.jobs.roots
        instead = _instead(typed.root, roots) if roots else "None is configured"
        raise Refused(
            "not-found",
            f"no directory is named {typed.root}. {instead}; an admin adds jobs.roots.{typed.root} to the configuration",
            fields=[("job.params.root", "not a name in [jobs.roots]")],
            data={"nearest": nearest(typed.root, roots)},
        )
    return typed


def nearest(name: str, known: Iterable[str]) -> list[str]:
    return get_close_matches(name, list(known), n=3, cutoff=0.5)


def _instead(name: str, known: Iterable[str]) -> str:
    close = nearest(name, known)
    return f"Did you mean {close[0]}?" if close else f"There are: {', '.join(sorted(known))}"
