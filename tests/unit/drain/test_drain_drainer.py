"""The drainer over the real outbox: when it sends, what it leaves alone, what it makes of what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import pytest
from drain_world import ANNA, BO, CIA, REFUSED, SCHEDULE, UNWELL, World
from fakes import START, ScriptedCarrier, rest

from voyado_async.delivery import (
    BulkTurn,
    Delivered,
    Draft,
    Kind,
    LookUp,
    Message,
    NotAllowed,
    Outcome,
    Rejected,
    RetryAt,
    SameContact,
    SlowDown,
)
from voyado_async.drain.policy import Schedule
from voyado_async.errors import ClientClosed, OutboxDamaged, OutboxSealed, OutboxUnavailable
from voyado_async.events import BreakerChanged, DrainerStarted, DrainerStopped, Problem, ProblemSolved
from voyado_async.outbox.records import UNCONFIRMED, AsRead, BreakerRecord, DrainerRecord, Learned, Settlement
from voyado_async.outbox.states import State
from voyado_async.outbox.together import Together

HOUR = 3600.0


async def never_again(now: int, healthy: bool, turn: BulkTurn) -> int:
    """A second road on which nothing is to do."""
    return now + 1_000_000_000


def answer() -> asyncio.Future[object]:
    """Something that a request waits for."""
    return asyncio.get_running_loop().create_future()


# lanes and their order ------------------------------------------------------------------------------------------------


async def test_entries_of_a_lane_go_one_at_a_time_and_oldest_first(world: World) -> None:
    world.carrier.latency = 1.0
    entries = await world.put(ANNA, ANNA, ANNA)
    await world.start()
    await world.clock.advance(10)
    assert world.carrier.order == entries
    assert [t for t, _ in world.carrier.sent] == [1000.0, 1001.0, 1002.0]
    assert world.settled(State.DELIVERED) == entries


async def test_lanes_run_side_by_side_up_to_the_concurrency(world: World) -> None:
    world.carrier.latency = 5.0
    await world.put(*(f"contact:{n}" for n in range(9)))
    await world.start(concurrency=4)
    await world.clock.advance(4)
    assert world.carrier.most_under_way == 4
    await world.clock.advance(20)
    assert len(world.settled(State.DELIVERED)) == 9
    assert world.carrier.most_under_way == 4


async def test_lanes_with_a_redeem_at_the_head_go_first(world: World) -> None:
    receipts = await world.put(*(f"contact:{n}" for n in range(3)))
    redeem = await world.put_one("contact:late", Kind.REDEEM)
    await world.start()
    await world.clock.advance(1)
    assert world.carrier.order == [redeem, *receipts]


async def test_a_new_entry_is_sent_at_once(world: World) -> None:
    await world.start()
    await world.clock.advance(30)
    entry = await world.put_one()
    assert world.carrier.times(entry) == [1030.0]


async def test_a_head_that_waits_for_a_retry_holds_its_lane_and_no_other(world: World) -> None:
    first, second, other = await world.put(ANNA, ANNA, BO)
    world.carrier.script[first].append(REFUSED)
    await world.start()
    await world.clock.advance(60)
    assert world.carrier.order == [first, other, first, second]
    assert world.carrier.times(first) == [1000.0, 1010.0]


async def test_a_rejected_entry_holds_nothing(world: World) -> None:
    first, second = await world.put(ANNA, ANNA)
    world.carrier.script[first].append(Rejected("ValidationError", 400))
    await world.start()
    await world.clock.advance(1)
    assert await world.states(first, second) == [State.REJECTED, State.DELIVERED]
    assert (await world.get(first)).reason == "ValidationError"


# the schedule ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spread", [0.0, 1.0])
async def test_the_schedule_is_kept_and_jitter_only_lengthens_it(world: World, spread: float) -> None:
    entry = await world.put_one()
    world.carrier.sends = REFUSED
    await world.start(spread=lambda: spread)
    await world.clock.advance(2 * HOUR)
    longer = 1 + spread / 10
    expected = [0, 10, 30, 60, 300, 300, 300, 300]
    moments = world.carrier.times(entry)
    gaps = [0.0, *(b - a for a, b in pairwise(moments))]
    assert gaps == pytest.approx([seconds * longer for seconds in expected], abs=0.01)
    assert await world.state(entry) is State.EXHAUSTED
    assert not (await world.get(entry)).outage  # one lane alone never opens the breaker


@pytest.mark.parametrize(("retry_after", "waits"), [(2.0, 10.0), (120.0, 120.0), (10_000.0, HOUR)])
async def test_a_longer_retry_after_wins_up_to_an_hour(world: World, retry_after: float, waits: float) -> None:
    entry = await world.put_one()
    world.carrier.script[entry].append(RetryAt("http_503", 503, retry_after=retry_after))
    await world.start()
    await world.clock.advance(2 * HOUR)
    assert world.carrier.times(entry) == [1000.0, 1000.0 + waits]


async def test_after_an_unknown_attempt_it_is_looked_up_before_it_is_sent_again(world: World) -> None:
    entry = await world.put_one(kind=Kind.REDEEM)
    world.carrier.looking = lambda message: message.unknown
    world.carrier.script[entry].append(UNWELL)
    world.carrier.finds = lambda _: Delivered("looked_up", 200)
    await world.start()
    await world.clock.advance(60)
    assert world.carrier.looked == [(1010.0, entry)]
    assert world.carrier.times(entry) == [1000.0]
    assert await world.state(entry) is State.DELIVERED


async def test_what_a_look_up_says_is_to_be_sent_is_sent(world: World) -> None:
    entry = await world.put_one(kind=Kind.REDEEM)
    world.carrier.looking = lambda message: message.unknown
    world.carrier.script[entry].append(UNWELL)
    await world.start()
    await world.clock.advance(60)
    assert len(world.carrier.looked) == 1
    assert len(world.carrier.times(entry)) == 2
    assert (await world.get(entry)).requests == 2


async def test_a_look_up_that_fails_uses_up_a_turn_and_sends_nothing(world: World) -> None:
    entry = await world.put_one(kind=Kind.CONTACT_CREATE)
    world.carrier.looking = lambda _: True
    world.carrier.finds = lambda _: REFUSED
    await world.start()
    await world.clock.advance(15)
    record = await world.get(entry)
    assert (record.slots, record.requests, record.unknown) == (2, 0, False)
    assert world.carrier.sent == []


async def test_the_lane_rests_ten_seconds_after_an_unknown_outcome_also_for_what_follows(world: World) -> None:
    first, second = await world.put(ANNA, ANNA)
    world.carrier.script[first].append(UNWELL)
    await world.start(schedule=Schedule((50,), 1))
    await world.clock.advance(60)
    assert await world.state(first) is State.EXHAUSTED
    assert world.carrier.times(second) == [1010.0]


async def test_what_was_being_sent_when_its_process_died_is_unknown_and_its_lane_rests(world: World) -> None:
    first, second, other = await world.put(ANNA, ANNA, BO)
    assert await world.outbox.mark_sending(first)
    await world.start()
    await world.clock.advance(60)
    assert (world.told(DrainerStarted)[0].unknown, world.told(DrainerStarted)[0].before) == (1, None)
    assert world.carrier.times(other) == [1000.0]
    assert world.carrier.times(first)[0] == 1010.0
    assert world.carrier.order == [other, first, second]
    assert (await world.get(first)).unknown


async def test_a_drainer_says_when_the_one_before_it_ended_without_a_word(world: World) -> None:
    await world.outbox.set_drainer(DrainerRecord(4711, "till", 0, 0))
    await world.start()
    await world.stop()
    await world.start()
    await world.clock.advance(1)
    killed, stopped = world.told(DrainerStarted)
    assert killed.before == "pid 4711 ended without saying so, as when it is killed"
    assert stopped.before is None


@pytest.mark.parametrize("days", [-1, 1])
@pytest.mark.parametrize("taken_over", [True, False])
async def test_a_clock_that_is_set_ends_no_rest(world: World, days: int, taken_over: bool) -> None:
    """By the clock that jumped the rest is over, or lies a day ahead."""
    first, second = await world.put(ANNA, ANNA)
    if taken_over:
        assert await world.outbox.mark_sending(first)
    world.carrier.script[first].append(RetryAt("Timeout", unknown=True))
    await world.start(confirm=False)  # nothing else wakes it when the rest is over
    await world.clock.advance(1)
    before = world.carrier.times(first)
    world.clock.jump(days * 86_400)
    other = await world.put_one(BO)
    await world.clock.advance(8.5)
    assert world.carrier.times(first) == before
    assert world.carrier.times(other) != []
    await world.clock.advance(60)
    assert world.carrier.times(first)[len(before)] == pytest.approx(1010.0, abs=0.1)
    assert world.carrier.times(second) != []


async def test_an_entry_whose_process_died_at_each_turn_is_exhausted_and_not_sent_once_more(world: World) -> None:
    entry = await world.put_one()
    for _ in range(SCHEDULE.attempts):
        assert await world.outbox.mark_sending(entry)
        assert len(await world.outbox.take_over(world.clock.now(), 0)) == 1
    await world.start()
    await world.clock.advance(60)
    assert world.carrier.sent == []
    assert await world.state(entry) is State.EXHAUSTED


# the breaker ----------------------------------------------------------------------------------------------------------


async def test_it_opens_after_five_failures_in_a_row_and_sends_nothing_more(world: World) -> None:
    await world.start()
    entries = await world.break_down(lanes=12)
    assert 5 <= len(world.carrier.sent) <= 10  # those under way at that moment may come on top
    assert [e.state for e in world.told(BreakerChanged)] == ["open"]
    await world.clock.advance(9)
    assert len(world.carrier.requests) == len(world.carrier.sent) <= 10
    # What was handed back at the gate has used up its turn all the same.
    assert [(await world.get(entry)).slots for entry in entries] == [1] * 12


async def test_one_poisoned_entry_never_opens_it(world: World) -> None:
    poisoned = await world.put_one()
    world.carrier.sends = lambda message: REFUSED if message.id == poisoned else Delivered()
    await world.start()
    await world.clock.advance(2 * HOUR)
    assert len(world.carrier.times(poisoned)) == 8
    assert world.told(BreakerChanged) == []
    assert await world.state(poisoned) is State.EXHAUSTED
    other = await world.put_one()
    assert await world.state(other) is State.DELIVERED


async def test_while_it_is_open_turns_are_used_up_without_requests_at_the_schedules_moments(world: World) -> None:
    await world.start()
    await world.break_down()
    late = await world.put_one("contact:late")
    written = world.elapsed()
    await world.clock.until(lambda: late in world.settled(State.EXHAUSTED), within=2000)
    assert world.elapsed() - written == pytest.approx(10 + 30 + 60 + 4 * 300, abs=0.1)
    record = await world.get(late)
    assert record.outage
    assert len(world.carrier.times(late)) <= 2  # it may have been the probe


async def test_the_last_turn_is_a_death_after_the_outage_and_the_entry_gets_a_fresh_schedule(world: World) -> None:
    """The breaker used up the others, so that its outcome is still looked up over the API that is well."""
    entry, behind = await world.put(ANNA, ANNA, kind=Kind.REDEEM)
    await world.outbox.settle(Settlement(entry, State.PENDING, State.PENDING, slots=7, outage=True))
    assert await world.outbox.mark_sending(entry)

    async def road(now: int, healthy: bool, turn: object) -> int:
        if healthy:
            await world.outbox.bring_back(now)
        return now + 1000

    world.carrier.sends = lambda message: RetryAt("Http503", 503) if message.id == entry else Delivered()
    await world.start(second_road=road)
    await world.clock.until(lambda: world.settled(State.EXHAUSTED), within=60)
    assert world.carrier.times(entry) == []
    await world.clock.until(lambda: len(world.settled(State.EXHAUSTED)) == 2, within=3000)
    assert len(world.carrier.times(entry)) == 8
    record = await world.get(entry)
    assert (record.state, record.slots, record.outage, record.unknown) == (State.EXHAUSTED, 8, False, True)
    assert "skipped" not in [attempt.what for attempt in await world.outbox.attempts(behind)]
    assert await world.state(behind) is State.DELIVERED


async def test_a_lane_goes_with_its_head(world: World) -> None:
    await world.start()
    await world.break_down()
    lane = await world.put(*[ANNA] * 30)
    await world.clock.advance(1400)
    assert set(await world.states(*lane)) == {State.EXHAUSTED}
    assert all([(await world.get(entry)).outage for entry in lane])


async def test_a_lane_goes_with_a_head_that_a_probe_has_exhausted(world: World) -> None:
    await world.outbox.set_breaker(BreakerRecord("open", 0, world.clock.now(), 0))
    world.carrier.sends = REFUSED
    head, follower = await world.put(ANNA, ANNA)
    assert await world.outbox.settle(Settlement(head, State.PENDING, State.PENDING, slots=1))
    await world.start(schedule=Schedule((10_000,), 2))
    assert world.carrier.order == [head]
    assert await world.states(head, follower) == [State.EXHAUSTED, State.EXHAUSTED]


async def test_an_outage_of_an_hour_with_ten_thousand_entries_costs_less_than_a_hundred_requests(world: World) -> None:
    await world.start()
    await world.put(*(f"contact:{n // 2}" for n in range(10_000)))
    world.carrier.sends = world.carrier.probes = UNWELL
    await world.clock.advance(HOUR)
    assert len(world.carrier.requests) < 100


async def test_probes_go_one_at_a_time_on_the_schedules_pace(world: World) -> None:
    await world.start()
    await world.break_down()
    world.carrier.latency = 20.0
    opened = world.elapsed()
    before = len(world.carrier.requests)
    await world.clock.advance(1500)
    probes = [moment - 1000.0 - opened for moment in world.carrier.requests[before:]]
    # 10 s after it opened; then each pace counts from the answer to the one before.
    expected = [10.0, 60.0, 140.0, 460.0, 780.0, 1100.0, 1420.0]
    assert probes == pytest.approx(expected, abs=2)


async def test_the_probe_is_a_due_entry_of_another_lane_than_the_one_that_failed_last(world: World) -> None:
    await world.outbox.set_breaker(BreakerRecord("open", 0, world.clock.now(), 0))
    first, second = await world.put(ANNA, BO)
    world.carrier.sends = REFUSED
    await world.start(schedule=Schedule((10_000,), 8))
    await world.clock.advance(35)
    assert world.carrier.sent == [(1000.0, first), (1010.0, second), (1020.0, first), (1030.0, second)]
    assert world.carrier.probed == []
    assert [(await world.get(entry)).slots for entry in (first, second)] == [4, 4]


async def test_the_probe_is_a_harmless_question_where_no_such_entry_is_due(world: World) -> None:
    await world.outbox.set_breaker(BreakerRecord("open", 0, world.clock.now() + 10_000, 0))
    world.carrier.probes = REFUSED
    await world.start()
    await world.clock.advance(45)
    assert world.carrier.probed == [1010.0, 1040.0]
    world.carrier.probes = Delivered()
    await world.clock.advance(60)
    assert [e.state for e in world.told(BreakerChanged)][-1] == "closed"


async def test_a_probe_that_could_not_be_claimed_is_made_up_for(world: World) -> None:
    """Else it counts as under way for ever, and nothing is sent any more."""
    await world.outbox.set_breaker(BreakerRecord("open", 0, world.clock.now() + 10_000, 0))
    claim, failures = world.outbox.claim, [OutboxUnavailable("disk I/O error")]

    async def fails_once(limit: int, now: int, skip_lanes: frozenset[int]) -> list[Message]:
        if failures and world.elapsed() >= 10:
            raise failures.pop()
        return await claim(limit, now, skip_lanes)

    world.outbox.claim = fails_once  # type: ignore[method-assign]  # the disk fails at that moment
    await world.start()
    await world.clock.advance(12)
    assert failures == []
    assert [e.state for e in world.told(BreakerChanged)][-1] == "closed"


async def test_a_kind_that_the_key_may_not_send_is_no_probe(world: World) -> None:
    """Engage is well and refuses it: as a probe it would keep the breaker open."""
    world.carrier.sends = lambda m: NotAllowed(403) if m.kind is Kind.REDEEM else Delivered()
    await world.put_one(CIA, Kind.REDEEM)
    await world.start()
    await world.clock.advance(1)
    await world.break_down()
    world.carrier.sends = lambda m: NotAllowed(403) if m.kind is Kind.REDEEM else Delivered()
    world.clock.jump(300)  # everybody is due, the probe as well, and a redemption is first in line
    await world.clock.advance(1)
    assert world.told(BreakerChanged)[-1].state == "closed"


async def test_late_failures_of_requests_sent_before_it_opened_are_no_answer_to_the_probe(world: World) -> None:
    late = {n: answer() for n in range(3)}
    slow = await world.put(*(f"contact:slow{n}" for n in late))
    for entry, waits in zip(slow, late.values(), strict=True):
        world.carrier.script[entry].append(waits)
    await world.start()
    await world.break_down()
    probe = answer()
    world.carrier.sends = world.carrier.probes = probe
    before = len(world.carrier.requests)
    await world.clock.advance(12)
    assert len(world.carrier.requests) == before + 1
    for waits in late.values():
        waits.set_result(UNWELL)
    await world.clock.advance(200)
    assert len(world.carrier.requests) == before + 1  # one probe at a time
    record = await world.outbox.breaker()
    assert record is not None
    assert (record.state, record.probes) == ("probing", 0)
    probe.set_result(Delivered())
    await rest()
    assert world.told(BreakerChanged)[-1].state == "closed"


async def test_an_answer_closes_it_and_sending_ramps_up(world: World) -> None:
    await world.outbox.set_breaker(BreakerRecord("open", 0, world.clock.now(), 0))
    world.carrier.latency = 1.0
    await world.put(*(f"contact:{n}" for n in range(60)))
    await world.start(rate=1000.0)
    await world.clock.advance(2)
    assert world.told(BreakerChanged)[-1].state == "closed"
    assert len(world.carrier.sent) == 1  # the others have used up their turn
    under_way = []
    await world.clock.advance(8.5)
    for _ in range(6):
        under_way.append(len(world.carrier.under_way))
        await world.clock.advance(1)
    assert under_way == [1, 2, 8, 10, 10, 10]
    await world.clock.advance(10)
    assert (await world.outbox.counts()).states["delivered"] == 60


async def test_an_outage_outlives_the_drainer(world: World) -> None:
    await world.start()
    await world.break_down()
    await world.stop()
    before = len(world.carrier.requests)
    await world.start()
    await world.put(*(f"contact:{n}" for n in range(20)))
    await world.clock.advance(8)
    assert len(world.carrier.requests) == before
    await world.clock.advance(20)
    assert len(world.carrier.requests) > before


async def test_where_only_reads_are_answered_the_pace_of_the_probes_goes_on(world: World) -> None:
    await world.start()
    await world.break_down(lanes=20)
    world.carrier.probes = Delivered()
    await world.put(*(f"contact:{n}" for n in range(100)))
    before = len(world.carrier.requests)
    await world.clock.advance(HOUR)
    assert len(world.carrier.requests) - before < 100


async def test_a_probe_that_is_told_to_slow_down_waits_for_the_pace_as_well(world: World) -> None:
    await world.start()
    await world.break_down()
    world.carrier.sends = world.carrier.probes = SlowDown()
    before = len(world.carrier.requests)
    await world.clock.advance(600)
    assert len(world.carrier.requests) - before < 12


async def test_a_probe_that_fails_by_a_fault_of_ours_waits_for_the_pace_as_well(world: World) -> None:
    await world.start()
    await world.break_down()
    await world.put(*(f"contact:{n}" for n in range(200)))
    world.carrier.sends = ValueError("a fault of ours")
    before = len(world.carrier.requests)
    await world.clock.advance(300)
    assert len(world.carrier.requests) - before < 12


# 429, 401, 403 --------------------------------------------------------------------------------------------------------


async def test_a_429_slows_everybody_down_and_uses_up_no_turn(world: World) -> None:
    first = (await world.put(ANNA, *(f"contact:{n}" for n in range(50))))[0]
    world.carrier.script[first].append(SlowDown(30.0))
    await world.start()
    await world.clock.advance(29)
    assert len(world.carrier.sent) < 4
    await world.clock.advance(60)
    assert (await world.get(first)).slots == 0
    assert not (await world.get(first)).unknown
    assert (await world.outbox.counts()).states["delivered"] == 51


async def test_429s_of_requests_that_were_under_way_together_halve_the_rate_once(world: World) -> None:
    world.carrier.latency = 2.0
    entries = await world.put(*(f"contact:{n}" for n in range(100)))
    for entry in entries[:10]:
        world.carrier.script[entry].append(SlowDown())
    await world.start()
    await world.clock.advance(30)
    assert len(world.settled(State.DELIVERED)) >= 90


async def test_a_401_stops_everything_rejects_nothing_and_goes_on_by_itself(world: World) -> None:
    world.carrier.sends = world.carrier.probes = NotAllowed(401)
    entries = await world.put(*(f"contact:{n}" for n in range(40)))
    await world.start()
    await world.clock.advance(HOUR)
    assert len(world.carrier.requests) < 30
    assert set(await world.states(*entries)) == {State.PENDING}
    assert {(await world.get(entry)).slots for entry in entries} == {0}
    record = await world.outbox.breaker()
    assert record is not None
    assert record.halted == "401"
    world.carrier.sends = world.carrier.probes = Delivered()
    await world.clock.advance(400)
    assert set(await world.states(*entries)) == {State.DELIVERED}
    record = await world.outbox.breaker()
    assert record is not None
    assert record.halted is None


@pytest.mark.parametrize("status", [401, 403])
async def test_where_the_key_works_again_no_kind_is_said_to_be_refused(world: World, status: int) -> None:
    """It was the key, and not that kind: nothing of it is put off once more."""
    world.carrier.sends = world.carrier.probes = NotAllowed(status)
    entries = await world.put(*(f"contact:{n}" for n in range(5)))
    await world.start()
    await world.clock.advance(5)
    world.carrier.sends = world.carrier.probes = Delivered()
    await world.clock.advance(6)
    assert set(await world.states(*entries)) == {State.DELIVERED}
    assert [e.halted for e in world.told(BreakerChanged)] == [str(status), None]


async def test_a_403_of_one_kind_stops_that_kind_only_and_it_comes_back(world: World) -> None:
    redeems = await world.put(*(f"contact:r{n}" for n in range(30)), kind=Kind.REDEEM)
    receipts = await world.put(*(f"contact:{n}" for n in range(30)))
    world.carrier.sends = lambda m: NotAllowed(403) if m.kind is Kind.REDEEM else Delivered()
    await world.start()
    await world.clock.advance(20)
    assert set(await world.states(*receipts)) == {State.DELIVERED}
    assert set(await world.states(*redeems)) == {State.PENDING}
    record = await world.outbox.breaker()
    assert record is not None
    assert record.halted == "403:redeem"
    before = len(world.carrier.sent)
    await world.clock.advance(HOUR)
    assert len(world.carrier.sent) - before < 20
    world.carrier.sends = Delivered()
    await world.clock.advance(700)
    assert set(await world.states(*redeems)) == {State.DELIVERED}
    record = await world.outbox.breaker()
    assert record is not None
    assert record.halted is None
    assert world.told(BreakerChanged)[-1].halted is None


async def test_a_refused_kind_is_not_confirmed_again_and_again(world: World) -> None:
    entry = await world.put_one(kind=Kind.CONTACT_UPDATE)
    await world.import_by_file(entry)
    world.carrier.confirms = NotAllowed(403)
    await world.start()
    await world.clock.advance(600)
    assert len(world.carrier.confirmed) < 10
    assert await world.state(entry) is State.IMPORTED
    world.carrier.confirms = Delivered("looked_up")
    await world.clock.advance(700)
    assert await world.state(entry) is State.DELIVERED


async def test_a_stop_does_not_wait_for_the_question_whether_the_key_works(world: World) -> None:
    world.carrier.sends = NotAllowed(401)
    world.carrier.probes = answer()
    await world.put_one()
    await world.start()
    await world.clock.advance(1)
    assert world.carrier.probed
    before = world.elapsed()
    await world.stop()
    assert world.elapsed() - before <= 6


# stopping -------------------------------------------------------------------------------------------------------------


async def test_a_stop_hands_back_what_waits_at_the_gate(world: World) -> None:
    world.carrier.latency = 1.0
    entries = await world.put(*(f"contact:{n}" for n in range(10)))
    await world.start(concurrency=3, rate=2.0)
    await world.clock.advance(0.6)
    await world.stop()
    sent = world.carrier.order
    assert 1 <= len(sent) <= 2
    for entry in entries:
        record = await world.get(entry)
        expected = State.DELIVERED if entry in sent else State.PENDING
        assert (record.state, record.unknown, record.slots) == (expected, False, 0)
    assert await world.outbox.drainer() is None


async def test_a_stop_gives_what_is_under_way_its_grace_and_then_calls_it_unknown(world: World) -> None:
    soon, never, waiting = await world.put(ANNA, BO, BO)
    quick = answer()
    world.carrier.script[soon].append(quick)
    world.carrier.script[never].append(answer())
    await world.start()
    await world.clock.advance(0.5)
    world.drainer.stop()
    await world.clock.advance(3)
    quick.set_result(Delivered())
    await world.stop()
    assert await world.states(soon, never, waiting) == [State.DELIVERED, State.PENDING, State.PENDING]
    stopped = await world.get(never)
    assert (stopped.unknown, stopped.slots) == (True, 0)
    assert not (await world.get(waiting)).unknown
    assert stopped.due >= world.clock.now() + 9_000


async def test_a_stop_while_a_lane_is_to_be_joined_ends(world: World) -> None:
    await world.put_one(ANNA)
    await world.put_one("email:anna@example.com", Kind.CONTACT_UPDATE)
    world.carrier.looking = lambda message: message.lane_key.startswith("email:")
    world.carrier.finds = lambda _: SameContact("anna", 200)
    world.carrier.sends = answer()
    await world.start()
    await world.clock.advance(1)
    await world.stop()
    assert (await world.outbox.counts()).states["pending"] == 2


async def test_only_one_of_two_drainers_drains_and_the_other_takes_over_within_a_second(world: World) -> None:
    second_outbox = await world.open()
    await world.start()
    second = world.make(outbox=second_outbox)
    standing_by = asyncio.create_task(second.run())
    await world.clock.advance(3)
    assert [world.drainer.draining, second.draining] == [True, False]
    await world.stop()
    await world.clock.advance(1)
    assert [world.drainer.draining, second.draining] == [False, True]
    entry = await world.put_one()
    await world.clock.advance(0.3)
    assert await world.state(entry) is State.DELIVERED
    second.stop()
    await world.clock.until(standing_by.done, within=10)
    await second_outbox.close()


# `sending` on disk ----------------------------------------------------------------------------------------------------


async def test_an_entry_is_sending_on_disk_only_from_when_its_request_goes_out(world: World) -> None:
    seen: list[State] = []

    async def look(message: Message) -> None:
        seen.append(await world.state(message.id))

    world.carrier.on_send = look
    world.carrier.latency = 1.0
    entries = await world.put(*(f"contact:{n}" for n in range(4)))
    await world.start(concurrency=1)
    await world.clock.advance(0.5)
    assert (await world.states(*entries)).count(State.SENDING) == 1
    await world.clock.advance(10)
    assert seen == [State.SENDING] * 4


async def test_what_was_cancelled_at_the_gate_is_not_sent(world: World) -> None:
    world.carrier.latency = 1.0
    first, second = await world.put(ANNA, BO)
    await world.start(concurrency=1)
    await world.clock.advance(0.5)
    assert await world.outbox.cancel(second, "cancelled")
    await world.clock.advance(5)
    assert world.carrier.order == [first]
    assert await world.state(second) is State.DISCARDED


async def test_a_mark_that_was_written_when_the_stop_came_leaves_nothing_unknown(world: World) -> None:
    """`sending` says that something may have been sent: the next drainer would rest, and look up for nothing."""
    mark = world.outbox.mark_sending

    async def hangs(entry_id: int, claimed: AsRead | None = None) -> bool:
        await mark(entry_id, claimed)
        await answer()
        raise AssertionError

    world.outbox.mark_sending = hangs  # type: ignore[method-assign]  # a disk that is slow to answer
    entry = await world.put_one()
    await world.start()
    assert await world.state(entry) is State.SENDING
    await world.stop()
    record = await world.get(entry)
    assert (record.state, record.unknown, record.slots) == (State.PENDING, False, 0)
    assert world.carrier.sent == []


async def test_a_mark_that_was_not_on_its_way_when_the_stop_came_is_not_written(world: World) -> None:
    """It would be written after what takes it back."""
    mark_all, stopped = world.outbox._mark_all, answer()

    async def hangs(going: Sequence[tuple[int, AsRead | None]]) -> list[bool]:
        marked = await mark_all(going)
        await asyncio.shield(stopped)
        return marked

    world.outbox._marks = Together(hangs, 10)  # a disk that is slow to answer
    entries = await world.put(ANNA, BO, CIA)
    await world.start()
    await world.clock.advance(1)
    assert sorted(await world.states(*entries)) == [State.PENDING, State.PENDING, State.SENDING]
    await world.stop()
    stopped.set_result(None)
    await rest()
    assert [(each.state, each.unknown) for each in [await world.get(entry) for entry in entries]] == (
        [(State.PENDING, False)] * 3
    )


# a full disk ----------------------------------------------------------------------------------------------------------


async def test_a_full_disk_pauses_the_drainer_which_says_so_once(world: World) -> None:
    world.carrier.latency = 0.1
    await world.start()
    entries = await world.put(*(f"contact:{n}" for n in range(15)))
    world.fill_disk()
    claims = world.claims
    await world.clock.advance(60)
    problems = [e for e in world.events if isinstance(e, Problem | ProblemSolved)]
    assert problems == [Problem(where="drainer", code="outbox_unavailable")]
    assert world.claims - claims < 5
    sent = len(world.carrier.sent)
    world.fill_disk(full=False)
    await world.clock.advance(5)
    assert set(await world.states(*entries)) == {State.DELIVERED}
    assert len(world.carrier.sent) == 15, (sent, "a result that was known was forgotten")
    assert world.told(ProblemSolved) == [ProblemSolved(where="drainer", code="outbox_unavailable")]


async def test_nothing_is_sent_that_could_not_be_marked(world: World) -> None:
    await world.put(*(f"contact:{n}" for n in range(5)))
    world.fill_disk()
    await world.start()
    await world.clock.advance(30)
    assert world.carrier.sent == []
    world.fill_disk(full=False)
    await world.clock.advance(5)
    assert len(world.carrier.sent) == 5


async def test_a_result_that_cannot_be_written_down_is_kept_until_it_can(world: World) -> None:
    reply = answer()
    entry = await world.put_one()
    world.carrier.script[entry].append(reply)
    await world.start()
    world.fill_disk()
    reply.set_result(Delivered())
    await world.clock.advance(120)
    world.fill_disk(full=False)
    await world.clock.advance(3)
    assert await world.state(entry) is State.DELIVERED
    assert world.carrier.order == [entry]


async def test_a_result_that_comes_while_it_stops_is_written_down_when_the_disk_recovers(world: World) -> None:
    reply = answer()
    entry = await world.put_one()
    world.carrier.script[entry].append(reply)
    await world.start()
    world.fill_disk()
    world.drainer.stop()
    reply.set_result(Delivered())
    await world.clock.advance(2.5)
    world.fill_disk(full=False)
    await world.stop()
    assert await world.state(entry) is State.DELIVERED


async def test_a_stop_on_a_full_disk_ends_and_the_next_drainer_finds_the_entry_unknown(world: World) -> None:
    entry = await world.put_one()
    world.carrier.script[entry].append(answer())
    await world.start()
    world.fill_disk()
    before = world.elapsed()
    await world.stop()
    assert world.elapsed() - before < 10
    world.fill_disk(full=False)
    assert await world.state(entry) is State.SENDING
    await world.start()
    assert (await world.get(entry)).unknown
    await world.clock.advance(20)
    assert await world.state(entry) is State.DELIVERED


async def test_a_fault_of_ours_on_a_full_disk_leaves_no_entry_behind(world: World) -> None:
    reply = answer()
    entry = await world.put_one()
    world.carrier.script[entry].append(reply)
    await world.start()
    world.fill_disk()
    reply.set_exception(ValueError("a fault of ours"))
    await world.clock.advance(10)
    world.fill_disk(full=False)
    await world.clock.advance(60)
    assert await world.state(entry) is State.DELIVERED


async def test_a_breaker_that_could_not_be_written_down_is_written_down_later(world: World) -> None:
    world.carrier.sends = REFUSED
    world.carrier.latency = 1.0
    await world.start()
    await world.put(*(f"contact:{n}" for n in range(6)))
    world.fill_disk()
    await world.clock.advance(2)
    world.fill_disk(full=False)
    await world.clock.advance(5)
    record = await world.outbox.breaker()
    assert record is not None
    assert record.state == "open"


async def test_health_that_could_not_be_written_down_does_not_wait_for_something_else_to_do(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process held the turn for long while Engage came back, and nothing is due for minutes."""
    await world.outbox.set_breaker(BreakerRecord("open", 0, world.clock.now() + 10_000, 0))
    write = world.outbox.set_breaker

    async def fails_for_a_second(record: BreakerRecord) -> None:
        if record.state == "closed" and world.elapsed() < 11:
            raise OutboxUnavailable("another process has held the turn for 5 s")
        await write(record)

    monkeypatch.setattr(world.outbox, "set_breaker", fails_for_a_second)
    await world.start(confirm=False)
    await world.clock.advance(10.5)
    assert world.told(BreakerChanged)[-1].state == "closed"
    await world.clock.advance(3)
    record = await world.outbox.breaker()
    assert record is not None
    assert record.state == "closed"


