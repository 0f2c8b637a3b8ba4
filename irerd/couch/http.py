"""One request and its bounded answer, over HTTP. The only module that knows httpx2; it is imported at the first sync.

Redirects are not followed, no proxy and no password comes from the environment, certificates are checked. A password is in the
header of a request and nowhere else: no text made here holds an exception's words or a header.
"""

import ssl
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple, Protocol

import httpx2
import trio

from irerd.couch.failures import Failed, TooLarge

ANSWER_BYTES_MAX = 16_777_216
HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "irerd"}


class Answer(NamedTuple):
    status: int
    body: bytes
    retry_s: float | None
    """How long the far end asks to be left alone."""


class Exchange(Protocol):
    async def send(self, method: str, path: str, query: dict[str, str] | None = None, body: bytes | None = None) -> Answer:
        """`path` is percent-encoded. Raises Failed, TooLarge."""
        ...

    def pieces(self, path: str, query: dict[str, str]) -> AsyncGenerator[bytes | Answer, None]:
        """An answer without a foreseen end, piece by piece; one `Answer` where it is another than 200. Raises Failed, TooLarge."""
        ...


class Http:
    def __init__(self, url: str, username: str, password: bytes, timeout_s: float) -> None:
        """Takes a while, as it reads the certificates of the machine."""
        headers = dict(HEADERS)
        if username:
            headers["Authorization"] = "Basic " + b64encode(username.encode() + b":" + password).decode()
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._client = httpx2.AsyncClient(
            headers=headers,
            timeout=timeout_s,
            limits=httpx2.Limits(max_connections=2, max_keepalive_connections=2),
            trust_env=False,
            follow_redirects=False,
        )

    async def aclose(self) -> None:
        await self._client.aclose()

    async def send(self, method: str, path: str, query: dict[str, str] | None = None, body: bytes | None = None) -> Answer:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        try:
            with trio.fail_after(self._timeout_s):
                async with self._client.stream(method, self._url + path, params=query, content=body, headers=headers) as answer:
                    return Answer(answer.status_code, await _read(answer), _retry_s(answer))
        except (trio.TooSlowError, httpx2.HTTPError) as error:
            raise self._failed(error) from None

    async def pieces(self, path: str, query: dict[str, str]) -> AsyncGenerator[bytes | Answer, None]:
        """Silence longer than a request may take is the end: a heartbeat is asked for more often than that."""
        try:
            async with self._client.stream("GET", self._url + path, params=query) as answer:
                if answer.status_code != 200:
                    yield Answer(answer.status_code, await _read(answer), _retry_s(answer))
                    return
                _refuse_packed(answer)
                async with aclosing(answer.aiter_raw()) as chunks:
                    async for chunk in chunks:
                        yield chunk
        except httpx2.HTTPError as error:
            raise self._failed(error) from None

    def _failed(self, error: Exception) -> Failed:
        if isinstance(error, trio.TooSlowError | httpx2.TimeoutException):
            return Failed("unreachable", f"the far end did not answer within {self._timeout_s:g} s", transient=True)
        if isinstance(_root(error), ssl.SSLCertVerificationError):
            text = "the far end's certificate is not valid for this name. Mend it there, or trust its authority on this machine"
            return Failed("certificate", text)
        how = "cannot be reached" if isinstance(error, httpx2.ConnectError) else "broke the connection off"
        return Failed("unreachable", f"the far end {how}", transient=True)


async def _read(answer: httpx2.Response) -> bytes:
    _refuse_packed(answer)
    body = bytearray()
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            raise TooLarge
    return bytes(body)


def _refuse_packed(answer: httpx2.Response) -> None:
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise Failed("bad-answer", "the far end sent a packed answer, which was not asked for", transient=True)


def _retry_s(answer: httpx2.Response) -> float | None:
    said = answer.headers.get("retry-after", "")
    return float(said) if said.isascii() and said.isdigit() and len(said) < 6 else None


def _root(error: BaseException) -> BaseException:
    seen = 0
    while (cause := error.__cause__ or error.__context__) is not None and seen < 10:
        error, seen = cause, seen + 1
    return error
