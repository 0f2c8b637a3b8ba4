"""When the loop itself makes a call to the disk: where it is expected to be short, since such calls have been short of late.

To hand a call over to a thread, wake it, and be woken by it costs about as much as a quick disk takes for the call. So the loop
makes it itself, as long as those that took long have had no more than a hundredth of its time; a little is spared for them, for any
disk is late once in a while. A slow disk so has at most that hundredth for each kind of call.
"""

SHORT_US = 1_000
SHORT_WRITE_US = 3_000
"""Of writing alone, which on any disk is over at once but where the file system makes it wait. What is met more often is that the
processor or the interpreter is had by another thread, and a thread of ours would wait for that too.
"""
REST_TIMES = 100
"""How many times as long as a long call took has to pass for it."""
SPARE_US = 4_000
"""What long calls may take together in a short time, where there were none before."""


class Haste:
    def __init__(self, short_us: int = SHORT_US) -> None:
        self._short_us = short_us
        self._paid_us = 0
        """When all long calls have been made up for, or were; more than what is spared is not saved up."""

    def worth(self, now_us: int) -> bool:
        return now_us >= self._paid_us

    def took(self, us: int, now_us: int) -> None:
        """So long the loop waited, until now."""
        if us > self._short_us:
            self._paid_us = max(self._paid_us, now_us - REST_TIMES * SPARE_US) + REST_TIMES * us
