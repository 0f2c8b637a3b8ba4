"""Claims about the future of a source, how they are met, judged and paid: each once, by our own points.

A claim is on record before its outcome. When points pass its due time, what was really there is recorded beside the checks of that
step; a proof then only compares. Every figure that a verdict rests on is worked out when it is decided and stands in its record.
"""

from array import array
from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta
from msgspec.structs import astuple

from core.energy import proof
from core.energy.acting import CheckRow
from core.energy.books import ISSUANCE, TREASURY, Books, Overdrawn, Posting, moved
from core.engine import Command, Context, Decision, Event, Refused, Result, Stamp
from core.fields import Code, Count, Frozen, Name, Time
from core.micro import MICRO
from core.shape import HOLDS
from core.times import time_us

OPEN_MAX = 64
"""Claims of one source that are held, half of them for what was met. Of more that were met the oldest goes; of more that were not
the one whose neighbours are closest, so that the rest stay spread."""
SETTLED_KEPT = 10_000
LAPSE_US = 86_400_000_000
"""How long after it was due a claim may still be proved."""
DAY_US = 86_400_000_000
SCORES_KEPT = 1_000
RELATIVE_MAX = 4.0
"""One claim that went wrong says no more than this."""
REFERENCES = ("naive", "smoothing", "mean")

Finite = Annotated[float, Meta(ge=-9e18, le=9e18)]
BandFields = tuple[float, float, float, float, float]
"""Value, ends of the 95 % interval, ends of the 99.9 % interval."""
References = Annotated[list[tuple[float, float]], Meta(max_length=3)]
Scores = Annotated[list[float], Meta(max_length=4)]


