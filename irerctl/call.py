"""Two doors to everything: `call` reaches every method, `watch` follows every event."""

import datetime
from typing import Any

import click

from irerctl import render
from irerctl.live import event_types, methods, names
from irerctl.session import Failure, Session, command, session

SECRETS = ("token", "engine_key")
"""Parameters that are secrets, in whatever method they stand. A command line is no place for one: other users read along."""
_SHOWN = "irerctl.call.shown"


class Params(click.ParamType[dict[str, Any]]):
    """A JSON object: written out, `@FILE`, or `-` for standard input. In one that is written out a secret may be one of these."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        from irerctl.fields import STANDARD_INPUT, NotJson, from_file, json_of

        elsewhere = value in STANDARD_INPUT or value.startswith("@")
        try:
            found = json_of(from_file(value))
        except NotJson as problem:
            self.fail(f"the parameters {problem}", param, ctx)
        if not isinstance(found, dict):
            self.fail('the parameters are a JSON object, as in \'{"pool": "compute"}\'', param, ctx)
        return found if elsewhere else self._with_secrets(found, param, ctx)

    def _with_secrets(self, found: dict[str, Any], param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        """The parameters with the secrets that stand elsewhere; those that stand here are remembered, to be told."""
        from irerctl.fields import STANDARD_INPUT, SecretText

        for name in SECRETS:
            text = found.get(name)
            if isinstance(text, str) and (text in STANDARD_INPUT or text.startswith("@")):
                found[name] = SecretText().convert(text, param, ctx)
            elif isinstance(text, str) and ctx is not None:
                ctx.meta[_SHOWN] = name
        return found


@command(
    "call",
    "Call any method and print its result as JSON.",
    click.Argument(["method"], metavar="METHOD", shell_complete=methods),
    click.Argument(["params"], type=Params(), required=False, metavar="[JSON|@FILE|-]"),
    click.Option(["--stream"], is_flag=True, help="Print each item of a streaming method on a line of its own."),
    click.Option(["--receipt"], is_flag=True, help="Print {result, receipt}: also where in the log a write stands."),
    click.Option(["--idem"], metavar="KEY", help="Idempotency key: the same key does it only once."),
    click.Option(["--dry-run"], is_flag=True, help="Print the events a write would cause; write nothing."),
    epilog="irerctl api ls shows every method, irerctl api show METHOD its parameters and an example. Other users can read a "
    'command line: of a secret within the JSON, such as a token, say {"token": "@FILE"}, or "-" for standard input.',
)
def call(method: str, params: dict[str, Any] | None, stream: bool, receipt: bool, idem: str | None, dry_run: bool) -> None:
    now = session()
    if (name := click.get_current_context().meta.get(_SHOWN)) is not None and now.output == "table":
        render.note(
            f'irerctl: {name} stood on the command line, where other users can read it. Next time: \'{{"{name}": "@FILE"}}\''
        )
    if stream:
        with now.stream(method, params) as items, render.ItemWriter("json" if now.output == "json" else "jsonl") as writer:
            for item in items:
                writer.write(item)
            if not writer.count and items.result is not None:
                writer.write(items.result)
        return
    more = {"idem": idem} if idem else {}
    try:
        reply = now.call(method, params, dry=dry_run, **more)
    except Exception as failure:
        if (better := _wants_a_stream(method, failure)) is not None:
            raise better from None
        raise
    value = {"result": reply.result, "receipt": reply.receipt} if receipt else reply.result
    if now.output == "jsonl":
        now.show(value)
    else:
        render.json_value(value)


def _wants_a_stream(method: str, failure: Exception) -> Failure | None:
    """A streaming method that was asked for one answer has none: say how to ask."""
    if getattr(failure, "code", "") != "failed-precondition":
        return None
    from irerctl.generic import catalogue

    row = catalogue().rows.get(method)
    if row is None or not row.streams:
        return None
    return Failure("failed-precondition", f"{method} streams: it has many answers", f"Try: irerctl call {method} --stream")


@command(
    "watch",
    "Follow what happens, as it happens.",
    click.Option(["--engine"], metavar="X", help="Only what this engine does.", shell_complete=names("engine")),
    click.Option(["--type"], metavar="T", help="Only this type of event, as in task.submitted.", shell_complete=event_types),
    click.Option(["--since"], metavar="CURSOR", help="Go on after this place, as -o jsonl shows it."),
    epilog="Ctrl-C ends it. With -o jsonl each event is one object on a line, with its cursor.",
)
def watch(engine: str | None, type: str | None, since: str | None) -> None:
    given = {"engine": engine, "type": type, "since": since}
    follow(session(), {name: value for name, value in given.items() if value})


def follow(now: Session, wanted: dict[str, Any]) -> None:
    """Events as they become durable, a line or an object each, until somebody ends it."""
    with now.stream("system.watch", wanted) as items:
        if now.output == "table":
            for item in items:
                render.say(event_line(item))
                render.end_if_unread()
            return
        with render.ItemWriter(now.output) as writer:
            for item in items:
                writer.write({**item, "cursor": items.cursor})


def event_line(event: dict[str, Any]) -> str:
    """One event on one line: when, what, who, and as many of its fields as fit."""
    when = clock(str(event.get("time", "")))
    kind = render.clean(str(event.get("type", "event")))
    who = render.clean(str(event.get("actor", "")))
    rest = render.fields(event.get("data") or {})
    columns = render.width()
    room = None if columns is None else columns - len(when) - max(len(kind), 18) - max(len(who), 9) - 6
    return f"{when}  {render.paint(kind.ljust(18), bold=True)}  {who.ljust(9)}  {render.cut(rest, room)}".rstrip()


def clock(moment: str) -> str:
    """The time of day where the person is; the whole moment, as it came, for a pipe."""
    if not render.terminal():
        return moment
    try:
        return datetime.datetime.fromisoformat(moment).astimezone().strftime("%H:%M:%S")
    except ValueError:
        return render.clean(moment)
