"""A file's records to XML and back through a check: streamed both ways, flat in memory (PERFORMANCE 5).

Records are built as small subtrees without a namespace and written inside a root that declares it as the default one:
that is the same document as with namespaced subtrees, without a declaration on every record.
No error text of this module holds a value: only paths, and the names that libxml2 has for its refusals.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from importlib import resources
from typing import Any, BinaryIO

from lxml import etree

from voyado_async.delivery import FileFamily, FileForm
from voyado_async.errors import FileRefused, InvalidEntry
from voyado_async.fallback.batch import Head, contact_fields
from voyado_async.fallback.names import CONTACT_TYPE, OURS, Element, Form, Names, Shape
from voyado_async.models.contact_fields import PREFERENCES
from voyado_async.models.decode import plain
from voyado_async.models.text import field_path, is_xml_name

CONTACT_ID = "contactId"

_XS = "{http://www.w3.org/2001/XMLSchema}"

_SUB = etree.SubElement
_VALUE = Form.VALUE

_DECLARATION = "<?xml version='1.0' encoding='utf-8'?>\n"

SAFE: dict[str, Any] = {"resolve_entities": "internal", "no_network": True, "load_dtd": False, "huge_tree": False}
"""Not False: with that and a schema, lxml 6.1.3 reads a file that is cut short to its end without an error."""

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


# one record -----------------------------------------------------------------------------------------------------------


def element_of(form: FileForm, names: Names = OURS) -> etree._Element:
    """The record as an element. Raises RecordRefused with the path of what XML cannot carry or has no place in it."""
    try:
        values = plain(form.record)
    except InvalidEntry as error:
        raise RecordRefused(error.path, error.reason) from None
    name = names.record_element(form.family, str(form.contact_type))
    if not is_xml_name(name):
        raise RecordRefused(CONTACT_TYPE, "cannot be the name of an element")
    record = etree.Element(name)
    record.tail = "\n"
    if form.family is FileFamily.CONTACTS:
        _fill_contact(record, values, form.match_key_type, dict(names.preferences or ()))
        return record
    contact = values.get("contact")
    if isinstance(contact, dict) and form.contact_type:
        contact.setdefault(CONTACT_TYPE, form.contact_type)
    shape = names.shape(form.family)
    _fill(record, shape.elements, values, shape.left_out)
    return record


def _fill(
    parent: etree._Element, elements: tuple[Element, ...], values: Mapping[str, Any], left_out: tuple[str, ...] = ()
) -> None:
    """The elements in their order. Paths are put together only when something is refused: this is the hot loop."""
    placed = 0
    for element in elements:
        name = element.name
        value = values.get(name)
        if value is None:
            placed += name in values
            if element.always:
                _SUB(parent, element.tag)
            continue
        placed += 1
        form = element.form
        try:
            if form is _VALUE:
                _SUB(parent, element.tag).text = value if type(value) is str else _text(value)
            elif form is Form.GROUP:
                _fill(_SUB(parent, element.tag), element.children, _object(value))
            elif value or element.always:
                child = _SUB(parent, element.tag)
                if form is Form.ROWS:
                    _fill_rows(child, element, value, _below(name, left_out) if left_out else ())
                else:
                    _fill_extra(child, element.row, value)
        except ValueError:  # lxml: control characters; for lone surrogates a UnicodeEncodeError, which is one too
            raise RecordRefused(name, _NOT_IN_XML) from None
        except RecordRefused as refusal:
            raise refusal.inside(name) from None
    if placed != len(values):
        known = {element.name for element in elements}
        for name in values:
            if name not in known and name not in left_out:
                raise RecordRefused(field_path("", name), "has no place in the file")


def _below(name: str, left_out: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(path.removeprefix(f"{name}.") for path in left_out if path.startswith(f"{name}."))


def _fill_rows(wrapper: etree._Element, element: Element, rows: object, left_out: tuple[str, ...]) -> None:
    for index, row in enumerate(_rows(rows)):
        try:
            _fill(etree.SubElement(wrapper, element.row), element.children, _object(row), left_out)
        except RecordRefused as refusal:
            raise refusal.inside(f"[{index}]") from None


def _fill_extra(wrapper: etree._Element, row: str, pairs: object) -> None:
    for index, pair in enumerate(_rows(pairs)):
        child = etree.SubElement(wrapper, row)
        part = "name"
        try:
            fields = _object(pair)
            child.set("name", _text(fields.get("name")))
            part = "value"
            child.text = _text(fields.get("value"))
        except ValueError:
            raise RecordRefused(f"[{index}].{part}", _NOT_IN_XML) from None
        except RecordRefused as refusal:
            raise refusal.inside(f"[{index}].{part}") from None


def _fill_contact(record: etree._Element, values: dict[str, Any], key: str, tags: Mapping[str, str]) -> None:
    """The key first, then what is set. Clearing a field has no confirmed form (ref 6.4)."""
    values = contact_fields(values)
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
        try:
            etree.SubElement(record, tags.get(name, name)).text = _text(value)
        except ValueError:
            raise RecordRefused(path, _NOT_IN_XML) from None
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


def _text(value: object) -> str:
    """A value as the file says it (ref 6.8): true/false, plain decimals, times with their offset."""
    match value:
        case str():
            return value
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
    raise RecordRefused("", f"has no form in XML: {type(value).__name__}")


# the file -------------------------------------------------------------------------------------------------------------


def write(output: BinaryIO, head: Head, elements: Iterable[etree._Element], names: Names = OURS) -> None:
    """Write the whole document, one record a line: UTF-8 with declaration, no BOM (ref 6.8)."""
    shape = names.shape(head.family)
    declared: dict[str | None, str] | None = None if shape.namespace is None else {None: shape.namespace}
    with etree.xmlfile(output, encoding="utf-8") as document:
        document.write_declaration()
        with document.element(shape.root, nsmap=declared):
            document.write("\n")
            if shape.section is None:
                _write_all(document, elements)
            else:
                with document.element(shape.section):
                    document.write("\n")
                    _write_all(document, elements)
                document.write("\n")


def _write_all(document: Any, elements: Iterable[etree._Element]) -> None:
    for element in elements:
        document.write(element)


def check(
    source: BinaryIO, head: Head, records: int, names: Names = OURS, *, schema: etree.XMLSchema | None = None
) -> None:
    """Read a finished file again, validating as it streams by: by our XSD, or by the `schema` that is given.

    Anything between the declaration and the root, such as a DOCTYPE, is refused before a parser sees it. Raises
    FileRefused where the file is not what was meant.
    """
    shape = names.shape(head.family)
    depth = depth_of_records(shape)
    prologue = f"{_DECLARATION}<{shape.root}".encode()
    if source.read(len(prologue)) != prologue:
        raise FileRefused(f"the file does not begin as every {head.family} file of ours does")
    source.seek(0)
    found = 0
    ended = False
    try:
        reader = etree.iterparse(
            source,
            events=("end",),
            tag=(
                _qualified(shape, names.record_element(head.family, head.contact_type)),
                _qualified(shape, shape.root),
            ),
            schema=schema or schema_of(head, names),
            **SAFE,
        )
        for _, element in reader:
            above = element.getparent()
            if above is None:
                ended = True
            elif _depth(element) == depth:
                found += 1
                element.clear()
                while above[0] is not element:
                    del above[0]
    except etree.XMLSyntaxError as error:
        raise FileRefused(f"the file was refused when it was read again: {where(error.error_log)}") from None
    if not ended or found != records:
        raise FileRefused(f"the file has {found} whole records when it is read again; {records} were written")


def _qualified(shape: Shape, name: str) -> str:
    return name if shape.namespace is None else f"{{{shape.namespace}}}{name}"


def where(log: Any) -> str:
    """Where and why libxml2 refused, without the text of its message: it can quote a value."""
    return f"line {log[0].line}, {log[0].type_name}" if log else "it is not well-formed"


def depth_of_records(shape: Shape) -> int:
    """How far below the root the records stand."""
    return 1 if shape.section is None else 2


def _depth(element: etree._Element) -> int:
    return sum(1 for _ in element.iterancestors())


def refusal_of(form: FileForm, element: etree._Element, names: Names = OURS) -> RecordRefused | None:
    """Why this record alone would make its file refused; None where it would not."""
    head = Head.of(form)
    alone = io.BytesIO()
    write(alone, head, [element], names)
    try:
        root = etree.fromstring(alone.getvalue(), etree.XMLParser(**SAFE))
    except etree.XMLSyntaxError as error:
        return RecordRefused("", f"is not well-formed XML: {where(error.error_log)}")
    shape = names.shape(head.family)
    return refused_by(schema_of(head, names), shape.xsd, root, depth=depth_of_records(shape))


def refused_by(schema: etree.XMLSchema, xsd: str, root: etree._Element, *, depth: int) -> RecordRefused | None:
    """Where a document of one record does not pass a schema. `depth` is how far the record stands below the root."""
    if schema.validate(root):
        return None
    entry = schema.error_log[0]
    return RecordRefused(_path_of(root, entry.path, depth), f"refused by {xsd}: {entry.type_name}")


def _path_of(root: etree._Element, xpath: str | None, depth: int) -> str:
    """libxml2's ``/*/*/*[8]/*[1]/*[2]`` in the names of the file: ``items/item[1]/quantity``."""
    found = root.xpath(xpath) if xpath else []
    element = found[0] if isinstance(found, list) and found else None
    if not isinstance(element, etree._Element):
        return ""
    below_record = [element, *element.iterancestors()][::-1][depth + 1 :]
    return "/".join(_step(step) for step in below_record)


