"""How the gate engine looks: who was refused, and how often."""

from collections.abc import Mapping
from typing import Any

from irerctl import render


def status_line(found: Mapping[str, Any]) -> tuple[str, str]:
    refused, callers = found.get("refused", 0), found.get("callers") or ()
    if not refused:
        return "gates", "nobody was refused"
    most = f", most of {render.clean(str(callers[0]['caller']))}" if callers else ""
    return "gates", f"{render.plural(refused, 'refusal')}{most}"


def draw_breaches(found: Mapping[str, Any]) -> None:
    callers = found.get("callers") or ()
    if callers:
        rows = [[render.clean(str(each["caller"])), render.count(each["refused"])] for each in callers]
        render.table(["caller", "refused"], rows, right=["refused"])
        render.say()
    render.say(
        f"{render.plural(found['refused'], 'refusal')} since the log began" if found.get("refused") else "nobody was refused"
    )


DRAW = {"gate.breaches": draw_breaches}
