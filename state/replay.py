"""What records mean to the engines, and to the memory of keys, of their log: pure, the same in a start, a snapshot and a proof.

Reads no clock, no file and no setting: the same records lead to the same bytes, wherever and however often they are replayed.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from itertools import groupby, repeat
from operator import attrgetter
from typing import Literal, NamedTuple

import msgspec

from core import keys as core_keys
from core import shape
from core.engine import Stamp
from core.keys import Keys, Remembered
from core.world import BadDump, World, differences
from state.seal import Block, Record
from state.snapshot import BadSnapshot, Header
from state.tree import Edge, edge_from

PROGRESS_RECORDS = 20_000

_mono_us = attrgetter("mono_us")


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a snapshot holds."""

    edge: str
    """Right edge of the log's tree, as `Edge.text` gives it."""
    keys: bytes
    world: bytes
    views: dict[str, bytes] = {}
    """What engines hold beside the facts. Nothing is proved by it, and a start without it loses no fact."""


_packer = msgspec.msgpack.Encoder()
_unpacker = msgspec.msgpack.Decoder(Body, strict=True)


def replay(world: World, keys: Keys, log: str, batch: Sequence[Record]) -> None:
    """One sound batch, in order. Raises UnknownEvent."""
    if len(batch) == 1:
        record = batch[0]
        actor, boot_id, _, event_type, idem, mono_us, _, _, payload, seq, time_us, *_ = record
        world.replay(event_type, payload, Stamp(log, seq, time_us, mono_us, boot_id, actor))
        if idem is not None:
            _remember(keys, log, record, record)
        return
    if isinstance(batch, Block):
        actors, boots, _, types, idems, monos, _, payloads, seqs, times, *_ = batch.columns
    else:
        actors, boots, _, types, idems, monos, _, _, payloads, seqs, times, *_ = zip(*batch, strict=True)
    world.replay_columns(log, types, payloads, map(Stamp, repeat(log), seqs, times, monos, boots, actors))
    if not any(idems):
        return
    for _, command in groupby(batch, _mono_us):  # each command has a moment of its own
        first, *rest = command
        if first.idem is not None:
            _remember(keys, log, first, rest[-1] if rest else first)


def _remember(keys: Keys, log: str, first: Record, last: Record) -> None:
    assert first.idem is not None
    digest, key = first.idem
    keys.remember(first.actor, key, Remembered(digest, log, first.seq, last.seq, first.time_us))


def schema(world: World, log: str) -> str:
    """Stands for the shape of a log's snapshots; empty where it can have none."""
    engines = world.schema(log)
    return shape.digest(engines, core_keys.SCHEMA, Body) if engines else ""


def pack(edge: Edge, keys: bytes, world: bytes, views: Mapping[str, bytes] | None = None) -> bytes:
    """The body of a snapshot, from `Keys.dump`, `World.dump` and `World.kept` after the same record."""
    return _packer.encode(Body(edge.text(), keys, world, dict(views or {})))


def unpack(raw: bytes) -> Body:
    """Raises BadDump."""
    try:
        return _unpacker.decode(raw)
    except msgspec.MsgspecError as error:
        raise BadDump(str(error)) from None


def load(world: World, keys: Keys, header: Header, raw: bytes) -> Edge:
    """Make the engines and keys of a log what they were when the snapshot was taken; gives the right edge of its tree.

    Raises BadDump, and then they know nothing.
    """
    body = unpack(raw)
    edge = edge_of(body, header)
    try:
        world.load(header.log, body.world)
        keys.load(header.log, body.keys)
        world.take_up(header.log, body.views)
    except BadDump:
        world.reset(header.log)
        keys.forget(header.log)
        raise
    return edge


def edge_of(body: Body, header: Header) -> Edge:
    """The right edge in a body, if it leads to the root in the header; raises BadDump."""
    try:
        edge = edge_from(body.edge)
    except ValueError as error:
        raise BadDump(str(error)) from None
    if (edge.size, edge.root().hex()) != (header.size, header.root):
        raise BadDump("the edge of the tree does not lead to the root in the header")
    return edge


class Compared(NamedTuple):
    """One snapshot beside the replay of the log."""

    seq: int
    result: Literal["equal", "different", "other version", "not reached"]
    why: str = ""


class Replayed(NamedTuple):
    records: int
    snapshots: list[Compared]
    """The oldest first."""

    @property
    def equal(self) -> bool:
        """Nothing spoke against any snapshot; those of another version could not be compared."""
        return all(each.result in ("equal", "other version") for each in self.snapshots)


Kept = Iterable[tuple[Header, bytes | Callable[[], bytes]]]
"""Snapshots with their bodies, or with what reads each when its turn comes: then one at a time is held."""


def replay_equals(world: World, keys: Keys, log: str, batches: Iterable[Sequence[Record]], snapshots: Kept) -> Replayed:
    """Replay a whole log into a new world, and compare what each snapshot holds, byte by byte, on the way."""
    steps = replaying(world, keys, log, batches, snapshots)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Replayed = end.value
            return found


def replaying(
    world: World, keys: Keys, log: str, batches: Iterable[Sequence[Record]], snapshots: Kept
) -> Generator[int, None, Replayed]:
    """The same, a step at a time: yields now and then how many records were replayed. Raises UnknownEvent."""
    due = {header.seq: (header, body) for header, body in snapshots}
    shape_now = schema(world, log)
    records = shown = 0
    compared: list[Compared] = []
    for batch in batches:
        replay(world, keys, log, batch)
        records += len(batch)
        if (found := due.pop(batch[-1].seq, None)) is not None:
            header, body = found
            compared.append(_compare(world, keys, log, batch[-1], header, body, shape_now))
        if records - shown >= PROGRESS_RECORDS:
            shown = records
            yield records
    compared += [Compared(seq, "not reached", "no batch of the log ends there") for seq in sorted(due)]
    return Replayed(records, compared)


def _compare(
    world: World, keys: Keys, log: str, last: Record, header: Header, raw: bytes | Callable[[], bytes], shape_now: str
) -> Compared:
    if header.tip != last.event_hash:
        return Compared(header.seq, "different", f"record {header.seq} of the log is another one")
    if header.schema != shape_now:
        return Compared(header.seq, "other version", "another version made it")
    try:
        body = unpack(raw() if callable(raw) else raw)
        edge_of(body, header)
        now = world.dump(log)
        differing = [] if body.world == now else differences(body.world, now) or ["the engines"]
    except (BadDump, BadSnapshot, msgspec.MsgspecError) as error:
        return Compared(header.seq, "different", f"cannot be read: {error}")
    if body.keys != keys.dump(log):
        differing.append("the idempotency keys")
    if differing:
        return Compared(header.seq, "different", f"replay leads to other values of {', '.join(differing)}")
    return Compared(header.seq, "equal")
