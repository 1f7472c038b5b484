"""One look at an outbox from outside, without an event loop: what a command that only looks needs, and no more.

Reads only and takes no lock but SQLite's own: writers and the drainer go on.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from voyado_async.errors import ConfigurationError, OutboxDamaged, OutboxMismatch, OutboxUnavailable
from voyado_async.outbox.lock import is_held
from voyado_async.outbox.migrate import RESTORE, migrate, newest, schema_version
from voyado_async.outbox.moves import SQL

R = TypeVar("R")

_OLDEST_SQLITE = (3, 38, 0)
"""RETURNING came with 3.35, STRICT with 3.37, ``->>`` with 3.38."""
_SMALLEST_PAGE = 512


def glance(path: str, look: Callable[[sqlite3.Connection], R]) -> R:
    """What `look` finds in one snapshot of the outbox at that path; blocks.

    Raises ConfigurationError where there is none, OutboxMismatch or OutboxDamaged where it cannot be read by this code,
    OutboxUnavailable where it cannot be read now.
    """
    readable_schema(path)
    try:
        database = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, isolation_level=None, timeout=5.0)
        try:
            return in_snapshot(database, look)
        finally:
            database.close()
    except sqlite3.Error as error:
        raise unreadable(error, path) from error


def blank(look: Callable[[sqlite3.Connection], R]) -> R:
    """What `look` finds in an outbox that nobody has written to yet; touches no file."""
    database = sqlite3.connect(":memory:", isolation_level=None)
    try:
        migrate(database, ":memory:")
        return in_snapshot(database, look)
    finally:
        database.close()


def is_being_made(path: str) -> bool:
    """Whether somebody is making an outbox of this empty file at this moment: that is done in the writers' turn."""
    if not is_held(f"{path}-turn"):
        return False
    database = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, isolation_level=None, timeout=5.0)
    try:
        return schema_version(database, path) == 0
    finally:
        database.close()


def bound_to(database: sqlite3.Connection) -> str | None:
    """The Engage that the outbox belongs to; None before the first opening with a base URL."""
    return fact_of(database, "base_url")


def fact_of(database: sqlite3.Connection, name: str) -> str | None:
    """One thing that the outbox knows of itself."""
    row = database.execute(SQL["fact"], {"name": name}).fetchone()
    return None if row is None else str(row[0])


def refuse_another(path: str, owner: str | None, wanted: str | None) -> None:
    """Raises OutboxMismatch where the outbox belongs to another Engage than the one that is asked for, if any is."""
    if wanted is not None and owner is not None and owner != wanted:
        raise OutboxMismatch(
            f"{path} belongs to {owner} and not to {wanted}: entries written for one Engage are never sent to "
            "another. Choose another VOYADO_OUTBOX or correct VOYADO_BASE_URL"
        )


def unreadable(error: sqlite3.Error, path: str) -> OutboxUnavailable | OutboxDamaged:
    """What SQLite's error means to who reads."""
    if isinstance(error, sqlite3.OperationalError):
        return OutboxUnavailable(f"the outbox {path} cannot be read now ({error})")
    return OutboxDamaged(f"the outbox {path} is damaged ({error}). {RESTORE}")


def in_snapshot(database: sqlite3.Connection, look: Callable[[sqlite3.Connection], R]) -> R:
    """What is written between two of its reads must not look like lost."""
    database.execute("BEGIN")
    try:
        return look(database)
    finally:
        # SQLite may have given it up by itself, and the error of that is the one to tell.
        if database.in_transaction:
            database.execute("COMMIT")


def readable_schema(path: str) -> int:
    """The schema version of an outbox that this code can read as it is. Touches nothing and waits for nobody's turn.

    Raises ConfigurationError where there is none, OutboxMismatch or OutboxDamaged where it cannot be read by this code.
    """
    check_sqlite()
    try:
        check_size(path)
        database = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, isolation_level=None, timeout=5.0)
    except sqlite3.OperationalError as error:
        if os.path.isfile(path):
            raise OutboxUnavailable(f"the outbox {path} cannot be read now ({error})") from error
        raise ConfigurationError(f"VOYADO_OUTBOX: {path} is not a file") from error
    except FileNotFoundError:
        raise ConfigurationError(
            f"there is no outbox at {path} (VOYADO_OUTBOX): the first write or `voyado-async migrate` makes it"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"VOYADO_OUTBOX: {path} cannot be read ({error.strerror})") from error
    try:
        version = schema_version(database, path)
    except sqlite3.OperationalError as error:
        raise OutboxUnavailable(f"the outbox {path} cannot be read now ({error})") from error
    finally:
        database.close()
    if version < newest():
        raise OutboxMismatch(
            f"{path} has schema {version}, older than this code's {newest()}: run `voyado-async migrate`"
            if version
            else f"{path} is empty, no outbox yet: run `voyado-async migrate`"
        )
    return version


def check_sqlite() -> None:
    """Raises ConfigurationError where this Python's SQLite is too old."""
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        wanted = ".".join(map(str, _OLDEST_SQLITE))
        raise ConfigurationError(
            f"SQLite {sqlite3.sqlite_version} is too old for the outbox; it needs {wanted} or newer"
        )


def check_size(path: str) -> None:
    """SQLite takes any file shorter than its smallest page for an empty database, and would overwrite it."""
    if 0 < Path(path).stat().st_size < _SMALLEST_PAGE:
        raise OutboxDamaged(f"{path} is not a database; it was not touched. Choose another VOYADO_OUTBOX")
