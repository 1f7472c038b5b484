"""The open file under every part of the SQLite store: one writer, one reader, and who is told of what they did.

Writes go through the group commit of `writer.py` and are spelled out in `moves.py` and its neighbours; reads have a
read-only connection of their own. Beside the database lie `-turn` (the writers' turn), `-drain` (the right to drain),
`-wake`, and the folder `-known` (`shelf.py`).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self, TypeVar

from voyado_async.clock import Clock
from voyado_async.errors import ClientClosed
from voyado_async.outbox.access import OWNER, Access
from voyado_async.outbox.chunks import Chunk
from voyado_async.outbox.glance import unreadable
from voyado_async.outbox.lock import Turn
from voyado_async.outbox.making import prepare
from voyado_async.outbox.moves import SQL
from voyado_async.outbox.seal import NOT_SEALED, opened
from voyado_async.outbox.states import State
from voyado_async.outbox.wake import Poker
from voyado_async.outbox.writer import Connection, Writer, connection

R = TypeVar("R")


class SqliteFile:
    """One outbox file, open in this process. What its parts do with it, they do with these."""

    def __init__(
        self,
        path: str,
        clock: Clock,
        base_url: str | None,
        *,
        read_only: bool = False,
        seal_keys: Sequence[bytes] = (),
        access: Access = OWNER,
    ) -> None:
        self.path = path
        self.seal = NOT_SEALED
        self._read_only = read_only
        self._clock = clock
        self._base_url = base_url
        self._seal_keys = seal_keys
        self._access = access
        self._turn = Turn(f"{path}-turn", access, opened=not read_only)
        self._poker = Poker(path)
        self._writer = Writer(path, self._turn, self._after_commit, clock.monotonic)
        self._reader: Connection | None = None
        self._listeners: list[Callable[[int, State, str | None], None]] = []
        self._wakers: list[Callable[[], None]] = []
        self._closing: asyncio.Task[None] | None = None

    async def open(self) -> Self:
        """Create or migrate the file where needed, and open it. Read-only it is taken as it is."""
        try:
            if not self._read_only:
                await asyncio.to_thread(prepare, self.path, self._turn, self._base_url, self._seal_keys, self._access)
            self._reader = connection(self.path, read_only=True)
            await self._reader
            self.seal = opened(await self._fact_text("seal"), self._seal_keys, self.path)
            if not self._read_only:
                await self._writer.open(self.seal)
        except BaseException:  # raised again: a connection that stays open keeps the process alive
            await self.close()
            raise
        return self

    async def close(self) -> None:
        """What was submitted is committed first. The reader goes before the writer, whose closing may checkpoint.

        Cancelling it does not stop it: a connection that stays open keeps the process alive for ever. In a forked
        child nothing is closed: connections and threads are the parent's.
        """
        if self._writer.forked:
            return
        if self._closing is None:
            self._closing = asyncio.create_task(self._shut(), name="voyado-outbox-close")
        await asyncio.shield(self._closing)

    async def _shut(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()
        await self._writer.close()
        self._poker.close()
        self._turn.close()

    @property
    def commits(self) -> int:
        """Transactions of this process so far."""
        return self._writer.commits

    def _after_commit(self) -> None:
        if self._wakers:
            for wake in self._wakers:
                wake()
        else:
            self._poker.poke()

    def on_commit(self, wake: Callable[[], None]) -> None:
        """The drainer of this process wants to know of commits; other processes need no poke then."""
        self._wakers.append(wake)

    def off_commit(self, wake: Callable[[], None]) -> None:
        self._wakers.remove(wake)

    def on_settled(self, listener: Callable[[int, State, str | None], None]) -> None:
        self._listeners.append(listener)

    def _tell(self, entry_id: int, state: State, reason: str | None) -> None:
        for listener in self._listeners:
            listener(entry_id, state, reason)

    async def _rows(self, query: str, **values: object) -> list[Any]:
        return await self._read(lambda c: c.execute(SQL[query], values).fetchall())

    async def _read(self, look: Callable[[sqlite3.Connection], R]) -> R:
        self._writer.refuse_if_forked()
        if self._reader is None:
            raise ClientClosed(f"the outbox {self.path} is closed")
        try:
            return await self._reader.run(look)
        except sqlite3.DatabaseError as error:
            raise unreadable(error, self.path) from error

    async def _fact_text(self, name: str) -> str | None:
        rows = await self._rows("fact", name=name)
        return rows[0][0] if rows else None

    async def _in_chunks(self, move: Callable[..., int], chunk: Chunk) -> int:
        """Repeat the move of at most `limit` until nothing more moves; others get the turn in between."""
        total = 0
        while True:
            limit = chunk.size
            moved = await self._writer.call(partial(move, limit=limit), rows=limit)
            chunk.took(self._writer.held, moved)
            total += moved
            if moved < limit:
                return total

    async def _in_pieces(self, move: Callable[..., list[int]], ids: Sequence[int], chunk: Chunk) -> list[int]:
        """The move of these, some at a time. Returns those that moved."""
        moved: list[int] = []
        for some in chunk.pieces(ids):
            moved += await self._writer.call(partial(move, ids=some), rows=2 * len(some))
            chunk.took(self._writer.held, len(some))
        return moved
