"""The order of the whole run: what loads JAX comes last.

JAX keeps threads for good, and the verifier's tests fork this process. A fork beside threads may find a lock that nobody will open.
"""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: "kernels" in item.path.parts)
