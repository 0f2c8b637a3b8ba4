"""The privacy classes of event fields: what each stores, that bounds hold afterwards, and that public types cost nothing."""

from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from core.canonical import event_payload
from core.circuit.events import Item, Ordered
from core.engine import Event
from core.engines import ENGINES
from core.entity.events import Spawned
from core.fields import Code, Count, Name, Object, privacy
from core.redact import ProgrammingError, Redactor, redact_event, redact_events
from core.redact.events import PSEUDONYM_CHARS, TOO_LONG

REDACTOR = Redactor(bytes(range(32)))
EMAIL = "sensitive@email.com"
ALIAS = "pn_3284a7d2ff06fb56ee08f8245977f278"

Note = Annotated[str, Meta(max_length=60), privacy("open")]
Person = Annotated[str, Meta(max_length=200), privacy("pseudonym")]


class Public(Event, type="sample.public"):
    name: Name
    count: Count
    extra: Object = {}


class Line(msgspec.Struct, frozen=True):
    note: Note
    code: Code = "x"


class Mixed(Event, type="sample.mixed"):
    name: Name
    note: Note | None = None
    person: Person | None = None
    customer: Annotated[str, Meta(max_length=200, extra={"privacy": "pseudonym", "kind": "customer"})] | None = None
    lines: Annotated[list[Line], Meta(max_length=9)] = []
    data: Annotated[dict[str, Any], privacy("open")] = {}
    notes: Annotated[list[str], privacy("open")] = []
    document: Annotated[str, privacy("document")] = ""
    phone: Annotated[str, privacy("open")] = ""


def test_a_type_without_open_fields_is_handed_on_as_it_is():
    event = Public(EMAIL, 1, {"password": "hunter2"})
    assert redact_event(REDACTOR, event) is event


def test_of_several_events_each_is_redacted_and_those_without_a_change_are_the_very_same():
    plain, odd, fine = Public("t-1", 1), Mixed("t-2", note=f"mail {EMAIL}"), Mixed("t-3", note="fine")
    same = (plain, fine)
    assert redact_events(REDACTOR, same) is same and redact_events(REDACTOR, ()) == ()
    assert redact_events(REDACTOR, (plain, odd, fine)) == tuple(redact_event(REDACTOR, each) for each in (plain, odd, fine))
    assert redact_events(REDACTOR, (plain, odd, fine))[0] is plain


def test_each_class_is_carried_out():
    event = Mixed(
        "t-1",
        note=f"mail {EMAIL}",
        person=EMAIL,
        customer="ACME",
        lines=[Line("password=hunter2"), Line("fine")],
        data={"password": "hunter2", "n": 3},
        notes=["plain", EMAIL],
        document=EMAIL,
        phone="467 3395",
    )
    kept = redact_event(REDACTOR, event)
    assert kept.note == f"mail {ALIAS}"
    assert kept.person == ALIAS  # the pseudonym that the address has in free text too
    assert kept.customer == REDACTOR.pseudonym("customer", "ACME")
    assert kept.lines == [Line("password=[redacted:password]"), Line("fine")]
    assert kept.data == {"password": "[redacted:password]", "n": 3}
    assert kept.notes == ["plain", ALIAS]
    assert kept.document == EMAIL
    assert kept.phone == REDACTOR.pseudonym("phone", "4673395")
    assert event.note == f"mail {EMAIL}"
    assert redact_event(REDACTOR, kept) == kept
    event_payload(kept)


class Branch(msgspec.Struct, frozen=True):
    """A type within itself."""

    name: Code
    branches: list["Branch"] = []
    trunk: "Trunk | None" = None


class Trunk(msgspec.Struct, frozen=True):
    lines: tuple[Line, ...] = ()
    branch: Branch | None = None


class Leafless(msgspec.Struct, frozen=True):
    name: Code
    twigs: list["Leafless"] = []


class Wood(Event, type="sample.wood"):
    branch: Branch
    trunks: dict[Code, Trunk] = {}
    leafless: Leafless | None = None


