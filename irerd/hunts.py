"""The hunt methods that need more than the engine knows: the events as they become durable, and the provenance file of the best."""

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from core import system
from core.engine import Actor, Refused
from core.hunt import certify, reads
from core.hunt.commands import Which
from core.hunt.paradox import CLAIMED
from irerd.session import Stream
from irerd.workers import WorkFailed
from state.fs import read_all

if TYPE_CHECKING:
    from irerd.daemon import Daemon

PARADOX_S = 600.0
MEDIANS = ("log_prime_sse", "sse_code", "sdg_h_norm_l2", "h_code", "sdg_h_norm_l2_max", "gap_phase", "gap_target", "gap")
Watch = Callable[[system.Watch, Actor, Stream], Awaitable[None]]


class HuntPorts:
    def __init__(self, daemon: "Daemon", watch: Watch) -> None:
        self._daemon = daemon
        self._watch = watch

    async def watch(self, params: reads.WatchHunts, actor: Actor, stream: Stream) -> None:
        await self._watch(system.Watch(engine="hunt", since=params.since), actor, stream)

    async def best(self, params: Which, actor: Actor, stream: Stream) -> reads.BestRun:
        hunt, row = reads.best(self._daemon.world.states["hunt"], params.hunt_id)
        assert row.outcome is not None
        said = row.outcome
        await self._daemon.dispatch.settled()
        document = await self._daemon.host.offload(self._document, row.run)
        fitness = reads.fitness_of(row, self._daemon.world.states["component"])
        whole = {
            **document,
            "hunt_id": hunt.hunt_id,
            "generation": said.generation,
            "candidate": said.job_uuid,
            "seeds": hunt.began.settings.seeds,
            "medians": {name: getattr(said, name) for name in MEDIANS} if said.runs else None,
            "fitness": fitness,
            "certificate": certify.current(hunt, said.job_uuid),
        }
        try:
            return msgspec.convert(whole, reads.BestRun)
        except msgspec.ValidationError:
            raise self._unusable(row.run, "is not what irer wrote") from None

    async def paradox(self, params: Which, actor: Actor, stream: Stream) -> reads.Paradox:
        states = self._daemon.world.states
        hunt, pairs = reads.columns(states["hunt"], states["component"], params.hunt_id)
        await self._daemon.dispatch.settled()
        spec = json.dumps({"seed": hunt.began.seed, "pairs": pairs}).encode()
        try:
            said = await self._daemon.host.work("paradox", spec, timeout_s=PARADOX_S)
        except WorkFailed as failed:
            text = f"no worker could work it out ({failed.reason}). Ask again; if it stays so, see: irerctl doctor"
            raise Refused("unavailable", text, reason="worker") from None
        try:
            found = msgspec.json.decode(said, type=list[tuple[reads.Correlation, reads.Correlation]])
        except msgspec.MsgspecError:
            raise Refused("internal", "the worker said what cannot be true. See: irerctl doctor", reason="worker") from None
        together = [reads.Together(name, *both) for name, both in zip(reads.INSTABILITIES, found, strict=True)]
        return reads.Paradox(hunt.hunt_id, "-log_prime_sse", len(pairs[0]), together, CLAIMED)

    def _document(self, job_uuid: str) -> dict[str, Any]:
        """Runs away from the loop."""
        try:
            raw = read_all(self._daemon.host.files, path_of(job_uuid))
        except OSError as error:
            raise self._unusable(job_uuid, f"cannot be read ({error.strerror})") from None
        if raw is None:
            raise self._unusable(job_uuid, "is not there any more")
        try:
            document = json.loads(raw)
        except ValueError:
            raise self._unusable(job_uuid, "is damaged") from None
        if not isinstance(document, dict) or document.get("job_uuid") != job_uuid:
            raise self._unusable(job_uuid, "is not what irer wrote")
        return document

    def _unusable(self, job_uuid: str, why: str) -> Refused:
        text = f"{path_of(job_uuid)} {why}, so the whole document cannot be shown. The figures are in: irerctl hunt ledger"
        return Refused("data-loss", text, reason="provenance")


def path_of(job_uuid: str) -> str:
    return f"provenance/provenance_{job_uuid}.json"
