"""The importer: applies what is right, skips what is wrong, deletes what it took, and says so only in its log."""

from __future__ import annotations

import asyncio
import os
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from voyado_async.sandbox import Sandbox

DECLARATION = '<?xml version="1.0" encoding="utf-8"?>\n'
RECEIPTS = 'xmlns="http://voyado.Schemas.ImportReceipts"'
CONTACTS = 'xmlns="http://eClub.Schemas.ImportContact"'
FOLDERS = {"contacts": "customerImport", "transactions": "transactionImport", "redemptions": "promotionImport"}


def put(sandbox: Sandbox, kind: str, text: str, name: str | None = None) -> Path:
    path = (
        sandbox.sftp_root
        / "integration"
        / FOLDERS[kind]
        / (name or f"20250314093000_a1-{os.urandom(3).hex()}_{kind}.xml")
    )
    path.write_bytes(text.encode())
    return path


def transaction(unique_id: str = "R1", key: str = "K1", key_type: str = "externalId") -> str:
    return f"""
  <transaction>
    <contact>
      <matchKey>{key}</matchKey>
      <matchKeyType>{key_type}</matchKeyType>
      <contactType>Member</contactType>
    </contact>
    <uniqueReceiptId>{unique_id}</uniqueReceiptId>
    <receiptNumber>000871</receiptNumber>
    <createdDate>2025-03-14T09:12:44+01:00</createdDate>
    <storeExternalId>204</storeExternalId>
    <currency>SEK</currency>
    <exchangeRateToGroupCurrency>1.0</exchangeRateToGroupCurrency>
    <totalGrossPrice>640.00</totalGrossPrice>
    <paymentMethods>
      <paymentMethod>
        <type>card</type>
        <description>Debit card</description>
        <value>640.00</value>
        <extraData><item name="terminal">T03</item></extraData>
      </paymentMethod>
    </paymentMethods>
    <items>
      <item>
        <type>PURCHASE</type>
        <quantity>2</quantity>
        <grossPaidPrice>640.00</grossPaidPrice>
        <taxAmount>128.00</taxAmount>
        <taxPercent>25.00</taxPercent>
        <sku>55-M</sku>
        <articleNumber>55</articleNumber>
        <articleName>Rain &amp; storm</articleName>
        <articleGroup>Outerwear</articleGroup>
        <extraData><item name="size">M</item></extraData>
        <marginPercent>41.50</marginPercent>
        <awardsBonus>true</awardsBonus>
        <discounts>
          <discount><type>PROMO</type><description>Spring</description><value>-160.00</value></discount>
        </discounts>
      </item>
    </items>
    <usedBonusChecks><usedBonusCheck><checkNumber>0007</checkNumber></usedBonusCheck></usedBonusChecks>
    <usedPromotions><usedPromotion><promotionId>P</promotionId><couponId>C</couponId></usedPromotion></usedPromotions>
  </transaction>"""


def transactions(*rows: str) -> str:
    return f"{DECLARATION}<!-- a comment -->\n<transactions {RECEIPTS}>{''.join(rows)}\n</transactions>\n"


def contacts(*rows: str, attributes: str = "") -> str:
    return f"{DECLARATION}<contacts {CONTACTS}{attributes}><new>{''.join(rows)}</new></contacts>"


def redemption(coupon: str, more: str = "") -> str:
    return f"""{DECLARATION}<promotions><redeemed><promotion>
      {more}
      <couponId>{coupon}</couponId>
      <redemptionChannels><redemptionChannel><type>POS</type></redemptionChannel></redemptionChannels>
      <redeemedDateTime>2025-03-14T09:12:40.1834500+01:00</redeemedDateTime>
    </promotion></redeemed></promotions>"""


async def test_a_transactions_file_becomes_receipts_of_the_same_form_as_posted_ones(sandbox: Sandbox) -> None:
    anna = sandbox.state.add_contact(externalId="K1")
    path = put(sandbox, "transactions", transactions(transaction("R1"), transaction("R2"), transaction("R1")))
    (record,) = await sandbox.importer.run()
    assert not path.exists()
    assert (record.outcome, [i["result"] for i in record.items]) == ("applied", ["stored", "stored", "duplicate"])
    receipt = sandbox.state.receipts["R1"]
    assert receipt["contactId"] == anna.id
    assert receipt["totalGrossPrice"] == Decimal("640.00")
    assert receipt["paymentMethods"][0]["extraData"] == [{"name": "terminal", "value": "T03"}]
    assert receipt["items"][0]["articleName"] == "Rain & storm"
    assert receipt["items"][0]["awardsBonus"] is True
    assert receipt["usedPromotions"] == [{"promotionId": "P", "couponId": "C"}]
    (commit,) = sandbox.journal.effects("receipt", "R1")
    assert (commit.road, commit.source) == ("file", path.name)


