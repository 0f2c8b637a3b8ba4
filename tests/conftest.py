"""The order of the whole run, and where its examples come from.

What loads JAX comes last: JAX keeps threads for good, and the verifier's tests fork this process. A fork beside threads may find a
lock that nobody will open. Of those the files that take long come first, so that no half waits for the other at the end.

Properties draw the same examples in every run, so that a red run says something of the change it ran on. `IRER_EXAMPLES=new` draws
new ones, as the campaign does; `few` takes a handful, for the check before a commit.

What is compiled is kept beside what pytest keeps, for all processes of this run and for later runs of the same kernels. The cache
of whoever runs the tests is left alone.

Whoever starts the run may have told it to ignore interrupts, as a shell does with what it puts into the background. Programs that
the tests start would inherit that, and those that are interrupted by a test would never end.
"""

import os
import shutil
import signal
from hashlib import sha256

import pytest
from hypothesis import HealthCheck, settings

UNHURRIED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
"""A busy machine is no fault of what is tested."""
settings.register_profile("same", derandomize=True, **UNHURRIED)
settings.register_profile("new", derandomize=False, print_blob=True, **UNHURRIED)
settings.register_profile("few", derandomize=True, max_examples=10, **UNHURRIED)
settings.load_profile(os.environ.get("IRER_EXAMPLES", "same"))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput") or not config.pluginmanager.hasplugin("cacheprovider"):
        return
    kept, sources = config.cache.mkdir("compiled"), sha256()
    for source in sorted((config.rootpath / "kernels").rglob("*.py")):
        sources.update(source.read_bytes())  # Numba does not notice when only what a function calls has changed
    for other in kept.iterdir():
        if other.name != sources.hexdigest():
            shutil.rmtree(other, ignore_errors=True)
    os.environ["CACHE_DIRECTORY"] = str(kept / sources.hexdigest())


LONG = ("sncgl", "simulate", "geometry", "nulls", "cube", "artefact", "elliptic", "grid", "fmia", "beam")
"""Files of the kernels that take ten seconds to a minute, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    if "kernels" not in item.path.parts:
        return -1
    name = item.path.stem.removeprefix("test_")
    return LONG.index(name) if name in LONG else len(LONG)
