"""How finished entries leave the database, inside one transaction of the SQLite store."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from voyado_async.delivery import Kind
from voyado_async.outbox.moves import SQL, as_json, key_hash
from voyado_async.outbox.states import State


def purge(connection: sqlite3.Connection, *, ids: Sequence[int], before: int) -> int:
    """Those of the entries that are finished since before then. A delivered one leaves the hash of its key behind."""
    gone = connection.execute(SQL["purge_entries"], {"ids": as_json(ids), "before": before}).fetchall()
    values = {"ids": as_json([row[0] for row in gone])}
    connection.execute(SQL["purge_bodies"], values)
    connection.execute(SQL["purge_attempts"], values)
    released = [
        (key_hash(Kind(kind), key), entry)
        for entry, kind, state, *keys in gone
        if state == State.DISCARDED
        for key in keys
        if key is not None
    ]
    if released:
        connection.execute(SQL["release_keys"], {"keys": as_json(released)})
    connection.execute(SQL["count_purged"], {"count": len(gone)})
    return len(gone)


def purge_keys(connection: sqlite3.Connection, *, span: int, before: int) -> None:
    """One of the 256 spans of key hashes."""
    values = {"since": f"{span:02x}", "until": f"{span + 1:02x}" if span < 255 else "g", "before": before}
    connection.execute(SQL["purge_keys"], values)
