"""The equations that a batch can step, each behind the same questions, so that lanes, portions and snapshots know none of them.

Everything here is for one lane and is traced: a model holds only what its program is compiled for, and never a number of a run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import jax.numpy as jnp
from jax import Array

from kernels import etd, fmia, sncgl
from kernels.geometry import inverse_square, source
from kernels.grid import Grid
from kernels.params import DENSITY_LOW, DIVERGED, GEOMETRY, OK, Coefficients, Signature, Waves

DIAGNOSTICS = {
    "sncgl": ("rho_mean", "rho_max", "h", "rho_s_min", "rho_s_max", "outer_share"),
    "fmia": ("rho_mean", "rho_max", "energy", "field_min", "field_max", "outer_share"),
}
"""The columns of `diag`: rho is what the spectrum is taken of, |A|² or the square of the real field. What a run has no number for,
as one without geometry, is NaN."""

RUNAWAY = 2.0
"""Omega⁻² above this multiple of what the linear part was made for is not stable any more (θ > 1)."""
SOURCE_MIN = 1e-12

Numbers = Coefficients | Waves
Fields = tuple[Array, ...]
Step = Callable[[Fields], tuple[Fields, Array]]
"""What the fields are a step later, and OK or what is wrong with them."""


class Model(Protocol):
    has_norm: bool
    """Whether the third column of `diag` is h."""

    def begin(self, c: Any, first: Array, second: Array) -> Fields:
        """The state, of two fields on the grid: A and rho_s, or rho and pi."""

    def prepared(self, c: Any, J: Array) -> Any:
        """What is the same in all blocks of a run."""

    def stepping(self, c: Any, prepared: Any, fields: Fields) -> Step:
        """How to step in the block that begins with these fields."""

    def look(self, c: Any, fields: Fields) -> Array:
        """One row of `diag`."""

    def points(self, modes: Array) -> Array:
        """The first field on the grid, complex, from its modes; also of many at once."""

    def second(self, c: Any, fields: Fields, given: Array) -> Array:
        """The second field on the grid; where the model leaves it alone, as it was given."""


def model_of(sig: Signature) -> Model:
    return WaveModel(Grid.of(sig), sig.nonlocal_term, sig.scheme) if sig.model == "fmia" else FieldModel(sig, Grid.of(sig))


def finite(fields: Fields) -> Array:
    """Whether every mode is; one sum says so, because what is not finite stays so in a sum of squares."""
    return jnp.isfinite(sum(jnp.sum(f.real * f.real + f.imag * f.imag) for f in fields))


def _outer_share(grid: Grid, power: Array, half: bool) -> Array:
    total = jnp.sum(power)
    return jnp.sum(jnp.where(grid.outer(half), power, 0)) / jnp.where(total > 0, total, 1)


def _row(*values: Array) -> Array:
    return jnp.stack([jnp.asarray(value, jnp.float64) for value in values])


# --- the complex field, with or without a geometry --------------------------------------------------------------------------


@dataclass(frozen=True)
class FieldModel:
    """S-NCGL. The state is A alone, or with `coevolve` A and rho_s."""

    sig: Signature
    grid: Grid

    @property
    def has_norm(self) -> bool:
        return self.sig.geometry != "off"

    @cached_property
    def _coevolves(self) -> bool:
        return self.sig.geometry == "coevolve"

    def begin(self, c: Coefficients, first: Array, second: Array) -> Fields:
        field = self.grid.to_modes(first)
        return (field, self.grid.to_modes_real(second)) if self._coevolves else (field,)

    def prepared(self, c: Coefficients, J: Array) -> Any:
        kernel = sncgl.response(self.grid, c) if self.sig.nonlocal_term else None
        same = density_weights(self.grid, c) if self._coevolves else []
        if not self.has_norm:
            same = field_weights(self.grid, c, jnp.ones((), jnp.float64))
        return kernel, self.grid.to_modes(J), same

    def stepping(self, c: Coefficients, prepared: Any, fields: Fields) -> Step:
        kernel, pump, same = prepared
        balance = self._balance(c, fields) if self.has_norm else jnp.ones((), jnp.float64)
        by_field = [*field_weights(self.grid, c, balance), *same] if self.has_norm else same
        explicit = self._explicit(c, kernel, pump, balance)

        def one(fields: Fields) -> tuple[Fields, Array]:
            after, seen = etd.step(fields, explicit, by_field)
            fault = jnp.where(finite(after), OK, DIVERGED)
            if seen[0] is not None:
                low = jnp.stack([stage.density_min for stage in seen])
                high = jnp.max(jnp.stack([stage.inverse_max for stage in seen]))
                fault = jnp.where((fault == OK) & (high > RUNAWAY * balance), GEOMETRY, fault)
                fault = jnp.where(jnp.any(low < DENSITY_LOW * c.rho_vac), GEOMETRY, fault)
            return after, fault

        return one

    def _explicit(self, c: Coefficients, kernel: Array | None, pump: Array, balance: Array) -> etd.Explicit:
        kinds = {"off": sncgl.flat_explicit, "coevolve": sncgl.curved_explicit, "elliptic": sncgl.enforced_explicit}
        return kinds[self.sig.geometry](self.grid, c, kernel, pump, balance)

    def _density(self, c: Coefficients, fields: Fields) -> Array:
        """The modes of rho_s: stepped, or those that the field holds in place."""
        return fields[1] if self._coevolves else sncgl.held_density(self.grid, c, fields[0])

    def _balance(self, c: Coefficients, fields: Fields) -> Array:
        """c0: what the linear part takes Omega⁻² to be, so that the rest stays stable for all of it."""
        rho_s = self.grid.to_points_real(self._density(c, fields))
        ends = inverse_square(jnp.stack([jnp.min(rho_s), jnp.max(rho_s)]).astype(jnp.float64), c.alpha, c.rho_vac)
        low, high = jnp.min(ends), jnp.max(ends)
        balance = jnp.maximum((low + high) / 2, high / 1.5)
        # A lane that has failed already may have no number here; it goes no further, whatever stands in its weights.
        return jnp.where(jnp.isfinite(balance), balance, 1.0)

    def look(self, c: Coefficients, fields: Fields) -> Array:
        grid, modes = self.grid, fields[0]
        power = modes.real**2 + modes.imag**2
        field = grid.to_points(modes)
        none = jnp.full((), jnp.nan, jnp.float64)
        h = low = high = none
        if self.has_norm:
            density = self._density(c, fields)
            norm, source_norm = residual(grid, c, (modes, density))
            h = jnp.where(source_norm < SOURCE_MIN * c.m2 * c.rho_vac, none, norm)
            rho_s = grid.to_points_real(density)
            low, high = jnp.min(rho_s), jnp.max(rho_s)
        most = jnp.max(field.real**2 + field.imag**2)
        return _row(jnp.sum(power) / grid.count**2, most, h, low, high, _outer_share(grid, power, half=False))

    def points(self, modes: Array) -> Array:
        return self.grid.to_points(modes)

    def second(self, c: Coefficients, fields: Fields, given: Array) -> Array:
        return self.grid.to_points_real(self._density(c, fields)) if self.has_norm else given


def field_weights(grid: Grid, c: Coefficients, balance: Array) -> list[etd.Weights]:
    """Of A: once for each different |n|², then spread over the modes."""
    k2 = grid.distinct * (2 * jnp.pi / c.length) ** 2
    field = etd.weights(c.dt * (c.gain - c.diffusion * balance * k2), c.dt)
    return [etd.Weights(*(grid.gather(part.astype(grid.complex_type)) for part in field))]


def density_weights(grid: Grid, c: Coefficients) -> list[etd.Weights]:
    """Of rho_s, whose linear part no block changes. Its symbol is real, and so are its weights."""
    k2 = grid.distinct * (2 * jnp.pi / c.length) ** 2
    density = etd.weights((-c.dt * (c.spread * k2 + c.m2) / c.tau).astype(jnp.complex128), c.dt)
    return [etd.Weights(*(grid.gather(part.real.astype(grid.real_type), half=True) for part in density))]


def residual(grid: Grid, c: Coefficients, fields: Fields) -> tuple[Array, Array]:
    """sdg_h_norm_l2 and the norm of its source: how far rho_s is from the density that this field would hold."""
    modes, density = fields
    t = sncgl.typed(grid, c)
    wave_step = 2 * jnp.pi / c.length
    field, gradients = sncgl.slopes(grid, modes, wave_step)
    fed = source(field, gradients, t.kappa, t.eta, t.core)
    k2 = jnp.asarray(grid.squares(half=True) * wave_step**2, grid.real_type)
    vacuum = jnp.zeros_like(density).at[(0,) * grid.dimensions].set((c.rho_vac * grid.count).astype(density.dtype))
    left = grid.to_modes_real(fed) - t.spread * k2 * density - t.m2 * (density - vacuum)
    square = jnp.sum(grid.energy_weights() * (left.real**2 + left.imag**2)).astype(jnp.float64)
    source_norm = jnp.sqrt(jnp.mean(fed * fed)).astype(jnp.float64)
    return jnp.sqrt(square) / grid.count / source_norm, source_norm


# --- the control model ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WaveModel:
    """FMIA. The state is rho and pi; there is no geometry, and no source J."""

    grid: Grid
    nonlocal_term: bool
    scheme: str
    has_norm: bool = False

    def begin(self, c: Waves, first: Array, second: Array) -> Fields:
        return self.grid.to_modes_real(first.real), self.grid.to_modes_real(second)

    def _kernel(self, c: Waves) -> Array | None:
        return sncgl.response(self.grid, c) if self.nonlocal_term else None

    def prepared(self, c: Waves, J: Array) -> Any:
        return self._kernel(c), fmia.schedule(self.grid, c, self.scheme)

    def stepping(self, c: Waves, prepared: Any, fields: Fields) -> Step:
        kernel, plan = prepared
        typed = sncgl.typed(self.grid, c)

        def one(fields: Fields) -> tuple[Fields, Array]:
            rho, pi = fields
            after = fmia.step(self.grid, (rho, pi), typed, kernel, plan)
            return after, jnp.where(finite(after), OK, DIVERGED)

        return one

    def look(self, c: Waves, fields: Fields) -> Array:
        grid = self.grid
        rho, pi = fields
        power = grid.energy_weights() * (rho.real**2 + rho.imag**2)
        low, high = fmia.extremes(grid, rho)
        most = jnp.maximum(low * low, high * high)
        energy = fmia.energy(grid, (rho, pi), sncgl.typed(grid, c), self._kernel(c))
        return _row(jnp.sum(power) / grid.count**2, most, energy, low, high, _outer_share(grid, power, half=True))

    def points(self, modes: Array) -> Array:
        return self.grid.to_points_real(modes).astype(self.grid.complex_type)

    def second(self, c: Waves, fields: Fields, given: Array) -> Array:
        return self.grid.to_points_real(fields[1])
