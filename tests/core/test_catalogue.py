"""The catalogue is whole, cheap and true: what it finds, what it says about itself, and what every row owes."""

import subprocess
import sys
from typing import Annotated, Any, Literal

import msgspec
import pytest
from jsonschema import Draft202012Validator
from msgspec import Meta

from core import canonical, schemas
from core.catalogue import Catalogue
from core.engine import Command, Context, Engine, Event, Nothing, Refused, Result, Row, Stamp, internal, read, task, write
from core.engines import ENGINES
from core.fields import Code, Count, Label, Name, privacy
from core.row_rules import problems
from tests.core.sample_engine import EXAMPLE, Expire, Fold, Order, decide_expire, orders, shop


def method(catalogue: Catalogue, name: str) -> dict[str, Any]:
    return next(entry for entry in catalogue.describe() if entry["name"] == name)


# Finding a method


def test_a_known_method_is_found():
    row = shop().find("shop.order")
    assert row.name == "shop.order" and row.params is Order


def test_an_unknown_method_is_refused_with_the_nearest_name():
    with pytest.raises(Refused) as refused:
        Catalogue(ENGINES).find("resource.sclae")
    assert refused.value.code == "not-found"
    assert refused.value.detail == "unknown method resource.sclae. Did you mean resource.scale? All: irerctl api ls"
    assert refused.value.data["nearest"][0] == "resource.scale"


def test_nothing_near_is_said_plainly():
    with pytest.raises(Refused) as refused:
        shop().find("zzzz.qqqq")
    assert refused.value.detail == "unknown method zzzz.qqqq. All: irerctl api ls"


@pytest.mark.parametrize("name", ["", "shop", "shop.order\n", "\x1b[2Jshop.order", "Shop.order", "x" * 1_000_000])
def test_text_that_is_no_name_is_refused_short_and_without_control_characters(name):
    with pytest.raises(Refused) as refused:
        shop().find(name)
    assert refused.value.code == "not-found"
    assert refused.value.detail.isprintable() and len(refused.value.detail) < 120
    assert refused.value.data is None


def test_a_command_that_only_irer_gives_is_in_no_catalogue():
    catalogue = shop()
    assert "shop.expire" not in catalogue.rows
    with pytest.raises(Refused):
        catalogue.find("shop.expire")
    assert "shop.expire" not in {entry["name"] for entry in catalogue.describe()}


def test_two_rows_of_one_name_are_an_error():
    with pytest.raises(ValueError, match=r"two rows are named shop\.order"):
        Catalogue([*shop().engines, Engine("shop", rows=[read("order", Nothing, None, help="", example={}, result=Result)])])


# What it says about a method


def test_params_are_closed_and_answers_open():
    catalogue = shop()
    assert method(catalogue, "shop.order")["params"]["additionalProperties"] is False
    assert method(catalogue, "shop.order")["params"]["$defs"]["Part"]["additionalProperties"] is False
    assert "additionalProperties" not in method(catalogue, "shop.order")["result"]
    assert "additionalProperties" not in method(catalogue, "shop.order")["result"]["$defs"]["Part"]


def test_a_write_answers_with_its_first_event_unless_reply_says_otherwise():
    catalogue = shop()
    assert method(catalogue, "shop.order")["result"]["title"] == "Ordered"
    assert method(catalogue, "shop.place")["result"]["title"] == "Placed"


def test_fields_carry_their_words_bounds_defaults_and_privacy():
    params = method(shop(), "shop.order")["params"]
    assert params["description"] == "Asks for a delivery."
    assert params["required"] == ["order_id", "parts"]
    assert params["properties"]["kind"] == {"enum": ["fast", "slow"], "description": "how it travels", "default": "slow"}
    assert params["properties"]["note"]["description"] == "for people, on as many lines as they like"
    assert params["properties"]["note"]["x-irer-privacy"] == "open"
    assert params["properties"]["wait_s"]["anyOf"][0] == {"type": "number", "exclusiveMinimum": 0, "maximum": 31_536_000}
    assert params["properties"]["parts"]["maxItems"] == 10
    assert params["properties"]["labels"]["propertyNames"]["maxLength"] == 64
    assert params["properties"]["blob"]["contentEncoding"] == "base64"


def test_an_answer_requires_only_what_is_always_there():
    schema = method(shop(), "shop.orders")["result"]
    assert schema["required"] == ["orders", "counts"]


def test_a_default_is_always_answered_where_its_type_does_not_leave_defaults_out():
    described = method(shop(), "shop.order")
    assert described["params"]["$defs"]["Part"]["required"] == ["sku"]
    assert described["result"]["$defs"]["Part"]["required"] == ["sku", "share"]


