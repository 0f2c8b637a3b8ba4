"""The catalogue: every method the engines' tables declare, findable by name and describable as plain data.

Everything others read about irer's methods (documents, CLI help, permissions, the schema hash in every welcome) comes from
here, and this comes from the rows. It decides nothing and calls no row. The daemon imports it before it can answer, so
importing it must stay cheap; the description is worked out at first use and kept.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

from core import canonical
from core.compatibility import compatible
from core.engine import Engine, Event, Refused, Row
from core.schemas import JsonSchema, Names, schema
from core.wire.errors import CODES

__all__ = ["PROTO", "Catalogue", "compatible"]

PROTO = 1
"""The version of the envelope; the rows have versions of their own (`since`)."""

NAME_CHARS_MAX = 64
_NEAREST_MAX = 3
_NAME = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*\Z")


class Catalogue:
    def __init__(self, engines: Sequence[Engine]) -> None:
        self.engines = tuple(engines)
        self.rows: dict[str, Row] = {}
        """Every method a caller may name, in the order of the tables."""
        self.engine_of: dict[str, Engine] = {}
        for engine in self.engines:
            for row in engine.rows:
                if row.kind != "internal":
                    self._add(engine, row)
        self._document: dict[str, Any] | None = None
        self._hash: str | None = None

    def _add(self, engine: Engine, row: Row) -> None:
        if row.name in self.rows:
            raise ValueError(f"two rows are named {row.name}")
        self.rows[row.name] = row
        self.engine_of[row.name] = engine

    def find(self, name: str) -> Row:
        row = self.rows.get(name)
        if row is None:
            raise self._unknown(name)
        return row

    def _unknown(self, name: str) -> Refused:
        """Says what the caller may have meant. Only a name that could be one is compared: a stranger's text costs no time."""
        if len(name) > NAME_CHARS_MAX or not _NAME.match(name):
            return Refused("not-found", f"unknown method {name[:NAME_CHARS_MAX]!r}. All: irerctl api ls")
        from difflib import get_close_matches

        nearest = get_close_matches(name, self.rows, _NEAREST_MAX)
        meant = f" Did you mean {nearest[0]}?" if nearest else ""
        return Refused("not-found", f"unknown method {name}.{meant} All: irerctl api ls", data={"nearest": nearest})

    def events(self) -> dict[str, tuple[Engine, type[Event]]]:
        """Every event type an engine can write, those of its own internal commands too."""
        return {event.event_type: (engine, event) for engine in self.engines for event in engine.applies}

    def describe(self) -> list[dict[str, Any]]:
        """Every method with its schemas and those of its events, as `system.describe` answers."""
        document = self.document()
        known = document["events"]
        return [{**method, "events": {name: known[name]["schema"] for name in method["events"]}} for method in document["methods"]]

    def document(self) -> dict[str, Any]:
        """All that other people's programs can depend on, as JSON-able data: what is published, hashed and compared."""
        if self._document is None:
            self._document = self._written()
        return self._document

    def schema_hash(self) -> str:
        """SHA-256 of the document's canonical JSON: two daemons with the same hash speak of the same methods."""
        if self._hash is None:
            self._hash = hashlib.sha256(canonical.encode(self.document())).hexdigest()
        return self._hash

    def _written(self) -> dict[str, Any]:
        names = Names()
        return {
            "proto": PROTO,
            "methods": [self._method(row, names) for row in self.rows.values()],
            "events": {
                name: {"engine": engine.name, "log": engine.log, "schema": schema(event, names, asks=False)}
                for name, (engine, event) in sorted(self.events().items())
            },
            "errors": {code: {"http": entry.http, "exit": entry.exit, "title": entry.title} for code, entry in CODES.items()},
        }

    def _method(self, row: Row, names: Names) -> dict[str, Any]:
        return {
            "name": row.name,
            "engine": self.engine_of[row.name].name,
            "kind": row.kind,
            "help": row.help,
            "needs": row.needs,
            "streams": row.streams,
            "params": schema(row.params, names, asks=True),
            "result": _answer(row.result, names),
            "item": _answer(row.item, names),
            "events": sorted(event.event_type for event in row.apply),
            "example": dict(row.example),
            "cli": row.cli,
            "deadline_ms": row.deadline_ms,
            "shown_once": row.shown_once,
            "since": row.since,
            "deprecated": row.deprecated,
        }


def _answer(annotation: Any, names: Names) -> JsonSchema | None:
    return None if annotation is None else schema(annotation, names, asks=False)
