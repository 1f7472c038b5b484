"""A process that can die at each point where it does something outside itself, and leaves what a kernel leaves.

The points have names: before and after each commit, request, fsync, rename and step at the file server. Who is gone
does nothing any more: whatever is still running of it waits for ever until it is buried.
"""

from __future__ import annotations

import asyncio
import os
import pathlib
import stat
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TypeVar
from unittest import mock

from fakes import FakeClock, InlineConnection, rest
from model_engage import Model

from voyado_async.api.routes import EngageRequest
from voyado_async.delivery import Reply, Request
from voyado_async.fallback import courier, transfer, writing
from voyado_async.outbox import writer
from voyado_async.outbox.commit import commit
from voyado_async.outbox.sqlite import SqliteOutbox, open_outbox

T = TypeVar("T")

BASE_URL = "https://engage.test"

STEPS = (
    "fsync of the file", "rename of the file", "fsync of the folder", "removal of the file", "listing", "upload",
    "rename at the server", "removal at the server",
)  # fmt: skip
"""What the courier does in its spool folder and at the file server."""

TABLE = """
CREATE TABLE IF NOT EXISTS seen (
    seq INTEGER PRIMARY KEY, who TEXT NOT NULL, entry INTEGER, lane INTEGER, source TEXT, target TEXT,
    what TEXT NOT NULL
)
"""
TRIGGERS = """
CREATE TEMP TRIGGER seen_new AFTER INSERT ON main.entry
BEGIN INSERT INTO seen (who, entry, lane, target, what) VALUES ('{who}', new.id, new.lane, new.kind, 'new entry'); END;
CREATE TEMP TRIGGER seen_move AFTER UPDATE OF state ON main.entry WHEN old.state <> new.state
BEGIN INSERT INTO seen (who, entry, lane, source, target, what)
VALUES ('{who}', old.id, new.lane, old.state, new.state, old.state || ' -> ' || new.state); END;
CREATE TEMP TRIGGER seen_gone AFTER DELETE ON main.entry
BEGIN INSERT INTO seen (who, entry, source, target, what) VALUES ('{who}', old.id, old.state, 'gone', 'gone'); END;
CREATE TEMP TRIGGER seen_file AFTER INSERT ON main.file
BEGIN INSERT INTO seen (who, what) VALUES ('{who}', 'new file'); END;
CREATE TEMP TRIGGER seen_file_move AFTER UPDATE OF state ON main.file WHEN old.state <> new.state
BEGIN INSERT INTO seen (who, what) VALUES ('{who}', 'file ' || new.state); END;
CREATE TEMP TRIGGER seen_join AFTER UPDATE OF joined ON main.lane WHEN new.joined IS NOT NULL
BEGIN INSERT INTO seen (who, lane, target, what) VALUES ('{who}', new.id, new.joined, 'lanes joined'); END;
"""
"""Who moved what, in the order of the commits; written in the very transaction that moves it."""


class Killed(BaseException):
    """The process is gone in the middle of a call. Nobody of the product catches it."""


async def for_ever() -> NoReturn:
    """What a dead process does."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError


class Process:
    """One process with the outbox open. `doomed` says at which point it dies, `tally` counts where it did."""

    def __init__(
        self, who: str, path: str, clock: FakeClock, made: list[InlineConnection], tally: Counter[str]
    ) -> None:
        self.who = who
        self.path = path
        self.clock = clock
        self.tally = tally
        self.doomed: Callable[[str], bool] = lambda point: False
        self.gone = False
        self.end = asyncio.Event()
        self.tasks: set[asyncio.Task[Any]] = set()
        """What an open outbox keeps running."""
        self._made = made
        self._counted = 0

    async def open(self) -> None:
        before, tasks = len(self._made), asyncio.all_tasks()
        self.gone = False
        self.end = asyncio.Event()
        self.outbox: SqliteOutbox = await open_outbox(self.path, base_url=BASE_URL, clock=self.clock)
        self.connections = self._made[before:]
        (connection,) = [each for each in self.connections if not each.read_only]
        self.database = connection.connection
        self.database.execute(TABLE)
        self.database.executescript(TRIGGERS.format(who=self.who))
        self.tasks = asyncio.all_tasks() - tasks
        self._counted = self._last()

    def _last(self) -> int:
        return int(self.database.execute("SELECT coalesce(max(seq), 0) FROM seen").fetchone()[0])

    # where it can die -------------------------------------------------------------------------------------------------

    def passes(self, point: str) -> None:
        """It comes by a point, and may end here."""
        if self.gone:
            raise Killed
        if self.doomed(point):
            self.tally[f"died {point}"] += 1
            self.die()
            raise Killed

    async def at(self, point: str) -> None:
        """The same, in a task of it."""
        try:
            self.passes(point)
        except Killed:
            await for_ever()

    def die(self) -> None:
        """From here on nothing of it has any effect."""
        self.gone = True
        self.end.set()
        for connection in self.connections:
            connection.dead = True

    async def survives(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What it comes to; None where the process died over it."""
        task, end = asyncio.ensure_future(work), asyncio.ensure_future(self.end.wait())
        await self.clock.until(lambda: task.done() or end.done(), within=600)
        end.cancel()
        if task.done():
            return task.result()
        task.cancel()
        return None

    def committing(self, database: object, path: str) -> None:
        """The commit of a transaction of this process."""
        names = [
            row[0]
            for row in self.database.execute(
                "SELECT DISTINCT what FROM seen WHERE seq > ? AND who = ? ORDER BY what", (self._counted, self.who)
            ).fetchall()
        ] or ["a record"]
        for name in names:
            self.passes(f"before a commit of the {self.who}: {name}")
        commit(self.database, path)
        self._counted = self._last()
        for name in names:
            self.passes(f"after a commit of the {self.who}: {name}")

    async def bury(self, others: Callable[[], set[asyncio.Task[Any]]]) -> None:
        """Nothing of it runs on; its connections are closed. `others` are not its tasks."""
        self.die()
        for _ in range(20):
            left = asyncio.all_tasks() - others() - {asyncio.current_task()}
            if not left:
                break
            for task in left:
                task.cancel()
            await rest()
        assert not left
        await self.close_files()

    async def close_files(self) -> None:
        for connection in self.connections:
            await connection.close()
        self.outbox._turn.close()
        self.outbox._poker.close()


