"""What a receipt looks like when its sums and signs are right, as far as that can be inferred (ref 5.3).

Only warnings: they are stored with the entry and the entry is sent, since no sale is refused over a rounding.
"""

from __future__ import annotations

from decimal import Decimal

from voyado_async.models.receipts import Item, ItemType, Receipt

ROUNDING_PER_LINE = Decimal("0.01")
"""Each line total was rounded by itself, by at most half a minor unit to either side, and so was the receipt's."""

CASH_ROUNDING = Decimal("0.50")
"""What is paid in cash is rounded to the smallest coin; half of the largest smallest coin (1 krona) is the most."""

_NOUGHT = Decimal(0)


def receipt_warnings(receipt: Receipt) -> tuple[str, ...]:
    """What looks wrong about a parsed receipt, each as ``path: reason``; empty when nothing does. Holds no values.

    The signed sum of the lines, `totalGrossPrice` and the sum of the payments are compared with a tolerance of
    `ROUNDING_PER_LINE` for each line (payment), plus `CASH_ROUNDING` where a payment is of the type cash. A line of the
    type ADJUSTMENT has no known sign: with one, the lines are not summed.
    """
    found: list[str] = []
    types = {item.type for item in receipt.items}
    for index, item in enumerate(receipt.items):
        _line(index, item, found)
    _signs(receipt, types, found)
    _sums(receipt, types, found)
    for index, used in enumerate(receipt.used_promotions or ()):
        if not used.promotion_id and not used.coupon_id:
            found.append(f"usedPromotions[{index}]: names neither a promotionId nor a couponId")
    return tuple(found)


def _line(index: int, item: Item, found: list[str]) -> None:
    if item.type is ItemType.PURCHASE and item.quantity <= 0:
        found.append(f"items[{index}].quantity: expected to be positive in a PURCHASE")
    if item.type is ItemType.RETURN and item.quantity >= 0:
        found.append(f"items[{index}].quantity: expected to be negative in a RETURN")
    if item.type is not ItemType.ADJUSTMENT:
        if item.gross_paid_price < _NOUGHT:
            found.append(f"items[{index}].grossPaidPrice: expected to be positive, in a RETURN too")
        if item.tax_amount < _NOUGHT:
            found.append(f"items[{index}].taxAmount: expected to be positive, in a RETURN too")
    for position, discount in enumerate(item.discounts or ()):
        if discount.value > _NOUGHT:
            found.append(f"items[{index}].discounts[{position}].value: expected to be negative")


def _signs(receipt: Receipt, types: set[ItemType], found: list[str]) -> None:
    if not types:
        found.append("items: expected at least one line")
    elif types == {ItemType.PURCHASE} and receipt.total_gross_price < _NOUGHT:
        found.append("totalGrossPrice: expected to be positive in a purchase")
    elif types == {ItemType.RETURN}:
        if receipt.total_gross_price > _NOUGHT:
            found.append("totalGrossPrice: expected to be negative in a return")
        for index, payment in enumerate(receipt.payment_methods):
            if payment.value > _NOUGHT:
                found.append(f"paymentMethods[{index}].value: expected to be negative in a return")


def _sums(receipt: Receipt, types: set[ItemType], found: list[str]) -> None:
    total = receipt.total_gross_price
    cash = any(payment.type.casefold() == "cash" for payment in receipt.payment_methods)
    coin = CASH_ROUNDING if cash else _NOUGHT
    if types and ItemType.ADJUSTMENT not in types:
        lines = _NOUGHT
        for item in receipt.items:
            lines += -item.gross_paid_price if item.type is ItemType.RETURN else item.gross_paid_price
        if abs(lines - total) > ROUNDING_PER_LINE * len(receipt.items) + coin:
            found.append("totalGrossPrice: differs from the sum of the lines (returns counted as negative)")
    paid = sum((payment.value for payment in receipt.payment_methods), _NOUGHT)
    if abs(paid - total) > ROUNDING_PER_LINE * max(1, len(receipt.payment_methods)) + coin:
        found.append("totalGrossPrice: differs from the sum of the payments")