# faults ---------------------------------------------------------------------------------------------------------------


async def test_an_error_in_one_entry_stops_no_other(world: World) -> None:
    bad, *others = await world.put(ANNA, *(f"contact:{n}" for n in range(5)))
    world.carrier.sends = lambda m: ValueError("a fault of ours") if m.id == bad else Delivered()
    await world.start()
    await world.clock.advance(2 * HOUR)
    assert set(await world.states(*others)) == {State.DELIVERED}
    assert await world.state(bad) is State.EXHAUSTED
    assert len(world.carrier.times(bad)) == 8
    assert (await world.get(bad)).unknown
    assert "fault of ours" not in str(world.events)


async def test_an_error_before_anything_was_sent_leaves_the_outcome_known(world: World) -> None:
    entry = await world.put_one(kind=Kind.REDEEM)
    world.carrier.looking = lambda _: True
    world.carrier.finds = lambda _: ValueError("a fault of ours")
    await world.start()
    await world.clock.advance(1)
    record = await world.get(entry)
    assert (record.state, record.unknown, record.slots) == (State.PENDING, False, 1)


async def test_a_session_that_was_closed_ends_the_drainer_and_loses_nothing(world: World) -> None:
    world.carrier.sends = ClientClosed("the session is closed")
    entries = await world.put(ANNA, BO, CIA)
    await world.start()
    assert world.task is not None
    await world.clock.until(world.task.done, within=10)
    task, world.task = world.task, None
    assert isinstance(task.exception(), ClientClosed)
    assert set(await world.states(*entries)) == {State.PENDING}
    assert {(await world.get(entry)).unknown for entry in entries} == {False}
    world.carrier.sends = Delivered()
    await world.start()
    await world.clock.advance(30)
    assert set(await world.states(*entries)) == {State.DELIVERED}


