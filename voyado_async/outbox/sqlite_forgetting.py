"""One contact's data leaves the outbox in SQLite: what there is of it, and its removal, some at a time."""

from __future__ import annotations

import sqlite3
from functools import partial

from voyado_async.outbox import forgetting, looking, moves
from voyado_async.outbox.chunks import Chunk
from voyado_async.outbox.moves import CONTACT, SQL, as_json
from voyado_async.outbox.operator_store import Held, LocalFile
from voyado_async.outbox.sqlite_file import SqliteFile
from voyado_async.outbox.states import State
from voyado_async.outbox.writer import Scrubbed

FORGET = 50
"""Entries that one transaction removes at most: those of one contact lie far apart, each on pages of its own."""


class ForgettingPart(SqliteFile):
    """See `operator_store.OperatorOutbox` for the promises."""

    async def held(self, lane: str, contact_id: str | None) -> Held:
        named = contact_id or (lane.removeprefix(CONTACT) if lane.startswith(CONTACT) else None)
        known_as = self.seal.lane(lane)

        def look(c: sqlite3.Connection) -> Held:
            who = {"lane": known_as, "contact": named}
            known = c.execute(SQL["addresses_of"], who).fetchall()
            lanes = looking.lanes_of(c, known_as, named)
            states: dict[State, int] = {}
            files: set[LocalFile] = set()
            for one in sorted(lanes):
                for state, count in c.execute(SQL["states_in_lane"], {"lane": one}).fetchall():
                    states[State(state)] = states.get(State(state), 0) + count
                files |= {LocalFile(*row) for row in c.execute(SQL["files_of_lane"], {"lane": one}).fetchall()}
            return Held(
                lanes=tuple(sorted(lanes)),
                states=states,
                files=tuple(sorted(files, key=lambda file: file.id)),
                addresses=tuple(sorted(row[0] for row in known)),
                ids=tuple(sorted({str(row[1]) for row in known} | ({named} if named else set()))),
            )

        return await self._read(look)

    async def forget(self, held: Held, action: int) -> int:
        forgotten, chunk, now = 0, Chunk(FORGET), self._clock.now()
        for query in ("forgettable_settled", "forgettable_waiting", "forgettable_away"):
            for lane in held.lanes:
                step = partial(forgetting.forget, query=query, lane=lane, action=action, now=now)
                forgotten += await self._in_chunks(step, chunk)
        await self._writer.call(partial(forgetting.forget_names, held=held))
        for contact_id in held.ids:
            await self._forget_in_reasons(contact_id)
        return forgotten

    async def _forget_in_reasons(self, contact_id: str) -> None:
        """Entries that name somebody else by an attribute that the contact has as well: it stands in their reason."""
        rows = await self._rows("reasons_that_name", contact=contact_id)
        reasons = [(entry, reason, forgetting.without_name(reason, contact_id)) for entry, reason in rows]
        for start in range(0, len(reasons), FORGET):
            some = reasons[start : start + FORGET]
            values = {"reasons": as_json(some)}
            step = partial(moves.run, query="forget_in_reasons", values=values)
            await self._writer.call(step, rows=len(some))

    async def scrub(self) -> Scrubbed:
        return await self._writer.scrub()
