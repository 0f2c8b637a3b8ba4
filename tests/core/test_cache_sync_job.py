"""The sync as a job: when it begins, that it outlives a restart, how it ends, and when it is tried again by itself."""

import msgspec
import pytest

from core.cache import ENGINE
from core.engine import IRER, CancelJob, Errand, JobEnded, Refused
from core.setting_rules import LIVE_KEYS
from core.settings import CacheRemote, CacheSettings, Settings
from tests.core.engine_loop import EngineLoop


def loop(**remote) -> EngineLoop:
    far_end = CacheRemote(url="http://couch.example:5984", **remote)
    return EngineLoop(ENGINE, Settings(cache=CacheSettings(remote=far_end)))


def errands(loop: EngineLoop) -> list[Errand]:
    return [effect for effect in ENGINE.wanted(loop.state, loop.context(IRER)) if isinstance(effect, Errand)]


def end(loop: EngineLoop, ok: bool = True, code: str = "ok", **result) -> None:
    [errand] = errands(loop)
    loop.ask("job_ended", JobEnded(errand.id, ok, code, "it said so" if not ok else "", result), IRER)


def refusal(loop: EngineLoop) -> tuple[str, str | None]:
    before = len(loop.records)
    with pytest.raises(Refused) as refused:
        loop.ask("sync")
    assert len(loop.records) == before and len(refused.value.detail) > 60
    return refused.value.code, refused.value.reason


def test_no_remote_offline_and_a_second_one_are_refused_each_with_its_code():
    assert refusal(EngineLoop(ENGINE)) == ("failed-precondition", "no-remote")
    it = loop()
    it.ask("set_online", {"online": False})
    assert refusal(it) == ("failed-precondition", "offline")
    it.ask("set_online", {"online": True})
    [started] = it.ask("sync")
    assert started.remote == "http://couch.example:5984/irer"
    assert refusal(it) == ("already-running", "sync")


def test_a_sync_that_runs_is_wanted_again_after_a_restart_under_the_same_id_and_rests_while_offline():
    it = loop()
    it.ask("sync")
    before = errands(it)
    assert len(before) == 1
    it.restart(down_s=100, reboot=True)
    assert errands(it) == before
    it.ask("set_online", {"online": False})
    assert errands(it) == []
    it.ask("set_online", {"online": True})
    assert errands(it) == before
    end(it, pushed=3, pulled=2, skipped=1, left_out=[{"document": "photo", "why": "attachments"}])
    assert errands(it) == []
    [job] = ENGINE.jobs(it.state)
    assert (job.state, job.ok, job.code, job.result["pushed"]) == ("done", True, "ok", 3)
    assert job.result["left_out"] == [{"document": "photo", "why": "attachments"}]
    assert it.replayed() == it.state


def test_what_ended_or_was_cancelled_cannot_end_again():
    it = loop()
    [started] = it.ask("sync")
    [errand] = errands(it)
    it.ask("cancel_job", CancelJob(started.job))
    assert errands(it) == []
    assert it.ask("job_ended", JobEnded(errand.id, True, "ok"), IRER) == []
    assert it.ask("cancel_job", CancelJob(started.job)) == []
    assert next(iter(ENGINE.jobs(it.state))).code == "cancelled"
    with pytest.raises(Refused, match="no sync is named"):
        it.ask("cancel_job", CancelJob("another"))


def test_it_begins_by_itself_every_interval_and_only_online():
    it = loop(interval_s=60.0)
    it.settle()
    assert len(errands(it)) == 1, "the first is due at once"
    end(it)
    it.run(59)
    assert errands(it) == []
    it.run(1.1)
    assert len(errands(it)) == 1
    end(it)
    it.ask("set_online", {"online": False})
    it.run(1_000)
    assert errands(it) == []
    it.ask("set_online", {"online": True})
    it.settle()
    assert len(errands(it)) == 1


def test_after_failures_it_waits_longer_each_time_up_to_a_cap_with_chance_in_it():
    it = loop(interval_s=1.0)
    waits = []
    for _ in range(14):
        it.settle()
        end(it, ok=False, code="unreachable")
        failed_us = it.wall_us
        while not errands(it):
            it.run(1.0)
            it.settle()
        waits.append((it.wall_us - failed_us) / 1e6)
    tops = [min(5.0 * 2**n, 900.0) for n in range(14)]
    assert all(top / 2 <= wait <= top + 1 for wait, top in zip(waits, tops, strict=True))
    assert len(set(waits[-6:])) > 1
    assert [check.health for check in ENGINE.checks(it.state, it.context())] == ["ok", "degraded"]
    end(it)
    assert [check.health for check in ENGINE.checks(it.state, it.context())] == ["ok"]
    it.run(1.1)
    assert len(errands(it)) == 1


def test_the_far_end_is_named_in_the_file_alone():
    assert not [key for key in LIVE_KEYS if key.startswith("cache.remote")]
    assert "cache.bytes_max" in LIVE_KEYS


@pytest.mark.parametrize("url", ["http://ann:secret@couch", "ftp://couch", "http://couch/?a=b", "http://", "couch"])
def test_a_url_with_a_user_or_of_another_kind_is_no_far_end(url):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"url": url}, CacheRemote)


def test_one_that_stays_begins_by_itself_and_begins_again_after_a_cut_but_not_after_somebody_ended_it():
    it = loop(continuous=True)
    it.settle()
    [errand] = errands(it)
    end(it, ok=False, code="unreachable", caught_up=True)
    assert it.state.runs.failures == 1
    for _ in range(5):  # each of them had worked for a while
        it.run(900)
        end(it, ok=False, code="unreachable", caught_up=True)
        assert it.state.runs.failures == 1 and it.state.runs.not_before_us - it.state.runs.recent[0].ended_us < 5_000_001
    it.run(900)
    end(it, ok=False, code="unreachable")
    assert it.state.runs.failures == 2, "this one never came so far"
    it.run(900)
    [again] = errands(it)
    assert again != errand
    end(it)  # only other settings end it so
    it.settle()
    assert len(errands(it)) == 1
    it.ask("cancel_job", CancelJob(it.state.runs.running.job), IRER)
    it.run(100_000)
    assert errands(it) == [] and it.state.runs.running is None
    it.ask("sync")
    assert len(errands(it)) == 1
