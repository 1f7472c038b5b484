"""One request over aiohttp, and the one place where its errors become ours.

What is known after a failure decides whether a request may be repeated blindly, so the line is drawn at the
connection: until one is held nothing was sent (`Failure.REFUSED`), after that anything may have been.

aiohttp itself repeats only GET, HEAD, OPTIONS, PUT and DELETE, once, when a kept-alive connection turns out to be
closed; POST and PATCH are never repeated in silence, they come back as `Failure.BROKEN`. The middlewares of a shop's
session are switched off for our requests: one that retries would redeem twice. The session's proxy, TLS and cookie
settings are its owner's; `open_session` makes one without any of them.
"""

from __future__ import annotations

import asyncio
import io
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
from yarl import URL

from voyado_async.api.replies import ahead_of, retry_after_seconds
from voyado_async.api.routes import EngageRequest
from voyado_async.clock import Clock
from voyado_async.delivery import Failure, Reply, Request
from voyado_async.errors import ClientClosed

CONNECT_TIMEOUT = 10.0
"""Seconds for a pooled or a new connection: nothing has been sent yet, so there is nothing to be patient for."""

MAX_ANSWER = 16 * 1024 * 1024
"""Bytes of an answer. The longest documented one holds 250 000 ids (ref 4.8), some 10 MB."""

_LARGE = 1024 * 1024  # aiohttp warns of larger bodies that are bytes; a file-like one is written in pieces
_CHUNK = 64 * 1024

_NOTHING_SENT = (
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientConnectorError,
    aiohttp.ClientSSLError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.ClientHttpProxyError,
)


def open_session(connections: int) -> aiohttp.ClientSession:
    """A session of our own: no cookies, no proxies or passwords from the environment. The caller closes it."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )


class Http:
    """Sends requests to one Engage with one key. The session belongs to the caller and is never closed here."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        base_url: str,
        api_key: str,
        user_agent: str,
        clock: Clock,
        api_key_header: str = "apikey",
        timeout: float = 65.0,
    ) -> None:
        self._session = session
        self._base = base_url.rstrip("/")
        self._clock = clock
        self._timeout = timeout
        # Content-Type on every request, GET included: without it Engage answers 500 (ref 1.2).
        self._headers = {
            api_key_header: api_key,
            "User-Agent": user_agent,
            "Content-Type": "application/json",
            "Accept": "application/json",
        }

    def __repr__(self) -> str:
        return "<Http>"

    async def send(self, request: Request, *, within: float | None = None) -> Reply:
        """The answer, or why there is none; never an exception for what the network or Engage does.

        The time-out (seconds; `timeout` of the constructor) runs from when a connection is held. `within` is the limit
        for everything together instead, the wait for a connection included: for reads. Cancelling it passes through
        and leaves the outcome unknown. Raises ClientClosed where the session is closed.
        """
        if self._session.closed:
            raise ClientClosed("the aiohttp session is closed: nothing can be sent")
        patience = self._timeout if within is None else within
        connect = CONNECT_TIMEOUT if within is None else min(within, CONNECT_TIMEOUT)
        limit = patience + connect if within is None else within
        started = self._clock.monotonic()
        try:
            # sock_read bounds each silence from the moment the connection is held; the outer limit ends an answer
            # that drips. It fires only after the connection had its own time, so it never cuts `patience` short.
            async with asyncio.timeout(limit):
                reply = await self._exchange(
                    request, aiohttp.ClientTimeout(connect=connect, sock_connect=connect, sock_read=patience)
                )
        except _NOTHING_SENT:
            reply = Reply(failure=Failure.REFUSED)
        except TimeoutError:  # aiohttp's read time-outs are TimeoutErrors too
            reply = Reply(failure=Failure.TIMEOUT)
        except (aiohttp.ClientError, OSError):
            reply = Reply(failure=Failure.BROKEN)
        return _lasting(reply, self._clock.monotonic() - started)

    async def _exchange(self, request: Request, timeout: aiohttp.ClientTimeout) -> Reply:
        async with self._session.request(
            request.method,
            self._url(request),
            data=_data(request.body),
            headers=self._headers | dict(request.headers if isinstance(request, EngageRequest) else ()),
            timeout=timeout,
            allow_redirects=False,
            raise_for_status=False,
            middlewares=(),
        ) as response:
            body = await _read(response.content)
            if body is None:
                return Reply(failure=Failure.BROKEN)
            now = self._clock.now()
            return Reply(
                status=response.status,
                body=body,
                content_type=response.headers.get("Content-Type", "").partition(";")[0].strip().lower(),
                retry_after=retry_after_seconds(response.headers.get("Retry-After"), now),
                at=now,
                ahead=ahead_of(response.headers.get("Date"), response.headers.get("Age"), now),
            )

    def _url(self, request: Request) -> URL:
        """Encoded here and left alone by yarl: a `+` of a phone number must arrive as %2B (ref 4.1)."""
        query = f"?{urlencode(request.params, quote_via=quote, safe='')}" if request.params else ""
        return URL(f"{self._base}{request.path}{query}", encoded=True)


def _data(body: bytes) -> bytes | io.BytesIO | None:
    if not body:
        return None
    return io.BytesIO(body) if len(body) > _LARGE else body


async def _read(stream: aiohttp.StreamReader) -> bytes | None:
    """The whole body, or None where it is too long. What is not read is dropped with its connection."""
    parts, size = [], 0
    while part := await stream.read(_CHUNK):
        size += len(part)
        if size > MAX_ANSWER:
            return None
        parts.append(part)
    return b"".join(parts)


def _lasting(reply: Reply, seconds: float) -> Reply:
    return msgspec.structs.replace(reply, duration_ms=max(0, round(seconds * 1000)))
