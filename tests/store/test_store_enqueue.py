"""Writing: durable, in order, all or nothing; keys."""

from __future__ import annotations

import asyncio

import pytest
from entries import START, OpenOutbox, StandingClock, bring_to, draft, put, state_of

from voyado_async.delivery import Draft, Kind
from voyado_async.errors import ClientClosed, EntryNotFound, KeyConflict
from voyado_async.outbox.records import EntryFilter
from voyado_async.outbox.sqlite import SqliteOutbox
from voyado_async.outbox.states import State
from voyado_async.outbox.store import Outbox
from voyado_async.outbox.writer import MAX_ROWS


async def test_what_was_written_is_there_for_another_connection_when_the_write_returns(
    outbox: Outbox, open_outbox: OpenOutbox
) -> None:
    other = await open_outbox()
    (entry,) = await put(outbox, draft(Kind.REDEEM, key="a1", body=b'{"assignmentId":"a1"}'))
    assert await other.body(entry) == b'{"assignmentId":"a1"}'
    assert await state_of(other, entry) is State.PENDING


async def test_it_is_there_after_closing_and_opening_again(outbox: Outbox, open_outbox: OpenOutbox) -> None:
    (entry,) = await put(outbox, draft(body=b"[1]"))
    await outbox.close()
    assert await (await open_outbox()).body(entry) == b"[1]"


async def test_an_entry_is_shown_as_it_was_written(outbox: Outbox, clock: StandingClock) -> None:
    (entry,) = await put(outbox, draft(Kind.REDEEM, "assignment:a1", "a1"))
    shown = await outbox.get(entry)
    assert (shown.kind, shown.state, shown.key, shown.lane) == (Kind.REDEEM, State.PENDING, "a1", "assignment:a1")
    assert (shown.created, shown.changed, shown.due) == (clock.time, clock.time, clock.time)
    assert (shown.slots, shown.requests, shown.unknown, shown.file, shown.replaces) == (0, 0, False, None, None)


async def test_ids_have_the_order_of_submission(outbox: Outbox) -> None:
    ids = await asyncio.gather(*(put(outbox, draft(lane=f"contact:{n % 3}")) for n in range(60)))
    assert [one for (one,) in ids] == list(range(1, 61))


async def test_a_batch_has_consecutive_ids_among_concurrent_writers(outbox: Outbox) -> None:
    batches = await asyncio.gather(*(put(outbox, *(draft() for _ in range(5))) for _ in range(20)))
    assert all(batch == list(range(batch[0], batch[0] + 5)) for batch in batches)


async def test_nothing_to_write_is_nothing_written(outbox: Outbox) -> None:
    assert await outbox.enqueue([]) == []
    assert (await outbox.counts()).enqueued == 0


async def test_a_content_of_a_megabyte_comes_back_whole(outbox: Outbox) -> None:
    body = b"x" * 1_000_000
    ids = await asyncio.gather(*(put(outbox, draft(body=body + str(n).encode())) for n in range(10)))
    assert [await outbox.body(entry) for (entry,) in ids] == [body + str(n).encode() for n in range(10)]


async def test_the_same_key_with_the_same_content_is_the_entry_that_exists(outbox: Outbox) -> None:
    (first,) = await outbox.enqueue([draft(key="k")])
    (again,) = await outbox.enqueue([draft(key="k")])
    assert first.existing is None
    assert (again.id, again.state, again.existing) == (first.id, State.PENDING, State.PENDING)
    assert (await outbox.counts()).enqueued == 1


@pytest.mark.parametrize(
    "state", [State.SENDING, State.DELIVERED, State.EXHAUSTED, State.SPOOLED, State.UPLOADED, State.IMPORTED]
)
async def test_the_state_of_the_entry_that_exists_is_told(outbox: Outbox, state: State) -> None:
    (entry,) = await put(outbox, draft(key="k"))
    await bring_to(outbox, entry, state)
    (again,) = await outbox.enqueue([draft(key="k")])
    assert (again.id, again.existing) == (entry, state)


async def test_a_key_with_other_content_is_a_conflict_and_nothing_is_stored(outbox: Outbox) -> None:
    (entry,) = await put(outbox, draft(key="k"))
    with pytest.raises(KeyConflict) as refused:
        await outbox.enqueue([draft(key="k", body=b'{"a":2}')])
    assert refused.value.entry_id == entry
    assert (await outbox.counts()).enqueued == 1
    assert await outbox.body(entry) == b'{"a":1}'


