"""What engines promise one another and their callers, worked out from durable records alone by a model of its own.

Each record is judged as it becomes durable. A record that tells of another log (an order whose task is done) may only be durable
once the other one is, whatever crash came between (N4); what one engine asks of another is done once (N3, N9); what was taken away
(a revoked engine, a spent token) stays away.
"""

from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from core.canonical import encode
from tests.sim.knowledge import Knowledge

if TYPE_CHECKING:
    from tests.sim.oracle import Rec

CLAIMS = ("order:", "entity:")
"""How tasks are named that stand for another engine's order or entity. No caller names one so."""
CAUSES = frozenset({"order.placed", "order.closed", "order.entity_asked", "order.queued", "entity.turned"})
"""What may lead one engine to ask another."""
ON_REQUEST = frozenset({"awaken", "hibernate"})
NAMED = {
    "entity.spawned": ("entity.spawn", "entity_id"),
    "order.placed": ("circuit.order", "order_id"),
    "task.submitted": ("resource.submit_task", "task_id"),
    "engine.registered": ("engines.register", "engine_id"),
}
"""What makes a name taken, by event: the method that asks for it, and which of its parameters it is."""


class Held(NamedTuple):
    """What a cache key held from a record on."""

    seq: int
    rev: str
    digest: str
    """Of the value; empty where there is none."""
    ends: bool
    """Whether it has a time to live."""


class Token(NamedTuple):
    boot_id: str
    until_us: int
    kind: str
    generation: int
    domain: str


def digest(value: Any) -> str:
    return sha256(encode(value)).hexdigest()


