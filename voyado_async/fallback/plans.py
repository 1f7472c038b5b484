"""What is due on the second road, and what became of what. Pure: every function is given the time and what was seen.

Instants are milliseconds, as everywhere; durations that come from settings are seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec

from voyado_async.delivery import FileFamily
from voyado_async.outbox.records import INCOMPLETE, STAYS, FileRecord
from voyado_async.outbox.states import FileState

LOST = "file_missing"
"""The problem of a file whose upload has begun and whose local copy is gone or damaged: a person has to look."""

LISTINGS_PER_PERIOD = 12
"""How often an import folder is looked at: every five minutes where Engage imports hourly (ref 6.1)."""


def gathering_due(
    *, lines: int, oldest: int | None, gathered: int | None, left_over: int, interval: float, max_lines: int, now: int
) -> int | None:
    """When the next files are to be written; None while nothing new waits.

    `gathered` is when that was done last, `left_over` how many lines it had to leave: those that have no file form or
    wait for a creation must not make every moment a due one.
    """
    if oldest is None:
        return None
    if lines - left_over >= max_lines:
        return now
    since = oldest if gathered is None else max(oldest, gathered)
    if since > now:  # the clock was set back
        return now
    return since + milliseconds(interval)


def milliseconds(seconds: float) -> int:
    """A duration of the settings in the database's unit."""
    return round(seconds * 1000)


def next_try(failures: int, delays: Sequence[float], now: int) -> int:
    """After so many failures in a row (at least one): the ladder, its last step again and again."""
    return now + milliseconds(delays[min(failures, len(delays)) - 1])


def to_upload(files: Iterable[FileRecord], folders: Mapping[FileFamily, str | None]) -> list[FileRecord]:
    """The files whose way is to a folder that is set: contacts, redemptions, transactions, each oldest first."""
    order = list(FileFamily)
    ready = [
        file
        for file in files
        if file.state in (FileState.SPOOLED, FileState.UPLOADING)
        and file.problem not in (INCOMPLETE, LOST)
        and not file.carried
        and folders.get(file.family) is not None
    ]
    return sorted(ready, key=lambda file: (order.index(file.family), file.id))


class UploadStep(StrEnum):
    """What to do about one file that is to be uploaded."""

    SEND = "send"
    THERE = "there"
    """It is in the folder: a rename whose commit was cut off, or a person carried it."""
    NAME_TAKEN = "name_taken"
    """Something else has its name. Nothing of ours is ever replaced or removed: a person has to look."""
    REWRITE = "rewrite"
    """The local copy is gone or damaged, and it was never uploaded: its entries go into another file."""
    STUCK = "stuck"
    """The local copy is gone or damaged, and it may have been uploaded."""


def upload_step(file: FileRecord, *, local: int | None, remote: int | None) -> UploadStep:
    """`local` and `remote` are the sizes of what has the file's name here and there; None: nothing has."""
    if remote is not None:
        return UploadStep.THERE if remote == file.size else UploadStep.NAME_TAKEN
    if local == file.size:
        return UploadStep.SEND
    return UploadStep.REWRITE if file.state == FileState.SPOOLED else UploadStep.STUCK


class News(msgspec.Struct, frozen=True):
    """What a look into the folder says about one file."""

    file: FileRecord
    imported: bool
    seen: bool = False
    problem: str | None = None


def news_of(
    files: Iterable[FileRecord], listing: Collection[str] | None, *, import_period: float, now: int
) -> list[News]:
    """What changed for the uploaded files of one folder. `listing` is None where the folder cannot be looked at.

    Imported is what was seen in the folder and no longer is. What a person carried and we never saw counts as imported
    after two import periods, or at once where the clock was set back by more than these: else it would wait for the
    clock. The confirmation over the API is the proof in either case.
    """
    patience = 2 * milliseconds(import_period)
    found: list[News] = []
    for file in files:
        if file.state != FileState.UPLOADED:
            continue
        since = 0 if file.uploaded is None else now - file.uploaded
        late = since > patience
        if listing is not None and file.name in listing:
            problem = STAYS if late else None
            if file.seen is None or problem != file.problem or now - file.seen >= patience // 8:
                found.append(News(file, imported=False, seen=True, problem=problem))
        elif (file.seen is not None and listing is not None) or (
            file.seen is None and file.carried and abs(since) > patience
        ):
            found.append(News(file, imported=True))
        elif listing is not None and file.problem is not None:
            found.append(News(file, imported=False))
    return found


def to_remove(
    present: Iterable[str], records: Mapping[str, FileRecord], ours: Collection[str], *, retention_days: float, now: int
) -> list[str]:
    """The local files that nothing needs any longer: `ours` are the names that this outbox gave.

    Those that no commit knows (a crash before it), withdrawn and lost ones, and imported ones after the retention.
    """
    kept_for = milliseconds(retention_days * 86400)

    def is_needed(name: str) -> bool:
        record = records.get(name)
        if record is None:
            return name not in ours
        if record.state == FileState.IMPORTED:
            return record.imported is None or now - record.imported < kept_for
        return record.state not in (FileState.WITHDRAWN, FileState.LOST)

    return [name for name in present if not is_needed(name)]
