"""A tenant's own names in the place of ours: the TOML file of `VOYADO_FALLBACK_NAMES`.

    [transactions]                                                  the paths are those that `check` lists
    "transaction/paymentMethods/paymentMethod" = "payment"
    "transaction/storeExternalId" = "storeId"

    [redemptions]
    "promotion/couponId" = "assignmentId"

    [contacts]
    section = "changed"                                             in the place of <new>
    types = {VIPGuest = "vip"}                                      <vip> for a contact of this type
    preferences = {acceptsEmail = "mayMail"}                        or false: they stand in no file

Only what no page of the vendor shows can be replaced; what was seen there is confirmed.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from voyado_async.delivery import FileFamily
from voyado_async.errors import ConfigurationError
from voyado_async.fallback.names import OURS, SEEN, Element, Names, Shape, Sureness
from voyado_async.models.contacts import ContactUpdate
from voyado_async.models.text import is_xml_name

_STANDARD = frozenset(field.encode_name for field in msgspec.structs.fields(ContactUpdate))

SETTING = "fallback_names (VOYADO_FALLBACK_NAMES)"


def read_names(path: str) -> Names:
    """The names that the file makes of ours. Raises ConfigurationError with the place of what is wrong."""
    try:
        with Path(path).open("rb") as file:
            written = tomllib.load(file)
    except OSError as error:
        raise ConfigurationError(f"{SETTING}: {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"{SETTING}: {path} is not TOML: {error}") from None
    return names_of(written)


def names_of(written: dict[str, Any]) -> Names:
    """Our names with those of the tables in their place. Pure. Raises ConfigurationError."""
    families = [family.value for family in FileFamily]
    if unknown := sorted(set(written) - set(families)):
        raise _wrong(", ".join(unknown), f"unknown; the tables are {', '.join(families)}")
    tables = {family: _texts(family, table) for family, table in written.items() if family != FileFamily.CONTACTS}
    contacts = written.get(FileFamily.CONTACTS, {})
    if not isinstance(contacts, dict):
        raise _wrong("contacts", "a table, please")
    if unknown := sorted(set(contacts) - {"section", "types", "preferences"}):
        raise _wrong(f"contacts.{unknown[0]}", "unknown; there are section, types and preferences")
    return Names(
        contacts=msgspec.structs.replace(OURS.contacts, section=_section(contacts)),
        redemptions=_renamed(FileFamily.REDEMPTIONS, tables.get(FileFamily.REDEMPTIONS, {})),
        transactions=_renamed(FileFamily.TRANSACTIONS, tables.get(FileFamily.TRANSACTIONS, {})),
        contact_elements=tuple(sorted(_texts("contacts.types", contacts.get("types", {})).items())),
        preferences=_preferences(contacts.get("preferences", {})),
    )


def _section(contacts: dict[str, Any]) -> str:
    written = _texts("contacts", {"section": contacts.get("section", OURS.contacts.section)})
    return written["section"]


def _preferences(written: object) -> tuple[tuple[str, str], ...] | None:
    if written is False:
        return None
    renamed = {} if written is True else _texts("contacts.preferences", written)
    for name, tag in renamed.items():
        if tag in _STANDARD:
            raise _wrong(f"contacts.preferences.{name}", f"{tag} is a field of the contact")
    _refuse_twins("contacts.preferences", renamed.values())
    return tuple(sorted(renamed.items()))


def _renamed(family: FileFamily, tags: dict[str, str]) -> Shape:
    shape = OURS.shape(family)
    assert shape.record is not None
    left = dict(tags)
    elements = _elements(family, shape.record, shape.elements, left)
    if left:
        raise _wrong(f"{family}.{next(iter(left))}", "there is no such element; `voyado-async check` lists them")
    return msgspec.structs.replace(shape, elements=elements)


def _elements(
    family: FileFamily, above: str, elements: tuple[Element, ...], left: dict[str, str]
) -> tuple[Element, ...]:
    """The elements with their new names; what was used is taken out of `left`. Paths are in our own names."""
    found = []
    for element in elements:
        here = f"{above}/{element.name}"
        tag = _taken(family, here, element.sure, left) or element.name
        row, inside = element.row, here
        if row:
            inside = f"{here}/{row}"
            row = _taken(family, inside, element.row_sure, left) or row
        children = _elements(family, inside, element.children, left)
        found.append(msgspec.structs.replace(element, tag=tag, row=row, children=children))
    _refuse_twins(f"{family}.{above}", (element.tag for element in found))
    return tuple(found)


def _taken(family: FileFamily, path: str, sure: Sureness, left: dict[str, str]) -> str | None:
    tag = left.pop(path, None)
    if tag is not None and sure is SEEN:
        raise _wrong(f"{family}.{path}", "the vendor's pages show this name; only an XSLT can change it")
    return tag


def _texts(where: str, table: object) -> dict[str, str]:
    if not isinstance(table, dict):
        raise _wrong(where, "a table, please")
    for name, value in table.items():
        if not isinstance(value, str) or not is_xml_name(value):
            raise _wrong(f"{where}.{name}", "the name of an XML element, please")
    return table


def _refuse_twins(where: str, tags: Iterable[str]) -> None:
    for tag, count in Counter(tags).items():
        if count > 1:
            raise _wrong(where, f"{tag} would be the name of two elements")


def _wrong(where: str, reason: str) -> ConfigurationError:
    return ConfigurationError(f"{SETTING}: {where}: {reason}")
