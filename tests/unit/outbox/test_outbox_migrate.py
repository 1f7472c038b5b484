"""The schema's steps, and which files are opened at all."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from pathlib import Path

import pytest
from children import BASE_URL, draft

from voyado_async.clock import SystemClock
from voyado_async.errors import ConfigurationError, OutboxDamaged, OutboxMismatch
from voyado_async.outbox import migrate as steps
from voyado_async.outbox.migrate import APPLICATION_ID, Migration, migrate, migrations, schema_version, statements
from voyado_async.outbox.sqlite import SqliteOutbox, open_outbox


async def opened(path: Path, base_url: str | None = BASE_URL) -> SqliteOutbox:
    return await open_outbox(path, base_url=base_url, clock=SystemClock())


async def made(path: Path) -> bytes:
    """A closed outbox with one entry; its bytes."""
    outbox = await opened(path)
    await outbox.enqueue([draft()])
    await outbox.close()
    return path.read_bytes()


def change(path: Path, *script: str) -> None:
    database = sqlite3.connect(path, isolation_level=None)
    for statement in script:
        database.execute(statement)
    database.close()


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [step.version for step in migrations()] == list(range(1, len(migrations()) + 1))


def test_a_migration_is_cut_into_its_statements() -> None:
    script = "-- why\nCREATE TABLE a (x);\nCREATE TRIGGER t AFTER INSERT ON a BEGIN\n  SELECT 1;\n  SELECT 2;\nEND;\n"
    assert len(list(statements(script))) == 2
    with pytest.raises(ValueError, match="within a statement"):
        list(statements("CREATE TABLE a (x"))


def test_a_step_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [Migration(1, "0001_a.sql", "CREATE TABLE meta (name, value);\nCREATE TABLE meta (x);\n")]
    monkeypatch.setattr(steps, "migrations", lambda: broken)
    database = sqlite3.connect(":memory:", isolation_level=None)
    with pytest.raises(sqlite3.OperationalError):
        migrate(database, "x")
    assert database.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)
    assert database.execute("PRAGMA user_version").fetchone() == (0,)
    database.close()


def test_each_step_is_taken_once() -> None:
    database = sqlite3.connect(":memory:", isolation_level=None)
    assert migrate(database, "x") == [step.name for step in migrations()]
    assert migrate(database, "x") == []
    assert schema_version(database, "x") == len(migrations())
    assert database.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    database.close()


async def test_an_outbox_is_bound_to_its_engage(path: Path) -> None:
    before = await made(path)
    with pytest.raises(OutboxMismatch, match="belongs to"):
        await opened(path, "https://other.test")
    assert path.read_bytes() == before
    outbox = await opened(path)
    assert (await outbox.counts()).enqueued == 1
    await outbox.close()


async def test_commands_without_a_base_url_open_an_outbox_that_exists(path: Path) -> None:
    await made(path)
    outbox = await opened(path, None)
    assert await outbox.base_url() == BASE_URL
    await outbox.close()


async def test_no_outbox_is_made_without_a_base_url(path: Path) -> None:
    with pytest.raises(ConfigurationError):
        await opened(path, None)


async def test_a_database_of_another_program_is_not_touched(path: Path) -> None:
    change(path, "CREATE TABLE orders (id)", "INSERT INTO orders VALUES (1)")
    before = path.read_bytes()
    with pytest.raises(OutboxMismatch, match="another program"):
        await opened(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"hello", b"x" * 5000, b"SQLite format 3\0", b"SQLite format 3\0" + b"\0" * 50], ids=len
)
async def test_a_file_that_is_no_database_is_not_touched(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(OutboxDamaged):
        await opened(path)
    assert path.read_bytes() == content


async def test_a_database_with_a_garbled_schema_is_not_touched(path: Path) -> None:
    content = bytearray(await made(path))
    content[100:2000] = b"\xff" * 1900
    path.write_bytes(content)
    with pytest.raises(OutboxDamaged):
        await opened(path)
    assert path.read_bytes() == content


async def test_an_empty_file_becomes_an_outbox(path: Path) -> None:
    path.touch()
    await made(path)


async def test_a_newer_schema_that_needs_newer_code_is_refused(path: Path) -> None:
    await made(path)
    change(path, "PRAGMA user_version = 99", "UPDATE meta SET value = '99' WHERE name = 'oldest_code'")
    before = path.read_bytes()
    with pytest.raises(OutboxMismatch, match="newer code"):
        await opened(path)
    assert path.read_bytes() == before


async def test_a_newer_schema_that_this_code_may_open_goes_on_selling(path: Path) -> None:
    """A roll-back, or a rolling deploy."""
    await made(path)
    change(path, "PRAGMA user_version = 99", "ALTER TABLE entry ADD COLUMN colour TEXT")
    outbox = await opened(path)
    (stored,) = await outbox.enqueue([draft()])
    assert (await outbox.get(stored.id)).id == 2
    await outbox.close()
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (99,)
    database.close()


async def test_a_copy_without_the_log_mode_gets_it_back(path: Path) -> None:
    await made(path)
    change(path, "PRAGMA journal_mode = DELETE")
    outbox = await opened(path)
    mode = await outbox._writer.call(lambda c: c.execute("PRAGMA synchronous").fetchone())
    assert mode == (2,)
    assert Path(f"{path}-wal").exists()
    await outbox.close()


async def test_every_file_of_an_outbox_is_for_its_owner_only(path: Path) -> None:
    old = os.umask(0)
    try:
        outbox = await opened(path)
        await outbox.enqueue([draft()])
        await outbox.counts()
        found = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        await outbox.close()
    finally:
        os.umask(old)
    assert found == dict.fromkeys(["outbox.db", "outbox.db-wal", "outbox.db-shm", "outbox.db-turn"], 0o600)


async def test_a_folder_that_is_not_there_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="VOYADO_OUTBOX"):
        await opened(tmp_path / "nowhere" / "outbox.db")


async def test_a_folder_in_place_of_the_file_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="VOYADO_OUTBOX"):
        await opened(tmp_path)


async def test_several_openers_of_a_new_outbox_make_one(path: Path) -> None:
    outboxes = await asyncio.gather(*(opened(path) for _ in range(6)))
    stored = await asyncio.gather(*(outbox.enqueue([draft()]) for outbox in outboxes))
    assert sorted(one.id for (one,) in stored) == list(range(1, 7))
    for outbox in outboxes:
        await outbox.close()
