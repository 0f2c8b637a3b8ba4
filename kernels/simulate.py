"""Runs of the field, many in a call: one compiled program for each signature, every number an argument.

Lanes share nothing but the program: a lane that fails freezes at its last good state and is told apart by its status, and each
lane's bits are those it would have in any other batch of at least two lanes. JAX must have 64-bit types enabled.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from kernels.grid import Grid
from kernels.models import DIAGNOSTICS, Fields, Model, Numbers, Step, finite, model_of
from kernels.params import (
    BLOCK_STEPS,
    DIVERGED,
    ILL_POSED,
    NO_SOURCE,
    OK,
    PADDING,
    UNRESOLVED,
    UNSETTLED,
    Signature,
    ill_posed,
    stack,
)

PORTION_VALUES = 2**14
"""Grid points times blocks of one portion of a run that tells how far it is: about a tenth of a second on one core."""

OUTER_SHARE_MAX = 1e-4
SETTLED_WITHIN = 0.2


class Result(NamedTuple):
    """Every array has a lane axis first and the width of the signature; lanes nobody asked for have the status PADDING.

    Of the model fmia A is its real field, and what stands in rho_s is the momentum pi.
    """

    A: np.ndarray
    rho_s: np.ndarray
    snaps: np.ndarray
    h: np.ndarray
    h_max: np.ndarray
    diag: np.ndarray
    status: np.ndarray
    fail_step: np.ndarray
    flags: np.ndarray


class Tally(NamedTuple):
    """What one run gathers on its way: h at its largest, and sums over the last eighth and the eighth before it."""

    h_max: Array
    sums: Array
    counts: Array


class State(NamedTuple):
    fields: Fields
    status: Array
    fail_step: Array
    tally: Tally
    snaps: Array
    diag: Array


def simulate(
    sig: Signature,
    params: Sequence[Any],
    A0: np.ndarray,
    rho_s0: np.ndarray,
    J: np.ndarray,
    dt: float | Sequence[float] | None,
    steps: int,
    told: Callable[[int], object] | None = None,
) -> Result:
    """Run up to `sig.width` lanes; A0, rho_s0 and J have a lane axis, and `dt` None takes each run's own.

    Of the model fmia A0 is its field, of which the real part counts, rho_s0 its momentum pi, and J must be 0: it has no source.

    `told` hears now and then how many steps are done. The run is then cut into portions, which changes no bit of it.
    """
    grid, lanes = Grid.of(sig), len(params)
    if sig.model == "fmia" and np.any(J):
        raise ValueError("the model fmia has no source J")
    runs = list(params)
    if dt is not None:
        runs = [run._replace(dt=float(one)) for run, one in zip(runs, np.broadcast_to(dt, lanes), strict=True)]
    arrays = (
        _padded(A0, sig.width, grid.complex_type, 0),
        _padded(rho_s0, sig.width, grid.real_type, getattr(runs[0], "rho_vac", 0.0)),
        _padded(J, sig.width, grid.complex_type, 0),
    )
    numbers = stack(runs, sig.width)
    if told is None:
        out = program(sig)(numbers, *arrays, np.int64(steps))
    else:
        out = _in_portions(sig, lanes, numbers, arrays, steps, told)
    result = Result(*(np.array(part) for part in out))
    posed = np.array([ILL_POSED * ill_posed(run) for run in runs], result.flags.dtype)
    result.flags[:lanes] |= posed
    result.status[lanes:] = PADDING
    result.flags[lanes:] = 0
    return result


def _in_portions(
    sig: Signature,
    lanes: int,
    numbers: Any,
    arrays: tuple[np.ndarray, ...],
    steps: int,
    told: Callable[[int], object],
) -> Any:
    field, density, pump = arrays
    parts = portions(sig)
    state = parts.begin(numbers, field, density)
    portion = BLOCK_STEPS * max(1, PORTION_VALUES // Grid.of(sig).count)
    for first in range(0, steps, portion):
        until = min(first + portion, steps)
        # Nobody waits for the lanes that only pad; where lanes go side by side they cost nothing.
        ends = np.where(side_by_side() | (np.arange(sig.width) < lanes), until, 0)
        state = parts.advance(numbers, state, pump, ends, np.int64(first), np.int64(steps))
        state.status.block_until_ready()
        told(until)
    return parts.finish(numbers, state, density)


def _padded(lanes: np.ndarray, width: int, dtype: np.dtype, fill: float) -> np.ndarray:
    lanes = np.asarray(lanes, dtype)
    full = np.full((width, *lanes.shape[1:]), fill, dtype)
    full[: len(lanes)] = lanes
    return full


@cache
def program(sig: Signature) -> Any:
    """The compiled program of a signature: (coefficients, A0, rho_s0, J, steps) → the parts of a `Result`."""
    if not jax.config.read("jax_enable_x64"):
        raise RuntimeError("kernels need 64-bit types: set jax_enable_x64 before the first program")
    return batch(sig, side_by_side())


def side_by_side() -> bool:
    """Whether lanes are computed together, as an accelerator does, or one after another, where width costs nothing."""
    return bool(jax.default_backend() != "cpu")


def batch(sig: Signature, side_by_side: bool) -> Any:
    """All lanes of a call. An accelerator takes them side by side.

    A core takes them one after another: the fields of one lane stay in its cache, and neither the width of the batch nor the
    lane's place in it can change a bit. Side by side, sums over a field differed in the last digit of single precision.
    """
    run = partial(_run, sig, model_of(sig))
    if side_by_side:
        return jax.jit(jax.vmap(run, in_axes=(0, 0, 0, 0, None)))

    def one_after_another(c: Numbers, A0: Array, rho_s0: Array, J: Array, steps: Array) -> Any:
        return lax.map(lambda lane: run(*lane, steps), (c, A0, rho_s0, J))

    return jax.jit(one_after_another)


class Portions(NamedTuple):
    """The program of a signature in three, so that a run can be left and entered again at the end of any block of steps."""

    begin: Any
    """(coefficients, A0, rho_s0) → state"""
    advance: Any
    """(coefficients, state, J, until of each lane, first, steps) → state"""
    finish: Any
    """(coefficients, state, rho_s0) → the parts of a `Result`"""


@cache
def portions(sig: Signature) -> Portions:
    if not jax.config.read("jax_enable_x64"):
        raise RuntimeError("kernels need 64-bit types: set jax_enable_x64 before the first program")
    model = model_of(sig)
    begin, advance, finish = (partial(part, sig, model) for part in (_begin, _advance, _finish))
    if side_by_side():
        spread = jax.vmap(advance, in_axes=(0, 0, 0, 0, None, None))
        return Portions(jax.jit(jax.vmap(begin)), jax.jit(spread), jax.jit(jax.vmap(finish)))

    def one_after_another(c: Numbers, state: State, J: Array, ends: Array, first: Array, steps: Array) -> Any:
        return lax.map(lambda lane: advance(*lane, first, steps), (c, state, J, ends))

    def each(part: Callable[..., Any]) -> Any:
        return jax.jit(lambda *lanes: lax.map(lambda lane: part(*lane), lanes))

    return Portions(each(begin), jax.jit(one_after_another), each(finish))


# -- one lane


def _run(sig: Signature, model: Model, c: Numbers, A0: Array, second: Array, J: Array, steps: Array) -> tuple[Array, ...]:
    state = _begin(sig, model, c, A0, second)
    state = _advance(sig, model, c, state, J, steps, jnp.zeros((), jnp.int64), steps)
    return _finish(sig, model, c, state, second)


def _begin(sig: Signature, model: Model, c: Numbers, A0: Array, second: Array) -> State:
    fields = model.begin(c, A0, second)
    well, nothing = finite(fields), jnp.zeros((), jnp.float64)
    return State(
        fields,
        jnp.where(well, OK, DIVERGED).astype(jnp.int32),
        jnp.where(well, -1, 0).astype(jnp.int64),
        Tally(nothing - jnp.inf, jnp.zeros((2, 2), jnp.float64), jnp.zeros((2, 2), jnp.float64)),
        jnp.zeros((sig.snapshots, *fields[0].shape), fields[0].dtype),
        jnp.full((sig.snapshots, len(DIAGNOSTICS[sig.model])), jnp.nan, jnp.float64),
    )


def _advance(sig: Signature, model: Model, c: Numbers, state: State, J: Array, until: Array, first: Array, steps: Array) -> State:
    """From step `first`, where a block begins, to `until`, where one ends, of a run of `steps`."""
    prepared = model.prepared(c, J)
    marks = steps - (np.arange(sig.snapshots)[::-1] * steps) // (4 * sig.snapshots)

    def block(carry: tuple[Array, State]) -> tuple[Array, State]:
        first, state = carry
        one = partial(_step, model.stepping(c, prepared, state.fields))
        end = jnp.minimum(first + BLOCK_STEPS, steps)

        def segment(carry: tuple[Array, State]) -> tuple[Array, State]:
            at, state = carry
            mark = jnp.min(jnp.where(marks > at, marks, steps))
            until = jnp.minimum(end, mark)
            fields, status, fail_step = lax.fori_loop(at, until, one, (state.fields, state.status, state.fail_step))
            state = state._replace(fields=fields, status=status, fail_step=fail_step)
            return until, _noted(model, c, state, until, steps, marks)

        return lax.while_loop(lambda carry: carry[0] < end, segment, (first, state))

    _, state = lax.while_loop(lambda carry: carry[0] < until, block, (first, state))
    return state


def _step(advanced: Step, number: Array, carry: tuple[Any, ...]) -> tuple[Any, ...]:
    fields, status, fail_step = carry
    after, fault = advanced(fields)
    good = (status == OK) & (fault == OK)
    kept = tuple(jnp.where(good, new, old) for new, old in zip(after, fields, strict=True))
    fail_step = jnp.where((status == OK) & (fault != OK), number + 1, fail_step)
    return kept, jnp.where(status == OK, fault, status).astype(jnp.int32), fail_step


def _noted(model: Model, c: Numbers, state: State, at: Array, steps: Array, marks: Array) -> State:
    """At every block end and snapshot: what it looks like, kept where it is wanted."""
    row = model.look(c, state.fields)
    here = (marks == at)[:, None]
    late = 4 * at > 3 * steps
    half = jnp.stack([late & (8 * at <= 7 * steps), 8 * at > 7 * steps])[:, None]
    watched = jnp.stack([row[0], row[2]])[None]
    counted = half & jnp.isfinite(watched)
    tally = Tally(
        jnp.where(late, jnp.fmax(state.tally.h_max, row[2]), state.tally.h_max),
        state.tally.sums + jnp.where(counted, watched, 0),
        state.tally.counts + counted,
    )
    wanted = (marks == at).reshape(-1, *(1,) * (state.snaps.ndim - 1))
    return state._replace(
        tally=tally,
        snaps=jnp.where(wanted, state.fields[0], state.snaps),
        diag=jnp.where(here, row, state.diag),
    )


def _finish(sig: Signature, model: Model, c: Numbers, state: State, second: Array) -> tuple[Array, ...]:
    last = state.diag[-1]
    means = state.tally.sums / state.tally.counts
    moved = jnp.abs(means[1] - means[0]) > SETTLED_WITHIN * jnp.abs(means[0])
    flags = jnp.where(last[5] > OUTER_SHARE_MAX, UNRESOLVED, 0) + jnp.where(jnp.any(moved), UNSETTLED, 0)
    none = jnp.full((), jnp.nan, jnp.float64)
    h = h_max = none
    if model.has_norm:
        flags = flags + jnp.where(jnp.isnan(last[2]) & (state.status == OK), NO_SOURCE, 0)
        h, h_max = last[2], jnp.where(jnp.isfinite(state.tally.h_max), state.tally.h_max, none)
    points, snaps = model.points(state.fields[0]), model.points(state.snaps)
    other = model.second(c, state.fields, second)
    return points, other, snaps, h, h_max, state.diag, state.status, state.fail_step, flags.astype(jnp.int32)
