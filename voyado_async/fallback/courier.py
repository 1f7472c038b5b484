"""The courier of the second road: exhausted -> spooled -> uploaded -> imported, or back to the API (DESIGN 3).

One at a time, driven by whoever drains. `plans` decides, `Spool` and `Remote` act; this ties them to the outbox. After
a crash at any point the next `step` finds its way from what the database and the folders say:

- before the file is known to the database: its entries are still exhausted, the file is removed;
- known but not all of its entries moved: the file is withdrawn, its entries are exhausted again;
- spooled, uploaded in part or wholly under the temporary name: uploaded again;
- "upload begun" committed: under the final name it is there, or it is uploaded again under the same name. A file that
  Engage took in the moment between its rename and our commit is so imported twice; receipts are recognised (ref 5.1),
  and nothing newer of these contacts has gone out meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import ParamSpec, Protocol, TypeVar

import msgspec

from voyado_async.delivery import FileFamily, FileForm, Message, NoFileForm
from voyado_async.errors import FileRefused, InvalidEntry, TransitionRefused, UploadFailed
from voyado_async.fallback import plans
from voyado_async.fallback.batch import Batch, PlannedFile
from voyado_async.fallback.plans import FileState, UploadStep
from voyado_async.fallback.spool import Refused, Spool
from voyado_async.kinds import registry
from voyado_async.outbox.states import State
from voyado_async.outbox.store import Attempt, FileRecord, Outbox, Settlement
from voyado_async.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")

HOUSEKEEPING = 3600.0
"""Seconds between looks for local files that nothing needs any longer."""

OF_ONE_FOLDER = frozenset({"folder_missing", "refused", "no_space", "name_taken"})
"""Problems of one folder or file: the other folders still get theirs."""


class Remote(Protocol):
    """What the courier asks of the file server; `sftp.Remote` is it."""

    async def listing(self, folder: str) -> dict[str, int]: ...

    async def size(self, folder: str, name: str) -> int | None: ...

    async def stage(self, local: Path, folder: str, name: str) -> None: ...

    async def publish(self, folder: str, name: str, size: int) -> None: ...

    async def discard(self, folder: str, name: str) -> None: ...


class CourierReport(msgspec.Struct, frozen=True):
    """What one step came to. Names are those of files."""

    next_due: int
    """When something is due again (ms), as far as is known now; earlier calls are harmless and cheap."""
    spooled: tuple[str, ...] = ()
    uploaded: tuple[str, ...] = ()
    imported: tuple[str, ...] = ()
    withdrawn: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    refused: tuple[Refused, ...] = ()
    """Entries that cannot stand in a file; they are rejected now."""
    brought_back: int = 0
    """Entries of the outage that are pending again and were in no file."""
    problem: str | None = None
    """Why files could not be written or uploaded, in one word; None where nothing went wrong."""
    message: str | None = None
    """The whole story of the problem, for the log."""

    @property
    def moved(self) -> bool:
        """Whether anything changed."""
        return bool(
            self.spooled or self.uploaded or self.imported or self.withdrawn or self.lost or self.refused
        ) or bool(self.brought_back)


class _Notes:
    """A report as it grows."""

    def __init__(self) -> None:
        self.spooled: list[str] = []
        self.uploaded: list[str] = []
        self.imported: list[str] = []
        self.withdrawn: list[str] = []
        self.lost: list[str] = []
        self.refused: list[Refused] = []
        self.brought_back = 0
        self.problem: UploadFailed | None = None

    def report(self, next_due: int) -> CourierReport:
        return CourierReport(
            next_due,
            tuple(self.spooled),
            tuple(self.uploaded),
            tuple(self.imported),
            tuple(self.withdrawn),
            tuple(self.lost),
            tuple(self.refused),
            self.brought_back,
            None if self.problem is None else self.problem.reason,
            None if self.problem is None else str(self.problem),
        )


class Courier:
    """Carries files. `connect` opens a session with the file server; None: files stay in the spool folder."""

    def __init__(
        self,
        store: Outbox,
        spool: Spool,
        file_form: Callable[[Message], FileForm | NoFileForm],
        settings: Settings,
        connect: Callable[[], AbstractAsyncContextManager[Remote]] | None,
    ) -> None:
        self._store = store
        self._spool = spool
        self._file_form = file_form
        self._settings = settings
        self._connect = connect
        self._folders: Mapping[FileFamily, str | None] = {
            FileFamily.CONTACTS: settings.sftp_contacts_dir,
            FileFamily.REDEMPTIONS: settings.sftp_redemptions_dir,
            FileFamily.TRANSACTIONS: settings.sftp_transactions_dir,
        }
        self._ready = False
        self._gathered: int | None = None
        self._again = False
        """Entries came back out of a file: the next files need not wait for the interval."""
        self._left_over = 0
        self._failures = 0
        self._next_try = 0
        self._next_look = 0
        self._next_cleaning = 0

    @classmethod
    def of(cls, store: Outbox, settings: Settings) -> Courier:
        """The courier that the settings ask for; asyncssh is imported when the first session is opened."""

        def connect() -> AbstractAsyncContextManager[Remote]:
            from voyado_async.fallback import sftp  # here: costs 155 ms, and most processes never upload

            return sftp.connect(settings)

        file_form = partial(registry.file_form, default_type=settings.contact_type, contact_key=settings.contact_key)
        return cls(store, Spool(settings.spool_path), file_form, settings, connect if settings.sftp_host else None)

    async def step(self, now: int, *, api_healthy: bool) -> CourierReport:
        """Do what is due. `api_healthy`: the breaker is closed, so what waits for the API goes back to it.

        Never raises for what the file server does. Raises OutboxUnavailable where outbox or spool folder cannot be
        written now, and ConfigurationError where the spool folder cannot be used at all. Cancelling it is safe.
        """
        notes = _Notes()
        if not self._ready:
            await _in_thread(self._spool.prepare)
            await self._repair(now, notes)
            await self._clean(now)
            self._ready = True
        if api_healthy:
            await self._give_back(now, notes)
        gathering = await self._gather(now, notes)
        transfer = await self._transfer(now, notes)
        if now >= self._next_cleaning:
            await self._clean(now)
        return notes.report(now if self._again else min(gathering, transfer, self._next_cleaning))

    # after a crash ----------------------------------------------------------------------------------------------------

    async def _repair(self, now: int, notes: _Notes) -> None:
        """Files whose entries were on the move when the process died, and files that are gone from the spool."""
        present = await _in_thread(self._spool.sizes)
        for file in await self._store.files(open_only=True):
            if file.state == FileState.SPOOLED and file.problem == plans.INCOMPLETE:
                await self._withdraw(file, now, notes)
            elif file.state == FileState.SPOOLED and present.get(file.name) != file.size:
                await self._lose(file, now, notes)

    async def _clean(self, now: int) -> None:
        """Remove the local files that nothing needs."""
        present = await _in_thread(self._spool.sizes)
        records = {file.name: file for file in await self._store.files(open_only=False)}
        unknown = [name for name in present if name not in records]
        ours = {name for name in unknown if await self._store.owns_file_name(name)}
        days = self._settings.retention_days
        for name in plans.to_remove(present, records, ours, retention_days=days, now=now):
            await _in_thread(self._spool.remove, name)
        self._next_cleaning = now + plans.milliseconds(HOUSEKEEPING)

    async def _withdraw(self, file: FileRecord, now: int, notes: _Notes) -> None:
        await self._store.update_file(file.id, state=FileState.WITHDRAWN, now=now, entries_to=State.EXHAUSTED)
        await _in_thread(self._spool.remove, file.name)
        notes.withdrawn.append(file.name)
        self._again = True

    async def _lose(self, file: FileRecord, now: int, notes: _Notes) -> None:
        """Its copy is gone or damaged and it never left: its entries go into another file."""
        await self._store.update_file(file.id, state=FileState.LOST, now=now, entries_to=State.EXHAUSTED)
        await _in_thread(self._spool.remove, file.name)
        notes.lost.append(file.name)
        self._again = True

    # back to the API --------------------------------------------------------------------------------------------------

    async def _give_back(self, now: int, notes: _Notes) -> None:
        """The API is back before the upload: the local file goes only after the database has let go of it."""
        for file in await self._store.files(open_only=True):
            if file.state != FileState.SPOOLED or file.carried:
                continue
            moved = await self._store.update_file(
                file.id, state=FileState.WITHDRAWN, now=now, entries_to=State.PENDING, outage_only=True
            )
            if moved:
                await _in_thread(self._spool.remove, file.name)
                notes.withdrawn.append(file.name)
        notes.brought_back += await self._store.bring_back(now)

    # into files -------------------------------------------------------------------------------------------------------

    async def _gather(self, now: int, notes: _Notes) -> int:
        """Write files if it is time. Returns when it is time again."""
        interval = self._settings.fallback_interval
        count, oldest = await self._store.exhausted_lines()
        self._again = self._again and count > 0
        due = plans.gathering_due(
            count=count,
            oldest=oldest,
            gathered=self._gathered,
            left_over=min(self._left_over, count),
            interval=interval,
            max_lines=self._settings.fallback_max_lines,
            now=now,
        )
        if due is None or (now < due and not self._again):
            return due if due is not None else now + plans.milliseconds(interval)
        self._gathered = now
        self._again = False
        batch = Batch(self._settings.fallback_max_lines)
        async for message in self._store.exhausted():
            try:
                form = self._file_form(message)
            except InvalidEntry as error:
                await self._reject([Refused(message.id, error.path, error.reason)], now, notes)
                continue
            if isinstance(form, FileForm) and (full := batch.add(message.id, form)) is not None:
                await self._write(full, now, notes)
        for planned in batch.rest():
            await self._write(planned, now, notes)
        self._left_over, _ = await self._store.exhausted_lines()
        return now + plans.milliseconds(interval)

    async def _write(self, planned: PlannedFile, now: int, notes: _Notes) -> None:
        """One file: complete on disk, then known to the database."""
        head = planned.head
        name = await self._store.next_file_name(now, head.family)
        try:
            written = await _in_thread(self._spool.write, name, planned)
        except FileRefused as error:
            notes.problem = UploadFailed("file_refused", f"{name}: {error}")
            return
        await self._reject(written.refused, now, notes)
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
        moved = await self._store.spool_file(record, written.entry_ids)
        if len(moved) == len(written.entry_ids):
            notes.spooled.append(name)
            return
        # Somebody discarded or replayed an entry while the file was written: it must not leave.
        for file in await self._store.files(open_only=True):
            if file.name == name:
                await self._withdraw(file, now, notes)

    async def _reject(self, refused: tuple[Refused, ...] | list[Refused], now: int, notes: _Notes) -> None:
        settlements = []
        for entry in refused:
            reason = f"{entry.path}: {entry.reason}" if entry.path else entry.reason
            attempt = Attempt(now, "file", "rejected", code=reason)
            settlements.append(
                Settlement(entry.entry_id, State.EXHAUSTED, State.REJECTED, attempt=attempt, reason=reason)
            )
        moved = await asyncio.gather(*(self._store.settle(settlement) for settlement in settlements))
        notes.refused.extend(entry for entry, did in zip(refused, moved, strict=True) if did)

    # to the server and beyond -----------------------------------------------------------------------------------------

    async def _transfer(self, now: int, notes: _Notes) -> int:
        """Upload what is spooled and look after what is uploaded, in one session. Returns when that is due again."""
        files = await self._store.files(open_only=True)
        if self._connect is None:
            return await self._without_server(files, now, notes)
        uploads = plans.to_upload(files, self._folders)
        watched = [file for file in files if file.state == FileState.UPLOADED and self._folders[file.family]]
        await self._hear(
            plans.news_of(_not_in(files, watched), None, import_period=self._settings.import_period, now=now),
            now,
            notes,
        )
        look = bool(watched) and now >= self._next_look
        if (uploads or look) and now >= self._next_try:
            await self._session(uploads, watched if look else [], now, notes)
        due = [now + plans.milliseconds(self._settings.fallback_interval)]
        if uploads and self._failures:
            due.append(self._next_try)
        if watched or notes.uploaded:
            due.append(max(self._next_look, self._next_try))
        return min(due)

    async def _without_server(self, files: list[FileRecord], now: int, notes: _Notes) -> int:
        """A person carries: nothing can be looked at."""
        await self._hear(plans.news_of(files, None, import_period=self._settings.import_period, now=now), now, notes)
        return now + plans.milliseconds(self._settings.fallback_interval)

    async def _session(self, uploads: list[FileRecord], watched: list[FileRecord], now: int, notes: _Notes) -> None:
        assert self._connect is not None
        failed: UploadFailed | None = None
        try:
            async with self._connect() as remote:
                failed = await self._upload_all(remote, uploads, now, notes)
                failed = await self._look(remote, watched, now, notes) or failed
        except UploadFailed as failure:
            failed = failure
            await self._mark(uploads, failure.reason, now)
        if failed is None:
            self._failures = 0
            self._next_try = 0
            return
        self._failures += 1
        self._next_try = plans.next_try(self._failures, self._settings.retry_delays, now)
        notes.problem = failed

    async def _upload_all(
        self, remote: Remote, uploads: list[FileRecord], now: int, notes: _Notes
    ) -> UploadFailed | None:
        """Family by family, each oldest first; a family stops at its first failure, so that its order stays."""
        failed: UploadFailed | None = None
        for family in FileFamily:
            for file in (file for file in uploads if file.family == family):
                try:
                    await self._upload(remote, file, now, notes)
                except UploadFailed as failure:
                    if failure.reason not in OF_ONE_FOLDER:
                        raise
                    await self._mark([file], failure.reason, now)
                    failed = failure
                    break
        return failed

    async def _upload(self, remote: Remote, file: FileRecord, now: int, notes: _Notes) -> None:
        folder = self._folders[file.family]
        assert folder is not None
        local = await _in_thread(self._spool.size, file.name)
        there = await remote.size(folder, file.name)
        match plans.upload_step(file, local=local, remote=there):
            case UploadStep.NAME_TAKEN:
                raise UploadFailed("name_taken", f"{file.name} is in {folder} already with another size")
            case UploadStep.REWRITE:
                await self._lose(file, now, notes)
                return
            case UploadStep.STUCK:
                await self._mark([file], plans.LOST, now)
                return
            case UploadStep.SEND:
                await remote.stage(self._spool.path(file.name), folder, file.name)
                if not await self._begin(file, now):
                    await remote.discard(folder, file.name)
                    return
                await remote.publish(folder, file.name, file.size)
            case UploadStep.THERE:
                if not await self._begin(file, now):
                    return
        await self._store.update_file(file.id, state=FileState.UPLOADED, now=now, entries_to=State.UPLOADED, seen=True)
        notes.uploaded.append(file.name)

    async def _begin(self, file: FileRecord, now: int) -> bool:
        """Commit that from here on Engage may have it. False where somebody withdrew the file meanwhile."""
        try:
            await self._store.update_file(file.id, state=FileState.UPLOADING, now=now, entries_to=State.UPLOADED)
        except TransitionRefused:
            return False
        return True

    async def _look(self, remote: Remote, watched: list[FileRecord], now: int, notes: _Notes) -> UploadFailed | None:
        """Which of the uploaded files are still there."""
        failed: UploadFailed | None = None
        for folder in sorted({self._folders[file.family] or "" for file in watched}):
            files = [file for file in watched if self._folders[file.family] == folder]
            try:
                listing = await remote.listing(folder)
            except UploadFailed as failure:
                if failure.reason not in OF_ONE_FOLDER:
                    raise
                failed = failure
                continue
            await self._hear(
                plans.news_of(files, listing, import_period=self._settings.import_period, now=now), now, notes
            )
        if watched:
            self._next_look = now + self._look_interval()
        return failed

    async def _hear(self, news: list[plans.News], now: int, notes: _Notes) -> None:
        target = State.IMPORTED if self._settings.fallback_confirm else State.DELIVERED
        for one in news:
            if one.imported:
                await self._store.update_file(one.file.id, state=FileState.IMPORTED, now=now, entries_to=target)
                notes.imported.append(one.file.name)
            else:
                await self._store.update_file(
                    one.file.id, state=FileState.UPLOADED, now=now, seen=one.seen, problem=one.problem
                )

    async def _mark(self, files: list[FileRecord], problem: str, now: int) -> None:
        """Say on the files why they stand still."""
        for file in files:
            if file.problem == problem:
                continue
            try:
                await self._store.update_file(file.id, state=file.state, now=now, problem=problem)
            except TransitionRefused:
                continue  # it has moved on: withdrawn by hand, or uploaded before the session broke

    def _look_interval(self) -> int:
        return max(1, plans.milliseconds(self._settings.import_period / plans.LISTINGS_PER_PERIOD))


def _not_in(files: list[FileRecord], others: list[FileRecord]) -> list[FileRecord]:
    ids = {file.id for file in others}
    return [file for file in files if file.id not in ids]


async def _in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking work off the loop, and to its end also when we are cancelled: nothing goes on writing behind us."""
    work: Awaitable[T] = asyncio.ensure_future(asyncio.to_thread(call, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([asyncio.ensure_future(work)])
        raise
