"""A change of a contact: only the fields that were set (ref 4.4).

Lane: the contact, by its id or by the attribute that names it. No natural key. Named by an attribute, the contact is
looked up at delivery; the PATCH always goes to an id. In a file only by contactId or the tenant's key attribute.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from voyado_async.delivery import Draft, FileFamily, FileForm, Kind, Message, NoFileForm
from voyado_async.kinds.address import Address, checked, find
from voyado_async.kinds.call import Call, Operation
from voyado_async.models.contacts import ContactUpdate, check_contact_type, checked_contact_update
from voyado_async.models.decode import stored
from voyado_async.models.payload import Payload, to_json
from voyado_async.models.receipts import MatchKeyType

PREFERENCES = "preferences"


class Update(Payload, frozen=True, rename="camel", omit_defaults=True):
    """The content of an entry. `changes` is the very text that is sent."""

    address: Address
    changes: msgspec.Raw
    contact_type: str | None = None


_DECODER = msgspec.json.Decoder(Update)
_OBJECT = msgspec.json.Decoder(dict[str, object], float_hook=Decimal)


def draft(
    address: Address,
    changes: ContactUpdate | Mapping[str, object] | bytes,
    *,
    contact_type: str | None = None,
    allowed: frozenset[str] | None = None,
    key: str | None = None,
) -> Draft:
    """`allowed` are the tenant's custom names (None: any). Raises InvalidEntry with the path of the wrong field."""
    if contact_type is not None:
        check_contact_type(contact_type)
    _, text = checked_contact_update(changes, allowed=allowed)
    content = Update(address=address, changes=msgspec.Raw(text), contact_type=contact_type)
    return Draft(Kind.CONTACT_UPDATE, to_json(content), address.lane, key)


def corrected(body: bytes, *, allowed: frozenset[str] | None) -> Draft:
    """A stored content that a person has changed: checked as at the first time. Raises InvalidEntry."""
    content = stored(Update, body)
    return draft(checked(content.address), bytes(content.changes), contact_type=content.contact_type, allowed=allowed)


def read(body: bytes) -> Update:
    """The content of a stored entry."""
    return _DECODER.decode(body)


def changes_of(content: Update) -> dict[str, object]:
    """What is set, under Engage's names; numbers exact."""
    return _OBJECT.decode(content.changes)


def contact_of(message: Message) -> str | None:
    """The id that the PATCH goes to; None where a look-up has to tell it first.

    An address is looked up at each delivery, for it may belong to somebody else by now; what Engage told of it within
    `VOYADO_CACHE_TTL` may stand for that look-up (`drain.recent` says when), and what was known longer never does.
    """
    named = read(message.body).address
    return named.value if named.type is MatchKeyType.CONTACT_ID else None


def look_up(message: Message) -> Call:
    """Ask for the id of the contact that an attribute names."""
    content = read(message.body)
    return find(content.address, content.contact_type)


def patch(contact_id: str, changes: bytes) -> Call:
    """Change the contact."""
    return Call(Operation.UPDATE_CONTACT, ids=(("contactId", contact_id),), body=changes)


def fields_of(changes: Mapping[str, object]) -> frozenset[str]:
    """The names of what is set; each preference by itself (``preferences.acceptsEmail``)."""
    names = {name for name in changes if name != PREFERENCES}
    preferences = changes.get(PREFERENCES)
    if isinstance(preferences, dict):
        names |= {f"{PREFERENCES}.{name}" for name in preferences}
    return frozenset(names)


def left_without(changes: Mapping[str, object], names: frozenset[str]) -> dict[str, object]:
    """What is left of changes when those fields are left alone. Empty where nothing is."""
    left = {name: value for name, value in changes.items() if name not in names and name != PREFERENCES}
    preferences = changes.get(PREFERENCES)
    if isinstance(preferences, dict):
        kept = {name: value for name, value in preferences.items() if f"{PREFERENCES}.{name}" not in names}
        if kept:
            left[PREFERENCES] = kept
    return left


def together(older: Mapping[str, object], newer: Mapping[str, object]) -> dict[str, object]:
    """Two sets of changes as one, field by field and preference by preference: the newer value wins."""
    both = {**older, **newer}
    before, after = older.get(PREFERENCES), newer.get(PREFERENCES)
    if isinstance(before, dict) and isinstance(after, dict):
        both[PREFERENCES] = before | after
    return both


def without(body: bytes, names: frozenset[str]) -> bytes | None:
    """The entry's content without those fields; None where nothing is left of it (it is superseded)."""
    content = read(body)
    left = left_without(changes_of(content), names)
    if not left:
        return None
    return to_json(msgspec.structs.replace(content, changes=msgspec.Raw(to_json(left))))


def file_form(message: Message, *, contact_type: str, contact_key: str | None) -> FileForm | NoFileForm:
    """One contact of a contacts file. `contact_type` and `contact_key` are the tenant's settings.

    The element is named after the contact's type (ref 6.4): the one that the shop told goes before one that is known.
    """
    content = read(message.body)
    changes = changes_of(content)
    named = content.address
    if named.type is not MatchKeyType.CONTACT_ID and named.type != contact_key:
        return NoFileForm("named by an attribute that is not the tenant's key (ref 6.4)")
    if named.type in changes:
        return NoFileForm("changes the very attribute that names the contact")
    reason = not_in_a_file(changes)
    if reason is not None:
        return NoFileForm(reason)
    return FileForm(
        family=FileFamily.CONTACTS,
        contact_type=content.contact_type or message.contact_type or contact_type,
        match_key_type=named.type,
        subject=named.lane,
        lines=1,
        record={str(named.type): named.value} | changes,
    )


def bulk_form(message: Message, *, contact_key: str) -> FileForm | NoFileForm:
    """One contact of a bulk request (ref 4.9): a flat object with the tenant's key attribute.

    A cleared field is one: bulk requests overwrite with empty values as a PATCH does. Preferences stand flat, as in a
    file; that is not documented, and repaired when the contact is read back.
    """
    content = read(message.body)
    changes = changes_of(content)
    if content.address.type != contact_key:
        return NoFileForm("named by an attribute that is not the tenant's key (ref 4.9)")
    if contact_key in changes:
        return NoFileForm("changes the very attribute that names the contact")
    if "consents" in changes:
        return NoFileForm("sets consents: no page shows them in a bulk request (ref 4.9)")
    return FileForm(
        family=FileFamily.CONTACTS,
        contact_type=content.contact_type or message.contact_type or "",
        match_key_type=contact_key,
        subject=content.address.lane,
        lines=1,
        record={contact_key: content.address.value} | changes,
    )


def not_in_a_file(fields: Mapping[str, object]) -> str | None:
    """Why fields have no confirmed form in a contacts file; None where they have one."""
    if any(value is None or value == "" for value in fields.values()):
        return "clears a field: what an empty element means is not documented (ref 6.4)"
    if "consents" in fields:
        return "sets consents: no page shows them in a file (ref 6.4)"
    return None
