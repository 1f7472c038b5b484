"""Which attributes a contact has and what may stand in them (ref 4.3-4.6). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal

PREFERENCES = ("acceptsEmail", "acceptsSms", "acceptsPostal")

# Set by Engage itself: never to be sent (ref 4.6).
COMPUTED = frozenset(
    {
        "age",
        "rfm",
        "retail.keyvalue.recency",
        "retail.keyvalue.frequency",
        "retail.keyvalue.monetary",
        "nps.grade",
        "nps.datetime",
        "nps.averagegrade",
    }
)

EMAIL = re.compile(r"[^@\s,;<>]+@[^@\s,;<>.]+(\.[^@\s,;<>.]+)+")
PHONE = re.compile(r"\+[1-9][0-9]{5,14}")
PERSONAL_NUMBER = re.compile(r"([0-9]{2})?[0-9]{6}[-+]?[0-9]{4}|[0-9]{6}[-+A-FU-Y][0-9]{3}[0-9A-Y]")
GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def _email(value: str) -> bool:
    return EMAIL.fullmatch(value) is not None


def plain_phone(value: str) -> str:
    """A phone number without the blanks and dashes that people write."""
    return re.sub(r"[\s()-]", "", value)


def _phone(value: str) -> bool:
    return PHONE.fullmatch(plain_phone(value)) is not None


def _personal_number(value: str) -> bool:
    return PERSONAL_NUMBER.fullmatch(value) is not None


def is_day(value: str) -> bool:
    """A calendar day, YYYY-MM-DD."""
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        return False
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


def _gender(value: str) -> bool:
    return value in ("Male", "Female", "Other")


def _text(value: str) -> bool:
    return True


STANDARD: dict[str, Callable[[str], bool]] = {
    "firstName": _text,
    "lastName": _text,
    "memberNumber": _text,
    "socialSecurityNumber": _personal_number,
    "email": _email,
    "mobilePhone": _phone,
    "createdInStore": _text,
    "store": _text,
    "street": _text,
    "zipCode": _text,
    "city": _text,
    "careOf": _text,
    "country": _text,
    "countryCode": lambda value: re.fullmatch(r"[A-Za-z]{2,3}", value) is not None,
    "birthDay": is_day,
    "gender": _gender,
    "externalId": _text,
}


def is_valid(name: str, value: object) -> bool:
    """May `value` stand in the attribute `name`? None and "" clear a field (ref 4.4) and are always allowed; a tenant's
    own attribute takes any single JSON value.
    """
    if value is None or value == "":
        return True
    check = STANDARD.get(name)
    if check is None:
        return isinstance(value, (str, int, Decimal, bool))
    return isinstance(value, str) and check(value)


def same_key(name: str, one: object, other: object) -> bool:
    """Do two values of a key attribute name the same contact?"""
    if not isinstance(one, str) or not isinstance(other, str):
        return False
    if name == "email":
        return one.casefold() == other.casefold()
    if name == "mobilePhone":
        return plain_phone(one) == plain_phone(other)
    return one == other
