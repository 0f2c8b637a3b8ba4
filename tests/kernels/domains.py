"""Twelve small planning domains, generated here: what each is about can be said in a line, and of some the answer is known.

A problem is given in words, as core/spine.py takes it; `arrays` makes the arrays that the kernels take. Nothing is ever taken away
from a state, so what matters is only which rules are ever applied.
"""

from collections.abc import Iterable, Iterator
from itertools import product
from typing import NamedTuple

import numpy as np

from core.spine import Rule
from kernels.horn import Program


class Problem(NamedTuple):
    rules: list[Rule]
    initial: set[str]
    goals: tuple[str, ...]
    least: int | None = None
    """In steps, where it can be said."""


class Arrays(NamedTuple):
    program: Program
    initial: np.ndarray
    goals: np.ndarray


def numbers(rules: list[Rule], initial: Iterable[str], goals: Iterable[str] = ()) -> dict[str, int]:
    """Atoms are numbered as they come: premises, conclusions, what holds, what is wanted."""
    premises = [premise for rule in rules for premise in rule.premises]
    named = dict.fromkeys([*premises, *(rule.conclusion for rule in rules), *initial, *goals])
    return {atom: place for place, atom in enumerate(named)}


def arrays(rules: list[Rule], initial: Iterable[str], goals: Iterable[str], groups: list[str] | None = None) -> Arrays:
    """Rules keep their places."""
    facts, wanted = list(initial), list(goals)
    number = numbers(rules, facts, wanted)
    start = np.concatenate([[0], np.cumsum([len(rule.premises) for rule in rules])]).astype(np.int64)
    body = np.array([number[premise] for rule in rules for premise in rule.premises], np.int32)
    head = np.array([number[rule.conclusion] for rule in rules], np.int32)
    named = groups if groups is not None else sorted({rule.group for rule in rules})
    group = np.array([named.index(rule.group) for rule in rules], np.int32)
    cost = np.array([rule.cost_micro for rule in rules], np.int64)
    holds = np.zeros(len(number), np.bool_)
    holds[[number[atom] for atom in facts]] = True
    return Arrays(
        Program(start, body, head, cost, group, len(number)), holds, np.array([number[atom] for atom in wanted], np.int32)
    )


def _rules(made: Iterable[tuple[str, Iterable[str], Iterable[str]]], cost: int = 1) -> list[Rule]:
    """An action with several effects is a rule that is paid for, and one without cost for each effect."""
    found = []
    for name, needs, effects in made:
        listed = list(effects)
        if len(listed) == 1:
            found.append(Rule(name, tuple(needs), listed[0], cost))
            continue
        found.append(Rule(name, tuple(needs), f"did {name}", cost))
        found.extend(Rule(f"{name} so {effect}", (f"did {name}",), effect, 0) for effect in listed)
    return sorted(found)


def gripper(balls: int) -> Problem:
    """A robot with two hands carries balls from one room to the other: pick each, drop each, and go over once."""

    def made() -> Iterator[tuple[str, list[str], list[str]]]:
        rooms = ("a", "b")
        for here, there in (("a", "b"), ("b", "a")):
            yield f"go {here} {there}", [f"robot {here}"], [f"robot {there}"]
        for ball, room, hand in product(range(balls), rooms, ("left", "right")):
            yield f"pick {ball} {room} {hand}", [f"ball {ball} {room}", f"robot {room}", f"free {hand}"], [f"holds {hand} {ball}"]
            yield f"drop {ball} {room} {hand}", [f"holds {hand} {ball}", f"robot {room}"], [f"ball {ball} {room}", f"free {hand}"]

    initial = {"robot a", "free left", "free right", *(f"ball {ball} a" for ball in range(balls))}
    return Problem(_rules(made()), initial, tuple(f"ball {ball} b" for ball in range(balls)), 2 * balls + 1)


def visitall(side: int) -> Problem:
    """Every field of a square is to be visited, step by step from a corner."""
    fields = list(product(range(side), repeat=2))

    def made() -> Iterator[tuple[str, list[str], list[str]]]:
        for row, column in fields:
            for down, right in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                if 0 <= row + down < side and 0 <= column + right < side:
                    there = f"{row + down} {column + right}"
                    yield f"from {row} {column} to {there}", [f"at {row} {column}"], [f"at {there}"]

    return Problem(_rules(made()), {"at 0 0"}, tuple(f"at {row} {column}" for row, column in fields), side * side - 1)


