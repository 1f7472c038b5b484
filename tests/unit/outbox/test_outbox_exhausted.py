"""Which entries may leave by file is asked some at a time, and what moves meanwhile leaves nobody behind."""

from __future__ import annotations

from typing import Any

import pytest

from voyado_async.delivery import Draft, Kind
from voyado_async.outbox import sqlite_second_road
from voyado_async.outbox.records import Settlement
from voyado_async.outbox.sqlite import SqliteOutbox
from voyado_async.outbox.states import State


async def written(outbox: SqliteOutbox, *lanes: str) -> list[int]:
    return [entry.id for entry in await outbox.enqueue([Draft(Kind.CONTACT_UPDATE, b"{}", lane) for lane in lanes])]


async def exhaust(outbox: SqliteOutbox, entry: int) -> None:
    assert await outbox.settle(Settlement(entry, State.PENDING, State.EXHAUSTED))


@pytest.mark.parametrize("asked", range(1, 5))
async def test_a_change_leaves_with_the_older_ones_or_waits_for_them(
    outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch, asked: int
) -> None:
    """The oldest change of Anna's is exhausted after so many looks: it leaves before the newest, or neither does."""
    monkeypatch.setattr(sqlite_second_road, "SPAN", 2)
    oldest, *others, newest = await written(outbox, "contact:anna", *(f"contact:{n}" for n in range(5)), "contact:anna")
    for entry in (*others, newest):
        await exhaust(outbox, entry)
    looks = 0
    rows = outbox._rows

    async def look(query: str, **values: object) -> list[Any]:
        nonlocal looks
        found = await rows(query, **values)
        looks += query == "exhausted_before"
        if query == "exhausted_before" and looks == asked:
            await exhaust(outbox, oldest)
        return found

    monkeypatch.setattr(outbox, "_rows", look)
    leaving = [message.id async for message in outbox.exhausted()]
    assert looks >= min(asked, 3)
    assert leaving in ([oldest, *others, newest], others, [oldest, *others])
    assert [message.id async for message in outbox.exhausted()] == [oldest, *others, newest]


async def test_none_is_missed_and_none_comes_twice(outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = await written(outbox, *(f"contact:{n}" for n in range(9)))
    for entry in entries:
        await exhaust(outbox, entry)
    for span in (1, 2, 3, 9, 10):
        monkeypatch.setattr(sqlite_second_road, "SPAN", span)
        assert [message.id async for message in outbox.exhausted()] == entries
