"""Redaction of a text that arrives in pieces: what is cut by the end of a piece is still found.

It holds back the newest characters until more have come. What is longer than `HELD_CHARS` may be missed where it is cut.
"""

from core.redact.redactor import Redactor, finds

HELD_CHARS = 8_192
"""Longer than the private keys and tokens that are looked for."""
HELD_CHARS_MAX = 16 * HELD_CHARS
"""A find that never ends is shown as one after this many."""


class Stream:
    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._held = ""

    def feed(self, piece: str) -> str:
        """What may be shown by now."""
        self._held += piece
        if len(self._held) < 2 * HELD_CHARS:
            return ""
        return self._shown(self._cut(len(self._held) - HELD_CHARS))

    def close(self) -> str:
        """The rest."""
        return self._shown(len(self._held))

    def _shown(self, cut: int) -> str:
        ready, self._held = self._held[:cut], self._held[cut:]
        return self._redactor.text(ready) if ready else ""

    def _cut(self, latest: int) -> int:
        """The end of a line, or of a word, not after `latest` and not within anything found."""
        lowest = latest - HELD_CHARS // 2
        cut = max(self._held.rfind("\n", lowest, latest), lowest - 1) + 1
        if cut == lowest:
            cut = max(self._held.rfind(" ", lowest, latest) + 1, lowest) if " " in self._held[lowest:latest] else latest
        try:
            for find in finds(self._held, ""):
                if find.start < cut < find.end:
                    return find.start if len(self._held) < HELD_CHARS_MAX else find.end
        except Exception:  # redacting the piece will meet it again, and tell
            return len(self._held)
        return cut
