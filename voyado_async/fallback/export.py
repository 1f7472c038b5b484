"""The files of chosen entries, for a person to look at or to carry. No entry is moved.

The files are made like those that leave by themselves: same check, same tenant's overrides, a name of the outbox's own
that was never given before and never will be. What a person does with them, nobody here knows: an entry that is
carried so and is delivered by the API as well arrives twice. And nobody knows when: so a contact write leaves out every
field that a newer entry of its contact sets, as at a replay, also where that one still waits. An old file that is
carried tomorrow puts no older value over a newer one that was known today (DESIGN 1.4).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from itertools import islice

import msgspec

from voyado_async.delivery import FileFamily, FileForm, Kind, Message, NoFileForm
from voyado_async.errors import InvalidEntry
from voyado_async.fallback import writing
from voyado_async.fallback.batch import Batch, ChangeOrder, PlannedFile
from voyado_async.fallback.spool import Spool
from voyado_async.fallback.thread import in_thread
from voyado_async.kinds import registry
from voyado_async.outbox.moves import CONTACT
from voyado_async.outbox.operator_store import OperatorOutbox
from voyado_async.outbox.records import EntryRecord


class Exported(msgspec.Struct, frozen=True):
    """One file that was written."""

    name: str
    family: FileFamily
    contact_type: str
    match_key_type: str
    entries: int
    lines: int
    size: int


class NotExported(msgspec.Struct, frozen=True):
    """An entry that stands in no file, and why. No value of it is told."""

    id: int
    kind: Kind
    reason: str


async def export(
    store: OperatorOutbox,
    spool: Spool,
    form: Callable[[Message], FileForm | NoFileForm],
    entries: Iterable[EntryRecord],
    *,
    max_lines: int,
    now: int,
) -> AsyncIterator[Exported | NotExported]:
    """Write the entries, oldest first, into the folder of `spool`; tells each file and each entry that is in none."""
    await in_thread(spool.prepare)
    chosen = _Chosen(store, entries)
    batch, order = Batch(max_lines), ChangeOrder()
    async for record, message in chosen.all():
        if message is None:
            yield NotExported(record.id, record.kind, "newer entries of its contact set all of it")
            continue
        try:
            found = form(message)
        except InvalidEntry as error:
            yield NotExported(record.id, record.kind, str(error))
            continue
        may_leave = order.may_leave(message, found)
        if isinstance(found, NoFileForm):
            yield NotExported(record.id, record.kind, found.reason)
            continue
        if not may_leave:
            yield NotExported(record.id, record.kind, "an older change of its contact stands in no file")
            continue
        older = order.before(message, found)
        due = [batch.close(older)] if older is not None and batch.is_open(older) else []
        if (full := batch.add(record.id, found, keep=False)) is not None:
            due.append(full)
        for planned in due:
            order.closed(planned.head)
            async for told in _write(store, spool, planned, chosen, form, now):
                yield told
        order.stands(message, found)
    for planned in batch.rest():
        async for told in _write(store, spool, planned, chosen, form, now):
            yield told


class _Chosen:
    """The entries that were chosen, oldest first, and what stands in them that no newer entry sets."""

    def __init__(self, store: OperatorOutbox, entries: Iterable[EntryRecord]) -> None:
        self._store = store
        self._lanes: dict[str, int] = {}
        self.records = {record.id: record for record in sorted(entries, key=lambda record: record.id)}

    async def all(self) -> AsyncIterator[tuple[EntryRecord, Message | None]]:
        """Each with its message; None where newer entries set all of it."""
        ids = iter(self.records)
        while page := list(islice(ids, writing.PAGE)):
            messages = {message.id: message for message in await self.read(page)}
            for entry in page:
                yield self.records[entry], messages.get(entry)

    async def read(self, ids: Sequence[int]) -> list[Message]:
        newer = await self._store.set_by_newer(ids, registry.fields)
        found = [await self._message(self.records[entry], newer.get(entry, frozenset())) for entry in ids]
        return [message for message in found if message is not None]

    async def _message(self, record: EntryRecord, newer: frozenset[str]) -> Message | None:
        known = record.lane.removeprefix(CONTACT) if record.lane.startswith(CONTACT) else None
        body: bytes | None = await self._store.body(record.id)
        if body is not None and newer & registry.fields(record.kind, body):
            body = registry.without(record.kind, body, newer, upsert=True)
        if body is None:
            return None
        contact_id = known or await self._store.contact_id(record.lane)
        return Message(
            id=record.id,
            kind=record.kind,
            body=body,
            lane=self._lanes.setdefault(record.lane, len(self._lanes)),
            lane_key=record.lane,
            created=record.created,
            contact_id=contact_id,
            contact_type=None if contact_id is None else await self._store.contact_type(contact_id),
        )


async def _write(
    store: OperatorOutbox, spool: Spool, planned: PlannedFile, chosen: _Chosen, form: writing.Make, now: int
) -> AsyncIterator[Exported | NotExported]:
    head = planned.head
    name = await store.next_file_name(now, head.family)
    written = await writing.write(spool, name, planned, chosen.read, form)
    for refused in (*written.refused, *written.withheld):
        reason = f"{refused.path}: {refused.reason}" if refused.path else refused.reason
        yield NotExported(refused.entry_id, chosen.records[refused.entry_id].kind, reason)
    if written.entry_ids:
        yield Exported(
            name,
            head.family,
            head.contact_type,
            head.match_key_type,
            len(written.entry_ids),
            written.lines,
            written.size,
        )
