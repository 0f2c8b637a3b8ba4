"""Makes a state directory from a backup: checked whole before it gets its name, and under a new identity from then on.

The file is untrusted: only regular files of known names are taken, each as long and with the digest that the manifest says, and the
logs must hold together up to the record it names. Until all of that is sure nothing is changed. A directory that stands where the
new one belongs is moved aside, never deleted. Every log gets `log.fork`, so nobody takes the restored history for the one that was
lost: receipts and cursors of records beyond it are of the other fork.
"""

import argparse
import json
import os
import re
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from core.canonical import CanonicalError, decode, encode
from core.system import BackedLog, Manifest
from state.alone import Refusal, caller, counted_records, new_id, said_plainly
from state.alone import stamp as machine_stamp
from state.backup import FILES, MANIFEST, key_check, known, list_line, log_of
from state.fork import fork_record, new_identity, new_origin
from state.fs import Files, RealFiles, make_directory, read_all, read_at, small_write, write_all
from state.ledger import KEY, KEY_BYTES, KEYS, BadLedger, LedgerFile, NewerFormat, hold, make_keys, read_ledger, store
from state.log import Head, Stamper, head_path
from state.mounted import LOST_AND_FOUND, emptied, is_mount, move_up
from state.prefix import Prefix, longest
from state.rotation import READ_ONLY
from state.seal import BadLine, seal, sealed_line, unsealed
from state.segment import active_path
from state.tree import Edge

OK, FAILED = 0, 1
BLOCK_BYTES = 512
COPY_BYTES = 1_048_576
MANIFEST_BYTES_MAX = 1 << 20
FILES_BYTES_MAX = 256 << 20
"""Of the list: more than a million files."""

Row = dict[str, Any]
Read = Callable[[int, int], bytes]


class Source(NamedTuple):
    """The backup file."""

    read: Read
    size: int


class Place(NamedTuple):
    """Where the new directory belongs."""

    parent: Files
    name: str
    inside: Callable[[str], Files]
    """The files of one directory beside it, or of itself."""
    shut: Callable[[Files], None]
    discard: Callable[[str], None]
    """Delete an unfinished one."""
    mounted: bool = False
    """Whether it is a mount point, onto which nothing can be renamed."""


class Wanted(NamedTuple):
    """Where the keys come from, if the backup has none: a copy of them, or new ones."""

    keys: Files | None = None
    new: bool = False


class Member(NamedTuple):
    name: str
    start: int
    size: int


def restore(source: Source, place: Place, wanted: Wanted, actor: str, stamp: Stamper, draw: Callable[[], str]) -> Row:
    """What was done. Raises Refusal, Locked, BadLedger and NewerFormat, and then nothing has changed."""
    members = {member.name: member for member in _members(source)}
    manifest = _manifest(source, members)
    _compare(source, members, manifest)
    identity = new_identity(draw)
    for leftover in _siblings(place, "restoring-[0-9a-f]{16}"):
        place.discard(leftover)
    if place.mounted:
        return _within(source, members, manifest, place, wanted, actor, stamp, draw, identity)
    with ExitStack() as held:
        old = held.enter_context(_standing(place))
        unfinished = f"{place.name}.restoring-{identity}"
        place.parent.mkdir(unfinished)
        try:
            row = _make(source, members, manifest, place, unfinished, wanted, actor, stamp, draw, identity)
            row["ahead"] = _ahead(old, manifest)
        except BaseException:
            place.discard(unfinished)
            raise
        return row | {"aside": _swap(place, unfinished, aside=old is not None)}


