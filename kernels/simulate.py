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

from kernels import etd, sncgl
from kernels.geometry import inverse_square, source
from kernels.grid import Grid
from kernels.params import (
    BLOCK_STEPS,
    DENSITY_LOW,
    DIVERGED,
    GEOMETRY,
    ILL_POSED,
    NO_SOURCE,
    OK,
    PADDING,
    UNRESOLVED,
    UNSETTLED,
    Coefficients,
    Signature,
    ill_posed,
    stack,
)

DIAGNOSTICS = ("rho_mean", "rho_max", "h", "rho_s_min", "rho_s_max", "outer_share")
"""The columns of `diag`. What a run without geometry has no number for is NaN."""

PORTION_VALUES = 2**14
"""Grid points times blocks of one portion of a run that tells how far it is: about a tenth of a second on one core."""

RUNAWAY = 2.0
"""Omega⁻² above this multiple of what the linear part was made for is not stable any more (θ > 1)."""
OUTER_SHARE_MAX = 1e-4
SETTLED_WITHIN = 0.2
SOURCE_MIN = 1e-12


class Result(NamedTuple):
    """Every array has a lane axis first and the width of the signature; lanes nobody asked for have the status PADDING."""

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
    fields: etd.Fields
    status: Array
    fail_step: Array
    tally: Tally
    snaps: Array
    diag: Array


