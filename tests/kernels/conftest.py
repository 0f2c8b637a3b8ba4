"""Every kernel test runs with 64-bit types, as a worker does, and keeps compiled programs as workers do: to compile is most of what
these tests cost. In memory what was compiled is let go between files once it is a GB or more.
"""

import os
import resource
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import jax
import pytest

from irerd.worker import Compiled

jax.config.update("jax_enable_x64", True)

RESIDENT_MAX = 1_500 << 20
WORTH_KEEPING_S = 0.2


KEPT: list[Compiled] = []
"""What this run and earlier ones compiled, if it is whole. Programs that tests start have a place of their own."""


@pytest.hookimpl(trylast=True)
def pytest_configure() -> None:
    if "CACHE_DIRECTORY" not in os.environ:
        return
    compiled = Compiled(Path(os.environ["CACHE_DIRECTORY"]) / "here")
    with patch.dict(os.environ):
        if not compiled.open():
            return
    jax.config.update("jax_compilation_cache_dir", str(compiled.folders["JAX_COMPILATION_CACHE_DIR"]))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", WORTH_KEEPING_S)
    KEPT.append(compiled)


@pytest.fixture(scope="module", autouse=True)
def _let_go() -> Iterator[None]:
    yield
    for compiled in KEPT:
        compiled.note()
    if int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() > RESIDENT_MAX:
        jax.clear_caches()
