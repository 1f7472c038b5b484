"""Finished entries go after the retention; their keys stay known for longer; the books close."""

from __future__ import annotations

import pytest
from entries import START, StandingClock, bring_to, draft, file, move, put, spool, state_of

from voyado_async.delivery import FileFamily, Kind
from voyado_async.errors import EntryNotFound, KeyConflict
from voyado_async.outbox.records import EntryFilter
from voyado_async.outbox.states import State
from voyado_async.outbox.store import Outbox

DAY = 86_400_000
LATER = START + 31 * DAY


async def delivered(outbox: Outbox, key: str) -> int:
    (entry_id,) = await put(outbox, draft(key=key, lane=f"contact:{key}"))
    assert await outbox.mark_sending(entry_id)
    assert await move(outbox, entry_id, State.SENDING, State.DELIVERED)
    return entry_id


async def test_only_old_delivered_and_discarded_entries_go(outbox: Outbox, clock: StandingClock) -> None:
    old = await delivered(outbox, "old")
    (cancelled,) = await put(outbox, draft(key="cancelled", lane="contact:b"))
    assert await outbox.cancel(cancelled, "Cancelled")
    (waiting, refused) = await put(outbox, draft(key="w", lane="contact:c"), draft(key="r", lane="contact:d"))
    assert await move(outbox, refused, State.PENDING, State.REJECTED, reason="ValidationError")
    clock.time = LATER
    fresh = await delivered(outbox, "fresh")

    assert await outbox.purge(LATER - 30 * DAY, START - DAY) == 2

    for gone in (old, cancelled):
        with pytest.raises(EntryNotFound):
            await outbox.get(gone)
        with pytest.raises(EntryNotFound):
            await outbox.body(gone)
        assert await outbox.attempts(gone) == []
    assert [await state_of(outbox, kept) for kept in (waiting, refused, fresh)] == ["pending", "rejected", "delivered"]
    assert (await outbox.counts()).purged == 2


@pytest.mark.parametrize(
    "older", [State.PENDING, State.SENDING, State.EXHAUSTED, State.SPOOLED, State.UPLOADED, State.IMPORTED]
)
async def test_a_change_stays_while_an_older_one_of_its_contact_can_be_sent(outbox: Outbox, older: State) -> None:
    """Two names turned out to be one contact's; else the older value would overwrite the newer one."""
    first, second = await put(
        outbox, draft(Kind.CONTACT_UPDATE, "email:a@example.com"), draft(Kind.CONTACT_UPDATE, "contact:a")
    )
    lane = (await outbox.claim(10, START, frozenset()))[0].lane
    assert await move(outbox, second, State.PENDING, State.DELIVERED)
    assert await outbox.join_lanes(lane, "a", "email:a@example.com")
    await bring_to(outbox, first, older)
    assert await outbox.purge(LATER, START) == 0
    if older is State.SENDING:
        assert await move(outbox, first, State.SENDING, State.PENDING)
    assert await outbox.discard([first], named=True, reason="unwanted", action=0)
    assert await outbox.purge(LATER, START) == 2


async def test_a_purged_delivery_is_still_known_by_its_key(outbox: Outbox, clock: StandingClock) -> None:
    old = await delivered(outbox, "receipt-1")
    clock.time = LATER
    await outbox.purge(LATER, START)
    (again,) = await outbox.enqueue([draft(key="receipt-1")])
    assert (again.id, again.existing) == (old, State.DELIVERED)
    with pytest.raises(KeyConflict):
        await outbox.enqueue([draft(key="receipt-1", body=b'{"a":2}')])


async def test_the_key_of_a_purged_delivery_is_free_after_its_own_time(outbox: Outbox, clock: StandingClock) -> None:
    old = await delivered(outbox, "receipt-1")
    clock.time = LATER
    await outbox.purge(LATER, LATER)
    (again,) = await outbox.enqueue([draft(key="receipt-1", body=b'{"a":2}')])
    assert again.existing is None
    assert again.id > old


