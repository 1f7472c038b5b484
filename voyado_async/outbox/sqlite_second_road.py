"""The second road, in SQLite: entries that leave by file or bulk request, and come back or are confirmed."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial

from voyado_async.delivery import Enough, FileFamily, Kind, Later, Message
from voyado_async.outbox import file_moves, looking, moves
from voyado_async.outbox.chunks import CHUNK, SPAN, Chunk
from voyado_async.outbox.moves import SQL, as_json, due_times
from voyado_async.outbox.newest import LAST, Newest
from voyado_async.outbox.records import AsRead, Attempt, FileRecord
from voyado_async.outbox.sqlite_file import SqliteFile
from voyado_async.outbox.states import State

NEWER = 50
"""Newer writes of a contact that one look takes of each lane and road. Mostly the first few are enough."""


class SecondRoadPart(SqliteFile):
    """See `store.Outbox` for the promises."""

    async def exhausted_lines(self) -> tuple[int, int | None]:
        lines, oldest = (await self._rows("exhausted_lines"))[0]
        return lines, oldest

    async def exhausted(self) -> AsyncIterator[Message]:
        # Which ones is asked newest first: when a change is taken, no older one of its contact waits for the API, so
        # every older one is exhausted by then and will be taken, too. Asked oldest first, one that is exhausted while
        # the newer ones are asked for would be left behind, and overwrite them later. Eight bytes each, however many.
        ids = array("q")
        before, asked = LAST, SPAN
        while asked == SPAN:
            rows = await self._rows("exhausted_before", before=before, limit=SPAN)
            ids.extend(entry for entry, may_leave in rows if may_leave)
            asked = len(rows)
            before = rows[-1][0] if rows else 0
        ids.reverse()
        for start in range(0, len(ids), CHUNK):
            for message in await self.exhausted_of(ids[start : start + CHUNK]):
                yield message

    async def exhausted_of(self, ids: Sequence[int]) -> list[Message]:
        return list(moves.messages(await self._rows("exhausted", ids=as_json(list(ids))), self.seal))

    async def files_wanted(self) -> str | None:
        return await self._fact_text("files_wanted")

    async def files_written(self, asked: str) -> None:
        await self._writer.call(lambda c: c.execute(SQL["files_written"], {"asked": asked}).fetchall())

    async def next_file_name(self, now: int, family: FileFamily) -> str:
        return await self._writer.call(lambda c: file_moves.next_name(c, now, family))

    async def owns_file_name(self, name: str) -> bool:
        sender = (await self._rows("fact", name="sender"))[0][0]
        return name.partition("_")[2].startswith(sender)

    async def in_force_after(self, after: Mapping[int, int]) -> dict[int, list[tuple[int, Kind, bytes]]]:
        found: dict[int, list[tuple[int, Kind, bytes]]] = {}
        for lane, entry, kind, content in sorted(
            await self._rows("in_force_after", lanes=as_json(list(after.items())))
        ):
            found.setdefault(lane, []).append((entry, Kind(kind), self.seal.content(entry, content)))
        return found

    async def spool_file(
        self, record: FileRecord, entry_ids: Sequence[int], as_read: Mapping[int, AsRead] | None = None
    ) -> list[int]:
        now = self._clock.now()
        file_id = await self._writer.call(lambda c: file_moves.add(c, record))
        moved: list[int] = []
        asked, chunk = 0, Chunk(CHUNK)
        for ids in chunk.pieces(entry_ids):
            # Complete with its last chunk, if all the ones before moved whole.
            whole = len(moved) == asked
            asked += len(ids)
            step = partial(
                file_moves.spool, file_id=file_id, record=record, ids=ids, as_read=as_read or {}, now=now,
                last=whole and asked == len(entry_ids),
            )  # fmt: skip
            moved += await self._writer.call(step, rows=2 * len(ids))
            chunk.took(self._writer.held, len(ids))
        return moved

    async def update_file(
        self,
        file_id: int,
        *,
        state: str,
        now: int,
        entries_to: State | None = None,
        problem: str | None = None,
        seen: bool = False,
        carried: bool = False,
        outage_only: bool = False,
    ) -> int:
        change = file_moves.FileChange(file_id, state, now, entries_to, problem, seen, carried, outage_only)
        total, chunk = 0, Chunk(CHUNK)
        while True:
            step = partial(file_moves.update, change=change, limit=chunk.size)
            moved, done = await self._writer.call(step, rows=chunk.size)
            chunk.took(self._writer.held, len(moved))
            total += len(moved)
            if entries_to is State.DELIVERED:
                for entry_id in moved:
                    self._tell(entry_id, State.DELIVERED, None)
            if done:
                return total

    async def lanes_on_the_road(self) -> frozenset[int]:
        return frozenset(row[0] for row in await self._rows("lanes_on_the_road"))

    async def withhold(self, details: Mapping[int, str], reason: str, now: int) -> None:
        await self._keep_exhausted("withhold", details, reason, now)

    async def mark_formless(self, details: Mapping[int, str], now: int) -> None:
        await self._keep_exhausted("mark_formless", details, file_moves.FORMLESS, now)

    async def _keep_exhausted(self, query: str, details: Mapping[int, str], reason: str, now: int) -> None:
        move = partial(file_moves.keep_exhausted, query=query, reason=reason, details=details, now=now)
        await self._in_pieces(move, list(details), Chunk(CHUNK))

    async def begin_bulk(self, as_read: Mapping[int, AsRead], line: Attempt) -> frozenset[int]:
        move = partial(file_moves.begin_bulk, as_read=as_read, line=line)
        return frozenset(await self._in_pieces(move, list(as_read), Chunk(CHUNK)))

    async def left_in_bulk(self) -> list[int]:
        return [row[0] for row in await self._rows("left_in_bulk")]

    async def files(self, *, open_only: bool) -> list[FileRecord]:
        return await self._read(partial(looking.files, open_only=open_only))

    async def to_confirm(self, limit: int, now: int) -> list[Message]:
        def look(database: sqlite3.Connection) -> list[Message]:
            found: list[Message] = []
            for since, until in due_times(now):
                which = {"since": since, "until": until, "limit": limit - len(found)}
                found += moves.messages(database.execute(SQL["to_confirm"], which), self.seal)
            return found

        return await self._read(look)

    async def newer_changes(self, message: Message, enough: Enough) -> Later:
        lanes = [row[0] for row in await self._rows("whole_lane", id=message.id)]
        later, after = Newest(), message.id
        while after != LAST:
            rows = [
                (lane, road, entry, kind, self.seal.content(entry, content), settled)
                for lane in lanes
                for road, entry, kind, content, settled in await self._rows(
                    "newer_changes", lane=lane, after=after, limit=NEWER
                )
            ]
            after = later.add(rows, NEWER)
            if enough(later.told):
                break
        return later.whole()

    async def newer_in_force(self, message: Message) -> list[tuple[Kind, bytes]]:
        rows = await self._rows("newer_in_force", id=message.id)
        return [(Kind(kind), self.seal.content(entry, content)) for entry, kind, content in rows]
