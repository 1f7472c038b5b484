"""How an entry stands in a file, and what has no confirmed form there."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from test_kinds_drafts import ASSIGNMENT, CONTACT, a_receipt

from voyado_async.delivery import Draft, FileFamily, FileForm, Message, NoFileForm
from voyado_async.kinds import contact_create, contact_type, contact_update, receipt, redeem, voucher_redeem
from voyado_async.kinds.address import address
from voyado_async.kinds.registry import bulk_form, fields, file_form, without
from voyado_async.models import RedeemBy

CREATED = 1_741_939_960_183  # 2025-03-14T08:12:40.183Z


def message(draft: Draft, **known: Any) -> Message:
    return Message(id=1, kind=draft.kind, body=draft.body, lane=1, lane_key=draft.lane, created=CREATED, **known)


def form(draft: Draft, contact_key: str | None = "email", **known: Any) -> FileForm | NoFileForm:
    return file_form(message(draft, **known), default_type="Member", contact_key=contact_key)


def written(draft: Draft, contact_key: str | None = "email", **known: Any) -> FileForm:
    found = form(draft, contact_key, **known)
    assert isinstance(found, FileForm)
    return found


def test_a_redemption_tells_assignment_contact_channel_and_moment() -> None:
    found = written(redeem.draft(ASSIGNMENT, channel="POS", contact_id=CONTACT))
    assert (found.family, found.match_key_type, found.subject, found.lines) == (
        FileFamily.REDEMPTIONS,
        "contactId",
        CONTACT,
        1,
    )
    assert found.record == {
        "contactId": CONTACT,
        "contactType": "Member",
        "couponId": ASSIGNMENT,
        "redemptionChannels": [{"type": "POS"}],
        "redeemedDateTime": "2025-03-14T08:12:40.183+00:00",
    }


def test_a_redemption_without_a_contact_is_named_by_its_assignment_alone() -> None:
    found = written(redeem.draft(ASSIGNMENT, channel="POS"))
    assert "contactId" not in found.record
    assert found.subject == ASSIGNMENT


def test_a_code_stands_in_a_file_as_its_assignment_does() -> None:
    code = redeem.draft(ASSIGNMENT, channel="POS", contact_id=CONTACT, by=RedeemBy.CODE)
    assert written(code) == written(redeem.draft(ASSIGNMENT, channel="POS", contact_id=CONTACT))


def test_a_contact_whose_type_is_known_is_written_as_one_of_it_unless_the_shop_said_another() -> None:
    by_mail = address(email="anna@example.com")
    told = contact_update.draft(by_mail, {"city": "Lund"}, contact_type="Staff")
    untold = contact_update.draft(by_mail, {"city": "Lund"})
    assert [written(each, contact_type="Guest").contact_type for each in (told, untold)] == ["Staff", "Guest"]
    for draft, expected in ((told, "Staff"), (untold, "Guest")):
        bulk = bulk_form(message(draft, contact_type="Guest"), default_type="Member", contact_key="email")
        assert isinstance(bulk, FileForm)
        assert bulk.contact_type == expected
    redemption = written(redeem.draft(ASSIGNMENT, channel="POS", contact_id=CONTACT), contact_type="Guest")
    assert (redemption.contact_type, redemption.record["contactType"]) == ("Member", "Guest")


def test_a_voucher_has_no_form_in_a_file_nor_in_a_bulk_request_and_sets_no_field() -> None:
    draft = voucher_redeem.draft(ASSIGNMENT, contact_id=CONTACT)
    assert isinstance(form(draft), NoFileForm)
    assert isinstance(bulk_form(message(draft), default_type="Member", contact_key="email"), NoFileForm)
    assert fields(draft.kind, draft.body) == frozenset()
    assert without(draft.kind, draft.body, frozenset(("city",))) == draft.body


def test_an_update_by_contact_id_is_keyed_by_it() -> None:
    draft = contact_update.draft(address(contact_id=CONTACT), {"city": "Lund", "preferences": {"acceptsSms": False}})
    found = written(draft)
    assert (found.family, found.contact_type, found.match_key_type) == (FileFamily.CONTACTS, "Member", "contactId")
    assert list(found.record) == ["contactId", "city", "preferences"]
    assert found.record["contactId"] == CONTACT


def test_an_update_by_the_tenants_key_attribute_is_keyed_by_that_also_when_the_id_is_known() -> None:
    draft = contact_update.draft(address(email="anna@example.com"), {"city": "Lund"}, contact_type="VIP")
    found = written(draft, contact_id=CONTACT)
    assert (found.contact_type, found.match_key_type, found.subject) == ("VIP", "email", "email:anna@example.com")
    assert found.record == {"email": "anna@example.com", "city": "Lund"}


@pytest.mark.parametrize(
    "draft",
    [
        contact_update.draft(address(external_id="7"), {"city": "Lund"}),
        contact_update.draft(address(contact_id=CONTACT), {"city": None}),
        contact_update.draft(address(contact_id=CONTACT), {"city": ""}),
        contact_update.draft(address(contact_id=CONTACT), {"consents": [{"id": "news", "value": True}]}),
        contact_update.draft(address(email="a@example.com"), {"email": "b@example.com"}),
        contact_create.draft({"email": "a@example.com"}, source="POS"),
        contact_create.draft({"email": "a@example.com"}, store_external_id="204"),
        contact_create.draft({"email": "a@example.com"}, create_as_unapproved=True),
        contact_create.draft({"email": "a@example.com", "city": ""}),
        contact_create.draft({"externalId": "7"}),
        contact_type.draft(CONTACT, "Member"),
    ],
)
def test_what_has_no_confirmed_form_waits_for_the_api(draft: Draft) -> None:
    found = form(draft)
    assert isinstance(found, NoFileForm)
    assert "example.com" not in found.reason


def test_a_creation_without_a_key_attribute_set_waits_for_the_api() -> None:
    assert isinstance(form(contact_create.draft({"email": "a@example.com"}), contact_key=None), NoFileForm)


@pytest.mark.parametrize("on_existing", ["keep", "update"])
def test_a_creation_is_keyed_by_the_key_attribute(on_existing: Any) -> None:
    content = {"contactType": "VIP", "firstName": "Anna", "email": "Anna@example.com"}
    found = written(contact_create.draft(content, on_existing=on_existing))
    assert (found.contact_type, found.match_key_type, found.subject) == ("VIP", "email", "email:anna@example.com")
    assert found.record == {"email": "Anna@example.com", "firstName": "Anna"}


def test_a_receipt_counts_its_items_and_keeps_its_own_match_key() -> None:
    content = a_receipt(matchKey="70012345", matchKeyType="memberNumber", contactType="VIP")
    content["items"] = [content["items"][0], content["items"][0]]  # type: ignore[index]  # a list in a loose dict
    found = written(receipt.draft(content))
    assert (found.family, found.contact_type, found.match_key_type) == (
        FileFamily.TRANSACTIONS,
        "VIP",
        "memberNumber",
    )
    assert found.lines == 2
    assert found.record.total_gross_price == Decimal("640.00")


@pytest.mark.parametrize("name", ["sku", "articleNumber", "articleName"])
def test_a_receipt_with_an_empty_name_waits_for_the_api_where_it_can_cost_no_other(name: str) -> None:
    content = a_receipt()
    content["items"] = [*content["items"], content["items"][0] | {name: ""}]
    found = form(receipt.draft(content))
    assert isinstance(found, NoFileForm)
    assert f"items[{len(content['items']) - 1}].{name}" in found.reason


def test_a_receipt_with_an_empty_coupon_waits_for_the_api() -> None:
    found = form(receipt.draft(a_receipt() | {"usedPromotions": [{"couponId": ""}]}))
    assert isinstance(found, NoFileForm)
    assert "usedPromotions[0].couponId" in found.reason


def test_a_receipt_without_a_type_takes_the_tenants() -> None:
    assert written(receipt.draft(a_receipt())).contact_type == "Member"


# fields ---------------------------------------------------------------------------------------------------------------


def test_an_update_sets_its_fields_and_each_preference_by_itself() -> None:
    draft = contact_update.draft(
        address(contact_id=CONTACT), {"city": None, "preferences": {"acceptsEmail": True, "acceptsSms": False}}
    )
    assert fields(draft.kind, draft.body) == {"city", "preferences.acceptsEmail", "preferences.acceptsSms"}


def test_other_kinds_set_what_they_set() -> None:
    creation = contact_create.draft({"email": "a@example.com", "city": "Lund"})
    change = contact_type.draft(CONTACT, "Member")
    redemption = redeem.draft(ASSIGNMENT, channel="POS")
    assert fields(creation.kind, creation.body) == {"email", "city"}
    assert fields(change.kind, change.body) == {"contactType"}
    assert fields(redemption.kind, redemption.body) == frozenset()


def test_an_update_loses_the_fields_that_a_newer_entry_has_set() -> None:
    draft = contact_update.draft(
        address(contact_id=CONTACT),
        {"city": "Lund", "zipCode": "1", "preferences": {"acceptsEmail": True, "acceptsSms": False}},
    )
    left = without(draft.kind, draft.body, frozenset({"city", "preferences.acceptsSms"}))
    assert left is not None
    assert bytes(contact_update.read(left).changes) == b'{"zipCode":"1","preferences":{"acceptsEmail":true}}'
    assert contact_update.read(left).address == address(contact_id=CONTACT)


def test_an_update_of_which_nothing_is_left_is_superseded() -> None:
    draft = contact_update.draft(address(contact_id=CONTACT), {"city": "Lund", "preferences": {"acceptsSms": False}})
    assert without(draft.kind, draft.body, fields(draft.kind, draft.body)) is None
    change = contact_type.draft(CONTACT, "Member")
    assert without(change.kind, change.body, frozenset({"contactType"})) is None
    assert without(change.kind, change.body, frozenset({"city"})) == change.body


def test_receipts_and_redeems_are_never_cut() -> None:
    draft = receipt.draft(a_receipt())
    assert without(draft.kind, draft.body, frozenset({"contact"})) == draft.body
