"""The sample shop in FastAPI, in uvicorn as its first lines say, with Engage up, down and hanging."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from processes import SANDBOX, environment
from shops import ROOT, Caller, anna_and_her_offer, sale, shop_process

from voyado_async.cli.demo_engage import Engage, engage_process

ANNA = "anna@example.com"


@pytest.fixture
async def engage(tmp_path: Path) -> AsyncIterator[Engage]:
    async with engage_process(tmp_path, *SANDBOX) as running:
        yield running


def open_shop(engage: Engage, folder: Path, **settings: str) -> AbstractAsyncContextManager[Caller]:
    start = ("-m", "uvicorn", "--app-dir", str(ROOT / "samples"), "shop_fastapi:app")
    return shop_process(*start, env=environment(engage.info, folder, **settings))


STOPPED = -signal.SIGTERM
"""How uvicorn ends when everything was closed in order: by the signal that it was told to end by."""


async def my_pages(shop: Caller) -> dict[str, Any]:
    status, pages = await shop.get("/my-pages", email=ANNA)
    assert status == 200, pages
    return pages  # type: ignore[no-any-return]  # it is JSON


def standing(pages: dict[str, Any]) -> dict[str, str]:
    """How each part of the pages stands."""
    told = {name: pages[name] for name in ("offers", "purchases", "profile")}
    return {
        name: ("stale" if each["stale"] else "fresh") if each["known"] else "unknown" for name, each in told.items()
    }


async def test_a_customer_sees_her_pages_buys_and_sees_them_again_from_whichever_worker(
    engage: Engage, tmp_path: Path
) -> None:
    contact = await anna_and_her_offer(engage)
    settings = {"VOYADO_READ_RATE": "50", "VOYADO_CACHE_TTL": "2"}
    async with open_shop(engage, tmp_path, **settings) as shop, open_shop(engage, tmp_path, **settings) as other:
        for worker in (shop, other):
            pages = await my_pages(worker)
            assert (pages["contact"], set(standing(pages).values())) == (contact, {"fresh"})
        (offer,) = pages["offers"]["content"]
        assert (pages["profile"]["content"]["email"], pages["purchases"]["content"]) == (ANNA, [])
        body = sale(contact, offer["id"])
        status, entries = await shop.post("/checkout", body)
        assert (status, set(entries)) == (202, {"redeem", "contact", "receipt"})
        for entry in entries.values():
            await other.delivered(entry)
        async with asyncio.timeout(30):  # the receipt is in the history after Engage's next import
            while not (pages := await my_pages(other))["purchases"]["content"]:
                await asyncio.sleep(0.1)
        assert pages["offers"]["content"] == []
        assert pages["profile"]["content"]["city"] == "Lund"
        (purchase,) = pages["purchases"]["content"]
        assert purchase["receipt"] == body["receipt"]["uniqueReceiptId"]
        assert [await worker.stop() for worker in (shop, other)] == [STOPPED, STOPPED]


async def test_her_pages_and_her_purchase_survive_an_outage_and_a_restart_in_it(engage: Engage, tmp_path: Path) -> None:
    contact = await anna_and_her_offer(engage)
    settings = {"VOYADO_CACHE_TTL": "0", "VOYADO_READ_RATE": "50"}
    async with open_shop(engage, tmp_path, **settings) as shop:
        (offer,) = (await my_pages(shop))["offers"]["content"]
        await engage.suffer({"kind": "refuse"})
        pages = await my_pages(shop)
        assert set(standing(pages).values()) == {"stale"}
        assert (pages["offers"]["content"], pages["profile"]["content"]["email"]) == ([offer], ANNA)
        status, entries = await shop.post("/checkout", sale(contact, offer["id"]))
        assert status == 202
        assert (await my_pages(shop))["offers"]["content"] == [], "it is not spent twice"
        assert (await shop.get("/my-pages", email="nobody@example.com"))[0] == 503, (
            "nobody says that she does not exist"
        )
        assert await shop.stop() == STOPPED
    async with open_shop(engage, tmp_path, **settings) as shop:
        pages = await my_pages(shop)
        assert standing(pages) == {"offers": "stale", "purchases": "unknown", "profile": "unknown"}
        assert pages["offers"]["content"] == []
        assert await shop.post("/checkout", sale(contact, offer["id"])) == (202, entries), "no second sale"
        await engage.suffer()
        for entry in entries.values():
            await shop.delivered(entry)
        assert set(standing(await my_pages(shop)).values()) == {"fresh"}
        assert (await shop.get("/my-pages", email="nobody@example.com"))[0] == 404
    books = await engage.books()
    assert [effect.subject for effect in books.effects if effect.kind == "redeem"] == [offer["id"]]


async def test_pages_come_within_the_read_time_out_while_engage_hangs(engage: Engage, tmp_path: Path) -> None:
    contact = await anna_and_her_offer(engage)
    settings = {"VOYADO_CACHE_TTL": "0", "VOYADO_READ_TIMEOUT": "0.5", "VOYADO_READ_RATE": "50"}
    async with open_shop(engage, tmp_path, **settings) as shop:
        await my_pages(shop)
        await engage.suffer({"kind": "hang"})
        began = time.monotonic()
        assert set(standing(await my_pages(shop)).values()) == {"stale"}
        assert (await shop.post("/checkout", sale(contact)))[0] == 202
        assert time.monotonic() - began < 10


async def test_what_is_wrong_is_told_with_its_place_and_nothing_is_stored(engage: Engage, tmp_path: Path) -> None:
    contact = await anna_and_her_offer(engage)
    async with open_shop(engage, tmp_path) as shop:
        status, told = await shop.post("/checkout", sale(contact, createdDate="yesterday"))
        assert (status, told["error"].partition(":")[0]) == (400, "createdDate")
        assert (await shop.post("/checkout", {"order": "17"}))[0] == 400
        assert (await shop.get("/orders/17"))[0] == 404
        assert (await shop.get("/my-pages", email="anna"))[0] == 400
        assert (await shop.get("/health"))[1]["accounting"]["enqueued"] == 0


async def test_an_offer_in_two_windows_is_redeemed_once_and_the_second_sale_is_told(
    engage: Engage, tmp_path: Path
) -> None:
    contact = await anna_and_her_offer(engage)
    async with open_shop(engage, tmp_path) as shop:
        (offer,) = (await my_pages(shop))["offers"]["content"]
        status, first = await shop.post("/checkout", sale(contact, offer["id"]))
        assert (status, "note" in first) == (202, False)
        second = sale(contact, offer["id"], uniqueReceiptId="R-18") | {"order": "18"}
        status, told = await shop.post("/checkout", second)
        assert (status, told["redeem"], told["note"]) == (202, first["redeem"], "another sale has used this offer")
        for entry in (told["redeem"], told["contact"], told["receipt"]):
            await shop.delivered(entry)
        changed = sale(contact, offer["id"], receiptNumber="other")
        assert (await shop.post("/checkout", changed))[0] == 409, "the same order with another content"
    books = await engage.books()
    assert [effect.subject for effect in books.effects if effect.kind == "redeem"] == [offer["id"]]


async def test_a_refused_key_and_what_is_rejected_take_neither_the_pages_nor_the_shop_away(
    engage: Engage, tmp_path: Path
) -> None:
    contact = await anna_and_her_offer(engage)
    async with open_shop(engage, tmp_path, VOYADO_CACHE_TTL="0", VOYADO_READ_RATE="50") as shop:
        await my_pages(shop)
        _, entries = await shop.post("/checkout", sale("11111111-1111-4111-8111-111111111111"))
        async with asyncio.timeout(20):
            while (await shop.get(f"/orders/{entries['contact']}"))[1]["state"] != "rejected":
                await asyncio.sleep(0.05)
        status, told = await shop.get("/health")
        assert (status, bool(told["needs_person"])) == (200, True)
        await engage.suffer({"kind": "bad_key"})
        assert set(standing(await my_pages(shop)).values()) == {"stale"}
        another = sale(contact, uniqueReceiptId="R-19") | {"order": "19"}
        assert (await shop.post("/checkout", another))[0] == 202
    async with open_shop(engage, tmp_path, VOYADO_CACHE_TTL="0", VOYADO_READ_RATE="50") as shop:
        assert standing(await my_pages(shop)) == {"offers": "stale", "purchases": "unknown", "profile": "unknown"}
