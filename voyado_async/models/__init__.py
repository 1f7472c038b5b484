"""Engage's words as structs. What we send is checked strictly, what Engage answers is read tolerantly (ref 3 to 5).

Comes in: dicts, JSON text or structs of the shop, and answers of Engage. Goes out: structs, and bytes for the wire.
Nothing here does I/O or knows of the outbox.
"""

from voyado_async.models.contact_fields import KEY_ATTRIBUTES, PREFERENCES
from voyado_async.models.contacts import (
    Consent,
    Contact,
    ContactCreate,
    ContactUpdate,
    Gender,
    Preferences,
    check_contact_type,
    parse_contact_create,
    parse_contact_update,
    read_contact,
)
from voyado_async.models.contacts_bulk import BulkStatus
from voyado_async.models.payload import to_json
from voyado_async.models.promotions import (
    Channel,
    PromotionAssignment,
    Redeem,
    RedeemRequest,
    RedemptionChannel,
    ValueType,
    parse_redeem,
    read_assignments,
)
from voyado_async.models.reading import Money
from voyado_async.models.receipt_rules import receipt_warnings
from voyado_async.models.receipts import (
    ContactReference,
    Discount,
    ExtraData,
    Item,
    ItemType,
    MatchKeyType,
    PaymentMethod,
    Receipt,
    TaxDetail,
    UsedBonusCheck,
    UsedPromotion,
    parse_receipt,
)
from voyado_async.models.transactions import Transaction, TransactionPage, read_transactions

__all__ = [
    "KEY_ATTRIBUTES",
    "PREFERENCES",
    "BulkStatus",
    "Channel",
    "Consent",
    "Contact",
    "ContactCreate",
    "ContactReference",
    "ContactUpdate",
    "Discount",
    "ExtraData",
    "Gender",
    "Item",
    "ItemType",
    "MatchKeyType",
    "Money",
    "PaymentMethod",
    "Preferences",
    "PromotionAssignment",
    "Receipt",
    "Redeem",
    "RedeemRequest",
    "RedemptionChannel",
    "TaxDetail",
    "Transaction",
    "TransactionPage",
    "UsedBonusCheck",
    "UsedPromotion",
    "ValueType",
    "check_contact_type",
    "parse_contact_create",
    "parse_contact_update",
    "parse_receipt",
    "parse_redeem",
    "read_assignments",
    "read_contact",
    "read_transactions",
    "receipt_warnings",
    "to_json",
]