def _step(element: etree._Element) -> str:
    name = etree.QName(element).localname
    before = sum(1 for twin in element.itersiblings(preceding=True) if twin.tag == element.tag)
    more = before or any(twin.tag == element.tag for twin in element.itersiblings())
    return f"{name}[{before + 1}]" if more else name


@lru_cache(maxsize=64)
def schema_of(head: Head, names: Names = OURS) -> etree.XMLSchema:
    """The XSD for a file with this head. Raises FileRefused for names that no element can have."""
    shape = names.shape(head.family)
    xsd = etree.fromstring((resources.files("voyado_async.fallback") / shape.xsd).read_bytes())
    if head.family is FileFamily.CONTACTS:
        _name_contacts(xsd, head, names)
    else:
        _name_records(xsd, xsd.find(f"{_XS}complexType[@name='{shape.record}']"), shape.elements)
    return etree.XMLSchema(xsd)


def _name_contacts(xsd: etree._Element, head: Head, names: Names) -> None:
    """What differs from file to file, and from tenant to tenant, stands in elements with an id or under its name."""
    element = names.record_element(head.family, head.contact_type)
    marked = {"contact": element, "key": head.match_key_type, "section": names.contacts.section or ""}
    for mark, name in marked.items():
        if not is_xml_name(name):
            raise FileRefused(f"the {mark} of the file cannot be the name of an element")
        for declaration in xsd.iterfind(f".//*[@id='{mark}']"):
            declaration.set("name", name)
    tags = dict(names.preferences or ())
    renamed = [(xsd.find(f"{_XS}element[@name='{name}']"), tags[name]) for name in PREFERENCES if name in tags]
    for preference, tag in renamed:
        if preference is not None:
            preference.set("name", tag)


def _name_records(xsd: etree._Element, declared: etree._Element | None, elements: tuple[Element, ...]) -> None:
    """Put a tenant's names in the place of ours."""
    if declared is None:
        return
    found = {node.get("name"): node for node in declared.iterfind(f"{_XS}sequence/{_XS}element")}
    for element in elements:
        node = found[element.name]
        inside = _type_of(xsd, node)
        if element.row and inside is not None:
            row = inside.find(f"{_XS}sequence/{_XS}element")
            assert row is not None
            row.set("name", element.row)
            inside = _type_of(xsd, row)
        _name_records(xsd, inside, element.children)
        node.set("name", element.tag)


def _type_of(xsd: etree._Element, declaration: etree._Element) -> etree._Element | None:
    named = declaration.get("type")
    return declaration.find(f"{_XS}complexType") if named is None else xsd.find(f"{_XS}complexType[@name='{named}']")
