"""What callers ask of energy, programs and events, drawn by chance, and what must hold of it, worked out from durable records.

Units are neither made nor lost, a quote is traded once and a prediction settled once; a program is replaced by a whole one or not
at all; what was told and acknowledged can be leant on ever after. `wares.py` and `promises.py` do the same for other engines.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import TYPE_CHECKING, Any

from core.canonical import encode
from core.times import time_text, time_us

if TYPE_CHECKING:
    from tests.sim.oracle import Rec

Request = tuple[str, dict[str, Any]]
MICRO = 1_000_000
ISSUANCE = "issuance"
TICK_US = 60 * MICRO
FIRST_US = 1_737_374_400 * MICRO
"""When the first point of each source was."""
SETTLED = frozenset({"valid", "invalid", "vacuous"})
ATOMS = ("a", "b", "c", "d")
RULES = tuple(f"rule-{number}" for number in range(6))
LOADS = ("north", "south")
PARTS = 3
STEPS = {"trade": 3, "prove": 8, "revoke": 4, "cite": 3}
"""Requests that need one another."""
WRONG_HTTP_TOKEN = "eyJhbGciOiJIUzI1NiIsInR5cCI6ImlyZXItaHR0cCtqd3QifQ.e30.AAAA"


@dataclass
class Known:
    """What callers came to know of it."""

    ticks: Counter[str] = field(default_factory=Counter)
    """How far each source is."""
    totals: dict[tuple[str, int], dict[str, float]] = field(default_factory=dict)
    """Of a source at a moment: energy and entropy."""
    predictions: list[tuple[str, str, int]] = field(default_factory=list)
    """Id, source, and when it is due."""
    quotes: list[tuple[str, str]] = field(default_factory=list)
    """Who asked, and the id."""
    events: list[str] = field(default_factory=list)
    tokens: list[tuple[str, str]] = field(default_factory=list)
    """Of the HTTP gateway: the token, its id."""
    ended: dict[str, float] = field(default_factory=dict)
    """Of these the ids whose end was acknowledged, and when."""
    signed: dict[str, int] = field(default_factory=dict)
    """Of a log, how many records a checkpoint vouched for."""

    def learn(self, method: str, params: Mapping[str, Any], actor: str, answer: Mapping[str, Any]) -> None:
        """From an answer with a receipt."""
        if method == "eil.sense":
            state = answer["energy_state"]
            at = time_us(params["timestamp"])
            self.totals[params["source"], at] = {"energy": state["total_energy"], "entropy": state["entropy"]}
        if method in ("eil.sense", "eil.predict") and answer.get("prediction_id"):
            self.predictions.append((answer["prediction_id"], params["source"], time_us(answer["due"])))
        elif method == "eil.market_quote":
            self.quotes.append((actor, answer["quote_id"]))
        elif method == "data.emit":
            self.events.append(answer["event"])
        elif method == "system.issue_http_token":
            self.tokens.append((answer["token"], answer["jti"]))


# --- what is asked --------------------------------------------------------------------------------------------------------------


def energy(random: Random, known: Known, actor: str) -> Request:
    verb = random.choices(("sense", "quote", "trade", "proof", "act", "look"), (34, 14, 18, 12, 6, 8))[0]
    if verb == "trade" and known.quotes:
        mine = [quote for owner, quote in known.quotes if owner == actor][-3:]
        return "eil.market_trade", {"quote_id": random.choice(mine if mine and random.random() < 0.9 else [known.quotes[-1][1]])}
    if verb == "proof" and known.predictions:
        return _proof(random, known)
    if verb == "act":
        state = {"active_servers": random.randint(2, 20), "avg_utilization": random.choice((0.25, 0.5, 0.875))}
        return "eil.act", {"goal": random.choice(("minimize_energy", "maximize_stability")), "current_state": state}
    if verb == "look":
        return random.choice((("eil.balances", {}), ("eil.balances", {}), ("eil.regime_status", {}), ("eil.status", {})))
    if verb in ("quote", "trade"):
        side, quantity = random.choice((("buy", 10), ("buy", 3_000), ("sell", 4))) if random.random() < 0.9 else ("sell", 1_000_000)
        return "eil.market_quote", {"asset": "CEU", "side": side, "quantity": quantity}
    source = f"rack-{actor.removeprefix('uid:')}" if random.random() < 0.9 else f"rack-{random.choice((1000, 1001, 1002))}"
    return _sense(random, known, source)


def _sense(random: Random, known: Known, source: str) -> Request:
    known.ticks[source] += random.choice((1, 1, 1, 2))
    numbers = {"power_draw": 800.0 + random.randint(0, 64) / 4, "cpu_usage": random.choice((0.5, 0.75))}
    moment = time_text(FIRST_US + known.ticks[source] * TICK_US)
    return "eil.sense", {"source": source, "timestamp": moment, "telemetry": numbers}


def in_turn(random: Random, known: Known, actor: str, kind: str, step: int) -> Request | None:
    """The next of some requests that need one another; None where the one before came to nothing."""
    if kind == "prove":
        if step < STEPS["prove"] - 2:
            return _sense(random, known, f"rack-{actor.removeprefix('uid:')}")
        return _proof(random, known) if known.predictions else None
    if kind == "cite":
        if step < STEPS["cite"] - 1:
            return _content(random)
        return ("data.cite", {"from": known.events[-1], "to": known.events[-2]}) if len(known.events) > 1 else None
    if not step and kind == "trade":
        return "eil.market_quote", {
            "asset": "CEU",
            "side": random.choice(("buy", "buy", "sell")),
            "quantity": random.randint(1, 900),
        }
    if not step:
        return "system.issue_http_token", {"subject": "u3", "role": "viewer"}
    if kind == "trade":
        mine = [quote for owner, quote in known.quotes if owner == actor]
        return ("eil.market_trade", {"quote_id": mine[-1]}) if mine else None
    if not known.tokens:
        return None
    token, jti = known.tokens[-1]
    return ("system.revoke_http_token", {"jti": jti}) if step == 2 else ("system.check_http_token", {"token": token})


def _content(random: Random) -> Request:
    told = {"text": f"thought {random.randint(0, 60)} of heat and pumps"}
    return "data.emit", {"family": "local", "type": "content_created", "data": told}


def _proof(random: Random, known: Known) -> Request:
    """With the totals that irer said itself, where they were heard; of one that is due, if chance wills."""
    due = [each for each in known.predictions[-20:] if (each[1], each[2]) in known.totals]
    id, source, due_us = random.choice(due if due and random.random() < 0.8 else known.predictions[-5:])
    said = known.totals.get((source, due_us), {"energy": 1.0, "entropy": 1.0})
    return "eil.proof", {"prediction_id": id, "actual_state": dict(said)}


def program(random: Random, known: Known) -> Request:
    verb = random.choices(("fact", "rule", "costs", "fold", "look"), (30, 20, 14, 8, 16))[0]
    if verb == "fact":
        return "trajectory.add_fact", {"symbol": random.choice(ATOMS), "value": random.random() < 0.7}
    if verb == "rule":
        premises, conclusion = random.sample(ATOMS, random.choice((1, 2))), random.choice(ATOMS)
        return "trajectory.add_rule", {"rule_id": random.choice(RULES), "premises": premises, "conclusion": conclusion}
    if verb == "costs":
        names = random.sample((*RULES, f"{random.choice(LOADS)}-0-0"), random.choice((1, 1, 2)))
        return "trajectory.set_costs", {"costs": {name: random.randint(0, 9) for name in names}}
    if verb == "fold":
        steps = [("a", "b"), ("b", "c"), ("c", "d")][: random.randint(1, 3)]
        rules = [{"rule_id": f"{one}{other}", "premises": [one], "conclusion": other} for one, other in steps]
        return "trajectory.fold", {"spine": {"facts": ["a"], "goals": [steps[-1][1]], "rules": rules}}
    return "trajectory.status", {}


def load(random: Random) -> list[Request]:
    """A whole program in parts; it may be cut short."""
    name = random.choice(LOADS)
    parts = []
    for part in range(random.randint(1, PARTS)):
        rules = [{"rule_id": f"{name}-{part}-{number}", "premises": ["a"], "conclusion": f"x{number}"} for number in range(2)]
        problem = {"facts": [f"{name}-{part}"], "rules": rules, "goals": ["x0"]}
        parts.append(("trajectory.load", {"problem": problem, "part": part, "more": True, "load": name}))
    if random.random() < 0.6:
        parts[-1][1]["more"] = False
    return parts


def event(random: Random, known: Known) -> Request:
    luck = random.random()
    if luck < 0.3 and len(known.events) > 1:
        one, other = random.sample(known.events[-8:], 2)
        return "data.cite", {"from": one, "to": other}
    if luck < 0.42:
        return random.choice((("data.events", {"limit": 5}), ("data.status", {})))
    if luck < 0.6 and known.events:
        told = {"event": random.choice(known.events[-8:]), "text": f"further {random.randint(0, 9)}"}
        return "data.emit", {"family": "local", "type": "evolved", "data": told}
    return _content(random)


def http_token(random: Random, known: Known) -> Request:
    luck = random.random()
    if luck < 0.3 or not known.tokens:
        return "system.issue_http_token", {"subject": random.choice(("u1", "u2")), "role": random.choice(("viewer", "operator"))}
    token, jti = random.choice(known.tokens[-4:])
    if luck < 0.45:
        return "system.revoke_http_token", {"jti": jti}
    return "system.check_http_token", {
        "token": token if random.random() < 0.9 else random.choice((WRONG_HTTP_TOKEN, token[:-3] + "AAA"))
    }


def checkpoint(random: Random, known: Known) -> Request:
    log = random.choice(("engine_state", "energy_log", "trajectory_log", "event_log"))
    since = {"since": known.signed[log]} if log in known.signed and random.random() < 0.7 else {}
    return "audit.checkpoint", {"log": log} | since


# --- what a record says was asked -----------------------------------------------------------------------------------------------

FIELDS: dict[str, tuple[str, Mapping[str, str]]] = {
    "energy.claims_met": ("eil.sense", {"source": "source"}),
    "energy.sensed": ("eil.sense", {"source": "source"}),
    "energy.action_chosen": ("eil.act", {"goal": "goal", "current_state": "current_state"}),
    "energy.proved": ("eil.proof", {"prediction_id": "prediction_id", "actual_state": "told"}),
    "energy.traded": ("eil.market_trade", {"quote_id": "quote_id"}),
    "trajectory.fact_added": ("trajectory.add_fact", {"symbol": "symbol", "value": "value"}),
    "trajectory.rule_added": (
        "trajectory.add_rule",
        {"rule_id": "rule_id", "premises": "premises", "conclusion": "conclusion"},
    ),
    "trajectory.loaded": ("trajectory.load", {"load": "load", "part": "part"}),
    "vector.citation_tracked": ("data.cite", {"from": "from", "to": "to"}),
    "http_token.issued": ("system.issue_http_token", {"subject": "subject", "role": "role"}),
    "http_token.revoked": ("system.revoke_http_token", {"jti": "jti"}),
    "http_token.refused": ("system.check_http_token", {}),
}


def signature(method: str, params: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """As `wares.signature`, where a record does not hold what was asked word for word."""
    if method == "eil.market_quote":
        return (params["asset"], params["side"], params["quantity"] * MICRO)
    if method == "trajectory.set_costs":
        return (encode({name: cost * MICRO for name, cost in params["costs"].items()}),)
    if method == "trajectory.fold":
        return tuple(rule["rule_id"] for rule in params["spine"]["rules"])
    if method == "data.emit":
        return (params["family"], params["type"], encode(params["data"]))
    return None


def asked_by(record: "Rec") -> tuple[str, tuple[Any, ...]] | None:
    kind, payload = record.event_type, record.payload
    if kind == "energy.quoted":
        return "eil.market_quote", (payload["asset"], payload["side"], payload["quantity_micro"])
    if kind == "trajectory.costs_set":
        return "trajectory.set_costs", (encode(payload["costs"]),)
    if kind == "trajectory.folded":
        return "trajectory.fold", tuple(payload["rule_ids"])
    if kind in ("local.content_created", "local.evolved"):
        family, name = kind.split(".")
        return "data.emit", (family, name, encode({key: value for key, value in payload.items() if key != "type"}))
    return None


def _sensed(records: Sequence["Rec"]) -> dict[str, Any]:
    told = next(record.payload for record in records if record.event_type == "energy.sensed")
    claim = told.get("claim")
    return {"accepted": told["accepted"], "prediction_id": claim["prediction_id"] if claim else told.get("again")}


ANSWERS: dict[str, Any] = {
    "eil.sense": _sensed,
    "eil.act": lambda records: {"action_id": records[0].payload["action_id"]},
    "eil.proof": lambda records: {"verdict": records[0].payload["verdict"]},
    "eil.market_quote": lambda records: {name: records[0].payload[name] for name in ("quote_id", "asset", "side")},
    "trajectory.add_rule": lambda records: {"rule_id": records[0].payload["rule_id"]},
    "trajectory.load": lambda records: {"part": records[-1].payload["part"], "whole": records[-1].payload["last"]},
    "trajectory.set_costs": lambda records: {"rules": sum(len(record.payload["costs"]) for record in records)},
    "trajectory.fold": lambda records: {"hash": records[0].payload["hash"]},
    "data.emit": lambda records: {"event": sha256(records[0].raw).hexdigest()},
    "system.issue_http_token": lambda records: {"jti": records[0].payload["jti"]},
    "system.check_http_token": lambda records: {"valid": False},
}


# --- what must hold -------------------------------------------------------------------------------------------------------------


@dataclass
class Draft:
    """A program, or one that is not whole yet."""

    facts: dict[str, bool] = field(default_factory=dict)
    rules: set[str] = field(default_factory=set)
    goals: int = 0

    def take(self, payload: Mapping[str, Any]) -> None:
        self.facts |= {fact["symbol"]: fact.get("value", True) for fact in payload.get("facts", ())}
        self.rules |= {rule["rule_id"] for rule in payload.get("rules", ())}
        self.rules |= set((payload.get("columns") or {}).get("rule_ids", ()))
        self.goals += len(payload.get("goals", ()))

    def told(self) -> dict[str, int]:
        holding = sum(self.facts.values())
        return {"facts": holding, "denied": len(self.facts) - holding, "rules": len(self.rules), "goals": self.goals}


class Knowledge:
    """Judges each record as it becomes durable."""

    def __init__(self) -> None:
        self.accounts: Counter[tuple[str, str]] = Counter()
        self.books: list[tuple[int, dict[tuple[str, str], int]]] = [(-1, {})]
        """What every account held from a record on."""
        self.quotes: dict[str, Rec] = {}
        self.traded: set[str] = set()
        self.opened: set[str] = set()
        self.issued: dict[str, str] = {}
        """Predictions, and of which source they are."""
        self.owners: dict[str, str] = {}
        """Whose each source is."""
        self.met: set[str] = set()
        self.settled: set[str] = set()
        self.program = Draft()
        self.draft: tuple[str, str, int, Draft] | None = None
        """Whose, which load, its last part, and what is there of it."""
        self.programs: list[tuple[int, dict[str, int]]] = [(-1, Draft().told())]
        self.ever: set[tuple[str, bool]] = set()
        """All facts that were ever told."""
        self.events: dict[str, int] = {}
        """By id, the record that told it first."""
        self.forgotten: set[str] = set()
        self.cited: set[tuple[str, str]] = set()
        self.http_tokens: set[str] = set()
        self.http_revoked: set[str] = set()

    def _wrong(self, rule: str, log: str, record: "Rec", why: str) -> None:
        raise NotImplementedError

    # --- energy

    def _issue(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        claim = payload.get("claim")
        if "owner" in payload and self.owners.setdefault(payload["source"], payload["owner"]) != payload["owner"]:
            self._wrong("access", log, record, f"that source is {self.owners[payload['source']]}'s")
        if claim:
            if claim["prediction_id"] in self.issued:
                self._wrong("N3", log, record, "a prediction was issued a second time")
            self.issued[claim["prediction_id"]] = payload["source"]
        if payload.get("again", None) not in (None, *self.issued):
            self._wrong("N4", log, record, "names a prediction that nobody issued")

    _energy_sensed = _energy_predicted = _issue

    def _energy_claims_met(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        for met in payload["met"]:
            if met["prediction_id"] not in self.issued or met["prediction_id"] in self.met:
                self._wrong("N3", log, record, f"{met['prediction_id']} was met before, or never issued")
            self.met.add(met["prediction_id"])

    def _energy_proved(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        id = payload["prediction_id"]
        if self.issued.get(id) != payload["source"] or self.owners[payload["source"]] != payload["owner"]:
            self._wrong("N4", log, record, "that prediction was never issued so")
        if payload["verdict"] in SETTLED:
            if id in self.settled:
                self._wrong("N3", log, record, "settled a second time")
            if id not in self.met:
                self._wrong("N4", log, record, "settled, and no durable record says what was there")
            self.settled.add(id)
        if payload["minted_micro"] and payload["verdict"] != "valid":
            self._wrong("N3", log, record, "something was minted for what did not hold")
        self._book(log, record, payload["postings"])

    def _energy_quoted(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        if payload["quote_id"] in self.quotes or payload["owner"] != record.actor:
            self._wrong("N3", log, record, "quoted twice, or to another")
        self.quotes[payload["quote_id"]] = record

    def _energy_traded(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        quote = self.quotes.get(payload["quote_id"])
        same = ("owner", "asset", "side", "quantity_micro", "price_micro", "currency")
        if quote is None or any(quote.payload[name] != payload[name] for name in same) or record.actor != payload["owner"]:
            self._wrong("N4", log, record, f"was not quoted so: {quote and quote.payload}")
            return
        if quote.boot_id != record.boot_id or quote.payload["until_mono_us"] <= record.mono_us:
            self._wrong("access", log, record, "the quote had lapsed")
        if payload["quote_id"] in self.traded:
            self._wrong("N3", log, record, "traded a second time")
        self.traded.add(payload["quote_id"])
        sign = 1 if payload["side"] == "buy" else -1
        sums: Counter[str] = Counter()
        for posting in payload["postings"]:
            if posting["owner"] == payload["owner"]:
                sums[posting["asset"]] += posting["amount_micro"]
        opening = sums[payload["currency"]] + sign * payload["price_micro"]
        if (
            sums[payload["asset"]] != sign * payload["quantity_micro"]
            or opening < 0
            or (opening and payload["owner"] in self.opened)
        ):
            self._wrong("N3", log, record, "more or less was booked than was traded")
        self.opened.add(payload["owner"])
        self._book(log, record, payload["postings"])

    def _book(self, log: str, record: "Rec", postings: Sequence[Mapping[str, Any]]) -> None:
        sums: Counter[str] = Counter()
        for posting in postings:
            self.accounts[posting["owner"], posting["asset"]] += posting["amount_micro"]
            sums[posting["asset"]] += posting["amount_micro"]
        if any(sums.values()):
            self._wrong("books", log, record, "units were made or lost")
        for posting in postings:
            held = self.accounts[posting["owner"], posting["asset"]]
            if (held > 0) if posting["owner"] == ISSUANCE else (held < 0):
                self._wrong("books", log, record, f"{posting['owner']} holds {held} of {posting['asset']}")
        if postings:
            self.books.append((record.seq, {account: held for account, held in self.accounts.items() if held}))

    def held_books(self, seq: int) -> dict[tuple[str, str], int]:
        """Every account as all below this record has it."""
        return next(held for at, held in reversed(self.books) if at < seq)

    def still_quoted(self, quote_id: str, actor: str, boot_id: str, mono_us: int) -> bool:
        """Whether this quote can be traded, as far as durable records say."""
        quote = self.quotes.get(quote_id)
        if quote is None or quote_id in self.traded or quote.actor != actor:
            return False
        return bool(quote.boot_id == boot_id and quote.payload["until_mono_us"] > mono_us)

    # --- programs

    def _trajectory_fact_added(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        self.program.facts[payload["symbol"]] = payload["value"]
        self._program_is(record)

    def _trajectory_rule_added(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        if payload["rule_id"] in self.program.rules:
            self._wrong("N3", log, record, "that rule was there")
        self.program.rules.add(payload["rule_id"])
        self._program_is(record)

    def _trajectory_costs_set(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        if unknown := payload["costs"].keys() - self.program.rules:
            self._wrong("N4", log, record, f"no durable record has the rules {sorted(unknown)}")

    def _trajectory_loaded(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        whose = payload["owner"], payload["load"]
        if payload["first"]:
            draft = Draft()
        elif self.draft is None or self.draft[:2] != whose or payload["part"] - self.draft[2] not in (0, 1):
            self._wrong("N4", log, record, f"goes on with a load that is not there: {self.draft}")
            return
        else:
            draft = self.draft[3]
        draft.take(payload)
        self.draft = (*whose, payload["part"], draft)
        if payload["last"]:
            self.program, self.draft = draft, None
        self._program_is(record)

    def _program_is(self, record: "Rec") -> None:
        self.programs.append((record.seq, self.program.told()))
        self.ever |= set(self.program.facts.items())

    def held_program(self, seq: int) -> dict[str, int]:
        return next(told for at, told in reversed(self.programs) if at < seq)

    # --- events

    def _told(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        self.events.setdefault(sha256(record.raw).hexdigest(), record.seq)

    _local_content_created = _local_evolved = _told

    def _embedding_vector_forgotten(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        self.forgotten |= set(payload["events"])

    def _vector_citation_tracked(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        one, other = payload["from"], payload["to"]
        if not (other in self.events and self.events[other] < self.events.get(one, -1)):
            self._wrong("N4", log, record, "an event leans on what is not there, or is newer")
        if (one, other) in self.cited and not {one, other} & self.forgotten:
            self._wrong("N3", log, record, "cited a second time")
        self.cited.add((one, other))

    # --- tokens of the HTTP gateway

    def _http_token_issued(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        if payload["jti"] in self.http_tokens:
            self._wrong("access", log, record, "issued a second time")
        self.http_tokens.add(payload["jti"])

    def _http_token_revoked(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        if payload["jti"] not in self.http_tokens or payload["jti"] in self.http_revoked:
            self._wrong("N3", log, record, "nobody issued it, or it was revoked before")
        self.http_revoked.add(payload["jti"])

    def _http_token_refused(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        if payload["cause"] == "error":
            self._wrong("access", log, record, "judging failed")
        elif payload["cause"] == "revoked" and payload.get("jti") not in self.http_revoked:
            self._wrong("N4", log, record, "no durable record revoked it")
