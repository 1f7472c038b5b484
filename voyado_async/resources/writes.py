"""From a checked write to its entry in the outbox, and what a shop may do with the entry afterwards."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import NoReturn

import msgspec

from voyado_async.clock import Clock
from voyado_async.delivery import Draft, Kind
from voyado_async.errors import ClientClosed, InvalidEntry, OutboxUnavailable, TransitionRefused
from voyado_async.events import Enqueued, Event
from voyado_async.models.text import NOT_IN_XML, plain_text
from voyado_async.outbox.moves import CONTACT
from voyado_async.outbox.records import Stored
from voyado_async.outbox.states import SETTLED, State
from voyado_async.outbox.store import Outbox
from voyado_async.outbox.writer import MAX_BYTES, MOST_TOGETHER

LOOK_EVERY = 0.02
"""Seconds between two looks at the database while somebody waits for an entry that another process may settle."""


class Outcome(msgspec.Struct, frozen=True):
    """What became of an entry."""

    state: State
    """`delivered`, `rejected` or `discarded`."""
    reason: str | None = None
    """The code, where it was not delivered."""
    contact_id: str | None = None
    """The contact's id, where it is known by now: after a creation the id that Engage gave."""

    @property
    def delivered(self) -> bool:
        return self.state is State.DELIVERED


class OutboxEntry:
    """One durable write. Inside `batch()` it has its id only after the batch is committed."""

    __slots__ = ("__weakref__", "_state", "_stored", "_writes", "kind", "warnings")

    def __init__(self, writes: Writes, draft: Draft) -> None:
        self._writes = writes
        self._stored: Stored | None = None
        self._state: State | None = None
        self.kind: Kind = draft.kind
        self.warnings: tuple[str, ...] = draft.warnings
        """What looks odd about the content without being refused (ref 5.3)."""

    def __repr__(self) -> str:
        return f"<OutboxEntry {self._stored.id if self._stored else 'not committed'} {self.kind}>"

    def _committed(self) -> Stored:
        if self._stored is None:
            raise TransitionRefused(f"this {self.kind} stands in a batch that is not committed yet")
        return self._stored

    @property
    def id(self) -> int:
        return self._committed().id

    @property
    def state(self) -> State:
        """Its state as last known here: when it was written, waited for or cancelled. For the present one ask
        `voyado.outbox.get(id)`."""
        return self._state or self._committed().state

    @property
    def existing(self) -> State | None:
        """The state of the entry that was there already under the same key, with the same content; else None."""
        return self._committed().existing

    async def wait(self, timeout: float | None = None) -> Outcome:
        """Until it is delivered, rejected or discarded. Raises TimeoutError after `timeout` seconds (0: it looks once):
        the entry goes on in the background. Works in a process that does not drain as well."""
        outcome = await self._writes.wait(self.id, timeout)
        self._state = outcome.state
        return outcome

    async def cancel(self) -> None:
        """Drop it while it is pending. Raises TransitionRefused where it is sent already, or settled."""
        await self._writes.cancel(self.id)
        self._state = State.DISCARDED


class Batch:
    """Writes that become one commit. A task that was started inside inherits it, and may outlive it."""

    def __init__(self) -> None:
        self.open = True
        self.drafts: list[Draft] = []
        self.entries: list[OutboxEntry] = []
        self._size = 0

    def add(self, draft: Draft, entry: OutboxEntry) -> None:
        """One more write. Raises InvalidEntry where one commit would be too large: while it is written, every other
        writer waits (DESIGN 3, "Fair writers"), and what is all or nothing cannot be cut."""
        size = self._size + len(draft.body)
        if self.drafts and (len(self.drafts) == MOST_TOGETHER or size > MAX_BYTES):
            raise InvalidEntry(
                "batch",
                f"one commit takes at most {MOST_TOGETHER} writes and {MAX_BYTES // 1_000_000} MB of content; it has "
                f"{len(self.drafts)} and {self._size} bytes. End the block and begin another one",
            )
        self._size = size
        self.drafts.append(draft)
        self.entries.append(entry)


