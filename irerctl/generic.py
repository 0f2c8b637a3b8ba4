"""Commands made from the rows of the catalogue: what nobody drew by hand still has a command, its options and its help.

A row's `cli` says how it is spelled: `engine scale POOL SIZE` is the command `scale` of the group `engine`, with the fields
`pool` and `size` as arguments, in this order; every other field is an option. `[NAME]` may be left out. `control flags set` is
one group deeper, `metrics --prom` an option of its group. Values are judged by the daemon, not here: only their form is.

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
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import msgspec
from msgspec import inspect

from core.catalogue import Catalogue
from core.engine import Row
from core.engines import ENGINES
from core.fields import takes_secret
from core.schemas import words
from irerctl import fields, live, render
from irerctl.commands import COMMANDS
from irerctl.paging import is_list, pages, whole
from irerctl.session import Command, Group, Session, session
from irerctl.shown_once import Once

if TYPE_CHECKING:
    from irerctl.client import Stream

HAND_MADE = frozenset(name for name, entry in COMMANDS.items() if entry.place)
"""Names whose commands are written by hand, though rows may bear them too."""
ROWS_ON_TERMINAL_MAX = 1_000
"""A list stops here on a terminal, where nobody said how much of it is wanted."""
JUDGEMENTS = frozenset({"actions.check"})
"""Worth something, so they are never told without their record."""
DRY_RUN = "Print the events it would write; write nothing."


class Fixed(NamedTuple):
    """A command that is a method with some of its parameters given."""

    method: str
    params: Mapping[str, Any]
    help: str


FIXED = {
    "cache conflicts": Fixed("cache.conflicts", {}, "Keys that were edited in two places at once"),
    "offline on": Fixed("cache.set_online", {"online": False}, "Work without the far end: what is written waits in the queue"),
    "offline off": Fixed("cache.set_online", {"online": True}, "Go online again: the far end may be talked to"),
}
VERDICTS = {
    "gate.check": "allowed",
    "nav.navigate": "ok",
    "actions.check": "allowed",
    "actions.explain": "allowed",
    "eil.proof": "valid",
    "engines.validate": "valid",
    "sim.validate": "ok",
    "system.check_http_token": "valid",
}
"""Methods that answer a question with yes or no, and the member that says which. No is exit status 1."""


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


class Spelled(NamedTuple):
    """A row as a command: the row, and the parameters that its name gives."""

    row: Row
    fixed: Mapping[str, Any]
    help: str


def rows_of(group: str) -> dict[str, Spelled]:
    """What the commands of one group do, by their names."""
    found = {}
    for row in catalogue().rows.values():
        if row.cli and (spelled := spelling(row.cli)).group == group:
            found[spelled.command] = Spelled(row, {}, row.help)
    for name, fixed in FIXED.items():
        if name.split()[0] == group and fixed.method in catalogue().rows:
            found[" ".join(name.split()[1:])] = Spelled(catalogue().rows[fixed.method], fixed.params, fixed.help)
    return found


def screen(namespace: str) -> ModuleType | None:
    """The module that draws the results of an engine, or of a group of commands, where there is one."""
    name = f"irerctl.screens.{namespace}"
    return import_module(name) if find_spec(name) else None


def drawing(method: str) -> Callable[[Any], None]:
    """How a method's result is drawn: by the screen of its engine, else as a table."""
    for name in (method.partition(".")[0], _engines().get(method, "system")):
        found: Callable[[Any], None] | None = getattr(screen(name), "DRAW", {}).get(method)
        if found:
            return found
    return render.result


@cache
def _engines() -> dict[str, str]:
    """Methods and the engines that have them: `platforms.list` is one of engine control's."""
    return {row.name: engine.name for engine in catalogue().engines for row in engine.rows}


# Groups and commands


def group(name: str, help: str) -> click.Command:
    """The group of that name: a row's own command, or several, with an overview when called alone."""
    return _made(name, rows_of(name), help, screen(name) or _screen_of(rows_of(name)))


def _screen_of(rows: Mapping[str, Spelled]) -> ModuleType | None:
    """The screen that has an overview, of the engines whose rows these are."""
    namespaces = dict.fromkeys(each.row.name.partition(".")[0] for each in rows.values())
    return next((found for each in namespaces if hasattr(found := screen(each), "overview")), None)


