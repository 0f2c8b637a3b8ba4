"""What `make demo` shows of gates, engines, entities, orders and the cache: each claim is put to the daemon and looked at.

Every sentence is printed after what it says was seen; a claim that does not hold ends the demo. Nothing here is timed but by
asking until it is so.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from irerctl.client import Client, Error
from irerctl.trajectory import Fact, TrajectoryOptimizer

CONFIG = """
[entities]                 # so that a demo can show an entity that goes silent
heartbeat_s = 1.5
base_s = 0.3

[circuit]
fulfilment_s = 0.3
"""
CUSTOMER = "ann@example.org"
SPINE = "6f0327c68095150b09c5bc6da5e0e5938399325355779045d5a58ba37ef844c0"
QUEUED = {f"note-{number}": {"text": f"written offline, number {number}"} for number in range(5)}

Wait = Callable[[str, Callable[[], bool]], None]
Say = Callable[[str], None]


class Untrue(SystemExit):
    """What the demo was about to say is not so."""

    def __init__(self, claim: str, seen: Any) -> None:
        super().__init__(f"the demo found it otherwise: {claim}; the daemon said {seen!r}")


def expect(claim: str, holds: bool, seen: Any) -> None:
    if not holds:
        raise Untrue(claim, seen)


class Tour:
    def __init__(self, socket: Path, say: Say, wait: Wait) -> None:
        self.socket = socket
        self.say = say
        self.wait = wait

    def client(self) -> Client:
        return Client(str(self.socket), client="demo-tour")

    def take(self) -> None:
        self.engines()
        self.gates()
        self.entities()
        self.orders()
        self.offline()
        self.trajectory()
        self.knowledge()

    # --- who may do what ------------------------------------------------------------------------------------------------

    def engines(self) -> None:
        with self.client() as admin, self.client() as mailer:
            admin.call("platforms.define", {"platform": "gmail", "actions": {"send_email": ["mail.send"]}})
            key = admin.call("engines.register", {"engine_id": "mailer", "capabilities": {"gmail": ["send_email"]}}).result[
                "engine_key"
            ]
            wrong = mailer.call("engines.validate", {"engine_id": "mailer", "engine_key": key[::-1]}).result
            expect("a wrong key proves nothing", wrong["valid"] is False, wrong)
            proved = mailer.call("engines.validate", {"engine_id": "mailer", "engine_key": key}).result
            expect("the key proves the engine", proved["valid"] is True, proved)
            asked = {"engine_id": "mailer", "platform": "gmail", "action_type": "send_email"}

            def ask() -> dict[str, Any]:
                found = mailer.call("actions.check", asked, as_="mailer").result
                assert isinstance(found, dict)
                return found

            allowed = ask()
            expect("the engine is allowed", allowed["allowed"] is True, allowed)
            self.say(f"Engine `mailer` was registered, proved its key, and is allowed gmail.send_email ({allowed['rule']}).")
            admin.call("platforms.set_status", {"platform": "gmail", "status": "maintenance"})
            denied = ask()
            expect("maintenance denies", (denied["allowed"], denied["reason"]) == (False, "platform-maintenance"), denied)
            self.say("gmail went under maintenance: the very next question is answered no, and says why.")
            admin.call("engines.revoke", {"engine_id": "mailer"})
            try:
                expect("a revoked engine is refused", False, ask())
            except Error as refused:
                expect("a revoked engine is refused", refused.code == "unauthenticated", refused.code)
            self.say("Its key was revoked: its next call on the same connection is refused.")

    # --- who may come in --------------------------------------------------------------------------------------------------

    def gates(self) -> None:
        with self.client() as client:
            first = self.token(client)
            way = self.go(client, first["token"])
            expect("a token opens gate wealth", way == {"ok": True, "route": "wealth/primary"}, way)
            client.call("gate.revoke_token", {"jti": first["jti"]})
            way = self.go(client, first["token"])
            expect("a revoked token opens nothing", way["ok"] is False and way["error"] == "token-refused", way)
            self.say("A token opened gate wealth; revoked, it does not.")
            for route in ("wealth/primary", "wealth/failover"):
                for _ in range(3):
                    client.call("nav.report_route", {"route": route, "ok": False})
            good = self.token(client)["token"]
            way = self.go(client, good)
            expect("no way is left but the offline one", (way["ok"], way.get("error")) == (False, "offline"), way)
            way = self.go(client, good, offline=True)
            expect("being offline opens nothing", (way["ok"], way.get("error")) == (False, "token-refused"), way)
            way = self.go(client, self.token(client, offline=True)["token"], offline=True)
            expect("an offline token opens the offline way", way == {"ok": True, "route": "wealth/offline"}, way)
            self.say("Both ways into wealth failed. Being offline opened nothing: the offline way took only an offline token.")

    @staticmethod
    def token(client: Client, **more: Any) -> dict[str, Any]:
        found = client.call("gate.issue_token", {"domain": "wealth", "subject": "user_001", **more}).result
        assert isinstance(found, dict)
        return found

    @staticmethod
    def go(client: Client, token: str, **more: Any) -> dict[str, Any]:
        found = client.call("nav.navigate", {"domain": "wealth", "token": token, "subject": "user_001", **more}).result
        assert isinstance(found, dict)
        return found

    # --- what runs out there ------------------------------------------------------------------------------------------------

    def entities(self) -> None:
        with self.client() as client:
            one = {"entity_id": "robot-7"}
            client.call("entity.spawn", {**one, "type": "worker", "needs": {"pool": "storage", "units": 1}})
            client.call("entity.awaken", one)

            def state() -> str:
                return str(client.call("entity.get", one).result["state"])

            self.wait("the entity to be active", lambda: state() == "active")
            held = client.call("entity.status").result["units"]
            expect("an awake entity holds units", held == {"storage": 1}, held)
            client.call("entity.report", {**one, "health": 97.5})
            self.wait("its silence to be noticed", lambda: state() == "error_correction")
            client.call("entity.report", {**one, "health": 90})
            expect("a healthy report ends the correction", state() == "active", state())
            client.call("entity.hibernate", one)
            expect("asleep, it holds nothing", client.call("entity.status").result["units"] == {}, state())
            self.say("Entity `robot-7` woke, held a unit of storage, fell silent, was put right, and slept again.")

    # --- what came in -------------------------------------------------------------------------------------------------------

    def orders(self) -> None:
        with self.client() as client:
            items = [{"sku": "widget", "quantity": 2, "unit_price": 1999}]
            client.call("circuit.order", {"order_id": "o-1", "customer": CUSTOMER, "items": items, "currency": "EUR"})

            def placed() -> dict[str, Any]:
                return next(order for order in client.call("circuit.orders").result["orders"] if order["order_id"] == "o-1")

            self.wait("the order to be fulfilled", lambda: placed()["state"] == "fulfilled")
            [revenue] = client.call("circuit.status").result["revenue"]
            expect("it is revenue", (revenue["revenue"], revenue["currency"]) == (3998, "EUR"), revenue)
            who = placed()["customer"]
            self.say(f"An order of 39.98 EUR was fulfilled by a task of its own; its customer stands in the log as {who[:11]}…")

    # --- with no network ----------------------------------------------------------------------------------------------------

    def offline(self) -> None:
        with self.client() as client:
            client.call("cache.set_online", {"online": False})
            for key, value in QUEUED.items():
                client.call("cache.set", {"key": key, "value": value})
            queue = client.call("cache.queue").result
            expect("what is written offline waits", queue["count"] == len(QUEUED), queue)
            self.say(f"The cache went offline: {len(QUEUED)} writes were taken all the same, and wait in the queue.")

    def still_there(self) -> None:
        """After the daemon was killed."""
        with self.client() as client:
            found = {key: client.call("cache.get", {"key": key}).result["value"] for key in QUEUED}
            expect("what was written offline is there", found == QUEUED, found)
            queue = client.call("cache.queue").result
            expect("and still waits", (queue["count"], queue["online"]) == (len(QUEUED), False), queue)
        self.say(f"The {len(QUEUED)} offline writes are there, and still wait in the queue.")

    # --- the cheapest way -----------------------------------------------------------------------------------------------

    def trajectory(self) -> None:
        """The source's own example, and its name."""
        with TrajectoryOptimizer(str(self.socket)) as optimizer:
            optimizer.add_fact("A", True)
            optimizer.add_rule("rule1", ["A"], "B", cost=1.0)
            optimizer.add_rule("detour", ["A"], "C", cost=0.4)
            optimizer.add_rule("onwards", ["C"], "B", cost=0.7)
            best = optimizer.beam_search_optimal_spine({Fact("A", True)})
            expect(
                "the direct rule is cheaper", ([rule.rule_id for rule in best.rules], best.proof) == (["rule1"], "optimal"), best
            )
            name = optimizer.fold_to_hash(best)
            expect("its name is the known one", name == SPINE, name)
        self.say(f"From A to B: the direct rule, cost 1.0, proved optimal against a detour of 1.1; its name is {name[:16]}…")

    # --- what leans on what -----------------------------------------------------------------------------------------------

    def knowledge(self) -> None:
        texts = [
            "the heat pump of the north hall draws too much power at night",
            "too much power is drawn by the north hall's heat pumps",
        ]
        with self.client() as client:
            older, newer = [
                client.call("data.emit", {"family": "local", "type": "content_created", "data": {"text": text}}).result["event"]
                for text in texts
            ]

            def found() -> list[dict[str, Any]]:
                hits = client.call("data.search", {"query": "heat pump power", "k": 2}).result["hits"]
                assert isinstance(hits, list)
                return hits

            self.wait("both texts to be found", lambda: {hit["event"] for hit in found()} == {older, newer})
            cited = client.call("data.cite", {"from": newer, "to": older}).result
            try:
                client.call("data.cite", {"from": older, "to": newer})
                expect("nothing leans on what came after it", False, cited)
            except Error as refused:
                told = refused.code in ("failed-precondition", "invalid-argument")
                expect("nothing leans on what came after it", told, refused.code)
            expect("the citation has a relevance", 0 < cited["relevance"] <= 1, cited)
        relevance = f"{cited['relevance']:.2f}"
        self.say(f"Two texts were told and found again by what they say; the newer leans on the older, relevance {relevance}.")


def files_with(place: Path, text: str) -> list[str]:
    """Files below a directory that hold a text, whatever they are."""
    wanted = text.encode()
    return [str(path) for path in place.rglob("*") if path.is_file() and wanted in path.read_bytes()]
