"""Never run, only type-checked: what a shop may write with the public names, and what it gets."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
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
            await voyado.contacts.update({"city": "Lund"}, email="anna@example.com")
            await voyado.receipts.send(receipt)
        assert_type(entry, OutboxEntry)
        outcome = await entry.wait(timeout=3)
        assert_type(outcome, Outcome)
        assert_type(outcome.state, State)
        await entry.cancel()
        status = await voyado.outbox.status()
        assert_type(status.states, dict[str, int])
        told = await voyado.outbox.replay(7, again=True, via="file", dry_run=True, rate=5.0, max_failures=3)
        assert_type(told.counts, dict[str, int])
        assert_type(told.stopped, str | None)
        assert_type((await voyado.outbox.discard(7, reason="twice")).selected, int)
        assert_type((await voyado.outbox.purge(older_than=timedelta(days=30))).entries, int)
        assert_type((await voyado.outbox.forget("a", drop_pending=True)).out_of_reach, tuple[str, ...])
        assert_type([action.who for action in await voyado.outbox.actions()], list[str])
        waiting = await voyado.outbox.entries(state="pending", kind=["redeem", "receipt"], limit=5)
        await voyado.outbox.replay([entry.id for entry in waiting], dry_run=True)
        await voyado.outbox.discard(error="PromotionNotFound", reason="twice", dry_run=True)
        await voyado.outbox.purge(older_than=3600.0)
        await voyado.outbox.edit(7, {"address": {"type": "contactId", "value": "a"}, "changes": {"city": "Lund"}})
        await voyado.outbox.backup(Path("copy.db"))
        assert_type([entry.state for entry in await voyado.outbox.entries(contact="a", limit=20)], list[State])
        assert_type((await voyado.outbox.get(7)).reason, str | None)
        assert_type([attempt.code for attempt in await voyado.outbox.attempts(7)], list[str | None])
        assert_type(await voyado.outbox.body(7), bytes)
        assert_type([file.name for file in await voyado.outbox.files()], list[str])
        assert_type([finding.ok for finding in await voyado.outbox.verify()], list[bool])
        assert_type(voyado.drain_rate, float | None)
