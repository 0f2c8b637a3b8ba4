"""A real browser for tests. Nothing sleeps: each step waits for what it names, or fails saying so."""

import json
import select
import shutil
import subprocess
from pathlib import Path
from typing import Any

PLACE = Path(__file__).parents[1] / "browser"
PROGRAM = "chromium"
MISSING = "NOT TESTED in a browser: chromium, node or playwright-core is missing; run: make peers"
ANSWER_S = 90.0


def installed() -> bool:
    return all(map(shutil.which, (PROGRAM, "node"))) and (PLACE / "node_modules" / "playwright-core").is_dir()


class Browser:
    """One headless Chromium with one page at a time, driven over a pipe."""

    def __init__(self, stderr: Path) -> None:
        self._stderr = stderr
        with open(stderr, "ab") as words:
            self._process = subprocess.Popen(
                ["node", str(PLACE / "driver.mjs"), str(shutil.which(PROGRAM))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=words,
                cwd=PLACE,
                text=True,
            )

    def do(self, verb: str, **what: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"verb": verb, **what}) + "\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], ANSWER_S)
        line = self._process.stdout.readline() if ready else ""
        assert line, f"the browser said nothing to {verb} {what}; {self._stderr.read_text()[-2000:]}"
        answer = json.loads(line)
        assert "error" not in answer, f"{verb} {what}: {answer['error']}"
        return answer["value"]

    def open(self, url: str, *, scheme: str = "light", width: int = 1280) -> None:
        self.do("open", url=url, scheme=scheme, width=width)

    def click(self, at: str) -> None:
        self.do("click", at=at)

    def fill(self, at: str, text: str) -> None:
        self.do("fill", at=at, text=text)

    def wait(self, at: str, text: str | None = None, state: str = "visible") -> None:
        """Until there is such an element with that text in it."""
        self.do("wait", at=at, state=state, **({} if text is None else {"text": text}))

    def text(self, at: str) -> str:
        return str(self.do("text", at=at))

    def texts(self, at: str) -> list[str]:
        return list(self.do("texts", at=at))

    def count(self, at: str) -> int:
        return int(self.do("count", at=at))

    def evaluate(self, code: str) -> Any:
        return self.do("evaluate", code=code)

    def heard(self) -> dict[str, list[str]]:
        """What the page complained of and asked for since it was opened."""
        return dict(self.do("heard"))

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
