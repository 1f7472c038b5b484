"""Floors at several times what `bench_claim.py` and `bench_scale.py` measure, and counts that no noise touches."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from perf_backlog import SHAPES, Shape, filled

from voyado_async.clock import SystemClock
from voyado_async.delivery import Kind
from voyado_async.outbox import choosing
from voyado_async.outbox.chunks import CHUNK
from voyado_async.outbox.records import Attempt, EntryFilter, Settlement
from voyado_async.outbox.sqlite import SqliteOutbox, open_outbox
from voyado_async.outbox.sqlite_sending import MARKS
from voyado_async.outbox.states import State
from voyado_async.resources.outbox import OutboxView

pytestmark = pytest.mark.slow

MANY = 50_000
CLOCK = SystemClock()
HOT = SHAPES[2]


@pytest.fixture(params=SHAPES, ids=lambda shape: shape.name)
async def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqliteOutbox]:
    shape: Shape = request.param
    opened = await filled(tmp_path / "outbox.db", shape, MANY)
    yield opened
    await opened.close()


@pytest.fixture
async def hot(tmp_path: Path) -> AsyncIterator[SqliteOutbox]:
    opened = await filled(tmp_path / "outbox.db", HOT, MANY)
    yield opened
    await opened.close()


async def steps(outbox: SqliteOutbox, *, of: str) -> list[int]:
    """Counts the steps of SQLite's machine (in hundreds) of whatever a connection does from now on."""
    count: list[int] = []
    connection = outbox._reader if of == "reader" else outbox._writer._connection
    assert connection is not None

    def step() -> int:
        count.append(1)
        return 0

    await connection.run(lambda database: database.set_progress_handler(step, 100))
    return count


async def test_a_claim_costs_as_little_as_its_batch_however_much_waits(outbox: SqliteOutbox) -> None:
    """Some fifty steps for each entry; a scan would take hundreds of thousands."""
    count = await steps(outbox, of="reader")
    began = time.perf_counter()
    messages = await outbox.claim(100, CLOCK.now(), frozenset())
    took = time.perf_counter() - began
    assert messages
    assert len(count) * 100 < 15_000
    assert took < 0.25


async def test_marking_and_settling_touch_their_own_entries_only(outbox: SqliteOutbox) -> None:
    messages = await outbox.claim(50, CLOCK.now(), frozenset())
    count = await steps(outbox, of="writer")
    commits = outbox.commits
    assert all(await asyncio.gather(*(outbox.mark_sending(message.id) for message in messages)))
    done = Attempt(CLOCK.now(), "request", "delivered", 200)
    moved = (outbox.settle(Settlement(m.id, State.SENDING, State.DELIVERED, done)) for m in messages)
    assert all(await asyncio.gather(*moved))
    assert outbox.commits - commits <= len(messages) / MARKS + 2
    assert len(count) * 100 < 1500 * len(messages) + 5000


async def test_status_is_told_from_a_few_rows_however_much_waits(outbox: SqliteOutbox) -> None:
    """Counts, the oldest, reasons, the last hour: some thousand steps; a scan would take hundreds of thousands."""
    count = await steps(outbox, of="reader")
    status = await OutboxView(outbox, CLOCK).status()
    assert status.states["pending"] == MANY
    assert status.last_hour.enqueued == MANY
    assert status.oldest_pending_seconds is not None
    assert len(count) * 100 < 20_000


async def test_the_rejected_are_listed_without_a_look_at_the_others(outbox: SqliteOutbox) -> None:
    assert await outbox.settle(Settlement(7, State.PENDING, State.REJECTED, reason="NotFound"))
    count = await steps(outbox, of="reader")
    listed = await outbox.entries(EntryFilter(states=(State.REJECTED,), error="NotFound", limit=101))
    assert [entry.id for entry in listed] == [entry.id for entry in await outbox.rejected(20)] == [7]
    assert [entry.id for entry in await outbox.entries(EntryFilter(ids=(7, 8)))] == [8, 7]
    assert len(count) <= 100


async def test_what_is_asked_in_a_night_reads_little_more_than_it_finds(outbox: SqliteOutbox) -> None:
    """By state, code, contact and time; a look at each entry would take hundreds of thousands of steps."""
    assert await outbox.settle(Settlement(7, State.PENDING, State.REJECTED, reason="NotFound"))
    assert await outbox.settle(Settlement(9, State.PENDING, State.DISCARDED, reason="NotFound"))
    contact = (await outbox.get(9)).lane.removeprefix("contact:")
    count = await steps(outbox, of="reader")
    for which, found in (
        (EntryFilter(error="NotFound"), [9, 7]),
        (EntryFilter(error="NotFound", kinds=(Kind.RECEIPT,), states=(State.DISCARDED,)), [9]),
        (EntryFilter(states=(State.DISCARDED, State.REJECTED)), [9, 7]),
        (EntryFilter(states=(State.DISCARDED,), contact=contact), [9]),
        (EntryFilter(states=(State.UPLOADED,)), []),
        (EntryFilter(kinds=(Kind.REDEEM,)), []),
        (EntryFilter(since=CLOCK.now() + 2 * 86_400_000), []),
        (EntryFilter(until=1), []),
    ):
        count.clear()
        assert [entry.id for entry in await outbox.entries(msgspec.structs.replace(which, limit=101))] == found
        assert len(count) * 100 < 20_000, which


