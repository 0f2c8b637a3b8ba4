"""A published promise is kept: each way of breaking one is refused, each way of growing is allowed, and the real catalogue
still keeps what is committed in docs/api/catalogue.json."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.catalogue import Catalogue, compatible
from core.engines import ENGINES
from tests.core.sample_engine import shop

PUBLISHED = Path(__file__).parents[2] / "docs" / "api" / "catalogue.json"

Document = dict[str, Any]
Change = Callable[[Document], Any]


def method(document: Document, name: str) -> Any:
    return next(entry for entry in document["methods"] if entry["name"] == name)


def params(document: Document) -> Any:
    return method(document, "shop.order")["params"]["properties"]


def result(document: Document) -> Any:
    return method(document, "shop.orders")["result"]


def event(document: Document) -> Any:
    return document["events"]["shop.ordered"]["schema"]


def after(change: Change) -> list[str]:
    """What the sample's successor breaks once it is changed so."""
    old = shop().document()
    new = copy.deepcopy(old)
    change(new)
    assert new != old
    return compatible(old, new)


def test_the_live_catalogue_keeps_every_published_promise():
    published = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    assert published["methods"], "nothing is published"
    assert compatible(published, Catalogue(ENGINES).document()) == []


def test_nothing_changed_breaks_nothing():
    for catalogue in (shop(), Catalogue(ENGINES)):
        assert compatible(catalogue.document(), copy.deepcopy(catalogue.document())) == []


def with_null(schema: Any) -> Any:
    return {"anyOf": [schema, {"type": "null"}]}


