"""The errand of a sync: makes the connection, lets the replicator work, and says in a word how it came out.

It is a task of the daemon and no child process: the replicator needs the cache's state and its values at every step, and what takes
long (encoding, decoding, reading values) is done in threads. What only a sync needs is imported at the first one.
"""

from collections.abc import Callable
from typing import Any

import trio

from core.engine import Errand, JobEnded
from irerd.dispatch import Dispatch
from irerd.host import Host, Unreadable


class Sync:
    def __init__(self, host: Host, dispatch: Dispatch) -> None:
        self._host = host
        self._dispatch = dispatch

    async def run(self, errand: Errand, progress: Callable[[dict[str, Any]], None]) -> JobEnded:
        """One sync, from where the last one came to. May be cancelled and begun anew at any point."""
        remote = self._dispatch.settings.cache.remote
        if not remote.url:
            text = "no far end is configured any more. Put url and database into [cache.remote] and run: irerctl reload"
            return JobEnded(errand.id, False, "no-remote", text)
        try:
            password = await self._host.offload(self._host.read_secret, remote.password_file) if remote.password_file else b""
        except Unreadable as unreadable:
            return JobEnded(errand.id, False, "password-file", f"cache.remote.password_file: {unreadable}")
        replicate = await self._host.offload(_replicate)
        ended: JobEnded = await replicate(self._host, self._dispatch, remote, password, errand.id, progress)
        await trio.lowlevel.checkpoint()
        return ended


def _replicate() -> Any:
    """Imported away from the loop, as it takes a while."""
    from irerd.couch.whole import replicate

    return replicate