def _within(
    source: Source,
    members: Mapping[str, Member],
    manifest: Manifest,
    place: Place,
    wanted: Wanted,
    actor: str,
    stamp: Stamper,
    draw: Callable[[], str],
    identity: str,
) -> Row:
    """The same in a mount point, which must be empty."""
    there, unfinished = place.inside(place.name), f"restoring-{identity}"

    def discard(name: str) -> None:
        place.discard(f"{place.name}/{name}")

    try:
        with emptied(there, place.name, discard):
            there.mkdir(unfinished)
            there.fsync_dir(".")  # whatever is moved out of it: by this name it is known that it was
            try:
                row = _make(source, members, manifest, place, f"{place.name}/{unfinished}", wanted, actor, stamp, draw, identity)
            except BaseException:
                discard(unfinished)
                raise
            move_up(there, unfinished, discard)
    finally:
        place.shut(there)
    return row | {"ahead": {}, "aside": None}


# --- the file -----------------------------------------------------------------------------------------------------------------


def _bad(why: str) -> Refusal:
    return Refusal(f"this is no whole backup: {why}. Nothing was changed. Use another backup")


def _members(source: Source) -> Iterator[Member]:
    """Every file in it, by the headers alone. Nothing but regular files of known names, none twice, and nothing behind them."""
    seen: set[str] = set()
    place = 0
    while True:
        block = source.read(place, BLOCK_BYTES)
        if len(block) < BLOCK_BYTES:
            raise _bad("it ends too early")
        if not any(block):
            break
        member = _member(block, place)
        end = member.start + member.size
        place = end + -end % BLOCK_BYTES
        if member.name in seen:
            raise _bad(f"{member.name} is in it twice")
        if place > source.size:
            raise _bad("it ends too early")
        if any(source.read(end, place - end)):
            raise _bad(f"something stands behind {member.name}")
        seen.add(member.name)
        yield member
    if source.size < place + 2 * BLOCK_BYTES or any(
        any(source.read(at, COPY_BYTES)) for at in range(place, source.size, COPY_BYTES)
    ):
        raise _bad("its end is not what it was")


def _member(block: bytes, place: int) -> Member:
    try:
        header = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError, ValueError):
        raise _bad(f"byte {place:,} begins no file") from None
    if not (header.name in (FILES, MANIFEST) or known(header.name)):
        raise _bad(f"it has a file that no state directory has, {header.name[:100]!a}")
    plain = tarfile.TarInfo(header.name)
    plain.size, plain.mode = header.size, 0o600
    if header.size < 0 or plain.tobuf(tarfile.USTAR_FORMAT) != block:
        raise _bad(f"byte {place:,} begins no plain file")
    return Member(header.name, place + BLOCK_BYTES, header.size)


def _manifest(source: Source, members: Mapping[str, Member]) -> Manifest:
    member = members.get(MANIFEST)
    if member is None or member.size > MANIFEST_BYTES_MAX:
        raise _bad(f"it has no {MANIFEST}")
    try:
        return msgspec.convert(decode(unsealed(source.read(member.start, member.size))), Manifest, strict=True)
    except (BadLine, CanonicalError, msgspec.ValidationError) as error:
        raise _bad(f"{MANIFEST} is damaged ({error})") from None


def _compare(source: Source, members: Mapping[str, Member], manifest: Manifest) -> None:
    """Every file is the one that the daemon sent, and nothing else is there."""
    listed = members.get(FILES)
    if listed is None or listed.size > FILES_BYTES_MAX:
        raise _bad(f"it has no {FILES}")
    if sha256(lines := source.read(listed.start, listed.size)).hexdigest() != manifest.sha256:
        raise _bad(f"{FILES} is not the list that {MANIFEST} names")
    sent = [member for name, member in members.items() if name not in (FILES, MANIFEST)]
    if (len(sent), sum(member.size for member in sent)) != (manifest.files, manifest.bytes) or [len(sent), b"\n"] != [
        lines.count(b"\n"),
        lines[-1:],
    ]:
        raise _bad(f"{MANIFEST} and the files do not agree on how many there are")
    if any(member.name.startswith(f"{KEYS}/") for member in sent) != manifest.with_keys:
        raise _bad(f"{MANIFEST} and the files do not agree on the keys")
    for member, line in zip(sent, BytesIO(lines), strict=True):
        if (log := log_of(member.name)) is not None and log not in manifest.logs:
            raise _bad(f"{member.name} is of a log that {MANIFEST} does not name")
        digest = sha256()
        for block in _blocks(source, member):
            digest.update(block)
        if line != list_line(member.name, digest.hexdigest()):
            raise _bad(f"{member.name} is not what was sent")


