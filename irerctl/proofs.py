"""`irerctl audit checkpoint`, `prove` and `check`: what a log was, signed, and proofs that strangers can check.

`check` needs no daemon and no log: a proof, the record it is of, and a key that was had from somewhere else. Nothing that a file
says of itself is believed.
"""

from pathlib import Path
from typing import Any

import click

from core.notes import NOTE_CHARS_MAX, BadNote, Key, Note, hash_from, key_from, read_note
from core.proofs import PROOF_CHARS_MAX, BadProof, check_signature, consistent, read_proof
from core.proofs import check as checked
from irerctl import render
from irerctl.session import Failure, command, session

RECORD_BYTES_MAX = 65_536
SUFFIX = ".tlog-proof"
HOW = "Make one with: irerctl audit prove LOG SEQ"


@command(
    "checkpoint",
    "Sign how the logs stand now.",
    click.Argument(["log"], metavar="[LOG]", required=False),
    click.Option(["--vkey"], is_flag=True, help="Print the key that checkpoints of LOG are checked with, not the checkpoint."),
    click.Option(
        ["--since"],
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="A checkpoint of LOG that was kept: is what it vouched for still the beginning of the log?",
    ),
    epilog="Keep checkpoints where this machine cannot change them. Exit status 1 when the log does not continue the one in FILE.",
)
def checkpoint(log: str | None, vkey: bool, since: Path | None) -> None:
    now = session()
    if log is None and (vkey or since is not None):
        raise Failure("invalid-argument", "--vkey and --since are about one log", "Try: irerctl audit checkpoint LOG --vkey")
    earlier = _note_in(since) if since is not None else None
    params: dict[str, Any] = {"log": log} if log else {}
    found = now.call("audit.checkpoint", params | ({"since": earlier.checkpoint.size} if earlier else {})).result
    if log is None or (now.output != "table" and earlier is None):
        now.show(found, _draw_checkpoints)
        return
    [newest] = found["checkpoints"]
    if earlier is None:
        render.say(render.clean(newest["vkey"]) if vkey else newest["checkpoint"].rstrip("\n"))
        return
    verdict = _continues(earlier, newest)
    now.show(verdict, lambda _: _draw_continues(verdict, since))
    if verdict["result"] == "failed":
        click.get_current_context().exit(1)


def _draw_checkpoints(found: Any) -> None:
    rows = [[render.clean(one["log"]), render.count(one["size"]), render.clean(one["vkey"])] for one in found["checkpoints"]]
    render.table(["log", "records", "key"], rows, right=["records"])


def _continues(earlier: Note, newest: dict[str, Any]) -> dict[str, Any]:
    """Worked out here from both checkpoints: the daemon only gave the hashes."""
    try:
        now, key = read_note(newest["checkpoint"]), key_from(newest["vkey"])
        path = [hash_from(text) for text in newest["consistency"]]
    except BadNote as bad:
        raise Failure("internal", f"the daemon sent no checkpoint: {bad.why}", "Try again") from None
    before, after = earlier.checkpoint, now.checkpoint
    why = []
    if not consistent(before.size, before.root, after.size, after.root, path):
        why.append(f"the first {before.size:,} records of the log are not those that the file vouches for")
    words = [check_signature(note, key) for note in (earlier, now)]
    why += [reason for word, reason in words if word != "ok"]
    failed = bool(why) and (len(why) > sum(word == "not checked" for word, _ in words))
    result = "failed" if failed else "limited" if why else "ok"
    return {"log": newest["log"], "since": before.size, "size": after.size, "result": result, "why": why}


def _draw_continues(verdict: dict[str, Any], since: Path | None) -> None:
    log, whole = render.clean(verdict["log"]), verdict["result"] != "failed"
    said = "continues" if whole else render.paint("DOES NOT CONTINUE", fg="red", bold=True)
    render.say(
        f"{log}: what has {render.count(verdict['size'])} records now {said} the {render.count(verdict['since'])} of {since}"
    )
    for reason in verdict["why"]:
        render.say(f"  {render.clean(reason)}")


