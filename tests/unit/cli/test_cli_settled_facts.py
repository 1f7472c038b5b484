"""What `drain --until-settled` is told of an outbox, by the settings that the courier has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from voyado_async.cli.settled import Exhausted, Facts, Verdict, verdict
from voyado_async.cli.settled_facts import facts_of
from voyado_async.clock import SystemClock
from voyado_async.delivery import Draft, FileFamily
from voyado_async.kinds import contact_type, contact_update
from voyado_async.kinds.address import address
from voyado_async.outbox.file_moves import WITHHELD
from voyado_async.outbox.records import UNCONFIRMED, BreakerRecord, DrainerRecord, FileRecord, Settlement
from voyado_async.outbox.sqlite import SqliteOutbox, open_outbox
from voyado_async.outbox.states import State
from voyado_async.settings import Settings

ANNA = "0b6f1c52-7d0e-4a57-9c3b-5a1f2e8d4c10"
BY_KEY = contact_update.draft(address(email="anna@example.com"), {"city": "Lund"})
CLEARED = contact_update.draft(address(email="anna@example.com"), {"city": None})
BY_ID = contact_update.draft(address(contact_id=ANNA), {"city": "Lund"})
PREFERENCES = contact_update.draft(address(contact_id=ANNA), {"preferences": {"acceptsSms": True}})
TYPE = contact_type.draft(ANNA, "Member")


class Drained:
    """An outbox at rest, and what `--until-settled` sees of it."""

    def __init__(self, store: SqliteOutbox, settings: Settings) -> None:
        self.store, self.settings = store, settings

    async def exhaust(self, *drafts: Draft, outage: bool = False) -> list[int]:
        ids = [stored.id for stored in await self.store.enqueue(drafts)]
        for entry in ids:
            await self.store.settle(Settlement(entry, State.PENDING, State.EXHAUSTED, outage=outage))
        return ids

    async def starts(self, at: int) -> None:
        await self.store.set_drainer(DrainerRecord(1, "till", at, at))

    async def ways(self) -> list[tuple[bool, bool, bool]]:
        found = await facts_of(self.store, self.settings)
        return [(entry.has_file_form, entry.has_bulk_form, entry.withheld) for entry in found.exhausted]

    async def verdict(self) -> Verdict:
        return verdict(await facts_of(self.store, self.settings))


@pytest.fixture
async def drained(tmp_path: Path) -> AsyncIterator[Drained]:
    store = await open_outbox(tmp_path / "o.db", base_url="http://127.0.0.1:1", clock=SystemClock())
    yield Drained(store, Settings(outbox=str(tmp_path / "o.db"), contact_key="email"))
    await store.close()


async def test_what_the_operators_xsd_refused_since_the_drainer_started_moves_no_more(drained: Drained) -> None:
    (entry,) = await drained.exhaust(BY_KEY)
    await drained.starts(1000)
    await drained.store.withhold({entry: "city: too long"}, WITHHELD, 999)
    assert await drained.ways() == [(True, False, False)]  # by an earlier drainer, whose settings were others
    assert await drained.verdict() is Verdict.MOVING
    await drained.store.withhold({entry: "city: too long"}, WITHHELD, 1000)
    assert await drained.ways() == [(False, False, True)]
    assert await drained.verdict() is Verdict.NEEDS_PERSON


async def test_what_the_operators_xsd_refused_in_an_outage_waits_for_its_end(drained: Drained) -> None:
    (entry,) = await drained.exhaust(BY_KEY, outage=True)
    await drained.starts(1000)
    await drained.store.withhold({entry: "city: too long"}, WITHHELD, 1000)
    assert await drained.verdict() is Verdict.MOVING


@pytest.mark.parametrize("unwell", [BreakerRecord("open", 1), BreakerRecord("closed", 1, halted="401")])
async def test_what_has_no_way_left_needs_a_person_where_the_drainer_writes_nothing_down(
    drained: Drained, unwell: BreakerRecord
) -> None:
    await drained.exhaust(TYPE)
    assert await drained.verdict() is Verdict.MOVING
    await drained.store.set_breaker(unwell)
    assert await drained.verdict() is Verdict.NEEDS_PERSON


@pytest.mark.parametrize("stays", ["formless", "withheld"])
async def test_a_change_does_not_move_behind_an_older_one_that_stays(drained: Drained, stays: str) -> None:
    older, *_ = await drained.exhaust(CLEARED if stays == "formless" else BY_KEY, BY_KEY)
    await drained.starts(1000)
    if stays == "withheld":
        await drained.store.withhold({older: "city: too long"}, WITHHELD, 1000)
    else:
        assert await drained.verdict() is Verdict.MOVING  # what stays is written down first
        await drained.store.mark_formless({older: "clears a field"}, 1000)
    assert await drained.ways() == [(False, False, stays == "withheld"), (False, False, False)]
    assert await drained.verdict() is Verdict.NEEDS_PERSON
    await drained.exhaust(BY_ID)  # somebody else's change leaves
    assert await drained.verdict() is Verdict.MOVING


def facts(folder: Path, draft: Draft, state: State, *, spooled: bool = False, **settings: Any) -> Facts:
    """Of one entry that stands there."""

    async def look() -> Facts:
        store = await open_outbox(folder / "o.db", base_url="http://127.0.0.1:1", clock=SystemClock())
        try:
            (stored,) = await store.enqueue([draft])
            await store.settle(Settlement(stored.id, State.PENDING, State.EXHAUSTED, outage=spooled))
            if spooled:
                head = (FileFamily.CONTACTS, "Member", "contactId", "spooled")
                await store.spool_file(FileRecord(0, "1_1_contacts.xml", *head, 1, 1, 10, 0), [stored.id])
            elif state is not State.EXHAUSTED:
                await store.settle(Settlement(stored.id, State.EXHAUSTED, state))
            return await facts_of(store, Settings(outbox=str(folder / "o.db"), **settings))
        finally:
            await store.close()

    return asyncio.run(look())


@pytest.mark.parametrize(
    ("draft", "settings", "expected"),
    [
        (BY_KEY, {"contact_key": "email"}, Exhausted(False, has_file_form=True)),
        (BY_KEY, {}, Exhausted(False, has_file_form=False, untold=True)),
        (CLEARED, {"contact_key": "email"}, Exhausted(False, has_file_form=False, untold=True)),
        (TYPE, {"contact_key": "email"}, Exhausted(False, has_file_form=False, untold=True)),
        # In bulk requests no longer by file, but what no file can say as well.
        (BY_KEY, {"contact_key": "email", "fallback_contacts": "bulk"}, Exhausted(False, False, has_bulk_form=True)),
        (CLEARED, {"contact_key": "email", "fallback_contacts": "bulk"}, Exhausted(False, False, has_bulk_form=True)),
        (TYPE, {"contact_key": "email", "fallback_contacts": "bulk"}, Exhausted(False, False, untold=True)),
        (BY_ID, {"contact_key": "email", "fallback_contacts": "bulk"}, Exhausted(False, has_file_form=True)),
    ],
)
def test_how_an_exhausted_entry_may_leave(
    tmp_path: Path, draft: Draft, settings: dict[str, Any], expected: Exhausted
) -> None:
    found = facts(tmp_path, draft, State.EXHAUSTED, **settings)
    assert list(found.exhausted) == [expected]


def test_what_a_tenant_keeps_out_of_its_files_is_known(tmp_path: Path) -> None:
    names = tmp_path / "names.toml"
    names.write_text("contacts.preferences = false")
    found = facts(tmp_path, PREFERENCES, State.EXHAUSTED, fallback_names=str(names))
    assert list(found.exhausted) == [Exhausted(False, has_file_form=False, untold=True)]


async def test_a_confirmation_that_fails_again_and_again_moves_no_more_and_any_other_does(drained: Drained) -> None:
    failing, other = await drained.exhaust(BY_ID, BY_KEY)
    name = await drained.store.next_file_name(1000, FileFamily.CONTACTS)
    record = FileRecord(0, name, FileFamily.CONTACTS, "Member", "contactId", "spooled", 2, 2, 1, 1000)
    await drained.store.spool_file(record, [failing, other])
    (file,) = await drained.store.files(open_only=True)
    for state, target in (("uploading", State.UPLOADED), ("uploaded", None), ("imported", State.IMPORTED)):
        await drained.store.update_file(file.id, state=state, now=1000, entries_to=target)
    assert await drained.verdict() is Verdict.MOVING
    await drained.store.settle(Settlement(failing, State.IMPORTED, State.IMPORTED, reason=UNCONFIRMED))
    assert await drained.verdict() is Verdict.MOVING
    await drained.store.settle(Settlement(other, State.IMPORTED, State.IMPORTED, reason=UNCONFIRMED))
    assert await drained.verdict() is Verdict.NEEDS_PERSON
    await drained.store.settle(Settlement(other, State.IMPORTED, State.DELIVERED))
    found = await facts_of(drained.store, drained.settings)
    assert (found.unconfirmed, found.confirmable) == (1, False)
    assert verdict(found) is Verdict.NEEDS_PERSON


def test_a_bulk_request_under_way_moves(tmp_path: Path) -> None:
    settings = {"contact_key": "email", "fallback_contacts": "bulk"}
    assert verdict(facts(tmp_path, BY_KEY, State.UPLOADED, **settings)) is Verdict.MOVING


def test_a_spooled_file_of_an_outage_waits_for_the_api_where_nobody_uploads_it(tmp_path: Path) -> None:
    found = facts(tmp_path, BY_ID, State.SPOOLED, spooled=True)
    assert [(file.outage, file.has_folder) for file in found.files] == [(True, False)]
    assert verdict(found) is Verdict.MOVING
