"""Filters by keyword: the words of the command line, in Python."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from voyado_async.delivery import Kind
from voyado_async.errors import InvalidEntry
from voyado_async.outbox.records import EntryFilter
from voyado_async.outbox.states import State
from voyado_async.resources.filters import filter_of

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("filters", "named", "chosen"),
    [
        ({}, (), EntryFilter()),
        ({"state": "rejected"}, (), EntryFilter(states=(State.REJECTED,))),
        ({"state": [State.REJECTED, "spooled"]}, (), EntryFilter(states=(State.REJECTED, State.SPOOLED))),
        ({"kind": Kind.RECEIPT}, (), EntryFilter(kinds=(Kind.RECEIPT,))),
        ({"kind": {"redeem"}, "contact": "c-1"}, (), EntryFilter(kinds=(Kind.REDEEM,), contact="c-1")),
        ({"contact": "Anna@Example.com"}, (), EntryFilter(address="email:anna@example.com")),
        ({"contact": "memberNumber:12 a"}, (), EntryFilter(address="memberNumber:12 a")),
        ({"error": "PromotionNotFound", "limit": 3}, (), EntryFilter(error="PromotionNotFound", limit=3)),
        ({"since": NOON}, (), EntryFilter(since=1_795_348_800_000)),
        ({"until": NOON}, (), EntryFilter(until=1_795_348_800_000)),
        ({"file": "a.xml"}, (), EntryFilter(file="a.xml")),
        ({"ids": (1, 2)}, (), EntryFilter(ids=(1, 2))),
        ({}, (3,), EntryFilter(ids=(3,))),
        ({"state": "rejected"}, ([1, 2], 3), EntryFilter(ids=(1, 2, 3), states=(State.REJECTED,))),
    ],
)
def test_keywords_say_which_entries(filters: Any, named: tuple[Any, ...], chosen: EntryFilter) -> None:
    assert filter_of(None, filters, *named) == chosen


def test_a_filter_that_was_made_already_is_taken_with_the_ids_beside_it() -> None:
    made = EntryFilter(error="PromotionNotFound")
    assert filter_of(made, {}) is made
    assert filter_of(made, {}, 7) == EntryFilter(ids=(7,), error="PromotionNotFound")


@pytest.mark.parametrize(
    ("filters", "named", "path"),
    [
        ({"state": "open"}, (), "state"),
        ({"kind": ["receipt", "receipts"]}, (), "kind"),
        ({"contact": "no id"}, (), "contactId"),
        ({"ids": []}, (), "ids"),
        ({}, ([],), "ids"),
    ],
)
def test_a_filter_that_would_mean_something_else_is_refused(filters: Any, named: tuple[Any, ...], path: str) -> None:
    """Above all no ids: a list that happens to be empty must not select everything."""
    with pytest.raises(InvalidEntry) as caught:
        filter_of(None, filters, *named)
    assert caught.value.path == path


@pytest.mark.parametrize("filters", [{"states": "rejected"}, {"id": 1}])
def test_a_misspelt_filter_is_refused(filters: Any) -> None:
    with pytest.raises(TypeError, match="unknown filter"):
        filter_of(None, filters)


def test_two_filters_at_once_are_refused() -> None:
    with pytest.raises(TypeError, match="either"):
        filter_of(EntryFilter(), {"state": "rejected"})
