"""Which questions the carrier asks, in which order, and what comes of the whole: over a real connection."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from loopback import Answer, Loopback, answer, calling, close, error, json_answer, loopback

from voyado_async.api.carrier import EngageCarrier
from voyado_async.api.routes import routes_of
from voyado_async.delivery import (
    Carrier,
    Delivered,
    Draft,
    Enough,
    HandBack,
    Kind,
    Later,
    Message,
    NotAllowed,
    Outcome,
    Rejected,
    Request,
    RetryAt,
    SameContact,
    SlowDown,
)
from voyado_async.kinds import contact_create, contact_type, contact_update, receipt, redeem, voucher_redeem
from voyado_async.kinds.address import address
from voyado_async.models import RedeemBy

FREE = nullcontext()
"""A turn that nobody waits for."""

CONTACT = "0b6f1c52-7d0e-4a57-9c3b-5a1f2e8d4c10"
OTHER = "c41d8a90-2b36-4f1e-8e77-91d3a6b05f2e"
ASSIGNMENT = "e7f30b85-14a9-4d62-b0c8-2f6d5a9e7713"
CREATED = 1_741_939_960_183  # 2025-03-14T08:12:40.183Z

FIND = "GET /api/v3/contacts/id?email=anna%40example.com"
LIST = f"GET /api/v3/promotion-assignments?contactId={CONTACT}"
REDEEM = f"POST /api/v3/promotion-assignments/{ASSIGNMENT}/redeem"
READ = f"GET /api/v3/contacts/{CONTACT}"
PATCH = f"PATCH /api/v3/contacts/{CONTACT}"
CREATE = "POST /api/v3/contacts"

REDEMPTION = redeem.draft(ASSIGNMENT, channel="ECOM", contact_id=CONTACT)
LONE_REDEMPTION = redeem.draft(ASSIGNMENT, channel="ECOM")
UPDATE = contact_update.draft(address(contact_id=CONTACT), {"city": "Lund", "preferences": {"acceptsSms": False}})
NAMED_UPDATE = contact_update.draft(address(email="anna@example.com"), {"city": "Lund"}, contact_type="Member")
CREATION = contact_create.draft({"contactType": "Member", "email": "anna@example.com"}, contact_key="email")
UPSERT = contact_create.draft(
    {"contactType": "Member", "email": "anna@example.com", "city": "Lund"}, contact_key="email", on_existing="update"
)
TYPE = contact_type.draft(CONTACT, "Member")
CODE = redeem.draft(ASSIGNMENT, channel="POS", contact_id=CONTACT, by=RedeemBy.CODE)
VOUCHER = voucher_redeem.draft(ASSIGNMENT, contact_id=CONTACT)
LONE_VOUCHER = voucher_redeem.draft(ASSIGNMENT)
RECEIPT = receipt.draft(
    {
        "contact": {"matchKey": CONTACT, "matchKeyType": "contactId"},
        "uniqueReceiptId": "S204-1",
        "receiptNumber": "1",
        "createdDate": "2025-03-14T09:12:44+01:00",
        "storeExternalId": "204",
        "currency": "SEK",
        "totalGrossPrice": Decimal("640.00"),
        "paymentMethods": [{"type": "card", "value": Decimal("640.00")}],
        "items": [],
    }
)


def message(draft: Draft, **known: Any) -> Message:
    return Message(id=1, kind=draft.kind, body=draft.body, lane=1, lane_key=draft.lane, created=CREATED, **known)


@asynccontextmanager
async def carrying(
    *answers: Answer | bytes, version: int = 3, contact_key: str | None = "email"
) -> AsyncIterator[tuple[EngageCarrier, Loopback]]:
    async with loopback(*answers) as place, calling(place.url) as http:
        yield EngageCarrier(http, routes_of(version), contact_key=contact_key), place


async def carried(carrier: Carrier, message: Message) -> Outcome:
    """What the drainer does with one message."""
    step = await carrier.look_up(message, FREE) if carrier.looks_first(message) else carrier.request(message)
    if isinstance(step, SameContact):
        change = carrier.change(message, step.contact_id, ())
        assert change is not None
        step = change
    return await carrier.send(message, step, FREE) if isinstance(step, Request) else step


def lasting(outcome: object) -> Any:
    """The outcome without its duration."""
    assert isinstance(outcome, Delivered | RetryAt | Rejected | SlowDown | NotAllowed)
    return msgspec.structs.replace(outcome, duration_ms=0)


def assignments(**fields: object) -> bytes:
    return json_answer(200, [{"id": ASSIGNMENT, **fields}])


# whose an address is --------------------------------------------------------------------------------------------------


async def test_only_the_plain_look_up_of_an_update_may_be_spared() -> None:
    """A creation's never: it would make a second person, or overwrite another one."""
    plain = contact_update.draft(address(mobile_phone="+46 70-1"), {"city": "Lund"})
    async with carrying() as (carrier, _):
        assert carrier.asks_for(message(plain)) == "mobilePhone:+46701"
        for other in (NAMED_UPDATE, UPDATE, CREATION, UPSERT, TYPE, REDEMPTION, VOUCHER, RECEIPT):
            assert carrier.asks_for(message(other)) is None


