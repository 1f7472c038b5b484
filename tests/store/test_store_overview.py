"""One look at an outbox: what it says of itself, and that this costs no look at the entries."""

from __future__ import annotations

import pytest
from entries import START, OpenOutbox, StandingClock, bring_to, draft, move, put, spool

from voyado_async.delivery import Kind
from voyado_async.outbox.overview import SPAN
from voyado_async.outbox.records import BreakerRecord, DrainerRecord
from voyado_async.outbox.states import State
from voyado_async.outbox.store import Outbox

EVERYWHERE = [*State]


async def test_the_counts_follow_every_move_there_is(outbox: Outbox) -> None:
    """Whoever moves an entry; `assert_balanced` compares the counts with the entries after each test of this store."""
    by_file = (State.SPOOLED, State.UPLOADED, State.IMPORTED)
    for kind in Kind:
        for state in EVERYWHERE:
            if kind in (Kind.CONTACT_TYPE, Kind.VOUCHER_REDEEM) and state in by_file:
                continue  # they have no form in a file
            (entry,) = await put(outbox, draft(kind, f"contact:{kind}-{state}"))
            await bring_to(outbox, entry, state)
    counts = await outbox.counts()
    assert counts.enqueued == 6 * len(EVERYWHERE) - 6
    assert counts.kinds["redeem"] == dict.fromkeys(map(str, EVERYWHERE), 1)
    assert counts.states["imported"] == 4


async def test_the_counts_follow_a_way_back_and_a_purge(outbox: Outbox, clock: StandingClock) -> None:
    ids = await put(outbox, *(draft(lane=f"contact:{number}") for number in range(6)))
    for entry in ids[:2]:
        await bring_to(outbox, entry, State.EXHAUSTED)
    written = await spool(outbox, ids[0])
    await outbox.update_file(written.id, state="withdrawn", now=START, entries_to=State.PENDING)
    assert await outbox.bring_back(START) == 1
    assert (await outbox.counts()).kinds == {"receipt": {"pending": 6}}
    await move(outbox, ids[2], State.PENDING, State.DELIVERED)
    await outbox.cancel(ids[3], "Cancelled")
    await outbox.mark_sending(ids[4])
    assert len(await outbox.take_over(START, START)) == 1
    clock.time += 1000
    assert await outbox.purge(START + 1000, 0) == 2
    counts = await outbox.counts()
    assert (counts.kinds, counts.purged) == ({"receipt": {"pending": 4}}, 2)


async def test_an_entry_that_is_refused_or_there_already_is_not_counted(outbox: Outbox) -> None:
    await put(outbox, draft(key="a"), draft(key="a"), draft(Kind.REDEEM, key="a"))
    with pytest.raises(Exception, match="other content"):
        await put(outbox, draft(key="b"), draft(key="a", body=b"{}"))
    assert (await outbox.counts()).kinds == {"receipt": {"pending": 1}, "redeem": {"pending": 1}}


