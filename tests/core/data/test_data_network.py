"""The network of citations beside networkx: ranks, parts, cores and cycle rank, while events come and go."""

import random

import networkx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.network import Network, network_of, topology
from core.data.value import split

citations = st.sets(st.tuples(st.integers(1, 24), st.integers(0, 23)).map(lambda pair: (max(pair), min(pair))), max_size=60).map(
    lambda pairs: sorted((f"e{a}", f"e{b}") for a, b in pairs if a != b)
)
AGE = {f"e{number}": number for number in range(25)}


def grown(pairs: list[tuple[str, str]]) -> Network:
    made = Network()
    for citing, to in pairs:
        made.add(citing, to, 0.5)
    return made


def compared(pairs: list[tuple[str, str]]) -> None:
    network = grown(pairs)
    found = topology(network.cites, AGE)
    directed = networkx.DiGraph(pairs)
    flat = directed.to_undirected()
    ranks = networkx.pagerank(directed, 0.85, max_iter=2_000, tol=1e-15)
    cores = networkx.core_number(flat)
    parts = [frozenset(part) for part in networkx.connected_components(flat)]
    assert {place.event for place in found.places} == set(directed)
    for place in found.places:
        assert abs(place.rank - ranks[place.event]) < 1e-9
        assert place.core == cores[place.event]
        assert (place.cited, place.cites) == (directed.in_degree(place.event), directed.out_degree(place.event))
    ours = {frozenset(place.event for place in found.places if place.component == number) for number in range(1, len(parts) + 1)}
    assert ours == set(parts)
    assert found.components == network.components == len(parts)
    assert found.cycle_rank == network.cycle_rank == len(networkx.cycle_basis(flat))
    assert (network.nodes, network.edges) == (len(directed), directed.number_of_edges())


@settings(max_examples=60, deadline=None)
@given(citations)
def test_all_measures_are_those_of_networkx(pairs: list[tuple[str, str]]) -> None:
    compared(pairs)


def test_a_large_network_too() -> None:
    chance = random.Random(3)
    pairs = sorted({(f"e{a}", f"e{b}") for a in range(1, 25) for b in chance.sample(range(a), min(a, 5))})
    compared(pairs)


@settings(max_examples=60, deadline=None)
@given(citations, st.lists(st.integers(0, 24).map("e{}".format), max_size=6))
def test_events_that_go_leave_what_was_never_there(pairs: list[tuple[str, str]], gone: list[str]) -> None:
    network = grown(pairs)
    for event in gone:
        cited = network.remove(event)
        assert event not in network.cites and all(event not in network.cited_by.get(to, ()) for to in cited)
    left = [pair for pair in pairs if not set(pair) & set(gone)]
    fresh = grown(left)
    assert network == fresh and network.cited_by == fresh.cited_by
    assert (network.nodes, network.edges, network.components) == (fresh.nodes, fresh.edges, fresh.components)
    assert network_of((citing, dict(cited)) for citing, cited in network.cites.items()) == network


@given(st.integers(0, 10**9), st.lists(st.floats(0, 1e6), min_size=1, max_size=40))
def test_parts_add_up_to_the_whole_and_are_fair(units: int, weights: list[float]) -> None:
    parts = split(units, weights)
    assert sum(parts) == units and min(parts) >= 0
    whole = [round(weight * 1e6) for weight in weights]
    total = sum(whole) or len(weights)
    for part, weight in zip(parts, whole if sum(whole) else [1] * len(weights), strict=True):
        assert abs(part - units * weight / total) < 1 + 1e-6 * units


@pytest.mark.parametrize(
    ("units", "weights", "parts"),
    [
        (10, [1, 1, 1], [4, 3, 3]),
        (1_000, [0.762701], [1_000]),
        (7, [0.5, 0.25, 0.25], [3, 2, 2]),
        (3, [0, 0], [2, 1]),
        (0, [1], [0]),
    ],
)
def test_the_largest_remainder_gets_what_is_left(units: int, weights: list[float], parts: list[int]) -> None:
    assert split(units, weights) == parts
