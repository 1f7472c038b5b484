"""What a reply of Engage means: a value, from (kind, earlier attempts, reply). Pure.

Known as not done is only what was refused before it was written, a 429, and a 4xx in which Engage itself says why.
Everything else that is not a proper success is unknown (DESIGN 3, "Outcome of an attempt"). A status decides, the
code refines (ref 1.6). No outcome holds text of an answer beyond a code: it can echo a person's data.

A 401 or 403 counts as not done as well: whoever is not let in has changed nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TypeVar

import msgspec

from voyado_async.clock import as_instant
from voyado_async.delivery import (
    Delivered,
    Failure,
    Message,
    NotAllowed,
    Outcome,
    Rejected,
    Reply,
    RetryAt,
    SameContact,
    SlowDown,
)
from voyado_async.errors import EngageError, InvalidEntry
from voyado_async.kinds.address import checked_id
from voyado_async.models.paging import next_offset
from voyado_async.models.promotions import read_assignments
from voyado_async.models.vouchers import read_vouchers

T = TypeVar("T")

LONGEST_RETRY_AFTER = 3600.0
"""Seconds; a longer `Retry-After` is taken for this (DESIGN 3)."""

EARLIER = 5 * 60 * 1000
"""A redemption more than this (ms) before the enqueue is somebody else's: it allows for clocks that differ."""

MOST_LISTED = 5000
"""Redeemed vouchers of one contact that a look-up goes through at most; what is not among them is sent."""

SAME_MOMENT = 1000
"""A time of ours comes back with this precision (ms) at worst: whole seconds."""

ALREADY_REDEEMED = "PromotionAlreadyRedeemed"
VOUCHER_REDEEMED = "RewardVoucherAlreadyRedeemed"
KEY_EXISTS = "ApprovedContactWithKeyExists"
BEING_CREATED = "ContactWithKeyIsBeingCreated"
CONTACT_NOT_FOUND = "ContactNotFound"
MULTIPLE_MATCHES = "MultipleMatches"
BAD_SET_UP = "InvalidSystemConfiguration"

KNOWN_CODES = frozenset(
    {
        *(ALREADY_REDEEMED, VOUCHER_REDEEMED, KEY_EXISTS, BEING_CREATED),
        *(CONTACT_NOT_FOUND, MULTIPLE_MATCHES, BAD_SET_UP),
        *("NotAValidRedemptionChannel", "InvalidPromotionIdNoData", "PromotionNotFound", "GatewayTimeout"),
        *("PromotionNotAssociatedWithContact", "PromotionNotValidForRedemptionChannel", "PromotionExpired"),
        *("InvalidContactId", "InvalidPromotionId", "InvalidEmailAddress", "InvalidPhoneNumber"),
        *("InvalidSocialSecurityNumber", "InvalidContactType", "InvalidSearchQuery"),
        *("InvalidRewardVoucherId", "RewardVoucherNotFound", "RewardVoucherExpired"),
        *("NoData", "ValidationError", "RequestTimeOut", "BadRequest"),
    }
)
"""The codes of ref 3 and 4."""

_CODE_FIELDS = ("errorCode", "code", "error", "message", "Message", "detail", "title")  # ref 1.6
_LOOKS_LIKE_A_CODE = re.compile(r"(?=.{4,64}$)(?:[A-Z][a-z0-9]+){2,}")
_PHRASES = frozenset(status.phrase.replace(" ", "").replace("-", "").lower() for status in HTTPStatus)
_KNOWN_WORD = re.compile(rf"\b({'|'.join(sorted(KNOWN_CODES))})\b".encode())
_GUID = re.compile(rb"\b[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}\b")


class KeyTaken(msgspec.Struct, frozen=True):
    """A creation was refused because somebody has the key already; `contact_id` where the answer told it (ref 4.3)."""

    status: int
    contact_id: str | None
    duration_ms: int


class NotFound(msgspec.Struct, frozen=True):
    """A look-up found nobody."""

    status: int
    duration_ms: int


# what an answer says --------------------------------------------------------------------------------------------------


def retry_after_seconds(header: str | None, now: int) -> float | None:
    """A `Retry-After` header as seconds from `now` (ms), at most an hour; None where it says nothing usable."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            moment = parsedate_to_datetime(header)
        except ValueError:
            return None
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = (as_instant(aware) - now) / 1000
    if math.isnan(seconds):
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def ahead_of(date: str | None, age: str | None, now: int) -> int:
    """By how much `now` (ms) is ahead of an answer's `Date`; 0 where it is not, or a cache (`Age`) has answered."""
    if date is None or age is not None:
        return 0
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return 0
    return max(0, now - as_instant(moment if moment.tzinfo else moment.replace(tzinfo=UTC)))


def is_page(reply: Reply) -> bool:
    """Whether the body is a page or another kind of markup: a proxy, a firewall or a log-in screen has answered."""
    return "html" in reply.content_type or "xml" in reply.content_type or reply.body.lstrip()[:1] == b"<"


