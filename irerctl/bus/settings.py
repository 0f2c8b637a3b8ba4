"""The file that says what a bridge does: one TOML file, judged whole before anything is connected.

What no rule names is not done: no topic is read, no event is published and no engine is spoken for by default.
"""

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from irerctl.bus.topics import BadTopic, Pattern, blanks, pattern
from irerctl.session import Failure

FILE_BYTES_MAX = 1_048_576
SECRET_BYTES_MAX = 4_096
OUT_MAX = 16
"""Each follows the log over a connection of its own."""
ALARMS = ("energy.regime_shifted", "energy.source_lost")

Kind = Literal["mqtt", "kafka"]
Port = Annotated[int, Meta(ge=1, le=65_535)]


class Mqtt(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    host: str = "127.0.0.1"
    port: Port | None = None
    """1883, and 8883 with TLS."""
    username: str | None = None
    password_file: Path | None = None
    tls: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    keepalive_s: Annotated[int, Meta(ge=1, le=3600)] = 30
    session_days: Annotated[int, Meta(ge=1, le=365)] = 30
    """How long the broker keeps what comes while the bridge is away."""


class Kafka(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    brokers: Annotated[list[str], Meta(min_length=1, max_length=64)] = msgspec.field(default_factory=lambda: ["127.0.0.1:9092"])
    group: str | None = None
    """The bridge's name without it."""
    username: str | None = None
    password_file: Path | None = None
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    tls: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    session_timeout_s: Annotated[float, Meta(ge=1, le=300)] = 45.0


class Sense(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Samples come in."""

    topic: str
    source: str = "{source}"
    untimed: Literal["refuse", "arrival"] = "refuse"
    engine: str | None = None


class Act(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Requests for an action come in, and answers go out."""

    topic: str
    reply: str
    engine: str | None = None


class Out(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What was recorded goes out."""

    type: str
    topic: str


class Engine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    key_file: Path


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: Annotated[str, Meta(min_length=1, max_length=64)]
    state_dir: Path | None = None
    in_flight_max: Annotated[int, Meta(ge=1, le=4_096)] = 256
    drain_s: Annotated[float, Meta(ge=0, le=300)] = 10.0
    status_s: Annotated[float, Meta(ge=0.1, le=3600)] = 10.0
    metrics_file: Path | None = None
    dead: str | None = None
    mqtt: Mqtt | None = None
    kafka: Kafka | None = None
    sense: list[Sense] = []
    act: list[Act] = []
    out: Annotated[list[Out], Meta(max_length=OUT_MAX)] = []
    engines: dict[str, Engine] = {}

    @property
    def dead_topic(self) -> str:
        return self.dead or ("irer/v1/dead" if self.mqtt is not None else "irer.dead")

    @property
    def folder(self) -> Path:
        """Where cursors are kept."""
        if self.state_dir is not None:
            return self.state_dir
        above = os.environ.get("STATE_DIRECTORY") or os.path.expanduser("~/.local/state/irer-bus")
        return Path(above) / self.name

    def incoming(self) -> list[tuple[Pattern, Sense | Act]]:
        """What comes on which topic means what; the first that fits."""
        rules: list[Sense | Act] = [*self.sense, *self.act]
        return [(pattern(rule.topic), rule) for rule in rules]


def load(path: Path, kind: Kind) -> Settings:
    """The settings in force. Raises Failure, which says what is wrong and where."""
    try:
        with path.open("rb") as opened:
            found = msgspec.convert(tomllib.loads(opened.read(FILE_BYTES_MAX).decode()), Settings, dec_hook=_path)
    except OSError as problem:
        text = f"{path} cannot be read ({(problem.strerror or str(problem)).lower()})."
        raise Failure(
            "not-found", text, f"Start from an example of docs/examples, then: irerctl bus {kind} --config FILE"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise Failure("invalid-argument", f"{path} is no TOML: {problem}.", "Compare with docs/buses.md") from None
    except msgspec.ValidationError as problem:
        text, _, place = str(problem).partition(" - at `$")
        where = f"{place.strip('.`')}: " if place else ""
        raise Failure("invalid-argument", f"{path}: {where}{text}.", "Compare with docs/buses.md") from None
    wrong = next(_mistakes(found, kind), None)
    if wrong is not None:
        text, advice = wrong
        raise Failure("invalid-argument", f"{path}: {text}.", advice)
    return found


def _path(kind: type, value: object) -> Path:
    if kind is not Path or not isinstance(value, str) or not value:
        raise ValueError("a path is wanted")
    return Path(value)


def secret(path: Path) -> str:
    """What such a file holds, without its last line's end. Raises Failure."""
    try:
        with path.open("rb") as opened:
            text = opened.read(SECRET_BYTES_MAX).decode().rstrip("\r\n")
            if os.fstat(opened.fileno()).st_mode & 0o007:
                raise Failure("failed-precondition", f"{path} may be read by everybody.", f"Try: chmod o= {path}")
    except (OSError, UnicodeDecodeError) as problem:
        why = getattr(problem, "strerror", None) or "it is no text"
        raise Failure(
            "failed-precondition", f"{path} cannot be read ({why.lower()}).", "Name a file that this user may read"
        ) from None
    if not text:
        raise Failure("failed-precondition", f"{path} is empty.", "Put the password, or the key, into it")
    return text


def _mistakes(found: Settings, kind: Kind) -> Iterator[tuple[str, str]]:
    part = found.mqtt if kind == "mqtt" else found.kafka
    if part is None:
        yield f"it has no [{kind}]", f"Add [{kind}], even with nothing in it"
        return
    if (found.kafka if kind == "mqtt" else found.mqtt) is not None:
        yield "it has both [mqtt] and [kafka]", "Make two files: each bridge is a process of its own"
    if not set(found.name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."):
        yield f"name: {found.name!r} is no plain word", "Use letters, digits, dots and dashes"
    if not (found.sense or found.act or found.out):
        yield "it has no rule, so there would be nothing to do", "Add [[sense]], [[act]] or [[out]]"
    if (part.cert_file is None) != (part.key_file is None):
        yield f"{kind}: a certificate and its key go together", "Give both: cert_file and key_file"
    if not part.tls and (part.ca_file or part.cert_file):
        yield f"{kind}: there are certificates, and tls is false", f"Set tls = true under [{kind}]"
    if (part.username is None) != (part.password_file is None):
        yield f"{kind}: a name and a password go together", "Give both: username and password_file"
    if part.password_file is not None and not part.tls and not _is_here(part):
        yield f"{kind}: the password would cross the network in the clear", f"Set tls = true under [{kind}]"
    yield from _wrong_rules(found, kind)
    yield from _loops(found)


def _is_here(part: Mqtt | Kafka) -> bool:
    hosts = [part.host] if isinstance(part, Mqtt) else [each.rpartition(":")[0] for each in part.brokers]
    return all(host.strip("[]") in ("127.0.0.1", "::1", "localhost") for host in hosts)


def _wrong_rules(found: Settings, kind: Kind) -> Iterator[tuple[str, str]]:
    for name, rules in (("sense", found.sense), ("act", found.act)):
        for rule in rules:
            try:
                read = pattern(rule.topic)
                filled = blanks(rule.source if isinstance(rule, Sense) else rule.reply)
            except BadTopic as problem:
                yield f"{name}: {rule.topic} {problem}", "See the topics of docs/buses.md"
                continue
            known = {*read.names, *(("key", "document") if isinstance(rule, Sense) else ())}
            if unknown := [each for each in filled if each not in known]:
                there = ", ".join(sorted(known)) or "none"
                yield f"{name}: {rule.topic} has nothing named {unknown[0]}", f"Names that it has: {there}"
            if kind == "kafka" and not read.is_plain:
                yield (
                    f"{name}: {rule.topic} is no topic of Kafka",
                    'Name one topic; the source may come from the key: source = "{key}"',
                )
            if rule.engine is not None and rule.engine not in found.engines:
                yield f"{name}: nothing is known of engine {rule.engine}", f'Add [engines.{rule.engine}] with key_file = "…"'
    for out in found.out:
        try:
            filled = blanks(out.topic)
        except BadTopic as problem:
            yield f"out: {out.topic} {problem}", "See the topics of docs/buses.md"
            continue
        if {"+", "#"} & set(out.topic) or not out.topic:
            yield f"out: {out.topic or 'it'} is no topic to publish to", "Give a plain topic, as in irer/v1/regime/{source}"
        if kind == "kafka" and filled:
            yield f"out: {out.topic} is no topic of Kafka", "Name one topic; the source is the key"
    types = [out.type for out in found.out]
    if twice := [each for each in types if types.count(each) > 1]:
        yield f"out: {twice[0]} stands there twice", "One place for each type: its cursor bears its name"


def _loops(found: Settings) -> Iterator[tuple[str, str]]:
    """What is published must never come back as something to do."""
    try:
        incoming = [(rule.topic, read) for read, rule in found.incoming()]
    except BadTopic:
        return
    leaving = [found.dead_topic, *(rule.reply for rule in found.act), *(rule.topic for rule in found.out)]
    for topic in leaving:
        for text, read in incoming:
            # A name in braces may become any text, this rule's among it.
            if read.match(topic) is not None or _may_meet(topic, read):
                yield f"{topic} is published to, and {text} would read it back", "Give one of them another topic"


def _may_meet(template: str, read: Pattern) -> bool:
    ours = template.split("/")
    theirs = read.levels
    if theirs[-1] == "#":
        ours, theirs = ours[: len(theirs) - 1], theirs[:-1]
    if len(ours) != len(theirs):
        return False
    return all(a == b or "{" in a or b == "+" or "{" in b for a, b in zip(ours, theirs, strict=True))
