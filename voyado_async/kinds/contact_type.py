"""A change of a contact's type (ref 4.5). Harmless to repeat. No file form: no page shows one."""

from __future__ import annotations

import msgspec

from voyado_async.delivery import Draft, Kind, Message, NoFileForm
from voyado_async.kinds.address import of_id
from voyado_async.kinds.call import Call, Operation
from voyado_async.models.contacts import check_contact_type
from voyado_async.models.decode import stored
from voyado_async.models.payload import Payload, to_json

FIELD = "contactType"


class TypeChange(Payload, frozen=True, rename="camel"):
    """The content of an entry."""

    contact_id: str
    contact_type: str


_DECODER = msgspec.json.Decoder(TypeChange)


def draft(contact_id: str, contact_type: str, *, key: str | None = None) -> Draft:
    """Raises InvalidEntry with the path of what is wrong."""
    named = of_id(contact_id)
    check_contact_type(contact_type)
    content = TypeChange(contact_id=named.value, contact_type=contact_type)
    return Draft(Kind.CONTACT_TYPE, to_json(content), named.lane, key)


def corrected(body: bytes) -> Draft:
    """A stored content that a person has changed. Raises InvalidEntry."""
    content = stored(TypeChange, body)
    return draft(content.contact_id, content.contact_type)


def read(body: bytes) -> TypeChange:
    """The content of a stored entry."""
    return _DECODER.decode(body)


def request(message: Message) -> Call:
    """Change it."""
    content = read(message.body)
    ids = (("contactId", content.contact_id), ("contactTypeId", content.contact_type))
    return Call(Operation.CHANGE_CONTACT_TYPE, ids=ids)


def file_form() -> NoFileForm:
    """It waits for the API."""
    return NoFileForm("a change of the contact type has no form in a file (ref 6.4)")
