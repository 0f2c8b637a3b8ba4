"""A fresh daemon for each test that asks for one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Irerd


@pytest.fixture
def irerd(tmp_path: Path) -> Iterator[Irerd]:
    daemon = Irerd(tmp_path)
    try:
        yield daemon
    finally:
        daemon.close()