def test_a_type_inside_itself_is_described_once():
    schema = method(shop(), "shop.orders")["result"]
    assert schema["$defs"]["Fold"]["properties"]["inside"]["items"] == {"$ref": "#/$defs/Fold"}


def test_events_of_a_method_come_with_their_schemas_and_those_of_internal_commands_are_published_too():
    catalogue = shop()
    assert set(method(catalogue, "shop.order")["events"]) == {"shop.ordered"}
    assert catalogue.document()["events"]["shop.expired"]["log"] == "shop_log"


def test_what_a_schema_takes_is_what_the_daemon_takes():
    schema = Draft202012Validator(method(shop(), "shop.order")["params"])
    for change in (
        {},
        {"kind": "none"},
        {"order_id": ""},
        {"order_id": "a" * 65},
        {"parts": []},
        {"parts": [{"sku": "a"}] * 11},
        {"parts": [{"sku": "a", "share": 1.5}]},
        {"parts": [{"sku": "a", "more": 1}]},
        {"wait_s": 0},
        {"wait_s": 0.5},
        {"wait_s": None},
        {"offset": 2**53},
        {"labels": {"a": "b"}},
        {"labels": {"A": "b"}},
        {"unknown": 1},
    ):
        given = {**EXAMPLE, **change}
        try:
            msgspec.convert(given, Order, strict=True)
            taken = True
        except msgspec.ValidationError:
            taken = False
        assert schema.is_valid(given) == taken, change


def test_pythons_end_of_text_is_published_as_everybody_elses():
    class Exact(Command):
        """x.

        a: exact
        """

        a: Annotated[str, Meta(pattern=r"^[a-z]{3}\Z")]

    assert schemas.schema(Exact, schemas.Names(), asks=True)["properties"]["a"]["pattern"] == "^[a-z]{3}$"


def test_what_cannot_travel_cannot_be_described():
    with pytest.raises(TypeError, match="does not travel"):
        schemas.schema(set[str], schemas.Names(), asks=True)


# The hash


def test_the_hash_is_of_the_canonical_document_and_the_same_every_time():
    first, second = Catalogue(ENGINES), Catalogue(ENGINES)
    assert canonical.encode(first.document()) == canonical.encode(second.document())
    assert first.schema_hash() == second.schema_hash()
    assert len(first.schema_hash()) == 64


def test_the_hash_changes_with_any_promise():
    assert shop().schema_hash() != shop(without="orders").schema_hash()


def test_importing_the_catalogue_brings_no_validator_and_no_event_loop():
    program = "import sys, core.catalogue; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "core.catalogue" in loaded
    assert not {"jsonschema", "trio", "difflib", "click", "cbor2"} & set(loaded)


# What every row owes: the real ones, then each rule broken


def test_every_real_row_keeps_every_rule():
    assert problems(Catalogue(ENGINES)) == []


def test_the_sample_keeps_every_rule():
    assert problems(shop()) == []


def anything(shop: Any, params: Any, ctx: Context) -> Result:
    raise AssertionError("nobody calls a row here")


def row(params: type[Command] = Nothing, **more: Any) -> Row:
    more = {"name": "look", "help": "Look", "example": {}, "result": Result, **more}
    return read(more.pop("name"), params, anything, **more)


def event_row(event: type[Event]) -> Row:
    def apply(shop: Any, event: Event, stamp: Stamp) -> None:
        pass

    return write("mark", Nothing, decide_expire, apply={event: apply}, help="Mark", example={})


def broken(*rows: Row) -> list[str]:
    return [found for found in problems(shop(rows)) if found not in problems(shop())]


class Undocumented(Command):
    """Nothing about its field."""

    size: Count = 0


class Stale(Command):
    """Explains what is gone.

    size: how large
    weight: how heavy
    """

    size: Count = 0


class Open(msgspec.Struct):
    """Takes unknown fields."""


def message(base: type, docstring: str, **annotations: Any) -> Any:
    """A message class made for one test."""
    return type(base)("Made", (base,), {"__annotations__": annotations, "__doc__": docstring, "__module__": __name__}, frozen=True)


