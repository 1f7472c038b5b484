"""Making an outbox's file: the newest schema, bound to one Engage, sealed where there are keys. Blocking."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from voyado_async.errors import ConfigurationError, OutboxDamaged, OutboxUnavailable
from voyado_async.outbox.access import OWNER, Access
from voyado_async.outbox.glance import bound_to, check_size, check_sqlite, fact_of, refuse_another
from voyado_async.outbox.lock import Turn
from voyado_async.outbox.migrate import RESTORE, migrate, newest, schema_version
from voyado_async.outbox.moves import SQL
from voyado_async.outbox.seal import opened, renewed


def prepare(
    path: str, turn: Turn, base_url: str | None, seal_keys: Sequence[bytes] = (), access: Access = OWNER
) -> list[str]:
    """Make sure that the file is an outbox of the newest schema, bound to that Engage, sealed where there are keys and
    open to whom it is to be open to. Runs in a thread.

    Returns the migrations that were taken. A damaged, foreign or newer file, and one that is sealed with another key,
    is refused and not touched.
    """
    check_sqlite()
    if base_url is None and not Path(path).exists():
        raise _needs_base_url(path)
    turn.refuse_without_locks()
    with turn:
        _make(path, access)
        check_size(path)
        database = sqlite3.connect(path, isolation_level=None, timeout=5.0)
        try:
            version = schema_version(database, path)
            if version == 0 and base_url is None:
                raise _needs_base_url(path)
            if version:
                refuse_another(path, bound_to(database), base_url)
                opened(fact_of(database, "seal"), seal_keys, path)
            database.execute("PRAGMA synchronous = FULL")
            database.execute("PRAGMA secure_delete = ON")  # no key that is out of use stays readable
            taken: list[str] = []
            if database.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                # A new one, or one that came out of a backup that does not keep the mode.
                database.execute("PRAGMA journal_mode = WAL")
            if version < newest():
                taken = migrate(database, path)
            _bind(database, base_url, seal_keys, path)
            return taken
        except sqlite3.OperationalError as error:
            raise OutboxUnavailable(f"the outbox {path} cannot be opened now ({error})") from error
        except sqlite3.DatabaseError as error:
            raise OutboxDamaged(f"{path} is not a sound database ({error}); it was not touched. {RESTORE}") from error
        finally:
            database.close()


def _needs_base_url(path: str) -> ConfigurationError:
    return ConfigurationError(f"VOYADO_BASE_URL is needed to make a new outbox at {path}: it is bound to that Engage")


def _make(path: str, access: Access) -> None:
    """Make the file, empty, where there is none. The caller holds the turn.

    One that is there is looked at and never opened: closing any descriptor of a database gives up the locks of every
    SQLite connection that this process has to it, and the next process that closes it takes the WAL away under them
    (sqlite.org/howtocorrupt.html, 2.2).
    """
    try:
        access.make_file(path)
        if not Path(path).is_file() or not os.access(path, os.R_OK | os.W_OK):
            raise ConfigurationError(f"VOYADO_OUTBOX: {path} cannot be written")
    except OSError as error:
        raise ConfigurationError(f"VOYADO_OUTBOX: {path} cannot be written ({error.strerror})") from error


def _bind(database: sqlite3.Connection, base_url: str | None, seal_keys: Sequence[bytes], path: str) -> None:
    """The first opening decides which Engage the outbox belongs to, and its number in file names (ref 6.2). The keys
    of the seal may change."""
    known = dict(database.execute(SQL["facts"]).fetchall())
    facts = {"base_url": base_url, "sender": str(secrets.randbelow(9_000_000) + 1_000_000)} | known
    facts["seal"] = renewed(known.get("seal"), seal_keys, path, new="sender" not in known)
    changed = {name: value for name, value in facts.items() if value is not None and value != known.get(name)}
    if changed:
        database.execute("BEGIN IMMEDIATE")
        for name, value in changed.items():
            database.execute(SQL["set_fact"], {"name": name, "value": value})
        database.execute("COMMIT")
