"""Calls of irerd on behalf of messages: asked until there is an answer that will stay so.

An answer is either done, or a refusal that the message itself has earned. Anything else (a restart, a full bucket, a lost right) is
waited for, since the broker still holds the message. Must never take such a passing state for the message's fault.
"""

import math
from collections import Counter
from collections.abc import Mapping

import trio

from irerctl.aio import Client, Error, Reply
from irerctl.bus.counts import Counts
from irerctl.bus.documents import Ask
from irerctl.client import delay_s

EARNED = frozenset({"invalid-argument", "not-found", "already-exists", "out-of-range", "aborted", "unimplemented"})
INTERNAL_MAX = 5
"""A message that meets a bug of irer is put aside after so many tries: it must not keep the others."""
PAUSE_S_MAX = 60.0


class Desk:
    """The daemon, patient."""

    def __init__(self, client: Client, keys: Mapping[str, str], counts: Counts) -> None:
        self._client = client
        self._keys = keys
        self._counts = counts
        self._proving = trio.Lock()
        self._proofs: Counter[str | None] = Counter()

    async def ask(self, ask: Ask) -> Reply | Error:
        """Done, or refused for good."""
        failures = bugs = 0
        proved = False
        while True:
            proofs = self._proofs[ask.engine]
            try:
                reply = await self._client.call(ask.method, ask.params, idem=ask.idem, as_=ask.engine)
            except Error as error:
                bugs += error.code == "internal"
                if is_earned(error) or bugs >= INTERNAL_MAX:
                    return error
                failures += 1
                self._counts.retries += 1
                self._counts.daemon = f"{error.code}: {error.detail or error.title}"
                # Where a proof did not help, the next one waits: it would be one more record each time.
                proved = not proved and error.reason == "engine-proof" and await self._prove(ask.engine, proofs)
                if not proved:
                    await trio.sleep(pause_s(failures, error.retry_ms))
            else:
                self._counts.daemon = "up"
                return reply

    async def _prove(self, engine: str | None, proofs: int) -> bool:
        """Once for each connection: then calls may say that they are the engine's. `proofs` is how many there were before."""
        if engine is None:
            return False
        async with self._proving:
            if self._proofs[engine] != proofs:
                return True  # another call of this connection was quicker
            try:
                params = {"engine_id": engine, "engine_key": self._keys[engine]}
                found = await self._client.call("engines.validate", params)
            except Error:
                return False
            if not found.result.get("valid"):
                self._counts.daemon = f"it does not know this key of engine {engine}"
                return False
            self._proofs[engine] += 1
            return True


def is_earned(error: Error) -> bool:
    """Whether the same message would be refused for ever."""
    if error.code == "permission-denied":
        return error.reason == "owner"
    if error.code == "resource-exhausted":
        return error.retry_ms is None and error.reason in ("metrics", "streams")
    return error.code in EARNED or error.reason == "key-reused"


def pause_s(failures: int, retry_ms: int | None) -> float:
    """As long as irerd asks for; and longer the more often it failed."""
    least = min((retry_ms or 0) / 1000, PAUSE_S_MAX)
    return max(least, delay_s(failures, None) * (1.0 if failures < 20 else math.sqrt(failures / 5)))
