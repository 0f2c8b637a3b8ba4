"""Who gets no connection: that is a refusal of access, on record before it is told, as any other is."""

from pathlib import Path

import pytest
import trio

from irerd.daemon import ADMIN_CONNECTIONS
from irerd.listen import Credentials
from tests.irerd.served import Line, Served, serving

CALLER, NOBODY = 4_711, 65_534


@pytest.mark.parametrize(
    ("credentials", "caller"), [(None, "unknown"), (Credentials(NOBODY, NOBODY, ()), f"uid:{NOBODY}")], ids=["unseen", "foreign"]
)
async def test_whom_the_kernel_does_not_know_is_on_record_before_they_hear_of_it(
    tmp_path: Path, credentials: Credentials | None, caller: str
) -> None:
    async with serving(tmp_path) as served:
        line = served.line()
        await served.daemon.serve(line, credentials)
    bye = line.farewell()
    assert (bye.why, bye.e and bye.e["code"]) == ("denied", "permission-denied")
    expected = {"caller": caller, "code": "permission-denied", "method": "connect", "reason": "no-credentials"}
    assert line.on_record == [expected]


async def test_one_connection_too_many_is_on_record_before_it_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, trio.open_nursery() as callers:
        credentials = Credentials(CALLER, CALLER, ())
        callers.start_soon(served.daemon.serve, served.line(), credentials)
        await trio.testing.wait_all_tasks_blocked()
        line = served.line()
        await served.daemon.serve(line, credentials)
        callers.cancel_scope.cancel()
    assert line.farewell().why == "limit" and ADMIN_CONNECTIONS > 0
    expected = {"caller": f"uid:{CALLER}", "code": "resource-exhausted", "method": "connect", "reason": "connections-per-uid"}
    assert line.on_record == [expected]


async def test_before_a_record_can_be_made_nobody_is_judged(tmp_path: Path) -> None:
    served = Served(tmp_path)
    line = Line(list)
    await served.daemon.serve(line, None)
    bye = line.farewell()
    assert bye.e is not None and (bye.e["code"], bye.e["reason"]) == ("unavailable", "recovering")
    assert served.daemon.refusals.total == 0