async def test_a_side_task_that_fails_ends_the_drainer_loudly_and_gives_the_right_up(world: World) -> None:
    async def road(now: int, healthy: bool, turn: BulkTurn) -> int:
        raise ZeroDivisionError

    await world.start(second_road=road)
    assert world.task is not None
    await world.clock.until(world.task.done, within=10)
    task, world.task = world.task, None
    assert isinstance(task.exception(), ZeroDivisionError)
    assert len(world.told(DrainerStopped)) == 1
    await world.start()
    entry = await world.put_one()
    assert await world.state(entry) is State.DELIVERED


async def test_after_a_fault_nothing_more_is_sent(world: World) -> None:
    world.carrier.latency = 1.0
    entries = await world.put(*(f"contact:{n}" for n in range(20)))
    world.carrier.script[entries[0]].append(ClientClosed("the session is closed"))
    await world.start(rate=2.0)
    assert world.task is not None
    await world.clock.until(world.task.done, within=20)
    task, world.task = world.task, None
    assert isinstance(task.exception(), ClientClosed)
    assert len(world.carrier.sent) <= 3


@pytest.mark.parametrize("problem", [OutboxDamaged, OutboxSealed])
async def test_what_is_wrong_with_the_outbox_is_no_problem_of_the_spool_folder(
    world: World, problem: type[Exception]
) -> None:
    async def road(now: int, healthy: bool, turn: BulkTurn) -> int:
        raise problem

    await world.start(second_road=road)
    assert world.task is not None
    await world.clock.until(world.task.done, within=10)
    task, world.task = world.task, None
    assert isinstance(task.exception(), problem)


