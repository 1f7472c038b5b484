"""What other stages ask of any kind, without knowing which one it is."""

from __future__ import annotations

from voyado_async.delivery import Draft, FileForm, Kind, Message, NoFileForm
from voyado_async.kinds import contact_create, contact_type, contact_update, receipt, redeem, voucher_redeem
from voyado_async.models.receipts import parse_receipt


def file_form(message: Message, *, default_type: str, contact_key: str | None) -> FileForm | NoFileForm:
    """How the entry stands in a file. `default_type` and `contact_key` are the tenant's settings."""
    match message.kind:
        case Kind.REDEEM:
            return redeem.file_form(message, contact_type=default_type)
        case Kind.RECEIPT:
            return receipt.file_form(message, contact_type=default_type)
        case Kind.CONTACT_CREATE:
            return contact_create.file_form(message, contact_type=default_type, contact_key=contact_key)
        case Kind.CONTACT_UPDATE:
            return contact_update.file_form(message, contact_type=default_type, contact_key=contact_key)
        case Kind.CONTACT_TYPE:
            return contact_type.file_form()
        case Kind.VOUCHER_REDEEM:
            return voucher_redeem.file_form()


def bulk_form(message: Message, *, default_type: str, contact_key: str) -> FileForm | NoFileForm:
    """How the entry stands in a bulk request (ref 4.9), with the contact's type where a file would have it."""
    match message.kind:
        case Kind.CONTACT_CREATE:
            return contact_create.bulk_form(message, contact_type=default_type, contact_key=contact_key)
        case Kind.CONTACT_UPDATE:
            return contact_update.bulk_form(message, contact_key=contact_key)
        case Kind.CONTACT_TYPE | Kind.REDEEM | Kind.RECEIPT | Kind.VOUCHER_REDEEM:
            return NoFileForm("only creations and updates of contacts go by bulk request")


def fields(kind: Kind, body: bytes) -> frozenset[str]:
    """The contact fields that an entry sets, each preference by itself (``preferences.acceptsEmail``)."""
    match kind:
        case Kind.CONTACT_UPDATE:
            return contact_update.fields_of(contact_update.changes_of(contact_update.read(body)))
        case Kind.CONTACT_CREATE:
            return contact_update.fields_of(contact_create.contact_of(contact_create.read(body)))
        case Kind.CONTACT_TYPE:
            return frozenset((contact_type.FIELD,))
        case Kind.REDEEM | Kind.RECEIPT | Kind.VOUCHER_REDEEM:
            return frozenset()


def without(kind: Kind, body: bytes, names: frozenset[str], *, upsert: bool = False) -> bytes | None:
    """The body of an entry that leaves those fields alone, because a newer entry has set them.

    None: nothing is left of it, it is superseded. Only contact updates and type changes are ever cut, and a creation
    that would update a contact which exists: on its `upsert` road, a file or bulk request, every one would.
    """
    match kind:
        case Kind.CONTACT_UPDATE:
            return contact_update.without(body, names)
        case Kind.CONTACT_TYPE:
            return None if contact_type.FIELD in names else body
        case Kind.CONTACT_CREATE:
            return contact_create.without(body, names, upsert=upsert)
        case Kind.REDEEM | Kind.RECEIPT | Kind.VOUCHER_REDEEM:
            return body


def natural_key(kind: Kind, body: bytes) -> str | None:
    """What names the entry by nature, if anything does."""
    match kind:
        case Kind.REDEEM:
            return redeem.natural_key(redeem.read(body))
        case Kind.VOUCHER_REDEEM:
            return voucher_redeem.natural_key(voucher_redeem.read(body))
        case Kind.RECEIPT:
            return parse_receipt(body).unique_receipt_id
        case Kind.CONTACT_CREATE | Kind.CONTACT_UPDATE | Kind.CONTACT_TYPE:
            return None


def can_look_up(message: Message, *, contact_key: str | None) -> bool:
    """Whether Engage can be asked what became of an attempt; `contact_key` is the tenant's key attribute."""
    match message.kind:
        case Kind.REDEEM:
            return redeem.contact_of(message) is not None
        case Kind.VOUCHER_REDEEM:
            return voucher_redeem.contact_of(message) is not None
        case Kind.CONTACT_CREATE:
            return contact_create.key_of(contact_create.read(message.body), contact_key) is not None
        case Kind.CONTACT_UPDATE | Kind.CONTACT_TYPE | Kind.RECEIPT:
            return False


def corrected(kind: Kind, body: bytes, *, contact_key: str | None, allowed: frozenset[str] | None) -> Draft:
    """A content in the form in which an entry of that kind is stored, checked as at the first time.

    `contact_key` and `allowed` are the tenant's settings. Raises InvalidEntry with the path of what is wrong.
    """
    match kind:
        case Kind.REDEEM:
            return redeem.corrected(body)
        case Kind.VOUCHER_REDEEM:
            return voucher_redeem.corrected(body)
        case Kind.RECEIPT:
            return receipt.draft(body)
        case Kind.CONTACT_CREATE:
            return contact_create.corrected(body, contact_key=contact_key, allowed=allowed)
        case Kind.CONTACT_UPDATE:
            return contact_update.corrected(body, allowed=allowed)
        case Kind.CONTACT_TYPE:
            return contact_type.corrected(body)
