"""What irerd asks its witnesses, and what it makes of each answer: an alarm, or the end of writing, and never a stop."""

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from core.notes import COSIGNER, SIGNATURES_MAX, Key, Signature, cosignature, public_key
from core.settings import TrustedWitness, Witness
from core.witness import Request, read_request
from irerd.seals import Seals
from irerd.witness.book import Book
from irerd.witness.server import Door
from irerd.witnesses import ROUND_S, NoProof, Witnesses
from state.cosigned import cosigned_of
from state.log import Log
from state.recover import recover
from tests.core.test_notes import SECRET
from tests.irerd.witness.test_witness_server import Wire
from tests.sim.disk import SimFiles
from tests.state.logs import NAME, ORIGIN, append, pending, recovered, stamp

KEY = Key("w.example", public_key(bytes(32)), COSIGNER)
VKEY = Key(ORIGIN, public_key(SECRET)).text()


class World:
    """One log, the daemon's side of witnessing, and a real witness behind a wire that may fail."""

    def __init__(self, files: SimFiles | None = None, book: Book | None = None) -> None:
        self.files = files or SimFiles()
        recovery = recovered(self.files)[0]
        self.log: Log = recovery.log
        self.seals = Seals()
        self.seals.take_key(SECRET)
        self.seals.begin(NAME, recovery.checkpoint, self.log.durable_edge)
        if book is None:
            book = Book(SimFiles(), lambda: 1_767_225_600)
            book.make_key(bytes(32), KEY.name)
            book.add(VKEY)
        self.book = book
        self.asked: list[Request] = []
        self.answer: bytes | OSError | None = None
        """What comes back instead of the witness's word."""
        self.tampered: list[tuple[str, int, str]] = []
        self.proved: list[tuple[int, int]] = []
        self.settings = Witness(trusted={"beside": TrustedWitness(KEY.text(), "/run/w.sock")})
        self.witnesses = Witnesses(
            self,  # type: ignore[arg-type]
            self.seals,
            lambda: self.settings,
            {NAME: self.log},
            lambda log: bool(self.tampered),
            self.prove,
            lambda *told: self.tampered.append(told),
        )
        self.witnesses.begin(NAME, recovery.cosigned)

    async def offload(self, function, *args):
        return function(*args)

    async def exchange(self, path: str, data: bytes, most: int) -> bytes:
        await trio.lowlevel.checkpoint()
        self.asked.append(read_request(data.partition(b"\r\n\r\n")[2].decode()))
        if isinstance(self.answer, OSError):
            raise self.answer
        if self.answer is not None:
            return self.answer

        async def judge(text: str):
            return self.book.answer(text)

        wire = Wire(data)
        await Door(judge).serve(wire)
        return wire.sent

    async def prove(self, log: str, before: int, size: int) -> list[bytes]:
        from state.prove import prove_consistency

        self.proved.append((before, size))
        return prove_consistency(self.files, NAME, before, size)

    def write(self, count: int = 1, *, seal: bool = True) -> None:
        for number in range(count):
            append(self.log, [pending(number)])
        if seal:
            assert self.seals.seal(self.log)

    def cosigned(self) -> int:
        notes = cosigned_of(self.files, NAME)
        assert isinstance(notes, list)
        return max((note.checkpoint.size for note in notes), default=0)

    def health(self) -> tuple[str, str]:
        (check,) = self.witnesses.checks()
        assert check.name == "witness.beside"
        return check.health, check.reason

    def again(self) -> "World":
        """The next start."""
        self.log.write_head()
        return World(self.files.kill(), self.book)


async def test_what_is_new_is_cosigned_and_kept_and_what_is_not_is_not_asked() -> None:
    world = World()
    await world.witnesses.ask_all()
    assert world.asked == [], "a log without a checkpoint"
    assert world.health() == ("ok", "it has cosigned nothing yet"), "no word of a witness is no word for the log"
    for count in (1, 3, 12, 1):
        world.write(count)
        await world.witnesses.ask_all()
        assert world.cosigned() == world.log.durable.seq == world.book.logs()[ORIGIN].size
    assert [request.old for request in world.asked] == [0, 2, 5, 17] and world.proved == [], "proofs are made of what is new alone"
    await world.witnesses.ask_all()
    assert len(world.asked) == 4 and world.health() == ("ok", "")
    assert list(world.witnesses.sizes()) == [("beside", NAME, 18)]


async def test_signatures_that_were_added_on_the_way_are_not_kept() -> None:
    """With them the note would be too long to be read ever again, and the next start would not take the log."""
    world = World()
    world.write(3)
    note = world.seals.note(NAME)
    assert note is not None
    junk = tuple(Signature(ORIGIN, bytes([number] * 4), bytes(64)) for number in range(SIGNATURES_MAX - 1))
    answer = cosignature(note.checkpoint, KEY.name, bytes(32), 1).line()
    assert await world.witnesses.keep(NAME, KEY, note._replace(signatures=(*note.signatures, *junk)), answer) == ""
    assert world.cosigned() == note.checkpoint.size


async def test_a_start_goes_on_from_what_was_cosigned_and_asks_first_with_that() -> None:
    world = World()
    world.write(5)
    await world.witnesses.ask_all()
    world.write(2)
    later = world.again()
    await later.witnesses.ask_at_start()
    assert [(request.old, request.note.checkpoint.size) for request in later.asked] == [(6, 6)]
    await later.witnesses.ask_all()
    assert later.cosigned() == 8 and later.proved == [(6, 8)], "of the tree at 6 only the root is known now"


