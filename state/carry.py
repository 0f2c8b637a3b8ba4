"""Carries a checkpoint to a witness and its cosignature back where no irerd runs: `irerctl audit witness --state-dir`.

The checkpoint is the newest that irerd signed, at its stop at the latest; nothing is signed here. What comes back is kept only if
the witness signed a checkpoint that this log signed and continues: that is read in the log. It is kept as irerd keeps it.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from core.notes import COSIGNER, BadNote, Key, Note, cosigned_by, key_from, note_of, public_key, read_note, signatures_in, signed_by
from core.proofs import consistent
from core.witness import Request
from state.alone import Refusal, become_owner, said_plainly
from state.checkpoint import checkpoint_of
from state.cosigned import cosigned_of, write_cosigned
from state.fs import Files, RealFiles, read_all
from state.ledger import KEY_BYTES, SIGNING, BadLedger, NewerFormat, hold, read_ledger
from state.log import Full
from state.prove import Gone, prove_consistency
from state.segment import Corrupt

OK, FAILED = 0, 1

Row = dict[str, Any]


class Came(NamedTuple):
    """What was carried to the witness, and the line that it answered."""

    checkpoint: str
    cosignature: str


def request(files: Files, log: str, key: Key | None, old: int | None) -> Row:
    """What to carry to a witness. Takes no lock and changes nothing. Raises Refusal, Corrupt, BadLedger and NewerFormat."""
    note = _newest(files, log)
    at, known = note.checkpoint, _known(files, log, key)
    before = known if old is None else old
    if before > at.size:
        raise Refusal(
            f"the newest checkpoint of {log} is of {at.size:,} records, and the witness has seen {before:,}: were old files put "
            f"back? Look: irerctl audit verify --state-dir DIR --log {log}"
        )
    text = Request(before, tuple(_path(files, log, before, at.size)), note).text()
    return {"log": log, "origin": at.origin, "size": at.size, "old": before, "request": text, "kept": False}


def take(files: Files, log: str, key: Key, came: Came) -> Row:
    """Keep what came back. The caller holds the directory. Raises as `request` does."""
    try:
        note, lines = read_note(came.checkpoint), signatures_in(came.cosignature)
    except BadNote as bad:
        raise Refusal(f"{bad.why}. Give the request that was carried, and what irer-witness cosign printed") from None
    newest, at = _newest(files, log), note.checkpoint
    own = Key(newest.checkpoint.origin, _public(files))
    if not signed_by(note, own):
        raise Refusal(f"{log} never signed this checkpoint. Give the request that was made here")
    if at.size > newest.checkpoint.size:
        raise Refusal(
            f"the newest checkpoint of {log} is of {newest.checkpoint.size:,} records, and {at.size:,} were signed: were old files "
            "put back? Nothing was kept. Put the newest back, or restore the newest backup"
        )
    path = _path(files, log, at.size, newest.checkpoint.size)
    if not consistent(at.size, at.root, newest.checkpoint.size, newest.checkpoint.root, path):
        raise Refusal(f"{log} does not continue this checkpoint. Look: irerctl audit verify --state-dir DIR --log {log}")
    signature = cosigned_by(at, lines, key)
    if signature is None:
        raise Refusal("what came back is not that witness's signature of this checkpoint: is --vkey its key? Nothing was kept")
    known = _known(files, log, key)
    if at.size >= known:
        mine = (each for each in note.signatures if (each.name, each.id) == (own.name, own.id))  # not what was added on the way
        if not write_cosigned(files, log, key, note_of(at, [*mine, signature])):
            raise Refusal("the disk has no room to keep what was cosigned. Free some space and try again")
    return {"log": log, "origin": at.origin, "size": at.size, "old": known, "kept": at.size >= known}


def _newest(files: Files, log: str) -> Note:
    ledger = read_ledger(files)
    if ledger is None:
        raise Refusal("there is no ledger.json, so this is no state directory. Give the one that irerd has as --state-dir")
    if log not in ledger.logs:
        raise Refusal(f"no log {log} here. There are: {', '.join(sorted(ledger.logs)) or 'none'}")
    note = checkpoint_of(files, log)
    if note is None:
        raise Refusal(f"no checkpoint of {log} was signed yet, and only irerd signs. Start it, then: irerctl audit witness {log}")
    if isinstance(note, str):
        raise Refusal(f"{log}: {note}. Look: irerctl audit verify --state-dir DIR --log {log}")
    if note.checkpoint.origin != ledger.logs[log]:
        raise Refusal(
            f"the checkpoint is of {note.checkpoint.origin}, and {log} has another name since. Start irerd, which signs anew"
        )
    return note


def _known(files: Files, log: str, key: Key | None) -> int:
    """How many records this witness is known to have cosigned."""
    notes = cosigned_of(files, log)
    if isinstance(notes, str):
        raise Refusal(f"{log}: {notes}. Look: irerctl audit verify --state-dir DIR --log {log}")
    sizes = [
        note.checkpoint.size for note in notes if key is not None and cosigned_by(note.checkpoint, note.signatures, key) is not None
    ]
    return max(sizes, default=0)


def _path(files: Files, log: str, before: int, size: int) -> list[bytes]:
    if not 0 < before < size:
        return []
    try:
        return prove_consistency(files, log, before, size)
    except Gone as gone:
        raise Refusal(f"there is no proof from {before:,} records on: {gone}") from None


def _public(files: Files) -> bytes:
    secret = read_all(files, SIGNING)
    if secret is None or len(secret) != KEY_BYTES:
        raise Refusal(f"{SIGNING} is missing or damaged. Restore it; it is never made anew")
    return public_key(secret)


# --- the program ------------------------------------------------------------------------------------------------------


def said(row: Row) -> str:
    """The same as `row`, for a person."""
    if "request" in row:
        return str(row["request"]).rstrip("\n")
    if row["kept"]:
        return f"{row['log']}: cosigned up to {row['size']:,} records"
    return f"{row['log']}: more than these {row['size']:,} records are cosigned already; nothing changed"


def main(argv: Sequence[str] | None = None) -> int:
    options = _arguments(argv)
    try:
        row = _run(options)
    except (Refusal, BadLedger, NewerFormat, Full) as refusal:
        print(refusal, file=sys.stderr)
        return FAILED
    except Corrupt as damage:
        print(f"{options.log}: {damage.why}. Look: irerctl audit hashchain --state-dir {options.dir}", file=sys.stderr)
        return FAILED
    except OSError as error:
        print(f"{options.dir}: {error.strerror or error}. Nothing was kept", file=sys.stderr)
        return FAILED
    print(json.dumps(row, ensure_ascii=False) if options.jsonl else said(row))
    return OK


def _run(options: argparse.Namespace) -> Row:
    if not options.dir.is_dir():
        raise Refusal(f"{options.dir} is no directory. Give the state directory, as irerd's --state-dir")
    try:
        key = key_from(options.vkey, COSIGNER) if options.vkey is not None else None
    except BadNote as bad:
        raise Refusal(f"--vkey: {bad.why}. The witness's operator has it: irer-witness key") from None
    with said_plainly(options.dir):
        become_owner(options.dir)
        files = RealFiles(options.dir)
        try:
            if options.cosignature is None:
                return request(files, options.log, key, options.old)
            if key is None or options.checkpoint is None:
                raise Refusal("a cosignature comes with the witness's key and the checkpoint it is of: --vkey, --checkpoint")
            held = hold(files)
            try:
                return take(files, options.log, key, Came(options.checkpoint, options.cosignature))
            finally:
                files.close(held)
        finally:
            files.shut()


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m state.carry",
        description="What to carry to a witness by hand, and keeping what came back, without a daemon.",
    )
    parser.add_argument("dir", type=Path, metavar="DIR", help="the state directory")
    parser.add_argument("log", metavar="LOG", help="the log, such as engine_state")
    parser.add_argument("--vkey", metavar="VKEY", help="the witness's verifier key, as irer-witness key prints it")
    parser.add_argument("--old", type=int, metavar="N", help="how many records the witness says that it cosigned last")
    parser.add_argument("--checkpoint", metavar="TEXT", help="the checkpoint that was carried")
    parser.add_argument("--cosignature", metavar="TEXT", help="the line that the witness answered; irerd must be stopped")
    parser.add_argument("--actor", metavar="WHO", help="who asked; nothing is recorded")
    parser.add_argument("--jsonl", action="store_true", help="one JSON object")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
