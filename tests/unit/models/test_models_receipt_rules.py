"""The warnings about sums and signs: what is right gives none, each slip gives one, and none is ever an error."""

from __future__ import annotations

from typing import Any

import pytest

from voyado_async.models import parse_receipt, receipt_warnings

Line = tuple[str, int, str]


def warned(total: str, payments: list[tuple[str, str]], lines: list[Line], **more: Any) -> list[str]:
    """The paths of the warnings about a receipt of these lines (type, quantity, line total) and payments."""
    rows = ",".join(
        f'{{"type":"{kind}","sku":"A","articleNumber":"A","articleName":"A","quantity":{quantity},'
        f'"grossPaidPrice":{price},"taxAmount":{more.get("tax", "1.00")},"taxPercent":25,'
        f'"discounts":[{{"value":{more.get("discount", "-1.00")}}}]}}'
        for kind, quantity, price in lines
    )
    paid = ",".join(f'{{"type":"{kind}","value":{value}}}' for kind, value in payments)
    promotion = more.get("promotion", '{"couponId":"c"}')
    text = (
        '{"contact":{"matchKey":"k","matchKeyType":"email"},"uniqueReceiptId":"u","receiptNumber":"r",'
        '"createdDate":"2026-10-14T17:21:08+02:00","storeExternalId":"1","currency":"SEK",'
        f'"totalGrossPrice":{total},"paymentMethods":[{paid}],"items":[{rows}],"usedPromotions":[{promotion}]}}'
    )
    warnings = receipt_warnings(parse_receipt(text.encode()))
    assert all(": " in warning for warning in warnings)
    return [warning.partition(": ")[0] for warning in warnings]


@pytest.mark.parametrize(
    ("total", "payments", "lines"),
    [
        ("100.00", [("card", "100.00")], [("PURCHASE", 1, "100.00")]),
        ("100.00", [("card", "60.00"), ("swish", "40.00")], [("PURCHASE", 2, "70.00"), ("PURCHASE", 1, "30.00")]),
        ("0.00", [], [("PURCHASE", 1, "0.00")]),
        ("-100.00", [("card", "-100.00")], [("RETURN", -1, "100.00")]),
        ("-140", [("card", "-140")], [("RETURN", -2, "40"), ("RETURN", -1, "100")]),
        ("20.00", [("card", "20.00")], [("RETURN", -1, "80.00"), ("PURCHASE", 1, "100.00")]),
        ("-20.00", [("card", "-20.00")], [("RETURN", -1, "100.00"), ("PURCHASE", 1, "80.00")]),
        ("0.00", [], [("RETURN", -1, "100.00"), ("PURCHASE", 1, "100.00")]),
        ("100.00", [("cash", "200.00"), ("cash", "-100.00")], [("PURCHASE", 1, "100.00")]),
        ("100.02", [("card", "100.02")], [("PURCHASE", 1, "50.00"), ("PURCHASE", 1, "50.00")]),
        ("99.50", [("Cash", "100.00")], [("PURCHASE", 1, "99.50")]),
        ("100.00", [("cash", "100.00")], [("PURCHASE", 1, "99.50")]),
        ("95.00", [("card", "95.00")], [("PURCHASE", 1, "100.00"), ("ADJUSTMENT", 0, "5.00")]),
        ("95.00", [("card", "95.00")], [("PURCHASE", 1, "100.00"), ("ADJUSTMENT", -1, "-5.00")]),
    ],
)
def test_a_right_receipt_gives_no_warning(total: str, payments: list[tuple[str, str]], lines: list[Line]) -> None:
    assert warned(total, payments, lines) == []


@pytest.mark.parametrize(
    ("total", "payments", "lines", "paths"),
    [
        ("100", [("card", "100")], [("PURCHASE", -1, "100")], ["items[0].quantity"]),
        ("100", [("card", "100")], [("PURCHASE", 0, "100")], ["items[0].quantity"]),
        ("-100", [("card", "-100")], [("RETURN", 1, "100")], ["items[0].quantity"]),
        (
            "20",
            [("card", "20")],
            [("RETURN", 1, "80"), ("PURCHASE", -1, "100")],
            ["items[0].quantity", "items[1].quantity"],
        ),
        ("-100", [("card", "-100")], [("PURCHASE", 1, "-100")], ["items[0].grossPaidPrice", "totalGrossPrice"]),
        (
            "100",
            [("card", "100")],
            [("RETURN", -1, "-100")],
            ["items[0].grossPaidPrice", "totalGrossPrice", "paymentMethods[0].value"],
        ),
        (
            "100",
            [("card", "100")],
            [("RETURN", -1, "100")],
            ["totalGrossPrice", "paymentMethods[0].value", "totalGrossPrice"],
        ),
        ("100", [("card", "100")], [("PURCHASE", 1, "90")], ["totalGrossPrice"]),
        ("100.00", [("card", "100.00")], [("PURCHASE", 1, "100.02")], ["totalGrossPrice"]),
        ("100.00", [("card", "99.98")], [("PURCHASE", 1, "100.00")], ["totalGrossPrice"]),
        ("100.00", [("card", "99.50")], [("PURCHASE", 1, "100.00")], ["totalGrossPrice"]),
        ("100.00", [("cash", "99.40")], [("PURCHASE", 1, "100.00")], ["totalGrossPrice"]),
        ("100.00", [], [("PURCHASE", 1, "100.00")], ["totalGrossPrice"]),
        ("180", [("card", "180")], [("PURCHASE", 1, "100"), ("RETURN", -1, "80")], ["totalGrossPrice"]),
        ("100", [("card", "90")], [("ADJUSTMENT", 1, "5")], ["totalGrossPrice"]),
        ("0", [], [], ["items"]),
    ],
)
def test_each_slip_is_named_by_its_path(
    total: str, payments: list[tuple[str, str]], lines: list[Line], paths: list[str]
) -> None:
    assert warned(total, payments, lines) == paths


@pytest.mark.parametrize(
    ("more", "paths"),
    [
        ({"tax": "-1.00"}, ["items[0].taxAmount"]),
        ({"discount": "1.00"}, ["items[0].discounts[0].value"]),
        ({"discount": "0.00"}, []),
        ({"promotion": "{}"}, ["usedPromotions[0]"]),
        ({"promotion": '{"promotionId":"p"}'}, []),
    ],
)
def test_signs_inside_a_line_and_empty_promotions_are_named(more: dict[str, str], paths: list[str]) -> None:
    assert warned("100", [("card", "100")], [("PURCHASE", 1, "100")], **more) == paths
