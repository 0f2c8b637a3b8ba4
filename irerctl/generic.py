"""Commands made from the rows of the catalogue: what nobody drew by hand still has a command, its options and its help.

A row's `cli` says how it is spelled: `engine scale POOL SIZE` is the command `scale` of the group `engine`, with the fields
`pool` and `size` as arguments, in this order; every other field is an option. `[NAME]` may be left out. Values are judged by
the daemon, not here: only their form is.

`python -m irerctl.generic` writes `irerctl/rows.py`, the table that `irerctl --help` and completion read instead of the
catalogue; `--check` compares.
"""

import json
import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import click
import msgspec
from msgspec import inspect

from core.catalogue import Catalogue
from core.engine import Row
from core.engines import ENGINES
from core.schemas import words
from irerctl import render
from irerctl.commands import COMMANDS
from irerctl.session import Command, Failure, Group, Session, session

HAND_MADE = frozenset(name for name, entry in COMMANDS.items() if entry.place)
"""Names whose commands are written by hand, though rows may bear them too."""


class Spelling(NamedTuple):
    """A row's `cli`, taken apart."""

    group: str
    command: str
    """Empty for what the group does by itself."""
    arguments: list[tuple[str, bool]]
    """Field names in order, and whether each must be given."""


def spelling(cli: str) -> Spelling:
    words = cli.split()
    names = [each for each in words if each.islower()]
    shown = words[len(names) :]
    arguments = [(each.strip("[].").lower(), not each.startswith("[")) for each in shown]
    return Spelling(names[0], " ".join(names[1:]), arguments)


@cache
def catalogue() -> Catalogue:
    """Every method this program was installed with."""
    return Catalogue(ENGINES)


def rows_of(group: str) -> dict[str, Row]:
    """The rows of one group, by command."""
    found = {}
    for row in catalogue().rows.values():
        if row.cli and (spelled := spelling(row.cli)).group == group:
            found[spelled.command] = row
    return found


def screen(namespace: str) -> ModuleType | None:
    """The module that draws an engine's results, where there is one."""
    name = f"irerctl.screens.{namespace}"
    return import_module(name) if find_spec(name) else None


def drawing(method: str) -> Callable[[Any], None]:
    """How a method's result is drawn: by its engine's screen, else as a table."""
    module = screen(method.partition(".")[0])
    found = getattr(module, "DRAW", {}).get(method)
    return found or render.result


# Groups and commands


def group(name: str, help: str) -> click.Command:
    """The group of that name: a row's own command, or several, with the engine's overview when called alone."""
    rows = rows_of(name)
    if set(rows) == {""}:
        return command(rows[""], name)
    epilog = "Alone it gives an overview." if "" in rows else None
    made = Group(name, help=help, short_help=help, epilog=epilog, invoke_without_command=True, callback=_alone(rows))
    for each, row in sorted(rows.items()):
        if each:
            made.add_command(command(row, each))
    return made


def _alone(rows: Mapping[str, Row]) -> Callable[[], None]:
    def alone() -> None:
        ctx = click.get_current_context()
        if ctx.invoked_subcommand is not None:
            return
        for namespace in dict.fromkeys(row.name.partition(".")[0] for row in rows.values()):
            overview = getattr(screen(namespace), "overview", None)
            if overview:
                overview(session())
                return
        if "" in rows:
            ctx.invoke(command(rows[""], ""))
            return
        click.echo(ctx.get_help())

    return alone


