"""What options accept as a time and as a duration."""

from __future__ import annotations

import click
import pytest

from voyado_async.cli.parameters import DURATION, MOMENT
from voyado_async.clock import SystemClock


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90.0), ("15m", 900.0), ("2h", 7200.0), ("0.05s", 0.05), ("900", 900.0), ("1.5", 1.5)]
)
def test_a_duration_is_in_seconds_where_nothing_else_is_said(text: str, seconds: float) -> None:
    assert DURATION.convert(text, None, None) == seconds


@pytest.mark.parametrize(("text", "ago"), [("0", 0), ("0s", 0), ("1.5s", 1500), ("30d", 30 * 86_400_000)])
def test_an_age_is_a_moment(text: str, ago: int) -> None:
    before = SystemClock().now()
    assert before <= MOMENT.convert(text, None, None) + ago <= SystemClock().now() + 1


@pytest.mark.parametrize("text", ["30", "1.5", "d", "", "soon", "-1d", f"{'9' * 400}d"])
def test_a_number_that_could_be_days_or_seconds_is_no_age(text: str) -> None:
    """`purge --older-than 30` must not remove what was finished half a minute ago."""
    with pytest.raises(click.BadParameter, match="neither a time of ISO 8601 nor an age"):
        MOMENT.convert(text, None, None)


@pytest.mark.parametrize("text", ["soon", "", "d", "-5", f"{'9' * 400}d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a duration"):
        DURATION.convert(text, None, None)
