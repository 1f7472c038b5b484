"""The courier over the real outbox and spool folder; the file server is a dictionary, or asyncssh's in one test."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from file_servers import FileServer

from voyado_async.delivery import Draft, FileFamily, FileForm, Message, NoFileForm
from voyado_async.errors import InvalidEntry, OutboxUnavailable, UploadFailed
from voyado_async.fallback.courier import Courier
from voyado_async.fallback.plans import LOST, STAYS
from voyado_async.fallback.report import CourierReport
from voyado_async.fallback.spool import Spool, part_name
from voyado_async.fallback.transfer import Transfer
from voyado_async.fallback.writing import Writing, Written
from voyado_async.kinds import contact_create, contact_type, contact_update, receipt, redeem, registry
from voyado_async.kinds.address import address
from voyado_async.outbox.records import AsRead, FileRecord, Settlement
from voyado_async.outbox.sqlite import SqliteOutbox, open_outbox
from voyado_async.outbox.states import FileState, State
from voyado_async.settings import Settings

ANNA = "0b6f1c52-7d0e-4a57-9c3b-5a1f2e8d4c10"
BO = "c41d8a90-2b36-4f1e-8e77-91d3a6b05f2e"
COUPON = "e7f30b85-14a9-4d62-b0c8-2f6d5a9e7713"
START = 1_741_944_600_000
MINUTE = 60_000
HOUR = 60 * MINUTE


class Crash(BaseException):
    """The process dies here. Nothing in the package catches it."""


class StoppedClock:
    """The wall clock that a test sets."""

    def __init__(self) -> None:
        self.instant = START

    def now(self) -> int:
        return self.instant

    def monotonic(self) -> float:
        return self.instant / 1000

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody sleeps here")


class Engage:
    """A file server in memory. `trouble` is raised by every session, `missing` folders are not there."""

    def __init__(self) -> None:
        self.files: dict[tuple[str, str], bytes] = {}
        self.renames: list[str] = []
        self.sessions = 0
        self.trouble: UploadFailed | None = None
        self.missing: set[str] = set()
        self.before_publish: Callable[[], None] = lambda: None
        self.after_publish: Callable[[], None] = lambda: None
        self.after_stage: Callable[[], Any] = lambda: None

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Engage]:
        self.sessions += 1
        if self.trouble is not None:
            raise self.trouble
        yield self

    def _folder(self, folder: str) -> str:
        if folder in self.missing:
            raise UploadFailed("folder_missing", f"{folder} is not there")
        return folder

    async def listing(self, folder: str) -> dict[str, int]:
        self._folder(folder)
        return {name: len(content) for (there, name), content in self.files.items() if there == folder}

    async def size(self, folder: str, name: str) -> int | None:
        content = self.files.get((folder, name))
        return None if content is None else len(content)

    async def stage(self, local: Path, folder: str, name: str) -> None:
        self.files[self._folder(folder), part_name(name)] = local.read_bytes()
        result = self.after_stage()
        if result is not None:
            await result

    async def publish(self, folder: str, name: str, size: int) -> None:
        self.before_publish()
        content = self.files.pop((folder, part_name(name)))
        assert (folder, name) not in self.files
        assert len(content) == size
        self.files[folder, name] = content
        self.renames.append(name)
        self.after_publish()

    async def discard(self, folder: str, name: str) -> None:
        await self.remove_part(folder, part_name(name))

    async def remove_part(self, folder: str, part: str) -> None:
        self.files.pop((folder, part), None)

    def finals(self) -> list[str]:
        return [name for _, name in self.files if name.endswith(".xml")]

    def import_all(self) -> None:
        """What Engage does once an hour."""
        self.files = {key: content for key, content in self.files.items() if not key[1].endswith(".xml")}


class Shop:
    """One outbox with its courier; `restart` is what follows a crash."""

    def __init__(self, store: SqliteOutbox, clock: StoppedClock, settings: Settings) -> None:
        self.store = store
        self.clock = clock
        self.settings = settings
        self.engage = Engage()
        self.connected = True
        self.restart()

    def restart(self, **changes: Any) -> None:
        for name, value in changes.items():
            self.settings = Settings(
                **{field: getattr(self.settings, field) for field in self.settings.__struct_fields__} | {name: value}
            )
        made = Courier.of(self.store, self.settings)
        connect = self.engage.connect if self.connected else None
        self.courier = Courier(self.store, Spool(self.settings.spool_path), made._file_form, self.settings, connect)

    async def exhaust(self, *drafts: Draft, outage: bool = True) -> list[int]:
        ids = [stored.id for stored in await self.store.enqueue(drafts)]
        for entry in ids:
            assert await self.store.mark_sending(entry)
            await self.store.settle(Settlement(entry, State.SENDING, State.EXHAUSTED, outage=outage))
        return ids

    async def step(self, minutes: float = 0, *, api_healthy: bool = False) -> CourierReport:
        self.clock.instant += round(minutes * MINUTE)
        return await self.courier.step(self.clock.now(), api_healthy=api_healthy)

    async def states(self, ids: Sequence[int]) -> list[State]:
        found = await self.store.states_of(ids)
        return [found[entry][0] for entry in ids]

    async def files(self) -> list[FileRecord]:
        return await self.store.files(open_only=False)

    def local(self) -> list[str]:
        return sorted(path.name for path in self.settings.spool_path.iterdir())


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    clock = StoppedClock()
    settings = Settings(
        outbox=str(tmp_path / "outbox.db"),
        contact_key="email",
        sftp_contacts_dir="contacts",
        sftp_transactions_dir="transactions",
    )
    store = await open_outbox(settings.outbox, base_url="http://127.0.0.1:1", clock=clock)
    yield Shop(store, clock, settings)
    assert [finding for finding in await store.verify() if not finding.ok] == []
    await store.close()


def sale(number: int, contact: str = ANNA, key: str = "contactId", **changes: Any) -> Draft:
    return receipt.draft(sale_content(number, contact, key) | changes)


def sale_content(number: int, contact: str = ANNA, key: str = "contactId") -> dict[str, Any]:
    return {
        "contact": {"matchKey": contact, "matchKeyType": key},
        "uniqueReceiptId": f"R-{number}",
        "receiptNumber": str(number),
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
            }
        ],
    }


def move_to(city: str, contact: str = ANNA) -> Draft:
    return contact_update.draft(address(contact_id=contact), {"city": city})


async def test_an_exhausted_sale_leaves_by_file_and_is_imported_when_the_file_is_gone(shop: Shop) -> None:
    ids = await shop.exhaust(sale(1), sale(2, BO))
    first = await shop.step()
    assert not first.moved
    assert first.next_due <= shop.clock.now() + 5 * MINUTE
    report = await shop.step(5)
    assert len(report.spooled) == 1
    assert report.uploaded == report.spooled
    assert await shop.states(ids) == [State.UPLOADED] * 2
    content = shop.engage.files["transactions", report.spooled[0]]
    assert content.count(b"<transaction>") == 2
    assert content == (shop.settings.spool_path / report.spooled[0]).read_bytes()
    assert not (await shop.step(5)).moved
    shop.engage.import_all()
    report = await shop.step(5)
    assert report.imported == tuple(shop.engage.renames)
    assert await shop.states(ids) == [State.IMPORTED] * 2
    assert [record.state for record in await shop.files()] == [FileState.IMPORTED]


async def test_without_confirmation_imported_is_final(shop: Shop) -> None:
    shop.restart(fallback_confirm=False)
    ids = await shop.exhaust(sale(1))
    await shop.step(5)
    shop.engage.import_all()
    await shop.step(5)
    assert await shop.states(ids) == [State.DELIVERED]


async def test_an_importer_that_is_quicker_than_the_next_listing_is_noticed(shop: Shop) -> None:
    ids = await shop.exhaust(sale(1))
    shop.engage.after_publish = shop.engage.import_all
    await shop.step(5)
    await shop.step(0)
    assert await shop.states(ids) == [State.IMPORTED]


async def test_lines_decide_what_is_enough_and_not_entries(shop: Shop) -> None:
    shop.restart(fallback_max_lines=9)
    item = sale_content(1)["items"][0]
    ids = await shop.exhaust(sale(1, items=[item] * 5), sale(2, items=[item] * 3))
    assert not (await shop.step()).moved
    ids += await shop.exhaust(sale(3))
    await shop.step()
    assert await shop.states(ids) == [State.UPLOADED] * 3


async def test_enough_lines_leave_before_the_interval_in_files_of_at_most_so_many(shop: Shop) -> None:
    shop.restart(fallback_max_lines=3)
    await shop.exhaust(*(sale(number) for number in range(7)))
    report = await shop.step()
    records = await shop.files()
    assert len(report.spooled) == 3
    assert [record.lines for record in records] == [3, 3, 1]


async def test_what_has_no_file_form_stays_exhausted_and_does_not_make_every_moment_a_due_one(shop: Shop) -> None:
    shop.restart(fallback_max_lines=2)
    cleared = [contact_update.draft(address(contact_id=f"{n:032x}"), {"city": None}) for n in range(3)]
    ids = await shop.exhaust(*cleared)
    await shop.step()
    report = await shop.step(1)
    assert report.spooled == ()
    assert report.next_due > shop.clock.now()
    assert await shop.states(ids) == [State.EXHAUSTED] * 3


async def test_contacts_go_before_redemptions_and_redemptions_before_sales(shop: Shop) -> None:
    shop.restart(sftp_redemptions_dir="redemptions")
    await shop.exhaust(sale(1), redeem.draft(COUPON, channel="ECOM", contact_id=ANNA), move_to("Lund"))
    await shop.step(5)
    assert [name.rsplit("_", 1)[1] for name in shop.engage.renames] == [
        "contacts.xml",
        "redemptions.xml",
        "transactions.xml",
    ]


async def test_redemptions_stay_spooled_while_no_folder_is_set_for_them(shop: Shop) -> None:
    ids = await shop.exhaust(redeem.draft(COUPON, channel="ECOM", contact_id=ANNA))
    report = await shop.step(5)
    assert len(report.spooled) == 1
    assert report.uploaded == ()
    assert await shop.states(ids) == [State.SPOOLED]
    assert shop.engage.sessions == 0


async def test_several_updates_of_a_contact_leave_as_one_record(shop: Shop) -> None:
    ids = await shop.exhaust(move_to("Lund"))
    ids += [stored.id for stored in await shop.store.enqueue([move_to("Malmö")])]
    async for message in shop.store.exhausted():
        await shop.store.exhaust_lanes([message.lane], shop.clock.now())
    report = await shop.step(5)
    content = shop.engage.files["contacts", report.spooled[0]].decode()
    assert content.count("<member>") == 1
    assert "<city>Malmö</city>" in content
    assert await shop.states(ids) == [State.UPLOADED] * 2


async def exhaust_together(shop: Shop, *drafts: Draft) -> list[int]:
    """The first is exhausted in an outage and takes its lane with it."""
    ids = await shop.exhaust(drafts[0])
    ids += [stored.id for stored in await shop.store.enqueue(drafts[1:])]
    async for message in shop.store.exhausted():
        await shop.store.exhaust_lanes([message.lane], shop.clock.now())
    assert await shop.states(ids) == [State.EXHAUSTED] * len(drafts)
    return ids


@pytest.mark.parametrize(
    "waits",
    [
        contact_update.draft(address(contact_id=ANNA), {"city": "Lund", "careOf": None}),
        contact_type.draft(ANNA, "Member"),
    ],
)
async def test_a_change_never_overtakes_an_older_one_that_has_no_file_form(shop: Shop, waits: Draft) -> None:
    ids = await exhaust_together(shop, move_to("Umeå"), waits, move_to("Malmö"), sale(1))
    await shop.step(5)
    assert await shop.states(ids) == [State.UPLOADED, State.EXHAUSTED, State.EXHAUSTED, State.UPLOADED]
    await shop.step(0, api_healthy=True)
    assert await shop.states(ids[1:3]) == [State.PENDING] * 2


async def test_changes_of_a_contact_with_two_names_stand_in_files_whose_names_have_their_order(shop: Shop) -> None:
    by_email = contact_update.draft(address(email="anna@example.com"), {"city": "Ystad"})
    later = contact_update.draft(address(email="anna@example.com"), {"city": "Kiruna"})
    first, second = [stored.id for stored in await shop.store.enqueue([by_email, move_to("Lund")])]
    lane = (await shop.store.claim(1, shop.clock.now(), frozenset()))[0].lane
    assert await shop.store.join_lanes(lane, ANNA, "email:anna@example.com")
    await shop.store.settle(Settlement(first, State.PENDING, State.EXHAUSTED, outage=True))
    third = (await shop.store.enqueue([later]))[0].id
    async for message in shop.store.exhausted():
        await shop.store.exhaust_lanes([message.lane], shop.clock.now())
    assert await shop.states([first, second, third]) == [State.EXHAUSTED] * 3
    await shop.step(5)
    in_order = [shop.engage.files["contacts", name].decode() for name in sorted(shop.engage.renames)]
    assert [city for content in in_order for city in ("Ystad", "Lund", "Kiruna") if city in content] == [
        "Ystad",
        "Lund",
        "Kiruna",
    ]


async def known_by_email(shop: Shop, *drafts: Draft) -> list[int]:
    """The e-mail turns out to be Anna's; then all of it is exhausted."""
    ids = [stored.id for stored in await shop.store.enqueue(drafts)]
    lanes = {message.lane_key: message.lane for message in await shop.store.claim(9, shop.clock.now(), frozenset())}
    assert await shop.store.join_lanes(lanes["email:anna@example.com"], ANNA, "email:anna@example.com")
    for entry in ids:
        assert await shop.store.settle(Settlement(entry, State.PENDING, State.EXHAUSTED, outage=True))
    return ids


