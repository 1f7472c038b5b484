"""What happens to fallback files and their entries inside one transaction of the SQLite store.

Large files move their entries in chunks, so a crash can fall between two of them. The order of the steps sees to it
that a second call completes what the first began, and that no file is uploaded whose entries do not all stand in it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from voyado_async.delivery import FileFamily
from voyado_async.errors import TransitionRefused
from voyado_async.outbox import moves
from voyado_async.outbox.moves import SQL, as_json
from voyado_async.outbox.records import INCOMPLETE, AsRead, Attempt, FileRecord
from voyado_async.outbox.states import OPEN_FILES, FileState, State

FILE_MOVES: dict[str, frozenset[str]] = {
    FileState.SPOOLED: frozenset({*OPEN_FILES, FileState.WITHDRAWN, FileState.LOST}),
    FileState.UPLOADING: frozenset({FileState.UPLOADING, FileState.UPLOADED}),
    FileState.UPLOADED: frozenset({FileState.UPLOADED, FileState.IMPORTED}),
    FileState.IMPORTED: frozenset({FileState.IMPORTED}),
    FileState.WITHDRAWN: frozenset(),
    FileState.LOST: frozenset(),
}
"""From where a file may go where. An upload that has begun is never taken back (DESIGN 3, "Fallback")."""

WITHHELD = "withheld_from_files"
"""The reason of an exhausted entry that only what the operator has set keeps out of files (an XSLT or XSD)."""

FORMLESS = "no_file_form"
"""The reason of an exhausted entry that no file can say, while the API is well: nothing tries it again by itself."""


class FileChange(NamedTuple):
    """What `update_file` was asked for."""

    id: int
    state: str
    now: int
    entries_to: State | None
    problem: str | None
    seen: bool
    carried: bool
    outage_only: bool


def next_name(connection: sqlite3.Connection, now: int, family: FileFamily) -> str:
    """A name (ref 6.2) that was never given before and never will be."""
    number = connection.execute(SQL["file_number"]).fetchall()[0][0]
    stamp = connection.execute(SQL["file_stamp"], {"now": now}).fetchall()[0][0]
    sender = connection.execute(SQL["fact"], {"name": "sender"}).fetchone()[0]
    return f"{datetime.fromtimestamp(stamp / 1000, UTC):%Y%m%d%H%M%S}_{sender}{number:07d}_{family}.xml"


def add(connection: sqlite3.Connection, record: FileRecord) -> int:
    """The row of a new file, marked incomplete. Returns its id."""
    columns = ("name", "family", "contact_type", "match_key_type", "entries", "lines", "size", "created")
    values = {column: getattr(record, column) for column in columns}
    return int(connection.execute(SQL["add_file"], values).fetchall()[0][0])


def spool(
    connection: sqlite3.Connection,
    file_id: int,
    record: FileRecord,
    ids: Sequence[int],
    as_read: Mapping[int, AsRead],
    now: int,
    *,
    last: bool,
) -> list[int]:
    """Some of its entries stand in it now. Returns those that moved. `last`: with them it is complete."""
    values = {"file": file_id, "ids": as_json(_as_they_were(connection, ids, as_read)), "now": now}
    rows = connection.execute(SQL["spool_entries"], values).fetchall()
    line = Attempt(at=record.created, what="file", outcome="spooled", code=record.name)
    moves.record(connection, [(entry, line) for entry, _ in rows])
    moves.refresh(connection, {lane for _, lane in rows}, now)
    if last and len(rows) == len(ids):
        connection.execute(SQL["mark_complete"], {"id": file_id})
    return [entry for entry, _ in rows]


def keep_exhausted(
    connection: sqlite3.Connection, ids: Sequence[int], *, query: str, reason: str, details: Mapping[int, str], now: int
) -> list[int]:
    """Of these, those that the query finds stay as they are, and their records say why. Returns which."""
    rows = connection.execute(SQL[query], {"ids": as_json(ids), "reason": reason}).fetchall()
    moves.record(connection, [(entry, Attempt(now, "file", "withheld", code=details[entry])) for (entry,) in rows])
    return [entry for (entry,) in rows]


def begin_bulk(
    connection: sqlite3.Connection, ids: Sequence[int], *, as_read: Mapping[int, AsRead], line: Attempt
) -> list[int]:
    """These go in a bulk request now. Returns those that moved."""
    values = {"ids": as_json(_as_they_were(connection, ids, as_read)), "now": line.at}
    rows = connection.execute(SQL["begin_bulk"], values).fetchall()
    moves.record(connection, [(entry, line) for entry, _ in rows])
    moves.refresh(connection, {lane for _, lane in rows}, line.at)
    return [entry for entry, _ in rows]


def _as_they_were(connection: sqlite3.Connection, ids: Sequence[int], as_read: Mapping[int, AsRead]) -> list[int]:
    """Those that have not moved since they were read; of one that nobody has read, nothing is asked."""
    entries = as_json([(entry, *as_read.get(entry, (None, None, None))) for entry in ids])
    return [row[0] for row in connection.execute(SQL["as_they_were"], {"entries": entries}).fetchall()]


def update(connection: sqlite3.Connection, change: FileChange, limit: int) -> tuple[list[int], bool]:
    """One step of `update_file`: the entries that reached their place, and whether all is done."""
    row = connection.execute(SQL["file_state"], {"id": change.id}).fetchone()
    if row is None or change.state not in FILE_MOVES[row[0]]:
        raise TransitionRefused(f"file {change.id} is {row[0] if row else 'unknown'} and cannot become {change.state}")
    _, name, problem = row
    if problem == INCOMPLETE and change.state in (FileState.UPLOADING, FileState.UPLOADED):
        raise TransitionRefused(f"file {change.id} is incomplete and cannot leave: some of its entries are elsewhere")
    if change.entries_to is None:
        _write(connection, change)
        return [], True
    if change.state in (FileState.UPLOADING, FileState.UPLOADED):
        _write(connection, change)
        moved = _move(connection, change, name, State.SPOOLED, State.UPLOADED, limit)
        return moved, len(moved) < limit
    if change.state == FileState.IMPORTED:
        # Whoever marked it as carried may have died before all of its entries followed.
        late = _move(connection, change, name, State.SPOOLED, State.UPLOADED, limit)
        moved = _move(connection, change, name, State.UPLOADED, State.IMPORTED, limit)
        left = limit in (len(late), len(moved))
        if change.entries_to is State.DELIVERED:
            moved = _move(connection, change, name, State.IMPORTED, State.DELIVERED, limit)
            left = left or len(moved) == limit
        if not left:
            _write(connection, change)
        return moved, not left
    if change.outage_only and problem != INCOMPLETE and not _of_outage(connection, change.id):
        # Not so where a crash left it half taken back: what remains of it is exhausted again.
        return [], True
    return _take_back(connection, change, name, limit)


def _of_outage(connection: sqlite3.Connection, file_id: int) -> bool:
    return connection.execute(SQL["file_of_outage"], {"file": file_id}).fetchone() is not None


def _take_back(connection: sqlite3.Connection, change: FileChange, name: str, limit: int) -> tuple[list[int], bool]:
    """Withdrawn or lost: marked first, so that nobody uploads a file some of whose entries are elsewhere."""
    assert change.entries_to is not None
    connection.execute(SQL["mark_incomplete"], {"id": change.id})
    moved = _move(connection, change, name, State.SPOOLED, change.entries_to, limit)
    if len(moved) == limit:
        return moved, False
    _write(connection, change)
    return moved, True


def _move(
    connection: sqlite3.Connection, change: FileChange, name: str, source: State, target: State, limit: int
) -> list[int]:
    values = {
        "file": change.id, "source": source, "target": target, "limit": limit, "now": change.now,
        "outage_only": change.outage_only,
    }  # fmt: skip
    rows = connection.execute(SQL["move_file_entries"], values).fetchall()
    moves.record(connection, [(entry, Attempt(change.now, "file", state, code=name)) for entry, _, state in rows])
    moves.refresh(connection, {lane for _, lane, _ in rows}, change.now)
    return [entry for entry, _, _ in rows]


def _write(connection: sqlite3.Connection, change: FileChange) -> None:
    values = {
        "id": change.id, "state": change.state, "now": change.now, "problem": change.problem, "seen": change.seen,
        "carried": change.carried,
    }  # fmt: skip
    connection.execute(SQL["update_file"], values)
