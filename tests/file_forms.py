"""Files straight from file forms, by the very code that writes those of an outbox."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from voyado_async.delivery import FileForm, Kind, Message
from voyado_async.fallback import writing
from voyado_async.fallback.batch import Batch, PlannedFile
from voyado_async.fallback.spool import Spool
from voyado_async.fallback.writing import Written


def plan_files(entries: Iterable[tuple[int, FileForm]], max_lines: int) -> list[PlannedFile]:
    """The files of these entries."""
    batch = Batch(max_lines)
    full = [batch.add(entry_id, form) for entry_id, form in entries]
    return [file for file in full if file is not None] + batch.rest()


def write_forms(spool: Spool, name: str, *forms: FileForm) -> Written:
    """One file of entries 1, 2, ... that stand there in these forms."""
    entries = dict(enumerate(forms, start=1))
    (planned,) = plan_files(entries.items(), 20_000)

    lanes = {subject: lane for lane, subject in enumerate(dict.fromkeys(form.subject for form in forms))}

    async def read(ids: Sequence[int]) -> list[Message]:
        return [Message(entry_id, Kind.RECEIPT, b"", lanes[entries[entry_id].subject], "", 0) for entry_id in ids]

    return asyncio.run(writing.write(spool, name, planned, read, lambda message: entries[message.id]))
