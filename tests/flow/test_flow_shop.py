"""The sample shop as a process, as its first lines say how to start it."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from processes import SANDBOX, environment, process

from voyado_async.cli.demo_engage import Engage, engage_process

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


@pytest.fixture
async def engage(tmp_path: Path) -> AsyncIterator[Engage]:
    async with engage_process(tmp_path, *SANDBOX) as running:
        yield running


@pytest.fixture
async def shop(engage: Engage, tmp_path: Path) -> AsyncIterator[Caller]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = environment(engage.info, tmp_path)
    async with (
        process(str(ROOT / "samples/shop_aiohttp.py"), "--port", str(port), env=env) as started,
        aiohttp.ClientSession() as session,
    ):
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


async def test_a_customer_sees_an_offer_uses_it_and_everything_arrives(shop: Caller, engage: Engage) -> None:
    contact = await anna_and_her_offer(engage)
    status, seen = await shop.get("/offers", email="anna@example.com")
    assert (status, seen["contact"], seen["stale"], len(seen["offers"])) == (200, contact, False, 1)
    status, entries = await shop.post("/checkout", sale(contact, seen["offers"][0]["id"]))
    assert (status, set(entries)) == (202, {"redeem", "contact", "receipt"})
    for entry in entries.values():
        await shop.delivered(entry)
    books = await engage.books()
    assert sorted(effect.kind for effect in books.effects if effect.kind != "receipt_accepted") == [
        "contact_update",
        "receipt",
        "redeem",
    ]
    assert (await shop.get("/offers", email="anna@example.com"))[1]["offers"] == []
    assert await shop.stop() == 0


async def test_a_sale_is_made_while_engage_is_down_and_an_offer_is_not_spent_twice(
    shop: Caller, engage: Engage
) -> None:
    contact = await anna_and_her_offer(engage)
    _, seen = await shop.get("/offers", email="anna@example.com")
    await engage.suffer({"kind": "refuse"})
    body = sale(contact, seen["offers"][0]["id"])
    status, entries = await shop.post("/checkout", body)
    assert status == 202
    assert await shop.post("/checkout", body) == (202, entries), "repeating a sale makes no second one"
    assert (await shop.get("/offers", email="anna@example.com"))[1]["offers"] == []
    await engage.suffer()
    for entry in entries.values():
        await shop.delivered(entry)
    books = await engage.books()
    assert [effect.subject for effect in books.effects if effect.kind == "redeem"] == [seen["offers"][0]["id"]]


async def test_what_is_wrong_is_told_with_its_place_and_nothing_is_stored(shop: Caller, engage: Engage) -> None:
    contact = await anna_and_her_offer(engage)
    status, told = await shop.post("/checkout", sale(contact, createdDate="yesterday"))
    assert (status, told["error"].partition(":")[0]) == (400, "createdDate")
    assert (await shop.get("/health"))[1]["accounting"]["enqueued"] == 0
    assert (await shop.get("/offers", email="nobody@example.com"))[0] == 404
    assert (await shop.get("/orders/17"))[0] == 404


async def test_a_shop_that_knows_nothing_says_so_while_engage_is_down(shop: Caller, engage: Engage) -> None:
    await engage.suffer({"kind": "refuse"})
    assert (await shop.get("/offers", email="anna@example.com"))[0] == 503
    status, told = await shop.get("/health")
    assert (status, told["breaker"]) == (200, "closed")
