"""The sample shops as processes, each as its first lines say how to start it, and somebody who talks to them."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from processes import process

from voyado_async.cli.demo_engage import Engage

ROOT = Path(__file__).parents[2]
RECEIPT = json.loads((ROOT / "samples/payloads/receipt_purchase.json").read_text())


class Caller:
    """Somebody who talks to the shop; `stop` ends it as systemd does."""

    def __init__(self, url: str, session: aiohttp.ClientSession, started: asyncio.subprocess.Process) -> None:
        self._url = url
        self._session = session
        self._process = started

    async def get(self, path: str, **query: str) -> tuple[int, Any]:
        async with self._session.get(self._url + path, params=query) as answer:
            return answer.status, await answer.json()

    async def post(self, path: str, body: object) -> tuple[int, Any]:
        async with self._session.post(self._url + path, json=body) as answer:
            return answer.status, await answer.json()

    async def listens(self) -> None:
        async with asyncio.timeout(20):
            while True:
                assert self._process.returncode is None, (await self._process.communicate())[1].decode()
                try:
                    await self.get("/health")
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.05)  # it says on no channel that a test can await when it listens
                else:
                    return

    async def delivered(self, entry: int) -> None:
        async with asyncio.timeout(20):
            while (await self.get(f"/orders/{entry}"))[1]["state"] != "delivered":
                await asyncio.sleep(0.05)

    async def stop(self) -> int | None:
        self._process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self._process.wait(), 20)


@asynccontextmanager
async def shop_process(*start: str, env: dict[str, str]) -> AsyncIterator[Caller]:
    """A shop that listens; `start` is how it is started, before the port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with process(*start, "--port", str(port), env=env) as started, aiohttp.ClientSession() as session:
        caller = Caller(f"http://127.0.0.1:{port}", session, started)
        await caller.listens()
        yield caller


async def anna_and_her_offer(engage: Engage) -> str:
    (contact,) = (await engage.seed(contacts=[{"email": "anna@example.com"}]))["contacts"]
    await engage.seed(assignments=[{"contact_id": contact}])
    return contact


def sale(contact: str, assignment: str | None = None, **changes: object) -> dict[str, Any]:
    receipt = RECEIPT | {"contact": {"matchKey": contact, "matchKeyType": "contactId"}} | changes
    body = {"order": "17", "contact_id": contact, "receipt": receipt, "changes": {"city": "Lund"}}
    return body if assignment is None else body | {"assignment_id": assignment}
