"""A running sandbox and a client that sends what Engage demands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from voyado_async.sandbox import Sandbox, SandboxSettings


@dataclass
class Caller:
    """A client with the mandatory headers; answers (status, decoded body)."""

    sandbox: Sandbox
    session: aiohttp.ClientSession

    @property
    def headers(self) -> dict[str, str]:
        return {"apikey": self.sandbox.api_key, "User-Agent": "Test/1.0", "Content-Type": "application/json"}

    async def call(self, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
        data = {} if body is None else {"json": body}
        async with self.session.request(
            method, f"{self.sandbox.base_url}{path}", headers=self.headers, **data, **options
        ) as answer:
            raw = await answer.read()
            return answer.status, await answer.json(content_type=None) if raw else None

    async def get(self, path: str, **query: str) -> tuple[int, Any]:
        return await self.call("GET", path, params=query)

    async def post(self, path: str, body: Any = None, **query: str) -> tuple[int, Any]:
        return await self.call("POST", path, body, params=query)

    async def patch(self, path: str, body: Any = None, **query: str) -> tuple[int, Any]:
        return await self.call("PATCH", path, body, params=query)


@pytest.fixture
def settings() -> SandboxSettings:
    """Overridden by modules that need another tenant. Nothing happens by itself: tests run the importer."""
    return SandboxSettings(
        contact_key="externalId",
        custom_attributes=("shoeSize",),
        stores=("204",),
        import_period=3600,
        receipt_period=3600,
        hard_rate=0,
    )


@pytest.fixture
async def sandbox(settings: SandboxSettings) -> AsyncIterator[Sandbox]:
    async with Sandbox(settings) as running:
        yield running


@pytest.fixture
async def engage(sandbox: Sandbox) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession() as session:
        yield Caller(sandbox, session)


@pytest.fixture
def receipt() -> dict[str, Any]:
    return {
        "contact": {"matchKey": "K1", "matchKeyType": "externalId", "contactType": "Member"},
        "uniqueReceiptId": "S204-T03-1",
        "receiptNumber": "1",
        "createdDate": "2025-03-14T09:12:44+01:00",
        "storeExternalId": "204",
        "currency": "SEK",
        "totalGrossPrice": 640.5,
        "paymentMethods": [{"type": "card", "value": 640.5, "extraData": [{"name": "terminal", "value": "T03"}]}],
        "items": [
            {
                "type": "PURCHASE",
                "quantity": 2,
                "grossPaidPrice": 640.5,
                "taxAmount": 128.1,
                "taxPercent": 25.0,
                "sku": "55-M",
                "articleNumber": "55",
                "articleName": "Jacket",
                "discounts": [{"type": "PROMO", "description": "Spring", "value": -160}],
            }
        ],
        "usedPromotions": [{"promotionId": "P", "couponId": "C"}],
    }
