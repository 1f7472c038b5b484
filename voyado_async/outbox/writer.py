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
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

import aiosqlite

from voyado_async.errors import ClientClosed, KeyConflict, OutboxDamaged, OutboxUnavailable, VoyadoError
from voyado_async.outbox import adding, moves
from voyado_async.outbox.adding import Prepared
from voyado_async.outbox.commit import commit
from voyado_async.outbox.lock import Turn
from voyado_async.outbox.migrate import RESTORE
from voyado_async.outbox.records import Stored
from voyado_async.outbox.seal import NOT_SEALED, Seal

T = TypeVar("T")

MAX_ROWS = 500
"""Rows in one commit: it stays below some 10 ms, and no transaction of ours may hold the turn for 50 (DESIGN 3)."""
CUT_ROWS = 100
"""Rows in one commit where another process had the turn when it was wanted: that one waits for each of ours."""
MAX_BYTES = 4_000_000
"""Content in one commit, for the same reason; a single larger write goes alone."""
MOST_TOGETHER = 1_000
"""Entries that a caller may have stored all or nothing, with at most `MAX_BYTES` of content. With both, the turn is
held for 10 to 30 ms (measured; on a slow disk it must still stay under 50), with ten times as many for some 200."""

CHECKPOINT_PAGES = 500
"""Pages in the log after which a commit moves them into the database. Half of SQLite's own: whoever writes then waits
half as long, some 4 ms instead of 8 (a hundred callers' p99), and the throughput is the same."""

LOG_SIZE = 2_000_000
"""Bytes of the write-ahead log from the start: about where a checkpoint lets it begin anew."""

KEPT_LOG_SIZE = 16_000_000
"""Bytes that the log keeps at most when it begins anew: a long read may have let it grow to hundreds of megabytes."""

REWRITE_UNDER = 4_000_000
"""Bytes up to which a database is written anew in some 20 ms, so that the turn is held no longer than for a batch."""

_CONNECTION_CHUNK = 64

_OF_ONE_WRITE = (sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError)
"""What is wrong with one write's values (too long for SQLite, for example), and not with the database."""


class Scrubbed(NamedTuple):
    """What is free of deleted content for certain: the log, and the unused space inside the pages of the database."""

    log: bool
    pages: bool


class Connection(aiosqlite.Connection):
    """An aiosqlite connection that can run a whole transaction in one hop to its thread."""

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the connection's thread."""
        run: Callable[..., Awaitable[T]] = self._execute
        return await run(work, self._conn)

    def post(self, work: Callable[[sqlite3.Connection], T], done: Callable[[T | BaseException], None]) -> None:
        """Run `work` on the connection's thread, and then `done` on this loop, with its result or its error.

        Each commit goes this way: a task that waits for the thread would cost every write two more turns of the loop.
        """
        loop, database = asyncio.get_running_loop(), self._conn

        def run() -> None:
            result: T | BaseException
            try:
                result = work(database)
            except BaseException as error:  # whatever it is: who waits is told, and never waits for ever
                result = error
            loop.call_soon_threadsafe(done, result)

        self._tx.put_nowait((None, run))


def connection(path: str, *, read_only: bool) -> Connection:
    """A connection to an existing database: `async with` or await it, and close it.

    A read-only one can't checkpoint, not even when it is the last to close: checkpoints belong into the turn.
    """
    uri = f"file:{quote(path)}?mode={'ro' if read_only else 'rw'}"

    def connect() -> sqlite3.Connection:
        made = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=5.0, cached_statements=256)
        # A commit is on the disk when it returns, also after a power cut.
        made.execute("PRAGMA synchronous = FULL")
        if not read_only:
            # What is deleted or replaced is overwritten with zeros: a contact that is forgotten leaves no byte.
            made.execute("PRAGMA secure_delete = ON")
            made.execute(f"PRAGMA journal_size_limit = {KEPT_LOG_SIZE}")
            made.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        # An insert of many rows keeps a copy of each page that it touches; beyond 64 KB that would be a file.
        made.execute("PRAGMA temp_store = MEMORY")
        return made

    return Connection(connect, _CONNECTION_CHUNK)


def unavailable(error: sqlite3.Error, path: str) -> VoyadoError:
    """What SQLite's error means to the caller of a write."""
    told: VoyadoError
    if isinstance(error, sqlite3.OperationalError):
        told = OutboxUnavailable(f"the outbox {path} cannot be written now ({error}); nothing was stored")
    else:
        told = OutboxDamaged(f"the outbox {path} is damaged ({error}); nothing was stored. {RESTORE}")
    told.__cause__ = error
    return told


_Work = Sequence[Prepared] | Callable[[sqlite3.Connection], Any]
"""Drafts to store, or a function to run in the transaction."""


