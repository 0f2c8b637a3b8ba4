"""diskcache in its own process, each write synced before the next: what `benchmarks.offline` measures beside the cache.

Runs in the peers' environment, and prints one JSON object. Keys and values are the same on both sides.
"""

import json
import sys
import time

import diskcache


def main() -> None:
    directory, count, keys = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    value = json.loads(sys.argv[4])
    cache = diskcache.Cache(directory, sqlite_synchronous=2)  # 2 is FULL
    began = time.perf_counter()
    for number in range(count):
        cache.set(f"key-{number % keys:06d}", value)
    sets_s = time.perf_counter() - began
    gets = 5 * count
    for number in range(keys):
        cache.get(f"key-{number:06d}")
    began, began_cpu = time.perf_counter(), time.process_time()
    for number in range(gets):
        if cache.get(f"key-{number % keys:06d}") is None:
            raise SystemExit("a value is missing")
    gets_s, gets_cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
    rates = {"sets": count / sets_s, "gets": gets / gets_s, "gets_cpu": gets / gets_cpu_s}
    print(json.dumps(rates | {"version": diskcache.__version__}))


if __name__ == "__main__":
    main()
