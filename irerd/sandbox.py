"""What the kernel can hold a stranger's program to, and the calls that make it do so: Landlock for files, seccomp for the rest.

Everything here makes the calling process weaker and never stronger, and none of it can be taken back. What cannot be enforced is
said and never passed over: `report` tells what this kernel can do, and `confine` proves that it did before it returns.
"""

import ctypes
import errno
import os
import platform
import resource
import signal
import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

_libc = ctypes.CDLL(None, use_errno=True)

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 24, 22, 38
CAPABILITIES: Final = 64
CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUSER = 0x40000000, 0x08000000, 0x10000000


class Unconfined(Exception):
    """A promise that this kernel does not keep; its text says which."""


class Report(NamedTuple):
    """What is enforced here for a component of a user's, each in a word or two."""

    files: str
    """`landlock` with its version, or why not."""
    calls: str
    """`seccomp`, or why not: processes, network, signals, and whatever reaches another process."""
    network: str
    """What keeps it from the network."""

    @property
    def whole(self) -> bool:
        return self.files.startswith("landlock") and self.calls == "seccomp"


def report() -> Report:
    """Asks and changes nothing."""
    abi = _landlock_abi()
    files = f"landlock {abi}" if abi > 0 else "not enforced: this kernel has no Landlock"
    machine = platform.machine()
    calls = "seccomp"
    if machine not in CALLS:
        calls = f"not enforced: irer knows no system calls of {machine}"
    elif not _seccomp_there():
        calls = "not enforced: this kernel has no seccomp filters"
    return Report(files, calls, "seccomp, and a namespace of its own where the system allows one" if calls == "seccomp" else calls)


# --- files ----------------------------------------------------------------------------------------------------------------

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << bit for bit in range(6))
_MAKE_DIR, _MAKE_REG = 1 << 7, 1 << 8
_TRUNCATE = 1 << 14
_ALL_BY_ABI: Final = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""So many kinds of access each version knows."""
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_OWN = _READ_FILE | _READ_DIR | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _TRUNCATE


def _landlock_abi() -> int:
    return int(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1)))


def _only_these_files(readable: Iterable[str], writable: Iterable[str]) -> None:
    """From now on nothing else can be opened, run, made or taken away. No link, socket, pipe or device can be made anywhere."""
    abi = _landlock_abi()
    if abi < 1:
        raise Unconfined("files")
    known = (1 << _ALL_BY_ABI.get(abi, 16)) - 1
    # TCP too from version 4 on, and signals and abstract sockets from 6 on: what nothing is allowed of needs no rule.
    words = [known, *([3] if abi >= 4 else []), *([3] if abi >= 6 else [])]
    attributes = struct.pack(f"={len(words)}Q", *words)
    ruleset = _libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    if ruleset < 0:
        raise Unconfined("files")
    for paths, rights in ((readable, _READ), (writable, _OWN)):
        for path in paths:
            _allow(ruleset, path, rights & known)
    if _libc.syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0)) != 0:
        raise Unconfined("files")
    os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        at = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there cannot be reached either
    try:
        if not os.path.isdir(path):
            rights &= _OF_FILES
        if (
            _libc.syscall(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(1), struct.pack("=Qi", rights, at), ctypes.c_uint32(0))
            != 0
        ):
            raise Unconfined("files")
    finally:
        os.close(at)


# --- system calls ---------------------------------------------------------------------------------------------------------


class Calls(NamedTuple):
    """The numbers of one machine's system calls."""

    audit: int
    denied: Sequence[int]
    """That a component of one process, without a network, has no use for."""
    clone: int
    prctl: int
    prlimit: int
    fcntl: int
    signals: Sequence[int]
    """Whose first argument is the process that they reach."""


_EVERYWHERE: Final = (424, 425, 428, 429, 430, 432, 434, 438, 442, 447, 452)
"""pidfd_send_signal, io_uring_setup, open_tree, move_mount, fsopen, fsmount, pidfd_open, pidfd_getfd, mount_setattr, memfd_secret,
fchmodat2: the newer ones have one number on every machine."""
_CLONE3: Final = 435

