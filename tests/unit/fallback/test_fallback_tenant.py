"""What a tenant has otherwise: names, XSLT, the vendor's XSD; tried when the program starts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeClock
from file_forms import write_forms
from lxml import etree

from voyado_async.client import VoyadoClient
from voyado_async.delivery import FileFamily, FileForm, Message, NoFileForm
from voyado_async.errors import ConfigurationError
from voyado_async.fallback.courier import Courier, forms
from voyado_async.fallback.names import unconfirmed
from voyado_async.fallback.renaming import names_of
from voyado_async.fallback.report import CourierReport
from voyado_async.fallback.spool import Spool
from voyado_async.fallback.tenant import Tenant
from voyado_async.fallback.writing import Written
from voyado_async.kinds import contact_update
from voyado_async.kinds.address import address
from voyado_async.models.receipts import parse_receipt
from voyado_async.outbox.records import Settlement
from voyado_async.outbox.sqlite import SqliteOutbox, open_outbox
from voyado_async.outbox.states import State
from voyado_async.settings import Settings

XSL = 'version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"'
XS = 'xmlns:xs="http://www.w3.org/2001/XMLSchema"'
IDENTITY = (
    '<xsl:template match="@*|node()"><xsl:copy><xsl:apply-templates select="@*|node()"/></xsl:copy></xsl:template>'
)
NAME = "20250314093000_1_contacts.xml"

RECEIPT: dict[str, Any] = {
    "contact": {"matchKey": "abc", "matchKeyType": "contactId"},
    "uniqueReceiptId": "R1",
    "receiptNumber": "1",
    "createdDate": "2025-03-14T09:12:44+01:00",
    "storeExternalId": "204",
    "currency": "SEK",
    "totalGrossPrice": 10,
    "paymentMethods": [{"type": "card", "value": 10}],
    "items": [
        {
            "type": "PURCHASE",
            "quantity": 1,
            "grossPaidPrice": 10,
            "taxAmount": 2,
            "taxPercent": 25,
            "sku": "s",
            "articleNumber": "a",
            "articleName": "n",
            "discounts": [{"value": -1}],
        }
    ],
    "usedPromotions": [{"couponId": "c"}],
}
FULL_NAMES = """
[transactions]
"transaction/paymentMethods/paymentMethod" = "payment"
"transaction/storeExternalId" = "store"
"transaction/items/item/discounts/discount/value" = "amount"
"transaction/usedPromotions" = "promotions"
"transaction/usedPromotions/usedPromotion/couponId" = "coupon"

[redemptions]
"promotion/couponId" = "assignmentId"

[contacts]
section = "changed"
types = {VIPGuest = "vip"}
preferences = {acceptsEmail = "mayMail"}
"""


def sale(**changes: Any) -> FileForm:
    return FileForm(FileFamily.TRANSACTIONS, "Member", "contactId", "abc", 1, parse_receipt(RECEIPT | changes))


def contact(number: int = 1, contact_type: str = "Member", **fields: Any) -> FileForm:
    record = {"contactId": f"id-{number}"} | fields
    return FileForm(FileFamily.CONTACTS, contact_type, "contactId", f"contact:id-{number}", 1, record)


class Shop:
    """Files that a tenant has set, and what the spool makes of forms with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.values: dict[str, str] = {}

    def set(self, setting: str, text: str) -> None:
        path = self.folder / setting
        path.write_text(text)
        self.values[setting] = str(path)

    def settings(self) -> Settings:
        return Settings(outbox=str(self.folder / "outbox.db"), contact_key="email", **self.values)  # type: ignore[arg-type]  # paths only

    def tenant(self) -> Tenant:
        return Tenant.of(self.settings())

    def refusal(self, setting: str, text: str) -> str:
        self.set(setting, text)
        with pytest.raises(ConfigurationError) as caught:
            self.tenant()
        assert f"VOYADO_{setting.upper()}" in str(caught.value)
        return str(caught.value)

    def write(self, *given: FileForm) -> tuple[Written, str]:
        spool = Spool(self.folder / "spool", self.tenant())
        spool.prepare()
        written = write_forms(spool, NAME, *given)
        path = spool.path(NAME)
        return written, path.read_text() if path.exists() else ""


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