async def test_a_receipt_without_its_contact_or_store_is_ignored_and_the_rest_is_stored(sandbox: Sandbox) -> None:
    sandbox.state.add_contact(externalId="K1")
    elsewhere = transaction("R2").replace("<storeExternalId>204<", "<storeExternalId>999<")
    put(sandbox, "transactions", transactions(transaction("R1", key="K9"), elsewhere, transaction("R3")))
    (record,) = await sandbox.importer.run()
    assert [i["result"] for i in record.items] == ["unknown contact", "unknown store", "stored"]
    assert list(sandbox.state.receipts) == ["R3"]
    assert len(sandbox.log.of("warning")) == 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (DECLARATION, ""),
        (DECLARATION, "\ufeff" + DECLARATION),
        ("utf-8", "iso-8859-1"),
        (DECLARATION, DECLARATION + "<!DOCTYPE transactions>"),
        (DECLARATION, DECLARATION + '<!DOCTYPE t [<!ENTITY x "y">]>'),
        (RECEIPTS, 'xmlns="http://voyado.Schemas.Other"'),
        (RECEIPTS, RECEIPTS + ' version="1"'),
        ("</transactions>", ""),
        ("<transaction>", "<transaction>text"),
        ("<transaction>", "<transaction><?php x?>"),
        ("<receiptNumber>", "<taxDetails/><receiptNumber>"),
        ("<currency>SEK</currency>", ""),
        ("<currency>SEK</currency>", "<currency>SEK</currency><currency>SEK</currency>"),
        ("<currency>SEK</currency>", '<currency x="1">SEK</currency>'),
        ("<currency>SEK</currency>", "<currency>kronor</currency>"),
        ("<totalGrossPrice>640.00", "<totalGrossPrice>640,00"),
        ("<totalGrossPrice>640.00", "<totalGrossPrice>6.4E2"),
        ("<quantity>2", "<quantity>2.0"),
        ("<awardsBonus>true", "<awardsBonus>Yes"),
        ("<type>PURCHASE", "<type>SALE"),
        ("+01:00</createdDate>", "</createdDate>"),
        ("<matchKeyType>externalId", "<matchKeyType>cardId"),
        ('<item name="size">M</item>', "<name>size</name><value>M</value>"),
        (
            "<sku>55-M</sku>\n        <articleNumber>55</articleNumber>",
            "<articleNumber>55</articleNumber><sku>55</sku>",
        ),
        ("<paymentMethod>", "<payment>"),
    ],
)
async def test_one_wrong_thing_in_a_transactions_file_skips_the_whole_file(
    sandbox: Sandbox, old: str, new: str
) -> None:
    sandbox.state.add_contact(externalId="K1")
    text = transactions(transaction("R1"), transaction("R2"))
    assert old in text
    path = put(sandbox, "transactions", text.replace(old, new, 1))
    (record,) = await sandbox.importer.run()
    assert (record.outcome, record.items) == ("skipped", [])
    assert sandbox.state.receipts == {}
    assert not path.exists()
    (line,) = sandbox.log.of("error")
    assert (line.source, "major error" in line.message) == (path.name, True)


async def test_two_match_key_types_in_one_file_skip_it(sandbox: Sandbox) -> None:
    anna = sandbox.state.add_contact(externalId="K1")
    put(sandbox, "transactions", transactions(transaction("R1"), transaction("R2", anna.id, "contactId")))
    assert (await sandbox.importer.run())[0].outcome == "skipped"