# two lanes, one contact -----------------------------------------------------------------------------------------------

EMAIL = "email:anna@example.com"


def by_address(carrier: ScriptedCarrier, contact_id: str = "anna") -> None:
    """Entries in the lane of an address are looked up; they belong to that contact."""

    def find(message: Message) -> LookUp:
        return SameContact(contact_id, 200)

    carrier.looking = lambda message: message.kind is Kind.CONTACT_UPDATE
    carrier.finds = find


async def test_lanes_of_one_contact_join_when_neither_is_under_way(world: World) -> None:
    by_address(world.carrier)
    first = await world.put_one(EMAIL, Kind.CONTACT_UPDATE)
    second = await world.put_one(ANNA)
    third = await world.put_one(EMAIL, Kind.CONTACT_UPDATE)
    world.carrier.latency = 0.5
    await world.start()
    await world.clock.advance(10)
    assert set(await world.states(first, second, third)) == {State.DELIVERED}
    lanes = {(await world.get(entry)).lane for entry in (first, second, third)}
    assert lanes == {ANNA}
    assert await world.outbox.contact_id(EMAIL) == "anna"


async def test_a_lane_waits_for_the_other_ones_request_and_order_is_kept(world: World) -> None:
    by_address(world.carrier)
    reply = answer()
    older = await world.put_one(ANNA)
    world.carrier.script[older].append(reply)
    by_email = await world.put_one(EMAIL, Kind.CONTACT_UPDATE)
    newer = await world.put_one(ANNA)
    await world.start()
    await world.clock.advance(60)
    assert world.carrier.order == [older]
    assert (await world.get(by_email)).lane == EMAIL
    reply.set_result(Delivered())
    await world.clock.advance(10)
    assert world.carrier.order == [older, by_email, newer]


