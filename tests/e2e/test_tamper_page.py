"""docs/tamper.md, command by command: each says what the page shows, and every attack on it is noticed by what the page names."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/tamper.md"
PROGRAMS = {"irerd": "-m irerd.main", "irerctl": "-m irerctl.main", "irer-witness": "-m irerd.witness.main", "python": ""}
END = "---end-of-command---"


class Shown:
    """A command of the page, and what it is shown to print."""

    def __init__(self, command: str, output: str, shown: bool) -> None:
        self.command = command
        self.output = output
        self.shown = shown

    def fits(self, printed: str) -> bool:
        """An ellipsis stands for anything; alone on a line, for any lines. Columns may be wider or narrower."""
        spaces = re.sub(r"[ \t]+", " ", self.output).strip()
        wanted = "".join(".*" if part == "…" else re.escape(part) for part in re.split("(…)", spaces))
        return re.fullmatch(wanted, re.sub(r"[ \t]+", " ", printed).strip(), re.DOTALL) is not None


def commands() -> Iterator[Shown]:
    for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL):
        if "$ " not in block.splitlines()[0][:2]:
            yield Shown(block, "", False)
            continue
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            if "<<'END'" in part:
                script, _, output = part.partition("\nEND\n")
                yield Shown(f"{script}\nEND", output, True)
            else:
                command, _, output = part.partition("\n")
                yield Shown(command, output, True)


class Shell:
    """One shell for the whole page."""

    def __init__(self, place: Path) -> None:
        programs = place / "bin"
        programs.mkdir()
        for name, module in PROGRAMS.items():
            (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
            (programs / name).chmod(0o755)
        path = f"{programs}:{os.environ['PATH']}"
        environment = {
            **os.environ,
            "PATH": path,
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "200",
            "CACHE_DIRECTORY": str(place / "cache"),
        }
        self.process = subprocess.Popen(
            ["bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=place, env=environment
        )

    def run(self, command: str) -> str:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{command}\necho {END}\n")
        self.process.stdin.flush()
        printed = ""
        for line in self.process.stdout:
            if END in line:
                return printed + line.partition(END)[0]
            printed += line
        raise AssertionError(f"the shell ended: {printed}")

    def end(self) -> None:
        self.process.stdin.write("kill $(cat irerd.pid witness.pid) 2> /dev/null\n")  # type: ignore[union-attr]
        self.process.communicate(timeout=30)


@pytest.mark.slow
def test_every_attack_on_the_page_is_noticed_by_what_the_page_says() -> None:
    with tempfile.TemporaryDirectory(prefix="irer-") as short:
        place = Path(short)
        shell = Shell(place)
        try:
            shell.run(f"mkdir demo; cp {ROOT}/docs/examples/forge.py demo/")
            seen = 0
            for one in commands():
                printed = shell.run(one.command)
                if one.shown:
                    assert one.fits(printed), f"$ {one.command}\nshown:\n{one.output}\nprinted:\n{printed}"
                seen += "FAILED" in printed or "takes no writes" in printed or "is gone" in printed
            assert seen >= 4, "forged, cut, and twice for the directory that was put back"
        finally:
            shell.end()


def test_what_the_page_shows_is_compared_and_not_only_run() -> None:
    assert Shown("x", "a  b\n…\nc", True).fits("a b\n1\n2\nc\n") and not Shown("x", "a\n…\nc", True).fits("a\n1\nd\n")
    assert sum(one.shown for one in commands()) > 25
