"""What a program of rules leads to, and the cheapest way there, of arrays: the jobs `closure` and `search`.

Atoms, rules and groups come as numbers. What is answered is held against core/spine.py by whoever asked. The clock is looked at
between steps of some ten milliseconds, so that a deadline is kept also in the middle of a search.
"""

import time
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from core.trajectory import front
from irerd.worker import Field, JobFailed, Tell, pack, unpack
from kernels import exact, horn
from kernels.additive import additive
from kernels.closure import closure as closed

WIDTH_MAX, DEADLINE_MS_MAX = 65_536, 3_600_000

ARRAYS = {"body_start": "<i8", "body": "<i4", "head": "<i4", "cost": "<i8", "group": "<i4", "initial": "|b1"}
MORE_ARRAYS = {"goals": "<i4", "forbidden": "|b1", "budgets": "<i8"}
FRONT_ARRAYS = {"weights": "<f8", "totals": "<i4", "owner_start": "<i8", "owners": "<i4"}
EXACT_SHARE = 4
"""The part of its time in which a search for a front looks for the cheapest spine first, and what nothing is cheaper than."""


def closure(spec: bytes, tell: Tell) -> bytes:
    """All that holds. Values: `atoms`, `max_depth` or null, and `costs`: whether these are wanted; they take longer.
    Arrays: body_start, body, head, cost, group, initial.

    Answers the arrays `depth` (-1: does not hold), `rule` (-1: from the start) and, if wanted, `additive` (-1: does not hold).
    """
    sheet = unpack(spec)
    program, initial, _ = _program(sheet.values, sheet.arrays)
    most, wanted = sheet.values.get("max_depth"), sheet.values.get("costs", True)
    if type(wanted) is not bool or (most is not None and (type(most) is not int or most < 0)):
        raise JobFailed("bad-spec")
    tell(0, 2)
    found = closed(program, initial, most)
    said = {"depth": _field(found.depth), "rule": _field(found.rule)}
    if wanted:
        tell(1, 2)
        said["additive"] = _field(additive(program, initial))
    return pack({}, said)


def search(spec: bytes, tell: Tell) -> bytes:
    """The cheapest spine that is found. Values: `atoms`, `mode` (beam, exact), `width` of a beam, `deadline_ms` from here on.

    Arrays: as above and `goals`; `forbidden` of each rule, and `budgets` of each group (below 0: none) where there are any.
    Answers `status` (found, nothing: not within these budgets, stopped: before there was any, unreachable), `cost`, `bound`,
    `proof` (optimal, bound, heuristic), `finished`, `nodes`, `expanded`, and the arrays `rules` and, of the goals, `unreachable`.
    """
    sheet = unpack(spec)
    values = sheet.values
    if values.get("mode") == "pareto":
        return _front(values, sheet.arrays, tell)
    program, initial, arrays = _program(values, sheet.arrays)
    mode, width, deadline_ms = values.get("mode"), values.get("width", 1), values.get("deadline_ms")
    if "goals" not in arrays or mode not in ("beam", "exact") or type(width) is not int or type(deadline_ms) is not int:
        raise JobFailed("bad-spec")
    if not (1 <= width <= WIDTH_MAX and 1 <= deadline_ms <= DEADLINE_MS_MAX):
        raise JobFailed("out-of-range")
    began = time.monotonic()
    budgets = arrays.get("budgets")
    allowed = ~arrays["forbidden"] if "forbidden" in arrays else None
    task, unreachable = horn.task(program, initial, arrays["goals"], allowed, budgets)
    if unreachable.size:
        return _answer("unreachable", None, task, unreachable)
    if horn.total(task.cost) > horn.TOTAL_MAX:
        raise JobFailed("cost-precision")
    found = exact.Search(task, budgets)
    _until(found.exact() if mode == "exact" else found.wide(width), began, deadline_ms, tell)
    if found.best is None:
        return _answer("nothing" if found.finished and not found.left_out else "stopped", found, task, unreachable)
    return _answer("found", found, task, unreachable)


def _front(values: Mapping[str, Any], fields: Mapping[str, Field], tell: Tell) -> bytes:
    """Spines of which no other costs less and is fairer. Nothing holds from the start; groups are numbered below the length of
    `budgets` and `weights`. With the arrays totals (of each group, its goals), owner_start and owners (of each goal, its groups),
    and the value `lost`, it is about coverage. Answers `bound`, `finished`, `nodes`, and the arrays `starts` and `rules`."""
    began, deadline_ms = time.monotonic(), values.get("deadline_ms")
    more = {name: fields[name] for name in FRONT_ARRAYS if name in fields}
    program, initial, arrays = _program(values, {name: each for name, each in fields.items() if name not in more})
    if type(deadline_ms) is not int or not {"goals", "budgets"} <= set(arrays) or "weights" not in more or initial.any():
        raise JobFailed("bad-spec")
    if not 1 <= deadline_ms <= DEADLINE_MS_MAX:
        raise JobFailed("out-of-range")
    if any(each.dtype != FRONT_ARRAYS[name] or len(each.shape) != 1 for name, each in more.items()):
        raise JobFailed("bad-spec")
    extra = {name: np.frombuffer(each.data, each.dtype) for name, each in more.items()}
    weights, budgets, goals = extra["weights"], arrays["budgets"], arrays["goals"]
    if not (weights.size == budgets.size > int(program.group.max(initial=-1)) and bool(np.all(weights > 0))):
        raise JobFailed("bad-spec")
    if len(set(goals.tolist())) != goals.size or not np.isin(goals, program.head).all():
        raise JobFailed("bad-spec")
    search = front.Front(_rules(program), goals.tolist(), budgets.tolist(), weights.tolist(), _coverage(values, extra, arrays))
    if goals.size:
        cheapest, bound = _cheapest(program, initial, goals, budgets, began, deadline_ms, tell)
        search.bound = max(search.bound, bound)
        if cheapest is not None:
            search.offer(cheapest)
    _until(search.steps(), began, deadline_ms, tell)
    starts = np.cumsum([0, *(len(point.rules) for point in search.points)]).astype(np.int64)
    rules = np.array([rule for point in search.points for rule in point.rules], np.int32)
    said = {"status": "front", "bound": search.bound, "finished": search.finished, "nodes": search.nodes}
    return pack(said, {"starts": _field(starts), "rules": _field(rules)})


