"""FastAPI and uvicorn doing what the hub and irerd do for `POST /v1/sense`, in one process: judged, hashed, synced, answered.

Run by uvicorn in the peers' environment, with irer's own packages behind it. The engine is ours, so the work is the same; a
request is one sync, as it is where nothing gathers them. Left out, to its advantage: roles, keys, the tree of proofs, streams.
"""

import hashlib
import os
import random
import sys
import time
import uuid
from pathlib import Path
from typing import Annotated, Any

sys.path += [str(Path(__file__).parents[1]), os.environ["IRER_PACKAGES"]]

import msgspec
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from core.canonical import event_payload
from core.engine import Actor, Context, Stamp
from core.engines import ENGINES
from core.secrets import Secrets
from core.settings import Settings
from core.world import World

EIL = next(each for each in ENGINES if each.name == "eil")
ELSEWHERE = {each.name: each.state() for each in ENGINES if each.state is not None and each.log != EIL.log}
ACTOR = Actor("uid:1001", "operator", 1001)
WORLD = World([each for each in ENGINES if each.log == EIL.log])
ROW = WORLD.rows["eil.sense"]
SETTINGS, SECRETS, DRAW = Settings(), Secrets(b"p" * 32, b"t" * 32, os.urandom), random.Random(1)
app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)


class Sense(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    source: Annotated[str, Field(min_length=1, max_length=128)]
    timestamp: str | None = None
    telemetry: Annotated[dict[str, float], Field(min_length=1, max_length=64)]
    context: dict[str, Any] | None = None


class Log:
    """A chain of hashed lines, each on disk before it counts."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._hash = "0" * 64
        self.seq = 0

    def append(self, kind: str, payload: bytes, stamp: Stamp) -> None:
        head = f'{{"actor":"{stamp.actor}","event_type":"{kind}","parent_hash":"{self._hash}","seq":{self.seq},"payload":'
        body = head.encode() + payload
        self._hash = hashlib.sha256(body + b"}").hexdigest()
        os.write(self._file, body + b',"event_hash":"' + self._hash.encode() + b'"}\n')
        self.seq += 1

    def sync(self) -> None:
        os.fdatasync(self._file)


LOG = Log(os.environ["IRER_BENCH_LOG"])


def _peek(name: str) -> Any:
    return WORLD.states[name] if name in WORLD.states else ELSEWHERE[name]


@app.post("/v1/sense")
async def sense(params: Sense) -> dict[str, Any]:
    now_us, mono_us = time.time_ns() // 1000, time.monotonic_ns() // 1000
    context = Context(now_us, mono_us, "00000001", ACTOR, SETTINGS, lambda: uuid.uuid4().hex, DRAW, _peek, SECRETS)
    command = msgspec.convert(params.model_dump(exclude_none=True), ROW.params, strict=True)
    decision = WORLD.decide(ROW, command, context)
    for event in decision.events:
        stamp = Stamp(EIL.log or "", LOG.seq, now_us, mono_us, "00000001", ACTOR.name)
        LOG.append(event.event_type, event_payload(event), stamp)
        WORLD.apply(event, stamp)
    LOG.sync()
    answer = ROW.reply(decision.events) if ROW.reply is not None else decision.events[0]
    found: dict[str, Any] = msgspec.to_builtins(answer)
    return found
