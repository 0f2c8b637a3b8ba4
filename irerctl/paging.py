"""Lists that come in pages: followed to their end, or to as many rows as somebody asked for.

A page may be short, or even empty, and still have a next one, so only the absence of `next` ends a list.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from core.engine import Row

ASKED_AT_ONCE_MAX = 1_000
"""Rows of one page, where somebody said how many they want: no method takes less than this as its `limit`."""

Page = Mapping[str, Any]


def is_list(row: Row) -> bool:
    """Whether a method answers in pages: it takes `after` and answers `next`."""
    if row.streams or not isinstance(row.result, type) or not issubclass(row.result, msgspec.Struct):
        return False
    takes = {field.encode_name for field in msgspec.structs.fields(row.params)}
    answers = {field.encode_name for field in msgspec.structs.fields(row.result)}
    return "after" in takes and "next" in answers


def rows_in(page: Page) -> str | None:
    """The member of a page that holds its rows."""
    lists = [name for name, value in page.items() if isinstance(value, list)]
    return lists[0] if len(lists) == 1 else None


def pages(ask: Callable[[dict[str, Any]], Page], params: Mapping[str, Any]) -> Iterator[Page]:
    """Page after page. With a `limit`, as many rows as that in all."""
    left = params.get("limit")
    asked = dict(params)
    while True:
        if left is not None:
            asked["limit"] = min(left, ASKED_AT_ONCE_MAX)
        page = ask(asked)
        yield page
        name, after = rows_in(page), page.get("next")
        if left is not None:
            left -= len(page[name]) if name else 0
        if after is None or name is None or after == asked.get("after") or (left is not None and left <= 0):
            return
        asked["after"] = after


def whole(found: Iterable[Page], rows_max: int | None = None) -> dict[str, Any]:
    """The pages as one, which has a `next` only where it stops before the end: at `rows_max`, after whole pages."""
    result: dict[str, Any] = {}
    rows: list[Any] = []
    for page in found:
        name = rows_in(page)
        if name is not None:
            rows += page[name]
        result = {**page, name: rows} if name is not None else dict(page)
        if rows_max is not None and len(rows) >= rows_max:
            break
    return result
