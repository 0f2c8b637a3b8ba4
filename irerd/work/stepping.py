"""Runs of the field that can say how far they are: the programs of `kernels.simulate`, cut at the ends of blocks of steps.

Every number that decides a bit is worked out as `kernels.simulate` does it; only the loop over blocks is left and entered again, so
that a worker can tell progress in between. Where it is cut changes nothing: the next portion takes up the modes themselves.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from kernels import simulate as whole
from kernels import sncgl
from kernels.grid import Grid
from kernels.params import BLOCK_STEPS, DIVERGED, ILL_POSED, OK, PADDING, Coefficients, Signature, ill_posed, stack

PORTION_VALUES = 2**14
"""Grid points times blocks of one portion: about a tenth of a second on one core."""


class Programs(NamedTuple):
    begin: Any
    advance: Any
    finish: Any


def side_by_side() -> bool:
    """Whether lanes are computed together, as an accelerator does, or one after another, where width costs nothing."""
    return jax.default_backend() != "cpu"


def run(
    sig: Signature,
    runs: Sequence[Coefficients],
    A0: np.ndarray[Any, Any],
    rho_s0: np.ndarray[Any, Any],
    J: np.ndarray[Any, Any],
    steps: int,
    told: Callable[[int], None],
) -> whole.Result:
    """Up to `sig.width` lanes, each with its own dt; `told` hears how many steps are done."""
    grid, lanes = Grid.of(sig), len(runs)
    fields = whole._padded(A0, sig.width, grid.complex_type, 0)
    density = whole._padded(rho_s0, sig.width, grid.real_type, runs[0].rho_vac)
    pump = whole._padded(J, sig.width, grid.complex_type, 0)
    numbers, program = stack(list(runs), sig.width), programs(sig)
    state = program.begin(numbers, fields, density)
    asked = np.where(np.arange(sig.width) < lanes, steps, 0)  # nobody waits for the lanes that only pad
    portion = BLOCK_STEPS * max(1, PORTION_VALUES // grid.count)
    for first in range(0, steps, portion):
        until = min(first + portion, steps)
        ends = np.int64(until) if side_by_side() else np.minimum(asked, until)
        state = program.advance(numbers, state, pump, ends, np.int64(first), np.int64(steps))
        state.status.block_until_ready()
        told(until)
    result = whole.Result(*(np.array(part) for part in program.finish(numbers, state, density)))
    result.flags[:lanes] |= np.array([ILL_POSED * ill_posed(one) for one in runs], result.flags.dtype)
    result.status[lanes:] = PADDING
    result.flags[lanes:] = 0
    return result


@cache
def programs(sig: Signature) -> Programs:
    """Compiled once for a signature; every number is an argument."""
    if not jax.config.read("jax_enable_x64"):  # type: ignore[no-untyped-call]
        raise RuntimeError("kernels need 64-bit types: set jax_enable_x64 before the first program")
    grid = Grid.of(sig)
    begin, finish = partial(_begin, sig, grid), partial(_finish, sig, grid)
    advance: Any = partial(_advance, sig, grid)
    if side_by_side():
        spread = jax.vmap(advance, in_axes=(0, 0, 0, None, None, None))
        return Programs(jax.jit(jax.vmap(begin)), jax.jit(spread), jax.jit(jax.vmap(finish)))

    def one_after_another(c: Coefficients, state: Any, pump: Array, ends: Array, first: Array, steps: Array) -> Any:
        return lax.map(lambda lane: advance(*lane, first, steps), (c, state, pump, ends))

    def each(function: Callable[..., Any]) -> Any:
        return jax.jit(lambda *lanes: lax.map(lambda lane: function(*lane), lanes))

    return Programs(each(begin), jax.jit(one_after_another), each(finish))


# -- one lane


def _begin(sig: Signature, grid: Grid, c: Coefficients, A0: Array, rho_s0: Array) -> whole.State:
    curved = sig.geometry == "coevolve"
    fields = (grid.to_modes(A0), grid.to_modes_real(rho_s0)) if curved else (grid.to_modes(A0),)
    nothing = jnp.zeros((), jnp.float64)
    sound = whole._finite(fields)
    return whole.State(
        fields,
        jnp.where(sound, OK, DIVERGED).astype(jnp.int32),
        jnp.where(sound, -1, 0).astype(jnp.int64),
        whole.Tally(nothing - jnp.inf, jnp.zeros((2, 2), jnp.float64), jnp.zeros((2, 2), jnp.float64)),
        jnp.zeros((sig.snapshots, *fields[0].shape), grid.complex_type),
        jnp.full((sig.snapshots, len(whole.DIAGNOSTICS)), jnp.nan, jnp.float64),
    )


def _advance(
    sig: Signature,
    grid: Grid,
    c: Coefficients,
    state: whole.State,
    J: Array,
    until: Array,
    first: Array,
    steps: Array,
) -> whole.State:
    """From step `first`, where a block begins, to `until`, where one ends, of a run of `steps`."""
    curved = sig.geometry == "coevolve"
    kernel = sncgl.response(grid, c) if sig.nonlocal_term else None
    pump = grid.to_modes(J)
    one = jnp.ones((), jnp.float64)
    flat_weights = None if curved else whole._weights(grid, c, one, curved)
    marks = steps - (np.arange(sig.snapshots)[::-1] * steps) // (4 * sig.snapshots)

    def block(carry: tuple[Array, whole.State]) -> tuple[Array, whole.State]:
        at, state = carry
        balance = whole._balance(grid, c, state.fields) if curved else one
        by_field = whole._weights(grid, c, balance, curved) if flat_weights is None else flat_weights
        explicit: Any = (
            sncgl.curved_explicit(grid, c, kernel, pump, balance) if curved else sncgl.flat_explicit(grid, c, kernel, pump)
        )
        step = partial(whole._step, c, balance, explicit, by_field)
        end = jnp.minimum(at + BLOCK_STEPS, steps)

        def segment(carry: tuple[Array, whole.State]) -> tuple[Array, whole.State]:
            at, state = carry
            mark = jnp.min(jnp.where(marks > at, marks, steps))
            to = jnp.minimum(end, mark)
            fields, status, fail_step = lax.fori_loop(at, to, step, (state.fields, state.status, state.fail_step))
            state = state._replace(fields=fields, status=status, fail_step=fail_step)
            return to, whole._noted(sig, grid, c, state, to, steps, marks)

        return lax.while_loop(lambda carry: carry[0] < end, segment, (at, state))

    _, state = lax.while_loop(lambda carry: carry[0] < until, block, (first, state))
    return state


def _finish(sig: Signature, grid: Grid, c: Coefficients, state: whole.State, rho_s0: Array) -> tuple[Array, ...]:
    return whole._result(grid, c, state, rho_s0, sig.geometry == "coevolve")
