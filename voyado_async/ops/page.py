"""What stands on the page: facts in the order in which somebody asks for them, and the bars of the last hours. Pure.

The page is made on the server, without scripts and without anything from elsewhere; every text goes through the
template's escaping.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

import msgspec
from jinja2 import Environment, StrictUndefined, Template

from voyado_async.clock import as_datetime
from voyado_async.ops.watch import HOURS
from voyado_async.outbox.overview import SPAN, Flow
from voyado_async.outbox.records import EntryRecord, FileRecord
from voyado_async.outbox.states import State
from voyado_async.resources.status import Status

TOGETHER = 3
"""Spans of the history in one bar: a quarter of an hour."""

MOST = 20
"""Rejected entries on the page, the newest ones."""

_CHART = (("written", "Written"), ("delivered", "Delivered"), ("rejected", "Rejected"))


class Bar(msgspec.Struct, frozen=True):
    """A quarter of an hour. `height` is of 100."""

    at: str
    count: int
    height: int


class Bars(msgspec.Struct, frozen=True):
    """One row of the chart, with a scale of its own."""

    name: str
    label: str
    total: int
    most: int
    bars: list[Bar]


def chart(flow: Sequence[Flow]) -> list[Bars]:
    """The rows of the chart, oldest bar first. A bar that is not zero can be seen, however high the others are."""
    quarters: dict[int, list[Flow]] = {}
    for span in flow:
        quarters.setdefault(span.at // (TOGETHER * SPAN), []).append(span)
    rows = []
    for name, label in _CHART:
        counts = [
            sum(span.enqueued if name == "written" else span.count(name) for span in spans)
            for spans in quarters.values()
        ]
        most = max(counts, default=0)
        bars = [
            Bar(_clock(quarter * TOGETHER * SPAN), count, max(2, round(100 * count / most)) if count else 0)
            for quarter, count in zip(quarters, counts, strict=True)
        ]
        rows.append(Bars(name, label, sum(counts), most, bars))
    return rows


def _clock(instant: int) -> str:
    return f"{as_datetime(instant):%H:%M}"


def page(
    status: Status, flow: Sequence[Flow], open_files: Sequence[FileRecord], rejected: Sequence[EntryRecord], now: int
) -> str:
    """The whole page."""
    final = (State.DELIVERED, State.DISCARDED)
    return _template().render(
        status=status,
        now=now,
        chart=chart(flow),
        hours=HOURS,
        final={state.value: status.states[state] for state in final},
        open_files=open_files,
        rejected=rejected,
        most=MOST,
    )


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(moment=_moment, age=_age)
    return environment.from_string((files("voyado_async.ops") / "page.html").read_text(encoding="utf-8"))


def _moment(instant: int) -> str:
    return f"{as_datetime(instant):%Y-%m-%dT%H:%M:%SZ}"


def _age(seconds: float) -> str:
    """A duration for people: the two largest units."""
    left, parts = int(seconds), []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"