class _NotOurTurn(Exception):
    """Another process has the turn."""


class _Failed:
    """The result of a work that raised; or of one that had no turn, and may wait for the next one."""

    __slots__ = ("error", "may_wait")

    def __init__(self, error: BaseException, *, may_wait: bool = False) -> None:
        self.error = error
        self.may_wait = may_wait


class _Write:
    """One caller's part of a batch."""

    __slots__ = ("done", "rows", "since", "size", "work")

    def __init__(self, work: _Work, done: asyncio.Future[Any], rows: int, size: int = 0) -> None:
        self.work = work
        self.done = done
        self.rows = rows
        self.size = size
        self.since = done.get_loop().time()


class Writer:
    """The one place of this process that writes to the database."""

    def __init__(self, path: str, turn: Turn, after_commit: Callable[[], None], monotonic: Callable[[], float]) -> None:
        self._path = path
        self._turn = turn
        self._after_commit = after_commit
        self._connection = connection(path, read_only=False)
        self._seal: Seal = NOT_SEALED
        self._waiting: deque[_Write] = deque()
        self._open = False
        self._idle = asyncio.Event()
        """Nothing waits, and the thread has nothing of ours."""
        self._idle.set()
        self._contended = turn.contended
        self._pid = os.getpid()
        self._monotonic = monotonic
        self.commits = 0
        self.held = 0.0
        """Seconds for which the last transaction held the turn. Who has just awaited `call` sees that of its own: the
        next one is begun only after those that waited for this one have run."""

    async def open(self, seal: Seal) -> None:
        self._seal = seal
        await self._connection
        await self._connection.run(self._grow_log)
        self._open = True

    def _grow_log(self, database: sqlite3.Connection) -> None:
        """A commit into space that the log has already is a third faster than one that makes it longer."""
        log = Path(f"{self._path}-wal")
        if log.exists() and log.stat().st_size >= LOG_SIZE * 0.9:
            return
        # Where there is no room or no turn for it the log grows with the commits, as ever.
        with suppress(sqlite3.OperationalError, OutboxUnavailable), self._turn:
            kept = database.execute("PRAGMA cache_size").fetchone()[0]
            # What does not fit into the cache goes into the log; nothing of it is ever committed.
            database.execute("PRAGMA cache_size = 10")
            database.execute("BEGIN IMMEDIATE")
            try:
                database.execute(moves.SQL["fill_log"], {"size": LOG_SIZE})
            finally:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                database.execute(f"PRAGMA cache_size = {kept}")

    async def close(self) -> None:
        """Finish what waits, then close the connection inside the turn: closing may checkpoint.

        Cancelling it does not stop it: a connection that stays open keeps the process alive for ever.
        """
        if not self._open:
            return
        self._open = False
        await asyncio.shield(asyncio.create_task(self._shut(), name="voyado-outbox-close"))

    async def _shut(self) -> None:
        try:
            await self._idle.wait()
            await self._connection.run(self._close_in_turn)
        finally:
            await self._connection.close()

    def _close_in_turn(self, database: sqlite3.Connection) -> None:
        # Who can't have the turn isn't the last to close either: its holder still has the file open.
        with suppress(OutboxUnavailable), self._turn:
            database.close()

    async def enqueue(self, prepared: Sequence[Prepared]) -> list[Stored]:
        """Store all of them or none. Raises KeyConflict or OutboxUnavailable, and then nothing of it is stored."""
        size = sum([len(one.draft.body) for one in prepared])
        result: list[Stored] | KeyConflict = await self._submit(_Write(prepared, self._future(), len(prepared), size))
        if isinstance(result, KeyConflict):
            raise result
        return result

    async def call(self, work: Callable[[sqlite3.Connection], T], rows: int = 1) -> T:
        """Run `work` in the next transaction; it writes about so many rows."""
        result: T = await self._submit(_Write(work, self._future(), rows))
        return result

    async def scrub(self) -> Scrubbed:
        """Move everything from the log into the database and empty the log: what was deleted is in neither then.

        A small database is written anew before: pages that were split can hold copies of rows and keys in their unused
        space, which SQLite does not overwrite.
        """
        self.refuse_if_forked()
        if not self._open:
            raise ClientClosed("the outbox is closed")
        return await self._connection.run(self._scrub)

    def _scrub(self, database: sqlite3.Connection) -> Scrubbed:
        pages, size, waits = (
            int(database.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "page_size", "busy_timeout")
        )
        small = pages * size <= REWRITE_UNDER
        # Nobody waits for readers inside the turn.
        database.execute("PRAGMA busy_timeout = 0")
        try:
            with self._turn:
                if small:
                    database.execute("VACUUM")
                busy = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.Error as error:
            raise unavailable(error, self._path) from error
        finally:
            database.execute(f"PRAGMA busy_timeout = {waits}")
        if not busy:
            self._grow_log(database)
        return Scrubbed(log=not busy, pages=small)

    @property
    def forked(self) -> bool:
        """Whether this is another process than the one that opened the outbox."""
        return os.getpid() != self._pid

    def refuse_if_forked(self) -> None:
        """Neither SQLite's connections nor the threads behind them live on in a forked child."""
        if self.forked:
            raise ClientClosed("this process was forked after the outbox was opened; open a client in the new process")

    def _future(self) -> asyncio.Future[Any]:
        self.refuse_if_forked()
        return asyncio.get_running_loop().create_future()

    def _submit(self, write: _Write) -> asyncio.Future[Any]:
        if not self._open:
            raise ClientClosed("the outbox is closed; nothing was stored")
        self._waiting.append(write)
        if self._idle.is_set():
            self._idle.clear()
            write.done.get_loop().call_soon(self._go_on)
        return write.done

    def _go_on(self) -> None:
        """Hand the next batch to the thread, once whoever is ready in this turn of the loop has run: above all the
        callers of the last commit, so that what they write next shares one again.
        """
        if not self._waiting:
            self._idle.set()
            return
        batch: list[_Write] = []
        try:
            self._take_next(batch)
            works = [write.work for write in batch]
            # Who stood behind a batch that waited in vain has waited with it.
            waited = asyncio.get_running_loop().time() - batch[0].since
            self._connection.post(
                lambda database: self._write(database, works, waited), lambda told: self._tell(batch, told)
            )
        except Exception as error:  # whatever it is: callers are told, and closing waits for none of them for ever
            self._tell(batch or [self._waiting.popleft()], error)

    def _take_next(self, batch: list[_Write]) -> None:
        """What the next commit is made of, into `batch`."""
        rows = size = 0
        before, self._contended = self._contended, self._turn.contended
        most = MAX_ROWS if self._contended == before else CUT_ROWS
        while self._waiting:
            write = self._waiting[0]
            if batch and (rows + write.rows > most or size + write.size > MAX_BYTES):
                break
            rows += write.rows
            size += write.size
            batch.append(self._waiting.popleft())

    def _tell(self, batch: list[_Write], told: list[Any] | BaseException) -> None:
        # An error of this module itself is everybody's: nobody waits for ever.
        results = [_Failed(told)] * len(batch) if isinstance(told, BaseException) else told
        now = asyncio.get_running_loop().time()
        try:
            again = []
            for write, result in zip(batch, results, strict=True):
                if write.done.done():
                    continue
                if not isinstance(result, _Failed):
                    write.done.set_result(result)
                elif result.may_wait and self._turn.may_wait(now - write.since):
                    again.append(write)
                else:
                    write.done.set_exception(result.error)
            self._waiting.extendleft(reversed(again))
            if not all(isinstance(result, _Failed) for result in results):
                self._after_commit()
        finally:
            asyncio.get_running_loop().call_soon(self._go_on)

    def _write(self, database: sqlite3.Connection, works: Sequence[_Work], waited: float = 0.0) -> list[Any]:
        """The results of the works, or why a work failed. A work that fails must not fail its neighbours: then each
        gets a transaction of its own, still before any later batch.
        """
        try:
            return self._transact(database, works, waited)
        except _NotOurTurn:
            return [_Failed(self._turn.unavailable(), may_wait=True)] * len(works)
        except sqlite3.Error as error:
            if not isinstance(error, _OF_ONE_WRITE):
                return [_Failed(unavailable(error, self._path))] * len(works)
            failed = _Failed(error)
        except OutboxUnavailable as error:
            return [_Failed(error)] * len(works)
        except Exception as error:
            # Whatever one write raised belongs to its caller, not to this thread.
            failed = _Failed(error)
        return [failed] if len(works) == 1 else [self._write(database, [work])[0] for work in works]

    def _transact(self, database: sqlite3.Connection, works: Sequence[_Work], waited: float) -> list[Any]:
        """One transaction, inside the turn. Drafts are stored in the order in which they were submitted."""
        if not self._turn.take(waited):
            raise _NotOurTurn
        try:
            began = self._monotonic()
            database.execute("BEGIN IMMEDIATE")
            try:
                groups = [work for work in works if not callable(work)]
                stored = iter(adding.enqueue(database, groups, self._seal) if groups else ())
                results = [work(database) if callable(work) else next(stored) for work in works]
                commit(database, self._path)
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise
            self.held = self._monotonic() - began
        finally:
            self._turn.release()
        self.commits += 1
        return results
