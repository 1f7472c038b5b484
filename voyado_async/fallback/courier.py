"""The courier of the second road: exhausted -> spooled -> uploaded -> imported, or back to the API (DESIGN 3).

One at a time, driven by whoever drains. `plans` decides, `Spool` and `Transfer` act; this ties them to the outbox.
After a crash at any point, or a step that could not be finished, the next `step` finds its way from what the database
and the folders say:

- before the file is known to the database: its entries are still exhausted, the file is removed;
- known but not all of its entries moved: the file is withdrawn, its entries are exhausted again;
- spooled, uploaded in part or wholly under the temporary name: uploaded again;
- a bulk request had begun: its outcome is unknown, and reading back tells (`bulk.py`);
- "upload begun" committed: under the final name it is there, or it is uploaded again under the same name. A file that
  Engage took in the moment between its rename and our commit is so imported twice; receipts are recognised (ref 5.1),
  and nothing newer of these contacts has gone out meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial

from voyado_async.delivery import BulkCarrier, BulkTurn, FileForm, Message, NoFileForm
from voyado_async.errors import FileRefused, InvalidEntry, TransitionRefused, UploadFailed
from voyado_async.fallback import plans, writing
from voyado_async.fallback.batch import Batch, ChangeOrder, PlannedFile
from voyado_async.fallback.bulk import BulkRoad
from voyado_async.fallback.overtaking import Reading, pages
from voyado_async.fallback.report import CourierReport, Notes
from voyado_async.fallback.spool import Spool
from voyado_async.fallback.tenant import Tenant
from voyado_async.fallback.thread import in_thread
from voyado_async.fallback.transfer import Remote, Transfer
from voyado_async.fallback.writing import Refused
from voyado_async.kinds import registry
from voyado_async.outbox.access import Access
from voyado_async.outbox.file_moves import WITHHELD
from voyado_async.outbox.records import INCOMPLETE, AsRead, Attempt, FileRecord, Settlement
from voyado_async.outbox.states import FileState, State
from voyado_async.outbox.store import Outbox
from voyado_async.settings import Settings

FileForms = Callable[[Message], FileForm | NoFileForm]

HOUSEKEEPING = 3600.0
"""Seconds between looks for local files that nothing needs any longer."""


def forms(settings: Settings, tenant: Tenant) -> FileForms:
    """How an entry stands in this tenant's files."""
    of_kind = partial(registry.file_form, default_type=settings.contact_type, contact_key=settings.contact_key)
    return lambda message: tenant.file_form(of_kind(message))


def forms_to_upload(settings: Settings, tenant: Tenant) -> FileForms:
    """The same, but for what goes in bulk requests: that stands in no file."""
    in_file, in_bulk = forms(settings, tenant), bulk_forms(settings)

    def form(message: Message) -> FileForm | NoFileForm:
        if isinstance(in_bulk(message), FileForm):
            return NoFileForm("goes in a bulk request when the API is back (VOYADO_FALLBACK_CONTACTS)")
        return in_file(message)

    return form


def bulk_forms(settings: Settings) -> FileForms:
    """How an entry stands in a bulk request, where the tenant wants them."""
    if settings.fallback_contacts != "bulk" or settings.contact_key is None:
        return lambda message: NoFileForm("bulk requests are not asked for (VOYADO_FALLBACK_CONTACTS)")
    return partial(registry.bulk_form, default_type=settings.contact_type, contact_key=settings.contact_key)


