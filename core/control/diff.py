"""`actions.diff`: what a proposed change would allow or deny, held against what engines really asked. Looks only.

Each recorded judgement is judged again twice, by the rules in force and by the proposed ones: what comes out otherwise by the first
alone has changed already, and is told apart. A question that was refused for who asked it is left out: no proposal changes that.
"""

from collections import Counter
from dataclasses import replace
from typing import Annotated

from msgspec import Meta

from core.control.checks import ActionChecked, Outcome
from core.control.model import (
    ActionScopes,
    Capabilities,
    Control,
    EngineId,
    Flag,
    FlagName,
    Platform,
    PlatformStatus,
    Word,
    permissions,
)
from core.control.policy import Ruling, judge
from core.control.registry import named, unknown
from core.engine import IRER, Command, Refused, Result
from core.fields import Code, Count, Label, Name, Time
from core.times import time_text

JUDGEMENTS_MAX = 100_000
JUDGEMENTS_DEFAULT = 10_000
PROPOSED_MAX = 256
"""Engines, and platforms, that one proposal may be about."""
CHANGES_SHOWN_MAX = 100

Judgements = Annotated[int, Meta(ge=1, le=JUDGEMENTS_MAX)]


class ProposedPermissions(Command):
    """What an engine would be let do. Each map that is given replaces the one before whole, as `engines.set_permissions` does.

    allow: actions it might carry out, by platform
    deny: actions it might not, whatever allows them
    """

    allow: Capabilities | None = None
    deny: Capabilities | None = None


class ProposedPlatform(Command):
    """What a platform would be.

    actions: the scopes each action would need; replaces all there are
    status: whether it would be used
    """

    actions: ActionScopes | None = None
    status: PlatformStatus | None = None


class Diff(Command):
    """A proposed change, and the judgements on record to hold against it.

    permissions: of each engine, what it would be let do
    platforms: of each platform, what it would be
    flags: of each flag, whether it would be on
    since: only judgements made then or later
    limit: how many judgements at most, the newest first; 10,000 unless told
    """

    permissions: Annotated[dict[EngineId, ProposedPermissions], Meta(max_length=PROPOSED_MAX)] | None = None
    platforms: Annotated[dict[Word, ProposedPlatform], Meta(max_length=PROPOSED_MAX)] | None = None
    flags: Annotated[dict[FlagName, bool], Meta(max_length=PROPOSED_MAX)] | None = None
    since: Time | None = None
    limit: Judgements | None = None


class Change(Result, omit_defaults=False):
    """Judgements of one kind that would come out otherwise.

    engine_id: the engine
    platform: where it wanted to act
    action_type: what it wanted to do
    was: how they came out
    allowed: how they would
    reason: why they would
    rule: the rule that would decide
    already: whether the rules in force decide so too, without the proposal
    count: how many of them were looked at
    last_at: when the latest of them was made
    request_id: of the latest of them
    """

    engine_id: Name
    platform: Name
    action_type: Name
    was: Outcome
    allowed: bool
    reason: Code
    rule: Label
    already: bool
    count: Count
    last_at: Time
    request_id: Name


class Changes(Result, omit_defaults=False):
    """What a proposal would change, as far as the judgements that were looked at tell.

    looked_at: how many judgements
    complete: whether those are all there are on record since the time asked for
    would_allow: how many were not allowed, and would be by the proposal alone
    would_deny: how many were allowed, and would not be by the proposal alone
    already: how many come out otherwise than then by the rules in force too
    left_out: how many were refused for who asked, which no proposal changes
    changes: which, the most frequent first; at most 100 kinds
    changes_left_out: kinds beyond those
    oldest_at: when the oldest of those looked at was made; absent when there was none
    newest_at: when the newest was
    """

    looked_at: Count
    complete: bool
    would_allow: Count
    would_deny: Count
    already: Count
    left_out: Count
    changes: list[Change]
    changes_left_out: Count
    oldest_at: Time | None = None
    newest_at: Time | None = None


