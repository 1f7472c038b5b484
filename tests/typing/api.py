"""Never run, only type-checked: what a shop may write with the public names, and what it gets."""

from __future__ import annotations

from typing import assert_type

from voyado_async import OutboxEntry, Outcome, Settings, State, VoyadoClient


async def a_shop(receipt: dict[str, object]) -> None:
    settings = Settings(base_url="https://example.staging.voyado.com", api_key="secret")
    async with VoyadoClient(settings, drain=False) as voyado:
        assert_type(await voyado.contacts.find(email="anna@example.com"), str | None)
        offers = await voyado.promotions.assignments("0b6f1c52-7d0e-4a57-9c3b-5a1f2e8d4c10", channel="ECOM")
        assert_type(offers.stale, bool)
        assert_type(offers.age, float)
        assert_type((await voyado.contacts.get("a")).age, float)
        assert_type(offers[0].redeemed, bool)
        async with voyado.batch():
            entry = await voyado.promotions.redeem(offers[0].id, channel="ECOM", contact_id="a")
            await voyado.contacts.update("a", {"city": "Lund"})
            await voyado.contacts.update(None, {"city": None}, email="anna@example.com")
            await voyado.receipts.send(receipt)
        assert_type(entry, OutboxEntry)
        outcome = await entry.wait(timeout=3)
        assert_type(outcome, Outcome)
        assert_type(outcome.state, State)
        await entry.cancel()
        status = await voyado.outbox.status()
        assert_type(status.states, dict[str, int])
