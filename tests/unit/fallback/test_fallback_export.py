"""``voyado-async export``: files of chosen entries, and nothing moves."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from voyado_async.cli.program import program
from voyado_async.clock import SystemClock
from voyado_async.delivery import Draft
from voyado_async.kinds import contact_create, contact_type, contact_update, receipt, redeem
from voyado_async.kinds.address import address
from voyado_async.outbox.records import EntryFilter, Learned, Settlement
from voyado_async.outbox.sqlite import open_outbox
from voyado_async.outbox.states import State

ANNA = "0b6f1c52-7d0e-4a57-9c3b-5a1f2e8d4c10"
COUPON = "e7f30b85-14a9-4d62-b0c8-2f6d5a9e7713"


def change(**changes: Any) -> Draft:
    return contact_update.draft(address(contact_id=ANNA), changes)


def sale(number: int = 1) -> Draft:
    return receipt.draft(
        {
            "contact": {"matchKey": ANNA, "matchKeyType": "contactId"},
            "uniqueReceiptId": f"R-{number}",
            "receiptNumber": "1",
            "createdDate": "2025-03-14T09:12:44+01:00",
            "storeExternalId": "204",
            "currency": "SEK",
            "totalGrossPrice": 10,
            "paymentMethods": [],
            "items": [],
        }
    )


class Shop:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "outbox.db"
        self.out = folder / "out"

    def put(self, *drafts: Draft, delivered: int = 0) -> None:
        async def write() -> None:
            outbox = await open_outbox(self.path, base_url="http://127.0.0.1:1", clock=SystemClock())
            try:
                stored = await outbox.enqueue(drafts)
                for one in stored[:delivered]:
                    await outbox.settle(Settlement(one.id, State.PENDING, State.DELIVERED))
            finally:
                await outbox.close()

        asyncio.run(write())

    def learn(self, learned: Learned) -> None:
        async def write() -> None:
            outbox = await open_outbox(self.path, base_url="http://127.0.0.1:1", clock=SystemClock())
            try:
                await outbox.remember_contacts([learned])
            finally:
                await outbox.close()

        asyncio.run(write())

    def settle(self, entry: int, state: State) -> None:
        async def write() -> None:
            outbox = await open_outbox(self.path, base_url="http://127.0.0.1:1", clock=SystemClock())
            try:
                if state is not State.PENDING:
                    await outbox.settle(Settlement(entry, State.PENDING, State.SENDING))
                    assert await outbox.settle(Settlement(entry, State.SENDING, state))
            finally:
                await outbox.close()

        asyncio.run(write())

    def snapshot(self) -> list[Any]:
        async def look() -> list[Any]:
            outbox = await open_outbox(self.path, base_url=None, clock=SystemClock(), read_only=True)
            try:
                found = await outbox.entries(EntryFilter())
                return [(entry, await outbox.attempts(entry.id)) for entry in found]
            finally:
                await outbox.close()

        return asyncio.run(look())

    def run(self, *arguments: str, **settings: str) -> Result:
        environ = {"VOYADO_OUTBOX": str(self.path), "VOYADO_BASE_URL": "http://127.0.0.1:1"} | settings
        return CliRunner().invoke(program, ["export", str(self.out), *arguments], env=environ)

    def report(self, *arguments: str, **settings: str) -> dict[str, Any]:
        done = self.run("--json", *arguments, **settings)
        assert done.exit_code == 0, done.output
        told: dict[str, Any] = json.loads(done.stdout)
        return told


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_the_files_of_all_that_is_unfinished_are_written_and_no_entry_moves(shop: Shop) -> None:
    shop.put(sale(1), sale(2), change(city="Lund"), redeem.draft(COUPON, channel="POS", contact_id=ANNA), delivered=1)
    before = shop.snapshot()
    report = shop.report()
    assert [(file["family"], file["entries"]) for file in report["files"]] == [
        ("contacts", 1),
        ("redemptions", 1),
        ("transactions", 1),
    ]
    assert report["left_out"] == []
    assert shop.snapshot() == before
    assert sorted(path.name for path in shop.out.iterdir()) == sorted(file["name"] for file in report["files"])
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in shop.out.iterdir())
    assert "R-2" in next(shop.out.glob("*_transactions.xml")).read_text()
    assert "R-1" not in next(shop.out.glob("*_transactions.xml")).read_text()


def test_a_contact_stands_there_as_one_of_its_type(shop: Shop) -> None:
    shop.put(change(city="Lund"))
    shop.learn(Learned(f"contact:{ANNA}", ANNA, 0, "Guest"))
    assert [file["contact_type"] for file in shop.report()["files"]] == ["Guest"]


def test_names_are_never_used_twice(shop: Shop) -> None:
    shop.put(sale())
    first, second = (shop.report()["files"][0]["name"] for _ in range(2))
    assert first < second
    assert len(list(shop.out.iterdir())) == 2


def test_what_has_no_form_and_what_must_not_overtake_it_is_told(shop: Shop) -> None:
    shop.put(change(street=None), change(city="Lund"), contact_type.draft(ANNA, "Member"), sale())
    report = shop.report()
    assert [file["family"] for file in report["files"]] == ["transactions"]
    assert [(entry["id"], entry["reason"].partition(":")[0]) for entry in report["left_out"]] == [
        (1, "clears a field"),
        (2, "an older change of its contact stands in no file"),
        (3, "a change of the contact type has no form in a file (ref 6.4)"),
    ]
    lines = shop.run().stdout.splitlines()
    assert lines[1].startswith("entry 1 (contact_update) stands in no file: clears a field")
    assert lines[-1] == f"1 files in {shop.out}; no entry was moved"


@pytest.mark.parametrize("newer_is", ["pending", "delivered", "rejected"])
def test_an_exported_change_leaves_out_what_a_newer_one_of_its_contact_sets(shop: Shop, newer_is: str) -> None:
    """Nobody knows when somebody carries the file: the newer value must not be overwritten then."""
    shop.put(change(city="Malmo", street="Provgatan 7"), change(city="Ystad"), sale())
    shop.put(change(city="Lund"))
    shop.settle(4, State(newer_is))
    report = shop.report("1", "2", "3")
    content = next(shop.out.glob("*_contacts.xml")).read_text()
    assert "Provgatan 7" in content
    assert "Malmo" not in content
    if newer_is == "rejected":  # it has set nothing
        assert "Ystad" in content
        assert report["left_out"] == []
    else:
        assert "Ystad" not in content
        assert [(entry["id"], entry["reason"]) for entry in report["left_out"]] == [
            (2, "newer entries of its contact set all of it")
        ]
    assert [file["entries"] for file in report["files"]] == [2 if newer_is == "rejected" else 1, 1]


def test_an_exported_creation_leaves_out_what_a_newer_change_of_its_contact_sets(shop: Shop) -> None:
    contact = {"email": "anna@example.com", "city": "Malmo", "street": "Provgatan 7"}
    shop.put(contact_create.draft(contact, on_existing="keep", contact_key="email"))
    shop.put(contact_update.draft(address(email="anna@example.com"), {"city": "Lund"}))
    shop.report("1", VOYADO_CONTACT_KEY="email")
    content = next(shop.out.glob("*_contacts.xml")).read_text()
    assert "Provgatan 7" in content
    assert "Malmo" not in content


def test_entries_are_selected_by_filter_or_by_id(shop: Shop) -> None:
    shop.put(sale(1), change(city="Lund"), sale(2), delivered=1)
    assert [file["family"] for file in shop.report("--kind", "contact_update")["files"]] == ["contacts"]
    assert [file["entries"] for file in shop.report("--state", "delivered")["files"]] == [1]
    assert [file["entries"] for file in shop.report("1", "3")["files"]] == [2]
    assert shop.report("--state", "exhausted")["files"] == []
    assert shop.run("7").exit_code == 2


def test_the_contacts_that_would_go_in_bulk_have_a_file_as_well(shop: Shop) -> None:
    shop.put(contact_update.draft(address(email="anna@example.com"), {"city": "Lund"}))
    report = shop.report(VOYADO_CONTACT_KEY="email", VOYADO_FALLBACK_CONTACTS="bulk")
    assert [file["match_key_type"] for file in report["files"]] == ["email"]


def test_the_spool_folder_itself_is_refused(shop: Shop) -> None:
    shop.put(sale())
    done = shop.run(VOYADO_SPOOL_DIR=str(shop.out))
    assert done.exit_code == 2
    assert not shop.out.exists()
