"""What the outbox in SQLite knows beside its entries: of contacts, of Engage's health, of who drains."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import TypeVar

import msgspec

from voyado_async.outbox import moves
from voyado_async.outbox.chunks import CHUNK
from voyado_async.outbox.moves import CONTACT, SQL, as_json, contact_lane
from voyado_async.outbox.records import Asked, BreakerRecord, DrainerRecord, Learned, Mark, Told
from voyado_async.outbox.sqlite_file import SqliteFile

T = TypeVar("T")

KNOWN_FOR = 86_400_000
"""An address that is found again is written down again after so long (ms): once a day, not at each read."""


class FactsPart(SqliteFile):
    """See `store.Outbox` for the promises."""

    async def contact_id(self, address: str) -> str | None:
        rows = await self._rows("contact_id", address=self.seal.lane(address))
        return rows[0][0] if rows else None

    async def told(self, address: str) -> Told | None:
        rows = await self._rows("told_contact", address=self.seal.lane(address))
        return Told(rows[0][0], Asked(*rows[0][1:])) if rows else None

    async def contact_type(self, contact_id: str) -> str | None:
        rows = await self._rows("contact_type", address=contact_lane(contact_id))
        return rows[0][0] if rows else None

    async def remember_contacts(self, known: Sequence[Learned]) -> None:
        now = self._clock.now()
        for start in range(0, len(known), CHUNK):
            some = known[start : start + CHUNK]
            pairs = as_json([(self.seal.lane(address), *told) for address, *told in some])
            news = await self._rows("news_of_contacts", pairs=pairs, now=now, since=now - KNOWN_FOR)
            if news:
                values = {"pairs": as_json(news), "now": now}
                await self._writer.call(partial(moves.run, query="remember_contacts", values=values), rows=len(news))

    async def unlearn_address(self, address: str) -> None:
        if await self.contact_id(address) is not None:
            values = {"address": self.seal.lane(address)}
            await self._writer.call(partial(moves.run, query="unlearn_address", values=values))

    async def mark(self, lane: str) -> Mark:
        contact = lane.removeprefix(CONTACT) if lane.startswith(CONTACT) else None
        rows = await self._rows("mark", lane=self.seal.lane(lane), contact=contact)
        return Mark(*rows[0])

    async def touch(self, lane: str) -> None:
        known_as = self.seal.lane(lane)
        await self._writer.call(lambda c: moves.touch(c, known_as))

    async def forget_ids(self, contact_id: str) -> int:
        def forget(database: sqlite3.Connection) -> int:
            database.execute(SQL["forget_ids"], {"id": contact_id})
            return int(database.execute(SQL["count_forget"]).fetchall()[0][0])

        return await self._writer.call(forget)

    async def breaker(self) -> BreakerRecord | None:
        return await self._fact("breaker", BreakerRecord)

    async def set_breaker(self, record: BreakerRecord) -> None:
        await self._set_fact("breaker", record)

    async def drainer(self) -> DrainerRecord | None:
        return await self._fact("drainer", DrainerRecord)

    async def set_drainer(self, record: DrainerRecord | None) -> None:
        await self._set_fact("drainer", record)

    async def _fact(self, name: str, kind: type[T]) -> T | None:
        text = await self._fact_text(name)
        return None if text is None else msgspec.json.decode(text, type=kind)

    async def _set_fact(self, name: str, value: object | None) -> None:
        if value is None:
            await self._writer.call(lambda c: c.execute(SQL["drop_fact"], {"name": name}).fetchall())
        else:
            values = {"name": name, "value": as_json(value)}
            await self._writer.call(lambda c: c.execute(SQL["set_fact"], values).fetchall())
