"""When sending stops and how it begins again."""

from __future__ import annotations

import pytest

from voyado_async.drain.breaker import CLOSED, OPEN, PROBING, Breaker
from voyado_async.outbox.records import BreakerRecord

DELAYS = (10_000, 30_000, 60_000, 300_000)


def breaker(failures: int = 5, concurrency: int = 10) -> Breaker:
    return Breaker(failures, DELAYS, concurrency)


def opened(now: int = 0) -> Breaker:
    one = breaker()
    assert [one.failed(lane, now) for lane in (1, 2, 3, 4, 5)] == [False] * 4 + [True]
    return one


@pytest.mark.parametrize(
    ("lanes", "state"),
    [
        ([1, 2, 3, 4], CLOSED),
        ([1, 2, 3, 4, 5], OPEN),
        ([1, 1, 1, 1, 2], OPEN),
        ([1] * 100, CLOSED),
        ([1] * 100 + [2], OPEN),
        ([None] * 100, CLOSED),
        ([None, None, None, 1, 2], OPEN),
        ([None, None, None, None, 1], CLOSED),
    ],
)
def test_it_opens_after_five_failures_in_a_row_from_at_least_two_lanes(lanes: list[int | None], state: str) -> None:
    one = breaker()
    for lane in lanes:
        one.failed(lane, 7)
    assert one.state == state
    assert one.closed is (state == CLOSED)


def test_an_answer_in_between_starts_the_count_again() -> None:
    one = breaker()
    for lane in (1, 2, 3, 4):
        one.failed(lane, 0)
    assert not one.answered(0)
    for lane in (1, 2, 3, 4):
        one.failed(lane, 0)
    assert one.closed


@pytest.mark.parametrize(("after", "due"), [(0, False), (9_999, False), (10_000, True), (99_999, True)])
def test_the_first_probe_goes_after_the_first_delay(after: int, due: bool) -> None:
    assert opened(1_000).probe_due(1_000 + after) is due


def test_probes_go_on_the_pace_of_the_schedule_and_the_last_delay_repeats() -> None:
    one, now = opened(), 0
    waits = []
    for _ in range(6):
        waits.append(one.next_probe - now)
        now = one.next_probe
        assert one.probe_due(now)
        one.probe()
        assert one.state == PROBING
        assert not one.probe_due(now + 10**9)
        assert not one.failed(1, now)
        assert one.state == OPEN
    assert waits == [10_000, 30_000, 60_000, 300_000, 300_000, 300_000]


def test_failures_of_requests_that_were_under_way_do_not_delay_the_first_probe() -> None:
    one = opened(1_000)
    for lane in range(6, 11):
        assert not one.failed(lane, 2_000)
    assert one.next_probe == 11_000


def test_a_probe_time_further_away_than_the_pace_is_now() -> None:
    """The clock was set back."""
    assert opened(10**9).probe_due(0)


def test_a_probe_that_was_not_sent_is_due_again() -> None:
    one = opened()
    one.probe()
    one.give_up_probe()
    assert one.state == OPEN
    assert one.probe_due(10_000)


def test_giving_up_no_probe_changes_nothing() -> None:
    one = breaker()
    one.give_up_probe()
    assert one.closed


def test_the_probe_leaves_out_the_lane_that_failed_last() -> None:
    assert opened().last_failed_lane == 5


@pytest.mark.parametrize("probing", [False, True])
def test_an_answer_closes_it(probing: bool) -> None:
    one = opened()
    if probing:
        one.probe()
    assert one.answered(12_000)
    assert (one.state, one.since) == (CLOSED, 12_000)


def test_closing_ramps_up_and_does_not_burst() -> None:
    one = opened()
    one.answered(0)
    allowed = [one.allowed]
    for _ in range(5):
        one.answered(0)
        allowed.append(one.allowed)
    assert allowed == [1, 2, 4, 8, 10, 10]


def test_while_it_ramps_up_two_lanes_are_enough_to_open_it_again() -> None:
    one = opened()
    one.answered(0)
    assert not one.failed(1, 5)
    assert one.failed(2, 5)
    assert one.next_probe == 10_005


def test_while_it_ramps_up_one_lane_alone_does_not_open_it() -> None:
    one = opened()
    one.answered(0)
    assert not any(one.failed(1, 5) for _ in range(50))


@pytest.mark.parametrize("probing", [False, True])
def test_an_outage_outlives_the_process(probing: bool) -> None:
    one = opened(500)
    one.probe()
    one.failed(5, 10_500)
    if probing:
        one.probe()
    record = one.to_record("401")
    assert record == BreakerRecord(PROBING if probing else OPEN, 500, 40_500, 1, "401")
    again = breaker()
    again.restore(record)
    assert again.state == OPEN
    assert again.to_record(None) == BreakerRecord(OPEN, 500, 40_500, 1)
    assert not again.probe_due(40_499)
    assert again.probe_due(40_500)


def test_a_closed_record_restores_a_closed_breaker() -> None:
    one = breaker()
    one.restore(BreakerRecord(CLOSED, 9))
    assert one.closed
    assert one.allowed == 10


def test_a_new_one_has_nothing_behind_it() -> None:
    one = breaker()
    assert one.to_record(None) == BreakerRecord(CLOSED, 0, 0, 0)
    assert one.last_failed_lane is None
    assert not one.probe_due(10**9)


def test_where_only_questions_are_answered_each_opening_waits_longer_than_the_last() -> None:
    """Each probe closes it, the first two entries open it again: such an outage must not cost requests without end."""
    one, now, waits = opened(), 0, []
    for _ in range(6):
        waits.append(one.next_probe - now)
        now = one.next_probe
        one.probe()
        assert one.answered(now)
        assert not one.failed(1, now)
        assert one.failed(2, now)
    assert waits == [10_000, 10_000, 30_000, 60_000, 300_000, 300_000]
    assert one.to_record(None).probes == 6


def test_after_it_has_ramped_up_the_next_outage_begins_with_the_first_delay() -> None:
    one = opened()
    one.probe()
    one.failed(1, 10_000)
    one.probe()
    one.answered(40_000)
    for _ in range(3):
        one.answered(40_000)
        assert one.to_record(None).probes == 1
    one.answered(40_000)
    assert (one.allowed, one.to_record(None).probes) == (10, 0)
    assert [one.failed(lane, 50_000) for lane in (1, 2, 3, 4, 5)] == [False] * 4 + [True]
    assert one.next_probe == 60_000


def test_the_failures_that_opened_it_count_no_further() -> None:
    one = opened()
    one.probe()
    one.answered(10_000)
    for _ in range(4):
        one.answered(10_000)
    assert [one.failed(lane, 20_000) for lane in (1, 2, 3, 4)] == [False] * 4


def test_a_probe_is_not_due_because_the_time_is_late() -> None:
    """Real instants are far larger than any delay."""
    now = 1_700_000_000_000
    one = opened(now)
    assert not one.probe_due(now + 9_999)
    assert not Breaker(5, (10_000,), 10).probe_due(now)
    single = Breaker(2, (10_000,), 10)
    single.failed(1, now)
    single.failed(2, now)
    assert not single.probe_due(now)


def test_with_one_connection_there_is_no_ramp_and_each_outage_begins_with_the_first_delay() -> None:
    one = breaker(failures=2, concurrency=1)
    assert [one.failed(lane, 0) for lane in (1, 2)] == [False, True]
    one.probe()
    one.failed(1, 10_000)
    one.probe()
    one.answered(40_000)
    assert [one.failed(lane, 50_000) for lane in (1, 2)] == [False, True]
    assert one.next_probe == 60_000
