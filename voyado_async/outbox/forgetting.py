"""How a contact leaves the database, inside one transaction of the SQLite store.

Deleted content is overwritten with zeros (`writer.py` asks for that), so that no byte of it stays in the file.
"""

from __future__ import annotations

import re
import sqlite3

from voyado_async.outbox import moves
from voyado_async.outbox.moves import SQL, as_json
from voyado_async.outbox.operator_store import Held


def forget(connection: sqlite3.Connection, *, query: str, lane: int, limit: int, action: int, now: int) -> int:
    """Some of the entries that the query finds in the lane. Nothing is left of them but their number in the books."""
    ids = [row[0] for row in connection.execute(SQL[query], {"lane": lane, "limit": limit}).fetchall()]
    if not ids:
        return 0
    moves.count_new(connection)
    for deletion in ("purge_entries", "purge_bodies", "purge_former_bodies", "purge_attempts"):
        connection.execute(SQL[deletion], {"ids": as_json(ids)})
    connection.execute(SQL["count_forgotten"], {"count": len(ids)})
    connection.execute(SQL["count_action"], {"id": action, "count": len(ids)})
    moves.refresh(connection, [lane], now)
    return len(ids)


def without_name(reason: str, contact_id: str) -> str:
    """A reason that names this contact in either case, without it."""
    return re.sub(re.escape(contact_id), "forgotten", reason, flags=re.IGNORECASE)


def forget_names(connection: sqlite3.Connection, held: Held) -> None:
    """The addresses, and the names of the lanes that are empty."""
    connection.execute(SQL["forget_addresses"], {"addresses": as_json(held.addresses)})
    connection.execute(SQL["forget_lanes"], {"lanes": as_json(held.lanes)})