class Courier:
    """Carries files. `connect` opens a session with the file server; None: files stay in the spool folder."""

    def __init__(
        self,
        store: Outbox,
        spool: Spool,
        file_form: FileForms,
        settings: Settings,
        connect: Callable[[], AbstractAsyncContextManager[Remote]] | None,
        bulk: BulkCarrier | None = None,
    ) -> None:
        self._store = store
        self._spool = spool
        self._file_form = file_form
        self._bulk_form = bulk_forms(settings)
        self._settings = settings
        self._transfer = Transfer(store, spool, settings, connect)
        self._bulk = None if bulk is None else BulkRoad(store, settings, bulk_forms(settings), bulk)
        self._ready = False
        self._gathered: int | None = None
        self._withheld: dict[int, int] = {}
        """What no file of this tenant may hold, and how long its record is with that line."""
        self._formless_of: tuple[int, int | None] | None = None
        """Of which exhausted entries it is told that no road is left to them."""
        self._standstill: UploadFailed | None = None
        """What the last gathering could not do; told until the next one."""
        self._again = False
        self._left_over = 0
        self._last_step = 0
        self._next_cleaning = 0

    @classmethod
    def of(
        cls, store: Outbox, settings: Settings, tenant: Tenant | None = None, bulk: BulkCarrier | None = None
    ) -> Courier:
        """The courier that the settings ask for; asyncssh is imported when the first session is opened.

        `tenant` is what `Tenant.of` makes of the settings, where it is known already. Raises ConfigurationError where a
        file of the tenant's cannot be used.
        """

        def connect() -> AbstractAsyncContextManager[Remote]:
            from voyado_async.fallback import sftp  # here: costs 155 ms, and most processes never upload

            return sftp.connect(settings)

        tenant = tenant or Tenant.of(settings)
        spool = Spool(settings.spool_path, tenant, Access(settings.gid))
        return cls(
            store, spool, forms_to_upload(settings, tenant), settings, connect if settings.sftp_host else None, bulk
        )

    async def step(self, now: int, *, api_healthy: bool, turn: BulkTurn | None = None) -> CourierReport:
        """Do what is due. `api_healthy`: the breaker is closed, so what waits for the API goes back to it; what goes in
        bulk goes in its `turn`.

        Never raises for what the file server does. Raises OutboxUnavailable where outbox or spool folder cannot be
        written now, and ConfigurationError where the spool folder cannot be used at all. Cancelling it is safe.
        """
        notes = Notes()
        if now < self._last_step:
            self._transfer.forget_times()
            if self._bulk is not None:
                self._bulk.forget_times()
            self._gathered = None
            self._next_cleaning = 0
        self._last_step = now
        if not self._ready:
            await in_thread(self._spool.prepare)
            await self._repair(now, notes)
            await self._clean(now)
        self._ready = False  # a step that ends in the middle (the disk is full) is repaired by the next one
        if api_healthy:
            await self._give_back(now, turn, notes)
            await self._tell_formless(now)
        gathering = await self._gather(now, notes)
        transfer = await self._transfer.step(now, notes)
        if now >= self._next_cleaning:
            await self._clean(now)
        notes.problem = notes.problem or self._standstill
        self._again = notes.again
        self._ready = True
        return notes.report(now if self._again else min(gathering, transfer, self._next_cleaning))

    # after a crash or a step that was not finished --------------------------------------------------------------------

    async def _repair(self, now: int, notes: Notes) -> None:
        """Files whose entries were on the move when the process died, and files that are gone from the spool."""
        present = await in_thread(self._spool.sizes)
        for file in await self._store.files(open_only=True):
            if file.state == FileState.SPOOLED and file.problem == INCOMPLETE:
                await self._withdraw(file, now, notes)
            elif file.state == FileState.SPOOLED and present.get(file.name) != file.size:
                await self._transfer.lose(file, now, notes)
        if self._bulk is not None:
            await self._bulk.repair(now)

    async def _clean(self, now: int) -> None:
        """Remove the local files that nothing needs."""
        present = await in_thread(self._spool.sizes)
        records = {file.name: file for file in await self._store.files(open_only=False)}
        unknown = [name for name in present if name not in records]
        ours = {name for name in unknown if await self._store.owns_file_name(name)}
        days = self._settings.retention_days
        for name in plans.to_remove(present, records, ours, retention_days=days, now=now):
            await in_thread(self._spool.remove, name)
        self._next_cleaning = now + plans.milliseconds(HOUSEKEEPING)

    async def _withdraw(self, file: FileRecord, now: int, notes: Notes) -> None:
        try:
            await self._store.update_file(file.id, state=FileState.WITHDRAWN, now=now, entries_to=State.EXHAUSTED)
        except TransitionRefused:
            return  # a person did so this moment
        await in_thread(self._spool.remove, file.name)
        notes.withdrawn.append(file.name)
        notes.again = True

    # back to the API --------------------------------------------------------------------------------------------------

    async def _give_back(self, now: int, turn: BulkTurn | None, notes: Notes) -> None:
        """The API is back before the upload: the local file goes only after the database has let go of it."""
        for file in await self._store.files(open_only=True):
            if file.state != FileState.SPOOLED or file.carried:
                continue
            try:
                moved = await self._store.update_file(
                    file.id, state=FileState.WITHDRAWN, now=now, entries_to=State.PENDING, outage_only=True
                )
            except TransitionRefused:
                continue  # a person withdrew or carried it this moment
            if moved:
                await in_thread(self._spool.remove, file.name)
                notes.withdrawn.append(file.name)
        if self._bulk is not None and turn is not None:
            await self._bulk.step(now, turn, notes)
        notes.brought_back += await self._store.bring_back(now)

    async def _tell_formless(self, now: int) -> None:
        """What is exhausted while the API is well and has a form in no file stays so until a person replays or discards
        it: `status` says so. Looked for when something was exhausted, and after each gathering."""
        waiting = await self._store.exhausted_lines()
        if waiting == self._formless_of:
            return
        async for page in pages(self._store.exhausted()):
            if formless := {message.id: reason for message in page if (reason := self._formless(message)) is not None}:
                await self._store.mark_formless(formless, now)
        self._formless_of = waiting

    def _formless(self, message: Message) -> str | None:
        try:
            form, in_bulk = self._file_form(message), self._bulk_form(message)
        except InvalidEntry:
            return None  # it is rejected at the next gathering
        return form.reason if isinstance(form, NoFileForm) and isinstance(in_bulk, NoFileForm) else None

    # into files -------------------------------------------------------------------------------------------------------

    async def _gather(self, now: int, notes: Notes) -> int:
        """Write files if it is time. Returns when it is time again."""
        interval = self._settings.fallback_interval
        lines, oldest = await self._store.exhausted_lines()
        asked = await self._store.files_wanted()
        due = plans.gathering_due(
            lines=lines,
            oldest=oldest,
            gathered=self._gathered,
            left_over=min(self._left_over, lines),
            interval=interval,
            max_lines=self._settings.fallback_max_lines,
            now=now,
        )
        if due is None:
            self._standstill, self._withheld = None, {}
            if asked is not None:
                await self._store.files_written(asked)
            return now + plans.milliseconds(interval)
        if now < due and asked is None and not (self._again or notes.again):
            return due
        self._gathered = now
        self._formless_of = None
        notes.again = False
        self._standstill = None
        batch = Batch(self._settings.fallback_max_lines)
        order = ChangeOrder()
        known, self._withheld = self._withheld, {}
        async for message in self._store.exhausted():
            try:
                form = self._file_form(message)
            except InvalidEntry as error:
                await self._reject([Refused(message.id, error.path, error.reason)], now, notes)
                continue
            if known.get(message.id) == message.lines:
                self._withheld[message.id] = message.lines
                form = NoFileForm("what the tenant has set refuses it")
            if not order.may_leave(message, form) or not isinstance(form, FileForm):
                continue
            older = order.before(message, form)
            if older is not None and batch.is_open(older):
                await self._write(batch.close(older), order, now, notes)
                order.closed(older)
                if not order.may_leave(message, form):  # the older one stays behind
                    continue
            if (full := batch.add(message.id, form, keep=False)) is not None:
                await self._write(full, order, now, notes)
                order.closed(full.head)
            order.stands(message, form)
        for planned in batch.rest():
            await self._write(planned, order, now, notes)
        if self._withheld and self._standstill is None:
            self._standstill = UploadFailed(
                WITHHELD,
                f"{len(self._withheld)} entries stand in no file: what VOYADO_FALLBACK_XSLT_* or VOYADO_FALLBACK_XSD_* "
                "name refuses them. They wait for the API; where that is wrong, correct it and start again",
            )
        if asked is not None:
            await self._store.files_written(asked)
        self._left_over, _ = await self._store.exhausted_lines()
        return now + plans.milliseconds(interval)

    async def _write(self, planned: PlannedFile, order: ChangeOrder, now: int, notes: Notes) -> None:
        """One file: complete on disk, then known to the database."""
        head = planned.head
        name = await self._store.next_file_name(now, head.family)
        reading = Reading(self._store, now)
        try:
            written = await writing.write(self._spool, name, planned, reading.read, self._file_form)
        except FileRefused as error:
            self._standstill = UploadFailed("file_refused", f"{name}: {error}")
            return
        await self._reject(written.refused, now, notes)
        if written.withheld:
            order.stays(reading.as_read[entry.entry_id].lane for entry in written.withheld)
            await self._withhold(written.withheld, reading.as_read, now)
        if not written.entry_ids:
            return
        record = FileRecord(
            0,
            name,
            head.family,
            head.contact_type,
            head.match_key_type,
            FileState.SPOOLED,
            len(written.entry_ids),
            written.lines,
            written.size,
            now,
        )
        moved = await self._store.spool_file(record, written.entry_ids, reading.as_read)
        if len(moved) == len(written.entry_ids):
            notes.spooled.append(name)
            return
        # Somebody discarded or replayed an entry while the file was written, or its lane became one with another, and
        # newer changes count: it must not leave.
        for file in await self._store.files(open_only=True):
            if file.name == name:
                await self._withdraw(file, now, notes)

    async def _withhold(self, withheld: Sequence[Refused], as_read: Mapping[int, AsRead], now: int) -> None:
        """They wait for the API, and are tried again when this program starts again: its settings may be others."""
        self._withheld |= {entry.entry_id: as_read[entry.entry_id].lines + 1 for entry in withheld}
        await self._store.withhold({entry.entry_id: _why(entry) for entry in withheld}, WITHHELD, now)

    async def _reject(self, refused: Sequence[Refused], now: int, notes: Notes) -> None:
        settlements = []
        for entry in refused:
            reason = _why(entry)
            attempt = Attempt(now, "file", "rejected", code=reason)
            settlements.append(
                Settlement(entry.entry_id, State.EXHAUSTED, State.REJECTED, attempt=attempt, reason=reason)
            )
        moved = await asyncio.gather(*(self._store.settle(settlement) for settlement in settlements))
        notes.refused.extend(entry for entry, did in zip(refused, moved, strict=True) if did)


def _why(entry: Refused) -> str:
    return f"{entry.path}: {entry.reason}" if entry.path else entry.reason
