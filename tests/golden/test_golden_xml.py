"""The files byte for byte: whoever changes a format sees it here. Expected files stand beside this one."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from file_forms import write_forms
from lxml import etree

from voyado_async.delivery import Draft, FileFamily, FileForm, Kind, Message, NoFileForm
from voyado_async.fallback import xml
from voyado_async.fallback.batch import Head
from voyado_async.fallback.names import OURS, Element
from voyado_async.fallback.spool import Spool
from voyado_async.kinds import contact_create, contact_type, contact_update, redeem, registry, voucher_redeem
from voyado_async.kinds import receipt as receipts
from voyado_async.kinds.address import address
from voyado_async.models.contact_fields import PREFERENCES
from voyado_async.models.contacts import ContactCreate
from voyado_async.models.receipts import parse_receipt
from voyado_async.sandbox import import_xml

HERE = Path(__file__).parent
ANNA = "0b6f1c52-7d0e-4a57-9c3b-5a1f2e8d4c10"
ODD = "emoji 🧥👩‍👩‍👧, RTL \u202eשלום\u202c مرحبا, ]]> & <b> \"q\" 'a', tab\t, line\nbreak, return\r, é e\u0301"  # noqa: RUF001 - other scripts are the point

PURCHASE: dict[str, Any] = {
    "contact": {"matchKey": ANNA, "matchKeyType": "contactId"},
    "uniqueReceiptId": "S204-T03-20250314-000871",
    "receiptNumber": "000871",
    "createdDate": "2025-03-14T09:12:44+01:00",
    "storeExternalId": "204",
    "currency": "SEK",
    "totalGrossPrice": 640,
    "paymentMethods": [{"type": "card", "value": Decimal("640.00")}],
    "items": [
        {
            "type": "PURCHASE",
            "quantity": 2,
            "grossPaidPrice": Decimal("640.00"),
            "taxAmount": Decimal("128.00"),
            "taxPercent": Decimal("25.00"),
            "sku": "5500123-M",
            "articleNumber": "5500123",
            "articleName": 'Rain jacket "Storm" 2-layer',
        }
    ],
}

EVERYTHING: dict[str, Any] = PURCHASE | {
    "contact": {"matchKey": ANNA, "matchKeyType": "contactId", "contactType": "Member"},
    "createdDate": "2025-03-14T09:12:44.123456-03:30",
    "exchangeRateToGroupCurrency": Decimal("1.0"),
    "taxDetails": [{"description": "left out", "value": Decimal("128.00")}],
    "extraData": [{"name": "left", "value": "out"}],
    "paymentMethods": [
        {
            "type": "card",
            "description": ODD,
            "value": Decimal("0.000001"),
            "extraData": [{"name": 'terminal "1" & <2>\n', "value": ODD}, {"name": "empty", "value": ""}],
        },
        {"type": "cash", "description": "", "value": Decimal("1234567890123456789012345.678")},
    ],
    "items": [
        PURCHASE["items"][0]
        | {
            "sku": "5500123-L & <7>",
            "articleName": "x" * 5000,
            "articleGroup": ODD,
            "extraData": [{"name": "size", "value": "M"}],
            "marginPercent": Decimal("41.50"),
            "packQuantity": Decimal("1.5"),
            "awardsBonus": True,
            "discounts": [
                {"type": "PROMO", "description": "20 % spring offer", "value": Decimal("-160.00")},
                {"value": Decimal("-1E-6")},
            ],
        },
        PURCHASE["items"][0] | {"awardsBonus": False},
    ],
    "usedBonusChecks": [{"checkNumber": "0000000700451"}],
    "usedPromotions": [
        {"promotionId": "9d2a7e14-60c8-4b1f-a5d3-7c0e9b4f1a22", "couponId": "e7f30b85-14a9-4d62-b0c8-2f6d5a9e7713"},
        {"couponId": "e7f30b85-14a9-4d62-b0c8-2f6d5a9e7713"},
    ],
}

EXCHANGE = PURCHASE | {
    "uniqueReceiptId": "S204-T01-20250318-000112",
    "createdDate": "2025-03-18T15:40:05Z",
    "totalGrossPrice": Decimal("-20.00"),
    "paymentMethods": [{"type": "card", "description": "Debit card refund", "value": Decimal("-20.00")}],
    "items": [
        PURCHASE["items"][0] | {"grossPaidPrice": Decimal("300.00"), "quantity": 1},
        PURCHASE["items"][0] | {"type": "RETURN", "quantity": -1, "grossPaidPrice": Decimal("320.00")},
    ],
}


def receipt(content: dict[str, Any], contact_type: str = "Member") -> FileForm:
    parsed = parse_receipt(content)
    key = parsed.contact.match_key_type
    return FileForm(FileFamily.TRANSACTIONS, contact_type, key, parsed.contact.match_key, len(parsed.items), parsed)


def contact(record: dict[str, Any], key: str = "contactId", contact_type: str = "Member") -> FileForm:
    return FileForm(FileFamily.CONTACTS, contact_type, key, f"{key}:{record.get(key)}", 1, record)


def redemption(record: dict[str, Any]) -> FileForm:
    return FileForm(FileFamily.REDEMPTIONS, "Member", "contactId", ANNA, 1, record)


CASES: dict[str, list[FileForm]] = {
    "transactions_by_contact_id.xml": [receipt(PURCHASE), receipt(EVERYTHING), receipt(EXCHANGE)],
    "transactions_by_email.xml": [
        receipt(PURCHASE | {"contact": {"matchKey": "anna@example.com", "matchKeyType": "email"}, "items": []}, "Club")
    ],
    "contacts_by_contact_id.xml": [
        contact(
            {
                "city": "Lund",
                "contactId": ANNA,
                "lastName": "Lindqvist & Berg",
                "preferences": {"acceptsEmail": True, "acceptsSms": False},
                "birthDay": date(1988, 4, 9),
            }
        ),
        contact({"contactId": ANNA.upper(), "firstName": ODD, "shoe.size-eu_x": Decimal("42.50"), "children": 2}),
    ],
    "contacts_by_email.xml": [
        contact(
            {
                "contactType": "Member",
                "firstName": "Tuva",
                "email": "tuva@example.com",
                "countryCode": "SE",
                "gender": "Female",
                "preferences": {"acceptsPostal": True},
                "visited": datetime(2025, 3, 14, 9, 12, 44, tzinfo=timezone(timedelta(hours=1))),
                "åkläder": True,
            },
            "email",
        )
    ],
    "contacts_of_another_type.xml": [contact({"memberNumber": "70012345", "street": "x"}, "memberNumber", "VIPGuest")],
    "redemptions.xml": [
        redemption(
            {
                "contactId": ANNA,
                "contactType": "Member",
                "couponId": "e7f30b85-14a9-4d62-b0c8-2f6d5a9e7713",
                "redemptionChannels": [{"type": "POS"}],
                "redeemedDateTime": "2025-03-14T08:12:44.000+00:00",
            }
        ),
        redemption(
            {
                "couponId": "3a58c6d1-92e4-47b0-8f15-d60b7c2ea934",
                "promotionId": "517cf0b2-8a63-4e9d-bd40-1e92a7f3c806",
                "redemptionChannels": [{"type": "ECOM"}],
                "storeId": "204",
                "storeType": "RETAIL",
                "redeemedDateTime": datetime(2025, 3, 14, 8, 12, 44, tzinfo=UTC),
            }
        ),
    ],
}


CASES["contacts_with_everything.xml"] = [
    contact(
        {
            "email": "anna@example.com",
            "firstName": ODD,
            "lastName": "O'Brien-Ångström",
            "memberNumber": "70012345",
            "socialSecurityNumber": "19880409-1234",
            "mobilePhone": "+46700000017",
            "createdInStore": "118",
            "store": "204",
            "street": "x" * 5000,
            "zipCode": "223 50",
            "city": " Lund ",
            "careOf": "c/o <Berg> & ]]>",
            "country": "Sverige",
            "countryCode": "SE",
            "externalId": "shop-20417",
            "birthDay": date(1988, 4, 9),
            "gender": "Other",
            "preferences": {"acceptsEmail": True, "acceptsSms": False, "acceptsPostal": True},
            "wishlist.count": -3,
            "points": Decimal("0E-3"),
            "isStaff": False,
        },
        "email",
    )
]
CASES["redemptions_with_everything.xml"] = [
    redemption(
        {
            "contactId": ANNA,
            "contactKey": "anna+\u05e9\u05dc\u05d5\u05dd@example.com",
            "contactType": "Member",
            "couponId": "e7f30b85-14a9-4d62-b0c8-2f6d5a9e7713",
            "description": ODD,
            "promotionId": "517cf0b2-8a63-4e9d-bd40-1e92a7f3c806",
            "externalPromotionId": "SPRING-20 & <more>",
            "redemptionChannels": [{"type": "OTHER"}],
            "storeId": "204",
            "storeType": "ECOM",
            "redeemedDateTime": "2025-03-14T08:12:44.000+00:00",
        }
    )
]


def entry(draft: Draft) -> FileForm:
    """A stored entry of this content, as the courier gets it."""
    message = Message(1, draft.kind, draft.body, 1, draft.lane, 1_741_939_960_183)
    form = registry.file_form(message, default_type="Member", contact_key="email")
    assert isinstance(form, FileForm), form
    return form


NEW_CONTACT: dict[str, Any] = {
    "contactType": "VIPGuest",
    "email": "Anna@Example.com",
    "firstName": ODD,
    "city": "Lund",
    "preferences": {"acceptsEmail": True},
    "shoeSize": Decimal("42.5"),
}
CHANGES = {"city": "Lund", "lastName": ODD, "birthDay": "1988-04-09", "preferences": {"acceptsSms": False}, "points": 7}

# Each kind from what a shop wrote, through its stored bytes, to the file.
CASES |= {
    "kind_contact_create.xml": [entry(contact_create.draft(NEW_CONTACT, contact_key="email"))],
    "kind_contact_update.xml": [
        entry(contact_update.draft(address(contact_id=ANNA), CHANGES)),
        entry(contact_update.draft(address(contact_id=ANNA), {"city": "Umeå"})),
    ],
    "kind_redeem.xml": [
        entry(redeem.draft("E7F30B85-14a9-4d62-b0c8-2f6d5a9e7713", channel="POS", contact_id=ANNA)),
        entry(redeem.draft("3a58c6d1-92e4-47b0-8f15-d60b7c2ea934", channel="ECOM")),
    ],
    "kind_receipt.xml": [entry(receipts.draft(EVERYTHING))],
}
MERGED = {"kind_contact_update.xml"}
"""Where several entries are one record."""


def document(forms: list[FileForm], folder: Path) -> bytes:
    """The file as it really leaves."""
    spool = Spool(folder)
    write_forms(spool, "golden.xml", *forms)
    return spool.path("golden.xml").read_bytes()


@pytest.mark.parametrize("name", CASES)
def test_a_file_is_byte_for_byte_the_expected_one(name: str, tmp_path: Path) -> None:
    assert document(CASES[name], tmp_path).decode() == (HERE / name).read_bytes().decode()


def test_every_kind_has_an_expected_file_or_no_form_in_a_file() -> None:
    formless = {
        draft.kind: draft
        for draft in (contact_type.draft(ANNA, "Member"), voucher_redeem.draft("0000000700451", contact_id=ANNA))
    }
    for draft in formless.values():
        message = Message(1, draft.kind, draft.body, 1, draft.lane, 1_741_939_960_183)
        assert isinstance(registry.file_form(message, default_type="Member", contact_key="email"), NoFileForm)
    with_form = {name.removeprefix("kind_").removesuffix(".xml") for name in CASES if name.startswith("kind_")}
    assert with_form | {kind.value for kind in formless} == {kind.value for kind in Kind}


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("kind_receipt.xml", FileFamily.TRANSACTIONS),
        ("redemptions_with_everything.xml", FileFamily.REDEMPTIONS),
    ],
)
def test_every_element_of_the_table_stands_in_an_expected_file_and_not_empty(name: str, family: FileFamily) -> None:
    root = etree.fromstring((HERE / name).read_bytes())
    filled = {etree.QName(element).localname for element in root.iter() if len(element) or element.text}

    def tags(elements: tuple[Element, ...]) -> set[str]:
        return {element.tag for element in elements}.union(*(tags(element.children) for element in elements))

    assert tags(OURS.shape(family).elements) <= filled


def test_every_standard_field_of_a_contact_stands_in_an_expected_file() -> None:
    root = etree.fromstring((HERE / "contacts_with_everything.xml").read_bytes())
    filled = {etree.QName(element).localname for element in root.iter() if element.text}
    standard = {field.encode_name for field in msgspec.structs.fields(ContactCreate)} | set(PREFERENCES)
    apart = {
        "preferences",
        "consents",
        "attributes",
        "contactType",
    }  # flat, without a form, by their own names, the tag
    assert standard - apart <= filled


@pytest.mark.parametrize("name", CASES)
def test_every_expected_file_is_one_that_the_sandbox_imports(name: str) -> None:
    family = CASES[name][0].family
    getattr(import_xml, family)(import_xml.parse((HERE / name).read_bytes()))


@pytest.mark.parametrize("name", CASES)
def test_every_expected_file_passes_its_xsd_when_read_again(name: str) -> None:
    content = (HERE / name).read_bytes()
    assert not content.startswith(b"\xef\xbb\xbf")
    xml.check(io.BytesIO(content), Head.of(CASES[name][0]), 1 if name in MERGED else len(CASES[name]))


def test_odd_text_comes_back_as_it_was() -> None:
    root = etree.fromstring((HERE / "transactions_by_contact_id.xml").read_bytes())
    names = {"t": "http://voyado.Schemas.ImportReceipts"}
    assert (
        root.xpath("string(t:transaction[2]/t:paymentMethods/t:paymentMethod[1]/t:description)", namespaces=names)
        == ODD
    )
    assert root.xpath("string(t:transaction[2]//t:extraData/t:item[1])", namespaces=names) == ODD
    assert (
        root.xpath("string(t:transaction[2]//t:extraData/t:item[1]/@name)", namespaces=names) == 'terminal "1" & <2>\n'
    )


def test_the_namespaces_are_exactly_those_that_were_seen() -> None:
    roots = {name: etree.fromstring((HERE / name).read_bytes()).tag for name in CASES}
    assert roots["contacts_by_email.xml"] == "{http://eClub.Schemas.ImportContact}contacts"
    assert roots["transactions_by_email.xml"] == "{http://voyado.Schemas.ImportReceipts}transactions"
    assert roots["redemptions.xml"] == "promotions"
