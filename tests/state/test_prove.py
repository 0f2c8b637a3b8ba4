"""Proofs made by reading a log: the published one word for word, and of every record and every earlier state of a longer log."""

import pytest

from core.notes import Checkpoint, read_note, signed
from core.proofs import Proof, check, consistent, included, leaf_hash
from core.system import SOME_PROOF
from state.prove import Gone, prove, prove_consistency
from state.segment import Corrupt, closed_path
from state.tree import Edge
from tests.core.test_notes import NOTE, SECRET
from tests.sim.disk import CHANGES, Killed, NthFails, SimFiles
from tests.state.logs import ACTIVE, NAME, append, golden_disk, pending, small_log, stamp


def long_log() -> tuple[SimFiles, list[bytes], list[bytes]]:
    """A log of several segments, its lines, and its root at every size."""
    files = SimFiles()
    log = small_log(files)
    for number in range(14):
        append(log, [pending(number, 200)] * (1 + number % 3))
        if number % 4 == 3:
            log.rotate(stamp)
    log.write_head()
    paths = sorted(path for path in files.tree() if path.startswith(f"{NAME}.") and path.endswith(".jsonl") and path != ACTIVE)
    assert len(paths) == 3
    lines = b"".join(files.content(path) for path in [*paths, ACTIVE]).split(b"\n")[:-1]
    edge, roots = Edge(), [Edge().root()]
    for line in lines:
        edge = edge.append(leaf_hash(line))
        roots.append(edge.root())
    return files, lines, roots


def test_the_published_proof_is_made_word_for_word():
    watched = NthFails(golden_disk(watermark=2), 1, Killed(), [call for call in CHANGES if call != "open"], always=True)
    made = prove(watched, NAME, 5, 8)
    assert Proof(5, tuple(made.path), read_note(NOTE)).text() == SOME_PROOF
    assert made.line == watched.content(ACTIVE).splitlines(keepends=True)[5]


def test_every_record_is_proved_under_every_size():
    files, lines, roots = long_log()
    for size in (1, 2, 3, 8, 9, len(lines) - 1, len(lines)):
        for seq in range(size):
            made = prove(files, NAME, seq, size)
            assert made.line == lines[seq] + b"\n"
            assert included(leaf_hash(lines[seq]), seq, size, made.path, roots[size])


def test_every_earlier_state_is_continued():
    files, lines, roots = long_log()
    for size in (2, 7, 16, len(lines)):
        for before in range(1, size + 1):
            assert consistent(before, roots[before], size, roots[size], prove_consistency(files, NAME, before, size))


def test_of_pruned_records_what_their_hashes_allow():
    files, lines, _ = long_log()
    log = small_log(files.kill())
    files = log._files
    gone = log.view.closed[:2]
    kept_from = gone[-1].last_seq + 1
    log.prune(gone, stamp)
    lines += files.content(ACTIVE).split(b"\n")[:-1][-len(gone) :]
    size = len(lines)
    edge = Edge()
    for line in lines:
        edge = edge.append(leaf_hash(line))
    assert edge == log.edge
    for seq in range(kept_from, size):
        made = prove(files, NAME, seq, size)
        assert included(leaf_hash(lines[seq]), seq, size, made.path, edge.root())
    for before in range(kept_from, size):
        then = Edge()
        for line in lines[:before]:
            then = then.append(leaf_hash(line))
        assert consistent(before, then.root(), size, edge.root(), prove_consistency(files, NAME, before, size))
    with pytest.raises(Gone, match=f"the oldest that is kept is {kept_from}"):
        prove(files, NAME, kept_from - 1, size)
    with pytest.raises(Gone, match="only hashes were kept"):
        prove_consistency(files, NAME, 3, size)


def test_changed_bytes_yield_no_proof_that_holds():
    files, lines, roots = long_log()
    note = signed(Checkpoint("a/b/c", len(lines), roots[-1]), SECRET)
    path = closed_path(NAME, 0)
    data = bytearray(files.content(path))
    data[700] ^= 1
    files.plant(path, bytes(data))
    for seq in (0, 2, len(lines) - 1):
        made = prove(files, NAME, seq, len(lines))
        assert check(Proof(seq, tuple(made.path), note), made.line, None).record == "failed"


def test_a_log_that_is_shorter_than_what_was_signed_has_no_proofs():
    files, lines, _ = long_log()
    with pytest.raises(Corrupt, match="was durable and is gone"):
        prove(files, NAME, 1, len(lines) + 1)