async def test_keys_of_different_kinds_have_nothing_to_do_with_each_other(outbox: Outbox) -> None:
    first, second = await put(outbox, draft(Kind.RECEIPT, key="k"), draft(Kind.REDEEM, key="k", body=b"{}"))
    assert first != second


@pytest.mark.parametrize("state", [State.REJECTED, State.DISCARDED])
@pytest.mark.parametrize("body", [b'{"a":1}', b'{"a":2}'])
async def test_a_rejected_or_discarded_entry_releases_its_key_and_is_linked(
    outbox: Outbox, state: State, body: bytes
) -> None:
    (old,) = await put(outbox, draft(key="k"))
    await bring_to(outbox, old, state)
    (new,) = await outbox.enqueue([draft(key="k", body=body)])
    assert (new.id, new.existing) == (old + 1, None)
    assert (await outbox.get(new.id)).replaces == old
    (again,) = await outbox.enqueue([draft(key="k", body=body)])
    assert (again.id, again.existing) == (new.id, State.PENDING)


async def test_a_key_twice_in_one_batch_is_one_entry(outbox: Outbox) -> None:
    first, other, again = await outbox.enqueue([draft(key="k"), draft(), draft(key="k")])
    assert again.id == first.id
    assert other.id != first.id
    assert (await outbox.counts()).enqueued == 2


async def test_a_key_twice_in_one_batch_with_other_content_stores_nothing(outbox: Outbox) -> None:
    with pytest.raises(KeyConflict):
        await outbox.enqueue([draft(key="k"), draft(key="k", body=b"{}")])
    assert (await outbox.counts()).enqueued == 0


async def test_a_conflict_in_the_middle_of_a_batch_stores_none_of_it(outbox: Outbox) -> None:
    (entry,) = await put(outbox, draft(key="taken"))
    with pytest.raises(KeyConflict):
        await outbox.enqueue([draft(key="x"), draft(key="taken", body=b"{}"), draft(key="y")])
    assert [one.id for one in await outbox.entries(EntryFilter())] == [entry]
    stored = await outbox.enqueue([draft(key="x", body=b"[]"), draft(key="y", body=b"[]")])
    assert [one.existing for one in stored] == [None, None]


async def test_a_conflict_fails_only_its_own_caller_of_those_who_share_a_commit(outbox: Outbox) -> None:
    await put(outbox, draft(key="taken"))
    results = await asyncio.gather(
        *(outbox.enqueue([draft(key="taken" if n == 7 else f"k{n}", body=b"{}")]) for n in range(15)),
        return_exceptions=True,
    )
    assert [n for n, result in enumerate(results) if isinstance(result, BaseException)] == [7]
    assert isinstance(results[7], KeyConflict)
    assert (await outbox.counts()).enqueued == 15


async def test_of_concurrent_writers_of_one_key_one_creates_the_entry(outbox: Outbox, open_outbox: OpenOutbox) -> None:
    other = await open_outbox()
    results = await asyncio.gather(*((outbox, other)[n % 2].enqueue([draft(key="k")]) for n in range(30)))
    assert len({stored.id for (stored,) in results}) == 1
    assert sum(stored.existing is None for (stored,) in results) == 1


async def test_of_those_who_share_a_commit_one_spends_what_has_one_natural_key(outbox: SqliteOutbox) -> None:
    """No index keeps two keys of the shop's own from naming one promotion: within a commit only the code does."""
    before = outbox.commits
    writes = [Draft(Kind.REDEEM, b"{}", f"contact:{n}", f"till-{n}", natural_key="assignment-1") for n in range(20)]
    results = await asyncio.gather(*(outbox.enqueue([each]) for each in writes))
    assert outbox.commits == before + 1
    assert [stored.id for (stored,) in results] == [1] * 20
    assert [stored.existing for (stored,) in results] == [None] + [State.PENDING] * 19
    assert (await outbox.counts()).enqueued == 1


