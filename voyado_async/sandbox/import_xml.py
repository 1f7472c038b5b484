"""Engage's import files, read strictly: own element tables, own checks (ref 6.4-6.7). Pure.

A `MajorError` skips the whole file. It names the line and the element, never a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from lxml import etree

from voyado_async.sandbox import receipts

CONTACTS = "http://eClub.Schemas.ImportContact"
RECEIPTS = "http://voyado.Schemas.ImportReceipts"


class MajorError(Exception):
    """The file cannot be taken; nothing of it is applied."""


@dataclass(frozen=True)
class Leaf:
    """An element with text only. `read` turns the text into a value or raises ValueError."""

    read: Callable[[str], Any]
    required: bool = False


@dataclass(frozen=True)
class Group:
    """An element with these children, in this order, each at most once."""

    children: dict[str, Leaf | Group | Rows | Extra]
    required: bool = False


@dataclass(frozen=True)
class Rows:
    """A wrapper around rows of one name."""

    child: str
    row: Group
    required: bool = False


@dataclass(frozen=True)
class Extra:
    """Extra data: ``<item name="...">value</item>`` (ref 6.5)."""

    required: bool = False


def _checked(check: Callable[[object], bool]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not check(text):
            raise ValueError
        return text

    return read


def _decimal(text: str) -> Decimal:
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text):
        raise ValueError
    return Decimal(text)


def _whole(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]+", text):
        raise ValueError
    return int(text)


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError
    return text == "true"


_text = _checked(receipts.is_text)
_any_text = _checked(receipts.is_any_text)
_moment = _checked(receipts.is_moment)

TRANSACTION = Group(
    {
        "contact": Group(
            {
                "matchKey": Leaf(_text, True),
                "matchKeyType": Leaf(_checked(receipts.is_match_key_type), True),
                "contactType": Leaf(_text),
            },
            required=True,
        ),
        "uniqueReceiptId": Leaf(_text, True),
        "receiptNumber": Leaf(_text),
        "createdDate": Leaf(_moment, True),
        "storeExternalId": Leaf(_text, True),
        "currency": Leaf(_checked(receipts.is_currency), True),
        "exchangeRateToGroupCurrency": Leaf(_decimal),
        "totalGrossPrice": Leaf(_decimal, True),
        "paymentMethods": Rows(
            "paymentMethod",
            Group(
                {
                    "type": Leaf(_text, True),
                    "description": Leaf(_any_text),
                    "value": Leaf(_decimal, True),
                    "extraData": Extra(),
                }
            ),
            required=True,
        ),
        "items": Rows(
            "item",
            Group(
                {
                    "type": Leaf(_checked(receipts.is_item_type), True),
                    "quantity": Leaf(_whole, True),
                    "grossPaidPrice": Leaf(_decimal, True),
                    "taxAmount": Leaf(_decimal, True),
                    "taxPercent": Leaf(_decimal, True),
                    "sku": Leaf(_text, True),
                    "articleNumber": Leaf(_text, True),
                    "articleName": Leaf(_text, True),
                    "articleGroup": Leaf(_any_text),
                    "extraData": Extra(),
                    "marginPercent": Leaf(_decimal),
                    "awardsBonus": Leaf(_flag),
                    "discounts": Rows(
                        "discount",
                        Group({"type": Leaf(_any_text), "description": Leaf(_any_text), "value": Leaf(_decimal, True)}),
                    ),
                }
            ),
            required=True,
        ),
        "usedBonusChecks": Rows("usedBonusCheck", Group({"checkNumber": Leaf(_text, True)})),
        "usedPromotions": Rows("usedPromotion", Group({"promotionId": Leaf(_text), "couponId": Leaf(_text)})),
    }
)

# The file is a convention that mirrors the export's field names (ref 6.6, 6.7); there is no order to hold it to.
REDEMPTION: dict[str, Leaf] = {
    "contactId": Leaf(_text),
    "contactKey": Leaf(_text),
    "contactType": Leaf(_text),
    "couponId": Leaf(_text, True),
    "description": Leaf(_any_text),
    "promotionId": Leaf(_text),
    "externalPromotionId": Leaf(_text),
    "validFromDate": Leaf(_moment),
    "expireDateTime": Leaf(_moment),
    "storeId": Leaf(_text),
    "storeType": Leaf(_checked(lambda v: v in ("RETAIL", "ECOM"))),
    "redeemedDateTime": Leaf(_moment, True),
}
REDEMPTION_CHANNEL = Group(
    {
        "type": Leaf(_checked(lambda v: v in ("POS", "ECOM", "OTHER")), True),
        "valuetype": Leaf(_checked(lambda v: v in ("MONEY", "PERCENT", "EXTERNALOFFER", "MANUAL", "SWIPE"))),
        "value": Leaf(_any_text),
        "instruction": Leaf(_any_text),
        "currency": Leaf(_checked(receipts.is_currency)),
    }
)


@dataclass(frozen=True, kw_only=True)
class ContactRow:
    """One contact of a file: its element's name, its texts; an empty element is the empty string."""

    line: int
    element: str
    source: str | None
    fields: dict[str, str]