@pytest.mark.parametrize(
    ("draft", "names"),
    [
        (UPDATE, ()),
        (REDEMPTION, ()),
        (RECEIPT, ()),
        (VOUCHER, ()),
        (TYPE, (f"contact:{CONTACT}",)),
        (CREATION, ("email:anna@example.com",)),
        (
            contact_update.draft(address(email="Old@example.com"), {"email": "New@example.com"}),
            ("email:old@example.com", "email:new@example.com", f"contact:{CONTACT}"),
        ),
        (
            contact_update.draft(address(contact_id=CONTACT), {"mobilePhone": "+46701234567", "email": None}),
            ("mobilePhone", "email:", f"contact:{CONTACT}"),
        ),
        (
            contact_update.draft(address(contact_id=CONTACT), {"memberNumber": "7"}),
            ("memberNumber", "externalId", f"contact:{CONTACT}"),
        ),
    ],
)
async def test_a_write_of_an_attribute_that_names_a_contact_renames_it(draft: Draft, names: tuple[str, ...]) -> None:
    """Nobody knows what Engage makes of a number, and only the tenant which of two attributes its custom key is."""
    async with carrying() as (carrier, _):
        change = None
        if draft.kind is Kind.CONTACT_UPDATE:
            change = carrier.change(message(draft), CONTACT, ())
        assert carrier.renames(message(draft), change) == frozenset(names)


# first attempts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draft", "version", "line", "body"),
    [
        (REDEMPTION, 3, REDEEM, b'{"redemptionChannel":"ECOM"}'),
        (LONE_REDEMPTION, 3, REDEEM, b'{"redemptionChannel":"ECOM"}'),
        (UPDATE, 3, PATCH, b'{"city":"Lund","preferences":{"acceptsSms":false}}'),
        (UPDATE, 2, f"POST /api/v2/contacts/{CONTACT}", b'{"city":"Lund","preferences":{"acceptsSms":false}}'),
        (TYPE, 3, f"POST /api/v3/contacts/{CONTACT}/updateContactType?contactTypeId=Member", b""),
        (TYPE, 2, f"POST /api/v2/contacts/{CONTACT}/promoteToMember", b""),
        (RECEIPT, 3, "POST /api/v3/receipts", RECEIPT.body),
        (CODE, 3, f"POST /api/v3/promotions/codes/{ASSIGNMENT}/redeem", b'{"redemptionChannel":"POS"}'),
        (CODE, 2, f"POST /api/v2/promotions/codes/{ASSIGNMENT}/redeem", b'{"redemptionChannel":"POS"}'),
        (VOUCHER, 3, f"POST /api/v3/reward-vouchers/{ASSIGNMENT}/redeem", b""),
        (LONE_VOUCHER, 3, f"POST /api/v3/reward-vouchers/{ASSIGNMENT}/redeem", b""),
        (VOUCHER, 2, f"POST /api/v2/contacts/{CONTACT}/bonuschecks/{ASSIGNMENT}/redeem", b""),
    ],
)
async def test_a_first_attempt_is_one_request(draft: Draft, version: int, line: str, body: bytes) -> None:
    async with carrying(answer(200), version=version) as (carrier, place):
        assert isinstance(await carried(carrier, message(draft)), Delivered)
    assert place.lines == [line]
    assert place.seen[0].body == body


async def test_money_is_a_plain_number_with_all_its_digits() -> None:
    assert b'"totalGrossPrice":640.00,' in RECEIPT.body


async def test_a_creation_looks_first_and_then_sends_its_options() -> None:
    draft = contact_create.draft({"email": "anna@example.com"}, source="POS", create_as_unapproved=True)
    made = json_answer(201, {"id": CONTACT})
    async with carrying(error(404, "ContactNotFound"), made) as (carrier, place):
        outcome = await carried(carrier, message(draft))
    assert lasting(outcome) == Delivered("accepted", 201, CONTACT)
    assert place.lines == [FIND, f"{CREATE}?source=POS&createAsUnapproved=true"]
    assert place.seen[1].body == b'{"email":"anna@example.com"}'


async def test_options_of_a_creation_are_headers_in_v2() -> None:
    draft = contact_create.draft({"email": "anna@example.com"}, source="POS")
    async with carrying(json_answer(201, {"id": CONTACT}), version=2, contact_key=None) as (carrier, place):
        await carried(carrier, message(draft))
    assert place.lines == ["POST /api/v2/contacts"]
    assert place.seen[0].headers["source"] == "POS"
    assert "storeexternalid" not in place.seen[0].headers


# redeem after an unknown attempt --------------------------------------------------------------------------------------


