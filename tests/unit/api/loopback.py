"""A server on loopback that says exactly what a test tells it to, bytes and faults alike, and a clock to go with it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
import msgspec

from voyado_async.api.http import Http
from voyado_async.clock import SystemClock

KEY = "s3cret-key-of-the-shop"


class Seen(NamedTuple):
    """One request as it came over the wire."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Loopback:
    """Answers requests in the order of `answers`; the last one repeats."""

    def __init__(self) -> None:
        self.answers: list[Answer | bytes] = []
        self.seen: list[Seen] = []
        self.url = ""

    @property
    def lines(self) -> list[str]:
        """``GET /path?query`` of each request."""
        return [f"{seen.method} {seen.target}" for seen in self.seen]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                first, *rest = head.strip().split("\r\n")
                headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in rest)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                method, target, _ = first.split(" ")
                self.seen.append(Seen(method, target, headers, body))
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if isinstance(answer, bytes):
                    writer.write(answer)
                    await writer.drain()
                else:
                    await answer(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def loopback(*answers: Answer | bytes) -> AsyncIterator[Loopback]:
    place = Loopback()
    place.answers = list(answers)
    server = await asyncio.start_server(place.serve, "127.0.0.1", 0)
    place.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield place
    finally:
        server.close()
        await asyncio.sleep(0)


@asynccontextmanager
async def calling(url: str, *, timeout: float = 5.0, **options: Any) -> AsyncIterator[Http]:
    async with aiohttp.ClientSession() as session:
        yield Http(
            session,
            base_url=url,
            api_key=KEY,
            user_agent="ShopTill/2.3",
            clock=SystemClock(),
            timeout=timeout,
            **options,
        )


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    """A whole answer over HTTP/1.1. Header names with underscores for dashes."""
    told = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"HTTP/1.1 {status} Said\r\n{head}\r\n".encode() + body


def json_answer(status: int, value: object) -> bytes:
    return answer(status, msgspec.json.encode(value))


def error(status: int, code: str) -> bytes:
    return json_answer(status, {"errorCode": code, "message": "not told here"})


async def reset(writer: asyncio.StreamWriter) -> None:
    """End the connection with a reset."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def close(writer: asyncio.StreamWriter) -> None:
    """End the connection in an orderly way, without an answer."""
    writer.close()


async def hang(writer: asyncio.StreamWriter) -> None:
    """Never answer: until the client ends the connection."""
    await writer.wait_closed()


def truncated(body: bytes) -> Answer:
    """Promise more than comes."""

    async def cut(writer: asyncio.StreamWriter) -> None:
        writer.write(answer(200, body, Content_Length=str(len(body) + 50)))
        await writer.drain()
        writer.close()

    return cut


class FakeClock:
    """A clock that stands until it is told to go on; sleeping moves it."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.slept: list[float] = []

    def now(self) -> int:
        return int(self.seconds * 1000)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds
        await asyncio.sleep(0)
