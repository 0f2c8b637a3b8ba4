"""The client behind a command: an answer from a log that does not verify looks like any other, so the command is told of it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from irerctl.client import AUTO, Auto, Client, Error, Reply


class HeedingClient(Client):
    on_broken: Callable[[], None]

    def call(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        idem: str | Auto | None = AUTO,
        deadline_ms: int | None = None,
        dry: bool = False,
        as_: str | None = None,
    ) -> Reply:
        reply = super().call(method, params, idem=idem, deadline_ms=deadline_ms, dry=dry, as_=as_)
        self._heed(reply)
        return reply

    def pipeline(
        self, calls: Iterable[tuple[str, Mapping[str, Any] | None]], *, deadline_ms: int | None = None
    ) -> list[Reply | Error]:
        outcomes = super().pipeline(calls, deadline_ms=deadline_ms)
        for outcome in outcomes:
            self._heed(outcome)
        return outcomes

    def _heed(self, outcome: Reply | Error) -> None:
        if isinstance(outcome, Reply) and isinstance(outcome.result, dict) and outcome.result.get("integrity") == "failed":
            self.on_broken()