class Claim(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """What a source is expected to come to.

    prediction_id: its name
    due_us: when, in µs since 1970
    energy: the total energy then: value, ends of the 95 % and of the 99.9 % interval
    entropy: the total entropy then, likewise
    references: 95 % intervals of the energy by the naive predictors: last value, smoothing, mean
    issued_us: when the newest point was that it rests on, in µs since 1970
    energy_unit: J, or 1 for a surrogate, which only orders
    entropy_kind: physical, in J/K, or statistical, in nats
    measured: whether a sensor said the power, not a model
    """

    prediction_id: Name
    due_us: Count
    energy: BandFields
    entropy: BandFields
    references: References = []
    issued_us: Count = 0
    energy_unit: Literal["J", "1"] = "J"
    entropy_kind: Literal["physical", "statistical"] = "statistical"
    measured: bool = False


class Checked(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """One check of the step in which a claim was due.

    outcome: pass, fail or vacuous
    reason: what decided
    value: what was found
    limit: what it was held against
    """

    outcome: proof.Outcome
    reason: Code
    value: float | None = None
    limit: float | None = None


Checks = tuple[Checked, Checked, Checked]
"""Energy, entropy and feasibility."""


class Met(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """What our own points say of the moment a claim was about.

    prediction_id: which
    energy: total then
    entropy: total then
    energy_spread: of that total
    entropy_spread: of that total
    checks: energy, entropy and feasibility of the step
    hit: whether the outcome lies in both 95 % intervals
    scores: interval scores: of the claim, of the naive predictors
    gained: what the source's predictor gained up to this claim
    most: the most it ever had, this claim included
    rise: by how much this claim lifted that
    confidence: share of its last outcomes that lay in their interval
    measured: whether the energy was measured, not modelled or a surrogate
    saved_share: of the energy that was expected, what was saved; only where it was measured
    """

    prediction_id: Name
    energy: float
    entropy: float
    energy_spread: float
    entropy_spread: float
    checks: Checks
    hit: bool
    scores: Scores
    gained: float
    most: float
    rise: float
    confidence: float
    measured: bool = False
    saved_share: float | None = None


class ClaimsMet(Event, type="energy.claims_met"):
    """Points of a source passed the moments that these claims are about.

    source: which
    met: what was really there
    """

    source: Name
    met: Annotated[list[Met], Meta(max_length=OPEN_MAX)]


class Actual(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """Totals of a source at one moment.

    energy: total energy
    entropy: total entropy
    """

    energy: Finite
    entropy: Finite


class Prove(Command):
    """Puts a prediction to the proof.

    prediction_id: as `sense` or `predict` gave it
    actual_state: the totals of the source at the time it was due, as the caller has them
    predicted_state: what was predicted; it must be what was issued
    timestamp: when the actual state was; the time it was due without it
    """

    prediction_id: Name
    actual_state: Actual
    predicted_state: Actual | None = None
    timestamp: Time | None = None


class Proved(Event, type="energy.proved"):
    """A prediction was put to the proof.

    prediction_id: which
    source: of the prediction
    owner: who is credited, with the treasury
    verdict: valid, invalid, vacuous, unverified or not-due; the first three settle it
    reason: what decided
    told: the actual state as the caller has it
    checks: energy, entropy and feasibility
    energy_error: in percent of the actual value
    entropy_error: likewise
    hit: whether the outcome lies in the 95 % interval
    confidence: share of the predictor's last outcomes that lay in their interval
    minted_micro: micro-units of PFT that were minted
    postings: how they were booked
    savings: factor for energy that was saved; 1 where none was measured
    """

    prediction_id: Name
    source: Name
    owner: Name
    verdict: proof.Word
    reason: Code
    told: Actual
    checks: Checks
    energy_error: float
    entropy_error: float
    hit: bool
    confidence: float
    minted_micro: Count
    postings: Annotated[list[Posting], Meta(max_length=8)]
    savings: float = 1.0


class ProofAnswer(Result):
    """What became of a prediction.

    valid: whether it held, with physics to say so
    verdict: valid, invalid, vacuous, unverified (irer has no points of that moment yet) or not-due
    reason: what decided
    checks: the tri-check, with reasons
    energy_error: in percent of the actual value
    entropy_error: likewise
    pft_minted: what it earned
    confidence_score: share of the predictor's last outcomes that lay in their 95 % interval
    """

    valid: bool
    verdict: proof.Word
    reason: str
    checks: dict[str, CheckRow]
    energy_error: float
    entropy_error: float
    pft_minted: float
    confidence_score: float


class Held(NamedTuple):
    """A claim that is open, and what our points said of it, once they did."""

    claim: Claim
    met: Met | None
    rated: bool


class Settled(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A prediction that was proved, as feedback and a second proof need it."""

    verdict: str
    owner: str
    rated: bool = False


class Ledger(msgspec.Struct, forbid_unknown_fields=True):
    """How the predictor does on one source."""

    owner: str
    gained: float = 0.0
    most: float = 0.0
    hits: str = ""
    """The last outcomes, the oldest first: 1 for one in its interval, else 0."""
    reference_sums: list[float] = msgspec.field(default_factory=lambda: [0.0] * len(REFERENCES))
    settled: int = 0
    minted_day: int = 0
    minted_micro: int = 0
    """On that day."""


ClaimFields = tuple[Count, BandFields, BandFields, References, Count, Literal["J", "1"], Literal["physical", "statistical"], bool]
"""Of a claim, all but its name."""
MetFields = tuple[float, float, float, float, Checks, bool, Scores, float, float, float, float, bool, float | None]
"""Of what was met, all but the name."""
ClaimBytes = Annotated[bytes, Meta(extra={HOLDS: ClaimFields})]
MetBytes = Annotated[bytes, Meta(extra={HOLDS: MetFields})]
_WAITS = b""
"""What stands for a claim that was not met."""
_encode = msgspec.msgpack.Encoder().encode
_claim_fields = msgspec.msgpack.Decoder(ClaimFields).decode
_met_fields = msgspec.msgpack.Decoder(MetFields).decode


class Own:
    """Open claims of one source, in the order in which they are due. A source has dozens, and most nobody asks for: what is said
    and what was met are kept as bytes, and whoever only looks for one touches none of the others.
    """

    __slots__ = ("_claims", "_dues", "_met", "_waits", "ids", "rated")

    def __init__(self) -> None:
        self.ids: list[str] = []
        self._dues = array("q")
        self._waits = bytearray()
        """1 where it was not met."""
        self._claims: list[ClaimBytes] = []
        self._met: list[MetBytes] = []
        self.rated: set[str] = set()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Own) and all(getattr(self, name) == getattr(other, name) for name in Own.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self.ids)

    def held(self, prediction_id: str) -> Held:
        at = self.ids.index(prediction_id)
        met = self._met[at]
        return Held(self._claim(at), Met(prediction_id, *_met_fields(met)) if met else None, prediction_id in self.rated)

    def _claim(self, at: int) -> Claim:
        return Claim(self.ids[at], *_claim_fields(self._claims[at]))

    # --- they come and go -------------------------------------------------------------------------------------------

    def add(self, claim: Claim) -> None:
        """Where its due time says: one may have a shorter horizon than those before it."""
        at = bisect_right(self._dues, claim.due_us) if self._dues and self._dues[-1] > claim.due_us else len(self._dues)
        self.ids.insert(at, claim.prediction_id)
        self._dues.insert(at, claim.due_us)
        self._waits.insert(at, 1)
        self._claims.insert(at, _encode(astuple(claim)[1:]))
        self._met.insert(at, _WAITS)

    def meet(self, met: Met) -> None:
        """One that is not open any more is no matter."""
        at = self._waits.find(1)  # it is the first that waits, but where a gap was passed
        if at < 0 or self.ids[at] != met.prediction_id:
            at = self.ids.index(met.prediction_id) if met.prediction_id in self.ids else -1
        if at >= 0:
            self._met[at], self._waits[at] = _encode(astuple(met)[1:]), 0

    def drop(self, prediction_id: str) -> None:
        self._drop(self.ids.index(prediction_id))

    def drop_due_by(self, due_us: int) -> list[str]:
        """Those go that were due at that moment or before."""
        return [self._drop(0) for _ in range(bisect_right(self._dues, due_us))] if self._dues and self._dues[0] <= due_us else []

    def make_room(self, newest: str) -> str:
        """The oldest that was met goes, where these are many. Else, of three that wait in a row, the middle one whose neighbours
        are closest, but never the newest.
        """
        if len(self._waits) - self._waits.count(1) > OPEN_MAX // 2:
            return self._drop(self._waits.find(0))
        row = [at for at, waits in enumerate(self._waits) if waits]
        gaps = [(self._dues[after] - self._dues[before], at) for before, at, after in zip(row, row[1:], row[2:], strict=False)]
        return self._drop(next(at for _, at in sorted(gaps) if self.ids[at] != newest))

    def _drop(self, at: int) -> str:
        gone = self.ids.pop(at)
        del self._dues[at], self._waits[at], self._claims[at], self._met[at]
        self.rated.discard(gone)
        return gone

    # --- looking ----------------------------------------------------------------------------------------------------

    def passed(self, after_us: int, until_us: int) -> list[Claim]:
        """Those that wait for a moment between these, the later one included."""
        dues, at = self._dues, self._waits.find(1)
        if at < 0 or dues[at] > until_us:
            return []
        first, end = bisect_right(dues, after_us, at), bisect_right(dues, until_us, at)
        return [self._claim(at) for at in range(first, end) if self._waits[at]]

    def due_at(self, due_us: int) -> Claim | None:
        at = bisect_right(self._dues, due_us) - 1
        return self._claim(at) if at >= 0 and self._dues[at] == due_us else None

    def last_due_us(self) -> int:
        return self._dues[-1]

    # --- keeping ----------------------------------------------------------------------------------------------------

    def dump(self) -> "OwnDump":
        return OwnDump(
            list(self.ids), self._dues.tolist(), list(self._claims), list(self._met), sorted(self.rated) if self.rated else []
        )

    @staticmethod
    def load(dumped: "OwnDump") -> "Own":
        own = Own()
        if len({len(each) for each in (dumped.ids, dumped.dues, dumped.claims, dumped.met)}) > 1:
            raise ValueError("claims without all that goes with them")
        own.ids, own._claims, own._met, own.rated = dumped.ids, dumped.claims, dumped.met, set(dumped.rated)
        own._dues, own._waits = array("q", dumped.dues), bytearray(not met for met in dumped.met)
        return own


class Claims:
    """Open claims by source, what was settled lately, and how well each source is predicted."""

    def __init__(self) -> None:
        self.open: dict[str, Own] = {}
        """By source."""
        self.source_of: dict[str, str] = {}
        self.settled: OrderedDict[str, Settled] = OrderedDict()
        """Predictions that were settled, the oldest first."""
        self.ledgers: dict[str, Ledger] = {}
        self.reputations: dict[str, tuple[int, int]] = {}
        """By owner: valid and settled proofs."""
        self.verdicts: dict[str, int] = {}
        self.minted_micro = 0
        self.lately: deque[tuple[float, float]] = deque(maxlen=proof.OUTCOMES_KEPT)
        """Of the proofs that were settled last: confidence and savings."""
        self.scored = 0
        self.relative_score = 1.0
        """Running mean of the interval scores of what was met, each as a share of the best naive predictor's."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Claims) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


class OwnDump(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """`Own`, a line per claim."""

    ids: list[str]
    dues: list[Count]
    claims: list[ClaimBytes]
    met: list[MetBytes]
    rated: list[str]


class ClaimsDump(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    open: dict[str, OwnDump]
    settled: list[tuple[str, Settled]]
    ledgers: dict[str, Ledger]
    reputations: dict[str, tuple[int, int]]
    verdicts: dict[str, int]
    minted_micro: int
    lately: list[tuple[float, float]]
    scored: int
    relative_score: float


def dump(claims: Claims) -> ClaimsDump:
    held = {source: own.dump() for source, own in claims.open.items()}
    ledgers = {
        source: msgspec.structs.replace(ledger, reference_sums=list(ledger.reference_sums))
        for source, ledger in claims.ledgers.items()
    }
    settled = [(name, msgspec.structs.replace(each)) for name, each in claims.settled.items()]
    return ClaimsDump(
        held,
        settled,
        ledgers,
        dict(claims.reputations),
        dict(claims.verdicts),
        claims.minted_micro,
        list(claims.lately),
        claims.scored,
        claims.relative_score,
    )


def load(dumped: ClaimsDump) -> Claims:
    claims = Claims()
    for source, held in dumped.open.items():
        claims.open[source] = Own.load(held)
        claims.source_of.update(dict.fromkeys(held.ids, source))
    claims.settled = OrderedDict(dumped.settled)
    claims.ledgers, claims.reputations = dumped.ledgers, dumped.reputations
    claims.verdicts, claims.minted_micro = dumped.verdicts, dumped.minted_micro
    claims.lately.extend(dumped.lately)
    claims.scored, claims.relative_score = dumped.scored, dumped.relative_score
    return claims


# --- claims come and are met ------------------------------------------------------------------------------------------------


def apply_claim(claims: Claims, source: str, owner: str, claim: Claim) -> list[str]:
    """A claim was issued. Those that nobody can prove any more go, and of too many the one that is missed least: these.

    Time is the source's own: history that is sent today has claims that are met as it goes on.
    """
    own = claims.open.get(source)
    if source not in claims.ledgers:
        claims.ledgers[source] = Ledger(owner)
    gone = own.drop_due_by(claim.issued_us - LAPSE_US) if own is not None else []
    if own is None:
        own = claims.open[source] = Own()
    own.add(claim)
    claims.source_of[claim.prediction_id] = source
    if len(own) > OPEN_MAX:
        gone.append(own.make_room(claim.prediction_id))
    for prediction_id in gone:
        del claims.source_of[prediction_id]
    return gone


def _forget(claims: Claims, source: str, prediction_id: str) -> None:
    own = claims.open[source]
    own.drop(prediction_id)
    del claims.source_of[prediction_id]
    if not own:
        del claims.open[source]


def passed(claims: Claims, source: str, after_us: int, until_us: int) -> list[Claim]:
    """Claims of a source whose moment lies between these, the later one included. One that lies in a gap is never met."""
    own = claims.open.get(source)
    return own.passed(after_us, until_us) if own is not None else []


def is_last(claims: Claims, source: str, due_us: int) -> bool:
    """Whether every claim that is open is about a moment before this one."""
    own = claims.open.get(source)
    return own is None or own.last_due_us() < due_us


def due_at(claims: Claims, source: str, due_us: int) -> Claim | None:
    """The claim about this moment that is open already: a second one would only count the same outcome twice."""
    own = claims.open.get(source)
    return own.due_at(due_us) if own is not None else None


def forget_source(claims: Claims, source: str) -> None:
    """What was said of a source that is followed no more."""
    own = claims.open.pop(source, None)
    for prediction_id in own.ids if own is not None else ():
        del claims.source_of[prediction_id]
    claims.ledgers.pop(source, None)


def checked(energy: proof.Check, entropy: proof.Check, feasibility: proof.Check) -> Checks:
    return Checked(*energy), Checked(*entropy), Checked(*feasibility)


class Outcome(NamedTuple):
    """What our points say of one claim."""

    claim: Claim
    own: proof.Own
    checks: Checks
    measured: bool
    saved_share: float | None = None


def meet(claims: Claims, source: str, outcomes: Sequence[Outcome]) -> ClaimsMet:
    """Every claim that was met counts for its predictor, also one that nobody proves: else only lucky ones would be."""
    ledger = claims.ledgers[source]
    gained, most, hits = ledger.gained, ledger.most, ledger.hits
    sums, settled = list(ledger.reference_sums), ledger.settled
    met = []
    for claim, own, checks, measured, saved_share in outcomes:
        hit = claim.energy[1] <= own.energy <= claim.energy[2] and claim.entropy[1] <= own.entropy <= claim.entropy[2]
        scores = _scores(claim, own.energy)
        rise = 0.0
        if scores:
            best = sums.index(min(sums))
            mean = (sums[best] + scores[1 + best]) / (settled + 1)
            gained, most, rise = proof.lifted(gained, most, proof.gain(scores[0], scores[1 + best], mean))
            hits = _hits(hits, hit)
            sums, settled = [total + score for total, score in zip(sums, scores[1:], strict=True)], settled + 1
        met.append(
            Met(
                claim.prediction_id,
                *own,
                checks,
                hit,
                scores,
                gained,
                most,
                rise,
                proof.confidence(hits.count("1"), len(hits)),
                measured,
                saved_share,
            )
        )
    return ClaimsMet(source, met)


def _hits(before: str, hit: bool) -> str:
    """The last outcomes, with one more."""
    return (before + ("1" if hit else "0"))[-proof.OUTCOMES_KEPT :]


def apply_met(claims: Claims, event: ClaimsMet, stamp: Stamp) -> None:
    own = claims.open.get(event.source)
    ledger = claims.ledgers[event.source]
    for met in event.met:
        if own is not None:
            own.meet(met)
        if met.scores:
            _score(claims, ledger, met.scores)
            ledger.settled += 1
            ledger.gained, ledger.most = met.gained, met.most
            ledger.hits = _hits(ledger.hits, met.hit)
            ledger.reference_sums = [total + score for total, score in zip(ledger.reference_sums, met.scores[1:], strict=True)]


def _score(claims: Claims, ledger: Ledger, scores: Sequence[float]) -> None:
    sums = ledger.reference_sums
    best = scores[1 + sums.index(min(sums))]
    if best > 0:
        claims.scored += 1
        rate = 1 / min(claims.scored, SCORES_KEPT)
        claims.relative_score += rate * (min(scores[0] / best, RELATIVE_MAX) - claims.relative_score)


# --- the proof --------------------------------------------------------------------------------------------------------------

NOT_CHECKED = (Checked("vacuous", "no-points"),) * 3


def decide_prove(claims: Claims, books: Books, command: Prove, ctx: Context, *, base_micro: int, daily_micro: int) -> Decision:
    source, held = find(claims, command.prediction_id)
    claim, met = held.claim, held.met
    ledger = claims.ledgers[source]
    if ctx.actor.name != ledger.owner and ctx.actor.role not in ("admin", "irer"):
        text = f"{command.prediction_id} is about {source}, which belongs to {ledger.owner}. Its owner proves it, or an admin"
        raise Refused("permission-denied", text, reason="owner")
    due = met is not None or ctx.now_us >= claim.due_us if command.timestamp is None else _time(command.timestamp) >= claim.due_us
    energy, entropy = proof.Band(*claim.energy), proof.Band(*claim.entropy)
    told = proof.State(command.actual_state.energy, command.actual_state.entropy)
    checks = met.checks if met is not None else NOT_CHECKED
    own = proof.Own(met.energy, met.entropy, met.energy_spread, met.entropy_spread) if met is not None else None
    verdict = proof.judge((energy, entropy), told, own, [proof.Check(*astuple(check)) for check in checks])
    word, reason = verdict.word, verdict.reason
    if not due:
        word, reason = "not-due", "not-due"
    elif command.predicted_state is not None and _differs(command.predicted_state, energy, entropy):
        word, reason = "invalid", "not-what-was-issued"
    minted = 0
    if word == "valid" and met is not None and met.measured:
        earned = proof.minted_micro(base_micro, met.rise, met.confidence, met.saved_share)
        minted = max(min(earned, daily_micro - _minted_today(ledger, ctx.now_us)), 0)
    postings = _credits(minted, ledger.owner) if minted else []
    if postings:
        try:
            books.check(postings)
        except Overdrawn:
            minted, postings = 0, []
    event = Proved(
        command.prediction_id,
        source,
        ledger.owner,
        word,
        reason,
        command.actual_state,
        checks,
        verdict.energy_error,
        verdict.entropy_error,
        verdict.hit,
        met.confidence if met is not None else proof.confidence(ledger.hits.count("1"), len(ledger.hits)),
        minted,
        postings,
        proof.savings(met.saved_share if met is not None else None),
    )
    return Decision(event)


def find(claims: Claims, prediction_id: str) -> tuple[str, Held]:
    source = claims.source_of.get(prediction_id)
    if source is not None:
        return source, claims.open[source].held(prediction_id)
    if (settled := claims.settled.get(prediction_id)) is not None:
        text = f"{prediction_id} was settled already ({settled.verdict}); each prediction is settled once. Prove a newer one"
        raise Refused("failed-precondition", text, reason="settled", data={"verdict": settled.verdict})
    text = f"no prediction {prediction_id} is open: it was never issued, it made room for newer ones, or was due over a day ago"
    raise Refused("not-found", f"{text}. Each eil.sense issues one", reason="prediction")


def _time(text: str) -> int:
    try:
        return time_us(text)
    except ValueError:
        shown = f"{text} is no time that exists. Write it as 2026-01-31T12:00:00Z"
        raise Refused("invalid-argument", shown, fields=[("/timestamp", "no such day or hour")]) from None


def _differs(said: Actual, energy: proof.Band, entropy: proof.Band) -> bool:
    pairs = ((said.energy, energy.value), (said.entropy, entropy.value))
    return any(abs(one - other) > 1e-6 * max(abs(one), abs(other), 1e-6) for one, other in pairs)


def _scores(claim: Claim, actual: float) -> list[float]:
    if len(claim.references) != len(REFERENCES):
        return []
    bands = [claim.energy[1:3], *claim.references]
    return [proof.interval_score(low, high, actual) for low, high in bands]


def _minted_today(ledger: Ledger, now_us: int) -> int:
    return ledger.minted_micro if ledger.minted_day == now_us // DAY_US else 0


def _credits(minted: int, owner: str) -> list[Posting]:
    """Half to whose source it is, the rest to the treasury: the predictor is the house's own."""
    half = minted // 2
    return moved("PFT", half, ISSUANCE, owner) + moved("PFT", minted - half, ISSUANCE, TREASURY)


def apply_proved(claims: Claims, books: Books, event: Proved, stamp: Stamp) -> bool:
    """Whether that settled it."""
    claims.verdicts[event.verdict] = claims.verdicts.get(event.verdict, 0) + 1
    if event.verdict in ("not-due", "unverified"):
        return False
    rated = event.prediction_id in claims.open[event.source].rated
    _forget(claims, event.source, event.prediction_id)
    claims.settled[event.prediction_id] = Settled(event.verdict, event.owner, rated)
    while len(claims.settled) > SETTLED_KEPT:
        claims.settled.popitem(last=False)
    ledger = claims.ledgers[event.source]
    day = stamp.time_us // DAY_US
    ledger.minted_micro = event.minted_micro + (ledger.minted_micro if ledger.minted_day == day else 0)
    ledger.minted_day = day
    if event.verdict != "vacuous":
        valid, settled = claims.reputations.get(event.owner, (0, 0))
        claims.reputations[event.owner] = (valid + (event.verdict == "valid"), settled + 1)
        claims.lately.append((event.confidence, event.savings))
    books.book(event.postings)
    claims.minted_micro += event.minted_micro
    return True


def apply_rated(claims: Claims, prediction_id: str) -> None:
    """Its owner has told how good it was."""
    source = claims.source_of.get(prediction_id)
    if source is not None:
        claims.open[source].rated.add(prediction_id)
    elif (settled := claims.settled.get(prediction_id)) is not None:
        settled.rated = True


def answer(event: Proved) -> ProofAnswer:
    names = ("energy", "entropy", "feasibility")
    checks = {name: CheckRow(*astuple(check)) for name, check in zip(names, event.checks, strict=True)}
    return ProofAnswer(
        event.verdict == "valid",
        event.verdict,
        event.reason,
        checks,
        event.energy_error,
        event.entropy_error,
        event.minted_micro / MICRO,
        event.confidence,
    )
