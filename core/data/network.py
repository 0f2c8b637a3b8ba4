"""Who cites whom: a network that only grows towards older events, so that no walk along citations comes back to where it began.

Its measures are those of networkx, worked out here in one pass each: because there are no cycles, PageRank is no iteration but
one walk from the newest event to the oldest.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

DAMPING = 0.85
CITES_MAX = 256
"""Citations that one event may make."""


class Network:
    """Citations with their relevance, both ways, and how many parts the network falls into.

    Parts grow together as citations come. Where one goes they are worked out anew, once somebody asks: not for each that goes."""

    def __init__(self) -> None:
        self.cites: dict[str, dict[str, float]] = {}
        self.cited_by: dict[str, dict[str, None]] = {}
        self.edges = 0
        self._components = 0
        self._above: dict[str, str] = {}
        self._stale = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Network) and self.cites == other.cites

    __hash__ = None  # type: ignore[assignment]

    @property
    def nodes(self) -> int:
        """Events that cite, or are cited."""
        self._fresh()
        return len(self._above)

    @property
    def components(self) -> int:
        self._fresh()
        return self._components

    @property
    def cycle_rank(self) -> int:
        return self.edges - self.nodes + self.components

    def cited(self, event: str) -> int:
        return len(self.cited_by.get(event, ()))

    def add(self, citing: str, to: str, relevance: float) -> None:
        self.cites.setdefault(citing, {})[to] = relevance
        self.cited_by.setdefault(to, {})[citing] = None
        self.edges += 1
        if not self._stale:
            self._join(citing, to)

    def remove(self, event: str) -> list[str]:
        """Take an event and all its citations out; answers those it cited, which are cited less now."""
        cited, citing = self.cites.pop(event, {}), self.cited_by.pop(event, {})
        for to in cited:
            del self.cited_by[to][event]
            if not self.cited_by[to]:
                del self.cited_by[to]
        for each in citing:
            del self.cites[each][event]
            if not self.cites[each]:
                del self.cites[each]
        if cited or citing:
            self.edges -= len(cited) + len(citing)
            self._stale = True
        return list(cited)

    def _fresh(self) -> None:
        if not self._stale:
            return
        self._above, self._components, self._stale = {}, 0, False
        for citing, to in self.pairs():
            self._join(citing, to)

    def pairs(self) -> Iterator[tuple[str, str]]:
        return ((citing, to) for citing, cited in self.cites.items() for to in cited)

    def _join(self, one: str, other: str) -> None:
        a, b = self._top(one), self._top(other)
        if a != b:
            self._above[a] = b
            self._components -= 1

    def _top(self, event: str) -> str:
        above = self._above
        if event not in above:
            above[event] = event
            self._components += 1
        while above[event] != event:
            above[event] = above[above[event]]
            event = above[event]
        return event


def network_of(rows: Iterable[tuple[str, Mapping[str, float]]]) -> Network:
    made = Network()
    for citing, cited in rows:
        for to, relevance in cited.items():
            made.add(citing, to, relevance)
    return made


class Place(NamedTuple):
    """Where one event stands in the network."""

    event: str
    rank: float
    """PageRank."""
    cited: int
    cites: int
    core: int
    """The largest k such that it is in a part where each has k neighbours."""
    component: int
    """Number of its part, 1 is the largest."""


class Topology(NamedTuple):
    places: list[Place]
    """The highest rank first; of equals, the older event."""
    edges: int
    components: int

    @property
    def cycle_rank(self) -> int:
        return self.edges - len(self.places) + self.components


def topology(cites: Mapping[str, Iterable[str]], age: Mapping[str, int]) -> Topology:
    """All measures of a network; `age` orders its events: who cites is beyond whom it cites."""
    out = {citing: list(cited) for citing, cited in cites.items()}
    into: dict[str, list[str]] = {}
    for citing, cited in out.items():
        for to in cited:
            into.setdefault(to, []).append(citing)
    nodes = sorted(out.keys() | into.keys(), key=age.__getitem__)
    ranks = _page_rank(nodes, out)
    near = {node: out.get(node, []) + into.get(node, []) for node in nodes}
    cores, parts = _cores(near), _parts(nodes, near)
    places = [Place(node, ranks[node], len(into.get(node, ())), len(out.get(node, ())), cores[node], parts[node]) for node in nodes]
    places.sort(key=lambda place: (-place.rank, age[place.event]))
    return Topology(places, sum(map(len, out.values())), len(set(parts.values())))


def _page_rank(nodes: list[str], out: Mapping[str, list[str]]) -> dict[str, float]:
    """Damped by .85, events that cite nothing giving to all alike. What each gets from everywhere is the same for all, so the ranks
    are the shares of what flows through each, from the newest to the oldest."""
    flow = dict.fromkeys(nodes, 1.0)
    for node in reversed(nodes):
        cited = out.get(node, ())
        for to in cited:
            flow[to] += DAMPING * flow[node] / len(cited)
    total = sum(flow.values())
    return {node: each / total for node, each in flow.items()}


def _cores(near: Mapping[str, list[str]]) -> dict[str, int]:
    """Peel off who has the fewest neighbours left, again and again (Batagelj and Zaveršnik)."""
    degree = {node: len(others) for node, others in near.items()}
    waiting: list[list[str]] = [[] for _ in range(max(degree.values(), default=0) + 1)]
    for node, count in degree.items():
        waiting[count].append(node)
    cores: dict[str, int] = {}
    level = 0
    while level < len(waiting):
        if not waiting[level]:
            level += 1
            continue
        node = waiting[level].pop()
        if node in cores or degree[node] > level:
            continue
        cores[node] = level
        for other in near[node]:
            if other not in cores and degree[other] > level:
                degree[other] -= 1
                waiting[degree[other]].append(other)
    return cores


def _parts(nodes: list[str], near: Mapping[str, list[str]]) -> dict[str, int]:
    """Which part each is in: the largest is 1; of equals, the one with the oldest event comes first."""
    found: list[list[str]] = []
    seen: set[str] = set()
    for node in nodes:
        if node in seen:
            continue
        part, at = [node], 0
        seen.add(node)
        while at < len(part):
            fresh = [other for other in near[part[at]] if other not in seen]
            fresh = list(dict.fromkeys(fresh))
            seen.update(fresh)
            part += fresh
            at += 1
        found.append(part)
    found.sort(key=len, reverse=True)
    return {node: number for number, part in enumerate(found, 1) for node in part}
