"""Rules of who may import whom, and of where the outside gets in, read from the sources.

`core` thinks and nothing else; what reaches the outside stands in a few named modules, so that a whole daemon can be run on
a machine that does not exist. A rule here is broken by adding the import, and `BREACHES` shows that each would be noticed.
"""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = {"core", "kernels", "state", "irerd", "irerctl"}
MAY_IMPORT = {"core": set(), "kernels": set(), "state": {"core"}, "irerd": {"core", "state"}, "irerctl": {"core"}}

LIBRARIES = {
    "core": {"msgspec", "cbor2", "numpy"},
    "kernels": {"numpy", "scipy", "jax", "numba"},
    "state": {"msgspec"},
    "irerd": {"msgspec", "trio", "prometheus_client"},
    "irerctl": {"msgspec", "click", "rich"},
}
MORE_LIBRARIES = {
    "irerd/couch/http.py": {"httpx2"},
    "core/gate/tokens.py": {"jwt"},
    "core/notes.py": {"cryptography"},
    "irerctl/client.py": {"cbor2"},
    "irerctl/aio.py": {"trio"},
    **{f"irerctl/hub/{name}.py": {"trio"} for name in ("access", "command", "gateway", "link", "peers", "run", "server")},
    "irerctl/hub/streams.py": {"trio", "wsproto"},
    **{f"irerctl/bus/{name}.py": {"trio"} for name in ("broker", "command", "desk", "out", "run")},
    "irerctl/bus/kafka.py": {"trio", "confluent_kafka"},
    "irerctl/bus/mqtt.py": {"trio", "paho"},
    **{f"irerctl/mcp/{name}.py": {"trio"} for name in ("command", "run")},
    "irerd/graph.py": {"apsw", "prov"},
    "irerd/map_tables.py": {"apsw"},
    "irerd/cluster.py": {"distributed"},
    "irerd/work/remote.py": {"distributed"},
    "irerd/worker.py": {"numpy"},
    "irerd/work/certify.py": {"numpy"},
    "irerd/work/chunk.py": {"numpy"},
    "irerd/work/clusters.py": {"numpy"},
    "irerd/work/components.py": {"numpy"},
    "irerd/work/embedding.py": {"numpy", "tokenizers"},
    "irerd/work/index.py": {"numpy"},
    "irerd/work/picture.py": {"numpy"},
    "irerd/work/search.py": {"numpy"},
    "irerd/work/profile.py": {"numpy"},
    "irerd/work/trajectory.py": {"numpy"},
    "irerd/work/selftest.py": {"numpy"},
    "irerd/work/validate.py": {"numpy"},
    "kernels/artefact.py": {"h5py"},
    "kernels/topology.py": {"gudhi"},
}
MORE_OF_OURS = {
    path: {"kernels"}
    for path in (
        "irerd/worker.py",
        "irerd/work/certify.py",
        "irerd/work/clusters.py",
        "irerd/work/index.py",
        "irerd/work/chunk.py",
        "irerd/work/components.py",
        "irerd/work/picture.py",
        "irerd/work/profile.py",
        "irerd/work/store.py",
        "irerd/work/trajectory.py",
    )
}

OUTSIDE = {
    "asyncio", "fcntl", "ftplib", "glob", "grp", "http.client", "http.server", "mmap", "multiprocessing", "os", "pathlib", "pwd",
    "random", "resource", "sched", "secrets", "select", "selectors", "shutil", "signal", "smtplib", "socket", "socketserver",
    "sqlite3", "subprocess", "tempfile", "threading", "time", "urllib.request",
}  # fmt: skip
"""Modules of the standard library through which clock, chance, files, processes and sockets come in."""

