"""How much memory a cache of very many keys takes: `python -m benchmarks.cache_memory [KEYS]`.

Everything the daemon holds of a key is counted but the log itself: the documents, the orders over them, and the hot values up to
their default bound. It runs in one process and writes nothing.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from core.cache import ENGINE
from core.cache.events import ValueSet, apply_set
from core.cache.form import body_of
from core.cache.model import Cache
from core.engine import Stamp
from core.revisions import next_rev
from core.settings import Settings
from core.world import World
from irerd.values import ENTRY_BYTES

KEYS = 1_000_000
VALUE = {"name": "a value of an ordinary size", "tags": ["one", "two"], "n": 12_345}


def resident(peak: bool = False) -> int:
    """Bytes of this process, now or at most."""
    name = "VmHWM:" if peak else "VmRSS:"
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) * 1_024


def edits(keys: int) -> Iterator[tuple[int, ValueSet]]:
    body = body_of(VALUE)
    for number in range(keys):
        # Not in the order of names: that is the hard case for the order of names.
        key = f"user:{number * 2_654_435_761 % 2**32:010d}:{number:07d}"
        rev = next_rev("", deleted=False, body=body.sha256)
        yield number + 1, ValueSet(key, rev, body.size, "", body.value)


def main() -> None:
    keys = int(sys.argv[1]) if len(sys.argv) > 1 else KEYS
    world = World([ENGINE])
    cache = world.states["cache"]
    assert isinstance(cache, Cache)
    before = resident()
    began = time.perf_counter()
    for seq, event in edits(keys):
        apply_set(cache, event, Stamp("cache_log", seq, 1, 1, "00000001", "uid:1"))
    took_s = time.perf_counter() - began
    after = resident()
    hot: dict[tuple[str, str], tuple[int, bytes]] = {}
    memory, size, raw = Settings().cache.memory_bytes, 0, json.dumps(VALUE).encode()
    for key in cache.docs:
        if size > memory:
            break
        hot["cache", key] = (1, bytes(bytearray(raw)))
        size += len(raw) + len(key) + ENTRY_BYTES
    with_hot = resident()
    began = time.perf_counter()
    body = world.dump("cache_log")
    dump_s = time.perf_counter() - began
    dumped, peak = len(body), resident(peak=True)
    began = time.perf_counter()
    world.load("cache_log", body)
    load_s = time.perf_counter() - began
    figures = {
        "keys": keys,
        "bytes_a_key": round((after - before) / keys, 1),
        "resident_mb_before": round(before / 1e6, 1),
        "resident_mb_with_keys": round(after / 1e6, 1),
        "resident_mb_with_hot_values": round(with_hot / 1e6, 1),
        "hot_values": len(hot),
        "apply_us": round(took_s / keys * 1e6, 2),
        "snapshot_mb": round(dumped / 1e6, 1),
        "snapshot_s": round(dump_s, 2),
        "load_s": round(load_s, 2),
        "peak_mb_with_snapshot": round(peak / 1e6, 1),
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