class Line:
    """The line of a process to Engage: it stands where the package's `Http` stands."""

    def __init__(self, process: Process, model: Model) -> None:
        self._process = process
        self._model = model

    async def send(self, request: Request, *, within: float | None = None) -> Reply:
        assert isinstance(request, EngageRequest)
        await self._process.at(f"before the request: {request.operation}")
        reply = await self._model.send(request, within=within)
        await self._process.at(f"after the request: {request.operation}")
        return reply

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Session]:
        await self._process.at("before the session")
        async with self._model.connect():
            yield Session(self._process, self._model)


class Session:
    """The line of a process to the file server: see `transfer.Remote`."""

    def __init__(self, process: Process, model: Model) -> None:
        self._process = process
        self._model = model

    async def _do(self, what: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        await self._process.at(f"before the {what}")
        result = await work()
        await self._process.at(f"after the {what}")
        return result

    async def listing(self, folder: str) -> dict[str, int]:
        return await self._do("listing", lambda: self._model.listing(folder))

    async def size(self, folder: str, name: str) -> int | None:
        return await self._model.size(folder, name)

    async def stage(self, local: Path, folder: str, name: str) -> None:
        await self._do("upload", lambda: self._model.stage(local, folder, name))

    async def publish(self, folder: str, name: str, size: int) -> None:
        await self._do("rename at the server", lambda: self._model.publish(folder, name, size))

    async def discard(self, folder: str, name: str) -> None:
        await self._do("removal at the server", lambda: self._model.discard(folder, name))

    async def remove_part(self, folder: str, part: str) -> None:
        await self._do("removal at the server", lambda: self._model.remove_part(folder, part))


@contextmanager
def dying(processes: Callable[[], list[Process]]) -> Iterator[None]:
    """Commits of these processes, and what the first one does in its spool folder, pass their points."""
    at_work: list[Process] = []

    def committed(database: object, path: str) -> None:
        for process in processes():
            if database is process.database:
                return process.committing(database, path)
        raise AssertionError("a commit of nobody")

    async def of_the_courier(call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """`in_thread` without a thread."""
        await asyncio.sleep(0)
        at_work.append(processes()[0])
        try:
            return call(*args, **kwargs)
        except Killed:
            await for_ever()
        finally:
            at_work.pop()

    async def of_others(call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        await asyncio.sleep(0)
        return call(*args, **kwargs)

    def around(what: Callable[[Any], str], call: Callable[..., T]) -> Callable[..., T]:
        def passing(*args: Any, **kwargs: Any) -> T:
            if not at_work:
                return call(*args, **kwargs)
            name = what(args[0])
            at_work[-1].passes(f"before the {name}")
            result = call(*args, **kwargs)
            at_work[-1].passes(f"after the {name}")
            return result

        return passing

    def synced(descriptor: int) -> str:
        return "fsync of the folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "fsync of the file"

    def opened(file: writing.Writing) -> BinaryIO:
        output = made(file)
        patches.callback(output.close)  # the kernel closes what a dead process had open; here nobody would
        return output

    made = writing.Writing._made
    with ExitStack() as patches:
        patches.enter_context(mock.patch.object(writing.Writing, "_made", opened))
        patches.enter_context(mock.patch.object(writer, "commit", committed))
        for module in (courier, transfer, writing):
            patches.enter_context(mock.patch.object(module, "in_thread", of_the_courier))
        patches.enter_context(mock.patch.object(asyncio, "to_thread", of_others))
        patches.enter_context(mock.patch.object(os, "fsync", around(synced, os.fsync)))
        for name, what in (("rename", "rename of the file"), ("unlink", "removal of the file")):
            original = getattr(pathlib.Path, name)
            patches.enter_context(mock.patch.object(pathlib.Path, name, around(lambda _, what=what: what, original)))
        yield
