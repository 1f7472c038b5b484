"""Moves: conditional, with their line in the record; takeover, outage, way back, cancelling."""

from __future__ import annotations

import asyncio

import pytest
from entries import START, OpenOutbox, StandingClock, bring_to, claimed, draft, move, put, state_of

from voyado_async.delivery import Kind
from voyado_async.outbox.records import Attempt, Settlement
from voyado_async.outbox.states import State, may_move
from voyado_async.outbox.store import Outbox


@pytest.mark.parametrize("state", [state for state in State if state is not State.PENDING])
async def test_only_a_pending_entry_starts_sending(outbox: Outbox, state: State) -> None:
    (entry,) = await put(outbox, draft())
    await bring_to(outbox, entry, state)
    assert not await outbox.mark_sending(entry)
    assert await state_of(outbox, entry) is state


async def test_sending_is_counted_as_a_request(outbox: Outbox) -> None:
    (entry,) = await put(outbox, draft())
    assert await outbox.mark_sending(entry)
    shown = await outbox.get(entry)
    assert (shown.state, shown.requests) == (State.SENDING, 1)


async def test_of_two_that_start_one_entry_only_one_wins(outbox: Outbox, open_outbox: OpenOutbox) -> None:
    other = await open_outbox()
    (entry,) = await put(outbox, draft())
    won = await asyncio.gather(*((outbox, other)[n % 2].mark_sending(entry) for n in range(8)))
    assert sum(won) == 1
    assert (await outbox.get(entry)).requests == 1


async def test_only_the_next_entry_of_a_lane_starts_sending(outbox: Outbox) -> None:
    first, second = await put(outbox, draft(), draft())
    assert not await outbox.mark_sending(second)
    assert await outbox.mark_sending(first)


async def test_a_settlement_is_written_with_its_line(outbox: Outbox, clock: StandingClock) -> None:
    (entry,) = await put(outbox, draft())
    clock.time += 5
    line = Attempt(clock.time, "request", "retry", status=503, code="Http503", duration_ms=12, known=False)
    settlement = Settlement(
        entry, State.PENDING, State.PENDING, attempt=line, due=START + 99, slots=3, unknown=True, reason="Http503"
    )
    assert await outbox.settle(settlement)
    shown = await outbox.get(entry)
    assert (shown.due, shown.slots, shown.unknown, shown.reason) == (START + 99, 3, True, "Http503")
    assert (shown.created, shown.changed) == (START, START + 5)
    assert await outbox.attempts(entry) == [line]


@pytest.mark.parametrize("source", list(State))
async def test_a_settlement_moves_only_from_the_state_that_it_names(outbox: Outbox, source: State) -> None:
    """Every move of the table, tried on entries in every other state."""
    ids = await put(outbox, *(draft(lane=f"contact:{state}") for state in State))
    for entry, state in zip(ids, State, strict=True):
        await bring_to(outbox, entry, state)
    for target in (target for target in State if may_move(source, target)):
        for entry, state in zip(ids, State, strict=True):
            if state is not source:
                line = Attempt(START, "request", target)
                assert not await move(outbox, entry, source, target, attempt=line, contact_id="x")
                assert await state_of(outbox, entry) is state
                assert all(attempt != line for attempt in await outbox.attempts(entry))


@pytest.mark.parametrize("separately", [False, True])
async def test_of_two_movers_never_both_win(outbox: Outbox, open_outbox: OpenOutbox, separately: bool) -> None:
    other = await open_outbox() if separately else outbox
    ids = await put(outbox, *(draft(lane=f"contact:{n}") for n in range(20)))
    moves = [
        (store, Settlement(entry, State.PENDING, target, attempt=Attempt(START, "request", target)))
        for entry in ids
        for store, target in ((outbox, State.DELIVERED), (other, State.REJECTED), (outbox, State.EXHAUSTED))
    ]
    won = await asyncio.gather(*(store.settle(settlement) for store, settlement in moves))
    winners = [settlement for (_, settlement), did in zip(moves, won, strict=True) if did]
    assert sorted(one.id for one in winners) == ids
    for one in winners:
        assert await state_of(outbox, one.id) is one.target
        assert [line.outcome for line in await outbox.attempts(one.id)] == [one.target]


async def test_moves_of_one_entry_submitted_one_after_the_other_both_happen(outbox: Outbox) -> None:
    (entry,) = await put(outbox, draft())
    won = await asyncio.gather(
        move(outbox, entry, State.PENDING, State.EXHAUSTED, attempt=Attempt(1, "request", "exhausted")),
        move(outbox, entry, State.EXHAUSTED, State.REJECTED, attempt=Attempt(2, "operator", "rejected")),
    )
    assert all(won)
    assert [line.at for line in await outbox.attempts(entry)] == [1, 2]


async def test_a_move_that_the_table_does_not_know_is_a_fault_and_changes_nothing(outbox: Outbox) -> None:
    (entry,) = await put(outbox, draft())
    with pytest.raises(AssertionError):
        await move(outbox, entry, State.PENDING, State.IMPORTED)
    assert await state_of(outbox, entry) is State.PENDING


