"""Clusters beside the log: has workers look for them among the vectors, and asks them what the pattern field says.

The arithmetic is a worker's, and its answers are judged before anything becomes a fact. Without NumPy and SciPy (extra `science`)
there are no clusters, and whoever asks is told so.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from core.data import clusters as judged
from core.data.clusters import (
    AskField,
    AskOverlap,
    AskWaves,
    ClusterPage,
    ClusterRow,
    ExampleText,
    FieldPage,
    FieldRow,
    OverlapPage,
    WaveMode,
    WavesPage,
)
from core.data.commands import known
from core.data.events import ValueDistributed
from core.data.model import LOG, Data
from core.data.reads import LIMIT_DEFAULT, DataPage, place_after
from core.engine import Actor, Context, Errand, JobEnded, Refused
from core.paging import Room
from core.times import time_text
from irerd.session import Stream
from irerd.workers import WorkFailed

if TYPE_CHECKING:
    from irerd.daemon import Daemon
    from irerd.vectors import Vectors

GROUP_S_MAX = 300.0
FIELD_S_MAX = 55.0
RETRY_S = 5.0
LOOKED_MAX = 100_000
"""Records that are looked through for the value that was distributed lately."""
CHUNK_RECORDS = 256
DIGITS = 6


class _Grouped(msgspec.Struct):
    clusters: list[dict[str, Any]]
    vectors: int
    loose: int


class _Centroid(msgspec.Struct):
    centroid: str


class _Value(msgspec.Struct):
    shares: list[dict[str, Any]]


class Clusters:
    def __init__(self, daemon: "Daemon", vectors: "Vectors") -> None:
        self._daemon = daemon
        self._vectors = vectors

    @property
    def _data(self) -> Data:
        data = self._daemon.world.states["data"]
        assert isinstance(data, Data)
        return data

    def _context(self) -> Context:
        return self._daemon.dispatch.context_of_irer()

    # --- the errand -------------------------------------------------------------------------------------------------------

    async def group(self, errand: Errand, progress: Any) -> JobEnded:
        """Looks for clusters, going on from those there are. It writes nothing, and may be begun anew at any point."""
        model = str(errand.params["model"])
        while True:
            names, centroids = await self._centroids()
            asked = {"centroids": centroids, "near": self._daemon.settings.data.relevance}
            try:
                said = await self._vectors.work("group", model, asked, GROUP_S_MAX, patient=True)
                return JobEnded(errand.id, True, "ok", "", _outcome(model, names, said))
            except WorkFailed as failed:
                if failed.code not in ("busy", "gone"):
                    return JobEnded(errand.id, False, failed.code)
            except OSError:  # the disk has no room, or fails: clusters wait until it does not
                pass
            except (msgspec.MsgspecError, LookupError):
                return JobEnded(errand.id, False, "bad-output")
            await trio.sleep(RETRY_S)

    async def _centroids(self) -> tuple[list[str], list[str]]:
        """The clusters there are, the oldest first, and where each is."""
        await self._daemon.dispatch.settled()
        clusters = [(name, cluster.record) for name, cluster in self._data.clusters.items()]
        found = await self._daemon.host.offload(self._read, [record for _, record in clusters])
        return [name for name, _ in clusters], found

    def _read(self, records: Sequence[int]) -> list[str]:
        stored = self._daemon.dispatch.stored
        return [msgspec.json.decode(stored(LOG, seq, seq)[0].payload, type=_Centroid).centroid for seq in records]

    # --- methods ----------------------------------------------------------------------------------------------------------

    async def clusters(self, params: DataPage, actor: Actor, stream: Stream) -> ClusterPage:
        await self._daemon.dispatch.settled()
        data = self._data
        last = data.compared  # of the same moment as the clusters: more may be found while texts are read
        ranked = sorted(data.clusters.items(), key=lambda pair: (-pair[1].size, pair[1].record))
        start, room = place_after("data.clusters", params.after), Room()
        rows: list[ClusterRow] = []
        for name, cluster in ranked[start : start + (params.limit or LIMIT_DEFAULT)]:
            there = [event for event in cluster.examples if event in data.nodes]
            said = await self._daemon.host.offload(self._vectors.said, [data.nodes[event].seq for event in there])
            examples = [ExampleText(event, text) for event, (_, text) in zip(there, said, strict=True)]
            row = ClusterRow(name, cluster.size, cluster.near, time_text(cluster.formed_us), examples)
            if not room.take(row):
                break
            rows.append(row)
        done = start + len(rows)
        return ClusterPage(
            rows,
            last.model if last else data.model,
            last.vectors if last else data.kept[data.model],
            last.loose if last else data.kept[data.model],
            last.code if last else "ok",
            time_text(last.time_us) if last else None,
            str(done) if done < len(ranked) else None,
        )

    async def _field(
        self, what: str, entries: list[tuple[int, float, int]], settings: Mapping[str, float]
    ) -> tuple[list[str], dict[str, Any]] | None:
        """What a worker says, with the clusters' names in the order that it knows them by; None where there are no clusters."""
        names, centroids = await self._centroids()
        if not names:
            return None
        asked = {"centroids": centroids, "what": what, "entries": entries, "settings": dict(settings)}
        try:
            said = await self._vectors.work("field", self._data.model, asked, FIELD_S_MAX)
        except WorkFailed as failed:
            if failed.code == "not-installed":
                text = 'this needs NumPy and SciPy beside irer. Type: pip install "irer[science]"'
                raise Refused("failed-precondition", text, reason="not-installed") from None
            text = "the worker that works the field out ended early. Ask again; if it stays so, see: irerctl doctor"
            raise Refused("unavailable", text, reason=failed.code) from None
        except OSError:
            text = "the vectors beside the log cannot be read or written just now. Free some space, then ask again: irerctl doctor"
            raise Refused("unavailable", text, reason="disk") from None
        return (names, msgspec.json.decode(said)) if said is not None else None

    async def spread(self, params: AskField, actor: Actor, stream: Stream) -> FieldPage:
        if params.days / params.steps * max(params.growth, params.decay) > 0.5:
            least = math.ceil(2 * params.days * max(params.growth, params.decay))
            text = f"a step this long would leap over what it is to show. Take {least} steps or more, or fewer days"
            raise Refused("out-of-range", text, fields=[("steps", f"fewer than {least}")])
        strong = judged.activity(self._data, self._context())
        settings = {name: float(getattr(params, name)) for name in ("diffusion", "growth", "decay", "given", "days", "steps")}
        said = await self._field("spread", [(record, amount, 0) for record, amount in strong.items()], settings)
        if said is None:
            return FieldPage([], [], 0, [])
        names, found = said
        sizes = {name: cluster.size for name, cluster in self._data.clusters.items()}
        rows = [
            FieldRow(names[place], sizes.get(names[place], 0), _rounded(values))
            for place, values in zip(found["line"], found["values"], strict=True)
        ]
        totals = [math.fsum(column) for column in zip(*found["values"], strict=True)]
        return FieldPage(rows, _rounded(found["days"]), found["links"], _rounded(totals))

    async def waves(self, params: AskWaves, actor: Actor, stream: Stream) -> WavesPage:
        ctx, data = self._context(), self._data
        now = data.clock.now(ctx)
        bin_us = round(params.bin_s * 1e6)
        since_us = now - params.bins * bin_us
        if params.of == "events":
            told = [(record, 1.0, at) for record, at in judged.told_lately(data, since_us)]
        else:
            told = await self._valued(since_us, ctx.now_us - now)
        entries = [(record, amount, min(params.bins - 1, max(0, (at - since_us) // bin_us))) for record, amount, at in told]
        said = await self._field("waves", entries, {"bins": params.bins, "ahead": params.ahead})
        since = time_text(max(0, since_us + ctx.now_us - now))
        if said is None:
            return WavesPage([], [], 0.0, 0.0, since, 0)
        names, found = said
        modes = [
            WaveMode(**each, speed=round(each["frequency"] / each["wavenumber"], DIGITS) if each["wavenumber"] else None)
            for each in found["modes"]
        ]
        line = [names[place] for place in found["line"]]
        ahead = [_rounded(row) for row in found["ahead"]] if params.ahead else []
        return WavesPage(modes, line, found["counted"], found["explained"], since, found["tested"], ahead)

    async def _valued(self, since_us: int, wall_us: int) -> list[tuple[int, float, int]]:
        """Units that went to events since then: the record of each event's vector, how many, and when by the engine's clock."""
        daemon = self._daemon
        last, oldest = daemon.durable_seq(LOG), daemon.log(LOG).first_seq
        oldest = max(oldest, last + 1 - LOOKED_MAX)
        found: list[tuple[int, float, int]] = []
        while last >= oldest:
            first = max(oldest, last - CHUNK_RECORDS + 1)
            some, passed = await daemon.host.offload(self._valued_in, first, last, since_us + wall_us)
            found += [(record, units, at - wall_us) for record, units, at in some]
            last = first - 1
            if passed:
                break
        return found

    def _valued_in(self, first: int, last: int, since_us: int) -> tuple[list[tuple[int, float, int]], bool]:
        found: list[tuple[int, float, int]] = []
        for record in reversed(self._daemon.dispatch.stored(LOG, first, last)):
            if record.time_us < since_us:
                return found, True
            if record.event_type == ValueDistributed.event_type:
                for share in msgspec.json.decode(record.payload, type=_Value).shares:
                    if (vector := self._data.vectors.get(share["event"], {}).get(self._data.model)) is not None:
                        found.append((vector, float(share["units"]), record.time_us))
        return found, False

    async def overlap(self, params: AskOverlap, actor: Actor, stream: Stream) -> OverlapPage:
        data = self._data
        events = list(dict.fromkeys(params.events))
        for event in events:
            known(data, event, "events")
        records = {record: event for event in events if (record := data.vectors.get(event, {}).get(data.model)) is not None}
        hours = {record: data.nodes[event].time_us / 3.6e9 for record, event in records.items()}
        settings = {"wavenumber": params.wavenumber, "frequency": params.frequency}
        said = await self._field("overlap", [(record, hours[record], 0) for record in records], settings)
        if said is None:
            return OverlapPage([], 0, [], [])
        names, found = said
        return OverlapPage(
            [records[record] for record in found["records"]],
            len(names),
            [_rounded(row) for row in found["real"]],
            [_rounded(row) for row in found["imaginary"]],
        )


def _outcome(model: str, names: Sequence[str], said: bytes | None) -> dict[str, Any]:
    """Clusters by their names. Raises LookupError or MsgspecError for what no worker of ours says."""
    if said is None:
        return {"model": model, "dimension": 1, "vectors": 0, "loose": 0, "clusters": []}
    found = msgspec.json.decode(said, type=_Grouped)
    clusters = [
        {**{name: value for name, value in each.items() if name != "before"}, "cluster": _named(names, each["before"])}
        for each in found.clusters
    ]
    dimension = len(clusters[0]["centroid"]) * 6 // 32 if clusters else 1
    return {"model": model, "dimension": dimension, "vectors": found.vectors, "loose": found.loose, "clusters": clusters}


def _named(names: Sequence[str], place: int) -> str | None:
    return names[place] if place >= 0 else None


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, DIGITS) for value in values]
