"""One file, from the ids of its entries to a complete file in the spool folder (DESIGN 3, "Fallback").

The entries are read a page at a time, so that a file of any length costs the memory of one page; what cannot stand in a
file is set aside alone. The finished file is fsynced, read again and validated. Where that refuses it, it is written
once more, and each entry is looked at by itself. What a tenant has set comes in between: its XSLT over our finished
file, the vendor's XSD over what leaves. A contact's later changes stay behind with one that only those refuse: it will
go by the API, and must not overwrite them then.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import BinaryIO

import msgspec

from voyado_async.delivery import FileFamily, FileForm, Message, NoFileForm
from voyado_async.errors import FileRefused, InvalidEntry
from voyado_async.fallback import xml
from voyado_async.fallback.batch import Head, PlannedFile, contact_fields
from voyado_async.fallback.record import RecordRefused, text_of
from voyado_async.fallback.spool import Spool, part_name, telling
from voyado_async.fallback.thread import in_thread
from voyado_async.models.decode import plain

PAGE = 200
"""Entries that are in memory at once."""

Read = Callable[[Sequence[int]], Awaitable[Sequence[Message]]]
"""The entries of these ids, in any order; one that may no longer leave is not among them."""

Make = Callable[[Message], FileForm | NoFileForm]
"""How an entry stands in the file."""


class Refused(msgspec.Struct, frozen=True):
    """An entry that cannot stand in a file. `path` is the field; no value is told."""

    entry_id: int
    path: str
    reason: str


class Written(msgspec.Struct, frozen=True):
    """What became of a planned file. Without entries there is no file."""

    entry_ids: Sequence[int]
    lines: int
    size: int
    refused: tuple[Refused, ...]
    """What we ourselves refuse: it is wrong, whoever reads it."""
    withheld: tuple[Refused, ...] = ()
    """What only the tenant's own XSLT or XSD refuses. That file judges thousands of entries and may itself be what is
    wrong: then each sale of an outage would be rejected for one mistake of the operator's. And what no file may hold
    can be right for the API. So these wait for it, and somebody is told."""


async def write(spool: Spool, name: str, planned: PlannedFile, read: Read, make: Make) -> Written:
    """Write what can be written of a planned file, and set aside alone what cannot.

    Raises FileRefused where even the rest does not pass the check, OutboxUnavailable where the disk does not take it;
    then, and where it is cancelled, nothing is left behind.
    """
    try:
        return await _once(Writing(spool, name, planned.head), planned, read, make)
    except FileRefused:
        return await _once(Writing(spool, name, planned.head, look=True), planned, read, make)


async def _once(writing: Writing, planned: PlannedFile, read: Read, make: Make) -> Written:
    try:
        for page in planned.pages(PAGE):
            messages = {message.id: message for message in await read([entry_id for _, entry_id in page])}
            present = [(number, messages[entry_id]) for number, entry_id in page if entry_id in messages]
            await in_thread(writing.add, present, make)
        return await in_thread(writing.finish)
    finally:
        await in_thread(writing.close)


class Writing:
    """A file as it fills up under its temporary name. Blocks. `look`: each entry is held alone against the schemas."""

    def __init__(self, spool: Spool, name: str, head: Head, *, look: bool = False) -> None:
        self._spool = spool
        self._tenant = spool.tenant
        self._name = name
        self._head = head
        self._look = look
        self._part = spool.path(part_name(name))
        self._opening, self._closing = xml.ends(head, self._tenant.names)
        self._output: BinaryIO | None = None
        self._number = -1
        self._ids: list[int] = []
        self._form: FileForm | None = None
        self._first: Message | None = None
        """The only entry of the open record, where it was not looked at alone."""
        self._written = array("q")
        self._records = 0
        self._lines = 0
        self._refused: list[Refused] = []
        self._withheld: list[Refused] = []
        self._behind: set[int] = set()
        """The lanes of contacts with a change that is withheld."""

    def add(self, page: Sequence[tuple[int, Message]], make: Make) -> None:
        """The next entries, each with the number of its record; those of one record follow each other."""
        with telling():
            for number, message in page:
                with suppress(InvalidEntry):  # it was read before: somebody changed it meanwhile, and it stays behind
                    form = make(message)
                    if isinstance(form, FileForm) and Head.of(form) == self._head:
                        self._next(number, message, form)

    def finish(self) -> Written:
        """Complete the file under its final name. Raises FileRefused."""
        with telling():
            self._flush()
            if self._output is None:
                return Written((), 0, 0, tuple(self._refused), tuple(self._withheld))
            self._output.write(self._closing)
            self._complete(self._output)
            self._output = None
            self._check()
            size = self._part.stat().st_size
            self._spool.publish(self._name)
            return Written(self._written, self._lines, size, tuple(self._refused), tuple(self._withheld))

    def close(self) -> None:
        """Leave nothing behind of what was not finished. May be called again."""
        with telling():
            if self._output is not None:
                self._output.close()
                self._output = None
            self._part.unlink(missing_ok=True)

    # records ----------------------------------------------------------------------------------------------------------

    def _next(self, number: int, message: Message, form: FileForm) -> None:
        if number != self._number:
            self._flush()
            self._number = number
            self._begin(message, form)
            return
        # Several changes of one contact: a bad one must not take the others with it, so each is looked at alone.
        first = self._first
        if first is not None and self._form is not None:
            self._first = None
            if not self._is_sound(first, self._form):
                self._ids, self._form = [], None
        if self._is_sound(message, form):
            self._ids.append(message.id)
            self._form = form if self._form is None else _merged(self._form, form)

    def _begin(self, message: Message, form: FileForm) -> None:
        self._ids, self._form, self._first = [message.id], form, message

    def _flush(self) -> None:
        """Write the record that is complete."""
        form, ids, first = self._form, self._ids, self._first
        self._ids, self._form, self._first = [], None, None
        if form is None or (self._look and first is not None and not self._is_sound(first, form)):
            return
        try:
            text = text_of(form, self._tenant.names)
        except RecordRefused as refusal:
            self._refused += [Refused(entry_id, refusal.path, refusal.reason) for entry_id in ids]
            return
        if self._output is None:
            self._output = self._made()
            self._output.write(self._opening)
        self._output.write(text.encode())
        self._written.extend(ids)
        self._records += 1
        self._lines += form.lines

    def _is_sound(self, message: Message, form: FileForm) -> bool:
        """Whether this entry could stand alone in a file, and nothing older of its contact had to stay behind; else it
        is set aside."""
        if message.lane in self._behind:
            return False
        for look, aside in ((self._our_refusal, self._refused), (self._tenants_refusal, self._withheld)):
            refusal = look(form)
            if refusal is None:
                continue
            aside.append(Refused(message.id, refusal.path, refusal.reason))
            if aside is self._withheld and self._head.family is FileFamily.CONTACTS:
                self._behind.add(message.lane)
            return False
        return True

    def _our_refusal(self, form: FileForm) -> RecordRefused | None:
        try:
            text = text_of(form, self._tenant.names)
            return xml.refusal_of(form, text, self._tenant.names) if self._look else None
        except RecordRefused as refusal:
            return refusal
        except FileRefused as refusal:
            return RecordRefused("", str(refusal))

    def _tenants_refusal(self, form: FileForm) -> RecordRefused | None:
        return self._tenant.refusal_of(form, text_of(form, self._tenant.names)) if self._look else None

    # the file ---------------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        """Check our file, then make of it what the tenant wants, and check that."""
        head = self._head
        with self._part.open("rb") as source:
            xml.check(source, head, self._records, self._tenant.names)
        if head.family in self._tenant.stylesheets:
            with self._part.open("rb") as source:
                self._part.unlink()  # what is open can still be read; the name is free for what the XSLT makes of it
                with self._made() as output:
                    self._tenant.transform(source, output, head.family)
                    self._complete(output)
        if self._tenant.changes(head.family):
            with self._part.open("rb") as source:
                self._tenant.check(source, head, self._records)

    def _made(self) -> BinaryIO:
        """A new file, for nobody but those who may use the outbox."""
        output = os.fdopen(os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._spool.access.open_file(self._part)
        return output

    def _complete(self, output: BinaryIO) -> None:
        """All of it is on disk."""
        output.flush()
        os.fsync(output.fileno())
        output.close()


def _merged(older: FileForm, newer: FileForm) -> FileForm:
    """Two changes of one contact as one, field by field: the later value wins (ref 4.4)."""
    fields = contact_fields(plain(older.record)) | contact_fields(plain(newer.record))
    return msgspec.structs.replace(newer, record=fields)
