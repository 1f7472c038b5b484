"""The sample shop as a process, as its first lines say how to start it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from processes import SANDBOX, environment
from shops import ROOT, Caller, anna_and_her_offer, sale, shop_process

from voyado_async.cli.demo_engage import Engage, engage_process


@pytest.fixture
async def engage(tmp_path: Path) -> AsyncIterator[Engage]:
    async with engage_process(tmp_path, *SANDBOX) as running:
        yield running


@pytest.fixture
async def shop(engage: Engage, tmp_path: Path) -> AsyncIterator[Caller]:
    env = environment(engage.info, tmp_path)
    async with shop_process(str(ROOT / "samples/shop_aiohttp.py"), env=env) as caller:
        yield caller


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


async def test_the_sale_of_the_samples_is_made_in_an_engage_with_the_seed_of_the_samples(
    shop: Caller, engage: Engage
) -> None:
    """As the shop's first lines and the README tell it."""
    seed = json.loads((ROOT / "samples/sandbox_seed.json").read_text())
    await engage.seed(**seed)
    (contact,), (assignment,) = seed["contacts"], seed["assignments"]
    _, seen = await shop.get("/offers", email=contact["email"])
    assert seen["offers"] == [{"id": assignment["id"], "name": seed["promotions"][0]["name"]}]
    status, entries = await shop.post("/checkout", json.loads((ROOT / "samples/checkout.json").read_text()))
    assert (status, entries) == (202, {"redeem": 1, "contact": 2, "receipt": 3})
    for entry in entries.values():
        await shop.delivered(entry)


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