def test_no_text_is_so_deep_that_it_is_passed_over():
    """Whatever the plans leave out: the same mark, put in every place where a text can stand, is nowhere afterwards."""
    trunk = Trunk((Line(EMAIL),), Branch("b", [Branch("c", trunk=Trunk((Line(EMAIL),)))]))
    event = Wood(Branch("a", [Branch("d", trunk=trunk)], trunk), {"t": trunk}, Leafless("l", [Leafless("m")]))
    assert event_payload(event).count(EMAIL.encode()) == 6
    made = redact_event(REDACTOR, event)
    assert EMAIL.encode() not in event_payload(made)
    assert made.leafless is event.leafless and redact_event(REDACTOR, made) is made
    plain = Wood(Branch("a", [Branch("b")]), leafless=event.leafless)
    assert redact_event(REDACTOR, plain) is plain


def test_a_type_that_cannot_be_stored_is_none_the_second_time_either():
    class Wrong(msgspec.Struct, frozen=True):
        secret: Annotated[int, privacy("pseudonym")] | Annotated[bytes, privacy("pseudonym")] = 0

    class Around(Event, type="sample.around"):
        wrong: Wrong | None = None

    for _ in range(2):
        with pytest.raises(ProgrammingError):
            redact_event(REDACTOR, Around(Wrong(1)))


def test_an_event_with_nothing_in_it_is_the_same_object():
    event = Mixed("t-1", note="all fine", lines=[Line("fine")], notes=["plain"])
    assert redact_event(REDACTOR, event) is event


def test_a_redacted_text_still_fits_its_field():
    """Else the record could be written and never read again."""
    kept = redact_event(REDACTOR, Mixed("t-1", note=f"{EMAIL} and another@email.com and a@b.cc"))
    assert kept.note == TOO_LONG
    assert msgspec.convert(msgspec.to_builtins(kept), Mixed) == kept


class Leaky(Event, type="sample.leaky"):
    token: Annotated[str, privacy("secret")] | None = None


class Cramped(Event, type="sample.cramped"):
    person: Annotated[str, Meta(max_length=PSEUDONYM_CHARS - 1), privacy("pseudonym")]


class Tight(Event, type="sample.tight"):
    note: Annotated[str, Meta(max_length=10), privacy("open")]


class Patterned(Event, type="sample.patterned"):
    note: Annotated[str, Meta(max_length=50, pattern="^[a-z]+$"), privacy("open")]


@pytest.mark.parametrize("event", [Leaky("x"), Cramped("x"), Tight("x"), Patterned("x")], ids=lambda event: type(event).__name__)
def test_what_could_not_be_stored_is_a_programming_error(event):
    with pytest.raises(ProgrammingError):
        redact_event(REDACTOR, event)


def test_an_absent_secret_is_none():
    assert redact_event(REDACTOR, Leaky()) == Leaky()


def test_every_event_there_is_has_a_plan():
    from core.redact.events import _plan

    for engine in ENGINES:
        for event in engine.applies:
            _plan(event)


def test_what_callers_write_beside_an_entity_or_on_a_line_of_an_order_is_searched():
    token = "ghp_" + "A1b2C3d4E5f6" * 3
    labels = {"owner": EMAIL, "region": "eu", "password": "hunter2"}
    spawned = redact_event(REDACTOR, Spawned("w1", "worker", labels))
    assert spawned.labels == {"owner": ALIAS, "region": "eu", "password": "[redacted:password]"}
    ordered = redact_event(
        REDACTOR, Ordered("o-1", "pn_" + 32 * "0", [Item(f"key {token}", 1, 5), Item("widget", 2, 5)], "EUR", 15)
    )
    assert [item.sku for item in ordered.items] == ["key [redacted:api-key]", "widget"]
    assert redact_event(REDACTOR, spawned) is spawned and redact_event(REDACTOR, ordered) is ordered
