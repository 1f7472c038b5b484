"""The table of outcomes: every status and code of the reference, for every kind, first and after an unknown attempt."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from voyado_async.api import replies
from voyado_async.api.replies import KeyTaken, NotFound
from voyado_async.clock import as_instant
from voyado_async.delivery import (
    Delivered,
    Failure,
    Kind,
    Message,
    NotAllowed,
    Outcome,
    Rejected,
    Reply,
    RetryAt,
    SameContact,
    SlowDown,
)

CREATED = as_instant(datetime(2025, 3, 14, 9, 12, 40, tzinfo=UTC))
ASSIGNMENT = "e7f30b85-14a9-4d62-b0c8-2f6d5a9e7713"
GUID = "0b6f1c52-7d0e-4a57-9c3b-5a1f2e8d4c10"
FIRST, AGAIN = False, True
HISTORIES = [pytest.param(FIRST, id="first try"), pytest.param(AGAIN, id="after unknown")]


def message(kind: Kind = Kind.RECEIPT, *, unknown: bool = False, carried: tuple[int, ...] = ()) -> Message:
    return Message(id=1, kind=kind, body=b"{}", lane=1, lane_key="x", created=CREATED, unknown=unknown, carried=carried)


def says(
    status: int, code: str | None = None, body: bytes | None = None, content_type: str = "application/json"
) -> Reply:
    if body is None:
        body = b"" if code is None else msgspec.json.encode({"errorCode": code, "message": "not told here"})
    return Reply(status=status, body=body, content_type=content_type, duration_ms=12)


def page(status: int) -> Reply:
    return says(status, body=b"<!DOCTYPE html><h1>ContactNotFound</h1>", content_type="text/html")


def moment(offset_ms: int) -> str:
    return datetime.fromtimestamp((CREATED + offset_ms) / 1000, UTC).isoformat()


JUDGES = {
    Kind.REDEEM: replies.redeemed,
    Kind.CONTACT_CREATE: replies.created,
    Kind.CONTACT_UPDATE: replies.accepted,
    Kind.CONTACT_TYPE: replies.accepted,
    Kind.RECEIPT: replies.accepted,
    Kind.VOUCHER_REDEEM: replies.redeemed,
}
KINDS = [pytest.param(kind, id=kind.value) for kind in Kind]


def outcome(kind: Kind, unknown: bool, reply: Reply) -> Outcome | KeyTaken:
    return JUDGES[kind](message(kind, unknown=unknown), reply)


# the rules that all kinds share ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("unknown", HISTORIES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("failure", "may_have_happened"),
    [(Failure.REFUSED, False), (Failure.TIMEOUT, True), (Failure.BROKEN, True)],
)
def test_without_an_answer_only_what_was_never_written_is_known_as_not_done(
    kind: Kind, unknown: bool, failure: Failure, may_have_happened: bool
) -> None:
    found = outcome(kind, unknown, Reply(failure=failure, duration_ms=3))
    assert found == RetryAt(failure.value, unknown=may_have_happened, duration_ms=3)


@pytest.mark.parametrize("unknown", HISTORIES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308, 408, 500, 501, 502, 503, 504, 520, 599])
@pytest.mark.parametrize("code", [None, "GatewayTimeout", "RequestTimeOut", "ContactNotFound"])
def test_redirects_408_and_every_5xx_are_unknown_whatever_they_say(
    kind: Kind, unknown: bool, status: int, code: str | None
) -> None:
    found = outcome(kind, unknown, says(status, code))
    assert found == RetryAt(code or f"http_{status}", status, unknown=True, duration_ms=12)


@pytest.mark.parametrize("unknown", HISTORIES)
@pytest.mark.parametrize("kind", KINDS)
def test_429_slows_everybody_down_and_is_no_attempt(kind: Kind, unknown: bool) -> None:
    reply = msgspec.structs.replace(says(429, "TooMany"), retry_after=7.0)
    assert outcome(kind, unknown, reply) == SlowDown(7.0, duration_ms=12)


@pytest.mark.parametrize("unknown", HISTORIES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("body", [b"", b'{"message":"Authorization has been denied for this request."}', b"<html>"])
def test_401_and_403_are_no_entrys_fault(kind: Kind, unknown: bool, status: int, body: bytes) -> None:
    assert outcome(kind, unknown, says(status, body=body)) == NotAllowed(status, duration_ms=12)


@pytest.mark.parametrize("unknown", HISTORIES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [400, 404, 405, 409, 410, 413, 422, 451])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>ContactNotFound</body></html>",
        b"Not Found",
        b'{"message":"no Route matched with those values"}',
        b'{"message":"Not Found"}',
        b'{"error":"NotFound"}',
        b'{"code":"Conflict"}',
        b'{"title":"One or more validation errors occurred.","status":400}',
        b'{"detail":"anna@example.com is not known"}',
        b"[]",
        b'{"errorCode":"Conta',
    ],
)
def test_a_4xx_in_which_engage_says_nothing_is_unknown(kind: Kind, unknown: bool, status: int, body: bytes) -> None:
    found = outcome(kind, unknown, says(status, body=body))
    assert found == RetryAt(f"http_{status}", status, unknown=True, duration_ms=12)


@pytest.mark.parametrize("unknown", HISTORIES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_set_up_is_final_despite_its_500(kind: Kind, unknown: bool) -> None:
    found = outcome(kind, unknown, says(500, "InvalidSystemConfiguration"))
    assert found == Rejected("InvalidSystemConfiguration", 500, may_have_happened=unknown, duration_ms=12)


@pytest.mark.parametrize("unknown", HISTORIES)
@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (Kind.REDEEM, 400, "NotAValidRedemptionChannel"),
        (Kind.REDEEM, 400, "InvalidPromotionIdNoData"),
        (Kind.REDEEM, 404, "PromotionNotFound"),
        (Kind.REDEEM, 404, "PromotionNotAssociatedWithContact"),
        (Kind.REDEEM, 409, "PromotionNotValidForRedemptionChannel"),
        (Kind.CONTACT_CREATE, 400, "NoData"),
        (Kind.CONTACT_CREATE, 400, "InvalidContactType"),
        (Kind.CONTACT_CREATE, 422, "ValidationError"),
        (Kind.CONTACT_UPDATE, 400, "NoData"),
        (Kind.CONTACT_UPDATE, 400, "InvalidContactId"),
        (Kind.CONTACT_UPDATE, 404, "ContactNotFound"),
        (Kind.CONTACT_UPDATE, 409, "ApprovedContactWithKeyExists"),
        (Kind.CONTACT_UPDATE, 422, "ValidationError"),
        (Kind.CONTACT_TYPE, 400, "InvalidContactType"),
        (Kind.CONTACT_TYPE, 404, "ContactNotFound"),
        (Kind.RECEIPT, 400, "BadRequest"),
        (Kind.RECEIPT, 400, "InvalidContactId"),
        (Kind.RECEIPT, 404, "ContactNotFound"),
        (Kind.RECEIPT, 422, "ValidationError"),
        (Kind.RECEIPT, 409, "SomethingNewFromEngage"),
    ],
)
def test_a_4xx_with_a_code_is_final_and_told_as_possible_after_an_unknown_attempt(
    kind: Kind, status: int, code: str, unknown: bool
) -> None:
    found = outcome(kind, unknown, says(status, code))
    assert found == Rejected(code, status, may_have_happened=unknown, duration_ms=12)


# what counts as a yes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unknown", HISTORIES)
@pytest.mark.parametrize("kind", [Kind.REDEEM, Kind.CONTACT_UPDATE, Kind.CONTACT_TYPE, Kind.RECEIPT])
@pytest.mark.parametrize("status", [200, 201, 202, 204])
@pytest.mark.parametrize("body", [b"", b" \r\n", b"{}", b'"ok"', b"null", b'{"id":"1"}'])
def test_any_2xx_with_json_or_nothing_is_a_yes(kind: Kind, unknown: bool, status: int, body: bytes) -> None:
    assert outcome(kind, unknown, says(status, body=body)) == Delivered(status=status, duration_ms=12)


@pytest.mark.parametrize("unknown", HISTORIES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [200, 201, 202])
@pytest.mark.parametrize(
    "reply",
    [
        page(200),
        says(200, body=b"{}", content_type="text/html"),
        says(200, body=b"<ok/>"),
        says(200, body=b'{"id":"0b6f'),
        says(200, body=b"garbage", content_type="text/plain"),
        says(200, body=b"\xff\xfe"),
    ],
)
def test_a_2xx_that_is_not_what_the_call_answers_is_unknown(
    kind: Kind, unknown: bool, status: int, reply: Reply
) -> None:
    found = outcome(kind, unknown, msgspec.structs.replace(reply, status=status))
    assert found == RetryAt("unexpected_answer", status, unknown=True, duration_ms=12)


# redeem ---------------------------------------------------------------------------------------------------------------


def test_already_redeemed_on_a_first_attempt_says_that_somebody_else_did_it() -> None:
    found = outcome(Kind.REDEEM, FIRST, says(409, "PromotionAlreadyRedeemed"))
    assert found == Rejected("PromotionAlreadyRedeemed", 409, may_have_happened=False, duration_ms=12)


def test_already_redeemed_after_an_unknown_attempt_is_ours() -> None:
    found = outcome(Kind.REDEEM, AGAIN, says(409, "PromotionAlreadyRedeemed"))
    assert found == Delivered("conflict", 409, duration_ms=12)


@pytest.mark.parametrize("unknown", HISTORIES)
def test_a_voucher_that_is_redeemed_already_is_ours_only_after_an_unknown_attempt(unknown: bool) -> None:
    found = outcome(Kind.VOUCHER_REDEEM, unknown, says(409, "RewardVoucherAlreadyRedeemed"))
    somebody_elses = Rejected("RewardVoucherAlreadyRedeemed", 409, may_have_happened=False, duration_ms=12)
    assert found == (Delivered("conflict", 409, duration_ms=12) if unknown else somebody_elses)


@pytest.mark.parametrize("unknown", HISTORIES)
@pytest.mark.parametrize(
    ("status", "code"), [(400, "InvalidRewardVoucherId"), (404, "RewardVoucherNotFound"), (409, "RewardVoucherExpired")]
)
def test_a_voucher_that_engage_refuses_is_rejected(unknown: bool, status: int, code: str) -> None:
    text = says(status, body=f"The request failed: {code}.".encode())
    for reply in (says(status, code), text):
        found = outcome(Kind.VOUCHER_REDEEM, unknown, reply)
        assert found == Rejected(code, status, may_have_happened=unknown, duration_ms=12)


def vouchers(*items: object, total: int | None = None) -> Reply:
    return says(200, body=msgspec.json.encode({"items": items, "totalCount": total}))


def seen_voucher(reply: Reply, offset: int = 0, unknown: bool = True) -> Outcome | int | None:
    return replies.seen_voucher(message(Kind.VOUCHER_REDEEM, unknown=unknown), ASSIGNMENT, reply, offset)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"redeemedOn": moment(-300_000)}, Delivered("looked_up", 200, duration_ms=12)),
        ({"redeemedOn": moment(-300_001)}, Rejected("RewardVoucherAlreadyRedeemed", 200, duration_ms=12)),
        ({"redeemed": True}, Delivered("looked_up", 200, duration_ms=12)),
    ],
)
def test_a_redeemed_voucher_is_ours_unless_that_was_clearly_earlier(fields: dict[str, object], found: Outcome) -> None:
    assert seen_voucher(vouchers({"id": "another"}, {"id": ASSIGNMENT.upper(), **fields})) == found


@pytest.mark.parametrize(
    ("reply", "offset", "found"),
    [
        (vouchers(), 0, None),
        (vouchers({"id": "a"}, {"id": "b"}, total=2), 0, None),
        (vouchers({"id": "a"}, {"id": "b"}, total=3), 0, 2),
        (vouchers({"id": "a"}), 7, 8),
        (vouchers({"id": "a"}), 4998, 4999),
        (vouchers({"id": "a"}), 4999, None),
        (says(404, "ContactNotFound"), 0, None),
        (says(400, "InvalidContactId"), 100, None),
    ],
)
def test_a_voucher_that_is_not_listed_is_sought_on_the_next_page_and_then_sent(
    reply: Reply, offset: int, found: int | None
) -> None:
    assert seen_voucher(reply, offset) == found


@pytest.mark.parametrize("unknown", HISTORIES)
@pytest.mark.parametrize(
    "reply", [says(503), page(200), says(200), says(200, body=b"[]"), Reply(failure=Failure.TIMEOUT)]
)
def test_a_list_of_vouchers_that_does_not_come_is_asked_for_again(reply: Reply, unknown: bool) -> None:
    found = seen_voucher(reply, unknown=unknown)
    assert isinstance(found, RetryAt)
    assert (found.transient, found.unknown) == (True, False)


def test_a_list_of_vouchers_of_a_tenant_that_is_set_up_wrongly_is_final() -> None:
    found = seen_voucher(says(500, "InvalidSystemConfiguration"))
    assert found == Rejected("InvalidSystemConfiguration", 500, may_have_happened=True, duration_ms=12)


def listed(**fields: object) -> Reply:
    return says(200, body=msgspec.json.encode([{"id": "another"}, {"id": ASSIGNMENT.upper(), **fields}]))


@pytest.mark.parametrize("offset", [-300_000, -1, 0, 1, 86_400_000])
def test_a_redemption_after_the_enqueue_or_shortly_before_it_is_ours(offset: int) -> None:
    reply = listed(redeemed=True, redeemedOn=moment(offset))
    found = replies.seen_redeemed(message(Kind.REDEEM, unknown=True), ASSIGNMENT, reply)
    assert found == Delivered("looked_up", 200, duration_ms=12)


def test_a_redemption_clearly_before_the_enqueue_is_somebody_elses() -> None:
    reply = listed(redeemed=True, redeemedOn=moment(-300_001))
    found = replies.seen_redeemed(message(Kind.REDEEM, unknown=True), ASSIGNMENT, reply)
    assert found == Rejected("PromotionAlreadyRedeemed", 200, duration_ms=12)


MINUTE = 60_000


@pytest.mark.parametrize(
    ("redeemed_on", "at", "ahead", "ours"),
    [
        # Minutes after the enqueue by our clock of then, 10 minutes ahead of Engage's; the redemption is our own.
        (-10, 2, 10 * MINUTE, True),  # it still is, and the answer's date tells so
        (-10, -8, 0, True),  # it was set right
        (-10, 0, 0, False),  # it was set right, and has gone on for as long: nothing tells
        (-16, 2, 10 * MINUTE, False),  # somebody else's
        (-15, 2, 10 * MINUTE, True),
        (-6, 2, 0, False),
        (-14, -8, 0, False),
    ],
)
def test_a_shop_clock_that_was_ahead_makes_nobody_else_of_us(redeemed_on: int, at: int, ahead: int, ours: bool) -> None:
    reply = msgspec.structs.replace(
        listed(redeemed=True, redeemedOn=moment(redeemed_on * MINUTE)), at=CREATED + at * MINUTE, ahead=ahead
    )
    found = replies.seen_redeemed(message(Kind.REDEEM, unknown=True), ASSIGNMENT, reply)
    assert isinstance(found, Delivered) is ours


@pytest.mark.parametrize(
    ("date", "age", "ahead"),
    [
        ("Fri, 14 Mar 2025 08:00:00 GMT", None, 600_000),
        ("Fri, 14 Mar 2025 08:00:00 GMT", "3", 0),
        ("Fri, 14 Mar 2025 08:10:01 GMT", None, 0),
        ("Fri, 14 Mar 2025 08:00:00 -0000", None, 600_000),
        ("Fri, 14 Mar 2025 10:00:00 +0200", None, 600_000),
        ("yesterday", None, 0),
        (None, None, 0),
    ],
)
def test_an_answers_date_tells_how_far_our_clock_is_ahead(
    date: str | None, age: str | None, ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        found = replies.ahead_of(date, age, 1_741_939_800_000)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert found == ahead  # 2025-03-14T08:10:00Z


@pytest.mark.parametrize(("off", "ours"), [(0, True), (999, True), (-999, True), (1000, False)])
def test_a_time_that_we_wrote_into_a_file_is_ours_whatever_the_clocks_say(off: int, ours: bool) -> None:
    carried = CREATED - 9_000_000
    reply = listed(redeemed=True, redeemedOn=moment(off - 9_000_000))
    found = replies.seen_redeemed(message(Kind.REDEEM, unknown=True, carried=(carried,)), ASSIGNMENT, reply)
    assert isinstance(found, Delivered) is ours


@pytest.mark.parametrize("redeemed_on", [None, "", "yesterday", 7])
def test_a_redemption_without_a_readable_time_is_ours(redeemed_on: object) -> None:
    reply = listed(redeemed=True, redeemedOn=redeemed_on)
    assert isinstance(replies.seen_redeemed(message(Kind.REDEEM, unknown=True), ASSIGNMENT, reply), Delivered)


@pytest.mark.parametrize(
    "reply",
    [
        listed(redeemed=False, redeemedOn=None),
        says(200, body=b"[]"),
        says(200, body=b'[{"id":"another","redeemed":true}]'),
        says(404, "ContactNotFound"),
        says(400, "InvalidContactId"),
    ],
)
def test_an_open_or_absent_assignment_is_sent_and_so_is_one_that_cannot_be_asked_for(reply: Reply) -> None:
    assert replies.seen_redeemed(message(Kind.REDEEM, unknown=True), ASSIGNMENT, reply) is None


# creation -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unknown", HISTORIES)
@pytest.mark.parametrize("status", [200, 201])
def test_a_creation_is_delivered_with_the_id_of_the_new_contact(unknown: bool, status: int) -> None:
    reply = says(status, body=msgspec.json.encode({"id": GUID, "attributes": {}}))
    found = outcome(Kind.CONTACT_CREATE, unknown, reply)
    assert found == Delivered(status=status, contact_id=GUID, duration_ms=12)


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b'"0b6f1c52"', b'{"id":null}', b'{"id":7}', b'{"id":"a b"}'])
def test_a_creation_that_answers_no_contact_is_unknown(body: bytes) -> None:
    found = outcome(Kind.CONTACT_CREATE, FIRST, says(201, body=body))
    assert found == RetryAt("unexpected_answer", 201, unknown=True, duration_ms=12)


@pytest.mark.parametrize("unknown", HISTORIES)
def test_a_creation_whose_key_is_taken_is_left_to_a_look_up(unknown: bool) -> None:
    told = msgspec.json.encode({"errorCode": "ApprovedContactWithKeyExists", "message": f"contact {GUID}"})
    assert outcome(Kind.CONTACT_CREATE, unknown, says(409, body=told)) == KeyTaken(409, GUID, 12)
    silent = says(409, "ApprovedContactWithKeyExists")
    assert outcome(Kind.CONTACT_CREATE, unknown, silent) == KeyTaken(409, None, 12)


@pytest.mark.parametrize("unknown", HISTORIES)
def test_a_creation_that_is_under_way_waits_without_blaming_engage(unknown: bool) -> None:
    found = outcome(Kind.CONTACT_CREATE, unknown, says(409, "ContactWithKeyIsBeingCreated"))
    assert found == RetryAt("ContactWithKeyIsBeingCreated", 409, transient=False, duration_ms=12)


# look-ups and the probe -----------------------------------------------------------------------------------------------


def test_a_look_up_answers_a_bare_string() -> None:
    found = replies.looked_for(message(), says(200, body=f'"{GUID}"'.encode()))
    assert found == SameContact(GUID, 200, 12)


def test_only_contact_not_found_says_that_there_is_nobody() -> None:
    assert replies.looked_for(message(), says(404, "ContactNotFound")) == NotFound(404, 12)
    for reply in (says(404), page(404), says(404, "PromotionNotFound")):
        assert not isinstance(replies.looked_for(message(), reply), NotFound)


@pytest.mark.parametrize("unknown", HISTORIES)
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "InvalidEmailAddress"),
        (400, "InvalidPhoneNumber"),
        (400, "InvalidSocialSecurityNumber"),
        (400, "InvalidContactType"),
        (400, "InvalidSearchQuery"),
        (409, "MultipleMatches"),
        (500, "InvalidSystemConfiguration"),
    ],
)
def test_a_look_up_that_is_refused_is_final(status: int, code: str, unknown: bool) -> None:
    found = replies.looked_for(message(unknown=unknown), says(status, code))
    assert found == Rejected(code, status, may_have_happened=unknown, duration_ms=12)


@pytest.mark.parametrize(
    ("details", "ids"),
    [
        ({"messageDetails": {"multipleMatchesFound": [GUID, "c-2"]}}, (GUID, "c-2")),
        ({"messageDetails": {"multipleMatchesFound": [GUID, 7, "anna@example.com"]}}, (GUID,)),
        ({"messageDetails": {"multipleMatchesFound": GUID}}, ()),
        ({"messageDetails": None}, ()),
        ({}, ()),
    ],
)
def test_several_matches_are_told_with_their_ids_as_far_as_engage_tells_them(details: Any, ids: Any) -> None:
    body = msgspec.json.encode({"errorCode": "MultipleMatches"} | details)
    found = replies.looked_for(message(), says(409, body=body))
    assert found == Rejected("MultipleMatches", 409, duration_ms=12, contact_ids=ids)


def test_contacts_are_told_of_several_matches_only() -> None:
    """Whatever else names contacts, there is nothing for a person to choose among."""
    body = msgspec.json.encode({"errorCode": "ValidationError", "messageDetails": {"multipleMatchesFound": [GUID]}})
    assert replies.looked_for(message(), says(400, body=body)) == Rejected("ValidationError", 400, duration_ms=12)


def test_several_matches_in_plain_text_are_told_without_ids() -> None:
    found = replies.looked_for(message(), says(409, body=b"The request failed: MultipleMatches."))
    assert found == Rejected("MultipleMatches", 409, duration_ms=12)


UNUSABLE = [
    Reply(failure=Failure.REFUSED),
    Reply(failure=Failure.TIMEOUT),
    Reply(failure=Failure.BROKEN),
    says(302),
    says(404),
    says(408),
    says(500),
    says(503),
    page(404),
    page(200),
    says(200),
    says(200, body=b'"0b6f1c'),
]


@pytest.mark.parametrize("reply", UNUSABLE)
def test_a_look_up_without_a_usable_answer_changes_nothing_and_is_tried_again(reply: Reply) -> None:
    for found in (
        replies.looked_for(message(), reply),
        replies.seen_redeemed(message(), ASSIGNMENT, reply),
        replies.alive(reply),
    ):
        assert isinstance(found, RetryAt)
        assert found.transient
        assert found.unknown is False


@pytest.mark.parametrize("body", [b'{"id":"1"}', b"[]", b"7", b'""', b'"a b"'])
def test_a_look_up_that_answers_something_else_is_strange(body: bytes) -> None:
    assert replies.looked_for(message(), says(200, body=body)) == RetryAt("unexpected_answer", 200, duration_ms=12)


@pytest.mark.parametrize("body", [b'{"id":"1"}', b'"x"', b'[{"redeemed":true}]', b'[{"id":"1","redeemed":"yes"}]'])
def test_a_list_of_assignments_that_is_none_is_strange(body: bytes) -> None:
    found = replies.seen_redeemed(message(), ASSIGNMENT, says(200, body=body))
    assert found == RetryAt("unexpected_answer", 200, duration_ms=12)


@pytest.mark.parametrize(
    "reply", [says(200, body=b'"x"'), says(404, "ContactNotFound"), says(400, "InvalidEmailAddress")]
)
def test_any_answer_of_engages_own_shows_the_probe_that_it_is_well(reply: Reply) -> None:
    assert replies.alive(reply) == Delivered(status=reply.status, duration_ms=12)


@pytest.mark.parametrize("status", [401, 403])
def test_the_probe_sees_that_the_key_does_not_work(status: int) -> None:
    assert replies.alive(says(status)) == NotAllowed(status, duration_ms=12)


@pytest.mark.parametrize("unknown", HISTORIES)
def test_a_tenant_that_is_set_up_wrongly_is_told_from_the_look_up_with_what_may_have_happened(unknown: bool) -> None:
    asked, reply = message(Kind.REDEEM, unknown=unknown), says(500, "InvalidSystemConfiguration")
    for found in (replies.seen_redeemed(asked, ASSIGNMENT, reply), replies.looked_for(asked, reply)):
        assert found == Rejected("InvalidSystemConfiguration", 500, may_have_happened=unknown, duration_ms=12)


@pytest.mark.parametrize("body", [b"\n <html>", b"<?xml version='1.0'?>"])
@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/xml", "application/json"])
def test_a_page_is_known_by_its_type_or_by_how_it_begins(body: bytes, content_type: str) -> None:
    assert replies.is_page(says(200, body=body, content_type=content_type))
    assert replies.is_page(says(200, body=b"[]", content_type=content_type)) is (content_type != "application/json")


# codes and headers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["errorCode", "code", "error", "message", "Message", "detail", "title"])
def test_a_code_is_found_in_any_of_the_likely_fields(field: str) -> None:
    assert replies.code_of(says(404, body=msgspec.json.encode({field: "ContactNotFound"}))) == "ContactNotFound"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"The request failed: PromotionAlreadyRedeemed. It was used.", "PromotionAlreadyRedeemed"),
        (b'{"error":{"code":"MultipleMatches"}}', "MultipleMatches"),
        (b'[{"errors":["ValidationError: email"]}]', "ValidationError"),
        (b'{"message":"ContactNotFound: anna@example.com"}', "ContactNotFound"),
        (b'{"errorCode":"Anna"}', None),
        (b'{"errorCode":"anna@example.com"}', None),
        (b'{"errorCode":"XContactNotFoundX"}', None),
        (b'{"errorCode":7,"code":null}', None),
        (b'{"message":"ServiceUnavailable"}', None),
    ],
)
def test_a_known_code_is_found_anywhere_and_free_text_is_never_one(body: bytes, code: str | None) -> None:
    assert replies.code_of(says(409, body=body)) == code


NOW = as_instant(datetime(2026, 11, 22, 10, 0, tzinfo=UTC))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("120", 120.0),
        ("0.05", 0.05),
        ("-3", 0.0),
        ("7200", 3600.0),
        ("inf", 3600.0),
        ("nan", None),
        ("soon", None),
        ("", None),
        ("Sun, 22 Nov 2026 10:00:30 GMT", 30.0),
        ("Sun, 22 Nov 2026 09:00:00 GMT", 0.0),
        ("Mon, 23 Nov 2026 10:00:00 GMT", 3600.0),
        ("Sun, 22 Nov 2026 10:00:30 -0000", 30.0),
        ("Sun, 22 Nov 2026 12:00:30 +0200", 30.0),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_an_hour_at_most(header: str | None, seconds: float | None) -> None:
    assert replies.retry_after_seconds(header, NOW) == seconds


def test_a_date_without_a_zone_is_utc_wherever_the_shop_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert replies.retry_after_seconds("Sun, 22 Nov 2026 10:00:30 -0000", NOW) == 30.0
    finally:
        monkeypatch.undo()
        time.tzset()


def test_an_id_on_a_page_is_no_answer() -> None:
    reply = says(200, body=f'"{GUID}"'.encode(), content_type="text/html")
    assert replies.looked_for(message(), reply) == RetryAt("unexpected_answer", 200, duration_ms=12)


def test_retry_after_of_a_5xx_is_handed_on() -> None:
    reply = msgspec.structs.replace(says(503), retry_after=42.0)
    found = outcome(Kind.RECEIPT, FIRST, reply)
    assert isinstance(found, RetryAt)
    assert found.retry_after == 42.0