SEAMS = {
    # Pure all through: `random` for the type of the generator that a context carries.
    "core": set(),
    "core/engine.py": {"random"},
    # Only fs.py does anything with these; the others name flags and paths for it (see `_flags_only`).
    "state": {"os", "pathlib"},
    "state/fs.py": {"os", "fcntl", "pathlib", "resource"},
    # Readers in threads share a file that the writer may close.
    "state/log.py": {"os", "threading"},
    # Large values are stored by several threads at once.
    "state/blobs.py": {"threading"},
    # Verification walks on several cores, in processes of its own, beside no event loop.
    "state/walks.py": {"os", "signal"},
    # What repair and restore need of the machine when they run by themselves, beside no daemon.
    "state/alone.py": {"os", "pathlib", "time"},
    # A path may be handed on; the host is where it leads anywhere.
    "irerd": {"pathlib"},
    "irerd/config.py": {"pathlib", "pwd", "grp"},
    "irerd/daemon.py": {"pathlib", "os"},
    "irerd/effects/runs.py": {"pathlib", "os"},
    # A directory that somebody else wrote, and the directories that scripts run in.
    "irerd/components.py": {"pathlib", "os"},
    "irerd/effects/components.py": {"pathlib"},
    # The process of a stranger's program, and what the kernel holds it to: both beside no event loop.
    "irerd/cage.py": {"pathlib", "os", "select", "signal", "tempfile", "time"},
    "irerd/sandbox.py": {"os", "resource", "signal", "socket"},
    # Flags of files, and the names by which a worker maps them.
    "irerd/vectors.py": {"pathlib", "os"},
    "irerd/indexes.py": {"os"},
    # The work of a child process of its own, on files of its own.
    "irerd/graph.py": {"pathlib", "os", "time"},
    # A file that SQLite writes, and the work of a child process.
    "irerd/map_tables.py": {"pathlib", "time"},
    # A drill: files of its own in a directory of its own, and chance from its seed alone.
    "irerd/drill/__init__.py": {"pathlib", "os", "shutil", "tempfile"},
    "irerd/drill/caller.py": {"random"},
    "irerd/drill/rehearsal.py": {"pathlib", "random"},
    "irerd/drill/side.py": {"pathlib", "random"},
    "irerd/host.py": {"pathlib", "os", "random", "secrets", "signal", "subprocess", "time", "pwd"},
    "irerd/jobs.py": {"pathlib", "os", "resource", "threading"},
    "irerd/journal.py": {"os", "time"},
    "irerd/ledger.py": {"os"},
    "irerd/listen.py": {"pathlib", "os", "fcntl", "socket"},
    "irerd/begin.py": {"signal"},
    "irerd/main.py": {"pathlib", "os", "signal"},
    "irerd/notify.py": {"os", "socket", "time"},
    # A program of its own, which shares no file with the daemon.
    "irerd/witness/book.py": {"os", "time"},
    "irerd/witness/main.py": {"pathlib", "os", "signal", "time"},
    # Processes of their own, and what is shared with them: both ends of one line.
    # Chance from one seed, and the time that decisions take.
    "irerd/work/selftest.py": {"random", "time"},
    "irerd/work/embedding.py": {"pathlib", "os"},
    "irerd/work/search.py": {"os"},
    "irerd/work/store.py": {"pathlib", "os"},
    "irerd/work/trajectory.py": {"time"},
    # On a machine of the cluster: files of one job in a directory of its own, and a thread that ends what nobody wants.
    "irerd/work/remote.py": {"pathlib", "os", "shutil", "tempfile", "threading", "time"},
    # Files that a job reads go out, and those it wrote come in.
    "irerd/cluster.py": {"pathlib", "os"},
    "irerd/worker.py": {"pathlib", "os", "fcntl", "resource", "select", "signal", "time"},
    "irerd/workers.py": {"pathlib", "os", "signal", "subprocess"},
}
OS_NAMES = {
    "state": ("O_", "SEEK_", "strerror", "getpid"),
    "state/begun.py": ("strerror", "eventfd", "EFD_", "close"),
    "state/verify.py": ("O_", "sched_getaffinity"),
    "state/walks.py": ("O_", "fork", "pipe", "fdopen", "close", "kill", "waitpid", "_exit"),
    "state/alone.py": ("urandom", "getuid", "geteuid", "setgroups", "setgid", "setuid"),
    "state/restore.py": ("O_", "path"),
    "irerd/daemon.py": ("getpid", "getuid"),
    "irerd/graph.py": ("O_",),
    "irerd/ledger.py": ("O_",),
    "irerd/vectors.py": ("O_",),
    "irerd/indexes.py": ("O_",),
    "irerd/effects/runs.py": ("O_", "strerror"),
    "irerd/witness/book.py": ("O_",),
}
"""What of `os` may be used where the module itself must reach nothing."""

