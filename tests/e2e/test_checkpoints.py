"""Checkpoints and proofs of a real daemon, checked by others: with no daemon, by the verifier of docs/verify, after a rollback."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.notes import Key, public_key
from irerctl.client import Error
from tests.e2e.harness import Irerd
from tests.e2e.test_idle import RESIDENT_BYTES_MAX
from tests.e2e.test_strangers import VIEWER, call_as

ROOT = Path(__file__).parents[2]
VERIFIER = ROOT / "docs/verify/irer_verify.py"


def submit(irerd: Irerd, *names: str) -> None:
    with irerd.client() as client:
        for name in names:
            client.call("resource.submit_task", {"task_id": name, "resource_type": "network", "duration_s": 3600})


def run(irerd: Irerd, *command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "irerctl.main", "--socket", str(irerd.socket), *command]
    return subprocess.run(argv, capture_output=True, text=True, check=False, cwd=cwd or ROOT, env={"PYTHONPATH": str(ROOT)})


def independent(*arguments: object) -> tuple[int, dict[str, Any]]:
    argv = [sys.executable, "-I", str(VERIFIER), *map(str, arguments), "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout)


def row_of(irerd: Irerd, log: str = "engine_state") -> dict[str, Any]:
    verdict = json.loads(run(irerd, "-o", "json", "audit", "verify", "--state-dir", str(irerd.state)).stdout)
    return next(row for row in verdict["logs"] if row["log"] == log)


def test_a_proof_is_made_here_and_checked_elsewhere(irerd: Irerd, tmp_path: Path) -> None:
    irerd.start()
    submit(irerd, "a", "b", "c")
    early = run(irerd, "audit", "checkpoint", "engine_state").stdout
    (tmp_path / "early.checkpoint").write_text(early)
    submit(irerd, "d")
    vkey = run(irerd, "audit", "checkpoint", "engine_state", "--vkey").stdout.strip()
    made = run(irerd, "audit", "prove", "engine_state", "2", cwd=tmp_path)
    assert made.returncode == 0 and "is one of the" in made.stdout, made.stderr
    since = run(irerd, "audit", "checkpoint", "engine_state", "--since", str(tmp_path / "early.checkpoint"))
    assert since.returncode == 0 and "now continues the" in since.stdout
    size = int(early.split("\n")[1])
    with irerd.client() as client:
        answer = client.call("audit.checkpoint", {"log": "engine_state", "since": size}).result
        proof, record = (tmp_path / "engine_state.2.tlog-proof").read_text(), (tmp_path / "engine_state.2.json").read_text()
        assert client.call("audit.check_proof", {"proof": proof, "record": record}).result["result"] == "ok"
        for seq, code in ((10**6, "out-of-range"), (-1, "invalid-argument")):
            with pytest.raises(Error) as refused:
                client.call("audit.prove", {"log": "engine_state", "seq": seq})
            assert refused.value.code == code
    (tmp_path / "answer.json").write_text(json.dumps(answer))
    assert irerd.stop() == 0  # from here on there is no daemon

    checked = run(irerd, "audit", "check", "engine_state.2.tlog-proof", "--vkey", vkey, cwd=tmp_path)
    assert checked.returncode == 0 and checked.stdout.endswith("result: ok\n"), checked.stdout + checked.stderr
    assert run(irerd, "audit", "check", "engine_state.2.tlog-proof", cwd=tmp_path).stdout.endswith("result: limited\n")
    code, found = independent(tmp_path / "engine_state.2.tlog-proof", "--vkey", vkey)
    assert (code, found["record"], found["signatures"], found["result"]) == (0, "ok", "ok", "ok")
    code, found = independent("--continues", tmp_path / "early.checkpoint", tmp_path / "answer.json", "--vkey", vkey)
    assert (code, found["continues"], found["signatures"]) == (0, "ok", "ok")
    code, found = independent(irerd.state, tmp_path / "early.checkpoint", "--vkey", vkey)
    assert (code, found["signatures"], found["result"]) == (0, "ok", "limited")
    row = row_of(irerd)
    ours = next(log for log in found["logs"] if log["log"] == "engine_state")
    assert ours["sealed"] == row["sealed"] == str(row["records"])
    files = ("audit", "verify", "--state-dir", str(irerd.state), "--log", "engine_state", "--vkey")
    assert run(irerd, *files, vkey).stdout.endswith("result: limited\n")
    strange = Key(vkey.partition("+")[0], public_key(bytes(32))).text()
    assert "is not signed with the key" in run(irerd, *files, strange).stdout, "the key in the directory has no say then"

    (tmp_path / "engine_state.2.json").write_text(record.replace('"t', '"T', 1))
    wrong = run(irerd, "audit", "check", "engine_state.2.tlog-proof", "--vkey", vkey, cwd=tmp_path)
    assert wrong.returncode == 1 and "this is not record 2" in wrong.stdout
    assert independent(tmp_path / "engine_state.2.tlog-proof", "--vkey", vkey)[0] == 1
    (tmp_path / "answer.json").write_text(json.dumps(answer).replace(answer["checkpoints"][0]["consistency"][0], "A" * 43 + "="))
    assert independent("--continues", tmp_path / "early.checkpoint", tmp_path / "answer.json", "--vkey", vkey)[0] == 1


def test_a_log_that_was_put_back_is_not_taken_and_the_others_go_on(irerd: Irerd, tmp_path: Path) -> None:
    """Yesterday's engine_state, its head and its snapshots, beside today's checkpoint."""
    irerd.start()
    submit(irerd, "a")
    assert irerd.stop() == 0
    state, old = irerd.state, tmp_path / "old"
    old.mkdir()
    shutil.copy(state / "engine_state.jsonl", old)
    shutil.copytree(state / "log.d/engine_state", old / "log.d")
    irerd.start()
    submit(irerd, "b")
    assert irerd.stop() == 0
    assert row_of(irerd)["ok"]
    shutil.copy(old / "engine_state.jsonl", state)
    shutil.copy(old / "log.d/head", state / "log.d/engine_state/head")
    shutil.rmtree(state / "log.d/engine_state/snap")
    shutil.copytree(old / "log.d/snap", state / "log.d/engine_state/snap")
    row = row_of(irerd)
    assert not row["ok"] and "as a checkpoint shows, and is gone" in row["first_bad"]["why"]
    irerd.start()
    with irerd.client() as client:
        with pytest.raises(Error) as refused:
            client.call("resource.submit_task", {"task_id": "c", "resource_type": "network"})
        assert (refused.value.code, refused.value.reason) == ("data-loss", "read-only")
        with pytest.raises(Error) as refused:
            client.call("audit.checkpoint", {"log": "engine_state"})
        assert refused.value.code == "data-loss"
        assert client.call("cache.set", {"key": "k", "value": 1}).receipt
        with client.stream("audit.verify", {"log": "engine_state"}) as items:
            list(items)
        assert items.result["result"] == "failed"
    assert irerd.stop() == 0
    mended = run(irerd, "audit", "repair", "engine_state", "--state-dir", str(state))
    assert mended.returncode == 0 and "checkpoint" in mended.stdout, mended.stderr
    irerd.start()
    submit(irerd, "c")
    with irerd.client() as client:
        [found] = client.call("audit.checkpoint", {"log": "engine_state"}).result["checkpoints"]
    assert irerd.stop() == 0
    assert row_of(irerd)["sealed"] == str(found["size"]) and independent(state)[1]["result"] == "limited"


def test_after_kill_9_the_log_continues_its_checkpoint(irerd: Irerd) -> None:
    irerd.start()
    submit(irerd, "a", "b")
    with irerd.client() as client:
        before = client.call("audit.checkpoint", {"log": "engine_state"}).result["checkpoints"][0]
    submit(irerd, "c")
    irerd.kill9()
    irerd.start()
    with irerd.client() as client:
        after = client.call("audit.checkpoint", {"log": "engine_state", "since": before["size"]}).result["checkpoints"][0]
        assert after["vkey"] == before["vkey"] and after["size"] > before["size"] and after["consistency"]
        health = client.call("system.health").result
    assert health["resident_bytes"] <= RESIDENT_BYTES_MAX, "with the library that signs, too"
    print(f"resident, having signed: {health['resident_bytes'] / (1 << 20):.1f} MiB")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can call as somebody else")
def test_a_document_is_shown_to_an_admin_only(irerd: Irerd) -> None:
    """Whoever may read proves what others may check; the record itself may hold what is not theirs to see."""
    irerd.config.write_text(f'access.viewer = ["uid:{VIEWER}"]\n')
    irerd.start()
    os.chmod(irerd.socket.parent, 0o755)
    os.chmod(irerd.socket, 0o666)
    with irerd.client() as client:
        seq = client.call("cache.set", {"key": "k", "value": {"text": "private"}}).receipt["seq"]
        mine = client.call("audit.prove", {"log": "cache_log", "seq": seq}).result
    assert "private" in mine["record"]
    asked = [("audit.prove", {"log": "cache_log", "seq": number}) for number in (seq, 0)]
    theirs, genesis = (answer["ok"] for answer in call_as(irerd, VIEWER, *asked)["answers"])
    assert theirs == {name: mine[name] for name in mine if name != "record"}
    assert "log.genesis" in genesis["record"]