def _blocks(source: Source, member: Member) -> Iterator[bytes]:
    for start in range(0, member.size, COPY_BYTES):
        yield source.read(member.start + start, min(COPY_BYTES, member.size - start))


# --- the directory --------------------------------------------------------------------------------------------------------------


def _make(
    source: Source,
    members: Mapping[str, Member],
    manifest: Manifest,
    place: Place,
    name: str,
    wanted: Wanted,
    actor: str,
    stamp: Stamper,
    draw: Callable[[], str],
    identity: str,
) -> Row:
    """All of it under the temporary name, durable and checked."""
    files = place.inside(name)
    try:
        for member in members.values():
            if member.name not in (FILES, MANIFEST):
                _unpack(files, source, member)
        ledger = read_ledger(files)
        if ledger is None or ledger.id != manifest.ledger or not manifest.logs.keys() <= ledger.logs.keys():
            raise _bad("its ledger.json is of another ledger")
        keys = _bring_keys(files, ledger, manifest, place, wanted, draw)
        ledger.logs = {log: origin for log, origin in ledger.logs.items() if log in manifest.logs}
        for log, found in manifest.logs.items():
            _fork(files, log, _checked(files, log, found, ledger), ledger, identity, actor, stamp)
        store(files, ledger)
        _sync_directories(files, ".")
    finally:
        place.shut(files)
    return {
        "dir": place.name,
        "taken_at": manifest.taken_at,
        "from_ledger": manifest.ledger,
        "ledger": identity,
        "keys": keys,
        "logs": {log: {"records": found.records, "origin": ledger.logs[log]} for log, found in sorted(manifest.logs.items())},
    }


