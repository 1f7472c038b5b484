"""COMMIT, and what one that fails has come to.

SQLite writes a transaction into its log, syncs the log, and only then tells the other connections. An error in between
takes the transaction back for everybody who has the database open. But it stands whole in the log, and if every process
died now, the next one would read the log again and find it: an entry whose caller was told that it is not stored.

What comes after it in the log is written over it, and what is left of it no longer adds up (each page's checksum goes
on from the page before). So one small transaction is written at once, before anybody is told:

- it holds: nothing of the failed one is ever found again, and that is what its callers are told;
- it fails as well: the disk takes nothing, and nobody can know. OutboxInDoubt says so; the next write of any process
  that holds settles it.

An error before the transaction's last page was in the log (the disk is full) needs none of this. What cannot be had: a
power cut between a sync that failed and one that holds may find either, for the disk has been told to keep both.
"""

from __future__ import annotations

import secrets
import sqlite3
from contextlib import suppress

from voyado_async.errors import OutboxInDoubt
from voyado_async.outbox.moves import SQL

_BEFORE_THE_LAST_PAGE = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_BUSY}
)
"""Errors of writing the log itself, of which the last page of the transaction is the last."""


def commit(database: sqlite3.Connection, path: str) -> None:
    """Commit. Where it raises, the transaction is taken back, and unless it raises OutboxInDoubt it stays so."""
    try:
        database.execute("COMMIT")
    except sqlite3.Error as error:
        if database.in_transaction:
            database.execute("ROLLBACK")
        if may_stand_in_the_log(error) and not _write_over(database):
            raise OutboxInDoubt(
                f"the disk failed while the outbox {path} was written, and takes nothing now ({error}): it is not "
                "stored, but a power cut or the end of every process before the next write that holds may bring it "
                "back. Write it again under the same key"
            ) from error
        raise


def may_stand_in_the_log(error: sqlite3.Error) -> bool:
    """Whether a transaction whose COMMIT raised this may be complete in the log."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is None:  # raised by the module: SQLite was not asked
        return False
    return code not in _BEFORE_THE_LAST_PAGE and code & 0xFF not in _BEFORE_THE_LAST_PAGE


def _write_over(database: sqlite3.Connection) -> bool:
    """Whether something else stands in its place, synced."""
    # A value that was never there: a page that does not change is not written.
    values = {"name": "written_over", "value": secrets.token_hex(8)}
    with suppress(sqlite3.Error):
        try:
            database.execute("BEGIN IMMEDIATE")
            database.execute(SQL["set_fact"], values)
            database.execute("COMMIT")
        finally:
            if database.in_transaction:
                database.execute("ROLLBACK")
        return True
    return False