async def test_joining_gets_its_chance_however_busy_the_other_lane_is(world: World) -> None:
    by_address(world.carrier)
    world.carrier.latency = 0.11
    older = await world.put(*[ANNA] * 40)
    by_email = await world.put_one(EMAIL, Kind.CONTACT_UPDATE)
    await world.start()
    await world.clock.advance(1.5)
    assert (await world.get(by_email)).lane == ANNA
    await world.clock.advance(60)
    assert world.carrier.order == [*older, by_email]


async def test_several_addresses_of_one_contact_join_without_waiting_for_each_other(world: World) -> None:
    by_address(world.carrier)
    world.carrier.latency = 0.3
    lanes = [ANNA, EMAIL, "mobilePhone:+46701234567", "externalId:7"]
    entries = [await world.put_one(lane, Kind.CONTACT_UPDATE) for lane in lanes * 3]
    await world.start()
    await world.clock.advance(60)
    assert set(await world.states(*entries)) == {State.DELIVERED}
    assert {(await world.get(entry)).lane for entry in entries} == {ANNA}


async def test_a_creation_that_is_delivered_joins_its_lane_to_the_contact(world: World) -> None:
    created = await world.put_one(EMAIL, Kind.CONTACT_CREATE)
    later = await world.put_one(EMAIL)
    world.carrier.script[created].append(Delivered(contact_id="ANNA", status=201))
    await world.start()
    await world.clock.advance(5)
    assert await world.states(created, later) == [State.DELIVERED, State.DELIVERED]
    assert (await world.get(later)).lane == ANNA


