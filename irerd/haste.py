"""When the loop itself makes a call to the disk: where it is expected to be short, since such calls have been short of late.

To hand a call over to a thread, wake it, and be woken by it costs about as much as a quick disk takes for the call. So the loop
makes it itself, until one takes long: then it makes none for a hundred times as long. So a slow disk has at most a hundredth of
the loop's time for each kind of call.
"""

SHORT_US = 500
SHORT_WRITE_US = 3_000
"""Of writing alone, which on any disk is over at once but where the file system makes it wait. What is met more often is that the
processor or the interpreter is had by another thread, and a thread of ours would wait for that too.
"""
REST_TIMES = 100
"""How many times as long as a long call took the loop makes none."""


class Haste:
    def __init__(self, short_us: int = SHORT_US) -> None:
        self._short_us = short_us
        self._not_before_us = 0

    def worth(self, now_us: int) -> bool:
        return now_us >= self._not_before_us

    def took(self, us: int, now_us: int) -> None:
        """So long the loop waited, until now."""
        if us > self._short_us:
            self._not_before_us = now_us + REST_TIMES * us
