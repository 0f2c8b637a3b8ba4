"""The order of the whole run, and where its examples come from.

What loads JAX comes last: JAX keeps threads for good, and the verifier's tests fork this process. A fork beside threads may find a
lock that nobody will open.

Properties draw the same examples in every run, so that a red run says something of the change it ran on. `IRER_EXAMPLES=new` draws
new ones, as the campaign does; `few` takes a handful, for the check before a commit.
"""

import os

import pytest
from hypothesis import settings

settings.register_profile("same", derandomize=True)
settings.register_profile("new", derandomize=False, print_blob=True)
settings.register_profile("few", derandomize=True, max_examples=10)
settings.load_profile(os.environ.get("IRER_EXAMPLES", "same"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: "kernels" in item.path.parts)