async def test_a_creation_whose_contact_a_read_had_found_joins_its_lane_all_the_same(world: World) -> None:
    await world.outbox.remember_contacts([Learned(EMAIL, "ANNA", 0)])
    created = await world.put_one(EMAIL, Kind.CONTACT_CREATE)
    later = await world.put_one(EMAIL)
    world.carrier.script[created].append(Delivered("exists", contact_id="ANNA"))
    await world.start()
    await world.clock.advance(5)
    assert await world.states(created, later) == [State.DELIVERED, State.DELIVERED]
    again = await world.put_one(EMAIL)
    assert (await world.get(again)).lane == ANNA


async def test_an_address_that_belongs_to_somebody_else_by_now_is_sent_there_and_not_asked_for_ever(
    world: World,
) -> None:
    by_address(world.carrier)
    first = await world.put_one(EMAIL, Kind.CONTACT_UPDATE)
    await world.start()
    await world.clock.advance(2)
    assert (await world.get(first)).lane == ANNA
    by_address(world.carrier, "bo")
    second = await world.put_one(EMAIL, Kind.CONTACT_UPDATE)
    await world.clock.advance(60)
    assert await world.state(second) is State.DELIVERED
    assert len(world.carrier.looked) < 6


@pytest.mark.parametrize("turns", range(1, 12))
async def test_an_entry_that_was_claimed_while_its_lane_was_joined_is_not_sent_twice(world: World, turns: int) -> None:
    """The confirmation of an imported creation tells the contact while an entry of its lane is claimed, or waits at the
    gate; `turns` of the loop is what a read takes."""
    world.outbox._reader.hops = lambda: turns  # type: ignore[union-attr]  # an InlineConnection
    created = await world.put_one(EMAIL, Kind.CONTACT_CREATE)
    await world.import_by_file(created)
    world.carrier.latency = 0.5
    world.carrier.confirms = Delivered("looked_up", contact_id="anna")
    await world.put(*(f"contact:{n}" for n in range(30)))
    later = await world.put_one(EMAIL, Kind.REDEEM)
    await world.start(concurrency=2, rate=2.0)
    world.carrier.script[later].append(UNWELL)
    await world.clock.advance(120)
    moments = world.carrier.times(later)
    assert len(moments) == 2
    assert moments[1] - moments[0] >= 10


async def test_a_creation_on_the_second_road_holds_everything_of_its_contact(world: World) -> None:
    created = await world.put_one(EMAIL, Kind.CONTACT_CREATE)
    await world.import_by_file(created)
    later = await world.put(EMAIL, EMAIL)
    world.carrier.confirms = REFUSED
    await world.start()
    await world.clock.advance(100)
    assert world.carrier.sent == []
    world.carrier.confirms = Delivered("looked_up", contact_id="anna")
    await world.clock.advance(400)
    assert world.carrier.order == later


# after a file ---------------------------------------------------------------------------------------------------------


async def test_an_imported_entry_is_confirmed_and_told_what_a_newer_one_has_set(world: World) -> None:
    older = await world.put_one(ANNA, Kind.CONTACT_UPDATE, b"city")
    await world.import_by_file(older)
    newer = await world.put_one(ANNA, Kind.CONTACT_UPDATE, b"street")
    await world.import_by_file(newer)
    await world.start()
    await world.clock.advance(15)
    assert [(entry, fields) for _, entry, fields in world.carrier.confirmed] == [
        (older, frozenset({"street"})),
        (newer, frozenset()),
    ]
    assert await world.states(older, newer) == [State.DELIVERED, State.DELIVERED]


async def test_what_waits_behind_an_imported_entry_takes_none_of_its_fields(world: World) -> None:
    """It may still be refused or dropped, and the older value would be nowhere."""
    older = await world.put_one(ANNA, Kind.CONTACT_UPDATE, b"city")
    await world.import_by_file(older)
    newer = await world.put_one(ANNA, Kind.CONTACT_UPDATE, b"city")
    await world.start()
    await world.clock.advance(15)
    assert [(entry, fields) for _, entry, fields in world.carrier.confirmed] == [(older, frozenset())]
    assert await world.states(older, newer) == [State.DELIVERED, State.DELIVERED]
    assert world.carrier.sent[0][0] >= world.carrier.confirmed[0][0]


async def test_a_confirmation_gets_its_place_also_while_entries_keep_coming(world: World) -> None:
    imported = await world.put_one(ANNA, Kind.CONTACT_UPDATE, b"city")
    await world.import_by_file(imported)
    await world.put(*(f"contact:{n}" for n in range(300)))
    await world.start(rate=5.0, concurrency=2)  # a minute's work waits all the time
    await world.clock.advance(20)
    assert [entry for _, entry, _ in world.carrier.confirmed] == [imported]
    assert (await world.outbox.counts()).states["pending"] > 150


async def test_a_confirmation_that_may_still_be_under_way_is_not_overtaken(world: World) -> None:
    """It leaves no mark on disk, so a process that takes over can't tell: it waits as long as a lane rests."""
    older = await world.put_one(ANNA, Kind.CONTACT_UPDATE)
    await world.import_by_file(older)
    newer = await world.put_one(ANNA, Kind.CONTACT_UPDATE)
    world.carrier.confirms = answer()
    await world.start()
    await world.clock.until(lambda: world.carrier.confirmed, within=20)
    await world.stop()
    gone = world.clock.monotonic()
    world.carrier.confirms = Delivered()
    await world.start()
    await world.clock.advance(30)
    assert await world.states(older, newer) == [State.DELIVERED, State.DELIVERED]
    assert world.carrier.confirmed[-1][0] >= gone + 10
    assert world.carrier.times(newer)[0] >= gone + 10


async def test_a_confirmation_that_fails_is_tried_for_as_long_as_it_takes(world: World) -> None:
    entry = await world.put_one(ANNA, Kind.CONTACT_UPDATE)
    await world.import_by_file(entry)
    world.carrier.confirms = REFUSED
    await world.start()
    await world.clock.advance(2 * HOUR)
    assert await world.state(entry) is State.IMPORTED
    assert 20 < len(world.carrier.confirmed) < 40
    assert (await world.outbox.get(entry)).reason == UNCONFIRMED
    assert (await world.outbox.overview(world.clock.now(), 1)).unconfirmed == [entry]
    world.carrier.confirms = Rejected("ContactNotFound", 404)
    await world.clock.advance(400)
    assert await world.state(entry) is State.REJECTED