async def test_a_redeem_is_looked_up_only_after_an_unknown_attempt_and_only_with_a_contact() -> None:
    async with carrying(answer(200)) as (carrier, _):
        assert not carrier.looks_first(message(REDEMPTION))
        assert carrier.looks_first(message(REDEMPTION, unknown=True))
        assert not carrier.looks_first(message(LONE_REDEMPTION, unknown=True))
        assert carrier.looks_first(message(LONE_REDEMPTION, unknown=True, contact_id=CONTACT))


async def test_a_redemption_that_took_effect_is_delivered_without_a_second_one() -> None:
    seen = assignments(redeemed=True, redeemedOn="2025-03-14T08:12:41Z")
    async with carrying(seen) as (carrier, place):
        outcome = await carried(carrier, message(REDEMPTION, unknown=True))
    assert lasting(outcome) == Delivered("looked_up", 200)
    assert place.lines == [LIST]


@pytest.mark.parametrize("seen", [assignments(redeemed=False), json_answer(200, [])])
async def test_a_redemption_that_is_open_or_absent_is_sent_again(seen: bytes) -> None:
    async with carrying(seen, error(409, "PromotionAlreadyRedeemed")) as (carrier, place):
        outcome = await carried(carrier, message(REDEMPTION, unknown=True))
    assert lasting(outcome) == Delivered("conflict", 409)
    assert place.lines == [LIST, REDEEM]


async def test_a_redemption_of_somebody_else_is_rejected() -> None:
    seen = assignments(redeemed=True, redeemedOn="2025-03-14T08:00:00Z")
    async with carrying(seen) as (carrier, _):
        outcome = await carried(carrier, message(REDEMPTION, unknown=True))
    assert lasting(outcome) == Rejected("PromotionAlreadyRedeemed", 200)


async def test_a_redeem_is_not_sent_while_the_look_up_has_no_answer() -> None:
    async with carrying(answer(503)) as (carrier, place):
        outcome = await carried(carrier, message(REDEMPTION, unknown=True))
    assert lasting(outcome) == RetryAt("http_503", 503)
    assert place.lines == [LIST]


# vouchers and codes ---------------------------------------------------------------------------------------------------


async def test_a_voucher_is_looked_up_only_after_an_unknown_attempt_and_only_with_a_contact() -> None:
    async with carrying(answer(200)) as (carrier, _):
        assert not carrier.looks_first(message(VOUCHER))
        assert carrier.looks_first(message(VOUCHER, unknown=True))
        assert not carrier.looks_first(message(LONE_VOUCHER, unknown=True))
        assert carrier.looks_first(message(LONE_VOUCHER, unknown=True, contact_id=CONTACT))


@pytest.mark.parametrize(
    ("version", "listing"),
    [
        (3, f"/api/v3/reward-vouchers/redeemed?contactId={CONTACT}&"),
        (2, f"/api/v2/contacts/{CONTACT}/bonuschecks/redeemed?"),
    ],
)
async def test_a_voucher_is_sought_page_by_page_and_sent_where_it_is_on_none(version: int, listing: str) -> None:
    first = json_answer(200, {"items": [{"id": f"v-{n}"} for n in range(100)], "totalCount": 101})
    second = json_answer(200, {"items": [{"id": "v-100"}], "totalCount": 101})
    refused = error(409, "RewardVoucherAlreadyRedeemed")
    async with carrying(first, second, refused, version=version) as (carrier, place):
        outcome = await carried(carrier, message(VOUCHER, unknown=True))
    assert lasting(outcome) == Delivered("conflict", 409)
    assert place.lines[:2] == [f"GET {listing}offset=0&count=100", f"GET {listing}offset=100&count=100"]
    assert place.lines[2].startswith("POST ")


async def test_a_voucher_without_its_contact_cannot_be_expressed_in_version_2() -> None:
    async with carrying(answer(503), error(404, "ContactNotFound"), version=2) as (carrier, place):
        assert carrier.looks_first(message(LONE_VOUCHER))
        assert not carrier.looks_first(message(LONE_VOUCHER, contact_id=CONTACT))
        assert isinstance(await carried(carrier, message(LONE_VOUCHER)), RetryAt)  # Engage is not even there
        for unknown in (False, True):
            outcome = await carried(carrier, message(LONE_VOUCHER, unknown=unknown))
            assert lasting(outcome) == Rejected("NeedsContactId", may_have_happened=unknown)
    assert {line.split()[0] for line in place.lines} == {"GET"}


async def test_a_code_that_is_seen_redeemed_is_not_sent_again() -> None:
    seen = assignments(redeemed=True, redeemedOn="2025-03-14T08:12:41Z")
    async with carrying(seen) as (carrier, place):
        outcome = await carried(carrier, message(CODE, unknown=True))
    assert lasting(outcome) == Delivered("looked_up", 200)
    assert place.lines == [LIST]


# updates by an attribute ----------------------------------------------------------------------------------------------


