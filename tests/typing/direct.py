"""Never run, only type-checked: every call beside the outbox, what it takes and what it answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any, assert_type

from voyado_async import (
    ContactCreate,
    ContactUpdate,
    EngageRefused,
    MultipleMatches,
    OutboxEntry,
    Remedy,
    VoyadoClient,
    VoyadoError,
)
from voyado_async.models import (
    BulkStatus,
    Channel,
    ChannelOffer,
    Money,
    Promotion,
    PromotionAssignment,
    PromotionDefinition,
    PromotionValidity,
    Transaction,
    Validity,
    ValueType,
    Voucher,
)


async def contacts(voyado: VoyadoClient, since: datetime) -> None:
    assert_type(await voyado.contacts.find(mobile_phone="+46700000001", contact_type="Member"), str | None)
    assert_type(await voyado.contacts.find(external_id="K-7"), str | None)
    assert_type(await voyado.contacts.find(social_security_number="19880409-1234"), str | None)
    assert_type(await voyado.contacts.find(member_number="7"), str | None)
    contact = await voyado.contacts.get("a")
    assert_type(contact.city, str | None)
    assert_type(contact.stale, bool)
    assert_type(contact.age, float)
    assert_type(await voyado.contacts.update(changes={"city": "Lund"}, member_number="7"), OutboxEntry)
    assert_type(await voyado.contacts.update("a", ContactUpdate(city=None), key="order-7"), OutboxEntry)
    assert_type(await voyado.contacts.create(ContactCreate(email="anna@example.com"), source="POS"), OutboxEntry)
    assert_type(await voyado.contacts.change_type("a", "Member"), OutboxEntry)
    assert_type(await voyado.contacts.create_bulk([ContactCreate(email="a@example.com"), {"email": "b"}]), str)
    batch = await voyado.contacts.update_bulk([{"email": "a@example.com"}], avoid_triggering_export=True)
    status = await voyado.contacts.bulk_status(batch)
    assert_type(status, BulkStatus)
    assert_type(status.answer, Any)
    assert_type(await voyado.contacts.changes("Updated", from_date=since), list[str])


async def promotions(voyado: VoyadoClient) -> None:
    for offer in await voyado.promotions.assignments("a"):
        assert_type(offer, PromotionAssignment)
    assert_type(await voyado.promotions.redeem_code("c", channel="POS"), OutboxEntry)
    await voyado.promotions.assign("a", "p")
    validity = Validity(start_date=date(2025, 3, 1))
    offers = (ChannelOffer(type=Channel.POS, value_type=ValueType.MONEY, value="20.5"),)
    definition = PromotionDefinition(name="Spring", validity=validity, redemption_channels=offers)
    assert_type(await voyado.promotions.create(definition), str)
    promotion = await voyado.promotions.get(external_id="spring")
    assert_type(promotion, Promotion)
    await voyado.promotions.update(promotion.id, {"name": "Spring", "validity": {"startDate": "2025-03-01"}})
    await voyado.promotions.update(external_id="spring", definition=definition)
    await voyado.promotions.update(definition, external_id="spring")
    await voyado.promotions.update_validity({"startDate": "2025-03-01"}, external_id="spring")
    answered = await voyado.promotions.get_validity(promotion.id)
    assert_type(answered, PromotionValidity)
    assert_type(answered.end_date, date | None)
    await voyado.promotions.update_validity(promotion.id, validity)
    await voyado.promotions.delete(external_id="spring")


async def vouchers(voyado: VoyadoClient) -> None:
    page = await voyado.vouchers.available("a", offset=100, count=100)
    assert_type(page.items, tuple[Voucher, ...])
    assert_type(page.items[0].value, Money | None)
    assert_type(page.items[0].points, Decimal | None)
    assert_type(page.stale, bool)
    assert_type((await voyado.vouchers.list("a")).total_count, int | None)
    assert_type((await voyado.vouchers.redeemed("a")).items, tuple[Voucher, ...])
    assert_type(await voyado.vouchers.redeem("v", contact_id="a"), OutboxEntry)


async def transactions(voyado: VoyadoClient) -> None:
    page = await voyado.transactions.list("a", count=10)
    assert_type(page.items, tuple[Transaction, ...])
    assert_type(page.age, float)
    assert_type(voyado.transactions.iterate("a", page_size=50), AsyncIterator[Transaction])
    async for each in voyado.transactions.iterate("a"):
        assert_type(each.net_price_sum, Decimal | None)


def act_on(error: VoyadoError) -> None:
    assert_type(error.remedy, Remedy)
    if isinstance(error, MultipleMatches):
        assert_type(error.contact_ids, tuple[str, ...])
    if isinstance(error, EngageRefused):
        assert_type(error.status, int)
        assert_type(error.code, str | None)