def _made(name: str, rows: Mapping[str, Spelled], help: str, drawn_by: ModuleType | None = None) -> click.Command:
    if set(rows) == {""}:
        return command(rows[""].row, name, rows[""])
    inner: dict[str, dict[str, Spelled]] = {}
    flags: dict[str, Spelled] = {}
    for called, spelled in sorted(rows.items()):
        first, _, rest = called.partition(" ")
        if first.startswith("--"):
            flags[first] = spelled
        elif first:
            inner.setdefault(first, {})[rest] = spelled
    made = Rows(name, help, rows.get(""), flags, drawn_by)
    for first, below in inner.items():
        said = below[""].help if "" in below else ", ".join(sorted(below))
        made.add_command(_made(first, below, said))
    return made


class Rows(Group):
    """A group made from rows. What is not the name of one of its commands is meant for its own row, if it has one."""

    def __init__(
        self, name: str, help: str, own: Spelled | None, flags: Mapping[str, Spelled], drawn_by: ModuleType | None
    ) -> None:
        overview: Callable[[Session], None] | None = getattr(drawn_by, "overview", None)
        watched: str | None = getattr(drawn_by, "WATCHED", None)
        switches = [click.Option([flag], is_flag=True, help=f"{each.help}.") for flag, each in flags.items()]
        if watched:
            switches.append(click.Option(["--watch"], is_flag=True, help="Then follow what happens there, as it happens."))
        takes = own is not None and bool(field_names(own.row))
        alone = "Alone it gives an overview." if overview or (own is not None and not takes) else None
        super().__init__(
            name,
            help=help,
            short_help=help,
            params=switches,
            epilog=alone,
            invoke_without_command=True,
            callback=self._alone,
        )
        self.own = command(own.row, name, own) if own is not None and takes else None
        self._own_row, self._flags, self._overview, self._watched = own, flags, overview, watched

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if self.own is not None:
            place = _first_meant(args)
            if place < len(args) and not self._knows(ctx, args[place]):
                args = [*args[:place], OWN, *args[place:]]
        return super().parse_args(ctx, args)

    def _knows(self, ctx: click.Context, word: str) -> bool:
        mine = {option for param in self.params for option in param.opts} - COMMON
        return word in self.commands or word.partition("=")[0] in mine | {*ctx.help_option_names}

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return self.own if name == OWN else super().get_command(ctx, name)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] == OWN:
            return OWN, self.own, args[1:]
        if args[0] not in self.commands and not args[0].startswith("-"):
            raise click.UsageError(f"no command {render.clean(args[0])!r} in {ctx.command_path}.{self._nearest(args[0])}", ctx)
        return super().resolve_command(ctx, args)

    def _nearest(self, name: str) -> str:
        from difflib import get_close_matches

        close = get_close_matches(name, self.commands, n=1)
        return f" Did you mean {close[0]}?" if close else ""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.own is not None and self._own_row is not None:
            lines = [found for param in self.own.params if (found := param.get_help_record(ctx)) is not None]
            with formatter.section(f"{self._own_row.row.help} ({self._own_row.row.name})"):
                formatter.write_dl(lines)
        super().format_options(ctx, formatter)

    def _alone(self, **given: Any) -> Any:
        ctx = click.get_current_context()
        if ctx.invoked_subcommand is not None:
            return None
        for flag, spelled in self._flags.items():
            if given.get(flag.strip("-").replace("-", "_")):
                return _call(session(), spelled.row, {})
        if self._overview is not None:
            now = session()
            if not given.get("watch") or now.output == "table":
                self._overview(now)
            if given.get("watch") and self._watched:
                from irerctl.call import follow

                follow(now, {"engine": self._watched})
            return None
        if self._own_row is not None:
            own = command(self._own_row.row, "", self._own_row)
            with own.make_context(ctx.info_name, [], parent=ctx.parent) as inner:
                return own.invoke(inner)
        click.echo(ctx.get_help())
        return None


OWN = "\0"
"""Stands for the group's own row among the words of a command line. Nobody can type it."""
COMMON = frozenset({"-H", "--host", "-o", "--output", "--socket", "--timeout"})


def _first_meant(args: list[str]) -> int:
    """The place of the first word that is not one of the options which every command takes."""
    place = 0
    while place < len(args):
        word = args[place]
        if word in COMMON:
            place += 2
        elif word.partition("=")[0] in COMMON or (word.startswith(("-o", "-H")) and word[2:3] not in ("", "-")):
            place += 1
        else:
            break
    return place


