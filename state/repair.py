"""Gives a damaged log back to service: its longest sound beginning goes on under a new identity, and nothing is thrown away.

Never in place: what is kept of a damaged file is written anew under another name and made durable first; then a plan, and from
there on each step may be done again, so that a crash anywhere leaves the damaged log or one that the next run finishes. No start
takes a log while its plan is there. Damaged files go whole into `quarantine/`. A log that is sound is not touched.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from core.canonical import CanonicalError, decode, encode
from state.alone import Refusal, become_owner, caller, counted_records, new_id, said_plainly
from state.alone import stamp as machine_stamp
from state.checkpoint import checkpoint_path
from state.cosigned import cosigned_paths
from state.fork import fork_record, new_identity, new_origin, repair_path
from state.fs import Files, RealFiles, make_directory, read_all, read_at, small_write, write_all
from state.judge import head_of
from state.ledger import BASE, BadLedger, LedgerFile, NewerFormat, hold, read_ledger, store
from state.log import Head, Stamper, head_directory, head_path
from state.prefix import Prefix, longest
from state.recover import QUARANTINE
from state.retention import PRUNE
from state.rotation import READ_ONLY
from state.scan import BLOCK_BYTES, START, Position, lines
from state.seal import BadLine, Pending, parse, seal, sealed_line, unsealed
from state.segment import (
    GENESIS,
    IRER,
    SEGMENT,
    Closed,
    Corrupt,
    active_path,
    closed_firsts,
    closed_path,
    continuation,
    genesis,
    next_path,
)
from state.snapshot import directory as snapshot_directory
from state.snapshot import name_of as snapshot_name
from state.tree import Edge

OK, FAILED = 0, 1
STAGED = ".repair"
"""Behind the name that a new file will get."""

Row = dict[str, Any]


class Plan(msgspec.Struct, forbid_unknown_fields=True):
    """All that is left to do once every new file is durable. Each step may be done twice."""

    away: list[tuple[str, str]]
    """Files that leave, and where they go."""
    head: str
    id: str
    """Of the ledger from now on: what a caller remembers of the old one is refused."""
    log: str
    origin: str
    place: list[str]
    """Names for which a new file waits."""
    report: Row


class _Fresh(NamedTuple):
    """The new active segment, and what follows from it."""

    data: bytes
    end: Position
    first_seq: int


def repair(
    files: Files,
    name: str,
    ledger: LedgerFile,
    actor: str,
    stamp: Stamper,
    draw: Callable[[], str],
    *,
    dry_run: bool = False,
    fork: bool = False,
) -> Row:
    """What was done, or would be. The state directory is held. Raises Refusal, NewerFormat; OSError leaves it for the next run.

    `fork`: a sound log goes on under a new name too, for somebody knows another history of it under the old one.
    """
    if (plan := _begun(files, name)) is not None:
        if not dry_run:
            _finish(files, ledger, plan)
        return plan.report | {"dry_run": dry_run, "finished": not dry_run}
    known = ledger.logs.get(name)
    found = longest(files, name, known, ledger.former.get(name, ()))
    sound = found.damage is None
    if sound and not fork:
        return _row(name, found, ok=True)
    if sound:
        found = found._replace(damage=Corrupt(name, found.end.offset, found.end.seq, "sound, and forked because it was asked for"))
    if not found.startable:
        raise Refusal(
            f"{name}: its records before {found.segments[0].first_seq:,} were pruned, and no snapshot stands for them, "
            "so no beginning of it can be used. Restore a backup: irerctl restore FILE"
        )
    identity = new_identity(draw)
    old = found.origin or known or f"{BASE}/{ledger.id}/{name}"
    origin = new_origin(old, identity)
    report = _row(name, found, ok=False) | _lost(files, name, found) | {"old_origin": old, "new_origin": origin, "dry_run": dry_run}
    report |= {"sound": True} if sound else {}
    if dry_run:
        return report
    fresh, place = _stage(files, name, found, old, origin, actor, stamp)
    away = _leaving(files, name, found, fresh.first_seq)
    where = f"{QUARANTINE}/{name}.repair-{identity}"
    report |= {"kept_as": where, "moved": [path for path, _ in away]}
    plan = Plan([(path, f"{where}/{target}") for path, target in away], _head(name, fresh), identity, name, origin, place, report)
    _commit(files, plan, where)
    _finish(files, ledger, plan)
    return report


# --- what will be there -------------------------------------------------------------------------------------------------------


def _stage(files: Files, name: str, found: Prefix, old: str, origin: str, actor: str, stamp: Stamper) -> tuple[_Fresh, list[str]]:
    """The new files, durable under their temporary names."""
    for leftover in files.list("."):
        if leftover.startswith(f"{name}.") and leftover.endswith(STAGED):
            files.unlink(leftover)
    place: list[str] = []
    closed: Closed | None = None
    if found.segments:
        closed, copied = _last_closed(files, name, found)
        place += copied
    fresh = _fresh(name, found, closed, old, origin, actor, stamp)
    _write_new(files, active_path(name) + STAGED, [fresh.data], 0o600)
    files.fsync_dir(".")
    return fresh, [*place, active_path(name)]


def _last_closed(files: Files, name: str, found: Prefix) -> tuple[Closed, list[str]]:
    """The last segment that is kept, as the new one will name it, and its name if it is written anew: if all of it is sound and
    it was closed before, it stays the file it is."""
    last, end = found.segments[-1], found.end
    path = closed_path(name, last.first_seq)
    digest = sha256()

    def blocks() -> Iterator[bytes]:
        for start in range(0, end.offset, BLOCK_BYTES):
            block = read_at(files, fd, start, min(BLOCK_BYTES, end.offset - start))
            digest.update(block)
            yield block

    fd = files.open(last.path, os.O_RDONLY)
    try:
        stays = _stays(name, found)
        if stays:
            for _ in blocks():
                continue
        else:
            _write_new(files, path + STAGED, blocks(), READ_ONLY)
    finally:
        files.close(fd)
    return Closed(last.first_seq, end.seq - 1, end.offset, end.tip, digest.hexdigest(), 0), [] if stays else [path]


def _stays(name: str, found: Prefix) -> bool:
    """Whether the last segment that is kept is kept whole, and was closed."""
    last = found.segments[-1]
    return last.path != active_path(name) and found.end.offset == last.size


def _write_new(files: Files, path: str, blocks: Iterator[bytes] | list[bytes], mode: int) -> None:
    fd = files.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        for block in blocks:
            write_all(files, fd, block)
        files.chmod(path, mode)
        files.fsync(fd)
    finally:
        files.close(fd)


def _fresh(name: str, found: Prefix, closed: Closed | None, old: str, origin: str, actor: str, stamp: Stamper) -> _Fresh:
    """The new active segment: its opening, the fork, and what else must not be forgotten, a batch each."""
    time_us, mono_us, boot_id = stamp()
    edge = found.edge or Edge()
    if closed is None:
        opening, at = Pending(GENESIS, genesis(name, old), IRER, boot_id, mono_us, time_us), START
    else:
        payload = continuation(name, old, closed, edge.root().hex())
        opening, at = Pending(SEGMENT, payload, IRER, boot_id, mono_us, time_us), found.end._replace(offset=0)
    prunes = [Pending(PRUNE, prune.payload(), IRER, boot_id, mono_us, time_us) for prune in found.prunes]
    data, end = b"", at
    for records in ([opening], [fork_record(old, edge, origin, actor, stamp)], *([prune] for prune in prunes)):
        [record] = records
        line, tip = seal(record, (end.batch, 0, 1), end.tip, end.seq, end.offset)
        data += line
        end = Position(end.offset + len(line), end.seq + 1, end.batch + 1, tip)
    return _Fresh(data, end, at.seq)


def _head(name: str, fresh: _Fresh) -> str:
    end = fresh.end
    head = Head(end.batch - 1, name, end.offset, fresh.first_seq, end.seq - 1, end.tip)
    return sealed_line(encode(msgspec.structs.asdict(head))).decode()


# --- what will be gone ----------------------------------------------------------------------------------------------------------


def _leaving(files: Files, name: str, found: Prefix, first_new: int) -> list[tuple[str, str]]:
    """Every file that is no part of the new log, and its name in quarantine: the one it had."""
    stay = {segment.path for segment in found.segments[:-1]}
    if found.segments and _stays(name, found):
        stay.add(found.segments[-1].path)
    closed = [closed_path(name, first) for first in closed_firsts(files, name)]
    gone = [path for path in (*closed, active_path(name), next_path(name)) if path not in stay and files.stat_path(path)]
    away = [(path, path) for path in gone]
    if files.stat_path(head_path(name)) is not None:
        away.append((head_path(name), "head"))
    if files.stat_path(checkpoint_path(name)) is not None:
        away.append((checkpoint_path(name), "checkpoint"))
    away += [(path, path.rpartition("/")[2]) for path in cosigned_paths(files, name)]
    good = {snapshot_name(seq) for seq in found.snapshots}
    where = snapshot_directory(name)
    if files.stat_path(where) is not None:
        away += [(f"{where}/{each}", each) for each in files.list(where) if each.endswith(".snap") and each not in good]
    return away + [(f"{QUARANTINE}/{each}", each) for each in _cut_tails(files, name, first_new)]


def _cut_tails(files: Files, name: str, first_new: int) -> list[str]:
    """What earlier starts cut off segments that are no more: the next start would take it for a cut of the new one."""
    if files.stat_path(QUARANTINE) is None:
        return []
    parts = [(each, each.removeprefix(f"{name}.").split(".")) for each in files.list(QUARANTINE) if each.startswith(f"{name}.")]
    return [each for each, words in parts if len(words) == 4 and words[0].isdigit() and int(words[0]) >= first_new]


# --- the steps that count -------------------------------------------------------------------------------------------------------


def _begun(files: Files, name: str) -> Plan | None:
    raw = read_all(files, repair_path(name))
    if raw is None:
        return None
    try:
        return msgspec.convert(decode(unsealed(raw)), Plan, strict=True)
    except (BadLine, CanonicalError, msgspec.ValidationError):
        text = f"{repair_path(name)} is damaged: an earlier repair cannot be finished. Restore a backup: irerctl restore FILE"
        raise Refusal(text) from None


def _commit(files: Files, plan: Plan, where: str) -> None:
    """From here on the repair can only be finished."""
    make_directory(files, QUARANTINE)
    make_directory(files, where)
    make_directory(files, "log.d")
    make_directory(files, head_directory(plan.log))
    small_write(files, repair_path(plan.log), sealed_line(encode(msgspec.structs.asdict(plan))))


def _finish(files: Files, ledger: LedgerFile, plan: Plan) -> None:
    _move_away(files, plan)
    for path in plan.place:
        if files.stat_path(path + STAGED) is not None:
            files.rename(path + STAGED, path)
    files.fsync_dir(".")
    small_write(files, head_path(plan.log), plan.head.encode())
    if (ledger.id, ledger.logs.get(plan.log)) != (plan.id, plan.origin):
        ledger.rename(plan.log, plan.origin, plan.id)
        store(files, ledger)
    files.unlink(repair_path(plan.log))
    files.fsync_dir(head_directory(plan.log))


def _move_away(files: Files, plan: Plan) -> None:
    """Each file has its second name durably before it loses the first."""
    for path, target in plan.away:
        if files.stat_path(path) is not None and files.stat_path(target) is None:
            files.link(path, target)
    for directory in {target.rpartition("/")[0] for _, target in plan.away}:
        files.fsync_dir(directory)
    for path, target in plan.away:
        here, there = files.stat_path(path), files.stat_path(target)
        if here is not None and there is not None and here.inode == there.inode:
            files.unlink(path)
    for directory in {path.rpartition("/")[0] or "." for path, _ in plan.away}:
        files.fsync_dir(directory)


# --- what is said ---------------------------------------------------------------------------------------------------------------


def _row(name: str, found: Prefix, *, ok: bool) -> Row:
    row: Row = {"log": name, "ok": ok, "kept": {"records": found.end.seq, "bytes": _kept_bytes(found)}}
    return row if found.damage is None else row | {"why": str(found.damage.why), "at": found.damage.file}


def _kept_bytes(found: Prefix) -> int:
    return sum(segment.size for segment in found.segments[:-1]) + found.end.offset


def _lost(files: Files, name: str, found: Prefix) -> Row:
    """What is behind the part that is kept: bytes, and as many records as can still be made out."""
    paths = [closed_path(name, first) for first in closed_firsts(files, name)] + [active_path(name)]
    kept = {segment.path: segment.size for segment in found.segments[:-1]}
    if found.segments:
        kept[found.segments[-1].path] = found.end.offset
    size, seqs = 0, set[int]()
    for path in paths:
        if (stat := files.stat_path(path)) is not None and stat.size > kept.get(path, 0):
            size += stat.size - kept.get(path, 0)
            seqs |= set(_seqs_behind(files, path, kept.get(path, 0), stat.size))
    head = head_of(files, name)
    last = max([*(seq for seq in seqs if seq >= found.end.seq), head.seq if isinstance(head, Head) else -1])
    more = {"last_seq": last} if last >= found.end.seq else {}
    readable = sum(seq >= found.end.seq for seq in seqs)
    return {"lost": {"from_seq": found.end.seq, "bytes": size, "records": readable, **more}}


def _seqs_behind(files: Files, path: str, start: int, end: int) -> Iterator[int]:
    fd = files.open(path, os.O_RDONLY)
    try:
        for line in lines(lambda offset, size: read_at(files, fd, offset, size), start, end):
            try:
                yield parse(line).seq
            except BadLine:
                continue
    except OSError:
        return  # what cannot be read cannot be counted
    finally:
        files.close(fd)


def said(row: Row, place: str) -> list[str]:
    """The same as `row`, for a person."""
    name, kept = row["log"], row["kept"]
    if row["ok"]:
        return [f"{name}: {counted_records(kept['records'])}, all sound. Nothing to repair"]
    would, sound = row.get("dry_run"), row.get("sound", False)
    lost = row["lost"]
    upto = f" to {lost['last_seq']:,}" if "last_seq" in lost else " on"
    text = [
        f"{name}: {row['why']} ({row['at']})",
        f"{'would keep' if would else 'kept'}  {counted_records(kept['records'])}, {kept['bytes']:,} bytes",
    ]
    if not sound:
        text.append(
            f"{'would lose' if would else 'lost'}  records {lost['from_seq']:,}{upto}: {lost['bytes']:,} bytes, "
            f"in which {counted_records(lost['records'])} can still be read"
        )
    if would:
        fork = " --fork" if sound else ""
        return [*text, f"Nothing was changed. To do it: irerctl audit repair {name} --state-dir {place}{fork}"]
    return [
        *text,
        f"the {'files as they were' if sound else 'damaged files'} are in {row['kept_as']}: {', '.join(row['moved']) or 'none'}",
        f"{name} goes on as {row['new_origin']}; cursors that callers kept are refused",
    ]


def main(argv: Sequence[str] | None = None) -> int:
    options = _arguments(argv)
    try:
        row = _run(options)
    except (Refusal, BadLedger, NewerFormat) as refusal:
        print(refusal, file=sys.stderr)
        return FAILED
    except OSError as error:
        print(f"{options.dir}: {error.strerror or error}. What was begun is finished by the same command again", file=sys.stderr)
        return FAILED
    print(json.dumps(row, ensure_ascii=False) if options.jsonl else "\n".join(said(row, str(options.dir))))
    return OK


def _run(options: argparse.Namespace) -> Row:
    if not options.dir.is_dir():
        raise Refusal(f"{options.dir} is no directory. Give the state directory, as irerd's --state-dir")
    actor = options.actor or caller()
    with said_plainly(options.dir):
        become_owner(options.dir)
        files = RealFiles(options.dir)
        try:
            if files.stat_path("ledger.json") is None:
                raise Refusal(
                    f"{options.dir} has no ledger.json, so it is no state directory. Restore a backup: irerctl restore FILE"
                )
            held = hold(files)
            try:
                return _in_ledger(files, options, actor)
            finally:
                files.close(held)
        finally:
            files.shut()


def _in_ledger(files: Files, options: argparse.Namespace, actor: str) -> Row:
    ledger = read_ledger(files)
    assert ledger is not None
    there = {each.removesuffix(".jsonl") for each in files.list(".") if each.endswith(".jsonl") and each.count(".") == 1}
    known = sorted(ledger.logs.keys() | there)
    if options.log not in known:
        raise Refusal(f"no log {options.log} in {options.dir}. There are: {', '.join(known) or 'none'}")
    return repair(files, options.log, ledger, actor, machine_stamp, new_id, dry_run=options.dry_run, fork=options.fork)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m state.repair",
        description="Keep the longest sound beginning of a damaged log, under a new identity. irerd must be stopped.",
    )
    parser.add_argument("dir", type=Path, metavar="DIR", help="the state directory")
    parser.add_argument("log", metavar="LOG", help="the log, such as engine_state")
    parser.add_argument("--actor", metavar="WHO", help="who asked, for the record; without it whoever runs this")
    parser.add_argument("--dry-run", action="store_true", help="tell what would be kept and lost; change nothing")
    parser.add_argument(
        "--fork", action="store_true", help="a sound log too goes on under a new name: a witness knows another history"
    )
    parser.add_argument("--jsonl", action="store_true", help="one JSON object")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
