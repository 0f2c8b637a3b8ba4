"""Rules of the repository itself: what a newcomer types works, locks lock, pages lead somewhere."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import irerctl
import irerd

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TARGETS = ["demo", "up", "down", "test", "check", "api", "bench", "campaign", "clean", "lock", "help"]


def files() -> list[Path]:
    """What is, or would be, committed; in an unpacked archive everything that is not made."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        found = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        made = {".venv", ".irer", "build", "__pycache__", "node_modules"}
        found = [path for path in ROOT.rglob("*") if not made & set(path.relative_to(ROOT).parts)]
    return [path for path in found if path.is_file()]


def texts() -> list[tuple[str, str]]:
    found = []
    for path in files():
        try:
            found.append((str(path.relative_to(ROOT)), path.read_text()))
        except UnicodeDecodeError:
            continue  # a picture
    return found


# --- what people type


def test_the_first_page_names_the_two_commands():
    readme = (ROOT / "README.md").read_text()
    assert "make demo" in readme and "make test" in readme


def test_every_target_is_there_and_says_what_it_does():
    said = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = {line.split()[1]: line.split(maxsplit=2)[2] for line in said.splitlines()}
    assert set(TARGETS) <= set(lines)
    assert all(len(text) > 10 for text in lines.values())


def test_continuous_integration_is_what_a_person_types():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111 == 0o111
    lines = script.read_text().splitlines()
    assert lines[0].endswith("bash") and "set -euo pipefail" in lines
    assert [line for line in lines if line.startswith("make ")] == ["make check", "make test"]


@pytest.mark.parametrize("script", [".ci/run", "tests/peers", "benchmarks/run"])
def test_a_script_can_be_run(script):
    path = ROOT / script
    assert path.stat().st_mode & 0o111 == 0o111
    assert subprocess.run(["bash", "-n", path], check=False).returncode == 0


def test_both_ends_say_the_same_version():
    assert irerd.__version__ == irerctl.VERSION


# --- locks


def locked(name: str) -> dict[str, str]:
    """Package to version; fails on any line that is neither a pin nor a hash."""
    pins: dict[str, str] = {}
    hashed = set()
    package = ""
    for line in (ROOT / name).read_text().splitlines():
        if pin := re.fullmatch(r"([a-z0-9-]+)==([A-Za-z0-9.!+-]+) \\", line):
            package = pin[1]
            pins[package] = pin[2]
        else:
            assert re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line), f"{name}: {line}"
            hashed.add(package)
    assert hashed == set(pins), "every pin has a hash"
    return pins


def wanted(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=!~\[; ]", text)[0].lower().replace("_", "-") for text in requirements}


def test_locks_pin_and_hash_everything_and_name_no_host():
    run, develop = locked("requirements.lock"), locked("requirements-dev.lock")
    assert wanted(PROJECT["dependencies"]) <= set(run)
    assert wanted(PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]) <= set(develop)
    assert {package: develop.get(package) for package in run} == run, "the long list holds the short one, at the same versions"
    assert "setuptools" in run, "needed to install irer itself without asking anybody"


def test_an_edge_install_stays_small():
    """`make demo` simulates, so its list holds the science extra; who installs irer alone gets none of it."""
    heavy = {
        "jax",
        "numba",
        "numpy",
        "h5py",
        "starlette",
        "uvicorn",
        "distributed",
        "confluent-kafka",
        "paho-mqtt",
        "pytest",
        "mypy",
    }
    assert not heavy & wanted(PROJECT["dependencies"])
    science = wanted(PROJECT["optional-dependencies"]["science"])
    assert science <= set(locked("requirements.lock")) and not (heavy - science) & set(locked("requirements.lock"))
    assert {"hub", "buses", "science", "dask"} <= set(PROJECT["optional-dependencies"])


# --- pages and words

LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")


def dead_links(name: str, text: str) -> list[str]:
    without_code = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    targets = [target.partition("#")[0] for target in LINK.findall(without_code) if "://" not in target]
    return [target for target in targets if target and not ((ROOT / name).parent / target).exists()]


@pytest.mark.parametrize("name", [name for name, _ in texts() if name.endswith(".md")])
def test_every_link_of_a_page_leads_to_a_file(name):
    assert dead_links(name, (ROOT / name).read_text()) == []


def test_a_dead_link_is_noticed():
    assert dead_links("README.md", "[a](Makefile) [b](docs/none.md#x) `[c](no)` [d](https://x.invalid)") == ["docs/none.md"]


UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
ELSEWHERE = re.compile(r"/root/|/home/[a-z]+/|\.pyenv/|pypi\.org|pythonhosted\.org|registry\.npmjs\.org")


def test_nothing_is_left_unfinished_and_nothing_names_one_machine():
    found = [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in texts()
        if ROOT / name != Path(__file__)
        for number, line in enumerate(text.splitlines(), 1)
        if UNFINISHED.search(line) or ELSEWHERE.search(line)
    ]
    assert found == []


def test_every_exit_status_of_the_daemon_is_explained():
    from irerd import main

    page = (ROOT / "docs" / "operations.md").read_text()
    statuses = {value for name, value in vars(main).items() if name.startswith("EXIT_")}
    assert statuses == {int(row) for row in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)} - {0}


def test_the_licence_is_whole():
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text and "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert PROJECT["license"] == "Apache-2.0"


def test_no_two_test_files_share_a_name():
    """The runner imports them by path, but people and reports speak of them by name."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))
    assert not list((ROOT / "tests").rglob("__init__.py"))
