"""What of a contact update did not arrive, by what Engage answers for the contact. Pure.

Engage stores some values in another spelling than they were sent in. Those spellings count as equal here; a difference
that slips through only leads to a PATCH with the value that the contact has already.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

from voyado_async.kinds.contact_update import PREFERENCES, fields_of, left_without
from voyado_async.models.contacts import Contact
from voyado_async.models.reading import read_number


def missing(changes: Mapping[str, object], contact: Contact) -> dict[str, object]:
    """The part of `changes` that the contact does not show. Consents are always in it: they are not compared."""
    left = {name: value for name, value in changes.items() if name != PREFERENCES and not _shows(contact, name, value)}
    preferences = changes.get(PREFERENCES)
    if isinstance(preferences, dict):
        kept = {
            name: value for name, value in preferences.items() if not _same("", value, contact.preferences.get(name))
        }
        if kept:
            left[PREFERENCES] = kept
    return left


def absent(values: Mapping[str, object], contact: Contact) -> dict[str, object]:
    """The part of `values` for which the contact has nothing. Preferences and consents are never among it: a "no" of
    the person's own looks the same as one that nobody gave."""
    return {
        name: value
        for name, value in values.items()
        if name not in (PREFERENCES, "consents", "contactType") and value not in (None, "")
        if contact.value(name) in (None, "")
    }


def shown(values: Mapping[str, object], contact: Contact) -> frozenset[str]:
    """The names of those of `values` that the contact shows."""
    return fields_of(values) - fields_of(missing(values, contact))


def overwritten(older: Mapping[str, object], newer: Mapping[str, object], contact: Contact) -> dict[str, object]:
    """The part of `newer` in the place of which the contact shows what `older` set."""
    return left_without(newer, fields_of(newer) - (shown(older, contact) - shown(newer, contact)))


def _shows(contact: Contact, name: str, sent: object) -> bool:
    return name != "consents" and _same(name, sent, contact.value(name))


def _same(name: str, sent: object, seen: object) -> bool:
    if sent is None or sent == "":
        return seen is None or seen == ""
    if isinstance(sent, bool) or isinstance(seen, bool):
        return str(sent).lower() == str(seen).lower()
    if isinstance(sent, int | Decimal):
        return read_number(seen) == sent
    if isinstance(seen, int | Decimal):
        return str(sent).strip() == str(seen)
    return isinstance(sent, str) and isinstance(seen, str) and _spelling(name, sent) == _spelling(name, seen)


def _spelling(name: str, text: str) -> str:
    match name:
        case "email":
            return text.strip().lower()
        case "mobilePhone":
            return re.sub(r"[^0-9+]", "", text)
        case "socialSecurityNumber":
            return re.sub(r"[ -]", "", text).upper()
        case "birthDay":
            return text.strip()[:10]  # answered with a time behind the day
        case _:
            return text.strip()
