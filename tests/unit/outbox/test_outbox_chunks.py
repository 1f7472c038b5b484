"""A large move goes in chunks whose size follows the time that they take."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from children import BASE_URL, draft

from voyado_async.clock import SystemClock
from voyado_async.delivery import FileFamily
from voyado_async.outbox.chunks import CHUNK, Chunk, fewest, next_chunk
from voyado_async.outbox.records import AsRead, Attempt, EntryFilter, FileRecord
from voyado_async.outbox.sqlite import SqliteOutbox, open_outbox
from voyado_async.outbox.states import State


@pytest.mark.parametrize(
    ("size", "took", "expected"),
    [
        (25, 0.001, 50),
        (100, 0.0079, 200),
        (200, 0.001, 200),
        (150, 0.001, 200),
        (200, 0.008, 200),
        (200, 0.020, 200),
        (200, 0.021, 95),
        (200, 0.040, 50),
        (200, 0.400, 25),
        (25, 9.0, 25),
    ],
)
def test_the_next_chunk_is_as_large_as_its_time_allows(size: int, took: float, expected: int) -> None:
    assert next_chunk(size, took, 200) == expected


def test_a_move_begins_small_and_grows_while_it_is_quick() -> None:
    chunk = Chunk(200)
    sizes = []
    for took in (0.001, 0.001, 0.001, 0.001, 0.05, 0.01, 0.001):
        sizes.append(chunk.size)
        chunk.took(took, chunk.size)
    assert sizes == [25, 50, 100, 200, 200, 40, 40]
    chunk.took(0.001, 79)
    assert chunk.size == 80
    chunk.took(0.001, 80)
    assert chunk.size == 160
    chunk.took(0.1, 1)
    assert chunk.size == 25
    assert (fewest(2), fewest(15), fewest(16), fewest(200)) == (2, 15, 2, 25)


def test_pieces_follow_the_size_that_the_last_one_left() -> None:
    chunk, pieces = Chunk(200), []
    for piece in chunk.pieces(range(200)):
        pieces.append(list(piece))
        chunk.took(0.001 if len(pieces) == 1 else 0.050, len(piece))
    assert [len(piece) for piece in pieces] == [25, 50, 25, 25, 25, 25, 25]
    assert [item for piece in pieces for item in piece] == list(range(200))
    assert list(chunk.pieces([])) == []


PER_ROW = 0.000_05


class SlowDisk(SystemClock):
    """For whoever asks before and after a transaction, each row that it changes takes so much longer."""

    def __init__(self) -> None:
        self.late = 0.0

    def monotonic(self) -> float:
        return self.late

    def watch(self, database: sqlite3.Connection, held: list[float]) -> None:
        began = 0

        def trace(statement: str) -> None:
            nonlocal began
            if statement.startswith("BEGIN IMMEDIATE"):
                began = database.total_changes
            elif statement.startswith("COMMIT"):
                held.append((database.total_changes - began) * PER_ROW)
                self.late += held[-1]

        database.set_trace_callback(trace)


ALL = list(range(1, 301))


async def discard(outbox: SqliteOutbox) -> None:
    plans, _ = await outbox.discard(ALL, named=True, reason="a test", action=1)
    assert len(plans) == 300


async def purge(outbox: SqliteOutbox) -> None:
    assert await outbox.purge(1 << 60, 1 << 60) == 300


async def forget(outbox: SqliteOutbox) -> None:
    assert await outbox.forget(await outbox.held("contact:hot", "hot"), 1) == 300


async def exhaust(outbox: SqliteOutbox) -> None:
    assert await outbox.exhaust_lanes(ALL, outbox._clock.now()) == 300


async def bring_back(outbox: SqliteOutbox) -> None:
    assert await outbox.bring_back(outbox._clock.now()) == 300


async def spool(outbox: SqliteOutbox) -> None:
    assert len(await outbox.spool_file(RECORD, ALL)) == 300


async def send_in_bulk(outbox: SqliteOutbox) -> None:
    now = outbox._clock.now()
    as_read = {entry.id: AsRead.of(entry) for entry in await outbox.exhausted_of(ALL)}
    assert await outbox.begin_bulk(as_read, Attempt(now, "bulk", State.UPLOADED)) == set(ALL)


async def withdraw(outbox: SqliteOutbox) -> None:
    assert await outbox.withdraw([RECORD.name]) == [RECORD.name]


RECORD = FileRecord(0, "x_transactions.xml", FileFamily.TRANSACTIONS, "Member", "contactId", "spooled", 300, 300, 1, 1)
Step = Callable[[SqliteOutbox], Awaitable[None]]


@pytest.mark.parametrize(
    "steps",
    [(discard,), (discard, purge), (forget,), (exhaust,), (exhaust, bring_back), (exhaust, spool),
     (exhaust, spool, withdraw), (exhaust, send_in_bulk)],
    ids=lambda steps: steps[-1].__name__,
)  # fmt: skip
async def test_no_large_move_holds_the_turn_too_long_where_each_row_takes_long(
    steps: tuple[Step, ...], tmp_path: Path
) -> None:
    """In chunks of 200 entries, or of 50 where a contact is forgotten, some would hold it for 60 ms."""
    clock, held = SlowDisk(), list[float]()
    outbox = await open_outbox(tmp_path / "outbox.db", base_url=BASE_URL, clock=clock)
    lane = "contact:hot" if forget in steps else "contact:{}"
    await outbox.enqueue([draft(lane=lane.format(number), key=f"k{number}") for number in range(300)])
    for before in steps[:-1]:
        await before(outbox)
    await outbox._writer._connection.run(lambda database: clock.watch(database, held))
    await steps[-1](outbox)
    assert all(finding.ok for finding in await outbox.verify() if finding.check != "integrity")
    await outbox.close()
    assert sum(held) > 0.040
    assert max(held) <= 0.030


async def test_one_chunk_is_as_large_as_it_was_where_all_is_quick(tmp_path: Path) -> None:
    outbox = await open_outbox(tmp_path / "outbox.db", base_url=BASE_URL, clock=SystemClock())
    await outbox.enqueue([draft(lane=f"contact:{number}") for number in range(3 * CHUNK)])
    plans, _ = await outbox.discard(range(1, 3 * CHUNK + 1), named=True, reason="a test", action=1)
    assert [plan.id for plan in plans] == list(range(1, 3 * CHUNK + 1))
    assert len(await outbox.entries(EntryFilter(states=(State.DISCARDED,)))) == 3 * CHUNK
    await outbox.close()
