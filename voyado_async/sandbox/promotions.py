"""The promotion calls (ref 3)."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

from voyado_async.sandbox.contact_fields import GUID
from voyado_async.sandbox.engage import Engage, Route
from voyado_async.sandbox.exchange import Call, Refused, Reply, contact_of, object_of, only_query
from voyado_async.sandbox.state import Assignment, Origin, Promotion, channel_value

CHANNELS = ("POS", "ECOM", "OTHER")


def list_assignments(engage: Engage, call: Call) -> Reply:
    """Active assignments of a contact, redeemed ones included (ref 3.2)."""
    contact = engage.contact(contact_of(call, "redemptionChannelType"))
    channel = call.query.get("redemptionChannelType")
    if channel is not None and channel not in CHANNELS:
        raise Refused(400, "NotAValidRedemptionChannel")
    rows = []
    for assignment in engage.state.assignments.values():
        promotion = engage.state.promotions[assignment.promotion_id]
        if assignment.contact_id.lower() != contact.id or not _is_active(assignment, promotion, engage.state.now()):
            continue
        if channel is None or channel in _channel_types(promotion):
            rows.append(_shown(assignment, promotion, call.version))
    return Reply.json(200, rows)


def _is_active(assignment: Assignment, promotion: Promotion, now: datetime) -> bool:
    return (
        promotion.status == "Active"
        and assignment.starts_on <= now
        and (assignment.expires_on is None or now <= assignment.expires_on)
    )


def _channel_types(promotion: Promotion) -> list[str]:
    return [row["type"] for row in promotion.channels]


def _shown(assignment: Assignment, promotion: Promotion, version: int) -> dict[str, Any]:
    row = {
        "id": assignment.id,
        "promotionId": promotion.id,
        "externalId": promotion.external_id,
        "type": "Multichannel",
        "name": promotion.name,
        "expiresOn": assignment.expires_on,
        "heading": promotion.presentation.get("heading"),
        "description": promotion.presentation.get("description"),
        "redeemed": assignment.redeemed,
        "redeemedOn": assignment.redeemed_on,
        "imageUrl": promotion.presentation.get("imageUrl"),
        "link": promotion.presentation.get("link"),
        "redemptionChannels": [
            {
                "type": channel["type"],
                "valueType": channel["valueType"],
                "value": channel_value(channel),
                "instruction": channel.get("instruction"),
            }
            for channel in promotion.channels
        ],
    }
    if version == 2:
        del row["promotionId"]
    return row


def redeem(engage: Engage, call: Call) -> Reply:
    """All codes of ref 3.3. The time of the redemption is the time of the call."""
    only_query(call)
    body = object_of(call, frozenset({"redemptionChannel"}))
    channel = body.get("redemptionChannel")
    if channel not in CHANNELS:
        raise Refused(400, "NotAValidRedemptionChannel")
    assignment_id = call.params["assignment"]
    if not GUID.fullmatch(assignment_id):
        raise Refused(400, "InvalidPromotionIdNoData")
    assignment = engage.state.assignments.get(assignment_id.lower())
    now = engage.state.now()
    if assignment is None or not _is_active(assignment, engage.state.promotions[assignment.promotion_id], now):
        raise Refused(404, "PromotionNotFound")
    owner = call.params.get("contact", assignment.contact_id)
    if engage.state.contact(assignment.contact_id) is None or owner.lower() != assignment.contact_id.lower():
        raise Refused(404, "PromotionNotAssociatedWithContact")
    if channel not in _channel_types(engage.state.promotions[assignment.promotion_id]):
        raise Refused(409, "PromotionNotValidForRedemptionChannel")
    if assignment.redeemed:
        raise Refused(409, "PromotionAlreadyRedeemed")
    engage.state.redeem(assignment, channel, now, Origin("rest", call.seq))
    return Reply(status=200)


def assign(engage: Engage, call: Call) -> Reply:
    """Assign a promotion (ref 3.4); repeating it assigns once more."""
    only_query(call)
    if call.version == 3:
        body = object_of(call, frozenset({"contactId", "promotionId"}))
        contact_id, promotion_id = body.get("contactId"), body.get("promotionId")
    else:
        if call.body:
            raise Refused(400, "BadRequest", "The path says it all")
        contact_id, promotion_id = call.params["contact"], call.params["promotion"]
    if not isinstance(contact_id, str):
        raise Refused(400, "InvalidContactId")
    contact = engage.contact(contact_id)
    if not isinstance(promotion_id, str) or not GUID.fullmatch(promotion_id):
        raise Refused(400, "InvalidPromotionId")
    promotion = engage.state.promotions.get(promotion_id.lower())
    if promotion is None:
        raise Refused(404, "PromotionNotFound")
    end = promotion.validity.get("endDate")
    now = engage.state.now()
    if promotion.status == "Ended" or (end and date.fromisoformat(end) < now.date()):
        raise Refused(409, "PromotionExpired")
    assignment = engage.state.add_assignment(contact.id, promotion_id=promotion.id, expires_on=_expiry(promotion, now))
    engage.journal.commit("assign", assignment.id, "rest", call.seq, {"contactId": contact.id})
    return Reply.json(200, _shown(assignment, promotion, call.version))


def _expiry(promotion: Promotion, now: datetime) -> datetime | None:
    span = promotion.validity.get("assignedValidity")
    if span:
        return now + timedelta(days=span["amount"] * (30 if span["unit"] == "Months" else 1))
    end = promotion.validity.get("endDate")
    if end is None or end >= "9999-12-30":
        return None
    return datetime.combine(date.fromisoformat(end), datetime.max.time().replace(microsecond=0), now.tzinfo)


PROMOTION_ROUTES = (
    Route("GET", "promotion-assignments", list_assignments, (3,)),
    Route("GET", "contacts/{contact}/promotions", list_assignments, (2,)),
    Route("POST", "promotion-assignments", assign, (3,)),
    Route("POST", "contacts/{contact}/promotions/{promotion}/assign", assign, (2,)),
    Route("POST", "promotion-assignments/{assignment}/redeem", redeem, (3,)),
    Route("POST", "contacts/{contact}/promotions/{assignment}/redeem", redeem, (2,)),
    Route("POST", "promotions/codes/{assignment}/redeem", redeem),
)
