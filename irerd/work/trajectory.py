"""What a program of rules leads to, and the cheapest way there, of arrays: the jobs `closure` and `search`.

Atoms, rules and groups come as numbers. What is answered is held against core/spine.py by whoever asked. The clock is looked at
between steps of some ten milliseconds, so that a deadline is kept also in the middle of a search.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from irerd.worker import Field, JobFailed, Tell, pack, unpack
from kernels import exact, horn
from kernels.additive import additive
from kernels.closure import closure as closed

WIDTH_MAX, DEADLINE_MS_MAX = 65_536, 3_600_000

ARRAYS = {"body_start": "<i8", "body": "<i4", "head": "<i4", "cost": "<i8", "group": "<i4", "initial": "|b1"}
MORE_ARRAYS = {"goals": "<i4", "forbidden": "|b1", "budgets": "<i8"}


def closure(spec: bytes, tell: Tell) -> bytes:
    """All that holds. Values: `atoms`, and `max_depth` or null. Arrays: body_start, body, head, cost, group, initial.

    Answers the arrays `depth` (-1: does not hold), `rule` (-1: from the start) and `additive` (-1: does not hold).
    """
    sheet = unpack(spec)
    program, initial, _ = _program(sheet.values, sheet.arrays)
    most = sheet.values.get("max_depth")
    if most is not None and (type(most) is not int or most < 0):
        raise JobFailed("bad-spec")
    tell(0, 2)
    found = closed(program, initial, most)
    tell(1, 2)
    cost = additive(program, initial)
    return pack({}, {"depth": _field(found.depth), "rule": _field(found.rule), "additive": _field(cost)})


def search(spec: bytes, tell: Tell) -> bytes:
    """The cheapest spine that is found. Values: `atoms`, `mode` (beam, exact), `width` of a beam, `deadline_ms` from here on.

    Arrays: as above and `goals`; `forbidden` of each rule, and `budgets` of each group (below 0: none) where there are any.
    Answers `status` (found, nothing: not within these budgets, stopped: before there was any, unreachable), `cost`, `bound`,
    `proof` (optimal, bound, heuristic), `finished`, `nodes`, `expanded`, and the arrays `rules` and, of the goals, `unreachable`.
    """
    sheet = unpack(spec)
    values = sheet.values
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
