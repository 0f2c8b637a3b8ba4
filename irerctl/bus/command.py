"""`irerctl bus`: a bridge between irerd and a broker, as a process in the foreground.

It refuses to start where its file is wrong or its secrets lie open; a broker or a daemon that is away is waited for.
"""

import logging
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from irerctl import render
from irerctl.session import Failure, Group, Session, session

if TYPE_CHECKING:
    from irerctl.bus.broker import Broker
    from irerctl.bus.counts import Counts
    from irerctl.bus.settings import Kind, Settings

bus = Group("bus", help="Carry samples, requests and events between irer and a message bus.", short_help="Bridges to message buses")
CONFIG = click.Option(
    ["--config"],
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="What to carry (/etc/irer/bus-mqtt.toml or bus-kafka.toml).",
)
CHECK = click.Option(["--check"], is_flag=True, help="Only judge the file, and say what would be carried.")
EPILOG = "The file says everything; docs/buses.md explains it, and docs/examples has one of each kind."


@bus.command_of("mqtt", "Carry between irer and an MQTT 5 broker.", CONFIG, CHECK, epilog=EPILOG)
def mqtt(config: Path | None, check: bool) -> None:
    _run("mqtt", config, check)


@bus.command_of("kafka", "Carry between irer and a Kafka cluster.", CONFIG, CHECK, epilog=EPILOG)
def kafka(config: Path | None, check: bool) -> None:
    _run("kafka", config, check)


def _run(kind: "Kind", config: Path | None, check: bool) -> None:
    from irerctl.bus.settings import load, secret

    now = session()
    path = now.path
    settings = load(config or Path(f"/etc/irer/bus-{kind}.toml"), kind)
    keys = {name: secret(engine.key_file) for name, engine in settings.engines.items()}
    try:
        import trio

        from irerctl.bus.run import main

        broker = _broker(kind, settings)
    except ModuleNotFoundError as missing:
        text = f"irerctl bus needs {missing.name}, which is not installed."
        raise Failure("failed-precondition", text, "Try: pip install 'irer[buses]'") from None
    if check:
        _show(now, kind, settings)
        return
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    failure = trio.run(_caught, main, path, settings, broker, keys, _teller(now))
    if failure is not None:
        raise failure


async def _caught(function: "Callable[..., Awaitable[None]]", *args: object) -> Failure | None:
    """The one Failure out of whatever groups it comes in."""
    caught: list[Failure] = []
    try:
        await function(*args)
    except* Failure as group:
        found: BaseException = group
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        assert isinstance(found, Failure)
        caught.append(found)
    return caught[0] if caught else None


def _broker(kind: "Kind", settings: "Settings") -> "Broker":
    patterns = [read for read, _ in settings.incoming()]
    if kind == "mqtt":
        from irerctl.bus.mqtt import MqttBroker

        return MqttBroker(settings, patterns)
    from irerctl.bus.kafka import KafkaBroker

    return KafkaBroker(settings, patterns)


def _teller(now: Session) -> "Callable[[Counts], None]":
    if now.output == "table":
        return lambda counts: render.say(counts.as_line())
    return lambda counts: render.say(render.dumps(counts.as_object()))


def _show(now: Session, kind: "Kind", settings: "Settings") -> None:
    found = {
        "kind": kind,
        "name": settings.name,
        "state_dir": str(settings.folder),
        "dead": settings.dead_topic,
        "sense": [{"topic": rule.topic, "source": rule.source} for rule in settings.sense],
        "act": [{"topic": rule.topic, "reply": rule.reply} for rule in settings.act],
        "out": [{"type": rule.type, "topic": rule.topic} for rule in settings.out],
    }
    now.show(found)
