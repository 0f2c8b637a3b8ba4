"""One sync with a far end from its beginning to its end, in a word how it came out; once, or staying for what comes after."""

from collections.abc import Callable
from typing import Any

import trio

from core.cache.job import remote_name
from core.engine import JobEnded, Refused
from core.settings import CacheRemote
from irerd.couch.database import Database
from irerd.couch.failures import Failed, TooLarge
from irerd.couch.here import Here
from irerd.couch.http import Exchange, Http
from irerd.couch.live import Live
from irerd.couch.replicate import Replication
from irerd.dispatch import Dispatch
from irerd.host import Host

Progress = Callable[[dict[str, Any]], None]

HEARTBEATS = 3
"""Signs of life asked for within the time after which a silent far end counts as gone."""


async def replicate(
    host: Host, dispatch: Dispatch, remote: CacheRemote, password: bytes, effect: str, progress: Progress
) -> JobEnded:
    """One replication with this far end, over HTTP."""
    http = await host.offload(Http, remote.url, remote.username, password, remote.timeout_s)
    try:
        return await over(http, host, dispatch, remote, effect, progress)
    finally:
        with trio.CancelScope(shield=True):
            await http.aclose()


async def over(
    exchange: Exchange, host: Host, dispatch: Dispatch, remote: CacheRemote, effect: str, progress: Progress
) -> JobEnded:
    """The same, however a request gets there."""
    assert dispatch.ledger is not None
    heartbeat_s = remote.timeout_s / HEARTBEATS
    database = Database(exchange, remote.database, remote.attempts, host.random.random, host.offload, heartbeat_s)
    here = Here(host, dispatch)
    replication = Replication(here, database, remote_name(remote), dispatch.ledger.id, remote.documents, host.new_id)
    replication.progress = progress
    live = Live(replication, here, database, remote.attempts, host.random.random, remote.documents)
    code, detail = "ok", ""
    try:
        if remote.continuous:
            await live.run(lambda: dispatch.settings.cache.remote == remote)
        else:
            await replication.run()
    except Failed as failed:
        code, detail = failed.code, failed.detail
    except TooLarge:
        code, detail = "bad-answer", "an answer of the far end was larger than any may be. Is it a server of CouchDB's protocol?"
    except Refused as refused:
        code, detail = refused.reason or refused.code, refused.detail
    return JobEnded(effect, code == "ok", code, detail, replication.tally.outcome() | {"caught_up": live.caught_up})