async def test_an_update_by_an_attribute_learns_the_contact_first_and_is_then_sent_to_it() -> None:
    async with carrying(json_answer(200, CONTACT), answer(200)) as (carrier, place):
        found = await carrier.look_up(message(NAMED_UPDATE), FREE)
        assert isinstance(found, SameContact)
        assert (found.contact_id, found.status) == (CONTACT, 200)
        request = carrier.change(message(NAMED_UPDATE), CONTACT, ())
        assert request is not None
        outcome = await carrier.send(message(NAMED_UPDATE), request, FREE)
    assert lasting(outcome) == Delivered("accepted", 200, CONTACT)
    assert place.lines == [f"{FIND}&contactType=Member", PATCH]


async def test_an_update_by_an_attribute_is_looked_up_each_time_whatever_was_known() -> None:
    """The address may belong to somebody else by now."""
    async with carrying() as (carrier, _):
        assert carrier.looks_first(message(NAMED_UPDATE, contact_id=CONTACT))


@pytest.mark.parametrize(
    ("told", "code", "status"),
    [(error(404, "ContactNotFound"), "ContactNotFound", 404), (error(409, "MultipleMatches"), "MultipleMatches", 409)],
)
async def test_an_update_of_nobody_or_of_several_is_rejected(told: bytes, code: str, status: int) -> None:
    async with carrying(told) as (carrier, place):
        assert lasting(await carried(carrier, message(NAMED_UPDATE))) == Rejected(code, status)
    assert len(place.seen) == 1


async def test_a_request_that_needs_a_look_up_is_not_made_without_one() -> None:
    async with carrying(answer(200)) as (carrier, _):
        with pytest.raises(LookupError):
            carrier.request(message(NAMED_UPDATE))


# creations that meet somebody -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("unknown", "how"), [(False, "exists"), (True, "looked_up")])
async def test_a_contact_that_is_there_is_kept_and_its_id_told(unknown: bool, how: str) -> None:
    async with carrying(json_answer(200, CONTACT)) as (carrier, place):
        outcome = await carried(carrier, message(CREATION, unknown=unknown))
    assert lasting(outcome) == Delivered(how, 200, CONTACT)
    assert place.lines == [FIND]


@pytest.mark.parametrize("unknown", [False, True])
async def test_a_contact_that_is_there_is_updated_where_the_shop_said_so(unknown: bool) -> None:
    async with carrying(json_answer(200, CONTACT), answer(200)) as (carrier, place):
        outcome = await carried(carrier, message(UPSERT, unknown=unknown))
    assert lasting(outcome) == Delivered("accepted", 200, CONTACT)
    assert place.lines == [FIND, PATCH]
    assert place.seen[1].body == b'{"email":"anna@example.com","city":"Lund"}'


async def test_a_creation_with_several_matches_is_rejected_and_creates_nobody() -> None:
    async with carrying(error(409, "MultipleMatches")) as (carrier, place):
        assert lasting(await carried(carrier, message(CREATION))) == Rejected("MultipleMatches", 409)
    assert place.lines == [FIND]


@pytest.mark.parametrize(
    ("draft", "unknown", "expected", "lines"),
    [
        (CREATION, False, Delivered("exists", 200, CONTACT), [FIND, CREATE, FIND]),
        (CREATION, True, Delivered("looked_up", 200, CONTACT), [FIND, CREATE, FIND]),
        # Its lane has to join that contact's before it is changed: with the next look-up.
        (UPSERT, False, RetryAt("ApprovedContactWithKeyExists", 409, transient=False), [FIND, CREATE, FIND]),
    ],
)
async def test_a_key_that_was_taken_in_between_is_looked_up_again(
    draft: Draft, unknown: bool, expected: Outcome, lines: list[str]
) -> None:
    told = [error(404, "ContactNotFound"), error(409, "ApprovedContactWithKeyExists"), json_answer(200, CONTACT)]
    async with carrying(*told) as (carrier, place):
        assert lasting(await carried(carrier, message(draft, unknown=unknown))) == expected
    assert place.lines == lines


@pytest.mark.parametrize("unknown", [False, True])
async def test_a_key_that_another_person_has_is_a_rejection_and_changes_nobody(unknown: bool) -> None:
    taken = json_answer(409, {"errorCode": "ApprovedContactWithKeyExists", "contactId": OTHER})
    nobody = error(404, "ContactNotFound")
    async with carrying(nobody, taken, nobody) as (carrier, place):
        outcome = await carried(carrier, message(UPSERT, unknown=unknown))
    assert lasting(outcome) == Rejected("ApprovedContactWithKeyExists", 409, may_have_happened=unknown)
    assert place.lines == [FIND, CREATE, FIND]


