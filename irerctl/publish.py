"""`python -m irerctl.publish [--check]`, which is `make api`: writes the documents that are made from the catalogue, or compares.

It writes below the folder it is started in, which must be a checkout, and only what `core.publish.files` names; in the folder
of generated pages it also removes what is no longer generated. `--check` changes nothing and names what is out of date.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from core import publish
from core.catalogue import Catalogue
from core.engines import ENGINES
from core.wire.errors import EXIT_NO, EXIT_USAGE


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m irerctl.publish", description="Write the documents made from the catalogue.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 and name the files that are out of date")
    wanted = parser.parse_args(arguments)
    root = Path.cwd()
    if not (root / "core" / "engines.py").is_file():
        print(f"irerctl.publish: {root} is no checkout of irer. Go to its top folder and try again", file=sys.stderr)
        return EXIT_USAGE
    files = publish.files(Catalogue(ENGINES))
    late = stale(root, files)
    if wanted.check:
        for path in late:
            print(f"{path} is out of date")
        if late:
            print("The catalogue and its documents differ. Run: make api")
        return EXIT_NO if late else 0
    write(root, files, late)
    return 0


def stale(root: Path, files: Mapping[str, str]) -> list[str]:
    """The documents that are missing, differ, or are no longer generated."""
    differing = [path for path, text in files.items() if _read(root / path) != text]
    return sorted(differing + [path for path in _generated(root) if path not in files])


def write(root: Path, files: Mapping[str, str], paths: list[str]) -> None:
    for path in paths:
        if path in files:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(files[path], encoding="utf-8")
            print(f"wrote {path}")
        else:
            (root / path).unlink()
            print(f"removed {path}")


def _generated(root: Path) -> list[str]:
    return [page.relative_to(root).as_posix() for page in (root / publish.REFERENCE).glob("*.md")]


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return None


if __name__ == "__main__":
    sys.exit(main())