def field_names(row: Row) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(row.params)]


def command(row: Row, name: str, spelled: Spelled | None = None) -> Command:
    """One row as a command."""
    fixed = dict(spelled.fixed) if spelled is not None else {}
    known = {field.encode_name: field for field in msgspec.structs.fields(row.params) if field.encode_name not in fixed}
    shapes = {
        field: fields.ordered(row.params, field, fields.shape_of(kind)) for field, kind in fields.field_types(row.params).items()
    }
    documents, space = words(row.params).fields, row.name.partition(".")[0]
    arguments = [(field, needed) for field, needed in spelling(row.cli).arguments if field in known] if row.cli else []
    params: list[click.Parameter] = [
        fields.argument(field, shapes[field], needed, live.names(field, space)) for field, needed in arguments
    ]
    given = {field for field, _ in arguments}
    params += [
        fields.option(name, shapes[name], field.required, documents.get(name, ""), live.names(name, space))
        for name, field in known.items()
        if name not in given
    ]
    params += _about_the_call(row)
    runs = _stream if row.streams else _call

    def callback(**values: Any) -> Any:
        return runs(session(), row, {**values, **{fields.identifier(name): value for name, value in fixed.items()}})

    help = spelled.help if spelled is not None else row.help
    return Command(name, params=params, callback=callback, help=_help(row, help, documents, arguments), short_help=help)


def is_tried(row: Row) -> bool:
    """Whether irerd would say what a write led to without doing it: never what it thinks of a secret, and no judgement."""
    return row.name not in JUDGEMENTS and not takes_secret(row.params)


def _about_the_call(row: Row) -> list[click.Parameter]:
    params: list[click.Parameter] = []
    if row.shown_once:
        params.append(
            click.Option(["--out"], metavar="FILE", help="Write the secret to this file, for nobody else to read; do not print it.")
        )
    if begins_job(row):
        params.append(click.Option(["--wait/--no-wait"], default=None, help="Follow it to its end; for people that is the rule."))
    if row.kind == "write":
        params += [
            click.Option(["--receipt"], is_flag=True, help="Also print where in the log it stands."),
            *([click.Option(["--dry-run"], is_flag=True, help=DRY_RUN)] if is_tried(row) else []),
            click.Option(["--idem"], metavar="KEY", help="Idempotency key: the same key does it only once."),
        ]
    return params


def _help(row: Row, help: str, documents: Mapping[str, str], arguments: list[tuple[str, bool]]) -> str:
    lines = [help + ".", f"Method {row.name}; permission {row.needs}."]
    told = [f"{name.upper()}: {documents[name]}" for name, _ in arguments if documents.get(name)]
    return "\n\n".join(lines[:1] + (["\b\n" + "\n".join(told)] if told else []) + lines[1:])


def _call(now: Session, row: Row, values: dict[str, Any]) -> int | None:
    writes = row.kind == "write"
    receipt, dry, idem, out = (values.pop(name, None) for name in ("receipt", "dry_run", "idem", "out"))
    wait = values.pop("wait", None)
    params = sent(row, values)
    if is_list(row):
        _list(now, row, params)
        return None
    with Once(row, None if dry else out) as once:
        reply = now.call(row.name, params, dry=bool(dry), **({"idem": idem} if idem else {}))
        result = reply.result if dry else once.keep(reply.result)
    if dry:
        now.show(result, _draw_dry)
        return None
    if begins_job(row) and (now.output == "table" if wait is None else wait):
        return _follow_job(now, row, result, reply.receipt)
    if writes and now.output != "table":
        now.show({"result": result, "receipt": reply.receipt})
    else:
        now.show(result, once.draw if row.shown_once else drawing(row.name))
        if receipt and reply.receipt:
            render.pairs({name: render.word(value) for name, value in reply.receipt.items()})
    if row.shown_once and out is None and render.unread():
        render.note("irerctl: nobody read it, and it is not shown again. End it, and make another")
    return said_no(row, result)


def begins_job(row: Row) -> bool:
    """Whether a write only begins what it asks for, and answers with the id of a job that goes on by itself."""
    if row.kind != "write" or not (isinstance(row.result, type) and issubclass(row.result, msgspec.Struct)):
        return False
    return isinstance(fields.plain(fields.field_types(row.result).get("job")), inspect.StrType)