def command(row: Row, name: str) -> Command:
    """One row as a command."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(row.params)}
    shapes = {field: _ordered(row.params, field, _shape(kind)) for field, kind in _field_types(row.params).items()}
    documents = words(row.params).fields
    arguments = [(field, needed) for field, needed in spelling(row.cli).arguments if field in fields]
    params: list[click.Parameter] = [_argument(field, shapes[field], needed) for field, needed in arguments]
    given = {field for field, _ in arguments}
    params += [
        _option(name, shapes[name], field.required, documents.get(name, "")) for name, field in fields.items() if name not in given
    ]
    if row.kind == "write":
        params += [
            click.Option(["--receipt"], is_flag=True, help="Also print where in the log it stands."),
            click.Option(["--dry-run"], is_flag=True, help="Print the events it would write; write nothing."),
            click.Option(["--idem"], metavar="KEY", help="Idempotency key: the same key does it only once."),
        ]
    runs = _stream if row.streams else _call

    def callback(**values: Any) -> None:
        runs(session(), row, values)

    return Command(name, params=params, callback=callback, help=_help(row, documents, arguments), short_help=row.help)


def _help(row: Row, documents: Mapping[str, str], arguments: list[tuple[str, bool]]) -> str:
    lines = [row.help + ".", f"Method {row.name}; permission {row.needs}."]
    told = [f"{name.upper()}: {documents[name]}" for name, _ in arguments if documents.get(name)]
    return "\n\n".join(lines[:1] + (["\b\n" + "\n".join(told)] if told else []) + lines[1:])


def _call(now: Session, row: Row, values: dict[str, Any]) -> None:
    writes = row.kind == "write"
    receipt, dry, idem = (values.pop(name, None) for name in ("receipt", "dry_run", "idem"))
    reply = now.call(row.name, sent(row, values), dry=bool(dry), **({"idem": idem} if idem else {}))
    if dry:
        now.show(reply.result, _draw_dry)
    elif writes and now.output != "table":
        now.show({"result": reply.result, "receipt": reply.receipt})
    else:
        now.show(reply.result, drawing(row.name))
        if receipt and reply.receipt:
            stands = {name: render.word(value) for name, value in reply.receipt.items()}
            render.pairs(stands)


def _draw_dry(found: Mapping[str, Any]) -> None:
    events = found.get("events") or ()
    for event in events:
        render.say(f"would write {render.clean(str(event['type']))}  {render.fields(event['data'])}".rstrip())
    if not events:
        render.say("would change nothing")


def _stream(now: Session, row: Row, values: dict[str, Any]) -> None:
    with now.stream(row.name, sent(row, values)) as items:
        if now.output == "table":
            for item in items:
                render.say(render.cut(render.word(item), render.width()))
            return
        with render.ItemWriter(now.output) as writer:
            for item in items:
                writer.write(item)


def sent(row: Row, values: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters as the method wants them: what was not given is not sent."""
    kinds = _field_types(row.params)
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name in kinds
        if (value := values.get(_identifier(name))) is not None and value != ()
    }


# Fields


def _field_types(struct: type[msgspec.Struct]) -> dict[str, inspect.Type]:
    described = inspect.type_info(struct)
    assert isinstance(described, inspect.StructType)
    return {field.encode_name: field.type for field in described.fields}


def _ordered(struct: type, field: str, shape: "Shape") -> "Shape":
    """Choices as their type lists them: inspection sorts them, but `low` comes after `normal`."""
    if not isinstance(shape.type, click.Choice):
        return shape
    waiting, written = [get_type_hints(struct, include_extras=True)[field]], list[Any]()
    while waiting:
        hint = waiting.pop()
        if get_origin(hint) is Literal:
            written += get_args(hint)
        else:
            waiting += get_args(hint)
    return shape._replace(type=click.Choice([choice for choice in written if choice in shape.type.choices]))


def _identifier(field: str) -> str:
    return f"field_{field}"


def _argument(field: str, shape: "Shape", needed: bool) -> click.Argument:
    metavar = field.upper() if needed else f"[{field.upper()}]"
    return click.Argument(
        [_identifier(field)],
        type=shape.type,
        required=needed,
        nargs=-1 if shape.many else 1,
        metavar=metavar + ("..." if shape.many else ""),
    )


