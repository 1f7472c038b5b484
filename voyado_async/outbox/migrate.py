"""Numbered migrations: plain SQL files, each in one transaction with the version that it leads to.

A database made by newer code opens only where that code said so (`meta.oldest_code`), so that a rolling deploy or a
roll-back goes on selling (DESIGN 3, "One outbox, one Engage").
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from voyado_async.errors import OutboxDamaged, OutboxMismatch

APPLICATION_ID = 0x564F5941
"""Marks the file as an outbox of this package ("VOYA")."""

OLDEST_CODE = 1
"""The oldest schema version whose code may open what this code writes."""

RESTORE = "Restore it from a backup, or move it away to begin with an empty outbox"
"""What helps where a database is damaged."""

_FILE_NAME = re.compile(r"(\d{4})_\w+\.sql")


class Migration(NamedTuple):
    """One step of the schema."""

    version: int
    name: str
    sql: str


def migrations_dir() -> Path:
    """The folder with the migrations: inside the wheel, or beside the package in a checkout."""
    packaged = Path(__file__).parents[1] / "migrations"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "migrations"


def migrations(dialect: str = "sqlite") -> list[Migration]:
    """Every migration of the dialect, oldest first, numbered without a gap."""
    found = []
    for file in (migrations_dir() / dialect).iterdir():
        match = _FILE_NAME.fullmatch(file.name)
        if match:
            found.append(Migration(int(match[1]), file.name, file.read_text(encoding="utf-8")))
    found.sort()
    assert [step.version for step in found] == list(range(1, len(found) + 1)), "migrations are numbered without a gap"
    return found


@cache
def newest() -> int:
    """The schema version that this code writes."""
    return migrations()[-1].version


def statements(script: str) -> Iterator[str]:
    """The single statements of a script; `executescript` would commit between them and leave half a step behind."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip() and not all(line.startswith("--") or not line for line in statement.splitlines()):
        raise ValueError("a migration ends within a statement")


def schema_version(connection: sqlite3.Connection, path: str) -> int:
    """The version of a database; 0 for an empty one. Raises OutboxMismatch where the file is not an outbox of ours
    or needs newer code, OutboxDamaged where it is no sound database. Writes nothing."""
    try:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        owner = int(connection.execute("PRAGMA application_id").fetchone()[0])
        tables = int(connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        raise OutboxDamaged(f"{path} is not a sound database ({error}); it was not touched. {RESTORE}") from error
    if owner != APPLICATION_ID and (tables or version):
        raise OutboxMismatch(
            f"{path} is a database of another program; it was not touched. Choose another VOYADO_OUTBOX"
        )
    if version > newest():
        row = connection.execute("SELECT value FROM meta WHERE name = 'oldest_code'").fetchone()
        if row is None or int(row[0]) > newest():
            raise OutboxMismatch(
                f"{path} has schema {version} and needs newer code than this (schema {newest()}); it was not touched. "
                "Install the newer version again"
            )
    return version


def migrate(connection: sqlite3.Connection, path: str) -> list[str]:
    """Bring the database to the newest schema and return the names of the steps taken.

    The caller holds the writers' turn. Each step and its version are one transaction; one that fails leaves nothing.
    """
    taken = []
    for step in migrations():
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Read inside the transaction: another process may have taken the step meanwhile.
            if schema_version(connection, path) >= step.version:
                connection.execute("ROLLBACK")
                continue
            for statement in statements(step.sql):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {step.version}")
            connection.execute(
                "INSERT INTO meta (name, value) VALUES ('oldest_code', ?) "
                "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (str(OLDEST_CODE),),
            )
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        taken.append(step.name)
    return taken