def _follow_job(now: Session, row: Row, begun: Mapping[str, Any], receipt: Any) -> int | None:
    """Until a job ends: how far it is on a terminal, then what it came to. Whoever stops looking does not stop the job."""
    last: Mapping[str, Any] = {}
    with now.stream("system.op_watch", {"job": begun["job"]}) as items:
        for last in items:
            if render.terminal(sys.stderr) and last.get("progress"):
                render.transient(f"{row.name}: {render.fields(last['progress'])}")
        if isinstance(items.result, Mapping):
            last = items.result
    if render.terminal(sys.stderr):
        render.transient("")
    now.show({"result": begun, "receipt": receipt, "job": last}, lambda _: _draw_job(last))
    return None if last.get("ok") else 1


def _draw_job(last: Mapping[str, Any]) -> None:
    method = str(last.get("method", ""))
    drawn = getattr(screen(method.partition(".")[0]), "DRAW_JOB", {}).get(method)
    if drawn and last.get("result"):
        drawn(last)
        return
    ended = render.verdict("ok", "done") if last.get("ok") else render.verdict("failed", str(last.get("code") or last.get("state")))
    render.say(f"{render.clean(str(last.get('method', 'it')))}: {ended}  {render.fields(last.get('result') or {})}".rstrip())
    if last.get("detail"):
        render.say(render.clean(str(last["detail"])))


def said_no(row: Row, result: Any) -> int | None:
    """Exit status 1 for a question that was answered with no."""
    member = VERDICTS.get(row.name)
    return 1 if member and isinstance(result, Mapping) and result.get(member) is False else None


def _list(now: Session, row: Row, params: dict[str, Any]) -> None:
    """A list, page after page by itself: all of it, or as much as was asked for."""
    most = params.get("limit")
    with now.connect() as client, render.Waiting(f"waiting for {row.name}"):
        found = pages(lambda more: client.call(row.name, more).result, params)
        if now.output != "jsonl":
            shown_max = ROWS_ON_TERMINAL_MAX if now.output == "table" and render.terminal() and most is None else None
            result = whole(found, shown_max)
        else:
            with render.ItemWriter("jsonl") as writer:
                for page in found:
                    for item in render.items_of(page):
                        writer.write(item)
            return
    now.show(result, drawing(row.name))


def _draw_dry(found: Mapping[str, Any]) -> None:
    events = found.get("events") or ()
    for event in events:
        render.say(f"would write {render.clean(str(event['type']))}  {render.fields(event['data'])}".rstrip())
    if not events:
        render.say("would change nothing")


def _stream(now: Session, row: Row, values: dict[str, Any]) -> None:
    with now.stream(row.name, sent(row, values)) as items:
        if now.output == "table":
            if {field.encode_name for field in msgspec.structs.fields(row.item)} == {"text"}:
                _document(items)
                return
            for item in items:
                render.say(render.cut(render.word(item), render.width()))
                render.end_if_unread()
            return
        with render.ItemWriter(now.output) as writer:
            for item in items:
                writer.write(item)


def _document(items: "Stream") -> None:
    """A document that comes in pieces: to the letter for a pipe, and without what a terminal would obey for a person."""
    text = ""
    for item in items:
        text += str(item["text"])
        whole, _, text = text.rpartition("\n") if render.terminal() else (text, "", "")
        if render.terminal():
            for line in whole.split("\n") if whole else ():
                render.say(render.clean(line))
        else:
            click.echo(whole, nl=False, color=True)
        render.end_if_unread()
    if text:
        render.say(render.clean(text))
    after = items.result.get("next") if isinstance(items.result, Mapping) else None
    if after is not None:
        render.note(f"This is one page of it. The next: add --after {render.clean(str(after))}")


def sent(row: Row, values: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters as the method wants them: what was not given is not sent."""
    return {
        name: None if value is fields.NULL else fields.collected(fields.shape_of(kind), value)
        for name, kind in fields.field_types(row.params).items()
        if (value := values.get(fields.identifier(name))) is not None and value != ()
    }


# The table that needs no catalogue


def table() -> dict[str, dict[str, str]]:
    """Groups, their commands and their help, as `irerctl/rows.py` holds them."""
    made: dict[str, dict[str, str]] = {}
    groups = {spelling(row.cli).group for row in catalogue().rows.values() if row.cli}
    for name in groups - HAND_MADE:
        made[name] = {words: spelled.help for words, spelled in rows_of(name).items()}
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
