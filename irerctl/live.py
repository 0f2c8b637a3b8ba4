"""Names for completion: asked of the daemon while somebody presses Tab, so they are quick or they are not there at all.

Must never print, never wait longer than `LIMIT_S`, and never offer a name that a shell would do something with: names are given by
other people, and what is completed is run when Enter is pressed.
"""

import contextlib
import os
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import click

LIMIT_S = 0.2
LIMIT = "IRER_TAB_S"
"""Set where a Tab may take longer: a slow machine, a busy daemon."""
LONGEST_S = 60.0
NAMES_MAX = 200
MAY_READ = frozenset({"viewer", "operator", "admin"})
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@%+,/-]*")

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


class Source(NamedTuple):
    """A read that lists names, and where in its result they stand."""

    method: str
    place: str
    member: str = ""
    """The name within each item; without one the items are the names."""
    params: Mapping[str, Any] = {"limit": NAMES_MAX}


SOURCES = {
    "pool": Source("resource.pools", "pools", "name", {}),
    "task_id": Source("resource.tasks", "tasks", "task_id"),
    "depends_on": Source("resource.tasks", "tasks", "task_id"),
    "entity_id": Source("entity.list", "entities", "entity_id"),
    "engine_id": Source("engines.list", "engines", "engine_id"),
    "platform": Source("platforms.list", "platforms", "platform"),
    "route": Source("nav.routes", "routes", "route", {}),
    "cache.key": Source("cache.list", "keys", "key"),
    "config.key": Source("config.get", "values", "", {}),
    "flag": Source("config.global", "flags", "", {}),
    "order_id": Source("circuit.orders", "orders", "order_id"),
    "gate.jti": Source("gate.list", "tokens", "jti"),
    "hunt_id": Source("hunt.list", "hunts", "hunt_id"),
    "job_uuid": Source("sim.list", "runs", "job_uuid"),
    "component.name": Source("component.list", "components", "name", {}),
    "log": Source("system.status", "logs", "log", {}),
    "engine": Source("system.status", "engines", "", {}),
}
"""By field, or by namespace and field where one name means several things."""


def names(field: str, namespace: str = "") -> Complete | None:
    """What completes this field, where the daemon has names for it."""
    source = SOURCES.get(f"{namespace}.{field}") or SOURCES.get(field)
    return None if source is None else lambda ctx, param, begun: offered(_asked(ctx, source, begun), begun)


def methods(ctx: click.Context, param: click.Parameter, begun: str) -> list[str]:
    """Every method this program knows; no daemon is needed."""
    from irerctl.generic import catalogue

    return offered(sorted(catalogue().rows), begun)


def event_types(ctx: click.Context, param: click.Parameter, begun: str) -> list[str]:
    """Every type of event this program knows."""
    from irerctl.generic import catalogue

    return offered(sorted({kind.event_type for engine in catalogue().engines for kind in engine.applies}), begun)


def words(ctx: click.Context, param: click.Parameter, begun: str) -> list[str]:
    """The words that are explained."""
    from irerctl.about import read_glossary

    return offered(list(read_glossary()), begun)


def offered(found: list[str], begun: str) -> list[str]:
    """Those that go on from what was begun and are whole words to a shell."""
    return [name for name in found if name.startswith(begun) and _SAFE.fullmatch(name)][:NAMES_MAX]


def _limit_s() -> float:
    try:
        return min(max(float(os.environ[LIMIT]), 0.0), LONGEST_S)
    except (KeyError, ValueError):
        return LIMIT_S


class _TooLate(BaseException):
    """The time is over; nothing that waits may catch it."""


def _asked(ctx: click.Context, source: Source, begun: str) -> list[str]:
    from irerctl.session import session

    now = session(ctx)
    params = {**source.params, "prefix": begun} if source.method == "cache.list" and begun else source.params
    try:
        with _within(_limit_s()):
            # `path` refuses from afar: ssh would take longer, and may want a password.
            found = _answer(now.path, source.method, params).get(source.place) or ()
    except (Exception, _TooLate):
        return []
    return [str(each[source.member]) if source.member else str(each) for each in found]


def _answer(path: str, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Asks only where it may be answered: a Tab is no access that has to be refused and put on record."""
    from irerctl.client import Client

    with Client(path, _limit_s(), "irerctl/completion", retry_s=0) as client:
        if client.welcome["peer"]["role"] not in MAY_READ:
            return {}
        found: Mapping[str, Any] = client.call(method, dict(params)).result
        return found


@contextlib.contextmanager
def _within(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise _TooLate

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