def proposed(control: Control, asked: Diff) -> Control:
    """What would be known if the change were made. Shares with what is known all that it leaves as it is. Raises Refused."""
    if not (asked.permissions or asked.platforms or asked.flags):
        text = "nothing is proposed. Give permissions, platforms or flags. See: irerctl api show actions.diff"
        raise Refused("invalid-argument", text, fields=[("permissions", "one of permissions, platforms, flags is needed")])
    engines, platforms, flags = dict(control.engines), dict(control.platforms), dict(control.flags)
    for engine_id, wanted in (asked.permissions or {}).items():
        engine = named(control, engine_id)
        allow = engine.allow if wanted.allow is None else permissions(wanted.allow)
        deny = engine.deny if wanted.deny is None else permissions(wanted.deny)
        engines[engine_id] = replace(engine, allow=allow, deny=deny)
    for name, would_be in (asked.platforms or {}).items():
        platforms[name] = _platform(control, name, would_be)
    for flag, enabled in (asked.flags or {}).items():
        flags[flag] = Flag(enabled, 0)
    return replace(control, engines=engines, platforms=platforms, flags=flags)


def _platform(control: Control, name: str, wanted: ProposedPlatform) -> Platform:
    known = control.platforms.get(name)
    if known is None and wanted.actions is None:
        raise unknown("platform", name, control.platforms, "Give its actions too, or see all: irerctl call platforms.list")
    before = known or Platform({})
    actions = before.actions if wanted.actions is None else {each: tuple(scopes) for each, scopes in wanted.actions.items()}
    return Platform(actions, wanted.status or before.status)


def held(control: Control, asked: Diff, tally: "Tally") -> Control:
    """All that judging these needs, in a copy that stays as it is while what is known goes on."""
    named = {kind[0] for kind in tally.kinds} | set(asked.permissions or ())
    engines = {name: replace(control.engines[name]) for name in named if name in control.engines}
    platforms = {name: replace(platform) for name, platform in control.platforms.items()}
    return replace(control, engines=engines, platforms=platforms, flags=dict(control.flags))


Kind = tuple[str, str, str, Outcome]


class Tally:
    """Judgements on record by what was asked and how it came out, the newest first. Bounded by how many are looked at."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.kinds: Counter[Kind] = Counter()
        self._latest: dict[Kind, tuple[int, str]] = {}
        self.left_out = 0
        self.looked_at = 0
        self._times: list[int] = []
        """Of the newest and the oldest."""

    @property
    def is_full(self) -> bool:
        return self.looked_at >= self._limit

    def add(self, event: ActionChecked, time_us: int) -> None:
        self.looked_at += 1
        self._times = [*self._times[:1], time_us]
        if event.reason == "identity":
            self.left_out += 1
            return
        kind = event.engine_id, event.platform, event.action_type, event.status
        self.kinds[kind] += 1
        self._latest.setdefault(kind, (time_us, event.request_id))

    def changes(self, control: Control, would_be: Control, complete: bool) -> Changes:
        """Sorted so that the same log and the same rules give the same answer."""
        rows = [row for kind, count in self.kinds.items() if (row := self._change(control, would_be, kind, count)) is not None]
        rows.sort(key=lambda row: (row.already, -row.count, row.engine_id, row.platform, row.action_type, row.was))
        new = [row for row in rows if not row.already]
        return Changes(
            looked_at=self.looked_at,
            complete=complete,
            would_allow=sum(row.count for row in new if row.allowed),
            would_deny=sum(row.count for row in new if not row.allowed),
            already=sum(row.count for row in rows if row.already),
            left_out=self.left_out,
            changes=rows[:CHANGES_SHOWN_MAX],
            changes_left_out=max(0, len(rows) - CHANGES_SHOWN_MAX),
            oldest_at=time_text(self._times[-1]) if self._times else None,
            newest_at=time_text(self._times[0]) if self._times else None,
        )

    def _change(self, control: Control, would_be: Control, kind: Kind, count: int) -> Change | None:
        now, then = _ruling(control, kind), _ruling(would_be, kind)
        if then.allowed == (kind[3] == "allowed"):
            return None
        time_us, request_id = self._latest[kind]
        already = now.allowed == then.allowed
        verdict = then.allowed, then.reason, then.rule
        return Change(*kind, *verdict, already, count, time_text(time_us), request_id)


def _ruling(control: Control, kind: Kind) -> Ruling:
    """As the engine itself, or whoever may ask about it, would be told."""
    return judge(control, IRER, kind[0], kind[1], kind[2])