def _option(field: str, shape: "Shape", needed: bool, meaning: str) -> click.Option:
    flag = "--" + field.replace("_", "-")
    spelled = f"{flag}/--no-{flag[2:]}" if shape.type is click.BOOL else flag
    return click.Option(
        [spelled, _identifier(field)],
        type=shape.type,
        required=needed,
        default=None,
        multiple=shape.many,
        help=(meaning[:1].upper() + meaning[1:] + "." if meaning else None),
        metavar=shape.metavar,
    )


class Shape(NamedTuple):
    """How one field is typed on a command line."""

    type: click.ParamType[Any]
    many: bool = False
    metavar: str | None = None


class JsonText(click.ParamType[Any]):
    """A JSON value, written out or in a file: `'{"name": "verify_log"}'`, `@FILE`."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(from_file(value))
        except ValueError as problem:
            self.fail(f"this is not JSON: {problem}", param, ctx)


class SecretText(click.ParamType[str]):
    """A secret, which never stands on a command line: other users can read those."""

    name = "secret"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not str(value).startswith("@"):
            self.fail("a secret never stands on the command line. Write it to a file and say @FILE", param, ctx)
        return from_file(value).strip()


def from_file(text: str) -> str:
    """The text itself, or with `@FILE` what the file holds; `@-` is standard input."""
    if not text.startswith("@"):
        return text
    if text == "@-":
        return sys.stdin.read()
    try:
        return Path(text[1:]).read_text()
    except OSError as problem:
        raise Failure("not-found", f"cannot read {text[1:]}: {problem.strerror}") from problem


def _shape(kind: inspect.Type) -> Shape:
    """The option a field's type calls for. What has no simple form is written as JSON."""
    secret = False
    while isinstance(kind, inspect.Metadata):
        secret = secret or (kind.extra or {}).get("privacy") == "secret"
        kind = kind.type
    if secret:
        return Shape(SecretText(), metavar="@FILE")
    match kind:
        case inspect.UnionType():
            real = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
            return _shape(real[0]) if len(real) == 1 else Shape(JsonText(), metavar="JSON")
        case inspect.BoolType():
            return Shape(click.BOOL)
        case inspect.IntType():
            return Shape(click.INT, metavar="N")
        case inspect.FloatType():
            return Shape(click.FLOAT, metavar="X")
        case inspect.LiteralType(values=values) if all(isinstance(each, str) for each in values):
            return Shape(click.Choice([str(each) for each in values]))
        case inspect.StrType():
            return Shape(click.STRING, metavar="TEXT")
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            inner = _shape(item)
            return Shape(JsonText(), metavar="JSON") if inner.many else inner._replace(many=True)
    return Shape(JsonText(), metavar="JSON")


# The table that needs no catalogue


def table() -> dict[str, dict[str, str]]:
    """Groups, their commands and their help, as `irerctl/rows.py` holds them."""
    made: dict[str, dict[str, str]] = {}
    for row in catalogue().rows.values():
        if row.cli:
            spelled = spelling(row.cli)
            if spelled.group not in HAND_MADE:
                made.setdefault(spelled.group, {})[spelled.command] = row.help
    return {name: dict(sorted(made[name].items())) for name in sorted(made)}


def written() -> str:
    lines = [
        '"""The commands made from rows, with their help. Written by `python -m irerctl.generic`; do not edit."""',
        "",
        "ROWS = {",
    ]
    for name, commands in table().items():
        lines.append(f"    {json.dumps(name)}: {{")
        lines += [f"        {json.dumps(each)}: {json.dumps(help, ensure_ascii=False)}," for each, help in commands.items()]
        lines.append("    },")
    return "\n".join([*lines, "}", ""])


def main() -> None:
    place = Path(__file__).with_name("rows.py")
    if sys.argv[1:] == ["--check"]:
        if place.read_text() != written():
            sys.exit("irerctl/rows.py is not what the rows say. Try: make api")
    else:
        place.write_text(written())


if __name__ == "__main__":
    main()