@pytest.mark.parametrize(
    ("draft", "unknown", "expected"),
    [
        (CREATION, False, Delivered("exists", 409, OTHER)),
        (CREATION, True, Delivered("conflict", 409, OTHER)),
        (UPSERT, True, Delivered("conflict", 409, OTHER)),
        (UPSERT, False, Rejected("ApprovedContactWithKeyExists", 409)),
    ],
)
async def test_without_a_key_attribute_the_409_is_all_that_tells(
    draft: Draft, unknown: bool, expected: Outcome
) -> None:
    taken = json_answer(409, {"errorCode": "ApprovedContactWithKeyExists", "contactId": OTHER})
    async with carrying(taken, contact_key=None) as (carrier, place):
        assert not carrier.looks_first(message(draft, unknown=unknown))
        assert lasting(await carried(carrier, message(draft, unknown=unknown))) == expected
    assert place.lines == [CREATE]


async def test_a_creation_whose_answer_was_lost_is_unknown() -> None:
    async with carrying(error(404, "ContactNotFound"), close) as (carrier, _):
        assert lasting(await carried(carrier, message(CREATION))) == RetryAt("broken", unknown=True)


@pytest.mark.parametrize(
    ("attribute", "value", "parameter"),
    [
        ("email", "anna@example.com", "email=anna%40example.com"),
        ("mobilePhone", "+46700000001", "mobilePhone=%2B46700000001"),
        ("socialSecurityNumber", "198804091234", "socialSecurityNumber=198804091234"),
        ("externalId", "K 7", "customKey=K%207"),
        ("memberNumber", "70012345", "customKey=70012345"),
    ],
)
async def test_a_creation_is_looked_up_by_the_key_attribute(attribute: str, value: str, parameter: str) -> None:
    draft = contact_create.draft({attribute: value}, contact_key=attribute)
    async with carrying(json_answer(200, CONTACT), contact_key=attribute) as (carrier, place):
        await carried(carrier, message(draft))
    assert place.lines == [f"GET /api/v3/contacts/id?{parameter}"]


# after a file ---------------------------------------------------------------------------------------------------------


async def confirmed(
    draft: Draft, *answers: bytes, newer: Sequence[Draft] = (), in_force: Sequence[Draft] = ()
) -> tuple[Outcome, Loopback]:
    async def ask(contact_id: str, enough: Enough) -> Later:
        assert contact_id == CONTACT
        writes = [(each.kind, each.body) for each in (*newer, *in_force)]
        to_come, settled = writes[: len(newer)], writes[len(newer) :]
        return Later(writes, to_come, settled)

    async with carrying(*answers) as (carrier, place):
        return lasting(await carrier.confirm(message(draft), ask, FREE)), place


async def test_a_redemption_that_the_file_brought_is_confirmed() -> None:
    outcome, place = await confirmed(REDEMPTION, assignments(redeemed=True, redeemedOn="2025-03-14T08:12:40Z"))
    assert outcome == Delivered("looked_up", 200)
    assert place.lines == [LIST]


@pytest.mark.parametrize("told", [answer(200), error(409, "PromotionAlreadyRedeemed")])
async def test_a_redemption_that_is_still_open_is_redeemed(told: bytes) -> None:
    outcome, place = await confirmed(REDEMPTION, assignments(redeemed=False), told)
    assert isinstance(outcome, Delivered)
    assert place.lines == [LIST, REDEEM]


async def test_a_redemption_without_a_contact_is_redeemed_and_the_409_confirms_it() -> None:
    outcome, place = await confirmed(LONE_REDEMPTION, error(409, "PromotionAlreadyRedeemed"))
    assert outcome == Delivered("conflict", 409)
    assert place.lines == [REDEEM]


async def test_a_receipt_is_posted_again() -> None:
    outcome, place = await confirmed(RECEIPT, answer(202))
    assert outcome == Delivered("accepted", 202)
    assert (place.lines, place.seen[0].body) == (["POST /api/v3/receipts"], RECEIPT.body)


@pytest.mark.parametrize(
    "contact",
    [
        {"id": CONTACT, "attributes": {"city": "Lund"}, "preferences": {"acceptsSms": False}},
        {"id": CONTACT, "city": "Lund", "preferences": {"acceptsSms": False}},
    ],
)
async def test_an_update_that_the_contact_shows_is_confirmed(contact: object) -> None:
    outcome, place = await confirmed(UPDATE, json_answer(200, contact))
    assert outcome == Delivered("looked_up", 200, CONTACT)
    assert place.lines == [READ]


async def test_only_what_differs_and_no_newer_entry_has_set_is_sent_again() -> None:
    draft = contact_update.draft(
        address(contact_id=CONTACT),
        {"city": "Lund", "street": "Provgatan 7", "zipCode": "1", "preferences": {"acceptsSms": False}},
    )
    contact = {"id": CONTACT, "attributes": {"city": "Malmö", "street": "x", "zipCode": "1"}}
    later = contact_update.draft(address(contact_id=CONTACT), {"street": None, "preferences": {"acceptsSms": True}})
    told = [json_answer(200, contact), answer(200)]
    outcome, place = await confirmed(draft, *told, newer=[later])
    assert outcome == Delivered("accepted", 200, CONTACT)
    assert place.lines == [READ, PATCH]
    assert place.seen[1].body == b'{"city":"Lund"}'


