"""A secret that a method shows once: printed alone, or written to a file that nobody else may read.

Must never lose it without saying so, and never print one that was to go to a file.
"""

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import msgspec

from core.engine import Row
from irerctl import render
from irerctl.fields import field_types, is_secret
from irerctl.session import Failure


def secrets_of(row: Row) -> list[str]:
    """The members of a method's answer that are secret."""
    if not row.shown_once or not (isinstance(row.result, type) and issubclass(row.result, msgspec.Struct)):
        return []
    return [name for name, kind in field_types(row.result).items() if is_secret(kind)]


class Once:
    """The way of a secret out of an answer. Its file is made before the call, for afterwards it is too late to find out."""

    def __init__(self, row: Row, out: str | None) -> None:
        self.names = secrets_of(row)
        self.out = Path(out) if out else None
        self._made: IO[str] | None = None

    def __enter__(self) -> "Once":
        if self.out is not None:
            try:
                self._made = tempfile.NamedTemporaryFile("w", dir=self.out.parent, prefix=f".{self.out.name}.", delete=False)
            except OSError as problem:
                text = f"cannot write {self.out}: {(problem.strerror or '').lower()}. Nothing was done."
                raise Failure("failed-precondition", text, "Name a file in a directory that you may write to") from problem
        return self

    def keep(self, result: Any) -> Any:
        """The answer as it may be printed: without the secret, where that is in its file now."""
        if self._made is None or self.out is None or not isinstance(result, Mapping):
            return result
        try:
            for name in self.names:
                self._made.write(f"{result[name]}\n")
            self._made.flush()
            os.fsync(self._made.fileno())
            os.replace(self._made.name, self.out)
        except OSError as problem:
            text = (
                f"it was made, but {self.out} could not be written ({(problem.strerror or '').lower()}), and it is not shown again."
            )
            raise Failure("failed-precondition", text, "End it, and make another") from problem
        self._made.close()
        self._made = None
        return {**{name: value for name, value in result.items() if name not in self.names}, "out": str(self.out)}

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._made is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._made.name)
            self._made.close()

    def draw(self, result: Mapping[str, Any]) -> None:
        """The secret alone on stdout, so that it can be piped; what else is known of it on stderr."""
        known = {name: value for name, value in result.items() if name not in self.names and name != "out"}
        for name in self.names:
            if name in result:
                render.say(render.clean(str(result[name])))
        where = f"written to {render.clean(str(result['out']))}" if "out" in result else "not shown again"
        render.note("  ".join([*(f"{name} {render.word(value)}" for name, value in known.items()), where]))