# names ----------------------------------------------------------------------------------------------------------------


def test_a_tenants_names_stand_in_the_receipt_file_and_in_its_xsd(shop: Shop) -> None:
    shop.set("fallback_names", FULL_NAMES)
    written, content = shop.write(sale())
    assert tuple(written.entry_ids) == (1,)
    for text in (
        "<payment><type>card</type>",
        "<store>204</store>",
        "<discount><amount>-1</amount></discount>",
        "<promotions><usedPromotion><coupon>c</coupon></usedPromotion></promotions>",
    ):
        assert text in content
    assert "paymentMethod>" not in content
    assert "storeExternalId" not in content


def test_a_tenants_names_stand_in_the_contacts_file_and_in_its_xsd(shop: Shop) -> None:
    shop.set("fallback_names", FULL_NAMES)
    good = contact(1, "VIPGuest", preferences={"acceptsEmail": True, "acceptsSms": False})
    written, content = shop.write(good, contact(2, "VIPGuest", preferences={"acceptsEmail": "Yes"}))
    assert tuple(written.entry_ids) == (1,)
    assert [refused.path for refused in written.refused] == ["mayMail"]
    assert (
        "<changed>\n<vip><contactId>id-1</contactId><mayMail>true</mayMail><acceptsSms>false</acceptsSms></vip>"
        in content
    )


def test_a_tenants_names_stand_in_the_redemptions_file(shop: Shop) -> None:
    shop.set("fallback_names", FULL_NAMES)
    record = {
        "couponId": "c",
        "redemptionChannels": [{"type": "POS"}],
        "redeemedDateTime": "2025-03-14T08:12:44.000+00:00",
    }
    _, content = shop.write(FileForm(FileFamily.REDEMPTIONS, "Member", "contactId", "c", 1, record))
    assert "<assignmentId>c</assignmentId>" in content


def test_preferences_that_are_off_wait_for_the_api(shop: Shop) -> None:
    shop.set("fallback_names", "contacts.preferences = false")
    form = forms(shop.settings(), shop.tenant())

    def message(changes: dict[str, Any]) -> Message:
        draft = contact_update.draft(address(contact_id="abc"), changes)
        return Message(1, draft.kind, draft.body, 1, draft.lane, 0)

    assert isinstance(form(message({"city": "Lund", "preferences": {"acceptsSms": True}})), NoFileForm)
    assert isinstance(form(message({"city": "Lund"})), FileForm)