def by_email(email: str, city: str) -> Draft:
    return contact_update.draft(address(email=email), {"city": city})


async def test_a_change_that_filled_a_file_has_its_name_before_the_next_one_of_its_contact(shop: Shop) -> None:
    shop.restart(fallback_max_lines=2)
    await known_by_email(
        shop,
        move_to("Umeå", BO),
        by_email("cia@example.com", "Luleå"),
        by_email("dan@example.com", "Boden"),
        by_email("anna@example.com", "Ystad"),  # the file of those that are named by e-mail is full, and goes
        move_to("Lund"),
    )
    await shop.step(5)
    in_order = [shop.engage.files["contacts", name].decode() for name in sorted(shop.engage.renames)]
    assert [city for content in in_order for city in ("Ystad", "Lund") if city in content] == ["Ystad", "Lund"]


async def test_a_change_whose_file_was_withdrawn_waits_for_the_file_of_a_newer_one(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of its own would have the later name, and put the older value over the newer one."""
    shop.connected = False
    shop.restart()
    older, newer, other = await known_by_email(
        shop, by_email("anna@example.com", "Ystad"), move_to("Lund"), by_email("cia@example.com", "Boden")
    )
    spool_file = shop.store.spool_file

    async def moved_meanwhile(record: FileRecord, entry_ids: Sequence[int], as_read: object) -> list[int]:
        monkeypatch.undo()
        return await spool_file(record, entry_ids, {older: AsRead(0, 0, 0)})  # it has moved since

    monkeypatch.setattr(shop.store, "spool_file", moved_meanwhile)
    report = await shop.step(5)
    assert len(report.withdrawn) == 1
    await shop.step(5)
    assert await shop.states([older, newer, other]) == [State.EXHAUSTED, State.SPOOLED, State.SPOOLED]
    (file,) = [file for file in await shop.store.files(open_only=True) if file.match_key_type == "contactId"]
    await shop.store.update_file(file.id, state="uploaded", now=shop.clock.now(), entries_to=State.UPLOADED)
    await shop.step(5)
    assert await shop.states([older]) == [State.DISCARDED]
    assert not any("Ystad" in path.read_text() for path in shop.settings.spool_path.glob("*.xml"))


async def test_sales_of_a_contact_that_a_file_creates_wait_until_it_is_imported(shop: Shop) -> None:
    creation = contact_create.draft({"email": "anna@example.com", "firstName": "Anna"}, contact_key="email")
    ids = await shop.exhaust(creation)
    bought = [stored.id for stored in await shop.store.enqueue([sale(1, "anna@example.com", "email")])]
    async for message in shop.store.exhausted():
        await shop.store.exhaust_lanes([message.lane], shop.clock.now())
    assert await shop.states(bought) == [State.EXHAUSTED]
    await shop.step(5)
    await shop.step(5)
    assert await shop.states([*ids, *bought]) == [State.UPLOADED, State.EXHAUSTED]
    shop.engage.import_all()
    await shop.step(5)
    await shop.step(5)
    assert await shop.states([*ids, *bought]) == [State.IMPORTED, State.UPLOADED]


async def test_a_bad_entry_is_rejected_alone_with_its_path(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = await shop.exhaust(move_to("Lund"), move_to("Umeå", BO))
    read = contact_update.changes_of

    def spoilt(content: contact_update.Update) -> dict[str, object]:
        changes = read(content)
        return changes | {"birthDay": "yesterday"} if changes["city"] == "Umeå" else changes

    monkeypatch.setattr(contact_update, "changes_of", spoilt)
    report = await shop.step(5)
    assert [(refused.entry_id, refused.path) for refused in report.refused] == [(ids[1], "birthDay")]
    assert await shop.states(ids) == [State.UPLOADED, State.REJECTED]
    assert ((await shop.store.get(ids[1])).reason or "").startswith("birthDay: refused by contacts.xsd")


async def test_without_a_server_files_stay_spooled_until_a_person_carries_them(shop: Shop) -> None:
    shop.connected = False
    shop.restart()
    ids = await shop.exhaust(sale(1))
    await shop.step(5)
    assert await shop.states(ids) == [State.SPOOLED]
    (record,) = await shop.files()
    await shop.store.update_file(
        record.id, state=FileState.UPLOADED, now=shop.clock.now(), entries_to=State.UPLOADED, carried=True
    )
    await shop.step(60, api_healthy=True)
    assert await shop.states(ids) == [State.UPLOADED]
    await shop.step(61)
    assert await shop.states(ids) == [State.IMPORTED]


async def test_the_api_is_back_before_the_upload_and_takes_its_entries_back(shop: Shop) -> None:
    shop.engage.trouble = UploadFailed("unreachable", "no")
    ids = await shop.exhaust(sale(1), sale(2, BO))
    await shop.step(5)
    assert await shop.states(ids) == [State.SPOOLED] * 2
    later = await shop.exhaust(sale(3))
    report = await shop.step(1, api_healthy=True)
    assert len(report.withdrawn) == 1
    assert report.brought_back == 1
    assert await shop.states([*ids, *later]) == [State.PENDING] * 3
    assert shop.local() == []
    shop.engage.trouble = None
    await shop.step(30, api_healthy=True)
    assert shop.engage.files == {}


async def test_a_poisoned_entry_leaves_by_file_although_the_api_is_healthy(shop: Shop) -> None:
    shop.engage.trouble = UploadFailed("unreachable", "no")
    poisoned = await shop.exhaust(sale(1), outage=False)
    others = await shop.exhaust(sale(2, BO))
    await shop.step(5)
    assert await shop.states([*poisoned, *others]) == [State.SPOOLED] * 2
    shop.engage.trouble = None
    await shop.step(5, api_healthy=True)
    await shop.step(5, api_healthy=True)
    assert await shop.states([*poisoned, *others]) == [State.UPLOADED, State.PENDING]
    (content,) = shop.engage.files.values()
    assert b"R-1" in content
    assert b"R-2" not in content


async def test_a_poisoned_entry_without_a_file_form_is_told_once_and_left_to_a_person(shop: Shop) -> None:
    cleared = contact_update.draft(address(contact_id=ANNA), {"city": None})
    (poisoned,) = await shop.exhaust(cleared, outage=False)
    (of_outage,) = await shop.exhaust(contact_update.draft(address(contact_id=BO), {"city": None}))
    await shop.step(5)
    assert [(await shop.store.get(entry)).reason for entry in (poisoned, of_outage)] == [None, None]
    for minutes in (0, 5, 5):  # at once, not only when files are due
        shop.restart()
        await shop.step(minutes, api_healthy=True)
    assert await shop.states([poisoned, of_outage]) == [State.EXHAUSTED, State.PENDING]
    assert (await shop.store.get(poisoned)).reason == "no_file_form"
    (line,) = [line for line in await shop.store.attempts(poisoned) if line.what == "file"]
    assert (line.outcome, line.code) == (
        "withheld",
        "clears a field: what an empty element means is not documented (ref 6.4)",
    )
    assert (await shop.store.get(of_outage)).reason is None


async def test_what_is_exhausted_later_is_told_as_well_and_what_has_a_form_never(shop: Shop) -> None:
    sold = await shop.exhaust(sale(1), outage=False)
    await shop.step(api_healthy=True)
    cleared = await shop.exhaust(contact_update.draft(address(contact_id=ANNA), {"city": None}), outage=False)
    await shop.step(api_healthy=True)
    assert [(await shop.store.get(entry)).reason for entry in (*sold, *cleared)] == [None, "no_file_form"]


async def test_an_upload_that_has_begun_is_never_withdrawn(shop: Shop) -> None:
    ids = await shop.exhaust(sale(1))

    def cut() -> None:
        shop.engage.before_publish = lambda: None
        raise UploadFailed("cut", "in the middle")

    shop.engage.before_publish = cut
    await shop.step(5)
    assert [record.state for record in await shop.files()] == [FileState.UPLOADING]
    await shop.step(0, api_healthy=True)
    assert await shop.states(ids) == [State.UPLOADED]
    await shop.step(1, api_healthy=True)
    assert len(shop.engage.finals()) == 1


async def test_trouble_with_the_server_is_told_and_tried_again_on_the_ladder(shop: Shop) -> None:
    shop.engage.trouble = UploadFailed("host_key", "the key changed")
    ids = await shop.exhaust(sale(1))
    report = await shop.step(5)
    assert (report.problem, report.message) == ("host_key", "the key changed")
    assert [record.problem for record in await shop.files()] == ["host_key"]
    waits = []
    for _ in range(5):
        waits.append(report.next_due - shop.clock.now())
        sessions = shop.engage.sessions
        between = await shop.step((report.next_due - 1 - shop.clock.now()) / MINUTE)
        assert shop.engage.sessions == sessions
        assert between.problem == "host_key", "it is not solved before a session has worked"
        shop.clock.instant = report.next_due
        report = await shop.step()
        assert shop.engage.sessions == sessions + 1
    assert waits == [10_000, 30_000, 60_000, 300_000, 300_000]
    shop.engage.trouble = None
    report = await shop.step(5)
    assert report.problem is None
    assert await shop.states(ids) == [State.UPLOADED]
    assert [record.problem for record in await shop.files()] == [None]


async def test_a_missing_folder_stops_its_own_files_only(shop: Shop) -> None:
    shop.engage.missing = {"contacts"}
    ids = await shop.exhaust(move_to("Lund"), sale(1, BO))
    report = await shop.step(5)
    assert report.problem == "folder_missing"
    assert await shop.states(ids) == [State.SPOOLED, State.UPLOADED]
    shop.engage.missing = set()
    await shop.step(5)
    assert await shop.states(ids) == [State.UPLOADED] * 2


async def test_contact_files_never_overtake_each_other(shop: Shop) -> None:
    shop.restart(fallback_max_lines=1)
    await shop.exhaust(move_to("Lund"), move_to("Umeå", BO))
    first = (await shop.store.next_file_name(START, FileFamily.CONTACTS)).split("_")[1]
    taken = f"{int(first) + 1:0{len(first)}d}"

    class Full(Engage):
        async def stage(self, local: Path, folder: str, name: str) -> None:
            if taken in name:
                raise UploadFailed("no_space", "full")
            await super().stage(local, folder, name)

    shop.engage = Full()
    shop.restart()
    report = await shop.step(5)
    assert report.problem == "no_space"
    assert shop.engage.finals() == []
    taken = "none"
    await shop.step(5)
    assert len(shop.engage.renames) == 2
    assert shop.engage.renames == sorted(shop.engage.renames)


async def test_another_file_under_our_name_is_left_alone_and_told(shop: Shop) -> None:
    ids = await shop.exhaust(sale(1))
    shop.engage.trouble = UploadFailed("unreachable", "no")
    await shop.step(5)
    (record,) = await shop.files()
    shop.engage.trouble = None
    shop.engage.files["transactions", record.name] = b"theirs"
    report = await shop.step(5)
    assert report.problem == "name_taken"
    assert shop.engage.files == {("transactions", record.name): b"theirs"}
    assert await shop.states(ids) == [State.SPOOLED]


async def left_lying(shop: Shop) -> list[int]:
    """A sale whose file Engage has left in the folder for two import periods."""
    ids = await shop.exhaust(sale(1))
    await shop.step(5)
    for _ in range(25):
        await shop.step(5)
    assert [record.problem for record in await shop.files()] == [STAYS]
    return ids


async def test_a_file_that_stays_is_told_and_is_still_noticed_when_it_goes(shop: Shop) -> None:
    ids = await left_lying(shop)
    shop.engage.import_all()
    await shop.step(5)
    assert [record.problem for record in await shop.files()] == [None]
    assert await shop.states(ids) == [State.IMPORTED]


async def test_while_nobody_can_look_at_the_server_its_trouble_is_told_and_no_old_stays(shop: Shop) -> None:
    ids = await left_lying(shop)
    shop.engage.trouble = UploadFailed("host_key", "the key changed")
    shop.engage.import_all()
    report = await shop.step(5, api_healthy=True)
    assert report.problem == "host_key"
    (record,) = await shop.files()
    assert (record.problem, record.out_of_sight) == ("host_key", True)
    assert await shop.states(ids) == [State.UPLOADED]
    shop.engage.trouble = None
    await shop.step(5, api_healthy=True)
    assert [(record.problem, record.out_of_sight) for record in await shop.files()] == [(None, False)]
    assert await shop.states(ids) == [State.IMPORTED]


async def test_a_folder_that_is_gone_after_the_upload_is_told_for_its_own_files_only(shop: Shop) -> None:
    await shop.exhaust(move_to("Lund"), sale(1, BO))
    await shop.step(5)
    shop.engage.missing = {"transactions"}
    await shop.step(5)
    told = {record.family: record.problem for record in await shop.files()}
    assert told == {FileFamily.CONTACTS: None, FileFamily.TRANSACTIONS: "folder_missing"}
    shop.engage.missing = set()
    await shop.step(5)
    assert [record.problem for record in await shop.files()] == [None, None]


async def test_an_import_that_never_comes_is_told_and_blocks_only_what_depends_on_it(shop: Shop) -> None:
    creation = contact_create.draft({"email": "anna@example.com", "firstName": "Anna"}, contact_key="email")
    created = await shop.exhaust(creation)
    await shop.step(5)
    (creating,) = shop.engage.finals()
    bought = [stored.id for stored in await shop.store.enqueue([sale(1, "anna@example.com", "email")])]
    assert await shop.store.claim(9, shop.clock.now(), frozenset()) == []
    for number in range(2, 30):
        others = await shop.exhaust(sale(number, BO), move_to("Lund", f"{number:032x}"))
        await shop.step(5)
        assert await shop.states(others) == [State.UPLOADED] * 2
        shop.engage.files = {key: content for key, content in shop.engage.files.items() if key[1] == creating}
    await shop.step(10)
    assert await shop.states(others) == [State.IMPORTED] * 2
    assert [file.problem for file in await shop.files() if file.name == creating] == [STAYS]
    assert await shop.states([*created, *bought]) == [State.UPLOADED, State.PENDING]
    shop.engage.import_all()
    await shop.step(5)
    assert await shop.states(created) == [State.IMPORTED]


async def test_a_spooled_file_that_is_lost_or_damaged_is_written_again(shop: Shop) -> None:
    shop.engage.trouble = UploadFailed("unreachable", "no")
    ids = await shop.exhaust(sale(1))
    report = await shop.step(5)
    (shop.settings.spool_path / report.spooled[0]).write_bytes(b"<half")
    shop.engage.trouble = None
    lost = await shop.step(5)
    assert lost.lost == report.spooled
    assert lost.next_due == shop.clock.now()
    await shop.step(0)
    assert await shop.states(ids) == [State.UPLOADED]
    assert [record.state for record in await shop.files()] == [FileState.LOST, FileState.UPLOADED]


async def test_a_file_whose_upload_began_and_whose_copy_is_gone_waits_for_a_person(shop: Shop) -> None:
    ids = await shop.exhaust(sale(1))

    def cut() -> None:
        raise UploadFailed("cut", "in the middle")

    shop.engage.before_publish = cut
    report = await shop.step(5)
    (shop.settings.spool_path / report.spooled[0]).unlink()
    shop.engage.before_publish = lambda: None
    await shop.step(5)
    await shop.step(5)
    assert [record.problem for record in await shop.files()] == [LOST]
    assert await shop.states(ids) == [State.UPLOADED]
    assert shop.engage.finals() == []


async def test_a_file_that_is_withdrawn_by_hand_during_its_upload_never_gets_its_name(shop: Shop) -> None:
    ids = await shop.exhaust(sale(1))

    async def withdraw() -> None:
        (record,) = await shop.files()
        await shop.store.update_file(
            record.id, state=FileState.WITHDRAWN, now=shop.clock.now(), entries_to=State.PENDING
        )

    shop.engage.after_stage = withdraw
    await shop.step(5)
    assert shop.engage.files == {}
    assert await shop.states(ids) == [State.PENDING]


@pytest.mark.parametrize("lost", [False, True])
async def test_a_file_that_a_person_withdraws_just_before_its_upload_stops_nothing(shop: Shop, lost: bool) -> None:
    """Between the look at the server and the upload its local copy goes; `lost`: that was gone before."""
    shop.engage.trouble = UploadFailed("unreachable", "no")
    ids = await shop.exhaust(sale(1))
    (name,) = (await shop.step(5)).spooled
    copy = shop.settings.spool_path / name
    if lost:
        copy.unlink()
    there = shop.engage.size

    async def withdraw(folder: str, wanted: str) -> int | None:
        assert await shop.store.withdraw([name]) == [name]
        copy.unlink(missing_ok=True)
        shop.engage.size = there  # type: ignore[method-assign]
        return None

    shop.engage.trouble = None
    shop.engage.size = withdraw  # type: ignore[method-assign]
    report = await shop.step(5)
    assert report.problem is None
    assert shop.engage.files == {}
    assert (await shop.files())[0].state == FileState.WITHDRAWN
    await shop.step(5)
    assert await shop.states(ids) == [State.UPLOADED]


async def test_a_copy_that_cannot_be_read_is_a_matter_of_the_disk(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(local: Path, folder: str, name: str) -> None:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(shop.engage, "stage", broken)
    ids = await shop.exhaust(sale(1))
    with pytest.raises(OutboxUnavailable, match="spool folder"):
        await shop.step(5)
    assert await shop.states(ids) == [State.SPOOLED]


@pytest.mark.parametrize("carried", [False, True])
async def test_a_person_who_is_quicker_with_a_file_than_the_courier_stops_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, carried: bool
) -> None:
    """The API is back and the file would be withdrawn; a person does so this moment, or has carried it."""
    shop.engage.trouble = UploadFailed("unreachable", "no")
    ids = await shop.exhaust(sale(1))
    await shop.step(5)
    (record,) = await shop.files()
    update = shop.store.update_file

    async def quicker(file_id: int, **changes: Any) -> int:
        monkeypatch.setattr(shop.store, "update_file", update)
        now = shop.clock.now()
        if carried:
            await update(file_id, state="uploaded", now=now, entries_to=State.UPLOADED, carried=True)
        else:
            await update(file_id, state="withdrawn", now=now, entries_to=State.EXHAUSTED)
        return await update(file_id, **changes)

    monkeypatch.setattr(shop.store, "update_file", quicker)
    await shop.step(1, api_healthy=True)
    assert (await shop.files())[0].state == (FileState.UPLOADED if carried else FileState.WITHDRAWN)
    assert (await shop.states(ids))[0] == (State.UPLOADED if carried else State.PENDING)
    assert (shop.settings.spool_path / record.name).exists()  # a person's own, who removes it, or has to carry it


async def test_a_file_that_never_got_complete_may_be_withdrawn_by_a_person_first(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await shop.exhaust(sale(1), sale(2, BO))
    spool_file, update = shop.store.spool_file, shop.store.update_file

    async def discard_one(record: FileRecord, entry_ids: Sequence[int], *rest: Any) -> list[int]:
        await shop.store.discard([ids[0]], named=True, reason="unwanted", action=1)
        return await spool_file(record, entry_ids, *rest)

    async def quicker(file_id: int, **changes: Any) -> int:
        monkeypatch.undo()
        await update(file_id, state="withdrawn", now=shop.clock.now(), entries_to=State.EXHAUSTED)
        return await update(file_id, **changes)

    monkeypatch.setattr(shop.store, "spool_file", discard_one)
    monkeypatch.setattr(shop.store, "update_file", quicker)
    await shop.step(5)
    assert shop.engage.files == {}
    assert await shop.states(ids) == [State.DISCARDED, State.EXHAUSTED]
    await shop.step(5)
    assert await shop.states(ids) == [State.DISCARDED, State.UPLOADED]


async def test_an_entry_that_is_discarded_while_its_file_is_written_does_not_leave(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await shop.exhaust(sale(1), sale(2, BO))
    spool_file = shop.store.spool_file

    async def discarded_meanwhile(record: FileRecord, entry_ids: Sequence[int], *as_read: Any) -> list[int]:
        monkeypatch.undo()
        await shop.store.settle(Settlement(ids[0], State.EXHAUSTED, State.DISCARDED, reason="a person"))
        return await spool_file(record, entry_ids, *as_read)

    monkeypatch.setattr(shop.store, "spool_file", discarded_meanwhile)
    report = await shop.step(5)
    assert len(report.withdrawn) == 1
    assert await shop.states(ids) == [State.DISCARDED, State.EXHAUSTED]
    assert shop.local() == []
    await shop.step(0)
    assert await shop.states(ids) == [State.DISCARDED, State.UPLOADED]
    (content,) = shop.engage.files.values()
    assert b"R-1" not in content


@pytest.mark.parametrize(
    "where",
    ["file complete", "half of the entries moved", "file known", "staged", "begun", "renamed", "uploaded"],
)
async def test_a_crash_anywhere_loses_nothing_and_uploads_each_entry_under_one_name(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    ids = await shop.exhaust(sale(1), sale(2, BO))

    def die(*_: object, **__: object) -> None:
        raise Crash

    with monkeypatch.context() as dying:
        match where:
            case "file complete":
                dying.setattr(shop.store, "spool_file", die)
            case "half of the entries moved":
                whole = shop.store.spool_file

                async def half(record: FileRecord, entry_ids: Sequence[int], *_: Any) -> list[int]:
                    await whole(record, [entry_ids[0], 10**9])
                    raise Crash

                dying.setattr(shop.store, "spool_file", half)
            case "file known":
                dying.setattr(shop.engage, "connect", die)
                shop.restart()
            case "staged":
                shop.engage.after_stage = die
            case "begun":
                shop.engage.before_publish = die
            case "renamed":
                shop.engage.after_publish = die
            case "uploaded":
                dying.setattr(Transfer, "_look", die)
        with pytest.raises(Crash):
            await shop.step(5)
    shop.engage.after_stage = shop.engage.before_publish = shop.engage.after_publish = lambda: None
    shop.restart()
    await shop.step(1)
    await shop.step(0)
    assert await shop.states(ids) == [State.UPLOADED] * 2
    (name,) = shop.engage.finals()
    assert shop.engage.renames == [name]
    assert shop.engage.files["transactions", name].count(b"<transaction>") == 2
    assert shop.local() == [name]
    shop.engage.import_all()
    await shop.step(5)
    assert await shop.states(ids) == [State.IMPORTED] * 2


async def test_a_crash_after_the_rename_and_before_the_commit_with_a_quick_import_uploads_the_same_name_again(
    shop: Shop,
) -> None:
    ids = await shop.exhaust(sale(1))

    def imported_then_dead() -> None:
        shop.engage.after_publish = lambda: None
        shop.engage.import_all()
        raise Crash

    shop.engage.after_publish = imported_then_dead
    with pytest.raises(Crash):
        await shop.step(5)
    shop.restart()
    await shop.step(1)
    assert len(set(shop.engage.renames)) == 1
    assert await shop.states(ids) == [State.UPLOADED]


async def test_files_of_another_outbox_in_the_same_folder_are_left_alone(shop: Shop) -> None:
    await shop.step()
    ours = await shop.store.next_file_name(START, FileFamily.CONTACTS)
    stamp, sequence, family = ours.split("_")
    digit = str((int(sequence[0]) + 1) % 10)
    theirs = f"{stamp}_{digit}{sequence[1:]}_{family}"
    for name in (ours, theirs):
        (shop.settings.spool_path / name).write_text("x")
    shop.restart()
    await shop.step()
    assert shop.local() == [theirs]


async def test_what_an_earlier_session_left_half_uploaded_is_removed_also_of_a_file_that_was_withdrawn(
    shop: Shop,
) -> None:
    ids = await shop.exhaust(sale(1))

    def cut() -> None:
        raise UploadFailed("cut", "in the middle")

    shop.engage.after_stage = cut
    await shop.step(5)
    await shop.step(0, api_healthy=True)
    assert await shop.states(ids) == [State.PENDING]
    ((folder, left),) = shop.engage.files
    theirs = {(folder, name): b"theirs" for name in ("20250314093000_1_transactions.xml", ".notes.part", left + ".bak")}
    shop.engage.files |= theirs | {(folder, left.replace(".part", ".0123abcd.part")): b"ours"}
    shop.engage.after_stage = lambda: None
    await shop.exhaust(sale(2, BO))
    report = await shop.step(5)
    assert set(shop.engage.files) == {*theirs, (folder, report.uploaded[0])}


async def test_imported_copies_are_removed_after_the_retention(shop: Shop) -> None:
    await shop.exhaust(sale(1))
    await shop.step(5)
    shop.engage.import_all()
    await shop.step(5)
    assert len(shop.local()) == 1
    await shop.step(29 * 24 * 60)
    assert len(shop.local()) == 1
    await shop.step(2 * 24 * 60)
    assert shop.local() == []


async def test_a_clock_that_is_set_back_stops_nothing(shop: Shop) -> None:
    shop.engage.trouble = UploadFailed("unreachable", "no")
    ids = await shop.exhaust(sale(1))
    await shop.step(5)
    later = await shop.exhaust(sale(2, BO))
    shop.engage.trouble = None
    await shop.step(-24 * 60)
    assert await shop.states([*ids, *later]) == [State.UPLOADED] * 2
    shop.engage.import_all()
    await shop.step(5)
    assert await shop.states([*ids, *later]) == [State.IMPORTED] * 2


async def test_a_stored_body_that_no_longer_reads_is_rejected_alone(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await shop.exhaust(sale(1), sale(2, BO))
    read = registry.file_form

    def unreadable(message: Message, *, default_type: str, contact_key: str | None) -> FileForm | NoFileForm:
        if message.id == ids[0]:
            raise InvalidEntry("items", "missing")
        return read(message, default_type=default_type, contact_key=contact_key)

    monkeypatch.setattr(registry, "file_form", unreadable)
    shop.restart()
    report = await shop.step(5)
    assert [refused.path for refused in report.refused] == ["items"]
    assert await shop.states(ids) == [State.REJECTED, State.UPLOADED]


async def test_a_full_disk_raises_and_the_entries_stay_exhausted(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = await shop.exhaust(sale(1))

    def full(*_: object) -> Written:
        raise OutboxUnavailable("the spool folder cannot be used now: No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(Writing, "finish", full)
        with pytest.raises(OutboxUnavailable):
            await shop.step(5)
    assert await shop.states(ids) == [State.EXHAUSTED]
    await shop.step(5)
    assert await shop.states(ids) == [State.UPLOADED]


async def test_cancelling_waits_for_the_file_that_is_being_written_and_loses_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await shop.exhaust(sale(1))
    loop = asyncio.get_running_loop()
    began, ended = asyncio.Event(), False
    finish = Writing.finish

    def told(writing: Writing) -> Written:
        nonlocal ended
        loop.call_soon_threadsafe(began.set)
        written = finish(writing)
        ended = True
        return written

    monkeypatch.setattr(Writing, "finish", told)
    step = asyncio.create_task(shop.step(5))
    await began.wait()
    step.cancel()
    with pytest.raises(asyncio.CancelledError):
        await step
    assert ended
    assert await shop.states(ids) == [State.EXHAUSTED]
    shop.restart()
    await shop.step(5)
    assert await shop.states(ids) == [State.UPLOADED]
    assert len(shop.local()) == 1


async def test_the_whole_way_over_real_sftp_also_where_an_import_is_late(server: FileServer, tmp_path: Path) -> None:
    clock = StoppedClock()
    settings = server.settings(outbox=str(tmp_path / "outbox.db"))
    store = await open_outbox(settings.outbox, base_url="http://127.0.0.1:1", clock=clock)
    try:
        shop = Shop(store, clock, settings)
        shop.courier = Courier.of(store, settings)
        ids = await shop.exhaust(sale(1), move_to("Lund", BO))
        report = await shop.step(5)
        assert report.problem is None
        assert len(report.uploaded) == 2
        (contacts,) = (server.root / "contacts").iterdir()
        (sales,) = (server.root / "transactions").iterdir()
        assert {contacts.suffix, sales.suffix} == {".xml"}
        sales.unlink()
        await shop.step(121)
        assert await shop.states(ids) == [State.IMPORTED, State.UPLOADED]
        assert [file.problem for file in await shop.files() if file.name == contacts.name] == [STAYS]
        later = await shop.exhaust(sale(2))
        await shop.step(5)
        assert await shop.states(later) == [State.UPLOADED]
        contacts.unlink()
        assert (await shop.step(5)).imported == (contacts.name,)
        assert await shop.states(ids) == [State.IMPORTED] * 2
    finally:
        await store.close()


async def test_nothing_of_a_person_stands_in_names_records_or_logs(
    own: FileServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even at the finest level of every library's log, and not of an entry that was refused."""
    caplog.set_level(logging.DEBUG)
    clock = StoppedClock()
    settings = own.settings(
        outbox=str(tmp_path / "outbox.db"), contact_key="email", sftp_password="secret", sftp_key_file=None
    )
    store = await open_outbox(settings.outbox, base_url="http://127.0.0.1:1", clock=clock)
    read = contact_update.changes_of
    monkeypatch.setattr(contact_update, "changes_of", lambda content: read(content) | {"gender": "Svensdotter"})
    try:
        shop = Shop(store, clock, settings)
        shop.courier = Courier.of(store, settings)
        creation = contact_create.draft({"email": "svensdotter@example.com", "city": "Bullerbyn"}, contact_key="email")
        ids = await shop.exhaust(creation, move_to("Bullerbyn"), sale(1, "svensdotter@shop.example", "email"))
        report = await shop.step(5)
        (own.root / "contacts" / report.uploaded[0]).write_text("another one of this name")
        await shop.step(5)
        assert await shop.states(ids) == [State.UPLOADED, State.REJECTED, State.UPLOADED]
        told = [str(report), *map(str, await shop.files()), *shop.local(), caplog.text]
        told += [str(line) for entry in ids for line in await store.attempts(entry)]
        told += [str((await store.get(entry)).reason) for entry in ids]
    finally:
        await store.close()
    assert "asyncssh" in caplog.text
    for word in ("svensdotter", "bullerbyn", "secret"):
        assert word not in "\n".join(told).lower()


def test_the_message_of_a_form_is_asked_for_by_the_tenants_settings(tmp_path: Path) -> None:
    made = Courier.of(None, Settings(outbox=str(tmp_path / "o.db"), contact_type="Club"))  # type: ignore[arg-type] # unused
    draft = sale(1)
    form = made._file_form(Message(1, draft.kind, draft.body, 1, draft.lane, 0))
    assert getattr(form, "contact_type", None) == "Club"