def parse(content: bytes) -> etree._Element:
    """The root of a well-formed UTF-8 document with declaration, without BOM, DOCTYPE and processing instructions."""
    if not content.startswith(b"<?xml"):
        raise MajorError("the XML declaration is missing, or something stands before it")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        raise MajorError(f"not well-formed in line {error.lineno}") from error
    info = root.getroottree().docinfo
    if (info.encoding or "").upper() != "UTF-8":
        raise MajorError("the encoding is not UTF-8")
    if info.doctype or info.internalDTD is not None:
        raise MajorError("a DOCTYPE is not accepted")
    for node in root.iter(etree.ProcessingInstruction, etree.Entity):
        raise MajorError(f"line {node.sourceline}: a processing instruction or entity is not accepted")
    return root


def transactions(root: etree._Element) -> list[dict[str, Any]]:
    """Receipts in the form of the JSON body. One matchKeyType for the whole file (ref 6.5)."""
    _expect(root, "transactions", RECEIPTS)
    rows = []
    for element in _children(root):
        _expect(element, "transaction", RECEIPTS)
        rows.append(_group(element, TRANSACTION, RECEIPTS))
    if not rows:
        raise MajorError("the file holds no transaction")
    if len({row["contact"]["matchKeyType"].casefold() for row in rows}) > 1:
        raise MajorError("more than one matchKeyType in one file")
    return rows


def redemptions(root: etree._Element) -> list[dict[str, Any]]:
    """The texts of each redeemed promotion."""
    _expect(root, "promotions", None)
    sections = _children(root)
    if len(sections) != 1:
        raise MajorError("exactly one section <redeemed> is expected")
    _expect(sections[0], "redeemed", None)
    rows = []
    for element in _children(sections[0]):
        _expect(element, "promotion", None)
        row: dict[str, Any] = {}
        for child in _children(element):
            name = _name(child, None)
            if name in row:
                raise MajorError(f"line {child.sourceline}: {name} stands twice")
            if name == "redemptionChannels":
                row[name] = _rows(child, Rows("redemptionChannel", REDEMPTION_CHANNEL), None)
            elif name in REDEMPTION:
                row[name] = _leaf(child, REDEMPTION[name])
            else:
                raise MajorError(f"line {child.sourceline}: unknown element {name}")
        for name, rule in REDEMPTION.items():
            if rule.required and name not in row:
                raise MajorError(f"line {element.sourceline}: {name} is missing")
        rows.append(row)
    if not rows:
        raise MajorError("the file holds no redemption")
    return rows


def contacts(root: etree._Element) -> tuple[list[ContactRow], bool]:
    """The contacts of a file, and whether it asks to avoid triggering exports (ref 6.4)."""
    if root.tag != f"{{{CONTACTS}}}contacts":
        raise MajorError("the root element is not contacts of the right namespace")
    if set(root.attrib) - {"avoidTriggeringExport"}:
        raise MajorError("the root element has an unknown attribute")
    silent = root.get("avoidTriggeringExport", "false")
    if silent not in ("true", "false"):
        raise MajorError("avoidTriggeringExport is not true or false")
    _no_text(root)
    sections = _children(root)
    if len(sections) != 1:
        raise MajorError("exactly one section <new> is expected")
    _expect(sections[0], "new", CONTACTS)
    rows = []
    for element in _children(sections[0]):
        if set(element.attrib) - {"source"}:
            raise MajorError(f"line {element.sourceline}: unknown attribute")
        _no_text(element)
        fields: dict[str, str] = {}
        for child in _children(element):
            name = _name(child, CONTACTS)
            if name in fields:
                raise MajorError(f"line {child.sourceline}: {name} stands twice")
            fields[name] = _plain_text(child)
        rows.append(
            ContactRow(
                line=element.sourceline or 0,
                element=_name(element, CONTACTS),
                source=element.get("source"),
                fields=fields,
            )
        )
    if not rows:
        raise MajorError("the file holds no contact")
    return rows, silent == "true"


