"""The sieve of bug reports: numbers and irer's own words pass, everything else becomes a mark."""

import json

import pytest

from irerctl.bugreport import journal_lines
from irerctl.sieve import MONEY, NAME, TEXT, Sieve, vocabulary

OURS = Sieve(frozenset({"state", "ready", "count", "pools", "compute", "revenue", "engine"}), frozenset({"build-host-7"}))


def test_numbers_and_our_words_pass_and_nothing_else() -> None:
    given = {"state": "ready", "count": 3, "zoe": "x", "bob": None, "pools": ["compute", "zoe's"], "revenue": [{"count": 5}]}
    assert OURS.value(given) == {
        "state": "ready",
        "count": 3,
        f"{NAME} 1": TEXT,
        f"{NAME} 2": None,
        "pools": ["compute", TEXT],
        "revenue": MONEY,
    }
    assert OURS.value(b"\x00") == TEXT == OURS.value(object())
    assert OURS.name("pools.zoe.count") == f"pools.{NAME}.count"


@pytest.mark.parametrize(
    "secret",
    [
        "user:zoe", "/srv/zoe/irer", "~/irer", "zoe@example.org", "https://zoe:pw@example.org/db", "10.1.2.3", "'zoe'",
        '"zoe"', "`zoe`", "build-host-7", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ6b2UifQ", "0123456789abcdef0123456789abcdef",
    ],
)  # fmt: skip
def test_a_sentence_keeps_its_words_and_loses_what_was_put_in(secret: str) -> None:
    said = OURS.sentence(f"old segments stay because {secret} cannot be read")
    assert secret not in said and "zoe" not in said
    assert said.startswith("old segments stay because ") and said.endswith(" cannot be read")


def entry(message: object, **more: str) -> str:
    return json.dumps(
        {"__REALTIME_TIMESTAMP": "1700000000000000", "SYSLOG_IDENTIFIER": "irerd", "_PID": "77", "MESSAGE": message, **more}
    )


def test_the_journal_keeps_sentences_numbers_and_places_in_the_source() -> None:
    ours = {"time": "2026-01-02T03:04:05.000006Z", "level": "error", "text": "a bug in irer", "at": "world.py:12 apply < x.py:3 f"}
    ours |= {"place": "zoe's place", "seq": 7, "engine": "gate_log", "state_dir": "/srv/zoe", "type": "KeyError"}
    exported = [
        entry(json.dumps(ours)),
        entry("irerd.service: Main process exited, code=killed, status=9/KILL", SYSLOG_IDENTIFIER="systemd", _PID="1"),
        entry("zoe pretends", SYSLOG_IDENTIFIER="systemd"),
        entry('  File "/opt/irer/core/world.py", line 12, in apply'),
        entry("KeyError: 'zoe'"),
        entry([1, 2, 3]),
        "not JSON",
        "[]",
    ]
    found = [json.loads(line) for line in journal_lines("\n".join(exported), Sieve(vocabulary()))]
    assert "zoe" not in json.dumps(found)
    assert found[0]["text"] == "a bug in irer" and found[0]["at"] == ours["at"] and found[0]["seq"] == 7
    assert (found[0]["engine"], found[0]["type"], found[0]["state_dir"]) == ("gate_log", "KeyError", TEXT)
    assert found[1]["systemd"] == "irerd.service: Main process exited, code=killed, status=9/KILL"
    assert [line.get("text") for line in found[2:]] == [TEXT, "  File [redacted:text], line 12, in apply", TEXT]


def test_the_vocabulary_is_the_catalogues_and_no_examples_of_it() -> None:
    words = vocabulary()
    assert {"resource", "engine_state", "task_id", "hibernating", "pools", "compute", "ceiling"} <= words
    assert {"ann@example.org", "worker_001", "mailer", "gmail", "user_001"}.isdisjoint(words)
