"""Engine control in one object, for those who ask how things stand. Looks only."""

from core.control.model import Control
from core.engine import Context, Nothing, Result
from core.fields import INT_MAX, Count


class ControlStatus(Result, omit_defaults=False):
    """Engine control in one object.

    engines: those that may act
    suspended: those that may not for now
    revoked: those that never may again
    platforms: platforms that are to be used
    not_available: platforms under maintenance or disabled
    flags_off: features that are off
    keys_set: configuration keys that were set over the socket
    allowed: actions that were allowed
    denied: actions that were denied
    errors: actions that could not be judged, which denies them
    proofs_refused: times that somebody failed to prove an engine's key
    """

    engines: Count
    suspended: Count
    revoked: Count
    platforms: Count
    not_available: Count
    flags_off: Count
    keys_set: Count
    allowed: Count
    denied: Count
    errors: Count
    proofs_refused: Count


def status(control: Control, params: Nothing, ctx: Context) -> ControlStatus:
    standings = [engine.standing for engine in control.engines.values()]
    available = sum(platform.status == "available" for platform in control.platforms.values())
    return ControlStatus(
        engines=standings.count("active"),
        suspended=standings.count("suspended"),
        revoked=standings.count("revoked"),
        platforms=available,
        not_available=len(control.platforms) - available,
        flags_off=sum(not flag.enabled for flag in control.flags.values()),
        keys_set=len(control.overrides()),
        allowed=min(control.allowed, INT_MAX),
        denied=min(control.denied, INT_MAX),
        errors=min(control.errors, INT_MAX),
        proofs_refused=min(control.proofs_refused, INT_MAX),
    )