CALLS: Final[Mapping[str, Calls]] = {
    "x86_64": Calls(
        audit=0xC000003E,
        denied=(
            *(41, 42, 43, 49, 50, 288),  # socket connect accept bind listen accept4
            *(57, 58, 101, 109, 112, 200),  # fork vfork ptrace setpgid setsid tkill
            *(29, 64, 68, 240, 319),  # shmget semget msgget mq_open memfd_create
            *(76, 90, 91, 92, 93, 94, 260, 268),  # truncate, and owners and modes of files
            *(132, 235, 261, 280, 188, 189, 190, 197, 198, 199),  # their times and attributes
            *(88, 133, 259, 266),  # symlink mknod mknodat symlinkat
            *(155, 161, 163, 164, 165, 166, 167, 168, 169, 170, 171, 172, 173, 175, 176, 179, 246, 313, 320),  # the machine's own
            *(248, 249, 250, 272, 298, 300, 303, 304, 308, 310, 311, 312, 321, 323),  # keys, namespaces, others' memory, bpf
            *(129, 297, 141, 142, 144, 203, 251, 256, 279, 314),  # signals with data, and others' priorities
            *(253, 254, 294),  # inotify, which looks at folders that cannot be read
        ),
        clone=56,
        prctl=157,
        prlimit=302,
        fcntl=72,
        signals=(62, 234),  # kill tgkill
    ),
    "aarch64": Calls(
        audit=0xC00000B7,
        denied=(
            *(198, 203, 202, 200, 201, 242),
            *(117, 154, 157, 130),
            *(194, 190, 186, 180, 279),
            *(45, 52, 53, 54, 55),
            *(88, 5, 6, 7, 14, 15, 16),
            *(33, 36),
            *(41, 51, 89, 170, 40, 39, 224, 225, 142, 161, 162, 105, 106, 60, 104, 273, 294),
            *(217, 218, 219, 97, 241, 262, 264, 265, 268, 270, 271, 272, 280, 282),
            *(138, 240, 140, 118, 119, 122, 30, 238, 239, 274),
            *(26, 27),
        ),
        clone=220,
        prctl=167,
        prlimit=261,
        fcntl=25,
        signals=(129, 131),
    ),
}

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _SECOND_ARGUMENT = 0, 4, 16, 24
_F_SETLEASE, _F_NOTIFY = 1024, 1026
_ALLOWED, _KILLED = 0x7FFF0000, 0x80000000
_CLONE_THREAD = 0x00010000
_X32 = 0x40000000


def _refused(error: int) -> int:
    return 0x00050000 | error


def _seccomp_there() -> bool:
    """Whether a filter could be loaded: one that is nowhere is a bad address, and no seccomp a bad argument."""
    return _libc.prctl(PR_SET_SECCOMP, 2, None, 0, 0) != 0 and ctypes.get_errno() == errno.EFAULT


