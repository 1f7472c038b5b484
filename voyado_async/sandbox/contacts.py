"""The contact calls (ref 4)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from voyado_async.sandbox.contact_fields import COMPUTED, PREFERENCES, STANDARD, is_valid
from voyado_async.sandbox.engage import Engage, Route
from voyado_async.sandbox.exchange import Call, Refused, Reply, body_of, object_of, only_query
from voyado_async.sandbox.receipts import Field, is_any_text, is_flag, is_text, problem
from voyado_async.sandbox.state import Contact, Origin

_SEARCHES = {
    "email": ("email", "InvalidEmailAddress"),
    "socialSecurityNumber": ("socialSecurityNumber", "InvalidSocialSecurityNumber"),
    "mobilePhone": ("mobilePhone", "InvalidPhoneNumber"),
    "customKey": (None, "InvalidSearchQuery"),
}
_MAX_BULK = 4000
_MAX_CHANGES = 250_000


def find_id(engage: Engage, call: Call) -> Reply:
    """The id as a bare JSON string (ref 4.1)."""
    query = dict(call.query)
    contact_type = query.pop("contactType", None)
    if contact_type is not None:
        contact_type = engage.contact_type(contact_type)
    if len(query) != 1 or not next(iter(query.values())):
        raise Refused(400, "InvalidSearchQuery", "Exactly one search parameter is needed")
    ((name, value),) = query.items()
    if name == "any":
        name = _kind_of(value)
    if name not in _SEARCHES:
        raise Refused(400, "InvalidSearchQuery", "Unknown search parameter")
    attribute, code = _SEARCHES[name]
    if attribute is None:
        attribute = engage.settings.custom_key
        if attribute is None:
            raise Refused(500, "InvalidSystemConfiguration")
    elif not is_valid(attribute, value):
        raise Refused(400, code)
    found = engage.state.matching(attribute, value, contact_type)
    if not found:
        raise Refused(404, "ContactNotFound")
    if len(found) > 1:
        raise Refused(409, "MultipleMatches", multipleMatchesFound=[c.id for c in found])
    return Reply.json(200, found[0].id)


def _kind_of(value: str) -> str:
    """`any` takes the first attribute that the value is valid for, even if that finds nobody."""
    for name in ("email", "socialSecurityNumber", "mobilePhone"):
        if is_valid(name, value):
            return name
    return "customKey"


def get_contact(engage: Engage, call: Call) -> Reply:
    only_query(call)
    return Reply.json(200, _shown(engage, engage.contact(call.params["contact"])))


def create_contact(engage: Engage, call: Call) -> Reply:
    """201 with the full contact (ref 4.3). v3 takes the three options as query parameters, v2 as headers (ref 1.8)."""
    if call.version == 3:
        only_query(call, "source", "storeExternalId", "createAsUnapproved")
        options: dict[str, str] = call.query
    else:
        only_query(call)
        options = {n: call.headers[n] for n in ("source", "storeExternalId", "createAsUnapproved") if n in call.headers}
    unapproved = options.get("createAsUnapproved", "false")
    if unapproved not in ("true", "false"):
        raise Refused(400, "BadRequest", "createAsUnapproved is true or false")
    values = _values(call)
    contact_type = engage.contact_type(values.pop("contactType", None) or "Member")
    attributes, preferences = _split(engage, values)
    key = engage.settings.contact_key
    if not attributes.get(key) and key != "memberNumber":
        raise Refused(422, "ValidationError", f"{key} is missing")
    if attributes.get(key) in engage.state.being_created:
        raise Refused(409, "ContactWithKeyIsBeingCreated")
    _refuse_taken(engage, contact_type, attributes.get(key), None)
    if store := options.get("storeExternalId"):
        if not engage.state.knows_store(store):
            raise Refused(422, "ValidationError", "storeExternalId is not a known store")
        attributes.setdefault("createdInStore", store)
    contact = engage.state.create_contact(
        contact_type,
        attributes,
        preferences,
        approved=unapproved == "false",
        source=options.get("source"),
        origin=Origin("rest", call.seq),
        consents=_consents(values),
    )
    return Reply.json(201, _shown(engage, contact))


def update_contact(engage: Engage, call: Call) -> Reply:
    """Overwrites what is sent, null and "" included; unknown names and contactType are silently ignored (ref 4.4)."""
    only_query(call)
    contact = engage.contact(call.params["contact"])
    values = _values(call)
    values.pop("contactType", None)
    attributes, preferences = _split(engage, values)
    _refuse_taken(engage, contact.contact_type, attributes.get(engage.settings.contact_key), contact)
    consents = _consents(values)
    engage.state.update_contact(contact, attributes, preferences, Origin("rest", call.seq), consents)
    return Reply.json(200, _shown(engage, contact))


def _refuse_taken(engage: Engage, contact_type: str, key_value: object, owner: Contact | None) -> None:
    others = engage.state.matching(engage.settings.contact_key, key_value, contact_type) if key_value else []
    if any(other is not owner and other.approved for other in others):
        raise Refused(409, "ApprovedContactWithKeyExists")


def _values(call: Call) -> dict[str, Any]:
    if not call.body.strip() or call.body.strip() in (b"null", b"{}"):
        raise Refused(400, "NoData")
    return object_of(call)


def _split(engage: Engage, values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, bool | None]]:
    """Known attributes and preferences, checked. A field that Engage computes is refused."""
    if computed := values.keys() & COMPUTED:
        raise Refused(422, "ValidationError", f"{min(computed)} is computed")
    preferences = values.get("preferences") or {}
    if not isinstance(preferences, dict):
        raise Refused(400, "BadRequest", "preferences is not an object")
    chosen = {name: preferences[name] for name in PREFERENCES if name in preferences}
    for name, value in chosen.items():
        if value is not None and not isinstance(value, bool):
            raise Refused(400, "BadRequest", f"preferences.{name} is not a boolean")
    known = STANDARD.keys() | set(engage.settings.custom_attributes)
    attributes = {name: value for name, value in values.items() if name in known}
    for name, value in attributes.items():
        if not is_valid(name, value):
            raise Refused(422, "ValidationError", f"{name} is invalid")
    return attributes, chosen


_CONSENT: dict[str, Field] = {
    "id": Field(check=is_text, required=True),
    "value": Field(check=is_flag, required=True),
    "date": Field(check=is_text),
    "source": Field(check=is_any_text),
    "comment": Field(check=is_any_text),
}


def _consents(values: dict[str, Any]) -> list[dict[str, Any]]:
    """The consents that are sent, in the form in which they are answered (ref 4.2); sending them so is inferred."""
    rows = [] if values.get("consents") is None else values["consents"]
    if not isinstance(rows, list):
        raise Refused(400, "BadRequest", "consents is not an array")
    for at, row in enumerate(rows):
        if (found := problem(row, _CONSENT, f"consents[{at}]")) is not None:
            raise Refused(400, "BadRequest", found)
    return rows


def update_type(engage: Engage, call: Call) -> Reply:
    only_query(call, "contactTypeId")
    return _change_type(engage, call, call.query.get("contactTypeId", ""))


def promote_to_member(engage: Engage, call: Call) -> Reply:
    return _change_type(engage, call, "Member")


def _change_type(engage: Engage, call: Call, name: str) -> Reply:
    contact = engage.contact(call.params["contact"])
    engage.state.change_type(contact, engage.contact_type(name), Origin("rest", call.seq))
    return Reply.json(200, _shown(engage, contact))


def bulk(engage: Engage, call: Call) -> Reply:
    """A queue of flat contacts; the answer is a batch id (ref 4.9)."""
    only_query(call, "contactType", "avoidTriggeringExport")
    contact_type = engage.contact_type(call.query.get("contactType", "Member"))
    rows = body_of(call)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Refused(400, "BadRequest", "The body is not an array of contacts")
    if not rows:
        raise Refused(400, "NoData")
    if len(rows) > _MAX_BULK:
        raise Refused(400, "BadRequest", f"More than {_MAX_BULK} contacts")
    batch_id = str(uuid4())
    engage.pipeline.accept_batch(batch_id, call.method, contact_type, rows, Origin("rest", call.seq))
    return Reply.json(202, batch_id)


def bulk_status(engage: Engage, call: Call) -> Reply:
    """The shape is this sandbox's own: no page shows it (ref 4.9)."""
    only_query(call, "batchId")
    batch = engage.state.batches.get(call.query.get("batchId", ""))
    if batch is None:
        raise Refused(404, "BatchNotFound")
    return Reply.json(200, batch)