def _unpack(files: Files, source: Source, member: Member) -> None:
    parts = member.name.split("/")[:-1]
    for count in range(1, len(parts) + 1):
        make_directory(files, "/".join(parts[:count]))
    closed = member.name.count(".") == 2 and member.name.endswith(".jsonl")
    fd = files.open(member.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        for block in _blocks(source, member):
            write_all(files, fd, block)
        files.fsync(fd)
    finally:
        files.close(fd)
    if closed:
        files.chmod(member.name, READ_ONLY)


def _checked(files: Files, log: str, expected: BackedLog, ledger: LedgerFile) -> Prefix:
    found = longest(files, log, ledger.logs[log], ledger.former.get(log, ()))
    if found.damage is not None or found.torn:
        raise _bad(f"{found.damage or f'{log}: it ends inside a batch'}")
    root = found.edge.root().hex() if found.edge is not None else ""
    if (found.end.seq, found.end.tip, root) != (expected.records, expected.tip, expected.root):
        raise _bad(f"{log} is not the log that {MANIFEST} names")
    return found


def _fork(files: Files, log: str, found: Prefix, ledger: LedgerFile, identity: str, actor: str, stamp: Stamper) -> None:
    """The first batch of the new fork, and the head that names it."""
    old, end = ledger.logs[log], found.end
    origin = new_origin(old, identity)
    line, tip = seal(fork_record(old, found.edge or Edge(), origin, actor, stamp), (end.batch, 0, 1), end.tip, end.seq, end.offset)
    fd = files.open(active_path(log), os.O_WRONLY | os.O_APPEND)
    try:
        write_all(files, fd, line)
        files.fsync(fd)
    finally:
        files.close(fd)
    head = Head(end.batch, log, end.offset + len(line), found.segments[-1].first_seq, end.seq, tip)
    small_write(files, head_path(log), sealed_line(encode(msgspec.structs.asdict(head))))
    ledger.rename(log, origin, identity)


def _sync_directories(files: Files, path: str) -> None:
    for name in files.list(path):
        each = name if path == "." else f"{path}/{name}"
        found = files.stat_path(each)
        if found is not None and not found.mode & 0o100000:
            _sync_directories(files, each)
    files.fsync_dir(path)


# --- the keys -------------------------------------------------------------------------------------------------------------------


def _bring_keys(files: Files, ledger: LedgerFile, manifest: Manifest, place: Place, wanted: Wanted, draw: Callable[[], str]) -> str:
    """Says where they came from. Raises Refusal where there are none that go with this backup."""
    if wanted.new:
        make_keys(files, ledger, draw)
        return "new"
    if manifest.with_keys:
        _fit(files, f"{KEYS}/", ledger, manifest, "the backup")
        return "the backup"
    if wanted.keys is not None:
        _fit(wanted.keys, "", ledger, manifest, "that directory")
        _copy_keys(wanted.keys, "", files)
        return "the directory that was given"
    for beside in [place.name, *reversed(_siblings(place, "before-restore-[0-9]+"))]:
        if place.parent.stat_path(f"{beside}/{KEY}") is not None:
            prefix = f"{beside}/{KEYS}/"
            if _fits(place.parent, prefix, ledger, manifest):
                _copy_keys(place.parent, prefix, files)
                return beside
    raise Refusal(
        "the backup was made without its keys, and there are none here that go with it. Give a copy of keys/: --keys DIR. "
        "If they are lost for good: --new-keys, which ends all engine keys and tokens, and no new pseudonym is like an old one"
    )


def _fit(files: Files, prefix: str, ledger: LedgerFile, manifest: Manifest, where: str) -> None:
    if not _fits(files, prefix, ledger, manifest):
        raise Refusal(f"the keys in {where} are not those of this backup. Nothing was changed. Give the right ones: --keys DIR")


def _fits(files: Files, prefix: str, ledger: LedgerFile, manifest: Manifest) -> bool:
    key = _key(files, f"{prefix}ledger")
    others = [_key(files, f"{prefix}{name}") for name in ledger.keys]
    return key is not None and key_check(key) == manifest.key_check and None not in others


def _key(files: Files, path: str) -> bytes | None:
    raw = read_all(files, path)
    return raw if raw is not None and len(raw) == KEY_BYTES else None


def _copy_keys(source: Files, prefix: str, files: Files) -> None:
    make_directory(files, KEYS)
    for name in source.list(prefix.rstrip("/") or "."):
        if known(f"{KEYS}/{name}") and (raw := read_all(source, f"{prefix}{name}")) is not None:
            small_write(files, f"{KEYS}/{name}", raw)


# --- what stands there ------------------------------------------------------------------------------------------------------------


@contextmanager
def _standing(place: Place) -> Iterator[Files | None]:
    """The directory that is there now, held so that no daemon uses it; None where there is none, or an empty one."""
    if place.parent.stat_path(place.name) is None or not place.parent.list(place.name):
        yield None
        return
    files = place.inside(place.name)
    try:
        held = hold(files)
        try:
            yield files
        finally:
            files.close(held)
    finally:
        place.shut(files)


def _ahead(old: Files | None, manifest: Manifest) -> dict[str, int]:
    """Of each log, how many sound records the old directory has that are not in the backup."""
    try:
        ledger = read_ledger(old) if old is not None else None
    except (BadLedger, NewerFormat):
        return {}
    if old is None or ledger is None:
        return {}
    known_logs = {name: longest(old, name, ledger.logs[name], ledger.former.get(name, ())) for name in ledger.logs}
    more = {
        name: found.end.seq - (manifest.logs[name].records if name in manifest.logs else 0) for name, found in known_logs.items()
    }
    return {name: count for name, count in sorted(more.items()) if count > 0}


def _siblings(place: Place, ending: str) -> list[str]:
    shape = re.compile(re.escape(place.name) + r"\." + ending)
    return [name for name in place.parent.list(".") if shape.fullmatch(name)]


def _swap(place: Place, unfinished: str, *, aside: bool) -> str | None:
    """The new directory gets its name. What had it gets another first."""
    moved = None
    if aside:
        taken = {int(name.rpartition("-")[2]) for name in _siblings(place, "before-restore-[0-9]+")}
        moved = f"{place.name}.before-restore-{max(taken, default=0) + 1}"
        place.parent.rename(place.name, moved)
        place.parent.fsync_dir(".")
    try:
        place.parent.rename(unfinished, place.name)
    except OSError:
        if moved is not None:
            place.parent.rename(moved, place.name)
        raise
    place.parent.fsync_dir(".")
    return moved


# --- the program ------------------------------------------------------------------------------------------------------------------


def said(row: Row) -> list[str]:
    """The same as `row`, for a person."""
    text = [f"{name}  {counted_records(log['records'])}" for name, log in row["logs"].items()]
    keys = "new keys: issue engine keys and tokens anew" if row["keys"] == "new" else f"the keys of {row['keys']}"
    text.append(f"{row['dir']} is what it was at {row['taken_at']}, with {keys}")
    if row["aside"] is not None:
        text.append(f"what stood there is now {row['aside']}; delete it yourself when you are sure")
        text += [f"  {name}: {counted_records(count)} there are not in the backup" for name, count in row["ahead"].items()]
    text.append(
        f"it goes on as ledger {row['ledger']}; cursors and receipts beyond the backup are of the other one, {row['from_ledger']}"
    )
    return text


def main(argv: Sequence[str] | None = None) -> int:
    options = _arguments(argv)
    try:
        row = _run(options)
    except (Refusal, BadLedger, NewerFormat) as refusal:
        print(refusal, file=sys.stderr)
        return FAILED
    except OSError as error:
        print(f"{error.filename or options.dir}: {error.strerror or error}. Nothing was changed", file=sys.stderr)
        return FAILED
    print(json.dumps(row, ensure_ascii=False) if options.jsonl else "\n".join(said(row)))
    return OK


def _run(options: argparse.Namespace) -> Row:
    there = Path(os.path.realpath(options.dir))
    with said_plainly(there), ExitStack() as held:
        parent, beside = RealFiles(there.parent), RealFiles(Path(os.path.realpath(options.file)).parent)
        held.callback(parent.shut)
        held.callback(beside.shut)
        fd = beside.open(os.path.basename(os.path.realpath(options.file)), os.O_RDONLY)
        held.callback(beside.close, fd)
        wanted = Wanted(new=options.new_keys)
        if options.keys is not None:
            wanted = Wanted(keys := RealFiles(options.keys), options.new_keys)
            held.callback(keys.shut)
        source = Source(lambda offset, size: read_at(beside, fd, offset, size), beside.stat(fd).size)
        owner = parent.owner(there.name) if parent.stat_path(there.name) is not None else None
        place = Place(parent, there.name, lambda name: RealFiles(there.parent / name), _shut, parent.discard, is_mount(there))
        row = restore(source, place, wanted, options.actor or caller(), machine_stamp, new_id)
        if owner is not None and (place.mounted or owner != parent.owner(there.name)):
            _give(parent, there.name, owner)
        return row | {"dir": str(there)}


def _shut(files: Files) -> None:
    assert isinstance(files, RealFiles)
    files.shut()


def _give(parent: RealFiles, path: str, owner: tuple[int, int]) -> None:
    """The daemon must be able to open what root has made."""
    parent.give(path, owner, LOST_AND_FOUND)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m state.restore",
        description="Make a state directory from a backup. irerd must be stopped; a directory that is there is moved aside.",
    )
    parser.add_argument("dir", type=Path, metavar="DIR", help="the state directory to make")
    parser.add_argument("file", type=Path, metavar="FILE", help="the backup")
    parser.add_argument(
        "--keys", type=Path, metavar="DIR", help="take the keys from here; without it those of the directory in place"
    )
    parser.add_argument("--new-keys", action="store_true", help="make new keys")
    parser.add_argument("--actor", metavar="WHO", help="who asked, for the record; without it whoever runs this")
    parser.add_argument("--jsonl", action="store_true", help="one JSON object")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
