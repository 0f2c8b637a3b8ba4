"""The command line of irerd: what `--check-config` says, and where it says it."""

from pathlib import Path

import pytest

from irerd.main import main


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
