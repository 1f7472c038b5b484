"""The spool folder: where files wait complete, checked and fsynced, until they are carried off.

A file gets its name when it is complete and on disk (`writing.py`), and the folder is fsynced. So whatever is called
``*.xml`` here is whole. What a crash leaves:

- a temporary file: removed by `prepare`;
- a complete file that no commit knows: its entries are still exhausted and nobody has uploaded it, so it is removed and
  written again under a new name. It is not taken over: what should stand in it may have changed since.

Everything here blocks; the courier calls it from a thread. Files are 0600 in a folder of 0700, or as a group's `Access`
says. They are never sealed: Engage reads them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from voyado_async.errors import ConfigurationError, FileRefused, OutboxUnavailable
from voyado_async.fallback.tenant import Tenant
from voyado_async.outbox.access import OWNER, Access

PART = ".part"


def part_name(name: str) -> str:
    """The name under which a file is being written: no ``*.xml`` matches it (ref 6.1)."""
    return f".{name}{PART}"


class Spool:
    """One spool folder."""

    def __init__(self, folder: Path, tenant: Tenant | None = None, access: Access = OWNER) -> None:
        self.folder = folder
        self.tenant = tenant or Tenant()
        self.access = access

    def make(self) -> None:
        """Make the folder where it isn't there. Raises ConfigurationError where it cannot be used."""
        with self._usable():
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self.access.make_folder(self.folder)
            with suppress(PermissionError):
                self.access.open_folder(self.folder)
        if not self.folder.is_dir() or not os.access(self.folder, os.W_OK | os.X_OK):
            raise ConfigurationError(f"the spool folder {self.folder} (VOYADO_SPOOL_DIR) is no folder to write to")

    def prepare(self) -> None:
        """Make the folder and remove temporary files: for who drains alone. Raises ConfigurationError."""
        self.make()
        with self._usable():
            for entry in self.folder.iterdir():
                if entry.name.startswith(".") and entry.name.endswith(f".xml{PART}"):
                    entry.unlink(missing_ok=True)
                else:
                    with suppress(PermissionError):  # another user's, who opens it to the group himself
                        self.access.open_file(entry)

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigurationError(
                f"the spool folder {self.folder} (VOYADO_SPOOL_DIR) cannot be used: {error.strerror}"
            ) from None

    def path(self, name: str) -> Path:
        """Where the file of this name is, or would be."""
        return self.folder / name

    def sizes(self) -> dict[str, int]:
        """Every complete file with its size in bytes."""
        with telling():
            return {entry.name: entry.stat().st_size for entry in self.folder.glob("[!.]*.xml")}

    def size(self, name: str) -> int | None:
        """The size in bytes, None where there is no such file."""
        with telling():
            try:
                return self.path(name).stat().st_size
            except FileNotFoundError:
                return None

    def remove(self, name: str) -> None:
        """Remove a file; it may be gone already."""
        with telling():
            self.path(name).unlink(missing_ok=True)

    def publish(self, name: str) -> None:
        """Give a file that is complete under its temporary name its own, for good. Raises FileRefused."""
        with telling():
            final = self.path(name)
            if final.exists():
                raise FileRefused(f"{name} is in the spool folder already, and is left as it is")
            self.path(part_name(name)).rename(final)
            descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


@contextmanager
def telling() -> Iterator[None]:
    """An error of the disk is something to wait out, as with the outbox itself."""
    try:
        yield
    except OSError as error:
        raise OutboxUnavailable(f"the spool folder cannot be used now: {error.strerror}") from None