async def test_a_contacts_file_updates_by_contact_id_and_drops_only_invalid_fields(sandbox: Sandbox) -> None:
    anna = sandbox.state.add_contact(externalId="K1", city="Umea", street="Gatan 1")
    row = f"""<member source="POS"><contactId>{anna.id.upper()}</contactId><lastName>Lind &amp; Berg</lastName>
      <email>nonsense</email><city/><shoeSize>38</shoeSize><favouriteColour>red</favouriteColour><age>3</age>
      <acceptsEmail>true</acceptsEmail><acceptsSms>Yes</acceptsSms></member>"""
    path = put(sandbox, "contacts", contacts(row))
    (record,) = await sandbox.importer.run()
    assert record.items == [{"kind": "contact_update", "id": anna.id, "result": "updated"}]
    assert anna.attributes["lastName"] == "Lind & Berg"
    assert (anna.attributes["city"], anna.attributes["street"]) == (None, "Gatan 1")
    assert anna.attributes["shoeSize"] == "38"
    assert not {"email", "age", "favouriteColour"} & anna.attributes.keys()
    assert (anna.preferences["acceptsEmail"], anna.preferences["acceptsSms"]) == (True, False)
    assert len([line for line in sandbox.log.of("warning") if line.source == path.name]) == 4
    assert sandbox.journal.applied(anna.id) == [
        {"lastName": "Lind & Berg", "city": None, "shoeSize": "38", "preferences.acceptsEmail": True}
    ]


async def test_one_contact_id_makes_it_the_key_of_the_whole_file(sandbox: Sandbox) -> None:
    anna = sandbox.state.add_contact(externalId="K1")
    rows = (
        f"<member><contactId>{anna.id}</contactId><city>Lund</city></member>",
        "<member><externalId>K2</externalId><city>Lund</city></member>",
        "<member><contactId>00000000-0000-4000-8000-000000000000</contactId><city>Lund</city></member>",
        f"<contact><contactId>{anna.id}</contactId><city>Kiruna</city></contact>",
        f"<alien><contactId>{anna.id}</contactId><city>Kiruna</city></alien>",
    )
    put(sandbox, "contacts", contacts(*rows))
    (record,) = await sandbox.importer.run()
    assert [i["result"] for i in record.items] == [
        "updated",
        "contactId is missing",
        "no contact of this type has this key",
        "no contact of this type has this key",
        "unknown contact type",
    ]
    assert len(sandbox.state.contacts) == 1
    assert anna.attributes["city"] == "Lund"


async def test_without_contact_ids_the_tenants_key_updates_or_inserts(sandbox: Sandbox) -> None:
    anna = sandbox.state.add_contact(externalId="K1")
    rows = [f"<member><externalId>{key}</externalId><city>Lund</city></member>" for key in ("K1", "K2")]
    put(sandbox, "contacts", contacts(*rows, "<member><city>Lund</city></member>"))
    (record,) = await sandbox.importer.run()
    assert [i["result"] for i in record.items] == ["updated", "created", "externalId is missing"]
    assert anna.attributes["city"] == "Lund"
    assert len(sandbox.state.contacts) == 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (CONTACTS, ""),
        ("<new>", "<updated>"),
        ("<member>", '<member id="1">'),
        ("<city>Lund</city>", "<city>Lund</city><city>Lund</city>"),
        ("<city>Lund</city>", "<preferences><acceptsSms>true</acceptsSms></preferences>"),
        ("<new>", '<new kind="all">'),
        (f"{CONTACTS}", f'{CONTACTS} avoidTriggeringExport="true"'),
    ],
)
async def test_a_contacts_file_of_the_wrong_structure_is_skipped(sandbox: Sandbox, old: str, new: str) -> None:
    anna = sandbox.state.add_contact(externalId="K1", city="Umea")
    text = contacts("<member><externalId>K1</externalId><city>Lund</city></member>")
    assert old in text
    text = text.replace(old, new).replace("</new>", "</updated>" if new == "<updated>" else "</new>")
    put(sandbox, "contacts", text)
    assert (await sandbox.importer.run())[0].outcome == "skipped"
    assert anna.attributes["city"] == "Umea"


async def test_a_silent_import_takes_keys_and_custom_fields(sandbox: Sandbox) -> None:
    anna = sandbox.state.add_contact(externalId="K1")
    row = "<member><externalId>K1</externalId><shoeSize>38</shoeSize></member>"
    put(sandbox, "contacts", contacts(row, attributes=' avoidTriggeringExport="true"'))
    assert (await sandbox.importer.run())[0].outcome == "applied"
    assert anna.attributes["shoeSize"] == "38"


