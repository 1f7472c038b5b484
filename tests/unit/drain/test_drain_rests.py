"""Rests that no clock ends."""

from __future__ import annotations

from voyado_async.drain.rests import Rests


def test_a_lane_rests_for_its_time_and_no_longer() -> None:
    rests = Rests(10)
    rests.begin([1, 2], 100.0)
    assert rests.lanes(100.0) == rests.lanes(109.9) == {1, 2}
    assert rests.left(107.0) == 3.0
    assert rests.lanes(110.0) == frozenset()
    assert rests.left(110.0) is None


def test_a_second_rest_begins_anew() -> None:
    rests = Rests(10)
    rests.begin([1], 100.0)
    rests.begin([1], 106.0)
    assert rests.lanes(115.0) == {1}
    assert rests.left(115.0) == 1.0


def test_joined_lanes_have_the_longer_rest() -> None:
    for first, second in ((100.0, 104.0), (104.0, 100.0)):
        rests = Rests(10)
        rests.begin([1], first)
        rests.begin([2], second)
        rests.join(1, 2)
        assert rests.lanes(113.0) == {2}
        assert rests.lanes(114.0) == frozenset()


def test_a_lane_that_rests_gives_its_rest_to_one_that_does_not() -> None:
    rests = Rests(10)
    rests.begin([1], 100.0)
    rests.join(3, 1)
    rests.join(1, 2)
    rests.join(2, 2)
    assert rests.lanes(109.0) == {2}
