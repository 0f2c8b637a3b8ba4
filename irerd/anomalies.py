"""The detector of anomalies beside the writer: it sees what has become durable, and what it finds becomes a command.

It is never in the way of a write: should it fail, it stops, `health` says so, and nothing else is touched. What it has learnt
is kept in `views/anomalies.view`, which may be deleted: it then learns anew.
"""

import zlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256

import msgspec
import trio

from core.canonical import CanonicalError, decode, encode
from core.engine import Check
from core.provenance.commands import Found
from core.provenance.detector import SHAPE, Detector, Kept
from irerd.host import Host
from irerd.journal import journal
from irerd.views import BODY_BYTES_MAX, DIRECTORY, ROOM_BYTES_MIN, FollowedWriter, Views
from state.fs import make_directory, read_all, small_write
from state.log import Log
from state.seal import BadLine, Pending, sealed_line, unsealed

PATH = f"{DIRECTORY}/anomalies.view"
SAVE_S = 300.0


class Anomalies:
    def __init__(self, give: Callable[[Found], None], on_error: Callable[[str, Exception], object]) -> None:
        """`give` puts what was found before the engine."""
        self._give = give
        self._on_error = on_error
        self._detector: Detector | None = Detector()
        self._waiting: dict[str, deque[tuple[int, list[Pending]]]] = {}
        """Of each log, what is on its way to the disk and not durable yet: the records of each group, and the first one's place."""

    def kept(self) -> bytes | None:
        """What it has learnt, or nothing where it has failed."""
        if self._detector is None:
            return None
        try:
            return _packer.encode(self._detector.kept())
        except Exception as error:
            self._fail(error)
            return None

    def go_on(self, kept: bytes) -> None:
        """From what another one had learnt. Raises ValueError where it cannot, and then nothing has changed."""
        try:
            self._detector = Detector.again(_unpacker.decode(kept))
        except Exception as error:
            raise ValueError(f"what was learnt cannot be taken up: {type(error).__name__}") from error

    def taken(self, log: str, first_seq: int, commands: Sequence[Sequence[Pending]]) -> None:
        """These commands are written to this log now, from this record on."""
        if self._detector is not None:
            records = [record for command in commands for record in command]
            self._waiting.setdefault(log, deque()).append((first_seq, records))

    def after_group(self, durable: Mapping[str, int]) -> None:
        """These logs are durable up to these records."""
        if self._detector is None:
            return
        found: list[Found] = []
        try:
            for log, last in durable.items():
                waiting = self._waiting.get(log)
                while waiting and waiting[0][0] + len(waiting[0][1]) - 1 <= last:
                    found += self._detector.note_all(log, *waiting.popleft())
        except Exception as error:
            self._fail(error)
        for each in found:
            self._give(each)

    def _fail(self, error: Exception) -> None:
        self._detector = None
        self._waiting.clear()
        self._on_error("anomalies", error)

    def check(self) -> Check:
        if self._detector is None:
            return Check("detector", "degraded", "anomalies are no longer looked for. Nothing else is touched; restart irerd")
        return Check("detector", "ok")


class _Saved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file says of itself, sealed as a record is."""

    bytes: int
    ledger: str
    sha256: str
    shape: str


class Remembered:
    """Keeps what the detector has learnt in a file. What came between the last time and a kill is forgotten, and is no silence."""

    def __init__(self, host: Host, anomalies: Anomalies) -> None:
        self._host = host
        self._anomalies = anomalies
        self._ledger = ""
        self._known = b""
        """Digest of what the file holds."""

    def load(self, ledger: str) -> None:
        """Before anybody is served. Whatever is wrong with the file, the detector learns anew."""
        self._ledger = ledger
        try:
            raw = read_all(self._host.files, PATH)
            if raw is not None:
                self._anomalies.go_on(_body(raw, ledger))
                self._known = sha256(self._anomalies.kept() or b"").digest()
        except (OSError, ValueError) as error:
            journal().info("what is usual is learnt anew", why=str(error)[:200])

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await trio.sleep(SAVE_S)
            await self.save()

    async def save(self) -> None:
        """What the disk refuses is tried again later."""
        kept = self._anomalies.kept()
        if kept is None or (known := sha256(kept).digest()) == self._known:
            return
        try:
            await self._host.offload(self._write, kept)
        except OSError as error:
            journal().warning("what is usual could not be saved", type=type(error).__name__)
        else:
            self._known = known

    def _write(self, kept: bytes) -> None:
        body = zlib.compress(kept, 1)
        if self._host.files.free() < len(body) + ROOM_BYTES_MIN:
            raise OSError("the disk has no room for it")
        saved = _Saved(len(body), self._ledger, sha256(body).hexdigest(), SHAPE)
        make_directory(self._host.files, DIRECTORY)
        small_write(self._host.files, PATH, sealed_line(encode(msgspec.to_builtins(saved))) + body)


def _body(raw: bytes, ledger: str) -> bytes:
    """Raises ValueError where the file is not whole, of another version or of another state directory."""
    start = raw.find(b"\n") + 1
    try:
        saved = msgspec.convert(decode(unsealed(raw[:start])), _Saved, strict=True)
    except (BadLine, CanonicalError, msgspec.ValidationError):
        raise ValueError("its header is damaged") from None
    body = raw[start:]
    if saved.shape != SHAPE:
        raise ValueError("another version made it")
    if (len(body), sha256(body).hexdigest()) != (saved.bytes, saved.sha256):
        raise ValueError("its body is damaged")
    if saved.ledger != ledger:
        raise ValueError("it is of another state directory")
    try:
        return zlib.decompressobj().decompress(body, BODY_BYTES_MAX)
    except zlib.error:
        raise ValueError("its body cannot be read") from None


_packer = msgspec.msgpack.Encoder()
_unpacker = msgspec.msgpack.Decoder(Kept, strict=True)


class WatchedWriter(FollowedWriter):
    """A writer beside which the detector sees every command too."""

    def __init__(
        self, host: Host, logs: Mapping[str, Log], after_group: Callable[[set[str]], None], views: Views, anomalies: Anomalies
    ) -> None:
        super().__init__(host, logs, after_group, views)
        self._anomalies = anomalies

    def taken(self, log: str, first_seq: int, commands: Sequence[Sequence[Pending]]) -> None:
        super().taken(log, first_seq, commands)
        self._anomalies.taken(log, first_seq, commands)
