"""How a contact is named: by its id, or by one of the attributes that Engage can find it by (ref 4.1, 5.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from voyado_async.errors import InvalidEntry
from voyado_async.kinds.call import Call, Operation
from voyado_async.models.receipts import MatchKeyType
from voyado_async.models.text import NOT_IN_XML, plain_text

FIND_PARAMETER = {
    MatchKeyType.EMAIL: "email",
    MatchKeyType.MOBILE_PHONE: "mobilePhone",
    MatchKeyType.SOCIAL_SECURITY_NUMBER: "socialSecurityNumber",
    MatchKeyType.MEMBER_NUMBER: "customKey",
    MatchKeyType.EXTERNAL_ID: "customKey",
}
"""The look-up's query parameter of each attribute (ref 4.1). `any` is never used: it can find somebody else."""

_EXACT = (MatchKeyType.EMAIL,)
"""Attributes of which every spelling makes the same lane. What Engage makes of a number, nobody knows: it may put a
country before it."""

_LONGEST = 255
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._:-]*")


class Address(msgspec.Struct, frozen=True):
    """Which contact. The value stands as the shop gave it, without blanks around it."""

    type: MatchKeyType
    value: str

    def __repr__(self) -> str:
        return f"<Address by {self.type}>"

    @property
    def lane(self) -> str:
        """The lane of what belongs to this contact. Spellings that Engage takes for the same make the same lane."""
        match self.type:
            case MatchKeyType.CONTACT_ID:
                return f"contact:{self.value.lower()}"
            case MatchKeyType.EMAIL:
                return f"email:{self.value.lower()}"
            case MatchKeyType.MOBILE_PHONE:
                return f"mobilePhone:{re.sub(r'[^0-9+]', '', self.value)}"
            case MatchKeyType.SOCIAL_SECURITY_NUMBER:
                return f"socialSecurityNumber:{re.sub(r'[ -]', '', self.value).upper()}"
            case _:
                return f"{self.type}:{self.value}"


def address(
    *,
    contact_id: str | None = None,
    email: str | None = None,
    external_id: str | None = None,
    mobile_phone: str | None = None,
    social_security_number: str | None = None,
    member_number: str | None = None,
) -> Address:
    """The one way in which the contact is named. Raises InvalidEntry where it is none or several, or not usable."""
    given = {
        MatchKeyType.CONTACT_ID: contact_id,
        MatchKeyType.EMAIL: email,
        MatchKeyType.EXTERNAL_ID: external_id,
        MatchKeyType.MOBILE_PHONE: mobile_phone,
        MatchKeyType.SOCIAL_SECURITY_NUMBER: social_security_number,
        MatchKeyType.MEMBER_NUMBER: member_number,
    }
    named = [(kind, value) for kind, value in given.items() if value is not None]
    if len(named) != 1:
        raise InvalidEntry("", f"a contact is named by exactly one of {', '.join(given)}; {len(named)} were given")
    ((kind, value),) = named
    return _checked(kind, value)


def of_id(contact_id: object) -> Address:
    """The contact of this id. Raises InvalidEntry, also for the None of a look-up that found nobody."""
    return _checked(MatchKeyType.CONTACT_ID, contact_id)


def checked(named: Address) -> Address:
    """The address as `address` would make it. Raises InvalidEntry."""
    return _checked(named.type, named.value)


def as_typed(contact: str) -> Address:
    """The contact that a person names: by its id, by an e-mail address, or by an attribute with its name before it, as
    in ``memberNumber:1234``. Raises InvalidEntry.
    """
    kind, _, value = contact.partition(":")
    if value and kind in tuple(MatchKeyType):
        return _checked(MatchKeyType(kind), value)
    # No id has an @ in it.
    return _checked(MatchKeyType.EMAIL if "@" in contact else MatchKeyType.CONTACT_ID, contact)


def _checked(kind: MatchKeyType, value: object) -> Address:
    if kind is MatchKeyType.CONTACT_ID:
        return Address(kind, checked_id(kind, value))
    if not isinstance(value, str) or not value.strip():
        raise InvalidEntry(kind, "expected text that is not empty")
    if NOT_IN_XML.search(value) or len(value) > _LONGEST:
        raise InvalidEntry(kind, f"longer than {_LONGEST}, or with a character that XML cannot carry")
    return Address(kind, value.strip())


def checked_id(path: str, value: object) -> str:
    """An id of Engage's: a GUID in either case, as received (ref 6.8). Only what would change a path is refused here.

    Whether it names something is Engage's to say. Raises InvalidEntry.
    """
    if not isinstance(value, str) or len(value) > _LONGEST or not _ID.fullmatch(value):
        raise InvalidEntry(path, "expected an id: letters, digits, and - . _ : after the first")
    return plain_text(value)


def find(named: Address, contact_type: str | None = None) -> Call:
    """The look-up of the contact's id. Not for an address that is the id."""
    params = ((FIND_PARAMETER[named.type], named.value),)
    return Call(Operation.FIND_CONTACT, params=params + ((("contactType", contact_type),) if contact_type else ()))


def names_in(fields: Mapping[str, object]) -> frozenset[str]:
    """What a contact with these values can be found by from now on: the lane of its e-mail address, and for another
    attribute its name alone, for whichever address of that kind it makes. One that is cleared counts, too. Empty where
    they name no contact."""
    named = {kind: fields[kind] for kind in FIND_PARAMETER if kind in fields}
    asked = {FIND_PARAMETER[kind] for kind in named}
    return frozenset(
        Address(kind, str(named[kind] or "").strip()).lane if kind in _EXACT else str(kind)
        for kind, parameter in FIND_PARAMETER.items()
        if parameter in asked
    )
