"""T20: irerd at work for as long as it is given: segments begin again and again, and its memory comes to rest.

Memory is judged once as much is remembered as ever will be: keys of idempotency and tasks that ended have bounds, and until then
growth says nothing. So the slope is of the second half alone, and a short run only says that nothing broke. A round waits for its
tasks to end: calls come faster than tasks do, and what waits is remembered, as it must be.
"""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from irerctl.client import Client, Error
from tests.campaigns import campaign
from tests.e2e.promised import OddIrerd, Promises, history

ROW = "T20-soak"
A_ROUND = 2_000
"""Operations, after each of which memory is looked at."""
SEGMENT_RECORDS = 10_000
"""Of each closed segment a few hundred bytes are known for ever: with very short ones these alone would be a slope."""
SLOPE_MAX_BYTES_HOUR = 1 << 20
JUDGED_FROM_HOURS = 1.0
"""Less than this says nothing of a slope in bytes an hour."""
PAGE = os.sysconf("SC_PAGE_SIZE")


def memory(pid: int) -> int:
    """Bytes that the process holds and no file stands behind."""
    resident, shared = (int(each) for each in Path(f"/proc/{pid}/statm").read_text().split()[1:3])
    return (resident - shared) * PAGE


def worked(client: Client, first: int) -> None:
    """Everything that ends again: tasks, and values that are replaced. Back once no task waits or runs."""
    for start in range(first, first + A_ROUND, 200):
        calls: list[tuple[str, dict[str, Any]]] = []
        for number in range(start, start + 200):
            if number % 2:
                calls.append(("cache.set", {"key": f"k{number % 50}", "value": {"n": number, "text": "x" * (number % 400)}}))
            else:
                calls.append(("resource.submit_task", {"task_id": f"t-{number}", "resource_type": "network", "duration_s": 0.001}))
        assert not [answer for answer in client.pipeline(calls) if isinstance(answer, Error)]
    while (now := client.call("resource.status", {}).result)["waiting"] or now["running"]:
        pass


def slope(points: list[tuple[float, float]]) -> float:
    """Least squares."""
    mean_x, mean_y = (sum(column) / len(points) for column in zip(*points, strict=True))
    below = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / below if below else 0.0


def test_the_slope_of_a_line_is_its_slope() -> None:
    assert slope([(0, 5), (1, 7), (2, 9), (3, 11)]) == pytest.approx(2)
    assert slope([(0, 5), (1, 5), (2, 5)]) == 0


@pytest.mark.campaign
def test_campaign_of_soaking(tmp_path: Path) -> None:
    """One daemon for the whole run. `MINUTES=120` is what a release asks for."""
    daemon = OddIrerd(tmp_path, records=SEGMENT_RECORDS)
    measured: list[tuple[float, float]] = []
    try:
        daemon.start()
        assert daemon.process is not None
        pid, began = daemon.process.pid, time.monotonic()
        with daemon.client() as client:

            def one(index: int) -> dict[str, int]:
                worked(client, index)
                measured.append(((time.monotonic() - began) / 3_600, memory(pid)))
                return {}

            row = campaign(ROW, one, at_once=A_ROUND)
        assert daemon.stop() == 0
        segments = len(list(daemon.state.glob("engine_state.*jsonl"))) + len(list(daemon.state.glob("cache_log.*jsonl")))
        half = measured[len(measured) // 2 :]
        hours, growth = half[-1][0] - half[0][0], slope(half)
        print(f"\n  soak: {len(measured) * A_ROUND:,} operations, {segments} segments, {half[-1][1] / 2**20:.1f} MiB,", end=" ")
        print(f"{growth / 2**20:+.2f} MiB/h over the last {60 * hours:.1f} minutes; {row['count']:,} operations in all runs")
        assert hours < JUDGED_FROM_HOURS or (growth < SLOPE_MAX_BYTES_HOUR and segments > 100)
        Promises(daemon).replay()
        assert len(history(daemon.state, "engine_state")) > len(measured) * A_ROUND // 2
    finally:
        daemon.close()