async def test_an_update_of_which_newer_entries_have_set_everything_asks_nothing() -> None:
    outcome, place = await confirmed(UPDATE, answer(500), newer=[UPDATE])
    assert outcome == Delivered("looked_up", contact_id=CONTACT)
    assert place.seen == []


@pytest.mark.parametrize(
    ("pieces", "read"),
    [
        ([[{"city": "Malmö"}], [{"preferences": {"acceptsSms": True}}], [{"street": "x"}]], 2),
        ([[{"street": "x"}, {"city": None}, {"preferences": {"acceptsSms": True}}], [{"city": "Ystad"}]], 1),
        ([[{"city": "Malmö"}], [{"preferences": {"acceptsEmail": True}}], []], 3),
        ([[], [], [{"city": "Malmö", "preferences": {"acceptsSms": True}}]], 3),
    ],
)
async def test_no_more_of_the_newer_writes_is_read_than_until_each_field_is_set_again(
    pieces: list[list[dict[str, object]]], read: int
) -> None:
    """`UPDATE` sets the city and one preference. A contact may have a hundred thousand newer writes."""
    told: list[list[dict[str, object]]] = []

    async def ask(contact_id: str, enough: Enough) -> Later:
        writes: list[tuple[Kind, bytes]] = []
        for piece in pieces:
            told.append(piece)
            some = [contact_update.draft(address(contact_id=CONTACT), changes) for changes in piece]
            writes += [(each.kind, each.body) for each in some]
            if enough([(each.kind, each.body) for each in some]):
                break
        return Later(writes, writes)

    contact = {"id": CONTACT, "attributes": {"city": "Lund"}, "preferences": {"acceptsSms": False}}
    async with carrying(json_answer(200, contact)) as (carrier, _):
        assert isinstance(await carrier.confirm(message(UPDATE), ask, FREE), Delivered)
    assert len(told) == read


async def test_what_another_update_still_has_the_word_on_is_not_put_right_ahead_of_it() -> None:
    """The import has put our value over one that Engage has; the newest is confirmed itself, and later."""
    has, to_come = (contact_update.draft(address(contact_id=CONTACT), {"city": city}) for city in ("Malmö", "Ystad"))

    async def ask(contact_id: str, enough: Enough) -> Later:
        writes = [(each.kind, each.body) for each in (has, to_come)]
        return Later(writes, writes[1:], writes[:1])

    async with carrying(json_answer(200, {"id": CONTACT} | LUND), answer(200)) as (carrier, place):
        assert isinstance(await carrier.confirm(message(UPDATE), ask, FREE), Delivered)
    assert [request.body for request in place.seen if request.body] == []


LUND = {"city": "Lund", "preferences": {"acceptsSms": False}}


@pytest.mark.parametrize(
    ("newer", "seen", "sent"),
    [
        # the import has put our older value over it
        ([{"city": "Malmö"}], LUND, {"city": "Malmö"}),
        ([{"city": "Malmö"}, {"city": "Ystad", "street": "x"}], LUND, {"city": "Ystad"}),
        ([{"city": None}], LUND, {"city": None}),
        ([{"preferences": {"acceptsSms": True, "acceptsEmail": True}}], LUND, {"preferences": {"acceptsSms": True}}),
        # it came later, or a person has changed it since
        ([{"city": "Malmö"}], LUND | {"city": "Malmö"}, None),
        ([{"city": "Malmö"}], LUND | {"city": "Ystad"}, None),
        # they are of one mind
        ([{"city": "Malmö"}, {"city": "Lund"}], LUND, None),
        # what is missing of ours and what was overwritten, in one request
        (
            [{"preferences": {"acceptsSms": True}}],
            LUND | {"city": "Ystad"},
            {"city": "Lund", "preferences": {"acceptsSms": True}},
        ),
    ],
)
@pytest.mark.parametrize("by_attribute", [True, False])
async def test_a_newer_value_that_the_import_has_overwritten_is_sent_again(
    newer: list[dict[str, object]], seen: dict[str, object], sent: dict[str, object] | None, by_attribute: bool
) -> None:
    changes = {"city": "Lund", "preferences": {"acceptsSms": False}}
    draft = contact_update.draft(address(email="anna@example.com"), changes) if by_attribute else UPDATE
    in_force = [contact_update.draft(address(contact_id=CONTACT), later) for later in newer]
    found = [json_answer(200, CONTACT)] if by_attribute else []
    outcome, place = await confirmed(
        draft, *found, json_answer(200, {"id": CONTACT} | seen), answer(200), in_force=in_force
    )
    assert isinstance(outcome, Delivered)
    patches = [json.loads(request.body) for request in place.seen if request.body]
    assert patches == ([] if sent is None else [sent])


