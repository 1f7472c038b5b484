"""The outbox as an operator sees it: where every entry is, and why."""

from __future__ import annotations

import msgspec

from voyado_async.clock import Clock
from voyado_async.outbox.lock import is_drained
from voyado_async.outbox.store import Attempt, EntryFilter, EntryRecord, FileRecord, Finding, Outbox

STALLED = 60_000
"""Work is due and nothing moved for so long (ms): somebody has to look (DESIGN 3, "One drainer per outbox")."""


class DrainerStatus(msgspec.Struct, frozen=True):
    """Who drains. `stalled`: somebody does, work is due, and nothing has moved for a minute."""

    running: bool
    pid: int | None
    stalled: bool
    problem: str | None


class Accounting(msgspec.Struct, frozen=True):
    """The books: `enqueued` is the sum over all states and what was purged or forgotten, or `balanced` is false."""

    enqueued: int
    purged: int
    forgotten: int
    balanced: bool


class Status(msgspec.Struct, frozen=True):
    """What `voyado-async status --json` prints. Fields stay; new ones may come."""

    outbox: str
    base_url: str | None
    states: dict[str, int]
    kinds: dict[str, dict[str, int]]
    oldest_pending_seconds: float | None
    breaker: str
    halted: str | None
    drainer: DrainerStatus
    files: dict[str, int]
    accounting: Accounting
    needs_person: tuple[str, ...]
    """Why somebody has to look; empty where nobody has to."""


class OutboxView:
    """`voyado.outbox`"""

    def __init__(self, outbox: Outbox, clock: Clock) -> None:
        self._outbox = outbox
        self._clock = clock

    async def status(self) -> Status:
        """Counts, age of the oldest entry that waits, breaker, drainer, files and accounting."""
        now = self._clock.now()
        counts = await self._outbox.counts()
        breaker = await self._outbox.breaker()
        record = await self._outbox.drainer()
        running = is_drained(f"{self._outbox.path}-drain")
        due_since = await self._outbox.due_since()
        waiting = due_since is not None and now - due_since >= STALLED
        stalled = running and waiting and record is not None and now - record.progress >= STALLED
        files: dict[str, int] = {}
        problems = []
        for file in await self._outbox.files(open_only=False):
            files[file.state] = files.get(file.state, 0) + 1
            if file.state in ("spooled", "uploading", "uploaded") and file.problem not in (None, "incomplete"):
                problems.append(f"file {file.name}: {file.problem}")
        if counts.states["rejected"]:
            problems.insert(0, f"{counts.states['rejected']} rejected")
        if waiting and not running:
            problems.append("work is due and nobody drains")
        if stalled:
            problems.append("the drainer is stalled")
        if breaker is not None and breaker.halted:
            problems.append(f"the API key is refused ({breaker.halted})")
        if not counts.balanced:
            problems.append("the accounting does not close")
        return Status(
            outbox=self._outbox.path,
            base_url=await self._outbox.base_url(),
            states=counts.states,
            kinds=counts.kinds,
            oldest_pending_seconds=None if counts.oldest_pending is None else (now - counts.oldest_pending) / 1000,
            breaker="closed" if breaker is None else breaker.state,
            halted=None if breaker is None else breaker.halted,
            drainer=DrainerStatus(
                running, record.pid if running and record else None, stalled, record.problem if record else None
            ),
            files=files,
            accounting=Accounting(counts.enqueued, counts.purged, counts.forgotten, counts.balanced),
            needs_person=tuple(problems),
        )

    async def entries(self, which: EntryFilter | None = None) -> list[EntryRecord]:
        """Entries, newest first, without their content."""
        return await self._outbox.entries(which or EntryFilter())

    async def get(self, entry_id: int) -> EntryRecord:
        """One entry. Raises EntryNotFound."""
        return await self._outbox.get(entry_id)

    async def attempts(self, entry_id: int) -> list[Attempt]:
        """The record of an entry, oldest first."""
        return await self._outbox.attempts(entry_id)

    async def body(self, entry_id: int) -> bytes:
        """The content of an entry: a person's data."""
        return await self._outbox.body(entry_id)

    async def verify(self) -> list[Finding]:
        """Integrity, references, accounting, contents and lanes, in one snapshot. Whether the fallback files are on the
        disk is not looked at: `voyado-async verify` does."""
        return await self._outbox.verify()

    async def files(self) -> list[FileRecord]:
        """The fallback files, oldest first."""
        return await self._outbox.files(open_only=False)