async def test_old_files_put_back_are_noticed_before_anything_is_written() -> None:
    world = World()
    world.write(3)
    await world.witnesses.ask_all()
    yesterday = world.again()
    world.write(4)
    await world.witnesses.ask_all()
    await yesterday.witnesses.ask_at_start()
    assert yesterday.tampered == [(NAME, 4, "a witness has seen 8 records of it, and there are 4")]
    await yesterday.witnesses.ask_all(again=True)
    assert len(yesterday.tampered) == 1, "it is not asked about again"


async def test_another_history_of_the_same_length_or_longer_is_noticed() -> None:
    for more in (0, 4):
        world = World()
        world.write(3)
        await world.witnesses.ask_all()
        other = World(book=world.book)
        append(other.log, [pending(99)])
        other.write(2 + more)
        await other.witnesses.ask_at_start()
        await other.witnesses.ask_all()
        assert [why for _, _, why in other.tampered] == ["a witness has seen another history of its first 4 records"]


async def test_whoever_lost_what_was_cosigned_finds_out_where_the_witness_stands() -> None:
    world = World()
    world.write(3)
    await world.witnesses.ask_all()
    for name in world.files.list(f"log.d/{NAME}"):
        if name.startswith("cosigned"):
            world.files.unlink(f"log.d/{NAME}/{name}")
    later = world.again()
    later.write(2)
    await later.witnesses.ask_all()
    assert [request.old for request in later.asked] == [0, 4] and later.cosigned() == 6 and later.tampered == []


async def test_a_witness_that_is_silent_or_speaks_nonsense_is_an_alarm_and_no_more() -> None:
    world = World()
    world.write()
    answers: list[tuple[bytes | OSError, str]] = [
        (ConnectionRefusedError(111, "Connection refused"), "it does not answer (Connection refused)"),
        (b"", "it does not answer"),
        (b"nonsense\r\n\r\n", "it does not answer (not an answer of HTTP)"),
        (b"HTTP/1.1 500 Oh\r\n\r\n", "it refuses with status 500"),
        (b"HTTP/1.1 403 No\r\n\r\n", "it trusts another key"),
        (b"HTTP/1.1 404 No\r\n\r\n", "irer-witness add VKEY"),
        (b"HTTP/1.1 409 No\r\n\r\n-1\n", "something that is no size"),
        (b"HTTP/1.1 409 No\r\n\r\n1\n", "stands elsewhere each time"),
        (b"HTTP/1.1 200 OK\r\n\r\nsome line\n", "not its signature"),
        (
            b"HTTP/1.1 200 OK\r\n\r\n" + cosignature(world.seals.note(NAME).checkpoint, KEY.name, SECRET, 1).line().encode(),
            "not its",
        ),  # type: ignore[union-attr]
    ]
    for answer, why in answers:
        fresh = World()
        fresh.write()
        fresh.answer = answer
        if b"409 No\r\n\r\n1" in (answer if isinstance(answer, bytes) else b""):
            fresh.write(2)
        await fresh.witnesses.ask_all()
        health, reason = fresh.health()
        assert (health, fresh.tampered, fresh.cosigned()) == ("degraded", [], 0) and why in reason, reason
        fresh.answer = None
        await fresh.witnesses.ask_all()
        assert fresh.health() == ("ok", "") and fresh.cosigned() == fresh.log.durable.seq, "and all is well when it is"


async def test_a_witness_that_was_restored_is_told_and_gone_on_from() -> None:
    world = World()
    world.write(3)
    await world.witnesses.ask_all()
    world.book = Book(SimFiles(), lambda: 1_767_225_600)
    world.book.make_key(bytes(32), KEY.name)
    world.book.add(VKEY)
    world.write()
    await world.witnesses.ask_all()
    assert world.tampered == [] and world.cosigned() == 5


async def test_every_ten_seconds_and_never_without_a_witness_that_can_be_asked(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    world = World()
    world.settings = Witness(trusted={"afar": TrustedWitness(KEY.text())})
    nursery.start_soon(world.witnesses.run)
    world.write()
    await trio.sleep(3_600)
    assert world.asked == [], "by hand only"
    world.settings = Witness(trusted={"beside": TrustedWitness(KEY.text(), "/run/w.sock")})
    world.witnesses.stir()
    await wait_all_tasks_blocked()
    assert len(world.asked) == 1, "a reload is enough"
    world.write()
    await trio.sleep(ROUND_S + 1)
    assert len(world.asked) == 2 and world.cosigned() == 3


async def test_a_log_that_is_not_what_was_signed_yields_no_proof() -> None:
    world = World()
    world.write(3)
    await world.witnesses.ask_all()
    world.write(2)
    note = world.seals.note(NAME)
    assert note is not None
    edge = recover(world.files.kill(), NAME, ORIGIN, stamp, lambda batch: None).log.durable_edge
    for wrong in (note._replace(checkpoint=note.checkpoint._replace(root=edge.hashes[0])),):
        try:
            await world.witnesses.request(NAME, 4, wrong, world.witnesses.standing(NAME, KEY).edge)
        except NoProof as why:
            assert "not what was signed" in str(why)
        else:
            raise AssertionError("a proof of nothing")