async def test_what_a_conflict_took_back_is_no_entry_for_those_who_share_the_commit(outbox: SqliteOutbox) -> None:
    await put(outbox, draft(key="taken"))
    before = outbox.commits
    refused, kept = await asyncio.gather(
        outbox.enqueue([draft(key="k"), draft(key="taken", body=b"{}")]),
        outbox.enqueue([draft(key="k")]),
        return_exceptions=True,
    )
    assert outbox.commits == before + 1
    assert isinstance(refused, KeyConflict)
    assert isinstance(kept, list)
    assert [(stored.id, stored.existing) for stored in kept] == [(2, None)]
    assert (await outbox.get(2)).key == "k"


async def test_a_cancelled_caller_leaves_its_entry_wholly_there_or_not_at_all(outbox: Outbox) -> None:
    tasks = [asyncio.create_task(outbox.enqueue([draft(key=f"{n}a"), draft(key=f"{n}b")])) for n in range(40)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, list) for result in results[1::2])
    keys = {entry.key for entry in await outbox.entries(EntryFilter())}
    for n in range(40):
        assert len({f"{n}a", f"{n}b"} & keys) in ((0, 2) if n % 2 == 0 else (2,))


async def test_what_was_submitted_before_closing_is_stored(outbox: Outbox, open_outbox: OpenOutbox) -> None:
    writing = [asyncio.create_task(outbox.enqueue([draft()])) for _ in range(10)]
    await asyncio.sleep(0)
    await outbox.close()
    assert [stored.id for task in writing for stored in await task] == list(range(1, 11))
    assert (await (await open_outbox()).counts()).enqueued == 10


async def test_what_was_submitted_before_closing_is_stored_however_many_commits_that_takes(
    outbox: SqliteOutbox, open_outbox: OpenOutbox
) -> None:
    sizes = [MAX_ROWS, MAX_ROWS, 1]
    writing = [asyncio.create_task(outbox.enqueue([draft() for _ in range(size)])) for size in sizes]
    await asyncio.sleep(0)
    await outbox.close()
    assert [len(await task) for task in writing] == sizes
    assert (await (await open_outbox()).counts()).enqueued == sum(sizes)


async def test_a_closed_outbox_refuses_writes_and_reads(outbox: Outbox) -> None:
    await outbox.close()
    with pytest.raises(ClientClosed):
        await outbox.enqueue([draft()])
    with pytest.raises(ClientClosed):
        await outbox.counts()
    await outbox.close()


async def test_an_entry_that_is_not_there_is_said_so(outbox: Outbox) -> None:
    with pytest.raises(EntryNotFound):
        await outbox.get(1)
    with pytest.raises(EntryNotFound):
        await outbox.body(1)


async def test_ids_are_never_given_again(outbox: Outbox, open_outbox: OpenOutbox) -> None:
    (first,) = await put(outbox, draft())
    await bring_to(outbox, first, State.DISCARDED)
    await outbox.close()
    assert await put(await open_outbox(), draft()) == [first + 1]


async def test_the_natural_key_finds_a_write_that_has_a_key_of_the_shops_own(outbox: Outbox) -> None:
    own = Draft(Kind.REDEEM, b'{"a":1}', "contact:anna", "shop-1", natural_key="assignment-1")
    (first,) = await outbox.enqueue([own])
    natural = Draft(Kind.REDEEM, b'{"a":1}', "contact:anna", "assignment-1", natural_key="assignment-1")
    other = Draft(Kind.REDEEM, b'{"a":1}', "contact:anna", "shop-2", natural_key="assignment-1")
    for again in (natural, other):
        (stored,) = await outbox.enqueue([again])
        assert (stored.id, stored.existing) == (first.id, State.PENDING)
    assert await outbox.pending_redeems(["ASSIGNMENT-1"], START) == {"ASSIGNMENT-1"}


async def test_a_key_of_the_shops_own_does_not_write_a_natural_one_again(outbox: Outbox) -> None:
    (first,) = await outbox.enqueue([Draft(Kind.REDEEM, b'{"a":1}', "contact:a", "assignment-1")])
    own = Draft(Kind.REDEEM, b'{"a":1}', "contact:a", "shop-1", natural_key="assignment-1")
    (stored,) = await outbox.enqueue([own])
    assert (stored.id, stored.existing) == (first.id, State.PENDING)
    with pytest.raises(KeyConflict):
        await outbox.enqueue([Draft(Kind.REDEEM, b'{"a":2}', "contact:a", "shop-2", natural_key="assignment-1")])
