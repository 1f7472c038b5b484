"""What `drain --until-settled` is told of an outbox, by the settings that the courier has."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from voyado_async.cli.settled import Exhausted, Facts, Verdict, verdict
from voyado_async.cli.settled_facts import facts_of
from voyado_async.clock import SystemClock
from voyado_async.delivery import Draft, FileFamily
from voyado_async.kinds import contact_type, contact_update
from voyado_async.kinds.address import address
from voyado_async.outbox.sqlite import open_outbox
from voyado_async.outbox.states import State
from voyado_async.outbox.store import FileRecord, Settlement
from voyado_async.settings import Settings

ANNA = "0b6f1c52-7d0e-4a57-9c3b-5a1f2e8d4c10"
BY_KEY = contact_update.draft(address(email="anna@example.com"), {"city": "Lund"})
CLEARED = contact_update.draft(address(email="anna@example.com"), {"city": None})
BY_ID = contact_update.draft(address(contact_id=ANNA), {"city": "Lund"})
PREFERENCES = contact_update.draft(address(contact_id=ANNA), {"preferences": {"acceptsSms": True}})
TYPE = contact_type.draft(ANNA, "Member")


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
        (BY_KEY, {}, Exhausted(False, has_file_form=False)),
        (CLEARED, {"contact_key": "email"}, Exhausted(False, has_file_form=False)),
        (TYPE, {"contact_key": "email"}, Exhausted(False, has_file_form=False)),
        # In bulk requests no longer by file, but what no file can say as well.
        (BY_KEY, {"contact_key": "email", "fallback_contacts": "bulk"}, Exhausted(False, False, has_bulk_form=True)),
        (CLEARED, {"contact_key": "email", "fallback_contacts": "bulk"}, Exhausted(False, False, has_bulk_form=True)),
        (TYPE, {"contact_key": "email", "fallback_contacts": "bulk"}, Exhausted(False, has_file_form=False)),
        (BY_ID, {"contact_key": "email", "fallback_contacts": "bulk"}, Exhausted(False, has_file_form=True)),
    ],
)
def test_how_an_exhausted_entry_may_leave(
    tmp_path: Path, draft: Draft, settings: dict[str, Any], expected: Exhausted
) -> None:
    found = facts(tmp_path, draft, State.EXHAUSTED, **settings)
    assert list(found.exhausted) == [expected]
    moves = expected.has_file_form or expected.has_bulk_form
    assert verdict(found) is (Verdict.MOVING if moves else Verdict.NEEDS_PERSON)


def test_what_a_tenant_keeps_out_of_its_files_is_known(tmp_path: Path) -> None:
    names = tmp_path / "names.toml"
    names.write_text("contacts.preferences = false")
    found = facts(tmp_path, PREFERENCES, State.EXHAUSTED, fallback_names=str(names))
    assert verdict(found) is Verdict.NEEDS_PERSON


def test_a_bulk_request_under_way_moves(tmp_path: Path) -> None:
    settings = {"contact_key": "email", "fallback_contacts": "bulk"}
    assert verdict(facts(tmp_path, BY_KEY, State.UPLOADED, **settings)) is Verdict.MOVING


def test_a_spooled_file_of_an_outage_waits_for_the_api_where_nobody_uploads_it(tmp_path: Path) -> None:
    found = facts(tmp_path, BY_ID, State.SPOOLED, spooled=True)
    assert [(file.outage, file.has_folder) for file in found.files] == [(True, False)]
    assert verdict(found) is Verdict.MOVING
