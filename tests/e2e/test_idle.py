"""What an idle daemon costs, and what is not in its process."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.e2e.harness import Irerd

RESIDENT_BYTES_MAX = 64 << 20
ABSENT = (
    "jax",
    "jaxlib",
    "numba",
    "numpy",
    "jwt",
    "cryptography",
    "httpx",
    "httpx2",
    "click",
    "rich",
    "prometheus_client",
    "asyncio",
    "jsonschema",
)
"""Heavy, or another program's: none of them before it is used, some of them never."""


def test_an_idle_daemon_stays_within_64_mib_of_memory(irerd: Irerd) -> None:
    irerd.start()
    with irerd.client() as client:
        client.call("system.ping")
        health = client.call("system.health").result
    assert health["resident_bytes"] <= RESIDENT_BYTES_MAX
    assert irerd.process is not None
    pages = int(Path(f"/proc/{irerd.process.pid}/statm").read_text().split()[1])
    assert abs(pages * 4096 - health["resident_bytes"]) < 4 << 20, "what it says of itself is what the kernel says"
    print(f"resident: {health['resident_bytes'] / (1 << 20):.1f} MiB")


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    """Everything the daemon imports with every engine loaded, listed by a fresh interpreter."""
    code = "import sys, irerd.main, core.engines; print('\\n'.join(sorted({name.split('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "trio" in loaded and "core" in loaded
    assert not loaded & set(ABSENT)


def test_help_is_told_without_loading_what_commands_need() -> None:
    code = (
        "import sys; sys.argv = ['irerctl', '--help']\n"
        "import irerctl.main\n"
        "try: irerctl.main.main()\n"
        "except SystemExit: pass\n"
        "print('MODULES', *sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.rpartition("MODULES")[2].split())
    assert not loaded & {"trio", "rich", "numpy", "msgspec", "cbor2", "core", "irerd", "state"}
    times = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "irerctl.main", "--help"], capture_output=True, check=True)
        times.append(time.perf_counter() - began)
    print(f"irerctl --help: {statistics.median(times) * 1000:.0f} ms (the bar is 150; make bench measures it on a quiet machine)")
