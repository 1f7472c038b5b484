"""What a receipt must look like: one table for the JSON body (ref 5.2) and one checker. Pure.

Numbers are exact: JSON integers are `int`, other numbers `Decimal`; a number in a string is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

MATCH_KEY_TYPES = ("contactId", "memberNumber", "socialSecurityNumber", "mobilePhone", "externalId", "email")
ITEM_TYPES = ("PURCHASE", "RETURN", "ADJUSTMENT")

_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,7})?(Z|[+-][0-9]{2}:[0-9]{2})")


def is_moment(value: object) -> bool:
    """An ISO 8601 date and time with its offset (ref 5.2, 6.1)."""
    if not isinstance(value, str) or not _MOMENT.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def is_any_text(value: object) -> bool:
    return isinstance(value, str)


def is_number(value: object) -> bool:
    return isinstance(value, (int, Decimal)) and not isinstance(value, bool)


def is_percent(value: object) -> bool:
    """marginPercent: Engage's examples write it as a string, too (ref 5.2)."""
    return is_number(value) or (isinstance(value, str) and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value) is not None)


def is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_flag(value: object) -> bool:
    return isinstance(value, bool)


def is_currency(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[A-Z]{3}", value) is not None


def is_match_key_type(value: object) -> bool:
    """Case is not significant here (ref 5.2)."""
    return isinstance(value, str) and match_key_type(value) is not None


def match_key_type(value: str) -> str | None:
    return next((name for name in MATCH_KEY_TYPES if name.casefold() == value.casefold()), None)


def is_item_type(value: object) -> bool:
    return value in ITEM_TYPES


@dataclass(frozen=True)
class Field:
    """A single value (`check`), an object (`shape`), or rows of it (`many`)."""

    check: Callable[[object], bool] | None = None
    shape: dict[str, Field] | None = None
    many: bool = False
    required: bool = False


def _one(check: Callable[[object], bool], required: bool = False) -> Field:
    return Field(check=check, required=required)


def _rows(shape: dict[str, Field], required: bool = False) -> Field:
    return Field(shape=shape, many=True, required=required)


_EXTRA = {"name": _one(is_text, True), "value": _one(is_any_text, True)}
RECEIPT: dict[str, Field] = {
    "contact": Field(
        required=True,
        shape={
            "matchKey": _one(is_text, True),
            "matchKeyType": _one(is_match_key_type, True),
            "contactType": _one(is_text),
        },
    ),
    "uniqueReceiptId": _one(is_text, True),
    "receiptNumber": _one(is_text),
    "createdDate": _one(is_moment, True),
    "storeExternalId": _one(is_text, True),
    "currency": _one(is_currency, True),
    "exchangeRateToGroupCurrency": _one(is_number),
    "totalGrossPrice": _one(is_number, True),
    "taxDetails": _rows(
        {
            "description": _one(is_any_text),
            "value": _one(is_number),
            "percent": _one(is_number),
            "totalIncludingTax": _one(is_number),
            "totalExcludingTax": _one(is_number),
        }
    ),
    "paymentMethods": _rows(
        {
            "type": _one(is_text, True),
            "description": _one(is_any_text),
            "value": _one(is_number, True),
            "extraData": _rows(_EXTRA),
        },
        required=True,
    ),
    "items": _rows(
        {
            "type": _one(is_item_type, True),
            "quantity": _one(is_whole, True),
            "grossPaidPrice": _one(is_number, True),
            "taxAmount": _one(is_number, True),
            "taxPercent": _one(is_number, True),
            "sku": _one(is_text, True),
            "articleNumber": _one(is_text, True),
            "articleName": _one(is_text, True),
            "articleGroup": _one(is_any_text),
            "marginPercent": _one(is_percent),
            "packQuantity": _one(is_number),
            "awardsBonus": _one(is_flag),
            "discounts": _rows(
                {"type": _one(is_any_text), "description": _one(is_any_text), "value": _one(is_number, True)}
            ),
            "extraData": _rows(_EXTRA),
        },
        required=True,
    ),
    "usedBonusChecks": _rows({"checkNumber": _one(is_text, True)}),
    "usedPromotions": _rows({"promotionId": _one(is_text), "couponId": _one(is_text)}),
    "extraData": _rows(_EXTRA),
}


def problem(value: object, shape: dict[str, Field] = RECEIPT, path: str = "", whole: str = "receipt") -> str | None:
    """The path of the first thing that is wrong, with the reason; None when the value has the shape of a `whole`.
    An optional field may be null.
    """
    if not isinstance(value, dict):
        return f"{path or whole}: not an object"
    dot = f"{path}." if path else ""
    for name in value:
        if name not in shape:
            return f"{dot}{name}: unknown field"
    for name, rule in shape.items():
        if value.get(name) is None:
            if rule.required:
                return f"{dot}{name}: missing"
            continue
        if found := _field_problem(value[name], rule, dot + name):
            return found
    return None


def _field_problem(value: Any, rule: Field, path: str) -> str | None:
    if rule.check is not None:
        return None if rule.check(value) else f"{path}: wrong value"
    assert rule.shape is not None
    if not rule.many:
        return problem(value, rule.shape, path)
    if not isinstance(value, list):
        return f"{path}: not an array"
    for at, row in enumerate(value):
        if found := problem(row, rule.shape, f"{path}[{at}]"):
            return found
    return None
