"""The payload mix of a shop: 45 % redemptions, 25 % contact updates (0.8 KB), 30 % receipts of five lines (2.9 KB)."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from voyado_async.delivery import Draft, Kind
from voyado_async.kinds import contact_update, receipt, redeem
from voyado_async.kinds.address import address

CONTACTS = 5000
TEMPLATES = 2000


def kind_of(number: int) -> Kind:
    """Which kind the write of that number is."""
    place = (number * 2654435761) % 100
    if place < 45:
        return Kind.REDEEM
    return Kind.CONTACT_UPDATE if place < 70 else Kind.RECEIPT


def contact_id(number: int) -> str:
    return f"{number % CONTACTS:08x}-51a3-4d25-9c1e-0f5a6f1b2c3d"


def assignment_id(number: int) -> str:
    return f"{number:08x}-7c02-4b8e-8a55-6a3e1d9b4f70"


def contact_changes(number: int) -> dict[str, object]:
    return {
        "firstName": "Åsa",
        "lastName": f"Öberg-{number}",
        "email": f"asa.oberg.{number}@example.com",
        "mobilePhone": f"+4670{number % 10_000_000:07d}",
        "street": "Storgatan 12 B",
        "zipCode": "41101",
        "city": "Göteborg",
        "countryCode": "SE",
        "birthDay": "1980-01-01",
        "gender": "Female",
        "preferences": {"acceptsEmail": True, "acceptsSms": False, "acceptsPostal": False},
        "favouriteStore": f"store-{number % 180:04d}",
        "memberLevel": "gold",
        "note": "x" * 320,
    }


def receipt_content(number: int) -> dict[str, object]:
    return {
        "contact": {"matchKey": f"{number % CONTACTS:012d}", "matchKeyType": "memberNumber"},
        "uniqueReceiptId": f"R-2026-{number:09d}",
        "receiptNumber": f"{number:09d}",
        "createdDate": "2026-11-22T10:15:30+01:00",
        "storeExternalId": f"store-{number % 180:04d}",
        "currency": "SEK",
        "totalGrossPrice": Decimal("1495.50"),
        "exchangeRateToGroupCurrency": Decimal("1.0"),
        "paymentMethods": [{"type": "card", "value": Decimal("1495.50"), "description": "Visa"}],
        "taxDetails": [{"description": "VAT", "value": Decimal("299.10"), "percent": Decimal("25.0")}],
        "usedBonusChecks": [{"checkNumber": f"V{number:08d}"}],
        "items": [_item(number, line) for line in range(5)],
    }


def _item(number: int, line: int) -> dict[str, object]:
    return {
        "type": "PURCHASE",
        "sku": f"SKU-{(number * 31 + line) % 99999:05d}",
        "articleNumber": f"A{(number + line) % 4000:05d}",
        "articleName": f"Åtta öl & <ärtor> nr {line}",
        "articleGroup": "outerwear",
        "quantity": 1 + line % 3,
        "grossPaidPrice": Decimal("299.10"),
        "taxAmount": Decimal("59.82"),
        "taxPercent": Decimal("25.0"),
        "marginPercent": Decimal("40.25"),
        "awardsBonus": True,
        "discounts": [{"type": "PROMOTION", "value": Decimal("-29.90"), "description": "Member price"}],
        "extraData": [
            {"name": "description", "value": "A garment of 100 % merino wool, petrol blue"},
            {"name": "color", "value": "petrol"},
            {"name": "size", "value": "M"},
        ],
    }


def draft(number: int) -> Draft:
    """The write of that number, checked."""
    match kind_of(number):
        case Kind.REDEEM:
            return redeem.draft(assignment_id(number), channel="POS", contact_id=contact_id(number))
        case Kind.CONTACT_UPDATE:
            return contact_update.draft(address(contact_id=contact_id(number)), contact_changes(number))
        case _:
            return receipt.draft(receipt_content(number))


def drafts() -> list[Draft]:
    """As many as the callers repeat, each time under another key."""
    return [draft(number) for number in range(TEMPLATES)]


def renumbered(template: Draft, number: int) -> Draft:
    """The same write under a key that nobody used. The content stays: the store never looks into it."""
    if template.key is None:
        return template
    return msgspec.structs.replace(template, key=f"k{number}", natural_key=f"k{number}")
