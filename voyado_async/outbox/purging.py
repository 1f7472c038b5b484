"""How finished entries leave the database, inside one transaction of the SQLite store."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from voyado_async.outbox.moves import SQL, as_json, content_hash, key_hash
from voyado_async.outbox.states import State


def purge(connection: sqlite3.Connection, *, ids: Sequence[int], before: int) -> int:
    """Those of the entries that are finished since before then. A delivered one leaves the hash of its key behind."""
    going = connection.execute(SQL["to_purge"], {"ids": as_json(ids), "before": before}).fetchall()
    spent = [
        (
            key_hash(kind, name),
            content_hash(connection.execute(SQL["body"], {"id": entry}).fetchone()[0]),
            entry,
            created,
        )
        for entry, kind, state, key, natural_key, created in going
        if state == State.DELIVERED
        for name in (key, natural_key)
        if name is not None
    ]
    if spent:
        connection.execute(SQL["spend_keys"], {"keys": as_json(spent)})
    values = {"ids": as_json([row[0] for row in going])}
    for query in ("purge_entries", "purge_bodies", "purge_attempts"):
        connection.execute(SQL[query], values)
    connection.execute(SQL["count_purged"], {"count": len(going)})
    return len(going)


def purge_keys(connection: sqlite3.Connection, *, span: int, before: int) -> None:
    """One of the 256 spans of key hashes."""
    values = {"since": f"{span:02x}", "until": f"{span + 1:02x}" if span < 255 else "g", "before": before}
    connection.execute(SQL["purge_keys"], values)
