"""By hand and without a daemon: what is carried to a witness is what it asks for, and nothing comes back that is not true."""

from collections.abc import Callable

import pytest

from core.notes import COSIGNER, SIGNATURES_MAX, Checkpoint, Key, Signature, cosignature, public_key, read_note, signed
from irerd.witness.book import Book
from state.alone import Refusal
from state.carry import Came, request, take
from state.checkpoint import checkpoint_path, write_checkpoint
from state.cosigned import cosigned_of
from state.ledger import SIGNING, open_ledger
from state.log import create
from state.tree import Edge
from tests.sim.disk import SimFiles
from tests.state.logs import append, pending, stamp

LOG = "engine_state"
OTHER = Key("v.example", public_key(bytes([9] * 32)), COSIGNER)


class Afar:
    """A log that no daemon holds, and a witness elsewhere."""

    def __init__(self) -> None:
        self.files = SimFiles()
        ledger = open_ledger(self.files, iter("abcdefghijklmnopqrstuvwxyz" * 9).__next__)  # type: ignore[arg-type]
        self.secret, self.origin = ledger.signing, ledger.origin(LOG)
        self.log = create(self.files, LOG, self.origin, stamp)  # type: ignore[arg-type]
        ledger.add_log(LOG)
        ledger.close()
        self.book = Book(SimFiles(), lambda: 1_767_225_600)  # type: ignore[arg-type]
        self.key = self.book.make_key(bytes(32), "w.example")
        self.book.add(Key(self.origin, public_key(self.secret)).text())

    def write(self, count: int) -> None:
        for number in range(count):
            append(self.log, [pending(number)])
        assert write_checkpoint(self.log, self.secret) is not None

    def asked(self, old: int | None = None) -> str:
        return str(request(self.files, LOG, self.key, old)["request"])  # type: ignore[arg-type]

    def came(self, text: str) -> Came:
        answer = self.book.answer(text)
        assert answer.status == 200, answer
        return Came(text.partition("\n\n")[2], answer.body)

    def take(self, came: Came, key: Key | None = None) -> dict[str, object]:
        return take(self.files, LOG, key or self.key, came)  # type: ignore[arg-type]

    def cosigned(self) -> int:
        notes = cosigned_of(self.files, LOG)  # type: ignore[arg-type]
        assert not isinstance(notes, str)
        return max((note.checkpoint.size for note in notes), default=0)


def test_each_time_it_goes_on_from_what_was_kept() -> None:
    afar = Afar()
    for count, size in ((1, 2), (4, 6), (1, 7)):
        afar.write(count)
        before = afar.files.tree()
        text = afar.asked()
        assert afar.files.tree() == before, "asking changes nothing"
        row = afar.take(afar.came(text))
        assert (row["kept"], row["size"], afar.cosigned()) == (True, size, size)


def test_an_answer_to_an_older_request_holds_too_as_long_as_nothing_newer_is_kept() -> None:
    afar = Afar()
    afar.write(3)
    first = afar.came(afar.asked())
    afar.write(3)
    assert afar.take(first)["kept"] is True and afar.cosigned() == 4
    second = afar.came(afar.asked())
    assert afar.take(second)["size"] == 7
    assert afar.take(first)["kept"] is False and afar.cosigned() == 7


def another_witness(afar: Afar, came: Came) -> dict[str, object]:
    return afar.take(came, OTHER)


def another_history(afar: Afar, came: Came) -> dict[str, object]:
    """What was signed with the key of this log, and is not what the log holds."""
    note = signed(Checkpoint(afar.origin, 3, Edge().root()), afar.secret)
    return afar.take(Came(note.text, cosignature(note.checkpoint, "w.example", bytes(32), 1).line()))


def another_log(afar: Afar, came: Came) -> dict[str, object]:
    note = signed(read_note(came.checkpoint).checkpoint, bytes([7] * 32))
    return afar.take(Came(note.text, came.cosignature))


def old_files(afar: Afar, came: Came) -> dict[str, object]:
    afar.files.plant(checkpoint_path(LOG), signed(Checkpoint(afar.origin, 1, Edge().root()), afar.secret).text.encode())
    return afar.take(came)


def no_key(afar: Afar, came: Came) -> dict[str, object]:
    afar.files.unlink(SIGNING)
    return afar.take(came)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (another_witness, "not that witness's signature"),
        (another_history, "does not continue"),
        (another_log, "never signed"),
        (old_files, "were old files put back"),
        (no_key, "never made anew"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_nothing_false_is_kept(wrong: Callable[[Afar, Came], dict[str, object]], why: str) -> None:
    afar = Afar()
    afar.write(5)
    with pytest.raises(Refusal, match=why):
        wrong(afar, afar.came(afar.asked()))
    assert afar.cosigned() == 0


@pytest.mark.parametrize(
    ("log", "old", "why"),
    [("nowhere", None, "no log nowhere"), (LOG, 99, "were old files put back"), ("engine_state", None, "no checkpoint")],
)
def test_what_cannot_be_asked_is_said_so(log: str, old: int | None, why: str) -> None:
    afar = Afar()
    if "no checkpoint" not in why:
        afar.write(2)
    with pytest.raises(Refusal, match=why):
        request(afar.files, log, afar.key, old)  # type: ignore[arg-type]


def test_what_was_written_beside_on_the_way_is_not_kept() -> None:
    """Signatures of nobody, in the name of the log: with them the note would be too long to be read ever again."""
    afar = Afar()
    afar.write(5)
    came = afar.came(afar.asked())
    junk = "".join(Signature(afar.origin, bytes([number] * 4), bytes(64)).line() for number in range(SIGNATURES_MAX - 1))
    assert afar.take(came._replace(checkpoint=came.checkpoint + junk))["kept"] is True
    assert afar.cosigned() == 6
    afar.take(came)
    alone = cosigned_of(afar.files, LOG)  # type: ignore[arg-type]
    afar.take(came._replace(checkpoint=came.checkpoint + junk))
    assert cosigned_of(afar.files, LOG) == alone  # type: ignore[arg-type]
