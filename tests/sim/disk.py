"""A disk that forgets as badly as the promise allows, behind the same seam as the real one.

What was synced stays. Of what was not, a power cut keeps any subset: of each file's 512-byte sectors (the others are old, zero
or garbage, a sector shared with synced bytes too) and of each directory's creates, links, renames and unlinks. It lives in
memory, in one thread, and never waits.
"""

import errno
import os
import stat
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from random import Random
from typing import Any, Literal

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
        self.reserved = 0  # room claimed past the end goes back, even when the size stays

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
        self.medium: dict[str, Entry] = {}
        self.cache: dict[str, Entry] = {}
        self.pending: list[dict[str, Entry | None]] = []
        """One operation each: what names mean after it; None is gone. It survives whole or not at all."""

    def change(self, operation: dict[str, "Entry | None"]) -> None:
        self.pending.append(operation)
        apply(self.cache, operation)

    def sync(self) -> None:
        self.medium, self.pending = dict(self.cache), []

    def after_power_cut(self, random: Random, keeps: Callable[[], bool], known: dict[int, "Entry"]) -> "Directory":
        names = dict(self.medium)
        for operation in self.pending:
            if keeps():
                apply(names, operation)
        left = Directory()
        for name, entry in names.items():
            if id(entry) not in known:
                known[id(entry)] = (
                    entry.after_power_cut(random) if isinstance(entry, Node) else entry.after_power_cut(random, keeps, known)
                )
            left.medium[name] = known[id(entry)]
        left.cache = dict(left.medium)
        return left


Entry = Node | Directory


def apply(names: dict[str, Entry], operation: dict[str, Entry | None]) -> None:
    for name, entry in operation.items():
        if entry is None:
            names.pop(name, None)
        else:
            names[name] = entry


def sector_of(data: bytearray, sector: int) -> bytes:
    return bytes(data[sector * SECTOR : (sector + 1) * SECTOR])


def resize(data: bytearray, size: int) -> None:
    if size < len(data):
        del data[size:]
    else:
        data.extend(bytes(size - len(data)))


class Handle:
    def __init__(self, node: Node, flags: int) -> None:
        self.node = node
        self.flags = flags
        self.position = 0


