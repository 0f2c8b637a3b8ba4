"""Numbers as pictures and as people say them: bars, sparklines, moments, money.

Must never draw what is not known: no number is a bar of nothing, and no history is no line.
"""

import datetime
from collections.abc import Sequence
from typing import Any

from irerctl import render

BAR_CELLS = 20
SPARKS = "▁▂▃▄▅▆▇█"
WITHOUT_MINOR = frozenset("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF".split())
THREE_PLACES = frozenset("BHD IQD JOD KWD LYD OMR TND".split())
"""Currencies of ISO 4217 whose minor unit is not a hundredth."""


def bar(share: float | None, colour: str = "green", cells: int = BAR_CELLS) -> str:
    """A share from 0 to 1. What is more than nothing has a cell, and what is less than all has a gap."""
    if share is None:
        return render.paint("░" * cells, dim=True)
    full = min(max(round(share * cells), 0), cells)
    if 0 < share < 1:
        full = min(max(full, 1), cells - 1)
    return render.paint("█" * full, fg=colour) + render.paint("░" * (cells - full), dim=True)


def sparkline(values: Sequence[float | None], cells: int) -> str:
    """The newest values, each as a block as high as it is among them; a gap where there is none."""
    shown = list(values)[-cells:] if cells > 0 else []
    known = [value for value in shown if value is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    span = high - low
    top = len(SPARKS) - 1
    level = top // 2 if span == 0 else None
    return "".join(
        " " if value is None else SPARKS[level if level is not None else round((value - low) / span * top)] for value in shown
    )


def moment(when: Any) -> str:
    """A time by the clock on the wall, with its date unless that is today's; as it came for a pipe."""
    text = render.clean(str(when)) if when else "-"
    if not render.terminal():
        return text
    try:
        local = datetime.datetime.fromisoformat(text).astimezone()
    except ValueError:
        return text
    return local.strftime("%H:%M:%S" if local.date() == datetime.datetime.now().astimezone().date() else "%Y-%m-%d %H:%M")


def money(minor: int, currency: str) -> str:
    """Whole minor units as an amount: `39.98 EUR`."""
    places = 0 if currency in WITHOUT_MINOR else 3 if currency in THREE_PLACES else 2
    whole, rest = divmod(abs(minor), 10**places)
    amount = f"{'-' if minor < 0 else ''}{whole:,}{f'.{rest:0{places}}' if places else ''}"
    return f"{amount} {render.clean(currency)}"


def number(value: Any) -> str:
    """A number with its thousands apart for a person, bare for a pipe; anything else as a word."""
    if isinstance(value, int) and not isinstance(value, bool) and render.terminal():
        return render.count(value)
    return render.word(value)


def coloured(word: str, colours: dict[str, str]) -> str:
    """A word in the colour that its meaning has."""
    colour = colours.get(word)
    return render.paint(render.clean(word), fg=colour) if colour else render.clean(word)