def code_of(reply: Reply) -> str | None:
    """Engage's code in an error's body, found leniently (ref 1.6); None where Engage says none.

    A code is one of the documented ones, or one word built like them in a field that may hold the code. Free text is
    never taken for a code: it can hold a person's data. Nor is a mere phrase of HTTP (``NotFound``), which any proxy
    says.
    """
    if is_page(reply):
        return None
    try:
        body = msgspec.json.decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        body = None
    if isinstance(body, dict):
        for field in _CODE_FIELDS:
            value = body.get(field)
            if isinstance(value, str) and _is_code(value):
                return value
    word = _KNOWN_WORD.search(reply.body)
    return word[1].decode() if word else None


def _is_code(text: str) -> bool:
    return text in KNOWN_CODES or (_LOOKS_LIKE_A_CODE.fullmatch(text) is not None and text.lower() not in _PHRASES)


def matches_of(reply: Reply) -> tuple[str, ...]:
    """The contacts that a `MultipleMatches` names (ref 1.6); none where it names them in another way."""
    try:
        body = msgspec.json.decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
    match body:
        case {"messageDetails": {"multipleMatchesFound": list(found)}}:
            return tuple(contact_id for contact_id in map(_identity, found) if contact_id is not None)
    return ()


def is_json(reply: Reply) -> bool:
    """Whether the body is one whole JSON value."""
    if is_page(reply):
        return False
    try:
        msgspec.json.decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def is_empty(reply: Reply) -> bool:
    return not reply.body.strip()


def created_id(reply: Reply) -> str | None:
    """The new contact's id: a creation answers the full contact (ref 4.3). None where the answer is something else."""
    if not is_json(reply):
        return None
    body = msgspec.json.decode(reply.body)
    return _identity(body.get("id")) if isinstance(body, dict) else None


def found_id(reply: Reply) -> str | None:
    """The id of a look-up: a bare JSON string (ref 4.1). None where the answer is something else."""
    return identity(reply.body) if is_json(reply) else None


