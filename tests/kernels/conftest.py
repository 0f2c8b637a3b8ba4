"""Every kernel test runs with 64-bit types, as a worker does."""

import jax

jax.config.update("jax_enable_x64", True)
