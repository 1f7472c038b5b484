"""The limit of the outbox's own schema: raw sqlite3 in one thread that commits ready rows, a hundred at a time.

It leaves the same rows in the same tables and indexes as the outbox does (entry, body, lane with its head),
and does nothing else: no key is looked up, nothing is hashed, encoded, waited for or handed to another thread.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from perf_method import WARM_UP, Figures, summary
from perf_payloads import renumbered

from voyado_async.clock import SystemClock
from voyado_async.delivery import Draft, Kind
from voyado_async.outbox.adding import Prepared

ROWS = 100

_ADD_LANES = "INSERT INTO lane (key) VALUES (?) ON CONFLICT (key) DO NOTHING"
_ADD_ENTRIES = """
INSERT INTO entry (id, lane, kind, state, key, created, changed, due, warnings)
VALUES (?, (SELECT id FROM lane WHERE key = ?), ?, 'pending', ?, ?, ?, ?, NULL)
"""
_ADD_BODIES = "INSERT INTO body (entry, content) VALUES (?, ?)"
_SET_HEADS = "UPDATE lane SET head = ?, due = ?, rank = ? WHERE key = ? AND head IS NULL"


def run(path: str, templates: Sequence[Draft], seconds: float) -> Figures:
    """Rows per second, and how long one commit of `ROWS` takes. The rows are made before the clock starts."""
    batches = list(islice(_batches(templates), round(1200 * (seconds + WARM_UP)) + 1))
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA synchronous = FULL")
    assert database.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    latencies = []
    begin = time.perf_counter() + WARM_UP
    end = begin + seconds
    try:
        for batch in batches:
            started = time.perf_counter()
            _commit(database, batch)
            now = time.perf_counter()
            if now >= begin:
                latencies.append(now - started)
            if now >= end:
                break
        else:
            raise RuntimeError("this machine commits more than there were rows made for")
    finally:
        database.close()
    commits = summary(latencies, now - begin)
    return Figures(commits.per_second * ROWS, commits.p50_ms, commits.p99_ms)


def _commit(database: sqlite3.Connection, batch: tuple[Any, ...]) -> None:
    lanes, entries, bodies, heads = batch
    database.execute("BEGIN IMMEDIATE")
    database.executemany(_ADD_LANES, lanes)
    database.executemany(_ADD_ENTRIES, entries)
    database.executemany(_ADD_BODIES, bodies)
    database.executemany(_SET_HEADS, heads)
    database.execute("COMMIT")


def _batches(templates: Sequence[Draft]) -> Iterator[tuple[Any, ...]]:
    now = SystemClock().now()
    first = 1
    while True:
        numbers = range(first, first + ROWS)
        ready = [Prepared.of(renumbered(templates[n % len(templates)], n), now) for n in numbers]
        rows = list(zip(numbers, ready, strict=True))
        yield (
            [(p.draft.lane,) for _, p in rows],
            [(n, p.draft.lane, p.draft.kind, p.draft.key, now, now, now) for n, p in rows],
            [(n, p.draft.body) for n, p in rows],
            [(n, now, p.draft.kind is not Kind.REDEEM, p.draft.lane) for n, p in rows],
        )
        first += ROWS
