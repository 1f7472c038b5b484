"""The promotion calls (ref 3)."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from typing import Any

from voyado_async.sandbox.contact_fields import GUID, is_day
from voyado_async.sandbox.engage import Engage, Route
from voyado_async.sandbox.exchange import Call, Refused, Reply, object_of, only_query
from voyado_async.sandbox.state import Assignment, Origin, Promotion, channel_value

CHANNELS = ("POS", "ECOM", "OTHER")
_VALUE_TYPES = ("PERCENT", "MONEY", "EXTERNALOFFER", "MANUAL", "SWIPE")
_DEFINITION = frozenset({"externalId", "name", "validity", "presentation", "redemptionChannels"})


def list_assignments(engage: Engage, call: Call) -> Reply:
    """Active assignments of a contact, redeemed ones included (ref 3.2)."""
    only_query(call, "contactId", "redemptionChannelType")
    contact = engage.contact(call.params.get("contact") or call.query.get("contactId", ""))
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
    if call.version == 3:
        body = object_of(call, frozenset({"contactId", "promotionId"}))
        contact_id, promotion_id = body.get("contactId"), body.get("promotionId")
    else:
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


def create_definition(engage: Engage, call: Call) -> Reply:
    """A draft (ref 3.5)."""
    only_query(call)
    definition = _definition(call)
    external_id = definition.get("externalId")
    if external_id is not None and _by_external_id(engage, external_id):
        raise Refused(400, "BadRequest", "externalId is taken")
    promotion = engage.state.add_promotion(
        external_id=external_id,
        name=definition["name"],
        status="Draft",
        channels=definition.get("redemptionChannels") or [],
        validity=definition["validity"],
        presentation=definition.get("presentation"),
    )
    engage.journal.commit("promotion", promotion.id, "rest", call.seq)
    return Reply.json(200, {"id": promotion.id})


def get_definition(engage: Engage, call: Call) -> Reply:
    return Reply.json(200, _shown_definition(_sought(engage, call)))


def put_definition(engage: Engage, call: Call) -> Reply:
    promotion = _draft(engage, call)
    definition = _definition(call)
    promotion.external_id = definition.get("externalId")
    promotion.name = definition["name"]
    promotion.validity = definition["validity"]
    promotion.presentation = definition.get("presentation") or {}
    promotion.channels = definition.get("redemptionChannels") or []
    engage.journal.commit("promotion", promotion.id, "rest", call.seq)
    return Reply.json(200, _shown_definition(promotion))


def get_validity(engage: Engage, call: Call) -> Reply:
    return Reply.json(200, _sought(engage, call).validity)


def put_validity(engage: Engage, call: Call) -> Reply:
    promotion = _draft(engage, call)
    promotion.validity = _validity(object_of(call))
    engage.journal.commit("promotion", promotion.id, "rest", call.seq)
    return Reply.json(200, promotion.validity)


def delete_definition(engage: Engage, call: Call) -> Reply:
    """Only while nobody has it (ref 3.5)."""
    promotion = _sought(engage, call)
    if any(a.promotion_id == promotion.id for a in engage.state.assignments.values()):
        raise Refused(400, "BadRequest", "The promotion is assigned")
    del engage.state.promotions[promotion.id]
    engage.journal.commit("promotion", promotion.id, "rest", call.seq, {"deleted": True})
    return Reply(status=200)


def _by_external_id(engage: Engage, external_id: str) -> Promotion | None:
    return next((p for p in engage.state.promotions.values() if p.external_id == external_id), None)


def _sought(engage: Engage, call: Call) -> Promotion:
    """The definition by its id in the path, or by `externalId` in the query."""
    if "promotion" in call.params:
        only_query(call)
        if not GUID.fullmatch(call.params["promotion"]):
            raise Refused(400, "InvalidPromotionId")
        promotion = engage.state.promotions.get(call.params["promotion"].lower())
    else:
        only_query(call, "externalId")
        promotion = _by_external_id(engage, call.query.get("externalId", ""))
    if promotion is None:
        raise Refused(404, "PromotionNotFound")
    return promotion


def _draft(engage: Engage, call: Call) -> Promotion:
    promotion = _sought(engage, call)
    if promotion.status != "Draft":
        raise Refused(400, "BadRequest", "Only a draft can be changed")
    return promotion


def _definition(call: Call) -> dict[str, Any]:
    body = object_of(call, _DEFINITION)
    if not isinstance(body.get("name"), str) or not body["name"]:
        raise Refused(400, "BadRequest", "name is missing")
    _validity(body.get("validity"))
    if not isinstance(body.get("presentation") or {}, dict):
        raise Refused(400, "BadRequest", "presentation is not an object")
    channels = body.get("redemptionChannels") or []
    if not isinstance(channels, list):
        raise Refused(400, "BadRequest", "redemptionChannels is not an array")
    for row in channels:
        if not isinstance(row, dict):
            raise Refused(400, "BadRequest", "A channel is not an object")
        if row.get("type") not in CHANNELS or row.get("valueType") not in _VALUE_TYPES:
            raise Refused(400, "BadRequest", "A channel's type or valueType is unknown")
        if not isinstance(row.get("value"), str):
            raise Refused(400, "BadRequest", "A channel's value is a string")
        if row["valueType"] in ("PERCENT", "MONEY") and not re.fullmatch(r"[0-9]+(\.[0-9]+)?", row["value"]):
            raise Refused(400, "BadRequest", "A channel's value is not a number")
    return body


def _validity(value: object) -> dict[str, Any]:
    """startDate, and endDate or assignedValidity; days only (ref 3.5)."""
    if not isinstance(value, dict) or value.keys() - {"startDate", "endDate", "assignedValidity"}:
        raise Refused(400, "BadRequest", "validity is missing or has unknown fields")
    if "startDate" not in value:
        raise Refused(400, "BadRequest", "validity.startDate is missing")
    for name in ("startDate", "endDate"):
        day = value.get(name)
        if day is None and name == "endDate":
            continue
        if not isinstance(day, str) or not is_day(day) or day > "9999-12-30":
            raise Refused(400, "BadRequest", f"validity.{name} is not a day")
    span = value.get("assignedValidity")
    if span is not None and (
        not isinstance(span, dict) or span.get("unit") not in ("Months", "Days") or type(span.get("amount")) is not int
    ):
        raise Refused(400, "BadRequest", "validity.assignedValidity is wrong")
    return value


def _shown_definition(promotion: Promotion) -> dict[str, Any]:
    return {
        "id": promotion.id,
        "externalId": promotion.external_id,
        "name": promotion.name,
        "status": promotion.status,
        "validity": promotion.validity,
        "presentation": promotion.presentation,
        "redemptionChannels": promotion.channels,
    }


_MULTI = "promotions/multichannels"
PROMOTION_ROUTES = (
    Route("GET", "promotion-assignments", list_assignments, (3,)),
    Route("GET", "contacts/{contact}/promotions", list_assignments, (2,)),
    Route("POST", "promotion-assignments", assign, (3,)),
    Route("POST", "contacts/{contact}/promotions/{promotion}/assign", assign, (2,)),
    Route("POST", "promotion-assignments/{assignment}/redeem", redeem, (3,)),
    Route("POST", "contacts/{contact}/promotions/{assignment}/redeem", redeem, (2,)),
    Route("POST", "promotions/codes/{assignment}/redeem", redeem),
    Route("POST", _MULTI, create_definition),
    Route("GET", _MULTI, get_definition),
    Route("DELETE", _MULTI, delete_definition),
    Route("GET", f"{_MULTI}/validity", get_validity),
    Route("GET", f"{_MULTI}/{{promotion}}/validity", get_validity),
    Route("PUT", f"{_MULTI}/{{promotion}}/validity", put_validity),
    Route("GET", f"{_MULTI}/{{promotion}}", get_definition),
    Route("PUT", f"{_MULTI}/{{promotion}}", put_definition),
    Route("DELETE", f"{_MULTI}/{{promotion}}", delete_definition),
)