async def test_who_has_nothing_to_do_claims_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = await world.put_one(ANNA, Kind.CONTACT_UPDATE)
    await world.import_by_file(entry)
    world.carrier.confirms = REFUSED
    await world.start()
    await world.clock.advance(HOUR)
    claims: list[int] = []
    claim = world.outbox.claim

    async def counted(limit: int, now: int, skip_lanes: frozenset[int]) -> list[Message]:
        claims.append(now)
        return await claim(limit, now, skip_lanes)

    monkeypatch.setattr(world.outbox, "claim", counted)
    tried = len(world.carrier.confirmed)
    await world.clock.advance(2 * HOUR)
    assert len(world.carrier.confirmed) > tried
    # Once a minute, and some more beside each confirmation and heartbeat.
    assert len(claims) < 2 * 60 * 8


async def test_nothing_is_confirmed_where_that_is_switched_off(world: World) -> None:
    entry = await world.put_one(ANNA, Kind.CONTACT_UPDATE)
    await world.import_by_file(entry)
    await world.start(confirm=False)
    await world.clock.advance(60)
    assert world.carrier.confirmed == []


async def test_nothing_is_confirmed_while_the_breaker_is_open(world: World) -> None:
    entry = await world.put_one(ANNA, Kind.CONTACT_UPDATE)
    await world.import_by_file(entry)
    await world.outbox.set_breaker(BreakerRecord("open", 0, world.clock.now() + 10_000, 0))
    world.carrier.probes = REFUSED
    await world.start()
    await world.clock.advance(100)
    assert world.carrier.confirmed == []
    world.carrier.probes = Delivered()
    await world.clock.advance(400)
    assert await world.state(entry) is State.DELIVERED


async def test_the_second_road_is_told_when_the_api_is_well_and_brings_back_what_is_exhausted(world: World) -> None:
    told: list[tuple[float, bool]] = []

    async def road(now: int, healthy: bool, turn: BulkTurn) -> int:
        told.append((world.elapsed(), healthy))
        if healthy:
            await world.outbox.bring_back(now)
        return now + 300_000

    await world.start(second_road=road)
    entries = await world.break_down()
    await world.clock.advance(1500)
    assert not told[-1][1]
    assert State.EXHAUSTED in await world.states(*entries)
    world.carrier.sends = world.carrier.probes = Delivered()
    await world.clock.until(lambda: world.drainer.counts.get("delivered", 0) >= 1 or told[-1][1], within=400)
    closed = world.elapsed()
    await world.clock.advance(60)
    assert next(moment for moment, healthy in told if healthy and moment >= closed - 1) <= closed + 1
    assert set(await world.states(*entries)) == {State.DELIVERED}


async def test_the_second_road_hears_at_once_that_the_api_is_well(world: World) -> None:
    steps: list[tuple[float, bool]] = []

    async def road(now: int, healthy: bool, turn: BulkTurn) -> int:
        steps.append((world.elapsed(), healthy))
        return now + 3_600_000

    await world.outbox.set_breaker(BreakerRecord("open", 0, world.clock.now() + 12_000, 9))
    await world.start(second_road=road)
    await world.clock.advance(14)
    assert [healthy for _, healthy in steps] == [False, False, False, True]
    assert steps[-1][0] == pytest.approx(12.25, abs=0.3)


@pytest.mark.parametrize("outage", [True, False])
async def test_what_is_written_in_an_outage_behind_what_has_left_by_file_follows_it(world: World, outage: bool) -> None:
    async def road(now: int, healthy: bool, turn: BulkTurn) -> int:
        return now + 300_000

    if outage:
        await world.outbox.set_breaker(BreakerRecord("open", 0, world.clock.now() + 200_000, 9))
    creation = await world.put_one(kind=Kind.CONTACT_CREATE)
    await world.import_by_file(creation)
    world.carrier.probes = REFUSED
    world.carrier.confirms = REFUSED
    await world.start(second_road=road)
    later = [await world.put_one(kind=Kind.CONTACT_UPDATE), await world.put_one(kind=Kind.RECEIPT)]
    await world.clock.advance(6)
    assert await world.states(*later) == [State.EXHAUSTED if outage else State.PENDING] * 2


async def test_a_lane_whose_head_was_exhausted_when_the_process_died_goes_with_it_at_the_next_start(
    world: World,
) -> None:
    async def road(now: int, healthy: bool, turn: BulkTurn) -> int:
        return now + 300_000

    lane = await world.put(*[ANNA] * 300)
    away = Settlement(lane[0], State.PENDING, State.EXHAUSTED, outage=True)
    assert await world.outbox.settle(away)  # and here the process died
    await world.outbox.set_breaker(BreakerRecord("open", 0, world.clock.now() + 200_000, 9))
    world.carrier.probes = REFUSED
    await world.start(second_road=road)
    await world.clock.advance(1)
    assert set(await world.states(*lane)) == {State.EXHAUSTED}
    assert world.carrier.sent == []


async def test_the_second_road_goes_on_when_the_clock_is_set_back(world: World) -> None:
    steps: list[float] = []

    async def road(now: int, healthy: bool, turn: BulkTurn) -> int:
        steps.append(world.elapsed())
        return now + 1000

    await world.start(second_road=road)
    await world.clock.advance(10)
    world.clock.jump(-HOUR)
    before = len(steps)
    await world.clock.advance(60)
    assert len(steps) - before > 5


# waking up and keeping still ------------------------------------------------------------------------------------------


async def test_a_lost_poke_is_made_up_for(world: World) -> None:
    await world.start()
    await world.clock.advance(5)
    writer = await world.open()
    writer._poker.close()  # whatever it would have sent is lost
    writer._poker.poke = lambda: None  # type: ignore[method-assign]  # see above
    (stored,) = await writer.enqueue([Draft(Kind.RECEIPT, b"{}", ANNA)])
    await world.clock.advance(0.6)
    assert await world.state(stored.id) is State.DELIVERED
    await writer.close()


async def test_a_poke_of_another_process_wakes_it_at_once(world: World) -> None:
    await world.start()
    await world.clock.advance(5)
    writer = await world.open()
    (stored,) = await writer.enqueue([Draft(Kind.RECEIPT, b"{}", ANNA)])
    await rest()
    assert world.carrier.times(stored.id) == [1005.0]
    await writer.close()


@pytest.mark.parametrize("kind", [Kind.RECEIPT, Kind.CONTACT_UPDATE])
async def test_a_clock_that_is_set_forward_makes_it_look_at_once(world: World, kind: Kind) -> None:
    """It sleeps for a duration, until the next moment that something is due by the old clock."""
    retried, confirmed = await world.put(ANNA, BO, kind=kind)
    await world.import_by_file(confirmed)
    world.carrier.sends = world.carrier.confirms = REFUSED
    await world.start()
    await world.clock.advance(130)  # the next try of each is five minutes away
    world.carrier.sends = world.carrier.confirms = Delivered()
    world.clock.jump(300)
    await world.clock.advance(1)
    assert await world.states(retried, confirmed) == [State.DELIVERED, State.DELIVERED]


async def test_a_clock_that_is_set_forward_brings_the_probe_forward(world: World) -> None:
    await world.start(confirm=False)
    await world.break_down()
    await world.clock.advance(150)
    world.carrier.sends = world.carrier.probes = Delivered()
    world.clock.jump(300)
    await world.clock.advance(1)
    assert world.told(BreakerChanged)[-1].state == "closed"


