"""What the README promises a newcomer: each `irerctl` line of its first five minutes is run, and its output compared with a
transcript in which times, ids and sizes of this machine are blanked. `IRER_WRITE_TRANSCRIPT=1` writes the transcript anew.
"""

import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from tests.e2e.harness import Irerd

ROOT = Path(__file__).parents[2]
TRANSCRIPT = ROOT / "tests/golden/first_five_minutes.txt"
BLANKS = [
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "ID"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
    (r"pid \d+", "pid N"),
    (r"up \d+ s", "up N s"),
    (r"\S*/irerd\.sock", "SOCKET"),
    (r"\b[0-9a-f]{64}\b", "HASH"),
]


def promised() -> list[list[str]]:
    """The `irerctl` lines of the README's block, without the one that has no end."""
    block = (ROOT / "README.md").read_text().split("## The first five minutes")[1].split("```")[1]
    lines = [line.partition("#")[0].strip() for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("irerctl") and " watch" not in line]


def blanked(text: str) -> str:
    for pattern, blank in BLANKS:
        text = re.sub(pattern, blank, text)
    return re.sub(r"[ \t]+", " ", re.sub(r"-{2,}|─+", "--", text))


def test_every_line_of_the_readmes_first_five_minutes_does_what_the_transcript_shows(irerd: Irerd) -> None:
    irerd.start()
    found = ""
    for command in promised():
        done = subprocess.run(
            [sys.executable, "-m", "irerctl.main", *command[1:]],
            capture_output=True,
            text=True,
            env={**os.environ, "IRER_SOCKET": str(irerd.socket), "COLUMNS": "80"},
            timeout=30,
            check=False,
        )
        found += f"$ {shlex.join(command)}\n{done.stdout}{done.stderr}"
        assert done.returncode == 0, found
    found = blanked(found)
    if "IRER_WRITE_TRANSCRIPT" in os.environ:
        TRANSCRIPT.write_text(found)
    assert found == TRANSCRIPT.read_text()


def test_on_a_terminal_irerd_greets_a_person_in_one_line(irerd: Irerd) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(irerd.command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    try:
        text = b""
        while b"\n" not in text:
            ready, _, _ = select.select([ours], [], [], 20)
            assert ready, text
            text += os.read(ours, 4096)
        socket = re.escape(str(irerd.socket))
        expected = rf"irerd 0\.1\.0 ready in \d+\.\d s · state \S+ \(new\) · socket {socket} · try: irerctl status\r\n"
        assert re.fullmatch(expected, text.decode()), text
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        os.close(ours)
