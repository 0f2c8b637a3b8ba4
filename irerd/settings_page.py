"""Writes what people read about the configuration from the struct itself: docs/configuration.md and systemd/irerd.toml.

`python -m irerd.settings_page` writes both; with `--check` it writes nothing and fails when one is out of date. It is a
program of the repository, never run by the daemon.
"""

import re
import sys
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec

from core.fields import patterns
from core.settings import LIVE, Member, Settings
from irerd.config import dotted, toml

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "configuration.md"
SHIPPED = ROOT / "systemd" / "irerd.toml"

EXAMPLES: dict[tuple[str, ...], str] = {
    ("access", "roles"): '{ sensor = { members = ["uid:1007"], allow = ["system.ping", "system.info"] } }',
    ("access", "deny"): '{ "uid:1001" = ["resource.scale"] }',
    ("jobs", "roots"): '{ documents = "/srv/documents" }',
}
"""Shown where the default is an empty table, which would teach nobody its form."""

SHIPPED_VALUES: dict[tuple[str, ...], str] = {("access", "operator"): '["group:irer"]'}
"""The few keys that the shipped file sets: who may connect may also operate."""

INTRODUCTION = """\
# Configuration

One TOML file, `/etc/irer/irerd.toml` unless `--config FILE` names another, then flags. Without a file every key has the default
below. An unknown key, a wrong type or a value out of bounds is an error that names the file, the line and the nearest key:
`irerd` exits with 78, and a reload changes nothing. The daemon never writes the file.

* `irerd --check-config` prints every value in force, each with its origin (`default`, `flag` or `FILE:LINE`).
* `irerctl reload` reads the file again and answers, by key, what was applied, what is unchanged and what needs a restart.
* `systemd/irerd.toml` is the same list as a commented file; install it as `/etc/irer/irerd.toml`.

This page is made from `core/settings.py` by `make api`.
"""

SHIPPED_HEAD = """\
# The configuration of irerd. Every key stands here with its default: take the # away from a line and change it.
#
# irerd --check-config    what is in force, and where each value comes from
# irerctl reload          apply a change; it says by key what was applied and what needs a restart
#
# Made from core/settings.py by `make api`; docs/configuration.md is the same list as a page.
"""


class Section:
    """One struct of the settings, with what its docstring says."""

    def __init__(self, kind: type[msgspec.Struct], place: tuple[str, ...], about: str = "") -> None:
        self.kind = kind
        self.place = place
        first, _, rest = (kind.__doc__ or "").strip().partition("\n")
        self.about = about or first
        self.meanings = dict(re.findall(r"^\s*(\w+): (.+)$", rest, re.MULTILINE))
        self.types = get_type_hints(kind, include_extras=True)
        missing = set(kind.__struct_fields__) - set(self.meanings)
        if missing:
            raise SystemExit(f"core/settings.py: {kind.__name__} does not say what {', '.join(sorted(missing))} means")

    def defaults(self) -> list[tuple[str, Any]]:
        plain = self.kind()
        return [(name, getattr(plain, name)) for name in self.kind.__struct_fields__]

    def inner(self) -> list["Section"]:
        """Deeper sections, which may share a struct: then only the key above tells them apart."""
        found = [(name, type(value)) for name, value in self.defaults() if isinstance(value, msgspec.Struct)]
        kinds = [kind for _, kind in found]
        return [
            Section(kind, (*self.place, name), _sentence(self.meanings[name]) if kinds.count(kind) > 1 else "")
            for name, kind in found
        ]

    def keys(self) -> list[tuple[str, Any]]:
        return [(name, value) for name, value in self.defaults() if not isinstance(value, msgspec.Struct)]

    def every(self) -> list["Section"]:
        """This section and all below it, in the order of the struct."""
        return [self, *(deeper for section in self.inner() for deeper in section.every())]


def page() -> str:
    parts = [INTRODUCTION]
    for section in Section(Settings, ()).every():
        if not section.keys():
            continue
        heading = f"`[{dotted(section.place)}]`" if section.place else "At the top of the file"
        parts += [
            f"\n## {heading}\n",
            f"\n{section.about} {_reload(section)}\n\n",
            "| key | default | accepts | meaning |\n|---|---|---|---|\n",
        ]
        for name, value in section.keys():
            cells = [f"`{name}`", f"`{toml(value)}`", _accepts(section.types[name]), section.meanings[name]]
            parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
            example = EXAMPLES.get((*section.place, name))
            if example:
                parts[-1] = parts[-1].removesuffix(" |\n") + f"; for example `{name} = {example}` |\n"
    return "".join(parts)


def shipped() -> str:
    parts = [SHIPPED_HEAD]
    for section in Section(Settings, ()).every():
        if not section.keys():
            continue
        if section.place:
            parts.append(f"\n[{dotted(section.place)}]\n# {section.about} {_reload(section)}\n")
        else:
            parts.append("\n")
        for name, value in section.keys():
            parts.append(_line(section, name, value))
    return "".join(parts)


def _line(section: Section, name: str, value: Any) -> str:
    place = (*section.place, name)
    if not section.place:
        return f"{name} = {toml(value)}  # {section.meanings[name]}\n"
    if place in SHIPPED_VALUES:
        return f"{name} = {SHIPPED_VALUES[place]}  # {section.meanings[name]}\n"
    return f"#{name} = {EXAMPLES.get(place, toml(value))}  # {section.meanings[name]}\n"


def _sentence(meaning: str) -> str:
    return f"{meaning[0].upper()}{meaning[1:]}."


def _reload(section: Section) -> str:
    return "A reload applies a change." if section.place and section.place[0] in LIVE else "A change needs a restart."


def _accepts(kind: Any) -> str:
    bare, *metas = get_args(kind) if get_origin(kind) is Annotated else (kind,)
    if get_origin(bare) is list:
        inner = get_args(bare)[0]
        return 'members, such as `"group:irer"` or `"uid:1001"`' if inner == Member else f"a list: {_accepts(inner)}"
    if get_origin(bare) is dict:
        return "a table"
    if said := next(iter(patterns(kind).values()), None):
        return said
    words = {int: "whole number", float: "number", str: "text", bool: "true or false"}[bare]
    return next((f"{words} {bounds}" for meta in metas if (bounds := _bounds(meta))), words)


def _bounds(meta: msgspec.Meta) -> str:
    low = f"from {meta.ge}" if meta.ge is not None else f"above {meta.gt}" if meta.gt is not None else ""
    high = f"up to {meta.le}" if meta.le is not None else f"below {meta.lt}" if meta.lt is not None else ""
    return f"{low} {high}".strip()


def main(arguments: list[str]) -> int:
    stale = 0
    for path, text in ((PAGE, page()), (SHIPPED, shipped())):
        if path.exists() and path.read_text() == text:
            continue
        if "--check" in arguments:
            print(f"{path.relative_to(ROOT)} is out of date. Run: make api", file=sys.stderr)
            stale = 1
        else:
            path.write_text(text)
            print(f"wrote {path.relative_to(ROOT)}")
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