def changes(engage: Engage, call: Call) -> Reply:
    """Ids of contacts that changed in a span of time, each once (ref 4.8)."""
    only_query(call, "changeType", "fromDate", "toDate")
    kind = call.query.get("changeType")
    if kind not in ("Created", "Updated", "Deleted"):
        raise Refused(400, "BadRequest", "changeType is Created, Updated or Deleted")
    start = _moment(call.query.get("fromDate", ""))
    end = _moment(call.query["toDate"]) if "toDate" in call.query else engage.state.now()
    ids = list(dict.fromkeys(c.contact_id for c in engage.state.changes if c.kind == kind and start <= c.at <= end))
    if len(ids) > _MAX_CHANGES:
        raise Refused(400, "BadRequest", f"More than {_MAX_CHANGES} ids")
    return Reply.json(200, ids)


def _moment(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC)
    except ValueError as error:
        raise Refused(400, "BadRequest", "Dates are written as 2025-03-01 08:15:00.000") from error


def _shown(engage: Engage, contact: Contact) -> dict[str, Any]:
    """The full contact in the tenant's shape (ref 4.2)."""
    meta = {
        "contactType": contact.contact_type,
        "approved": contact.approved,
        "source": contact.source,
        "createdDate": contact.created_at,
        "updatedDate": contact.updated_at,
    }
    if engage.settings.contact_shape == "flat":
        flat = {"id": contact.id, "contactType": contact.contact_type, **contact.attributes}
        return {**flat, "preferences": contact.preferences, "consents": list(contact.consents.values())}
    return {
        "id": contact.id,
        "attributes": {"contactType": contact.contact_type, **contact.attributes},
        "meta": meta,
        "preferences": contact.preferences,
        "consents": list(contact.consents.values()),
    }


CONTACT_ROUTES = (
    Route("GET", "contacts/id", find_id),
    Route("GET", "contacts/changes", changes),
    Route("POST", "contacts/bulk", bulk),
    Route("PATCH", "contacts/bulk", bulk),
    Route("GET", "contacts/bulk/status", bulk_status),
    Route("POST", "contacts", create_contact),
    Route("GET", "contacts/{contact}", get_contact),
    Route("PATCH", "contacts/{contact}", update_contact, (3,)),
    Route("POST", "contacts/{contact}", update_contact, (2,)),
    Route("POST", "contacts/{contact}/updateContactType", update_type),
    Route("POST", "contacts/{contact}/promoteToMember", promote_to_member, (2,)),
)
