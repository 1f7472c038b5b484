"""What is sent to create or change a contact (ref 4.3, 4.4), and a contact as Engage answers it (ref 4.2).

What is sent holds only what was set: a field that is UNSET is absent from the wire. ``None`` clears a field. So does
an empty text, which Engage takes as a value that overwrites (ref 4.4); it is sent as it stands, and `cleared` names
both. Custom attributes are the tenant's own: they stand beside the standard fields on the wire, and in `attributes`
in Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from voyado_async.errors import EngageError, InvalidEntry
from voyado_async.models.contact_fields import KEY_ATTRIBUTES, PREFERENCES, check_custom_name
from voyado_async.models.decode import Strict, exact_at, json_object, plain, refuse_repeated_names
from voyado_async.models.payload import Payload
from voyado_async.models.reading import Reader
from voyado_async.models.text import is_xml_name, legible

Scalar: TypeAlias = str | int | bool | Decimal | None

Email = Annotated[str, Meta(pattern=r"\A(?:[^@\s]+@[^@\s]+)?\Z")]
Phone = Annotated[str, Meta(pattern=r"\A(?:\+[1-9](?:[ ()-]{0,2}[0-9]){5,14})?\Z")]
Text: TypeAlias = str | UnsetType | None


class Gender(StrEnum):
    """The genders that Engage knows (ref 4.6)."""

    MALE = "Male"
    FEMALE = "Female"
    OTHER = "Other"


class ContactPart(Payload, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A struct inside a contact that is sent."""


class Preferences(ContactPart, frozen=True, kw_only=True):
    """By which roads the person wants to hear from the shop. Yes or no: it cannot be cleared."""

    accepts_email: bool | UnsetType = UNSET
    accepts_sms: bool | UnsetType = UNSET
    accepts_postal: bool | UnsetType = UNSET


class Consent(ContactPart, frozen=True, kw_only=True):
    """One of the tenant's own consents, in the form in which Engage answers it (ref 4.2); sending it so is inferred."""

    id: str
    value: bool
    date: str | UnsetType = UNSET
    source: str | UnsetType = UNSET
    comment: str | UnsetType = UNSET


class ContactFields(ContactPart, frozen=True, kw_only=True):
    """The standard fields that can be sent (ref 4.6), the consents and the tenant's own attributes."""

    first_name: Text = UNSET
    last_name: Text = UNSET
    member_number: Text = UNSET
    social_security_number: Text = UNSET
    email: Email | UnsetType | None = UNSET
    mobile_phone: Phone | UnsetType | None = UNSET
    created_in_store: Text = UNSET
    store: Text = UNSET
    street: Text = UNSET
    zip_code: Text = UNSET
    city: Text = UNSET
    care_of: Text = UNSET
    country: Text = UNSET
    country_code: Text = UNSET
    birth_day: date | UnsetType | None = UNSET
    gender: Gender | UnsetType | None = UNSET
    external_id: Text = UNSET
    preferences: Preferences | UnsetType = UNSET
    consents: tuple[Consent, ...] | UnsetType = UNSET
    attributes: dict[str, Any] = msgspec.field(default_factory=dict)

    def wire(self) -> dict[str, object]:
        """What is set, flat, under Engage's names: standard fields in their order, then custom attributes by name."""
        values = {name: getattr(self, field) for name, field in _standard_fields(type(self)).items()}
        standard = {name: value for name, value in values.items() if value is not UNSET}
        return standard | dict(sorted(self.attributes.items(), key=_by_name)) if self.attributes else standard

    @property
    def cleared(self) -> tuple[str, ...]:
        """The wire names of the fields that this clears: those set to None or to an empty text."""
        return tuple(name for name, value in self.wire().items() if value is None or value == "")


class ContactCreate(ContactFields, frozen=True, kw_only=True):
    """A new contact. Without `contact_type` Engage takes Member (ref 4.3)."""

    contact_type: str | UnsetType = UNSET


class ContactUpdate(ContactFields, frozen=True, kw_only=True):
    """A change of a contact: only what is set is sent. The contact type is changed by a call of its own (ref 4.5)."""


def _by_name(attribute: tuple[Any, Any]) -> str:
    return str(attribute[0])


@cache
def _standard_fields(kind: type[ContactFields]) -> dict[str, str]:
    """The field of each standard wire name. Asked for every contact; msgspec resolves every annotation anew."""
    return {field.encode_name: field.name for field in msgspec.structs.fields(kind) if field.name != "attributes"}


@cache
def _standard_names(kind: type[ContactFields]) -> frozenset[str]:
    return frozenset(_standard_fields(kind))


_FORMS = {
    "email": "expected one @ with something on both sides",
    "mobilePhone": "expected the international form: + and the country's calling code, then the number",
    "gender": f"expected one of {', '.join(Gender)}",
}
_CREATE = Strict(ContactCreate, _FORMS)
_UPDATE = Strict(ContactUpdate, _FORMS)

Content: TypeAlias = Mapping[str, object] | bytes
Write = TypeVar("Write", ContactCreate, ContactUpdate)


def parse_contact_create(
    content: ContactCreate | Content, *, allowed: frozenset[str] | None = None, key_attribute: str | None = None
) -> ContactCreate:
    """The new contact that `content` is. Raises InvalidEntry with the path of the first wrong field.

    `allowed`: the tenant's custom names (None: any). `key_attribute`: the field that the tenant knows contacts by; it
    must be there. Without it one of `KEY_ATTRIBUTES` must be.
    """
    return checked_contact_create(content, allowed=allowed, key_attribute=key_attribute)[0]