class SimFiles:
    """The `Files` seam in memory. `crash` is a power cut, `kill` ends the process and keeps what the kernel holds."""

    def __init__(self, capacity: int | None = None, *, reserves: bool = True) -> None:
        self.capacity = capacity
        self.reserves = reserves
        """Whether room can be claimed ahead, as not every file system can."""
        self._root = Directory()
        self._nodes = 0
        self._handles: dict[int, Handle] = {}
        self._next_fd = 100
        self._locks: dict[int, int] = {}

    # --- faults -------------------------------------------------------------------------------------------------------

    def crash(self, random: Random) -> "SimFiles":
        """One disk that a power cut now could leave. This one is unchanged, so many can be drawn."""
        return self._successor(self._root.after_power_cut(random, lambda: random.random() < 0.5, {}))

    def crashes(self, random: Random) -> "Iterator[SimFiles]":
        """Every subset of the unsynced operations on names, each with one draw of what became of unsynced bytes."""
        count = sum(len(directory.pending) for directory in _directories(self._root))
        for chosen in range(1 << count):
            bits = iter([bool(chosen >> place & 1) for place in range(count)])
            yield self._successor(self._root.after_power_cut(random, lambda bits=bits: next(bits, False), {}))

    def kill(self) -> "SimFiles":
        """The same disk after kill -9: nobody holds a file or lock, and unsynced bytes are still in the cache."""
        return self._successor(self._root)

    def _successor(self, root: Directory) -> "SimFiles":
        left = SimFiles(self.capacity, reserves=self.reserves)
        left._root, left._nodes = root, self._nodes
        return left

    def lose(self, fd: int) -> None:
        """What a failed sync does: the cache goes on showing what the medium will never have."""
        self._handle(fd).node.lose()

    def content(self, path: str) -> bytes:
        """What programs see in a file."""
        return bytes(self._node(path).cache)

    def durable(self, path: str) -> bytes:
        """What the medium has of a file."""
        return bytes(self._node(path).medium)

    def plant(self, path: str, data: bytes) -> None:
        """Put a durable file there, as if it always had been, or rot one."""
        where, name = self._parent(path, make=True)
        found = where.cache.get(name)
        node = found if isinstance(found, Node) else self._new_node(0o600)
        node.medium, node.cache, node.dirty, node.sizes = bytearray(data), bytearray(data), {}, []
        where.medium[name] = where.cache[name] = node

    def tree(self) -> dict[str, bytes]:
        """Every file with its bytes, as programs see them."""
        return dict(_walk(self._root, ""))

    # --- the seam -----------------------------------------------------------------------------------------------------

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        where, name = self._parent(path)
        found = where.cache.get(name)
        if isinstance(found, Directory):
            raise _error(errno.EISDIR, path)
        if found is None:
            if not flags & os.O_CREAT:
                raise _error(errno.ENOENT, path)
            found = self._new_node(mode)
            where.change({name: found})
        elif flags & os.O_CREAT and flags & os.O_EXCL:
            raise _error(errno.EEXIST, path)
        if flags & os.O_TRUNC:
            found.truncate(0)
        self._next_fd += 1
        self._handles[self._next_fd] = Handle(found, flags)
        return self._next_fd

    def close(self, fd: int) -> None:
        node = self._handle(fd).node
        if self._locks.get(node.number) == fd:
            del self._locks[node.number]
        del self._handles[fd]

    def write(self, fd: int, data: bytes | memoryview) -> int:
        node = self._writable(fd)
        handle = self._handles[fd]
        start = len(node.cache) if handle.flags & os.O_APPEND else handle.position
        end = start + len(data)
        if self.capacity is not None and self._used() + max(0, end - max(len(node.cache), node.reserved)) > self.capacity:
            raise _error(errno.ENOSPC, "write")
        node.write(start, bytes(data))
        handle.position = end
        return len(data)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        return bytes(self._handle(fd).node.cache[offset : offset + size])

    def begin_sync(self, fd: int) -> None:
        """What is not synced may be on the medium or not, asked for or not."""
        self._handle(fd)

    def bell(self, fd: int) -> int | None:
        return None

    def fdatasync(self, fd: int) -> None:
        self._handle(fd).node.sync()

    def fsync(self, fd: int) -> None:
        self._handle(fd).node.sync()

    def fsync_dir(self, path: str) -> None:
        self._directory(path).sync()

    def link(self, source: str, target: str) -> None:
        where, name = self._parent(target)
        if name in where.cache:
            raise _error(errno.EEXIST, target)
        where.change({name: self._node(source)})

    def rename(self, source: str, target: str) -> None:
        here, old = self._parent(source)
        there, new = self._parent(target)
        node = here.cache.get(old)
        if node is None:
            raise _error(errno.ENOENT, source)
        if here is there:
            here.change({old: None, new: node})
        else:
            there.change({new: node})
            here.change({old: None})

    def unlink(self, path: str) -> None:
        where, name = self._parent(path)
        self._node(path)
        where.change({name: None})

    def truncate(self, fd: int, size: int) -> None:
        self._writable(fd).truncate(size)

    def reserve(self, fd: int, offset: int, length: int) -> bool:
        node = self._writable(fd)
        if not self.reserves:
            return False
        more = max(0, offset + length - max(len(node.cache), node.reserved))
        if self.capacity is not None and self._used() + more > self.capacity:
            raise NoSpace(errno.ENOSPC, os.strerror(errno.ENOSPC))
        node.reserved = max(node.reserved, offset + length)
        return True

    def free(self) -> int:
        return sys.maxsize if self.capacity is None else max(0, self.capacity - self._used())

    def drop_cache(self, fd: int) -> None:
        self._handle(fd).node.forget()

    def stat(self, fd: int) -> Stat:
        return _stat(self._handle(fd).node)

    def stat_path(self, path: str) -> Stat | None:
        try:
            where, name = self._parent(path)
        except FileNotFoundError:
            return None
        found = where.cache.get(name)
        if isinstance(found, Directory):
            return Stat(0, id(found), stat.S_IFDIR | 0o700)
        return _stat(found) if found is not None else None

    def list(self, path: str) -> list[str]:
        return sorted(self._directory(path).cache)

    def mkdir(self, path: str, mode: int = 0o700) -> None:
        where, name = self._parent(path)
        if name in where.cache:
            raise _error(errno.EEXIST, path)
        where.change({name: Directory()})

    def chmod(self, path: str, mode: int) -> None:
        self._node(path).mode = mode

    def lock(self, fd: int) -> bool:
        return self._locks.setdefault(self._handle(fd).node.number, fd) == fd

    # --- inside -------------------------------------------------------------------------------------------------------

    def _new_node(self, mode: int) -> Node:
        self._nodes += 1
        return Node(self._nodes, mode)

    def _handle(self, fd: int) -> Handle:
        if fd not in self._handles:
            raise _error(errno.EBADF, str(fd))
        return self._handles[fd]

    def _writable(self, fd: int) -> Node:
        handle = self._handle(fd)
        if not handle.flags & (os.O_WRONLY | os.O_RDWR):
            raise _error(errno.EBADF, str(fd))
        return handle.node

    def _directory(self, path: str, make: bool = False) -> Directory:
        where = self._root
        for name in path.split("/") if path != "." else ():
            found = where.cache.get(name)
            if found is None and make:
                where.medium[name] = where.cache[name] = found = Directory()
            if found is None:
                raise _error(errno.ENOENT, path)
            if isinstance(found, Node):
                raise _error(errno.ENOTDIR, path)
            where = found
        return where

    def _parent(self, path: str, make: bool = False) -> tuple[Directory, str]:
        directory, _, name = path.rpartition("/")
        return self._directory(directory, make) if directory else self._root, name

    def _node(self, path: str) -> Node:
        where, name = self._parent(path)
        found = where.cache.get(name)
        if not isinstance(found, Node):
            raise _error(errno.ENOENT, path)
        return found

    def _used(self) -> int:
        nodes = {id(node): node for node in _nodes(self._root)}
        return sum(max(len(node.cache), node.reserved) for node in nodes.values())


