"""Receipts, Engage's word for finished purchases, returns and exchanges (ref 5).

Python names are snake_case, the wire is camelCase. An unknown field is an error; an optional field that is None or
absent is absent on the wire: a receipt can never be updated, so there is nothing that a null could clear.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from voyado_async.errors import InvalidEntry
from voyado_async.models.decode import Strict
from voyado_async.models.money import Exact
from voyado_async.models.payload import Payload

Text = Annotated[str, Meta(pattern=r"\S")]
Currency = Annotated[str, Meta(pattern=r"\A[A-Z]{3}\Z")]
Quantity = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Moment = Annotated[datetime, Meta(tz=True)]


class ItemType(StrEnum):
    """What a line does (ref 5.2)."""

    PURCHASE = "PURCHASE"
    RETURN = "RETURN"
    ADJUSTMENT = "ADJUSTMENT"


class MatchKeyType(StrEnum):
    """Which attribute of the contact `match_key` is (ref 5.2, in the form of the vendor's pages)."""

    CONTACT_ID = "contactId"
    MEMBER_NUMBER = "memberNumber"
    SOCIAL_SECURITY_NUMBER = "socialSecurityNumber"
    MOBILE_PHONE = "mobilePhone"
    EXTERNAL_ID = "externalId"
    EMAIL = "email"


class ReceiptPart(Payload, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """A struct inside a receipt."""


class ContactReference(ReceiptPart, frozen=True, kw_only=True):
    """Whose receipt it is. Without `contact_type` Engage takes Member, unless the key is a contactId."""

    match_key: Text
    match_key_type: MatchKeyType
    contact_type: Text | None = None


class ExtraData(ReceiptPart, frozen=True, kw_only=True):
    """One named value; which names mean something is set up per tenant."""

    name: Text
    value: str


class PaymentMethod(ReceiptPart, frozen=True, kw_only=True):
    """One payment. `type` is free text (card, cash, swish, ...); `value` is negative when money goes back."""

    type: Text
    value: Exact
    description: str | None = None
    extra_data: tuple[ExtraData, ...] | None = None


class Discount(ReceiptPart, frozen=True, kw_only=True):
    """What made a line cheaper; `value` is negative and already contained in the line's `gross_paid_price`."""

    value: Exact
    type: str | None = None
    description: str | None = None


class Item(ReceiptPart, frozen=True, kw_only=True):
    """One line. `gross_paid_price` and `tax_amount` are totals of the line and positive also for a return (ref 5.3)."""

    type: ItemType
    sku: str
    article_number: str
    article_name: str
    quantity: Quantity
    gross_paid_price: Exact
    tax_amount: Exact
    tax_percent: Exact
    article_group: str | None = None
    margin_percent: Exact | None = None
    pack_quantity: Exact | None = None
    awards_bonus: bool | None = None
    discounts: tuple[Discount, ...] | None = None
    extra_data: tuple[ExtraData, ...] | None = None


class TaxDetail(ReceiptPart, frozen=True, kw_only=True):
    """One rate of the receipt's tax."""

    description: str | None = None
    value: Exact | None = None
    percent: Exact | None = None
    total_including_tax: Exact | None = None
    total_excluding_tax: Exact | None = None


class UsedBonusCheck(ReceiptPart, frozen=True, kw_only=True):
    """A reward voucher that was used."""

    check_number: Text


class UsedPromotion(ReceiptPart, frozen=True, kw_only=True):
    """A promotion that was used: `coupon_id` is the assignment's id, `promotion_id` the definition's (ref 5.2)."""

    promotion_id: str | None = None
    coupon_id: str | None = None


class Receipt(ReceiptPart, frozen=True, kw_only=True):
    """One finished receipt. `unique_receipt_id` is what Engage recognises a duplicate by, on both roads.

    `receipt_number` is optional in the vendor's pages and required in the vendor's schema (ref 5.2): it is required
    here, so that a till that forgets it learns so while it is being built and not from a silent import.
    `created_date` keeps its offset on the wire; digits beyond the microsecond are rounded.
    """

    contact: ContactReference
    unique_receipt_id: Text
    receipt_number: Text
    created_date: Moment
    store_external_id: Text
    currency: Currency
    total_gross_price: Exact
    payment_methods: tuple[PaymentMethod, ...]
    items: tuple[Item, ...]
    exchange_rate_to_group_currency: Exact | None = None
    tax_details: tuple[TaxDetail, ...] | None = None
    used_bonus_checks: tuple[UsedBonusCheck, ...] | None = None
    used_promotions: tuple[UsedPromotion, ...] | None = None
    extra_data: tuple[ExtraData, ...] | None = None


_RECEIPT = Strict(
    Receipt,
    forms={
        "currency": "expected three capital letters (ISO 4217)",
        "items[].type": f"expected one of {', '.join(ItemType)}",
        "contact.matchKeyType": f"expected one of {', '.join(MatchKeyType)}",
    },
)


def parse_receipt(content: Receipt | Mapping[str, object] | bytes) -> Receipt:
    """The receipt that `content` is: JSON text, a dict with the wire's names, or a struct, which is checked as well.

    Raises InvalidEntry with the path of the first wrong field, never with its value.
    """
    return checked_receipt(content)[0]


def checked_receipt(content: Receipt | Mapping[str, object] | bytes) -> tuple[Receipt, bytes]:
    """As `parse_receipt`, with the receipt's JSON for the wire."""
    receipt, text = _RECEIPT.parse(content)
    offset = receipt.created_date.utcoffset()
    if offset is None or offset.total_seconds() % 60:
        raise InvalidEntry("createdDate", "needs its offset in hours and minutes")
    if abs(offset.total_seconds()) > 14 * 3600:
        raise InvalidEntry("createdDate", "no place on Earth is more than 14 hours from UTC, and XML carries no more")
    return receipt, text