def _children(element: etree._Element) -> list[etree._Element]:
    """The child elements; comments do not count."""
    return [child for child in element if isinstance(child.tag, str)]


def _name(element: etree._Element, namespace: str | None) -> str:
    tag = str(element.tag)
    prefix = f"{{{namespace}}}" if namespace else ""
    name = tag.removeprefix(prefix)
    if (name == tag and prefix) or "}" in name:
        raise MajorError(f"line {element.sourceline}: {etree.QName(element).localname} is not of the file's namespace")
    return name


def _expect(element: etree._Element, name: str, namespace: str | None) -> None:
    """The element has this name, no attributes, and no text between its children."""
    if etree.QName(element).localname != name or _name(element, namespace) != name:
        raise MajorError(f"line {element.sourceline}: {name} of the right namespace is expected here")
    if element.attrib:
        raise MajorError(f"line {element.sourceline}: {name} has an unknown attribute")
    _no_text(element)


def _no_text(element: etree._Element) -> None:
    if (element.text and element.text.strip()) or any(child.tail and child.tail.strip() for child in element):
        raise MajorError(f"line {element.sourceline}: text where elements are expected")


def _plain_text(element: etree._Element, attributes: frozenset[str] = frozenset()) -> str:
    if element.attrib and set(element.attrib) - attributes:
        raise MajorError(f"line {element.sourceline}: {etree.QName(element).localname} has an unknown attribute")
    if not len(element):
        return element.text or ""
    if _children(element):
        raise MajorError(f"line {element.sourceline}: {etree.QName(element).localname} has elements inside")
    return "".join([element.text or "", *(comment.tail or "" for comment in element)])


def _leaf(element: etree._Element, rule: Leaf) -> Any:
    try:
        return rule.read(_plain_text(element))
    except ValueError as error:
        raise MajorError(f"line {element.sourceline}: wrong value in {etree.QName(element).localname}") from error


def _group(element: etree._Element, rule: Group, namespace: str | None) -> dict[str, Any]:
    if element.attrib:
        raise MajorError(f"line {element.sourceline}: unknown attribute")
    _no_text(element)
    order = list(rule.children)
    value: dict[str, Any] = {}
    last = -1
    for child in _children(element):
        name = _name(child, namespace)
        if name not in rule.children:
            raise MajorError(f"line {child.sourceline}: unknown element {name}")
        at = order.index(name)
        if at <= last:
            raise MajorError(f"line {child.sourceline}: {name} stands twice or out of order")
        last = at
        value[name] = _value(child, rule.children[name], namespace)
    for name, part in rule.children.items():
        if part.required and name not in value:
            raise MajorError(f"line {element.sourceline}: {name} is missing")
    return value


def _value(element: etree._Element, rule: Leaf | Group | Rows | Extra, namespace: str | None) -> Any:
    if isinstance(rule, Leaf):
        return _leaf(element, rule)
    if isinstance(rule, Group):
        return _group(element, rule, namespace)
    if isinstance(rule, Rows):
        return _rows(element, rule, namespace)
    pairs = []
    _no_text(element)
    for child in _children(element):
        if _name(child, namespace) != "item" or not child.get("name"):
            raise MajorError(f"line {child.sourceline}: extra data is written as item with a name")
        pairs.append({"name": child.get("name"), "value": _plain_text(child, frozenset({"name"}))})
    return pairs


def _rows(element: etree._Element, rule: Rows, namespace: str | None) -> list[dict[str, Any]]:
    if element.attrib:
        raise MajorError(f"line {element.sourceline}: unknown attribute")
    _no_text(element)
    rows = []
    for child in _children(element):
        if _name(child, namespace) != rule.child:
            raise MajorError(f"line {child.sourceline}: {rule.child} is expected here")
        rows.append(_group(child, rule.row, namespace))
    return rows
