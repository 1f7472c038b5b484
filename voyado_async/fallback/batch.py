"""File forms -> files: who goes with whom, and how much into one. Pure.

One family, contact type and match key type per file (ref 6.5), so that contacts keyed by contactId are apart: one of
them makes contactId the key of its whole file (ref 6.4). At most so many lines, where a receipt counts its items
(ref 6.1). Several changes of one contact become one record, field by field, the later value winning (ref 4.4); their
number is limited as well, so that a long backlog of a few contacts stays small, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from voyado_async.delivery import FileFamily, FileForm, Kind, Message, NoFileForm
from voyado_async.fallback.names import CONTACT_TYPE, PREFERENCES
from voyado_async.models.decode import plain

ENTRIES_PER_LINE = 2
"""Entries that a file holds at most, for each line that it may have."""


class Head(msgspec.Struct, frozen=True):
    """What all records of one file have in common."""

    family: FileFamily
    contact_type: str
    match_key_type: str

    @classmethod
    def of(cls, form: FileForm) -> Head:
        return cls(form.family, str(form.contact_type), str(form.match_key_type))


class Again(msgspec.Struct, frozen=True, gc=False):
    """A form that can be made again: as it waits for its file, an entry is kept as the bytes that it was read as.

    As objects, a long backlog took three times the memory, and each pass of the garbage collector over them held the
    shop's loop for a third of a second.
    """

    message: Message
    make: Callable[[Message], FileForm | NoFileForm]

    def form(self) -> FileForm:
        made = self.make(self.message)
        assert isinstance(made, FileForm)  # it had one when it was gathered, and a stored entry does not change
        return made


class Part(msgspec.Struct, frozen=True, gc=False):
    """One entry's share of a record. `lines` is what it counts if it stands alone."""

    entry_id: int
    lines: int
    kept: FileForm | Again

    @property
    def form(self) -> FileForm:
        """How it stands in the file; made again where it was not kept."""
        return self.kept.form() if isinstance(self.kept, Again) else self.kept


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record of a file: one entry, or several changes of one contact, oldest first."""

    parts: tuple[Part, ...]

    @property
    def form(self) -> FileForm:
        """All parts as one. Raises InvalidEntry where one of several has no plain form."""
        form = self.parts[0].form
        if len(self.parts) == 1:
            return form
        fields: dict[str, Any] = {}
        for part in self.parts:
            form = part.form
            fields |= contact_fields(plain(form.record))
        return msgspec.structs.replace(form, record=fields)


class PlannedFile(msgspec.Struct, frozen=True):
    """One file that is to be written."""

    head: Head
    records: tuple[Record, ...]
    lines: int

    @property
    def entry_ids(self) -> tuple[int, ...]:
        """Every entry that stands in it, in the order of the file."""
        return tuple(part.entry_id for record in self.records for part in record.parts)


def contact_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """A contact's fields as they stand in a file: preferences flat among the others, the type told by the element."""
    fields = {name: value for name, value in values.items() if name not in (PREFERENCES, CONTACT_TYPE)}
    preferences = values.get(PREFERENCES)
    if isinstance(preferences, dict):
        fields |= preferences
    return fields


class Batch:
    """Gathers entries in their order; hands a file out as soon as it is full, so that a long backlog stays small."""

    def __init__(self, max_lines: int, *, max_entries: int | None = None) -> None:
        self._max_lines = max_lines
        self._max_entries = max_entries or ENTRIES_PER_LINE * max_lines
        self._open: dict[Head, _Gathering] = {}

    def add(self, entry_id: int, form: FileForm, again: Again | None = None) -> PlannedFile | None:
        """Take one more entry. Returns the file that is full because of it. With `again` the form is not kept."""
        head = Head.of(form)
        gathering = self._open.setdefault(head, _Gathering())
        part = Part(entry_id, form.lines, again or form)
        subject = form.subject if head.family is FileFamily.CONTACTS else None
        if subject is not None and gathering.entries < self._max_entries and gathering.merge(subject, part):
            return None
        full = None
        if gathering.lines and (
            gathering.lines + form.lines > self._max_lines or gathering.entries >= self._max_entries
        ):
            full = gathering.file(head)
            gathering = self._open[head] = _Gathering()
        gathering.append(subject, part)
        return full

    def close(self, head: Head) -> PlannedFile:
        """Hand the open file of these out as it is."""
        return self._open.pop(head).file(head)

    def is_open(self, head: Head) -> bool:
        """Whether a file of these is being filled."""
        return head in self._open

    def rest(self) -> list[PlannedFile]:
        """What is left, in the order in which the families must arrive; the batch is empty afterwards."""
        order = list(FileFamily)
        heads = sorted(self._open, key=lambda head: order.index(head.family))
        files = [self._open[head].file(head) for head in heads]
        self._open.clear()
        return files


class ChangeOrder:
    """Keeps the changes of a contact in the order of writing, for one pass over what is exhausted (DESIGN 1.4).

    A change that has no file form waits for the API, and so must every later one of its contact: by file it would
    arrive first, and the older value would overwrite it when the API is back. Changes of a contact that is named in
    two ways stand in two files: the older one has to be closed first, so that its name comes first, too.
    """

    def __init__(self) -> None:
        self._waiting: set[int] = set()
        self._last: dict[int, tuple[Head, str]] = {}

    def may_leave(self, message: Message, form: FileForm | NoFileForm) -> bool:
        """Whether nothing older of its contact has to wait."""
        if message.kind not in (Kind.CONTACT_UPDATE, Kind.CONTACT_TYPE):
            return True
        if not isinstance(form, FileForm):
            self._waiting.add(message.lane)
        return message.lane not in self._waiting

    def before(self, message: Message, form: FileForm) -> Head | None:
        """The file that has to be closed before this goes into another one."""
        if form.family is not FileFamily.CONTACTS:
            return None
        now = (Head.of(form), form.subject)
        last = self._last.get(message.lane, now)
        self._last[message.lane] = now
        return None if last == now else last[0]


class _Gathering:
    """One file as it fills up."""

    def __init__(self) -> None:
        self.lines = 0
        self.entries = 0
        self._records: list[Record] = []
        self._place: dict[str, int] = {}

    def merge(self, subject: str, part: Part) -> bool:
        place = self._place.get(subject)
        if place is None:
            return False
        self._records[place] = Record((*self._records[place].parts, part))
        self.entries += 1
        return True

    def append(self, subject: str | None, part: Part) -> None:
        if subject is not None:
            self._place[subject] = len(self._records)
        self._records.append(Record((part,)))
        self.lines += part.lines
        self.entries += 1

    def file(self, head: Head) -> PlannedFile:
        return PlannedFile(head, tuple(self._records), self.lines)


def plan_files(entries: Iterable[tuple[int, FileForm]], max_lines: int) -> list[PlannedFile]:
    """The files of these entries; a receipt of more than `max_lines` items gets one of its own."""
    batch = Batch(max_lines)
    full = [batch.add(entry_id, form) for entry_id, form in entries]
    return [file for file in full if file is not None] + batch.rest()
