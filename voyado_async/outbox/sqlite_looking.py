"""Reads of entries, of the books and of the whole outbox in SQLite. Nothing here writes to it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from voyado_async.delivery import Kind
from voyado_async.errors import EntryNotFound, OutboxDamaged
from voyado_async.outbox import choosing, looking
from voyado_async.outbox.backup import copy
from voyado_async.outbox.glance import in_snapshot
from voyado_async.outbox.moves import as_json
from voyado_async.outbox.overview import Overview
from voyado_async.outbox.records import Attempt, Counts, EntryFilter, EntryRecord, Finding
from voyado_async.outbox.sqlite_file import SqliteFile
from voyado_async.outbox.states import State
from voyado_async.outbox.verify import verify


class LookingPart(SqliteFile):
    """See `store.Outbox` and, of `backup`, `operator_store.OperatorOutbox` for the promises."""

    async def get(self, entry_id: int) -> EntryRecord:
        rows = await self._rows("records", ids=as_json([entry_id]))
        if not rows:
            raise EntryNotFound(f"there is no entry {entry_id} in {self.path}")
        return choosing.record(rows[0])

    async def entries(self, which: EntryFilter) -> list[EntryRecord]:
        look = partial(choosing.entries, which=choosing.as_known(which, self.seal))
        return await self._read(partial(in_snapshot, look=look))

    async def rejected(self, limit: int) -> list[EntryRecord]:
        return await self.entries(EntryFilter(states=(State.REJECTED,), limit=limit))

    async def attempts(self, entry_id: int) -> list[Attempt]:
        rows = await self._rows("attempts", id=entry_id)
        return [looking.struct_of(Attempt, row) for row in rows]

    async def body(self, entry_id: int) -> bytes:
        rows = await self._rows("body", id=entry_id)
        if not rows:
            raise EntryNotFound(f"there is no entry {entry_id} in {self.path}")
        content = self.seal.content(entry_id, rows[0][0])
        if not content:
            raise OutboxDamaged(f"the content of entry {entry_id} is damaged. Run `voyado-async verify`")
        return content

    async def states_of(self, entry_ids: Iterable[int]) -> dict[int, tuple[State, str | None]]:
        rows = await self._rows("states_of", ids=as_json(list(entry_ids)))
        return {entry: (State(state), reason) for entry, state, reason in rows}

    async def counts(self) -> Counts:
        return await self._read(partial(in_snapshot, look=looking.counts))

    async def overview(self, now: int, spans: int) -> Overview:
        return await self._read(partial(in_snapshot, look=partial(looking.overview, now=now, spans=spans)))

    async def pending_redeems(self, ids: Sequence[str], as_of: int, kind: Kind = Kind.REDEEM) -> set[str]:
        # The natural key of a redemption is the id of what it redeems in lower case.
        by_key = {each.lower(): each for each in ids}
        rows = await self._rows("pending_redeems", ids=as_json(list(by_key)), as_of=as_of, kind=kind.value)
        return {by_key[row[0]] for row in rows}

    async def due_since(self) -> int | None:
        return await self._read(lambda c: looking.earliest(c, "due_since"))

    async def base_url(self) -> str | None:
        return await self._fact_text("base_url")

    async def verify(self) -> list[Finding]:
        return await self._read(partial(verify, seal=self.seal))

    async def data_version(self) -> int:
        return int((await self._read(lambda c: c.execute("PRAGMA data_version").fetchone()))[0])

    async def backup(self, target: Path) -> None:
        await asyncio.to_thread(copy, self.path, target)
