"""The gates as they stand in a snapshot. Tokens are facts about tokens; a token itself or a key is in no file."""

from collections import Counter, deque

import msgspec

from core.agenda import Agenda
from core.fields import Frozen
from core.gate.events import DOMAINS, KINDS, Cause, Domain, Kind
from core.gate.state import ANOMALIES_KEPT, Anomaly, Gates, Key, Minutes, Policy, Slowed, Token


class Dump(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    pass


class MinutesDump(Dump):
    minute: int
    now: list[tuple[str, int]]
    before: list[tuple[str, int]]


class GatesDump(Dump):
    callers: list[tuple[str, int]]
    """Refusals of each caller, the first one refused first: among equals that is how they are listed."""
    boot: str
    tokens: list[Token]
    ends: list[tuple[int, int, str]]
    ends_count: int
    issued: int
    keys: dict[Kind, Key]
    policies: dict[Domain, Policy]
    allowed: dict[Domain, int]
    causes: dict[Domain, dict[Cause, int]]
    checks: MinutesDump
    breaches: MinutesDump
    anomalies: list[Anomaly]
    raised: list[tuple[str, int]]
    slowed: list[tuple[str, Slowed]]


def dump(gates: Gates) -> GatesDump:
    return GatesDump(
        callers=list(gates.by_caller.items()),
        boot=gates.boot,
        tokens=list(gates.tokens.values()),
        ends=gates.ends.in_order_put(),
        ends_count=gates.ends.count,
        issued=gates.issued,
        keys=dict(gates.keys),
        policies=dict(gates.policies),
        allowed={domain: gates.allowed[domain] for domain in DOMAINS},
        causes={domain: dict(gates.causes[domain]) for domain in DOMAINS},
        checks=_dump_minutes(gates.checks),
        breaches=_dump_minutes(gates.breaches),
        anomalies=list(gates.anomalies),
        raised=list(gates.raised.items()),
        slowed=list(gates.slowed.items()),
    )


def load(dumped: GatesDump) -> Gates:
    """Raises ValueError where the parts do not fit each other."""
    whole = {*KINDS} == dumped.keys.keys() and {*DOMAINS} == dumped.policies.keys() == dumped.causes.keys()
    if not whole or {token.jti for token in dumped.tokens} != {entry[2] for entry in dumped.ends}:
        raise ValueError("parts of other gates")
    by_caller = Counter(dict(dumped.callers))
    return Gates(
        refused=by_caller.total(),
        by_caller=by_caller,
        boot=dumped.boot,
        tokens={token.jti: token for token in dumped.tokens},
        ends=Agenda.of(dumped.ends, dumped.ends_count),
        held=Counter(token.by for token in dumped.tokens),
        issued=dumped.issued,
        keys=dumped.keys,
        policies=dumped.policies,
        allowed=Counter({domain: count for domain, count in dumped.allowed.items() if count}),
        causes={domain: Counter(dict(dumped.causes[domain])) for domain in DOMAINS},
        checks=_load_minutes(dumped.checks),
        breaches=_load_minutes(dumped.breaches),
        anomalies=deque(dumped.anomalies, maxlen=ANOMALIES_KEPT),
        raised=dict(dumped.raised),
        slowed=dict(dumped.slowed),
    )


def _dump_minutes(minutes: Minutes) -> MinutesDump:
    return MinutesDump(minutes.minute, list(minutes.now.items()), list(minutes.before.items()))


def _load_minutes(dumped: MinutesDump) -> Minutes:
    minutes = Minutes()
    minutes.minute, minutes.now, minutes.before = dumped.minute, dict(dumped.now), dict(dumped.before)
    return minutes
