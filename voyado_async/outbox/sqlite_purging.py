"""What is finished and old leaves the outbox in SQLite, some at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import msgspec

from voyado_async.outbox import overview, purging
from voyado_async.outbox.chunks import CHUNK, SPAN, Chunk
from voyado_async.outbox.moves import FOREVER, SQL, as_json
from voyado_async.outbox.sqlite_file import SqliteFile

HISTORY = 7 * 86_400_000
"""How long it is known what came where, span by span (ms)."""

MOST_CONTACTS = 200_000
"""Addresses that the id store knows at most: some 40 MB."""


class PurgingPart(SqliteFile):
    """See `store.Outbox.purge` and `operator_store.OperatorOutbox.purgeable` for the promises."""

    async def purge(self, entries_before: int, keys_before: int) -> int:
        purged, chunk = 0, Chunk(CHUNK)
        history = (self._clock.now() - HISTORY) // overview.SPAN
        purge = partial(purging.purge, before=entries_before, seal=self.seal)
        async for ids in self._finished(entries_before):
            purged += len(await self._in_pieces(purge, ids, chunk))
        await self._writer.call(lambda c: c.execute(SQL["forget_history"], {"before": history}).fetchall())
        for span in range(256):
            await self._in_chunks(partial(purging.purge_keys, span=span, before=keys_before), chunk)
        await self._in_chunks(partial(purging.purge_old, query="purge_files", before=entries_before), chunk)
        await self._purge_contacts(entries_before, chunk)
        await self._purge_lanes()
        return purged

    async def purgeable(self, before: int) -> int:
        count = 0
        async for ids in self._finished(before):
            for start in range(0, len(ids), CHUNK):
                some = as_json(ids[start : start + CHUNK])
                count += len(await self._rows("to_purge", ids=some, before=before))
        return count

    async def _finished(self, before: int) -> AsyncIterator[list[int]]:
        """Entries that are finished since before then, span by span."""
        last = (await self._rows("last_id"))[0][0]
        for after in range(0, last, SPAN):
            rows = await self._rows("purgeable", after=after, until=after + SPAN, before=before)
            yield [row[0] for row in rows]

    async def _purge_contacts(self, before: int, chunk: Chunk) -> None:
        purge = partial(purging.purge_old, query="purge_contacts")
        while (await self._rows("count_contacts"))[0][0] > MOST_CONTACTS:
            await self._writer.call(partial(purge, before=FOREVER, limit=chunk.size), rows=chunk.size)
        await self._in_chunks(partial(purge, before=before), chunk)

    async def _purge_lanes(self) -> None:
        """Lanes go when their contact has no entry here and no known address: they name a person, too."""
        now, after, in_use, chunk = self._clock.now(), 0, purging.LanesInUse(), Chunk(CHUNK)
        while idle := await self._rows("idle_lanes", after=after, now=now, limit=SPAN):
            after = idle[-1][0]
            for some in chunk.pieces(idle):
                await self._see_lanes(in_use)
                wholes = [(lane, *msgspec.json.decode(joined)) for lane, joined in some]
                lanes = [lane for whole in wholes if not any(one in in_use for one in whole) for lane in whole]
                if lanes:
                    purge = partial(purging.purge_lanes, lanes=lanes, seen=in_use.seen)
                    await self._writer.call(purge, rows=2 * len(lanes))
                    chunk.took(self._writer.held, len(some))

    async def _see_lanes(self, in_use: purging.LanesInUse) -> None:
        """What was written since the last look."""
        last = (await self._rows("last_id"))[0][0]
        while in_use.seen < last:
            until = min(in_use.seen + SPAN, last)
            rows = await self._rows("lanes_in_use", after=in_use.seen, until=until)
            in_use.add((row[0] for row in rows), until)
