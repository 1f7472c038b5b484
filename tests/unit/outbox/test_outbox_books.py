"""The books: new entries are counted some hundreds at a time, and where waiting begins is marked."""

from __future__ import annotations

import sqlite3

import pytest
from children import draft

from voyado_async.outbox import moves
from voyado_async.outbox.adding import UNCOUNTED
from voyado_async.outbox.records import Settlement
from voyado_async.outbox.sqlite import SqliteOutbox
from voyado_async.outbox.states import State

FAR = 1 << 60


async def put(outbox: SqliteOutbox, count: int) -> list[int]:
    return [stored.id for stored in await outbox.enqueue([draft(lane=f"contact:{number}") for number in range(count)])]


async def move(outbox: SqliteOutbox, ids: list[int], target: State, source: State = State.PENDING) -> None:
    for entry in ids:
        assert await outbox.settle(Settlement(entry, source, target))


async def assert_books(outbox: SqliteOutbox, *, pending: int, enqueued: int) -> None:
    counts = await outbox.counts()
    assert (counts.states["pending"], counts.enqueued, counts.balanced) == (pending, enqueued, True)
    assert [finding for finding in await outbox.verify() if not finding.ok] == []


def kept(outbox: SqliteOutbox, name: str, kind: str = "") -> int:
    database = sqlite3.connect(outbox.path)
    (row,) = database.execute("SELECT value FROM counter WHERE name = ? AND kind = ?", (name, kind)).fetchall()
    database.close()
    return int(row[0])


async def test_entries_are_counted_whether_they_moved_before_or_after(outbox: SqliteOutbox) -> None:
    first = await put(outbox, UNCOUNTED - 1)
    assert kept(outbox, "counted") == 0
    await move(outbox, first[:3], State.DELIVERED)
    assert kept(outbox, "waiting", "receipt") == -3
    await assert_books(outbox, pending=UNCOUNTED - 4, enqueued=UNCOUNTED - 1)
    second = await put(outbox, 1)
    assert kept(outbox, "counted") == UNCOUNTED
    assert kept(outbox, "waiting", "receipt") == UNCOUNTED - 3
    await move(outbox, [first[3], *second], State.REJECTED)
    await assert_books(outbox, pending=UNCOUNTED - 5, enqueued=UNCOUNTED)


async def test_ids_are_never_used_again_when_the_newest_entries_are_gone(outbox: SqliteOutbox) -> None:
    ids = await put(outbox, 3)
    await move(outbox, ids, State.DELIVERED)
    assert await outbox.purge(FAR, FAR) == 3
    await assert_books(outbox, pending=0, enqueued=3)
    assert await put(outbox, 2) == [4, 5]
    await assert_books(outbox, pending=2, enqueued=5)


async def test_an_entry_cannot_be_removed_before_it_is_counted(outbox: SqliteOutbox) -> None:
    """Its id would be given to another one."""
    await put(outbox, 1)
    database = sqlite3.connect(outbox.path)
    with pytest.raises(sqlite3.IntegrityError, match="before it is counted"):
        database.execute("DELETE FROM entry")
    database.close()


async def test_the_oldest_that_waits_is_known_whatever_moves_away_and_comes_back(
    outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few ids are passed at a time; who comes back is the oldest again."""
    monkeypatch.setattr(moves, "PASSED_SPAN", 2)
    await put(outbox, 9)
    database = sqlite3.connect(outbox.path)
    database.execute("UPDATE entry SET created = id")
    database.commit()
    database.close()

    async def oldest() -> int | None:
        return (await outbox.counts()).oldest_pending

    await move(outbox, [2, 3, 4, 5, 6], State.DELIVERED)
    assert (await oldest(), kept(outbox, "passed")) == (1, 0)
    await move(outbox, [1], State.REJECTED)
    assert (await oldest(), kept(outbox, "passed")) == (7, 2)
    await move(outbox, [8], State.DELIVERED)
    assert (await oldest(), kept(outbox, "passed")) == (7, 4)
    await move(outbox, [7], State.DELIVERED)
    assert (await oldest(), kept(outbox, "passed")) == (9, 6)
    await move(outbox, [1], State.PENDING, State.REJECTED)
    assert (await oldest(), kept(outbox, "passed")) == (1, 0)
    await move(outbox, [1], State.DELIVERED)
    await move(outbox, [9], State.DELIVERED)
    assert await oldest() is None
    await put(outbox, 1)
    assert await oldest() is not None


async def test_a_mark_that_passes_over_one_that_waits_is_found(outbox: SqliteOutbox) -> None:
    await put(outbox, 2)
    database = sqlite3.connect(outbox.path)
    database.execute("UPDATE counter SET value = 1 WHERE name = 'passed'")
    database.commit()
    database.close()
    (finding,) = [one for one in await outbox.verify() if not one.ok]
    assert (finding.check, finding.detail) == ("counters", "entry 1 waits, and is passed over")


async def test_a_write_to_a_lane_that_waits_writes_few_pages(outbox: SqliteOutbox) -> None:
    """The time of one commit is that of its pages: the entry, its content, and the two indexes that it stands in."""
    await put(outbox, 200)
    await outbox.enqueue([draft(lane="contact:7", key="first")])
    database = sqlite3.connect(outbox.path, isolation_level=None)
    frames = []
    for number in range(5):
        assert database.execute("PRAGMA wal_checkpoint").fetchone()[0] == 0
        await outbox.enqueue([draft(lane="contact:7", key=f"k{number}")])
        frames.append(database.execute("PRAGMA wal_checkpoint").fetchone()[1])
    database.close()
    assert min(frames) <= 4, frames