def simulate(
    sig: Signature,
    params: Sequence[Coefficients],
    A0: np.ndarray,
    rho_s0: np.ndarray,
    J: np.ndarray,
    dt: float | Sequence[float] | None,
    steps: int,
    told: Callable[[int], object] | None = None,
) -> Result:
    """Run up to `sig.width` lanes; A0, rho_s0 and J have a lane axis, and `dt` None takes each run's own.

    `told` hears now and then how many steps are done. The run is then cut into portions, which changes no bit of it.
    """
    grid, lanes = Grid.of(sig), len(params)
    runs = list(params)
    if dt is not None:
        runs = [run._replace(dt=float(one)) for run, one in zip(runs, np.broadcast_to(dt, lanes), strict=True)]
    arrays = (
        _padded(A0, sig.width, grid.complex_type, 0),
        _padded(rho_s0, sig.width, grid.real_type, runs[0].rho_vac),
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
    numbers: Coefficients,
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
    run = partial(_run, sig, Grid.of(sig))
    if side_by_side:
        return jax.jit(jax.vmap(run, in_axes=(0, 0, 0, 0, None)))

    def one_after_another(c: Coefficients, A0: Array, rho_s0: Array, J: Array, steps: Array) -> Any:
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
    grid = Grid.of(sig)
    begin, advance, finish = (partial(part, sig, grid) for part in (_begin, _advance, _finish))
    if side_by_side():
        spread = jax.vmap(advance, in_axes=(0, 0, 0, 0, None, None))
        return Portions(jax.jit(jax.vmap(begin)), jax.jit(spread), jax.jit(jax.vmap(finish)))

    def one_after_another(c: Coefficients, state: State, J: Array, ends: Array, first: Array, steps: Array) -> Any:
        return lax.map(lambda lane: advance(*lane, first, steps), (c, state, J, ends))

    def each(part: Callable[..., Any]) -> Any:
        return jax.jit(lambda *lanes: lax.map(lambda lane: part(*lane), lanes))

    return Portions(each(begin), jax.jit(one_after_another), each(finish))


# -- one lane


def _run(sig: Signature, grid: Grid, c: Coefficients, A0: Array, rho_s0: Array, J: Array, steps: Array) -> tuple[Array, ...]:
    state = _begin(sig, grid, c, A0, rho_s0)
    state = _advance(sig, grid, c, state, J, steps, jnp.zeros((), jnp.int64), steps)
    return _finish(sig, grid, c, state, rho_s0)


def _begin(sig: Signature, grid: Grid, c: Coefficients, A0: Array, rho_s0: Array) -> State:
    curved = sig.geometry == "coevolve"
    fields = (grid.to_modes(A0), grid.to_modes_real(rho_s0)) if curved else (grid.to_modes(A0),)
    nothing = jnp.zeros((), jnp.float64)
    return State(
        fields,
        jnp.where(_finite(fields), OK, DIVERGED).astype(jnp.int32),
        jnp.where(_finite(fields), -1, 0).astype(jnp.int64),
        Tally(nothing - jnp.inf, jnp.zeros((2, 2), jnp.float64), jnp.zeros((2, 2), jnp.float64)),
        jnp.zeros((sig.snapshots, *fields[0].shape), grid.complex_type),
        jnp.full((sig.snapshots, len(DIAGNOSTICS)), jnp.nan, jnp.float64),
    )


def _advance(
    sig: Signature, grid: Grid, c: Coefficients, state: State, J: Array, until: Array, first: Array, steps: Array
) -> State:
    """From step `first`, where a block begins, to `until`, where one ends, of a run of `steps`."""
    curved = sig.geometry == "coevolve"
    kernel = sncgl.response(grid, c) if sig.nonlocal_term else None
    pump = grid.to_modes(J)
    marks = steps - (np.arange(sig.snapshots)[::-1] * steps) // (4 * sig.snapshots)
    flat_weights = None if curved else _weights(grid, c, jnp.ones((), jnp.float64), curved)

    def block(carry: tuple[Array, State]) -> tuple[Array, State]:
        first, state = carry
        balance = _balance(grid, c, state.fields) if curved else jnp.ones((), jnp.float64)
        by_field = _weights(grid, c, balance, curved) if flat_weights is None else flat_weights
        explicit = sncgl.curved_explicit(grid, c, kernel, pump, balance) if curved else sncgl.flat_explicit(grid, c, kernel, pump)
        end = jnp.minimum(first + BLOCK_STEPS, steps)

        def segment(carry: tuple[Array, State]) -> tuple[Array, State]:
            at, state = carry
            mark = jnp.min(jnp.where(marks > at, marks, steps))
            until = jnp.minimum(end, mark)
            one = partial(_step, c, balance, explicit, by_field)
            fields, status, fail_step = lax.fori_loop(at, until, one, (state.fields, state.status, state.fail_step))
            state = state._replace(fields=fields, status=status, fail_step=fail_step)
            return until, _noted(sig, grid, c, state, until, steps, marks)

        return lax.while_loop(lambda carry: carry[0] < end, segment, (first, state))

    _, state = lax.while_loop(lambda carry: carry[0] < until, block, (first, state))
    return state


def _finish(sig: Signature, grid: Grid, c: Coefficients, state: State, rho_s0: Array) -> tuple[Array, ...]:
    return _result(grid, c, state, rho_s0, sig.geometry == "coevolve")


def _weights(grid: Grid, c: Coefficients, balance: Array, curved: bool) -> list[etd.Weights]:
    """Once for each different |n|², then spread over the modes."""
    k2 = grid.distinct * (2 * jnp.pi / c.length) ** 2
    field = etd.weights(c.dt * (c.gain - c.diffusion * balance * k2), c.dt)
    spread = [etd.Weights(*(grid.gather(part.astype(grid.complex_type)) for part in field))]
    if curved:
        density = etd.weights((-c.dt * (c.spread * k2 + c.m2) / c.tau).astype(jnp.complex128), c.dt)
        # This symbol is real, and so are its weights.
        spread.append(etd.Weights(*(grid.gather(part.real.astype(grid.real_type), half=True) for part in density)))
    return spread


def _balance(grid: Grid, c: Coefficients, fields: etd.Fields) -> Array:
    """c0: what the linear part takes Omega⁻² to be, so that the rest stays stable for all of it."""
    rho_s = grid.to_points_real(fields[1])
    extremes = inverse_square(jnp.stack([jnp.min(rho_s), jnp.max(rho_s)]).astype(jnp.float64), c.alpha, c.rho_vac)
    low, high = jnp.min(extremes), jnp.max(extremes)
    balance = jnp.maximum((low + high) / 2, high / 1.5)
    # A lane that has failed already may have no number here; it goes no further, whatever stands in its weights.
    return jnp.where(jnp.isfinite(balance), balance, 1.0)


def _finite(fields: etd.Fields) -> Array:
    """Whether every mode is; one sum says so, because what is not finite stays so in a sum of squares."""
    return jnp.isfinite(sum(jnp.sum(f.real * f.real + f.imag * f.imag) for f in fields))


def _step(
    c: Coefficients, balance: Array, explicit: etd.Explicit, by_field: list[etd.Weights], number: Array, carry: tuple[Any, ...]
) -> tuple[Any, ...]:
    fields, status, fail_step = carry
    after, seen = etd.step(fields, explicit, by_field)
    fault = jnp.where(_finite(after), OK, DIVERGED)
    if seen[0] is not None:
        low = jnp.stack([one.density_min for one in seen])
        high = jnp.max(jnp.stack([one.inverse_max for one in seen]))
        fault = jnp.where((fault == OK) & (high > RUNAWAY * balance), GEOMETRY, fault)
        fault = jnp.where(jnp.any(low < DENSITY_LOW * c.rho_vac), GEOMETRY, fault)
    good = (status == OK) & (fault == OK)
    kept = tuple(jnp.where(good, new, old) for new, old in zip(after, fields, strict=True))
    fail_step = jnp.where((status == OK) & (fault != OK), number + 1, fail_step)
    return kept, jnp.where(status == OK, fault, status).astype(jnp.int32), fail_step


def residual(grid: Grid, c: Coefficients, fields: etd.Fields) -> tuple[Array, Array]:
    """sdg_h_norm_l2 and the norm of its source: how far rho_s is from the density that this field would hold."""
    modes, density = fields
    t = sncgl.typed(grid, c)
    wave_step = 2 * jnp.pi / c.length
    field, _, gradients = sncgl.views(grid, modes, wave_step)
    fed = source(field, gradients, t.kappa, t.eta, t.core)
    k2 = jnp.asarray(grid.squares(half=True) * wave_step**2, grid.real_type)
    vacuum = jnp.zeros_like(density).at[(0,) * grid.dimensions].set((c.rho_vac * grid.count).astype(density.dtype))
    left = grid.to_modes_real(fed) - t.spread * k2 * density - t.m2 * (density - vacuum)
    square = jnp.sum(grid.energy_weights() * (left.real**2 + left.imag**2)).astype(jnp.float64)
    source_norm = jnp.sqrt(jnp.mean(fed * fed)).astype(jnp.float64)
    return jnp.sqrt(square) / grid.count / source_norm, source_norm


def _look(grid: Grid, c: Coefficients, fields: etd.Fields) -> Array:
    """One row of `diag`."""
    power = fields[0].real ** 2 + fields[0].imag ** 2
    total = jnp.sum(power)
    field = grid.to_points(fields[0])
    none = jnp.full((), jnp.nan, jnp.float64)
    h = low = high = none
    if len(fields) == 2:
        norm, source_norm = residual(grid, c, fields)
        h = jnp.where(source_norm < SOURCE_MIN * c.m2 * c.rho_vac, none, norm)
        rho_s = grid.to_points_real(fields[1])
        low, high = jnp.min(rho_s), jnp.max(rho_s)
    outer = jnp.sum(jnp.where(grid.outer(), power, 0)) / jnp.where(total > 0, total, 1)
    row = (total / grid.count**2, jnp.max(field.real**2 + field.imag**2), h, low, high, outer)
    return jnp.stack([jnp.asarray(value, jnp.float64) for value in row])


def _noted(sig: Signature, grid: Grid, c: Coefficients, state: State, at: Array, steps: Array, marks: Array) -> State:
    """At every block end and snapshot: what it looks like, kept where it is wanted."""
    row = _look(grid, c, state.fields)
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
    wanted = (marks == at).reshape(-1, *(1,) * grid.dimensions)
    return state._replace(
        tally=tally,
        snaps=jnp.where(wanted, state.fields[0], state.snaps),
        diag=jnp.where(here, row, state.diag),
    )


def _result(grid: Grid, c: Coefficients, state: State, rho_s0: Array, curved: bool) -> tuple[Array, ...]:
    last = state.diag[-1]
    means = state.tally.sums / state.tally.counts
    moved = jnp.abs(means[1] - means[0]) > SETTLED_WITHIN * jnp.abs(means[0])
    flags = jnp.where(last[5] > OUTER_SHARE_MAX, UNRESOLVED, 0) + jnp.where(jnp.any(moved), UNSETTLED, 0)
    if curved:
        flags = flags + jnp.where(jnp.isnan(last[2]) & (state.status == OK), NO_SOURCE, 0)
    rho_s = grid.to_points_real(state.fields[1]) if curved else rho_s0
    h_max = jnp.where(jnp.isfinite(state.tally.h_max), state.tally.h_max, jnp.nan)
    points = grid.to_points(state.fields[0])
    snaps = grid.to_points(state.snaps)
    return points, rho_s, snaps, last[2], h_max, state.diag, state.status, state.fail_step, flags.astype(jnp.int32)