def movie(snacks: int) -> Problem:
    """Rewind, reset the counter, and get one of each of five kinds of snack, of which there are many."""

    def made() -> Iterator[tuple[str, list[str], list[str]]]:
        yield "rewind", ["two hours"], ["rewound"]
        yield "reset", ["rewound"], ["counter at zero"]
        for kind, snack in product(("chips", "dip", "pop", "cheese", "crackers"), range(snacks)):
            yield f"get {kind} {snack}", [f"{kind} {snack}"], [f"have {kind}"]

    kinds = ("chips", "dip", "pop", "cheese", "crackers")
    initial = {"two hours", *(f"{kind} {snack}" for kind, snack in product(kinds, range(snacks)))}
    return Problem(_rules(made()), initial, ("rewound", "counter at zero", *(f"have {kind}" for kind in kinds)), 7)


def miconic(passengers: int, floors: int, seed: int) -> Problem:
    """A lift: everybody gets in where they wait and out where they want to be, and it stops once at each floor but its first."""
    draw = np.random.default_rng([1, seed])
    trips = [tuple(draw.choice(floors, 2, replace=False).tolist()) for _ in range(passengers)]

    def made() -> Iterator[tuple[str, list[str], list[str]]]:
        for here, there in product(range(floors), repeat=2):
            if here != there:
                yield f"lift {here} {there}", [f"lift {here}"], [f"lift {there}"]
        for who, (here, there) in enumerate(trips):
            yield f"in {who}", [f"lift {here}"], [f"inside {who}"]
            yield f"out {who}", [f"lift {there}", f"inside {who}"], [f"served {who}"]

    stops = {floor for trip in trips for floor in trip} - {0}
    return Problem(_rules(made()), {"lift 0"}, tuple(f"served {who}" for who in range(passengers)), 2 * passengers + len(stops))


def logistics(cities: int, packages: int, seed: int) -> Problem:
    """Trucks within cities of two places each, an aeroplane between their airports; packages have to go somewhere."""
    draw = np.random.default_rng([2, seed])
    places = [f"{city}.{place}" for city in range(cities) for place in (0, 1)]
    airports = [place for place in places if place.endswith(".0")]
    wants = [tuple(draw.choice(len(places), 2, replace=False).tolist()) for _ in range(packages)]
    carriers = {f"truck{city}": places[2 * city : 2 * city + 2] for city in range(cities)} | {"plane": airports}

    def made() -> Iterator[tuple[str, list[str], list[str]]]:
        for carrier, stops in carriers.items():
            for here, there in product(stops, repeat=2):
                if here != there:
                    yield f"{carrier} {here} {there}", [f"{carrier} at {here}"], [f"{carrier} at {there}"]
            for package, stop in product(range(packages), stops):
                yield (
                    f"load {package} {carrier} {stop}",
                    [f"{package} at {stop}", f"{carrier} at {stop}"],
                    [f"{package} in {carrier}"],
                )
                yield (
                    f"unload {package} {carrier} {stop}",
                    [f"{package} in {carrier}", f"{carrier} at {stop}"],
                    [f"{package} at {stop}"],
                )

    initial = {f"{carrier} at {stops[0]}" for carrier, stops in carriers.items()}
    initial |= {f"{package} at {places[here]}" for package, (here, _) in enumerate(wants)}
    return Problem(_rules(made()), initial, tuple(f"{package} at {places[there]}" for package, (_, there) in enumerate(wants)))


def blocks(count: int, seed: int) -> Problem:
    """Towers of blocks are to stand in another order; one hand moves one clear block at a time."""
    draw = np.random.default_rng([3, seed])

    def towers() -> list[tuple[str, str]]:
        order = draw.permutation(count)
        return [
            (f"b{block}", "table" if not place or draw.random() < 0.3 else f"b{order[place - 1]}")
            for place, block in enumerate(order)
        ]

    first, last = towers(), towers()
    names = [f"b{block}" for block in range(count)]

    def made() -> Iterator[tuple[str, list[str], list[str]]]:
        for block, under, onto in product(names, [*names, "table"], [*names, "table"]):
            if len({block, under, onto}) == 3:
                needs = [f"{block} on {under}", f"clear {block}"] + [f"clear {onto}"] * (onto != "table")
                yield f"{block} from {under} to {onto}", needs, [f"{block} on {onto}"] + [f"clear {under}"] * (under != "table")

    below = {under for _, under in first}
    initial = {f"{block} on {under}" for block, under in first} | {f"clear {block}" for block in names if block not in below}
    return Problem(_rules(made()), initial, tuple(f"{block} on {under}" for block, under in last))


def graph(nodes: int, terminals: int, seed: int) -> Problem:
    """A network: reach some nodes from one, along arcs with a price each; who shares arcs pays once (a Steiner tree)."""
    draw = np.random.default_rng([4, seed])
    arcs = {(int(a), int(b)) for a, b in draw.integers(0, nodes, (4 * nodes, 2)) if a != b}
    arcs |= {(node, (node + 1) % nodes) for node in range(nodes)}
    rules = [Rule(f"{a} to {b}", (f"n{a}",), f"n{b}", int(draw.integers(1, 20))) for a, b in sorted(arcs)]
    return Problem(
        sorted(rules), {"n0"}, tuple(f"n{int(node)}" for node in draw.choice(np.arange(1, nodes), terminals, replace=False))
    )


