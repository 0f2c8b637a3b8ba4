"""A real browser for tests. Nothing sleeps: each step waits for what it names, or fails saying so."""

import json
import os
import select
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

PLACE = Path(__file__).parents[1] / "browser"
PROGRAM = "chromium"
MISSING = "NOT TESTED in a browser: chromium, node or a package of tests/browser is missing; run: make peers"
PACKAGES = ("axe-core", "playwright-core")
ANSWER_S = 90.0


def installed() -> bool:
    return all(map(shutil.which, (PROGRAM, "node"))) and all((PLACE / "node_modules" / name).is_dir() for name in PACKAGES)


in_a_browser = pytest.mark.skipif(not installed(), reason=MISSING)


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

    def look(self, *, scheme: str, width: int, height: int = 900) -> None:
        """At the same page in other colours, on another screen."""
        self.do("scheme", scheme=scheme)
        self.do("size", width=width, height=height)

    def faults(self) -> list[str]:
        """What axe finds that keeps people out: each with its weight, its rule and the first place."""
        return [f"{found['impact']} {found['id']} {found['nodes'][0]}" for found in self.do("axe")]

    def picture(self, path: Path, *, whole: bool = True) -> None:
        self.do("screenshot", path=str(path), whole=whole)

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


SCREENS = (("light", 1280), ("dark", 1280), ("dark", 390), ("light", 390))


def pictures(otherwise: Path) -> Path:
    """Where pictures of the page go: what IRER_PICTURES says, so that a person can look at them."""
    return Path(os.environ.get("IRER_PICTURES", otherwise))


def kept_out(browser: Browser, view: str, place: Path) -> dict[str, list[str]]:
    """What keeps people out of the view that is shown, in either colours and on either screen; and a picture of each."""
    found = {}
    for scheme, width in SCREENS:
        browser.look(scheme=scheme, width=width)
        name = f"{view}-{scheme}-{width}"
        wider = browser.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        found[name] = [*browser.faults(), *([f"{wider} px wider than the screen"] if wider else [])]
        browser.picture(place / f"{name}.png")
    return {name: faults for name, faults in found.items() if faults}


def for_readers(browser: Browser, path: Path) -> None:
    """A picture for a document: what one sees without scrolling."""
    browser.look(scheme="light", width=1120, height=1190)
    browser.evaluate("scrollTo(0, 0)")
    browser.picture(path, whole=False)


def unharmed(browser: Browser, hub: str, *, away: bool = False) -> None:
    """Nothing was thrown, no dialog came up, nothing was asked of another origin; and where irerd stayed, no error was logged."""
    heard = browser.heard()
    assert heard["thrown"] == heard["dialogs"] == []
    assert [url for url in heard["requests"] if not url.startswith(hub)] == []
    logged = [line for line in heard["console"] if not (away and "status of 503" in line)]
    assert logged == []
