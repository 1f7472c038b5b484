"""What a shop hands over becomes a checked draft with its lane and its natural key."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from voyado_async.delivery import Kind
from voyado_async.errors import InvalidEntry
from voyado_async.kinds import contact_create, contact_type, contact_update, receipt, redeem, voucher_redeem
from voyado_async.kinds.address import address
from voyado_async.models import RedeemBy

CONTACT = "0B6F1C52-7d0e-4a57-9c3b-5a1f2e8d4c10"
ASSIGNMENT = "E7F30B85-14a9-4d62-b0c8-2f6d5a9e7713"


def a_receipt(**contact: Any) -> dict[str, object]:
    return {
        "contact": contact or {"matchKey": CONTACT, "matchKeyType": "contactId"},
        "uniqueReceiptId": "S204-1",
        "receiptNumber": "1",
        "createdDate": "2025-03-14T09:12:44+01:00",
        "storeExternalId": "204",
        "currency": "SEK",
        "totalGrossPrice": Decimal("640.00"),
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
                "articleName": "Rain jacket",
            }
        ],
    }


# redeem ---------------------------------------------------------------------------------------------------------------


def test_a_redeem_belongs_to_its_contact_and_is_keyed_by_its_assignment() -> None:
    draft = redeem.draft(ASSIGNMENT, channel="ECOM", contact_id=CONTACT)
    assert (draft.kind, draft.lane, draft.key) == (Kind.REDEEM, f"contact:{CONTACT.lower()}", ASSIGNMENT.lower())
    assert draft.body == f'{{"assignmentId":"{ASSIGNMENT}","channel":"ECOM","contactId":"{CONTACT}"}}'.encode()


def test_a_redeem_without_a_contact_has_a_lane_of_its_own() -> None:
    draft = redeem.draft(ASSIGNMENT, channel="POS")
    assert draft.lane == f"assignment:{ASSIGNMENT.lower()}"
    assert draft.body == f'{{"assignmentId":"{ASSIGNMENT}","channel":"POS"}}'.encode()


def test_a_code_is_keyed_as_its_assignment_and_differs_in_content() -> None:
    code = redeem.draft(ASSIGNMENT, channel="ECOM", contact_id=CONTACT, by=RedeemBy.CODE)
    own = redeem.draft(ASSIGNMENT, channel="ECOM", contact_id=CONTACT)
    assert (code.kind, code.key, code.lane) == (own.kind, own.key, own.lane)
    assert code.body == own.body[:-1] + b',"by":"code"}'


def test_a_voucher_belongs_to_its_contact_or_to_itself_and_is_keyed_by_its_id() -> None:
    known, lone = voucher_redeem.draft(ASSIGNMENT, contact_id=CONTACT), voucher_redeem.draft(ASSIGNMENT)
    assert (known.kind, known.lane, known.key) == (
        Kind.VOUCHER_REDEEM,
        f"contact:{CONTACT.lower()}",
        ASSIGNMENT.lower(),
    )
    assert known.body == f'{{"voucherId":"{ASSIGNMENT}","contactId":"{CONTACT}"}}'.encode()
    assert (lone.lane, lone.body) == (f"voucher:{ASSIGNMENT.lower()}", f'{{"voucherId":"{ASSIGNMENT}"}}'.encode())
    own = voucher_redeem.draft(ASSIGNMENT, key="order-7")
    assert (own.key, own.natural_key) == ("order-7", ASSIGNMENT.lower())


def test_the_sample_of_a_voucher_is_one() -> None:
    text = (Path(__file__).parents[3] / "samples" / "payloads" / "voucher_redeem.json").read_bytes()
    sample = msgspec.json.decode(text, type=dict[str, str])
    assert voucher_redeem.corrected(text) == voucher_redeem.draft(sample["voucherId"], contact_id=sample["contactId"])


def test_a_key_that_the_shop_gives_takes_the_place_of_the_natural_one() -> None:
    assert redeem.draft(ASSIGNMENT, channel="POS", key="order-7").key == "order-7"
    assert receipt.draft(a_receipt(), key="order-7").key == "order-7"


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ({"assignment_id": ASSIGNMENT, "channel": "pos"}, "channel"),
        ({"assignment_id": "", "channel": "POS"}, "assignmentId"),
        ({"assignment_id": "../receipts", "channel": "POS"}, "assignmentId"),
        ({"assignment_id": "a/b", "channel": "POS"}, "assignmentId"),
        ({"assignment_id": 7, "channel": "POS"}, "assignmentId"),
        ({"assignment_id": ASSIGNMENT, "channel": "POS", "contact_id": "a?b"}, "contactId"),
    ],
)
def test_a_wrong_redeem_is_refused_with_the_path(arguments: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidEntry) as refusal:
        redeem.draft(**arguments)
    assert refusal.value.path == path


# contact update -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "lane"),
    [
        ({"contact_id": CONTACT}, f"contact:{CONTACT.lower()}"),
        ({"email": " Anna@Example.com "}, "email:anna@example.com"),
        ({"external_id": "K-7"}, "externalId:K-7"),
        ({"mobile_phone": "+46 70-000 00 01"}, "mobilePhone:+46700000001"),
        ({"social_security_number": "19880409-123x"}, "socialSecurityNumber:19880409123X"),
        ({"member_number": "70012345"}, "memberNumber:70012345"),
    ],
)
def test_an_update_belongs_to_the_lane_of_its_address(named: dict[str, str], lane: str) -> None:
    draft = contact_update.draft(address(**named), {"city": "Lund"})
    assert (draft.lane, draft.key) == (lane, None)


def test_an_update_is_stored_with_exactly_what_will_be_sent() -> None:
    changes = {"city": None, "preferences": {"acceptsEmail": True}, "shoeSize": Decimal("42.50")}
    draft = contact_update.draft(address(email="Anna@example.com"), changes, contact_type="Member")
    assert draft.body == (
        b'{"address":{"type":"email","value":"Anna@example.com"},'
        b'"changes":{"city":null,"preferences":{"acceptsEmail":true},"shoeSize":42.50},"contactType":"Member"}'
    )
    assert bytes(contact_update.read(draft.body).changes) == (
        b'{"city":null,"preferences":{"acceptsEmail":true},"shoeSize":42.50}'
    )


@pytest.mark.parametrize(
    "named", [{}, {"email": "a@example.com", "external_id": "7"}, {"email": " "}, {"email": "\x00"}]
)
def test_a_contact_is_named_in_exactly_one_usable_way(named: dict[str, str]) -> None:
    with pytest.raises(InvalidEntry) as refusal:
        address(**named)
    assert "a@example.com" not in str(refusal.value)


def test_an_update_of_a_field_that_nobody_knows_is_refused() -> None:
    with pytest.raises(InvalidEntry) as refusal:
        contact_update.draft(address(contact_id=CONTACT), {"shoesize": 42}, allowed=frozenset({"shoeSize"}))
    assert refusal.value.path == "shoesize"


def test_an_address_shows_no_person() -> None:
    assert repr(address(email="anna@example.com")) == "<Address by email>"


# contact creation -----------------------------------------------------------------------------------------------------


def test_a_creation_belongs_to_the_lane_of_the_key_attribute_and_has_no_natural_key() -> None:
    content = {"email": "Anna@example.com", "externalId": "K-7", "firstName": "Anna"}
    draft = contact_create.draft(content, contact_key="externalId")
    assert (draft.kind, draft.lane, draft.key) == (Kind.CONTACT_CREATE, "externalId:K-7", None)
    assert draft.body == b'{"contact":{"firstName":"Anna","email":"Anna@example.com","externalId":"K-7"}}'


def test_a_creation_without_a_key_attribute_set_takes_the_first_key_that_is_there() -> None:
    assert contact_create.draft({"email": "Anna@example.com"}).lane == "email:anna@example.com"


def test_a_creation_keeps_its_options() -> None:
    draft = contact_create.draft(
        {"email": "a@example.com"},
        source="POS",
        store_external_id="204",
        create_as_unapproved=True,
        on_existing="update",
        contact_key="email",
    )
    assert msgspec.json.decode(draft.body) == {
        "contact": {"email": "a@example.com"},
        "source": "POS",
        "storeExternalId": "204",
        "createAsUnapproved": True,
        "onExisting": "update",
    }


@pytest.mark.parametrize(
    ("content", "options", "path"),
    [
        ({"email": "a@example.com"}, {"contact_key": "externalId"}, "externalId"),
        ({"firstName": "Anna"}, {}, ""),
        ({"email": "a@example.com"}, {"source": "two\nlines"}, "source"),
        ({"email": "a@example.com"}, {"store_external_id": ""}, "storeExternalId"),
        ({"email": "a@example.com"}, {"create_as_unapproved": "true"}, "createAsUnapproved"),
        ({"email": "a@example.com"}, {"on_existing": "replace"}, "onExisting"),
    ],
)
def test_a_wrong_creation_is_refused_with_the_path(
    content: dict[str, object], options: dict[str, Any], path: str
) -> None:
    with pytest.raises(InvalidEntry) as refusal:
        contact_create.draft(content, **options)
    assert refusal.value.path == path


# type and receipt -----------------------------------------------------------------------------------------------------


def test_a_type_change_belongs_to_its_contact() -> None:
    draft = contact_type.draft(CONTACT, "Member")
    assert (draft.lane, draft.key) == (f"contact:{CONTACT.lower()}", None)
    assert draft.body == f'{{"contactId":"{CONTACT}","contactType":"Member"}}'.encode()


def test_a_type_that_cannot_be_an_element_is_refused() -> None:
    with pytest.raises(InvalidEntry):
        contact_type.draft(CONTACT, "Gold Member")


@pytest.mark.parametrize(
    ("contact", "lane"),
    [
        ({"matchKey": CONTACT, "matchKeyType": "contactId"}, f"contact:{CONTACT.lower()}"),
        ({"matchKey": "Anna@example.com", "matchKeyType": "email"}, "email:anna@example.com"),
        ({"matchKey": "70012345", "matchKeyType": "memberNumber"}, "memberNumber:70012345"),
    ],
)
def test_a_receipt_belongs_to_the_contact_that_it_names(contact: dict[str, str], lane: str) -> None:
    draft = receipt.draft(a_receipt(**contact))
    assert (draft.lane, draft.key, draft.warnings) == (lane, "S204-1", ())


def test_a_receipt_whose_sums_look_wrong_is_taken_with_a_warning() -> None:
    draft = receipt.draft(a_receipt() | {"totalGrossPrice": Decimal(1)})
    assert draft.warnings
    assert "totalGrossPrice" in draft.warnings[0]