async def test_a_list_is_short_even_where_no_index_knows_what_fits(
    hot: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rare kind, behind everything else: `list` looks at a part, and says how far; a search goes to the end."""
    which = EntryFilter(kinds=(Kind.REDEEM,), limit=101)
    database = sqlite3.connect(hot.path, isolation_level=None)
    database.execute("UPDATE entry SET kind = 'redeem' WHERE id = 1")
    database.execute("UPDATE counter SET value = 1 WHERE name = 'waiting' AND kind = 'redeem'")
    monkeypatch.setattr(choosing, "LOOKED_BACK", MANY // 20)
    count: list[int] = []
    database.set_progress_handler(lambda: count.append(1), 100)
    try:
        for states in ((), (State.PENDING,)):
            count.clear()
            listing = choosing.listed(database, msgspec.structs.replace(which, states=states))
            assert (listing.entries, listing.looked_back_to is None) == ([], False)
            least = len(count)
            assert [entry.id for entry in choosing.entries(database, which)] == [1]
            assert least < len(count) / 2
    finally:
        database.close()


async def test_opening_does_not_look_at_what_is_there(hot: SqliteOutbox) -> None:
    await hot.close()
    began = time.perf_counter()
    again = await open_outbox(hot.path, base_url="https://bench.example", clock=CLOCK)
    count = await steps(again, of="reader")
    assert await again.next_due(CLOCK.now()) is None
    assert time.perf_counter() - began < 1
    assert len(count) <= 1
    await again.close()


async def test_large_moves_let_others_write_in_between(hot: SqliteOutbox) -> None:
    """The whole lane of one contact is exhausted and brought back while another connection writes all the time."""
    lane = await hot.lane_of("hot")
    assert lane is not None
    held = sorted(await holds_while(hot, hot.exhaust_lanes([lane], CLOCK.now())))
    assert len(held) >= 45_000 / CHUNK
    assert held[len(held) // 2] < 0.05
    held = sorted(await holds_while(hot, hot.bring_back(CLOCK.now())))
    assert len(held) >= 45_000 / CHUNK
    assert held[len(held) // 2] < 0.05
    assert [finding for finding in await hot.verify() if not finding.ok] == []


async def test_joining_costs_the_same_for_lanes_of_any_length(tmp_path: Path) -> None:
    """Both sides are long. A join that moved what it joins took 3 s for 900 000 entries."""
    halves = Shape("two contacts", lambda number, count: ("email:anna@example.com", "contact:x")[number % 2])
    costs = []
    for length in (100, 20_000):
        outbox = await filled(tmp_path / f"{length}.db", halves, length)
        (lane, _) = (message.lane for message in await outbox.claim(2, CLOCK.now(), frozenset()))
        count = await steps(outbox, of="writer")
        assert await outbox.join_lanes(lane, "x", "email:anna@example.com")
        costs.append(len(count))
        (head,) = await outbox.claim(2, CLOCK.now(), frozenset())
        assert await outbox.mark_sending(head.id)
        assert await outbox.settle(Settlement(head.id, State.SENDING, State.DELIVERED))
        assert [message.id for message in await outbox.claim(2, CLOCK.now(), frozenset())] == [head.id + 1]
        costs.append(len(count))
        await outbox.close()
    assert max(costs) < 30, costs
    assert costs[2:] == pytest.approx(costs[:2], abs=3)


async def test_exhausting_many_lanes_costs_each_chunk_its_own_entries_only(tmp_path: Path) -> None:
    outbox = await filled(tmp_path / "outbox.db", SHAPES[0], 20_000)
    costs = []
    for lanes in (range(1, 201), range(201, 2001)):
        count = await steps(outbox, of="writer")
        moved = await outbox.exhaust_lanes(list(lanes), CLOCK.now())
        assert moved == 10 * len(lanes)
        costs.append(len(count) / moved)
    assert costs[1] < 1.5 * costs[0]
    await outbox.close()


async def holds_while(outbox: SqliteOutbox, move: object) -> list[float]:
    """How long each of its transactions took (s), by when they began and ended."""
    assert asyncio.iscoroutine(move)
    held: list[float] = []
    since = 0.0

    def trace(statement: str) -> None:
        nonlocal since
        if statement.startswith("BEGIN"):
            since = time.perf_counter()
        elif statement.startswith("COMMIT"):
            held.append(time.perf_counter() - since)

    def switch(on: bool) -> None:
        outbox._writer._connection._conn.set_trace_callback(trace if on else None)

    await outbox._writer._connection.run(lambda database: switch(True))
    assert await move > 0
    await outbox._writer._connection.run(lambda database: switch(False))
    return held


async def test_reading_what_may_leave_by_file_takes_memory_for_ids_only(hot: SqliteOutbox) -> None:
    lane = await hot.lane_of("hot")
    assert lane is not None
    await hot.exhaust_lanes([lane], CLOCK.now())
    database = sqlite3.connect(hot.path)
    (exhausted,) = database.execute("SELECT count(*) FROM entry WHERE state = 'exhausted'").fetchone()
    database.close()
    began = time.perf_counter()
    leaving = hot.exhausted()
    first = await anext(leaving)
    assert time.perf_counter() - began < 1
    count = 1
    async for _ in leaving:
        count += 1
    assert (first.id, count) == (1, exhausted)
