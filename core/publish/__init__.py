"""The documents made from the catalogue, for other languages, other tools and people. Pure: who calls it writes the files.

The same catalogue gives the same bytes, whatever the machine, so that a test can say when a committed document is stale.
"""

import json
from typing import Any

from core.catalogue import Catalogue
from core.publish.grammar import cddl
from core.publish.http import openapi
from core.publish.pages import reference

__all__ = ["REFERENCE", "cddl", "files", "openapi", "reference"]

REFERENCE = "docs/reference"
"""The folder that holds generated pages and nothing else."""


def files(catalogue: Catalogue) -> dict[str, str]:
    """Every published document, by its path in the repository."""
    return {
        "docs/api/catalogue.json": _json(catalogue.document()),
        "docs/api/irer.cddl": cddl(catalogue),
        "docs/api/openapi.json": _json(openapi(catalogue)),
        **{f"{REFERENCE}/{path}": text for path, text in reference(catalogue).items()},
    }


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
