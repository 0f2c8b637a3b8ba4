"""What redaction finds in texts with marked personal data, what it takes for such in clean telemetry, and how fast it is.

    .venv/bin/python -m benchmarks.redaction --data PRESIDIO_JSON_GZ [--lines 100000]

The marked texts are no part of this project; without them that part is skipped, and the run says so.
"""

import argparse
import gzip
import json
import os
import statistics
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.redaction_lines import clean_lines
from core.redact import Redactor
from core.redact.redactor import finds

RESULTS = Path(__file__).parent / "results" / "redaction.json"
BARS = {  # type in the data: kind here, recall, precision; of phones the F1
    "EMAIL_ADDRESS": ("email", 0.995, 0.99),
    "CREDIT_CARD": ("card", 0.995, 0.99),
    "IBAN_CODE": ("iban", 0.995, 0.99),
    "IP_ADDRESS": ("ip", 0.995, 0.99),
    "US_SSN": ("ssn", 0.995, 0.99),
    "PHONE_NUMBER": ("phone", None, None),
}
PHONE_F1_MIN = 0.75
MB_PER_S_MIN = 10.0
ROUNDS = 5
"""The fastest counts: what else the machine does slows a round down and makes none faster."""


@dataclass
class Count:
    marked: int = 0
    covered: int = 0
    found: int = 0
    right: int = 0
    missed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        recall = self.covered / self.marked if self.marked else 0.0
        precision = self.right / self.found if self.found else 0.0
        f1 = 2 * recall * precision / (recall + precision) if recall + precision else 0.0
        return {
            "marked": self.marked,
            "found": self.found,
            "recall": round(recall, 4),
            "precision": round(precision, 4),
            "f1": round(f1, 4),
        }


def measure_texts(path: Path) -> tuple[dict[str, Count], int]:
    """A marked span counts as covered when every character of it is taken out by one find of the same kind."""
    counts: dict[str, Count] = defaultdict(Count)
    secrets = 0
    with gzip.open(path, "rt", encoding="utf-8") as file:
        texts = json.load(file)
    for entry in texts:
        text = entry["full_text"]
        found = finds(text, "")
        secrets += sum(find.value is None for find in found)
        for kind_marked, (kind, _, _) in BARS.items():
            marked = [(s["start_position"], s["end_position"]) for s in entry["spans"] if s["entity_type"] == kind_marked]
            ours = [(find.start, find.end) for find in found if find.kind == kind]
            count = counts[kind_marked]
            count.marked += len(marked)
            count.found += len(ours)
            for start, end in marked:
                hit = any(first <= start and end <= last for first, last in ours)
                count.covered += hit
                if not hit:
                    count.missed.append(text[max(0, start - 30) : end + 15])
            for first, last in ours:
                hit = any(start < last and first < end for start, end in marked)
                count.right += hit
                if not hit:
                    count.wrong.append(text[max(0, first - 30) : last + 15])
    return counts, secrets


def measure_lines(count: int) -> dict[str, Any]:
    lines = list(clean_lines(20261121, count))
    redactor = Redactor(bytes(32))
    megabytes = sum(len(line.encode()) for line in lines) / 1e6
    times = []
    for _ in range(ROUNDS):
        started = time.process_time()
        false = [line for line in lines if redactor.text(line) != line]
        times.append(time.process_time() - started)
    return {
        "lines": count,
        "megabytes": round(megabytes, 2),
        "mb_per_s": round(megabytes / min(times), 2),
        "mb_per_s_median": round(megabytes / statistics.median(times), 2),
        "load": round(os.getloadavg()[0], 1),
        "false": len(false),
        "shown": false[:10],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="synth_dataset_v2.json.gz of presidio-research, or the folder it lies in")
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--details", action="store_true", help="show what was missed and what was wrong")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    data = options.data / "synth_dataset_v2.json.gz" if options.data and options.data.is_dir() else options.data
    result: dict[str, Any] = {}
    held = True
    if data is None or not data.exists():
        print("SKIPPED: recall and precision, no data. Give --data PATH of synth_dataset_v2.json.gz", file=sys.stderr)
    else:
        counts, secrets = measure_texts(data)
        print("type            marked  found  recall  precision     f1")
        for kind, count in counts.items():
            figures = count.figures()
            result[BARS[kind][0]] = figures
            recall_min, precision_min = BARS[kind][1:]
            ok = (
                figures["f1"] >= PHONE_F1_MIN
                if recall_min is None
                else figures["recall"] >= recall_min and figures["precision"] >= precision_min
            )
            held = held and ok
            print(
                f"{kind:<15} {count.marked:>6} {count.found:>6} {figures['recall']:>7.4f} "
                f"{figures['precision']:>10.4f} {figures['f1']:>6.4f}"
                f"  {'held' if ok else 'MISSED'}"
            )
            if options.details:
                for name, texts in (("missed", count.missed), ("wrong", count.wrong)):
                    for text in texts[:40]:
                        print(f"    {name}: {text!r}")
        result["secrets_in_marked_texts"] = secrets
        print(f"secrets found in these texts, which hold none: {secrets}")
    lines = measure_lines(options.lines)
    for line in lines.pop("shown"):
        print(f"  false: {line}")
    result["telemetry"] = lines
    print(
        f"clean telemetry: {lines['false']} of {lines['lines']} lines changed; {lines['mb_per_s']} MB/s on one core, "
        f"median of {ROUNDS} rounds {lines['mb_per_s_median']}, load {lines['load']}"
    )
    held = held and lines["false"] == 0 and lines["mb_per_s"] >= MB_PER_S_MIN
    if options.write:
        RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