async def test_a_newer_value_that_still_waits_for_its_turn_is_not_sent_ahead() -> None:
    later = contact_update.draft(address(contact_id=CONTACT), {"city": "Malmö"})
    outcome, place = await confirmed(UPDATE, json_answer(200, {"id": CONTACT} | LUND), newer=[later])
    assert outcome == Delivered("looked_up", 200, CONTACT)
    assert place.lines == [READ]


async def test_a_newer_value_that_an_imported_creation_has_overwritten_is_sent_again() -> None:
    draft = contact_create.draft({"email": "anna@example.com", "city": "Lund"}, contact_key="email")
    later = contact_update.draft(address(contact_id=CONTACT), {"city": "Malmö"})
    seen = {"id": CONTACT, "email": "anna@example.com", "city": "Lund"}
    outcome, place = await confirmed(
        draft, json_answer(200, CONTACT), json_answer(200, seen), answer(200), in_force=[later]
    )
    assert outcome == Delivered("accepted", 200, CONTACT)
    assert place.seen[-1].body == '{"city":"Malmö"}'.encode()


async def test_an_update_by_an_attribute_is_read_back_by_its_id() -> None:
    contact = {"id": CONTACT, "attributes": {"city": "Lund"}}
    outcome, place = await confirmed(NAMED_UPDATE, json_answer(200, CONTACT), json_answer(200, contact))
    assert outcome == Delivered("looked_up", 200, CONTACT)
    assert place.lines == [f"{FIND}&contactType=Member", READ]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (error(404, "ContactNotFound"), Rejected("ContactNotFound", 404, may_have_happened=True)),
        (answer(500), RetryAt("http_500", 500)),
        (answer(200, b"<html>", Content_Type="text/html"), RetryAt("unexpected_answer", 200)),
        (answer(401), NotAllowed(401)),
        (answer(429), SlowDown()),
    ],
)
async def test_an_update_that_cannot_be_read_back_is_not_delivered(told: bytes, expected: Outcome) -> None:
    outcome, place = await confirmed(UPDATE, told)
    assert outcome == expected
    assert place.lines == [READ]


@pytest.mark.parametrize("draft", [CREATION, UPSERT])
async def test_a_created_contact_is_found_by_its_key_and_its_id_told(draft: Draft) -> None:
    contact = {"id": CONTACT, "contactType": "Member", "email": "anna@example.com", "city": "Malmö"}
    outcome, place = await confirmed(draft, json_answer(200, CONTACT), json_answer(200, contact))
    assert outcome == Delivered("looked_up", 200, CONTACT)
    assert place.lines == [FIND, READ]


async def test_a_created_contact_gets_what_it_lacks_and_nothing_that_it_has_or_a_newer_entry_set() -> None:
    """Its file was skipped in silence, and a later file with a change has made the contact (ref 6.4: an upsert)."""
    written = {"email": "anna@example.com", "firstName": "Anna", "city": "Lund", "street": "Byvägen 1"}
    draft = contact_create.draft(written | {"preferences": {"acceptsSms": True}}, contact_key="email")
    later = contact_update.draft(address(contact_id=CONTACT), {"street": "Nygatan 2"})
    seen = {"id": CONTACT, "email": "anna@example.com", "city": "Malmö", "preferences": {"acceptsSms": False}}
    outcome, place = await confirmed(
        draft, json_answer(200, CONTACT), json_answer(200, seen), answer(200), newer=[later]
    )
    assert outcome == Delivered("accepted", 200, CONTACT)
    assert place.lines == [FIND, READ, PATCH]
    assert place.seen[-1].body == b'{"firstName":"Anna"}'


@pytest.mark.parametrize(
    ("city", "repaired"),
    [
        ("Umeå", None),  # the creation's file inserted or updated (ref 6.4)
        ("Malmö", b'{"city":"Lund"}'),  # the creation found its contact, and its file was skipped: it set nothing
        ("Lund", None),
    ],
)
async def test_what_a_newer_creation_set_by_file_is_left_alone_where_the_contact_shows_it(
    city: str, repaired: bytes | None
) -> None:
    creation = contact_create.draft({"email": "anna@example.com", "city": "Umeå"}, contact_key="email")
    shown = {"id": CONTACT, "attributes": {"city": city}}
    told = [json_answer(200, CONTACT), json_answer(200, shown), answer(200)]
    outcome, place = await confirmed(NAMED_UPDATE, *told, newer=[creation])
    assert isinstance(outcome, Delivered)
    assert [request.body for request in place.seen[2:]] == ([repaired] if repaired else [])


