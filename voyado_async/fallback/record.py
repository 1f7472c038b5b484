"""One record as XML text: the hot loop of the second road.

Written as text and not built as elements: an element costs more than all the rest of it, and the file would be written
no faster than by a whole tree. What that gives up is looked after elsewhere: every value is escaped here, in one place
each for text and attributes; what XML cannot carry is looked for once per record; and each finished file is parsed
again and held to its XSD before anybody gets it. The result is byte for byte what lxml makes of the same elements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from voyado_async.delivery import FileFamily, FileForm
from voyado_async.errors import FileRefused, InvalidEntry
from voyado_async.fallback.batch import contact_fields
from voyado_async.fallback.names import CONTACT_TYPE, OURS, Element, Form, Names
from voyado_async.models.decode import plain
from voyado_async.models.text import NOT_IN_XML, field_path, is_xml_name, path_of_what_xml_cannot_carry

CONTACT_ID = "contactId"

_VALUE, _GROUP, _ROWS = Form.VALUE, Form.GROUP, Form.ROWS

_NO_FORM = "has no confirmed form in a file"
_NOT_IN_XML = "holds a character that XML cannot carry"


class RecordRefused(FileRefused):
    """One record cannot stand in a file. `path` is the field, in the wire's names; no value is told."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}" if path else reason)

    def inside(self, above: str) -> RecordRefused:
        """The same refusal as seen from further out."""
        joint = "" if not self.path or self.path.startswith("[") else "."
        return RecordRefused(f"{above}{joint}{self.path}", self.reason)


def text_of(form: FileForm, names: Names = OURS) -> str:
    """The record as one line of XML, without a namespace of its own.

    Raises RecordRefused with the path of what XML cannot carry or has no place in the file.
    """
    try:
        values = plain(form.record)
    except InvalidEntry as error:
        raise RecordRefused(error.path, error.reason) from None
    name = names.record_element(form.family, str(form.contact_type))
    if not is_xml_name(name):
        raise RecordRefused(CONTACT_TYPE, "cannot be the name of an element")
    out = [f"<{name}>"]
    if form.family is FileFamily.CONTACTS:
        values = contact_fields(values)
        _contact(out, values, form.match_key_type, dict(names.preferences or ()))
    else:
        contact = values.get("contact")
        if isinstance(contact, dict) and form.contact_type:
            contact.setdefault(CONTACT_TYPE, form.contact_type)
        shape = names.shape(form.family)
        _fields(out, shape.elements, values, shape.left_out)
    out.append(f"</{name}>\n")
    text = "".join(out)
    if NOT_IN_XML.search(text):
        raise RecordRefused(path_of_what_xml_cannot_carry(values) or "", _NOT_IN_XML)
    return text


def _fields(
    out: list[str], elements: tuple[Element, ...], values: Mapping[str, Any], left_out: tuple[str, ...] = ()
) -> None:
    """The elements in their order. Paths are put together only when something is refused."""
    placed = 0
    for element in elements:
        name = element.name
        value = values.get(name)
        if value is None:
            placed += name in values
            if element.always:
                out.append(f"<{element.tag}/>")
            continue
        placed += 1
        tag = element.tag
        form = element.form
        try:
            if form is _VALUE:
                text = value if type(value) is str else _plain_text(value)
                if "<" in text or "&" in text or ">" in text or "\r" in text:
                    text = _escaped(text)
                out.append(f"<{tag}>{text}</{tag}>")
            elif form is _GROUP:
                _inside(out, tag, element.children, _object(value))
            elif not value:
                if element.always:
                    out.append(f"<{tag}/>")
            elif form is _ROWS:
                out.append(f"<{tag}>")
                _row_after_row(out, element, value, _below(name, left_out) if left_out else ())
                out.append(f"</{tag}>")
            else:
                out.append(f"<{tag}>")
                _extra(out, element.row, value)
                out.append(f"</{tag}>")
        except RecordRefused as refusal:
            raise refusal.inside(name) from None
    if placed != len(values):
        known = {element.name for element in elements}
        for name in values:
            if name not in known and name not in left_out:
                raise RecordRefused(field_path("", name), "has no place in the file")


def _inside(
    out: list[str], tag: str, elements: tuple[Element, ...], values: Mapping[str, Any], left_out: tuple[str, ...] = ()
) -> None:
    out.append(f"<{tag}>")
    begun = len(out)
    _fields(out, elements, values, left_out)
    if len(out) == begun:
        out[-1] = f"<{tag}/>"
    else:
        out.append(f"</{tag}>")


def _below(name: str, left_out: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(path.removeprefix(f"{name}.") for path in left_out if path.startswith(f"{name}."))


def _row_after_row(out: list[str], element: Element, rows: object, left_out: tuple[str, ...]) -> None:
    for index, row in enumerate(_rows(rows)):
        try:
            _inside(out, element.row, element.children, _object(row), left_out)
        except RecordRefused as refusal:
            raise refusal.inside(f"[{index}]") from None


def _extra(out: list[str], row: str, pairs: object) -> None:
    for index, pair in enumerate(_rows(pairs)):
        part = "name"
        try:
            fields = _object(pair)
            name = _attribute(_text(fields.get("name")))
            part = "value"
            out.append(f'<{row} name="{name}">{_escaped(_text(fields.get("value")))}</{row}>')
        except RecordRefused as refusal:
            raise refusal.inside(f"[{index}].{part}") from None


def _contact(out: list[str], values: dict[str, Any], key: str, tags: Mapping[str, str]) -> None:
    """The key first, then what is set. Clearing a field has no confirmed form (ref 6.4)."""
    if key != CONTACT_ID and CONTACT_ID in values:
        raise RecordRefused(CONTACT_ID, "would become the key of the whole file, whose key is another attribute")
    if not values.get(key):
        raise RecordRefused(key, "missing: it is the key of the contact")
    for name in (key, *(name for name in values if name != key)):
        value = values[name]
        path = field_path("", name)
        if value is None or value == "":
            raise RecordRefused(path, f"is cleared, which {_NO_FORM}")
        if isinstance(value, list | dict):
            raise RecordRefused(path, _NO_FORM)
        if not is_xml_name(name):
            raise RecordRefused(path, "cannot be the name of an element")
        tag = tags.get(name, name)
        try:
            out.append(f"<{tag}>{_escaped(_text(value))}</{tag}>")
        except RecordRefused as refusal:
            raise refusal.inside(path) from None


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RecordRefused("", "expected an object")
    return value


def _rows(value: object) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise RecordRefused("", "expected a list")
    return value


def _escaped(text: str) -> str:
    """Text between tags. A bare carriage return would come back as a line feed."""
    if "&" in text:
        text = text.replace("&", "&amp;")
    return text.replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")


def _attribute(text: str) -> str:
    """Text between double quotes. Bare white space would come back as blanks."""
    text = _escaped(text).replace('"', "&quot;")
    return text.replace("\t", "&#9;").replace("\n", "&#10;")


def _text(value: object) -> str:
    return value if isinstance(value, str) else _plain_text(value)


def _plain_text(value: object) -> str:
    """A value as the file says it (ref 6.8): true/false, plain decimals, times with their offset."""
    match value:
        case Decimal() if value.is_finite():
            return format(value, "f")
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case datetime() if value.utcoffset() is not None:
            return value.isoformat()
        case date() if not isinstance(value, datetime):
            return value.isoformat()
        case str():
            return value
    raise RecordRefused("", f"has no form in XML: {type(value).__name__}")
