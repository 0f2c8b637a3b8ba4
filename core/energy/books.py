"""The books of the market: accounts of whole micro-units, where every entry is a set of postings that sum to nought.

Nothing here ever makes or loses a unit: what comes into the world is owed by the issuance of its asset, the one kind of account
that may be below nought. An entry that would break a rule is refused whole, before it becomes an event.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from core.fields import INT_MAX, Frozen, Name, privacy, words

ISSUANCE = "issuance"
"""Owes all there is of an asset, so its balance is never above nought."""
TREASURY = "treasury"

Asset = Annotated[
    str,
    Meta(min_length=3, max_length=4, pattern=r"^[A-Z]{3,4}\Z"),
    words('an asset: CEU, PFT, MUNT, or a currency of three capital letters, such as "EUR"'),
    privacy("public"),
]
Signed = Annotated[int, Meta(ge=-INT_MAX, le=INT_MAX)]


class Posting(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """One line of an entry.

    owner: whose account
    asset: of what
    amount_micro: what comes to it, in micro-units; below nought what leaves it
    """

    owner: Name
    asset: Asset
    amount_micro: Signed


class Unbalanced(Exception):
    """These postings do not sum to nought, so units would be made or lost: a fault of ours."""


class Overdrawn(Exception):
    """An account would fall below nought, or grow beyond what can be booked."""

    def __init__(self, owner: str, asset: str, balance_micro: int) -> None:
        super().__init__(f"{owner} has {balance_micro} micro-units of {asset}")
        self.owner = owner
        self.asset = asset
        self.balance_micro = balance_micro


class Books:
    """Every account, by owner and asset. One that is at nought is not kept."""

    def __init__(self) -> None:
        self.accounts: dict[str, dict[str, int]] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Books) and self.accounts == other.accounts

    __hash__ = None  # type: ignore[assignment]

    def balance(self, owner: str, asset: str) -> int:
        return self.accounts.get(owner, {}).get(asset, 0)

    def check(self, postings: Sequence[Posting]) -> None:
        """Raises Unbalanced or Overdrawn where these may not be booked."""
        changes: Counter[tuple[str, str]] = Counter()
        sums: Counter[str] = Counter()
        for posting in postings:
            changes[posting.owner, posting.asset] += posting.amount_micro
            sums[posting.asset] += posting.amount_micro
        if any(sums.values()):
            raise Unbalanced(", ".join(sorted(asset for asset, total in sums.items() if total)))
        for (owner, asset), change in changes.items():
            after = self.balance(owner, asset) + change
            if not (-INT_MAX <= after <= 0 if owner == ISSUANCE else 0 <= after <= INT_MAX):
                raise Overdrawn(owner, asset, self.balance(owner, asset))

    def book(self, postings: Iterable[Posting]) -> None:
        for posting in postings:
            held = self.accounts.setdefault(posting.owner, {})
            after = held.get(posting.asset, 0) + posting.amount_micro
            if after:
                held[posting.asset] = after
                continue
            held.pop(posting.asset, None)
            if not held:
                del self.accounts[posting.owner]

    def sums(self) -> dict[str, int]:
        """Over all accounts, by asset: nought each, or the books are wrong."""
        totals: dict[str, int] = {}
        for held in self.accounts.values():
            for asset, amount in held.items():
                totals[asset] = totals.get(asset, 0) + amount
        return totals

    def issued(self, asset: str) -> int:
        """How much of an asset there is."""
        return -self.balance(ISSUANCE, asset)


def moved(asset: str, amount_micro: int, giver: str, taker: str) -> list[Posting]:
    """The two lines by which an amount goes from one to another; none for nothing."""
    if not amount_micro:
        return []
    return [Posting(giver, asset, -amount_micro), Posting(taker, asset, amount_micro)]
