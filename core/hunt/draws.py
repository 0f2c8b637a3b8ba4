"""Where a hunt's chance comes from: the one place, and it must never remember anything.

A stream is named by (seed, generation, draw) and by nothing else, so a hunt that goes on after a crash draws what it would have
drawn. The bits are Philox 4x64-10 (Salmon et al. 2011), keyed by the seed, and the name is the counter's upper half. NumPy
promises the same raw bits for ever, but not the same results of its generators' methods; so the raw bits are taken and made
into numbers here, and no version of NumPy and no machine can alter a hunt.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SEED_MAX = 2**64 - 1
POSITION_MAX = 2**64 - 1


class Draws:
    """One stream. Numbers are taken in order; who wants them again asks for the stream again."""

    def __init__(self, seed: int, generation: int, draw: int) -> None:
        import numpy as np

        self._bits = np.random.Philox(key=np.array([seed, 0], np.uint64), counter=np.array([0, 0, draw, generation], np.uint64))

    def raw(self, count: int) -> "NDArray[np.uint64]":
        return self._bits.random_raw(count)

    def uniform(self, *shape: int) -> "NDArray[np.float64]":
        """Multiples of 2^-53 from 0 to below 1: the upper 53 bits, each an exact float."""
        import numpy as np

        count = int(np.prod(shape, dtype=np.int64))
        numbers: NDArray[np.float64] = (self.raw(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return numbers.reshape(shape)

    def order(self, count: int) -> "NDArray[np.int64]":
        """0 to count - 1 in an order by chance; equal bits keep theirs."""
        import numpy as np

        return np.argsort(self.raw(count), kind="stable")


def draws(seed: int, generation: int, draw: int = 0) -> Draws:
    """The stream of that name, from its beginning."""
    if not 0 <= seed <= SEED_MAX or not 0 <= generation <= POSITION_MAX or not 0 <= draw <= POSITION_MAX:
        raise ValueError(f"no stream is named by seed {seed}, generation {generation}, draw {draw}")
    return Draws(seed, generation, draw)
