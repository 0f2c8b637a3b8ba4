"""The hub's unit, judged by systemd's own tools as shipped: no mistake in it, and no way left open that nobody needs."""

import re
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[3] / "systemd" / "irer-hub.service"
EXPOSURE_MAX = 2.0


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    if shutil.which("systemd-analyze") is None:
        warnings.warn("NOT TESTED: systemd-analyze is not installed, so the hub's unit is not judged", stacklevel=1)
        pytest.skip("systemd-analyze is not installed")
    made = tmp_path / UNIT.name
    made.write_text(re.sub(r"/opt/irer/bin/\w+", "/bin/true", UNIT.read_text()))
    return made


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, timeout=60, check=False)


def test_the_unit_has_no_mistake(unit):
    said = analyze("verify", "--recursive-errors=no", str(unit))
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_the_unit_leaves_little_open(unit):
    said = analyze("security", "--offline=yes", "--no-pager", str(unit))
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said.stdout)
    assert found and float(found[1]) <= EXPOSURE_MAX, said.stdout
    assert "DynamicUser=yes" in unit.read_text() and "User=root" not in unit.read_text()
