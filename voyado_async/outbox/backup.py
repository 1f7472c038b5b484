"""A copy of the outbox at one moment, while others write to it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from voyado_async.errors import ConfigurationError, OutboxDamaged, OutboxUnavailable
from voyado_async.outbox.migrate import RESTORE


def copy(path: str, target: Path) -> None:
    """Copy the database into a new file, 0600, check it, and sync it; blocks. Nothing is left behind where it fails.

    One step in one read transaction: writers go on, and the log grows by what they write meanwhile.
    Raises ConfigurationError where the target is there already or cannot be written, OutboxUnavailable where the disk
    does not take it, OutboxDamaged where the copy does not pass SQLite's check.
    """
    part = target.with_name(f".{target.name}.part")
    try:
        if target.exists():
            raise ConfigurationError(f"{target} is there already; a backup replaces nothing")
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise ConfigurationError(f"{target} cannot be written ({error.strerror})") from None
    try:
        _copy(path, part)
        _sync(part)
        os.link(part, target)
        _sync(target.parent)
    except OSError as error:
        raise OutboxUnavailable(f"the backup {target} cannot be written now ({error.strerror})") from None
    except sqlite3.OperationalError as error:
        raise OutboxUnavailable(f"the outbox {path} cannot be copied now ({error})") from error
    except sqlite3.DatabaseError as error:
        raise OutboxDamaged(f"the outbox {path} is damaged ({error}). {RESTORE}") from error
    finally:
        part.unlink(missing_ok=True)


def _copy(path: str, part: Path) -> None:
    source = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, isolation_level=None, timeout=5.0)
    try:
        made = sqlite3.connect(part, isolation_level=None)
        try:
            source.backup(made)
            # One file, which can be copied on as it is; whoever opens it makes it a write-ahead log again.
            made.execute("PRAGMA journal_mode = DELETE")
            found = made.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise sqlite3.DatabaseError(found)
        finally:
            made.close()
    finally:
        source.close()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
