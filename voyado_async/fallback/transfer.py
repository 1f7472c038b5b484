"""From the spool folder to the server, and watching what becomes of it there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from voyado_async.delivery import FileFamily
from voyado_async.errors import TransitionRefused, UploadFailed
from voyado_async.fallback import plans
from voyado_async.fallback.plans import UploadStep
from voyado_async.fallback.report import Notes
from voyado_async.fallback.spool import PART, Spool, telling
from voyado_async.fallback.thread import in_thread
from voyado_async.outbox.records import FileRecord
from voyado_async.outbox.states import FileState, State
from voyado_async.outbox.store import Outbox
from voyado_async.settings import Settings

OF_ONE_FOLDER = frozenset({"folder_missing", "refused", "no_space", "name_taken"})
"""Problems of one folder or file: the other folders still get theirs."""


class Remote(Protocol):
    """What the courier asks of the file server; `sftp.Remote` is it."""

    async def listing(self, folder: str) -> dict[str, int]: ...

    async def size(self, folder: str, name: str) -> int | None: ...

    async def stage(self, local: Path, folder: str, name: str) -> None: ...

    async def publish(self, folder: str, name: str, size: int) -> None: ...

    async def discard(self, folder: str, name: str) -> None: ...

    async def remove_part(self, folder: str, part: str) -> None: ...


class Transfer:
    """Uploads and watches, in one session. `connect` opens it; None: a person carries the files."""

    def __init__(
        self,
        store: Outbox,
        spool: Spool,
        settings: Settings,
        connect: Callable[[], AbstractAsyncContextManager[Remote]] | None,
    ) -> None:
        self._store = store
        self._spool = spool
        self._settings = settings
        self._connect = connect
        self._folders: Mapping[FileFamily, str | None] = {
            FileFamily.CONTACTS: settings.sftp_contacts_dir,
            FileFamily.REDEMPTIONS: settings.sftp_redemptions_dir,
            FileFamily.TRANSACTIONS: settings.sftp_transactions_dir,
        }
        self._failures = 0
        self._next_try = 0
        self._next_look = 0
        self._problem: UploadFailed | None = None
        """Why the last session failed. It stands for as long as anything waits for the next one."""

    def forget_times(self) -> None:
        """The clock was set back: what was due at a time that is far away now is due at once."""
        self._next_try = 0
        self._next_look = 0

    async def lose(self, file: FileRecord, now: int, notes: Notes) -> None:
        """Its copy is gone or damaged and it never left: its entries go into another file."""
        try:
            await self._store.update_file(file.id, state=FileState.LOST, now=now, entries_to=State.EXHAUSTED)
        except TransitionRefused:
            return  # a person withdrew it this moment, or has carried it
        await in_thread(self._spool.remove, file.name)
        notes.lost.append(file.name)
        notes.again = True

    async def step(self, now: int, notes: Notes) -> int:
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
        elif uploads or watched:
            notes.problem = self._problem
        due = [now + plans.milliseconds(self._settings.fallback_interval)]
        if uploads and self._failures:
            due.append(self._next_try)
        if watched or notes.uploaded:
            due.append(max(self._next_look, self._next_try))
        return min(due)

    async def _without_server(self, files: list[FileRecord], now: int, notes: Notes) -> int:
        """A person carries: nothing can be looked at."""
        await self._hear(plans.news_of(files, None, import_period=self._settings.import_period, now=now), now, notes)
        return now + plans.milliseconds(self._settings.fallback_interval)

    async def _session(self, uploads: list[FileRecord], watched: list[FileRecord], now: int, notes: Notes) -> None:
        assert self._connect is not None
        failed: UploadFailed | None = None
        try:
            async with self._connect() as remote:
                failed = await self._upload_all(remote, uploads, now, notes)
                failed = await self._look(remote, watched, now, notes) or failed
        except UploadFailed as failure:
            failed = failure
            await self._mark([*uploads, *watched], failure.reason, now)
        self._problem = failed
        if failed is None:
            self._failures = 0
            self._next_try = 0
            return
        self._failures += 1
        self._next_try = plans.next_try(self._failures, self._settings.retry_delays, now)
        notes.problem = failed

    async def _upload_all(
        self, remote: Remote, uploads: list[FileRecord], now: int, notes: Notes
    ) -> UploadFailed | None:
        """Family by family, each oldest first; a family stops at its first failure, so that its order stays."""
        failed: UploadFailed | None = None
        for family in FileFamily:
            of_family = [file for file in uploads if file.family == family]
            for file in of_family:
                try:
                    if file is of_family[0]:
                        await self._tidy(remote, self._folders[family] or "")
                    await self._upload(remote, file, now, notes)
                except UploadFailed as failure:
                    if failure.reason not in OF_ONE_FOLDER:
                        raise
                    await self._mark([file], failure.reason, now)
                    failed = failure
                    break
        return failed

    async def _tidy(self, remote: Remote, folder: str) -> None:
        """Remove what our earlier sessions left there under temporary names; their files may be withdrawn by now."""
        for name in await remote.listing(folder):
            if name.startswith(".") and name.endswith(PART) and await self._store.owns_file_name(name):
                await remote.remove_part(folder, name)

    async def _upload(self, remote: Remote, file: FileRecord, now: int, notes: Notes) -> None:
        folder = self._folders[file.family]
        assert folder is not None
        local = await in_thread(self._spool.size, file.name)
        there = await remote.size(folder, file.name)
        match plans.upload_step(file, local=local, remote=there):
            case UploadStep.NAME_TAKEN:
                raise UploadFailed("name_taken", f"{file.name} is in {folder} already with another size")
            case UploadStep.REWRITE:
                await self.lose(file, now, notes)
                return
            case UploadStep.STUCK:
                await self._mark([file], plans.LOST, now)
                return
            case UploadStep.SEND:
                with telling():
                    try:
                        await remote.stage(self._spool.path(file.name), folder, file.name)
                    except FileNotFoundError:
                        return  # a person withdrew it this moment; what else became of it the next step finds out
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

    async def _look(self, remote: Remote, watched: list[FileRecord], now: int, notes: Notes) -> UploadFailed | None:
        """Which of the uploaded files are still there."""
        failed: UploadFailed | None = None
        for folder in sorted({self._folders[file.family] or "" for file in watched}):
            files = [file for file in watched if self._folders[file.family] == folder]
            try:
                listing = await remote.listing(folder)
            except UploadFailed as failure:
                if failure.reason not in OF_ONE_FOLDER:
                    raise
                await self._mark(files, failure.reason, now)
                failed = failure
                continue
            await self._hear(
                plans.news_of(files, listing, import_period=self._settings.import_period, now=now), now, notes
            )
        if watched:
            self._next_look = now + self._look_interval()
        return failed

    async def _hear(self, news: list[plans.News], now: int, notes: Notes) -> None:
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
        """Say on the files why they stand still, or why nobody can see what became of them."""
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