def test_what_is_replaced_is_told_beside_what_is_unconfirmed(shop: Shop) -> None:
    assert all(fact.override is None for fact in unconfirmed())
    shop.set("fallback_names", FULL_NAMES)
    told = {fact.what: fact.override for fact in unconfirmed(shop.tenant().names) if fact.override}
    assert told == {
        "an element <new> for updates as well": "<changed>",
        "the contact's element is its type with a small first letter": "<vip> for VIPGuest",
        "preferences as flat elements": "<mayMail> for acceptsEmail",
        "promotion/couponId": "promotion/assignmentId",
        "transaction/storeExternalId": "transaction/store",
        "transaction/paymentMethods/paymentMethod": "transaction/paymentMethods/payment",
        "transaction/paymentMethods/paymentMethod/type": "transaction/paymentMethods/payment/type",
        "transaction/paymentMethods/paymentMethod/value": "transaction/paymentMethods/payment/value",
        "transaction/items/item/discounts/discount/value": "transaction/items/item/discounts/discount/amount",
        "transaction/usedPromotions": "transaction/promotions",
        "transaction/usedPromotions/usedPromotion": "transaction/promotions/usedPromotion",
        "transaction/usedPromotions/usedPromotion/promotionId": "transaction/promotions/usedPromotion/promotionId",
        "transaction/usedPromotions/usedPromotion/couponId": "transaction/promotions/usedPromotion/coupon",
    }


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"transaction": {}}, "transaction: unknown"),
        ({"transactions": {"transaction/nothing": "x"}}, "transaction/nothing: there is no such element"),
        ({"transactions": {"transaction/uniqueReceiptId": "x"}}, "the vendor's pages show this name"),
        ({"transactions": {"transaction/currency": "two words"}}, "the name of an XML element"),
        ({"transactions": {"transaction/currency": 7}}, "the name of an XML element"),
        ({"transactions": {"transaction/currency": "receiptNumber"}}, "the name of two elements"),
        ({"transactions": []}, "transactions: a table"),
        ({"contacts": 1}, "contacts: a table"),
        ({"contacts": {"key": "x"}}, "contacts.key: unknown"),
        ({"contacts": {"section": ""}}, "contacts.section: the name"),
        ({"contacts": {"types": {"Member": "a b"}}}, "contacts.types.Member: the name"),
        ({"contacts": {"preferences": "no"}}, "contacts.preferences: a table"),
        ({"contacts": {"preferences": {"acceptsSms": "city"}}}, "city is a field of the contact"),
        ({"contacts": {"preferences": {"acceptsSms": "a", "acceptsEmail": "a"}}}, "the name of two elements"),
    ],
)
def test_wrong_names_are_refused_with_their_place(written: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        names_of(written)
    assert "VOYADO_FALLBACK_NAMES" in str(caught.value)
    assert told in str(caught.value)


def test_a_file_of_names_that_is_no_toml_is_refused(shop: Shop) -> None:
    assert "is not TOML" in shop.refusal("fallback_names", "a = ")


# XSLT -----------------------------------------------------------------------------------------------------------------

RENAMING = f"""<xsl:stylesheet {XSL} xmlns:c="http://eClub.Schemas.ImportContact" exclude-result-prefixes="c">
<xsl:template match="/"><people><xsl:for-each select="//c:member"><person id="{{c:contactId}}">
<xsl:value-of select="c:city"/></person></xsl:for-each></people></xsl:template></xsl:stylesheet>"""

PEOPLE = f"""<xs:schema {XS}><xs:element name="people"><xs:complexType><xs:sequence>
<xs:element name="person" maxOccurs="unbounded"><xs:complexType><xs:simpleContent>
<xs:extension base="town"><xs:attribute name="id"/></xs:extension></xs:simpleContent></xs:complexType></xs:element>
</xs:sequence></xs:complexType></xs:element>
<xs:simpleType name="town"><xs:restriction base="xs:string"><xs:maxLength value="8"/></xs:restriction></xs:simpleType>
</xs:schema>"""


def test_a_tenants_xslt_makes_the_file_that_leaves(shop: Shop) -> None:
    shop.set("fallback_xslt_contacts", RENAMING)
    written, content = shop.write(contact(1, city="Lund & 🧥"), contact(2, city="Umeå"))
    assert content.startswith("<?xml version='1.0' encoding='UTF-8'?>")
    root = etree.fromstring(content.encode())
    assert [(person.get("id"), (person.text or "").strip()) for person in root] == [
        ("id-1", "Lund & 🧥"),
        ("id-2", "Umeå"),
    ]
    assert written.size == len(content.encode())
    assert tuple(written.entry_ids) == (1, 2)


def test_our_own_check_comes_before_the_xslt(shop: Shop) -> None:
    shop.set("fallback_xslt_contacts", RENAMING)
    written, _ = shop.write(contact(1, birthDay="x"), contact(2, city="Umeå"))
    assert tuple(written.entry_ids) == (2,)
    assert [refused.path for refused in written.refused] == ["birthDay"]


def test_what_the_vendors_xsd_refuses_after_the_xslt_is_withheld_alone(shop: Shop) -> None:
    shop.set("fallback_xslt_contacts", RENAMING)
    shop.set("fallback_xsd_contacts", PEOPLE)
    written, content = shop.write(contact(1, city="Lund"), contact(2, city="Stockholm"), contact(3, city="Kiruna"))
    assert tuple(written.entry_ids) == (1, 3)
    assert written.refused == ()
    assert [(withheld.entry_id, "vendor's XSD" in withheld.reason) for withheld in written.withheld] == [(2, True)]
    assert "Stockholm" not in content + str(written.withheld)


def test_the_later_changes_of_a_contact_stay_behind_with_one_that_the_vendors_xsd_refuses(shop: Shop) -> None:
    """The one goes by the API, and would overwrite them."""
    shop.set("fallback_xslt_contacts", RENAMING)
    shop.set("fallback_xsd_contacts", PEOPLE)
    written, content = shop.write(
        contact(1, city="Lund"), contact(2, city="Umeå"), contact(1, city="Stockholm"), contact(1, street="x")
    )
    assert (tuple(written.entry_ids), [withheld.entry_id for withheld in written.withheld]) == ((1, 2), [3])
    assert "Stockholm" not in content


def test_the_vendors_xsd_without_an_xslt_is_held_against_the_stream(shop: Shop) -> None:
    strict = f"""<xs:schema {XS} targetNamespace="http://eClub.Schemas.ImportContact" elementFormDefault="qualified">
    <xs:element name="contacts"><xs:complexType><xs:sequence><xs:element name="new"><xs:complexType><xs:sequence>
    <xs:element name="member" maxOccurs="unbounded"><xs:complexType><xs:sequence>
    <xs:element name="contactId"/><xs:element name="city"/>
    </xs:sequence></xs:complexType></xs:element>
    </xs:sequence></xs:complexType></xs:element></xs:sequence></xs:complexType></xs:element></xs:schema>"""
    shop.set("fallback_xsd_contacts", strict)
    written, content = shop.write(contact(1, city="Lund"), contact(2, street="x"))
    assert tuple(written.entry_ids) == (1,)
    assert [(withheld.entry_id, withheld.path) for withheld in written.withheld] == [(2, "street")]
    assert "id-2" not in content


def test_a_record_on_which_the_xslt_fails_is_withheld_alone_and_its_words_are_not_told(shop: Shop) -> None:
    failing = f"""<xsl:stylesheet {XSL} xmlns:c="http://eClub.Schemas.ImportContact">{IDENTITY}
    <xsl:template match="c:member[c:city='Secret']"><xsl:message terminate="yes"><xsl:value-of select="c:city"/>
    </xsl:message></xsl:template></xsl:stylesheet>"""
    shop.set("fallback_xslt_contacts", failing)
    written, _ = shop.write(contact(1, city="Lund"), contact(2, city="Secret"))
    assert tuple(written.entry_ids) == (1,)
    assert written.refused == ()
    assert [withheld.entry_id for withheld in written.withheld] == [2]
    assert "Secret" not in str(written.withheld)


def test_an_xslt_that_makes_no_xml_withholds_every_entry_and_leaves_no_file(shop: Shop) -> None:
    shop.set(
        "fallback_xslt_contacts", f'<xsl:stylesheet {XSL}><xsl:template match="/">text</xsl:template></xsl:stylesheet>'
    )
    written, content = shop.write(contact(1, city="Lund"))
    assert (written.entry_ids, content) == ((), "")


@pytest.mark.parametrize(
    "reading",
    [
        "<xsl:copy-of select=\"document('{path}')\"/>",
        "<xsl:copy-of select=\"document('http://127.0.0.1:9/x')\"/>",
        '<exsl:document href="{path}.out"><x/></exsl:document><x/>',
    ],
)
def test_a_stylesheet_reads_and_writes_nothing(shop: Shop, tmp_path: Path, reading: str) -> None:
    secret = tmp_path / "secret.xml"
    secret.write_text("<secret>top</secret>")
    body = reading.format(path=secret)
    shop.set(
        "fallback_xslt_contacts",
        f'<xsl:stylesheet {XSL} xmlns:exsl="http://exslt.org/common" extension-element-prefixes="exsl">'
        f'<xsl:template match="/"><x>{body}</x></xsl:template></xsl:stylesheet>',
    )
    _, content = shop.write(contact(1, city="Lund"))
    assert "top" not in content
    assert not Path(f"{secret}.out").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<a", "not well-formed"),
        ("<a/>", "no XSLT stylesheet"),
        (f'<xsl:stylesheet {XSL}><xsl:import href="other.xsl"/></xsl:stylesheet>', "xsl:import"),
        (f'<xsl:stylesheet {XSL}><xsl:include href="other.xsl"/></xsl:stylesheet>', "xsl:include"),
        (f'<xsl:stylesheet {XSL}><xsl:template match="]["/></xsl:stylesheet>', "no XSLT stylesheet"),
        (f'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]><xsl:stylesheet {XSL}>&e;</xsl:stylesheet>', ""),
    ],
)
def test_a_stylesheet_that_cannot_be_used_is_refused_at_the_start(shop: Shop, text: str, told: str) -> None:
    assert told in shop.refusal("fallback_xslt_transactions", text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<a", "not well-formed"),
        ("<a/>", "no XML schema"),
        (f'<xs:schema {XS}><xs:include schemaLocation="other.xsd"/></xs:schema>', "xs:include"),
        (f'<xs:schema {XS}><xs:import schemaLocation="http://x/y.xsd"/></xs:schema>', "xs:import"),
        (f'<!DOCTYPE x [<!ENTITY e "f">]><xs:schema {XS}/>', "DOCTYPE"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_at_the_start(shop: Shop, text: str, told: str) -> None:
    assert told in shop.refusal("fallback_xsd_redemptions", text)


async def test_the_client_that_drains_refuses_what_it_cannot_use_before_it_opens(shop: Shop) -> None:
    shop.set("fallback_xslt_contacts", "<a/>")
    settings = Settings(
        base_url="http://127.0.0.1:9", api_key="k", outbox=str(shop.folder / "outbox.db"), **shop.values
    )  # type: ignore[arg-type]  # paths only
    with pytest.raises(ConfigurationError, match="VOYADO_FALLBACK_XSLT_CONTACTS"):
        async with VoyadoClient(settings):
            raise AssertionError("it opened")


# entries that only what a tenant has set refuses ----------------------------------------------------------------------

NOBODY = f"""<xs:schema {XS} targetNamespace="http://eClub.Schemas.ImportContact" elementFormDefault="qualified">
<xs:element name="people"/></xs:schema>"""
SHORT = f"""<xs:schema {XS} xmlns="http://eClub.Schemas.ImportContact" elementFormDefault="qualified"
targetNamespace="http://eClub.Schemas.ImportContact"><xs:element name="contacts"><xs:complexType><xs:sequence>
<xs:element name="new"><xs:complexType><xs:sequence><xs:element name="member" maxOccurs="unbounded"><xs:complexType>
<xs:choice maxOccurs="9"><xs:element name="contactId"/><xs:element name="email"/><xs:element name="city" type="town"/>
</xs:choice></xs:complexType></xs:element></xs:sequence></xs:complexType></xs:element></xs:sequence></xs:complexType>
</xs:element><xs:simpleType name="town"><xs:restriction base="xs:string"><xs:maxLength value="8"/></xs:restriction>
</xs:simpleType>
</xs:schema>"""


class Drain:
    """An outbox in an outage, with a tenant's XSD."""

    def __init__(self, store: SqliteOutbox, clock: FakeClock, shop: Shop) -> None:
        self.store, self.clock, self.shop = store, clock, shop
        self.start()

    def start(self) -> None:
        self.courier = Courier.of(self.store, self.shop.settings())

    async def exhaust(self, **cities: str) -> dict[str, int]:
        drafts = [
            contact_update.draft(address(contact_id=GUIDS[name]), {"city": city}) for name, city in cities.items()
        ]
        ids = {name: stored.id for name, stored in zip(cities, await self.store.enqueue(drafts), strict=True)}
        for entry in ids.values():
            assert await self.store.settle(Settlement(entry, State.PENDING, State.EXHAUSTED, outage=True, slots=8))
        return ids

    async def step(self, *, api_healthy: bool = False) -> CourierReport:
        await self.clock.advance(301)
        return await self.courier.step(self.clock.now(), api_healthy=api_healthy)

    async def states(self, ids: dict[str, int]) -> dict[str, State]:
        found = await self.store.states_of(list(ids.values()))
        return {name: found[entry][0] for name, entry in ids.items()}


GUIDS = {name: f"0b6f1c52-7d0e-4a57-9c3b-5a1f2e8d4c1{number}" for number, name in enumerate(("anna", "bo", "cia"))}


@pytest.fixture
async def drain(shop: Shop) -> AsyncIterator[Drain]:
    clock = FakeClock()
    store = await open_outbox(shop.settings().outbox, base_url="http://127.0.0.1:1", clock=clock)
    yield Drain(store, clock, shop)
    await store.close()


async def test_a_wrong_xsd_of_the_operators_rejects_nothing_and_the_api_takes_all_of_it(drain: Drain) -> None:
    drain.shop.set("fallback_xsd_contacts", NOBODY)
    drain.start()
    ids = await drain.exhaust(anna="Lund", bo="Boden", cia="Kiruna")
    for _ in range(3):
        report = await drain.step()
        assert report.problem == "withheld_from_files"
        assert "VOYADO_FALLBACK_XSD_" in (report.message or "")
    assert set((await drain.states(ids)).values()) == {State.EXHAUSTED}
    assert await drain.store.files(open_only=False) == []
    record = await drain.store.get(ids["anna"])
    assert (record.reason, record.outage, record.slots) == ("withheld_from_files", True, 8)
    lines = [line for line in await drain.store.attempts(ids["anna"]) if line.what == "file"]
    assert [line.outcome for line in lines] == ["withheld"]
    report = await drain.step(api_healthy=True)
    assert report.problem is None
    assert set((await drain.states(ids)).values()) == {State.PENDING}


async def test_what_only_the_vendors_xsd_refuses_waits_while_the_rest_leaves_and_later_changes_wait_with_it(
    drain: Drain,
) -> None:
    drain.shop.set("fallback_xsd_contacts", SHORT)
    drain.start()
    ids = await drain.exhaust(anna="Stockholm", bo="Boden")
    await drain.step()
    later = await drain.exhaust(anna="Lund")
    await drain.step()
    assert await drain.states(ids) == {"anna": State.EXHAUSTED, "bo": State.SPOOLED}
    assert await drain.states(later) == {"anna": State.EXHAUSTED}


async def test_a_change_in_another_file_waits_as_well_for_one_that_was_withheld(drain: Drain) -> None:
    drain.shop.set("fallback_xsd_contacts", SHORT)
    drain.start()
    first = await drain.exhaust(anna="Stockholm")
    email = contact_update.draft(address(email="anna@example.com"), {"city": "Lund"})
    (second,) = [stored.id for stored in await drain.store.enqueue([email])]
    (lane,) = [message.lane for message in await drain.store.claim(9, drain.clock.now(), frozenset())]
    assert await drain.store.join_lanes(lane, GUIDS["anna"], "email:anna@example.com")
    assert await drain.store.settle(Settlement(second, State.PENDING, State.EXHAUSTED, outage=True))
    await drain.step()
    assert await drain.states(first | {"second": second}) == {"anna": State.EXHAUSTED, "second": State.EXHAUSTED}


async def test_a_corrected_xsd_lets_what_was_withheld_leave_after_a_restart(drain: Drain) -> None:
    drain.shop.set("fallback_xsd_contacts", NOBODY)
    drain.start()
    ids = await drain.exhaust(anna="Lund")
    await drain.step()
    drain.shop.set("fallback_xsd_contacts", SHORT)
    drain.start()
    report = await drain.step()
    assert report.problem is None
    assert await drain.states(ids) == {"anna": State.SPOOLED}