async def test_the_key_of_an_entry_that_still_waits_outlives_its_time(outbox: Outbox, clock: StandingClock) -> None:
    (waiting,) = await put(outbox, draft(key="receipt-1"))
    clock.time = LATER
    await outbox.purge(LATER, LATER)
    (again,) = await outbox.enqueue([draft(key="receipt-1")])
    assert (again.id, again.existing) == (waiting, State.PENDING)


@pytest.mark.parametrize("natural_key", [None, "the-assignment"])
async def test_a_purged_cancellation_leaves_no_key_behind(
    outbox: Outbox, clock: StandingClock, natural_key: str | None
) -> None:
    one = draft(Kind.REDEEM, key="shop-key")
    one = type(one)(one.kind, one.body, one.lane, one.key, natural_key)
    (entry,) = await outbox.enqueue([one])
    await outbox.cancel(entry.id, "Cancelled")
    clock.time = LATER
    await outbox.purge(LATER, START)
    for key in filter(None, ("shop-key", natural_key)):
        (again,) = await outbox.enqueue([draft(Kind.REDEEM, key=key, lane=f"contact:{key}")])
        assert again.existing is None


async def test_a_purge_takes_thousands_in_chunks(outbox: Outbox, clock: StandingClock) -> None:
    ids = await put(outbox, *(draft(lane=f"contact:{n}") for n in range(450)))
    for entry_id in ids:
        assert await outbox.cancel(entry_id, "Cancelled")
    clock.time = LATER
    assert await outbox.purge(LATER, START) == 450
    assert (await outbox.counts()).balanced


async def finished_file(outbox: Outbox, outcome: str, at: int, *, settled: bool = True) -> str:
    """A file of one entry that came to its end then; the entry is delivered, and as old."""
    (entry,) = await put(outbox, draft(lane=f"contact:{outcome}{at}"))
    await bring_to(outbox, entry, State.EXHAUSTED)
    written = await spool(outbox, entry)
    if outcome in ("withdrawn", "lost"):
        await outbox.update_file(written.id, state=outcome, now=at, entries_to=State.PENDING)
        return written.name
    for state in ("uploading", "uploaded"):
        await outbox.update_file(written.id, state=state, now=at, entries_to=State.UPLOADED)
    if outcome == "imported":
        await outbox.update_file(
            written.id, state=outcome, now=at, entries_to=State.DELIVERED if settled else State.IMPORTED
        )
    return written.name


async def test_files_go_with_their_last_entry_once_they_are_at_their_end(outbox: Outbox, clock: StandingClock) -> None:
    old = [await finished_file(outbox, outcome, START) for outcome in ("imported", "withdrawn", "lost")]
    waiting = await finished_file(outbox, "imported", START, settled=False)
    open_one = await finished_file(outbox, "uploaded", START)
    (entry,) = [found.id for found in await outbox.entries(EntryFilter(states=(State.UPLOADED,)))]
    assert await move(outbox, entry, State.UPLOADED, State.DISCARDED)
    clock.time = LATER
    fresh = await finished_file(outbox, "imported", LATER)
    last = await finished_file(outbox, "withdrawn", START)
    await outbox.purge(LATER - 30 * DAY, START)
    assert [found.name for found in await outbox.files(open_only=False)] == [waiting, open_one, fresh, last]
    assert not {waiting, open_one, fresh, last} & set(old)


async def test_names_and_numbers_of_purged_files_are_never_given_again(outbox: Outbox, clock: StandingClock) -> None:
    names = [await finished_file(outbox, "withdrawn", START) for _ in range(3)]
    before = [found.id for found in await outbox.files(open_only=False)]
    clock.time = LATER
    await outbox.purge(LATER, START)
    (kept,) = await outbox.files(open_only=False)
    assert kept.name == names[-1]
    name = await outbox.next_file_name(LATER, FileFamily.TRANSACTIONS)
    assert name > max(names)
    assert int(name.split("_")[1]) == int(names[-1].split("_")[1]) + 1
    assert await outbox.spool_file(file(name), []) == []
    assert (await outbox.files(open_only=False))[-1].id > max(before)
