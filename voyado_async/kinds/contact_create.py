"""A new contact (ref 4.3).

Lane: the tenant's key attribute. No natural key: the key attribute itself keeps a second creation from making a second
person, since Engage is looked up by it first. In a file: only without the options of a creation, and only where the
key attribute is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Literal

import msgspec

from voyado_async.delivery import Draft, FileFamily, FileForm, Kind, Message, NoFileForm
from voyado_async.errors import InvalidEntry
from voyado_async.kinds.address import Address
from voyado_async.kinds.call import Call, Operation
from voyado_async.kinds.contact_update import left_without, not_in_a_file
from voyado_async.models.contact_fields import KEY_ATTRIBUTES
from voyado_async.models.contacts import ContactCreate, checked_contact_create
from voyado_async.models.decode import stored
from voyado_async.models.payload import Payload, to_json
from voyado_async.models.receipts import MatchKeyType
from voyado_async.models.text import NOT_IN_XML

OnExisting = Literal["keep", "update"]


class Create(Payload, frozen=True, rename="camel", omit_defaults=True):
    """The content of an entry. `contact` is the very text that is sent."""

    contact: msgspec.Raw
    source: str | None = None
    store_external_id: str | None = None
    create_as_unapproved: bool = False
    on_existing: OnExisting = "keep"


_DECODER = msgspec.json.Decoder(Create)
_OBJECT = msgspec.json.Decoder(dict[str, object], float_hook=Decimal)


def draft(
    content: ContactCreate | Mapping[str, object] | bytes,
    *,
    source: str | None = None,
    store_external_id: str | None = None,
    create_as_unapproved: bool = False,
    on_existing: OnExisting = "keep",
    contact_key: str | None = None,
    allowed: frozenset[str] | None = None,
    key: str | None = None,
) -> Draft:
    """`contact_key` is the tenant's key attribute, `allowed` its custom names (None: any).

    Raises InvalidEntry with the path of what is wrong; a missing key attribute is wrong.
    """
    _check_option("source", source)
    _check_option("storeExternalId", store_external_id)
    if not isinstance(create_as_unapproved, bool):
        raise InvalidEntry("createAsUnapproved", "expected true or false")
    if on_existing not in ("keep", "update"):
        raise InvalidEntry("onExisting", "expected keep or update")
    _, text = checked_contact_create(content, allowed=allowed, key_attribute=contact_key)
    named = _named(_OBJECT.decode(text), contact_key)
    assert named is not None  # checked_contact_create has refused a contact without a key
    kept = Create(
        contact=msgspec.Raw(text),
        source=source,
        store_external_id=store_external_id,
        create_as_unapproved=create_as_unapproved,
        on_existing=on_existing,
    )
    return Draft(Kind.CONTACT_CREATE, to_json(kept), named.lane, key)


def corrected(body: bytes, *, contact_key: str | None, allowed: frozenset[str] | None) -> Draft:
    """A stored content that a person has changed: checked as at the first time. Raises InvalidEntry."""
    content = stored(Create, body)
    return draft(
        bytes(content.contact),
        source=content.source,
        store_external_id=content.store_external_id,
        create_as_unapproved=content.create_as_unapproved,
        on_existing=content.on_existing,
        contact_key=contact_key,
        allowed=allowed,
    )


def without(body: bytes, names: frozenset[str], *, upsert: bool) -> bytes:
    """The content without fields that newer entries have set, where it would update a contact that exists.

    What the contact is known by stays, and so does everything where an existing contact is left alone: not in an
    `upsert`, which cannot do so (`file_form`).
    """
    content = read(body)
    if content.on_existing == "keep" and not upsert:
        return body
    left = left_without(contact_of(content), names - frozenset(KEY_ATTRIBUTES))
    return to_json(msgspec.structs.replace(content, contact=msgspec.Raw(to_json(left))))


def read(body: bytes) -> Create:
    """The content of a stored entry."""
    return _DECODER.decode(body)


def contact_of(content: Create) -> dict[str, object]:
    """The new contact under Engage's names; numbers exact."""
    return _OBJECT.decode(content.contact)