async def test_an_empty_outbox_has_nothing_to_tell(outbox: Outbox) -> None:
    found = await outbox.overview(START, 3)
    assert (found.counts.states, found.standing, found.files) == (dict.fromkeys(map(str, State), 0), {}, [])
    assert (found.due_since, found.last_enqueued, found.breaker, found.drainer) == (None, None, None, None)
    assert [(span.at, span.enqueued, span.moved) for span in found.flow] == [
        ((START // SPAN - back) * SPAN, 0, {}) for back in (2, 1, 0)
    ]


async def test_what_waits_is_told_with_its_oldest_its_reasons_and_its_next_turn(
    outbox: Outbox, clock: StandingClock
) -> None:
    first = await put(outbox, draft(lane="contact:a"), draft(lane="contact:b"))
    clock.time += 5000
    later = await put(outbox, draft(lane="contact:c"), draft(lane="contact:d"), draft(lane="contact:e"))
    due = clock.time + 60_000
    for entry in (*first, later[0]):
        reason = "Timeout" if entry == later[0] else "Http503"
        await move(outbox, entry, State.PENDING, State.PENDING, due=due + entry, reason=reason)
    await bring_to(outbox, later[1], State.EXHAUSTED)
    await move(outbox, later[2], State.PENDING, State.REJECTED, reason="NotFound")
    await outbox.set_breaker(BreakerRecord("open", clock.time, due))
    await outbox.set_drainer(DrainerRecord(4711, "till", START, clock.time))
    found = await outbox.overview(clock.time, 1)
    waiting = found.standing["waiting"]
    assert (waiting.oldest, waiting.reasons, waiting.next_due) == (START, {"Http503": 2, "Timeout": 1}, due + first[0])
    assert found.standing["exhausted"].reasons == {"Http503": 1}
    assert found.standing["rejected"].oldest == clock.time
    assert (found.due_since, found.last_enqueued) == (due + first[0], clock.time)
    assert found.breaker is not None
    assert (found.breaker.state, found.drainer and found.drainer.pid) == ("open", 4711)


async def test_files_are_told_by_state_with_the_time_of_the_oldest(outbox: Outbox, clock: StandingClock) -> None:
    ids = await put(outbox, *(draft(lane=f"contact:{number}") for number in range(4)))
    for entry in ids[:3]:
        await bring_to(outbox, entry, State.EXHAUSTED)
    await spool(outbox, *ids[:2], name="1_1_transactions.xml")
    uploading = await spool(outbox, ids[2], name="1_2_transactions.xml")
    clock.time += 1000
    await outbox.update_file(
        uploading.id, state="uploading", now=clock.time, entries_to=State.UPLOADED, problem="login"
    )
    found = await outbox.overview(clock.time, 1)
    assert [(total.state, total.files, total.entries, total.since) for total in found.files] == [
        ("spooled", 1, 2, START),
        ("uploading", 1, 1, clock.time),
    ]
    assert [(file.name, file.problem) for file in found.open_files] == [
        ("1_1_transactions.xml", None),
        ("1_2_transactions.xml", "login"),
    ]


async def test_the_spooled_files_that_go_back_to_the_api_are_told(outbox: Outbox, clock: StandingClock) -> None:
    ids = await put(outbox, *(draft(lane=f"contact:{number}") for number in range(4)))
    for entry in ids:
        await bring_to(outbox, entry, State.EXHAUSTED, outage=entry in (ids[1], ids[3]))
    mixed = await spool(outbox, ids[0], ids[1], name="1_1_transactions.xml")
    await spool(outbox, ids[2], name="1_2_transactions.xml")
    left = await spool(outbox, ids[3], name="1_3_transactions.xml")
    await outbox.update_file(left.id, state="uploading", now=clock.time, entries_to=State.UPLOADED)
    assert (await outbox.overview(clock.time, 1)).files_of_outage == {mixed.id}


async def test_the_history_tells_span_by_span_what_was_written_and_what_came_where(
    outbox: Outbox, clock: StandingClock
) -> None:
    clock.time = START // SPAN * SPAN
    ids: list[int] = []
    for count in (3, 0, 2):
        ids += await put(outbox, *(draft(lane=f"contact:{len(ids)}-{number}") for number in range(count)))
        clock.time += SPAN
    await move(outbox, ids[0], State.PENDING, State.DELIVERED)
    await outbox.mark_sending(ids[1])
    await move(outbox, ids[1], State.SENDING, State.DELIVERED)
    await bring_to(outbox, ids[2], State.EXHAUSTED)
    clock.time += SPAN
    await outbox.bring_back(clock.time)
    await put(outbox, draft(lane="contact:last"))
    found = await outbox.overview(clock.time, 5)
    assert [span.enqueued for span in found.flow] == [3, 0, 2, 0, 1]
    assert [span.moved for span in found.flow] == [{}, {}, {}, {"delivered": 2, "exhausted": 1}, {"pending": 1}]
    assert [span.enqueued for span in (await outbox.overview(clock.time, 2)).flow] == [0, 1]


async def test_the_history_is_forgotten_after_a_week(
    open_outbox: OpenOutbox, clock: StandingClock, outbox: Outbox
) -> None:
    (entry,) = await put(outbox, draft())
    await move(outbox, entry, State.PENDING, State.REJECTED)
    spans = 8 * 86_400_000 // SPAN
    assert sum(span.count("rejected") for span in (await outbox.overview(clock.time, 1)).flow) == 1
    clock.time += 6 * 86_400_000
    await outbox.purge(0, 0)
    assert sum(span.count("rejected") for span in (await outbox.overview(clock.time, spans)).flow) == 1
    clock.time += 2 * 86_400_000
    await outbox.purge(0, 0)
    assert sum(span.count("rejected") for span in (await outbox.overview(clock.time, spans)).flow) == 0
