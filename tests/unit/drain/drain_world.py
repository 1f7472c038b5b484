"""The real outbox and the real drainer, with time and Engage in a test's hands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fakes import FakeClock, InlineConnection, ScriptedCarrier, rest

from voyado_async.delivery import Draft, FileFamily, Kind, Message, RetryAt
from voyado_async.drain.beside import SecondRoad
from voyado_async.drain.drainer import Drainer, DrainSettings
from voyado_async.drain.policy import Schedule
from voyado_async.events import AttemptMade, Event, Settled
from voyado_async.outbox.records import Attempt, EntryRecord, FileRecord, Settlement
from voyado_async.outbox.sqlite import SqliteOutbox, open_outbox
from voyado_async.outbox.states import State

SCHEDULE = Schedule((10_000, 30_000, 60_000, 300_000), 8)
UNWELL = RetryAt("http_503", 503, unknown=True)
"""What may have taken effect."""
REFUSED = RetryAt("refused")
"""Known as not done, and a sign of Engage being unwell."""
ANNA, BO, CIA = "contact:anna", "contact:bo", "contact:cia"


class World:
    """One outbox, at most one drainer of ours, and what was told."""

    def __init__(self, path: Path, made: list[InlineConnection]) -> None:
        self.path = path
        self.clock = FakeClock()
        self.carrier = ScriptedCarrier(self.clock)
        self.events: list[Event] = []
        self._connections = made
        self.outbox: SqliteOutbox
        self.drainer: Drainer
        self.task: asyncio.Task[None] | None = None
        self.claims = 0
        self.next_id = 1

    async def open(self) -> SqliteOutbox:
        outbox = await open_outbox(self.path / "outbox.db", base_url="https://engage.test", clock=self.clock)
        claim = outbox.claim

        async def counted(limit: int, now: int, skip_lanes: frozenset[int]) -> list[Message]:
            self.claims += 1
            return await claim(limit, now, skip_lanes)

        outbox.claim = counted  # type: ignore[method-assign]  # only counts
        return outbox

    def make(
        self,
        *,
        schedule: Schedule = SCHEDULE,
        rate: float = 40.0,
        concurrency: int = 10,
        breaker_failures: int = 5,
        confirm: bool = True,
        told_for: float = 0.0,
        second_road: SecondRoad | None = None,
        spread: Callable[[], float] = lambda: 0.0,
        outbox: SqliteOutbox | None = None,
    ) -> Drainer:
        return Drainer(
            outbox or self.outbox,
            self.carrier,
            DrainSettings(schedule, rate, concurrency, breaker_failures, confirm, told_for),
            self.clock,
            second_road=second_road,
            emit=self.events.append,
            spread=spread,
        )

    async def start(self, **settings: Any) -> None:
        self.drainer = self.make(**settings)
        self.task = asyncio.create_task(self.drainer.run())
        await rest()

    async def stop(self) -> None:
        """Ask it to end, and give it the time that it needs."""
        if self.task is None:
            return
        task, self.task = self.task, None
        self.drainer.stop()
        await self.clock.until(task.done, within=30)
        task.result()

    async def put(self, *lanes: str, kind: Kind = Kind.RECEIPT, body: bytes = b"{}") -> list[int]:
        """One entry for each of the lanes, in one commit."""
        stored = await self.outbox.enqueue([Draft(kind, body, lane) for lane in lanes])
        await rest()
        self.next_id = max(self.next_id, *(each.id + 1 for each in stored))
        return [each.id for each in stored]

    async def put_one(self, lane: str = ANNA, kind: Kind = Kind.RECEIPT, body: bytes = b"{}") -> int:
        return (await self.put(lane, kind=kind, body=body))[0]

    async def get(self, entry: int) -> EntryRecord:
        return await self.outbox.get(entry)

    async def state(self, entry: int) -> State:
        return (await self.get(entry)).state

    async def states(self, *entries: int) -> list[State]:
        return [await self.state(entry) for entry in entries]

    async def import_by_file(self, *entries: int) -> None:
        """Entries leave by file and Engage takes the file; to be called while nothing drains them."""
        now = self.clock.now()
        for entry in entries:
            attempt = Attempt(now, "skipped", "exhausted", code="BreakerOpen")
            away = Settlement(entry, State.PENDING, State.EXHAUSTED, attempt=attempt, outage=True)
            assert await self.outbox.settle(away)
        name = await self.outbox.next_file_name(now, FileFamily.CONTACTS)
        record = FileRecord(0, name, FileFamily.CONTACTS, "Member", "contactId", "spooled", len(entries), 1, 1, now)
        assert await self.outbox.spool_file(record, entries) == list(entries)
        (file,) = [one for one in await self.outbox.files(open_only=True) if one.name == name]
        for state, moved_to in (("uploading", State.UPLOADED), ("uploaded", None), ("imported", State.IMPORTED)):
            await self.outbox.update_file(file.id, state=state, now=now, entries_to=moved_to)

    def fill_disk(self, *, full: bool = True) -> None:
        for connection in self._connections:
            connection.refuse_writes(full)

    def settled(self, state: State | None = None) -> list[int]:
        """Entries that were told to be done with, in that order."""
        return [e.entry_id for e in self.events if isinstance(e, Settled) and state in (None, e.state)]

    def attempts(self, entry: int) -> list[str]:
        """What became of its attempts."""
        return [e.outcome for e in self.events if isinstance(e, AttemptMade) and e.entry_id == entry]

    def told(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def elapsed(self) -> float:
        """Seconds since the beginning of the test."""
        return self.clock.monotonic() - 1000.0

    async def break_down(self, lanes: int = 5) -> list[int]:
        """Engage goes down and the breaker opens: one entry each of so many lanes has failed once."""
        self.carrier.sends = REFUSED
        self.carrier.probes = REFUSED
        entries = await self.put(*(f"contact:down{n}" for n in range(lanes)))
        await self.clock.advance(0.5)
        record = await self.outbox.breaker()
        assert record is not None
        assert record.state == "open"
        return entries
