"""Large outboxes in four shapes, made with the store's own statements."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec

from voyado_async.clock import SystemClock
from voyado_async.delivery import Draft, Kind
from voyado_async.outbox import adding
from voyado_async.outbox.adding import Prepared
from voyado_async.outbox.seal import NOT_SEALED
from voyado_async.outbox.sqlite import SqliteOutbox, open_outbox

BASE_URL = "https://bench.example"
LATER = 3_000_000
"""Milliseconds that a waiting head waits: less than the longest delay that is taken for legal."""

BODY = b"x" * 1200
"""As long as the mean of the payload mix (PERFORMANCE 0)."""

_CHUNK = 20_000


class Shape(msgspec.Struct, frozen=True):
    """How entries spread over contacts. `waits` is SQL that is true for the lanes whose head waits for a retry."""

    name: str
    lane: Callable[[int, int], str]
    waits: str | None = None


def _hot(number: int, count: int) -> str:
    return "contact:hot" if number < 0.9 * count else f"contact:{number}"


SHAPES = (
    Shape("uniform", lambda number, count: f"contact:{number % max(1, count // 10)}"),
    Shape("one contact holds 90 %, waits", _hot, "key = 'contact:hot'"),
    Shape("one contact holds 90 %, live", _hot),
    Shape("99 % of the lanes wait", lambda number, count: f"contact:{number // 10}", "id % 100 <> 0"),
)


async def filled(path: Path, shape: Shape, count: int) -> SqliteOutbox:
    """An outbox with so many receipts, opened."""
    clock = SystemClock()
    outbox = await open_outbox(path, base_url=BASE_URL, clock=clock)
    now = clock.now()
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA synchronous = OFF")
    for start in range(0, count, _CHUNK):
        numbers = range(start, min(count, start + _CHUNK))
        drafts = [Prepared.of(Draft(Kind.RECEIPT, BODY, shape.lane(number, count)), now) for number in numbers]
        database.execute("BEGIN IMMEDIATE")
        adding.enqueue(database, [drafts], NOT_SEALED)
        database.execute("COMMIT")
    if shape.waits is not None:
        database.execute(f"UPDATE lane SET due = ? WHERE {shape.waits}", (now + LATER,))
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return outbox
