"""The outbox as an operator sees it: where every entry is, and why."""

from __future__ import annotations

from typing import Unpack

from voyado_async.clock import Clock
from voyado_async.outbox.lock import drainer_pid
from voyado_async.outbox.overview import Overview
from voyado_async.outbox.records import Attempt, EntryFilter, EntryRecord, FileRecord, Finding
from voyado_async.outbox.store import Outbox
from voyado_async.resources.advice import Plan
from voyado_async.resources.filters import Filters, filter_of
from voyado_async.resources.status import HOUR_OF_SPANS, Status, status_of


class OutboxView:
    """`voyado.outbox`"""

    def __init__(self, outbox: Outbox, clock: Clock, plan: Plan | None = None) -> None:
        self._outbox = outbox
        self._clock = clock
        self._plan = plan or Plan()

    async def status(self) -> Status:
        """What waits, since when, why and what happens next; the last hour; what needs a person. Its cost does not grow
        with the outbox."""
        found = await self._outbox.overview(self._clock.now(), HOUR_OF_SPANS)
        return self.status_of(found)

    def status_of(self, found: Overview) -> Status:
        """The same out of a snapshot that was just taken."""
        pid = drainer_pid(f"{self._outbox.path}-drain")
        return status_of(found, outbox=self._outbox.path, now=self._clock.now(), pid=pid, plan=self._plan)

    async def entries(self, which: EntryFilter | None = None, **filters: Unpack[Filters]) -> list[EntryRecord]:
        """Entries, newest first, without their content: all, or those that fit the filters, as in
        ``entries(state="rejected", limit=20)``. Raises InvalidEntry for a state or kind that there is not."""
        return await self._outbox.entries(filter_of(which, filters))

    async def get(self, entry_id: int) -> EntryRecord:
        """One entry. Raises EntryNotFound."""
        return await self._outbox.get(entry_id)

    async def attempts(self, entry_id: int) -> list[Attempt]:
        """The record of an entry, oldest first; empty where there is no such entry. Raises OutboxUnavailable."""
        return await self._outbox.attempts(entry_id)

    async def body(self, entry_id: int) -> bytes:
        """The content of an entry, as JSON: a person's data. Raises EntryNotFound."""
        return await self._outbox.body(entry_id)

    async def verify(self) -> list[Finding]:
        """Integrity, references, accounting, contents and lanes, in one snapshot. Whether the fallback files are on the
        disk is not looked at: `voyado-async verify` does."""
        return await self._outbox.verify()

    async def files(self) -> list[FileRecord]:
        """The fallback files, oldest first."""
        return await self._outbox.files(open_only=False)
