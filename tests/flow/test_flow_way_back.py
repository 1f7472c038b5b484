"""The way back over the sandbox's real REST and SFTP: imports that come late, put an old value back, match nobody or
several, or never come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from voyado_async import Settings, VoyadoClient
from voyado_async.clock import SystemClock
from voyado_async.delivery import Draft
from voyado_async.drain import rounds
from voyado_async.kinds import contact_create, contact_update, receipt
from voyado_async.kinds.address import address
from voyado_async.outbox.records import EntryRecord, Settlement
from voyado_async.outbox.sqlite import open_outbox
from voyado_async.outbox.states import State
from voyado_async.resources.status import Status
from voyado_async.sandbox import Sandbox, SandboxSettings

NEVER = 3600.0
"""The importer runs when the test lets it."""


class Shop:
    """An Engage that imports when it is told to, and the settings of a shop that drains for itself."""

    def __init__(self, sandbox: Sandbox, folder: Path, import_period: float) -> None:
        self.engage = sandbox
        self.settings = Settings(
            base_url=sandbox.base_url, api_key=sandbox.api_key, outbox=str(folder / "outbox.db"), contact_key="email",
            user_agent="Test/1.0", fallback_interval=0.1, import_period=import_period, sftp_host=sandbox.sftp_host,
            sftp_port=sandbox.sftp_port, sftp_username=sandbox.sftp_username, sftp_password=sandbox.sftp_password,
            sftp_host_key=sandbox.sftp_host_key,
        )  # fmt: skip

    async def poison(self, *drafts: Draft) -> list[int]:
        """These used their retries up while the API was otherwise well: they leave by file."""
        outbox = await open_outbox(self.settings.outbox, base_url=self.settings.base_url, clock=SystemClock())
        ids = [stored.id for stored in await outbox.enqueue(drafts)]
        for entry in ids:
            assert await outbox.settle(Settlement(entry, State.PENDING, State.EXHAUSTED))
        await outbox.close()
        return ids

    @asynccontextmanager
    async def open(self) -> AsyncIterator[VoyadoClient]:
        async with asyncio.timeout(40), VoyadoClient(self.settings) as voyado:
            yield voyado
            assert [finding for finding in await voyado.outbox.verify() if not finding.ok] == []

    def city(self, contact_id: str) -> object:
        contact = self.engage.state.contact(contact_id)
        assert contact is not None
        return contact.attributes.get("city")


@asynccontextmanager
async def shop(folder: Path, *, import_period: float = 0.3, insert: bool = True) -> AsyncIterator[Shop]:
    async with Sandbox(SandboxSettings(import_period=NEVER, receipt_period=0.1, insert_new_contacts=insert)) as sandbox:
        await sandbox.importer.run()  # its first turn of itself
        yield Shop(sandbox, folder, import_period)


@pytest.fixture(autouse=True)
def nobody_drained_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "REST", 0)


async def until(voyado: VoyadoClient, entry: int, *states: State) -> EntryRecord:
    while True:
        found = await voyado.outbox.get(entry)
        if found.state in states:
            return found
        await asyncio.sleep(0.02)


async def arrived(voyado: VoyadoClient, *entries: int) -> None:
    """Their files have their names in Engage's folders."""
    for entry in entries:
        await until(voyado, entry, State.UPLOADED)
    await until_status(voyado, lambda status: not {"spooled", "uploading"} & status.files.keys())


async def until_status(voyado: VoyadoClient, holds: Callable[[Status], bool]) -> Status:
    while not holds(status := await voyado.outbox.status()):
        await asyncio.sleep(0.02)
    return status


def change(email: str, **changes: object) -> Draft:
    return contact_update.draft(address(email=email), changes)


def creation(email: str, **fields: object) -> Draft:
    return contact_create.draft({"email": email, **fields}, contact_key="email")


