"""The command line of irerd: what `--check-config` says, and where it says it; and how the program begins."""

import errno
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from irerd.main import EXIT_SYNC, Process, _explain, main
from state.log import SyncFailed, durable


def check(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(path), "--check-config"])
    told = capsys.readouterr()
    return ended.value.code, told.out, told.err


def test_a_name_that_exists_nowhere_is_told_as_at_a_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "irerd.toml"
    lines = ['viewer = ["group:no-such-group-x", "uid:0"]', 'deny = { "user:no-such-user-x" = ["system.reload"] }']
    path.write_text("\n".join(["[access]", *lines]))
    code, out, err = check(path, capsys)
    assert code == 0 and 'access.viewer = ["group:no-such-group-x", "uid:0"]' in out
    advice = "by it until it does and `irerctl reload` is run"
    assert err.splitlines() == [
        f"irerd: access.viewer[0]: group:no-such-group-x does not exist here; nobody is admitted {advice}",
        f'irerd: access.deny."user:no-such-user-x": user:no-such-user-x does not exist here; nothing is denied {advice}',
    ]


def test_what_is_sound_is_told_without_a_word_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "irerd.toml"
    path.write_text('access.viewer = ["uid:0"]\n')
    code, out, err = check(path, capsys)
    assert code == 0 and err == "" and f"# {path}:1" in out


BEGUN = """
import signal, sys, types
from irerd import begin
standing_in = types.ModuleType("irerd.main")
standing_in.main = lambda: print(signal.SIGHUP in signal.pthread_sigmask(signal.SIG_BLOCK, ()), "trio" in sys.modules)
sys.modules["irerd.main"] = standing_in
begin.main()
"""


@pytest.mark.parametrize(("stop_s", "asked"), [(14, 0), (40, 26), (1_000, 285)])
async def test_a_long_stop_asks_for_more_time_and_a_stop_without_end_does_not(autojump_clock: Any, stop_s: int, asked: int) -> None:
    daemon, extended = SimpleNamespace(state="ready"), []
    notifier = SimpleNamespace(connected=True, extend=extended.append, status=lambda text: None)
    process = SimpleNamespace(daemon=daemon, notifier=notifier, _status=lambda: "")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Process._tell_systemd, process)
        await trio.sleep(500.5)
        assert not extended
        daemon.state = "draining"
        await trio.sleep(stop_s)
        nursery.cancel_scope.cancel()
    assert extended == [10_000_000] * asked


def test_the_program_holds_a_sighup_back_before_it_loads_anything() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", BEGUN], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"], "held back, and nothing that takes time is there yet"
    scripts = tomllib.loads((root / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts["irerd"] == "irerd.begin:main"


@pytest.mark.parametrize(("code", "remedy"), [(errno.EROFS, "mount it writable"), (errno.EIO, "Look at the disk")])
def test_a_failed_write_ends_with_what_helps_against_its_cause(code: int, remedy: str, capsys: pytest.CaptureFixture[str]) -> None:
    process: Any = SimpleNamespace(state_dir=Path("/state"))
    with pytest.raises(SyncFailed) as failed, durable("ledger.json"):
        raise OSError(code, "the system's word")
    assert _explain(failed.value, process) == EXIT_SYNC
    assert remedy in capsys.readouterr().err
