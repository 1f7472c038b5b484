"""A file's records to XML and back through a check: streamed both ways, flat in memory (PERFORMANCE 5).

Records are lines of text (`record.py`) inside a root that declares the namespace as the default one.
No error text of this module holds a value: only paths, and the names that libxml2 has for its refusals.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import Any, BinaryIO

from lxml import etree

from voyado_async.delivery import FileFamily, FileForm
from voyado_async.errors import FileRefused
from voyado_async.fallback.batch import Head
from voyado_async.fallback.names import OURS, Element, Names, Shape
from voyado_async.fallback.record import CONTACT_ID, RecordRefused
from voyado_async.models.contact_fields import PREFERENCES
from voyado_async.models.text import is_xml_name

_XS = "{http://www.w3.org/2001/XMLSchema}"

_DECLARATION = "<?xml version='1.0' encoding='utf-8'?>\n"

SAFE: dict[str, Any] = {"resolve_entities": "internal", "no_network": True, "load_dtd": False, "huge_tree": False}
"""Not False: with that and a schema, lxml 6.1.3 reads a file that is cut short to its end without an error."""

# the file -------------------------------------------------------------------------------------------------------------


def ends(head: Head, names: Names = OURS) -> tuple[bytes, bytes]:
    """What stands before and after the records: UTF-8 with declaration, no BOM (ref 6.8)."""
    shape = names.shape(head.family)
    namespace = "" if shape.namespace is None else f' xmlns="{shape.namespace}"'
    opening, closing = f"<{shape.root}{namespace}>\n", f"</{shape.root}>"
    if shape.section is not None:
        opening, closing = f"{opening}<{shape.section}>\n", f"</{shape.section}>\n{closing}"
    return f"{_DECLARATION}{opening}".encode(), closing.encode()


def alone(head: Head, record: str, names: Names = OURS) -> bytes:
    """A document of one record."""
    opening, closing = ends(head, names)
    return opening + record.encode() + closing


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
                if head.family is FileFamily.CONTACTS and len({field.tag for field in element}) < len(element):
                    raise FileRefused(f"a contact has a field twice, in line {element.sourceline}")
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
    """Where and why libxml2 refused, without the text of its message: it can quote a value.

    The last line of the log counts: before it may stand what other documents of the process were refused for.
    """
    last = log.last_error
    return "it is not well-formed" if last is None else f"line {last.line}, {last.type_name}"


def depth_of_records(shape: Shape) -> int:
    """How far below the root the records stand."""
    return 1 if shape.section is None else 2


def _depth(element: etree._Element) -> int:
    return sum(1 for _ in element.iterancestors())


def refusal_of(form: FileForm, record: str, names: Names = OURS) -> RecordRefused | None:
    """Why this record alone would make its file refused; None where it would not."""
    head = Head.of(form)
    try:
        root = etree.fromstring(alone(head, record, names), etree.XMLParser(**SAFE))
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
        _one_key(xsd, head)
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
    if head.match_key_type != CONTACT_ID:
        etree.SubElement(xsd, f"{_XS}element", name=CONTACT_ID, abstract="true")  # none may stand there
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


def _one_key(xsd: etree._Element, head: Head) -> None:
    """All receipts of a file have its matchKeyType and its contact type (ref 6.5)."""
    for declaration in xsd.iterfind(".//*[@id='contactType']"):
        declaration.set("fixed", head.contact_type)
    for value in xsd.findall(f"{_XS}simpleType[@name='matchKeyType']/{_XS}restriction/{_XS}enumeration"):
        above = value.getparent()
        if value.get("value") != head.match_key_type and above is not None:
            above.remove(value)


def _type_of(xsd: etree._Element, declaration: etree._Element) -> etree._Element | None:
    named = declaration.get("type")
    return declaration.find(f"{_XS}complexType") if named is None else xsd.find(f"{_XS}complexType[@name='{named}']")
