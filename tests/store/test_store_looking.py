"""Looking: listings, books, facts."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from entries import START, OpenOutbox, StandingClock, bring_to, draft, move, put

from voyado_async.delivery import Draft, Kind
from voyado_async.outbox.operator_store import OperatorOutbox
from voyado_async.outbox.records import BreakerRecord, DrainerRecord, EntryFilter
from voyado_async.outbox.states import State
from voyado_async.outbox.store import Outbox


async def test_the_books_count_every_state_and_kind(outbox: Outbox) -> None:
    ids = await put(outbox, *(draft(Kind.REDEEM, f"contact:{state}", key=str(state)) for state in State))
    for entry, state in zip(ids, State, strict=True):
        await bring_to(outbox, entry, state)
    counts = await outbox.counts()
    assert counts.states == dict.fromkeys(State, 1)
    assert counts.kinds == {"redeem": dict.fromkeys(State, 1)}
    assert (counts.enqueued, counts.purged, counts.forgotten, counts.balanced) == (9, 0, 0, True)
    assert counts.oldest_pending == START


async def test_the_books_of_an_empty_outbox_close(outbox: Outbox) -> None:
    counts = await outbox.counts()
    assert (counts.enqueued, counts.balanced, counts.oldest_pending) == (0, True, None)


async def test_the_books_close_at_every_moment_while_others_write(outbox: Outbox, open_outbox: OpenOutbox) -> None:
    writer = await open_outbox()
    writing = asyncio.gather(*(writer.enqueue([draft(lane=f"contact:{n % 9}")]) for n in range(400)))
    looks = [await outbox.counts() for _ in range(60)]
    await writing
    assert all(look.balanced for look in looks)


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        (EntryFilter(), [5, 4, 3, 2, 1]),
        (EntryFilter(ids=(2, 4, 99)), [4, 2]),
        (EntryFilter(states=(State.REJECTED, State.DELIVERED)), [3, 2]),
        (EntryFilter(kinds=(Kind.REDEEM,)), [4, 1]),
        (EntryFilter(contact="ANNA"), [2, 1]),
        (EntryFilter(error="NotFound"), [3]),
        (EntryFilter(since=START + 2, until=START + 4), [4, 3]),
        (EntryFilter(limit=2), [5, 4]),
        (EntryFilter(kinds=(Kind.REDEEM,), contact="anna"), [1]),
        (EntryFilter(contact="nobody"), []),
    ],
)
async def test_entries_are_listed_newest_first_by_every_part_of_the_filter(
    outbox: Outbox, clock: StandingClock, which: EntryFilter, expected: list[int]
) -> None:
    rows = [
        (Kind.REDEEM, "contact:anna"), (Kind.RECEIPT, "contact:anna"), (Kind.RECEIPT, "contact:bo"),
        (Kind.REDEEM, "contact:cy"), (Kind.RECEIPT, "contact:di"),
    ]  # fmt: skip
    for kind, lane in rows:
        await put(outbox, draft(kind, lane))
        clock.time += 1
    await move(outbox, 2, State.PENDING, State.DELIVERED)
    await move(outbox, 3, State.PENDING, State.REJECTED, reason="NotFound")
    assert [entry.id for entry in await outbox.entries(which)] == expected
    if which.limit is None:
        assert await selected(outbox, which) == expected


async def selected(outbox: Outbox, which: EntryFilter) -> list[int]:
    """What a replay or discard by the same filter takes."""
    operator = cast(OperatorOutbox, outbox)
    return sorted([entry async for piece in operator.select(which) for entry in piece], reverse=True)


async def test_warnings_are_kept_with_the_entry(outbox: Outbox) -> None:
    (entry,) = await put(outbox, Draft(Kind.RECEIPT, b"{}", "contact:a", warnings=("sum differs", "sign")))
    assert (await outbox.get(entry)).warnings == ("sum differs", "sign")


async def test_states_of_several_entries_come_with_their_reasons(outbox: Outbox) -> None:
    a, b = await put(outbox, draft(), draft(lane="contact:b"))
    await move(outbox, b, State.PENDING, State.REJECTED, reason="NotFound")
    assert await outbox.states_of([a, b, 99]) == {a: (State.PENDING, None), b: (State.REJECTED, "NotFound")}
    assert await outbox.states_of([]) == {}


async def test_facts_are_shared_with_every_process(outbox: Outbox, open_outbox: OpenOutbox) -> None:
    other = await open_outbox()
    assert await other.breaker() is None
    assert await other.drainer() is None
    breaker = BreakerRecord("open", START, START + 10, 2, "401")
    drainer = DrainerRecord(7, "shop-1", START, START + 5, "outbox_unavailable")
    await outbox.set_breaker(breaker)
    await outbox.set_drainer(drainer)
    assert await other.breaker() == breaker
    assert await other.drainer() == drainer
    await outbox.set_drainer(None)
    assert await other.drainer() is None


async def test_the_data_version_changes_when_another_process_writes(outbox: Outbox, open_outbox: OpenOutbox) -> None:
    other = await open_outbox()
    before = await outbox.data_version()
    assert await outbox.data_version() == before
    await put(other, draft())
    assert await outbox.data_version() != before


async def test_those_who_ask_are_called_after_each_commit(outbox: Outbox) -> None:
    calls: list[int] = []
    wake = lambda: calls.append(1)  # noqa: E731 - the very object has to be given back
    outbox.on_commit(wake)
    await put(outbox, draft())
    assert calls == [1]
    outbox.off_commit(wake)
    await put(outbox, draft())
    assert calls == [1]


async def test_the_outbox_knows_its_engage(outbox: Outbox) -> None:
    assert await outbox.base_url() == "https://engage.test"


async def test_how_long_the_longest_waiting_lane_has_been_due_is_told(outbox: Outbox) -> None:
    assert await outbox.due_since() is None
    first, second = await put(outbox, draft(Kind.REDEEM, "contact:a"), draft(lane="contact:b"))
    await move(outbox, first, State.PENDING, State.PENDING, due=START - 5)
    await move(outbox, second, State.PENDING, State.PENDING, due=START - 7)
    assert await outbox.due_since() == START - 7


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("key", ["a1", "order-7"])
async def test_the_overlay_knows_each_redeem_that_counts_as_done(outbox: Outbox, state: State, key: str) -> None:
    entry, _ = await put(outbox, Draft(Kind.REDEEM, b"{}", "contact:a", key, "a1"), draft(Kind.RECEIPT, key="b2"))
    await bring_to(outbox, entry, state)
    spent = {"A1"} if state not in (State.REJECTED, State.DISCARDED) else set()
    assert await outbox.pending_redeems(["A1", "b2", "c3"], START) == spent
    assert await outbox.pending_redeems(["A1"], START + 1) == (set() if state is State.DELIVERED else spent)


async def test_the_overlay_knows_vouchers_apart_from_assignments(outbox: Outbox) -> None:
    await put(outbox, Draft(Kind.VOUCHER_REDEEM, b"{}", "contact:a", "v1", "v1"), draft(Kind.REDEEM, key="a1"))
    assert await outbox.pending_redeems(["V1", "a1"], START, Kind.VOUCHER_REDEEM) == {"V1"}
    assert await outbox.pending_redeems(["V1", "a1"], START) == {"a1"}


async def test_an_error_is_found_by_its_code_also_where_it_may_have_happened(outbox: Outbox) -> None:
    (entry_id,) = await put(outbox, draft())
    await move(outbox, entry_id, State.PENDING, State.REJECTED, reason="Conflict (may have happened)")
    for which, found in ((EntryFilter(error="Conflict"), [entry_id]), (EntryFilter(error="Con"), [])):
        assert [entry.id for entry in await outbox.entries(which)] == await selected(outbox, which) == found


@pytest.mark.parametrize("reason", ["MultipleMatches: a, b", "MultipleMatches (may have happened): a, b"])
async def test_an_error_is_found_by_its_code_also_where_contacts_stand_behind_it(outbox: Outbox, reason: str) -> None:
    (entry_id,) = await put(outbox, draft())
    await move(outbox, entry_id, State.PENDING, State.REJECTED, reason=reason)
    for error, found in (("MultipleMatches", [entry_id]), (reason, [entry_id]), ("Multiple", [])):
        which = EntryFilter(error=error)
        assert [entry.id for entry in await outbox.entries(which)] == await selected(outbox, which) == found