def type_of(content: Create) -> str | None:
    """The type that the shop gave it; None where that is left to Engage."""
    given = contact_of(content).get("contactType")
    return given if isinstance(given, str) else None


def key_of(content: Create, contact_key: str | None) -> Address | None:
    """What the contact is looked up by: the tenant's key attribute and nothing else.

    A shared e-mail must never make one person pass for another (DESIGN 3). The look-up goes over all contact types, so
    that a key is never given away twice. None: no look-up is possible.
    """
    return None if contact_key is None else _named(contact_of(content), contact_key)


def request(message: Message) -> Call:
    """Create it. Options that were not given are not sent."""
    content = read(message.body)
    options = [("source", content.source), ("storeExternalId", content.store_external_id)]
    if content.create_as_unapproved:
        options.append(("createAsUnapproved", "true"))
    given = tuple((name, value) for name, value in options if value is not None)
    return Call(Operation.CREATE_CONTACT, options=given, body=bytes(content.contact))


def changes(content: Create) -> dict[str, object]:
    """What an update of an existing contact sends: the type is changed by a call of its own (ref 4.5)."""
    return {name: value for name, value in contact_of(content).items() if name != "contactType"}


def file_form(message: Message, *, contact_type: str, contact_key: str | None) -> FileForm | NoFileForm:
    """One contact of a contacts file.

    A file's section inserts or updates (ref 6.4, INF): "keep" cannot be said there. The key attribute names the person,
    so what an existing one gets is what the shop last knew of them.
    """
    content = read(message.body)
    contact = contact_of(content)
    named = key_of(content, contact_key)
    if named is None:
        return NoFileForm("the tenant's key attribute is not set (VOYADO_CONTACT_KEY), or the contact lacks it")
    if content.source is not None or content.store_external_id is not None or content.create_as_unapproved:
        return NoFileForm("creation options have no confirmed form in a file (ref 6.4)")
    reason = not_in_a_file(contact)
    if reason is not None:
        return NoFileForm(reason)
    return _form(contact, named, contact_type)


def bulk_form(message: Message, *, contact_type: str, contact_key: str) -> FileForm | NoFileForm:
    """One contact of a bulk request (ref 4.9).

    Only what is certain: a creation is confirmed by finding the contact, its fields are not read back. Preferences are
    permissions and have no documented place in a flat object, and there are no options of a creation.
    """
    content = read(message.body)
    contact = contact_of(content)
    named = key_of(content, contact_key)
    if named is None:
        return NoFileForm("the contact lacks the tenant's key attribute")
    if content.source is not None or content.store_external_id is not None or content.create_as_unapproved:
        return NoFileForm("creation options have no place in a bulk request (ref 4.9)")
    if content.on_existing == "update":
        return NoFileForm("what a bulk creation makes of a contact that exists is not documented (ref 4.9)")
    if contact.keys() & {"preferences", "consents"}:
        return NoFileForm("sets preferences or consents: no page shows them in a bulk creation (ref 4.9)")
    return _form(contact, named, contact_type)


def _form(contact: dict[str, object], named: Address, default_type: str) -> FileForm:
    """The contact by its key, the type beside it: no file and no bulk request has the type among the fields."""
    given_type = contact.pop("contactType", None)
    return FileForm(
        family=FileFamily.CONTACTS,
        contact_type=given_type if isinstance(given_type, str) else default_type,
        match_key_type=named.type,
        subject=named.lane,
        lines=1,
        record={str(named.type): named.value} | contact,
    )


def _named(contact: Mapping[str, object], contact_key: str | None) -> Address | None:
    """The address of a contact's fields: by the key attribute, or by the first key that is there."""
    for attribute in KEY_ATTRIBUTES if contact_key is None else (contact_key,):
        value = contact.get(attribute)
        if isinstance(value, str) and value.strip():
            return Address(MatchKeyType(attribute), value.strip())
    return None


def _check_option(path: str, value: object) -> None:
    """v2 sends these as headers (ref 1.8), so they must fit on one line."""
    if value is None:
        return
    if not isinstance(value, str) or not value.strip() or not value.isprintable() or NOT_IN_XML.search(value):
        raise InvalidEntry(path, "expected printable text that is not empty")
