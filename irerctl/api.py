"""The methods, from the catalogue this program was installed with. Works with no daemon.

What the daemon knows may differ when one of the two was updated: `irerctl version` compares.
"""

import shlex
from typing import Any

import click
from msgspec import inspect

from core.engine import Row
from core.schemas import words as docstring
from irerctl import render
from irerctl.generic import catalogue
from irerctl.live import methods
from irerctl.session import Group, session

HELP = "List and describe every method."
api = Group("api", help=HELP, short_help=HELP)


@api.command_of("ls", "Every method: its kind, the permission it needs, what it does.")
def ls() -> None:
    rows = [_line(row) for _, row in sorted(catalogue().rows.items())]
    session().show(rows, lambda lines: render.table(list(lines[0]), [list(line.values()) for line in lines]))


def _line(row: Row) -> dict[str, str]:
    return {"method": row.name, "kind": "stream" if row.streams else row.kind, "needs": row.needs, "help": row.help}


@api.command_of(
    "show",
    "One method: its parameters, its result, an example.",
    click.Argument(["method"], metavar="METHOD", shell_complete=methods),
)
def show(method: str) -> None:
    row = catalogue().find(method)
    if session().output == "table":
        _page(row)
    else:
        session().show(next(entry for entry in catalogue().describe() if entry["name"] == row.name))


@api.command_of("events", "Every type of event: the engine it is of, the log it stands in, what it says.")
def events() -> None:
    rows = [
        {"event": name, "engine": engine.name, "log": engine.log or "", "help": _sentence(docstring(event).message)}
        for name, (engine, event) in sorted(catalogue().events().items())
    ]
    session().show(rows, lambda lines: render.table(list(lines[0]), [list(line.values()) for line in lines]))


def _sentence(text: str) -> str:
    return text.partition(". ")[0].removesuffix(".")


@api.command_of("cddl", "Every message as CDDL, for other languages and for checkers.")
def cddl() -> None:
    from core import publish

    text = publish.cddl(catalogue())
    session().show({"cddl": text}, lambda _: click.echo(text, nl=not text.endswith("\n")))


@api.command_of("openapi", "Every method as OpenAPI 3.1, as the HTTP gateway serves it.")
def openapi() -> None:
    from core import publish

    render.json_value(publish.openapi(catalogue()))


# One method on one page


def _page(row: Row) -> None:
    render.say(f"{render.paint(row.name, bold=True)}  {_line(row)['kind']}, needs {row.needs}, since {row.since}")
    render.say(row.help + ".")
    _fields("Parameters", row.params)
    if row.item is not None:
        _fields("Each item", row.item)
    if row.result is not None:
        _fields("Result", row.result)
    if row.kind == "write" and row.apply:
        render.say(f"\n{render.paint('Writes', bold=True)}")
        render.say("  " + ", ".join(event.event_type for event in row.apply))
    render.say(f"\n{render.paint('Example', bold=True)}")
    stream = " --stream" if row.streams else ""
    example = f" {shlex.quote(render.dumps(row.example))}" if row.example else ""
    render.say(f"  irerctl call {row.name}{stream}{example}")
    if row.cli:
        render.say(f"  irerctl {row.cli}")


def _fields(title: str, kind: Any) -> None:
    described = inspect.type_info(kind)
    if not isinstance(described, inspect.StructType):
        render.say(f"\n{render.paint(title, bold=True)}\n  {words(described)}")
        return
    if not described.fields:
        render.say(f"\n{render.paint(title, bold=True)}\n  none")
        return
    meanings = docstring(described.cls).fields
    render.say(f"\n{render.paint(title, bold=True)}")
    named = [(field.encode_name + ("" if field.required else "?"), field) for field in described.fields]
    wide = max(len(name) for name, _ in named)
    for name, field in named:
        meaning = meanings.get(field.encode_name, "")
        for line in render.wrapped(words(field.type) + (f": {meaning}" if meaning else ""), f"  {name.ljust(wide)}  "):
            render.say(line)


def words(kind: inspect.Type) -> str:
    """A type in words, with its bounds."""
    match kind:
        case inspect.Metadata():
            return words(kind.type)
        case inspect.UnionType():
            return " or ".join(words(each) for each in kind.types if not isinstance(each, inspect.NoneType))
        case inspect.LiteralType():
            return "|".join(str(value) for value in kind.values)
        case inspect.StrType():
            return "text" + _span(" of {} characters", kind.min_length, kind.max_length)
        case inspect.IntType():
            return "integer" + _span(" {}", kind.ge, kind.le)
        case inspect.FloatType():
            return "number" + _span(" {}", kind.gt if kind.ge is None else kind.ge, kind.le)
        case inspect.BoolType():
            return "true or false"
        case inspect.ListType() | inspect.VarTupleType():
            return f"list of {words(kind.item_type)}"
        case inspect.StructType():
            return "{" + ", ".join(field.encode_name + ("" if field.required else "?") for field in kind.fields) + "}"
    return "object" if isinstance(kind, inspect.DictType) else "any value"


def _span(text: str, low: float | None, high: float | None) -> str:
    """Bounds where they say something: the widest safe integer says nothing."""
    if high is not None and abs(high) >= 2**53 - 1:
        high = None
    if low is not None and abs(low) >= 2**53 - 1:
        low = None
    if low is None and high is None:
        return ""
    return text.format(f"{'' if low is None else f'{low:,.15g}'}..{'' if high is None else f'{high:,.15g}'}")
