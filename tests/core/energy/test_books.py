"""Rules of the books: nothing is made or lost, nobody owes but the issuance, and a refused entry changes nothing."""

import random

import pytest

from core.energy.books import ISSUANCE, TREASURY, Books, Overdrawn, Posting, Unbalanced, moved
from core.fields import INT_MAX


def booked(books: Books, postings: list[Posting]) -> bool:
    try:
        books.check(postings)
    except Overdrawn:
        return False
    books.book(postings)
    return True


def test_after_any_sequence_of_entries_each_asset_sums_to_nought_and_only_the_issuance_owes() -> None:
    draw = random.Random(11)
    owners = [ISSUANCE, TREASURY, "uid:1", "uid:2", "engine:m"]
    books, refused = Books(), 0
    for _ in range(20_000):
        postings = []
        for _ in range(draw.randrange(1, 4)):
            giver, taker = draw.sample(owners, 2)
            postings += moved(draw.choice(["CEU", "PFT", "EUR"]), draw.randrange(1, 10 ** draw.randrange(1, 10)), giver, taker)
        refused += not booked(books, postings)
    assert 500 < refused < 19_500
    assert set(books.sums().values()) == {0}
    for owner, held in books.accounts.items():
        assert all(amount < 0 if owner == ISSUANCE else amount > 0 for amount in held.values())


def test_an_entry_that_does_not_sum_to_nought_is_refused() -> None:
    books = Books()
    with pytest.raises(Unbalanced, match="PFT"):
        books.check([Posting(ISSUANCE, "PFT", -5), Posting("uid:1", "PFT", 4)])
    with pytest.raises(Unbalanced):  # nor may one asset pay for another
        books.check([Posting(ISSUANCE, "PFT", -5), Posting("uid:1", "CEU", 5)])


def test_the_lines_of_an_entry_are_judged_together() -> None:
    """What is given on is there, even if it only comes in with the same entry."""
    books = Books()
    books.check([*moved("PFT", 7, ISSUANCE, "uid:1"), *moved("PFT", 7, "uid:1", "uid:2")])
    with pytest.raises(Overdrawn) as told:
        books.check([*moved("PFT", 7, ISSUANCE, "uid:1"), *moved("PFT", 8, "uid:1", "uid:2")])
    assert (told.value.owner, told.value.asset, told.value.balance_micro) == ("uid:1", "PFT", 0)


def test_no_account_leaves_the_range_that_a_record_can_hold() -> None:
    books = Books()
    books.book(moved("EUR", INT_MAX, ISSUANCE, "uid:1"))
    with pytest.raises(Overdrawn):
        books.check(moved("EUR", 1, ISSUANCE, "uid:2"))
    assert books.issued("EUR") == INT_MAX


def test_an_account_at_nought_is_forgotten() -> None:
    books = Books()
    books.book(moved("EUR", 5, ISSUANCE, "uid:1"))
    books.book(moved("EUR", 5, "uid:1", ISSUANCE))
    assert books == Books() and moved("EUR", 0, "uid:1", "uid:2") == []
