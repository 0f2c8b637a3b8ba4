"""What a bridge has done so far, as one line for people, one object for programs, and metrics for Prometheus."""

import os
from pathlib import Path

import msgspec

HELP = {
    "read": "Messages that the broker handed over",
    "settled": "Messages that the broker was told to forget",
    "samples": "Calls that brought samples in",
    "points": "Points that irerd took up",
    "points_refused": "Points of samples that were otherwise taken up",
    "repeated": "Calls that irerd had answered before: nothing was done again",
    "dead": "Messages that nothing can be done with",
    "requests": "Requests for an action that were answered",
    "published": "Events that the broker has, and that are not sent again",
    "not_taken": "Messages that the broker refuses to take",
    "retries": "Calls that had to be made again",
    "gaps": "Times that the log did not reach back to the cursor",
}


class Counts(msgspec.Struct):
    """Since the bridge began."""

    read: int = 0
    settled: int = 0
    samples: int = 0
    points: int = 0
    points_refused: int = 0
    repeated: int = 0
    dead: int = 0
    requests: int = 0
    published: int = 0
    not_taken: int = 0
    retries: int = 0
    gaps: int = 0
    broker: str = "connecting"
    daemon: str = "not asked yet"

    @property
    def in_flight(self) -> int:
        return self.read - self.settled

    def as_object(self) -> dict[str, int | str]:
        found = msgspec.to_builtins(self)
        assert isinstance(found, dict)
        return {**found, "in_flight": self.in_flight}

    def as_line(self) -> str:
        return (
            f"read {self.read:,} · in flight {self.in_flight:,} · points {self.points:,} · repeated {self.repeated:,} · "
            f"dead {self.dead:,} · published {self.published:,} · broker {self.broker} · irerd {self.daemon}"
        )

    def as_metrics(self, name: str) -> str:
        lines = []
        for each, help in HELP.items():
            lines += [f"# HELP irer_bus_{each}_total {help}", f"# TYPE irer_bus_{each}_total counter"]
            lines.append(f'irer_bus_{each}_total{{bridge="{name}"}} {getattr(self, each)}')
        for each, value in (("in_flight", self.in_flight), ("up", int(self.broker == "up" and self.daemon == "up"))):
            lines += [f"# TYPE irer_bus_{each} gauge", f'irer_bus_{each}{{bridge="{name}"}} {value}']
        return "\n".join(lines) + "\n"


def write_whole(path: Path, text: str, *, durable: bool) -> None:
    """The file holds the old text or the new one, whatever happens."""
    beside = path.with_name(f".{path.name}.new")
    with beside.open("w") as opened:
        opened.write(text)
        opened.flush()
        if durable:
            os.fsync(opened.fileno())
    beside.rename(path)
    if durable:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
