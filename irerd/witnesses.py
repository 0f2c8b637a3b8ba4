"""Has witnesses cosign the newest checkpoint of each log, and hears from them when a log went backwards.

One outcome a log and witness: what was cosigned is kept beside the log; who is silent or refuses is an alarm and stops nothing.
Only a witness that has seen more of a log than there is, or another history of it, ends the writing there: somebody put old files
back. That is kept over restarts, until the same witness cosigns the log again. At a start they are asked first, with what they
cosigned last.
"""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import trio

from core.engine import Check
from core.notes import COSIGNER, BadNote, Key, Note, cosigned_by, key_from, note_of, signatures_in
from core.proofs import consistent
from core.settings import TrustedWitness, Witness
from core.witness import CONFLICT, COSIGNED, FORBIDDEN, PATH, UNKNOWN, UNPROVEN, Request
from irerd.host import Host
from irerd.journal import journal
from irerd.seals import Seals
from state.accused import Accusation, Accusations
from state.cosigned import write_cosigned
from state.log import Log
from state.prove import proof_behind
from state.recover import Corrupt, Pruned
from state.tree import Edge

ROUND_S = 10.0
ANSWER_S = 5.0
"""How long one witness may take for one answer."""
START_S, STOP_S = 2.0, 2.0
"""The same, where a start or a stop waits for it. Whoever was silent once is not asked again there."""
START_S_MAX, STOP_S_MAX = 10.0, 5.0
"""How long either waits for all answers."""
ANSWER_BYTES_MAX = 65_536
RECORDS_MAX = 50_000
"""New records that are hashed here for a proof; for more another process reads the log."""

SILENT = "it does not answer"

Prove = Callable[[str, int, int], Awaitable[list[bytes]]]
Tampered = Callable[[str, int, str], None]


class NoProof(Exception):
    """The log could not be read for it."""


class _Answer(NamedTuple):
    status: int
    body: str


class _Standing:
    """One log before one witness."""

    def __init__(self) -> None:
        self.size = 0
        """Of what it is known to have cosigned last."""
        self.edge: Edge | None = None
        """Of the tree at that size, where it is known."""
        self.note: Note | None = None
        """The last that it cosigned."""
        self.trouble = ""


