"""What happens, beside what used to happen: the mix of event types of the newest 256 events and of all before them.

The Jensen-Shannon divergence of the two, times eight times their effective number, is distributed as chi-squared when nothing has
changed; Wilson and Hilferty's cube root makes of that a score that one threshold fits, however many types there are. Types that are
rare are taken together. Streams that come in runs drift all the time: how much is usual for this one is learnt beside it.
"""

from collections import Counter, deque
from math import log, sqrt
from typing import NamedTuple

import msgspec

RECENT = 256
STEP = 32
"""Events between two looks."""
SLOW_MIN = 512
"""Older events needed before there is a usual mix."""
SLOW_MAX = 8_192
"""After these the older ones weigh half."""
TYPES_MAX = 256
RARE = 4.0
"""Types of which fewer are expected among the newest are taken together."""
THRESHOLD = 5.0
USUAL_WEIGHT = 1 / 1_024
OTHERS = "others"


class Drift(NamedTuple):
    """The mix has changed, most of all in one type."""

    name: str
    seen: int
    expected: float
    statistic: float
    threshold: float


class KeptMix(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A mix as a file has it."""

    recent: list[str]
    slow: dict[str, float]
    slow_total: float
    step: int
    usual: float
    usual_spread: float


class Mix:
    def __init__(self) -> None:
        self.recent: deque[str] = deque()
        self.now: dict[str, int] = {}
        self.slow: dict[str, float] = {}
        self.slow_total = 0.0
        self.step = 0
        self.usual = 0.0
        self.usual_spread = 1.0

    def kept(self) -> KeptMix:
        """For a file, and to be written at once: it shares what goes on changing."""
        return KeptMix(list(self.recent), self.slow, self.slow_total, self.step, self.usual, self.usual_spread)

    @classmethod
    def again(cls, kept: KeptMix) -> "Mix":
        mix = cls()
        mix.recent, mix.now = deque(kept.recent), dict(Counter(kept.recent))
        mix.slow, mix.slow_total = kept.slow, kept.slow_total
        mix.step, mix.usual, mix.usual_spread = kept.step, kept.usual, kept.usual_spread
        return mix

    def note(self, name: str) -> Drift | None:
        if name not in self.slow and name not in self.now and len(self.slow) + len(self.now) >= TYPES_MAX:
            name = OTHERS
        self.recent.append(name)
        self.now[name] = self.now.get(name, 0) + 1
        if len(self.recent) > RECENT:
            self._age(self.recent.popleft())
        self.step += 1
        if self.step < STEP:
            return None
        self.step = 0
        return self._look() if self.slow_total >= SLOW_MIN else None

    def calm(self, name: str) -> int:
        """How many of this name may be noted before a look is due, or the older ones are to weigh half."""
        return min(STEP - self.step - 1, int(SLOW_MAX - self.slow_total)) if name in self.now else 0

    def note_alike(self, name: str, count: int) -> None:
        """What `note` does so many times, no more than are `calm`."""
        self.recent.extend([name] * count)
        self.now[name] += count
        self.step += count
        old = [self.recent.popleft() for _ in range(len(self.recent) - RECENT)]
        for each in set(old):
            gone = old.count(each)
            self.now[each] -= gone
            if not self.now[each]:
                del self.now[each]
            self.slow[each] = self.slow.get(each, 0.0) + gone
        self.slow_total += len(old)

    def _age(self, name: str) -> None:
        self.now[name] -= 1
        if not self.now[name]:
            del self.now[name]
        self.slow[name] = self.slow.get(name, 0.0) + 1.0
        self.slow_total += 1.0
        if self.slow_total > SLOW_MAX:
            self.slow = {each: count / 2 for each, count in self.slow.items() if count >= 1.0}
            self.slow_total = sum(self.slow.values())

    def _look(self) -> Drift | None:
        share = RECENT / self.slow_total
        kinds: list[tuple[str, float, float]] = []
        rare_now = rare_slow = 0.0
        for name in self.slow.keys() | self.now.keys():
            slow = self.slow.get(name, 0.0)
            now = self.now.get(name, 0)
            if slow * share < RARE:
                rare_now += now
                rare_slow += slow
            else:
                kinds.append((name, float(now), slow))
        if rare_now or rare_slow:
            kinds.append((OTHERS, rare_now, max(rare_slow, 0.5 / share)))
        if len(kinds) < 2:
            return None
        number = RECENT * self.slow_total / (RECENT + self.slow_total)
        score = _score(8 * number * self._divergence(kinds), len(kinds) - 1)
        unusual = (score - self.usual) / max(1.0, sqrt(self.usual_spread))
        found = min(score, unusual) > THRESHOLD
        if not found:
            self.usual_spread += USUAL_WEIGHT * ((score - self.usual) ** 2 - self.usual_spread)
            self.usual += USUAL_WEIGHT * (score - self.usual)
            return None
        name, seen, before = max(kinds, key=lambda kind: abs(kind[1] - kind[2] * share))
        if name == OTHERS:
            name = max(self.now, key=lambda each: (self.now[each] if self.slow.get(each, 0.0) * share < RARE else 0, each))
            seen, before = float(self.now[name]), self.slow.get(name, 0.0)
        self._accept(score)
        return Drift(name, round(seen), before * share, min(score, unusual), THRESHOLD)

    def _divergence(self, kinds: list[tuple[str, float, float]]) -> float:
        """Jensen-Shannon, in nats, with each side weighed alike."""
        found = 0.0
        slow_total = sum(kind[2] for kind in kinds)
        for _, now, slow in kinds:
            p, q = now / RECENT, slow / slow_total
            middle = (p + q) / 2
            found += (p * log(p / middle) if p else 0.0) / 2 + (q * log(q / middle) if q else 0.0) / 2
        return found

    def _accept(self, score: float) -> None:
        """What was told is the usual mix from now on, and as great a drift is no news for a while."""
        self.slow = {name: 2.0 * count for name, count in self.now.items()}
        self.slow_total = sum(self.slow.values())
        self.usual_spread = max(self.usual_spread, ((score - self.usual) / THRESHOLD) ** 2)


def _score(chi_squared: float, freedom: int) -> float:
    """About a standard normal value when nothing has changed (Wilson and Hilferty 1931)."""
    part = 2 / (9 * freedom)
    return float(((chi_squared / freedom) ** (1 / 3) - (1 - part)) / sqrt(part))