def _walk(directory: Directory, prefix: str) -> Iterator[tuple[str, bytes]]:
    for name, entry in sorted(directory.cache.items()):
        if isinstance(entry, Node):
            yield prefix + name, bytes(entry.cache)
        else:
            yield from _walk(entry, f"{prefix}{name}/")


def _directories(directory: Directory) -> Iterator[Directory]:
    yield directory
    for entry in {id(entry): entry for entry in (*directory.cache.values(), *directory.medium.values())}.values():
        if isinstance(entry, Directory):
            yield from _directories(entry)


def _nodes(directory: Directory) -> Iterator[Node]:
    for entry in directory.cache.values():
        if isinstance(entry, Node):
            yield entry
        else:
            yield from _nodes(entry)


def _stat(node: Node) -> Stat:
    return Stat(len(node.cache), node.number, stat.S_IFREG | node.mode)


def _error(code: int, path: str) -> OSError:
    return OSError(code, os.strerror(code), path)


class Killed(BaseException):
    """The process ends at this very call."""


CHANGES = ("open", "write", "fdatasync", "fsync", "fsync_dir", "link", "rename", "unlink", "truncate", "reserve", "mkdir", "chmod")
LOOKS = ("pread", "stat", "stat_path", "list", "free", "drop_cache", "lock", "begin_sync", "bell")
CALLS = CHANGES + LOOKS


class NthFails:
    """Any files, with one call that does not do what it was asked: it raises, or takes a short write.

    Counts the calls named in `only`, from 1. With `always`, every one after that fails too. `count` tells how many there were,
    so a test can go through them until none is left.
    """

    def __init__(
        self,
        files: Files,
        nth: int,
        error: BaseException | Literal["short"],
        only: Collection[str] = CALLS,
        *,
        always: bool = False,
        after: bool = False,
    ) -> None:
        self._files = files
        self._nth = nth
        self._error = error
        self._only = frozenset(only)
        self._always = always
        self._after = after
        """Whether the call is done before it fails: a kill between two calls."""
        self.count = 0
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._files, name)
        if name not in self._only:
            return call

        def counted(*arguments: Any) -> Any:
            self.count += 1
            self.calls.append(name)
            if self.count == self._nth or (self._always and self.count > self._nth):
                return self._fail(name, call, arguments)
            return call(*arguments)

        return counted

    def _fail(self, name: str, call: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        if self._error == "short":
            fd, data = arguments
            return call(fd, data[: max(1, len(data) // 2)])
        if self._after:
            with suppress(OSError):
                call(*arguments)
        elif name in ("fdatasync", "fsync") and isinstance(self._files, SimFiles) and isinstance(self._error, OSError):
            self._files.lose(arguments[0])
        assert isinstance(self._error, BaseException)
        raise self._error