@command(
    "prove",
    "Prove that a record is in a log, to anybody.",
    click.Argument(["log"], metavar="LOG"),
    click.Argument(["seq"], metavar="SEQ", type=click.IntRange(min=0)),
    click.Option(
        ["--to"],
        metavar="DIR",
        default=".",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Where the two files go; here, unless told.",
    ),
    epilog=f"Writes LOG.SEQ.json, the record, and LOG.SEQ{SUFFIX}, its proof. Whoever checks it needs the key too, from you.",
)
def prove(log: str, seq: int, to: Path) -> None:
    now = session()
    found = now.call("audit.prove", {"log": log, "seq": seq}).result
    stem = f"{found['log']}.{found['seq']}"
    files = {f"{stem}{SUFFIX}": found["proof"]} | ({f"{stem}.json": found["record"]} if found.get("record") else {})
    for name, text in files.items():
        try:
            (to / name).write_bytes(text.encode())
        except OSError as error:
            raise Failure("failed-precondition", f"{to / name} cannot be written ({error.strerror})", "Try: --to DIR") from None
    said = {"log": log, "seq": seq, "size": found["size"], "files": [str(to / name) for name in files], "vkey": found["vkey"]}
    now.show(said, lambda _: _draw_proven(said))


def _draw_proven(said: dict[str, Any]) -> None:
    proof, *record = said["files"]
    render.say(f"record {said['seq']:,} of {render.clean(said['log'])} is one of the {said['size']:,} that were signed: {proof}")
    if record:
        render.say(f"the record itself: {record[0]}")
    else:
        render.say("the record holds a document, which only an admin is shown: the proof was written, the record was not")
    render.say(f"checked with: irerctl audit check {proof} --vkey {render.clean(said['vkey'])}")


@command(
    "check",
    "Check a proof; no daemon is needed.",
    click.Argument(["file"], metavar=f"FILE{SUFFIX}", type=click.Path(exists=True, dir_okay=False, path_type=Path)),
    click.Option(
        ["--record"],
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="The record; beside the proof, with .json for its ending, unless told.",
    ),
    click.Option(["--vkey"], metavar="KEY", help="Who must have signed: a verifier key, or a file with one. Never from the proof."),
    epilog="Exit status 1 when something does not hold. Limited: nothing failed, and what is listed was not checked.",
)
def check(file: Path, record: Path | None, vkey: str | None) -> None:
    beside = file.with_suffix(".json")
    place = record if record is not None else beside if beside.is_file() else None
    line = _bytes_of(place, RECORD_BYTES_MAX) if place is not None else None
    try:
        proof = read_proof(_text_of(file, PROOF_CHARS_MAX))
    except BadProof as bad:
        raise Failure("invalid-argument", f"{file} is no proof: {bad.why}", HOW) from None
    found = checked(proof, line, _key(vkey) if vkey is not None else None)
    at = proof.note.checkpoint
    said = {
        "origin": at.origin,
        "seq": proof.seq,
        "size": at.size,
        "root": at.root.hex(),
        "record": found.record,
        "signature": found.signature,
        "why": list(found.why),
        "result": found.result,
    }
    session().show(said, _draw_checked)
    if found.result == "failed":
        click.get_current_context().exit(1)


def _draw_checked(said: Any) -> None:
    render.say(f"log        {render.clean(said['origin'])}")
    render.say(f"record     {said['seq']:,} of {said['size']:,}: {_word(said['record'])}")
    render.say(f"signature  {_word(said['signature'])}")
    for reason in said["why"]:
        render.say(f"  {render.clean(reason)}")
    render.say(f"result: {_word(said['result'])}")


def _word(word: str) -> str:
    return render.paint(word, fg="red", bold=True) if word == "failed" else word


def _key(given: str) -> Key:
    try:
        return key_from(given if "+" in given else _text_of(Path(given), NOTE_CHARS_MAX))
    except BadNote as bad:
        text = f"{render.cut(given, 60)} is no key: {bad.why}"
        raise Failure("invalid-argument", text, "Whoever runs the daemon has it: irerctl audit checkpoint LOG --vkey") from None


def _note_in(file: Path) -> Note:
    try:
        return read_note(_text_of(file, NOTE_CHARS_MAX))
    except BadNote as bad:
        help = "Keep one with: irerctl audit checkpoint LOG > FILE"
        raise Failure("invalid-argument", f"{file} is no checkpoint: {bad.why}", help) from None


def _text_of(file: Path, limit: int) -> str:
    try:
        return _bytes_of(file, 4 * limit).decode()
    except UnicodeDecodeError:
        raise Failure("invalid-argument", f"{file} is no text", HOW) from None


def _bytes_of(file: Path, limit: int) -> bytes:
    try:
        with file.open("rb") as opened:
            data = opened.read(limit + 1)
    except OSError as error:
        raise Failure("invalid-argument", f"{file} cannot be read ({error.strerror})", "Give another file") from None
    if len(data) > limit:
        raise Failure("invalid-argument", f"{file} has more than {limit:,} bytes", HOW)
    return data
