"""Every call of a shop with something wrong in it: told with the path of the field, nothing stored, nothing sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from voyado_async import InvalidEntry, Remedy, VoyadoClient
from voyado_async.sandbox import Sandbox

NOBODY = "00000000-0000-4000-8000-000000000000"
CITY = {"city": "Lund"}
NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
DAY = {"startDate": "2025-03-01"}

WRONG: list[tuple[str, Callable[[Any], Awaitable[object]]]] = [
    # None where an id belongs: what a look-up answers for nobody, handed on without a look at it
    ("contactId", lambda v: v.contacts.get(None)),
    ("contactId", lambda v: v.contacts.change_type(None, "Member")),
    ("contactId", lambda v: v.promotions.assignments(None)),
    ("contactId", lambda v: v.promotions.assign(None, NOBODY)),
    ("contactId", lambda v: v.transactions.list(None)),
    ("contactId", lambda v: anext(v.transactions.iterate(None))),
    ("contactId", lambda v: v.vouchers.available(None)),
    ("contactId", lambda v: v.vouchers.list(None)),
    ("contactId", lambda v: v.vouchers.redeemed(None)),
    # ids that would change a path
    ("contactId", lambda v: v.contacts.get("../receipts")),
    ("contactId", lambda v: v.contacts.update("a/b", CITY)),
    ("contactId", lambda v: v.promotions.redeem(NOBODY, channel="POS", contact_id="a b")),
    ("assignmentId", lambda v: v.promotions.redeem("", channel="POS")),
    ("assignmentId", lambda v: v.promotions.redeem(7, channel="POS")),
    ("codeId", lambda v: v.promotions.redeem_code("?", channel="POS")),
    ("promotionId", lambda v: v.promotions.assign(NOBODY, None)),
    ("id", lambda v: v.promotions.get("a/b")),
    ("id", lambda v: v.promotions.delete(7)),
    ("externalId", lambda v: v.promotions.get_validity(external_id=" ")),
    ("voucherId", lambda v: v.vouchers.redeem("", contact_id=NOBODY)),
    ("batchId", lambda v: v.contacts.bulk_status("")),
    # names of a contact
    ("", lambda v: v.contacts.find()),
    ("", lambda v: v.contacts.find(email="a@example.com", member_number="7")),
    ("email", lambda v: v.contacts.find(email=7)),
    ("mobilePhone", lambda v: v.contacts.update(mobile_phone=" ", changes=CITY)),
    # contact types
    ("contactType", lambda v: v.contacts.find(email="a@example.com", contact_type="No Such")),
    ("contactType", lambda v: v.contacts.find(email="a@example.com", contact_type=7)),
    ("contactType", lambda v: v.contacts.change_type(NOBODY, 7)),
    ("contactType", lambda v: v.contacts.update(NOBODY, CITY, contact_type=7)),
    ("contactType", lambda v: v.contacts.create({"email": "a@example.com", "contactType": "a b"})),
    ("contactType", lambda v: v.contacts.create_bulk([{"email": "a@example.com"}], contact_type=7)),
    ("contactType", lambda v: v.contacts.update(NOBODY, {"contactType": "Member"})),
    # contents
    ("", lambda v: v.contacts.create("email")),
    ("", lambda v: v.contacts.create(b"[]")),
    (
        "preferences.acceptsPigeon",
        lambda v: v.contacts.create({"email": "a@b.se", "preferences": {"acceptsPigeon": 1}}),
    ),
    ("onExisting", lambda v: v.contacts.create({"email": "a@example.com"}, on_existing="merge")),
    ("source", lambda v: v.contacts.create({"email": "a@example.com"}, source="a\r\nb: c")),
    ("createAsUnapproved", lambda v: v.contacts.create({"email": "a@example.com"}, create_as_unapproved="no")),
    ("key", lambda v: v.contacts.update(NOBODY, CITY, key="")),
    ("first_name", lambda v: v.contacts.update(NOBODY, {"first_name": "Anna"})),
    ("city", lambda v: v.contacts.update(NOBODY, {"city": "a\0b"})),
    ("[1].email", lambda v: v.contacts.create_bulk([{"email": "a@example.com"}, {"email": "a"}])),
    ("[0]", lambda v: v.contacts.update_bulk([7])),
    ("channel", lambda v: v.promotions.redeem(NOBODY, channel="WEB")),
    ("channel", lambda v: v.promotions.assignments(NOBODY, channel="WEB")),
    ("name", lambda v: v.promotions.create({"name": " ", "validity": DAY})),
    ("validity", lambda v: v.promotions.update(NOBODY, {"name": "a", "validity": None})),
    ("", lambda v: v.promotions.update(NOBODY)),
    ("", lambda v: v.promotions.update({"name": "a", "validity": DAY})),
    ("id", lambda v: v.promotions.update({"name": "a"}, {"name": "a", "validity": DAY})),
    ("startDate", lambda v: v.promotions.update_validity(NOBODY, {"startDate": "2025-03-01T00:00:00Z"})),
    ("totalGrosPrice", lambda v: v.receipts.send({"totalGrosPrice": 1})),
    # pages and spans
    ("count", lambda v: v.transactions.list(NOBODY, count=True)),
    ("offset", lambda v: v.vouchers.available(NOBODY, offset=-1)),
    ("changeType", lambda v: v.contacts.changes("created", NOON)),
    ("fromDate", lambda v: v.contacts.changes("Created", NOON.replace(tzinfo=None))),
    ("toDate", lambda v: v.contacts.changes("Created", NOON, "2025-03-02")),
]


async def told(call: Awaitable[object]) -> tuple[str, Remedy] | str:
    """The path of what is wrong, and what to do; or what it came to instead."""
    try:
        return f"answered {await call!r}"
    except InvalidEntry as refusal:
        return refusal.path, refusal.remedy
    except Exception as error:  # any other error is the finding
        return repr(error)


async def test_what_is_wrong_is_told_with_its_path(voyado: VoyadoClient, sandbox: Sandbox) -> None:
    found = [await told(call(voyado)) for _, call in WRONG]
    assert found == [(path, Remedy.CALL) for path, _ in WRONG]
    assert (await voyado.outbox.status()).accounting.enqueued == 0
    assert sandbox.journal.requests() == []
