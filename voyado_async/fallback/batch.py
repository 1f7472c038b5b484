"""File forms -> files: who goes with whom, and how much into one. Pure.

One family, contact type and match key type per file (ref 6.5), so that contacts keyed by contactId are apart: one of
them makes contactId the key of its whole file (ref 6.4). At most so many lines, where a receipt counts its items
(ref 6.1). Several changes of one contact become one record, field by field, the later value winning (ref 4.4); their
number is limited as well, so that a long backlog of a few contacts stays small, too.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, groupby
from operator import itemgetter
from typing import Any

import msgspec

from voyado_async.delivery import FileFamily, FileForm, Kind, Message, NoFileForm
from voyado_async.fallback.names import CONTACT_TYPE, PREFERENCES

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


class Part(msgspec.Struct, frozen=True, gc=False):
    """One entry's share of a record, and how it stands there."""

    entry_id: int
    form: FileForm


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record: one entry, or several changes of one contact, oldest first."""

    parts: Sequence[Part]


class PlannedFile(msgspec.Struct, frozen=True):
    """One file that is to be written. A long backlog has many entries in its open files: sixteen bytes for each."""

    head: Head
    lines: int
    entries: array[int]
    """Every entry that stands in it, in the order of the file."""
    numbers: array[int]
    """Which record each of them belongs to."""
    forms: tuple[FileForm, ...]
    """How each of them stands there, where that was kept."""

    @property
    def entry_ids(self) -> tuple[int, ...]:
        """Every entry that stands in it, in the order of the file."""
        return tuple(self.entries)

    def records(self) -> Iterator[Record]:
        """What stands in it, where the forms were kept."""
        rows = zip(self.numbers, self.entries, self.forms, strict=True)
        for _, group in groupby(rows, key=itemgetter(0)):
            yield Record([Part(entry_id, form) for _, entry_id, form in group])

    def pages(self, size: int) -> Iterator[list[tuple[int, int]]]:
        """(number of the record, entry), in the order of the file, so many at a time."""
        for start in range(0, len(self.entries), size):
            end = start + size
            yield list(zip(self.numbers[start:end], self.entries[start:end], strict=True))


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

    def add(self, entry_id: int, form: FileForm, *, keep: bool = True) -> PlannedFile | None:
        """Take one more entry. Returns the file that is full because of it. Without `keep` only the id is kept."""
        head = Head.of(form)
        gathering = self._open.setdefault(head, _Gathering())
        kept = form if keep else None
        subject = form.subject if head.family is FileFamily.CONTACTS else None
        if subject is not None and gathering.entries < self._max_entries and gathering.merge(subject, entry_id, kept):
            return None
        full = None
        if gathering.lines and (
            gathering.lines + form.lines > self._max_lines or gathering.entries >= self._max_entries
        ):
            full = gathering.file(head)
            gathering = self._open[head] = _Gathering()
        gathering.append(subject, entry_id, kept, form.lines)
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

    def stays(self, lanes: Iterable[int]) -> None:
        """A change of each of these contacts could not leave after all."""
        self._waiting.update(lanes)

    def before(self, message: Message, form: FileForm) -> Head | None:
        """The file that has to be closed before this goes into another one."""
        last = self._last.get(message.lane)
        if last is None or form.family is not FileFamily.CONTACTS or last == (Head.of(form), form.subject):
            return None
        return last[0]

    def stands(self, message: Message, form: FileForm) -> None:
        """It stands in the open file of its kind now."""
        if form.family is FileFamily.CONTACTS:
            self._last[message.lane] = (Head.of(form), form.subject)

    def closed(self, head: Head) -> None:
        """The open file of these is written: what stands in it has its name before whatever follows."""
        self._last = {lane: last for lane, last in self._last.items() if last[0] != head}


class _Gathering:
    """One file as it fills up."""

    def __init__(self) -> None:
        self.lines = 0
        self._entries = array("q")
        self._numbers = array("q")
        self._forms: list[FileForm] = []
        self._records = 0
        self._place: dict[str, int] = {}

    @property
    def entries(self) -> int:
        return len(self._entries)

    def merge(self, subject: str, entry_id: int, form: FileForm | None) -> bool:
        place = self._place.get(subject)
        if place is None:
            return False
        self._put(entry_id, place, form)
        return True

    def append(self, subject: str | None, entry_id: int, form: FileForm | None, lines: int) -> None:
        if subject is not None:
            self._place[subject] = self._records
        self._put(entry_id, self._records, form)
        self._records += 1
        self.lines += lines

    def _put(self, entry_id: int, number: int, form: FileForm | None) -> None:
        self._entries.append(entry_id)
        self._numbers.append(number)
        if form is not None:
            self._forms.append(form)

    def file(self, head: Head) -> PlannedFile:
        """Changes of one contact come together, in the place of the first of them."""
        order = self._order()
        return PlannedFile(
            head,
            self.lines,
            array("q", map(self._entries.__getitem__, order)),
            array("q", map(self._numbers.__getitem__, order)),
            tuple(self._forms[place] for place in order) if self._forms else (),
        )

    def _order(self) -> Sequence[int]:
        """Where each stands now, by the number of its record. Counted and not sorted: a list of so many numbers would
        be the largest thing in memory."""
        if len(self._entries) == self._records:
            return range(self._records)
        free = array("q", [0]) * (self._records + 1)
        for number in self._numbers:
            free[number + 1] += 1
        free = array("q", accumulate(free))
        order = array("q", [0]) * len(self._entries)
        for place, number in enumerate(self._numbers):
            order[free[number]] = place
            free[number] += 1
        return order
