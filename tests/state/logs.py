"""Logs for tests: one clock, one name, and a way to have a log with given batches on a simulated disk."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from core.canonical import encode
from state.fs import Files
from state.ledger import Ledger, open_ledger
from state.log import Log, Stamper, head_path, sealed_line
from state.recover import Recovery, records_between, recover
from state.rotation import Limits
from state.seal import Pending, Record
from state.segment import active_path
from tests.sim.disk import SimFiles

NAME = "engine_state"
ACTIVE = active_path(NAME)
HEAD = head_path(NAME)
ORIGIN = f"irer.invalid/00000000000000a1/{NAME}"
BOOT_ID = "b7f3c1d2"
GOLDEN = (Path(__file__).parents[1] / "golden" / "golden_log.jsonl").read_bytes()
GOLDEN_ENDS = (512, 2048, 4096)
GOLDEN_TIPS = (
    (0, "5e5d1bbcf6a13e2810c0906e8db23a7105f78bc5671f30dd91538a7ee027b81c"),
    (3, "aa738f3570d7963e5bfdec425f22cc0c9e217c98b7d986d9123b5a4d6999ed3a"),
    (7, "0546a8269b9706c1587c133dab8db8df48f3f50a5f269a60826cc003e590b5a8"),
)


def stamp() -> tuple[int, int, str]:
    return 1_767_225_600_000_000, 41_000_000, BOOT_ID


def pending(number: int, size: int = 20) -> Pending:
    return Pending("task.note", encode({"n": number, "text": "x" * size}), "uid:1000", BOOT_ID, 41_000_001, 1_767_225_600_000_001)


def head_line(batch: int, seq: int, tip: str, offset: int, log: str = NAME, segment: int = 0) -> bytes:
    return sealed_line(encode({"batch": batch, "log": log, "offset": offset, "segment": segment, "seq": seq, "tip": tip}))


@cache
def golden_head(batch: int) -> bytes:
    seq, tip = GOLDEN_TIPS[batch]
    return head_line(batch, seq, tip, GOLDEN_ENDS[batch])


def golden_disk(data: bytes = GOLDEN, watermark: int | None = 0) -> SimFiles:
    files = SimFiles()
    files.plant(ACTIVE, data)
    if watermark is not None:
        files.plant(HEAD, golden_head(watermark))
    return files


class Ids:
    """Identifiers that are the same in every run."""

    def __init__(self, start: int = 0) -> None:
        self.last = start

    def __call__(self) -> str:
        self.last += 1
        return f"00000000-0000-4000-8000-{self.last:012x}"


def ledger(files: Files) -> Ledger:
    return open_ledger(files, Ids())


def recovered(files: Files, stamper: Stamper = stamp) -> tuple[Recovery, list[Record]]:
    """What recovery makes of a disk, and every record it handed out."""
    records: list[Record] = []
    return recover(files, NAME, ORIGIN, stamper, records.extend), records


def new_log(files: Files) -> Log:
    return recovered(files)[0].log


def append(log: Log, records: Sequence[Pending]) -> list[tuple[int, str]]:
    """One durable batch; what its callers were told."""
    sealed = log.seal(records)
    log.commit(sealed.data)
    return [(receipt.seq, receipt.event_hash) for receipt in sealed.receipts]


# --- several segments -------------------------------------------------------------------------------------------------------

SMALL = Limits(bytes=4_096, records=12, age_us=24 * 3_600_000_000)
DAY_US = 24 * 3_600_000_000


def small_log(files: Files) -> Log:
    return recover(files, NAME, ORIGIN, stamp, lambda batch: None, limits=SMALL).log


def filled(files: Files, segments: int, records: int = 4) -> list[tuple[int, str]]:
    """A log of so many segments, and the `event_hash` of each of its records; closed, with its head written."""
    log = small_log(files)
    for number in range(segments):
        for place in range(records):
            append(log, [pending(number * 100 + place, 100)] * (1 + place % 3))
        if number + 1 < segments:
            log.rotate(stamp)
    log.write_head()
    told = [(record.seq, record.event_hash) for record in records_between(log, 0, log.next_seq)]
    log.close()
    return told


def files_of(files: SimFiles) -> list[str]:
    """The segments there are, oldest first."""
    return [path for path in files.list(".") if path.startswith(f"{NAME}.") and path.endswith(".jsonl")]
