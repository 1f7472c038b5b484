"""The REST side: every code of the reference, and strictness about headers and bodies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from voyado_async.sandbox import Sandbox, SandboxSettings

V3 = "/api/v3"
NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"apikey": None}, 401),
        ({"apikey": "wrong"}, 401),
        ({"User-Agent": None}, 400),
        ({"User-Agent": "NoVersion"}, 400),
        ({"Content-Type": None}, 500),
        ({"Content-Type": "text/plain"}, 500),
    ],
)
async def test_a_mandatory_header_that_is_missing_or_wrong_is_refused_also_on_get(
    engage: Any, sandbox: Sandbox, changed: dict[str, str | None], status: int
) -> None:
    headers = {n: v for n, v in {**engage.headers, **changed}.items() if v is not None}
    skipped = [name for name, value in changed.items() if value is None]
    url = f"{sandbox.base_url}{V3}/contacts/{NOBODY}"
    async with engage.session.get(url, headers=headers, skip_auto_headers=skipped) as answer:
        assert answer.status == status
        if status == 500:
            assert (await answer.json())["message"] == "An error has occurred"


async def test_find_answers_a_bare_string_for_every_kind_of_search(engage: Any, sandbox: Sandbox) -> None:
    anna = sandbox.state.add_contact(
        email="Anna@example.com", mobilePhone="+46700000001", externalId="K1", socialSecurityNumber="19880409-1234"
    )
    for query in (
        {"email": "anna@example.com"},
        {"mobilePhone": "+46 70 000 00 01"},
        {"customKey": "K1"},
        {"socialSecurityNumber": "19880409-1234"},
        {"any": "anna@example.com"},
        {"any": "K1"},
        {"email": "anna@example.com", "contactType": "member"},
    ):
        assert await engage.get(f"{V3}/contacts/id", **query) == (200, anna.id)


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({"email": "not-an-address"}, 400, "InvalidEmailAddress"),
        ({"mobilePhone": "070-1"}, 400, "InvalidPhoneNumber"),
        ({"socialSecurityNumber": "abc"}, 400, "InvalidSocialSecurityNumber"),
        ({"email": "a@example.com", "contactType": "Alien"}, 400, "InvalidContactType"),
        ({}, 400, "InvalidSearchQuery"),
        ({"email": "a@example.com", "customKey": "K"}, 400, "InvalidSearchQuery"),
        ({"shoeSize": "42"}, 400, "InvalidSearchQuery"),
        ({"email": "nobody@example.com"}, 404, "ContactNotFound"),
        ({"any": "+46700000009"}, 404, "ContactNotFound"),
    ],
)
async def test_find_refuses_with_the_code_of_the_reference(
    engage: Any, query: dict[str, str], status: int, code: str
) -> None:
    answer, body = await engage.get(f"{V3}/contacts/id", **query)
    assert (answer, body["errorCode"]) == (status, code)


async def test_find_names_all_contacts_when_several_match(engage: Any, sandbox: Sandbox) -> None:
    ids = [sandbox.state.add_contact(email="shared@example.com").id for _ in range(2)]
    status, body = await engage.get(f"{V3}/contacts/id", email="shared@example.com")
    assert (status, body["errorCode"]) == (409, "MultipleMatches")
    assert body["messageDetails"] == {"multipleMatchesFound": ids}


async def test_create_answers_the_full_contact_and_takes_its_options_from_the_query(
    engage: Any, sandbox: Sandbox
) -> None:
    status, body = await engage.post(
        f"{V3}/contacts",
        {"firstName": "Anna", "externalId": "K1", "shoeSize": "38", "preferences": {"acceptsEmail": True}},
        source="POS",
        storeExternalId="204",
        createAsUnapproved="true",
    )
    assert status == 201
    assert body["attributes"]["firstName"] == "Anna"
    assert body["attributes"]["shoeSize"] == "38"
    assert body["attributes"]["createdInStore"] == "204"
    assert body["attributes"]["memberNumber"]
    assert body["preferences"] == {"acceptsEmail": True, "acceptsSms": False, "acceptsPostal": False}
    contact = sandbox.state.contacts[body["id"]]
    assert (contact.source, contact.approved) == ("POS", False)
    assert await engage.get(f"{V3}/contacts/{body['id']}") == (200, body)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "NoData"),
        ({"firstName": "Anna"}, 422, "ValidationError"),
        ({"externalId": "K2", "email": "nonsense"}, 422, "ValidationError"),
        ({"externalId": "K2", "birthDay": "09/04/1988"}, 422, "ValidationError"),
        ({"externalId": "K2", "age": 30}, 422, "ValidationError"),
        ({"externalId": "K2", "contactType": "Alien"}, 400, "InvalidContactType"),
        ({"externalId": "K2", "preferences": {"acceptsSms": "yes"}}, 400, "BadRequest"),
        ({"externalId": "K1"}, 409, "ApprovedContactWithKeyExists"),
        ({"externalId": "staged"}, 409, "ContactWithKeyIsBeingCreated"),
    ],
)
async def test_create_refuses_with_the_code_of_the_reference(
    engage: Any, sandbox: Sandbox, body: dict[str, Any], status: int, code: str
) -> None:
    sandbox.state.add_contact(externalId="K1")
    sandbox.state.being_created.add("staged")
    answer, refused = await engage.post(f"{V3}/contacts", body)
    assert (answer, refused["errorCode"]) == (status, code)
    assert len(sandbox.state.contacts) == 1


async def test_an_update_overwrites_with_null_and_ignores_unknown_names_and_the_contact_type(
    engage: Any, sandbox: Sandbox
) -> None:
    anna = sandbox.state.add_contact(externalId="K1", city="Lund", street="Gatan 1", createdInStore="204")
    change = {
        "city": None,
        "street": "",
        "lastName": "Berg",
        "favouriteColour": "red",
        "contactType": "Contact",
        "createdInStore": "999",
        "preferences": {"acceptsSms": True},
    }
    status, body = await engage.patch(f"{V3}/contacts/{anna.id}", change)
    assert status == 200
    assert (body["attributes"]["city"], body["attributes"]["street"]) == (None, "")
    assert body["attributes"]["contactType"] == "Member"
    assert body["attributes"]["createdInStore"] == "204"
    assert "favouriteColour" not in body["attributes"]
    assert body["preferences"]["acceptsSms"] is True
    assert sandbox.journal.applied(anna.id) == [
        {"city": None, "street": "", "lastName": "Berg", "preferences.acceptsSms": True}
    ]


@pytest.mark.parametrize(
    ("contact", "body", "status", "code"),
    [
        ("not-a-guid", {"city": "Lund"}, 400, "InvalidContactId"),
        (NOBODY, {"city": "Lund"}, 404, "ContactNotFound"),
        (None, {}, 400, "NoData"),
        (None, {"rfm": 3}, 422, "ValidationError"),
        (None, {"city": 5}, 422, "ValidationError"),
        (None, {"externalId": "K2"}, 409, "ApprovedContactWithKeyExists"),
        (None, [1], 400, "BadRequest"),
    ],
)
async def test_an_update_that_cannot_be_applied_is_refused_and_changes_nothing(
    engage: Any, sandbox: Sandbox, contact: str | None, body: Any, status: int, code: str
) -> None:
    anna = sandbox.state.add_contact(externalId="K1", city="Umea")
    sandbox.state.add_contact(externalId="K2")
    answer, refused = await engage.patch(f"{V3}/contacts/{contact or anna.id}", body)
    assert (answer, refused["errorCode"]) == (status, code)
    assert anna.attributes["city"] == "Umea"
    assert sandbox.journal.commits == []


@pytest.mark.parametrize("raw", [b"{", b"\xff", b'{"a":NaN}', b'{"city":"a","city":"b"}', b"[" * 100_000])
async def test_malformed_json_is_refused(engage: Any, sandbox: Sandbox, raw: bytes) -> None:
    anna = sandbox.state.add_contact(externalId="K1")
    url = f"{sandbox.base_url}{V3}/contacts/{anna.id}"
    async with engage.session.patch(url, data=raw, headers=engage.headers) as answer:
        assert answer.status == 400


async def test_the_contact_type_has_its_own_call(engage: Any, sandbox: Sandbox) -> None:
    anna = sandbox.state.add_contact(externalId="K1", contact_type="Contact")
    path = f"{V3}/contacts/{anna.id}/updateContactType"
    assert (await engage.post(path, contactTypeId="Member"))[0] == 200
    assert anna.contact_type == "Member"
    status, body = await engage.post(path, contactTypeId="Alien")
    assert (status, body["errorCode"]) == (400, "InvalidContactType")


async def test_assignments_show_what_is_active_in_the_fields_of_the_reference(engage: Any, sandbox: Sandbox) -> None:
    now = datetime.now(UTC)
    state = sandbox.state
    anna = state.add_contact(externalId="K1")
    money = {"type": "POS", "valueType": "MONEY", "value": "50", "instruction": "Staff"}
    percent = {"type": "ECOM", "valueType": "PERCENT", "value": "20"}
    offer = state.add_assignment(anna.id, channels=[money, percent])
    used = state.add_assignment(anna.id, channels=["POS"], redeemed_on=now)
    state.add_assignment(anna.id, starts_on=now + timedelta(days=1))
    state.add_assignment(anna.id, expires_on=now - timedelta(seconds=1))
    state.add_assignment(anna.id, promotion_id=state.add_promotion(status="Draft").id)
    status, rows = await engage.get(f"{V3}/promotion-assignments", contactId=anna.id)
    assert status == 200
    assert [row["id"] for row in rows] == [offer.id, used.id]
    assert [row["redeemed"] for row in rows] == [False, True]
    assert rows[0]["redemptionChannels"] == [
        {"type": "POS", "valueType": "MONEY", "value": {"currency": "SEK", "amount": 50}, "instruction": "Staff"},
        {"type": "ECOM", "valueType": "PERCENT", "value": 20, "instruction": None},
    ]
    assert rows[0].keys() == {
        *("id", "promotionId", "externalId", "type", "name", "expiresOn", "heading", "description", "redeemed"),
        *("redeemedOn", "imageUrl", "link", "redemptionChannels"),
    }
    query = {"contactId": anna.id, "redemptionChannelType": "ECOM"}
    assert [r["id"] for r in (await engage.get(f"{V3}/promotion-assignments", **query))[1]] == [offer.id]
    assert (await engage.get(f"{V3}/promotion-assignments", contactId=NOBODY))[0] == 404


async def test_a_redeem_takes_effect_once_and_then_says_so(engage: Any, sandbox: Sandbox) -> None:
    anna = sandbox.state.add_contact(externalId="K1")
    offer = sandbox.state.add_assignment(anna.id)
    path = f"{V3}/promotion-assignments/{offer.id}/redeem"
    assert await engage.post(path, {"redemptionChannel": "POS"}) == (200, None)
    assert offer.redeemed
    assert offer.redeemed_channel == "POS"
    status, body = await engage.post(path, {"redemptionChannel": "POS"})
    assert (status, body["errorCode"]) == (409, "PromotionAlreadyRedeemed")
    assert sandbox.journal.count("redeem", offer.id) == 1
    assert [a.committed for a in sandbox.journal.requests("POST", "/redeem")] == [True, False]


@pytest.mark.parametrize(
    ("which", "body", "status", "code"),
    [
        ("pos", {"redemptionChannel": "RADIO"}, 400, "NotAValidRedemptionChannel"),
        ("pos", {}, 400, "NotAValidRedemptionChannel"),
        ("pos", {"redemptionChannel": "POS", "storeExternalId": "1"}, 400, "BadRequest"),
        ("nonsense", {"redemptionChannel": "POS"}, 400, "InvalidPromotionIdNoData"),
        (NOBODY, {"redemptionChannel": "POS"}, 404, "PromotionNotFound"),
        ("expired", {"redemptionChannel": "POS"}, 404, "PromotionNotFound"),
        ("orphan", {"redemptionChannel": "POS"}, 404, "PromotionNotAssociatedWithContact"),
        ("pos", {"redemptionChannel": "ECOM"}, 409, "PromotionNotValidForRedemptionChannel"),
    ],
)
async def test_redeem_refuses_with_the_code_of_the_reference(
    engage: Any, sandbox: Sandbox, which: str, body: dict[str, str], status: int, code: str
) -> None:
    state = sandbox.state
    anna, gone = state.add_contact(externalId="K1"), state.add_contact(externalId="K2")
    named = {
        "pos": state.add_assignment(anna.id, channels=["POS"]).id,
        "expired": state.add_assignment(anna.id, expires_on=datetime.now(UTC) - timedelta(days=1)).id,
        "orphan": state.add_assignment(gone.id).id,
    }
    state.delete_contact(gone.id)
    answer, refused = await engage.post(f"{V3}/promotion-assignments/{named.get(which, which)}/redeem", body)
    assert (answer, refused["errorCode"]) == (status, code)
    assert not any(a.redeemed for a in state.assignments.values())


async def test_assigning_creates_an_assignment_and_refuses_with_the_codes_of_the_reference(
    engage: Any, sandbox: Sandbox
) -> None:
    anna = sandbox.state.add_contact(externalId="K1")
    promotion = sandbox.state.add_promotion()
    ended = sandbox.state.add_promotion(validity={"startDate": "2020-01-01", "endDate": "2020-02-01"})
    path = f"{V3}/promotion-assignments"
    status, body = await engage.post(path, {"contactId": anna.id, "promotionId": promotion.id})
    assert status == 200
    assert body["id"] in sandbox.state.assignments
    for wrong, expected in (
        ({"contactId": "x", "promotionId": promotion.id}, (400, "InvalidContactId")),
        ({"contactId": anna.id, "promotionId": "x"}, (400, "InvalidPromotionId")),
        ({"contactId": NOBODY, "promotionId": promotion.id}, (404, "ContactNotFound")),
        ({"contactId": anna.id, "promotionId": NOBODY}, (404, "PromotionNotFound")),
        ({"contactId": anna.id, "promotionId": ended.id}, (409, "PromotionExpired")),
    ):
        status, body = await engage.post(path, wrong)
        assert (status, body["errorCode"]) == expected


async def test_a_definition_is_a_draft_that_can_be_read_changed_and_deleted(engage: Any, sandbox: Sandbox) -> None:
    definition = {
        "externalId": "SPRING",
        "name": "Spring",
        "validity": {"startDate": "2025-03-01", "assignedValidity": {"unit": "Days", "amount": 30}},
        "presentation": {"heading": "Spring"},
        "redemptionChannels": [{"type": "POS", "valueType": "PERCENT", "value": "20"}],
    }
    base = f"{V3}/promotions/multichannels"
    status, made = await engage.post(base, definition)
    assert status == 200
    path = f"{base}/{made['id']}"
    assert (await engage.get(base, externalId="SPRING"))[1]["status"] == "Draft"
    assert (await engage.call("PUT", path, {**definition, "name": "Summer"}))[0] == 200
    assert (await engage.get(path))[1]["name"] == "Summer"
    assert (await engage.call("PUT", f"{path}/validity", {"startDate": "2025-04-01"}))[0] == 200
    assert (await engage.get(f"{path}/validity"))[1] == {"startDate": "2025-04-01"}
    for wrong in ({"name": ""}, {"validity": {"startDate": "1 March"}}, {"redemptionChannels": [{"type": "POS"}]}):
        assert (await engage.post(base, {**definition, "externalId": "X", **wrong}))[0] == 400
    sandbox.state.promotions[made["id"]].status = "Active"
    assert (await engage.call("PUT", path, definition))[0] == 400
    assert (await engage.call("DELETE", path))[0] == 200
    assert (await engage.get(path))[0] == 404


async def test_a_receipt_is_accepted_at_once_and_stored_later_and_once(
    engage: Any, sandbox: Sandbox, receipt: dict[str, Any]
) -> None:
    anna = sandbox.state.add_contact(externalId="K1")
    for _ in range(2):
        assert await engage.post(f"{V3}/receipts", receipt) == (202, None)
    stranger = {**receipt, "uniqueReceiptId": "2", "contact": {"matchKey": "K9", "matchKeyType": "ExternalId"}}
    elsewhere = {**receipt, "uniqueReceiptId": "3", "storeExternalId": "999"}
    for ignored in (stranger, elsewhere):
        assert (await engage.post(f"{V3}/receipts", ignored))[0] == 202
    assert sandbox.state.receipts == {}
    assert sandbox.pipeline.run() == 4
    assert list(sandbox.state.receipts) == ["S204-T03-1"]
    assert sandbox.journal.count("receipt_accepted", "S204-T03-1") == 2
    assert sandbox.journal.count("receipt", "S204-T03-1") == 1
    reasons = [c.values["reason"] for c in sandbox.journal.effects("receipt_ignored")]
    assert reasons == ["duplicate", "unknown contact", "unknown store"]
    assert len(sandbox.log.of("warning")) == 3
    status, page = await engage.get(f"{V3}/transactions", contactId=anna.id)
    assert status == 200
    assert page["totalCount"] == 1
    assert page["items"][0]["externalId"] == "S204-T03-1"
    assert page["items"][0]["netPriceSum"] == 512.4


@pytest.mark.parametrize(
    "wrong",
    [
        {"totalGrossPrice": "640.50"},
        {"createdDate": "2025-03-14T09:12:44"},
        {"createdDate": "2025-02-30T09:12:44+01:00"},
        {"currency": "sek"},
        {"uniqueReceiptId": ""},
        {"uniqueReceiptId": 7},
        {"storeExternalId": None},
        {"items": {}},
        {"items": [{"type": "PURCHASE"}]},
        {"paymentMethods": [{"type": "card", "value": "640.50"}]},
        {"contact": {"matchKey": "K1", "matchKeyType": "cardId"}},
        {"TotalGrossPrice": 1},
        {"usedPromotions": [{"assignmentId": "1"}]},
    ],
)
async def test_a_receipt_of_the_wrong_shape_is_refused_with_the_path_of_the_field(
    engage: Any, sandbox: Sandbox, receipt: dict[str, Any], wrong: dict[str, Any]
) -> None:
    status, body = await engage.post(f"{V3}/receipts", {**receipt, **wrong})
    assert status == 400
    assert body["message"].startswith(next(iter(wrong)))
    assert sandbox.pipeline.run() == 0


@pytest.mark.parametrize("change", [{"type": "SALE"}, {"quantity": 1.5}, {"grossPaidPrice": True}, {"awardsBonus": 1}])
async def test_a_receipt_line_is_checked_like_its_head(
    engage: Any, receipt: dict[str, Any], change: dict[str, Any]
) -> None:
    receipt["items"][0].update(change)
    status, body = await engage.post(f"{V3}/receipts", receipt)
    assert status == 400
    assert body["message"].startswith(f"items[0].{next(iter(change))}")


async def test_bulk_is_queued_and_its_status_can_be_asked(engage: Any, sandbox: Sandbox) -> None:
    rows = [{"externalId": "K1", "city": "Lund", "acceptsSms": True}, {"city": "no key"}]
    status, batch = await engage.post(f"{V3}/contacts/bulk", rows)
    assert status == 202
    assert isinstance(batch, str)
    assert (await engage.get(f"{V3}/contacts/bulk/status", batchId=batch))[1]["status"] == "Queued"
    sandbox.pipeline.run()
    done = (await engage.get(f"{V3}/contacts/bulk/status", batchId=batch))[1]
    assert (done["status"], done["created"], done["failed"]) == ("Completed", 1, 1)
    await engage.patch(f"{V3}/contacts/bulk", [{"externalId": "K1", "city": None}, {"externalId": "K9"}])
    sandbox.pipeline.run()
    (anna,) = sandbox.state.contacts.values()
    assert anna.attributes["city"] is None
    assert anna.preferences["acceptsSms"] is True
    assert (await engage.post(f"{V3}/contacts/bulk", [{"externalId": "K"}] * 4001))[0] == 400
    assert (await engage.post(f"{V3}/contacts/bulk", {"externalId": "K"}))[0] == 400


async def test_changes_are_listed_by_kind_and_time(engage: Any, sandbox: Sandbox) -> None:
    anna = sandbox.state.add_contact(externalId="K1")
    await engage.patch(f"{V3}/contacts/{anna.id}", {"city": "Lund"})
    await engage.patch(f"{V3}/contacts/{anna.id}", {"city": "Umea"})
    query = {"changeType": "Updated", "fromDate": "2020-03-01 08:15:00.000"}
    assert await engage.get(f"{V3}/contacts/changes", **query) == (200, [anna.id])
    assert await engage.get(f"{V3}/contacts/changes", **query, toDate="2020-03-02 08:15:00.000") == (200, [])
    assert (await engage.get(f"{V3}/contacts/changes", changeType="Moved", fromDate="2020-03-01 08:15:00.000"))[
        0
    ] == 400
    assert (await engage.get(f"{V3}/contacts/changes", changeType="Created", fromDate="yesterday"))[0] == 400


async def test_v2_has_its_own_paths_and_methods(engage: Any, sandbox: Sandbox, receipt: dict[str, Any]) -> None:
    v2 = "/api/v2"
    options = {**engage.headers, "source": "POS", "createAsUnapproved": "true"}
    async with engage.session.post(
        f"{sandbox.base_url}{v2}/contacts", json={"externalId": "K1"}, headers=options
    ) as answer:
        assert answer.status == 201
        anna = sandbox.state.contacts[(await answer.json())["id"]]
    assert (anna.source, anna.approved) == ("POS", False)
    offer = sandbox.state.add_assignment(anna.id)
    other = sandbox.state.add_assignment(anna.id)
    assert (await engage.post(f"{v2}/contacts/{anna.id}", {"city": "Lund"}))[0] == 200
    assert (await engage.patch(f"{v2}/contacts/{anna.id}", {"city": "Lund"}))[0] == 405
    rows = (await engage.get(f"{v2}/contacts/{anna.id}/promotions"))[1]
    assert [row["id"] for row in rows] == [offer.id, other.id]
    assert "promotionId" not in rows[0]
    body = {"redemptionChannel": "POS"}
    status, refused = await engage.post(f"{v2}/contacts/{uuid4()}/promotions/{offer.id}/redeem", body)
    assert (status, refused["errorCode"]) == (404, "PromotionNotAssociatedWithContact")
    assert (await engage.post(f"{v2}/contacts/{anna.id}/promotions/{offer.id}/redeem", body))[0] == 200
    assert (await engage.post(f"{v2}/promotions/codes/{other.id}/redeem", body))[0] == 200
    promotion = sandbox.state.add_promotion()
    assert (await engage.post(f"{v2}/contacts/{anna.id}/promotions/{promotion.id}/assign"))[0] == 200
    assert (await engage.post(f"{v2}/contacts/{anna.id}/promoteToMember"))[0] == 200
    assert (await engage.post(f"{v2}/receipts", receipt))[0] == 202
    sandbox.pipeline.run()
    assert (await engage.get(f"{v2}/contacts/{anna.id}/transactions"))[1]["totalCount"] == 1
    assert (await engage.get(f"{V3}/contacts/{anna.id}/promotions"))[0] == 404


@pytest.mark.parametrize("shape", ["errorCode", "code", "detail", "message", "text"])
async def test_the_place_of_the_code_in_an_error_body_can_be_chosen(shape: str) -> None:
    async with Sandbox(SandboxSettings(error_shape=shape)) as sandbox, aiohttp.ClientSession() as session:
        headers = {"apikey": sandbox.api_key, "User-Agent": "Test/1.0", "Content-Type": "application/json"}
        async with session.get(f"{sandbox.base_url}{V3}/contacts/{NOBODY}", headers=headers) as answer:
            if shape == "text":
                assert "ContactNotFound" in await answer.text()
            else:
                assert (await answer.json())[shape] == "ContactNotFound"


async def test_more_than_the_hard_rate_in_a_second_is_throttled() -> None:
    async with Sandbox(SandboxSettings(hard_rate=5)) as sandbox, aiohttp.ClientSession() as session:
        headers = {"apikey": sandbox.api_key, "User-Agent": "Test/1.0", "Content-Type": "application/json"}
        statuses = []
        for _ in range(8):
            async with session.get(f"{sandbox.base_url}{V3}/contacts/id?email=a@b.se", headers=headers) as answer:
                statuses.append(answer.status)
        assert statuses[:5] == [404] * 5
        assert 429 in statuses[5:]
        assert sandbox.journal.peak() == 8
        assert sum(sandbox.journal.per_second().values()) == 8


async def test_v3_ignores_the_options_of_a_creation_when_they_are_headers(engage: Any, sandbox: Sandbox) -> None:
    headers = {**engage.headers, "source": "POS", "createAsUnapproved": "true"}
    url = f"{sandbox.base_url}{V3}/contacts"
    async with engage.session.post(url, json={"externalId": "K1"}, headers=headers) as answer:
        assert answer.status == 201
    (contact,) = sandbox.state.contacts.values()
    assert (contact.source, contact.approved) == (None, True)


async def test_the_shape_of_a_contact_and_the_custom_key_are_the_tenants() -> None:
    settings = SandboxSettings(contact_shape="flat", custom_key=None)
    async with Sandbox(settings) as sandbox, aiohttp.ClientSession() as session:
        headers = {"apikey": sandbox.api_key, "User-Agent": "Test/1.0", "Content-Type": "application/json"}
        contact = sandbox.state.add_contact(email="a@example.com", city="Lund")
        async with session.get(f"{sandbox.base_url}{V3}/contacts/{contact.id}", headers=headers) as answer:
            body = await answer.json()
        assert (body["city"], body["contactType"]) == ("Lund", "Member")
        async with session.get(f"{sandbox.base_url}{V3}/contacts/id?customKey=K", headers=headers) as answer:
            assert (answer.status, (await answer.json())["errorCode"]) == (500, "InvalidSystemConfiguration")


async def test_every_stamp_comes_from_the_clock_that_was_given() -> None:
    moment = datetime(2031, 5, 1, 12, tzinfo=UTC)
    async with Sandbox(SandboxSettings(now=lambda: moment)) as sandbox, aiohttp.ClientSession() as session:
        headers = {"apikey": sandbox.api_key, "User-Agent": "Test/1.0", "Content-Type": "application/json"}
        offer = sandbox.state.add_assignment(sandbox.state.add_contact(email="a@example.com").id)
        url = f"{sandbox.base_url}{V3}/promotion-assignments/{offer.id}/redeem"
        async with session.post(url, json={"redemptionChannel": "POS"}, headers=headers) as answer:
            assert answer.status == 200
        assert offer.redeemed_on == moment
        assert sandbox.journal.arrivals[0].at == moment