class Witnesses:
    def __init__(
        self,
        host: Host,
        seals: Seals,
        settings: Callable[[], Witness],
        logs: Mapping[str, Log],
        damaged: Callable[[str], bool],
        prove: Prove,
        tampered: Tampered,
    ) -> None:
        """`prove` has another process read a log; `tampered` is told which log, from which record on, and why."""
        self._host = host
        self._seals = seals
        self._settings = settings
        self._logs = logs
        self._damaged = damaged
        self._prove = prove
        self._tampered = tampered
        self.accusations: Accusations | None = None
        """Where it is kept what a witness said against a log."""
        self._vouched: set[tuple[str, str]] = set()
        """Logs that a witness has cosigned since this start, each with the key of that one."""
        self._standings: dict[tuple[str, bytes], _Standing] = {}
        self._found: dict[str, Sequence[Note]] = {}
        self._changed = trio.Event()
        self._turn = trio.Lock()
        self._answer_s = ANSWER_S

    def begin(self, log: str, notes: Sequence[Note]) -> None:
        """What a start found beside a log; the log continues it."""
        self._found[log] = notes

    def stir(self) -> None:
        """Other settings may be in force."""
        self._changed.set()

    # --- who ----------------------------------------------------------------------------------------------------------

    def keys(self) -> dict[str, Key]:
        """Of all that are trusted, by the name they have here."""
        return {name: key_from(one.vkey, COSIGNER) for name, one in self._settings().trusted.items()}

    @property
    def quorum(self) -> int:
        return self._settings().quorum

    def _served(self) -> dict[str, TrustedWitness]:
        return {name: one for name, one in self._settings().trusted.items() if one.socket}

    def standing(self, log: str, key: Key) -> _Standing:
        found = self._standings.get((log, key.public))
        if found is None:
            found = self._standings[log, key.public] = _Standing()
            for note in self._found.get(log, ()):
                if note.checkpoint.size > found.size and cosigned_by(note.checkpoint, note.signatures, key) is not None:
                    found.size, found.note = note.checkpoint.size, note
                    found.edge = self._edge_at(log, found.size)
        return found

    def _edge_at(self, log: str, size: int) -> Edge | None:
        edge = self._seals.edge(log)
        return edge if edge is not None and edge.size == size else None

    # --- when ---------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Ask every ten seconds for what is new, until cancelled. Without a witness that can be asked nothing ever wakes."""
        while True:
            self._changed = trio.Event()
            if self._served():
                await self.ask_all()
            with trio.move_on_after(ROUND_S if self._served() else float("inf")):
                await self._changed.wait()

    async def ask_at_start(self) -> None:
        """With what each cosigned last: whoever has seen more says so before anything is written."""
        if self._served():
            with trio.move_on_after(START_S_MAX):
                await self.ask_all(again=True, within_s=START_S)

    def vouches(self, log: str, vkey: str) -> bool:
        """Whether that witness cosigned this log since the start; any of those trusted, where the key is not known."""
        return any(name == log and vkey in ("", key) for name, key in self._vouched)

    def trusts(self, vkey: str) -> bool:
        return not vkey or any(key.text() == vkey for key in self.keys().values())

    async def ask_at_stop(self) -> None:
        if self._served():
            with trio.move_on_after(STOP_S_MAX):
                await self.ask_all(within_s=STOP_S)

    async def ask_all(self, *, again: bool = False, within_s: float = ANSWER_S) -> None:
        """Every witness that can be asked, about every log with something new; `again`: with what it has cosigned already."""
        async with self._turn, trio.open_nursery() as nursery:
            self._answer_s = within_s
            for name, one in self._served().items():
                nursery.start_soon(self._ask_one, name, one, again)

    async def _ask_one(self, name: str, one: TrustedWitness, again: bool) -> None:
        """One witness is asked about one log after another."""
        key = key_from(one.vkey, COSIGNER)
        for log in list(self._logs):
            if self._damaged(log):
                continue
            standing = self.standing(log, key)
            note = (again and standing.note) or self._seals.note(log)
            if note is not None and (again or standing.trouble or note.checkpoint.size > standing.size):
                trouble = await self._submit(log, one, key, standing, note)
                self._say(name, log, standing, trouble)
                if trouble.startswith(SILENT):
                    return  # the other logs would only wait as long

    def _say(self, name: str, log: str, standing: _Standing, trouble: str) -> None:
        if trouble and trouble != standing.trouble:
            journal().warning("a checkpoint was not cosigned", engine=log, witness=name, why=trouble)
        elif standing.trouble and not trouble:
            journal().info("checkpoints are cosigned again", engine=log, witness=name)
        standing.trouble = trouble

    # --- one log, one witness -----------------------------------------------------------------------------------------

    async def _submit(self, log: str, one: TrustedWitness, key: Key, standing: _Standing, note: Note) -> str:
        """Answers why it was not cosigned, or nothing. A witness that stands elsewhere than thought is asked once more."""
        for _ in range(2):
            try:
                request = await self.request(log, standing.size, note, standing.edge)
                answer = await self._exchange(one.socket, request.text())
            except NoProof as why:
                return str(why)
            except (OSError, ValueError, trio.TooSlowError) as error:
                return f"{SILENT} ({_said(error)})"
            if answer.status != CONFLICT:
                return await self._take(log, key, standing, note, answer)
            if not re.fullmatch(r"0\n|[1-9][0-9]{0,15}\n", answer.body):
                return "it answers with something that is no size"
            seen, records = int(answer.body), self._logs[log].durable.seq
            if seen > records:
                return await self._tamper(
                    log, key, records, f"a witness has seen {seen:,} records of it, and there are {records:,}"
                )
            if seen == standing.size == note.checkpoint.size:
                another = f"a witness has seen another history of its first {seen:,} records"
                return await self._tamper(log, key, max(seen - 1, 0), another)
            if seen < standing.size:
                journal().warning("a witness has forgotten what it cosigned: was it restored?", engine=log, seen=seen)
            standing.size, standing.edge = seen, self._edge_at(log, seen)
            note = self._seals.note(log) or note
            if seen > note.checkpoint.size:
                return "it has seen more than the newest checkpoint here vouches for; the next one will do"
        return "it answers that it stands elsewhere each time it is asked"

    async def _take(self, log: str, key: Key, standing: _Standing, note: Note, answer: _Answer) -> str:
        match answer.status:
            case status if status == COSIGNED:
                return await self.keep(log, key, note, answer.body)
            case status if status == UNPROVEN:
                first = max(standing.size - 1, 0)
                why = f"a witness has seen another history of its first {standing.size:,} records"
                return await self._tamper(log, key, first, why)
            case status if status == UNKNOWN:
                origin = note.checkpoint.origin
                return (
                    f"it does not know {origin}. Its operator runs: irer-witness add VKEY (irerctl audit checkpoint {log} --vkey)"
                )
            case status if status == FORBIDDEN:
                return "it trusts another key of this log than the one in keys/signing"
        return f"it refuses with status {answer.status}"

    async def keep(self, log: str, key: Key, note: Note, lines: str) -> str:
        """Keep what a witness cosigned, if it did; answers why not, or nothing."""
        try:
            signature = cosigned_by(note.checkpoint, signatures_in(lines), key)
        except BadNote:
            signature = None
        if signature is None:
            return "what it answers is not its signature of this checkpoint: is the vkey in irerd.toml the right one?"
        own = self._seals.key(note.checkpoint.origin)
        mine = (each for each in note.signatures if (each.name, each.id) == (own.name, own.id))  # not what was added on the way
        cosigned = note_of(note.checkpoint, [*mine, signature])
        standing = self.standing(log, key)
        if not await self._host.offload(write_cosigned, self._host.files, log, key, cosigned):
            return "the disk has no room to keep what it cosigned"
        standing.size, standing.note, standing.edge = note.checkpoint.size, cosigned, self._edge_at(log, note.checkpoint.size)
        self._vouched.add((log, key.text()))
        return ""

    async def _tamper(self, log: str, key: Key, seq: int, why: str) -> str:
        """Writing ends at once; then that is kept, for the next start may not be able to ask."""
        self._tampered(log, seq, why)
        if self.accusations is not None:
            said = Accusation(log, self._logs[log].origin, seq, key.text(), why)
            if not await self._host.offload(self.accusations.keep, said):
                text = "the disk has no room to keep what a witness said, so a restart without it would not know"
                journal().error(text, engine=log)
        return why

    async def request(self, log: str, old: int, note: Note, edge: Edge | None = None) -> Request:
        """What a witness that stands at `old` records is asked. Raises NoProof."""
        at = note.checkpoint
        if not 0 < old < at.size:
            return Request(min(old, at.size), (), note)
        if edge is None or at.size - old > RECORDS_MAX:
            return Request(old, tuple(await self._prove(log, old, at.size)), note)
        try:
            path = await self._host.offload(proof_behind, self._logs[log], edge, at.size)
        except (OSError, Corrupt, Pruned):
            raise NoProof("the log cannot be read for a proof. See: irerctl audit hashchain") from None
        if not consistent(old, edge.root(), at.size, at.root, path):
            raise NoProof("the log is not what was signed, so there is no proof. See: irerctl audit verify")
        return Request(old, tuple(path), note)

    async def _exchange(self, socket: str, body: str) -> _Answer:
        raw = body.encode()
        head = f"POST {PATH} HTTP/1.1\r\nHost: witness\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(raw)}\r\n"
        with trio.fail_after(self._answer_s):
            return _read_answer(
                await self._host.exchange(socket, f"{head}Connection: close\r\n\r\n".encode() + raw, ANSWER_BYTES_MAX)
            )

    # --- what is known ------------------------------------------------------------------------------------------------

    def checks(self) -> Iterator[Check]:
        """A witness each: silent, refusing, or how far it has seen the logs."""
        for name, key in self.keys().items():
            served = bool(self._settings().trusted[name].socket)
            troubles = {log: one.trouble for log, one in self._of(key) if one.trouble}
            if troubles:
                log, why = next(iter(troubles.items()))
                more = f" (and {len(troubles) - 1} more logs)" if len(troubles) > 1 else ""
                yield Check(f"witness.{name}", "degraded", f"{log}{more}: {why}")
            else:
                heard = any(one.note is not None for _, one in self._of(key))
                why = "asked by hand: irerctl audit witness" if not served else "" if heard else "it has cosigned nothing yet"
                yield Check(f"witness.{name}", "ok", why)

    def sizes(self) -> Iterator[tuple[str, str, int]]:
        """Of each witness and log, how many records it has cosigned."""
        for name, key in self.keys().items():
            for log, standing in self._of(key):
                yield name, log, standing.note.checkpoint.size if standing.note is not None else 0

    def _of(self, key: Key) -> list[tuple[str, _Standing]]:
        """What was looked at so far: nobody checks a signature only to tell that nothing is wrong."""
        return [(log, one) for (log, public), one in self._standings.items() if public == key.public]


def _read_answer(raw: bytes) -> _Answer:
    """Raises ValueError."""
    head, blank, body = raw.partition(b"\r\n\r\n")
    status = re.match(rb"HTTP/1\.[01] ([0-9]{3})[ \r]", head + b"\r")
    if status is None or not blank:
        raise ValueError("no answer of HTTP")
    return _Answer(int(status[1]), body.decode())


def _said(error: BaseException) -> str:
    if isinstance(error, trio.TooSlowError):
        return "not in time"
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else "not an answer of HTTP"