async def test_a_redemption_file_redeems_with_its_own_time_and_never_twice(sandbox: Sandbox) -> None:
    anna = sandbox.state.add_contact(externalId="K1")
    offer = sandbox.state.add_assignment(anna.id)
    put(sandbox, "redemptions", redemption(offer.id, f"<contactId>{anna.id}</contactId>"))
    put(sandbox, "redemptions", redemption(offer.id))
    put(sandbox, "redemptions", redemption("unknown"))
    results = [record.items[0]["result"] for record in await sandbox.importer.run()]
    assert sorted(results) == ["already redeemed", "redeemed", "unknown coupon"]
    assert offer.redeemed_on == datetime.fromisoformat("2025-03-14T09:12:40.183450+01:00")
    assert sandbox.journal.count("redeem", offer.id) == 1


@pytest.mark.parametrize("more", ["<storeType>SHOP</storeType>", "<unknown/>", "<couponId>2</couponId>"])
async def test_a_redemption_file_of_the_wrong_shape_is_skipped(sandbox: Sandbox, more: str) -> None:
    offer = sandbox.state.add_assignment(sandbox.state.add_contact(externalId="K1").id)
    put(sandbox, "redemptions", redemption(offer.id, more))
    assert (await sandbox.importer.run())[0].outcome == "skipped"
    assert not offer.redeemed


@pytest.mark.parametrize(
    "name",
    [
        "20250314093000_contacts.xml",
        "2025031409300_1_contacts.xml",
        "20250314093000_1_transactions.xml",
        "20250314093000_1_Contacts.xml",
        "20250314093000_1_contacts.xml.part",
        ".20250314093000_1_contacts.xml",
        ".20250314093000_1_contacts.xml.part",
    ],
)
async def test_a_file_with_another_name_stays(sandbox: Sandbox, name: str) -> None:
    sandbox.state.add_contact(externalId="K1")
    path = put(sandbox, "contacts", contacts("<member><externalId>K2</externalId></member>"), name)
    for _ in range(2):
        assert await sandbox.importer.run() == []
    assert path.exists()
    assert len(sandbox.state.contacts) == 1
    told = name.endswith(".xml") and not name.startswith(".")
    assert len(sandbox.log.of("error")) == (1 if told else 0)
    assert sandbox.importer.waiting() == [f"integration/customerImport/{name}"]


async def test_files_are_taken_in_order_of_name_and_contacts_before_their_receipts(sandbox: Sandbox) -> None:
    put(sandbox, "transactions", transactions(transaction("R1", key="K2")))
    for number, city in ((2, "Kiruna"), (1, "Lund")):
        row = f"<member><externalId>K2</externalId><city>{city}</city></member>"
        put(sandbox, "contacts", contacts(row), f"20250314093000_{number}_contacts.xml")
    records = await sandbox.importer.run()
    assert [r.name[-14:] for r in records[:2]] == ["1_contacts.xml", "2_contacts.xml"]
    (contact,) = sandbox.state.contacts.values()
    assert contact.attributes["city"] == "Kiruna"
    assert records[2].items[0]["result"] == "stored"


async def test_the_import_can_lose_a_file_in_silence_and_can_stand_still(sandbox: Sandbox) -> None:
    sandbox.state.add_contact(externalId="K1")
    path = put(sandbox, "transactions", transactions(transaction("R1")))
    stopped = sandbox.faults.add("import_stopped")
    assert await sandbox.importer.run() == []
    assert path.exists()
    sandbox.faults.remove(stopped)
    sandbox.faults.add("import_skip", path="*_transactions.xml", count=1)
    (record,) = await sandbox.importer.run()
    assert (record.outcome, path.exists()) == ("lost", False)
    assert sandbox.state.receipts == {}
    put(sandbox, "transactions", transactions(transaction("R1")))
    assert (await sandbox.importer.run())[0].outcome == "applied"


async def test_the_api_answers_while_a_big_file_is_imported(engage: Any, sandbox: Sandbox) -> None:
    anna = sandbox.state.add_contact(externalId="K1")
    put(sandbox, "transactions", transactions(*(transaction(f"R{n}") for n in range(2000))))
    importing = asyncio.create_task(sandbox.importer.run())
    answered = 0
    while not importing.done():
        assert (await engage.get(f"/api/v3/contacts/{anna.id}"))[0] == 200
        answered += 1
    assert answered > 3
    assert len(importing.result()[0].items) == 2000