async def test_walking_the_second_road_is_no_progress_on_the_first(world: World) -> None:
    async def road(now: int, healthy: bool, turn: BulkTurn) -> int:
        return now + 1000

    hung = answer()

    async def hangs(limit: int, now: int, skip_lanes: frozenset[int]) -> list[Message]:
        await hung
        return []

    await world.put_one()
    await world.start(second_road=road)
    await world.clock.advance(20)
    moved = START + 1_000
    world.outbox.claim = hangs  # type: ignore[method-assign]  # a fault of ours
    await world.put_one()
    await world.clock.advance(120)
    record = await world.outbox.drainer()
    assert record is not None
    assert record.moved is not None
    assert record.moved < moved
    assert world.clock.now() - record.progress < 20_000
    hung.set_result(None)


@pytest.mark.parametrize("reply", [NotAllowed(401), SlowDown(3600.0)], ids=["refused key", "asked to wait"])
async def test_what_holds_everything_back_is_no_stall(world: World, reply: Outcome) -> None:
    world.carrier.sends = world.carrier.probes = reply
    await world.put(ANNA, BO, CIA)
    await world.start(second_road=never_again)
    await world.clock.advance(1800)
    record = await world.outbox.drainer()
    assert record is not None
    assert record.moved is not None
    assert world.clock.now() - record.moved < 20_000


async def test_it_keeps_still_while_nothing_is_to_do(world: World) -> None:
    await world.start()
    await world.clock.advance(1)
    claims, sleeps = world.claims, world.clock.sleeps
    await world.clock.advance(100)
    assert world.claims - claims <= 110  # once a second, for what was imported meanwhile
    assert world.clock.sleeps - sleeps <= 700


async def test_it_keeps_still_while_everything_is_under_way(world: World) -> None:
    world.carrier.sends = answer()
    await world.put(*(f"contact:{n}" for n in range(30)))
    await world.start()
    await world.clock.advance(2)
    assert len(world.carrier.sent) == 10
    claims = world.claims
    await world.clock.advance(100)
    assert world.claims - claims <= 110


async def test_it_keeps_still_while_the_breaker_is_open(world: World) -> None:
    await world.start()
    await world.break_down()
    probe = answer()
    world.carrier.sends = world.carrier.probes = probe
    await world.clock.advance(30)  # the probe is under way from here on
    claims = world.claims
    await world.clock.advance(250)
    assert world.claims - claims < 60
    probe.set_result(REFUSED)
    await world.clock.advance(1500)
    claims = world.claims
    await world.clock.advance(250)
    assert world.claims - claims < 30


async def test_no_window_of_a_second_holds_more_requests_than_the_rate(world: World) -> None:
    by_address(world.carrier)
    imported = await world.put(*(f"contact:i{n}" for n in range(20)), kind=Kind.CONTACT_CREATE)
    await world.import_by_file(*imported)
    await world.put(*(f"contact:{n}" for n in range(100)))
    await world.put(*(f"email:{n}" for n in range(30)), kind=Kind.CONTACT_UPDATE)
    await world.start(rate=20.0)
    await world.clock.advance(60)
    moments = world.carrier.requests
    assert len(moments) >= 150
    for first in moments:
        assert sum(first <= moment < first + 1 - 1e-6 for moment in moments) <= 20
    assert set((await world.outbox.counts()).states.items()) >= {("pending", 0), ("imported", 0)}


async def test_marks_that_a_slow_disk_takes_together_do_not_let_their_requests_leave_together(world: World) -> None:
    await world.put(*(f"contact:{n}" for n in range(120)))
    mark, stalled = world.outbox.mark_sending, world.clock.monotonic() + 5

    async def slow(entry: int, claimed: AsRead | None = None) -> bool:
        if (left := stalled - world.clock.monotonic()) > 0:
            await world.clock.sleep(left)
        return await mark(entry, claimed)

    world.outbox.mark_sending = slow  # type: ignore[method-assign]  # the disk takes its time
    world.carrier.latency = 0.05
    await world.start(rate=40.0)
    await world.clock.advance(15)
    assert len(world.carrier.sent) == 120
    assert min(b - a for a, b in pairwise(world.carrier.requests)) >= 1 / 40 - 1e-5


async def test_a_marked_entry_that_waits_for_the_pace_is_handed_back_unsent_by_a_stop(world: World) -> None:
    entries = await world.put(*(f"contact:{n}" for n in range(5)))
    mark, stalled = world.outbox.mark_sending, world.clock.monotonic() + 5

    async def slow(entry: int, claimed: AsRead | None = None) -> bool:
        if (left := stalled - world.clock.monotonic()) > 0:
            await world.clock.sleep(left)
        return await mark(entry, claimed)

    world.outbox.mark_sending = slow  # type: ignore[method-assign]  # the disk takes its time
    await world.start(rate=1.0)
    await world.clock.advance(5.5)
    assert len(world.carrier.sent) == 1
    await world.stop()
    assert len(world.carrier.sent) == 1
    waiting = [await world.get(entry) for entry in entries if entry not in world.carrier.order]
    assert [(record.state, record.unknown) for record in waiting] == [(State.PENDING, False)] * 4


async def test_each_request_of_a_confirmation_has_a_place_in_the_pace(world: World) -> None:
    imported = await world.put(*(f"contact:i{n}" for n in range(20)), kind=Kind.CONTACT_CREATE)
    await world.import_by_file(*imported)
    world.carrier.latency = 0.3
    await world.start(rate=10.0)
    await world.clock.advance(60)
    assert len(world.carrier.confirmed) == len(world.carrier.asked) == 20
    assert min(b - a for a, b in pairwise(world.carrier.requests)) >= 0.1 - 1e-6


async def test_a_clock_that_is_set_back_delays_no_entry_by_more_than_the_longest_delay(world: World) -> None:
    entry = await world.put_one()
    world.carrier.script[entry].append(REFUSED)
    await world.start()
    await world.clock.advance(1)
    world.clock.jump(-24 * HOUR)
    await world.clock.advance(400)
    assert await world.state(entry) is State.DELIVERED


async def test_a_clock_that_is_set_back_does_not_hold_the_probes(world: World) -> None:
    await world.start()
    await world.break_down()
    world.clock.jump(-24 * HOUR)
    world.carrier.sends = world.carrier.probes = Delivered()
    await world.clock.advance(60)
    assert world.told(BreakerChanged)[-1].state == "closed"


async def test_a_clock_that_is_set_back_does_not_hold_confirmations(world: World) -> None:
    entry = await world.put_one(ANNA, Kind.CONTACT_UPDATE)
    await world.import_by_file(entry)
    world.clock.jump(-24 * HOUR)
    await world.start()
    await world.clock.advance(15)
    assert await world.state(entry) is State.DELIVERED


async def test_a_rest_that_a_clock_set_back_leaves_far_ahead_does_not_make_retries_follow_at_once(world: World) -> None:
    entry = await world.put_one()
    world.carrier.script[entry].append(UNWELL)
    world.carrier.sends = REFUSED
    await world.start()
    await world.clock.advance(1)
    world.clock.jump(-24 * HOUR)
    await world.clock.advance(60)
    assert len(world.carrier.times(entry)) <= 4


async def test_what_is_newer_is_asked_for_in_the_lane_that_the_entry_is_in_by_then(world: World) -> None:
    """The confirmation of the first tells whose address it is: the lanes join while the others wait at the gate."""
    redeem = await world.put_one(EMAIL, Kind.REDEEM)
    older = [await world.put_one(EMAIL, Kind.CONTACT_UPDATE, body) for body in (b"city", b"street", b"zip")]
    await world.import_by_file(redeem, *older)
    world.carrier.latency = 0.05
    world.carrier.confirms_find = lambda message: SameContact("anna") if message.kind is Kind.CONTACT_UPDATE else None
    world.carrier.confirms = Delivered("looked_up", contact_id="anna")
    await world.start(rate=1.0)
    await world.clock.advance(60)
    assert set(await world.states(*older, redeem)) == {State.DELIVERED}
    newer = {entry: fields for _, entry, fields in world.carrier.confirmed}
    assert [newer[entry] for entry in older] == [{"street", "zip"}, {"zip"}, set()]
