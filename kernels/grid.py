"""Periodic grids of N points a side, and the modes a field on them may have.

A field is stored as its kept modes only, |n| < N/4 by default, in the order 0, 1, …, K−1, −(K−1), …, −1 on every axis and in
the scale of an unnormalised transform. A real field stores of its last axis only n = 0 … K−1. What is not kept is not there,
so it can never be alive. Nothing here knows the equation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from kernels.params import PRECISIONS, Signature


@dataclass(frozen=True)
class Grid:
    """The shape of things; equal grids have equal fields."""

    dimensions: int
    points: int
    kept: int
    precision: str

    @classmethod
    def of(cls, signature: Signature) -> "Grid":
        return cls(signature.dimensions, signature.points, signature.kept, signature.precision)

    @property
    def complex_type(self) -> np.dtype:
        return PRECISIONS[self.precision][0]

    @property
    def real_type(self) -> np.dtype:
        return PRECISIONS[self.precision][1]

    @property
    def axes(self) -> tuple[int, ...]:
        return tuple(range(-self.dimensions, 0))

    @property
    def count(self) -> int:
        return int(self.points**self.dimensions)

    @cached_property
    def numbers(self) -> np.ndarray:
        """The kept mode numbers of one axis, as stored."""
        upward = np.arange(self.kept)
        return np.concatenate([upward, -upward[:0:-1]])

    def _mesh(self, half: bool) -> list[np.ndarray]:
        last = np.arange(self.kept) if half else self.numbers
        return list(np.meshgrid(*[self.numbers] * (self.dimensions - 1), last, indexing="ij"))

    def mode(self, axis: int, half: bool = False) -> np.ndarray:
        """The mode number along one axis, for every stored mode."""
        return self._mesh(half)[axis].astype(self.real_type)

    def squares(self, half: bool = False) -> np.ndarray:
        """|n|² of every stored mode."""
        return np.sum([mesh**2 for mesh in self._mesh(half)], axis=0)

    @cached_property
    def distinct(self) -> np.ndarray:
        """The different values |n|² takes, ascending; linear coefficients are worked out once for each."""
        return np.unique(self.squares())

    def gather(self, values: Array, half: bool = False) -> Array:
        """One value for each different |n|², spread over the stored modes."""
        return values[np.searchsorted(self.distinct, self.squares(half))]

    def energy_weights(self) -> np.ndarray:
        """How often each mode of a stored real field counts: a mode with n > 0 on the last axis stands for its mirror too."""
        return np.where(self._mesh(half=True)[-1] == 0, 1.0, 2.0).astype(self.real_type)

    def outer(self, half: bool = False) -> np.ndarray:
        """Which modes lie in the outer eighth of the kept band."""
        reach = np.max(np.abs(self._mesh(half)), axis=0)
        return reach > 0.875 * (self.kept - 1)

    # -- between modes and points

    def _widen(self, modes: Array, axis: int) -> Array:
        size = modes.shape[axis]
        shape = list(modes.shape)
        shape[axis] = self.points - size
        upward = lax.slice_in_dim(modes, 0, self.kept, axis=axis)
        downward = lax.slice_in_dim(modes, self.kept, size, axis=axis)
        return jnp.concatenate([upward, jnp.zeros(shape, modes.dtype), downward], axis)

    def _narrow(self, spectrum: Array, axis: int) -> Array:
        size = spectrum.shape[axis]
        upward = lax.slice_in_dim(spectrum, 0, self.kept, axis=axis)
        downward = lax.slice_in_dim(spectrum, size - self.kept + 1, size, axis=axis)
        return jnp.concatenate([upward, downward], axis)

    def to_points(self, modes: Array) -> Array:
        for axis in self.axes:
            modes = self._widen(modes, axis)
        return jnp.fft.ifftn(modes, axes=self.axes)

    def to_modes(self, field: Array) -> Array:
        spectrum = jnp.fft.fftn(field, axes=self.axes)
        for axis in self.axes:
            spectrum = self._narrow(spectrum, axis)
        return spectrum

    def to_points_real(self, modes: Array) -> Array:
        """Axis by axis, the last one last: until then there are only the kept columns to transform."""
        for axis in self.axes[:-1]:
            modes = self._widen(modes, axis)
        if self.axes[:-1]:
            modes = jnp.fft.ifftn(modes, axes=self.axes[:-1])
        width = self.points // 2 + 1 - self.kept
        modes = jnp.pad(modes, [(0, 0)] * (modes.ndim - 1) + [(0, width)])
        return jnp.fft.irfft(modes, n=self.points, axis=-1)

    def to_modes_real(self, field: Array) -> Array:
        spectrum = jnp.fft.rfft(field, axis=-1)[..., : self.kept]
        if self.axes[:-1]:
            spectrum = jnp.fft.fftn(spectrum, axes=self.axes[:-1])
        for axis in self.axes[:-1]:
            spectrum = self._narrow(spectrum, axis)
        return spectrum

    def full_squares(self) -> np.ndarray:
        """|n|² of all modes a real grid field has, for filters that must not cut its band."""
        every = np.fft.fftfreq(self.points, 1 / self.points)
        last = np.arange(self.points // 2 + 1)
        return np.sum([mesh**2 for mesh in np.meshgrid(*[every] * (self.dimensions - 1), last, indexing="ij")], axis=0)

    def filtered(self, field: Array, response: Array) -> Array:
        """A real field with every mode, kept or not, multiplied by its response."""
        spectrum = jnp.fft.rfftn(field, axes=self.axes) * response
        return jnp.fft.irfftn(spectrum, s=(self.points,) * self.dimensions, axes=self.axes)

    # -- two real fields in one complex transform, which costs less than two real ones

    def unfolded(self, response: Array) -> Array:
        """A real response that depends on |n| alone, of the modes that a real field stores: for all modes."""
        return jnp.concatenate([response, self._opposite(response, self.axes[:-1])[..., self.points // 2 - 1 : 0 : -1]], -1)

    def to_spectrum_beside_modes(self, field: Array, other: Array) -> tuple[Array, Array]:
        """Two real fields: the whole spectrum of the first, and the stored modes of the second."""
        both = jnp.fft.fftn(lax.complex(field, other), axes=self.axes)
        mirrored = jnp.conj(self._opposite(both, self.axes))
        modes = (both[..., : self.kept] - mirrored[..., : self.kept]) * np.asarray(-0.5j, self.complex_type)
        for axis in self.axes[:-1]:
            modes = self._narrow(modes, axis)
        return (both + mirrored) * np.asarray(0.5, self.real_type), modes

    def to_points_beside_modes(self, spectrum: Array, modes: Array) -> tuple[Array, Array]:
        """The way back: a real field from its whole spectrum, and one from its stored modes."""
        mirrored = jnp.conj(self._opposite(modes, self.axes[:-1]))[..., :0:-1]
        whole = jnp.concatenate([modes, mirrored], -1) * np.asarray(1j, self.complex_type)
        for axis in self.axes:
            whole = self._widen(whole, axis)
        both = jnp.fft.ifftn(spectrum + whole, axes=self.axes)
        return both.real, both.imag

    def _opposite(self, spectrum: Array, axes: Sequence[int]) -> Array:
        """What stands at n comes to stand at −n."""
        for axis in axes:
            rest = lax.slice_in_dim(spectrum, 1, spectrum.shape[axis], axis=axis)
            spectrum = jnp.concatenate([lax.slice_in_dim(spectrum, 0, 1, axis=axis), jnp.flip(rest, axis)], axis)
        return spectrum
