"""Durable records read back from wherever in a log they are, each with its hash checked, while the log goes on being written."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from state.fs import Files, read_at
from state.log import Log, View
from state.scan import Read, lines, offset_near, seq_of
from state.seal import BadLine, Record, parse, unsealed
from state.segment import Corrupt, Pruned, active_path, closed_path

T = TypeVar("T")

READ_BYTES = 65_536
"""One read: most want a few records."""


class _Place(NamedTuple):
    """An open segment, and where in it to begin."""

    path: str
    read: Read
    offset: int
    end: int


def records_between(log: Log, first: int, last: int) -> Iterator[Record]:
    """The durable records `first` to `last`, both included. Raises Pruned where the first is not kept any more, and Corrupt.

    No descriptor of a closed segment is held but while its records are being handed out.
    """
    last = min(last, log.durable.seq - 1)
    while first <= last:
        before = first
        for record in _of_segment(log, first, last, parse):
            yield record
            first = record.seq + 1
        if first == before:
            raise Corrupt(log.name, 0, first, "was durable and is gone")


def lines_between(log: Log, first: int, last: int) -> Iterator[bytes]:
    """The same as they stand there, each with its 0x0A and its hash checked."""
    while first <= last:
        before = first
        for line in _of_segment(log, first, last, _whole_line):
            yield line
            first += 1
        if first == before:
            raise Corrupt(log.name, 0, first, "was durable and is gone")


def _whole_line(line: bytes, offset: int) -> bytes:
    unsealed(line)
    return line


def _of_segment(log: Log, first: int, last: int, take: Callable[[bytes, int], T]) -> Iterator[T]:
    with _opened(log, first) as place:
        offset = place.offset
        for line in lines(place.read, offset, place.end, READ_BYTES):
            try:
                seq = seq_of(line)
                if first <= seq <= last:
                    yield take(line, offset)
            except (BadLine, ValueError) as error:
                raise Corrupt(log.name, offset, first, str(error), place.path) from None
            if seq >= last:
                return
            offset += len(line)


@contextmanager
def _opened(log: Log, seq: int) -> Iterator[_Place]:
    """The segment that holds this record now. Rotation and pruning may go on meanwhile: an open file stays readable."""
    files = log._files
    while True:
        view = log.view
        if seq >= view.segment:
            if not view.active.borrow():
                continue  # a rotation came between
            try:
                fd = view.active.fd
                yield _Place(active_path(log.name), _reader(files, fd), view.places.offset_of(seq), files.stat(fd).size)
            finally:
                view.active.release()
            return
        fd = _open_closed(log, view, seq)
        if fd < 0:
            continue
        try:
            path, read, size = closed_path(log.name, _first_of(view, seq)), _reader(files, fd), files.stat(fd).size
            try:
                offset = offset_near(read, size, seq)
            except ValueError:
                raise Corrupt(log.name, 0, seq, "a line that is no record stands before it", path) from None
            yield _Place(path, read, offset, size)
        finally:
            files.close(fd)
        return


def _open_closed(log: Log, view: View, seq: int) -> int:
    """Its descriptor; -1 where it was pruned meanwhile, and the newer view will say so."""
    if not view.closed or seq < view.closed[0].first_seq:
        raise Pruned(log.name, seq, log.first_seq)
    path = closed_path(log.name, _first_of(view, seq))
    try:
        return log._files.open(path, os.O_RDONLY)
    except FileNotFoundError:
        if log.view is view:
            raise Corrupt(log.name, 0, seq, f"{path} is missing", path) from None
        return -1


def _first_of(view: View, seq: int) -> int:
    return max(closed.first_seq for closed in view.closed if closed.first_seq <= seq)


def _reader(files: Files, fd: int) -> Read:
    return lambda offset, size: read_at(files, fd, offset, size)