def identity(body: bytes) -> str | None:
    """The id that a JSON text is; None where it is something else."""
    try:
        return _identity(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _identity(value: object) -> str | None:
    try:
        return checked_id("id", value)
    except InvalidEntry:
        return None


# what it comes to -----------------------------------------------------------------------------------------------------


def trouble(reply: Reply, *, earlier_unknown: bool, changes: bool) -> Outcome | None:
    """What comes of a reply that is no 2xx, by the rules that all calls share; None for a 2xx.

    `changes`: the request may have changed something, so that an unknown outcome is one. `earlier_unknown`: an earlier
    attempt may have taken effect.
    """
    status, took = reply.status, reply.duration_ms
    if reply.failure is not None:
        unknown = changes and reply.failure is not Failure.REFUSED
        return RetryAt(reply.failure.value, unknown=unknown, duration_ms=took)
    if 200 <= status < 300:
        return None
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return SlowDown(reply.retry_after, duration_ms=took)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return NotAllowed(status, duration_ms=took)
    code = code_of(reply)
    says_no = 400 <= status < 500 and status != HTTPStatus.REQUEST_TIMEOUT and code is not None
    if code is not None and (says_no or code == BAD_SET_UP):
        several = matches_of(reply) if code == MULTIPLE_MATCHES else ()
        return Rejected(code, status, earlier_unknown, took, several)
    return RetryAt(code or f"http_{status}", status, unknown=changes, retry_after=reply.retry_after, duration_ms=took)


def strange(reply: Reply, *, changes: bool) -> RetryAt:
    """A 2xx that is not what that call answers: a proxy has answered, or half of an answer came."""
    return RetryAt("unexpected_answer", reply.status, unknown=changes, duration_ms=reply.duration_ms)


def accepted(message: Message, reply: Reply) -> Outcome:
    """The outcome of a receipt, a contact update or a type change.

    Their bodies are not documented (ref 4.4, 5.1): any 2xx with JSON or without a body is a yes.
    """
    refused = trouble(reply, earlier_unknown=message.unknown, changes=True)
    if refused is not None:
        return refused
    if not is_empty(reply) and not is_json(reply):
        return strange(reply, changes=True)
    return Delivered(status=reply.status, duration_ms=reply.duration_ms)


def redeemed(message: Message, reply: Reply) -> Outcome:
    """The outcome of a redeem call. "Already redeemed" is ours only after an attempt whose outcome is unknown."""
    outcome = accepted(message, reply)
    if isinstance(outcome, Rejected) and outcome.code in (ALREADY_REDEEMED, VOUCHER_REDEEMED) and message.unknown:
        return Delivered("conflict", outcome.status, duration_ms=outcome.duration_ms)
    return outcome


def created(message: Message, reply: Reply) -> Outcome | KeyTaken:
    """The outcome of a creation."""
    refused = trouble(reply, earlier_unknown=message.unknown, changes=True)
    match refused:
        case None:
            contact_id = created_id(reply)
            if contact_id is None:
                return strange(reply, changes=True)
            return Delivered(status=reply.status, contact_id=contact_id, duration_ms=reply.duration_ms)
        case Rejected(code=code, status=status) if code == KEY_EXISTS and status is not None:
            guid = _GUID.search(reply.body)
            return KeyTaken(status, guid[0].decode() if guid else None, reply.duration_ms)
        case Rejected(code=code) if code == BEING_CREATED:
            # Somebody, perhaps our own earlier request, is at it: this entry waits, Engage is well.
            return RetryAt(code, reply.status, transient=False, duration_ms=reply.duration_ms)
    return refused


# look-ups -------------------------------------------------------------------------------------------------------------


def looked_for(message: Message, reply: Reply) -> SameContact | NotFound | Outcome:
    """What the look-up of a contact's id came to. Only ContactNotFound says that there is nobody (ref 4.1)."""
    refused = trouble(reply, earlier_unknown=message.unknown, changes=False)
    if refused is None:
        contact_id = found_id(reply)
        if contact_id is None:
            return strange(reply, changes=False)
        return SameContact(contact_id, reply.status, reply.duration_ms)
    if isinstance(refused, Rejected) and refused.code == CONTACT_NOT_FOUND:
        return NotFound(reply.status, reply.duration_ms)
    return refused


def _listed(message: Message, reply: Reply, read: Callable[[bytes], T]) -> tuple[T | None, Outcome | None]:
    """What a list that a redemption is looked up in holds. Without it, what the answer comes to instead; without both
    Engage refuses the question itself."""
    refused = trouble(reply, earlier_unknown=message.unknown, changes=False)
    if isinstance(refused, Rejected) and refused.code != BAD_SET_UP:
        return None, None
    if refused is not None:
        return None, refused
    if not is_page(reply):
        with suppress(EngageError):
            return read(reply.body), None
    return None, strange(reply, changes=False)


def seen_redeemed(message: Message, assignment_id: str, reply: Reply) -> Outcome | None:
    """What the list of a contact's assignments says about a redemption of ours. None: send it.

    An absent assignment proves nothing: a redeemed one that has expired since is not listed (ref 3.2). Where Engage
    refuses the question itself (the contact is gone), nothing can be looked up: the redeem call then tells.
    """
    assignments, told = _listed(message, reply, read_assignments)
    if assignments is None:
        return told
    found = next((each for each in assignments if each.id.lower() == assignment_id.lower()), None)
    if found is None or not found.redeemed:
        return None
    return _redeemed_then(message, found.redeemed_on, ALREADY_REDEEMED, reply)


def seen_voucher(message: Message, voucher_id: str, reply: Reply, offset: int) -> Outcome | int | None:
    """What a page of a contact's redeemed vouchers, from `offset` on, says about a redemption of ours.

    None: send it, for an absent voucher proves nothing here either. A number: where the next page begins.
    """
    page, told = _listed(message, reply, read_vouchers)
    if page is None:
        return told
    found = next((each for each in page.items if each.id.lower() == voucher_id.lower()), None)
    if found is None:
        following = next_offset(offset, len(page.items), page.total_count)
        return None if following is None or following >= MOST_LISTED else following
    return _redeemed_then(message, found.redeemed_on, VOUCHER_REDEEMED, reply)


def _redeemed_then(message: Message, when: datetime | None, code: str, reply: Reply) -> Outcome:
    """Redeemed, as a look-up shows: by our unknown attempt, or by somebody else."""
    if is_ours(message, when, reply):
        return Delivered("looked_up", reply.status, duration_ms=reply.duration_ms)
    return Rejected(code, reply.status, duration_ms=reply.duration_ms)


def is_ours(message: Message, when: datetime | None, reply: Reply) -> bool:
    """Whether a redemption is that of our unknown attempt: not where it lies clearly before the enqueue.

    Our clock may have been ahead at the enqueue. It is still: then the answer's own date tells by how much. Or it was
    set right meanwhile: then the enqueue seems to lie in the future, and was now at the latest. What is left is a clock
    that was wrong by more than `EARLIER`, was set right, and went on for longer than it had been wrong by, before the
    look-up: nothing here tells that from somebody else's redemption, so a person decides.

    A time that we wrote into a file ourselves is ours, whatever the clocks say. Without a readable time nothing speaks
    against it.
    """
    if when is None:
        return True
    instant = as_instant(when)
    written = message.created if reply.at is None else min(message.created, reply.at)
    return instant >= written - reply.ahead - EARLIER or any(
        abs(instant - own) < SAME_MOMENT for own in message.carried
    )


def alive(reply: Reply) -> Outcome:
    """What the probe's question came to: any answer of Engage's own, a refusal included, shows that it is well."""
    refused = trouble(reply, earlier_unknown=False, changes=False)
    if isinstance(refused, Rejected):
        return Delivered(status=reply.status, duration_ms=reply.duration_ms)
    if refused is None and not is_json(reply):
        return strange(reply, changes=False)
    return refused or Delivered(status=reply.status, duration_ms=reply.duration_ms)
