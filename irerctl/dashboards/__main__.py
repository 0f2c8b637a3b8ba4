"""`python -m irerctl.dashboards [--check]`: writes the boards under docs/monitoring, or says which are out of date.

It writes below the folder it is started in, which must be a checkout. `--check` changes nothing.
"""

import argparse
import json
import sys
from pathlib import Path

from core.wire.errors import EXIT_NO, EXIT_USAGE
from irerctl.dashboards import written
from irerctl.dashboards.boards import BOARDS

PLACE = "docs/monitoring"


def files() -> dict[str, str]:
    """Each board's file and its text."""
    return {f"{PLACE}/{name}": json.dumps(written(board), indent=2, ensure_ascii=False) + "\n" for name, board in BOARDS.items()}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m irerctl.dashboards", description="Write the dashboards of docs/monitoring.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 and name the files that are out of date")
    wanted = parser.parse_args(arguments)
    root = Path.cwd()
    if not (root / PLACE).is_dir():
        print(f"irerctl.dashboards: {root} is no checkout of irer. Go to its top folder and try again", file=sys.stderr)
        return EXIT_USAGE
    late = [path for path, text in files().items() if not (root / path).is_file() or (root / path).read_text() != text]
    for path in late:
        if wanted.check:
            print(f"{path} is out of date. Run: make api")
        else:
            (root / path).write_text(files()[path])
            print(f"wrote {path}")
    return EXIT_NO if wanted.check and late else 0


if __name__ == "__main__":
    sys.exit(main())