def one_field(annotation: Any) -> type[Command]:
    return message(Command, "One.\n\na: it\n", a=annotation)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (row(help=""), "help is one line"),
        (row(help="Two\nlines"), "help is one line"),
        (row(help="Look."), "help is one line"),
        (row(name="shop.Look"), "not namespace.verb"),
        (row(name="shop.look.twice"), "not namespace.verb"),
        (row(needs="shop"), "no permission"),
        (row(needs="shop:owner"), "no permission"),
        (row(since="soon"), "no version"),
        (row(result=None), "neither a result nor an item"),
        (row(result="Result"), "must not be postponed"),
        (row(item=Fold), "only a task streams"),
        (row(example={"size": 1}), "the example is not acceptable"),
        (row(Undocumented), "does not explain it"),
        (row(Stale), "weight, which is no field"),
        (row(Open), "params take unknown fields"),
        (write("do", Nothing, decide_expire, help="Do", example={}, result=Result), "applies at least one event"),
    ],
)
def test_a_row_that_breaks_a_rule_is_found(wrong, said):
    assert any(said in found for found in broken(wrong)), broken(wrong)


@pytest.mark.parametrize(
    ("annotation", "value", "said"),
    [
        (int, 1, "an integer needs bounds"),
        (Annotated[int, Meta(ge=0)], 1, "an integer needs bounds"),
        (Annotated[int, Meta(ge=0, le=2**53)], 1, "an integer needs bounds"),
        (float, 1.0, "a lower and an upper bound"),
        (Annotated[float, Meta(ge=0)], 1.0, "a lower and an upper bound"),
        (str, "", "a text needs a longest length"),
        (Annotated[str, Meta(pattern=r"^[a-z]+\Z")], "a", "a text needs a longest length"),
        (Annotated[str, Meta(pattern=r"[a-z]")], "a", "a text needs a longest length"),
        (Annotated[str, Meta(pattern=r"^[a-z]$")], "a", "lets a trailing newline through"),
        (Annotated[str, Meta(pattern=r"^\d\Z")], "1", "takes any script's"),
        (bytes, "", "needs a longest length"),
        (list[Name], [], "needs a longest length"),
        (Annotated[list[str], Meta(max_length=3)], [], "a text needs a longest length"),
        (dict[str, Count], {}, "needs a largest size"),
        (Annotated[dict[str, float], Meta(max_length=3)], {}, "a lower and an upper bound"),
        (list[int] | None, None, "an integer needs bounds"),
    ],
)
def test_a_parameter_without_an_end_is_found(annotation, value, said):
    found = broken(row(one_field(annotation), example={"a": value}))
    assert any(said in problem for problem in found), found


@pytest.mark.parametrize(
    "annotation",
    [
        bool,
        Literal["a", "b"],
        Count,
        Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")],
        Annotated[list[Label], Meta(max_length=3)],
        dict[str, Any],
        Count | None,
    ],
)
def test_a_parameter_with_an_end_is_not_complained_about(annotation):
    found = broken(row(one_field(annotation)))
    assert [problem for problem in found if "example" not in problem] == []


def test_a_bare_integer_is_found_in_answers_too():
    answer = message(Result, "One.\n\na: it\n", a=int)
    assert any("result.a: an integer needs bounds" in found for found in broken(row(result=answer)))


def test_an_answers_undocumented_field_is_found_however_deep():
    inner = message(Result, "Silent.", deep=Count)
    outer = message(Result, "Outer.\n\na: it\n", a=list[inner])
    assert any("result.a[].deep" in found for found in broken(row(result=outer)))


class Unclassed(Event, type="shop.unclassed"):
    """Says nothing about its text.

    note: a text
    notes: more
    deep: further
    data: anything
    fine: classed as a whole
    """

    note: str
    notes: list[str]
    deep: dict[Code, str]
    data: Any
    fine: Annotated[dict[str, list[str]], privacy("public")]


class Misclassed(Event, type="shop.misclassed"):
    """Has a class nobody knows.

    note: a text
    """

    note: Annotated[str, privacy("friends-only")]


class Loud(Event, type="Shop.Loud"):
    """In capitals."""


class Same(Event, type="shop.ordered"):
    """Has another event's type."""


def test_text_in_an_event_must_be_classed():
    found = broken(event_row(Unclassed))
    unclassed = {problem.split(": ")[1] for problem in found if "without a privacy class" in problem}
    assert unclassed == {"data.note", "data.notes[]", "data.deep{}", "data.data"}


@pytest.mark.parametrize(
    ("event", "said"),
    [(Misclassed, "friends-only is no privacy class"), (Loud, "not dotted lower case"), (Same, "two events have this type")],
)
def test_an_event_that_breaks_a_rule_is_found(event, said):
    assert any(said in found for found in broken(event_row(event)))


def test_an_event_needs_a_log():
    catalogue = Catalogue([Engine("nowhere", rows=[internal("expire", Expire, decide_expire, apply={Same: orders})])])
    assert any("has no log" in found for found in problems(catalogue))


def test_a_stream_of_a_task_is_fine_without_a_result():
    assert broken(task("tail", Nothing, help="Tail", example={}, item=Fold)) == []
