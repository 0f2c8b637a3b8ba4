"""Which witnesses a configuration may trust: each complaint names the key and what to write instead."""

from pathlib import Path

import pytest

from core.notes import COSIGNER, Key, public_key
from core.setting_rules import LIVE_KEYS
from irerd.config import ConfigError, diff, load

ONE, TWO = (Key(f"w{number}.example", public_key(bytes([number]) * 32), COSIGNER).text() for number in (1, 2))
OF_A_LOG = Key("irer.invalid/a/engine_state", public_key(bytes(32))).text()


def written(place: Path, text: str) -> Path:
    file = place / "irerd.toml"
    file.write_text(text)
    return file


def test_witnesses_are_named_and_a_reload_takes_them_up(tmp_path: Path) -> None:
    text = (
        f'[witness]\nquorum = 1\n[witness.trusted.a]\nvkey = "{ONE}"\nsocket = "/run/w.sock"\n[witness.trusted.b]\nvkey = "{TWO}"\n'
    )
    found = load(written(tmp_path, text)).settings
    assert (
        found.witness.quorum == 1 and found.witness.trusted["a"].socket == "/run/w.sock" and found.witness.trusted["b"].socket == ""
    )
    assert "witness.trusted.b.vkey" in diff(load().settings, found)["applied"]
    assert not any(key.startswith("witness") for key in LIVE_KEYS), "nobody gives themselves a witness over the socket"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[witness.trusted.a]\n", "witness.trusted.a.vkey: not a verifier key"),
        (f'[witness.trusted.a]\nvkey = "{OF_A_LOG}"\n', "the key of a log, not of a witness"),
        (f'[witness.trusted.a]\nvkey = "{ONE.replace("+", "+0", 1)}"\n', "was not copied whole"),
        (f'[witness.trusted.a]\nvkey = "{ONE}"\nsocket = "w.sock"\n', "expected an absolute path"),
        (f'[witness.trusted.a]\nvkey = "{ONE}"\n[witness.trusted.b]\nvkey = "{ONE}"\n', "one witness is one voice"),
        (f'[witness]\nquorum = 2\n[witness.trusted.a]\nvkey = "{ONE}"\n', "quorum is 2, and there are 1 witnesses"),
    ],
)
def test_what_could_not_work_is_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        load(written(tmp_path, text))
