"""The example of docs/trajectory.md, command by command on a real daemon, and its snippet for programs."""

import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.trajectory.strips import problem_of
from irerctl.fields import json_of
from irerctl.programs import one_by_one, parts, read
from tests.e2e.harness import Irerd

PAGE = Path("docs/trajectory.md").read_text()
CONSOLE = re.findall(r"^\$ irerctl (.+)\n((?:(?!\$|```).*\n)*)", PAGE, re.M)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Irerd]:
    irerd = Irerd(tmp_path_factory.mktemp("page")).start()
    try:
        yield irerd
    finally:
        irerd.close()


def test_each_command_of_the_example_prints_what_the_page_shows(daemon: Irerd) -> None:
    assert len(CONSOLE) == 9
    for command, printed in CONSOLE:
        ran = subprocess.run(
            [sys.executable, "-m", "irerctl.main", *shlex.split(command)],
            env={**os.environ, "IRER_SOCKET": str(daemon.socket)},
            text=True,
            capture_output=True,
        )
        assert (ran.returncode, ran.stdout) == (0, printed), command


def test_the_snippet_for_programs_runs(
    daemon: Irerd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IRER_SOCKET", str(daemon.socket))
    (snippet,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
    (tmp_path / "snippet.py").write_text(snippet)
    runpy.run_path(str(tmp_path / "snippet.py"))
    golden = "6f0327c68095150b09c5bc6da5e0e5938399325355779045d5a58ba37ef844c0"
    assert capsys.readouterr().out == f"1.0 optimal {golden}\n1.0 1.0 ('rule1',)\n"


def test_the_files_that_the_page_shows_can_be_loaded() -> None:
    program, planning = re.findall(r"^```json\n(.*?)^```$", PAGE, re.M | re.S)
    assert len(read("the page", program).rule_ids) == 1
    relaxed = one_by_one("the page", problem_of(json_of(planning)))
    assert len(list(parts(relaxed))) == 1 and len(relaxed.rule_ids) == 3
