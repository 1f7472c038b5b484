"""The spool folder: where files wait complete, checked and fsynced, until they are carried off.

A file is written to a temporary name, fsynced, read again and validated, then renamed, and the folder is fsynced. So
whatever is called ``*.xml`` here is whole. What a tenant has set comes in between: its XSLT over our finished file, the
vendor's XSD over what leaves. What a crash leaves:

- a temporary file: removed by `prepare`;
- a complete file that no commit knows: its entries are still exhausted and nobody has uploaded it, so it is removed and
  written again under a new name. It is not taken over: what should stand in it may have changed since.

Everything here blocks; the courier calls it from a thread. Files are 0600 in a folder of 0700.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from voyado_async.errors import ConfigurationError, FileRefused, InvalidEntry, OutboxUnavailable
from voyado_async.fallback import xml
from voyado_async.fallback.batch import Part, PlannedFile, Record
from voyado_async.fallback.record import RecordRefused, text_of
from voyado_async.fallback.tenant import Tenant

PART = ".part"


class Refused(msgspec.Struct, frozen=True):
    """An entry that cannot stand in a file. `path` is the field; no value is told."""

    entry_id: int
    path: str
    reason: str


class Written(msgspec.Struct, frozen=True):
    """What became of a planned file. Without entries there is no file."""

    entry_ids: tuple[int, ...]
    lines: int
    size: int
    refused: tuple[Refused, ...]


def part_name(name: str) -> str:
    """The name under which a file is being written: no ``*.xml`` matches it (ref 6.1)."""
    return f".{name}{PART}"


class Spool:
    """One spool folder."""

    def __init__(self, folder: Path, tenant: Tenant | None = None) -> None:
        self.folder = folder
        self._tenant = tenant or Tenant()

    def prepare(self) -> None:
        """Make the folder and remove temporary files. Raises ConfigurationError where it cannot be used."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for entry in self.folder.iterdir():
                if entry.name.startswith(".") and entry.name.endswith(f".xml{PART}"):
                    entry.unlink(missing_ok=True)
        except OSError as error:
            raise ConfigurationError(f"the spool folder {self.folder} cannot be used: {error.strerror}") from None
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise ConfigurationError(f"the spool folder {self.folder} cannot be written")

    def path(self, name: str) -> Path:
        """Where the file of this name is, or would be."""
        return self.folder / name

    def sizes(self) -> dict[str, int]:
        """Every complete file with its size in bytes."""
        with _telling():
            return {entry.name: entry.stat().st_size for entry in self.folder.glob("[!.]*.xml")}

    def size(self, name: str) -> int | None:
        """The size in bytes, None where there is no such file."""
        with _telling():
            try:
                return self.path(name).stat().st_size
            except FileNotFoundError:
                return None

    def remove(self, name: str) -> None:
        """Remove a file; it may be gone already."""
        with _telling():
            self.path(name).unlink(missing_ok=True)

    def write(self, name: str, planned: PlannedFile) -> Written:
        """Write what can be written of a planned file, and set aside alone what cannot.

        Raises FileRefused where even the rest does not pass the check, OutboxUnavailable where the disk does not take
        it; in both cases nothing is left behind.
        """
        refused: list[Refused] = []
        part = self.folder / part_name(name)
        with _telling():
            try:
                kept = self._write_part(part, planned, planned.records, refused)
                try:
                    self._finish(part, planned, kept)
                except FileRefused:
                    kept = self._write_part(part, planned, self._sound(kept, refused), refused)
                    self._finish(part, planned, kept)
                if not kept:
                    return Written((), 0, 0, tuple(refused))
                return self._publish(part, name, kept, refused)
            finally:
                part.unlink(missing_ok=True)

    def _write_part(
        self, part: Path, planned: PlannedFile, records: tuple[Record, ...], refused: list[Refused]
    ) -> tuple[Record, ...]:
        """Write the records that have a form; returns them. The file is fsynced."""
        part.unlink(missing_ok=True)
        kept: list[Record] = []

        def texts() -> Iterator[str]:
            for record in records:
                try:
                    text = text_of(record.form, self._tenant.names)
                except (RecordRefused, InvalidEntry):
                    sound = self._without_bad_parts(record, refused)
                    if sound is None:
                        continue
                    record, text = sound, text_of(sound.form, self._tenant.names)
                kept.append(record)
                yield text

        with _made(part) as output:
            xml.write(output, planned.head, texts(), self._tenant.names)
        return tuple(kept)

    def _finish(self, part: Path, planned: PlannedFile, kept: tuple[Record, ...]) -> None:
        """Check our file, then make of it what the tenant wants, and check that."""
        if not kept:
            return
        head = planned.head
        with part.open("rb") as source:
            xml.check(source, head, len(kept), self._tenant.names)
        if head.family in self._tenant.stylesheets:
            with part.open("rb") as source:
                part.unlink()  # what is open can still be read; the name is free for what the XSLT makes of it
                with _made(part) as output:
                    self._tenant.transform(source, output, head.family)
        if self._tenant.changes(head.family):
            with part.open("rb") as source:
                self._tenant.check(source, head, len(kept))

    def _sound(self, records: tuple[Record, ...], refused: list[Refused]) -> tuple[Record, ...]:
        """The file was refused: look at each record alone, and keep those that pass."""
        sound = (
            record if self._refusal(record) is None else self._without_bad_parts(record, refused) for record in records
        )
        return tuple(record for record in sound if record is not None)

    def _refusal(self, record: Record) -> RecordRefused | None:
        form = record.form
        try:
            return self._tenant.refusal_of(form, text_of(form, self._tenant.names))
        except RecordRefused as refusal:
            return refusal
        except FileRefused as refusal:
            return RecordRefused("", str(refusal))

    def _without_bad_parts(self, record: Record, refused: list[Refused]) -> Record | None:
        """What is left of a record without the entries that cannot stand in a file; None where nothing is."""
        good: list[Part] = []
        for part in record.parts:
            refusal = self._refusal(Record((part,)))
            if refusal is None:
                good.append(part)
            else:
                refused.append(Refused(part.entry_id, refusal.path, refusal.reason))
        return Record(tuple(good)) if good else None

    def _publish(self, part: Path, name: str, kept: tuple[Record, ...], refused: list[Refused]) -> Written:
        final = self.path(name)
        if final.exists():
            raise FileRefused(f"{name} is in the spool folder already, and is left as it is")
        size = part.stat().st_size
        part.rename(final)
        _sync_folder(self.folder)
        lines = sum(record.parts[0].lines for record in kept)
        ids = tuple(one.entry_id for record in kept for one in record.parts)
        return Written(ids, lines, size, tuple(refused))


@contextmanager
def _made(part: Path) -> Iterator[BinaryIO]:
    """A new private file, on disk when the block ends."""
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as output:
        yield output
        output.flush()
        os.fsync(output.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _telling() -> Iterator[None]:
    """An error of the disk is something to wait out, as with the outbox itself."""
    try:
        yield
    except OSError as error:
        raise OutboxUnavailable(f"the spool folder cannot be used now: {error.strerror}") from None
