"""The purchase history, page by page, against both versions of the fake Engage."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from voyado_async import EngageNotFound, EngageUnavailable, VoyadoClient
from voyado_async.models.paging import next_offset
from voyado_async.sandbox import Sandbox
from voyado_async.sandbox.state import SEED

SAMPLE: dict[str, Any] = json.loads(
    (Path(__file__).parents[3] / "samples/payloads/receipt_purchase.json").read_text(), parse_float=Decimal
)
NOBODY = "00000000-0000-4000-8000-000000000000"


def buys(sandbox: Sandbox, contact_id: str, number: int) -> None:
    own = {"uniqueReceiptId": f"S-{number}", "contact": {"matchKey": contact_id, "matchKeyType": "contactId"}}
    assert sandbox.pipeline.store_receipt(SAMPLE | own, SEED) == "stored"


@pytest.fixture
def anna(sandbox: Sandbox) -> str:
    contact_id = sandbox.state.add_contact(email="anna@example.com").id
    buys(sandbox, sandbox.state.add_contact(email="other@example.com").id, 99)
    for number in range(5):
        buys(sandbox, contact_id, number)
    return contact_id


async def test_a_page_holds_the_newest_receipts_with_exact_sums(voyado: VoyadoClient, anna: str) -> None:
    page = await voyado.transactions.list(anna, offset=1, count=2)
    assert ([each.external_id for each in page.items], page.total_count, page.offset) == (["S-3", "S-2"], 5, 1)
    first = page.items[0]
    assert first.net_price_sum == SAMPLE["totalGrossPrice"] - sum(item["taxAmount"] for item in SAMPLE["items"])
    assert first.created_date is not None
    assert first.created_date.isoformat() == SAMPLE["createdDate"]
    assert first.line_items is not None
    assert len(first.line_items) == len(SAMPLE["items"])


@pytest.mark.parametrize("page_size", [1, 2, 5, 100])
async def test_all_receipts_are_told_once_each(
    voyado: VoyadoClient, sandbox: Sandbox, anna: str, page_size: int
) -> None:
    told = [each.external_id async for each in voyado.transactions.iterate(anna, page_size=page_size)]
    assert told == ["S-4", "S-3", "S-2", "S-1", "S-0"]
    assert len(sandbox.journal.requests("GET", "/transactions")) == -(-5 // page_size)


async def test_a_receipt_that_comes_in_between_moves_the_others_and_none_is_told_twice(
    voyado: VoyadoClient, sandbox: Sandbox, anna: str
) -> None:
    told = []
    async for each in voyado.transactions.iterate(anna, page_size=2):
        told.append(each.external_id)
        if len(told) == 2:
            buys(sandbox, anna, 5)
    assert told == ["S-4", "S-3", "S-2", "S-1", "S-0"]


async def test_a_page_that_does_not_come_is_an_error_in_the_middle_and_not_an_end(
    voyado: VoyadoClient, sandbox: Sandbox, anna: str
) -> None:
    history = voyado.transactions.iterate(anna, page_size=2)
    assert [(await anext(history)).external_id for _ in range(2)] == ["S-4", "S-3"]
    sandbox.faults.add("status")
    with pytest.raises(EngageUnavailable):
        await anext(history)
    sandbox.faults.clear()
    with pytest.raises(EngageNotFound):
        await voyado.transactions.list(NOBODY)


async def test_while_engage_is_down_a_page_is_the_last_known_one_and_says_so(
    voyado: VoyadoClient, sandbox: Sandbox, anna: str
) -> None:
    before = await voyado.transactions.list(anna, count=2)
    sandbox.faults.add("refuse")
    page = await voyado.transactions.list(anna, count=2)
    assert (page.items, page.stale, before.stale) == (before.items, True, False)
    assert page.age >= 0
    with pytest.raises(EngageUnavailable):
        await voyado.transactions.list(anna, count=3)


@pytest.mark.parametrize(
    ("offset", "items", "total", "following"),
    [
        (0, 100, 250, 100),
        (100, 100, 250, 200),
        (200, 50, 250, None),
        (0, 100, 100, None),
        (0, 0, 7, None),
        (0, 100, None, 100),
        (0, 30, None, 30),
        (30, 0, None, None),
        (0, 30, 100, 30),
    ],
)
def test_the_next_page_begins_where_the_last_one_ended(
    offset: int, items: int, total: int | None, following: int | None
) -> None:
    assert next_offset(offset, items, total) == following
