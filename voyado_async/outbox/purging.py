"""How finished entries and empty lanes leave the database, inside one transaction of the SQLite store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from voyado_async.outbox.moves import SQL, as_json, count_new, written
from voyado_async.outbox.seal import Seal
from voyado_async.outbox.states import State


def purge(connection: sqlite3.Connection, *, ids: Sequence[int], before: int, seal: Seal) -> list[int]:
    """Those of the entries that are finished since before then. A delivered one leaves the hash of its key behind.
    Returns those that went."""
    going = connection.execute(SQL["to_purge"], {"ids": as_json(ids), "before": before}).fetchall()
    spent = [
        (
            seal.key_hashes(kind, name)[0],
            seal.content_hashes(written(connection, entry, seal))[0],
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
    count_new(connection)
    gone = [row[0] for row in going]
    for query in ("purge_entries", "purge_bodies", "purge_former_bodies", "purge_attempts"):
        connection.execute(SQL[query], {"ids": as_json(gone)})
    connection.execute(SQL["count_purged"], {"count": len(gone)})
    return gone


def purge_keys(connection: sqlite3.Connection, *, span: int, before: int, limit: int) -> int:
    """Some of one of the 256 spans of key hashes."""
    until = f"{span + 1:02x}" if span < 255 else "g"
    values = {"since": f"{span:02x}", "until": until, "before": before, "limit": limit}
    return len(connection.execute(SQL["purge_keys"], values).fetchall())


def purge_old(connection: sqlite3.Connection, *, query: str, before: int, limit: int) -> int:
    """Some of the files or addresses that nobody has needed since before then."""
    return len(connection.execute(SQL[query], {"before": before, "limit": limit}).fetchall())


class LanesInUse:
    """A bit for each lane that has an entry. Who removes a lane asks again for what was written after `seen`, and for
    what an edit has brought there."""

    def __init__(self) -> None:
        self._bits = bytearray()
        self.seen = 0
        """The newest entry that was looked at."""

    def add(self, lanes: Iterable[int], seen: int) -> None:
        for lane in lanes:
            if lane >> 3 >= len(self._bits):
                self._bits.extend(bytes((lane >> 3) + 1024 - len(self._bits)))
            self._bits[lane >> 3] |= 1 << (lane & 7)
        self.seen = seen

    def __contains__(self, lane: int) -> bool:
        return lane >> 3 < len(self._bits) and bool(self._bits[lane >> 3] & 1 << (lane & 7))


def purge_lanes(connection: sqlite3.Connection, *, lanes: Sequence[int], seen: int) -> int:
    """Those of these lanes that may go. `lanes` holds some that had no entry up to `seen`, each with those that were
    joined to it."""
    rows = connection.execute(SQL["purge_lanes"], {"lanes": as_json(lanes), "seen": seen}).fetchall()
    if rows:
        connection.execute(SQL["count_lane_purges"])
    return len(rows)
