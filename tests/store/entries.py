"""Drafts of every kind, a clock that stands still, and the shortest way of an entry into each state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from voyado_async.delivery import Draft, FileFamily, Kind
from voyado_async.outbox.records import Attempt, EntryFilter, FileRecord, Settlement
from voyado_async.outbox.states import State
from voyado_async.outbox.store import Outbox

OpenOutbox = Callable[[], Awaitable[Outbox]]

START = 1_700_000_000_000
AWAY = (State.EXHAUSTED, State.SPOOLED, State.UPLOADED, State.IMPORTED)
PROFILE = (Kind.CONTACT_UPDATE, Kind.CONTACT_TYPE)


class StandingClock:
    """The time is what the test says."""

    def __init__(self) -> None:
        self.time = START

    def now(self) -> int:
        return self.time

    def monotonic(self) -> float:
        return self.time / 1000

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("the outbox waits for nothing by the clock")


def draft(
    kind: Kind = Kind.RECEIPT, lane: str = "contact:anna", key: str | None = None, body: bytes = b'{"a":1}'
) -> Draft:
    return Draft(kind, body, lane, key)


async def put(outbox: Outbox, *drafts: Draft) -> list[int]:
    """Store them in one call; their ids."""
    return [stored.id for stored in await outbox.enqueue(drafts)]


async def move(outbox: Outbox, entry_id: int, source: State, target: State, **changes: Any) -> bool:
    return await outbox.settle(Settlement(entry_id, source, target, **changes))


async def state_of(outbox: Outbox, entry_id: int) -> State:
    return (await outbox.states_of([entry_id]))[entry_id][0]


def file(name: str = "1_1_transactions.xml", entries: int = 1, *, created: int = START) -> FileRecord:
    family = FileFamily(name.rpartition("_")[2].removesuffix(".xml"))
    return FileRecord(0, name, family, "Member", "contactId", "spooled", entries, entries, 100, created)


async def file_named(outbox: Outbox, name: str) -> FileRecord:
    return next(one for one in await outbox.files(open_only=False) if one.name == name)


async def spool(outbox: Outbox, *ids: int, name: str | None = None) -> FileRecord:
    """Exhausted entries into one file."""
    name = name or await outbox.next_file_name(START, FileFamily.TRANSACTIONS)
    assert await outbox.spool_file(file(name, len(ids)), ids) == list(ids)
    return await file_named(outbox, name)


async def bring_to(outbox: Outbox, entry_id: int, state: State, *, outage: bool = True) -> None:
    """The shortest way from pending to there."""
    if state is State.PENDING:
        return
    if state is State.SENDING:
        assert await outbox.mark_sending(entry_id)
        return
    if state is State.DISCARDED:
        assert await outbox.cancel(entry_id, "Cancelled")
        return
    if state not in AWAY:
        assert await move(outbox, entry_id, State.PENDING, state)
        return
    attempt = Attempt(START, "request", "exhausted", status=503)
    assert await move(
        outbox, entry_id, State.PENDING, State.EXHAUSTED, outage=outage, slots=8, attempt=attempt, reason="Http503"
    )
    if state is State.EXHAUSTED:
        return
    written = await spool(outbox, entry_id)
    if state is State.SPOOLED:
        return
    await outbox.update_file(written.id, state="uploading", now=START, entries_to=State.UPLOADED)
    if state is State.IMPORTED:
        await outbox.update_file(written.id, state="uploaded", now=START, entries_to=State.UPLOADED, seen=True)
        await outbox.update_file(written.id, state="imported", now=START, entries_to=State.IMPORTED)


async def claimed(
    outbox: Outbox, now: int = START, *, limit: int = 100, skip: frozenset[int] = frozenset()
) -> list[int]:
    return [message.id for message in await outbox.claim(limit, now, skip)]


async def assert_balanced(outbox: Outbox) -> None:
    """Accounting closes, every lane stands where its entries say, and the counts that every move keeps are those of
    the entries that are there."""
    assert [finding for finding in await outbox.verify() if not finding.ok] == []
    counts = await outbox.counts()
    assert counts.balanced, counts
    there = Counter((entry.kind, entry.state) for entry in await outbox.entries(EntryFilter()))
    assert {(kind, state): count for kind, by in counts.kinds.items() for state, count in by.items()} == there
    assert sum(there.values()) == sum(counts.states.values())
