"""T16: secrets and persons of seven kinds in twenty disguises, told to whatever takes a text, and to what takes none: no eight
characters of any of them are in a byte under the state directory or on standard error, and nobody who asks is shown them.

What is stored as given by design is left out: names and identifiers, and cache values, of which docs/redaction.md says so.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.redact import Redactor
from irerctl.client import Client, Error
from tests.campaigns import campaign, per_commit
from tests.e2e.canaries import WINDOW, Canary, canary, leaks
from tests.e2e.harness import Irerd

ROW = "T16-canaries"
Place = Callable[[Client, Canary, int], Any]


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def in_a_report(client: Client, bird: Canary, number: int) -> Any:
    return client.call("log.engine_event", {"event_type": "mailer.failed", "data": {"n": number, "detail": bird.value}}).result


def deep_in_a_report(client: Client, bird: Canary, number: int) -> Any:
    data = {"n": number, "tried": [{"steps": {"last": {"said": bird.value}}}]}
    return client.call("log.engine_event", {"event_type": "mailer.failed", "data": data}).result


def in_a_note(client: Client, bird: Canary, number: int) -> Any:
    return client.call("entity.report", {"entity_id": "worker", "health": 50, "note": as_text(bird.value)[:500]}).result


def in_a_label(client: Client, bird: Canary, number: int) -> Any:
    labels = {"origin": as_text(bird.value)[:200]}
    client.call("entity.spawn", {"entity_id": f"e-{number}", "type": "agent", "labels": labels})
    return client.call("entity.get", {"entity_id": f"e-{number}"}).result


def in_an_order(client: Client, bird: Canary, number: int) -> Any:
    text = as_text(bird.value)[:200]
    items = [{"sku": text, "quantity": 1, "unit_price": 1}]
    return client.call("circuit.order", {"customer": text, "items": items, "currency": "EUR"}).result


def where_none_belongs(client: Client, bird: Canary, number: int) -> Any:
    """Refused: what was wrong with it may be told to whoever sent it, and to nobody else."""
    for method, params in (
        ("resource.scale", {"pool": as_text(bird.value), "size": 3}),
        ("entity.report", {"entity_id": "worker", "health": bird.value}),
        ("system.op_status", {bird.secret: bird.value}),
        ("log.engine_event", {"event_type": as_text(bird.value), "data": {}}),
        (as_text(bird.value)[:60], {"x": 1}),
    ):
        with pytest.raises(Error):
            client.call(method, params)
    return None


PLACES: tuple[Place, ...] = (in_a_report, in_a_note, in_a_label, in_an_order, where_none_belongs, deep_in_a_report)


def whole(place: Place, bird: Canary) -> bool:
    """Whether a place takes all of it, as it is: what is cut off may be what gives a secret away, and in a text a list is none."""
    if bird.disguise == "cut up" and place not in (in_a_report, deep_in_a_report):
        return False
    most = {in_a_note: 500, in_a_label: 200, in_an_order: 200}.get(place, 4_000)
    return len(as_text(bird.value)) <= most


def set_free(place: Path, birds: list[Canary]) -> int:
    """One daemon is told all of them, and everything it leaves is searched. How many were told."""
    daemon, told = Irerd(place, "[log]\nsnapshot_records = 40\n"), 0
    shown: list[Any] = []
    try:
        daemon.start()
        with daemon.client() as client:
            client.call("entity.spawn", {"entity_id": "worker", "type": "worker"})
            for number, bird in enumerate(birds):
                where = PLACES[number % len(PLACES)]
                where = where if whole(where, bird) else in_a_report
                shown.append(where(client, bird, number))
                told += 1
            shown.append(client.call("entity.list", {}).result)
            shown.append(client.call("circuit.orders", {}).result)
        assert daemon.stop() == 0
    finally:
        daemon.close()
    windows = set().union(*(bird.windows for bird in birds))
    written = {str(path): path.read_bytes() for path in daemon.state.rglob("*") if path.is_file()}
    assert sum(b"[redacted:" in data for data in written.values()) >= 2, "nothing was told"
    for name, data in (
        written | {"stderr": daemon.stderr().encode(), "shown": json.dumps(shown, ensure_ascii=False).encode()}
    ).items():
        found = leaks(data, windows)
        assert not found, (name, blamed(birds, found))
    return told


def blamed(birds: list[Canary], found: set[bytes]) -> list[tuple[str, str, Any]]:
    return [(bird.kind, bird.disguise, bird.value) for bird in birds if bird.windows & found][:3]


@pytest.mark.slow
def test_no_canary_is_in_any_byte_that_was_written_or_said(tmp_path: Path) -> None:
    birds = [canary(number) for number in range(per_commit(ROW))]
    assert len({bird.disguise for bird in birds}) >= 15
    assert set_free(tmp_path, birds) == len(birds)


def test_the_search_finds_what_is_not_hidden() -> None:
    """A search that finds nothing in anything proves nothing: each canary is found where no filter was."""
    redactor = Redactor(bytes(32))
    for number in range(300):
        bird = canary(number)
        assert leaks(json.dumps({"data": bird.value}, ensure_ascii=False).encode(), bird.windows), bird
        assert not leaks(json.dumps(redactor.value({"data": bird.value}), ensure_ascii=False).encode(), bird.windows), bird
    assert leaks(b"xx" + b"s3cr3t-window" + b"yy", {b"s3cr3t-window"[:WINDOW]})


BIRDS_A_DAEMON = 100


@pytest.mark.campaign
def test_campaign_of_canaries(tmp_path: Path) -> None:
    def one(index: int) -> dict[str, int]:
        place = tmp_path / str(index)
        place.mkdir()
        return {"told": set_free(place, [canary(number) for number in range(index, index + BIRDS_A_DAEMON)])}

    campaign(ROW, one, at_once=BIRDS_A_DAEMON)