def checked_contact_create(
    content: ContactCreate | Content, *, allowed: frozenset[str] | None = None, key_attribute: str | None = None
) -> tuple[ContactCreate, bytes]:
    """As `parse_contact_create`, with the contact's JSON for the wire."""
    contact, text = _parse(_CREATE, ContactCreate, content, allowed)
    if contact.contact_type is not UNSET:
        check_contact_type(contact.contact_type)
    values = contact.wire()
    if key_attribute is not None and not values.get(key_attribute):
        raise InvalidEntry(key_attribute, "missing: it is the key by which contacts are known")
    if key_attribute is None and not any(values.get(name) for name in KEY_ATTRIBUTES):
        raise InvalidEntry("", f"needs one of the keys by which contacts are known: {', '.join(KEY_ATTRIBUTES)}")
    return contact, text


def parse_contact_update(content: ContactUpdate | Content, *, allowed: frozenset[str] | None = None) -> ContactUpdate:
    """The change that `content` is. Raises InvalidEntry with the path of the first wrong field; for an empty one too.

    `allowed`: the tenant's custom names (None: any).
    """
    return checked_contact_update(content, allowed=allowed)[0]


def checked_contact_update(
    content: ContactUpdate | Content, *, allowed: frozenset[str] | None = None
) -> tuple[ContactUpdate, bytes]:
    """As `parse_contact_update`, with the change's JSON for the wire."""
    contact, text = _parse(_UPDATE, ContactUpdate, content, allowed)
    if text == b"{}":
        raise InvalidEntry("", "changes nothing: no field is set")
    return contact, text


def check_contact_type(contact_type: object, path: str = "contactType") -> None:
    """Refuses a type that cannot be one: in a file it is the name of the contact's element (ref 6.4)."""
    if not isinstance(contact_type, str) or not is_xml_name(contact_type):
        raise InvalidEntry(path, "cannot be a contact type: it has to be a name that XML can carry")


def _parse(
    strict: Strict[Write], kind: type[Write], content: Write | Content, allowed: frozenset[str] | None
) -> tuple[Write, bytes]:
    given = json_object(content) if isinstance(content, bytes) else plain(content)
    standard = _standard_names(kind)
    if isinstance(content, ContactFields) and (hidden := sorted(standard.intersection(content.attributes))):
        raise InvalidEntry(hidden[0], "is a standard field, not a custom attribute")
    if "contactType" in given and "contactType" not in standard:
        raise InvalidEntry("contactType", "cannot be changed by an update; use contacts.change_type")
    attributes: dict[str, Scalar] = {}
    for name in [name for name in given if name not in standard]:
        if not isinstance(name, str):
            raise InvalidEntry("", "expected text as the name of every field")
        check_custom_name(name, standard, allowed)
        attributes[name] = _scalar(legible(name), given.pop(name))
    contact, text = strict.convert(given | ({"attributes": attributes} if attributes else {}))
    if isinstance(content, bytes):
        refuse_repeated_names(content, text)
    return contact, text


def _scalar(path: str, value: object) -> Scalar:
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float | Decimal):
        return exact_at(path, value)
    raise InvalidEntry(path, "expected text, a number, true, false or null")


class Contact(Payload, frozen=True, kw_only=True, rename="camel"):
    """A contact as Engage answers it. None: not answered, or empty.

    What is not a standard field, or is one of another type than expected, stands in `attributes` under Engage's name.
    """

    id: str
    contact_type: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    member_number: str | None = None
    social_security_number: str | None = None
    email: str | None = None
    mobile_phone: str | None = None
    created_in_store: str | None = None
    store: str | None = None
    street: str | None = None
    zip_code: str | None = None
    city: str | None = None
    care_of: str | None = None
    country: str | None = None
    country_code: str | None = None
    birth_day: str | None = None
    gender: str | None = None
    external_id: str | None = None
    preferences: dict[str, Any] = msgspec.field(default_factory=dict)
    consents: tuple[dict[str, Any], ...] = ()
    meta: dict[str, Any] = msgspec.field(default_factory=dict)
    attributes: dict[str, Any] = msgspec.field(default_factory=dict)

    def value(self, name: str) -> Any:
        """What Engage answered for the field of this wire name (``zipCode``, ``shoeSize``); None if it did not."""
        standard = _READ_NAMES.get(name)
        value = None if standard is None else getattr(self, standard)
        return self.attributes.get(name) if value is None else value


_READ_NAMES = {field.encode_name: field.name for field in msgspec.structs.fields(Contact) if field.name != "attributes"}
_ANSWER: Reader[dict[str, Any]] = Reader("contact", dict[str, Any])
_NESTED = ("attributes", "preferences", "consents", "meta")


def read_contact(content: bytes | Mapping[str, object]) -> Contact:
    """The contact of an answer, nested (``attributes`` inside) or flat (ref 4.2). Raises EngageError if it is none."""
    answer = _ANSWER.read(content) if isinstance(content, bytes) else dict(content)
    flat = {name: value for name, value in answer.items() if name not in _NESTED} | _mapping(answer.get("attributes"))
    identity = answer.get("id") or flat.pop("contactId", None)
    if not isinstance(identity, str):
        raise EngageError("contact: the answer holds no id")
    preferences = {name: flat.pop(name) for name in PREFERENCES if name in flat} | _mapping(answer.get("preferences"))
    consents = answer.get("consents")
    fields: dict[str, Any] = {
        "id": identity,
        "preferences": preferences,
        "meta": _mapping(answer.get("meta")),
        "consents": tuple(map(_mapping, consents)) if isinstance(consents, list) else (),
    }
    flat.pop("id", None)
    for name in [name for name, value in flat.items() if name in _READ_NAMES and isinstance(value, str)]:
        fields[_READ_NAMES[name]] = flat.pop(name)
    return Contact(**fields, attributes={name: value for name, value in flat.items() if value is not None})


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
