"""irerd under a sampler that shows where its time goes: `python -m benchmarks.profiled OUT.json IRERD-OPTIONS...`.

Every 2 ms of wall time, between SIGUSR1 and SIGUSR2, it notes the innermost frame of ours or of trio on the main thread: what
msgspec, cbor2 or a system call costs counts for who called it. Waiting for work or for the disk shows as waiting. It changes
nothing of irerd and costs about two per cent.
"""

import json
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

INTERVAL_S = 0.002
ROOT = Path(__file__).resolve().parent.parent
OURS = tuple(f"{ROOT}/{folder}/" for folder in ("core", "state", "irerd"))
TOP = 25
WAITING = ("_io_epoll.py", "get_events")


class Sampler:
    def __init__(self, out: Path) -> None:
        self._out = out
        self._self: Counter[tuple[str, str]] = Counter()
        self._lines: Counter[tuple[str, str, int]] = Counter()
        self._inclusive: Counter[tuple[str, str]] = Counter()

    def begin(self, *_: Any) -> None:
        signal.setitimer(signal.ITIMER_REAL, INTERVAL_S, INTERVAL_S)

    def sample(self, _: int, frame: FrameType | None) -> None:
        seen: set[tuple[str, str]] = set()
        found = False
        while frame is not None:
            place = _place(frame)
            if place is not None:
                if not found:
                    found = True
                    self._self[place] += 1
                    self._lines[(*place, frame.f_lineno)] += 1
                seen.add(place)
            frame = frame.f_back
        self._inclusive.update(seen)

    def end(self, *_: Any) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        total = sum(self._self.values()) or 1

        def shares(counted: "Counter[Any]") -> list[dict[str, Any]]:
            return [
                {"where": ":".join(map(str, place)), "share": round(count / total, 4)} for place, count in counted.most_common(TOP)
            ]

        files: Counter[tuple[str]] = Counter()
        for (file, function), count in self._self.items():
            files[(_group(file, function),)] += count
        found = {
            "samples": total,
            "interval_s": INTERVAL_S,
            "by_file": shares(files),
            "by_function": shares(self._self),
            "by_line": shares(self._lines),
            "inclusive": shares(self._inclusive),
        }
        self._out.write_text(json.dumps(found))


def _place(frame: FrameType) -> tuple[str, str] | None:
    code = frame.f_code
    name = code.co_filename
    if name.startswith(OURS):
        return name[len(str(ROOT)) + 1 :], code.co_qualname
    if "/trio/" in name:
        return "trio/" + name.rpartition("/trio/")[2], code.co_qualname
    return None


def _group(file: str, function: str) -> str:
    if file.startswith("trio/"):
        return "waiting" if file.endswith(WAITING[0]) and function.endswith(WAITING[1]) else "trio"
    return file


def main() -> None:
    sampler = Sampler(Path(sys.argv[1]))
    signal.signal(signal.SIGALRM, sampler.sample)
    signal.signal(signal.SIGUSR1, sampler.begin)
    signal.signal(signal.SIGUSR2, sampler.end)
    sys.argv[:2] = ["irerd"]
    from irerd.main import main as irerd

    irerd()


if __name__ == "__main__":
    main()