@pytest.mark.parametrize(
    ("draft", "newer", "body"),
    [
        (NAMED_UPDATE, [], b'{"city":"Lund"}'),
        (NAMED_UPDATE, [UPDATE], None),
        (
            contact_update.draft(
                address(email="a@b.se"), {"city": "1", "preferences": {"acceptsSms": True, "acceptsEmail": True}}
            ),
            [UPDATE],
            b'{"preferences":{"acceptsEmail":true}}',
        ),
        (UPSERT, [UPDATE], b'{"email":"anna@example.com"}'),
        (UPSERT, [UPSERT], None),
    ],
)
async def test_a_change_leaves_out_what_newer_writes_have_set(
    draft: Draft, newer: list[Draft], body: bytes | None
) -> None:
    async with carrying() as (carrier, _):
        request = carrier.change(message(draft), CONTACT, [(each.kind, each.body) for each in newer])
    assert (request and request.body) == body
    assert request is None or request.contact_id == CONTACT


async def test_a_contact_that_the_file_did_not_create_is_created() -> None:
    outcome, place = await confirmed(CREATION, error(404, "ContactNotFound"), json_answer(201, {"id": CONTACT}))
    assert outcome == Delivered("accepted", 201, CONTACT, contact_type="Member")
    assert place.lines == [FIND, CREATE]


async def test_a_created_contact_with_several_matches_is_told() -> None:
    outcome, _ = await confirmed(CREATION, error(409, "MultipleMatches"))
    assert outcome == Rejected("MultipleMatches", 409, may_have_happened=True)


async def test_a_type_change_is_sent_again() -> None:
    outcome, _ = await confirmed(TYPE, answer(200))
    assert outcome == Delivered("accepted", 200, CONTACT, contact_type="Member")


# probe ----------------------------------------------------------------------------------------------------------------


async def test_the_probe_asks_for_nobody_and_takes_a_refusal_for_health() -> None:
    async with carrying(error(404, "ContactNotFound")) as (carrier, place):
        assert isinstance(await carrier.probe(FREE), Delivered)
    assert place.lines == ["GET /api/v3/contacts/id?email=nobody%40voyado-async.invalid"]


@pytest.mark.parametrize(("told", "expected"), [(answer(401), NotAllowed), (answer(503), RetryAt), (close, RetryAt)])
async def test_the_probe_tells_what_is_wrong(told: Answer | bytes, expected: type) -> None:
    async with carrying(told) as (carrier, _):
        assert isinstance(await carrier.probe(FREE), expected)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (error(404, "ContactNotFound"), Rejected("ContactNotFound", 404, may_have_happened=True)),
        (error(409, "MultipleMatches"), Rejected("MultipleMatches", 409, may_have_happened=True)),
        (answer(503), RetryAt("http_503", 503)),
    ],
)
async def test_an_update_whose_contact_cannot_be_found_again_is_not_delivered(told: bytes, expected: Outcome) -> None:
    outcome, place = await confirmed(NAMED_UPDATE, told)
    assert outcome == expected
    assert place.lines == [f"{FIND}&contactType=Member"]


async def test_each_request_has_a_turn_of_its_own_and_holds_none_in_between() -> None:
    turns: list[str] = []

    class Turn(nullcontext[None]):
        async def __aenter__(self) -> None:
            turns.append("enter")

        async def __aexit__(self, *_: object) -> None:
            turns.append("leave")

    async def newer(contact_id: str, enough: Enough) -> Later:
        turns.append("asked")
        return Later()

    contact = {"id": CONTACT, "attributes": {"city": "Malmö"}}
    told = [json_answer(200, CONTACT), json_answer(200, contact), answer(200), error(404, "ContactNotFound")]
    taken = [error(409, "ApprovedContactWithKeyExists"), json_answer(200, CONTACT)]
    async with carrying(*told, *taken) as (carrier, place):
        await carrier.confirm(message(NAMED_UPDATE), newer, Turn())
        assert turns == ["enter", "leave", "asked", "enter", "leave", "enter", "leave"]
        turns.clear()
        await carrier.confirm(message(CREATION), newer, Turn())
    assert turns == ["enter", "leave"] * 3
    assert len(place.seen) == 6


async def test_a_request_that_gets_no_turn_is_not_sent() -> None:
    class Stopped(nullcontext[None]):
        async def __aenter__(self) -> None:
            raise HandBack

    async with carrying() as (carrier, place):
        with pytest.raises(HandBack):
            await carrier.confirm(message(REDEMPTION), unasked, Stopped())
        with pytest.raises(HandBack):
            await carrier.send(message(RECEIPT), carrier.request(message(RECEIPT)), Stopped())
    assert place.seen == []


async def unasked(contact_id: str, enough: Enough) -> Later:
    raise AssertionError("nobody asks what is newer than a redemption")


async def test_a_key_that_was_taken_waits_while_the_look_up_has_no_answer() -> None:
    told = [error(404, "ContactNotFound"), error(409, "ApprovedContactWithKeyExists"), answer(503)]
    async with carrying(*told) as (carrier, _):
        assert lasting(await carried(carrier, message(CREATION))) == RetryAt("http_503", 503)
