"""The way of an entry by the API, in SQLite: written, claimed, sent, settled; and where its lane goes in an outage.

Single settlements and marks of one moment share a commit (`together.py`). What is large goes in chunks.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import cached_property, partial
from itertools import islice

from voyado_async.delivery import Draft, Message
from voyado_async.outbox import looking, moves
from voyado_async.outbox.adding import Prepared
from voyado_async.outbox.chunks import CHUNK, Chunk
from voyado_async.outbox.moves import SQL, contact_lane, due_times
from voyado_async.outbox.records import Asked, AsRead, Settlement, Stored
from voyado_async.outbox.sqlite_file import SqliteFile
from voyado_async.outbox.states import SETTLED, State
from voyado_async.outbox.together import Together

MARKS = 10
"""Requests that one transaction lets go. What leaves together comes back together, and then settles, waits and leaves
together again, while the connections stand idle: of a bare loop's throughput 90 % is left where few leave at a time,
70 % where it is as many as wait (tests/perf/bench_drain.py)."""


class SendingPart(SqliteFile):
    """See `store.Outbox` for the promises."""

    @cached_property
    def _marks(self) -> Together[tuple[int, AsRead | None], bool]:
        return Together(self._mark_all, MARKS)

    @cached_property
    def _settlements(self) -> Together[Settlement, bool]:
        return Together(self._settle_all, CHUNK)

    async def enqueue(self, drafts: Sequence[Draft]) -> list[Stored]:
        now = self._clock.now()
        return await self._writer.enqueue([Prepared.of(draft, now) for draft in self.seal.drafts(drafts)])

    async def claim(self, limit: int, now: int, skip_lanes: frozenset[int]) -> list[Message]:
        def look(database: sqlite3.Connection) -> list[Message]:
            found: list[Message] = []
            for rank in (0, 1):
                for since, until in due_times(now):
                    wanted = limit - len(found)
                    if wanted <= 0:
                        return found
                    which = {"rank": rank, "since": since, "until": until, "limit": wanted + len(skip_lanes)}
                    rows = database.execute(SQL["claim"], which)
                    new = (message for message in moves.messages(rows, self.seal) if message.lane not in skip_lanes)
                    found += islice(new, wanted)
            return found

        return await self._read(look)

    async def next_due(self, now: int) -> int | None:
        return await self._read(lambda c: looking.next_due(c, now))

    async def mark_sending(self, entry_id: int, claimed: AsRead | None = None) -> bool:
        return await self._marks.submit((entry_id, claimed), take_back=True)

    async def settle(self, settlement: Settlement) -> bool:
        moved = await self._settlements.submit(settlement)
        if moved and settlement.target in SETTLED:
            self._tell(settlement.id, settlement.target, settlement.reason)
        return moved

    async def _mark_all(self, going: Sequence[tuple[int, AsRead | None]]) -> list[bool]:
        now = self._clock.now()
        return await self._writer.call(lambda c: moves.mark_sending(c, going, now), rows=len(going))

    async def _settle_all(self, settlements: Sequence[Settlement]) -> list[bool]:
        now = self._clock.now()
        return await self._writer.call(lambda c: moves.settle(c, settlements, now), rows=2 * len(settlements))

    async def cancel(self, entry_id: int, reason: str) -> bool:
        now = self._clock.now()
        gone = await self._writer.call(lambda c: moves.cancel(c, entry_id, reason, now))
        if gone:
            self._tell(entry_id, State.DISCARDED, reason)
        return gone

    async def exhaust_lanes(self, lanes: Sequence[int], now: int) -> int:
        # Some lanes at a time: a chunk that had to look through all of them would take the longer the more there are.
        total, chunk = 0, Chunk(CHUNK)
        for start in range(0, len(lanes), CHUNK):
            some = lanes[start : start + CHUNK]
            total += await self._in_chunks(partial(moves.exhaust_lanes, lanes=some, now=now), chunk)
        return total

    async def exhaust_behind_files(self, now: int) -> int:
        total = after = 0
        while lanes := [row[0] for row in await self._rows("lanes_behind_files", after=after, limit=CHUNK)]:
            total += await self.exhaust_lanes(lanes, now)
            after = lanes[-1]
        return total

    async def bring_back(self, now: int) -> int:
        return await self._in_chunks(partial(moves.bring_back, now=now), Chunk(CHUNK))

    async def take_over(self, now: int, rest_until: int) -> list[int]:
        return await self._writer.call(lambda c: moves.take_over(c, now, rest_until))

    async def join_lanes(self, lane: int, contact_id: str, address: str, asked: Asked | None = None) -> bool:
        now = self._clock.now()
        known_as = self.seal.lane(address)
        return await self._writer.call(lambda c: moves.join_lanes(c, lane, contact_id, known_as, asked, now))

    async def lane_of(self, contact_id: str) -> int | None:
        rows = await self._rows("lane_of_key", key=contact_lane(contact_id))
        return rows[0][0] if rows else None
