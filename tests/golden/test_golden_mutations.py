"""A file that is wrong in one place is refused, by our XSD before it leaves and by Engage's importer in the sandbox.

The two share no code. What the importer drops of a contact field by field (ref 6.4), only the XSD refuses as a whole.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from voyado_async.delivery import FileFamily
from voyado_async.errors import FileRefused
from voyado_async.fallback import xml
from voyado_async.fallback.batch import Head
from voyado_async.sandbox import import_xml
from voyado_async.sandbox.import_xml import MajorError

HERE = Path(__file__).parent

FILES: dict[FileFamily, tuple[str, str, str]] = {
    FileFamily.TRANSACTIONS: ("kind_receipt.xml", "transaction", "contactId"),
    FileFamily.REDEMPTIONS: ("redemptions_with_everything.xml", "promotion", "contactId"),
    FileFamily.CONTACTS: ("contacts_with_everything.xml", "member", "email"),
}
READERS: dict[FileFamily, Callable[[Any], object]] = {
    FileFamily.TRANSACTIONS: import_xml.transactions,
    FileFamily.REDEMPTIONS: import_xml.redemptions,
    FileFamily.CONTACTS: import_xml.contacts,
}

OF_ALL = [
    ("cut at the end", r"</\w+>$", ""),
    ("cut in the middle", r"(?s)^(.{400}).*$", r"\1"),
    ("no declaration", r"^<\?xml[^\n]*\n", ""),
    ("another encoding", r"encoding='utf-8'", "encoding='utf-16'"),
    ("a byte order mark", r"^", "\ufeff"),
    ("a DOCTYPE", r"\?>\n", "?>\n<!DOCTYPE x [<!ENTITY e 'y'>]>\n"),
    ("an unknown entity", r">204<", ">&e;<"),
    ("a bare ampersand", r"&amp;", "&"),
    ("a bare tag", r"&lt;", "<"),
    ("a control character", r"🧥", "\x01"),
    ("text between the records", r"(<{record}>)", r"text\1"),
    ("an attribute of the record", r"<{record}>", '<{record} id="1">'),
    ("another root", r"(</?){root}", r"\1others"),
    ("no record", r"(?s)<{record}>.*</{record}>\n", ""),
    ("an element of another namespace", r"<{record}>", '<{record}><x xmlns="urn:x"/>'),
]
OF_ONE: dict[FileFamily, list[tuple[str, str, str]]] = {
    FileFamily.TRANSACTIONS: [
        ("another namespace", r"voyado\.Schemas", "eClub.Schemas"),
        ("a missing key", r"<uniqueReceiptId>[^<]*</uniqueReceiptId>", ""),
        ("an empty key", r"<uniqueReceiptId>[^<]*<", "<uniqueReceiptId><"),
        ("swapped elements", r"(<uniqueReceiptId>.*?</uniqueReceiptId>)(<receiptNumber>.*?</receiptNumber>)", r"\2\1"),
        ("an element twice", r"(<currency>SEK</currency>)", r"\1\1"),
        ("an unknown element", r"<currency>", "<unknown/><currency>"),
        ("the wrong row", r"(</?)paymentMethod>", r"\1payment>"),
        ("a number with a comma", r"(<totalGrossPrice>[0-9]+)", r"\1,00"),
        ("a number with an exponent", r"<totalGrossPrice>[0-9.]+", "<totalGrossPrice>1E1"),
        ("a quantity of halves", r"<quantity>2<", "<quantity>2.5<"),
        ("a truth value in other words", r"<awardsBonus>true", "<awardsBonus>Yes"),
        ("a time without offset", r"-03:30</createdDate>", "</createdDate>"),
        ("a date that is none", r"2025-03-14T", "2025-13-14T"),
        ("a currency that is none", r"SEK", "kr"),
        ("an unknown item type", r"PURCHASE", "GIFT"),
        ("an unknown match key type", r"contactId</matchKeyType>", "CardId</matchKeyType>"),
        ("extra data without a name", r' name="empty"', ""),
        ("no contact", r"<contact>.*?</contact>", ""),
        ("text between elements", r"<receiptNumber>", "text<receiptNumber>"),
    ],
    FileFamily.REDEMPTIONS: [
        ("another section", r"(</?)redeemed>", r"\1new>"),
        ("a missing key", r"<couponId>[^<]*</couponId>", ""),
        ("an empty key", r"<couponId>[^<]*<", "<couponId><"),
        ("an unknown element", r"<couponId>", "<unknown/><couponId>"),
        ("an element twice", r"(<couponId>[^<]*</couponId>)", r"\1\1"),
        ("the wrong row", r"(</?)redemptionChannel>", r"\1channel>"),
        ("text between elements", r"<couponId>", "text<couponId>"),
        ("another namespace", r"<promotions>", '<promotions xmlns="urn:x">'),
        ("an unknown channel", r"OTHER", "PHONE"),
        ("an unknown kind of store", r"ECOM</storeType>", "KIOSK</storeType>"),
        ("a time without offset", r"\+00:00</redeemedDateTime>", "</redeemedDateTime>"),
        ("no time", r"<redeemedDateTime>[^<]*</redeemedDateTime>", ""),
    ],
    FileFamily.CONTACTS: [
        ("another namespace", r"eClub\.Schemas", "voyado.Schemas"),
        ("another section", r"(</?)new>", r"\1updated>"),
        ("an attribute of a field", r"<city>", '<city lang="sv">'),
        ("elements inside a field", r"<city>", "<city><b>x</b>"),
        ("text between fields", r"<city>", "text<city>"),
        ("a field twice", r"(<points>[^<]*</points>)", r"\1\1"),
        ("the key twice", r"(<email>[^<]*</email>)", r"\1\1"),
    ],
}
CASES = [(family, *case) for family in FILES for case in (*OF_ALL, *OF_ONE[family])]


@pytest.mark.parametrize(("family", "what", "pattern", "replacement"), CASES)
def test_a_mutated_file_is_refused_on_both_sides(family: FileFamily, what: str, pattern: str, replacement: str) -> None:
    name, record, key = FILES[family]
    good = (HERE / name).read_text(encoding="utf-8")
    root = {"transactions": "transactions", "redemptions": "promotions", "contacts": "contacts"}[family]
    bad = re.sub(
        pattern.replace("{record}", record).replace("{root}", root), replacement.replace("{record}", record), good
    )
    if what == "an unknown entity" and bad == good:
        bad = good.replace(">", ">&e;", 3)
    assert bad != good, what
    head = Head(family, "Member", key)
    xml.check(io.BytesIO(good.encode()), head, 1)
    READERS[family](import_xml.parse(good.encode()))
    with pytest.raises(FileRefused):
        xml.check(io.BytesIO(bad.encode()), head, 1)
    with pytest.raises(MajorError):
        READERS[family](import_xml.parse(bad.encode()))


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        (r"<email>[^<]*</email>", ""),
        (r"(<email>[^<]*</email>)(<firstName>)", r"<firstName>x</firstName>\1"),
        (r"<city>[^<]*<", "<city><"),
        (r"<acceptsEmail>true", "<acceptsEmail>True"),
        (r"<birthDay>1988-04-09", "<birthDay>09/04/1988"),
        (r"<gender>Other", "<gender>other"),
        (r"(</?)member>", r"\1guest>"),
        (r"(<email>[^<]*</email>)", r"\1<contactId>0b6f1c52-7d0e-4a57-9c3b-5a1f2e8d4c10</contactId>"),
    ],
)
def test_what_engage_would_drop_field_by_field_is_refused_by_the_xsd(pattern: str, replacement: str) -> None:
    good = (HERE / "contacts_with_everything.xml").read_text(encoding="utf-8")
    bad = re.sub(pattern, replacement, good)
    assert bad != good
    with pytest.raises(FileRefused):
        xml.check(io.BytesIO(bad.encode()), Head(FileFamily.CONTACTS, "Member", "email"), 1)


def test_the_order_of_a_redemption_is_ours_alone() -> None:
    """The export names its fields in no order (ref 6.6): the importer is not held to one, our XSD is."""
    good = (HERE / "redemptions_with_everything.xml").read_text(encoding="utf-8")
    bad = re.sub(r"(<contactId>[^<]*</contactId>)(<contactKey>[^<]*</contactKey>)", r"\2\1", good)
    assert bad != good
    with pytest.raises(FileRefused):
        xml.check(io.BytesIO(bad.encode()), Head(FileFamily.REDEMPTIONS, "Member", "contactId"), 1)
    import_xml.redemptions(import_xml.parse(bad.encode()))


@pytest.mark.parametrize(
    ("what", "pattern", "replacement"),
    [
        ("another match key type", r"contactId</matchKeyType>", "email</matchKeyType>"),
        ("another contact type", r"Member</contactType>", "Guest</contactType>"),
    ],
)
def test_a_receipt_of_another_file_is_refused(what: str, pattern: str, replacement: str) -> None:
    good = (HERE / "transactions_by_contact_id.xml").read_text(encoding="utf-8")
    bad = re.sub(pattern, replacement, good, count=1)
    assert bad != good
    head = Head(FileFamily.TRANSACTIONS, "Member", "contactId")
    xml.check(io.BytesIO(good.encode()), head, 3)
    with pytest.raises(FileRefused):
        xml.check(io.BytesIO(bad.encode()), head, 3)
    import_xml.transactions(import_xml.parse(good.encode()))
    if what == "another match key type":  # several contact types in a file are only inferred to be wrong (ref 6.5)
        with pytest.raises(MajorError):
            import_xml.transactions(import_xml.parse(bad.encode()))
