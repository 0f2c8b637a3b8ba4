"""Which short calls the loop makes itself: those of a quick disk, and of a slow one so few that they cost it next to nothing."""

import threading
from pathlib import Path

import pytest

from irerd.haste import REST_TIMES, SHORT_US, Haste
from irerd.host import RealHost


@pytest.mark.parametrize("call_us", [SHORT_US + 1, 10_000, 2_000_000])
def test_a_slow_disk_has_at_most_a_hundredth_of_the_loops_time(call_us: int) -> None:
    """Somebody asks at once whenever a call has ended, wherever it was made."""
    haste, now_us, waited_us = Haste(), 0, 0
    while now_us < 1_000 * call_us:
        here, now_us = haste.worth(now_us), now_us + call_us
        if here:
            waited_us += call_us
            haste.took(call_us, now_us)
    assert 0 < waited_us <= now_us * 0.011


def test_a_quick_disk_is_always_waited_for_and_one_long_call_is_made_up_for() -> None:
    haste, now_us = Haste(), 0
    for _ in range(100):
        assert haste.worth(now_us)
        now_us += SHORT_US
        haste.took(SHORT_US, now_us)
    haste.took(2_000, now_us)
    assert not haste.worth(now_us + REST_TIMES * 2_000 - 1) and haste.worth(now_us + REST_TIMES * 2_000)


async def test_the_loop_makes_the_call_itself_until_one_takes_long_also_where_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, now_us, asked = RealHost(tmp_path, {}), [0], threading.get_ident()
    monkeypatch.setattr(host, "mono_us", lambda: now_us[0])

    def call(takes_us: int) -> int:
        now_us[0] += takes_us
        if takes_us > SHORT_US:
            raise OSError("the disk")
        return threading.get_ident()

    assert await host.quickly(call, SHORT_US) == asked
    with pytest.raises(OSError, match="the disk"):
        await host.quickly(call, 3_000)
    assert await host.quickly(call, SHORT_US) != asked
    now_us[0] += REST_TIMES * 3_000
    assert await host.quickly(call, SHORT_US) == asked