class Writes:
    """Stores drafts, and tells when their entries are settled."""

    def __init__(self, outbox: Outbox, clock: Clock, emit: Callable[[Event], None]) -> None:
        self._outbox = outbox
        self._clock = clock
        self._emit = emit
        self._batch: ContextVar[Batch | None] = ContextVar("voyado_batch", default=None)
        self._waiting: dict[int, set[asyncio.Future[None]]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._closed = False
        outbox.on_settled(self._settled)

    async def put(self, draft: Draft) -> OutboxEntry:
        """Store it, or add it to the batch around this call."""
        draft = _with_plain_key(draft)
        entry = OutboxEntry(self, draft)
        batch = self._open_batch()
        if batch is not None:
            batch.add(draft, entry)
        else:
            (stored,) = await self._outbox.enqueue((draft,))
            self._keep(entry, stored)
        return entry

    def _open_batch(self) -> Batch | None:
        batch = self._batch.get()
        return batch if batch is not None and batch.open else None

    @contextlib.asynccontextmanager
    async def batch(self) -> AsyncIterator[None]:
        """The writes inside become one commit, all or nothing. Where the block raises, none is stored.

        At most 1000 writes with 4 MB of content together: the one that is too many raises InvalidEntry.
        What a task that was started inside writes after the block has ended is a write of its own.
        """
        if self._open_batch() is not None:
            raise TransitionRefused("a batch cannot stand in a batch")
        batch = Batch()
        token = self._batch.set(batch)
        try:
            yield
        finally:
            batch.open = False  # what came later would be in no commit
            self._batch.reset(token)
        if batch.drafts:
            for entry, stored in zip(batch.entries, await self._outbox.enqueue(batch.drafts), strict=True):
                self._keep(entry, stored)

    def _keep(self, entry: OutboxEntry, stored: Stored) -> None:
        entry._stored = stored
        self._emit(Enqueued(entry_id=stored.id, kind=entry.kind, existing=stored.existing))

    async def cancel(self, entry_id: int) -> None:
        if not await self._outbox.cancel(entry_id, "Cancelled"):
            await self._refuse_cancel(entry_id)

    async def _refuse_cancel(self, entry_id: int) -> NoReturn:
        state = (await self._outbox.get(entry_id)).state
        raise TransitionRefused(f"entry {entry_id} is {state} and cannot be cancelled; only a pending one can")

    # waiting ---------------------------------------------------------------------------------------------------------

    async def wait(self, entry_id: int, timeout: float | None) -> Outcome:
        if self._closed:
            raise ClientClosed("the client is closed; the entry goes on in whichever process drains")
        if timeout is not None and timeout <= 0:  # asyncio would not even let it look
            outcome = await self._look(entry_id)
            if outcome is None:
                raise TimeoutError
            return outcome
        async with asyncio.timeout(timeout):
            while True:
                done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiting.setdefault(entry_id, set()).add(done)
                try:
                    outcome = await self._look(entry_id)
                    if outcome is not None:
                        return outcome
                    self._keep_looking()
                    await done
                finally:
                    self._wait_no_longer(entry_id, done)

    def _wait_no_longer(self, entry_id: int, done: asyncio.Future[None]) -> None:
        if not done.cancel() and not done.cancelled():
            done.exception()  # where it was told something that it needs no more, that is no unheard error
        waiters = self._waiting[entry_id]
        waiters.discard(done)
        if not waiters:
            del self._waiting[entry_id]

    async def _look(self, entry_id: int) -> Outcome | None:
        record = await self._outbox.get(entry_id)
        if record.state not in SETTLED:
            return None
        contact_id = (
            record.lane.removeprefix(CONTACT)
            if record.lane.startswith(CONTACT)
            else await self._outbox.contact_id(record.lane)
        )
        return Outcome(record.state, record.reason, contact_id)

    def _settled(self, entry_id: int, *_: object) -> None:
        for done in self._waiting.get(entry_id, ()):
            if not done.done():
                done.set_result(None)

    def _keep_looking(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_for_others(), name="voyado-wait")
            self._looking.add_done_callback(self._looked)

    async def _look_for_others(self) -> None:
        """Another process may settle what is waited for here: look whenever the database has changed."""
        seen = None
        while self._waiting:
            with contextlib.suppress(OutboxUnavailable):  # looked at again in a moment
                version = await self._outbox.data_version()
                if version != seen:
                    for entry_id, (state, _) in (await self._outbox.states_of(self._waiting)).items():
                        if state in SETTLED:
                            self._settled(entry_id)
                    seen = version
            await self._clock.sleep(LOOK_EVERY)

    def _looked(self, task: asyncio.Task[None]) -> None:
        """Where nobody can look any more, whoever waits is told why, instead of waiting for ever."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._tell_waiting(error)

    def _tell_waiting(self, error: BaseException) -> None:
        for waiters in self._waiting.values():
            for done in waiters:
                if not done.done():
                    done.set_exception(error)

    async def close(self) -> None:
        """Whoever still waits is told that the client is closed."""
        self._closed = True
        self._tell_waiting(ClientClosed("the client was closed while waiting; the entry goes on"))
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)


def _with_plain_key(draft: Draft) -> Draft:
    """A key of the shop's own is text that every table and statement takes as it is. Raises InvalidEntry."""
    key = draft.key
    if key is None or key is draft.natural_key:
        return draft
    if not isinstance(key, str) or not key.strip() or NOT_IN_XML.search(key):
        raise InvalidEntry("key", "expected text that is not empty, without control characters")
    return draft if type(key) is str else msgspec.structs.replace(draft, key=plain_text(key))
