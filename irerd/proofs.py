"""The audit methods that prove something: checkpoints, proofs of single records, and the check of a proof that somebody brings.

A proof is made by another process, which reads the whole log, and is checked here before anybody gets it: what is not what was
signed yields no proof. Nothing here is an event: a checkpoint is about the log and never in it.
"""

from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from core import system
from core.engine import Actor, Refused
from core.notes import BadNote, Key, Note, hash_from, key_from, read_note, signed_by
from core.proofs import BadProof, Proof, check, consistent, read_proof
from irerd.session import Stream
from irerd.witnesses import NoProof

if TYPE_CHECKING:
    from irerd.daemon import Daemon

Ask = Callable[[str, dict[str, Any], Stream], Awaitable[Any]]


class ProofPorts:
    def __init__(self, daemon: "Daemon", ask: Ask, documents: Callable[[str], bool]) -> None:
        """`ask` has another process do a job; `documents` says whether events of a type hold what not everybody may see."""
        self._daemon = daemon
        self._ask = ask
        self._documents = documents

    async def checkpoint(self, params: system.AskCheckpoint, actor: Actor, stream: Stream) -> system.Checkpoints:
        if params.since is not None and params.log is None:
            raise Refused("invalid-argument", "since needs a log: the sizes of different logs have nothing to do with one another")
        if params.log is None:
            logs = sorted(self._daemon.durable())
            return system.Checkpoints([await self._checkpoint(log) for log in logs])
        self._sound(params.log)
        found = await self._checkpoint(params.log)
        if params.since is not None:
            found = await self._since(found, params.since, stream)
        return system.Checkpoints([found])

    async def _checkpoint(self, log: str) -> system.LogCheckpoint:
        note = await self._note(log)
        at = note.checkpoint
        vkey = self._daemon.seals.key(at.origin).text()
        return system.LogCheckpoint(log, at.origin, at.size, at.root.hex(), note.text, vkey)

    async def _note(self, log: str, at_least: int | None = None) -> Note:
        """The newest checkpoint, or a new one where that vouches for fewer records; None: for fewer than are durable."""
        daemon = self._daemon
        wanted = daemon.durable_seq(log) + 1 if at_least is None else at_least
        if daemon.seals.size(log) < wanted:
            assert daemon.dispatch.writer is not None
            await daemon.dispatch.writer.wait_sealed(log)
        note = daemon.seals.note(log)
        if note is None or note.checkpoint.size < wanted:
            text = f"{log}: the disk has no room for a checkpoint. Free some space, then try again"
            raise Refused("resource-exhausted", text, reason="disk-full")
        return note

    async def _since(self, found: system.LogCheckpoint, since: int, stream: Stream) -> system.LogCheckpoint:
        if not 0 < since <= found.size:
            text = f"{found.log} has {found.size} records under its checkpoint, and since is {since}"
            raise Refused("out-of-range", f"{text}. Was it cut back, or restored? See: irerctl audit verify")
        made = await self._made({"log": found.log, "since": since, "size": found.size}, stream)
        return system.LogCheckpoint(
            found.log, found.origin, found.size, found.root, found.checkpoint, found.vkey, since, list(made["path"])
        )

    async def prove(self, params: system.Prove, actor: Actor, stream: Stream) -> system.Proven:
        daemon = self._daemon
        self._sound(params.log)
        first, last = daemon.log(params.log).first_seq, daemon.durable_seq(params.log)
        if params.seq > last:
            raise Refused("out-of-range", f"{params.log} has {last + 1} records: 0 to {last}", data={"last_seq": last})
        if params.seq < first:
            raise _pruned(f"record {params.seq} was let go; {params.log} begins with record {first}")
        note = await self._note(params.log, params.seq + 1)
        made = await self._made({"log": params.log, "seq": params.seq, "size": note.checkpoint.size}, stream)
        proof = Proof(params.seq, tuple(map(hash_from, made["path"])), note)
        record = str(made["record"])
        if (await daemon.host.offload(check, proof, record.encode(), None)).record != "ok":
            text = f"{params.log} is not what was signed, so there is no proof. See: irerctl audit verify"
            raise Refused("data-loss", text)
        withheld = actor.role != "admin" and self._documents(str(made["event_type"]))
        vkey = daemon.seals.key(note.checkpoint.origin).text()
        return system.Proven(params.log, params.seq, note.checkpoint.size, proof.text(), vkey, None if withheld else record)

    async def witness(self, params: system.AskWitness, actor: Actor, stream: Stream) -> system.Carried:
        """By hand what is done by itself for a witness with a socket."""
        self._sound(params.log)
        witnesses = self._daemon.witnesses
        key = self._witness(params.witness) if params.witness is not None else None
        known = witnesses.standing(params.log, key).size if key is not None else 0
        if params.cosignature is not None:
            return await self._carried_back(params, key, known, stream)
        note = await self._note(params.log)
        old = known if params.old is None else params.old
        at = note.checkpoint
        if old > at.size:
            text = f"{params.log} has {at.size:,} records, and the witness has seen {old:,}: were old files put back?"
            raise Refused("data-loss", f"{text} See: irerctl audit verify")
        try:
            request = await witnesses.request(params.log, old, note)
        except NoProof as why:
            raise Refused("data-loss", f"{params.log}: {why}") from None
        return system.Carried(params.log, at.origin, at.size, old, request.text())

    async def _carried_back(self, params: system.AskWitness, key: Key | None, known: int, stream: Stream) -> system.Carried:
        log, witnesses = params.log, self._daemon.witnesses
        if key is None or params.checkpoint is None or params.cosignature is None:
            raise Refused("invalid-argument", "a cosignature comes with the witness's name and the checkpoint it is of")
        try:
            note = read_note(params.checkpoint)
        except BadNote as bad:
            raise Refused("invalid-argument", f"{bad.why}. Give the request that was carried") from None
        at, records = note.checkpoint, self._daemon.durable_seq(log) + 1
        if at.size > records:
            raise Refused("data-loss", f"{log} has {records:,} records, and {at.size:,} were signed: were old files put back?")
        newest = await self._note(log, at.size)
        if not signed_by(note, self._daemon.seals.key(newest.checkpoint.origin)):
            raise Refused("failed-precondition", f"{log} never signed this checkpoint", reason="other-log")
        made = await self._made({"log": log, "since": at.size, "size": newest.checkpoint.size}, stream)
        path = [hash_from(text) for text in made["path"]]
        if not consistent(at.size, at.root, newest.checkpoint.size, newest.checkpoint.root, path):
            raise Refused("data-loss", f"{log} does not continue this checkpoint. See: irerctl audit verify")
        if at.size >= known and (why := await witnesses.keep(log, key, note, params.cosignature)):
            raise Refused("failed-precondition", f"nothing was kept: {why}", reason="bad-cosignature")
        return system.Carried(log, at.origin, at.size, known, kept=at.size >= known)

    def _witness(self, name: str) -> Key:
        known = self._daemon.witnesses.keys()
        if name not in known:
            text = f"irerd.toml trusts no witness {name}. There are: {', '.join(sorted(known)) or 'none'}"
            raise Refused("not-found", text, data={"nearest": sorted(known)})
        return known[name]

    async def _made(self, params: dict[str, Any], stream: Stream) -> Any:
        made = await self._ask("prove", params, stream)
        if "pruned" in made:
            raise _pruned(str(made["pruned"]))
        if "damage" in made:
            raise Refused("data-loss", f"{params['log']}: {made['damage']}. See: irerctl audit hashchain")
        return made

    def _sound(self, log: str) -> None:
        daemon = self._daemon
        known = sorted(daemon.world.logs)
        if log not in known:
            raise Refused("not-found", f"no log {log}. There are: {', '.join(known)}", data={"nearest": known})
        if log in daemon.damage:
            text = f"{log} did not verify, so nothing of it is vouched for. See: irerctl audit hashchain"
            raise Refused("data-loss", text, reason="read-only")

    async def check_proof(self, params: system.CheckProof, actor: Actor, stream: Stream) -> system.ProofChecked:
        """Without a key the one of this daemon, where the proof is of a log of its own."""
        try:
            proof = read_proof(params.proof)
            key = key_from(params.vkey) if params.vkey is not None else self._own_key(proof.note.checkpoint.origin)
        except (BadProof, BadNote) as bad:
            raise Refused("invalid-argument", f"{bad.why}. Make one with: irerctl audit prove LOG SEQ") from None
        record = params.record.encode() if params.record is not None else None
        found = await self._daemon.host.offload(check, proof, record, key)
        at = proof.note.checkpoint
        return system.ProofChecked(
            at.origin, proof.seq, at.size, at.root.hex(), found.record, found.signature, list(found.why), found.result
        )

    def _own_key(self, origin: str) -> Key | None:
        daemon = self._daemon
        return daemon.seals.key(origin) if any(log.origin == origin for log in map(daemon.log, daemon.durable())) else None


def made(request: dict[str, Any]) -> dict[str, Any]:
    """The work of the other process: `prove` of irerd.jobs."""
    from pathlib import Path

    from state import prove
    from state.fs import RealFiles
    from state.seal import parse
    from state.segment import Corrupt

    params = request["params"]
    files = RealFiles(Path(request["state_dir"]))
    try:
        if "since" in params:
            return {"path": _texts(prove.prove_consistency(files, params["log"], params["since"], params["size"]))}
        found = prove.prove(files, params["log"], params["seq"], params["size"])
        return {"path": _texts(found.path), "record": found.line.decode(), "event_type": parse(found.line).event_type}
    except prove.Gone as gone:
        return {"pruned": str(gone)}
    except (Corrupt, ValueError) as damage:
        return {"damage": getattr(damage, "why", "a record in it cannot be read")}
    finally:
        files.shut()


def _texts(path: list[bytes]) -> list[str]:
    return [b64encode(node).decode() for node in path]


def _pruned(text: str) -> Refused:
    return Refused("compacted", text)
