"""A witness never forgets and never signs first: at every crash what it signed is kept, and no fault of a disk is a new log."""

import errno
from random import Random

import pytest

from core.notes import COSIGNER, cosigned_by, key_from, signatures_in, signed
from core.witness import CONFLICT, COSIGNED, Request
from irerd.witness.book import KEY, LOGS, BadBook, Book
from state.log import Full, SyncFailed
from tests.core.test_notes import SECRET, VKEY
from tests.core.test_witness import ORIGIN, at, proof
from tests.sim.disk import CHANGES, Killed, NthFails, SimFiles

NOW_S = 1_767_225_600


def opened(files) -> Book:
    return Book(files, lambda: NOW_S)


def fresh() -> tuple[SimFiles, Book]:
    files = SimFiles()
    book = opened(files)
    book.make_key(bytes(range(32, 64)), "witness.example")
    book.add(VKEY)
    return files, book


def ask(book: Book, old: int, size: int):
    return book.answer(Request(old, proof(old, size), at(size)).text())


def sizes(files) -> dict[str, int]:
    return {origin: known.size for origin, known in opened(files).logs().items()}


def test_what_is_cosigned_is_kept_and_told_to_whoever_comes_with_less():
    files, book = fresh()
    first = ask(book, 0, 5)
    assert first.status == COSIGNED
    assert cosigned_by(at(5).checkpoint, signatures_in(first.body), book.key()) is not None
    assert ask(book, 0, 3)[:] == (CONFLICT, "text/x.tlog.size", "5\n"), "yesterday's log, put back"
    assert ask(book, 5, 9).status == COSIGNED and sizes(files.kill()) == {ORIGIN: 9}
    assert ask(opened(files), 5, 9).body == "9\n", "another process knows it too"
    assert ask(book, 9, 9).status == COSIGNED, "once more, with a newer time"


def test_a_key_is_made_once_and_a_name_never_changes():
    files, book = fresh()
    key = book.key()
    assert key.name == "witness.example" and key_from(key.text(), COSIGNER) == key
    assert opened(files).make_key(bytes(32)) == key == opened(files).make_key(bytes(32), "witness.example")
    with pytest.raises(BadBook, match="its name is witness"):
        opened(files).make_key(bytes(32), "another")
    assert files.stat_path(KEY).mode & 0o777 == 0o600
    files.unlink(KEY)
    with pytest.raises(BadBook, match="never made anew"):
        opened(files).make_key(bytes(32))
    files.plant(KEY, b"short")
    with pytest.raises(BadBook, match="damaged"):
        opened(files).key()


def test_a_first_start_that_dies_anywhere_is_made_good_by_the_next():
    for nth in range(1, 40):
        files = SimFiles()
        try:
            opened(NthFails(files, nth, Killed(), CHANGES, after=nth % 2 == 0)).make_key(bytes(32), "witness.example")
            made = True
        except Killed:
            made = False
        for after in (*files.crashes(Random(nth)), files.kill()):
            opened(after).make_key(bytes(32), "witness.example")
            assert opened(after).add(VKEY) and sizes(after) == {ORIGIN: 0}
        if made:
            break
    assert made and nth > 4


def test_a_log_has_one_key_for_ever():
    _, book = fresh()
    assert book.add(VKEY) is False
    other = signed(at(5).checkpoint, bytes(32))
    from core.notes import Key, public_key

    with pytest.raises(BadBook, match="another key"):
        book.add(Key(ORIGIN, public_key(bytes(32))).text())
    assert book.answer(Request(0, (), other).text()).status == 403


def test_a_damaged_record_is_a_fault_and_never_a_log_that_is_seen_for_the_first_time():
    files, book = fresh()
    ask(book, 0, 5)
    (name,) = files.list(LOGS)
    raw = files.content(f"{LOGS}/{name}")
    for place in range(0, 8 * len(raw), 7):
        data = bytearray(raw)
        data[place // 8] ^= 1 << place % 8
        files.plant(f"{LOGS}/{name}", bytes(data))
        with pytest.raises(BadBook):
            ask(book, 0, 3)


def test_at_every_crash_what_was_answered_is_kept():
    """A witness that answers before it persists would be caught here."""
    states = 0
    for nth in range(1, 40):
        files, book = fresh()
        ask(book, 0, 5)
        book._files = NthFails(files, nth, Killed(), CHANGES, after=nth % 2 == 0)
        try:
            answered = ask(book, 5, 9).status == COSIGNED
        except Killed:
            answered = False
        for after in (*files.crashes(Random(nth)), files.kill()):
            assert sizes(after)[ORIGIN] in ((9,) if answered else (5, 9))
            states += 1
        if answered:
            break
    assert answered and states > 8


@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename", "fsync_dir"])
def test_nothing_is_signed_when_the_disk_refuses(call: str):
    for code, refusal in ((errno.ENOSPC, (Full, SyncFailed)), (errno.EIO, SyncFailed)):
        files, book = fresh()
        ask(book, 0, 5)
        book._files = NthFails(files, 4 if call == "open" else 1, OSError(code, "no"), [call])
        with pytest.raises(refusal):
            ask(book, 5, 9)
        assert sizes(files)[ORIGIN] in ((5, 9) if call == "fsync_dir" else (5,))


def test_a_clock_that_steps_back_signs_no_older_time():
    files, book = fresh()
    ask(book, 0, 5)
    later = Book(files, lambda: NOW_S - 3_600)
    assert ask(later, 5, 9).status == COSIGNED
    assert later.logs()[ORIGIN].time == NOW_S
    assert SECRET  # the log's key; the witness has its own
