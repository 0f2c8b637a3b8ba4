"""Every kernel test runs with 64-bit types, as a worker does. What was compiled is let go between files once it is a GB or more."""

import resource
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

jax.config.update("jax_enable_x64", True)

RESIDENT_MAX = 1_500 << 20


@pytest.fixture(scope="module", autouse=True)
def _let_go() -> Iterator[None]:
    yield
    if int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() > RESIDENT_MAX:
        jax.clear_caches()
