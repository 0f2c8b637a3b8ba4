"""Vectors by a table of token vectors: the same bytes on every machine, what means the same is near, and no other table will do."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from core.data.embedding import MODEL, TABLE_MODEL, embed, numbers, raw_of, relevance
from irerd.worker import JobFailed

pytest.importorskip("tokenizers")
pytest.importorskip("numpy")
from irerd.work import embedding as work

TRIPLES = [
    ("an automobile takes fuel", "a car needs petrol", "an apple is a fruit"),
    ("the physician treats a patient", "a doctor heals the sick", "the painter treats a wall"),
    ("the engine is broken", "the motor does not work", "the evening is beautiful"),
    ("the lawyer spoke in court", "the attorney addressed the judge", "the lawn is short"),
    ("the heat pump of the north hall", "the heat pumps of the north hall", "a sailing boat lies at the pier"),
]
"""What means the same, and what is only spelled alike, or is not at all."""


def ask(*texts: str, model: str = TABLE_MODEL) -> list[str]:
    found: dict[str, Any] = json.loads(work.embed(json.dumps({"model": model, "texts": texts}).encode(), lambda done, total: None))
    return list(found["vectors"])


@pytest.fixture
def table() -> None:
    if work.find_spec(work.PACKAGE) is None:
        pytest.skip("wordllama is not installed")


@pytest.mark.usefixtures("table")
def test_a_text_has_the_same_vector_on_every_machine() -> None:
    texts = ["the heat pump of the north hall", "wörter, и слова, 言葉 🎉", "ab " * 5_000]
    vectors = ask(*texts)
    assert [sha256(raw_of(vector, 256)).hexdigest()[:16] for vector in vectors] == PINNED
    assert ask(*reversed(texts)) == vectors[::-1] == [ask(text)[0] for text in reversed(texts)], "whatever is asked beside it"


PINNED = ["cc2ce609dec25afd", "3a62fcfbb9b628ea", "055daa788f971faa"]


@pytest.mark.usefixtures("table")
def test_it_tells_meanings_apart_that_hashed_letters_do_not() -> None:
    def told(vectors: list[bytes]) -> int:
        one, same, other = map(numbers, vectors)
        return int(relevance(one, same) > relevance(one, other) + 0.05)

    by_table = sum(told([raw_of(vector, 256) for vector in ask(*triple)]) for triple in TRIPLES)
    by_letters = sum(told([embed(text) for text in triple]) for triple in TRIPLES)
    assert by_table == len(TRIPLES) > by_letters


@pytest.mark.usefixtures("table")
def test_a_text_that_has_no_vector_holds_up_no_other() -> None:
    first, nothing, last = ask("a pump", "..., !", "a boat")
    assert first and last and nothing == ""


@pytest.mark.usefixtures("table")
def test_another_table_is_another_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / work.TABLE[0]).write_bytes(b"another table")
    for folder in (tmp_path, tmp_path / "nowhere"):
        monkeypatch.setattr(work, "_folder", lambda folder=folder: str(folder))
        with pytest.raises(JobFailed) as failed:
            ask("a pump")
        assert failed.value.code == "other-files"


def test_without_the_package_it_says_so_and_other_models_are_not_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "PACKAGE", "no_package_of_this_name")
    for model, code in ((TABLE_MODEL, "not-installed"), (MODEL, "bad-spec"), ("mine", "bad-spec")):
        with pytest.raises(JobFailed) as failed:
            ask("a pump", model=model)
        assert failed.value.code == code
    with pytest.raises(JobFailed):
        work.embed(b'{"model": 5}', lambda done, total: None)
