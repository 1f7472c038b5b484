"""One key, one rate (ref 1.4): the sandbox counts whatever the drainer sends, over a real connection."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from voyado_async import Settings, VoyadoClient
from voyado_async.clock import SystemClock
from voyado_async.delivery import FileFamily
from voyado_async.drain import rounds
from voyado_async.kinds import contact_update
from voyado_async.kinds.address import address
from voyado_async.outbox.records import FileRecord, Settlement
from voyado_async.outbox.sqlite import SqliteOutbox, open_outbox
from voyado_async.outbox.states import FINAL, State
from voyado_async.sandbox import Sandbox, SandboxSettings

RATE = 40


async def leave_by_file(outbox: SqliteOutbox, ids: list[int], now: int) -> None:
    """They were exhausted, and Engage took their file."""
    for entry in ids:
        assert await outbox.settle(Settlement(entry, State.PENDING, State.EXHAUSTED, outage=True))
    name = await outbox.next_file_name(now, FileFamily.CONTACTS)
    record = FileRecord(0, name, FileFamily.CONTACTS, "Member", "email", "spooled", len(ids), 1, 1, now)
    assert await outbox.spool_file(record, ids) == ids
    (file,) = await outbox.files(open_only=True)
    for state, moved_to in (("uploading", State.UPLOADED), ("uploaded", None), ("imported", State.IMPORTED)):
        await outbox.update_file(file.id, state=state, now=now, entries_to=moved_to)


async def test_no_second_holds_more_than_the_rate_whatever_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Look-ups, changes, confirmations of three requests each, and bulk requests, all at one time."""
    monkeypatch.setattr(rounds, "REST", 0)  # nobody drained before
    async with Sandbox(SandboxSettings(hard_rate=0, receipt_period=0.1)) as sandbox:
        emails = [f"c{number}@example.com" for number in range(40)]
        for email in emails:
            sandbox.state.add_contact(email=email, city="Malmö")
        settings = Settings(
            base_url=sandbox.base_url, api_key=sandbox.api_key, outbox=str(tmp_path / "outbox.db"), rate=RATE,
            contact_key="email", fallback_contacts="bulk", import_period=0.2, user_agent="Test/1.0",
        )  # fmt: skip
        clock = SystemClock()
        outbox = await open_outbox(settings.outbox_path, base_url=settings.base_url, clock=clock)
        changes = [contact_update.draft(address(email=email), {"city": "Lund"}) for email in emails]
        ids = [stored.id for stored in await outbox.enqueue(changes)]
        await leave_by_file(outbox, ids[:15], clock.now())
        for entry in ids[15:30]:
            assert await outbox.settle(Settlement(entry, State.PENDING, State.EXHAUSTED, outage=True))
        await outbox.close()
        async with VoyadoClient(settings) as voyado, asyncio.timeout(60):
            while True:
                states = (await voyado.outbox.status()).states
                if not any(count for state, count in states.items() if State(state) not in FINAL):
                    break
                await asyncio.sleep(0.1)
        assert len(sandbox.journal.requests("POST", "/bulk")) + len(sandbox.journal.requests("PATCH", "/bulk")) == 1
        assert len(sandbox.journal.requests("PATCH")) >= 25
        assert len(sandbox.journal.arrivals) > 3 * RATE
        # What is sent evenly arrives a little less so: a tenth of a second is left for that.
        assert sandbox.journal.peak(0.9) <= RATE
