"""A witness without a socket: checkpoints are carried to it and cosignatures back, by irerctl; and large values are read back."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from irerctl.client import Client, Error
from tests.e2e.harness import Irerd


def ran(*command: str, given: str = "") -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-m", *command], input=given, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def verified(client: Client, log: str) -> Any:
    with client.stream("audit.verify", {"log": log}) as items:
        list(items)
        return items.result


@pytest.mark.slow
def test_a_checkpoint_is_carried_there_and_the_cosignature_back(irerd: Irerd, tmp_path: Path) -> None:
    witness = ("irerd.witness.main", "--state-dir", str(tmp_path / "witness"))
    vkey = ran(*witness, "key", "--name", "w.example")[1].strip()
    assert vkey.startswith("w.example+") and (tmp_path / "witness/key").stat().st_mode & 0o777 == 0o600
    for given in (str(tmp_path / "nowhere"), sys.executable, "", str(tmp_path)):
        code, _, said = ran(*witness, "add", given)
        assert code == 64 and "is no verifier key" in said and "irerctl audit checkpoint LOG --vkey" in said, said
    irerd.config.write_text(f'[witness.trusted.afar]\nvkey = "{vkey}"\n')
    irerd.start()
    ctl = ("irerctl.main", "--socket", str(irerd.socket))
    with irerd.client() as client:
        client.call("resource.scale", {"pool": "compute", "size": 5})
        client.call("cache.set", {"key": "large", "value": "v" * 40_000})
        ran(*witness, "add", client.call("audit.checkpoint", {"log": "engine_state"}).result["checkpoints"][0]["vkey"])
        code, request, said = ran(*ctl, "audit", "witness", "engine_state", "afar")
        assert code == 0 and request.startswith("old 0\n\n"), said
        code, answer, said = ran(*witness, "cosign", given=request)
        assert code == 0 and answer.startswith("\N{EM DASH} w.example "), said
        client.call("resource.scale", {"pool": "compute", "size": 6})  # the log has gone on meanwhile
        (tmp_path / "request").write_text(request)
        (tmp_path / "answer").write_text(answer)
        back = (
            "audit",
            "witness",
            "engine_state",
            "afar",
            "--request",
            str(tmp_path / "request"),
            "--take",
            str(tmp_path / "answer"),
        )
        code, out, said = ran(*ctl, *back)
        assert code == 0 and "cosigned up to" in out, said
        size = int(request.split("\n")[3])
        verdict = verified(client, "engine_state")
        assert verdict["logs"][0]["cosigned"] == f"1 of 1 @ {size}" and verdict["result"] == "limited"

        asked = client.call("audit.witness", {"log": "engine_state", "witness": "afar"}).result
        assert asked["old"] == size and asked["request"].startswith(f"old {size}\n"), "from there on"
        code, _, said = ran(*witness, "cosign", given=request)
        assert code == 1 and f"refused (409): {size} records were cosigned last" in said, (
            "twice the same, from 0 on: it stands elsewhere"
        )
        changed = answer.replace(answer[-20:-12], "AAAAAAAA")
        for params, why in (
            ({"cosignature": changed, "checkpoint": request.partition("\n\n")[2]}, "not its signature"),
            (
                {"cosignature": answer, "checkpoint": request.partition("\n\n")[2].replace(f"\n{size}\n", f"\n{size - 1}\n")},
                "never signed",
            ),
            ({"cosignature": answer}, "comes with"),
        ):
            with pytest.raises(Error, match=why):
                client.call("audit.witness", {"log": "engine_state", "witness": "afar", **params})
        with pytest.raises(Error, match="trusts no witness near"):
            client.call("audit.witness", {"log": "engine_state", "witness": "near"})
        assert [check["health"] for check in client.call("system.health").result["checks"] if check["name"] == "witness.afar"] == [
            "ok"
        ]

        cache = verified(client, "cache_log")
        assert (cache["logs"][0]["ok"], cache["logs"][0]["blobs"]) == (True, 1)
    assert irerd.stop() == 0
    files = ("irerctl.main", "audit", "witness", "engine_state", "--state-dir", str(irerd.state), "--vkey", vkey)
    code, request, said = ran(*files)
    assert code == 0 and request.startswith(f"old {size}\n"), said
    (tmp_path / "request").write_text(request)
    (tmp_path / "answer").write_text(ran(*witness, "cosign", given=request)[1])
    code, out, said = ran(*files, "--request", str(tmp_path / "request"), "--take", str(tmp_path / "answer"))
    assert code == 0 and "cosigned up to" in out, said
    code, out, _ = ran(
        "irerctl.main", "audit", "verify", "--state-dir", str(irerd.state), "--log", "engine_state", "--witness", vkey
    )
    assert code == 0 and f"1 of 1 @ {int(request.partition(chr(10) * 2)[2].splitlines()[1]):,}" in out
    (blob,) = (irerd.state / "blobs").glob("??/*")
    raw = blob.read_bytes()
    for harm, why in ((lambda: blob.write_bytes(raw[:-3] + b"w" + raw[-2:]), "not what it was"), (blob.unlink, "is missing")):
        harm()
        code, out, _ = ran("irerctl.main", "-o", "json", "audit", "verify", "--state-dir", str(irerd.state), "--log", "cache_log")
        (row,) = json.loads(out)["logs"]
        assert (
            code == 1 and row["code"] == "blob-false" and why in row["first_bad"]["why"] and blob.name in row["first_bad"]["file"]
        )
