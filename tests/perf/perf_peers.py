"""Packaged durable queues that a shop could take instead, each with every commit synced (WAL, synchronous=FULL).

They are synchronous, and are used as a program must use them that may not stall its loop: `asyncio.to_thread`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

Put = Callable[[bytes], Awaitable[object]]
Close = Callable[[], None]

PACKAGES = {
    "litequeue": "litequeue",
    "persist-queue SQLiteQueue": "persistqueue",
    "persist-queue SQLiteAckQueue": "persistqueue",
    "localqueue": "localqueue",
}


def installed() -> list[str]:
    """The peers that can run here. Those that cannot are named, so that nobody takes the best of few for the best."""
    there = [name for name, package in PACKAGES.items() if importlib.util.find_spec(package)]
    for name in sorted(set(PACKAGES) - set(there)):
        print(f"SKIPPED, not installed: {name}")
    return there


def _synced(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    modes = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous"))
    assert tuple(modes) == ("wal", 2)


def open_peer(name: str, path: Path) -> tuple[Put, Close]:
    """Its put, and how to close it."""
    match name:
        case "litequeue":
            put, close = _litequeue(path)
        case "localqueue":
            put, close = _localqueue(path)
        case _:
            put, close = _persist_queue(name.rpartition(" ")[2], path)
    return (lambda body: asyncio.to_thread(put, body)), close


def _litequeue(path: Path) -> tuple[Callable[[bytes], object], Close]:
    from litequeue import LiteQueue

    queue = LiteQueue(str(path / "litequeue.db"))
    _synced(queue.conn)
    guard = threading.Lock()  # the package leaves its one connection unguarded between threads

    def put(body: bytes) -> object:
        with guard:
            return queue.put(body.decode())

    return put, queue.close


def _localqueue(path: Path) -> tuple[Callable[[bytes], object], Close]:
    from localqueue import SimpleQueue
    from localqueue.policies import DurabilityMode

    queue = SimpleQueue(str(path / "localqueue"), durability=DurabilityMode.DURABLE)
    return (lambda body: queue.put(body.decode())), queue.close


def _persist_queue(kind: str, path: Path) -> tuple[Callable[[bytes], object], Close]:
    import persistqueue

    queue = getattr(persistqueue, kind)(str(path / "persist-queue"), multithreading=True, auto_commit=True)
    _synced(queue._putter)
    return (lambda body: queue.put(body.decode())), queue.close
