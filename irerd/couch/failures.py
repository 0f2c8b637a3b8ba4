"""How a step of a replication fails, in words that may be logged."""


class Failed(Exception):
    """The sync cannot go on; a `transient` failure is tried again first. The text says what happened and never what was sent."""

    def __init__(self, code: str, detail: str, *, transient: bool = False, retry_s: float | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.transient = transient
        self.retry_s = retry_s


class TooLarge(Exception):
    """An answer is larger than any is allowed to be. Asking for less at once may help."""
