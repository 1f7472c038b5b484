"""Group commit: every write of this process that waits shares the next transaction, and so its fsync.

One aiosqlite connection carries the writes, with one hop to its thread per batch. There is no timer: while one batch is
being synced the next one gathers. Every caller returns after the commit that holds its write.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import quote

import aiosqlite

from voyado_async.errors import ClientClosed, KeyConflict, OutboxDamaged, OutboxUnavailable, VoyadoError
from voyado_async.outbox import moves
from voyado_async.outbox.lock import Turn
from voyado_async.outbox.moves import Prepared
from voyado_async.outbox.store import Stored

T = TypeVar("T")

MAX_ROWS = 500
"""Rows in one commit: it stays below some 10 ms, and no transaction of ours may hold the turn for 50 (DESIGN 3)."""
MAX_BYTES = 4_000_000
"""Content in one commit, for the same reason; a single larger write goes alone."""

_CONNECTION_CHUNK = 64

_OF_ONE_WRITE = (sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError)
"""What is wrong with one write's values (too long for SQLite, for example), and not with the database."""


class Connection(aiosqlite.Connection):
    """An aiosqlite connection that can run a whole transaction in one hop to its thread."""

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the connection's thread."""
        run: Callable[..., Awaitable[T]] = self._execute
        return await run(work, self._conn)


def connection(path: str, *, read_only: bool) -> Connection:
    """A connection to an existing database: `async with` or await it, and close it.

    A read-only one can't checkpoint, not even when it is the last to close: checkpoints belong into the turn.
    """
    uri = f"file:{quote(path)}?mode={'ro' if read_only else 'rw'}"

    def connect() -> sqlite3.Connection:
        made = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=5.0, cached_statements=256)
        # A commit is on the disk when it returns, also after a power cut.
        made.execute("PRAGMA synchronous = FULL")
        # An insert of many rows keeps a copy of each page that it touches; beyond 64 KB that would be a file.
        made.execute("PRAGMA temp_store = MEMORY")
        return made

    return Connection(connect, _CONNECTION_CHUNK)


def unavailable(error: sqlite3.Error, path: str) -> VoyadoError:
    """What SQLite's error means to the caller of a write."""
    if isinstance(error, sqlite3.OperationalError):
        return OutboxUnavailable(f"the outbox {path} cannot be written now ({error}); nothing was stored")
    return OutboxDamaged(
        f"the outbox {path} is damaged ({error}); nothing was stored. Run `voyado-async verify`, and restore a backup"
    )


class _Write:
    """One caller's part of a batch: drafts to store, or a function to run in the transaction."""

    __slots__ = ("done", "rows", "size", "work")

    def __init__(
        self, work: Sequence[Prepared] | Callable[[sqlite3.Connection], Any], done: asyncio.Future[Any], rows: int
    ) -> None:
        self.work = work
        self.done = done
        self.rows = rows
        self.size = 0 if callable(work) else sum(len(prepared.draft.body) for prepared in work)


