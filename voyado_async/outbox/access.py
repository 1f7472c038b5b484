"""Who may use the files of an outbox: the user that runs it alone, or the members of a unix group (`VOYADO_GROUP`).

0600 in folders of 0700, or 0660 in folders of 2770 that belong to the group. SQLite makes its own files as open as the
database (sqlite.org/wal.html), and whatever else lies beside the database does the same: `like`. Their group comes
from the folder, which is why that has to be 2770.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from voyado_async.errors import ConfigurationError

BESIDE = ("", "-wal", "-shm", "-turn", "-drain")
"""What the names of an outbox's files end with."""


class Access(NamedTuple):
    """`gid` is the group; None: nobody but the owner."""

    gid: int | None = None

    @property
    def file_mode(self) -> int:
        return 0o600 if self.gid is None else 0o660

    @property
    def folder_mode(self) -> int:
        return 0o700 if self.gid is None else 0o2770

    def make_file(self, path: str | Path) -> None:
        """Make an empty file where there is none; whoever finds it finds it as open as it is to be. Raises OSError.

        One that is there is never opened: for a database that would give up SQLite's locks.
        """
        if os.path.exists(path):
            return
        if self.gid is None:
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, self.file_mode))
            return
        import tempfile  # here: a look from outside need not know it

        folder, name = os.path.split(path)
        descriptor, aside = tempfile.mkstemp(prefix=f".{name}-", dir=folder)  # 0600
        try:
            os.close(descriptor)
            self.open_file(aside)
            with suppress(FileExistsError):  # another process was faster
                os.link(aside, path)
        finally:
            os.unlink(aside)

    def make_folder(self, path: Path) -> None:
        """Make a folder where there is none; its parents are not this program's. Raises OSError."""
        with suppress(FileExistsError):
            path.mkdir(mode=self.folder_mode & 0o777)
            self.open_folder(path)

    def open_file(self, path: str | Path) -> None:
        """Let the group use the file. Raises OSError."""
        self._open(path, self.file_mode)

    def open_folder(self, path: str | Path) -> None:
        """Let the group use the folder. Raises OSError."""
        self._open(path, self.folder_mode)

    def _open(self, path: str | Path, mode: int) -> None:
        if self.gid is None:
            return
        found = os.stat(path)
        if found.st_gid != self.gid:
            os.chown(path, -1, self.gid)
        if stat.S_IMODE(found.st_mode) != mode:
            os.chmod(path, mode)

    def open_outbox(self, database: str) -> None:
        """Make sure that the group can use the outbox: what is there of it, and what SQLite will make beside it.

        Raises ConfigurationError where its folder does not pass the group on, or a file of another user keeps it out.
        """
        if self.gid is None:
            return
        folder = os.path.dirname(database)
        try:
            found = os.stat(folder)
            if found.st_gid != self.gid or found.st_mode & 0o2070 != 0o2070:
                raise _wrong(
                    f"the folder {folder} does not pass the group on to what is made in it: "
                    f"chgrp {self.gid} {folder} && chmod 2770 {folder}"
                )
        except OSError as error:
            raise _wrong(f"the folder {folder} cannot be used ({error.strerror})") from None
        for path in (f"{database}{end}" for end in BESIDE):
            try:
                self.open_file(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise _wrong(
                    f"{path} is not the group's, and cannot be made so ({error.strerror}): "
                    f"chgrp {self.gid} {path} && chmod 660 {path}"
                ) from None
        with suppress(FileNotFoundError, PermissionError):  # nothing that matters depends on the shelf
            self.open_folder(f"{database}-known")


OWNER = Access()


def like(database: str | Path) -> Access:
    """As open as the database is."""
    try:
        found = os.stat(database)
    except OSError:
        return OWNER
    return Access(found.st_gid) if found.st_mode & 0o060 == 0o060 else OWNER


def _wrong(reason: str) -> ConfigurationError:
    return ConfigurationError(f"group (VOYADO_GROUP): {reason}")
