"""Records to XML, and what the check lets through."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from importlib import resources
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from voyado_async.delivery import FileFamily, FileForm
from voyado_async.errors import FileRefused
from voyado_async.fallback import names, xml
from voyado_async.fallback.batch import Head
from voyado_async.fallback.names import SEEN, SHAPES, Element, Form
from voyado_async.fallback.record import RecordRefused, text_of
from voyado_async.models.decode import plain
from voyado_async.models.receipts import parse_receipt

XS = "{http://www.w3.org/2001/XMLSchema}"

RECEIPT: dict[str, Any] = {
    "contact": {"matchKey": "abc", "matchKeyType": "contactId", "contactType": "Member"},
    "uniqueReceiptId": "R1",
    "receiptNumber": "1",
    "createdDate": "2025-03-14T09:12:44+01:00",
    "storeExternalId": "204",
    "currency": "SEK",
    "exchangeRateToGroupCurrency": Decimal("1.0"),
    "totalGrossPrice": Decimal("10.00"),
    "paymentMethods": [
        {
            "type": "card",
            "value": Decimal("10.00"),
            "description": "d",
            "extraData": [{"name": "terminal", "value": "T03"}],
        }
    ],
    "items": [
        {
            "type": "PURCHASE",
            "quantity": 1,
            "grossPaidPrice": Decimal("10.00"),
            "taxAmount": Decimal("2.00"),
            "taxPercent": Decimal("25.00"),
            "sku": "s",
            "articleNumber": "a",
            "articleName": "n",
            "articleGroup": "g",
            "marginPercent": Decimal("1.5"),
            "awardsBonus": True,
            "discounts": [{"type": "PROMO", "description": "d", "value": Decimal("-1.00")}],
        }
    ],
    "usedBonusChecks": [{"checkNumber": "1"}],
    "usedPromotions": [{"promotionId": "p", "couponId": "c"}],
}
TRANSACTIONS = Head(FileFamily.TRANSACTIONS, "Member", "contactId")


def transaction(content: Any) -> FileForm:
    return FileForm(FileFamily.TRANSACTIONS, "Member", "contactId", "abc", 1, content)


def contact(record: dict[str, Any], key: str = "contactId", contact_type: str = "Member") -> FileForm:
    return FileForm(FileFamily.CONTACTS, contact_type, key, "x", 1, record)


def document(*forms: FileForm) -> bytes:
    opening, closing = xml.ends(Head.of(forms[0]))
    return opening + "".join(text_of(form) for form in forms).encode() + closing


def checked(content: bytes, head: Head = TRANSACTIONS, records: int = 1) -> None:
    xml.check(io.BytesIO(content), head, records)


def changed(path: list[str | int], value: Any) -> dict[str, Any]:
    """The receipt with one value replaced."""
    content = parse_receipt(RECEIPT)
    built: dict[str, Any] = plain(content)
    place: Any = built
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return built


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (["storeExternalId"], "20\x004", "storeExternalId"),
        (["items", 0, "articleName"], "a\ud800", "items[0].articleName"),
        (["items", 0, "sku"], "\ufffe", "items[0].sku"),
        (["paymentMethods", 0, "extraData", 0, "value"], "\x0b", "paymentMethods[0].extraData[0].value"),
        (["paymentMethods", 0, "extraData", 0, "name"], "\x0b", "paymentMethods[0].extraData[0].name"),
        (["totalGrossPrice"], 1.5, "totalGrossPrice"),
        (["totalGrossPrice"], Decimal("NaN"), "totalGrossPrice"),
        (["createdDate"], datetime(2025, 1, 1), "createdDate"),  # noqa: DTZ001 - the point of the case
        (["items", 0, "discounts", 0, "reason"], "x", "items[0].discounts[0].reason"),
        (["items"], "x", "items"),
        (["items"], ["x"], "items[0]"),
        (["contact"], "x", "contact"),
    ],
)
def test_a_record_that_xml_cannot_carry_is_refused_with_its_path_and_without_its_value(
    path: list[str | int], value: Any, told: str
) -> None:
    with pytest.raises(RecordRefused) as refused:
        text_of(transaction(changed(path, value)))
    assert refused.value.path == told
    assert "20" not in str(refused.value)


def test_what_no_page_shows_in_a_file_is_left_out() -> None:
    content = changed(["items", 0, "packQuantity"], Decimal(3)) | {"taxDetails": [{}], "extraData": [{}]}
    assert document(transaction(content)) == document(transaction(parse_receipt(RECEIPT)))


@pytest.mark.parametrize(
    ("record", "key", "told"),
    [
        ({"contactId": "x", "city": None}, "contactId", "city"),
        ({"contactId": "x", "city": ""}, "contactId", "city"),
        ({"contactId": "x", "consents": [{"id": "a", "value": True}]}, "contactId", "consents"),
        ({"contactId": "x", "a b": "c"}, "contactId", "a b"),
        ({"contactId": "x", "city": "\x01"}, "contactId", "city"),
        ({"city": "Lund"}, "contactId", "contactId"),
        ({"contactId": "x", "email": "a@b"}, "email", "contactId"),
        ({"email": ""}, "email", "email"),
    ],
)
def test_a_contact_without_a_confirmed_form_is_refused_with_the_field(
    record: dict[str, Any], key: str, told: str
) -> None:
    with pytest.raises(RecordRefused) as refused:
        text_of(contact(record, key))
    assert refused.value.path == told


def test_a_contact_type_that_cannot_be_an_element_is_refused() -> None:
    with pytest.raises(RecordRefused):
        text_of(contact({"contactId": "x"}, contact_type="two words"))
    with pytest.raises(FileRefused):
        xml.schema_of(Head(FileFamily.CONTACTS, "two words", "contactId"))


def test_an_attribute_named_like_the_element_of_the_contact_is_not_counted_as_a_contact() -> None:
    content = document(contact({"contactId": "x", "member": "y"}), contact({"contactId": "z"}))
    checked(content, Head(FileFamily.CONTACTS, "Member", "contactId"), 2)


def mutations() -> Iterator[tuple[str, str, str]]:
    yield "an element is missing", r"<receiptNumber>1</receiptNumber>", ""
    yield (
        "elements are swapped",
        r"(<uniqueReceiptId>.*?</uniqueReceiptId>)(<receiptNumber>.*?</receiptNumber>)",
        r"\2\1",
    )
    yield "an unknown element", r"<receiptNumber>", "<unknown/><receiptNumber>"
    yield "a number with an exponent", r"<totalGrossPrice>10.00", "<totalGrossPrice>1E1"
    yield "a number with a comma", r"<totalGrossPrice>10.00", "<totalGrossPrice>10,00"
    yield "a number with a plus", r"<totalGrossPrice>10.00", "<totalGrossPrice>+10.00"
    yield "a quantity that is no whole number", r"<quantity>1<", "<quantity>1.5<"
    yield "a time without offset", r"\+01:00</createdDate>", "</createdDate>"
    yield "a date that is none", r"2025-03-14T", "2025-13-14T"
    yield "a truth value in other words", r"<awardsBonus>true", "<awardsBonus>Yes"
    yield "an unknown item type", r"PURCHASE", "GIFT"
    yield "an unknown match key type", r"contactId</matchKeyType>", "CardId</matchKeyType>"
    yield "a currency that is none", r"SEK", "kr"
    yield "an empty key", r"<uniqueReceiptId>R1<", "<uniqueReceiptId><"
    yield "extra data without a name", r' name="terminal"', ""
    yield "another attribute", r"<transaction>", '<transaction id="1">'
    yield "another namespace", r"voyado.Schemas", "other.Schemas"
    yield "no record", r"<transaction>.*</transaction>", ""
    yield "a record twice", r"(<transaction>.*</transaction>)", r"\1\1"
    yield "a cut file", r"</transactions>", ""
    yield "text between elements", r"<receiptNumber>", "text<receiptNumber>"


@pytest.mark.parametrize(("what", "pattern", "replacement"), list(mutations()))
def test_a_mutated_file_is_refused(what: str, pattern: str, replacement: str) -> None:
    good = document(transaction(parse_receipt(RECEIPT))).decode()
    checked(good.encode())
    bad = re.sub(pattern, replacement, good, count=1, flags=re.DOTALL)
    assert bad != good, what
    with pytest.raises(FileRefused):
        checked(bad.encode())


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        ("<contactId>x</contactId>", ""),
        ("<contactId>x</contactId>", "<contactId/>"),
        ("<contactId>x</contactId><city>Lund</city>", "<city>Lund</city><contactId>x</contactId>"),
        ("<city>Lund</city>", "<city/>"),
        ("<acceptsEmail>true", "<acceptsEmail>True"),
        ("<birthDay>1988-04-09", "<birthDay>09/04/1988"),
        ("member", "guest"),
        ("new>", "updated>"),
    ],
)
def test_a_mutated_contacts_file_is_refused(pattern: str, replacement: str) -> None:
    head = Head(FileFamily.CONTACTS, "Member", "contactId")
    record = {"contactId": "x", "city": "Lund", "acceptsEmail": True, "birthDay": "1988-04-09", "own": "free & <any>"}
    good = document(contact(record)).decode()
    checked(good.encode(), head)
    assert pattern in good
    with pytest.raises(FileRefused):
        checked(good.replace(pattern, replacement).encode(), head)


def test_a_refusal_tells_the_reason_of_this_file_and_not_of_one_that_was_read_before() -> None:
    bad = document(transaction(parse_receipt(RECEIPT))).replace(b">SEK<", b">kr<")
    with pytest.raises(etree.XMLSyntaxError):
        etree.fromstring(b"<a <b>")
    with pytest.raises(FileRefused, match="SCHEMAV_CVC_PATTERN_VALID"):
        checked(bad)


def test_a_refusal_of_a_file_does_not_quote_a_value() -> None:
    bad = document(transaction(parse_receipt(RECEIPT))).replace(b">SEK<", b">anna@example.com<")
    with pytest.raises(FileRefused) as refused:
        checked(bad)
    assert "anna" not in str(refused.value)
    assert "SCHEMAV" in str(refused.value)


def test_a_file_that_is_cut_short_anywhere_is_refused() -> None:
    good = document(transaction(parse_receipt(RECEIPT)))
    for length in range(len(good)):
        with pytest.raises(FileRefused):
            checked(good[:length])


def test_a_doctype_is_refused_and_its_entities_are_not_resolved() -> None:
    good = document(transaction(parse_receipt(RECEIPT)))
    doctype = b'<!DOCTYPE transactions [<!ENTITY e SYSTEM "file:///etc/hostname">]>\n<transactions'
    with pytest.raises(FileRefused):
        checked(good.replace(b"<transactions", doctype, 1))
    with pytest.raises(FileRefused):
        checked(good.replace(b"<transactions", doctype, 1).replace(b">SEK<", b">&e;<"))


def test_a_record_alone_tells_which_of_its_fields_the_xsd_refuses() -> None:
    built = plain(parse_receipt(RECEIPT))
    built["items"] = [built["items"][0], built["items"][0] | {"quantity": Decimal("1.5")}]  # type: ignore[index]
    form = transaction(built)
    refusal = xml.refusal_of(form, text_of(form))
    assert refusal is not None
    assert refusal.path == "items/item[2]/quantity"
    assert "1.5" not in str(refusal)
    good = transaction(parse_receipt(RECEIPT))
    assert xml.refusal_of(good, text_of(good)) is None


text = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=20)
filled = text.filter(lambda value: bool(value.strip()))
money = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=2)


@settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries(
        RECEIPT
        | {
            "contact": st.fixed_dictionaries({"matchKey": filled, "matchKeyType": st.just("email")}),
            "uniqueReceiptId": filled,
            "totalGrossPrice": money,
            "createdDate": st.builds(
                lambda moment, minutes: moment.replace(tzinfo=timezone(timedelta(minutes=minutes))),
                st.datetimes(),
                st.integers(-14 * 60, 14 * 60),
            ),
            "items": st.lists(
                st.fixed_dictionaries(
                    {key: st.just(value) for key, value in RECEIPT["items"][0].items()}
                    | {
                        "sku": filled,
                        "articleName": filled,
                        "grossPaidPrice": money,
                        "quantity": st.integers(-(2**31), 2**31 - 1),
                    }
                ),
                max_size=3,
            ),
            "usedPromotions": st.lists(st.fixed_dictionaries({}, optional={"couponId": filled}), max_size=2),
        }
        | {
            key: st.just(RECEIPT[key])
            for key in (
                "receiptNumber",
                "storeExternalId",
                "currency",
                "exchangeRateToGroupCurrency",
                "paymentMethods",
                "usedBonusChecks",
            )
        }
    )
)
def test_whatever_a_receipt_may_hold_passes_the_xsd(content: dict[str, Any]) -> None:
    form = FileForm(FileFamily.TRANSACTIONS, "Member", "email", "x", 1, parse_receipt(content))
    checked(document(form), Head.of(form))


@pytest.mark.parametrize("family", [FileFamily.TRANSACTIONS, FileFamily.REDEMPTIONS])
def test_the_table_of_names_and_the_xsd_tell_the_same_order(family: FileFamily) -> None:
    shape = SHAPES[family]
    xsd = etree.fromstring((resources.files("voyado_async.fallback") / shape.xsd).read_bytes())
    types = {node.get("name"): node for node in xsd.iter(f"{XS}complexType") if node.get("name")}

    def declared(node: etree._Element) -> list[Any]:
        kind = types.get(node.get("type", "")) if node.tag == f"{XS}element" else node
        content = kind if kind is not None else node.find(f"{XS}complexType")
        sequence = None if content is None else content.find(f"{XS}sequence")
        below = [] if sequence is None else list(sequence.iterchildren(f"{XS}element"))
        return [(child.get("name"), declared(child)) for child in below]

    def tabled(elements: tuple[Element, ...]) -> list[Any]:
        found: list[Any] = []
        for element in elements:
            below = tabled(element.children)
            if element.form in (Form.ROWS, Form.EXTRA):
                below = [(element.row, below)]
            found.append((element.name, below))
        return found

    assert shape.record is not None
    assert declared(types[shape.record]) == tabled(shape.elements)


def test_everything_that_is_not_seen_is_listed_as_unconfirmed() -> None:
    listed = names.unconfirmed()
    told = {one.what for one in listed}
    assert "transaction/paymentMethods/paymentMethod" in told
    assert "promotion/couponId" in told
    assert "preferences as flat elements" in told
    assert "items.packQuantity is left out" in told
    assert "transaction/uniqueReceiptId" not in told
    assert all(one.sure is not SEEN for one in listed)
