"""How the fields of a method are typed on a command line: its arguments, its options, and what their values are read from.

Only the form of a value is judged here, the value itself by the daemon. Must never take a secret from a command line, where
other users of the machine can read it.
"""

import json
import sys
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn, get_args, get_origin, get_type_hints

import click
import msgspec
from msgspec import inspect

from irerctl.live import Complete
from irerctl.session import Failure

STANDARD_INPUT = ("-", "@-")


class Shape(NamedTuple):
    """How one field is typed on a command line."""

    type: click.ParamType[Any]
    many: bool = False
    metavar: str | None = None


class _Null:
    """A null that was typed, which is not the same as nothing typed."""


NULL = _Null()


class NotJson(ValueError):
    """A text that is no JSON value, or one with two meanings. It says what is wrong, in words that go after `the parameters`."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A key that stands twice in one object: either value would be a guess."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise NotJson(f"give {json.dumps(key)} twice; which one is meant?")
        found[key] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise NotJson(f"have {name}, which JSON does not know")


def json_of(text: str) -> Any:
    """The one JSON value that a text holds. Raises NotJson."""
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except NotJson:
        raise
    except RecursionError:
        raise NotJson("are nested too deeply") from None
    except ValueError as problem:
        raise NotJson(f"are not JSON: {problem}") from None


class JsonText(click.ParamType[Any]):
    """A JSON value, written out or in a file: `'{"name": "verify_log"}'`, `@FILE`, `-` for standard input."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        text = from_file(value)
        try:
            found = json_of(text)
            return NULL if found is None else found
        except NotJson as problem:
            plain = text == value and not text.startswith(("{", "[", '"'))
            hint = f". A text stands in double quotes: '{json.dumps(text)}'" if plain and text.isprintable() else ""
            self.fail(f"its contents {problem}{hint}", param, ctx)


class SecretText(click.ParamType[str]):
    """A secret, which never stands on a command line: other users can read those."""

    name = "secret"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in STANDARD_INPUT and not str(value).startswith("@"):
            self.fail(
                "a secret never stands on the command line. Write it to a file and say @FILE, or pipe it in and say -", param, ctx
            )
        found = from_file(value).strip()
        if not found:
            self.fail("there is nothing in it", param, ctx)
        return found


def from_file(text: str) -> str:
    """The text itself, or with `@FILE` what the file holds; `-` is standard input."""
    try:
        if text in STANDARD_INPUT:
            return sys.stdin.read()
        if text.startswith("@"):
            return Path(text[1:]).read_text("utf-8")
    except OSError as problem:
        raise Failure(
            "not-found", f"cannot read {text[1:]}: {problem.strerror}", "Give the name of a file that is there"
        ) from problem
    except UnicodeDecodeError:
        raise Failure("invalid-argument", f"{text} holds bytes that are not UTF-8 text", "Give a file of text") from None
    return text


def field_types(struct: type[msgspec.Struct]) -> dict[str, inspect.Type]:
    described = inspect.type_info(struct)
    assert isinstance(described, inspect.StructType)
    return {field.encode_name: field.type for field in described.fields}


def ordered(struct: type, field: str, shape: "Shape") -> "Shape":
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


def identifier(field: str) -> str:
    return f"field_{field}"


def argument(field: str, shape: "Shape", needed: bool, complete: Complete | None = None) -> click.Argument:
    metavar = field.upper() if needed else f"[{field.upper()}]"
    return click.Argument(
        [identifier(field)],
        type=shape.type,
        required=needed,
        nargs=-1 if shape.many else 1,
        shell_complete=complete if shape.type is click.STRING else None,
        metavar=metavar + ("..." if shape.many else ""),
    )


def option(field: str, shape: "Shape", needed: bool, meaning: str, complete: Complete | None = None) -> click.Option:
    flag = "--" + field.replace("_", "-")
    spelled = f"{flag}/--no-{flag[2:]}" if shape.type is click.BOOL else flag
    return click.Option(
        [spelled, identifier(field)],
        type=shape.type,
        required=needed,
        default=None,
        multiple=shape.many,
        shell_complete=complete if shape.type is click.STRING else None,
        help=(meaning[:1].upper() + meaning[1:] + "." if meaning else None),
        metavar=shape.metavar,
    )


def collected(shape: Shape, values: Any) -> Any:
    """What was said for a field that takes many: of JSON values each may be one of them or a whole list."""
    if not isinstance(values, tuple):
        return values
    if not isinstance(shape.type, JsonText):
        return list(values)
    return [each for value in values for each in (value if isinstance(value, list) else [value])]


def plain(kind: inspect.Type | None) -> inspect.Type | None:
    """A type without what is noted about it."""
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    return kind


def is_secret(kind: inspect.Type) -> bool:
    while isinstance(kind, inspect.Metadata):
        if (kind.extra or {}).get("privacy") == "secret":
            return True
        kind = kind.type
    return False


def shape_of(kind: inspect.Type) -> Shape:
    """The option a field's type calls for. What has no simple form is written as JSON."""
    if is_secret(kind):
        return Shape(SecretText(), metavar="@FILE")
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    match kind:
        case inspect.UnionType():
            real = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
            choices = [each for each in real if isinstance(each, inspect.LiteralType)]
            if choices and len(choices) == len(real):
                return Shape(click.Choice([str(value) for each in choices for value in each.values]))
            return shape_of(real[0]) if len(real) == 1 else Shape(JsonText(), metavar="JSON")
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
            inner = shape_of(item)
            return Shape(JsonText(), metavar="JSON") if inner.many else inner._replace(many=True)
    return Shape(JsonText(), metavar="JSON")
