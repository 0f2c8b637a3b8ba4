"""FastAPI's ping in its two ordinary forms. Run by uvicorn in the peers' environment; never imported by irer.

No authorisation stands before it and no middleware around it, so it does less than irerd does for the same question.
"""

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict


class Nothing(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Pong(BaseModel):
    pass


app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)


@app.get("/ping")
async def ping() -> Pong:
    return Pong()


@app.post("/rpc/system.ping")
async def ping_typed(params: Nothing) -> Pong:
    return Pong()