CLOCKS_AND_CHANCE = {"now", "utcnow", "today", "uuid1", "uuid4", "getrandbits", "urandom", "SystemRandom"}
FILE_CALLS = {
    "open",
    "read_text",
    "write_text",
    "read_bytes",
    "write_bytes",
    "unlink",
    "mkdir",
    "touch",
    "rename",
    "iterdir",
    "glob",
}


def modules() -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for top in OURS for path in (ROOT / top).rglob("*.py"))


def faults(path: str, source: str) -> list[str]:
    """Every breach in one module, as a person would say it."""
    tree = ast.parse(source)
    return [*_documented(tree), *_layers(path, tree), *_seams(path, tree), *_calls(path, tree)]


def _documented(tree: ast.Module) -> Iterator[str]:
    if tree.body and not ast.get_docstring(tree):
        yield "does not say what it is for"


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def _layers(path: str, tree: ast.Module) -> Iterator[str]:
    top = path.partition("/")[0]
    for name in _imports(tree):
        root = name.partition(".")[0]
        if not root:
            yield f"{name}: imports are written in full"
        elif path == "irerctl/client.py":
            if root not in sys.stdlib_module_names | {"cbor2"}:
                yield f"{name}: the client is one file on the standard library and cbor2"
        elif root in OURS:
            if root != top and root not in MAY_IMPORT[top] | MORE_OF_OURS.get(path, set()):
                yield f"{name}: {top} may not import {root}"
        elif root not in sys.stdlib_module_names and root not in LIBRARIES[top] | MORE_LIBRARIES.get(path, set()):
            yield f"{name}: {path} has no use for {root}"


def _seams(path: str, tree: ast.Module) -> Iterator[str]:
    top = path.partition("/")[0]
    if top not in SEAMS or path == "irerd/settings_page.py":
        return
    for name in _outside(tree) - SEAMS.get(path, SEAMS[top]):
        yield f"{name}: {path} is no place where it may come in"


def _outside(tree: ast.Module) -> set[str]:
    return {outside for name in _imports(tree) for outside in OUTSIDE if f"{name}.".startswith(f"{outside}.")}


def _calls(path: str, tree: ast.Module) -> Iterator[str]:
    top = path.partition("/")[0]
    allowed = OS_NAMES.get(path, OS_NAMES.get(top, ()) if path != "state/fs.py" else ())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open" and top in ("core", "state"):
            yield "open(): files are reached through state/fs.py"
        if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
            continue
        owner, name = node.value.id, node.attr
        if allowed and owner == "os" and not name.startswith(allowed):
            yield f"os.{name}: {path} may only name flags"
        if owner == "random" and top == "core" and name != "Random":
            yield f"random.{name}: chance comes in with the context"
        if owner in ("datetime", "date", "uuid") and name in CLOCKS_AND_CHANCE and path != "irerd/host.py" and top != "irerctl":
            yield f"{owner}.{name}: clock and chance come in through the host"
        if (
            top in ("core", "state")
            and path != "state/fs.py"
            and name in FILE_CALLS
            and owner in ("path", "Path", "root", "directory")
        ):
            yield f"{owner}.{name}: files are reached through state/fs.py"


@pytest.mark.parametrize("path", modules())
def test_a_module_keeps_to_its_room(path):
    assert faults(path, (ROOT / path).read_text()) == []