def program(calls: Calls, own: int) -> bytes:
    """The filter. Reading it: each line loads, compares and skips so many lines, or answers."""
    lines: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, calls.audit),
        (_RETURN, 0, 0, _KILLED),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _KILLED),
    ]
    for number in (*calls.denied, *_EVERYWHERE):
        lines += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _refused(errno.EPERM))]
    # What is not there has an older form, which can be looked into.
    lines += [(_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _refused(errno.ENOSYS))]
    threads = [(_ANY_BIT, 0, 1, _CLONE_THREAD), (_RETURN, 0, 0, _ALLOWED), (_RETURN, 0, 0, _refused(errno.EPERM))]
    itself = [(_EQUAL, 0, 1, own), (_RETURN, 0, 0, _ALLOWED), (_RETURN, 0, 0, _refused(errno.EPERM))]
    own_limits = [(_EQUAL, 1, 0, 0), *itself]
    # It neither outlives its guard nor hides from it.
    outlive = [
        (_EQUAL, 1, 0, PR_SET_PDEATHSIG),
        (_EQUAL, 0, 1, PR_SET_DUMPABLE),
        (_RETURN, 0, 0, _refused(errno.EPERM)),
        (_RETURN, 0, 0, _ALLOWED),
    ]
    # Who holds a lease on a file makes everybody else wait who opens it.
    waited_for = [
        (_EQUAL, 1, 0, _F_SETLEASE),
        (_EQUAL, 0, 1, _F_NOTIFY),
        (_RETURN, 0, 0, _refused(errno.EPERM)),
        (_RETURN, 0, 0, _ALLOWED),
    ]
    judged = [(calls.clone, threads), *((number, itself) for number in calls.signals), (calls.prlimit, own_limits)]
    for number, rules in [*judged, (calls.prctl, outlive)]:
        lines += [(_EQUAL, 0, len(rules) + 1, number), (_LOAD, 0, 0, _FIRST_ARGUMENT), *rules]
    lines += [(_EQUAL, 0, len(waited_for) + 1, calls.fcntl), (_LOAD, 0, 0, _SECOND_ARGUMENT), *waited_for]
    lines.append((_RETURN, 0, 0, _ALLOWED))
    return b"".join(struct.pack("=HBBI", code, yes, no, value) for code, yes, no, value in lines)


def _only_these_calls() -> None:
    calls = CALLS.get(platform.machine())
    if calls is None:
        raise Unconfined("calls")
    lines = program(calls, os.getpid())
    held = ctypes.create_string_buffer(lines, len(lines))
    filter_ = struct.pack("@HP", len(lines) // 8, ctypes.addressof(held))
    if _libc.prctl(PR_SET_SECCOMP, 2, filter_, 0, 0) != 0:
        raise Unconfined("calls")


# --- all of it ------------------------------------------------------------------------------------------------------------


class Limits(NamedTuple):
    cpu_s: float
    memory_bytes: int
    file_bytes: int


FILES_MAX: Final = 64
ADDRESSES_PER_MEMORY, ADDRESSES_MORE = 4, 2 << 30
"""Of addresses more than of memory: libraries reserve far more than they use."""


def limit(limits: Limits) -> None:
    """Of this process and what it runs, for good."""
    cpu_s = max(1, round(limits.cpu_s))
    memory = limits.memory_bytes
    for kind, most in (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_AS, memory * ADDRESSES_PER_MEMORY + ADDRESSES_MORE),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_NOFILE, FILES_MAX),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        more = 1 if kind == resource.RLIMIT_CPU and (hard == resource.RLIM_INFINITY or most < hard) else 0
        resource.setrlimit(kind, (most, most + more))
    with suppress(OSError):
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("800")
    os.nice(10)


def end_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def confine(readable: Sequence[str], writable: Sequence[str], *, whole: bool = True) -> None:
    """No new rights, no other files, no other processes, no network; raises Unconfined where that is not so.

    `whole` false: what can be enforced is, and the rest is left.
    """
    for capability in range(CAPABILITIES):
        _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    if _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise Unconfined("rights")
    _namespace()
    for part in ("files", "calls"):
        try:
            if part == "files":
                _only_these_files(readable, writable)
            else:
                _only_these_calls()
        except Unconfined:
            if whole:
                raise
    if whole:
        _prove()


def _namespace() -> None:
    """A network with nobody in it, where that is allowed; the calls that lead to any network are refused besides."""
    if _libc.unshare(CLONE_NEWNET | CLONE_NEWIPC) != 0:
        _libc.unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC)


def _prove() -> None:
    """Tries what must not be possible: a wrong number in a table above would otherwise be a hole that nobody sees."""
    try:
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).close()
        raise Unconfined("network")
    except OSError:
        pass
    try:
        child = os.fork()
    except OSError:
        pass
    else:
        if child == 0:
            os._exit(0)
        raise Unconfined("processes")
    with suppress(OSError):
        os.close(os.open("/", os.O_RDONLY | os.O_DIRECTORY))
        raise Unconfined("files")
