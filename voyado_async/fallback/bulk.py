"""Contact writes in bulk requests, when the API is back (`VOYADO_FALLBACK_CONTACTS=bulk`, ref 4.9, DESIGN 3).

exhausted -> uploaded, committed before the request goes out, -> imported when it has ended, whatever it came to: the
confirmation reads each contact back and sends what is missing, so nothing has to be repeated. The request may wait long
for its turn: what was replayed, discarded, joined or overtaken since it was read stays behind.

When it is confirmed:

    taken, or unknown       One import period later, an hour at most. Engage works a queue off in its own time, and
                            nothing that we may trust says when (the status call is UNDOC). Sooner it would prove
                            nothing: an equal value may have stood there already, and a newer one, sent then, would be
                            overwritten when the batch lands. Until that the contact's later changes wait.
    known as not taken      At once: one bad contact must not take 4000 down, each is sent by itself.

After a crash in between, what is uploaded and stands in no file is unknown. A contact stands in one request at most
until that is confirmed. Each request waits for its turn among those of the drainer: one key, one rate (ref 1.4).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from itertools import islice

from voyado_async.delivery import (
    BulkCarrier,
    BulkTaken,
    BulkTurn,
    FileForm,
    HandBack,
    Kind,
    Message,
    NoFileForm,
    Outcome,
    Rejected,
    RetryAt,
    SlowDown,
)
from voyado_async.errors import InvalidEntry
from voyado_async.fallback import plans
from voyado_async.fallback.batch import Batch, ChangeOrder, PlannedFile, Record, contact_fields
from voyado_async.fallback.overtaking import discards, left_of, pages
from voyado_async.fallback.report import Notes
from voyado_async.models.decode import plain
from voyado_async.models.payload import to_json
from voyado_async.outbox.records import AsRead, Attempt, Settlement
from voyado_async.outbox.states import State
from voyado_async.outbox.store import Outbox
from voyado_async.settings import Settings

AT_MOST = 4000
"""Contacts of one request (ref 4.9)."""

LONGEST_WAIT = 3_600_000
"""Contacts are read back after so long (ms) at the latest, however rare the imports of files: longer than any queue
that we know of (ref 5.1: minutes), and short enough not to be taken for a clock that was set back."""

CHUNK = 200
"""Entries that one commit moves (DESIGN 3, "Fair writers")."""


class BulkRoad:
    """Sends what is exhausted and has a form in a bulk request; `form` says which, and how."""

    def __init__(
        self,
        store: Outbox,
        settings: Settings,
        form: Callable[[Message], FileForm | NoFileForm],
        carrier: BulkCarrier,
    ) -> None:
        self._store = store
        self._settings = settings
        self._form = form
        self._carrier = carrier
        self._wait = min(plans.milliseconds(settings.import_period), LONGEST_WAIT)
        self._failures = 0
        self._next_try = 0

    def forget_times(self) -> None:
        """The clock was set back."""
        self._next_try = 0

    async def step(self, now: int, turn: BulkTurn, notes: Notes) -> None:
        """The API is back: send. What does not go now is left exhausted."""
        if self._settings.fallback_contacts != "bulk" or now < self._next_try:
            return
        on_the_road = set(await self._store.lanes_on_the_road())
        order = ChangeOrder()
        as_read: dict[int, AsRead] = {}
        kinds: dict[int, Kind] = {}
        batches = {kind: Batch(AT_MOST, max_entries=sys.maxsize) for kind in (Kind.CONTACT_CREATE, Kind.CONTACT_UPDATE)}
        async for message, stood in self._leaving(now):
            form = self._form_of(message)
            if not order.may_leave(message, form) or not isinstance(form, FileForm) or message.lane in on_the_road:
                continue
            if order.before(message, form) is not None or kinds.setdefault(message.lane, message.kind) != message.kind:
                on_the_road.add(message.lane)  # something older stands in another request, which may go after this one
                continue
            order.stands(message, form)
            as_read[message.id] = stood
            full = batches[message.kind].add(message.id, form)
            if full is None:
                continue
            going = {entry: as_read.pop(entry) for entry in full.entry_ids}
            on_the_road.update(stood.lane for stood in going.values())
            if not await self._send(message.kind, full, going, now, turn, notes):
                return
        for kind, batch in batches.items():
            for planned in batch.rest():
                going = {entry: as_read.pop(entry) for entry in planned.entry_ids}
                if not await self._send(kind, planned, going, now, turn, notes):
                    return

    async def _leaving(self, now: int) -> AsyncIterator[tuple[Message, AsRead]]:
        """What is exhausted, without what newer changes have set, and how it stood when it was read."""
        async for page in pages(self._store.exhausted()):
            left = await left_of(self._store, page)
            settlements = discards(left.superseded, now, what="bulk")
            await asyncio.gather(*(self._store.settle(settlement) for settlement in settlements))
            for message in left.messages:
                yield message, left.as_read[message.id]

    def _form_of(self, message: Message) -> FileForm | NoFileForm:
        try:
            return self._form(message)
        except InvalidEntry as error:
            return NoFileForm(error.reason)

    async def _send(
        self, kind: Kind, planned: PlannedFile, as_read: Mapping[int, AsRead], now: int, turn: BulkTurn, notes: Notes
    ) -> bool:
        """One request, when its turn has come, of what then still stands as it was read. False where the next one would
        meet the same."""
        try:
            async with turn:
                begun = await self._store.begin_bulk(as_read, Attempt(now, "bulk", State.UPLOADED))
                contacts = [
                    fields for record in planned.records() if (fields := _without_others(record, begun)) is not None
                ]
                if not contacts:
                    return True
                outcome = await self._carrier.send_bulk(kind, planned.head.contact_type, to_json(contacts))
        except HandBack:
            return False
        turn.answered(outcome)
        due = due_after(outcome, now, self._wait)
        await self._end(begun, _line(outcome, now), due)
        notes.in_bulk += len(begun)
        if isinstance(outcome, BulkTaken | Rejected):
            self._failures = 0
            return True
        self._failures += 1
        self._next_try = plans.next_try(self._failures, self._settings.retry_delays, now)
        return False

    async def _end(self, ids: Iterable[int], line: Attempt, due: int) -> None:
        """The request has ended, whatever it came to: it is confirmed when that is due. Some at a time."""
        left = iter(ids)
        while chunk := list(islice(left, CHUNK)):
            settlements = [
                Settlement(entry, State.UPLOADED, State.IMPORTED, attempt=line, due=due, unknown=True)
                for entry in chunk
            ]
            await asyncio.gather(*(self._store.settle(settlement) for settlement in settlements))

    async def repair(self, now: int) -> None:
        """A process died during a request: its outcome is unknown."""
        left = await self._store.left_in_bulk()
        line = Attempt(now, "bulk", "imported", code="Interrupted", known=False)
        await self._end(left, line, now + self._wait)


def due_after(outcome: BulkTaken | Outcome, now: int, wait: int) -> int:
    """When the contacts of a request are read back (ms). Pure."""
    match outcome:
        case BulkTaken() | RetryAt(unknown=True):
            return now + wait
        case SlowDown(retry_after=seconds):
            return now + plans.milliseconds(seconds or 0.0)
        case _:
            return now


def _line(outcome: BulkTaken | Outcome, now: int) -> Attempt:
    known, code = True, type(outcome).__name__
    match outcome:
        case BulkTaken():
            code = outcome.batch_id
        case RetryAt():
            known, code = not outcome.unknown, outcome.code
        case Rejected():
            code = outcome.code
    return Attempt(now, "bulk", State.IMPORTED, outcome.status, code, outcome.duration_ms, known)


def _without_others(record: Record, ids: frozenset[int]) -> dict[str, object] | None:
    """The fields of a contact without the entries that are no longer ours to send; None where nothing is left."""
    parts = [part for part in record.parts if part.entry_id in ids]
    if not parts:
        return None
    fields: dict[str, object] = {}
    for part in parts:
        fields |= contact_fields(plain(part.form.record))
    return fields