class Writer:
    """The one place of this process that writes to the database."""

    def __init__(self, path: str, turn: Turn, after_commit: Callable[[], None]) -> None:
        self._path = path
        self._turn = turn
        self._after_commit = after_commit
        self._connection = connection(path, read_only=False)
        self._waiting: deque[_Write] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._pid = os.getpid()
        self.commits = 0

    async def open(self) -> None:
        await self._connection
        self._task = asyncio.create_task(self._run(), name="voyado-outbox-writer")

    async def close(self) -> None:
        """Finish what waits, then close the connection inside the turn: closing may checkpoint.

        Cancelling it does not stop it: a connection that stays open keeps the process alive for ever.
        """
        if self._task is None:
            return
        task, self._task = self._task, None
        self._wake.set()
        await asyncio.shield(asyncio.create_task(self._shut(task), name="voyado-outbox-close"))

    async def _shut(self, task: asyncio.Task[None]) -> None:
        try:
            # Not `await task`: one that was cancelled or that failed is no reason to leave the connection open.
            await asyncio.wait([task])
            self._fail(list(self._waiting), ClientClosed("the outbox was closed; nothing was stored"))
            self._waiting.clear()
            await self._connection.run(self._close_in_turn)
        finally:
            await self._connection.close()

    def _close_in_turn(self, database: sqlite3.Connection) -> None:
        # Who can't have the turn isn't the last to close either: its holder still has the file open.
        with suppress(OutboxUnavailable), self._turn:
            database.close()

    async def enqueue(self, prepared: Sequence[Prepared]) -> list[Stored]:
        """Store all of them or none. Raises KeyConflict or OutboxUnavailable, and then nothing of it is stored."""
        result: list[Stored] | KeyConflict = await self._submit(_Write(prepared, self._future(), len(prepared)))
        if isinstance(result, KeyConflict):
            raise result
        return result

    async def call(self, work: Callable[[sqlite3.Connection], T], rows: int = 1) -> T:
        """Run `work` in the next transaction; it writes about so many rows."""
        result: T = await self._submit(_Write(work, self._future(), rows))
        return result

    @property
    def forked(self) -> bool:
        """Whether this is another process than the one that opened the outbox."""
        return os.getpid() != self._pid

    def refuse_if_forked(self) -> None:
        """Neither SQLite's connections nor the threads behind them live on in a forked child."""
        if self.forked:
            raise ClientClosed("this process was forked after the outbox was opened; open a client in the new process")

    @staticmethod
    def _future() -> asyncio.Future[Any]:
        return asyncio.get_running_loop().create_future()

    async def _submit(self, write: _Write) -> Any:
        self.refuse_if_forked()
        if self._task is None:
            raise ClientClosed("the outbox is closed; nothing was stored")
        if self._task.done():
            # Only an error in this module ends the task early; show it instead of waiting for ever.
            self._task.result()
        self._waiting.append(write)
        self._wake.set()
        return await write.done

    async def _run(self) -> None:
        while self._task is not None or self._waiting:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                # Whoever else is ready in this turn of the loop comes along.
                await asyncio.sleep(0)
            await self._commit(self._next_batch())

    def _next_batch(self) -> list[_Write]:
        batch: list[_Write] = []
        rows = size = 0
        while self._waiting:
            write = self._waiting[0]
            if batch and (rows + write.rows > MAX_ROWS or size + write.size > MAX_BYTES):
                break
            rows += write.rows
            size += write.size
            batch.append(self._waiting.popleft())
        return batch

    async def _commit(self, batch: list[_Write]) -> None:
        if not batch:
            return
        works = [write.work for write in batch]
        try:
            results = await self._connection.run(lambda database: self._transact(database, works))
        except sqlite3.Error as error:
            if isinstance(error, _OF_ONE_WRITE):
                await self._one_by_one(batch, error)
            else:
                self._fail(batch, unavailable(error, self._path))
        except OutboxUnavailable as error:
            self._fail(batch, error)
        except Exception as error:
            # Whatever one write raised belongs to its caller, not to this loop.
            await self._one_by_one(batch, error)
        else:
            self.commits += 1
            for write, result in zip(batch, results, strict=True):
                if not write.done.done():
                    write.done.set_result(result)
            self._after_commit()

    async def _one_by_one(self, batch: list[_Write], error: Exception) -> None:
        """A write that fails must not fail its neighbours: each gets a transaction of its own."""
        if len(batch) == 1:
            self._fail(batch, error)
            return
        for write in batch:
            await self._commit([write])

    @staticmethod
    def _fail(batch: list[_Write], error: Exception) -> None:
        for write in batch:
            if not write.done.done():
                write.done.set_exception(error)

    def _transact(
        self, database: sqlite3.Connection, works: list[Sequence[Prepared] | Callable[[sqlite3.Connection], Any]]
    ) -> list[Any]:
        """One transaction, inside the turn. Drafts are stored in the order in which they were submitted."""
        with self._turn:
            database.execute("BEGIN IMMEDIATE")
            try:
                groups = [work for work in works if not callable(work)]
                stored = iter(moves.enqueue(database, groups) if groups else ())
                results = [work(database) if callable(work) else next(stored) for work in works]
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise
        return results