REFUSED: dict[str, tuple[Change, str]] = {
    "method removed": (lambda new: new["methods"].remove(method(new, "shop.order")), "shop.order: removed"),
    "method renamed": (lambda new: method(new, "shop.order").update(name="shop.buy"), "shop.order: removed"),
    "stronger permission": (lambda new: method(new, "shop.orders").update(needs="shop:write"), "stronger than shop:read"),
    "strongest permission": (lambda new: method(new, "shop.order").update(needs="shop:admin"), "stronger than shop:write"),
    "unknown permission": (lambda new: method(new, "shop.order").update(needs="shop:owner"), "stronger than shop:write"),
    "write no longer writes": (lambda new: method(new, "shop.order").update(kind="read"), "is a read and was a write"),
    "read writes": (lambda new: method(new, "shop.orders").update(kind="write"), "is a write and was a read"),
    "streams": (lambda new: method(new, "shop.orders").update(streams=True), "streams now"),
    "streams no longer": (lambda new: method(new, "shop.follow").update(streams=False), "no longer streams"),
    "shorter deadline": (lambda new: method(new, "shop.order").update(deadline_ms=1000), "tighter bound: deadline_ms"),
    "a deadline at all": (lambda new: method(new, "shop.follow").update(deadline_ms=1000), "tighter bound: deadline_ms"),
    "reply shown once": (lambda new: method(new, "shop.order").update(shown_once=True), "no longer gets its reply again"),
    "result removed": (lambda new: method(new, "shop.order").update(result=None), "result: removed"),
    # what callers send
    "param removed": (lambda new: params(new).pop("note"), "params.note: removed"),
    "param renamed": (lambda new: params(new).update(remark=params(new).pop("note")), "params.note: removed"),
    "param retyped": (lambda new: params(new).update(note={"type": "integer"}), "params.note: retyped"),
    "param no longer null": (
        lambda new: params(new).update(wait_s=params(new)["wait_s"]["anyOf"][0]),
        "params.wait_s: retyped: no longer takes null",
    ),
    "param from bytes to text": (lambda new: params(new).update(blob={"type": "string"}), "params.blob: retyped"),
    "new required param": (
        lambda new: (params(new).update(size={"type": "integer"}), method(new, "shop.order")["params"]["required"].append("size")),
        "params.size: new and required",
    ),
    "param now required": (lambda new: method(new, "shop.order")["params"]["required"].append("note"), "params.note: now required"),
    "shorter text": (lambda new: params(new)["note"].update(maxLength=39), "params.note: tighter bound: maxLength"),
    "longer text at least": (lambda new: params(new)["note"].update(minLength=1), "params.note: tighter bound: minLength"),
    "smaller bytes": (lambda new: params(new)["blob"].update({"x-irer-bytes-max": 8}), "params.blob: tighter bound"),
    "pattern": (lambda new: params(new)["order_id"].update(pattern="^[a-z]+$"), "params.order_id: tighter bound: pattern"),
    "pattern at all": (lambda new: params(new)["note"].update(pattern="^[a-z]+$"), "params.note: tighter bound: pattern"),
    "lower maximum": (lambda new: params(new)["offset"].update(maximum=10), "params.offset: tighter bound: up to 10"),
    "higher minimum": (lambda new: params(new)["offset"].update(minimum=0), "params.offset: tighter bound: from 0"),
    "bound itself outside": (
        lambda new: params(new)["offset"].update(exclusiveMinimum=params(new)["offset"].pop("minimum")),
        "params.offset: tighter bound",
    ),
    "choice removed": (lambda new: params(new)["kind"]["enum"].remove("fast"), "params.kind: tighter bound: no longer takes fast"),
    "text becomes a choice": (lambda new: params(new).update(note={"enum": ["a"]}), "params.note: tighter bound: takes only a"),
    "choices become a text that refuses one": (
        lambda new: params(new).update(kind={"type": "string", "pattern": "^s"}),
        "params.kind: tighter bound: no longer takes fast",
    ),
    "fewer items": (lambda new: params(new)["parts"].update(maxItems=9), "params.parts: tighter bound: maxItems"),
    "more items at least": (lambda new: params(new)["parts"].update(minItems=2), "params.parts: tighter bound: minItems"),
    "smaller map": (lambda new: params(new)["labels"].update(maxProperties=3), "params.labels: tighter bound: maxProperties"),
    "map's values tighter": (
        lambda new: params(new)["labels"]["additionalProperties"].update(maxLength=1),
        "params.labels{}: tighter bound",
    ),
    "map's keys tighter": (lambda new: params(new)["labels"]["propertyNames"].update(maxLength=1), "params.labels{key}: tighter"),
    "inside a nested type": (
        lambda new: method(new, "shop.order")["params"]["$defs"]["Part"]["properties"]["share"].update(maximum=0.5),
        "params.parts[].share: tighter bound: up to 0.5",
    ),
    "new required inside a nested type": (
        lambda new: method(new, "shop.order")["params"]["$defs"]["Part"]["required"].append("share"),
        "params.parts[].share: now required",
    ),
    # what callers read
    "result field removed": (lambda new: result(new)["properties"].pop("counts"), "result.counts: removed"),
    "result field retyped": (
        lambda new: result(new)["properties"].update(counts={"type": "string"}),
        "result.counts: retyped: may now be string",
    ),
    "result field may be null": (
        lambda new: result(new)["properties"].update(orders=with_null(result(new)["properties"]["orders"])),
        "result.orders: retyped: may now be null",
    ),
    "result field may be anything": (lambda new: result(new)["properties"].update(orders={}), "may now be anything"),
    "result field may be a fraction": (
        lambda new: result(new)["properties"]["counts"].update(additionalProperties={"type": "number"}),
        "result.counts{}: retyped: may now be number",
    ),
    "result field not always there": (
        lambda new: result(new)["required"].remove("counts"),
        "result.counts: no longer always there",
    ),
    "result's nested field removed": (
        lambda new: result(new)["$defs"]["Fold"]["properties"].pop("name"),
        "result.top.name: removed",
    ),
    "item field removed": (lambda new: method(new, "shop.follow")["item"]["properties"].pop("data"), "item.data: removed"),
    # what an old log holds
    "event removed": (lambda new: new["events"].pop("shop.expired"), "event shop.expired: removed"),
    "event in another log": (lambda new: new["events"]["shop.ordered"].update(log="other"), "event shop.ordered: reused"),
    "event field removed": (lambda new: event(new)["properties"].pop("note"), "data.note: removed"),
    "event field retyped": (lambda new: event(new)["properties"].update(note={"type": "integer"}), "data.note: retyped"),
    "event field required": (lambda new: event(new)["required"].append("note"), "data.note: now required"),
    "event field not always there": (lambda new: event(new)["required"].remove("parts"), "data.parts: no longer always there"),
    "event bound": (lambda new: event(new)["properties"]["note"].update(maxLength=1), "data.note: tighter bound"),
    "event field new and required": (
        lambda new: (event(new)["properties"].update(size={"type": "integer"}), event(new)["required"].append("size")),
        "data.size: new and required",
    ),
    # what programs decide on
    "code removed": (lambda new: new["errors"].pop("aborted"), "error aborted: removed"),
    "code with another status": (lambda new: new["errors"]["aborted"].update(http=400), "error aborted: reused: http 400 was 409"),
    "code with another exit": (lambda new: new["errors"]["aborted"].update(exit=1), "error aborted: reused: exit 1 was 75"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_broken_promise_is_found(name):
    change, said = REFUSED[name]
    found = after(change)
    assert any(said in problem for problem in found), found


ALLOWED: dict[str, Change] = {
    "new method": lambda new: new["methods"].append({**method(new, "shop.order"), "name": "shop.more"}),
    "deprecated": lambda new: method(new, "shop.order").update(deprecated=True),
    "weaker permission": lambda new: method(new, "shop.order").update(needs="shop:read"),
    "permission of another namespace, as strong": lambda new: method(new, "shop.order").update(needs="store:write"),
    "longer deadline": lambda new: method(new, "shop.order").update(deadline_ms=60_000),
    "no deadline": lambda new: method(new, "shop.order").update(deadline_ms=None),
    "read in a task": lambda new: method(new, "shop.orders").update(kind="task"),
    "other words": lambda new: method(new, "shop.order").update(help="Order", example={}, cli="order"),
    "an item's result": lambda new: method(new, "shop.follow").update(result={"type": "object", "properties": {}}),
    "new optional param": lambda new: params(new).update(size={"type": "integer"}),
    "param no longer required": lambda new: method(new, "shop.order")["params"]["required"].remove("order_id"),
    "param may be null": lambda new: params(new).update(note=with_null(params(new)["note"])),
    "param may be anything": lambda new: params(new).update(note={}),
    "whole number may be a fraction": lambda new: params(new)["offset"].update(type="number"),
    "longer text": lambda new: params(new)["note"].update(maxLength=41),
    "no longest text": lambda new: params(new)["note"].pop("maxLength"),
    "no pattern": lambda new: params(new)["order_id"].pop("pattern"),
    "wider range": lambda new: params(new)["wait_s"]["anyOf"][0].update(maximum=10**9),
    "bound itself inside": lambda new: params(new)["wait_s"]["anyOf"][0].update(
        minimum=params(new)["wait_s"]["anyOf"][0].pop("exclusiveMinimum")
    ),
    "new choice": lambda new: params(new)["kind"]["enum"].append("magic"),
    "choices become a text": lambda new: params(new).update(kind={"type": "string", "maxLength": 10}),
    "new default": lambda new: params(new)["kind"].update(default="fast"),
    "more items": lambda new: params(new)["parts"].update(maxItems=11, minItems=0),
    "new result field": lambda new: result(new)["properties"].update(total={"type": "integer"}),
    "result field always there": lambda new: result(new)["required"].append("next"),
    "result field no longer null": lambda new: result(new)["properties"].update(next={"type": "string"}),
    "wider result": lambda new: result(new)["properties"]["orders"]["items"].update(maxLength=100),
    "new event": lambda new: new["events"].update({"shop.new": new["events"]["shop.ordered"]}),
    "new optional event field": lambda new: event(new)["properties"].update(size={"type": "integer"}),
    "new code": lambda new: new["errors"].update(tired={"http": 418, "exit": 75, "title": "tired"}),
    "other title": lambda new: new["errors"]["aborted"].update(title="again"),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_growing_is_allowed(name):
    assert after(ALLOWED[name]) == []


def test_a_new_major_version_may_drop_what_was_deprecated_and_nothing_else():
    old = shop().document()
    method(old, "shop.order")["deprecated"] = True
    new = copy.deepcopy(old)
    new["methods"].remove(method(new, "shop.order"))
    assert compatible(old, new) == ["shop.order: removed"]
    assert compatible(old, new, new_major=True) == []
    new["methods"].remove(method(new, "shop.orders"))
    assert compatible(old, new, new_major=True) == ["shop.orders: removed"]


def test_every_broken_promise_is_told_at_once():
    def both(new: Document) -> None:
        params(new).pop("note")
        result(new)["properties"].pop("counts")

    assert after(both) == ["shop.order: params.note: removed", "shop.orders: result.counts: removed"]