async def test_those_who_listen_hear_of_settled_entries_only_when_they_moved(outbox: Outbox) -> None:
    heard: list[tuple[int, State, str | None]] = []
    outbox.on_settled(lambda entry, state, reason: heard.append((entry, state, reason)))
    a, b, c, d = await put(outbox, *(draft(lane=f"contact:{n}") for n in range(4)))
    await move(outbox, a, State.PENDING, State.DELIVERED)
    await move(outbox, a, State.PENDING, State.REJECTED)
    await move(outbox, b, State.PENDING, State.REJECTED, reason="NotFound")
    await move(outbox, c, State.PENDING, State.EXHAUSTED)
    await outbox.cancel(d, "Cancelled")
    assert heard == [(a, State.DELIVERED, None), (b, State.REJECTED, "NotFound"), (d, State.DISCARDED, "Cancelled")]


# a drainer that died -------------------------------------------------------------------------------------------------


async def test_what_was_being_sent_is_unknown_after_a_takeover_and_its_lane_rests(
    outbox: Outbox, open_outbox: OpenOutbox
) -> None:
    sent, _, untouched = await put(outbox, draft(), draft(), draft(lane="contact:b"))
    assert await outbox.mark_sending(sent)
    await outbox.close()
    again = await open_outbox()
    assert len(await again.take_over(START + 50, START + 10_050)) == 1
    shown = await again.get(sent)
    assert (shown.state, shown.unknown, shown.slots, shown.requests) == (State.PENDING, True, 1, 1)
    (line,) = await again.attempts(sent)
    assert (line.at, line.what, line.known) == (START + 50, "takeover", False)
    assert await claimed(again, START + 10_049) == [untouched]
    assert await claimed(again, START + 10_050) == [untouched, sent]
    assert len(await again.take_over(START + 60, START + 10_060)) == 0


# an outage -----------------------------------------------------------------------------------------------------------


async def test_lanes_go_with_their_exhausted_heads_in_chunks(outbox: Outbox) -> None:
    ids = await put(
        outbox, *(draft(Kind(kind)) for _ in range(130) for kind in ("contact_update", "redeem", "receipt"))
    )
    other = await put(outbox, draft(lane="contact:b"), draft(lane="contact:b"))
    (head,) = [m for m in await outbox.claim(10, START, frozenset()) if m.id == ids[0]]
    await bring_to(outbox, head.id, State.EXHAUSTED)
    assert await outbox.exhaust_lanes([head.lane], START + 5) == 389
    states = await outbox.states_of(ids + other)
    assert {states[entry][0] for entry in ids} == {State.EXHAUSTED}
    assert {states[entry][0] for entry in other} == {State.PENDING}
    assert (await outbox.get(ids[-1])).outage
    (line,) = await outbox.attempts(ids[-1])
    assert (line.at, line.what, line.outcome, line.code) == (START + 5, "skipped", "exhausted", "BreakerOpen")
    assert await claimed(outbox) == other[:1]
    assert await outbox.exhaust_lanes([head.lane], START) == 0


async def test_what_is_being_sent_does_not_go_with_its_lane(outbox: Outbox) -> None:
    sent, waiting = await put(outbox, draft(), draft())
    (message,) = await outbox.claim(1, START, frozenset())
    assert await outbox.mark_sending(sent)
    assert await outbox.exhaust_lanes([message.lane], START) == 1
    assert await state_of(outbox, sent) is State.SENDING
    assert await state_of(outbox, waiting) is State.EXHAUSTED


async def test_entries_of_an_outage_come_back_in_their_order_with_a_fresh_schedule(outbox: Outbox) -> None:
    ids = await put(outbox, *(draft(Kind.CONTACT_UPDATE) for _ in range(450)))
    (poisoned,) = await put(outbox, draft(lane="contact:b"))
    await bring_to(outbox, poisoned, State.EXHAUSTED, outage=False)
    (message,) = await outbox.claim(1, START, frozenset())
    await bring_to(outbox, ids[0], State.EXHAUSTED)
    await outbox.exhaust_lanes([message.lane], START)
    assert await outbox.exhausted_lines() == (451, START)
    assert await outbox.bring_back(START + 70) == 450
    assert await state_of(outbox, poisoned) is State.EXHAUSTED
    shown = await outbox.get(ids[0])
    assert (shown.slots, shown.due, shown.outage) == (0, START + 70, False)
    for entry in ids[:3]:
        assert await claimed(outbox, START + 70) == [entry]
        await bring_to(outbox, entry, State.DELIVERED)
    assert await outbox.bring_back(START) == 0


async def test_a_lane_that_rests_still_rests_when_it_comes_back(outbox: Outbox) -> None:
    (entry,) = await put(outbox, draft())
    await move(outbox, entry, State.PENDING, State.EXHAUSTED, outage=True, rest_until=START + 10_000)
    await outbox.bring_back(START)
    assert await claimed(outbox, START + 9_999) == []


@pytest.mark.parametrize("state", list(State))
async def test_only_a_pending_entry_is_cancelled(outbox: Outbox, state: State) -> None:
    (entry,) = await put(outbox, draft())
    await bring_to(outbox, entry, state)
    assert await outbox.cancel(entry, "Cancelled") is (state is State.PENDING)
    assert await state_of(outbox, entry) is (State.DISCARDED if state is State.PENDING else state)


async def test_cancelling_the_head_hands_the_turn_to_the_next(outbox: Outbox) -> None:
    first, second = await put(outbox, draft(), draft())
    assert await outbox.cancel(first, "Cancelled")
    assert await claimed(outbox) == [second]
    assert (await outbox.get(first)).reason == "Cancelled"
    (line,) = await outbox.attempts(first)
    assert (line.what, line.outcome) == ("operator", "discarded")
    assert not await outbox.cancel(999, "Cancelled")