def sale(number: int, email: str) -> Draft:
    return receipt.draft(
        {
            "contact": {"matchKey": email, "matchKeyType": "email"},
            "uniqueReceiptId": f"R-{number}",
            "receiptNumber": str(number),
            "createdDate": "2025-03-14T09:12:44+01:00",
            "storeExternalId": "204",
            "currency": "SEK",
            "totalGrossPrice": 0,
            "paymentMethods": [],
            "items": [],
        }
    )


async def test_a_newer_value_that_an_import_put_over_is_sent_again(tmp_path: Path) -> None:
    """That both are one contact's, nobody knew when the file left: the newer change had no reason to wait."""
    async with shop(tmp_path) as place:
        anna = place.engage.state.add_contact(email="anna@example.com", city="Boden", street="Gatan 1")
        (older,) = await place.poison(change("anna@example.com", city="Malmö", street="Provgatan 7"))
        async with place.open() as voyado:
            await arrived(voyado, older)
            newer = await voyado.contacts.update(anna.id, {"city": "Lund"})
            assert (await newer.wait(timeout=10)).state is State.DELIVERED
            assert place.city(anna.id) == "Lund"
            await place.engage.importer.run()
            assert place.city(anna.id) == "Malmö"
            assert (await until(voyado, older, State.DELIVERED, State.REJECTED)).state is State.DELIVERED
        assert place.city(anna.id) == "Lund"
        assert anna.attributes["street"] == "Provgatan 7"


async def test_the_id_of_a_contact_that_a_file_made_is_known_afterwards(tmp_path: Path) -> None:
    async with shop(tmp_path) as place:
        (made,) = await place.poison(creation("cia@example.com", firstName="Cia"))
        async with place.open() as voyado:
            await arrived(voyado, made)
            await place.engage.importer.run()
            await until(voyado, made, State.DELIVERED)
            (cia,) = place.engage.state.matching("email", "cia@example.com")
            place.engage.faults.add("refuse")
            assert await voyado.contacts.find(email="cia@example.com") == cia.id


async def test_several_matches_and_none_are_told_on_the_way_back(tmp_path: Path) -> None:
    async with shop(tmp_path, insert=False) as place:
        entries = await place.poison(
            change("shared@example.com", city="Lund"),
            creation("twins@example.com"),
            change("gone@example.com", city="Umeå"),
        )
        async with place.open() as voyado:
            await arrived(voyado, *entries)
            pairs = {
                email: {place.engage.state.add_contact(email=email).id for _ in range(2)}
                for email in ("shared@example.com", "twins@example.com")
            }
            await place.engage.importer.run()
            told = [await until(voyado, entry, State.DELIVERED, State.REJECTED) for entry in entries]
            assert [entry.state for entry in told] == [State.REJECTED] * 3
            for entry, ids in zip(told[:2], pairs.values(), strict=True):
                code, _, named = (entry.reason or "").partition(": ")
                assert code.startswith("MultipleMatches")
                assert all(one in named for one in ids)
            assert (told[2].reason or "").startswith("ContactNotFound")
            assert "3 rejected" in (await voyado.outbox.status()).needs_person


async def test_an_import_that_never_comes_is_told_and_holds_only_what_depends_on_it(tmp_path: Path) -> None:
    async with shop(tmp_path, import_period=0.2) as place:
        bo = place.engage.state.add_contact(email="bo@example.com", city="Boden")
        made, bought, other = await place.poison(
            creation("cia@example.com"), sale(1, "cia@example.com"), sale(2, "bo@example.com")
        )
        async with place.open() as voyado:
            await arrived(voyado, made, other)
            await until_status(voyado, lambda status: status.needs_person == ("2 files: stays",))
            entry = await voyado.contacts.update(bo.id, {"city": "Lund"})
            assert (await entry.wait(timeout=10)).state is State.DELIVERED
            assert (await voyado.outbox.get(bought)).state is State.EXHAUSTED
            await place.engage.importer.run()
            await until(voyado, made, State.DELIVERED)
            await arrived(voyado, bought)
            await place.engage.importer.run()
            for waits in (bought, other):
                await until(voyado, waits, State.DELIVERED)
            assert (await voyado.outbox.status()).needs_person == ()