def covering(items: int, sets: int, seed: int) -> Problem:
    """Sets with a price each, of which as few dear ones as possible are to hold everything."""
    draw = np.random.default_rng([5, seed])
    rules = []
    for each in range(sets):
        rules.append(Rule(f"buy {each}", (), f"own {each}", int(draw.integers(3, 12))))
        inside = draw.choice(items, int(draw.integers(2, max(3, items // 3))), replace=False)
        rules.extend(Rule(f"{each} has {item}", (f"own {each}",), f"covered {item}", 0) for item in inside.tolist())
    rules += [Rule(f"alone {item}", (), f"covered {item}", 12) for item in range(items)]
    return Problem(sorted(rules), set(), tuple(f"covered {item}" for item in range(items)))


def recipes(levels: int, width: int, seed: int) -> Problem:
    """Things are made from things of the level below, in more ways than one."""
    draw = np.random.default_rng([6, seed])
    rules = []
    for level, thing in product(range(1, levels + 1), range(width)):
        for way in range(int(draw.integers(1, 4))):
            parts = draw.choice(width, int(draw.integers(1, 3)), replace=False)
            cost = int(draw.integers(0, 9))
            rules.append(Rule(f"{level}.{thing}.{way}", tuple(f"{level - 1}:{part}" for part in parts), f"{level}:{thing}", cost))
    return Problem(sorted(rules), {f"0:{thing}" for thing in range(width)}, (f"{levels}:0", f"{levels}:1"))


def keys(rooms: int, seed: int) -> Problem:
    """A row of rooms behind locked doors; each key lies in some room before its door, and some have to be fetched from aside."""
    draw = np.random.default_rng([7, seed])
    rules = []
    for room in range(rooms):
        rules.append(Rule(f"open {room}", (f"in {room}", f"key {room}"), f"in {room + 1}", int(draw.integers(1, 4))))
        rules.append(Rule(f"break {room}", (f"in {room}",), f"in {room + 1}", int(draw.integers(4, 12))))
        rules.append(Rule(f"aside {room}", (f"in {room}",), f"aside {room}", int(draw.integers(1, 4))))
        for door in draw.choice(np.arange(room, rooms), min(2, rooms - room), replace=False).tolist():
            rules.append(Rule(f"take {door} in {room}", (f"aside {room}",), f"key {door}", 1))
    return Problem(sorted(rules), {"in 0"}, (f"in {rooms}",))


def proofs(lemmas: int, seed: int) -> Problem:
    """Lemmas that lean on earlier ones, and can be had in a short way from many or in a long one from few."""
    draw = np.random.default_rng([8, seed])
    rules = [Rule(f"axiom {axiom}", (), f"l{axiom}", 1) for axiom in range(3)]
    for lemma in range(3, lemmas):
        for way, uses in enumerate((1, 2, 3)):
            earlier = draw.choice(lemma, min(uses, lemma), replace=False)
            rules.append(
                Rule(f"{lemma} by {way}", tuple(f"l{one}" for one in earlier), f"l{lemma}", int(draw.integers(1, 15 // uses)))
            )
    return Problem(sorted(rules), set(), tuple(f"l{lemma}" for lemma in range(lemmas - 2, lemmas)))


def depots(stores: int, orders: int, seed: int) -> Problem:
    """Stores are opened at a price, and each order is served from an open one at another (facility location)."""
    draw = np.random.default_rng([9, seed])
    rules = [Rule(f"open {store}", (), f"open {store}", int(draw.integers(5, 15))) for store in range(stores)]
    for store, order in product(range(stores), range(orders)):
        rules.append(Rule(f"serve {order} from {store}", (f"open {store}",), f"served {order}", int(draw.integers(1, 10))))
    return Problem(sorted(rules), set(), tuple(f"served {order}" for order in range(orders)))


def twelve(seed: int = 0) -> dict[str, Problem]:
    """One small problem of each."""
    return {
        "gripper": gripper(4 + seed % 3),
        "visitall": visitall(4 + seed % 3),
        "movie": movie(5),
        "miconic": miconic(4, 6, seed),
        "logistics": logistics(2, 3, seed),
        "blocks": blocks(4, seed),
        "graph": graph(14, 4, seed),
        "covering": covering(10, 8, seed),
        "recipes": recipes(5, 5, seed),
        "keys": keys(7, seed),
        "proofs": proofs(12, seed),
        "depots": depots(5, 7, seed),
    }
