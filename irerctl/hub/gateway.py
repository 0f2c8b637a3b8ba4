"""The gateway: one HTTP request becomes one call of irerd, and its answer the response.

Which path is which method comes from the table of routes and from what the daemon itself describes, so a method that it learns is
served with no change here. A refusal is told before a body is read where that is possible. Must never keep a caller waiting for a
daemon that is not there, nor put an exception's text into an answer.
"""

import json
import logging
import os
import re
from collections.abc import Mapping
from itertools import count
from typing import Any

import trio

from core.publish.http import served
from core.publish.routes import API_VERSION, JOBS, KNOWN, ROUTES, Route
from core.wire.calls import DEADLINE_MS_MAX, Done
from irerctl.hub import answers, streams
from irerctl.hub.access import TOKEN_S, Access, Caller, token_in
from irerctl.hub.figures import Figures
from irerctl.hub.files import Files
from irerctl.hub.http1 import PHRASES, Bad, Head, header_lines
from irerctl.hub.link import NO_TOKEN, Ask, Daemon, Failed, deadline_of, failed
from irerctl.hub.server import Connection, Limits, Request, Response

LOG = logging.getLogger("irerctl.hub")
DEADLINE_MS = 30_000
FOUND_FILES_MAX = 1_000
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}\Z")
_RPC = "/rpc/"
_RUNS = {"running": "Running", "stopping": "Running", "stopped": "Stopped", "completed": "Completed"}

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
ALWAYS = [
    ("X-Irer-Api-Version", API_VERSION),
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", CONTENT_POLICY),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
]
ALWAYS_SENT = header_lines(ALWAYS)
FRESH = ("Cache-Control", "no-store")

_CODES = {
    400: "invalid-argument",
    408: "deadline-exceeded",
    413: "resource-exhausted",
    431: "resource-exhausted",
    503: "unavailable",
}


