"""Every element name of the files that we write, in their order, and how sure each one is: data, one table.

The vendor's pages show only parts of the formats (ref 6.4-6.7). Where a name turns out otherwise, its line here and the
same line of the XSD beside it are the whole correction; a tenant replaces it in a file (`VOYADO_FALLBACK_NAMES`,
`renaming.py`) without touching either.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from voyado_async.delivery import FileFamily


class Sureness(StrEnum):
    """How a name or rule is known (ref 0)."""

    SEEN = "SEEN"
    """Stood in a page of the vendor."""
    INF = "INF"
    """Inferred from something seen."""
    UNDOC = "UNDOC"
    """Written nowhere: our reading."""


SEEN, INF, UNDOC = Sureness.SEEN, Sureness.INF, Sureness.UNDOC


class Form(StrEnum):
    """What stands inside an element."""

    VALUE = "value"
    """Text, number, truth value, date or time."""
    GROUP = "group"
    """Other elements."""
    ROWS = "rows"
    """A wrapper around one child per row."""
    EXTRA = "extra"
    """A wrapper around ``<item name="...">text</item>`` (ref 6.5, seen)."""


class Element(msgspec.Struct, frozen=True):
    """One element. `name` is the name on the wire, and in the file too: it is so wherever both were seen."""

    name: str
    sure: Sureness
    form: Form = Form.VALUE
    children: tuple[Element, ...] = ()
    row: str = ""
    """The child's name, for rows."""
    row_sure: Sureness = INF
    always: bool = False
    """Written even when it is empty."""
    tag: str = ""
    """The name in the file, where a tenant has another one."""

    def __post_init__(self) -> None:
        if not self.tag:
            msgspec.structs.force_setattr(self, "tag", self.name)


class Shape(msgspec.Struct, frozen=True):
    """One family of files."""

    root: str
    section: str | None
    """The element between the root and the records."""
    record: str | None
    """The element of a record; None where it is named after the contact type."""
    namespace: str | None
    xsd: str
    elements: tuple[Element, ...]
    """In their order. Empty: the record's fields in the order in which they come, the key first."""
    ref: str
    left_out: tuple[str, ...] = ()
    """Fields of the API that no page shows in a file. An unknown element may cost the whole file, so they stay out."""


_EXTRA = Element("extraData", SEEN, Form.EXTRA, row="item", row_sure=SEEN)

TRANSACTION = (
    Element(
        "contact",
        SEEN,
        Form.GROUP,
        (Element("matchKey", SEEN), Element("matchKeyType", SEEN), Element("contactType", SEEN)),
    ),
    Element("uniqueReceiptId", SEEN),
    Element("receiptNumber", SEEN),
    Element("createdDate", SEEN),
    Element("storeExternalId", INF),
    Element("currency", INF),
    Element("exchangeRateToGroupCurrency", INF),
    Element("totalGrossPrice", INF),
    Element(
        "paymentMethods",
        INF,
        Form.ROWS,
        (Element("type", INF), Element("description", SEEN), Element("value", INF), _EXTRA),
        row="paymentMethod",
        always=True,
    ),
    Element(
        "items",
        INF,
        Form.ROWS,
        (
            Element("type", INF),
            Element("quantity", INF),
            Element("grossPaidPrice", INF),
            Element("taxAmount", INF),
            Element("taxPercent", INF),
            Element("sku", INF),
            Element("articleNumber", INF),
            Element("articleName", SEEN),
            Element("articleGroup", INF),
            _EXTRA,
            Element("marginPercent", INF),
            Element("awardsBonus", INF),
            Element(
                "discounts",
                INF,
                Form.ROWS,
                (Element("type", INF), Element("description", SEEN), Element("value", INF)),
                row="discount",
            ),
        ),
        row="item",
        always=True,
    ),
    Element("usedBonusChecks", INF, Form.ROWS, (Element("checkNumber", INF),), row="usedBonusCheck"),
    Element(
        "usedPromotions",
        INF,
        Form.ROWS,
        (Element("promotionId", INF), Element("couponId", INF)),
        row="usedPromotion",
    ),
)

# The export's words in the order of the export (ref 6.6); the file as such is our convention (ref 6.7, reading 2).
REDEMPTION = (
    Element("contactId", UNDOC),
    Element("contactKey", UNDOC),
    Element("contactType", UNDOC),
    Element("couponId", UNDOC),
    Element("description", UNDOC),
    Element("promotionId", UNDOC),
    Element("externalPromotionId", UNDOC),
    Element(
        "redemptionChannels",
        UNDOC,
        Form.ROWS,
        (Element("type", UNDOC),),
        row="redemptionChannel",
        row_sure=UNDOC,
    ),
    Element("storeId", UNDOC),
    Element("storeType", UNDOC),
    Element("redeemedDateTime", UNDOC),
)

