"""The pace: spaced, halved by a 429, growing back."""

from __future__ import annotations

from itertools import pairwise

import pytest

from voyado_async.drain.throttle import GROW_AFTER, LONGEST_WAIT, SLOWEST, Throttle


def run(throttle: Throttle, seconds: float, start: float = 0.0) -> list[float]:
    """When requests go out if there is always one ready."""
    sent, now = [], start
    while (now := now + throttle.wait(now)) < start + seconds:
        throttle.take(now)
        sent.append(now)
    return sent


@pytest.mark.parametrize("rate", [0.5, 1.0, 40.0, 1000.0])
def test_no_window_of_a_second_holds_more_than_the_rate(rate: float) -> None:
    sent = run(Throttle(rate), 10)
    assert len(sent) == pytest.approx(10 * rate, abs=1)
    gaps = [later - earlier for earlier, later in pairwise(sent)]
    assert min(gaps) >= 1 / rate - 1e-9


def test_the_first_request_goes_at_once() -> None:
    assert Throttle(40).wait(123.0) == 0.0


def test_idle_time_is_not_saved_up_for_a_burst() -> None:
    throttle = Throttle(40)
    throttle.take(0.0)
    throttle.take(100.0)
    assert throttle.wait(100.0) == pytest.approx(1 / 40)


def test_who_comes_late_does_not_bring_the_next_one_closer() -> None:
    throttle = Throttle(10)
    throttle.take(0.0)
    throttle.take(0.19)
    assert throttle.wait(0.19) == pytest.approx(0.1)


def test_a_429_halves_the_rate_for_everybody() -> None:
    throttle = Throttle(40)
    throttle.slow_down(0.0, None)
    assert throttle.rate == 20
    assert throttle.wait(0.0) == pytest.approx(1 / 20)


def test_retry_after_holds_everybody() -> None:
    throttle = Throttle(40)
    throttle.slow_down(5.0, 30.0)
    assert throttle.wait(5.0) == 30.0


def test_retry_after_holds_for_an_hour_at_most() -> None:
    throttle = Throttle(40)
    throttle.slow_down(0.0, 1e9)
    assert throttle.wait(0.0) == LONGEST_WAIT == 3600


def test_a_shorter_retry_after_does_not_shorten_a_longer_one() -> None:
    throttle = Throttle(40)
    throttle.slow_down(0.0, 30.0)
    throttle.slow_down(1.0, 2.0)
    assert throttle.wait(1.0) == 29.0


def test_however_many_429s_something_is_still_sent() -> None:
    throttle = Throttle(40)
    for _ in range(100):
        throttle.slow_down(0.0, None)
    assert throttle.rate == SLOWEST


def test_a_rate_that_was_slower_than_the_slowest_is_not_raised_by_a_429() -> None:
    throttle = Throttle(0.1)
    throttle.slow_down(0.0, None)
    assert throttle.rate == 0.1


def test_the_rate_grows_back_by_tenths_and_no_further_than_it_was() -> None:
    throttle = Throttle(40)
    throttle.slow_down(0.0, None)
    rates = []
    for step in range(1, 9):
        throttle.take(step * GROW_AFTER - 0.01)
        before = throttle.rate
        throttle.take(step * GROW_AFTER)
        rates.append(throttle.rate)
        assert throttle.rate >= before
    assert rates == [24, 28, 32, 36, 40, 40, 40, 40]


def test_another_429_starts_the_wait_for_growth_again() -> None:
    throttle = Throttle(40)
    throttle.slow_down(0.0, None)
    throttle.slow_down(GROW_AFTER - 1, None)
    throttle.take(GROW_AFTER + 1)
    assert throttle.rate == 10


def test_a_rate_that_nothing_slowed_down_stays_as_it_is() -> None:
    throttle = Throttle(40)
    for moment in (0.0, 1000.0, 2000.0):
        throttle.take(moment)
        assert throttle.rate == 40


def test_two_429s_to_requests_that_went_out_one_after_the_other_halve_it_twice() -> None:
    throttle = Throttle(40)
    throttle.slow_down(10.0, None, sent=9.0)
    throttle.slow_down(11.0, None, sent=9.5)
    assert throttle.rate == 20
    throttle.slow_down(12.0, None, sent=10.0)
    assert throttle.rate == 10


def test_what_has_its_place_leaves_apart_from_what_left_before_however_late_it_is() -> None:
    throttle = Throttle(40)
    assert throttle.wait_to_leave(0.0) == 0.0
    throttle.leave(10.0)
    assert throttle.wait_to_leave(10.0) == pytest.approx(1 / 40)
    assert throttle.wait_to_leave(10.01) == pytest.approx(1 / 40 - 0.01)
    assert throttle.wait_to_leave(10.1) == 0.0
    throttle.leave(10.2)
    assert throttle.wait_to_leave(10.2) == pytest.approx(1 / 40)


def test_a_rounding_is_not_waited_for() -> None:
    throttle = Throttle(1)
    throttle.leave(10.0)
    assert throttle.wait_to_leave(11.0 - 1e-9) == 0.0
    assert throttle.wait_to_leave(11.0 - 1e-3) == pytest.approx(1e-3)


def test_a_lowered_rate_keeps_what_leaves_further_apart() -> None:
    throttle = Throttle(40)
    throttle.slow_down(0.0, None)
    throttle.leave(10.0)
    assert throttle.wait_to_leave(10.0) == pytest.approx(1 / 20)


def test_a_place_that_is_taken_early_keeps_the_pause_that_was_asked_for() -> None:
    throttle = Throttle(40)
    throttle.slow_down(0.0, 60.0)
    throttle.take(1.0)
    assert throttle.wait(1.0) == pytest.approx(59.0)
