"""Every block of docs/from-the-source.md runs, in order, against one real daemon."""

import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import Irerd

PAGE = Path("docs/from-the-source.md")
BLOCKS = re.findall(r"^## (.+?)$|^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)


@pytest.fixture(scope="module")
def scope(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    irerd = Irerd(tmp_path_factory.mktemp("source")).start()
    try:
        with irerd.client() as client:
            yield {"client": client}
    finally:
        irerd.close()


def test_the_examples_of_the_source_documents_run_as_the_page_says(scope: dict[str, Any], tmp_path: Path) -> None:
    section, ran = "", 0
    for heading, code in BLOCKS:
        section = heading or section
        if code:
            ran += 1
            block = tmp_path / f"{ran} {section}.py"
            block.write_text(code)
            scope |= runpy.run_path(str(block), init_globals=scope)
    assert ran == PAGE.read_text().count("```python") >= 10