SHAPES = {
    FileFamily.CONTACTS: Shape(
        root="contacts",
        section="new",
        record=None,
        namespace="http://eClub.Schemas.ImportContact",
        xsd="contacts.xsd",
        elements=(),
        ref="6.4",
    ),
    FileFamily.REDEMPTIONS: Shape(
        root="promotions",
        section="redeemed",
        record="promotion",
        namespace=None,
        xsd="redemptions.xsd",
        elements=REDEMPTION,
        ref="6.7",
    ),
    FileFamily.TRANSACTIONS: Shape(
        root="transactions",
        section=None,
        record="transaction",
        namespace="http://voyado.Schemas.ImportReceipts",
        xsd="transactions.xsd",
        elements=TRANSACTION,
        ref="6.5",
        left_out=("taxDetails", "extraData", "items.packQuantity"),
    ),
}

CONTACT_TYPE = "contactType"
"""Of a contact: told by the name of its element, never by a field (ref 6.4). Of a receipt: beside the match key."""

PREFERENCES = "preferences"
"""On the wire an object; in a file its fields stand flat among the others (ref 6.4, INF)."""


class Names(msgspec.Struct, frozen=True):
    """The names of one tenant's files: ours, but for what the tenant replaced."""

    contacts: Shape = SHAPES[FileFamily.CONTACTS]
    redemptions: Shape = SHAPES[FileFamily.REDEMPTIONS]
    transactions: Shape = SHAPES[FileFamily.TRANSACTIONS]
    contact_elements: tuple[tuple[str, str], ...] = ()
    """Contact types whose element is not called by the rule."""
    preferences: tuple[tuple[str, str], ...] | None = ()
    """Preferences that have another name in the file; None: they stand in no file, and wait for the API."""

    def shape(self, family: FileFamily) -> Shape:
        match family:
            case FileFamily.CONTACTS:
                return self.contacts
            case FileFamily.REDEMPTIONS:
                return self.redemptions
            case FileFamily.TRANSACTIONS:
                return self.transactions

    def record_element(self, family: FileFamily, contact_type: str) -> str:
        """The name of a record's element. A contact's is its type with a small first letter, as ``<member>`` for Member
        (ref 6.4; the rule for other types is INF)."""
        ruled = contact_type[:1].lower() + contact_type[1:]
        return self.shape(family).record or dict(self.contact_elements).get(contact_type, ruled)


OURS = Names()
"""Where a tenant has replaced nothing."""


class Unconfirmed(msgspec.Struct, frozen=True):
    """Something in our files that no page of the vendor shows."""

    family: FileFamily
    what: str
    sure: Sureness
    ref: str
    override: str | None = None
    """What the tenant has set in its place."""


def unconfirmed(names: Names = OURS) -> list[Unconfirmed]:
    """What the tenant's Voyado team has yet to confirm, and what the tenant has replaced, for `check`: in the order of
    the files."""
    found = [Unconfirmed(FileFamily.CONTACTS, rule, INF, "6.4", override) for rule, override in _contact_rules(names)]
    for family in FileFamily:
        shape, ours = names.shape(family), OURS.shape(family)
        if shape.record is not None and ours.record is not None:
            for (path, sure), (tenants, _) in zip(
                paths(ours.record, ours.elements), paths(shape.record, shape.elements), strict=True
            ):
                if sure is not SEEN:
                    found.append(Unconfirmed(family, path, sure, ours.ref, None if tenants == path else tenants))
        found.extend(Unconfirmed(family, f"{name} is left out", UNDOC, shape.ref) for name in shape.left_out)
    return found


def _contact_rules(names: Names) -> Iterator[tuple[str, str | None]]:
    section = names.contacts.section
    yield "an element <new> for updates as well", None if section == OURS.contacts.section else f"<{section}>"
    types = ", ".join(f"<{element}> for {contact_type}" for contact_type, element in names.contact_elements)
    yield "the contact's element is its type with a small first letter", types or None
    chosen = None
    if names.preferences is None:
        chosen = "in no file"
    elif names.preferences:
        chosen = ", ".join(f"<{tag}> for {name}" for name, tag in names.preferences)
    yield "preferences as flat elements", chosen


def paths(above: str, elements: tuple[Element, ...]) -> Iterator[tuple[str, Sureness]]:
    """Every element below `above`, by its names in the file from there on."""
    for element in elements:
        here = f"{above}/{element.tag}"
        yield here, element.sure
        if element.row:
            here = f"{here}/{element.row}"
            yield here, element.row_sure
        yield from paths(here, element.children)