class Gateway:
    """What the server serves."""

    def __init__(self, daemon: Daemon, access: Access, files: Files, limits: Limits) -> None:
        self._daemon = daemon
        self._access = access
        self._files = files
        self._limits = limits
        self._routes = {route.path: route for route in ROUTES}
        self._openapi: tuple[str, bytes] | None = None
        self._streams = 0
        self._figures = Figures()
        self._prefix = os.urandom(6).hex()
        self._ids = count(1)

    # --- before the body ----------------------------------------------------------------------------------------------

    async def admits(self, head: Head, peer: str, secure: bool) -> Response | None:
        try:
            self._access.check_host(head)
            verbs = self._verbs(head.path)
            if verbs is None:
                raise failed("not-found", "nothing is here. GET /openapi.json lists what there is")
            if head.method not in verbs:
                return self._refusal(405, f"{head.path} takes {', '.join(verbs)}", head, "method", [("Allow", ", ".join(verbs))])
            if head.length is not None and head.length > self._limits.body_bytes:
                return self._refusal(413, f"a body has at most {self._limits.body_bytes} bytes", head, "body-size")
            if head.method == "POST":
                self._access.check_origin(head, secure)
                await self._access.caller(head, peer)
                return self._admits_body(head)
            if head.length != 0:
                return self._refusal(400, f"{head.method} has no body here", head, "body")
        except Failed as failure:
            status = 421 if failure.body.get("reason") == "host" else None
            request_id = self._request_id(head)
            return self._dressed(answers.problem(failure.body, status, request_id=request_id), request_id)
        return None

    def _verbs(self, path: str) -> tuple[str, ...] | None:
        if path.startswith(_RPC) and len(path) > len(_RPC) and "/" not in path[len(_RPC) :]:
            return ("POST",)
        if (route := self._routes.get(path)) is not None:
            return (route.verb,)
        return ("GET", "HEAD") if path == "/openapi.json" or path in self._files else None

    def _admits_body(self, head: Head) -> Response | None:
        """A form of another site can send many kinds of text, but not JSON: whoever could asks for leave first, and gets none."""
        kind, _, rest = head.headers.get("content-type", "").partition(";")
        if kind.strip().lower() != "application/json" or rest.strip().lower() not in ("", "charset=utf-8"):
            return self._refusal(415, "send Content-Type: application/json", head, "content-type")
        if head.headers.get("content-encoding", "identity").lower() != "identity":
            return self._refusal(415, "send the body as it is, without Content-Encoding", head, "content-encoding")
        return None

    # --- the answer ---------------------------------------------------------------------------------------------------

    async def answer(self, request: Request) -> Response:
        head = request.head
        request_id = self._request_id(head)
        try:
            response = await self._answer(request)
        except Failed as failure:
            response = self._told(failure, head.path, request_id)
        except Exception:
            LOG.exception("a bug in the hub, request %s", request_id)
            body = {"code": "internal", "detail": "a bug in the hub; its journal has the details", "instance": request_id}
            response = answers.problem(body, request_id=request_id)
        return self._dressed(response, request_id)

    def _told(self, failure: Failed, path: str, request_id: str) -> Response:
        body = failure.body
        more: dict[str, Any] = {"request_id": request_id}
        if path == "/api/start-hunt":
            more["message"] = body.get("detail") or body.get("title") or "the hunt was not started"
        return answers.problem(body, **more)

    async def _answer(self, request: Request) -> Response:
        head = request.head
        if (file := self._files.get(head.path)) is not None:
            return file.response(head)
        self._access.check_origin(head, request.secure)
        caller = await self._access.caller(head, request.peer)
        if head.path == "/openapi.json":
            return self._described()
        route = self._routes.get(head.path)
        if route is None:
            route = Route("POST", head.path, head.path[len(_RPC) :])
        method = self._method(route.method)
        if method is None and caller.role is not None and self._daemon.present:
            raise failed("not-found", f"irerd describes no method {route.method[:64]!r}, so no token's role holds it")
        if method is not None and not caller.may(method):
            text = f"this token's role is {caller.role}; {route.method} needs {method['needs']}"
            raise failed("permission-denied", text, reason="role")
        ask, key = self._asked(request, route, method, caller)
        if ask.engine is not None and not self._daemon.knows(ask.engine, key or ""):
            async with self._access.keys.one(request.peer):
                await self._daemon.prove(ask.engine, key or "")
        if route.method == "actions.check" and ask.engine is not None and ask.params.get("engine_id") != ask.engine:
            raise failed("permission-denied", "an engine asks about itself: engine_id is X-Engine-ID", reason="identity")
        if route.form == "stream" or (method is not None and method["streams"]):
            return await self._stream(head, caller, ask, key, method)
        if route.form == "get-status":
            return await self._hunt_status(ask, key)
        return self._result(route, await self._ask(ask, key), request)

    def _method(self, name: str) -> Mapping[str, Any] | None:
        """What the daemon says of a method; None where it is for the daemon to say that there is none."""
        found = self._daemon.methods.get(name)
        if found is None and self._daemon.present and name in KNOWN:
            raise failed("unimplemented", f"this irerd has no {name} yet", data={"method": name})
        return found

    def _asked(self, request: Request, route: Route, method: Mapping[str, Any] | None, caller: Caller) -> tuple[Ask, str | None]:
        """The call that a request stands for, and the key of the engine that makes it."""
        headers = request.head.headers
        engine, key = headers.get("x-engine-id"), headers.get("x-engine-key")
        if (engine is None) != (key is None) or (engine is None and (route.engine or caller.role == "engine")):
            raise failed("unauthenticated", "send both X-Engine-ID and X-Engine-Key", reason="engine-proof")
        schema = method["params"] if method is not None else None
        if route.verb == "POST":
            params = answers.params_of(request.body, schema)
        else:
            params = answers.params_of_query(request.head.query, schema)
        if route.form == "start-hunt":
            params = {name: value for name, value in params.items() if value is not None}
        if route.path == "/engines/validate" and not params:
            params = {"engine_id": engine, "engine_key": key}
        deadline = deadline_of(headers.get("x-irer-timeout-ms"), DEADLINE_MS_MAX)
        streams_ = method is not None and method["streams"]
        if deadline is None and not streams_:
            deadline = (method or {}).get("deadline_ms") or DEADLINE_MS
        if streams_ and (last := headers.get("last-event-id")):
            params = {**params, "since": last}
        if route.method in ("system.op_status", "system.op_watch") and isinstance(params.get("idem"), str):
            if params.get("caller") is not None and caller.role not in (
                None,
                "admin",
            ):  # an irerd that knows no bearers judges the hub
                raise failed("permission-denied", "only an admin may ask about another caller's keys", reason="caller")
            params["idem"] = caller.key(params["idem"]) if params.get("caller") is None else params["idem"]
        idem = caller.key(headers.get("idempotency-key"))
        if engine is None and caller.jti is not None:
            return Ask(route.method, params, deadline, idem, bearer=caller.jti, who=caller.who), token_in(request.head)
        who = f"engine:{engine}" if engine is not None else caller.who or request.peer
        return Ask(route.method, params, deadline, idem, engine, who=who), key

    async def _ask(self, ask: Ask, key: str | None) -> Done:
        try:
            return await self._daemon.ask(ask, key)
        except Failed as failure:
            if failure.body.get("code") == "unauthenticated":
                self._let_in_no_more(ask)
                if failure.body.get("reason") == "token-refused":  # one text, whoever says it
                    raise failed("unauthenticated", NO_TOKEN, reason="token-refused") from None
            raise

    def _let_in_no_more(self, ask: Ask) -> None:
        """irerd refused what was shown to it once: the next request shows it anew."""
        if ask.engine is not None:
            self._daemon.forget_proof(ask.engine)
        elif ask.bearer is not None:
            self._daemon.forget_bearer(ask.bearer)

    def _result(self, route: Route, done: Done, request: Request) -> Response:
        headers = [FRESH]
        if done.rc is not None:
            headers.append(("X-Irer-Receipt", f"{done.rc.get('log')}:{done.rc.get('seq')}:{done.rc.get('event_hash')}"))
        if done.replayed:
            headers.append(("X-Irer-Replayed", "true"))
        if done.cur is not None:
            headers.append(("X-Irer-Cursor", done.cur))
        if route.form == "text":
            body = (str(done.r["text"]) + self._figures.text(request.connection.beside, self._streams)).encode()
            return Response(200, [("Content-Type", "text/plain; version=0.0.4; charset=utf-8"), *headers], body)
        if route.form == "start-hunt":
            return answers.result({"status": "Hunt Started", "hunt_id": done.r.get("hunt_id")}, 202, headers)
        return answers.result(done.r, 202 if route.method in JOBS and done.rc is not None else 200, headers)

    async def _hunt_status(self, ask: Ask, key: str | None) -> Response:
        """The hunt as the page of the source shows it: three methods make one answer."""
        status = (await self._ask(ask, key)).r
        state, hunt = status.get("state"), {"hunt_id": status["hunt_id"]} if status.get("hunt_id") else None
        last = status.get("last") or {}
        found: list[Any] = []
        final: Any = {}
        if hunt is not None:
            rows = await self._or_nothing(ask, "hunt.ledger", hunt | {"limit": FOUND_FILES_MAX}, key)
            listed = rows.get("rows", [])
            found = [f"provenance/provenance_{row['job_uuid']}.json" for row in listed if row.get("status") != "missing"]
            if state in ("completed", "stopped"):
                final = await self._or_nothing(ask, "hunt.best", hunt, key)
        told = {
            "hunt_status": f"Error: {status.get('error') or 'unknown'}" if state == "failed" else _RUNS.get(str(state), "Idle"),
            "last_event": f"Analyzed {str(last['job_uuid'])[:8]}..." if last.get("job_uuid") else None,
            "last_sse": _six(last.get("log_prime_sse")),
            "last_h_norm": _six(last.get("sdg_h_norm_l2")),
            "found_files": found,
            "final_result": final,
        }
        return answers.result(told, 200, [FRESH])

    async def _or_nothing(self, ask: Ask, method: str, params: dict[str, Any], key: str | None) -> dict[str, Any]:
        """A part of an answer that may be missing, as when no run has ended yet."""
        try:
            found = (await self._ask(ask._replace(method=method, params=params), key)).r
        except Failed as failure:
            if failure.body.get("code") == "unavailable":
                raise
            return {}
        return found if isinstance(found, dict) else {}

    def _described(self) -> Response:
        document = self._daemon.document
        if document is None:
            raise failed("unavailable", f"irerd does not answer: {self._daemon.why_away}", reason="no-daemon", retry_ms=1_000)
        if self._openapi is None or self._openapi[0] != self._daemon.schema:
            self._openapi = self._daemon.schema, json.dumps(served(document), ensure_ascii=False).encode()
        return Response(200, [answers.JSON, FRESH], self._openapi[1])

    async def _stream(self, head: Head, caller: Caller, ask: Ask, key: str | None, method: Mapping[str, Any] | None) -> Response:
        if self._streams >= self._limits.streams:
            text = f"{self._limits.streams} streams are open through this hub, which is the most"
            raise failed("resource-exhausted", text, reason="streams", retry_ms=5_000)
        socket = streams.wants_websocket(head)
        accepted = streams.handshake(head) if socket else []
        resumable = method is not None and "since" in method["params"].get("properties", {}) and bool(method["streams"])
        flow = streams.Flow(self._daemon, ask, key, resumable=resumable)
        self._streams += 1
        try:
            await flow.begin()
        except BaseException:
            self._streams -= 1
            raise

        async def run(connection: Connection) -> None:
            try:
                async with trio.open_nursery() as nursery:
                    if caller.subject is not None:
                        nursery.start_soon(self._end_with_the_token, head, caller, flow)
                    await (streams.Socket(connection, flow).run() if socket else streams.send_events(connection, flow))
                    nursery.cancel_scope.cancel()
            finally:
                flow.close()
                self._streams -= 1

        if socket:
            return Response(101, accepted, takeover=run)
        return Response(200, [("Content-Type", "text/event-stream"), FRESH, ("Connection", "close")], takeover=run)

    async def _end_with_the_token(self, head: Head, caller: Caller, flow: streams.Flow) -> None:
        """A stream has no end of its own: one whose token would open it no longer is ended."""
        while True:
            await trio.sleep(TOKEN_S)
            try:
                if await self._access.caller(head) == caller:
                    continue
                body = failed("unauthenticated", "the token is another one by now", reason="token-refused").body
            except Failed as failure:
                body = failure.body
            if body["code"] == "unauthenticated":
                flow.refuse(body)
                return

    # --- how answers look ---------------------------------------------------------------------------------------------

    def refused(self, bad: Bad, head: Head | None) -> Response:
        return self._refusal(bad.status, bad.detail, head, "http")

    def cut(self, head: Head) -> Response:
        detail = "this hub is stopping; ask system.op_status what became of it"
        request_id = self._request_id(head)
        return self._dressed(answers.problem_of(failed("unavailable", detail, reason="stopping", effect="unknown")), request_id)

    def _refusal(
        self, status: int, detail: str, head: Head | None, reason: str, headers: list[tuple[str, str]] | None = None
    ) -> Response:
        """A refusal of HTTP itself, under the status that HTTP has for it."""
        request_id = self._request_id(head)
        body = {"code": _CODES.get(status, "invalid-argument"), "title": PHRASES[status], "detail": detail, "reason": reason}
        response = answers.problem(body, status, request_id=request_id)
        response.headers += headers or []
        return self._dressed(response, request_id)

    def _request_id(self, head: Head | None) -> str:
        given = head.headers.get("x-request-id") if head is not None else None
        if given is not None and _REQUEST_ID.match(given):
            return given
        return f"{self._prefix}-{next(self._ids)}"

    def _dressed(self, response: Response, request_id: str) -> Response:
        self._figures.answered(response.status)
        response.fixed = ALWAYS_SENT
        response.headers.append(("X-Request-Id", request_id))
        return response


def _six(number: Any) -> str | None:
    return f"{number:.6f}" if isinstance(number, int | float) else None
