"""What every client process measures: requests, time, latencies, and whose processor the time went to.

Standard library only: the peers' environment reads it too.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and all its threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


class Measured:
    """One stretch of measuring: begins when made, ends with `end`."""

    def __init__(self, server: int) -> None:
        self.requests = 0
        self.latencies_ns: list[int] = []
        self.seconds = self.client_cpu_s = self.server_cpu_s = 0.0
        self._server = server
        self._server_began = cpu_seconds(server) if server else 0.0
        self._client_began = time.process_time()
        self._began = time.perf_counter()

    def end(self, requests: int, latencies_ns: list[int]) -> "Measured":
        self.seconds = time.perf_counter() - self._began
        self.client_cpu_s = time.process_time() - self._client_began
        self.server_cpu_s = cpu_seconds(self._server) - self._server_began if self._server else 0.0
        self.requests = requests
        self.latencies_ns = latencies_ns
        return self


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all are not above."""
    ordered = sorted(values)
    return float(ordered[min(len(ordered) - 1, int(share * len(ordered)))])


def summary(measured: Measured) -> dict[str, float]:
    """As it stands in the results: rates a second, latencies in µs, processor shares of one core."""
    found = {
        "requests": measured.requests,
        "seconds": round(measured.seconds, 4),
        "rate": round(measured.requests / measured.seconds, 1),
        "client_cpu": round(measured.client_cpu_s / measured.seconds, 3),
        "server_cpu": round(measured.server_cpu_s / measured.seconds, 3),
    }
    if measured.latencies_ns:
        found["p50_us"] = round(percentile(measured.latencies_ns, 0.5) / 1000, 1)
        found["p99_us"] = round(percentile(measured.latencies_ns, 0.99) / 1000, 1)
    return found
