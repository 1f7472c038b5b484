"""The calls for multichannel promotions as they are defined (ref 3.5)."""

from __future__ import annotations

import re
from typing import Any

from voyado_async.sandbox.contact_fields import GUID, is_day
from voyado_async.sandbox.engage import Engage, Route
from voyado_async.sandbox.exchange import Call, Refused, Reply, object_of, only_query
from voyado_async.sandbox.promotions import CHANNELS
from voyado_async.sandbox.receipts import Field, is_any_text, is_currency, is_number, is_text, problem
from voyado_async.sandbox.state import Promotion

_VALUE_TYPES = ("PERCENT", "MONEY", "EXTERNALOFFER", "MANUAL", "SWIPE")


def _is_day(value: object) -> bool:
    """A day without a time, the largest being 9999-12-30."""
    return isinstance(value, str) and is_day(value) and value <= "9999-12-30"


def _is_span(value: object) -> bool:
    return type(value) is int and value > 0


def _is_external_id(value: object) -> bool:
    return is_text(value) and len(str(value)) <= 450


_VALIDITY: dict[str, Field] = {
    "startDate": Field(check=_is_day, required=True),
    "endDate": Field(check=_is_day),
    "assignedValidity": Field(
        shape={
            "unit": Field(check=lambda value: value in ("Months", "Days"), required=True),
            "amount": Field(check=_is_span, required=True),
        }
    ),
}
_SHAPE: dict[str, Field] = {
    "externalId": Field(check=_is_external_id),
    "name": Field(check=is_text, required=True),
    "validity": Field(shape=_VALIDITY, required=True),
    "presentation": Field(
        shape={
            "heading": Field(check=is_any_text),
            "description": Field(check=is_any_text),
            "link": Field(check=is_any_text),
        }
    ),
    "redemptionChannels": Field(
        many=True,
        shape={
            "type": Field(check=lambda value: value in CHANNELS, required=True),
            "valueType": Field(check=lambda value: value in _VALUE_TYPES, required=True),
            "value": Field(check=is_any_text, required=True),
            "localValues": Field(
                many=True,
                shape={
                    "currency": Field(check=is_currency, required=True),
                    "amount": Field(check=is_number, required=True),
                },
            ),
            "instruction": Field(check=is_any_text),
        },
    ),
}


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
    promotion.validity = _validity(call)
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
    body = object_of(call)
    _refuse(problem(body, _SHAPE, "", "promotion"))
    _refuse(_validity_problem(body["validity"]))
    for at, row in enumerate(body.get("redemptionChannels") or []):
        _refuse(_channel_problem(row, f"redemptionChannels[{at}]"))
    return body


def _validity(call: Call) -> dict[str, Any]:
    body = object_of(call)
    _refuse(problem(body, _VALIDITY, "", "validity"))
    _refuse(_validity_problem(body))
    return body


def _validity_problem(value: dict[str, Any]) -> str | None:
    if value.get("endDate") is not None and value.get("assignedValidity") is not None:
        return "validity has endDate and assignedValidity"
    return None


def _channel_problem(row: dict[str, Any], path: str) -> str | None:
    """The value is text that fits its type (ref 3.5); MANUAL is for the store only (ref 3.2)."""
    kind, value = row["valueType"], row["value"]
    if kind == "PERCENT" and not re.fullmatch(r"[0-9]+", value):
        return f"{path}.value: not a whole number"
    if kind == "MONEY" and not re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        return f"{path}.value: not a number"
    if kind == "MANUAL" and row["type"] != "POS":
        return f"{path}.valueType: MANUAL is for POS"
    return None


def _refuse(found: str | None) -> None:
    if found is not None:
        raise Refused(400, "BadRequest", found)


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
DEFINITION_ROUTES = (
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
