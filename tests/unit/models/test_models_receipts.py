"""Receipts: what is required, what is refused and where, and that nothing changes on its way to the wire."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import pytest

from voyado_async.errors import InvalidEntry
from voyado_async.models import (
    ContactReference,
    Item,
    ItemType,
    MatchKeyType,
    PaymentMethod,
    Receipt,
    parse_receipt,
    receipt_warnings,
    to_json,
)

PAYLOADS = Path(__file__).parents[3] / "samples" / "payloads"

Form = Callable[[dict[str, Any]], Any]

REQUIRED = [
    "contact",
    "contact.matchKey",
    "contact.matchKeyType",
    "uniqueReceiptId",
    "receiptNumber",
    "createdDate",
    "storeExternalId",
    "currency",
    "totalGrossPrice",
    "paymentMethods",
    "paymentMethods[0].type",
    "paymentMethods[0].value",
    "paymentMethods[0].extraData[0].name",
    "paymentMethods[0].extraData[0].value",
    "items",
    "items[1].type",
    "items[1].sku",
    "items[1].articleNumber",
    "items[1].articleName",
    "items[1].quantity",
    "items[1].grossPaidPrice",
    "items[1].taxAmount",
    "items[1].taxPercent",
    "items[1].discounts[0].value",
    "usedBonusChecks[0].checkNumber",
]

OPTIONAL = [
    "contact.contactType",
    "exchangeRateToGroupCurrency",
    "taxDetails",
    "taxDetails[0].value",
    "usedBonusChecks",
    "usedPromotions",
    "usedPromotions[0].couponId",
    "usedPromotions[0].promotionId",
    "extraData",
    "paymentMethods[0].description",
    "paymentMethods[0].extraData",
    "items[0].articleGroup",
    "items[0].marginPercent",
    "items[0].packQuantity",
    "items[0].awardsBonus",
    "items[0].extraData",
    "items[1].discounts",
    "items[1].discounts[0].type",
    "items[1].discounts[0].description",
]


def content() -> dict[str, Any]:
    """A receipt that uses every field."""
    line = {
        "type": "PURCHASE",
        "sku": "A-1",
        "articleNumber": "A",
        "articleName": "Kettle",
        "quantity": 1,
        "grossPaidPrice": Decimal("320.00"),
        "taxAmount": Decimal("64.00"),
        "taxPercent": Decimal("25.00"),
        "articleGroup": "Kitchen",
        "marginPercent": Decimal("41.50"),
        "packQuantity": 1,
        "awardsBonus": True,
        "extraData": [{"name": "colour", "value": "red"}],
        "discounts": [{"type": "PROMO", "description": "Autumn", "value": Decimal("-80.00")}],
    }
    return {
        "contact": {"matchKey": "shop-1", "matchKeyType": "externalId", "contactType": "Member"},
        "uniqueReceiptId": "S1-000001",
        "receiptNumber": "000001",
        "createdDate": "2026-10-14T17:21:08+02:00",
        "storeExternalId": "118",
        "currency": "SEK",
        "exchangeRateToGroupCurrency": Decimal("1.0"),
        "totalGrossPrice": Decimal("640.00"),
        "paymentMethods": [
            {
                "type": "card",
                "description": "Debit card",
                "value": Decimal("640.00"),
                "extraData": [{"name": "terminal", "value": "T1"}],
            }
        ],
        "items": [line, copy.deepcopy(line)],
        "taxDetails": [
            {
                "description": "VAT",
                "value": Decimal("128.00"),
                "percent": 25,
                "totalIncludingTax": Decimal("640.00"),
                "totalExcludingTax": Decimal("512.00"),
            }
        ],
        "usedBonusChecks": [{"checkNumber": "0001"}],
        "usedPromotions": [{"promotionId": "p-1", "couponId": "c-1"}],
        "extraData": [{"name": "till", "value": "7"}],
    }


def steps(path: str) -> list[str | int]:
    """``items[1].sku`` as the steps to take: items, 1, sku."""
    return [int(step) if step.isdigit() else step for step in path.replace("[", ".").replace("]", "").split(".")]


def with_value(path: str, value: object) -> dict[str, Any]:
    """The full receipt with another value at `path`."""
    receipt = content()
    *way, last = steps(path)
    place: Any = receipt
    for step in way:
        place = place[step]
    place[last] = value
    return receipt


def without(path: str) -> dict[str, Any]:
    """The full receipt without the field at `path`."""
    receipt = content()
    *way, last = steps(path)
    place: Any = receipt
    for step in way:
        place = place[step]
    del place[last]
    return receipt


def as_text(receipt: dict[str, Any]) -> bytes:
    """The receipt as a shop would write it as JSON."""
    return _ENCODER.encode(receipt)


_ENCODER = msgspec.json.Encoder(decimal_format="number")
FORMS: list[Form] = [dict, _ENCODER.encode]
forms = pytest.mark.parametrize("form", FORMS, ids=["dict", "text"])


def refused(given: Any) -> InvalidEntry:
    with pytest.raises(InvalidEntry) as caught:
        parse_receipt(given)
    return caught.value


@forms
@pytest.mark.parametrize("path", REQUIRED)
def test_a_missing_required_field_is_refused_with_its_own_path(path: str, form: Form) -> None:
    error = refused(form(without(path)))
    assert (error.path, error.reason) == (path, "missing")


@forms
@pytest.mark.parametrize("path", OPTIONAL)
def test_an_optional_field_may_be_absent_or_null_and_both_are_absent_on_the_wire(path: str, form: Form) -> None:
    absent = to_json(parse_receipt(form(without(path))))
    assert absent == to_json(parse_receipt(form(with_value(path, None))))
    assert absent != to_json(parse_receipt(content()))


@forms
@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("contact", "shop-1", "expected object, got str"),
        ("contact.matchKey", 7, "expected str, got int"),
        ("contact.matchKey", "", "must not be empty"),
        ("contact.matchKey", " \n", "must not be empty"),
        ("contact.matchKeyType", "ContactId", "expected one of contactId, memberNumber"),
        ("contact.matchKeyType", None, "expected str, got null"),
        ("uniqueReceiptId", "", "must not be empty"),
        ("receiptNumber", 1, "expected str, got int"),
        ("createdDate", "2026-10-14T17:21:08", "needs its offset"),
        ("createdDate", "14/10/2026", "expected a date-time of ISO 8601"),
        ("createdDate", 1791991268, "expected datetime, got int"),
        ("storeExternalId", 118, "expected str, got int"),
        ("currency", "sek", "expected three capital letters"),
        ("currency", "SEKK", "expected three capital letters"),
        ("currency", "SEK\n", "expected three capital letters"),
        ("currency", "ÅÄÖ", "expected three capital letters"),
        ("totalGrossPrice", "640.00", "expected a number"),
        ("totalGrossPrice", "a lot", "expected a number"),
        ("totalGrossPrice", True, "expected a number"),
        ("totalGrossPrice", None, "expected a number"),
        ("totalGrossPrice", {"amount": 640}, "expected a number"),
        ("exchangeRateToGroupCurrency", "1.0", "expected a number"),
        ("paymentMethods", {}, "expected array, got object"),
        ("paymentMethods[0].value", [], "expected a number"),
        ("paymentMethods[0].extraData[0].value", 7, "expected str, got int"),
        ("items", None, "expected array, got null"),
        ("items[1]", "kettle", "expected object, got str"),
        ("items[1].type", "SALE", "expected one of PURCHASE, RETURN, ADJUSTMENT"),
        ("items[1].type", "purchase", "expected one of PURCHASE, RETURN, ADJUSTMENT"),
        ("items[1].sku", None, "expected str, got null"),
        ("items[1].quantity", "2", "expected int, got str"),
        ("items[1].quantity", True, "expected int, got bool"),
        ("items[1].quantity", 2**31, "is out of range"),
        ("items[1].quantity", 10**30, "is out of range"),
        ("items[1].awardsBonus", "true", "expected bool | null, got str"),
        ("items[1].marginPercent", "25.00", "expected a number"),
        ("items[1].discounts[0].value", "-80", "expected a number"),
        ("taxDetails[0].percent", "25", "expected a number"),
        ("usedBonusChecks[0]", 7, "expected object, got int"),
    ],
)
def test_a_wrong_value_is_refused_with_its_path_and_a_reason(path: str, value: object, reason: str, form: Form) -> None:
    error = refused(form(with_value(path, value)))
    assert error.path == path
    assert error.reason.startswith(reason)


@forms
@pytest.mark.parametrize("path", ["total", "contact.matchkey", "items[1].Sku", "items[0].discounts[0].amount"])
def test_an_unknown_field_is_refused_with_its_path(path: str, form: Form) -> None:
    error = refused(form(with_value(path, "x")))
    assert (error.path, error.reason) == (path, "unknown field")


def test_the_name_of_an_unknown_field_is_cut_and_made_legible() -> None:
    error = refused(content() | {"\x1b[31m" + "x" * 1000: 1})
    assert error.path == "?[31m" + "x" * 59 + "..."


@forms
@pytest.mark.parametrize("value", ["hemlig", "anna@example.com"])
@pytest.mark.parametrize(
    "path", ["currency", "createdDate", "contact.matchKeyType", "items[0].type", "items[0].quantity"]
)
def test_no_error_echoes_the_value(path: str, value: str, form: Form) -> None:
    error = refused(form(with_value(path, value)))
    assert value not in str(error)
    assert value not in repr(error)


@pytest.mark.parametrize(
    "text",
    ["640.00", "640", "0.10", "-0.00", "1047.9", "12345678901234567890.12345678", "0.000001", "99999999.99", "0.30"],
)
def test_money_is_written_with_exactly_the_digits_that_were_given(text: str) -> None:
    raw = as_text(content()).replace(b'"totalGrossPrice":640.00', f'"totalGrossPrice":{text}'.encode())
    from_text = parse_receipt(raw)
    from_dict = parse_receipt(with_value("totalGrossPrice", Decimal(text)))
    assert from_text == from_dict
    assert str(from_text.total_gross_price) == text
    assert f'"totalGrossPrice":{text},'.encode() in to_json(from_text)


@pytest.mark.parametrize(
    ("given", "written"),
    [(Decimal("6.4E+2"), "640"), (Decimal("0E-8"), "0.000000"), (Decimal("0E+3"), "0"), (640, "640")],
)
def test_an_exponent_never_reaches_the_wire(given: Decimal | int, written: str) -> None:
    assert f'"totalGrossPrice":{written},'.encode() in to_json(parse_receipt(with_value("totalGrossPrice", given)))


@pytest.mark.parametrize(
    ("given", "written"),
    [
        (640.0, "640"),
        (1047.9, "1047.9"),
        (0.1 + 0.2, "0.3"),
        (1.1 * 3, "3.3"),
        (-99999999.99, "-99999999.99"),
        (1e16, "10000000000000000"),
        (0.000001, "0.000001"),
        (-0.0, "-0"),
    ],
)
def test_a_float_is_the_number_that_was_meant(given: float, written: str) -> None:
    """A receipt that went through `json.loads` is a receipt; digits that only binary arithmetic made are no money."""
    assert f'"totalGrossPrice":{written},'.encode() in to_json(parse_receipt(with_value("totalGrossPrice", given)))


def test_a_receipt_out_of_json_loads_is_the_receipt_of_the_text() -> None:
    text = as_text(content())
    assert parse_receipt(json.loads(text)) == parse_receipt(text)


def test_an_exponent_in_json_is_written_out() -> None:
    raw = as_text(content()).replace(b'"totalGrossPrice":640.00', b'"totalGrossPrice":6.4e2')
    assert b'"totalGrossPrice":640,' in to_json(parse_receipt(raw))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "is not a finite number"),
        (float("-inf"), "is not a finite number"),
        (1e29, "has more than 28 digits"),
        (1e-7, "is smaller than 0.000001"),
        (Decimal("NaN"), "is not a finite number"),
        (Decimal("sNaN"), "is not a finite number"),
        (Decimal("-Infinity"), "is not a finite number"),
        (Decimal("1E+999999"), "has more than 28 digits"),
        (Decimal("1E-999999"), "has more than 28 digits"),
        (Decimal("1E-7"), "is smaller than 0.000001"),
        (Decimal("1" * 27 + ".00"), "has more than 28 digits"),
        (10**28, "has more than 28 digits"),
    ],
)
def test_a_number_from_python_that_is_not_exact_money_is_refused(value: object, reason: str) -> None:
    error = refused(with_value("items[1].grossPaidPrice", value))
    assert error.path == "items[1].grossPaidPrice"
    assert error.reason.startswith(reason)


@pytest.mark.parametrize("number", ["1e999999999", "1" * 5000, "1" * 5000 + ".5", "1e-400"])
def test_a_number_in_json_that_is_no_money_is_refused(number: str) -> None:
    raw = as_text(content()).replace(b'"totalGrossPrice":640.00', f'"totalGrossPrice":{number}'.encode())
    assert refused(raw).path == "totalGrossPrice"


def test_a_subclass_of_decimal_is_taken_for_what_it_is() -> None:
    class Amount(Decimal):
        pass

    assert b'"totalGrossPrice":640.00,' in to_json(parse_receipt(with_value("totalGrossPrice", Amount("640.00"))))


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("2026-10-14T17:21:08+02:00", "2026-10-14T17:21:08+02:00"),
        ("2026-10-14T17:21:08-09:30", "2026-10-14T17:21:08-09:30"),
        ("2026-10-14T17:21:08Z", "2026-10-14T17:21:08Z"),
        ("2026-10-14T17:21:08+00:00", "2026-10-14T17:21:08Z"),
        ("2026-10-14T17:21:08.123456+14:00", "2026-10-14T17:21:08.123456+14:00"),
        (datetime(2026, 10, 14, 17, 21, 8, tzinfo=timezone(timedelta(hours=2))), "2026-10-14T17:21:08+02:00"),
        (datetime(2026, 10, 14, 17, 21, 8, tzinfo=UTC), "2026-10-14T17:21:08Z"),
    ],
)
def test_a_time_keeps_its_offset(given: str | datetime, written: str) -> None:
    receipt = parse_receipt(with_value("createdDate", given))
    assert f'"createdDate":"{written}"'.encode() in to_json(receipt)
    assert parse_receipt(to_json(receipt)) == receipt


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (datetime(2026, 10, 14, 17, 21, 8), "needs its offset"),  # noqa: DTZ001 - a naive time is what is tested
        (datetime(2026, 10, 14, tzinfo=timezone(timedelta(hours=1, seconds=14))), "needs its offset in hours"),
        (datetime(2026, 10, 14, tzinfo=timezone(timedelta(hours=-14, minutes=-1))), "no place on Earth"),
    ],
)
def test_a_datetime_without_a_usable_offset_is_refused(given: datetime, reason: str) -> None:
    error = refused(with_value("createdDate", given))
    assert error.path == "createdDate"
    assert error.reason.startswith(reason)


ODD = [
    "emoji \U0001f9e6 \U0001f469\u200d\U0001f680",
    "\u05e2\u05d1\u05e8\u05d9\u05ea \u0627\u0644\u0639\u0631\u0628\u064a\u0629",  # Hebrew and Arabic
    "]]> <b>&amp;</b> <!-- --> <?pi?>",
    "tab\tline\nreturn\r",
    "C:\\folder\\b\\u0001",
    "\x7f\x85\xa0",
    "\ufeff",
    "\U0001fffe",
    '"',
    "\u2028",
]


@forms
@pytest.mark.parametrize("text", ODD)
def test_odd_text_goes_through_unchanged(text: str, form: Form) -> None:
    receipt = parse_receipt(form(with_value("items[1].articleName", text)))
    assert receipt.items[1].article_name == text
    assert json.loads(to_json(receipt))["items"][1]["articleName"] == text


@forms
def test_a_text_of_a_megabyte_goes_through(form: Form) -> None:
    text = "å\\<" * 350_000
    receipt = parse_receipt(form(with_value("items[1].articleName", text)))
    assert json.loads(to_json(receipt))["items"][1]["articleName"] == text


def test_a_receipt_of_many_lines_goes_through() -> None:
    line = content()["items"][0]
    assert len(parse_receipt(with_value("items", [line] * 5000)).items) == 5000


SURROGATES = [chr(0xD800), chr(0xDFFF)]
NOT_XML = ["\x00", "\x01", "\x08", "\x0b", "\x0c", "\x1f", "\ufffe", "\uffff"]


@forms
@pytest.mark.parametrize(
    "path", ["contact.matchKey", "items[1].articleName", "items[0].extraData[0].name", "receiptNumber"]
)
@pytest.mark.parametrize("character", NOT_XML, ids=ascii)
def test_a_character_that_xml_cannot_carry_is_refused_with_its_path(path: str, character: str, form: Form) -> None:
    error = refused(form(with_value(path, f"a{character}b")))
    assert (error.path, error.reason) == (path, "holds a character that XML cannot carry")


@pytest.mark.parametrize("character", [*NOT_XML, *SURROGATES], ids=ascii)
def test_such_a_character_is_found_however_json_escapes_it(character: str) -> None:
    def plain(value: object) -> float:
        assert isinstance(value, Decimal)
        return float(value)

    given = with_value("items[1].articleName", f"å{character}")
    text = json.dumps(given, default=plain).encode()
    assert refused(text).path == "items[1].articleName"
    assert refused(text.replace(b"\\uff", b"\\uFF").replace(b"\\ud", b"\\uD")).path == "items[1].articleName"


WITH_A_FORM = ["items[1].articleName", "items[1].type", "contact.matchKeyType", "createdDate", "currency", "items"]


@pytest.mark.parametrize("path", WITH_A_FORM)
@pytest.mark.parametrize("character", SURROGATES, ids=ascii)
def test_a_lone_surrogate_in_a_dict_is_refused_with_its_path(character: str, path: str) -> None:
    assert refused(with_value(path, character)).path == path


@pytest.mark.parametrize(
    ("once", "twice", "path"),
    [
        (b'"currency":', b'"currency":"EUR","currency":', "currency"),
        (b'"currency":', b'"c\\u0075rrency" : "EUR",\n"currency":', "currency"),
        (b'"sku":', b'"sku":"B-2","sku":', "items[0].sku"),
        (b'"matchKey":', b'"matchKey":null,"matchKey":', "contact.matchKey"),
    ],
)
def test_a_name_that_stands_twice_is_refused_with_its_path(once: bytes, twice: bytes, path: str) -> None:
    """Readers of JSON take one of the two, and not the same one."""
    text = to_json(parse_receipt(content()))
    assert once in text
    error = refused(text.replace(once, twice, 1))
    assert error.path == path
    assert error.reason in ("stands there twice", "expected str, got null")


def test_a_text_with_nulls_blanks_and_quoted_colons_has_no_name_twice() -> None:
    given = with_value("items[1].articleName", 'a "b": "b":')
    del given["taxDetails"]
    text = to_json(parse_receipt(given))
    spread = text.replace(b'"currency":', b'"taxDetails" : null, "currency" : ')
    escaped = text.replace(rb"\"b\":", rb"\u0022b\u0022\u003A")
    assert escaped != text
    assert parse_receipt(spread) == parse_receipt(escaped) == parse_receipt(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b'{"totalGrossPrice": NaN}', "is not JSON"),
        (b"\xef\xbb\xbf{}", "is not JSON"),
        (b'{"currency":"\xff"}', "is not UTF-8"),
        (b"[]", "expected object, got array"),
        (b"null", "expected object, got null"),
        (b'{"contact":' + b'{"contact":' * 100_000, "unknown field"),
        (b'{"totalGrossPrice":' + b"[" * 100_000, "is nested too deeply"),
    ],
)
def test_text_that_is_no_receipt_is_refused(text: bytes, reason: str) -> None:
    assert refused(text).reason.startswith(reason)


@pytest.mark.parametrize("given", [None, [], "{}", 7, bytearray(b"{}")], ids=repr)
def test_what_is_neither_text_nor_mapping_nor_struct_is_refused(given: object) -> None:
    assert refused(given).reason.startswith("expected an object, got ")


def test_a_value_that_has_no_form_in_json_is_refused_with_its_path() -> None:
    assert refused(with_value("items[1].sku", object())).path == "items[1].sku"
    assert refused(with_value("items[1].sku", b"A-1")).path == "items[1].sku"


def test_a_receipt_that_holds_itself_is_refused() -> None:
    receipt = content()
    receipt["items"].append(receipt)
    assert refused(receipt).reason == "is nested too deeply"


def test_a_field_name_that_is_no_text_is_refused() -> None:
    receipt: dict[Any, Any] = content()
    receipt[7] = "x"
    assert refused(receipt).reason == "expected text as the name of every field"


def test_other_mappings_and_subclasses_of_text_are_taken() -> None:
    class Safe(str):
        """As a template engine has it."""

        __slots__ = ()

    receipt = parse_receipt(MappingProxyType(with_value("items[1].articleName", Safe("Kettle"))))
    assert receipt == parse_receipt(content())
    assert type(receipt.items[1].article_name) is str


def test_the_given_dict_is_left_as_it_was() -> None:
    given = content()
    parse_receipt(given)
    assert given == content()


def struct(**changes: Any) -> Receipt:
    fields: dict[str, Any] = {
        "contact": ContactReference(match_key="shop-1", match_key_type=MatchKeyType.EXTERNAL_ID),
        "unique_receipt_id": "S1-1",
        "receipt_number": "1",
        "created_date": datetime(2026, 10, 14, 17, 21, tzinfo=timezone(timedelta(hours=2))),
        "store_external_id": "118",
        "currency": "SEK",
        "total_gross_price": Decimal("10.00"),
        "payment_methods": (PaymentMethod(type="card", value=Decimal("10.00")),),
        "items": (line(),),
    }
    return Receipt(**(fields | changes))


def line(**changes: Any) -> Item:
    fields: dict[str, Any] = {
        "type": ItemType.PURCHASE,
        "sku": "A-1",
        "article_number": "A",
        "article_name": "Kettle",
        "quantity": 1,
        "gross_paid_price": Decimal("10.00"),
        "tax_amount": Decimal("2.00"),
        "tax_percent": Decimal("25.00"),
    }
    return Item(**(fields | changes))


def test_a_struct_is_written_under_the_names_of_the_wire() -> None:
    assert to_json(parse_receipt(struct())) == (
        b'{"contact":{"matchKey":"shop-1","matchKeyType":"externalId"},"uniqueReceiptId":"S1-1","receiptNumber":"1",'
        b'"createdDate":"2026-10-14T17:21:00+02:00","storeExternalId":"118","currency":"SEK","totalGrossPrice":10.00,'
        b'"paymentMethods":[{"type":"card","value":10.00}],"items":[{"type":"PURCHASE","sku":"A-1",'
        b'"articleNumber":"A","articleName":"Kettle","quantity":1,"grossPaidPrice":10.00,"taxAmount":2.00,'
        b'"taxPercent":25.00}]}'
    )


@pytest.mark.parametrize(
    ("receipt", "path"),
    [
        (struct(total_gross_price="10.0"), "totalGrossPrice"),
        (struct(currency="kr"), "currency"),
        (struct(items=(line(quantity="1"),)), "items[0].quantity"),
        (struct(items=(line(), line(article_name="\x01"))), "items[1].articleName"),
        (struct(items=(line(), line(article_name="\ud800"))), "items[1].articleName"),
        (struct(items=(line(sku=object()),)), "items[0].sku"),
    ],
)
def test_a_struct_is_checked_as_strictly_as_a_dict(receipt: Receipt, path: str) -> None:
    assert refused(receipt).path == path


def test_structs_inside_a_dict_are_checked_too() -> None:
    assert refused(with_value("items", [line(), line(gross_paid_price="1.5")])).path == "items[1].grossPaidPrice"


def test_the_three_ways_of_handing_over_give_the_same_receipt() -> None:
    receipt = parse_receipt(content())
    assert parse_receipt(as_text(content())) == receipt
    assert parse_receipt(receipt) == receipt
    assert parse_receipt(to_json(receipt)) == receipt


def test_a_repr_shows_nothing_of_the_receipt() -> None:
    receipt = parse_receipt(content())
    for part in (receipt, receipt.contact, receipt.items[0], receipt.payment_methods[0]):
        assert repr(part) == f"<{type(part).__name__}>"
        assert part.__rich_repr__() == []


@pytest.mark.parametrize("sample", sorted(PAYLOADS.glob("receipt_*.json")), ids=lambda path: path.name)
def test_the_sample_receipts_are_right(sample: Path) -> None:
    text = sample.read_bytes()
    receipt = parse_receipt(text)
    assert receipt_warnings(receipt) == ()
    assert json.loads(to_json(receipt), parse_float=Decimal) == json.loads(text, parse_float=Decimal)


def test_the_sample_lines_are_right() -> None:
    lines = (PAYLOADS / "receipts.jsonl").read_bytes().splitlines()
    assert len(lines) >= 3
    assert [receipt_warnings(parse_receipt(text)) for text in lines] == [()] * len(lines)