def _rules(program: horn.Program) -> front.Rules:
    start, body = program.body_start.tolist(), program.body.tolist()
    bodies = [body[begin:end] for begin, end in pairwise(start)]
    return front.Rules(bodies, program.head.tolist(), program.cost.tolist(), program.group.tolist(), program.atoms)


def _coverage(values: Mapping[str, Any], extra: Mapping[str, Any], arrays: Mapping[str, Any]) -> front.Coverage | None:
    if "totals" not in extra:
        return None
    groups, goals, lost = arrays["budgets"].size, arrays["goals"].size, values.get("lost")
    if type(lost) is not int or lost < 0 or not {"owner_start", "owners"} <= set(extra):
        raise JobFailed("bad-spec")
    totals, start, owners = extra["totals"], extra["owner_start"], extra["owners"]
    if totals.size != groups or start.size != goals + 1 or start[0] != 0 or start[-1] != owners.size or np.any(np.diff(start) < 0):
        raise JobFailed("bad-spec")
    if owners.size and (owners.min() < 0 or owners.max() >= groups or totals.min() < 0 or np.any(totals[owners] == 0)):
        raise JobFailed("bad-spec")
    listed = owners.tolist()
    return front.Coverage([listed[begin:end] for begin, end in pairwise(start.tolist())], totals.tolist(), lost)


def _cheapest(
    program: horn.Program, initial: Any, goals: Any, budgets: Any, began: float, deadline_ms: int, tell: Tell
) -> tuple[list[int] | None, int]:
    """The cheapest spine for all goals that is found in a part of the time, and what none is cheaper than."""
    task, unreachable = horn.task(program, initial, goals, None, budgets)
    if unreachable.size:
        raise JobFailed("bad-spec")
    if horn.total(task.cost) > horn.TOTAL_MAX:
        raise JobFailed("cost-precision")
    found = exact.Search(task, budgets)
    _until(found.exact(), began, max(1, deadline_ms // EXACT_SHARE), tell)
    if found.best is None:
        return None, found.bound
    places = task.origin[np.array(found.best.rules, np.int64)]
    return places[places >= 0].tolist(), found.bound


def _until(steps: Iterator[None], began: float, deadline_ms: int, tell: Tell) -> None:
    for _ in steps:
        passed_ms = int(1_000 * (time.monotonic() - began))
        if passed_ms >= deadline_ms:
            return
        tell(passed_ms, deadline_ms)


def _answer(status: str, found: exact.Search | None, task: horn.Task, unreachable: Any) -> bytes:
    best = found.best if found is not None else None
    said = {
        "status": status,
        "cost": best.cost if best is not None else None,
        "bound": found.bound if found is not None else 0,
        "proof": found.proof if found is not None else "heuristic",
        "finished": found is None or found.finished,
        "nodes": found.nodes if found is not None else 0,
        "expanded": found.beam.expanded if found is not None else 0,
    }
    places = task.origin[np.array(best.rules if best is not None else (), np.int64)]
    return pack(said, {"rules": _field(np.sort(places[places >= 0])), "unreachable": _field(unreachable.astype(np.int32))})


def _program(values: Mapping[str, Any], fields: Mapping[str, Field]) -> tuple[horn.Program, Any, dict[str, Any]]:
    """Checked all through: kernels look at no index twice."""
    types = {**ARRAYS, **MORE_ARRAYS}
    atoms = values.get("atoms")
    if type(atoms) is not int or not set(ARRAYS) <= set(fields) <= set(types):
        raise JobFailed("bad-spec")
    if any(field.dtype != types[name] or len(field.shape) != 1 for name, field in fields.items()):
        raise JobFailed("bad-spec")
    arrays = {name: np.frombuffer(field.data, field.dtype).copy() for name, field in fields.items()}
    for name in ("initial", "forbidden"):
        if name in arrays:
            arrays[name] = arrays[name].view(np.uint8) != 0  # a byte that is neither 0 nor 1 is no truth value
    start, body, head, cost, group = (arrays[name] for name in ("body_start", "body", "head", "cost", "group"))
    program = horn.Program(start, body, head, cost, group, atoms)
    wrong = horn.fault(program, arrays["initial"], arrays.get("goals"))
    forbidden, budgets = arrays.get("forbidden"), arrays.get("budgets")
    if wrong is not None or (forbidden is not None and forbidden.size != program.head.size):
        raise JobFailed("bad-spec")
    if budgets is not None and budgets.size and budgets.max() > horn.TOTAL_MAX:
        raise JobFailed("out-of-range")
    return program, arrays["initial"], arrays


def _field(array: Any) -> Field:
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return Field(plain.dtype.str, plain.shape, plain.tobytes())
