"""A disk that forgets as badly as the promise allows, behind the same seam as the real one.

What was synced stays. Of what was not, a power cut keeps any subset: of each file's 512-byte sectors (the others are old, zero
or garbage, a sector shared with synced bytes too) and of each directory's creates, links, renames and unlinks. It lives in
memory, in one thread, and never waits.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from state.fs import Files, NoSpace, Stat

SECTOR = 512


class Node:
    """One file: what the medium has, what programs see, and the versions of each sector in between."""

    def __init__(self, number: int, mode: int) -> None:
        self.number = number
        self.mode = mode
        self.medium = bytearray()
        self.cache = bytearray()
        self.dirty: dict[int, list[bytes]] = {}
        self.sizes: list[int] = []
        """Sizes it has had since the last sync."""
        self.reserved = 0

    def write(self, offset: int, data: bytes) -> None:
        self._resize(max(len(self.cache), offset + len(data)))
        self.cache[offset : offset + len(data)] = data
        for sector in range(offset // SECTOR, -(-(offset + len(data)) // SECTOR)):
            self.dirty.setdefault(sector, []).append(sector_of(self.cache, sector))

    def truncate(self, size: int) -> None:
        self._resize(size)

    def _resize(self, size: int) -> None:
        if size != len(self.cache):
            self.sizes.append(size)
            resize(self.cache, size)

    def sync(self) -> None:
        resize(self.medium, len(self.cache))
        for sector in self.dirty:
            self.medium[sector * SECTOR : (sector + 1) * SECTOR] = self.cache[sector * SECTOR : (sector + 1) * SECTOR]
        self.dirty, self.sizes = {}, []

    def lose(self) -> None:
        """A sync that failed: the kernel calls the pages clean, so programs see them and the medium never will."""
        self.dirty = {}

    def forget(self) -> None:
        """Clean pages are read again from the medium."""
        fresh = bytearray(self.medium)
        resize(fresh, len(self.cache))
        for sector in self.dirty:
            place = slice(sector * SECTOR, (sector + 1) * SECTOR)
            fresh[place] = self.cache[place]
        self.cache = fresh

    def after_power_cut(self, random: Random) -> "Node":
        left = Node(self.number, self.mode)
        size = random.choice([len(self.medium), *self.sizes]) if self.sizes else len(self.medium)
        if self.sizes and random.random() < 0.3:  # an end between the sizes it has had
            size = random.randrange(min(len(self.medium), *self.sizes), max(len(self.medium), *self.sizes) + 1)
        left.medium = bytearray(self.medium)
        resize(left.medium, max(size, len(self.cache)))
        for sector, versions in self.dirty.items():
            place = slice(sector * SECTOR, min((sector + 1) * SECTOR, len(left.medium)))
            length = max(0, place.stop - place.start)
            fate = random.choice(("new", "new", "old", "zero", "garbage"))
            if fate == "new":
                left.medium[place] = random.choice([versions[-1], random.choice(versions)]).ljust(length, b"\0")[:length]
            elif fate == "zero":
                left.medium[place] = bytes(length)
            elif fate == "garbage":
                left.medium[place] = random.randbytes(length)
        resize(left.medium, size)
        left.cache = bytearray(left.medium)
        return left


class Directory:
    """Names: those on the medium, those programs see, and the operations in between."""

    def __init__(self) -> None:
        self.medium: dict[str, Node | None] = {}
        self.cache: dict[str, Node | None] = {}
        self.pending: list[dict[str, Node | None | bool]] = []
        """Each operation: names with the file they now mean; True a directory, None gone."""

    def change(self, **_: Any) -> None:
        raise NotImplementedError

    def sync(self) -> None:
        self.medium = dict(self.cache)
        self.pending = []
