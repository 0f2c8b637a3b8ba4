"""Platforms: what can be done on each, the scopes each action needs, and whether it is to be used at all right now."""

from core.control.model import PLATFORMS_MAX, ActionScopes, Control, Platform, PlatformStatus, Word
from core.control.registry import page, unknown
from core.engine import NOTHING, Command, Context, Decision, Event, Refused, Result, Stamp
from core.fields import Cursor, Limit, Name
from core.paging import Room


class Define(Command):
    """A platform and all its actions; those of an earlier definition are replaced.

    platform: its name
    actions: the scopes each action needs
    """

    platform: Word
    actions: ActionScopes


class SetStatus(Command):
    """Whether a platform is to be used.

    platform: which
    status: available; maintenance or disabled denies every action on it
    """

    platform: Name
    status: PlatformStatus


class ListPlatforms(Command):
    """Which platforms, by name.

    limit: how many at most, 1,000 unless told
    after: `next` of the page before
    """

    limit: Limit | None = None
    after: Cursor | None = None


class PlatformDefined(Event, type="platform.defined"):
    """A platform is known, with these actions and no others.

    platform: its name
    actions: the scopes each action needs
    """

    platform: Word
    actions: ActionScopes


class PlatformStatusSet(Event, type="platform.status_set"):
    """A platform is to be used, or not.

    platform: which
    status: available, maintenance or disabled
    """

    platform: Word
    status: PlatformStatus


class PlatformRow(Result):
    """One platform.

    platform: its name
    status: available, maintenance or disabled
    actions: the scopes each action needs
    """

    platform: Name
    status: PlatformStatus
    actions: dict[str, list[str]]


class PlatformPage(Result):
    """Platforms by name.

    platforms: the page
    next: give it as `after` for the page that follows; absent on the last
    """

    platforms: list[PlatformRow]
    next: Cursor | None = None


def decide_define(control: Control, command: Define, ctx: Context) -> Decision:
    actions = {action: sorted(set(scopes)) for action, scopes in sorted(command.actions.items())}
    known = control.platforms.get(command.platform)
    if known is not None and _written(known) == actions:
        return NOTHING
    if known is None and len(control.platforms) >= PLATFORMS_MAX:
        raise Refused("resource-exhausted", f"{PLATFORMS_MAX:,} platforms are defined, which is the most", reason="platforms")
    return Decision(PlatformDefined(command.platform, actions))


def decide_status(control: Control, command: SetStatus, ctx: Context) -> Decision:
    known = control.platforms.get(command.platform)
    if known is None:
        raise unknown("platform", command.platform, control.platforms, "All: irerctl call platforms.list")
    return Decision(PlatformStatusSet(command.platform, command.status)) if known.status != command.status else NOTHING


def apply_defined(control: Control, event: PlatformDefined, stamp: Stamp) -> None:
    known = control.platforms.setdefault(event.platform, Platform({}))
    known.actions = {action: tuple(scopes) for action, scopes in event.actions.items()}
    control.changed_seq = stamp.seq


def apply_status(control: Control, event: PlatformStatusSet, stamp: Stamp) -> None:
    control.platforms[event.platform].status = event.status
    control.changed_seq = stamp.seq


def _written(platform: Platform) -> dict[str, list[str]]:
    return {action: list(scopes) for action, scopes in platform.actions.items()}


def listed(control: Control, params: ListPlatforms, ctx: Context) -> PlatformPage:
    names, following = page(control.platforms, params.after, params.limit)
    found: list[PlatformRow] = []
    room = Room()
    for name in names:
        platform = control.platforms[name]
        row = PlatformRow(name, platform.status, _written(platform))
        if not room.take(row):
            return PlatformPage(found, found[-1].platform)
        found.append(row)
    return PlatformPage(found, following)