BREACHES = [
    ("core/x.py", "import os", "os"),
    ("core/x.py", "import trio", "trio"),
    ("core/x.py", "def f():\n    import time", "time"),
    ("core/x.py", "from state.log import Log", "core may not import state"),
    ("core/x.py", "import random", "random"),
    ("core/engine.py", "import random\nrandom.random()", "random.random"),
    ("core/x.py", "from datetime import datetime\ndatetime.now()", "datetime.now"),
    ("core/x.py", "import uuid\nuuid.uuid4()", "uuid.uuid4"),
    ("core/x.py", "open('x')", "open()"),
    ("core/x.py", "import jax", "jax"),
    ("kernels/x.py", "import core.engine", "kernels may not import core"),
    ("state/x.py", "import irerd.host", "state may not import irerd"),
    ("state/x.py", "import os\nos.unlink('x')", "os.unlink"),
    ("state/x.py", "import time", "time"),
    ("state/x.py", "open('x')", "open()"),
    ("state/x.py", "import trio", "trio"),
    ("irerd/x.py", "import kernels.etd", "irerd may not import kernels"),
    ("irerd/workers.py", "import kernels.params", "irerd may not import kernels"),
    ("irerd/work/validate.py", "import kernels.score", "irerd may not import kernels"),
    ("irerd/worker.py", "import jax", "jax"),
    ("irerd/x.py", "import irerctl.client", "irerd may not import irerctl"),
    ("irerd/x.py", "import time", "time"),
    ("irerd/x.py", "from socket import socket", "socket"),
    ("irerd/x.py", "from os import urandom", "os"),
    ("irerd/x.py", "import click", "click"),
    ("irerd/daemon.py", "import os\nos.urandom(8)", "os.urandom"),
    ("irerctl/x.py", "import state.verify", "irerctl may not import state"),
    ("irerctl/x.py", "import trio", "trio"),
    ("irerctl/client.py", "import core.wire.calls", "the client is one file"),
    ("irerctl/client.py", "import msgspec", "the client is one file"),
    ("irerctl/x.py", "from . import client", "in full"),
]


@pytest.mark.parametrize(("path", "source", "said"), BREACHES)
def test_a_breach_is_noticed(path, source, said):
    (only,) = faults(path, f'"""For a test."""\n{source}\n')
    assert said in only


@pytest.mark.parametrize("path", [path for path in SEAMS if path.endswith(".py")])
def test_no_seam_is_wider_than_its_module_needs(path):
    assert SEAMS[path] == _outside(ast.parse((ROOT / path).read_text()))


def test_a_module_without_a_purpose_is_noticed():
    assert faults("core/x.py", "X = 1\n") == ["does not say what it is for"]


def loaded_by(statement: str) -> set[str]:
    """Top-level modules in a fresh interpreter after the statement."""
    program = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    return {name.partition(".")[0] for name in json.loads(ended.stdout)}


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        # Numbers, HTTP, tokens and drawing are other processes' work; each would cost an idle daemon megabytes.
        (
            "import irerd.main",
            {
                "jax",
                "numba",
                "numpy",
                "h5py",
                "jwt",
                "httpx",
                "httpx2",
                "apsw",
                "prov",
                "rich",
                "click",
                "dask",
                "asyncio",
                "kernels",
                "irerctl",
            },
        ),
        ("import irerd.worker", {"trio", "jax", "numba", "numpy", "kernels", "msgspec", "asyncio", "core", "state"}),
        ("import irerd.workers", {"jax", "numba", "numpy", "kernels", "asyncio"}),
        ("import irerd.jobs", {"trio", "jax", "numpy", "rich", "click", "irerctl"}),
        # `irerctl --help` must be there at once.
        ("import irerctl.main", {"trio", "rich", "numpy", "cbor2", "asyncio", "irerd", "state"}),
        ("import irerctl.client", {"trio", "rich", "click", "msgspec", "core", "irerd", "state"}),
    ],
)
def test_what_starts_often_or_stays_long_loads_little(statement, absent):
    assert loaded_by(statement) & absent == set()


def test_every_folder_with_code_is_a_package_that_is_installed():
    """A folder without `__init__.py` would work here and be missing from what pip installs."""
    folders = {Path(path).parent for path in modules()}
    assert {folder for folder in folders if not (ROOT / folder / "__init__.py").exists()} == set()
