"""The hub's own figures, as Prometheus reads them: they follow irerd's at /metrics, so one scrape has both.

Labels are words from a fixed list, so the number of lines is bounded. Counts answers only: never who asked, or what for.
"""

from collections import Counter
from pathlib import Path

_PAGES = Path("/proc/self/statm")
_PAGE_BYTES = 4_096


class Figures:
    def __init__(self) -> None:
        self._answers: Counter[str] = Counter()

    def answered(self, status: int) -> None:
        self._answers[f"{status // 100}xx" if status not in (429, 503) else str(status)] += 1

    def text(self, connections: int, streams: int) -> str:
        answers = [f'irer_hub_answers_total{{status="{status}"}} {count}' for status, count in sorted(self._answers.items())]
        return "\n".join(
            (
                "# HELP irer_hub_answers_total Answers of this hub, by status; 429 and 503 apart.",
                "# TYPE irer_hub_answers_total counter",
                *answers,
                "# HELP irer_hub_connections Open connections to this hub.",
                "# TYPE irer_hub_connections gauge",
                f"irer_hub_connections {connections}",
                "# HELP irer_hub_streams Event streams open through this hub.",
                "# TYPE irer_hub_streams gauge",
                f"irer_hub_streams {streams}",
                "# HELP irer_hub_resident_bytes Memory of the hub process.",
                "# TYPE irer_hub_resident_bytes gauge",
                f"irer_hub_resident_bytes {int(_PAGES.read_text().split()[1]) * _PAGE_BYTES}",
                "",
            )
        )