class Promises(Knowledge):
    def __init__(self, blame: Callable[[str], None], record: Callable[[str, int], "Rec | None"]) -> None:
        super().__init__()
        self._blame = blame
        self._record = record
        self.names: set[tuple[str, str]] = set()
        """Method and name of all that was ever made."""
        self.asked: dict[str, Rec] = {}
        """What irer did for an effect, by its id."""
        self.ends: dict[str, str] = {}
        """Tasks of other engines that came to an end, and how."""
        self.started: set[str] = set()
        self.orders: dict[str, str] = {}
        """Effect of each order that is open."""
        self.order_counts: Counter[str] = Counter()
        self.claims: dict[str, str] = {}
        """The effect of each awake entity's claim."""
        self.given_back: dict[str, str] = {}
        """The claim that ended with each effect that asks for its end."""
        self.needs: dict[str, bool] = {}
        self.online = {True}
        """All that the cache ever said of the uplink."""
        self.cache: dict[str, list[Held]] = {}
        self.tokens: dict[str, Token] = {}
        self.revoked: set[str] = set()
        self.spent: set[str] = set()
        self.passes: Counter[str] = Counter()
        self.single_use: dict[str, bool] = {}
        self.keys: dict[str, tuple[int, str, int]] = {}
        """Generation, boot and end of grace of the key of each kind of token."""
        self.standings: dict[str, str] = {}
        self.fell: dict[str, tuple[str, int]] = {}
        """Of each engine that was suspended or revoked, since when: the boot and its clock."""
        self.proved: set[str] = set()
        self.statuses: dict[str, str] = {}
        self.flags: dict[str, bool] = {}

    def judge(self, log: str, record: "Rec") -> None:
        """One more record is durable."""
        self._judge_actor(log, record)
        if record.actor == "irer" and record.idem is not None:
            self._judge_effect(log, record)
        what = record.event_type.replace(".", "_")
        judge = getattr(self, f"_{what}", None)
        if judge is not None:
            judge(log, record, record.payload)
        if record.event_type in NAMED:
            method, name = NAMED[record.event_type]
            self.names.add((method, record.payload[name]))

    def _wrong(self, rule: str, log: str, record: "Rec", why: str) -> None:
        self._blame(f"{rule}: {log} {record.seq} ({record.event_type}): {why}: {record.payload}")

    # --- who did it -----------------------------------------------------------------------------------------------------

    def _judge_actor(self, log: str, record: "Rec") -> None:
        """Who speaks as an engine has proved to be it, and has not lost that."""
        kind, _, engine = record.actor.partition(":")
        if kind != "engine":
            return
        if engine not in self.proved:
            self._wrong("N4", log, record, f"by {record.actor}, and no record says that it proved its key")
        boot_id, since_us = self.fell.get(engine, ("", 0))
        if boot_id == record.boot_id and record.mono_us > since_us:
            self._wrong("access", log, record, f"by {record.actor}, which is {self.standings[engine]}")
        elif boot_id and boot_id != record.boot_id and self.standings[engine] == "revoked":
            if int(record.boot_id, 16) > int(boot_id, 16):
                self._wrong("access", log, record, f"by {record.actor}, which was revoked at an earlier boot")

    def _judge_effect(self, log: str, record: "Rec") -> None:
        """What irer does for an effect comes after its cause, and once."""
        effect = record.idem[1] if record.idem is not None else ""
        cause_log, seq, _ = effect.split(":")
        cause = self._record(cause_log, int(seq))
        if cause is None:
            self._wrong("N9", log, record, f"done for {effect}, which is not durable")
        elif cause.event_type not in CAUSES:
            self._wrong("N9", log, record, f"done for {effect}, which is a {cause.event_type}")
        if effect in self.asked:
            self._wrong("N3", log, record, f"done for {effect} a second time")
        self.asked[effect] = record

    # --- tasks that stand for something -----------------------------------------------------------------------------------

    def _task_submitted(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        task = payload["task_id"]
        effect = task.partition(":")[2] if task.startswith(CLAIMS) else ""
        if effect and (record.actor != "irer" or record.idem is None or record.idem[1] != effect):
            self._wrong("N3", log, record, f"not under the key {effect}")
        elif record.actor == "irer" and not effect:
            self._wrong("N9", log, record, "irer has no tasks of its own")

    def _task_started(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        if payload["task_id"].startswith(CLAIMS):
            self.started.add(payload["task_id"])

    def _ended(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        if payload["task_id"].startswith(CLAIMS):
            self.ends[payload["task_id"]] = record.event_type.partition(".")[2]

    _task_done = _task_cancelled = _task_expired = _task_parked = _ended

    def _was_asked(self, log: str, record: "Rec", effect: str, ok: bool) -> None:
        """What an engine was told of its request is what became of it."""
        if ok and effect not in self.asked:
            self._wrong("N4", log, record, f"told that {effect} was done, of which no durable record says so")
        if not ok and effect in self.asked:
            self._wrong("N3", log, record, f"told that {effect} was refused, and it was done")

    # --- orders -----------------------------------------------------------------------------------------------------------

    def _order_placed(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        if payload["order_id"] in self.order_counts:
            self._wrong("N3", log, record, "placed a second time")
        self.orders[payload["order_id"]] = f"{log}:{record.seq}:0"
        self.order_counts[payload["order_id"]] += 1
        if (entity := payload.get("entity_id")) is not None and entity not in self.needs:
            self._wrong("N4", log, record, f"bound to {entity}, which no durable record knows")

    def _order_queued(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        effect = self.orders.get(payload["order_id"], "")
        self._was_asked(log, record, effect, payload["ok"])
        if not payload["ok"]:
            self.orders.pop(payload["order_id"], None)

    def _order_closed(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        effect = self.orders.pop(payload["order_id"], None)
        ended = self.ends.get(f"order:{effect}")
        said = "done" if payload["outcome"] == "fulfilled" else payload["reason"].removeprefix("task-")
        if effect is None:
            self._wrong("N3", log, record, "closed a second time")
        elif ended != said:
            self._wrong("N4", log, record, f"says that its task is {said}; durable is {ended}")

    def _order_entity_asked(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        self._was_asked(log, record, payload["effect"], payload["ok"])

    # --- entities ---------------------------------------------------------------------------------------------------------

    def _entity_spawned(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        self.needs[payload["entity_id"]] = payload.get("needs") is not None

    def _entity_turned(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        entity, cause = payload["entity_id"], payload["cause"]
        if record.actor == "irer" and cause in ON_REQUEST and record.idem is None:
            self._wrong("N3", log, record, "asked for by an engine, and not under its effect's key")
        if cause == "ready" and self.needs[entity] and f"entity:{self.claims.get(entity)}" not in self.started:
            self._wrong("N4", log, record, f"says that {self.claims.get(entity)} has its units; durable is not that it started")
        if cause == "units_lost" and f"entity:{self.claims.get(entity)}" not in self.ends:
            self._wrong("N4", log, record, f"says that {self.claims.get(entity)} lost its units; durable is not that it ended")
        if payload["to_state"] == "awakening" and self.needs[entity]:
            self.claims[entity] = f"{log}:{record.seq}:0"
        elif payload["to_state"] in ("hibernating", "deactivated"):
            self.given_back[f"{log}:{record.seq}:0"] = self.claims.pop(entity, "")

    def _entity_asked(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        self._was_asked(log, record, payload["effect"], payload["ok"])

    def _entity_released(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        """Units that were given back are given back."""
        claim = self.given_back.pop(payload["effect"], None)
        if claim in self.asked and f"entity:{claim}" not in self.ends:
            self._wrong("N4", log, record, f"the units of {claim} are given back, and its task still stands")

    def _entity_uplink(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        if payload["online"] not in self.online:
            self._wrong("N4", log, record, "no durable record of the cache says so")

    # --- the cache --------------------------------------------------------------------------------------------------------

    def _cache_online_set(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        self.online.add(payload["online"])

    def _cache_set(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        held = payload.get("blob") or digest(payload.get("value"))
        self._follow(log, record, Held(record.seq, payload["rev"], held, bool(payload.get("expires_us"))))

    def _cache_deleted(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        self._follow(log, record, Held(record.seq, payload["rev"], "", False))

    def _cache_expired(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        if not self.cache[payload["key"]][-1].ends:
            self._wrong("N6", log, record, "it had no time to live")
        self._follow(log, record, Held(record.seq, payload.get("rev", ""), "", False))

    def _follow(self, log: str, record: "Rec", held: Held) -> None:
        history = self.cache.setdefault(record.payload["key"], [])
        before = history[-1].rev if history else ""
        if record.payload.get("parent", "") != before:
            self._wrong("N6", log, record, f"follows another revision than {before}")
        history.append(held)

    def held(self, key: str, seq: int) -> Held | None:
        """What a key held when all below this record was decided and nothing else."""
        return next((each for each in reversed(self.cache.get(key, ())) if each.seq < seq), None)

    def was_missing(self, key: str, first: int, end: int) -> bool:
        """Whether a reader who looked somewhere between these two ends may have found nothing."""
        seen = [held for held in self.cache.get(key, ()) if first <= held.seq < end]
        before = self.held(key, first)
        return before is None or any(not held.digest or held.ends for held in (before, *seen))

    # --- gates ------------------------------------------------------------------------------------------------------------

    def _token_issued(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        if payload["jti"] in self.tokens:
            self._wrong("access", log, record, "issued a second time")
        until_us = record.mono_us + payload["ttl_s"] * 1_000_000
        self.tokens[payload["jti"]] = Token(record.boot_id, until_us, payload["kind"], payload["generation"], payload["domain"])

    def _token_revoked(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        self.revoked.add(payload["jti"])

    def _gate_policy_set(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        self.single_use[payload["domain"]] = payload["single_use"]

    def _gate_key_rotated(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        until_us = record.mono_us + payload.get("grace_s", 0) * 1_000_000 if payload.get("grace_s") else 0
        self.keys[payload["kind"]] = (payload["generation"], record.boot_id, until_us)

    def _gate_checked(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        if not payload["allowed"]:
            return
        jti = payload.get("jti")
        if (why := self._closed(jti, record)) is not None:
            self._wrong("access", log, record, f"the gate opened to a token that {why}")
        if payload.get("passed"):
            self.passes[jti] += 1
            if self.single_use.get(payload["domain"]):
                self.spent.add(jti)

    def _closed(self, jti: str | None, record: "Rec") -> str | None:
        """Why this token opens nothing at the moment of this record."""
        token = self.tokens.get(jti or "")
        if token is None:
            return "nobody issued"
        if jti in self.revoked:
            return "was revoked"
        if token.boot_id != record.boot_id or token.until_us <= record.mono_us:
            return "is past its life"
        if token.domain != record.payload["domain"] or token.kind != record.payload["kind"]:
            return "is for another gate"
        if jti in self.spent or (self.passes[jti] and self.single_use.get(token.domain)):
            return "was used up"
        generation, boot_id, until_us = self.keys.get(token.kind, (1, "", 0))
        in_grace = token.generation == generation - 1 and boot_id == record.boot_id and record.mono_us < until_us
        return None if token.generation == generation or in_grace else "an ended key signed"

    # --- engines out there ------------------------------------------------------------------------------------------------

    def _engine_registered(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        if payload["engine_id"] in self.standings:
            self._wrong("N3", log, record, "registered a second time")
        self.standings[payload["engine_id"]] = "active"

    def _falls(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        engine = payload["engine_id"]
        if self.standings[engine] == "revoked":
            self._wrong("access", log, record, "it was revoked for ever")
        self.standings[engine] = record.event_type.partition(".")[2]
        self.fell[engine] = (record.boot_id, record.mono_us)

    _engine_suspended = _engine_revoked = _falls

    def _engine_unsuspended(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        if self.standings[payload["engine_id"]] != "suspended":
            self._wrong("access", log, record, f"it was {self.standings[payload['engine_id']]}")
        self.standings[payload["engine_id"]] = "active"
        self.fell.pop(payload["engine_id"], None)

    def _engine_validated(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        if self.standings.get(payload["engine_id"]) != "active":
            self._wrong("access", log, record, f"it is {self.standings.get(payload['engine_id'])}")
        self.proved.add(payload["engine_id"])

    def _platform_status_set(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        self.statuses[payload["platform"]] = payload["status"]

    def _config_flag_set(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        self.flags[payload["flag"]] = payload["enabled"]

    def _action_checked(self, log: str, record: "Rec", payload: dict[str, Any]) -> None:
        platform = payload["platform"]
        switches = (platform, f"{platform}.{payload['action_type']}")
        allowed = (
            self.standings.get(payload["engine_id"]) == "active"
            and self.statuses.get(platform, "available") == "available"
            and all(self.flags.get(switch, True) for switch in switches)
        )
        if payload["status"] == "error":
            self._wrong("access", log, record, "judging failed")
        elif payload["status"] == "allowed" and not allowed:
            standing = self.standings.get(payload["engine_id"])
            self._wrong("access", log, record, f"allowed; the engine is {standing}, {self.statuses}, {self.flags}")
